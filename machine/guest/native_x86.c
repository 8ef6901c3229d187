/*
 * Makes the code of units for x86-64 (native.h has the theory of operation, native_x86.h
 * which register is what): the integer instructions, branches, and the ways in and out.
 */
#include "native_x86.h"

#include <stdlib.h>
#include <string.h>

/* The registers of the processor that hold registers of the machine. */
static const uint8_t pool[] = {RSI, RDI, RBP, R8, R9, R10, R11, R12, R13, R14};
#define POOL sizeof(pool)

/* What a call of C may change. */
static bool is_lost_in_calls(enum x86_register reg)
{
    return reg == RSI || reg == RDI || (reg >= R8 && reg <= R11);
}

_Static_assert(sizeof(struct line) == 16 && LINES == 256, "unit_access makes an offset of both");
_Static_assert(sizeof(struct block *) == 8 && BLOCK_CACHE == 1024, "and jump_register");
_Static_assert(offsetof(struct machine, r) == 0, "short displacements");

struct x86_place unit_field(size_t offset)
{
    return (struct x86_place){X86_NONE, MACHINE, (int32_t)offset};
}

#define FIELD(name) unit_field(offsetof(struct machine, name))

static struct x86_place reg_place(enum x86_register reg)
{
    return (struct x86_place){reg, X86_NONE, 0};
}

static struct x86_place place_of(const struct unit *u, unsigned reg)
{
    return u->host[reg] != X86_NONE ? reg_place((enum x86_register)u->host[reg])
                                    : unit_field(sizeof(uint32_t) * reg);
}

void unit_load(struct unit *u, enum x86_register to, unsigned reg)
{
    if (reg == 0)
        x86_rr(&u->x, X86_XOR, to, to);
    else if (u->host[reg] != to)
        x86_rp(&u->x, X86_MOV, to, place_of(u, reg));
}

enum x86_register unit_target(const struct unit *u, unsigned reg)
{
    return u->host[reg] != X86_NONE ? (enum x86_register)u->host[reg] : RAX;
}

void unit_store(struct unit *u, unsigned reg, enum x86_register from)
{
    if (reg != REG_SINK && u->host[reg] != from)
        x86_rp(&u->x, X86_STORE, from, place_of(u, reg));
}

struct stub *unit_stub(struct unit *u, enum stub_kind kind, struct block *b, const struct op *o,
                       uint8_t *from)
{
    struct stub *stub = &u->stubs[u->nstubs];

    if (u->nstubs + 1 < sizeof(u->stubs) / sizeof(u->stubs[0]))
        u->nstubs++;
    else
        u->x.full = true;
    *stub = (struct stub){.kind = kind, .block = b, .op = o, .from = from};
    return stub;
}

/* --- what all units share: the first page --- */

static const uint8_t kept[] = {RBX, RBP, R12, R13, R14, R15};

static void emit_enter(struct x86 *x)
{
    for (unsigned i = 0; i < sizeof(kept); i++)
        x86_push(x, (enum x86_register)kept[i]);
    /* With the return address this makes a multiple of 16, and room for MXCSR. */
    x86_pi(x, DIGIT_SUB, X86_W, reg_place(RSP), 24);
    x86_rr(x, X86_MOV | X86_W, MACHINE, RDI);
    x86_rr(x, X86_MOV | X86_W, STATE, RDX);
    x86_rr(x, 0xff, (enum x86_register)4, RSI); /* jmp rsi */
}

/* eax is why, rcx the block. */
static void emit_leave(struct x86 *x)
{
    x86_rp(x, X86_STORE | X86_W, STATE, FIELD(native.state));
    x86_rp(x, X86_STORE | X86_W, RCX, FIELD(native.block));
    x86_pi(x, DIGIT_ADD, X86_W, reg_place(RSP), 24);
    for (unsigned i = sizeof(kept); i > 0; i--)
        x86_pop(x, (enum x86_register)kept[i - 1]);
    x86_byte(x, 0xc3);
}

