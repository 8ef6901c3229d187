/* The measure of batches: many calls of echo with one entry, per call. */
#include "measures.h"

#include <stdlib.h>

struct batch_state {
    struct bench_call call;
    struct mf_call calls[BENCH_BATCH];
};

static void batch_close(void *state)
{
    struct batch_state *batch = state;

    bench_call_fini(&batch->call);
    free(batch);
}

static int batch_open(const struct bench *bench, void **state, struct mf_error *err)
{
    struct batch_state *batch = calloc(1, sizeof(*batch));
    unsigned i;
    int status;

    if (batch == NULL)
        return bench_no_memory(err);
    status = bench_call_init(bench, "echo", mf_string(BENCH_TEXT), BENCH_MEMORY_BYTES, 0,
                             &batch->call, err);
    if (status != MF_OK) {
        free(batch);
        return status;
    }
    for (i = 0; i < BENCH_BATCH; i++) {
        batch->calls[i].function = batch->call.function;
        batch->calls[i].args = &batch->call.argument;
        batch->calls[i].nargs = 1;
    }
    *state = batch;
    return MF_OK;
}

static int batch_once(struct batch_state *batch, struct mf_error *err)
{
    int status = mf_sandbox_call_batch(batch->call.sandbox, batch->calls, BENCH_BATCH, err);
    unsigned i;

    for (i = 0; i < BENCH_BATCH && status == MF_OK; i++) {
        const struct mf_call *call = &batch->calls[i];

        status = call->status;
        if (status != MF_OK && err != NULL)
            *err = call->error;
        else if (status == MF_OK)
            status = bench_call_check(&batch->call, &call->result, err);
    }
    return status;
}

static int batch_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct batch_state *batch = state;
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status = batch_once(batch, err);

        if (status != MF_OK)
            return status;
    }
    *value = (bench_now_us() - start) / operations / BENCH_BATCH;
    return MF_OK;
}

static struct mf_sandbox *batch_sandbox(void *state)
{
    struct batch_state *batch = state;

    return batch->call.sandbox;
}

const struct bench_measure bench_batch = {
    .name = "mf_sandbox_call_batch of 64 times echo",
    .open = batch_open,
    .round = batch_round,
    .close = batch_close,
    .sandbox = batch_sandbox,
};
