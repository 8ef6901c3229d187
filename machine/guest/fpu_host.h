/*
 * The host's floating-point flags and rounding: one register of SSE on x86-64, the C
 * library elsewhere. Flags are those of MIPS (FCSR bits 2 to 6, moved to bits 0 to 4):
 * inexact, underflow, overflow, division by zero, invalid.
 */
#ifndef MACHINE_GUEST_FPU_HOST_H
#define MACHINE_GUEST_FPU_HOST_H

#include <stdint.h>

enum { FLAG_I = 1, FLAG_U = 2, FLAG_O = 4, FLAG_Z = 8, FLAG_V = 16 };

#if defined(__x86_64__)

/* Not zero: an operation set a flag since fpu_host_clear. */
static inline unsigned fpu_host_flags(void)
{
    return __builtin_ia32_stmxcsr() & 0x3d;
}

static inline unsigned fpu_host_take(void)
{
    unsigned control = __builtin_ia32_stmxcsr();

    __builtin_ia32_ldmxcsr(control & ~0x3fu);
    return (control >> 5 & 1) | (control >> 4 & 1) << 1 | (control >> 3 & 1) << 2 |
           (control >> 2 & 1) << 3 | (control & 1) << 4;
}

/* The whole register, without flags, for native code. */
static inline uint32_t fpu_host_clean(void)
{
    return __builtin_ia32_stmxcsr() & ~0x3fu;
}

/* `mode` as in FCSR: nearest, towards zero, up, down. */
static inline void fpu_host_round(unsigned mode)
{
    static const uint16_t modes[4] = {0, 0x6000, 0x4000, 0x2000};

    __builtin_ia32_ldmxcsr(0x1f80u | modes[mode & 3]);
}

#else

#include <fenv.h>

static inline unsigned fpu_host_flags(void)
{
    return (unsigned)fetestexcept(FE_ALL_EXCEPT);
}

static inline unsigned fpu_host_take(void)
{
    int flags = fetestexcept(FE_ALL_EXCEPT);

    feclearexcept(FE_ALL_EXCEPT);
    return (flags & FE_INEXACT ? FLAG_I : 0u) | (flags & FE_UNDERFLOW ? FLAG_U : 0u) |
           (flags & FE_OVERFLOW ? FLAG_O : 0u) | (flags & FE_DIVBYZERO ? FLAG_Z : 0u) |
           (flags & FE_INVALID ? FLAG_V : 0u);
}

static inline void fpu_host_round(unsigned mode)
{
    static const int modes[4] = {FE_TONEAREST, FE_TOWARDZERO, FE_UPWARD, FE_DOWNWARD};

    feclearexcept(FE_ALL_EXCEPT);
    fesetround(modes[mode & 3]);
}

static inline uint32_t fpu_host_clean(void)
{
    return 0;
}

#endif

#endif