static const uint8_t *emit_leave_because(struct x86 *x, const uint8_t *leave, enum native_leave why)
{
    const uint8_t *at = x->at;

    x86_constant(x, RAX, why);
    x86_jump_to(x, leave);
    return at;
}

bool native_emit_base(struct machine *m)
{
    struct native *n = &m->native;
    struct x86 x = {.at = n->code, .end = n->code + PAGE_BYTES};

    n->enter = x.at;
    emit_enter(&x);
    n->leave = x.at;
    emit_leave(&x);
    n->enter_block = emit_leave_because(&x, n->leave, NATIVE_ENTER);
    n->link[0] = emit_leave_because(&x, n->leave, NATIVE_LINK_0);
    n->link[1] = emit_leave_because(&x, n->leave, NATIVE_LINK_1);
    return !x.full;
}

/* --- the unit --- */

struct unit *native_unit_create(void)
{
    return malloc(sizeof(struct unit));
}

void native_unit_start(struct unit *u, struct machine *m)
{
    u->m = m;
    u->id = m->native.units + 1;
    u->nblocks = u->nops = u->nstubs = u->njumps = 0;
}

/* What has no code of its own. */
static bool is_slow(unsigned code, const struct op *o)
{
    return (code >= OP_LL_L && code <= OP_SWR && code != OP_LWL && code != OP_LWR) ||
           (code >= OP_LWXC1 && code <= OP_SDXC1) || code == OP_CFC1 ||
           (code >= OP_RECIP_S && code <= OP_RSQRT_D) ||
           (code >= OP_MOVF_S && code <= OP_MOVN_D) ||
           ((code == OP_TO_WORD_S || code == OP_TO_WORD_D) && o->imm < FPU_CURRENT &&
            o->imm != FPU_ZERO);
}

/* A call of native_op() costs more than an instruction in its internal form. */
#define SLOW_COST 6

bool native_block_fits(const struct block *b)
{
    unsigned slow = 0;

    for (unsigned i = 0; i < b->nops; i++)
        slow += is_slow(b->codes[i], &b->ops[i]);
    return slow * SLOW_COST <= b->nops;
}

static bool has(const struct unit *u, const struct block *b)
{
    return b != NULL && b->place < u->nblocks && u->blocks[b->place] == b;
}

bool native_unit_add(struct unit *u, struct block *b)
{
    if (has(u, b) || u->nblocks == UNIT_BLOCKS || u->nops + b->nops > UNIT_OPS)
        return false;
    b->place = (uint16_t)u->nblocks;
    u->blocks[u->nblocks++] = b;
    u->nops += b->nops;
    return true;
}

struct block *native_unit_block(const struct unit *u, size_t i)
{
    return i < u->nblocks ? u->blocks[i] : NULL;
}

/* Chains of blocks that follow each other without a jump. */
static void put_in_order(struct unit *u)
{
    bool placed[UNIT_BLOCKS] = {false};
    size_t n = 0;

    for (size_t i = 0; i < u->nblocks; i++) {
        struct block *b = u->blocks[i];
        while (b != NULL && !placed[b->place]) {
            placed[b->place] = true;
            u->order[n++] = b;
            struct block *next = NULL;
            for (unsigned k = 0; k < 2 && next == NULL; k++)
                if (has(u, b->next[k]) && !placed[b->next[k]->place])
                    next = b->next[k];
            b = next;
        }
    }
}

/* Whether the operands of an internal instruction are registers of the machine's core. */
static bool has_integer_operands(unsigned code)
{
    return code < OP_LWC1_L || (code >= OP_BEQ && code <= OP_CFC1);
}

static void add_uses(struct unit *u, const struct block *b, uint64_t uses[REGS])
{
    uint64_t weight = b->count + 1;

    for (unsigned i = 0; i < b->nops; i++) {
        const struct op *o = &b->ops[i];
        unsigned code = b->codes[i];
        if (code >= OP_LWC1_L && code <= OP_SDC1_B)
            uses[o->s] += weight;
        if (has_integer_operands(code)) {
            uses[o->s] += weight;
            uses[o->t] += weight;
            uses[o->d] += weight;
            u->written[o->d] = true;
        }
        if (code >= OP_MULT && code <= OP_DIVU) {
            uses[REG_HI] += weight;
            uses[REG_LO] += weight;
            u->written[REG_HI] = u->written[REG_LO] = true;
        }
    }
}

