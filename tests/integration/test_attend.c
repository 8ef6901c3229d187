/*
 * Attentive sandboxes: many threads call one guest that stays on its processor; what
 * ends the guest, when it is waiting and when it is not; guests that lie about the
 * mailbox. The guest is tests/guests/attend/guest.c.
 */
#include "backend.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ALARM_S 100
#define NS_PER_MS UINT64_C(1000000)
#define FILE_MAX (16u << 20)

/* As in the guest. */
enum { END_NOTHING, END_FAULT, END_EXIT, END_ABORT, END_LOOP, END_LOG, END_OUTPUT, END_HOST,
       END_UNMAP, END_BUSY };
enum { LIE_NOT, LIE_STRAY, LIE_TWICE, LIE_BACK, LIE_RANDOM, LIE_REWRITE, LIE_SILENT, LIE_LEAVE,
       LIE_PORTS, LIES };

static enum mf_backend backend;
static struct mf_image *image, *old_image;
static struct mf_host *host;

/* What functions of the host see. */
static atomic_int host_rc;

static int host_tick(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                     struct mf_value *result, struct mf_error *err)
{
    (void)context;
    (void)err;
    /* Neither is possible in here. */
    if (mf_sandbox_attend(sandbox, NULL, NULL) != MF_E_STATE ||
        mf_sandbox_unattend(sandbox, NULL) != MF_E_STATE)
        atomic_store(&host_rc, -1);
    struct mf_stats stats = {.size = sizeof stats};
    mf_sandbox_get_stats(sandbox, &stats);
    *result = mf_u64(arg[0].u64 + 1);
    return 0;
}

static int host_again(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                      struct mf_value *result, struct mf_error *err)
{
    (void)context;
    int rc = mf_sandbox_call(sandbox, "echo", arg, 1, result, err);
    if (rc != 0)
        return rc;
    char *copy = mf_sandbox_scratch(sandbox, result->string.len + 1);
    if (!copy)
        return mf_fail(err, MF_E_TOO_LARGE, "no room");
    memcpy(copy, result->string.data, result->string.len + 1);
    *result = mf_string_n(copy, result->string.len);
    return 0;
}

static void open_images(void)
{
    static const uint8_t note[] = {7, 0, 0, 0, 24, 0, 0, 0, 0x46, 0x4d, 0, 0,
                                   'M', 'a', 'y', 'f', 'l', 'y', 0, 0};
    const uint32_t old[2] = {0x10000, 0x10000};
    char path[4096];
    struct mf_error err;
    uint8_t *bytes = malloc(FILE_MAX);
    snprintf(path, sizeof path, "%s/attend/musl", getenv("GUESTS"));
    FILE *file = fopen(path, "rb");
    if (!file || !bytes || mf_image_open(path, &image, &err) != 0) {
        fprintf(stderr, "cannot open %s\n", path);
        exit(1);
    }
    size_t len = fread(bytes, 1, FILE_MAX, file);
    fclose(file);
    /* The same program with the note of an older SDK: its host neither polls nor maps. */
    uint8_t *found = memmem(bytes, len, note, sizeof note);
    if (found)
        memcpy(found + sizeof note, old, sizeof old);
    if (!found || mf_image_from_memory(bytes, len, "old", &old_image, &err) != 0)
        exit(1);
    free(bytes);
}

