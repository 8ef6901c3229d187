/*
 * The machine's memory: 4 KiB pages that are taken when they are first used, found by a
 * table of two levels. Loads and stores of the fast loop look into a small direct-mapped
 * cache first (struct line), whose entries hold virtual pages with a host address; what
 * it does not answer comes here: first use, alignment, devices, faults, pages with code.
 *
 * A page with code never has `write_page` set in its line, so each store to it comes here,
 * and a store to a word that a block was made of drops all blocks.
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#define POOL_PAGES 16

bool fault_address(struct machine *m, enum exception code, uint32_t address, const char *why)
{
    m->fault = (struct fault){.code = code, .has_address = true, .address = address, .why = why};
    return false;
}

bool fault_plain(struct machine *m, enum exception code, const char *why)
{
    m->fault = (struct fault){.code = code, .why = why};
    return false;
}

void memory_flush_lines(struct machine *m)
{
    for (size_t i = 0; i < LINES; i++) {
        m->lines[i].read_page = LINE_NONE;
        m->lines[i].write_page = LINE_NONE;
    }
}

void memory_init(struct machine *m)
{
    memory_flush_lines(m);
    m->page_limit = m->config.memory_bytes >> PAGE_BITS;
}

void memory_fini(struct machine *m)
{
    for (size_t i = 0; i < 1024; i++) {
        for (size_t j = 0; m->directory[i] != NULL && j < 1024; j++)
            free(m->directory[i][j]);
        free(m->directory[i]);
    }
    while (m->pools != NULL) {
        struct page_pool *next = m->pools->next;
        free(m->pools);
        m->pools = next;
    }
}

bool memory_add_region(struct machine *m, uint32_t first, uint32_t last, uint8_t rights)
{
    if (m->nregions == REGIONS_MAX || last < first)
        return false;
    m->regions[m->nregions++] =
        (struct region){first & ~PAGE_MASK, last | PAGE_MASK, first, last, rights};
    return true;
}

/* What may be done with a page; 0 when it is in no region. */
static uint8_t region_rights(const struct machine *m, uint32_t address)
{
    uint8_t rights = 0;

    for (size_t i = 0; i < m->nregions; i++)
        if (address >= m->regions[i].first && address <= m->regions[i].last)
            rights |= m->regions[i].rights;
    if (address >= (m->heap_start & ~PAGE_MASK) && (address & ~PAGE_MASK) < m->heap_end)
        rights |= RIGHT_READ | RIGHT_WRITE;
    return rights;
}

/* The bytes of a fresh page, zeroed; NULL: the machine's or the host's memory is used up. */
static uint8_t *take_page(struct machine *m)
{
    if (m->npages >= m->page_limit)
        return NULL;
    if (m->pools == NULL || m->pools->used == POOL_PAGES) {
        struct page_pool *pool = malloc(sizeof(*pool) + (POOL_PAGES + 1) * (size_t)PAGE_BYTES);
        if (pool == NULL)
            return NULL;
        uintptr_t start = (uintptr_t)(pool + 1);
        pool->start = (uint8_t *)((start + PAGE_MASK) & ~(uintptr_t)PAGE_MASK);
        pool->used = 0;
        pool->next = m->pools;
        m->pools = pool;
    }
    m->npages++;
    uint8_t *data = m->pools->start + (size_t)m->pools->used++ * PAGE_BYTES;
    memset(data, 0, PAGE_BYTES);
    return data;
}

struct page *memory_page(struct machine *m, uint32_t address)
{
    struct page **table = m->directory[address >> 22];

    if (table != NULL && table[(address >> PAGE_BITS) & 1023] != NULL)
        return table[(address >> PAGE_BITS) & 1023];
    uint8_t rights = region_rights(m, address);
    if (rights == 0)
        return NULL;
    if (table == NULL) {
        table = calloc(1024, sizeof(struct page *));
        if (table == NULL)
            return NULL;
        m->directory[address >> 22] = table;
    }
    struct page *page = calloc(1, sizeof(*page));
    if (page == NULL)
        return NULL;
    page->data = take_page(m);
    if (page->data == NULL) {
        free(page);
        return NULL;
    }
    page->rights = rights;
    table[(address >> PAGE_BITS) & 1023] = page;
    return page;
}

