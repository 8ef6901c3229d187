/*
 * Calls both ways through the public API: values of every type through host
 * functions, failures, limits of the mailbox, and nested calls. The guest is
 * tests/guests/calls/guest.c, in each of its builds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "backend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One sandbox for each test. */
struct fixture {
    enum mf_backend backend;
    struct mf_image *image;
    struct mf_host *host;
    struct mf_sandbox *sandbox;
    uint64_t seed;     /* of the noise that the guest makes */
    unsigned failures; /* of nested calls, as host_back saw them */
};

static int echo(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                struct mf_value *result, struct mf_error *err)
{
    (void)context;
    if (arg[0].type != MF_STRING && arg[0].type != MF_BYTES) {
        *result = arg[0];
        return 0;
    }
    /* The argument's bytes must outlive this function. */
    size_t len = arg[0].bytes.len;
    void *copy = mf_sandbox_scratch(sandbox, len + 1);
    if (copy == NULL)
        return mf_fail(err, MF_E_TOO_LARGE, "no room for %zu bytes", len);
    memcpy(copy, arg[0].bytes.data, len);
    ((char *)copy)[len] = 0;
    *result = arg[0].type == MF_STRING ? mf_string_n(copy, len) : mf_bytes(copy, len);
    return 0;
}

static int add(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
               struct mf_value *result, struct mf_error *err)
{
    (void)sandbox;
    (void)context;
    (void)err;
    *result = mf_i32(arg[0].i32 + arg[1].i32);
    return 0;
}

static int nothing(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                   struct mf_value *result, struct mf_error *err)
{
    (void)sandbox;
    (void)context;
    (void)arg;
    (void)result;
    (void)err;
    return 0;
}

static int many(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                struct mf_value *result, struct mf_error *err)
{
    int64_t sum = 0;
    (void)sandbox;
    (void)context;
    (void)err;
    for (int i = 0; i < MF_PARAMS_MAX; i++)
        sum += arg[i].i32 * (int64_t)(i + 1);
    *result = mf_i64(sum);
    return 0;
}

static int name(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                struct mf_value *result, struct mf_error *err)
{
    (void)context;
    char *text = mf_sandbox_scratch(sandbox, 300);
    if (text == NULL)
        return mf_fail(err, MF_E_TOO_LARGE, "no room");
    snprintf(text, 300, "name-%u", (unsigned)arg[0].u32);
    *result = mf_string(text);
    return 0;
}

static int join(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                struct mf_value *result, struct mf_error *err)
{
    size_t a = arg[0].string.len, b = arg[1].string.len;
    (void)context;
    char *text = mf_sandbox_scratch(sandbox, a + b + 1);
    if (text == NULL)
        return mf_fail(err, MF_E_TOO_LARGE, "no room");
    memcpy(text, arg[0].string.data, a);
    memcpy(text + a, arg[1].string.data, b + 1);
    *result = mf_string_n(text, a + b);
    return 0;
}

static int refuse(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                  struct mf_value *result, struct mf_error *err)
{
    (void)sandbox;
    (void)context;
    (void)result;
    return mf_fail(err, MF_E_HOST_FUNCTION, "%s", arg[0].string.data);
}

/* Calls the guest that called: `deeper`, or at depth 0 what the text begins with. */
static int back(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                struct mf_value *result, struct mf_error *err)
{
    struct fixture *f = context;
    int status;

    if (strncmp(arg[1].string.data, "crash", 5) == 0 && arg[0].u32 == 0)
        status = mf_sandbox_call(sandbox, "crash", NULL, 0, NULL, err);
    else if (strncmp(arg[1].string.data, "second", 6) == 0 && arg[0].u32 == 0) {
        struct mf_value words[2] = {mf_string("first"), arg[1]}, word;
        status = mf_sandbox_call(sandbox, "second", words, 2, &word, err);
        if (status == MF_OK && strcmp(word.string.data, arg[1].string.data) != 0)
            return mf_fail(err, MF_E_HOST_FUNCTION, "second gave '%s'", word.string.data);
        *result = mf_u64(1000);
        return status;
    } else if (strncmp(arg[1].string.data, "ruin", 4) == 0 && arg[0].u32 == 0) {
        struct mf_value seed = mf_u64(f->seed);
        status = mf_sandbox_call(sandbox, "ruin", &seed, 1, result, err);
    } else
        status = mf_sandbox_call(sandbox, "deeper", arg, 2, result, err);
    f->failures += status != MF_OK;
    return status;
}

