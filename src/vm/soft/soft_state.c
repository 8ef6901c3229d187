/*
 * The registers of the emulated CPU: its state before the first guest instruction,
 * and the way back to an untroubled CPU after a fault.
 */
#include "vm/soft/soft.h"

#include "base/checked.h"
#include "base/error.h"
#include "vm/x86.h"

#include <string.h>

/* In the order of struct mf_registers, without RIP, which a run is given separately. */
static int general[] = {
    UC_X86_REG_RAX, UC_X86_REG_RBX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RSI,
    UC_X86_REG_RDI, UC_X86_REG_RSP, UC_X86_REG_RBP, UC_X86_REG_R8,  UC_X86_REG_R9,
    UC_X86_REG_R10, UC_X86_REG_R11, UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14,
    UC_X86_REG_R15, UC_X86_REG_RIP, UC_X86_REG_RFLAGS,
};

#define GENERAL_RIP 16

_Static_assert(sizeof(struct mf_registers) == sizeof general / sizeof general[0] * 8,
               "one entry for each register");

/* DR7: breakpoint 0 is on, for I/O; bit 10 is always one. CR4.DE gives I/O its meaning. */
#define DR7_IO0 UINT64_C(0x20402)
#define CR4_DE UINT64_C(8)
#define TSS_FLAGS 0x8b00 /* present, busy 64-bit TSS, as in a descriptor */

uint64_t soft_read(struct soft_vm *soft, int reg)
{
    uint64_t value = 0;
    uc_reg_read(soft->uc, reg, &value);
    return value;
}

void soft_write(struct soft_vm *soft, int reg, uint64_t value)
{
    uc_reg_write(soft->uc, reg, &value);
}

uint64_t soft_user_flags(uint64_t rflags)
{
    return (rflags & X86_RFLAGS_USER) | X86_RFLAGS;
}

void soft_read_registers(struct soft_vm *soft)
{
    void *values[ARRAY_LEN(general)];
    uint64_t *regs = &soft->registers.rax;
    for (size_t i = 0; i < ARRAY_LEN(general); i++)
        values[i] = regs + i;
    uc_reg_read_batch(soft->uc, general, values, ARRAY_LEN(general));
    soft->registers.rflags = soft_user_flags(soft->registers.rflags);
}

void soft_write_registers(struct soft_vm *soft)
{
    uint64_t *regs = &soft->registers.rax;
    for (size_t i = 0; i < ARRAY_LEN(general); i++)
        if (i != GENERAL_RIP)
            uc_reg_write(soft->uc, general[i], regs + i);
}

int soft_set_segment_base(struct vm *vm, unsigned index, uint64_t base, struct mf_error *err)
{
    (void)err;
    soft_write((struct soft_vm *)vm, index == 0 ? UC_X86_REG_FS_BASE : UC_X86_REG_GS_BASE, base);
    return 0;
}

uint64_t soft_get_segment_base(struct vm *vm, unsigned index)
{
    return soft_read((struct soft_vm *)vm, index == 0 ? UC_X86_REG_FS_BASE : UC_X86_REG_GS_BASE);
}

static void fpu_transfer(struct soft_vm *soft, struct soft_fpu *fpu,
                         uc_err (*transfer)(uc_engine *, int, void *))
{
    /* The stack registers are named relative to the top, which the status word holds. */
    transfer(soft->uc, UC_X86_REG_FPSW, &fpu->status);
    for (int i = 0; i < SOFT_ST_COUNT; i++)
        transfer(soft->uc, UC_X86_REG_ST0 + i, fpu->st[i]);
    for (int i = 0; i < SOFT_XMM_COUNT; i++)
        transfer(soft->uc, UC_X86_REG_XMM0 + i, fpu->xmm[i]);
    transfer(soft->uc, UC_X86_REG_FPTAG, &fpu->tags);
    transfer(soft->uc, UC_X86_REG_FPCW, &fpu->control);
    transfer(soft->uc, UC_X86_REG_MXCSR, &fpu->mxcsr);
}

static uc_err write_register(uc_engine *uc, int reg, void *value)
{
    return uc_reg_write(uc, reg, value);
}

void soft_fpu_read(struct soft_vm *soft, struct soft_fpu *fpu)
{
    memset(fpu, 0, sizeof *fpu);
    fpu_transfer(soft, fpu, uc_reg_read);
}

void soft_fpu_write(struct soft_vm *soft, const struct soft_fpu *fpu)
{
    struct soft_fpu copy = *fpu;
    fpu_transfer(soft, &copy, write_register);
}

/*
 * The CPU remembers that an exception is being delivered and turns the next one into
 * a double fault; nothing is ever delivered here, and no register says so. So it is
 * taken back to its initial state, and all that the guest can see is put in again.
 */
void soft_forget_fault(struct soft_vm *soft)
{
    struct soft_fpu fpu;
    soft_fpu_read(soft, &fpu);
    uint64_t fs = soft_read(soft, UC_X86_REG_FS_BASE), gs = soft_read(soft, UC_X86_REG_GS_BASE);
    uc_context_restore(soft->uc, soft->initial);
    soft_fpu_write(soft, &fpu);
    soft_write(soft, UC_X86_REG_FS_BASE, fs);
    soft_write(soft, UC_X86_REG_GS_BASE, gs);
    soft_write_registers(soft);
}

/*
 * Writing CR3 through Unicorn's interface drops no translations, only the instruction
 * does, and that needs CPL 0. So the CPU is taken there and back.
 */
