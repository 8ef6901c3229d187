/*
 * The instruction table as data, the decoder over it, and the names of registers.
 *
 * The decoder: a few fields of a word choose a slot, a slot holds the first instruction
 * whose match falls into it, and the few others of the same slot stand behind it in the
 * table (ISA_SAME_SLOT). So decoding is one lookup and, nearly always, one comparison.
 * The slots are filled by the compiler; two first entries in one slot are a warning of it
 * (-Woverride-init), and tests/unit/test_isa.c proves the rest.
 */
#include "machine/isa/isa.h"

#include <string.h>
#include <strings.h>

const struct isa_entry isa_table[ISA_COUNT] = {
#define ISA_ENTRY(NAME, text, mask, match, FORM, FLAGS, meaning) \
    {text, mask, match, ISA_FORM_##FORM, FLAGS, meaning},
    ISA_TABLE(ISA_ENTRY)
#undef ISA_ENTRY
};

const char *const isa_form_texts[] = {
#define ISA_FORM_TEXT(NAME, text) [ISA_FORM_##NAME] = text,
    ISA_FORM_LIST(ISA_FORM_TEXT)
#undef ISA_FORM_TEXT
};

bool isa_operand_field(char letter, struct isa_field *field)
{
    static const struct {
        char letter;
        struct isa_field field;
    } fields[] = {
        {'s', {21, 5}}, {'R', {21, 5}}, {'t', {16, 5}}, {'T', {16, 5}}, {'k', {16, 5}},
        {'d', {11, 5}}, {'U', {11, 5}}, {'S', {11, 5}}, {'h', {11, 5}}, {'0', {11, 5}},
        {'1', {11, 5}}, {'H', {11, 5}}, {'z', {11, 5}}, {'Z', {11, 5}}, {'D', {6, 5}},
        {'a', {6, 5}}, {'p', {6, 5}}, {'y', {6, 5}}, {'c', {16, 10}}, {'q', {6, 10}},
        {'C', {6, 20}}, {'$', {6, 20}}, {'w', {6, 19}}, {'x', {0, 3}}, {'N', {18, 3}},
        {'n', {8, 3}}, {'i', {0, 16}}, {'u', {0, 16}}, {'b', {0, 16}}, {'o', {0, 16}},
        {'j', {0, 26}}, {'X', {16, 5}},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (fields[i].letter == letter) {
            *field = fields[i].field;
            return true;
        }
    }
    return false;
}

/*
 * Slots: 64 major opcodes, then a block of 64 for each opcode that a second field divides.
 * A macro, because the slots of the table must be constant expressions.
 */
#define FUNCT(word) ((word) & 63u)
#define RS(word) ((word) >> 21 & 31u)
#define SLOT_COP0(word) (RS(word) < 16 ? 64 * 3 + RS(word) : 64 * 11 + FUNCT(word))
#define SLOT_COP1(word)                      \
    (RS(word) == 16   ? 64 * 7 + FUNCT(word) \
     : RS(word) == 17 ? 64 * 8 + FUNCT(word) \
     : RS(word) == 20 ? 64 * 9 + FUNCT(word) \
                      : 64 * 6 + RS(word))
#define SLOT(word)                                          \
    ((word) >> 26 == 0x00   ? 64 * 1 + FUNCT(word)          \
     : (word) >> 26 == 0x01 ? 64 * 2 + ((word) >> 16 & 31u) \
     : (word) >> 26 == 0x10 ? SLOT_COP0(word)               \
     : (word) >> 26 == 0x11 ? SLOT_COP1(word)               \
     : (word) >> 26 == 0x13 ? 64 * 10 + FUNCT(word)         \
     : (word) >> 26 == 0x1c ? 64 * 4 + FUNCT(word)          \
     : (word) >> 26 == 0x1f ? 64 * 5 + FUNCT(word)          \
                            : (word) >> 26)
#define NSLOTS (64 * 12)

/*
 * One more than the first instruction of each slot; 0: none. Entries that are not the first
 * of their slot go to places of their own behind the slots, which nothing reads.
 */
static const uint16_t slots[NSLOTS + ISA_COUNT] = {
#define ISA_SLOT(NAME, text, mask, match, FORM, FLAGS, meaning) \
    [(FLAGS) & ISA_SAME_SLOT ? NSLOTS + ISA_##NAME : SLOT(match)] = ISA_##NAME + 1,
    ISA_TABLE(ISA_SLOT)
#undef ISA_SLOT
};

enum isa_insn isa_decode(uint32_t word)
{
    unsigned i = slots[SLOT(word)];

    if (i == 0)
        return ISA_UNKNOWN;
    i--;
    do {
        if ((word & isa_table[i].mask) == isa_table[i].match)
            return (enum isa_insn)i;
        i++;
    } while (i < ISA_COUNT && isa_table[i].flags & ISA_SAME_SLOT);
    return ISA_UNKNOWN;
}

enum isa_insn isa_find(const char *mnemonic, size_t len)
{
    for (unsigned i = 0; i < ISA_COUNT && len > 0; i++) {
        /* Most differ in the first letter. */
        if ((isa_table[i].mnemonic[0] ^ mnemonic[0]) & 0xdf)
            continue;
        if (strncasecmp(isa_table[i].mnemonic, mnemonic, len) == 0 &&
            isa_table[i].mnemonic[len] == 0)
            return (enum isa_insn)i;
    }
    return ISA_UNKNOWN;
}

const char *const isa_register_names[32] = {
    "$zero", "$at", "$v0", "$v1", "$a0", "$a1", "$a2", "$a3", "$t0", "$t1", "$t2",
    "$t3",   "$t4", "$t5", "$t6", "$t7", "$s0", "$s1", "$s2", "$s3", "$s4", "$s5",
    "$s6",   "$s7", "$t8", "$t9", "$k0", "$k1", "$gp", "$sp", "$fp", "$ra",
};

const char *const isa_cop0_names[32] = {
    [0] = "Index",     [1] = "Random", [2] = "EntryLo0", [3] = "EntryLo1",  [4] = "Context",
    [5] = "PageMask",  [6] = "Wired",  [7] = "HWREna",   [8] = "BadVAddr",  [9] = "Count",
    [10] = "EntryHi",  [11] = "Compare", [12] = "Status", [13] = "Cause",   [14] = "EPC",
    [15] = "PRId",     [16] = "Config", [17] = "LLAddr", [18] = "WatchLo",  [19] = "WatchHi",
    [20] = "",         [21] = "",      [22] = "",        [23] = "Debug",    [24] = "DEPC",
    [25] = "PerfCnt",  [26] = "ErrCtl", [27] = "CacheErr", [28] = "TagLo",  [29] = "TagHi",
    [30] = "ErrorEPC", [31] = "DESAVE",
};

/* A number from 0 to 31 without superfluous zeros, or -1. */
static int small_number(const char *text, size_t len)
{
    if (len == 0 || len > 2 || text[0] < '0' || text[0] > '9')
        return -1;
    if (len == 1)
        return text[0] - '0';
    if (text[0] == '0' || text[1] < '0' || text[1] > '9')
        return -1;
    int number = (text[0] - '0') * 10 + text[1] - '0';
    return number < 32 ? number : -1;
}

int isa_register_find(const char *name, size_t len)
{
    int number = small_number(name, len);
    if (number >= 0)
        return number;
    for (int i = 0; i < 32; i++) {
        if (strncmp(isa_register_names[i] + 1, name, len) == 0 &&
            isa_register_names[i][len + 1] == 0 && len > 0)
            return i;
    }
    /* Other names that compilers and books use. "$r5" is how the dump calls register 5. */
    if (len == 2 && memcmp(name, "s8", 2) == 0)
        return 30;
    if (len > 1 && name[0] == 'r')
        return small_number(name + 1, len - 1);
    return -1;
}

int isa_fpu_register_find(const char *name, size_t len)
{
    return len > 1 && name[0] == 'f' ? small_number(name + 1, len - 1) : -1;
}
