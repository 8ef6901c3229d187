/*
 * The program of the tests of `mayfly run`: no SDK, an ordinary main. The first
 * argument says what to do.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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
    if (strcmp(what, "socket") == 0)
        return socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == ENOSYS ? 0 : 1;
    return 64;
}
