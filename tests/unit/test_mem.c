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
#include <sys/mman.h>
#include <unistd.h>

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

/* ---- windows ---- */

static void *fake_host(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

static struct mem_window *add_window(struct mem *mem, uint64_t host, uint64_t bytes)
{
    struct mem_window *window;
    struct mf_error err;
    if (mem_window_add(mem, fake_host(host), bytes, true, false, &window, &err) != 0)
        fail_msg("%s", err.message);
    return window;
}

/* Windows are behind memory and never touch, and large pages can lie alike on both sides. */
static void test_window_places(void **state)
{
    struct mem *mem = *state;
    struct mem_window *w[5];
    static const uint64_t bytes[] = {PAGE_BYTES, 3 << 20, 7 * PAGE_BYTES, UINT64_C(1) << 32, 4096};
    for (unsigned i = 0; i < 5; i++) {
        w[i] = add_window(mem, 0x7f0000001000 + i * 0x12345000, bytes[i]);
        assert_int_equal(w[i]->slot, i + 1);
        assert_int_equal(w[i]->bytes, bytes[i]);
        assert_true(w[i]->gpa >= MEMORY + (1 << 30));
        assert_true(w[i]->gpa + bytes[i] <= UINT64_C(1) << 38);
        assert_int_equal(w[i]->gpa % (2 << 20), (uintptr_t)w[i]->host % (2 << 20));
        for (unsigned k = 0; k < i; k++)
            assert_true(w[k]->gpa + w[k]->bytes < w[i]->gpa || w[i]->gpa + bytes[i] < w[k]->gpa);
        assert_ptr_equal(mem_window_find(mem, w[i]->gpa), w[i]);
        assert_ptr_equal(mem_window_find(mem, w[i]->gpa + bytes[i] - 1), w[i]);
        assert_null(mem_window_find(mem, w[i]->gpa - 1));
        assert_null(mem_window_find(mem, w[i]->gpa + bytes[i]));
    }
    assert_null(mem_window_find(mem, 0));
    assert_null(mem_window_find(mem, UINT64_MAX));
}

static void test_window_limits(void **state)
{
    struct mem *mem = *state;
    struct mem_window *w[MEM_WINDOWS_MAX], *more;
    struct mf_error err;
    static const uint64_t sizes[] = {UINT64_C(1) << 38, UINT64_C(1) << 63,
                                     UINT64_MAX - PAGE_BYTES + 1};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        assert_int_equal(mem_window_add(mem, fake_host(4096), sizes[i], false, false, &more, &err),
                         MF_E_NO_MEMORY);
    for (unsigned i = 0; i < MEM_WINDOWS_MAX; i++)
        w[i] = add_window(mem, 0x10000, 4096);
    assert_int_equal(mem_window_add(mem, fake_host(4096), 4096, false, false, &more, &err),
                     MF_E_STATE);
    assert_null(mem_window_find(mem, w[77]->gpa + PAGE_BYTES));
    mf_gpa gpa = w[77]->gpa;
    mem_window_remove(mem, w[77]);
    assert_null(mem_window_find(mem, gpa));
    assert_ptr_equal(mem_window_find(mem, w[78]->gpa), w[78]);
    more = add_window(mem, 0x10000, 4096);
    assert_ptr_equal(more, w[77]);
    assert_int_equal(more->gpa, gpa);
    for (unsigned i = 0; i < MEM_WINDOWS_MAX; i++)
        mem_window_remove(mem, w[i]);
    assert_int_equal(mem->nwindows, 0);
}

/* Address space is never used up by coming and going. */
static void test_window_cycles(void **state)
{
    struct mem *mem = *state;
    struct mem_window *keep = add_window(mem, 0x10000, 4096), *w[3] = {NULL};
    for (uint64_t i = 0; i < 30000; i++) {
        struct mem_window **at = &w[i % 3];
        if (*at)
            mem_window_remove(mem, *at);
        *at = add_window(mem, 0x7f0000000000 + i * PAGE_BYTES, (i % 40 + 1) << 30);
        assert_true((*at)->gpa + (*at)->bytes <= UINT64_C(1) << 38);
    }
    assert_int_equal(keep->bytes, 4096);
}

/* Copies and spans look through the tables into windows, and know their rights. */
static void test_window_copies(void **state)
{
    struct mem *mem = *state;
    const mf_gva at = 0x500000000000;
    struct mem_window *w[2];
    char buf[4 * PAGE_BYTES], back[4 * PAGE_BYTES];
    static uint8_t host[2][2 * PAGE_BYTES] __attribute__((aligned(4096)));
    const uint8_t *span;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(mem_window_add(mem, host[i], 2 * PAGE_BYTES, true, false, &w[i], NULL), 0);
        assert_int_equal(paging_map_at(mem, at + i * 2 * PAGE_BYTES, w[i]->gpa, 2, RW, NULL), 0);
    }
    for (size_t i = 0; i < sizeof buf; i++)
        buf[i] = (char)(i * 7 + i / 4096);
    assert_true(guestmem_write(mem, at + 5, buf + 5, sizeof buf - 5));
    assert_memory_equal(host[1], buf + 2 * PAGE_BYTES, 2 * PAGE_BYTES);
    assert_true(guestmem_read(mem, back, at + 5, sizeof back - 5));
    assert_memory_equal(buf + 5, back, sizeof buf - 5);
    assert_false(guestmem_read(mem, back, at + 6, sizeof back - 5));
    assert_int_equal(guestmem_reach(mem, at + 1, UINT64_MAX, true), 4 * PAGE_BYTES - 1);
    assert_true(guestmem_span(mem, at + 7, 2 * PAGE_BYTES - 7, &span));
    assert_ptr_equal(span, host[0] + 7);
    assert_true(guestmem_span(mem, at + 2 * PAGE_BYTES, 1, &span));
    assert_ptr_equal(span, host[1]);

    paging_protect(mem, at, 2, RO, NULL, NULL);
    assert_false(guestmem_write(mem, at + 4096, buf, 1));
    assert_true(guestmem_span(mem, at, 2 * PAGE_BYTES, &span));
    paging_unmap_at(mem, at, 2);
    assert_false(guestmem_span(mem, at, 1, &span));
    assert_false(guestmem_read(mem, back, at, 1));
    assert_int_equal(guestmem_reach(mem, at + 2 * PAGE_BYTES, 1 << 20, false), 2 * PAGE_BYTES);
}

