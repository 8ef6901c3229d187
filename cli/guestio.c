/*
 * The guest's standard input, output and error. The library asks for reads and
 * writes on the thread that runs the guest, so a read of a terminal blocks the
 * guest as it would block a program, with two additions: a signal and the
 * deadline end the wait, because no guest instruction can.
 */
#include "guestio.h"
#include "interrupt.h"
#include "report.h"
#include "text.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* How often a wait ends, so that a guest that waits can be made to stand still. */
#define WAIT_SLICE_MS 100

/* How long poll may wait, in ms. */
static int wait_ms(const struct guestio *io)
{
    uint64_t now = report_now();
    if (io->deadline_ns == 0 || io->deadline_ns > now + WAIT_SLICE_MS * UINT64_C(1000000))
        return WAIT_SLICE_MS;
    return io->deadline_ns > now ? (int)((io->deadline_ns - now) / 1000000) + 1 : 1;
}

/*
 * Waits until `fd` is ready. 0, or -EINTR after a signal, a while, or the deadline: the
 * library asks again unless the guest is to stop or to stand still.
 */
static int wait_ready(const struct guestio *io, int fd, short events)
{
    struct pollfd fds[2] = {
        {.fd = interrupt_fd(), .events = POLLIN},
        {.fd = fd, .events = events},
    };

    int n = poll(fds, 2, wait_ms(io));
    if (n < 0 && errno != EINTR && errno != EAGAIN)
        return -errno;
    return n > 0 && fds[0].revents == 0 ? 0 : -EINTR;
}

static ssize_t guest_read(void *context, void *buf, size_t len)
{
    const struct guestio *io = context;

    for (;;) {
        int status = wait_ready(io, STDIN_FILENO, POLLIN);
        if (status != 0)
            return status;
        ssize_t n = read(STDIN_FILENO, buf, len);
        if (n >= 0)
            return n;
        if (errno != EINTR && errno != EAGAIN)
            return -errno;
    }
}

/* Writes all, or what was possible; a negative errno when nothing was. */
static ssize_t guest_write(void *context, int fd, const void *buf, size_t len)
{
    const struct guestio *io = context;
    const char *data = buf;
    size_t done = 0;

    if (io->output_to_stderr)
        fd = STDERR_FILENO;
    while (done < len) {
        int status = io->regular[fd] ? 0 : wait_ready(io, fd, POLLOUT);
        /* poll promises room for PIPE_BUF bytes; more could block in write. */
        size_t chunk = len - done;
        if (!io->regular[fd] && chunk > PIPE_BUF)
            chunk = PIPE_BUF;
        ssize_t n = status != 0 ? -1 : write(fd, data + done, chunk);
        if (n >= 0) {
            done += (size_t)n;
            continue;
        }
        if (status == 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (done > 0)
            break;
        return status != 0 ? status : -errno;
    }
    return (ssize_t)done;
}

static void guest_log(void *context, enum mf_log_level level, const char *text, size_t len)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    const struct guestio *io = context;

    if (level > MF_LOG_WARNING && !io->verbose)
        return;
    fprintf(stderr, "mayfly: guest %s: ", level <= MF_LOG_DEBUG ? names[level] : "log");
    text_print_safe(stderr, text, len, false);
    fputc('\n', stderr);
}

static void guest_denied(void *context, long number, const char *name)
{
    const struct guestio *io = context;

    if (!io->verbose)
        return;
    if (name != NULL)
        fprintf(stderr, "mayfly: denied system call: %s (number %ld)\n", name, number);
    else
        fprintf(stderr, "mayfly: denied system call: number %ld\n", number);
}

void guestio_init(struct guestio *io, struct mf_io *table)
{
    table->context = io;
    table->read = guest_read;
    table->write = guest_write;
    table->log = guest_log;
    table->denied = guest_denied;
    table->terminals = 0;
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        struct stat st;
        int shown = fd == STDOUT_FILENO && io->output_to_stderr ? STDERR_FILENO : fd;
        if (isatty(shown) == 1)
            table->terminals |= 1u << fd;
        io->regular[fd] = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    }
}
