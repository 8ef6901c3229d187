/*
 * The inside of the system call table: which calls are answered, what an answer
 * has to work with, and helpers. Which file does what:
 *   syscall.c          dispatch, denied calls, names
 *   syscall_io.c       descriptors 0 to 2
 *   syscall_memory.c   mappings (over addrspace.h)
 *   syscall_time.c     clocks, and everything that waits
 *   syscall_process.c  identity, signals, limits, the end of the program
 */
#ifndef SANDBOX_SYSCALL_IMPL_H
#define SANDBOX_SYSCALL_IMPL_H

#include "sandbox/sandbox.h"
#include "sandbox/syscall_list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The answered calls: call(name, what it does here). Everything else is denied. */
#define SYSCALL_ANSWERED(call)                                                              \
    /* Descriptors 0 to 2; there are no others and none can be opened. */                   \
    call(read, "descriptor 0")                                                              \
    call(readv, "descriptor 0")                                                             \
    call(write, "descriptors 1 and 2")                                                      \
    call(writev, "descriptors 1 and 2")                                                     \
    call(pread64, "-ESPIPE: the descriptors are streams")                                   \
    call(pwrite64, "-ESPIPE: the descriptors are streams")                                  \
    call(lseek, "-ESPIPE: the descriptors are streams")                                     \
    call(fadvise64, "-ESPIPE: the descriptors are streams")                                 \
    call(close, "descriptors 0 to 2")                                                       \
    call(fstat, "a terminal, or a pipe")                                                    \
    call(newfstatat, "AT_EMPTY_PATH only")                                                  \
    call(statx, "AT_EMPTY_PATH only")                                                       \
    call(ioctl, "TCGETS and TIOCGWINSZ of a terminal; otherwise -ENOTTY")                   \
    call(fcntl, "flags; no further descriptors (-EMFILE)")                                  \
    call(dup, "-EMFILE: no further descriptors")                                            \
    call(poll, "descriptors 0 to 2 are always ready")                                       \
    call(ppoll, "descriptors 0 to 2 are always ready")                                      \
    call(select, "descriptors 0 to 2 are always ready")                                     \
    call(pselect6, "descriptors 0 to 2 are always ready")                                   \
    /* Memory. */                                                                           \
    call(mmap, "anonymous memory; never writable and executable at once")                   \
    call(munmap, "whole or in part")                                                        \
    call(mprotect, "never writable and executable at once")                                 \
    call(mremap, "grows, shrinks, moves")                                                   \
    call(brk, "the heap behind the image")                                                  \
    call(madvise, "MADV_DONTNEED clears; other advice is taken and ignored")                \
    /* Time. */                                                                             \
    call(clock_gettime, "the host's clocks; CPU time is the guest's own")                   \
    call(clock_getres, "1 ns, coarse clocks 4 ms")                                          \
    call(gettimeofday, "the host's clock")                                                  \
    call(time, "the host's clock")                                                          \
    call(nanosleep, "sleeps")                                                               \
    call(clock_nanosleep, "sleeps")                                                         \
    call(times, "the guest's CPU time")                                                     \
    call(getrusage, "the guest's CPU time and memory")                                      \
    call(futex, "for programs of one thread; a wait without end stops the guest")           \
    call(pause, "stops the guest: nothing can wake it")                                     \
    call(rt_sigsuspend, "stops the guest: nothing can wake it")                             \
    call(sched_yield, "0")                                                                  \
    /* Identity and resources. */                                                           \
    call(getpid, "1")                                                                       \
    call(gettid, "1")                                                                       \
    call(getppid, "0")                                                                      \
    call(getpgrp, "1")                                                                      \
    call(getuid, "0")                                                                       \
    call(geteuid, "0")                                                                      \
    call(getgid, "0")                                                                       \
    call(getegid, "0")                                                                      \
    call(uname, "Linux on x86_64, node mayfly")                                             \
    call(sysinfo, "guest memory and time since the start")                                  \
    call(getcwd, "/")                                                                       \
    call(umask, "022")                                                                      \
    call(getcpu, "processor 0")                                                             \
    call(sched_getaffinity, "one processor")                                                \
    call(getrandom, "the host's generator")                                                 \
    call(getrlimit, "the stack; three descriptors; otherwise no limit")                     \
    call(setrlimit, "-EPERM")                                                               \
    call(prlimit64, "as getrlimit; setting gives -EPERM")                                   \
    /* The thread and its signals. */                                                       \
    call(arch_prctl, "bases of FS and GS")                                                  \
    call(set_tid_address, "1")                                                              \
    call(set_robust_list, "0")                                                              \
    call(rseq, "-ENOSYS; C libraries do without")                                           \
    call(rt_sigaction, "stored; no handler is ever called")                                 \
    call(rt_sigprocmask, "stored")                                                          \
    call(rt_sigpending, "what the guest sent to itself and blocks")                         \
    call(sigaltstack, "stored")                                                             \
    call(kill, "to itself: a fatal signal ends the guest")                                  \
    call(tkill, "to itself: a fatal signal ends the guest")                                 \
    call(tgkill, "to itself: a fatal signal ends the guest")                                \
    call(exit, "ends the guest")                                                            \
    call(exit_group, "ends the guest")

