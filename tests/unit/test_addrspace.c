/*
 * The guest's address space against two models: a fake backend, which is a set of
 * pages and checks that it is used as its contract says, and a naive array with
 * one entry per page, which knows what Linux would do. Random sequences of calls
 * must leave all three in agreement after each step.
 */
#include "sandbox/addrspace.h"

#include "abi/memory_map.h"
#include "base/checked.h"
#include "base/error.h"
#include "mem/pagetable.h"
#include "sandbox/linux_abi.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BUCKETS 1024
#define PAGE PAGE_BYTES
#define RW (LINUX_PROT_READ | LINUX_PROT_WRITE)
#define ANON (LINUX_MAP_PRIVATE | LINUX_MAP_ANONYMOUS)
#define FIXED (ANON | LINUX_MAP_FIXED)
#define TIB (UINT64_C(1) << 40)

/* The fake backend: pages in a hash table, and a budget. */
struct fake_page {
    mf_gva gva;
    unsigned prot;
    uint32_t content;
    struct fake_page *next;
};

struct fake {
    struct vm vm; /* first: the backend's own struct begins with it */
    struct fake_page *buckets[BUCKETS];
    uint64_t used, budget;
    bool fail_move;
    uint64_t walked; /* pages that the operations were asked to look at */
};

static struct fake_page **fake_slot(struct fake *fake, mf_gva gva)
{
    struct fake_page **slot = &fake->buckets[(gva >> PAGE_SHIFT) % BUCKETS];
    while (*slot && (*slot)->gva != gva)
        slot = &(*slot)->next;
    return slot;
}

static struct fake_page *fake_find(struct fake *fake, mf_gva gva)
{
    return *fake_slot(fake, gva);
}

static int fake_map(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot,
                    struct mf_error *err)
{
    struct fake *fake = (struct fake *)vm;
    assert_true(npages > 0 && gva % PAGE == 0);
    if (npages > fake->budget - fake->used)
        return error_set(err, MF_E_NO_MEMORY, "fake memory is full");
    fake->walked += npages;
    for (uint64_t i = 0; i < npages; i++) {
        struct fake_page **slot = fake_slot(fake, gva + i * PAGE);
        assert_null(*slot);
        struct fake_page *page = calloc(1, sizeof(*page));
        assert_non_null(page);
        page->gva = gva + i * PAGE;
        page->prot = prot;
        *slot = page;
    }
    fake->used += npages;
    return 0;
}

static void fake_protect(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot)
{
    struct fake *fake = (struct fake *)vm;
    fake->walked += npages;
    for (uint64_t i = 0; i < npages; i++) {
        struct fake_page *page = fake_find(fake, gva + i * PAGE);
        assert_non_null(page); /* holes would be walked page by page */
        page->prot = prot;
    }
}

static void fake_unmap(struct vm *vm, mf_gva gva, uint64_t npages)
{
    struct fake *fake = (struct fake *)vm;
    fake->walked += npages;
    for (uint64_t i = 0; i < npages; i++) {
        struct fake_page **slot = fake_slot(fake, gva + i * PAGE), *page = *slot;
        assert_non_null(page);
        *slot = page->next;
        free(page);
    }
    fake->used -= npages;
}

static void fake_discard(struct vm *vm, mf_gva gva, uint64_t npages)
{
    struct fake *fake = (struct fake *)vm;
    fake->walked += npages;
    for (uint64_t i = 0; i < npages; i++) {
        struct fake_page *page = fake_find(fake, gva + i * PAGE);
        assert_non_null(page);
        page->content = 0;
    }
}

static int fake_move(struct vm *vm, mf_gva from, mf_gva to, uint64_t npages, struct mf_error *err)
{
    struct fake *fake = (struct fake *)vm;
    assert_true(from + npages * PAGE <= to || to + npages * PAGE <= from);
    if (fake->fail_move)
        return error_set(err, MF_E_NO_MEMORY, "fake memory is full");
    fake->walked += npages;
    for (uint64_t i = 0; i < npages; i++) {
        struct fake_page **slot = fake_slot(fake, from + i * PAGE), *page = *slot;
        assert_non_null(page);
        *slot = page->next;
        page->next = NULL;
        page->gva = to + i * PAGE;
        slot = fake_slot(fake, page->gva);
        assert_null(*slot);
        *slot = page;
    }
    return 0;
}

static const struct vm_ops fake_ops = {
    .name = "fake",
    .map = fake_map,
    .protect = fake_protect,
    .unmap = fake_unmap,
    .discard = fake_discard,
    .move = fake_move,
};

struct fixture {
    struct fake fake;
    struct addrspace as;
};

static struct fixture *make_fixture(uint64_t budget)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->fake.vm.ops = &fake_ops;
    f->fake.budget = budget;
    assert_int_equal(addrspace_init(&f->as, &f->fake.vm, NULL), 0);
    return f;
}

static void free_fixture(struct fixture *f)
{
    addrspace_fini(&f->as);
    for (size_t i = 0; i < BUCKETS; i++) {
        while (f->fake.buckets[i]) {
            struct fake_page *page = f->fake.buckets[i];
            f->fake.buckets[i] = page->next;
            free(page);
        }
    }
    free(f);
}

static int setup(void **state)
{
    *state = make_fixture(1000);
    return 0;
}

static int teardown(void **state)
{
    free_fixture(*state);
    return 0;
}

/* What must hold for the array whatever was called. */
static void check_array(const struct addrspace *as)
{
    assert_true(as->nareas <= ADDRSPACE_AREAS_MAX && as->nareas <= as->capacity);
    for (size_t i = 0; i < as->nareas; i++) {
        const struct area *area = &as->areas[i];
        assert_true(area->start < area->end);
        assert_true(area->start % PAGE == 0 && area->end % PAGE == 0);
        assert_true(area->end <= MF_ABI_GVA_END);
        assert_true(area->backed || area->prot == PT_NONE);
        if (i == 0)
            continue;
        const struct area *before = area - 1;
        assert_true(before->end <= area->start);
        assert_false(before->end == area->start && before->prot == area->prot &&
                     before->kind == area->kind && before->backed == area->backed);
    }
}

