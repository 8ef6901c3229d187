/* Calls out of the guest: finds the bound host function, runs it, sends its answer. */
#include "base/error.h"
#include "sandbox/call.h"
#include "sandbox/codec.h"
#include "sandbox/large.h"
#include "sandbox/sandbox.h"

void exchange_send(struct mf_sandbox *sandbox, uint32_t offset, const struct frame *frame)
{
    codec_encode(sandbox->exchange.base + offset, frame->size, &frame->header, frame->values,
                 frame->n, frame->references);
    mem_mark(&sandbox->mem, sandbox->exchange.gpa + offset, frame->size);
}

/* Writes an ERROR frame; the message is cut when there is no room for it. */
static int send_error(struct mf_sandbox *sandbox, const struct mf_abi_frame *call, uint32_t offset,
                      int code, const char *text, struct mf_error *err)
{
    uint64_t room = sandbox->exchange.size - offset;
    struct mf_value message = mf_string(text);
    if (codec_frame_size(&message, 1, NULL) > room)
        message = mf_string("failed");
    struct frame frame = {
        .header = {.kind = MF_ABI_FRAME_ERROR, .id = call->id, .status = code},
        .size = (uint32_t)codec_frame_size(&message, 1, NULL),
        .values = &message,
        .n = 1,
    };
    if (frame.size > room)
        return error_set(err, MF_E_PROTOCOL, "the guest left no room for a host call's answer");
    exchange_send(sandbox, offset, &frame);
    sandbox->stats.bytes_in += frame.size;
    return 0;
}

static int send_result(struct mf_sandbox *sandbox, const struct mf_abi_frame *call, uint32_t offset,
                       const struct host_function *function, const struct mf_value *result,
                       struct mf_error *err)
{
    struct mf_error wrong;
    size_t n = function->signature.result == MF_VOID ? 0 : 1;
    int rc = codec_check_result(&function->signature, result, &wrong);
    if (rc != 0)
        return send_error(sandbox, call, offset, rc, wrong.message, err);
    struct frame frame = {.header = {.kind = MF_ABI_FRAME_RESULT, .id = call->id}};
    struct codec_references references;
    /* The guest may look at them longer than the function promised to keep them. */
    const struct large_use use = {.name = function->signature.name,
                                  .what = "bytes of the result",
                                  .level = MAP_LEVEL_EXCHANGE(offset),
                                  .copy = true};
    rc = large_place(sandbox, &use, result, n, sandbox->exchange.size - offset, &references, &frame,
                     &wrong);
    if (rc != 0)
        return send_error(sandbox, call, offset, rc, wrong.message, err);
    exchange_send(sandbox, offset, &frame);
    sandbox->stats.bytes_in += frame.size;
    return 0;
}

/* Runs the function with its arguments; the answer replaces the guest's frame. */
static int run_function(struct mf_sandbox *sandbox, const struct mf_abi_frame *call,
                        uint32_t offset, const struct host_function *function,
                        const struct mf_value *args, struct mf_error *err)
{
    struct host_call here = {
        .outer = sandbox->innermost,
        .exchange_offset = offset,
        .result_start = sandbox->arena.used,
        .result_end = sandbox->arena.used,
        .chunks = sandbox->arena.chunks,
    };
    struct mf_value result = mf_void();
    struct mf_error failure;
    error_clear(&failure);

    sandbox->innermost = &here;
    int rc = function->fn(sandbox, function->context, args, &result, &failure);
    sandbox->innermost = here.outer;

    /* A nested call may have ended the guest, whatever the function made of it. */
    if (sandbox->poisoned)
        return error_set(err, sandbox->poisoned, "%s", sandbox->poison_text);
    if (rc >= 0)
        return send_result(sandbox, call, offset, function, &result, err);
    return send_error(sandbox, call, offset, rc,
                      failure.message[0] ? failure.message : "the host function failed", err);
}

int hostcall_answer(struct mf_sandbox *sandbox, const struct mf_abi_frame *frame, uint32_t offset,
                    struct mf_error *err)
{
    struct mf_value args[MF_ABI_PARAMS_MAX];
    size_t n;
    int import = image_import_by_record(sandbox->image, frame->function);
    if (import < 0)
        return error_set(err, MF_E_PROTOCOL, "the guest called host function %#x, which is none",
                         frame->function);
    if (sandbox->host_calls_left == 0)
        return error_set(err, MF_E_HOST_CALL_LIMIT, "more than %llu host calls in one call",
                         (unsigned long long)sandbox->options.max_host_calls);
    sandbox->host_calls_left--;

    const struct host_function *function = sandbox->imports[import];
    struct codec_references references;
    int rc = codec_decode((const uint8_t *)frame, frame->size, args, &n, &references, err);
    if (rc == 0)
        rc = codec_match_params(&function->signature, args, n, err);
    if (rc != 0)
        return rc;
    sandbox->stats.host_calls++;
    sandbox->stats.bytes_out += frame->size;
    /* Copies, since the function may call the guest, which could change them meanwhile. */
    struct mf_error wrong;
    if (references.mask != 0)
        rc = large_fetch(sandbox, &sandbox->arena, args, n, &references, false, &wrong);
    if (rc == MF_E_TOO_LARGE || rc == MF_E_NO_MEMORY)
        return send_error(sandbox, frame, offset, rc, wrong.message, err);
    if (rc != 0)
        return error_set(err, rc, "%s", wrong.message);
    /* What earlier answers at this place or behind it referred to. */
    map_release(sandbox, MAP_LEVEL_EXCHANGE(offset));
    return run_function(sandbox, frame, offset, function, args, err);
}
