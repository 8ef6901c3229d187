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

/* The page that holds `gva`, also one with PT_NONE; false when there is none. */
bool pt_lookup(const struct mem *mem, mf_gva gva, struct pt_page *page);

/* Changes the rights of a mapped page; false when there is none. */
bool pt_protect(struct mem *mem, mf_gva gva, unsigned prot);

/* Removes a page from the tables and tells which one it was; false when there was none. */
bool pt_unmap(struct mem *mem, mf_gva gva, struct pt_page *page);

#endif