/* Writes to a page as the guest would. */
static void poke(struct fixture *f, mf_gva gva, uint32_t content)
{
    struct fake_page *page = fake_find(&f->fake, gva);
    assert_non_null(page);
    page->content = content;
}

static uint32_t peek(struct fixture *f, mf_gva gva)
{
    struct fake_page *page = fake_find(&f->fake, gva);
    assert_non_null(page);
    return page->content;
}

static unsigned prot_at(struct fixture *f, mf_gva gva)
{
    const struct area *area = addrspace_find(&f->as, gva);
    assert_non_null(area);
    return area->prot;
}

/* mmap that must succeed. */
static mf_gva map_pages(struct fixture *f, mf_gva at, uint64_t npages, uint64_t prot)
{
    int64_t result = addrspace_mmap(&f->as, at, npages * PAGE, prot, at ? FIXED : ANON);
    assert_true(result > 0);
    if (at)
        assert_int_equal(result, at);
    check_array(&f->as);
    return (mf_gva)result;
}

static void test_mmap_arguments(void **state)
{
    struct addrspace *as = &((struct fixture *)*state)->as;
    assert_int_equal(addrspace_mmap(as, 0, 0, RW, ANON), -EINVAL);
    assert_int_equal(addrspace_mmap(as, 0, UINT64_MAX, RW, ANON), -ENOMEM);
    assert_int_equal(addrspace_mmap(as, 0, UINT64_C(1) << 63, RW, ANON), -ENOMEM);
    assert_int_equal(addrspace_mmap(as, 0, MF_ABI_GVA_END, RW, ANON), -ENOMEM);
    assert_int_equal(addrspace_mmap(as, 0, PAGE, RW, LINUX_MAP_ANONYMOUS), -EINVAL);
    assert_int_equal(addrspace_mmap(as, 0, PAGE, RW, LINUX_MAP_ANONYMOUS | 3), -EINVAL);
    assert_int_equal(addrspace_mmap(as, 0, PAGE, RW, LINUX_MAP_PRIVATE), -ENODEV);
    assert_int_equal(addrspace_mmap(as, 0, PAGE, RW | LINUX_PROT_EXEC, ANON), -EACCES);
    assert_int_equal(addrspace_mmap(as, 0, PAGE, RW, ANON | LINUX_MAP_GROWSDOWN), -EINVAL);
    assert_int_equal(addrspace_mmap(as, 0, PAGE, RW, ANON | LINUX_MAP_HUGETLB), -ENOMEM);
    assert_int_equal(addrspace_mmap(as, 1, PAGE, RW, FIXED), -EINVAL);
    assert_int_equal(addrspace_mmap(as, 0, PAGE, RW, FIXED), -EPERM);
    assert_int_equal(addrspace_mmap(as, MF_ABI_GVA_MIN - PAGE, 2 * PAGE, RW, FIXED), -EPERM);
    assert_int_equal(addrspace_mmap(as, MF_ABI_GVA_END, PAGE, RW, FIXED), -ENOMEM);
    assert_int_equal(addrspace_mmap(as, MF_ABI_GVA_END - PAGE, 2 * PAGE, RW, FIXED), -ENOMEM);
    assert_int_equal(addrspace_mmap(as, UINT64_MAX - PAGE + 1, PAGE, RW, FIXED), -ENOMEM);
    assert_int_equal(addrspace_mmap(as, 0, 1001 * PAGE, RW, ANON), -ENOMEM);
    assert_int_equal(as->nareas, 0);
    assert_int_equal(((struct fixture *)*state)->fake.used, 0);
    assert_int_equal(addrspace_mmap(as, MF_ABI_GVA_END - PAGE, PAGE, RW, FIXED),
                     MF_ABI_GVA_END - PAGE);
    assert_int_equal(addrspace_mmap(as, 0, 1, RW, LINUX_MAP_SHARED | LINUX_MAP_ANONYMOUS),
                     LAYOUT_GVA_MMAP);
}

static void test_mmap_places(void **state)
{
    struct fixture *f = *state;
    mf_gva first = map_pages(f, 0, 4, RW);
    assert_int_equal(first, LAYOUT_GVA_MMAP);
    /* A hint is taken when it is free, rounded down; otherwise it is forgotten. */
    assert_int_equal(addrspace_mmap(&f->as, TIB + 5, PAGE, RW, ANON), TIB);
    assert_int_equal(addrspace_mmap(&f->as, TIB, PAGE, RW, ANON), first + 4 * PAGE);
    assert_int_equal(addrspace_mmap(&f->as, PAGE, PAGE, RW, ANON), first + 5 * PAGE);
    assert_int_equal(addrspace_mmap(&f->as, UINT64_MAX, PAGE, RW, ANON), first + 6 * PAGE);
    /* The lowest hole that is large enough is used. */
    assert_int_equal(addrspace_munmap(&f->as, first + PAGE, 2 * PAGE), 0);
    assert_int_equal(map_pages(f, 0, 3, RW), first + 7 * PAGE);
    assert_int_equal(map_pages(f, 0, 2, RW), first + PAGE);
    int64_t low = addrspace_mmap(&f->as, 0, PAGE, RW, ANON | LINUX_MAP_32BIT);
    assert_true(low > 0 && low < INT64_C(0x80000000));
    assert_int_equal(addrspace_mmap(&f->as, 0, UINT64_C(1) << 31, LINUX_PROT_READ,
                                    ANON | LINUX_MAP_32BIT),
                     -ENOMEM);
}

