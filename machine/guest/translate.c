/*
 * Translation of instructions to the internal form, a block at a time: from an address up
 * to the first branch, the first instruction that leaves the fast loop, or BLOCK_MAX.
 *
 * Delay slots cost nothing: a slot that does not change what its branch looks at stands
 * before the branch in the block (and is marked, for the exception's EPC and BD). One that
 * does stands behind the branch's condition, and the branch waits. What cannot stand in
 * one block with its branch (a slot without memory, a breakpoint on it, an instruction
 * that leaves the loop) is done one by one: the branch sets the machine's in_slot and npc.
 *
 * Writes to $0 go to REG_SINK, so that no instruction has to ask.
 */
#include "translate.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)64 * 1024)
#define CHUNKS_MAX  ((size_t)8 * 1024 * 1024)

/* Memory of blocks; all of it is given back at once. */
struct chunk {
    struct chunk *next;
    size_t used;
    _Alignas(16) uint8_t bytes[];
};

/* How the operands of an instruction become those of an internal one. */
enum shape {
    SHAPE_NONE, /* not in this table */
    SHAPE_DST,
    SHAPE_DTA,
    SHAPE_TSI,
    SHAPE_TSU,
    SHAPE_ST,
    SHAPE_SI,
    SHAPE_LOAD,
    SHAPE_STORE,
    SHAPE_SC,
    SHAPE_PART,  /* lwl, lwr: the old value is an operand */
    SHAPE_MOVCC, /* movf, movt */
    SHAPE_FLOAD, /* lwc1, swc1 */
    SHAPE_FDLOAD,
    SHAPE_FXLOAD, /* indexed; fd */
    SHAPE_FXDLOAD,
    SHAPE_FXSTORE, /* indexed; fs */
    SHAPE_FXDSTORE,
    SHAPE_F,      /* fd, fs, ft */
    SHAPE_FD,     /* all of them doubles */
    SHAPE_F_FROM_D, /* fs a double */
    SHAPE_FD_FROM,  /* fd a double */
    SHAPE_FCC,
    SHAPE_FDCC,
    SHAPE_FRT, /* fd, fs, and register rt */
    SHAPE_FDRT,
    SHAPE_WORD, /* to an integer; the rounding stands in `extra` */
    SHAPE_WORD_D,
    SHAPE_COMPARE,
    SHAPE_COMPARE_D,
    SHAPE_MULADD,
    SHAPE_MULADD_D,
};

struct rule {
    uint8_t op, big, shape, extra; /* `big`: the internal instruction for big-endian memory */
};

