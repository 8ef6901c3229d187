/*
 * The instruction set of the machine: what the one table in table.h gives to assembler,
 * disassembler and executor. Constant data and pure functions; freestanding but for
 * <string.h> and <stdio.h> of the disassembler.
 */
#ifndef MACHINE_ISA_ISA_H
#define MACHINE_ISA_ISA_H

#include "machine/isa/table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is known of an instruction beside its encoding. */
enum isa_flag {
    ISA_W_RD = 1 << 0, /* writes that register */
    ISA_W_RT = 1 << 1,
    ISA_W_FD = 1 << 2,
    ISA_W_FS = 1 << 3,
    ISA_W_FT = 1 << 4,
    ISA_W_HILO = 1 << 5, /* HI, LO or both */
    ISA_W_FCC = 1 << 6,  /* a condition flag */
    ISA_BRANCH = 1 << 7, /* relative and conditional; has a delay slot */
    ISA_JUMP = 1 << 8,   /* always taken; has a delay slot */
    ISA_LINK = 1 << 9,   /* leaves the return address in $ra, or rd with ISA_W_RD */
    ISA_LIKELY = 1 << 10,
    ISA_LOAD = 1 << 11,
    ISA_STORE = 1 << 12,
    ISA_TRAP = 1 << 13,     /* raises an exception, always or on a condition */
    ISA_OVERFLOW = 1 << 14, /* raises an exception on signed overflow */
    ISA_PRIVILEGED = 1 << 15,
    ISA_FPU = 1 << 16,        /* coprocessor 1 must be usable */
    ISA_DOUBLE = 1 << 17,     /* its FPU registers, or its result, are pairs */
    ISA_ENDS_BLOCK = 1 << 18, /* no branch, but what follows may have to be seen anew */
    ISA_SAME_SLOT = 1 << 19,  /* decoder: shares the slot of the entry before it */
};

/* ISA_ADD and so on, in the order of the table. ISA_UNKNOWN: no instruction. */
enum isa_insn {
#define ISA_ENUM(NAME, text, mask, match, FORM, FLAGS, meaning) ISA_##NAME,
    ISA_TABLE(ISA_ENUM)
#undef ISA_ENUM
    ISA_UNKNOWN,
    ISA_COUNT = ISA_UNKNOWN
};

enum isa_form {
#define ISA_ENUM(NAME, text) ISA_FORM_##NAME,
    ISA_FORM_LIST(ISA_ENUM)
#undef ISA_ENUM
};

struct isa_entry {
    const char *mnemonic;
    uint32_t mask, match;
    enum isa_form form;
    uint32_t flags; /* enum isa_flag */
    const char *meaning;
};

/* Indexed by enum isa_insn; ISA_COUNT entries. */
extern const struct isa_entry isa_table[ISA_COUNT];

/* The operands of each form as text (see ISA_FORM_LIST), by enum isa_form. */
extern const char *const isa_form_texts[];

/*
 * Where an operand stands in the word, by its letter. Registers, codes and selections are
 * the field as it is; the letters i u b j o X z Z $ U need more than that, which their
 * users know. False for a letter that is no operand.
 */
struct isa_field {
    uint8_t shift, bits;
};
bool isa_operand_field(char letter, struct isa_field *field);

/* The fields of a word, whatever instruction it is. */
struct isa_fields {
    uint8_t rs, rt, rd, sa;
    int32_t imm;   /* sign-extended */
    uint32_t uimm; /* zero-extended */
    uint32_t target;
};

/* FPU instructions call the same fields otherwise. */
#define ISA_FR(fields) ((fields).rs)
#define ISA_FT(fields) ((fields).rt)
#define ISA_FS(fields) ((fields).rd)
#define ISA_FD(fields) ((fields).sa)

static inline struct isa_fields isa_fields(uint32_t word)
{
    return (struct isa_fields){
        .rs = (uint8_t)(word >> 21 & 31),
        .rt = (uint8_t)(word >> 16 & 31),
        .rd = (uint8_t)(word >> 11 & 31),
        .sa = (uint8_t)(word >> 6 & 31),
        .imm = (int16_t)(uint16_t)word,
        .uimm = word & 0xffff,
        .target = word & 0x3ffffff,
    };
}

/* Condition flag of movf/movt/bc1 and of c.cond; code of syscall and index of SNAPSHOT. */
#define ISA_CC_BRANCH(word) ((word) >> 18 & 7)
#define ISA_CC_COMPARE(word) ((word) >> 8 & 7)
#define ISA_CODE20(word) ((word) >> 6 & 0xfffff)

/* Where a taken branch, or a j or jal, at `pc` goes. */
static inline uint32_t isa_branch_target(uint32_t word, uint32_t pc)
{
    return pc + 4 + ((uint32_t)(int32_t)(int16_t)(uint16_t)word << 2);
}

static inline uint32_t isa_jump_target(uint32_t word, uint32_t pc)
{
    return ((pc + 4) & 0xf0000000u) | (word & 0x3ffffffu) << 2;
}

/* The instruction that a word is, or ISA_UNKNOWN. */
enum isa_insn isa_decode(uint32_t word);

/* The instruction of that name, letter case ignored; ISA_UNKNOWN when there is none. */
enum isa_insn isa_find(const char *mnemonic, size_t len);

/* "$t0" and so on for 0 to 31: conventional names, with the dollar sign. */
extern const char *const isa_register_names[32];

/* Names of the registers of coprocessor 0, selection 0, and "" where there is none. */
extern const char *const isa_cop0_names[32];

/*
 * The register that a name without its dollar sign is: "0" to "31", "zero", "t0", "fp",
 * "s8" ...; -1 when it is none.
 */
int isa_register_find(const char *name, size_t len);

/* The same for "f0" to "f31". */
int isa_fpu_register_find(const char *name, size_t len);

/*
 * Gives the name of the symbol at or before `address`, and how far behind it that is;
 * NULL when there is none.
 */
typedef const char *isa_symbol_lookup(void *context, uint32_t address, uint32_t *offset);

/* Gives string `index` of the program, for SNAPSHOT; NULL when there is none. */
typedef const char *isa_string_lookup(void *context, uint32_t index);

struct isa_names {
    isa_symbol_lookup *symbol; /* may be NULL: addresses are numbers */
    isa_string_lookup *string; /* may be NULL: strings are numbers */
    void *context;
    bool numeric; /* $8 instead of $t0 */
};

/* Room for any instruction without long symbols and strings; longer ones are cut. */
#define ISA_TEXT 96

/*
 * Writes the instruction at `pc` as the assembler reads it, NUL-terminated and cut to
 * `len` bytes: "addiu $t0, $t1, -4"; ".word 0x..." for what is none. `names` may be NULL.
 * Returns the instruction.
 */
enum isa_insn isa_disassemble(uint32_t word, uint32_t pc, const struct isa_names *names, char *text,
                              size_t len);

#endif
