/* The measures of a sandbox's whole life: from its image, or from a snapshot. */
#include "measures.h"

#include <stdlib.h>

struct life_state {
    const struct bench *bench;
    struct bench_guest guest;
    struct mf_snapshot *snapshot; /* NULL: from the image */
    size_t function;
};

static void life_close(void *state)
{
    struct life_state *life = state;

    mf_snapshot_close(life->snapshot);
    bench_guest_close(&life->guest);
    free(life);
}

static int life_open(const struct bench *bench, bool from, void **state, struct mf_error *err)
{
    struct life_state *life = calloc(1, sizeof(*life));
    int status, index;

    if (life == NULL)
        return bench_no_memory(err);
    status = from ? bench_snapshot_open(bench, &life->guest, &life->snapshot, err)
                  : bench_guest_open(bench, NULL, &life->guest, err);
    if (status != MF_OK) {
        free(life);
        return status;
    }
    index = mf_image_find_export(life->guest.image, "echo", err);
    if (index < 0) {
        life_close(life);
        return index;
    }
    life->bench = bench;
    life->function = (size_t)index;
    *state = life;
    return MF_OK;
}

static int open_image(const struct bench *bench, void **state, struct mf_error *err)
{
    return life_open(bench, false, state, err);
}

static int open_snapshot(const struct bench *bench, void **state, struct mf_error *err)
{
    return life_open(bench, true, state, err);
}

/* A sandbox that has answered one call. */
static int create_and_call(struct life_state *life, struct mf_sandbox **out, struct mf_error *err)
{
    const struct bench_guest *guest = &life->guest;
    struct mf_value argument = mf_string(BENCH_TEXT);
    int status;

    if (life->snapshot != NULL)
        status = mf_sandbox_create_from(life->snapshot, guest->host, &guest->options, out, err);
    else
        status = mf_sandbox_create(guest->image, guest->host, &guest->options, out, err);
    if (status != MF_OK)
        return status;
    status = mf_sandbox_call_index(*out, life->function, &argument, 1, NULL, err);
    if (status != MF_OK)
        mf_sandbox_destroy(*out);
    return status;
}

static int create_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct life_state *life = state;
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        struct mf_sandbox *sandbox;
        int status = create_and_call(life, &sandbox, err);

        if (status != MF_OK)
            return status;
        bench_watch(life->bench, sandbox);
        mf_sandbox_destroy(sandbox);
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

const struct bench_measure bench_create = {
    .name = "mf_sandbox_create, a call, mf_sandbox_destroy",
    .open = open_image,
    .round = create_round,
    .close = life_close,
};

const struct bench_measure bench_create_from = {
    .name = "mf_sandbox_create_from, a call, mf_sandbox_destroy",
    .open = open_snapshot,
    .round = create_round,
    .close = life_close,
};
