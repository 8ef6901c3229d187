/*
 * Descriptors 0 to 2 of a guest: standard input, output and error, which the
 * embedder's functions (struct mf_io) feed and take. They are streams, and for
 * the guest a terminal or a pipe.
 *
 * Bytes go through a buffer of the host: they are copied out of the guest once,
 * and the embedder never sees guest memory itself.
 */
#include "base/checked.h"
#include "base/error.h"
#include "mem/guestmem.h"
#include "sandbox/linux_abi.h"
#include "sandbox/syscall_impl.h"

#include <errno.h>
#include <string.h>

#define DESCRIPTORS 3
#define ERRNO_MAX 4095
#define BLOCK_BYTES 4096 /* what stat recommends for buffers */
#define TERMINAL_ROWS 24
#define TERMINAL_COLUMNS 80
#define O_RDONLY_LINUX 0
#define O_WRONLY_LINUX 1

/* A list of pieces of guest memory, copied and checked, and a place in it. */
struct vector {
    size_t n, at;
    uint64_t done; /* bytes of iov[at] that were passed */
    struct linux_iovec iov[LINUX_IOV_MAX];
};

bool syscall_fd_open(const struct syscall_call *call, uint64_t fd)
{
    uint32_t index = (uint32_t)fd;
    return index < DESCRIPTORS && !call->sandbox->sys.closed[index];
}

static bool is_terminal(const struct syscall_call *call, uint64_t fd)
{
    return call->sandbox->options.io.terminals & (1u << (uint32_t)fd);
}

/* One piece, for read and write. */
static void vector_single(struct vector *vector, uint64_t base, uint64_t len)
{
    vector->n = 1;
    vector->at = 0;
    vector->done = 0;
    vector->iov[0] = (struct linux_iovec){base, len};
}

/* The guest's array of `count` pieces at `gva`: 0 or -errno. */
static int64_t vector_copy(const struct syscall_call *call, struct vector *vector, mf_gva gva,
                           uint64_t count)
{
    uint64_t total = 0;
    if (count > LINUX_IOV_MAX)
        return -EINVAL;
    vector->n = count;
    vector->at = 0;
    vector->done = 0;
    if (syscall_copy_in(call, vector->iov, gva, count * sizeof(vector->iov[0])) < 0)
        return -EFAULT;
    for (size_t i = 0; i < count; i++) {
        if (!add_u64(total, vector->iov[i].len, &total) || total > INT64_MAX)
            return -EINVAL;
    }
    return 0;
}

/* The piece of memory that comes next, at most `limit` bytes. False at the end. */
static bool vector_next(struct vector *vector, uint64_t limit, mf_gva *gva, uint64_t *len)
{
    while (vector->at < vector->n && vector->done == vector->iov[vector->at].len) {
        vector->at++;
        vector->done = 0;
    }
    if (vector->at == vector->n || limit == 0)
        return false;
    const struct linux_iovec *iov = &vector->iov[vector->at];
    *gva = iov->base + vector->done;
    *len = MIN(iov->len - vector->done, limit);
    return true;
}

/* How many bytes from the place on the guest could write to, at most `limit`. */
static uint64_t vector_reach(const struct syscall_call *call, struct vector *vector, uint64_t limit,
                             bool *faulted)
{
    uint64_t total = 0, len;
    size_t at = vector->at;
    uint64_t done = vector->done;
    mf_gva gva;
    *faulted = false;
    while (!*faulted && vector_next(vector, limit - total, &gva, &len)) {
        uint64_t reach = guestmem_reach(&call->sandbox->mem, gva, len, true);
        vector->done += reach;
        total += reach;
        *faulted = reach < len;
    }
    vector->at = at;
    vector->done = done;
    return total;
}

