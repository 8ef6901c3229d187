/*
 * Encodes x86-64 instructions: prefixes, REX, opcode, ModRM, SIB, displacement, as in the
 * manuals of the processor (volume 2, "Instruction Format").
 */
#include "x86_emit.h"

#include <string.h>

void x86_bytes(struct x86 *x, const void *bytes, unsigned n)
{
    if (x->end - x->at < (ptrdiff_t)n) {
        x->full = true;
        return;
    }
    memcpy(x->at, bytes, n);
    x->at += n;
}

void x86_byte(struct x86 *x, uint8_t byte)
{
    x86_bytes(x, &byte, 1);
}

static void word(struct x86 *x, uint32_t value)
{
    uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                        (uint8_t)(value >> 24)};
    x86_bytes(x, bytes, 4);
}

/* Everything up to ModRM. */
static void head(struct x86 *x, uint32_t op, unsigned reg, unsigned index, unsigned base)
{
    unsigned rex = (op & X86_W ? 8u : 0u) | (reg >= 8 ? 4u : 0u) | (index >= 8 ? 2u : 0u) |
                   (base >= 8 ? 1u : 0u);
    bool byte = (op & X86_BYTE && reg >= 4) || (op & X86_BYTE_RM && base >= 4);

    if (op & X86_16)
        x86_byte(x, 0x66);
    if (op & X86_F2)
        x86_byte(x, 0xf2);
    if (op & X86_F3)
        x86_byte(x, 0xf3);
    if (rex != 0 || byte)
        x86_byte(x, (uint8_t)(0x40 | rex));
    if (op & 0xff00)
        x86_byte(x, (uint8_t)(op >> 8));
    x86_byte(x, (uint8_t)op);
}

static void modrm(struct x86 *x, unsigned mode, unsigned reg, unsigned rm)
{
    x86_byte(x, (uint8_t)(mode << 6 | (reg & 7) << 3 | (rm & 7)));
}

void x86_rr(struct x86 *x, uint32_t op, enum x86_register reg, enum x86_register rm)
{
    head(x, op, reg, 0, rm);
    modrm(x, 3, reg, rm);
}

static void displacement(struct x86 *x, unsigned mode, int32_t offset)
{
    if (mode == 1)
        x86_byte(x, (uint8_t)offset);
    else
        word(x, (uint32_t)offset);
}

void x86_rm(struct x86 *x, uint32_t op, enum x86_register reg, enum x86_register base,
            int32_t offset)
{
    unsigned mode = offset >= -128 && offset <= 127 ? 1 : 2;

    head(x, op, reg, 0, base);
    modrm(x, mode, reg, base);
    if ((base & 7) == RSP) /* means that a SIB byte follows */
        x86_byte(x, 0x24);
    displacement(x, mode, offset);
}

void x86_rmx(struct x86 *x, uint32_t op, enum x86_register reg, enum x86_register base,
             enum x86_register index, int32_t offset)
{
    unsigned mode = offset >= -128 && offset <= 127 ? 1 : 2;

    head(x, op, reg, index, base);
    modrm(x, mode, reg, RSP);
    x86_byte(x, (uint8_t)((index & 7) << 3 | (base & 7)));
    displacement(x, mode, offset);
}

void x86_rp(struct x86 *x, uint32_t op, enum x86_register reg, struct x86_place place)
{
    if (place.reg != X86_NONE)
        x86_rr(x, op, reg, place.reg);
    else
        x86_rm(x, op, reg, place.base, place.offset);
}

void x86_pi(struct x86 *x, enum x86_digit digit, uint32_t flags, struct x86_place place,
            int32_t constant)
{
    bool small = constant >= -128 && constant <= 127;

    x86_rp(x, (small ? 0x83 : 0x81) | flags, (enum x86_register)digit, place);
    if (small)
        x86_byte(x, (uint8_t)constant);
    else
        word(x, (uint32_t)constant);
}

void x86_shift(struct x86 *x, enum x86_digit digit, uint32_t flags, enum x86_register reg,
               unsigned by)
{
    x86_rr(x, 0xc1 | flags, (enum x86_register)digit, reg);
    x86_byte(x, (uint8_t)by);
}

void x86_shift_cl(struct x86 *x, enum x86_digit digit, enum x86_register reg)
{
    x86_rr(x, 0xd3, (enum x86_register)digit, reg);
}

void x86_unary(struct x86 *x, enum x86_digit digit, enum x86_register reg)
{
    x86_rr(x, 0xf7, (enum x86_register)digit, reg);
}

void x86_constant(struct x86 *x, enum x86_register reg, uint64_t value)
{
    head(x, (0xb8 + (reg & 7)) | (value > UINT32_MAX ? X86_W : 0), 0, 0, reg);
    word(x, (uint32_t)value);
    if (value > UINT32_MAX)
        word(x, (uint32_t)(value >> 32));
}

void x86_bswap(struct x86 *x, uint32_t flags, enum x86_register reg)
{
    head(x, (0x0fc8 + (reg & 7)) | flags, 0, 0, reg);
}

void x86_set(struct x86 *x, enum x86_condition condition, enum x86_register reg)
{
    x86_rr(x, (0x0f90 + condition) | X86_BYTE_RM, RAX, reg);
    x86_rr(x, X86_MOVZX_8 | X86_BYTE_RM, reg, reg);
}

void x86_push(struct x86 *x, enum x86_register reg)
{
    head(x, 0x50 + (reg & 7), 0, 0, reg);
}

void x86_pop(struct x86 *x, enum x86_register reg)
{
    head(x, 0x58 + (reg & 7), 0, 0, reg);
}

uint8_t *x86_jump(struct x86 *x)
{
    x86_byte(x, 0xe9);
    uint8_t *distance = x->at;
    word(x, 0);
    return distance;
}

uint8_t *x86_jump_if(struct x86 *x, enum x86_condition condition)
{
    x86_byte(x, 0x0f);
    x86_byte(x, (uint8_t)(0x80 + condition));
    uint8_t *distance = x->at;
    word(x, 0);
    return distance;
}

void x86_bind(struct x86 *x, uint8_t *distance, const uint8_t *target)
{
    int32_t by = (int32_t)(target - (distance + 4));

    if (!x->full)
        memcpy(distance, &by, sizeof(by));
}

void x86_jump_to(struct x86 *x, const uint8_t *target)
{
    x86_bind(x, x86_jump(x), target);
}

void x86_jump_if_to(struct x86 *x, enum x86_condition condition, const uint8_t *target)
{
    x86_bind(x, x86_jump_if(x, condition), target);
}

void x86_call_to(struct x86 *x, const uint8_t *target)
{
    x86_byte(x, 0xe8);
    uint8_t *distance = x->at;
    word(x, 0);
    x86_bind(x, distance, target);
}

uint8_t *x86_skip_if(struct x86 *x, enum x86_condition condition)
{
    x86_byte(x, (uint8_t)(0x70 + condition));
    uint8_t *distance = x->at;
    x86_byte(x, 0);
    return distance;
}

uint8_t *x86_skip(struct x86 *x)
{
    x86_byte(x, 0xeb);
    uint8_t *distance = x->at;
    x86_byte(x, 0);
    return distance;
}

void x86_land(struct x86 *x, uint8_t *distance)
{
    if (!x->full)
        *distance = (uint8_t)(x->at - (distance + 1));
}
