/*
 * Checked access of the host to the guest's virtual memory, through the page
 * tables and with the guest's own rights (CPL 3). A guest cannot change the
 * tables, but it can change the bytes: what is copied out is copied once, and
 * the caller uses that copy only.
 */
#ifndef MEM_GUESTMEM_H
#define MEM_GUESTMEM_H

#include "mem/mem.h"

/*
 * Copies `len` bytes at `gva` to `dst`. False when any byte is not readable for the
 * guest, or lies in a window whose pages are gone (mem.h: may_vanish).
 */
bool guestmem_read(const struct mem *mem, void *dst, mf_gva gva, uint64_t len);

/*
 * Copies `len` bytes from `src` to `gva`. False when any byte is not writable for
 * the guest, or gone; what came before it has then been written.
 */
bool guestmem_write(struct mem *mem, mf_gva gva, const void *src, uint64_t len);

/*
 * How many bytes from `gva` on, at most `len`, the guest itself could read
 * (`write` false) or write; stops at the first page where it could not.
 */
uint64_t guestmem_reach(const struct mem *mem, mf_gva gva, uint64_t len, bool write);

/*
 * True when all `len` > 0 bytes at `gva` are readable for the guest, are adjacent in the
 * host and can be touched there without harm: *at is where. The guest can change
 * them as long as it runs.
 */
bool guestmem_span(const struct mem *mem, mf_gva gva, uint64_t len, const uint8_t **at);

#endif
