/*
 * malloc and its family for the guest program, in place of the C library's: a small program
 * is loaded and run without one system call for memory, each of which would leave the VM and
 * enter it again. Most of the machine's memory is taken once and kept, so a list of free blocks
 * for each size is enough; nothing is ever merged. The guest has one thread.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What stands before each block. Its size keeps blocks aligned for every type. */
struct head {
    size_t size; /* of the block with its head; of a whole mapping when it is over LARGEST */
    struct head *next; /* while it is free */
};
_Static_assert(sizeof(struct head) == 16, "blocks are aligned to 16 bytes");

/* Sizes: multiples of 16 up to 128, then eight for each power of two. */
#define SMALL   128
#define LARGEST ((size_t)1 << 20)
#define SIZES   (8 + 13 * 8)

/* The first memory is part of the program: zeroed pages that cost nothing until they are used. */
#define FIRST_BYTES (256u << 10)
#define MORE_BYTES  ((size_t)2 << 20)

static _Alignas(4096) uint8_t first[FIRST_BYTES];
static uint8_t *fresh = first;
static size_t fresh_left = FIRST_BYTES;
static struct head *lists[SIZES];

/* The index of the smallest size that `bytes` fit into, and that size. */
static unsigned size_of(size_t bytes, size_t *size)
{
    if (bytes <= SMALL) {
        *size = (bytes + 15) & ~(size_t)15;
        return (unsigned)(*size / 16 - 1);
    }
    unsigned shift = 60 - (unsigned)__builtin_clzl(bytes - 1);
    unsigned eighth = (unsigned)((bytes - 1) >> shift); /* 8 to 15 */
    *size = (size_t)(eighth + 1) << shift;
    return 8 + (shift - 4) * 8 + (eighth - 8);
}

static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

/* Memory that was never used, so all zeros. */
static struct head *take_fresh(size_t size)
{
    if (size > fresh_left) {
        uint8_t *more = map(MORE_BYTES);
        if (more == NULL)
            return NULL;
        fresh = more;
        fresh_left = MORE_BYTES;
    }
    struct head *head = (struct head *)fresh;
    fresh += size;
    fresh_left -= size;
    return head;
}

/* *used: it may hold what it held before. */
static void *take(size_t bytes, int *used)
{
    struct head *head = NULL;
    size_t size;

    *used = 0;
    if (bytes <= LARGEST - sizeof(*head)) {
        struct head **list = &lists[size_of(bytes + sizeof(*head), &size)];
        head = *list;
        *used = head != NULL;
        if (head != NULL)
            *list = head->next;
        else
            head = take_fresh(size);
    } else if (bytes <= PTRDIFF_MAX - 4096) {
        size = (bytes + sizeof(*head) + 4095) & ~(size_t)4095;
        head = map(size);
    }
    if (head == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    head->size = size;
    return head + 1;
}

void *malloc(size_t bytes)
{
    int used;

    return take(bytes, &used);
}

void *calloc(size_t n, size_t each)
{
    size_t bytes;
    int used;

    if (__builtin_mul_overflow(n, each, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    void *memory = take(bytes, &used);
    if (memory != NULL && used)
        memset(memory, 0, bytes);
    return memory;
}

void free(void *memory)
{
    size_t size;

    if (memory == NULL)
        return;
    struct head *head = (struct head *)memory - 1;
    if (head->size > LARGEST) {
        munmap(head, head->size);
        return;
    }
    struct head **list = &lists[size_of(head->size, &size)];
    head->next = *list;
    *list = head;
}

void *realloc(void *memory, size_t bytes)
{
    if (memory == NULL)
        return malloc(bytes);
    size_t room = ((struct head *)memory - 1)->size - sizeof(struct head);
    if (bytes <= room)
        return memory;
    void *larger = malloc(bytes);
    if (larger != NULL) {
        memcpy(larger, memory, room);
        free(memory);
    }
    return larger;
}
