/*
 * The shadow tables that the emulated CPU walks (soft.h says why there are any), and
 * which pages the guest wrote, by their dirty bits.
 *
 * Every table has its shadow at the same offset of soft->shadow. An entry that leads to
 * a table holds the address of that table's shadow. A last entry holds the guest physical
 * page too, which this CPU does not use; zero for a page of a window, whose address could
 * be malformed for it.
 *
 * The CPU sets the dirty bit with the first write after its cached translations were
 * dropped, and the accessed bit of the entry that leads to the last table whenever it
 * looks anything up there. So cleaning clears both, and collecting leaves out tables that
 * were not looked at. While nobody tracks, dirty bits are set beforehand, which saves the
 * CPU from writing them. A page that was dirty when its entry was replaced is remembered
 * in soft->dirty: a page is dirty when it is there, or one of its entries says so.
 */
#include "vm/soft/soft.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

/* What the shadow of an entry takes over, besides an address. */
#define RIGHTS (SOFT_ENTRY_PRESENT | SOFT_ENTRY_WRITE | SOFT_ENTRY_USER)
/* A level is how many tables are below; the PML4 has this one. */
#define LEVEL_TOP 3

static uint64_t *shadow_of(const struct soft_vm *soft, mf_gpa table)
{
    return (uint64_t *)(void *)(soft->shadow + table);
}

static bool bit_get(const uint64_t *bitmap, mf_gpa gpa)
{
    uint64_t page = gpa >> PAGE_SHIFT;
    return bitmap[page / 64] >> page % 64 & 1;
}

static void bit_set(uint64_t *bitmap, mf_gpa gpa)
{
    uint64_t page = gpa >> PAGE_SHIFT;
    bitmap[page / 64] |= UINT64_C(1) << page % 64;
}

static uint64_t bitmap_words(const struct soft_vm *soft)
{
    return ((uint64_t)soft->vm.mem->end + 63) / 64;
}

/* The page of a last entry when it is one whose writes count, else 0. */
static mf_gpa dirty_page(uint64_t shadow)
{
    return shadow & SOFT_ENTRY_DIRTY ? shadow & SOFT_ENTRY_ADDRESS : 0;
}

static void keep_dirty(struct soft_vm *soft, uint64_t shadow)
{
    mf_gpa page = dirty_page(shadow);
    if (soft->dirty && page != 0)
        bit_set(soft->dirty, page);
}

/* The shadow of a last entry. */
static uint64_t shadow_leaf(const struct soft_vm *soft, uint64_t entry)
{
    if (!(entry & SOFT_ENTRY_PRESENT))
        return 0;
    mf_gpa page = entry & SOFT_ENTRY_ADDRESS;
    uint64_t shadow = (entry & RIGHTS) | SOFT_ENTRY_ACCESSED;
    if (page >= soft->vm.mem->bytes)
        return shadow | SOFT_ENTRY_DIRTY;
    return shadow | page | (soft->dirty ? 0 : SOFT_ENTRY_DIRTY);
}

/* The same of one that leads to a table. One that leads out of memory leads nowhere. */
static uint64_t shadow_branch(const struct soft_vm *soft, uint64_t entry)
{
    mf_gpa table = entry & SOFT_ENTRY_ADDRESS;
    if (!(entry & SOFT_ENTRY_PRESENT) || table >= soft->vm.mem->bytes)
        return 0;
    return (entry & RIGHTS) | SOFT_ENTRY_ACCESSED | (SOFT_GVA_SHADOW + table);
}

void *soft_shadow_page(struct soft_vm *soft, mf_gva gva)
{
    mf_gpa table = LAYOUT_GPA(PML4);
    for (int level = LEVEL_TOP;; level--) {
        unsigned index = gva >> (PAGE_SHIFT + 9 * level) & (SOFT_TABLE_ENTRIES - 1);
        uint64_t *at = shadow_of(soft, table) + index, entry;
        memcpy(&entry, mem_at(soft->vm.mem, table + index * sizeof entry), sizeof entry);
        if (level == 0) {
            keep_dirty(soft, *at);
            *at = shadow_leaf(soft, entry);
            return at;
        }
        *at = shadow_branch(soft, entry);
        if (*at == 0)
            return NULL;
        table = entry & SOFT_ENTRY_ADDRESS;
    }
}

bool soft_shadow_code(struct soft_vm *soft)
{
    uint64_t *leaf = soft_shadow_page(soft, SOFT_GVA_CODE);
    if (leaf)
        *leaf = SOFT_ENTRY_PRESENT | SOFT_ENTRY_USER | SOFT_ENTRY_ACCESSED | SOFT_ENTRY_DIRTY;
    return leaf != NULL;
}

struct walk {
    const struct soft_vm *soft;
    soft_table_fn fn;
    void *context;
};

static bool walk_table(const struct walk *walk, mf_gpa table, mf_gva gva, int level)
{
    const struct mem *mem = walk->soft->vm.mem;
    if (bit_get(walk->soft->seen, table))
        return false;
    bit_set(walk->soft->seen, table);
    walk->fn(walk->context, table, gva, level == 0);
    const uint64_t *entries = mem_at(mem, table);
    for (uint64_t i = 0; level > 0 && i < SOFT_TABLE_ENTRIES; i++) {
        mf_gpa next = entries[i] & SOFT_ENTRY_ADDRESS;
        if ((entries[i] & SOFT_ENTRY_PRESENT) && next < mem->bytes &&
            !walk_table(walk, next, gva | i << (PAGE_SHIFT + 9 * level), level - 1))
            return false;
    }
    return true;
}

