/*
 * Going on with a guest that an interrupt or a limit stopped between two of its
 * instructions. All that it needs is in guest memory, in the CPU and in `pending`; so it
 * makes no difference whether the sandbox itself goes on, or one that was made from a
 * snapshot of that moment.
 */
#include "base/error.h"
#include "sandbox/attend.h"
#include "sandbox/call.h"
#include "sandbox/sandbox.h"

#include <mayfly/snapshot.h>

#include <string.h>

enum mf_stopped mf_sandbox_stopped(const struct mf_sandbox *sandbox)
{
    struct attendance *held = attend_hold(sandbox);
    enum mf_stopped kind = sandbox->stopped ? sandbox->pending.kind : MF_STOPPED_NOTHING;
    attend_release(held);
    return kind;
}

static int run_pending(struct mf_sandbox *sandbox, struct mf_value *result, int *status,
                       struct mf_error *err)
{
    int rc;
    switch (sandbox->pending.kind) {
    case MF_STOPPED_START:
        return call_run_start(sandbox, err);
    case MF_STOPPED_CALL:
        arena_reset(&sandbox->arena);
        rc = call_run_call(sandbox, result, err);
        rc = call_finish(sandbox, rc, err);
        if (rc == 0 || rc == MF_E_GUEST_ERROR)
            sandbox->stats.calls++;
        return rc;
    case MF_STOPPED_RUN:
        return call_run_main(sandbox, status, err);
    case MF_STOPPED_NOTHING:
        break;
    }
    return error_set(err, MF_E_STATE, "nothing was stopped");
}

int mf_sandbox_resume(struct mf_sandbox *sandbox, struct mf_value *result, int *status,
                      struct mf_error *err)
{
    struct mf_error own;
    err = err ? err : &own;
    error_clear(err);
    if (attend_of(sandbox))
        return attend_resume(sandbox, result, status, err);
    if (!sandbox->stopped && sandbox->poisoned)
        return error_set(err, MF_E_STATE, "the guest cannot go on: %s", sandbox->poison_text);
    if (!sandbox->stopped)
        return error_set(err, MF_E_STATE, "nothing was stopped that could go on");
    bool start = sandbox->pending.kind == MF_STOPPED_START;
    bool run = sandbox->pending.kind == MF_STOPPED_RUN;
    /* An interrupt that waits is taken here, and the sandbox stays stopped. */
    int rc = call_begin_use(
        sandbox, start ? sandbox->options.init_timeout_ns : sandbox->options.timeout_ns, err);
    if (rc != 0)
        return rc;
    if (sandbox->timeout_left_ns != 0 || sandbox->cpu_left_ns != 0) {
        limits_disarm(&sandbox->limits);
        limits_arm(&sandbox->limits, sandbox->timeout_left_ns, sandbox->cpu_left_ns);
        sandbox->timeout_left_ns = sandbox->cpu_left_ns = 0;
    }
    sandbox->poisoned = MF_OK;
    sandbox->stopped = false;
    rc = run_pending(sandbox, result, status, err);
    if (rc == 0 && run)
        call_end_run(sandbox);
    else
        call_end_use(sandbox);
    return rc;
}
