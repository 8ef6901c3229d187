/*
 * A program that takes its time, for the tests of freezing and resuming: prints a line for
 * each of N ticks, with a sum in floating point that goes on from one to the next, and
 * exits with status 7.
 *
 *     ticker N MS [avx]     with "avx" it keeps a value in the upper half of a YMM register
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A register that the compiler does not know to be in use stays as it is. */
static void set_upper_half(void)
{
    static const double values[4] = {1, 2, 3, 4};

    __asm__ volatile("vmovupd %0, %%ymm15" : : "m"(values));
}

int main(int argc, char **argv)
{
    int ticks = argc > 1 ? atoi(argv[1]) : 0;
    long ms = argc > 2 ? atol(argv[2]) : 0;
    volatile double sum = 0;

    if (argc > 3 && strcmp(argv[3], "avx") == 0)
        set_upper_half();
    for (int i = 1; i <= ticks; i++) {
        struct timespec tick = {.tv_nsec = ms * 1000000};
        sum += 1.0 / i;
        printf("%d %.15f\n", i, sum);
        fflush(stdout);
        nanosleep(&tick, NULL);
    }
    return 7;
}
