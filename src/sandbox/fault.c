/*
 * From an exception of the CPU to a report for people: what the guest did, where,
 * and in which function. Looks at guest memory only to name the instruction.
 */
#include "abi/memory_map.h"
#include "base/checked.h"
#include "base/error.h"
#include "mem/guestmem.h"
#include "mem/pagetable.h"
#include "sandbox/sandbox.h"
#include "vm/x86.h"

#include <stdio.h>
#include <string.h>

/* Bits of a page fault's error code (AMD64 APM vol. 2, 8.4.2). */
#define PF_WRITE 2u
#define PF_FETCH 16u

enum vector {
    VECTOR_DIVIDE = 0,
    VECTOR_DEBUG = 1,
    VECTOR_BREAKPOINT = 3,
    VECTOR_OVERFLOW = 4,
    VECTOR_BOUND = 5,
    VECTOR_INVALID = 6,
    VECTOR_STACK = 12,
    VECTOR_PROTECTION = 13,
    VECTOR_PAGE_FAULT = 14,
    VECTOR_X87 = 16,
    VECTOR_ALIGNMENT = 17,
    VECTOR_SIMD = 19,
};

struct fault_text {
    enum mf_fault_kind kind;
    const char *word, *text;
};

static const struct fault_text texts[] = {
#define FAULT_TEXT(name, number, word, text) {name, word, text},
    MF_FAULT_LIST(FAULT_TEXT)
#undef FAULT_TEXT
};

static const struct fault_text *find_text(enum mf_fault_kind kind)
{
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (texts[i].kind == kind)
            return &texts[i];
    return &texts[0];
}

const char *mf_fault_name(enum mf_fault_kind kind)
{
    return find_text(kind)->word;
}

const char *mf_fault_text(enum mf_fault_kind kind)
{
    return find_text(kind)->text;
}

static bool has_address(const struct mf_fault *fault)
{
    return fault->vector == VECTOR_PAGE_FAULT || fault->address != 0;
}

size_t mf_fault_format(const struct mf_fault *fault, char *buf, size_t size)
{
    char where[200], address[64] = "";
    if (fault->symbol[0])
        snprintf(where, sizeof where, "in %s+%#llx (%#llx)", fault->symbol,
                 (unsigned long long)fault->symbol_offset,
                 (unsigned long long)fault->instruction);
    else
        snprintf(where, sizeof where, "at %#llx", (unsigned long long)fault->instruction);
    if (has_address(fault))
        snprintf(address, sizeof address, ", address %#llx", (unsigned long long)fault->address);
    int len = snprintf(buf, size, "%s (%s) %s%s", mf_fault_text(fault->kind),
                       mf_fault_name(fault->kind), where, address);
    return len < 0 ? 0 : (size_t)len;
}

/* ---- page faults ---- */

static enum mf_fault_kind classify_page_fault(const struct mf_sandbox *sandbox,
                                              const struct vm_exit *exit)
{
    const struct area *area = addrspace_find(&sandbox->as, exit->address);
    bool fetch = exit->error_code & PF_FETCH, write = exit->error_code & PF_WRITE;
    if (!fetch && exit->address < sandbox->stack_low &&
        exit->address >= sandbox->stack_low - LAYOUT_STACK_GUARD)
        return MF_FAULT_STACK_OVERFLOW;
    if (exit->address < MF_ABI_GVA_MIN)
        return MF_FAULT_NULL;
    if (fetch)
        return area && area->prot != PT_NONE ? MF_FAULT_EXECUTE_DATA : MF_FAULT_EXECUTE;
    if (!write)
        return MF_FAULT_READ;
    if (area && (area->prot & PT_EXEC))
        return MF_FAULT_WRITE_CODE;
    return area && area->prot != PT_NONE ? MF_FAULT_WRITE_PROTECTED : MF_FAULT_WRITE;
}

/* ---- general protection: which rule did the instruction break? ---- */

#define INSTRUCTION_MAX 15

/* An instruction as far as it is looked at here. */
struct instruction {
    uint8_t bytes[INSTRUCTION_MAX];
    size_t len, at; /* bytes that could be read; the opcode's place */
    bool two_byte;  /* the opcode follows 0F */
    uint8_t opcode, prefix66, prefix_rep, rex;
};

