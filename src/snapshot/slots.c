/*
 * The slots of a pool: making, keeping, finding, resetting and ending them, and the
 * thread in the background that makes and ends VMs, so that callers need not.
 *
 * `made` counts VMs, and whoever makes one first takes the right to (pool_reserve): so
 * there are never more than `slots`, those that are just being made or ended included.
 */
#include "base/checked.h"
#include "base/error.h"
#include "snapshot/pool.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHARDS_MAX 64
#define STACK_BYTES (512 << 10)

/* ---- shards ---- */

static unsigned count_shards(unsigned slots)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned wanted = processors > 0 ? (unsigned)MIN(2 * processors, SHARDS_MAX) : SHARDS_MAX;
    unsigned n = 1;
    while (n < MIN(wanted, slots))
        n *= 2;
    return n;
}

struct pool_shard *pool_shard(const struct mf_pool *pool)
{
    /* Threads differ by where their stacks are; the product spreads that over the high bits. */
    uint64_t hash = ((uint64_t)pthread_self() >> PAGE_SHIFT) * UINT64_C(0x9e3779b97f4a7c15);
    return &pool->shards[(hash >> 32) & (pool->nshards - 1)];
}

uint64_t pool_sum(const struct mf_pool *pool, enum pool_counter counter)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < pool->nshards; i++)
        sum += atomic_load_explicit(&pool->shards[i].counters[counter], memory_order_relaxed);
    return sum;
}

unsigned pool_idle(const struct mf_pool *pool)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < pool->nshards; i++)
        sum += atomic_load(&pool->shards[i].idle);
    return sum;
}

static unsigned count_ready(const struct mf_pool *pool)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < pool->nshards; i++)
        sum += atomic_load_explicit(&pool->shards[i].ready, memory_order_relaxed);
    return sum;
}

/* Whether anybody may have it and gets it without a further restore: what `warm` is about. */
static bool is_ready(const struct pool_slot *slot)
{
    const struct mf_pool *pool = slot->pool;
    return slot->snapshot == pool->snapshot &&
           (!slot->used || pool->options.reuse == MF_REUSE_ANY);
}

/*
 * The counters that others read without the lock are written with sequential
 * consistency: see pool_wake.
 */
void pool_slot_put(struct pool_slot *slot)
{
    struct pool_shard *shard = pool_shard(slot->pool);
    slot->thread = pthread_self();
    pthread_mutex_lock(&shard->lock);
    slot->next = shard->first;
    shard->first = slot;
    if (is_ready(slot))
        atomic_fetch_add(&shard->ready, 1);
    atomic_fetch_add(&shard->idle, 1);
    pthread_mutex_unlock(&shard->lock);
}

/* With the lock. */
static struct pool_slot *unlink_slot(struct pool_shard *shard, struct pool_slot **link)
{
    struct pool_slot *slot = *link;
    *link = slot->next;
    slot->next = NULL;
    if (is_ready(slot))
        atomic_fetch_sub(&shard->ready, 1);
    atomic_fetch_sub(&shard->idle, 1);
    return slot;
}

/* ---- finding ---- */

/* How well an idle slot suits, the best first. */
enum fit { FIT_BEST, FIT_RESTORE, FIT_FRESH, FIT_FRESH_RESTORE, FIT_NOT };

/*
 * Another snapshot can be loaded when its machine is the same. Images are compared by
 * identity: who opens the same file twice has two, and gets a VM for each.
 */
static bool same_machine(const struct mf_sandbox *sandbox, const struct mf_snapshot *snapshot)
{
    return sandbox->image == snapshot->image &&
           sandbox->mem.bytes == snapshot->saved.memory_bytes &&
           sandbox->options.stack_bytes == snapshot->saved.stack_bytes &&
           sandbox->options.mailbox_bytes == snapshot->saved.mailbox_bytes;
}

/* A slot that nobody had is saved for those who must have one, if there is another. */
static enum fit find_fit(const struct pool_slot *slot, const struct pool_want *want)
{
    bool exact = slot->snapshot == want->snapshot;
    bool any = slot->pool->options.reuse == MF_REUSE_ANY;
    if (slot->used && !any && slot->tenant != want->tenant)
        return FIT_NOT;
    if (!exact && !same_machine(slot->sandbox, want->snapshot))
        return FIT_NOT;
    if (slot->used || any)
        return exact ? FIT_BEST : FIT_RESTORE;
    return exact ? FIT_FRESH : FIT_FRESH_RESTORE;
}

/* The first slot of this fit, or better one that this thread used last. */
static struct pool_slot *take_from(struct pool_shard *shard, const struct pool_want *want,
                                   enum fit fit)
{
    struct pool_slot **best = NULL;
    if (atomic_load(&shard->idle) == 0)
        return NULL;
    pthread_mutex_lock(&shard->lock);
    for (struct pool_slot **link = &shard->first; *link; link = &(*link)->next) {
        if (find_fit(*link, want) != fit)
            continue;
        best = best ? best : link;
        if (pthread_equal((*link)->thread, pthread_self())) {
            best = link;
            break;
        }
    }
    struct pool_slot *slot = best ? unlink_slot(shard, best) : NULL;
    pthread_mutex_unlock(&shard->lock);
    return slot;
}

