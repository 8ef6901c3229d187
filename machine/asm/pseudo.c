/*
 * Pseudo-instructions: forms that the machine does not have, as SPIM, MARS and gas accept
 * them. This file: constants, arithmetic, shifts, comparisons into a register. What a
 * handler does not take is left to the table. $at is the register that they may use up.
 */
#include "machine/asm/inner.h"

#include <string.h>
#include <strings.h>

#define REG OPERAND_REGISTER
#define VAL OPERAND_VALUE

static bool match2(const struct operands *ops, unsigned a, unsigned b)
{
    return asm_match(ops, 2, (const uint16_t[]){(uint16_t)a, (uint16_t)b});
}

static bool match3(const struct operands *ops, unsigned a, unsigned b, unsigned c)
{
    return asm_match(ops, 3, (const uint16_t[]){(uint16_t)a, (uint16_t)b, (uint16_t)c});
}

bool asm_fits_signed(struct value value, int32_t *imm)
{
    /* 0xffffffff is another way to write -1. */
    *imm = (int32_t)(uint32_t)value.number;
    if (value.low) {
        *imm = (int16_t)(uint16_t)value.number;
        return true;
    }
    return value.fixed && *imm >= -32768 && *imm <= 32767;
}

bool asm_fits_unsigned(struct value value, uint32_t *imm)
{
    *imm = (uint32_t)value.number;
    return value.low || (value.fixed && *imm <= 0xffff);
}

void asm_load_constant(struct assembler *as, unsigned reg, uint32_t value, bool fixed)
{
    int32_t number = (int32_t)value;

    if (fixed && number >= -32768 && number <= 32767) {
        asm_emit_i(as, ISA_ADDIU, reg, 0, value);
    } else if (fixed && value <= 0xffff) {
        asm_emit_i(as, ISA_ORI, reg, 0, value);
    } else {
        asm_emit_i(as, ISA_LUI, reg, 0, value >> 16);
        if (!fixed || (value & 0xffff) != 0)
            asm_emit_i(as, ISA_ORI, reg, reg, value);
    }
}

bool asm_take_at(struct assembler *as, const struct operands *ops, uint32_t from)
{
    for (uint32_t i = from; i < ops->n; i++) {
        const struct operand *op = &ops->list[i];
        if (op->kind & (OPERAND_REGISTER | OPERAND_MEMORY) && op->reg == REGISTER_AT) {
            asm_fail(as, op->token->column,
                     "'%.*s' becomes several instructions here, which need $at ($1) themselves",
                     (int)ops->mnemonic->len, ops->mnemonic->text);
            return false;
        }
    }
    return true;
}

bool asm_in_register(struct assembler *as, const struct operands *ops, uint32_t from,
                     const struct operand *op, unsigned *reg)
{
    uint32_t value;

    *reg = op->reg;
    if (op->kind == OPERAND_REGISTER)
        return true;
    *reg = REGISTER_AT;
    as->column = op->token->column;
    if (op->kind != OPERAND_VALUE)
        return asm_wrong_operand(as, op, "a register or a number");
    if (!asm_take_at(as, ops, from) || !asm_word(as, op->value, &value))
        return false;
    asm_load_constant(as, REGISTER_AT, value, op->value.fixed);
    return true;
}

/* li, la with a value; la with an address is in pseudo_memory.c. */
static bool load_immediate(struct assembler *as, const struct operands *ops, int32_t what)
{
    uint32_t value;

    (void)what;
    if (!match2(ops, REG, VAL)) {
        if (ops->n != 2)
            asm_fail(as, ops->mnemonic->column, "expected a register and a number");
        else if (ops->list[0].kind != REG)
            asm_wrong_operand(as, &ops->list[0], "a register");
        else
            asm_wrong_operand(as, &ops->list[1], "an integer");
        return true;
    }
    as->column = ops->list[1].token->column;
    if (asm_word(as, ops->list[1].value, &value))
        asm_load_constant(as, ops->list[0].reg, value, ops->list[1].value.fixed);
    return true;
}

