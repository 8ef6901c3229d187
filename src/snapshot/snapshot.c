/* Snapshots as objects: holds, what is known of one, differences of two. */
#include "snapshot/snapshot.h"

#include "base/checked.h"
#include "base/error.h"
#include "snapshot/pages.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t wall_clock_ns(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static uint64_t root_pages(const struct mem_root *root)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < root->nruns; i++)
        bytes += root->runs[i].bytes;
    return bytes >> PAGE_SHIFT;
}

/* Pages that are not zero: the parent's, and what the differences change about that. */
static uint64_t count_pages(const struct mf_snapshot *snapshot)
{
    if (!snapshot->parent)
        return root_pages(snapshot->root);
    uint64_t count = snapshot->parent->npages;
    for (uint32_t i = 0; i < snapshot->pages.count; i++) {
        bool was_zero = snap_is_zero(snapshot->parent, snapshot->pages.number[i]);
        bool is_zero = snapshot->pages.place[i] == SNAP_ZERO;
        count = count + was_zero - is_zero;
    }
    return count;
}

int snap_create(struct mf_image *image, struct mf_snapshot *parent, struct mem_root *root,
                struct saved_state *saved, struct snap_pages *pages, struct mf_snapshot **out,
                struct mf_error *err)
{
    struct mf_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (!snapshot) {
        saved_fini(saved);
        if (pages)
            snap_pages_fini(pages);
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a snapshot");
    }
    atomic_init(&snapshot->references, 1);
    snapshot->image = mf_image_hold(image);
    if (parent) {
        snapshot->parent = mf_snapshot_hold(parent);
        snapshot->depth = parent->depth + 1;
        root = parent->root;
    }
    snapshot->root = mem_root_hold(root);
    snapshot->saved = *saved;
    if (pages)
        snapshot->pages = *pages;
    snapshot->taken_unix_ns = wall_clock_ns();
    snapshot->npages = count_pages(snapshot);
    *out = snapshot;
    return 0;
}

struct mf_snapshot *mf_snapshot_hold(struct mf_snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->references, 1, memory_order_relaxed);
    return snapshot;
}

/* A chain is given back in a loop: however long it is, the stack does not grow. */
void mf_snapshot_close(struct mf_snapshot *snapshot)
{
    while (snapshot &&
           atomic_fetch_sub_explicit(&snapshot->references, 1, memory_order_acq_rel) == 1) {
        struct mf_snapshot *parent = snapshot->parent;
        snap_pages_fini(&snapshot->pages);
        saved_fini(&snapshot->saved);
        mem_root_close(snapshot->root);
        mf_image_close(snapshot->image);
        free(snapshot);
        snapshot = parent;
    }
}

void mf_snapshot_get_info(const struct mf_snapshot *snapshot, struct mf_snapshot_info *info)
{
    struct mf_snapshot_info now = {
        .size = info->size,
        .memory_bytes = snapshot->saved.memory_bytes,
        .pages = snapshot->npages,
        .own_pages = snapshot->parent ? snapshot->pages.count : snapshot->npages,
        .depth = snapshot->depth,
        .backend = snapshot->saved.backend,
        .stopped = snapshot->saved.pending.kind,
        .cpu_components = snapshot->saved.cpu.fpu.components,
        .taken_unix_ns = snapshot->taken_unix_ns,
    };
    now.host_bytes = sizeof *snapshot + snapshot->saved.nareas * sizeof(struct area) +
                     snapshot->saved.mem_nfree * sizeof(uint32_t) +
                     snapshot->pages.count * 2 * sizeof(uint32_t) +
                     snapshot->pages.data_pages * PAGE_BYTES;
    if (!snapshot->parent)
        now.host_bytes += snapshot->npages * PAGE_BYTES;
    memcpy(info, &now, MIN(info->size, sizeof now));
}

struct mf_image *mf_snapshot_image(const struct mf_snapshot *snapshot)
{
    return snapshot->image;
}

struct mf_snapshot *mf_snapshot_parent(const struct mf_snapshot *snapshot)
{
    return snapshot->parent;
}

/* ---- differences ---- */

static void mark_pages(const struct mf_snapshot *snapshot, uint64_t *bitmap)
{
    for (; snapshot->parent; snapshot = snapshot->parent)
        for (uint32_t i = 0; i < snapshot->pages.count; i++)
            bitmap[snapshot->pages.number[i] / 64] |= UINT64_C(1)
                                                      << (snapshot->pages.number[i] % 64);
}

static void mark_root(const struct mem_root *root, uint64_t *bitmap)
{
    for (size_t i = 0; i < root->nruns; i++) {
        uint64_t first = root->runs[i].gpa >> PAGE_SHIFT;
        for (uint64_t p = first; p < first + (root->runs[i].bytes >> PAGE_SHIFT); p++)
            bitmap[p / 64] |= UINT64_C(1) << (p % 64);
    }
}

static int64_t compare_pages(const struct mf_snapshot *a, const struct mf_snapshot *b,
                             const uint64_t *bitmap, uint64_t npages,
                             void (*fn)(void *, uint64_t, const void *, const void *),
                             void *context, struct mf_error *err)
{
    uint8_t in_a[PAGE_BYTES], in_b[PAGE_BYTES];
    int64_t count = 0;
    for (uint64_t p = 0; p < npages; p++) {
        if (!(bitmap[p / 64] >> (p % 64) & 1))
            continue;
        if (!snap_read(a, (uint32_t)p, in_a) || !snap_read(b, (uint32_t)p, in_b))
            return error_set(err, MF_E_SNAPSHOT, "a snapshot file has got shorter meanwhile");
        if (memcmp(in_a, in_b, PAGE_BYTES) == 0)
            continue;
        count++;
        if (fn)
            fn(context, p, in_a, in_b);
    }
    return count;
}

int64_t mf_snapshot_diff(const struct mf_snapshot *a, const struct mf_snapshot *b,
                         void (*fn)(void *context, uint64_t page, const void *in_a,
                                    const void *in_b),
                         void *context, struct mf_error *err)
{
    if (a->saved.memory_bytes != b->saved.memory_bytes)
        return error_set(err, MF_E_ARGUMENT,
                         "the snapshots have guest memories of different sizes (%llu and %llu "
                         "bytes)",
                         (unsigned long long)a->saved.memory_bytes,
                         (unsigned long long)b->saved.memory_bytes);
    uint64_t npages = a->saved.memory_bytes >> PAGE_SHIFT;
    uint64_t *bitmap = calloc(npages / 64 + 1, sizeof *bitmap);
    if (!bitmap)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a map of pages");
    mark_pages(a, bitmap);
    mark_pages(b, bitmap);
    if (a->root != b->root) {
        mark_root(a->root, bitmap);
        mark_root(b->root, bitmap);
    }
    int64_t count = compare_pages(a, b, bitmap, npages, fn, context, err);
    free(bitmap);
    return count;
}
