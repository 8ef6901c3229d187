/*
 * Transports of migrations: addresses, options and sockets, and that what is written on one side
 * of a connection over unix, TCP or TLS is read on the other, both ways at once. Under
 * ThreadSanitizer too.
 */
#include "transport_pair.h"

#define PUMP_BYTES ((size_t)8 << 20)

/* ---- both ways at once ---- */

struct pump {
    struct mf_channel channel;
    unsigned seed; /* of the chunk sizes, and of the bytes */
    bool writes;
    bool good;
    struct mf_error err;
    pthread_t thread;
};

static uint8_t byte_at(unsigned seed, size_t at)
{
    return (uint8_t)((at * 2654435761u >> 13) + seed);
}

static void *run_pump(void *context)
{
    static const size_t largest = 100000;
    struct pump *pump = context;
    uint8_t *data = malloc(largest);
    unsigned random = pump->seed + pump->writes;
    size_t done = 0;
    pump->good = data != NULL;
    while (pump->good && done < PUMP_BYTES) {
        size_t len = 1 + (size_t)rand_r(&random) % (rand_r(&random) % 4 == 0 ? 16 : largest);
        if (len > PUMP_BYTES - done)
            len = PUMP_BYTES - done;
        for (size_t i = 0; pump->writes && i < len; i++)
            data[i] = byte_at(pump->seed, done + i);
        long n =
            pump->writes
                ? pump->channel.write(pump->channel.context, data, len, PATIENCE_MS, &pump->err)
                : pump->channel.read(pump->channel.context, data, len, PATIENCE_MS, &pump->err);
        pump->good = n > 0 && (size_t)n <= len;
        for (long i = 0; pump->good && !pump->writes && i < n; i++)
            pump->good = data[i] == byte_at(pump->seed, done + (size_t)i);
        done += n > 0 ? (size_t)n : 0;
    }
    free(data);
    return NULL;
}