/* Copies `len` bytes, which vector_reach found, to the guest. */
static int64_t vector_scatter(struct syscall_call *call, struct vector *vector,
                              const uint8_t *bytes, uint64_t len)
{
    uint64_t piece;
    mf_gva gva;
    while (vector_next(vector, len, &gva, &piece)) {
        if (syscall_copy_out(call, gva, bytes, piece) < 0)
            return -EFAULT;
        vector->done += piece;
        bytes += piece;
        len -= piece;
    }
    return 0;
}

/* Copies up to `size` bytes from the guest; stops at the first unreadable page. */
static uint64_t vector_gather(const struct syscall_call *call, struct vector *vector,
                              uint8_t *bytes, uint64_t size, bool *faulted)
{
    uint64_t total = 0, len;
    mf_gva gva;
    *faulted = false;
    while (!*faulted && vector_next(vector, size - total, &gva, &len)) {
        uint64_t reach = guestmem_reach(&call->sandbox->mem, gva, len, false);
        *faulted = reach < len;
        /* What the guest could read is gone when it is a mapped file that got shorter. */
        if (syscall_copy_in(call, bytes + total, gva, reach) < 0) {
            *faulted = true;
            break;
        }
        vector->done += reach;
        total += reach;
    }
    return total;
}

/* What a function of the embedder returned for `len` bytes, as the guest may see it. */
static int64_t check_transfer(int64_t result, uint64_t len)
{
    if (result > (int64_t)len || result < -ERRNO_MAX)
        return -EIO;
    return result;
}

static int64_t read_vector(struct syscall_call *call, struct vector *vector)
{
    struct mf_sandbox *sandbox = call->sandbox;
    const struct mf_io *io = &sandbox->options.io;
    uint8_t bytes[SYSCALL_CHUNK];
    bool faulted;
    uint64_t len = vector_reach(call, vector, sizeof(bytes), &faulted);
    if (len == 0)
        return faulted ? -EFAULT : 0;
    if (!io->read || sandbox->sys.stdin_ended)
        return 0;
    int64_t got;
    /* Until there is something, or the guest is to stop or to stand still: then it reads again. */
    do
        got = check_transfer(io->read(io->context, bytes, len), len);
    while (got == -EINTR && !limits_stop_requested(sandbox));
    if (got == 0)
        sandbox->sys.stdin_ended = true;
    if (got <= 0)
        return got;
    sandbox->stats.bytes_in += (uint64_t)got;
    int64_t result = vector_scatter(call, vector, bytes, (uint64_t)got);
    return result < 0 ? result : got;
}

int64_t sys_read(struct syscall_call *call)
{
    struct vector vector;
    if (!syscall_fd_open(call, call->arg[0]) || (uint32_t)call->arg[0] != 0)
        return -EBADF;
    vector_single(&vector, call->arg[1], call->arg[2]);
    return read_vector(call, &vector);
}

int64_t sys_readv(struct syscall_call *call)
{
    struct vector vector;
    if (!syscall_fd_open(call, call->arg[0]) || (uint32_t)call->arg[0] != 0)
        return -EBADF;
    int64_t result = vector_copy(call, &vector, call->arg[1], call->arg[2]);
    return result < 0 ? result : read_vector(call, &vector);
}

/* Hands all of the bytes to the embedder; how many it took, or -errno when none. */
static int64_t emit(struct syscall_call *call, int fd, const uint8_t *bytes, uint64_t len)
{
    const struct mf_io *io = &call->sandbox->options.io;
    uint64_t done = 0;
    if (!io->write)
        return (int64_t)len;
    while (done < len) {
        int64_t result = io->write(io->context, fd, bytes + done, len - done);
        result = check_transfer(result, len - done);
        if (result == -EINTR && !limits_stop_requested(call->sandbox))
            continue;
        if (result == 0)
            result = -EIO; /* otherwise a guest that writes it all would try for ever */
        if (result < 0)
            return done > 0 ? (int64_t)done : result;
        done += (uint64_t)result;
        if (done < len && limits_must_stop(call->sandbox))
            break;
    }
    return (int64_t)done;
}