static void test_mmap_fixed(void **state)
{
    struct fixture *f = *state;
    mf_gva at = map_pages(f, 0, 4, RW);
    for (unsigned i = 0; i < 4; i++)
        poke(f, at + i * PAGE, 100 + i);
    assert_int_equal(addrspace_mmap(&f->as, at + PAGE, PAGE, RW,
                                    ANON | LINUX_MAP_FIXED_NOREPLACE),
                     -EEXIST);
    map_pages(f, at + PAGE, 2, LINUX_PROT_READ);
    assert_int_equal(peek(f, at), 100);
    assert_int_equal(peek(f, at + PAGE), 0);
    assert_int_equal(peek(f, at + 2 * PAGE), 0);
    assert_int_equal(peek(f, at + 3 * PAGE), 103);
    assert_int_equal(prot_at(f, at + PAGE), PT_READ);
    assert_int_equal(f->fake.used, 4);
    /* Replacing by a reservation gives the pages back. */
    map_pages(f, at, 3, 0);
    assert_int_equal(f->fake.used, 1);
    /* A replacement that does not fit leaves what was there. */
    f->fake.budget = 3;
    assert_int_equal(addrspace_mmap(&f->as, at, 8 * PAGE, RW, FIXED), -ENOMEM);
    assert_int_equal(f->fake.used, 1);
    assert_int_equal(peek(f, at + 3 * PAGE), 103);
    assert_int_equal(prot_at(f, at), PT_NONE);
    check_array(&f->as);
}

static void test_hosts_areas_are_refused(void **state)
{
    struct fixture *f = *state;
    struct addrspace *as = &f->as;
    assert_int_equal(addrspace_add(as, TIB, PAGE, PT_READ, AREA_SYSTEM, NULL), 0);
    assert_int_equal(addrspace_add(as, TIB + PAGE, PAGE, PT_NONE, AREA_GUARD, NULL), 0);
    assert_int_equal(addrspace_add(as, TIB + 2 * PAGE, PAGE, PT_READ | PT_WRITE, AREA_MMAP, NULL),
                     0);
    poke(f, TIB, 7);
    for (unsigned i = 0; i < 2; i++) {
        mf_gva at = TIB + i * PAGE;
        assert_int_equal(addrspace_mmap(as, at, PAGE, RW, FIXED), -EPERM);
        assert_int_equal(addrspace_mmap(as, at, 2 * PAGE, RW, FIXED), -EPERM);
        assert_int_equal(addrspace_munmap(as, at, PAGE), -EPERM);
        assert_int_equal(addrspace_munmap(as, at - PAGE, 8 * PAGE), -EPERM);
        assert_int_equal(addrspace_mprotect(as, at, PAGE, RW), -EPERM);
        assert_int_equal(addrspace_madvise(as, at, PAGE, LINUX_MADV_DONTNEED), -EPERM);
        assert_int_equal(addrspace_mremap(as, at, PAGE, 2 * PAGE, LINUX_MREMAP_MAYMOVE, 0),
                         -EPERM);
        assert_int_equal(addrspace_mremap(as, TIB + 2 * PAGE, PAGE, PAGE,
                                          LINUX_MREMAP_MAYMOVE | LINUX_MREMAP_FIXED, at),
                         -EPERM);
    }
    assert_int_equal(addrspace_munmap(as, 0, MF_ABI_GVA_END), -EPERM);
    assert_int_equal(peek(f, TIB), 7);
    check_array(as);
}

static void test_add_and_record(void **state)
{
    struct fixture *f = *state;
    struct mf_error err;
    assert_int_equal(addrspace_add(&f->as, TIB, PAGE + 1, PT_READ, AREA_IMAGE, &err), 0);
    assert_int_equal(f->fake.used, 2);
    assert_int_equal(addrspace_add(&f->as, TIB + PAGE, PAGE, PT_READ, AREA_IMAGE, &err),
                     MF_E_IMAGE);
    assert_int_equal(addrspace_record(&f->as, TIB, PAGE, PT_READ, AREA_SYSTEM, &err), MF_E_IMAGE);
    assert_int_equal(addrspace_add(&f->as, TIB + 1, PAGE, PT_READ, AREA_IMAGE, &err), MF_E_IMAGE);
    assert_int_equal(addrspace_add(&f->as, 2 * TIB, 0, PT_READ, AREA_IMAGE, &err), MF_E_IMAGE);
    assert_int_equal(addrspace_add(&f->as, 2 * TIB, UINT64_MAX, PT_READ, AREA_IMAGE, &err),
                     MF_E_IMAGE);
    assert_int_equal(addrspace_add(&f->as, 2 * TIB, 2000 * PAGE, PT_READ, AREA_IMAGE, &err),
                     MF_E_NO_MEMORY);
    assert_int_equal(addrspace_record(&f->as, 2 * TIB, PAGE, PT_READ, AREA_SYSTEM, &err), 0);
    assert_int_equal(f->fake.used, 2);
    assert_int_equal(addrspace_find(&f->as, TIB)->kind, AREA_IMAGE);
    assert_int_equal(addrspace_find(&f->as, TIB)->end, TIB + 2 * PAGE);
    assert_null(addrspace_find(&f->as, TIB - 1));
    assert_null(addrspace_find(&f->as, TIB + 2 * PAGE));
    assert_null(addrspace_find(&f->as, UINT64_MAX));
}

