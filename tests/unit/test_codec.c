/*
 * Values to frames and back: what is checked, each refusal of the decoder, and
 * properties over random values and random damage. The seed is fixed and printed,
 * so that a failure can be repeated.
 */
#include "sandbox/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEED UINT64_C(0x6d6179666c790001)

/* xorshift64*: the same numbers on every machine. */
static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * UINT64_C(0x2545f4914f6cdd1d);
}

static struct mf_signature signature(const char *text)
{
    struct mf_signature sig;
    struct mf_error err;

    if (mf_signature_parse(text, &sig, &err) != 0)
        fail_msg("%s", err.message);
    return sig;
}

/* An encoded frame in memory of exactly its size. */
static uint8_t *encode(const struct mf_value *values, size_t n, uint32_t *size)
{
    const struct mf_abi_frame header = {.kind = MF_ABI_FRAME_CALL, .id = 7, .function = 32};
    uint64_t bytes = codec_frame_size(values, n, NULL);

    assert_true(bytes <= UINT32_MAX && bytes % MF_ABI_FRAME_ALIGN == 0);
    *size = (uint32_t)bytes;
    uint8_t *frame = malloc(*size);
    assert_non_null(frame);
    /* The padding at the end is not written; a decoder must not care. */
    memset(frame, 0xa5, *size);
    codec_encode(frame, *size, &header, values, n, NULL);
    return frame;
}

static void assert_equal_value(const struct mf_value *a, const struct mf_value *b)
{
    assert_int_equal(a->type, b->type);
    switch (a->type) {
    case MF_BOOL:
        assert_int_equal(a->boolean, b->boolean);
        break;
    case MF_I32:
    case MF_U32:
    case MF_F32: /* by bits: NaNs keep their payload */
        assert_memory_equal(&a->u32, &b->u32, 4);
        break;
    case MF_STRING:
        assert_int_equal(a->string.len, b->string.len);
        assert_int_equal(b->string.data[b->string.len], 0);
        if (a->string.len > 0)
            assert_memory_equal(a->string.data, b->string.data, a->string.len);
        break;
    case MF_BYTES:
        assert_int_equal(a->bytes.len, b->bytes.len);
        if (a->bytes.len > 0)
            assert_memory_equal(a->bytes.data, b->bytes.data, a->bytes.len);
        break;
    default:
        assert_memory_equal(&a->u64, &b->u64, 8);
    }
}

static void assert_round_trip(const struct mf_value *values, size_t n)
{
    struct mf_value out[MF_PARAMS_MAX];
    struct mf_error err;
    uint32_t size;
    size_t count;

    uint8_t *frame = encode(values, n, &size);
    if (codec_decode(frame, size, out, &count, NULL, &err) != 0)
        fail_msg("refused: %s", err.message);
    assert_int_equal(count, n);
    for (size_t i = 0; i < n; i++)
        assert_equal_value(&values[i], &out[i]);
    free(frame);
}

