/*
 * The measures of snapshots and restores: one sandbox whose calls dirty a known number of
 * pages, and what has to be done about these. Beside them their floors: a plain call, and
 * the copying of so many pages that somebody told one, from one memory to another.
 */
#include "measures.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

/* What the snapshots are taken after. */
#define TAKE_PAGES 32
/* All that `touch` can touch: so that a snapshot has these pages, and they are not zero. */
#define TOUCH_PAGES 256

/*
 * Who takes a snapshot wants to keep it. So many are kept, and memory that the allocator
 * has from earlier ones does not make the next one look cheap.
 */
#define TAKE_KEPT 512

struct restore_state {
    struct bench_call call; /* of touch */
    struct mf_snapshot *base;
    double first_us; /* what the first snapshot took */
    struct mf_snapshot *kept[TAKE_KEPT];
    unsigned long taken;
};

static void restore_close(void *state)
{
    struct restore_state *restore = state;
    unsigned i;

    for (i = 0; i < TAKE_KEPT; i++)
        mf_snapshot_close(restore->kept[i]);
    mf_snapshot_close(restore->base);
    bench_call_fini(&restore->call);
    free(restore);
}

/* A sandbox with `memory_bytes` whose calls dirty `pages`, and a snapshot before these. */
static int restore_open(const struct bench *bench, uint64_t memory_bytes, unsigned pages,
                        void **state, struct mf_error *err)
{
    struct restore_state *restore = calloc(1, sizeof(*restore));
    double start;
    int status;

    if (restore == NULL)
        return bench_no_memory(err);
    /* What earlier measures left in the heap would be memory that is there already. */
    malloc_trim(0);
    status = bench_call_init(bench, "touch", mf_u64(TOUCH_PAGES), memory_bytes, 0, &restore->call,
                             err);
    if (status != MF_OK) {
        free(restore);
        return status;
    }
    start = bench_now_us();
    status = mf_sandbox_snapshot(restore->call.sandbox, &restore->base, err);
    restore->first_us = bench_now_us() - start;
    if (status != MF_OK) {
        restore_close(restore);
        return status;
    }
    restore->call.argument = mf_u64(pages);
    *state = restore;
    return MF_OK;
}

static struct mf_sandbox *restore_sandbox(void *state)
{
    struct restore_state *restore = state;

    return restore->call.sandbox;
}

/* ---- a call, and back ---- */

static int open_10(const struct bench *bench, void **state, struct mf_error *err)
{
    return restore_open(bench, BENCH_MEMORY_BYTES, 10, state, err);
}

static int open_32(const struct bench *bench, void **state, struct mf_error *err)
{
    return restore_open(bench, BENCH_MEMORY_BYTES, 32, state, err);
}

static int open_256(const struct bench *bench, void **state, struct mf_error *err)
{
    return restore_open(bench, BENCH_MEMORY_BYTES, 256, state, err);
}

static int restore_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct restore_state *restore = state;
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status = bench_call_once(&restore->call, err);

        if (status == MF_OK)
            status = mf_sandbox_restore(restore->call.sandbox, restore->base, err);
        if (status != MF_OK)
            return status;
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

#define RESTORE_MEASURE(id, text, open_fn) \
    const struct bench_measure id = {      \
        .name = text,                      \
        .open = open_fn,                   \
        .round = restore_round,            \
        .close = restore_close,            \
        .sandbox = restore_sandbox,        \
    }

RESTORE_MEASURE(bench_restore_10, "mf_sandbox_call_index of touch(10), mf_sandbox_restore",
                open_10);
RESTORE_MEASURE(bench_restore_32, "mf_sandbox_call_index of touch(32), mf_sandbox_restore",
                open_32);
RESTORE_MEASURE(bench_restore_256, "mf_sandbox_call_index of touch(256), mf_sandbox_restore",
                open_256);

/* ---- a snapshot after a call ---- */

static int open_take(const struct bench *bench, void **state, struct mf_error *err)
{
    return restore_open(bench, BENCH_TAKE_MEMORY_BYTES, TAKE_PAGES, state, err);
}

static int open_take_small(const struct bench *bench, void **state, struct mf_error *err)
{
    return restore_open(bench, BENCH_MEMORY_BYTES, TAKE_PAGES, state, err);
}

static void keep(struct restore_state *restore, struct mf_snapshot *snapshot)
{
    struct mf_snapshot **place = &restore->kept[restore->taken++ % TAKE_KEPT];

    mf_snapshot_close(*place);
    *place = snapshot;
}