static void choose_registers(struct unit *u)
{
    uint64_t uses[REGS] = {0};

    memset(u->written, 0, sizeof(u->written));
    memset(u->host, X86_NONE, sizeof(u->host));
    for (size_t i = 0; i < u->nblocks; i++)
        add_uses(u, u->blocks[i], uses);
    uses[0] = uses[REG_SINK] = 0;
    for (unsigned i = 0; i < POOL; i++) {
        unsigned best = 0;
        for (unsigned reg = 1; reg < REGS; reg++)
            if (uses[reg] > uses[best])
                best = reg;
        if (best == 0)
            return;
        u->host[best] = pool[i];
        uses[best] = 0;
    }
}

/* The blocks that are entered most are counted in registers. */
static void choose_counters(struct unit *u)
{
    size_t pairs = NATIVE_LANES - u->m->native.nlanes;
    size_t lanes = 2 * (pairs < PAIRS_MOST ? pairs : PAIRS_MOST), n = 0;
    uint64_t most = 0;

    memset(u->lane, LANE_NONE, sizeof(u->lane));
    for (size_t i = 0; i < u->nblocks; i++)
        if (u->blocks[i]->count > most)
            most = u->blocks[i]->count;
    for (uint64_t least = most / 2; n < lanes && least > most / 32; least /= 2)
        for (size_t i = 0; i < u->nblocks && n < lanes; i++)
            if (u->lane[i] == LANE_NONE && u->blocks[i]->count >= least)
                u->lane[i] = (uint8_t)n++;
    u->npairs = (n + 1) / 2;
}

/* Which of the registers that are held: those that a call of C loses, the others, or all. */
enum which { LOST = 1, SAFE = 2, ALL = 3 };

static bool is_one_of(const struct unit *u, unsigned reg, enum which which)
{
    return u->host[reg] != X86_NONE &&
           (is_lost_in_calls((enum x86_register)u->host[reg]) ? which & LOST : which & SAFE) != 0;
}

static struct x86_place pair_place(const struct unit *u, size_t pair)
{
    return unit_field(offsetof(struct machine, native.lanes) +
                      (u->m->native.nlanes + pair) * sizeof(struct lanes));
}

static void spill(struct unit *u, enum which which)
{
    for (size_t i = 0; which & LOST && i < u->npairs; i++)
        x86_rp(&u->x, X86_MOVDQA_STORE, (enum x86_register)(FIRST_PAIR + i), pair_place(u, i));
    for (unsigned reg = 1; reg < REGS; reg++)
        if (is_one_of(u, reg, which) && u->written[reg])
            x86_rp(&u->x, X86_STORE, (enum x86_register)u->host[reg],
                   unit_field(sizeof(uint32_t) * reg));
}

static void reload(struct unit *u, enum which which)
{
    for (size_t i = 0; which & LOST && i < u->npairs; i++)
        x86_rp(&u->x, X86_MOVDQA, (enum x86_register)(FIRST_PAIR + i), pair_place(u, i));
    for (unsigned reg = 1; reg < REGS; reg++)
        if (is_one_of(u, reg, which))
            x86_rp(&u->x, X86_MOV, (enum x86_register)u->host[reg],
                   unit_field(sizeof(uint32_t) * reg));
}

/* --- routines of a unit, before its blocks --- */

