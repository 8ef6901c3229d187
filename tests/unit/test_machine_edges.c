/*
 * Edge cases of the integer instructions, branches, loads, stores and traps. See
 * machine_edges.h for how a row is run.
 */
#include "machine_edges.h"

#define ST_D UINT32_C(0x00221800) /* rs = $1, rt = $2, rd = $3 */
#define ST   UINT32_C(0x00220000)
#define S_D  UINT32_C(0x00201800)
#define OV   .raises = EXC_OV

/* $3 = f($1, $2), f($2, amount), f($1); $2 = f($1, immediate). `out`: what it gives. */
#define OP3(NAME, s, t, result)                                                               \
    {.insn = ISA_##NAME, .fields = ST_D, .in = {s, t, 0x3333}, .cause = EDGE_KEEP, .to = TO_D, \
     .out = {result, result}}
#define OP3_OV(NAME, s, t) \
    {.insn = ISA_##NAME, .fields = ST_D, .in = {s, t, 0x3333}, .cause = EDGE_KEEP, OV}
#define SHIFT(NAME, amount, t, result)                                              \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00021800) | (amount) << 6,            \
     .in = {0x1111, t, 0x3333}, .cause = EDGE_KEEP, .to = TO_D, .out = {result, result}}
/* rt repeats rd in clz and clo */
#define COUNT(NAME, s, result)                                                               \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00231800), .in = {s, 0x2222, 0x3333},          \
     .cause = EDGE_KEEP, .to = TO_D, .out = {result, result}}
#define BYTES(NAME, t, result)                                                               \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00021800), .in = {0x1111, t, 0x3333},          \
     .cause = EDGE_KEEP, .to = TO_D, .out = {result, result}}
#define IMM(NAME, s, imm, result)                                                  \
    {.insn = ISA_##NAME, .fields = ST | (imm), .in = {s, 0x2222, 0x3333}, .cause = EDGE_KEEP, \
     .to = TO_T, .out = {result, result}}
