/* Posting calls and taking answers; see ring.h. */
#include "sandbox/ring.h"

#include "base/checked.h"
#include "base/error.h"

#include <string.h>

/* Copies from a ring (where a frame may run over the end) or a plain area. */
static void area_copy(void *dst, const struct mailbox_area *area, uint64_t offset, uint64_t len)
{
    uint64_t at = offset % area->size;
    uint64_t first = MIN(len, area->size - at);
    memcpy(dst, area->base + at, first);
    memcpy((uint8_t *)dst + first, area->base, len - first);
}

int frame_copy(struct arena *arena, const struct mailbox_area *area, uint64_t offset,
               uint64_t limit, bool chunks, struct mf_abi_frame **copy, struct mf_error *err)
{
    struct mf_abi_frame header;
    if (limit < sizeof header)
        return error_set(err, MF_E_PROTOCOL, "the guest left a frame of %llu bytes",
                         (unsigned long long)limit);
    area_copy(&header, area, offset, sizeof header);
    if (header.size < sizeof header || header.size > limit || header.size % MF_ABI_FRAME_ALIGN ||
        header.count > MF_ABI_PARAMS_MAX)
        return error_set(err, MF_E_PROTOCOL, "the guest left a malformed frame (size %u, count %u)",
                         header.size, header.count);
    /* Of answers that are kept, those of one mailbox stay here: host calls need the rest. */
    bool apart = chunks && arena->used + header.size > arena->size / 4;
    uint8_t *bytes =
        apart ? arena_alloc_chunk(arena, header.size) : arena_alloc(arena, header.size);
    if (!bytes && chunks)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate %u bytes for an answer",
                         header.size);
    if (!bytes)
        return error_set(err, MF_E_PROTOCOL,
                         "calls and scratch hold more than four times the mailbox; "
                         "raise mailbox_bytes");
    /* The guest may have changed the bytes since: only the checked header counts. */
    area_copy(bytes, area, offset, header.size);
    memcpy(bytes, &header, sizeof header);
    *copy = (struct mf_abi_frame *)bytes;
    return 0;
}

void ring_reset(struct rings *rings)
{
    rings->call_tail = rings->result_head = 0;
    rings->control->call_tail = 0;
    rings->control->call_head = 0;
    rings->control->result_tail = 0;
    __atomic_store_n(&rings->control->result_head, 0, __ATOMIC_RELEASE);
    mem_mark(rings->mem, rings->control_gpa, sizeof *rings->control);
}

/* Copies encoded bytes into the ring in two pieces: the rest goes to its start. */
static void post_wrapped(struct rings *rings, const uint8_t *bytes, uint32_t size)
{
    uint64_t room = ring_room(rings);
    memcpy(rings->call.base + rings->call.size - room, bytes, room);
    memcpy(rings->call.base, bytes + room, size - room);
    mem_mark(rings->mem, rings->call.gpa, rings->call.size);
}

int ring_post(struct rings *rings, const struct frame *frame, struct arena *arena,
              struct mf_error *err)
{
    uint64_t at = rings->call_tail & (rings->call.size - 1);
    if (frame->size <= ring_room(rings)) {
        codec_encode(rings->call.base + at, frame->size, &frame->header, frame->values, frame->n,
                     frame->references);
        mem_mark(rings->mem, rings->call.gpa + at, frame->size);
    } else {
        struct arena_mark mark = arena_mark(arena);
        uint8_t *bytes = arena_alloc(arena, frame->size);
        if (!bytes)
            return error_set(err, MF_E_NO_MEMORY, "no room to put a call of %u bytes together",
                             frame->size);
        /* Encoding leaves the padding alone, and the guest reads what these bytes hold. */
        memset(bytes + frame->size - MF_ABI_FRAME_ALIGN, 0, MF_ABI_FRAME_ALIGN);
        codec_encode(bytes, frame->size, &frame->header, frame->values, frame->n,
                     frame->references);
        post_wrapped(rings, bytes, frame->size);
        arena_release(arena, mark);
    }
    rings->call_tail += frame->size;
    __atomic_store_n(&rings->control->call_tail, rings->call_tail, __ATOMIC_RELEASE);
    mem_mark(rings->mem, rings->control_gpa, sizeof *rings->control);
    return 0;
}

int ring_take(struct rings *rings, struct arena *arena, struct mf_abi_frame **copy,
              struct mf_error *err)
{
    uint64_t tail = __atomic_load_n(&rings->control->result_tail, __ATOMIC_ACQUIRE);
    uint64_t used = tail - rings->result_head;
    if (used == 0)
        return 0;
    if (used > rings->result.size)
        return error_set(err, MF_E_PROTOCOL, "the guest moved the result ring from %llu to %llu",
                         (unsigned long long)rings->result_head, (unsigned long long)tail);
    int rc = frame_copy(arena, &rings->result, rings->result_head, used, true, copy, err);
    if (rc != 0)
        return rc;
    rings->result_head += (*copy)->size;
    __atomic_store_n(&rings->control->result_head, rings->result_head, __ATOMIC_RELEASE);
    mem_mark(rings->mem, rings->control_gpa, sizeof *rings->control);
    return 1;
}
