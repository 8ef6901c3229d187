/*
 * The guest of tests/integration/test_large.c and test_batch.c: values that do not fit
 * into the mailbox, both ways; streams; functions that end the guest; and frames
 * that the test composes byte by byte, which the guest sends as its own.
 */
#include <mayfly/guest.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096

MF_IMPORT(host_echo, "bytes host_echo(bytes data)");
MF_IMPORT(host_text, "string host_text(string text)");
MF_IMPORT(host_make, "bytes host_make(u64 len, u32 seed)");
MF_IMPORT(host_back, "u64 host_back(u32 times, u64 len)");
MF_IMPORT(host_batch, "i32 host_batch()");
MF_IMPORT(host_sink, "void host_sink(bytes piece)");
MF_IMPORT(host_source, "bytes host_source(u64 most)");
MF_IMPORT(host_many, "u64 host_many(bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, "
                     "bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, "
                     "bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, "
                     "bytes)");

/* What byte `i` of data with this seed is; the test has the same function. */
static uint8_t pattern(uint64_t i, uint32_t seed)
{
    return (uint8_t)(i * 7 + (i >> 12) + seed);
}

static void fill(uint8_t *data, uint64_t len, uint32_t seed)
{
    for (uint64_t i = 0; i < len; i++)
        data[i] = pattern(i, seed);
}

static bool is_filled(const uint8_t *data, uint64_t len, uint32_t seed)
{
    for (uint64_t i = 0; i < len; i++)
        if (data[i] != pattern(i, seed))
            return false;
    return true;
}

/* Reads all of it, eight bytes at a time, because emulators pay per load. */
static uint64_t sum_of(const void *data, uint64_t len)
{
    const uint8_t *bytes = data;
    uint64_t sum = len, word;
    for (; len >= 8; len -= 8, bytes += 8) {
        memcpy(&word, bytes, 8);
        sum += word;
    }
    for (; len > 0; len--)
        sum += *bytes++;
    return sum;
}

static struct mf_value echo(const struct mf_value *arg)
{
    return arg[0];
}
MF_EXPORT(echo, "bytes echo(bytes data)");

static struct mf_value echo_text(const struct mf_value *arg)
{
    return arg[0];
}
MF_EXPORT(echo_text, "string echo_text(string text)");

/* A piece in the middle of the argument. */
static struct mf_value slice(const struct mf_value *arg)
{
    if (arg[1].u64 > arg[0].bytes.len || arg[2].u64 > arg[0].bytes.len - arg[1].u64)
        return mf_error("not within the data");
    return mf_bytes((const char *)arg[0].bytes.data + arg[1].u64, arg[2].u64);
}
MF_EXPORT(slice, "bytes slice(bytes data, u64 offset, u64 len)");

static struct mf_value sum(const struct mf_value *arg)
{
    return mf_u64(sum_of(arg[0].bytes.data, arg[0].bytes.len));
}
MF_EXPORT(sum, "u64 sum(bytes data)");

static struct mf_value sum_ends(const struct mf_value *arg)
{
    return mf_u64(sum_of(arg[0].bytes.data, 10) ^ sum_of(arg[2].bytes.data, 10) ^
                  sum_of(arg[1].string.data, arg[1].string.len));
}
MF_EXPORT(sum_ends, "u64 sum_ends(bytes a, string b, bytes c)");

static struct mf_value sum_all(const struct mf_value *arg)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < MF_PARAMS_MAX; i++)
        total = total * 3 + sum_of(arg[i].bytes.data, arg[i].bytes.len);
    return mf_u64(total);
}
MF_EXPORT(sum_all, "u64 sum_all(bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, "
                   "bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, "
                   "bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, "
                   "bytes)");

static struct mf_value length(const struct mf_value *arg)
{
    return mf_u64(arg[0].bytes.len);
}
MF_EXPORT(length, "u64 length(bytes data)");

/* The terminator is there, and no NUL before it. */
static struct mf_value is_terminated(const struct mf_value *arg)
{
    return mf_bool(strlen(arg[0].string.data) == arg[0].string.len);
}
MF_EXPORT(is_terminated, "bool is_terminated(string text)");

static struct mf_value address_of(const struct mf_value *arg)
{
    return mf_u64((uintptr_t)arg[0].bytes.data);
}
MF_EXPORT(address_of, "u64 address_of(bytes data)");

/* The first byte at an address, which may be where an earlier call's argument was. */
static struct mf_value peek(const struct mf_value *arg)
{
    return mf_u32(*(const volatile uint8_t *)(uintptr_t)arg[0].u64);
}
MF_EXPORT(peek, "u32 peek(u64 address)");

/* Arguments are read-only. */
static struct mf_value scribble(const struct mf_value *arg)
{
    *(volatile uint8_t *)(uintptr_t)arg[0].bytes.data = 1;
    return mf_void();
}
MF_EXPORT(scribble, "void scribble(bytes data)");

static uint64_t releases;

static void release(void *data)
{
    releases++;
    free(data);
}

