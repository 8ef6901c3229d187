/*
 * Values that do not fit into the mailbox, both ways, views and copies of results, and
 * streams; then guests that lie about where their values stand. The guest is
 * tests/guests/large.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support_large.h"

#include <mayfly/batch.h>
#include <mayfly/map.h>

#include <sys/mman.h>

#define MAILBOX ((size_t)64 << 10)
#define PAGE    ((size_t)4096)

static int set_up(void **state)
{
    struct large *large = malloc(sizeof *large);
    large_open(large, 0, 0);
    *state = large;
    return 0;
}

static int tear_down(void **state)
{
    large_close(*state);
    free(*state);
    return 0;
}

/* Memory that stands alone: `len` zeroed bytes of whole pages. */
static uint8_t *pages(size_t len)
{
    uint8_t *data =
        mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(data != MAP_FAILED);
    return data;
}

/* Calls and expects success. */
static struct mf_value call(struct large *large, const char *function, const struct mf_value *args,
                            size_t n)
{
    struct mf_value result;
    int rc = large_call(large, function, args, n, &result);
    if (rc != 0)
        fail_msg("%s: %s: %s", function, mf_error_name(rc), large->err.message);
    return result;
}

static void call_fails(struct large *large, const char *function, const struct mf_value *args,
                       size_t n, int code, const char *text)
{
    struct mf_value result;
    int rc = large_call(large, function, args, n, &result);
    if (rc != code || !strstr(large->err.message, text))
        fail_msg("%s: %s: %s; expected %s: %s", function, mf_error_name(rc), large->err.message,
                 mf_error_name(code), text);
}

static uint64_t memory_pages(const struct large *large)
{
    struct mf_stats stats = {.size = sizeof stats};
    mf_sandbox_get_stats(large->sandbox, &stats);
    return stats.memory_pages;
}

/* ---- in ---- */

/* Sizes around that of the mailbox, at odd places, there and back. */
static void test_sizes(void **state)
{
    struct large *large = *state;
    /* Header and value header of a frame take 40 bytes. */
    static const size_t sizes[] = {MAILBOX - 41,   MAILBOX - 40,      MAILBOX - 39,
                                   MAILBOX - 1,    MAILBOX,           MAILBOX + 1,
                                   MAILBOX + PAGE, 3 * MAILBOX + 777, MIB};
    uint8_t *data = pages(2 * MIB);
    large_fill(data, 2 * MIB, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t at = 0; at < 3; at++) {
            uint8_t *begin = data + at * 1000;
            struct mf_value bytes = mf_bytes(begin, sizes[i]);
            assert_true(call(large, "sum", &bytes, 1).u64 == large_sum(begin, sizes[i]));
            struct mf_value back = call(large, "echo", &bytes, 1);
            assert_int_equal(back.bytes.len, sizes[i]);
            assert_true(back.bytes.data != begin);
            assert_memory_equal(back.bytes.data, begin, sizes[i]);
        }
    }
    munmap(data, 2 * MIB);
}

/* 200 MiB into a guest of 64 MiB: not copied, not its memory; the ends come back right. */
static void test_200_mib(void **state)
{
    struct large *large = *state;
    size_t len = 200 * MIB;
    uint8_t *data = pages(len);
    for (size_t i = 0; i < len; i += PAGE)
        data[i] = (uint8_t)(i >> 12);
    struct mf_value args[3] = {mf_bytes(data + 1, len - 2), mf_u64(len - 5002), mf_u64(5000)};
    call(large, "count", NULL, 0);
    uint64_t before = memory_pages(large);
    assert_true(call(large, "sum", args, 1).u64 == large_sum(data + 1, len - 2));
    /* Page tables: one for each 2 MiB. */
    assert_in_range(memory_pages(large) - before, 0, 110);
    struct mf_value slice = call(large, "slice", args, 3);
    assert_int_equal(slice.bytes.len, 5000);
    assert_memory_equal(slice.bytes.data, data + 1 + args[1].u64, 5000);
    struct mf_value back = call(large, "echo", args, 1);
    assert_int_equal(back.bytes.len, len - 2);
    assert_memory_equal(back.bytes.data, data + 1, len - 2);
    munmap(data, len);
}

