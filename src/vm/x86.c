/* Builds the system pages: GDT, TSS with its I/O permission bitmap, IDT, stubs. */
#include "vm/x86.h"

#include "base/checked.h"
#include "mem/pagetable.h"

#include <string.h>

#define DESC_KERNEL_CODE UINT64_C(0x00af9b000000ffff) /* present, DPL 0, code, long */
#define DESC_KERNEL_DATA UINT64_C(0x00cf93000000ffff)
#define DESC_USER_DATA UINT64_C(0x00cff3000000ffff) /* DPL 3 */
#define DESC_USER_CODE UINT64_C(0x00affb000000ffff)
#define DESC_TYPE_TSS_BUSY 0x8b /* present, 64-bit TSS, busy: it is loaded */

#define GATE_INTERRUPT 0x8e /* present, DPL 0 */
#define GATE_DPL3 0x60

#define VECTOR_BREAKPOINT 3
#define VECTOR_OVERFLOW 4

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3, bitmap;
} __attribute__((packed));

_Static_assert(sizeof(struct tss) == X86_TSS_BITMAP, "the bitmap follows the TSS");
_Static_assert(X86_TSS_OFFSET + X86_TSS_LIMIT < PAGE_BYTES, "one page for GDT and TSS");

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_mid;
    uint32_t offset_high, reserved;
};

bool x86_has_error_code(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 ||
           vector == 29 || vector == 30;
}

static void build_descriptors(struct mem *mem)
{
    uint64_t gdt[7] = {0, DESC_KERNEL_CODE, DESC_KERNEL_DATA, DESC_USER_DATA, DESC_USER_CODE};
    uint64_t base = X86_TSS_GVA;
    gdt[5] = X86_TSS_LIMIT | (base & 0xffffff) << 16 | (uint64_t)DESC_TYPE_TSS_BUSY << 40 |
             (base >> 24 & 0xff) << 56;
    gdt[6] = base >> 32;
    uint8_t *page = mem_at(mem, LAYOUT_GPA(DESCRIPTORS));
    memcpy(page, gdt, sizeof gdt);

    /*
     * Exceptions always switch to the interrupt stack 1, also from CPL 0: with
     * SYSCALL the stub runs on a stack pointer that the guest chose.
     */
    struct tss tss = {.bitmap = X86_TSS_BITMAP};
    tss.rsp[0] = X86_KERNEL_STACK_TOP;
    tss.ist[0] = X86_KERNEL_STACK_TOP;
    memcpy(page + X86_TSS_OFFSET, &tss, sizeof tss);
    /* A set bit closes a port; the byte behind the bitmap must be all ones. */
    memset(page + X86_TSS_OFFSET + X86_TSS_BITMAP, 0xff, X86_TSS_PORTS / 8 + 1);
}

void x86_allow_port(struct mem *mem, uint16_t port, bool allow)
{
    uint8_t *bitmap = (uint8_t *)mem_at(mem, LAYOUT_GPA(DESCRIPTORS)) + X86_TSS_OFFSET +
                      X86_TSS_BITMAP;
    uint8_t bit = (uint8_t)(1u << port % 8);
    if (!(bitmap[port / 8] & bit) == allow)
        return;
    bitmap[port / 8] ^= bit;
    mem_mark(mem, LAYOUT_GPA(DESCRIPTORS), PAGE_BYTES);
}

static void build_idt(struct mem *mem)
{
    struct gate *idt = mem_at(mem, LAYOUT_GPA(IDT));
    for (unsigned vector = 0; vector < X86_VECTORS; vector++) {
        uint64_t stub = X86_STUB_GVA + vector * X86_STUB_BYTES;
        bool user = vector == VECTOR_BREAKPOINT || vector == VECTOR_OVERFLOW;
        idt[vector] = (struct gate){
            .offset_low = (uint16_t)stub,
            .offset_mid = (uint16_t)(stub >> 16),
            .offset_high = (uint32_t)(stub >> 32),
            .selector = X86_SEL_KERNEL_CODE,
            .ist = 1,
            .type = GATE_INTERRUPT | (user ? GATE_DPL3 : 0),
        };
    }
}

