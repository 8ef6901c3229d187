/*
 * Listening. Clients that have connected are kept in a queue, oldest first, until their TLS
 * handshake is done, and one poll waits for all of them and for new ones. So whoever sends nothing
 * takes a place in the queue until its time is over, or until so many others have come that
 * it is the oldest; and neither a thread nor anybody's turn.
 */
#include "transport_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SOCKETS_MAX          4
#define BACKLOG              128
#define HANDSHAKE_TIMEOUT_MS 10000

/* Without descriptors or memory for a client, how long before the next try. */
#define RETRY_MS 100

/* How long the lock of a socket's folder is waited for: whoever holds it does so for moments. */
#define LOCK_TRIES   500
#define LOCK_STEP_NS 10000000

struct transport_listener {
    enum transport_kind kind;
    struct tls_credentials *credentials;
    int handshake_timeout_ms;
    void (*refused)(void *context, const char *peer, const struct mf_error *err);
    void *context;
    int sockets[SOCKETS_MAX];
    size_t nsockets;
    int dir; /* unix: the socket's folder, and what of its name is left */
    char name[NAME_MAX + 1];
    dev_t device; /* of the socket's name, to remove no other */
    ino_t inode;
    struct transport_connection *clients[TRANSPORT_HANDSHAKES_MAX]; /* oldest first */
    size_t nclients;
    uint64_t retry_ms; /* no client is accepted before */
    char text[TRANSPORT_TEXT_MAX];
};

/* ---- unix ---- */

/* Opens the folder of a path and gives the rest of it. */
static int open_folder(struct transport_listener *listener, const char *path, struct mf_error *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;

    size_t len = strlen(name);

    if (len == 0 || len >= sizeof listener->name)
        return mf_fail(err, MF_E_ARGUMENT, "'%.100s' does not end with a file name", path);
    memcpy(listener->name, name, len + 1);
    snprintf(folder, sizeof folder, "%.*s", (int)(name - path), path);
    listener->dir = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (listener->dir < 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot open the directory of %.100s: %s", path,
                       strerror(errno));
    return MF_OK;
}

/*
 * Between finding a dead socket and having its name, and between binding and listening, nobody
 * else may look: else two who find the same dead socket could remove a living one.
 */
static int lock_folder(int dir, struct mf_error *err)
{
    const struct timespec step = {.tv_nsec = LOCK_STEP_NS};

    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(dir, LOCK_EX | LOCK_NB) == 0)
            return MF_OK;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return mf_fail(err, MF_E_SYSTEM, "cannot lock the directory of the socket: %s",
                           strerror(errno));
        nanosleep(&step, NULL);
    }
    return mf_fail(err, MF_E_SYSTEM, "somebody keeps the directory of the socket locked");
}

/* Whether the name is free, and removes a socket on which nobody listens. */
static int make_way(struct transport_listener *listener, const struct sockaddr_un *address,
                    struct mf_error *err)
{
    struct stat st;

