/*
 * Scratch: room on the stack of the exchange area (hostcall.c) for what results
 * point to. It needs no heap, is bounded by the mailbox, and is all given back
 * when the exported function has been answered.
 */
#include "guest/sdk.h"

size_t mf_scratch_mark(void)
{
    return guest_exchange_top;
}

void mf_scratch_release(size_t mark)
{
    if (mark < guest_exchange_top)
        guest_exchange_top = mark;
}

void *mf_scratch(size_t len)
{
    size_t offset = (guest_exchange_top + 15) & ~(size_t)15;
    size_t size = guest_boot()->exchange_size;

    if (offset > size || len > size - offset)
        return NULL;
    guest_exchange_top = offset + len;
    return guest_area(guest_boot()->exchange) + offset;
}

struct mf_value mf_bytes_copy(const void *data, size_t len)
{
    void *copy = mf_scratch(len);
    if (copy == NULL)
        return guest_failure(GUEST_E_TOO_LARGE, "the value does not fit into the mailbox");
    guest_copy(copy, data, len);
    return mf_bytes(copy, len);
}

struct mf_value mf_string_copy(const char *text, size_t len)
{
    char *copy = len < SIZE_MAX ? mf_scratch(len + 1) : NULL;
    if (copy == NULL)
        return guest_failure(GUEST_E_TOO_LARGE, "the value does not fit into the mailbox");
    guest_copy(copy, text, len);
    copy[len] = 0;
    return mf_string_n(copy, len);
}
