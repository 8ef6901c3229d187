/*
 * A snapshot file on its way into memory, from its start to its end. One that is not
 * trusted is read exactly once, each byte of it, and what was read is what its digest says:
 * it does not matter who changes the file meanwhile.
 */
#ifndef SNAPSHOT_SOURCE_H
#define SNAPSHOT_SOURCE_H

#include "snapshot/digest.h"

struct source {
    int fd;
    uint64_t size;
    const char *path; /* for messages */
    bool borrowed;    /* somebody else closes it */
    bool trusted;     /* may be read in parts, and has no digest */
    uint64_t at;      /* what is behind the last byte that was read */
    struct digest digest;
};

/* Opens it, or takes `fd` if that is not -1, then `path` is for messages. Errors: file_open. */
int source_open(struct source *source, const char *path, int fd, bool trusted,
                struct mf_error *err);
void source_close(struct source *source);

/*
 * Reads `len` bytes at `offset`, which is not before what was read last. What is skipped must
 * be zero. MF_E_SNAPSHOT (ends before that, or is not zero), MF_E_SYSTEM.
 */
int source_read(struct source *source, uint64_t offset, void *buf, size_t len,
                struct mf_error *err);

/* Reads what is left, which must be zero, and tells the digest. Not for a trusted one. */
int source_finish(struct source *source, uint8_t digest[MF_DIGEST_BYTES], struct mf_error *err);

/* MF_E_SNAPSHOT: `what` is damaged in this file. */
int source_damaged(const struct source *source, const char *what, struct mf_error *err);

#endif
