/*
 * Sandboxes over a snapshot file that is mapped and that somebody could cut short: what
 * the host itself reads and writes in guest memory must not be a page of that file, since a
 * touch of a page that is gone is a SIGBUS.
 */
#ifndef SNAPSHOT_VANISH_H
#define SNAPSHOT_VANISH_H

#include "snapshot/snapshot.h"

/*
 * `snapshot` was loaded into `mem`: makes private copies of the pages that the host touches
 * directly (fixed pages, page tables, mailbox), and checks the tables, which nobody did
 * while the file was only mapped (check.h). Reads of the guest's other memory go through
 * guestmem.h, which knows. MF_E_SNAPSHOT when the file has lost pages, or its
 * tables cannot be; MF_E_NO_MEMORY.
 */
int vanish_secure(struct mem *mem, const struct mf_snapshot *snapshot, struct mf_error *err);

/* Makes a private copy of one page. The same errors. */
int vanish_secure_page(struct mem *mem, const struct mf_snapshot *snapshot, mf_gpa gpa,
                       struct mf_error *err);

#endif
