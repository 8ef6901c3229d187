/* Pages that are still coming; see arrival.h. */
#include "sandbox/arrival.h"

#include "base/error.h"
#include "sandbox/sandbox.h"

#include <mayfly/migrate.h>

#include <errno.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)

void arrival_init(struct arrival *arrival)
{
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&arrival->lock, NULL);
    pthread_cond_init(&arrival->changed, &clock);
    pthread_condattr_destroy(&clock);
}

void arrival_fini(struct arrival *arrival)
{
    pthread_cond_destroy(&arrival->changed);
    pthread_mutex_destroy(&arrival->lock);
}

void arrival_finish(struct arrival *arrival, struct mf_sandbox *sandbox, bool lost)
{
    if (lost)
        limits_stop(&sandbox->limits, STOP_LOST);
    pthread_mutex_lock(&arrival->lock);
    arrival->lost = lost;
    arrival->done = true;
    pthread_cond_broadcast(&arrival->changed);
    pthread_mutex_unlock(&arrival->lock);
}

bool arrival_is_lost(const struct mf_sandbox *sandbox)
{
    return (atomic_load_explicit(&sandbox->limits.reasons, memory_order_relaxed) & STOP_LOST) != 0;
}

bool arrival_was_lost(const struct mf_sandbox *sandbox)
{
    struct arrival *arrival = sandbox->arrival;
    if (!arrival)
        return false;
    pthread_mutex_lock(&arrival->lock);
    bool lost = arrival->lost;
    pthread_mutex_unlock(&arrival->lock);
    return lost;
}

static int wait_for(struct arrival *arrival, uint64_t timeout_ns, struct mf_error *err)
{
    uint64_t end = limits_now() + timeout_ns;
    struct timespec at = {.tv_sec = (time_t)(end / NS_PER_S), .tv_nsec = (long)(end % NS_PER_S)};
    int rc = 0;
    pthread_mutex_lock(&arrival->lock);
    while (!arrival->done && rc == 0)
        rc = pthread_cond_timedwait(&arrival->changed, &arrival->lock, &at);
    bool done = arrival->done, lost = arrival->lost;
    pthread_mutex_unlock(&arrival->lock);
    if (lost)
        return error_set(err, MF_E_MOVED,
                         "the source was lost before all pages of the guest were here");
    return done ? 0 : error_set(err, MF_E_DEADLINE, "pages of the guest are still coming");
}

int mf_migrate_wait(struct mf_sandbox *sandbox, uint64_t timeout_ns, struct mf_error *err)
{
    struct mf_error own;
    err = err ? err : &own;
    error_clear(err);
    if (!sandbox)
        return error_set(err, MF_E_ARGUMENT, "no sandbox given (NULL)");
    return sandbox->arrival ? wait_for(sandbox->arrival, timeout_ns, err) : 0;
}
