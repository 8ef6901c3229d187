/*
 * Calls into the guest. The outermost call goes through the rings, a nested one
 * (from a host function) through the exchange area; see abi/mailbox.h. Nothing is
 * allocated on this path: frames are encoded into shared memory directly, and
 * answers are copied to the sandbox's arena.
 */
#include "base/checked.h"
#include "base/error.h"
#include "sandbox/codec.h"
#include "sandbox/sandbox.h"

#include <string.h>

/* Copies from a ring (where a frame may run over the end) or a plain area. */
static void area_copy(void *dst, const struct mailbox_area *area, uint64_t offset, uint64_t len)
{
    uint64_t at = offset & (area->size - 1);
    uint64_t first = MIN(len, area->size - at);
    memcpy(dst, area->base + at, first);
    memcpy((uint8_t *)dst + first, area->base, len - first);
}

int frame_copy(struct mf_sandbox *sandbox, const struct mailbox_area *area, uint64_t offset,
               uint64_t limit, struct mf_abi_frame **copy, struct mf_error *err)
{
    struct mf_abi_frame header;
    if (limit < sizeof header)
        return error_set(err, MF_E_PROTOCOL, "the guest left a frame of %llu bytes",
                         (unsigned long long)limit);
    area_copy(&header, area, offset, sizeof header);
    if (header.size < sizeof header || header.size > limit || header.size % MF_ABI_FRAME_ALIGN ||
        header.count > MF_ABI_PARAMS_MAX)
        return error_set(err, MF_E_PROTOCOL, "the guest left a malformed frame (size %u, count %u)",
                         header.size, header.count);
    uint8_t *bytes = arena_alloc(&sandbox->arena, header.size);
    if (!bytes)
        return error_set(err, MF_E_PROTOCOL,
                         "calls and scratch hold more than four times the mailbox; "
                         "raise mailbox_bytes");
    /* The guest may have changed the bytes since: only the checked header counts. */
    area_copy(bytes, area, offset, header.size);
    memcpy(bytes, &header, sizeof header);
    *copy = (struct mf_abi_frame *)bytes;
    return 0;
}

static int frame_error(const struct mf_abi_frame *frame, const struct mf_signature *signature,
                       const struct mf_value *values, size_t n, struct mf_error *err)
{
    if (n != 1 || values[0].type != MF_STRING)
        return error_set(err, MF_E_PROTOCOL, "the guest sent an error without a message");
    int code = frame->status == MF_E_TOO_LARGE ? MF_E_TOO_LARGE : MF_E_GUEST_ERROR;
    return error_set(err, code, "%s: %s", signature->name, values[0].string.data);
}

int frame_answer(struct mf_sandbox *sandbox, const struct mf_abi_frame *frame, uint64_t id,
                 const struct mf_signature *signature, struct mf_value *result,
                 struct mf_error *err)
{
    struct mf_value values[MF_ABI_PARAMS_MAX];
    size_t n;
    if (frame->id != id)
        return error_set(err, MF_E_PROTOCOL, "the guest answered call %llu instead of %llu",
                         (unsigned long long)frame->id, (unsigned long long)id);
    int rc = codec_decode((const uint8_t *)frame, frame->size, values, &n, err);
    if (rc != 0)
        return rc;
    sandbox->stats.bytes_out += frame->size;
    if (frame->kind == MF_ABI_FRAME_ERROR)
        return frame_error(frame, signature, values, n, err);
    if (frame->kind != MF_ABI_FRAME_RESULT)
        return error_set(err, MF_E_PROTOCOL, "the guest answered with a frame of kind %u",
                         frame->kind);
    rc = codec_match_result(signature, values, n, err);
    if (rc == 0 && result)
        *result = n == 1 ? values[0] : mf_void();
    return rc;
}

/* Errors that a call can give while the guest is sound and goes on. */
static bool is_soft_error(int code)
{
    return code == MF_E_GUEST_ERROR || code == MF_E_TOO_LARGE;
}