static void open_host(void)
{
    struct mf_error err;
    if (mf_host_create(&host, &err) != 0 ||
        mf_host_add(host, "u64 tick(u64 n)", host_tick, NULL, &err) != 0 ||
        mf_host_add(host, "string again(string text)", host_again, NULL, &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
}

static struct mf_sandbox_options base_options(void)
{
    return (struct mf_sandbox_options){
        .size = sizeof(struct mf_sandbox_options),
        .backend = backend,
        .memory_bytes = 16 << 20,
        .stack_bytes = 64 << 10,
        .max_output_bytes = 64 << 10,
    };
}

static struct mf_sandbox *create_of(struct mf_image *of, const struct mf_sandbox_options *options)
{
    struct mf_sandbox *sandbox;
    struct mf_error err;
    if (mf_sandbox_create(of, host, options, &sandbox, &err) != 0)
        fail_msg("create: %s", err.message);
    return sandbox;
}

static void attend(struct mf_sandbox *sandbox, uint64_t idle_ns)
{
    struct mf_attend_options options = {.size = sizeof options, .idle_ns = idle_ns};
    struct mf_error err;
    if (mf_sandbox_attend(sandbox, &options, &err) != 0)
        fail_msg("attend: %s", err.message);
}

static struct mf_sandbox *create(void)
{
    struct mf_sandbox_options options = base_options();
    struct mf_sandbox *sandbox = create_of(image, &options);
    attend(sandbox, 0);
    return sandbox;
}

/* A sandbox whose calls may take so long. */
static struct mf_sandbox *create_limited(uint64_t timeout_ns)
{
    struct mf_sandbox_options options = base_options();
    options.timeout_ns = timeout_ns;
    options.init_timeout_ns = 20000 * NS_PER_MS;
    struct mf_sandbox *sandbox = create_of(image, &options);
    attend(sandbox, 0);
    return sandbox;
}

static int call(struct mf_sandbox *sandbox, const char *name, struct mf_value arg,
                struct mf_value *result, struct mf_error *err)
{
    return mf_sandbox_call(sandbox, name, &arg, 1, result, err);
}

static int echo(struct mf_sandbox *sandbox, const char *text, struct mf_error *err)
{
    struct mf_value result;
    int rc = call(sandbox, "echo", mf_string(text), &result, err);
    return rc == 0 && strcmp(result.string.data, text) != 0 ? 1 : rc;
}

static void check_works(struct mf_sandbox *sandbox)
{
    struct mf_error err = {0};
    int rc = echo(sandbox, "does it work", &err);
    if (rc != 0)
        fail_msg("%d: %s", rc, err.message);
}

/* ---- threads ---- */

struct worker {
    pthread_t thread;
    struct mf_sandbox *sandbox;
    unsigned number, rounds;
    unsigned failures, made; /* calls of exported functions that count */
    int rc;                  /* of the last call */
    char message[256];
};

static void run_workers(struct worker *workers, unsigned n, struct mf_sandbox *sandbox,
                        unsigned rounds, void *(*work)(void *))
{
    for (unsigned i = 0; i < n; i++) {
        workers[i] = (struct worker){.sandbox = sandbox, .number = i, .rounds = rounds};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(workers[i].thread, NULL);
}

/* Each thread sees its own answers, and its numbers grow. */
static void *work_echo(void *argument)
{
    struct worker *worker = argument;
    struct mf_error err;
    uint64_t last = 0;
    for (unsigned i = 0; i < worker->rounds; i++) {
        char text[100];
        struct mf_value number;
        snprintf(text, sizeof text, "thread %u, call %u, %.*s", worker->number, i, (int)(i % 50),
                 "..................................................");
        worker->failures += echo(worker->sandbox, text, &err) != 0;
        worker->failures += mf_sandbox_call(worker->sandbox, "next", NULL, 0, &number, &err) != 0 ||
                            number.u64 <= last;
        last = number.u64;
        worker->made += 2;
    }
    return NULL;
}

static void test_callers_in_order(void **state)
{
    (void)state;
    const unsigned numbers[] = {1, 2, 8};
    struct mf_sandbox *sandbox = create();
    struct mf_value count;
    struct mf_error err;
    uint64_t made = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct worker workers[8];
        run_workers(workers, numbers[i], sandbox, 1200 / numbers[i], work_echo);
        for (unsigned j = 0; j < numbers[i]; j++) {
            assert_int_equal(workers[j].failures, 0);
            made += workers[j].made;
        }
        made++;
        assert_int_equal(mf_sandbox_call(sandbox, "next", NULL, 0, &count, &err), 0);
        assert_int_equal(count.u64, made);
    }
    struct mf_stats stats = {.size = sizeof stats};
    mf_sandbox_get_stats(sandbox, &stats);
    assert_int_equal(stats.calls, made);
    mf_sandbox_destroy(sandbox);
}

static void *work_host(void *argument)
{
    struct worker *worker = argument;
    struct mf_error err;
    for (unsigned i = 0; i < worker->rounds; i++) {
        struct mf_value result = mf_u64(0);
        uint64_t n = worker->number * 1000 + i;
        worker->failures += call(worker->sandbox, "tick", mf_u64(n), &result, &err) != 0 ||
                            result.u64 != n + 1;
        worker->failures += call(worker->sandbox, "again", mf_string("and again"), &result,
                                 &err) != 0 ||
                            strcmp(result.string.data, "and again") != 0;
    }
    return NULL;
}

static void test_host_functions(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create();
    struct worker workers[3];
    atomic_store(&host_rc, 0);
    run_workers(workers, 3, sandbox, 60, work_host);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(workers[i].failures, 0);
    assert_int_equal(atomic_load(&host_rc), 0);
    mf_sandbox_destroy(sandbox);
}

/* Everything that may be done with a sandbox at any time, while others call. */
static void *work_anything(void *argument)
{
    struct worker *worker = argument;
    struct mf_sandbox *sandbox = worker->sandbox;
    struct mf_error err;
    for (unsigned i = 0; i < worker->rounds; i++) {
        char text[2][40];
        struct mf_stats stats = {.size = sizeof stats};
        struct mf_value args[2];
        struct mf_call calls[4] = {0};
        int echo_index = mf_image_find_export(mf_sandbox_image(sandbox), "echo", &err);
        for (size_t j = 0; j < 2; j++) {
            snprintf(text[j], sizeof text[j], "batch %u of %u, %zu", i, worker->number, j);
            args[j] = mf_string(text[j]);
        }
        for (size_t j = 0; j < 4; j++)
            calls[j] = (struct mf_call){
                .function = (size_t)echo_index, .args = &args[j % 2], .nargs = 1};
        worker->failures += mf_sandbox_call_batch(sandbox, calls, 4, &err) != 0;
        mf_sandbox_get_stats(sandbox, &stats);
        worker->failures += stats.calls < 4;
        worker->failures += mf_sandbox_set_limits(sandbox, 20000 * NS_PER_MS, 0, &err) != 0;
        worker->failures += mf_sandbox_poisoned(sandbox) != MF_OK;
        worker->failures += mf_sandbox_fault(sandbox) != NULL;
        worker->failures += mf_sandbox_scratch(sandbox, 100) == NULL;
        for (size_t j = 0; j < 4; j++)
            worker->failures += calls[j].status != 0 ||
                                strcmp(calls[j].result.string.data, text[j % 2]) != 0;
        worker->made += 4;
    }
    return NULL;
}

static void *work_mixed(void *argument)
{
    struct worker *worker = argument;
    return worker->number % 2 ? work_anything(argument) : work_echo(argument);
}

static void test_anything_at_once(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create();
    struct worker workers[4];
    run_workers(workers, 4, sandbox, 40, work_mixed);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(workers[i].failures, 0);
    struct mf_error err;
    assert_int_equal(mf_sandbox_start(sandbox, &err), MF_E_STATE);
    assert_int_equal(mf_sandbox_run(sandbox, NULL, &err), MF_E_STATE);
    mf_sandbox_destroy(sandbox);
}

static void *work_results(void *argument)
{
    struct worker *worker = argument;
    struct mf_error err;
    for (unsigned i = 0; i < worker->rounds; i++) {
        char text[64];
        struct mf_value first;
        snprintf(text, sizeof text, "result %u of thread %u", i, worker->number);
        worker->failures += call(worker->sandbox, "echo", mf_string(text), &first, &err) != 0;
        for (int j = 0; j < 20; j++)
            sched_yield();
        worker->failures += strcmp(first.string.data, text) != 0;
        /* A result may be the next call's argument. */
        struct mf_value second;
        worker->failures += call(worker->sandbox, "echo", first, &second, &err) != 0 ||
                            strcmp(second.string.data, text) != 0;
    }
    return NULL;
}

static void test_results_stay(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create();
    struct worker workers[4];
    run_workers(workers, 4, sandbox, 200, work_results);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(workers[i].failures, 0);
    mf_sandbox_destroy(sandbox);
}

/* ---- sizes ---- */

static void test_sizes(void **state)
{
    (void)state;
    static char text[4096];
    struct mf_sandbox_options options = base_options();
    struct mf_error err;
    uint64_t random = 88172645463325252u;
    options.mailbox_bytes = 4096;
    struct mf_sandbox *sandbox = create_of(image, &options);
    attend(sandbox, 0);
    for (int i = 0; i < 4000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        /* All of them fit, many of them only across the end of the ring. */
        size_t len = random % (i % 4 == 0 ? 4000 : 300);
        memset(text, 'a' + i % 26, len);
        text[len] = 0;
        int rc = echo(sandbox, text, &err);
        if (rc != 0)
            fail_msg("call %d of %zu bytes: %d %s", i, len, rc, rc < 0 ? err.message : "");
    }
    mf_sandbox_destroy(sandbox);
}

static void test_large(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create();
    struct mf_value result;
    struct mf_error err;
    size_t len = 1 << 20;
    uint8_t *data = malloc(len);
    assert_non_null(data);
    memset(data, 3, len);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(call(sandbox, "sum", mf_bytes(data, len), &result, &err), 0);
        assert_int_equal(result.u64, 3 * len);
        assert_int_equal(call(sandbox, "echo_bytes", mf_bytes(data, len / 2), &result, &err), 0);
        assert_int_equal(result.bytes.len, len / 2);
        assert_memory_equal(result.bytes.data, data, len / 2);
        assert_int_equal(call(sandbox, "make", mf_u64(len + 7), &result, &err), 0);
        assert_int_equal(result.bytes.len, len + 7);
        assert_int_equal(((const uint8_t *)result.bytes.data)[len], (len + 7) % 251);
        /* The argument is the result of the call before. */
        assert_int_equal(call(sandbox, "sum", result, &result, &err), 0);
        assert_int_equal(result.u64, (len + 7) % 251 * (len + 7));
        check_works(sandbox);
    }
    free(data);
    mf_sandbox_destroy(sandbox);
}

static void test_mapped(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create();
    struct mf_value result;
    struct mf_error err;
    size_t len = 1 << 20;
    uint64_t address;
    uint8_t *data = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(data, MAP_FAILED);
    memset(data, 1, len);
    for (int i = 0; i < 3; i++) {
        if (mf_sandbox_map(sandbox, data, len, MF_MAP_READ, &address, &err) != 0)
            fail_msg("map: %s", err.message);
        data[0] = (uint8_t)i;
        assert_int_equal(call(sandbox, "sum", mf_bytes(data, len), &result, &err), 0);
        assert_int_equal(result.u64, len - 1 + (unsigned)i);
        assert_int_equal(mf_sandbox_unmap(sandbox, address, &err), 0);
    }
    munmap(data, len);
    mf_sandbox_destroy(sandbox);
}

/* ---- mistakes and ends ---- */

static void test_soft_errors(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create();
    struct mf_error err;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(mf_sandbox_call(sandbox, "fail_softly", NULL, 0, NULL, &err),
                         MF_E_GUEST_ERROR);
        assert_int_equal(call(sandbox, "echo", mf_u32(1), NULL, &err), MF_E_TYPE);
        assert_int_equal(call(sandbox, "echo", mf_string("\xff"), NULL, &err), MF_E_UTF8);
        assert_int_equal(call(sandbox, "nobody", mf_u32(1), NULL, &err), MF_E_NO_FUNCTION);
        check_works(sandbox);
    }
    mf_sandbox_destroy(sandbox);
}

