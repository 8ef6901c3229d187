/*
 * From a snapshot to a sandbox.
 *
 * Two ways. When the sandbox's memory came from the same root, only the pages that may
 * differ are put back: those that were written since, and those in which the two
 * snapshots differ. Otherwise memory is built anew from the root's file, and the
 * differences are copied over it.
 *
 * Page tables are pages like others. Where they changed, translations of the old ones
 * must go: the mappings before are noted, and those that the new tables do not
 * give are named to the backend (vm_ops.retable).
 */
#include "base/checked.h"
#include "base/error.h"
#include "mem/pagetable.h"
#include "sandbox/attend.h"
#include "snapshot/check.h"
#include "snapshot/pages.h"
#include "snapshot/snapshot.h"
#include "snapshot/vanish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* More pages than this that become zero are given back to the host instead of cleared. */
#define DISCARD_PAGES 64

/* ---- a new identity ---- */

/* The guest can tell that it was restored, and its random numbers differ from any other's. */
static int renew_identity(struct mf_sandbox *sandbox, struct mf_error *err)
{
    struct {
        uint64_t generation;
        uint8_t entropy[sizeof sandbox->boot->entropy];
    } fresh;
    if (getrandom(&fresh, sizeof fresh, 0) != (ssize_t)sizeof fresh)
        return error_set_errno(err, MF_E_SYSTEM, errno, "cannot get random bytes");
    if (fresh.generation == sandbox->boot->generation || fresh.generation == 0)
        fresh.generation++;
    memcpy(sandbox->boot->entropy, fresh.entropy, sizeof fresh.entropy);
    __atomic_store_n(&sandbox->boot->generation, fresh.generation, __ATOMIC_RELEASE);
    mem_mark(&sandbox->mem, LAYOUT_GPA(BOOT), sizeof *sandbox->boot);
    return 0;
}

/* ---- stale translations ---- */

/* A page that was mapped, or a table (level >= 0) on the way to pages. */
struct mapping_note {
    mf_gva gva;
    int level; /* -1: a page */
    struct pt_page page;
};

struct mappings_before {
    struct mapping_note *notes;
    size_t n, capacity;
    bool failed;
};

static void add_note(struct mappings_before *before, mf_gva gva, int level,
                     const struct pt_page *page)
{
    if (before->failed)
        return;
    if (before->n == before->capacity) {
        size_t capacity = before->capacity ? 2 * before->capacity : 1024;
        struct mapping_note *more = realloc(before->notes, capacity * sizeof *more);
        if (!more) {
            before->failed = true;
            return;
        }
        before->notes = more;
        before->capacity = capacity;
    }
    before->notes[before->n++] =
        (struct mapping_note){.gva = gva, .level = level, .page = *page};
}

static void note_mapping(void *context, mf_gva gva, const struct pt_page *page)
{
    if (page->prot != PT_NONE)
        add_note(context, gva, -1, page);
}

static void note_table(void *context, mf_gva gva, int level, mf_gpa table)
{
    struct pt_page page = {.gpa = table};
    add_note(context, gva, level, &page);
}

static int compare_gpas(const void *a, const void *b)
{
    mf_gpa x = *(const mf_gpa *)a, y = *(const mf_gpa *)b;
    return (x > y) - (x < y);
}

/*
 * Collects the pages that the old tables gave in another way than the new ones. False when
 * a table itself went or moved: what a CPU may have kept of it cannot be named.
 */
static bool find_stale(const struct mem *mem, const struct mappings_before *before,
                       mf_gpa *stale, size_t *n)
{
    for (size_t i = 0; i < before->n; i++) {
        const struct mapping_note *note = &before->notes[i];
        struct pt_page now;
        if (note->level >= 0) {
            mf_gpa table;
            if (!pt_table_of(mem, note->gva, note->level, &table) || table != note->page.gpa)
                return false;
            continue;
        }
        if (!pt_lookup(mem, note->gva, &now) || now.gpa != note->page.gpa ||
            now.prot != note->page.prot)
            stale[(*n)++] = note->page.gpa;
    }
    return true;
}

