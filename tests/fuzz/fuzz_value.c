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

/* One byte of type, then 8 bytes, or a length of two bytes and as many bytes of data. */
static struct mf_value take_value(struct input *in)
{
    struct mf_value value = mf_void();

    value.type = (enum mf_type)(1 + take_bytes(in, 1) % 9);
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
static bool are_valid(const struct mf_value *values, size_t n)
{
    static struct mf_signature sig;
    struct mf_error err = {0};
    bool good = true;

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
    struct input in = {data, size};
    struct mf_error err = {0};
    size_t n = 0, count;

    while (in.size > 0 && n < MF_PARAMS_MAX)
        values[n++] = take_value(&in);
    bool valid = are_valid(values, n);
    uint64_t bytes = codec_frame_size(values, n);
    CHECK(bytes % MF_ABI_FRAME_ALIGN == 0 && bytes >= sizeof(header));
    uint8_t *frame = malloc(bytes);
    if (!frame)
        return 0;
    codec_encode(frame, (uint32_t)bytes, &header, values, n);
    int rc = codec_decode(frame, (uint32_t)bytes, out, &count, &err);
    CHECK(rc == (valid ? 0 : MF_E_PROTOCOL));
    CHECK(count == (valid ? n : 0));
    for (size_t i = 0; i < count; i++)
        CHECK(same_value(&values[i], &out[i]));
    free(frame);
    return 0;
}
