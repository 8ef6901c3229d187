/*
 * Where migrations travel: connections between two processes of the command, over a Unix socket,
 * TCP, or TLS, which are channels for mf_migrate_out and mf_migrate_in.
 *
 * Who is let in:
 *   unix  processes of the same user or of root, on both sides (SO_PEERCRED)
 *   tcp   anybody who reaches the port; so addresses are loopback ones unless `insecure` is set
 *   tls   TLS 1.3 only; a certificate of the given authority on both sides, the server's with
 *         the name or IP address that was connected to; or the same pre-shared key
 *
 * A TLS client has done its part of the handshake before the server has looked at its
 * certificate. So the server says one byte ('M') first, and transport_connect waits for it: what it
 * returns has been let in. Both name the protocol "mayfly-migrate" (ALPN).
 *
 * Functions return 0 or a negative MF_E_* with *err (not NULL) filled. MF_E_ARGUMENT: the address
 * or the options; MF_E_REFUSED: who is at the other end is not let in, or does not let us in;
 * MF_E_CHANNEL: the network; MF_E_DEADLINE; MF_E_CANCELLED; MF_E_SYSTEM; MF_E_NO_MEMORY.
 */
#ifndef CLI_TRANSPORT_H
#define CLI_TRANSPORT_H

#include <mayfly/mayfly.h>
#include <mayfly/migrate.h>

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- addresses ---- */

enum transport_kind { TRANSPORT_UNIX, TRANSPORT_TCP, TRANSPORT_TLS };

#define TRANSPORT_HOST_MAX 256
#define TRANSPORT_TEXT_MAX (PATH_MAX + 16)

struct transport_address {
    enum transport_kind kind;
    char host[TRANSPORT_HOST_MAX]; /* tcp, tls: a name or an IP address, without brackets */
    uint16_t port;                 /* tcp, tls; 0: any that is free, for listening */
    char path[PATH_MAX];           /* unix */
};

/*
 * Reads "unix:PATH", "tcp:HOST:PORT" or "tls:HOST:PORT", with an IPv6 address in brackets.
 * Looks nothing up. MF_E_ARGUMENT says what is expected.
 */
int transport_address_parse(const char *text, struct transport_address *out, struct mf_error *err);

/* The same as text, cut to `size`, with brackets where needed. Returns `text`. */
char *transport_address_text(const struct transport_address *address, char *text, size_t size);

/* ---- options ---- */

/* What the kinds need beside the address; zeroed is right for unix and tcp. */
struct transport_options {
    /*
     * tls: files in PEM, all three, of both sides: the certificate (with those between it and
     * the authority behind it), its private key, and the authorities that the peer's is to be of.
     */
    const char *cert_file, *key_file, *ca_file;
    /*
     * tls: instead of them, a file that only its owner may use and that holds the key, 16 to
     * 64 bytes, as hexadecimal digits. The identity is always "mayfly".
     */
    const char *psk_file;
    bool insecure; /* tcp: addresses outside of this host too */
    /* For a listener: a client that is not through by then is dropped; 0: 10 s. */
    int handshake_timeout_ms;
    /*
     * For a listener, may be NULL: told of each client that is not let in, on the thread that
     * is in transport_accept. `peer` as transport_peer.
     */
    void (*refused)(void *context, const char *peer, const struct mf_error *err);
    void *context;
};

/* ---- listening ---- */

struct transport_connection;
struct transport_listener;

/* At most so many clients are in their handshakes; for one more the oldest is dropped. */
#define TRANSPORT_HANDSHAKES_MAX 128

/*
 * Listens. A Unix socket gets mode 0600; one that a dead process left is replaced, a live
 * one is not (MF_E_BUSY), and a file that is no socket is never touched. A name with several
 * addresses is listened to on up to four of them. Keys and certificates are read here; the
 * strings of `options` are not needed afterwards, `refused` and `context` are. Looking a name up
 * waits for the resolver. *out is for transport_listener_close.
 */
int transport_listen(const struct transport_address *address,
                     const struct transport_options *options, struct transport_listener **out,
                     struct mf_error *err);

/* What to connect to: the address, with the port that was taken for 0. Valid until it is closed. */
const char *transport_listener_address(const struct transport_listener *listener);

/*
 * Waits for the next client that is through its handshake. One thread at a time. The handshakes
 * of all clients go on side by side in here, and none of them is waited for: who says nothing,
 * or only half, keeps nobody out. They stand still while nobody is in this function.
 * `timeout_ms` below 0: no limit. `cancel_fd` (-1: none): MF_E_CANCELLED once it is readable.
 * *out is for transport_close, and may outlive the listener.
 */
int transport_accept(struct transport_listener *listener, int timeout_ms, int cancel_fd,
                     struct transport_connection **out, struct mf_error *err);

/* Drops the clients that have not been given out, and removes a Unix socket. NULL is allowed. */
void transport_listener_close(struct transport_listener *listener);

/* ---- connections ---- */

/*
 * Connects, and is let in, within `timeout_ms` (below 0: no limit), for which each address that a
 * name has is tried in turn; only looking the name up is not limited. `cancel_fd` as above. *out is
 * for transport_close.
 */
int transport_connect(const struct transport_address *address,
                      const struct transport_options *options, int timeout_ms, int cancel_fd,
                      struct transport_connection **out, struct mf_error *err);

/*
 * The connection as a channel, valid as long as it is. One thread may read while another
 * writes. A `timeout_ms` below 0 is no limit. 0 is read only when the peer has
 * closed its end by transport_close: with TLS a connection that was cut is an error. When a
 * write has timed out, the next one must begin with the same bytes: with TLS some may have
 * been sent (checked: MF_E_CHANNEL).
 */
void transport_channel(struct transport_connection *connection, struct mf_channel *out);

/*
 * Who is at the other end: "tls:192.0.2.1:4321", "unix: process 12 of user 1000", and with TLS and
 * certificates the name of the peer's: `... (CN=host-b)`. Escaped, as it is not ours. Valid
 * until transport_close.
 */
const char *transport_peer(const struct transport_connection *connection);

/* Ends reading and writing on both sides. Any thread: wakes those who are in the channel. */
void transport_shutdown(struct transport_connection *connection);

/* Nobody may be in the channel. Takes leave of the peer, without waiting. NULL is allowed. */
void transport_close(struct transport_connection *connection);

#endif
