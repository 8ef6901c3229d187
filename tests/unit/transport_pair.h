/*
 * What the tests of transports share: a folder with certificates, made here, and keys; a server
 * on a thread of its own; and the two ends of a connection. For one file of tests each.
 */
#ifndef UNIT_TRANSPORT_PAIR_H
#define UNIT_TRANSPORT_PAIR_H

#include "cli/transport.h"

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 30000 /* for what must come */
#define DAY         ((time_t)24 * 60 * 60)

static char folder[] = "/tmp/mayfly-transport-XXXXXX";

/* ---- files ---- */

static inline char *in_folder(char *path, const char *name)
{
    snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return path;
}

static inline void write_file(const char *name, const void *data, size_t len, mode_t mode)
{
    char path[PATH_MAX];
    FILE *file = fopen(in_folder(path, name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* ---- certificates ---- */

struct identity {
    gnutls_x509_crt_t certificate;
    gnutls_x509_privkey_t key;
};

static inline void write_pem(const struct identity *identity, const char *name)
{
    gnutls_datum_t pem;
    char file[64];
    assert_int_equal(gnutls_x509_crt_export2(identity->certificate, GNUTLS_X509_FMT_PEM, &pem), 0);
    snprintf(file, sizeof file, "%s.pem", name);
    write_file(file, pem.data, pem.size, 0644);
    gnutls_free(pem.data);
    assert_int_equal(gnutls_x509_privkey_export2(identity->key, GNUTLS_X509_FMT_PEM, &pem), 0);
    snprintf(file, sizeof file, "%s.key", name);
    write_file(file, pem.data, pem.size, 0600);
    gnutls_free(pem.data);
}

/* A certificate signed by `authority` (NULL: it is one itself), for the host `host`. */
static inline void make_identity(struct identity *out, const char *name,
                                 const struct identity *authority, const char *host, time_t from,
                                 time_t to)
{
    static unsigned char serial;
    unsigned char ip[] = {127, 0, 0, 1};
    serial++;
    assert_int_equal(gnutls_x509_privkey_init(&out->key), 0);
    assert_int_equal(gnutls_x509_privkey_generate(out->key, GNUTLS_PK_ECDSA,
                                                  GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1),
                                                  0),
                     0);
    gnutls_x509_crt_t crt;
    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    out->certificate = crt;
    gnutls_x509_crt_set_version(crt, 3);
    gnutls_x509_crt_set_serial(crt, &serial, 1);
    gnutls_x509_crt_set_activation_time(crt, from);
    gnutls_x509_crt_set_expiration_time(crt, to);
    gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                  (unsigned)strlen(name));
    gnutls_x509_crt_set_key(crt, out->key);
    gnutls_x509_crt_set_basic_constraints(crt, authority == NULL, -1);
    gnutls_x509_crt_set_key_usage(crt, authority == NULL ? GNUTLS_KEY_KEY_CERT_SIGN
                                                         : GNUTLS_KEY_DIGITAL_SIGNATURE);
    if (host != NULL)
        gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, host, (unsigned)strlen(host),
                                             GNUTLS_FSAN_SET);
    if (host != NULL && strcmp(host, "localhost") == 0)
        gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, ip, sizeof ip,
                                             GNUTLS_FSAN_APPEND);
    const struct identity *signer = authority != NULL ? authority : out;
    assert_int_equal(
        gnutls_x509_crt_sign2(crt, signer->certificate, signer->key, GNUTLS_DIG_SHA256, 0), 0);
    write_pem(out, name);
}

static inline void free_identity(struct identity *identity)
{
    gnutls_x509_crt_deinit(identity->certificate);
    gnutls_x509_privkey_deinit(identity->key);
}

static inline void make_certificates(void)
{
    time_t now = time(NULL);
    struct identity ca, other_ca, one;
    make_identity(&ca, "ca", NULL, NULL, now - 10 * DAY, now + 10 * DAY);
    make_identity(&other_ca, "other-ca", NULL, NULL, now - 10 * DAY, now + 10 * DAY);
    make_identity(&one, "host-a", &ca, "localhost", now - DAY, now + DAY);
    free_identity(&one);
    make_identity(&one, "stranger", &other_ca, "localhost", now - DAY, now + DAY);
    free_identity(&one);
    make_identity(&one, "expired", &ca, "localhost", now - 2 * DAY, now - DAY);
    free_identity(&one);
    make_identity(&one, "elsewhere", &ca, "elsewhere.example", now - DAY, now + DAY);
    free_identity(&one);
    free_identity(&ca);
    free_identity(&other_ca);
}

/* ---- options ---- */

/* Options whose paths live as long as the test. */
struct side {
    struct transport_options options;
    char cert[PATH_MAX], key[PATH_MAX], ca[PATH_MAX], psk[PATH_MAX];
};