static int too_large(const struct mf_signature *signature, uint64_t size, uint64_t room,
                     struct mf_error *err)
{
    return error_set(err, MF_E_TOO_LARGE,
                     "the arguments of %s take %llu bytes, the mailbox has room for %llu: raise "
                     "mailbox_bytes (option --mailbox)",
                     signature->name, (unsigned long long)size, (unsigned long long)room);
}

static struct mf_abi_frame call_header(struct mf_sandbox *sandbox,
                                       const struct image_function *function)
{
    return (struct mf_abi_frame){
        .kind = MF_ABI_FRAME_CALL,
        .id = ++sandbox->next_id,
        .function = function->record,
    };
}

/*
 * Posts one frame. The guest waits with all calls answered, so the rings can
 * begin at their start again: warm calls then use the same few cache lines.
 */
static void post_call(struct mf_sandbox *sandbox, const struct mf_abi_frame *header, uint32_t size,
                      const struct mf_value *args, size_t nargs)
{
    struct mf_abi_control *control = sandbox->control;
    codec_encode(sandbox->call_ring.base, size, header, args, nargs);
    control->call_head = 0;
    control->result_tail = 0;
    control->result_head = 0;
    __atomic_store_n(&control->call_tail, size, __ATOMIC_RELEASE);
    sandbox->stats.bytes_in += size;
}

/* Takes the one answer out of the result ring. */
static int take_result(struct mf_sandbox *sandbox, uint64_t id,
                       const struct mf_signature *signature, struct mf_value *result,
                       struct mf_error *err)
{
    uint64_t tail = __atomic_load_n(&sandbox->control->result_tail, __ATOMIC_ACQUIRE);
    struct mf_abi_frame *frame;
    if (tail > sandbox->result_ring.size)
        return error_set(err, MF_E_PROTOCOL, "the guest moved the result ring to %llu",
                         (unsigned long long)tail);
    int rc = frame_copy(sandbox, &sandbox->result_ring, 0, tail, &frame, err);
    if (rc != 0)
        return rc;
    if (frame->size != tail)
        return error_set(err, MF_E_PROTOCOL, "the guest left more than one answer to one call");
    return frame_answer(sandbox, frame, id, signature, result, err);
}

static int call_outermost(struct mf_sandbox *sandbox, const struct image_function *function,
                          const struct mf_value *args, size_t nargs, struct mf_value *result,
                          struct mf_error *err)
{
    uint64_t size = codec_frame_size(args, nargs);
    if (size > sandbox->call_ring.size)
        return too_large(&function->signature, size, sandbox->call_ring.size, err);
    struct mf_abi_frame header = call_header(sandbox, function);
    sandbox->arena.used = 0;
    post_call(sandbox, &header, (uint32_t)size, args, nargs);

    struct run_result run;
    int rc = run_guest(sandbox, &run, err);
    if (rc != 0)
        return rc;
    if (run.end == RUN_EXITED)
        rc = error_set(err, MF_E_GUEST_EXIT, "the guest exited with status %d during a call of %s",
                       run.status, function->signature.name);
    else if (run.end != RUN_READY)
        rc = error_set(err, MF_E_PROTOCOL, "the guest answered a nested call that nobody made");
    else
        rc = take_result(sandbox, header.id, &function->signature, result, err);
    if (rc != 0 && !is_soft_error(rc))
        sandbox_poison(sandbox, err);
    return rc;
}

/*
 * A host function calls the guest that called it: the frame takes the place of
 * the guest's own HOST_CALL frame, and the answer comes to the same place. What
 * was in the arena before stays: the host function uses it.
 */
