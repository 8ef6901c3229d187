/*
 * The slow half of floating point. The host's arithmetic gives the numbers; what differs is
 * done here: NaNs of MIPS before 2008 (a quiet one has the top bit of the fraction clear, and
 * every operation that gives one gives the same), flags and enabled exceptions of FCSR, and
 * conversions to integers, which give the greatest integer when there is no right one.
 */
#include "fpu_host.h"

#include "core.h"

#include <string.h>

#define NAN_S UINT32_C(0x7fbfffff)
#define NAN_D UINT64_C(0x7ff7ffffffffffff)

static bool is_nan_s(uint32_t bits)
{
    return (bits & UINT32_C(0x7fffffff)) > UINT32_C(0x7f800000);
}

static bool is_signalling_s(uint32_t bits)
{
    return is_nan_s(bits) && (bits & UINT32_C(0x00400000)) != 0;
}

static bool is_nan_d(uint64_t bits)
{
    return (bits & ~(UINT64_C(1) << 63)) > UINT64_C(0x7ff0000000000000);
}

static bool is_signalling_d(uint64_t bits)
{
    return is_nan_d(bits) && (bits & UINT64_C(0x0008000000000000)) != 0;
}

/*
 * Divides 1 by 3, which is inexact in every rounding mode: a host without flags does not say so.
 * That is looked at each time, because a snapshot may go on on another host.
 */
void fpu_enter(struct machine *m)
{
    volatile float three = 3, third;

    fpu_host_round(m->fcsr & FCSR_ROUND);
    third = 1 / three;
    (void)third;
    bool exact = m->fpu_exact_always || fpu_host_flags() == 0;
    fpu_host_round(m->fcsr & FCSR_ROUND);
    if (exact != m->fpu_exact)
        m->flush_code = m->attention = true;
    m->fpu_exact = exact;
}

void fpu_leave(void)
{
    fpu_host_round(0);
}

/* `flags` (enum above) become the cause; enabled ones are an exception, others stick. */
bool fpu_set_flags(struct machine *m, unsigned flags)
{
    m->fcsr = (m->fcsr & ~FCSR_CAUSES) | flags << 12;
    if (m->fcsr >> 7 & flags)
        return fault_plain(m, EXC_FPE, NULL);
    m->fcsr |= flags << 2;
    return true;
}

bool fpu_flags(struct machine *m)
{
    return fpu_set_flags(m, fpu_host_take());
}

bool fpu_fix_single(struct machine *m, uint32_t a, uint32_t b, uint32_t *result)
{
    bool signalling = is_signalling_s(a) || is_signalling_s(b);
    bool quiet = is_nan_s(a) || is_nan_s(b);

    fpu_host_take();
    *result = NAN_S;
    return fpu_set_flags(m, signalling || !quiet ? FLAG_V : 0);
}

bool fpu_fix_double(struct machine *m, uint64_t a, uint64_t b, uint64_t *result)
{
    bool signalling = is_signalling_d(a) || is_signalling_d(b);
    bool quiet = is_nan_d(a) || is_nan_d(b);

    fpu_host_take();
    *result = NAN_D;
    return fpu_set_flags(m, signalling || !quiet ? FLAG_V : 0);
}

static float single_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* A number that is no NaN to an integer in the rounding mode `mode` of FCSR. */
static bool to_word(struct machine *m, double value, unsigned mode, uint32_t *word)
{
    unsigned flags = 0;

    *word = INT32_MAX;
    if (!(value > -2147483649.0 && value < 2147483648.0)) {
        flags = FLAG_V;
    } else {
        int64_t whole = (int64_t)value;
        double rest = value - (double)whole;
        double half = rest < 0 ? -rest : rest;
        if (mode == 0 && (half > 0.5 || (half == 0.5 && (whole & 1) != 0)))
            whole += rest < 0 ? -1 : 1;
        if (mode == 2 && rest > 0)
            whole++;
        if (mode == 3 && rest < 0)
            whole--;
        if (whole < INT32_MIN || whole > INT32_MAX)
            flags = FLAG_V;
        else
            *word = (uint32_t)whole;
        if (flags == 0 && rest != 0)
            flags = FLAG_I;
    }
    fpu_host_take();
    return fpu_set_flags(m, flags);
}

