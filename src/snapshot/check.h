/*
 * Whether a snapshot from outside can be one that a sandbox was in. A snapshot that passes
 * is safe to load: the host believes its numbers, and walks its page tables.
 */
#ifndef SNAPSHOT_CHECK_H
#define SNAPSHOT_CHECK_H

#include "snapshot/snapshot.h"

/*
 * Checks a state against its image: every number in its range, areas sorted and apart,
 * pages within memory, functions that exist. The CPU's registers are checked by the backend that
 * loads them. MF_E_SNAPSHOT with what is wrong, MF_E_NO_MEMORY.
 */
int check_state(const struct saved_state *saved, const struct mf_image *image,
                struct mf_error *err);

/*
 * Checks guest memory against the state, which was checked: the page tables are as this
 * library writes them, they map what the areas say with the areas' rights and
 * nothing else, no page is there twice (but for the mailbox), no table can be
 * reached by the guest, and free pages are zero. Takes time in proportion to the memory in use.
 * MF_E_SNAPSHOT, MF_E_NO_MEMORY.
 *
 * With `mem` the snapshot was loaded there, maybe as a mapping of its file: the tables that are
 * checked are those in `mem`, made private, and free pages there are made zero.
 */
int check_memory(const struct mf_snapshot *snapshot, struct mem *mem, struct mf_error *err);

/*
 * The same for memory that came in from a peer and lies in `mem`, which is no mapping of
 * a file; `saved` was checked. Free pages are made zero, but in memory that is
 * borrowed (mem/shared.h), where they must be: nothing is written there.
 */
int check_received(const struct saved_state *saved, struct mem *mem, struct mf_error *err);

#endif