#define IMM_OV(NAME, s, imm) \
    {.insn = ISA_##NAME, .fields = ST | (imm), .in = {s, 0x2222, 0}, .cause = EDGE_KEEP, OV}
#define LUI(imm, result)                                                                     \
    {.insn = ISA_LUI, .fields = UINT32_C(0x00020000) | (imm), .cause = EDGE_KEEP, .to = TO_T, \
     .out = {result, result}}
#define EXT(pos, size, s, result)                                                             \
    {.insn = ISA_EXT, .fields = ST | ((size) - 1) << 11 | (pos) << 6, .in = {s, 0x2222, 0},   \
     .cause = EDGE_KEEP, .to = TO_T, .out = {result, result}}
#define INS(pos, size, s, t, result)                                                          \
    {.insn = ISA_INS, .fields = ST | ((pos) + (size) - 1) << 11 | (pos) << 6, .in = {s, t, 0}, \
     .cause = EDGE_KEEP, .to = TO_T, .out = {result, result}}
/* What has no result but must be harmless: $0 as destination, hints. */
#define NOTHING(NAME, operands)                                                          \
    {.insn = ISA_##NAME, .fields = operands, .in = {0x1111, 0x2222, 0x3333}, .cause = EDGE_KEEP}
#define RESERVED(word)                                                                        \
    {.insn = ISA_UNKNOWN, .fields = word, .in = {0x1111, 0x2222, 0x3333}, .cause = EDGE_KEEP, \
     .raises = EXC_RI}

static const struct edge_case arithmetic[] = {
    SHIFT(SLL, 0, 0x80000001, 0x80000001),
    SHIFT(SLL, 1, 0xc0000001, 0x80000002),
    SHIFT(SLL, 31, 0x00000003, 0x80000000),
    NOTHING(SLL, 0),             /* nop */
    NOTHING(SLL, 1 << 6),        /* ssnop */
    NOTHING(SLL, 3 << 6),        /* ehb */
    NOTHING(SLL, 5 << 6),        /* pause */
    NOTHING(SLL, 0x00020000),    /* to $0 */
    SHIFT(SRL, 0, 0x80000001, 0x80000001),
    SHIFT(SRL, 1, 0x80000001, 0x40000000),
    SHIFT(SRL, 31, 0x80000000, 1),
    SHIFT(ROTR, 0, 0x12345678, 0x12345678),
    SHIFT(ROTR, 1, 0x00000001, 0x80000000),
    SHIFT(ROTR, 31, 0x80000001, 0x00000003),
    SHIFT(ROTR, 8, 0x12345678, 0x78123456),
    SHIFT(SRA, 0, 0x80000001, 0x80000001),
    SHIFT(SRA, 1, 0x80000001, 0xc0000000),
    SHIFT(SRA, 31, 0x80000000, 0xffffffff),
    SHIFT(SRA, 31, 0x7fffffff, 0),
    OP3(SLLV, 0, 0x80000001, 0x80000001),
    OP3(SLLV, 31, 3, 0x80000000),
    OP3(SLLV, 32, 3, 3),
    OP3(SLLV, 0xffffffff, 3, 0x80000000),
    OP3(SRLV, 0, 0x80000001, 0x80000001),
    OP3(SRLV, 31, 0x80000000, 1),
    OP3(SRLV, 32, 0x80000001, 0x80000001),
    OP3(SRLV, 33, 0x80000001, 0x40000000),
    OP3(ROTRV, 0, 0x12345678, 0x12345678),
    OP3(ROTRV, 31, 0x80000001, 3),
    OP3(ROTRV, 32, 0x12345678, 0x12345678),
    OP3(ROTRV, 0xffffffe4, 0x12345678, 0x81234567),
    OP3(SRAV, 0, 0x80000001, 0x80000001),
    OP3(SRAV, 31, 0x80000000, 0xffffffff),
    OP3(SRAV, 32, 0x80000001, 0x80000001),
    OP3(SRAV, 63, 0x40000000, 0),
    OP3(ADD, 0x7ffffffe, 1, 0x7fffffff),
    OP3(ADD, 0x80000001, 0xffffffff, 0x80000000),
    OP3(ADD, 0x80000000, 0x7fffffff, 0xffffffff),
    OP3_OV(ADD, 0x7fffffff, 1),
    OP3_OV(ADD, 0x80000000, 0xffffffff),
    OP3_OV(ADD, 0x80000000, 0x80000000),
    OP3_OV(ADD, 0x40000000, 0x40000000),
    OP3(ADDU, 0x7fffffff, 1, 0x80000000),
    OP3(ADDU, 0xffffffff, 1, 0),
    OP3(ADDU, 0x80000000, 0x80000000, 0),
    NOTHING(ADDU, 0x00220000),
    OP3(SUB, 0x80000001, 1, 0x80000000),
    OP3(SUB, 0xffffffff, 0x80000000, 0x7fffffff),
    OP3(SUB, 0, 0x80000001, 0x7fffffff),
    OP3_OV(SUB, 0, 0x80000000),
    OP3_OV(SUB, 0x80000000, 1),
    OP3_OV(SUB, 0x7fffffff, 0xffffffff),
    OP3(SUBU, 0, 0x80000000, 0x80000000),
    OP3(SUBU, 0, 1, 0xffffffff),
    OP3(SUBU, 0x80000000, 1, 0x7fffffff),
    OP3(AND, 0xff00ff00, 0x0ff00ff0, 0x0f000f00),
    OP3(AND, 0xffffffff, 0, 0),
    OP3(AND, 0xffffffff, 0xffffffff, 0xffffffff),
    OP3(OR, 0xff00ff00, 0x0ff00ff0, 0xfff0fff0),
    OP3(OR, 0, 0, 0),
    OP3(OR, 0xffffffff, 0, 0xffffffff),
    OP3(XOR, 0xff00ff00, 0x0ff00ff0, 0xf0f0f0f0),
    OP3(XOR, 0xffffffff, 0xffffffff, 0),
    OP3(XOR, 0xffffffff, 0, 0xffffffff),
    OP3(NOR, 0xff00ff00, 0x0ff00ff0, 0x000f000f),
    OP3(NOR, 0, 0, 0xffffffff),
    OP3(NOR, 0xffffffff, 0, 0),
    OP3(SLT, 0x80000000, 0x7fffffff, 1),
    OP3(SLT, 0x7fffffff, 0x80000000, 0),
    OP3(SLT, 0xffffffff, 0, 1),
    OP3(SLT, 5, 5, 0),
    OP3(SLTU, 0x80000000, 0x7fffffff, 0),
    OP3(SLTU, 0x7fffffff, 0x80000000, 1),
    OP3(SLTU, 0, 0xffffffff, 1),
    OP3(SLTU, 5, 5, 0),
    IMM(ADDI, 0x7ffffffe, 1, 0x7fffffff),
    IMM(ADDI, 0, 0xffff, 0xffffffff),
    IMM(ADDI, 0x80008000, 0x8000, 0x80000000),
    IMM_OV(ADDI, 0x7fffffff, 1),
    IMM_OV(ADDI, 0x80000000, 0xffff),
    IMM_OV(ADDI, 0x80007fff, 0x8000),
    IMM(ADDIU, 0x7fffffff, 1, 0x80000000),
    IMM(ADDIU, 0, 0x8000, 0xffff8000),
    IMM(ADDIU, 0x80000000, 0xffff, 0x7fffffff),
    NOTHING(ADDIU, 0x00200001),
    IMM(SLTI, 0xffff8000, 0x8000, 0),
    IMM(SLTI, 0xffff7fff, 0x8000, 1),
    IMM(SLTI, 0x80000000, 0x7fff, 1),
    IMM(SLTI, 0, 0xffff, 0),
    IMM(SLTIU, 0xffff7fff, 0x8000, 1),
    IMM(SLTIU, 0xffff8000, 0x8000, 0),
    IMM(SLTIU, 0, 1, 1),
    IMM(SLTIU, 0xffffffff, 0xffff, 0),
    IMM(ANDI, 0xffffffff, 0xffff, 0xffff),
    IMM(ANDI, 0xffff8001, 0x8000, 0x8000),
    IMM(ANDI, 0xffff0000, 0xffff, 0),
    IMM(ORI, 0, 0xffff, 0xffff),
    IMM(ORI, 0x80000000, 0x8000, 0x80008000),
    IMM(ORI, 0xffffffff, 0, 0xffffffff),
    IMM(XORI, 0xffffffff, 0xffff, 0xffff0000),
    IMM(XORI, 0, 0x8000, 0x8000),
    IMM(XORI, 0x8000, 0x8000, 0),
    LUI(0, 0), LUI(0x8000, 0x80000000), LUI(0xffff, 0xffff0000),
    COUNT(CLZ, 0, 32), COUNT(CLZ, 0xffffffff, 0), COUNT(CLZ, 1, 31), COUNT(CLZ, 0x00800000, 8),
    COUNT(CLO, 0, 0), COUNT(CLO, 0xffffffff, 32), COUNT(CLO, 0xfffffffe, 31),
    COUNT(CLO, 0x80000000, 1),
    EXT(0, 32, 0x89abcdef, 0x89abcdef),
    EXT(0, 1, 0xffffffff, 1),
    EXT(31, 1, 0x80000000, 1),
    EXT(4, 8, 0x89abcdef, 0xde),
    EXT(16, 16, 0x89abcdef, 0x89ab),
    INS(0, 32, 0x89abcdef, 0x11111111, 0x89abcdef),
    INS(31, 1, 0xffffffff, 0, 0x80000000),
    INS(0, 1, 0xfffffffe, 0x11111111, 0x11111110),
    INS(8, 8, 0x1234, 0x11111111, 0x11113411),
    BYTES(WSBH, 0x11223344, 0x22114433),
    BYTES(WSBH, 0x000000ff, 0x0000ff00),
    BYTES(WSBH, 0xff000000, 0x00ff0000),
    BYTES(SEB, 0x0000007f, 0x7f), BYTES(SEB, 0x00000080, 0xffffff80), BYTES(SEB, 0xffffff00, 0),
    BYTES(SEH, 0x00007fff, 0x7fff), BYTES(SEH, 0x8000, 0xffff8000), BYTES(SEH, 0xffff0000, 0),
    OP3(MOVZ, 0x1234, 0, 0x1234),
    OP3(MOVZ, 0x1234, 1, 0x3333),
    OP3(MOVZ, 0x1234, 0x80000000, 0x3333),
    OP3(MOVN, 0x1234, 0, 0x3333),
    OP3(MOVN, 0x1234, 1, 0x1234),
    OP3(MOVN, 0x1234, 0x80000000, 0x1234),
    OP3(MUL, 0x10000, 0x10000, 0),
    OP3(MUL, 0xffffffff, 0xffffffff, 1),
    OP3(MUL, 0x80000000, 0xffffffff, 0x80000000),
    OP3(MUL, 0x7fffffff, 2, 0xfffffffe),
};

/* HI and LO before, and behind. */
#define WIDE(NAME, before, s, t, behind)                                                      \
    {.insn = ISA_##NAME, .fields = ST, .in = {s, t, 0}, .hi = (uint32_t)((before) >> 32),     \
     .lo = (uint32_t)(before), .cause = EDGE_KEEP, .to = TO_HILO,                             \
     .out = {UINT64_C(behind), UINT64_C(behind)}}
#define WIDE_OPEN(NAME, before, s, t, behind)                                                 \
    {.insn = ISA_##NAME, .fields = ST, .in = {s, t, 0}, .hi = (uint32_t)((before) >> 32),     \
     .lo = (uint32_t)(before), .cause = EDGE_KEEP, .to = TO_HILO, .open = true,               \
     .out = {UINT64_C(behind), UINT64_C(behind)}}
#define FROM_HILO(NAME, h, l, result)                                                         \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x1800), .hi = h, .lo = l, .cause = EDGE_KEEP,    \
     .to = TO_D, .out = {result, result}}
#define TO_HI_LO(NAME, s, behind)                                                             \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00200000), .in = {s, 0, 0}, .hi = 0x1111,       \
     .lo = 0x2222, .cause = EDGE_KEEP, .to = TO_HILO, .out = {UINT64_C(behind), UINT64_C(behind)}}
