/*
 * Makes the code of units for x86-64 (native.h has the theory of operation, native_x86.h
 * which register is what): its blocks, their registers and counters, the ways in and out.
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

_Static_assert(offsetof(struct machine, r) == 0, "short displacements");

struct x86_place unit_field(size_t offset)
{
    return (struct x86_place){X86_NONE, MACHINE, (int32_t)offset};
}

struct x86_place unit_place(const struct unit *u, unsigned reg)
{
    return u->host[reg] != X86_NONE ? x86_in((enum x86_register)u->host[reg])
                                    : unit_field(sizeof(uint32_t) * reg);
}

void unit_load(struct unit *u, enum x86_register to, unsigned reg)
{
    if (reg == 0)
        x86_rr(&u->x, X86_XOR, to, to);
    else if (u->host[reg] != to)
        x86_rp(&u->x, X86_MOV, to, unit_place(u, reg));
}

enum x86_register unit_target(const struct unit *u, unsigned reg)
{
    return u->host[reg] != X86_NONE ? (enum x86_register)u->host[reg] : RAX;
}

void unit_store(struct unit *u, unsigned reg, enum x86_register from)
{
    if (reg != REG_SINK && u->host[reg] != from)
        x86_rp(&u->x, X86_STORE, from, unit_place(u, reg));
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
    x86_pi(x, DIGIT_SUB, X86_W, x86_in(RSP), 24);
    x86_rr(x, X86_MOV | X86_W, MACHINE, RDI);
    x86_rr(x, X86_MOV | X86_W, STATE, RDX);
    x86_rr(x, 0xff, (enum x86_register)4, RSI); /* jmp rsi */
}

