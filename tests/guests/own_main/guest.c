/* A guest with a main of its own: it prepares something, then serves. */
#include <mayfly/guest.h>

#include <stdio.h>
#include <stdlib.h>

static unsigned char *table;

static struct mf_value square(const struct mf_value *arg)
{
    return mf_u32(table[arg[0].u32 % 16]);
}
MF_EXPORT(square, "u32 square(u32 x)");

int main(void)
{
    table = malloc(16);
    if (table == NULL)
        return 1;
    for (unsigned i = 0; i < 16; i++)
        table[i] = (unsigned char)(i * i);
    puts("prepared");
    mf_serve();
    puts("not called, so it just runs");
    return 5;
}