static struct mf_value make(const struct mf_value *arg)
{
    uint8_t *data = malloc(arg[0].u64 + 1);
    if (data == NULL)
        return mf_error("no memory");
    fill(data, arg[0].u64, arg[1].u32);
    return mf_bytes_owned(data, arg[0].u64, release);
}
MF_EXPORT(make, "bytes make(u64 len, u32 seed)");

/* Gives away two, of which the first is released at once, and fails. */
static struct mf_value make_and_fail(const struct mf_value *arg)
{
    (void)arg;
    mf_bytes_owned(malloc(100000), 100000, release);
    mf_bytes_owned(malloc(100000), 100000, release);
    return mf_error("changed my mind");
}
MF_EXPORT(make_and_fail, "bytes make_and_fail()");

static struct mf_value count_releases(const struct mf_value *arg)
{
    (void)arg;
    return mf_u64(releases);
}
MF_EXPORT(count_releases, "u64 count_releases()");

/* The same static bytes for each call, with what the call said. */
static struct mf_value stamp(const struct mf_value *arg)
{
    static uint8_t data[1 << 20];
    if (arg[0].u64 > sizeof data)
        return mf_error("too long");
    memset(data, (int)arg[1].u32, arg[0].u64);
    return mf_bytes(data, arg[0].u64);
}
MF_EXPORT(stamp, "bytes stamp(u64 len, u32 value)");

static struct mf_value stamp_text(const struct mf_value *arg)
{
    static char text[300001];
    if (arg[0].u64 >= sizeof text)
        return mf_error("too long");
    memset(text, 'a' + (int)(arg[1].u32 % 26), arg[0].u64);
    text[arg[0].u64] = 0;
    return mf_string_n(text, arg[0].u64);
}
MF_EXPORT(stamp_text, "string stamp_text(u64 len, u32 letter)");

/*
 * Pages mapped one by one from the last to the first: adjacent for the guest, and not in
 * its physical memory.
 */
