/*
 * Where the contents of a guest page are: in the youngest snapshot of the chain that
 * has it, else in the root, else it is zero.
 */
#include "snapshot/pages.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const uint8_t zero_page[PAGE_BYTES];

bool snap_pages_find(const struct snap_pages *pages, uint32_t page, uint32_t *place)
{
    uint32_t low = 0, high = pages->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (pages->number[middle] < page)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == pages->count || pages->number[low] != page)
        return false;
    *place = pages->place[low];
    return true;
}

const uint8_t *snap_pages_at(const struct snap_pages *pages, uint32_t place)
{
    return place == SNAP_ZERO ? zero_page : pages->data + (uint64_t)place * PAGE_BYTES;
}

bool snap_read(const struct mf_snapshot *snapshot, uint32_t page, uint8_t *dst)
{
    uint32_t place;
    for (; snapshot->parent; snapshot = snapshot->parent) {
        if (!snap_pages_find(&snapshot->pages, page, &place))
            continue;
        memcpy(dst, snap_pages_at(&snapshot->pages, place), PAGE_BYTES);
        return true;
    }
    return mem_root_read(snapshot->root, page, dst);
}

bool snap_is_zero(const struct mf_snapshot *snapshot, uint32_t page)
{
    uint32_t place;
    for (; snapshot->parent; snapshot = snapshot->parent)
        if (snap_pages_find(&snapshot->pages, page, &place))
            return place == SNAP_ZERO;
    return mem_root_find(snapshot->root, page) == NULL;
}

bool snap_bytes_are_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE_BYTES - 1) == 0;
}

int snap_pages_init(struct snap_pages *pages, uint32_t most, struct mf_error *err)
{
    memset(pages, 0, sizeof *pages);
    /* One more, so that no page at all is no failure. */
    pages->number = malloc(((size_t)most + 1) * sizeof *pages->number);
    pages->place = malloc(((size_t)most + 1) * sizeof *pages->place);
    pages->data = malloc(((size_t)most + 1) * PAGE_BYTES);
    if (pages->number && pages->place && pages->data)
        return 0;
    snap_pages_fini(pages);
    return error_set(err, MF_E_NO_MEMORY, "cannot allocate %u pages of a snapshot", most);
}

void snap_pages_add(struct snap_pages *pages, uint32_t page, const uint8_t *contents)
{
    uint32_t place = SNAP_ZERO;
    if (!snap_bytes_are_zero(contents)) {
        place = (uint32_t)pages->data_pages++;
        memcpy((uint8_t *)pages->data + (uint64_t)place * PAGE_BYTES, contents, PAGE_BYTES);
    }
    pages->number[pages->count] = page;
    pages->place[pages->count] = place;
    pages->count++;
}

/* Gives back what was allocated for pages that turned out to be unchanged or zero. */
void snap_pages_trim(struct snap_pages *pages)
{
    void *data = realloc((void *)pages->data, (pages->data_pages + 1) * PAGE_BYTES);
    void *number = realloc(pages->number, ((size_t)pages->count + 1) * sizeof *pages->number);
    pages->data = data ? data : pages->data;
    pages->number = number ? number : pages->number;
    void *place = realloc(pages->place, ((size_t)pages->count + 1) * sizeof *pages->place);
    pages->place = place ? place : pages->place;
}

void snap_pages_fini(struct snap_pages *pages)
{
    free(pages->number);
    free(pages->place);
    if (pages->mapped)
        munmap((void *)pages->data, pages->mapped);
    else
        free((void *)pages->data);
    memset(pages, 0, sizeof *pages);
}
