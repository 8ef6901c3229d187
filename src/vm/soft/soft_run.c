/*
 * Running the guest, and telling why it stopped.
 *
 * Every run begins with a jump in the code page (struct soft_code_page). A hook on each
 * block of translated code looks whether an interrupt is wanted, and stops the CPU there.
 * Unicorn can also be told to stop from any thread, but its program counter is then that
 * of some earlier block: blocks of one page jump to each other without writing it. The
 * hook is told where it is, and comes before the block's first instruction, so what was
 * run and what is in the registers agree. (Do not ask Unicorn where the hook stopped it:
 * it knows that only as long as there is no hook on instructions, as in soft_port.c.)
 * The hook costs about 3 ns for each block.
 *
 * Port instructions: to leave right after the instruction, with all registers as they
 * then are, a breakpoint on the port is made when the hook learns of the access;
 * it traps as #DB before the next instruction. (The flags need more: soft_port.c.)
 *
 * Data accesses that the guest may not make raise #PF in the CPU, which brings exact
 * registers, but no error code, and only where Unicorn knows memory; so where it does
 * not, the hook puts a page there for the moment (which the page tables protect) and
 * remembers what kind of access it was.
 */
#include "vm/soft/soft.h"

#include "base/error.h"
#include "mem/pagetable.h"
#include "vm/x86.h"

#include <stdio.h>
#include <string.h>

enum {
    VECTOR_DE = 0,
    VECTOR_DB = 1,
    VECTOR_BP = 3,
    VECTOR_OF = 4,
    VECTOR_UD = 6,
    VECTOR_DF = 8,
    VECTOR_TS = 10,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
};

#define PF_PRESENT 1
#define PF_WRITE 2
#define PF_USER 4
#define PF_FETCH 16
#define ERROR_IDT 2 /* error code: an index of the IDT, in units of 8 */

#define RFLAGS_TF UINT64_C(0x100)
#define RFLAGS_RF UINT64_C(0x10000)

#define INSN_BYTES_MAX 15
/* More instructions do not fit between a translated block's start and its page's end. */
#define STEPS_MAX 4096

static struct soft_vm *vm_of(void *context)
{
    return context;
}

/*
 * The CPU is at the beginning of a block. While soft_state.c has it at CPL 0 for work of
 * its own, only arriving at CPL 3 may end that.
 */
static void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *context)
{
    (void)size;
    struct soft_vm *soft = vm_of(context);
    if (soft->supervising ? address == SOFT_GVA_CODE
                          : atomic_load_explicit(&soft->stop, memory_order_relaxed) ||
                                soft->ports.found) {
        soft->halt.seen = true;
        soft->halt.gva = address;
        uc_emu_stop(uc);
    }
}

void soft_interrupt(struct vm *vm)
{
    atomic_store(&((struct soft_vm *)vm)->stop, true);
}

static void on_port(struct soft_vm *soft, uint32_t port, int bytes, bool in)
{
    soft->io.pending = true;
    soft->io.in = in;
    soft->io.port = port;
    soft->io.bytes = (uint32_t)bytes;
    soft->io.rax = soft_read(soft, UC_X86_REG_RAX);
    soft->io.rcx = soft_read(soft, UC_X86_REG_RCX);
    soft->io.rsi = soft_read(soft, UC_X86_REG_RSI);
    soft->io.rdi = soft_read(soft, UC_X86_REG_RDI);
    soft_write(soft, UC_X86_REG_DR0, port);
}

static void on_out(uc_engine *uc, uint32_t port, int bytes, uint32_t value, void *context)
{
    (void)uc;
    (void)value;
    on_port(vm_of(context), port, bytes, false);
}

static uint32_t on_in(uc_engine *uc, uint32_t port, int bytes, void *context)
{
    (void)uc;
    on_port(vm_of(context), port, bytes, true);
    return 0;
}

