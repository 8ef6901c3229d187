/*
 * Pools and parked sandboxes: fresh state for whoever acquires, reuse by tenants, waiting,
 * many threads, and parked sandboxes that go on where they were.
 */
#include "backend.h"

#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ALARM_S 110
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define SECRET "quite a secret, this"

static enum mf_backend backend;
static struct mf_image *image;
static struct mf_snapshot *base; /* the guest waits for calls */
static uint64_t base_generation;

/* ---- helpers ---- */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static struct mf_sandbox_options sandbox_options(uint64_t memory_bytes)
{
    return (struct mf_sandbox_options){
        .size = sizeof(struct mf_sandbox_options),
        .backend = backend,
        .memory_bytes = memory_bytes,
        .stack_bytes = memory_bytes ? 64 << 10 : 0,
    };
}

static struct mf_pool_options pool_options(unsigned slots)
{
    return (struct mf_pool_options){
        .size = sizeof(struct mf_pool_options),
        .slots = slots,
        .warm = 1,
        .sandbox = sandbox_options(0),
    };
}

static struct mf_pool *make_pool(const struct mf_pool_options *options)
{
    struct mf_pool *pool;
    struct mf_error err;
    if (mf_pool_create(base, options, &pool, &err) != 0)
        fail_msg("pool: %s", err.message);
    return pool;
}

static struct mf_sandbox *acquire_of(struct mf_pool *pool, struct mf_snapshot *snapshot,
                                     uint64_t tenant)
{
    struct mf_sandbox *sandbox;
    struct mf_error err;
    if (mf_pool_acquire(pool, snapshot, tenant, 0, &sandbox, &err) != 0)
        fail_msg("acquire: %s", err.message);
    return sandbox;
}

static struct mf_sandbox *acquire(struct mf_pool *pool)
{
    return acquire_of(pool, NULL, 0);
}

static struct mf_pool_stats get_stats(struct mf_pool *pool)
{
    struct mf_pool_stats stats = {.size = sizeof stats};
    mf_pool_get_stats(pool, &stats);
    return stats;
}

/* A call of a function with u64 arguments and a u64 result. */
static int call_u64(struct mf_sandbox *sandbox, const char *function, const uint64_t *argument,
                    uint64_t *out, struct mf_error *err)
{
    struct mf_value arg = mf_u64(argument ? *argument : 0), result;
    int rc = mf_sandbox_call(sandbox, function, &arg, argument ? 1 : 0, &result, err);
    if (rc == 0)
        *out = result.u64;
    return rc;
}

static uint64_t get(struct mf_sandbox *sandbox, const char *function)
{
    uint64_t value = 0;
    struct mf_error err;
    if (call_u64(sandbox, function, NULL, &value, &err) != 0)
        fail_msg("%s: %s", function, err.message);
    return value;
}

static uint64_t with(struct mf_sandbox *sandbox, const char *function, uint64_t argument)
{
    uint64_t value = 0;
    struct mf_error err;
    if (call_u64(sandbox, function, &argument, &value, &err) != 0)
        fail_msg("%s: %s", function, err.message);
    return value;
}

static void hide(struct mf_sandbox *sandbox, const char *secret)
{
    struct mf_value arg = mf_string(secret);
    struct mf_error err;
    if (mf_sandbox_call(sandbox, "hide", &arg, 1, NULL, &err) != 0)
        fail_msg("hide: %s", err.message);
}

static uint64_t base_brk, base_place;

/* Where the guest finds the secret. */
static void find(struct mf_sandbox *sandbox, const char *secret, char *places, size_t size)
{
    char masked[64] = "";
    struct mf_value args[3], result;
    struct mf_error err;
    for (size_t i = 0; secret[i]; i++)
        masked[i] = secret[i] ^ 0x55;
    args[0] = mf_string(masked);
    args[1] = mf_u64(base_brk);
    args[2] = mf_u64(base_place);
    if (mf_sandbox_call(sandbox, "find", args, 3, &result, &err) != 0)
        fail_msg("find: %s", err.message);
    snprintf(places, size, "%s", result.string.data);
}

/* Nothing of anybody before is left, neither in the guest nor at its host. */
static void assert_fresh(struct mf_sandbox *sandbox)
{
    char places[256];
    struct mf_stats stats = {.size = sizeof stats};
    mf_sandbox_get_stats(sandbox, &stats);
    assert_int_equal(stats.calls, 0);
    assert_int_equal(stats.entries, 0);
    assert_null(mf_sandbox_fault(sandbox));
    assert_int_equal(mf_sandbox_poisoned(sandbox), MF_OK);
    find(sandbox, SECRET, places, sizeof places);
    assert_string_equal(places, "");
    assert_int_equal(with(sandbox, "add", 1), 1);
    assert_int_equal(get(sandbox, "restores"), 1);
    assert_int_not_equal(get(sandbox, "generation"), base_generation);
    assert_int_equal(get(sandbox, "run_code"), 0);
    assert_int_equal(with(sandbox, "dirty", 40), 0);
}

/* What the counters always say, when nobody uses the pool just now. */
static void check_counters(struct mf_pool *pool, uint64_t out)
{
    struct mf_pool_stats s = get_stats(pool);
    assert_int_equal(s.hits + s.misses, s.acquired);
    assert_int_equal(s.slots_used, out);
    assert_true(s.vms_made >= s.vms_ended);
    assert_true(s.vms_made - s.vms_ended >= s.slots_used + s.slots_warm);
}

/* Waits until the background has done what it has to. */
static void wait_for_warm(struct mf_pool *pool, uint64_t warm)
{
    uint64_t end = now_ns() + 10 * NS_PER_S;
    while (get_stats(pool).slots_warm < warm) {
        if (now_ns() > end)
            fail_msg("%llu warm slots after 10 s", (unsigned long long)get_stats(pool).slots_warm);
        usleep(500);
    }
}

/* ---- options and mistakes ---- */

static void expect_error(const struct mf_pool_options *options, const char *word)
{
    struct mf_pool *pool = (struct mf_pool *)&backend;
    struct mf_error err;
    assert_int_equal(mf_pool_create(base, options, &pool, &err), MF_E_ARGUMENT);
    assert_non_null(strstr(err.message, word));
    assert_null(pool);
}

