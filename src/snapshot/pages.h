/* Pages of snapshots: what differs from the parent, and where a page's contents are. */
#ifndef SNAPSHOT_PAGES_H
#define SNAPSHOT_PAGES_H

#include "snapshot/snapshot.h"

/* Room for `most` pages, to be filled by snap_pages_add in rising order. MF_E_NO_MEMORY. */
int snap_pages_init(struct snap_pages *pages, uint32_t most, struct mf_error *err);
void snap_pages_add(struct snap_pages *pages, uint32_t page, const uint8_t *contents);
void snap_pages_trim(struct snap_pages *pages);
void snap_pages_fini(struct snap_pages *pages);

/* Whether the page is among them, and its place. */
bool snap_pages_find(const struct snap_pages *pages, uint32_t page, uint32_t *place);

/* The contents at a place: 4 KiB. */
const uint8_t *snap_pages_at(const struct snap_pages *pages, uint32_t place);

/* Copies a guest page of a snapshot. False when the file behind it has lost it. */
bool snap_read(const struct mf_snapshot *snapshot, uint32_t page, uint8_t *dst);

/* Whether the page is known to be zero without a look at it. */
bool snap_is_zero(const struct mf_snapshot *snapshot, uint32_t page);

/* Whether all of its bytes are. */
bool snap_bytes_are_zero(const uint8_t *page);

#endif
