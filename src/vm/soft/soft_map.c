/*
 * The guest's address space for Unicorn: shadow tables for the rights of the CPU's
 * data accesses, and regions for where the bytes are and what may be executed.
 *
 * A page that the guest may reach in some way lies in a region, one that it may
 * not does not; so an access to the latter comes to the hook of soft_run.c first,
 * which learns from it what the page tables alone do not tell. Changing regions is
 * the expensive part (its cost grows with the square of their number), so they are
 * kept merged and only touched when they really differ.
 */
#include "vm/soft/soft.h"

#include "base/checked.h"
#include "base/error.h"
#include "vm/paging.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/*
 * With more regions than this, nothing more is mapped: each change takes milliseconds
 * by then. Pieces of what is mapped already may take as many again.
 */
#define REGIONS_MAX 1024

/* Index of the first region that ends above `gva`. */
static size_t region_find(const struct soft_vm *soft, mf_gva gva)
{
    size_t low = 0, high = soft->nregions;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (soft->regions[middle].gva + soft->regions[middle].bytes > gva)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Where the bytes of a region are. One never has parts of two windows: they are not adjacent. */
static void *host_of(const struct mem *mem, mf_gpa gpa)
{
    if (gpa < mem->bytes)
        return mem_at(mem, gpa);
    const struct mem_window *window = mem_window_find(mem, gpa);
    return window ? window->host + (gpa - window->gpa) : NULL;
}

static bool region_insert(struct soft_vm *soft, size_t at, const struct soft_region *region)
{
    if (soft->nregions == 2 * REGIONS_MAX) {
        soft->broken = "the guest's memory is split into too many pieces";
        return false;
    }
    uint32_t perms = UC_PROT_READ | UC_PROT_WRITE | (region->exec ? UC_PROT_EXEC : 0);
    void *host = host_of(soft->vm.mem, region->gpa);
    if (!host ||
        uc_mem_map_ptr(soft->uc, region->gva, region->bytes, perms, host) != UC_ERR_OK) {
        soft->broken = "the emulator cannot map guest memory";
        return false;
    }
    memmove(&soft->regions[at + 1], &soft->regions[at],
            (soft->nregions - at) * sizeof *soft->regions);
    soft->regions[at] = *region;
    soft->nregions++;
    return true;
}

/* Translated code of a range is dropped while it can still be looked up. */
static void forget_code(struct soft_vm *soft, const struct soft_region *region)
{
    if (region->exec)
        uc_ctl_remove_cache(soft->uc, region->gva, region->gva + region->bytes);
}

static void region_remove(struct soft_vm *soft, size_t at)
{
    const struct soft_region *region = &soft->regions[at];
    forget_code(soft, region);
    if (uc_mem_unmap(soft->uc, region->gva, region->bytes) != UC_ERR_OK)
        soft->broken = "the emulator cannot unmap guest memory";
    soft->nregions--;
    memmove(&soft->regions[at], &soft->regions[at + 1],
            (soft->nregions - at) * sizeof *soft->regions);
}

/* Removes what lies in a range; the parts of regions outside of it stay. */
static void regions_clear(struct soft_vm *soft, mf_gva gva, uint64_t bytes)
{
    size_t at = region_find(soft, gva);
    while (at < soft->nregions && soft->regions[at].gva < gva + bytes && !soft->broken) {
        struct soft_region old = soft->regions[at];
        region_remove(soft, at);
        if (old.gva < gva) {
            struct soft_region left = old;
            left.bytes = gva - old.gva;
            if (region_insert(soft, at, &left))
                at++;
        }
        if (old.gva + old.bytes > gva + bytes) {
            struct soft_region right = old;
            right.gva = gva + bytes;
            right.gpa = old.gpa + (right.gva - old.gva);
            right.bytes = old.gva + old.bytes - right.gva;
            region_insert(soft, at, &right);
        }
    }
}

static bool continues(const struct soft_region *a, const struct soft_region *b)
{
    return a->gva + a->bytes == b->gva && a->gpa + a->bytes == b->gpa && a->exec == b->exec;
}

/* Adds a run where no region is, as one with its neighbours where possible. */
static void region_add(struct soft_vm *soft, struct soft_region run)
{
    size_t at = region_find(soft, run.gva);
    if (at > 0 && continues(&soft->regions[at - 1], &run)) {
        at--;
        run.gva = soft->regions[at].gva;
        run.gpa = soft->regions[at].gpa;
        run.bytes += soft->regions[at].bytes;
        region_remove(soft, at);
    }
    if (at < soft->nregions && continues(&run, &soft->regions[at])) {
        run.bytes += soft->regions[at].bytes;
        region_remove(soft, at);
    }
    region_insert(soft, at, &run);
}

/* The region that the page at `gva` should be in; false when in none. */
static bool wanted_region(const struct soft_vm *soft, mf_gva gva, struct soft_region *run)
{
    struct pt_page page;
    if (!pt_lookup(soft->vm.mem, gva, &page))
        return false;
    if (!(page.prot & PT_USER) || !(page.prot & (PT_READ | PT_WRITE | PT_EXEC)))
        return false;
    *run = (struct soft_region){
        .gva = gva, .gpa = page.gpa, .bytes = PAGE_BYTES, .exec = (page.prot & PT_EXEC) != 0};
    return true;
}

/* Whether the regions over a range are already those that the tables ask for. */
static bool regions_match(const struct soft_vm *soft, mf_gva gva, uint64_t npages)
{
    size_t at = region_find(soft, gva);
    for (uint64_t i = 0; i < npages; i++, gva += PAGE_BYTES) {
        while (at < soft->nregions && soft->regions[at].gva + soft->regions[at].bytes <= gva)
            at++;
        const struct soft_region *have = at < soft->nregions ? &soft->regions[at] : NULL;
        struct soft_region want;
        bool inside = have && have->gva <= gva;
        if (wanted_region(soft, gva, &want) != inside)
            return false;
        if (inside && (have->exec != want.exec || have->gpa + (gva - have->gva) != want.gpa))
            return false;
    }
    return true;
}

/* Makes the CPU see a range as the page tables describe it. */
static void sync_range(struct soft_vm *soft, mf_gva gva, uint64_t npages)
{
    for (uint64_t i = 0; i < npages; i++)
        soft_shadow_page(soft, gva + i * PAGE_BYTES);
    if (!regions_match(soft, gva, npages)) {
        regions_clear(soft, gva, npages * PAGE_BYTES);
        struct soft_region run = {0}, page;
        for (uint64_t i = 0; i < npages && !soft->broken; i++) {
            if (!wanted_region(soft, gva + i * PAGE_BYTES, &page))
                continue;
            if (run.bytes > 0 && continues(&run, &page)) {
                run.bytes += PAGE_BYTES;
                continue;
            }
            if (run.bytes > 0)
                region_add(soft, run);
            run = page;
        }
        if (run.bytes > 0 && !soft->broken)
            region_add(soft, run);
    }
    soft->stale = true;
}

static int check_range(const struct soft_vm *soft, mf_gva gva, uint64_t npages,
                       struct mf_error *err)
{
    mf_gva end = SOFT_GVA_SHADOW + soft->vm.mem->bytes;
    if (gva < end && gva + npages * PAGE_BYTES > SOFT_GVA_SHADOW)
        return error_set(err, MF_E_NO_MEMORY,
                         "the soft backend keeps the guest addresses %#llx to %#llx for itself",
                         (unsigned long long)SOFT_GVA_SHADOW, (unsigned long long)end);
    if (soft->broken)
        return error_set(err, MF_E_NO_MEMORY, "%s", soft->broken);
    return 0;
}

/* The end of map and map_at: pages that the emulator cannot take are an error. */
static int finish_map(struct soft_vm *soft, mf_gva gva, uint64_t npages, struct mf_error *err)
{
    if (soft->nregions > REGIONS_MAX)
        return error_set(err, MF_E_NO_MEMORY,
                         "the guest's memory is split into too many pieces");
    sync_range(soft, gva, npages);
    if (!soft->broken)
        return 0;
    return error_set(err, MF_E_NO_MEMORY, "%s", soft->broken);
}

int soft_map(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot, struct mf_error *err)
{
    struct soft_vm *soft = (struct soft_vm *)vm;
    int rc = check_range(soft, gva, npages, err);
    if (rc < 0)
        return rc;
    rc = paging_map(vm->mem, gva, npages, prot, err);
    if (rc < 0)
        return rc;
    rc = finish_map(soft, gva, npages, err);
    if (rc < 0) {
        paging_unmap(vm->mem, gva, npages);
        sync_range(soft, gva, npages);
    }
    return rc;
}

int soft_map_at(struct vm *vm, mf_gva gva, mf_gpa gpa, uint64_t npages, unsigned prot,
                struct mf_error *err)
{
    struct soft_vm *soft = (struct soft_vm *)vm;
    int rc = check_range(soft, gva, npages, err);
    if (rc == 0)
        rc = paging_map_at(vm->mem, gva, gpa, npages, prot, err);
    if (rc < 0)
        return rc;
    rc = finish_map(soft, gva, npages, err);
    if (rc < 0) {
        paging_unmap_at(vm->mem, gva, npages);
        sync_range(soft, gva, npages);
    }
    return rc;
}

int soft_attach(struct vm *vm, mf_gva gva, const struct mem_window *window, unsigned prot,
                struct mf_error *err)
{
    return soft_map_at(vm, gva, window->gpa, window->bytes >> PAGE_SHIFT, prot, err);
}

void soft_detach(struct vm *vm, mf_gva gva, const struct mem_window *window)
{
    struct soft_vm *soft = (struct soft_vm *)vm;
    regions_clear(soft, gva, window->bytes);
    paging_unmap_at(vm->mem, gva, window->bytes >> PAGE_SHIFT);
    sync_range(soft, gva, window->bytes >> PAGE_SHIFT);
}

void soft_protect(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot)
{
    struct soft_vm *soft = (struct soft_vm *)vm;
    paging_protect(vm->mem, gva, npages, prot, NULL, NULL);
    sync_range(soft, gva, npages);
}

void soft_unmap(struct vm *vm, mf_gva gva, uint64_t npages)
{
    struct soft_vm *soft = (struct soft_vm *)vm;
    regions_clear(soft, gva, npages * PAGE_BYTES);
    paging_unmap(vm->mem, gva, npages);
    sync_range(soft, gva, npages);
}

void soft_discard(struct vm *vm, mf_gva gva, uint64_t npages)
{
    struct soft_vm *soft = (struct soft_vm *)vm;
    paging_discard(vm->mem, gva, npages);
    for (size_t at = region_find(soft, gva); at < soft->nregions; at++) {
        if (soft->regions[at].gva >= gva + npages * PAGE_BYTES)
            break;
        forget_code(soft, &soft->regions[at]);
    }
}

int soft_move(struct vm *vm, mf_gva from, mf_gva to, uint64_t npages, struct mf_error *err)
{
    struct soft_vm *soft = (struct soft_vm *)vm;
    int rc = check_range(soft, to, npages, err);
    if (rc < 0)
        return rc;
    rc = paging_move(vm->mem, from, to, npages, NULL, NULL, err);
    if (rc < 0)
        return rc;
    sync_range(soft, from, npages);
    sync_range(soft, to, npages);
    return 0;
}

/* The regions that the tables ask for, in soft->wanted. */
struct listing {
    struct soft_vm *soft;
    size_t n;
    bool too_many, nowhere; /* nowhere: a page is in no memory */
};

static void list_page(struct listing *list, const struct soft_region *page)
{
    struct soft_region *last = &list->soft->wanted[list->n];
    if (list->n > 0 && continues(&last[-1], page))
        last[-1].bytes += PAGE_BYTES;
    else if (list->n == 2 * REGIONS_MAX)
        list->too_many = true;
    else
        list->soft->wanted[list->n++] = *page;
}

static void list_table(void *context, mf_gpa table, mf_gva gva, bool last)
{
    struct listing *list = context;
    const uint64_t *entries = mem_at(list->soft->vm.mem, table);
    for (uint64_t i = 0; last && i < SOFT_TABLE_ENTRIES; i++) {
        uint64_t entry = entries[i];
        struct soft_region page = {
            .gva = gva + i * PAGE_BYTES,
            .gpa = entry & SOFT_ENTRY_ADDRESS,
            .bytes = PAGE_BYTES,
            .exec = !(entry & SOFT_ENTRY_NO_EXEC),
        };
        if (!(entry & SOFT_ENTRY_PRESENT) || !(entry & SOFT_ENTRY_USER))
            continue;
        if (host_of(list->soft->vm.mem, page.gpa))
            list_page(list, &page);
        else
            list->nowhere = true;
    }
}

static bool same_region(const struct soft_region *a, const struct soft_region *b)
{
    return a->gva == b->gva && a->gpa == b->gpa && a->bytes == b->bytes && a->exec == b->exec;
}

/* Removes the regions that are not among `n` wanted ones. Both are sorted. */
static void remove_unwanted(struct soft_vm *soft, size_t n)
{
    for (size_t at = 0, i = 0; at < soft->nregions;) {
        while (i < n && soft->wanted[i].gva < soft->regions[at].gva)
            i++;
        if (i < n && same_region(&soft->wanted[i], &soft->regions[at]))
            at++;
        else
            region_remove(soft, at);
    }
}

static void insert_wanted(struct soft_vm *soft, size_t n)
{
    for (size_t i = 0; i < n && !soft->broken; i++)
        if (i >= soft->nregions || !same_region(&soft->wanted[i], &soft->regions[i]))
            region_insert(soft, i, &soft->wanted[i]);
}

void soft_forget_pages(struct soft_vm *soft, const uint64_t *bitmap)
{
    for (size_t i = 0; i < soft->nregions; i++) {
        const struct soft_region *region = &soft->regions[i];
        if (!bitmap)
            forget_code(soft, region);
        if (!bitmap || !region->exec || region->gpa >= soft->vm.mem->bytes)
            continue;
        for (uint64_t offset = 0; offset < region->bytes; offset += PAGE_BYTES) {
            uint64_t page = (region->gpa + offset) >> PAGE_SHIFT;
            struct soft_region one = *region;
            one.gva += offset;
            one.bytes = PAGE_BYTES;
            if (bitmap[page / 64] >> page % 64 & 1)
                forget_code(soft, &one);
        }
    }
}

/* What soft_retable finds wrong with the tables before it touches anything; else NULL. */
static const char *list_regions(struct soft_vm *soft, size_t *n)
{
    struct listing list = {.soft = soft};
    struct pt_page code;
    if (!soft_tables_walk(soft, list_table, &list) || list.nowhere ||
        !pt_lookup(soft->vm.mem, LAYOUT_GVA(SYSCALL_STUB), &code))
        return "the guest's page tables are not in order";
    if (list.too_many)
        return "the guest's memory is split into too many pieces";
    *n = list.n;
    return NULL;
}

/*
 * Regions go before the shadow changes, because their translated code must still be
 * found, and come after it. All translations are dropped, so `stale` is not needed.
 */
void soft_retable(struct vm *vm, const mf_gpa *stale, size_t n)
{
    (void)stale;
    struct soft_vm *soft = (struct soft_vm *)vm;
    size_t wanted;
    soft->broken = list_regions(soft, &wanted);
    if (soft->broken)
        return;
    if (n == SIZE_MAX)
        soft_forget_pages(soft, NULL);
    remove_unwanted(soft, wanted);
    soft_shadow_rebuild(soft);
    soft_shadow_code(soft);
    insert_wanted(soft, wanted);
    soft->stale = true;
}

static int init_region(struct soft_vm *soft, mf_gva gva, uint64_t bytes, uint32_t perms,
                       void *host, const char *what, struct mf_error *err)
{
    uc_err rc = uc_mem_map_ptr(soft->uc, gva, bytes, perms, host);
    if (rc == UC_ERR_OK)
        return 0;
    return error_set(err, MF_E_BACKEND, "the emulator cannot map %s: %s", what, uc_strerror(rc));
}

/* The system pages that x86.c has mapped, and the code page, which only the shadow has. */
static int init_system_pages(struct soft_vm *soft, struct mf_error *err)
{
    for (unsigned page = 0; page < LAYOUT_PAGE_FREE; page++)
        sync_range(soft, LAYOUT_GVA_KERNEL + page * PAGE_BYTES, 1);
    if (!soft_shadow_code(soft) || soft->broken)
        return error_set(err, MF_E_BACKEND, "%s",
                         soft->broken ? soft->broken : "the system pages are not built");
    return 0;
}

/*
 * Of the system pages the CPU itself reads only the descriptors, when the guest loads
 * a segment register. Unicorn's own rights are none where an access of the guest is
 * to come to the hook first.
 */
int soft_map_init(struct soft_vm *soft, struct mf_error *err)
{
    struct mem *mem = soft->vm.mem;
    soft->regions = calloc(2 * REGIONS_MAX, sizeof *soft->regions);
    soft->wanted = calloc(2 * REGIONS_MAX, sizeof *soft->wanted);
    if (!soft->regions || !soft->wanted || !soft_shadow_init(soft))
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate the table of memory regions");
    void *shadow = mmap(NULL, mem->bytes + 2 * PAGE_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (shadow == MAP_FAILED)
        return error_set(err, MF_E_NO_MEMORY, "cannot reserve memory for the emulated page tables");
    soft->shadow = shadow;
    soft->code = (struct soft_code_page *)(soft->shadow + mem->bytes);
    soft->hole = soft->shadow + mem->bytes + PAGE_BYTES;

    int rc = init_region(soft, SOFT_GVA_SHADOW, mem->bytes, UC_PROT_NONE, soft->shadow,
                         "its page tables", err);
    if (rc == 0)
        rc = init_region(soft, SOFT_GVA_CODE, PAGE_BYTES, UC_PROT_READ | UC_PROT_EXEC,
                         soft->code, "its code", err);
    if (rc == 0)
        rc = init_region(soft, LAYOUT_GVA(DESCRIPTORS), PAGE_BYTES, UC_PROT_NONE,
                         mem_at(mem, LAYOUT_GPA(DESCRIPTORS)), "the descriptor tables", err);
    return rc < 0 ? rc : init_system_pages(soft, err);
}

void soft_map_fini(struct soft_vm *soft)
{
    if (soft->shadow)
        munmap(soft->shadow, soft->vm.mem->bytes + 2 * PAGE_BYTES);
    free(soft->regions);
    free(soft->wanted);
    free(soft->seen);
    free(soft->dirty);
}