static void test_options(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(2);
    struct mf_pool *pool;
    struct mf_error err;
    options.warm = 3;
    expect_error(&options, "warm");
    options = pool_options(100000);
    expect_error(&options, "slots");
    options = pool_options(2);
    options.reuse = (enum mf_reuse)9;
    expect_error(&options, "reuse");
    options = pool_options(2);
    options.size = 4;
    expect_error(&options, "size");
    options = pool_options(2);
    options.sandbox.memory_bytes = 9 << 20;
    expect_error(&options, "memory_bytes");
    assert_int_equal(mf_pool_create(NULL, &options, &pool, &err), MF_E_ARGUMENT);
    assert_int_equal(mf_pool_create(base, NULL, NULL, &err), MF_E_ARGUMENT);
    mf_pool_destroy(NULL);
    mf_pool_discard(NULL, NULL);
}

static void test_mistakes(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(2);
    struct mf_pool *pool = make_pool(&options), *other = make_pool(&options);
    struct mf_sandbox *foreign, *sandbox = acquire(pool);
    struct mf_parked *parked;
    struct mf_error err;
    assert_int_equal(mf_sandbox_create_from(base, NULL, &options.sandbox, &foreign, &err), 0);
    mf_pool_release(pool, foreign);
    mf_pool_release(other, sandbox);
    mf_pool_release(pool, NULL);
    assert_int_equal(get_stats(pool).slots_used, 1);
    assert_int_equal(mf_pool_park(pool, foreign, &parked, &err), MF_E_ARGUMENT);
    assert_int_equal(mf_pool_park(other, sandbox, &parked, &err), MF_E_ARGUMENT);
    assert_int_equal(mf_pool_park(pool, sandbox, &parked, &err), 0);
    assert_int_equal(mf_pool_unpark(other, parked, 0, &sandbox, &err), MF_E_ARGUMENT);
    mf_pool_discard(other, parked);
    assert_int_equal(get_stats(pool).parked, 1);
    mf_pool_discard(pool, parked);
    sandbox = acquire(pool);
    mf_pool_release(pool, sandbox);
    mf_pool_release(pool, sandbox);
    check_counters(pool, 0);
    mf_sandbox_destroy(foreign);
    mf_pool_destroy(other);
    mf_pool_destroy(pool);
}

/* ---- fresh state ---- */

static void test_fresh(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(1);
    struct mf_pool *pool = make_pool(&options);
    static const char *const all[] = {"data", "tls", "heap", "stack", "brk", "place", "map",
                                      "descriptor", "signal"};
    char places[256];
    for (int round = 0; round < 6; round++) {
        struct mf_sandbox *sandbox = acquire(pool);
        assert_fresh(sandbox);
        hide(sandbox, SECRET);
        with(sandbox, "make_code", 99);
        with(sandbox, "dirty", 200);
        /* It would be found; test_registers looks into those. */
        find(sandbox, SECRET, places, sizeof places);
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            if (!strstr(places, all[i]))
                fail_msg("not found in %s, only in: %s", all[i], places);
        mf_pool_release(pool, sandbox);
    }
    struct mf_pool_stats stats = get_stats(pool);
    assert_int_equal(stats.vms_made, 1);
    assert_int_equal(stats.hits, 6);
    assert_int_equal(stats.resets, 6);
    /* Others were given back to the host: they were zero. */
    assert_true(stats.pages_copied > 6 * 10);
    check_counters(pool, 0);
    mf_pool_destroy(pool);
}

/* Registers that nobody saves keep their values between two calls, but not for the next one. */
static void test_registers(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(1);
    struct mf_pool *pool = make_pool(&options);
    char places[256];
    struct mf_sandbox *sandbox = acquire(pool);
    hide(sandbox, SECRET);
    find(sandbox, SECRET, places, sizeof places);
    assert_non_null(strstr(places, "sse"));
    mf_pool_release(pool, sandbox);
    sandbox = acquire(pool);
    hide(sandbox, SECRET);
    mf_pool_release(pool, sandbox);
    sandbox = acquire(pool);
    assert_fresh(sandbox);
    mf_pool_release(pool, sandbox);
    mf_pool_destroy(pool);
}

/* What the host keeps for calls shows nobody what was there before. */
static void test_scratch(void **state)
{
    (void)state;
    enum { LEN = 200000 };
    struct mf_pool_options options = pool_options(1);
    struct mf_pool *pool = make_pool(&options);
    for (int round = 0; round < 2; round++) {
        struct mf_sandbox *sandbox = acquire(pool);
        char *scratch = mf_sandbox_scratch(sandbox, LEN);
        assert_non_null(scratch);
        for (size_t i = 0; i < LEN; i++)
            assert_int_equal(scratch[i], 0);
        memset(scratch, 'x', LEN);
        mf_pool_release(pool, sandbox);
    }
    mf_pool_destroy(pool);
}

static void end_badly(struct mf_sandbox *sandbox, int way)
{
    struct mf_error err;
    uint64_t n = UINT64_C(1) << 60, unused;
    hide(sandbox, SECRET);
    switch (way) {
    case 0:
        assert_int_equal(mf_sandbox_call(sandbox, "fault", NULL, 0, NULL, &err),
                         MF_E_GUEST_FAULT);
        assert_non_null(mf_sandbox_fault(sandbox));
        break;
    case 1:
        assert_int_equal(mf_sandbox_set_limits(sandbox, 20 * NS_PER_MS, 0, &err), 0);
        assert_int_equal(call_u64(sandbox, "sum", &n, &unused, &err), MF_E_DEADLINE);
        break;
    case 2:
        assert_int_equal(mf_sandbox_set_limits(sandbox, 0, 20 * NS_PER_MS, &err), 0);
        assert_int_equal(call_u64(sandbox, "sum", &n, &unused, &err), MF_E_CPU_TIME);
        break;
    default:
        /* Nobody takes this one. */
        mf_sandbox_interrupt(sandbox);
        break;
    }
}

