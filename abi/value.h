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
 *
 * A string or bytes value may also travel by reference (since 1.1): `type` has
 * MF_ABI_VALUE_REFERENCE set, `len` is 16, and the data is a struct
 * mf_abi_reference that says where in guest memory the bytes stand. What the host
 * refers to is read-only for the guest, and a string has its terminator there. The
 * arguments of a CALL in the ring are mapped until the exported function has been
 * answered; what a frame in the exchange area refers to is, until another frame
 * takes its place or one before it. What the guest refers to stays as it is until
 * it takes the next call (HOST_CALL: until it is answered); a guest that answers by
 * reference while more calls are posted executes `out READY` before it takes the
 * next one.
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

/* In `type`: the bytes of a string or bytes value stand elsewhere. */
#define MF_ABI_VALUE_REFERENCE UINT32_C(0x100)

struct mf_abi_reference {
    uint64_t address; /* guest virtual; readable for the guest as far as `bytes` goes */
    uint64_t bytes;   /* without the terminator of a string */
};

_Static_assert(sizeof(struct mf_abi_reference) == 16, "reference layout");

/* Bytes that a value with `len` data bytes takes in a frame. */
static inline uint64_t mf_abi_value_size(uint32_t type, uint64_t len)
{
    return 8 + ((len + (type == MF_ABI_TYPE_STRING) + 7) & ~UINT64_C(7));
}

#endif
