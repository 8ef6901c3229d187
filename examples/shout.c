/*
 * A guest that is a filter: bytes of any number come in and go out through its host
 * (shout_host.c), piece by piece.
 */
#include <mayfly/guest.h>

MF_IMPORT(source, "bytes source(u64 most)");
MF_IMPORT(sink, "void sink(bytes piece)");

/* Makes capital letters of all letters; returns how many bytes there were. */
static struct mf_value shout(const struct mf_value *arg)
{
    static char piece[100000]; /* all that is ever in memory */
    uint64_t total = 0;
    size_t got;
    (void)arg;

    do {
        struct mf_value v = mf_read(source, piece, sizeof piece, &got);
        if (v.failed)
            return v;
        for (size_t i = 0; i < got; i++)
            if (piece[i] >= 'a' && piece[i] <= 'z')
                piece[i] = (char)(piece[i] - 'a' + 'A');
        v = mf_write(sink, piece, got);
        if (v.failed)
            return v;
        total += got;
    } while (got == sizeof piece); /* less: the end */
    return mf_u64(total);
}
MF_EXPORT(shout, "u64 shout()");
