/*
 * Native code for floating point: the quick half of instructions.inc. Results that are NaNs
 * and flags beside "inexact" are left to native_op(), which does the instruction again, and
 * all that has flags is where the host has none (machine.fpu_exact).
 */
#include "fpu_host.h"
#include "native_x86.h"

#define XMM0 ((enum x86_register)0)
#define XMM1 ((enum x86_register)1)

#define FCSR unit_field(offsetof(struct machine, fcsr))

enum { SSE_SQRT = 0x51, SSE_ADD = 0x58, SSE_MUL = 0x59, SSE_SUB = 0x5c, SSE_DIV = 0x5e };

static struct x86_place fpu_register(unsigned reg)
{
    return unit_field(offsetof(struct machine, f) + sizeof(uint32_t) * reg);
}

static void rp(struct unit *u, uint32_t op, unsigned reg, struct x86_place place)
{
    x86_rp(&u->x, op, (enum x86_register)reg, place);
}

/* A store less when there are none, which is nearly always. */
static void clear_causes(struct unit *u)
{
    uint8_t bytes[4] = {0, FCSR_CAUSES >> 8 & 0xff, FCSR_CAUSES >> 16, 0};

    rp(u, 0xf7, 0, FCSR); /* test */
    x86_bytes(&u->x, bytes, 4);
    uint8_t *none = x86_skip_if(&u->x, CC_E);
    x86_pi(&u->x, DIGIT_AND, 0, FCSR, (int32_t)~FCSR_CAUSES);
    x86_land(&u->x, none);
}

/* edx = FCSR, ecx the same without causes */
static void take_fcsr(struct unit *u)
{
    rp(u, X86_MOV, RDX, FCSR);
    x86_rr(&u->x, X86_MOV, RCX, RDX);
    x86_pi(&u->x, DIGIT_AND, 0, x86_in(RCX), (int32_t)~FCSR_CAUSES);
}

/* "Inexact" is the only flag: into ecx, or a stub when that is an exception. */
static void note_inexact(struct unit *u, struct block *b, const struct op *o)
{
    struct x86 *x = &u->x;

    x86_bytes(x, "\xf6\xc2\x80", 3); /* test dl: is it enabled? */
    unit_stub(u, STUB_FPU, b, o, x86_jump_if(x, CC_NE));
    x86_rp(x, 0x0fae, (enum x86_register)2, unit_field(offsetof(struct machine, native.mxcsr)));
    x86_pi(x, DIGIT_OR, 0, x86_in(RCX), FLAG_I << 12 | FLAG_I << 2);
}

/* FCSR = ecx; a store less when that is what it was, which is nearly always so. */
static void put_fcsr(struct unit *u)
{
    x86_rr(&u->x, X86_CMP, RCX, RDX);
    uint8_t *same = x86_skip_if(&u->x, CC_E);
    rp(u, X86_STORE, RCX, FCSR);
    x86_land(&u->x, same);
}

/*
 * FCSR after an operation: without causes when it was exact, and with "inexact" when that
 * is the only flag and not enabled. That is nearly always so, and stands in line; other
 * flags are stubs.
 */
static void note_flags(struct unit *u, struct block *b, const struct op *o)
{
    struct x86 *x = &u->x;
    struct x86_place rax = x86_in(RAX);

    x86_rm(x, 0x0fae, (enum x86_register)3, RSP, MXCSR_AT); /* stmxcsr */
    take_fcsr(u);
    x86_rm(x, X86_MOV, RAX, RSP, MXCSR_AT);
    x86_pi(x, DIGIT_AND, 0, rax, 0x3d);
    uint8_t *exact = x86_skip_if(x, CC_E);
    x86_pi(x, DIGIT_CMP, 0, rax, 0x20);
    unit_stub(u, STUB_FPU, b, o, x86_jump_if(x, CC_NE));
    note_inexact(u, b, o);
    x86_land(x, exact);
    put_fcsr(u);
}

/* Stubs since `first` come back here. */
static void come_back(struct unit *u, size_t first)
{
    for (size_t i = first; i < u->nstubs; i++)
        u->stubs[i].back = u->x.at;
}

