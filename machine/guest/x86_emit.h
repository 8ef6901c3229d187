/*
 * An encoder of the x86-64 instructions that native_x86.c makes, into memory that has room
 * for a while. Only what every x86-64 has (SSE2), so that a snapshot can go anywhere.
 */
#ifndef MACHINE_GUEST_X86_EMIT_H
#define MACHINE_GUEST_X86_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum x86_register {
    RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15,
    X86_NONE = 255,
};

/* In the low 16 bits of an instruction: its opcode, with 0x0f in the upper byte or without. */
enum x86_prefix {
    X86_W = 1 << 16,    /* 64 bits wide */
    X86_16 = 1 << 17,   /* 16 bits wide; of SSE: the packed or double forms */
    X86_F2 = 1 << 18,
    X86_F3 = 1 << 19,
    X86_BYTE = 1 << 20, /* `reg` is a byte register: sil and not dh */
    X86_BYTE_RM = 1 << 21, /* `rm` is one */
};

/* Instructions with a register and a register or memory, in this direction: reg, rm. */
enum x86_op {
    X86_ADD = 0x03,
    X86_OR = 0x0b,
    X86_AND = 0x23,
    X86_SUB = 0x2b,
    X86_XOR = 0x33,
    X86_CMP = 0x3b,
    X86_MOV = 0x8b,
    X86_STORE = 0x89, /* rm, reg */
    X86_STORE_8 = 0x88 | X86_BYTE,
    X86_STORE_16 = 0x89 | X86_16,
    X86_TEST = 0x85,
    X86_COMPARE_8 = 0x80, /* of a byte and a constant, with DIGIT_CMP */
    X86_LEA = 0x8d,
    X86_MOVSXD = 0x63 | X86_W,
    X86_IMUL = 0x0faf,
    X86_BSR = 0x0fbd,
    X86_MOVZX_8 = 0x0fb6,
    X86_MOVZX_16 = 0x0fb7,
    X86_MOVSX_8 = 0x0fbe,
    X86_MOVSX_16 = 0x0fbf,
    X86_CMOV = 0x0f40,  /* plus a condition */
    X86_MOVSS = 0x0f10 | X86_F3,
    X86_MOVSD = 0x0f10 | X86_F2,
    X86_MOVSS_STORE = 0x0f11 | X86_F3,
    X86_MOVSD_STORE = 0x0f11 | X86_F2,
    X86_MOVDQA = 0x0f6f | X86_16,
    X86_MOVDQA_STORE = 0x0f7f | X86_16,
    X86_PADDQ = 0x0fd4 | X86_16,
    X86_UCOMISS = 0x0f2e,
    X86_UCOMISD = 0x0f2e | X86_16,
};

/* The digit of 0x81 and 0x83 (arithmetic with a constant), of 0xd1 (shifts), of 0xf7. */
enum x86_digit {
    DIGIT_ADD = 0, DIGIT_OR = 1, DIGIT_AND = 4, DIGIT_SUB = 5, DIGIT_XOR = 6, DIGIT_CMP = 7,
    DIGIT_ROL = 0, DIGIT_ROR = 1, DIGIT_SHL = 4, DIGIT_SHR = 5, DIGIT_SAR = 7,
    DIGIT_NOT = 2, DIGIT_NEG = 3, DIGIT_MUL = 4, DIGIT_DIV = 6, DIGIT_IDIV = 7,
};

enum x86_condition {
    CC_O = 0, CC_B = 2, CC_AE = 3, CC_E = 4, CC_NE = 5, CC_BE = 6, CC_A = 7, CC_S = 8,
    CC_NS = 9, CC_P = 10, CC_L = 12, CC_GE = 13, CC_LE = 14, CC_G = 15,
};

/* The other way round. */
static inline enum x86_condition x86_not(enum x86_condition condition)
{
    return (enum x86_condition)(condition ^ 1);
}

/* Where code goes. Nothing is written past `end`: `full` is set instead. */
struct x86 {
    uint8_t *at, *end;
    bool full;
};

/* A register, or memory at a register plus a displacement. */
struct x86_place {
    enum x86_register reg, base; /* reg is X86_NONE for memory */
    int32_t offset;
};

static inline struct x86_place x86_in(enum x86_register reg)
{
    return (struct x86_place){reg, X86_NONE, 0};
}

void x86_bytes(struct x86 *x, const void *bytes, unsigned n);
void x86_byte(struct x86 *x, uint8_t byte);
void x86_rr(struct x86 *x, uint32_t op, enum x86_register reg, enum x86_register rm);
void x86_rm(struct x86 *x, uint32_t op, enum x86_register reg, enum x86_register base,
            int32_t offset);
/* [base + index + offset] */
void x86_rmx(struct x86 *x, uint32_t op, enum x86_register reg, enum x86_register base,
             enum x86_register index, int32_t offset);
void x86_rp(struct x86 *x, uint32_t op, enum x86_register reg, struct x86_place place);
/* Arithmetic of a place and a constant; `flags`: X86_W or 0. */
void x86_pi(struct x86 *x, enum x86_digit digit, uint32_t flags, struct x86_place place,
            int32_t constant);
/* A shift by a constant, and by cl. */
void x86_shift(struct x86 *x, enum x86_digit digit, uint32_t flags, enum x86_register reg,
               unsigned by);
void x86_shift_cl(struct x86 *x, enum x86_digit digit, enum x86_register reg);
/* not, neg, mul, div, idiv */
void x86_unary(struct x86 *x, enum x86_digit digit, enum x86_register reg);
/* The shortest way to a constant, without a change of flags. */
void x86_constant(struct x86 *x, enum x86_register reg, uint64_t value);
void x86_bswap(struct x86 *x, uint32_t flags, enum x86_register reg);
/* reg = 0 or 1, all of it */
void x86_set(struct x86 *x, enum x86_condition condition, enum x86_register reg);
void x86_push(struct x86 *x, enum x86_register reg);
void x86_pop(struct x86 *x, enum x86_register reg);
/*
 * Jumps and calls with a distance of 32 bits: they return where the distance stands, for
 * x86_bind, or they know the target.
 */
uint8_t *x86_jump(struct x86 *x);
uint8_t *x86_jump_if(struct x86 *x, enum x86_condition condition);
void x86_jump_to(struct x86 *x, const uint8_t *target);
void x86_jump_if_to(struct x86 *x, enum x86_condition condition, const uint8_t *target);
void x86_call_to(struct x86 *x, const uint8_t *target);
/* Makes the jump at `distance` go to `target`; x->at is the usual one. */
void x86_bind(struct x86 *x, uint8_t *distance, const uint8_t *target);
/* Jumps of at most 127 bytes. */
uint8_t *x86_skip_if(struct x86 *x, enum x86_condition condition);
uint8_t *x86_skip(struct x86 *x);
void x86_land(struct x86 *x, uint8_t *distance);

#endif
