/*
 * Guest memory that can be handed to another process by a descriptor, without a copy. It
 * lies in a file in memory (memfd) of a size that is sealed: no page of the mapping can go
 * away under whoever touches it.
 *
 * One process owns it at a time. Another one that borrows it has it mapped for reading, so that
 * even its mistakes change nothing, until the owner has left it and it becomes its own. Only
 * the system pages (below LAYOUT_GPA(FREE)), which depend on library and backend, can be written
 * to before: each that is becomes a copy, which goes into the file later.
 */
#ifndef MEM_SHARED_H
#define MEM_SHARED_H

#include "mem/mem.h"

/*
 * Puts memory that mem_init made, and nobody has written to, into a file. Errors:
 * MF_E_NO_MEMORY, MF_E_SYSTEM; *mem is as it was then.
 */
int mem_share(struct mem *mem, struct mf_error *err);

/*
 * Shows the memory of another process, for reading, in place of *mem's own, whose contents are
 * lost. Takes over `fd`, also when it fails. MF_E_ARGUMENT: it is not what mem_share made, or of
 * another size; MF_E_SYSTEM, MF_E_NO_MEMORY.
 */
int mem_borrow(struct mem *mem, int fd, struct mf_error *err);

/* What was borrowed is *mem's own, with the system pages as they are here. MF_E_SYSTEM. */
int mem_own(struct mem *mem, struct mf_error *err);

/*
 * It is another process's: from here on nothing that is done with *mem, which reads as zeros,
 * can change it.
 */
void mem_leave(struct mem *mem);

/* Makes whole pages of it, which must be *mem's own, zero; false when that failed. */
bool mem_shared_clear(struct mem *mem, mf_gpa gpa, uint64_t bytes);

/*
 * The first page from `page` on that may be anything but zeros: mem->end when there is none.
 * Only of memory that is shared or borrowed.
 */
uint64_t mem_shared_next(const struct mem *mem, uint64_t page);

#endif