static void drop_stale(struct mf_sandbox *sandbox, struct mappings_before *before)
{
    struct vm *vm = sandbox->vm;
    mf_gpa *stale = malloc((before->n + 1) * sizeof *stale);
    size_t n = 0;
    if (before->failed || !stale || !find_stale(&sandbox->mem, before, stale, &n)) {
        vm->ops->retable(vm, NULL, SIZE_MAX);
    } else {
        qsort(stale, n, sizeof *stale, compare_gpas);
        vm->ops->retable(vm, stale, n);
    }
    free(stale);
    free(before->notes);
}

/* ---- putting pages back ---- */

static void add_difference(struct tracking *tracking, const struct mf_snapshot *snapshot)
{
    for (uint32_t i = 0; i < snapshot->pages.count; i++) {
        uint32_t page = snapshot->pages.number[i];
        tracking->dirty[page / 64] |= UINT64_C(1) << (page % 64);
    }
}

/* Adds the pages in which two snapshots of one root differ: those up to where they meet. */
static void add_differences(struct tracking *tracking, const struct mf_snapshot *a,
                            const struct mf_snapshot *b)
{
    while (a != b) {
        const struct mf_snapshot **deeper = a->depth >= b->depth ? &a : &b;
        if (!(*deeper)->parent)
            return; /* two snapshots without parents, over the same root */
        add_difference(tracking, *deeper);
        *deeper = (*deeper)->parent;
    }
}

/*
 * Zero pages in great number are given back; true when that was done. Hot pages stay, like
 * all of a few: the guest would fault on them at once.
 */
static void discard_zeros(struct mf_sandbox *sandbox, struct tracking *tracking,
                          const struct mf_snapshot *snapshot)
{
    uint64_t npages = (uint64_t)tracking->words * 64, zeros = 0;
    for (size_t i = 0; i < tracking->words; i++)
        for (uint64_t left = tracking->dirty[i]; left != 0; left &= left - 1)
            zeros += snap_is_zero(snapshot, (uint32_t)(i * 64 + (unsigned)__builtin_ctzll(left)));
    if (zeros <= DISCARD_PAGES)
        return;
    for (uint64_t p = 0; p < npages; p++) {
        uint64_t first = p;
        while (p < npages && (tracking->dirty[p / 64] >> (p % 64) & 1) &&
               tracking->heat[p] == 0 && snap_is_zero(snapshot, (uint32_t)p)) {
            tracking->dirty[p / 64] &= ~(UINT64_C(1) << (p % 64));
            p++;
        }
        if (p > first)
            mem_discard(&sandbox->mem, first << PAGE_SHIFT, (p - first) << PAGE_SHIFT);
    }
}

static bool copy_page(struct mem *mem, const struct mf_snapshot *snapshot, uint32_t page)
{
    uint8_t contents[PAGE_BYTES];
    if (!mem_may_vanish(mem))
        return snap_read(snapshot, page, mem_at(mem, (mf_gpa)page << PAGE_SHIFT));
    return snap_read(snapshot, page, contents) && mem_page_write(mem, page, contents);
}

static int copy_pages(struct mf_sandbox *sandbox, struct tracking *tracking,
                      const struct mf_snapshot *snapshot, struct mf_error *err)
{
    discard_zeros(sandbox, tracking, snapshot);
    for (size_t i = 0; i < tracking->words; i++) {
        for (uint64_t left = tracking->dirty[i]; left != 0; left &= left - 1) {
            uint32_t page = (uint32_t)(i * 64 + (unsigned)__builtin_ctzll(left));
            if (!copy_page(&sandbox->mem, snapshot, page))
                return error_set(err, MF_E_SNAPSHOT,
                                 "the snapshot file has got shorter since it was opened");
            tracking->pages_copied++;
        }
    }
    return 0;
}

/*
 * Drops translated code of pages whose contents change, hot ones included. What was written
 * can only be code, or the other way round, when rights were changed in between: so it is
 * for when the tables differ.
 */
static int forget_code(struct mf_sandbox *sandbox, const uint64_t *bitmap, struct mf_error *err)
{
    return sandbox->vm->ops->dirty_clean(sandbox->vm, bitmap, err);
}

