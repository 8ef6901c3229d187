/*
 * A guest that attacks its host: fills the mailbox with noise, or with frames that
 * are nearly right, and leaves through every port with every kind of register. The
 * host may refuse in any way, but it must not crash, hang or answer as if nothing
 * had happened to it.
 */
#include <mayfly/guest.h>

#include <stdlib.h>
#include <string.h>

#define MAILBOX ((volatile unsigned char *)0x600000010000)

/* The boot page's fields that are needed here (abi/boot.h). */
#define BOOT64(offset) (*(const volatile uint64_t *)(0x600000000000 + (offset)))
#define BOOT32(offset) (*(const volatile uint32_t *)(0x600000000000 + (offset)))
#define CALL_RING BOOT64(56)
#define RESULT_RING BOOT64(64)
#define EXCHANGE BOOT64(72)
#define CALL_RING_SIZE BOOT32(80)
#define RESULT_RING_SIZE BOOT32(84)
#define EXCHANGE_SIZE BOOT32(88)

static uint64_t state;

static uint64_t next_random(void)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t x = state;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* A number that is interesting: small, an edge, near one, or anything. */
static uint64_t odd_number(void)
{
    static const uint64_t edges[] = {
        0, 1, 31, 32, 33, 63, 64, 65, 4095, 4096, 65535, 65536, 0x7fffffff, 0x80000000u,
        0xffffffffu, 0xffffffc0u, 0x7fffffffffffffff, 0x8000000000000000u, UINT64_MAX,
        UINT64_MAX - 63, 0x600000000000, 0x600000010000, 0xffff800000001000u, 0x400000,
    };
    uint64_t r = next_random();
    switch (r % 4) {
    case 0:
        return next_random() % 200;
    case 1:
        return next_random();
    default:
        return edges[next_random() % (sizeof edges / sizeof edges[0])] + (r >> 8) % 3 - 1;
    }
}

static void write_noise(uint64_t offset, uint64_t len)
{
    for (uint64_t i = 0; i + 8 <= len; i += 8)
        *(volatile uint64_t *)(MAILBOX + offset + i) = next_random();
}

/* Noise everywhere, or in some of the areas, or odd numbers as indices. */
static void ruin_mailbox(void)
{
    uint64_t what = next_random();
    if (what & 1)
        for (uint64_t index = 0; index < 6; index++)
            *(volatile uint64_t *)(MAILBOX + index * 64) = odd_number();
    if (what & 2)
        write_noise(0, 4096);
    if (what & 4)
        write_noise(CALL_RING, CALL_RING_SIZE);
    if (what & 8)
        write_noise(RESULT_RING, RESULT_RING_SIZE);
    if (what & 16)
        write_noise(EXCHANGE, EXCHANGE_SIZE);
}

/* A frame of odd but not senseless numbers. */
static void write_frame(uint64_t offset)
{
    volatile unsigned char *frame = MAILBOX + offset;
    uint64_t values = next_random() % 4;

    *(volatile uint32_t *)frame = (uint32_t)(next_random() % 3 ? 64 * (1 + next_random() % 4)
                                                               : odd_number());
    *(volatile uint16_t *)(frame + 4) = (uint16_t)(next_random() % 6);
    *(volatile uint16_t *)(frame + 6) = (uint16_t)(next_random() % 3 ? values : odd_number());
    *(volatile uint64_t *)(frame + 8) = next_random() % 2 ? next_random() % 8 : odd_number();
    *(volatile uint32_t *)(frame + 16) = (uint32_t)(next_random() % 2 ? 16 * (next_random() % 16)
                                                                      : odd_number());
    *(volatile int32_t *)(frame + 20) = (int32_t)odd_number();
    *(volatile uint64_t *)(frame + 24) = 0;
    for (uint64_t i = 0; i < values; i++) {
        *(volatile uint32_t *)(frame + 32 + i * 16) = (uint32_t)(next_random() % 11);
        *(volatile uint32_t *)(frame + 36 + i * 16) =
            (uint32_t)(next_random() % 2 ? 8 : odd_number());
        *(volatile uint64_t *)(frame + 40 + i * 16) = odd_number();
    }
}