static void test_bad_ends(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(1);
    struct mf_pool *pool = make_pool(&options);
    for (int way = 0; way < 8; way++) {
        struct mf_sandbox *sandbox = acquire(pool);
        end_badly(sandbox, way % 4);
        mf_pool_release(pool, sandbox);
        sandbox = acquire(pool);
        assert_fresh(sandbox);
        /* The limits of whoever was before are gone: this takes longer. */
        uint64_t begin, n = 1 << 20;
        do {
            begin = now_ns();
            with(sandbox, "sum", n *= 2);
        } while (now_ns() - begin < 50 * NS_PER_MS);
        mf_pool_release(pool, sandbox);
    }
    assert_int_equal(get_stats(pool).vms_made, 1);
    mf_pool_destroy(pool);
}

static void *interrupt_soon(void *sandbox)
{
    usleep(5000);
    mf_sandbox_interrupt(sandbox);
    return NULL;
}

static void test_interrupt(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(1);
    struct mf_pool *pool = make_pool(&options);
    for (int round = 0; round < 4; round++) {
        struct mf_sandbox *sandbox = acquire(pool);
        struct mf_error err;
        pthread_t thread;
        uint64_t n = UINT64_C(1) << 60, unused;
        assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, sandbox), 0);
        assert_int_equal(call_u64(sandbox, "sum", &n, &unused, &err), MF_E_INTERRUPTED);
        pthread_join(thread, NULL);
        mf_pool_release(pool, sandbox);
        sandbox = acquire(pool);
        assert_fresh(sandbox);
        mf_pool_release(pool, sandbox);
    }
    mf_pool_destroy(pool);
}

/* Time limits of the pool's own options hold again after an owner took them away. */
static void test_limits_come_back(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(1);
    options.sandbox.timeout_ns = 50 * NS_PER_MS;
    struct mf_pool *pool = make_pool(&options);
    struct mf_sandbox *sandbox = acquire(pool);
    struct mf_error err;
    uint64_t n = UINT64_C(1) << 60, unused;
    assert_int_equal(mf_sandbox_set_limits(sandbox, 0, 0, &err), 0);
    mf_pool_release(pool, sandbox);
    sandbox = acquire(pool);
    assert_int_equal(call_u64(sandbox, "sum", &n, &unused, &err), MF_E_DEADLINE);
    mf_pool_release(pool, sandbox);
    mf_pool_destroy(pool);
}

/* An attentive sandbox that is released is ended, and the next one is another. */
static void test_attentive(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(2);
    struct mf_pool *pool = make_pool(&options);
    struct mf_sandbox *sandbox = acquire(pool);
    struct mf_parked *parked;
    struct mf_error err;
    assert_int_equal(mf_sandbox_attend(sandbox, NULL, &err), 0);
    hide(sandbox, SECRET);
    assert_int_equal(mf_pool_park(pool, sandbox, &parked, &err), MF_E_STATE);
    mf_pool_release(pool, sandbox);
    assert_int_equal(mf_pool_acquire(pool, NULL, 0, NS_PER_S, &sandbox, &err), 0);
    assert_fresh(sandbox);
    mf_pool_release(pool, sandbox);
    mf_pool_destroy(pool);
}

/* ---- snapshots ---- */

static struct mf_snapshot *take(struct mf_sandbox *sandbox)
{
    struct mf_snapshot *snapshot;
    struct mf_error err;
    if (mf_sandbox_snapshot(sandbox, &snapshot, &err) != 0)
        fail_msg("snapshot: %s", err.message);
    return snapshot;
}

/* Snapshots of one machine share slots; the state is that of the one that was asked for. */
static void test_snapshots(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(1);
    struct mf_pool *pool = make_pool(&options);
    struct mf_snapshot *snapshots[4];
    struct mf_sandbox *sandbox = acquire(pool);
    for (int i = 0; i < 4; i++) {
        with(sandbox, "add", 100);
        with(sandbox, "make_code", (uint64_t)i + 1);
        snapshots[i] = take(sandbox);
    }
    mf_pool_release(pool, sandbox);
    for (unsigned round = 0; round < 24; round++) {
        unsigned i = round * 7 % 5;
        sandbox = acquire_of(pool, i < 4 ? snapshots[i] : NULL, 0);
        assert_int_equal(with(sandbox, "add", 1), i < 4 ? 100 * (i + 1) + 1 : 1);
        assert_int_equal(get(sandbox, "run_code"), i < 4 ? i + 1 : 0);
        with(sandbox, "make_code", 1000 + round);
        mf_pool_release(pool, sandbox);
    }
    assert_int_equal(get_stats(pool).vms_made, 1);
    check_counters(pool, 0);
    mf_pool_destroy(pool);
    for (int i = 0; i < 4; i++)
        mf_snapshot_close(snapshots[i]);
}

static struct mf_snapshot *snapshot_of_size(uint64_t memory_bytes)
{
    struct mf_sandbox_options options = sandbox_options(memory_bytes);
    struct mf_sandbox *sandbox;
    struct mf_error err;
    if (mf_sandbox_create(image, NULL, &options, &sandbox, &err) != 0)
        fail_msg("create: %s", err.message);
    assert_int_equal(with(sandbox, "add", 0), 0);
    struct mf_snapshot *snapshot = take(sandbox);
    mf_sandbox_destroy(sandbox);
    return snapshot;
}

/* A snapshot of another machine gets a VM of its own, in place of an idle one. */
static void test_other_machine(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(1);
    struct mf_pool *pool = make_pool(&options);
    struct mf_snapshot *other = snapshot_of_size(6 << 20);
    for (int round = 0; round < 3; round++) {
        struct mf_sandbox *sandbox = acquire_of(pool, other, 0);
        assert_int_equal(with(sandbox, "add", 5), 5);
        mf_pool_release(pool, sandbox);
        sandbox = acquire(pool);
        assert_int_equal(with(sandbox, "add", 6), 6);
        mf_pool_release(pool, sandbox);
    }
    struct mf_pool_stats stats = get_stats(pool);
    assert_int_equal(stats.vms_made, 7);
    assert_int_equal(stats.vms_ended, 6);
    assert_int_equal(stats.misses, 6);
    mf_pool_destroy(pool);
    mf_snapshot_close(other);
}

