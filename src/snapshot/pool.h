/*
 * The inside of pools:
 *   pool.c   the public functions, and who waits for a slot
 *   slots.c  the slots: making, keeping, finding, resetting and ending them; the thread
 *            in the background
 *   park.c   parked sandboxes
 *
 * A slot is a sandbox that the pool keeps. An idle one is always as its snapshot says:
 * it was restored when it came back, by the thread that used it (whose caches still hold
 * the pages that are copied), and before anybody else can see it.
 *
 * No lock is taken by all: idle slots are kept in shards, lists with a small lock each,
 * and a thread puts slots to, and takes them from, the shard that its identity hashes to;
 * only when that has none it looks at the others. A lock-free stack would save nothing
 * (two uncontended atomic operations against tens of microseconds for the call), but could
 * not look for a slot with the right snapshot, tenant and thread. Shards go by thread and
 * not by processor since older kernels take up to 10 ms when another thread runs a vCPU.
 */
#ifndef SNAPSHOT_POOL_H
#define SNAPSHOT_POOL_H

#include "snapshot/snapshot.h"

#include <mayfly/pool.h>

#include <pthread.h>

struct pool_slot {
    struct pool_slot *next; /* in the list of a shard, or of those to be ended */
    struct mf_pool *pool;
    struct mf_sandbox *sandbox;
    struct mf_snapshot *snapshot; /* held: what it is when idle */
    uint64_t tenant;              /* who had it last; meaningless unless `used` */
    bool used;                    /* it was handed out once */
    atomic_bool out;              /* it is handed out */
    pthread_t thread;             /* that used it last, or made it */
};

/* What is counted, in the shard of the thread that counts. */
enum pool_counter {
    POOL_ACQUIRED,
    POOL_RETURNED, /* released or parked */
    POOL_HITS,
    POOL_MISSES,
    POOL_WAITS,
    POOL_REFUSALS,
    POOL_RESETS,
    POOL_PAGES_COPIED,
    POOL_VMS_MADE,
    POOL_VMS_ENDED,
    POOL_COUNTERS,
};

struct pool_shard {
    _Alignas(64) pthread_mutex_t lock;
    struct pool_slot *first; /* idle ones; the youngest first */
    /* How many: written with the lock, and read without. */
    atomic_uint idle;
    atomic_uint ready; /* of them those for anybody, as the pool's own snapshot */
    atomic_uint_fast64_t counters[POOL_COUNTERS];
};

struct pool_waiter;

struct mf_pool {
    struct mf_pool_options options; /* defaults filled in */
    struct mf_snapshot *snapshot;
    pid_t pid;
    atomic_uint made; /* VMs that exist, or are being made or ended; at most options.slots */
    atomic_bool closed;
    atomic_uint_fast64_t parked, parked_bytes;

    struct pool_shard *shards;
    unsigned nshards; /* a power of two */

    /* Who waits, in order; pool.c. */
    pthread_mutex_t queue_lock;
    struct pool_waiter *queue;
    atomic_uint waiting;

    /* The thread in the background; slots.c. */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t work_lock;
    pthread_cond_t work;
    struct pool_slot *doomed;   /* to be ended */
    atomic_bool poked, stop;
};

/* What somebody asks for. */
struct pool_want {
    struct mf_snapshot *snapshot;
    uint64_t tenant;
};

/* ---- slots.c ---- */

/* Shards, and the thread. What was made is undone by pool_slots_fini in any case. */
int pool_slots_init(struct mf_pool *pool, struct mf_error *err);

/* Ends the thread and all idle slots. */
void pool_slots_fini(struct mf_pool *pool);

/* The shard of this thread. */
struct pool_shard *pool_shard(const struct mf_pool *pool);

static inline void pool_count(struct pool_shard *shard, enum pool_counter counter, uint64_t n)
{
    atomic_fetch_add_explicit(&shard->counters[counter], n, memory_order_relaxed);
}

/* The sum over all shards. */
uint64_t pool_sum(const struct mf_pool *pool, enum pool_counter counter);
unsigned pool_idle(const struct mf_pool *pool);

/* Takes the right to make one VM more; false when there are `slots` already. */
bool pool_reserve(struct mf_pool *pool);
void pool_unreserve(struct mf_pool *pool);

/* Makes a slot with a new VM; the caller has the right to. Errors: mf_sandbox_create_from. */
int pool_slot_make(struct mf_pool *pool, struct mf_snapshot *snapshot, struct pool_slot **out,
                   struct mf_error *err);

/* Ends a slot and its VM; the right to it stays with the caller. */
void pool_slot_end(struct pool_slot *slot);

/* Has the background do that, and give back the right. */
void pool_slot_retire(struct pool_slot *slot);

/*
 * Forgets whoever used the slot, and makes it what `snapshot` says. On failure it is good
 * for nothing but to be ended.
 */
int pool_slot_reset(struct pool_slot *slot, struct mf_snapshot *snapshot, struct mf_error *err);

/* Adds it to the idle ones of this thread. */
void pool_slot_put(struct pool_slot *slot);

/* Takes the idle slot that suits best, or NULL: by the reuse policy none does. */
struct pool_slot *pool_slot_take(struct mf_pool *pool, const struct pool_want *want);

/* Takes any idle slot, of those that nobody used for long, so that its VM is ended. */
struct pool_slot *pool_slot_take_any(struct mf_pool *pool);

/* Has the background make slots, if there are too few. */
void pool_refill(struct mf_pool *pool);

/* ---- pool.c ---- */

/* As mf_pool_acquire, of checked arguments. */
int pool_get(struct mf_pool *pool, const struct pool_want *want, uint64_t wait_ns,
             struct pool_slot **out, struct mf_error *err);

/* The slot of a sandbox that a caller has of this pool, or NULL. */
struct pool_slot *pool_slot_of(const struct mf_pool *pool, const struct mf_sandbox *sandbox);

/* Takes a slot back from a caller; false: somebody else was faster. */
bool pool_take_back(struct pool_slot *slot);

/* What follows: it is reset and idle, or ended. */
void pool_give_back(struct pool_slot *slot);

/* There may be a slot, or room for one, for who waits first. */
void pool_wake(struct mf_pool *pool);

#endif