/* Calls native_op(); rcx is the block, rdx the internal instruction. */
static const uint8_t *emit_call(struct unit *u, enum which which)
{
    struct x86 *x = &u->x;
    const uint8_t *start = x->at;

    spill(u, which);
    x86_rr(x, X86_MOV | X86_W, RDI, MACHINE);
    x86_rr(x, X86_MOV | X86_W, RSI, RCX);
    x86_rr(x, X86_MOV | X86_W, RCX, STATE);
    x86_pi(x, DIGIT_SUB, X86_W, reg_place(RSP), 8);
    x86_rp(x, 0xff, (enum x86_register)2, FIELD(native.helper)); /* call */
    x86_pi(x, DIGIT_ADD, X86_W, reg_place(RSP), 8);
    x86_rr(x, X86_TEST, RAX, RAX);
    uint8_t *other = x86_jump_if(x, CC_NE);
    const uint8_t *on = x->at;
    reload(u, which);
    x86_byte(x, 0xc3);
    x86_bind(x, other, x->at);
    x86_pi(x, DIGIT_CMP, 0, reg_place(RAX), NATIVE_HELD);
    uint8_t *out = x86_jump_if(x, CC_NE);
    x86_shift(x, DIGIT_SHR, X86_W, STATE, 32); /* the budget becomes 0 */
    x86_shift(x, DIGIT_SHL, X86_W, STATE, 32);
    x86_jump_to(x, on);
    x86_bind(x, out, x->at);
    x86_pi(x, DIGIT_ADD, X86_W, reg_place(RSP), 8); /* the return address */
    spill(u, (enum which)(ALL & ~which));
    x86_rp(x, X86_MOV | X86_W, RCX, FIELD(native.block));
    x86_jump_to(x, u->m->native.leave);
    return start;
}

/* eax is why, rcx the block, rdx the internal instruction when that matters. */
static const uint8_t *emit_unit_leave(struct unit *u)
{
    const uint8_t *start = u->x.at;

    spill(u, ALL);
    x86_rp(&u->x, X86_STORE | X86_W, RDX, FIELD(native.op));
    x86_jump_to(&u->x, u->m->native.leave);
    return start;
}

/* Jumps to the code that stands at [rcx + slot], or when there is none, to `otherwise`. */
static void jump_through(struct unit *u, size_t slot, const uint8_t *otherwise)
{
    struct x86 *x = &u->x;

    x86_rm(x, X86_MOV | X86_W, RAX, RCX, (int32_t)slot);
    x86_rr(x, X86_TEST | X86_W, RAX, RAX);
    x86_jump_if_to(x, CC_E, otherwise);
    x86_rr(x, 0xff, (enum x86_register)4, RAX);
}

static void emit_routines(struct unit *u)
{
    struct x86 *x = &u->x;

    u->leave = emit_unit_leave(u);
    u->call_op = emit_call(u, ALL);
    u->call_fpu = emit_call(u, LOST);
    /* Behind a jump by register: to the block in rcx, or to the address in eax. */
    u->return_out = x->at;
    spill(u, ALL);
    jump_through(u, offsetof(struct block, native), u->m->native.enter_block);
    u->return_miss = x->at;
    x86_rp(x, X86_STORE, RAX, FIELD(pc));
    x86_constant(x, RAX, NATIVE_FIND);
    x86_jump_to(x, u->leave);
}

/* --- integer instructions --- */

/* reg = reg `op` the machine's register */
static void combine(struct unit *u, enum x86_op op, enum x86_register reg, unsigned with)
{
    if (with == 0)
        x86_pi(&u->x, (enum x86_digit)(op >> 3), 0, reg_place(reg), 0);
    else
        x86_rp(&u->x, op, reg, place_of(u, with));
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
    combine(u, op, to, t);
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
        x86_pi(&u->x, digit, 0, reg_place(to), (int32_t)o->imm);
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

/* Compares two of the machine's registers. */
static void compare(struct unit *u, unsigned s, unsigned t)
{
    enum x86_register reg = unit_target(u, s);

    if (s == 0 || u->host[s] == X86_NONE)
        unit_load(u, reg, s);
    if (t == 0)
        x86_rr(&u->x, X86_TEST, reg, reg);
    else
        combine(u, X86_CMP, reg, t);
}

static void compare_constant(struct unit *u, unsigned s, uint32_t constant)
{
    enum x86_register reg = unit_target(u, s);

    if (s == 0 || u->host[s] == X86_NONE)
        unit_load(u, reg, s);
    x86_pi(&u->x, DIGIT_CMP, 0, reg_place(reg), (int32_t)constant);
}

static void test_flag(struct unit *u, uint32_t mask)
{
    uint8_t bytes[4] = {(uint8_t)mask, (uint8_t)(mask >> 8), (uint8_t)(mask >> 16),
                        (uint8_t)(mask >> 24)};

    x86_rp(&u->x, 0xf7, RAX, FIELD(fcsr)); /* test */
    x86_bytes(&u->x, bytes, 4);
}

static void set(struct unit *u, unsigned d, enum x86_condition condition)
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
    x86_pi(x, DIGIT_XOR, 0, reg_place(RAX), 31);
    unit_store(u, o->d, RAX);
}