static const struct {
    const char *signature;
    mf_host_fn fn;
} functions[] = {
    {"bool host_bool(bool value)", echo},
    {"i32 host_i32(i32 value)", echo},
    {"u32 host_u32(u32 value)", echo},
    {"i64 host_i64(i64 value)", echo},
    {"u64 host_u64(u64 value)", echo},
    {"f32 host_f32(f32 value)", echo},
    {"f64 host_f64(f64 value)", echo},
    {"string host_string(string value)", echo},
    {"bytes host_bytes(bytes value)", echo},
    {"i32 add(i32, i32)", add},
    {"void nothing()", nothing},
    {"i64 many(i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, "
     "i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32)", many},
    {"string name(u32 number)", name},
    {"string join(string a, string b)", join},
    {"string fail(string message)", refuse},
    {"u64 back(u32 depth, string text)", back},
};

static const char *guest_build = "gcc";

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct mf_error err;
    char path[4096];

    snprintf(path, sizeof path, "%s/calls/%s", getenv("GUESTS"), guest_build);
    f->backend = test_backend();
    int status = mf_image_open(path, &f->image, &err);
    if (status == MF_OK)
        status = mf_host_create(&f->host, &err);
    for (size_t i = 0; status == MF_OK && i < sizeof functions / sizeof functions[0]; i++)
        status = mf_host_add(f->host, functions[i].signature, functions[i].fn, f, &err);
    struct mf_sandbox_options options = {
        .size = sizeof options, .backend = f->backend, .max_depth = 10, .timeout_ns = 20000000000};
    if (status == MF_OK)
        status = mf_sandbox_create(f->image, f->host, &options, &f->sandbox, &err);
    if (status != MF_OK)
        fail_msg("%s: %s: %s", path, mf_error_name(status), err.message);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mf_sandbox_destroy(f->sandbox);
    mf_host_destroy(f->host);
    mf_image_close(f->image);
    free(f);
    return 0;
}

/* Calls and expects success. */
static struct mf_value call(struct fixture *f, const char *function, const struct mf_value *args,
                            size_t nargs)
{
    struct mf_value result = mf_void();
    struct mf_error err = {.code = 0};
    int status = mf_sandbox_call(f->sandbox, function, args, nargs, &result, &err);
    if (status != MF_OK)
        fail_msg("%s: %s: %s", function, mf_error_name(status), err.message);
    return result;
}

/* Calls and expects this error, with this text in its message. */
static void call_fails(struct fixture *f, const char *function, const struct mf_value *args,
                       size_t nargs, int code, const char *text)
{
    struct mf_error err = {.code = 0};
    int status = mf_sandbox_call(f->sandbox, function, args, nargs, NULL, &err);
    if (status != code || strstr(err.message, text) == NULL)
        fail_msg("%s: %s: %s; expected %s: %s", function, mf_error_name(status), err.message,
                 mf_error_name(code), text);
}

static void test_scalars(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *function;
        struct mf_value value;
    } cases[] = {
        {"relay_bool", {MF_BOOL, 0, {.boolean = true}}},
        {"relay_bool", {MF_BOOL, 0, {.boolean = false}}},
        {"relay_i32", {MF_I32, 0, {.i32 = INT32_MIN}}},
        {"relay_i32", {MF_I32, 0, {.i32 = -1}}},
        {"relay_u32", {MF_U32, 0, {.u32 = UINT32_MAX}}},
        {"relay_i64", {MF_I64, 0, {.i64 = INT64_MIN}}},
        {"relay_u64", {MF_U64, 0, {.u64 = UINT64_MAX}}},
        {"relay_f32", {MF_F32, 0, {.u32 = 0x7fc01234}}}, /* a NaN that says something */
        {"relay_f32", {MF_F32, 0, {.u32 = 0x80000001}}},
        {"relay_f64", {MF_F64, 0, {.u64 = 0x7ff800000000abcd}}},
        {"relay_f64", {MF_F64, 0, {.u64 = 0xfff0000000000000}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mf_value v = call(f, cases[i].function, &cases[i].value, 1);
        assert_int_equal(v.type, cases[i].value.type);
        switch (v.type) {
        case MF_BOOL:
            assert_int_equal(v.boolean, cases[i].value.boolean);
            break;
        case MF_I32:
        case MF_U32:
        case MF_F32:
            assert_int_equal(v.u32, cases[i].value.u32);
            break;
        default:
            assert_true(v.u64 == cases[i].value.u64);
            break;
        }
    }
}

static void test_data(void **state)
{
    struct fixture *f = *state;
    static char text[20001];
    static const size_t lengths[] = {0, 1, 7, 8, 9, 15, 16, 23, 24, 25, 63, 64, 1000, 4095, 20000};

    memset(text, 'q', sizeof text);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        size_t len = lengths[i];
        struct mf_value string = mf_string_n(text, len), bytes = mf_bytes(text, len);
        text[len] = 0;
        struct mf_value v = call(f, "relay_string", &string, 1);
        assert_int_equal(v.string.len, len);
        assert_memory_equal(v.string.data, text, len + 1);
        v = call(f, "relay_bytes", &bytes, 1);
        assert_int_equal(v.bytes.len, len);
        if (len > 0)
            assert_memory_equal(v.bytes.data, text, len);
        text[len] = 'q';
    }
}

