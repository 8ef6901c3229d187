/*
 * Stopping guests: interrupts from other threads at every moment, deadlines, CPU
 * time. A lost wake-up would leave a guest in its endless loop; then the alarm
 * ends the test.
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
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ALARM_S 100
#define NS_PER_MS UINT64_C(1000000)

static enum mf_backend backend;
static struct mf_image *limits_image, *greet_image;

static struct mf_image *open_image(const char *variable, const char *name)
{
    char path[4096];
    struct mf_image *image;
    struct mf_error err;
    snprintf(path, sizeof path, "%s/%s", getenv(variable), name);
    if (mf_image_open(path, &image, &err) != 0) {
        fprintf(stderr, "%s: %s\n", path, err.message);
        exit(1);
    }
    return image;
}

static struct mf_sandbox_options base_options(void)
{
    return (struct mf_sandbox_options){
        .size = sizeof(struct mf_sandbox_options),
        .backend = backend,
        .memory_bytes = 4 << 20,
        .stack_bytes = 64 << 10,
    };
}

static struct mf_sandbox *create(struct mf_image *image, const struct mf_sandbox_options *options)
{
    struct mf_sandbox *sandbox;
    struct mf_error err;
    if (mf_sandbox_create(image, NULL, options, &sandbox, &err) != 0)
        fail_msg("create: %s", err.message);
    return sandbox;
}

static int call_text(struct mf_sandbox *sandbox, const char *function, const char *text,
                     struct mf_error *err)
{
    struct mf_value arg = mf_string(text);
    return mf_sandbox_call(sandbox, function, &arg, 1, NULL, err);
}

static int greet(struct mf_sandbox *sandbox, struct mf_error *err)
{
    struct mf_value arg = mf_string("you"), result;
    int rc = mf_sandbox_call(sandbox, "greet", &arg, 1, &result, err);
    if (rc == 0)
        assert_string_equal(result.string.data, "Hello, you!");
    return rc;
}

/* ---- interrupts ---- */

static void test_interrupt_before_call(void **state)
{
    (void)state;
    struct mf_sandbox_options options = base_options();
    struct mf_sandbox *sandbox = create(greet_image, &options);
    struct mf_error err;
    mf_sandbox_interrupt(sandbox);
    mf_sandbox_interrupt(sandbox);
    assert_int_equal(greet(sandbox, &err), MF_E_INTERRUPTED);
    assert_int_equal(mf_sandbox_poisoned(sandbox), MF_OK);
    assert_int_equal(greet(sandbox, &err), 0);
    mf_sandbox_interrupt(sandbox);
    assert_int_equal(greet(sandbox, &err), MF_E_INTERRUPTED);
    assert_int_equal(greet(sandbox, &err), 0);
    mf_sandbox_destroy(sandbox);
}

struct later {
    struct mf_sandbox *sandbox;
    unsigned delay_us;
};

static void wait_us(unsigned us)
{
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    if (us > 200) {
        usleep(us);
        return;
    }
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - begin.tv_sec) * 1000000 + (now.tv_nsec - begin.tv_nsec) / 1000 < us);
}

static void *interrupt_later(void *argument)
{
    struct later *later = argument;
    wait_us(later->delay_us);
    mf_sandbox_interrupt(later->sandbox);
    return NULL;
}

/* One interrupt at a random moment around the start of an endless guest. */
static void interrupt_round(const char *const *args, bool in_call, unsigned delay_us)
{
    struct mf_sandbox_options options = base_options();
    options.args = args;
    struct later later = {create(limits_image, &options), delay_us};
    struct mf_error err;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, interrupt_later, &later), 0);
    int rc = in_call ? call_text(later.sandbox, "endless", "loop", &err)
                     : mf_sandbox_start(later.sandbox, &err);
    assert_int_equal(rc, MF_E_INTERRUPTED);
    pthread_join(thread, NULL);
    mf_sandbox_destroy(later.sandbox);
}

static void test_interrupt_any_moment(void **state)
{
    (void)state;
    static const char *const plain[] = {"limits", NULL};
    unsigned seed = 20;
    for (int round = 0; round < 150; round++)
        interrupt_round(plain, true, (unsigned)rand_r(&seed) % 800);
}

static void test_interrupt_in_init(void **state)
{
    (void)state;
    static const char *const loop_in_main[] = {"limits", "loop", NULL};
    unsigned seed = 21;
    for (int round = 0; round < 100; round++)
        interrupt_round(loop_in_main, false, (unsigned)rand_r(&seed) % 800);
}

struct storm {
    _Atomic(struct mf_sandbox *) sandbox;
    atomic_bool stop, busy;
};

static void *interrupt_often(void *argument)
{
    struct storm *storm = argument;
    unsigned seed = 22;
    while (!atomic_load(&storm->stop)) {
        atomic_store(&storm->busy, true);
        struct mf_sandbox *sandbox = atomic_load(&storm->sandbox);
        if (sandbox)
            mf_sandbox_interrupt(sandbox);
        atomic_store(&storm->busy, false);
        /* Mostly soon, now and then late enough for a call to end, however slow the machine. */
        unsigned long_wait = rand_r(&seed) % 8 == 0;
        wait_us((unsigned)rand_r(&seed) % (long_wait ? 20000 : 400));
    }
    return NULL;
}

