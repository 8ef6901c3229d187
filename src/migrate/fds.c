/* A channel over file descriptors. */
#include "base/error.h"

#include <mayfly/migrate.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Waits for `events`; 1 when they are there, 0 after `timeout_ms`, -1 on failure. */
static int wait_for(int fd, short events, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    int n = poll(&poll_fd, 1, timeout_ms);
    return n < 0 && errno == EINTR ? 0 : n;
}

static long broken(const char *what, struct mf_error *err)
{
    error_set_errno(err, MF_E_CHANNEL, errno, "cannot %s the peer", what);
    return -1;
}

static bool would_wait(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static long fds_read(void *context, void *data, size_t len, int timeout_ms, struct mf_error *err)
{
    const struct mf_channel_fds *fds = context;
    ssize_t n = read(fds->read_fd, data, len);
    if (n < 0 && would_wait()) {
        int ready = wait_for(fds->read_fd, POLLIN, timeout_ms);
        if (ready == 0)
            return MF_CHANNEL_TIMEOUT;
        n = ready < 0 ? -1 : read(fds->read_fd, data, len);
        if (n < 0 && would_wait())
            return MF_CHANNEL_TIMEOUT;
    }
    return n < 0 ? broken("read from", err) : n;
}

/* Sockets and pipes alike, and no signal when nobody reads. */
static ssize_t write_some(int fd, const void *data, size_t len)
{
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
    return n < 0 && errno == ENOTSOCK ? write(fd, data, len) : n;
}

static long fds_write(void *context, const void *data, size_t len, int timeout_ms,
                      struct mf_error *err)
{
    const struct mf_channel_fds *fds = context;
    ssize_t n = write_some(fds->write_fd, data, len);
    if (n < 0 && would_wait()) {
        int ready = wait_for(fds->write_fd, POLLOUT, timeout_ms);
        if (ready == 0)
            return MF_CHANNEL_TIMEOUT;
        n = ready < 0 ? -1 : write_some(fds->write_fd, data, len);
        if (n < 0 && would_wait())
            return MF_CHANNEL_TIMEOUT;
    }
    return n < 0 ? broken("write to", err) : n;
}

static void make_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void mf_channel_from_fds(struct mf_channel *channel, struct mf_channel_fds *fds)
{
    memset(channel, 0, sizeof *channel);
    channel->size = sizeof *channel;
    channel->context = fds;
    channel->read = fds_read;
    channel->write = fds_write;
    make_nonblocking(fds->read_fd);
    make_nonblocking(fds->write_fd);
}
