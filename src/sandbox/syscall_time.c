/*
 * Clocks, and the system calls that wait. The guest is one thread and gets no
 * signals, so nothing but time can end a wait: a wait without an end stops the
 * sandbox and says so, and the others sleep in the host in short slices, so that
 * interrupts and limits are noticed.
 */
#include "base/checked.h"
#include "sandbox/linux_abi.h"
#include "sandbox/syscall_impl.h"

#include <errno.h>
#include <time.h>

#define NS_PER_S 1000000000
#define NS_PER_US 1000
#define NS_PER_MS 1000000
/* How long the host sleeps before it looks at interrupts and limits again. */
#define SLICE_NS (10 * NS_PER_MS)
#define COARSE_NS (4 * NS_PER_MS)
#define NS_PER_TICK (10 * NS_PER_MS) /* 100 clock ticks a second, as on Linux */
/* Longer waits than this (146 years) are cut to it. */
#define WAIT_MAX_NS (UINT64_MAX / 4)
#define POLLFDS_MAX 1024
#define SELECT_BITS 1024
#define SELECT_WORDS (SELECT_BITS / 64)

/* The guest's CPU time: goes back with a restore, like all that the guest can see. */
static uint64_t cpu_time_ns(const struct syscall_call *call)
{
    return call->sandbox->stats.guest_time_ns - call->sandbox->sys.cpu_base_ns;
}

static uint64_t host_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t syscall_monotonic_ns(const struct syscall_call *call)
{
    return host_clock(CLOCK_MONOTONIC) - call->sandbox->sys.clock_base_ns;
}

uint64_t syscall_realtime_ns(void)
{
    return host_clock(CLOCK_REALTIME);
}

int64_t syscall_wait_until(const struct syscall_call *call, uint64_t end_ns, bool realtime)
{
    while (!limits_stop_requested(call->sandbox)) {
        uint64_t now = realtime ? syscall_realtime_ns() : syscall_monotonic_ns(call);
        if (now >= end_ns)
            return 0;
        struct timespec slice = {0, (long)MIN(end_ns - now, SLICE_NS)};
        nanosleep(&slice, NULL);
    }
    return -EINTR;
}

static struct linux_timespec timespec_from_ns(uint64_t ns)
{
    return (struct linux_timespec){(int64_t)(ns / NS_PER_S), (int64_t)(ns % NS_PER_S)};
}

static struct linux_timeval timeval_from_ns(uint64_t ns)
{
    return (struct linux_timeval){(int64_t)(ns / NS_PER_S), (int64_t)(ns % NS_PER_S) / NS_PER_US};
}

/* Seconds and a part of them in ns, at most WAIT_MAX_NS: 0 or -EINVAL. */
static int64_t make_ns(int64_t sec, int64_t part, uint64_t part_ns, uint64_t *ns)
{
    if (sec < 0 || part < 0 || (uint64_t)part >= NS_PER_S / part_ns)
        return -EINVAL;
    *ns = (uint64_t)sec > WAIT_MAX_NS / NS_PER_S - 1
              ? WAIT_MAX_NS
              : (uint64_t)sec * NS_PER_S + (uint64_t)part * part_ns;
    return 0;
}

/* A struct timespec of the guest: 0, -EFAULT or -EINVAL. */
static int64_t get_timespec(const struct syscall_call *call, mf_gva from, uint64_t *ns)
{
    struct linux_timespec ts;
    int64_t result = syscall_copy_in(call, &ts, from, sizeof(ts));
    return result < 0 ? result : make_ns(ts.sec, ts.nsec, 1, ns);
}

