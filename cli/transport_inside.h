/*
 * What the files of the transports share: transport.c (connections), transport_address.c,
 * transport_listen.c, and transport_tls.c, the only one that knows GnuTLS.
 */
#ifndef CLI_TRANSPORT_INSIDE_H
#define CLI_TRANSPORT_INSIDE_H

#include "transport.h"

#include <netdb.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define TRANSPORT_PEER_MAX 256

struct tls_credentials;
struct tls_session;

struct transport_connection {
    int fd;                  /* not blocking */
    struct tls_session *tls; /* NULL: plain */
    atomic_bool shut;        /* by transport_shutdown */
    uint64_t until_ms;       /* a listener's client: the end of its handshake */
    short events;            /* that its handshake waits for */
    char peer[TRANSPORT_PEER_MAX];
};

/* ---- transport.c ---- */

/* Milliseconds of the monotonic clock, and when `timeout_ms` is over; UINT64_MAX: never. */
uint64_t transport_now_ms(void);
uint64_t transport_until_ms(int timeout_ms);

/* What is left until then, for poll; -1: no limit. */
int transport_left_ms(uint64_t until_ms);

/*
 * Makes a connection of a connected socket, which it takes in any case, and checks
 * who is there (unix). `credentials` NULL: plain. `server_name`: of a TLS client, the name or IP
 * address that the server's certificate must have; NULL for a server. With TLS the handshake is
 * still to be done.
 */
int transport_adopt(int fd, enum transport_kind kind, struct tls_credentials *credentials,
                    const char *server_name, struct transport_connection **out,
                    struct mf_error *err);

/* ---- transport_address.c ---- */

/*
 * Looks up where to listen or to connect; for freeaddrinfo. Plain TCP that would leave this
 * host is refused unless `insecure`.
 */
int transport_resolve(const struct transport_address *address, bool insecure, bool listening,
                      struct addrinfo **out, struct mf_error *err);

/* ---- transport_tls.c ---- */

/*
 * Reads certificates or key, for a server or for a client. With another kind of address: checks
 * that there are none, and sets *out to NULL. For tls_credentials_release.
 */
int tls_credentials_create(enum transport_kind kind, const struct transport_options *options,
                           bool server, struct tls_credentials **out, struct mf_error *err);

/* One more user of them, and one less. NULL is allowed. Any thread. */
struct tls_credentials *tls_credentials_hold(struct tls_credentials *credentials);
void tls_credentials_release(struct tls_credentials *credentials);

/* `server_name` as for transport_adopt. Holds the credentials; not the descriptor. */
int tls_session_create(struct tls_credentials *credentials, int fd, const char *server_name,
                       struct tls_session **out, struct mf_error *err);

/*
 * Goes on with the handshake as far as it gets without waiting. 1: done; 0: to be called again
 * when *events (POLLIN or POLLOUT) has come; or an MF_E_*, of which the peer has been told.
 */
int tls_session_handshake(struct tls_session *session, short *events, struct mf_error *err);

/* Appends the name in the peer's certificate, if it has one, to a text. After the handshake. */
void tls_session_describe(struct tls_session *session, char *text, size_t size);

/* As the channel's, without waiting: MF_CHANNEL_TIMEOUT when there is nothing to do yet. */
long tls_session_read(struct tls_session *session, void *data, size_t len, struct mf_error *err);
long tls_session_write(struct tls_session *session, const void *data, size_t len,
                       struct mf_error *err);

/* Tells the peer that nothing more comes, if that goes without waiting. */
void tls_session_bye(struct tls_session *session);

/* NULL is allowed. */
void tls_session_destroy(struct tls_session *session);

#endif