#define HL UINT64_C(0x0000111100002222)

static const struct edge_case multiplication[] = {
    WIDE(MULT, HL, 0x80000000, 0x80000000, 0x4000000000000000),
    WIDE(MULT, HL, 0x80000000, 0xffffffff, 0x0000000080000000),
    WIDE(MULT, HL, 0xffffffff, 1, 0xffffffffffffffff),
    WIDE(MULT, HL, 0x7fffffff, 0x7fffffff, 0x3fffffff00000001),
    WIDE(MULT, HL, 0, 0xffffffff, 0),
    WIDE(MULTU, HL, 0xffffffff, 0xffffffff, 0xfffffffe00000001),
    WIDE(MULTU, HL, 0x80000000, 2, 0x0000000100000000),
    WIDE(MULTU, HL, 0xffffffff, 0, 0),
    WIDE(DIV, HL, 7, 2, 0x0000000100000003),
    WIDE(DIV, HL, 0xfffffff9, 2, 0xfffffffffffffffd),
    WIDE(DIV, HL, 7, 0xfffffffe, 0x00000001fffffffd),
    WIDE(DIV, HL, 0x80000000, 0xffffffff, 0x0000000080000000),
    WIDE(DIV, HL, 0x80000000, 1, 0x0000000080000000),
    WIDE_OPEN(DIV, HL, 7, 0, 0x0000111100002222),
    WIDE(DIVU, HL, 0xffffffff, 2, 0x000000017fffffff),
    WIDE(DIVU, HL, 0x80000000, 0xffffffff, 0x8000000000000000),
    WIDE(DIVU, HL, 1, 0x80000000, 0x0000000100000000),
    WIDE_OPEN(DIVU, HL, 7, 0, 0x0000111100002222),
    WIDE(MADD, UINT64_C(0xffffffff), 1, 1, 0x0000000100000000),
    WIDE(MADD, UINT64_C(0), 0xffffffff, 1, 0xffffffffffffffff),
    WIDE(MADD, UINT64_C(0x7fffffffffffffff), 1, 1, 0x8000000000000000),
    WIDE(MADD, UINT64_C(1), 0xffffffff, 1, 0),
    WIDE(MADDU, UINT64_C(0xffffffff), 1, 1, 0x0000000100000000),
    WIDE(MADDU, UINT64_C(0), 0xffffffff, 1, 0x00000000ffffffff),
    WIDE(MADDU, UINT64_C(0xffffffffffffffff), 1, 1, 0),
    WIDE(MADDU, UINT64_C(1), 0xffffffff, 0xffffffff, 0xfffffffe00000002),
    WIDE(MSUB, UINT64_C(0x100000000), 1, 1, 0x00000000ffffffff),
    WIDE(MSUB, UINT64_C(0), 1, 1, 0xffffffffffffffff),
    WIDE(MSUB, UINT64_C(0), 0xffffffff, 1, 1),
    WIDE(MSUB, UINT64_C(0x8000000000000000), 1, 1, 0x7fffffffffffffff),
    WIDE(MSUBU, UINT64_C(0x100000000), 1, 1, 0x00000000ffffffff),
    WIDE(MSUBU, UINT64_C(0), 0xffffffff, 1, 0xffffffff00000001),
    WIDE(MSUBU, UINT64_C(0xfffffffe00000001), 0xffffffff, 0xffffffff, 0),
    FROM_HILO(MFHI, 0x80000001, 0x2222, 0x80000001),
    FROM_HILO(MFHI, 0, 0xffffffff, 0),
    FROM_HILO(MFHI, 0xffffffff, 0, 0xffffffff),
    FROM_HILO(MFLO, 0x1111, 0x80000001, 0x80000001),
    FROM_HILO(MFLO, 0xffffffff, 0, 0),
    FROM_HILO(MFLO, 0, 0xffffffff, 0xffffffff),
    TO_HI_LO(MTHI, 0x80000001, 0x8000000100002222),
    TO_HI_LO(MTHI, 0, 0x0000000000002222),
    TO_HI_LO(MTHI, 0xffffffff, 0xffffffff00002222),
    TO_HI_LO(MTLO, 0x80000001, 0x0000111180000001),
    TO_HI_LO(MTLO, 0, 0x0000111100000000),
    TO_HI_LO(MTLO, 0xffffffff, 0x00001111ffffffff),
};