static void test_ends_during_call(void **state)
{
    (void)state;
    const struct {
        unsigned end;
        int code;
    } ends[] = {
        {END_FAULT, MF_E_GUEST_FAULT}, {END_EXIT, MF_E_GUEST_EXIT}, {END_ABORT, MF_E_GUEST_ABORT},
        {END_LOOP, MF_E_DEADLINE},     {END_LOG, MF_E_OUTPUT_LIMIT},
        {END_OUTPUT, MF_E_OUTPUT_LIMIT},
    };
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct mf_sandbox *sandbox =
            create_limited((ends[i].end == END_LOOP ? 50 : 20000) * NS_PER_MS);
        struct mf_error err;
        assert_int_equal(call(sandbox, "end_now", mf_u32(ends[i].end), NULL, &err), ends[i].code);
        assert_int_equal(mf_sandbox_poisoned(sandbox), ends[i].code);
        assert_int_equal(echo(sandbox, "x", &err), MF_E_POISONED);
        assert_true((mf_sandbox_fault(sandbox) != NULL) == (ends[i].end == END_FAULT));
        struct mf_call one = {0};
        assert_int_equal(mf_sandbox_call_batch(sandbox, &one, 1, &err), MF_E_POISONED);
        if (i % 2)
            assert_int_equal(mf_sandbox_unattend(sandbox, &err), 0);
        mf_sandbox_destroy(sandbox);
    }
}

