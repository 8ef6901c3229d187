/* A program that asks for memory without end is told no, and goes on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
    size_t piece = argc > 1 ? strtoul(argv[1], NULL, 0) : 65536, total = 0;
    void *last = NULL;
    void **p;

    while (total < (size_t)1 << 32 && (p = malloc(piece)) != NULL) {
        memset(p, 1, piece);
        *p = last;
        last = p;
        total += piece;
    }
    printf("stopped: %d, %s\n", total < (size_t)1 << 32, errno == ENOMEM ? "ENOMEM" : "?");
    printf("most of it was given: %d\n", total > (16 << 20) && total < (64 << 20));
    while (last != NULL) {
        p = last;
        last = *p;
        free(p);
    }
    p = malloc(8 << 20);
    printf("again: %d\n", p != NULL);
    if (p != NULL)
        memset(p, 1, 8 << 20);
    /* Sizes that overflow. */
    printf("%d %d\n", mmap(NULL, (size_t)-1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                          MAP_FAILED,
           mmap(NULL, (size_t)1 << 46, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0) == MAP_FAILED);
    return 0;
}