static void move_both_ways(const char *text, struct side *server_side, struct side *client_side)
{
    struct server server;
    struct transport_connection *client;
    struct mf_error err = {0};
    make_pair(&server, text, server_side, client_side, &client);
    struct pump pumps[4];
    memset(pumps, 0, sizeof pumps);
    for (unsigned i = 0; i < 4; i++) {
        transport_channel(i < 2 ? client : server.connection, &pumps[i].channel);
        pumps[i].writes = i % 2 == 0;
        pumps[i].seed = i == 0 || i == 3 ? 77 : 1234;
        assert_int_equal(pthread_create(&pumps[i].thread, NULL, run_pump, &pumps[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(pumps[i].thread, NULL);
    for (unsigned i = 0; i < 4; i++)
        if (!pumps[i].good)
            fail_msg("%s: pump %u: %s", text, i, pumps[i].err.message);
    /* A closed end is the end of the stream, and no error. */
    char byte;
    transport_close(client);
    assert_int_equal(pumps[2].channel.read(server.connection, &byte, 1, PATIENCE_MS, &err), 0);
    server_fini(&server);
}

static void test_pump_unix(void **state)
{
    (void)state;
    struct side a, b;
    char text[TRANSPORT_TEXT_MAX];
    with_nothing(&a);
    with_nothing(&b);
    unix_address(text, "pump");
    move_both_ways(text, &a, &b);
}

static void test_pump_tcp(void **state)
{
    (void)state;
    struct side a, b;
    with_nothing(&a);
    with_nothing(&b);
    move_both_ways("tcp:127.0.0.1:0", &a, &b);
}

static void test_pump_key(void **state)
{
    (void)state;
    struct side a, b;
    with_key(&a, "key");
    with_key(&b, "key");
    move_both_ways("tls:127.0.0.1:0", &a, &b);
}

static void test_pump_certificates(void **state)
{
    (void)state;
    struct side a, b;
    with_certificate(&a, "host-a", "ca");
    with_certificate(&b, "host-a", "ca");
    move_both_ways("tls:localhost:0", &a, &b);
}

static void test_peer_names(void **state)
{
    (void)state;
    struct side a, b;
    struct server server;
    struct transport_connection *client;
    char text[TRANSPORT_TEXT_MAX], expected[64];
    with_certificate(&a, "host-a", "ca");
    with_certificate(&b, "elsewhere", "ca");
    make_pair(&server, "tls:127.0.0.1:0", &a, &b, &client);
    assert_non_null(strstr(transport_peer(server.connection), "(CN=elsewhere)"));
    assert_non_null(strstr(transport_peer(client), "(CN=host-a)"));
    transport_close(client);
    server_fini(&server);
    with_nothing(&a);
    unix_address(text, "peer");
    make_pair(&server, text, &a, &a, &client);
    snprintf(expected, sizeof expected, "unix: process %d of user %u", (int)getpid(),
             (unsigned)geteuid());
    assert_string_equal(transport_peer(server.connection), expected);
    assert_string_equal(transport_peer(client), expected);
    transport_close(client);
    server_fini(&server);
}

/* ---- timeouts and ends ---- */

/* Fills the connection until a write times out, then reads everything on the other side. */
static void check_timeouts(const char *text, struct side *a, struct side *b, bool tls)
{
    static const char block[50000] = "block", other[sizeof block] = "other";
    struct server server;
    struct transport_connection *client;
    struct mf_channel from, to;
    struct mf_error err = {0};
    static char data[sizeof block];
    size_t sent = 0, got = 0;
    long n;
    make_pair(&server, text, a, b, &client);
    transport_channel(client, &from);
    transport_channel(server.connection, &to);
    assert_int_equal(to.read(to.context, data, 1, 0, &err), MF_CHANNEL_TIMEOUT);
    assert_int_equal(to.read(to.context, data, 1, 20, &err), MF_CHANNEL_TIMEOUT);
    while ((n = from.write(from.context, block, sizeof block, 20, &err)) > 0)
        sent += (size_t)n;
    assert_int_equal(n, MF_CHANNEL_TIMEOUT);
    if (tls) {
        assert_int_equal(from.write(from.context, other, sizeof other, 0, &err), -1);
        assert_int_equal(err.code, MF_E_CHANNEL);
        /* The same bytes are fine; there may be a place for them by now. */
        n = from.write(from.context, block, sizeof block, 0, &err);
        assert_true(n > 0 || n == MF_CHANNEL_TIMEOUT);
        sent += n > 0 ? (size_t)n : 0;
    }
    while (got < sent) {
        n = to.read(to.context, data, sizeof data, PATIENCE_MS, &err);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_int_equal(got, sent);
    /* It goes on with the bytes that found no place. */
    n = from.write(from.context, block, sizeof block, PATIENCE_MS, &err);
    assert_true(n > 0);
    assert_int_equal(to.read(to.context, data, 5, PATIENCE_MS, &err), 5);
    assert_memory_equal(data, "block", 5);
    transport_close(client);
    server_fini(&server);
}

static void test_timeouts(void **state)
{
    (void)state;
    struct side a, b;
    char text[TRANSPORT_TEXT_MAX];
    with_nothing(&a);
    unix_address(text, "timeouts");
    check_timeouts(text, &a, &a, false);
    check_timeouts("tcp:[::ffff:127.0.0.1]:0", &a, &a, false);
    with_key(&a, "key");
    with_key(&b, "key");
    check_timeouts("tls:127.0.0.1:0", &a, &b, true);
}

static void *read_one(void *context)
{
    struct pump *pump = context;
    char byte;
    pump->good = pump->channel.read(pump->channel.context, &byte, 1, -1, &pump->err) == -1;
    return NULL;
}

/* Who waits in a read is woken, the other side sees a cut, and writing there is no signal. */
static void check_shutdown(const char *text, struct side *side, bool tls)
{
    struct server server;
    struct transport_connection *client;
    struct mf_channel channel;
    struct mf_error err = {0};
    struct pump pump = {.good = false};
    char bytes[4096] = {0};
    long n = 0;
    make_pair(&server, text, side, side, &client);
    transport_channel(client, &pump.channel);
    transport_channel(server.connection, &channel);
    assert_int_equal(pthread_create(&pump.thread, NULL, read_one, &pump), 0);
    transport_shutdown(client);
    pthread_join(pump.thread, NULL);
    assert_true(pump.good);
    assert_non_null(strstr(pump.err.message, "ended on this side"));
    assert_int_equal(pump.channel.write(client, bytes, 1, PATIENCE_MS, &err), -1);
    assert_int_equal(channel.read(channel.context, bytes, 1, PATIENCE_MS, &err), tls ? -1 : 0);
    transport_close(client);
    for (int i = 0; i < 10000 && n >= 0; i++)
        n = channel.write(channel.context, bytes, sizeof bytes, PATIENCE_MS, &err);
    assert_int_equal(n, -1);
    assert_int_equal(err.code, MF_E_CHANNEL);
    server_fini(&server);
}

/* Who only writes learns by an error that nobody reads, and not by a signal. */
static void check_writer(const char *text, struct side *side)
{
    static const char bytes[4096];
    struct server server;
    struct transport_connection *client;
    struct mf_channel channel;
    struct mf_error err = {0};
    long n = 0;
    make_pair(&server, text, side, side, &client);
    transport_channel(server.connection, &channel);
    transport_shutdown(client);
    transport_close(client);
    for (int i = 0; i < 10000 && n >= 0; i++)
        n = channel.write(channel.context, bytes, sizeof bytes, PATIENCE_MS, &err);
    assert_int_equal(n, -1);
    assert_int_equal(err.code, MF_E_CHANNEL);
    server_fini(&server);
}

static void test_shutdown(void **state)
{
    (void)state;
    struct side side;
    char text[TRANSPORT_TEXT_MAX];
    with_nothing(&side);
    unix_address(text, "shutdown");
    check_shutdown(text, &side, false);
    check_writer(text, &side);
    check_shutdown("tcp:127.0.0.1:0", &side, false);
    check_writer("tcp:127.0.0.1:0", &side);
    with_key(&side, "key");
    check_shutdown("tls:127.0.0.1:0", &side, true);
    check_writer("tls:127.0.0.1:0", &side);
}

static void test_accept_ends(void **state)
{
    (void)state;
    struct side side;
    struct server server;
    struct transport_address bound;
    struct mf_error err = {0};
    const uint64_t one = 1;
    with_nothing(&side);
    listen_at(&server, "tcp:127.0.0.1:0", &side, &bound);
    assert_int_equal(transport_accept(server.listener, 20, -1, &server.connection, &err),
                     MF_E_DEADLINE);
    assert_int_equal(write(server.refused_fd, &one, sizeof one), sizeof one);
    assert_int_equal(
        transport_accept(server.listener, -1, server.refused_fd, &server.connection, &err),
        MF_E_CANCELLED);
    server_fini(&server);
    /* Nobody listens there any more. */
    struct transport_connection *client;
    assert_int_equal(transport_connect(&bound, &side.options, PATIENCE_MS, -1, &client, &err),
                     MF_E_CHANNEL);
    assert_null(client);
}

/* ---- addresses, options, sockets ---- */

static void test_addresses(void **state)
{
    (void)state;
    static const char *const good[] = {"unix:/a/b", "unix:b", "tcp:localhost:1", "tcp:[::1]:65535",
                                       "tls:host.example:0"};
    static const char *const bad[] = {
        "",           "unix:",       "tcp:",         "tcp:host",      "tcp::1",     "tcp:host:",
        "tcp:h:1x",   "tcp:h:65536", "tcp:h:100000", "tcp:h:-1",      "tcp:::1:80", "tcp:[::1]",
        "tcp:[::1:8", "tcp:[]:8",    "udp:host:8",   "/run/a.socket", "TCP:host:1", "tcp:[::1]8:8"};
    struct transport_address address;
    struct mf_error err;
    char text[TRANSPORT_TEXT_MAX];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        parse(good[i], &address);
        assert_string_equal(transport_address_text(&address, text, sizeof text), good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err = (struct mf_error){0};
        if (transport_address_parse(bad[i], &address, &err) != MF_E_ARGUMENT)
            fail_msg("'%s' is taken", bad[i]);
        assert_true(err.message[0] != 0);
    }
}

static int try_listen(const char *text, const struct transport_options *options,
                      struct mf_error *err)
{
    struct transport_address address;
    struct transport_listener *listener;
    parse(text, &address);
    int status = transport_listen(&address, options, &listener, err);
    transport_listener_close(listener);
    return status;
}

static void test_loopback_only(void **state)
{
    (void)state;
    static const char *const outside[] = {"tcp:0.0.0.0:0", "tcp:[::]:0", "tcp:192.0.2.1:4321",
                                          "tcp:[::ffff:192.0.2.1]:4321", "tcp:128.0.0.1:4321"};
    struct transport_options options = {.insecure = false};
    struct transport_address address;
    struct transport_connection *client;
    struct mf_error err;
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        assert_int_equal(try_listen(outside[i], &options, &err), MF_E_ARGUMENT);
        assert_non_null(strstr(err.message, "--insecure"));
        parse(outside[i], &address);
        address.port = 4321;
        assert_int_equal(transport_connect(&address, &options, 1000, -1, &client, &err),
                         MF_E_ARGUMENT);
        assert_non_null(strstr(err.message, "--insecure"));
    }
    assert_int_equal(try_listen("tcp:127.1.2.3:0", &options, &err), 0);
    options.insecure = true;
    assert_int_equal(try_listen("tcp:0.0.0.0:0", &options, &err), 0);
}

static void test_options(void **state)
{
    (void)state;
    struct side side;
    struct mf_error err;
    with_nothing(&side);
    assert_int_equal(try_listen("tls:127.0.0.1:0", &side.options, &err), MF_E_ARGUMENT);
    with_certificate(&side, "host-a", "ca");
    assert_int_equal(try_listen("tls:127.0.0.1:0", &side.options, &err), 0);
    assert_int_equal(try_listen("tcp:127.0.0.1:0", &side.options, &err), MF_E_ARGUMENT);
    side.options.psk_file = "key";
    assert_int_equal(try_listen("tls:127.0.0.1:0", &side.options, &err), MF_E_ARGUMENT);
    side.options.psk_file = side.options.ca_file = NULL;
    assert_int_equal(try_listen("tls:127.0.0.1:0", &side.options, &err), MF_E_ARGUMENT);
    with_certificate(&side, "host-a", "key");
    assert_int_equal(try_listen("tls:127.0.0.1:0", &side.options, &err), MF_E_ARGUMENT);
    with_certificate(&side, "host-a", "ca");
    in_folder(side.key, "stranger.key");
    assert_int_equal(try_listen("tls:127.0.0.1:0", &side.options, &err), MF_E_ARGUMENT);
}

static void test_key_files(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "0123456789abcdef0123456789abcd",
                                      "0123456789abcdef0123456789abcdefg0",
                                      "0123456789abcdef0123456789abcdef0",
                                      "0123456789abcdef\x10\x11\x12\x13\x14\x15\x16\x17",
                                      "0123456789abcdef0123456789abcde\x11"};
    char text[300];
    struct side side;
    struct mf_error err;
    with_key(&side, "bad-key");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file("bad-key", bad[i], strlen(bad[i]), 0600);
        if (try_listen("tls:127.0.0.1:0", &side.options, &err) != MF_E_ARGUMENT)
            fail_msg("key %zu is taken", i);
    }
    memset(text, 'a', sizeof text);
    write_file("bad-key", text, sizeof text, 0600);
    assert_int_equal(try_listen("tls:127.0.0.1:0", &side.options, &err), MF_E_ARGUMENT);
    write_file("bad-key", text, 128, 0600);
    assert_int_equal(try_listen("tls:127.0.0.1:0", &side.options, &err), 0);
    write_file("bad-key", text, 128, 0640);
    assert_int_equal(try_listen("tls:127.0.0.1:0", &side.options, &err), MF_E_ARGUMENT);
    assert_non_null(strstr(err.message, "chmod 600"));
    in_folder(side.psk, ".");
    assert_int_equal(try_listen("tls:127.0.0.1:0", &side.options, &err), MF_E_ARGUMENT);
}

/* Leaves a socket as a killed process does. */
static void leave_dead_socket(const char *path)
{
    struct sockaddr_un address;
    set_path(&address, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

static void test_unix_sockets(void **state)
{
    (void)state;
    struct side side;
    struct server server;
    struct transport_address bound;
    struct mf_error err;
    struct stat st;
    char path[PATH_MAX], text[TRANSPORT_TEXT_MAX];
    with_nothing(&side);
    unix_address(text, "socket");
    leave_dead_socket(in_folder(path, "socket"));
    listen_at(&server, text, &side, &bound);
    assert_string_equal(transport_listener_address(server.listener), text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(try_listen(text, &side.options, &err), MF_E_BUSY);
    assert_int_equal(stat(path, &st), 0);
    /* What is not its socket any more stays. */
    assert_int_equal(unlink(path), 0);
    leave_dead_socket(path);
    server_fini(&server);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(try_listen(text, &side.options, &err), 0);
    assert_int_equal(stat(path, &st), -1);
    write_file("socket", "precious", 8, 0600);
    assert_int_equal(try_listen(text, &side.options, &err), MF_E_ARGUMENT);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 8);
    assert_int_equal(unlink(path), 0);
}

/* A path that no socket address holds. */
static void test_long_path(void **state)
{
    (void)state;
    struct side side;
    struct server server;
    struct transport_connection *client;
    char name[128], path[PATH_MAX], text[TRANSPORT_TEXT_MAX];
    memset(name, 'd', 120);
    name[120] = 0;
    assert_int_equal(mkdir(in_folder(path, name), 0700), 0);
    snprintf(text, sizeof text, "unix:%s/s", path);
    with_nothing(&side);
    make_pair(&server, text, &side, &side, &client);
    transport_close(client);
    server_fini(&server);
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),    cmocka_unit_test(test_loopback_only),
        cmocka_unit_test(test_options),      cmocka_unit_test(test_key_files),
        cmocka_unit_test(test_unix_sockets), cmocka_unit_test(test_long_path),
        cmocka_unit_test(test_pump_unix),    cmocka_unit_test(test_pump_tcp),
        cmocka_unit_test(test_pump_key),     cmocka_unit_test(test_pump_certificates),
        cmocka_unit_test(test_peer_names),   cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_shutdown),     cmocka_unit_test(test_accept_ends),
    };
    return cmocka_run_group_tests_name("transport", tests, set_up_transports, tear_down_transports);
}