/* To behind the second addition. */
#define BRANCH(NAME, s, t, goes)                                                              \
    {.insn = ISA_##NAME, .fields = ST | 2, .in = {s, t, 0}, .cause = EDGE_KEEP, .branch = true, \
     .taken = goes}
#define BRANCH_Z(NAME, s, goes, ...)                                                          \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00200002), .in = {s, 0x2222, 0},                \
     .cause = EDGE_KEEP, .branch = true, .taken = goes, __VA_ARGS__}
#define LIKELY(NAME, s, t, goes)                                                              \
    {.insn = ISA_##NAME, .fields = ST | 2, .in = {s, t, 0}, .cause = EDGE_KEEP, .branch = true, \
     .taken = goes, .likely = true}
#define NEG  0x80000000
#define ALL  0xffffffff
#define JUMP(NAME, operands, ...)                                                            \
    {.insn = ISA_##NAME, .fields = operands, .in = {0x1111, 0x2222, 0x3333},                  \
     .cause = EDGE_KEEP, .branch = true, .taken = true, __VA_ARGS__}
/* Behind another branch that is taken to it, so that it begins a block. */
#define BEHIND(words) .before = words, .nbefore = EDGES_COUNT(words)
static const uint32_t begins_block[] = {0x10000001, 0}, writes_at[] = {0x34030005};
#define TWICE(NAME, operands, ...)                \
    JUMP(NAME, operands, __VA_ARGS__),            \
    JUMP(NAME, operands, BEHIND(begins_block), __VA_ARGS__)