struct pool_slot *pool_slot_take(struct mf_pool *pool, const struct pool_want *want)
{
    unsigned own = (unsigned)(pool_shard(pool) - pool->shards);
    for (enum fit fit = FIT_BEST; fit < FIT_NOT; fit++)
        for (unsigned i = 0; i < pool->nshards; i++) {
            struct pool_shard *shard = &pool->shards[(own + i) & (pool->nshards - 1)];
            struct pool_slot *slot = take_from(shard, want, fit);
            if (slot)
                return slot;
        }
    return NULL;
}

/* The last of a shard's list is the one that was idle for longest. */
struct pool_slot *pool_slot_take_any(struct mf_pool *pool)
{
    unsigned own = (unsigned)(pool_shard(pool) - pool->shards);
    for (unsigned i = 1; i <= pool->nshards; i++) {
        struct pool_shard *shard = &pool->shards[(own + i) & (pool->nshards - 1)];
        struct pool_slot *slot = NULL;
        if (atomic_load(&shard->idle) == 0)
            continue;
        pthread_mutex_lock(&shard->lock);
        struct pool_slot **link = &shard->first;
        while (*link && (*link)->next)
            link = &(*link)->next;
        if (*link)
            slot = unlink_slot(shard, link);
        pthread_mutex_unlock(&shard->lock);
        if (slot)
            return slot;
    }
    return NULL;
}

/* ---- making and ending ---- */

bool pool_reserve(struct mf_pool *pool)
{
    unsigned made = atomic_load(&pool->made);
    while (made < pool->options.slots)
        if (atomic_compare_exchange_weak(&pool->made, &made, made + 1))
            return true;
    return false;
}

void pool_unreserve(struct mf_pool *pool)
{
    atomic_fetch_sub(&pool->made, 1);
    pool_wake(pool);
}

/* From now on it is known what differs from the snapshot: the new identity, for the start. */
static int start_tracking(struct pool_slot *slot, struct mf_error *err)
{
    struct mf_sandbox *sandbox = slot->sandbox;
    struct tracking *tracking = track_get(sandbox, err);
    if (!tracking)
        return err->code;
    tracking->slot = slot;
    int rc = track_start(sandbox, tracking, err);
    if (rc == 0)
        mem_mark(&sandbox->mem, LAYOUT_GPA(BOOT), PAGE_BYTES);
    return rc;
}

int pool_slot_make(struct mf_pool *pool, struct mf_snapshot *snapshot, struct pool_slot **out,
                   struct mf_error *err)
{
    struct pool_slot *slot = calloc(1, sizeof *slot);
    if (!slot)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a slot of a pool");
    slot->pool = pool;
    slot->snapshot = mf_snapshot_hold(snapshot);
    slot->thread = pthread_self();
    atomic_init(&slot->out, false);
    int rc = mf_sandbox_create_from(snapshot, pool->options.host, &pool->options.sandbox,
                                    &slot->sandbox, err);
    if (rc == 0) {
        pool_count(pool_shard(pool), POOL_VMS_MADE, 1);
        rc = start_tracking(slot, err);
        if (rc == 0) {
            *out = slot;
            return 0;
        }
        pool_slot_end(slot);
        return rc;
    }
    mf_snapshot_close(slot->snapshot);
    free(slot);
    return rc;
}

void pool_slot_end(struct pool_slot *slot)
{
    mf_sandbox_destroy(slot->sandbox);
    pool_count(pool_shard(slot->pool), POOL_VMS_ENDED, 1);
    mf_snapshot_close(slot->snapshot);
    free(slot);
}

/* ---- resetting ---- */

/* The owner may have changed the limits of time (mf_sandbox_set_limits). */
static int reset_limits(const struct pool_slot *slot, struct mf_error *err)
{
    const struct mf_sandbox_options *given = &slot->pool->options.sandbox;
    struct mf_sandbox_options *now = &slot->sandbox->options;
    const uint64_t times[] = {
        given->timeout_ns,
        given->init_timeout_ns ? given->init_timeout_ns : given->timeout_ns,
        given->cpu_time_ns,
    };
    if (now->timeout_ns == times[0] && now->init_timeout_ns == times[1] &&
        now->cpu_time_ns == times[2])
        return 0;
    now->timeout_ns = times[0];
    now->init_timeout_ns = times[1];
    now->cpu_time_ns = times[2];
    uint64_t shortest = 0;
    for (size_t i = 0; i < ARRAY_LEN(times); i++)
        if (times[i] != 0 && (shortest == 0 || times[i] < shortest))
            shortest = times[i];
    return limits_watch(&slot->sandbox->limits, shortest, err);
}

/* What belongs to whoever had the sandbox, and is not part of any snapshot. */
static int reset_host_side(struct pool_slot *slot, struct mf_error *err)
{
    struct mf_sandbox *sandbox = slot->sandbox;
    limits_take(&sandbox->limits);
    memset(&sandbox->fault, 0, sizeof sandbox->fault);
    return reset_limits(slot, err);
}

