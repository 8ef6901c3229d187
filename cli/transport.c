/* Connections: making them, checking who is there, and the channel over them. */
#include "transport_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* A peer whose host is gone without a word is noticed after IDLE + COUNT * STEP seconds. */
#define KEEPALIVE_IDLE_S 10
#define KEEPALIVE_STEP_S 5
#define KEEPALIVE_COUNT  3

/* How much of what a peer still sends is thrown away before its connection is closed. */
#define DRAIN_TURNS 16

/* ---- waiting ---- */

uint64_t transport_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t transport_until_ms(int timeout_ms)
{
    return timeout_ms < 0 ? UINT64_MAX : transport_now_ms() + (uint64_t)timeout_ms;
}

int transport_left_ms(uint64_t until_ms)
{
    if (until_ms == UINT64_MAX)
        return -1;
    uint64_t now = transport_now_ms();
    if (now >= until_ms)
        return 0;
    return until_ms - now > INT_MAX ? INT_MAX : (int)(until_ms - now);
}

/* Until `events` have come: MF_OK, MF_E_DEADLINE, MF_E_CANCELLED or MF_E_SYSTEM. */
static int wait_for(int fd, short events, int cancel_fd, uint64_t until_ms, struct mf_error *err)
{
    struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = cancel_fd, .events = POLLIN}};

    for (;;) {
        int n = poll(fds, 2, transport_left_ms(until_ms));
        if (n < 0 && errno != EINTR)
            return mf_fail(err, MF_E_SYSTEM, "cannot wait for the peer: %s", strerror(errno));
        if (n > 0 && fds[1].revents != 0)
            return mf_fail(err, MF_E_CANCELLED, "cancelled while waiting for the peer");
        if (n > 0)
            return MF_OK;
        if (n == 0 && transport_left_ms(until_ms) == 0)
            return mf_fail(err, MF_E_DEADLINE, "the peer does not answer");
    }
}

/* ---- who is there ---- */

static int check_unix_peer(struct transport_connection *connection, struct mf_error *err)
{
    struct ucred peer;
    socklen_t len = sizeof peer;

    if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot find out who is at the other end: %s",
                       strerror(errno));
    snprintf(connection->peer, sizeof connection->peer, "unix: process %ld of user %lu",
             (long)peer.pid, (unsigned long)peer.uid);
    if (peer.uid != geteuid() && peer.uid != 0)
        return mf_fail(err, MF_E_REFUSED,
                       "the other end of the socket is user %lu: only your own processes and "
                       "those of root are let in",
                       (unsigned long)peer.uid);
    return MF_OK;
}

