/*
 * Random sequences of call, stop, resume, snapshot, restore, create from and destroy on both
 * backends at once, against a model: what each sandbox and each snapshot must hold. The
 * seed is printed; $MAYFLY_TEST_SEED repeats a run. And what of a state cannot cross.
 */
#include <mayfly/mayfly.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SANDBOXES 4
#define SNAPSHOTS 6
#define SLOTS 64
#define STEPS 600
#define COMPUTE 600000

/* What a guest holds; of one that was stopped, also what its call will return. */
struct model {
    uint64_t count;
    uint64_t slot[SLOTS];
    bool stopped;
};

struct place {
    struct mf_sandbox *sandbox;
    struct mf_snapshot *snapshot;
    struct model model;
    bool crashed;
};

static const char *build;
static enum mf_backend usable[2];
static unsigned nusable;
static struct mf_image *image;
static struct place boxes[SANDBOXES], shots[SNAPSHOTS];
static uint64_t random_state, computed;
static unsigned crossings, stops;

static uint64_t draw(uint64_t n)
{
    random_state += 0x9e3779b97f4a7c15u;
    uint64_t x = random_state;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (x ^ (x >> 31)) % n;
}

static void check(int rc, const struct mf_error *err, const char *what)
{
    if (rc != 0)
        fail_msg("%s: %s", what, err->message);
}

static uint64_t call(struct mf_sandbox *sandbox, const char *name, uint64_t a, uint64_t b,
                     size_t nargs)
{
    struct mf_value args[] = {mf_u64(a), mf_u64(b)}, result = mf_void();
    struct mf_error err;
    check(mf_sandbox_call(sandbox, name, args, nargs, &result, &err), &err, name);
    return result.u64;
}

static struct mf_sandbox_options options_for(enum mf_backend backend)
{
    return (struct mf_sandbox_options){.size = sizeof(struct mf_sandbox_options),
                                       .backend = backend};
}

/* ---- the steps ---- */

static void do_create(struct place *box)
{
    struct mf_sandbox_options options = options_for(usable[draw(nusable)]);
    struct mf_error err;
    options.memory_bytes = 16 << 20;
    memset(box, 0, sizeof *box);
    check(mf_sandbox_create(image, NULL, &options, &box->sandbox, &err), &err, "create");
}

static void do_create_from(struct place *box, const struct place *shot)
{
    struct mf_sandbox_options options = options_for(usable[draw(nusable)]);
    struct mf_snapshot_info info = {.size = sizeof info};
    struct mf_error err;
    mf_snapshot_get_info(shot->snapshot, &info);
    crossings += info.backend != options.backend;
    *box = (struct place){.model = shot->model};
    check(mf_sandbox_create_from(shot->snapshot, NULL, &options, &box->sandbox, &err), &err,
          "create from");
}

static void do_restore(struct place *box, const struct place *shot)
{
    struct mf_snapshot_info info = {.size = sizeof info};
    struct mf_error err;
    mf_snapshot_get_info(shot->snapshot, &info);
    crossings += info.backend != mf_sandbox_backend(box->sandbox);
    check(mf_sandbox_restore(box->sandbox, shot->snapshot, &err), &err, "restore");
    box->model = shot->model;
    box->crashed = false;
}

static void do_snapshot(const struct place *box, struct place *shot)
{
    struct mf_error err;
    struct mf_snapshot *snapshot = NULL;
    int rc = mf_sandbox_snapshot(box->sandbox, &snapshot, &err);
    if (box->crashed) {
        assert_int_equal(rc, MF_E_POISONED);
        return;
    }
    check(rc, &err, "snapshot");
    mf_snapshot_close(shot->snapshot);
    *shot = (struct place){.snapshot = snapshot, .model = box->model};
}

static void do_crash(struct place *box)
{
    struct mf_value nowhere = mf_u64(8);
    struct mf_error err;
    assert_int_equal(mf_sandbox_call(box->sandbox, "peek", &nowhere, 1, NULL, &err),
                     MF_E_GUEST_FAULT);
    box->crashed = true;
}

