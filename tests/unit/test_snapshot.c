/*
 * Snapshots from the inside: after a restore every page of guest memory, the address space
 * and what the host keeps for the guest are what they were, whatever ran in between.
 * On the backend in $MAYFLY_TEST_BACKEND, else on each that is usable here.
 */
#include "snapshot/pages.h"
#include "snapshot/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECRET UINT64_C(0x5ec4e7a1b2c3d4e5)

struct fixture {
    enum mf_backend backend;
    struct mf_image *image;
    struct mf_sandbox *sandbox;
    struct mf_snapshot *snapshot;
};

static enum mf_backend backend;
static const char *build;

static struct mf_sandbox *create(struct mf_image *image)
{
    struct mf_sandbox_options options = {.size = sizeof options, .backend = backend};
    struct mf_sandbox *sandbox;
    struct mf_error err;
    if (mf_sandbox_create(image, NULL, &options, &sandbox, &err) != 0)
        fail_msg("%s", err.message);
    return sandbox;
}

static uint64_t call(struct mf_sandbox *sandbox, const char *name, uint64_t arg, size_t nargs)
{
    struct mf_value argument = mf_u64(arg), result;
    struct mf_error err;
    if (mf_sandbox_call(sandbox, name, &argument, nargs, &result, &err) != 0)
        fail_msg("%s: %s", name, err.message);
    return result.u64;
}

static struct mf_snapshot *take(struct mf_sandbox *sandbox)
{
    struct mf_snapshot *snapshot;
    struct mf_error err;
    if (mf_sandbox_snapshot(sandbox, &snapshot, &err) != 0)
        fail_msg("%s", err.message);
    return snapshot;
}

static void restore(struct mf_sandbox *sandbox, struct mf_snapshot *snapshot)
{
    struct mf_error err;
    if (mf_sandbox_restore(sandbox, snapshot, &err) != 0)
        fail_msg("%s", err.message);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char path[512];
    struct mf_error err;
    snprintf(path, sizeof path, "%s/snapshot/%s", getenv("GUESTS"), build);
    if (mf_image_open(path, &f->image, &err) != 0)
        fail_msg("%s", err.message);
    f->sandbox = create(f->image);
    assert_int_equal(call(f->sandbox, "count", 0, 0), 1);
    f->snapshot = take(f->sandbox);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    mf_snapshot_close(f->snapshot);
    mf_sandbox_destroy(f->sandbox);
    mf_image_close(f->image);
    free(f);
    return 0;
}

/*
 * Every page but the boot page (identity) and the page through which the CPU's state is
 * loaded, and all that the host keeps.
 */
static void assert_same(struct mf_sandbox *sandbox, const struct mf_snapshot *snapshot)
{
    const struct saved_state *saved = &snapshot->saved;
    uint8_t page[PAGE_BYTES];
    for (uint32_t p = 0; p < sandbox->mem.end; p++) {
        assert_true(snap_read(snapshot, p, page));
        if (p == LAYOUT_PAGE_BOOT || p == LAYOUT_PAGE_RESUME)
            continue;
        if (memcmp(page, mem_at(&sandbox->mem, (mf_gpa)p << PAGE_SHIFT), PAGE_BYTES) != 0)
            fail_msg("page %u differs", p);
    }
    assert_int_equal(sandbox->as.nareas, saved->nareas);
    assert_memory_equal(sandbox->as.areas, saved->areas, saved->nareas * sizeof *saved->areas);
    assert_true(sandbox->as.brk == saved->brk);
    assert_int_equal(sandbox->mem.next, saved->mem_next);
    assert_int_equal(sandbox->mem.nfree, saved->mem_nfree);
    assert_memory_equal(sandbox->sys.signal_handlers, saved->sys.signal_handlers,
                        sizeof saved->sys.signal_handlers);
    assert_memory_equal(sandbox->sys.closed, saved->sys.closed, sizeof saved->sys.closed);
}

static void test_nothing_is_left(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 20; round++) {
        call(f->sandbox, "plant", SECRET, 1);
        assert_int_equal(call(f->sandbox, "count", 0, 0), 2);
        restore(f->sandbox, f->snapshot);
        assert_same(f->sandbox, f->snapshot);
        assert_true(call(f->sandbox, "registers", 0, 0) == 0);
        restore(f->sandbox, f->snapshot);
    }
    assert_int_equal(call(f->sandbox, "count", 0, 0), 2);
}

