/*
 * Attentive sandboxes: a thread of its own keeps the guest running, which polls the
 * mailbox, and other threads call it. See attend.c for how they keep out of each
 * other's way.
 */
#ifndef SANDBOX_ATTEND_H
#define SANDBOX_ATTEND_H

#include "sandbox/arena.h"
#include "sandbox/image.h"

#include <mayfly/error.h>
#include <mayfly/value.h>

#include <stdbool.h>
#include <stddef.h>

struct mf_sandbox;

/*
 * The attendance of a sandbox that other threads look after: NULL when it is not
 * attentive, and on the attending thread itself, which uses it as ever.
 */
struct attendance *attend_of(const struct mf_sandbox *sandbox);

/*
 * Does something with a sandbox as in the ordinary mode: at once, or when it is
 * attentive on its attending thread, while the guest waits in READY and this thread for the
 * end of it. A guest that faults instead, or does not come back, is poisoned by then, which
 * `work` has to look at. Returns what `work` returns; MF_E_STATE when the sandbox is being
 * destroyed.
 */
typedef int (*attend_work)(struct mf_sandbox *sandbox, void *argument, struct mf_error *err);
int attend_do(struct mf_sandbox *sandbox, attend_work work, void *argument, struct mf_error *err);

/*
 * Holds off the attending thread, which goes on when it comes out of the guest, so that this
 * thread can look at the sandbox. Nothing happens on a sandbox that is not attentive.
 * The returned value is for attend_release.
 */
struct attendance *attend_hold(const struct mf_sandbox *sandbox);
void attend_release(struct attendance *attendance);

/* A call from another thread. Arguments are not checked yet; *err is not NULL. */
int attend_call(struct mf_sandbox *sandbox, struct attendance *attendance,
                const struct image_function *function, const struct mf_value *args, size_t nargs,
                struct mf_value *result, struct mf_error *err);

struct mf_call;

/* A batch from another thread; *err is not NULL. */
int attend_batch(struct mf_sandbox *sandbox, struct mf_call *calls, size_t ncalls,
                 struct mf_error *err);

/* mf_sandbox_resume from another thread; *err is not NULL. */
int attend_resume(struct mf_sandbox *sandbox, struct mf_value *result, int *status,
                  struct mf_error *err);

/*
 * Where results for this thread stand until its next call of an attentive sandbox;
 * freed when the thread ends. NULL: no memory.
 */
struct arena *attend_arena(void);

/* For the run loop: around each entry. Others may touch the sandbox in between. */
void attend_before_entry(struct mf_sandbox *sandbox);
void attend_after_exit(struct mf_sandbox *sandbox);

/* Whether the guest was entered to wait for calls, and none is in flight. */
bool attend_between_calls(const struct mf_sandbox *sandbox);

/* Ends it for good: calls in flight return, its memory is freed. */
void attend_fini(struct mf_sandbox *sandbox);

#endif
