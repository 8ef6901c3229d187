/*
 * Native code for the ends of blocks: branches, with what waits for the delay slot,
 * and the ways to other blocks.
 */
#include "native_x86.h"

_Static_assert(sizeof(struct block *) == 8 && BLOCK_CACHE == 1024,
               "jump_register makes an offset of both");

/* To block `b`, or nothing when it is the next one anyway. */
static void go_inside(struct unit *u, const struct block *b, const struct block *following)
{
    if (b == following)
        return;
    if (u->inner[b->place] != NULL) {
        x86_jump_to(&u->x, u->inner[b->place]);
        return;
    }
    u->jumps[u->njumps++] = (struct jump){x86_jump(&u->x), b->place};
}

static void go(struct unit *u, struct block *b, unsigned successor, const struct block *following)
{
    if (unit_has(u, b->next[successor]))
        go_inside(u, b->next[successor], following);
    else
        unit_go_outside(u, b, successor);
}

/* The end of a block: taken when the condition holds. */
static void branch(struct unit *u, struct block *b, enum x86_condition condition,
                   const struct block *following)
{
    if (unit_has(u, b->next[1])) {
        uint8_t *not_taken = x86_jump_if(&u->x, x86_not(condition));
        unit_count_taken(u);
        go_inside(u, b->next[1], NULL);
        x86_bind(&u->x, not_taken, u->x.at);
    } else {
        unit_stub(u, STUB_TAKEN, b, NULL, x86_jump_if(&u->x, condition));
    }
    go(u, b, 0, following);
}

/* To the address in eax. */
static void jump_register(struct unit *u)
{
    struct x86 *x = &u->x;

    x86_rmx(x, X86_LEA, RCX, RAX, RAX, 0);
    x86_pi(x, DIGIT_AND, 0, x86_in(RCX), (BLOCK_CACHE - 1) << 3);
    x86_rmx(x, X86_MOV | X86_W, RCX, MACHINE, RCX, offsetof(struct machine, cache));
    x86_rr(x, X86_TEST | X86_W, RCX, RCX);
    x86_jump_if_to(x, CC_E, u->return_miss);
    x86_rm(x, X86_CMP, RAX, RCX, offsetof(struct block, pc));
    x86_jump_if_to(x, CC_NE, u->return_miss);
    x86_pi(x, DIGIT_CMP, 0, (struct x86_place){X86_NONE, RCX, offsetof(struct block, unit)},
           (int32_t)u->id);
    x86_jump_if_to(x, CC_NE, u->return_out);
    x86_rm(x, 0xff, (enum x86_register)4, RCX, offsetof(struct block, inner));
}

/* Compares for a branch, and says when it is taken. */
static enum x86_condition condition_of(struct unit *u, const struct op *o, enum op_code code)
{
    switch (code) {
    case OP_BEQ:
    case OP_WAIT_BEQ:
        unit_compare(u, o->s, o->t);
        return CC_E;
    case OP_BNE:
    case OP_WAIT_BNE:
        unit_compare(u, o->s, o->t);
        return CC_NE;
    case OP_BC1F:
    case OP_WAIT_BC1F:
        unit_test_flag(u, o->imm);
        return CC_E;
    case OP_BC1T:
    case OP_WAIT_BC1T:
        unit_test_flag(u, o->imm);
        return CC_NE;
    default:
        unit_compare(u, o->s, 0);
        break;
    }
    switch (code) {
    case OP_BLEZ:
    case OP_WAIT_BLEZ:
        return CC_LE;
    case OP_BGTZ:
    case OP_WAIT_BGTZ:
        return CC_G;
    case OP_BLTZ:
    case OP_WAIT_BLTZ:
        return CC_L;
    default:
        return CC_GE;
    }
}

/* Internal instructions that leave rdx alone, cannot fail, and touch no memory. */
static bool is_plain(unsigned code)
{
    return code <= OP_XORI || (code >= OP_CLZ && code <= OP_MUL);
}

/* Whether what stands between a waiting branch and its end leaves rdx alone. */
static bool wait_in_register(const struct block *b, const struct op *o)
{
    for (size_t i = (size_t)(o - b->ops) + 1; i < b->nops; i++) {
        if (b->codes[i] == OP_BRANCH_WAITED || b->codes[i] == OP_JUMP_WAITED)
            return true;
        if (!is_plain(b->codes[i]))
            return false;
    }
    return false;
}