    if (fstatat(listener->dir, listener->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? MF_OK
                               : mf_fail(err, MF_E_SYSTEM, "cannot look at %.100s: %s",
                                         listener->name, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return mf_fail(err, MF_E_ARGUMENT, "%.100s is there and is no socket", listener->name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a socket: %s", strerror(errno));
    int error = connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 ? errno : 0;
    close(fd);
    if (error != ECONNREFUSED)
        return mf_fail(err, MF_E_BUSY, "somebody listens on %.100s already%s%s", listener->name,
                       error == 0 || error == EAGAIN ? "" : ", or it is not yours: ",
                       error == 0 || error == EAGAIN ? "" : strerror(error));
    if (unlinkat(listener->dir, listener->name, 0) != 0 && errno != ENOENT)
        return mf_fail(err, MF_E_SYSTEM, "cannot remove the dead socket %.100s: %s", listener->name,
                       strerror(errno));
    return MF_OK;
}

static int bind_unix(struct transport_listener *listener, const struct sockaddr_un *address,
                     struct mf_error *err)
{
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a socket: %s", strerror(errno));
    listener->sockets[listener->nsockets++] = fd;
    /* The name gets the mode of the socket: at no moment others may connect. */
    if (fchmod(fd, 0600) != 0 || bind(fd, (const struct sockaddr *)address, sizeof *address) != 0 ||
        fstatat(listener->dir, listener->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make the socket %.100s: %s", listener->name,
                       strerror(errno));
    listener->device = st.st_dev;
    listener->inode = st.st_ino;
    if (listen(fd, BACKLOG) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot listen: %s", strerror(errno));
    return MF_OK;
}

static int listen_unix(struct transport_listener *listener, const char *path, struct mf_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int status = open_folder(listener, path, err);

    if (status != MF_OK)
        return status;
    /* Through the descriptor: the folder's path may be longer than a socket address. */
    int len = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s",
                       listener->dir, listener->name);
    if (len < 0 || (size_t)len >= sizeof address.sun_path)
        return mf_fail(err, MF_E_ARGUMENT, "the file name of the socket is too long: '%.100s'",
                       listener->name);
    status = lock_folder(listener->dir, err);
    if (status != MF_OK)
        return status;
    status = make_way(listener, &address, err);
    if (status == MF_OK)
        status = bind_unix(listener, &address, err);
    flock(listener->dir, LOCK_UN);
    return status;
}

static void remove_name(struct transport_listener *listener)
{
    struct stat st;
    struct mf_error err;

    if (listener->inode == 0 || lock_folder(listener->dir, &err) != MF_OK)
        return;
    if (fstatat(listener->dir, listener->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_dev == listener->device && st.st_ino == listener->inode)
        unlinkat(listener->dir, listener->name, 0);
    flock(listener->dir, LOCK_UN);
}

/* ---- tcp and tls ---- */

static void set_port(struct sockaddr *address, in_port_t port)
{
    if (address->sa_family == AF_INET)
        ((struct sockaddr_in *)address)->sin_port = port;
    else if (address->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_port = port;
}

static in_port_t get_port(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? ((const struct sockaddr_in *)address)->sin_port
                                         : ((const struct sockaddr_in6 *)address)->sin6_port;
}

/* Binds one socket and listens: a descriptor, or -1 with errno. */
static int bind_internet(const struct addrinfo *one)
{
    const int on = 1, off = 0;
    int fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    /* "::" is all addresses, those of IPv4 too. */
    if (one->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, one->ai_addr, one->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int listen_internet(struct transport_listener *listener, struct transport_address *address,
                           bool insecure, struct mf_error *err)
{
    struct addrinfo *list;
    int status = transport_resolve(address, insecure, true, &list, err), error = 0;

    if (status != MF_OK)
        return status;
    for (struct addrinfo *one = list; one != NULL && listener->nsockets < SOCKETS_MAX;
         one = one->ai_next) {
        struct sockaddr_storage bound = {0};
        socklen_t len = sizeof bound;
        /* The first socket may have been given a port; the others take the same. */
        set_port(one->ai_addr, htons(address->port));
        int fd = bind_internet(one);
        if (fd < 0) {
            error = errno;
            continue;
        }
        listener->sockets[listener->nsockets++] = fd;
        if (getsockname(fd, (struct sockaddr *)&bound, &len) == 0)
            address->port = ntohs(get_port(&bound));
    }
    freeaddrinfo(list);
    if (listener->nsockets == 0)
        return mf_fail(err, error == EADDRINUSE ? MF_E_BUSY : MF_E_SYSTEM, "%s", strerror(error));
    return MF_OK;
}

/* ---- the listener ---- */

int transport_listen(const struct transport_address *address,
                     const struct transport_options *options, struct transport_listener **out,
                     struct mf_error *err)
{
    struct transport_address bound = *address;
    struct transport_listener *listener = calloc(1, sizeof *listener);

    *out = NULL;
    if (listener == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    listener->kind = address->kind;
    listener->dir = -1;
    listener->handshake_timeout_ms =
        options->handshake_timeout_ms > 0 ? options->handshake_timeout_ms : HANDSHAKE_TIMEOUT_MS;
    listener->refused = options->refused;
    listener->context = options->context;
    transport_address_text(&bound, listener->text, sizeof listener->text);
    int status = tls_credentials_create(address->kind, options, true, &listener->credentials, err);
    if (status == MF_OK && address->kind == TRANSPORT_UNIX)
        status = listen_unix(listener, address->path, err);
    else if (status == MF_OK)
        status = listen_internet(listener, &bound, options->insecure, err);
    if (status != MF_OK) {
        const struct mf_error inner = *err;
        if (status != MF_E_ARGUMENT)
            mf_fail(err, status, "cannot listen on %.80s: %s", listener->text, inner.message);
        transport_listener_close(listener);
        return status;
    }
    transport_address_text(&bound, listener->text, sizeof listener->text);
    *out = listener;
    return MF_OK;
}

const char *transport_listener_address(const struct transport_listener *listener)
{
    return listener->text;
}

void transport_listener_close(struct transport_listener *listener)
{
    if (listener == NULL)
        return;
    for (size_t i = 0; i < listener->nclients; i++)
        transport_close(listener->clients[i]);
    remove_name(listener);
    for (size_t i = 0; i < listener->nsockets; i++)
        close(listener->sockets[i]);
    if (listener->dir >= 0)
        close(listener->dir);
    tls_credentials_release(listener->credentials);
    free(listener);
}

/* ---- clients ---- */

/* Takes a client out of the queue, which keeps its order. */
static struct transport_connection *take_client(struct transport_listener *listener, size_t i)
{
    struct transport_connection *client = listener->clients[i];

    listener->nclients--;
    memmove(&listener->clients[i], &listener->clients[i + 1],
            (listener->nclients - i) * sizeof listener->clients[0]);
    return client;
}

static void drop_client(struct transport_listener *listener, size_t i, const struct mf_error *err)
{
    struct transport_connection *client = take_client(listener, i);

    if (listener->refused != NULL)
        listener->refused(listener->context, client->peer, err);
    transport_close(client);
}

static void drop_late_ones(struct transport_listener *listener)
{
    struct mf_error err;

    while (listener->nclients > 0 && transport_left_ms(listener->clients[0]->until_ms) == 0) {
        mf_fail(&err, MF_E_DEADLINE, "the client has not done its TLS handshake within %d ms",
                listener->handshake_timeout_ms);
        drop_client(listener, 0, &err);
    }
}

/* Goes on with one client: whether it is through, and has left the queue for *out. */
static bool step_client(struct transport_listener *listener, size_t i,
                        struct transport_connection **out, bool *left)
{
    struct transport_connection *client = listener->clients[i];
    struct mf_error err;
    int done = client->tls != NULL ? tls_session_handshake(client->tls, &client->events, &err) : 1;

    *left = done != 0;
    if (done < 0)
        drop_client(listener, i, &err);
    if (done <= 0)
        return false;
    if (client->tls != NULL)
        tls_session_describe(client->tls, client->peer, sizeof client->peer);
    *out = take_client(listener, i);
    return true;
}

/* Accepts one connection, if there is one, into the queue. */
static void accept_client(struct transport_listener *listener, int socket_fd)
{
    struct transport_connection *client;
    struct mf_error err;
    int fd = accept4(socket_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        /* Whoever waits for a descriptor stays in the kernel's queue. */
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            listener->retry_ms = transport_now_ms() + RETRY_MS;
        return;
    }
    if (listener->nclients == TRANSPORT_HANDSHAKES_MAX) {
        mf_fail(&err, MF_E_BUSY, "dropped in its handshake: too many others came after it");
        drop_client(listener, 0, &err);
    }
    if (transport_adopt(fd, listener->kind, listener->credentials, NULL, &client, &err) != MF_OK) {
        if (listener->refused != NULL)
            listener->refused(listener->context, "a client", &err);
        return;
    }
    client->until_ms = transport_until_ms(listener->handshake_timeout_ms);
    listener->clients[listener->nclients++] = client;
}

enum { POLL_CANCEL, POLL_SOCKETS, POLL_CLIENTS = POLL_SOCKETS + SOCKETS_MAX };

/* Waits until something can be done. Returns what poll does; *fds is filled. */
static int wait_for_news(const struct transport_listener *listener, int cancel_fd,
                         uint64_t until_ms, struct pollfd *fds)
{
    bool resting = transport_now_ms() < listener->retry_ms;

    if (resting && listener->retry_ms < until_ms)
        until_ms = listener->retry_ms;
    if (listener->nclients > 0 && listener->clients[0]->until_ms < until_ms)
        until_ms = listener->clients[0]->until_ms;
    fds[POLL_CANCEL] = (struct pollfd){.fd = cancel_fd, .events = POLLIN};
    for (size_t i = 0; i < SOCKETS_MAX; i++)
        fds[POLL_SOCKETS + i] = (struct pollfd){
            .fd = i < listener->nsockets && !resting ? listener->sockets[i] : -1,
            .events = POLLIN,
        };
    for (size_t i = 0; i < listener->nclients; i++)
        fds[POLL_CLIENTS + i] = (struct pollfd){
            .fd = listener->clients[i]->fd,
            .events = listener->clients[i]->events,
        };
    return poll(fds, POLL_CLIENTS + listener->nclients, transport_left_ms(until_ms));
}

/* After a poll: goes on with the clients that it names, until one is through. */
static bool step_clients(struct transport_listener *listener, const struct pollfd *fds,
                         struct transport_connection **out)
{
    size_t n = listener->nclients, gone = 0;

    for (size_t i = 0; i < n; i++) {
        bool left = false;
        if (fds[POLL_CLIENTS + i].revents == 0)
            continue;
        if (step_client(listener, i - gone, out, &left))
            return true;
        gone += left;
    }
    return false;
}

int transport_accept(struct transport_listener *listener, int timeout_ms, int cancel_fd,
                     struct transport_connection **out, struct mf_error *err)
{
    struct pollfd fds[POLL_CLIENTS + TRANSPORT_HANDSHAKES_MAX];
    uint64_t until_ms = transport_until_ms(timeout_ms);

    *out = NULL;
    for (;;) {
        int n = wait_for_news(listener, cancel_fd, until_ms, fds);
        if (n < 0 && errno != EINTR)
            return mf_fail(err, MF_E_SYSTEM, "cannot wait for clients: %s", strerror(errno));
        if (n > 0 && fds[POLL_CANCEL].revents != 0)
            return mf_fail(err, MF_E_CANCELLED, "cancelled while waiting for a client");
        if (n > 0 && step_clients(listener, fds, out))
            return MF_OK;
        for (size_t i = 0; n > 0 && i < listener->nsockets; i++) {
            if (fds[POLL_SOCKETS + i].revents != 0)
                accept_client(listener, listener->sockets[i]);
        }
        drop_late_ones(listener);
        if (until_ms != UINT64_MAX && transport_left_ms(until_ms) == 0)
            return mf_fail(err, MF_E_DEADLINE, "no client has come within %d ms", timeout_ms);
    }
}
