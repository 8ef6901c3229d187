/*
 * Native code for the integer instructions, loads and stores.
 */
#include "native_x86.h"

_Static_assert(sizeof(struct line) == 16 && LINES == 256, "unit_access makes an offset of both");

void unit_combine(struct unit *u, enum x86_op op, enum x86_register reg, unsigned with)
{
    if (with == 0)
        x86_pi(&u->x, (enum x86_digit)(op >> 3), 0, x86_in(reg), 0);
    else
        x86_rp(&u->x, op, reg, unit_place(u, with));
}

static void binary(struct unit *u, enum x86_op op, const struct op *o)
{
    enum x86_register to = unit_target(u, o->d);
    unsigned s = o->s, t = o->t;

    if (s != o->d && t == o->d && op != X86_SUB) {
        t = s;
        s = o->d;
    }
    if (t == o->d && s != o->d)
        to = RAX;
    unit_load(u, to, s);
    unit_combine(u, op, to, t);
    unit_store(u, o->d, to);
}

static void binary_constant(struct unit *u, enum x86_digit digit, const struct op *o)
{
    enum x86_register to = unit_target(u, o->d);
    enum x86_register from = (enum x86_register)u->host[o->s];

    if (digit == DIGIT_ADD && o->s != 0 && from != X86_NONE && from != to) {
        x86_rm(&u->x, X86_LEA, to, from, (int32_t)o->imm);
    } else {
        unit_load(u, to, o->s);
        x86_pi(&u->x, digit, 0, x86_in(to), (int32_t)o->imm);
    }
    unit_store(u, o->d, to);
}

static void shift_constant(struct unit *u, enum x86_digit digit, const struct op *o)
{
    enum x86_register to = unit_target(u, o->d);

    unit_load(u, to, o->t);
    if (o->imm != 0)
        x86_shift(&u->x, digit, 0, to, o->imm);
    unit_store(u, o->d, to);
}

static void shift_register(struct unit *u, enum x86_digit digit, const struct op *o)
{
    unit_load(u, RCX, o->s);
    unit_load(u, RAX, o->t);
    x86_shift_cl(&u->x, digit, RAX);
    unit_store(u, o->d, RAX);
}

void unit_compare(struct unit *u, unsigned s, unsigned t)
{
    enum x86_register reg = unit_target(u, s);

    if (s == 0 || u->host[s] == X86_NONE)
        unit_load(u, reg, s);
    if (t == 0)
        x86_rr(&u->x, X86_TEST, reg, reg);
    else
        unit_combine(u, X86_CMP, reg, t);
}

void unit_compare_constant(struct unit *u, unsigned s, uint32_t constant)
{
    enum x86_register reg = unit_target(u, s);

    if (s == 0 || u->host[s] == X86_NONE)
        unit_load(u, reg, s);
    x86_pi(&u->x, DIGIT_CMP, 0, x86_in(reg), (int32_t)constant);
}

void unit_test_flag(struct unit *u, uint32_t mask)
{
    uint8_t bytes[4] = {(uint8_t)mask, (uint8_t)(mask >> 8), (uint8_t)(mask >> 16),
                        (uint8_t)(mask >> 24)};

    x86_rp(&u->x, 0xf7, RAX, FIELD(fcsr)); /* test */
    x86_bytes(&u->x, bytes, 4);
}

void unit_set(struct unit *u, unsigned d, enum x86_condition condition)
{
    x86_set(&u->x, condition, RAX);
    unit_store(u, d, RAX);
}

/* d = s if the condition holds */
static void move_if(struct unit *u, const struct op *o, enum x86_condition condition)
{
    uint8_t *over = x86_skip_if(&u->x, x86_not(condition));
    enum x86_register to = unit_target(u, o->d);

    unit_load(u, to, o->s);
    unit_store(u, o->d, to);
    x86_land(&u->x, over);
}

static void count_zeros(struct unit *u, const struct op *o, bool ones)
{
    struct x86 *x = &u->x;

    unit_load(u, RAX, o->s);
    if (ones)
        x86_unary(x, DIGIT_NOT, RAX);
    x86_constant(x, RCX, 63); /* bsr of 0 leaves this, and 63 ^ 31 is 32 */
    x86_rr(x, X86_BSR, RAX, RAX);
    x86_rr(x, X86_CMOV + CC_E, RAX, RCX);
    x86_pi(x, DIGIT_XOR, 0, x86_in(RAX), 31);
    unit_store(u, o->d, RAX);
}