/* eax is why, rcx the block. */
static void emit_leave(struct x86 *x)
{
    x86_rp(x, X86_STORE | X86_W, STATE, FIELD(native.state));
    x86_rp(x, X86_STORE | X86_W, RCX, FIELD(native.block));
    x86_pi(x, DIGIT_ADD, X86_W, x86_in(RSP), 24);
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

/*
 * Fills the line of the address in eax, as memory.c does, from a page that is there already and
 * needs no translation; carry: it is not so simple. Keeps eax only.
 */
static void emit_refill(struct x86 *x, bool store)
{
    int32_t lines = offsetof(struct machine, lines);
    uint8_t *fail[6];
    unsigned n = 0;

    x86_push(x, RSI);
    x86_push(x, RDI);
    x86_rp(x, X86_MOVZX_8, RCX, FIELD(native.flat));
    x86_rr(x, X86_TEST, RCX, RCX);
    fail[n++] = x86_jump_if(x, CC_E);
    x86_rr(x, X86_TEST, RAX, RAX); /* devices and the kernel's are not simple */
    fail[n++] = x86_jump_if(x, CC_S);
    x86_rr(x, X86_MOV, RCX, RAX);
    x86_shift(x, DIGIT_SHR, 0, RCX, 22 - 3);
    x86_pi(x, DIGIT_AND, 0, x86_in(RCX), 1023 << 3);
    x86_rmx(x, X86_MOV | X86_W, RCX, MACHINE, RCX, offsetof(struct machine, directory));
    x86_rr(x, X86_TEST | X86_W, RCX, RCX);
    fail[n++] = x86_jump_if(x, CC_E);
    x86_rr(x, X86_MOV, RDX, RAX);
    x86_shift(x, DIGIT_SHR, 0, RDX, PAGE_BITS - 3);
    x86_pi(x, DIGIT_AND, 0, x86_in(RDX), 1023 << 3);
    x86_rmx(x, X86_MOV | X86_W, RCX, RCX, RDX, 0);
    x86_rr(x, X86_TEST | X86_W, RCX, RCX);
    fail[n++] = x86_jump_if(x, CC_E);
    x86_rr(x, X86_MOV, RSI, RAX); /* the virtual page */
    x86_pi(x, DIGIT_AND, 0, x86_in(RSI), (int32_t)~PAGE_MASK);
    x86_constant(x, RDI, LINE_NONE); /* and again, when it may be written */
    x86_rm(x, X86_MOVZX_8, RDX, RCX, offsetof(struct page, rights));
    x86_pi(x, DIGIT_AND, 0, x86_in(RDX), RIGHT_WRITE);
    x86_rr(x, X86_CMOV + CC_NE, RDI, RSI);
    x86_constant(x, RDX, LINE_NONE);
    x86_rm(x, X86_COMPARE_8, (enum x86_register)DIGIT_CMP, RCX, offsetof(struct page, has_code));
    x86_byte(x, 0);
    x86_rr(x, X86_CMOV + CC_NE, RDI, RDX);
    if (store) {
        x86_rr(x, X86_CMP, RDI, RSI);
        fail[n++] = x86_jump_if(x, CC_NE);
    }
    x86_rm(x, X86_MOV | X86_W, RCX, RCX, offsetof(struct page, data));
    x86_rr(x, X86_SUB | X86_W, RCX, RSI);
    x86_rr(x, X86_MOV, RDX, RAX);
    x86_shift(x, DIGIT_SHR, 0, RDX, PAGE_BITS - 4);
    x86_pi(x, DIGIT_AND, 0, x86_in(RDX), (LINES - 1) << 4);
    x86_rmx(x, X86_STORE, RSI, MACHINE, RDX, lines + (int32_t)offsetof(struct line, read_page));
    x86_rmx(x, X86_STORE, RDI, MACHINE, RDX, lines + (int32_t)offsetof(struct line, write_page));
    x86_rmx(x, X86_STORE | X86_W, RCX, MACHINE, RDX, lines + (int32_t)offsetof(struct line, base));
    x86_byte(x, 0xf8); /* clc */
    uint8_t *done = x86_skip(x);
    for (unsigned i = 0; i < n; i++)
        x86_bind(x, fail[i], x->at);
    x86_byte(x, 0xf9); /* stc */
    x86_land(x, done);
    x86_pop(x, RDI);
    x86_pop(x, RSI);
    x86_byte(x, 0xc3);
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
    for (unsigned store = 0; store < 2; store++) {
        n->refill[store] = x.at;
        emit_refill(&x, store != 0);
    }
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
static bool is_slow(const struct machine *m, unsigned code, const struct op *o)
{
    return (code >= OP_LL_L && code <= OP_SWR && code != OP_LWL && code != OP_LWR) ||
           (code >= OP_LWXC1 && code <= OP_SDXC1) || code == OP_CFC1 || code == OP_EXACT ||
           (code >= OP_RECIP_S && code <= OP_RSQRT_D) ||
           (m->fpu_exact && (code == OP_CVT_S_D || code == OP_MADD_S || code == OP_MADD_D)) ||
           (code >= OP_MOVF_S && code <= OP_MOVN_D) ||
           ((code == OP_TO_WORD_S || code == OP_TO_WORD_D) && o->imm < FPU_CURRENT &&
            o->imm != FPU_ZERO);
}

/* A call of native_op() costs more than an instruction in its internal form. */
#define SLOW_COST 6

bool native_block_fits(const struct machine *m, const struct block *b)
{
    unsigned slow = 0;

    for (unsigned i = 0; i < b->nops; i++)
        slow += is_slow(m, b->codes[i], &b->ops[i]);
    return slow * SLOW_COST <= b->nops;
}

bool unit_has(const struct unit *u, const struct block *b)
{
    return b != NULL && b->place < u->nblocks && u->blocks[b->place] == b;
}

bool native_unit_add(struct unit *u, struct block *b)
{
    if (unit_has(u, b) || u->nblocks == UNIT_BLOCKS || u->nops + b->nops > UNIT_OPS)
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
                if (unit_has(u, b->next[k]) && !placed[b->next[k]->place])
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
    x86_pi(x, DIGIT_SUB, X86_W, x86_in(RSP), 8);
    x86_rp(x, 0xff, (enum x86_register)2, FIELD(native.helper)); /* call */
    x86_pi(x, DIGIT_ADD, X86_W, x86_in(RSP), 8);
    x86_rr(x, X86_TEST, RAX, RAX);
    uint8_t *other = x86_jump_if(x, CC_NE);
    const uint8_t *on = x->at;
    reload(u, which);
    x86_byte(x, 0xc3);
    x86_bind(x, other, x->at);
    x86_pi(x, DIGIT_CMP, 0, x86_in(RAX), NATIVE_HELD);
    uint8_t *out = x86_jump_if(x, CC_NE);
    x86_shift(x, DIGIT_SHR, X86_W, STATE, 32); /* the budget becomes 0 */
    x86_shift(x, DIGIT_SHL, X86_W, STATE, 32);
    x86_jump_to(x, on);
    x86_bind(x, out, x->at);
    x86_pi(x, DIGIT_ADD, X86_W, x86_in(RSP), 8); /* the return address */
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

/* --- what ends of blocks need --- */

void unit_go_outside(struct unit *u, struct block *b, unsigned successor)
{
    spill(u, ALL);
    x86_constant(&u->x, RCX, (uintptr_t)b);
    jump_through(u, offsetof(struct block, out) + 8 * successor, u->m->native.link[successor]);
}

/* With one instruction when the counter is near the machine. */
void unit_count(struct unit *u, const uint64_t *counter)
{
    intptr_t offset = (intptr_t)counter - (intptr_t)u->m;
    struct x86_place place = unit_field(0);

    place.offset = (int32_t)offset;
    if (offset != place.offset) {
        x86_constant(&u->x, RAX, (uintptr_t)counter);
        place = (struct x86_place){X86_NONE, RAX, 0};
    }
    x86_pi(&u->x, DIGIT_ADD, X86_W, place, 1);
}

void unit_count_taken(struct unit *u)
{
    x86_rp(&u->x, X86_ADD | X86_W, STATE, FIELD(native.one_taken));
}

/* --- one internal instruction --- */

/* Whether an internal instruction runs on into the next one. */
static bool runs_on(enum op_code code)
{
    return code < OP_BEQ || (code >= OP_TGE && code < OPS);
}

/* Instructions of FPU registers only: what a call of C does not change is not stored. */
static bool is_fpu_only(enum op_code code)
{
    return code >= OP_EXACT && !(code >= OP_MOVZ_S && code <= OP_MOVN_D);
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

    if (unit_integer(u, b, o, code) || unit_fpu(u, b, o, code) ||
        unit_branch(u, b, o, code, following))
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

static void count_entry(struct unit *u, const struct block *b)
{
    unsigned lane = u->lane[b->place];

    if (lane != LANE_NONE) {
        x86_rp(&u->x, X86_PADDQ, (enum x86_register)(FIRST_PAIR + lane / 2),
               unit_field(offsetof(struct machine, native.one) + lane % 2 * sizeof(struct lanes)));
        return;
    }
    unit_count(u, &b->count);
}

static void emit_block(struct unit *u, struct block *b, const struct block *following)
{
    struct x86 *x = &u->x;

    u->inner[b->place] = x->at;
    x86_pi(x, DIGIT_SUB, X86_W, x86_in(STATE), b->n);
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
        x86_pi(x, DIGIT_ADD, X86_W, x86_in(STATE), stub->block->n);
        x86_constant(x, RCX, (uintptr_t)stub->block);
        x86_constant(x, RAX, NATIVE_BUDGET);
        x86_jump_to(x, u->leave);
        break;
    case STUB_TAKEN:
        unit_count_taken(u);
        unit_go_outside(u, stub->block, 1);
        break;
    case STUB_LOAD:
    case STUB_STORE:
        x86_byte(x, 0xa8); /* test al */
        x86_byte(x, stub->align);
        uint8_t *unaligned = x86_skip_if(x, CC_NE);
        x86_call_to(x, u->m->native.refill[stub->kind == STUB_STORE]);
        x86_jump_if_to(x, CC_AE, stub->again);
        x86_land(x, unaligned);
        emit_call_of(u, stub->block, stub->op, false);
        x86_jump_to(x, stub->back);
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

void native_unit_publish(struct unit *u)
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
    return (size_t)(u->x.at - to);
}