static void on_syscall(uc_engine *uc, void *context)
{
    vm_of(context)->event = SOFT_SYSCALL;
    uc_emu_stop(uc);
}

static void on_exception(uc_engine *uc, uint32_t vector, void *context)
{
    struct soft_vm *soft = vm_of(context);
    bool port = vector == VECTOR_DB && soft->io.pending;
    soft->event = port ? SOFT_IO : SOFT_VECTOR;
    soft->vector = vector;
    uc_emu_stop(uc);
}

static bool on_invalid_instruction(uc_engine *uc, void *context)
{
    (void)uc;
    vm_of(context)->event = SOFT_VECTOR;
    vm_of(context)->vector = VECTOR_UD;
    return false;
}

/*
 * An access that Unicorn itself does not allow. True lets it go on to the page
 * tables, which do not allow it either; except for code, whose NX they do not know.
 */
static bool on_access(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value,
                      void *context)
{
    (void)size;
    (void)value;
    struct soft_vm *soft = vm_of(context);
    bool unmapped = type == UC_MEM_READ_UNMAPPED || type == UC_MEM_WRITE_UNMAPPED ||
                    type == UC_MEM_FETCH_UNMAPPED;
    bool write = type == UC_MEM_WRITE_UNMAPPED || type == UC_MEM_WRITE_PROT;
    bool fetch = type == UC_MEM_FETCH_UNMAPPED || type == UC_MEM_FETCH_PROT;
    soft->access.seen = true;
    soft->access.type = fetch ? SOFT_FETCH : write ? SOFT_WRITE : SOFT_READ;
    soft->access.gva = address;
    if (type == UC_MEM_FETCH_PROT)
        return false;
    if (!unmapped)
        return true;
    if (soft->access.mapped_hole)
        return false;
    soft->access.hole = address & ~PAGE_MASK_LOW;
    soft->access.mapped_hole = uc_mem_map_ptr(uc, soft->access.hole, PAGE_BYTES,
                                              UC_PROT_READ | UC_PROT_WRITE,
                                              soft->hole) == UC_ERR_OK;
    return soft->access.mapped_hole;
}

int soft_run_init(struct soft_vm *soft, struct mf_error *err)
{
    /* begin > end: everywhere */
    const struct {
        int type;
        void *function;
        uint64_t begin, end;
        int insn;
    } hooks[] = {
        {UC_HOOK_BLOCK, (void *)on_block, 1, 0, 0},
        {UC_HOOK_INTR, (void *)on_exception, 1, 0, 0},
        {UC_HOOK_INSN_INVALID, (void *)on_invalid_instruction, 1, 0, 0},
        {UC_HOOK_MEM_INVALID, (void *)on_access, 1, 0, 0},
        {UC_HOOK_INSN, (void *)on_out, 1, 0, UC_X86_INS_OUT},
        {UC_HOOK_INSN, (void *)on_in, 1, 0, UC_X86_INS_IN},
        {UC_HOOK_INSN, (void *)on_syscall, 1, 0, UC_X86_INS_SYSCALL},
    };
    for (size_t i = 0; i < sizeof hooks / sizeof hooks[0]; i++) {
        uc_hook handle;
        uc_err rc = uc_hook_add(soft->uc, &handle, hooks[i].type, hooks[i].function, soft,
                                hooks[i].begin, hooks[i].end, hooks[i].insn);
        if (rc != UC_ERR_OK)
            return error_set(err, MF_E_BACKEND, "the emulator lacks a hook: %s", uc_strerror(rc));
    }
    return soft_port_init(soft, err);
}

static void set_exception(struct vm_exit *exit, uint8_t vector, uint64_t error_code)
{
    exit->kind = VM_EXIT_EXCEPTION;
    exit->vector = vector;
    exit->error_code = error_code;
    exit->address = 0;
}

static void set_dead(struct vm_exit *exit, const char *text)
{
    exit->kind = VM_EXIT_DEAD;
    exit->bus = false;
    snprintf(exit->detail, sizeof exit->detail, "%s", text);
}

