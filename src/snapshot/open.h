/* Opening snapshot files, for the files of this folder. */
#ifndef SNAPSHOT_OPEN_H
#define SNAPSHOT_OPEN_H

#include "snapshot/format.h"
#include "snapshot/snapshot.h"

/* How a file and its parents are opened. */
struct opening {
    bool trusted;
    int fd;                 /* the file itself if it is open already, or -1; for no parent */
    const char *folders[3]; /* where parents may be; NULL: none */
    uint64_t max_memory_bytes;
    unsigned depth; /* children above it */
};

/*
 * Opens one file and its parents. `known` (may be NULL) is the digest that a trusted file
 * has by its name; without it a trusted file has none. Errors: mf_snapshot_open.
 */
int snap_open(const char *path, const struct opening *opening, const uint8_t *known,
              struct mf_snapshot **out, struct mf_error *err);

/* Reads and checks the head of a file; `sections` gets head->nsections of them. */
int snap_read_head(const char *path, struct format_head *head,
                   struct format_section sections[FORMAT_SECTIONS_MAX], struct mf_error *err);

/*
 * Opens the parent that a head names. MF_E_PARENT when there is none, or what has its name is
 * something else.
 */
int snap_open_parent(const struct format_head *head, const struct opening *opening,
                     struct mf_snapshot **out, struct mf_error *err);

/*
 * Calls `fn` for each file that may be the parent, until it returns 0: by its digest in all
 * folders (its error is the error then), then under any name. MF_E_PARENT: not found.
 */
typedef int (*snap_candidate_fn)(void *context, const char *path, struct mf_error *err);
int snap_each_candidate(const struct format_head *head, const struct opening *opening,
                        snap_candidate_fn fn, void *context, struct mf_error *err);

/* Files of a store are called by their digest and this. */
#define SNAP_SUFFIX ".mfs"

/* Whether a file's name says that it has this digest. */
bool snap_name_digest(const char *path, uint8_t digest[MF_DIGEST_BYTES]);

#endif