/* Reads prefixes and opcode (AMD64 APM vol. 3, 1.2). */
static bool read_instruction(const struct mf_sandbox *sandbox, uint64_t rip,
                             struct instruction *in)
{
    memset(in, 0, sizeof *in);
    in->len = guestmem_reach(&sandbox->mem, rip, sizeof in->bytes, false);
    if (in->len == 0 || !guestmem_read(&sandbox->mem, in->bytes, rip, in->len))
        return false;
    while (in->at < in->len && x86_is_prefix(in->bytes[in->at])) {
        if (in->bytes[in->at] == 0x66)
            in->prefix66 = 1;
        if (in->bytes[in->at] >= 0xf2)
            in->prefix_rep = in->bytes[in->at];
        in->at++;
    }
    if (in->at < in->len && (in->bytes[in->at] & 0xf0) == 0x40)
        in->rex = in->bytes[in->at++];
    if (in->at < in->len && in->bytes[in->at] == 0x0f) {
        in->two_byte = true;
        in->at++;
    }
    if (in->at >= in->len)
        return false;
    in->opcode = in->bytes[in->at];
    return true;
}

/* Instructions that CPL 3 may not execute: {opcode, reg field of ModRM or -1}. */
struct privileged {
    uint8_t opcode;
    int8_t reg;
};

static bool is_privileged(const struct instruction *in)
{
    static const struct privileged one[] = {
        {0xf4, -1}, {0xfa, -1}, {0xfb, -1},                         /* hlt cli sti */
        {0xe4, -1}, {0xe5, -1}, {0xe6, -1}, {0xe7, -1},             /* in, out: imm */
        {0xec, -1}, {0xed, -1}, {0xee, -1}, {0xef, -1},             /* in, out: dx */
        {0x6c, -1}, {0x6d, -1}, {0x6e, -1}, {0x6f, -1},             /* ins, outs */
    };
    static const struct privileged two[] = {
        {0x00, 2}, {0x00, 3}, {0x01, 2}, {0x01, 3}, {0x01, 6}, {0x01, 7}, /* lldt ltr lgdt .. */
        {0x06, -1}, {0x07, -1}, {0x08, -1}, {0x09, -1}, /* clts sysret invd wbinvd */
        {0x20, -1}, {0x21, -1}, {0x22, -1}, {0x23, -1}, /* mov cr, dr */
        {0x30, -1}, {0x32, -1}, {0x33, -1}, {0x35, -1}, /* wrmsr rdmsr rdpmc sysexit */
        {0x01, 0}, {0x01, 1}, {0x01, 4},                /* vm.., monitor, smsw with UMIP */
    };
    const struct privileged *table = in->two_byte ? two : one;
    size_t n = in->two_byte ? ARRAY_LEN(two) : ARRAY_LEN(one);
    int reg = in->at + 1 < in->len ? in->bytes[in->at + 1] >> 3 & 7 : -1;
    for (size_t i = 0; i < n; i++)
        if (table[i].opcode == in->opcode && (table[i].reg < 0 || table[i].reg == reg))
            return true;
    return false;
}

static uint64_t register_value(const struct mf_registers *regs, unsigned number)
{
    const uint64_t values[16] = {
        regs->rax, regs->rcx, regs->rdx, regs->rbx, regs->rsp, regs->rbp, regs->rsi, regs->rdi,
        regs->r8,  regs->r9,  regs->r10, regs->r11, regs->r12, regs->r13, regs->r14, regs->r15,
    };
    return values[number & 15];
}

/*
 * The address of the instruction's memory operand, as far as its low bits go: they
 * do not depend on a segment base, which is 16-aligned in practice. False when it
 * has none. RIP-relative operands need the instruction's length; the SSE forms
 * looked at here have no immediate.
 */
static bool operand_address(const struct instruction *in, const struct mf_registers *regs,
                            uint64_t *address)
{
    size_t at = in->at + 1;
    if (at >= in->len || in->bytes[at] >> 6 == 3)
        return false;
    uint8_t modrm = in->bytes[at++], mod = modrm >> 6, rm = modrm & 7;
    uint64_t sum = 0;
    bool wide = mod == 2;
    if (rm == 4) {
        if (at >= in->len)
            return false;
        uint8_t sib = in->bytes[at++];
        unsigned index = (sib >> 3 & 7) | (in->rex & 2 ? 8 : 0);
        if (index != 4)
            sum += register_value(regs, index) << (sib >> 6);
        if ((sib & 7) == 5 && mod == 0)
            wide = true;
        else
            sum += register_value(regs, (sib & 7) | (in->rex & 1 ? 8 : 0));
    } else if (rm == 5 && mod == 0) {
        wide = true;
        sum += regs->rip + at + 4;
    } else {
        sum += register_value(regs, rm | (in->rex & 1 ? 8 : 0));
    }
    size_t need = wide ? 4 : mod == 1 ? 1 : 0;
    if (at + need > in->len)
        return false;
    int32_t displacement = 0;
    if (need == 4)
        memcpy(&displacement, in->bytes + at, 4);
    else if (need == 1)
        displacement = (int8_t)in->bytes[at];
    *address = sum + (uint64_t)(int64_t)displacement;
    return true;
}

