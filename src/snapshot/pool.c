/*
 * Pools: the public functions, and the queue of those who wait for a slot.
 *
 * A caller that finds no slot, no room for a VM more, and no idle VM to replace, waits. The
 * order is kept: only the first of the queue looks for a slot, and as long as there is a
 * queue nobody passes it. Whoever gives a slot back wakes the first one. No wake-up is lost:
 * the waiter counts itself in `waiting` and then looks at the shards, the other puts the
 * slot into its shard and then looks at `waiting`; all of it sequentially consistent.
 */
#include "snapshot/pool.h"

#include "base/checked.h"
#include "base/error.h"
#include "sandbox/host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SLOTS_DEFAULT 16
#define SLOTS_MAX 65536
#define WARM_DEFAULT 2
#define PARKED_BYTES_DEFAULT (UINT64_C(1) << 30)
/* Who does not want to wait still waits so long for a VM that is in the making. */
#define UNDERWAY_NS UINT64_C(250000000)
#define NS_PER_S UINT64_C(1000000000)

/* ---- options ---- */

static int set_options(struct mf_pool *pool, const struct mf_pool_options *given,
                       struct mf_error *err)
{
    struct mf_pool_options *o = &pool->options;
    if (given && given->size < offsetof(struct mf_pool_options, reuse))
        return error_set(err, MF_E_ARGUMENT,
                         "options.size is %zu; set it to sizeof(struct mf_pool_options)",
                         given->size);
    if (given)
        memcpy(o, given, MIN(given->size, sizeof *o));
    o->size = sizeof *o;
    o->slots = o->slots ? o->slots : SLOTS_DEFAULT;
    o->warm = o->warm ? o->warm : MIN(WARM_DEFAULT, o->slots);
    o->parked_bytes = o->parked_bytes ? o->parked_bytes : PARKED_BYTES_DEFAULT;
    o->sandbox.size = o->sandbox.size ? o->sandbox.size : sizeof o->sandbox;
    if (o->slots > SLOTS_MAX)
        return error_set(err, MF_E_ARGUMENT, "slots is %u; it must be at most %u", o->slots,
                         SLOTS_MAX);
    if (o->warm > o->slots)
        return error_set(err, MF_E_ARGUMENT, "warm is %u; it must be at most slots, %u", o->warm,
                         o->slots);
    if (o->reuse != MF_REUSE_ANY && o->reuse != MF_REUSE_TENANT && o->reuse != MF_REUSE_NEVER)
        return error_set(err, MF_E_ARGUMENT, "%d is no way to reuse slots", (int)o->reuse);
    return 0;
}

/* ---- create, destroy ---- */

/* The first slot is made at once, so that the caller hears of what is wrong. */
static int make_first(struct mf_pool *pool, struct mf_error *err)
{
    struct pool_slot *slot;
    if (!pool_reserve(pool))
        return error_set(err, MF_E_ARGUMENT, "a pool needs a slot");
    int rc = pool_slot_make(pool, pool->snapshot, &slot, err);
    if (rc != 0) {
        pool_unreserve(pool);
        return rc;
    }
    pool_slot_put(slot);
    pool_refill(pool);
    return 0;
}

static bool in_use(const struct mf_pool *pool)
{
    return pool_sum(pool, POOL_ACQUIRED) != pool_sum(pool, POOL_RETURNED) ||
           atomic_load(&pool->parked) != 0;
}

static void free_pool(struct mf_pool *pool)
{
    for (unsigned i = 0; i < pool->nshards; i++)
        pthread_mutex_destroy(&pool->shards[i].lock);
    free(pool->shards);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->work_lock);
    pthread_mutex_destroy(&pool->queue_lock);
    mf_snapshot_close(pool->snapshot);
    mf_host_destroy(pool->options.host);
    free(pool);
}

int mf_pool_create(struct mf_snapshot *snapshot, const struct mf_pool_options *options,
                   struct mf_pool **out, struct mf_error *err)
{
    struct mf_error own;
    err = err ? err : &own;
    error_clear(err);
    if (!snapshot || !out)
        return error_set(err, MF_E_ARGUMENT, "a pool needs a snapshot and a place for the result");
    *out = NULL;
    struct mf_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a pool");
    int rc = set_options(pool, options, err);
    if (rc != 0) {
        free(pool);
        return rc;
    }
    pool->pid = getpid();
    pool->snapshot = mf_snapshot_hold(snapshot);
    if (pool->options.host)
        host_hold(pool->options.host);
    pthread_mutex_init(&pool->queue_lock, NULL);
    rc = pool_slots_init(pool, err);
    if (rc == 0)
        rc = make_first(pool, err);
    if (rc != 0) {
        mf_pool_destroy(pool);
        return rc;
    }
    *out = pool;
    return 0;
}

