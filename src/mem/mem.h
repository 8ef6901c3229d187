/*
 * Guest physical memory: one mapping of the host (anonymous, or of a file of its own: shared.h),
 * of which pages are handed out and taken back one by one. Bookkeeping lies outside of it, where
 * no guest can reach it. Used by one thread at a time.
 */
#ifndef MEM_MEM_H
#define MEM_MEM_H

#include "mem/layout.h"

#include <mayfly/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Memory of the host that is shown to the guest, as guest physical memory behind
 * mem->bytes. It is not the sandbox's: pages are never handed out or zeroed here.
 */
struct mem_window {
    mf_gpa gpa;     /* page-aligned, above mem->bytes; windows never touch each other */
    uint64_t bytes; /* whole pages */
    uint8_t *host;
    bool writable;  /* the host may write there; what the guest may is in the tables */
    bool may_vanish; /* of a file, or the caller's: touching it may kill the host by a signal */
    unsigned slot;  /* number of the window, from 1; unique while it exists */
};

#define MEM_WINDOWS_MAX 256

struct mem_root;

/* What lies behind mem->base; see shared.h for all but the first. */
enum mem_kind { MEM_PRIVATE, MEM_SHARED, MEM_BORROWED };

struct mem {
    uint8_t *base;  /* host address of guest physical address 0 */
    uint64_t bytes; /* multiple of the page size */
    enum mem_kind kind;
    int fd; /* the file; not when it is private */
    /* Pages at and after `next` were never handed out. */
    uint32_t next;
    uint32_t end; /* number of pages */
    /* Pages that were taken back, as a stack; all of their bytes are zero. */
    uint32_t *free;
    uint32_t nfree;
    /* Windows in use are those with bytes != 0; the array is allocated with the first one. */
    struct mem_window *windows;
    unsigned nwindows; /* places of the array that were ever in use */
    bool tables_changed;   /* page tables were written; cleared by whoever wants to know */
    struct mem_root *root; /* held: what is mapped below what was written (root.h), or NULL */
    /* Pages that the host wrote since mem_marks_clear, a bit each; NULL: nobody asked. */
    uint64_t *marks;
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

/*
 * Adds a window of `bytes` (whole pages) at `host`, at a guest physical address that
 * it chooses. The window's address stays the same until mem_window_remove. Errors: MF_E_STATE
 * (MEM_WINDOWS_MAX), MF_E_NO_MEMORY.
 */
int mem_window_add(struct mem *mem, uint8_t *host, uint64_t bytes, bool writable, bool may_vanish,
                   struct mem_window **out, struct mf_error *err);
void mem_window_remove(struct mem *mem, struct mem_window *window);

/* The window that holds `gpa`, or NULL. */
const struct mem_window *mem_window_find(const struct mem *mem, mf_gpa gpa);

/*
 * Notes that the host wrote to `bytes` from `gpa` on, for whoever wants to know which
 * pages differ from a saved state. Every write of the host to guest memory that a guest could
 * notice is followed by it.
 */
static inline void mem_mark(struct mem *mem, mf_gpa gpa, uint64_t bytes)
{
    if (!mem->marks || bytes == 0 || gpa >= mem->bytes)
        return;
    for (uint64_t page = gpa >> PAGE_SHIFT; page <= (gpa + bytes - 1) >> PAGE_SHIFT; page++)
        mem->marks[page / 64] |= UINT64_C(1) << (page % 64);
}

/* Begins to note (all bits clear), or clears them all. */
int mem_marks_start(struct mem *mem, struct mf_error *err);
void mem_marks_clear(struct mem *mem);

/* Host address of a guest physical one, which must be below mem->bytes. */
static inline void *mem_at(const struct mem *mem, mf_gpa gpa)
{
    return mem->base + gpa;
}

#endif