static void test_strings(void **state)
{
    struct large *large = *state;
    char *text = malloc(MIB + 1);
    for (size_t i = 0; i < MIB; i += 4)
        memcpy(text + i, "\xf0\x9f\xaa\xb0", 4);
    /* One that ends with a page has its terminator on the next. */
    static const size_t lens[] = {MAILBOX, MIB - 4, MIB};
    for (size_t i = 0; i < 3; i++) {
        struct mf_value string = mf_string_n(text, lens[i]);
        assert_true(call(large, "is_terminated", &string, 1).boolean);
        struct mf_value back = call(large, "echo_text", &string, 1);
        assert_int_equal(back.string.len, lens[i]);
        assert_memory_equal(back.string.data, text, lens[i]);
        assert_int_equal(back.string.data[lens[i]], 0);
        back = call(large, "relay_text", &string, 1);
        assert_int_equal(back.string.len, lens[i]);
        assert_memory_equal(back.string.data, text, lens[i]);
    }
    char *aligned = (char *)pages(128 * PAGE);
    memset(aligned, 'p', 128 * PAGE);
    struct mf_value string = mf_string_n(aligned, 128 * PAGE);
    assert_true(call(large, "is_terminated", &string, 1).boolean);
    text[MIB / 2] = (char)0xff;
    string = mf_string_n(text, MIB);
    call_fails(large, "echo_text", &string, 1, MF_E_UTF8, "524288");
    munmap(aligned, 128 * PAGE);
    free(text);
}

static void test_several(void **state)
{
    struct large *large = *state;
    uint8_t *data = malloc(3 * MIB);
    large_fill(data, 3 * MIB, 8);
    memset(data + MIB, 'x', MIB);
    struct mf_value args[3] = {mf_bytes(data, MIB), mf_string_n((char *)data + MIB, MIB),
                               mf_bytes(data + 2 * MIB, MIB)};
    assert_true(call(large, "sum_ends", args, 3).u64 ==
                (large_sum(data, 10) ^ large_sum(data + 2 * MIB, 10) ^ large_sum(data + MIB, MIB)));
    free(data);
}

/* All parameters, each too small to be called large in the last round. */
static void test_32_arguments(void **state)
{
    struct large *large = *state;
    static const size_t lens[] = {200001, 5000, 2500};
    uint8_t *data = malloc(200001);
    large_fill(data, 200001, 2);
    for (size_t round = 0; round < 3; round++) {
        struct mf_value args[MF_PARAMS_MAX];
        uint64_t expected = 0;
        for (size_t i = 0; i < MF_PARAMS_MAX; i++) {
            args[i] = mf_bytes(data + i, lens[round] - i);
            expected = expected * 3 + large_sum(data + i, lens[round] - i);
        }
        assert_true(call(large, "sum_all", args, MF_PARAMS_MAX).u64 == expected);
    }
    free(data);
}

/* What a caller mapped is passed by its address there. */
static void test_mapped_argument(void **state)
{
    struct large *large = *state;
    uint8_t *data = pages(MIB);
    uint64_t address;
    struct mf_error err;
    large_fill(data, MIB, 6);
    assert_int_equal(mf_sandbox_map(large->sandbox, data, MIB, MF_MAP_READ, &address, &err), 0);
    struct mf_value inside = mf_bytes(data + 100, MIB - 100), small = mf_bytes(data + 100, 4095);
    assert_true(call(large, "address_of", &inside, 1).u64 == address + 100);
    assert_true(call(large, "sum", &inside, 1).u64 == large_sum(data + 100, MIB - 100));
    inside.bytes.len = 4096;
    assert_true(call(large, "address_of", &inside, 1).u64 == address + 100);
    assert_true(call(large, "address_of", &small, 1).u64 != address + 100);
    struct mf_value back = call(large, "echo", &inside, 1);
    assert_memory_equal(back.bytes.data, data + 100, 4096);
    assert_int_equal(mf_sandbox_unmap(large->sandbox, address, &err), 0);
    assert_true(call(large, "address_of", &inside, 1).u64 != address + 100);
    munmap(data, MIB);
}

