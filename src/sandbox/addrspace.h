/*
 * The guest's address space with Linux semantics: which ranges are mapped with
 * which rights, and mmap, mprotect, munmap, mremap, brk, madvise on top of the
 * backend's mapping functions. Pages are given when a range is mapped with any
 * right (PROT_NONE reserves addresses only), so a guest has at most its memory.
 * Used by one thread at a time.
 */
#ifndef SANDBOX_ADDRSPACE_H
#define SANDBOX_ADDRSPACE_H

#include "vm/vm.h"

/* What a range is, for fault reports and for what a guest may change. */
enum area_kind {
    AREA_IMAGE,
    AREA_HEAP,   /* brk */
    AREA_MMAP,
    AREA_STACK,
    AREA_SYSTEM, /* boot page and mailbox: the guest may not change these */
    AREA_HOST,   /* mapped memory of the host: the guest may not change these either */
    AREA_GUARD,  /* reserved, never mapped: below the stack, around the mailbox */
};

/* The most areas: bounds the host memory that a guest can make the table take. */
#define ADDRSPACE_AREAS_MAX 4096

struct area {
    mf_gva start, end; /* page-aligned; sorted, never overlapping */
    unsigned prot;     /* PT_READ | PT_WRITE | PT_EXEC, or PT_NONE */
    enum area_kind kind;
    bool backed; /* every page of it is mapped; otherwise none is */
};

struct addrspace {
    struct vm *vm;
    struct area *areas; /* grows; neighbours of equal rights and kind are merged */
    size_t nareas, capacity;
    mf_gva brk_start, brk; /* brk is what the guest asked for, not rounded */
};

int addrspace_init(struct addrspace *as, struct vm *vm, struct mf_error *err);
void addrspace_fini(struct addrspace *as);

/*
 * Adds an area at a fixed place and, unless prot is PT_NONE, maps fresh pages
 * there. For the loader. Errors: MF_E_IMAGE when it overlaps another area,
 * MF_E_NO_MEMORY when guest memory is too small.
 */
int addrspace_add(struct addrspace *as, mf_gva start, uint64_t bytes, unsigned prot,
                  enum area_kind kind, struct mf_error *err);

/* Replaces all areas by copies, whose pages are mapped already. MF_E_NO_MEMORY: nothing changed. */
int addrspace_set(struct addrspace *as, const struct area *areas, size_t nareas, mf_gva brk_start,
                  mf_gva brk, struct mf_error *err);

/*
 * Adds the page tables that the next mappings of a guest will need (some MiB of mmap and of
 * brk), when there is memory to spare. A restore that finds a new table must drop all
 * translations, which is dear; with these in the snapshot it seldom does.
 */
void addrspace_prepare(struct addrspace *as);

/* Only records an area whose pages the caller maps. */
int addrspace_record(struct addrspace *as, mf_gva start, uint64_t bytes, unsigned prot,
                     enum area_kind kind, struct mf_error *err);

/*
 * Finds and records a place for `bytes` (whole pages) of host memory, with a guard page
 * behind it; the caller maps. MF_E_NO_MEMORY when there is none, or too many areas.
 */
int addrspace_add_host(struct addrspace *as, uint64_t bytes, unsigned prot, mf_gva *gva,
                       struct mf_error *err);

/* Forgets such a place; the caller has unmapped. */
void addrspace_forget_host(struct addrspace *as, mf_gva gva, uint64_t bytes);

/* The area that holds `gva`, or NULL. */
const struct area *addrspace_find(const struct addrspace *as, mf_gva gva);

/* Sets where brk begins. */
void addrspace_set_brk(struct addrspace *as, mf_gva start);

/*
 * The Linux calls, with Linux argument values (PROT_*, MAP_*) as the guest passed
 * them, unchecked. They return what the guest gets: an address, 0, or -errno.
 * Only anonymous private memory exists; PROT_WRITE with PROT_EXEC gives -EACCES;
 * areas of kind SYSTEM, HOST and GUARD and the GVA limits of the ABI are refused.
 */
int64_t addrspace_mmap(struct addrspace *as, uint64_t addr, uint64_t len, uint64_t prot,
                       uint64_t flags);
int64_t addrspace_munmap(struct addrspace *as, uint64_t addr, uint64_t len);
int64_t addrspace_mprotect(struct addrspace *as, uint64_t addr, uint64_t len, uint64_t prot);
int64_t addrspace_mremap(struct addrspace *as, uint64_t addr, uint64_t old_len, uint64_t new_len,
                         uint64_t flags, uint64_t new_addr);
int64_t addrspace_brk(struct addrspace *as, uint64_t addr);
int64_t addrspace_madvise(struct addrspace *as, uint64_t addr, uint64_t len, uint64_t advice);

#endif