bool fpu_word_double(struct machine *m, uint64_t bits, unsigned mode, uint32_t *word)
{
    if (is_nan_d(bits)) {
        *word = INT32_MAX;
        return fpu_set_flags(m, FLAG_V);
    }
    return to_word(m, double_of(bits), mode == FPU_CURRENT ? m->fcsr & FCSR_ROUND : mode, word);
}

bool fpu_word_single(struct machine *m, uint32_t bits, unsigned mode, uint32_t *word)
{
    if (is_nan_s(bits)) {
        *word = INT32_MAX;
        return fpu_set_flags(m, FLAG_V);
    }
    return to_word(m, single_of(bits), mode == FPU_CURRENT ? m->fcsr & FCSR_ROUND : mode, word);
}

bool fpu_narrow(struct machine *m, uint64_t bits, uint32_t *result)
{
    if (is_nan_d(bits)) {
        *result = NAN_S;
        return fpu_set_flags(m, is_signalling_d(bits) ? FLAG_V : 0);
    }
    if (m->fpu_exact) {
        unsigned flags;
        *result = fpu_exact_narrow(m, bits, &flags);
        return fpu_set_flags(m, flags);
    }
    volatile float narrow = (float)double_of(bits);
    float value = narrow;
    memcpy(result, &value, sizeof(*result));
    return fpu_flags(m);
}

bool fpu_widen(struct machine *m, uint32_t bits, uint64_t *result)
{
    if (is_nan_s(bits)) {
        *result = NAN_D;
        return fpu_set_flags(m, is_signalling_s(bits) ? FLAG_V : 0);
    }
    double value = single_of(bits);
    memcpy(result, &value, sizeof(*result));
    fpu_host_take();
    return fpu_set_flags(m, 0);
}

/* Two roundings, as the processors of release 2 do it. */
bool fpu_muladd_single(struct machine *m, unsigned kind, uint32_t a, uint32_t b, uint32_t c,
                       uint32_t *result)
{
    if (m->fpu_exact) {
        unsigned flags;
        *result = (uint32_t)fpu_exact_muladd(m, false, kind, a, b, c, &flags);
        return fpu_set_flags(m, flags);
    }
    volatile float product = single_of(a) * single_of(b);
    volatile float sum = kind & FPU_MINUS ? product - single_of(c) : product + single_of(c);
    float value = sum;

    memcpy(result, &value, sizeof(*result));
    if (is_nan_s(*result)) {
        /* Invalid without a NaN: zero times infinity, or infinity less infinity. */
        bool bad = is_signalling_s(a) || is_signalling_s(b) || is_signalling_s(c) ||
                   (!is_nan_s(a) && !is_nan_s(b) && (product != product || !is_nan_s(c)));
        unsigned flags = fpu_host_take() & ~(unsigned)FLAG_V; /* of the product */
        *result = kind & FPU_NEGATE ? NAN_S ^ UINT32_C(0x80000000) : NAN_S;
        return fpu_set_flags(m, bad ? flags | FLAG_V : flags);
    }
    if (kind & FPU_NEGATE)
        *result ^= UINT32_C(0x80000000);
    return fpu_flags(m);
}