/* Memory of the host has its own range, a guard behind each piece, and is not the guest's. */
static void test_host_memory(void **state)
{
    struct fixture *f = *state;
    struct addrspace *as = &f->as;
    struct mf_error err;
    mf_gva a, b, c;
    assert_int_equal(addrspace_add_host(as, 4 * PAGE, PT_READ, &a, &err), 0);
    assert_int_equal(addrspace_add_host(as, PAGE, PT_READ | PT_WRITE, &b, &err), 0);
    assert_int_equal(a, LAYOUT_GVA_WINDOWS);
    assert_int_equal(b, a + 5 * PAGE);
    assert_int_equal(addrspace_find(as, a + 4 * PAGE - 1)->kind, AREA_HOST);
    assert_int_equal(addrspace_find(as, a + 4 * PAGE)->kind, AREA_GUARD);
    assert_int_equal(addrspace_find(as, a)->prot, PT_READ);
    for (mf_gva at = a; at < b + 2 * PAGE; at += PAGE) {
        assert_int_equal(addrspace_mmap(as, at, PAGE, RW, FIXED), -EPERM);
        assert_int_equal(addrspace_munmap(as, at, PAGE), -EPERM);
        assert_int_equal(addrspace_mprotect(as, at, PAGE, RW), -EPERM);
        assert_int_equal(addrspace_madvise(as, at, PAGE, LINUX_MADV_DONTNEED), -EPERM);
        assert_int_equal(addrspace_mremap(as, at, PAGE, 2 * PAGE, LINUX_MREMAP_MAYMOVE, 0),
                         -EPERM);
    }
    addrspace_forget_host(as, a, 4 * PAGE);
    assert_null(addrspace_find(as, a));
    assert_null(addrspace_find(as, a + 4 * PAGE));
    assert_int_equal(addrspace_find(as, b)->kind, AREA_HOST);
    /* First fit, around what the guest put there. */
    assert_int_equal(addrspace_mmap(as, a + 2 * PAGE, PAGE, RW, FIXED), a + 2 * PAGE);
    assert_int_equal(addrspace_add_host(as, 2 * PAGE, PT_READ, &c, &err), 0);
    assert_int_equal(c, b + 2 * PAGE);
    assert_int_equal(addrspace_add_host(as, PAGE, PT_READ, &a, &err), 0);
    assert_int_equal(a, LAYOUT_GVA_WINDOWS);
    check_array(as);

    const uint64_t sizes[] = {LAYOUT_GVA_WINDOWS_END - LAYOUT_GVA_WINDOWS, UINT64_C(1) << 63,
                              UINT64_MAX - PAGE + 1};
    size_t nareas = as->nareas;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        assert_int_equal(addrspace_add_host(as, sizes[i], PT_READ, &c, &err), MF_E_NO_MEMORY);
    assert_int_equal(as->nareas, nareas);
    addrspace_forget_host(as, a, PAGE);
    addrspace_forget_host(as, b, PAGE);
    addrspace_forget_host(as, b + 2 * PAGE, 2 * PAGE);
    assert_int_equal(as->nareas, 1);
    /* The guest's table of ranges may be full. */
    for (mf_gva at = TIB; addrspace_mmap(as, at, PAGE, 0, FIXED) >= 0;)
        at += 2 * PAGE;
    assert_int_equal(addrspace_add_host(as, PAGE, PT_READ, &a, &err), MF_E_NO_MEMORY);
}

static void test_munmap(void **state)
{
    struct fixture *f = *state;
    mf_gva at = map_pages(f, 0, 8, RW);
    assert_int_equal(addrspace_munmap(&f->as, at + 1, PAGE), -EINVAL);
    assert_int_equal(addrspace_munmap(&f->as, at, 0), -EINVAL);
    assert_int_equal(addrspace_munmap(&f->as, at, UINT64_MAX), -EINVAL);
    assert_int_equal(addrspace_munmap(&f->as, at, UINT64_C(1) << 63), -EINVAL);
    assert_int_equal(addrspace_munmap(&f->as, UINT64_MAX - PAGE + 1, PAGE), -EINVAL);
    assert_int_equal(addrspace_munmap(&f->as, at + 3 * PAGE, 1), 0);
    assert_int_equal(f->as.nareas, 2);
    assert_int_equal(f->fake.used, 7);
    assert_int_equal(addrspace_munmap(&f->as, at + 3 * PAGE, PAGE), 0);
    assert_int_equal(addrspace_munmap(&f->as, at + 2 * PAGE, 4 * PAGE), 0);
    assert_int_equal(f->fake.used, 4);
    assert_int_equal(addrspace_munmap(&f->as, 0, MF_ABI_GVA_END), 0);
    assert_int_equal(f->fake.used, 0);
    assert_int_equal(f->as.nareas, 0);
}

static void test_mprotect(void **state)
{
    struct fixture *f = *state;
    struct addrspace *as = &f->as;
    mf_gva at = map_pages(f, 0, 4, RW);
    assert_int_equal(addrspace_mprotect(as, at + 1, PAGE, RW), -EINVAL);
    assert_int_equal(addrspace_mprotect(as, at, PAGE, 0x10), -EINVAL);
    assert_int_equal(addrspace_mprotect(as, at, 0, RW), 0);
    assert_int_equal(addrspace_mprotect(as, at, UINT64_MAX, RW), -ENOMEM);
    assert_int_equal(addrspace_mprotect(as, at, UINT64_C(1) << 63, RW), -ENOMEM);
    assert_int_equal(addrspace_mprotect(as, at, 5 * PAGE, LINUX_PROT_READ), -ENOMEM);
    assert_int_equal(addrspace_mprotect(as, at - PAGE, 2 * PAGE, LINUX_PROT_READ), -ENOMEM);
    assert_int_equal(addrspace_mprotect(as, at, PAGE, RW | LINUX_PROT_EXEC), -EACCES);
    assert_int_equal(prot_at(f, at), PT_READ | PT_WRITE);
    /* Without rights the contents stay. */
    poke(f, at + PAGE, 5);
    assert_int_equal(addrspace_mprotect(as, at + PAGE, PAGE, 0), 0);
    assert_int_equal(fake_find(&f->fake, at + PAGE)->prot, PT_NONE);
    assert_int_equal(as->nareas, 3);
    assert_int_equal(addrspace_mprotect(as, at, 4 * PAGE, LINUX_PROT_READ | LINUX_PROT_EXEC), 0);
    assert_int_equal(as->nareas, 1);
    assert_int_equal(peek(f, at + PAGE), 5);
    assert_int_equal(fake_find(&f->fake, at)->prot, PT_READ | PT_EXEC | PT_USER);
    check_array(as);
}

