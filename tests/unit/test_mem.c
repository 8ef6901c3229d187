/* Guest physical pages, page tables, mapping changes, and checked copies. */
#include "base/checked.h"
#include "mem/guestmem.h"
#include "mem/mem.h"
#include "mem/pagetable.h"
#include "vm/paging.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEMORY (UINT64_C(1) << 20)
#define RW (PT_READ | PT_WRITE | PT_USER)
#define RO (PT_READ | PT_USER)

static int set_up(void **state)
{
    struct mem *mem = calloc(1, sizeof *mem);
    *state = mem;
    return mem ? mem_init(mem, MEMORY, NULL) : -1;
}

static int tear_down(void **state)
{
    mem_fini(*state);
    free(*state);
    return 0;
}

static void test_sizes(void **state)
{
    (void)state;
    struct mem mem;
    struct mf_error err;
    assert_int_equal(mem_init(&mem, 0, &err), MF_E_ARGUMENT);
    assert_int_equal(mem_init(&mem, 4096, &err), MF_E_ARGUMENT);
    assert_int_equal(mem_init(&mem, MEMORY + 1, &err), MF_E_ARGUMENT);
    assert_int_equal(mem_init(&mem, UINT64_C(65) << 30, &err), MF_E_ARGUMENT);
    mem_fini(&mem);
}

static void test_pages(void **state)
{
    struct mem *mem = *state;
    uint64_t total = mem_pages_available(mem);
    mf_gpa *pages = calloc(total + 1, sizeof *pages);
    assert_int_equal(total, MEMORY / PAGE_BYTES - LAYOUT_PAGE_FREE);
    for (uint64_t i = 0; i < total; i++) {
        assert_true(mem_page_alloc(mem, &pages[i]));
        assert_true(pages[i] >= LAYOUT_GPA(FREE) && pages[i] < MEMORY);
        memset(mem_at(mem, pages[i]), 1, PAGE_BYTES);
        if (i > 0)
            assert_int_equal(pages[i], pages[i - 1] + PAGE_BYTES);
    }
    assert_false(mem_page_alloc(mem, &pages[total]));
    assert_false(mem_run_alloc(mem, 1, &pages[total]));
    assert_int_equal(mem_pages_available(mem), 0);
    for (uint64_t i = 0; i < total; i++) {
        mem_discard(mem, pages[i], PAGE_BYTES);
        mem_page_free(mem, pages[i]);
    }
    assert_int_equal(mem_pages_available(mem), total);
    static const uint8_t zeros[PAGE_BYTES];
    for (uint64_t i = 0; i < total; i++) {
        assert_true(mem_page_alloc(mem, &pages[i]));
        assert_memory_equal(mem_at(mem, pages[i]), zeros, PAGE_BYTES);
    }
    free(pages);
}

/* A run of pages is adjacent, also when single pages were given back before. */
static void test_runs(void **state)
{
    struct mem *mem = *state;
    uint64_t total = mem_pages_available(mem);
    mf_gpa single, run;
    assert_true(mem_page_alloc(mem, &single));
    mem_page_free(mem, single);
    assert_false(mem_run_alloc(mem, total, &run));
    assert_true(mem_run_alloc(mem, total - 1, &run));
    assert_int_equal(run, single + PAGE_BYTES);
    assert_int_equal(mem_pages_available(mem), 1);
}

static void test_tables(void **state)
{
    struct mem *mem = *state;
    static const mf_gva places[] = {0x400000, 0x7fefffffe000, 0x600000000000, 0x401000, 0x200000};
    struct pt_page page;
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        mf_gpa gpa;
        assert_false(pt_lookup(mem, places[i], &page));
        assert_true(mem_page_alloc(mem, &gpa));
        assert_true(pt_map(mem, places[i], gpa, RW));
        assert_true(pt_lookup(mem, places[i] + 123, &page));
        assert_int_equal(page.gpa, gpa);
        assert_int_equal(page.prot, RW);
    }
    /* Without rights a page stays where it is. */
    assert_true(pt_lookup(mem, places[0], &page));
    mf_gpa gpa = page.gpa;
    assert_true(pt_protect(mem, places[0], PT_NONE));
    assert_true(pt_lookup(mem, places[0], &page));
    assert_int_equal(page.gpa, gpa);
    assert_int_equal(page.prot, PT_NONE);
    assert_true(pt_protect(mem, places[0], PT_READ | PT_EXEC | PT_USER));
    assert_true(pt_unmap(mem, places[0], &page));
    assert_int_equal(page.gpa, gpa);
    assert_int_equal(page.prot, PT_READ | PT_EXEC | PT_USER);
    assert_false(pt_unmap(mem, places[0], &page));
    assert_false(pt_protect(mem, places[0], RW));
}