static void takes_edge_values_round(void **state)
{
    const uint32_t nan_bits = 0x7fa00001;
    struct mf_value nan = mf_f32(0);
    (void)state;

    memcpy(&nan.f32, &nan_bits, sizeof(nan_bits));
    const struct mf_value values[] = {
        mf_bool(false),        mf_bool(true),           mf_i32(0),
        mf_i32(-1),            mf_i32(INT32_MIN),       mf_i32(INT32_MAX),
        mf_u32(UINT32_MAX),    mf_i64(INT64_MIN),       mf_i64(-1),
        mf_u64(UINT64_MAX),    mf_f32(-0.0f),           mf_f32(1e-45f),
        nan,                   mf_f64(-0.0),            mf_f64(5e-324),
        mf_string(""),         mf_string("1234567"),    mf_string("12345678"),
        mf_string("gr\xc3\xbc\xc3\x9f"), mf_bytes("", 0), mf_bytes("\0\xff\0", 3),
        mf_bytes("12345678", 8), mf_bytes(NULL, 0),     mf_string_n(NULL, 0),
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        assert_round_trip(&values[i], 1);
    assert_round_trip(values, sizeof(values) / sizeof(values[0]));
    assert_round_trip(NULL, 0);
}

static void knows_sizes(void **state)
{
    const struct mf_value one = mf_i32(1), void_value = mf_void();
    struct mf_value values[MF_PARAMS_MAX];
    (void)state;

    assert_int_equal(codec_frame_size(NULL, 0, NULL), 64);
    assert_int_equal(codec_frame_size(&one, 1, NULL), 64);
    values[0] = mf_bytes("", 24); /* 32 + 8 + 24: the last that fits into one line */
    assert_int_equal(codec_frame_size(values, 1, NULL), 64);
    values[0] = mf_bytes("", 25);
    assert_int_equal(codec_frame_size(values, 1, NULL), 128);
    values[0] = mf_string_n("", 24); /* its terminator needs room */
    assert_int_equal(codec_frame_size(values, 1, NULL), 128);
    values[0] = mf_string_n("", 23);
    assert_int_equal(codec_frame_size(values, 1, NULL), 64);

    /* What no frame can hold; the data is never looked at. */
    values[0] = mf_bytes("", UINT32_MAX);
    assert_true(codec_frame_size(values, 1, NULL) == UINT64_MAX);
    values[0] = mf_bytes("", SIZE_MAX);
    assert_true(codec_frame_size(values, 1, NULL) == UINT64_MAX);
    values[0] = mf_bytes("", UINT32_MAX - 127);
    assert_int_equal(codec_frame_size(values, 1, NULL), UINT32_MAX - 63);
    for (size_t i = 0; i < MF_PARAMS_MAX; i++)
        values[i] = mf_bytes("", UINT32_MAX / 2);
    assert_true(codec_frame_size(values, MF_PARAMS_MAX, NULL) == UINT64_MAX);
    assert_true(codec_frame_size(&void_value, 1, NULL) == UINT64_MAX);
    values[0].type = (enum mf_type)42;
    assert_true(codec_frame_size(values, 1, NULL) == UINT64_MAX);
}

static void assert_args(const struct mf_signature *sig, const struct mf_value *args, size_t n,
                        int code, const char *words)
{
    struct mf_error err = {0};

    assert_int_equal(codec_check_args(sig, args, n, &err), code);
    if (code != 0 && !strstr(err.message, words))
        fail_msg("expected '%s' in '%s'", words, err.message);
    assert_int_equal(codec_check_args(sig, args, n, NULL), code);
}

static void checks_arguments(void **state)
{
    const struct mf_signature sig = signature("void f(string name, bool on, bytes)");
    struct mf_value args[4] = {mf_string("x"), mf_bool(true), mf_bytes("y", 1), mf_i32(0)};
    (void)state;

    assert_args(&sig, args, 3, 0, NULL);
    assert_args(&sig, args, 2, MF_E_TYPE, "f takes 3 arguments, not 2: void f(string name, bool");
    assert_args(&sig, args, 4, MF_E_TYPE, "not 4");
    assert_args(&sig, NULL, 3, MF_E_ARGUMENT, "NULL");
    args[0] = mf_i32(1);
    assert_args(&sig, args, 3, MF_E_TYPE,
                "argument 1 (name) has the wrong type: expected string, got i32");
    args[0].type = (enum mf_type)99;
    assert_args(&sig, args, 3, MF_E_TYPE, "got ?");
    args[0] = mf_string_n(NULL, 3);
    assert_args(&sig, args, 3, MF_E_ARGUMENT, "argument 1 (name) has a length but no data");
    args[0] = mf_string("ab\xff");
    assert_args(&sig, args, 3, MF_E_UTF8, "wrong byte at offset 2");
    args[0] = mf_string_n("a\0b", 3);
    assert_args(&sig, args, 3, MF_E_UTF8, "wrong byte at offset 1");
    args[0] = mf_string_n(NULL, 0);
    assert_args(&sig, args, 3, 0, NULL);
    memset(&args[1].boolean, 2, 1);
    assert_args(&sig, args, 3, MF_E_ARGUMENT, "argument 2 (on) is a bool that is neither");
    args[1] = mf_bool(false);
    args[2] = mf_bytes(NULL, 1);
    assert_args(&sig, args, 3, MF_E_ARGUMENT, "argument 3 has a length");
    args[2] = mf_bytes("\xff", 1);
    assert_args(&sig, args, 3, 0, NULL);

    const struct mf_signature one = signature("void g(i32)"), none = signature("void h()");
    assert_args(&one, args, 0, MF_E_TYPE, "g takes 1 argument, not 0");
    assert_args(&none, NULL, 0, 0, NULL);
}

static void checks_results(void **state)
{
    const struct mf_signature none = signature("void f()"), text = signature("string g()");
    struct mf_value value = mf_void();
    struct mf_error err;
    (void)state;

    assert_int_equal(codec_check_result(&none, &value, &err), 0);
    assert_int_equal(codec_check_result(&text, &value, &err), MF_E_TYPE);
    assert_string_equal(err.message,
                        "g: the result has the wrong type: expected string, got void");
    value = mf_string("ok");
    assert_int_equal(codec_check_result(&text, &value, &err), 0);
    assert_int_equal(codec_check_result(&none, &value, &err), MF_E_TYPE);
    value = mf_string("\xc0");
    assert_int_equal(codec_check_result(&text, &value, &err), MF_E_UTF8);
}

static void assert_decode_refused(const uint8_t *frame, uint32_t size, const char *words)
{
    struct mf_value out[MF_PARAMS_MAX];
    struct mf_error err = {0};
    size_t n = 9;

    assert_int_equal(codec_decode(frame, size, out, &n, NULL, &err), MF_E_PROTOCOL);
    assert_int_equal(n, 0);
    if (!strstr(err.message, words))
        fail_msg("expected '%s' in '%s'", words, err.message);
}

/* One frame with one value, whose bytes a test changes. */
struct small_frame {
    struct mf_abi_frame header;
    struct mf_abi_value value;
    uint64_t data[3];
};

static void decode_one(uint32_t type, uint32_t len, uint64_t first, const char *words)
{
    struct small_frame *frame = calloc(1, sizeof(*frame));
    struct mf_value out[MF_PARAMS_MAX];
    size_t n;

    assert_non_null(frame);
    frame->header.count = 1;
    frame->value.type = type;
    frame->value.len = len;
    frame->data[0] = first;
    if (words)
        assert_decode_refused((uint8_t *)frame, sizeof(*frame), words);
    else
        assert_int_equal(codec_decode((uint8_t *)frame, sizeof(*frame), out, &n, NULL, NULL), 0);
    free(frame);
}

static void refuses_other_forms(void **state)
{
    (void)state;
    decode_one(MF_BOOL, 8, 1, NULL);
    decode_one(MF_BOOL, 8, 2, "canonical");
    decode_one(MF_BOOL, 8, UINT64_C(1) << 32, "canonical");
    decode_one(MF_I32, 8, UINT64_C(0xffffffff80000000), NULL);
    decode_one(MF_I32, 8, UINT64_C(0x80000000), "canonical");
    decode_one(MF_I32, 8, UINT64_C(0xffffffff7fffffff), "canonical");
    decode_one(MF_U32, 8, UINT64_C(0xffffffff), NULL);
    decode_one(MF_U32, 8, UINT64_C(0x100000000), "canonical");
    decode_one(MF_F32, 8, UINT64_C(0x100000000), "canonical");
    decode_one(MF_I64, 8, UINT64_MAX, NULL);
    for (uint32_t type = MF_BOOL; type <= MF_F64; type++) {
        decode_one(type, 0, 0, "not 8 bytes long");
        decode_one(type, 4, 0, "not 8 bytes long");
        decode_one(type, 9, 0, "not 8 bytes long");
    }
    decode_one(MF_VOID, 8, 0, "value 1 of 1 in a frame has a type that does not exist");
    decode_one(10, 8, 0, "has a type");
    decode_one(UINT32_MAX, UINT32_MAX, 0, "has a type");
    decode_one(MF_BYTES, 24, 0, NULL);
    decode_one(MF_BYTES, 25, 0, "past the end");
    decode_one(MF_BYTES, UINT32_MAX, 0, "past the end");
    decode_one(MF_STRING, UINT32_MAX, 0, "past the end");
    decode_one(MF_STRING, 24, UINT64_C(0x4141414141414141), "past the end");
    decode_one(MF_BYTES, 3, UINT64_C(0x0100000000000000), "padding");
    decode_one(MF_BYTES, 3, UINT64_C(0x01000000), "padding");
    decode_one(MF_STRING, 3, UINT64_C(0x41414141), "no terminator");
    decode_one(MF_STRING, 3, UINT64_C(0x414141), NULL);
    decode_one(MF_STRING, 3, UINT64_C(0x410041), "not UTF-8");
    decode_one(MF_STRING, 1, UINT64_C(0xff), "not UTF-8");
}

/* The same where references are allowed. */
static void refer_one(uint32_t type, uint32_t len, uint64_t first, const char *words)
{
    struct small_frame *frame = calloc(1, sizeof(*frame));
    struct mf_value out[MF_PARAMS_MAX];
    struct codec_references references = {.mask = 77};
    struct mf_error err = {0};
    size_t n;

    assert_non_null(frame);
    frame->header.count = 1;
    frame->value.type = type;
    frame->value.len = len;
    frame->data[0] = first;
    frame->data[1] = UINT64_MAX; /* any claim: whether it holds is not decided here */
    int rc = codec_decode((uint8_t *)frame, sizeof(*frame), out, &n, &references, &err);
    if (words) {
        assert_int_equal(rc, MF_E_PROTOCOL);
        assert_int_equal(references.mask, 0);
        if (!strstr(err.message, words))
            fail_msg("expected '%s' in '%s'", words, err.message);
    } else {
        assert_int_equal(rc, 0);
        assert_int_equal(references.mask, 1);
        assert_true(references.address[0] == first);
        assert_int_equal(out[0].type, type & 0xff);
        assert_true(out[0].bytes.len == SIZE_MAX && !out[0].bytes.data);
    }
    free(frame);
}

static void takes_references(void **state)
{
    const uint32_t bit = MF_ABI_VALUE_REFERENCE;
    (void)state;

    refer_one(bit | MF_BYTES, 16, 0, NULL);
    refer_one(bit | MF_STRING, 16, UINT64_MAX, NULL);
    for (uint32_t type = MF_BOOL; type <= MF_F64; type++)
        refer_one(bit | type, 16, 1, "number by reference");
    refer_one(bit, 16, 1, "does not exist");
    refer_one(bit | 10, 16, 1, "does not exist");
    refer_one(bit << 1 | MF_BYTES, 16, 1, "does not exist");
    refer_one(bit | bit << 1 | MF_BYTES, 16, 1, "does not exist");
    refer_one(bit | MF_BYTES, 8, 1, "not 16 bytes long");
    refer_one(bit | MF_BYTES, 15, 1, "not 16 bytes long");
    refer_one(bit | MF_STRING, 24, 1, "not 16 bytes long");
    refer_one(bit | MF_BYTES, 25, 1, "past the end");
    refer_one(bit | MF_BYTES, UINT32_MAX, 1, "past the end");
    decode_one(bit | MF_BYTES, 16, 0, "does not exist");
}

/* Only the values that do not stand in the frame, and their sizes do not count. */
static void sizes_of_references(void **state)
{
    struct codec_references references = {.mask = UINT32_MAX};
    struct mf_value values[MF_PARAMS_MAX];
    (void)state;

    for (size_t i = 0; i < MF_PARAMS_MAX; i++)
        values[i] = mf_bytes("", SIZE_MAX);
    assert_int_equal(codec_frame_size(values, MF_PARAMS_MAX, &references), 832);
    assert_int_equal(codec_frame_size(values, 1, &references), 64);
    references.mask = UINT32_MAX >> 1;
    assert_true(codec_frame_size(values, MF_PARAMS_MAX, &references) == UINT64_MAX);
    references.mask = 0;
    values[0] = mf_bytes("", 24);
    assert_int_equal(codec_frame_size(values, 1, &references), 64);
}

static void refuses_bad_frames(void **state)
{
    struct mf_abi_frame header = {.count = 33};
    (void)state;

    assert_decode_refused((uint8_t *)&header, 31, "no room for its header");
    assert_decode_refused((uint8_t *)&header, 32, "33 values; at most 32");
    header.count = 1;
    assert_decode_refused((uint8_t *)&header, 32, "beyond the end");
}

static void matches_signatures(void **state)
{
    const struct mf_signature two = signature("i32 f(i32, string)");
    const struct mf_signature none = signature("void g()");
    struct mf_value values[3] = {mf_i32(1), mf_string("x"), mf_i32(2)};
    struct mf_error err;
    (void)state;

    assert_int_equal(codec_match_params(&two, values, 2, &err), 0);
    assert_int_equal(codec_match_params(&two, values, 3, &err), MF_E_PROTOCOL);
    assert_non_null(strstr(err.message, "f: the frame has 3 values, the signature 2"));
    assert_int_equal(codec_match_params(&two, values + 1, 2, &err), MF_E_PROTOCOL);
    assert_non_null(strstr(err.message, "value 1 is string, the signature says i32"));
    assert_int_equal(codec_match_params(&none, values, 0, &err), 0);

    assert_int_equal(codec_match_result(&two, values, 1, &err), 0);
    assert_int_equal(codec_match_result(&two, values, 0, &err), MF_E_PROTOCOL);
    assert_int_equal(codec_match_result(&two, values + 1, 1, &err), MF_E_PROTOCOL);
    assert_non_null(strstr(err.message, "the answer is string, the signature says i32"));
    assert_int_equal(codec_match_result(&none, values, 0, &err), 0);
    assert_int_equal(codec_match_result(&none, values, 1, &err), MF_E_PROTOCOL);
}

static struct mf_value random_value(uint64_t *seed, char *room, size_t size)
{
    uint64_t bits = next_random(seed);
    size_t len = next_random(seed) % (size + 1);

    switch (1 + next_random(seed) % 9) {
    case MF_BOOL:
        return mf_bool(bits & 1);
    case MF_I32:
        return mf_i32((int32_t)bits);
    case MF_U32:
        return mf_u32((uint32_t)bits);
    case MF_I64:
        return mf_i64((int64_t)bits);
    case MF_U64:
        return mf_u64(bits);
    case MF_F32: {
        struct mf_value value = mf_u32((uint32_t)bits);
        value.type = MF_F32;
        return value;
    }
    case MF_F64: {
        struct mf_value value = mf_u64(bits);
        value.type = MF_F64;
        return value;
    }
    case MF_STRING:
        for (size_t i = 0; i < len; i++)
            room[i] = (char)(1 + next_random(seed) % 127);
        return mf_string_n(room, len);
    default:
        for (size_t i = 0; i < len; i++)
            room[i] = (char)next_random(seed);
        return mf_bytes(room, len);
    }
}

static size_t random_values(uint64_t *seed, struct mf_value *values,
                            char room[MF_PARAMS_MAX][100])
{
    size_t n = next_random(seed) % (MF_PARAMS_MAX + 1);

    for (size_t i = 0; i < n; i++)
        values[i] = random_value(seed, room[i], sizeof(room[i]));
    return n;
}

static void takes_random_values_round(void **state)
{
    static char room[MF_PARAMS_MAX][100];
    struct mf_value values[MF_PARAMS_MAX];
    uint64_t seed = SEED;
    (void)state;

    print_message("seed %#llx\n", (unsigned long long)seed);
    for (int round = 0; round < 3000; round++) {
        size_t n = random_values(&seed, values, room);
        assert_round_trip(values, n);
    }
}

/*
 * Whatever happens to the bytes of a frame, the decoder does not crash; and what
 * it still accepts is in the one form that the encoder would write.
 */
static void survives_random_damage(void **state)
{
    static char room[MF_PARAMS_MAX][100];
    struct mf_value values[MF_PARAMS_MAX], out[MF_PARAMS_MAX];
    uint64_t seed = SEED ^ 0x5555;
    unsigned accepted = 0, refused = 0;
    (void)state;

    print_message("seed %#llx\n", (unsigned long long)seed);
    for (int round = 0; round < 20000; round++) {
        uint32_t size, again_size;
        size_t n = random_values(&seed, values, room), count;
        uint8_t *frame = encode(values, n, &size);

        for (uint64_t hits = 1 + next_random(&seed) % 3; hits > 0; hits--) {
            uint64_t where = next_random(&seed) % size;
            /* Often a small change, which has better chances to be accepted. */
            frame[where] ^= next_random(&seed) % 2 ? 1u << next_random(&seed) % 8
                                                    : (uint8_t)next_random(&seed);
        }
        if (codec_decode(frame, size, out, &count, NULL, NULL) != 0) {
            refused++;
            free(frame);
            continue;
        }
        accepted++;
        uint8_t *again = encode(out, count, &again_size);
        uint64_t used = sizeof(struct mf_abi_frame);
        for (size_t i = 0; i < count; i++)
            used += mf_abi_value_size(out[i].type, out[i].type == MF_STRING   ? out[i].string.len
                                                   : out[i].type == MF_BYTES ? out[i].bytes.len
                                                                             : 8);
        assert_true(used <= size);
        assert_memory_equal(again + sizeof(struct mf_abi_frame),
                            frame + sizeof(struct mf_abi_frame),
                            used - sizeof(struct mf_abi_frame));
        free(again);
        free(frame);
    }
    /* Both ways must have been taken, or the test shows nothing. */
    assert_true(accepted > 500 && refused > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_edge_values_round),
        cmocka_unit_test(knows_sizes),
        cmocka_unit_test(checks_arguments),
        cmocka_unit_test(checks_results),
        cmocka_unit_test(refuses_other_forms),
        cmocka_unit_test(takes_references),
        cmocka_unit_test(sizes_of_references),
        cmocka_unit_test(refuses_bad_frames),
        cmocka_unit_test(matches_signatures),
        cmocka_unit_test(takes_random_values_round),
        cmocka_unit_test(survives_random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