static void test_reservations(void **state)
{
    struct fixture *f = *state;
    struct addrspace *as = &f->as;
    /* Addresses are free of cost; pages come when they become accessible. */
    mf_gva at = map_pages(f, 0, (40 * TIB) >> PAGE_SHIFT, 0);
    assert_int_equal(f->fake.used, 0);
    assert_int_equal(addrspace_mmap(as, 0, 64 * TIB, 0, ANON), -ENOMEM);
    assert_int_equal(addrspace_mremap(as, at, 40 * TIB, 41 * TIB, 0, 0), at);
    assert_int_equal(addrspace_mprotect(as, at + TIB, 10 * PAGE, RW), 0);
    assert_int_equal(f->fake.used, 10);
    assert_int_equal(as->nareas, 3);
    assert_int_equal(addrspace_mprotect(as, at + 2 * TIB, 991 * PAGE, RW), -ENOMEM);
    assert_int_equal(addrspace_mprotect(as, at, 40 * TIB, LINUX_PROT_READ), -ENOMEM);
    assert_int_equal(prot_at(f, at + 2 * TIB), PT_NONE);
    assert_int_equal(f->fake.used, 10);
    assert_int_equal(addrspace_madvise(as, at, 40 * TIB, LINUX_MADV_DONTNEED), 0);
    assert_int_equal(addrspace_mprotect(as, at, 40 * TIB, 0), 0);
    assert_int_equal(addrspace_munmap(as, at, 41 * TIB), 0);
    assert_int_equal(as->nareas, 0);
    assert_int_equal(f->fake.used, 0);
    assert_true(f->fake.walked < 10 * 10);
}

static void test_mremap_arguments(void **state)
{
    struct fixture *f = *state;
    struct addrspace *as = &f->as;
    unsigned move = LINUX_MREMAP_MAYMOVE, fixed = move | LINUX_MREMAP_FIXED;
    mf_gva at = map_pages(f, 0, 4, RW);
    assert_int_equal(addrspace_mremap(as, at + 1, PAGE, PAGE, 0, 0), -EINVAL);
    assert_int_equal(addrspace_mremap(as, at, PAGE, 0, 0, 0), -EINVAL);
    assert_int_equal(addrspace_mremap(as, at, 0, PAGE, move, 0), -EINVAL);
    assert_int_equal(addrspace_mremap(as, at, PAGE, PAGE, 8, 0), -EINVAL);
    assert_int_equal(addrspace_mremap(as, at, PAGE, PAGE, LINUX_MREMAP_FIXED, TIB), -EINVAL);
    assert_int_equal(addrspace_mremap(as, at, PAGE, UINT64_MAX, move, 0), -EINVAL);
    assert_int_equal(addrspace_mremap(as, at, UINT64_MAX, PAGE, move, 0), -EINVAL);
    assert_int_equal(addrspace_mremap(as, at, PAGE, UINT64_C(1) << 63, move, 0), -ENOMEM);
    assert_int_equal(addrspace_mremap(as, at, UINT64_C(1) << 63, PAGE, move, 0), -EINVAL);
    assert_int_equal(addrspace_mremap(as, TIB, PAGE, 2 * PAGE, move, 0), -EFAULT);
    assert_int_equal(addrspace_mremap(as, at, 5 * PAGE, 6 * PAGE, move, 0), -EFAULT);
    assert_int_equal(addrspace_mremap(as, at, 4 * PAGE, 4 * PAGE, fixed, TIB + 1), -EINVAL);
    assert_int_equal(addrspace_mremap(as, at, 4 * PAGE, 4 * PAGE, fixed, at + PAGE), -EINVAL);
    assert_int_equal(addrspace_mremap(as, at, 4 * PAGE, 4 * PAGE, fixed, MF_ABI_GVA_END), -EINVAL);
    assert_int_equal(addrspace_mremap(as, at, 4 * PAGE, 4 * PAGE, fixed, 0), -EPERM);
    map_pages(f, at + 4 * PAGE, 1, LINUX_PROT_READ);
    assert_int_equal(addrspace_mremap(as, at, 4 * PAGE, 5 * PAGE, 0, 0), -ENOMEM);
    assert_int_equal(addrspace_mremap(as, at, 4 * PAGE, 1000 * PAGE, move, 0), -ENOMEM);
    assert_int_equal(f->fake.used, 5);
    assert_int_equal(addrspace_mremap(as, at, 4 * PAGE, 4 * PAGE, 0, 0), at);
    check_array(as);
}

