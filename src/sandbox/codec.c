/*
 * Values to frames and back (abi/value.h). Encoding is on the call path: it
 * allocates nothing and writes each byte once, straight into the mailbox.
 * Decoding reads a private copy of what the guest wrote and accepts one form
 * only, so that what was decoded and encoded again gives the same bytes.
 */
#include "sandbox/codec.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* Only the types that can be encoded; void cannot. */
static bool is_scalar(uint32_t type)
{
    return type >= MF_BOOL && type <= MF_F64;
}

/* Where a string or bytes value has its data. */
static struct mf_bytes_data data_of(const struct mf_value *value)
{
    if (value->type == MF_STRING)
        return (struct mf_bytes_data){value->string.data, value->string.len};
    return value->bytes;
}

/* "argument 2 (name)" or "the result", for messages. */
struct place {
    const struct mf_signature *sig;
    size_t index; /* of the argument, from 0 */
    bool result;
};

static int refuse(const struct place *place, struct mf_error *err, int code, const char *what)
{
    const struct mf_signature *sig = place->sig;

    if (place->result)
        return error_set(err, code, "%s: the result %s", sig->name, what);
    const char *name = sig->params[place->index].name;
    if (*name == 0)
        return error_set(err, code, "%s: argument %zu %s", sig->name, place->index + 1, what);
    return error_set(err, code, "%s: argument %zu (%s) %s", sig->name, place->index + 1, name,
                     what);
}

static int refuse_type(const struct place *place, const struct mf_value *value,
                       enum mf_type type, struct mf_error *err)
{
    int rc = refuse(place, err, MF_E_TYPE, "has the wrong type");

    if (err) {
        size_t len = strlen(err->message);
        snprintf(err->message + len, sizeof(err->message) - len, ": expected %s, got %s",
                 mf_type_name(type), mf_type_name(value->type));
    }
    return rc;
}

static int check_value(const struct place *place, const struct mf_value *value,
                       enum mf_type type, struct mf_error *err)
{
    unsigned char boolean;
    size_t bad;

    if (value->type != type)
        return refuse_type(place, value, type, err);
    if (type == MF_BOOL) {
        /* A caller in another language may have put any byte there. */
        memcpy(&boolean, &value->boolean, 1);
        if (boolean > 1)
            return refuse(place, err, MF_E_ARGUMENT, "is a bool that is neither 0 nor 1");
    }
    if (type != MF_STRING && type != MF_BYTES)
        return 0;
    struct mf_bytes_data data = data_of(value);
    if (!data.data && data.len > 0)
        return refuse(place, err, MF_E_ARGUMENT, "has a length but no data (NULL)");
    if (type == MF_STRING && data.len > 0 && !text_is_utf8(data.data, data.len, &bad)) {
        char what[96];
        snprintf(what, sizeof(what), "is not UTF-8 without NUL: wrong byte at offset %zu", bad);
        return refuse(place, err, MF_E_UTF8, what);
    }
    return 0;
}

int codec_check_args(const struct mf_signature *sig, const struct mf_value *args, size_t nargs,
                     struct mf_error *err)
{
    if (nargs != sig->nparams) {
        char text[160];
        mf_signature_format(sig, text, sizeof(text));
        return error_set(err, MF_E_TYPE, "%s takes %u argument%s, not %zu: %s", sig->name,
                         sig->nparams, sig->nparams == 1 ? "" : "s", nargs, text);
    }
    if (nargs > 0 && !args)
        return error_set(err, MF_E_ARGUMENT, "%s: no arguments given (NULL)", sig->name);
    for (size_t i = 0; i < nargs; i++) {
        struct place place = {sig, i, false};
        int rc = check_value(&place, &args[i], sig->params[i].type, err);
        if (rc)
            return rc;
    }
    return 0;
}

int codec_check_result(const struct mf_signature *sig, const struct mf_value *result,
                       struct mf_error *err)
{
    struct place place = {sig, 0, true};
    return check_value(&place, result, sig->result, err);
}

static bool is_reference(const struct codec_references *references, size_t i)
{
    return references && (references->mask >> i & 1);
}

