/*
 * Values through the codec: the input says which values to make (see take_value);
 * encoded and decoded they must be the same.
 */
#include "base/text.h"
#include "sandbox/codec.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* The input that is left. */
struct input {
    const uint8_t *data;
    size_t size;
};

static uint64_t take_bytes(struct input *in, size_t count)
{
    uint64_t value = 0;

    if (count > in->size)
        count = in->size;
    memcpy(&value, in->data, count);
    in->data += count;
    in->size -= count;
    return value;
}

/*
 * One byte of type, then 8 bytes, or a length of two bytes and as many bytes of data. With
 * 128 added to the type of the latter, it is a reference: address and length.
 */
static struct mf_value take_value(struct input *in, bool *referred, uint64_t *address)
{
    struct mf_value value = mf_void();
    uint8_t type = (uint8_t)take_bytes(in, 1);

    value.type = (enum mf_type)(1 + type % 128 % 9);
    *referred = value.type >= MF_STRING && type >= 128;
    if (*referred) {
        *address = take_bytes(in, 8);
        value.bytes = (struct mf_bytes_data){NULL, take_bytes(in, 8)};
        return value;
    }
    if (value.type < MF_STRING) {
        uint64_t bits = take_bytes(in, 8);
        if (value.type == MF_BOOL)
            value.boolean = bits & 1;
        else
            memcpy(&value.u64, &bits, sizeof(bits));
        return value;
    }
    size_t len = (size_t)take_bytes(in, 2);
    if (len > in->size)
        len = in->size;
    if (value.type == MF_STRING)
        value.string = (struct mf_string_data){(const char *)in->data, len};
    else
        value.bytes = (struct mf_bytes_data){in->data, len};
    in->data += len;
    in->size -= len;
    return value;
}

static bool same_value(const struct mf_value *a, const struct mf_value *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case MF_BOOL:
        return a->boolean == b->boolean;
    case MF_I32:
    case MF_U32:
    case MF_F32:
        return memcmp(&a->u32, &b->u32, 4) == 0;
    case MF_STRING:
        return a->string.len == b->string.len && b->string.data[b->string.len] == 0 &&
               memcmp(a->string.data, b->string.data, a->string.len) == 0;
    case MF_BYTES:
        return a->bytes.len == b->bytes.len &&
               memcmp(a->bytes.data, b->bytes.data, a->bytes.len) == 0;
    default:
        return memcmp(&a->u64, &b->u64, 8) == 0;
    }
}

/* Whether the checks for values of a host let them through; they must when strings are UTF-8. */
static bool are_valid(const struct mf_value *given, size_t n,
                      const struct codec_references *references)
{
    static struct mf_signature sig;
    struct mf_value values[MF_PARAMS_MAX] = {0};
    struct mf_error err = {0};
    bool good = true;

    /* Referred data is not there to be looked at. */
    for (size_t i = 0; i < n; i++)
        values[i] = references->mask >> i & 1 ? mf_u32(0) : given[i];

    sig = (struct mf_signature){.name = "f", .nparams = (uint32_t)n};
    for (size_t i = 0; i < n; i++) {
        size_t bad;
        sig.params[i].type = values[i].type;
        if (values[i].type == MF_STRING &&
            !text_is_utf8(values[i].string.data, values[i].string.len, &bad)) {
            CHECK(bad < values[i].string.len);
            good = false;
        }
    }
    int rc = codec_check_args(&sig, values, n, &err);
    CHECK(rc == (good ? 0 : MF_E_UTF8));
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mf_value values[MF_PARAMS_MAX] = {0}, out[MF_PARAMS_MAX];
    const struct mf_abi_frame header = {.kind = MF_ABI_FRAME_RESULT, .id = 1};
    struct codec_references references = {.mask = 0}, back;
    struct input in = {data, size};
    struct mf_error err = {0};
    size_t n = 0, count;

    while (in.size > 0 && n < MF_PARAMS_MAX) {
        bool referred;
        values[n] = take_value(&in, &referred, &references.address[n]);
        references.mask |= (uint32_t)referred << n;
        n++;
    }
    bool valid = are_valid(values, n, &references);
    uint64_t bytes = codec_frame_size(values, n, &references);
    CHECK(bytes % MF_ABI_FRAME_ALIGN == 0 && bytes >= sizeof(header));
    uint8_t *frame = malloc(bytes);
    if (!frame)
        return 0;
    codec_encode(frame, (uint32_t)bytes, &header, values, n, &references);
    int rc = codec_decode(frame, (uint32_t)bytes, out, &count, &back, &err);
    CHECK(rc == (valid ? 0 : MF_E_PROTOCOL));
    CHECK(count == (valid ? n : 0));
    CHECK(rc != 0 || back.mask == references.mask);
    for (size_t i = 0; i < count; i++) {
        if (back.mask >> i & 1)
            CHECK(out[i].type == values[i].type && out[i].bytes.len == values[i].bytes.len &&
                  back.address[i] == references.address[i]);
        else
            CHECK(same_value(&values[i], &out[i]));
    }
    free(frame);
    return 0;
}