/* Whether the I/O permission bitmap lets the guest write to all of the access's ports. */
static bool port_is_open(const struct soft_vm *soft)
{
    const uint8_t *bitmap = (const uint8_t *)mem_at(soft->vm.mem, LAYOUT_GPA(DESCRIPTORS)) +
                            X86_TSS_OFFSET + X86_TSS_BITMAP;
    for (uint32_t i = 0; i < soft->io.bytes; i++) {
        uint32_t port = soft->io.port + i;
        if (port >= X86_TSS_PORTS || (bitmap[port / 8] >> port % 8 & 1))
            return false;
    }
    return true;
}

static uint8_t code_byte(const struct soft_vm *soft, mf_gva gva)
{
    struct soft_insn insn;
    soft_insn_read(soft->vm.mem, gva, &insn);
    return insn.len > 0 ? insn.bytes[0] : 0;
}

/* Where the port instruction begins that ends at RIP: the longest form that fits. */
static mf_gva port_instruction(const struct soft_vm *soft)
{
    mf_gva rip = soft->registers.rip;
    uint8_t last = code_byte(soft, rip - 1), before = code_byte(soft, rip - 2);
    bool immediate = (before & 0xfc) == 0xe4 && last == soft->io.port;
    mf_gva start = rip - (immediate ? 2 : 1);
    if (soft->io.bytes == 2 && code_byte(soft, start - 1) == 0x66)
        start--;
    return start;
}

/*
 * A real CPU looks at the bitmap before the instruction does anything, so the
 * registers go back to what they were. Ports are for writing only.
 */
static void read_port(struct soft_vm *soft, struct vm_exit *exit)
{
    if (!soft->io.in && port_is_open(soft)) {
        exit->kind = VM_EXIT_IO;
        exit->port = (uint16_t)soft->io.port;
        return;
    }
    struct mf_registers *regs = &soft->registers;
    regs->rip = port_instruction(soft);
    regs->rax = soft->io.rax;
    regs->rcx = soft->io.rcx;
    regs->rsi = soft->io.rsi;
    regs->rdi = soft->io.rdi;
    soft_write_registers(soft);
    set_exception(exit, VECTOR_GP, 0);
}

/* SYSCALL itself does nothing here; the view is that of a CPU that has returned. */
static void read_syscall(struct soft_vm *soft, struct vm_exit *exit)
{
    struct mf_registers *regs = &soft->registers;
    regs->rcx = regs->rip;
    regs->r11 = regs->rflags;
    soft_write_registers(soft);
    exit->kind = VM_EXIT_SYSCALL;
}

static bool is_near(mf_gva address, mf_gva fault)
{
    /* An access may begin in the page before the one that it may not touch. */
    return (address & ~PAGE_MASK_LOW) == (fault & ~PAGE_MASK_LOW) ||
           ((address + 63) & ~PAGE_MASK_LOW) == (fault & ~PAGE_MASK_LOW);
}

/*
 * The kind of the access that faulted at `fault`. Without a word from the hook it was
 * the fetch of the instruction itself, or a write: to what may only be read, or one
 * that reaches from one page into the next.
 */
static uint64_t access_bits(const struct soft_vm *soft, mf_gva fault, bool readable)
{
    if (soft->access.seen && is_near(soft->access.gva, fault)) {
        if (soft->access.type == SOFT_FETCH)
            return PF_FETCH;
        if (soft->access.type == SOFT_WRITE)
            return PF_WRITE;
        /* This emulator reads before it writes; a CPU asks for both at once. */
        struct soft_insn insn;
        soft_insn_read(soft->vm.mem, soft->registers.rip, &insn);
        return soft_insn_modifies(&insn) ? PF_WRITE : 0;
    }
    return !readable && fault - soft->registers.rip < INSN_BYTES_MAX ? PF_FETCH : PF_WRITE;
}

