/*
 * Standing still.
 *
 * Theory of operation. A sandbox is used by one thread at a time, which needs no lock for
 * that. So that another thread can make it stand still at any moment, the use is a
 * word: IDLE, IN_USE, HELD. Who begins a use takes it from IDLE to IN_USE, who wants it to
 * stand still stores `wanted` and either takes the word from IDLE to HELD, or interrupts the
 * guest. The run loop looks at `wanted` before each entry, and waits in pause_here
 * when the guest is where its state is whole: not below a host function, in a batch, or with
 * memory of the host mapped in, which all end by themselves.
 *
 * `wanted` and the word are a Dekker pair: either the end of a use sees `wanted` and wakes
 * who waits, or who wants sees IDLE. Everything slow happens under `lock`; nobody takes it
 * while nothing is wanted.
 */
#include "sandbox/pause.h"

#include "base/error.h"
#include "sandbox/attend.h"
#include "sandbox/sandbox.h"

#include <mayfly/migrate.h>

#include <errno.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)
#define TIMEOUT_DEFAULT_NS (10 * NS_PER_S)

void pause_init(struct pause *pause)
{
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&pause->lock, NULL);
    pthread_cond_init(&pause->changed, &clock);
    pthread_condattr_destroy(&clock);
}

void pause_fini(struct pause *pause)
{
    pthread_cond_destroy(&pause->changed);
    pthread_mutex_destroy(&pause->lock);
}

int pause_check_here(const struct mf_sandbox *sandbox, struct mf_error *err)
{
    switch (atomic_load(&sandbox->pause.where)) {
    case PAUSE_HERE:
        return 0;
    case PAUSE_MOVED:
        return error_set(err, MF_E_MOVED, "the sandbox has moved: it runs at the receiver");
    default:
        return error_set(err, MF_E_MOVED,
                         "the sandbox was handed over and may run at the receiver: here it can "
                         "only be snapshotted and destroyed");
    }
}

/* ---- the thread that uses it ---- */

static bool take(struct pause *pause, unsigned to)
{
    unsigned idle = PAUSE_IDLE;
    return atomic_compare_exchange_strong(&pause->use, &idle, to);
}

int pause_enter(struct mf_sandbox *sandbox, struct mf_error *err)
{
    struct pause *pause = &sandbox->pause;
    if (!take(pause, PAUSE_IN_USE)) {
        pthread_mutex_lock(&pause->lock);
        while (!take(pause, PAUSE_IN_USE))
            pthread_cond_wait(&pause->changed, &pause->lock);
        pthread_mutex_unlock(&pause->lock);
    }
    int rc = pause_check_here(sandbox, err);
    if (rc != 0)
        pause_leave(sandbox);
    return rc;
}

void pause_leave(struct mf_sandbox *sandbox)
{
    struct pause *pause = &sandbox->pause;
    atomic_store(&pause->use, PAUSE_IDLE);
    if (!atomic_load(&pause->wanted))
        return;
    pthread_mutex_lock(&pause->lock);
    pthread_cond_broadcast(&pause->changed);
    pthread_mutex_unlock(&pause->lock);
}

/* Nothing of the guest's state is on a stack of the host, or in memory of the host. */
static bool state_is_whole(const struct mf_sandbox *sandbox)
{
    return sandbox->depth == 1 && !sandbox->innermost && sandbox->mappings.count == 0 &&
           sandbox->pending.kind != MF_STOPPED_NOTHING && !sandbox->poisoned;
}

bool pause_wanted(const struct mf_sandbox *sandbox)
{
    return atomic_load_explicit(&sandbox->pause.wanted, memory_order_relaxed) &&
           state_is_whole(sandbox);
}