/* The guest ends itself when nobody calls it: the next one hears of it. */
static void test_ends_between_calls(void **state)
{
    (void)state;
    const struct {
        unsigned end;
        int code;
    } ends[] = {
        {END_FAULT, MF_E_GUEST_FAULT}, {END_EXIT, MF_E_GUEST_EXIT}, {END_ABORT, MF_E_GUEST_ABORT},
        {END_LOOP, MF_E_DEADLINE},     {END_LOG, MF_E_OUTPUT_LIMIT},
        {END_OUTPUT, MF_E_OUTPUT_LIMIT},
    };
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        for (int pause = 0; pause < 2; pause++) {
            struct mf_sandbox *sandbox =
                create_limited((ends[i].end == END_LOOP ? 200 : 20000) * NS_PER_MS);
            struct mf_value result;
            struct mf_error err = {0};
            int rc = call(sandbox, "end_later", mf_u32(ends[i].end), &result, &err);
            /* With luck the guest was at its end before anybody saw the answer. */
            if (rc == 0) {
                assert_int_equal(result.bytes.len, sizeof "see you");
                usleep(pause ? 20000 : 0);
                rc = echo(sandbox, "x", &err);
            }
            if (rc != ends[i].code)
                fail_msg("end %u: %d %s", ends[i].end, rc, err.message);
            assert_int_equal(echo(sandbox, "x", &err), MF_E_POISONED);
            mf_sandbox_destroy(sandbox);
        }
    }
}

