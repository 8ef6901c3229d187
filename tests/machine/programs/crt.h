/*
 * What the C programs of this folder run on, which is one of two things: under a compiler for
 * MIPS a bare machine, with output by SPIM's system calls, and elsewhere the C library. Their
 * output must be the same byte for byte. Each program includes this once and has int main(void).
 */
#ifndef PROGRAMS_CRT_H
#define PROGRAMS_CRT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __mips__

/* The stack of o32 is aligned to 8, and the caller leaves room for four arguments. */
__asm__(".text\n"
        ".globl __start\n"
        ".ent __start\n"
        "__start:\n"
        "    lui $28, %hi(_gp)\n"
        "    addiu $28, $28, %lo(_gp)\n"
        "    li $8, -8\n"
        "    and $29, $29, $8\n"
        "    addiu $29, $29, -32\n"
        "    jal main\n"
        "    move $4, $2\n"
        "    li $2, 17\n"
        "    syscall\n"
        ".end __start\n");

/* A system call of one integer. */
static inline void system_call(int number, uint32_t argument)
{
    register int v0 __asm__("$2") = number;
    register uint32_t a0 __asm__("$4") = argument;

    __asm__ volatile("syscall" : "+r"(v0) : "r"(a0) : "memory");
}

static inline void put_text(const char *text)
{
    system_call(4, (uint32_t)(uintptr_t)text);
}

static inline void put_int(int32_t value)
{
    system_call(1, (uint32_t)value);
}

static inline void put_unsigned(uint32_t value)
{
    system_call(36, value);
}

static inline void put_hex(uint32_t value)
{
    system_call(34, value);
}

static inline void put_double(double value)
{
    register int v0 __asm__("$2") = 3;
    register double f12 __asm__("$f12") = value;

    __asm__ volatile("syscall" : "+r"(v0) : "f"(f12) : "memory");
}

/* Compilers call these for copies and comparisons of structures. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *left, const void *right, size_t n);

void *memcpy(void *to, const void *from, size_t n)
{
    unsigned char *t = to;
    const unsigned char *f = from;

    while (n-- > 0)
        *t++ = *f++;
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    unsigned char *t = to;

    while (n-- > 0)
        *t++ = (unsigned char)byte;
    return to;
}

int memcmp(const void *left, const void *right, size_t n)
{
    const unsigned char *l = left, *r = right;

    for (; n > 0; n--, l++, r++)
        if (*l != *r)
            return *l < *r ? -1 : 1;
    return 0;
}

#else

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static inline void put_text(const char *text)
{
    fputs(text, stdout);
}

static inline void put_int(int32_t value)
{
    printf("%" PRId32, value);
}

static inline void put_unsigned(uint32_t value)
{
    printf("%" PRIu32, value);
}

static inline void put_hex(uint32_t value)
{
    printf("0x%08" PRIx32, value);
}

static inline void put_double(double value)
{
    printf("%.18g", value);
}

#endif

/* NAME VALUE, on a line. */
static inline void say(const char *name, uint32_t value)
{
    put_text(name);
    put_text(" ");
    put_hex(value);
    put_text("\n");
}

/* The same of 64 bits, as two words. */
static inline void say_wide(const char *name, uint64_t value)
{
    put_text(name);
    put_text(" ");
    put_hex((uint32_t)(value >> 32));
    put_text(" ");
    say("", (uint32_t)value);
}

/* Pseudo-random numbers, the same everywhere (xorshift of G. Marsaglia). */
static uint32_t random_state = 2463534242u;

static inline uint32_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static inline uint64_t next_random_wide(void)
{
    uint64_t high = next_random();

    return high << 32 | next_random();
}

/* A running digest of what a program computed. */
static inline uint32_t mix(uint32_t digest, uint32_t value)
{
    digest ^= value + 0x9e3779b9u + (digest << 6) + (digest >> 2);
    return digest * 2654435761u;
}

#endif
