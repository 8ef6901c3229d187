/*
 * A program with a main of its own. `mayfly run` runs it like any other program;
 * `mayfly call` lets main prepare what the exported functions need, up to mf_serve.
 */
#include <mayfly/guest.h>
#include <stdio.h>
#include <string.h>

static unsigned char is_vowel[256];

static struct mf_value count_vowels(const struct mf_value *arg)
{
    uint32_t n = 0;
    for (size_t i = 0; i < arg[0].string.len; i++)
        n += is_vowel[(unsigned char)arg[0].string.data[i]];
    return mf_u32(n);
}
MF_EXPORT(count_vowels, "u32 count_vowels(string text)");

int main(int argc, char **argv)
{
    for (const char *c = "aeiouAEIOU"; *c; c++)
        is_vowel[(unsigned char)*c] = 1;
    mf_serve(); /* returns only when the program was started to run */

    printf("Hello from a machine without an operating system.\n");
    for (int i = 1; i < argc; i++)
        printf("argument %d has %zu letters: %s\n", i, strlen(argv[i]), argv[i]);
    return 0;
}
