/*
 * Batches: many calls with one entry into the guest, each with a status of its own. The
 * guest is tests/guests/large.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_large.h"

#include <mayfly/batch.h>

#include <pthread.h>
#include <unistd.h>

#define MANY 1000

static int set_up(void **state)
{
    struct large *large = malloc(sizeof *large);
    large_open(large, 0, 0);
    *state = large;
    return 0;
}

static int tear_down(void **state)
{
    large_close(*state);
    free(*state);
    return 0;
}

static uint64_t entries(const struct large *large)
{
    struct mf_stats stats = {.size = sizeof stats};
    mf_sandbox_get_stats(large->sandbox, &stats);
    return stats.entries;
}

/* Makes the batch and expects it to be made. */
static void make(struct large *large, struct mf_call *calls, size_t n)
{
    if (mf_sandbox_call_batch(large->sandbox, calls, n, &large->err) != 0)
        fail_msg("%s: %s", mf_error_name(large->err.code), large->err.message);
    assert_int_equal(large->err.code, 0);
}

static void assert_done(const struct mf_call *call)
{
    if (call->status != 0)
        fail_msg("%s: %s", mf_error_name(call->status), call->error.message);
    assert_int_equal(call->error.code, 0);
}

static void assert_failed(const struct mf_call *call, int code, const char *text)
{
    assert_int_equal(call->status, code);
    assert_int_equal(call->error.code, code);
    if (!strstr(call->error.message, text))
        fail_msg("'%s' is not in '%s'", text, call->error.message);
}

static void test_sizes(void **state)
{
    struct large *large = *state;
    static const size_t sizes[] = {0, 1, 2, 64, MANY};
    static struct mf_call calls[MANY];
    static struct mf_value args[MANY][2];
    size_t add = large_index(large, "add");

    make(large, NULL, 0);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (size_t i = 0; i < sizes[s]; i++) {
            args[i][0] = mf_i32((int32_t)i);
            args[i][1] = mf_i32((int32_t)(i * i));
            /* What stands there from before does not matter. */
            calls[i] = (struct mf_call){
                .function = add, .args = args[i], .nargs = 2, .status = 77, .error.code = 5};
        }
        make(large, calls, sizes[s]);
        for (size_t i = 0; i < sizes[s]; i++) {
            assert_done(&calls[i]);
            assert_int_equal(calls[i].result.type, MF_I32);
            assert_int_equal(calls[i].result.i32, i + i * i);
        }
    }
}

static void test_no_calls_given(void **state)
{
    struct large *large = *state;
    assert_int_equal(mf_sandbox_call_batch(large->sandbox, NULL, 3, &large->err), MF_E_ARGUMENT);
    assert_int_equal(mf_sandbox_call_batch(large->sandbox, NULL, 3, NULL), MF_E_ARGUMENT);
}

/* 64 calls that fit are one entry; calls and counters go on as they were. */
static void test_entries(void **state)
{
    struct large *large = *state;
    struct mf_call calls[64];
    struct mf_value text = mf_bytes("sixty-four bytes at most, which is what a cache line has", 56);
    struct mf_stats before = {.size = sizeof before}, after = {.size = sizeof after};

    if (mf_sandbox_start(large->sandbox, &large->err) != 0)
        fail_msg("%s", large->err.message);
    mf_sandbox_get_stats(large->sandbox, &before);
    for (size_t i = 0; i < 64; i++)
        calls[i] =
            (struct mf_call){.function = large_index(large, "echo"), .args = &text, .nargs = 1};
    make(large, calls, 64);
    mf_sandbox_get_stats(large->sandbox, &after);
    assert_int_equal(after.entries - before.entries, 1);
    assert_int_equal(after.exits_io - before.exits_io, 1);
    assert_int_equal(after.calls - before.calls, 64);
    assert_int_equal(after.bytes_in - before.bytes_in, 64 * 128);
    assert_int_equal(after.bytes_out - before.bytes_out, 64 * 128);
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(calls[i].result.bytes.len, 56);
        assert_memory_equal(calls[i].result.bytes.data, text.bytes.data, 56);
    }
}

