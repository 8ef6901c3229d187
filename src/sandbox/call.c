/*
 * Calls into the guest. The outermost call and batches go through the rings, a
 * nested call (from a host function) through the exchange area; see abi/mailbox.h.
 * Nothing is allocated on this path unless a value does not fit into a frame: frames are
 * encoded into shared memory directly, and answers are copied to the sandbox's arena.
 */
#include "base/checked.h"
#include "base/error.h"
#include "sandbox/attend.h"
#include "sandbox/call.h"
#include "sandbox/codec.h"
#include "sandbox/large.h"
#include "sandbox/sandbox.h"

#include <string.h>

static int frame_error(const struct mf_abi_frame *frame, const struct mf_signature *signature,
                       const struct mf_value *values, size_t n, struct mf_error *err)
{
    if (n != 1 || values[0].type != MF_STRING)
        return error_set(err, MF_E_PROTOCOL, "the guest sent an error without a message");
    int code = frame->status == MF_E_TOO_LARGE ? MF_E_TOO_LARGE : MF_E_GUEST_ERROR;
    return error_set(err, code, "%s: %s", signature->name, values[0].string.data);
}

int frame_answer(struct mf_sandbox *sandbox, struct arena *arena, const struct mf_abi_frame *frame,
                 uint64_t id, const struct mf_signature *signature, bool view,
                 struct mf_value *result, struct mf_error *err)
{
    struct mf_value values[MF_ABI_PARAMS_MAX];
    struct codec_references references;
    size_t n;
    if (frame->id != id)
        return error_set(err, MF_E_PROTOCOL, "the guest answered call %llu instead of %llu",
                         (unsigned long long)frame->id, (unsigned long long)id);
    int rc = codec_decode((const uint8_t *)frame, frame->size, values, &n, &references, err);
    if (rc != 0)
        return rc;
    sandbox->stats.bytes_out += frame->size;
    /* Types first: only what the signature allows is fetched, and at most one value. */
    if (frame->kind == MF_ABI_FRAME_RESULT)
        rc = codec_match_result(signature, values, n, err);
    else if (frame->kind != MF_ABI_FRAME_ERROR)
        rc = error_set(err, MF_E_PROTOCOL, "the guest answered with a frame of kind %u",
                       frame->kind);
    else if (references.mask != 0)
        rc = error_set(err, MF_E_PROTOCOL, "the guest sent an error message by reference");
    if (rc == 0 && references.mask != 0)
        rc = large_fetch(sandbox, arena, values, n, &references, view, err);
    if (rc != 0)
        return rc;
    if (frame->kind == MF_ABI_FRAME_ERROR)
        return frame_error(frame, signature, values, n, err);
    if (result)
        *result = n == 1 ? values[0] : mf_void();
    return 0;
}

bool call_is_soft_error(int code)
{
    return code == MF_E_GUEST_ERROR || code == MF_E_TOO_LARGE;
}

int call_prepare(struct mf_sandbox *sandbox, const struct image_function *function,
                 const struct mf_value *args, size_t nargs, uint64_t room,
                 struct codec_references *references, struct frame *frame, struct mf_error *err)
{
    const struct host_call *caller = sandbox->innermost;
    const struct large_use use = {
        .name = function->signature.name,
        .what = "arguments",
        .level = caller ? MAP_LEVEL_EXCHANGE(caller->exchange_offset) : MAP_LEVEL_CALL,
    };
    int rc = large_place(sandbox, &use, args, nargs, room, references, frame, err);
    if (rc != 0)
        return rc;
    frame->header = (struct mf_abi_frame){
        .kind = MF_ABI_FRAME_CALL,
        .id = ++sandbox->next_id,
        .function = function->record,
    };
    sandbox->stats.bytes_in += frame->size;
    return 0;
}

int call_finish(struct mf_sandbox *sandbox, int rc, struct mf_error *err)
{
    if (sandbox->mappings.count == 0)
        return rc;
    map_release(sandbox, MAP_LEVEL_CALL);
    if (sandbox->poisoned)
        return rc;
    struct mf_error own;
    int written = map_write_back(sandbox, rc == 0 ? err : &own);
    return rc == 0 ? written : rc;
}

int call_check_end(const struct run_result *run, const char *name, struct mf_error *err)
{
    if (run->end == RUN_EXITED)
        return error_set(err, MF_E_GUEST_EXIT,
                         "the guest exited with status %d during a call of %s", run->status, name);
    if (run->end != RUN_READY)
        return error_set(err, MF_E_PROTOCOL, "the guest answered a nested call that nobody made");
    return 0;
}

