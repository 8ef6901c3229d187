/*
 * Which pages to send, and how.
 *
 * The guest's writes are in the VM's dirty log, the host's in mem->marks; both are collected
 * and cleared while the guest stands still, and only then are the pages read, while it runs
 * on. A page that is written while it is read is in the log again, and comes once more.
 */
#include "base/error.h"
#include "mem/pagetable.h"
#include "migrate/out.h"
#include "sandbox/image.h"
#include "snapshot/pages.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* Fast rather than small: a guest waits. */
#define ZSTD_LEVEL 1

/* ---- what was written ---- */

struct image_map {
    struct out *out;
    const struct mf_image *image;
};

/* Where a page lies wholly inside the bytes that a segment has in the file. */
static void note_image_page(void *context, mf_gva gva, const struct pt_page *page)
{
    const struct image_map *map = context;
    uint64_t number = page->gpa >> PAGE_SHIFT;
    for (size_t i = 0; i < map->image->elf.nsegments; i++) {
        const struct mf_segment *s = &map->image->segments[i];
        if (gva < s->address || gva - s->address + PAGE_BYTES > s->file_bytes)
            continue;
        uint64_t offset = s->file_offset + (gva - s->address);
        if (offset % PAGE_BYTES == 0 && number < map->out->sandbox->mem.end)
            map->out->image_page[number] = (uint32_t)(offset / PAGE_BYTES) + 1;
    }
}

static int clean_all(struct out *out, struct tracking *tracking)
{
    struct mf_sandbox *sandbox = out->sandbox;
    int rc;
    if (!tracking->started) {
        rc = sandbox->vm->ops->dirty_start(sandbox->vm, out->err);
        tracking->started = rc == 0;
    } else {
        memset(tracking->cold, 0xff, tracking->words * sizeof *tracking->cold);
        rc = sandbox->vm->ops->dirty_clean(sandbox->vm, tracking->cold, out->err);
    }
    /* Whatever it was equal to: nobody notes the differences from that any more. */
    tracking->tracked = false;
    return rc == 0 ? mem_marks_start(&sandbox->mem, out->err) : rc;
}

int out_track(struct out *out)
{
    struct mf_sandbox *sandbox = out->sandbox;
    struct image_map map = {out, sandbox->image};
    struct tracking *tracking = track_get(sandbox, out->err);
    if (!tracking)
        return out->err->code;
    out->words = tracking->words;
    out->dirty = calloc(out->words, sizeof *out->dirty);
    out->image_page = calloc(out->words * 64, sizeof *out->image_page);
    out->batch = malloc(sizeof *out->batch);
    if (!out->dirty || !out->image_page || !out->batch)
        return error_set(out->err, MF_E_NO_MEMORY, "cannot allocate maps of the guest's pages");
    out->batch->nruns = out->batch->ndata = 0;
    int rc = clean_all(out, tracking);
    if (rc != 0)
        return rc;
    for (uint64_t page = 0; page < sandbox->mem.next; page++)
        out->dirty[page / 64] |= UINT64_C(1) << (page % 64);
    pt_each(&sandbox->mem, note_image_page, &map);
    return 0;
}

int out_harvest(struct out *out, uint64_t *npages)
{
    struct mf_sandbox *sandbox = out->sandbox;
    struct tracking *tracking = (struct tracking *)sandbox->base;
    memset(tracking->cold, 0, tracking->words * sizeof *tracking->cold);
    int rc = sandbox->vm->ops->dirty_collect(sandbox->vm, tracking->cold, out->err);
    if (rc == 0)
        rc = sandbox->vm->ops->dirty_clean(sandbox->vm, tracking->cold, out->err);
    *npages = out->written = 0;
    for (size_t i = 0; i < out->words; i++) {
        uint64_t written = tracking->cold[i] | sandbox->mem.marks[i];
        out->dirty[i] |= written;
        out->written += (unsigned)__builtin_popcountll(written);
        *npages += (unsigned)__builtin_popcountll(out->dirty[i]);
    }
    mem_marks_clear(&sandbox->mem);
    return rc;
}

void out_pages_fini(struct out *out)
{
    free(out->dirty);
    free(out->image_page);
    free(out->batch);
    free(out->packed);
    ZSTD_freeCCtx(out->zstd);
}

/* ---- how a page is sent ---- */

/*
 * Reads a page that the guest, or the thread that runs it, may be writing: what comes of that
 * is sent again. Not memcpy, so that a race detector can be told that it is meant.
 */
__attribute__((no_sanitize("thread"))) static void read_racing(const uint8_t *from, uint8_t *to)
{
    const volatile uint64_t *words = (const volatile uint64_t *)from;
    for (size_t i = 0; i < PAGE_BYTES / 8; i++)
        ((uint64_t *)to)[i] = words[i];
}

static int read_page(struct out *out, uint32_t page, uint8_t *to)
{
    const struct mem *mem = &out->sandbox->mem;
    if (!mem_may_vanish(mem))
        read_racing(mem_at(mem, (mf_gpa)page << PAGE_SHIFT), to);
    else if (!mem_page_read(mem, page, to))
        return error_set(out->err, MF_E_SNAPSHOT, "the snapshot file has got shorter");
    return 0;
}

