/*
 * Which pages of a sandbox differ from a snapshot, and the hot set.
 *
 * The guest's writes are in the VM's dirty log, the host's in mem->marks. A page that the
 * guest dirties again and again is *hot*: making it clean each time would cost the guest a
 * fault each time, more than copying a page. So a page that was dirty in two
 * resets stays dirty for the log, is reported by it for ever and copied back by every
 * reset. Because of that nobody would see when it cools down: every so often all pages
 * are made clean, and the hot ones are learnt anew. The guest has no say in it: what is not
 * hot is tracked, and what is hot is copied.
 */
#include "base/error.h"
#include "snapshot/snapshot.h"

#include <stdlib.h>
#include <string.h>

#define HOT 2
/* After so many resets the hot set is forgotten. */
#define RESETS_MAX 256

static void release(struct sandbox_base *base)
{
    struct tracking *tracking = (struct tracking *)base;
    mf_snapshot_close(tracking->snapshot);
    free(tracking->dirty);
    free(tracking->cold);
    free(tracking->heat);
    free(tracking);
}

struct tracking *track_get(struct mf_sandbox *sandbox, struct mf_error *err)
{
    if (sandbox->base)
        return (struct tracking *)sandbox->base;
    uint64_t npages = sandbox->mem.bytes >> PAGE_SHIFT;
    struct tracking *tracking = calloc(1, sizeof *tracking);
    if (tracking) {
        tracking->base.release = release;
        tracking->words = (size_t)(npages + 63) / 64;
        tracking->dirty = calloc(tracking->words, sizeof *tracking->dirty);
        tracking->cold = calloc(tracking->words, sizeof *tracking->cold);
        tracking->heat = calloc(npages, 1);
        if (tracking->dirty && tracking->cold && tracking->heat) {
            sandbox->base = &tracking->base;
            return tracking;
        }
        release(&tracking->base);
    }
    error_set(err, MF_E_NO_MEMORY, "cannot allocate maps of the guest's pages");
    return NULL;
}

void track_rebase(struct tracking *tracking, struct mf_snapshot *snapshot)
{
    mf_snapshot_hold(snapshot);
    mf_snapshot_close(tracking->snapshot);
    tracking->snapshot = snapshot;
}

int track_start(struct mf_sandbox *sandbox, struct tracking *tracking, struct mf_error *err)
{
    int rc = 0;
    if (tracking->tracked)
        return 0;
    if (!tracking->started) {
        rc = sandbox->vm->ops->dirty_start(sandbox->vm, err);
        tracking->started = rc == 0;
    } else {
        memset(tracking->cold, 0xff, tracking->words * sizeof *tracking->cold);
        rc = sandbox->vm->ops->dirty_clean(sandbox->vm, tracking->cold, err);
    }
    if (rc == 0)
        rc = mem_marks_start(&sandbox->mem, err);
    tracking->tracked = rc == 0;
    return rc;
}

int track_collect(struct mf_sandbox *sandbox, struct tracking *tracking, struct mf_error *err)
{
    if (!tracking->tracked) {
        memset(tracking->dirty, 0, tracking->words * sizeof *tracking->dirty);
        for (uint64_t p = 0; p < sandbox->mem.next; p++)
            tracking->dirty[p / 64] |= UINT64_C(1) << (p % 64);
        return 0;
    }
    memset(tracking->dirty, 0, tracking->words * sizeof *tracking->dirty);
    int rc = sandbox->vm->ops->dirty_collect(sandbox->vm, tracking->dirty, err);
    if (rc != 0)
        return rc;
    memcpy(tracking->cold, tracking->dirty, tracking->words * sizeof *tracking->dirty);
    for (size_t i = 0; i < tracking->words; i++)
        tracking->dirty[i] |= sandbox->mem.marks[i];
    return 0;
}

/*
 * Of what the log reported (in `cold` since track_collect) takes the hot pages out. True when
 * any page is left.
 */
static bool take_hot_out(struct tracking *tracking)
{
    bool forget = ++tracking->resets >= RESETS_MAX, any = false;
    for (size_t i = 0; i < tracking->words; i++) {
        for (uint64_t left = tracking->cold[i]; left != 0; left &= left - 1) {
            unsigned bit = (unsigned)__builtin_ctzll(left);
            uint8_t *heat = &tracking->heat[i * 64 + bit];
            *heat = forget ? HOT - 1 : *heat < HOT ? *heat + 1 : HOT;
            if (*heat >= HOT)
                tracking->cold[i] &= ~(UINT64_C(1) << bit);
        }
        any = any || tracking->cold[i] != 0;
    }
    if (forget)
        tracking->resets = 0;
    return any;
}

int track_clean(struct mf_sandbox *sandbox, struct tracking *tracking, struct mf_error *err)
{
    if (!tracking->tracked)
        return 0;
    bool any = take_hot_out(tracking);
    /*
     * An emulator keeps translated code of a page until it is made clean; a processor
     * has no use for pages that the guest did not write.
     */
    for (size_t i = 0; i < tracking->words && sandbox->vm->ops->id == MF_BACKEND_SOFT; i++) {
        tracking->cold[i] |= sandbox->mem.marks[i];
        any = any || tracking->cold[i] != 0;
    }
    mem_marks_clear(&sandbox->mem);
    if (!any)
        return 0;
    int rc = sandbox->vm->ops->dirty_clean(sandbox->vm, tracking->cold, err);
    /* What the host wrote is forgotten already: from now on any page may differ. */
    if (rc != 0)
        tracking->tracked = false;
    return rc;
}
