/*
 * Where a guest sees its pages: the walk over a snapshot's page tables agrees with the
 * sandbox, and tables of a file that nobody checked make an error, never a loop.
 * Tables do not depend on the backend: on the one that `auto` takes.
 */
#include "mem/pagetable.h"
#include "snapshot/pages.h"
#include "snapshot/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct mf_image *image;
    struct mf_sandbox *sandbox;
    struct mf_snapshot *snapshot;
};

/* What a walk has seen. */
struct seen {
    struct mf_sandbox *sandbox; /* to compare with, or NULL */
    uint64_t last;
    int64_t pages, stack, image;
};

static void see(void *context, uint64_t address, uint64_t page, const char *area)
{
    struct seen *seen = context;
    struct pt_page found;
    assert_true(seen->pages == 0 || address > seen->last);
    seen->last = address;
    seen->pages++;
    seen->stack += strcmp(area, "stack") == 0;
    seen->image += strcmp(area, "image") == 0;
    if (!seen->sandbox)
        return;
    assert_true(pt_lookup(&seen->sandbox->mem, address, &found));
    assert_int_equal(found.gpa >> PAGE_SHIFT, page);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char path[512];
    struct mf_error err;
    snprintf(path, sizeof path, "%s/snapshot/musl", getenv("GUESTS"));
    if (mf_image_open(path, &f->image, &err) != 0 ||
        mf_sandbox_create(f->image, NULL, NULL, &f->sandbox, &err) != 0 ||
        mf_sandbox_start(f->sandbox, &err) != 0 ||
        mf_sandbox_snapshot(f->sandbox, &f->snapshot, &err) != 0)
        fail_msg("%s", err.message);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    mf_snapshot_close(f->snapshot);
    mf_sandbox_destroy(f->sandbox);
    mf_image_close(f->image);
    free(f);
    return 0;
}

static void test_agrees(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {.sandbox = f->sandbox};
    struct mf_error err;
    assert_true(mf_snapshot_each_page(f->snapshot, see, &seen, &err) == seen.pages);
    assert_int_equal(seen.stack, f->snapshot->saved.stack_bytes >> PAGE_SHIFT);
    assert_true(seen.image > 0);
}

/* A child in which the top table holds one entry, again and again. */
static int walk_with(struct fixture *f, uint64_t entry, struct seen *seen)
{
    struct snap_pages pages;
    uint64_t table[PT_ENTRIES];
    struct mf_error err;
    for (size_t i = 0; i < PT_ENTRIES / 2; i++)
        table[i] = entry;
    memset(&table[PT_ENTRIES / 2], 0, sizeof table / 2);
    assert_int_equal(snap_pages_init(&pages, 1, &err), 0);
    snap_pages_add(&pages, LAYOUT_PAGE_PML4, (const uint8_t *)table);
    struct mf_snapshot child = *f->snapshot;
    child.parent = f->snapshot;
    child.pages = pages;
    int64_t rc = mf_snapshot_each_page(&child, see, seen, &err);
    snap_pages_fini(&pages);
    return rc < 0 ? (int)rc : 0;
}

static void test_tables_that_cannot_be(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {0};
    uint64_t top[PT_ENTRIES];
    assert_true(snap_read(f->snapshot, LAYOUT_PAGE_PML4, (uint8_t *)top));
    size_t used = 0;
    while (top[used] == 0)
        used++;
    const uint64_t flags = top[used] & 0xfff, gpa_mask = UINT64_C(0xffffffffff000);
    /* A table that leads to itself, one outside of memory, a large page, garbage. */
    assert_int_equal(walk_with(f, LAYOUT_GPA(PML4) | flags, &seen), MF_E_SNAPSHOT);
    assert_int_equal(walk_with(f, (f->snapshot->saved.memory_bytes & gpa_mask) | flags, &seen),
                     MF_E_SNAPSHOT);
    assert_int_equal(walk_with(f, gpa_mask | flags, &seen), MF_E_SNAPSHOT);
    assert_int_equal(walk_with(f, top[used] | 0x80, &seen), MF_E_SNAPSHOT);
    assert_int_equal(walk_with(f, UINT64_MAX, &seen), MF_E_SNAPSHOT);
    /* Nothing at all is possible. */
    assert_int_equal(walk_with(f, 0, &seen), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_agrees, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tables_that_cannot_be, setup, teardown),
    };
    struct mf_backend_info info;
    mf_backend_probe(MF_BACKEND_KVM, &info, NULL);
    if (!info.usable)
        mf_backend_probe(MF_BACKEND_SOFT, &info, NULL);
    if (!info.usable) {
        printf("skipped: no backend is usable here\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
