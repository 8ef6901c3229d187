/*
 * Words of instructions.inc that mean the same wherever it is included for its code: in
 * execute.c and in native_op.c. They need `m`, `R` (its registers), `o`, the label `fault`
 * and ATTEND and NOTE_TIME.
 */
#ifndef MACHINE_GUEST_WORDS_H
#define MACHINE_GUEST_WORDS_H

#include "fpu_host.h"
#include "translate.h"

#include <string.h>

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

static inline uint32_t rotate_right(uint32_t value, uint32_t by)
{
    return value >> by | value << (-by & 31);
}

static inline uint64_t hilo(const struct machine *m)
{
    return (uint64_t)m->r[REG_HI] << 32 | m->r[REG_LO];
}

static inline void set_hilo(struct machine *m, uint64_t value)
{
    m->r[REG_HI] = (uint32_t)(value >> 32);
    m->r[REG_LO] = (uint32_t)value;
}

static inline float single_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline uint32_t bits_of_single(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline uint64_t bits_of_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* The line that answers for an address. */
static inline const struct line *line_of(const struct machine *m, uint32_t address)
{
    return &m->lines[(address >> PAGE_BITS) % LINES];
}

/* `n` bytes of swl or swr at `first`; `named` is the address in the instruction. */
static bool store_part(struct machine *m, uint32_t named, uint32_t first, unsigned n,
                       uint32_t value)
{
    /* All bytes are in one word, so either all of them can be stored or none. */
    for (unsigned i = 0; i < n; i++) {
        unsigned shift = 8 * (m->big_endian ? n - 1 - i : i);
        if (!memory_store(m, first + i, 1, value >> shift & 0xff)) {
            m->fault.address = named;
            return false;
        }
    }
    return true;
}

static inline bool flags_now(struct machine *m)
{
    if (unlikely(fpu_host_flags() != 0))
        return fpu_flags(m);
    m->fcsr &= ~FCSR_CAUSES;
    return true;
}

#define same(x) (x)
#define D       R[o->d]
#define S       R[o->s]
#define T       R[o->t]
#define SS      ((int32_t)S)
#define TT      ((int32_t)T)
#define IMM     (o->imm)
#define SIMM    ((int32_t)o->imm)
#define FD(x)   (m->fd[o->x >> 1])
#define SIGN_D  UINT64_C(0x8000000000000000)

#define FAULT goto fault
#define OVERFLOW                          \
    do {                                  \
        fault_plain(m, EXC_OV, NULL);     \
        FAULT;                            \
    } while (0)
#define TRAP                              \
    do {                                  \
        fault_plain(m, EXC_TR, NULL);     \
        FAULT;                            \
    } while (0)
#define LOAD_SLOW(address, bytes, out)                        \
    do {                                                      \
        NOTE_TIME;                                            \
        if (unlikely(!memory_load(m, address, bytes, out)))   \
            FAULT;                                            \
    } while (0)
#define STORE_SLOW(address, bytes, value)                     \
    do {                                                      \
        NOTE_TIME;                                            \
        if (unlikely(!memory_store(m, address, bytes, value))) \
            FAULT;                                            \
    } while (0)
#define LOAD_ALIGNED(named, out)                                              \
    do {                                                                      \
        NOTE_TIME;                                                            \
        if (unlikely(!memory_load(m, (named) & ~UINT32_C(3), 4, out))) {      \
            m->fault.address = (named);                                       \
            FAULT;                                                            \
        }                                                                     \
    } while (0)
#define TAG(address, bytes) ((address) & (~PAGE_MASK | ((bytes) - 1)))
#define LOAD(bytes, type, swap, action)                                     \
    uint32_t address = S + IMM;                                             \
    const struct line *line = line_of(m, address);                          \
    type value;                                                             \
    if (likely(line->read_page == TAG(address, bytes))) {                   \
        memcpy(&value, (const void *)((uintptr_t)line->base + address), bytes); \
        value = (type)swap(value);                                          \
        action;                                                             \
    } else {                                                                \
        uint64_t wide;                                                      \
        LOAD_SLOW(address, bytes, &wide);                                   \
        value = (type)wide;                                                 \
        action;                                                             \
        ATTEND;                                                             \
    }
#define STORE(bytes, type, swap, what)                                      \
    uint32_t address = S + IMM;                                             \
    const struct line *line = line_of(m, address);                          \
    type value = (type)(what);                                              \
    if (likely(line->write_page == TAG(address, bytes))) {                  \
        value = (type)swap(value);                                          \
        memcpy((void *)((uintptr_t)line->base + address), &value, bytes);   \
    } else {                                                                \
        STORE_SLOW(address, bytes, value);                                  \
        ATTEND;                                                             \
    }

/* Through `volatile`, so that the operation is done before its flags are read. */
#define FLAGS                       \
    if (unlikely(!flags_now(m)))    \
        FAULT
#define SINGLE_OF(expression, second)                                       \
    volatile float z = (expression);                                        \
    float v = z;                                                            \
    uint32_t bits = bits_of_single(v);                                      \
    if (unlikely(v != v)) {                                                 \
        if (!fpu_fix_single(m, m->f[o->s], second, &bits))                  \
            FAULT;                                                          \
    } else {                                                                \
        FLAGS;                                                              \
    }                                                                       \
    m->f[o->d] = bits;
#define DOUBLE_OF(expression, second)                                       \
    volatile double z = (expression);                                       \
    double v = z;                                                           \
    uint64_t bits = bits_of_double(v);                                      \
    if (unlikely(v != v)) {                                                 \
        if (!fpu_fix_double(m, FD(s), second, &bits))                       \
            FAULT;                                                          \
    } else {                                                                \
        FLAGS;                                                              \
    }                                                                       \
    FD(d) = bits;
#define SINGLE(expression)                                        \
    float x = single_of(m->f[o->s]), y = single_of(m->f[o->t]);   \
    SINGLE_OF(expression, m->f[o->t])
#define SINGLE_1(expression)           \
    float x = single_of(m->f[o->s]);   \
    SINGLE_OF(expression, 0)
#define DOUBLE(expression)                                        \
    double x = double_of(FD(s)), y = double_of(FD(t));            \
    DOUBLE_OF(expression, FD(t))
#define DOUBLE_1(expression)           \
    double x = double_of(FD(s));       \
    DOUBLE_OF(expression, 0)

#endif