static const struct edge_case branches[] = {
    TWICE(J, 0, .links = 0),
    JUMP(J, 0, BEHIND(writes_at), .to = TO_D, .out = {5, 5}),
    TWICE(JAL, 0, .links = 31),
    JUMP(JAL, 0, BEHIND(writes_at), .links = 31, .to = TO_D, .out = {5, 5}),
    TWICE(JR, 0x00200000, .links = 0),
    JUMP(JR, 0x00200000, BEHIND(writes_at), .to = TO_D, .out = {5, 5}),
    TWICE(JR_HB, 0x00200000, .links = 0),
    JUMP(JR_HB, 0x00200000, BEHIND(writes_at), .to = TO_D, .out = {5, 5}),
    TWICE(JALR, 0x0020f800, .links = 31),
    TWICE(JALR, 0x00201800, .links = 3),
    JUMP(JALR, 0x00200000, .links = 0), /* to $0 */
    TWICE(JALR_HB, 0x0020f800, .links = 31),
    JUMP(JALR_HB, 0x00201800, .links = 3),
    BRANCH(BEQ, 5, 5, true), BRANCH(BEQ, 5, 6, false), BRANCH(BEQ, 0, NEG, false),
    BRANCH(BEQ, NEG, NEG, true), JUMP(BEQ, 2, .likely = false),
    BRANCH(BNE, 5, 5, false), BRANCH(BNE, 5, 6, true), BRANCH(BNE, 0, NEG, true),
    BRANCH_Z(BLEZ, 0, true), BRANCH_Z(BLEZ, 1, false), BRANCH_Z(BLEZ, NEG, true),
    BRANCH_Z(BGTZ, 0, false), BRANCH_Z(BGTZ, 1, true), BRANCH_Z(BGTZ, NEG, false),
    BRANCH_Z(BGTZ, 0x7fffffff, true),
    BRANCH_Z(BLTZ, 0, false), BRANCH_Z(BLTZ, ALL, true), BRANCH_Z(BLTZ, 0x7fffffff, false),
    BRANCH_Z(BGEZ, 0, true), BRANCH_Z(BGEZ, ALL, false), BRANCH_Z(BGEZ, 0x7fffffff, true),
    BRANCH_Z(BLTZAL, 0, false, .links = 31), BRANCH_Z(BLTZAL, NEG, true, .links = 31),
    BRANCH_Z(BLTZAL, 0x7fffffff, false, .links = 31),
    BRANCH_Z(BGEZAL, 0, true, .links = 31), BRANCH_Z(BGEZAL, NEG, false, .links = 31),
    BRANCH_Z(BGEZAL, 0x7fffffff, true, .links = 31),
    LIKELY(BEQL, 5, 5, true), LIKELY(BEQL, 5, 6, false), LIKELY(BEQL, 0, NEG, false),
    LIKELY(BNEL, 5, 5, false), LIKELY(BNEL, 5, 6, true), LIKELY(BNEL, 0, NEG, true),
    BRANCH_Z(BLEZL, 0, true, .likely = true), BRANCH_Z(BLEZL, 1, false, .likely = true),
    BRANCH_Z(BLEZL, NEG, true, .likely = true),
    BRANCH_Z(BGTZL, 0, false, .likely = true), BRANCH_Z(BGTZL, 1, true, .likely = true),
    BRANCH_Z(BGTZL, NEG, false, .likely = true),
    BRANCH_Z(BLTZL, 0, false, .likely = true), BRANCH_Z(BLTZL, NEG, true, .likely = true),
    BRANCH_Z(BLTZL, 0x7fffffff, false, .likely = true),
    BRANCH_Z(BGEZL, 0, true, .likely = true), BRANCH_Z(BGEZL, NEG, false, .likely = true),
    BRANCH_Z(BGEZL, 0x7fffffff, true, .likely = true),
    BRANCH_Z(BLTZALL, 0, false, .likely = true, .links = 31),
    BRANCH_Z(BLTZALL, NEG, true, .likely = true, .links = 31),
    BRANCH_Z(BLTZALL, 1, false, .likely = true, .links = 31),
    BRANCH_Z(BGEZALL, 0, true, .likely = true, .links = 31),
    BRANCH_Z(BGEZALL, NEG, false, .likely = true, .links = 31),
    BRANCH_Z(BGEZALL, 1, true, .likely = true, .links = 31),
};

