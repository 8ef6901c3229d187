/* The frames of a migration (src/migrate/wire.h), over a channel in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/error.h"
#include "migrate/wire.h"
#include "sandbox/limits.h"
#include "snapshot/digest.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_MS UINT64_C(1000000)

/* What is written can be read, in parts of `part` bytes; then the channel does as `then` says. */
struct pipe {
    uint8_t bytes[3 << 20];
    size_t have, read, part;
    long then;
    unsigned waits;
};

static struct pipe pipe_;
static struct wire wire;
static struct mf_error err;

static long pipe_read(void *context, void *data, size_t len, int timeout_ms, struct mf_error *why)
{
    struct pipe *p = context;
    size_t left = p->have - p->read;
    (void)timeout_ms;
    (void)why;
    p->waits++;
    if (left == 0)
        return p->then;
    len = len < left ? len : left;
    len = p->part && p->part < len ? p->part : len;
    memcpy(data, p->bytes + p->read, len);
    p->read += len;
    return (long)len;
}

static long pipe_write(void *context, const void *data, size_t len, int timeout_ms,
                       struct mf_error *why)
{
    struct pipe *p = context;
    (void)timeout_ms;
    (void)why;
    if (p->have + len > sizeof p->bytes)
        return -1;
    len = p->part && p->part < len ? p->part : len;
    memcpy(p->bytes + p->have, data, len);
    p->have += len;
    return (long)len;
}

static int set_up(void **state)
{
    const struct mf_channel channel = {sizeof channel, &pipe_, pipe_read, pipe_write};
    (void)state;
    pipe_.have = pipe_.read = pipe_.part = 0;
    pipe_.then = 0;
    error_clear(&err);
    assert_int_equal(wire_init(&wire, &channel, &err), 0);
    wire.stall_ns = 10 * NS_PER_MS;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    wire_fini(&wire);
    return 0;
}

static const struct {
    enum wire_type type;
    uint32_t most;
} types[] = {
#define ROW(name, type, most, text) {WIRE_##name, most},
    WIRE_FRAMES(ROW)
#undef ROW
};
#define NTYPES (sizeof types / sizeof types[0])

static void fill(uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + 3);
}

/* ---- there and back ---- */

static void test_round_trip(void **state)
{
    static const size_t parts[] = {0, 1, 3};
    (void)state;
    for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++) {
        for (size_t i = 0; i < NTYPES; i++) {
            /* In parts of a byte the long ones would take their time. */
            uint32_t bytes = parts[k] && types[i].most > 1024 ? 1024 : types[i].most;
            struct wire_frame frame;
            pipe_.have = pipe_.read = 0;
            pipe_.part = parts[k];
            fill(wire_body(&wire), bytes);
            assert_int_equal(wire_send_body(&wire, types[i].type, 5, bytes, &err), 0);
            assert_int_equal(pipe_.have, sizeof(struct wire_head) + bytes);
            if (types[i].type == WIRE_REFUSE || types[i].type == WIRE_ALIVE)
                continue; /* below */
            assert_int_equal(wire_receive(&wire, &frame, &err), 0);
            assert_int_equal(frame.type, types[i].type);
            assert_int_equal(frame.flags, 5);
            assert_int_equal(frame.bytes, bytes);
            assert_memory_equal(frame.data, pipe_.bytes + sizeof(struct wire_head), bytes);
        }
    }
}

static void test_alive_is_skipped(void **state)
{
    struct wire_frame frame;
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(wire_send(&wire, WIRE_ALIVE, NULL, 0, &err), 0);
    assert_int_equal(wire_send(&wire, WIRE_LOADED, NULL, 0, &err), 0);
    assert_int_equal(wire_expect(&wire, WIRE_LOADED, 0, &frame, &err), 0);
}

static void test_names(void **state)
{
    char text[16];
    (void)state;
    assert_string_equal(wire_type_name(WIRE_PAGES, text), "PAGES");
    assert_string_equal(wire_type_name(0, text), "frame 0");
    assert_string_equal(wire_type_name(65535, text), "frame 65535");
}

/* ---- what cannot be ---- */