/* Ends a call that takes time somewhere in its middle, or not. */
static void do_stop(struct place *box)
{
    struct mf_value n = mf_u64(COMPUTE), result = mf_void();
    struct mf_error err;
    call(box->sandbox, "load", 0, 0, 1); /* it has begun: what is stopped is the call */
    assert_int_equal(mf_sandbox_set_limits(box->sandbox, 500000 + draw(1000000), 0, &err), 0);
    int rc = mf_sandbox_call(box->sandbox, "compute", &n, 1, &result, &err);
    assert_int_equal(mf_sandbox_set_limits(box->sandbox, 0, 0, &err), 0);
    if (rc == MF_E_DEADLINE && mf_sandbox_stopped(box->sandbox) == MF_STOPPED_CALL) {
        box->model.stopped = true;
        stops++;
        return;
    }
    check(rc, &err, "compute");
    assert_true(result.u64 == computed);
    box->model.count++;
}

static void do_resume(struct place *box)
{
    struct mf_value result = mf_void();
    struct mf_error err;
    assert_int_equal(mf_sandbox_stopped(box->sandbox), MF_STOPPED_CALL);
    check(mf_sandbox_resume(box->sandbox, &result, NULL, &err), &err, "resume");
    assert_true(result.u64 == computed);
    box->model.stopped = false;
    box->model.count++;
}

static void do_call(struct place *box)
{
    uint64_t slot = draw(SLOTS), value = draw(UINT64_MAX);
    if (draw(3) == 0) {
        call(box->sandbox, "store", slot, value, 2);
        box->model.slot[slot] = value;
    } else if (draw(2) == 0) {
        assert_true(call(box->sandbox, "load", slot, 0, 1) == box->model.slot[slot]);
    } else {
        assert_true(call(box->sandbox, "count", 0, 0, 0) == ++box->model.count);
    }
}

static void check_all(struct place *box)
{
    assert_true(call(box->sandbox, "count", 0, 0, 0) == ++box->model.count);
    assert_true(call(box->sandbox, "cpu_time", 0, 0, 0) > 0); /* by a system call */
    for (uint64_t i = 0; i < SLOTS; i += 1 + draw(8))
        assert_true(call(box->sandbox, "load", i, 0, 1) == box->model.slot[i]);
}

static void do_destroy(struct place *box)
{
    mf_sandbox_destroy(box->sandbox);
    memset(box, 0, sizeof *box);
}

static void step(void)
{
    struct place *box = &boxes[draw(SANDBOXES)], *shot = &shots[draw(SNAPSHOTS)];
    bool runs = box->sandbox && !box->crashed && !box->model.stopped;
    uint64_t what = draw(20);
    if (!box->sandbox && shot->snapshot && what < 17)
        do_create_from(box, shot);
    else if (!box->sandbox)
        do_create(box);
    else if (what == 0)
        do_destroy(box);
    else if (what < 5 && shot->snapshot)
        do_restore(box, shot);
    else if (what < 9)
        do_snapshot(box, shot);
    else if (box->model.stopped && !box->crashed && what < 15)
        do_resume(box);
    else if (runs && what == 9)
        do_crash(box);
    else if (runs && what < 12)
        do_stop(box);
    else if (runs && what == 12)
        check_all(box);
    else if (runs)
        do_call(box);
}

static void finish(void)
{
    for (size_t i = 0; i < SANDBOXES; i++) {
        if (boxes[i].sandbox && boxes[i].model.stopped && !boxes[i].crashed)
            do_resume(&boxes[i]);
        if (boxes[i].sandbox && !boxes[i].crashed)
            check_all(&boxes[i]);
        do_destroy(&boxes[i]);
    }
    for (size_t i = 0; i < SNAPSHOTS; i++) {
        mf_snapshot_close(shots[i].snapshot);
        memset(&shots[i], 0, sizeof shots[i]);
    }
}

