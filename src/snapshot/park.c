/*
 * Parked sandboxes: all that a sandbox is, as its difference to the snapshot that it came from.
 *
 * Both pages and state are compared, word by word, with what the snapshot has, and only the
 * runs of words that differ are kept. Most pages that a guest dirties change in a few
 * places, and of the state (which is as large as two pages) little more than registers
 * and clocks; so a parked sandbox usually takes less than its dirty pages, and never
 * more than 12 bytes for each beside them, plus some hundred for itself. The records
 * of snapshot files would serve too, but they say all of the state, also what the
 * snapshot says already; these bytes never leave the process, and need no format.
 *
 * The bytes of a parked sandbox are *blocks*: 4 KiB of guest memory, or of the state, each
 * a header and its runs, in the order in which they are read again:
 *   the state (struct saved_state), its areas, runs of free pages; then guest pages.
 *
 * Unparking takes a slot that is as the snapshot says and puts the blocks over it. The
 * sandbox goes on: it is no clone, and keeps its generation and entropy.
 */
#include "base/checked.h"
#include "base/error.h"
#include "sandbox/attend.h"
#include "snapshot/pages.h"
#include "snapshot/pool.h"

#include <stdlib.h>
#include <string.h>

#define WORD sizeof(uint64_t)
#define BLOCK_WORDS (PAGE_BYTES / WORD)

/* A block; `zero`: all of it, and no runs follow. */
struct block {
    uint32_t number; /* guest pages: which */
    uint16_t nruns;
    uint16_t zero;
};

/* Words of a block that differ; they follow. */
struct run {
    uint16_t first, count;
};

/* Free guest pages that follow each other, upwards or downwards. */
struct free_run {
    uint32_t first, count;
    int32_t step;
    uint32_t unused;
};

struct mf_parked {
    struct mf_pool *pool;
    struct mf_snapshot *base; /* held */
    uint64_t tenant;
    /* What of the sandbox is in no snapshot. */
    struct mf_stats stats;
    uint64_t timeout_ns, init_timeout_ns, cpu_time_ns;
    bool interrupted;
    bool tables; /* page tables may differ */
    uint32_t nareas, nfree, nfree_runs, npages;
    uint64_t bytes; /* of all of it */
    uint8_t blocks[];
};

/* ---- writing blocks ---- */

/* Room that grows; begins with a struct mf_parked. */
struct writer {
    uint8_t *bytes;
    size_t len, capacity;
    bool failed;
};

static void put(struct writer *w, const void *from, size_t len)
{
    if (w->failed)
        return;
    if (len > w->capacity - w->len) {
        size_t capacity = MAX(2 * w->capacity, w->len + len);
        uint8_t *more = realloc(w->bytes, capacity);
        if (!more) {
            w->failed = true;
            return;
        }
        w->bytes = more;
        w->capacity = capacity;
    }
    memcpy(w->bytes + w->len, from, len);
    w->len += len;
}

static uint64_t word(const uint8_t *bytes, size_t i)
{
    uint64_t value;
    memcpy(&value, bytes + i * WORD, WORD);
    return value;
}

/* What `now` has that `base` has not; both of `words` words. */
static void put_block(struct writer *w, uint32_t number, const uint8_t *base, const uint8_t *now,
                      size_t words)
{
    struct block block = {.number = number};
    size_t at = w->len;
    put(w, &block, sizeof block);
    for (size_t i = 0; i < words; i++) {
        if (word(base, i) == word(now, i))
            continue;
        size_t first = i;
        while (i < words && word(base, i) != word(now, i))
            i++;
        struct run run = {.first = (uint16_t)first, .count = (uint16_t)(i - first)};
        put(w, &run, sizeof run);
        put(w, now + first * WORD, (i - first) * WORD);
        block.nruns++;
    }
    if (!w->failed)
        memcpy(w->bytes + at, &block, sizeof block);
}

/* Bytes of any length, whole words; where `base` has none it counts as zeros. */
static void put_bytes(struct writer *w, const void *base, size_t base_len, const void *now,
                      size_t len)
{
    for (size_t at = 0; at < len; at += PAGE_BYTES) {
        uint8_t before[PAGE_BYTES] = {0};
        size_t n = MIN(len - at, (size_t)PAGE_BYTES);
        if (base_len > at)
            memcpy(before, (const uint8_t *)base + at, MIN(base_len - at, n));
        put_block(w, 0, before, (const uint8_t *)now + at, n / WORD);
    }
}

/* ---- reading blocks ---- */

static void get(const uint8_t **at, void *to, size_t len)
{
    memcpy(to, *at, len);
    *at += len;
}

