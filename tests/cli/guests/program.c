/*
 * The program of the tests of `mayfly run`: no SDK, an ordinary main. The first
 * argument says what to do.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* Never changed, but the compiler cannot know. */
static volatile int forever = 1;

static int print_list(char **list)
{
    for (; *list != NULL; list++)
        puts(*list);
    return 0;
}

static int copy_input(void)
{
    char buf[1000];
    ssize_t n;

    while ((n = read(0, buf, sizeof buf)) > 0) {
        for (ssize_t done = 0; done < n;) {
            ssize_t m = write(1, buf + done, (size_t)(n - done));
            if (m < 0)
                return 1;
            done += m;
        }
    }
    return n == 0 ? 0 : 1;
}

static int flood(void)
{
    static char block[4096];

    memset(block, 'y', sizeof block);
    while (write(1, block, sizeof block) > 0)
        ;
    return 3;
}

/* Not inlined, so that the fault names it. */
__attribute__((noinline)) static int crash(void)
{
    volatile int *nowhere = NULL;

    return *nowhere;
}

static int spin(void)
{
    puts("spinning");
    fflush(stdout);
    while (forever)
        ;
    return 3;
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Writes to that many MiB again and again, for so long; checks what it wrote; 5: all is well. */
static int churn(size_t mib, uint64_t ms)
{
    size_t npages = mib << 8;
    volatile uint64_t *memory = calloc(npages, 4096);
    uint64_t end = now_ms() + ms, pass = 0;

    if (memory == NULL)
        return 4;
    for (; now_ms() < end; pass++) {
        for (size_t page = 0; page < npages; page++) {
            if (memory[page * 512] != pass * (page + 1))
                return 3;
            memory[page * 512] += page + 1;
        }
        if (pass == 0) {
            puts("churning");
            fflush(stdout);
        }
    }
    puts("churned");
    fputs("well\n", stderr);
    return 5;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";

    if (strcmp(what, "exit") == 0)
        return atoi(argv[2]);
    if (strcmp(what, "args") == 0)
        return print_list(argv);
    if (strcmp(what, "env") == 0)
        return print_list(environ);
    if (strcmp(what, "cat") == 0)
        return copy_input();
    if (strcmp(what, "tty") == 0)
        return printf("%d%d%d\n", isatty(0), isatty(1), isatty(2)) < 0;
    if (strcmp(what, "stderr") == 0)
        return fputs("to stderr\n", stderr) < 0;
    if (strcmp(what, "flood") == 0)
        return flood();
    if (strcmp(what, "crash") == 0)
        return crash();
    if (strcmp(what, "abort") == 0)
        abort();
    if (strcmp(what, "spin") == 0)
        return spin();
    if (strcmp(what, "churn") == 0 && argc > 3)
        return churn((size_t)atol(argv[2]), (uint64_t)atol(argv[3]));
    if (strcmp(what, "socket") == 0)
        return socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == ENOSYS ? 0 : 1;
    return 64;
}
