/*
 * Guest physical memory: one anonymous mapping of the host, of which pages are
 * handed out and taken back one by one. Bookkeeping lies outside of it, where
 * no guest can reach it. Used by one thread at a time.
 */
#ifndef MEM_MEM_H
#define MEM_MEM_H

#include "mem/layout.h"

#include <mayfly/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mem {
    uint8_t *base;  /* host address of guest physical address 0 */
    uint64_t bytes; /* multiple of the page size */
    /* Pages at and after `next` were never handed out. */
    uint32_t next;
    uint32_t end; /* number of pages */
    /* Pages that were taken back, as a stack; all of their bytes are zero. */
    uint32_t *free;
    uint32_t nfree;
};

/*
 * Reserves `bytes` (a multiple of the page size, up to 64 GiB) of zeroed guest
 * memory. The host provides pages when they are touched.
 */
int mem_init(struct mem *mem, uint64_t bytes, struct mf_error *err);

/* Frees it; a zeroed struct is allowed. */
void mem_fini(struct mem *mem);

/* Pages that mem_page_alloc can still give. */
uint64_t mem_pages_available(const struct mem *mem);

/* Pages that are handed out, fixed ones included. */
uint64_t mem_pages_used(const struct mem *mem);

/* Takes one zeroed page; false when there is none. */
bool mem_page_alloc(struct mem *mem, mf_gpa *gpa);

/*
 * Takes `n` zeroed pages that are adjacent, of those that were never handed out;
 * false when there are not so many.
 */
bool mem_run_alloc(struct mem *mem, uint64_t n, mf_gpa *gpa);

/* Gives a page back. Its bytes must be zero (mem_discard). */
void mem_page_free(struct mem *mem, mf_gpa gpa);

/*
 * Makes a range of guest physical memory read as zeros again, by taking its
 * pages away from the host mapping; with KVM this also removes every cached
 * translation to it (MMU notifier).
 */
void mem_discard(struct mem *mem, mf_gpa gpa, uint64_t bytes);

/* Pages of the mapping that the host holds in memory (mincore). */
uint64_t mem_pages_resident(const struct mem *mem);

/* Host address of a guest physical one, which must be below mem->bytes. */
static inline void *mem_at(const struct mem *mem, mf_gpa gpa)
{
    return mem->base + gpa;
}

#endif