/* Puts the runs of a block over what it was compared with. */
static void get_runs(const uint8_t **at, const struct block *block, uint8_t *to)
{
    for (unsigned i = 0; i < block->nruns; i++) {
        struct run run;
        get(at, &run, sizeof run);
        get(at, to + run.first * WORD, run.count * WORD);
    }
}

static void get_bytes(const uint8_t **at, const void *base, size_t base_len, void *to, size_t len)
{
    size_t common = MIN(base_len, len);
    if (common > 0)
        memcpy(to, base, common);
    if (len > common)
        memset((uint8_t *)to + common, 0, len - common);
    for (size_t done = 0; done < len; done += PAGE_BYTES) {
        struct block block;
        get(at, &block, sizeof block);
        get_runs(at, &block, (uint8_t *)to + done);
    }
}

/* ---- the state ---- */

_Static_assert(sizeof(struct saved_state) % WORD == 0, "whole words");
_Static_assert(sizeof(struct area) % WORD == 0, "whole words");
_Static_assert(sizeof(struct free_run) % WORD == 0, "whole words");

/* Its own bytes, without what it points to. */
static void flatten(struct saved_state *flat, const struct saved_state *saved)
{
    memcpy(flat, saved, sizeof *flat);
    flat->mem_free = NULL;
    flat->areas = NULL;
}

/* Pages are mostly given back one after the other; so their list is short as runs. */
static void put_free_pages(struct writer *w, const struct saved_state *saved, uint32_t *nruns)
{
    *nruns = 0;
    for (uint32_t i = 0; i < saved->mem_nfree;) {
        struct free_run run = {.first = saved->mem_free[i], .count = 1};
        if (i + 1 < saved->mem_nfree) {
            int64_t step = (int64_t)saved->mem_free[i + 1] - saved->mem_free[i];
            run.step = step == 1 || step == -1 ? (int32_t)step : 0;
        }
        while (run.step != 0 && i + run.count < saved->mem_nfree &&
               saved->mem_free[i + run.count] ==
                   (uint32_t)(run.first + (int64_t)run.step * run.count))
            run.count++;
        put(w, &run, sizeof run);
        (*nruns)++;
        i += run.count;
    }
}

static void get_free_pages(const uint8_t **at, const struct mf_parked *parked, uint32_t *pages)
{
    uint32_t n = 0;
    for (uint32_t r = 0; r < parked->nfree_runs; r++) {
        struct free_run run;
        get(at, &run, sizeof run);
        for (uint32_t i = 0; i < run.count; i++)
            pages[n++] = (uint32_t)(run.first + (int64_t)run.step * i);
    }
}

static void put_state(struct writer *w, const struct saved_state *base,
                      const struct saved_state *saved, struct mf_parked *parked)
{
    struct saved_state before, now;
    flatten(&before, base);
    flatten(&now, saved);
    put_bytes(w, &before, sizeof before, &now, sizeof now);
    put_bytes(w, base->areas, base->nareas * sizeof *base->areas, saved->areas,
              saved->nareas * sizeof *saved->areas);
    put_free_pages(w, saved, &parked->nfree_runs);
    parked->nareas = (uint32_t)saved->nareas;
    parked->nfree = saved->mem_nfree;
}

/* The caller frees it with saved_fini. *at is then at the first guest page. */
static int get_state(const struct mf_parked *parked, const uint8_t **at, struct saved_state *saved,
                     struct mf_error *err)
{
    const struct saved_state *base = &parked->base->saved;
    struct saved_state before;
    flatten(&before, base);
    get_bytes(at, &before, sizeof before, saved, sizeof *saved);
    saved->areas = malloc(((size_t)parked->nareas + 1) * sizeof *saved->areas);
    saved->mem_free = malloc(((size_t)parked->nfree + 1) * sizeof *saved->mem_free);
    if (!saved->areas || !saved->mem_free) {
        saved_fini(saved);
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate the state of a parked sandbox");
    }
    get_bytes(at, base->areas, base->nareas * sizeof *base->areas, saved->areas,
              parked->nareas * sizeof *saved->areas);
    get_free_pages(at, parked, saved->mem_free);
    return 0;
}

/* ---- pages ---- */

static int file_error(struct mf_error *err)
{
    return error_set(err, MF_E_SNAPSHOT, "the snapshot file below this sandbox has got shorter");
}

