/*
 * TLS 1.3 by GnuTLS.
 *
 * libgnutls is loaded when the first tls: address is used, not with the command: linked in, it
 * makes every start of a process 2 ms longer (docs/decisions/0001-libraries.md). The functions
 * that are used are the list TLS_FUNCTIONS; the compiler checks their types by the header, and
 * the name of the file stands for the same ABI. The table of them is the one process-wide state: it
 * is filled once, under a lock, always with the same meaning, and never emptied.
 *
 * Threads: GnuTLS lets one thread send while another receives on a session, when no
 * renegotiation and no session tickets are wanted; TLS 1.3 has none of the former, and the server
 * here sends no tickets. Reasons of failed system calls are taken from the callbacks, one field
 * for each direction.
 */
#include "transport_inside.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define LIBRARY_FILE "libgnutls.so.30"

#define PROTOCOL "mayfly-migrate"
#define IDENTITY "mayfly"
#define WELCOME  'M'

#define KEY_BYTES_MIN 16
#define KEY_BYTES_MAX 64

/* Every write is one record. */
#define RECORD_MAX 16384

/*
 * The groups and signatures are GnuTLS's own choice. AES with 128 bits first: it is as
 * good as any here and the fastest, and a pre-shared key goes with SHA-256 only.
 */
#define PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+CHACHA20-POLY1305"

#define TLS_FUNCTIONS(X)                            \
    X(gnutls_alert_get)                             \
    X(gnutls_alert_get_name)                        \
    X(gnutls_alert_send_appropriate)                \
    X(gnutls_alpn_get_selected_protocol)            \
    X(gnutls_alpn_set_protocols)                    \
    X(gnutls_bye)                                   \
    X(gnutls_certificate_allocate_credentials)      \
    X(gnutls_certificate_free_credentials)          \
    X(gnutls_certificate_get_peers)                 \
    X(gnutls_certificate_send_x509_rdn_sequence)    \
    X(gnutls_certificate_server_set_request)        \
    X(gnutls_certificate_set_x509_key_file)         \
    X(gnutls_certificate_set_x509_trust_file)       \
    X(gnutls_certificate_verification_status_print) \
    X(gnutls_credentials_set)                       \
    X(gnutls_deinit)                                \
    X(gnutls_handshake)                             \
    X(gnutls_init)                                  \
    X(gnutls_priority_set_direct)                   \
    X(gnutls_psk_allocate_client_credentials)       \
    X(gnutls_psk_allocate_server_credentials)       \
    X(gnutls_psk_free_client_credentials)           \
    X(gnutls_psk_free_server_credentials)           \
    X(gnutls_psk_set_client_credentials)            \
    X(gnutls_psk_set_server_credentials_function)   \
    X(gnutls_record_get_direction)                  \
    X(gnutls_record_recv)                           \
    X(gnutls_record_send)                           \
    X(gnutls_server_name_set)                       \
    X(gnutls_session_get_ptr)                       \
    X(gnutls_session_get_verify_cert_status)        \
    X(gnutls_session_set_ptr)                       \
    X(gnutls_session_set_verify_cert)               \
    X(gnutls_strerror)                              \
    X(gnutls_transport_set_ptr)                     \
    X(gnutls_transport_set_pull_function)           \
    X(gnutls_transport_set_pull_timeout_function)   \
    X(gnutls_transport_set_vec_push_function)       \
    X(gnutls_x509_crt_deinit)                       \
    X(gnutls_x509_crt_get_dn_by_oid)                \
    X(gnutls_x509_crt_import)                       \
    X(gnutls_x509_crt_init)

struct tls_library {
#define TLS_MEMBER(name) __typeof__(name) *name;
    TLS_FUNCTIONS(TLS_MEMBER)
#undef TLS_MEMBER
    gnutls_alloc_function *gnutls_malloc;
    gnutls_free_function *gnutls_free;
};

static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tls_library library; /* guarded by library_lock until it is filled */
static bool library_filled;        /* guarded by library_lock; set once */

struct tls_credentials {
    atomic_uint users;
    bool server;
    gnutls_certificate_credentials_t certificate; /* this, or a key */
    gnutls_psk_client_credentials_t client_key;
    gnutls_psk_server_credentials_t server_key;
    uint8_t key[KEY_BYTES_MAX];
    size_t key_len; /* 0: certificates */
};

