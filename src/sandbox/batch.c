/*
 * Batches: as many calls as fit are posted, the guest is entered once, and the
 * answers are taken when it waits in READY: in the order of the calls, each with an
 * id of its own. What does not fit goes with the next entry.
 *
 * A call that is wrong in itself never reaches the ring. A guest that ends on the
 * way has answered the calls before: those answers are still taken.
 */
#include "sandbox/attend.h"
#include "sandbox/call.h"

#include "base/checked.h"
#include "base/error.h"

#include <mayfly/batch.h>

#include <string.h>

/* In mf_call.status until the call is over; no MF_E_* code is positive. */
enum { CALL_WAITS = 1, CALL_POSTED = 2 };

struct batch {
    struct mf_sandbox *sandbox;
    struct mf_call *calls;
    size_t ncalls;
    size_t next;      /* the first that was not posted */
    size_t oldest;    /* none before it is posted and unanswered */
    size_t nposted;   /* posted and unanswered */
    uint64_t last_id; /* of the call that was answered last */
};

static const struct mf_signature *signature_of(const struct batch *batch,
                                               const struct mf_call *call)
{
    return &batch->sandbox->image->exports[call->function].signature;
}

/* What can be said about a call before it is made. */
static void check_call(struct batch *batch, struct mf_call *call)
{
    const struct mf_image *image = batch->sandbox->image;
    error_clear(&call->error);
    call->result = mf_void();
    call->status = CALL_WAITS;
    int rc = 0;
    if (call->function >= image->nexports)
        rc = error_set(&call->error, MF_E_NO_FUNCTION,
                       "%s exports %zu functions; there is no number %zu", image->name,
                       image->nexports, call->function);
    else
        rc = codec_check_args(signature_of(batch, call), call->args, call->nargs, &call->error);
    if (rc != 0)
        call->status = rc;
}

/*
 * Posts one call. False when it has to wait for the next entry. The rings are empty
 * when the first of an entry is posted, so what does not fit then never will.
 */
static bool post_call(struct batch *batch, struct mf_call *call)
{
    struct mf_sandbox *sandbox = batch->sandbox;
    struct rings *rings = &sandbox->rings;
    struct codec_references references;
    struct frame frame;
    uint64_t room = ring_room(rings);
    if (batch->nposted > 0 && (rings->call_tail == rings->call.size ||
                               codec_frame_size(call->args, call->nargs, NULL) > room))
        return false;
    int rc = call_prepare(sandbox, &sandbox->image->exports[call->function], call->args,
                          call->nargs, room, &references, &frame, &call->error);
    if (rc == 0)
        rc = ring_post(rings, &frame, &sandbox->arena, &call->error);
    call->status = rc == 0 ? CALL_POSTED : rc;
    if (rc == 0)
        batch->nposted++;
    return true;
}

static void post_calls(struct batch *batch)
{
    ring_reset(&batch->sandbox->rings);
    batch->last_id = batch->sandbox->next_id;
    batch->oldest = batch->next;
    while (batch->next < batch->ncalls) {
        struct mf_call *call = &batch->calls[batch->next];
        if (call->status == CALL_WAITS && !post_call(batch, call))
            return;
        batch->next++;
    }
}

/* Moves what a result points to into the caller's buffer. */
static int copy_to_buffer(struct mf_call *call, struct mf_error *err)
{
    struct mf_value *result = &call->result;
    bool text = result->type == MF_STRING;
    if (!call->buffer || (!text && result->type != MF_BYTES))
        return 0;
    size_t len = text ? result->string.len : result->bytes.len;
    const void *data = text ? (const void *)result->string.data : result->bytes.data;
    if (len + text > call->buffer_bytes) {
        *result = mf_void();
        return error_set(err, MF_E_TOO_LARGE,
                         "the result takes %zu bytes, its buffer has room for %zu", len + text,
                         call->buffer_bytes);
    }
    memcpy(call->buffer, data, len);
    if (text)
        ((char *)call->buffer)[len] = 0;
    *result = text ? mf_string_n(call->buffer, len) : mf_bytes(call->buffer, len);
    return 0;
}

/* Takes one answer; 1, 0 when there is none, or an error that ends the guest. */
static int take_answer(struct batch *batch, struct mf_error *err)
{
    struct mf_sandbox *sandbox = batch->sandbox;
    struct arena_mark mark = arena_mark(&sandbox->arena);
    struct mf_abi_frame *frame;
    int rc = ring_take(&sandbox->rings, &sandbox->arena, &frame, err);
    if (rc <= 0)
        return rc;
    while (batch->oldest < batch->next && batch->calls[batch->oldest].status != CALL_POSTED)
        batch->oldest++;
    if (batch->oldest == batch->next)
        return error_set(err, MF_E_PROTOCOL, "the guest answered a call that nobody made");

    struct mf_call *call = &batch->calls[batch->oldest];
    /* A view must not outlive the guest's next call; it may when it is copied at once. */
    bool view = call->buffer || (batch->nposted == 1 && batch->next == batch->ncalls);
    rc = frame_answer(sandbox, &sandbox->arena, frame, batch->last_id + 1,
                      signature_of(batch, call), view, &call->result, &call->error);
    if (rc == 0)
        rc = copy_to_buffer(call, &call->error);
    if (call->buffer || rc != 0)
        arena_release(&sandbox->arena, mark);
    if (rc != 0 && !call_is_soft_error(rc)) {
        *err = call->error;
        return rc;
    }
    call->status = rc;
    batch->last_id++;
    batch->nposted--;
    sandbox->stats.calls++;
    return 1;
}

