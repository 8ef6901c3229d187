/*
 * Checks the page tables and free pages of a snapshot from outside; see check.h.
 *
 * Theory of operation. Page tables are pages of guest memory like others, and who makes a
 * snapshot file makes them. The CPU of the guest and the host's own walks believe them. So
 * every page gets at most one owner here: the fixed pages, the tables (each reached by
 * exactly one entry, so there is no loop and no table is two), the mailbox, the guest's
 * data (each mapped by exactly one entry), or nobody. The tables map what the areas of the
 * state say, all of it and nothing more. Then everything that the host does later
 * (unmapping, freeing, making tables) keeps it so, because it was written for tables
 * of which this is true.
 */
#include "snapshot/check.h"

#include "base/checked.h"
#include "base/error.h"
#include "mem/pagetable.h"
#include "mem/root.h"
#include "mem/shared.h"
#include "snapshot/pages.h"
#include "snapshot/system.h"
#include "snapshot/vanish.h"

#include <stdlib.h>
#include <string.h>

enum owner { NOBODY, FIXED, MAILBOX, TABLE, DATA, FREE };

struct check {
    const struct mf_snapshot *snapshot; /* NULL: all that there is is in `mem` */
    struct mem *mem; /* where it was loaded, or NULL */
    const struct saved_state *saved;
    struct system system;
    uint8_t *owner; /* enum owner, for each page below mem_next */
    struct system_place places[SYSTEM_AREAS];
    size_t nplaces;
    size_t area;        /* the area that the walk is in or before; leaves come in rising order */
    uint64_t in_area;   /* pages of it that the tables map */
    unsigned in_system; /* pages of the supervisor that they map */
    struct mf_error *err;
};

static int wrong_at(struct check *check, const char *what, mf_gva gva)
{
    return error_set(check->err, MF_E_SNAPSHOT, "the snapshot's page tables cannot be: %s at %#llx",
                     what, (unsigned long long)gva);
}

/* Gives a page its owner. False when it cannot have one, or has another. */
static bool take(struct check *check, mf_gpa gpa, enum owner owner)
{
    uint64_t page = gpa >> PAGE_SHIFT;
    if (page >= check->saved->mem_next || check->owner[page] != NOBODY)
        return false;
    check->owner[page] = (uint8_t)owner;
    return true;
}

static int take_known(struct check *check)
{
    for (uint64_t page = 0; page < LAYOUT_PAGE_FREE; page++)
        take(check, page << PAGE_SHIFT, FIXED);
    for (uint32_t i = 0; i < check->saved->mem_nfree; i++)
        take(check, (mf_gpa)check->saved->mem_free[i] << PAGE_SHIFT, FREE);
    check->nplaces = system_places(check->saved, check->places);
    for (size_t i = 1; i < check->nplaces; i++)
        for (uint64_t offset = 0; offset < check->places[i].bytes; offset += PAGE_BYTES)
            if (!take(check, check->places[i].gpa + offset, MAILBOX))
                return wrong_at(check, "free pages are part of the mailbox",
                                check->places[i].gva);
    return 0;
}

/* The page that the contract has at `gva`, or 0. */
static mf_gpa place_at(const struct check *check, mf_gva gva)
{
    for (size_t i = 0; i < check->nplaces; i++) {
        const struct system_place *place = &check->places[i];
        if (gva >= place->gva && gva - place->gva < place->times * place->bytes)
            return place->gpa + (gva - place->gva) % place->bytes;
    }
    return 0;
}

/* Leaves an area behind: all of its pages were there, or none had to be. */
static int finish_area(struct check *check)
{
    const struct area *area = &check->saved->areas[check->area];
    uint64_t wanted = area->backed ? (area->end - area->start) >> PAGE_SHIFT : 0;
    if (check->in_area != wanted)
        return wrong_at(check, "pages are missing", area->start);
    check->area++;
    check->in_area = 0;
    return 0;
}

static int finish_areas(struct check *check, mf_gva until)
{
    int rc = 0;
    while (rc == 0 && check->area < check->saved->nareas &&
           check->saved->areas[check->area].end <= until)
        rc = finish_area(check);
    return rc;
}

static int check_leaf(struct check *check, mf_gva gva, const struct pt_page *page)
{
    struct pt_page wanted;
    if (system_mapping(&check->system, gva, &wanted)) {
        check->in_system++;
        return page->gpa == wanted.gpa && page->prot == wanted.prot
                   ? 0
                   : wrong_at(check, "a system page", gva);
    }
    int rc = finish_areas(check, gva);
    if (rc != 0)
        return rc;
    const struct area *area = &check->saved->areas[check->area];
    if (check->area == check->saved->nareas || gva < area->start || !area->backed)
        return wrong_at(check, "a page that is in no area", gva);
    if (page->prot != (area->prot == PT_NONE ? PT_NONE : area->prot | PT_USER))
        return wrong_at(check, "the rights of a page", gva);
    check->in_area++;
    if (area->kind == AREA_SYSTEM)
        return page->gpa == place_at(check, gva) ? 0
                                                 : wrong_at(check, "a part of the mailbox", gva);
    return take(check, page->gpa, DATA) ? 0 : wrong_at(check, "whose page it is", gva);
}

/* What is checked is what will be walked: a copy that nobody else can change. */
static int read_table(struct check *check, mf_gpa table, uint64_t entries[PT_ENTRIES])
{
    if (!check->snapshot) {
        memcpy(entries, mem_at(check->mem, table), PAGE_BYTES);
        return 0;
    }
    if (check->mem) {
        int rc = vanish_secure_page(check->mem, check->snapshot, table, check->err);
        if (rc == 0)
            memcpy(entries, mem_at(check->mem, table), PAGE_BYTES);
        return rc;
    }
    if (snap_read(check->snapshot, (uint32_t)(table >> PAGE_SHIFT), (uint8_t *)entries))
        return 0;
    return error_set(check->err, MF_E_SNAPSHOT, "the snapshot file has got shorter");
}

