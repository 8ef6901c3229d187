/*
 * The guest virtual addresses that host and guest agree on. Everything else
 * (image, heap, mappings, stack) is placed by the host as Linux would place it
 * and is no part of the contract.
 */
#ifndef MAYFLY_ABI_MEMORY_MAP_H
#define MAYFLY_ABI_MEMORY_MAP_H

#define MF_ABI_PAGE_SIZE 4096

/* Below this address nothing is ever mapped: null pointers fault. */
#define MF_ABI_GVA_MIN 0x10000

/* struct mf_abi_boot, one page, read-only for the guest. */
#define MF_ABI_GVA_BOOT 0x600000000000

/* struct mf_abi_control, then the areas whose offsets the boot page gives. */
#define MF_ABI_GVA_MAILBOX 0x600000010000

/* One past the last address that a guest may use. */
#define MF_ABI_GVA_END 0x7fff00000000

#endif
