/* Mapping changes on x86 page tables, in runs of adjacent guest physical pages. */
#include "vm/paging.h"

#include "base/error.h"

/* Collects pages into runs and hands each finished run to a function. */
struct run {
    paging_stale_fn fn;
    void *context;
    mf_gpa start;
    uint64_t bytes;
};

static void run_flush(struct run *run)
{
    if (run->bytes > 0 && run->fn)
        run->fn(run->context, run->start, run->bytes);
    run->bytes = 0;
}

static void run_add(struct run *run, mf_gpa gpa)
{
    if (run->bytes > 0 && run->start + run->bytes == gpa) {
        run->bytes += PAGE_BYTES;
        return;
    }
    run_flush(run);
    run->start = gpa;
    run->bytes = PAGE_BYTES;
}

static void discard_run(void *context, mf_gpa gpa, uint64_t bytes)
{
    mem_discard(context, gpa, bytes);
}

/* A page may be used again only once it is discarded, so after its run is. */
static void discard_and_free_run(void *context, mf_gpa gpa, uint64_t bytes)
{
    struct mem *mem = context;
    mem_discard(mem, gpa, bytes);
    /* The last page first: the next allocations then come in rising order. */
    for (uint64_t offset = bytes; offset > 0; offset -= PAGE_BYTES)
        mem_page_free(mem, gpa + offset - PAGE_BYTES);
}

static int no_memory(const struct mem *mem, struct mf_error *err)
{
    return error_set(err, MF_E_NO_MEMORY, "the guest's %llu MiB of memory are used up",
                     (unsigned long long)(mem->bytes >> 20));
}

int paging_map(struct mem *mem, mf_gva gva, uint64_t npages, unsigned prot, struct mf_error *err)
{
    if (npages > mem_pages_available(mem))
        return no_memory(mem, err);
    /* What the guest gets in one piece is then in one piece in the host, too. */
    pt_make_tables(mem, gva, npages);
    for (uint64_t i = 0; i < npages; i++) {
        mf_gpa gpa;
        bool ok = mem_page_alloc(mem, &gpa);
        if (ok && !pt_map(mem, gva + i * PAGE_BYTES, gpa, prot)) {
            mem_page_free(mem, gpa);
            ok = false;
        }
        if (!ok) {
            paging_unmap(mem, gva, i);
            return no_memory(mem, err);
        }
    }
    return 0;
}

int paging_map_at(struct mem *mem, mf_gva gva, mf_gpa gpa, uint64_t npages, unsigned prot,
                  struct mf_error *err)
{
    return pt_map_run(mem, gva, gpa, npages, prot) ? 0 : no_memory(mem, err);
}

void paging_unmap_at(struct mem *mem, mf_gva gva, uint64_t npages)
{
    pt_unmap_run(mem, gva, npages);
}

void paging_protect(struct mem *mem, mf_gva gva, uint64_t npages, unsigned prot,
                    paging_stale_fn stale, void *context)
{
    struct run run = {.fn = stale, .context = context};
    for (uint64_t i = 0; i < npages; i++) {
        struct pt_page page;
        mf_gva at = gva + i * PAGE_BYTES;
        if (!pt_lookup(mem, at, &page))
            continue;
        pt_protect(mem, at, prot);
        /* No CPU keeps a translation of a page that was not present. */
        if (page.prot != PT_NONE && page.prot != prot)
            run_add(&run, page.gpa);
    }
    run_flush(&run);
}

bool paging_unmap(struct mem *mem, mf_gva gva, uint64_t npages)
{
    struct run run = {.fn = discard_and_free_run, .context = mem};
    bool any = false;
    for (uint64_t i = 0; i < npages; i++) {
        struct pt_page page;
        if (!pt_unmap(mem, gva + i * PAGE_BYTES, &page))
            continue;
        run_add(&run, page.gpa);
        any = true;
    }
    run_flush(&run);
    return any;
}

void paging_discard(struct mem *mem, mf_gva gva, uint64_t npages)
{
    struct run run = {.fn = discard_run, .context = mem};
    for (uint64_t i = 0; i < npages; i++) {
        struct pt_page page;
        if (pt_lookup(mem, gva + i * PAGE_BYTES, &page))
            run_add(&run, page.gpa);
    }
    run_flush(&run);
}

int paging_move(struct mem *mem, mf_gva from, mf_gva to, uint64_t npages, paging_stale_fn stale,
                void *context, struct mf_error *err)
{
    struct run run = {.fn = stale, .context = context};
    pt_make_tables(mem, to, npages);
    for (uint64_t i = 0; i < npages; i++) {
        struct pt_page page;
        if (!pt_lookup(mem, from + i * PAGE_BYTES, &page))
            continue;
        if (pt_map(mem, to + i * PAGE_BYTES, page.gpa, page.prot))
            continue;
        while (i-- > 0)
            pt_unmap(mem, to + i * PAGE_BYTES, &page);
        return no_memory(mem, err);
    }
    for (uint64_t i = 0; i < npages; i++) {
        struct pt_page page;
        if (pt_unmap(mem, from + i * PAGE_BYTES, &page) && page.prot != PT_NONE)
            run_add(&run, page.gpa);
    }
    run_flush(&run);
    return 0;
}