/*
 * Memory begins 80 91 a2 b3 c4 d5 e6 f7 08 19; $4 points there. Loads go to $3, stores take
 * $3, which is 01234567.
 */
#define AT_BASE(offset) (UINT32_C(0x00830000) | ((offset) & 0xffff))
#define LOAD(NAME, offset, little, big)                                                        \
    {.insn = ISA_##NAME, .fields = AT_BASE(offset), .in = {0, 0, 0x01234567}, .cause = EDGE_KEEP, \
     .to = TO_D, .out = {little, big}}
#define STORE(NAME, offset, little, big)                                                       \
    {.insn = ISA_##NAME, .fields = AT_BASE(offset), .in = {0, 0, 0x01234567}, .cause = EDGE_KEEP, \
     .to = TO_MEMORY, .out = {UINT64_C(little), UINT64_C(big)}}
#define REFUSED(NAME, offset, code)                                                            \
    {.insn = ISA_##NAME, .fields = AT_BASE(offset), .in = {0, 0, 0x01234567}, .cause = EDGE_KEEP, \
     .raises = EXC_##code, .has_address = true, .address = (offset)}
/* sc: $3 = 1 or 0 */
#define SC(words, result, is_open)                                                             \
    {.insn = ISA_SC, .fields = AT_BASE(12), .in = {0, 0, 0x01234567}, .cause = EDGE_KEEP,      \
     .to = TO_D, .out = {result, result}, .open = is_open, BEHIND(words)}

static const uint32_t linked[] = {0xc0870004};                 /* ll $7, 4($4) */
static const uint32_t linked_twice[] = {0xc0870000, 0xe0870000}; /* ll, sc of $7: used up */
static const uint32_t not_linked[] = {0};

static const struct edge_case memory[] = {
    LOAD(LB, 0, 0xffffff80, 0xffffff80), LOAD(LB, 8, 8, 8), LOAD(LB, 3, 0xffffffb3, 0xffffffb3),
    LOAD(LBU, 0, 0x80, 0x80), LOAD(LBU, 8, 8, 8), LOAD(LBU, 7, 0xf7, 0xf7),
    LOAD(LH, 0, 0xffff9180, 0xffff8091), LOAD(LH, 8, 0x1908, 0x0819),
    LOAD(LH, 6, 0xfffff7e6, 0xffffe6f7), REFUSED(LH, 1, ADEL), REFUSED(LH, 3, ADEL),
    LOAD(LHU, 0, 0x9180, 0x8091), LOAD(LHU, 8, 0x1908, 0x0819), LOAD(LHU, 6, 0xf7e6, 0xe6f7),
    REFUSED(LHU, 5, ADEL),
    LOAD(LW, 0, 0xb3a29180, 0x8091a2b3), LOAD(LW, 4, 0xf7e6d5c4, 0xc4d5e6f7),
    REFUSED(LW, 1, ADEL), REFUSED(LW, 2, ADEL), REFUSED(LW, 3, ADEL),
    LOAD(LWL, 0, 0x80234567, 0x8091a2b3), LOAD(LWL, 1, 0x91804567, 0x91a2b367),
    LOAD(LWL, 2, 0xa2918067, 0xa2b34567), LOAD(LWL, 3, 0xb3a29180, 0xb3234567),
    LOAD(LWR, 0, 0xb3a29180, 0x01234580), LOAD(LWR, 1, 0x01b3a291, 0x01238091),
    LOAD(LWR, 2, 0x0123b3a2, 0x018091a2), LOAD(LWR, 3, 0x012345b3, 0x8091a2b3),
    LOAD(LL, 0, 0xb3a29180, 0x8091a2b3), LOAD(LL, 4, 0xf7e6d5c4, 0xc4d5e6f7),
    REFUSED(LL, 1, ADEL), REFUSED(LL, 2, ADEL),
    STORE(SB, 0, 0x6791a2b3c4d5e6f7, 0x6791a2b3c4d5e6f7),
    STORE(SB, 3, 0x8091a267c4d5e6f7, 0x8091a267c4d5e6f7),
    STORE(SB, 7, 0x8091a2b3c4d5e667, 0x8091a2b3c4d5e667),
    STORE(SH, 0, 0x6745a2b3c4d5e6f7, 0x4567a2b3c4d5e6f7),
    STORE(SH, 2, 0x80916745c4d5e6f7, 0x80914567c4d5e6f7),
    REFUSED(SH, 1, ADES), REFUSED(SH, 3, ADES),
    STORE(SW, 0, 0x67452301c4d5e6f7, 0x01234567c4d5e6f7),
    STORE(SW, 4, 0x8091a2b367452301, 0x8091a2b301234567),
    REFUSED(SW, 1, ADES), REFUSED(SW, 2, ADES), REFUSED(SW, 7, ADES),
    STORE(SWL, 0, 0x0191a2b3c4d5e6f7, 0x01234567c4d5e6f7),
    STORE(SWL, 1, 0x2301a2b3c4d5e6f7, 0x80012345c4d5e6f7),
    STORE(SWL, 2, 0x452301b3c4d5e6f7, 0x80910123c4d5e6f7),
    STORE(SWL, 3, 0x67452301c4d5e6f7, 0x8091a201c4d5e6f7),
    STORE(SWR, 0, 0x67452301c4d5e6f7, 0x6791a2b3c4d5e6f7),
    STORE(SWR, 1, 0x80674523c4d5e6f7, 0x4567a2b3c4d5e6f7),
    STORE(SWR, 2, 0x80916745c4d5e6f7, 0x234567b3c4d5e6f7),
    STORE(SWR, 3, 0x8091a267c4d5e6f7, 0x01234567c4d5e6f7),
    {.insn = ISA_SC, .fields = UINT32_C(0x00870004), .cause = EDGE_KEEP, .nbefore = 1,
     .before = linked}, /* puts back what it found */
    SC(not_linked, 0, false),
    SC(linked_twice, 0, false),
    /* qemu looks at the link first */
    {.insn = ISA_SC, .fields = AT_BASE(1), .cause = EDGE_KEEP, .raises = EXC_ADES,
     .has_address = true, .address = 1, .open = true},
    {.insn = ISA_SC, .fields = AT_BASE(2), .cause = EDGE_KEEP, .raises = EXC_ADES,
     .has_address = true, .address = 2, .open = true, BEHIND(linked)},
    NOTHING(PREF, 0x00800000), NOTHING(PREF, 0x009f7fff), NOTHING(PREF, 0x00000000),
    NOTHING(SYNC, 0), NOTHING(SYNC, 4 << 6), NOTHING(SYNC, 16 << 6),
    NOTHING(SYNCI, 0x00800000), NOTHING(SYNCI, 0x00800003), NOTHING(SYNCI, 0x00800010),
};

#define TRAP(NAME, s, t, raise)                                                                \
    {.insn = ISA_##NAME, .fields = ST | 0x3ffu << 6, .in = {s, t, 0}, .cause = EDGE_KEEP,      \
     .raises = raise ? EXC_TR : 0},                                                            \
    {.insn = ISA_##NAME, .fields = ST, .in = {s, t, 0}, .cause = EDGE_KEEP,                    \
     .raises = raise ? EXC_TR : 0}
#define TRAP_I(NAME, s, imm, raise)                                                            \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00200000) | (imm), .in = {s, 0x2222, 0},         \
     .cause = EDGE_KEEP, .raises = raise ? EXC_TR : 0}
