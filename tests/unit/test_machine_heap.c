/* malloc and its family of the machine's guest program: machine/guest/heap.c under other names. */
#include <errno.h>
#include <stdlib.h>

#define malloc heap_malloc
#define calloc heap_calloc
#define realloc heap_realloc
#define free heap_free
void *heap_malloc(size_t bytes);
void *heap_calloc(size_t n, size_t each);
void *heap_realloc(void *memory, size_t bytes);
void heap_free(void *memory);
#include "machine/guest/heap.c"
#undef malloc
#undef calloc
#undef realloc
#undef free

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BLOCKS 256

struct block {
    uint8_t *at;
    size_t bytes;
};

static uint32_t next_number(uint32_t *state)
{
    *state = *state * 1103515245 + 12345;
    return *state >> 8;
}

/* Mostly small, some of a page or more, a few with a mapping of their own. */
static size_t some_size(uint32_t *state, unsigned i)
{
    return next_number(state) % (i % 512 == 0 ? 3 * LARGEST : i % 8 == 0 ? 80000 : 300);
}

static void expect_filled(const struct block *block, uint8_t with)
{
    for (size_t i = 0; i < block->bytes; i++) {
        if (block->at[i] != with)
            fail_msg("byte %zu of %zu is %u, not %u", i, block->bytes, block->at[i], with);
    }
}

/* Takes another block of a size, by one of three ways, and checks what it begins with. */
static void *change(const struct block *block, unsigned way, size_t bytes, uint8_t with)
{
    struct block zeros = {.bytes = bytes}, kept = {.bytes = bytes};

    if (way == 0) {
        kept.at = heap_realloc(block->at, bytes);
        kept.bytes = bytes < block->bytes ? bytes : block->bytes;
        expect_filled(&kept, with);
        return kept.at;
    }
    heap_free(block->at);
    if (way == 1)
        return heap_malloc(bytes);
    zeros.at = heap_calloc(1, bytes);
    expect_filled(&zeros, 0);
    return zeros.at;
}

static void test_blocks_keep_their_bytes(void **state)
{
    static struct block blocks[BLOCKS];
    uint32_t numbers = 1;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        unsigned which = next_number(&numbers) % BLOCKS;
        struct block *block = &blocks[which];
        size_t bytes = some_size(&numbers, i);
        expect_filled(block, (uint8_t)which);
        block->at = change(block, i % 3, bytes, (uint8_t)which);
        block->bytes = bytes;
        assert_non_null(block->at);
        assert_int_equal((uintptr_t)block->at % 16, 0);
        memset(block->at, (int)which, bytes);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        expect_filled(&blocks[i], (uint8_t)i);
        heap_free(blocks[i].at);
    }
}

/* Each size holds what was asked for, and wastes an eighth of it at most. */
static void test_sizes(void **state)
{
    size_t before = 0, size;

    (void)state;
    for (size_t bytes = 17; bytes <= LARGEST; bytes += bytes < 5000 ? 1 : 997) {
        unsigned index = size_of(bytes, &size), again;
        size_t same;
        assert_in_range(index, 0, SIZES - 1);
        assert_in_range(size, bytes, bytes + 15 + bytes / 8);
        assert_int_equal(size % 16, 0);
        assert_true(size >= before);
        again = size_of(size, &same);
        assert_int_equal(again, index);
        assert_int_equal(same, size);
        before = size;
    }
}

static void test_what_was_freed_is_used_again(void **state)
{
    (void)state;
    void *one = heap_malloc(70000);
    heap_free(one);
    assert_ptr_equal(heap_malloc(70001), one);
    heap_free(one);
    heap_free(NULL);
}

static void test_too_much(void **state)
{
    (void)state;
    volatile size_t all = SIZE_MAX;
    errno = 0;
    assert_null(heap_malloc(all));
    assert_int_equal(errno, ENOMEM);
    assert_null(heap_malloc(all / 2));
    assert_null(heap_calloc(all / 2, 3));
    assert_null(heap_realloc(NULL, all - 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_keep_their_bytes),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_what_was_freed_is_used_again),
        cmocka_unit_test(test_too_much),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
