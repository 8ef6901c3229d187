/*
 * The part of the x86-64 Linux system call interface that guests see: numbers
 * that are arguments and structures that go through guest memory. Own
 * definitions, because the host's headers describe the host's processor and
 * the C library's idea of these structures. Errors are <errno.h>, whose values
 * are the same on every host that the library runs on.
 *
 * Source: the kernel's user-space headers (include/uapi, arch/x86/include/uapi).
 */
#ifndef SANDBOX_LINUX_ABI_H
#define SANDBOX_LINUX_ABI_H

#include <stdint.h>

/* mmap, mprotect. */
#define LINUX_PROT_READ 1u
#define LINUX_PROT_WRITE 2u
#define LINUX_PROT_EXEC 4u
#define LINUX_PROT_SEM 8u /* no meaning on x86 */

#define LINUX_MAP_SHARED 0x01u
#define LINUX_MAP_PRIVATE 0x02u
#define LINUX_MAP_TYPE 0x0fu
#define LINUX_MAP_FIXED 0x10u
#define LINUX_MAP_ANONYMOUS 0x20u
#define LINUX_MAP_32BIT 0x40u
#define LINUX_MAP_GROWSDOWN 0x0100u
#define LINUX_MAP_HUGETLB 0x40000u
#define LINUX_MAP_FIXED_NOREPLACE 0x100000u

#define LINUX_MREMAP_MAYMOVE 1u
#define LINUX_MREMAP_FIXED 2u

/* madvise. */
enum linux_madvise {
    LINUX_MADV_NORMAL = 0,
    LINUX_MADV_WILLNEED = 3,
    LINUX_MADV_DONTNEED = 4,
    LINUX_MADV_FREE = 8,
    LINUX_MADV_DONTFORK = 10,
    LINUX_MADV_POPULATE_WRITE = 23,
    LINUX_MADV_DONTNEED_LOCKED = 24,
};

/* Descriptors. */
#define LINUX_AT_EMPTY_PATH 0x1000u
#define LINUX_IOV_MAX 1024
#define LINUX_S_IFCHR 0020000u
#define LINUX_S_IFIFO 0010000u
#define LINUX_TERMINAL_MAJOR 136 /* pseudo terminals */
#define LINUX_STATX_BASIC_STATS 0x7ffu

enum linux_fcntl {
    LINUX_F_DUPFD = 0,
    LINUX_F_GETFD = 1,
    LINUX_F_SETFD = 2,
    LINUX_F_GETFL = 3,
    LINUX_F_SETFL = 4,
    LINUX_F_DUPFD_CLOEXEC = 1030,
};

#define LINUX_TCGETS 0x5401u
#define LINUX_TIOCGWINSZ 0x5413u

#define LINUX_POLLIN 0x0001
#define LINUX_POLLOUT 0x0004
#define LINUX_POLLNVAL 0x0020
#define LINUX_POLLRDNORM 0x0040
#define LINUX_POLLWRNORM 0x0100

/* Time. */
enum linux_clock {
    LINUX_CLOCK_REALTIME = 0,
    LINUX_CLOCK_MONOTONIC = 1,
    LINUX_CLOCK_PROCESS_CPUTIME = 2,
    LINUX_CLOCK_THREAD_CPUTIME = 3,
    LINUX_CLOCK_MONOTONIC_RAW = 4,
    LINUX_CLOCK_REALTIME_COARSE = 5,
    LINUX_CLOCK_MONOTONIC_COARSE = 6,
    LINUX_CLOCK_BOOTTIME = 7,
    LINUX_CLOCK_TAI = 11,
};

#define LINUX_TIMER_ABSTIME 1u

/* futex. */
enum linux_futex {
    LINUX_FUTEX_WAIT = 0,
    LINUX_FUTEX_WAKE = 1,
    LINUX_FUTEX_REQUEUE = 3,
    LINUX_FUTEX_CMP_REQUEUE = 4,
    LINUX_FUTEX_WAIT_BITSET = 9,
    LINUX_FUTEX_WAKE_BITSET = 10,
};

#define LINUX_FUTEX_CLOCK_REALTIME 256u
#define LINUX_FUTEX_FLAGS 384u /* PRIVATE and CLOCK_REALTIME */