/* Now by one of the guest's clocks: 0 or -EINVAL. */
static int64_t read_clock(const struct syscall_call *call, uint32_t clock, uint64_t *ns)
{
    switch (clock) {
    case LINUX_CLOCK_REALTIME:
    case LINUX_CLOCK_REALTIME_COARSE:
    case LINUX_CLOCK_TAI:
        *ns = syscall_realtime_ns();
        return 0;
    case LINUX_CLOCK_MONOTONIC:
    case LINUX_CLOCK_MONOTONIC_RAW:
    case LINUX_CLOCK_MONOTONIC_COARSE:
    case LINUX_CLOCK_BOOTTIME:
        *ns = syscall_monotonic_ns(call);
        return 0;
    case LINUX_CLOCK_PROCESS_CPUTIME:
    case LINUX_CLOCK_THREAD_CPUTIME:
        *ns = cpu_time_ns(call);
        return 0;
    default:
        return -EINVAL;
    }
}

int64_t sys_clock_gettime(struct syscall_call *call)
{
    uint64_t ns;
    if (read_clock(call, (uint32_t)call->arg[0], &ns) < 0)
        return -EINVAL;
    struct linux_timespec ts = timespec_from_ns(ns);
    return syscall_copy_out(call, call->arg[1], &ts, sizeof(ts));
}

int64_t sys_clock_getres(struct syscall_call *call)
{
    uint64_t ns;
    uint32_t clock = (uint32_t)call->arg[0];
    if (read_clock(call, clock, &ns) < 0)
        return -EINVAL;
    if (call->arg[1] == 0)
        return 0;
    bool coarse = clock == LINUX_CLOCK_REALTIME_COARSE || clock == LINUX_CLOCK_MONOTONIC_COARSE;
    struct linux_timespec ts = {0, coarse ? COARSE_NS : 1};
    return syscall_copy_out(call, call->arg[1], &ts, sizeof(ts));
}

int64_t sys_gettimeofday(struct syscall_call *call)
{
    static const uint32_t timezone_utc[2];
    struct linux_timeval tv = timeval_from_ns(syscall_realtime_ns());
    int64_t result = 0;
    if (call->arg[0] != 0)
        result = syscall_copy_out(call, call->arg[0], &tv, sizeof(tv));
    if (result == 0 && call->arg[1] != 0)
        result = syscall_copy_out(call, call->arg[1], timezone_utc, sizeof(timezone_utc));
    return result;
}

int64_t sys_time(struct syscall_call *call)
{
    int64_t now = (int64_t)(syscall_realtime_ns() / NS_PER_S);
    if (call->arg[0] != 0 && syscall_copy_out(call, call->arg[0], &now, sizeof(now)) < 0)
        return -EFAULT;
    return now;
}

int64_t sys_nanosleep(struct syscall_call *call)
{
    uint64_t ns;
    int64_t result = get_timespec(call, call->arg[0], &ns);
    if (result < 0)
        return result;
    return syscall_wait_until(call, syscall_monotonic_ns(call) + ns, false);
}

int64_t sys_clock_nanosleep(struct syscall_call *call)
{
    uint32_t clock = (uint32_t)call->arg[0];
    bool realtime = clock == LINUX_CLOCK_REALTIME || clock == LINUX_CLOCK_TAI;
    uint64_t ns;
    if (!realtime && clock != LINUX_CLOCK_MONOTONIC && clock != LINUX_CLOCK_BOOTTIME)
        return read_clock(call, clock, &ns) < 0 ? -EINVAL : -EOPNOTSUPP;
    int64_t result = get_timespec(call, call->arg[2], &ns);
    if (result < 0)
        return result;
    if (call->arg[1] & LINUX_TIMER_ABSTIME)
        return syscall_wait_until(call, ns, realtime);
    /* Setting the time of day does not change a relative sleep. */
    return syscall_wait_until(call, syscall_monotonic_ns(call) + ns, false);
}

int64_t sys_times(struct syscall_call *call)
{
    struct linux_tms tms = {
        .utime = (int64_t)(cpu_time_ns(call) / NS_PER_TICK),
    };
    if (call->arg[0] != 0 && syscall_copy_out(call, call->arg[0], &tms, sizeof(tms)) < 0)
        return -EFAULT;
    return (int64_t)(syscall_monotonic_ns(call) / NS_PER_TICK);
}

