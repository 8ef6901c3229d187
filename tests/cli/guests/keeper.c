/*
 * The guest of the tests of `mayfly snapshot`: it remembers what it was told, and can be
 * stopped in the middle of a call.
 */
#include <mayfly/guest.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint32_t calls;
static char kept[200] = "nothing";

static struct mf_value count(const struct mf_value *arg)
{
    (void)arg;
    return mf_u32(++calls);
}
MF_EXPORT(count, "u32 count()");

static struct mf_value keep(const struct mf_value *arg)
{
    calls++;
    snprintf(kept, sizeof kept, "%s", arg[0].string.data);
    return mf_void();
}
MF_EXPORT(keep, "void keep(string text)");

static struct mf_value recall(const struct mf_value *arg)
{
    (void)arg;
    return mf_string(kept);
}
MF_EXPORT(recall, "string recall()");

/* Touches that many pages with contents that do not compress. */
static struct mf_value fill(const struct mf_value *arg)
{
    size_t words = (size_t)arg[0].u32 * 4096 / sizeof(uint64_t);
    uint64_t *memory = malloc(words * sizeof *memory), x = 88172645463325252;

    for (size_t i = 0; memory != NULL && i < words; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memory[i] = x;
    }
    return mf_bool(memory != NULL);
}
MF_EXPORT(fill, "bool fill(u32 pages)");

/* Says what it does, sleeps in steps, and answers with their number. */
static struct mf_value nap(const struct mf_value *arg)
{
    uint32_t steps = 0;

    for (; steps < arg[0].u32 / 10; steps++) {
        struct timespec step = {.tv_nsec = 10000000};
        nanosleep(&step, NULL);
    }
    calls++;
    return mf_u32(steps);
}
MF_EXPORT(nap, "u32 nap(u32 ms)");
