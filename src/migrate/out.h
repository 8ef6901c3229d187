/*
 * The source's side of a migration, and which file does what:
 *   out.c        mf_migrate_out: from the greeting to the receiver's word
 *   out_copy.c   the rounds of the copy, throttling, when to stop
 *   out_pages.c  which pages were written, and how each is sent
 *   out_post.c   what is left after a post-copy's commit
 */
#ifndef MIGRATE_OUT_H
#define MIGRATE_OUT_H

#include "migrate/wire.h"
#include "snapshot/snapshot.h"

/* A frame of PAGES that is being filled. */
struct page_batch {
    struct wire_run runs[WIRE_RUNS];
    uint32_t nruns, ndata;
    uint8_t data[WIRE_DATA_PAGES][PAGE_BYTES];
};

struct out {
    struct mf_sandbox *sandbox;
    struct mf_migrate_options options; /* defaults filled in */
    struct wire wire;
    struct mf_migrate_progress progress;
    struct mf_error *err;
    bool poll_failed; /* the caller's progress() said stop */

    struct mf_snapshot *parent; /* held: what the receiver has, too; or NULL */
    bool compress, postcopy;
    bool handover; /* memory is passed by its descriptor */

    /* Pages to send, a bit each; and where a page of the program is in its file. */
    uint64_t *dirty;
    size_t words;
    uint32_t *image_page; /* for each guest page: page of the file + 1, or 0 */
    struct page_batch *batch;
    void *zstd; /* ZSTD_CCtx, or NULL */
    uint8_t *packed;
    size_t packed_size;

    bool paused;      /* the guest stands still for us */
    bool talks;       /* the greeting is over: frames may be sent */
    bool polling;     /* inside of poll_caller: a frame may be half sent */
    bool stopped;     /* the hand-over has begun: it stays paused, unless that fails */
    bool committed;   /* COMMIT was sent, or tried */
    uint64_t start_ns, paused_ns; /* when it began, when the guest was paused */
    uint64_t harvest_ns;          /* when pages were last collected */
    uint64_t written;             /* pages that were written between the last two times */
    bool looked_early;            /* out_look_early has had its look */
    /* Throttling: the guest runs for run_ns, then stands still for hold_ns. */
    uint64_t run_ns, hold_ns, turn_ns;
};

/* ---- out_pages.c ---- */

/* Begins to note what is written; all pages in use are to be sent. The guest stands still. */
int out_track(struct out *out);
/* Adds what was written since to out->dirty, and gives the number of pages in it. Likewise. */
int out_harvest(struct out *out, uint64_t *npages);
/*
 * Sends the pages of out->dirty, and clears it; some stay when out_look_early finds that it is
 * no use to send them now.
 */
int out_send_pages(struct out *out);
/* Puts a page of out->dirty into the next frame, and takes it out; nothing when it is not there. */
int out_add_page(struct out *out, uint32_t page);
/* Sends that frame, if there is anything in it. */
int out_flush(struct out *out);
void out_pages_fini(struct out *out);

/* ---- out_copy.c ---- */

/* Copies until the guest is paused and what is left can be sent within the limit of downtime. */
int out_copy(struct out *out);
/*
 * Between the pages of the first round of a post-copy: whether the guest writes faster than
 * the channel takes, so that what is sent before the switch is sent in vain. Looks once, when
 * a part of memory is through.
 */
int out_look_early(struct out *out, bool *in_vain);
/* Between frames: lets the guest run or stand still by turns, as far as it is throttled. */
int out_throttle(struct out *out);

/* ---- out_post.c ---- */

/* The guest stands still: sends at once what it needs to go on; *missing is how many are left. */
int out_post_prepare(struct out *out, uint64_t *missing);
/* Says which those are. */
int out_post_name_missing(struct out *out);
/* After RUNNING: sends what is missing, what is asked for first, until COMPLETE. */
int out_post_serve(struct out *out);

/* ---- out.c ---- */

int out_pause(struct out *out);
void out_unpause(struct out *out);
/* Tells the caller how far it is; MF_E_CANCELLED. */
int out_progress(struct out *out, const char *phase);

#endif
