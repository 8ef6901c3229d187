/*
 * Streams of bytes through host functions, piece by piece. A piece is at most half of the
 * room that is left in the exchange area, so that the frame around it fits as well, and
 * its room is given back before the next one.
 */
#include "guest/sdk.h"

#define PIECE_MIN 256

/* How many bytes one piece can have here and now; 0 when it is too little to go on. */
static size_t piece_size(void)
{
    size_t used = guest_exchange_top, size = guest_boot()->exchange_size;
    size_t piece = used < size ? (size - used) / 2 : 0;
    return piece < PIECE_MIN ? 0 : piece;
}

static struct mf_value no_room(void)
{
    return guest_failure(GUEST_E_TOO_LARGE, "the mailbox has no room for a piece of a stream");
}

struct mf_value mf_stream_write(const void *import, const void *data, size_t len)
{
    const uint8_t *next = (const uint8_t *)data;

    while (len > 0) {
        size_t mark = mf_scratch_mark(), piece = piece_size();
        if (piece == 0)
            return no_room();
        if (piece > len)
            piece = len;
        struct mf_value argument = mf_bytes(next, piece);
        struct mf_value answer = mf_host_call(import, &argument, 1);
        if (answer.failed)
            return answer;
        mf_scratch_release(mark);
        next += piece;
        len -= piece;
    }
    return mf_void();
}

struct mf_value mf_stream_read(const void *import, void *buf, size_t len, size_t *got)
{
    *got = 0;
    while (*got < len) {
        size_t mark = mf_scratch_mark(), piece = piece_size();
        if (piece == 0)
            return no_room();
        if (piece > len - *got)
            piece = len - *got;
        struct mf_value argument = mf_u64(piece);
        struct mf_value answer = mf_host_call(import, &argument, 1);
        if (answer.failed)
            return answer;
        if (answer.type != MF_BYTES || answer.bytes.len > piece)
            return guest_failure(GUEST_E_TYPE, "a stream's host function gave no bytes, or more "
                                               "than it was asked for");
        guest_copy((uint8_t *)buf + *got, answer.bytes.data, answer.bytes.len);
        *got += answer.bytes.len;
        mf_scratch_release(mark);
        if (answer.bytes.len == 0)
            break;
    }
    return mf_void();
}