/* Pages that are gone make a copy fail; they do not kill the host. */
static void test_window_vanishes(void **state)
{
    struct mem *mem = *state;
    const mf_gva at = 0x500000000000;
    struct mem_window *window;
    char buf[PAGE_BYTES] = "text";
    const uint8_t *span;
    int fd = memfd_create("mayfly", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 3 * PAGE_BYTES), 0);
    uint8_t *host = mmap(NULL, 3 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(host != MAP_FAILED);
    assert_int_equal(mem_window_add(mem, host, 3 * PAGE_BYTES, true, true, &window, NULL), 0);
    assert_int_equal(paging_map_at(mem, at, window->gpa, 3, RW, NULL), 0);
    assert_true(guestmem_write(mem, at + PAGE_BYTES - 2, buf, 5));
    assert_memory_equal(host + PAGE_BYTES - 2, "text", 5);
    assert_true(guestmem_read(mem, buf, at, sizeof buf));
    assert_int_equal(ftruncate(fd, PAGE_BYTES), 0);
    assert_true(guestmem_read(mem, buf, at, sizeof buf));
    assert_false(guestmem_read(mem, buf, at + 1, sizeof buf));
    assert_false(guestmem_read(mem, buf, at + 2 * PAGE_BYTES, 1));
    assert_false(guestmem_write(mem, at + 2 * PAGE_BYTES, buf, 1));
    assert_false(guestmem_span(mem, at, 1, &span));
    munmap(host, 3 * PAGE_BYTES);
    close(fd);
}

/* Memory that a guest got in one piece is one piece in the host, also across tables. */
static void test_span(void **state)
{
    struct mem *mem = *state;
    const mf_gva at = 0x10000000 - 8 * PAGE_BYTES;
    const uint8_t *span;
    struct pt_page page;
    assert_int_equal(paging_map(mem, at, 64, RW, NULL), 0);
    assert_true(pt_lookup(mem, at, &page));
    assert_true(guestmem_span(mem, at + 3, 64 * PAGE_BYTES - 3, &span));
    assert_ptr_equal(span, (uint8_t *)mem_at(mem, page.gpa) + 3);
    assert_false(guestmem_span(mem, at, 64 * PAGE_BYTES + 1, &span));
    assert_false(guestmem_span(mem, at, UINT64_MAX, &span));
    assert_false(guestmem_span(mem, at, 0, &span));
    assert_false(guestmem_span(mem, at - 1, 2, &span));
    paging_protect(mem, at + 9 * PAGE_BYTES, 1, PT_NONE, NULL, NULL);
    assert_false(guestmem_span(mem, at, 64 * PAGE_BYTES, &span));
    assert_true(guestmem_span(mem, at, 9 * PAGE_BYTES, &span));
    /* Without the guest's own right it is nothing, either. */
    paging_protect(mem, at, 1, PT_READ, NULL, NULL);
    assert_false(guestmem_span(mem, at, 1, &span));
    /* Two pages that are not adjacent in the host. */
    assert_int_equal(paging_map_at(mem, 0x20000000, LAYOUT_GPA(FREE) + 8192, 1, RO, NULL), 0);
    assert_int_equal(paging_map_at(mem, 0x20001000, LAYOUT_GPA(FREE), 1, RO, NULL), 0);
    assert_false(guestmem_span(mem, 0x20000000, 4097, &span));
    assert_int_equal(guestmem_reach(mem, 0x20000000, 1 << 20, false), 8192);
}

