/* Batches: many calls of one sandbox with one entry into the guest. */
#ifndef MAYFLY_BATCH_H
#define MAYFLY_BATCH_H

#include <mayfly/sandbox.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One call of a batch. Zero the structure and set the first members. */
struct mf_call {
    size_t function;              /* index of the exported function (mf_image_find_export) */
    const struct mf_value *args;  /* lives, with what it points to, until the batch returns */
    size_t nargs;
    /*
     * Where the text or bytes of the result are copied to, `buffer_bytes` long (a
     * string's terminator included); it is then valid for as long as the buffer is.
     * NULL: they stay in the sandbox until its next call.
     */
    void *buffer;
    size_t buffer_bytes;

    /* What came of it. */
    int status; /* 0 or a negative MF_E_* */
    struct mf_value result;
    struct mf_error error; /* code 0 when there is none */
};

/*
 * Makes `ncalls` calls in order. The guest answers as many of them as fit into the
 * mailbox before it leaves, so that the price of an entry is shared; a batch that
 * does not fit is done in several entries. Limits (time, host calls) hold for the
 * whole batch.
 *
 * Each call has a status, result and error of its own: wrong arguments, an error of
 * the function or a buffer that is too small (MF_E_TOO_LARGE) concern that call
 * alone. Returns 0 when all calls were made, whatever their status. When something
 * ends the guest on the way (fault, exit, limit, interrupt), returns that error, and
 * *err names the call; the calls before it keep their results, it has that status
 * itself, and those behind it were not made: MF_E_POISONED.
 *
 * Not inside a host function: MF_E_STATE. Other errors: as mf_sandbox_call.
 */
MF_API int mf_sandbox_call_batch(struct mf_sandbox *sandbox, struct mf_call *calls, size_t ncalls,
                                 struct mf_error *err);

#ifdef __cplusplus
}
#endif

#endif
