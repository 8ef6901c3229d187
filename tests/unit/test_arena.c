/* The stack of private bytes: fixed part, chunks, marks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sandbox/arena.h"

#include <string.h>

#define SIZE 8192

static int set_up(void **state)
{
    static struct arena arena;
    struct mf_error err;
    memset(&arena, 0, sizeof arena);
    *state = &arena;
    return arena_init(&arena, SIZE, &err);
}

static int tear_down(void **state)
{
    struct arena *arena = *state;
    arena_fini(arena);
    assert_null(arena->base);
    assert_null(arena->chunks);
    arena_fini(arena); /* an empty one is allowed */
    return 0;
}

static void gives_aligned_bytes_up_to_its_size(void **state)
{
    struct arena *arena = *state;
    uint8_t *a = arena_alloc(arena, 1), *b = arena_alloc(arena, 17);
    assert_ptr_equal(a, arena->base);
    assert_ptr_equal(b, a + 16);
    assert_int_equal(arena->used, 33);
    assert_non_null(arena_alloc(arena, SIZE - 48));
    assert_int_equal(arena->used, SIZE);
    assert_non_null(arena_alloc(arena, 0));
    assert_null(arena_alloc(arena, 1));
    assert_int_equal(arena->used, SIZE);
    arena_reset(arena);
    assert_int_equal(arena->used, 0);
    assert_ptr_equal(arena_alloc(arena, SIZE), a);
}

static void refuses_what_cannot_be(void **state)
{
    struct arena *arena = *state;
    arena_alloc(arena, 100);
    assert_null(arena_alloc(arena, SIZE));
    assert_null(arena_alloc(arena, UINT64_MAX));
    assert_null(arena_alloc(arena, UINT64_MAX - 111));
    assert_null(arena_alloc_chunk(arena, UINT64_MAX));
    assert_null(arena_alloc_chunk(arena, UINT64_MAX / 2 + 1));
    assert_int_equal(arena->used, 100);
    assert_int_equal(arena->chunk_bytes, 0);
}

static void releases_by_mark(void **state)
{
    struct arena *arena = *state;
    arena_alloc(arena, 100);
    uint8_t *first = arena_alloc_chunk(arena, 1000);
    memset(first, 1, 1000);
    struct arena_mark mark = arena_mark(arena);
    arena_alloc(arena, 100);
    uint8_t *second = arena_alloc_chunk(arena, 50000);
    memset(second, 2, 50000);
    assert_true((uintptr_t)second % 16 == 0);
    arena_alloc_chunk(arena, 0);
    assert_int_equal(arena->chunk_bytes, 51000);
    arena_release(arena, mark);
    assert_int_equal(arena->used, 100);
    assert_int_equal(arena->chunk_bytes, 1000);
    assert_true(first[0] == 1 && first[999] == 1);
    arena_release(arena, mark); /* again: nothing to do */
    assert_int_equal(arena->chunk_bytes, 1000);
    arena_reset(arena);
    assert_int_equal(arena->chunk_bytes, 0);
    assert_null(arena->chunks);
}

/* Old chunks go, and the younger ones stay: answers of nested calls. */
static void drops_chunks_below_others(void **state)
{
    struct arena *arena = *state;
    arena_alloc_chunk(arena, 1);
    struct arena_chunk *kept = arena->chunks;
    arena_alloc_chunk(arena, 20);
    arena_alloc_chunk(arena, 300);
    struct arena_chunk *before = arena->chunks;
    uint8_t *young = arena_alloc_chunk(arena, 4000);
    memset(young, 7, 4000);
    arena_drop_chunks(arena, before, kept);
    assert_int_equal(arena->chunk_bytes, 4001);
    assert_int_equal(young[3999], 7);
    arena_drop_chunks(arena, kept, kept);
    assert_int_equal(arena->chunk_bytes, 4001);
    arena_drop_chunks(arena, kept, NULL);
    assert_int_equal(arena->chunk_bytes, 4000);
    arena_drop_chunks(arena, NULL, NULL);
    assert_int_equal(arena->chunk_bytes, 4000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gives_aligned_bytes_up_to_its_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_what_cannot_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(releases_by_mark, set_up, tear_down),
        cmocka_unit_test_setup_teardown(drops_chunks_below_others, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