struct tls_session {
    gnutls_session_t session;
    struct tls_credentials *credentials;
    int fd;
    bool shaken; /* only the server's welcome is left */
    atomic_int pull_errno, push_errno;
    /* A record that GnuTLS has taken and not yet sent: what the next write must repeat. */
    size_t pending;
    uint8_t pending_data[RECORD_MAX];
};

/* ---- the library ---- */

static int fill_library(struct mf_error *err)
{
    void *handle = dlopen(LIBRARY_FILE, RTLD_NOW | RTLD_LOCAL);

    if (handle == NULL) {
        const char *reason = dlerror();
        return mf_fail(err, MF_E_SYSTEM, "tls: addresses need GnuTLS (apt install libgnutls30): %s",
                       reason != NULL ? reason : LIBRARY_FILE " does not load");
    }
    const struct {
        const char *name;
        void *place;
    } wanted[] = {
#define TLS_WANTED(name) {#name, &library.name},
        TLS_FUNCTIONS(TLS_WANTED)
#undef TLS_WANTED
            {"gnutls_malloc", &library.gnutls_malloc},
        {"gnutls_free", &library.gnutls_free},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        void *symbol = dlsym(handle, wanted[i].name);
        if (symbol == NULL) {
            dlclose(handle);
            return mf_fail(err, MF_E_SYSTEM, LIBRARY_FILE " is too old: it has no %s",
                           wanted[i].name);
        }
        memcpy(wanted[i].place, &symbol, sizeof symbol);
    }
    library_filled = true;
    return MF_OK;
}

static int load_library(struct mf_error *err)
{
    pthread_mutex_lock(&library_lock);
    int status = library_filled ? MF_OK : fill_library(err);
    pthread_mutex_unlock(&library_lock);
    return status;
}

/* ---- credentials ---- */

static int hex_value(char digit)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = digit != 0 ? strchr(digits, digit | ('a' - 'A')) : NULL;

    /* Setting the bit of lower case leaves digits alone, but makes some others digits. */
    if (found == NULL || (digit < '0' || (digit > '9' && digit < 'A')))
        return -1;
    return (int)(found - digits);
}

static int decode_key(struct tls_credentials *credentials, const char *path, const char *text,
                      size_t len, struct mf_error *err)
{
    while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL && text[len - 1] != 0)
        len--;
    if (len % 2 != 0 || len < 2 * KEY_BYTES_MIN || len > 2 * KEY_BYTES_MAX)
        return mf_fail(err, MF_E_ARGUMENT,
                       "%.80s: a key has %d to %d hexadecimal digits, an even number; make one "
                       "with: (umask 077; openssl rand -hex 32 > FILE)",
                       path, 2 * KEY_BYTES_MIN, 2 * KEY_BYTES_MAX);
    for (size_t i = 0; i < len / 2; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return mf_fail(err, MF_E_ARGUMENT, "%.100s: byte %zu is no hexadecimal digit", path,
                           high < 0 ? 2 * i : 2 * i + 1);
        credentials->key[i] = (uint8_t)(high << 4 | low);
    }
    credentials->key_len = len / 2;
    return MF_OK;
}