#define BREAK(code)                                                                            \
    {.insn = ISA_BREAK, .fields = (code) << 6, .in = {1, 2, 3}, .cause = EDGE_KEEP,            \
     .raises = EXC_BP}

static const struct edge_case traps[] = {
    BREAK(0), BREAK(1), BREAK(0xfffffu),
    TRAP(TGE, 5, 5, true), TRAP(TGE, NEG, 0x7fffffff, false), TRAP(TGE, 0, ALL, true),
    TRAP(TGEU, 5, 5, true), TRAP(TGEU, NEG, 0x7fffffff, true), TRAP(TGEU, 0, ALL, false),
    TRAP(TLT, 5, 5, false), TRAP(TLT, NEG, 0x7fffffff, true), TRAP(TLT, 0, ALL, false),
    TRAP(TLTU, 5, 5, false), TRAP(TLTU, NEG, 0x7fffffff, false), TRAP(TLTU, 0, ALL, true),
    TRAP(TEQ, 5, 5, true), TRAP(TEQ, 0, NEG, false), TRAP(TEQ, NEG, NEG, true),
    TRAP(TNE, 5, 5, false), TRAP(TNE, 0, NEG, true), TRAP(TNE, NEG, NEG, false),
    TRAP_I(TGEI, 0xffff8000, 0x8000, true), TRAP_I(TGEI, 0xffff7fff, 0x8000, false),
    TRAP_I(TGEI, 0, 0xffff, true), TRAP_I(TGEI, NEG, 0, false),
    TRAP_I(TGEIU, 0xffff8000, 0x8000, true), TRAP_I(TGEIU, 0xffff7fff, 0x8000, false),
    TRAP_I(TGEIU, 0, 0xffff, false), TRAP_I(TGEIU, NEG, 0x7fff, true),
    TRAP_I(TLTI, 0xffff8000, 0x8000, false), TRAP_I(TLTI, 0xffff7fff, 0x8000, true),
    TRAP_I(TLTI, 0, 0xffff, false), TRAP_I(TLTI, NEG, 0, true),
    TRAP_I(TLTIU, 0xffff8000, 0x8000, false), TRAP_I(TLTIU, 0xffff7fff, 0x8000, true),
    TRAP_I(TLTIU, 0, 0xffff, true), TRAP_I(TLTIU, NEG, 0x7fff, false),
    TRAP_I(TEQI, ALL, 0xffff, true), TRAP_I(TEQI, 0xffff, 0xffff, false), TRAP_I(TEQI, 0, 0, true),
    TRAP_I(TNEI, ALL, 0xffff, false), TRAP_I(TNEI, 0xffff, 0xffff, true), TRAP_I(TNEI, 0, 0, false),
};

