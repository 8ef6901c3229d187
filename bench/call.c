/* The measures of warm calls: one sandbox, the same function called again and again. */
#include "measures.h"

#include <stdlib.h>
#include <string.h>

struct call_state {
    struct bench_guest guest;
    struct mf_sandbox *sandbox;
    size_t function;
    struct mf_value argument;
    uint8_t *bytes; /* what a bytes argument points to, or NULL */
};

static void call_close(void *state)
{
    struct call_state *call = state;

    mf_sandbox_destroy(call->sandbox);
    bench_guest_close(&call->guest);
    free(call->bytes);
    free(call);
}

/* One call, whose answer must be as long as the argument. */
static int call_once(struct call_state *call, struct mf_error *err)
{
    struct mf_value answer;
    int status =
        mf_sandbox_call_index(call->sandbox, call->function, &call->argument, 1, &answer, err);

    if (status != MF_OK)
        return status;
    if (answer.type != call->argument.type ||
        (answer.type == MF_STRING ? answer.string.len != call->argument.string.len
                                  : answer.bytes.len != call->argument.bytes.len))
        return mf_fail(err, MF_E_PROTOCOL, "the guest answered something else");
    return MF_OK;
}

static int prepare(const struct bench *bench, struct call_state *call, const char *function,
                   uint64_t mailbox_bytes, struct mf_error *err)
{
    int index, status;

    status = bench_guest_open(bench, NULL, &call->guest, err);
    if (status != MF_OK)
        return status;
    index = mf_image_find_export(call->guest.image, function, err);
    if (index < 0)
        return index;
    call->function = (size_t)index;
    call->guest.options.mailbox_bytes = mailbox_bytes;
    status = mf_sandbox_create(call->guest.image, call->guest.host, &call->guest.options,
                               &call->sandbox, err);
    return status == MF_OK ? call_once(call, err) : status;
}

/* A sandbox that has answered its first call; `bytes` is the caller's no longer. */
static int open_function(const struct bench *bench, const char *function, struct mf_value argument,
                         uint8_t *bytes, uint64_t mailbox_bytes, void **state, struct mf_error *err)
{
    struct call_state *call = calloc(1, sizeof(*call));
    int status;

    if (call == NULL) {
        free(bytes);
        return bench_no_memory(err);
    }
    call->argument = argument;
    call->bytes = bytes;
    status = prepare(bench, call, function, mailbox_bytes, err);
    if (status != MF_OK) {
        call_close(call);
        return status;
    }
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
        int status = call_once(call, err);

        if (status != MF_OK)
            return status;
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

#define CALL_MEASURE(id, text, open_fn) \
    const struct bench_measure id = {   \
        .name = text,                   \
        .open = open_fn,                \
        .round = call_round,            \
        .close = call_close,            \
    }

CALL_MEASURE(bench_call_echo, "mf_sandbox_call_index of echo", open_echo);
CALL_MEASURE(bench_call_host, "mf_sandbox_call_index of echo_tick", open_host);
CALL_MEASURE(bench_call_nested, "mf_sandbox_call_index of relay", open_nested);
CALL_MEASURE(bench_call_bytes, "mf_sandbox_call_index of echo_bytes", open_bytes);
