/*
 * Where the guest of a snapshot sees its pages: a walk over the page tables in it. The
 * tables of a file that was opened with `trusted` are not checked, so nothing is
 * believed here: addresses stay within guest memory, and the walk ends.
 */
#include "base/error.h"
#include "mem/pagetable.h"
#include "snapshot/pages.h"

struct walk {
    const struct mf_snapshot *snapshot;
    void (*fn)(void *context, uint64_t address, uint64_t page, const char *area);
    void *context;
    size_t area;          /* the first one that ends behind the address reached */
    uint64_t tables_left; /* as many as there are pages: more would be a loop */
    int64_t count;
    struct mf_error *err;
};

static const char *kind_name(enum area_kind kind)
{
    static const char *const names[] = {
        [AREA_IMAGE] = "image", [AREA_HEAP] = "heap",      [AREA_MMAP] = "mmap",
        [AREA_STACK] = "stack", [AREA_SYSTEM] = "mailbox", [AREA_HOST] = "host",
        [AREA_GUARD] = "guard",
    };
    return names[kind];
}

/* Addresses come in rising order. */
static const char *area_at(struct walk *walk, mf_gva gva)
{
    const struct saved_state *saved = &walk->snapshot->saved;
    while (walk->area < saved->nareas && saved->areas[walk->area].end <= gva)
        walk->area++;
    if (walk->area == saved->nareas || gva < saved->areas[walk->area].start)
        return "system";
    return kind_name(saved->areas[walk->area].kind);
}

static int malformed(struct walk *walk)
{
    return error_set(walk->err, MF_E_SNAPSHOT, "the snapshot's page tables cannot be");
}

static int walk_table(struct walk *walk, mf_gpa table, mf_gva gva, int level)
{
    uint64_t entries[PT_ENTRIES], memory_bytes = walk->snapshot->saved.memory_bytes;
    if (walk->tables_left-- == 0)
        return malformed(walk);
    if (!snap_read(walk->snapshot, (uint32_t)(table >> PAGE_SHIFT), (uint8_t *)entries))
        return error_set(walk->err, MF_E_SNAPSHOT, "the snapshot file has got shorter");
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < PT_ENTRIES; i++) {
        struct pt_page page;
        mf_gva at = gva | i << (PAGE_SHIFT + 9 * level);
        if (entries[i] == 0)
            continue;
        if (!pt_entry_parse(entries[i], level, &page) || page.gpa >= memory_bytes || at >> 47 != 0)
            return malformed(walk);
        if (level > 0) {
            rc = walk_table(walk, page.gpa, at, level - 1);
            continue;
        }
        walk->fn(walk->context, at, page.gpa >> PAGE_SHIFT, area_at(walk, at));
        walk->count++;
    }
    return rc;
}

int64_t mf_snapshot_each_page(const struct mf_snapshot *snapshot,
                              void (*fn)(void *context, uint64_t address, uint64_t page,
                                         const char *area),
                              void *context, struct mf_error *err)
{
    struct walk walk = {
        .snapshot = snapshot,
        .fn = fn,
        .context = context,
        .tables_left = snapshot->saved.memory_bytes >> PAGE_SHIFT,
        .err = err,
    };
    error_clear(err);
    int rc = walk_table(&walk, LAYOUT_GPA(PML4), 0, PT_LEVELS - 1);
    return rc == 0 ? walk.count : rc;
}