static void fields(struct unit *u, const struct op *o, bool insert)
{
    struct x86 *x = &u->x;

    unit_load(u, RAX, o->s);
    if (insert) {
        x86_pi(x, DIGIT_AND, 0, x86_in(RAX), (int32_t)o->imm);
        if (o->t != 0)
            x86_shift(x, DIGIT_SHL, 0, RAX, o->t);
        unit_load(u, RCX, o->d);
        x86_pi(x, DIGIT_AND, 0, x86_in(RCX), (int32_t)~(o->imm << o->t));
        x86_rr(x, X86_OR, RAX, RCX);
    } else {
        if (o->t != 0)
            x86_shift(x, DIGIT_SHR, 0, RAX, o->t);
        x86_pi(x, DIGIT_AND, 0, x86_in(RAX), (int32_t)o->imm);
    }
    unit_store(u, o->d, RAX);
}

static void swap_halves(struct unit *u, const struct op *o)
{
    struct x86 *x = &u->x;

    unit_load(u, RAX, o->t);
    x86_rr(x, X86_MOV, RCX, RAX);
    x86_shift(x, DIGIT_SHR, 0, RAX, 8);
    x86_shift(x, DIGIT_SHL, 0, RCX, 8);
    x86_pi(x, DIGIT_AND, 0, x86_in(RAX), 0x00ff00ff);
    x86_pi(x, DIGIT_AND, 0, x86_in(RCX), (int32_t)UINT32_C(0xff00ff00));
    x86_rr(x, X86_OR, RAX, RCX);
    unit_store(u, o->d, RAX);
}

static void extend(struct unit *u, const struct op *o, uint32_t how)
{
    unit_load(u, RAX, o->t);
    x86_rr(&u->x, how, RAX, RAX);
    unit_store(u, o->d, RAX);
}

/* rax = the product of 64 bits */
static void product(struct unit *u, const struct op *o, bool with_sign)
{
    struct x86 *x = &u->x;

    unit_load(u, RAX, o->s);
    unit_load(u, RCX, o->t);
    if (with_sign) {
        x86_rr(x, X86_MOVSXD, RAX, RAX);
        x86_rr(x, X86_MOVSXD, RCX, RCX);
    }
    x86_rr(x, X86_IMUL | X86_W, RAX, RCX);
}

static void store_hilo(struct unit *u)
{
    unit_store(u, REG_LO, RAX);
    x86_shift(&u->x, DIGIT_SHR, X86_W, RAX, 32);
    unit_store(u, REG_HI, RAX);
}

static void multiply(struct unit *u, const struct op *o, bool with_sign)
{
    product(u, o, with_sign);
    store_hilo(u);
}

static void multiply_add(struct unit *u, const struct op *o, bool with_sign, bool subtract)
{
    struct x86 *x = &u->x;

    product(u, o, with_sign);
    unit_load(u, RCX, REG_HI);
    unit_load(u, RDX, REG_LO);
    x86_shift(x, DIGIT_SHL, X86_W, RCX, 32);
    x86_rr(x, X86_OR | X86_W, RCX, RDX);
    x86_rr(x, (subtract ? X86_SUB : X86_ADD) | X86_W, RCX, RAX);
    x86_rr(x, X86_MOV | X86_W, RAX, RCX);
    store_hilo(u);
}

static void divide(struct unit *u, const struct op *o, bool with_sign)
{
    struct x86 *x = &u->x;
    uint8_t *negate = NULL, *store = NULL;

    unit_load(u, RCX, o->t);
    unit_load(u, RAX, o->s);
    x86_rr(x, X86_TEST, RCX, RCX);
    uint8_t *zero = x86_skip_if(x, CC_E);
    if (with_sign) { /* the least integer by -1 would be a fault of the processor */
        x86_pi(x, DIGIT_CMP, 0, x86_in(RCX), -1);
        negate = x86_skip_if(x, CC_E);
        x86_byte(x, 0x99); /* cdq */
    } else {
        x86_rr(x, X86_XOR, RDX, RDX);
    }
    x86_unary(x, with_sign ? DIGIT_IDIV : DIGIT_DIV, RCX);
    if (with_sign) {
        store = x86_skip(x);
        x86_land(x, negate);
        x86_unary(x, DIGIT_NEG, RAX);
        x86_rr(x, X86_XOR, RDX, RDX);
        x86_land(x, store);
    }
    unit_store(u, REG_LO, RAX);
    unit_store(u, REG_HI, RDX);
    x86_land(x, zero);
}

