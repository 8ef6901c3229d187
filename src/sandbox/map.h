/*
 * Memory of the host in the guest: the mappings of mf_sandbox_map, and large
 * arguments that are placed for the time of one call.
 */
#ifndef SANDBOX_MAP_H
#define SANDBOX_MAP_H

#include "vm/vm.h"

struct mf_sandbox;

/* One mapping; see map.c. */
struct mapping;

struct mappings {
    struct mapping *first;
    unsigned count;
};

/*
 * How long what map_place shows stays: what an outermost call refers to until it ends;
 * what a frame in the exchange area refers to until another frame takes its place, or
 * one before it.
 */
#define MAP_LEVEL_CALL 1u
#define MAP_LEVEL_EXCHANGE(offset) (2u + (unsigned)(offset) / 64)

/*
 * Shows the `len` bytes at `data` (len > 0) to the guest at *gva, read-only, until
 * map_release of its level; with `terminated` a zero byte follows them. With `copy` the
 * caller's bytes are only read now, otherwise they must live as long, and whole pages
 * are not copied. Only these bytes: what else stands on the first and the last page in
 * the host is not shown. Errors: as mf_sandbox_map.
 */
int map_place(struct mf_sandbox *sandbox, const void *data, uint64_t len, bool terminated,
              unsigned level, bool copy, mf_gva *gva, struct mf_error *err);

/* Ends all mappings of this level and those above that map_place made. */
void map_release(struct mf_sandbox *sandbox, unsigned level);

/* Whether the bytes lie in one mapping of mf_sandbox_map, and where the guest sees them. */
bool map_find(const struct mf_sandbox *sandbox, const void *data, uint64_t len, mf_gva *gva);

/* Where the guest sees a guest physical address of a window, or 0. */
mf_gva map_address_of(const struct mf_sandbox *sandbox, mf_gpa gpa);

/* Writes what the guest changed to files that it has as a copy (soft). After each call. */
int map_write_back(struct mf_sandbox *sandbox, struct mf_error *err);

/* Ends all mappings; the VM still exists. */
void map_fini(struct mf_sandbox *sandbox);

#endif
