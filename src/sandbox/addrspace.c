/*
 * The guest's address space: a sorted array of areas, and the Linux calls that
 * change it. Called by the loader (load.c), the system call table
 * (syscall_memory.c) and the fault reports (fault.c).
 *
 * Theory of operation. An area is either backed (each of its pages is mapped in
 * the page tables) or not (none is): reserved addresses cost one entry of the
 * array, however large they are, and no operation ever walks pages that do not
 * exist. An area loses its rights without losing its pages (mprotect to
 * PROT_NONE), and gets pages when it is given rights for the first time.
 *
 * Every change has the same order, so that a failure leaves nothing half done:
 * check the arguments, make room in the array, map the missing pages (which can
 * fail, and is undone then), change or unmap the pages that were there (which
 * cannot fail), change the array.
 *
 * The guest chooses all arguments and how often it calls. A call costs at most
 * ADDRSPACE_AREAS_MAX steps and the work for pages that really exist.
 */
#include "sandbox/addrspace.h"

#include "abi/memory_map.h"
#include "base/checked.h"
#include "base/error.h"
#include "mem/pagetable.h"
#include "sandbox/linux_abi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 32
/* Where mmap with MAP_32BIT looks, as on Linux. */
#define LOW_PLACES_START UINT64_C(0x40000000)
#define LOW_PLACES_END UINT64_C(0x80000000)

/* A part of a range that lies in one area or in one hole. */
struct piece {
    mf_gva start, end;
    const struct area *area; /* NULL: a hole */
};

