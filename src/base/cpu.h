/* Hints to the CPU. */
#ifndef BASE_CPU_H
#define BASE_CPU_H

/* For the body of a loop that waits for another thread's store. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

#endif