/* Positions that do not fit together: the architecture leaves them open, this machine not. */
#define NO_FIELD(NAME, high, low)                                                              \
    {.insn = ISA_##NAME, .fields = ST | (high) << 11 | (low) << 6, .cause = EDGE_KEEP,         \
     .raises = EXC_RI, .open = true}

/* Words that are no instruction of release 2 with 32-bit registers. */
static const struct edge_case reserved[] = {
    RESERVED(0xfc000000), /* sd */
    RESERVED(0xdc830000), /* ld */
    RESERVED(0x00221828), /* SPECIAL, 0x28 */
    RESERVED(0x0022182c), /* dadd */
    RESERVED(0x04070000), /* REGIMM, 7 */
    RESERVED(0x70001824), /* dclz */
    RESERVED(0x7c221fc1), /* dextm */
    RESERVED(0x64420001), /* daddiu */
    RESERVED(0x60420001),
    NO_FIELD(EXT, 31u, 1u),
    NO_FIELD(EXT, 1u, 31u),
    NO_FIELD(INS, 3u, 4u),
};

static const struct edge_table tables[] = {
    {arithmetic, EDGES_COUNT(arithmetic)}, {multiplication, EDGES_COUNT(multiplication)},
    {branches, EDGES_COUNT(branches)},     {memory, EDGES_COUNT(memory)},
    {traps, EDGES_COUNT(traps)},           {reserved, EDGES_COUNT(reserved)},
};

static void test_machine(void **state)
{
    (void)state;
    edges_run_machine(tables, EDGES_COUNT(tables));
}

static void test_oracle(void **state)
{
    (void)state;
    edges_run_oracle(tables, EDGES_COUNT(tables));
}

static void test_complete(void **state)
{
    (void)state;
    edges_check_complete(tables, EDGES_COUNT(tables), EDGE_INTEGER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_complete),
        cmocka_unit_test(test_machine),
        cmocka_unit_test(test_oracle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