static void hold_condition(struct unit *u, const struct block *b, const struct op *o,
                           enum op_code code)
{
    u->in_rdx = wait_in_register(b, o);
    if (code == OP_WAIT_JR) {
        unit_load(u, RDX, o->s);
        if (!u->in_rdx)
            x86_rp(&u->x, X86_STORE, RDX, FIELD(jump));
        return;
    }
    if (code == OP_WAIT_J)
        x86_constant(&u->x, RDX, 1);
    else
        x86_set(&u->x, condition_of(u, o, code), RDX);
    if (!u->in_rdx)
        x86_rp(&u->x, X86_STORE, RDX, FIELD(condition));
}

static void test_waited(struct unit *u)
{
    if (u->in_rdx)
        x86_rr(&u->x, X86_TEST, RDX, RDX);
    else
        x86_pi(&u->x, DIGIT_CMP, 0, FIELD(condition), 0);
}

/* A likely branch that is not taken gives back what its slot was charged. */
static void skip_slot(struct unit *u, struct block *b)
{
    struct x86 *x = &u->x;

    x86_pi(x, DIGIT_CMP, 0, FIELD(condition), 0);
    uint8_t *taken = x86_jump_if(x, CC_NE);
    x86_pi(x, DIGIT_ADD, X86_W, x86_in(STATE), 1);
    unit_count(u, &b->skipped);
    go(u, b, 0, NULL);
    x86_bind(x, taken, x->at);
    unit_count_taken(u);
}

/* The comparisons and counters that execute.c has fused with their branch. */
static bool emit_fused(struct unit *u, struct block *b, const struct op *o, enum op_code code,
                       const struct block *following)
{
    enum x86_condition less;

    switch (code) {
    case OP_SLT_BNE:
    case OP_SLT_BEQ:
    case OP_SLTU_BNE:
    case OP_SLTU_BEQ:
        unit_compare(u, o->s, o->t);
        less = code <= OP_SLT_BEQ ? CC_L : CC_B;
        break;
    case OP_SLTI_BNE:
    case OP_SLTI_BEQ:
    case OP_SLTIU_BNE:
    case OP_SLTIU_BEQ:
        unit_compare_constant(u, o->s, o->imm);
        less = code <= OP_SLTI_BEQ ? CC_L : CC_B;
        break;
    default:
        return false;
    }
    unit_set(u, o->d, less); /* leaves the flags */
    bool on_less = code == OP_SLT_BNE || code == OP_SLTU_BNE || code == OP_SLTI_BNE ||
                   code == OP_SLTIU_BNE;
    branch(u, b, on_less ? less : x86_not(less), following);
    return true;
}

static void emit_counting(struct unit *u, const struct op *o)
{
    x86_pi(&u->x, DIGIT_ADD, 0, unit_place(u, o->d), (int32_t)o->imm);
}

bool unit_branch(struct unit *u, struct block *b, const struct op *o, enum op_code code,
                 const struct block *following)
{
    switch (code) {
    case OP_NEXT:
        go(u, b, 0, following);
        return true;
    case OP_ADDIU_J:
        emit_counting(u, o);
        go(u, b, 1, following);
        return true;
    case OP_ADDIU_B:
        emit_counting(u, o);
        unit_count_taken(u);
        go(u, b, 1, following);
        return true;
    case OP_B:
        unit_count_taken(u);
        go(u, b, 1, following);
        return true;
    case OP_J:
        go(u, b, 1, following);
        return true;
    case OP_JR:
        unit_load(u, RAX, o->s);
        jump_register(u);
        return true;
    case OP_JUMP_WAITED:
        if (u->in_rdx)
            x86_rr(&u->x, X86_MOV, RAX, RDX);
        else
            x86_rp(&u->x, X86_MOV, RAX, FIELD(jump));
        jump_register(u);
        return true;
    case OP_BRANCH_WAITED:
        test_waited(u);
        branch(u, b, CC_NE, following);
        return true;
    case OP_SKIP_SLOT:
        skip_slot(u, b);
        return true;
    case OP_ADDIU_BNE:
    case OP_ADDIU_BEQ:
        emit_counting(u, o);
        branch(u, b, condition_of(u, o, code == OP_ADDIU_BNE ? OP_BNE : OP_BEQ), following);
        return true;
    case OP_ADDIU_BGTZ:
    case OP_ADDIU_BGEZ:
        emit_counting(u, o);
        unit_compare(u, o->d, 0);
        branch(u, b, code == OP_ADDIU_BGTZ ? CC_G : CC_GE, following);
        return true;
    default:
        break;
    }
    if (code >= OP_BEQ && code <= OP_BC1T) {
        branch(u, b, condition_of(u, o, code), following);
        return true;
    }
    if (code >= OP_WAIT_BEQ && code <= OP_WAIT_JR) {
        hold_condition(u, b, o, code);
        return true;
    }
    return emit_fused(u, b, o, code, following);
}