/* Only the taking is timed. The sandbox goes back each time, so that the chain stays short. */
static int take_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct restore_state *restore = state;
    double sum = 0;
    unsigned i;

    for (i = 0; i < operations; i++) {
        struct mf_snapshot *snapshot;
        double start;
        int status = mf_sandbox_restore(restore->call.sandbox, restore->base, err);

        if (status == MF_OK)
            status = bench_call_once(&restore->call, err);
        if (status != MF_OK)
            return status;
        start = bench_now_us();
        status = mf_sandbox_snapshot(restore->call.sandbox, &snapshot, err);
        sum += bench_now_us() - start;
        if (status != MF_OK)
            return status;
        keep(restore, snapshot);
    }
    *value = sum / operations;
    return MF_OK;
}

static size_t take_parts(void *state, struct bench_part parts[BENCH_PARTS_MAX])
{
    const struct restore_state *restore = state;

    parts[0].name = "first";
    parts[0].value = restore->first_us;
    snprintf(parts[0].note, sizeof(parts[0].note),
             "the first one of a sandbox, once: copies every page that is not zero");
    return 1;
}

const struct bench_measure bench_take = {
    .name = "mf_sandbox_snapshot after touch(32), of 256 MiB",
    .open = open_take,
    .round = take_round,
    .close = restore_close,
    .sandbox = restore_sandbox,
    .parts = take_parts,
};

const struct bench_measure bench_take_small = {
    .name = "mf_sandbox_snapshot after touch(32), of 64 MiB",
    .open = open_take_small,
    .round = take_round,
    .close = restore_close,
    .sandbox = restore_sandbox,
    .parts = take_parts,
};

/* ---- floors ---- */

struct copy_state {
    struct bench_call call; /* of echo; its sandbox is NULL: copies alone */
    uint8_t *from, *to;
    size_t bytes;
};

static void copy_close(void *state)
{
    struct copy_state *copy = state;

    if (copy->call.sandbox != NULL)
        bench_call_fini(&copy->call);
    free(copy->from);
    free(copy->to);
    free(copy);
}

static int copy_open(const struct bench *bench, size_t pages, bool call, void **state,
                     struct mf_error *err)
{
    struct copy_state *copy = calloc(1, sizeof(*copy));
    int status = MF_OK;

    if (copy == NULL)
        return bench_no_memory(err);
    copy->bytes = pages * PAGE;
    copy->from = aligned_alloc(PAGE, copy->bytes);
    copy->to = aligned_alloc(PAGE, copy->bytes);
    if (copy->from == NULL || copy->to == NULL)
        status = bench_no_memory(err);
    else if (call)
        status = bench_call_init(bench, "echo", mf_string(BENCH_TEXT), BENCH_MEMORY_BYTES, 0,
                                 &copy->call, err);
    if (status != MF_OK) {
        copy_close(copy);
        return status;
    }
    memset(copy->from, 0x5a, copy->bytes);
    memset(copy->to, 0xa5, copy->bytes);
    *state = copy;
    return MF_OK;
}

static int open_call_copy_32(const struct bench *bench, void **state, struct mf_error *err)
{
    return copy_open(bench, 32, true, state, err);
}

static int open_call_copy_256(const struct bench *bench, void **state, struct mf_error *err)
{
    return copy_open(bench, 256, true, state, err);
}

static int open_copy(const struct bench *bench, void **state, struct mf_error *err)
{
    return copy_open(bench, TAKE_PAGES, false, state, err);
}

static int copy_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct copy_state *copy = state;
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status = copy->call.sandbox != NULL ? bench_call_once(&copy->call, err) : MF_OK;

        if (status != MF_OK)
            return status;
        memcpy(copy->to, copy->from, copy->bytes);
        /* So that the compiler copies each time. */
        __asm__ volatile("" : : "r"(copy->to) : "memory");
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

#define COPY_MEASURE(id, text, open_fn) \
    const struct bench_measure id = {   \
        .name = text,                   \
        .open = open_fn,                \
        .round = copy_round,            \
        .close = copy_close,            \
    }

COPY_MEASURE(bench_floor_call_copy_32, "a warm call of echo, memcpy of 32 pages",
             open_call_copy_32);
COPY_MEASURE(bench_floor_call_copy_256, "a warm call of echo, memcpy of 256 pages",
             open_call_copy_256);
COPY_MEASURE(bench_floor_copy_32, "memcpy of 32 pages", open_copy);
