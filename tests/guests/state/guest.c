/*
 * A guest with a state that can be told in a few numbers (for tests that compare it with a
 * model), and one that leaves a secret in every place that it can reach, and looks for it.
 */
#include <mayfly/guest.h>

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 64
#define SLOT_BYTES 4096

static uint64_t counter;
static uint64_t restores;
static uint8_t slots[SLOTS][SLOT_BYTES] __attribute__((aligned(4096)));

static struct mf_value count(const struct mf_value *arg)
{
    (void)arg;
    return mf_u64(++counter);
}
MF_EXPORT(count, "u64 count()");

static struct mf_value store(const struct mf_value *arg)
{
    memcpy(&slots[arg[0].u64 % SLOTS][128], &arg[1].u64, 8);
    return mf_void();
}
MF_EXPORT(store, "void store(u64 slot, u64 value)");

static struct mf_value load(const struct mf_value *arg)
{
    uint64_t value;
    memcpy(&value, &slots[arg[0].u64 % SLOTS][128], 8);
    return mf_u64(value);
}
MF_EXPORT(load, "u64 load(u64 slot)");

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

/* Long, with general and SSE registers in use, and a result that depends on each step. */
static struct mf_value compute(const struct mf_value *arg)
{
    uint64_t x = arg[0].u64;
    double sum = 0;
    for (uint64_t i = 1; i <= arg[0].u64; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(x >> 40) / (double)i;
    }
    counter++;
    return mf_u64(x ^ (uint64_t)sum);
}
MF_EXPORT(compute, "u64 compute(u64 n)");

/* The same with a number in the upper halves of the AVX registers; runs on kvm only. */
static struct mf_value compute_avx(const struct mf_value *arg)
{
    uint64_t wanted[4] = {1, 2, arg[0].u64, 4}, found[4];
    __asm__ volatile("vmovdqu %1, %%ymm9\n"
                     "mov %2, %%rcx\n"
                     "1: dec %%rcx\n"
                     "jnz 1b\n"
                     "vmovdqu %%ymm9, %0\n"
                     "vzeroupper"
                     : "=m"(found)
                     : "m"(wanted), "r"(arg[0].u64)
                     : "rcx", "xmm9", "memory", "cc");
    return mf_u64(found[2]);
}
MF_EXPORT(compute_avx, "u64 compute_avx(u64 n)");

static struct mf_value cpu_time(const struct mf_value *arg)
{
    struct timespec now;
    (void)arg;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return mf_u64((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}
MF_EXPORT(cpu_time, "u64 cpu_time()");

static struct mf_value peek(const struct mf_value *arg)
{
    return mf_u64(*(const volatile uint64_t *)(uintptr_t)arg[0].u64);
}
MF_EXPORT(peek, "u64 peek(u64 address)");

/* ---- secrets ---- */

/* Which parts of XSAVE the CPU has, or 0 without XSAVE. */
static uint32_t xcr0(void)
{
    uint32_t a = 1, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (!(c & (1u << 27)))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return a;
}

static void plant_registers(const uint64_t *secret)
{
    static const uint16_t control = 0x27f;
    static const uint32_t mxcsr = 0x3f80;
    uint32_t have = xcr0();
    __asm__ volatile("movdqu %0, %%xmm5\n\t"
                     "movdqu %0, %%xmm6\n\t"
                     "movdqu %0, %%xmm11\n\t"
                     "movdqu %0, %%xmm15\n\t"
                     "movq %0, %%mm0\n\t"
                     "movq %0, %%mm3\n\t"
                     "movq %0, %%mm7\n\t"
                     :
                     : "m"(*(const uint64_t(*)[2])secret)
                     : "xmm5", "xmm6", "xmm11", "xmm15");
    __asm__ volatile("fldcw %0\n\tldmxcsr %1" : : "m"(control), "m"(mxcsr));
    if (have & 4)
        __asm__ volatile("vbroadcastsd %0, %%ymm4\n\t"
                         "vbroadcastsd %0, %%ymm12\n\t"
                         "vbroadcastsd %0, %%ymm15"
                         :
                         : "m"(*secret)
                         : "xmm4", "xmm12", "xmm15");
    if ((have & 0xe0) == 0xe0)
        __asm__ volatile("vbroadcastsd %0, %%zmm7\n\t"
                         "vbroadcastsd %0, %%zmm20\n\t"
                         "vbroadcastsd %0, %%zmm31\n\t"
                         "kmovw %1, %%k5"
                         :
                         : "m"(*secret), "r"((uint32_t)*secret)
                         : "xmm7");
}

/* Selectors that any guest may load; FS stays: thread-local data hangs from it. */
static void plant_segments(uint64_t secret)
{
    __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es\n\tmov %1, %%gs"
                     :
                     : "r"(0x23), "r"(0x1b));
    syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, secret & 0x7fffffffffff);
}

