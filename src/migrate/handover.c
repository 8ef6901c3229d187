/* Passing a descriptor; see handover.h. */
#include "migrate/handover.h"

#include "base/checked.h"
#include "base/error.h"
#include "sandbox/limits.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)

/* What the descriptor comes with. */
static const char word[] = "memory";

/* Room for one descriptor, aligned as its head must be. */
union control {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static int await(int socket, short events, uint64_t timeout_ns, struct mf_error *err)
{
    uint64_t end = limits_now() + timeout_ns;
    for (;;) {
        struct pollfd p = {.fd = socket, .events = events};
        uint64_t now = limits_now();
        uint64_t left = now < end ? (end - now + NS_PER_MS - 1) / NS_PER_MS : 0;
        int n = poll(&p, 1, (int)MIN(left, (uint64_t)INT_MAX));
        if (n > 0)
            return 0;
        if (n == 0)
            return error_set(err, MF_E_DEADLINE, "the descriptor of guest memory does not get "
                                                 "through");
        if (errno != EINTR)
            return error_set_errno(err, MF_E_SYSTEM, errno, "cannot wait for a socket");
    }
}

int handover_send(int socket, int fd, uint64_t timeout_ns, struct mf_error *err)
{
    union control control;
    struct iovec data = {(void *)(uintptr_t)word, sizeof word};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    int rc = await(socket, POLLOUT, timeout_ns, err);
    if (rc != 0)
        return rc;
    memset(&control, 0, sizeof control);
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    ssize_t n = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n != (ssize_t)sizeof word)
        return error_set_errno(err, MF_E_CHANNEL, n < 0 ? errno : EPIPE,
                               "cannot pass the descriptor of guest memory");
    return 0;
}

/*
 * The descriptor of a message, or -1. Alignment leaves room for a second one, which is
 * not wanted; the kernel has closed what there was no room for.
 */
static int take_descriptor(struct msghdr *message)
{
    int fd = -1;
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
        return -1;
    for (size_t at = CMSG_LEN(0); at + sizeof fd <= head->cmsg_len; at += sizeof fd) {
        if (at != CMSG_LEN(0)) {
            close(fd);
            message->msg_flags |= MSG_CTRUNC;
        }
        memcpy(&fd, (const char *)head + at, sizeof fd);
    }
    return fd;
}

int handover_receive(int socket, int *fd, uint64_t timeout_ns, struct mf_error *err)
{
    union control control;
    char bytes[sizeof word];
    struct iovec data = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    *fd = -1;
    int rc = await(socket, POLLIN, timeout_ns, err);
    if (rc != 0)
        return rc;
    ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n <= 0)
        return error_set(err, MF_E_CHANNEL, "the socket for guest memory is closed");
    int got = take_descriptor(&message);
    if (n == (ssize_t)sizeof word && memcmp(bytes, word, sizeof word) == 0 && got >= 0 &&
        (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) == 0) {
        *fd = got;
        return 0;
    }
    if (got >= 0)
        close(got);
    return error_set(err, MF_E_PEER, "the peer passed something else than guest memory");
}