static void test_mremap_keeps_contents(void **state)
{
    struct fixture *f = *state;
    struct addrspace *as = &f->as;
    unsigned move = LINUX_MREMAP_MAYMOVE, fixed = move | LINUX_MREMAP_FIXED;
    mf_gva at = map_pages(f, 0, 2, RW);
    poke(f, at, 1);
    poke(f, at + PAGE, 2);
    assert_int_equal(addrspace_mremap(as, at, 2 * PAGE, 4 * PAGE, 0, 0), at);
    assert_int_equal(f->fake.used, 4);
    map_pages(f, at + 4 * PAGE, 1, LINUX_PROT_READ);
    mf_gva moved = (mf_gva)addrspace_mremap(as, at, 4 * PAGE, 6 * PAGE, move, 0);
    assert_int_equal(moved, at + 5 * PAGE);
    assert_null(addrspace_find(as, at));
    assert_int_equal(peek(f, moved), 1);
    assert_int_equal(peek(f, moved + PAGE), 2);
    assert_int_equal(peek(f, moved + 5 * PAGE), 0);
    assert_int_equal(addrspace_mremap(as, moved, 6 * PAGE, PAGE, 0, 0), moved);
    assert_int_equal(f->fake.used, 2);
    map_pages(f, TIB, 3, LINUX_PROT_READ);
    poke(f, TIB + PAGE, 9);
    assert_int_equal(addrspace_mremap(as, moved, PAGE, 2 * PAGE, fixed, TIB), TIB);
    assert_int_equal(peek(f, TIB), 1);
    assert_int_equal(peek(f, TIB + PAGE), 0);
    assert_int_equal(prot_at(f, TIB + PAGE), PT_READ | PT_WRITE);
    assert_int_equal(prot_at(f, TIB + 2 * PAGE), PT_READ);
    assert_int_equal(f->fake.used, 4);
    /* A move that fails keeps the old range. */
    f->fake.fail_move = true;
    assert_int_equal(addrspace_mremap(as, TIB, 2 * PAGE, 5 * PAGE, move, 0), -ENOMEM);
    assert_int_equal(peek(f, TIB), 1);
    assert_int_equal(f->fake.used, 4);
    check_array(as);
}

static void test_brk(void **state)
{
    struct fixture *f = *state;
    struct addrspace *as = &f->as;
    assert_int_equal(addrspace_brk(as, TIB), 0);
    addrspace_set_brk(as, TIB);
    assert_int_equal(addrspace_brk(as, 0), TIB);
    assert_int_equal(addrspace_brk(as, TIB - 1), TIB);
    assert_int_equal(addrspace_brk(as, UINT64_MAX), TIB);
    assert_int_equal(addrspace_brk(as, MF_ABI_GVA_END), TIB);
    assert_int_equal(addrspace_brk(as, TIB + 1), TIB + 1);
    assert_int_equal(f->fake.used, 1);
    assert_int_equal(addrspace_brk(as, TIB + 3 * PAGE), TIB + 3 * PAGE);
    assert_int_equal(addrspace_find(as, TIB)->kind, AREA_HEAP);
    poke(f, TIB + 2 * PAGE, 4);
    assert_int_equal(addrspace_brk(as, TIB + 2 * PAGE), TIB + 2 * PAGE);
    assert_int_equal(f->fake.used, 2);
    assert_int_equal(addrspace_brk(as, TIB + 3 * PAGE), TIB + 3 * PAGE);
    assert_int_equal(peek(f, TIB + 2 * PAGE), 0);
    /* Out of memory, and up to the gap before the next area. */
    assert_int_equal(addrspace_brk(as, TIB + 1001 * PAGE), TIB + 3 * PAGE);
    mf_gva wall = TIB + 100 * PAGE;
    map_pages(f, wall, 1, RW);
    assert_int_equal(addrspace_brk(as, wall), TIB + 3 * PAGE);
    assert_int_equal(addrspace_brk(as, wall - LAYOUT_BRK_GAP + 1), TIB + 3 * PAGE);
    assert_int_equal(addrspace_brk(as, wall - LAYOUT_BRK_GAP), wall - LAYOUT_BRK_GAP);
    /* What the guest put over its heap is not given back by brk. */
    map_pages(f, TIB + 5 * PAGE, 1, RW);
    assert_int_equal(addrspace_brk(as, TIB), wall - LAYOUT_BRK_GAP);
    assert_int_equal(addrspace_munmap(as, TIB + 5 * PAGE, PAGE), 0);
    assert_int_equal(addrspace_brk(as, TIB), TIB);
    assert_int_equal(f->fake.used, 1);
}

static void test_madvise(void **state)
{
    struct fixture *f = *state;
    struct addrspace *as = &f->as;
    mf_gva at = map_pages(f, 0, 3, RW);
    poke(f, at, 1);
    poke(f, at + PAGE, 2);
    poke(f, at + 2 * PAGE, 3);
    assert_int_equal(addrspace_madvise(as, at + 1, PAGE, LINUX_MADV_DONTNEED), -EINVAL);
    assert_int_equal(addrspace_madvise(as, at, PAGE, 5), -EINVAL);
    assert_int_equal(addrspace_madvise(as, at, PAGE, 100), -EINVAL);
    assert_int_equal(addrspace_madvise(as, at, UINT64_MAX, LINUX_MADV_DONTNEED), -EINVAL);
    assert_int_equal(addrspace_madvise(as, at, UINT64_C(1) << 63, LINUX_MADV_DONTNEED), -ENOMEM);
    assert_int_equal(addrspace_madvise(as, at, 0, LINUX_MADV_DONTNEED), 0);
    assert_int_equal(addrspace_madvise(as, at, 3 * PAGE, LINUX_MADV_FREE), 0);
    assert_int_equal(addrspace_madvise(as, at, 3 * PAGE, 14), 0);
    assert_int_equal(addrspace_madvise(as, at, 4 * PAGE, 14), -ENOMEM);
    assert_int_equal(addrspace_madvise(as, at + PAGE, PAGE, LINUX_MADV_DONTNEED), 0);
    assert_int_equal(peek(f, at), 1);
    assert_int_equal(peek(f, at + PAGE), 0);
    assert_int_equal(addrspace_madvise(as, at + 2 * PAGE, 2 * PAGE, LINUX_MADV_DONTNEED), -ENOMEM);
    assert_int_equal(peek(f, at + 2 * PAGE), 0);
    assert_int_equal(addrspace_add(as, TIB, PAGE, PT_READ, AREA_IMAGE, NULL), 0);
    assert_int_equal(addrspace_madvise(as, TIB, PAGE, LINUX_MADV_DONTNEED), -EINVAL);
}