/* More than the call ring holds, more than the result ring holds, and both. */
static void test_larger_than_the_rings(void **state)
{
    struct large *large = *state;
    static struct mf_call calls[200];
    static uint8_t data[200][1500];
    static struct mf_value args[200];
    for (size_t i = 0; i < 200; i++) {
        large_fill(data[i], sizeof data[i], (uint32_t)i);
        args[i] = mf_bytes(data[i], sizeof data[i]);
        calls[i] =
            (struct mf_call){.function = large_index(large, "echo"), .args = &args[i], .nargs = 1};
    }
    uint64_t begin = entries(large);
    make(large, calls, 200);
    assert_in_range(entries(large) - begin, 5, 50);
    for (size_t i = 0; i < 200; i++) {
        assert_done(&calls[i]);
        assert_int_equal(calls[i].result.bytes.len, sizeof data[i]);
        assert_memory_equal(calls[i].result.bytes.data, data[i], sizeof data[i]);
    }

    /* Few bytes in, many out: the guest leaves in between so that the host takes answers. */
    static struct mf_value how[100][2];
    for (size_t i = 0; i < 100; i++) {
        how[i][0] = mf_u64(20000);
        how[i][1] = mf_u32((uint32_t)i);
        calls[i] =
            (struct mf_call){.function = large_index(large, "stamp"), .args = how[i], .nargs = 2};
    }
    begin = entries(large);
    make(large, calls, 100);
    assert_in_range(entries(large) - begin, 10, 100);
    for (size_t i = 0; i < 100; i++) {
        const uint8_t *bytes = calls[i].result.bytes.data;
        assert_done(&calls[i]);
        assert_int_equal(calls[i].result.bytes.len, 20000);
        assert_true(bytes[0] == i && bytes[19999] == i);
    }
}

/* Kept results and host functions in one batch: the former take no room from the latter. */
static void test_kept_results_and_host_functions(void **state)
{
    struct large *large = *state;
    static struct mf_call calls[402];
    static uint8_t data[1000];
    struct mf_value small = mf_bytes(data, sizeof data), big = mf_bytes(data, 1000);
    for (size_t i = 0; i < 402; i++)
        calls[i] = (struct mf_call){
            .function = large_index(large, i < 400 ? "echo" : "relay"),
            .args = i < 400 ? &small : &big,
            .nargs = 1,
        };
    make(large, calls, 402);
    for (size_t i = 0; i < 402; i++) {
        assert_done(&calls[i]);
        assert_memory_equal(calls[i].result.bytes.data, data, 1000);
    }
}

static void test_mixed(void **state)
{
    struct large *large = *state;
    static uint8_t data[300000];
    struct mf_value numbers[2] = {mf_i32(-5), mf_i32(7)};
    struct mf_value text = mf_string("grüße"), bytes = mf_bytes(data, sizeof data);
    struct mf_value make_args[2] = {mf_u64(70000), mf_u32(9)};
    struct mf_value nest[2] = {mf_u32(2), mf_u64(100000)};
    struct mf_call calls[] = {
        {.function = large_index(large, "add"), .args = numbers, .nargs = 2},
        {.function = large_index(large, "sum"), .args = &bytes, .nargs = 1},
        {.function = large_index(large, "echo_text"), .args = &text, .nargs = 1},
        {.function = large_index(large, "make"), .args = make_args, .nargs = 2},
        {.function = large_index(large, "relay_text"), .args = &text, .nargs = 1},
        {.function = large_index(large, "nest"), .args = nest, .nargs = 2},
        {.function = large_index(large, "count_releases")},
        {.function = large_index(large, "count")},
    };
    large_fill(data, sizeof data, 1);
    make(large, calls, 8);
    for (size_t i = 0; i < 8; i++)
        assert_done(&calls[i]);
    assert_int_equal(calls[0].result.i32, 2);
    assert_true(calls[1].result.u64 == large_sum(data, sizeof data));
    assert_string_equal(calls[2].result.string.data, "grüße");
    assert_int_equal(calls[3].result.bytes.len, 70000);
    assert_true(large_is_filled(calls[3].result.bytes.data, 70000, 9));
    assert_string_equal(calls[4].result.string.data, "grüße");
    assert_int_equal(calls[5].result.u64, 100000);
    assert_int_equal(calls[6].result.u64, 2);
    assert_int_equal(calls[7].result.u64, 1);
}

