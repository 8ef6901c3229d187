/* Random bytes: from the system call, from the boot page, and not twice the same. */
#define _GNU_SOURCE
#include <mayfly/guest.h>

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static int looks_random(const unsigned char *data, size_t len)
{
    unsigned ones = 0;
    for (size_t i = 0; i < len; i++)
        ones += (unsigned)__builtin_popcount(data[i]);
    return ones > len * 3 && ones < len * 5;
}

int main(void)
{
    unsigned char a[4096], b[4096];
    uint8_t seed[32], zero[32] = {0};

    if (getrandom(a, sizeof a, 0) != sizeof a || getrandom(b, sizeof b, 0) != sizeof b)
        return 1;
    if (!looks_random(a, sizeof a) || memcmp(a, b, sizeof a) == 0)
        return 2;
    if (getentropy(b, 256) != 0 || memcmp(a, b, 256) == 0)
        return 3;
    mf_entropy(seed);
    if (memcmp(seed, zero, sizeof seed) == 0 || memcmp(seed, a, sizeof seed) == 0)
        return 4;
    puts("random");
    return 0;
}