static void test_area_limit(void **state)
{
    struct fixture *f = *state;
    struct addrspace *as = &f->as;
    for (uint64_t i = 0; i < ADDRSPACE_AREAS_MAX; i++)
        assert_int_equal(addrspace_mmap(as, TIB + 2 * i * PAGE, PAGE, 0, FIXED),
                         TIB + 2 * i * PAGE);
    assert_int_equal(as->nareas, ADDRSPACE_AREAS_MAX);
    assert_int_equal(addrspace_mmap(as, 0, PAGE, RW, ANON), -ENOMEM);
    assert_int_equal(f->fake.used, 0);
    assert_int_equal(addrspace_record(as, 2 * TIB, PAGE, PT_READ, AREA_SYSTEM, NULL),
                     MF_E_NO_MEMORY);
    /* What needs no further area still works, and gives room again. */
    assert_int_equal(addrspace_mprotect(as, TIB, PAGE, RW), 0);
    assert_int_equal(addrspace_munmap(as, TIB, PAGE), 0);
    assert_int_equal(addrspace_mmap(as, 3 * TIB, 3 * PAGE, 0, FIXED), 3 * TIB);
    assert_int_equal(addrspace_munmap(as, 3 * TIB + PAGE, PAGE), -ENOMEM);
    assert_int_equal(addrspace_mprotect(as, 3 * TIB + PAGE, PAGE, RW), -ENOMEM);
    assert_int_equal(f->fake.used, 0);
    check_array(as);
}

/* The naive model: a window of pages, one entry each. */
#define WINDOW_PAGES 96
#define WINDOW LAYOUT_GVA_MMAP
#define BUDGET 60

struct model_page {
    bool mapped, backed;
    unsigned prot;
    uint32_t content;
};

struct model {
    struct model_page page[WINDOW_PAGES];
};

static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static uint64_t random_below(uint64_t limit)
{
    return (next_random() >> 20) % limit;
}

static uint64_t model_used(const struct model *model)
{
    uint64_t used = 0;
    for (size_t i = 0; i < WINDOW_PAGES; i++)
        used += model->page[i].backed;
    return used;
}

/* Pages of [first, first + n) that have no memory yet. */
static uint64_t model_missing(const struct model *model, size_t first, size_t n)
{
    uint64_t missing = 0;
    for (size_t i = first; i < first + n; i++)
        missing += !model->page[i].backed;
    return missing;
}

static unsigned model_prot(unsigned linux_prot)
{
    static const unsigned map[] = {PT_NONE, PT_READ, PT_READ | PT_WRITE, PT_READ | PT_WRITE,
                                   PT_READ | PT_EXEC, PT_READ | PT_EXEC};
    return map[linux_prot];
}

static void model_set(struct model *model, size_t first, size_t n, unsigned linux_prot)
{
    for (size_t i = first; i < first + n; i++)
        model->page[i] = (struct model_page){true, linux_prot != 0, model_prot(linux_prot), 0};
}

static void compare(struct fixture *f, struct model *model)
{
    check_array(&f->as);
    assert_int_equal(f->fake.used, model_used(model));
    for (size_t i = 0; i < WINDOW_PAGES; i++) {
        const struct model_page *want = &model->page[i];
        const struct area *area = addrspace_find(&f->as, WINDOW + i * PAGE);
        const struct fake_page *page = fake_find(&f->fake, WINDOW + i * PAGE);
        assert_int_equal(area != NULL, want->mapped);
        assert_int_equal(page != NULL, want->backed);
        if (area) {
            assert_int_equal(area->prot, want->prot);
            assert_int_equal(area->backed, want->backed);
        }
        if (page) {
            assert_int_equal(page->prot, want->prot ? want->prot | PT_USER : PT_NONE);
            assert_int_equal(page->content, want->content);
        }
    }
}

static void step_mmap(struct fixture *f, struct model *model, size_t first, size_t n)
{
    unsigned prot = (unsigned)random_below(6);
    bool fixed = random_below(2);
    uint64_t at = fixed ? WINDOW + first * PAGE : 0;
    int64_t result = addrspace_mmap(&f->as, at, n * PAGE - random_below(PAGE), prot,
                                    fixed ? FIXED : ANON);
    if (!fixed) {
        /* The model's own search for the lowest place. */
        size_t run = 0, i = 0;
        for (; i < WINDOW_PAGES && run < n; i++)
            run = model->page[i].mapped ? 0 : run + 1;
        first = i - run;
        if (first + n > WINDOW_PAGES) {
            if (result > 0)
                assert_int_equal(addrspace_munmap(&f->as, (mf_gva)result, n * PAGE), 0);
            return;
        }
    }
    if (prot != 0 && model_missing(model, first, n) > BUDGET - model_used(model)) {
        assert_int_equal(result, -ENOMEM);
        return;
    }
    assert_int_equal(result, WINDOW + first * PAGE);
    model_set(model, first, n, prot);
}

static void step_mprotect(struct fixture *f, struct model *model, size_t first, size_t n)
{
    unsigned prot = (unsigned)random_below(6);
    int64_t want = 0;
    for (size_t i = first; i < first + n; i++) {
        if (!model->page[i].mapped)
            want = -ENOMEM;
    }
    if (prot != 0 && model_missing(model, first, n) > BUDGET - model_used(model))
        want = -ENOMEM;
    assert_int_equal(addrspace_mprotect(&f->as, WINDOW + first * PAGE, n * PAGE, prot), want);
    for (size_t i = first; want == 0 && i < first + n; i++) {
        model->page[i].prot = model_prot(prot);
        model->page[i].backed = model->page[i].backed || prot != 0;
    }
}