/* Also when the hot set was learnt, forgotten and learnt again. */
static void test_many_restores(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 700; round++) {
        call(f->sandbox, "dirty", (uint64_t)(round % 40), 1);
        assert_int_equal(call(f->sandbox, "count", 0, 0), 2);
        restore(f->sandbox, f->snapshot);
        if (round % 50 == 0)
            assert_same(f->sandbox, f->snapshot);
    }
    assert_same(f->sandbox, f->snapshot);
}

/* What a guest dirties once and in great number goes back to the host. */
static void test_large_difference(void **state)
{
    struct fixture *f = *state;
    struct mf_stats stats = {.size = sizeof stats};
    call(f->sandbox, "dirty", 4000, 1);
    mf_sandbox_get_stats(f->sandbox, &stats);
    assert_true(stats.pages_touched > 4000);
    restore(f->sandbox, f->snapshot);
    mf_sandbox_get_stats(f->sandbox, &stats);
    assert_true(stats.pages_touched < 1000);
    assert_same(f->sandbox, f->snapshot);
    for (int round = 0; round < 3; round++) {
        call(f->sandbox, "dirty", 4000, 1);
        restore(f->sandbox, f->snapshot);
        assert_same(f->sandbox, f->snapshot);
    }
}

static void test_chain(void **state)
{
    struct fixture *f = *state;
    struct mf_snapshot *chain[20];
    for (int i = 0; i < 20; i++) {
        assert_int_equal(call(f->sandbox, "count", 0, 0), 2 + i);
        call(f->sandbox, "dirty", 5, 1);
        chain[i] = take(f->sandbox);
    }
    /* Back and forth, along the chain and from one root to another. */
    for (int i = 0; i < 60; i++) {
        int to = i * 7 % 20;
        restore(f->sandbox, chain[to]);
        assert_same(f->sandbox, chain[to]);
        if (i % 3 == 0)
            call(f->sandbox, "plant", SECRET, 1);
        else
            assert_int_equal(call(f->sandbox, "count", 0, 0), 3 + to);
    }
    for (int i = 0; i < 20; i++)
        mf_snapshot_close(chain[i]);
}

static void test_clones(void **state)
{
    struct fixture *f = *state;
    struct mf_sandbox *clones[5];
    struct mf_error err;
    struct mf_sandbox_options options = {.size = sizeof options, .backend = backend};
    uint64_t seen[5];
    for (int i = 0; i < 5; i++) {
        if (mf_sandbox_create_from(f->snapshot, NULL, &options, &clones[i], &err) != 0)
            fail_msg("%s", err.message);
        assert_same(clones[i], f->snapshot);
        seen[i] = call(clones[i], "generation", 0, 0);
        for (int k = 0; k < i; k++)
            assert_true(seen[i] != seen[k]);
        assert_int_equal(call(clones[i], "restores", 0, 0), 1);
        for (int k = 0; k <= i; k++)
            assert_int_equal(call(clones[i], "count", 0, 0), 2 + k);
    }
    assert_int_equal(call(f->sandbox, "count", 0, 0), 2);
    for (int i = 0; i < 5; i++) {
        struct mf_snapshot *child = take(clones[i]);
        restore(f->sandbox, child);
        assert_same(f->sandbox, child);
        assert_int_equal(call(f->sandbox, "count", 0, 0), 3 + i);
        restore(clones[i], f->snapshot);
        assert_same(clones[i], f->snapshot);
        mf_snapshot_close(child);
        mf_sandbox_destroy(clones[i]);
    }
}

static void test_poisoned(void **state)
{
    struct fixture *f = *state;
    struct mf_error err;
    struct mf_snapshot *none;
    assert_int_equal(mf_sandbox_call(f->sandbox, "crash", NULL, 0, NULL, &err), MF_E_GUEST_FAULT);
    assert_int_equal(mf_sandbox_snapshot(f->sandbox, &none, &err), MF_E_POISONED);
    assert_int_equal(mf_sandbox_resume(f->sandbox, NULL, NULL, &err), MF_E_STATE);
    restore(f->sandbox, f->snapshot);
    assert_same(f->sandbox, f->snapshot);
    assert_null(mf_sandbox_fault(f->sandbox));
    assert_int_equal(call(f->sandbox, "count", 0, 0), 2);
}

