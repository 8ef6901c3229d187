/*
 * Guest physical memory: one anonymous mapping and a page allocator over it.
 * Pages that were never used are handed out first and in order, so that a young
 * sandbox has its memory in one piece.
 *
 * Windows lie behind it, first fit, so that the addresses of those that are gone are
 * used again. Between any two, and between memory and the first, a page is left out:
 * adjacent guest physical pages are then always adjacent in the host too.
 */
#include "mem/mem.h"

#include "base/checked.h"
#include "base/error.h"
#include "mem/root.h"
#include "mem/shared.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEM_BYTES_MAX (UINT64_C(64) << 30)

/* Where windows may be: behind the gap after memory, and within reach of every CPU. */
#define WINDOWS_GAP (UINT64_C(1) << 30)
#define WINDOWS_END (UINT64_C(1) << 38)
/* Of that size are the large pages of a host; those need equal offsets on both sides. */
#define LARGE_PAGE (UINT64_C(2) << 20)

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
    if (mem->kind != MEM_PRIVATE)
        close(mem->fd);
    free(mem->free);
    free(mem->windows);
    free(mem->marks);
    mem_root_close(mem->root);
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
    mem_mark(mem, gpa, bytes);
    /*
     * Where the host's pages are larger, its neighbours would go with it. Hosts with
     * KVM for this guest have pages of this size, so no CPU has translations then.
     */
    if (gpa % host_page != 0 || bytes % host_page != 0) {
        memset(at, 0, bytes);
        return;
    }
    if (mem->kind == MEM_SHARED) {
        if (bytes == 0 || mem_shared_clear(mem, gpa, bytes))
            return;
    } else if (madvise(at, bytes, MADV_DONTNEED) == 0) {
        /* What was given away shows the root again, where it has pages. */
        mem_root_clear(mem, gpa, bytes);
        return;
    }
    /*
     * That fails when the embedding program locked its memory (mlockall), or when there is
     * no memory to split a page of a file. The pages stay then, and a change of rights takes
     * the translations away instead: of the whole mapping, since for a part the host could
     * refuse (its limit of mappings), and with a translation that stays the guest could write
     * to page tables later.
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

/* The first guest physical address from `at` on that lies in a large page as `host` does. */
static mf_gpa like_host(mf_gpa at, const uint8_t *host)
{
    return at + (((uintptr_t)host - at) & (LARGE_PAGE - 1));
}

/* The lowest place for a window, or 0 when there is none. */
static mf_gpa window_place(const struct mem *mem, const uint8_t *host, uint64_t bytes)
{
    mf_gpa at;
    if (bytes > WINDOWS_END || !round_up_u64(mem->bytes, WINDOWS_GAP, &at))
        return 0;
    at = like_host(at + WINDOWS_GAP, host);
    for (unsigned i = 0; i < mem->nwindows;) {
        const struct mem_window *w = &mem->windows[i++];
        if (w->bytes == 0 || at >= w->gpa + w->bytes + PAGE_BYTES ||
            w->gpa >= at + bytes + PAGE_BYTES)
            continue;
        at = like_host(w->gpa + w->bytes + PAGE_BYTES, host);
        i = 0;
    }
    return range_inside(at, bytes, WINDOWS_END) ? at : 0;
}

/* A place of the array that is not in use, or NULL. */
static struct mem_window *window_slot(struct mem *mem)
{
    for (unsigned i = 0; i < mem->nwindows; i++)
        if (mem->windows[i].bytes == 0)
            return &mem->windows[i];
    return mem->nwindows < MEM_WINDOWS_MAX ? &mem->windows[mem->nwindows++] : NULL;
}

int mem_window_add(struct mem *mem, uint8_t *host, uint64_t bytes, bool writable, bool may_vanish,
                   struct mem_window **out, struct mf_error *err)
{
    if (!mem->windows)
        mem->windows = calloc(MEM_WINDOWS_MAX, sizeof *mem->windows);
    if (!mem->windows)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate the table of mapped memory");
    mf_gpa gpa = window_place(mem, host, bytes);
    if (gpa == 0)
        return error_set(err, MF_E_NO_MEMORY,
                         "no room for %llu bytes more: a sandbox has at most 255 GiB, its own "
                         "memory and what is mapped into it together",
                         (unsigned long long)bytes);
    struct mem_window *window = window_slot(mem);
    if (!window)
        return error_set(err, MF_E_STATE, "more than %d pieces of host memory are mapped",
                         MEM_WINDOWS_MAX);
    *window = (struct mem_window){
        .gpa = gpa,
        .bytes = bytes,
        .host = host,
        .writable = writable,
        .may_vanish = may_vanish,
        .slot = (unsigned)(window - mem->windows) + 1,
    };
    *out = window;
    return 0;
}

void mem_window_remove(struct mem *mem, struct mem_window *window)
{
    *window = (struct mem_window){0};
    while (mem->nwindows > 0 && mem->windows[mem->nwindows - 1].bytes == 0)
        mem->nwindows--;
}

const struct mem_window *mem_window_find(const struct mem *mem, mf_gpa gpa)
{
    for (unsigned i = 0; i < mem->nwindows; i++) {
        const struct mem_window *w = &mem->windows[i];
        if (gpa >= w->gpa && gpa - w->gpa < w->bytes)
            return w;
    }
    return NULL;
}

static size_t marks_bytes(const struct mem *mem)
{
    return ((size_t)mem->end + 63) / 64 * sizeof *mem->marks;
}

int mem_marks_start(struct mem *mem, struct mf_error *err)
{
    if (mem->marks) {
        mem_marks_clear(mem);
        return 0;
    }
    mem->marks = calloc(1, marks_bytes(mem));
    if (!mem->marks)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a bit for each guest page");
    return 0;
}

void mem_marks_clear(struct mem *mem)
{
    if (mem->marks)
        memset(mem->marks, 0, marks_bytes(mem));
}