/* The guest may read them, for as long as the call takes, and nothing around them. */
static void test_arguments_are_read_only_and_go(void **state)
{
    struct large *large = *state;
    uint8_t *data = malloc(MIB);
    memset(data, 0x5a, MIB);
    struct mf_value bytes = mf_bytes(data + 100, MIB - 200);
    call_fails(large, "scribble", &bytes, 1, MF_E_GUEST_FAULT, "");
    assert_int_equal(data[100], 0x5a);
    large_reopen(large);
    struct mf_value address = call(large, "address_of", &bytes, 1);
    call_fails(large, "peek", &address, 1, MF_E_GUEST_FAULT, "");
    free(data);
}

/* Lengths that cannot be: an error, and the sandbox lives. */
static void test_impossible_lengths(void **state)
{
    struct large *large = *state;
    static const uint8_t byte;
    static const size_t lens[] = {(size_t)1 << 63, SIZE_MAX, SIZE_MAX - 4095, (size_t)1 << 48,
                                  SIZE_MAX / 2};
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct mf_value bytes = mf_bytes(&byte, lens[i]), result;
        int rc = large_call(large, "length", &bytes, 1, &result);
        assert_true(rc < 0 && mf_sandbox_poisoned(large->sandbox) == 0);
        assert_int_equal(large->err.code, rc);
        struct mf_call one = {.function = large_index(large, "length"), .args = &bytes, .nargs = 1};
        assert_int_equal(mf_sandbox_call_batch(large->sandbox, &one, 1, &large->err), 0);
        assert_true(one.status < 0);
    }
    call(large, "count", NULL, 0);
    /* Around 2^32 the bytes are there, all zeros and none of them touched. */
    uint8_t *data = pages(((size_t)1 << 32) + 2 * PAGE);
    size_t step = test_backend() == MF_BACKEND_SOFT ? 2 : 1; /* slow there */
    for (size_t i = 0; i < 3; i += step) {
        struct mf_value bytes = mf_bytes(data + 1, ((size_t)1 << 32) - 1 + i);
        assert_true(call(large, "length", &bytes, 1).u64 == bytes.bytes.len);
    }
    munmap(data, ((size_t)1 << 32) + 2 * PAGE);
}

static void test_nothing_is_left(void **state)
{
    struct large *large = *state;
    uint8_t *data = malloc(MIB);
    memset(data, 1, MIB);
    struct mf_value bytes = mf_bytes(data, MIB), how[3] = {mf_u32(3), mf_u64(70000), mf_bool(true)};
    struct mf_value make[2] = {mf_u64(70000), mf_u32(1)};
    uint64_t before = 0;
    int rounds = test_backend() == MF_BACKEND_SOFT ? 25 : 100;
    for (int i = 0; i < rounds; i++) {
        if (i == 3)
            before = memory_pages(large);
        call(large, "echo", &bytes, 1);
        call(large, "relay", &bytes, 1);
        call(large, "gather", how, 3);
        call(large, "make", make, 2);
    }
    assert_int_equal(memory_pages(large), before);
    free(data);
}

/* ---- out ---- */

/* The host's address of guest memory is in it, and the same for the same bytes. */
static void test_view(void **state)
{
    struct large *large = *state;
    struct mf_value how[2] = {mf_u64(MIB), mf_u32(7)};
    struct mf_value first = call(large, "stamp", how, 2);
    const uint8_t *at = first.bytes.data;
    assert_int_equal(first.bytes.len, MIB);
    assert_true(at[0] == 7 && at[MIB - 1] == 7);
    how[1] = mf_u32(8);
    struct mf_value second = call(large, "stamp", how, 2);
    assert_ptr_equal(second.bytes.data, at); /* not copied: the guest's own bytes */
    assert_true(at[0] == 8 && at[MIB - 1] == 8);
}

