/*
 * Four-level page tables in guest memory. A leaf entry keeps its page's address
 * also when nobody may reach it (PT_NONE), marked by a bit that the CPU ignores.
 *
 * Table entries are stored with one 64-bit atomic store each, because a vCPU may
 * be walking the tables (a thread of the host changes them only between runs
 * today, but the walker of an attentive guest would be concurrent).
 */
#include "mem/pagetable.h"

#define PTE_PRESENT UINT64_C(1)
#define PTE_WRITE UINT64_C(2)
#define PTE_USER UINT64_C(4)
#define PTE_ACCESSED UINT64_C(0x20)
#define PTE_DIRTY UINT64_C(0x40)
#define PTE_OWNED (UINT64_C(1) << 9) /* ignored by the CPU: the entry holds a page */
#define PTE_NO_EXEC (UINT64_C(1) << 63)
#define PTE_ADDRESS UINT64_C(0x000ffffffffff000)

#define LEVELS 4

static unsigned table_index(mf_gva gva, int level)
{
    return (unsigned)(gva >> (PAGE_SHIFT + 9 * level)) & 511;
}

static uint64_t entry_load(const uint64_t *entry)
{
    return __atomic_load_n(entry, __ATOMIC_RELAXED);
}

static void entry_store(uint64_t *entry, uint64_t value)
{
    __atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

/*
 * The leaf entry of `gva`; NULL when a table is missing. The tables are the
 * host's own, so the addresses in them are used unchecked.
 */
static uint64_t *find_leaf(const struct mem *mem, mf_gva gva)
{
    uint64_t *table = mem_at(mem, LAYOUT_GPA(PML4));
    for (int level = LEVELS - 1; level > 0; level--) {
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
    for (int level = LEVELS - 1; level > 0; level--) {
        uint64_t *slot = &table[table_index(gva, level)];
        uint64_t entry = entry_load(slot);
        if (!(entry & PTE_PRESENT)) {
            mf_gpa page;
            if (!mem_page_alloc(mem, &page))
                return NULL;
            /* Written first: a read would make the host map its page of zeros, then a copy. */
            entry_store(mem_at(mem, page), 0);
            /* Rights are decided by the leaf alone. */
            entry = page | PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED;
            entry_store(slot, entry);
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
    entry_store(leaf, make_entry(gpa, prot));
    return true;
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
    entry_store(leaf, make_entry(entry_load(leaf) & PTE_ADDRESS, prot));
    return true;
}

bool pt_unmap(struct mem *mem, mf_gva gva, struct pt_page *page)
{
    uint64_t *leaf = find_leaf(mem, gva);
    if (!leaf || !(entry_load(leaf) & PTE_OWNED))
        return false;
    read_entry(entry_load(leaf), page);
    entry_store(leaf, 0);
    return true;
}
