/*
 * The measure of attentive mode: calls of echo of a guest that stays on another CPU. The
 * floor passes a cache line to a thread on another CPU and back.
 *
 * Each side burns a CPU while its round lasts and must not do so while the other one's
 * does: the floor's thread lives for one round, and the guest leaves after an idle time,
 * which the product's round waits for at its end, outside of the time.
 */
#include "measures.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

/* After this much without a call the guest leaves; the round then waits for twice that. */
#define IDLE_NS  UINT64_C(1000000)
/* Passes in a row that find nothing before a waiting thread lets others run. */
#define SPIN_MAX 100000
#define LINE     64

static int check_cpus(struct mf_error *err)
{
    if (bench_cpus() < 2)
        return bench_unknown(err, "this needs 2 CPUs, and this process has one");
    return MF_OK;
}

static void attend_close(void *state)
{
    bench_call_fini(state);
    free(state);
}

static int attend_open(const struct bench *bench, void **state, struct mf_error *err)
{
    struct mf_attend_options options = {.size = sizeof(options), .idle_ns = IDLE_NS};
    struct bench_call *call;
    int status = check_cpus(err);

    if (status != MF_OK)
        return status;
    call = calloc(1, sizeof(*call));
    if (call == NULL)
        return bench_no_memory(err);
    status =
        bench_call_init(bench, "echo", mf_string(BENCH_TEXT), BENCH_MEMORY_BYTES, 0, call, err);
    if (status != MF_OK) {
        free(call);
        return status;
    }
    status = mf_sandbox_attend(call->sandbox, &options, err);
    if (status != MF_OK) {
        attend_close(call);
        return status;
    }
    *state = call;
    return MF_OK;
}

static int attend_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct timespec leave = {0, 2 * (long)IDLE_NS};
    struct bench_call *call = state;
    double start;
    unsigned i;
    /* The first call wakes the guest. */
    int status = bench_call_once(call, err);

    start = bench_now_us();
    for (i = 0; i < operations && status == MF_OK; i++)
        status = bench_call_once(call, err);
    *value = (bench_now_us() - start) / operations;
    nanosleep(&leave, NULL);
    return status;
}

static struct mf_sandbox *attend_sandbox(void *state)
{
    struct bench_call *call = state;

    return call->sandbox;
}

const struct bench_measure bench_attentive = {
    .name = "mf_sandbox_call_index of echo, attentive",
    .open = attend_open,
    .round = attend_round,
    .close = attend_close,
    .sandbox = attend_sandbox,
};

/* One line there, one back: each is written by one thread alone. */
struct line_state {
    _Alignas(LINE) atomic_uint there;
    _Alignas(LINE) atomic_uint back;
    _Alignas(LINE) unsigned turns;
};

static void wait_for(atomic_uint *line, unsigned turn)
{
    unsigned spins = 0;

    while (atomic_load_explicit(line, memory_order_acquire) != turn) {
        /* Should the scheduler have put both threads on one CPU. */
        if (++spins == SPIN_MAX) {
            sched_yield();
            spins = 0;
        }
    }
}

static void *answer_thread(void *arg)
{
    struct line_state *lines = arg;
    unsigned turn;

    for (turn = 1; turn <= lines->turns; turn++) {
        wait_for(&lines->there, turn);
        atomic_store_explicit(&lines->back, turn, memory_order_release);
    }
    return NULL;
}

static int line_open(const struct bench *bench, void **state, struct mf_error *err)
{
    int status = check_cpus(err);

    (void)bench;
    if (status != MF_OK)
        return status;
    *state = aligned_alloc(LINE, sizeof(struct line_state));
    return *state != NULL ? MF_OK : bench_no_memory(err);
}

static void line_close(void *state)
{
    free(state);
}

static int line_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct line_state *lines = state;
    pthread_t thread;
    double start;
    unsigned turn;

    atomic_init(&lines->there, 0);
    atomic_init(&lines->back, 0);
    lines->turns = operations + 1;
    if (pthread_create(&thread, NULL, answer_thread, lines) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot start a thread");
    /* The first turn finds the thread running. */
    atomic_store_explicit(&lines->there, 1, memory_order_release);
    wait_for(&lines->back, 1);
    start = bench_now_us();
    for (turn = 2; turn <= operations + 1; turn++) {
        atomic_store_explicit(&lines->there, turn, memory_order_release);
        wait_for(&lines->back, turn);
    }
    *value = (bench_now_us() - start) / operations;
    pthread_join(thread, NULL);
    return MF_OK;
}

const struct bench_measure bench_floor_cache_line = {
    .name = "a cache line to another thread and back",
    .open = line_open,
    .round = line_round,
    .close = line_close,
};
