/*
 * The inside of a snapshot. Which file does what:
 *   snapshot.c  holds, accessors, differences
 *   where.c     where the guest sees its pages
 *   pages.c     where the contents of a page are: parents, roots
 *   track.c     which pages of a sandbox differ from a snapshot; the hot set
 *   take.c      from a sandbox to a snapshot
 *   restore.c   from a snapshot to a sandbox
 *   vanish.c    over snapshot files that somebody could cut short or change
 *   encode.c decode.c   struct saved_state to bytes and back (mirror files)
 *   write.c open.c      files (mirror files); format.h has them byte by byte. Beside them:
 *                       arrange.c (which page goes where), data.c (page data back into
 *                       memory), parent.c (finding parents), store.c, file.c, digest.c
 *   check.c check_memory.c system.c   whether a state from outside can be
 *   pool.c slots.c park.c   pools and parked sandboxes; pool.h
 *
 * A snapshot is a chain: the oldest one, without a parent, has a *root*: a file in
 * memory (or a snapshot file) that sandboxes map privately; the others hold the pages
 * that differ from their parent. The chain is short: take.c makes a new root when
 * it gets long or the differences large.
 */
#ifndef SNAPSHOT_SNAPSHOT_H
#define SNAPSHOT_SNAPSHOT_H

#include "mem/root.h"
#include "sandbox/saved.h"

#include <mayfly/snapshot.h>

#include <stdatomic.h>

/* Pages that differ from the parent; sorted by number. Data pages are 4 KiB each. */
struct snap_pages {
    uint32_t count;
    uint32_t *number;
    /* Where the page is in `data`, or SNAP_ZERO: all of its bytes are zero. */
    uint32_t *place;
    const uint8_t *data; /* malloc'ed, or a mapping of `mapped` bytes */
    uint64_t data_pages;
    uint64_t mapped;
};

#define SNAP_ZERO UINT32_MAX

struct mf_snapshot {
    atomic_uint references;
    struct mf_image *image;
    struct mf_snapshot *parent; /* held; NULL: `root` */
    struct mem_root *root;      /* held; that of the oldest one, for all of the chain */
    struct snap_pages pages;
    uint32_t depth;
    struct saved_state saved;
    uint64_t taken_unix_ns;
    uint64_t npages; /* not zero, in all of the chain */
    _Atomic unsigned digest_state;   /* enum snap_digest; the next two are written before it */
    uint8_t digest[MF_DIGEST_BYTES]; /* of the file that it came from or was first written to */
    uint64_t file_head;              /* checksum of that file's head */
};

/* Whether a snapshot has a digest: whoever sets it takes it from NONE over SETTING to KNOWN. */
enum snap_digest { SNAP_DIGEST_NONE, SNAP_DIGEST_SETTING, SNAP_DIGEST_KNOWN };

/* Notes the digest of its file and the checksum of that file's head, unless it has one. */
void snap_set_digest(struct mf_snapshot *snapshot, const uint8_t digest[MF_DIGEST_BYTES],
                     uint64_t file_head);

/*
 * Builds a snapshot: takes its own holds of image, and of `parent` (then `pages` are what
 * differs from it) or `root`; takes over what *saved and *pages (NULL: none) point to,
 * also when it fails. MF_E_NO_MEMORY.
 */
int snap_create(struct mf_image *image, struct mf_snapshot *parent, struct mem_root *root,
                struct saved_state *saved, struct snap_pages *pages, struct mf_snapshot **out,
                struct mf_error *err);

/*
 * What a sandbox keeps to find out what differs from a snapshot; sandbox->base. The
 * sandbox's memory equals `snapshot` but for the pages that the VM's dirty log
 * and mem->marks name (tracked), or any pages (not tracked).
 */
struct tracking {
    struct sandbox_base base; /* first */
    struct mf_snapshot *snapshot;
    bool tracked; /* false: any page of those handed out may differ */
    bool started; /* the VM keeps a dirty log */
    uint64_t *dirty, *cold; /* bitmaps of `words` words, for use on the way */
    size_t words;
    uint8_t *heat;       /* for each page: in how many of the last resets it was dirty */
    unsigned resets;     /* since the hot set was forgotten */
    uint64_t pages_copied, resets_total; /* counters */
    struct pool_slot *slot; /* of a pool, whose sandbox it is, or NULL */
};

/* mf_sandbox_snapshot and mf_sandbox_restore with *err not NULL, of one that is not attentive. */
int snap_take(struct mf_sandbox *sandbox, struct mf_snapshot **out, struct mf_error *err);
int snap_restore(struct mf_sandbox *sandbox, struct mf_snapshot *snapshot, struct mf_error *err);

/*
 * Goes on with a sandbox that was in another VM: over this one, which is as its
 * tracking->snapshot says, `put` writes the guest pages that differ (mem_mark before), and
 * `saved` is loaded. It is no clone: generation and entropy are those among the pages.
 * `tables`: page tables may be among them too.
 */
typedef int (*snap_put_fn)(void *context, struct mf_sandbox *sandbox, struct mf_error *err);
int snap_overlay(struct mf_sandbox *sandbox, const struct saved_state *saved, bool tables,
                 snap_put_fn put, void *context, struct mf_error *err);

/* The tracking of a sandbox, made if need be. NULL: no memory. */
struct tracking *track_get(struct mf_sandbox *sandbox, struct mf_error *err);

/* Sets what memory is equal to (held). */
void track_rebase(struct tracking *tracking, struct mf_snapshot *snapshot);

/* Begins to track, if need be: all pages are equal to the snapshot's now. */
int track_start(struct mf_sandbox *sandbox, struct tracking *tracking, struct mf_error *err);

/* Fills tracking->dirty with the pages that the guest or the host may have written. */
int track_collect(struct mf_sandbox *sandbox, struct tracking *tracking, struct mf_error *err);

/*
 * All pages are as in the snapshot again: learns which are hot, and makes the others
 * of tracking->dirty clean.
 */
int track_clean(struct mf_sandbox *sandbox, struct tracking *tracking, struct mf_error *err);

#endif
