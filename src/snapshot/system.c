/* System pages of a snapshot; see system.h. */
#include "snapshot/system.h"

#include "abi/memory_map.h"
#include "abi/ports.h"
#include "base/error.h"
#include "vm/x86.h"

#include <string.h>

/* Enough for the fixed pages and the tables that map them. */
#define SYSTEM_PAGES 32

size_t system_places(const struct saved_state *saved, struct system_place places[SYSTEM_AREAS])
{
    size_t n = 0;
    places[n++] = (struct system_place){MF_ABI_GVA_BOOT, LAYOUT_GPA(BOOT), PAGE_BYTES, 1, PT_READ};
    if (saved->control_gpa == 0)
        return n;
    const struct saved_area control = {.gpa = saved->control_gpa, .size = PAGE_BYTES};
    const struct saved_area *areas[] = {&control, &saved->call_ring, &saved->result_ring,
                                        &saved->exchange};
    static const unsigned times[] = {1, 2, 2, 1};
    for (size_t i = 0; i < sizeof areas / sizeof areas[0]; i++)
        places[n++] = (struct system_place){
            .gva = MF_ABI_GVA_MAILBOX + areas[i]->offset,
            .gpa = areas[i]->gpa,
            .bytes = areas[i]->size,
            .times = times[i],
            .prot = PT_READ | PT_WRITE,
        };
    return n;
}

int system_init(struct system *system, struct mf_error *err)
{
    int rc = mem_init(&system->mem, SYSTEM_PAGES * PAGE_BYTES, err);
    if (rc != 0)
        return rc;
    if (x86_build(&system->mem, MF_ABI_PORT_FIRST, MF_ABI_PORT_LAST))
        return 0;
    system_fini(system);
    return error_set(err, MF_E_NO_MEMORY, "cannot build the system pages");
}

void system_fini(struct system *system)
{
    mem_fini(&system->mem);
}

bool system_mapping(const struct system *system, mf_gva gva, struct pt_page *page)
{
    return pt_lookup(&system->mem, gva, page);
}

unsigned system_mappings(const struct system *system)
{
    struct pt_page page;
    unsigned n = 0;
    for (uint64_t i = 0; i < LAYOUT_PAGE_FREE; i++)
        n += pt_lookup(&system->mem, LAYOUT_GVA_KERNEL + i * PAGE_BYTES, &page);
    return n;
}

void system_renew(const struct system *system, uint32_t page, uint8_t *contents)
{
    const size_t at = X86_TSS_OFFSET + X86_TSS_BITMAP + X86_PORT_SYSCALL / 8;
    const uint8_t bit = 1u << X86_PORT_SYSCALL % 8;
    uint8_t port = contents[at] & bit;
    switch (page) {
    case LAYOUT_PAGE_EMPTY:
    case LAYOUT_PAGE_DESCRIPTORS:
    case LAYOUT_PAGE_IDT:
    case LAYOUT_PAGE_EXCEPTION_STUBS:
    case LAYOUT_PAGE_SYSCALL_STUB:
        memcpy(contents, mem_at(&system->mem, (mf_gpa)page << PAGE_SHIFT), PAGE_BYTES);
        break;
    default:
        return;
    }
    if (page == LAYOUT_PAGE_DESCRIPTORS)
        contents[at] = (uint8_t)((contents[at] & ~bit) | port);
}
