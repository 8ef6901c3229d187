/*
 * Values to frames and back. Decoding copies nothing: the values point into the
 * frame. What the host wrote is trusted; the host does not trust what is written
 * here, and refuses anything that abi/value.h does not allow.
 */
#include "guest/sdk.h"

_Static_assert((int)MF_VOID == (int)MF_ABI_TYPE_VOID && (int)MF_BOOL == (int)MF_ABI_TYPE_BOOL &&
                   (int)MF_I32 == (int)MF_ABI_TYPE_I32 && (int)MF_U32 == (int)MF_ABI_TYPE_U32 &&
                   (int)MF_I64 == (int)MF_ABI_TYPE_I64 && (int)MF_U64 == (int)MF_ABI_TYPE_U64 &&
                   (int)MF_F32 == (int)MF_ABI_TYPE_F32 && (int)MF_F64 == (int)MF_ABI_TYPE_F64 &&
                   (int)MF_STRING == (int)MF_ABI_TYPE_STRING &&
                   (int)MF_BYTES == (int)MF_ABI_TYPE_BYTES,
               "types have the same numbers in the API and in frames");
_Static_assert(MF_PARAMS_MAX == MF_ABI_PARAMS_MAX, "limits of the API and of frames");

/* Where the data of a value is and how long it is; scalars are put into *scalar. */
static const void *value_data(const struct mf_value *v, uint64_t *scalar, uint64_t *len)
{
    *len = 8;
    switch (v->type) {
    case MF_STRING:
        *len = v->string.len;
        return v->string.data;
    case MF_BYTES:
        *len = v->bytes.len;
        return v->bytes.data;
    case MF_BOOL:
        *scalar = v->boolean;
        break;
    case MF_I32:
        *scalar = (uint64_t)(int64_t)v->i32;
        break;
    case MF_U32:
    case MF_F32:
        *scalar = v->u32;
        break;
    default:
        *scalar = v->u64;
        break;
    }
    return scalar;
}

static bool goes_by_reference(const struct mf_value *v, uint64_t len, bool refer)
{
    return refer && (v->type == MF_STRING || v->type == MF_BYTES) && len >= GUEST_REFERENCE_MIN;
}

uint64_t guest_frame_size(const struct mf_value *values, size_t n, bool refer)
{
    uint64_t size = sizeof(struct mf_abi_frame);
    for (size_t i = 0; i < n; i++) {
        uint64_t scalar, len;
        value_data(&values[i], &scalar, &len);
        if (goes_by_reference(&values[i], len, refer)) {
            size += sizeof(struct mf_abi_value) + sizeof(struct mf_abi_reference);
            continue;
        }
        if (len > UINT32_MAX - 16)
            return UINT64_MAX;
        size += mf_abi_value_size(values[i].type, len);
    }
    return (size + MF_ABI_FRAME_ALIGN - 1) & ~(uint64_t)(MF_ABI_FRAME_ALIGN - 1);
}

static uint8_t *encode_reference(uint8_t *dst, uint32_t type, const void *data, uint64_t len)
{
    struct mf_abi_value *header = (struct mf_abi_value *)dst;
    struct mf_abi_reference *reference = (struct mf_abi_reference *)(header + 1);

    header->type = type | MF_ABI_VALUE_REFERENCE;
    header->len = sizeof *reference;
    reference->address = (uintptr_t)data;
    reference->bytes = len;
    return (uint8_t *)(reference + 1);
}

/* Writes one value and returns the place behind it. */
static uint8_t *encode_value(uint8_t *dst, const struct mf_value *v, bool refer)
{
    uint64_t scalar, len;
    const void *data = value_data(v, &scalar, &len);
    if (goes_by_reference(v, len, refer))
        return encode_reference(dst, v->type, data, len);
    uint64_t size = mf_abi_value_size(v->type, len);
    struct mf_abi_value *header = (struct mf_abi_value *)dst;
    uint32_t type = v->type;

    /*
     * The data first: it may stand in the bytes that are written over (the
     * arguments of the nested call that this answers), but never below their
     * new place, and never so low that a header reaches it.
     */
    guest_copy(dst + sizeof *header, data, len);
    for (uint64_t i = sizeof *header + len; i < size; i++)
        dst[i] = 0;
    header->type = type;
    header->len = (uint32_t)len;
    return dst + size;
}

void guest_encode(uint8_t *dst, uint64_t size, struct mf_abi_frame header,
                  const struct mf_value *values, size_t n, bool refer)
{
    uint8_t *next = dst + sizeof header;
    for (size_t i = 0; i < n; i++)
        next = encode_value(next, &values[i], refer);
    header.size = (uint32_t)size;
    header.count = (uint16_t)n;
    *(struct mf_abi_frame *)dst = header;
}

size_t guest_decode(const struct mf_abi_frame *frame, struct mf_value *out)
{
    const uint8_t *next = (const uint8_t *)(frame + 1);
    size_t n = frame->count;
    for (size_t i = 0; i < n; i++) {
        const struct mf_abi_value *header = (const struct mf_abi_value *)next;
        const uint8_t *data = (const uint8_t *)(header + 1);
        uint32_t type = header->type & ~MF_ABI_VALUE_REFERENCE;
        uint64_t len = header->len;
        if (header->type & MF_ABI_VALUE_REFERENCE) {
            const struct mf_abi_reference *reference = (const struct mf_abi_reference *)data;
            data = (const uint8_t *)(uintptr_t)reference->address;
            len = reference->bytes;
        }
        if (type == MF_ABI_TYPE_STRING) {
            out[i] = mf_string_n((const char *)data, len);
        } else if (type == MF_ABI_TYPE_BYTES) {
            out[i] = mf_bytes(data, len);
        } else {
            /* Little-endian: the members of the union share their low bytes. */
            out[i] = mf_u64(*(const uint64_t *)data);
            out[i].type = (enum mf_type)type;
        }
        /* A reference has the length of its own bytes in the frame, and no terminator. */
        next += mf_abi_value_size(header->type, header->len);
    }
    return n;
}
