/*
 * Edge cases of the FPU's instructions: infinities, NaNs as processors before 2008 have them,
 * denormals, signed zeros, rounding modes, flags and enabled exceptions. See machine_edges.h
 * for how a row is run.
 */
#include "machine_edges.h"

/* Flags as FCSR.Cause has them, enables, rounding modes. */
enum { I = 1, U = 2, O = 4, Z = 8, V = 16, NONE = 0 };
#define ENABLE(flags) ((uint32_t)(flags) << 7)
enum { RN, RZ, RP, RM };

/* Singles. */
#define S_ONE   0x3f800000
#define S_TWO   0x40000000
#define S_THREE 0x40400000
#define S_HALF  0x3f000000
#define S_INF   0x7f800000
#define S_MAX   0x7f7fffff
#define S_MIN   0x00800000 /* the least normal number */
#define S_TINY  0x00000001 /* the least of all */
#define S_ZERO  0x00000000
#define S_QNAN  0x7f812345
#define S_SNAN  0x7fc00001
#define S_NAN   0x7fbfffff /* what operations give */
#define S_NEG   0x80000000 /* to be added: the sign */
/* Doubles. */
#define D_ONE   UINT64_C(0x3ff0000000000000)
#define D_TWO   UINT64_C(0x4000000000000000)
#define D_THREE UINT64_C(0x4008000000000000)
#define D_HALF  UINT64_C(0x3fe0000000000000)
#define D_INF   UINT64_C(0x7ff0000000000000)
#define D_MAX   UINT64_C(0x7fefffffffffffff)
#define D_MIN   UINT64_C(0x0010000000000000)
#define D_TINY  UINT64_C(1)
#define D_ZERO  UINT64_C(0)
#define D_QNAN  UINT64_C(0x7ff0000012345678)
#define D_SNAN  UINT64_C(0x7ff8000000000001)
#define D_NAN   UINT64_C(0x7ff7ffffffffffff)
#define D_NEG   UINT64_C(0x8000000000000000)
#define WORD_NO 0x7fffffff /* the integer of what is none */

/* fs = $f2, ft = $f4, fr = $f6, fd = $f8 */
#define FD_FS_FT UINT32_C(0x00041200)
#define FMADD    UINT32_C(0x00c41200)
#define FPU(NAME, operands, mode, a, b, c, size, result, flags)                                \
    {.insn = ISA_##NAME, .fields = operands, .fcsr = mode, .f = {a, b, c}, .cause = flags,     \
     .to = TO_FD, .bytes = size, .out = {result, result}}
#define FPU_FPE(NAME, operands, mode, a, b, c, flags)                                          \
    {.insn = ISA_##NAME, .fields = operands, .fcsr = mode, .f = {a, b, c}, .cause = flags,     \
     .raises = EXC_FPE}
