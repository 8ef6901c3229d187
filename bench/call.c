/* The measures of warm calls: one sandbox, the same function called again and again. */
#include "measures.h"

#include <stdlib.h>
#include <string.h>

int bench_call_check(const struct bench_call *call, const struct mf_value *answer,
                     struct mf_error *err)
{
    const struct mf_value *argument = &call->argument;
    bool same = answer->type == argument->type;

    if (same && answer->type == MF_STRING)
        same = answer->string.len == argument->string.len;
    else if (same && answer->type == MF_BYTES)
        same = answer->bytes.len == argument->bytes.len;
    else if (same)
        same = answer->u64 == argument->u64;
    if (!same)
        return mf_fail(err, MF_E_PROTOCOL, "the guest answered something else");
    return MF_OK;
}

int bench_call_once(struct bench_call *call, struct mf_error *err)
{
    struct mf_value answer;
    int status =
        mf_sandbox_call_index(call->sandbox, call->function, &call->argument, 1, &answer, err);

    return status != MF_OK ? status : bench_call_check(call, &answer, err);
}

void bench_call_fini(struct bench_call *call)
{
    mf_sandbox_destroy(call->sandbox);
    call->sandbox = NULL;
    bench_guest_close(&call->guest);
}

int bench_call_init(const struct bench *bench, const char *function, struct mf_value argument,
                    uint64_t memory_bytes, uint64_t mailbox_bytes, struct bench_call *call,
                    struct mf_error *err)
{
    int index, status;

    memset(call, 0, sizeof(*call));
    call->argument = argument;
    status = bench_guest_open(bench, NULL, &call->guest, err);
    if (status != MF_OK)
        return status;
    call->guest.options.memory_bytes = memory_bytes;
    call->guest.options.mailbox_bytes = mailbox_bytes;
    index = mf_image_find_export(call->guest.image, function, err);
    status = index < 0 ? index
                       : mf_sandbox_create(call->guest.image, call->guest.host,
                                           &call->guest.options, &call->sandbox, err);
    if (status == MF_OK) {
        call->function = (size_t)index;
        status = bench_call_once(call, err);
    }
    if (status != MF_OK)
        bench_call_fini(call);
    return status;
}

struct call_state {
    struct bench_call call;
    uint8_t *bytes; /* what a bytes argument points to, or NULL */
};

static void call_close(void *state)
{
    struct call_state *call = state;

    bench_call_fini(&call->call);
    free(call->bytes);
    free(call);
}

/* A sandbox that has answered its first call; `bytes` is the caller's no longer. */
static int open_function(const struct bench *bench, const char *function, struct mf_value argument,
                         uint8_t *bytes, uint64_t mailbox_bytes, void **state, struct mf_error *err)
{
    struct call_state *call = calloc(1, sizeof(*call));
    int status = call == NULL ? bench_no_memory(err)
                              : bench_call_init(bench, function, argument, BENCH_MEMORY_BYTES,
                                                mailbox_bytes, &call->call, err);

    if (status != MF_OK) {
        free(bytes);
        free(call);
        return status;
    }
    call->bytes = bytes;
    *state = call;
    return MF_OK;
}

static int open_echo(const struct bench *bench, void **state, struct mf_error *err)
{
    return open_function(bench, "echo", mf_string(BENCH_TEXT), NULL, 0, state, err);
}

static int open_host(const struct bench *bench, void **state, struct mf_error *err)
{
    return open_function(bench, "echo_tick", mf_string(BENCH_TEXT), NULL, 0, state, err);
}

static int open_nested(const struct bench *bench, void **state, struct mf_error *err)
{
    return open_function(bench, "relay", mf_string(BENCH_TEXT), NULL, 0, state, err);
}

static int open_bytes(const struct bench *bench, void **state, struct mf_error *err)
{
    uint8_t *bytes = malloc(BENCH_BYTES);

    if (bytes == NULL)
        return bench_no_memory(err);
    memset(bytes, 0x5a, BENCH_BYTES);
    return open_function(bench, "echo_bytes", mf_bytes(bytes, BENCH_BYTES), bytes, 4 * BENCH_BYTES,
                         state, err);
}

static int call_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct call_state *call = state;
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status = bench_call_once(&call->call, err);

        if (status != MF_OK)
            return status;
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

static struct mf_sandbox *call_sandbox(void *state)
{
    struct call_state *call = state;

    return call->call.sandbox;
}

#define CALL_MEASURE(id, text, open_fn) \
    const struct bench_measure id = {   \
        .name = text,                   \
        .open = open_fn,                \
        .round = call_round,            \
        .close = call_close,            \
        .sandbox = call_sandbox,        \
    }

CALL_MEASURE(bench_call_echo, "mf_sandbox_call_index of echo", open_echo);
CALL_MEASURE(bench_call_host, "mf_sandbox_call_index of echo_tick", open_host);
CALL_MEASURE(bench_call_nested, "mf_sandbox_call_index of relay", open_nested);
CALL_MEASURE(bench_call_bytes, "mf_sandbox_call_index of echo_bytes", open_bytes);