/* --- loads and stores --- */

struct stub *unit_access(struct unit *u, struct block *b, const struct op *o, unsigned bytes,
                         bool store)
{
    struct x86 *x = &u->x;
    const uint8_t *again = x->at;
    enum x86_register from = (enum x86_register)u->host[o->s];
    int32_t lines = offsetof(struct machine, lines);
    int32_t tag = (int32_t)(store ? offsetof(struct line, write_page)
                                  : offsetof(struct line, read_page));

    if (o->s == 0) {
        x86_constant(x, RAX, o->imm);
    } else if (from != X86_NONE && o->imm != 0) {
        x86_rm(x, X86_LEA, RAX, from, (int32_t)o->imm);
    } else {
        unit_load(u, RAX, o->s);
        if (o->imm != 0)
            x86_pi(x, DIGIT_ADD, 0, x86_in(RAX), (int32_t)o->imm);
    }
    x86_rr(x, X86_MOV, RCX, RAX);
    x86_rr(x, X86_MOV, RDX, RAX);
    x86_shift(x, DIGIT_SHR, 0, RCX, PAGE_BITS - 4);
    x86_pi(x, DIGIT_AND, 0, x86_in(RCX), (LINES - 1) << 4);
    x86_pi(x, DIGIT_AND, 0, x86_in(RDX), (int32_t)(~PAGE_MASK | (bytes - 1)));
    x86_rmx(x, X86_CMP, RDX, MACHINE, RCX, lines + tag);
    struct stub *miss = unit_stub(u, store ? STUB_STORE : STUB_LOAD, b, o, x86_jump_if(x, CC_NE));
    miss->again = again;
    miss->align = (uint8_t)(bytes - 1);
    x86_rmx(x, X86_ADD | X86_W, RAX, MACHINE, RCX, lines + (int32_t)offsetof(struct line, base));
    return miss;
}

static void load(struct unit *u, struct block *b, const struct op *o, unsigned bytes, uint32_t how,
                 bool swap)
{
    struct x86 *x = &u->x;
    struct stub *stub = unit_access(u, b, o, bytes, false);
    enum x86_register to = unit_target(u, o->d);

    if (swap && bytes == 2) {
        x86_rm(x, X86_MOVZX_16, RAX, RAX, 0);
        x86_shift(x, DIGIT_ROL, X86_16, RAX, 8);
        x86_rr(x, how, to, RAX);
    } else {
        x86_rm(x, how, to, RAX, 0);
        if (swap)
            x86_bswap(x, 0, to);
    }
    unit_store(u, o->d, to);
    stub->back = x->at;
}

static void store(struct unit *u, struct block *b, const struct op *o, unsigned bytes, bool swap)
{
    struct x86 *x = &u->x;
    struct stub *stub = unit_access(u, b, o, bytes, true);
    enum x86_register from = unit_target(u, o->t);

    if (swap || o->t == 0 || u->host[o->t] == X86_NONE) {
        unit_load(u, RCX, o->t);
        from = RCX;
    }
    if (swap && bytes == 2)
        x86_shift(x, DIGIT_ROL, X86_16, RCX, 8);
    else if (swap)
        x86_bswap(x, 0, RCX);
    x86_rm(x, bytes == 1 ? X86_STORE_8 : bytes == 2 ? X86_STORE_16 : X86_STORE, from, RAX, 0);
    stub->back = x->at;
}

