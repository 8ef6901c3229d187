/*
 * After a restore nothing of what ran before can be found: in guest memory, all of it; by a
 * guest that looks at its CPU and at what the host keeps for it; in mappings of host memory. And
 * what the guest says in its shared pages decides nothing. On each backend that is usable here.
 */
#include "snapshot/pages.h"
#include "snapshot/snapshot.h"

#include <mayfly/map.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECRET UINT64_C(0x5ec4e7a1b2c3d4e5)
#define MEMORY_BYTES (16 << 20)
#define SEEN_MAX 8192

struct fixture {
    struct mf_image *image;
    struct mf_sandbox *sandbox;
    struct mf_snapshot *snapshot;
    uint8_t seen[SEEN_MAX]; /* what a guest sees that nothing happened to */
    size_t seen_len;
};

static enum mf_backend backend;
static const char *build;

static struct mf_value call(struct mf_sandbox *sandbox, const char *name, uint64_t arg,
                            size_t nargs)
{
    struct mf_value argument = mf_u64(arg), result = mf_void();
    struct mf_error err;
    if (mf_sandbox_call(sandbox, name, &argument, nargs, &result, &err) != 0)
        fail_msg("%s: %s", name, err.message);
    return result;
}

static void restore(struct fixture *f)
{
    struct mf_error err;
    if (mf_sandbox_restore(f->sandbox, f->snapshot, &err) != 0)
        fail_msg("%s", err.message);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char path[512];
    struct mf_error err;
    struct mf_sandbox_options options = {
        .size = sizeof options, .backend = backend, .memory_bytes = MEMORY_BYTES};
    snprintf(path, sizeof path, "%s/state/%s", getenv("GUESTS"), build);
    if (mf_image_open(path, &f->image, &err) != 0 ||
        mf_sandbox_create(f->image, NULL, &options, &f->sandbox, &err) != 0)
        fail_msg("%s", err.message);
    call(f->sandbox, "count", 0, 0);
    if (mf_sandbox_snapshot(f->sandbox, &f->snapshot, &err) != 0)
        fail_msg("%s", err.message);
    restore(f);
    struct mf_value seen = call(f->sandbox, "observe", 0, 0);
    assert_true(seen.bytes.len <= sizeof f->seen);
    memcpy(f->seen, seen.bytes.data, seen.bytes.len);
    f->seen_len = seen.bytes.len;
    restore(f);
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

/* The secret, or most of it, anywhere in the memory that the guest could have. */
static bool has_secret(const struct mf_sandbox *sandbox)
{
    static const uint64_t secret = SECRET;
    const struct mem *mem = &sandbox->mem;
    return memmem(mem->base, mem->bytes, &secret, 6) != NULL;
}

/* All that the host keeps of the guest, against the snapshot. */
static void assert_kept(const struct mf_sandbox *sandbox, const struct saved_state *saved)
{
    assert_int_equal(sandbox->as.nareas, saved->nareas);
    assert_memory_equal(sandbox->as.areas, saved->areas, saved->nareas * sizeof *saved->areas);
    assert_true(sandbox->as.brk == saved->brk && sandbox->as.brk_start == saved->brk_start);
    assert_int_equal(sandbox->mem.next, saved->mem_next);
    assert_int_equal(sandbox->mem.nfree, saved->mem_nfree);
    assert_true(sandbox->rings.call_tail == saved->call_tail);
    assert_true(sandbox->rings.result_head == saved->result_head);
    assert_true(sandbox->rings.call.size == saved->call_ring.size);
    assert_true(sandbox->rings.result.size == saved->result_ring.size);
    assert_true(sandbox->exchange.size == saved->exchange.size);
    struct syscall_state now = sandbox->sys, then = saved->sys;
    now.clock_base_ns = then.clock_base_ns = now.cpu_base_ns = then.cpu_base_ns = 0;
    assert_memory_equal(&now, &then, sizeof now);
}

/* Every page but those of identity and of loading the CPU. */
static void assert_pages(const struct mf_sandbox *sandbox, const struct mf_snapshot *snapshot)
{
    uint8_t page[PAGE_BYTES];
    for (uint32_t p = 0; p < sandbox->mem.end; p++) {
        if (p == LAYOUT_PAGE_BOOT || p == LAYOUT_PAGE_RESUME)
            continue;
        assert_true(snap_read(snapshot, p, page));
        if (memcmp(page, mem_at(&sandbox->mem, (mf_gpa)p << PAGE_SHIFT), PAGE_BYTES) != 0)
            fail_msg("page %u differs", p);
    }
}

static void assert_seen_nothing(struct fixture *f)
{
    struct mf_value seen = call(f->sandbox, "observe", 0, 0);
    assert_int_equal(seen.bytes.len, f->seen_len);
    for (size_t i = 0; i < f->seen_len; i++)
        if (((const uint8_t *)seen.bytes.data)[i] != f->seen[i])
            fail_msg("the guest sees another byte at %zu of what it observes", i);
}

static void test_secrets(void **state)
{
    struct fixture *f = *state;
    assert_false(has_secret(f->sandbox));
    for (int round = 0; round < 6; round++) {
        call(f->sandbox, "plant", SECRET, 1);
        assert_true(has_secret(f->sandbox));
        /* What was planted can be seen: or this test would find nothing, ever. */
        if (round % 2 == 0) {
            struct mf_value seen = call(f->sandbox, "observe", 0, 0);
            assert_memory_not_equal(seen.bytes.data, f->seen, f->seen_len);
        }
        restore(f);
        assert_false(has_secret(f->sandbox));
        assert_kept(f->sandbox, &f->snapshot->saved);
        assert_pages(f->sandbox, f->snapshot);
        assert_seen_nothing(f);
        assert_false(has_secret(f->sandbox));
        restore(f);
    }
}

/* CPU time is the guest's own: that of before the restore is gone. */
static void test_cpu_time(void **state)
{
    struct fixture *f = *state;
    uint64_t before = call(f->sandbox, "cpu_time", 0, 0).u64, now;
    while ((now = call(f->sandbox, "cpu_time", 0, 0).u64) < before + 200000000)
        call(f->sandbox, "compute", 1000000, 1);
    restore(f);
    assert_true(call(f->sandbox, "cpu_time", 0, 0).u64 < now - 100000000);
}

/* Memory of the host that was mapped in is out of reach. */
static void test_mapping(void **state)
{
    struct fixture *f = *state;
    struct mf_error err;
    uint64_t address, secret = SECRET;
    uint8_t *host = aligned_alloc(4096, 8192);
    memset(host, 0, 8192);
    memcpy(host + 64, &secret, sizeof secret);
    for (int round = 0; round < 3; round++) {
        if (mf_sandbox_map(f->sandbox, host, 8192, 0, &address, &err) != 0)
            fail_msg("%s", err.message);
        assert_true(call(f->sandbox, "peek", address + 64, 1).u64 == SECRET);
        restore(f);
        struct mf_value where = mf_u64(address + 64);
        assert_int_equal(mf_sandbox_call(f->sandbox, "peek", &where, 1, NULL, &err),
                         MF_E_GUEST_FAULT);
        restore(f);
    }
    free(host);
    call(f->sandbox, "count", 0, 0);
}

/* An interrupt is the caller's, not the guest's: one that waits is taken by the next call. */
static void test_interrupt(void **state)
{
    struct fixture *f = *state;
    struct mf_error err;
    mf_sandbox_interrupt(f->sandbox);
    restore(f);
    assert_int_equal(mf_sandbox_call(f->sandbox, "count", NULL, 0, NULL, &err), MF_E_INTERRUPTED);
    assert_int_equal(call(f->sandbox, "count", 0, 0).u64, 2);
}

/* Noise in the shared pages: whatever the call said, a restore takes the host's numbers. */
static void test_lies(void **state)
{
    struct fixture *f = *state;
    struct mf_error err;
    struct mf_sandbox_options options = {.size = sizeof options, .backend = backend};
    assert_int_equal(mf_sandbox_set_limits(f->sandbox, 20000000, 0, &err), 0);
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct mf_value argument = mf_u64(seed), result;
        struct mf_snapshot *lied;
        struct mf_sandbox *other;
        mf_sandbox_call(f->sandbox, "lie", &argument, 1, &result, &err);
        /* A guest that may still be saved is no danger in a sandbox of its own, either. */
        if (mf_sandbox_snapshot(f->sandbox, &lied, &err) == 0) {
            assert_true(lied->saved.result_head == f->sandbox->rings.result_head);
            assert_true(lied->saved.call_ring.size == f->snapshot->saved.call_ring.size);
            options.timeout_ns = 20000000;
            assert_int_equal(mf_sandbox_create_from(lied, NULL, &options, &other, &err), 0);
            mf_sandbox_call(other, "count", NULL, 0, &result, &err);
            mf_sandbox_destroy(other);
            mf_snapshot_close(lied);
        }
        restore(f);
        assert_kept(f->sandbox, &f->snapshot->saved);
        assert_pages(f->sandbox, f->snapshot);
        if (seed % 8 == 0) {
            assert_int_equal(mf_sandbox_set_limits(f->sandbox, 0, 0, &err), 0);
            assert_int_equal(call(f->sandbox, "count", 0, 0).u64, 2);
            restore(f);
            assert_int_equal(mf_sandbox_set_limits(f->sandbox, 20000000, 0, &err), 0);
        }
    }
}

