/* The calls that map memory, whose effects the processor must notice. */
#define _GNU_SOURCE
#include <mayfly/guest.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define RW (PROT_READ | PROT_WRITE)

static volatile unsigned char *map(size_t pages, int prot)
{
    void *p = mmap(NULL, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        printf("mmap failed: %s\n", strerror(errno));
        _exit(9);
    }
    return p;
}

static void say(const char *text)
{
    puts(text);
    fflush(stdout);
}

static int zeroed(void)
{
    volatile unsigned char *p = map(64, RW);
    for (size_t i = 0; i < 64 * PAGE; i += 64)
        if (p[i] != 0)
            return 1;
    memset((void *)p, 0xaa, 64 * PAGE);
    munmap((void *)p, 64 * PAGE);
    /* The same pages most likely, and zero again. */
    p = map(64, RW);
    for (size_t i = 0; i < 64 * PAGE; i += 64)
        if (p[i] != 0)
            return 2;
    say("zero");
    return 0;
}

static int use_after_unmap(void)
{
    volatile unsigned char *p = map(4, RW);
    p[PAGE] = 1;
    munmap((void *)(p + PAGE), PAGE);
    p[0] = p[2 * PAGE] = 2;
    say("unmapped");
    return p[PAGE];
}

static int write_to_read_only(void)
{
    volatile unsigned char *p = map(2, RW);
    p[0] = 7;
    mprotect((void *)p, PAGE, PROT_READ);
    p[PAGE] = 1;
    if (p[0] != 7)
        return 1;
    say("protected");
    p[0] = 8;
    return 0;
}

static int back_to_writable(void)
{
    volatile unsigned char *p = map(2, RW);
    p[0] = 7;
    mprotect((void *)p, 2 * PAGE, PROT_READ);
    mprotect((void *)p, PAGE, RW);
    p[0]++;
    mprotect((void *)p, PAGE, PROT_NONE);
    mprotect((void *)p, PAGE, RW);
    printf("%d\n", p[0]);
    return 0;
}

static int guard_page(void)
{
    volatile unsigned char *p = map(3, PROT_NONE);
    mprotect((void *)(p + PAGE), PAGE, RW);
    memset((void *)(p + PAGE), 1, PAGE);
    say("guarded");
    return p[2 * PAGE];
}

static int no_code_in_data(void)
{
    unsigned char *p = (unsigned char *)map(1, RW);
    p[0] = 0xc3;
    say("data");
    ((void (*)(void))(uintptr_t)p)();
    return 0;
}

static int no_write_and_execute(void)
{
    void *p = mmap(NULL, PAGE, RW | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *q = (unsigned char *)map(1, RW);
    int refused = mprotect(q, PAGE, RW | PROT_EXEC);
    printf("%d %d\n", p == MAP_FAILED, refused);
    return 0;
}

/* Write code, then make it executable: allowed, one after the other. */
static int made_executable(void)
{
    unsigned char *p = (unsigned char *)map(1, RW);
    memcpy(p, "\xb8\x2a\x00\x00\x00\xc3", 6); /* mov $42, %eax; ret */
    if (mprotect(p, PAGE, PROT_READ | PROT_EXEC) != 0)
        return 1;
    printf("%d\n", ((int (*)(void))(uintptr_t)p)());
    fflush(stdout);
    *(volatile unsigned char *)p = 0;
    return 0;
}

static int remapped(void)
{
    unsigned char *p = (unsigned char *)map(4, RW);
    for (int i = 0; i < 4 * PAGE; i++)
        p[i] = (unsigned char)(i * 7);
    p = mremap(p, 4 * PAGE, 100 * PAGE, MREMAP_MAYMOVE);
    if (p == MAP_FAILED)
        return 1;
    for (int i = 0; i < 100 * PAGE; i++)
        if (p[i] != (i < 4 * PAGE ? (unsigned char)(i * 7) : 0))
            return 2;
    p[99 * PAGE] = 1;
    p = mremap(p, 100 * PAGE, PAGE, 0);
    if (p == MAP_FAILED || p[PAGE - 1] != (unsigned char)((PAGE - 1) * 7))
        return 3;
    say("kept");
    return ((volatile unsigned char *)p)[2 * PAGE];
}

static int broken(void)
{
    volatile unsigned char *old = sbrk(0);
    if (sbrk(10 * PAGE) == (void *)-1)
        return 1;
    memset((void *)old, 5, 10 * PAGE);
    if (old[10 * PAGE - 1] != 5)
        return 2;
    sbrk(-9 * PAGE);
    if (old[0] != 5)
        return 3;
    say("shrunk");
    return old[5 * PAGE];
}

static int discarded(void)
{
    volatile unsigned char *p = map(2, RW);
    p[0] = p[PAGE] = 9;
    if (madvise((void *)p, PAGE, MADV_DONTNEED) != 0)
        return 1;
    printf("%d %d\n", p[0], p[PAGE]);
    return 0;
}

static int not_for_guests(void)
{
    void *boot = (void *)0x600000000000, *mailbox = (void *)0x600000010000;
    int a = munmap(mailbox, PAGE), b = mprotect(boot, PAGE, RW);
    void *c = mmap(mailbox, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    void *d = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    void *e = mmap((void *)0xffff800000000000, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                   -1, 0);
    printf("%d %d %d %d %d\n", a, b, c == MAP_FAILED, d == MAP_FAILED, e == MAP_FAILED);
    return 0;
}

static int many(void)
{
    unsigned made = 0;
    for (int i = 0; i < 3000; i++) {
        void *p = mmap(NULL, PAGE, i % 2 ? RW : PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            break;
        made++;
    }
    printf("%d\n", made > 1000);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(void);
} tests[] = {
    {"zeroed", zeroed},
    {"use_after_unmap", use_after_unmap},
    {"write_to_read_only", write_to_read_only},
    {"back_to_writable", back_to_writable},
    {"guard_page", guard_page},
    {"no_code_in_data", no_code_in_data},
    {"no_write_and_execute", no_write_and_execute},
    {"made_executable", made_executable},
    {"remapped", remapped},
    {"broken", broken},
    {"discarded", discarded},
    {"not_for_guests", not_for_guests},
    {"many", many},
};

static int run_named(const char *name)
{
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        if (strcmp(name, tests[i].name) == 0)
            return tests[i].run();
    return 99;
}

/* In a call, where there is a mailbox to attack. */
static struct mf_value called(const struct mf_value *arg)
{
    return mf_i32(run_named(arg[0].string.data));
}
MF_EXPORT(called, "i32 called(string name)");

int main(int argc, char **argv)
{
    mf_serve();
    return argc > 1 ? run_named(argv[1]) : 98;
}
