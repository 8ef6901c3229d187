/* Arithmetic that tells when it overflows, and rounding on top of it. */
#ifndef BASE_CHECKED_H
#define BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* *out = a + b; false, and *out unspecified, on overflow. */
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* *out = a rounded up to a multiple of `align`, a power of two. */
static inline bool round_up_u64(uint64_t a, uint64_t align, uint64_t *out)
{
    uint64_t sum;
    if (!add_u64(a, align - 1, &sum))
        return false;
    *out = sum & ~(align - 1);
    return true;
}

/* a rounded down to a multiple of `align`, a power of two. */
static inline uint64_t round_down_u64(uint64_t a, uint64_t align)
{
    return a & ~(align - 1);
}

static inline bool is_power_of_two(uint64_t a)
{
    return a != 0 && (a & (a - 1)) == 0;
}

/* Whether [offset, offset + len) lies inside [0, size). */
static inline bool range_inside(uint64_t offset, uint64_t len, uint64_t size)
{
    return offset <= size && len <= size - offset;
}

#endif