/* What a guest may well do after its answer. */
static void test_work_between_calls(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create();
    struct mf_error err = {0};
    for (int i = 0; i < 200; i++) {
        struct mf_value result;
        int rc = call(sandbox, "end_later", mf_u32(i % 2 ? END_HOST : END_UNMAP), &result, &err);
        if (rc != 0)
            fail_msg("%s", err.message);
        if (i % 5 == 0)
            usleep(300);
        check_works(sandbox);
    }
    mf_sandbox_destroy(sandbox);
}

static void test_cpu_time(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create();
    struct mf_error err;
    assert_int_equal(mf_sandbox_set_limits(sandbox, 20000 * NS_PER_MS, 50 * NS_PER_MS, &err), 0);
    for (int i = 0; i < 200; i++)
        check_works(sandbox);
    assert_int_equal(call(sandbox, "end_now", mf_u32(END_LOOP), NULL, &err), MF_E_CPU_TIME);
    mf_sandbox_destroy(sandbox);
}

/* Calls that are far from their limit, with pauses in which everybody falls asleep. */
static void test_deadline_not_reached(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create_limited(20000 * NS_PER_MS);
    for (int i = 0; i < 500; i++) {
        if (i % 50 == 0)
            usleep(3000);
        check_works(sandbox);
    }
    mf_sandbox_destroy(sandbox);
}