/* Writes one buffer within the output limit; what was written, or -errno. */
static int64_t write_chunk(struct syscall_call *call, int fd, const uint8_t *bytes, uint64_t len)
{
    struct mf_sandbox *sandbox = call->sandbox;
    size_t allowed;
    if (!sandbox_count_output(sandbox, len, &allowed)) {
        len = allowed;
        call->outcome = SYSCALL_STOP;
        error_set(call->err, MF_E_OUTPUT_LIMIT, "the guest wrote more than %llu bytes",
                  (unsigned long long)sandbox->options.max_output_bytes);
    }
    int64_t result = len > 0 ? emit(call, fd, bytes, len) : 0;
    /* What was not taken is written again, and counted then. */
    uint64_t left = len - (result > 0 ? (uint64_t)result : 0);
    sandbox->output_used -= left;
    sandbox->stats.output_bytes -= left;
    if (result == -EPIPE && call->outcome == SYSCALL_CONTINUE)
        syscall_raise(call, LINUX_SIGPIPE);
    return result;
}

static int64_t write_vector(struct syscall_call *call, struct vector *vector)
{
    int fd = (int)call->arg[0];
    uint8_t bytes[SYSCALL_CHUNK];
    uint64_t total = 0;
    for (;;) {
        bool faulted;
        uint64_t len = vector_gather(call, vector, bytes, sizeof(bytes), &faulted);
        if (arrival_is_lost(call->sandbox))
            return -EINTR;
        int64_t result = len > 0 ? write_chunk(call, fd, bytes, len) : 0;
        if (result < 0)
            return total > 0 ? (int64_t)total : result;
        total += (uint64_t)result;
        if (faulted)
            return total > 0 ? (int64_t)total : -EFAULT;
        if (len == 0 || (uint64_t)result < len || call->outcome != SYSCALL_CONTINUE ||
            limits_must_stop(call->sandbox))
            return (int64_t)total;
    }
}

static bool writable_fd(const struct syscall_call *call)
{
    return syscall_fd_open(call, call->arg[0]) && (uint32_t)call->arg[0] != 0;
}

int64_t sys_write(struct syscall_call *call)
{
    struct vector vector;
    if (!writable_fd(call))
        return -EBADF;
    vector_single(&vector, call->arg[1], call->arg[2]);
    return write_vector(call, &vector);
}

int64_t sys_writev(struct syscall_call *call)
{
    struct vector vector;
    if (!writable_fd(call))
        return -EBADF;
    int64_t result = vector_copy(call, &vector, call->arg[1], call->arg[2]);
    return result < 0 ? result : write_vector(call, &vector);
}

/* Calls that need a file with positions: the three are streams. */
static int64_t not_seekable(const struct syscall_call *call)
{
    return syscall_fd_open(call, call->arg[0]) ? -ESPIPE : -EBADF;
}

int64_t sys_pread64(struct syscall_call *call)
{
    return not_seekable(call);
}

int64_t sys_pwrite64(struct syscall_call *call)
{
    return not_seekable(call);
}

int64_t sys_lseek(struct syscall_call *call)
{
    return not_seekable(call);
}

int64_t sys_fadvise64(struct syscall_call *call)
{
    return not_seekable(call);
}

int64_t sys_close(struct syscall_call *call)
{
    if (!syscall_fd_open(call, call->arg[0]))
        return -EBADF;
    call->sandbox->sys.closed[(uint32_t)call->arg[0]] = true;
    return 0;
}

static int64_t put_stat(struct syscall_call *call, uint64_t fd, mf_gva to)
{
    if (!syscall_fd_open(call, fd))
        return -EBADF;
    bool terminal = is_terminal(call, fd);
    struct linux_stat st = {
        .ino = (uint32_t)fd + 1,
        .nlink = 1,
        .mode = terminal ? LINUX_S_IFCHR | 0620u : LINUX_S_IFIFO | 0600u,
        .uid = SYSCALL_UID,
        .gid = SYSCALL_UID,
        .rdev = terminal ? LINUX_TERMINAL_MAJOR << 8 : 0,
        .blksize = BLOCK_BYTES,
    };
    return syscall_copy_out(call, to, &st, sizeof(st));
}