/* lwl and lwr: a part of the aligned word, and the rest of the old value. */
static void load_part(struct unit *u, struct block *b, const struct op *o, bool left)
{
    struct x86 *x = &u->x;
    struct stub *stub = unit_access(u, b, o, 1, false);
    enum x86_digit digit = left ? DIGIT_SHL : DIGIT_SHR;

    x86_rr(x, X86_MOV, RCX, RAX);
    x86_pi(x, DIGIT_AND, X86_W, x86_in(RAX), ~3);
    x86_rm(x, X86_MOV, RAX, RAX, 0);
    if (u->m->big_endian)
        x86_bswap(x, 0, RAX);
    x86_pi(x, DIGIT_AND, 0, x86_in(RCX), 3);
    if (left != u->m->big_endian)
        x86_pi(x, DIGIT_XOR, 0, x86_in(RCX), 3);
    x86_shift(x, DIGIT_SHL, 0, RCX, 3);
    x86_constant(x, RDX, UINT32_MAX);
    x86_shift_cl(x, digit, RAX);
    x86_shift_cl(x, digit, RDX);
    x86_unary(x, DIGIT_NOT, RDX);
    unit_combine(u, X86_AND, RDX, o->t);
    x86_rr(x, X86_OR, RAX, RDX);
    unit_store(u, o->d, RAX);
    stub->back = x->at;
}

/* --- one internal instruction --- */

static bool emit_alu(struct unit *u, const struct op *o, enum op_code code)
{
    switch (code) {
    case OP_NOP:
        return true;
    case OP_LI:
        x86_constant(&u->x, unit_target(u, o->d), o->imm);
        unit_store(u, o->d, unit_target(u, o->d));
        return true;
    case OP_MOVE:
        unit_load(u, unit_target(u, o->d), o->s);
        unit_store(u, o->d, unit_target(u, o->d));
        return true;
    case OP_ADDU:
        binary(u, X86_ADD, o);
        return true;
    case OP_SUBU:
        binary(u, X86_SUB, o);
        return true;
    case OP_AND:
        binary(u, X86_AND, o);
        return true;
    case OP_OR:
        binary(u, X86_OR, o);
        return true;
    case OP_XOR:
        binary(u, X86_XOR, o);
        return true;
    case OP_NOR:
        unit_load(u, RAX, o->s);
        unit_combine(u, X86_OR, RAX, o->t);
        x86_unary(&u->x, DIGIT_NOT, RAX);
        unit_store(u, o->d, RAX);
        return true;
    case OP_ADDIU:
        binary_constant(u, DIGIT_ADD, o);
        return true;
    case OP_ANDI:
        binary_constant(u, DIGIT_AND, o);
        return true;
    case OP_ORI:
        binary_constant(u, DIGIT_OR, o);
        return true;
    case OP_XORI:
        binary_constant(u, DIGIT_XOR, o);
        return true;
    case OP_SLL:
        shift_constant(u, DIGIT_SHL, o);
        return true;
    case OP_SRL:
        shift_constant(u, DIGIT_SHR, o);
        return true;
    case OP_SRA:
        shift_constant(u, DIGIT_SAR, o);
        return true;
    case OP_ROTR:
        shift_constant(u, DIGIT_ROR, o);
        return true;
    case OP_SLLV:
        shift_register(u, DIGIT_SHL, o);
        return true;
    case OP_SRLV:
        shift_register(u, DIGIT_SHR, o);
        return true;
    case OP_SRAV:
        shift_register(u, DIGIT_SAR, o);
        return true;
    case OP_ROTRV:
        shift_register(u, DIGIT_ROR, o);
        return true;
    default:
        return false;
    }
}

static bool emit_more_alu(struct unit *u, const struct op *o, enum op_code code)
{
    switch (code) {
    case OP_SLT:
    case OP_SLTU:
        unit_compare(u, o->s, o->t);
        unit_set(u, o->d, code == OP_SLT ? CC_L : CC_B);
        return true;
    case OP_SLTI:
    case OP_SLTIU:
        unit_compare_constant(u, o->s, o->imm);
        unit_set(u, o->d, code == OP_SLTI ? CC_L : CC_B);
        return true;
    case OP_CLZ:
    case OP_CLO:
        count_zeros(u, o, code == OP_CLO);
        return true;
    case OP_EXT:
    case OP_INS:
        fields(u, o, code == OP_INS);
        return true;
    case OP_WSBH:
        swap_halves(u, o);
        return true;
    case OP_SEB:
        extend(u, o, X86_MOVSX_8 | X86_BYTE_RM);
        return true;
    case OP_SEH:
        extend(u, o, X86_MOVSX_16);
        return true;
    case OP_MOVZ:
    case OP_MOVN:
        unit_compare(u, o->t, 0);
        move_if(u, o, code == OP_MOVZ ? CC_E : CC_NE);
        return true;
    case OP_MOVF:
    case OP_MOVT:
        unit_test_flag(u, o->imm);
        move_if(u, o, code == OP_MOVF ? CC_E : CC_NE);
        return true;
    case OP_MUL:
        unit_load(u, RAX, o->s);
        unit_load(u, RCX, o->t);
        x86_rr(&u->x, X86_IMUL, RAX, RCX);
        unit_store(u, o->d, RAX);
        return true;
    case OP_MULT:
    case OP_MULTU:
        multiply(u, o, code == OP_MULT);
        return true;
    case OP_MADD:
    case OP_MADDU:
        multiply_add(u, o, code == OP_MADD, false);
        return true;
    case OP_MSUB:
    case OP_MSUBU:
        multiply_add(u, o, code == OP_MSUB, true);
        return true;
    case OP_DIV:
    case OP_DIVU:
        divide(u, o, code == OP_DIV);
        return true;
    default:
        return false;
    }
}

