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
 * An attentive guest that polls keeps the watchdog awake, which counts its quiet times.
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
#define QUIET_TICK_MIN_NS UINT64_C(50000)
/* A guest that was asked to leave gets at least so long before it is stopped. */
#define QUIET_GRACE_NS UINT64_C(10000000)

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
    return limits_take_some(limits, ~0u);
}

unsigned limits_take_some(struct limits *limits, unsigned which)
{
    unsigned reasons = atomic_fetch_and(&limits->reasons, ~which) & which;
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

/* Looks whether an attentive guest has had no call for too long; returns as look(). */
static uint64_t look_at_idle(struct limits *limits, uint64_t now)
{
    struct limits_idle *idle = &limits->idle;
    if (idle->idle_ns == 0 || !atomic_load(&idle->polling)) {
        idle->since_ns = 0;
        return UINT64_MAX;
    }
    unsigned turns = atomic_load(&idle->turns);
    uint64_t quiet = now - idle->since_ns;
    if (idle->since_ns == 0 || turns != idle->seen || turns % 2 != 0) {
        idle->seen = turns;
        idle->asked = false;
        idle->since_ns = now;
    } else if (!idle->asked && quiet >= idle->idle_ns) {
        /* With set_polling a Dekker pair: nothing is asked of a guest that has come out. */
        atomic_store(&idle->asking, true);
        if (atomic_load(&idle->polling))
            idle->ask(idle->context);
        atomic_store(&idle->asking, false);
        idle->asked = true;
        idle->since_ns = now;
    } else if (idle->asked && quiet >= MAX(idle->idle_ns, QUIET_GRACE_NS)) {
        limits_stop(limits, STOP_IDLE);
        idle->since_ns = now;
    }
    return now + MAX(idle->idle_ns / 2, QUIET_TICK_MIN_NS);
}

/* Looks at one sandbox; returns when to look again, or UINT64_MAX. */
static uint64_t look(struct limits *limits, uint64_t now)
{
    uint64_t next = look_at_idle(limits, now);
    uint64_t deadline = atomic_load(&limits->deadline_ns);
    if (deadline != 0 && now >= deadline)
        fire(limits, &limits->deadline_ns, deadline, STOP_DEADLINE);
    else if (deadline != 0)
        next = MIN(next, deadline);

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
        if (limits->shortest_ns != 0)
            *tick = MIN(*tick, MAX(limits->shortest_ns / 2, TICK_MIN_NS));
        if (limits->idle.idle_ns != 0)
            *tick = MIN(*tick, MAX(limits->idle.idle_ns / 2, TICK_MIN_NS));
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

/* Enters or leaves the list after a change. Called with the lock held. */
static int update_watch(struct limits *limits, struct mf_error *err)
{
    int rc = 0;
    bool wanted = limits->shortest_ns != 0 || limits->idle.idle_ns != 0;
    if (wanted)
        rc = start_watchdog(err);
    if (!wanted && limits->watched)
        unlink_limits(limits);
    else if (wanted && rc == 0 && !limits->watched)
        link_limits(limits);
    if (wanted && rc == 0)
        pthread_cond_signal(&watchdog.wake);
    return rc;
}

int limits_watch(struct limits *limits, uint64_t shortest_ns, struct mf_error *err)
{
    if (shortest_ns == 0 && !limits->watched)
        return 0;
    pthread_mutex_lock(&watchdog.lock);
    limits->shortest_ns = shortest_ns;
    int rc = update_watch(limits, err);
    pthread_mutex_unlock(&watchdog.lock);
    return rc;
}

int limits_watch_idle(struct limits *limits, uint64_t idle_ns, void (*ask)(void *context),
                      void *context, struct mf_error *err)
{
    if (idle_ns == 0 && !limits->watched)
        return 0;
    pthread_mutex_lock(&watchdog.lock);
    limits->idle.idle_ns = idle_ns;
    limits->idle.ask = ask;
    limits->idle.context = context;
    limits->idle.since_ns = 0;
    int rc = update_watch(limits, err);
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

/* After something was stored that the watchdog must see: the other half of the Dekker pair. */
static void wake_watchdog(void)
{
    if (!atomic_load(&watchdog.asleep))
        return;
    pthread_mutex_lock(&watchdog.lock);
    pthread_cond_signal(&watchdog.wake);
    pthread_mutex_unlock(&watchdog.lock);
}

void limits_set_polling(struct limits *limits, bool polling)
{
    atomic_store(&limits->idle.polling, polling);
    if (polling)
        wake_watchdog();
    /* What is asked is written to guest memory, which may be restored from now on. */
    while (!polling && atomic_load(&limits->idle.asking))
        cpu_relax();
}

void limits_set_thread(struct limits *limits, const pthread_t *thread)
{
    clockid_t clock;
    limits->clock_given = thread && pthread_getcpuclockid(*thread, &clock) == 0;
    if (limits->clock_given)
        atomic_store(&limits->cpu_clock, clock);
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
        clockid_t clock = atomic_load(&limits->cpu_clock);
        if (!limits->clock_given) {
            pthread_getcpuclockid(pthread_self(), &clock);
            atomic_store(&limits->cpu_clock, clock);
        }
        if (!add_u64(clock_ns(clock), cpu_time_ns, &deadline))
            deadline = UINT64_MAX;
        limits->armed |= STOP_CPU_TIME;
        atomic_store(&limits->cpu_deadline_ns, deadline);
    }
    if (limits->armed != 0)
        wake_watchdog();
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

static uint64_t left_until(uint64_t end, uint64_t now)
{
    return end > now ? end - now : 1;
}

void limits_suspend(struct limits *limits, uint64_t *timeout_left_ns, uint64_t *cpu_left_ns)
{
    unsigned armed = limits->armed;
    uint64_t end = atomic_load(&limits->deadline_ns);
    uint64_t cpu_end = atomic_load(&limits->cpu_deadline_ns);
    *timeout_left_ns = armed & STOP_DEADLINE ? left_until(end, limits_now()) : 0;
    *cpu_left_ns =
        armed & STOP_CPU_TIME ? left_until(cpu_end, clock_ns(atomic_load(&limits->cpu_clock))) : 0;
    limits_disarm(limits);
}

void limits_disarm(struct limits *limits)
{
    take_back(limits, &limits->deadline_ns, STOP_DEADLINE);
    take_back(limits, &limits->cpu_deadline_ns, STOP_CPU_TIME);
    limits->armed = 0;
}
