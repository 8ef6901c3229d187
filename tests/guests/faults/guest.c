/* Everything that a processor refuses, each in a function of its own name. */
#include <mayfly/guest.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

/* The compiler cannot know what these are. */
static volatile uintptr_t zero;
static volatile int depth;
static const char constant[64] = "constant";
static char data[64] __attribute__((aligned(64)));

NOINLINE static int null_read(void)
{
    return *(volatile int *)zero;
}

NOINLINE static int null_write(void)
{
    *(volatile int *)(zero + 8) = 1;
    return 0;
}

NOINLINE static int null_call(void)
{
    ((void (*)(void))zero)();
    return 0;
}

NOINLINE static int recurse(int n)
{
    volatile char frame[200];
    frame[0] = (char)n;
    depth = n;
    return zero == 0 ? recurse(n + 1) + frame[0] : n;
}

NOINLINE static int recursion(void)
{
    return recurse(0);
}

/* One frame that is larger than the stack. */
NOINLINE static int large_frame(void)
{
    volatile char frame[3 << 20];
    frame[zero] = 1;
    return frame[zero];
}

/* A push right below the lowest page. */
NOINLINE static int stack_pushes(void)
{
    __asm__ volatile("1: push %%rax\n\tjmp 1b" : : : "memory");
    return 0;
}

NOINLINE static int divide(void)
{
    volatile int number = 1000;
    return number / (int)zero;
}

NOINLINE static int divide_overflow(void)
{
    volatile int64_t least = INT64_MIN;
    return (int)(least / ((int64_t)zero - 1));
}

NOINLINE static int invalid(void)
{
    __asm__ volatile("ud2");
    return 0;
}

NOINLINE static int privileged(void)
{
    __asm__ volatile("hlt");
    return 0;
}

NOINLINE static int privileged_cli(void)
{
    __asm__ volatile("cli");
    return 0;
}

NOINLINE static int privileged_cr3(void)
{
    uint64_t value = 0;
    __asm__ volatile("mov %%cr3, %0" : "=r"(value));
    return (int)value;
}

NOINLINE static int privileged_msr(void)
{
    __asm__ volatile("wrmsr" : : "c"(0xc0000082), "a"(0), "d"(0));
    return 0;
}

NOINLINE static int write_code(void)
{
    *(volatile char *)(uintptr_t)&write_code = 0;
    return 0;
}

NOINLINE static int write_constant(void)
{
    *(volatile char *)(uintptr_t)constant = 0;
    return 0;
}

NOINLINE static int jump_data(void)
{
    data[0] = (char)0xc3;
    ((void (*)(void))(uintptr_t)data)();
    return 0;
}

NOINLINE static int jump_stack(void)
{
    volatile char code[16] = {(char)0xc3};
    ((void (*)(void))(uintptr_t)code)();
    return code[0];
}

NOINLINE static int jump_nowhere(void)
{
    ((void (*)(void))(zero + 0x123456789000))();
    return 0;
}

NOINLINE static int jump_noncanonical(void)
{
    __asm__ volatile("jmp *%0" : : "r"(zero + 0x8000000000000000u));
    return 0;
}

NOINLINE static int unaligned_sse(void)
{
    __asm__ volatile("movaps (%0), %%xmm0" : : "r"(data + 1) : "xmm0");
    return 0;
}

NOINLINE static int breakpoint(void)
{
    __asm__ volatile("int3");
    return 0;
}

NOINLINE static int software_interrupt(void)
{
    __asm__ volatile("int $0x80" : : "a"(1), "b"(0));
    return 0;
}

NOINLINE static int bad_read(void)
{
    return *(volatile int *)(zero + 0x123456789000);
}

NOINLINE static int bad_write(void)
{
    *(volatile int *)(zero + 0x123456789000) = 1;
    return 0;
}

NOINLINE static int read_noncanonical(void)
{
    return *(volatile int *)(zero + 0x8000000000000000u);
}

NOINLINE static int read_kernel(void)
{
    return *(volatile int *)(zero + 0xffff800000001000u);
}

NOINLINE static int write_kernel(void)
{
    *(volatile int *)(zero + 0xffff800000001000u) = 0;
    return 0;
}

NOINLINE static int write_boot(void)
{
    *(volatile int *)(zero + 0x600000000000u) = 1;
    return 0;
}

NOINLINE static int single_step(void)
{
    __asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tnop" : : : "memory", "cc");
    return 0;
}

NOINLINE static int floating_point(void)
{
    unsigned mxcsr = 0x1d00; /* division by zero is not masked */
    double d = 1;
    __asm__ volatile("ldmxcsr %1\n\tdivsd %2, %0" : "+x"(d) : "m"(mxcsr), "x"((double)zero));
    return (int)d;
}

static const struct {
    const char *name;
    int (*run)(void);
} faults[] = {
#define FAULT(name) {#name, name}
    FAULT(null_read), FAULT(null_write), FAULT(null_call), FAULT(recursion), FAULT(large_frame),
    FAULT(stack_pushes), FAULT(divide), FAULT(divide_overflow), FAULT(invalid), FAULT(privileged),
    FAULT(privileged_cli), FAULT(privileged_cr3), FAULT(privileged_msr), FAULT(write_code),
    FAULT(write_constant), FAULT(jump_data), FAULT(jump_stack), FAULT(jump_nowhere),
    FAULT(jump_noncanonical), FAULT(unaligned_sse), FAULT(breakpoint), FAULT(software_interrupt),
    FAULT(bad_read), FAULT(bad_write), FAULT(read_noncanonical), FAULT(read_kernel),
    FAULT(write_kernel), FAULT(write_boot), FAULT(single_step), FAULT(floating_point),
#undef FAULT
};

static int run_fault(const char *name)
{
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (strcmp(name, faults[i].name) == 0)
            return faults[i].run();
    return 77;
}

static struct mf_value fault(const struct mf_value *arg)
{
    return mf_i32(run_fault(arg[0].string.data));
}
MF_EXPORT(fault, "i32 fault(string name)");

int main(int argc, char **argv)
{
    mf_serve();
    return argc > 1 ? run_fault(argv[1]) : 78;
}
