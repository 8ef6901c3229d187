/*
 * The mailbox: pages that host and guest share, and the frames in them.
 *
 * Theory of operation. There are two rings and one exchange area.
 *
 * The call ring carries CALL frames from the host to the guest, the result
 * ring one RESULT or ERROR frame for each of them back, in order. The indices
 * are bytes, free-running, and live in the control page, each on a cache line
 * of its own: `tail` is where the producer writes next, `head` where the
 * consumer reads next; `tail - head` bytes are in use; the place of an index in
 * its ring is `index & (size - 1)`. Each ring is mapped twice in a row in the
 * guest, so that a frame which runs over the end of a ring is one piece for
 * the guest. A producer writes the frame and then stores the tail with release
 * order; a consumer loads the tail with acquire order.
 *
 * The guest does this for ever: while call_head != call_tail it answers a call;
 * then it executes `out READY`. So many calls may be posted before one entry,
 * and a guest that polls call_tail takes calls with no exit at all. The guest
 * moves call_head past a frame once the answer is in the result ring: the
 * arguments of a call are valid, in place, until the function returns.
 *
 * While the guest is in `out READY` and all calls are answered, the host may
 * set all four indices to 0, so that warm calls use the same few cache lines
 * and dirty the same few pages. The guest therefore reads the indices from the
 * control page again after every READY and keeps no copy.
 *
 * Attention (since 1.1). While MF_ABI_HOST_ATTEND is set in host_flags, and
 * MF_ABI_HOST_RETURN is not, the guest does not leave when all calls are answered
 * but polls call_tail and host_flags; the indices then run on and are not set to
 * 0. The host sets MF_ABI_HOST_RETURN when somebody sleeps until the guest comes
 * back, or when nothing was asked for a while: the guest executes `out READY` as
 * soon as all calls are answered. A guest that does not poll is correct too; it
 * costs an entry for each call.
 *
 * The exchange area carries what happens inside a call, always in pairs of
 * "guest leaves, host enters", as a stack: the guest pushes a HOST_CALL frame
 * and executes `out HOSTCALL` with its offset; when it runs again, the host has
 * put at the same offset
 *   - RESULT or ERROR: the host function's answer, or
 *   - CALL: the host function calls the guest. The guest runs the function
 *     (whose own host calls push their frames behind this one), puts RESULT or
 *     ERROR at the same offset, and executes `out HOSTCALL` again.
 *
 * The host trusts nothing in here: it keeps its own copies of all indices,
 * copies each frame once, checks the copy, and uses only the copy.
 */
#ifndef MAYFLY_ABI_MAILBOX_H
#define MAYFLY_ABI_MAILBOX_H

#include <stddef.h>
#include <stdint.h>

enum mf_abi_frame_kind {
    MF_ABI_FRAME_CALL = 1,      /* host to guest: function, values */
    MF_ABI_FRAME_RESULT = 2,    /* no value (void) or one */
    MF_ABI_FRAME_ERROR = 3,     /* status, one string value: the message */
    MF_ABI_FRAME_HOST_CALL = 4, /* guest to host: function, values */
};

/* Bits of host_flags. */
#define MF_ABI_HOST_ATTEND UINT32_C(1) /* poll instead of leaving */
#define MF_ABI_HOST_RETURN UINT32_C(2) /* leave nevertheless, once all calls are answered */

/* Frames begin at multiples of this many bytes (a cache line). */
#define MF_ABI_FRAME_ALIGN 64

/* No call has more parameters than this. */
#define MF_ABI_PARAMS_MAX 32

/*
 * A frame: this header, then `count` encoded values (value.h), then padding
 * that nobody reads.
 */
struct mf_abi_frame {
    uint32_t size;  /* header, values and padding; multiple of 64 */
    uint16_t kind;  /* enum mf_abi_frame_kind */
    uint16_t count; /* number of values, 0 to MF_ABI_PARAMS_MAX */
    uint64_t id;    /* chosen by whoever sends a call; repeated in its answer */
    /*
     * CALL, HOST_CALL: which function, as the byte offset of its record in the
     * image's function table (function.h). Otherwise 0.
     */
    uint32_t function;
    int32_t status;    /* ERROR: what went wrong, by the sender's own codes */
    uint64_t reserved; /* 0 */
};

_Static_assert(sizeof(struct mf_abi_frame) == 32, "frame layout");
_Static_assert(offsetof(struct mf_abi_frame, id) == 8, "frame layout");
_Static_assert(offsetof(struct mf_abi_frame, function) == 16, "frame layout");
_Static_assert(offsetof(struct mf_abi_frame, status) == 20, "frame layout");

/* The first page of the mailbox. Each index on a cache line of its own. */
struct mf_abi_control {
    uint64_t call_tail; /* written by the host */
    uint8_t pad0[56];
    uint64_t call_head; /* written by the guest */
    uint8_t pad1[56];
    uint64_t result_tail; /* written by the guest */
    uint8_t pad2[56];
    uint64_t result_head; /* written by the host */
    uint8_t pad3[56];
    uint32_t host_flags; /* written by the host: MF_ABI_HOST_*; 0 in version 1.0 */
    uint8_t pad4[60];
    uint32_t guest_flags; /* written by the guest; 0 */
    uint8_t pad5[60];
};

_Static_assert(sizeof(struct mf_abi_control) == 384, "control page layout");
_Static_assert(offsetof(struct mf_abi_control, call_head) == 64, "control page layout");
_Static_assert(offsetof(struct mf_abi_control, result_tail) == 128, "control page layout");
_Static_assert(offsetof(struct mf_abi_control, result_head) == 192, "control page layout");

#endif