static void test_many_calls(void **state)
{
    struct mf_value n = mf_i32(500);
    assert_int_equal(call(*state, "sum_to", &n, 1).i32, 500 * 501 / 2);
    assert_true(call(*state, "call_nothing", NULL, 0).boolean);
}

static void test_many_parameters(void **state)
{
    struct mf_value no = mf_bool(false), yes = mf_bool(true);
    int64_t sum = 0;
    for (int i = 0; i < MF_PARAMS_MAX; i++)
        sum += i * (int64_t)(i + 1);
    assert_int_equal(call(*state, "call_many", &no, 1).i64, sum);
    call_fails(*state, "call_many", &yes, 1, MF_E_GUEST_ERROR, "at most 32");
}

static void test_results_live_on(void **state)
{
    struct mf_value numbers[2] = {mf_u32(1), mf_u32(22)};
    assert_string_equal(call(*state, "join_names", numbers, 2).string.data,
                        "name-1|name-22|name-1name-22|name-1name-22name-1");
}

static void test_scratch_given_back(void **state)
{
    struct mf_value args[2] = {mf_u32(5000), mf_bool(true)};
    assert_true(call(*state, "name_length", args, 2).u64 > 5000 * 6);
    /* Kept, they fill the exchange area: an error, and the next call is well. */
    args[1] = mf_bool(false);
    call_fails(*state, "name_length", args, 2, MF_E_TOO_LARGE, "");
    args[0] = mf_u32(10);
    assert_int_equal(call(*state, "name_length", args, 2).u64, 60);
}

static void test_failures(void **state)
{
    struct mf_value message = mf_string("out of cheese");
    assert_string_equal(call(*state, "survive", &message, 1).string.data,
                        "survived: out of cheese");
    call_fails(*state, "pass_on", &message, 1, MF_E_GUEST_ERROR, "out of cheese");
    assert_string_equal(call(*state, "survive", &message, 1).string.data,
                        "survived: out of cheese");
}

static void test_nested(void **state)
{
    struct fixture *f = *state;
    struct mf_value args[2] = {mf_u32(5), mf_string("text")};

    /* 4 letters at the top, and ".5", ".4", ... more at each depth below. */
    assert_int_equal(call(f, "deeper", args, 2).u64, 4 + 6 + 8 + 10 + 12 + 14);
    args[0] = mf_u32(0);
    assert_int_equal(call(f, "deeper", args, 2).u64, 4);
}

static void test_nested_answer_in_place(void **state)
{
    struct mf_value args[2] = {mf_u32(1), mf_string("second")};
    assert_int_equal(call(*state, "deeper", args, 2).u64, 1000 + 6);
}

static void test_nested_too_deep(void **state)
{
    struct fixture *f = *state;
    struct mf_value args[2] = {mf_u32(50), mf_string("x")};

    /* The innermost call is refused; everybody passes the failure on; nobody dies. */
    call_fails(f, "deeper", args, 2, MF_E_GUEST_ERROR, "nested");
    assert_int_equal(f->failures, 10 + 1); /* max_depth, and the one that was refused */
    args[0] = mf_u32(3);
    assert_int_equal(call(f, "deeper", args, 2).u64, 1 + 3 + 5 + 7);
}

static void test_nested_crash(void **state)
{
    struct fixture *f = *state;
    struct mf_value args[2] = {mf_u32(1), mf_string("crash")};

    call_fails(f, "deeper", args, 2, MF_E_GUEST_FAULT, "");
    assert_int_equal(mf_sandbox_poisoned(f->sandbox), MF_E_GUEST_FAULT);
    assert_int_equal(mf_sandbox_fault(f->sandbox)->kind, MF_FAULT_INSTRUCTION);
    assert_string_equal(mf_sandbox_fault(f->sandbox)->symbol, "crash");
    call_fails(f, "call_nothing", NULL, 0, MF_E_POISONED, "");
}

