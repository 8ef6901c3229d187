/*
 * Snapshots belong to nobody: several threads create sandboxes from the same ones, restore to
 * them, take their own over them, hold and close them at once. Under ThreadSanitizer too. On
 * each backend that is usable here.
 */
#include <mayfly/mayfly.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define THREADS 4
#define ROUNDS 6

static enum mf_backend backend;
static struct mf_snapshot *base, *child; /* with counts 1 and 2 */
static atomic_uint failures;

static void check(bool good, const char *what, const struct mf_error *err)
{
    if (good)
        return;
    fprintf(stderr, "%s: %s\n", what, err->message);
    atomic_fetch_add(&failures, 1);
}

static uint64_t count(struct mf_sandbox *sandbox)
{
    struct mf_value result = mf_void();
    struct mf_error err;
    int rc = mf_sandbox_call(sandbox, "count", NULL, 0, &result, &err);
    check(rc == 0, "count", &err);
    return rc == 0 ? result.u64 : 0;
}

static void round_trip(unsigned n)
{
    const struct mf_error wrong = {.message = "another count than the snapshot's"};
    struct mf_sandbox_options options = {.size = sizeof options, .backend = backend};
    struct mf_snapshot *first = n % 2 ? base : child, *second = n % 2 ? child : base, *own = NULL;
    struct mf_sandbox *sandbox;
    struct mf_error err;
    mf_snapshot_hold(first);
    if (mf_sandbox_create_from(first, NULL, &options, &sandbox, &err) != 0) {
        check(false, "create from", &err);
        mf_snapshot_close(first);
        return;
    }
    check(count(sandbox) == (first == base ? 2 : 3), "first call", &wrong);
    check(mf_sandbox_restore(sandbox, second, &err) == 0, "restore", &err);
    check(count(sandbox) == (second == base ? 2 : 3), "second call", &wrong);
    check(mf_sandbox_snapshot(sandbox, &own, &err) == 0, "snapshot", &err);
    check(mf_sandbox_restore(sandbox, first, &err) == 0, "restore again", &err);
    mf_snapshot_close(first);
    check(own && mf_sandbox_restore(sandbox, own, &err) == 0, "restore to its own", &err);
    check(count(sandbox) == (second == base ? 3 : 4), "third call", &wrong);
    mf_snapshot_close(own);
    check(mf_snapshot_diff(base, child, NULL, NULL, &err) > 0, "difference", &err);
    mf_sandbox_destroy(sandbox);
}

static void *work(void *context)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        round_trip(i + (unsigned)(uintptr_t)context);
    return NULL;
}

static void test_threads(void **state)
{
    char path[512];
    struct mf_error err;
    struct mf_image *image;
    struct mf_sandbox *sandbox;
    struct mf_sandbox_options options = {.size = sizeof options, .backend = backend};
    pthread_t threads[THREADS];
    (void)state;
    options.memory_bytes = 16 << 20;
    snprintf(path, sizeof path, "%s/state/musl", getenv("GUESTS"));
    assert_int_equal(mf_image_open(path, &image, &err), 0);
    assert_int_equal(mf_sandbox_create(image, NULL, &options, &sandbox, &err), 0);
    assert_int_equal(count(sandbox), 1);
    assert_int_equal(mf_sandbox_snapshot(sandbox, &base, &err), 0);
    assert_int_equal(count(sandbox), 2);
    assert_int_equal(mf_sandbox_snapshot(sandbox, &child, &err), 0);
    mf_sandbox_destroy(sandbox);
    mf_image_close(image);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    mf_snapshot_close(base);
    mf_snapshot_close(child);
    assert_int_equal(failures, 0);
}

int main(void)
{
    static const enum mf_backend backends[] = {MF_BACKEND_KVM, MF_BACKEND_SOFT};
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};
    int failed = 0, ran = 0;
    for (size_t i = 0; i < 2; i++) {
        struct mf_backend_info info;
        backend = backends[i];
        mf_backend_probe(backend, &info, NULL);
        if (!info.usable)
            continue;
        failed += cmocka_run_group_tests_name(info.name, tests, NULL, NULL);
        ran++;
    }
    if (ran == 0)
        printf("skipped: no backend is usable here\n");
    return ran == 0 ? 77 : failed;
}