int64_t sys_fstat(struct syscall_call *call)
{
    return put_stat(call, call->arg[0], call->arg[1]);
}

/*
 * Whether a call of the *at kind is about its descriptor itself: 0, -EFAULT, or
 * denied when it names a file.
 */
static int64_t check_empty_path(struct syscall_call *call, mf_gva path, uint64_t flags)
{
    char first;
    if (!(flags & LINUX_AT_EMPTY_PATH))
        return syscall_deny(call);
    if (path == 0)
        return 0; /* since Linux 6.11 */
    if (syscall_copy_in(call, &first, path, 1) < 0)
        return -EFAULT;
    return first == 0 ? 0 : syscall_deny(call);
}

int64_t sys_newfstatat(struct syscall_call *call)
{
    int64_t result = check_empty_path(call, call->arg[1], call->arg[3]);
    return result < 0 ? result : put_stat(call, call->arg[0], call->arg[2]);
}

int64_t sys_statx(struct syscall_call *call)
{
    uint64_t fd = call->arg[0];
    int64_t result = check_empty_path(call, call->arg[1], call->arg[2]);
    if (result < 0)
        return result;
    if (!syscall_fd_open(call, fd))
        return -EBADF;
    bool terminal = is_terminal(call, fd);
    struct linux_statx st = {
        .mask = LINUX_STATX_BASIC_STATS,
        .blksize = BLOCK_BYTES,
        .nlink = 1,
        .uid = SYSCALL_UID,
        .gid = SYSCALL_UID,
        .mode = terminal ? LINUX_S_IFCHR | 0620u : LINUX_S_IFIFO | 0600u,
        .ino = (uint32_t)fd + 1,
        .rdev_major = terminal ? LINUX_TERMINAL_MAJOR : 0,
    };
    return syscall_copy_out(call, call->arg[4], &st, sizeof(st));
}

int64_t sys_ioctl(struct syscall_call *call)
{
    /* A terminal as it is after a login: lines, echo, 38400 baud, eight bits. */
    static const struct linux_termios termios = {
        .iflag = 0x500, .oflag = 0x5, .cflag = 0xbf, .lflag = 0x8a3b,
        .cc = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22},
    };
    static const struct linux_winsize winsize = {TERMINAL_ROWS, TERMINAL_COLUMNS, 0, 0};
    if (!syscall_fd_open(call, call->arg[0]))
        return -EBADF;
    if (!is_terminal(call, call->arg[0]))
        return -ENOTTY;
    switch ((uint32_t)call->arg[1]) {
    case LINUX_TCGETS:
        return syscall_copy_out(call, call->arg[2], &termios, sizeof(termios));
    case LINUX_TIOCGWINSZ:
        return syscall_copy_out(call, call->arg[2], &winsize, sizeof(winsize));
    default:
        return -ENOTTY;
    }
}

int64_t sys_fcntl(struct syscall_call *call)
{
    if (!syscall_fd_open(call, call->arg[0]))
        return -EBADF;
    switch ((uint32_t)call->arg[1]) {
    case LINUX_F_GETFD:
    case LINUX_F_SETFD: /* close-on-exec; there is no exec */
    case LINUX_F_SETFL:
        return 0;
    case LINUX_F_GETFL:
        return (uint32_t)call->arg[0] == 0 ? O_RDONLY_LINUX : O_WRONLY_LINUX;
    case LINUX_F_DUPFD:
    case LINUX_F_DUPFD_CLOEXEC:
        return -EMFILE;
    default:
        return -EINVAL;
    }
}

int64_t sys_dup(struct syscall_call *call)
{
    return syscall_fd_open(call, call->arg[0]) ? -EMFILE : -EBADF;
}
