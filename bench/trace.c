/*
 * Counts system calls with ptrace: a child process runs the measure, this one stops it
 * at each call. That needs no right beyond that of a parent (where perf's tracepoints are
 * root's), tells the calls apart, and counts the threads and processes that the child
 * makes. It disturbs times, which nobody takes here.
 *
 * Source: ptrace(2).
 */
#include "counters.h"
#include "measures.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that takes longer is ended. */
#define TRACE_LIMIT_S 120
/* Numbers of system calls that are told apart. */
#define NUMBERS       512

/* X(name): what Mayfly and the C library are known to call; others are shown as numbers. */
#define SYSCALL_LIST(X)                                                                      \
    X(ioctl) X(mmap) X(munmap) X(mprotect) X(mremap) X(madvise) X(brk) X(futex) X(read)      \
    X(write) X(pread64) X(pwrite64) X(readv) X(writev) X(openat) X(close) X(fstat)           \
    X(newfstatat) X(lseek) X(fcntl) X(dup) X(dup3) X(pipe2) X(readlinkat) X(faccessat)       \
    X(getdents64) X(eventfd2) X(epoll_create1) X(epoll_ctl) X(epoll_pwait) X(ppoll)          \
    X(timerfd_create) X(timerfd_settime) X(clone) X(clone3) X(execve) X(exit) X(exit_group)  \
    X(wait4) X(waitid) X(tgkill) X(kill) X(getpid) X(gettid) X(sched_yield)                  \
    X(sched_getaffinity) X(sched_setaffinity) X(nanosleep) X(clock_nanosleep)                \
    X(clock_gettime) X(rt_sigaction) X(rt_sigprocmask) X(rt_sigreturn) X(rt_sigtimedwait)    \
    X(sigaltstack) X(prlimit64) X(getrusage) X(getrandom) X(uname) X(memfd_create)           \
    X(set_robust_list) X(rseq) X(set_tid_address) X(prctl) X(membarrier) X(ftruncate)

static const struct {
    long number;
    const char *name;
} names[] = {
#define SYSCALL_NAME(name) {SYS_##name, #name},
    SYSCALL_LIST(SYSCALL_NAME)
#undef SYSCALL_NAME
#ifdef SYS_arch_prctl
    {SYS_arch_prctl, "arch_prctl"},
#endif
#ifdef SYS_access
    {SYS_access, "access"},
    {SYS_open, "open"},
    {SYS_readlink, "readlink"},
    {SYS_poll, "poll"},
    {SYS_vfork, "vfork"},
#endif
};

/* What child and parent share. */
struct shared {
    atomic_bool counting;
    bool done;
    struct mf_error error;
};

struct trace {
    struct shared *shared;
    pid_t child;
    uint64_t counts[NUMBERS], total;
};

static const char *syscall_name(unsigned number)
{
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].number == (long)number)
            return names[i].name;
    }
    return NULL;
}

static int run_rounds(const struct bench *bench, const struct bench_figure *figure, unsigned rounds,
                      struct shared *shared)
{
    double value;
    void *state;
    unsigned i;
    int status = figure->product->open(bench, &state, &shared->error);

    if (status != MF_OK)
        return status;
    status = figure->product->round(state, figure->operations, &value, &shared->error);
    atomic_store(&shared->counting, true);
    for (i = 0; i < rounds && status == MF_OK; i++)
        status = figure->product->round(state, figure->operations, &value, &shared->error);
    atomic_store(&shared->counting, false);
    figure->product->close(state);
    return status;
}

/* The child: waits until it is traced, then runs. */
static void run_child(const struct bench *bench, const struct bench_figure *figure, unsigned rounds,
                      struct shared *shared, int go_fd)
{
    char byte;

    alarm(TRACE_LIMIT_S);
    if (read(go_fd, &byte, 1) == 1)
        shared->done = run_rounds(bench, figure, rounds, shared) == MF_OK;
    _exit(0);
}