/* Why there is no page at an address, for the message. */
static const char *why_no_page(const struct machine *m, uint32_t address)
{
    if (region_rights(m, address) != 0)
        return "the machine's memory is used up";
    if (address >= UINT32_C(0x70000000) && address < UINT32_C(0x80000000))
        return "stack overflow, or an address that has no memory";
    return "an address that has no memory";
}

/* Virtual to physical, with the rights of the mode: false: machine.fault is set. */
static bool translate(struct machine *m, uint32_t address, bool store, bool fetch,
                      uint32_t *physical, bool *writable)
{
    *physical = address;
    *writable = true;
    if (m->user && address >= UINT32_C(0x80000000))
        return fault_address(m, store ? EXC_ADES : EXC_ADEL, address,
                             "a kernel address in user mode");
    if ((m->cp0[CP0_CONFIG] & CONFIG_MT) != CONFIG_TLB)
        return true;
    return tlb_translate(m, address, store, fetch, physical, writable);
}

/* The page for an access, entered into the translation cache. NULL: a fault. */
static struct page *access_page(struct machine *m, uint32_t address, bool store)
{
    uint32_t physical;
    bool writable;

    if (!translate(m, address, store, false, &physical, &writable))
        return NULL;
    struct page *page = memory_page(m, physical);
    if (page == NULL) {
        fault_address(m, EXC_DBE, address, why_no_page(m, physical));
        return NULL;
    }
    if (store && !(page->rights & RIGHT_WRITE)) {
        fault_address(m, EXC_ADES, address, "a store to text");
        return NULL;
    }
    struct line *line = &m->lines[(address >> PAGE_BITS) % LINES];
    uint32_t virtual = address & ~PAGE_MASK;
    line->base = (uint8_t *)((uintptr_t)page->data - virtual);
    line->read_page = virtual;
    line->write_page = LINE_NONE;
    if (writable && (page->rights & RIGHT_WRITE) && !page->has_code)
        line->write_page = virtual;
    return page;
}

/* Whether the physical page of a mapped address is the devices'. */
static bool is_device(const struct machine *m, uint32_t address)
{
    return address >= MACHINE_MMIO && !m->user;
}

static uint64_t get_bytes(const struct machine *m, const uint8_t *from, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << 8 * (m->big_endian ? bytes - 1 - i : i);
    return value;
}

static void put_bytes(const struct machine *m, uint8_t *to, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * (m->big_endian ? bytes - 1 - i : i));
}

bool memory_load(struct machine *m, uint32_t address, unsigned bytes, uint64_t *value)
{
    if (address & (bytes - 1))
        return fault_address(m, EXC_ADEL, address, "a load from an unaligned address");
    if (is_device(m, address))
        return device_load(m, address, bytes, value);
    struct page *page = access_page(m, address, false);
    if (page == NULL)
        return false;
    *value = get_bytes(m, page->data + (address & PAGE_MASK), bytes);
    return true;
}

/* A store into a page with code: blocks made of these words are stale. */
static void written(struct machine *m, const struct page *page, uint32_t offset, size_t len)
{
    for (uint32_t word = offset / 4; page->has_code && word <= (offset + len - 1) / 4; word++)
        if (page->code[word / 32] >> word % 32 & 1)
            m->flush_code = m->attention = true;
}

bool memory_store(struct machine *m, uint32_t address, unsigned bytes, uint64_t value)
{
    if (address & (bytes - 1))
        return fault_address(m, EXC_ADES, address, "a store to an unaligned address");
    if (is_device(m, address))
        return device_store(m, address, bytes, value);
    struct page *page = access_page(m, address, true);
    if (page == NULL)
        return false;
    put_bytes(m, page->data + (address & PAGE_MASK), bytes, value);
    written(m, page, address & PAGE_MASK, bytes);
    return true;
}

