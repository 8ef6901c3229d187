/*
 * What the tests of pools run: a guest that hides a secret in every place it can think
 * of, and looks for it there; that keeps state, faults, loops, and writes code.
 */
#include <mayfly/guest.h>

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECRET_MAX 64
#define MAP_BYTES 8192
#define STACK_SEARCH 24576

static uint64_t counter;
static uint32_t restores;
static char hidden[SECRET_MAX];
static _Thread_local char hidden_in_tls[SECRET_MAX];
static char *hidden_in_heap, *hidden_in_map;

static void restored(void)
{
    restores++;
}
MF_ON_RESTORE(restored);

/* ---- state ---- */

static struct mf_value add(const struct mf_value *arg)
{
    counter += arg[0].u64;
    return mf_u64(counter);
}
MF_EXPORT(add, "u64 add(u64 n)");

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

static uint64_t *many;

/* Writes to the first `n` pages of a large block, and gives what the last one had before. */
static struct mf_value dirty(const struct mf_value *arg)
{
    uint64_t n = arg[0].u64, old = 0;
    if (!many)
        many = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (uint64_t i = 0; i < n && i < 256; i++) {
        old = many[i * 512 + 7];
        many[i * 512 + 7] = counter + i + 1;
    }
    return mf_u64(old);
}
MF_EXPORT(dirty, "u64 dirty(u64 pages)");

static uint64_t block[16 * 512];

/* Writes to `n` pages of its own data. */
static struct mf_value touch(const struct mf_value *arg)
{
    uint64_t n = arg[0].u64;
    for (uint64_t i = 0; i < n && i < 16; i++)
        block[i * 512 + 9] = counter + i + 1;
    return mf_u64(block[9]);
}
MF_EXPORT(touch, "u64 touch(u64 pages)");

/* ---- ends ---- */

static struct mf_value fault(const struct mf_value *arg)
{
    (void)arg;
    *(volatile int *)(uintptr_t)counter = 1;
    return mf_void();
}
MF_EXPORT(fault, "void fault()");

static struct mf_value sum(const struct mf_value *arg)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < arg[0].u64; i++) {
        total += i;
        __asm__ volatile("" : "+r"(total));
    }
    return mf_u64(total);
}
MF_EXPORT(sum, "u64 sum(u64 n)");

/* ---- code ---- */

static uint8_t *code;

/* Makes a function that gives `n`, in the place of the one before. */
static struct mf_value make_code(const struct mf_value *arg)
{
    uint32_t n = (uint32_t)arg[0].u64;
    if (!code)
        code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    else
        mprotect(code, 4096, PROT_READ | PROT_WRITE);
    code[0] = 0xb8; /* mov $n, %eax; ret */
    memcpy(code + 1, &n, sizeof n);
    code[5] = 0xc3;
    if (mprotect(code, 4096, PROT_READ | PROT_EXEC) != 0)
        return mf_error("mprotect refused");
    return mf_u64(((uint32_t(*)(void))(uintptr_t)code)());
}
MF_EXPORT(make_code, "u64 make_code(u64 n)");

static struct mf_value run_code(const struct mf_value *arg)
{
    (void)arg;
    return mf_u64(code ? ((uint32_t(*)(void))(uintptr_t)code)() : 0);
}
MF_EXPORT(run_code, "u64 run_code()");

static struct mf_value code_at(const struct mf_value *arg)
{
    (void)arg;
    return mf_u64((uintptr_t)code);
}
MF_EXPORT(code_at, "u64 code_at()");

static struct mf_value peek(const struct mf_value *arg)
{
    return mf_u64(*(volatile uint8_t *)(uintptr_t)arg[0].u64);
}
MF_EXPORT(peek, "u64 peek(u64 address)");

/* ---- secrets ---- */

static bool has_avx(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_AVX) || !(c & bit_OSXSAVE))
        return false;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (a & 6) == 6;
}

static void hide_in_registers(uint64_t x)
{
    uint64_t four[4] = {x, x, x, x};
    __asm__ volatile("movq %0, %%xmm13\n\tmovddup %%xmm13, %%xmm13" : : "r"(x) : "xmm13");
    if (has_avx())
        __asm__ volatile("vmovdqu %0, %%ymm14" : : "m"(four) : "xmm14");
}

static bool in_sse(uint64_t x)
{
    uint64_t got[2];
    __asm__ volatile("movdqu %%xmm13, %0" : "=m"(got));
    return got[0] == x || got[1] == x;
}

static bool in_avx(uint64_t x)
{
    uint64_t got[4] = {0};
    if (has_avx())
        __asm__ volatile("vmovdqu %%ymm14, %0" : "=m"(got));
    return got[3] == x;
}