static void test_damaged(void **state)
{
    const size_t len = sizeof(struct wire_head) + 24;
    (void)state;
    for (size_t bit = 0; bit < len * 8; bit++) {
        struct wire_frame frame;
        pipe_.have = pipe_.read = 0;
        wire.head_have = 0;
        fill(wire_body(&wire), 24);
        assert_int_equal(wire_send_body(&wire, WIRE_WANT, 0, 24, &err), 0);
        pipe_.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int rc = wire_receive(&wire, &frame, &err);
        /* A length that is another one may want bytes that never come. */
        assert_true(rc == MF_E_PEER || (rc == MF_E_CHANNEL && bit / 8 >= 4 && bit / 8 < 8));
        assert_true(err.message[0]);
    }
}

/* A frame with a right checksum, whatever it says. */
static void forge(uint16_t type, uint32_t bytes)
{
    struct wire_head head = {.type = type, .bytes = bytes};
    uint64_t parts[2];
    uint8_t *body = pipe_.bytes + sizeof head;
    fill(body, bytes);
    parts[0] = checksum_of(&head, sizeof head);
    parts[1] = checksum_of(body, bytes);
    head.checksum = checksum_of(parts, sizeof parts);
    memcpy(pipe_.bytes, &head, sizeof head);
    pipe_.have = sizeof head + bytes;
    pipe_.read = 0;
}

static void test_too_long(void **state)
{
    struct wire_frame frame;
    (void)state;
    for (size_t i = 0; i < NTYPES; i++) {
        forge((uint16_t)types[i].type, types[i].most + 1);
        assert_int_equal(wire_receive(&wire, &frame, &err), MF_E_PEER);
        /* It is refused by its head. */
        assert_int_equal(pipe_.read, sizeof(struct wire_head));
    }
}

static void test_unknown(void **state)
{
    static const uint16_t unknown[] = {0, 18, 255, 65535};
    struct wire_frame frame;
    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        forge(unknown[i], 0);
        assert_int_equal(wire_receive(&wire, &frame, &err), MF_E_PEER);
        assert_non_null(strstr(err.message, "unknown type"));
    }
}

static void test_expect(void **state)
{
    struct wire_frame frame;
    (void)state;
    forge(WIRE_WANT, 8);
    assert_int_equal(wire_expect(&wire, WIRE_WANT, 8, &frame, &err), 0);
    forge(WIRE_WANT, 9);
    assert_int_equal(wire_expect(&wire, WIRE_WANT, 8, &frame, &err), MF_E_PEER);
    forge(WIRE_ROUND, 8);
    assert_int_equal(wire_expect(&wire, WIRE_WANT, 8, &frame, &err), MF_E_PEER);
    assert_non_null(strstr(err.message, "ROUND where WANT"));
}

/* ---- giving up ---- */

static void test_refuse(void **state)
{
    struct wire_frame frame;
    struct mf_error why;
    (void)state;
    error_set(&why, MF_E_NO_MEMORY, "no room");
    wire_refuse(&wire, &why);
    assert_int_equal(wire_receive(&wire, &frame, &err), MF_E_REFUSED);
    assert_string_equal(err.message, "the peer gave up: no room");
}

/* The longest words there are go through, cut as they are. */
static void test_refuse_long(void **state)
{
    struct wire_frame frame;
    struct mf_error why = {.code = MF_E_PEER};
    (void)state;
    memset(why.message, 'x', sizeof why.message); /* no NUL */
    wire_refuse(&wire, &why);
    assert_int_equal(wire_receive(&wire, &frame, &err), MF_E_REFUSED);
    assert_true(strlen(err.message) < sizeof err.message);
}

static void receive_words(const void *words, uint32_t len, uint32_t announced)
{
    struct wire_refuse refuse = {.code = MF_E_PEER, .text_bytes = announced};
    struct wire_frame frame;
    pipe_.have = pipe_.read = 0;
    memcpy(wire_body(&wire), &refuse, sizeof refuse);
    memcpy(wire_body(&wire) + sizeof refuse, words, len);
    assert_int_equal(wire_send_body(&wire, WIRE_REFUSE, 0, sizeof refuse + len, &err), 0);
    assert_int_equal(wire_receive(&wire, &frame, &err), MF_E_REFUSED);
    for (const char *c = err.message; *c; c++)
        assert_true((unsigned char)*c >= ' ' && *c != 0x7f);
}

/* Words from a stranger: no control characters, no bytes that are no text, no more than came. */
static void test_refuse_hostile(void **state)
{
    uint8_t all[256];
    struct wire_frame frame;
    (void)state;
    for (unsigned i = 0; i < sizeof all; i++)
        all[i] = (uint8_t)i;
    receive_words(all, sizeof all, sizeof all);
    receive_words(all + 128, 128, 128);
    receive_words("\x1b[2Jgone\n\r\t%s%n", 15, 15);
    receive_words("short", 5, UINT32_MAX);
    assert_non_null(strstr(err.message, "short"));
    receive_words("", 0, 7);
    pipe_.have = pipe_.read = 0;
    assert_int_equal(wire_send(&wire, WIRE_REFUSE, "abc", 3, &err), 0);
    assert_int_equal(wire_receive(&wire, &frame, &err), MF_E_REFUSED);
}