static void read_page_fault(struct soft_vm *soft, struct vm_exit *exit, mf_gva fault)
{
    struct pt_page page = {0};
    bool present = pt_lookup(soft->vm.mem, fault & ~PAGE_MASK_LOW, &page) &&
                   (page.prot & (PT_READ | PT_WRITE | PT_EXEC));
    uint64_t bits = access_bits(soft, fault, present && (page.prot & PT_USER));
    set_exception(exit, VECTOR_PF, PF_USER | bits | (present ? PF_PRESENT : 0));
    exit->address = fault;
}

/*
 * INT n is not told apart from exception n, except that RIP is behind it. Gates of
 * exceptions are closed to INT, but for #BP and #OF, and there are no others.
 */
static bool read_software_interrupt(struct soft_vm *soft, struct vm_exit *exit)
{
    uint32_t vector = soft->vector;
    mf_gva start = soft->registers.rip - 2;
    if (vector == VECTOR_BP || vector == VECTOR_OF)
        return false;
    if (vector < X86_VECTORS &&
        (code_byte(soft, start) != 0xcd || code_byte(soft, start + 1) != vector))
        return false;
    soft->registers.rip = start;
    set_exception(exit, VECTOR_GP, (uint64_t)vector * 8 + ERROR_IDT);
    return true;
}

static void read_vector(struct soft_vm *soft, struct vm_exit *exit)
{
    struct soft_insn insn;
    uint64_t cr2 = soft_read(soft, UC_X86_REG_CR2);
    if (soft->vector == VECTOR_PF && cr2 != SOFT_CR2_NONE) {
        read_page_fault(soft, exit, cr2);
    } else if (soft->vector == VECTOR_UD) {
        soft_insn_read(soft->vm.mem, soft->registers.rip, &insn);
        bool sysret = soft_insn_is_sysret(&insn); /* EFER.SCE is not there, either */
        set_exception(exit, sysret ? VECTOR_GP : VECTOR_UD, 0);
    } else if (!read_software_interrupt(soft, exit)) {
        set_exception(exit, (uint8_t)soft->vector, 0);
    }
}

/* Turns what the hooks saw into an exit; false when it was nothing. */
static bool read_event(struct soft_vm *soft, uc_err rc, struct vm_exit *exit)
{
    switch (soft->event) {
    case SOFT_IO:
        read_port(soft, exit);
        return true;
    case SOFT_SYSCALL:
        read_syscall(soft, exit);
        return true;
    case SOFT_VECTOR:
        read_vector(soft, exit);
        return true;
    case SOFT_NOTHING:
        break;
    }
    if (rc == UC_ERR_FETCH_PROT || rc == UC_ERR_FETCH_UNMAPPED) {
        read_page_fault(soft, exit, soft->access.gva);
        return true;
    }
    if (rc != UC_ERR_OK) {
        set_dead(exit, uc_strerror(rc));
        return true;
    }
    return false;
}

void soft_run_forget(struct soft_vm *soft)
{
    soft->event = SOFT_NOTHING;
    soft->vector = 0;
    memset(&soft->io, 0, sizeof soft->io);
    memset(&soft->access, 0, sizeof soft->access);
    memset(&soft->halt, 0, sizeof soft->halt);
}

/*
 * One stay in Unicorn, from soft->rip until a hook or an interrupt ends it. With TF
 * set the jump in the code page would be what traps, so it is left out.
 */