static void count_stale(void *context, mf_gpa gpa, uint64_t bytes)
{
    (void)gpa;
    *(uint64_t *)context += bytes / PAGE_BYTES;
}

static void test_mapping(void **state)
{
    struct mem *mem = *state;
    const mf_gva at = 0x10000000, to = 0x20000000;
    uint64_t stale = 0, before = mem_pages_available(mem);
    struct pt_page page;
    struct mf_error err;
    assert_int_equal(paging_map(mem, at, 8, RW, NULL), 0);
    for (unsigned i = 0; i < 8; i++) {
        assert_true(pt_lookup(mem, at + i * PAGE_BYTES, &page));
        memset(mem_at(mem, page.gpa), 'a' + (int)i, PAGE_BYTES);
    }
    /* Only translations that may be cached are stale. */
    paging_protect(mem, at, 4, RO, count_stale, &stale);
    assert_int_equal(stale, 4);
    paging_protect(mem, at, 4, RO, count_stale, &stale);
    assert_int_equal(stale, 4);
    paging_protect(mem, at, 1, PT_NONE, count_stale, &stale);
    assert_int_equal(stale, 5);
    paging_protect(mem, at, 1, RW, count_stale, &stale);
    assert_int_equal(stale, 5);

    assert_int_equal(paging_move(mem, at, to, 8, count_stale, &stale, NULL), 0);
    assert_false(pt_lookup(mem, at, &page));
    assert_true(pt_lookup(mem, to + 7 * PAGE_BYTES, &page));
    assert_int_equal(*(uint8_t *)mem_at(mem, page.gpa), 'h');
    paging_discard(mem, to, 8);
    assert_int_equal(*(uint8_t *)mem_at(mem, page.gpa), 0);
    assert_true(paging_unmap(mem, to, 8));
    assert_false(paging_unmap(mem, to, 8));

    /* Too much: nothing is mapped, nothing is lost but tables. */
    uint64_t rest = mem_pages_available(mem);
    assert_true(rest <= before && before - rest < 8);
    assert_int_equal(paging_map(mem, at, rest + 1, RW, &err), MF_E_NO_MEMORY);
    assert_int_equal(mem_pages_available(mem), rest);
    assert_int_equal(paging_map(mem, 0x700000000000, rest, RW, &err), MF_E_NO_MEMORY);
    assert_false(pt_lookup(mem, 0x700000000000, &page));
}

static void test_copies(void **state)
{
    struct mem *mem = *state;
    const mf_gva at = 0x10000000;
    char buf[3 * PAGE_BYTES], back[3 * PAGE_BYTES];
    assert_int_equal(paging_map(mem, at, 3, RW, NULL), 0);
    for (size_t i = 0; i < sizeof buf; i++)
        buf[i] = (char)(i * 7);
    assert_true(guestmem_write(mem, at + 100, buf, sizeof buf - 100));
    assert_true(guestmem_read(mem, back, at + 100, sizeof buf - 100));
    assert_memory_equal(buf, back, sizeof buf - 100);
    /* Over the end, below the start, nowhere, in the supervisor's half. */
    assert_false(guestmem_read(mem, back, at + 101, sizeof buf - 100));
    assert_false(guestmem_read(mem, back, at - 1, 2));
    assert_false(guestmem_read(mem, back, UINT64_C(0xffff800000000000), 1));
    assert_false(guestmem_read(mem, back, UINT64_MAX, 2));
    assert_int_equal(guestmem_reach(mem, at + 10, 1 << 20, true), sizeof buf - 10);
    assert_int_equal(guestmem_reach(mem, UINT64_MAX - 5, UINT64_MAX, false), 0);
    /* Rights of the guest bind the host's copies too. */
    paging_protect(mem, at + PAGE_BYTES, 1, RO, NULL, NULL);
    assert_false(guestmem_write(mem, at, buf, sizeof buf));
    assert_int_equal(guestmem_reach(mem, at, sizeof buf, true), PAGE_BYTES);
    assert_int_equal(guestmem_reach(mem, at, sizeof buf, false), sizeof buf);
    paging_protect(mem, at, 1, PT_READ, NULL, NULL);
    assert_false(guestmem_read(mem, back, at, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test_setup_teardown(test_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mapping, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_copies, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