/* Takes the one answer out of the result ring. */
static int take_result(struct mf_sandbox *sandbox, uint64_t id,
                       const struct mf_signature *signature, struct mf_value *result,
                       struct mf_error *err)
{
    struct mf_abi_frame *frame;
    int rc = ring_take(&sandbox->rings, &sandbox->arena, &frame, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return error_set(err, MF_E_PROTOCOL, "the guest did not answer a call of %s",
                         signature->name);
    if (ring_has_answer(&sandbox->rings))
        return error_set(err, MF_E_PROTOCOL, "the guest left more than one answer to one call");
    return frame_answer(sandbox, &sandbox->arena, frame, id, signature, true, result, err);
}

int call_run_call(struct mf_sandbox *sandbox, struct mf_value *result, struct mf_error *err)
{
    const struct mf_signature *signature =
        &sandbox->image->exports[sandbox->pending.function].signature;
    struct run_result run;
    int rc = run_guest(sandbox, &run, err);
    if (rc != 0)
        return rc;
    rc = call_check_end(&run, signature->name, err);
    if (rc == 0)
        rc = take_result(sandbox, sandbox->pending.id, signature, result, err);
    if (rc != 0 && !call_is_soft_error(rc))
        sandbox_poison(sandbox, err);
    return rc;
}

bool call_uses_arena(const struct mf_sandbox *sandbox, const struct mf_value *args, size_t nargs)
{
    for (size_t i = 0; i < nargs; i++)
        if ((args[i].type == MF_STRING || args[i].type == MF_BYTES) &&
            arena_holds(&sandbox->arena, args[i].bytes.data)) /* the same member for strings */
            return true;
    return false;
}

/*
 * The guest waits with all calls answered, so the rings can begin at their start
 * again: warm calls then use the same few cache lines.
 */
static int call_outermost(struct mf_sandbox *sandbox, const struct image_function *function,
                          const struct mf_value *args, size_t nargs, struct mf_value *result,
                          struct mf_error *err)
{
    struct codec_references references;
    struct frame frame;
    bool keep = call_uses_arena(sandbox, args, nargs);
    struct arena_chunk *before = arena_detach(&sandbox->arena, keep);
    int rc = call_prepare(sandbox, function, args, nargs, sandbox->rings.call.size, &references,
                          &frame, err);
    if (rc == 0) {
        ring_reset(&sandbox->rings);
        rc = ring_post(&sandbox->rings, &frame, &sandbox->arena, err);
    }
    if (rc == 0) {
        sandbox->pending = (struct sandbox_pending){
            .kind = MF_STOPPED_CALL,
            .function = (uint32_t)(function - sandbox->image->exports),
            .id = frame.header.id,
        };
        rc = call_run_call(sandbox, result, err);
    }
    if (before) /* large arguments may be mapped from there */
        map_release(sandbox, MAP_LEVEL_CALL);
    arena_discard(before);
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
    struct codec_references references;
    struct frame frame;
    /* This call and the outermost, which is not nested, are both counted in depth. */
    if (sandbox->depth - 1 > sandbox->options.max_depth)
        return error_set(err, MF_E_DEPTH, "%s: %u calls are nested already (max_depth)",
                         function->signature.name, sandbox->depth - 2);
    int rc = call_prepare(sandbox, function, args, nargs, room, &references, &frame, err);
    if (rc != 0)
        return rc;
    exchange_send(sandbox, offset, &frame);

    /* The answer before this one is no longer needed; scratch taken since then is. */
    if (sandbox->arena.used == caller->result_end)
        sandbox->arena.used = caller->result_start;
    caller->result_start = sandbox->arena.used;

