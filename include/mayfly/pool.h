/*
 * Pools: VM slots that are kept warm, so that a sandbox with fresh state costs about
 * as much as a call. Every function may be called by any thread at any time, unless
 * said otherwise.
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
    unsigned slots;        /* VMs at a time, in use and waiting; default 16 */
    unsigned warm;         /* kept ready in the background; default 2; at most `slots` */
    enum mf_reuse reuse;
    uint64_t parked_bytes; /* memory for parked sandboxes; default 1 GiB */
    struct mf_host *host;  /* host functions of all sandboxes; may be NULL */
    struct mf_sandbox_options sandbox; /* limits, callbacks, backend; see mf_sandbox_create_from */
};

/*
 * Makes a pool whose slots are warmed up for `snapshot`; others can be asked for
 * too, when they have the same memory size. A thread in the background makes and
 * ends VMs. Errors: those of mf_sandbox_create_from (one sandbox is made at once).
 */
MF_API int mf_pool_create(struct mf_snapshot *snapshot, const struct mf_pool_options *options,
                          struct mf_pool **out, struct mf_error *err);

/* Ends it. All sandboxes must have been released, all parked ones discarded. NULL is allowed. */
MF_API void mf_pool_destroy(struct mf_pool *pool);

/*
 * Gives a sandbox in the state of `snapshot` (NULL: the pool's own) for `tenant`
 * (any number; 0 is one like others). When all slots are in use, waits up to `wait_ns` for
 * one (0: not at all): then MF_E_BUSY. The sandbox is the caller's until
 * mf_pool_release; it must not be destroyed.
 */
MF_API int mf_pool_acquire(struct mf_pool *pool, struct mf_snapshot *snapshot, uint64_t tenant,
                           uint64_t wait_ns, struct mf_sandbox **out, struct mf_error *err);

/* Gives it back, in whatever state it is. Its results are gone. */
MF_API void mf_pool_release(struct mf_pool *pool, struct mf_sandbox *sandbox);

/*
 * Parks a sandbox that waits for calls (or was stopped): its slot goes back to the pool,
 * what differs from the snapshot it was made from stays. *out is for mf_pool_unpark or
 * mf_pool_discard. On failure the sandbox is still the caller's.
 * Errors: MF_E_BUSY (parked_bytes are used up), those of mf_sandbox_snapshot.
 */
MF_API int mf_pool_park(struct mf_pool *pool, struct mf_sandbox *sandbox, struct mf_parked **out,
                        struct mf_error *err);

/* Gives a parked sandbox a slot again; on success `parked` is gone. As mf_pool_acquire. */
MF_API int mf_pool_unpark(struct mf_pool *pool, struct mf_parked *parked, uint64_t wait_ns,
                          struct mf_sandbox **out, struct mf_error *err);

/* Drops a parked sandbox. NULL is allowed. */
MF_API void mf_pool_discard(struct mf_pool *pool, struct mf_parked *parked);

struct mf_pool_stats {
    size_t size;                /* sizeof(struct mf_pool_stats) */
    uint64_t acquired;          /* sandboxes handed out */
    uint64_t hits, misses;      /* a warm slot was there; a VM had to be made */
    uint64_t waits, refusals;   /* had to wait; MF_E_BUSY */
    uint64_t resets;            /* restores of slots */
    uint64_t pages_copied;      /* by them */
    uint64_t vms_made, vms_ended;
    uint64_t parked, parked_bytes; /* now */
    uint64_t slots_used, slots_warm; /* now */
};

/* Fills *stats as far as its `size` goes. */
MF_API void mf_pool_get_stats(struct mf_pool *pool, struct mf_pool_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