/* Instructions of three operands whose last one may be a number. */
struct alu {
    enum isa_insn on_register, on_number; /* number: ISA_UNKNOWN when there is none */
    bool is_unsigned;                     /* the number is zero-extended */
    bool negate;                          /* subtraction adds the negative number */
};

enum alu_index { ALU_ADD, ALU_ADDU, ALU_SUB, ALU_SUBU, ALU_AND, ALU_OR, ALU_XOR, ALU_NOR, ALU_SLT,
                 ALU_SLTU, ALU_MUL };

static const struct alu alus[] = {
    [ALU_ADD] = {ISA_ADD, ISA_ADDI, false, false},
    [ALU_ADDU] = {ISA_ADDU, ISA_ADDIU, false, false},
    [ALU_SUB] = {ISA_SUB, ISA_ADDI, false, true},
    [ALU_SUBU] = {ISA_SUBU, ISA_ADDIU, false, true},
    [ALU_AND] = {ISA_AND, ISA_ANDI, true, false},
    [ALU_OR] = {ISA_OR, ISA_ORI, true, false},
    [ALU_XOR] = {ISA_XOR, ISA_XORI, true, false},
    [ALU_NOR] = {ISA_NOR, ISA_UNKNOWN, true, false},
    [ALU_SLT] = {ISA_SLT, ISA_SLTI, false, false},
    [ALU_SLTU] = {ISA_SLTU, ISA_SLTIU, false, false},
    [ALU_MUL] = {ISA_MUL, ISA_UNKNOWN, false, false},
};

static void alu_number(struct assembler *as, const struct alu *alu, const struct operands *ops)
{
    const struct operand *op = &ops->list[ops->n - 1];
    unsigned d = ops->list[0].reg, s = ops->list[ops->n - 2].reg;
    struct value value = op->value;
    uint32_t word, imm;
    int32_t number;
    unsigned t = d;

    as->column = op->token->column;
    if (!asm_word(as, value, &word))
        return;
    if (alu->negate && !value.low && word != 0x80000000)
        value.number = -(int64_t)(int32_t)word;
    else if (alu->negate)
        value.fixed = value.low = false;
    if (alu->on_number != ISA_UNKNOWN && !alu->is_unsigned && asm_fits_signed(value, &number))
        asm_emit_i(as, alu->on_number, d, s, (uint32_t)number);
    else if (alu->on_number != ISA_UNKNOWN && alu->is_unsigned && asm_fits_unsigned(value, &imm))
        asm_emit_i(as, alu->on_number, d, s, imm);
    else {
        /* The result holds the number where it can: $1 is an ordinary register for beginners. */
        if (d != s && d != 0)
            asm_load_constant(as, d, word, op->value.fixed);
        else if (!asm_in_register(as, ops, 0, op, &t))
            return;
        asm_emit_r(as, alu->on_register, d, s, t);
    }
}

static bool arithmetic(struct assembler *as, const struct operands *ops, int32_t what)
{
    const struct alu *alu = &alus[what];
    bool three = match3(ops, REG, REG, REG | VAL);

    /* Two operands: the first one is the result, too. */
    if (!three && !match2(ops, REG, REG | VAL))
        return false;
    unsigned d = ops->list[0].reg, s = ops->list[three].reg;
    const struct operand *last = &ops->list[1 + three];
    if (last->kind == REG)
        asm_emit_r(as, alu->on_register, d, s, last->reg);
    else
        alu_number(as, alu, ops);
    return true;
}

/* sll, srl, sra, rotr with a register or with two operands. */
static bool shift(struct assembler *as, const struct operands *ops, int32_t what)
{
    static const enum isa_insn by_register[][2] = {
        {ISA_SLL, ISA_SLLV}, {ISA_SRL, ISA_SRLV}, {ISA_SRA, ISA_SRAV}, {ISA_ROTR, ISA_ROTRV},
    };
    bool three = match3(ops, REG, REG, REG | VAL);

    if (!three && !match2(ops, REG, REG | VAL))
        return false;
    const struct operand *last = &ops->list[1 + three];
    unsigned d = ops->list[0].reg, t = ops->list[three].reg;
    if (last->kind == REG) {
        asm_emit_r(as, by_register[what][1], d, last->reg, t);
        return true;
    }
    if (last->value.number < 0 || last->value.number > 31)
        asm_fail(as, last->token->column, "expected a shift by 0 to 31, not %lld",
                 (long long)last->value.number);
    asm_emit_shift(as, by_register[what][0], d, t, (unsigned)last->value.number & 31);
    return true;
}

