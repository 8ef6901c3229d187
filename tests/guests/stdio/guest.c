/* Standard input and outputs through a C library. */
#include <mayfly/guest.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int count_input(void)
{
    unsigned long lines = 0, bytes = 0, sum = 0;
    int c;
    while ((c = getchar()) != EOF) {
        bytes++;
        lines += c == '\n';
        sum = sum * 31 + (unsigned)c;
    }
    printf("%lu lines %lu bytes %lx\n", lines, bytes, sum);
    return 0;
}

static int reverse_lines(void)
{
    char line[256];
    while (fgets(line, sizeof line, stdin) != NULL) {
        size_t len = strcspn(line, "\n");
        for (size_t i = len; i > 0; i--)
            putchar(line[i - 1]);
        putchar('\n');
    }
    return 0;
}

static int both_outputs(void)
{
    struct iovec parts[2] = {{(void *)"vector ", 7}, {(void *)"write\n", 6}};

    printf("%5.2f|%-6s|%08x|%+d\n", 3.14159, "left", 0xbeef, 42);
    fflush(stdout);
    fprintf(stderr, "on the error output\n");
    if (writev(1, parts, 2) != 13)
        return 1;
    return write(5, "x", 1) == -1 && errno == EBADF ? 0 : 2;
}

static int closed_output(void)
{
    close(1);
    return write(1, "x", 1) == -1 && errno == EBADF ? 0 : 1;
}

/* What an exported function prints comes out although nothing exits. */
static struct mf_value talk(const struct mf_value *arg)
{
    (void)arg;
    printf("said without a flush\n");
    return mf_void();
}
MF_EXPORT(talk, "void talk()");

int main(int argc, char **argv)
{
    mf_serve();
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "count") == 0)
        return count_input();
    if (strcmp(what, "reverse") == 0)
        return reverse_lines();
    if (strcmp(what, "both") == 0)
        return both_outputs();
    if (strcmp(what, "closed") == 0)
        return closed_output();
    return 3;
}