bool soft_tables_walk(const struct soft_vm *soft, soft_table_fn fn, void *context)
{
    struct walk walk = {.soft = soft, .fn = fn, .context = context};
    memset(soft->seen, 0, bitmap_words(soft) * sizeof *soft->seen);
    return walk_table(&walk, LAYOUT_GPA(PML4), 0, LEVEL_TOP);
}

/*
 * Empties the shadow of a table and of all below it. Their pages may be no tables any
 * more, and must not have old entries when they become tables again.
 */
static void clear_shadow(struct soft_vm *soft, mf_gpa table, int level)
{
    uint64_t *shadow = shadow_of(soft, table);
    for (unsigned i = 0; i < SOFT_TABLE_ENTRIES; i++) {
        uint64_t entry = shadow[i];
        if (entry == 0)
            continue;
        shadow[i] = 0;
        if (level > 0)
            clear_shadow(soft, (entry & SOFT_ENTRY_ADDRESS) - SOFT_GVA_SHADOW, level - 1);
        else
            keep_dirty(soft, entry);
    }
}

static void build_shadow(void *context, mf_gpa table, mf_gva gva, bool last)
{
    (void)gva;
    struct soft_vm *soft = context;
    const uint64_t *entries = mem_at(soft->vm.mem, table);
    uint64_t *shadow = shadow_of(soft, table);
    for (unsigned i = 0; i < SOFT_TABLE_ENTRIES; i++)
        if (entries[i] & SOFT_ENTRY_PRESENT)
            shadow[i] = last ? shadow_leaf(soft, entries[i]) : shadow_branch(soft, entries[i]);
}

void soft_shadow_rebuild(struct soft_vm *soft)
{
    clear_shadow(soft, LAYOUT_GPA(PML4), LEVEL_TOP);
    soft_tables_walk(soft, build_shadow, soft);
}

/* Runs `fn` on the shadow of each last table that the CPU looked at; `entry` leads to it. */
static void each_used(struct soft_vm *soft, mf_gpa table, int level,
                      void (*fn)(uint64_t *entry, uint64_t *shadow, void *context), void *context)
{
    uint64_t *shadow = shadow_of(soft, table);
    for (unsigned i = 0; i < SOFT_TABLE_ENTRIES; i++) {
        mf_gpa next = (shadow[i] & SOFT_ENTRY_ADDRESS) - SOFT_GVA_SHADOW;
        if (!(shadow[i] & SOFT_ENTRY_PRESENT))
            continue;
        if (level > 1)
            each_used(soft, next, level - 1, fn, context);
        else if (shadow[i] & SOFT_ENTRY_ACCESSED)
            fn(&shadow[i], shadow_of(soft, next), context);
    }
}

static void collect_table(uint64_t *entry, uint64_t *shadow, void *context)
{
    (void)entry;
    for (unsigned i = 0; i < SOFT_TABLE_ENTRIES; i++) {
        mf_gpa page = dirty_page(shadow[i]);
        if (page != 0)
            bit_set(context, page);
    }
}

/* `context` is the bitmap of the pages to clean, or NULL for all of them. */
static void clean_table(uint64_t *entry, uint64_t *shadow, void *context)
{
    bool left = false;
    for (unsigned i = 0; i < SOFT_TABLE_ENTRIES; i++) {
        mf_gpa page = dirty_page(shadow[i]);
        if (page == 0)
            continue;
        if (!context || bit_get(context, page))
            shadow[i] &= ~SOFT_ENTRY_DIRTY;
        else
            left = true;
    }
    if (!left)
        *entry &= ~SOFT_ENTRY_ACCESSED;
}

bool soft_shadow_init(struct soft_vm *soft)
{
    soft->seen = calloc(bitmap_words(soft), sizeof *soft->seen);
    return soft->seen != NULL;
}

int soft_dirty_start(struct vm *vm, struct mf_error *err)
{
    struct soft_vm *soft = (struct soft_vm *)vm;
    if (!soft->dirty)
        soft->dirty = malloc(bitmap_words(soft) * sizeof *soft->dirty);
    if (!soft->dirty)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a bit for each guest page");
    memset(soft->dirty, 0, bitmap_words(soft) * sizeof *soft->dirty);
    each_used(soft, LAYOUT_GPA(PML4), LEVEL_TOP, clean_table, NULL);
    soft->stale = true;
    return 0;
}

int soft_dirty_collect(struct vm *vm, uint64_t *bitmap, struct mf_error *err)
{
    (void)err;
    struct soft_vm *soft = (struct soft_vm *)vm;
    for (uint64_t i = 0; i < bitmap_words(soft); i++)
        bitmap[i] |= soft->dirty[i];
    each_used(soft, LAYOUT_GPA(PML4), LEVEL_TOP, collect_table, bitmap);
    return 0;
}

int soft_dirty_clean(struct vm *vm, const uint64_t *bitmap, struct mf_error *err)
{
    (void)err;
    struct soft_vm *soft = (struct soft_vm *)vm;
    for (uint64_t i = 0; i < bitmap_words(soft); i++)
        soft->dirty[i] &= ~bitmap[i];
    each_used(soft, LAYOUT_GPA(PML4), LEVEL_TOP, clean_table, (void *)(uintptr_t)bitmap);
    soft_forget_pages(soft, bitmap);
    soft->stale = true;
    return 0;
}