#define S2(NAME, mode, a, b, result, flags) \
    FPU(NAME##_S, FD_FS_FT, mode, a, b, 0, 4, result, flags)
#define D2(NAME, mode, a, b, result, flags) \
    FPU(NAME##_D, FD_FS_FT, mode, a, b, 0, 8, result, flags)
#define FD_FS UINT32_C(0x00001200)
#define S1(NAME, mode, a, result, flags) FPU(NAME##_S, FD_FS, mode, a, 0, 0, 4, result, flags)
#define D1(NAME, mode, a, result, flags) FPU(NAME##_D, FD_FS, mode, a, 0, 0, 8, result, flags)
#define S2_FPE(NAME, mode, a, b, flags) FPU_FPE(NAME##_S, FD_FS_FT, mode, a, b, 0, flags)
#define D2_FPE(NAME, mode, a, b, flags) FPU_FPE(NAME##_D, FD_FS_FT, mode, a, b, 0, flags)
/* From one format to another: `size` of the result. */
#define CVT(NAME, mode, a, size, result, flags) FPU(NAME, FD_FS, mode, a, 0, 0, size, result, flags)

static const struct edge_case arithmetic[] = {
    S2(ADD, RN, S_ONE, S_TWO, S_THREE, NONE),
    S2(ADD, RN, S_ONE, 0x30800000, S_ONE, I),
    S2(ADD, RZ, S_ONE, 0x30800000, S_ONE, I),
    S2(ADD, RP, S_ONE, 0x30800000, 0x3f800001, I),
    S2(ADD, RM, S_NEG | S_ONE, S_NEG | 0x30800000, 0xbf800001, I),
    S2(ADD, RN, S_MAX, S_MAX, S_INF, O | I),
    S2(ADD, RZ, S_MAX, S_MAX, S_MAX, O | I),
    S2(ADD, RM, S_MAX, S_MAX, S_MAX, O | I),
    S2(ADD, RP, S_NEG | S_MAX, S_NEG | S_MAX, S_NEG | S_MAX, O | I),
    S2(ADD, RN, S_INF, S_NEG | S_INF, S_NAN, V),
    S2(ADD, RN, S_INF, S_ONE, S_INF, NONE),
    S2(ADD, RN, S_QNAN, S_ONE, S_NAN, NONE),
    S2(ADD, RN, S_ONE, S_SNAN, S_NAN, V),
    S2(ADD, RN, S_TINY, S_TINY, 2, NONE),
    S2(ADD, RN, S_ZERO, S_NEG, S_ZERO, NONE),
    S2(ADD, RM, S_ZERO, S_NEG, S_NEG, NONE),
    S2(ADD, RN, S_NEG, S_NEG, S_NEG, NONE),
    S2_FPE(ADD, ENABLE(V), S_INF, S_NEG | S_INF, V),
    S2_FPE(ADD, ENABLE(I), S_ONE, 0x30800000, I),
    S2_FPE(ADD, ENABLE(O), S_MAX, S_MAX, O | I),
    D2(ADD, RN, D_ONE, D_TWO, D_THREE, NONE),
    D2(ADD, RN, D_ONE, UINT64_C(0x3c90000000000000), D_ONE, I),
    D2(ADD, RP, D_ONE, UINT64_C(0x3c90000000000000), UINT64_C(0x3ff0000000000001), I),
    D2(ADD, RN, D_MAX, D_MAX, D_INF, O | I),
    D2(ADD, RZ, D_MAX, D_MAX, D_MAX, O | I),
    D2(ADD, RN, D_INF, D_NEG | D_INF, D_NAN, V),
    D2(ADD, RN, D_QNAN, D_ONE, D_NAN, NONE),
    D2(ADD, RN, D_SNAN, D_ONE, D_NAN, V),
    D2(ADD, RN, D_TINY, D_TINY, 2, NONE),
    D2(ADD, RM, D_ZERO, D_NEG, D_NEG, NONE),
    D2_FPE(ADD, ENABLE(V), D_SNAN, D_ONE, V),
    S2(SUB, RN, S_THREE, S_TWO, S_ONE, NONE),
    S2(SUB, RN, S_ONE, S_ONE, S_ZERO, NONE),
    S2(SUB, RM, S_ONE, S_ONE, S_NEG, NONE),
    S2(SUB, RN, S_INF, S_INF, S_NAN, V),
    S2(SUB, RN, S_MIN, S_TINY, 0x007fffff, NONE),
    S2(SUB, RZ, S_ONE, 0x30800000, 0x3f7fffff, I),
    S2(SUB, RN, S_NEG, S_ZERO, S_NEG, NONE),
    D2(SUB, RN, D_THREE, D_TWO, D_ONE, NONE),
    D2(SUB, RM, D_ONE, D_ONE, D_NEG, NONE),
    D2(SUB, RN, D_INF, D_INF, D_NAN, V),
    D2(SUB, RN, D_MIN, D_TINY, UINT64_C(0x000fffffffffffff), NONE),
    D2(SUB, RZ, D_ONE, UINT64_C(0x3c90000000000000), UINT64_C(0x3fefffffffffffff), I),
    S2(MUL, RN, S_TWO, S_HALF, S_ONE, NONE),
    S2(MUL, RN, S_INF, S_ZERO, S_NAN, V),
    S2(MUL, RN, S_INF, S_NEG | S_TWO, S_NEG | S_INF, NONE),
    S2(MUL, RN, S_MAX, S_TWO, S_INF, O | I),
    S2(MUL, RM, S_MAX, S_TWO, S_MAX, O | I),
    S2(MUL, RN, S_MIN, S_HALF, 0x00400000, NONE),
    S2(MUL, RN, S_TINY, S_HALF, S_ZERO, U | I),
    S2(MUL, RP, S_TINY, S_HALF, S_TINY, U | I),
    S2(MUL, RP, S_TINY, S_NEG | S_HALF, S_NEG, U | I),
    S2(MUL, RM, S_TINY, S_NEG | S_HALF, S_NEG | S_TINY, U | I),
    S2(MUL, RN, S_NEG | S_ONE, S_ZERO, S_NEG, NONE),
    S2(MUL, RN, S_QNAN, S_SNAN, S_NAN, V),
    S2_FPE(MUL, ENABLE(U), S_TINY, S_TINY, U | I),
    S2_FPE(MUL, ENABLE(O | V), S_MAX, S_MAX, O | I),
    D2(MUL, RN, D_TWO, D_HALF, D_ONE, NONE),
    D2(MUL, RN, D_INF, D_ZERO, D_NAN, V),
    D2(MUL, RN, D_MAX, D_TWO, D_INF, O | I),
    D2(MUL, RN, D_MIN, D_HALF, UINT64_C(0x0008000000000000), NONE),
    D2(MUL, RN, D_TINY, D_HALF, D_ZERO, U | I),
    D2(MUL, RP, D_TINY, D_HALF, D_TINY, U | I),
    D2_FPE(MUL, ENABLE(U), D_TINY, D_TINY, U | I),
    S2(DIV, RN, S_ONE, S_THREE, 0x3eaaaaab, I),
    S2(DIV, RZ, S_ONE, S_THREE, 0x3eaaaaaa, I),
    S2(DIV, RP, S_ONE, S_THREE, 0x3eaaaaab, I),
    S2(DIV, RM, S_ONE, S_THREE, 0x3eaaaaaa, I),
    S2(DIV, RN, S_ONE, S_ZERO, S_INF, Z),
    S2(DIV, RN, S_ONE, S_NEG, S_NEG | S_INF, Z),
    S2(DIV, RN, S_ZERO, S_ZERO, S_NAN, V),
    S2(DIV, RN, S_INF, S_INF, S_NAN, V),
    S2(DIV, RN, S_INF, S_ZERO, S_INF, NONE),
    S2(DIV, RN, S_ONE, S_NEG | S_INF, S_NEG, NONE),
    S2(DIV, RN, S_QNAN, S_ZERO, S_NAN, NONE),
    S2_FPE(DIV, ENABLE(Z), S_ONE, S_ZERO, Z),
    S2(DIV, ENABLE(Z), S_ZERO, S_ZERO, S_NAN, V),
    D2(DIV, RN, D_ONE, D_THREE, UINT64_C(0x3fd5555555555555), I),
    D2(DIV, RP, D_ONE, D_THREE, UINT64_C(0x3fd5555555555556), I),
    D2(DIV, RN, D_ONE, D_NEG, D_NEG | D_INF, Z),
    D2(DIV, RN, D_ZERO, D_ZERO, D_NAN, V),
    D2(DIV, RN, D_MIN, D_TWO, UINT64_C(0x0008000000000000), NONE),
    D2_FPE(DIV, ENABLE(Z), D_ONE, D_ZERO, Z),
    S1(SQRT, RN, 0x40800000, S_TWO, NONE),
    S1(SQRT, RN, S_TWO, 0x3fb504f3, I),
    S1(SQRT, RP, S_TWO, 0x3fb504f4, I),
    S1(SQRT, RN, S_NEG | S_ONE, S_NAN, V),
    S1(SQRT, RN, S_NEG, S_NEG, NONE),
    S1(SQRT, RN, S_INF, S_INF, NONE),
    S1(SQRT, RN, S_NEG | S_INF, S_NAN, V),
    D1(SQRT, RN, UINT64_C(0x4010000000000000), D_TWO, NONE),
    D1(SQRT, RN, D_TWO, UINT64_C(0x3ff6a09e667f3bcd), I),
    D1(SQRT, RZ, D_TWO, UINT64_C(0x3ff6a09e667f3bcc), I),
    D1(SQRT, RN, D_NEG | D_TINY, D_NAN, V),
    D1(SQRT, RN, D_NEG, D_NEG, NONE),
    S1(RECIP, RN, S_TWO, S_HALF, NONE),
    S1(RECIP, RN, S_THREE, 0x3eaaaaab, I),
    S1(RECIP, RN, S_ZERO, S_INF, Z),
    S1(RECIP, RN, S_NEG, S_NEG | S_INF, Z),
    S1(RECIP, RN, S_NEG | S_INF, S_NEG, NONE),
    S1(RECIP, RN, S_QNAN, S_NAN, NONE),
    S1(RECIP, RN, S_TINY, S_INF, O | I),
    S1(RECIP, RN, 0x40490fdb, 0x3ea2f983, I),
    D1(RECIP, RN, D_TWO, D_HALF, NONE),
    D1(RECIP, RN, D_THREE, UINT64_C(0x3fd5555555555555), I),
    D1(RECIP, RN, D_ZERO, D_INF, Z),
    D1(RECIP, RN, D_SNAN, D_NAN, V),
    S1(RSQRT, RN, 0x40800000, S_HALF, NONE),
    S1(RSQRT, RN, S_TWO, 0x3f3504f3, I),
    S1(RSQRT, RN, S_THREE, 0x3f13cd3a, I),
    S1(RSQRT, RN, S_ZERO, S_INF, Z),
    S1(RSQRT, RN, S_NEG | S_ONE, S_NAN, V),
    S1(RSQRT, RN, S_INF, S_ZERO, NONE),
    D1(RSQRT, RN, UINT64_C(0x4010000000000000), D_HALF, NONE),
    D1(RSQRT, RN, D_TWO, UINT64_C(0x3fe6a09e667f3bcc), I), /* of two roundings */
    D1(RSQRT, RN, D_ZERO, D_INF, Z),
    D1(RSQRT, RN, D_NEG | D_ONE, D_NAN, V),
    S1(ABS, RN, S_NEG | S_ONE, S_ONE, EDGE_KEEP), S1(ABS, RN, S_NEG, S_ZERO, EDGE_KEEP),
    S1(ABS, RN, S_NEG | S_INF, S_INF, EDGE_KEEP), S1(ABS, RN, S_TINY, S_TINY, EDGE_KEEP),
    D1(ABS, RN, D_NEG | D_ONE, D_ONE, EDGE_KEEP), D1(ABS, RN, D_NEG, D_ZERO, EDGE_KEEP),
    D1(ABS, RN, D_NEG | D_INF, D_INF, EDGE_KEEP),
    S1(NEG, RN, S_ONE, S_NEG | S_ONE, EDGE_KEEP), S1(NEG, RN, S_ZERO, S_NEG, EDGE_KEEP),
    S1(NEG, RN, S_NEG | S_INF, S_INF, EDGE_KEEP),
    D1(NEG, RN, D_ONE, D_NEG | D_ONE, EDGE_KEEP), D1(NEG, RN, D_NEG, D_ZERO, EDGE_KEEP),
    D1(NEG, RN, D_TINY, D_NEG | D_TINY, EDGE_KEEP),
    S1(MOV, RN, S_SNAN, S_SNAN, EDGE_KEEP), S1(MOV, RN, S_NEG, S_NEG, EDGE_KEEP),
    S1(MOV, ENABLE(V), S_QNAN, S_QNAN, EDGE_KEEP),
    D1(MOV, RN, D_SNAN, D_SNAN, EDGE_KEEP), D1(MOV, RN, D_NEG, D_NEG, EDGE_KEEP),
    D1(MOV, ENABLE(V), D_QNAN, D_QNAN, EDGE_KEEP),
};

/* fs * ft + fr and its kin, with a rounding between. */
#define S3(NAME, mode, a, b, c, result, flags) FPU(NAME##_S, FMADD, mode, a, b, c, 4, result, flags)
#define D3(NAME, mode, a, b, c, result, flags) FPU(NAME##_D, FMADD, mode, a, b, c, 8, result, flags)
#define S_ABOVE 0x3f800001 /* 1 + 2^-23, and 1 - 2^-23: the product is 1 - 2^-46 */
#define S_BELOW 0x3f7ffffe
#define D_ABOVE UINT64_C(0x3ff0000000000001)
#define D_BELOW UINT64_C(0x3feffffffffffffe)
#define D_FIVE  UINT64_C(0x4014000000000000)
#define D_SEVEN UINT64_C(0x401c000000000000)

static const struct edge_case multiply_add[] = {
    S3(MADD, RN, S_TWO, S_THREE, S_ONE, 0x40e00000, NONE),
    S3(MADD, RN, S_ABOVE, S_BELOW, S_NEG | S_ONE, S_ZERO, I),
    S3(MADD, RN, S_INF, S_ZERO, S_ONE, S_NAN, V),
    S3(MADD, RN, S_INF, S_ONE, S_NEG | S_INF, S_NAN, V),
    S3(MADD, RN, S_ONE, S_ONE, S_QNAN, S_NAN, NONE),
    S3(MADD, RN, S_MAX, S_TWO, S_ONE, S_INF, O | I),
    D3(MADD, RN, D_TWO, D_THREE, D_ONE, D_SEVEN, NONE),
    D3(MADD, RN, D_ABOVE, D_BELOW, D_NEG | D_ONE, D_ZERO, I),
    D3(MADD, RN, D_INF, D_ZERO, D_ONE, D_NAN, V),
    S3(MADD, RN, S_INF, S_ZERO, S_QNAN, S_NAN, V),
    S3(MADD, RN, S_ONE, S_ONE, S_SNAN, S_NAN, V),
    S3(MADD, RN, S_MAX, S_TWO, S_QNAN, S_NAN, O | I),
    D3(MADD, RN, D_INF, D_ZERO, D_QNAN, D_NAN, V),
    S3(MSUB, RN, S_TWO, S_THREE, S_ONE, 0x40a00000, NONE),
    S3(MSUB, RN, S_ABOVE, S_BELOW, S_ONE, S_ZERO, I),
    S3(MSUB, RN, S_INF, S_ONE, S_INF, S_NAN, V),
    D3(MSUB, RN, D_TWO, D_THREE, D_ONE, D_FIVE, NONE),
    D3(MSUB, RN, D_ABOVE, D_BELOW, D_ONE, D_ZERO, I),
    D3(MSUB, RN, D_INF, D_ONE, D_INF, D_NAN, V),
    S3(NMADD, RN, S_TWO, S_THREE, S_ONE, S_NEG | 0x40e00000, NONE),
    S3(NMADD, RN, S_ABOVE, S_BELOW, S_NEG | S_ONE, S_NEG, I),
    S3(NMADD, RN, S_NEG | S_INF, S_ONE, S_ONE, S_INF, NONE),
    D3(NMADD, RN, D_TWO, D_THREE, D_ONE, D_NEG | D_SEVEN, NONE),
    D3(NMADD, RN, D_ABOVE, D_BELOW, D_NEG | D_ONE, D_NEG, I),
    D3(NMADD, RN, D_NEG | D_INF, D_ONE, D_ONE, D_INF, NONE),
    S3(NMSUB, RN, S_TWO, S_THREE, S_ONE, S_NEG | 0x40a00000, NONE),
    S3(NMSUB, RN, S_ABOVE, S_BELOW, S_ONE, S_NEG, I),
    S3(NMSUB, RN, S_ONE, S_ONE, S_INF, S_INF, NONE),
    D3(NMSUB, RN, D_TWO, D_THREE, D_ONE, D_NEG | D_FIVE, NONE),
    D3(NMSUB, RN, D_ABOVE, D_BELOW, D_ONE, D_NEG, I),
    D3(NMSUB, RN, D_ONE, D_ONE, D_INF, D_INF, NONE),
};

/* An integer in one rounding, from singles and doubles. */
#define TO_WORD_S(NAME, mode, a, result, flags) CVT(NAME##_S, mode, a, 4, result, flags)
#define TO_WORD_D(NAME, mode, a, result, flags) CVT(NAME##_D, mode, UINT64_C(a), 4, result, flags)
#define TO_WORD_BOTH(NAME)                                                                     \
    TO_WORD_S(NAME, RN, S_INF, WORD_NO, V), TO_WORD_S(NAME, RN, S_NEG | S_INF, WORD_NO, V),    \
    TO_WORD_S(NAME, RN, S_QNAN, WORD_NO, V), TO_WORD_S(NAME, RN, 0x4f000000, WORD_NO, V),      \
    TO_WORD_S(NAME, RN, 0xcf000000, 0x80000000, NONE), TO_WORD_S(NAME, RN, S_NEG, 0, NONE),    \
    TO_WORD_S(NAME, RN, 0xcf000001, WORD_NO, V),                                               \
    FPU_FPE(NAME##_S, FD_FS, ENABLE(V), S_INF, 0, 0, V),                                       \
    TO_WORD_D(NAME, RN, 0x41dfffffffc00000, 0x7fffffff, NONE),                                 \
    TO_WORD_D(NAME, RN, 0x41e0000000000000, WORD_NO, V),                                       \
    TO_WORD_D(NAME, RN, 0xc1e0000000000000, 0x80000000, NONE),                                 \
    TO_WORD_D(NAME, RN, 0x7ff0000012345678, WORD_NO, V)
/* 2.5, 3.5, -2.5, 0.5, 2.9, -2.9; half above and half below the greatest and least integer */
#define TO_WORDS(NAME, mode, w25, w35, w_25, w05, w29, w_29)                                   \
    TO_WORD_S(NAME, mode, 0x40200000, w25, I), TO_WORD_S(NAME, mode, 0x40600000, w35, I),      \
    TO_WORD_S(NAME, mode, 0xc0200000, (uint32_t)(w_25), I),                                    \
    TO_WORD_S(NAME, mode, S_HALF, w05, I), TO_WORD_S(NAME, mode, 0x4039999a, w29, I),          \
    TO_WORD_S(NAME, mode, 0xc039999a, (uint32_t)(w_29), I),                                    \
    TO_WORD_D(NAME, mode, 0x4004000000000000, w25, I),                                         \
    TO_WORD_D(NAME, mode, 0xc004000000000000, (uint32_t)(w_25), I)
#define LIMITS(NAME, mode, high, high_flags, low, low_flags)                                   \
    TO_WORD_D(NAME, mode, 0x41dfffffffe00000, high, high_flags),                               \
    TO_WORD_D(NAME, mode, 0xc1e0000000100000, low, low_flags)

static const struct edge_case conversions[] = {
    TO_WORD_BOTH(ROUND_W), TO_WORD_BOTH(TRUNC_W), TO_WORD_BOTH(CEIL_W), TO_WORD_BOTH(FLOOR_W),
    TO_WORD_BOTH(CVT_W),
    TO_WORDS(ROUND_W, RZ, 2, 4, -2, 0, 3, -3),
    TO_WORDS(TRUNC_W, RP, 2, 3, -2, 0, 2, -2),
    TO_WORDS(CEIL_W, RM, 3, 4, -2, 1, 3, -2),
    TO_WORDS(FLOOR_W, RP, 2, 3, -3, 0, 2, -3),
    TO_WORDS(CVT_W, RN, 2, 4, -2, 0, 3, -3),
    TO_WORDS(CVT_W, RZ, 2, 3, -2, 0, 2, -2),
    TO_WORDS(CVT_W, RP, 3, 4, -2, 1, 3, -2),
    TO_WORDS(CVT_W, RM, 2, 3, -3, 0, 2, -3),
    /* 2.1, -2.1: the fraction is less than a half */
    TO_WORD_S(CEIL_W, RN, 0x40066666, 3, I), TO_WORD_S(CEIL_W, RN, 0xc0066666, 0xfffffffe, I),
    TO_WORD_S(FLOOR_W, RN, 0x40066666, 2, I), TO_WORD_S(FLOOR_W, RN, 0xc0066666, 0xfffffffd, I),
    TO_WORD_S(ROUND_W, RP, 0x40066666, 2, I), TO_WORD_S(ROUND_W, RM, 0xc0066666, 0xfffffffe, I),
    TO_WORD_D(CEIL_W, RN, 0x3e10000000000000, 1, I),
    TO_WORD_D(FLOOR_W, RN, 0xbe10000000000000, 0xffffffff, I),
    LIMITS(ROUND_W, RZ, WORD_NO, V, 0x80000000, I),
    LIMITS(TRUNC_W, RN, WORD_NO, I, 0x80000000, I),
    LIMITS(CEIL_W, RN, WORD_NO, V, 0x80000000, I),
    LIMITS(FLOOR_W, RN, WORD_NO, I, WORD_NO, V),
    CVT(CVT_S_D, RN, D_ONE, 4, S_ONE, NONE),
    CVT(CVT_S_D, RN, UINT64_C(0x3fd5555555555555), 4, 0x3eaaaaab, I),
    CVT(CVT_S_D, RZ, UINT64_C(0x3fd5555555555555), 4, 0x3eaaaaaa, I),
    CVT(CVT_S_D, RN, D_MAX, 4, S_INF, O | I),
    CVT(CVT_S_D, RZ, D_NEG | D_MAX, 4, S_NEG | S_MAX, O | I),
    CVT(CVT_S_D, RN, D_TINY, 4, S_ZERO, U | I),
    CVT(CVT_S_D, RP, D_TINY, 4, S_TINY, U | I),
    CVT(CVT_S_D, RN, UINT64_C(0x36a0000000000000), 4, S_TINY, NONE),
    CVT(CVT_S_D, RN, D_QNAN, 4, S_NAN, NONE),
    CVT(CVT_S_D, RN, D_SNAN, 4, S_NAN, V),
    CVT(CVT_S_D, RN, D_NEG | D_INF, 4, S_NEG | S_INF, NONE),
    CVT(CVT_S_W, RN, 0x7fffffff, 4, 0x4f000000, I),
    CVT(CVT_S_W, RZ, 0x7fffffff, 4, 0x4effffff, I),
    CVT(CVT_S_W, RN, 0x80000000, 4, 0xcf000000, NONE),
    CVT(CVT_S_W, RN, 16777217, 4, 0x4b800000, I),
    CVT(CVT_S_W, RN, 0, 4, S_ZERO, NONE),
    FPU_FPE(CVT_S_W, FD_FS, ENABLE(I), 16777217, 0, 0, I),
    CVT(CVT_D_S, RN, S_TINY, 8, UINT64_C(0x36a0000000000000), NONE),
    CVT(CVT_D_S, RN, S_QNAN, 8, D_NAN, NONE),
    CVT(CVT_D_S, RN, S_SNAN, 8, D_NAN, V),
    CVT(CVT_D_S, RN, S_NEG | S_INF, 8, D_NEG | D_INF, NONE),
    CVT(CVT_D_S, RN, S_NEG, 8, D_NEG, NONE),
    CVT(CVT_D_W, RN, 0x7fffffff, 8, UINT64_C(0x41dfffffffc00000), NONE),
    CVT(CVT_D_W, RN, 0x80000000, 8, UINT64_C(0xc1e0000000000000), NONE),
    CVT(CVT_D_W, RN, 0xffffffff, 8, UINT64_C(0xbff0000000000000), NONE),
};

/* --- comparisons --- */

/* The bit of FCSR of a condition flag. */
#define CC(n) (UINT32_C(1) << ((n) == 0 ? 23 : 24 + (n)))
#define ALL_CC UINT32_C(0xfe800000)
/* Sets flag `cc` to `is`, from the opposite. */
#define COMPARE(NAME, cc, a, b, is, flags)                                                     \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00041000) | (cc) << 8,                           \
     .fcsr = (is) ? ALL_CC & ~CC(cc) : CC(cc), .f = {a, b, 0}, .cause = EDGE_KEEP,             \
     .to = TO_FCSR, .out = {((is) ? ALL_CC : 0u) | (flags) << 12 | (flags) << 2,               \
                            ((is) ? ALL_CC : 0u) | (flags) << 12 | (flags) << 2}}
#define COMPARE_FPE(NAME, a, b)                                                                \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00041000), .fcsr = CC(0) | ENABLE(V),            \
     .f = {a, b, 0}, .cause = V, .raises = EXC_FPE}
#define COMPARE_BOTH(NAME, cc, a, b, is, flags)                                                \
    COMPARE(C_##NAME##_S, cc, S_##a, S_##b, is, flags),                                        \
    COMPARE(C_##NAME##_D, cc, D_##a, D_##b, is, flags)
/* What the condition is for less, equal, greater, unordered; `quiet`: flags of a quiet NaN. */
#define CONDITION(NAME, less, equal, greater, unordered, quiet)                                \
    COMPARE_BOTH(NAME, 0u, ONE, TWO, less, 0u), COMPARE_BOTH(NAME, 1u, TWO, TWO, equal, 0u),   \
    COMPARE_BOTH(NAME, 2u, THREE, INF, less, 0u), COMPARE_BOTH(NAME, 3u, NEG, ZERO, equal, 0u), \
    COMPARE_BOTH(NAME, 4u, TWO, TINY, greater, 0u),                                            \
    COMPARE_BOTH(NAME, 5u, QNAN, ONE, unordered, quiet),                                       \
    COMPARE_BOTH(NAME, 6u, ONE, QNAN, unordered, quiet),                                       \
    COMPARE_BOTH(NAME, 7u, SNAN, ONE, unordered, (unsigned)V),                                 \
    COMPARE_BOTH(NAME, 0u, TINY, MIN, less, 0u),                                               \
    COMPARE_FPE(C_##NAME##_S, S_SNAN, S_ONE), COMPARE_FPE(C_##NAME##_D, D_ONE, D_SNAN)

static const struct edge_case comparisons[] = {
    CONDITION(F, 0, 0, 0, 0, 0u),
    CONDITION(UN, 0, 0, 0, 1, 0u),
    CONDITION(EQ, 0, 1, 0, 0, 0u),
    CONDITION(UEQ, 0, 1, 0, 1, 0u),
    CONDITION(OLT, 1, 0, 0, 0, 0u),
    CONDITION(ULT, 1, 0, 0, 1, 0u),
    CONDITION(OLE, 1, 1, 0, 0, 0u),
    CONDITION(ULE, 1, 1, 0, 1, 0u),
    CONDITION(SF, 0, 0, 0, 0, (unsigned)V),
    CONDITION(NGLE, 0, 0, 0, 1, (unsigned)V),
    CONDITION(SEQ, 0, 1, 0, 0, (unsigned)V),
    CONDITION(NGL, 0, 1, 0, 1, (unsigned)V),
    CONDITION(LT, 1, 0, 0, 0, (unsigned)V),
    CONDITION(NGE, 1, 0, 0, 1, (unsigned)V),
    CONDITION(LE, 1, 1, 0, 0, (unsigned)V),
    CONDITION(NGT, 1, 1, 0, 1, (unsigned)V),
};

/* --- what looks at a flag or a register --- */

/* On every flag: only that one is set, and only that one is clear. */
#define ON_FLAG(NAME, operands, cc, value, ...)                                                \
    {.insn = ISA_##NAME, .fields = (operands) | (cc) << 18,                                    \
     .fcsr = (value) ? CC(cc) : ALL_CC & ~CC(cc), .in = {0x1111, 0x2222, 0x3333},              \
     .f = {D_SNAN, 0, 0}, .cause = EDGE_KEEP, __VA_ARGS__}
#define ON_TWO_FLAGS(NAME, operands, cc, value, ...)  \
    ON_FLAG(NAME, operands, cc, value, __VA_ARGS__),  \
    ON_FLAG(NAME, operands, (cc) + 1, value, __VA_ARGS__)
#define ON_FLAGS(NAME, operands, value, ...)              \
    ON_TWO_FLAGS(NAME, operands, 0u, value, __VA_ARGS__), \
    ON_TWO_FLAGS(NAME, operands, 2u, value, __VA_ARGS__), \
    ON_TWO_FLAGS(NAME, operands, 4u, value, __VA_ARGS__), \
    ON_TWO_FLAGS(NAME, operands, 6u, value, __VA_ARGS__)
#define MOVES(result)      .to = TO_D, .out = {result, result}
#define MOVES_FD(size)     .to = TO_FD, .bytes = size, .out = {D_SNAN, D_SNAN}
#define GOES(yes, if_slot) .branch = true, .taken = yes, .likely = if_slot
#define ON_REGISTER(NAME, t, ...)                                                              \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00021200), .in = {0, t, 0}, .f = {D_SNAN, 0, 0}, \
     .cause = EDGE_KEEP, __VA_ARGS__}

static const struct edge_case conditional[] = {
    ON_FLAGS(MOVF, 0x00201800, false, MOVES(0x1111)),
    ON_FLAGS(MOVF, 0x00201800, true, MOVES(0x3333)),
    ON_FLAGS(MOVT, 0x00201800, true, MOVES(0x1111)),
    ON_FLAGS(MOVT, 0x00201800, false, MOVES(0x3333)),
    ON_FLAGS(MOVF_S, FD_FS, false, MOVES_FD(4)), ON_FLAGS(MOVF_S, FD_FS, true, .to = TO_NOTHING),
    ON_FLAGS(MOVT_S, FD_FS, true, MOVES_FD(4)), ON_FLAGS(MOVT_S, FD_FS, false, .to = TO_NOTHING),
    ON_FLAGS(MOVF_D, FD_FS, false, MOVES_FD(8)), ON_FLAGS(MOVF_D, FD_FS, true, .to = TO_NOTHING),
    ON_FLAGS(MOVT_D, FD_FS, true, MOVES_FD(8)), ON_FLAGS(MOVT_D, FD_FS, false, .to = TO_NOTHING),
    ON_REGISTER(MOVZ_S, 0, MOVES_FD(4)), ON_REGISTER(MOVZ_S, 1, .to = TO_NOTHING),
    ON_REGISTER(MOVZ_S, 0x80000000, .to = TO_NOTHING),
    ON_REGISTER(MOVN_S, 0, .to = TO_NOTHING), ON_REGISTER(MOVN_S, 1, MOVES_FD(4)),
    ON_REGISTER(MOVN_S, 0x80000000, MOVES_FD(4)),
    ON_REGISTER(MOVZ_D, 0, MOVES_FD(8)), ON_REGISTER(MOVZ_D, 1, .to = TO_NOTHING),
    ON_REGISTER(MOVZ_D, 0x80000000, .to = TO_NOTHING),
    ON_REGISTER(MOVN_D, 0, .to = TO_NOTHING), ON_REGISTER(MOVN_D, 1, MOVES_FD(8)),
    ON_REGISTER(MOVN_D, 0x80000000, MOVES_FD(8)),
    ON_FLAGS(BC1F, 2u, false, GOES(true, false)), ON_FLAGS(BC1F, 2u, true, GOES(false, false)),
    ON_FLAGS(BC1T, 2u, true, GOES(true, false)), ON_FLAGS(BC1T, 2u, false, GOES(false, false)),
    ON_FLAGS(BC1FL, 2u, false, GOES(true, true)), ON_FLAGS(BC1FL, 2u, true, GOES(false, true)),
    ON_FLAGS(BC1TL, 2u, true, GOES(true, true)), ON_FLAGS(BC1TL, 2u, false, GOES(false, true)),
};

/* --- moves, control registers, memory --- */

#define FROM_FPU(NAME, a, result)                                                              \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00031000), .f = {a, 0, 0}, .cause = EDGE_KEEP,   \
     .to = TO_D, .out = {result, result}}
#define TO_FPU(NAME, value, a, behind)                                                         \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00031000), .in = {0, 0, value}, .f = {a, 0, 0},  \
     .cause = EDGE_KEEP, .to = TO_FS, .bytes = 8, .out = {behind, behind}}
#define CFC1(reg, value, result)                                                               \
    {.insn = ISA_CFC1, .fields = UINT32_C(0x00030000) | (reg) << 11, .fcsr = value,            \
     .cause = EDGE_KEEP, .to = TO_D, .out = {result, result}}
/* $3 = value to the control register, and FCSR behind it */
#define CTC1(reg, before_, value, behind)                                                      \
    {.insn = ISA_CTC1, .fields = UINT32_C(0x00030000) | (reg) << 11, .in = {0, 0, value},      \
     .fcsr = before_, .cause = EDGE_KEEP, .to = TO_FCSR, .out = {behind, behind}}
#define CTC1_FPE(reg, before_, value, behind)                                                  \
    {.insn = ISA_CTC1, .fields = UINT32_C(0x00030000) | (reg) << 11, .in = {0, 0, value},      \
     .fcsr = before_, .cause = EDGE_KEEP, .to = TO_FCSR, .raises = EXC_FPE,                    \
     .out = {behind, behind}}
/* At an offset from $4, and at $4 + $1. ft, fd = $f8; fs = $f2 of what is stored. */
#define F_LOAD(NAME, offset, size, ...)                                               \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00880000) | (offset), .cause = EDGE_KEEP,        \
     .to = TO_FD, .bytes = size, .out = {__VA_ARGS__}}
