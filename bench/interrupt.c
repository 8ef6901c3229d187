/*
 * The measures of an interrupt: how long a guest that loops for ever on one
 * thread goes on after another thread has told it to stop, until the call is
 * back. The floor does the same to the raw VM with a signal.
 *
 * Both sides: a second thread runs the guest, which says that it runs and then
 * loops; a little later this thread takes the time and stops it; the second
 * thread takes the time when it is back.
 */
#include "floor_kvm.h"
#include "measures.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIGNAL         SIGUSR2
#define SETTLE_MS      1     /* from the guest's word to its loop */
#define START_LIMIT_MS 10000 /* a guest that did not start by then never will */
#define RESEND_MS      100

/* The second thread, and what the two tell each other. */
struct runner {
    pthread_t thread;
    atomic_uint started; /* set by the guest, by way of its thread */
    sem_t done;          /* posted when the guest is back */
    double stopped_us;   /* when that was */
    int status;
    struct mf_error error;
};

static void sleep_ms(unsigned ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&time, NULL);
}

/* Starts the thread; runner_join is due when this succeeded. */
static int runner_start(struct runner *runner, void *(*run)(void *), void *arg,
                        struct mf_error *err)
{
    atomic_store(&runner->started, 0);
    runner->status = MF_OK;
    if (sem_init(&runner->done, 0, 0) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a semaphore");
    if (pthread_create(&runner->thread, NULL, run, arg) != 0) {
        sem_destroy(&runner->done);
        return mf_fail(err, MF_E_SYSTEM, "cannot start a thread");
    }
    return MF_OK;
}

/* Waits until the guest is in its loop, it is done, or it is hopeless. */
static void runner_wait_started(struct runner *runner)
{
    unsigned ms;
    int done = 0;

    for (ms = 0; ms < START_LIMIT_MS && done == 0; ms++) {
        if (atomic_load(&runner->started) != 0)
            break;
        sleep_ms(1);
        sem_getvalue(&runner->done, &done);
    }
    sleep_ms(SETTLE_MS);
}

/* Called by the second thread when its guest is back. */
static void runner_finish(struct runner *runner)
{
    runner->stopped_us = bench_now_us();
    sem_post(&runner->done);
}

/* Waits for the end of the thread; sets *value to the time since `start_us`. */
static int runner_join(struct runner *runner, double start_us, double *value, struct mf_error *err)
{
    pthread_join(runner->thread, NULL);
    sem_destroy(&runner->done);
    *value = runner->stopped_us - start_us;
    if (runner->status != MF_OK && err != NULL)
        *err = runner->error;
    return runner->status;
}

/* The product. */

struct interrupt_state {
    const struct bench *bench;
    struct runner runner;
    struct bench_guest guest;
    struct mf_sandbox *sandbox;
};

static void interrupt_close(void *state)
{
    struct interrupt_state *interrupt = state;

    bench_guest_close(&interrupt->guest);
    free(interrupt);
}

static int interrupt_open(const struct bench *bench, void **state, struct mf_error *err)
{
    struct interrupt_state *interrupt = calloc(1, sizeof(*interrupt));
    int status;

    if (interrupt == NULL)
        return bench_no_memory(err);
    status = bench_guest_open(bench, &interrupt->runner.started, &interrupt->guest, err);
    if (status != MF_OK) {
        free(interrupt);
        return status;
    }
    interrupt->bench = bench;
    *state = interrupt;
    return MF_OK;
}

static void *interrupt_thread(void *arg)
{
    struct interrupt_state *interrupt = arg;
    struct runner *runner = &interrupt->runner;
    struct mf_value forever = mf_u64(0);

    runner->status = mf_sandbox_call(interrupt->sandbox, "spin", &forever, 1, NULL, &runner->error);
    runner_finish(runner);
    if (runner->status == MF_E_INTERRUPTED)
        runner->status = MF_OK;
    else if (runner->status == MF_OK)
        runner->status = mf_fail(&runner->error, MF_E_PROTOCOL, "the guest did not loop");
    return NULL;
}

static int interrupt_once(struct interrupt_state *interrupt, double *value, struct mf_error *err)
{
    struct runner *runner = &interrupt->runner;
    double start_us;
    int status;

    status = mf_sandbox_create(interrupt->guest.image, interrupt->guest.host,
                               &interrupt->guest.options, &interrupt->sandbox, err);
    if (status != MF_OK)
        return status;
    status = runner_start(runner, interrupt_thread, interrupt, err);
    if (status == MF_OK) {
        runner_wait_started(runner);
        start_us = bench_now_us();
        mf_sandbox_interrupt(interrupt->sandbox);
        status = runner_join(runner, start_us, value, err);
    }
    bench_watch(interrupt->bench, interrupt->sandbox);
    mf_sandbox_destroy(interrupt->sandbox);
    return status;
}

static int interrupt_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    double sum = 0, one;
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status = interrupt_once(state, &one, err);

