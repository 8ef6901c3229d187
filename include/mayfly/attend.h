/*
 * Attentive sandboxes: the guest stays on a processor, on a thread of its own, and
 * takes calls from shared memory: a call then costs two cache lines instead of an
 * entry and an exit. It burns that processor while it waits, so it is off unless
 * asked for; docs/guide/performance.md says when it pays.
 */
#ifndef MAYFLY_ATTEND_H
#define MAYFLY_ATTEND_H

#include <mayfly/sandbox.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How to attend. Zero the structure and set `size`; a zero means the default. */
struct mf_attend_options {
    size_t size;      /* sizeof(struct mf_attend_options) */
    uint64_t idle_ns; /* without a call for about so long, the guest leaves and its thread
                         sleeps until the next one; default 1 ms, at least 100 us;
                         UINT64_MAX: never */
};

/*
 * Starts a thread that keeps the guest attentive (and the guest, when it has not
 * begun). From then on any number of threads may call the sandbox at once; their
 * calls are made one after the other in the order in which they came. What a
 * result points to belongs to the calling thread, until that thread's next call of an
 * attentive sandbox. Host functions run on the attending thread, and only they may
 * make nested calls. Time limits hold for each call from its turn on;
 * cpu_time_ns is that of the attending thread.
 *
 * All other functions of the sandbox work as before, and may be called by any
 * thread: they wait their turn and bring the guest back for as long as they take.
 * With MF_SIGNAL_NONE on kvm a guest that does not come back by itself can only be waited for.
 *
 * mf_sandbox_destroy may be called while other threads wait in calls: these return
 * MF_E_STATE, and no thread may begin a call afterwards.
 *
 * Errors: MF_E_STATE (attentive already, or inside a host function), MF_E_ARGUMENT,
 * MF_E_SYSTEM (no thread); those of mf_sandbox_start.
 */
MF_API int mf_sandbox_attend(struct mf_sandbox *sandbox, const struct mf_attend_options *options,
                             struct mf_error *err);

/*
 * Ends it: the thread is gone when this returns, and the sandbox is used by one
 * thread at a time again. MF_E_STATE when it was not attentive, or inside a host
 * function. MF_E_PROTOCOL when the guest did not come back within 2 seconds though
 * it had nothing to do; it was stopped then, and the sandbox is poisoned.
 */
MF_API int mf_sandbox_unattend(struct mf_sandbox *sandbox, struct mf_error *err);

#ifdef __cplusplus
}
#endif

#endif