/*
 * A pool that is still in use, which is a mistake, ends what it has, but stays in memory: so
 * the late release or discard finds it, and does no harm.
 */
void mf_pool_destroy(struct mf_pool *pool)
{
    if (!pool || pool->pid != getpid())
        return;
    atomic_store(&pool->closed, true);
    pool_slots_fini(pool);
    if (!in_use(pool))
        free_pool(pool);
}

/* ---- the queue ---- */

struct pool_waiter {
    struct pool_waiter *next;
    pthread_cond_t wake;
    bool woken;
};

/* With the lock. */
static void wake_first(struct mf_pool *pool)
{
    if (!pool->queue)
        return;
    pool->queue->woken = true;
    pthread_cond_signal(&pool->queue->wake);
}

void pool_wake(struct mf_pool *pool)
{
    if (atomic_load(&pool->waiting) == 0)
        return;
    pthread_mutex_lock(&pool->queue_lock);
    wake_first(pool);
    pthread_mutex_unlock(&pool->queue_lock);
}

static void enqueue(struct mf_pool *pool, struct pool_waiter *waiter)
{
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&waiter->wake, &clock);
    pthread_condattr_destroy(&clock);
    struct pool_waiter **end = &pool->queue;
    while (*end)
        end = &(*end)->next;
    *end = waiter;
    atomic_fetch_add(&pool->waiting, 1);
    /* It looks at once when it is the first. */
    waiter->woken = true;
}

static void dequeue(struct mf_pool *pool, struct pool_waiter *waiter)
{
    struct pool_waiter **link = &pool->queue;
    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
    atomic_fetch_sub(&pool->waiting, 1);
    pthread_cond_destroy(&waiter->wake);
    /* There may be more than one slot; the next one looks. */
    wake_first(pool);
}

static struct timespec end_of_wait(uint64_t wait_ns)
{
    uint64_t end;
    if (!add_u64(limits_now(), wait_ns, &end))
        end = UINT64_MAX;
    return (struct timespec){.tv_sec = (time_t)(end / NS_PER_S), .tv_nsec = (long)(end % NS_PER_S)};
}

/* ---- acquire ---- */

/* A slot that is there, a new VM, or a new one in place of one that suits nobody: else NULL. */
static int find_slot(struct mf_pool *pool, const struct pool_want *want, struct pool_slot **out,
                     struct mf_error *err)
{
    struct pool_slot *slot = pool_slot_take(pool, want);
    int rc = 0;
    *out = NULL;
    if (slot) {
        if (slot->snapshot != want->snapshot)
            rc = pool_slot_reset(slot, want->snapshot, err);
        if (rc != 0) {
            pool_slot_retire(slot);
            return rc;
        }
        pool_count(pool_shard(pool), POOL_HITS, 1);
        *out = slot;
        return 0;
    }
    if (!pool_reserve(pool)) {
        slot = pool_slot_take_any(pool);
        if (!slot)
            return 0;
        pool_slot_end(slot);
    }
    rc = pool_slot_make(pool, want->snapshot, out, err);
    if (rc == 0)
        pool_count(pool_shard(pool), POOL_MISSES, 1);
    else
        pool_unreserve(pool);
    return rc;
}

/* Whether some slots are not in use, but just made or ended by the background. */
static bool is_underway(const struct mf_pool *pool)
{
    uint64_t returned = pool_sum(pool, POOL_RETURNED);
    return pool_sum(pool, POOL_ACQUIRED) - returned < pool->options.slots;
}

static int refuse(struct mf_pool *pool, uint64_t wait_ns, struct mf_error *err)
{
    pool_count(pool_shard(pool), POOL_REFUSALS, 1);
    return error_set(err, MF_E_BUSY,
                     "all %u slots of the pool are in use%s: release some, raise slots, or wait "
                     "longer (wait_ns was %llu)",
                     pool->options.slots, wait_ns ? " and none came back in time" : "",
                     (unsigned long long)wait_ns);
}

static int wait_for_slot(struct mf_pool *pool, const struct pool_want *want, uint64_t wait_ns,
                         struct pool_slot **out, struct mf_error *err)
{
    struct pool_waiter me = {0};
    struct timespec end = end_of_wait(wait_ns);
    bool late = false;
    int rc = 0;
    *out = NULL;
    pool_count(pool_shard(pool), POOL_WAITS, 1);
    pthread_mutex_lock(&pool->queue_lock);
    enqueue(pool, &me);
    while (rc == 0 && !*out) {
        if (me.woken && pool->queue == &me) {
            me.woken = false;
            pthread_mutex_unlock(&pool->queue_lock);
            rc = find_slot(pool, want, out, err);
            pthread_mutex_lock(&pool->queue_lock);
        } else if (late) {
            rc = refuse(pool, wait_ns, err);
        } else {
            late = pthread_cond_timedwait(&me.wake, &pool->queue_lock, &end) == ETIMEDOUT;
        }
    }
    dequeue(pool, &me);
    pthread_mutex_unlock(&pool->queue_lock);
    return rc;
}

