/*
 * The measure of large data: 50 MB into the guest, which copies them into memory of its
 * own, and 50 MB out. The floor copies the same 100 MB on the host into memory that is as
 * fresh as the guest's.
 */
#include "measures.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct large_state {
    struct bench_call call; /* not of the floor */
    uint8_t *bytes;
};

static int large_alloc(struct large_state **out, struct mf_error *err)
{
    struct large_state *large = calloc(1, sizeof(*large));

    if (large != NULL)
        large->bytes = malloc(BENCH_LARGE_BYTES);
    if (large == NULL || large->bytes == NULL) {
        free(large);
        return bench_no_memory(err);
    }
    memset(large->bytes, 0x5a, BENCH_LARGE_BYTES);
    *out = large;
    return MF_OK;
}

static void large_free(struct large_state *large)
{
    free(large->bytes);
    free(large);
}

static int call_open(const struct bench *bench, void **state, struct mf_error *err)
{
    struct large_state *large;
    int status = large_alloc(&large, err);

    if (status != MF_OK)
        return status;
    status = bench_call_init(bench, "copy_bytes", mf_bytes(large->bytes, BENCH_LARGE_BYTES),
                             BENCH_LARGE_MEMORY_BYTES, 0, &large->call, err);
    if (status != MF_OK) {
        large_free(large);
        return status;
    }
    *state = large;
    return MF_OK;
}

static void call_close(void *state)
{
    struct large_state *large = state;

    bench_call_fini(&large->call);
    large_free(large);
}

static int call_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct large_state *large = state;
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status = bench_call_once(&large->call, err);

        if (status != MF_OK)
            return status;
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

static struct mf_sandbox *call_sandbox(void *state)
{
    struct large_state *large = state;

    return large->call.sandbox;
}

const struct bench_measure bench_call_large = {
    .name = "mf_sandbox_call_index of copy_bytes",
    .open = call_open,
    .round = call_round,
    .close = call_close,
    .sandbox = call_sandbox,
};

static int copy_open(const struct bench *bench, void **state, struct mf_error *err)
{
    struct large_state *large;
    int status = large_alloc(&large, err);

    (void)bench;
    if (status == MF_OK)
        *state = large;
    return status;
}

static void copy_close(void *state)
{
    large_free(state);
}

/* The memory is made and given back outside of the time; touching it is inside. */
static int copy_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    const struct large_state *large = state;
    double sum = 0;
    unsigned i;

    for (i = 0; i < operations; i++) {
        uint8_t *fresh = mmap(NULL, 2 * (size_t)BENCH_LARGE_BYTES, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        double start;

        if (fresh == MAP_FAILED)
            return mf_fail(err, MF_E_NO_MEMORY, "mmap: %s", strerror(errno));
        start = bench_now_us();
        memcpy(fresh, large->bytes, BENCH_LARGE_BYTES);
        memcpy(fresh + BENCH_LARGE_BYTES, large->bytes, BENCH_LARGE_BYTES);
        sum += bench_now_us() - start;
        munmap(fresh, 2 * (size_t)BENCH_LARGE_BYTES);
    }
    *value = sum / operations;
    return MF_OK;
}

const struct bench_measure bench_floor_large = {
    .name = "memcpy of 100 MB into fresh memory",
    .open = copy_open,
    .round = copy_round,
    .close = copy_close,
};
