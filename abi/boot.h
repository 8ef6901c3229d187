/*
 * What the host tells the guest before its first instruction: one read-only
 * page at MF_ABI_GVA_BOOT.
 */
#ifndef MAYFLY_ABI_BOOT_H
#define MAYFLY_ABI_BOOT_H

#include <stddef.h>
#include <stdint.h>

#define MF_ABI_BOOT_MAGIC UINT64_C(0x3130594c4659414d) /* "MAYFLY01" */

enum mf_abi_mode {
    MF_ABI_MODE_RUN = 0,  /* run main, then exit */
    MF_ABI_MODE_CALL = 1, /* initialise, then wait for calls */
};

struct mf_abi_boot {
    uint64_t magic;
    uint32_t size;        /* bytes of this structure that the host filled */
    uint32_t version;     /* MF_ABI_VERSION of the host */
    uint32_t min_version; /* the oldest guest version the host speaks */
    uint32_t mode;        /* enum mf_abi_mode */
    uint64_t features;    /* MF_ABI_FEATURE_* that the host offers */
    /*
     * Changes whenever the sandbox starts to run from a saved state, so that
     * a guest can tell that it is a clone. Read it with one 64-bit load.
     */
    uint64_t generation;
    uint64_t memory_bytes; /* guest memory, all of it */
    /* Areas as offsets from MF_ABI_GVA_MAILBOX and sizes in bytes. */
    uint64_t mailbox_bytes; /* from the control page to the end of the last area */
    uint64_t call_ring;     /* mapped twice in a row: see mailbox.h */
    uint64_t result_ring;   /* mapped twice in a row */
    uint64_t exchange;      /* mapped once */
    uint32_t call_ring_size;   /* power of two, at least 4096 */
    uint32_t result_ring_size; /* power of two, at least 4096 */
    uint32_t exchange_size;    /* multiple of 4096 */
    uint32_t reserved0;
    uint8_t entropy[32]; /* fresh random bytes; differ between clones */
};

_Static_assert(sizeof(struct mf_abi_boot) == 128, "boot page layout");
_Static_assert(offsetof(struct mf_abi_boot, mode) == 20, "boot page layout");
_Static_assert(offsetof(struct mf_abi_boot, features) == 24, "boot page layout");
_Static_assert(offsetof(struct mf_abi_boot, generation) == 32, "boot page layout");
_Static_assert(offsetof(struct mf_abi_boot, call_ring) == 56, "boot page layout");
_Static_assert(offsetof(struct mf_abi_boot, call_ring_size) == 80, "boot page layout");
_Static_assert(offsetof(struct mf_abi_boot, entropy) == 96, "boot page layout");

#endif
