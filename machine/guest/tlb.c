/*
 * The software-managed TLB: 16 entries, each a pair of pages of 4 KiB to 16 MiB. It
 * translates kuseg (below 0x80000000) and kseg2 (from 0xc0000000 on) once the program has
 * set Config.MT to 1; before, as in SPIM, an address is its own translation. Physical
 * addresses are those that programs see without the TLB.
 */
#include "core.h"

/* EntryLo: frame, dirty (may be written), valid, global. */
#define LOW_D UINT32_C(4)
#define LOW_V UINT32_C(2)
#define LOW_G UINT32_C(1)
#define LOW_BITS UINT32_C(0x03ffffff)

/* What an entry's page number is compared in. */
static uint32_t page_bits(const struct tlb_entry *entry)
{
    return ~(entry->mask | UINT32_C(0x1fff));
}

static bool matches(const struct machine *m, const struct tlb_entry *entry, uint32_t address)
{
    bool global = (entry->low[0] & entry->low[1] & LOW_G) != 0;

    return ((entry->high ^ address) & page_bits(entry)) == 0 &&
           (global || ((entry->high ^ m->cp0[CP0_ENTRYHI]) & 0xff) == 0);
}

static bool miss(struct machine *m, uint32_t address, bool store, bool refill, const char *why)
{
    fault_address(m, store ? EXC_TLBS : EXC_TLBL, address, why);
    m->fault.refill = refill;
    return false;
}

bool tlb_translate(struct machine *m, uint32_t address, bool store, bool fetch,
                   uint32_t *physical, bool *writable)
{
    (void)fetch;
    if (address >= UINT32_C(0x80000000) && address < UINT32_C(0xc0000000))
        return true;
    for (size_t i = 0; i < TLB_ENTRIES; i++) {
        const struct tlb_entry *entry = &m->tlb[i];
        if (!matches(m, entry, address))
            continue;
        uint32_t half = (entry->mask | UINT32_C(0x1fff)) >> 1; /* offset in one of the pair */
        uint32_t low = entry->low[(address & (half + 1)) != 0];
        if (!(low & LOW_V))
            return miss(m, address, store, false, "its TLB entry is not valid");
        if (store && !(low & LOW_D))
            return fault_address(m, EXC_MOD, address, NULL);
        *physical = (low >> 6 << PAGE_BITS & ~half) | (address & half);
        *writable = (low & LOW_D) != 0;
        return true;
    }
    return miss(m, address, store, true, "no TLB entry has it");
}

/* The program changed the TLB: what was translated by it is stale. */
static void changed(struct machine *m, const struct tlb_entry *entry)
{
    uint32_t bytes = entry->mask + UINT32_C(0x2000);
    uint32_t first = entry->high & page_bits(entry);

    memory_flush_lines(m);
    for (uint32_t offset = 0; offset < bytes && !m->flush_code; offset += PAGE_BYTES)
        if (blocks_on_page(m, first + offset))
            m->flush_code = true;
}

void tlb_write(struct machine *m, unsigned index)
{
    struct tlb_entry *entry = &m->tlb[index % TLB_ENTRIES];

    changed(m, entry);
    uint32_t global = m->cp0[CP0_ENTRYLO0] & m->cp0[CP0_ENTRYLO1] & LOW_G;
    *entry = (struct tlb_entry){
        .mask = m->cp0[CP0_PAGEMASK],
        .high = m->cp0[CP0_ENTRYHI] & ~m->cp0[CP0_PAGEMASK],
        .low = {(m->cp0[CP0_ENTRYLO0] & LOW_BITS & ~LOW_G) | global,
                (m->cp0[CP0_ENTRYLO1] & LOW_BITS & ~LOW_G) | global},
    };
    changed(m, entry);
}

void tlb_read(struct machine *m)
{
    const struct tlb_entry *entry = &m->tlb[m->cp0[CP0_INDEX] % TLB_ENTRIES];

    m->cp0[CP0_PAGEMASK] = entry->mask;
    cp0_write(m, CP0_ENTRYHI, 0, entry->high);
    m->cp0[CP0_ENTRYLO0] = entry->low[0];
    m->cp0[CP0_ENTRYLO1] = entry->low[1];
}

void tlb_probe(struct machine *m)
{
    m->cp0[CP0_INDEX] = UINT32_C(0x80000000);
    for (unsigned i = 0; i < TLB_ENTRIES; i++)
        if (matches(m, &m->tlb[i], m->cp0[CP0_ENTRYHI]))
            m->cp0[CP0_INDEX] = i;
}

/* Counts down from the last entry to Wired, a step per instruction. */
unsigned tlb_random(struct machine *m)
{
    unsigned wired = m->cp0[CP0_WIRED] % TLB_ENTRIES;

    return TLB_ENTRIES - 1 - (unsigned)(machine_now(m) % (TLB_ENTRIES - wired));
}