static __attribute__((noinline)) void hide_on_stack(const char *secret, size_t len)
{
    char deep[8192];
    memset(deep, 0, sizeof deep);
    memcpy(deep + 100, secret, len);
    __asm__ volatile("" : : "r"(deep) : "memory");
}

static void handler(int number)
{
    (void)number;
}

static uint64_t brk_now(void)
{
    return (uint64_t)syscall(SYS_brk, 0);
}

/* The registers hold the first eight bytes of the secret. */
static uint64_t first_word(const char *secret)
{
    uint64_t x;
    memcpy(&x, secret, sizeof x);
    return x;
}

static struct mf_value hide(const struct mf_value *arg)
{
    const char *secret = arg[0].string.data;
    size_t len = arg[0].string.len;
    if (len < 8 || len >= SECRET_MAX)
        return mf_error("a secret of 8 to 63 bytes");
    memcpy(hidden, secret, len);
    memcpy(hidden_in_tls, secret, len);
    hidden_in_heap = malloc(4096);
    memcpy(hidden_in_heap + 1000, secret, len);
    hidden_in_map =
        mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(hidden_in_map + 5000, secret, len);
    syscall(SYS_brk, brk_now() + 65536);
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    close(0);
    hide_on_stack(secret, len);
    hide_in_registers(first_word(secret));
    return mf_void();
}
MF_EXPORT(hide, "void hide(string secret)");

static bool search(const volatile char *at, size_t bytes, const char *masked, size_t len)
{
    for (size_t i = 0; i + len <= bytes; i++) {
        size_t j = 0;
        while (j < len && (at[i + j] ^ 0x55) == masked[j])
            j++;
        if (j == len)
            return true;
    }
    return false;
}

static void report(char *text, bool found, const char *place)
{
    if (found) {
        strcat(text, place);
        strcat(text, " ");
    }
}

static bool signals_changed(void)
{
    struct sigaction action;
    sigset_t set;
    sigaction(SIGUSR1, NULL, &action);
    sigprocmask(SIG_BLOCK, NULL, &set);
    return action.sa_handler != SIG_DFL || sigismember(&set, SIGUSR2);
}

extern char _end[];

/*
 * Where the secret is; it comes masked, so that looking for it hides it nowhere. `brk` and
 * `map` are what they were when nothing was hidden.
 */
static struct mf_value find(const struct mf_value *arg)
{
    static char text[256];
    char word[8];
    for (int i = 0; i < 8; i++)
        word[i] = arg[0].string.data[i] ^ 0x55;
    uint64_t first = first_word(word);
    bool sse = in_sse(first), avx = in_avx(first);
    memset(word, 0, sizeof word);

    const char *masked = arg[0].string.data;
    size_t len = arg[0].string.len;
    const char *low = (const char *)((uintptr_t)hidden & ~4095ul);
    text[0] = 0;
    report(text, brk_now() != arg[1].u64, "brk");
    report(text, sse, "sse");
    report(text, avx, "avx");
    report(text, search(low, (size_t)(_end - low), masked, len), "data");
    report(text, search(hidden_in_tls, SECRET_MAX, masked, len), "tls");
    char *heap = malloc(4096);
    report(text, search(hidden_in_heap ? hidden_in_heap : heap, 4096, masked, len), "heap");
    free(heap);
    const char *top;
    __asm__("mov %%rsp, %0" : "=r"(top));
    report(text, search(top - STACK_SEARCH, STACK_SEARCH - 512, masked, len), "stack");
    char *map = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    report(text, (uintptr_t)map != arg[2].u64, "place");
    report(text, search(hidden_in_map ? hidden_in_map : map, MAP_BYTES, masked, len), "map");
    report(text, fcntl(0, F_GETFD) < 0 && errno == EBADF, "descriptor");
    report(text, signals_changed(), "signal");
    munmap(map, MAP_BYTES);
    return mf_string(text);
}
MF_EXPORT(find, "string find(string masked, u64 brk, u64 place)");

static struct mf_value brk_at(const struct mf_value *arg)
{
    (void)arg;
    return mf_u64(brk_now());
}
MF_EXPORT(brk_at, "u64 brk_at()");

/* Where the next mapping comes to lie, after what looking for secrets does first. */
static struct mf_value place_at(const struct mf_value *arg)
{
    (void)arg;
    free(malloc(4096));
    void *map = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(map, MAP_BYTES);
    return mf_u64((uintptr_t)map);
}
MF_EXPORT(place_at, "u64 place_at()");