/* rol, ror: by a register or a number. */
static bool rotate(struct assembler *as, const struct operands *ops, int32_t left)
{
    if (!match3(ops, REG, REG, REG | VAL))
        return false;
    unsigned d = ops->list[0].reg, t = ops->list[1].reg;
    const struct operand *last = &ops->list[2];
    if (last->kind == VAL) {
        unsigned n = (unsigned)last->value.number & 31;
        asm_emit_shift(as, ISA_ROTR, d, t, left ? 32 - n : n);
    } else if (left) {
        if (!asm_take_at(as, ops, 1))
            return true;
        asm_emit_r(as, ISA_SUBU, REGISTER_AT, 0, last->reg);
        asm_emit_r(as, ISA_ROTRV, d, REGISTER_AT, t);
    } else {
        asm_emit_r(as, ISA_ROTRV, d, last->reg, t);
    }
    return true;
}

/* One source, or the result as the source. */
enum unary { UNARY_MOVE, UNARY_NOT, UNARY_NEG, UNARY_NEGU, UNARY_ABS };

static bool unary(struct assembler *as, const struct operands *ops, int32_t what)
{
    bool two = match2(ops, REG, REG);

    if (!two && !asm_match(ops, 1, (const uint16_t[]){REG}))
        return false;
    unsigned d = ops->list[0].reg, s = ops->list[two].reg;
    if (what == UNARY_MOVE && !two)
        return false;
    if (what == UNARY_MOVE) {
        asm_emit_r(as, ISA_ADDU, d, 0, s);
    } else if (what == UNARY_NOT) {
        asm_emit_r(as, ISA_NOR, d, s, 0);
    } else if (what == UNARY_ABS) {
        if (!asm_take_at(as, ops, 0))
            return true;
        /* $at is 0 or -1: xor and subtract it. */
        asm_emit_shift(as, ISA_SRA, REGISTER_AT, s, 31);
        asm_emit_r(as, ISA_XOR, d, s, REGISTER_AT);
        asm_emit_r(as, ISA_SUBU, d, d, REGISTER_AT);
    } else {
        asm_emit_r(as, what == UNARY_NEG ? ISA_SUB : ISA_SUBU, d, 0, s);
    }
    return true;
}

/* seq, sne, sge, sgt, sle and their unsigned forms. */
enum set { SET_EQ, SET_NE, SET_GE, SET_GT, SET_LE, SET_UNSIGNED = 8 };

static bool set(struct assembler *as, const struct operands *ops, int32_t what)
{
    enum isa_insn less = what & SET_UNSIGNED ? ISA_SLTU : ISA_SLT;
    unsigned t;

    if (!match3(ops, REG, REG, REG | VAL))
        return false;
    unsigned d = ops->list[0].reg, s = ops->list[1].reg;
    if (!asm_in_register(as, ops, 1, &ops->list[2], &t))
        return true;
    switch (what & 7) {
    case SET_EQ:
        asm_emit_r(as, ISA_SUBU, d, s, t);
        asm_emit_i(as, ISA_SLTIU, d, d, 1);
        break;
    case SET_NE:
        asm_emit_r(as, ISA_SUBU, d, s, t);
        asm_emit_r(as, ISA_SLTU, d, 0, d);
        break;
    case SET_GE:
        asm_emit_r(as, less, d, s, t);
        asm_emit_i(as, ISA_XORI, d, d, 1);
        break;
    case SET_GT:
        asm_emit_r(as, less, d, t, s);
        break;
    default:
        asm_emit_r(as, less, d, t, s);
        asm_emit_i(as, ISA_XORI, d, d, 1);
        break;
    }
    return true;
}