int pool_slot_reset(struct pool_slot *slot, struct mf_snapshot *snapshot, struct mf_error *err)
{
    struct mf_sandbox *sandbox = slot->sandbox;
    struct tracking *tracking = (struct tracking *)sandbox->base;
    struct pool_shard *shard = pool_shard(slot->pool);
    uint64_t copied = tracking->pages_copied;
    /* First, as the guest's CPU time is counted from here. */
    memset(&sandbox->stats, 0, sizeof sandbox->stats);
    int rc = snap_restore(sandbox, snapshot, err);
    pool_count(shard, POOL_RESETS, 1);
    pool_count(shard, POOL_PAGES_COPIED, tracking->pages_copied - copied);
    if (rc == 0)
        rc = reset_host_side(slot, err);
    if (rc != 0 || snapshot == slot->snapshot)
        return rc;
    mf_snapshot_hold(snapshot);
    mf_snapshot_close(slot->snapshot);
    slot->snapshot = snapshot;
    return 0;
}

/* ---- the background ---- */

static void wake_background(struct mf_pool *pool)
{
    pthread_mutex_lock(&pool->work_lock);
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->work_lock);
}

void pool_slot_retire(struct pool_slot *slot)
{
    struct mf_pool *pool = slot->pool;
    pthread_mutex_lock(&pool->work_lock);
    slot->next = pool->doomed;
    pool->doomed = slot;
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->work_lock);
}

void pool_refill(struct mf_pool *pool)
{
    if (atomic_load_explicit(&pool->made, memory_order_relaxed) >= pool->options.slots ||
        count_ready(pool) >= pool->options.warm)
        return;
    if (!atomic_exchange(&pool->poked, true))
        wake_background(pool);
}

/* One slot more; false when there are enough, or none can be made now. */
static bool refill_one(struct mf_pool *pool)
{
    struct pool_slot *slot;
    struct mf_error err;
    if (count_ready(pool) >= pool->options.warm || !pool_reserve(pool))
        return false;
    /* Who needs a slot and makes one in vain hears of the error. */
    if (pool_slot_make(pool, pool->snapshot, &slot, &err) != 0) {
        pool_unreserve(pool);
        return false;
    }
    pool_slot_put(slot);
    pool_wake(pool);
    return true;
}

/*
 * With the lock, which is given up meanwhile. What is to be ended goes first: somebody may
 * wait for its place.
 */
static void do_work(struct mf_pool *pool)
{
    struct pool_slot *slot = pool->doomed;
    if (slot)
        pool->doomed = slot->next;
    else
        atomic_store(&pool->poked, false);
    pthread_mutex_unlock(&pool->work_lock);
    if (slot) {
        pool_slot_end(slot);
        pool_unreserve(pool);
    }
    if ((slot || refill_one(pool)) && !atomic_load(&pool->stop))
        atomic_store(&pool->poked, true);
    pthread_mutex_lock(&pool->work_lock);
}

static void *background(void *argument)
{
    struct mf_pool *pool = argument;
    pthread_mutex_lock(&pool->work_lock);
    for (;;) {
        if (pool->doomed || (atomic_load(&pool->poked) && !atomic_load(&pool->stop)))
            do_work(pool);
        else if (atomic_load(&pool->stop))
            break;
        else
            pthread_cond_wait(&pool->work, &pool->work_lock);
    }
    pthread_mutex_unlock(&pool->work_lock);
    return NULL;
}

/* The thread takes none of the program's signals. */
static int start_thread(struct mf_pool *pool, struct mf_error *err)
{
    pthread_attr_t attr;
    sigset_t all, old;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&pool->thread, &attr, background, pool);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    pool->has_thread = failed == 0;
    if (failed == 0)
        return 0;
    return error_set_errno(err, MF_E_SYSTEM, failed, "cannot start the thread of a pool");
}

int pool_slots_init(struct mf_pool *pool, struct mf_error *err)
{
    size_t bytes;
    pthread_mutex_init(&pool->work_lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pool->nshards = count_shards(pool->options.slots);
    bytes = pool->nshards * sizeof *pool->shards;
    pool->shards = aligned_alloc(_Alignof(struct pool_shard), bytes);
    if (!pool->shards) {
        pool->nshards = 0;
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a pool");
    }
    memset(pool->shards, 0, bytes);
    for (unsigned i = 0; i < pool->nshards; i++)
        pthread_mutex_init(&pool->shards[i].lock, NULL);
    return start_thread(pool, err);
}

void pool_slots_fini(struct mf_pool *pool)
{
    struct pool_slot *slot;
    if (pool->has_thread) {
        atomic_store(&pool->stop, true);
        wake_background(pool);
        pthread_join(pool->thread, NULL);
        pool->has_thread = false;
    }
    while (pool->nshards > 0 && (slot = pool_slot_take_any(pool)) != NULL)
        pool_slot_end(slot);
}