/* The index of the first area that ends behind `gva`; nareas when none does. */
static size_t index_after(const struct addrspace *as, mf_gva gva)
{
    size_t low = 0, high = as->nareas;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (as->areas[middle].end > gva)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/*
 * The piece of [start, end) that begins at `start`; false when the range is empty.
 * A loop over a range: for (pos = start; piece_at(as, pos, end, &p); pos = p.end).
 */
static bool piece_at(const struct addrspace *as, mf_gva start, mf_gva end, struct piece *piece)
{
    if (start >= end)
        return false;
    size_t i = index_after(as, start);
    *piece = (struct piece){.start = start, .end = end};
    if (i == as->nareas)
        return true;
    const struct area *area = &as->areas[i];
    if (area->start <= start) {
        piece->area = area;
        piece->end = MIN(end, area->end);
    } else {
        piece->end = MIN(end, area->start);
    }
    return true;
}

static bool piece_backed(const struct piece *piece)
{
    return piece->area && piece->area->backed;
}

static uint64_t piece_pages(const struct piece *piece)
{
    return (piece->end - piece->start) >> PAGE_SHIFT;
}

static bool range_free(const struct addrspace *as, mf_gva start, mf_gva end)
{
    size_t i = index_after(as, start);
    return i == as->nareas || as->areas[i].start >= end;
}

/* Whether the range has a part of what belongs to the host: boot page, mailbox, maps, guards. */
static bool range_is_hosts(const struct addrspace *as, mf_gva start, mf_gva end)
{
    for (size_t i = index_after(as, start); i < as->nareas && as->areas[i].start < end; i++) {
        enum area_kind kind = as->areas[i].kind;
        if (kind == AREA_SYSTEM || kind == AREA_HOST || kind == AREA_GUARD)
            return true;
    }
    return false;
}

/* The lowest free place for `bytes` in [low, high), or 0. */
static mf_gva find_place(const struct addrspace *as, mf_gva low, mf_gva high, uint64_t bytes)
{
    mf_gva at = low;
    for (size_t i = index_after(as, low); i < as->nareas && as->areas[i].start < high; i++) {
        const struct area *area = &as->areas[i];
        if (area->start > at && area->start - at >= bytes)
            return at;
        at = area->end;
    }
    return at < high && high - at >= bytes ? at : 0;
}

/* How many areas more there are after cutting at both ends of a range. */
static size_t cuts(const struct addrspace *as, mf_gva start, mf_gva end)
{
    const struct area *first = addrspace_find(as, start), *last = addrspace_find(as, end);
    return (first && first->start < start) + (last && last->start < end);
}

/* Makes room for `more` areas. False when there would be too many, or memory ran out. */
static bool reserve(struct addrspace *as, size_t more)
{
    size_t need = as->nareas + more;
    if (need > ADDRSPACE_AREAS_MAX)
        return false;
    if (need <= as->capacity)
        return true;
    size_t capacity = MAX(FIRST_CAPACITY, as->capacity);
    while (capacity < need)
        capacity *= 2;
    struct area *areas = realloc(as->areas, capacity * sizeof(*areas));
    if (!areas)
        return false;
    as->areas = areas;
    as->capacity = capacity;
    return true;
}

/* Makes an area end at `gva`, if one runs across it. Room was reserved. */
static void cut_at(struct addrspace *as, mf_gva gva)
{
    size_t i = index_after(as, gva);
    if (i == as->nareas || as->areas[i].start >= gva)
        return;
    struct area *area = &as->areas[i];
    memmove(area + 1, area, (as->nareas - i) * sizeof(*area));
    as->nareas++;
    area[0].end = gva;
    area[1].start = gva;
}

/* Takes the range out of the array. Room for its cuts was reserved. */
static void remove_areas(struct addrspace *as, mf_gva start, mf_gva end)
{
    cut_at(as, start);
    cut_at(as, end);
    size_t first = index_after(as, start), last = first;
    while (last < as->nareas && as->areas[last].start < end)
        last++;
    memmove(&as->areas[first], &as->areas[last], (as->nareas - last) * sizeof(*as->areas));
    as->nareas -= last - first;
}

static bool may_merge(const struct area *a, const struct area *b)
{
    return a->end == b->start && a->prot == b->prot && a->kind == b->kind &&
           a->backed == b->backed;
}

/* Merges neighbours that became alike. */
static void merge(struct addrspace *as)
{
    size_t kept = 0;
    for (size_t i = 1; i < as->nareas; i++) {
        if (may_merge(&as->areas[kept], &as->areas[i]))
            as->areas[kept].end = as->areas[i].end;
        else
            as->areas[++kept] = as->areas[i];
    }
    if (as->nareas > 0)
        as->nareas = kept + 1;
}

/* Puts a new area into a free range. Room was reserved. */
static void insert_area(struct addrspace *as, struct area area)
{
    size_t i = index_after(as, area.start);
    memmove(&as->areas[i + 1], &as->areas[i], (as->nareas - i) * sizeof(*as->areas));
    as->areas[i] = area;
    as->nareas++;
    merge(as);
}

/* The rights of a page that a guest may use. */
static unsigned page_prot(unsigned prot)
{
    return prot == PT_NONE ? PT_NONE : prot | PT_USER;
}

/* Unmaps the pages that exist in the range. */
static void drop_pages(struct addrspace *as, mf_gva start, mf_gva end)
{
    struct piece piece;
    for (mf_gva pos = start; piece_at(as, pos, end, &piece); pos = piece.end) {
        if (piece_backed(&piece))
            as->vm->ops->unmap(as->vm, piece.start, piece_pages(&piece));
    }
}

/*
 * Maps fresh pages wherever the range has none. False when guest memory is too
 * small; then nothing is changed.
 */
static bool fill_pages(struct addrspace *as, mf_gva start, mf_gva end, unsigned prot)
{
    struct piece piece;
    mf_gva pos;
    for (pos = start; piece_at(as, pos, end, &piece); pos = piece.end) {
        if (!piece_backed(&piece) &&
            as->vm->ops->map(as->vm, piece.start, piece_pages(&piece), page_prot(prot), NULL) != 0)
            break;
    }
    if (pos == end)
        return true;
    for (mf_gva undo = start; piece_at(as, undo, pos, &piece); undo = piece.end) {
        if (!piece_backed(&piece))
            as->vm->ops->unmap(as->vm, piece.start, piece_pages(&piece));
    }
    return false;
}

/* Gives the pages that exist in the range other rights, and with `clear` takes their bytes. */
static void change_pages(struct addrspace *as, mf_gva start, mf_gva end, unsigned prot, bool clear)
{
    struct piece piece;
    for (mf_gva pos = start; piece_at(as, pos, end, &piece); pos = piece.end) {
        if (!piece_backed(&piece))
            continue;
        if (clear)
            as->vm->ops->discard(as->vm, piece.start, piece_pages(&piece));
        if (piece.area->prot != prot)
            as->vm->ops->protect(as->vm, piece.start, piece_pages(&piece), page_prot(prot));
    }
}

/* Makes the range one new, zeroed area, whatever it was before. 0 or -ENOMEM. */
static int64_t replace(struct addrspace *as, mf_gva start, mf_gva end, unsigned prot,
                       enum area_kind kind)
{
    if (!reserve(as, cuts(as, start, end) + 1))
        return -ENOMEM;
    if (prot == PT_NONE) {
        drop_pages(as, start, end);
    } else {
        if (!fill_pages(as, start, end, prot))
            return -ENOMEM;
        change_pages(as, start, end, prot, true);
    }
    remove_areas(as, start, end);
    insert_area(as, (struct area){start, end, prot, kind, prot != PT_NONE});
    return 0;
}

/* Takes the range away: its areas and their pages. 0, -EPERM or -ENOMEM. */
static int64_t erase(struct addrspace *as, mf_gva start, mf_gva end)
{
    if (range_is_hosts(as, start, end))
        return -EPERM;
    if (!reserve(as, cuts(as, start, end)))
        return -ENOMEM;
    drop_pages(as, start, end);
    remove_areas(as, start, end);
    return 0;
}

/* Rights from PROT_*. On this CPU whoever writes or executes can read. */
static unsigned prot_from_linux(uint64_t prot)
{
    unsigned rights = PT_NONE;
    if (prot & (LINUX_PROT_READ | LINUX_PROT_WRITE | LINUX_PROT_EXEC))
        rights |= PT_READ;
    if (prot & LINUX_PROT_WRITE)
        rights |= PT_WRITE;
    if (prot & LINUX_PROT_EXEC)
        rights |= PT_EXEC;
    return rights;
}

static bool writes_and_executes(uint64_t prot)
{
    return (prot & LINUX_PROT_WRITE) && (prot & LINUX_PROT_EXEC);
}

/* Whether [addr, addr + bytes) lies below the end of what guests may use. */
static bool inside_space(uint64_t addr, uint64_t bytes)
{
    return range_inside(addr, bytes, MF_ABI_GVA_END);
}

static bool page_aligned(uint64_t addr)
{
    return (addr & PAGE_MASK_LOW) == 0;
}

int addrspace_init(struct addrspace *as, struct vm *vm, struct mf_error *err)
{
    *as = (struct addrspace){.vm = vm};
    if (!reserve(as, FIRST_CAPACITY))
        return error_set(err, MF_E_NO_MEMORY, "no memory for the table of address ranges");
    return 0;
}

int addrspace_set(struct addrspace *as, const struct area *areas, size_t nareas, mf_gva brk_start,
                  mf_gva brk, struct mf_error *err)
{
    if (nareas > as->nareas && !reserve(as, nareas - as->nareas))
        return error_set(err, MF_E_NO_MEMORY, "no memory for the table of address ranges");
    memcpy(as->areas, areas, nareas * sizeof *areas);
    as->nareas = nareas;
    as->brk_start = brk_start;
    as->brk = brk;
    return 0;
}

void addrspace_fini(struct addrspace *as)
{
    free(as->areas);
    *as = (struct addrspace){0};
}

#define PREPARED_MMAP (UINT64_C(16) << 20)
#define PREPARED_BRK (UINT64_C(8) << 20)
/* With fewer pages left than this the guest needs them more. */
#define PREPARE_SPARE 1024

void addrspace_prepare(struct addrspace *as)
{
    struct mem *mem = as->vm->mem;
    mf_gva end = LAYOUT_GVA_MMAP;
    if (mem_pages_available(mem) < PREPARE_SPARE)
        return;
    for (size_t i = 0; i < as->nareas; i++)
        if (as->areas[i].kind == AREA_MMAP && as->areas[i].end <= LAYOUT_GVA_MMAP_END)
            end = MAX(end, as->areas[i].end);
    if (end + PREPARED_MMAP <= LAYOUT_GVA_MMAP_END)
        pt_make_tables(mem, end, PREPARED_MMAP / PAGE_BYTES);
    mf_gva brk = as->brk & ~PAGE_MASK_LOW;
    if (brk != 0 && brk + PREPARED_BRK <= LAYOUT_GVA_MMAP)
        pt_make_tables(mem, brk, PREPARED_BRK / PAGE_BYTES);
}

/* Checks and rounds the range of an area that the host adds, and makes room for it. */
static int prepare_add(struct addrspace *as, mf_gva start, uint64_t bytes, mf_gva *end,
                       struct mf_error *err)
{
    if (!page_aligned(start) || bytes == 0 || !add_u64(start, bytes, end) ||
        !round_up_u64(*end, PAGE_BYTES, end) || *end > MF_ABI_GVA_END)
        return error_set(err, MF_E_IMAGE, "no possible address range: %#llx, %llu bytes",
                         (unsigned long long)start, (unsigned long long)bytes);
    if (!range_free(as, start, *end))
        return error_set(err, MF_E_IMAGE, "the address range %#llx to %#llx is taken already",
                         (unsigned long long)start, (unsigned long long)*end);
    if (!reserve(as, 1))
        return error_set(err, MF_E_NO_MEMORY, "no memory for one more address range");
    return 0;
}

int addrspace_add(struct addrspace *as, mf_gva start, uint64_t bytes, unsigned prot,
                  enum area_kind kind, struct mf_error *err)
{
    mf_gva end;
    int code = prepare_add(as, start, bytes, &end, err);
    if (code == 0 && prot != PT_NONE)
        code = as->vm->ops->map(as->vm, start, (end - start) >> PAGE_SHIFT, page_prot(prot), err);
    if (code == 0)
        insert_area(as, (struct area){start, end, prot, kind, prot != PT_NONE});
    return code;
}

int addrspace_record(struct addrspace *as, mf_gva start, uint64_t bytes, unsigned prot,
                     enum area_kind kind, struct mf_error *err)
{
    mf_gva end;
    int code = prepare_add(as, start, bytes, &end, err);
    if (code == 0)
        insert_area(as, (struct area){start, end, prot, kind, prot != PT_NONE});
    return code;
}

int addrspace_add_host(struct addrspace *as, uint64_t bytes, unsigned prot, mf_gva *gva,
                       struct mf_error *err)
{
    mf_gva at = 0;
    if (bytes < LAYOUT_GVA_WINDOWS_END)
        at = find_place(as, LAYOUT_GVA_WINDOWS, LAYOUT_GVA_WINDOWS_END, bytes + PAGE_BYTES);
    if (at == 0)
        return error_set(err, MF_E_NO_MEMORY, "no guest addresses are left for %llu bytes",
                         (unsigned long long)bytes);
    if (!reserve(as, 2))
        return error_set(err, MF_E_NO_MEMORY, "no memory for one more address range");
    insert_area(as, (struct area){at, at + bytes, prot, AREA_HOST, true});
    insert_area(as, (struct area){at + bytes, at + bytes + PAGE_BYTES, PT_NONE, AREA_GUARD, false});
    *gva = at;
    return 0;
}

void addrspace_forget_host(struct addrspace *as, mf_gva gva, uint64_t bytes)
{
    remove_areas(as, gva, gva + bytes + PAGE_BYTES);
}

const struct area *addrspace_find(const struct addrspace *as, mf_gva gva)
{
    size_t i = index_after(as, gva);
    return i < as->nareas && as->areas[i].start <= gva ? &as->areas[i] : NULL;
}

void addrspace_set_brk(struct addrspace *as, mf_gva start)
{
    as->brk_start = start;
    as->brk = start;
}

/* The flags that mmap knows: 0 or -errno. */
static int64_t check_mmap_flags(uint64_t flags)
{
    uint64_t type = flags & LINUX_MAP_TYPE;
    /* There is one process, so shared anonymous memory is private to it anyway. */
    if (type != LINUX_MAP_PRIVATE && type != LINUX_MAP_SHARED)
        return -EINVAL;
    if (!(flags & LINUX_MAP_ANONYMOUS))
        return -ENODEV;
    if (flags & LINUX_MAP_HUGETLB)
        return -ENOMEM;
    /* Growing on a fault is not offered, and who asks for it relies on it. */
    if (flags & LINUX_MAP_GROWSDOWN)
        return -EINVAL;
    return 0;
}

/* Whether a new mapping may stand exactly there: 0 or -errno. */
static int64_t check_fixed(const struct addrspace *as, uint64_t addr, uint64_t bytes,
                           bool replaces)
{
    if (!page_aligned(addr))
        return -EINVAL;
    if (!inside_space(addr, bytes))
        return -ENOMEM;
    if (addr < MF_ABI_GVA_MIN)
        return -EPERM;
    if (!replaces && !range_free(as, addr, addr + bytes))
        return -EEXIST;
    return range_is_hosts(as, addr, addr + bytes) ? -EPERM : 0;
}

/* A place for a new mapping: at the hint if that is free. 0 when there is none. */
static mf_gva choose_place(const struct addrspace *as, uint64_t hint, uint64_t bytes,
                           bool low)
{
    hint = round_down_u64(hint, PAGE_BYTES);
    mf_gva end = low ? LOW_PLACES_END : MF_ABI_GVA_END;
    if (hint >= MF_ABI_GVA_MIN && range_inside(hint, bytes, end) &&
        range_free(as, hint, hint + bytes))
        return hint;
    if (low)
        return find_place(as, LOW_PLACES_START, LOW_PLACES_END, bytes);
    return find_place(as, LAYOUT_GVA_MMAP, LAYOUT_GVA_MMAP_END, bytes);
}

int64_t addrspace_mmap(struct addrspace *as, uint64_t addr, uint64_t len, uint64_t prot,
                       uint64_t flags)
{
    uint64_t bytes;
    if (len == 0)
        return -EINVAL;
    if (!round_up_u64(len, PAGE_BYTES, &bytes) || bytes > MF_ABI_GVA_END)
        return -ENOMEM;
    int64_t result = check_mmap_flags(flags);
    if (result < 0)
        return result;
    if (writes_and_executes(prot))
        return -EACCES;
    if (flags & (LINUX_MAP_FIXED | LINUX_MAP_FIXED_NOREPLACE)) {
        result = check_fixed(as, addr, bytes, !(flags & LINUX_MAP_FIXED_NOREPLACE));
        if (result < 0)
            return result;
    } else {
        addr = choose_place(as, addr, bytes, flags & LINUX_MAP_32BIT);
        if (addr == 0)
            return -ENOMEM;
    }
    result = replace(as, addr, addr + bytes, prot_from_linux(prot), AREA_MMAP);
    return result < 0 ? result : (int64_t)addr;
}

int64_t addrspace_munmap(struct addrspace *as, uint64_t addr, uint64_t len)
{
    uint64_t bytes;
    if (!page_aligned(addr) || len == 0 || !round_up_u64(len, PAGE_BYTES, &bytes) ||
        !inside_space(addr, bytes))
        return -EINVAL;
    return erase(as, addr, addr + bytes);
}

/* Whether all of the range is mapped and may be changed by the guest: 0 or -errno. */
static int64_t check_guests_own(const struct addrspace *as, mf_gva start, mf_gva end)
{
    struct piece piece;
    if (range_is_hosts(as, start, end))
        return -EPERM;
    for (mf_gva pos = start; piece_at(as, pos, end, &piece); pos = piece.end) {
        if (!piece.area)
            return -ENOMEM;
    }
    return 0;
}

int64_t addrspace_mprotect(struct addrspace *as, uint64_t addr, uint64_t len, uint64_t prot)
{
    uint64_t bytes;
    if (!page_aligned(addr) ||
        (prot & ~(uint64_t)(LINUX_PROT_READ | LINUX_PROT_WRITE | LINUX_PROT_EXEC |
                            LINUX_PROT_SEM)))
        return -EINVAL;
    if (len == 0)
        return 0;
    if (!round_up_u64(len, PAGE_BYTES, &bytes) || !inside_space(addr, bytes))
        return -ENOMEM;
    if (writes_and_executes(prot))
        return -EACCES;
    mf_gva end = addr + bytes;
    int64_t result = check_guests_own(as, addr, end);
    if (result < 0)
        return result;

    unsigned rights = prot_from_linux(prot);
    if (!reserve(as, cuts(as, addr, end)))
        return -ENOMEM;
    if (rights != PT_NONE && !fill_pages(as, addr, end, rights))
        return -ENOMEM;
    change_pages(as, addr, end, rights, false);
    cut_at(as, addr);
    cut_at(as, end);
    for (size_t i = index_after(as, addr); i < as->nareas && as->areas[i].start < end; i++) {
        as->areas[i].prot = rights;
        as->areas[i].backed = as->areas[i].backed || rights != PT_NONE;
    }
    merge(as);
    return 0;
}

/* A checked request of mremap. All sizes are whole pages. */
struct remap {
    mf_gva old;
    uint64_t old_bytes, new_bytes;
    struct area area; /* a copy of the area that holds all of the old range */
};

/* Makes an area longer where it is. False when it cannot be. */
static bool grow_in_place(struct addrspace *as, const struct remap *remap)
{
    mf_gva old_end = remap->old + remap->old_bytes;
    if (!inside_space(remap->old, remap->new_bytes) ||
        !range_free(as, old_end, remap->old + remap->new_bytes))
        return false;
    return replace(as, old_end, remap->old + remap->new_bytes, remap->area.prot,
                   remap->area.kind) == 0;
}

/*
 * Moves the pages of the old range to `to` and adds fresh ones behind them, up
 * to the new size, which is at least the old one. What was at `to` is gone, also
 * when the move fails for lack of memory (as on Linux).
 */
static int64_t move_area(struct addrspace *as, const struct remap *remap, mf_gva to)
{
    const struct area *area = &remap->area;
    mf_gva old_end = remap->old + remap->old_bytes;
    mf_gva middle = to + remap->old_bytes, to_end = to + remap->new_bytes;
    /* The new area and two cuts at each end of both ranges. */
    if (!reserve(as, cuts(as, remap->old, old_end) + cuts(as, to, to_end) + 2))
        return -ENOMEM;
    if (middle < to_end) {
        int64_t result = replace(as, middle, to_end, area->prot, AREA_MMAP);
        if (result < 0)
            return result;
    }
    drop_pages(as, to, middle);
    remove_areas(as, to, middle);
    if (area->backed) {
        uint64_t npages = remap->old_bytes >> PAGE_SHIFT;
        if (as->vm->ops->move(as->vm, remap->old, to, npages, NULL) != 0) {
            drop_pages(as, middle, to_end);
            remove_areas(as, middle, to_end);
            return -ENOMEM;
        }
    }
    remove_areas(as, remap->old, old_end);
    insert_area(as, (struct area){to, middle, area->prot, AREA_MMAP, area->backed});
    return (int64_t)to;
}

/* mremap with MREMAP_FIXED: to exactly `to`, replacing what is there. */
static int64_t remap_fixed(struct addrspace *as, struct remap *remap, uint64_t to)
{
    if (!page_aligned(to) || !inside_space(to, remap->new_bytes) ||
        (to < remap->old + remap->old_bytes && remap->old < to + remap->new_bytes))
        return -EINVAL;
    if (to < MF_ABI_GVA_MIN || range_is_hosts(as, to, to + remap->new_bytes))
        return -EPERM;
    if (remap->new_bytes < remap->old_bytes) {
        int64_t result = erase(as, remap->old + remap->new_bytes, remap->old + remap->old_bytes);
        if (result < 0)
            return result;
        remap->old_bytes = remap->new_bytes;
    }
    return move_area(as, remap, to);
}

/* Sizes and flags of mremap, and the area that it is about: 0 or -errno. */
static int64_t check_remap(const struct addrspace *as, uint64_t addr, uint64_t old_len,
                           uint64_t new_len, uint64_t flags, struct remap *remap)
{
    if ((flags & ~(uint64_t)(LINUX_MREMAP_MAYMOVE | LINUX_MREMAP_FIXED)) ||
        ((flags & LINUX_MREMAP_FIXED) && !(flags & LINUX_MREMAP_MAYMOVE)) ||
        !page_aligned(addr) || new_len == 0 ||
        !round_up_u64(old_len, PAGE_BYTES, &remap->old_bytes) ||
        !round_up_u64(new_len, PAGE_BYTES, &remap->new_bytes))
        return -EINVAL;
    const struct area *area = addrspace_find(as, addr);
    if (!area)
        return -EFAULT;
    if (remap->old_bytes == 0)
        return -EINVAL;
    if (!inside_space(addr, remap->old_bytes))
        return remap->new_bytes < remap->old_bytes ? -EINVAL : -EFAULT;
    if (range_is_hosts(as, addr, addr + remap->old_bytes))
        return -EPERM;
    remap->old = addr;
    remap->area = *area;
    return 0;
}

int64_t addrspace_mremap(struct addrspace *as, uint64_t addr, uint64_t old_len, uint64_t new_len,
                         uint64_t flags, uint64_t new_addr)
{
    struct remap remap;
    int64_t result = check_remap(as, addr, old_len, new_len, flags, &remap);
    if (result < 0)
        return result;
    mf_gva old_end = remap.old + remap.old_bytes;
    bool fixed = flags & LINUX_MREMAP_FIXED;
    if (!fixed && remap.new_bytes <= remap.old_bytes) {
        if (remap.new_bytes < remap.old_bytes)
            result = erase(as, remap.old + remap.new_bytes, old_end);
        return result < 0 ? result : (int64_t)addr;
    }
    /*
     * Only one area can be moved or made longer. (A reservation of which parts
     * had pages before is several areas here, where Linux might see one.)
     */
    mf_gva kept_end = remap.old + MIN(remap.old_bytes, remap.new_bytes);
    if (remap.area.end < kept_end)
        return -EFAULT;
    if (fixed)
        return remap_fixed(as, &remap, new_addr);
    if (grow_in_place(as, &remap))
        return (int64_t)addr;
    if (!(flags & LINUX_MREMAP_MAYMOVE))
        return -ENOMEM;
    mf_gva to = find_place(as, LAYOUT_GVA_MMAP, LAYOUT_GVA_MMAP_END, remap.new_bytes);
    return to == 0 ? -ENOMEM : move_area(as, &remap, to);
}

/* Whether brk may give the range back: nothing but heap and holes lies in it. */
static bool only_heap(const struct addrspace *as, mf_gva start, mf_gva end)
{
    struct piece piece;
    for (mf_gva pos = start; piece_at(as, pos, end, &piece); pos = piece.end) {
        if (piece.area && piece.area->kind != AREA_HEAP)
            return false;
    }
    return true;
}

int64_t addrspace_brk(struct addrspace *as, uint64_t addr)
{
    if (as->brk_start == 0 || addr < as->brk_start || !inside_space(addr, LAYOUT_BRK_GAP))
        return (int64_t)as->brk;
    mf_gva old_end = round_down_u64(as->brk + PAGE_MASK_LOW, PAGE_BYTES);
    mf_gva new_end = round_down_u64(addr + PAGE_MASK_LOW, PAGE_BYTES);
    bool done = true;
    if (new_end > old_end)
        done = range_free(as, old_end, new_end + LAYOUT_BRK_GAP) &&
               replace(as, old_end, new_end, PT_READ | PT_WRITE, AREA_HEAP) == 0;
    else if (new_end < old_end)
        done = only_heap(as, new_end, old_end) && erase(as, new_end, old_end) == 0;
    if (done)
        as->brk = addr;
    return (int64_t)as->brk;
}

/* What an advice asks for: 1 to take the contents away, 0 nothing, or -EINVAL. */
static int64_t check_advice(uint64_t advice)
{
    if (advice == LINUX_MADV_DONTNEED || advice == LINUX_MADV_DONTNEED_LOCKED)
        return 1;
    if (advice <= LINUX_MADV_WILLNEED || advice == LINUX_MADV_FREE ||
        (advice >= LINUX_MADV_DONTFORK && advice <= LINUX_MADV_POPULATE_WRITE))
        return 0;
    return -EINVAL;
}

int64_t addrspace_madvise(struct addrspace *as, uint64_t addr, uint64_t len, uint64_t advice)
{
    uint64_t bytes;
    int64_t result = check_advice(advice);
    if (result < 0)
        return result;
    if (!page_aligned(addr) || !round_up_u64(len, PAGE_BYTES, &bytes))
        return -EINVAL;
    if (bytes == 0)
        return 0;
    if (!inside_space(addr, bytes))
        return -ENOMEM;
    mf_gva end = addr + bytes;
    bool clears = result == 1;
    result = check_guests_own(as, addr, end);
    if (!clears || result == -EPERM)
        return result;

    struct piece piece;
    for (mf_gva pos = addr; piece_at(as, pos, end, &piece); pos = piece.end) {
        /* On Linux the image's bytes would come back from its file. */
        if (piece.area && piece.area->kind == AREA_IMAGE)
            return -EINVAL;
        if (piece_backed(&piece))
            as->vm->ops->discard(as->vm, piece.start, piece_pages(&piece));
    }
    return result;
}