/* Errors do not matter: the connection works without, and a broken one shows itself later. */
static void tune(struct transport_connection *connection, enum transport_kind kind)
{
    const struct {
        int level, name, value;
    } settings[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_STEP_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT},
    };
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    struct transport_address address = {.kind = kind};
    char port[8];

    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        setsockopt(connection->fd, settings[i].level, settings[i].name, &settings[i].value,
                   sizeof settings[i].value);
    if (getpeername(connection->fd, (struct sockaddr *)&peer, &len) != 0 ||
        getnameinfo((struct sockaddr *)&peer, len, address.host, sizeof address.host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    address.port = (uint16_t)strtoul(port, NULL, 10);
    transport_address_text(&address, connection->peer, sizeof connection->peer);
}

int transport_adopt(int fd, enum transport_kind kind, struct tls_credentials *credentials,
                    const char *server_name, struct transport_connection **out,
                    struct mf_error *err)
{
    struct transport_connection *connection = calloc(1, sizeof *connection);
    int status = MF_OK;

    *out = NULL;
    if (connection == NULL) {
        close(fd);
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    }
    connection->fd = fd;
    connection->events = POLLIN | POLLOUT;
    atomic_init(&connection->shut, false);
    snprintf(connection->peer, sizeof connection->peer, "unknown");
    if (kind == TRANSPORT_UNIX)
        status = check_unix_peer(connection, err);
    else
        tune(connection, kind);
    if (status == MF_OK && credentials != NULL)
        status = tls_session_create(credentials, fd, server_name, &connection->tls, err);
    if (status != MF_OK) {
        transport_close(connection);
        return status;
    }
    *out = connection;
    return MF_OK;
}

const char *transport_peer(const struct transport_connection *connection)
{
    return connection->peer;
}

void transport_shutdown(struct transport_connection *connection)
{
    atomic_store(&connection->shut, true);
    shutdown(connection->fd, SHUT_RDWR);
}

void transport_close(struct transport_connection *connection)
{
    char rest[4096];

    if (connection == NULL)
        return;
    if (connection->tls != NULL && !atomic_load(&connection->shut))
        tls_session_bye(connection->tls);
    tls_session_destroy(connection->tls);
    /*
     * A TCP socket that is closed with something unread resets the connection, and the
     * peer may lose the last words to it: an alert that says why.
     */
    shutdown(connection->fd, SHUT_WR);
    for (int i = 0; i < DRAIN_TURNS; i++) {
        if (recv(connection->fd, rest, sizeof rest, MSG_DONTWAIT) <= 0)
            break;
    }
    close(connection->fd);
    free(connection);
}

/* ---- connecting ---- */

/* Connects one socket to one address. A descriptor or MF_E_*. */
static int connect_socket(const struct sockaddr *address, socklen_t len, int cancel_fd,
                          uint64_t until_ms, struct mf_error *err)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = 0, status = MF_OK;
    socklen_t error_len = sizeof error;

    if (fd < 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a socket: %s", strerror(errno));
    if (connect(fd, address, len) != 0)
        error = errno;
    if (error == EINPROGRESS || error == EINTR) {
        error = 0;
        status = wait_for(fd, POLLOUT, cancel_fd, until_ms, err);
        if (status == MF_OK && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len) != 0)
            error = errno;
    }
    if (status == MF_OK && error != 0)
        status = mf_fail(err, MF_E_CHANNEL, "%s",
                         error == EAGAIN ? "too many others wait to be let in" : strerror(error));
    if (status == MF_OK)
        return fd;
    close(fd);
    return status;
}

static int connect_unix(const char *path, int cancel_fd, uint64_t until_ms, struct mf_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int at = -1, len = 0;

    if (strlen(path) < sizeof address.sun_path) {
        len = snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    } else {
        /* Longer paths than a socket address holds go through a descriptor. */
        at = open(path, O_PATH | O_CLOEXEC);
        if (at < 0)
            return mf_fail(err, MF_E_CHANNEL, "%s", strerror(errno));
        len = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d", at);
    }
    int fd = len < 0 ? MF_E_SYSTEM
                     : connect_socket((struct sockaddr *)&address, sizeof address, cancel_fd,
                                      until_ms, err);
    if (at >= 0)
        close(at);
    return fd;
}

static int connect_internet(const struct transport_address *address, bool insecure, int cancel_fd,
                            uint64_t until_ms, struct mf_error *err)
{
    struct addrinfo *list;
    int fd = transport_resolve(address, insecure, false, &list, err);

    if (fd != MF_OK)
        return fd;
    for (const struct addrinfo *one = list; one != NULL; one = one->ai_next) {
        fd = connect_socket(one->ai_addr, one->ai_addrlen, cancel_fd, until_ms, err);
        if (fd >= 0 || fd == MF_E_CANCELLED || fd == MF_E_DEADLINE)
            break;
    }
    freeaddrinfo(list);
    return fd;
}

/* The client's part of the handshake, to its end. */
static int finish_handshake(struct transport_connection *connection, int cancel_fd,
                            uint64_t until_ms, struct mf_error *err)
{
    for (;;) {
        int done = tls_session_handshake(connection->tls, &connection->events, err);
        if (done < 0)
            return done;
        if (done > 0)
            break;
        int status = wait_for(connection->fd, connection->events, cancel_fd, until_ms, err);
        if (status == MF_E_DEADLINE)
            return mf_fail(err, status,
                           "the TLS handshake does not go on: is there a mayfly "
                           "that listens on a tls: address?");
        if (status != MF_OK)
            return status;
    }
    tls_session_describe(connection->tls, connection->peer, sizeof connection->peer);
    return MF_OK;
}

/* With all that the error says, which is about something inside of it, said of the address. */
static int fail_to_connect(const struct transport_address *address, int status,
                           struct mf_error *err)
{
    char text[TRANSPORT_TEXT_MAX];
    const struct mf_error inner = *err;