/* A result can be the argument of the next call, wherever it stands. */
static void test_results_as_arguments(void **state)
{
    struct large *large = *state;
    struct mf_value text = mf_string("short"), bytes;
    char *long_text = malloc(2 * MIB + 1);
    memset(long_text, 'z', 2 * MIB);
    long_text[2 * MIB] = 0;
    for (int i = 0; i < 5; i++)
        text = call(large, "echo_text", &text, 1);
    assert_string_equal(text.string.data, "short");
    /* A string is copied to the host, and its pages are shown to the guest from there. */
    text = mf_string(long_text);
    for (int i = 0; i < 5; i++)
        text = call(large, "echo_text", &text, 1);
    assert_int_equal(text.string.len, 2 * MIB);
    assert_string_equal(text.string.data, long_text);
    free(long_text);
    struct mf_value how[2] = {mf_u64(MIB), mf_u32(9)};
    bytes = call(large, "stamp", how, 2);
    assert_true(call(large, "sum", &bytes, 1).u64 == large_sum(bytes.bytes.data, MIB));
    mf_sandbox_release(large->sandbox);
    assert_int_equal(call(large, "count_releases", NULL, 0).u64, 0);
}

static void test_made_results(void **state)
{
    struct large *large = *state;
    static const uint64_t lens[] = {0, 10, MAILBOX - 40, MAILBOX - 39, MIB + 3, 3 * MIB};
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct mf_value how[2] = {mf_u64(lens[i]), mf_u32((uint32_t)i)};
        struct mf_value made = call(large, "make", how, 2);
        assert_int_equal(made.bytes.len, lens[i]);
        assert_true(large_is_filled(made.bytes.data, lens[i], (uint32_t)i));
    }
    assert_int_equal(call(large, "count_releases", NULL, 0).u64, 6);
    call_fails(large, "make_and_fail", NULL, 0, MF_E_GUEST_ERROR, "changed my mind");
    assert_int_equal(call(large, "count_releases", NULL, 0).u64, 8);
    assert_int_equal(call(large, "count_releases", NULL, 0).u64, 8);
}

static void test_copied(void **state)
{
    struct large *large = *state;
    uint8_t *buffer = malloc(3 * MIB);
    struct mf_value how[2] = {mf_u64(3 * MIB), mf_u32(3)};
    struct mf_call one = {.function = large_index(large, "make"),
                          .args = how,
                          .nargs = 2,
                          .buffer = buffer,
                          .buffer_bytes = 3 * MIB};
    assert_int_equal(mf_sandbox_call_batch(large->sandbox, &one, 1, &large->err), 0);
    assert_int_equal(one.status, 0);
    assert_ptr_equal(one.result.bytes.data, buffer);
    call(large, "count", NULL, 0);
    assert_true(large_is_filled(buffer, 3 * MIB, 3));
    free(buffer);
}

/* What is not in one piece of guest memory is copied instead. */
static void test_scattered(void **state)
{
    struct large *large = *state;
    struct mf_value how[2] = {mf_u64(40), mf_u32(5)};
    struct mf_value bytes = call(large, "scattered", how, 2);
    assert_int_equal(bytes.bytes.len, 40 * PAGE);
    assert_true(large_is_filled(bytes.bytes.data, 40 * PAGE, 5));
    struct mf_call one = {.function = large_index(large, "scattered"),
                          .args = how,
                          .nargs = 2,
                          .buffer = malloc(40 * PAGE),
                          .buffer_bytes = 40 * PAGE};
    assert_int_equal(mf_sandbox_call_batch(large->sandbox, &one, 1, &large->err), 0);
    assert_true(large_is_filled(one.result.bytes.data, 40 * PAGE, 5));
    free(one.buffer);
}