int64_t sys_getrusage(struct syscall_call *call)
{
    int32_t who = (int32_t)call->arg[0];
    struct linux_rusage usage = {0};
    if (who < -1 || who > 1)
        return -EINVAL;
    if (who != -1) { /* the children of a program that cannot have any */
        usage.utime = timeval_from_ns(cpu_time_ns(call));
        usage.maxrss = (int64_t)(mem_pages_used(&call->sandbox->mem) * (PAGE_BYTES / 1024));
    }
    return syscall_copy_out(call, call->arg[1], &usage, sizeof(usage));
}

int64_t sys_sched_yield(struct syscall_call *call)
{
    (void)call;
    return 0;
}

int64_t sys_pause(struct syscall_call *call)
{
    return syscall_stop_waiting(call);
}

int64_t sys_rt_sigsuspend(struct syscall_call *call)
{
    return syscall_stop_waiting(call);
}

/* FUTEX_WAIT and FUTEX_WAIT_BITSET. Nobody else can change or wake the word. */
static int64_t futex_wait(struct syscall_call *call, bool bitset)
{
    uint64_t timeout = 0;
    uint32_t word;
    if (bitset && (uint32_t)call->arg[5] == 0)
        return -EINVAL;
    if (call->arg[3] != 0) {
        int64_t result = get_timespec(call, call->arg[3], &timeout);
        if (result < 0)
            return result;
    }
    if (syscall_copy_in(call, &word, call->arg[0], sizeof(word)) < 0)
        return -EFAULT;
    if (word != (uint32_t)call->arg[2])
        return -EAGAIN;
    if (call->arg[3] == 0)
        return syscall_stop_waiting(call);
    /* The timeout of the bitset form is a point in time. */
    bool realtime = bitset && (call->arg[1] & LINUX_FUTEX_CLOCK_REALTIME);
    uint64_t end = bitset ? timeout : syscall_monotonic_ns(call) + timeout;
    int64_t result = syscall_wait_until(call, end, realtime);
    return result < 0 ? result : -ETIMEDOUT;
}

int64_t sys_futex(struct syscall_call *call)
{
    uint32_t operation = (uint32_t)call->arg[1] & ~LINUX_FUTEX_FLAGS;
    uint32_t word;
    if (call->arg[0] % sizeof(word) != 0)
        return -EINVAL;
    switch (operation) {
    case LINUX_FUTEX_WAIT:
    case LINUX_FUTEX_WAIT_BITSET:
        return futex_wait(call, operation == LINUX_FUTEX_WAIT_BITSET);
    case LINUX_FUTEX_WAKE_BITSET:
        return (uint32_t)call->arg[5] == 0 ? -EINVAL : 0;
    case LINUX_FUTEX_CMP_REQUEUE:
        if (syscall_copy_in(call, &word, call->arg[0], sizeof(word)) < 0)
            return -EFAULT;
        return word == (uint32_t)call->arg[5] ? 0 : -EAGAIN;
    case LINUX_FUTEX_WAKE:
    case LINUX_FUTEX_REQUEUE:
        return 0;
    default:
        return syscall_deny(call);
    }
}

/* The end of a poll or select that found nothing ready: 0 or -EINTR. */
static int64_t wait_for_nothing(struct syscall_call *call, bool for_ever, uint64_t timeout_ns)
{
    if (for_ever)
        return syscall_stop_waiting(call);
    return syscall_wait_until(call, syscall_monotonic_ns(call) + timeout_ns, false);
}

/* What poll says about one descriptor: input may block in the embedder, but is there. */
static int16_t poll_one(const struct syscall_call *call, const struct linux_pollfd *pollfd)
{
    if (pollfd->fd < 0)
        return 0;
    if (!syscall_fd_open(call, (uint32_t)pollfd->fd))
        return LINUX_POLLNVAL;
    int16_t ready = pollfd->fd == 0 ? LINUX_POLLIN | LINUX_POLLRDNORM
                                    : LINUX_POLLOUT | LINUX_POLLWRNORM;
    return pollfd->events & ready;
}