/* Stopped again and again by a deadline, saved, rebuilt elsewhere: the same result. */
static void test_middle_of_call(void **state)
{
    struct fixture *f = *state;
    struct mf_value argument = mf_u64(200000), result = mf_void();
    struct mf_error err;
    uint64_t expected = call(f->sandbox, "compute", 200000, 1);
    restore(f->sandbox, f->snapshot);
    assert_int_equal(mf_sandbox_set_limits(f->sandbox, 3000000, 0, &err), 0);
    int stops = 0, rc = mf_sandbox_call(f->sandbox, "compute", &argument, 1, &result, &err);
    struct mf_sandbox_options options = {
        .size = sizeof options, .backend = backend, .timeout_ns = 3000000};
    struct mf_sandbox *now = f->sandbox;
    while (rc == MF_E_DEADLINE && stops < 2000) {
        struct mf_snapshot *middle = take(now);
        assert_int_equal(mf_sandbox_stopped(now), MF_STOPPED_CALL);
        stops++;
        if (now != f->sandbox)
            mf_sandbox_destroy(now);
        if (mf_sandbox_create_from(middle, NULL, &options, &now, &err) != 0)
            fail_msg("%s", err.message);
        mf_snapshot_close(middle);
        assert_int_equal(mf_sandbox_call(now, "count", NULL, 0, NULL, &err), MF_E_POISONED);
        rc = mf_sandbox_resume(now, &result, NULL, &err);
    }
    if (rc != 0)
        fail_msg("%s", err.message);
    assert_true(stops > 0);
    assert_true(result.u64 == expected);
    assert_int_equal(mf_sandbox_set_limits(now, 0, 0, &err), 0);
    assert_int_equal(call(now, "count", 0, 0), 2);
    if (now != f->sandbox)
        mf_sandbox_destroy(now);
}

static void test_sleeping(void **state)
{
    struct fixture *f = *state;
    struct mf_value argument = mf_u64(60), result = mf_void();
    struct mf_error err;
    assert_int_equal(mf_sandbox_set_limits(f->sandbox, 20000000, 0, &err), 0);
    assert_int_equal(mf_sandbox_call(f->sandbox, "nap", &argument, 1, &result, &err),
                     MF_E_DEADLINE);
    assert_int_equal(mf_sandbox_set_limits(f->sandbox, 0, 0, &err), 0);
    assert_int_equal(mf_sandbox_resume(f->sandbox, &result, NULL, &err), 0);
    assert_int_equal(result.u64, 2);
}

static void test_new(void **state)
{
    struct fixture *f = *state;
    struct mf_sandbox *fresh = create(f->image);
    struct mf_snapshot *unborn = take(fresh);
    assert_int_equal(call(fresh, "count", 0, 0), 1);
    restore(fresh, unborn);
    assert_same(fresh, unborn);
    assert_int_equal(call(fresh, "count", 0, 0), 1);
    restore(f->sandbox, unborn);
    assert_int_equal(call(f->sandbox, "count", 0, 0), 1);
    restore(f->sandbox, f->snapshot);
    assert_int_equal(call(f->sandbox, "count", 0, 0), 2);
    mf_snapshot_close(unborn);
    mf_sandbox_destroy(fresh);
}

int main(void)
{
    static const enum mf_backend backends[] = {MF_BACKEND_KVM, MF_BACKEND_SOFT};
    static const char *const builds[] = {"musl", "gcc"};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_restores, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_difference, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clones, setup, teardown),
        cmocka_unit_test_setup_teardown(test_poisoned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_middle_of_call, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sleeping, setup, teardown),
        cmocka_unit_test_setup_teardown(test_new, setup, teardown),
    };
    int failed = 0, ran = 0;
    for (size_t i = 0; i < 4; i++) {
        struct mf_backend_info info;
        char name[64];
        backend = backends[i / 2];
        build = builds[i % 2];
        mf_backend_probe(backend, &info, NULL);
        if (!info.usable)
            continue;
        snprintf(name, sizeof name, "snapshots on %s, %s", info.name, build);
        failed += _cmocka_run_group_tests(name, tests, sizeof tests / sizeof tests[0], NULL, NULL);
        ran++;
    }
    if (ran == 0)
        printf("skipped: no backend is usable here\n");
    return ran == 0 ? 77 : failed;
}