/* d = xmm0, with the flags of the operation that gave it */
static void finish(struct unit *u, struct block *b, const struct op *o, bool wide)
{
    size_t first = u->nstubs;

    x86_rr(&u->x, wide ? X86_UCOMISD : X86_UCOMISS, XMM0, XMM0);
    unit_stub(u, STUB_FPU, b, o, x86_jump_if(&u->x, CC_P)); /* a NaN */
    note_flags(u, b, o);
    rp(u, wide ? X86_MOVSD_STORE : X86_MOVSS_STORE, XMM0, fpu_register(o->d));
    come_back(u, first);
}

/* d = s `code` t, or `code` s */
static void arithmetic(struct unit *u, struct block *b, const struct op *o, unsigned code,
                       bool wide)
{
    uint32_t prefix = wide ? X86_F2 : X86_F3;

    if (code == SSE_SQRT) {
        rp(u, 0x0f00u | code | prefix, XMM0, fpu_register(o->s));
    } else {
        rp(u, wide ? X86_MOVSD : X86_MOVSS, XMM0, fpu_register(o->s));
        rp(u, 0x0f00u | code | prefix, XMM0, fpu_register(o->t));
    }
    finish(u, b, o, wide);
}

/* Two roundings, as in fpu.c. A result with another sign is made of what was stored. */
static void multiply_add(struct unit *u, struct block *b, const struct op *o, bool wide)
{
    uint32_t prefix = wide ? X86_F2 : X86_F3;
    size_t first = u->nstubs;
    /* The high half of the result has the sign. */
    struct x86_place high = fpu_register(wide ? o->d + 1u : o->d);

    rp(u, wide ? X86_MOVSD : X86_MOVSS, XMM0, fpu_register(o->s));
    rp(u, (0x0f00u | SSE_MUL) | prefix, XMM0, fpu_register(o->t));
    rp(u, (0x0f00u | (o->imm & FPU_MINUS ? SSE_SUB : SSE_ADD)) | prefix, XMM0,
       fpu_register(o->imm >> 16));
    finish(u, b, o, wide);
    if (o->imm & FPU_NEGATE) {
        x86_pi(&u->x, DIGIT_XOR, 0, high, INT32_MIN);
        come_back(u, first);
    }
}

static void compare(struct unit *u, struct block *b, const struct op *o, bool wide)
{
    static const enum x86_condition conditions[] = {CC_E, CC_B, CC_BE};
    struct x86 *x = &u->x;
    unsigned which = o->imm >> 1 & 3;

    rp(u, wide ? X86_MOVSD : X86_MOVSS, XMM0, fpu_register(o->s));
    rp(u, wide ? X86_UCOMISD : X86_UCOMISS, XMM0, fpu_register(o->t));
    struct stub *unordered = unit_stub(u, STUB_FPU, b, o, x86_jump_if(x, CC_P));
    if (which != 0) {
        x86_set(x, conditions[which - 1], RAX);
        x86_shift(x, DIGIT_SHL, 0, RAX, o->d);
    }
    rp(u, X86_MOV, RCX, FCSR);
    x86_pi(x, DIGIT_AND, 0, x86_in(RCX),
           (int32_t)~(FCSR_CAUSES | UINT32_C(1) << o->d));
    if (which != 0)
        x86_rr(x, X86_OR, RCX, RAX);
    rp(u, X86_STORE, RCX, FCSR);
    unordered->back = x->at;
}

static void widen(struct unit *u, struct block *b, const struct op *o)
{
    struct x86 *x = &u->x;
    struct x86_place rax = x86_in(RAX);

    rp(u, X86_MOV, RAX, fpu_register(o->s));
    x86_pi(x, DIGIT_AND, 0, rax, INT32_MAX);
    x86_pi(x, DIGIT_CMP, 0, rax, 0x7f800000);
    struct stub *nan = unit_stub(u, STUB_FPU, b, o, x86_jump_if(x, CC_A));
    rp(u, 0x0f5a | X86_F3, XMM0, fpu_register(o->s)); /* cvtss2sd */
    clear_causes(u);
    rp(u, X86_MOVSD_STORE, XMM0, fpu_register(o->d));
    nan->back = x->at;
}

