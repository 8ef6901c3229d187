/*
 * From a sandbox to a snapshot. The first one of a sandbox copies every page that is
 * not zero to a file in memory, the root; the next ones hold the pages that differ
 * from the one before.
 */
#include "base/checked.h"
#include "base/error.h"
#include "base/fd.h"
#include "sandbox/attend.h"
#include "snapshot/pages.h"
#include "snapshot/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Runs with fewer zero pages between them than this are one: mappings cost more. */
#define GAP_PAGES 4
/* A chain longer than this gets a root of its own. */
#define DEPTH_MAX 8

/* ---- a root ---- */

/* A page that has vanished counts as not zero: writing it to the root then fails. */
static bool page_is_zero(const struct mem *mem, uint32_t page)
{
    uint8_t contents[PAGE_BYTES];
    if (!mem_may_vanish(mem))
        return snap_bytes_are_zero(mem_at(mem, (mf_gpa)page << PAGE_SHIFT));
    return mem_page_read(mem, page, contents) && snap_bytes_are_zero(contents);
}

/* Which of the guest's pages are not zero, as a bitmap. */
static void find_pages(const struct mem *mem, uint64_t *bitmap)
{
    enum { CHUNK = 1024 };
    unsigned char present[CHUNK];
    for (uint64_t first = 0; first < mem->next; first += CHUNK) {
        uint64_t n = MIN((uint64_t)mem->next - first, (uint64_t)CHUNK);
        /* Only where the host's pages are ours; a failure means: look at all. */
        if (sysconf(_SC_PAGESIZE) != (long)PAGE_BYTES ||
            mincore(mem->base + first * PAGE_BYTES, n * PAGE_BYTES, present) != 0)
            memset(present, 1, sizeof present);
        for (uint64_t i = 0; i < n; i++)
            if ((present[i] & 1) && !page_is_zero(mem, (uint32_t)(first + i)))
                bitmap[(first + i) / 64] |= UINT64_C(1) << ((first + i) % 64);
    }
}

static bool has_page(const uint64_t *bitmap, uint64_t page)
{
    return bitmap[page / 64] >> (page % 64) & 1;
}

/* The runs of a bitmap; at the same offsets in the file as in memory. */
static struct mem_run *make_runs(const uint64_t *bitmap, uint64_t npages, size_t *nruns)
{
    size_t capacity = 16;
    struct mem_run *runs = malloc(capacity * sizeof *runs);
    *nruns = 0;
    for (uint64_t p = 0; runs && p < npages; p++) {
        if (!has_page(bitmap, p))
            continue;
        mf_gpa gpa = p * PAGE_BYTES;
        struct mem_run *last = *nruns > 0 ? &runs[*nruns - 1] : NULL;
        if (last && gpa - (last->gpa + last->bytes) <= GAP_PAGES * PAGE_BYTES) {
            last->bytes = gpa + PAGE_BYTES - last->gpa;
            continue;
        }
        if (*nruns == capacity) {
            struct mem_run *more = realloc(runs, 2 * capacity * sizeof *runs);
            if (!more) {
                free(runs);
                return NULL;
            }
            runs = more;
            capacity *= 2;
        }
        runs[(*nruns)++] = (struct mem_run){.gpa = gpa, .bytes = PAGE_BYTES, .offset = gpa};
    }
    return runs;
}

/* Writes the pages of the bitmap and seals the file: it never changes again. */
static int write_root(const struct mem *mem, const uint64_t *bitmap, uint64_t npages, int fd)
{
    uint64_t last = 0;
    for (uint64_t p = 0; p < npages; p++) {
        uint64_t first = p;
        while (p < npages && has_page(bitmap, p))
            p++;
        if (p == first)
            continue;
        errno = fd_write(fd, mem_at(mem, first * PAGE_BYTES), (p - first) * PAGE_BYTES,
                         first * PAGE_BYTES);
        if (errno != 0)
            return -1;
        last = p;
    }
    /* Runs that were joined end with a page that is there, so the file is long enough. */
    if (ftruncate(fd, (off_t)(last * PAGE_BYTES)) != 0)
        return -1;
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
}

