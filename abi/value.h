/*
 * How values travel in frames. A value is this header, then `len` bytes of
 * data, then zero bytes up to the next multiple of 8.
 *
 * Scalars have len = 8 and one canonical form: bool is 0 or 1; i32 is sign
 * extended to 64 bits; u32 and the bits of an f32 are zero extended; i64, u64
 * and the bits of an f64 fill all 64. A decoder refuses any other form.
 *
 * A string is UTF-8 without NUL; `len` does not count the terminator, which is
 * always there (so a string of 8 bytes takes 8 + 16). bytes are any bytes; no
 * terminator is promised.
 */
#ifndef MAYFLY_ABI_VALUE_H
#define MAYFLY_ABI_VALUE_H

#include <stdint.h>

enum mf_abi_type {
    MF_ABI_TYPE_VOID = 0, /* only as a result type; never encoded */
    MF_ABI_TYPE_BOOL = 1,
    MF_ABI_TYPE_I32 = 2,
    MF_ABI_TYPE_U32 = 3,
    MF_ABI_TYPE_I64 = 4,
    MF_ABI_TYPE_U64 = 5,
    MF_ABI_TYPE_F32 = 6,
    MF_ABI_TYPE_F64 = 7,
    MF_ABI_TYPE_STRING = 8,
    MF_ABI_TYPE_BYTES = 9,
};

struct mf_abi_value {
    uint32_t type; /* enum mf_abi_type */
    uint32_t len;  /* bytes of data that follow, without padding */
};

_Static_assert(sizeof(struct mf_abi_value) == 8, "value layout");

/* Bytes that a value with `len` data bytes takes in a frame. */
static inline uint64_t mf_abi_value_size(uint32_t type, uint64_t len)
{
    return 8 + ((len + (type == MF_ABI_TYPE_STRING) + 7) & ~UINT64_C(7));
}

#endif
