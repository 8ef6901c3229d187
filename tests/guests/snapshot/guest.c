/*
 * The guest of the snapshot tests: leaves traces of what it did wherever a guest can, and
 * computes something long whose result an interruption must not change.
 */
#include <mayfly/guest.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static uint64_t counter;
static uint64_t restores;
static _Thread_local uint64_t thread_secret;
static uint64_t data_secret = 1;
static uint64_t **heap;

static struct mf_value count(const struct mf_value *arg)
{
    (void)arg;
    return mf_u64(++counter);
}
MF_EXPORT(count, "u64 count()");

static void restored(void)
{
    restores++;
}
MF_ON_RESTORE(restored);

static struct mf_value count_restores(const struct mf_value *arg)
{
    (void)arg;
    return mf_u64(restores);
}
MF_EXPORT(count_restores, "u64 restores()");

static struct mf_value generation(const struct mf_value *arg)
{
    (void)arg;
    return mf_u64(mf_generation());
}
MF_EXPORT(generation, "u64 generation()");

static struct mf_value entropy(const struct mf_value *arg)
{
    uint8_t bytes[32];
    (void)arg;
    mf_entropy(bytes);
    return mf_bytes_copy(bytes, sizeof bytes);
}
MF_EXPORT(entropy, "bytes entropy()");

static struct mf_value echo(const struct mf_value *arg)
{
    return arg[0];
}
MF_EXPORT(echo, "string echo(string text)");

/* Writes to `n` pages. */
static struct mf_value dirty(const struct mf_value *arg)
{
    static uint8_t *pages;
    uint64_t n = arg[0].u64;
    if (!pages)
        pages = aligned_alloc(4096, 4096 * 4096);
    for (uint64_t i = 0; i < n && i < 4096; i++)
        pages[i * 4096 + 8]++;
    return mf_u64(pages[8]);
}
MF_EXPORT(dirty, "u64 dirty(u64 pages)");

/* The secret in data, thread data, heap, stack, mappings, registers and what the host keeps. */
static struct mf_value plant(const struct mf_value *arg)
{
    uint64_t secret = arg[0].u64;
    volatile uint64_t deep[4096];
    struct sigaction action = {.sa_handler = (void (*)(int))(uintptr_t)(secret & 0xffffff)};
    data_secret = thread_secret = secret;
    heap = realloc(heap, 64 * sizeof *heap);
    for (int i = 0; heap && i < 64; i++) {
        heap[i] = malloc(5000);
        for (int k = 0; heap[i] && k < 5000 / 8; k++)
            heap[i][k] = secret;
    }
    for (int i = 0; i < 4096; i++)
        deep[i] = secret;
    uint64_t *mapped =
        mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; mapped != MAP_FAILED && i < (1 << 17); i += 100)
        mapped[i] = secret;
    munmap((char *)mapped + 8192, 65536);
    mprotect((char *)mapped + 4096, 4096, PROT_READ);
    sigaction(SIGUSR1, &action, NULL);
    close(2);
    __asm__ volatile("movq %0, %%xmm13\n\tmovq %0, %%mm3" : : "r"(secret));
    return mf_u64(deep[17]);
}
MF_EXPORT(plant, "u64 plant(u64 secret)");

static struct mf_value registers(const struct mf_value *arg)
{
    uint64_t xmm, mm;
    (void)arg;
    __asm__ volatile("movq %%xmm13, %0\n\tmovq %%mm3, %1\n\temms" : "=r"(xmm), "=r"(mm));
    return mf_u64(xmm ^ mm);
}
MF_EXPORT(registers, "u64 registers()");

static uint64_t collatz(uint64_t n)
{
    uint64_t total = 0;
    double sum = 0;
    for (uint64_t i = 1; i <= n; i++) {
        uint64_t k = i;
        while (k != 1) {
            k = k & 1 ? 3 * k + 1 : k / 2;
            total++;
        }
        sum += 1.0 / (double)i;
    }
    return total + (uint64_t)(sum * 1e9);
}

static struct mf_value compute(const struct mf_value *arg)
{
    return mf_u64(collatz(arg[0].u64));
}
MF_EXPORT(compute, "u64 compute(u64 n)");

static struct mf_value nap(const struct mf_value *arg)
{
    struct timespec time = {.tv_sec = (time_t)(arg[0].u64 / 1000),
                            .tv_nsec = (long)(arg[0].u64 % 1000 * 1000000)};
    nanosleep(&time, NULL);
    return mf_u64(++counter);
}
MF_EXPORT(nap, "u64 nap(u64 ms)");

static struct mf_value crash(const struct mf_value *arg)
{
    volatile int *volatile nowhere = NULL;
    (void)arg;
    *nowhere = 1;
    return mf_void();
}
MF_EXPORT(crash, "void crash()");