uint64_t codec_frame_size(const struct mf_value *values, size_t n,
                          const struct codec_references *references)
{
    uint64_t size = sizeof(struct mf_abi_frame);

    for (size_t i = 0; i < n; i++) {
        uint32_t type = (uint32_t)values[i].type;
        uint64_t len = 8;

        if (is_reference(references, i)) {
            size += sizeof(struct mf_abi_value) + sizeof(struct mf_abi_reference);
            continue;
        }
        if (type == MF_STRING || type == MF_BYTES)
            len = data_of(&values[i]).len;
        else if (!is_scalar(type))
            return UINT64_MAX;
        /* With both below 2^32 the sum cannot wrap. */
        if (len > UINT32_MAX || size > UINT32_MAX)
            return UINT64_MAX;
        size += mf_abi_value_size(type, len);
    }
    size = (size + MF_ABI_FRAME_ALIGN - 1) & ~(uint64_t)(MF_ABI_FRAME_ALIGN - 1);
    return size > UINT32_MAX ? UINT64_MAX : size;
}

/* The one form in which a scalar travels. */
static uint64_t scalar_bits(const struct mf_value *value)
{
    uint64_t bits = 0;

    switch (value->type) {
    case MF_BOOL:
        return value->boolean ? 1 : 0;
    case MF_I32:
        return (uint64_t)(int64_t)value->i32;
    case MF_U32:
        return value->u32;
    case MF_F32:
        memcpy(&bits, &value->f32, sizeof(value->f32));
        return bits;
    default:
        /* i64, u64 and f64 fill all 64 bits. */
        memcpy(&bits, &value->u64, sizeof(bits));
        return bits;
    }
}

static uint8_t *encode_value(uint8_t *dst, const struct mf_value *value)
{
    struct mf_abi_value header = {.type = (uint32_t)value->type, .len = 8};

    if (is_scalar(header.type)) {
        uint64_t bits = scalar_bits(value);
        memcpy(dst, &header, sizeof(header));
        memcpy(dst + sizeof(header), &bits, sizeof(bits));
        return dst + 16;
    }
    struct mf_bytes_data data = data_of(value);
    header.len = (uint32_t)data.len;
    uint64_t size = mf_abi_value_size(header.type, header.len);
    memcpy(dst, &header, sizeof(header));
    if (data.len > 0)
        memcpy(dst + sizeof(header), data.data, data.len);
    memset(dst + sizeof(header) + data.len, 0, size - sizeof(header) - data.len);
    return dst + size;
}

static uint8_t *encode_reference(uint8_t *dst, const struct mf_value *value, uint64_t address)
{
    struct mf_abi_reference reference = {.address = address, .bytes = data_of(value).len};
    struct mf_abi_value header = {
        .type = (uint32_t)value->type | MF_ABI_VALUE_REFERENCE,
        .len = sizeof(reference),
    };

    memcpy(dst, &header, sizeof(header));
    memcpy(dst + sizeof(header), &reference, sizeof(reference));
    return dst + sizeof(header) + sizeof(reference);
}

void codec_encode(uint8_t *dst, uint32_t size, const struct mf_abi_frame *header,
                  const struct mf_value *values, size_t n,
                  const struct codec_references *references)
{
    struct mf_abi_frame frame = *header;

    frame.size = size;
    frame.count = (uint16_t)n;
    memcpy(dst, &frame, sizeof(frame));
    dst += sizeof(frame);
    for (size_t i = 0; i < n; i++) {
        if (is_reference(references, i))
            dst = encode_reference(dst, &values[i], references->address[i]);
        else
            dst = encode_value(dst, &values[i]);
    }
}

/* Takes the bits of a scalar; false when they are not its canonical form. */
static bool decode_scalar(uint64_t bits, struct mf_value *out)
{
    uint32_t low = (uint32_t)bits;

    switch (out->type) {
    case MF_BOOL:
        out->boolean = bits == 1;
        return bits <= 1;
    case MF_I32:
        out->i32 = (int32_t)low;
        return bits == (uint64_t)(int64_t)out->i32;
    case MF_U32:
        out->u32 = low;
        return bits == low;
    case MF_F32:
        memcpy(&out->f32, &low, sizeof(low));
        return bits == low;
    default:
        memcpy(&out->u64, &bits, sizeof(bits));
        return true;
    }
}

/* Takes the data of a string or bytes value; NULL or the reason why it is refused. */
static const char *decode_data(const uint8_t *data, uint32_t len, uint64_t room,
                               struct mf_value *out)
{
    size_t bad;

    for (uint64_t i = len; i < room; i++)
        if (data[i] != 0)
            return out->type == MF_STRING ? "has no terminator or padding that is not zero"
                                          : "has padding that is not zero";
    if (out->type == MF_BYTES) {
        out->bytes.data = data;
        out->bytes.len = len;
        return NULL;
    }
    if (!text_is_utf8((const char *)data, len, &bad))
        return "is a string that is not UTF-8 without NUL";
    out->string.data = (const char *)data;
    out->string.len = len;
    return NULL;
}

