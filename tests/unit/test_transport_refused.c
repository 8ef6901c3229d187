/*
 * Who is not let in by the transports of migrations, and that each side says why: wrong keys and
 * certificates, peers that speak something else, other users, and clients who leave their
 * handshake half done. Under ThreadSanitizer too.
 */
#include "transport_pair.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/wait.h>

/* ---- who is not let in ---- */

/* Connects, which must fail on both sides with words that have these in them. */
static void check_refused(const char *text, struct side *a, struct side *b, const char *at_client,
                          const char *at_server)
{
    struct server server;
    struct transport_address bound;
    struct transport_connection *client;
    struct mf_error err = {0};
    server_start(&server, text, a, &bound);
    int status = transport_connect(&bound, &b->options, PATIENCE_MS, -1, &client, &err);
    pthread_join(server.thread, NULL);
    print_message("client: %s\nserver: %s\n", err.message, server.refusal.message);
    assert_int_equal(status, MF_E_REFUSED);
    assert_null(client);
    assert_non_null(strstr(err.message, at_client));
    assert_int_equal(server.status, MF_E_CANCELLED);
    assert_int_equal(server.refusal.code, MF_E_REFUSED);
    assert_non_null(strstr(server.refusal.message, at_server));
    server_fini(&server);
}

static void test_wrong_key(void **state)
{
    (void)state;
    struct side a, b;
    with_key(&a, "key");
    with_key(&b, "other-key");
    check_refused("tls:127.0.0.1:0", &a, &b, "is its key the same?", "is the peer's key the same?");
}

static void test_key_against_certificate(void **state)
{
    (void)state;
    struct side a, b;
    with_key(&a, "key");
    with_certificate(&b, "host-a", "ca");
    check_refused("tls:127.0.0.1:0", &a, &b, "TLS alert", "other a pre-shared key");
    with_certificate(&a, "host-a", "ca");
    with_key(&b, "key");
    check_refused("tls:127.0.0.1:0", &a, &b, "other a pre-shared key", "TLS alert");
}

static void test_wrong_certificates(void **state)
{
    (void)state;
    struct side a, b;
    with_certificate(&a, "host-a", "ca");
    with_certificate(&b, "stranger", "ca");
    check_refused("tls:127.0.0.1:0", &a, &b, "TLS alert", "issuer is unknown");
    with_certificate(&b, "host-a", "other-ca");
    check_refused("tls:127.0.0.1:0", &a, &b, "issuer is unknown", "TLS alert");
    with_certificate(&b, "expired", "ca");
    check_refused("tls:127.0.0.1:0", &a, &b, "TLS alert", "expired");
    with_certificate(&a, "expired", "ca");
    with_certificate(&b, "host-a", "ca");
    check_refused("tls:127.0.0.1:0", &a, &b, "expired", "TLS alert");
    with_certificate(&a, "elsewhere", "ca");
    check_refused("tls:127.0.0.1:0", &a, &b, "name in the certificate does not match", "TLS alert");
}

