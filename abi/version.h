/*
 * The version of the contract between host and guest, and the rule by which
 * two versions work together. Freestanding; compiled by both sides.
 */
#ifndef MAYFLY_ABI_VERSION_H
#define MAYFLY_ABI_VERSION_H

#include <stdint.h>

#define MF_ABI_MAKE_VERSION(major, minor) (((uint32_t)(major) << 16) | (uint32_t)(minor))

/*
 * A new minor version only adds: ports, frame kinds, fields at the end of a
 * structure, feature bits. A new major version may change anything.
 */
#define MF_ABI_VERSION MF_ABI_MAKE_VERSION(1, 1)

/* The oldest version that a side which speaks MF_ABI_VERSION still speaks. */
#define MF_ABI_MIN_VERSION MF_ABI_MAKE_VERSION(1, 0)

/*
 * Feature bits. A guest lists in its note those that it cannot do without; the
 * host lists in the boot information those that it offers. A host refuses an
 * image that needs a bit which it does not know.
 */
#define MF_ABI_FEATURE_NESTED UINT64_C(1)  /* host functions may call the guest */
#define MF_ABI_FEATURE_RESTORE UINT64_C(2) /* the generation value may change */
/* Since 1.1. A guest of 1.0 gets no references, and comes back after each call when attended. */
#define MF_ABI_FEATURE_REFERENCES UINT64_C(4) /* values by reference (value.h) */
#define MF_ABI_FEATURE_ATTEND UINT64_C(8)     /* the guest may be asked to poll (mailbox.h) */
#define MF_ABI_FEATURES                                                               \
    (MF_ABI_FEATURE_NESTED | MF_ABI_FEATURE_RESTORE | MF_ABI_FEATURE_REFERENCES | \
     MF_ABI_FEATURE_ATTEND)

/* The first version of a guest that understands references and attention. */
#define MF_ABI_VERSION_REFERENCES MF_ABI_MAKE_VERSION(1, 1)
#define MF_ABI_VERSION_ATTEND MF_ABI_MAKE_VERSION(1, 1)

/*
 * Whether a side of version (version, min_version) works with a side of
 * version (other, other_min): each must be at least the minimum of the other.
 */
static inline int mf_abi_compatible(uint32_t version, uint32_t min_version,
                                    uint32_t other, uint32_t other_min)
{
    return version >= other_min && other >= min_version;
}

#endif
