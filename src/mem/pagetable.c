/*
 * Four-level page tables in guest memory. A leaf entry keeps its page's address
 * also when nobody may reach it (PT_NONE), marked by a bit that the CPU ignores.
 *
 * Table entries are stored with one 64-bit atomic store each, because a vCPU may
 * be walking the tables (a thread of the host changes them only between runs
 * today, but the walker of an attentive guest would be concurrent).
 */
#include "mem/pagetable.h"

#include "base/checked.h"

#define PTE_PRESENT UINT64_C(1)
#define PTE_WRITE UINT64_C(2)
#define PTE_USER UINT64_C(4)
#define PTE_ACCESSED UINT64_C(0x20)
#define PTE_DIRTY UINT64_C(0x40)
#define PTE_OWNED (UINT64_C(1) << 9) /* ignored by the CPU: the entry holds a page */
#define PTE_NO_EXEC (UINT64_C(1) << 63)
#define PTE_ADDRESS UINT64_C(0x000ffffffffff000)

#define TABLE_ENTRIES 512

static unsigned table_index(mf_gva gva, int level)
{
    return (unsigned)(gva >> (PAGE_SHIFT + 9 * level)) & 511;
}

static uint64_t entry_load(const uint64_t *entry)
{
    return __atomic_load_n(entry, __ATOMIC_RELAXED);
}

/* `entry` lies in guest memory. */
static void entry_store(struct mem *mem, uint64_t *entry, uint64_t value)
{
    __atomic_store_n(entry, value, __ATOMIC_RELEASE);
    mem->tables_changed = true;
    mem_mark(mem, (mf_gpa)((uint8_t *)entry - mem->base), sizeof *entry);
}

/*
 * The leaf entry of `gva`; NULL when a table is missing. The tables are the
 * host's own, so the addresses in them are used unchecked.
 */
static uint64_t *find_leaf(const struct mem *mem, mf_gva gva)
{
    uint64_t *table = mem_at(mem, LAYOUT_GPA(PML4));
    for (int level = PT_LEVELS - 1; level > 0; level--) {
        uint64_t entry = entry_load(&table[table_index(gva, level)]);
        if (!(entry & PTE_PRESENT))
            return NULL;
        table = mem_at(mem, entry & PTE_ADDRESS);
    }
    return &table[table_index(gva, 0)];
}

/* The same, adding tables; NULL when memory is exhausted. */
static uint64_t *make_leaf(struct mem *mem, mf_gva gva)
{
    uint64_t *table = mem_at(mem, LAYOUT_GPA(PML4));
    for (int level = PT_LEVELS - 1; level > 0; level--) {
        uint64_t *slot = &table[table_index(gva, level)];
        uint64_t entry = entry_load(slot);
        if (!(entry & PTE_PRESENT)) {
            mf_gpa page;
            if (!mem_page_alloc(mem, &page))
                return NULL;
            /* Written first: a read would make the host map its page of zeros, then a copy. */
            entry_store(mem, mem_at(mem, page), 0);
            /* Rights are decided by the leaf alone. */
            entry = page | PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED;
            entry_store(mem, slot, entry);
        }
        table = mem_at(mem, entry & PTE_ADDRESS);
    }
    return &table[table_index(gva, 0)];
}

/*
 * Accessed and dirty are set from the start: the CPU then never writes to the
 * tables, which would cost an emulated access on some hosts.
 */
static uint64_t make_entry(mf_gpa gpa, unsigned prot)
{
    uint64_t entry = gpa | PTE_OWNED;
    if (!(prot & (PT_READ | PT_WRITE | PT_EXEC)))
        return entry;
    entry |= PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY;
    if (prot & PT_WRITE)
        entry |= PTE_WRITE;
    if (prot & PT_USER)
        entry |= PTE_USER;
    if (!(prot & PT_EXEC))
        entry |= PTE_NO_EXEC;
    return entry;
}

static void read_entry(uint64_t entry, struct pt_page *page)
{
    page->gpa = entry & PTE_ADDRESS;
    page->prot = PT_NONE;
    if (!(entry & PTE_PRESENT))
        return;
    page->prot = PT_READ;
    if (entry & PTE_WRITE)
        page->prot |= PT_WRITE;
    if (entry & PTE_USER)
        page->prot |= PT_USER;
    if (!(entry & PTE_NO_EXEC))
        page->prot |= PT_EXEC;
}

bool pt_map(struct mem *mem, mf_gva gva, mf_gpa gpa, unsigned prot)
{
    uint64_t *leaf = make_leaf(mem, gva);
    if (!leaf)
        return false;
    entry_store(mem, leaf, make_entry(gpa, prot));
    return true;
}

/* How many of `npages` pages from `gva` on have their entries in the same table. */
static uint64_t same_table(mf_gva gva, uint64_t npages)
{
    return MIN(npages, (uint64_t)TABLE_ENTRIES - table_index(gva, 0));
}

bool pt_map_run(struct mem *mem, mf_gva gva, mf_gpa gpa, uint64_t npages, unsigned prot)
{
    for (uint64_t done = 0; done < npages;) {
        mf_gva at = gva + done * PAGE_BYTES;
        uint64_t n = same_table(at, npages - done), *leaf = make_leaf(mem, at);
        if (!leaf) {
            pt_unmap_run(mem, gva, done);
            return false;
        }
        for (uint64_t i = 0; i < n; i++)
            entry_store(mem, &leaf[i], make_entry(gpa + (done + i) * PAGE_BYTES, prot));
        done += n;
    }
    return true;
}