/* Restored again and again, and cloned: never the same identity, and the hook runs once. */
static void test_identity(void **state)
{
    enum { N = 12 };
    struct fixture *f = *state;
    struct mf_sandbox_options options = {.size = sizeof options, .backend = backend};
    struct mf_error err;
    uint8_t entropy[N + 1][32];
    uint64_t generation[N + 1];
    for (int i = 0; i <= N; i++) {
        struct mf_sandbox *sandbox = f->sandbox;
        if (i % 3 == 2 &&
            mf_sandbox_create_from(f->snapshot, NULL, &options, &sandbox, &err) != 0)
            fail_msg("%s", err.message);
        else if (i % 3 != 2)
            restore(f);
        if (i % 2)
            assert_int_equal(call(sandbox, "restores", 0, 0).u64, 1);
        generation[i] = call(sandbox, "generation", 0, 0).u64;
        memcpy(entropy[i], call(sandbox, "entropy", 0, 0).bytes.data, 32);
        assert_int_equal(call(sandbox, "count", 0, 0).u64, 2);
        assert_int_equal(call(sandbox, "restores", 0, 0).u64, 1);
        for (int k = 0; k < i; k++) {
            assert_true(generation[i] != generation[k]);
            assert_memory_not_equal(entropy[i], entropy[k], 32);
        }
        if (sandbox != f->sandbox)
            mf_sandbox_destroy(sandbox);
    }
}

int main(void)
{
    static const enum mf_backend backends[] = {MF_BACKEND_KVM, MF_BACKEND_SOFT};
    static const char *const builds[] = {"musl", "gcc"};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_secrets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cpu_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mapping, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_identity, setup, teardown),
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
        snprintf(name, sizeof name, "secrets on %s, %s", info.name, build);
        failed += _cmocka_run_group_tests(name, tests, sizeof tests / sizeof tests[0], NULL, NULL);
        ran++;
    }
    if (ran == 0)
        printf("skipped: no backend is usable here\n");
    return ran == 0 ? 77 : failed;
}