/* Whether a word is the program's: behind its end, a page of text has zeros only. */
static bool is_text(const struct machine *m, uint32_t address)
{
    for (size_t i = 0; i < m->nregions; i++)
        if (m->regions[i].rights & RIGHT_EXECUTE && address >= m->regions[i].begin &&
            address <= m->regions[i].end)
            return true;
    return false;
}

bool memory_fetch(struct machine *m, uint32_t address, uint32_t *word)
{
    uint32_t physical;
    bool writable;

    if (address & 3)
        return fault_address(m, EXC_ADEL, address, "a jump to an unaligned address");
    if (!translate(m, address, false, true, &physical, &writable))
        return false;
    struct page *page = memory_page(m, physical);
    if (page == NULL || !(page->rights & RIGHT_EXECUTE) || !is_text(m, physical))
        return fault_address(m, EXC_IBE, address, "a jump outside of the text");
    uint32_t offset = physical & PAGE_MASK;
    *word = (uint32_t)get_bytes(m, page->data + offset, 4);
    page->code[offset / 4 / 32] |= UINT32_C(1) << offset / 4 % 32;
    if (!page->has_code) {
        page->has_code = true;
        if (page->rights & RIGHT_WRITE)
            memory_flush_lines(m);
    }
    return true;
}

/* The page of a virtual address for system calls and the debugger, without side effects on cp0. */
static struct page *look(struct machine *m, uint32_t address, bool store, bool force)
{
    uint32_t physical = address;
    bool writable;
    struct fault saved = m->fault;

    if (address >= MACHINE_MMIO)
        return NULL;
    if (!translate(m, address, store && !force, false, &physical, &writable)) {
        m->fault = saved;
        return NULL;
    }
    struct page *page = memory_page(m, physical);
    if (page == NULL || (store && !force && !(page->rights & RIGHT_WRITE)))
        return NULL;
    return page;
}

size_t memory_read(struct machine *m, uint32_t address, void *out, size_t len)
{
    size_t done = 0;

    while (done < len) {
        struct page *page = look(m, address, false, false);
        if (page == NULL)
            break;
        size_t part = PAGE_BYTES - (address & PAGE_MASK);
        if (part > len - done)
            part = len - done;
        memcpy((uint8_t *)out + done, page->data + (address & PAGE_MASK), part);
        done += part;
        address += (uint32_t)part;
    }
    return done;
}

size_t memory_write(struct machine *m, uint32_t address, const void *data, size_t len, bool force)
{
    size_t done = 0;

    while (done < len) {
        struct page *page = look(m, address, true, force);
        if (page == NULL)
            break;
        size_t part = PAGE_BYTES - (address & PAGE_MASK);
        if (part > len - done)
            part = len - done;
        memcpy(page->data + (address & PAGE_MASK), (const uint8_t *)data + done, part);
        written(m, page, address & PAGE_MASK, part);
        done += part;
        address += (uint32_t)part;
    }
    return done;
}

void memory_read_physical(const struct page *page, uint32_t address, void *out, size_t len)
{
    memcpy(out, page->data + (address & PAGE_MASK), len);
}

bool memory_write_physical(struct machine *m, uint32_t address, const void *data, size_t len)
{
    struct page *page = memory_page(m, address);

    if (page == NULL)
        return false;
    memcpy(page->data + (address & PAGE_MASK), data, len);
    written(m, page, address & PAGE_MASK, len);
    return true;
}

uint32_t memory_sbrk(struct machine *m, int32_t bytes)
{
    uint32_t old = m->heap_end;
    uint32_t room = MACHINE_STACK - m->heap_start;
    int64_t end = (int64_t)(old - m->heap_start) + bytes;

    if (end < 0 || end > (int64_t)room || (uint64_t)end > m->config.memory_bytes)
        return UINT32_MAX;
    m->heap_end = m->heap_start + (uint32_t)end;
    return old;
}
