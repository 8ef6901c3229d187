/*
 * Mapping changes for backends whose CPU walks x86 page tables in guest memory:
 * the tables (mem/pagetable.h) and the ownership of pages in one step. What is
 * left to a backend is to make its CPU forget old translations.
 */
#ifndef VM_PAGING_H
#define VM_PAGING_H

#include "mem/pagetable.h"

/* Told about each run of adjacent guest physical pages whose translations went stale. */
typedef void (*paging_stale_fn)(void *context, mf_gpa gpa, uint64_t bytes);

/* vm_ops.map: fresh pages. On failure nothing is mapped. */
int paging_map(struct mem *mem, mf_gva gva, uint64_t npages, unsigned prot, struct mf_error *err);

/* vm_ops.map_at: given pages. On failure nothing is mapped. */
int paging_map_at(struct mem *mem, mf_gva gva, mf_gpa gpa, uint64_t npages, unsigned prot,
                  struct mf_error *err);

/* Takes back what paging_map_at mapped; the pages themselves are not touched. */
void paging_unmap_at(struct mem *mem, mf_gva gva, uint64_t npages);

/* vm_ops.protect. `stale` is called after the tables were changed. */
void paging_protect(struct mem *mem, mf_gva gva, uint64_t npages, unsigned prot,
                    paging_stale_fn stale, void *context);

/*
 * vm_ops.unmap: the pages go back to `mem`, discarded (which on KVM removes their
 * translations, see mem_discard). True when any page was mapped.
 */
bool paging_unmap(struct mem *mem, mf_gva gva, uint64_t npages);

/* vm_ops.discard: contents only; the mem_discard removes translations on KVM. */
void paging_discard(struct mem *mem, mf_gva gva, uint64_t npages);

/* vm_ops.move. `stale` as in paging_protect. On failure nothing has moved. */
int paging_move(struct mem *mem, mf_gva from, mf_gva to, uint64_t npages, paging_stale_fn stale,
                void *context, struct mf_error *err);

#endif
