/*
 * Arranging pages for a file.
 *
 * Equal pages are stored once, zero pages not at all. But each run of adjacent pages becomes a
 * mapping when the file is mapped, and mappings cost time and are limited. So for a file to
 * be mapped, gaps between stored pages (of zero pages, and of pages that are stored elsewhere)
 * are filled, short ones first, until there are few runs or the filling takes
 * more than a quarter of what is stored anyway.
 */
#include "snapshot/arrange.h"

#include "base/error.h"
#include "snapshot/digest.h"
#include "snapshot/pages.h"

#include <stdlib.h>
#include <string.h>

#define RUNS_FEW 128
#define FILL_FREE 256 /* pages of filling that are always allowed */
#define GAP_FIRST 4
#define GAP_MAX 4096

#define ZERO_ENTRY UINT32_MAX

/* A page that is not left out. */
struct entry {
    uint32_t page;
    uint32_t same; /* the first entry of the same contents, maybe itself, or ZERO_ENTRY */
};

/* Where an entry is found by its contents. */
struct slot {
    uint32_t entry; /* its index + 1; 0: none */
    uint32_t hash;  /* half of the checksum of the contents */
};

struct work {
    const struct mf_snapshot *snapshot;
    struct entry *entries;
    size_t nentries, capacity;
    struct slot *table; /* a power of two of them, at most half in use */
    size_t nslots, used;
    struct arrangement *out;
    uint32_t *place; /* for each entry, where its contents stand */
    size_t runs_capacity, stored_capacity;
    struct mf_error *err;
    int failed; /* MF_OK or the first error */
};

/* Makes room for one more element of an array; false: no memory, noted. */
static bool grow(struct work *work, void **array, size_t n, size_t *capacity, size_t size)
{
    if (n < *capacity)
        return true;
    size_t more = *capacity ? 2 * *capacity : 1024;
    void *bigger = realloc(*array, more * size);
    if (!bigger) {
        work->failed = error_set(work->err, MF_E_NO_MEMORY, "cannot arrange a snapshot's pages");
        return false;
    }
    *array = bigger;
    *capacity = more;
    return true;
}

/* ---- which pages, and which are equal ---- */

static bool grow_table(struct work *work)
{
    size_t nslots = work->nslots ? 2 * work->nslots : 4096;
    struct slot *table = calloc(nslots, sizeof *table);
    if (!table) {
        work->failed = error_set(work->err, MF_E_NO_MEMORY, "cannot arrange a snapshot's pages");
        return false;
    }
    for (size_t i = 0; i < work->nslots; i++) {
        size_t at = work->table[i].hash & (nslots - 1);
        if (work->table[i].entry == 0)
            continue;
        while (table[at].entry != 0)
            at = (at + 1) & (nslots - 1);
        table[at] = work->table[i];
    }
    free(work->table);
    work->table = table;
    work->nslots = nslots;
    return true;
}

/* The entry that has the same contents, or `mine`, which is then the one to be found. */
static uint32_t find_same(struct work *work, const uint8_t *contents, uint32_t mine)
{
    uint8_t other[PAGE_BYTES];
    if (2 * work->used >= work->nslots && !grow_table(work))
        return mine;
    uint32_t hash = (uint32_t)checksum_of(contents, PAGE_BYTES);
    size_t at = hash & (work->nslots - 1);
    for (; work->table[at].entry != 0; at = (at + 1) & (work->nslots - 1)) {
        uint32_t same = work->table[at].entry - 1;
        if (work->table[at].hash == hash &&
            snap_read(work->snapshot, work->entries[same].page, other) &&
            memcmp(other, contents, PAGE_BYTES) == 0)
            return same;
    }
    work->table[at] = (struct slot){mine + 1, hash};
    work->used++;
    return mine;
}

static void add_entry(struct work *work, uint32_t page, const uint8_t *contents, bool keep_zero)
{
    bool zero = snap_bytes_are_zero(contents);
    if (work->failed || (zero && !keep_zero) ||
        !grow(work, (void **)&work->entries, work->nentries, &work->capacity,
              sizeof *work->entries))
        return;
    uint32_t mine = (uint32_t)work->nentries++;
    work->entries[mine] = (struct entry){.page = page, .same = ZERO_ENTRY};
    if (!zero)
        work->entries[mine].same = find_same(work, contents, mine);
}

static void add_different(void *context, uint64_t page, const void *here, const void *there)
{
    (void)there;
    add_entry(context, (uint32_t)page, here, true);
}

static void mark(uint64_t *bitmap, uint64_t first, uint64_t n)
{
    for (uint64_t p = first; p < first + n; p++)
        bitmap[p / 64] |= UINT64_C(1) << (p % 64);
}

static int add_all(struct work *work)
{
    const struct mf_snapshot *snapshot = work->snapshot;
    uint64_t npages = snapshot->saved.memory_bytes >> PAGE_SHIFT;
    uint64_t *bitmap = calloc(npages / 64 + 1, sizeof *bitmap);
    uint8_t contents[PAGE_BYTES];
    if (!bitmap)
        return error_set(work->err, MF_E_NO_MEMORY, "cannot allocate a map of pages");
    for (size_t i = 0; i < snapshot->root->nruns; i++)
        mark(bitmap, snapshot->root->runs[i].gpa >> PAGE_SHIFT,
             snapshot->root->runs[i].bytes >> PAGE_SHIFT);
    for (const struct mf_snapshot *s = snapshot; s->parent; s = s->parent)
        for (uint32_t i = 0; i < s->pages.count; i++)
            mark(bitmap, s->pages.number[i], 1);
    for (uint64_t i = 0; i < npages / 64 + 1 && work->failed == MF_OK; i++) {
        for (uint64_t left = bitmap[i]; left != 0; left &= left - 1) {
            uint32_t page = (uint32_t)(i * 64 + (unsigned)__builtin_ctzll(left));
            if (!snap_read(snapshot, page, contents)) {
                work->failed = error_set(work->err, MF_E_SNAPSHOT,
                                         "the file behind the snapshot has got shorter");
                break;
            }
            add_entry(work, page, contents, false);
        }
    }
    free(bitmap);
    return work->failed;
}