/* ---- interrupts ---- */

static void *work_endless(void *argument)
{
    struct worker *worker = argument;
    struct mf_error err = {0};
    if (worker->number == 0)
        worker->rc = call(worker->sandbox, "end_now", mf_u32(END_LOOP), NULL, &err);
    else
        worker->rc = echo(worker->sandbox, "waits for its turn", &err);
    memcpy(worker->message, err.message, sizeof worker->message);
    return NULL;
}

static void start_endless(struct worker *workers, unsigned n, struct mf_sandbox *sandbox)
{
    for (unsigned i = 0; i < n; i++) {
        workers[i] = (struct worker){.sandbox = sandbox, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work_endless, &workers[i]), 0);
        usleep(i == 0 ? 30000 : 1000);
    }
}

static void test_interrupt_in_flight(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create();
    struct worker workers[4];
    start_endless(workers, 4, sandbox);
    usleep(20000);
    mf_sandbox_interrupt(sandbox);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].rc, i == 0 ? MF_E_INTERRUPTED : MF_E_POISONED);
    }
    mf_sandbox_destroy(sandbox);
}

static void test_interrupt_between_calls(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create();
    struct mf_error err;
    for (int i = 0; i < 100; i++) {
        check_works(sandbox);
        if (i % 10 == 0)
            usleep(3000);
        mf_sandbox_interrupt(sandbox);
        if (i % 3 == 0)
            usleep(200);
        assert_int_equal(echo(sandbox, "x", &err), MF_E_INTERRUPTED);
        assert_int_equal(mf_sandbox_poisoned(sandbox), MF_OK);
    }
    check_works(sandbox);
    mf_sandbox_destroy(sandbox);
}

/* ---- rest ---- */

static uint64_t leaves(struct mf_sandbox *sandbox)
{
    struct mf_stats stats = {.size = sizeof stats};
    mf_sandbox_get_stats(sandbox, &stats);
    return stats.exits_io + stats.exits_interrupt;
}

/* The alarm ends a wait for nothing. */
static void wait_for_stop(struct mf_sandbox *sandbox)
{
    struct mf_stats before = {.size = sizeof before}, now = before;
    mf_sandbox_get_stats(sandbox, &before);
    do {
        usleep(200);
        mf_sandbox_get_stats(sandbox, &now);
    } while (now.exits_interrupt == before.exits_interrupt);
}

static void test_idle(void **state)
{
    (void)state;
    struct mf_sandbox_options options = base_options();
    struct mf_sandbox *sandbox = create_of(image, &options);
    struct mf_error err;
    attend(sandbox, 100000);
    for (int i = 0; i < 20; i++) {
        uint64_t before = leaves(sandbox);
        check_works(sandbox);
        /* The guest leaves by itself; the alarm ends a wait for nothing. */
        while (leaves(sandbox) == before)
            usleep(100);
    }
    mf_sandbox_destroy(sandbox);

    /* A guest that does not leave is stopped, and goes on with the next call. */
    sandbox = create_limited(20000 * NS_PER_MS);
    assert_int_equal(call(sandbox, "end_later", mf_u32(END_BUSY), NULL, &err), 0);
    wait_for_stop(sandbox);
    check_works(sandbox);

    /* One that would go on for ever does not come back at all. */
    assert_int_equal(call(sandbox, "end_later", mf_u32(END_LOOP), NULL, &err), 0);
    wait_for_stop(sandbox);
    assert_int_equal(mf_sandbox_unattend(sandbox, &err), MF_E_PROTOCOL);
    assert_int_equal(mf_sandbox_poisoned(sandbox), MF_E_PROTOCOL);
    mf_sandbox_destroy(sandbox);
}