static void plant_memory(uint64_t secret)
{
    volatile uint64_t deep[2048];
    for (int i = 0; i < SLOTS; i++)
        memcpy(&slots[i][1000], &secret, 8);
    for (int i = 0; i < 2048; i++)
        deep[i] = secret;
    (void)deep;
    uint64_t *heap = sbrk(100000);
    for (int i = 0; heap != (void *)-1 && i < 12000; i++)
        heap[i] = secret;
    uint64_t *map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; map != MAP_FAILED && i < (1 << 17); i += 60)
        map[i] = secret;
    mprotect((char *)map + 8192, 8192, PROT_READ);
    munmap((char *)map + 65536, 65536);
}

/* What the host keeps for the guest. */
static void plant_host(uint64_t secret)
{
    struct sigaction action = {.sa_handler = (void (*)(int))(uintptr_t)secret};
    stack_t stack = {.ss_sp = (void *)(uintptr_t)(secret & ~15ull), .ss_size = 65536};
    sigset_t blocked;
    for (int signal = 1; signal < 64; signal++)
        sigaction(signal, &action, NULL);
    sigaltstack(&stack, NULL);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    raise(SIGUSR1);
    close(0);
    close(1);
    close(2);
}

static struct mf_value plant(const struct mf_value *arg)
{
    uint64_t secret[2] = {arg[0].u64, arg[0].u64};
    plant_memory(secret[0]);
    plant_host(secret[0]);
    plant_segments(secret[0]);
    plant_registers(secret);
    return mf_void();
}
MF_EXPORT(plant, "void plant(u64 secret)");

/*
 * All that a guest can see of the CPU beyond general registers, and of what the host keeps for
 * it. The registers come first, before anything else here can change them.
 */
struct seen {
    uint8_t image[2688] __attribute__((aligned(64))); /* XSAVE, or FXSAVE */
    uint16_t selectors[4];
    uint64_t gs_base, brk, next_map;
    uint64_t handlers[64][4];
    uint64_t mask, pending, stack[3];
    int64_t descriptors[3];
};

static struct mf_value observe(const struct mf_value *arg)
{
    static struct seen seen;
    uint32_t have = xcr0();
    (void)arg;
    memset(&seen, 0, sizeof seen);
    if (have)
        __asm__ volatile("xsave64 %0" : "+m"(seen.image) : "a"(-1), "d"(-1) : "memory");
    else
        __asm__ volatile("fxsave64 %0" : "=m"(seen.image));
    /* XMM0 to XMM4 were used on the way here, and what XSTATE_BV says is the CPU's affair. */
    memset(seen.image + 160, 0, 5 * 16);
    memset(seen.image + 512, 0, 64);
    __asm__ volatile("mov %%ds, %0\n\tmov %%es, %1\n\tmov %%fs, %2\n\tmov %%gs, %3"
                     : "=r"(seen.selectors[0]), "=r"(seen.selectors[1]), "=r"(seen.selectors[2]),
                       "=r"(seen.selectors[3]));
    syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &seen.gs_base);
    seen.brk = (uint64_t)syscall(SYS_brk, 0);
    void *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    seen.next_map = (uint64_t)(uintptr_t)map;
    munmap(map, 4096);
    for (long signal = 1; signal <= 64; signal++)
        syscall(SYS_rt_sigaction, signal, NULL, seen.handlers[signal - 1], 8);
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &seen.mask, 8);
    syscall(SYS_rt_sigpending, &seen.pending, 8);
    syscall(SYS_sigaltstack, NULL, seen.stack);
    for (int i = 0; i < 3; i++)
        seen.descriptors[i] = syscall(SYS_fcntl, i, 1 /* F_GETFD */);
    return mf_bytes_copy(&seen, sizeof seen);
}
MF_EXPORT(observe, "bytes observe()");

/* ---- lies ---- */

/* The boot page's fields that are needed here (abi/boot.h), and the mailbox. */
#define MAILBOX ((volatile uint64_t *)0x600000010000)
#define BOOT64(offset) (*(const volatile uint64_t *)(0x600000000000 + (offset)))

/* Noise over indices (the control page), or over the rings and frames too; then an answer. */
static struct mf_value lie(const struct mf_value *arg)
{
    uint64_t x = arg[0].u64, words = x % 2 ? 512 : BOOT64(56) / 8 + 1024;
    for (uint64_t i = 0; i < words; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        MAILBOX[i] = x >> (x % 64);
    }
    return mf_u64(x);
}
MF_EXPORT(lie, "u64 lie(u64 seed)");