static int connect_raw(const struct transport_address *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(address->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* A TLS client as others write it, which shows no certificate. */
static void test_no_client_certificate(void **state)
{
    (void)state;
    struct side a;
    struct server server;
    struct transport_address bound;
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t session;
    const gnutls_datum_t protocol = {(unsigned char *)"mayfly-migrate", 14};
    char byte;
    with_certificate(&a, "host-a", "ca");
    server_start(&server, "tls:127.0.0.1:0", &a, &bound);
    int fd = connect_raw(&bound);
    assert_int_equal(gnutls_certificate_allocate_credentials(&credentials), 0);
    assert_int_equal(gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL), 0);
    gnutls_set_default_priority(session);
    gnutls_alpn_set_protocols(session, &protocol, 1, 0);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_transport_set_int(session, fd);
    assert_int_equal(gnutls_handshake(session), 0);
    assert_int_equal(gnutls_record_recv(session, &byte, 1), GNUTLS_E_FATAL_ALERT_RECEIVED);
    pthread_join(server.thread, NULL);
    assert_int_equal(server.status, MF_E_CANCELLED);
    assert_non_null(strstr(server.refusal.message, "has shown no certificate"));
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(credentials);
    close(fd);
    server_fini(&server);
}

static void test_plain_client_at_tls(void **state)
{
    (void)state;
    struct side a;
    struct server server;
    struct transport_address bound;
    with_key(&a, "key");
    server_start(&server, "tls:127.0.0.1:0", &a, &bound);
    int fd = connect_raw(&bound);
    assert_int_equal(
        send(fd, "MAYFLY-MIGRATION 1, and more than a record's head", 49, MSG_NOSIGNAL), 49);
    pthread_join(server.thread, NULL);
    assert_int_equal(server.status, MF_E_CANCELLED);
    assert_int_equal(server.refusal.code, MF_E_REFUSED);
    assert_non_null(strstr(server.refusal.message, "TLS"));
    close(fd);
    server_fini(&server);
}

/* Answers as a plain server does, with something that is no TLS. */
static void *answer_plainly(void *context)
{
    static const char words[] = "MAYFLY-MIGRATION 1, and more than a record's head";
    struct server *server = context;
    struct mf_channel channel;
    serve(context);
    if (server->status == 0) {
        transport_channel(server->connection, &channel);
        server->status =
            (int)channel.write(channel.context, words, sizeof words, PATIENCE_MS, &server->err);
    }
    return NULL;
}

static void test_tls_client_at_plain(void **state)
{
    (void)state;
    struct side a, b;
    struct server server;
    struct transport_address bound;
    struct transport_connection *client;
    struct mf_error err = {0};
    with_nothing(&a);
    with_key(&b, "key");
    listen_at(&server, "tcp:127.0.0.1:0", &a, &bound);
    bound.kind = TRANSPORT_TLS;
    /* One that says nothing is given up. */
    assert_int_equal(transport_connect(&bound, &b.options, 50, -1, &client, &err), MF_E_DEADLINE);
    assert_int_equal(transport_accept(server.listener, PATIENCE_MS, -1, &server.connection, &err),
                     0);
    transport_close(server.connection);
    server.connection = NULL;
    assert_int_equal(pthread_create(&server.thread, NULL, answer_plainly, &server), 0);
    assert_int_equal(transport_connect(&bound, &b.options, PATIENCE_MS, -1, &client, &err),
                     MF_E_REFUSED);
    assert_non_null(strstr(err.message, "TLS"));
    pthread_join(server.thread, NULL);
    assert_true(server.status > 0);
    server_fini(&server);
}

/* More half-open clients than there are places do not keep a good one out. */
static void test_half_open(void **state)
{
    (void)state;
    enum { FLOOD = 200 };
    struct side a, b;
    struct server server;
    struct transport_address bound;
    struct transport_connection *client;
    struct mf_error err = {0};
    int flood[FLOOD];
    with_key(&a, "key");
    with_key(&b, "key");
    listen_at(&server, "tls:127.0.0.1:0", &a, &bound);
    server.cancel_fd = -1;
    assert_int_equal(pthread_create(&server.thread, NULL, serve, &server), 0);
    for (int i = 0; i < FLOOD; i++) {
        flood[i] = connect_raw(&bound);
        /* Some begin a record, and leave it at that. */
        if (i % 2 == 0)
            assert_int_equal(send(flood[i], "\x16\x03\x01\x02", 4, MSG_NOSIGNAL), 4);
    }
    int status = transport_connect(&bound, &b.options, PATIENCE_MS, -1, &client, &err);
    if (status != 0)
        fail_msg("%s", err.message);
    pthread_join(server.thread, NULL);
    assert_int_equal(server.status, 0);
    /* All of them had come before it, and the oldest had to go. */
    uint64_t refusals = 0;
    assert_int_equal(read(server.refused_fd, &refusals, sizeof refusals), sizeof refusals);
    assert_true(refusals >= FLOOD + 1 - TRANSPORT_HANDSHAKES_MAX);
    transport_close(client);
    for (int i = 0; i < FLOOD; i++)
        close(flood[i]);
    server_fini(&server);
}

static void test_handshake_timeout(void **state)
{
    (void)state;
    struct side a;
    struct server server;
    struct transport_address bound;
    with_key(&a, "key");
    a.options.handshake_timeout_ms = 50;
    server_start(&server, "tls:127.0.0.1:0", &a, &bound);
    int fd = connect_raw(&bound);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    pthread_join(server.thread, NULL);
    assert_int_equal(server.refusal.code, MF_E_DEADLINE);
    close(fd);
    server_fini(&server);
}

/* A process of another user, whom the file system would let in. */
static void test_other_user(void **state)
{
    (void)state;
    struct side side;
    struct server server;
    struct transport_address bound;
    struct sockaddr_un address;
    char path[PATH_MAX], text[TRANSPORT_TEXT_MAX];
    if (geteuid() != 0)
        skip(); /* nobody else can be made */
    with_nothing(&side);
    unix_address(text, "user");
    listen_at(&server, text, &side, &bound);
    set_path(&address, in_folder(path, "user"));
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_equal(chmod(folder, 0711), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char byte;
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (setgid(65534) != 0 || setuid(65534) != 0 ||
            connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
            _exit(1);
        _exit(recv(fd, &byte, 1, 0) == 0 ? 0 : 2);
    }
    serve(&server);
    transport_close(server.connection); /* there should be none; the child waits for its end */
    server.connection = NULL;
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(chmod(folder, 0700), 0);
    assert_int_equal(status, 0);
    assert_int_equal(server.status, MF_E_CANCELLED);
    assert_int_equal(server.refusal.code, MF_E_REFUSED);
    assert_non_null(strstr(server.refusal.message, "user 65534"));
    server_fini(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_user),
        cmocka_unit_test(test_wrong_key),
        cmocka_unit_test(test_key_against_certificate),
        cmocka_unit_test(test_wrong_certificates),
        cmocka_unit_test(test_no_client_certificate),
        cmocka_unit_test(test_plain_client_at_tls),
        cmocka_unit_test(test_tls_client_at_plain),
        cmocka_unit_test(test_half_open),
        cmocka_unit_test(test_handshake_timeout),
    };
    return cmocka_run_group_tests_name("transport_refused", tests, set_up_transports,
                                       tear_down_transports);
}
