/*
 * Sandboxes over a snapshot file that is mapped and that somebody could cut short: what
 * the host itself reads and writes in guest memory must not be a page of that file, since a
 * touch of a page that is gone is a SIGBUS.
 */
#ifndef SNAPSHOT_VANISH_H
#define SNAPSHOT_VANISH_H

#include "sandbox/saved.h"

/*
 * Makes private copies of the pages that the host touches directly: fixed pages, page
 * tables, mailbox. Reads of the guest's other memory go through guestmem.h, which
 * knows. MF_E_SNAPSHOT when the file has lost them already; MF_E_NO_MEMORY.
 */
int vanish_secure(struct mem *mem, const struct saved_state *saved, struct mf_error *err);

#endif
