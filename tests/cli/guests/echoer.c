/*
 * A program that answers each line of its input, for the tests of moving it while it waits for one:
 * exits with status 7 at the end of the input.
 */
#include <stdio.h>

int main(void)
{
    char line[256];

    while (fgets(line, sizeof line, stdin)) {
        printf("read %s", line);
        fflush(stdout);
    }
    return 7;
}