static void step_munmap(struct fixture *f, struct model *model, size_t first, size_t n)
{
    assert_int_equal(addrspace_munmap(&f->as, WINDOW + first * PAGE, n * PAGE), 0);
    memset(&model->page[first], 0, n * sizeof(model->page[0]));
}

static void step_madvise(struct fixture *f, struct model *model, size_t first, size_t n)
{
    int64_t want = 0;
    for (size_t i = first; i < first + n; i++) {
        if (!model->page[i].mapped)
            want = -ENOMEM;
        model->page[i].content = 0;
    }
    assert_int_equal(addrspace_madvise(&f->as, WINDOW + first * PAGE, n * PAGE,
                                       LINUX_MADV_DONTNEED),
                     want);
}

/* mremap inside of one run of equal pages, to a fixed place or a smaller size. */
static void step_mremap(struct fixture *f, struct model *model, size_t first, size_t n)
{
    size_t to = random_below(WINDOW_PAGES), m = 1 + random_below(8);
    const struct model_page *page = &model->page[first];
    if (to + m > WINDOW_PAGES)
        return;
    for (size_t i = first; i < first + n; i++) {
        if (!model->page[i].mapped || model->page[i].prot != page->prot ||
            model->page[i].backed != page->backed)
            return;
    }
    unsigned flags = LINUX_MREMAP_MAYMOVE | LINUX_MREMAP_FIXED;
    int64_t result = addrspace_mremap(&f->as, WINDOW + first * PAGE, n * PAGE, m * PAGE, flags,
                                      WINDOW + to * PAGE);
    if (to < first + n && first < to + m) {
        assert_int_equal(result, -EINVAL);
        return;
    }
    size_t kept = MIN(n, m);
    if (result == -ENOMEM) {
        /* The pages behind the moved ones did not fit; nothing changed but the cut. */
        assert_true(page->prot != PT_NONE && m > n);
        assert_true(model_missing(model, to + kept, m - kept) > BUDGET - model_used(model));
        return;
    }
    assert_int_equal(result, WINDOW + to * PAGE);
    struct model_page first_page = *page;
    for (size_t i = 0; i < m; i++) {
        model->page[to + i] = i < kept ? model->page[first + i] : first_page;
        if (i >= kept) {
            model->page[to + i].content = 0;
            model->page[to + i].backed = first_page.prot != PT_NONE;
        }
    }
    memset(&model->page[first], 0, n * sizeof(model->page[0]));
}

static void step_write(struct fixture *f, struct model *model, size_t first)
{
    if (model->page[first].prot & PT_WRITE) {
        model->page[first].content = (uint32_t)next_random();
        poke(f, WINDOW + first * PAGE, model->page[first].content);
    }
}

static void test_random_sequences(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct fixture *f = make_fixture(BUDGET);
        struct model model = {0};
        random_state = seed * UINT64_C(0x9e3779b97f4a7c15);
        for (unsigned step = 0; step < 4000; step++) {
            size_t first = random_below(WINDOW_PAGES), n = 1 + random_below(12);
            n = MIN(n, WINDOW_PAGES - first);
            switch (random_below(8)) {
            case 0:
            case 1:
                step_mmap(f, &model, first, n);
                break;
            case 2:
                step_mprotect(f, &model, first, n);
                break;
            case 3:
                step_munmap(f, &model, first, n);
                break;
            case 4:
                step_madvise(f, &model, first, n);
                break;
            case 5:
                step_mremap(f, &model, first, MIN(n, 3));
                break;
            default:
                step_write(f, &model, first);
            }
            compare(f, &model);
        }
        free_fixture(f);
    }
}

/* Arguments of no sense at all: nothing but the array's invariants is promised. */
static void test_random_arguments(void **state)
{
    struct fixture *f = *state;
    struct addrspace *as = &f->as;
    uint64_t arg[5];
    random_state = 4711;
    assert_int_equal(addrspace_add(as, MF_ABI_GVA_BOOT, PAGE, PT_READ, AREA_SYSTEM, NULL), 0);
    addrspace_set_brk(as, TIB);
    for (unsigned step = 0; step < 20000; step++) {
        for (size_t i = 0; i < ARRAY_LEN(arg); i++) {
            arg[i] = next_random() >> random_below(64);
            if (random_below(2))
                arg[i] = TIB + (arg[i] & 0x1f000);
            if (random_below(3) == 0)
                arg[i] &= ~PAGE_MASK_LOW;
            if (random_below(3) == 0)
                arg[i] = random_below(64);
        }
        uint64_t flags = random_below(2) ? FIXED : arg[3];
        addrspace_mmap(as, arg[0], arg[1], arg[2] & 7, flags);
        addrspace_mprotect(as, arg[1], arg[0], arg[2] & 7);
        addrspace_mremap(as, arg[2], arg[1], arg[3], arg[4] & 3, arg[0]);
        addrspace_brk(as, arg[4]);
        addrspace_madvise(as, arg[3], arg[2], arg[1] & 31);
        if (random_below(4) == 0)
            addrspace_munmap(as, arg[0], arg[4]);
        check_array(as);
        assert_int_equal(addrspace_find(as, MF_ABI_GVA_BOOT)->kind, AREA_SYSTEM);
    }
    assert_non_null(fake_find(&f->fake, MF_ABI_GVA_BOOT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mmap_arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mmap_places, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mmap_fixed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hosts_areas_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_add_and_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_host_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_munmap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mprotect, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reservations, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mremap_arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mremap_keeps_contents, setup, teardown),
        cmocka_unit_test_setup_teardown(test_brk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_madvise, setup, teardown),
        cmocka_unit_test_setup_teardown(test_area_limit, setup, teardown),
        cmocka_unit_test(test_random_sequences),
        cmocka_unit_test_setup_teardown(test_random_arguments, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
