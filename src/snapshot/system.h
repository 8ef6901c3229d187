/*
 * The pages of guest memory that are not the guest's own: descriptors and stubs, which belong
 * to the library, and what the contract puts into fixed places.
 */
#ifndef SNAPSHOT_SYSTEM_H
#define SNAPSHOT_SYSTEM_H

#include "mem/pagetable.h"
#include "sandbox/saved.h"

/* A part of the contract in the guest's address space: `times` in a row the same pages. */
struct system_place {
    mf_gva gva;
    mf_gpa gpa;
    uint64_t bytes;
    unsigned times, prot; /* without PT_USER */
};

#define SYSTEM_AREAS 5

/* Boot page, control page, rings, exchange area, in rising order; returns how many. */
size_t system_places(const struct saved_state *saved, struct system_place places[SYSTEM_AREAS]);

/* The system pages as this library makes them. */
struct system {
    struct mem mem;
};

int system_init(struct system *system, struct mf_error *err);
void system_fini(struct system *system);

/* What the supervisor has at a virtual address; false: nothing. */
bool system_mapping(const struct system *system, mf_gva gva, struct pt_page *page);
/* How many such pages there are. */
unsigned system_mappings(const struct system *system);

/*
 * Replaces the contents of a page of the snapshot by this library's, if it is one of
 * descriptors and stubs. Of the ports that a guest may use, that of the SYSCALL stub stays as it
 * was: it depends on the host, whose backend settles it.
 */
void system_renew(const struct system *system, uint32_t page, uint8_t *contents);

#endif