static void leave(unsigned port, uint64_t rdi, uint64_t rsi, uint64_t rdx)
{
#define OUT(number)                                                                      \
    case number:                                                                         \
        __asm__ volatile("outb %%al, $" #number : : "a"(next_random()), "D"(rdi), "S"(rsi), \
                         "d"(rdx) : "memory");                                           \
        break
    switch (port) {
        OUT(0xb0);
        OUT(0xb1);
        OUT(0xb2);
    default:
        OUT(0xb3);
    }
#undef OUT
}

static void attack(void)
{
    for (int round = 0; round < 40; round++) {
        if (next_random() % 2)
            ruin_mailbox();
        for (unsigned i = 0; i < 4; i++)
            write_frame(EXCHANGE + i * 64);
        write_frame(RESULT_RING);
        write_frame(RESULT_RING + RESULT_RING_SIZE - 64);
        if (next_random() % 2)
            *(volatile uint64_t *)(MAILBOX + 128) = 64 * (next_random() % 4);
        /* Rarely READY and ABORT, after which most hosts have heard enough. */
        uint64_t r = next_random();
        unsigned port = r % 8 == 0 ? 0xb0 : r % 8 == 1 && round > 20 ? 0xb3
                                        : r % 8 < 5                  ? 0xb1
                                                                     : 0xb2;
        leave(port, next_random() % 2 ? 64 * (next_random() % 4) : odd_number(), odd_number(),
              odd_number());
    }
}

static struct mf_value inside(const struct mf_value *arg)
{
    state = arg[0].u64;
    attack();
    return mf_u64(state);
}
MF_EXPORT(inside, "u64 inside(u64 seed)");

/* The answer is sent by the SDK, into a mailbox that it no longer understands. */
static struct mf_value ruin(const struct mf_value *arg)
{
    state = arg[0].u64;
    ruin_mailbox();
    return mf_u64(1);
}
MF_EXPORT(ruin, "u64 ruin(u64 seed)");

/* One valid-looking answer for a call that nobody made, then the right one. */
static struct mf_value answer_twice(const struct mf_value *arg)
{
    write_frame(RESULT_RING);
    *(volatile uint64_t *)(MAILBOX + 128) = 64;
    leave(0xb0, 0, 0, 0);
    return arg[0];
}
MF_EXPORT(answer_twice, "u64 answer_twice(u64 seed)");

static struct mf_value closed_port(const struct mf_value *arg)
{
    __asm__ volatile("outb %%al, %%dx" : : "a"(1), "d"((uint16_t)arg[0].u32));
    return mf_void();
}
MF_EXPORT(closed_port, "void closed_port(u32 port)");

static struct mf_value read_port(const struct mf_value *arg)
{
    uint32_t value;
    __asm__ volatile("inl %%dx, %%eax" : "=a"(value) : "d"((uint16_t)arg[0].u32));
    return mf_u32(value);
}
MF_EXPORT(read_port, "u32 read_port(u32 port)");

/* Other widths and the string form of the ports that are open. */
static struct mf_value odd_out(const struct mf_value *arg)
{
    static uint32_t words[64];
    const void *source = words;
    uint64_t count = 64;

    switch (arg[0].u32) {
    case 0:
        __asm__ volatile("outb %%al, $0xb0" : : "a"(0));
        break;
    case 1:
        __asm__ volatile("outw %%ax, $0xb1" : : "a"(0), "D"(0));
        break;
    case 2:
        __asm__ volatile("rep outsl" : "+S"(source), "+c"(count) : "d"(0xb2), "D"(0) : "memory");
        break;
    case 3:
        __asm__ volatile("outsb" : "+S"(source) : "d"(0xb3), "D"(0) : "memory");
        break;
    default: /* the ports of the stubs that only the supervisor may use */
        __asm__ volatile("outb %%al, %%dx" : : "a"(0), "d"((uint16_t)(arg[0].u32)));
        break;
    }
    return mf_void();
}
MF_EXPORT(odd_out, "void odd_out(u32 which)");

int main(int argc, char **argv)
{
    /* With HOSTILE=seed in the environment, the attack comes before the first READY. */
    const char *seed = getenv("HOSTILE");
    if (seed == NULL && argc > 1)
        seed = argv[1];
    if (seed != NULL) {
        state = strtoull(seed, NULL, 0);
        attack();
    }
    mf_serve();
    return 1;
}