/* Adds a guest page if it differs. */
static int put_page(struct writer *w, struct mf_sandbox *sandbox, const struct mf_snapshot *base,
                    uint32_t page, uint32_t *npages, struct mf_error *err)
{
    uint8_t before[PAGE_BYTES], now[PAGE_BYTES];
    if (!snap_read(base, page, before) || !mem_page_read(&sandbox->mem, page, now))
        return file_error(err);
    if (memcmp(before, now, PAGE_BYTES) == 0)
        return 0;
    ++*npages;
    if (snap_bytes_are_zero(now)) {
        struct block block = {.number = page, .zero = 1};
        put(w, &block, sizeof block);
    } else {
        put_block(w, page, before, now, BLOCK_WORDS);
    }
    return 0;
}

static int put_pages(struct writer *w, struct mf_sandbox *sandbox, struct mf_parked *parked,
                     struct mf_error *err)
{
    struct tracking *tracking = (struct tracking *)sandbox->base;
    int rc = track_collect(sandbox, tracking, err);
    for (size_t i = 0; rc == 0 && i < tracking->words; i++)
        for (uint64_t left = tracking->dirty[i]; rc == 0 && left != 0; left &= left - 1)
            rc = put_page(w, sandbox, tracking->snapshot,
                          (uint32_t)(i * 64 + (unsigned)__builtin_ctzll(left)), &parked->npages,
                          err);
    return rc;
}

/* What is being unparked, and how far its blocks are read. */
struct reader {
    const struct mf_parked *parked;
    const uint8_t *at;
};

/* The pages of a slot that is not used differ where the host wrote: its identity. */
static int undo_marks(struct mf_sandbox *sandbox, const struct mf_snapshot *base,
                      struct mf_error *err)
{
    struct mem *mem = &sandbox->mem;
    uint8_t contents[PAGE_BYTES];
    for (uint64_t i = 0; i < (mem->end + UINT64_C(63)) / 64; i++)
        for (uint64_t left = mem->marks[i]; left != 0; left &= left - 1) {
            uint32_t page = (uint32_t)(i * 64 + (unsigned)__builtin_ctzll(left));
            if (!snap_read(base, page, contents) || !mem_page_write(mem, page, contents))
                return file_error(err);
        }
    return 0;
}

static int get_pages(void *context, struct mf_sandbox *sandbox, struct mf_error *err)
{
    struct reader *reader = context;
    struct mem *mem = &sandbox->mem;
    uint8_t contents[PAGE_BYTES];
    int rc = undo_marks(sandbox, reader->parked->base, err);
    for (uint32_t i = 0; rc == 0 && i < reader->parked->npages; i++) {
        struct block block;
        get(&reader->at, &block, sizeof block);
        if (block.zero)
            memset(contents, 0, sizeof contents);
        else if (snap_read(reader->parked->base, block.number, contents))
            get_runs(&reader->at, &block, contents);
        else
            return file_error(err);
        mem_mark(mem, (mf_gpa)block.number << PAGE_SHIFT, PAGE_BYTES);
        if (!mem_page_write(mem, block.number, contents))
            rc = file_error(err);
    }
    return rc;
}

/* ---- park ---- */

/* Counts `bytes` of parked_bytes. */
static int take_bytes(struct mf_pool *pool, uint64_t bytes, struct mf_error *err)
{
    uint64_t limit = pool->options.parked_bytes;
    uint_fast64_t used = atomic_load(&pool->parked_bytes);
    do {
        if (bytes > limit || used > limit - bytes)
            return error_set(err, MF_E_BUSY,
                             "no room for %llu bytes more of parked sandboxes: %llu of "
                             "parked_bytes, %llu, are used: discard or unpark some, or raise it",
                             (unsigned long long)bytes, (unsigned long long)used,
                             (unsigned long long)limit);
    } while (!atomic_compare_exchange_weak(&pool->parked_bytes, &used, used + bytes));
    atomic_fetch_add(&pool->parked, 1);
    return 0;
}

static void drop(struct mf_parked *parked)
{
    atomic_fetch_sub(&parked->pool->parked_bytes, parked->bytes);
    atomic_fetch_sub(&parked->pool->parked, 1);
    mf_snapshot_close(parked->base);
    free(parked);
}

static void fill_header(struct mf_parked *parked, struct pool_slot *slot)
{
    struct mf_sandbox *sandbox = slot->sandbox;
    struct tracking *tracking = (struct tracking *)sandbox->base;
    *parked = (struct mf_parked){
        .pool = slot->pool,
        .base = tracking->snapshot,
        .tenant = slot->tenant,
        .stats = sandbox->stats,
        .timeout_ns = sandbox->options.timeout_ns,
        .init_timeout_ns = sandbox->options.init_timeout_ns,
        .cpu_time_ns = sandbox->options.cpu_time_ns,
        .tables = sandbox->mem.tables_changed,
        .interrupted = (atomic_load(&sandbox->limits.reasons) & STOP_INTERRUPT) != 0,
    };
}