static int call_nested(struct mf_sandbox *sandbox, const struct image_function *function,
                       const struct mf_value *args, size_t nargs, struct mf_value *result,
                       struct mf_error *err)
{
    struct host_call *caller = sandbox->innermost;
    uint32_t offset = caller->exchange_offset;
    uint64_t room = sandbox->exchange.size - offset;
    uint64_t size = codec_frame_size(args, nargs);
    /* This call and the outermost, which is not nested, are both counted in depth. */
    if (sandbox->depth - 1 > sandbox->options.max_depth)
        return error_set(err, MF_E_DEPTH, "%s: %u calls are nested already (max_depth)",
                         function->signature.name, sandbox->depth - 2);
    if (size > room)
        return too_large(&function->signature, size, room, err);
    struct mf_abi_frame header = call_header(sandbox, function);
    codec_encode(sandbox->exchange.base + offset, (uint32_t)size, &header, args, nargs);
    sandbox->stats.bytes_in += size;

    /* The answer before this one is no longer needed; scratch taken since then is. */
    if (sandbox->arena.used == caller->result_end)
        sandbox->arena.used = caller->result_start;
    caller->result_start = sandbox->arena.used;

    struct run_result run;
    struct mf_abi_frame *frame;
    int rc = run_guest(sandbox, &run, err);
    if (rc != 0)
        return rc;
    if (run.end == RUN_EXITED)
        rc = error_set(err, MF_E_GUEST_EXIT, "the guest exited with status %d during a call of %s",
                       run.status, function->signature.name);
    else if (run.end != RUN_ANSWER || run.exchange_offset != offset)
        rc = error_set(err, MF_E_PROTOCOL, "the guest did not answer a nested call where it was");
    else
        rc = frame_copy(sandbox, &sandbox->exchange, offset, room, &frame, err);
    caller->result_end = sandbox->arena.used;
    if (rc == 0)
        rc = frame_answer(sandbox, frame, header.id, &function->signature, result, err);
    if (rc != 0 && !is_soft_error(rc))
        sandbox_poison(sandbox, err);
    return rc;
}

/* An interrupt that came while nothing ran: this call takes it, and runs nothing. */
static int take_early_interrupt(struct mf_sandbox *sandbox, struct mf_error *err)
{
    if (!(atomic_load(&sandbox->limits.reasons) & STOP_INTERRUPT))
        return 0;
    limits_take(&sandbox->limits);
    return error_set(err, MF_E_INTERRUPTED, "interrupted before the guest ran");
}

/* Begins the outermost use of a sandbox: limits are armed until end_use. */
static int begin_use(struct mf_sandbox *sandbox, uint64_t timeout_ns, struct mf_error *err)
{
    int rc = take_early_interrupt(sandbox, err);
    if (rc != 0)
        return rc;
    sandbox->state = SANDBOX_RUNNING;
    sandbox->depth = 1;
    sandbox->host_calls_left = sandbox->options.max_host_calls;
    limits_arm(&sandbox->limits, timeout_ns, sandbox->options.cpu_time_ns);
    return 0;
}

static void end_use(struct mf_sandbox *sandbox)
{
    limits_disarm(&sandbox->limits);
    sandbox->depth = 0;
    sandbox->state = sandbox->poisoned ? SANDBOX_ENDED : SANDBOX_READY;
}

/* The caller's *err may be NULL, but a poisoned sandbox must keep its reason. */
static struct mf_error *own_error(struct mf_error *err, struct mf_error *own)
{
    error_clear(own);
    return err ? err : own;
}

