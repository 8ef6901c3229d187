/*
 * Guest physical memory: one anonymous mapping and a page allocator over it.
 * Pages that were never used are handed out first and in order, so that a young
 * sandbox has its memory in one piece.
 */
#include "mem/mem.h"

#include "base/checked.h"
#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEM_BYTES_MAX (UINT64_C(64) << 30)

int mem_init(struct mem *mem, uint64_t bytes, struct mf_error *err)
{
    memset(mem, 0, sizeof *mem);
    if (bytes < LAYOUT_GPA(FREE) + PAGE_BYTES || bytes > MEM_BYTES_MAX || bytes % PAGE_BYTES)
        return error_set(err, MF_E_ARGUMENT,
                         "guest memory of %llu bytes: must be whole pages, at most 64 GiB",
                         (unsigned long long)bytes);
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return error_set_errno(err, errno == ENOMEM ? MF_E_NO_MEMORY : MF_E_SYSTEM, errno,
                               "cannot reserve %llu bytes of guest memory",
                               (unsigned long long)bytes);
    mem->base = base;
    mem->bytes = bytes;
    mem->next = LAYOUT_PAGE_FREE;
    mem->end = (uint32_t)(bytes >> PAGE_SHIFT);
    /* The stack of free pages is touched, and so takes memory, only as it fills. */
    mem->free = malloc((size_t)mem->end * sizeof *mem->free);
    if (!mem->free) {
        mem_fini(mem);
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate the table of free guest pages");
    }
    /* A forked child has no use for guest memory, and no VM (KVM refuses it). */
    madvise(base, bytes, MADV_DONTFORK);
    return 0;
}

void mem_fini(struct mem *mem)
{
    if (mem->base)
        munmap(mem->base, mem->bytes);
    free(mem->free);
    memset(mem, 0, sizeof *mem);
}

uint64_t mem_pages_available(const struct mem *mem)
{
    return (uint64_t)(mem->end - mem->next) + mem->nfree;
}

uint64_t mem_pages_used(const struct mem *mem)
{
    return (uint64_t)mem->next - mem->nfree;
}

bool mem_page_alloc(struct mem *mem, mf_gpa *gpa)
{
    uint32_t page;
    if (mem->nfree > 0)
        page = mem->free[--mem->nfree];
    else if (mem->next < mem->end)
        page = mem->next++;
    else
        return false;
    *gpa = (mf_gpa)page << PAGE_SHIFT;
    return true;
}

bool mem_run_alloc(struct mem *mem, uint64_t n, mf_gpa *gpa)
{
    if (n > mem->end - mem->next)
        return false;
    *gpa = (mf_gpa)mem->next << PAGE_SHIFT;
    mem->next += (uint32_t)n;
    return true;
}

void mem_page_free(struct mem *mem, mf_gpa gpa)
{
    mem->free[mem->nfree++] = (uint32_t)(gpa >> PAGE_SHIFT);
}

void mem_discard(struct mem *mem, mf_gpa gpa, uint64_t bytes)
{
    uint8_t *at = mem->base + gpa;
    uint64_t host_page = (uint64_t)sysconf(_SC_PAGESIZE);
    /*
     * Where the host's pages are larger, its neighbours would go with it. Hosts with
     * KVM for this guest have pages of this size, so no CPU has translations then.
     */
    if (gpa % host_page != 0 || bytes % host_page != 0) {
        memset(at, 0, bytes);
        return;
    }
    if (madvise(at, bytes, MADV_DONTNEED) == 0)
        return;
    /*
     * That fails when the embedding program locked its memory (mlockall). The pages
     * stay then, and a change of rights takes the translations away instead: of the
     * whole mapping, since for a part the host could refuse (its limit of mappings),
     * and with a translation that stays the guest could write to page tables later.
     */
    memset(at, 0, bytes);
    mprotect(mem->base, mem->bytes, PROT_READ);
    mprotect(mem->base, mem->bytes, PROT_READ | PROT_WRITE);
}

uint64_t mem_pages_resident(const struct mem *mem)
{
    enum { CHUNK = 4096 };
    unsigned char present[CHUNK];
    uint64_t host_page = (uint64_t)sysconf(_SC_PAGESIZE), count = 0;
    uint64_t pages = mem->bytes / host_page;
    for (uint64_t first = 0; first < pages; first += CHUNK) {
        uint64_t n = MIN(pages - first, (uint64_t)CHUNK);
        if (mincore(mem->base + first * host_page, n * host_page, present) != 0)
            return 0;
        for (uint64_t i = 0; i < n; i++)
            count += present[i] & 1;
    }
    return count * (host_page >> PAGE_SHIFT);
}
