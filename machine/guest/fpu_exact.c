/*
 * Arithmetic of the FPU in integers, for hosts whose processor gives the right numbers but no
 * flags, as the CPU emulator of the soft backend does: results are the same as the host's, and
 * FCSR's flags are known beside them. Follows IEEE 754 with tininess detected after rounding;
 * translate.c emits calls of fpu_exact instead of the host's operations where it must.
 *
 * A number is a fraction times a power of two, and every operation ends in round_pack. Because
 * that is slow in an emulated processor, operations on numbers of middling size take the host's
 * result, and integers only say whether it is exact.
 */
#include "fpu_host.h"

#include "core.h"

#include <string.h>

typedef unsigned __int128 uint128;

/* Single and double: bits of the fraction, the exponents of the last bit of the least and of the
 * greatest number, and the NaN that operations give. */
struct format {
    unsigned bits;
    int least, greatest;
    uint64_t nan;
};

static const struct format single_format = {24, -149, 104, UINT64_C(0x7fbfffff)};
static const struct format double_format = {53, -1074, 971, UINT64_C(0x7ff7ffffffffffff)};

enum kind { ZERO, FINITE, INFINITE, NAN_QUIET, NAN_SIGNALLING };

struct number {
    enum kind kind;
    bool negative;
    int exponent;      /* value: fraction * 2^exponent */
    uint64_t fraction; /* exactly `bits` long when FINITE, denormals too */
};

/* An operation that goes on: its format and rounding mode, and the flags so far. */
struct work {
    const struct format *format;
    unsigned mode;
    unsigned flags;
};

static inline uint64_t sign_bit(const struct format *f)
{
    return f->bits == 24 ? UINT64_C(1) << 31 : UINT64_C(1) << 63;
}

static inline uint64_t infinity(const struct format *f)
{
    return f->bits == 24 ? UINT64_C(0x7f800000) : UINT64_C(0x7ff0000000000000);
}

static struct number unpack(const struct format *f, uint64_t bits)
{
    uint64_t hidden = UINT64_C(1) << (f->bits - 1);
    uint64_t magnitude = bits & (sign_bit(f) - 1);
    uint64_t biased = magnitude >> (f->bits - 1);
    struct number n = {FINITE, (bits & sign_bit(f)) != 0, f->least, magnitude & (hidden - 1)};

    if (magnitude >= infinity(f)) {
        n.kind = n.fraction == 0 ? INFINITE : n.fraction & hidden >> 1 ? NAN_SIGNALLING : NAN_QUIET;
    } else if (magnitude == 0) {
        n.kind = ZERO;
    } else if (biased != 0) {
        n.fraction |= hidden;
        n.exponent += (int)biased - 1;
    } else {
        while (n.fraction < hidden) {
            n.fraction <<= 1;
            n.exponent--;
        }
    }
    return n;
}

static unsigned top_bit(uint128 value)
{
    uint64_t high = (uint64_t)(value >> 64);

    return high != 0 ? 127 - (unsigned)__builtin_clzll(high)
                     : 63 - (unsigned)__builtin_clzll((uint64_t)value);
}

/* `value` without its last `by` bits, rounded by the mode. */
static uint64_t round_bits(uint128 value, int by, unsigned mode, bool negative, bool *inexact)
{
    uint128 rest, half;

    *inexact = false;
    if (by <= 0)
        return (uint64_t)value << -by;
    if (by > 127) { /* less than half of the last bit */
        rest = 1;
        half = 2;
        value = 0;
    } else {
        rest = value & (((uint128)1 << by) - 1);
        half = (uint128)1 << (by - 1);
        value >>= by;
    }
    *inexact = rest != 0;
    if (mode == 0 ? rest > half || (rest == half && (value & 1) != 0)
                  : *inexact && mode == (negative ? 3u : 2u))
        value++;
    return (uint64_t)value;
}

static uint64_t too_great(struct work *w, bool negative)
{
    bool to_infinity = w->mode == 0 || w->mode == (negative ? 3u : 2u);

    w->flags |= FLAG_O | FLAG_I;
    return (negative ? sign_bit(w->format) : 0) | (infinity(w->format) - !to_infinity);
}

/*
 * The bits of value * 2^exponent, which is not zero. What is lost below the last bit of `value`
 * must be in that bit already, and more than a rounding away from it.
 */