static void test_errors_concern_one_call(void **state)
{
    struct large *large = *state;
    struct mf_value numbers[2] = {mf_i32(1), mf_i32(2)}, wrong[2] = {mf_i32(1), mf_u32(2)};
    struct mf_value why = mf_string("no"), bad = mf_string("\xff"), none = mf_bytes(NULL, 4);
    size_t add = large_index(large, "add");
    struct mf_call calls[] = {
        {.function = add, .args = numbers, .nargs = 2},
        {.function = add, .args = wrong, .nargs = 2},
        {.function = add, .args = numbers, .nargs = 1},
        {.function = add, .args = NULL, .nargs = 2},
        {.function = 12345, .args = numbers, .nargs = 2},
        {.function = SIZE_MAX},
        {.function = large_index(large, "refuse"), .args = &why, .nargs = 1},
        {.function = large_index(large, "refuse"), .args = &bad, .nargs = 1},
        {.function = large_index(large, "echo"), .args = &none, .nargs = 1},
        {.function = add, .args = numbers, .nargs = 2},
    };
    static const int codes[] = {0,
                                MF_E_TYPE,
                                MF_E_TYPE,
                                MF_E_ARGUMENT,
                                MF_E_NO_FUNCTION,
                                MF_E_NO_FUNCTION,
                                MF_E_GUEST_ERROR,
                                MF_E_UTF8,
                                MF_E_ARGUMENT,
                                0};
    make(large, calls, 10);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(calls[i].status, codes[i]);
    assert_failed(&calls[1], MF_E_TYPE, "argument 2 (b)");
    assert_failed(&calls[6], MF_E_GUEST_ERROR, "refused: no");
    assert_failed(&calls[5], MF_E_NO_FUNCTION, "there is no number");
    assert_int_equal(calls[0].result.i32, 3);
    assert_int_equal(calls[9].result.i32, 3);
    /* Only wrong ones: nothing reaches the guest. */
    uint64_t begin = entries(large);
    make(large, calls + 1, 5);
    assert_int_equal(entries(large), begin);
}

static void test_buffers(void **state)
{
    struct large *large = *state;
    struct mf_value text = mf_string("eight by"), bytes = mf_bytes("12345678", 8);
    struct mf_value large_how[2] = {mf_u64(200000), mf_u32(4)}, none = mf_bytes("", 0);
    char room[7][16];
    static char much[200000];
    size_t t = large_index(large, "echo_text"), b = large_index(large, "echo");
    size_t stamp = large_index(large, "stamp");
    struct mf_call calls[] = {
        {.function = t, .args = &text, .nargs = 1, .buffer = room[0], .buffer_bytes = 9},
        {.function = t, .args = &text, .nargs = 1, .buffer = room[1], .buffer_bytes = 8},
        {.function = b, .args = &bytes, .nargs = 1, .buffer = room[2], .buffer_bytes = 8},
        {.function = b, .args = &bytes, .nargs = 1, .buffer = room[3], .buffer_bytes = 7},
        {.function = b, .args = &none, .nargs = 1, .buffer = room[4], .buffer_bytes = 0},
        {.function = stamp, .args = large_how, .nargs = 2, .buffer = much, .buffer_bytes = 200000},
        {.function = stamp, .args = large_how, .nargs = 2, .buffer = much, .buffer_bytes = 199999},
        {.function = large_index(large, "count"), .buffer = room[6], .buffer_bytes = 16},
    };
    memset(room, 'x', sizeof room);
    make(large, calls, 8);
    assert_done(&calls[0]);
    assert_ptr_equal(calls[0].result.string.data, room[0]);
    assert_string_equal(room[0], "eight by");
    assert_failed(&calls[1], MF_E_TOO_LARGE, "takes 9 bytes, its buffer has room for 8");
    assert_int_equal(room[1][0], 'x');
    assert_int_equal(calls[1].result.type, MF_VOID);
    assert_done(&calls[2]);
    assert_ptr_equal(calls[2].result.bytes.data, room[2]);
    assert_memory_equal(room[2], "12345678xxxxxxxx", 16);
    assert_failed(&calls[3], MF_E_TOO_LARGE, "room for 7");
    assert_done(&calls[4]);
    assert_int_equal(calls[4].result.bytes.len, 0);
    assert_done(&calls[5]);
    assert_ptr_equal(calls[5].result.bytes.data, much);
    assert_true(much[0] == 4 && much[199999] == 4);
    assert_failed(&calls[6], MF_E_TOO_LARGE, "");
    assert_done(&calls[7]);
    assert_int_equal(room[6][0], 'x');
    /* A buffer is the caller's: the next call does not touch it. */
    struct mf_value again = mf_string("other");
    struct mf_value result;
    assert_int_equal(large_call(large, "echo_text", &again, 1, &result), 0);
    assert_string_equal(room[0], "eight by");
}

