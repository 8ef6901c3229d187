/*
 * The watchdog: one thread for all sandboxes of the process that have a time
 * limit. It keeps the call path free of system calls: a call that starts stores
 * its deadline with one atomic store, and the watchdog, which looks at least
 * twice within the shortest limit that anybody may arm, sees it in time and then
 * sleeps exactly until it.
 *
 * When no limit was armed for a while the watchdog sleeps for good. `asleep` and
 * the stored deadline are a Dekker pair: either the watchdog sees the deadline
 * before it sleeps, or the call sees `asleep` and wakes it.
 *
 * The thread, its lock and its list are the process's, not a sandbox's: ten
 * thousand sandboxes must not mean ten thousand threads. No call takes the lock
 * unless it must wake the watchdog.
 */
#include "sandbox/limits.h"

#include "base/checked.h"
#include "base/cpu.h"
#include "base/error.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define TICK_MIN_NS UINT64_C(500000)
#define TICK_MAX_NS NS_PER_S
#define IDLE_TICKS 8

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct limits *first;
    pid_t pid; /* the process whose thread this is: a forked child has none */
    atomic_bool asleep;
} watchdog = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t limits_now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

void limits_stop(struct limits *limits, enum stop_reason reason)
{
    atomic_fetch_or(&limits->reasons, reason);
    limits->vm->ops->interrupt(limits->vm);
}

unsigned limits_take(struct limits *limits)
{
    unsigned reasons = atomic_exchange(&limits->reasons, 0);
    limits->taken |= reasons;
    return reasons;
}

/* Fires the time in *armed if it still is `seen`. */
static void fire(struct limits *limits, atomic_uint_fast64_t *armed, uint64_t seen,
                 enum stop_reason reason)
{
    uint_fast64_t expected = seen;
    if (atomic_compare_exchange_strong(armed, &expected, 0))
        limits_stop(limits, reason);
}

/* Looks at one sandbox; returns when to look again, or UINT64_MAX. */
static uint64_t look(struct limits *limits, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    uint64_t deadline = atomic_load(&limits->deadline_ns);
    if (deadline != 0 && now >= deadline)
        fire(limits, &limits->deadline_ns, deadline, STOP_DEADLINE);
    else if (deadline != 0)
        next = deadline;

    uint64_t cpu_deadline = atomic_load(&limits->cpu_deadline_ns);
    if (cpu_deadline != 0) {
        uint64_t used = clock_ns(atomic_load(&limits->cpu_clock));
        if (used >= cpu_deadline)
            fire(limits, &limits->cpu_deadline_ns, cpu_deadline, STOP_CPU_TIME);
        else /* CPU time passes no faster than time */
            next = MIN(next, now + MAX(cpu_deadline - used, TICK_MIN_NS));
    }
    return next;
}

/* Looks at all; *tick is how long it may sleep while others may arm. */
static uint64_t look_at_all(uint64_t now, uint64_t *tick)
{
    uint64_t next = UINT64_MAX;
    *tick = TICK_MAX_NS;
    for (struct limits *limits = watchdog.first; limits; limits = limits->next) {
        next = MIN(next, look(limits, now));
        *tick = MIN(*tick, MAX(limits->shortest_ns / 2, TICK_MIN_NS));
    }
    return next;
}

static void sleep_until(uint64_t when)
{
    struct timespec at = {.tv_sec = (time_t)(when / NS_PER_S), .tv_nsec = (long)(when % NS_PER_S)};
    pthread_cond_timedwait(&watchdog.wake, &watchdog.lock, &at);
}

static void *watch(void *unused)
{
    (void)unused;
    unsigned idle = 0;
    pthread_mutex_lock(&watchdog.lock);
    for (;;) {
        uint64_t tick, now = limits_now();
        uint64_t next = look_at_all(now, &tick);
        idle = next == UINT64_MAX ? idle + 1 : 0;
        if (idle <= IDLE_TICKS) {
            sleep_until(MIN(next, now + tick));
            continue;
        }
        atomic_store(&watchdog.asleep, true);
        if (look_at_all(limits_now(), &tick) == UINT64_MAX)
            pthread_cond_wait(&watchdog.wake, &watchdog.lock);
        atomic_store(&watchdog.asleep, false);
        idle = 0;
    }
    return NULL;
}

/* A child has none of the parent's threads, also not the one that held the lock just then. */
static void renew_lock(void)
{
    pthread_mutex_init(&watchdog.lock, NULL);
}

