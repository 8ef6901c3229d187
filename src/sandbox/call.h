/*
 * What the ways to call a guest share: calls (call.c), batches (batch.c), attentive sandboxes
 * (attend.c).
 */
#ifndef SANDBOX_CALL_H
#define SANDBOX_CALL_H

#include "sandbox/sandbox.h"

/* Errors that a call can give while the guest is sound and goes on. */
bool call_is_soft_error(int code);

/*
 * Makes the frame of a call, of at most `room` bytes, with a new id; arguments were
 * checked (codec_check_args). `references` is where frame->references may point to.
 * Errors of large_place.
 */
int call_prepare(struct mf_sandbox *sandbox, const struct image_function *function,
                 const struct mf_value *args, size_t nargs, uint64_t room,
                 struct codec_references *references, struct frame *frame, struct mf_error *err);

/* Whether any argument is (a part of) a result of this sandbox, in its arena. */
bool call_uses_arena(const struct mf_sandbox *sandbox, const struct mf_value *args, size_t nargs);

/*
 * Begins the outermost use of a sandbox, by any means: MF_E_INTERRUPTED when an
 * interrupt waited, MF_E_MOVED when it is here no longer. Waits while another thread makes it
 * stand still. Limits are armed until call_end_use.
 */
int call_begin_use(struct mf_sandbox *sandbox, uint64_t timeout_ns, struct mf_error *err);
void call_end_use(struct mf_sandbox *sandbox);

/* The same after main has returned: the guest never runs again. */
void call_end_run(struct mf_sandbox *sandbox);

/*
 * After the outermost call or batch, before call_end_use: ends mappings that were made
 * for it, and writes back files. Returns `rc`, or when that is 0 what went wrong here.
 */
int call_finish(struct mf_sandbox *sandbox, int rc, struct mf_error *err);

/* Sends a frame that fits to `offset` of the exchange area. */
void exchange_send(struct mf_sandbox *sandbox, uint32_t offset, const struct frame *frame);

/*
 * Runs the guest to the end of what sandbox->pending says, for the first time or after
 * a stop: to READY, to the answer of a call, to the exit of main.
 */
int call_run_start(struct mf_sandbox *sandbox, struct mf_error *err);
int call_run_call(struct mf_sandbox *sandbox, struct mf_value *result, struct mf_error *err);
int call_run_main(struct mf_sandbox *sandbox, int *status, struct mf_error *err);

struct mf_call;

/* mf_sandbox_call_batch with *err not NULL. */
int batch_call(struct mf_sandbox *sandbox, struct mf_call *calls, size_t ncalls,
               struct mf_error *err);

/* What an end of a run other than READY means while calls of `name` wait. */
int call_check_end(const struct run_result *run, const char *name, struct mf_error *err);

#endif