void pt_unmap_run(struct mem *mem, mf_gva gva, uint64_t npages)
{
    for (uint64_t done = 0; done < npages;) {
        mf_gva at = gva + done * PAGE_BYTES;
        uint64_t n = same_table(at, npages - done), *leaf = find_leaf(mem, at);
        for (uint64_t i = 0; leaf && i < n; i++)
            entry_store(mem, &leaf[i], 0);
        done += n;
    }
}

void pt_make_tables(struct mem *mem, mf_gva gva, uint64_t npages)
{
    for (uint64_t done = 0; done < npages;) {
        mf_gva at = gva + done * PAGE_BYTES;
        if (!make_leaf(mem, at))
            return;
        done += same_table(at, npages - done);
    }
}

uint64_t pt_run(const struct mem *mem, mf_gva gva, uint64_t npages, unsigned need, mf_gpa *gpa)
{
    uint64_t done = 0;
    while (done < npages) {
        mf_gva at = gva + done * PAGE_BYTES;
        uint64_t n = same_table(at, npages - done), i = 0;
        const uint64_t *leaf = find_leaf(mem, at);
        for (; leaf && i < n; i++) {
            struct pt_page page;
            read_entry(entry_load(&leaf[i]), &page);
            if (done + i == 0)
                *gpa = page.gpa;
            if ((page.prot & need) != need || page.gpa != *gpa + (done + i) * PAGE_BYTES)
                break;
        }
        done += i;
        if (i < n)
            break;
    }
    return done;
}

bool pt_entry_parse(uint64_t entry, int level, struct pt_page *page)
{
    *page = (struct pt_page){0};
    if (entry == 0)
        return true;
    if (level > 0) {
        page->gpa = entry & PTE_ADDRESS;
        return entry == (page->gpa | PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED);
    }
    read_entry(entry, page);
    return entry == make_entry(page->gpa, page->prot);
}

bool pt_lookup(const struct mem *mem, mf_gva gva, struct pt_page *page)
{
    const uint64_t *leaf = find_leaf(mem, gva);
    if (!leaf)
        return false;
    uint64_t entry = entry_load(leaf);
    if (!(entry & PTE_OWNED))
        return false;
    read_entry(entry, page);
    return true;
}

bool pt_protect(struct mem *mem, mf_gva gva, unsigned prot)
{
    uint64_t *leaf = find_leaf(mem, gva);
    if (!leaf || !(entry_load(leaf) & PTE_OWNED))
        return false;
    entry_store(mem, leaf, make_entry(entry_load(leaf) & PTE_ADDRESS, prot));
    return true;
}

bool pt_unmap(struct mem *mem, mf_gva gva, struct pt_page *page)
{
    uint64_t *leaf = find_leaf(mem, gva);
    if (!leaf || !(entry_load(leaf) & PTE_OWNED))
        return false;
    read_entry(entry_load(leaf), page);
    entry_store(mem, leaf, 0);
    return true;
}

struct walk {
    const struct mem *mem;
    pt_each_fn fn;             /* may be NULL */
    pt_each_table_fn table_fn; /* may be NULL */
    void *context;
};

static void walk_table(const struct walk *walk, mf_gpa table, int level, mf_gva base)
{
    const uint64_t *entries = mem_at(walk->mem, table);
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        uint64_t entry = entry_load(&entries[i]);
        mf_gva gva = base | (mf_gva)i << (PAGE_SHIFT + 9 * level);
        struct pt_page page;
        if (level > 0 && (entry & PTE_PRESENT)) {
            if (walk->table_fn)
                walk->table_fn(walk->context, gva, level - 1, entry & PTE_ADDRESS);
            if (walk->fn || level > 1)
                walk_table(walk, entry & PTE_ADDRESS, level - 1, gva);
        } else if (level == 0 && (entry & PTE_OWNED)) {
            read_entry(entry, &page);
            walk->fn(walk->context, gva, &page);
        }
    }
}

void pt_each(const struct mem *mem, pt_each_fn fn, void *context)
{
    struct walk walk = {.mem = mem, .fn = fn, .context = context};
    walk_table(&walk, LAYOUT_GPA(PML4), PT_LEVELS - 1, 0);
}

void pt_each_table(const struct mem *mem, pt_each_table_fn fn, void *context)
{
    struct walk walk = {.mem = mem, .table_fn = fn, .context = context};
    walk_table(&walk, LAYOUT_GPA(PML4), PT_LEVELS - 1, 0);
}

bool pt_table_of(const struct mem *mem, mf_gva gva, int level, mf_gpa *table)
{
    *table = LAYOUT_GPA(PML4);
    for (int at = PT_LEVELS - 1; at > level; at--)
        if (!pt_table_at(mem, *table, table_index(gva, at), table))
            return false;
    return true;
}

bool pt_table_at(const struct mem *mem, mf_gpa table, unsigned i, mf_gpa *next)
{
    uint64_t entry = entry_load((const uint64_t *)mem_at(mem, table) + i);
    *next = entry & PTE_ADDRESS;
    return (entry & PTE_PRESENT) != 0;
}
