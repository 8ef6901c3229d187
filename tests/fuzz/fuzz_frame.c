/*
 * The frame decoder: the input is a frame as a guest left it. What is accepted
 * must be exactly what the encoder writes for the same values, and must pass the
 * checks for values that a host gives.
 */
#include "sandbox/codec.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static uint64_t used_bytes(const struct mf_value *values, size_t n,
                           const struct codec_references *references)
{
    uint64_t used = sizeof(struct mf_abi_frame);

    for (size_t i = 0; i < n; i++) {
        if (references->mask >> i & 1) {
            used += sizeof(struct mf_abi_value) + sizeof(struct mf_abi_reference);
            continue;
        }
        uint64_t len = values[i].type == MF_STRING  ? values[i].string.len
                       : values[i].type == MF_BYTES ? values[i].bytes.len
                                                    : 8;
        used += mf_abi_value_size((uint32_t)values[i].type, len);
    }
    return used;
}

static void check_canonical(const uint8_t *frame, uint32_t size, const struct mf_value *values,
                            size_t n, const struct codec_references *references)
{
    struct mf_abi_frame header;
    uint64_t used = used_bytes(values, n, references);
    uint64_t bytes = codec_frame_size(values, n, references);

    CHECK(used <= size && bytes >= used && bytes < used + MF_ABI_FRAME_ALIGN);
    uint8_t *again = malloc(bytes);
    if (!again)
        return;
    memcpy(&header, frame, sizeof(header));
    codec_encode(again, (uint32_t)bytes, &header, values, n, references);
    CHECK(memcmp(again + sizeof(header), frame + sizeof(header), used - sizeof(header)) == 0);
    free(again);
}

/* A signature that the values fit. */
static void check_matches(const struct mf_value *values, size_t n)
{
    static struct mf_signature sig;
    struct mf_error err;

    sig = (struct mf_signature){.name = "f", .nparams = (uint32_t)n};
    for (size_t i = 0; i < n; i++)
        sig.params[i].type = values[i].type;
    CHECK(codec_match_params(&sig, values, n, &err) == 0);
    CHECK(codec_check_args(&sig, values, n, &err) == 0);
    sig.result = n ? values[0].type : MF_VOID;
    CHECK((codec_match_result(&sig, values, n, &err) == 0) == (n <= 1));
    if (n > 0) {
        sig.params[n - 1].type = values[n - 1].type % 9 + 1;
        CHECK(codec_match_params(&sig, values, n, &err) == MF_E_PROTOCOL);
    }
}

/* Only strings and bytes are referred to; what they claim is not looked at here. */
static void check_data(const struct mf_value *values, size_t n,
                       const struct codec_references *references)
{
    for (size_t i = 0; i < n; i++) {
        if (references->mask >> i & 1)
            CHECK((values[i].type == MF_STRING || values[i].type == MF_BYTES) &&
                  values[i].bytes.data == NULL);
        else if (values[i].type == MF_STRING)
            CHECK(strlen(values[i].string.data) == values[i].string.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mf_value values[MF_PARAMS_MAX];
    struct codec_references references;
    struct mf_error err = {0};
    size_t n, nplain;

    int rc = codec_decode(data, (uint32_t)size, values, &n, &references, &err);
    if (rc != 0) {
        CHECK(err.code == MF_E_PROTOCOL && n == 0);
        return 0;
    }
    CHECK(n <= MF_PARAMS_MAX && (n == MF_PARAMS_MAX || references.mask >> n == 0));
    check_data(values, n, &references);
    check_canonical(data, (uint32_t)size, values, n, &references);
    /* Where references are not allowed, only frames without any are frames. */
    rc = codec_decode(data, (uint32_t)size, values, &nplain, NULL, &err);
    CHECK((rc == 0) == (references.mask == 0) && nplain == (rc == 0 ? n : 0));
    if (rc == 0)
        check_matches(values, n);
    return 0;
}