static uint64_t round_pack(struct work *w, bool negative, uint128 value, int exponent)
{
    const struct format *f = w->format;
    uint64_t hidden = UINT64_C(1) << (f->bits - 1);
    int last = exponent + (int)top_bit(value) - (int)(f->bits - 1);
    bool inexact, ignored;

    if (last < f->least) {
        /* Tiny, unless it would round up to the least normal number with room for it. */
        uint64_t free = round_bits(value, last - exponent, w->mode, negative, &ignored);
        bool tiny = last + (free == 2 * hidden) < f->least;
        uint64_t bits = round_bits(value, f->least - exponent, w->mode, negative, &inexact);
        if (inexact)
            w->flags |= tiny ? FLAG_U | FLAG_I : FLAG_I;
        return (negative ? sign_bit(f) : 0) | bits;
    }
    uint64_t fraction = round_bits(value, last - exponent, w->mode, negative, &inexact);
    if (fraction == 2 * hidden) {
        fraction = hidden;
        last++;
    }
    if (last > f->greatest)
        return too_great(w, negative);
    if (inexact)
        w->flags |= FLAG_I;
    uint64_t biased = (uint64_t)(last - f->least + 1);
    return (negative ? sign_bit(f) : 0) | ((biased << (f->bits - 1)) + (fraction - hidden));
}

static uint64_t invalid(struct work *w)
{
    w->flags |= FLAG_V;
    return w->format->nan;
}

static bool is_nan(struct number n)
{
    return n.kind >= NAN_QUIET;
}

/* The result when an operand is a NaN; no other flags then. */
static uint64_t from_nan(struct work *w, struct number a, struct number b)
{
    if (a.kind == NAN_SIGNALLING || b.kind == NAN_SIGNALLING)
        w->flags |= FLAG_V;
    return w->format->nan;
}

static uint64_t signed_bits(const struct work *w, bool negative, uint64_t bits)
{
    return (negative ? sign_bit(w->format) : 0) | bits;
}

/* Both finite and not zero. Shifted by 64 bits, so that what is lost is far below. */
static uint64_t add_finite(struct work *w, struct number a, struct number b)
{
    if (a.exponent < b.exponent || (a.exponent == b.exponent && a.fraction < b.fraction)) {
        struct number other = a;
        a = b;
        b = other;
    }
    unsigned by = (unsigned)(a.exponent - b.exponent);
    uint128 x = (uint128)a.fraction << 64, y = (uint128)b.fraction << 64;
    uint128 shifted = by > 127 ? 0 : y >> by;
    if (by > 127 || shifted << by != y)
        shifted |= 1;
    uint128 sum = a.negative == b.negative ? x + shifted : x - shifted;
    if (sum == 0)
        return signed_bits(w, w->mode == 3, 0);
    return round_pack(w, a.negative, sum, a.exponent - 64);
}

static uint64_t add(struct work *w, uint64_t abits, uint64_t bbits)
{
    struct number a = unpack(w->format, abits), b = unpack(w->format, bbits);

    if (is_nan(a) || is_nan(b))
        return from_nan(w, a, b);
    if (a.kind == INFINITE && b.kind == INFINITE && a.negative != b.negative)
        return invalid(w);
    if (a.kind == INFINITE || (b.kind == ZERO && a.kind != ZERO))
        return abits;
    if (b.kind == INFINITE || (a.kind == ZERO && b.kind != ZERO))
        return bbits;
    if (a.kind == ZERO)
        return a.negative == b.negative ? abits : signed_bits(w, w->mode == 3, 0);
    return add_finite(w, a, b);
}

static uint64_t multiply(struct work *w, uint64_t abits, uint64_t bbits)
{
    struct number a = unpack(w->format, abits), b = unpack(w->format, bbits);
    bool negative = a.negative != b.negative;

    if (is_nan(a) || is_nan(b))
        return from_nan(w, a, b);
    if (a.kind == INFINITE || b.kind == INFINITE)
        return a.kind == ZERO || b.kind == ZERO ? invalid(w)
                                                : signed_bits(w, negative, infinity(w->format));
    if (a.kind == ZERO || b.kind == ZERO)
        return signed_bits(w, negative, 0);
    return round_pack(w, negative, (uint128)a.fraction * b.fraction, a.exponent + b.exponent);
}

static uint64_t divide(struct work *w, uint64_t abits, uint64_t bbits)
{
    struct number a = unpack(w->format, abits), b = unpack(w->format, bbits);
    bool negative = a.negative != b.negative;

    if (is_nan(a) || is_nan(b))
        return from_nan(w, a, b);
    if (a.kind == b.kind && a.kind != FINITE)
        return invalid(w);
    if (a.kind == INFINITE)
        return signed_bits(w, negative, infinity(w->format));
    if (a.kind == ZERO || b.kind == INFINITE)
        return signed_bits(w, negative, 0);
    if (b.kind == ZERO) {
        w->flags |= FLAG_Z;
        return signed_bits(w, negative, infinity(w->format));
    }
    uint128 dividend = (uint128)a.fraction << 66;
    uint128 quotient = dividend / b.fraction;
    if (quotient * b.fraction != dividend)
        quotient |= 1;
    return round_pack(w, negative, quotient, a.exponent - b.exponent - 66);
}