/* What may raise an exception: the test is in line, and native_op() raises it. */
static bool emit_trapping(struct unit *u, struct block *b, const struct op *o, enum op_code code)
{
    static const uint8_t traps[][2] = {
        {OP_TGE, CC_GE},  {OP_TGEU, CC_AE},  {OP_TLT, CC_L},  {OP_TLTU, CC_B},
        {OP_TEQ, CC_E},   {OP_TNE, CC_NE},   {OP_TGEI, CC_GE}, {OP_TGEIU, CC_AE},
        {OP_TLTI, CC_L},  {OP_TLTIU, CC_B},  {OP_TEQI, CC_E}, {OP_TNEI, CC_NE},
    };
    struct x86 *x = &u->x;

    if (code == OP_ADD || code == OP_ADDI || code == OP_SUB) {
        unit_load(u, RAX, o->s);
        if (code == OP_ADDI)
            x86_pi(x, DIGIT_ADD, 0, x86_in(RAX), (int32_t)o->imm);
        else
            unit_combine(u, code == OP_ADD ? X86_ADD : X86_SUB, RAX, o->t);
        struct stub *stub = unit_stub(u, STUB_OP, b, o, x86_jump_if(x, CC_O));
        unit_store(u, o->d, RAX);
        stub->back = x->at;
        return true;
    }
    for (size_t i = 0; i < sizeof(traps) / sizeof(traps[0]); i++) {
        if (traps[i][0] != code)
            continue;
        if (code >= OP_TGEI)
            unit_compare_constant(u, o->s, o->imm);
        else
            unit_compare(u, o->s, o->t);
        uint8_t *from = x86_jump_if(x, (enum x86_condition)traps[i][1]);
        unit_stub(u, STUB_OP, b, o, from)->back = x->at;
        return true;
    }
    return false;
}

static bool emit_memory(struct unit *u, struct block *b, const struct op *o, enum op_code code)
{
    switch (code) {
    case OP_LB:
        load(u, b, o, 1, X86_MOVSX_8, false);
        return true;
    case OP_LBU:
        load(u, b, o, 1, X86_MOVZX_8, false);
        return true;
    case OP_LH_L:
    case OP_LH_B:
        load(u, b, o, 2, X86_MOVSX_16, code == OP_LH_B);
        return true;
    case OP_LHU_L:
    case OP_LHU_B:
        load(u, b, o, 2, X86_MOVZX_16, code == OP_LHU_B);
        return true;
    case OP_LW_L:
    case OP_LW_B:
        load(u, b, o, 4, X86_MOV, code == OP_LW_B);
        return true;
    case OP_SB:
        store(u, b, o, 1, false);
        return true;
    case OP_SH_L:
    case OP_SH_B:
        store(u, b, o, 2, code == OP_SH_B);
        return true;
    case OP_SW_L:
    case OP_SW_B:
        store(u, b, o, 4, code == OP_SW_B);
        return true;
    case OP_LWL:
    case OP_LWR:
        load_part(u, b, o, code == OP_LWL);
        return true;
    default:
        return false;
    }
}

bool unit_integer(struct unit *u, struct block *b, const struct op *o, enum op_code code)
{
    return emit_alu(u, o, code) || emit_more_alu(u, o, code) || emit_memory(u, b, o, code) ||
           emit_trapping(u, b, o, code);
}