static void test_never_idle(void **state)
{
    (void)state;
    struct mf_sandbox_options options = base_options();
    struct mf_sandbox *sandbox = create_of(image, &options);
    attend(sandbox, UINT64_MAX);
    check_works(sandbox);
    usleep(5000);
    check_works(sandbox);
    mf_sandbox_destroy(sandbox);
}

static void test_old_guest(void **state)
{
    (void)state;
    struct mf_sandbox_options options = base_options();
    options.timeout_ns = 20000 * NS_PER_MS;
    struct mf_sandbox *sandbox = create_of(old_image, &options);
    struct mf_error err;
    struct worker workers[3];
    static char text[100000];
    attend(sandbox, 0);
    run_workers(workers, 3, sandbox, 50, work_echo);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(workers[i].failures, 0);
    memset(text, 'x', sizeof text - 1);
    assert_int_equal(echo(sandbox, text, &err), MF_E_TOO_LARGE);
    check_works(sandbox);
    assert_int_equal(mf_sandbox_unattend(sandbox, &err), 0);
    check_works(sandbox);
    mf_sandbox_destroy(sandbox);
}

/* ---- attend, unattend, destroy ---- */

static void test_attend_and_unattend(void **state)
{
    (void)state;
    struct mf_sandbox_options options = base_options();
    struct mf_sandbox *sandbox = create_of(image, &options);
    struct mf_error err;
    struct mf_attend_options small = {.size = 1}, short_idle = {.size = sizeof short_idle,
                                                                .idle_ns = 99999};
    assert_int_equal(mf_sandbox_attend(sandbox, &small, &err), MF_E_ARGUMENT);
    assert_int_equal(mf_sandbox_attend(sandbox, &short_idle, &err), MF_E_ARGUMENT);
    assert_int_equal(mf_sandbox_unattend(sandbox, &err), MF_E_STATE);
    for (int i = 0; i < 100; i++) {
        attend(sandbox, i % 2 ? 100000 : 0);
        assert_int_equal(mf_sandbox_attend(sandbox, NULL, &err), MF_E_STATE);
        if (i % 3)
            check_works(sandbox);
        assert_int_equal(mf_sandbox_unattend(sandbox, &err), 0);
        assert_int_equal(mf_sandbox_unattend(sandbox, &err), MF_E_STATE);
        check_works(sandbox);
    }
    mf_sandbox_destroy(sandbox);
}

/* One call in flight, others that wait for their turn. */
static void test_destroy_during_calls(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        struct mf_sandbox *sandbox = create();
        struct worker workers[4];
        start_endless(workers, 4, sandbox);
        usleep(20000);
        mf_sandbox_destroy(sandbox);
        for (unsigned i = 0; i < 4; i++) {
            pthread_join(workers[i].thread, NULL);
            assert_int_equal(workers[i].rc, MF_E_STATE);
            assert_string_equal(workers[i].message, "the sandbox is being destroyed");
        }
    }
}

/* Ends the sandbox while calls come and go; nobody begins one after the gate is closed. */
struct gate {
    pthread_rwlock_t lock;
    bool closed;
    struct mf_sandbox *sandbox;
    atomic_uint inside;
};

static void *work_at_gate(void *argument)
{
    struct gate *gate = argument;
    struct mf_error err;
    int rc = 0;
    while (rc == 0) {
        pthread_rwlock_rdlock(&gate->lock);
        bool closed = gate->closed;
        if (!closed)
            atomic_fetch_add(&gate->inside, 1);
        pthread_rwlock_unlock(&gate->lock);
        if (closed)
            break;
        rc = call(gate->sandbox, "wait_ms", mf_u32(2), NULL, &err);
        atomic_fetch_sub(&gate->inside, 1);
    }
    return (void *)(intptr_t)rc;
}

