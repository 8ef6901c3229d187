/*
 * Migration within one process: sandboxes that compute while they are moved, dozens of times,
 * between backends, and what comes of it equals what an undisturbed guest computes. The guest
 * is tests/guests/migrate/guest.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "backend.h"
#include "support_migrate.h"

#include <time.h>
#include <unistd.h>

#define ALARM_S 110
#define NS_PER_MS UINT64_C(1000000)

static enum mf_backend backend, other_backend;
static struct mf_image *image;

/* ---- a sandbox ---- */

static int visit(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                 struct mf_value *result, struct mf_error *err)
{
    struct mf_value args[] = {arg[0], mf_u64(20000), mf_u64(4)};
    (void)context;
    return mf_sandbox_call(sandbox, "chain", args, 3, result, err);
}

static struct mf_host *make_host(void)
{
    struct mf_host *host;
    struct mf_error err;
    if (mf_host_create(&host, &err) != 0 ||
        mf_host_add(host, "u64 visit(u64 n)", visit, NULL, &err) != 0)
        fail_msg("%s", err.message);
    return host;
}

static struct mf_sandbox *create(const struct mf_sandbox_options *options)
{
    struct mf_sandbox_options own = {.size = sizeof own, .backend = backend};
    struct mf_host *host = make_host();
    struct mf_sandbox *sandbox;
    struct mf_error err;
    if (mf_sandbox_create(image, host, options ? options : &own, &sandbox, &err) != 0)
        fail_msg("%s", err.message);
    mf_host_destroy(host);
    return sandbox;
}

static uint64_t call(struct mf_sandbox *sandbox, const char *function, const uint64_t *args,
                     size_t nargs)
{
    struct place place = {.sandbox = sandbox};
    place_call(&place, function, args, nargs);
    place_join(&place);
    if (place.rc != 0)
        fail_msg("%s: %s", function, place.err.message);
    return place.result;
}