/* Takes hold of the child, which waits for a byte of `go_fd`, and lets it go on. */
static int trace_start(struct trace *trace, int go_fd)
{
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
                   PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL;
    int status;

    if (ptrace(PTRACE_SEIZE, trace->child, NULL, options) != 0 ||
        ptrace(PTRACE_INTERRUPT, trace->child, NULL, NULL) != 0 ||
        waitpid(trace->child, &status, __WALL) != trace->child || !WIFSTOPPED(status) ||
        ptrace(PTRACE_SYSCALL, trace->child, NULL, NULL) != 0)
        return -1;
    return write(go_fd, "", 1) == 1 ? 0 : -1;
}

/* A thread stands before a system call or behind it. False: this kernel does not tell. */
static bool count_stop(struct trace *trace, pid_t thread)
{
    struct __ptrace_syscall_info info;
    long size = ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof(info), &info);

    /* ESRCH: the thread was killed meanwhile. */
    if (size <= 0)
        return size < 0 && errno == ESRCH;
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY && atomic_load(&trace->shared->counting)) {
        trace->total++;
        if (info.entry.nr < NUMBERS)
            trace->counts[info.entry.nr]++;
    }
    return true;
}

/* Lets the child run to its end; 0, or an errno. */
static int trace_run(struct trace *trace)
{
    int status;
    pid_t thread;

    while ((thread = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
        bool event = status >> 16 != 0;
        int signal = 0;

        if (thread < 0)
            continue;
        if (thread == trace->child && !WIFSTOPPED(status))
            return 0;
        if (!WIFSTOPPED(status))
            continue;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
            if (!count_stop(trace, thread))
                return ENOSYS;
        } else if (!event && WSTOPSIG(status) != SIGTRAP) {
            signal = WSTOPSIG(status);
        }
        ptrace(PTRACE_SYSCALL, thread, NULL, (long)signal);
    }
    return errno;
}

static void report(const struct trace *trace, double operations, struct bench_profile *profile)
{
    unsigned i;

    profile_add(profile, false, (double)trace->total / operations, "ptrace", "system calls");
    for (i = 0; i < NUMBERS; i++) {
        const char *name = syscall_name(i);

        if (trace->counts[i] == 0)
            continue;
        if (name != NULL)
            profile_add(profile, true, (double)trace->counts[i] / operations, "", "%s", name);
        else
            profile_add(profile, true, (double)trace->counts[i] / operations, "", "number %u", i);
    }
}

/* Runs the child; NULL, or why that did not work. */
static const char *trace_child(const struct bench *bench, const struct bench_figure *figure,
                               unsigned rounds, struct trace *trace)
{
    const char *reason = NULL;
    int ends[2], number;

    if (pipe(ends) != 0)
        return strerror(errno);
    trace->child = fork();
    if (trace->child == 0) {
        close(ends[1]);
        run_child(bench, figure, rounds, trace->shared, ends[0]);
    }
    close(ends[0]);
    if (trace->child < 0) {
        close(ends[1]);
        return strerror(errno);
    }
    number = trace_start(trace, ends[1]) == 0 ? trace_run(trace) : errno;
    close(ends[1]);
    if (number != 0) {
        kill(trace->child, SIGKILL);
        waitpid(trace->child, NULL, __WALL);
        reason =
            number == EPERM || number == EACCES ? "ptrace is not allowed here" : strerror(number);
    } else if (!trace->shared->done) {
        trace->shared->error.message[sizeof(trace->shared->error.message) - 1] = '\0';
        reason = trace->shared->error.message[0] != '\0' ? trace->shared->error.message
                                                         : "the traced process died";
    }
    return reason;
}

void trace_syscalls(const struct bench *bench, const struct bench_figure *figure, unsigned rounds,
                    struct bench_profile *profile)
{
    struct bench quiet = *bench;
    struct trace *trace = calloc(1, sizeof(*trace));
    void *shared = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const char *reason = "out of memory";

    quiet.watch = NULL;
    if (trace != NULL && shared != MAP_FAILED) {
        trace->shared = shared;
        reason = trace_child(&quiet, figure, rounds, trace);
    }
    if (reason != NULL)
        profile_add(profile, false, -1, reason, "system calls");
    else
        report(trace, profile->operations, profile);
    if (shared != MAP_FAILED)
        munmap(shared, sizeof(struct shared));
    free(trace);
}