int pause_here(struct mf_sandbox *sandbox, struct mf_error *err)
{
    struct pause *pause = &sandbox->pause;
    uint64_t timeout_left_ns, cpu_left_ns;
    limits_suspend(&sandbox->limits, &timeout_left_ns, &cpu_left_ns);
    pthread_mutex_lock(&pause->lock);
    /* Those of `pause` are for who looks: another pause may follow before this thread wakes. */
    pause->timeout_left_ns = timeout_left_ns;
    pause->cpu_left_ns = cpu_left_ns;
    /* For who looks at it in between it is a guest that was stopped. */
    sandbox->state = SANDBOX_ENDED;
    sandbox->stopped = true;
    pause->still = true;
    pthread_cond_broadcast(&pause->changed);
    while (atomic_load(&pause->wanted))
        pthread_cond_wait(&pause->changed, &pause->lock);
    pause->still = false;
    pause->timeout_left_ns = pause->cpu_left_ns = 0;
    int rc = pause_check_here(sandbox, err);
    if (rc == 0) {
        sandbox->state = SANDBOX_RUNNING;
        sandbox->stopped = false;
    }
    pthread_mutex_unlock(&pause->lock);
    if (rc == 0)
        limits_arm(&sandbox->limits, timeout_left_ns, cpu_left_ns);
    return rc;
}

/* ---- who wants it to stand still ---- */

/* Waits, with the lock held, until nobody is inside or the guest stands still. */
static bool wait_still(struct mf_sandbox *sandbox, uint64_t timeout_ns)
{
    struct pause *pause = &sandbox->pause;
    uint64_t end = limits_now() + timeout_ns;
    struct timespec at = {.tv_sec = (time_t)(end / NS_PER_S), .tv_nsec = (long)(end % NS_PER_S)};
    while (!pause->still && !take(pause, PAUSE_HELD))
        if (pthread_cond_timedwait(&pause->changed, &pause->lock, &at) == ETIMEDOUT)
            return pause->still || take(pause, PAUSE_HELD);
    return true;
}

static int check_can_pause(const struct mf_sandbox *sandbox, struct mf_error *err)
{
    if (attend_of(sandbox))
        return error_set(err, MF_E_STATE,
                         "an attentive sandbox does not stand still: mf_sandbox_unattend first");
    return pause_check_here(sandbox, err);
}

int pause_begin(struct mf_sandbox *sandbox, uint64_t timeout_ns, struct mf_error *err)
{
    struct pause *pause = &sandbox->pause;
    int rc = check_can_pause(sandbox, err);
    if (rc != 0)
        return rc;
    if (atomic_exchange(&pause->wanted, true))
        return error_set(err, MF_E_STATE, "the sandbox is paused already, or a migration goes on");
    /* It may have moved between the look and the claim. */
    rc = pause_check_here(sandbox, err);
    if (rc != 0) {
        pause_end(sandbox, PAUSE_HERE);
        return rc;
    }
    pthread_mutex_lock(&pause->lock);
    if (atomic_load(&pause->use) == PAUSE_IN_USE && !pause->still)
        limits_stop(&sandbox->limits, STOP_PAUSE);
    bool still = wait_still(sandbox, timeout_ns ? timeout_ns : TIMEOUT_DEFAULT_NS);
    pthread_mutex_unlock(&pause->lock);
    limits_take_some(&sandbox->limits, STOP_PAUSE);
    if (still)
        return 0;
    pause_end(sandbox, PAUSE_HERE);
    return error_set(err, MF_E_DEADLINE,
                     "the guest does not come to a place where it could stand still: a host "
                     "function, a batch, or memory of the host that is mapped in keeps it");
}

void pause_end(struct mf_sandbox *sandbox, enum pause_whereabouts where)
{
    struct pause *pause = &sandbox->pause;
    unsigned held = PAUSE_HELD;
    pthread_mutex_lock(&pause->lock);
    /* What has left never comes back, whoever ends a pause that began too late. */
    if (atomic_load(&pause->where) == PAUSE_HERE)
        atomic_store(&pause->where, where);
    atomic_store(&pause->wanted, false);
    atomic_compare_exchange_strong(&pause->use, &held, PAUSE_IDLE);
    pthread_cond_broadcast(&pause->changed);
    pthread_mutex_unlock(&pause->lock);
}

int mf_sandbox_pause(struct mf_sandbox *sandbox, uint64_t timeout_ns, struct mf_error *err)
{
    struct mf_error own;
    err = err ? err : &own;
    error_clear(err);
    if (!sandbox)
        return error_set(err, MF_E_ARGUMENT, "no sandbox given (NULL)");
    return pause_begin(sandbox, timeout_ns, err);
}

void mf_sandbox_unpause(struct mf_sandbox *sandbox)
{
    pause_end(sandbox, PAUSE_HERE);
}