    transport_address_text(address, text, sizeof text);
    return mf_fail(err, status, "cannot connect to %.80s: %s", text, inner.message);
}

int transport_connect(const struct transport_address *address,
                      const struct transport_options *options, int timeout_ms, int cancel_fd,
                      struct transport_connection **out, struct mf_error *err)
{
    struct tls_credentials *credentials;
    uint64_t until_ms = transport_until_ms(timeout_ms);
    int status = tls_credentials_create(address->kind, options, false, &credentials, err);

    *out = NULL;
    if (status != MF_OK)
        return status;
    int fd = address->kind == TRANSPORT_UNIX
                 ? connect_unix(address->path, cancel_fd, until_ms, err)
                 : connect_internet(address, options->insecure, cancel_fd, until_ms, err);
    status = fd < 0 ? fd : transport_adopt(fd, address->kind, credentials, address->host, out, err);
    tls_credentials_release(credentials);
    if (status == MF_OK && (*out)->tls != NULL) {
        status = finish_handshake(*out, cancel_fd, until_ms, err);
        if (status != MF_OK) {
            transport_close(*out);
            *out = NULL;
        }
    }
    return status == MF_OK || status == MF_E_ARGUMENT ? status
                                                      : fail_to_connect(address, status, err);
}

/* ---- the channel ---- */

static long broken(const char *what, struct mf_error *err)
{
    mf_fail(err, MF_E_CHANNEL, "cannot %s the peer: %s", what, strerror(errno));
    return -1;
}

static bool would_wait(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* Reads what is there; MF_CHANNEL_TIMEOUT: nothing yet. */
static long try_read(struct transport_connection *connection, void *data, size_t len,
                     struct mf_error *err)
{
    if (connection->tls != NULL)
        return tls_session_read(connection->tls, data, len, err);
    ssize_t n = recv(connection->fd, data, len, 0);
    if (n < 0 && would_wait())
        return MF_CHANNEL_TIMEOUT;
    return n < 0 ? broken("read from", err) : n;
}

static long try_write(struct transport_connection *connection, const void *data, size_t len,
                      struct mf_error *err)
{
    if (connection->tls != NULL)
        return tls_session_write(connection->tls, data, len, err);
    ssize_t n = send(connection->fd, data, len, MSG_NOSIGNAL);
    if (n < 0 && would_wait())
        return MF_CHANNEL_TIMEOUT;
    return n < 0 ? broken("write to", err) : n;
}

static long shut_down(struct mf_error *err)
{
    mf_fail(err, MF_E_CHANNEL, "the connection was ended on this side");
    return -1;
}

static long channel_read(void *context, void *data, size_t len, int timeout_ms,
                         struct mf_error *err)
{
    struct transport_connection *connection = context;
    uint64_t until_ms = transport_until_ms(timeout_ms);

    for (;;) {
        long n = try_read(connection, data, len, err);
        if (n <= 0 && atomic_load(&connection->shut))
            return shut_down(err);
        if (n != MF_CHANNEL_TIMEOUT)
            return n;
        int status = wait_for(connection->fd, POLLIN, -1, until_ms, err);
        if (status != MF_OK)
            return status == MF_E_DEADLINE ? MF_CHANNEL_TIMEOUT : -1;
    }
}

static long channel_write(void *context, const void *data, size_t len, int timeout_ms,
                          struct mf_error *err)
{
    struct transport_connection *connection = context;
    uint64_t until_ms = transport_until_ms(timeout_ms);

    for (;;) {
        long n = try_write(connection, data, len, err);
        if (n < 0 && atomic_load(&connection->shut))
            return shut_down(err);
        if (n != MF_CHANNEL_TIMEOUT)
            return n;
        int status = wait_for(connection->fd, POLLOUT, -1, until_ms, err);
        if (status != MF_OK)
            return status == MF_E_DEADLINE ? MF_CHANNEL_TIMEOUT : -1;
    }
}

void transport_channel(struct transport_connection *connection, struct mf_channel *out)
{
    *out = (struct mf_channel){
        .size = sizeof *out,
        .context = connection,
        .read = channel_read,
        .write = channel_write,
    };
}
