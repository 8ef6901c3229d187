/*
 * The measures of pools: a call in a sandbox with fresh state, by the thread that asks, and
 * by one and by two threads of their own.
 *
 * These threads stay, each on a CPU of its own, as what is asked is whether they make each
 * other wait in the pool, and not where the kernel would let them run. A round hands each of
 * them its part of the operations and waits for all; what is timed is the whole of it.
 */
#include "measures.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>

/* As many threads as a measure has at most. */
#define POOL_THREADS 2
/* At the start the background may not have made all slots yet. */
#define POOL_WAIT_NS UINT64_C(10000000000)

struct pool_state;

struct worker {
    struct pool_state *state;
    pthread_t thread;
    sem_t go, done;
    unsigned operations; /* of a round; 0: it ends */
    int status;
    struct mf_error error;
};

struct pool_state {
    struct bench_guest guest;
    struct mf_snapshot *snapshot;
    struct mf_pool *pool;
    size_t function;
    struct worker workers[POOL_THREADS];
    unsigned nworkers; /* 0: the thread that asks makes the calls */
};

/* One call in a sandbox that is as if nobody had used it. */
static int call_fresh(struct pool_state *state, struct mf_error *err)
{
    struct mf_value argument = mf_string(BENCH_TEXT), answer;
    struct mf_sandbox *sandbox;
    int status = mf_pool_acquire(state->pool, NULL, 0, POOL_WAIT_NS, &sandbox, err);

    if (status != MF_OK)
        return status;
    status = mf_sandbox_call_index(sandbox, state->function, &argument, 1, &answer, err);
    if (status == MF_OK && answer.string.len != sizeof(BENCH_TEXT) - 1)
        status = mf_fail(err, MF_E_PROTOCOL, "the guest answered something else");
    mf_pool_release(state->pool, sandbox);
    return status;
}

static int call_often(struct pool_state *state, unsigned operations, struct mf_error *err)
{
    int status = MF_OK;
    unsigned i;

    for (i = 0; i < operations && status == MF_OK; i++)
        status = call_fresh(state, err);
    return status;
}

/* ---- threads ---- */

static void *work(void *arg)
{
    struct worker *worker = arg;

    for (;;) {
        while (sem_wait(&worker->go) != 0)
            ; /* a signal */
        if (worker->operations == 0)
            return NULL;
        worker->status = call_often(worker->state, worker->operations, &worker->error);
        sem_post(&worker->done);
    }
}

/* Binds a thread to the CPU that is the `index`th of those that this process may use. */
static void bind_to_cpu(pthread_t thread, unsigned index)
{
    cpu_set_t allowed, one;
    int cpu;

    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
        return;
    for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || index-- > 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        /* Where that is not allowed, the kernel's choice has to do. */
        pthread_setaffinity_np(thread, sizeof(one), &one);
        return;
    }
}

static int start_worker(struct pool_state *state, struct mf_error *err)
{
    struct worker *worker = &state->workers[state->nworkers];

    worker->state = state;
    sem_init(&worker->go, 0, 0);
    sem_init(&worker->done, 0, 0);
    if (pthread_create(&worker->thread, NULL, work, worker) == 0) {
        bind_to_cpu(worker->thread, state->nworkers++);
        return MF_OK;
    }
    sem_destroy(&worker->go);
    sem_destroy(&worker->done);
    return mf_fail(err, MF_E_SYSTEM, "cannot start a thread");
}

static void end_worker(struct worker *worker)
{
    worker->operations = 0;
    sem_post(&worker->go);
    pthread_join(worker->thread, NULL);
    sem_destroy(&worker->go);
    sem_destroy(&worker->done);
}

/* Each worker makes its part of the calls. */
static int work_together(struct pool_state *state, unsigned operations, struct mf_error *err)
{
    unsigned part = (operations + state->nworkers - 1) / state->nworkers, left = operations, i;
    struct worker *worker;
    int status = MF_OK;

    for (i = 0; i < state->nworkers; i++) {
        worker = &state->workers[i];
        worker->operations = left < part ? left : part;
        left -= worker->operations;
    }
    for (i = 0; i < state->nworkers && state->workers[i].operations > 0; i++)
        sem_post(&state->workers[i].go);
    for (i = 0; i < state->nworkers && state->workers[i].operations > 0; i++) {
        worker = &state->workers[i];
        while (sem_wait(&worker->done) != 0)
            ; /* a signal */
        if (worker->status != MF_OK && status == MF_OK) {
            status = worker->status;
            if (err != NULL)
                *err = worker->error;
        }
    }
    return status;
}

/* ---- open, close ---- */

static void pool_close(void *arg)
{
    struct pool_state *state = arg;

    while (state->nworkers > 0)
        end_worker(&state->workers[--state->nworkers]);
    mf_pool_destroy(state->pool);
    mf_snapshot_close(state->snapshot);
    bench_guest_close(&state->guest);
    free(state);
}

/* A pool whose guests have answered a call, and as many slots as there are threads. */
static int make_pool(const struct bench *bench, struct pool_state *state, struct mf_error *err)
{
    struct mf_pool_options options = {
        .size = sizeof(options), .slots = POOL_THREADS, .warm = POOL_THREADS};
    int status = bench_snapshot_open(bench, &state->guest, &state->snapshot, err);
    int index;

    if (status != MF_OK)
        return status;
    index = mf_image_find_export(state->guest.image, "echo", err);
    if (index < 0)
        return index;
    state->function = (size_t)index;
    options.host = state->guest.host;
    options.sandbox = state->guest.options;
    return mf_pool_create(state->snapshot, &options, &state->pool, err);
}

static int pool_open(const struct bench *bench, unsigned nworkers, void **out,
                     struct mf_error *err)
{
    struct pool_state *state = calloc(1, sizeof(*state));
    int status;

    if (state == NULL)
        return bench_no_memory(err);
    status = make_pool(bench, state, err);
    while (status == MF_OK && state->nworkers < nworkers)
        status = start_worker(state, err);
    if (status != MF_OK) {
        pool_close(state);
        return status;
    }
    *out = state;
    return MF_OK;
}

static int open_plain(const struct bench *bench, void **out, struct mf_error *err)
{
    return pool_open(bench, 0, out, err);
}

static int open_one(const struct bench *bench, void **out, struct mf_error *err)
{
    return pool_open(bench, 1, out, err);
}

static int open_two(const struct bench *bench, void **out, struct mf_error *err)
{
    if (bench_cpus() < 2)
        return bench_unknown(err, "two threads at once need 2 CPUs, and this process may use one");
    return pool_open(bench, 2, out, err);
}

/* ---- rounds ---- */

static int pool_round(void *arg, unsigned operations, double *value, struct mf_error *err)
{
    struct pool_state *state = arg;
    double start = bench_now_us();
    int status = state->nworkers > 0 ? work_together(state, operations, err)
                                     : call_often(state, operations, err);

    *value = (bench_now_us() - start) / operations;
    return status;
}

const struct bench_measure bench_pool_call = {
    .name = "mf_pool_acquire, a call of echo, mf_pool_release",
    .open = open_plain,
    .round = pool_round,
    .close = pool_close,
};

const struct bench_measure bench_pool_two = {
    .name = "two threads, one pool, a CPU for each",
    .open = open_two,
    .round = pool_round,
    .close = pool_close,
};

const struct bench_measure bench_floor_pool_one = {
    .name = "one thread, one pool, as many calls",
    .open = open_one,
    .round = pool_round,
    .close = pool_close,
};