/*
 * An SSE instruction with a 16-byte operand in memory at an address that is no
 * multiple of 16: the two-byte opcodes 10-17, 28-2F, 50-7F, C2-C6, D0-FE (AMD64
 * APM vol. 4), of which the scalar and the MOVU forms never fault for alignment.
 */
static bool is_unaligned_sse(const struct instruction *in, const struct mf_registers *regs)
{
    uint8_t op = in->opcode;
    uint64_t address;
    bool sse = (op >= 0x10 && op <= 0x17) || (op >= 0x28 && op <= 0x2f) ||
               (op >= 0x50 && op <= 0x7f) || (op >= 0xc2 && op <= 0xc6) || op >= 0xd0;
    if (!in->two_byte || !sse || in->prefix_rep)
        return false;
    bool canonical = operand_address(in, regs, &address) &&
                     (address >> 47 == 0 || address >> 47 == 0x1ffff);
    return canonical && address % 16 != 0;
}

static enum mf_fault_kind classify_protection(const struct mf_sandbox *sandbox)
{
    struct instruction in;
    const struct mf_registers *regs = sandbox->vm->regs;
    if (!read_instruction(sandbox, regs->rip, &in))
        return MF_FAULT_PROTECTION;
    if (is_privileged(&in))
        return MF_FAULT_PRIVILEGED;
    if (is_unaligned_sse(&in, regs))
        return MF_FAULT_UNALIGNED;
    return MF_FAULT_PROTECTION;
}

static enum mf_fault_kind classify(const struct mf_sandbox *sandbox, const struct vm_exit *exit)
{
    switch (exit->vector) {
    case VECTOR_DIVIDE:
        return MF_FAULT_DIVIDE;
    case VECTOR_DEBUG:
        return MF_FAULT_DEBUG;
    case VECTOR_BREAKPOINT:
        return MF_FAULT_BREAKPOINT;
    case VECTOR_INVALID:
        return MF_FAULT_INSTRUCTION;
    case VECTOR_OVERFLOW:
    case VECTOR_BOUND:
    case VECTOR_STACK:
        return MF_FAULT_PROTECTION;
    case VECTOR_PROTECTION:
        return classify_protection(sandbox);
    case VECTOR_PAGE_FAULT:
        return classify_page_fault(sandbox, exit);
    case VECTOR_X87:
    case VECTOR_SIMD:
        return MF_FAULT_FLOATING_POINT;
    case VECTOR_ALIGNMENT:
        return MF_FAULT_UNALIGNED;
    default:
        return MF_FAULT_MACHINE;
    }
}

static void name_symbol(struct mf_sandbox *sandbox, struct mf_fault *fault)
{
    const struct mf_image *image = sandbox->image;
    if (!elf_symbol_at(&image->elf, image->bytes, image->len, fault->instruction, fault->symbol,
                       sizeof fault->symbol, &fault->symbol_offset))
        fault->symbol[0] = 0;
}

/* The guest touched memory of the host that somebody took away while it was mapped. */
static int report_bus(struct mf_sandbox *sandbox, const struct vm_exit *exit, struct mf_error *err)
{
    struct mf_fault *fault = &sandbox->fault;
    char text[sizeof err->message];
    fault->kind = MF_FAULT_BUS;
    fault->vector = -1;
    fault->address = map_address_of(sandbox, exit->address);
    name_symbol(sandbox, fault);
    mf_fault_format(fault, text, sizeof text);
    return error_set(err, MF_E_GUEST_FAULT,
                     "%.170s: a mapped file got shorter, or the host took its memory away", text);
}

int fault_report(struct mf_sandbox *sandbox, const struct vm_exit *exit, struct mf_error *err)
{
    struct mf_fault *fault = &sandbox->fault;
    memset(fault, 0, sizeof *fault);
    fault->registers = *sandbox->vm->regs;
    fault->instruction = fault->registers.rip;
    if (exit->kind == VM_EXIT_DEAD && exit->bus)
        return report_bus(sandbox, exit, err);
    if (exit->kind == VM_EXIT_DEAD) {
        fault->kind = MF_FAULT_MACHINE;
        fault->vector = -1;
        return error_set(err, MF_E_GUEST_FAULT, "%s: %s", mf_fault_text(fault->kind),
                         exit->detail);
    }
    fault->kind = classify(sandbox, exit);
    fault->vector = exit->vector;
    fault->error_code = exit->error_code;
    fault->address = exit->vector == VECTOR_PAGE_FAULT ? exit->address : 0;
    /* A breakpoint is reported behind its one byte. */
    if (exit->vector == VECTOR_BREAKPOINT)
        fault->instruction--;
    name_symbol(sandbox, fault);
    char text[sizeof err->message];
    mf_fault_format(fault, text, sizeof text);
    return error_set(err, MF_E_GUEST_FAULT, "%s", text);
}
