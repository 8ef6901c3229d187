/*
 * The guest of tests/integration/test_attend.c: calls of all sizes, guests that do
 * something after their answer was sent, and guests that take the mailbox into their own
 * hands and lie.
 */
#include <mayfly/guest.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

MF_IMPORT(host_tick, "u64 tick(u64 n)");
MF_IMPORT(host_again, "string again(string text)");

/* How often exported functions of the next group ran. */
static uint64_t counter;

static struct mf_value next(const struct mf_value *arg)
{
    (void)arg;
    return mf_u64(++counter);
}
MF_EXPORT(next, "u64 next()");

static struct mf_value echo(const struct mf_value *arg)
{
    counter++;
    return arg[0];
}
MF_EXPORT(echo, "string echo(string text)");

static struct mf_value echo_bytes(const struct mf_value *arg)
{
    counter++;
    return arg[0];
}
MF_EXPORT(echo_bytes, "bytes echo_bytes(bytes data)");

static struct mf_value tick(const struct mf_value *arg)
{
    counter++;
    return mf_call(host_tick, arg[0]);
}
MF_EXPORT(tick, "u64 tick(u64 n)");

/* The host function calls `echo` of this guest. */
static struct mf_value again(const struct mf_value *arg)
{
    return mf_call(host_again, arg[0]);
}
MF_EXPORT(again, "string again(string text)");

static struct mf_value fail_softly(const struct mf_value *arg)
{
    (void)arg;
    return mf_error("as asked");
}
MF_EXPORT(fail_softly, "void fail_softly()");

/* `len` bytes of the value len % 251, more than the mailbox holds if need be. */
static void release(void *data)
{
    free(data);
}

static struct mf_value make(const struct mf_value *arg)
{
    size_t len = (size_t)arg[0].u64;
    void *data = malloc(len);
    if (data == NULL)
        return mf_error("out of memory");
    memset(data, (int)(len % 251), len);
    return mf_bytes_owned(data, len, release);
}
MF_EXPORT(make, "bytes make(u64 len)");

static struct mf_value sum(const struct mf_value *arg)
{
    const unsigned char *at = arg[0].bytes.data;
    uint64_t total = 0;
    for (size_t i = 0; i < arg[0].bytes.len; i++)
        total += at[i];
    return mf_u64(total);
}
MF_EXPORT(sum, "u64 sum(bytes data)");

/* Keeps the host waiting, but not for ever. */
static struct mf_value wait_ms(const struct mf_value *arg)
{
    struct timespec t = {0, (long)arg[0].u32 * 1000000};
    nanosleep(&t, NULL);
    return mf_void();
}
MF_EXPORT(wait_ms, "void wait_ms(u32 ms)");

/* ---- bad ends ---- */

enum end { END_NOTHING, END_FAULT, END_EXIT, END_ABORT, END_LOOP, END_LOG, END_OUTPUT, END_HOST,
           END_UNMAP, END_BUSY };

static void come_to(enum end end)
{
    switch (end) {
    case END_FAULT:
        __builtin_trap();
    case END_EXIT:
        exit(7);
    case END_ABORT:
        mf_abort("as asked");
    case END_LOOP:
        for (;;)
            __asm__ volatile("" : : : "memory");
    case END_LOG:
        for (;;)
            mf_log(MF_LOG_INFO, "one more line of the flood, and again, and again, and again");
    case END_OUTPUT:
        for (;;)
            fputs("one more line of the flood\n", stdout);
    case END_HOST:
        mf_call(host_tick, mf_u64(1));
        mf_call(host_again, mf_string("late"));
        break;
    case END_UNMAP: {
        void *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                            -1, 0);
        memset(memory, 1, 1 << 20);
        munmap(memory, 1 << 20);
        break;
    }
    case END_BUSY: /* for some 100 ms */
        for (unsigned i = 0; i < 100000000; i++)
            __asm__ volatile("" : : : "memory");
        break;
    case END_NOTHING:
        break;
    }
}

static struct mf_value end_now(const struct mf_value *arg)
{
    come_to((enum end)arg[0].u32);
    return mf_void();
}
MF_EXPORT(end_now, "void end_now(u32 end)");

static enum end after;

static void end_after(void *data)
{
    (void)data;
    come_to(after);
}

/* The answer is sent, and then it happens. */
static struct mf_value end_later(const struct mf_value *arg)
{
    static const char text[] = "see you";
    after = (enum end)arg[0].u32;
    return mf_bytes_owned((void *)(uintptr_t)text, sizeof text, end_after);
}
MF_EXPORT(end_later, "bytes end_later(u32 end)");

/* ---- a guest with a loop of its own ---- */