/* ---- long things ---- */

static void test_long(void **state)
{
    const size_t len = (2u << 20) + 77;
    uint8_t *data = malloc(len), *back;
    (void)state;
    fill(data, len);
    assert_int_equal(wire_send_long(&wire, data, len, &err), 0);
    assert_int_equal(wire_receive_long(&wire, len, &back, &err), 0);
    assert_memory_equal(data, back, len);
    free(back);
    assert_int_equal(wire_receive_long(&wire, 0, &back, &err), 0);
    assert_null(back);
    free(data);
}

static void test_long_wrong(void **state)
{
    uint8_t *back;
    (void)state;
    forge(WIRE_BYTES, 100); /* more than announced */
    assert_int_equal(wire_receive_long(&wire, 99, &back, &err), MF_E_PEER);
    assert_null(back);
    forge(WIRE_BYTES, 100); /* less, and then the end */
    assert_int_equal(wire_receive_long(&wire, 101, &back, &err), MF_E_CHANNEL);
    assert_null(back);
    forge(WIRE_BYTES, 0); /* nothing: would never end */
    assert_int_equal(wire_receive_long(&wire, 1, &back, &err), MF_E_PEER);
    forge(WIRE_PAGES, 100);
    assert_int_equal(wire_receive_long(&wire, 100, &back, &err), MF_E_PEER);
    /* What is announced is not allocated. */
    forge(WIRE_BYTES, 100);
    assert_int_equal(wire_receive_long(&wire, UINT64_MAX, &back, &err), MF_E_CHANNEL);
    assert_null(back);
}

/* ---- time ---- */

static void test_stall(void **state)
{
    struct wire_frame frame;
    (void)state;
    pipe_.then = MF_CHANNEL_TIMEOUT;
    assert_int_equal(wire_receive(&wire, &frame, &err), MF_E_CHANNEL);
    assert_non_null(strstr(err.message, "said nothing"));
}

static void test_deadline(void **state)
{
    struct wire_frame frame;
    (void)state;
    pipe_.then = MF_CHANNEL_TIMEOUT;
    wire.stall_ns = 60000 * NS_PER_MS;
    wire.deadline_ns = limits_now() + 5 * NS_PER_MS;
    assert_int_equal(wire_receive(&wire, &frame, &err), MF_E_DEADLINE);
    /* Nor does a frame begin after it. */
    forge(WIRE_LOADED, 0);
    assert_int_equal(wire_receive(&wire, &frame, &err), MF_E_DEADLINE);
    assert_int_equal(wire_send(&wire, WIRE_LOADED, NULL, 0, &err), MF_E_DEADLINE);
}

/* A peer that gives a byte whenever it is asked, for ever, and none too late. */
static long trickle(void *context, void *data, size_t len, int timeout_ms, struct mf_error *why)
{
    (void)len;
    *(uint8_t *)data = 0;
    long n = pipe_read(context, data, 1, timeout_ms, why);
    if (n == 1)
        return 1;
    struct timespec time = {0, 100000};
    nanosleep(&time, NULL);
    return 1;
}

static void test_trickle(void **state)
{
    struct wire_frame frame;
    struct wire_head head = {.type = WIRE_BYTES, .bytes = 1u << 20};
    (void)state;
    memcpy(pipe_.bytes, &head, sizeof head);
    pipe_.have = sizeof head;
    wire.channel.read = trickle;
    wire.stall_ns = 60000 * NS_PER_MS;
    wire.deadline_ns = limits_now() + 80 * NS_PER_MS;
    assert_int_equal(wire_receive(&wire, &frame, &err), MF_E_DEADLINE);
}

static int always(void *context)
{
    (void)context;
    return 1;
}

static void test_cancelled(void **state)
{
    struct wire_frame frame;
    (void)state;
    wire.poll = always;
    pipe_.then = MF_CHANNEL_TIMEOUT;
    assert_int_equal(wire_receive(&wire, &frame, &err), MF_E_CANCELLED);
    /* A peer that is alive for ever does not keep us. */
    assert_int_equal(wire_send(&wire, WIRE_ALIVE, NULL, 0, &err), 0);
    pipe_.then = 0;
    assert_int_equal(wire_receive(&wire, &frame, &err), MF_E_CANCELLED);
}