int pool_get(struct mf_pool *pool, const struct pool_want *want, uint64_t wait_ns,
             struct pool_slot **out, struct mf_error *err)
{
    int rc = 0;
    *out = NULL;
    if (atomic_load(&pool->waiting) == 0)
        rc = find_slot(pool, want, out, err);
    if (rc == 0 && !*out && wait_ns == 0 && atomic_load(&pool->waiting) == 0 && is_underway(pool))
        wait_ns = UNDERWAY_NS;
    if (rc == 0 && !*out)
        rc = wait_ns == 0 ? refuse(pool, 0, err) : wait_for_slot(pool, want, wait_ns, out, err);
    if (rc != 0)
        return rc;
    struct pool_slot *slot = *out;
    slot->used = true;
    slot->tenant = want->tenant;
    atomic_store_explicit(&slot->out, true, memory_order_relaxed);
    pool_count(pool_shard(pool), POOL_ACQUIRED, 1);
    pool_refill(pool);
    return 0;
}

int mf_pool_acquire(struct mf_pool *pool, struct mf_snapshot *snapshot, uint64_t tenant,
                    uint64_t wait_ns, struct mf_sandbox **out, struct mf_error *err)
{
    struct mf_error own;
    struct pool_slot *slot;
    err = err ? err : &own;
    error_clear(err);
    if (!pool || !out)
        return error_set(err, MF_E_ARGUMENT, "no pool given, or no place for the sandbox (NULL)");
    *out = NULL;
    struct pool_want want = {.snapshot = snapshot ? snapshot : pool->snapshot, .tenant = tenant};
    int rc = pool_get(pool, &want, wait_ns, &slot, err);
    if (rc == 0)
        *out = slot->sandbox;
    return rc;
}

/* ---- release ---- */

struct pool_slot *pool_slot_of(const struct mf_pool *pool, const struct mf_sandbox *sandbox)
{
    const struct tracking *tracking =
        pool && sandbox ? (const struct tracking *)sandbox->base : NULL;
    struct pool_slot *slot = tracking ? tracking->slot : NULL;
    return slot && slot->pool == pool && atomic_load(&slot->out) ? slot : NULL;
}

bool pool_take_back(struct pool_slot *slot)
{
    return atomic_exchange(&slot->out, false);
}

/*
 * What was attentive, or cannot be reset, is ended in the background: nobody waits for a
 * thread or a VM to end.
 */
void pool_give_back(struct pool_slot *slot)
{
    struct mf_pool *pool = slot->pool;
    struct mf_error err;
    bool good = pool->options.reuse != MF_REUSE_NEVER && !atomic_load(&pool->closed) &&
                !slot->sandbox->attendance && pool_slot_reset(slot, slot->snapshot, &err) == 0;
    pool_count(pool_shard(pool), POOL_RETURNED, 1);
    if (good) {
        pool_slot_put(slot);
        pool_wake(pool);
    } else if (atomic_load(&pool->closed)) {
        pool_slot_end(slot);
    } else {
        pool_slot_retire(slot);
    }
}

void mf_pool_release(struct mf_pool *pool, struct mf_sandbox *sandbox)
{
    struct pool_slot *slot = pool_slot_of(pool, sandbox);
    /* Inside of a host function, its call would go on with a sandbox of somebody else. */
    if (!slot || (!sandbox->attendance && sandbox->state == SANDBOX_RUNNING))
        return;
    if (pool_take_back(slot))
        pool_give_back(slot);
}

/* ---- counters ---- */

void mf_pool_get_stats(struct mf_pool *pool, struct mf_pool_stats *stats)
{
    /* Returned ones first: what is released meanwhile counts as used, and never less than none. */
    uint64_t returned = pool_sum(pool, POOL_RETURNED);
    struct mf_pool_stats now = {
        .size = stats->size,
        .acquired = pool_sum(pool, POOL_ACQUIRED),
        .hits = pool_sum(pool, POOL_HITS),
        .misses = pool_sum(pool, POOL_MISSES),
        .waits = pool_sum(pool, POOL_WAITS),
        .refusals = pool_sum(pool, POOL_REFUSALS),
        .resets = pool_sum(pool, POOL_RESETS),
        .pages_copied = pool_sum(pool, POOL_PAGES_COPIED),
        .vms_made = pool_sum(pool, POOL_VMS_MADE),
        .vms_ended = pool_sum(pool, POOL_VMS_ENDED),
        .parked = atomic_load(&pool->parked),
        .parked_bytes = atomic_load(&pool->parked_bytes),
        .slots_warm = pool_idle(pool),
    };
    now.slots_used = now.acquired - returned;
    memcpy(stats, &now, MIN(stats->size, sizeof now));
}