static void test_destroy_in_a_loop(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        struct gate gate = {.sandbox = create()};
        pthread_t threads[4];
        pthread_rwlock_init(&gate.lock, NULL);
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, work_at_gate, &gate), 0);
        usleep(20000);
        pthread_rwlock_wrlock(&gate.lock);
        gate.closed = true;
        pthread_rwlock_unlock(&gate.lock);
        usleep(3000); /* who passed the gate is in its call by now */
        mf_sandbox_destroy(gate.sandbox);
        for (int i = 0; i < 4; i++) {
            void *rc;
            pthread_join(threads[i], &rc);
            assert_true((intptr_t)rc == 0 || (intptr_t)rc == MF_E_STATE);
        }
        assert_int_equal(atomic_load(&gate.inside), 0);
        pthread_rwlock_destroy(&gate.lock);
    }
}

/* ---- guests that lie ---- */

static bool is_clean_end(int rc)
{
    return rc == MF_E_PROTOCOL || rc == MF_E_DEADLINE || rc == MF_E_GUEST_FAULT ||
           rc == MF_E_POISONED || rc == MF_E_GUEST_ERROR || rc == MF_E_TOO_LARGE ||
           rc == MF_E_OUTPUT_LIMIT;
}

static void test_lies(void **state)
{
    (void)state;
    for (unsigned lie = 0; lie < LIES; lie++) {
        for (unsigned seed = 1; seed <= 4; seed++) {
            struct mf_sandbox *sandbox = create_limited(150 * NS_PER_MS);
            struct mf_error err = {0};
            char how[32];
            snprintf(how, sizeof how, "%u %u", lie, seed);
            int rc = call(sandbox, "take_over", mf_string(how), NULL, &err);
            for (int i = 0; i < 200 && rc == 0; i++) {
                rc = call(sandbox, "echo", mf_string("the truth, and nothing else, in some bytes"),
                          NULL, &err);
                /* One of them may happen to be a well-formed error or text. */
                if (rc == MF_E_GUEST_ERROR || rc == MF_E_TOO_LARGE)
                    rc = 0;
            }
            if (rc != 0 && !is_clean_end(rc))
                fail_msg("lie %u, seed %u: %d %s", lie, seed, rc, err.message);
            if (lie == LIE_NOT || lie == LIE_SILENT || lie == LIE_LEAVE || lie == LIE_TWICE)
                assert_int_equal(rc, lie == LIE_NOT      ? 0
                                     : lie == LIE_SILENT ? MF_E_DEADLINE
                                                         : MF_E_PROTOCOL);
            mf_sandbox_destroy(sandbox);
        }
    }
}

int main(void)
{
    backend = test_backend();
    alarm(ALARM_S);
    open_images();
    open_host();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_callers_in_order),
        cmocka_unit_test(test_host_functions),
        cmocka_unit_test(test_anything_at_once),
        cmocka_unit_test(test_results_stay),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_mapped),
        cmocka_unit_test(test_soft_errors),
        cmocka_unit_test(test_ends_during_call),
        cmocka_unit_test(test_ends_between_calls),
        cmocka_unit_test(test_work_between_calls),
        cmocka_unit_test(test_cpu_time),
        cmocka_unit_test(test_deadline_not_reached),
        cmocka_unit_test(test_interrupt_in_flight),
        cmocka_unit_test(test_interrupt_between_calls),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_never_idle),
        cmocka_unit_test(test_old_guest),
        cmocka_unit_test(test_attend_and_unattend),
        cmocka_unit_test(test_destroy_during_calls),
        cmocka_unit_test(test_destroy_in_a_loop),
        cmocka_unit_test(test_lies),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mf_host_destroy(host);
    mf_image_close(image);
    mf_image_close(old_image);
    return failed;
}
