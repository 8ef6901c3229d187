/*
 * The other side of the figures of migration: a process of its own, as a receiver is one, with a
 * socket that it listens on. It takes one connection after another, until the socket is shut down.
 *
 * It is forked before the first side has a VM, since a VM belongs to the process that made it.
 */
#include "measures.h"

#include <mayfly/migrate.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* As cp reads. */
#define COPY_BYTES (256u << 10)
/* A source that is slow on purpose is no failure. */
#define STALL_NS UINT64_C(60000000000)

static int accept_offer(void *context, const struct mf_migrate_offer *offer, struct mf_host **host,
                        struct mf_sandbox_options *options, struct mf_error *err)
{
    const struct bench_receiver_has *has = context;

    (void)offer;
    options->backend = has->bench->backend;
    return bench_host_create(NULL, host, err);
}

static struct mf_image *find_image(void *context, const uint8_t digest[MF_DIGEST_BYTES])
{
    const struct bench_receiver_has *has = context;

    (void)digest;
    return has->image != NULL ? mf_image_hold(has->image) : NULL;
}

static struct mf_snapshot *find_snapshot(void *context, const uint8_t digest[MF_DIGEST_BYTES])
{
    const struct bench_receiver_has *has = context;

    (void)digest;
    return has->snapshot != NULL ? mf_snapshot_hold(has->snapshot) : NULL;
}

/* What goes wrong here the source tells. */
static void take_migration(int fd, int memory_fd, const struct bench_receiver_has *has)
{
    struct mf_channel_fds fds = {fd, fd};
    const struct mf_migrate_in_options options = {
        .size = sizeof(options),
        .stall_ns = STALL_NS,
        .accept = accept_offer,
        .find_image = find_image,
        .find_snapshot = find_snapshot,
        .context = (void *)has,
        .handover_socket = memory_fd,
    };
    struct mf_channel channel;
    struct mf_sandbox *sandbox;
    struct mf_error err;

    mf_channel_from_fds(&channel, &fds);
    if (mf_migrate_in(&channel, &options, &sandbox, &err) == MF_OK)
        mf_sandbox_destroy(sandbox);
}

/* All that comes into a new file in memory, as `cp` would; then a byte back. */
static void take_copy(int fd)
{
    static uint8_t buffer[COPY_BYTES];
    int file = memfd_create("copy", MFD_CLOEXEC);
    ssize_t n, put;

    do {
        n = read(fd, buffer, sizeof(buffer));
        put = n > 0 ? write(file, buffer, (size_t)n) : n;
    } while (n > 0 && put == n);
    if (n == 0)
        put = write(fd, "", 1);
    close(file);
}

static void serve(int listener, const struct bench_receiver_has *has)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0 && errno == EINTR)
            continue;
        if (fd < 0)
            return;
        if (has != NULL) {
            int memory_fd = has->handover ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;

            take_migration(fd, memory_fd, has);
            if (memory_fd >= 0)
                close(memory_fd);
        } else {
            take_copy(fd);
        }
        close(fd);
    }
}

/* A socket with a name that the kernel chose, and that no file has. */
static int listen_somewhere(void)
{
    const struct sockaddr_un any = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && (bind(fd, (const struct sockaddr *)&any, sizeof(any.sun_family)) != 0 ||
                    listen(fd, 1) != 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

int bench_receiver_start(struct bench_receiver *receiver, const struct bench_receiver_has *has,
                         struct mf_error *err)
{
    pid_t parent = getpid();

    receiver->listener = listen_somewhere();
    if (receiver->listener < 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a local socket: %s", strerror(errno));
    receiver->child = fork();
    if (receiver->child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            serve(receiver->listener, has);
        _exit(0);
    }
    if (receiver->child > 0)
        return MF_OK;
    close(receiver->listener);
    return mf_fail(err, MF_E_SYSTEM, "cannot start a process: %s", strerror(errno));
}

int bench_receiver_connect(const struct bench_receiver *receiver, int *fd, struct mf_error *err)
{
    struct sockaddr_un name;
    socklen_t len = sizeof(name);

    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd >= 0 && getsockname(receiver->listener, (struct sockaddr *)&name, &len) == 0 &&
        connect(*fd, (const struct sockaddr *)&name, len) == 0)
        return MF_OK;
    mf_fail(err, MF_E_SYSTEM, "cannot connect to a local socket: %s", strerror(errno));
    if (*fd >= 0)
        close(*fd);
    return MF_E_SYSTEM;
}

void bench_receiver_finish(int fd)
{
    struct pollfd closed = {.fd = fd, .events = POLLIN};
    char rest[64];
    ssize_t n;

    /* The other side closes when it is ready for the next connection. */
    shutdown(fd, SHUT_WR);
    do {
        poll(&closed, 1, -1);
        n = recv(fd, rest, sizeof(rest), 0);
    } while (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)));
    close(fd);
}

void bench_receiver_stop(struct bench_receiver *receiver)
{
    shutdown(receiver->listener, SHUT_RDWR);
    while (waitpid(receiver->child, NULL, 0) < 0 && errno == EINTR)
        ;
    close(receiver->listener);
}