/* An error is never by reference, and is cut between characters. */
static void test_long_errors(void **state)
{
    struct large *large = *state;
    struct mf_value odd = mf_bool(true), even = mf_bool(false);
    call_fails(large, "long_error", &even, 1, MF_E_GUEST_ERROR, "ää");
    call_fails(large, "long_error", &odd, 1, MF_E_GUEST_ERROR, "xää");
    call(large, "count", NULL, 0);
}

/* ---- host functions and nested calls ---- */

static void test_host_functions(void **state)
{
    struct large *large = *state;
    static const size_t lens[] = {MAILBOX - 100, MAILBOX, MIB, 8 * MIB};
    uint8_t *data = malloc(8 * MIB);
    large_fill(data, 8 * MIB, 4);
    for (size_t i = 0; i < 4; i++) {
        struct mf_value bytes = mf_bytes(data, lens[i]);
        struct mf_value back = call(large, "relay", &bytes, 1);
        assert_int_equal(back.bytes.len, lens[i]);
        assert_memory_equal(back.bytes.data, data, lens[i]);
    }
    struct mf_value len = mf_u64(100000);
    large_fill(data, 100000, 5);
    assert_true(call(large, "send_many", &len, 1).u64 == 32 * large_sum(data, 100000));
    /* 32 times 6 MiB is more than the guest is: the host does not copy that much. */
    len = mf_u64(6 * MIB);
    call_fails(large, "send_many", &len, 1, MF_E_TOO_LARGE, "");
    call(large, "count", NULL, 0);
    free(data);
}

/* The host function frees each before it makes the next: the guest keeps what it got. */
static void test_results_of_host_functions(void **state)
{
    struct large *large = *state;
    struct mf_value how[3] = {mf_u32(200), mf_u64(200000), mf_bool(true)};
    assert_int_equal(call(large, "gather", how, 3).u64, 200);
    how[0] = mf_u32(20);
    how[2] = mf_bool(false);
    assert_int_equal(call(large, "gather", how, 3).u64, 20);
    assert_int_equal(large->freed, 219);
    /* More at a time than there can be mappings: the guest hears of it. */
    how[0] = mf_u32(MF_MAPPINGS_MAX + 1);
    call_fails(large, "gather", how, 3, MF_E_GUEST_ERROR, "mappings");
    assert_int_equal(call(large, "count", NULL, 0).u64, 1);
}

/* Each nested call takes the answer of the one before: 100 of them, of 2 MiB, in 64 MiB. */
static void test_nested(void **state)
{
    struct large *large = *state;
    struct mf_value how[2] = {mf_u32(100), mf_u64(2 * MIB)};
    assert_int_equal(call(large, "nest", how, 2).u64, 2 * MIB);
    how[0] = mf_u32(3);
    how[1] = mf_u64(MAILBOX - 200);
    assert_int_equal(call(large, "nest", how, 2).u64, MAILBOX - 200);
    assert_int_equal(call(large, "count_releases", NULL, 0).u64, 2);
}

/* ---- streams ---- */

/* What the guest's `consume` adds up for that many bytes of 1, piece by piece. */
static uint64_t consumed_sum(uint64_t total)
{
    static uint8_t ones[300000];
    uint64_t sum = 0;
    memset(ones, 1, sizeof ones);
    for (uint64_t len; total > 0; total -= len) {
        len = total < sizeof ones ? total : sizeof ones;
        sum += large_sum(ones, len) - len;
    }
    return sum;
}

static void test_streams(void **state)
{
    struct large *large = *state;
    /* An emulator pays for each store. */
    uint64_t bytes = test_backend() == MF_BACKEND_SOFT ? 8 * MIB : 64 * MIB;
    struct mf_value total = mf_u64(bytes);
    large_close(large);
    large_open(large, 16 * MIB, MAILBOX);
    assert_true(call(large, "produce", &total, 1).u64 == bytes);
    assert_int_equal(large->stream_total, bytes);
    uint64_t expected = 0;
    for (uint64_t done = 0; done < bytes; done += 300000)
        expected += (uint8_t)(done / 300000) * (bytes - done < 300000 ? bytes - done : 300000);
    assert_int_equal(large->stream_sum, expected);
    assert_in_range(large->longest_piece, 1000, MAILBOX);
    large->stream_total = large->longest_piece = 0;
    large->stream_left = bytes + 5;
    uint64_t sum = call(large, "consume", NULL, 0).u64;
    assert_int_equal(large->stream_total, bytes + 5);
    assert_int_equal(large->stream_left, 0);
    assert_in_range(large->longest_piece, 1000, MAILBOX);
    /* The sum of ones, as words and bytes, and how many they were. */
    assert_true(sum == consumed_sum(bytes + 5) + bytes + 5);
}