bool fpu_muladd_double(struct machine *m, unsigned kind, uint64_t a, uint64_t b, uint64_t c,
                       uint64_t *result)
{
    if (m->fpu_exact) {
        unsigned flags;
        *result = fpu_exact_muladd(m, true, kind, a, b, c, &flags);
        return fpu_set_flags(m, flags);
    }
    volatile double product = double_of(a) * double_of(b);
    volatile double sum = kind & FPU_MINUS ? product - double_of(c) : product + double_of(c);
    double value = sum;

    memcpy(result, &value, sizeof(*result));
    if (is_nan_d(*result)) {
        /* Invalid without a NaN: zero times infinity, or infinity less infinity. */
        bool bad = is_signalling_d(a) || is_signalling_d(b) || is_signalling_d(c) ||
                   (!is_nan_d(a) && !is_nan_d(b) && (product != product || !is_nan_d(c)));
        unsigned flags = fpu_host_take() & ~(unsigned)FLAG_V; /* of the product */
        *result = kind & FPU_NEGATE ? NAN_D ^ (UINT64_C(1) << 63) : NAN_D;
        return fpu_set_flags(m, bad ? flags | FLAG_V : flags);
    }
    if (kind & FPU_NEGATE)
        *result ^= UINT64_C(1) << 63;
    return fpu_flags(m);
}

/* Condition bits: 8 any NaN is invalid, 4 less, 2 equal, 1 unordered. */
static bool compare(struct machine *m, double x, double y, bool unordered, bool signalling,
                    unsigned condition, unsigned flag)
{
    bool is = unordered ? (condition & 1) != 0
                        : (condition & 4 && x < y) || (condition & 2 && x == y);

    fpu_host_take();
    if (!fpu_set_flags(m, signalling || (unordered && condition & 8) ? FLAG_V : 0))
        return false;
    m->fcsr = (m->fcsr & ~(UINT32_C(1) << flag)) | (uint32_t)is << flag;
    return true;
}

bool fpu_compare_single(struct machine *m, uint32_t a, uint32_t b, unsigned condition,
                        unsigned flag)
{
    return compare(m, single_of(a), single_of(b), is_nan_s(a) || is_nan_s(b),
                   is_signalling_s(a) || is_signalling_s(b), condition, flag);
}

bool fpu_compare_double(struct machine *m, uint64_t a, uint64_t b, unsigned condition,
                        unsigned flag)
{
    return compare(m, double_of(a), double_of(b), is_nan_d(a) || is_nan_d(b),
                   is_signalling_d(a) || is_signalling_d(b), condition, flag);
}

/* FIR, FCCR, FEXR, FENR and FCSR. */
uint32_t fpu_read_control(struct machine *m, unsigned reg)
{
    switch (reg) {
    case 0: /* single, double, word */
        return UINT32_C(0x00130000) | UINT32_C(0x9300);
    case 25:
        return (m->fcsr >> 24 & 0xfe) | (m->fcsr >> 23 & 1);
    case 26:
        return m->fcsr & (FCSR_CAUSES | FCSR_FLAGS);
    case 28:
        return m->fcsr & (FCSR_ENABLES | FCSR_ROUND);
    case 31:
        return m->fcsr;
    default:
        return 0;
    }
}

bool fpu_write_control(struct machine *m, unsigned reg, uint32_t value)
{
    uint32_t conditions = (value & 0xfe) << 24 | (value & 1) << 23;

    if (reg == 25)
        m->fcsr = (m->fcsr & UINT32_C(0x007fffff)) | conditions;
    else if (reg == 26)
        m->fcsr = (m->fcsr & ~(FCSR_CAUSES | FCSR_FLAGS)) | (value & (FCSR_CAUSES | FCSR_FLAGS));
    else if (reg == 28)
        m->fcsr = (m->fcsr & ~(FCSR_ENABLES | FCSR_ROUND)) | (value & (FCSR_ENABLES | FCSR_ROUND));
    else if (reg == 31)
        m->fcsr = value & FCSR_WRITE;
    fpu_host_round(m->fcsr & FCSR_ROUND);
    /* Causes that are enabled are an exception at once; the sixth, unimplemented, always is. */
    if ((m->fcsr >> 12 & ((m->fcsr >> 7 & 31) | 32)) != 0)
        return fault_plain(m, EXC_FPE, NULL);
    return true;
}