/* Double to single: NaNs are seen before, their flags are others. */
static void narrow(struct unit *u, struct block *b, const struct op *o)
{
    struct x86 *x = &u->x;
    size_t first = u->nstubs;

    rp(u, X86_MOV | X86_W, RAX, fpu_register(o->s));
    x86_rr(x, X86_ADD | X86_W, RAX, RAX);
    x86_constant(x, RCX, UINT64_C(0xffe0000000000000));
    x86_rr(x, X86_CMP | X86_W, RAX, RCX);
    unit_stub(u, STUB_FPU, b, o, x86_jump_if(x, CC_A));
    rp(u, 0x0f5a | X86_F2, XMM0, fpu_register(o->s)); /* cvtsd2ss */
    note_flags(u, b, o);
    rp(u, X86_MOVSS_STORE, XMM0, fpu_register(o->d));
    come_back(u, first);
}

/* To an integer, towards zero or as the rounding is; what does not fit is a stub. */
static void to_word(struct unit *u, struct block *b, const struct op *o, bool wide)
{
    struct x86 *x = &u->x;
    size_t first = u->nstubs;
    unsigned code = o->imm == FPU_ZERO ? 0x0f2c : 0x0f2d; /* cvttsd2si, cvtsd2si */

    rp(u, wide ? X86_MOVSD : 0x0f5a | X86_F3, XMM0, fpu_register(o->s));
    x86_rr(x, code | X86_F2, RAX, XMM0);
    x86_pi(x, DIGIT_CMP, 0, x86_in(RAX), INT32_MIN);
    unit_stub(u, STUB_FPU, b, o, x86_jump_if(x, CC_E));
    take_fcsr(u);
    x86_rr(x, 0x0f2a | X86_F2, XMM1, RAX); /* cvtsi2sd, and back */
    x86_rr(x, X86_UCOMISD, XMM1, XMM0);
    uint8_t *exact = x86_skip_if(x, CC_E);
    note_inexact(u, b, o);
    x86_land(x, exact);
    put_fcsr(u);
    rp(u, X86_STORE, RAX, fpu_register(o->d));
    come_back(u, first);
}

/* Loads and stores through rax, which has the address. */
static void transfer(struct unit *u, struct block *b, const struct op *o, unsigned bytes,
                     bool store, bool swap)
{
    struct x86 *x = &u->x;
    uint32_t wide = bytes == 8 ? X86_W : 0;
    struct stub *stub = unit_access(u, b, o, bytes, store);

    if (store)
        rp(u, X86_MOV | wide, RCX, fpu_register(o->t));
    else
        x86_rm(x, X86_MOV | wide, RCX, RAX, 0);
    if (swap)
        x86_bswap(x, wide, RCX);
    if (store)
        x86_rm(x, X86_STORE | wide, RCX, RAX, 0);
    else
        rp(u, X86_STORE | wide, RCX, fpu_register(o->d));
    stub->back = x->at;
}

static bool transfers(struct unit *u, struct block *b, const struct op *o, enum op_code code)
{
    switch (code) {
    case OP_LWC1_L:
    case OP_LWC1_B:
        transfer(u, b, o, 4, false, code == OP_LWC1_B);
        return true;
    case OP_SWC1_L:
    case OP_SWC1_B:
        transfer(u, b, o, 4, true, code == OP_SWC1_B);
        return true;
    case OP_LDC1_L:
    case OP_LDC1_B:
        transfer(u, b, o, 8, false, code == OP_LDC1_B);
        return true;
    case OP_SDC1_L:
    case OP_SDC1_B:
        transfer(u, b, o, 8, true, code == OP_SDC1_B);
        return true;
    case OP_MFC1:
    case OP_MFHC1: {
        enum x86_register to = unit_target(u, o->d);
        rp(u, X86_MOV, to, fpu_register(code == OP_MFHC1 ? o->s | 1u : o->s));
        unit_store(u, o->d, to);
        return true;
    }
    case OP_MTC1:
    case OP_MTHC1:
        unit_load(u, RAX, o->s);
        rp(u, X86_STORE, RAX, fpu_register(code == OP_MTHC1 ? o->d | 1u : o->d));
        return true;
    default:
        return false;
    }
}

