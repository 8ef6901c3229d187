/*
 * The receiver's side of a migration, and which file does what:
 *   in.c        mf_migrate_in: from the greeting to a sandbox that goes on
 *   in_pages.c  pages that come in, into guest memory
 *   in_post.c   pages that come while the guest runs already (userfaultfd)
 */
#ifndef MIGRATE_IN_H
#define MIGRATE_IN_H

#include "migrate/wire.h"
#include "snapshot/snapshot.h"
#include "snapshot/system.h"

struct in_post;

struct in {
    const struct mf_migrate_in_options *options;
    struct wire wire;
    struct mf_error *err;

    struct wire_hello peer;
    struct wire_offer offer;
    char *name;      /* of the image */
    uint8_t *label;
    struct mf_image *image;     /* held */
    struct mf_snapshot *parent; /* held: the source's, when it is here, too */
    struct mf_host *host;       /* until the sandbox has it */
    struct mf_sandbox_options sandbox_options;
    struct mf_sandbox *sandbox;
    bool handover; /* its memory is the source's, passed by its descriptor */

    struct system system; /* this library's descriptors and stubs */
    bool has_system;
    uint64_t *filled; /* pages that are not zero, a bit each */
    void *zstd;       /* ZSTD_DCtx, or NULL */
    uint8_t *unpacked; /* contents of the pages of a frame */

    struct wire_state state;
    struct saved_state saved; /* of `state` */
    struct in_post *post;     /* pages are missing; or NULL */
};

/* ---- in_pages.c ---- */

int in_pages_init(struct in *in);
void in_pages_fini(struct in *in);
/*
 * A PAGES frame, checked, into guest memory: through `put`, which takes a page's number and
 * its contents (NULL: zeros) and returns 0 or an error.
 */
typedef int (*in_put_fn)(struct in *in, uint32_t page, const uint8_t *contents);
int in_pages(struct in *in, const struct wire_frame *frame, in_put_fn put);
/* Puts into memory that nobody uses yet. */
int in_put_quiet(struct in *in, uint32_t page, const uint8_t *contents);

/* ---- in_post.c ---- */

/* Whether this host lets us wait for pages of a guest that runs. */
bool in_post_possible(void);
/* Receives which pages are missing, and drops what came of them before. */
int in_post_prepare(struct in *in);
/* Whoever touches a page that is not there waits from now on. */
int in_post_register(struct in *in);
/*
 * After the commit: says that it runs, and fetches pages on threads of its own, until all are
 * here or the source is lost. `in` belongs to the sandbox (its arrival) then; on failure it is
 * the caller's.
 */
int in_post_start(struct in *in);
void in_post_free(struct in_post *post);

/* Ends everything and frees it, the sandbox not. NULL is allowed. */
void in_free(struct in *in);

#endif