        if (status != MF_OK)
            return status;
        sum += one;
    }
    *value = sum / operations;
    return MF_OK;
}

const struct bench_measure bench_interrupt = {
    .name = "mf_sandbox_interrupt to the return of mf_sandbox_call",
    .open = interrupt_open,
    .round = interrupt_round,
    .close = interrupt_close,
};

/* The floor. */

struct signal_state {
    struct runner runner;
    struct floor_kvm kvm;
    struct floor_vm vm;
    struct sigaction old_action;
};

/* There is a handler so that the signal ends KVM_RUN and not the process. */
static void on_signal(int number)
{
    (void)number;
}

static void signal_close(void *state)
{
    struct signal_state *floor = state;

    sigaction(SIGNAL, &floor->old_action, NULL);
    floor_kvm_fini(&floor->kvm);
    free(floor);
}

static int signal_open(const struct bench *bench, void **state, struct mf_error *err)
{
    struct signal_state *floor = calloc(1, sizeof(*floor));
    struct sigaction action = {.sa_handler = on_signal};
    int status;

    (void)bench;
    if (floor == NULL)
        return bench_no_memory(err);
    status = floor_kvm_init(&floor->kvm, err);
    if (status != MF_OK) {
        free(floor);
        return status;
    }
    sigemptyset(&action.sa_mask);
    sigaction(SIGNAL, &action, &floor->old_action);
    *state = floor;
    return MF_OK;
}

static void *signal_thread(void *arg)
{
    struct signal_state *floor = arg;
    struct runner *runner = &floor->runner;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    runner->status = floor_vm_run(&floor->vm, &runner->error);
    if (runner->status == MF_OK) {
        atomic_store(&runner->started, 1);
        runner->status = floor_vm_run_until_signal(&floor->vm, &runner->error);
    }
    runner_finish(runner);
    return NULL;
}

/*
 * Sends the signal until the guest has stopped: one that comes just before
 * KVM_RUN is lost. (The product must not lose any, which is its own business.)
 */
static void signal_until_done(struct runner *runner)
{
    struct timespec until;

    do {
        pthread_kill(runner->thread, SIGNAL);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += RESEND_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_nsec -= 1000000000L;
            until.tv_sec++;
        }
    } while (sem_timedwait(&runner->done, &until) != 0);
}

static int signal_once(struct signal_state *floor, double *value, struct mf_error *err)
{
    double start_us;
    int status = floor_vm_open(&floor->kvm, BENCH_MEMORY_BYTES, FLOOR_GUEST_SPINS, &floor->vm, err);

    if (status != MF_OK)
        return status;
    status = runner_start(&floor->runner, signal_thread, floor, err);
    if (status == MF_OK) {
        runner_wait_started(&floor->runner);
        start_us = bench_now_us();
        signal_until_done(&floor->runner);
        status = runner_join(&floor->runner, start_us, value, err);
    }
    floor_vm_close(&floor->vm);
    return status;
}

static int signal_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    double sum = 0, one;
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status = signal_once(state, &one, err);

        if (status != MF_OK)
            return status;
        sum += one;
    }
    *value = sum / operations;
    return MF_OK;
}

const struct bench_measure bench_floor_interrupt = {
    .name = "signal to a thread in KVM_RUN, to its EINTR",
    .open = signal_open,
    .round = signal_round,
    .close = signal_close,
};
