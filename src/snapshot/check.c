/* Checks the state of a snapshot from outside; see check.h. */
#include "snapshot/check.h"

#include "abi/mailbox.h"
#include "abi/memory_map.h"
#include "base/checked.h"
#include "base/error.h"
#include "mem/pagetable.h"
#include "snapshot/format.h"
#include "snapshot/system.h"

#include <stdlib.h>

/* What mf_sandbox_create allows. */
#define MEMORY_MIN (UINT64_C(1) << 20)
#define STACK_MIN (UINT64_C(16) << 10)
#define MAILBOX_MIN (UINT64_C(4) << 10)
#define MAILBOX_MAX (UINT64_C(1) << 30)

/* Clocks beyond this (292 years) would wrap in sums with times of the guest. */
#define CLOCK_MAX (UINT64_C(1) << 63)

#define COMPONENTS \
    ((uint64_t)(VM_X87 | VM_SSE | VM_AVX | VM_OPMASK | VM_ZMM_HIGH | VM_ZMM_MORE))

static int wrong(struct mf_error *err, const char *what)
{
    return error_set(err, MF_E_SNAPSHOT, "the state cannot be: %s", what);
}

static bool page_aligned(uint64_t a)
{
    return (a & PAGE_MASK_LOW) == 0;
}

/* Free pages exist, were handed out before, and none is there twice. */
static int check_free(const struct saved_state *saved, struct mf_error *err)
{
    uint64_t *seen = calloc(saved->mem_next / 64 + 1, sizeof *seen);
    if (!seen)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a map of free pages");
    bool ok = true;
    for (uint32_t i = 0; ok && i < saved->mem_nfree; i++) {
        uint32_t page = saved->mem_free[i];
        ok = page >= LAYOUT_PAGE_FREE && page < saved->mem_next &&
             !(seen[page / 64] >> (page % 64) & 1);
        if (ok)
            seen[page / 64] |= UINT64_C(1) << (page % 64);
    }
    free(seen);
    return ok ? 0 : wrong(err, "its free pages");
}

static int check_sizes(const struct saved_state *saved, struct mf_error *err)
{
    if (!page_aligned(saved->memory_bytes) || saved->memory_bytes < MEMORY_MIN ||
        saved->memory_bytes > FORMAT_MEMORY_MAX)
        return wrong(err, "its size of memory");
    if (saved->mem_next < LAYOUT_PAGE_FREE || saved->mem_next > saved->memory_bytes >> PAGE_SHIFT ||
        saved->mem_nfree > saved->mem_next - LAYOUT_PAGE_FREE)
        return wrong(err, "its pages in use");
    if (saved->stack_bytes < STACK_MIN || saved->stack_bytes > saved->memory_bytes ||
        !page_aligned(saved->stack_high) || saved->stack_high > MF_ABI_GVA_END ||
        saved->stack_high < saved->stack_bytes ||
        saved->stack_low != saved->stack_high - saved->stack_bytes ||
        !page_aligned(saved->stack_low))
        return wrong(err, "its stack");
    if (!is_power_of_two(saved->mailbox_bytes) || saved->mailbox_bytes < MAILBOX_MIN ||
        saved->mailbox_bytes > MAILBOX_MAX)
        return wrong(err, "the size of its mailbox");
    return check_free(saved, err);
}

/* The areas of the contract, in rising order; returns how many. */
static size_t system_areas(const struct saved_state *saved, struct area areas[SYSTEM_AREAS])
{
    struct system_place places[SYSTEM_AREAS];
    size_t n = system_places(saved, places);
    for (size_t i = 0; i < n; i++)
        areas[i] = (struct area){
            .start = places[i].gva,
            .end = places[i].gva + places[i].times * places[i].bytes,
            .prot = places[i].prot,
            .kind = AREA_SYSTEM,
            .backed = true,
        };
    return n;
}

static bool right_area(const struct area *area, mf_gva after)
{
    unsigned prot = area->prot;
    if (!page_aligned(area->start) || !page_aligned(area->end) || area->start < after ||
        area->start >= area->end || area->end > MF_ABI_GVA_END)
        return false;
    if (prot != PT_NONE && prot != PT_READ && prot != (PT_READ | PT_WRITE) &&
        prot != (PT_READ | PT_EXEC))
        return false;
    switch (area->kind) {
    case AREA_IMAGE:
    case AREA_HEAP:
    case AREA_MMAP:
    case AREA_STACK:
    case AREA_SYSTEM:
        /* Without rights an area may still have its pages. */
        return area->backed ? area->start >= MF_ABI_GVA_MIN : prot == PT_NONE;
    case AREA_GUARD:
        return prot == PT_NONE && !area->backed;
    case AREA_HOST:
        break;
    }
    return false;
}