/* Codes of traps by which Linux tells these apart. */
#define TRAP_OVERFLOW 6u
#define TRAP_DIVISION 7u

static void trap(struct assembler *as, enum isa_insn insn, unsigned s, unsigned t, unsigned code)
{
    asm_emit(as, insn, s << 21 | t << 16 | code << 6);
}

/* div, divu, rem, remu with a result; division by zero traps. */
enum division { DIVISION_UNSIGNED = 1, DIVISION_REST = 2 };

static bool division(struct assembler *as, const struct operands *ops, int32_t what)
{
    enum isa_insn insn = what & DIVISION_UNSIGNED ? ISA_DIVU : ISA_DIV;
    bool three = match3(ops, REG, REG, REG | VAL);
    unsigned t;

    if (!three && !(what & DIVISION_REST) && !match2(ops, REG, VAL))
        return false;
    if (!three && !match2(ops, REG, REG | VAL))
        return false;
    unsigned d = ops->list[0].reg, s = ops->list[three].reg;
    const struct operand *last = &ops->list[1 + three];
    if (!asm_in_register(as, ops, three, last, &t))
        return true;
    /* As in other assemblers, $0 as the result means: only HI and LO, without the trap. */
    bool bare = d == 0 && three;
    if (!bare && (last->kind == REG || !last->value.fixed || last->value.number == 0))
        trap(as, ISA_TEQ, t, 0, TRAP_DIVISION);
    asm_emit_r(as, insn, 0, s, t);
    if (!bare)
        asm_emit_r(as, what & DIVISION_REST ? ISA_MFHI : ISA_MFLO, d, 0, 0);
    return true;
}

/* mulo, mulou: overflow traps. mulu: the low word of the unsigned product. */
enum product { PRODUCT_SIGNED, PRODUCT_UNSIGNED, PRODUCT_UNCHECKED };

static bool product(struct assembler *as, const struct operands *ops, int32_t what)
{
    bool three = match3(ops, REG, REG, REG | VAL);
    unsigned t;

    if (!three && !match2(ops, REG, REG | VAL))
        return false;
    unsigned d = ops->list[0].reg, s = ops->list[three].reg;
    if (!asm_in_register(as, ops, three, &ops->list[1 + three], &t))
        return true;
    asm_emit_r(as, what == PRODUCT_SIGNED ? ISA_MULT : ISA_MULTU, 0, s, t);
    if (what != PRODUCT_UNCHECKED && d == REGISTER_AT) {
        asm_take_at(as, ops, 0);
        return true;
    }
    if (what == PRODUCT_UNCHECKED) {
        asm_emit_r(as, ISA_MFLO, d, 0, 0);
        return true;
    }
    asm_emit_r(as, ISA_MFHI, REGISTER_AT, 0, 0);
    asm_emit_r(as, ISA_MFLO, d, 0, 0);
    if (what == PRODUCT_SIGNED) {
        /* It fits when HI is the sign of LO. */
        asm_emit_shift(as, ISA_SRA, d, d, 31);
        trap(as, ISA_TNE, REGISTER_AT, d, TRAP_OVERFLOW);
        asm_emit_r(as, ISA_MFLO, d, 0, 0);
    } else {
        trap(as, ISA_TNE, REGISTER_AT, 0, TRAP_OVERFLOW);
    }
    return true;
}

/* teq and so on with a number: teqi. */
static bool trap_number(struct assembler *as, const struct operands *ops, int32_t what)
{
    if (!match2(ops, REG, VAL))
        return false;
    asm_native(as, (enum isa_insn)what, ops);
    return true;
}

static bool no_operation(struct assembler *as, const struct operands *ops, int32_t what)
{
    if (ops->n != 0) {
        asm_wrong_operand(as, &ops->list[0], "the end of the line");
        return true;
    }
    asm_emit_shift(as, ISA_SLL, 0, 0, (unsigned)what);
    return true;
}

