/*
 * struct saved_state as bytes: a list of records, each a header of 8 bytes (tag, flags,
 * length) and its contents, padded to 8. encode.c and decode.c are mirror files: what
 * one writes line by line the other reads line by line. docs/formats/snapshot.md has the
 * contents of each record.
 *
 * A later minor version may add records, and fields at the end of records: a reader skips
 * what it does not know, unless the record says that it must be understood.
 */
#ifndef SNAPSHOT_ENCODE_H
#define SNAPSHOT_ENCODE_H

#include "sandbox/saved.h"

/* record(NAME, tag, the contents in short); a file has each of them at most once. */
#define STATE_RECORDS(record)                                                        \
    record(REGISTERS, 1, "general registers, segments")                              \
    record(FXSAVE, 2, "components in use; x87 and SSE")                              \
    record(YMM, 3, "upper halves of YMM0 to YMM15; if AVX is in use")                \
    record(OPMASK, 4, "K0 to K7; if in use")                                         \
    record(ZMM, 5, "upper halves of ZMM0 to ZMM15; if in use")                       \
    record(ZMM_MORE, 6, "ZMM16 to ZMM31; if in use")                                 \
    record(MEMORY, 7, "size of guest memory, free pages")                            \
    record(AREAS, 8, "the address space")                                            \
    record(SANDBOX, 9, "entry, stack, what the guest was stopped in, clocks")        \
    record(MAILBOX, 10, "places of rings and exchange area, indices; if there is one") \
    record(SYSCALLS, 11, "what the system calls keep")                               \
    record(SIGNALS, 12, "signal actions that are set; if any")                       \
    record(DENIED, 13, "how often system calls were denied; if any")

enum state_tag {
#define STATE_TAG(name, tag, text) STATE_##name = tag,
    STATE_RECORDS(STATE_TAG)
#undef STATE_TAG
};

struct state_record {
    uint16_t tag;
    uint16_t flags; /* STATE_NEEDED */
    uint32_t bytes; /* of the contents, without header and padding */
};

_Static_assert(sizeof(struct state_record) == 8, "record layout");

/* Who does not know the tag must refuse the file. */
#define STATE_NEEDED 1

/* The records of what stands in the file for one area, signal and denied call. */
#define STATE_AREA_BYTES 24
#define STATE_SIGNAL_BYTES 40
#define STATE_DENIED_BYTES 16

/* Encodes to memory from malloc, the caller's. MF_E_NO_MEMORY. */
int state_encode(const struct saved_state *saved, uint8_t **bytes, size_t *len,
                 struct mf_error *err);

/*
 * Decodes into *out, which is for saved_fini. Only the form is checked: check_state
 * (check.h) says whether the numbers can be. Nothing is allocated beyond a small multiple of `len`.
 * MF_E_SNAPSHOT with what is wrong, MF_E_NO_MEMORY; *out is empty then.
 */
int state_decode(const uint8_t *bytes, size_t len, struct saved_state *out,
                 struct mf_error *err);

#endif