static void test_closed(void **state)
{
    struct wire_frame frame;
    (void)state;
    forge(WIRE_WANT, 8);
    for (size_t len = 0; len < sizeof(struct wire_head) + 8; len++) {
        pipe_.have = len;
        pipe_.read = 0;
        wire.head_have = 0;
        pipe_.then = len % 2 ? 0 : -1;
        error_clear(&err);
        assert_int_equal(wire_receive(&wire, &frame, &err), MF_E_CHANNEL);
        assert_true(err.message[0]);
    }
}

/* ---- looking whether there is something ---- */

static void test_try(void **state)
{
    struct wire_frame frame;
    bool got = true;
    (void)state;
    pipe_.then = MF_CHANNEL_TIMEOUT;
    assert_int_equal(wire_try(&wire, &frame, &got, &err), 0);
    assert_false(got);
    for (size_t part = 0; part < 18; part++) {
        forge(WIRE_REQUEST, 8);
        pipe_.part = part;
        assert_int_equal(wire_try(&wire, &frame, &got, &err), 0);
        assert_true(got);
        assert_int_equal(frame.type, WIRE_REQUEST);
        assert_int_equal(frame.bytes, 8);
    }
    pipe_.then = 0;
    assert_int_equal(wire_try(&wire, &frame, &got, &err), MF_E_CHANNEL);
    assert_false(got);
}

/* ---- the beginning ---- */

static int greet(struct wire_hello hello, size_t bytes)
{
    struct wire_hello peer;
    pipe_.have = pipe_.read = 0;
    wire.head_have = 0;
    memset(wire_body(&wire), 0, 256);
    memcpy(wire_body(&wire), &hello, sizeof hello);
    assert_int_equal(wire_send_body(&wire, WIRE_HELLO, 0, bytes, &err), 0);
    return wire_hello(&wire, 0, &peer, &err);
}

static void test_hello(void **state)
{
    const struct wire_hello good = {.magic = WIRE_MAGIC, .version = WIRE_VERSION,
                                    .min_version = WIRE_MIN_VERSION, .arch = 62,
                                    .page_bytes = PAGE_BYTES};
    struct wire_hello hello = good;
    (void)state;
    assert_int_equal(greet(good, sizeof good), 0);
    assert_int_equal(greet(good, sizeof good + 100), 0); /* of a later version */
    assert_int_equal(greet(good, sizeof good - 1), MF_E_PEER);
    hello.version = WIRE_VERSION + 3; /* a later minor version that still speaks ours */
    assert_int_equal(greet(hello, sizeof good), 0);
    hello.min_version = WIRE_VERSION + 1;
    assert_int_equal(greet(hello, sizeof good), MF_E_PEER);
    assert_non_null(strstr(err.message, "version 1.3"));
    hello = good;
    hello.version = hello.min_version = WIRE_MIN_VERSION - 1;
    assert_int_equal(greet(hello, sizeof good), MF_E_PEER);
    hello = good;
    hello.arch = 183;
    assert_int_equal(greet(hello, sizeof good), MF_E_PEER);
    hello = good;
    hello.page_bytes = 65536;
    assert_int_equal(greet(hello, sizeof good), MF_E_PEER);
    for (size_t i = 0; i < WIRE_MAGIC_BYTES; i++) {
        hello = good;
        hello.magic[i] ^= 1;
        assert_int_equal(greet(hello, sizeof good), MF_E_PEER);
    }
    /* Somebody who speaks something else. */
    memcpy(pipe_.bytes, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 36);
    pipe_.have = 36;
    pipe_.read = 0;
    assert_int_equal(wire_hello(&wire, 0, &hello, &err), MF_E_PEER);
    assert_non_null(strstr(err.message, "does not speak"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip), TEST(test_alive_is_skipped), TEST(test_names),
        TEST(test_damaged),    TEST(test_too_long),         TEST(test_unknown),
        TEST(test_expect),     TEST(test_refuse),           TEST(test_refuse_long),
        TEST(test_refuse_hostile), TEST(test_long),         TEST(test_long_wrong),
        TEST(test_stall),      TEST(test_deadline),         TEST(test_trickle),
        TEST(test_cancelled),  TEST(test_closed),           TEST(test_try),
        TEST(test_hello),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