#define F_STORE(NAME, offset, little, big)                                                     \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00820000) | (offset),                            \
     .f = {UINT64_C(0x89abcdef01234567), 0, 0}, .cause = EDGE_KEEP, .to = TO_MEMORY,           \
     .out = {UINT64_C(little), UINT64_C(big)}}
#define F_REFUSED(NAME, offset, code)                                                          \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00880000) | (offset), .cause = EDGE_KEEP,        \
     .raises = EXC_##code, .has_address = true, .address = (offset)}
#define X_LOAD(NAME, offset, size, ...)                                               \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00810200), .in = {offset, 0, 0},                 \
     .cause = EDGE_KEEP, .to = TO_FD, .bytes = size, .out = {__VA_ARGS__}}
#define X_STORE(NAME, offset, little, big)                                                     \
    {.insn = ISA_##NAME, .fields = UINT32_C(0x00811000), .in = {offset, 0, 0},                 \
     .f = {UINT64_C(0x89abcdef01234567), 0, 0}, .cause = EDGE_KEEP, .to = TO_MEMORY,           \
     .out = {UINT64_C(little), UINT64_C(big)}}
#define X_REFUSED(NAME, operands, offset, code)                                                \
    {.insn = ISA_##NAME, .fields = operands, .in = {offset, 0, 0}, .cause = EDGE_KEEP,         \
     .raises = EXC_##code, .has_address = true, .address = (offset)}
#define PREFX(hint, offset)                                                                    \
    {.insn = ISA_PREFX, .fields = UINT32_C(0x00810000) | (hint) << 11, .in = {offset, 0, 0},   \
     .cause = EDGE_KEEP}
#define WORD_0 0xb3a29180, 0x8091a2b3
#define WORD_4 0xf7e6d5c4, 0xc4d5e6f7
#define PAIR_0 UINT64_C(0xf7e6d5c4b3a29180), UINT64_C(0x8091a2b3c4d5e6f7)
#define PAIR_8 UINT64_C(0x7f6e5d4c3b2a1908), UINT64_C(0x08192a3b4c5d6e7f)

static const struct edge_case moves[] = {
    FROM_FPU(MFC1, D_SNAN, 1), FROM_FPU(MFC1, S_SNAN, S_SNAN), FROM_FPU(MFC1, S_NEG, S_NEG),
    FROM_FPU(MFHC1, D_SNAN, 0x7ff80000), FROM_FPU(MFHC1, D_NEG, S_NEG), FROM_FPU(MFHC1, D_TINY, 0),
    TO_FPU(MTC1, S_SNAN, D_ONE, UINT64_C(0x3ff000007fc00001)),
    TO_FPU(MTC1, 0, UINT64_MAX, UINT64_C(0xffffffff00000000)),
    TO_FPU(MTC1, 0xffffffff, 0, UINT64_C(0x00000000ffffffff)),
    TO_FPU(MTHC1, S_SNAN, D_TINY, UINT64_C(0x7fc0000100000001)),
    TO_FPU(MTHC1, 0, UINT64_MAX, UINT64_C(0x00000000ffffffff)),
    TO_FPU(MTHC1, 0xffffffff, 0, UINT64_C(0xffffffff00000000)),
    CFC1(31u, ALL_CC | 0x0001f07cu, ALL_CC | 0x0001f07cu),
    CFC1(31u, 3, 3),
    CFC1(25u, ALL_CC, 0xff), CFC1(25u, CC(0), 1), CFC1(25u, CC(7), 0x80), CFC1(25u, 0x7f, 0),
    CFC1(26u, ALL_CC | 0x0001f07fu, 0x0001f07c), CFC1(26u, ALL_CC | 0x00000f83u, 0),
    CFC1(28u, 0x0001f07fu | ENABLE(0), 3), CFC1(28u, ENABLE(0x1f) | 2, 0xf82),
    CTC1(31u, 0, 0xfe800003, 0xfe800003),
    CTC1(31u, 0xfe800003, 0, 0),
    CTC1(31u, 0, 0x0001f07c, 0x0001f07c), /* causes that are not enabled */
    CTC1(31u, 0, 0x00000f80, 0x00000f80),
    CTC1_FPE(31u, 0, 0x00010800, 0x00010800),
    CTC1_FPE(31u, 0, 0x00001080, 0x00001080),
    CTC1_FPE(31u, 0, 0x00020000, 0x00020000), /* unimplemented: always */
    CTC1(25u, 3, 0xff, ALL_CC | 3), CTC1(25u, ALL_CC | 3, 1, CC(0) | 3),
    CTC1(25u, ALL_CC, 0x80, CC(7)),
    CTC1(26u, ALL_CC | 3, 0x0001f07c, ALL_CC | 0x0001f07fu),
    CTC1(26u, 0x0001f07f, 0, 3),
    CTC1_FPE(26u, ENABLE(Z), 0x00008000, 0x00008000u | ENABLE(Z)),
    CTC1(28u, ALL_CC | 0x7c, 0xf83, ALL_CC | 0xfff),
    CTC1(28u, 0xfff, 0, 0x7c),
    CTC1_FPE(28u, 0x00002000, ENABLE(U), 0x00002000u | ENABLE(U)),
    F_LOAD(LWC1, 0, 4, WORD_0), F_LOAD(LWC1, 4, 4, WORD_4), F_REFUSED(LWC1, 1, ADEL),
    F_REFUSED(LWC1, 2, ADEL),
    F_LOAD(LDC1, 0, 8, PAIR_0), F_LOAD(LDC1, 8, 8, PAIR_8), F_REFUSED(LDC1, 4, ADEL),
    F_REFUSED(LDC1, 1, ADEL),
    F_STORE(SWC1, 0, 0x67452301c4d5e6f7, 0x01234567c4d5e6f7),
    F_STORE(SWC1, 4, 0x8091a2b367452301, 0x8091a2b301234567),
    F_REFUSED(SWC1, 2, ADES),
    F_STORE(SDC1, 0, 0x67452301efcdab89, 0x89abcdef01234567),
    F_REFUSED(SDC1, 4, ADES), F_REFUSED(SDC1, 1, ADES),
    X_LOAD(LWXC1, 0, 4, WORD_0), X_LOAD(LWXC1, 4, 4, WORD_4),
    X_REFUSED(LWXC1, 0x00810200, 2, ADEL),
    X_LOAD(LDXC1, 0, 8, PAIR_0), X_LOAD(LDXC1, 8, 8, PAIR_8),
    X_REFUSED(LDXC1, 0x00810200, 4, ADEL),
    X_STORE(SWXC1, 0, 0x67452301c4d5e6f7, 0x01234567c4d5e6f7),
    X_STORE(SWXC1, 4, 0x8091a2b367452301, 0x8091a2b301234567),
    X_REFUSED(SWXC1, 0x00811000, 1, ADES),
    X_STORE(SDXC1, 0, 0x67452301efcdab89, 0x89abcdef01234567),
    X_REFUSED(SDXC1, 0x00811000, 4, ADES), X_REFUSED(SDXC1, 0x00811000, 2, ADES),
    PREFX(0, 0), PREFX(1, 3), PREFX(30u, 0x7fffffff),
};

/* What a machine has that qemu's processor has otherwise, and registers that are no pairs. */
#define NO_PAIR(NAME, operands)                                                                \
    {.insn = ISA_##NAME, .fields = operands, .cause = EDGE_KEEP, .raises = EXC_RI, .open = true}

static const struct edge_case of_this_machine[] = {
    {.insn = ISA_CFC1, .fields = UINT32_C(0x00030000), .cause = EDGE_KEEP, .to = TO_D,
     .out = {0x00139300, 0x00139300}, .open = true}, /* FIR: word, double, single */
    {.insn = ISA_CTC1, .fields = UINT32_C(0x00030000), .in = {0, 0, 0xffffffff}, .fcsr = 3,
     .cause = EDGE_KEEP, .to = TO_FCSR, .out = {3, 3}, .open = true}, /* which is read-only */
    /* FS and the bits above the causes are zero, however they are written. */
    {.insn = ISA_CTC1, .fields = UINT32_C(0x0003f800), .in = {0, 0, 0x01fc0000},
     .cause = EDGE_KEEP, .to = TO_FCSR, .out = {0x00800000, 0x00800000}, .open = true},
    {.insn = ISA_CTC1, .fields = UINT32_C(0x0003e000), .in = {0, 0, 4}, .cause = EDGE_KEEP,
     .to = TO_FCSR, .open = true},
    NO_PAIR(ADD_D, 0x00041240), NO_PAIR(ADD_D, 0x00041a00), NO_PAIR(ADD_D, 0x00051200),
    NO_PAIR(LDC1, 0x00890000), NO_PAIR(SDC1, 0x00830000), NO_PAIR(LDXC1, 0x00810240),
    NO_PAIR(SDXC1, 0x00811800), NO_PAIR(CVT_S_D, 0x00001a00), NO_PAIR(CVT_D_S, 0x00001240),
    NO_PAIR(MADD_D, 0x00e41200), NO_PAIR(C_EQ_D, 0x00051000), NO_PAIR(TRUNC_W_D, 0x00001a00),
    NO_PAIR(MOVF_D, 0x00001240), NO_PAIR(MOVZ_D, 0x00021240),
};

static const struct edge_table tables[] = {
    {arithmetic, EDGES_COUNT(arithmetic)},   {multiply_add, EDGES_COUNT(multiply_add)},
    {conversions, EDGES_COUNT(conversions)}, {comparisons, EDGES_COUNT(comparisons)},
    {conditional, EDGES_COUNT(conditional)}, {moves, EDGES_COUNT(moves)},
    {of_this_machine, EDGES_COUNT(of_this_machine)},
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
    edges_check_complete(tables, EDGES_COUNT(tables), EDGE_FPU);
}

/* Without Status.CU1, each of them is coprocessor 1 unusable, and changes nothing. */
static void test_unusable(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ISA_COUNT; i++) {
        static struct rig rig;
        struct rig_setup setup = {.simple = true};
        uint32_t word = isa_table[i].match;
        if (edge_group((enum isa_insn)i) != EDGE_FPU)
            continue;
        rig_open(&rig, &setup, &word, 1);
        cp0_write(rig.m, CP0_STATUS, 0, STATUS_CU0);
        assert_int_equal(rig_run(&rig, 10), MACHINE_FAULT);
        if (rig.stop.code != EXC_CPU || rig.m->cp0[CP0_CAUSE] != (1u << 28 | EXC_CPU << 2) ||
            rig.m->cp0[CP0_EPC] != TEXT)
            fail_msg("%s: %s", isa_table[i].mnemonic, rig.stop.text);
        rig_close(&rig);
    }
}

/* An operand near those where something happens. */
static uint64_t operand(uint64_t *random, bool wide)
{
    static const uint64_t edges[] = {D_ZERO, D_TINY, D_MIN, D_ONE, D_TWO, D_THREE, D_MAX, D_INF,
                                     D_NAN,  D_SNAN, UINT64_C(0x000fffffffffffff), D_HALF};
    static const uint32_t edges_s[] = {S_ZERO, S_TINY, S_MIN, S_ONE, S_TWO,      S_THREE, S_MAX,
                                       S_INF,  S_NAN,  S_SNAN, 0x007fffff, S_HALF};
    uint32_t high = rig_random(random), low = rig_random(random);
    uint64_t bits = wide ? (uint64_t)high << 32 | low : high;
    unsigned edge = rig_random(random) % EDGES_COUNT(edges), way = rig_random(random) % 4;
    uint64_t sign = wide ? bits & D_NEG : bits & S_NEG;
    uint64_t near = (wide ? edges[edge] : edges_s[edge]) + low % 3;

    if (way == 0)
        return bits;
    if (way == 1) /* of about the size of 1 */
        return (bits & (wide ? UINT64_C(0x803fffffffffffff) : 0x81ffffff)) |
               (wide ? UINT64_C(0x3fc0000000000000) : 0x3e000000);
    return near | sign;
}

/* Arithmetic in integers gives what the host's processor gives, flags included. */
static void exact_like_host(enum isa_insn insn, uint64_t *random)
{
    static struct rig host, exact;
    bool narrows = insn == ISA_CVT_S_D, wide = (isa_table[insn].flags & ISA_DOUBLE) != 0;
    uint32_t operands = isa_table[insn].form == ISA_FORM_FMADD      ? FMADD
                        : isa_table[insn].form == ISA_FORM_FD_FS_FT ? FD_FS_FT
                                                                    : FD_FS;
    uint32_t word = isa_table[insn].match | operands;
    struct rig_setup setup = {.simple = true};

    rig_open(&host, &setup, &word, 1);
    rig_open(&exact, &setup, &word, 1);
    exact.m->fpu_exact = exact.m->fpu_exact_always = true;
    for (unsigned i = 0; i < 6000; i++) {
        uint64_t before[5] = {0, 0, 0, 0, EDGE_FD};
        for (unsigned j = 1; j < 4; j++)
            before[j] = operand(random, wide || narrows);
        memcpy(host.m->fd, before, sizeof(before));
        memcpy(exact.m->fd, before, sizeof(before));
        uint32_t mode = host.m->fcsr = exact.m->fcsr = rig_random(random) % 4;
        host.m->pc = exact.m->pc = TEXT;
        rig_run(&host, 1);
        rig_run(&exact, 1);
        if (host.m->fd[4] != exact.m->fd[4] || host.m->fcsr != exact.m->fcsr)
            fail_msg("%s of %llx, %llx, %llx, mode %u: %llx, %x; the host: %llx, %x",
                     isa_table[insn].mnemonic, (unsigned long long)before[1],
                     (unsigned long long)before[2], (unsigned long long)before[3], mode,
                     (unsigned long long)exact.m->fd[4], exact.m->fcsr,
                     (unsigned long long)host.m->fd[4], host.m->fcsr);
    }
    rig_close(&host);
    rig_close(&exact);
}

static void test_exact_like_host(void **state)
{
    uint64_t random = 7;

    (void)state;
    for (unsigned i = 0; i < ISA_COUNT; i++)
        if (fpu_exact_has((enum isa_insn)i) || isa_table[i].form == ISA_FORM_FMADD ||
            i == ISA_CVT_S_D)
            exact_like_host((enum isa_insn)i, &random);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_complete),
        cmocka_unit_test(test_machine),
        cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_unusable),
        cmocka_unit_test(test_exact_like_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