/* Whatever the guest writes into the mailbox while a host function runs: an error at most. */
static void test_nested_noise(void **state)
{
    struct fixture *f = *state;
    struct mf_value args[2] = {mf_u32(2), mf_string("ruin")};
    struct mf_sandbox_options options = {
        .size = sizeof options, .backend = f->backend, .timeout_ns = 5000000000};

    for (f->seed = 1; f->seed <= 24; f->seed++) {
        struct mf_sandbox *sandbox;
        struct mf_value result = mf_void();
        struct mf_error err = {.code = 0};
        assert_int_equal(mf_sandbox_create(f->image, f->host, &options, &sandbox, &err), MF_OK);
        int status = mf_sandbox_call(sandbox, "deeper", args, 2, &result, &err);
        assert_true(status == MF_OK ? result.type == MF_U64 : status == err.code);
        mf_sandbox_destroy(sandbox);
    }
}

/* A result larger than the mailbox comes whole; a host function has only so much scratch. */
static void test_too_large(void **state)
{
    struct mf_value no = mf_bool(false), yes = mf_bool(true);
    struct mf_value text = call(*state, "too_large", &no, 1);
    assert_int_equal(text.string.len, 1 << 20);
    assert_int_equal(strspn(text.string.data, "x"), 1 << 20);
    call_fails(*state, "too_large", &yes, 1, MF_E_TOO_LARGE, "no room");
    assert_true(call(*state, "call_nothing", NULL, 0).boolean);
}

static void test_deadline(void **state)
{
    struct fixture *f = *state;
    struct mf_error err;
    if (mf_sandbox_set_limits(f->sandbox, 100000000, 0, &err) != MF_OK)
        fail_msg("%s", err.message);
    call_fails(f, "spin", NULL, 0, MF_E_DEADLINE, "");
    assert_int_equal(mf_sandbox_poisoned(f->sandbox), MF_E_DEADLINE);
}

/* Host sets that do not have what the image needs. */
static void test_missing_host_functions(void **state)
{
    struct fixture *f = *state;
    struct mf_sandbox_options options = {.size = sizeof options, .backend = f->backend};
    struct mf_sandbox *sandbox = NULL;
    struct mf_host *host;
    struct mf_error err;

    assert_int_equal(mf_sandbox_create(f->image, NULL, &options, &sandbox, &err),
                     MF_E_NO_HOST_FUNCTION);
    assert_null(sandbox);
    assert_int_equal(mf_host_create(&host, &err), MF_OK);
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        bool other = strncmp(functions[i].signature, "i32 add", 7) == 0;
        assert_int_equal(mf_host_add(host, other ? "i64 add(i64, i64)" : functions[i].signature,
                                     functions[i].fn, f, &err), MF_OK);
    }
    assert_int_equal(mf_sandbox_create(f->image, host, &options, &sandbox, &err),
                     MF_E_SIGNATURE);
    assert_non_null(strstr(err.message, "add"));
    mf_host_destroy(host);
}

static void test_counters(void **state)
{
    struct fixture *f = *state;
    struct mf_value n = mf_i32(10), args[2] = {mf_u32(2), mf_string("x")};
    struct mf_stats stats = {.size = sizeof stats};

    call(f, "sum_to", &n, 1);
    call(f, "deeper", args, 2);
    mf_sandbox_get_stats(f->sandbox, &stats);
    assert_int_equal(stats.host_calls, 12);
    assert_int_equal(stats.calls, 1 + 3);
    assert_true(stats.bytes_in > 0 && stats.bytes_out > 0);
}

int main(void)
{
    const char *guests = getenv("GUESTS");
    static const char *const builds[] = {"gcc", "musl"};
    char path[4096];
    int failed = 0;

    if (guests == NULL) {
        fprintf(stderr, "GUESTS must be set\n");
        return 2;
    }
    test_backend();
    static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(test_scalars),
        TEST(test_data),
        TEST(test_many_calls),
        TEST(test_many_parameters),
        TEST(test_results_live_on),
        TEST(test_scratch_given_back),
        TEST(test_failures),
        TEST(test_nested),
        TEST(test_nested_answer_in_place),
        TEST(test_nested_too_deep),
        TEST(test_nested_crash),
        TEST(test_nested_noise),
        TEST(test_too_large),
        TEST(test_deadline),
        TEST(test_missing_host_functions),
        TEST(test_counters),
#undef TEST
    };
    for (size_t i = 0; i < sizeof builds / sizeof builds[0]; i++) {
        guest_build = builds[i];
        snprintf(path, sizeof path, "%s/calls/%s", guests, guest_build);
        if (access(path, R_OK) != 0) {
            printf("skipped: %s was not built, because its compiler is missing\n", path);
            continue;
        }
        printf("guest: %s\n", path);
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    }
    return failed != 0;
}