/* What only looks at bits: moves, and signs by `digit` with `constant` of the upper word. */
static void bits(struct unit *u, const struct op *o, bool wide, int digit, int32_t constant)
{
    uint32_t size = wide ? X86_W : 0;

    rp(u, X86_MOV | size, RAX, fpu_register(o->s));
    if (digit >= 0 && wide) {
        x86_constant(&u->x, RCX, digit == DIGIT_XOR ? UINT64_C(1) << 63 : INT64_MAX);
        x86_rr(&u->x, (digit == DIGIT_XOR ? X86_XOR : X86_AND) | X86_W, RAX, RCX);
    } else if (digit >= 0) {
        x86_pi(&u->x, (enum x86_digit)digit, 0, x86_in(RAX), constant);
    }
    rp(u, X86_STORE | size, RAX, fpu_register(o->d));
}

static bool arithmetics(struct unit *u, struct block *b, const struct op *o, enum op_code code)
{
    static const struct {
        uint8_t code, sse;
        bool wide;
    } table[] = {
        {OP_ADD_S, SSE_ADD, false}, {OP_SUB_S, SSE_SUB, false},   {OP_MUL_S, SSE_MUL, false},
        {OP_DIV_S, SSE_DIV, false}, {OP_SQRT_S, SSE_SQRT, false}, {OP_ADD_D, SSE_ADD, true},
        {OP_SUB_D, SSE_SUB, true},  {OP_MUL_D, SSE_MUL, true},    {OP_DIV_D, SSE_DIV, true},
        {OP_SQRT_D, SSE_SQRT, true},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].code == code) {
            arithmetic(u, b, o, table[i].sse, table[i].wide);
            return true;
        }
    }
    return false;
}

bool unit_fpu(struct unit *u, struct block *b, const struct op *o, enum op_code code)
{
    switch (code) {
    case OP_MOV_S:
    case OP_MOV_D:
        bits(u, o, code == OP_MOV_D, -1, 0);
        return true;
    case OP_ABS_S:
    case OP_ABS_D:
        bits(u, o, code == OP_ABS_D, DIGIT_AND, INT32_MAX);
        return true;
    case OP_NEG_S:
    case OP_NEG_D:
        bits(u, o, code == OP_NEG_D, DIGIT_XOR, INT32_MIN);
        return true;
    case OP_COMPARE_S:
    case OP_COMPARE_D:
        compare(u, b, o, code == OP_COMPARE_D);
        return true;
    case OP_CVT_D_W:
        clear_causes(u);
        rp(u, 0x0f57, XMM0, x86_in(RAX)); /* xorps xmm0, xmm0 */
        rp(u, 0x0f2a | X86_F2, XMM0, fpu_register(o->s));          /* cvtsi2sd */
        rp(u, X86_MOVSD_STORE, XMM0, fpu_register(o->d));
        return true;
    case OP_CVT_D_S:
        widen(u, b, o);
        return true;
    case OP_CVT_S_D:
        if (u->m->fpu_exact)
            return false;
        narrow(u, b, o);
        return true;
    case OP_CVT_S_W:
        rp(u, 0x0f57, XMM0, x86_in(RAX)); /* xorps xmm0, xmm0 */
        rp(u, 0x0f2a | X86_F3, XMM0, fpu_register(o->s));          /* cvtsi2ss */
        finish(u, b, o, false);
        return true;
    case OP_MADD_S:
    case OP_MADD_D:
        if (u->m->fpu_exact)
            return false;
        multiply_add(u, b, o, code == OP_MADD_D);
        return true;
    case OP_TO_WORD_S:
    case OP_TO_WORD_D:
        if (o->imm != FPU_ZERO && o->imm != FPU_CURRENT)
            return false;
        to_word(u, b, o, code == OP_TO_WORD_D);
        return true;
    default:
        return transfers(u, b, o, code) || arithmetics(u, b, o, code);
    }
}
