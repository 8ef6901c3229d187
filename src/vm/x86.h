/*
 * The x86-64 system state that both backends load: descriptor tables, stubs and
 * control registers. The guest runs at CPL 3 from its first instruction on; at
 * CPL 0 there are only stubs that hand an event to the host:
 *
 *   exception stub of vector n, supervisor only:  out %al, $X86_PORT_EXCEPTION
 *   SYSCALL stub, executable at CPL 3 as well:    out %al, $X86_PORT_SYSCALL; sysretq
 *
 * Beside them is the resume page, through which a CPU state is loaded at CPL 3 without
 * the host's help: its code loads x87 to AVX from an image in the same page, then the
 * registers that it needed for that, and jumps to where the state goes on. The
 * guest can read and execute the page, and finds nothing there but its own state.
 *
 * (On some hosts SYSCALL does not leave CPL 3; hence the page that CPL 3 may
 * execute. The port of the syscall stub is opened in the I/O permission bitmap on
 * such hosts only, once a backend has found out.)
 *
 * Sources: AMD64 APM vol. 2, 3.1 (control registers), 4.7 (descriptors), 8
 * (exceptions), 12.2.5 (TSS).
 */
#ifndef VM_X86_H
#define VM_X86_H

#include "mem/mem.h"

/* Ports of the stubs. Outside of what the guest may use by itself. */
#define X86_PORT_SYSCALL 0xb8
#define X86_PORT_EXCEPTION 0xb9

/* Selectors. SYSRET wants user data right before user code. */
#define X86_SEL_KERNEL_CODE 0x08
#define X86_SEL_KERNEL_DATA 0x10
#define X86_SEL_USER_DATA 0x1b
#define X86_SEL_USER_CODE 0x23
#define X86_SEL_TSS 0x28

/* The descriptors page: GDT at its start, TSS behind it. */
#define X86_GDT_GVA LAYOUT_GVA(DESCRIPTORS)
#define X86_GDT_LIMIT 0x37 /* five descriptors of 8 bytes, one of 16 */
#define X86_TSS_OFFSET 0x80
#define X86_TSS_GVA (X86_GDT_GVA + X86_TSS_OFFSET)
#define X86_TSS_BITMAP 104 /* offset of the I/O permission bitmap in the TSS */
#define X86_TSS_PORTS 256  /* ports that the bitmap covers; all others are closed */
#define X86_TSS_LIMIT (X86_TSS_BITMAP + X86_TSS_PORTS / 8)
#define X86_IDT_GVA LAYOUT_GVA(IDT)

/* Vectors with a gate; higher ones are beyond the IDT's limit and give #GP. */
#define X86_VECTORS 32
#define X86_IDT_LIMIT (X86_VECTORS * 16 - 1)

/* The stub of vector n begins at n * 16 of the stub page. */
#define X86_STUB_BYTES 16
#define X86_STUB_GVA LAYOUT_GVA(EXCEPTION_STUBS)

/* In the syscall page: the stub, its SYSRETQ, and the self-test of a backend. */
#define X86_SYSCALL_GVA LAYOUT_GVA(SYSCALL_STUB)
#define X86_SYSRET_GVA (X86_SYSCALL_GVA + 2)
#define X86_SELFTEST_GVA (X86_SYSCALL_GVA + 64) /* syscall; ud2 */
#define X86_SELFTEST_XCR0_GVA (X86_SELFTEST_GVA - 3) /* xgetbv, then the same */

/* The resume page. With XSAVE, RDX:RAX must be all ones on entry. */
#define X86_RESUME_GVA LAYOUT_GVA(RESUME)
#define X86_RESUME_REGS 0x80   /* struct x86_resume */
#define X86_RESUME_IMAGE 0x100 /* XSAVE or FXSAVE image, to the end of the page */
#define X86_RESUME_IMAGE_BYTES (PAGE_BYTES - X86_RESUME_IMAGE)

/* What the code of the resume page loads last. */
struct x86_resume {
    uint64_t rax, rdx, rip;
};

/* Exceptions push their frame here, downwards. */
#define X86_KERNEL_STACK_TOP (LAYOUT_GVA(KERNEL_STACK) + PAGE_BYTES)

/* The frame that an exception leaves on the kernel stack, lowest address first. */
struct x86_exception_frame {
    uint64_t rip, cs, rflags, rsp, ss;
};

/* Control registers of the running guest. */
#define X86_CR0 UINT64_C(0x80010033) /* PG WP NE ET MP PE */
#define X86_CR4_BASE UINT64_C(0x620) /* OSXMMEXCPT OSFXSR PAE */
#define X86_CR4_OSXSAVE (UINT64_C(1) << 18)
#define X86_EFER UINT64_C(0xd01) /* NXE LMA LME SCE */
#define X86_RFLAGS UINT64_C(0x202)
/* What code at CPL 3 can set: CF PF AF ZF SF TF DF OF NT AC ID. */
#define X86_RFLAGS_USER UINT64_C(0x244dd5)
/* What SYSCALL clears: everything but the fixed bit, so TF, IF, DF, AC, NT too. */
#define X86_SFMASK UINT64_C(0x257fd5)
/* SYSRET adds 16 and 8 to bits 63:48; SYSCALL takes bits 47:32. */
#define X86_STAR \
    (((uint64_t)(X86_SEL_USER_DATA - 8) << 48) | ((uint64_t)X86_SEL_KERNEL_CODE << 32))
#define X86_MXCSR 0x1f80
#define X86_FCW 0x37f

#define X86_MSR_STAR 0xc0000081
#define X86_MSR_LSTAR 0xc0000082
#define X86_MSR_SFMASK 0xc0000084
#define X86_MSR_FS_BASE 0xc0000100
#define X86_MSR_GS_BASE 0xc0000101

/*
 * Writes the system pages of layout.h and maps those that the CPU needs for the
 * supervisor. `port_first`..`port_last` are the ports that the guest may write
 * to at CPL 3. False when memory has no page left for the tables.
 */
bool x86_build(struct mem *mem, uint16_t port_first, uint16_t port_last);

/*
 * Writes the code and the last registers of the resume page; the image is the
 * caller's to write. `xsave`: by XRSTOR, else by FXRSTOR.
 */
void x86_resume_write(struct mem *mem, const struct x86_resume *resume, bool xsave);

/* Opens or closes one port (below X86_TSS_PORTS) for CPL 3. */
void x86_allow_port(struct mem *mem, uint16_t port, bool allow);

/* Whether the byte is a legacy prefix of an instruction (AMD64 APM vol. 3, 1.2.1). */
bool x86_is_prefix(uint8_t byte);

/* Whether the exception pushes an error code below its frame. */
bool x86_has_error_code(unsigned vector);

#endif
