/*
 * Guest physical memory, page by page, and the addresses of the guest that the
 * host chooses. This is the one table of regions; the guest-visible addresses
 * of the contract are in abi/memory_map.h.
 */
#ifndef MEM_LAYOUT_H
#define MEM_LAYOUT_H

#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_BYTES (UINT64_C(1) << PAGE_SHIFT)
#define PAGE_MASK_LOW (PAGE_BYTES - 1)

/* A guest physical and a guest virtual address. */
typedef uint64_t mf_gpa;
typedef uint64_t mf_gva;

/*
 * Guest physical pages with a fixed use: region(NAME, first page, pages).
 * Everything behind the last one is handed out page by page (mem.h).
 * The first page stays empty, so that a zero page-table entry leads nowhere.
 */
#define LAYOUT_REGIONS(region)                                        \
    region(EMPTY, 0, 1)                                               \
    region(DESCRIPTORS, 1, 1)   /* GDT, TSS, I/O permission bitmap */ \
    region(IDT, 2, 1)                                                 \
    region(EXCEPTION_STUBS, 3, 1)                                     \
    region(SYSCALL_STUB, 4, 1)                                        \
    region(KERNEL_STACK, 5, 1)                                        \
    region(PML4, 6, 1)                                                \
    region(BOOT, 7, 1)                                                \
    region(RESUME, 8, 1)        /* the way into a loaded CPU state */ \
    region(FREE, 9, 0)

enum layout_page {
#define LAYOUT_ENUM(name, first, pages) LAYOUT_PAGE_##name = first,
    LAYOUT_REGIONS(LAYOUT_ENUM)
#undef LAYOUT_ENUM
};

#define LAYOUT_GPA(name) ((mf_gpa)LAYOUT_PAGE_##name << PAGE_SHIFT)

/*
 * The supervisor's virtual addresses: page n of the fixed regions stands at
 * LAYOUT_GVA_KERNEL + n * 4096, above the guest's own addresses. Only the pages
 * that the CPU itself needs are mapped there; page tables are mapped nowhere.
 *
 * In the lower half, because a KVM without hardware support runs CPL 3 natively
 * beside its own kernel: there CPL 3 can execute nothing in the upper half, and
 * the SYSCALL stub must be executable at CPL 3.
 */
#define LAYOUT_GVA_KERNEL UINT64_C(0x00007fff80000000)
#define LAYOUT_GVA(name) (LAYOUT_GVA_KERNEL + LAYOUT_GPA(name))

/* Where a static-pie image is loaded. */
#define LAYOUT_GVA_PIE UINT64_C(0x0000100000000000)

/* mmap places without a hint grow up from here. */
#define LAYOUT_GVA_MMAP UINT64_C(0x0000200000000000)
#define LAYOUT_GVA_MMAP_END UINT64_C(0x0000500000000000)

/*
 * Memory of the host that is mapped into the guest (map.c), each piece with a page
 * behind it where nothing is.
 */
#define LAYOUT_GVA_WINDOWS UINT64_C(0x0000500000000000)
#define LAYOUT_GVA_WINDOWS_END UINT64_C(0x00005fff00000000)

/* The addresses that a guest can name are below: the lower half of the address space. */
#define LAYOUT_GVA_USER_END (UINT64_C(1) << 47)

/* The stack ends here and grows down; below its lowest page lies the guard. */
#define LAYOUT_GVA_STACK_TOP UINT64_C(0x00007ff000000000)
#define LAYOUT_STACK_GUARD (UINT64_C(1) << 20)

/*
 * Where no image may lie: mapped host memory (above), and all that the boot page, the
 * mailbox and the stack can ever take, whatever the options of the sandbox say.
 */
#define LAYOUT_GVA_SYSTEM UINT64_C(0x00005ffffff00000) /* MF_ABI_GVA_BOOT and a guard below */
#define LAYOUT_GVA_SYSTEM_END UINT64_C(0x0000601000000000)
#define LAYOUT_GVA_STACK_LOWEST (LAYOUT_GVA_STACK_TOP - (UINT64_C(64) << 30) - LAYOUT_STACK_GUARD)

/* brk starts this far behind the image. */
#define LAYOUT_BRK_GAP (UINT64_C(16) << PAGE_SHIFT)

#endif