static int64_t poll_descriptors(struct syscall_call *call, bool for_ever, uint64_t timeout_ns)
{
    uint32_t count = (uint32_t)call->arg[1];
    int64_t ready = 0;
    if (count > POLLFDS_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < count; i++) {
        struct linux_pollfd pollfd;
        mf_gva place = call->arg[0] + i * sizeof(pollfd);
        if (syscall_copy_in(call, &pollfd, place, sizeof(pollfd)) < 0)
            return -EFAULT;
        pollfd.revents = poll_one(call, &pollfd);
        ready += pollfd.revents != 0;
        if (syscall_copy_out(call, place, &pollfd, sizeof(pollfd)) < 0)
            return -EFAULT;
    }
    return ready > 0 ? ready : wait_for_nothing(call, for_ever, timeout_ns);
}

int64_t sys_poll(struct syscall_call *call)
{
    int32_t timeout_ms = (int32_t)call->arg[2];
    return poll_descriptors(call, timeout_ms < 0, (uint64_t)(uint32_t)timeout_ms * NS_PER_MS);
}

int64_t sys_ppoll(struct syscall_call *call)
{
    uint64_t timeout = 0;
    if (call->arg[2] != 0) {
        int64_t result = get_timespec(call, call->arg[2], &timeout);
        if (result < 0)
            return result;
    }
    return poll_descriptors(call, call->arg[2] == 0, timeout);
}

/* One set of select: keeps of its bits those in `ready`, and counts them. 0 or -errno. */
static int64_t select_set(struct syscall_call *call, mf_gva set, uint32_t bits, uint64_t ready)
{
    uint64_t words[SELECT_WORDS];
    size_t n = (bits + 63) / 64;
    int64_t count = 0;
    if (set == 0 || n == 0)
        return 0;
    if (syscall_copy_in(call, words, set, n * sizeof(words[0])) < 0)
        return -EFAULT;
    if (bits % 64 != 0)
        words[n - 1] &= (UINT64_C(1) << bits % 64) - 1;
    for (uint32_t fd = 0; fd < n * 64; fd++) {
        if ((words[fd / 64] >> fd % 64 & 1) && !syscall_fd_open(call, fd))
            return -EBADF;
    }
    words[0] &= ready;
    for (uint64_t left = words[0]; left != 0; left &= left - 1)
        count++;
    if (syscall_copy_out(call, set, words, n * sizeof(words[0])) < 0)
        return -EFAULT;
    return count;
}

static int64_t select_descriptors(struct syscall_call *call, bool for_ever, uint64_t timeout_ns)
{
    /* Readable, writable, and the exceptional conditions, which never occur. */
    static const uint64_t ready[3] = {1 << 0, 1 << 1 | 1 << 2, 0};
    int32_t bits = (int32_t)call->arg[0];
    int64_t total = 0;
    if (bits < 0)
        return -EINVAL;
    for (size_t i = 0; i < ARRAY_LEN(ready); i++) {
        uint32_t limit = MIN((uint32_t)bits, SELECT_BITS);
        int64_t count = select_set(call, call->arg[1 + i], limit, ready[i]);
        if (count < 0)
            return count;
        total += count;
    }
    return total > 0 ? total : wait_for_nothing(call, for_ever, timeout_ns);
}

int64_t sys_select(struct syscall_call *call)
{
    uint64_t timeout = 0;
    if (call->arg[4] != 0) {
        struct linux_timeval tv;
        if (syscall_copy_in(call, &tv, call->arg[4], sizeof(tv)) < 0)
            return -EFAULT;
        if (make_ns(tv.sec, tv.usec, NS_PER_US, &timeout) < 0)
            return -EINVAL;
    }
    return select_descriptors(call, call->arg[4] == 0, timeout);
}

int64_t sys_pselect6(struct syscall_call *call)
{
    uint64_t timeout = 0;
    if (call->arg[4] != 0) {
        int64_t result = get_timespec(call, call->arg[4], &timeout);
        if (result < 0)
            return result;
    }
    return select_descriptors(call, call->arg[4] == 0, timeout);
}
