/*
 * How an image says which functions it exports and which it needs from the
 * host, so that both can be read from the file without running it.
 *
 * An image built with the SDK has a PT_NOTE segment with a note of name
 * "Mayfly" and type MF_ABI_NOTE_TYPE, whose description is struct mf_abi_note.
 * It points to the function table: records of different sizes, one after the
 * other, each a struct mf_abi_function with its signature. Records begin at
 * multiples of MF_ABI_RECORD_ALIGN; between two records there may be zero
 * bytes up to the next such multiple.
 */
#ifndef MAYFLY_ABI_FUNCTION_H
#define MAYFLY_ABI_FUNCTION_H

#include <stddef.h>
#include <stdint.h>

#define MF_ABI_NOTE_NAME "Mayfly"
#define MF_ABI_NOTE_TYPE 0x4d46 /* "FM" */
#define MF_ABI_RECORD_ALIGN 16
#define MF_ABI_TABLE_SECTION "mayfly_table"

/* The largest function table that a host reads. */
#define MF_ABI_TABLE_MAX (1u << 20)

/* The longest signature, with its terminator. */
#define MF_ABI_SIGNATURE_MAX 2048

struct mf_abi_note {
    uint32_t version;     /* MF_ABI_VERSION that the guest was built with */
    uint32_t min_version; /* the oldest host version that it works with */
    uint64_t features;    /* MF_ABI_FEATURE_* that it cannot do without */
    /*
     * The table as the distance in bytes from this field's own address to its
     * first byte, and to the byte after its last. (Distances, because they are
     * known when the file is linked, also for position-independent programs.)
     */
    int32_t table_start;
    int32_t table_end; /* from this field's own address */
};

_Static_assert(sizeof(struct mf_abi_note) == 24, "note layout");
_Static_assert(offsetof(struct mf_abi_note, table_start) == 16, "note layout");

enum mf_abi_record_kind {
    MF_ABI_RECORD_END = 0, /* a record without meaning; may stand anywhere */
    MF_ABI_RECORD_EXPORT = 1,
    MF_ABI_RECORD_IMPORT = 2,
    MF_ABI_RECORD_RESTORE_HOOK = 3, /* pointer is a void (*)(void); no signature */
};

struct mf_abi_function {
    uint32_t size;    /* this structure and the signature, without gaps */
    uint16_t kind;    /* enum mf_abi_record_kind */
    uint16_t reserved;
    uint64_t pointer; /* the guest's own: the function; the host never reads it */
    uint64_t anchor;  /* the guest's own: pulls the SDK into the link */
    char signature[]; /* NUL-terminated: "type name(type name, ...)" */
};

_Static_assert(sizeof(struct mf_abi_function) == 24, "record layout");
_Static_assert(offsetof(struct mf_abi_function, pointer) == 8, "record layout");

#endif