/* The static bytes of the guest change with each call: what was given out must not. */
static void test_references_in_the_middle(void **state)
{
    struct large *large = *state;
    struct mf_value how[6][2];
    struct mf_call calls[6];
    for (uint32_t i = 0; i < 6; i++) {
        how[i][0] = mf_u64(i == 3 ? 10 : 150000);
        how[i][1] = mf_u32(i + 1);
        calls[i] = (struct mf_call){
            .function = large_index(large, i == 4 ? "stamp_text" : "stamp"),
            .args = how[i],
            .nargs = 2,
        };
    }
    make(large, calls, 6);
    for (uint32_t i = 0; i < 6; i++) {
        size_t len = i == 3 ? 10 : 150000;
        const uint8_t *bytes = calls[i].result.bytes.data;
        assert_done(&calls[i]);
        assert_int_equal(calls[i].result.bytes.len, len);
        uint8_t expected = i == 4 ? 'a' + 5 : (uint8_t)(i + 1);
        assert_true(bytes[0] == expected && bytes[len / 2] == expected &&
                    bytes[len - 1] == expected);
    }
}

/* Large results without buffers are held up to the size of the guest; then each call says so. */
static void test_held_copies_are_bounded(void **state)
{
    struct large *large = *state;
    static struct mf_call calls[72];
    static struct mf_value how[2];
    how[0] = mf_u64(MIB);
    how[1] = mf_u32(1);
    for (size_t i = 0; i < 72; i++)
        calls[i] =
            (struct mf_call){.function = large_index(large, "stamp"), .args = how, .nargs = 2};
    make(large, calls, 72);
    assert_done(&calls[0]);
    assert_failed(&calls[70], MF_E_TOO_LARGE, "buffer");
    assert_done(&calls[71]); /* the last one is a view */
    struct mf_value result;
    assert_int_equal(large_call(large, "count", NULL, 0, &result), 0);
}

/* What ends the guest in the middle of a batch. */
static void assert_ends(struct large *large, struct mf_call bad, int code, const char *text)
{
    struct mf_value numbers[2] = {mf_i32(20), mf_i32(22)};
    struct mf_call add = {.function = large_index(large, "add"), .args = numbers, .nargs = 2};
    struct mf_call wrong = {.function = SIZE_MAX};
    struct mf_call calls[6] = {add, wrong, add, bad, add, wrong};
    int rc = mf_sandbox_call_batch(large->sandbox, calls, 6, &large->err);
    if (rc != code)
        fail_msg("%s: %s", mf_error_name(rc), large->err.message);
    assert_int_equal(large->err.code, code);
    assert_non_null(strstr(large->err.message, "call 4 of 6"));
    assert_done(&calls[0]);
    assert_int_equal(calls[0].result.i32, 42);
    assert_int_equal(calls[1].status, MF_E_NO_FUNCTION);
    assert_done(&calls[2]);
    assert_int_equal(calls[2].result.i32, 42);
    assert_failed(&calls[3], code, text);
    assert_failed(&calls[4], MF_E_POISONED, "call 4");
    assert_int_equal(calls[5].status, MF_E_NO_FUNCTION);
    assert_int_equal(mf_sandbox_poisoned(large->sandbox), code);

    struct mf_call late[2] = {add, add};
    assert_int_equal(mf_sandbox_call_batch(large->sandbox, late, 2, NULL), MF_E_POISONED);
    assert_int_equal(late[0].status, MF_E_POISONED);
    assert_int_equal(late[1].status, MF_E_POISONED);
    large_reopen(large);
}