static int check_areas(const struct saved_state *saved, struct mf_error *err)
{
    struct area system[SYSTEM_AREAS];
    size_t nsystem = system_areas(saved, system), found = 0;
    mf_gva after = 0;
    for (size_t i = 0; i < saved->nareas; i++) {
        const struct area *area = &saved->areas[i];
        if (!right_area(area, after))
            return error_set(err, MF_E_SNAPSHOT,
                             "the state cannot be: its area %#llx to %#llx (kind %d, rights %u)",
                             (unsigned long long)area->start, (unsigned long long)area->end,
                             (int)area->kind, area->prot);
        after = area->end;
        if (area->kind != AREA_SYSTEM)
            continue;
        if (found == nsystem || area->start != system[found].start ||
            area->end != system[found].end || area->prot != system[found].prot || !area->backed)
            return wrong(err, "where its boot page and mailbox are");
        found++;
    }
    if (found != nsystem)
        return wrong(err, "it has no boot page or mailbox");
    if (saved->brk_start == 0 ? saved->brk != 0
                              : !page_aligned(saved->brk_start) || saved->brk < saved->brk_start ||
                                    saved->brk > MF_ABI_GVA_END)
        return wrong(err, "its program break");
    return 0;
}

/* A ring or the exchange area: adjacent pages that were handed out, at its place. */
static bool right_place(const struct saved_state *saved, const struct saved_area *area,
                        uint64_t offset)
{
    return area->size == saved->mailbox_bytes && area->offset == offset &&
           page_aligned(area->gpa) && area->gpa >= LAYOUT_GPA(FREE) &&
           range_inside(area->gpa, area->size, (uint64_t)saved->mem_next << PAGE_SHIFT);
}

static int check_mailbox(const struct saved_state *saved, const struct mf_image *image,
                         struct mf_error *err)
{
    if ((saved->control_gpa != 0) != (image->abi_version != 0))
        return wrong(err, "a mailbox for a program without the SDK, or none for one with it");
    if (saved->control_gpa == 0)
        return 0;
    uint64_t bytes = saved->mailbox_bytes, gap = PAGE_BYTES;
    uint64_t call = PAGE_BYTES + gap, result = call + 2 * bytes + gap;
    struct saved_area control = {.gpa = saved->control_gpa, .size = PAGE_BYTES};
    if (!page_aligned(control.gpa) || control.gpa < LAYOUT_GPA(FREE) ||
        !range_inside(control.gpa, PAGE_BYTES, (uint64_t)saved->mem_next << PAGE_SHIFT) ||
        !right_place(saved, &saved->call_ring, call) ||
        !right_place(saved, &saved->result_ring, result) ||
        !right_place(saved, &saved->exchange, result + 2 * bytes + gap))
        return wrong(err, "the places of its mailbox");
    const struct saved_area *areas[] = {&control, &saved->call_ring, &saved->result_ring,
                                        &saved->exchange};
    for (size_t i = 0; i < ARRAY_LEN(areas); i++)
        for (size_t k = 0; k < i; k++)
            if (areas[i]->gpa < areas[k]->gpa + areas[k]->size &&
                areas[k]->gpa < areas[i]->gpa + areas[i]->size)
                return wrong(err, "parts of its mailbox overlap");
    if (saved->call_tail % MF_ABI_FRAME_ALIGN != 0 || saved->result_head % MF_ABI_FRAME_ALIGN != 0)
        return wrong(err, "the indices of its mailbox");
    return 0;
}

static int check_pending(const struct saved_state *saved, const struct mf_image *image,
                         struct mf_error *err)
{
    enum mf_stopped kind = saved->pending.kind;
    bool sdk = image->abi_version != 0;
    if (saved->started > 1 || (saved->started == 0 && kind != MF_STOPPED_NOTHING))
        return wrong(err, "whether it has begun");
    switch (kind) {
    case MF_STOPPED_NOTHING:
        /* Who waits for calls has a mailbox. */
        return saved->started == 0 || sdk ? 0 : wrong(err, "what it waits for");
    case MF_STOPPED_RUN:
        return 0;
    case MF_STOPPED_START:
        return sdk ? 0 : wrong(err, "what it was stopped in");
    case MF_STOPPED_CALL:
        return saved->pending.function < image->nexports
                   ? 0
                   : wrong(err, "the function that it was stopped in");
    }
    return wrong(err, "what it was stopped in");
}

int check_state(const struct saved_state *saved, const struct mf_image *image,
                struct mf_error *err)
{
    int rc = check_sizes(saved, err);
    if (rc == 0)
        rc = check_mailbox(saved, image, err);
    if (rc == 0)
        rc = check_areas(saved, err);
    if (rc == 0)
        rc = check_pending(saved, image, err);
    if (rc == 0 && (saved->monotonic_ns >= CLOCK_MAX || saved->cpu_ns >= CLOCK_MAX))
        rc = wrong(err, "its clocks");
    if (rc == 0 && saved->cpu.fpu.components & ~COMPONENTS)
        rc = wrong(err, "parts of the CPU that this version does not know");
    if (rc == 0 && saved->backend != MF_BACKEND_KVM && saved->backend != MF_BACKEND_SOFT)
        rc = wrong(err, "where it was taken");
    return rc;
}
