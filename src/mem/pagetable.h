/*
 * The guest's page tables: four levels of 4 KiB pages, written by the host
 * alone, never mapped in the guest. Source: AMD64 Architecture Programmer's
 * Manual vol. 2, 5.3 "Long-Mode Page Translation".
 *
 * Functions here write tables; making the CPU notice is the backend's duty
 * (struct vm_ops: map, protect, unmap).
 */
#ifndef MEM_PAGETABLE_H
#define MEM_PAGETABLE_H

#include "mem/mem.h"

/* Rights of a page. NONE keeps the page's contents but nobody reaches it. */
enum pt_prot {
    PT_NONE = 0,
    PT_READ = 1,
    PT_WRITE = 2, /* implies READ on this CPU */
    PT_EXEC = 4,  /* implies READ on this CPU */
    PT_USER = 8,  /* reachable at CPL 3 */
};

/* One leaf of the tables. */
struct pt_page {
    mf_gpa gpa;
    unsigned prot; /* enum pt_prot bits */
};

/*
 * Maps one page at `gva` (canonical, page-aligned, not mapped yet) to `gpa` with
 * `prot`. Takes pages for missing tables; false when memory has no page left
 * (tables that were added stay; they are reused).
 */
bool pt_map(struct mem *mem, mf_gva gva, mf_gpa gpa, unsigned prot);

/* The same for `npages` pages that are adjacent on both sides; false: none of them is mapped. */
bool pt_map_run(struct mem *mem, mf_gva gva, mf_gpa gpa, uint64_t npages, unsigned prot);

/* Removes the pages of a range from the tables. */
void pt_unmap_run(struct mem *mem, mf_gva gva, uint64_t npages);

/*
 * Adds the tables that a range misses, so that they do not come to lie between its
 * pages when those are taken next. Failing is no error yet.
 */
void pt_make_tables(struct mem *mem, mf_gva gva, uint64_t npages);

/*
 * How many pages from `gva` on, at most `npages`, have all rights of `need` and are
 * adjacent in guest physical memory, where the first is at *gpa.
 */
uint64_t pt_run(const struct mem *mem, mf_gva gva, uint64_t npages, unsigned need, mf_gpa *gpa);

/*
 * Calls `fn` for each mapped page, also those with PT_NONE, in rising order. It must not change
 * the tables. For tables that the host wrote itself.
 */
typedef void (*pt_each_fn)(void *context, mf_gva gva, const struct pt_page *page);
void pt_each(const struct mem *mem, pt_each_fn fn, void *context);

/* The same for each table but the topmost: `level` 0 has leaf entries, 2 is right below the top. */
typedef void (*pt_each_table_fn)(void *context, mf_gva gva, int level, mf_gpa table);
void pt_each_table(const struct mem *mem, pt_each_table_fn fn, void *context);

/* The table of that level on the way to `gva`; false when there is none. */
bool pt_table_of(const struct mem *mem, mf_gva gva, int level, mf_gpa *table);

#define PT_LEVELS 4
#define PT_ENTRIES 512

/* The table that entry `i` of an upper table leads to; false when it leads nowhere. */
bool pt_table_at(const struct mem *mem, mf_gpa table, unsigned i, mf_gpa *next);

/*
 * What an entry of a table that comes from outside says: *page is the page that it maps
 * (level 0) or the table that it leads to (prot 0), with address 0 when it is empty. False:
 * no function here would have written it so.
 */
bool pt_entry_parse(uint64_t entry, int level, struct pt_page *page);

/* The page that holds `gva`, also one with PT_NONE; false when there is none. */
bool pt_lookup(const struct mem *mem, mf_gva gva, struct pt_page *page);

/* Changes the rights of a mapped page; false when there is none. */
bool pt_protect(struct mem *mem, mf_gva gva, unsigned prot);

/* Removes a page from the tables and tells which one it was; false when there was none. */
bool pt_unmap(struct mem *mem, mf_gva gva, struct pt_page *page);

#endif