static void fields(struct unit *u, const struct op *o, bool insert)
{
    struct x86 *x = &u->x;

    unit_load(u, RAX, o->s);
    if (insert) {
        x86_pi(x, DIGIT_AND, 0, reg_place(RAX), (int32_t)o->imm);
        if (o->t != 0)
            x86_shift(x, DIGIT_SHL, 0, RAX, o->t);
        unit_load(u, RCX, o->d);
        x86_pi(x, DIGIT_AND, 0, reg_place(RCX), (int32_t)~(o->imm << o->t));
        x86_rr(x, X86_OR, RAX, RCX);
    } else {
        if (o->t != 0)
            x86_shift(x, DIGIT_SHR, 0, RAX, o->t);
        x86_pi(x, DIGIT_AND, 0, reg_place(RAX), (int32_t)o->imm);
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
    x86_pi(x, DIGIT_AND, 0, reg_place(RAX), 0x00ff00ff);
    x86_pi(x, DIGIT_AND, 0, reg_place(RCX), (int32_t)UINT32_C(0xff00ff00));
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
        x86_pi(x, DIGIT_CMP, 0, reg_place(RCX), -1);
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

uint8_t *unit_access(struct unit *u, const struct op *o, unsigned bytes, bool store)
{
    struct x86 *x = &u->x;
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
            x86_pi(x, DIGIT_ADD, 0, reg_place(RAX), (int32_t)o->imm);
    }
    x86_rr(x, X86_MOV, RCX, RAX);
    x86_rr(x, X86_MOV, RDX, RAX);
    x86_shift(x, DIGIT_SHR, 0, RCX, PAGE_BITS - 4);
    x86_pi(x, DIGIT_AND, 0, reg_place(RCX), (LINES - 1) << 4);
    x86_pi(x, DIGIT_AND, 0, reg_place(RDX), (int32_t)(~PAGE_MASK | (bytes - 1)));
    x86_rmx(x, X86_CMP, RDX, MACHINE, RCX, lines + tag);
    uint8_t *miss = x86_jump_if(x, CC_NE);
    x86_rmx(x, X86_ADD | X86_W, RAX, MACHINE, RCX, lines + (int32_t)offsetof(struct line, base));
    return miss;
}

static void load(struct unit *u, struct block *b, const struct op *o, unsigned bytes, uint32_t how,
                 bool swap)
{
    struct x86 *x = &u->x;
    struct stub *stub = unit_stub(u, STUB_OP, b, o, unit_access(u, o, bytes, false));
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
    struct stub *stub = unit_stub(u, STUB_OP, b, o, unit_access(u, o, bytes, true));
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
    struct stub *stub = unit_stub(u, STUB_OP, b, o, unit_access(u, o, 1, false));
    enum x86_digit digit = left ? DIGIT_SHL : DIGIT_SHR;

    x86_rr(x, X86_MOV, RCX, RAX);
    x86_pi(x, DIGIT_AND, X86_W, reg_place(RAX), ~3);
    x86_rm(x, X86_MOV, RAX, RAX, 0);
    if (u->m->big_endian)
        x86_bswap(x, 0, RAX);
    x86_pi(x, DIGIT_AND, 0, reg_place(RCX), 3);
    if (left != u->m->big_endian)
        x86_pi(x, DIGIT_XOR, 0, reg_place(RCX), 3);
    x86_shift(x, DIGIT_SHL, 0, RCX, 3);
    x86_constant(x, RDX, UINT32_MAX);
    x86_shift_cl(x, digit, RAX);
    x86_shift_cl(x, digit, RDX);
    x86_unary(x, DIGIT_NOT, RDX);
    combine(u, X86_AND, RDX, o->t);
    x86_rr(x, X86_OR, RAX, RDX);
    unit_store(u, o->d, RAX);
    stub->back = x->at;
}

/* --- branches --- */

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

static void go_outside(struct unit *u, struct block *b, unsigned successor)
{
    spill(u, ALL);
    x86_constant(&u->x, RCX, (uintptr_t)b);
    jump_through(u, offsetof(struct block, out) + 8 * successor, u->m->native.link[successor]);
}

static void go(struct unit *u, struct block *b, unsigned successor, const struct block *following)
{
    if (has(u, b->next[successor]))
        go_inside(u, b->next[successor], following);
    else
        go_outside(u, b, successor);
}

static void count_taken(struct unit *u)
{
    x86_rp(&u->x, X86_ADD | X86_W, STATE, FIELD(native.one_taken));
}

/* The end of a block: taken when the condition holds. */
static void branch(struct unit *u, struct block *b, enum x86_condition condition,
                   const struct block *following)
{
    if (has(u, b->next[1])) {
        uint8_t *not_taken = x86_jump_if(&u->x, x86_not(condition));
        count_taken(u);
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
    x86_pi(x, DIGIT_AND, 0, reg_place(RCX), (BLOCK_CACHE - 1) << 3);
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
        compare(u, o->s, o->t);
        return CC_E;
    case OP_BNE:
    case OP_WAIT_BNE:
        compare(u, o->s, o->t);
        return CC_NE;
    case OP_BC1F:
    case OP_WAIT_BC1F:
        test_flag(u, o->imm);
        return CC_E;
    case OP_BC1T:
    case OP_WAIT_BC1T:
        test_flag(u, o->imm);
        return CC_NE;
    default:
        compare(u, o->s, 0);
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

static void wait(struct unit *u, const struct block *b, const struct op *o, enum op_code code)
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
static void skip_slot(struct unit *u, struct block *b, const struct op *o)
{
    struct x86 *x = &u->x;
    size_t slot = b->insns[(o->index & ~OP_SLOT) + 1];

    x86_pi(x, DIGIT_CMP, 0, FIELD(condition), 0);
    uint8_t *taken = x86_jump_if(x, CC_NE);
    x86_pi(x, DIGIT_ADD, X86_W, reg_place(STATE), 1);
    x86_pi(x, DIGIT_SUB, X86_W,
           unit_field(offsetof(struct machine, counts) + sizeof(uint64_t) * slot), 1);
    go(u, b, 0, NULL);
    x86_bind(x, taken, x->at);
    count_taken(u);
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
        combine(u, X86_OR, RAX, o->t);
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
        compare(u, o->s, o->t);
        set(u, o->d, code == OP_SLT ? CC_L : CC_B);
        return true;
    case OP_SLTI:
    case OP_SLTIU:
        compare_constant(u, o->s, o->imm);
        set(u, o->d, code == OP_SLTI ? CC_L : CC_B);
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
        compare(u, o->t, 0);
        move_if(u, o, code == OP_MOVZ ? CC_E : CC_NE);
        return true;
    case OP_MOVF:
    case OP_MOVT:
        test_flag(u, o->imm);
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
            x86_pi(x, DIGIT_ADD, 0, reg_place(RAX), (int32_t)o->imm);
        else
            combine(u, code == OP_ADD ? X86_ADD : X86_SUB, RAX, o->t);
        struct stub *stub = unit_stub(u, STUB_OP, b, o, x86_jump_if(x, CC_O));
        unit_store(u, o->d, RAX);
        stub->back = x->at;
        return true;
    }
    for (size_t i = 0; i < sizeof(traps) / sizeof(traps[0]); i++) {
        if (traps[i][0] != code)
            continue;
        if (code >= OP_TGEI)
            compare_constant(u, o->s, o->imm);
        else
            compare(u, o->s, o->t);
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
        compare(u, o->s, o->t);
        less = code <= OP_SLT_BEQ ? CC_L : CC_B;
        break;
    case OP_SLTI_BNE:
    case OP_SLTI_BEQ:
    case OP_SLTIU_BNE:
    case OP_SLTIU_BEQ:
        compare_constant(u, o->s, o->imm);
        less = code <= OP_SLTI_BEQ ? CC_L : CC_B;
        break;
    default:
        return false;
    }
    set(u, o->d, less); /* leaves the flags */
    bool on_less = code == OP_SLT_BNE || code == OP_SLTU_BNE || code == OP_SLTI_BNE ||
                   code == OP_SLTIU_BNE;
    branch(u, b, on_less ? less : x86_not(less), following);
    return true;
}

static void emit_counting(struct unit *u, const struct op *o)
{
    x86_pi(&u->x, DIGIT_ADD, 0, place_of(u, o->d), (int32_t)o->imm);
}

/* What ends a block, or waits to. */
static bool emit_branch(struct unit *u, struct block *b, const struct op *o, enum op_code code,
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
    case OP_B:
        count_taken(u);
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
        skip_slot(u, b, o);
        return true;
    case OP_ADDIU_BNE:
    case OP_ADDIU_BEQ:
        emit_counting(u, o);
        branch(u, b, condition_of(u, o, code == OP_ADDIU_BNE ? OP_BNE : OP_BEQ), following);
        return true;
    case OP_ADDIU_BGTZ:
    case OP_ADDIU_BGEZ:
        emit_counting(u, o);
        compare(u, o->d, 0);
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
        wait(u, b, o, code);
        return true;
    }
    return emit_fused(u, b, o, code, following);
}

/* Whether an internal instruction runs on into the next one. */
static bool runs_on(enum op_code code)
{
    return code < OP_BEQ || (code >= OP_TGE && code < OPS);
}

/* Instructions of FPU registers only: what a call of C does not change is not stored. */
static bool is_fpu_only(enum op_code code)
{
    return code >= OP_ADD_S && !(code >= OP_MOVZ_S && code <= OP_MOVN_D);
}

static void emit_call_of(struct unit *u, struct block *b, const struct op *o, bool fpu_only)
{
    x86_constant(&u->x, RCX, (uintptr_t)b);
    x86_constant(&u->x, RDX, (uintptr_t)o);
    x86_call_to(&u->x, fpu_only ? u->call_fpu : u->call_op);
}

/* False: the block has left the unit for good. */
static bool emit_op(struct unit *u, struct block *b, const struct op *o,
                    const struct block *following)
{
    enum op_code code = (enum op_code)b->codes[o - b->ops];

    if (emit_alu(u, o, code) || emit_more_alu(u, o, code) || emit_memory(u, b, o, code) ||
        emit_trapping(u, b, o, code) || unit_fpu(u, b, o, code) ||
        emit_branch(u, b, o, code, following))
        return true;
    if (runs_on(code)) {
        emit_call_of(u, b, o, is_fpu_only(code));
        return true;
    }
    x86_constant(&u->x, RCX, (uintptr_t)b);
    x86_constant(&u->x, RDX, (uintptr_t)o);
    x86_constant(&u->x, RAX, NATIVE_AT);
    x86_jump_to(&u->x, u->leave);
    return false;
}

/* --- blocks --- */

/* `add`, with one instruction when the counter is near the machine. */
static void count_entry(struct unit *u, const struct block *b)
{
    intptr_t offset = (intptr_t)&b->count - (intptr_t)u->m;
    struct x86_place place = unit_field(0);
    unsigned lane = u->lane[b->place];

    if (lane != LANE_NONE) {
        x86_rp(&u->x, X86_PADDQ, (enum x86_register)(FIRST_PAIR + lane / 2),
               unit_field(offsetof(struct machine, native.one) + lane % 2 * sizeof(struct lanes)));
        return;
    }
    place.offset = (int32_t)offset;
    if (offset != place.offset) {
        x86_constant(&u->x, RAX, (uintptr_t)&b->count);
        place = (struct x86_place){X86_NONE, RAX, 0};
    }
    x86_pi(&u->x, DIGIT_ADD, X86_W, place, 1);
}

static void emit_block(struct unit *u, struct block *b, const struct block *following)
{
    struct x86 *x = &u->x;

    u->inner[b->place] = x->at;
    x86_pi(x, DIGIT_SUB, X86_W, reg_place(STATE), b->n);
    x86_rr(x, X86_TEST, STATE, STATE);
    unit_stub(u, STUB_BUDGET, b, NULL, x86_jump_if(x, CC_S));
    count_entry(u, b);
    for (unsigned i = 0; i < b->nops; i++)
        if (!emit_op(u, b, &b->ops[i], following))
            break;
}

static void emit_stub(struct unit *u, const struct stub *stub)
{
    struct x86 *x = &u->x;

    x86_bind(x, stub->from, x->at);
    switch (stub->kind) {
    case STUB_BUDGET:
        x86_pi(x, DIGIT_ADD, X86_W, reg_place(STATE), stub->block->n);
        x86_constant(x, RCX, (uintptr_t)stub->block);
        x86_constant(x, RAX, NATIVE_BUDGET);
        x86_jump_to(x, u->leave);
        break;
    case STUB_TAKEN:
        count_taken(u);
        go_outside(u, stub->block, 1);
        break;
    case STUB_OP:
    case STUB_FPU:
        emit_call_of(u, stub->block, stub->op, stub->kind == STUB_FPU);
        x86_jump_to(x, stub->back);
        break;
    }
}

static void emit_outer(struct unit *u, const struct block *b)
{
    u->outer[b->place] = u->x.at;
    reload(u, ALL);
    x86_jump_to(&u->x, u->inner[b->place]);
}

/* The code is whole: it may be entered. */
static void publish(struct unit *u)
{
    struct native *n = &u->m->native;

    memset(n->counted[n->nlanes], 0, u->npairs * sizeof(n->counted[0]));
    memset(n->lanes[n->nlanes].n, 0, u->npairs * sizeof(n->lanes[0]));
    for (size_t i = 0; i < u->nblocks; i++)
        if (u->lane[i] != LANE_NONE)
            n->counted[n->nlanes + u->lane[i] / 2][u->lane[i] % 2] = u->blocks[i];
    n->nlanes += u->npairs;
    for (size_t i = 0; i < u->nblocks; i++) {
        u->blocks[i]->native = u->outer[i];
        u->blocks[i]->inner = u->inner[i];
        u->blocks[i]->unit = u->id;
    }
    n->units = u->id;
}

size_t native_unit_emit(struct unit *u, uint8_t *to, size_t room)
{
    u->x = (struct x86){.at = to, .end = to + room};
    memset(u->inner, 0, sizeof(u->inner));
    put_in_order(u);
    choose_registers(u);
    choose_counters(u);
    emit_routines(u);
    for (size_t i = 0; i < u->nblocks; i++)
        emit_block(u, u->order[i], i + 1 < u->nblocks ? u->order[i + 1] : NULL);
    for (size_t i = 0; i < u->njumps; i++)
        x86_bind(&u->x, u->jumps[i].from, u->inner[u->jumps[i].to]);
    for (size_t i = 0; i < u->nstubs; i++)
        emit_stub(u, &u->stubs[i]);
    for (size_t i = 0; i < u->nblocks; i++)
        emit_outer(u, u->blocks[i]);
    if (u->x.full)
        return 0;
    publish(u);
    return (size_t)(u->x.at - to);
}
