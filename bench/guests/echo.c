/*
 * The guest of the figures: functions that do next to nothing, so that what is
 * measured is the way there and back.
 */
#include <mayfly/guest.h>

#include <stdlib.h>
#include <string.h>

MF_IMPORT(tick, "u64 tick(u64 n)");
MF_IMPORT(again, "string again(string text)");

static struct mf_value echo(const struct mf_value *arg)
{
    return arg[0];
}
MF_EXPORT(echo, "string echo(string text)");

static struct mf_value echo_bytes(const struct mf_value *arg)
{
    return arg[0];
}
MF_EXPORT(echo_bytes, "bytes echo_bytes(bytes data)");

/* Reads every byte of the argument and writes every byte of a result of its own. */
static struct mf_value copy_bytes(const struct mf_value *arg)
{
    size_t len = arg[0].bytes.len;
    void *copy = malloc(len);

    if (copy == NULL)
        return mf_error("no memory for a copy");
    memcpy(copy, arg[0].bytes.data, len);
    return mf_bytes_owned(copy, len, free);
}
MF_EXPORT(copy_bytes, "bytes copy_bytes(bytes data)");

/* With one host function inside. */
static struct mf_value echo_tick(const struct mf_value *arg)
{
    struct mf_value answer = mf_call(tick, mf_u64(1));

    return answer.failed ? answer : arg[0];
}
MF_EXPORT(echo_tick, "string echo_tick(string text)");

/* The host function `again` calls echo of this guest. */
static struct mf_value relay(const struct mf_value *arg)
{
    return mf_call(again, arg[0]);
}
MF_EXPORT(relay, "string relay(string text)");

/* Pages that are there before the first `touch` of a snapshot, and differ after each. */
#define TOUCH_PAGES 256
#define PAGE_WORDS  512
static uint64_t pages[TOUCH_PAGES][PAGE_WORDS] __attribute__((aligned(4096)));
static uint64_t turn;

/* The compiler is to believe that somebody reads what was written. */
#define WRITTEN(memory) __asm__ volatile("" : : "r"(memory) : "memory")

/* Writes into each of the first `count` pages. */
static struct mf_value touch(const struct mf_value *arg)
{
    size_t i;

    if (arg[0].u64 > TOUCH_PAGES)
        return mf_error("at most 256 pages");
    turn++;
    for (i = 0; i < arg[0].u64; i++)
        pages[i][i % PAGE_WORDS] = turn + i;
    WRITTEN(pages);
    return arg[0];
}
MF_EXPORT(touch, "u64 touch(u64 count)");

/* Makes the first two pages something that nothing else holds, and no page before held. */
static struct mf_value stain(const struct mf_value *arg)
{
    uint64_t number = arg[0].u64 * UINT64_C(0x9e3779b97f4a7c15) + 1;
    size_t i;

    for (i = 0; i < (size_t)2 * PAGE_WORDS; i++) {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        pages[i / PAGE_WORDS][i % PAGE_WORDS] = number;
    }
    WRITTEN(pages);
    return arg[0];
}
MF_EXPORT(stain, "u64 stain(u64 seed)");

/* Takes `count` pages more for ever, of which no two are alike. */
static struct mf_value fill(const struct mf_value *arg)
{
    uint64_t *memory = malloc(arg[0].u64 * sizeof(pages[0]));
    size_t i;

    if (memory == NULL)
        return mf_error("no memory for so many pages");
    for (i = 0; i < arg[0].u64; i++)
        memory[i * PAGE_WORDS] = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    WRITTEN(memory);
    return arg[0];
}
MF_EXPORT(fill, "u64 fill(u64 count)");

/* Computes, and writes to the first pages by turns, `turns` times. */
static struct mf_value work(const struct mf_value *arg)
{
    uint64_t number = 1, i;

    for (i = 0; i < arg[0].u64; i++) {
        number = number * UINT64_C(0x9e3779b97f4a7c15) + i;
        pages[i / PAGE_WORDS % TOUCH_PAGES][i % PAGE_WORDS] = number;
    }
    WRITTEN(pages);
    return arg[0];
}
MF_EXPORT(work, "u64 work(u64 turns)");

/* Says that it runs, then loops for ever; `n` keeps the compiler from knowing that. */
static struct mf_value spin(const struct mf_value *arg)
{
    volatile uint64_t turns = arg[0].u64;
    struct mf_value answer = mf_call(tick, mf_u64(turns));

    if (answer.failed)
        return answer;
    for (;;)
        turns++;
}
MF_EXPORT(spin, "u64 spin(u64 n)");