const struct pseudo asm_pseudo_integer[] = {
    {"nop", no_operation, 0},
    {"ssnop", no_operation, 1},
    {"ehb", no_operation, 3},
    {"li", load_immediate, 0},
    {"add", arithmetic, ALU_ADD},
    {"addi", arithmetic, ALU_ADD},
    {"addu", arithmetic, ALU_ADDU},
    {"addiu", arithmetic, ALU_ADDU},
    {"sub", arithmetic, ALU_SUB},
    {"subi", arithmetic, ALU_SUB},
    {"subu", arithmetic, ALU_SUBU},
    {"subiu", arithmetic, ALU_SUBU},
    {"and", arithmetic, ALU_AND},
    {"andi", arithmetic, ALU_AND},
    {"or", arithmetic, ALU_OR},
    {"ori", arithmetic, ALU_OR},
    {"xor", arithmetic, ALU_XOR},
    {"xori", arithmetic, ALU_XOR},
    {"nor", arithmetic, ALU_NOR},
    {"slt", arithmetic, ALU_SLT},
    {"slti", arithmetic, ALU_SLT},
    {"sltu", arithmetic, ALU_SLTU},
    {"sltiu", arithmetic, ALU_SLTU},
    {"mul", arithmetic, ALU_MUL},
    {"sll", shift, 0},
    {"srl", shift, 1},
    {"sra", shift, 2},
    {"rotr", shift, 3},
    {"rol", rotate, 1},
    {"ror", rotate, 0},
    {"move", unary, UNARY_MOVE},
    {"not", unary, UNARY_NOT},
    {"neg", unary, UNARY_NEG},
    {"negu", unary, UNARY_NEGU},
    {"abs", unary, UNARY_ABS},
    {"seq", set, SET_EQ},
    {"sne", set, SET_NE},
    {"sge", set, SET_GE},
    {"sgt", set, SET_GT},
    {"sle", set, SET_LE},
    {"sgeu", set, SET_GE | SET_UNSIGNED},
    {"sgtu", set, SET_GT | SET_UNSIGNED},
    {"sleu", set, SET_LE | SET_UNSIGNED},
    {"div", division, 0},
    {"divu", division, DIVISION_UNSIGNED},
    {"rem", division, DIVISION_REST},
    {"remu", division, DIVISION_REST | DIVISION_UNSIGNED},
    {"mulo", product, PRODUCT_SIGNED},
    {"mulou", product, PRODUCT_UNSIGNED},
    {"mulu", product, PRODUCT_UNCHECKED},
    {"teq", trap_number, ISA_TEQI},
    {"tne", trap_number, ISA_TNEI},
    {"tge", trap_number, ISA_TGEI},
    {"tgeu", trap_number, ISA_TGEIU},
    {"tlt", trap_number, ISA_TLTI},
    {"tltu", trap_number, ISA_TLTIU},
};
const size_t asm_npseudo_integer = ASM_LENGTH(asm_pseudo_integer);

/* Looks for the name in one list; whether a handler took the instruction. */
static bool try_list(struct assembler *as, const struct operands *ops, const struct pseudo *list,
                     size_t n, bool *known)
{
    const struct token *name = ops->mnemonic;

    for (size_t i = 0; i < n; i++) {
        if ((list[i].name[0] ^ name->text[0]) & 0xdf)
            continue;
        if (strncasecmp(list[i].name, name->text, name->len) == 0 && list[i].name[name->len] == 0) {
            *known = true;
            return list[i].handler(as, ops, list[i].what);
        }
    }
    return false;
}

bool asm_pseudo(struct assembler *as, const struct operands *ops)
{
    bool known = false;

    if (try_list(as, ops, asm_pseudo_integer, asm_npseudo_integer, &known) ||
        try_list(as, ops, asm_pseudo_branch, asm_npseudo_branch, &known) ||
        try_list(as, ops, asm_pseudo_memory, asm_npseudo_memory, &known))
        return true;
    if (!known || isa_find(ops->mnemonic->text, ops->mnemonic->len) != ISA_UNKNOWN)
        return false;
    asm_fail(as, ops->n > 0 ? ops->list[0].token->column : ops->mnemonic->column,
             "these are no operands for '%.*s'", (int)ops->mnemonic->len, ops->mnemonic->text);
    return true;
}