static uc_err enter(struct soft_vm *soft)
{
    bool trap = (soft_read(soft, UC_X86_REG_RFLAGS) & RFLAGS_TF) != 0;
    soft_run_forget(soft);
    soft->code->target = soft->rip;
    if (soft->stale)
        soft_flush(soft);
    uc_err rc = uc_emu_start(soft->uc, trap ? soft->rip : SOFT_GVA_CODE, 0, 0, 0);
    if (soft->access.mapped_hole)
        uc_mem_unmap(soft->uc, soft->access.hole, PAGE_BYTES);
    soft_read_registers(soft);
    if (soft->halt.seen)
        soft->registers.rip = soft->halt.gva;
    if (soft->registers.rip == SOFT_GVA_CODE)
        soft->registers.rip = soft->rip;
    soft->rip = soft->registers.rip;
    if (soft->ports.found)
        soft_port_settle(soft);
    return rc;
}

/*
 * Whether the CPU could not fetch code at the beginning of the page behind the one
 * of RIP: then RIP may be further back than the instruction that reaches there.
 */
static bool fetch_was_ahead(struct soft_vm *soft, uc_err rc)
{
    mf_gva fault, next = (soft->rip & ~PAGE_MASK_LOW) + PAGE_BYTES;
    if (soft->event == SOFT_VECTOR && soft->vector == VECTOR_PF && !soft->access.seen)
        fault = soft_read(soft, UC_X86_REG_CR2);
    else if (soft->event == SOFT_NOTHING && rc == UC_ERR_FETCH_PROT)
        fault = soft->access.gva;
    else
        return false;
    return fault == next;
}

/*
 * The CPU translates blocks of instructions ahead, and one of them reached into a
 * page that may not be executed. With TF set it translates one at a time, so that
 * what comes before happens first.
 */
static uc_err step_to_fault(struct soft_vm *soft)
{
    uint64_t trap = soft->registers.rflags & RFLAGS_TF;
    uc_err rc = UC_ERR_OK;
    for (int i = 0; i < STEPS_MAX; i++) {
        soft_write(soft, UC_X86_REG_RFLAGS, soft->registers.rflags | RFLAGS_TF);
        rc = enter(soft);
        bool stepped = rc == UC_ERR_OK && soft->event == SOFT_VECTOR && soft->vector == VECTOR_DB;
        if (!stepped || trap)
            break;
    }
    soft->registers.rflags = (soft->registers.rflags & ~RFLAGS_TF) | trap;
    soft_write(soft, UC_X86_REG_RFLAGS, soft->registers.rflags);
    return rc;
}

static void load_registers(struct soft_vm *soft)
{
    if (!soft->vm.regs_changed)
        return;
    soft->vm.regs_changed = false;
    soft->registers.rflags = soft_user_flags(soft->registers.rflags);
    soft->rip = soft->registers.rip;
    soft_write_registers(soft);
}

/* Exceptions that the CPU would still be delivering when the next one comes. */
static bool leaves_trace(const struct soft_vm *soft)
{
    return soft->event == SOFT_VECTOR &&
           (soft->vector == VECTOR_DE || soft->vector == VECTOR_DF ||
            (soft->vector >= VECTOR_TS && soft->vector <= VECTOR_PF));
}

int soft_run(struct vm *vm, struct vm_exit *exit, struct mf_error *err)
{
    (void)err;
    struct soft_vm *soft = (struct soft_vm *)vm;
    load_registers(soft);
    for (;;) {
        if (soft->broken) {
            set_dead(exit, soft->broken);
            return 0;
        }
        if (atomic_exchange(&soft->stop, false)) {
            exit->kind = VM_EXIT_INTERRUPT;
            return 0;
        }
        uc_err rc = enter(soft);
        if (fetch_was_ahead(soft, rc))
            rc = step_to_fault(soft);
        if (read_event(soft, rc, exit))
            break;
    }
    soft->rip = soft->registers.rip;
    if (leaves_trace(soft))
        soft_forget_fault(soft);
    /* A CPU saves faults with RF set, and traps without. */
    if (exit->kind == VM_EXIT_EXCEPTION && exit->vector != VECTOR_DB &&
        exit->vector != VECTOR_BP && exit->vector != VECTOR_OF)
        soft->registers.rflags |= RFLAGS_RF;
    return 0;
}