static int setup(void **state)
{
    char path[512];
    struct mf_error err;
    (void)state;
    snprintf(path, sizeof path, "%s/state/%s", getenv("GUESTS"), build);
    check(mf_image_open(path, &image, &err), &err, path);
    do_create(&boxes[0]);
    computed = call(boxes[0].sandbox, "compute", COMPUTE, 0, 1);
    do_destroy(&boxes[0]);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mf_image_close(image);
    return 0;
}

static void test_random(void **state)
{
    (void)state;
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    int steps = 0;
    do {
        step();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (++steps < STEPS && now.tv_sec - begin.tv_sec < 8);
    finish();
    printf("%d steps, %u stops, %u crossings\n", steps, stops, crossings);
    assert_true(steps < 100 || stops > 0);
}

/* ---- what cannot cross ---- */

/* Upper halves of AVX registers in use: kvm takes them, soft refuses and says why. */
static void test_avx(void **state)
{
    struct mf_value n = mf_u64(UINT64_C(2000000000)), result;
    struct mf_sandbox_options kvm = options_for(MF_BACKEND_KVM);
    struct mf_sandbox_options soft = options_for(MF_BACKEND_SOFT);
    struct mf_sandbox *sandbox, *other;
    struct mf_snapshot *snapshot;
    struct mf_snapshot_info info = {.size = sizeof info};
    struct mf_error err;
    (void)state;
    if (nusable < 2)
        skip();
    kvm.timeout_ns = 20000000;
    check(mf_sandbox_create(image, NULL, &kvm, &sandbox, &err), &err, "create");
    call(sandbox, "count", 0, 0, 0);
    int rc = mf_sandbox_call(sandbox, "compute_avx", &n, 1, &result, &err);
    if (rc == MF_E_GUEST_FAULT) {
        mf_sandbox_destroy(sandbox);
        skip(); /* this host has no AVX */
    }
    assert_int_equal(rc, MF_E_DEADLINE);
    check(mf_sandbox_snapshot(sandbox, &snapshot, &err), &err, "snapshot");
    mf_snapshot_get_info(snapshot, &info);
    assert_true(info.cpu_components & 4);
    assert_int_equal(mf_sandbox_create_from(snapshot, NULL, &soft, &other, &err), MF_E_BACKEND);
    assert_non_null(strstr(err.message, "AVX"));
    check(mf_sandbox_create_from(snapshot, NULL, &kvm, &other, &err), &err, "create from");
    assert_int_equal(mf_sandbox_set_limits(other, 0, 0, &err), 0);
    check(mf_sandbox_resume(other, &result, NULL, &err), &err, "resume");
    assert_true(result.u64 == n.u64);
    mf_sandbox_destroy(other);
    mf_sandbox_destroy(sandbox);
    mf_snapshot_close(snapshot);
}

int main(void)
{
    static const char *const builds[] = {"musl", "gcc"};
    static const enum mf_backend all[] = {MF_BACKEND_KVM, MF_BACKEND_SOFT};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
        cmocka_unit_test_setup_teardown(test_avx, setup, teardown),
    };
    const char *given = getenv("MAYFLY_TEST_SEED");
    int failed = 0;
    for (size_t i = 0; i < 2; i++) {
        struct mf_backend_info info;
        mf_backend_probe(all[i], &info, NULL);
        if (info.usable)
            usable[nusable++] = all[i];
    }
    if (nusable == 0) {
        printf("skipped: no backend is usable here\n");
        return 77;
    }
    for (size_t i = 0; i < 2; i++) {
        char name[96];
        build = builds[i];
        random_state = given ? strtoull(given, NULL, 0)
                             : (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() + i;
        snprintf(name, sizeof name, "random snapshots, %s, MAYFLY_TEST_SEED=%llu", build,
                 (unsigned long long)random_state);
        failed += _cmocka_run_group_tests(name, tests, sizeof tests / sizeof tests[0], NULL, NULL);
    }
    return failed;
}
