/*
 * Snapshots of an attentive sandbox, and restores, while other threads call it. The
 * guest is tests/guests/attend/guest.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "backend.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define CALLERS 3
#define SNAPSHOTS 15
/* As in the guest: an access that faults, now. */
#define END_FAULT 1

static enum mf_backend backend;
static struct mf_image *image;
static struct mf_host *host;
static atomic_bool stop;

static int unused(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                  struct mf_value *result, struct mf_error *err)
{
    (void)sandbox;
    (void)context;
    (void)arg;
    (void)result;
    return mf_fail(err, MF_E_HOST_FUNCTION, "not for this test");
}

static struct mf_sandbox_options options_here(void)
{
    return (struct mf_sandbox_options){.size = sizeof(struct mf_sandbox_options),
                                       .backend = backend};
}

static struct mf_sandbox *create(void)
{
    struct mf_sandbox_options options = options_here();
    struct mf_sandbox *sandbox;
    struct mf_error err;
    if (mf_sandbox_create(image, host, &options, &sandbox, &err) != 0)
        fail_msg("%s", err.message);
    return sandbox;
}

static uint64_t next(struct mf_sandbox *sandbox)
{
    struct mf_value number;
    struct mf_error err;
    if (mf_sandbox_call(sandbox, "next", NULL, 0, &number, &err) != 0)
        fail_msg("next: %s", err.message);
    return number.u64;
}

static struct mf_snapshot *take(struct mf_sandbox *sandbox)
{
    struct mf_snapshot *snapshot;
    struct mf_error err;
    if (mf_sandbox_snapshot(sandbox, &snapshot, &err) != 0)
        fail_msg("snapshot: %s", err.message);
    return snapshot;
}

static void restore(struct mf_sandbox *sandbox, struct mf_snapshot *snapshot)
{
    struct mf_error err;
    if (mf_sandbox_restore(sandbox, snapshot, &err) != 0)
        fail_msg("restore: %s", err.message);
}

/* What the guest's counter would say next, asked of a clone. */
static uint64_t next_in(struct mf_snapshot *snapshot)
{
    struct mf_sandbox_options options = options_here();
    struct mf_sandbox *clone;
    struct mf_error err;
    if (mf_sandbox_create_from(snapshot, host, &options, &clone, &err) != 0)
        fail_msg("clone: %s", err.message);
    uint64_t number = next(clone);
    mf_sandbox_destroy(clone);
    return number;
}

struct caller {
    pthread_t thread;
    struct mf_sandbox *sandbox;
    unsigned made, failures;
};

static void *keep_calling(void *argument)
{
    struct caller *caller = argument;
    struct mf_value text = mf_string("as ever"), back;
    while (!atomic_load(&stop)) {
        int rc = mf_sandbox_call(caller->sandbox, "echo", &text, 1, &back, NULL);
        caller->failures += rc != 0 || strcmp(back.string.data, "as ever") != 0;
        caller->failures += mf_sandbox_call(caller->sandbox, "next", NULL, 0, &back, NULL) != 0;
        caller->made++;
    }
    return NULL;
}

static void test_while_others_call(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create();
    struct mf_snapshot *snapshots[SNAPSHOTS];
    struct caller callers[CALLERS];
    uint64_t last = 0;
    assert_int_equal(mf_sandbox_attend(sandbox, NULL, NULL), 0);
    assert_int_equal(next(sandbox), 1);
    atomic_store(&stop, false);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.sandbox = sandbox};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, keep_calling, &callers[i]), 0);
    }
    /* No call is in the middle of a snapshot, and none is lost by one. */
    for (int i = 0; i < SNAPSHOTS; i++) {
        snapshots[i] = take(sandbox);
        uint64_t number = next_in(snapshots[i]);
        assert_true(number >= last);
        last = number;
        usleep(1000);
    }
    for (int i = 0; i < SNAPSHOTS; i++)
        restore(sandbox, snapshots[i * 4 % SNAPSHOTS]);
    atomic_store(&stop, true);
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        assert_int_equal(callers[i].failures, 0);
        assert_true(callers[i].made > 0);
    }
    for (int i = 0; i < SNAPSHOTS; i++) {
        restore(sandbox, snapshots[i]);
        assert_true(next(sandbox) == next_in(snapshots[i]));
        mf_snapshot_close(snapshots[i]);
    }
    mf_sandbox_destroy(sandbox);
}

/* A guest that faulted is as good as new, and attentive as before. */
static void test_after_a_fault(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create();
    struct mf_value how = mf_u32(END_FAULT);
    struct mf_error err;
    struct mf_snapshot *none;
    assert_int_equal(mf_sandbox_attend(sandbox, NULL, NULL), 0);
    assert_int_equal(next(sandbox), 1);
    struct mf_snapshot *snapshot = take(sandbox);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(mf_sandbox_call(sandbox, "end_now", &how, 1, NULL, &err),
                         MF_E_GUEST_FAULT);
        assert_int_equal(mf_sandbox_snapshot(sandbox, &none, &err), MF_E_POISONED);
        restore(sandbox, snapshot);
        assert_int_equal(next(sandbox), 2);
    }
    mf_snapshot_close(snapshot);
    mf_sandbox_destroy(sandbox);
}

/* A guest that has not begun could take no calls. */
static void test_unborn(void **state)
{
    (void)state;
    struct mf_sandbox *sandbox = create();
    struct mf_error err;
    struct mf_snapshot *unborn = take(sandbox);
    assert_int_equal(mf_sandbox_attend(sandbox, NULL, NULL), 0);
    assert_int_equal(mf_sandbox_restore(sandbox, unborn, &err), MF_E_STATE);
    assert_int_equal(next(sandbox), 1);
    assert_int_equal(mf_sandbox_unattend(sandbox, &err), 0);
    restore(sandbox, unborn);
    assert_int_equal(next(sandbox), 1);
    mf_snapshot_close(unborn);
    mf_sandbox_destroy(sandbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_while_others_call),
        cmocka_unit_test(test_after_a_fault),
        cmocka_unit_test(test_unborn),
    };
    char path[4096];
    struct mf_error err;
    backend = test_backend();
    alarm(100);
    snprintf(path, sizeof path, "%s/attend/musl", getenv("GUESTS"));
    if (mf_image_open(path, &image, &err) != 0 || mf_host_create(&host, &err) != 0 ||
        mf_host_add(host, "u64 tick(u64 n)", unused, NULL, &err) != 0 ||
        mf_host_add(host, "string again(string text)", unused, NULL, &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mf_host_destroy(host);
    mf_image_close(image);
    return failed;
}
