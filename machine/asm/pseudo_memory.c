/*
 * Pseudo-instructions on memory and the FPU: addresses of 32 bits in loads and stores, la,
 * unaligned accesses, pairs of words, floating-point constants.
 */
#include "machine/asm/inner.h"

#include <math.h>
#include <string.h>

#define REG OPERAND_REGISTER
#define FPU OPERAND_FPU
#define VAL OPERAND_VALUE
#define MEM OPERAND_MEMORY

static bool match2(const struct operands *ops, unsigned a, unsigned b)
{
    return asm_match(ops, 2, (const uint16_t[]){(uint16_t)a, (uint16_t)b});
}

/* An address as base and offset, so that offset + extra fits, too. */
struct address {
    unsigned base;
    int32_t offset;
};

/*
 * Finds base and offset of the second operand; emits what makes $at the base when the
 * offset does not fit. `load`: the first operand is not read. False with an error.
 */
static bool resolve(struct assembler *as, const struct operands *ops, bool load, int32_t extra,
                    struct address *address)
{
    const struct operand *op = &ops->list[1];
    uint32_t word;
    int32_t imm;

    as->column = op->token->column;
    address->base = op->reg;
    if (!asm_word(as, op->value, &word))
        return false;
    if (asm_fits_signed(op->value, &imm) && imm + extra <= 32767) {
        address->offset = imm;
        return true;
    }
    if (!asm_take_at(as, ops, load))
        return false;
    /* The lower half is signed where it is used, so the upper one is rounded. */
    asm_emit_i(as, ISA_LUI, REGISTER_AT, 0, (word + 0x8000) >> 16);
    if (op->reg != 0)
        asm_emit_r(as, ISA_ADDU, REGISTER_AT, REGISTER_AT, op->reg);
    address->base = REGISTER_AT;
    address->offset = (int16_t)(uint16_t)word;
    if (address->offset + extra > 32767) {
        asm_emit_i(as, ISA_ADDIU, REGISTER_AT, REGISTER_AT, (uint32_t)address->offset);
        address->offset = 0;
    }
    return true;
}

static void access(struct assembler *as, enum isa_insn insn, unsigned reg, struct address address,
                   int32_t at)
{
    asm_emit_i(as, insn, reg, address.base, (uint32_t)(address.offset + at));
}

/* Any load or store whose last operand is an address. */
static bool load_store(struct assembler *as, const struct operands *ops, int32_t what)
{
    struct operands near = *ops;
    struct address address;

    if (ops->n != 2 || !(ops->list[1].kind & (MEM | VAL)))
        return false;
    /* The table checks the first operand, with the address made small. */
    struct operand *memory = &near.list[1];
    if (!resolve(as, ops, isa_table[what].flags & ISA_LOAD, 0, &address))
        return true;
    memory->kind = MEM;
    memory->reg = (uint8_t)address.base;
    memory->value = (struct value){.number = address.offset, .fixed = true, .ok = true};
    asm_native(as, (enum isa_insn)what, &near);
    return true;
}

/* la: an address instead of what is there. */
static bool load_address(struct assembler *as, const struct operands *ops, int32_t what)
{
    const struct operand *op = &ops->list[1];
    uint32_t word;
    int32_t imm;

    (void)what;
    if (!match2(ops, REG, MEM | VAL))
        return false;
    unsigned d = ops->list[0].reg;
    as->column = op->token->column;
    if (!asm_word(as, op->value, &word))
        return true;
    if (op->kind == VAL) {
        asm_load_constant(as, d, word, op->value.fixed);
    } else if (asm_fits_signed(op->value, &imm)) {
        asm_emit_i(as, ISA_ADDIU, d, op->reg, (uint32_t)imm);
    } else {
        unsigned t = d == op->reg || d == 0 ? REGISTER_AT : d;
        if (t == REGISTER_AT && !asm_take_at(as, ops, 1))
            return true;
        asm_load_constant(as, t, word, op->value.fixed);
        asm_emit_r(as, ISA_ADDU, d, t, op->reg);
    }
    return true;
}