static int take_answers(struct batch *batch, struct mf_error *err)
{
    int rc;
    do
        rc = take_answer(batch, err);
    while (rc == 1);
    return rc;
}

/* Enters the guest until all that was posted is answered. */
static int run_posted(struct batch *batch, struct mf_error *err)
{
    struct mf_sandbox *sandbox = batch->sandbox;
    while (batch->nposted > 0) {
        struct run_result run;
        struct mf_error late;
        size_t waiting = batch->nposted;
        int rc = run_guest(sandbox, &run, err);
        if (rc == 0)
            rc = call_check_end(&run, "a batch", err);
        int taken = take_answers(batch, rc == 0 ? err : &late);
        if (rc == 0)
            rc = taken;
        if (rc == 0 && batch->nposted == waiting)
            rc = error_set(err, MF_E_PROTOCOL, "the guest waits, but %zu calls are not answered",
                           waiting);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Nothing was made, and the sandbox may be as good as before. */
static int refuse_all(struct batch *batch, int rc, const struct mf_error *err)
{
    for (size_t i = 0; i < batch->ncalls; i++) {
        if (batch->calls[i].status != CALL_WAITS)
            continue;
        batch->calls[i].error = *err;
        batch->calls[i].status = rc;
    }
    return rc;
}

/* Says which call it was that ended the guest, and that those behind it were not made. */
static int give_up(struct batch *batch, int rc, struct mf_error *err)
{
    struct mf_error cause = *err;
    size_t culprit = batch->ncalls;
    for (size_t i = 0; i < batch->ncalls; i++) {
        struct mf_call *call = &batch->calls[i];
        if (call->status <= 0)
            continue;
        if (culprit == batch->ncalls) {
            culprit = i;
            call->error = cause;
            call->status = rc;
            error_set(err, rc, "call %zu of %zu (%s): %.200s", i + 1, batch->ncalls,
                      signature_of(batch, call)->name, cause.message);
            err->sys_errno = cause.sys_errno;
            continue;
        }
        call->status = error_set(&call->error, MF_E_POISONED,
                                 "not made: call %zu of the batch ended the guest", culprit + 1);
    }
    return rc;
}

static int run_batch(struct batch *batch, struct mf_error *err)
{
    struct mf_sandbox *sandbox = batch->sandbox;
    int rc = 0;
    while (rc == 0 && batch->next < batch->ncalls) {
        post_calls(batch);
        rc = run_posted(batch, err);
        map_release(sandbox, MAP_LEVEL_CALL);
    }
    if (rc != 0 && !sandbox->poisoned)
        sandbox_poison(sandbox, err);
    return rc;
}

int batch_call(struct mf_sandbox *sandbox, struct mf_call *calls, size_t ncalls,
               struct mf_error *err)
{
    struct batch batch = {.sandbox = sandbox, .calls = calls, .ncalls = ncalls};
    int rc = sandbox_check_alive(sandbox, err);
    if (rc == 0 && sandbox->state == SANDBOX_RUNNING)
        rc = error_set(err, MF_E_STATE, "a batch cannot be made inside of a call");
    for (size_t i = 0; i < ncalls; i++)
        check_call(&batch, &calls[i]);
    if (rc == 0 && sandbox->state == SANDBOX_NEW)
        rc = mf_sandbox_start(sandbox, err);
    if (rc == 0)
        rc = call_begin_use(sandbox, sandbox->options.timeout_ns, err);
    if (rc != 0)
        return refuse_all(&batch, rc, err);
    /* Arguments may be results of before, and large ones are mapped until their calls are made. */
    bool keep = false;
    for (size_t i = 0; i < ncalls && !keep; i++)
        keep = calls[i].status == CALL_WAITS &&
               call_uses_arena(sandbox, calls[i].args, calls[i].nargs);
    struct arena_chunk *before = arena_detach(&sandbox->arena, keep);
    rc = run_batch(&batch, err);
    if (rc != 0)
        rc = give_up(&batch, rc, err);
    arena_discard(before);
    rc = call_finish(sandbox, rc, err);
    call_end_use(sandbox);
    return rc;
}

int mf_sandbox_call_batch(struct mf_sandbox *sandbox, struct mf_call *calls, size_t ncalls,
                          struct mf_error *err)
{
    struct mf_error own;
    err = err ? err : &own;
    error_clear(err);
    if (!calls && ncalls > 0)
        return error_set(err, MF_E_ARGUMENT, "no calls given (NULL)");
    if (attend_of(sandbox))
        return attend_batch(sandbox, calls, ncalls, err);
    return batch_call(sandbox, calls, ncalls, err);
}