#define RULE(code, kind)          {OP_##code, OP_##code, SHAPE_##kind, 0}
#define RULE_X(code, kind, extra) {OP_##code, OP_##code, SHAPE_##kind, extra}
#define RULE_E(code, kind)        {OP_##code##_L, OP_##code##_B, SHAPE_##kind, 0}
#define RULE_SD(code)                                  \
    [ISA_##code##_S] = RULE(code##_S, F), [ISA_##code##_D] = RULE(code##_D, FD)
#define RULE_WORD(code, mode)                                     \
    [ISA_##code##_S] = RULE_X(TO_WORD_S, WORD, mode),             \
    [ISA_##code##_D] = RULE_X(TO_WORD_D, WORD_D, mode)
#define RULE_C(code, condition)                                   \
    [ISA_C_##code##_S] = RULE_X(COMPARE_S, COMPARE, condition),   \
    [ISA_C_##code##_D] = RULE_X(COMPARE_D, COMPARE_D, condition)
#define RULE_MULADD(code, kind)                                   \
    [ISA_##code##_S] = RULE_X(MADD_S, MULADD, kind),              \
    [ISA_##code##_D] = RULE_X(MADD_D, MULADD_D, kind)

/* Instructions that are one internal instruction each. */
static const struct rule rules[ISA_COUNT] = {
    [ISA_SLL] = RULE(SLL, DTA),
    [ISA_SRL] = RULE(SRL, DTA),
    [ISA_SRA] = RULE(SRA, DTA),
    [ISA_ROTR] = RULE(ROTR, DTA),
    [ISA_SLLV] = RULE(SLLV, DST),
    [ISA_SRLV] = RULE(SRLV, DST),
    [ISA_SRAV] = RULE(SRAV, DST),
    [ISA_ROTRV] = RULE(ROTRV, DST),
    [ISA_ADD] = RULE(ADD, DST),
    [ISA_ADDU] = RULE(ADDU, DST),
    [ISA_SUB] = RULE(SUB, DST),
    [ISA_SUBU] = RULE(SUBU, DST),
    [ISA_AND] = RULE(AND, DST),
    [ISA_OR] = RULE(OR, DST),
    [ISA_XOR] = RULE(XOR, DST),
    [ISA_NOR] = RULE(NOR, DST),
    [ISA_SLT] = RULE(SLT, DST),
    [ISA_SLTU] = RULE(SLTU, DST),
    [ISA_ADDI] = RULE(ADDI, TSI),
    [ISA_ADDIU] = RULE(ADDIU, TSI),
    [ISA_SLTI] = RULE(SLTI, TSI),
    [ISA_SLTIU] = RULE(SLTIU, TSI),
    [ISA_ANDI] = RULE(ANDI, TSU),
    [ISA_ORI] = RULE(ORI, TSU),
    [ISA_XORI] = RULE(XORI, TSU),
    [ISA_CLZ] = RULE(CLZ, DST),
    [ISA_CLO] = RULE(CLO, DST),
    [ISA_WSBH] = RULE(WSBH, DST),
    [ISA_SEB] = RULE(SEB, DST),
    [ISA_SEH] = RULE(SEH, DST),
    [ISA_MOVZ] = RULE(MOVZ, DST),
    [ISA_MOVN] = RULE(MOVN, DST),
    [ISA_MOVF] = RULE(MOVF, MOVCC),
    [ISA_MOVT] = RULE(MOVT, MOVCC),
    [ISA_MUL] = RULE(MUL, DST),
    [ISA_MULT] = RULE(MULT, ST),
    [ISA_MULTU] = RULE(MULTU, ST),
    [ISA_DIV] = RULE(DIV, ST),
    [ISA_DIVU] = RULE(DIVU, ST),
    [ISA_MADD] = RULE(MADD, ST),
    [ISA_MADDU] = RULE(MADDU, ST),
    [ISA_MSUB] = RULE(MSUB, ST),
    [ISA_MSUBU] = RULE(MSUBU, ST),
    [ISA_LB] = RULE(LB, LOAD),
    [ISA_LBU] = RULE(LBU, LOAD),
    [ISA_LH] = RULE_E(LH, LOAD),
    [ISA_LHU] = RULE_E(LHU, LOAD),
    [ISA_LW] = RULE_E(LW, LOAD),
    [ISA_LL] = RULE_E(LL, LOAD),
    [ISA_LWL] = RULE(LWL, PART),
    [ISA_LWR] = RULE(LWR, PART),
    [ISA_SB] = RULE(SB, STORE),
    [ISA_SH] = RULE_E(SH, STORE),
    [ISA_SW] = RULE_E(SW, STORE),
    [ISA_SWL] = RULE(SWL, STORE),
    [ISA_SWR] = RULE(SWR, STORE),
    [ISA_SC] = RULE(SC, SC),
    [ISA_LWC1] = RULE_E(LWC1, FLOAD),
    [ISA_SWC1] = RULE_E(SWC1, FLOAD),
    [ISA_LDC1] = RULE_E(LDC1, FDLOAD),
    [ISA_SDC1] = RULE_E(SDC1, FDLOAD),
    [ISA_LWXC1] = RULE(LWXC1, FXLOAD),
    [ISA_LDXC1] = RULE(LDXC1, FXDLOAD),
    [ISA_SWXC1] = RULE(SWXC1, FXSTORE),
    [ISA_SDXC1] = RULE(SDXC1, FXDSTORE),
    [ISA_TGE] = RULE(TGE, ST),
    [ISA_TGEU] = RULE(TGEU, ST),
    [ISA_TLT] = RULE(TLT, ST),
    [ISA_TLTU] = RULE(TLTU, ST),
    [ISA_TEQ] = RULE(TEQ, ST),
    [ISA_TNE] = RULE(TNE, ST),
    [ISA_TGEI] = RULE(TGEI, SI),
    [ISA_TGEIU] = RULE(TGEIU, SI),
    [ISA_TLTI] = RULE(TLTI, SI),
    [ISA_TLTIU] = RULE(TLTIU, SI),
    [ISA_TEQI] = RULE(TEQI, SI),
    [ISA_TNEI] = RULE(TNEI, SI),
    RULE_SD(ADD),
    RULE_SD(SUB),
    RULE_SD(MUL),
    RULE_SD(DIV),
    RULE_SD(SQRT),
    RULE_SD(RECIP),
    RULE_SD(RSQRT),
    RULE_SD(ABS),
    RULE_SD(NEG),
    RULE_SD(MOV),
    [ISA_MOVF_S] = RULE(MOVF_S, FCC),
    [ISA_MOVT_S] = RULE(MOVT_S, FCC),
    [ISA_MOVF_D] = RULE(MOVF_D, FDCC),
    [ISA_MOVT_D] = RULE(MOVT_D, FDCC),
    [ISA_MOVZ_S] = RULE(MOVZ_S, FRT),
    [ISA_MOVN_S] = RULE(MOVN_S, FRT),
    [ISA_MOVZ_D] = RULE(MOVZ_D, FDRT),
    [ISA_MOVN_D] = RULE(MOVN_D, FDRT),
    [ISA_CVT_S_W] = RULE(CVT_S_W, F),
    [ISA_CVT_D_W] = RULE(CVT_D_W, FD_FROM),
    [ISA_CVT_S_D] = RULE(CVT_S_D, F_FROM_D),
    [ISA_CVT_D_S] = RULE(CVT_D_S, FD_FROM),
    RULE_WORD(ROUND_W, FPU_NEAREST),
    RULE_WORD(TRUNC_W, FPU_ZERO),
    RULE_WORD(CEIL_W, FPU_UP),
    RULE_WORD(FLOOR_W, FPU_DOWN),
    RULE_WORD(CVT_W, FPU_CURRENT),
    RULE_MULADD(MADD, 0),
    RULE_MULADD(MSUB, FPU_MINUS),
    RULE_MULADD(NMADD, FPU_NEGATE),
    RULE_MULADD(NMSUB, FPU_MINUS | FPU_NEGATE),
    RULE_C(F, 0),
    RULE_C(UN, 1),
    RULE_C(EQ, 2),
    RULE_C(UEQ, 3),
    RULE_C(OLT, 4),
    RULE_C(ULT, 5),
    RULE_C(OLE, 6),
    RULE_C(ULE, 7),
    RULE_C(SF, 8),
    RULE_C(NGLE, 9),
    RULE_C(SEQ, 10),
    RULE_C(NGL, 11),
    RULE_C(LT, 12),
    RULE_C(NGE, 13),
    RULE_C(LE, 14),
    RULE_C(NGT, 15),
};

_Static_assert(OPS <= UINT8_MAX, "codes are bytes");

/* A block that is being made. */
struct builder {
    struct machine *m;
    uint32_t pc;
    enum block_kind kind;
    size_t nops;
    unsigned n; /* instructions so far */
    bool slot;  /* what is emitted now stands in a delay slot */
    uint32_t target[2];
    uint16_t insns[BLOCK_MAX];
    uint8_t codes[3 * BLOCK_MAX];
    struct op ops[3 * BLOCK_MAX];
};

/* The bit of FCSR that a condition flag is. */
static unsigned condition_bit(unsigned flag)
{
    return flag == 0 ? 23 : 24 + flag;
}

static struct op *emit(struct builder *to, enum op_code code)
{
    struct op *op = &to->ops[to->nops];

    *op = (struct op){.go = to->m->labels[code],
                      .index = (uint8_t)(to->n | (to->slot ? OP_SLOT : 0))};
    to->codes[to->nops++] = (uint8_t)code;
    return op;
}

static void emit_raise(struct builder *to, enum exception code, unsigned coprocessor)
{
    struct op *op = emit(to, OP_RAISE);

    op->imm = code;
    op->t = (uint8_t)coprocessor;
}

static uint8_t sink(unsigned reg)
{
    return (uint8_t)(reg == 0 ? REG_SINK : reg);
}

/* `d` = constant; one after the other in the same register become the last one. */
static void emit_constant(struct builder *to, unsigned d, uint32_t value)
{
    if (d == 0)
        return;
    if (to->nops > 0 && !to->slot && to->codes[to->nops - 1] == OP_LI &&
        to->ops[to->nops - 1].d == d)
        to->nops--;
    struct op *op = emit(to, OP_LI);
    op->d = (uint8_t)d;
    op->imm = value;
}

/* Whether register `reg` is known to hold a constant here. */
static bool constant(const struct builder *to, unsigned reg, uint32_t *value)
{
    if (reg != 0 && (to->nops == 0 || to->slot || to->codes[to->nops - 1] != OP_LI ||
                     to->ops[to->nops - 1].d != reg))
        return false;
    *value = reg == 0 ? 0 : to->ops[to->nops - 1].imm;
    return true;
}

/* The integer instructions that are often something simpler. True: done. */
static bool emit_simpler(struct builder *to, enum isa_insn insn, struct isa_fields f)
{
    uint32_t value;

    switch (insn) {
    case ISA_LUI:
        emit_constant(to, f.rt, f.uimm << 16);
        return true;
    case ISA_ADDIU:
        if (!constant(to, f.rs, &value))
            return false;
        emit_constant(to, f.rt, value + (uint32_t)f.imm);
        return true;
    case ISA_ORI:
        if (!constant(to, f.rs, &value))
            return false;
        emit_constant(to, f.rt, value | f.uimm);
        return true;
    case ISA_ADDU:
    case ISA_OR:
        if (f.rs != 0 && f.rt != 0)
            return false;
        if (f.rd != 0) {
            struct op *op = emit(to, OP_MOVE);
            op->d = f.rd;
            op->s = (uint8_t)(f.rs | f.rt);
        }
        return true;
    default:
        return false;
    }
}

static void emit_move(struct builder *to, enum op_code code, unsigned d, unsigned s)
{
    struct op *op = emit(to, code);

    op->d = (uint8_t)d;
    op->s = (uint8_t)s;
}

/* Moves between registers, bit fields, and what has no effect. True: done. */
static bool emit_other(struct builder *to, enum isa_insn insn, struct isa_fields f)
{
    switch (insn) {
    case ISA_MFHI:
        emit_move(to, OP_MOVE, sink(f.rd), REG_HI);
        return true;
    case ISA_MFLO:
        emit_move(to, OP_MOVE, sink(f.rd), REG_LO);
        return true;
    case ISA_MTHI:
        emit_move(to, OP_MOVE, REG_HI, f.rs);
        return true;
    case ISA_MTLO:
        emit_move(to, OP_MOVE, REG_LO, f.rs);
        return true;
    case ISA_MFC1:
        emit_move(to, OP_MFC1, sink(f.rt), f.rd);
        return true;
    case ISA_MTC1:
        emit_move(to, OP_MTC1, f.rd, f.rt);
        return true;
    case ISA_MFHC1:
        emit_move(to, OP_MFHC1, sink(f.rt), f.rd);
        return true;
    case ISA_MTHC1:
        emit_move(to, OP_MTHC1, f.rd, f.rt);
        return true;
    case ISA_CFC1:
        emit_move(to, OP_CFC1, sink(f.rt), f.rd);
        return true;
    case ISA_PREF:
    case ISA_PREFX:
    case ISA_SYNC:
    case ISA_SYNCI: /* stores to code are noticed without it */
        return true;
    case ISA_BREAK:
        emit_raise(to, EXC_BP, 0);
        return true;
    default:
        return false;
    }
}

/* ext and ins; positions that do not fit together are reserved. */
static void emit_field(struct builder *to, enum isa_insn insn, struct isa_fields f)
{
    unsigned size = insn == ISA_EXT ? f.rd + 1u : f.rd - f.sa + 1u;

    if ((insn == ISA_INS && f.rd < f.sa) || f.sa + size > 32) {
        emit_raise(to, EXC_RI, 0);
        return;
    }
    struct op *op = emit(to, insn == ISA_EXT ? OP_EXT : OP_INS);
    op->d = sink(f.rt);
    op->s = f.rs;
    op->t = f.sa;
    op->imm = UINT32_MAX >> (32 - size);
}

/* Whether the FPU registers of an instruction are pairs where they must be. */
static bool pairs_fit(enum shape shape, struct isa_fields f)
{
    switch (shape) {
    case SHAPE_FDLOAD:
        return f.rt % 2 == 0;
    case SHAPE_FXDLOAD:
    case SHAPE_FD_FROM:
        return f.sa % 2 == 0;
    case SHAPE_FXDSTORE:
    case SHAPE_F_FROM_D:
    case SHAPE_WORD_D:
        return f.rd % 2 == 0;
    case SHAPE_FD:
        return (f.rd | f.rt | f.sa) % 2 == 0;
    case SHAPE_FDCC:
    case SHAPE_FDRT:
        return (f.rd | f.sa) % 2 == 0;
    case SHAPE_COMPARE_D:
        return (f.rd | f.rt) % 2 == 0;
    case SHAPE_MULADD_D:
        return (f.rd | f.rt | f.sa | f.rs) % 2 == 0;
    default:
        return true;
    }
}

static void shape_integer(struct op *op, enum shape shape, struct isa_fields f, uint32_t word)
{
    op->s = f.rs;
    op->t = f.rt;
    op->imm = (uint32_t)f.imm;
    switch (shape) {
    case SHAPE_DST:
        op->d = sink(f.rd);
        break;
    case SHAPE_DTA:
        op->d = sink(f.rd);
        op->imm = f.sa;
        break;
    case SHAPE_TSU:
        op->d = sink(f.rt);
        op->imm = f.uimm;
        break;
    case SHAPE_MOVCC:
        op->d = sink(f.rd);
        op->imm = UINT32_C(1) << condition_bit(ISA_CC_BRANCH(word));
        break;
    case SHAPE_TSI:
    case SHAPE_LOAD:
    case SHAPE_PART:
    case SHAPE_SC:
        op->d = sink(f.rt);
        break;
    case SHAPE_FLOAD:
    case SHAPE_FDLOAD:
        op->d = f.rt;
        break;
    case SHAPE_FXSTORE:
    case SHAPE_FXDSTORE:
        op->d = f.rd;
        break;
    case SHAPE_FXLOAD:
    case SHAPE_FXDLOAD:
        op->d = f.sa;
        break;
    default:
        break;
    }
}

static void shape_fpu(struct op *op, const struct rule *rule, struct isa_fields f, uint32_t word)
{
    op->d = f.sa;
    op->s = f.rd;
    op->t = f.rt;
    op->imm = rule->extra;
    if (rule->shape == SHAPE_FCC || rule->shape == SHAPE_FDCC)
        op->imm = UINT32_C(1) << condition_bit(ISA_CC_BRANCH(word));
    if (rule->shape == SHAPE_COMPARE || rule->shape == SHAPE_COMPARE_D)
        op->d = (uint8_t)condition_bit(ISA_CC_COMPARE(word));
    if (rule->shape == SHAPE_MULADD || rule->shape == SHAPE_MULADD_D)
        op->imm |= (uint32_t)f.rs << 16;
}

/* Integer instructions without any other effect than their register. */
static bool only_register(enum isa_insn insn)
{
    uint32_t flags = isa_table[insn].flags;

    return (flags & (ISA_W_RD | ISA_W_RT)) != 0 &&
           !(flags & (ISA_OVERFLOW | ISA_LOAD | ISA_STORE | ISA_FPU | ISA_LINK));
}

/* Any instruction that is no branch and does not leave the loop. */
static void emit_insn(struct builder *to, enum isa_insn insn, uint32_t word)
{
    struct isa_fields f = isa_fields(word);

    if (insn == ISA_UNKNOWN) {
        unsigned opcode = word >> 26; /* cop2, lwc2, ldc2, swc2, sdc2 */
        bool second = opcode == 0x12 || (opcode & 0x33) == 0x32;
        emit_raise(to, second ? EXC_CPU : EXC_RI, second ? 2 : 0);
        return;
    }
    uint32_t flags = isa_table[insn].flags;
    if (flags & ISA_FPU && !to->m->fpu) {
        emit_raise(to, EXC_CPU, 1);
        return;
    }
    if (only_register(insn) && (flags & ISA_W_RD ? f.rd : f.rt) == 0)
        return;
    if (insn == ISA_EXT || insn == ISA_INS) {
        emit_field(to, insn, f);
        return;
    }
    if (emit_simpler(to, insn, f) || emit_other(to, insn, f))
        return;
    const struct rule *rule = &rules[insn];
    if (rule->shape == SHAPE_NONE || !pairs_fit(rule->shape, f)) {
        emit_raise(to, EXC_RI, 0);
        return;
    }
    bool exact = to->m->fpu_exact && fpu_exact_has(insn);
    struct op *op = emit(to, exact ? OP_EXACT : to->m->big_endian ? rule->big : rule->op);
    if (exact) {
        shape_fpu(op, rule, f, word);
        op->imm = insn;
    } else if (rule->shape < SHAPE_F) {
        shape_integer(op, rule->shape, f, word);
    } else {
        shape_fpu(op, rule, f, word);
    }
}

/* What leaves the fast loop, for system.c. */
static bool is_system(enum isa_insn insn)
{
    if (insn == ISA_UNKNOWN)
        return false;
    return (isa_table[insn].flags & (ISA_PRIVILEGED | ISA_ENDS_BLOCK)) != 0 ||
           insn == ISA_SYSCALL || insn == ISA_RDHWR;
}

static bool is_branch(enum isa_insn insn)
{
    return insn != ISA_UNKNOWN && (isa_table[insn].flags & (ISA_BRANCH | ISA_JUMP)) != 0;
}

/* A branch or jump, taken apart. */
struct branch {
    enum op_code last, wait; /* at the end of a block; when its slot must run in between */
    uint8_t s, t;
    uint32_t flag; /* mask of a condition flag */
    unsigned link; /* register of the return address; 0: none */
    bool likely, absolute, by_register;
    uint32_t target;
};

static void branch_codes(struct branch *br, enum isa_insn insn)
{
    static const uint8_t codes[ISA_COUNT][2] = {
#define CODES(name, as) [ISA_##name] = {OP_##as, OP_WAIT_##as}
        CODES(J, J),           CODES(JAL, J),         CODES(JR, JR),
        CODES(JR_HB, JR),      CODES(JALR, JR),       CODES(JALR_HB, JR),
        CODES(BEQ, BEQ),       CODES(BNE, BNE),       CODES(BLEZ, BLEZ),
        CODES(BGTZ, BGTZ),     CODES(BLTZ, BLTZ),     CODES(BGEZ, BGEZ),
        CODES(BLTZAL, BLTZ),   CODES(BGEZAL, BGEZ),   CODES(BEQL, BEQ),
        CODES(BNEL, BNE),      CODES(BLEZL, BLEZ),    CODES(BGTZL, BGTZ),
        CODES(BLTZL, BLTZ),    CODES(BGEZL, BGEZ),    CODES(BLTZALL, BLTZ),
        CODES(BGEZALL, BGEZ),  CODES(BC1F, BC1F),     CODES(BC1T, BC1T),
        CODES(BC1FL, BC1F),    CODES(BC1TL, BC1T),
#undef CODES
    };

    br->last = codes[insn][0];
    br->wait = codes[insn][1];
}

static struct branch branch_of(enum isa_insn insn, uint32_t word, uint32_t pc)
{
    struct isa_fields f = isa_fields(word);
    uint32_t flags = isa_table[insn].flags;
    struct branch br = {.s = f.rs, .likely = (flags & ISA_LIKELY) != 0};

    branch_codes(&br, insn);
    br.absolute = br.last == OP_J;
    br.by_register = br.last == OP_JR;
    if (br.last == OP_BEQ || br.last == OP_BNE)
        br.t = f.rt;
    if (br.last == OP_BC1F || br.last == OP_BC1T) {
        br.s = 0;
        br.flag = UINT32_C(1) << condition_bit(ISA_CC_BRANCH(word));
    }
    if (br.absolute) {
        br.s = 0;
        br.target = isa_jump_target(word, pc);
    } else if (!br.by_register) {
        br.target = isa_branch_target(word, pc);
    }
    /* A branch that compares a register with itself is how compilers write `b`. */
    if (br.last == OP_BEQ && br.s == br.t) {
        br.last = OP_B;
        br.wait = OP_WAIT_J;
    }
    if (flags & ISA_LINK)
        br.link = flags & ISA_W_RD ? f.rd : 31;
    return br;
}

/* The register that an instruction writes, or 0. */
static unsigned written_register(enum isa_insn insn, uint32_t word)
{
    struct isa_fields f = isa_fields(word);
    uint32_t flags = insn == ISA_UNKNOWN ? 0 : isa_table[insn].flags;

    return flags & ISA_W_RD ? f.rd : flags & ISA_W_RT ? f.rt : 0;
}

static void emit_condition(struct builder *to, enum op_code code, const struct branch *br)
{
    struct op *op = emit(to, code);

    op->s = br->s;
    op->t = br->t;
    op->imm = br->flag;
}

/* Internal instructions that end in a branch on their result. */
static bool fuse(struct builder *to, const struct branch *br)
{
    static const uint8_t pairs[][3] = {
        {OP_SLT, OP_BNE, OP_SLT_BNE},       {OP_SLT, OP_BEQ, OP_SLT_BEQ},
        {OP_SLTU, OP_BNE, OP_SLTU_BNE},     {OP_SLTU, OP_BEQ, OP_SLTU_BEQ},
        {OP_SLTI, OP_BNE, OP_SLTI_BNE},     {OP_SLTI, OP_BEQ, OP_SLTI_BEQ},
        {OP_SLTIU, OP_BNE, OP_SLTIU_BNE},   {OP_SLTIU, OP_BEQ, OP_SLTIU_BEQ},
        {OP_ADDIU, OP_BNE, OP_ADDIU_BNE},   {OP_ADDIU, OP_BEQ, OP_ADDIU_BEQ},
        {OP_ADDIU, OP_BGTZ, OP_ADDIU_BGTZ}, {OP_ADDIU, OP_BGEZ, OP_ADDIU_BGEZ},
        {OP_ADDIU, OP_J, OP_ADDIU_J},       {OP_ADDIU, OP_B, OP_ADDIU_B},
    };

    if (to->nops == 0)
        return false;
    struct op *op = &to->ops[to->nops - 1];
    unsigned code = to->codes[to->nops - 1];
    bool counts = code == OP_ADDIU;
    bool zero = br->t == 0 && br->s == op->d;
    if (counts && op->s != op->d) /* the fused one adds in place */
        return false;
    if (!counts && !zero)
        return false;
    if (counts && (br->last == OP_BGTZ || br->last == OP_BGEZ) && !zero)
        return false;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (pairs[i][0] != code || pairs[i][1] != br->last)
            continue;
        op->go = to->m->labels[pairs[i][2]];
        to->codes[to->nops - 1] = pairs[i][2];
        if (counts) {
            op->s = br->s;
            op->t = br->t;
        }
        return true;
    }
    return false;
}

static void emit_last(struct builder *to, const struct branch *br)
{
    if (!fuse(to, br))
        emit_condition(to, br->last, br);
}

static void note(struct builder *to, enum isa_insn insn)
{
    to->insns[to->n++] = (uint16_t)insn;
}

/* Without delay slots. */
static void branch_plain(struct builder *to, const struct branch *br, enum isa_insn insn,
                         uint32_t pc)
{
    bool wait = br->link != 0 && (br->link == br->s || br->link == br->t);

    to->target[0] = pc + 4;
    to->target[1] = br->target;
    if (wait)
        emit_condition(to, br->wait, br);
    if (br->link != 0)
        emit_constant(to, br->link, pc + 4);
    if (wait)
        emit(to, br->by_register ? OP_JUMP_WAITED : OP_BRANCH_WAITED);
    else
        emit_last(to, br);
    note(to, insn);
}

/* Only the branch; its slot is a step of its own. */
static void branch_alone(struct builder *to, const struct branch *br, enum isa_insn insn,
                         uint32_t pc)
{
    to->target[1] = br->target;
    emit_condition(to, br->wait, br);
    if (br->link != 0)
        emit_constant(to, br->link, pc + 8);
    emit(to, br->by_register ? OP_STEP_JUMP
             : br->absolute  ? OP_STEP_J
             : br->likely    ? OP_STEP_LIKELY
                             : OP_STEP_BRANCH);
    note(to, insn);
}

static void branch_and_slot(struct builder *to, const struct branch *br, enum isa_insn insn,
                            uint32_t pc, uint32_t slot_word)
{
    enum isa_insn slot = isa_decode(slot_word);
    unsigned written = written_register(slot, slot_word);
    bool flag = slot != ISA_UNKNOWN && isa_table[slot].flags & ISA_W_FCC && br->flag != 0;
    bool wait = br->likely || flag || (written != 0 && (written == br->s || written == br->t)) ||
                (br->link != 0 && (br->link == br->s || br->link == br->t));

    to->target[0] = pc + 8;
    to->target[1] = br->target;
    if (wait)
        emit_condition(to, br->wait, br);
    if (br->link != 0)
        emit_constant(to, br->link, pc + 8);
    if (br->likely)
        emit(to, OP_SKIP_SLOT);
    note(to, insn);
    to->slot = true;
    size_t before = to->nops;
    emit_insn(to, slot, slot_word);
    to->slot = false;
    if (br->likely)
        emit(to, OP_J);
    else if (wait)
        emit(to, br->by_register ? OP_JUMP_WAITED : OP_BRANCH_WAITED);
    else if (to->nops == before)
        emit_last(to, br);
    else
        emit_condition(to, br->last, br);
    note(to, slot);
}

static bool is_break(const struct machine *m, uint32_t address)
{
    for (size_t i = 0; i < m->nbreaks; i++)
        if (m->breaks[i] == address)
            return true;
    return false;
}

/* True when the branch is in the block; false: the block must end before it. */
static bool add_branch(struct builder *to, enum isa_insn insn, uint32_t word, uint32_t pc)
{
    struct machine *m = to->m;
    struct branch br = branch_of(insn, word, pc);
    uint32_t slot;

    if (isa_table[insn].flags & ISA_FPU && !m->fpu) {
        emit_raise(to, EXC_CPU, 1);
        note(to, insn);
        return true;
    }
    if (!m->delayed) {
        branch_plain(to, &br, insn, pc);
        return true;
    }
    if (to->kind == BLOCK_STEP_SLOT) {
        /* The architecture leaves a branch in a delay slot open. */
        emit_raise(to, EXC_RI, 0);
        note(to, insn);
        return true;
    }
    if (to->kind == BLOCK_WHOLE && !is_break(m, pc + 4) && memory_fetch(m, pc + 4, &slot) &&
        !is_branch(isa_decode(slot)) && !is_system(isa_decode(slot))) {
        if (to->n + 2 > BLOCK_MAX)
            return false;
        branch_and_slot(to, &br, insn, pc, slot);
        return true;
    }
    if (to->n > 0)
        return false;
    branch_alone(to, &br, insn, pc);
    return true;
}

/* Fills the builder; false: there is nothing at its pc, and machine.fault says why. */
static bool build(struct builder *to)
{
    unsigned most = to->kind == BLOCK_WHOLE ? BLOCK_MAX : 1;
    uint32_t word;

    if (to->kind == BLOCK_WHOLE && is_break(to->m, to->pc)) {
        emit(to, OP_BREAKPOINT);
        return true;
    }
    to->slot = to->kind == BLOCK_STEP_SLOT;
    while (to->n < most) {
        uint32_t pc = to->pc + 4 * to->n;
        if (to->n > 0 && is_break(to->m, pc))
            break;
        if (!memory_fetch(to->m, pc, &word)) {
            if (to->n == 0)
                return false;
            break;
        }
        enum isa_insn insn = isa_decode(word);
        if (is_branch(insn)) {
            if (add_branch(to, insn, word, pc))
                return true;
            break;
        }
        if (is_system(insn)) {
            emit(to, OP_SYSTEM);
            note(to, insn);
            return true;
        }
        emit_insn(to, insn, word);
        note(to, insn);
    }
    to->target[0] = to->pc + 4 * to->n;
    emit(to, to->kind == BLOCK_STEP_SLOT ? OP_SLOT_END : OP_NEXT);
    return true;
}

static void *chunk_take(struct machine *m, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    if (m->chunks == NULL || m->chunks->used + bytes > CHUNK_BYTES) {
        struct chunk *chunk = malloc(sizeof(*chunk) + CHUNK_BYTES);
        if (chunk == NULL)
            return NULL;
        chunk->next = m->chunks;
        chunk->used = 0;
        m->chunks = chunk;
        m->chunk_bytes += CHUNK_BYTES;
    }
    void *memory = m->chunks->bytes + m->chunks->used;
    m->chunks->used += bytes;
    return memory;
}

static unsigned bucket_of(uint32_t pc, enum block_kind kind)
{
    return (pc / 4 * 3 + kind) % BLOCK_BUCKETS;
}

static uint32_t filter_bit(uint32_t address)
{
    return (address >> PAGE_BITS) * UINT32_C(0x9e3779b1) >> 20;
}

static void filter_add(struct machine *m, uint32_t address)
{
    uint32_t bit = filter_bit(address);

    m->page_filter[bit / 8] |= (uint8_t)(1u << bit % 8);
}

bool blocks_on_page(const struct machine *m, uint32_t address)
{
    uint32_t bit = filter_bit(address);

    return m->page_filter[bit / 8] >> bit % 8 & 1;
}

static struct block *block_make(struct machine *m, uint32_t pc, enum block_kind kind)
{
    struct builder to = {.m = m, .pc = pc, .kind = kind};

    if (!build(&to))
        return NULL;
    size_t ops = to.nops * sizeof(struct op);
    struct block *b = chunk_take(m, sizeof(*b) + ops + to.n * sizeof(uint16_t) + to.nops);
    if (b == NULL) {
        fault_address(m, EXC_IBE, pc, "no memory left to run it");
        return NULL;
    }
    *b = (struct block){.pc = pc, .n = (uint16_t)to.n, .kind = (uint16_t)kind};
    memcpy(b->target, to.target, sizeof(b->target));
    memcpy(b->ops, to.ops, ops);
    b->insns = (uint16_t *)((uint8_t *)b->ops + ops);
    memcpy(b->insns, to.insns, to.n * sizeof(uint16_t));
    b->codes = (uint8_t *)(b->insns + to.n);
    memcpy(b->codes, to.codes, to.nops);
    b->nops = (uint16_t)to.nops;
    b->first = b->ops[0].go;
    if (kind == BLOCK_WHOLE && to.n > 0 && m->native.threshold != NATIVE_NEVER)
        b->ops[0].go = m->labels[LABEL_HOT];
    unsigned bucket = bucket_of(pc, kind);
    b->chain = m->buckets[bucket];
    m->buckets[bucket] = b;
    m->nblocks += kind == BLOCK_WHOLE;
    filter_add(m, pc);
    filter_add(m, pc + 4 * to.n);
    return b;
}

struct block *block_find(struct machine *m, uint32_t pc, enum block_kind kind)
{
    struct block *b = m->buckets[bucket_of(pc, kind)];

    /* The blocks may have been made in kernel mode. */
    if (m->user && pc >= UINT32_C(0x80000000)) {
        fault_address(m, EXC_ADEL, pc, "a jump to a kernel address in user mode");
        return NULL;
    }
    while (b != NULL && (b->pc != pc || b->kind != kind))
        b = b->chain;
    if (b == NULL) {
        b = block_make(m, pc, kind);
        if (m->chunk_bytes > CHUNKS_MAX) {
            m->flush_code = true;
            m->attention = true;
        }
    }
    if (b != NULL && kind == BLOCK_WHOLE)
        m->cache[pc / 4 % BLOCK_CACHE] = b;
    return b;
}

struct block *block_look(struct machine *m, uint32_t pc)
{
    struct block *b = m->buckets[bucket_of(pc, BLOCK_WHOLE)];

    while (b != NULL && (b->pc != pc || b->kind != BLOCK_WHOLE))
        b = b->chain;
    return b;
}

void blocks_harvest(struct machine *m)
{
    native_fold(m);
    for (size_t i = 0; i < BLOCK_BUCKETS; i++) {
        for (struct block *b = m->buckets[i]; b != NULL; b = b->chain) {
            for (unsigned j = 0; j < b->n && b->count != 0; j++) {
                uint64_t times = b->count - (j + 1u == b->n ? b->skipped : 0);
                m->counts[b->insns[j]] += times;
                profile_add(m, b->pc + 4 * j, times);
            }
            b->count = b->skipped = 0;
        }
    }
}

void blocks_flush(struct machine *m)
{
    blocks_harvest(m);
    memset(m->cache, 0, sizeof(m->cache));
    memset(m->buckets, 0, sizeof(m->buckets));
    memset(m->page_filter, 0, sizeof(m->page_filter));
    while (m->chunks != NULL) {
        struct chunk *next = m->chunks->next;
        free(m->chunks);
        m->chunks = next;
    }
    m->chunk_bytes = 0;
    native_flush(m);
    m->generation++;
    m->flush_code = false;
}