static void *interrupt_soon(void *sandbox)
{
    usleep(50000);
    mf_sandbox_interrupt(sandbox);
    return NULL;
}

static void test_ends_of_the_guest(void **state)
{
    struct large *large = *state;
    struct mf_value status = mf_i32(3), why = mf_string("enough");
    struct mf_call bad = {.function = large_index(large, "crash")};
    assert_ends(large, bad, MF_E_GUEST_FAULT, "crash");
    bad = (struct mf_call){.function = large_index(large, "leave"), .args = &status, .nargs = 1};
    assert_ends(large, bad, MF_E_GUEST_EXIT, "status 3");
    bad = (struct mf_call){.function = large_index(large, "give_up"), .args = &why, .nargs = 1};
    assert_ends(large, bad, MF_E_GUEST_ABORT, "enough");
    bad = (struct mf_call){.function = large_index(large, "spin")};
    assert_int_equal(mf_sandbox_start(large->sandbox, &large->err), 0);
    assert_int_equal(mf_sandbox_set_limits(large->sandbox, 100000000, 0, &large->err), 0);
    assert_ends(large, bad, MF_E_DEADLINE, "");
    assert_int_equal(mf_sandbox_start(large->sandbox, &large->err), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, large->sandbox), 0);
    assert_ends(large, bad, MF_E_INTERRUPTED, "");
    pthread_join(thread, NULL);
}

/* An interrupt that came before: nothing is made, and the sandbox is as good as it was. */
static void test_interrupted_before(void **state)
{
    struct large *large = *state;
    struct mf_call calls[2] = {{.function = large_index(large, "count")},
                               {.function = large_index(large, "count")}};
    make(large, calls, 1);
    mf_sandbox_interrupt(large->sandbox);
    assert_int_equal(mf_sandbox_call_batch(large->sandbox, calls, 2, &large->err),
                     MF_E_INTERRUPTED);
    assert_failed(&calls[0], MF_E_INTERRUPTED, "");
    assert_failed(&calls[1], MF_E_INTERRUPTED, "");
    make(large, calls, 2);
    assert_int_equal(calls[1].result.u64, 3);
}

static void test_inside_a_host_function(void **state)
{
    struct large *large = *state;
    struct mf_value result;
    assert_int_equal(large_call(large, "batch_inside", NULL, 0, &result), 0);
    assert_int_equal(result.i32, MF_E_STATE);
    assert_int_equal(large->batch_status, MF_E_STATE);
    assert_int_equal(large_call(large, "count", NULL, 0, &result), 0);
}

/* The limit of time holds for the whole batch. */
static void test_one_deadline(void **state)
{
    struct large *large = *state;
    static struct mf_call calls[40000];
    struct mf_value how[2] = {mf_u64(MIB), mf_u32(1)};
    struct mf_value result;
    static uint8_t room[MIB];
    assert_int_equal(large_call(large, "count", NULL, 0, &result), 0);
    for (size_t i = 0; i < 40000; i++)
        calls[i] = (struct mf_call){.function = large_index(large, "stamp"),
                                    .args = how,
                                    .nargs = 2,
                                    .buffer = room,
                                    .buffer_bytes = sizeof room};
    assert_int_equal(mf_sandbox_set_limits(large->sandbox, 1000000000, 0, &large->err), 0);
    assert_int_equal(mf_sandbox_call_batch(large->sandbox, calls, 40000, &large->err),
                     MF_E_DEADLINE);
    assert_done(&calls[0]);
    assert_int_equal(calls[39999].status, MF_E_POISONED);
}

int main(void)
{
    test_backend();
    static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(test_sizes),
        TEST(test_no_calls_given),
        TEST(test_entries),
        TEST(test_larger_than_the_rings),
        TEST(test_kept_results_and_host_functions),
        TEST(test_mixed),
        TEST(test_errors_concern_one_call),
        TEST(test_buffers),
        TEST(test_references_in_the_middle),
        TEST(test_held_copies_are_bounded),
        TEST(test_ends_of_the_guest),
        TEST(test_interrupted_before),
        TEST(test_inside_a_host_function),
        TEST(test_one_deadline),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