/* Short calls under a storm of interrupts: each works, or says that it was interrupted. */
static void test_interrupt_storm(void **state)
{
    (void)state;
    struct mf_sandbox_options options = base_options();
    struct storm storm = {NULL, false, false};
    struct mf_error err;
    pthread_t thread;
    int answered = 0, interrupted = 0;
    assert_int_equal(pthread_create(&thread, NULL, interrupt_often, &storm), 0);
    for (int round = 0; round < 60; round++) {
        struct mf_sandbox *sandbox = create(greet_image, &options);
        if (round % 2 == 0)
            assert_int_equal(mf_sandbox_start(sandbox, &err), 0);
        atomic_store(&storm.sandbox, sandbox);
        for (int i = 0; i < 50 && mf_sandbox_poisoned(sandbox) == MF_OK; i++) {
            int rc = greet(sandbox, &err);
            assert_true(rc == 0 || rc == MF_E_INTERRUPTED);
            answered += rc == 0;
            interrupted += rc != 0;
        }
        /* No one may use the sandbox any more when it is destroyed. */
        atomic_store(&storm.sandbox, NULL);
        while (atomic_load(&storm.busy))
            usleep(10);
        mf_sandbox_destroy(sandbox);
    }
    atomic_store(&storm.stop, true);
    pthread_join(thread, NULL);
    assert_true(interrupted > 0);
    assert_true(answered > 0);
}

/* ---- time limits ---- */

static void test_deadline(void **state)
{
    (void)state;
    static const char *const how[] = {"loop", "busy", "sleep"};
    for (size_t i = 0; i < 3; i++) {
        struct mf_sandbox_options options = base_options();
        options.timeout_ns = 60 * NS_PER_MS;
        options.init_timeout_ns = 20000 * NS_PER_MS;
        struct mf_sandbox *sandbox = create(limits_image, &options);
        struct mf_error err;
        assert_int_equal(call_text(sandbox, "endless", how[i], &err), MF_E_DEADLINE);
        assert_int_equal(mf_sandbox_poisoned(sandbox), MF_E_DEADLINE);
        assert_int_equal(call_text(sandbox, "endless", how[i], &err), MF_E_POISONED);
        mf_sandbox_destroy(sandbox);
    }
}

static void test_deadline_in_init(void **state)
{
    (void)state;
    static const char *const loop_in_main[] = {"limits", "loop", NULL};
    struct mf_sandbox_options options = base_options();
    options.args = loop_in_main;
    options.init_timeout_ns = 50 * NS_PER_MS;
    struct mf_sandbox *sandbox = create(limits_image, &options);
    struct mf_error err;
    assert_int_equal(mf_sandbox_start(sandbox, &err), MF_E_DEADLINE);
    mf_sandbox_destroy(sandbox);
}

/* A guest that sleeps uses no CPU time; one that computes does. */
static void test_cpu_time(void **state)
{
    (void)state;
    struct mf_sandbox_options options = base_options();
    struct mf_error err;
    options.cpu_time_ns = 100 * NS_PER_MS;
    struct mf_sandbox *sandbox = create(limits_image, &options);
    assert_int_equal(call_text(sandbox, "endless", "loop", &err), MF_E_CPU_TIME);
    mf_sandbox_destroy(sandbox);

    options.timeout_ns = 400 * NS_PER_MS;
    options.init_timeout_ns = 20000 * NS_PER_MS;
    options.cpu_time_ns = 350 * NS_PER_MS;
    sandbox = create(limits_image, &options);
    assert_int_equal(call_text(sandbox, "endless", "sleep", &err), MF_E_DEADLINE);
    mf_sandbox_destroy(sandbox);
}

static void *endless_with_signals_blocked(void *sandbox)
{
    sigset_t all;
    struct mf_error err;
    sigfillset(&all);
    sigdelset(&all, SIGALRM);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    return (void *)(intptr_t)call_text(sandbox, "endless", "loop", &err);
}

/* A thread of a program that takes all of its signals elsewhere. */
static void test_deadline_with_signals_blocked(void **state)
{
    (void)state;
    struct mf_sandbox_options options = base_options();
    options.timeout_ns = 60 * NS_PER_MS;
    options.init_timeout_ns = 20000 * NS_PER_MS;
    struct mf_sandbox *sandbox = create(limits_image, &options);
    pthread_t thread;
    void *rc;
    assert_int_equal(pthread_create(&thread, NULL, endless_with_signals_blocked, sandbox), 0);
    pthread_join(thread, &rc);
    assert_int_equal((int)(intptr_t)rc, MF_E_DEADLINE);
    mf_sandbox_destroy(sandbox);
}