/* ulh, ulhu: two bytes. The one that is loaded second may overwrite the base. */
static bool unaligned_half(struct assembler *as, const struct operands *ops, int32_t what)
{
    int32_t upper = as->program->big_endian ? 0 : 1;
    struct address address;

    if (!match2(ops, REG, MEM | VAL))
        return false;
    unsigned t = ops->list[0].reg;
    if (!resolve(as, ops, true, 1, &address))
        return true;
    if (address.base == REGISTER_AT) {
        access(as, (enum isa_insn)what, t, address, upper);
        access(as, ISA_LBU, REGISTER_AT, address, 1 - upper);
    } else {
        access(as, ISA_LBU, REGISTER_AT, address, 1 - upper);
        access(as, (enum isa_insn)what, t, address, upper);
    }
    asm_emit_shift(as, ISA_SLL, t, t, 8);
    asm_emit_r(as, ISA_OR, t, t, REGISTER_AT);
    return true;
}

/* ush: rotates the register and back when $at is taken. */
static bool unaligned_store_half(struct assembler *as, const struct operands *ops, int32_t what)
{
    int32_t upper = as->program->big_endian ? 0 : 1;
    struct address address;

    (void)what;
    if (!match2(ops, REG, MEM | VAL))
        return false;
    unsigned t = ops->list[0].reg;
    if (!resolve(as, ops, false, 1, &address))
        return true;
    access(as, ISA_SB, t, address, 1 - upper);
    if (address.base != REGISTER_AT) {
        asm_emit_shift(as, ISA_SRL, REGISTER_AT, t, 8);
        access(as, ISA_SB, REGISTER_AT, address, upper);
    } else {
        asm_emit_shift(as, ISA_ROTR, t, t, 8);
        access(as, ISA_SB, t, address, upper);
        asm_emit_shift(as, ISA_ROTR, t, t, 24);
    }
    return true;
}

/* ulw, usw: the left and the right part of a word. */
static bool unaligned_word(struct assembler *as, const struct operands *ops, int32_t load)
{
    int32_t left = as->program->big_endian ? 0 : 3;
    struct address address;

    if (!match2(ops, REG, MEM | VAL))
        return false;
    unsigned t = ops->list[0].reg;
    if (!resolve(as, ops, load, 3, &address))
        return true;
    /* A base that is the result must live until the second half is loaded. */
    unsigned to = load && t == address.base && t != REGISTER_AT ? REGISTER_AT : t;
    access(as, load ? ISA_LWL : ISA_SWL, to, address, left);
    access(as, load ? ISA_LWR : ISA_SWR, to, address, 3 - left);
    if (to != t)
        asm_emit_r(as, ISA_ADDU, t, 0, REGISTER_AT);
    return true;
}

/* ld, sd: a register and the next one. */
static bool two_words(struct assembler *as, const struct operands *ops, int32_t load)
{
    enum isa_insn insn = load ? ISA_LW : ISA_SW;
    struct address address;

    if (!match2(ops, REG, MEM | VAL))
        return false;
    unsigned t = ops->list[0].reg;
    if (t == 31) {
        asm_wrong_operand(as, &ops->list[0], "a register that another one follows");
        return true;
    }
    if (!resolve(as, ops, load, 4, &address))
        return true;
    bool second_first = load && t == address.base;
    access(as, insn, t + second_first, address, second_first ? 4 : 0);
    access(as, insn, t + !second_first, address, second_first ? 0 : 4);
    return true;
}

/* The number of li.s and li.d. */
static bool real_operand(struct assembler *as, const struct operand *op, double *number)
{
    const struct token *token = op->token;

    if (op->kind == VAL) {
        *number = (double)op->value.number;
        return true;
    }
    if (op->kind != OPERAND_FLOAT)
        return asm_wrong_operand(as, op, "a number like 1.5");
    *number = token_is(token, '-') ? -token[1].number : token->number;
    return true;
}