static bool equals_image(const struct out *out, uint32_t page, const uint8_t *contents,
                         uint64_t *offset)
{
    const struct mf_image *image = out->sandbox->image;
    if (out->image_page[page] == 0)
        return false;
    *offset = (uint64_t)(out->image_page[page] - 1) * PAGE_BYTES;
    return *offset + PAGE_BYTES <= image->len &&
           memcmp(image->bytes + *offset, contents, PAGE_BYTES) == 0;
}

static bool equals_parent(const struct out *out, uint32_t page, const uint8_t *contents)
{
    uint8_t there[PAGE_BYTES];
    return out->parent && snap_read(out->parent, page, there) &&
           memcmp(there, contents, PAGE_BYTES) == 0;
}

/* The contents behind the runs, compressed when that is asked for and helps. */
static size_t put_data(struct out *out, uint8_t *to, uint16_t *flags)
{
    const struct page_batch *batch = out->batch;
    size_t bytes = (size_t)batch->ndata * PAGE_BYTES;
    if (out->compress && bytes > 0) {
        size_t n = ZSTD_compressCCtx(out->zstd, out->packed, out->packed_size, batch->data, bytes,
                                     ZSTD_LEVEL);
        if (!ZSTD_isError(n) && n < bytes) {
            memcpy(to, out->packed, n);
            *flags = WIRE_COMPRESSED;
            return n;
        }
    }
    memcpy(to, batch->data, bytes);
    return bytes;
}

int out_flush(struct out *out)
{
    struct page_batch *batch = out->batch;
    const struct wire_pages head = {.nruns = batch->nruns, .ndata = batch->ndata};
    uint8_t *body = wire_body(&out->wire);
    size_t runs = batch->nruns * sizeof batch->runs[0];
    uint16_t flags = 0;
    if (batch->nruns == 0)
        return 0;
    memcpy(body, &head, sizeof head);
    memcpy(body + sizeof head, batch->runs, runs);
    size_t bytes = sizeof head + runs + put_data(out, body + sizeof head + runs, &flags);
    batch->nruns = batch->ndata = 0;
    int rc = wire_send_body(&out->wire, WIRE_PAGES, flags, bytes, out->err);
    if (rc == 0)
        rc = out_progress(out, out->progress.phase);
    return rc == 0 ? out_throttle(out) : rc;
}

static void append(struct page_batch *batch, uint32_t page, uint32_t kind, uint64_t offset)
{
    struct wire_run *last = batch->nruns > 0 ? &batch->runs[batch->nruns - 1] : NULL;
    if (last && last->kind == kind && last->first + last->npages == page &&
        (kind != WIRE_IMAGE || last->offset + (uint64_t)last->npages * PAGE_BYTES == offset)) {
        last->npages++;
        return;
    }
    batch->runs[batch->nruns++] =
        (struct wire_run){.first = page, .npages = 1, .kind = kind, .offset = offset};
}

static int add_page(struct out *out, uint32_t page)
{
    struct page_batch *batch = out->batch;
    uint8_t *contents = batch->data[batch->ndata];
    uint64_t offset = 0;
    int rc = read_page(out, page, contents);
    if (rc != 0)
        return rc;
    if (snap_bytes_are_zero(contents)) {
        append(batch, page, WIRE_ZERO, 0);
        out->progress.pages_zero++;
    } else if (equals_image(out, page, contents, &offset)) {
        append(batch, page, WIRE_IMAGE, offset);
        out->progress.pages_known++;
    } else if (equals_parent(out, page, contents)) {
        append(batch, page, WIRE_PARENT, 0);
        out->progress.pages_known++;
    } else {
        append(batch, page, WIRE_DATA, 0);
        batch->ndata++;
        out->progress.pages_sent++;
    }
    return batch->nruns == WIRE_RUNS || batch->ndata == WIRE_DATA_PAGES ? out_flush(out) : 0;
}

int out_send_pages(struct out *out)
{
    bool in_vain = false;
    int rc = 0;
    for (size_t i = 0; rc == 0 && !in_vain && i < out->words; i++) {
        for (uint64_t left = out->dirty[i]; rc == 0 && left != 0; left &= left - 1) {
            rc = add_page(out, (uint32_t)(i * 64 + (unsigned)__builtin_ctzll(left)));
            out->progress.pages_left -= out->progress.pages_left > 0;
        }
        if (rc == 0) {
            out->dirty[i] = 0;
            rc = out_look_early(out, &in_vain);
        }
    }
    return rc == 0 ? out_flush(out) : rc;
}

int out_add_page(struct out *out, uint32_t page)
{
    uint64_t bit = UINT64_C(1) << (page % 64);
    if (page / 64 >= out->words || !(out->dirty[page / 64] & bit))
        return 0;
    out->dirty[page / 64] &= ~bit;
    out->progress.pages_left -= out->progress.pages_left > 0;
    return add_page(out, page);
}