    struct run_result run;
    struct mf_abi_frame *answer;
    struct arena_chunk *before = sandbox->arena.chunks;
    rc = run_guest(sandbox, &run, err);
    if (rc != 0)
        return rc;
    if (run.end == RUN_EXITED)
        rc = call_check_end(&run, function->signature.name, err);
    else if (run.end != RUN_ANSWER || run.exchange_offset != offset)
        rc = error_set(err, MF_E_PROTOCOL, "the guest did not answer a nested call where it was");
    else
        rc = frame_copy(&sandbox->arena, &sandbox->exchange, offset, room, false, &answer, err);
    caller->result_end = sandbox->arena.used;
    if (rc == 0)
        rc = frame_answer(sandbox, &sandbox->arena, answer, frame.header.id, &function->signature,
                          false, result, err);
    /* Only now: this call's arguments may be the answer before, and its result an argument. */
    map_release(sandbox, MAP_LEVEL_EXCHANGE(offset));
    arena_drop_chunks(&sandbox->arena, before, caller->chunks);
    if (rc != 0 && !call_is_soft_error(rc))
        sandbox_poison(sandbox, err);
    return rc;
}

/* An interrupt that came while nothing ran: this call takes it, and runs nothing. */
static int take_early_interrupt(struct mf_sandbox *sandbox, struct mf_error *err)
{
    if (!(atomic_load(&sandbox->limits.reasons) & STOP_INTERRUPT))
        return 0;
    limits_take_some(&sandbox->limits, STOP_INTERRUPT);
    return error_set(err, MF_E_INTERRUPTED, "interrupted before the guest ran");
}

int call_begin_use(struct mf_sandbox *sandbox, uint64_t timeout_ns, struct mf_error *err)
{
    int rc = pause_enter(sandbox, err);
    if (rc != 0)
        return rc;
    rc = take_early_interrupt(sandbox, err);
    if (rc != 0) {
        pause_leave(sandbox);
        return rc;
    }
    sandbox->state = SANDBOX_RUNNING;
    sandbox->depth = 1;
    sandbox->host_calls_left = sandbox->options.max_host_calls;
    limits_arm(&sandbox->limits, timeout_ns, sandbox->options.cpu_time_ns);
    return 0;
}

static void end_use(struct mf_sandbox *sandbox, bool ended)
{
    limits_disarm(&sandbox->limits);
    sandbox->depth = 0;
    if (!sandbox->stopped)
        sandbox->pending.kind = MF_STOPPED_NOTHING;
    sandbox->state = ended || sandbox->poisoned ? SANDBOX_ENDED : SANDBOX_READY;
    pause_leave(sandbox);
}

void call_end_use(struct mf_sandbox *sandbox)
{
    end_use(sandbox, false);
}

void call_end_run(struct mf_sandbox *sandbox)
{
    end_use(sandbox, true);
}

/* The caller's *err may be NULL, but a poisoned sandbox must keep its reason. */
static struct mf_error *own_error(struct mf_error *err, struct mf_error *own)
{
    error_clear(own);
    return err ? err : own;
}

int call_run_start(struct mf_sandbox *sandbox, struct mf_error *err)
{
    struct run_result run;
    int rc = run_guest(sandbox, &run, err);
    if (rc != 0 || run.end == RUN_READY)
        return rc;
    rc = run.end == RUN_EXITED
             ? error_set(err, MF_E_GUEST_EXIT,
                         "the guest exited with status %d before it was ready for calls (a "
                         "main of its own must call mf_serve)",
                         run.status)
             : error_set(err, MF_E_PROTOCOL, "the guest answered a call that nobody made");
    return sandbox_poison(sandbox, err);
}

int mf_sandbox_start(struct mf_sandbox *sandbox, struct mf_error *err)
{
    struct mf_error own;
    err = own_error(err, &own);
    if (attend_of(sandbox))
        return error_set(err, MF_E_STATE, "the guest ran already: the sandbox is attentive");
    int rc = sandbox_check_alive(sandbox, err);
    if (rc != 0)
        return rc;
    if (sandbox->state != SANDBOX_NEW)
        return error_set(err, MF_E_STATE, "the guest ran already");
    if (sandbox->image->nexports == 0)
        return error_set(err, MF_E_STATE,
                         "%s exports no functions: run it as a program (mf_sandbox_run)",
                         sandbox->image->name);
    rc = call_begin_use(sandbox, sandbox->options.init_timeout_ns, err);
    if (rc != 0)
        return rc;
    sandbox->pending.kind = MF_STOPPED_START;
    run_prepare(sandbox, MF_ABI_MODE_CALL);
    rc = call_run_start(sandbox, err);
    call_end_use(sandbox);
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
        if ((rc = call_begin_use(sandbox, sandbox->options.timeout_ns, err)) != 0)
            return rc;
        rc = call_outermost(sandbox, function, args, nargs, result, err);
        rc = call_finish(sandbox, rc, err);
        call_end_use(sandbox);
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
    if (index >= sandbox->image->nexports)
        return error_set(err, MF_E_NO_FUNCTION, "%s exports %zu functions; there is no number %zu",
                         sandbox->image->name, sandbox->image->nexports, index);
    const struct image_function *function = &sandbox->image->exports[index];
    struct attendance *attendance = attend_of(sandbox);
    if (attendance)
        return attend_call(sandbox, attendance, function, args, nargs, result, err);
    int rc = sandbox_check_alive(sandbox, err);
    return rc == 0 ? call_function(sandbox, function, args, nargs, result, err) : rc;
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

int call_run_main(struct mf_sandbox *sandbox, int *status, struct mf_error *err)
{
    struct run_result run;
    int rc = run_guest(sandbox, &run, err);
    if (rc != 0)
        return rc;
    if (run.end == RUN_EXITED) {
        if (status)
            *status = run.status;
        return 0;
    }
    error_set(err, MF_E_PROTOCOL, "the guest waits for calls, but it was run as a program");
    return sandbox_poison(sandbox, err);
}

int mf_sandbox_run(struct mf_sandbox *sandbox, int *status, struct mf_error *err)
{
    struct mf_error own;
    err = own_error(err, &own);
    if (attend_of(sandbox))
        return error_set(err, MF_E_STATE, "the guest ran already: the sandbox is attentive");
    int rc = sandbox_check_alive(sandbox, err);
    if (rc != 0)
        return rc;
    if (sandbox->state != SANDBOX_NEW)
        return error_set(err, MF_E_STATE, "the guest ran already");
    rc = call_begin_use(sandbox, sandbox->options.timeout_ns, err);
    if (rc != 0)
        return rc;
    sandbox->pending.kind = MF_STOPPED_RUN;
    run_prepare(sandbox, MF_ABI_MODE_RUN);
    rc = call_run_main(sandbox, status, err);
    if (rc == 0)
        call_end_run(sandbox);
    else
        call_end_use(sandbox);
    return rc;
}