static void renew_lock_after_fork(void)
{
    pthread_atfork(NULL, NULL, renew_lock);
}

/* Starts the thread, if this process has none. Called with the lock held. */
static int start_watchdog(struct mf_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (watchdog.pid == getpid())
        return 0;
    pthread_once(&once, renew_lock_after_fork);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&watchdog.wake, &clock);
    pthread_condattr_destroy(&clock);
    watchdog.first = NULL; /* a forked child cannot use its parent's sandboxes */
    atomic_store(&watchdog.asleep, false);

    /* The thread takes none of the program's signals. */
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 256 << 10);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&thread, &attr, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (failed)
        return error_set_errno(err, MF_E_SYSTEM, failed,
                               "cannot start the thread that watches time limits");
    watchdog.pid = getpid();
    return 0;
}

static void unlink_limits(struct limits *limits)
{
    if (limits->prev)
        limits->prev->next = limits->next;
    else if (watchdog.first == limits)
        watchdog.first = limits->next;
    if (limits->next)
        limits->next->prev = limits->prev;
    limits->next = limits->prev = NULL;
    limits->watched = false;
}

static void link_limits(struct limits *limits)
{
    limits->prev = NULL;
    limits->next = watchdog.first;
    if (limits->next)
        limits->next->prev = limits;
    watchdog.first = limits;
    limits->watched = true;
}

int limits_watch(struct limits *limits, uint64_t shortest_ns, struct mf_error *err)
{
    int rc = 0;
    if (shortest_ns == 0 && !limits->watched)
        return 0;
    pthread_mutex_lock(&watchdog.lock);
    limits->shortest_ns = shortest_ns;
    if (shortest_ns != 0)
        rc = start_watchdog(err);
    if (shortest_ns == 0)
        unlink_limits(limits);
    else if (rc == 0 && !limits->watched)
        link_limits(limits);
    if (rc == 0)
        pthread_cond_signal(&watchdog.wake);
    pthread_mutex_unlock(&watchdog.lock);
    return rc;
}

void limits_init(struct limits *limits, struct vm *vm)
{
    memset(limits, 0, sizeof *limits);
    limits->vm = vm;
}

void limits_fini(struct limits *limits)
{
    if (!limits->watched)
        return;
    pthread_mutex_lock(&watchdog.lock);
    unlink_limits(limits);
    pthread_mutex_unlock(&watchdog.lock);
}

void limits_arm(struct limits *limits, uint64_t timeout_ns, uint64_t cpu_time_ns)
{
    limits->armed = limits->taken = 0;
    if (timeout_ns != 0) {
        uint64_t deadline;
        if (!add_u64(limits_now(), timeout_ns, &deadline))
            deadline = UINT64_MAX;
        limits->armed |= STOP_DEADLINE;
        atomic_store(&limits->deadline_ns, deadline);
    }
    if (cpu_time_ns != 0) {
        uint64_t deadline;
        clockid_t clock;
        pthread_getcpuclockid(pthread_self(), &clock);
        atomic_store(&limits->cpu_clock, clock);
        if (!add_u64(clock_ns(clock), cpu_time_ns, &deadline))
            deadline = UINT64_MAX;
        limits->armed |= STOP_CPU_TIME;
        atomic_store(&limits->cpu_deadline_ns, deadline);
    }
    if (limits->armed != 0 && atomic_load(&watchdog.asleep)) {
        pthread_mutex_lock(&watchdog.lock);
        pthread_cond_signal(&watchdog.wake);
        pthread_mutex_unlock(&watchdog.lock);
    }
}

/*
 * Takes a time back. When the watchdog has it already, waits for the moment until
 * its bit is there, and clears it.
 */
static void take_back(struct limits *limits, atomic_uint_fast64_t *armed, enum stop_reason reason)
{
    if (!(limits->armed & reason) || atomic_exchange(armed, 0) != 0 || (limits->taken & reason))
        return;
    while (!(atomic_load(&limits->reasons) & reason))
        cpu_relax();
    atomic_fetch_and(&limits->reasons, ~(unsigned)reason);
}

void limits_disarm(struct limits *limits)
{
    take_back(limits, &limits->deadline_ns, STOP_DEADLINE);
    take_back(limits, &limits->cpu_deadline_ns, STOP_CPU_TIME);
    limits->armed = 0;
}
