/*
 * Pages that come in. The peer names guest pages, places in the program and in the parent: each
 * number is checked here. What the pages say is checked at the end, as far as the
 * host believes it (src/snapshot/check.h); descriptors and stubs are replaced by ours.
 */
#include "base/checked.h"
#include "base/error.h"
#include "migrate/in.h"
#include "sandbox/image.h"
#include "snapshot/pages.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zstd.h>

/* Linux 5.14; older C libraries do not name it. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int in_pages_init(struct in *in)
{
    uint64_t npages = in->offer.memory_bytes >> PAGE_SHIFT;
    int rc = system_init(&in->system, in->err);
    if (rc != 0)
        return rc;
    in->has_system = true;
    in->filled = calloc((size_t)(npages + 63) / 64, sizeof *in->filled);
    in->zstd = ZSTD_createDCtx();
    in->unpacked = malloc(WIRE_DATA_PAGES * PAGE_BYTES);
    if (!in->filled || !in->zstd || !in->unpacked)
        return error_set(in->err, MF_E_NO_MEMORY, "cannot allocate a map of the guest's pages");
    return 0;
}

void in_pages_fini(struct in *in)
{
    if (in->has_system)
        system_fini(&in->system);
    in->has_system = false;
    free(in->filled);
    free(in->unpacked);
    ZSTD_freeDCtx(in->zstd);
    in->filled = NULL;
    in->zstd = NULL;
    in->unpacked = NULL;
}

int in_put_quiet(struct in *in, uint32_t page, const uint8_t *contents)
{
    uint8_t *at = mem_at(&in->sandbox->mem, (mf_gpa)page << PAGE_SHIFT);
    uint64_t bit = UINT64_C(1) << (page % 64), *word = &in->filled[page / 64];
    if (contents) {
        memcpy(at, contents, PAGE_BYTES);
        if (page < LAYOUT_PAGE_FREE)
            system_renew(&in->system, page, at);
        *word |= bit;
    } else if (*word & bit) {
        memset(at, 0, PAGE_BYTES);
        if (page < LAYOUT_PAGE_FREE)
            system_renew(&in->system, page, at);
    }
    return 0;
}

static int wrong(struct in *in, const char *what)
{
    return error_set(in->err, MF_E_PEER, "the peer sent pages that cannot be: %s", what);
}

static int put_known(struct in *in, const struct wire_run *run, uint32_t i, in_put_fn put)
{
    uint8_t contents[PAGE_BYTES];
    uint32_t page = run->first + i;
    if (run->kind == WIRE_IMAGE)
        return put(in, page, in->image->bytes + run->offset + (uint64_t)i * PAGE_BYTES);
    if (!snap_read(in->parent, page, contents))
        return error_set(in->err, MF_E_SNAPSHOT, "the parent's snapshot file has got shorter");
    return put(in, page, contents);
}

static int check_run(struct in *in, const struct wire_run *run, uint64_t *ndata)
{
    uint64_t bytes = (uint64_t)run->npages * PAGE_BYTES;
    if (run->npages == 0 || run->reserved != 0 ||
        !range_inside(run->first, run->npages, in->offer.memory_bytes >> PAGE_SHIFT))
        return wrong(in, "a page outside of memory");
    switch (run->kind) {
    case WIRE_ZERO:
        return 0;
    case WIRE_DATA:
        *ndata += run->npages;
        return 0;
    case WIRE_IMAGE:
        if (run->offset % PAGE_BYTES != 0 || !range_inside(run->offset, bytes, in->image->len))
            return wrong(in, "a place outside of the program");
        return 0;
    case WIRE_PARENT:
        if (!in->parent || in->parent->saved.memory_bytes != in->offer.memory_bytes)
            return wrong(in, "pages of a parent that is not here");
        return 0;
    default:
        return wrong(in, "an unknown kind");
    }
}

/* The contents of DATA pages: in the frame, or unpacked. NULL: cannot be. */
static const uint8_t *data_of(struct in *in, const struct wire_frame *frame, size_t at,
                              uint32_t ndata)
{
    size_t bytes = (size_t)ndata * PAGE_BYTES, have = frame->bytes - at;
    if (!(frame->flags & WIRE_COMPRESSED))
        return have == bytes ? frame->data + at : NULL;
    return ZSTD_decompressDCtx(in->zstd, in->unpacked, bytes, frame->data + at, have) == bytes
               ? in->unpacked
               : NULL;
}

/*
 * Memory for contents that are here, all at once: a fault for each page would cost more than the
 * copy. Linux before 5.14 does not know it, and takes the faults.
 */
static void populate(struct in *in, const struct wire_run *run)
{
    const size_t bytes = (size_t)run->npages * PAGE_BYTES;
    if (run->npages > 1)
        madvise(mem_at(&in->sandbox->mem, (mf_gpa)run->first << PAGE_SHIFT), bytes,
                MADV_POPULATE_WRITE);
}

static int put_runs(struct in *in, const uint8_t *runs, uint32_t nruns, const uint8_t *data,
                    in_put_fn put)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < nruns; i++) {
        struct wire_run run;
        memcpy(&run, runs + i * sizeof run, sizeof run);
        if (run.kind == WIRE_DATA && put == in_put_quiet)
            populate(in, &run);
        for (uint32_t n = 0; rc == 0 && n < run.npages; n++) {
            if (run.kind == WIRE_ZERO) {
                rc = put(in, run.first + n, NULL);
            } else if (run.kind == WIRE_DATA) {
                rc = put(in, run.first + n, data);
                data += PAGE_BYTES;
            } else {
                rc = put_known(in, &run, n, put);
            }
        }
    }
    return rc;
}

int in_pages(struct in *in, const struct wire_frame *frame, in_put_fn put)
{
    struct wire_pages head;
    uint64_t ndata = 0, npages = 0;
    if (frame->bytes < sizeof head)
        return wrong(in, "a frame without a head");
    memcpy(&head, frame->data, sizeof head);
    size_t at = sizeof head + (size_t)head.nruns * sizeof(struct wire_run);
    if (head.nruns > WIRE_RUNS || head.ndata > WIRE_DATA_PAGES || at > frame->bytes)
        return wrong(in, "more of them than a frame has");
    for (uint32_t i = 0; i < head.nruns; i++) {
        struct wire_run run;
        memcpy(&run, frame->data + sizeof head + i * sizeof run, sizeof run);
        int rc = check_run(in, &run, &ndata);
        if (rc != 0)
            return rc;
        npages += run.npages;
    }
    /* A page comes once in a frame; or a small one would keep us busy for long. */
    if (npages > in->offer.memory_bytes >> PAGE_SHIFT)
        return wrong(in, "more of them than memory has");
    if (ndata != head.ndata)
        return wrong(in, "a wrong number of contents");
    const uint8_t *data = data_of(in, frame, at, head.ndata);
    if (!data)
        return wrong(in, "damaged contents");
    return put_runs(in, frame->data + sizeof head, head.nruns, data, put);
}