static int add_difference(struct work *work, const struct mf_snapshot *parent)
{
    int64_t n = mf_snapshot_diff(work->snapshot, parent, add_different, work, work->err);
    return n < 0 ? (int)n : work->failed;
}

/* ---- where they go ---- */

static bool is_first(const struct work *work, size_t i)
{
    return work->entries[i].same == i;
}

/* What filling gaps of up to `gap` pages would lead to. */
static void try_gap(const struct work *work, uint64_t gap, uint64_t *runs, uint64_t *filling)
{
    bool any = false;
    uint32_t last = 0;
    *runs = *filling = 0;
    for (size_t i = 0; i < work->nentries; i++) {
        if (!is_first(work, i))
            continue;
        uint64_t between = any ? work->entries[i].page - last - 1 : UINT64_MAX;
        if (between > gap)
            ++*runs;
        else
            *filling += between;
        any = true;
        last = work->entries[i].page;
    }
}

static uint64_t choose_gap(const struct work *work)
{
    uint64_t gap = GAP_FIRST, runs, filling;
    for (;;) {
        try_gap(work, gap, &runs, &filling);
        if (runs <= RUNS_FEW || gap >= GAP_MAX)
            return gap;
        try_gap(work, 2 * gap, &runs, &filling);
        if (filling > FILL_FREE + work->used / 4)
            return gap;
        gap *= 2;
    }
}

static bool store(struct work *work, uint32_t page)
{
    struct arrangement *out = work->out;
    if (!grow(work, (void **)&out->stored, out->nstored, &work->stored_capacity,
              sizeof *out->stored))
        return false;
    out->stored[out->nstored++] = page;
    return true;
}

/* Stores what comes first, in rising order, and the gaps between; notes each place. */
static void store_pages(struct work *work, uint64_t gap)
{
    size_t before = 0; /* entry behind the last one that was stored */
    uint32_t next = 0; /* page behind it */
    for (size_t i = 0; i < work->nentries && work->failed == MF_OK; i++) {
        uint32_t page = work->entries[i].page;
        if (!is_first(work, i))
            continue;
        uint32_t place = (uint32_t)work->out->nstored;
        bool fill = place > 0 && page - next <= gap;
        for (; before < i && fill; before++)
            work->place[before] = place + work->entries[before].page - next;
        for (; fill && next < page && store(work, next); next++)
            ;
        work->place[i] = (uint32_t)work->out->nstored;
        store(work, page);
        before = i + 1;
        next = page + 1;
    }
}

/* Adds pages to the last run, or begins another one. */
static void add_run(struct work *work, uint32_t page, uint64_t place)
{
    struct arrangement *out = work->out;
    struct format_run *last = out->nruns > 0 ? &out->runs[out->nruns - 1] : NULL;
    out->run_pages++;
    /* What follows the last run, in memory and in DATA; zeros follow zeros. */
    uint64_t after = last && last->place != FORMAT_ZERO ? last->place + last->npages : FORMAT_ZERO;
    if (last && last->page + last->npages == page && after == place) {
        last->npages++;
        return;
    }
    if (grow(work, (void **)&out->runs, out->nruns, &work->runs_capacity, sizeof *out->runs))
        out->runs[out->nruns++] = (struct format_run){page, 1, place};
}

#define NO_PLACE UINT32_MAX

static int make_runs(struct work *work, uint64_t gap)
{
    uint32_t filled = 0; /* place behind the last page that is in a run */
    work->place = malloc((work->nentries + 1) * sizeof *work->place);
    if (!work->place)
        return error_set(work->err, MF_E_NO_MEMORY, "cannot arrange a snapshot's pages");
    memset(work->place, 0xff, (work->nentries + 1) * sizeof *work->place);
    store_pages(work, gap);
    for (size_t i = 0; i < work->nentries && work->failed == MF_OK; i++) {
        const struct entry *entry = &work->entries[i];
        if (entry->same == ZERO_ENTRY) {
            add_run(work, entry->page, FORMAT_ZERO);
            continue;
        }
        uint32_t place = work->place[i];
        if (place == NO_PLACE) {
            add_run(work, entry->page, work->place[entry->same]);
            continue;
        }
        /* The zero pages before it that were stored to fill a gap. */
        for (; filled < place; filled++)
            add_run(work, work->out->stored[filled], filled);
        add_run(work, entry->page, place);
        filled = place + 1;
    }
    return work->failed;
}

int arrange(const struct mf_snapshot *snapshot, const struct mf_snapshot *parent, bool mapped,
            struct arrangement *out, struct mf_error *err)
{
    struct work work = {.snapshot = snapshot, .out = out, .err = err};
    memset(out, 0, sizeof *out);
    int rc = parent ? add_difference(&work, parent) : add_all(&work);
    if (rc == 0)
        rc = make_runs(&work, mapped && !parent ? choose_gap(&work) : 0);
    free(work.entries);
    free(work.table);
    free(work.place);
    if (rc != 0)
        arrange_fini(out);
    return rc;
}

void arrange_fini(struct arrangement *arrangement)
{
    free(arrangement->runs);
    free(arrangement->stored);
    memset(arrangement, 0, sizeof *arrangement);
}