/* Stops a sum in the middle. */
static void stop_in_sum(struct mf_sandbox *sandbox, uint64_t n)
{
    struct mf_error err;
    uint64_t unused;
    assert_int_equal(mf_sandbox_set_limits(sandbox, NS_PER_MS, 0, &err), 0);
    assert_int_equal(call_u64(sandbox, "sum", &n, &unused, &err), MF_E_DEADLINE);
    assert_int_equal(mf_sandbox_set_limits(sandbox, 0, 0, &err), 0);
}

#define SUM_N UINT64_C(60000000)

static void resume_sum(struct mf_sandbox *sandbox)
{
    struct mf_value result;
    struct mf_error err;
    assert_int_equal(mf_sandbox_stopped(sandbox), MF_STOPPED_CALL);
    if (mf_sandbox_resume(sandbox, &result, NULL, &err) != 0)
        fail_msg("resume: %s", err.message);
    assert_int_equal(result.u64, SUM_N * (SUM_N - 1) / 2);
}

/* A pool of sandboxes in the middle of a call, and one that is parked there. */
static void test_stopped(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(2);
    struct mf_pool *pool = make_pool(&options);
    struct mf_sandbox *sandbox = acquire(pool);
    struct mf_parked *parked;
    struct mf_error err;
    with(sandbox, "add", 8);
    stop_in_sum(sandbox, SUM_N);
    struct mf_snapshot *stopped = take(sandbox);
    assert_int_equal(mf_pool_park(pool, sandbox, &parked, &err), 0);
    for (int i = 0; i < 3; i++) {
        sandbox = acquire_of(pool, stopped, 0);
        if (i != 1)
            resume_sum(sandbox);
        mf_pool_release(pool, sandbox);
    }
    sandbox = acquire(pool);
    assert_fresh(sandbox);
    mf_pool_release(pool, sandbox);
    assert_int_equal(mf_pool_unpark(pool, parked, 0, &sandbox, &err), 0);
    resume_sum(sandbox);
    assert_int_equal(with(sandbox, "add", 1), 9);
    mf_pool_release(pool, sandbox);
    mf_pool_destroy(pool);
    mf_snapshot_close(stopped);
}

/* ---- who gets what after whom ---- */

static void test_tenants(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(2);
    options.reuse = MF_REUSE_TENANT;
    struct mf_pool *pool = make_pool(&options);
    /* Tenant 7 keeps its slot. */
    for (int i = 0; i < 5; i++) {
        struct mf_sandbox *sandbox = acquire_of(pool, NULL, 7);
        assert_int_equal(with(sandbox, "add", 1), 1);
        mf_pool_release(pool, sandbox);
    }
    wait_for_warm(pool, 2);
    assert_int_equal(get_stats(pool).vms_made, 2);
    /* The next one gets the other, which nobody had. */
    mf_pool_release(pool, acquire_of(pool, NULL, 8));
    assert_int_equal(get_stats(pool).vms_made, 2);
    mf_pool_release(pool, acquire_of(pool, NULL, 7));
    mf_pool_release(pool, acquire_of(pool, NULL, 8));
    assert_int_equal(get_stats(pool).vms_made, 2);
    assert_int_equal(get_stats(pool).misses, 0);
    /* A third one's VM takes the place of one of them. */
    mf_pool_release(pool, acquire_of(pool, NULL, 9));
    struct mf_pool_stats stats = get_stats(pool);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.vms_made, 3);
    assert_int_equal(stats.vms_ended, 1);
    check_counters(pool, 0);
    mf_pool_destroy(pool);
}

static void test_never(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(3);
    options.reuse = MF_REUSE_NEVER;
    options.warm = 2;
    struct mf_pool *pool = make_pool(&options);
    struct mf_error err;
    for (int i = 0; i < 8; i++) {
        struct mf_sandbox *sandbox;
        assert_int_equal(mf_pool_acquire(pool, NULL, 0, 10 * NS_PER_S, &sandbox, &err), 0);
        struct mf_stats stats = {.size = sizeof stats};
        mf_sandbox_get_stats(sandbox, &stats);
        assert_int_equal(stats.entries, 0);
        assert_int_equal(with(sandbox, "add", 1), 1);
        mf_pool_release(pool, sandbox);
    }
    wait_for_warm(pool, 2);
    struct mf_pool_stats stats = get_stats(pool);
    assert_int_equal(stats.acquired, 8);
    assert_int_equal(stats.resets, 0);
    assert_true(stats.vms_made >= 10);
    check_counters(pool, 0);
    mf_pool_destroy(pool);
}

/* ---- waiting ---- */

struct holder {
    struct mf_pool *pool;
    struct mf_sandbox *sandbox;
    unsigned after_ms;
};

static void *release_later(void *argument)
{
    struct holder *holder = argument;
    usleep(holder->after_ms * 1000);
    mf_pool_release(holder->pool, holder->sandbox);
    return NULL;
}

static void test_busy(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(1);
    struct mf_pool *pool = make_pool(&options);
    struct holder holder = {pool, acquire(pool), 50};
    struct mf_sandbox *sandbox;
    struct mf_error err;
    pthread_t thread;
    assert_int_equal(mf_pool_acquire(pool, NULL, 0, 0, &sandbox, &err), MF_E_BUSY);
    assert_non_null(strstr(err.message, "slots"));
    assert_null(sandbox);
    uint64_t begin = now_ns();
    assert_int_equal(mf_pool_acquire(pool, NULL, 0, 30 * NS_PER_MS, &sandbox, &err), MF_E_BUSY);
    assert_true(now_ns() - begin >= 30 * NS_PER_MS);
    assert_int_equal(pthread_create(&thread, NULL, release_later, &holder), 0);
    assert_int_equal(mf_pool_acquire(pool, NULL, 0, UINT64_MAX, &sandbox, &err), 0);
    pthread_join(thread, NULL);
    assert_fresh(sandbox);
    mf_pool_release(pool, sandbox);
    struct mf_pool_stats stats = get_stats(pool);
    assert_int_equal(stats.refusals, 2);
    assert_int_equal(stats.waits, 2);
    assert_int_equal(stats.vms_made, 1);
    mf_pool_destroy(pool);
}