static void load_fpu_word(struct assembler *as, unsigned reg, uint32_t word)
{
    if (word != 0)
        asm_load_constant(as, REGISTER_AT, word, true);
    asm_emit_r(as, ISA_MTC1, reg, 0, word != 0 ? REGISTER_AT : 0);
}

static bool load_real(struct assembler *as, const struct operands *ops, int32_t is_double)
{
    const struct operand *reg = &ops->list[0];
    double number = 0;

    if (!match2(ops, FPU, VAL | OPERAND_FLOAT))
        return false;
    if (!real_operand(as, &ops->list[1], &number))
        return true;
    if (!is_double) {
        if (fabs(number) > 3.4028235677973366e38) {
            asm_fail(as, ops->list[1].token->column, "the number does not fit in single precision");
            return true;
        }
        float narrow = (float)number;
        uint32_t word;
        memcpy(&word, &narrow, sizeof word);
        load_fpu_word(as, reg->reg, word);
        return true;
    }
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    if (reg->reg % 2 != 0) {
        asm_wrong_operand(as, reg, "an even register, because a double takes two");
        return true;
    }
    load_fpu_word(as, reg->reg, (uint32_t)bits);
    load_fpu_word(as, reg->reg + 1u, (uint32_t)(bits >> 32));
    return true;
}

/* mfc1.d, mtc1.d: a pair of registers and a double. */
static bool move_double(struct assembler *as, const struct operands *ops, int32_t what)
{
    if (!match2(ops, REG, FPU))
        return false;
    unsigned t = ops->list[0].reg, f = ops->list[1].reg;
    if (t == 31 || f % 2 != 0) {
        asm_wrong_operand(as, &ops->list[t != 31], "the first register of a pair");
        return true;
    }
    asm_emit_r(as, (enum isa_insn)what, f, 0, t);
    asm_emit_r(as, (enum isa_insn)what, f + 1, 0, t + 1);
    return true;
}

const struct pseudo asm_pseudo_memory[] = {
    {"la", load_address, 0},
    {"lb", load_store, ISA_LB},
    {"lbu", load_store, ISA_LBU},
    {"lh", load_store, ISA_LH},
    {"lhu", load_store, ISA_LHU},
    {"lw", load_store, ISA_LW},
    {"lwl", load_store, ISA_LWL},
    {"lwr", load_store, ISA_LWR},
    {"ll", load_store, ISA_LL},
    {"sb", load_store, ISA_SB},
    {"sh", load_store, ISA_SH},
    {"sw", load_store, ISA_SW},
    {"swl", load_store, ISA_SWL},
    {"swr", load_store, ISA_SWR},
    {"sc", load_store, ISA_SC},
    {"lwc1", load_store, ISA_LWC1},
    {"ldc1", load_store, ISA_LDC1},
    {"swc1", load_store, ISA_SWC1},
    {"sdc1", load_store, ISA_SDC1},
    {"l.s", load_store, ISA_LWC1},
    {"l.d", load_store, ISA_LDC1},
    {"s.s", load_store, ISA_SWC1},
    {"s.d", load_store, ISA_SDC1},
    {"pref", load_store, ISA_PREF},
    {"cache", load_store, ISA_CACHE},
    {"ulh", unaligned_half, ISA_LB},
    {"ulhu", unaligned_half, ISA_LBU},
    {"ush", unaligned_store_half, 0},
    {"ulw", unaligned_word, 1},
    {"usw", unaligned_word, 0},
    {"ld", two_words, 1},
    {"sd", two_words, 0},
    {"li.s", load_real, 0},
    {"li.d", load_real, 1},
    {"mfc1.d", move_double, ISA_MFC1},
    {"mtc1.d", move_double, ISA_MTC1},
};
const size_t asm_npseudo_memory = ASM_LENGTH(asm_pseudo_memory);