int mf_sandbox_start(struct mf_sandbox *sandbox, struct mf_error *err)
{
    struct mf_error own;
    err = own_error(err, &own);
    int rc = sandbox_check_alive(sandbox, err);
    if (rc != 0)
        return rc;
    if (sandbox->state != SANDBOX_NEW)
        return error_set(err, MF_E_STATE, "the guest ran already");
    if (sandbox->image->nexports == 0)
        return error_set(err, MF_E_STATE,
                         "%s exports no functions: run it as a program (mf_sandbox_run)",
                         sandbox->image->name);
    rc = begin_use(sandbox, sandbox->options.init_timeout_ns, err);
    if (rc != 0)
        return rc;
    run_prepare(sandbox, MF_ABI_MODE_CALL);
    struct run_result run;
    rc = run_guest(sandbox, &run, err);
    if (rc == 0 && run.end != RUN_READY) {
        rc = run.end == RUN_EXITED
                 ? error_set(err, MF_E_GUEST_EXIT,
                             "the guest exited with status %d before it was ready for calls (a "
                             "main of its own must call mf_serve)",
                             run.status)
                 : error_set(err, MF_E_PROTOCOL, "the guest answered a call that nobody made");
        sandbox_poison(sandbox, err);
    }
    end_use(sandbox);
    return rc;
}

static int call_function(struct mf_sandbox *sandbox, const struct image_function *function,
                         const struct mf_value *args, size_t nargs, struct mf_value *result,
                         struct mf_error *err)
{
    int rc = codec_check_args(&function->signature, args, nargs, err);
    if (rc != 0)
        return rc;
    if (sandbox->state == SANDBOX_RUNNING) {
        if (!sandbox->innermost)
            return error_set(err, MF_E_STATE, "the sandbox is in use");
        sandbox->depth++;
        rc = call_nested(sandbox, function, args, nargs, result, err);
        sandbox->depth--;
    } else {
        if (sandbox->state == SANDBOX_NEW && (rc = mf_sandbox_start(sandbox, err)) != 0)
            return rc;
        if ((rc = begin_use(sandbox, sandbox->options.timeout_ns, err)) != 0)
            return rc;
        rc = call_outermost(sandbox, function, args, nargs, result, err);
        end_use(sandbox);
    }
    if (rc == 0 || rc == MF_E_GUEST_ERROR)
        sandbox->stats.calls++;
    return rc;
}

int mf_sandbox_call_index(struct mf_sandbox *sandbox, size_t index, const struct mf_value *args,
                          size_t nargs, struct mf_value *result, struct mf_error *err)
{
    struct mf_error own;
    err = own_error(err, &own);
    int rc = sandbox_check_alive(sandbox, err);
    if (rc != 0)
        return rc;
    if (index >= sandbox->image->nexports)
        return error_set(err, MF_E_NO_FUNCTION, "%s exports %zu functions; there is no number %zu",
                         sandbox->image->name, sandbox->image->nexports, index);
    return call_function(sandbox, &sandbox->image->exports[index], args, nargs, result, err);
}

int mf_sandbox_call(struct mf_sandbox *sandbox, const char *name, const struct mf_value *args,
                    size_t nargs, struct mf_value *result, struct mf_error *err)
{
    struct mf_error own;
    err = own_error(err, &own);
    int index = mf_image_find_export(sandbox->image, name, err);
    if (index < 0)
        return index;
    return mf_sandbox_call_index(sandbox, (size_t)index, args, nargs, result, err);
}

int mf_sandbox_run(struct mf_sandbox *sandbox, int *status, struct mf_error *err)
{
    struct mf_error own;
    err = own_error(err, &own);
    int rc = sandbox_check_alive(sandbox, err);
    if (rc != 0)
        return rc;
    if (sandbox->state != SANDBOX_NEW)
        return error_set(err, MF_E_STATE, "the guest ran already");
    rc = begin_use(sandbox, sandbox->options.timeout_ns, err);
    if (rc != 0)
        return rc;
    run_prepare(sandbox, MF_ABI_MODE_RUN);
    struct run_result run;
    rc = run_guest(sandbox, &run, err);
    if (rc == 0 && run.end != RUN_EXITED) {
        rc = error_set(err, MF_E_PROTOCOL,
                       "the guest waits for calls, but it was run as a program");
        sandbox_poison(sandbox, err);
    }
    end_use(sandbox);
    if (rc == 0) {
        sandbox->state = SANDBOX_ENDED;
        if (status)
            *status = run.status;
    }
    return rc;
}
