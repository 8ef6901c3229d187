/*
 * How often each instruction of the program was executed, by its address: for the statistics
 * per basic block. Blocks count their entries; here is what is left of that when they go.
 */
#include "core.h"

#include <stdlib.h>

/* The page's counts, which become the first ones of the list; NULL: there are none. */
static struct profile_page *find_page(struct machine *m, uint32_t page)
{
    struct profile_page **link = &m->profile;

    while (*link != NULL && (*link)->page != page)
        link = &(*link)->next;
    struct profile_page *found = *link;
    if (found != NULL && found != m->profile) {
        *link = found->next;
        found->next = m->profile;
        m->profile = found;
    }
    return found;
}

void profile_add(struct machine *m, uint32_t address, uint64_t times)
{
    struct profile_page *p = find_page(m, address >> PAGE_BITS);

    if (p == NULL) {
        p = calloc(1, sizeof(*p));
        /* Without memory the counts of this page are missing. */
        if (p == NULL)
            return;
        p->page = address >> PAGE_BITS;
        p->next = m->profile;
        m->profile = p;
    }
    p->counts[(address & PAGE_MASK) / 4] += times;
}

uint64_t profile_get(struct machine *m, uint32_t address)
{
    const struct profile_page *p = find_page(m, address >> PAGE_BITS);

    return p != NULL ? p->counts[(address & PAGE_MASK) / 4] : 0;
}

void profile_take_back(struct machine *m, const struct block *b, unsigned first)
{
    for (unsigned i = first; i < b->n; i++) {
        m->counts[b->insns[i]]--;
        profile_add(m, b->pc + 4 * i, UINT64_MAX);
    }
}

void profile_fini(struct machine *m)
{
    while (m->profile != NULL) {
        struct profile_page *next = m->profile->next;
        free(m->profile);
        m->profile = next;
    }
}