struct in_line {
    struct mf_pool *pool;
    atomic_uint *served;
    unsigned place; /* when it was served */
    int rc;
};

static void *stand_in_line(void *argument)
{
    struct in_line *me = argument;
    struct mf_sandbox *sandbox;
    me->rc = mf_pool_acquire(me->pool, NULL, 0, 20 * NS_PER_S, &sandbox, NULL);
    if (me->rc != 0)
        return NULL;
    me->place = atomic_fetch_add(me->served, 1);
    usleep(2000);
    mf_pool_release(me->pool, sandbox);
    return NULL;
}

/* Whoever came first is served first. */
static void test_order(void **state)
{
    (void)state;
    enum { N = 6 };
    struct mf_pool_options options = pool_options(1);
    struct mf_pool *pool = make_pool(&options);
    struct mf_sandbox *sandbox = acquire(pool);
    struct in_line line[N];
    pthread_t threads[N];
    atomic_uint served = 0;
    for (unsigned i = 0; i < N; i++) {
        line[i] = (struct in_line){.pool = pool, .served = &served};
        assert_int_equal(pthread_create(&threads[i], NULL, stand_in_line, &line[i]), 0);
        while (get_stats(pool).waits != i + 1)
            usleep(200);
        usleep(2000);
    }
    mf_pool_release(pool, sandbox);
    for (unsigned i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(line[i].rc, 0);
        assert_int_equal(line[i].place, i);
    }
    check_counters(pool, 0);
    mf_pool_destroy(pool);
}

static void *wait_for_both(void *argument)
{
    struct in_line *me = argument;
    struct mf_sandbox *sandbox;
    me->rc = mf_pool_acquire(me->pool, NULL, 0, 5 * NS_PER_S, &sandbox, NULL);
    if (me->rc != 0)
        return NULL;
    atomic_fetch_add(me->served, 1);
    uint64_t end = now_ns() + 5 * NS_PER_S;
    while (atomic_load(me->served) < 2 && now_ns() < end)
        usleep(200);
    mf_pool_release(me->pool, sandbox);
    return NULL;
}

/* Two slots that come back at once serve two who wait, though each wakes the first only. */
static void test_two_at_once(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(2);
    struct mf_pool *pool = make_pool(&options);
    for (unsigned round = 0; round < 10; round++) {
        struct mf_sandbox *one = acquire(pool), *two = acquire(pool);
        atomic_uint served = 0;
        struct in_line line = {.pool = pool, .served = &served}, lines[2] = {line, line};
        pthread_t threads[2];
        /* The second slot may have been in the making, which counts as a wait too. */
        uint64_t waits = get_stats(pool).waits;
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, wait_for_both, &lines[i]), 0);
        while (get_stats(pool).waits != waits + 2)
            usleep(200);
        usleep(1000);
        mf_pool_release(pool, one);
        mf_pool_release(pool, two);
        for (int i = 0; i < 2; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(lines[i].rc, 0);
        }
    }
    check_counters(pool, 0);
    mf_pool_destroy(pool);
}

/* ---- many threads ---- */

struct worker {
    struct mf_pool *pool;
    struct mf_snapshot *other; /* whose counter is 1000 */
    unsigned rounds, seed;
    char failure[400];
};

static bool work_once(struct worker *w)
{
    struct mf_sandbox *sandbox;
    struct mf_error err;
    bool other = rand_r(&w->seed) % 8 == 0;
    uint64_t n = (uint64_t)rand_r(&w->seed), got, expected = other ? 1000 : 0;
    uint64_t tenant = (uint64_t)rand_r(&w->seed) % 3;
    int rc = mf_pool_acquire(w->pool, other ? w->other : NULL, tenant, 60 * NS_PER_S, &sandbox,
                             &err);
    if (rc != 0) {
        snprintf(w->failure, sizeof w->failure, "acquire: %s", err.message);
        return false;
    }
    for (int i = 0; rc == 0 && i < 2; i++) {
        expected += n;
        rc = call_u64(sandbox, "add", &n, &got, &err);
        if (rc == 0 && got != expected) {
            snprintf(w->failure, sizeof w->failure, "got %llu, not %llu",
                     (unsigned long long)got, (unsigned long long)expected);
            return false;
        }
    }
    if (rc != 0)
        snprintf(w->failure, sizeof w->failure, "add: %s", err.message);
    else if (rand_r(&w->seed) % 16 == 0)
        mf_sandbox_call(sandbox, "fault", NULL, 0, NULL, &err);
    mf_pool_release(w->pool, sandbox);
    return rc == 0;
}

static void *work(void *argument)
{
    struct worker *w = argument;
    for (unsigned i = 0; i < w->rounds && work_once(w); i++)
        continue;
    return NULL;
}