/* Takes the place of a value that stands elsewhere; NULL or the reason why it is refused. */
static const char *decode_reference(const struct mf_abi_value *header, const uint8_t *data,
                                    uint64_t *address, struct mf_value *out)
{
    struct mf_abi_reference reference;

    if (header->len != sizeof(reference))
        return "is a reference that is not 16 bytes long";
    memcpy(&reference, data, sizeof(reference));
    *address = reference.address;
    out->bytes.len = (size_t)reference.bytes; /* the same member for strings */
    return NULL;
}

/*
 * Takes one value at `src` of at most `left` bytes. NULL, or the reason why it is
 * refused. *address is set for a reference, which is allowed when it is not NULL.
 */
static const char *decode_value(const uint8_t *src, uint64_t left, struct mf_value *out,
                                uint64_t *taken, uint64_t *address, bool *referred)
{
    struct mf_abi_value header;
    uint64_t bits, size;

    if (left < sizeof(header))
        return "lies beyond the end of the frame";
    memcpy(&header, src, sizeof(header));
    *referred = address && (header.type & MF_ABI_VALUE_REFERENCE);
    if (*referred) {
        header.type &= ~MF_ABI_VALUE_REFERENCE;
        if (is_scalar(header.type))
            return "is a number by reference";
    }
    if (!is_scalar(header.type) && header.type != MF_STRING && header.type != MF_BYTES)
        return "has a type that does not exist";
    size = mf_abi_value_size(*referred ? MF_ABI_TYPE_BYTES : header.type, header.len);
    if (size > left)
        return "runs past the end of the frame";
    memset(out, 0, sizeof(*out));
    out->type = (enum mf_type)header.type;
    *taken = size;
    if (*referred)
        return decode_reference(&header, src + sizeof(header), address, out);
    if (!is_scalar(header.type))
        return decode_data(src + sizeof(header), header.len, size - sizeof(header), out);
    if (header.len != 8)
        return "is a scalar that is not 8 bytes long";
    memcpy(&bits, src + sizeof(header), sizeof(bits));
    return decode_scalar(bits, out) ? NULL : "is a number that is not in its canonical form";
}

int codec_decode(const uint8_t *frame, uint32_t size, struct mf_value *out, size_t *n,
                 struct codec_references *references, struct mf_error *err)
{
    struct mf_abi_frame header;
    uint64_t at = sizeof(header);

    *n = 0;
    if (references)
        references->mask = 0;
    if (size < sizeof(header))
        return error_set(err, MF_E_PROTOCOL, "a frame of %u bytes has no room for its header",
                         (unsigned)size);
    memcpy(&header, frame, sizeof(header));
    if (header.count > MF_ABI_PARAMS_MAX)
        return error_set(err, MF_E_PROTOCOL, "a frame has %u values; at most %d are allowed",
                         (unsigned)header.count, MF_ABI_PARAMS_MAX);
    for (unsigned i = 0; i < header.count; i++) {
        uint64_t taken = 0;
        bool referred;
        const char *why = decode_value(frame + at, size - at, &out[i], &taken,
                                       references ? &references->address[i] : NULL, &referred);

        if (why)
            return error_set(err, MF_E_PROTOCOL, "value %u of %u in a frame %s", i + 1,
                             (unsigned)header.count, why);
        if (referred)
            references->mask |= UINT32_C(1) << i;
        at += taken;
    }
    *n = header.count;
    return 0;
}

int codec_match_params(const struct mf_signature *sig, const struct mf_value *values, size_t n,
                       struct mf_error *err)
{
    if (n != sig->nparams)
        return error_set(err, MF_E_PROTOCOL, "%s: the frame has %zu values, the signature %u",
                         sig->name, n, sig->nparams);
    for (size_t i = 0; i < n; i++)
        if (values[i].type != sig->params[i].type)
            return error_set(err, MF_E_PROTOCOL, "%s: value %zu is %s, the signature says %s",
                             sig->name, i + 1, mf_type_name(values[i].type),
                             mf_type_name(sig->params[i].type));
    return 0;
}

int codec_match_result(const struct mf_signature *sig, const struct mf_value *values, size_t n,
                       struct mf_error *err)
{
    size_t expected = sig->result == MF_VOID ? 0 : 1;

    if (n != expected)
        return error_set(err, MF_E_PROTOCOL, "%s: the answer has %zu values instead of %zu",
                         sig->name, n, expected);
    if (n == 1 && values[0].type != sig->result)
        return error_set(err, MF_E_PROTOCOL, "%s: the answer is %s, the signature says %s",
                         sig->name, mf_type_name(values[0].type), mf_type_name(sig->result));
    return 0;
}