/* The user and group that the guest runs as; the loader's auxiliary vector says the same. */
#define SYSCALL_UID 0

/* How much of a transfer is copied at a time; on the stack. */
#define SYSCALL_CHUNK 16384

/* One call that is being answered. Arguments are the guest's: unchecked. */
struct syscall_call {
    struct mf_sandbox *sandbox;
    long number;
    uint64_t arg[6];
    /* What follows when it is not SYSCALL_CONTINUE; set by the functions below. */
    enum syscall_outcome outcome;
    int status;
    struct mf_error *err;
};

/* What an answer is: the result for RAX, a value or -errno. */
typedef int64_t (*syscall_handler)(struct syscall_call *call);

#define SYSCALL_DECLARE(name, text) int64_t sys_##name(struct syscall_call *call);
SYSCALL_ANSWERED(SYSCALL_DECLARE)
#undef SYSCALL_DECLARE

/* Refuses a call, or an answered call's arguments: counts and reports it; -ENOSYS or -EACCES. */
int64_t syscall_deny(struct syscall_call *call);

/* Ends the guest because it raised `signal`; returns 0. */
int64_t syscall_abort(struct syscall_call *call, int signal);

/* Stops the sandbox because the guest waits for what cannot come; returns -EINTR. */
int64_t syscall_stop_waiting(struct syscall_call *call);

/* Copies from and to guest memory: 0 or -EFAULT. */
int64_t syscall_copy_in(const struct syscall_call *call, void *dst, mf_gva from, size_t len);
int64_t syscall_copy_out(struct syscall_call *call, mf_gva to, const void *src, size_t len);

/* Whether `fd` is one of the three descriptors and not closed. The guest's int: low 32 bits. */
bool syscall_fd_open(const struct syscall_call *call, uint64_t fd);

/*
 * Does what a signal that the guest sends to itself does: nothing when it is
 * ignored, pending when it is blocked, otherwise the end (a handler cannot be
 * called). 0.
 */
int64_t syscall_raise(struct syscall_call *call, int signal);

/* The guest's clocks, in ns: since the sandbox was made, and time of day. */
uint64_t syscall_monotonic_ns(const struct syscall_call *call);
uint64_t syscall_realtime_ns(void);

/*
 * Waits until the guest's monotonic clock (or, with `realtime`, the time of day)
 * reaches `end_ns`. 0, or -EINTR when the sandbox must stop.
 */
int64_t syscall_wait_until(const struct syscall_call *call, uint64_t end_ns, bool realtime);

#endif