static void build_stubs(struct mem *mem)
{
    /* out %al, $port; then stay: the host never resumes a stub of an exception. */
    static const uint8_t exception[] = {0xe6, X86_PORT_EXCEPTION, 0xeb, 0xfc};
    static const uint8_t syscall[] = {0xe6, X86_PORT_SYSCALL, 0x48, 0x0f, 0x07};
    static const uint8_t selftest[] = {0x0f, 0x01, 0xd0, 0x0f, 0x05, 0x0f, 0x0b};

    uint8_t *stubs = mem_at(mem, LAYOUT_GPA(EXCEPTION_STUBS));
    for (unsigned vector = 0; vector < X86_VECTORS; vector++)
        memcpy(stubs + vector * X86_STUB_BYTES, exception, sizeof exception);
    uint8_t *page = mem_at(mem, LAYOUT_GPA(SYSCALL_STUB));
    memcpy(page, syscall, sizeof syscall);
    memcpy(page + (X86_SELFTEST_XCR0_GVA - X86_SYSCALL_GVA), selftest, sizeof selftest);
}

/* Writes an instruction whose operand is at `target` of the same page, relative to RIP. */
static uint8_t *put_relative(uint8_t *page, uint8_t *at, const char *opcode, size_t n,
                             size_t target)
{
    memcpy(at, opcode, n);
    at += n + sizeof(int32_t);
    int32_t distance = (int32_t)target - (int32_t)(at - page);
    memcpy(at - sizeof distance, &distance, sizeof distance);
    return at;
}

/*
 * On some AMD processors loading x87 state without a pending exception leaves the
 * pointers to the last x87 instruction as they were; FILD makes them ours. EMMS and FNCLEX
 * make sure that it does not fault.
 */
void x86_resume_write(struct mem *mem, const struct x86_resume *resume, bool xsave)
{
    static const uint8_t clear[] = {0xdb, 0xe2, 0x0f, 0x77}; /* fnclex; emms */
    const size_t rax = X86_RESUME_REGS + offsetof(struct x86_resume, rax);
    const size_t rdx = X86_RESUME_REGS + offsetof(struct x86_resume, rdx);
    const size_t rip = X86_RESUME_REGS + offsetof(struct x86_resume, rip);
    uint8_t *page = mem_at(mem, LAYOUT_GPA(RESUME));
    uint8_t *at = page;
    memcpy(at, clear, sizeof clear);
    at += sizeof clear;
    at = put_relative(page, at, "\xdb\x05", 2, X86_RESUME_REGS); /* fildl */
    /* xrstor64 or fxrstor64 */
    at = put_relative(page, at, xsave ? "\x48\x0f\xae\x2d" : "\x48\x0f\xae\x0d", 4,
                      X86_RESUME_IMAGE);
    at = put_relative(page, at, "\x48\x8b\x05", 3, rax); /* mov to RAX */
    at = put_relative(page, at, "\x48\x8b\x15", 3, rdx); /* mov to RDX */
    put_relative(page, at, "\xff\x25", 2, rip);          /* jmp */
    memcpy(page + X86_RESUME_REGS, resume, sizeof *resume);
}

bool x86_build(struct mem *mem, uint16_t port_first, uint16_t port_last)
{
    static const struct {
        mf_gpa gpa;
        unsigned prot;
    } pages[] = {
        {LAYOUT_GPA(DESCRIPTORS), PT_READ | PT_WRITE},
        {LAYOUT_GPA(IDT), PT_READ},
        {LAYOUT_GPA(EXCEPTION_STUBS), PT_READ | PT_EXEC},
        {LAYOUT_GPA(SYSCALL_STUB), PT_READ | PT_EXEC | PT_USER},
        {LAYOUT_GPA(KERNEL_STACK), PT_READ | PT_WRITE},
        {LAYOUT_GPA(RESUME), PT_READ | PT_EXEC | PT_USER},
    };
    for (size_t i = 0; i < ARRAY_LEN(pages); i++)
        if (!pt_map(mem, LAYOUT_GVA_KERNEL + pages[i].gpa, pages[i].gpa, pages[i].prot))
            return false;
    build_descriptors(mem);
    build_idt(mem);
    build_stubs(mem);
    mem_mark(mem, 0, LAYOUT_GPA(FREE));
    for (unsigned port = port_first; port <= port_last; port++)
        x86_allow_port(mem, (uint16_t)port, true);
    return true;
}

bool x86_is_prefix(uint8_t byte)
{
    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3:
        return true;
    default:
        return false;
    }
}