/*
 * A forked child makes sandboxes of its own, also when the parent's watchdog was busy
 * at the time of the fork: 0, or how it failed.
 */
static int endless_in_child(void)
{
    struct mf_sandbox_options options = base_options();
    options.timeout_ns = 20 * NS_PER_MS;
    options.init_timeout_ns = 20000 * NS_PER_MS;
    struct mf_sandbox *sandbox;
    struct mf_error err;
    alarm(30);
    if (mf_sandbox_create(limits_image, NULL, &options, &sandbox, &err) != 0)
        return 1;
    return call_text(sandbox, "endless", "loop", &err) == MF_E_DEADLINE ? 0 : 2;
}

static void test_deadline_in_forked_child(void **state)
{
    (void)state;
    struct mf_sandbox_options options = base_options();
    options.timeout_ns = NS_PER_MS; /* keeps the watchdog busy */
    options.init_timeout_ns = 20000 * NS_PER_MS;
    struct mf_sandbox *sandbox = create(limits_image, &options);
    struct mf_error err;
    assert_int_equal(call_text(sandbox, "endless", "loop", &err), MF_E_DEADLINE);
    for (int i = 0; i < 20; i++) {
        int status;
        pid_t child = fork();
        if (child == 0)
            _exit(endless_in_child());
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    mf_sandbox_destroy(sandbox);
}

/* Many calls, each far from its deadline: none is stopped, also after idle times. */
static void test_deadline_not_reached(void **state)
{
    (void)state;
    struct mf_sandbox_options options = base_options();
    options.timeout_ns = 10000 * NS_PER_MS;
    struct mf_sandbox *sandbox = create(greet_image, &options);
    struct mf_error err;
    for (int i = 0; i < 2000; i++)
        assert_int_equal(greet(sandbox, &err), 0);
    assert_int_equal(mf_sandbox_set_limits(sandbox, 2 * NS_PER_MS, 0, &err), 0);
    for (int i = 0; i < 300 && mf_sandbox_poisoned(sandbox) == MF_OK; i++) {
        int rc = greet(sandbox, &err);
        assert_true(rc == 0 || rc == MF_E_DEADLINE);
    }
    mf_sandbox_destroy(sandbox);

    /* The watchdog sleeps for good by now; a new limit must wake it. */
    options.timeout_ns = 30 * NS_PER_MS;
    options.init_timeout_ns = 20000 * NS_PER_MS;
    sandbox = create(limits_image, &options);
    assert_int_equal(mf_sandbox_start(sandbox, &err), 0);
    usleep(500000);
    assert_int_equal(call_text(sandbox, "endless", "loop", &err), MF_E_DEADLINE);
    mf_sandbox_destroy(sandbox);
}

/* ---- threads ---- */

struct worker {
    unsigned rounds;
    int failures;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct mf_sandbox_options options = base_options();
    options.timeout_ns = 20000 * NS_PER_MS;
    struct mf_error err;
    for (unsigned i = 0; i < worker->rounds; i++) {
        struct mf_sandbox *sandbox;
        if (mf_sandbox_create(greet_image, NULL, &options, &sandbox, &err) != 0) {
            worker->failures++;
            continue;
        }
        for (int j = 0; j < 20; j++)
            worker->failures += greet(sandbox, &err) != 0;
        mf_sandbox_destroy(sandbox);
    }
    return NULL;
}

static void test_sandboxes_in_threads(void **state)
{
    (void)state;
    struct worker workers[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        workers[i] = (struct worker){.rounds = 12};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].failures, 0);
    }
}

static void *greet_once(void *sandbox)
{
    struct mf_error err;
    return (void *)(intptr_t)greet(sandbox, &err);
}

static void test_another_thread_each_call(void **state)
{
    (void)state;
    struct mf_sandbox_options options = base_options();
    struct mf_sandbox *sandbox = create(greet_image, &options);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        void *rc;
        assert_int_equal(pthread_create(&thread, NULL, greet_once, sandbox), 0);
        pthread_join(thread, &rc);
        assert_int_equal((int)(intptr_t)rc, 0);
    }
    mf_sandbox_destroy(sandbox);
}

int main(void)
{
    backend = test_backend();
    alarm(ALARM_S);
    limits_image = open_image("GUESTS", "limits/musl");
    greet_image = open_image("EXAMPLES", "greet");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interrupt_before_call),
        cmocka_unit_test(test_interrupt_any_moment),
        cmocka_unit_test(test_interrupt_in_init),
        cmocka_unit_test(test_interrupt_storm),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_deadline_in_init),
        cmocka_unit_test(test_cpu_time),
        cmocka_unit_test(test_deadline_with_signals_blocked),
        cmocka_unit_test(test_deadline_in_forked_child),
        cmocka_unit_test(test_deadline_not_reached),
        cmocka_unit_test(test_sandboxes_in_threads),
        cmocka_unit_test(test_another_thread_each_call),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mf_image_close(limits_image);
    mf_image_close(greet_image);
    return failed;
}