/* Whether the opened file is one that a key may be in. */
static int check_key_file(int fd, const char *path, struct mf_error *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot look at %.100s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return mf_fail(err, MF_E_ARGUMENT, "%.100s is no regular file", path);
    if ((st.st_mode & 077) != 0)
        return mf_fail(err, MF_E_ARGUMENT,
                       "others may use the key in %.80s (mode %04o); 'chmod 600 %.80s', and make "
                       "a new key if they may have read it",
                       path, (unsigned)st.st_mode & 07777, path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return mf_fail(err, MF_E_ARGUMENT, "%.100s belongs to user %lu, not to you", path,
                       (unsigned long)st.st_uid);
    return MF_OK;
}

static int read_key(struct tls_credentials *credentials, const char *path, struct mf_error *err)
{
    char text[2 * KEY_BYTES_MAX + 64];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return mf_fail(err, MF_E_ARGUMENT, "cannot open the key file %.100s: %s", path,
                       strerror(errno));
    int status = check_key_file(fd, path, err);
    if (status == MF_OK) {
        ssize_t n = read(fd, text, sizeof text);
        status = n < 0 ? mf_fail(err, MF_E_SYSTEM, "cannot read %.100s: %s", path, strerror(errno))
                       : decode_key(credentials, path, text, (size_t)n, err);
    }
    close(fd);
    explicit_bzero(text, sizeof text);
    return status;
}

/* GnuTLS asks the server for the key of an identity; what it gets, it frees. */
static int give_key(gnutls_session_t session, const char *identity, gnutls_datum_t *key)
{
    const struct tls_credentials *credentials = library.gnutls_session_get_ptr(session);

    if (strcmp(identity, IDENTITY) != 0)
        return -1;
    key->data = (*library.gnutls_malloc)(credentials->key_len);
    if (key->data == NULL)
        return -1;
    memcpy(key->data, credentials->key, credentials->key_len);
    key->size = (unsigned)credentials->key_len;
    return 0;
}

static int fail_library(int code, const char *what, struct mf_error *err)
{
    return mf_fail(err, code == GNUTLS_E_MEMORY_ERROR ? MF_E_NO_MEMORY : MF_E_SYSTEM, "%s: %s",
                   what, library.gnutls_strerror(code));
}

static int use_key(struct tls_credentials *credentials, struct mf_error *err)
{
    const gnutls_datum_t key = {credentials->key, (unsigned)credentials->key_len};
    int code;

    if (credentials->server) {
        code = library.gnutls_psk_allocate_server_credentials(&credentials->server_key);
        if (code == 0)
            library.gnutls_psk_set_server_credentials_function(credentials->server_key, give_key);
    } else {
        code = library.gnutls_psk_allocate_client_credentials(&credentials->client_key);
        if (code == 0)
            code = library.gnutls_psk_set_client_credentials(credentials->client_key, IDENTITY,
                                                             &key, GNUTLS_PSK_KEY_RAW);
    }
    return code < 0 ? fail_library(code, "cannot use the key", err) : MF_OK;
}

static int use_certificate(struct tls_credentials *credentials,
                           const struct transport_options *options, struct mf_error *err)
{
    int code = library.gnutls_certificate_allocate_credentials(&credentials->certificate);

    if (code < 0)
        return fail_library(code, "cannot use a certificate", err);
    code = library.gnutls_certificate_set_x509_key_file(
        credentials->certificate, options->cert_file, options->key_file, GNUTLS_X509_FMT_PEM);
    if (code < 0)
        return mf_fail(err, MF_E_ARGUMENT,
                       "cannot use the certificate %.70s with the key %.70s: %s",
                       options->cert_file, options->key_file, library.gnutls_strerror(code));
    code = library.gnutls_certificate_set_x509_trust_file(credentials->certificate,
                                                          options->ca_file, GNUTLS_X509_FMT_PEM);
    if (code <= 0)
        return mf_fail(err, MF_E_ARGUMENT, "there is no certificate of an authority in %.100s%s%s",
                       options->ca_file, code < 0 ? ": " : "",
                       code < 0 ? library.gnutls_strerror(code) : "");
    return MF_OK;
}

static int check_options(enum transport_kind kind, const struct transport_options *options,
                         struct mf_error *err)
{
    bool all = options->cert_file && options->key_file && options->ca_file;
    bool some = options->cert_file || options->key_file || options->ca_file;

    if (kind != TRANSPORT_TLS && (some || options->psk_file))
        return mf_fail(err, MF_E_ARGUMENT,
                       "keys and certificates are for tls: addresses; this one is %s",
                       kind == TRANSPORT_TCP ? "tcp:, which is not encrypted" : "unix:");
    if (kind == TRANSPORT_TLS && some && options->psk_file)
        return mf_fail(err, MF_E_ARGUMENT, "a pre-shared key and certificates exclude each other");
    if (kind == TRANSPORT_TLS && !all && !options->psk_file)
        return mf_fail(err, MF_E_ARGUMENT,
                       "a tls: address needs a certificate, its key and the certificate of the "
                       "authority, on both sides, or a pre-shared key");
    return MF_OK;
}

int tls_credentials_create(enum transport_kind kind, const struct transport_options *options,
                           bool server, struct tls_credentials **out, struct mf_error *err)
{
    int status = check_options(kind, options, err);

    *out = NULL;
    if (status != MF_OK || kind != TRANSPORT_TLS)
        return status;
    status = load_library(err);
    if (status != MF_OK)
        return status;
    struct tls_credentials *credentials = calloc(1, sizeof *credentials);
    if (credentials == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    atomic_init(&credentials->users, 1);
    credentials->server = server;
    if (options->psk_file != NULL) {
        status = read_key(credentials, options->psk_file, err);
        if (status == MF_OK)
            status = use_key(credentials, err);
    } else {
        status = use_certificate(credentials, options, err);
    }
    if (status != MF_OK) {
        tls_credentials_release(credentials);
        return status;
    }
    *out = credentials;
    return MF_OK;
}

struct tls_credentials *tls_credentials_hold(struct tls_credentials *credentials)
{
    if (credentials != NULL)
        atomic_fetch_add(&credentials->users, 1);
    return credentials;
}

void tls_credentials_release(struct tls_credentials *credentials)
{
    if (credentials == NULL || atomic_fetch_sub(&credentials->users, 1) != 1)
        return;
    if (credentials->certificate != NULL)
        library.gnutls_certificate_free_credentials(credentials->certificate);
    if (credentials->client_key != NULL)
        library.gnutls_psk_free_client_credentials(credentials->client_key);
    if (credentials->server_key != NULL)
        library.gnutls_psk_free_server_credentials(credentials->server_key);
    explicit_bzero(credentials, sizeof *credentials);
    free(credentials);
}

/* ---- bytes ---- */

static ssize_t pull(gnutls_transport_ptr_t context, void *data, size_t len)
{
    struct tls_session *session = context;
    ssize_t n = recv(session->fd, data, len, 0);

    if (n < 0)
        atomic_store(&session->pull_errno, errno);
    return n;
}

static ssize_t push(gnutls_transport_ptr_t context, const giovec_t *parts, int count)
{
    struct tls_session *session = context;
    const struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};
    ssize_t n = sendmsg(session->fd, &message, MSG_NOSIGNAL);

    if (n < 0)
        atomic_store(&session->push_errno, errno);
    return n;
}

/* GnuTLS asks this only when it has been given time to wait, which it never is. */
static int pull_ready(gnutls_transport_ptr_t context, unsigned ms)
{
    struct tls_session *session = context;
    struct pollfd fd = {.fd = session->fd, .events = POLLIN};

    return poll(&fd, 1, ms > INT_MAX ? INT_MAX : (int)ms);
}

/* ---- sessions ---- */

static int set_credentials(struct tls_session *session, const char *server_name)
{
    const struct tls_credentials *credentials = session->credentials;
    char *name = (char *)server_name;
    uint8_t numeric[16];

    if (credentials->key_len > 0)
        return library.gnutls_credentials_set(session->session, GNUTLS_CRD_PSK,
                                              credentials->server
                                                  ? (void *)credentials->server_key
                                                  : (void *)credentials->client_key);
    int code = library.gnutls_credentials_set(session->session, GNUTLS_CRD_CERTIFICATE,
                                              credentials->certificate);
    if (code < 0)
        return code;
    library.gnutls_session_set_verify_cert(session->session, name, 0);
    if (credentials->server) {
        library.gnutls_certificate_server_set_request(session->session, GNUTLS_CERT_REQUIRE);
        /*
         * A client that is told which authorities are wanted keeps a certificate of another
         * to itself, and nobody could say what is wrong with it.
         */
        library.gnutls_certificate_send_x509_rdn_sequence(session->session, 1);
    } else if (inet_pton(AF_INET, name, numeric) != 1 && inet_pton(AF_INET6, name, numeric) != 1) {
        code =
            library.gnutls_server_name_set(session->session, GNUTLS_NAME_DNS, name, strlen(name));
    }
    return code;
}

static int set_up(struct tls_session *session, const char *server_name)
{
    const gnutls_datum_t protocol = {(unsigned char *)PROTOCOL, sizeof PROTOCOL - 1};
    bool key = session->credentials->key_len > 0;
    unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL;
    int code = library.gnutls_init(&session->session,
                                   flags | (server_name != NULL ? GNUTLS_CLIENT : GNUTLS_SERVER));

    if (code == 0)
        code = library.gnutls_priority_set_direct(
            session->session, key ? PRIORITY ":-KX-ALL:+ECDHE-PSK:+DHE-PSK" : PRIORITY, NULL);
    if (code == 0)
        code = library.gnutls_alpn_set_protocols(session->session, &protocol, 1,
                                                 GNUTLS_ALPN_MANDATORY);
    if (code == 0)
        code = set_credentials(session, server_name);
    if (code != 0)
        return code;
    library.gnutls_session_set_ptr(session->session, session->credentials);
    library.gnutls_transport_set_ptr(session->session, session);
    library.gnutls_transport_set_pull_function(session->session, pull);
    library.gnutls_transport_set_pull_timeout_function(session->session, pull_ready);
    library.gnutls_transport_set_vec_push_function(session->session, push);
    return 0;
}

int tls_session_create(struct tls_credentials *credentials, int fd, const char *server_name,
                       struct tls_session **out, struct mf_error *err)
{
    struct tls_session *session = calloc(1, sizeof *session);

    *out = NULL;
    if (session == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    session->fd = fd;
    session->credentials = tls_credentials_hold(credentials);
    atomic_init(&session->pull_errno, 0);
    atomic_init(&session->push_errno, 0);
    int code = set_up(session, server_name);
    if (code != 0) {
        tls_session_destroy(session);
        return fail_library(code, "cannot begin TLS", err);
    }
    *out = session;
    return MF_OK;
}

void tls_session_destroy(struct tls_session *session)
{
    if (session == NULL)
        return;
    if (session->session != NULL)
        library.gnutls_deinit(session->session);
    tls_credentials_release(session->credentials);
    explicit_bzero(session->pending_data, sizeof session->pending_data);
    free(session);
}

/* ---- what went wrong ---- */

static int fail_verification(struct tls_session *session, struct mf_error *err)
{
    unsigned status = library.gnutls_session_get_verify_cert_status(session->session);
    gnutls_datum_t text = {NULL, 0};

    library.gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
    mf_fail(err, MF_E_REFUSED, "the peer's certificate is refused: %s",
            text.data != NULL ? (const char *)text.data : "it is not trusted");
    (*library.gnutls_free)(text.data);
    return MF_E_REFUSED;
}

/* Says what a code of GnuTLS means, and returns the MF_E_* for it. */
static int explain(struct tls_session *session, int code, struct mf_error *err)
{
    const char *alert;

    switch (code) {
    case GNUTLS_E_FATAL_ALERT_RECEIVED:
        alert = library.gnutls_alert_get_name(library.gnutls_alert_get(session->session));
        return mf_fail(err, MF_E_REFUSED, "the peer refuses: %s (TLS alert)%s",
                       alert != NULL ? alert : "unknown",
                       session->credentials->key_len > 0 ? "; is its key the same?"
                                                         : "; its own message says why");
    case GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR:
        return fail_verification(session, err);
    case GNUTLS_E_NO_CERTIFICATE_FOUND:
    case GNUTLS_E_CERTIFICATE_REQUIRED:
        return mf_fail(err, MF_E_REFUSED, "the peer has shown no certificate");
    case GNUTLS_E_PREMATURE_TERMINATION:
        return mf_fail(err, MF_E_CHANNEL, "the peer has cut the connection");
    case GNUTLS_E_PULL_ERROR:
        return mf_fail(err, MF_E_CHANNEL, "cannot read from the peer: %s",
                       strerror(atomic_load(&session->pull_errno)));
    case GNUTLS_E_PUSH_ERROR:
        return mf_fail(err, MF_E_CHANNEL, "cannot write to the peer: %s",
                       strerror(atomic_load(&session->push_errno)));
    case GNUTLS_E_MEMORY_ERROR:
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    case GNUTLS_E_UNEXPECTED_PACKET:
    case GNUTLS_E_UNEXPECTED_PACKET_LENGTH:
    case GNUTLS_E_UNSUPPORTED_VERSION_PACKET:
    case GNUTLS_E_RECORD_OVERFLOW:
        return mf_fail(err, MF_E_REFUSED, "the peer does not speak TLS 1.3: %s",
                       library.gnutls_strerror(code));
    case GNUTLS_E_INSUFFICIENT_CREDENTIALS:
        return mf_fail(err, MF_E_REFUSED,
                       "TLS: one side has a certificate, the other a pre-shared key");
    default:
        return mf_fail(err, session->shaken ? MF_E_CHANNEL : MF_E_REFUSED, "TLS: %s%s",
                       session->credentials->key_len > 0 && !session->shaken
                           ? "is the peer's key the same? "
                           : "",
                       library.gnutls_strerror(code));
    }
}

/* ---- the handshake ---- */

static bool is_waiting(int code)
{
    return code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED;
}

/* After GnuTLS's handshake: the protocol, and the server's word. As tls_session_handshake. */
static int welcome(struct tls_session *session, struct mf_error *err)
{
    gnutls_datum_t protocol = {NULL, 0};
    char byte = WELCOME;

    if (library.gnutls_alpn_get_selected_protocol(session->session, &protocol) != 0 ||
        protocol.size != sizeof PROTOCOL - 1 || memcmp(protocol.data, PROTOCOL, protocol.size) != 0)
        return mf_fail(err, MF_E_REFUSED, "the peer speaks TLS, but is no mayfly");
    ssize_t n = session->credentials->server
                    ? library.gnutls_record_send(session->session, &byte, 1)
                    : library.gnutls_record_recv(session->session, &byte, 1);
    if (n == 1 && byte == WELCOME)
        return 1;
    if (n == 0)
        return mf_fail(err, MF_E_CHANNEL, "the peer has closed the connection");
    if (n > 0)
        return mf_fail(err, MF_E_REFUSED, "the peer speaks TLS, but is no mayfly");
    return is_waiting((int)n) ? 0 : explain(session, (int)n, err);
}

int tls_session_handshake(struct tls_session *session, short *events, struct mf_error *err)
{
    int code, status;

    while (!session->shaken) {
        code = library.gnutls_handshake(session->session);
        if (code == 0) {
            session->shaken = true;
        } else if (is_waiting(code)) {
            *events = library.gnutls_record_get_direction(session->session) ? POLLOUT : POLLIN;
            return 0;
        } else {
            status = explain(session, code, err);
            if (code != GNUTLS_E_FATAL_ALERT_RECEIVED)
                library.gnutls_alert_send_appropriate(session->session, code);
            return status;
        }
    }
    *events = session->credentials->server ? POLLOUT : POLLIN;
    return welcome(session, err);
}

/* The common name in the peer's certificate. False: there is none. */
static bool get_name(struct tls_session *session, char *name, size_t size)
{
    unsigned count = 0;
    const gnutls_datum_t *list = library.gnutls_certificate_get_peers(session->session, &count);
    gnutls_x509_crt_t certificate;

    if (list == NULL || count == 0 || library.gnutls_x509_crt_init(&certificate) != 0)
        return false;
    int code = library.gnutls_x509_crt_import(certificate, &list[0], GNUTLS_X509_FMT_DER);
    if (code == 0)
        code = library.gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, 0,
                                                     name, &size);
    library.gnutls_x509_crt_deinit(certificate);
    return code == 0;
}

void tls_session_describe(struct tls_session *session, char *text, size_t size)
{
    char name[128];
    size_t used = strlen(text);

    if (session->credentials->key_len > 0 || !get_name(session, name, sizeof name))
        return;
    for (char *c = name; *c != 0; c++) {
        if (*c < ' ' || *c > '~')
            *c = '?';
    }
    snprintf(text + used, size - used, " (CN=%s)", name);
}

/* ---- the channel ---- */

long tls_session_read(struct tls_session *session, void *data, size_t len, struct mf_error *err)
{
    ssize_t n = library.gnutls_record_recv(session->session, data, len);

    if (n >= 0)
        return n;
    if (is_waiting((int)n))
        return MF_CHANNEL_TIMEOUT;
    explain(session, (int)n, err);
    return -1;
}

long tls_session_write(struct tls_session *session, const void *data, size_t len,
                       struct mf_error *err)
{
    ssize_t n;

    if (session->pending > 0) {
        if (len < session->pending || memcmp(data, session->pending_data, session->pending) != 0) {
            mf_fail(err, MF_E_CHANNEL,
                    "another message after one of which the peer may have a part");
            return -1;
        }
        len = session->pending;
        n = library.gnutls_record_send(session->session, NULL, 0);
    } else {
        if (len > RECORD_MAX)
            len = RECORD_MAX;
        n = library.gnutls_record_send(session->session, data, len);
        if (n < 0 && is_waiting((int)n)) {
            memcpy(session->pending_data, data, len);
            session->pending = len;
        }
    }
    if (n < 0 && is_waiting((int)n))
        return MF_CHANNEL_TIMEOUT;
    if (n < 0) {
        explain(session, (int)n, err);
        return -1;
    }
    session->pending = 0;
    return n;
}

void tls_session_bye(struct tls_session *session)
{
    if (session->shaken)
        library.gnutls_bye(session->session, GNUTLS_SHUT_WR);
}
