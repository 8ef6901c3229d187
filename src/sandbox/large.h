/*
 * Values that do not fit into a frame travel by reference (abi/value.h): those of
 * the host are mapped into the guest for the call (map.c), those of the guest are
 * viewed where they stand, or copied.
 */
#ifndef SANDBOX_LARGE_H
#define SANDBOX_LARGE_H

#include "sandbox/ring.h"

struct mf_sandbox;

/*
 * Data of at least so many bytes leaves the frame when not all fits; shorter data only when
 * that is not enough. Below the second limit a reference gains nothing.
 */
#define LARGE_MIN PAGE_BYTES
#define LARGE_LEAST 64

/* Whose values are placed. */
struct large_use {
    const char *name; /* the function, and */
    const char *what; /* its values, for messages */
    unsigned level;   /* of map_place */
    bool copy;        /* they may be gone before that level ends */
};

/*
 * Fills frame->size, values, n and references, so that the frame takes at most `room`
 * bytes; `references` is where the latter may stand. What had to be mapped for that stays
 * until map_release. MF_E_TOO_LARGE; errors of map_place.
 */
int large_place(struct mf_sandbox *sandbox, const struct large_use *use,
                const struct mf_value *values, size_t n, uint64_t room,
                struct codec_references *references, struct frame *frame, struct mf_error *err);

/*
 * Makes the referred ones among decoded values point to their data: with `view`
 * where the guest has it (bytes only, in guest memory proper, valid while the guest does
 * not run), otherwise to a copy in a chunk of `arena`. MF_E_PROTOCOL when
 * the guest itself could not read it or a string is not UTF-8; MF_E_TOO_LARGE when
 * chunks would hold more than all that the guest can see; MF_E_NO_MEMORY.
 */
int large_fetch(struct mf_sandbox *sandbox, struct arena *arena, struct mf_value *values, size_t n,
                const struct codec_references *references, bool view, struct mf_error *err);

#endif
