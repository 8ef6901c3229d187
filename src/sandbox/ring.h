/*
 * The host's side of the two rings of the mailbox (abi/mailbox.h). The host keeps
 * its own copies of the indices that are its own and believes nothing that the
 * guest writes: what it reads is checked against what can be, copied once, and
 * only the copy is used. Nothing here knows of VMs.
 */
#ifndef SANDBOX_RING_H
#define SANDBOX_RING_H

#include "abi/mailbox.h"
#include "mem/mem.h"
#include "sandbox/arena.h"
#include "sandbox/codec.h"

/* One of the two rings or the exchange area, as the host sees it. */
struct mailbox_area {
    uint8_t *base; /* shared with the guest: hostile */
    uint32_t size; /* rings: power of two */
    mf_gpa gpa;
    uint64_t offset; /* from MF_ABI_GVA_MAILBOX */
};

struct rings {
    struct mem *mem;                /* which notes what the host writes */
    struct mf_abi_control *control; /* shared: hostile; NULL without a mailbox */
    mf_gpa control_gpa;
    struct mailbox_area call, result;
    uint64_t call_tail;   /* where the next frame goes */
    uint64_t result_head; /* where the next answer stands */
};

/* One frame to send: its header without size and count, and its values. */
struct frame {
    struct mf_abi_frame header;
    uint32_t size; /* codec_frame_size of the following */
    const struct mf_value *values;
    size_t n;
    const struct codec_references *references; /* or NULL */
};

/*
 * Begins at the start of both rings again. Only while the guest waits in READY with
 * all calls answered.
 */
void ring_reset(struct rings *rings);

/* Bytes that fit into the call ring behind the last frame in one piece. */
static inline uint64_t ring_room(const struct rings *rings)
{
    return rings->call.size - (rings->call_tail & (rings->call.size - 1));
}

/*
 * Posts a call and publishes it. The caller knows that it fits: at most ring_room(),
 * or, when all calls before are answered, the size of the ring; then it may run over
 * the end, for which bytes of `arena` are borrowed. MF_E_NO_MEMORY when it has none.
 */
int ring_post(struct rings *rings, const struct frame *frame, struct arena *arena,
              struct mf_error *err);

/* Whether an answer seems to stand in the result ring. Any thread. */
static inline bool ring_has_answer(const struct rings *rings)
{
    return __atomic_load_n(&rings->control->result_tail, __ATOMIC_ACQUIRE) != rings->result_head;
}

/*
 * Takes the next answer: copies it to `arena` with its header checked. 1 with *copy
 * set, 0 when there is none, MF_E_PROTOCOL when what stands there cannot be.
 */
int ring_take(struct rings *rings, struct arena *arena, struct mf_abi_frame **copy,
              struct mf_error *err);

/*
 * Copies the frame at `offset` of `area`, at most `limit` bytes, to the arena (with
 * `chunks` to a chunk when a quarter of the fixed part is in use), with its header checked: size
 * and count. The copy's header is the checked one. MF_E_PROTOCOL when it is malformed.
 */
int frame_copy(struct arena *arena, const struct mailbox_area *area, uint64_t offset,
               uint64_t limit, bool chunks, struct mf_abi_frame **copy, struct mf_error *err);

#endif