static int check_table(struct check *check, mf_gpa table, mf_gva gva, int level)
{
    uint64_t entries[PT_ENTRIES];
    int rc = read_table(check, table, entries);
    for (uint64_t i = 0; rc == 0 && i < PT_ENTRIES; i++) {
        struct pt_page page;
        mf_gva at = gva | i << (PAGE_SHIFT + 9 * level);
        if (!pt_entry_parse(entries[i], level, &page))
            return wrong_at(check, "a malformed entry", at);
        if (entries[i] == 0)
            continue;
        /* Addresses of the upper half are not written with their high bits here. */
        if (at >> 47 != 0)
            return wrong_at(check, "an entry of the upper half", at);
        if (level == 0)
            rc = check_leaf(check, at, &page);
        else if (!take(check, page.gpa, TABLE))
            rc = wrong_at(check, "a table that is something else, too", at);
        else
            rc = check_table(check, page.gpa, at, level - 1);
    }
    return rc;
}

/* A page that the host hands out as zeros, one of which may become a table. */
static int check_unused(struct check *check, uint64_t page)
{
    uint8_t contents[PAGE_BYTES];
    if (page != LAYOUT_PAGE_EMPTY && page < check->saved->mem_next && check->owner[page] != FREE)
        return 0;
    if (check->mem && check->mem->root) {
        mem_root_clear(check->mem, page << PAGE_SHIFT, PAGE_BYTES);
        return 0;
    }
    if (!snap_read(check->snapshot, (uint32_t)page, contents))
        return error_set(check->err, MF_E_SNAPSHOT, "the snapshot file has got shorter");
    return snap_bytes_are_zero(contents)
               ? 0
               : error_set(check->err, MF_E_SNAPSHOT, "the free page %llu is not zero",
                           (unsigned long long)page);
}

/* Makes free pages of received memory zero, whatever came. */
static int clear_free_pages(struct check *check)
{
    uint64_t next = check->saved->mem_next;
    mem_discard(check->mem, next << PAGE_SHIFT, check->mem->bytes - (next << PAGE_SHIFT));
    for (uint64_t page = 0; page < next; page++) {
        uint8_t *at = mem_at(check->mem, page << PAGE_SHIFT);
        if ((page == LAYOUT_PAGE_EMPTY || check->owner[page] == FREE) && !snap_bytes_are_zero(at))
            memset(at, 0, PAGE_BYTES);
    }
    return 0;
}

/* The same of memory that may not be written to yet: they must be zero. Holes are not read. */
static int check_borrowed_pages(struct check *check)
{
    uint64_t next = check->saved->mem_next, page = 0;
    for (; page < check->mem->end; page++) {
        if (page < next && page != LAYOUT_PAGE_EMPTY && check->owner[page] != FREE)
            continue;
        uint64_t there = mem_shared_next(check->mem, page);
        if (there > page) {
            page = there - 1;
            continue;
        }
        if (!snap_bytes_are_zero(mem_at(check->mem, page << PAGE_SHIFT)))
            return error_set(check->err, MF_E_SNAPSHOT, "the free page %llu is not zero",
                             (unsigned long long)page);
    }
    return 0;
}

static int check_free_pages(struct check *check)
{
    if (!check->snapshot)
        return check->mem->kind == MEM_BORROWED ? check_borrowed_pages(check)
                                                : clear_free_pages(check);
    const struct mem_root *root = check->snapshot->root;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < root->nruns; i++)
        for (uint64_t offset = 0; rc == 0 && offset < root->runs[i].bytes; offset += PAGE_BYTES)
            rc = check_unused(check, (root->runs[i].gpa + offset) >> PAGE_SHIFT);
    for (const struct mf_snapshot *s = check->snapshot; rc == 0 && s->parent; s = s->parent)
        for (uint32_t i = 0; rc == 0 && i < s->pages.count; i++)
            rc = check_unused(check, s->pages.number[i]);
    return rc;
}

static int run_checks(struct check *check)
{
    int rc = take_known(check);
    if (rc == 0)
        rc = check_table(check, LAYOUT_GPA(PML4), 0, PT_LEVELS - 1);
    if (rc == 0)
        rc = finish_areas(check, UINT64_MAX);
    if (rc == 0 && check->in_system != system_mappings(&check->system))
        rc = wrong_at(check, "system pages are missing", LAYOUT_GVA_KERNEL);
    return rc == 0 ? check_free_pages(check) : rc;
}

static int check_all(const struct mf_snapshot *snapshot, const struct saved_state *saved,
                     struct mem *mem, struct mf_error *err)
{
    struct check check = {
        .snapshot = snapshot,
        .mem = mem,
        .saved = saved,
        .owner = calloc(saved->mem_next, 1),
        .err = err,
    };
    if (!check.owner)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a map of the guest's pages");
    int rc = system_init(&check.system, err);
    if (rc == 0) {
        rc = run_checks(&check);
        system_fini(&check.system);
    }
    free(check.owner);
    return rc;
}

int check_memory(const struct mf_snapshot *snapshot, struct mem *mem, struct mf_error *err)
{
    return check_all(snapshot, &snapshot->saved, mem, err);
}

int check_received(const struct saved_state *saved, struct mem *mem, struct mf_error *err)
{
    return check_all(NULL, saved, mem, err);
}