/* The sandbox stays as it is. *out has no hold of its base yet. */
static int make_parked(struct pool_slot *slot, struct mf_parked **out, struct mf_error *err)
{
    struct mf_parked header;
    struct saved_state saved;
    struct writer w = {.len = 0};
    int rc = saved_collect(slot->sandbox, &saved, err);
    if (rc != 0)
        return rc;
    fill_header(&header, slot);
    put(&w, &header, sizeof header);
    put_state(&w, &header.base->saved, &saved, &header);
    saved_fini(&saved);
    rc = put_pages(&w, slot->sandbox, &header, err);
    if (rc == 0 && w.failed)
        rc = error_set(err, MF_E_NO_MEMORY, "cannot allocate a parked sandbox");
    if (rc == 0)
        rc = take_bytes(slot->pool, w.len, err);
    if (rc != 0) {
        free(w.bytes);
        return rc;
    }
    header.bytes = w.len;
    uint8_t *fitting = realloc(w.bytes, w.len);
    *out = (struct mf_parked *)(fitting ? fitting : w.bytes);
    **out = header;
    return 0;
}

int mf_pool_park(struct mf_pool *pool, struct mf_sandbox *sandbox, struct mf_parked **out,
                 struct mf_error *err)
{
    struct mf_error own;
    err = err ? err : &own;
    error_clear(err);
    struct pool_slot *slot = pool_slot_of(pool, sandbox);
    if (!out || !slot)
        return error_set(err, MF_E_ARGUMENT,
                         "parking needs a sandbox that was acquired from this pool, and a place "
                         "for the result");
    *out = NULL;
    if (attend_of(sandbox))
        return error_set(err, MF_E_STATE,
                         "an attentive sandbox cannot be parked: mf_sandbox_unattend first");
    struct mf_parked *parked;
    int rc = make_parked(slot, &parked, err);
    if (rc != 0)
        return rc;
    mf_snapshot_hold(parked->base);
    if (!pool_take_back(slot)) {
        drop(parked);
        return error_set(err, MF_E_ARGUMENT, "the sandbox was released meanwhile");
    }
    pool_give_back(slot);
    *out = parked;
    return 0;
}

/* ---- unpark ---- */

/* What is in no snapshot. */
static int load_rest(struct mf_sandbox *sandbox, const struct mf_parked *parked,
                     struct mf_error *err)
{
    struct mf_sandbox_options *o = &sandbox->options;
    int rc = 0;
    if (o->timeout_ns != parked->timeout_ns || o->cpu_time_ns != parked->cpu_time_ns)
        rc = mf_sandbox_set_limits(sandbox, parked->timeout_ns, parked->cpu_time_ns, err);
    o->init_timeout_ns = parked->init_timeout_ns;
    if (rc == 0 && parked->interrupted)
        mf_sandbox_interrupt(sandbox);
    return rc;
}

static int load_parked(struct mf_sandbox *sandbox, const struct mf_parked *parked,
                       struct mf_error *err)
{
    struct reader reader = {.parked = parked, .at = parked->blocks};
    struct saved_state saved;
    int rc = get_state(parked, &reader.at, &saved, err);
    if (rc != 0)
        return rc;
    /* First, as the guest's CPU time is counted from here. */
    sandbox->stats = parked->stats;
    rc = snap_overlay(sandbox, &saved, parked->tables, get_pages, &reader, err);
    saved_fini(&saved);
    return rc == 0 ? load_rest(sandbox, parked, err) : rc;
}

int mf_pool_unpark(struct mf_pool *pool, struct mf_parked *parked, uint64_t wait_ns,
                   struct mf_sandbox **out, struct mf_error *err)
{
    struct mf_error own;
    struct pool_slot *slot;
    err = err ? err : &own;
    error_clear(err);
    if (!pool || !parked || !out || parked->pool != pool)
        return error_set(err, MF_E_ARGUMENT,
                         "unparking needs a sandbox that was parked in this pool, and a place for "
                         "the result");
    *out = NULL;
    struct pool_want want = {.snapshot = parked->base, .tenant = parked->tenant};
    int rc = pool_get(pool, &want, wait_ns, &slot, err);
    if (rc != 0)
        return rc;
    rc = load_parked(slot->sandbox, parked, err);
    if (rc != 0) {
        if (pool_take_back(slot))
            pool_give_back(slot);
        return rc;
    }
    *out = slot->sandbox;
    drop(parked);
    return 0;
}

void mf_pool_discard(struct mf_pool *pool, struct mf_parked *parked)
{
    if (parked && parked->pool == pool)
        drop(parked);
}
