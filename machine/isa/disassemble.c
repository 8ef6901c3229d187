/*
 * Words as text that the assembler reads back to the same word: for listings, traces and
 * the debugger. The operand form of the table says what is written.
 */
#include "machine/isa/isa.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Text that is being written; what does not fit is cut. */
struct text {
    char *at;
    size_t len, used;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    int n = vsnprintf(text->at + text->used, text->len - text->used, format, list);
    va_end(list);
    if (n > 0)
        text->used += (size_t)n < text->len - text->used ? (size_t)n : text->len - text->used - 1;
}

static uint32_t field(uint32_t word, char letter)
{
    struct isa_field f = {0, 0};

    isa_operand_field(letter, &f);
    return word >> f.shift & ((1u << f.bits) - 1);
}

static void add_register(struct text *text, unsigned number, const struct isa_names *names)
{
    if (names != NULL && names->numeric)
        add(text, "$%u", number);
    else
        add(text, "%s", isa_register_names[number]);
}

static void add_address(struct text *text, uint32_t address, const struct isa_names *names)
{
    uint32_t offset = 0;
    const char *name = NULL;

    if (names != NULL && names->symbol != NULL)
        name = names->symbol(names->context, address, &offset);
    if (name == NULL)
        add(text, "0x%08" PRIx32, address);
    else if (offset == 0)
        add(text, "%s", name);
    else
        add(text, "%s+%" PRIu32, name, offset);
}

/* The path of SNAPSHOT, in quotes as the assembler reads them. */
static void add_string(struct text *text, uint32_t index, const struct isa_names *names)
{
    const char *string = NULL;

    if (names != NULL && names->string != NULL)
        string = names->string(names->context, index);
    if (string == NULL) {
        add(text, "%" PRIu32, index);
        return;
    }
    add(text, "\"");
    for (; *string != 0; string++)
        add(text, *string == '"' || *string == '\\' ? "\\%c" : "%c", *string);
    add(text, "\"");
}

static void add_cop0(struct text *text, uint32_t word, const struct isa_names *names)
{
    uint32_t number = field(word, '0');

    if (field(word, 'x') == 0 && isa_cop0_names[number][0] != 0 &&
        !(names != NULL && names->numeric))
        add(text, "$%s", isa_cop0_names[number]);
    else
        add(text, "$%" PRIu32, number);
}

static void add_operand(struct text *text, char letter, uint32_t word, uint32_t pc,
                        const struct isa_names *names)
{
    struct isa_fields f = isa_fields(word);
    uint32_t value = field(word, letter);

    if (strchr("dstU", letter) != NULL) {
        add_register(text, value, names);
    } else if (strchr("DSTR", letter) != NULL) {
        add(text, "$f%" PRIu32, value);
    } else if (letter == 'i') {
        add(text, "%" PRId32, f.imm);
    } else if (letter == 'u') {
        add(text, "0x%" PRIx32, f.uimm);
    } else if (letter == 'b') {
        add_address(text, isa_branch_target(word, pc), names);
    } else if (letter == 'j') {
        add_address(text, isa_jump_target(word, pc), names);
    } else if (letter == 'o' || letter == 'X') {
        if (letter == 'o')
            add(text, "%" PRId32, f.imm);
        else
            add_register(text, f.rt, names);
        add(text, "(");
        add_register(text, f.rs, names);
        add(text, ")");
    } else if (letter == '0') {
        add_cop0(text, word, names);
    } else if (letter == '1' || letter == 'H') {
        add(text, "$%" PRIu32, value);
    } else if (letter == 'N' || letter == 'n') {
        add(text, "$fcc%" PRIu32, value);
    } else if (letter == 'z') {
        add(text, "%" PRIu32, value + 1);
    } else if (letter == 'Z') {
        add(text, "%" PRId32, (int32_t)value - f.sa + 1);
    } else if (letter == '$') {
        add_string(text, value, names);
    } else {
        add(text, "%" PRIu32, value);
    }
}

/*
 * Whether an operand in brackets has to be written: it, or one in brackets behind it, is
 * not what it would be without.
 */
static bool needed(const char *form, uint32_t word)
{
    for (const char *at = strchr(form, '['); at != NULL; at = strchr(at + 1, '[')) {
        char letter = at[1] == ',' ? at[2] : at[1];
        if (field(word, letter) != (letter == 'd' ? 31u : 0u))
            return true;
    }
    return false;
}

/* Forms that leave out some words: ins of no bits, clz with two results. */
static bool expressible(enum isa_form form, uint32_t word)
{
    struct isa_fields f = isa_fields(word);

    switch (form) {
    case ISA_FORM_US:
        return f.rt == f.rd;
    case ISA_FORM_EXT:
        return f.rd + f.sa < 32;
    case ISA_FORM_INS:
        return f.rd >= f.sa;
    default:
        return true;
    }
}

static void add_operands(struct text *text, const char *form, uint32_t word, uint32_t pc,
                         const struct isa_names *names)
{
    bool first = true;

    for (const char *at = form; *at != 0; at++) {
        if (*at == '[' && !needed(at, word)) {
            at = strchr(at, ']');
        } else if (*at != '[' && *at != ']' && *at != ',') {
            add(text, first ? " " : ", ");
            first = false;
            add_operand(text, *at, word, pc, names);
        }
    }
}

enum isa_insn isa_disassemble(uint32_t word, uint32_t pc, const struct isa_names *names, char *at,
                              size_t len)
{
    enum isa_insn insn = isa_decode(word);
    struct text text = {at, len, 0};

    if (len == 0)
        return insn;
    at[0] = 0;
    if (word == 0) {
        add(&text, "nop");
    } else if (insn == ISA_UNKNOWN || !expressible(isa_table[insn].form, word)) {
        add(&text, ".word 0x%08" PRIx32, word);
    } else {
        add(&text, "%s", isa_table[insn].mnemonic);
        add_operands(&text, isa_form_texts[isa_table[insn].form], word, pc, names);
    }
    return insn;
}