static int make_root(const struct mem *mem, struct mem_root **out, struct mf_error *err)
{
    uint64_t npages = mem->next;
    size_t nruns = 0;
    uint64_t *bitmap = calloc(npages / 64 + 1, sizeof *bitmap);
    struct mem_run *runs = NULL;
    int fd = -1, rc;
    if (bitmap) {
        find_pages(mem, bitmap);
        runs = make_runs(bitmap, npages, &nruns);
    }
    if (!runs) {
        rc = error_set(err, MF_E_NO_MEMORY, "cannot allocate a map of the guest's pages");
    } else if ((fd = memfd_create("mayfly-snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING)) < 0) {
        rc = error_set_errno(err, MF_E_SYSTEM, errno, "cannot create a file in memory");
    } else if (write_root(mem, bitmap, npages, fd) != 0) {
        rc = error_set_errno(err, errno == ENOSPC || errno == ENOMEM ? MF_E_NO_MEMORY : MF_E_SYSTEM,
                             errno, "cannot write a snapshot to a file in memory");
    } else {
        free(bitmap);
        return mem_root_create(fd, runs, nruns, false, out, err);
    }
    if (fd >= 0)
        close(fd);
    free(runs);
    free(bitmap);
    return rc;
}

/* ---- differences ---- */

static uint32_t count_bits(const uint64_t *bitmap, size_t words)
{
    uint32_t count = 0;
    for (size_t i = 0; i < words; i++)
        count += (uint32_t)__builtin_popcountll(bitmap[i]);
    return count;
}

/* The pages of tracking->dirty that really differ from the snapshot before. */
static int collect_pages(struct mf_sandbox *sandbox, const struct tracking *tracking,
                         struct snap_pages *pages, struct mf_error *err)
{
    uint8_t before[PAGE_BYTES], now[PAGE_BYTES];
    int rc = snap_pages_init(pages, count_bits(tracking->dirty, tracking->words), err);
    for (size_t i = 0; rc == 0 && i < tracking->words; i++) {
        for (uint64_t left = tracking->dirty[i]; left != 0; left &= left - 1) {
            uint32_t page = (uint32_t)(i * 64 + (unsigned)__builtin_ctzll(left));
            if (!snap_read(tracking->snapshot, page, before) ||
                !mem_page_read(&sandbox->mem, page, now)) {
                snap_pages_fini(pages);
                return error_set(err, MF_E_SNAPSHOT,
                                 "the snapshot file below this sandbox has got shorter");
            }
            if (memcmp(now, before, PAGE_BYTES) != 0)
                snap_pages_add(pages, page, now);
        }
    }
    if (rc == 0)
        snap_pages_trim(pages);
    return rc;
}

static int take_child(struct mf_sandbox *sandbox, struct tracking *tracking,
                      struct saved_state *saved, struct mf_snapshot **out, struct mf_error *err)
{
    struct snap_pages pages;
    int rc = track_collect(sandbox, tracking, err);
    if (rc == 0)
        rc = collect_pages(sandbox, tracking, &pages, err);
    if (rc != 0) {
        saved_fini(saved);
        return rc;
    }
    rc = snap_create(sandbox->image, tracking->snapshot, NULL, saved, &pages, out, err);
    return rc == 0 ? track_clean(sandbox, tracking, err) : rc;
}

static int take_first(struct mf_sandbox *sandbox, struct tracking *tracking,
                      struct saved_state *saved, struct mf_snapshot **out, struct mf_error *err)
{
    struct mem_root *root;
    int rc = make_root(&sandbox->mem, &root, err);
    if (rc != 0) {
        saved_fini(saved);
        return rc;
    }
    rc = snap_create(sandbox->image, NULL, root, saved, NULL, out, err);
    mem_root_close(root);
    if (rc == 0)
        rc = track_collect(sandbox, tracking, err);
    return rc == 0 ? track_clean(sandbox, tracking, err) : rc;
}

int snap_take(struct mf_sandbox *sandbox, struct mf_snapshot **out, struct mf_error *err)
{
    struct saved_state saved;
    if (atomic_load(&sandbox->migrating))
        return error_set(err, MF_E_STATE, "a snapshot cannot be taken during a migration");
    struct tracking *tracking = track_get(sandbox, err);
    if (!tracking)
        return err->code;
    addrspace_prepare(&sandbox->as);
    int rc = saved_collect(sandbox, &saved, err);
    if (rc != 0)
        return rc;
    bool first = !tracking->snapshot || tracking->snapshot->depth >= DEPTH_MAX;
    rc = first ? take_first(sandbox, tracking, &saved, out, err)
               : take_child(sandbox, tracking, &saved, out, err);
    if (rc == 0)
        rc = track_start(sandbox, tracking, err);
    if (rc != 0) {
        mf_snapshot_close(*out);
        *out = NULL;
        return rc;
    }
    track_rebase(tracking, *out);
    return 0;
}

static int do_take(struct mf_sandbox *sandbox, void *out, struct mf_error *err)
{
    return snap_take(sandbox, out, err);
}

int mf_sandbox_snapshot(struct mf_sandbox *sandbox, struct mf_snapshot **out, struct mf_error *err)
{
    struct mf_error own;
    err = err ? err : &own;
    error_clear(err);
    if (!out)
        return error_set(err, MF_E_ARGUMENT, "no place for the snapshot (NULL)");
    *out = NULL;
    return attend_do(sandbox, do_take, out, err);
}