static inline void with_certificate(struct side *side, const char *name, const char *ca)
{
    char file[64];
    memset(side, 0, sizeof *side);
    snprintf(file, sizeof file, "%s.pem", name);
    side->options.cert_file = in_folder(side->cert, file);
    snprintf(file, sizeof file, "%s.key", name);
    side->options.key_file = in_folder(side->key, file);
    snprintf(file, sizeof file, "%s.pem", ca);
    side->options.ca_file = in_folder(side->ca, file);
}

static inline void with_key(struct side *side, const char *file)
{
    memset(side, 0, sizeof *side);
    side->options.psk_file = in_folder(side->psk, file);
}

static inline void with_nothing(struct side *side)
{
    memset(side, 0, sizeof *side);
}

/* ---- a server on its own thread ---- */

/* Accepts one client, or learns of one that is refused. */
struct server {
    struct transport_listener *listener;
    pthread_t thread;
    int refused_fd; /* readable once a client has been refused */
    int cancel_fd;  /* what ends the accepting: refused_fd, or -1 */
    int status;
    struct transport_connection *connection;
    struct mf_error err, refusal;
};

static inline void note_refusal(void *context, const char *peer, const struct mf_error *err)
{
    struct server *server = context;
    const uint64_t one = 1;
    assert_non_null(peer);
    server->refusal = *err;
    assert_int_equal(write(server->refused_fd, &one, sizeof one), sizeof one);
}

static inline void *serve(void *context)
{
    struct server *server = context;
    server->status = transport_accept(server->listener, PATIENCE_MS, server->cancel_fd,
                                      &server->connection, &server->err);
    return NULL;
}

static inline void parse(const char *text, struct transport_address *out)
{
    struct mf_error err = {0};
    if (transport_address_parse(text, out, &err) != 0)
        fail_msg("%s: %s", text, err.message);
}

/* Listens; *bound is where to connect to. */
static inline void listen_at(struct server *server, const char *text, struct side *side,
                             struct transport_address *bound)
{
    struct transport_address address;
    struct mf_error err = {0};
    memset(server, 0, sizeof *server);
    server->refused_fd = server->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    side->options.refused = note_refusal;
    side->options.context = server;
    parse(text, &address);
    if (transport_listen(&address, &side->options, &server->listener, &err) != 0)
        fail_msg("%s: %s", text, err.message);
    parse(transport_listener_address(server->listener), bound);
}

static inline void server_start(struct server *server, const char *text, struct side *side,
                                struct transport_address *bound)
{
    listen_at(server, text, side, bound);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static inline void server_fini(struct server *server)
{
    transport_close(server->connection);
    transport_listener_close(server->listener);
    close(server->refused_fd);
}

static inline void unix_address(char *text, const char *name)
{
    snprintf(text, TRANSPORT_TEXT_MAX, "unix:%s/%s", folder, name);
}

/* Both ends of a connection, which must come about. */
static inline void make_pair(struct server *server, const char *text, struct side *server_side,
                             struct side *client_side, struct transport_connection **client)
{
    struct transport_address bound;
    struct mf_error err = {0};
    server_start(server, text, server_side, &bound);
    int status = transport_connect(&bound, &client_side->options, PATIENCE_MS, -1, client, &err);
    if (status != 0)
        fail_msg("%s: %s", text, err.message);
    pthread_join(server->thread, NULL);
    if (server->status != 0)
        fail_msg("%s: %s; %s", text, server->err.message, server->refusal.message);
}

static inline void set_path(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    assert_true(strlen(path) < sizeof address->sun_path);
    memcpy(address->sun_path, path, strlen(path));
}

/* ---- before and after ---- */

static inline unsigned open_descriptors(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static unsigned descriptors_before;

static inline int set_up_transports(void **state)
{
    (void)state;
    static const char key[] = "000102030405060708090A0B0C0D0E0F\n";
    static const char other[] = "000102030405060708090a0b0c0d0e0e\n";
    /* Whoever starts this may ignore it; a write that raises it is to be noticed. */
    signal(SIGPIPE, SIG_DFL);
    assert_non_null(mkdtemp(folder));
    make_certificates();
    write_file("key", key, sizeof key - 1, 0600);
    write_file("other-key", other, sizeof other - 1, 0600);
    descriptors_before = open_descriptors();
    return 0;
}

static inline int tear_down_transports(void **state)
{
    (void)state;
    static const char *const names[] = {"ca",       "other-ca", "host-a",
                                        "stranger", "expired",  "elsewhere"};
    static const char *const files[] = {"key", "other-key", "bad-key"};
    char path[PATH_MAX], file[64];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(file, sizeof file, "%s.pem", names[i]);
        unlink(in_folder(path, file));
        snprintf(file, sizeof file, "%s.key", names[i]);
        unlink(in_folder(path, file));
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        unlink(in_folder(path, files[i]));
    /* Nothing of listeners and connections is left, in the folder or open. */
    if (open_descriptors() != descriptors_before)
        return -1;
    return rmdir(folder);
}

#endif
