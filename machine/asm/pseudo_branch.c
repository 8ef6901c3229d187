/* Pseudo-instructions that branch and jump: compare-and-branch, b, bal, j with a register. */
#include "machine/asm/inner.h"

#define REG OPERAND_REGISTER
#define VAL OPERAND_VALUE

/* b, bal. */
static bool always(struct assembler *as, const struct operands *ops, int32_t what)
{
    if (!asm_match(ops, 1, (const uint16_t[]){VAL}))
        return false;
    asm_emit_branch(as, (enum isa_insn)what, 0, &ops->list[0]);
    return true;
}

/* beqz, bnez. */
static bool with_zero(struct assembler *as, const struct operands *ops, int32_t what)
{
    if (!asm_match(ops, 2, (const uint16_t[]){REG, VAL}))
        return false;
    asm_emit_branch(as, (enum isa_insn)what, (uint32_t)ops->list[0].reg << 21, &ops->list[1]);
    return true;
}

/* beq, bne and their likely forms with a number. */
static bool equal(struct assembler *as, const struct operands *ops, int32_t what)
{
    unsigned t;

    if (!asm_match(ops, 3, (const uint16_t[]){REG, REG | VAL, VAL}))
        return false;
    if (ops->list[1].kind == VAL && ops->list[1].value.fixed && ops->list[1].value.number == 0)
        t = 0;
    else if (!asm_in_register(as, ops, 0, &ops->list[1], &t))
        return true;
    asm_emit_branch(as, (enum isa_insn)what, (uint32_t)ops->list[0].reg << 21 | t << 16,
                    &ops->list[2]);
    return true;
}

/*
 * bge, bgt, ble, blt: `slt` into $at, then a branch on it. Swapped operands make > of <,
 * and the opposite branch makes >= of <.
 */
enum order { ORDER_LT = 0, ORDER_GE = 1, ORDER_GT = 2, ORDER_LE = 3, ORDER_UNSIGNED = 4 };

/* With zero, a signed comparison is an instruction of its own. */
static const enum isa_insn order_zero[] = {ISA_BLTZ, ISA_BGEZ, ISA_BGTZ, ISA_BLEZ};

static bool ordered(struct assembler *as, const struct operands *ops, int32_t what)
{
    bool is_unsigned = what & ORDER_UNSIGNED, swapped = what & 2;
    unsigned t;
    int32_t imm;

    if (!asm_match(ops, 3, (const uint16_t[]){REG, REG | VAL, VAL}))
        return false;
    unsigned s = ops->list[0].reg;
    const struct operand *other = &ops->list[1];
    if (!is_unsigned && ((other->kind == REG && other->reg == 0) ||
                         (other->kind == VAL && other->value.fixed && other->value.number == 0))) {
        asm_emit_branch(as, order_zero[what & 3], (uint32_t)s << 21, &ops->list[2]);
        return true;
    }
    if (!swapped && other->kind == VAL && asm_fits_signed(other->value, &imm)) {
        asm_emit_i(as, is_unsigned ? ISA_SLTIU : ISA_SLTI, REGISTER_AT, s, (uint32_t)imm);
    } else {
        enum isa_insn less = is_unsigned ? ISA_SLTU : ISA_SLT;
        if (!asm_in_register(as, ops, 0, other, &t))
            return true;
        if (swapped)
            asm_emit_r(as, less, REGISTER_AT, t, s);
        else
            asm_emit_r(as, less, REGISTER_AT, s, t);
    }
    bool opposite = what & 1;
    asm_emit_branch(as, opposite ? ISA_BEQ : ISA_BNE, (uint32_t)REGISTER_AT << 21, &ops->list[2]);
    return true;
}

/* j and jal with a register. */
static bool jump_register(struct assembler *as, const struct operands *ops, int32_t link)
{
    if (link && asm_match(ops, 2, (const uint16_t[]){REG, REG})) {
        asm_native(as, ISA_JALR, ops);
        return true;
    }
    if (!asm_match(ops, 1, (const uint16_t[]){REG}))
        return false;
    asm_native(as, link ? ISA_JALR : ISA_JR, ops);
    return true;
}

const struct pseudo asm_pseudo_branch[] = {
    {"b", always, ISA_BEQ},
    {"bal", always, ISA_BGEZAL},
    {"beqz", with_zero, ISA_BEQ},
    {"bnez", with_zero, ISA_BNE},
    {"beqzl", with_zero, ISA_BEQL},
    {"bnezl", with_zero, ISA_BNEL},
    {"beq", equal, ISA_BEQ},
    {"bne", equal, ISA_BNE},
    {"beql", equal, ISA_BEQL},
    {"bnel", equal, ISA_BNEL},
    {"blt", ordered, ORDER_LT},
    {"bge", ordered, ORDER_GE},
    {"bgt", ordered, ORDER_GT},
    {"ble", ordered, ORDER_LE},
    {"bltu", ordered, ORDER_LT | ORDER_UNSIGNED},
    {"bgeu", ordered, ORDER_GE | ORDER_UNSIGNED},
    {"bgtu", ordered, ORDER_GT | ORDER_UNSIGNED},
    {"bleu", ordered, ORDER_LE | ORDER_UNSIGNED},
    {"j", jump_register, 0},
    {"jal", jump_register, 1},
};
const size_t asm_npseudo_branch = ASM_LENGTH(asm_pseudo_branch);
