/*
 * What memory is measured of: sandboxes made from an image, clones of one snapshot, and
 * parked sandboxes. How it is measured: memory.c.
 */
#include "memory.h"

#include <stdlib.h>

#define PAGE_BYTES 4096.0
/* What the guest's function `stain` writes: bytes that are nowhere else. */
#define STAIN_PAGES 2
/* Some are parked before memory is measured, so that buffers are there. */
#define PARKED_BEFORE 16
/* Parked sandboxes do not reach this. */
#define PARKED_BYTES_MAX (UINT64_C(4) << 30)

struct crowd_state {
    struct bench_guest guest;
    struct mf_snapshot *snapshot; /* NULL: from the image */
    struct mf_pool *pool;
    size_t function;
};

/* ---- sandboxes and clones ---- */

static int crowd_open(const struct bench *bench, bool from_snapshot, void **out,
                      struct mf_error *err)
{
    struct crowd_state *state = calloc(1, sizeof(*state));
    int status, index;

    if (state == NULL)
        return bench_no_memory(err);
    status = from_snapshot ? bench_snapshot_open(bench, &state->guest, &state->snapshot, err)
                           : bench_guest_open(bench, NULL, &state->guest, err);
    if (status != MF_OK)
        return status;
    index = mf_image_find_export(state->guest.image, "echo", err);
    if (index < 0)
        return index;
    state->function = (size_t)index;
    *out = state;
    return MF_OK;
}

static int open_image(const struct bench *bench, unsigned count, void **out, struct mf_error *err)
{
    (void)count;
    return crowd_open(bench, false, out, err);
}

/* One sandbox more, that has answered one call. */
static int add_sandbox(void *arg, unsigned number, struct mf_error *err)
{
    struct crowd_state *state = arg;
    const struct bench_guest *guest = &state->guest;
    struct mf_value argument = mf_string(BENCH_TEXT);
    struct mf_sandbox *sandbox;
    int status;

    (void)number;
    if (state->snapshot != NULL)
        status = mf_sandbox_create_from(state->snapshot, guest->host, &guest->options, &sandbox,
                                        err);
    else
        status = mf_sandbox_create(guest->image, guest->host, &guest->options, &sandbox, err);
    if (status != MF_OK)
        return status;
    return mf_sandbox_call_index(sandbox, state->function, &argument, 1, NULL, err);
}

/* Two clones are there before: what they share is then shared, and not the first one's. */
static int open_clones(const struct bench *bench, unsigned count, void **out,
                       struct mf_error *err)
{
    int status = crowd_open(bench, true, out, err);

    (void)count;
    if (status == MF_OK)
        status = add_sandbox(*out, 0, err);
    return status == MF_OK ? add_sandbox(*out, 0, err) : status;
}

/* ---- parked ---- */

/* Takes a sandbox, has it write pages of its own, and parks it for ever. */
static int add_parked(void *arg, unsigned number, struct mf_error *err)
{
    struct crowd_state *state = arg;
    struct mf_value argument = mf_u64(number);
    struct mf_parked *parked;
    struct mf_sandbox *sandbox;
    int status = mf_pool_acquire(state->pool, NULL, 0, 0, &sandbox, err);

    if (status != MF_OK)
        return status;
    status = mf_sandbox_call_index(sandbox, state->function, &argument, 1, NULL, err);
    return status == MF_OK ? mf_pool_park(state->pool, sandbox, &parked, err) : status;
}

static int open_parked(const struct bench *bench, unsigned count, void **out,
                       struct mf_error *err)
{
    struct mf_pool_options options = {
        .size = sizeof(options), .slots = 1, .warm = 1, .parked_bytes = PARKED_BYTES_MAX};
    struct crowd_state *state;
    int status = crowd_open(bench, true, out, err), index;
    unsigned i;

    if (status != MF_OK)
        return status;
    state = *out;
    index = mf_image_find_export(state->guest.image, "stain", err);
    if (index < 0)
        return index;
    state->function = (size_t)index;
    options.host = state->guest.host;
    options.sandbox = state->guest.options;
    status = mf_pool_create(state->snapshot, &options, &state->pool, err);
    for (i = 0; i < PARKED_BEFORE && status == MF_OK; i++)
        status = add_parked(state, count + i, err);
    return status;
}

/* What the pool says of them, without the pages that `stain` wrote. */
static double count_parked(void *arg)
{
    const struct crowd_state *state = arg;
    struct mf_pool_stats stats = {.size = sizeof(stats)};

    mf_pool_get_stats(state->pool, &stats);
    return (double)stats.parked_bytes / (double)stats.parked - STAIN_PAGES * PAGE_BYTES;
}

/* ---- measures ---- */

static const struct memory_crowd sandboxes = {
    .open = open_image,
    .add = add_sandbox,
    .vms = 1,
    .unit_bytes = 1024,
    .beside = "kernel",
};

static const struct memory_crowd clones = {
    .open = open_clones,
    .add = add_sandbox,
    .vms = 1,
    .only_private = true,
    .unit_bytes = 1024,
    .beside = "kernel",
};

static const struct memory_crowd parked_ones = {
    .open = open_parked,
    .add = add_parked,
    .only_private = true,
    .unit_bytes = 1,
    .content_bytes = STAIN_PAGES * PAGE_BYTES,
    .beside = "counted",
    .note = "what the pool counts (mf_pool_stats.parked_bytes), without the same two pages",
    .count_beside = count_parked,
};

static int measure_sandboxes(const struct bench *bench, void **state, struct mf_error *err)
{
    return bench_memory_open(bench, &sandboxes, state, err);
}

static int measure_clones(const struct bench *bench, void **state, struct mf_error *err)
{
    return bench_memory_open(bench, &clones, state, err);
}

static int measure_parked(const struct bench *bench, void **state, struct mf_error *err)
{
    return bench_memory_open(bench, &parked_ones, state, err);
}

#define MEMORY_MEASURE(id, text, open_fn) \
    const struct bench_measure id = {     \
        .name = text,                     \
        .open = open_fn,                  \
        .round = bench_memory_round,      \
        .close = bench_memory_close,      \
        .parts = bench_memory_parts,      \
    }

MEMORY_MEASURE(bench_memory, "resident memory after mf_sandbox_create and a call",
               measure_sandboxes);
MEMORY_MEASURE(bench_memory_clone, "private memory after mf_sandbox_create_from and a call",
               measure_clones);
MEMORY_MEASURE(bench_memory_parked, "private memory after mf_pool_park, without two pages",
               measure_parked);

/* The floor of parked sandboxes is no measure but a promise: one page. */
static int page_open(const struct bench *bench, void **state, struct mf_error *err)
{
    (void)bench;
    (void)err;
    *state = NULL;
    return MF_OK;
}

static int page_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    (void)state;
    (void)operations;
    (void)err;
    *value = PAGE_BYTES;
    return MF_OK;
}

static void page_close(void *state)
{
    (void)state;
}

const struct bench_measure bench_floor_page = {
    .name = "4 KiB, one page",
    .open = page_open,
    .round = page_round,
    .close = page_close,
};