/* ---- other versions ---- */

/* The image with the note of an SDK of 1.0. */
static struct mf_image *open_old(void)
{
    static const uint8_t head[] = {7, 0, 0,   0,   24,  0,   0,   0,   0x46, 0x4d,
                                   0, 0, 'M', 'a', 'y', 'f', 'l', 'y', 0,    0};
    static const char *const builds[] = {"musl", "gcc"};
    const uint32_t version = 0x10000;
    uint8_t *file = malloc(16 * MIB), *note;
    struct mf_image *image;
    struct mf_error err;
    FILE *stream = NULL;
    char path[4096];

    for (size_t i = 0; i < 2 && !stream; i++) {
        snprintf(path, sizeof path, "%s/large/%s", getenv("GUESTS"), builds[i]);
        stream = fopen(path, "rb");
    }
    assert_non_null(stream);
    size_t len = fread(file, 1, 16 * MIB, stream);
    fclose(stream);
    note = memmem(file, len, head, sizeof head);
    assert_non_null(note);
    memcpy(note + sizeof head, &version, sizeof version);
    if (mf_image_from_memory(file, len, "old", &image, &err) != 0)
        fail_msg("%s", err.message);
    free(file);
    return image;
}

static void test_old_guest(void **state)
{
    struct large *large = *state;
    uint8_t *data = malloc(MIB);
    struct mf_value small = mf_bytes(data, 1000), bytes = mf_bytes(data, MIB);
    memset(data, 1, MIB);
    mf_image_close(large->image);
    large->image = open_old();
    struct mf_sandbox_options options = {.size = sizeof options, .backend = test_backend()};
    mf_sandbox_destroy(large->sandbox);
    assert_int_equal(
        mf_sandbox_create(large->image, large->host, &options, &large->sandbox, &large->err), 0);
    assert_int_equal(call(large, "length", &small, 1).u64, 1000);
    call_fails(large, "length", &bytes, 1, MF_E_TOO_LARGE, "link it again, or raise mailbox_bytes");
    assert_int_equal(call(large, "length", &small, 1).u64, 1000);
    free(data);
}

/* ---- guests that lie ---- */

/* A frame with one value or 32 equal ones, as bytes for the guest's raw functions. */
struct raw {
    struct {
        uint32_t size;
        uint16_t kind, count;
        uint64_t id;
        uint32_t function;
        int32_t status;
        uint64_t reserved;
    } header;
    struct {
        uint32_t type, len;
        uint64_t address, bytes;
    } value[MF_PARAMS_MAX];
    uint8_t padding[64]; /* up to the next multiple of 64 */
};

enum { RESULT = 2, ERROR = 3, HOST_CALL = 4, TEXT = 0x108, BYTES = 0x109 };

static struct mf_value make_raw(struct raw *raw, unsigned kind, unsigned count, uint32_t type,
                                uint32_t len, uint64_t address, uint64_t bytes)
{
    memset(raw, 0, sizeof *raw);
    raw->header.size = (32 + count * 24 + 63) & ~63u;
    raw->header.kind = (uint16_t)kind;
    raw->header.count = (uint16_t)count;
    raw->header.status = kind == ERROR ? -19 : 0;
    for (unsigned i = 0; i < count; i++) {
        raw->value[i].type = type;
        raw->value[i].len = len;
        raw->value[i].address = address;
        raw->value[i].bytes = bytes;
    }
    return mf_bytes(raw, raw->header.size);
}

