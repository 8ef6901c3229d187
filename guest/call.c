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

uint64_t guest_encode_answer(uint8_t *dst, uint64_t room, uint64_t id, struct mf_value value,
                             bool *referred)
{
    struct mf_abi_frame header = {.kind = MF_ABI_FRAME_RESULT, .id = id};
    size_t n = value.type != MF_VOID;
    uint64_t size = guest_frame_size(&value, n, false);

    *referred = value.failed == 0 && size > room && guest_may_refer();
    if (*referred)
        size = guest_frame_size(&value, n, true);
    if (value.failed == 0 && size > room) {
        value = guest_failure(GUEST_E_TOO_LARGE, "the result does not fit into the mailbox");
        n = 1;
        size = guest_frame_size(&value, n, false);
    }
    if (value.failed != 0) {
        header.kind = MF_ABI_FRAME_ERROR;
        header.status = -(int32_t)value.failed;
        if (value.type != MF_STRING)
            value = mf_string("the function failed without a message");
        /* A message is cut where it has to be; one frame always has room for a bit of it. */
        uint64_t longest = room - sizeof header - sizeof(struct mf_abi_value) - 8;
        if (value.string.len > longest) {
            value.string.len = longest;
            while (value.string.len > 0 && (value.string.data[value.string.len] & 0xc0) == 0x80)
                value.string.len--; /* between characters */
        }
        n = 1;
        *referred = false;
        size = guest_frame_size(&value, n, false);
    }
    guest_encode(dst, size, header, &value, n, *referred);
    return size;
}

struct guest_owned guest_owned;

void guest_release_owned(void)
{
    struct guest_owned owned = guest_owned;
    if (owned.release == NULL)
        return;
    guest_owned.release = NULL;
    owned.release(owned.data);
}

struct mf_value mf_bytes_owned(void *data, size_t len, void (*release)(void *data))
{
    guest_release_owned();
    guest_owned.data = data;
    guest_owned.release = release;
    return mf_bytes(data, len);
}

/*
 * Puts the answer into the result ring. When earlier answers still stand there
 * and leave too little room, the host gets a chance to take them first; in an
 * empty ring either the answer or an error about its size fits. Whether the value
 * must stay as it is until the next call.
 */
static bool send_answer(uint64_t id, struct mf_value value)
{
    struct mf_abi_control *control = guest_control();
    const struct mf_abi_boot *boot = guest_boot();
    uint64_t size = guest_frame_size(&value, value.type != MF_VOID, false);
    bool referred;

    for (;;) {
        uint64_t tail = control->result_tail;
        uint64_t used = tail - __atomic_load_n(&control->result_head, __ATOMIC_ACQUIRE);
        uint64_t room = boot->result_ring_size - used;
        if (used == 0 || size <= room) {
            uint8_t *dst = guest_area(boot->result_ring) + (tail & (boot->result_ring_size - 1));
            tail += guest_encode_answer(dst, room, id, value, &referred);
            __atomic_store_n(&control->result_tail, tail, __ATOMIC_RELEASE);
            return referred;
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
        uint64_t next = control->call_head + call->size;
        guest_release_owned();
        struct mf_value value = guest_run_call(call);
        bool referred = send_answer(call->id, value);
        if (!referred)
            guest_release_owned();
        guest_exchange_top = 0;
        __atomic_store_n(&control->call_head, next, __ATOMIC_RELEASE);
        /* The next call may change what the answer refers to: the host takes it before. */
        if (referred && next != __atomic_load_n(&control->call_tail, __ATOMIC_ACQUIRE))
            GUEST_OUT(MF_ABI_PORT_READY, 0);
    }
}

bool guest_poll(void)
{
    const struct mf_abi_control *control = guest_control();

    for (;;) {
        uint32_t flags = __atomic_load_n(&control->host_flags, __ATOMIC_RELAXED);
        if (!(flags & MF_ABI_HOST_ATTEND))
            return false;
        if (control->call_head != __atomic_load_n(&control->call_tail, __ATOMIC_ACQUIRE))
            return true;
        if (flags & MF_ABI_HOST_RETURN)
            return false;
        __builtin_ia32_pause();
    }
}
