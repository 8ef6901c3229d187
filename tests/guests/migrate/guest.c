/*
 * The guest of tests/integration/test_migrate.c: computations that check themselves while
 * they are moved, and what else may go on when a guest is stopped.
 */
#include <mayfly/guest.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

MF_IMPORT(host_visit, "u64 visit(u64 n)");

#define PAGE 4096

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* A chain of hashes that goes through `npages` pages of memory in a wild order. */
static uint64_t run_chain(uint64_t seed, uint64_t rounds, uint64_t npages)
{
    uint64_t *memory = calloc(npages, PAGE);
    uint64_t words = npages * PAGE / sizeof *memory, x = seed;
    double y = 1.0;
    if (!memory)
        return 0;
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t at = x % words;
        memory[at] += x;
        x = mix(x + memory[at]);
        y = y * 0.999999 + (double)(x & 0xff);
    }
    for (uint64_t i = 0; i < words; i++)
        x = mix(x ^ memory[i]);
    free(memory);
    return x ^ (uint64_t)y;
}

static struct mf_value chain(const struct mf_value *arg)
{
    return mf_u64(run_chain(arg[0].u64, arg[1].u64, arg[2].u64));
}
MF_EXPORT(chain, "u64 chain(u64 seed, u64 rounds, u64 npages)");

/* Fills memory and keeps it, for later calls. */
static uint8_t *kept;
static uint64_t kept_bytes;

static void fill(void)
{
    for (uint64_t i = 0; i < kept_bytes; i += 8) {
        uint64_t value = mix(i);
        memcpy(kept + i, &value, sizeof value);
    }
}

static struct mf_value keep(const struct mf_value *arg)
{
    kept = malloc(arg[0].u64);
    kept_bytes = kept ? arg[0].u64 : 0;
    fill();
    return mf_bool(kept != NULL);
}
MF_EXPORT(keep, "bool keep(u64 bytes)");

/* How many words of it are wrong. */
static struct mf_value check(const struct mf_value *arg)
{
    uint64_t wrong = 0;
    (void)arg;
    for (uint64_t i = 0; i < kept_bytes; i += 8) {
        uint64_t value;
        memcpy(&value, kept + i, sizeof value);
        wrong += value != mix(i);
    }
    return mf_u64(wrong);
}
MF_EXPORT(check, "u64 check()");

/* Fills it anew and writes to each of its pages, again and again, `rounds` times. */
static struct mf_value dirty(const struct mf_value *arg)
{
    uint64_t sum = 0;
    fill();
    for (uint64_t round = 0; round < arg[0].u64; round++)
        for (uint64_t i = 0; i + PAGE <= kept_bytes; i += PAGE) {
            uint64_t value;
            memcpy(&value, kept + i, sizeof value);
            sum = mix(sum + value);
            memcpy(kept + i, &sum, sizeof sum);
        }
    return mf_u64(sum);
}
MF_EXPORT(dirty, "u64 dirty(u64 rounds)");

/* Calls of the host, which calls `chain` again. */
static struct mf_value visit(const struct mf_value *arg)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < arg[0].u64; i++)
        sum = mix(sum + mf_call(host_visit, mf_u64(i)).u64);
    return mf_u64(sum);
}
MF_EXPORT(visit, "u64 visit(u64 n)");

/* Sleeps, and says for how long by its own clock, in ms. */
static struct mf_value nap(const struct mf_value *arg)
{
    struct timespec begin, end, time = {(time_t)(arg[0].u64 / 1000),
                                        (long)(arg[0].u64 % 1000) * 1000000};
    clock_gettime(CLOCK_MONOTONIC, &begin);
    nanosleep(&time, NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    int64_t ns = (end.tv_sec - begin.tv_sec) * INT64_C(1000000000) + end.tv_nsec - begin.tv_nsec;
    return mf_u64(ns < 0 ? UINT64_MAX : (uint64_t)ns / 1000000);
}
MF_EXPORT(nap, "u64 nap(u64 ms)");

/* As a program: what it reads comes out again, and numbers in between. */
int main(int argc, char **argv)
{
    char line[256];
    if (argc < 2)
        return mf_serve();
    uint64_t rounds = strtoull(argv[1], NULL, 10);
    printf("%016llx\n", (unsigned long long)run_chain(1, rounds, 64));
    while (fgets(line, sizeof line, stdin))
        printf("read %s", line);
    return 7;
}
