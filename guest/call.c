/*
 * Calls of the host: finds the function, runs it, answers. The counterpart of
 * src/sandbox/call.c.
 */
#include "guest/sdk.h"

struct mf_value guest_failure(enum guest_status status, const char *message)
{
    struct mf_value v = mf_error(message);
    v.failed = (uint32_t)-status;
    return v;
}

struct mf_value guest_run_call(const struct mf_abi_frame *call)
{
    struct mf_value args[MF_ABI_PARAMS_MAX];
    const struct mf_abi_function *record =
        (const struct mf_abi_function *)(guest_table + call->function);

    if (call->function >= (uint64_t)(guest_table_end - guest_table) ||
        record->kind != MF_ABI_RECORD_EXPORT || call->count > MF_ABI_PARAMS_MAX)
        return guest_failure(GUEST_E_NO_FUNCTION, "the guest has no such function");
    guest_decode(call, args);
    guest_check_restore();
    struct mf_value result = ((mf_function)record->pointer)(args);
    if (mf_guest_flush)
        mf_guest_flush();
    return result;
}

uint64_t guest_encode_answer(uint8_t *dst, uint64_t room, uint64_t id, struct mf_value value)
{
    struct mf_abi_frame header = {.kind = MF_ABI_FRAME_RESULT, .id = id};
    size_t n = value.type != MF_VOID;
    uint64_t size = guest_frame_size(&value, n);

    if (value.failed == 0 && size > room) {
        value = guest_failure(GUEST_E_TOO_LARGE, "the result does not fit into the mailbox");
        n = 1;
        size = guest_frame_size(&value, n);
    }
    if (value.failed != 0) {
        header.kind = MF_ABI_FRAME_ERROR;
        header.status = -(int32_t)value.failed;
        if (value.type != MF_STRING)
            value = mf_string("the function failed without a message");
        /* A message is cut where it has to be; one frame always has room for a bit of it. */
        uint64_t longest = room - sizeof header - sizeof(struct mf_abi_value) - 8;
        if (value.string.len > longest)
            value.string.len = longest;
        n = 1;
        size = guest_frame_size(&value, n);
    }
    guest_encode(dst, size, header, &value, n);
    return size;
}

/*
 * Puts the answer into the result ring. When earlier answers still stand there
 * and leave too little room, the host gets a chance to take them first; in an
 * empty ring either the answer or an error about its size fits.
 */
static void send_answer(uint64_t id, struct mf_value value)
{
    struct mf_abi_control *control = guest_control();
    const struct mf_abi_boot *boot = guest_boot();
    uint64_t size = guest_frame_size(&value, value.type != MF_VOID);

    for (;;) {
        uint64_t tail = control->result_tail;
        uint64_t used = tail - __atomic_load_n(&control->result_head, __ATOMIC_ACQUIRE);
        uint64_t room = boot->result_ring_size - used;
        if (used == 0 || size <= room) {
            uint8_t *dst = guest_area(boot->result_ring) + (tail & (boot->result_ring_size - 1));
            tail += guest_encode_answer(dst, room, id, value);
            __atomic_store_n(&control->result_tail, tail, __ATOMIC_RELEASE);
            return;
        }
        GUEST_OUT(MF_ABI_PORT_READY, 0);
    }
}

void guest_answer_calls(void)
{
    struct mf_abi_control *control = guest_control();
    const struct mf_abi_boot *boot = guest_boot();

    while (control->call_head != __atomic_load_n(&control->call_tail, __ATOMIC_ACQUIRE)) {
        const struct mf_abi_frame *call =
            (const struct mf_abi_frame *)(guest_area(boot->call_ring) +
                                          (control->call_head & (boot->call_ring_size - 1)));
        uint32_t size = call->size;
        struct mf_value value = guest_run_call(call);
        send_answer(call->id, value);
        guest_exchange_top = 0;
        __atomic_store_n(&control->call_head, control->call_head + size, __ATOMIC_RELEASE);
    }
}