void soft_flush(struct soft_vm *soft)
{
    mf_gva gva = SOFT_GVA_CODE + offsetof(struct soft_code_page, flush);
    uc_context_save(soft->uc, soft->current);
    uc_context_restore(soft->uc, soft->supervisor);
    soft->supervising = true;
    uc_err rc = uc_emu_start(soft->uc, gva, 0, 0, 0);
    soft->supervising = false;
    if (rc != UC_ERR_OK)
        soft->broken = "the emulated CPU cannot change its page tables";
    uc_context_restore(soft->uc, soft->current);
    soft->stale = false;
}

static void load_system_registers(struct soft_vm *soft)
{
    uc_x86_mmr gdtr = {.base = X86_GDT_GVA, .limit = X86_GDT_LIMIT};
    uc_x86_mmr idtr = {.base = X86_IDT_GVA, .limit = X86_IDT_LIMIT};
    uc_x86_mmr tr = {
        .selector = X86_SEL_TSS, .base = X86_TSS_GVA, .limit = X86_TSS_LIMIT, .flags = TSS_FLAGS};
    uc_reg_write(soft->uc, UC_X86_REG_GDTR, &gdtr);
    uc_reg_write(soft->uc, UC_X86_REG_IDTR, &idtr);
    uc_reg_write(soft->uc, UC_X86_REG_TR, &tr);
    soft_write(soft, UC_X86_REG_CR3, SOFT_GVA_SHADOW + LAYOUT_GPA(PML4));
    soft_write(soft, UC_X86_REG_CR4, X86_CR4_BASE | CR4_DE);
    soft_write(soft, UC_X86_REG_CR0, X86_CR0);
    soft_write(soft, UC_X86_REG_CR2, SOFT_CR2_NONE);
    /* What soft_flush writes to CR3. */
    soft_write(soft, UC_X86_REG_RAX, SOFT_GVA_SHADOW + LAYOUT_GPA(PML4));
    soft_write(soft, UC_X86_REG_RFLAGS, 2);
}

static void write_code_page(struct soft_vm *soft)
{
    static const uint8_t enter[] = {0xff, 0x25, 0x02, 0x00, 0x00, 0x00}; /* jmp *target(%rip) */
    static const uint8_t start[] = {0x0f, 0x23, 0xfb, /* mov %rbx, %dr7 */
                                    0x48, 0xcf};      /* iretq */
    static const uint8_t flush[] = {0x0f, 0x22, 0xd8, /* mov %rax, %cr3 */
                                    0xf4};            /* hlt */
    struct soft_code_page *code = soft->code;
    mf_gva user = SOFT_GVA_CODE + offsetof(struct soft_code_page, enter);
    const uint64_t frame[] = {user, X86_SEL_USER_CODE, X86_RFLAGS, 0, X86_SEL_USER_DATA};
    _Static_assert(offsetof(struct soft_code_page, target) == sizeof enter + 2, "see enter");
    memcpy(code->enter, enter, sizeof enter);
    memcpy(code->start, start, sizeof start);
    memcpy(code->flush, flush, sizeof flush);
    memcpy(code->frame, frame, sizeof frame);
}

/*
 * Only instructions load debug registers and segments with all their consequences;
 * so two of them, at CPL 0, bring the CPU to where the guest begins; there it stops.
 */
static int leave_supervisor(struct soft_vm *soft, struct mf_error *err)
{
    mf_gva user = SOFT_GVA_CODE + offsetof(struct soft_code_page, enter);
    soft_write(soft, UC_X86_REG_RBX, DR7_IO0);
    soft_write(soft, UC_X86_REG_RSP, SOFT_GVA_CODE + offsetof(struct soft_code_page, frame));
    soft->supervising = true;
    uc_err rc = uc_emu_start(soft->uc, SOFT_GVA_CODE + offsetof(struct soft_code_page, start), 0,
                             0, 0);
    soft->supervising = false;
    uint64_t rip = soft_read(soft, UC_X86_REG_RIP);
    if (rc != UC_ERR_OK || rip != user)
        return error_set(err, MF_E_BACKEND,
                         "the emulator (Unicorn) does not reach user mode: %s, at %#llx",
                         uc_strerror(rc), (unsigned long long)rip);
    return 0;
}

int soft_state_init(struct soft_vm *soft, struct mf_error *err)
{
    if (uc_context_alloc(soft->uc, &soft->supervisor) != UC_ERR_OK ||
        uc_context_alloc(soft->uc, &soft->initial) != UC_ERR_OK ||
        uc_context_alloc(soft->uc, &soft->current) != UC_ERR_OK)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate the state of the emulated CPU");
    write_code_page(soft);
    load_system_registers(soft);
    uc_context_save(soft->uc, soft->supervisor);
    int rc = leave_supervisor(soft, err);
    if (rc < 0)
        return rc;
    memset(&soft->registers, 0, sizeof soft->registers);
    soft->registers.rflags = X86_RFLAGS;
    soft_write_registers(soft);
    /* Unicorn leaves these at zero, which is no state that a program starts with. */
    struct soft_fpu fpu;
    memset(&fpu, 0, sizeof fpu);
    fpu.control = X86_FCW;
    fpu.tags = 0xffff;
    fpu.mxcsr = X86_MXCSR;
    soft_fpu_write(soft, &fpu);
    uc_context_save(soft->uc, soft->initial);
    return 0;
}

void soft_state_fini(struct soft_vm *soft)
{
    uc_context *contexts[] = {soft->supervisor, soft->initial, soft->current};
    for (size_t i = 0; i < ARRAY_LEN(contexts); i++)
        if (contexts[i])
            uc_context_free(contexts[i]);
}