static void sleep_ms(unsigned ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

/* Moves, must arrive, and the place goes on with the one that arrived. */
static void move_place(struct place *place, struct move *move)
{
    move->make_host = make_host;
    move_sandbox(place->sandbox, move);
    if (move->out_rc != 0 || move->in_rc != 0)
        fail_msg("source: %s; receiver: %s", move->out_err.message, move->in_err.message);
    assert_int_equal(move->outcome, MF_MIGRATE_THERE);
}

/* ---- pausing ---- */

static void test_pause(void **state)
{
    uint64_t args[] = {5, 3000000, 16}, expected, n;
    struct mf_sandbox *sandbox = create(NULL);
    struct place place = {.sandbox = sandbox};
    struct mf_snapshot *snapshot;
    struct mf_error err;
    (void)state;
    expected = call(sandbox, "chain", args, 3);
    place_call(&place, "chain", args, 3);
    for (n = 0; n < 20; n++) {
        sleep_ms(2);
        assert_int_equal(mf_sandbox_pause(sandbox, 0, &err), 0);
        assert_int_equal(mf_sandbox_pause(sandbox, 0, &err), MF_E_STATE);
        if (n == 3) {
            assert_int_equal(mf_sandbox_snapshot(sandbox, &snapshot, &err), 0);
            mf_snapshot_close(snapshot);
        }
        mf_sandbox_unpause(sandbox);
    }
    place_join(&place);
    assert_int_equal(place.rc, 0);
    assert_true(place.result == expected);
    mf_sandbox_destroy(sandbox);
}

/* Who wants to use it waits; what is paused in between is whole. */
static void test_pause_idle(void **state)
{
    uint64_t args[] = {5, 1000, 4}, expected;
    struct mf_sandbox *sandbox = create(NULL);
    struct place place = {.sandbox = sandbox};
    struct mf_error err;
    (void)state;
    expected = call(sandbox, "chain", args, 3);
    assert_int_equal(mf_sandbox_pause(sandbox, 0, &err), 0);
    place.rc = 1;
    place_call(&place, "chain", args, 3);
    sleep_ms(30);
    assert_int_equal(place.rc, 1);
    mf_sandbox_unpause(sandbox);
    place_join(&place);
    assert_int_equal(place.rc, 0);
    assert_true(place.result == expected);
    mf_sandbox_destroy(sandbox);
}

/* ---- moving ---- */

static void test_idle(void **state)
{
    uint64_t bytes = 3 << 20;
    struct place place = {.sandbox = create(NULL)};
    struct move move = {.backend = backend};
    struct mf_error err;
    (void)state;
    assert_true(call(place.sandbox, "keep", &bytes, 1));
    move_place(&place, &move);
    /* It is here no longer. */
    assert_int_equal(mf_sandbox_call(place.sandbox, "check", NULL, 0, NULL, &err), MF_E_MOVED);
    mf_sandbox_destroy(place.sandbox);
    assert_int_equal(mf_sandbox_stopped(move.received), MF_STOPPED_NOTHING);
    assert_int_equal(call(move.received, "check", NULL, 0), 0);
    assert_true(move.summary.pages_known > 0);
    mf_sandbox_destroy(move.received);
}

/*
 * After a move: goes on with what was stopped, or makes the call again when it had ended before, or
 * not begun. True when it was stopped in its middle.
 */
static bool go_on(struct place *place, uint64_t expected, const char *function,
                  const uint64_t *args, size_t nargs)
{
    if (mf_sandbox_stopped(place->sandbox) == MF_STOPPED_CALL) {
        assert_int_equal(place->rc, MF_E_MOVED);
        place_resume(place);
        return true;
    }
    if (place->rc != MF_E_MOVED) {
        assert_int_equal(place->rc, 0);
        assert_true(place->result == expected);
    }
    place_call(place, function, args, nargs);
    return false;
}

/* A call that is moved again and again, from thread to thread. */
static void chain_moves(enum mf_backend even, enum mf_backend odd, unsigned moves, int compress)
{
    uint64_t args[] = {7, 1500000, 64}, expected;
    struct place place = {.sandbox = create(NULL)};
    unsigned moved = 0;
    expected = call(place.sandbox, "chain", args, 3);
    place_call(&place, "chain", args, 3);
    for (unsigned i = 0; i < moves; i++) {
        struct move move = {.backend = i % 2 ? odd : even, .out.compress = compress};
        sleep_ms(1 + i % 5);
        move_place(&place, &move);
        place_join(&place);
        mf_sandbox_destroy(place.sandbox);
        place.sandbox = move.received;
        moved += go_on(&place, expected, "chain", args, 3);
    }
    place_join(&place);
    assert_int_equal(place.rc, 0);
    assert_true(place.result == expected);
    assert_true(moved > moves / 4);
    mf_sandbox_destroy(place.sandbox);
}

static void test_back_and_forth(void **state)
{
    (void)state;
    chain_moves(backend, backend, 24, 0);
}

static void test_compressed(void **state)
{
    (void)state;
    chain_moves(backend, backend, 6, 1);
}

static void test_across(void **state)
{
    (void)state;
    if (other_backend == MF_BACKEND_AUTO)
        skip();
    chain_moves(other_backend, backend, 8, 0);
}

/* Inside of a host function that calls the guest: it is waited for. */
static void test_nested(void **state)
{
    uint64_t n = 150, expected;
    struct place place = {.sandbox = create(NULL)};
    (void)state;
    expected = call(place.sandbox, "visit", &n, 1);
    place_call(&place, "visit", &n, 1);
    for (int i = 0; i < 4; i++) {
        struct move move = {.backend = backend};
        sleep_ms(5);
        move_place(&place, &move);
        place_join(&place);
        mf_sandbox_destroy(place.sandbox);
        place.sandbox = move.received;
        go_on(&place, expected, "visit", &n, 1);
    }
    place_join(&place);
    assert_int_equal(place.rc, 0);
    assert_true(place.result == expected);
    mf_sandbox_destroy(place.sandbox);
}

/* ---- guests that write faster than is copied ---- */

/* It never gets below a limit of 1 ns, so it is held back more and more, and still is not. */
static void test_throttled(void **state)
{
    uint64_t bytes = 8 << 20, rounds = 1 << 30;
    struct place place = {.sandbox = create(NULL)};
    struct move move = {.backend = backend, .make_host = make_host};
    (void)state;
    move.out.downtime_limit_ns = 1;
    move.out.timeout_ns = 700 * NS_PER_MS;
    assert_true(call(place.sandbox, "keep", &bytes, 1));
    place_call(&place, "dirty", &rounds, 1);
    sleep_ms(20);
    move_sandbox(place.sandbox, &move);
    assert_int_equal(move.out_rc, MF_E_DEADLINE);
    assert_int_equal(move.outcome, MF_MIGRATE_HERE);
    assert_true(move.summary.throttle >= 80);
    mf_sandbox_interrupt(place.sandbox);
    place_join(&place);
    assert_int_equal(place.rc, MF_E_INTERRUPTED);
    mf_sandbox_destroy(place.sandbox);
}

static bool can_postcopy(void)
{
    struct mf_sandbox *sandbox = create(NULL);
    struct move move = {.backend = backend, .make_host = make_host, .out.postcopy = 1};
    move_sandbox(sandbox, &move);
    mf_sandbox_destroy(sandbox);
    if (move.received)
        mf_sandbox_destroy(move.received);
    return move.out_rc == 0;
}

/* Goes on at the receiver before its pages are there, and all of them come. */
static void test_postcopy(void **state)
{
    uint64_t bytes = 12 << 20, rounds = 200, expected;
    struct place place = {.sandbox = create(NULL)};
    (void)state;
    if (!can_postcopy()) {
        mf_sandbox_destroy(place.sandbox);
        skip();
    }
    assert_true(call(place.sandbox, "keep", &bytes, 1));
    expected = call(place.sandbox, "dirty", &rounds, 1);
    mf_sandbox_destroy(place.sandbox);
    for (int i = 0; i < 6; i++) {
        struct move move = {.backend = i % 2 && other_backend ? other_backend : backend};
        struct mf_error err;
        place.sandbox = create(NULL);
        assert_true(call(place.sandbox, "keep", &bytes, 1));
        place_call(&place, "dirty", &rounds, 1);
        sleep_ms(3);
        move.out.postcopy = 1;
        move.out.downtime_limit_ns = 1;
        /* The call goes on while the source still serves pages. */
        move_place(&place, &move);
        place_join(&place);
        mf_sandbox_destroy(place.sandbox);
        place.sandbox = move.received;
        assert_int_equal(mf_migrate_wait(place.sandbox, 10000 * NS_PER_MS, &err), 0);
        go_on(&place, expected, "dirty", &rounds, 1);
        place_join(&place);
        assert_int_equal(place.rc, 0);
        assert_true(place.result == expected);
        mf_sandbox_destroy(place.sandbox);
    }
}

/* ---- refusals ---- */

static int refuse(void *context, const struct mf_migrate_offer *offer, struct mf_host **host,
                  struct mf_sandbox_options *options, struct mf_error *err)
{
    (void)context;
    (void)offer;
    (void)host;
    (void)options;
    return mf_fail(err, MF_E_REFUSED, "no room at the inn");
}

static void assert_goes_on(struct mf_sandbox *sandbox, const struct move *move)
{
    uint64_t args[] = {1, 1000, 4};
    assert_int_equal(move->outcome, MF_MIGRATE_HERE);
    assert_null(move->received);
    call(sandbox, "chain", args, 3);
}

static void test_refused(void **state)
{
    struct mf_sandbox *sandbox = create(NULL);
    struct move move = {.in.accept = refuse};
    (void)state;
    move_sandbox(sandbox, &move);
    assert_int_equal(move.out_rc, MF_E_REFUSED);
    assert_non_null(strstr(move.out_err.message, "no room at the inn"));
    assert_goes_on(sandbox, &move);
    struct move small = {.backend = backend, .make_host = make_host, .in.memory_limit = 1 << 20};
    move_sandbox(sandbox, &small);
    assert_int_equal(small.out_rc, MF_E_REFUSED);
    assert_non_null(strstr(small.out_err.message, "at most 1 MiB"));
    assert_goes_on(sandbox, &small);
    struct move functionless = {.backend = backend};
    move_sandbox(sandbox, &functionless);
    assert_int_equal(functionless.out_rc, MF_E_REFUSED);
    assert_non_null(strstr(functionless.out_err.message, "visit"));
    assert_goes_on(sandbox, &functionless);
    mf_sandbox_destroy(sandbox);
}

static int cancel(void *context, const struct mf_migrate_progress *progress)
{
    (void)context;
    return progress->round >= 1;
}

static void test_cancelled(void **state)
{
    struct mf_sandbox *sandbox = create(NULL);
    struct move move = {.backend = backend, .make_host = make_host, .out.progress = cancel};
    (void)state;
    move_sandbox(sandbox, &move);
    assert_int_equal(move.out_rc, MF_E_CANCELLED);
    assert_int_equal(move.in_rc, MF_E_REFUSED);
    assert_goes_on(sandbox, &move);
    mf_sandbox_destroy(sandbox);
}

int main(void)
{
    char path[4096];
    struct mf_backend_info info;
    struct mf_error err;
    backend = test_backend();
    other_backend = backend == MF_BACKEND_KVM ? MF_BACKEND_SOFT : MF_BACKEND_KVM;
    mf_backend_probe(other_backend, &info, NULL);
    if (!info.usable)
        other_backend = MF_BACKEND_AUTO;
    snprintf(path, sizeof path, "%s/migrate/musl", getenv("GUESTS"));
    if (mf_image_open(path, &image, &err) != 0) {
        fprintf(stderr, "%s: %s\n", path, err.message);
        return 1;
    }
    alarm(ALARM_S);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pause),          cmocka_unit_test(test_pause_idle),
        cmocka_unit_test(test_idle),           cmocka_unit_test(test_back_and_forth),
        cmocka_unit_test(test_compressed),     cmocka_unit_test(test_across),
        cmocka_unit_test(test_nested),         cmocka_unit_test(test_throttled),
        cmocka_unit_test(test_postcopy),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_cancelled),
    };
    int failed = cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
    mf_image_close(image);
    return failed;
}