static int restore_difference(struct mf_sandbox *sandbox, struct tracking *tracking,
                              struct mf_snapshot *snapshot, struct mf_error *err)
{
    struct mappings_before before = {0};
    bool tables = sandbox->mem.tables_changed || tracking->snapshot != snapshot;
    int rc = track_collect(sandbox, tracking, err);
    if (rc != 0)
        return rc;
    add_differences(tracking, tracking->snapshot, snapshot);
    if (tables) {
        pt_each_table(&sandbox->mem, note_table, &before);
        pt_each(&sandbox->mem, note_mapping, &before);
    }
    if (tables)
        rc = forget_code(sandbox, tracking->dirty, err);
    if (rc == 0)
        rc = copy_pages(sandbox, tracking, snapshot, err);
    /* Tables that came from a mapped file again may be others now. */
    if (rc == 0 && tables && snapshot->root->may_vanish)
        rc = check_memory(snapshot, &sandbox->mem, err);
    if (rc == 0 && tables)
        drop_stale(sandbox, &before);
    else
        free(before.notes);
    return rc == 0 ? track_clean(sandbox, tracking, err) : rc;
}

/* ---- building memory anew ---- */

/* Oldest first: what is younger goes over it. The chain is short (take.c, open.c). */
static bool copy_differences(struct mem *mem, const struct mf_snapshot *snapshot)
{
    bool ok = true;
    if (!snapshot->parent)
        return true;
    if (!copy_differences(mem, snapshot->parent))
        return false;
    for (uint32_t i = 0; ok && i < snapshot->pages.count; i++)
        ok = mem_page_write(mem, snapshot->pages.number[i],
                            snap_pages_at(&snapshot->pages, snapshot->pages.place[i]));
    return ok;
}

static int fill_memory(struct mem *mem, const struct mf_snapshot *snapshot,
                       enum mf_backend backend, struct mf_error *err)
{
    /* The emulator is a part of this process: it must not touch what can vanish. */
    int rc = mem_rebase(mem, snapshot->root, backend == MF_BACKEND_SOFT, err);
    if (rc == 0 && !copy_differences(mem, snapshot))
        rc = error_set(err, MF_E_SNAPSHOT,
                       "the snapshot file has got shorter since it was opened");
    if (rc == 0 && snapshot->root->may_vanish)
        rc = vanish_secure(mem, snapshot, err);
    return rc;
}

static int restore_all(struct mf_sandbox *sandbox, struct tracking *tracking,
                       struct mf_snapshot *snapshot, struct mf_error *err)
{
    tracking->tracked = false;
    int rc = fill_memory(&sandbox->mem, snapshot, sandbox->vm->ops->id, err);
    if (rc != 0)
        return rc;
    memset(tracking->heat, 0, sandbox->mem.bytes >> PAGE_SHIFT);
    sandbox->vm->ops->retable(sandbox->vm, NULL, SIZE_MAX);
    return track_start(sandbox, tracking, err);
}

/* ---- the public functions ---- */

static bool same_image(const struct mf_image *a, const struct mf_image *b)
{
    return a == b || (a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0);
}

static int check_fit(const struct mf_sandbox *sandbox, const struct mf_snapshot *snapshot,
                     struct mf_error *err)
{
    if (sandbox->state == SANDBOX_RUNNING)
        return error_set(err, MF_E_STATE, "a sandbox cannot be restored during a call");
    if (atomic_load(&sandbox->migrating))
        return error_set(err, MF_E_STATE, "a sandbox cannot be restored during a migration");
    if (!same_image(sandbox->image, snapshot->image))
        return error_set(err, MF_E_ARGUMENT, "the snapshot is of another program (%s, not %s)",
                         snapshot->image->name, sandbox->image->name);
    if (sandbox->mem.bytes != snapshot->saved.memory_bytes)
        return error_set(err, MF_E_ARGUMENT,
                         "the snapshot has %llu MiB of guest memory, the sandbox %llu MiB",
                         (unsigned long long)(snapshot->saved.memory_bytes >> 20),
                         (unsigned long long)(sandbox->mem.bytes >> 20));
    if (sandbox->options.mailbox_bytes != snapshot->saved.mailbox_bytes ||
        sandbox->options.stack_bytes != snapshot->saved.stack_bytes)
        return error_set(err, MF_E_ARGUMENT,
                         "the snapshot has a mailbox of %llu and a stack of %llu bytes, the "
                         "sandbox of %llu and %llu",
                         (unsigned long long)snapshot->saved.mailbox_bytes,
                         (unsigned long long)snapshot->saved.stack_bytes,
                         (unsigned long long)sandbox->options.mailbox_bytes,
                         (unsigned long long)sandbox->options.stack_bytes);
    return 0;
}