/* Where nothing of the guest's is, or not as much as is claimed. */
static const struct {
    uint64_t address, bytes;
} lies[] = {
    {0, 1},
    {0, UINT64_MAX},
    {0x1000, 100},        /* the null pages */
    {0x7fff80000000, 64}, /* descriptors and stubs: the supervisor's */
    {0x7fff80000000, 4096},
    {0x7fff00000000, 1}, /* one past what a guest may use */
    {0x7ffffffff000, 4096},
    {0x800000000000, 4096}, /* not canonical */
    {0xffff800000000000, 4096},
    {UINT64_MAX, 1},
    {UINT64_MAX - 4095, 4096}, /* up to 2^64, */
    {UINT64_MAX - 4095, 8192}, /* and around it */
    {0x600000000000, 4097},    /* the boot page, and a byte more */
    {0x600000010000, 1 << 30}, /* the mailbox, and more */
    {0x600000010000, UINT64_MAX},
    {0x600000010000, UINT64_C(0) - 0x600000010000},
    {0x600000010000, (UINT64_C(1) << 63) + 5},
    {0x400000, UINT64_C(1) << 40}, /* the image */
    {0x100000000000, UINT64_C(1) << 47},
};

static void assert_refused(struct large *large, const char *function, struct mf_value frame)
{
    struct mf_value result;
    int rc = large_call(large, function, &frame, 1, &result);
    if (rc != MF_E_PROTOCOL)
        fail_msg("%s: %s: %s", function, mf_error_name(rc), large->err.message);
    assert_int_equal(mf_sandbox_poisoned(large->sandbox), MF_E_PROTOCOL);
    large_reopen(large);
}

static void test_lies_in_results(void **state)
{
    struct large *large = *state;
    struct raw raw;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        assert_refused(large, "raw_bytes",
                       make_raw(&raw, RESULT, 1, BYTES, 16, lies[i].address, lies[i].bytes));
        assert_refused(large, "raw_text",
                       make_raw(&raw, RESULT, 1, TEXT, 16, lies[i].address, lies[i].bytes));
    }
}

static void test_malformed_references(void **state)
{
    struct large *large = *state;
    struct raw raw;
    const uint64_t at = 0x600000000000; /* the boot page: readable */
    for (uint32_t type = 0x100; type < 0x108; type++)
        assert_refused(large, "raw_number", make_raw(&raw, RESULT, 1, type, 16, at, 16));
    static const uint32_t types[] = {0x10a, 0x1ff, 0x309, 0x80000109, 0xffffffff};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        assert_refused(large, "raw_bytes", make_raw(&raw, RESULT, 1, types[i], 16, at, 16));
    static const uint32_t lens[] = {0, 8, 15, 17, 24, 4096, 0xffffffff, 0xfffffff0};
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++)
        assert_refused(large, "raw_bytes", make_raw(&raw, RESULT, 1, BYTES, lens[i], at, 16));
    /* In errors, of another type than the signature's, and more than one. */
    assert_refused(large, "raw_bytes", make_raw(&raw, ERROR, 1, TEXT, 16, at, 16));
    assert_refused(large, "raw_bytes", make_raw(&raw, RESULT, 1, TEXT, 16, at, 16));
    assert_refused(large, "raw_text", make_raw(&raw, RESULT, 1, BYTES, 16, at, 16));
    assert_refused(large, "raw_number", make_raw(&raw, RESULT, 1, BYTES, 16, at, 16));
    assert_refused(large, "raw_bytes", make_raw(&raw, RESULT, 2, BYTES, 16, at, 16));
    assert_refused(large, "raw_bytes", make_raw(&raw, RESULT, 32, BYTES, 16, at, 16));
    /* The boot page has bytes that are no text. */
    assert_refused(large, "raw_text", make_raw(&raw, RESULT, 1, TEXT, 16, at, 128));
}