static uint64_t square_root(struct work *w, uint64_t bits)
{
    struct number n = unpack(w->format, bits);

    if (is_nan(n))
        return from_nan(w, n, n);
    if (n.kind == ZERO || (n.kind == INFINITE && !n.negative))
        return bits;
    if (n.negative)
        return invalid(w);
    /* 60 bits and more of the root, of a radicand with an even exponent. */
    unsigned shift = 125 - w->format->bits;
    shift -= (n.exponent - (int)shift) & 1;
    uint128 radicand = (uint128)n.fraction << shift, rest = radicand;
    uint64_t root = 0;
    for (int i = 62; i >= 0; i--) {
        uint128 step = ((uint128)root << (i + 1)) + ((uint128)1 << 2 * i);
        if (step <= rest) {
            rest -= step;
            root |= UINT64_C(1) << i;
        }
    }
    return round_pack(w, false, (uint128)root << 1 | (rest != 0),
                      (n.exponent - (int)shift) / 2 - 1);
}

uint32_t fpu_exact_narrow(struct machine *m, uint64_t bits, unsigned *flags)
{
    struct work w = {&single_format, m->fcsr & FCSR_ROUND, 0};
    struct number n = unpack(&double_format, bits);
    uint64_t result;

    if (n.kind == FINITE)
        result = round_pack(&w, n.negative, n.fraction, n.exponent);
    else
        result = signed_bits(&w, n.negative, n.kind == ZERO ? 0 : infinity(&single_format));
    *flags = w.flags;
    return (uint32_t)result;
}

static uint64_t from_word(struct work *w, uint32_t word)
{
    bool negative = word >> 31 != 0;

    return word == 0 ? 0 : round_pack(w, negative, negative ? -word : word, 0);
}

uint64_t fpu_exact_muladd(struct machine *m, bool wide, unsigned kind, uint64_t a, uint64_t b,
                          uint64_t c, unsigned *flags)
{
    struct work w = {wide ? &double_format : &single_format, m->fcsr & FCSR_ROUND, 0};
    uint64_t sign = sign_bit(w.format);
    uint64_t product = multiply(&w, a, b);
    bool nan = is_nan(unpack(w.format, c));
    uint64_t sum = add(&w, product, kind & FPU_MINUS && !nan ? c ^ sign : c);

    *flags = w.flags;
    return kind & FPU_NEGATE ? sum ^ sign : sum;
}

/* The operation of an instruction, single or double alike. */
static uint64_t operate(struct work *w, enum isa_insn insn, uint64_t a, uint64_t b)
{
    uint64_t one = w->format->bits == 24 ? UINT64_C(0x3f800000) : UINT64_C(0x3ff0000000000000);

    switch (insn) {
    case ISA_ADD_S:
    case ISA_ADD_D:
        return add(w, a, b);
    case ISA_SUB_S:
    case ISA_SUB_D:
        return add(w, a, is_nan(unpack(w->format, b)) ? b : b ^ sign_bit(w->format));
    case ISA_MUL_S:
    case ISA_MUL_D:
        return multiply(w, a, b);
    case ISA_DIV_S:
    case ISA_DIV_D:
        return divide(w, a, b);
    case ISA_SQRT_S:
    case ISA_SQRT_D:
        return square_root(w, a);
    case ISA_RECIP_S:
    case ISA_RECIP_D:
        return divide(w, one, a);
    case ISA_RSQRT_S:
    case ISA_RSQRT_D:
        return divide(w, one, square_root(w, a));
    default:
        return from_word(w, (uint32_t)a);
    }
}

bool fpu_exact_has(enum isa_insn insn)
{
    switch (insn) {
    case ISA_ADD_S:
    case ISA_ADD_D:
    case ISA_SUB_S:
    case ISA_SUB_D:
    case ISA_MUL_S:
    case ISA_MUL_D:
    case ISA_DIV_S:
    case ISA_DIV_D:
    case ISA_SQRT_S:
    case ISA_SQRT_D:
    case ISA_RECIP_S:
    case ISA_RECIP_D:
    case ISA_RSQRT_S:
    case ISA_RSQRT_D:
    case ISA_CVT_S_W:
        return true;
    default:
        return false;
    }
}

/* --- the quick way: inlined for each format, so that what is known of it is constant --- */

#define QUICK static inline __attribute__((always_inline))

/* Far from zero, infinity and NaNs. */
QUICK bool is_middling(const struct format *f, uint64_t bits)
{
    uint64_t biased = (bits & (sign_bit(f) - 1)) >> (f->bits - 1);
    uint64_t margin = 2 * f->bits;

    return biased > margin && biased < (infinity(f) >> (f->bits - 1)) - margin;
}