static void hammer(unsigned nthreads, unsigned slots, unsigned rounds, enum mf_reuse reuse)
{
    struct mf_pool_options options = pool_options(slots);
    options.reuse = reuse;
    struct mf_pool *pool = make_pool(&options);
    struct worker workers[8];
    pthread_t threads[8];
    struct mf_sandbox *sandbox = acquire(pool);
    with(sandbox, "add", 1000);
    struct mf_snapshot *other = take(sandbox);
    mf_pool_release(pool, sandbox);
    for (unsigned i = 0; i < nthreads; i++) {
        workers[i] = (struct worker){.pool = pool, .other = other, .rounds = rounds, .seed = i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < nthreads; i++) {
        pthread_join(threads[i], NULL);
        if (workers[i].failure[0])
            fail_msg("thread %u: %s", i, workers[i].failure);
    }
    check_counters(pool, 0);
    assert_int_equal(get_stats(pool).acquired, 1 + (uint64_t)nthreads * rounds);
    mf_pool_destroy(pool);
    mf_snapshot_close(other);
}

static void test_threads(void **state)
{
    (void)state;
    hammer(2, 2, 150, MF_REUSE_ANY);
    hammer(4, 6, 80, MF_REUSE_ANY);
    hammer(8, 3, 40, MF_REUSE_ANY);
    hammer(4, 3, 25, MF_REUSE_TENANT);
    hammer(4, 3, 10, MF_REUSE_NEVER);
}

/* ---- parking ---- */

static struct mf_parked *park(struct mf_pool *pool, struct mf_sandbox *sandbox)
{
    struct mf_parked *parked;
    struct mf_error err;
    if (mf_pool_park(pool, sandbox, &parked, &err) != 0)
        fail_msg("park: %s", err.message);
    return parked;
}

static struct mf_sandbox *unpark(struct mf_pool *pool, struct mf_parked *parked)
{
    struct mf_sandbox *sandbox;
    struct mf_error err;
    if (mf_pool_unpark(pool, parked, 0, &sandbox, &err) != 0)
        fail_msg("unpark: %s", err.message);
    return sandbox;
}

/* Each goes on where it was, in whichever slot. */
static void test_park(void **state)
{
    (void)state;
    enum { N = 200 };
    struct mf_pool_options options = pool_options(4);
    struct mf_pool *pool = make_pool(&options);
    struct mf_parked *parked[N];
    uint64_t generations[N];
    for (unsigned i = 0; i < N; i++) {
        struct mf_sandbox *sandbox = acquire_of(pool, NULL, i);
        assert_int_equal(with(sandbox, "add", 1000 + i), 1000 + i);
        if (i % 3 == 0)
            assert_int_equal(with(sandbox, "make_code", i), i);
        if (i % 5 == 0)
            with(sandbox, "dirty", 1 + i % 60);
        generations[i] = get(sandbox, "generation");
        parked[i] = park(pool, sandbox);
    }
    assert_int_equal(get_stats(pool).parked, N);
    assert_true(get_stats(pool).vms_made <= 4);
    for (unsigned k = 0; k < 2 * N; k++) {
        unsigned i = k * 77 % N;
        struct mf_sandbox *sandbox = unpark(pool, parked[i]);
        assert_int_equal(get(sandbox, "generation"), generations[i]);
        assert_int_equal(get(sandbox, "restores"), 1);
        if (i % 3 == 0)
            assert_int_equal(get(sandbox, "run_code"), i);
        if (i % 5 == 0)
            assert_int_equal(with(sandbox, "dirty", 1 + i % 60), 1000 + i + 1 + i % 60);
        assert_int_equal(with(sandbox, "add", 0), 1000 + i);
        if (k < N)
            parked[i] = park(pool, sandbox);
        else
            mf_pool_release(pool, sandbox);
    }
    struct mf_pool_stats stats = get_stats(pool);
    assert_int_equal(stats.parked, 0);
    assert_int_equal(stats.parked_bytes, 0);
    assert_true(stats.vms_made <= 4);
    struct mf_sandbox *sandbox = acquire(pool);
    assert_fresh(sandbox);
    mf_pool_release(pool, sandbox);
    check_counters(pool, 0);
    mf_pool_destroy(pool);
}

/* Nobody finds a page where somebody before had one, whether he was parked or not. */
static void test_stale_mapping(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(1);
    struct mf_pool *pool = make_pool(&options);
    for (int round = 0; round < 4; round++) {
        struct mf_sandbox *sandbox = acquire(pool);
        struct mf_error err;
        uint64_t unused;
        assert_int_equal(with(sandbox, "make_code", 7), 7);
        uint64_t at = get(sandbox, "code_at");
        if (round % 2 == 1) {
            sandbox = unpark(pool, park(pool, sandbox));
            assert_int_equal(get(sandbox, "run_code"), 7);
        }
        assert_int_equal(with(sandbox, "peek", at), 0xb8);
        mf_pool_release(pool, sandbox);
        sandbox = acquire(pool);
        assert_int_equal(call_u64(sandbox, "peek", &at, &unused, &err), MF_E_GUEST_FAULT);
        mf_pool_release(pool, sandbox);
    }
    assert_int_equal(get_stats(pool).vms_made, 1);
    mf_pool_destroy(pool);
}

/* Code that was changed before parking comes back, though the slot ran what it was before. */
static void test_park_code(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(1);
    struct mf_pool *pool = make_pool(&options);
    struct mf_sandbox *sandbox = acquire(pool);
    with(sandbox, "make_code", 1);
    struct mf_snapshot *one = take(sandbox);
    mf_pool_release(pool, sandbox);
    for (unsigned round = 2; round < 6; round++) {
        sandbox = acquire_of(pool, one, 0);
        assert_int_equal(with(sandbox, "make_code", round), round);
        struct mf_parked *parked = park(pool, sandbox);
        sandbox = acquire_of(pool, one, 0);
        assert_int_equal(get(sandbox, "run_code"), 1);
        mf_pool_release(pool, sandbox);
        sandbox = unpark(pool, parked);
        assert_int_equal(get(sandbox, "run_code"), round);
        mf_pool_release(pool, sandbox);
        sandbox = acquire_of(pool, one, 0);
        assert_int_equal(get(sandbox, "run_code"), 1);
        mf_pool_release(pool, sandbox);
    }
    mf_pool_destroy(pool);
    mf_snapshot_close(one);
}

/* All of its state comes back: what is hidden is found again, registers included. */
static void test_park_everything(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(2);
    struct mf_pool *pool = make_pool(&options);
    struct mf_sandbox *sandbox = acquire(pool), *twin;
    struct mf_error err;
    char before[256], after[256];
    hide(sandbox, SECRET);
    find(sandbox, SECRET, before, sizeof before);
    hide(sandbox, SECRET);
    mf_sandbox_interrupt(sandbox);
    assert_int_equal(mf_sandbox_set_limits(sandbox, 40 * NS_PER_MS, 0, &err), 0);
    struct mf_parked *parked = park(pool, sandbox);
    twin = acquire(pool);
    assert_fresh(twin);
    sandbox = unpark(pool, parked);
    /* An interrupt that waited, and the limits, went with it. */
    uint64_t unused, n = UINT64_C(1) << 60;
    assert_int_equal(call_u64(sandbox, "add", &n, &unused, &err), MF_E_INTERRUPTED);
    struct mf_stats stats = {.size = sizeof stats};
    mf_sandbox_get_stats(sandbox, &stats);
    assert_int_equal(stats.calls, 3);
    find(sandbox, SECRET, after, sizeof after);
    assert_string_equal(after, before);
    assert_int_equal(call_u64(sandbox, "sum", &n, &unused, &err), MF_E_DEADLINE);
    mf_pool_release(pool, sandbox);
    mf_pool_release(pool, twin);
    mf_pool_destroy(pool);
}

/* A failure leaves the sandbox with its caller, or the parked one parked. */
static void test_park_refused(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(1);
    options.parked_bytes = 20000;
    struct mf_pool *pool = make_pool(&options);
    struct mf_sandbox *sandbox = acquire(pool), *other;
    struct mf_parked *parked;
    struct mf_error err;
    with(sandbox, "add", 3);
    with(sandbox, "dirty", 250);
    for (unsigned i = 0; i < 8; i++)
        hide(sandbox, SECRET);
    struct mf_parked *small[64];
    unsigned n = 0;
    while (n < 64 && mf_pool_park(pool, sandbox, &parked, &err) == 0) {
        small[n++] = parked;
        sandbox = acquire(pool);
        with(sandbox, "dirty", 100);
    }
    assert_int_equal(err.code, MF_E_BUSY);
    assert_non_null(strstr(err.message, "parked_bytes"));
    assert_true(n > 0 && n < 64);
    assert_true(get_stats(pool).parked_bytes <= 20000);
    assert_int_equal(with(sandbox, "add", 4), 4);
    assert_int_equal(mf_pool_unpark(pool, small[0], 0, &other, &err), MF_E_BUSY);
    assert_int_equal(get_stats(pool).parked, n);
    mf_sandbox_call(sandbox, "fault", NULL, 0, NULL, &err);
    assert_int_equal(mf_pool_park(pool, sandbox, &parked, &err), MF_E_POISONED);
    mf_pool_release(pool, sandbox);
    sandbox = unpark(pool, small[0]);
    assert_int_equal(with(sandbox, "add", 1), 4);
    mf_pool_release(pool, sandbox);
    for (unsigned i = 1; i < n; i++)
        mf_pool_discard(pool, small[i]);
    check_counters(pool, 0);
    mf_pool_destroy(pool);
}

/* Memory that malloc has handed out. */
static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Many of them, and what one takes: at most 4 KiB beside its dirty pages. */
static void test_park_many(void **state)
{
    (void)state;
    enum { MANY = 2000, DIRTY = 3 };
    struct mf_pool_options options = pool_options(16);
    struct mf_pool *pool = make_pool(&options);
    static struct mf_parked *parked[MANY];
    mf_pool_release(pool, acquire(pool));
    wait_for_warm(pool, 1);
    size_t heap = heap_bytes();
    unsigned n = 0;
    /* Fewer where everything is slow. */
    for (uint64_t end = now_ns() + 20 * NS_PER_S; n < MANY && now_ns() < end; n++) {
        struct mf_sandbox *sandbox = acquire(pool);
        with(sandbox, "add", n);
        with(sandbox, "touch", DIRTY);
        parked[n] = park(pool, sandbox);
    }
    struct mf_pool_stats stats = get_stats(pool);
    assert_true(n > 100);
    assert_int_equal(stats.parked, n);
    assert_true(stats.parked_bytes / n <= DIRTY * 4096 + 4096);
    /* What the pool says is what the process has. The emulator has memory of its own, and with
     * sanitizers malloc tells nothing. */
    size_t more = heap_bytes() - heap;
    if (heap != 0 && backend == MF_BACKEND_KVM)
        assert_true(more >= stats.parked_bytes && more <= 2 * stats.parked_bytes);
    print_message("%llu bytes for each parked sandbox\n",
                  (unsigned long long)(stats.parked_bytes / n));
    for (unsigned i = 0; i < n; i++) {
        if (i % 40 != 0) {
            mf_pool_discard(pool, parked[i]);
            continue;
        }
        struct mf_sandbox *sandbox = unpark(pool, parked[i]);
        assert_int_equal(with(sandbox, "add", 0), i);
        mf_pool_release(pool, sandbox);
    }
    assert_int_equal(get_stats(pool).parked_bytes, 0);
    mf_pool_destroy(pool);
}

/* ---- the end ---- */

static void test_destroy_warm(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(6);
    options.warm = 4;
    for (int round = 0; round < 3; round++) {
        struct mf_pool *pool = make_pool(&options);
        if (round == 1)
            wait_for_warm(pool, 4);
        mf_pool_destroy(pool);
    }
}

/* A child of fork leaves its parent's pool alone, and can have its own. */
static void test_fork(void **state)
{
    (void)state;
    struct mf_pool_options options = pool_options(2);
    struct mf_pool *pool = make_pool(&options);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        mf_pool_destroy(pool);
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    struct mf_sandbox *sandbox = acquire(pool);
    assert_fresh(sandbox);
    mf_pool_release(pool, sandbox);
    mf_pool_destroy(pool);
}

/* ---- against a model ---- */

#define LIVE_MAX 3
#define PARKED_MAX 12

struct model {
    struct mf_pool *pool;
    struct mf_sandbox *live[LIVE_MAX];
    uint64_t live_counter[LIVE_MAX];
    bool live_dead[LIVE_MAX];
    struct mf_parked *parked[PARKED_MAX];
    uint64_t parked_counter[PARKED_MAX];
    unsigned nlive, nparked;
};

static void remove_live(struct model *m, unsigned i)
{
    m->nlive--;
    m->live[i] = m->live[m->nlive];
    m->live_counter[i] = m->live_counter[m->nlive];
    m->live_dead[i] = m->live_dead[m->nlive];
}

static void add_live(struct model *m, struct mf_sandbox *sandbox, uint64_t counter)
{
    m->live[m->nlive] = sandbox;
    m->live_counter[m->nlive] = counter;
    m->live_dead[m->nlive++] = false;
}

static void model_get(struct model *m, bool parked, unsigned r)
{
    struct mf_sandbox *sandbox;
    struct mf_error err;
    unsigned i = m->nparked ? r % m->nparked : 0;
    if (parked && m->nparked == 0)
        return;
    int rc = parked ? mf_pool_unpark(m->pool, m->parked[i], 0, &sandbox, &err)
                    : mf_pool_acquire(m->pool, NULL, r % 3, 0, &sandbox, &err);
    if (m->nlive == LIVE_MAX) {
        assert_int_equal(rc, MF_E_BUSY);
        return;
    }
    if (rc != 0)
        fail_msg("acquire or unpark: %s", err.message);
    add_live(m, sandbox, parked ? m->parked_counter[i] : 0);
    if (!parked)
        return;
    m->nparked--;
    m->parked[i] = m->parked[m->nparked];
    m->parked_counter[i] = m->parked_counter[m->nparked];
}

static void model_call(struct model *m, unsigned i, unsigned r)
{
    struct mf_error err;
    uint64_t n = r % 1000, got;
    int rc = call_u64(m->live[i], "add", &n, &got, &err);
    if (m->live_dead[i]) {
        assert_int_equal(rc, MF_E_POISONED);
        return;
    }
    m->live_counter[i] += n;
    assert_int_equal(rc, 0);
    assert_int_equal(got, m->live_counter[i]);
    if (r % 7 == 0)
        with(m->live[i], "dirty", r % 50);
    if (r % 11 == 0)
        with(m->live[i], "make_code", r);
    if (r % 31 == 0) {
        uint64_t keep = m->live_counter[i];
        assert_int_equal(with(m->live[i], "add", -keep), 0);
        m->live_counter[i] = 0;
        assert_int_equal(mf_sandbox_call(m->live[i], "fault", NULL, 0, NULL, &err),
                         MF_E_GUEST_FAULT);
        m->live_dead[i] = true;
    }
}

static void model_park(struct model *m, unsigned i)
{
    struct mf_parked *parked;
    struct mf_error err;
    int rc = mf_pool_park(m->pool, m->live[i], &parked, &err);
    if (m->live_dead[i]) {
        assert_int_equal(rc, MF_E_POISONED);
        return;
    }
    assert_int_equal(rc, 0);
    m->parked[m->nparked] = parked;
    m->parked_counter[m->nparked++] = m->live_counter[i];
    remove_live(m, i);
}

static void model_step(struct model *m, unsigned *seed)
{
    unsigned what = (unsigned)rand_r(seed) % 12, r = (unsigned)rand_r(seed);
    unsigned i = m->nlive ? (unsigned)rand_r(seed) % m->nlive : 0;
    if (what < 2) {
        model_get(m, false, r);
    } else if (what < 4) {
        model_get(m, true, r);
    } else if (what == 4 && m->nparked > 0) {
        mf_pool_discard(m->pool, m->parked[--m->nparked]);
    } else if (m->nlive == 0) {
        return;
    } else if (what < 8) {
        model_call(m, i, r);
    } else if (what < 10 && m->nparked < PARKED_MAX) {
        model_park(m, i);
    } else if (what == 10) {
        mf_pool_release(m->pool, m->live[i]);
        remove_live(m, i);
    }
}

static void test_model(void **state)
{
    (void)state;
    const char *given = getenv("MAYFLY_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)now_ns();
    print_message("MAYFLY_TEST_SEED=%u\n", seed);
    for (int reuse = MF_REUSE_ANY; reuse <= MF_REUSE_TENANT; reuse++) {
        struct mf_pool_options options = pool_options(LIVE_MAX);
        options.reuse = (enum mf_reuse)reuse;
        struct model m = {.pool = make_pool(&options)};
        uint64_t end = now_ns() + 3 * NS_PER_S;
        for (int step = 0; step < 500 && now_ns() < end; step++) {
            model_step(&m, &seed);
            struct mf_pool_stats stats = get_stats(m.pool);
            assert_int_equal(stats.slots_used, m.nlive);
            assert_int_equal(stats.parked, m.nparked);
            assert_int_equal(stats.hits + stats.misses, stats.acquired);
        }
        while (m.nlive > 0)
            mf_pool_release(m.pool, m.live[--m.nlive]);
        while (m.nparked > 0)
            mf_pool_discard(m.pool, m.parked[--m.nparked]);
        check_counters(m.pool, 0);
        mf_pool_destroy(m.pool);
    }
}

/* ---- */

static int set_up(void **state)
{
    (void)state;
    char path[4096];
    struct mf_error err;
    struct mf_sandbox *sandbox;
    struct mf_sandbox_options options = sandbox_options(4 << 20);
    snprintf(path, sizeof path, "%s/pool/musl", getenv("GUESTS"));
    if (mf_image_open(path, &image, &err) != 0 ||
        mf_sandbox_create(image, NULL, &options, &sandbox, &err) != 0) {
        fprintf(stderr, "%s: %s\n", path, err.message);
        return -1;
    }
    base_generation = get(sandbox, "generation");
    base_brk = get(sandbox, "brk_at");
    base = take(sandbox);
    /* Where the next mapping comes to lie. */
    base_place = get(sandbox, "place_at");
    mf_sandbox_destroy(sandbox);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mf_snapshot_close(base);
    mf_image_close(image);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_fresh),
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_scratch),
        cmocka_unit_test(test_bad_ends),
        cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_limits_come_back),
        cmocka_unit_test(test_attentive),
        cmocka_unit_test(test_snapshots),
        cmocka_unit_test(test_other_machine),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_tenants),
        cmocka_unit_test(test_never),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_park),
        cmocka_unit_test(test_stale_mapping),
        cmocka_unit_test(test_park_code),
        cmocka_unit_test(test_park_everything),
        cmocka_unit_test(test_park_refused),
        cmocka_unit_test(test_park_many),
        cmocka_unit_test(test_destroy_warm),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_model),
    };
    backend = test_backend();
    alarm(ALARM_S);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
