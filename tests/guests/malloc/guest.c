/* The heap of a C library: small, large, many, grown, given back. */
#include <mayfly/guest.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252u;

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

#define SLOTS 200

static struct {
    unsigned char *data;
    size_t len;
    unsigned char mark;
} slot[SLOTS];

static int check(int i)
{
    for (size_t k = 0; k < slot[i].len; k += 97)
        if (slot[i].data[k] != slot[i].mark)
            return 0;
    return slot[i].len == 0 || slot[i].data[slot[i].len - 1] == slot[i].mark;
}

/* Allocates, grows and frees at random; every block must keep what was put in. */
static int churn(void)
{
    for (int round = 0; round < 4000; round++) {
        int i = (int)(next_random() % SLOTS);
        if (!check(i))
            return 1;
        size_t len = next_random() % (round % 50 == 0 ? 300000 : 2000);
        if (round % 3 == 0) {
            free(slot[i].data);
            slot[i].data = NULL;
            slot[i].len = 0;
            continue;
        }
        unsigned char *data = realloc(slot[i].data, len + 1);
        if (data == NULL)
            return 2;
        size_t kept = len < slot[i].len ? len : slot[i].len;
        if (kept > 0 && (data[0] != slot[i].mark || data[kept - 1] != slot[i].mark))
            return 3;
        slot[i].data = data;
        slot[i].len = len;
        slot[i].mark = (unsigned char)round;
        memset(data, slot[i].mark, len);
    }
    return 0;
}

int main(void)
{
    int status = churn();
    unsigned char *zero = calloc(1000, 1000);
    size_t i = 0;

    if (status != 0 || zero == NULL)
        return status ? status : 4;
    while (i < 1000000 && zero[i] == 0)
        i++;
    printf("calloc: %zu zero bytes\n", i);
    free(zero);
    return 0;
}
