/*
 * The measure of calls that come from another thread each time. Two threads take
 * turns; what a turn costs is taken inside of the thread that calls, so that the
 * hand-over is not in it. The floor hands over in the same way, but it is always
 * the same thread that calls: so the processor is as cold before each call.
 */
#include "measures.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

struct thread_state {
    struct bench_call call;
    bool alternate; /* every other call is the second thread's */
    pthread_t thread;
    sem_t go, done;
    bool calls, ends; /* what the second thread is to do when it may go */
    double sum_us;    /* of all calls of this round */
    int status;
    struct mf_error error;
};

/* One call, with its time. */
static void call_timed(struct thread_state *state)
{
    double start = bench_now_us();
    int status = bench_call_once(&state->call, &state->error);

    state->sum_us += bench_now_us() - start;
    if (status != MF_OK)
        state->status = status;
}

static void *second_thread(void *arg)
{
    struct thread_state *state = arg;

    for (;;) {
        while (sem_wait(&state->go) != 0)
            ; /* a signal */
        if (state->ends)
            return NULL;
        if (state->calls)
            call_timed(state);
        sem_post(&state->done);
    }
}

static void hand_over(struct thread_state *state, bool calls)
{
    state->calls = calls;
    sem_post(&state->go);
    while (sem_wait(&state->done) != 0)
        ; /* a signal */
}

static int thread_start(struct thread_state *state, struct mf_error *err)
{
    sem_init(&state->go, 0, 0);
    sem_init(&state->done, 0, 0);
    if (pthread_create(&state->thread, NULL, second_thread, state) == 0)
        return MF_OK;
    sem_destroy(&state->go);
    sem_destroy(&state->done);
    return mf_fail(err, MF_E_SYSTEM, "cannot start a thread");
}

static int thread_open(const struct bench *bench, bool alternate, void **out, struct mf_error *err)
{
    struct thread_state *state = calloc(1, sizeof(*state));
    int status;

    if (state == NULL)
        return bench_no_memory(err);
    state->alternate = alternate;
    status = bench_call_init(bench, "echo", mf_string(BENCH_TEXT), BENCH_MEMORY_BYTES, 0,
                             &state->call, err);
    if (status == MF_OK) {
        status = thread_start(state, err);
        if (status != MF_OK)
            bench_call_fini(&state->call);
    }
    if (status != MF_OK) {
        free(state);
        return status;
    }
    *out = state;
    return MF_OK;
}

static int open_other(const struct bench *bench, void **out, struct mf_error *err)
{
    return thread_open(bench, true, out, err);
}

static int open_same(const struct bench *bench, void **out, struct mf_error *err)
{
    return thread_open(bench, false, out, err);
}

static void thread_close(void *arg)
{
    struct thread_state *state = arg;

    state->ends = true;
    sem_post(&state->go);
    pthread_join(state->thread, NULL);
    sem_destroy(&state->go);
    sem_destroy(&state->done);
    bench_call_fini(&state->call);
    free(state);
}

static int thread_round(void *arg, unsigned operations, double *value, struct mf_error *err)
{
    struct thread_state *state = arg;
    unsigned i;

    state->sum_us = 0;
    for (i = 0; i < operations && state->status == MF_OK; i++) {
        bool other = state->alternate && i % 2 == 1;

        if (!other)
            call_timed(state);
        hand_over(state, other);
    }
    if (state->status != MF_OK && err != NULL)
        *err = state->error;
    *value = state->sum_us / operations;
    return state->status;
}

static struct mf_sandbox *thread_sandbox(void *arg)
{
    struct thread_state *state = arg;

    return state->call.sandbox;
}

const struct bench_measure bench_call_thread = {
    .name = "mf_sandbox_call_index of echo, threads in turn",
    .open = open_other,
    .round = thread_round,
    .close = thread_close,
    .sandbox = thread_sandbox,
};

const struct bench_measure bench_floor_thread = {
    .name = "the same calls, always from the same thread",
    .open = open_same,
    .round = thread_round,
    .close = thread_close,
    .sandbox = thread_sandbox,
};