static struct mf_value scattered(const struct mf_value *arg)
{
    uint64_t pages = arg[0].u64;
    uint8_t *area = mmap(NULL, pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED)
        return mf_error("mmap");
    for (uint64_t i = pages; i-- > 0;)
        if (mmap(area + i * PAGE, PAGE, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            return mf_error("mmap of one page");
    fill(area, pages * PAGE, arg[1].u32);
    return mf_bytes(area, pages * PAGE);
}
MF_EXPORT(scattered, "bytes scattered(u64 pages, u32 seed)");

/* An error whose message is longer than any frame, in letters of two bytes. */
static struct mf_value long_error(const struct mf_value *arg)
{
    static char text[200002];
    for (size_t i = arg[0].boolean; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    if (arg[0].boolean)
        text[0] = 'x';
    return mf_error(text);
}
MF_EXPORT(long_error, "void long_error(bool odd)");

/* ---- host functions ---- */

static struct mf_value relay(const struct mf_value *arg)
{
    return mf_call(host_echo, arg[0]);
}
MF_EXPORT(relay, "bytes relay(bytes data)");

static struct mf_value relay_text(const struct mf_value *arg)
{
    return mf_call(host_text, arg[0]);
}
MF_EXPORT(relay_text, "string relay_text(string text)");

/* Many results of the host, each looked at; given back before the next, or kept. */
static struct mf_value gather(const struct mf_value *arg)
{
    const uint8_t *first = NULL;
    for (uint32_t i = 0; i < arg[0].u32; i++) {
        size_t mark = mf_scratch_mark();
        struct mf_value data = mf_call(host_make, arg[1], mf_u32(i));
        if (data.failed)
            return data;
        if (data.bytes.len != arg[1].u64 || !is_filled(data.bytes.data, data.bytes.len, i))
            return mf_error("the host's bytes are not what they should be");
        if (arg[2].boolean)
            mf_scratch_release(mark);
        else if (first == NULL)
            first = data.bytes.data;
    }
    if (first != NULL && !is_filled(first, arg[1].u64, 0))
        return mf_error("the first result has changed");
    return mf_u64(arg[0].u32);
}
MF_EXPORT(gather, "u64 gather(u32 times, u64 len, bool give_back)");

/* Arguments of a host function: all large, one of them by the guest's own memory. */
static struct mf_value send_many(const struct mf_value *arg)
{
    struct mf_value args[MF_PARAMS_MAX];
    uint8_t *data = malloc(arg[0].u64);
    if (data == NULL)
        return mf_error("no memory");
    fill(data, arg[0].u64, 5);
    for (unsigned i = 0; i < MF_PARAMS_MAX; i++)
        args[i] = mf_bytes(data, arg[0].u64);
    struct mf_value answer = mf_host_call(&host_many, args, MF_PARAMS_MAX);
    free(data);
    return answer;
}
MF_EXPORT(send_many, "u64 send_many(u64 len)");

/* The host calls back `times` times, with large arguments and results. */
static struct mf_value nest(const struct mf_value *arg)
{
    return mf_call(host_back, arg[0], arg[1]);
}
MF_EXPORT(nest, "u64 nest(u32 times, u64 len)");

static struct mf_value batch_inside(const struct mf_value *arg)
{
    (void)arg;
    return mf_call(host_batch);
}
MF_EXPORT(batch_inside, "i32 batch_inside()");

/* ---- streams ---- */

static uint8_t pieces[300000];

static struct mf_value produce(const struct mf_value *arg)
{
    for (uint64_t done = 0; done < arg[0].u64;) {
        uint64_t len = arg[0].u64 - done < sizeof pieces ? arg[0].u64 - done : sizeof pieces;
        memset(pieces, (int)(done / sizeof pieces), len);
        struct mf_value v = mf_write(host_sink, pieces, len);
        if (v.failed)
            return v;
        done += len;
    }
    return mf_u64(arg[0].u64);
}
MF_EXPORT(produce, "u64 produce(u64 total)");

/* The sum of a stream that ends when the host says so. */
static struct mf_value consume(const struct mf_value *arg)
{
    uint64_t sum = 0, total = 0;
    size_t got;
    (void)arg;
    do {
        struct mf_value v = mf_read(host_source, pieces, sizeof pieces, &got);
        if (v.failed)
            return v;
        total += got;
        sum += sum_of(pieces, got) - got;
    } while (got == sizeof pieces);
    return mf_u64(sum + total);
}
MF_EXPORT(consume, "u64 consume()");

/* ---- functions that end the guest, or do not succeed ---- */

static struct mf_value add(const struct mf_value *arg)
{
    return mf_i32(arg[0].i32 + arg[1].i32);
}
MF_EXPORT(add, "i32 add(i32 a, i32 b)");

static struct mf_value count(const struct mf_value *arg)
{
    static uint64_t calls;
    (void)arg;
    return mf_u64(++calls);
}
MF_EXPORT(count, "u64 count()");

static struct mf_value refuse(const struct mf_value *arg)
{
    return mf_errorf("refused: %s", arg[0].string.data);
}
MF_EXPORT(refuse, "void refuse(string why)");

static struct mf_value crash(const struct mf_value *arg)
{
    (void)arg;
    __asm__ volatile("ud2");
    return mf_void();
}
MF_EXPORT(crash, "void crash()");

static struct mf_value leave(const struct mf_value *arg)
{
    exit(arg[0].i32);
}
MF_EXPORT(leave, "void leave(i32 status)");

static struct mf_value give_up(const struct mf_value *arg)
{
    mf_abort(arg[0].string.data);
}
MF_EXPORT(give_up, "void give_up(string why)");

static struct mf_value spin(const struct mf_value *arg)
{
    (void)arg;
    for (volatile int i = 0;; i++)
        ;
    return mf_void();
}
MF_EXPORT(spin, "void spin()");

/* ---- frames that the test composed ---- */

#define MAILBOX UINT64_C(0x600000010000)
#define BOOT64(offset) (*(const volatile uint64_t *)(0x600000000000 + (offset)))
#define CALL_RING (MAILBOX + BOOT64(56))
#define RESULT_RING (MAILBOX + BOOT64(64))
#define EXCHANGE (MAILBOX + BOOT64(72))

extern const char table[] __asm__("__start_mayfly_table") __attribute__((visibility("hidden")));

/* Answers this call with that frame, under the right id, and waits in READY. */
static struct mf_value raw_answer(const struct mf_value *arg)
{
    uint64_t call = CALL_RING + *(volatile uint64_t *)(MAILBOX + 64) % 4096;
    uint64_t len = arg[0].bytes.len;
    memcpy((void *)RESULT_RING, arg[0].bytes.data, len);
    memcpy((void *)(RESULT_RING + 8), (void *)(call + 8), 8);
    *(volatile uint64_t *)(MAILBOX + 64) += *(volatile uint32_t *)call;
    *(volatile uint64_t *)(MAILBOX + 128) += len;
    __asm__ volatile("outb %%al, $0xb0" : : : "memory");
    return mf_void();
}
MF_EXPORT(raw_answer, "bytes raw_bytes(bytes frame)");

static struct mf_value raw_text(const struct mf_value *arg)
{
    return raw_answer(arg);
}
MF_EXPORT(raw_text, "string raw_text(bytes frame)");

static struct mf_value raw_number(const struct mf_value *arg)
{
    return raw_answer(arg);
}
MF_EXPORT(raw_number, "u64 raw_number(bytes frame)");

/* Calls host_many, or host_text, with that frame; the status of the answer, 0 for a result. */
static struct mf_value raw_call(const struct mf_value *arg)
{
    volatile uint16_t *kind = (volatile uint16_t *)(EXCHANGE + 4);
    const char *import = arg[1].boolean ? (const char *)&host_text : (const char *)&host_many;
    memcpy((void *)EXCHANGE, arg[0].bytes.data, arg[0].bytes.len);
    *(volatile uint32_t *)(EXCHANGE + 16) = (uint32_t)(import - table);
    __asm__ volatile("outb %%al, $0xb1" : : "D"(0) : "memory");
    return mf_i32(*kind == 3 ? *(volatile int32_t *)(EXCHANGE + 20) : 0);
}
MF_EXPORT(raw_call, "i32 raw_call(bytes frame, bool text)");