/* The host's result, of a square root unless the instruction is one of the others. */
QUICK uint64_t host_double(enum isa_insn insn, uint64_t abits, uint64_t bbits)
{
    double a, b;
    uint64_t bits;

    memcpy(&a, &abits, sizeof(a));
    memcpy(&b, &bbits, sizeof(b));
    double result = insn == ISA_ADD_D   ? a + b
                    : insn == ISA_SUB_D ? a - b
                    : insn == ISA_MUL_D ? a * b
                    : insn == ISA_DIV_D ? a / b
                                        : __builtin_sqrt(a);
    memcpy(&bits, &result, sizeof(bits));
    return bits;
}

QUICK uint64_t host_single(enum isa_insn insn, uint32_t abits, uint32_t bbits)
{
    float a, b;
    uint32_t bits;

    memcpy(&a, &abits, sizeof(a));
    memcpy(&b, &bbits, sizeof(b));
    float result = insn == ISA_ADD_S   ? a + b
                   : insn == ISA_SUB_S ? a - b
                   : insn == ISA_MUL_S ? a * b
                   : insn == ISA_DIV_S ? a / b
                                       : __builtin_sqrtf(a);
    memcpy(&bits, &result, sizeof(bits));
    return bits;
}

QUICK uint64_t host_operate(const struct format *f, enum isa_insn insn, uint64_t a, uint64_t b)
{
    return f->bits == 24 ? host_single(insn, (uint32_t)a, (uint32_t)b) : host_double(insn, a, b);
}

/* The fraction of a middling number without the zeros at its end. */
QUICK uint64_t odd_fraction(const struct format *f, uint64_t bits)
{
    uint64_t hidden = UINT64_C(1) << (f->bits - 1);
    uint64_t fraction = (bits & (hidden - 1)) | hidden;

    return fraction >> __builtin_ctzll(fraction);
}

/* Whether a * b is `product` exactly, which it is but for a rounding. */
QUICK bool is_product(const struct format *f, uint64_t a, uint64_t b, uint64_t product)
{
    uint64_t fraction;

    return !__builtin_mul_overflow(odd_fraction(f, a), odd_fraction(f, b), &fraction) &&
           fraction == odd_fraction(f, product);
}

/* Whether a + b is `sum` exactly: then the sum less the greater one gives the other one back. */
QUICK bool is_sum(const struct format *f, uint64_t a, uint64_t b, uint64_t sum)
{
    uint64_t magnitude = sign_bit(f) - 1;
    enum isa_insn subtract = f->bits == 24 ? ISA_SUB_S : ISA_SUB_D;

    return (a & magnitude) >= (b & magnitude) ? host_operate(f, subtract, sum, a) == b
                                              : host_operate(f, subtract, sum, b) == a;
}

/* False: not an operation or not numbers for the quick way. */
QUICK bool quick(const struct format *f, enum isa_insn insn, uint64_t a, uint64_t b,
                 uint64_t *result, unsigned *flags)
{
    bool root = insn == ISA_SQRT_S || insn == ISA_SQRT_D;
    bool exact;

    if (!is_middling(f, a) || (!root && !is_middling(f, b)) || (root && a & sign_bit(f)))
        return false;
    *result = host_operate(f, insn, a, b);
    if (!is_middling(f, *result))
        return false;
    switch (insn) {
    case ISA_ADD_S:
    case ISA_ADD_D:
        exact = is_sum(f, a, b, *result);
        break;
    case ISA_SUB_S:
    case ISA_SUB_D:
        exact = is_sum(f, a, b ^ sign_bit(f), *result);
        break;
    case ISA_MUL_S:
    case ISA_MUL_D:
        exact = is_product(f, a, b, *result);
        break;
    case ISA_DIV_S:
    case ISA_DIV_D:
        exact = is_product(f, *result, b, a);
        break;
    case ISA_SQRT_S:
    case ISA_SQRT_D:
        exact = is_product(f, *result, *result, a);
        break;
    default:
        return false;
    }
    *flags = exact ? 0 : FLAG_I;
    return true;
}

bool fpu_exact(struct machine *m, enum isa_insn insn, unsigned d, unsigned s, unsigned t)
{
    bool wide = (isa_table[insn].flags & ISA_DOUBLE) != 0;
    struct work w = {wide ? &double_format : &single_format, m->fcsr & FCSR_ROUND, 0};
    uint64_t a = wide ? m->fd[s >> 1] : m->f[s], b = wide ? m->fd[t >> 1] : m->f[t], result;

    if (wide ? !quick(&double_format, insn, a, b, &result, &w.flags)
             : !quick(&single_format, insn, a, b, &result, &w.flags))
        result = operate(&w, insn, a, b);
    if (!fpu_set_flags(m, w.flags))
        return false;
    if (wide)
        m->fd[d >> 1] = result;
    else
        m->f[d] = (uint32_t)result;
    return true;
}