/* What a guest may read it may refer to, wherever that is: the bytes are its own. */
static void test_odd_references_that_hold(void **state)
{
    struct large *large = *state;
    struct raw raw;
    struct mf_value frame = make_raw(&raw, RESULT, 1, BYTES, 16, 0x600000000000, 4096), result;
    assert_int_equal(large_call(large, "raw_bytes", &frame, 1, &result), 0);
    assert_int_equal(result.bytes.len, 4096);
    assert_memory_equal(result.bytes.data, "MAYFLY01", 8);
    large_reopen(large);
    frame = make_raw(&raw, RESULT, 1, TEXT, 16, 0x600000000000, 8);
    assert_int_equal(large_call(large, "raw_text", &frame, 1, &result), 0);
    assert_string_equal(result.string.data, "MAYFLY01");
    large_reopen(large);
    frame = make_raw(&raw, RESULT, 1, BYTES, 16, 0x600000010000, PAGE);
    assert_int_equal(large_call(large, "raw_bytes", &frame, 1, &result), 0);
    assert_int_equal(result.bytes.len, PAGE);
}

static void test_lies_in_host_calls(void **state)
{
    struct large *large = *state;
    struct raw raw;
    struct mf_value args[2] = {mf_void(), mf_bool(false)}, result;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        args[0] = make_raw(&raw, HOST_CALL, 32, BYTES, 16, lies[i].address, lies[i].bytes);
        assert_int_equal(large_call(large, "raw_call", args, 2, &result), MF_E_PROTOCOL);
        large_reopen(large);
    }
    args[0] = make_raw(&raw, HOST_CALL, 32, BYTES, 15, 0x600000000000, 16);
    assert_int_equal(large_call(large, "raw_call", args, 2, &result), MF_E_PROTOCOL);
    large_reopen(large);
    /* A text that is none. */
    args[0] = make_raw(&raw, HOST_CALL, 1, TEXT, 16, 0x600000000000, 128);
    args[1] = mf_bool(true);
    assert_int_equal(large_call(large, "raw_call", args, 2, &result), MF_E_PROTOCOL);
}

/* 32 arguments, each of them all that the guest has: the host does not copy 32 times that. */
static void test_copies_are_bounded(void **state)
{
    struct large *large = *state;
    struct raw raw;
    uint8_t *data = pages(40 * MIB);
    uint64_t address;
    struct mf_error err;
    assert_int_equal(mf_sandbox_map(large->sandbox, data, 40 * MIB, MF_MAP_READ, &address, &err),
                     0);
    struct mf_value args[2] = {mf_void(), mf_bool(false)}, result;
    args[0] = make_raw(&raw, HOST_CALL, 32, BYTES, 16, address, 40 * MIB);
    assert_int_equal(call(large, "raw_call", args, 2).i32, MF_E_TOO_LARGE);
    args[0] = make_raw(&raw, HOST_CALL, 32, BYTES, 16, address, MIB);
    assert_int_equal(call(large, "raw_call", args, 2).i32, 0);
    assert_int_equal(mf_sandbox_unmap(large->sandbox, address, &err), 0);
    assert_int_equal(large_call(large, "raw_call", args, 2, &result), MF_E_PROTOCOL);
    munmap(data, 40 * MIB);
}

int main(void)
{
    test_backend();
    static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(test_sizes),
        TEST(test_200_mib),
        TEST(test_strings),
        TEST(test_several),
        TEST(test_32_arguments),
        TEST(test_mapped_argument),
        TEST(test_arguments_are_read_only_and_go),
        TEST(test_impossible_lengths),
        TEST(test_nothing_is_left),
        TEST(test_view),
        TEST(test_results_as_arguments),
        TEST(test_made_results),
        TEST(test_copied),
        TEST(test_scattered),
        TEST(test_long_errors),
        TEST(test_host_functions),
        TEST(test_results_of_host_functions),
        TEST(test_nested),
        TEST(test_streams),
        TEST(test_old_guest),
        TEST(test_lies_in_results),
        TEST(test_malformed_references),
        TEST(test_odd_references_that_hold),
        TEST(test_lies_in_host_calls),
        TEST(test_copies_are_bounded),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