/* A run that guest memory has no tables for is not mapped at all. */
static void test_map_at_too_much(void **state)
{
    struct mem *mem = *state;
    struct pt_page page;
    struct mf_error err;
    uint64_t npages = (mem_pages_available(mem) + 2) * 512;
    assert_int_equal(paging_map_at(mem, 0x500000000000, 1 << 30, npages, RO, &err), MF_E_NO_MEMORY);
    assert_false(pt_lookup(mem, 0x500000000000, &page));
    assert_int_equal(paging_map_at(mem, 0x500000000000, 1 << 30, 1024, RO, &err), 0);
    assert_true(pt_lookup(mem, 0x5000003ff000, &page));
    assert_int_equal(page.gpa, (1 << 30) + 1023 * PAGE_BYTES);
    assert_int_equal(page.prot, RO);
}

/* ---- marks ---- */

static bool marked(const struct mem *mem, mf_gpa gpa)
{
    uint64_t page = gpa >> PAGE_SHIFT;
    return mem->marks[page / 64] >> page % 64 & 1;
}

static unsigned count_marks(const struct mem *mem)
{
    unsigned n = 0;
    for (mf_gpa gpa = 0; gpa < mem->bytes; gpa += PAGE_BYTES)
        n += marked(mem, gpa);
    return n;
}

static void test_marks(void **state)
{
    struct mem *mem = *state;
    const mf_gva at = 0x10000000;
    struct pt_page page;
    static const char text[PAGE_BYTES] = "text";
    assert_int_equal(paging_map(mem, at, 4, RW, NULL), 0);
    assert_true(pt_lookup(mem, at, &page));
    mf_gpa data = page.gpa;
    mem_mark(mem, data, 1); /* nobody asked */
    mem_marks_clear(mem);
    assert_int_equal(mem_marks_start(mem, NULL), 0);
    assert_int_equal(count_marks(mem), 0);

    assert_true(guestmem_write(mem, at + 10, text, 5));
    assert_true(marked(mem, data));
    assert_int_equal(count_marks(mem), 1);
    assert_true(guestmem_write(mem, at + 2 * PAGE_BYTES - 1, text, 2));
    assert_int_equal(count_marks(mem), 3);
    assert_true(marked(mem, data + PAGE_BYTES) && marked(mem, data + 2 * PAGE_BYTES));
    mem_marks_clear(mem);
    assert_int_equal(count_marks(mem), 0);

    /* Tables are guest memory too. */
    paging_protect(mem, at, 4, RO, NULL, NULL);
    assert_int_equal(count_marks(mem), 1);
    assert_false(marked(mem, data));
    assert_int_equal(mem_marks_start(mem, NULL), 0);
    assert_int_equal(count_marks(mem), 0);
    assert_true(paging_unmap(mem, at + PAGE_BYTES, 1));
    assert_int_equal(count_marks(mem), 2);
    assert_true(marked(mem, data + PAGE_BYTES));
    mem_marks_clear(mem);
    assert_int_equal(paging_map_at(mem, 0x500000000000, 1 << 30, 513, RO, NULL), 0);
    /* A table on each level, two at the last, and the top one. */
    assert_int_equal(count_marks(mem), 5);
    mem_marks_clear(mem);
    paging_unmap_at(mem, 0x500000000000, 513);
    assert_int_equal(count_marks(mem), 2);

    /* What is no guest memory has no mark; the last page has one. */
    mem_marks_clear(mem);
    mem_mark(mem, mem->bytes, 1);
    mem_mark(mem, 1 << 30, PAGE_BYTES);
    mem_mark(mem, 0, 0);
    assert_int_equal(count_marks(mem), 0);
    mem_mark(mem, mem->bytes - 1, 1);
    assert_int_equal(count_marks(mem), 1);
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
        cmocka_unit_test_setup_teardown(test_window_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_window_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_window_cycles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_window_copies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_window_vanishes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_span, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_map_at_too_much, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_marks, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
