/*
 * Calls of host functions, and the calls of the host that come back in the
 * middle of them. The counterpart of src/sandbox/hostcall.c.
 *
 * The exchange area is a stack. A host call pushes its frame; the answer comes
 * to the same place and stays there, when the result points into it, until the
 * exported function that made the call has been answered. A nested call's frame
 * comes to the same place too, and what its function pushes goes behind it.
 */
#include "guest/sdk.h"

size_t guest_exchange_top;

/* The next free frame of the exchange area. */
static size_t next_offset(void)
{
    return (guest_exchange_top + MF_ABI_FRAME_ALIGN - 1) & ~(size_t)(MF_ABI_FRAME_ALIGN - 1);
}

/*
 * Runs the nested call in the frame at `offset` and puts the answer in its place. What
 * the answer owns stays until the host has it; gives back what the caller owned.
 */
static struct guest_owned answer_nested(size_t offset)
{
    struct mf_abi_frame *frame =
        (struct mf_abi_frame *)(guest_area(guest_boot()->exchange) + offset);
    guest_exchange_top = offset + frame->size;
    struct guest_owned callers = guest_owned;
    bool referred;
    guest_owned.release = NULL;
    struct mf_value value = guest_run_call(frame);
    guest_encode_answer((uint8_t *)frame, guest_boot()->exchange_size - offset, frame->id, value,
                        &referred);
    return callers;
}

/* The value of an answer; what it points to is kept on the stack. */
static struct mf_value take_answer(size_t offset)
{
    const struct mf_abi_frame *frame =
        (const struct mf_abi_frame *)(guest_area(guest_boot()->exchange) + offset);
    struct mf_value values[MF_ABI_PARAMS_MAX];
    struct mf_value value = mf_void();

    guest_exchange_top = offset;
    if (guest_decode(frame, values) > 0)
        value = values[0];
    if (frame->kind == MF_ABI_FRAME_ERROR) {
        if (value.type != MF_STRING)
            value = mf_string("the host function failed");
        value.failed = (uint32_t)(frame->status < 0 ? -frame->status : -GUEST_E_ERROR);
    }
    if (value.type == MF_STRING || value.type == MF_BYTES)
        guest_exchange_top = offset + frame->size;
    return value;
}

struct mf_value mf_host_call(const void *import, const struct mf_value *args, size_t nargs)
{
    static uint64_t last_id;
    size_t offset = next_offset();
    uint8_t *place = guest_area(guest_boot()->exchange) + offset;

    if (nargs > MF_ABI_PARAMS_MAX)
        return guest_failure(GUEST_E_TYPE, "a host function has at most 32 parameters");
    for (size_t i = 0; i < nargs; i++)
        if (args[i].failed)
            return args[i];
    uint64_t size = guest_frame_size(args, nargs, false);
    bool refer = guest_may_refer() && size > guest_boot()->exchange_size - offset;
    if (refer)
        size = guest_frame_size(args, nargs, true);
    if (offset > guest_boot()->exchange_size || size > guest_boot()->exchange_size - offset)
        return guest_failure(GUEST_E_TOO_LARGE, "the arguments do not fit into the mailbox");

    struct mf_abi_frame header = {
        .kind = MF_ABI_FRAME_HOST_CALL,
        .id = ++last_id,
        .function = (uint32_t)((const char *)import - guest_table),
    };
    guest_encode(place, size, header, args, nargs, refer);
    GUEST_OUT(MF_ABI_PORT_HOSTCALL, offset);
    while (((struct mf_abi_frame *)place)->kind == MF_ABI_FRAME_CALL) {
        struct guest_owned mine = answer_nested(offset);
        GUEST_OUT(MF_ABI_PORT_HOSTCALL, offset);
        guest_release_owned();
        guest_owned = mine;
    }
    return take_answer(offset);
}
