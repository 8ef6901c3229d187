/*
 * Host functions: what guests may call in the host. A set of them is built
 * once, by one thread, and is then read-only: any number of sandboxes on any
 * threads share it.
 */
#ifndef MAYFLY_HOST_H
#define MAYFLY_HOST_H

#include <mayfly/error.h>
#include <mayfly/signature.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mf_host;
struct mf_sandbox;

/*
 * A host function. Called on the thread that called the guest, in the middle of
 * that call. `arg` has the values that the signature names, checked; they and
 * what they point to live until the function returns. The function sets *result
 * (it comes as void) to a value of the signature's result type; what a string or
 * bytes result points to must live until the next call of this function or come
 * from mf_sandbox_scratch. It may call the same guest with mf_sandbox_call on
 * `sandbox`; it must not destroy it.
 *
 * Returns 0, or a negative number with a message in *err (never NULL): then the
 * guest's call fails with that message; the guest decides what follows.
 */
typedef int (*mf_host_fn)(struct mf_sandbox *sandbox, void *context,
                          const struct mf_value *arg, struct mf_value *result,
                          struct mf_error *err);

/* An empty set. The caller's, to be given back with mf_host_destroy. */
MF_API int mf_host_create(struct mf_host **out, struct mf_error *err);

/*
 * Adds a function under the name in `signature`. `context` is passed to it as
 * it is. Errors: MF_E_SIGNATURE; MF_E_STATE when the name is taken or a sandbox
 * uses the set already.
 */
MF_API int mf_host_add(struct mf_host *host, const char *signature, mf_host_fn fn,
                       void *context, struct mf_error *err);

/* Gives the set back; sandboxes that use it keep it alive. NULL is allowed. */
MF_API void mf_host_destroy(struct mf_host *host);

/* Sets *err to `code` and a formatted message; returns `code`. For host functions. */
MF_API int mf_fail(struct mf_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif

#endif
