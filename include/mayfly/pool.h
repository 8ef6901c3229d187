/*
 * Pools: VM slots that are kept warm, so that a sandbox with fresh state costs about
 * as much as a call. Every function may be called by any thread at any time, unless
 * said otherwise. A forked child cannot use the pools of its parent; mf_pool_destroy does
 * nothing there.
 */
#ifndef MAYFLY_POOL_H
#define MAYFLY_POOL_H

#include <mayfly/snapshot.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mf_pool;
struct mf_parked;

/* Who may get a slot after whom. What ran before is gone in any case. */
enum mf_reuse {
    MF_REUSE_ANY = 0,    /* anybody, after a restore */
    MF_REUSE_TENANT = 1, /* the same tenant; others get a VM that never ran anything else */
    MF_REUSE_NEVER = 2,  /* nobody: each sandbox gets a new VM */
};

struct mf_pool_options {
    size_t size;           /* sizeof(struct mf_pool_options) */
    unsigned slots;        /* VMs at a time, in use and waiting; default 16; at most 65536 */
    unsigned warm;         /* of them kept ready in the background, as long as there is room;
                              default 2; at most `slots` */
    enum mf_reuse reuse;
    uint64_t parked_bytes; /* memory for parked sandboxes; default 1 GiB */
    struct mf_host *host;  /* host functions of all sandboxes; may be NULL; held by the pool */
    struct mf_sandbox_options sandbox; /* limits, callbacks, backend; see mf_sandbox_create_from;
                                          callbacks run on the threads that call */
};

/*
 * Makes a pool whose slots are warmed up for `snapshot`; others can be asked for
 * too. `options` may be NULL. A thread in the background makes and ends VMs. Errors:
 * MF_E_ARGUMENT, and those of mf_sandbox_create_from (one sandbox is made at once).
 */
MF_API int mf_pool_create(struct mf_snapshot *snapshot, const struct mf_pool_options *options,
                          struct mf_pool **out, struct mf_error *err);

/*
 * Ends it. All sandboxes must have been released, all parked ones discarded, and no other
 * thread may be using the pool. NULL is allowed.
 */
MF_API void mf_pool_destroy(struct mf_pool *pool);

/*
 * Gives a sandbox in the state of `snapshot` (NULL: the pool's own) for `tenant`
 * (any number; 0 is one like others). An idle slot that the policy allows is taken, best
 * one with this snapshot already; another of the same program and sizes costs a restore of
 * what differs. When there is none, a VM is made here, which takes its time, if need be in
 * place of an idle one that cannot be used (of another tenant, program or size).
 *
 * When all slots are in use, waits up to `wait_ns` for one (0: not at all, but for a VM
 * that is just being made or ended); who came first is served first. Then MF_E_BUSY.
 * A host function that waits for a slot of a pool whose slots all wait for host functions
 * waits in vain. Other errors: those of mf_sandbox_create_from and mf_sandbox_restore.
 *
 * A snapshot of a guest that was stopped gives a sandbox for mf_sandbox_resume. The sandbox
 * is the caller's until mf_pool_release or mf_pool_park; it must not be destroyed.
 */
MF_API int mf_pool_acquire(struct mf_pool *pool, struct mf_snapshot *snapshot, uint64_t tenant,
                           uint64_t wait_ns, struct mf_sandbox **out, struct mf_error *err);

/*
 * Gives it back, in whatever state it is (poisoned, stopped, attentive). Its results are
 * gone, and it is restored here and now: nothing of it can be seen by whoever gets the slot
 * next. No other thread may use the sandbox any more, not even to interrupt it: that
 * would hit somebody else. Ignored: NULL, a sandbox that is not of this pool or that has been
 * given back and not handed out since, and one inside of its own host function.
 */
MF_API void mf_pool_release(struct mf_pool *pool, struct mf_sandbox *sandbox);

/*
 * Parks a sandbox that waits for calls (or was stopped): its slot goes back to the pool,
 * what differs from the snapshot it was made from (or the last one that was taken of it)
 * stays: of each page the words that differ. *out is for mf_pool_unpark or mf_pool_discard,
 * by one thread. On failure the sandbox is still the caller's.
 * Errors: MF_E_BUSY (parked_bytes are used up), MF_E_ARGUMENT (not a sandbox that was
 * acquired from this pool), those of mf_sandbox_snapshot.
 */
MF_API int mf_pool_park(struct mf_pool *pool, struct mf_sandbox *sandbox, struct mf_parked **out,
                        struct mf_error *err);

/*
 * Gives a parked sandbox a slot again; as mf_pool_acquire. On success `parked` is gone,
 * and the sandbox goes on where it was, with its counters, limits of time, and
 * an interrupt that waited: it is no clone, so its generation stays, and no restore hook runs.
 * Its clocks stood still meanwhile. On failure it is still parked.
 */
MF_API int mf_pool_unpark(struct mf_pool *pool, struct mf_parked *parked, uint64_t wait_ns,
                          struct mf_sandbox **out, struct mf_error *err);

/* Drops a parked sandbox. NULL is allowed. */
MF_API void mf_pool_discard(struct mf_pool *pool, struct mf_parked *parked);

struct mf_pool_stats {
    size_t size;                /* sizeof(struct mf_pool_stats) */
    uint64_t acquired;          /* sandboxes handed out */
    uint64_t hits, misses;      /* an idle slot was there, also if it had another snapshot; a VM had
                                   to be made: together they are `acquired` */
    uint64_t waits, refusals;   /* had to wait; MF_E_BUSY */
    uint64_t resets;            /* restores of slots: one for each release that keeps its slot, and
                                   one for each hit of a slot with another snapshot */
    uint64_t pages_copied;      /* by them */
    uint64_t vms_made, vms_ended;
    uint64_t parked, parked_bytes; /* now */
    uint64_t slots_used, slots_warm; /* now: handed out; idle */
};

/* Fills *stats as far as its `size` goes. */
MF_API void mf_pool_get_stats(struct mf_pool *pool, struct mf_pool_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