/* What is half restored takes no calls. */
static void give_up(struct mf_sandbox *sandbox, const struct mf_error *err)
{
    sandbox->poisoned = MF_OK;
    sandbox_poison(sandbox, err);
    sandbox->stopped = false;
    sandbox->state = SANDBOX_ENDED;
}

int snap_restore(struct mf_sandbox *sandbox, struct mf_snapshot *snapshot, struct mf_error *err)
{
    int rc = check_fit(sandbox, snapshot, err);
    if (rc != 0)
        return rc;
    struct tracking *tracking = track_get(sandbox, err);
    if (!tracking)
        return err->code;
    if (sandbox->mappings.count > 0)
        map_fini(sandbox);
    const struct mf_snapshot *now = tracking->snapshot;
    if (now && tracking->tracked && now->root == snapshot->root)
        rc = restore_difference(sandbox, tracking, snapshot, err);
    else
        rc = restore_all(sandbox, tracking, snapshot, err);
    if (rc == 0) {
        track_rebase(tracking, snapshot);
        rc = saved_load(sandbox, &snapshot->saved, err);
    } else {
        tracking->tracked = false;
    }
    if (rc == 0)
        rc = renew_identity(sandbox, err);
    tracking->resets_total++;
    if (rc != 0)
        give_up(sandbox, err);
    return rc;
}

int snap_overlay(struct mf_sandbox *sandbox, const struct saved_state *saved, bool tables,
                 snap_put_fn put, void *context, struct mf_error *err)
{
    struct mappings_before before = {0};
    if (tables) {
        pt_each_table(&sandbox->mem, note_table, &before);
        pt_each(&sandbox->mem, note_mapping, &before);
    }
    int rc = put(context, sandbox, err);
    if (rc == 0 && tables)
        drop_stale(sandbox, &before);
    else
        free(before.notes);
    if (rc == 0 && tables)
        rc = forget_code(sandbox, sandbox->mem.marks, err);
    if (rc == 0)
        rc = saved_load(sandbox, saved, err);
    sandbox->mem.tables_changed = tables;
    if (rc != 0)
        give_up(sandbox, err);
    return rc;
}

static int do_restore(struct mf_sandbox *sandbox, void *snapshot, struct mf_error *err)
{
    return snap_restore(sandbox, snapshot, err);
}

int mf_sandbox_restore(struct mf_sandbox *sandbox, struct mf_snapshot *snapshot,
                       struct mf_error *err)
{
    struct mf_error own;
    err = err ? err : &own;
    error_clear(err);
    if (!snapshot)
        return error_set(err, MF_E_ARGUMENT, "no snapshot given (NULL)");
    bool waits = snapshot->saved.started && snapshot->saved.pending.kind == MF_STOPPED_NOTHING;
    if (!waits && attend_of(sandbox))
        return error_set(err, MF_E_STATE,
                         "an attentive sandbox goes back only to snapshots of a guest that waits "
                         "for calls: mf_sandbox_unattend first");
    return attend_do(sandbox, do_restore, snapshot, err);
}

static int fill(void *context, struct mf_sandbox *sandbox, enum mf_backend backend,
                struct mf_error *err)
{
    return fill_memory(&sandbox->mem, context, backend, err);
}

int mf_sandbox_create_from(struct mf_snapshot *snapshot, struct mf_host *host,
                           const struct mf_sandbox_options *options, struct mf_sandbox **out,
                           struct mf_error *err)
{
    struct mf_error own;
    err = err ? err : &own;
    error_clear(err);
    if (!snapshot || !out)
        return error_set(err, MF_E_ARGUMENT,
                         "a sandbox needs a snapshot and a place for the result");
    int rc = sandbox_create_saved(snapshot->image, host, options, &snapshot->saved, fill, snapshot,
                                  out, err);
    if (rc != 0)
        return rc;
    struct tracking *tracking = track_get(*out, err);
    rc = tracking ? renew_identity(*out, err) : err->code;
    if (rc != 0) {
        mf_sandbox_destroy(*out);
        *out = NULL;
        return rc;
    }
    track_rebase(tracking, snapshot);
    return 0;
}