#define MAILBOX ((volatile unsigned char *)0x600000010000)
/* The boot page's fields that are needed here (abi/boot.h), and the indices. */
#define BOOT64(offset) (*(const volatile uint64_t *)(0x600000000000 + (offset)))
#define BOOT32(offset) (*(const volatile uint32_t *)(0x600000000000 + (offset)))
#define CALL_RING BOOT64(56)
#define RESULT_RING BOOT64(64)
#define RING_SIZE BOOT32(80)
#define INDEX(n) (*(volatile uint64_t *)(MAILBOX + (n) * 64))
#define CALL_TAIL INDEX(0)
#define CALL_HEAD INDEX(1)
#define RESULT_TAIL INDEX(2)
#define HOST_FLAGS (*(volatile uint32_t *)(MAILBOX + 256))
#define FENCE() __asm__ volatile("mfence" : : : "memory")

static uint64_t state;

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

enum lie {
    LIE_NOT,      /* answers rightly, and leaves when it is told */
    LIE_STRAY,    /* answers calls that nobody made */
    LIE_TWICE,    /* answers each call twice */
    LIE_BACK,     /* moves its index backwards after each answer */
    LIE_RANDOM,   /* odd indices and noise, at random */
    LIE_REWRITE,  /* writes over the answer while the host reads it */
    LIE_SILENT,   /* never answers, never leaves */
    LIE_LEAVE,    /* leaves without an answer */
    LIE_PORTS,    /* answers, and leaves by a port that is not READY */
};

/* Writes the answer to an echo call: the call's frame as a result. */
static void answer(uint64_t at, uint64_t size, uint64_t to)
{
    volatile unsigned char *call = MAILBOX + CALL_RING + (at & (RING_SIZE - 1));
    volatile unsigned char *frame = MAILBOX + RESULT_RING + (to & (RING_SIZE - 1));
    for (uint64_t i = 0; i < size; i++)
        frame[i] = call[i];
    *(volatile uint16_t *)(frame + 4) = 2; /* RESULT */
    *(volatile uint32_t *)(frame + 16) = 0;
}

static void rewrite(uint64_t to, uint64_t size)
{
    volatile uint64_t *frame = (volatile uint64_t *)(MAILBOX + RESULT_RING +
                                                     (to & (RING_SIZE - 1)));
    for (int i = 0; i < 20000; i++)
        frame[next_random() % (size / 8)] = next_random() >> (next_random() % 64);
}

static void lie(enum lie lie, uint64_t call_at, uint64_t size)
{
    uint64_t r = next_random();
    switch (lie) {
    case LIE_TWICE:
        answer(call_at, size, RESULT_TAIL);
        FENCE();
        RESULT_TAIL += size;
        break;
    case LIE_BACK:
        RESULT_TAIL -= size;
        break;
    case LIE_RANDOM:
        if (r % 8 == 0)
            for (int i = 0; i < 64; i++)
                *(volatile uint64_t *)(MAILBOX + RESULT_RING + next_random() % (RING_SIZE - 8)) =
                    next_random();
        if (r % 8 == 1)
            INDEX(r >> 8 & 3) = next_random() >> (r >> 16 & 63);
        if (r % 8 == 2)
            RESULT_TAIL += 64 * (r >> 8 & 15);
        break;
    case LIE_REWRITE:
        rewrite(RESULT_TAIL - size, size);
        break;
    case LIE_PORTS:
        if (r % 3 == 0)
            __asm__ volatile("outb %%al, $0xb1" : : "a"(0), "D"(64 * (r >> 8 & 3)));
        else if (r % 3 == 1)
            __asm__ volatile("outb %%al, $0xb0" : : "a"(0));
        else
            __asm__ volatile("outb %%al, $0xb2" : : "a"(0), "D"(r), "S"(r), "d"(r));
        break;
    default:
        break;
    }
}

/* Serves echo calls for ever, in its own way: "HOW SEED". The first one is this call. */
static struct mf_value take_over(const struct mf_value *arg)
{
    char *end;
    enum lie how = (enum lie)strtoul(arg[0].string.data, &end, 10);
    uint64_t head = CALL_HEAD;
    int may_leave = 0; /* once after each answer, for a host that sleeps */
    state = strtoul(end, NULL, 10) * 2 + 1;
    for (;;) {
        while (CALL_TAIL == head || how == LIE_SILENT) {
            if (how == LIE_STRAY && next_random() % 2000 == 0) {
                answer(head, 64, RESULT_TAIL);
                RESULT_TAIL += 64;
            }
            if (may_leave && (HOST_FLAGS & 2)) {
                may_leave = 0;
                __asm__ volatile("outb %%al, $0xb0" : : "a"(0) : "memory");
            }
            __builtin_ia32_pause();
        }
        may_leave = 1;
        FENCE();
        uint64_t size = *(volatile uint32_t *)(MAILBOX + CALL_RING + (head & (RING_SIZE - 1)));
        while (how == LIE_LEAVE)
            __asm__ volatile("outb %%al, $0xb0" : : "a"(0) : "memory");
        answer(head, size, RESULT_TAIL);
        FENCE();
        RESULT_TAIL += size;
        head += size;
        CALL_HEAD = head;
        lie(how, head - size, size);
    }
    return mf_void();
}
MF_EXPORT(take_over, "string take_over(string how)");