/* The processor. */
enum linux_arch_prctl {
    LINUX_ARCH_SET_GS = 0x1001,
    LINUX_ARCH_SET_FS = 0x1002,
    LINUX_ARCH_GET_FS = 0x1003,
    LINUX_ARCH_GET_GS = 0x1004,
};

/* Signals. */
enum linux_signal {
    LINUX_SIGKILL = 9,
    LINUX_SIGPIPE = 13,
    LINUX_SIGCHLD = 17,
    LINUX_SIGCONT = 18,
    LINUX_SIGSTOP = 19,
    LINUX_SIGURG = 23,
    LINUX_SIGWINCH = 28,
    LINUX_SIGNALS = 64, /* the highest number */
};

#define LINUX_SIG_IGN 1u
#define LINUX_SS_ONSTACK 1u
#define LINUX_SS_DISABLE 2u
#define LINUX_SS_AUTODISARM (1u << 31)
#define LINUX_MINSIGSTKSZ 2048u

enum linux_sigprocmask { LINUX_SIG_BLOCK = 0, LINUX_SIG_UNBLOCK = 1, LINUX_SIG_SETMASK = 2 };

/* Resources. */
enum linux_rlimit {
    LINUX_RLIMIT_STACK = 3,
    LINUX_RLIMIT_CORE = 4,
    LINUX_RLIMIT_NPROC = 6,
    LINUX_RLIMIT_NOFILE = 7,
    LINUX_RLIMITS = 16, /* how many there are */
};

#define LINUX_GRND_NONBLOCK 1u
#define LINUX_GRND_RANDOM 2u
#define LINUX_GRND_INSECURE 4u

/* Structures in guest memory. */
struct linux_iovec {
    uint64_t base, len;
};

struct linux_timespec {
    int64_t sec, nsec;
};

struct linux_timeval {
    int64_t sec, usec;
};

struct linux_stat {
    uint64_t dev, ino, nlink;
    uint32_t mode, uid, gid, pad0;
    uint64_t rdev;
    int64_t size, blksize, blocks;
    struct linux_timespec atime, mtime, ctime;
    int64_t unused[3];
};
_Static_assert(sizeof(struct linux_stat) == 144, "struct stat");

struct linux_statx_time {
    int64_t sec;
    uint32_t nsec;
    int32_t reserved;
};

struct linux_statx {
    uint32_t mask, blksize;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, pad0;
    uint64_t ino, size, blocks, attributes_mask;
    struct linux_statx_time atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t spare[14];
};
_Static_assert(sizeof(struct linux_statx) == 256, "struct statx");

struct linux_termios {
    uint32_t iflag, oflag, cflag, lflag;
    uint8_t line, cc[19];
};
_Static_assert(sizeof(struct linux_termios) == 36, "struct termios of the kernel");

struct linux_winsize {
    uint16_t rows, columns, xpixel, ypixel;
};

struct linux_pollfd {
    int32_t fd;
    int16_t events, revents;
};

struct linux_utsname {
    char sysname[65], nodename[65], release[65], version[65], machine[65], domainname[65];
};
_Static_assert(sizeof(struct linux_utsname) == 390, "struct utsname");

struct linux_sigaction {
    uint64_t handler, flags, restorer, mask;
};

struct linux_sigaltstack {
    uint64_t sp;
    uint32_t flags, pad;
    uint64_t size;
};

struct linux_rlimit64 {
    uint64_t current, maximum;
};

struct linux_rusage {
    struct linux_timeval utime, stime;
    int64_t maxrss; /* KiB */
    int64_t rest[13];
};
_Static_assert(sizeof(struct linux_rusage) == 144, "struct rusage");

struct linux_tms {
    int64_t utime, stime, cutime, cstime; /* clock ticks */
};

struct linux_sysinfo {
    int64_t uptime;
    uint64_t loads[3];
    uint64_t totalram, freeram, sharedram, bufferram, totalswap, freeswap;
    uint16_t procs, pad;
    uint32_t pad1;
    uint64_t totalhigh, freehigh;
    uint32_t mem_unit, pad2;
};
_Static_assert(sizeof(struct linux_sysinfo) == 112, "struct sysinfo");

#endif
