/*
 * The instruction table: entries that do not overlap, a decoder that finds each of them,
 * and a disassembler whose text assembles to the same word. Where binutils for MIPS are
 * installed, they decode random words and must agree.
 */
#include "machine/asm/asm.h"
#include "machine/isa/isa.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A reproducible sequence (xorshift). */
static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* A word of an instruction, with random operands. */
static uint32_t random_word(enum isa_insn insn, uint32_t *state)
{
    return isa_table[insn].match | (next_random(state) & ~isa_table[insn].mask);
}

static void entries_are_sound(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ISA_COUNT; i++) {
        const struct isa_entry *entry = &isa_table[i];
        uint32_t operands = 0;
        assert_int_equal(entry->match & ~entry->mask, 0);
        assert_int_equal(isa_find(entry->mnemonic, strlen(entry->mnemonic)), i);
        for (const char *at = isa_form_texts[entry->form]; *at != 0; at++) {
            struct isa_field field;
            if (strchr("[],", *at) != NULL)
                continue;
            assert_true(isa_operand_field(*at, &field));
            operands |= (uint32_t)(((UINT64_C(1) << field.bits) - 1) << field.shift);
            if (*at == 'o' || *at == 'X')
                operands |= 31u << 21;
            if (*at == 'U')
                operands |= 31u << 16;
        }
        /* Each bit is of the encoding or of an operand. */
        if ((operands | entry->mask) != 0xffffffff || (operands & entry->mask) != 0)
            fail_msg("%s: operands 0x%08x, mask 0x%08x", entry->mnemonic, operands, entry->mask);
    }
}

static void entries_do_not_overlap(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ISA_COUNT; i++) {
        for (unsigned j = i + 1; j < ISA_COUNT; j++) {
            uint32_t both = isa_table[i].mask & isa_table[j].mask;
            if ((isa_table[i].match & both) == (isa_table[j].match & both))
                fail_msg("%s and %s overlap", isa_table[i].mnemonic, isa_table[j].mnemonic);
        }
    }
}

static void decoder_agrees_with_masks(void **state)
{
    uint32_t seed = 1;

    (void)state;
    for (unsigned n = 0; n < 400000; n++) {
        uint32_t word = next_random(&seed);
        if (n % 2 == 0)
            word = random_word((enum isa_insn)(word % ISA_COUNT), &seed);
        unsigned expected = 0;
        while (expected < ISA_COUNT &&
               (word & isa_table[expected].mask) != isa_table[expected].match)
            expected++;
        assert_int_equal(isa_decode(word), expected);
    }
}

static void registers_have_names(void **state)
{
    static const struct {
        const char *name;
        int number;
    } list[] = {
        {"0", 0},   {"31", 31}, {"zero", 0}, {"sp", 29}, {"fp", 30}, {"s8", 30}, {"ra", 31},
        {"r7", 7},  {"32", -1}, {"07", -1},  {"t10", -1}, {"", -1},  {"r32", -1}, {"T0", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        assert_int_equal(isa_register_find(list[i].name, strlen(list[i].name)), list[i].number);
    for (int i = 0; i < 32; i++)
        assert_int_equal(isa_register_find(isa_register_names[i] + 1,
                                           strlen(isa_register_names[i]) - 1),
                         i);
    assert_int_equal(isa_fpu_register_find("f31", 3), 31);
    assert_int_equal(isa_fpu_register_find("f32", 3), -1);
}

static const char *symbol(void *context, uint32_t address, uint32_t *offset)
{
    uint32_t base = *(uint32_t *)context;

    if (address < base)
        return NULL;
    *offset = address - base;
    return "main";
}

static const char *string(void *context, uint32_t index)
{
    (void)context;
    return index == 0 ? "a \"b\\" : NULL;
}

static void text_is_readable(void **state)
{
    static const struct {
        uint32_t word;
        const char *text;
    } list[] = {
        {0x00000000, "nop"},
        {0x24080005, "addiu $t0, $zero, 5"},
        {0x8fabfffc, "lw $t3, -4($sp)"},
        {0x1000fffe, "beq $zero, $zero, main+4"},
        {0x0c100000, "jal main"},
        {0x08000000, "j 0x00000000"},
        {0x40086000, "mfc0 $t0, $Status"},
        {0x40086001, "mfc0 $t0, $12, 1"},
        {0x0320f809, "jalr $t9"},
        {0x03202009, "jalr $a0, $t9"},
        {0x0000000d, "break"},
        {0x000001cd, "break 0, 7"},
        {0x4624103c, "c.lt.d $f2, $f4"},
        {0x4624113c, "c.lt.d $fcc1, $f2, $f4"},
        {0x7c8a1900, "ext $t2, $a0, 4, 4"},
        {0x70000011, "SNAPSHOT \"a \\\"b\\\\\""},
        {0x70000010, "DUMP_PROCESSOR_STATE"},
        {0xffffffff, ".word 0xffffffff"},
    };
    uint32_t base = 0x400000;
    struct isa_names names = {.symbol = symbol, .string = string, .context = &base};
    char text[ISA_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        isa_disassemble(list[i].word, 0x400008, &names, text, sizeof text);
        assert_string_equal(text, list[i].text);
    }
    /* What does not fit is cut, and nothing is written behind it. */
    char small[8] = "#######";
    isa_disassemble(0x24080005, 0, NULL, small, 5);
    assert_string_equal(small, "addi");
    assert_int_equal(small[5], '#');
}

/* Doubles take even registers; the assembler refuses others. */
static uint32_t with_pairs(uint32_t word)
{
    const struct isa_entry *entry = &isa_table[isa_decode(word)];
    uint32_t odd = 1u << 6 | 1u << 11 | 1u << 16 | 1u << 21;

    return entry->flags & ISA_FPU ? word & ~(odd & ~entry->mask) : word;
}

/* Random words of each instruction: text and back. A pseudo-instruction must not get in. */
static void disassembly_assembles_to_the_same_word(void **state)
{
    enum { PER_ENTRY = 40, ALL = ISA_COUNT * PER_ENTRY };
    static uint32_t words[ALL];
    uint32_t base = 0, seed = 7;
    struct isa_names names = {.string = string, .context = &base};
    char *source = malloc((size_t)ALL * ISA_TEXT);
    size_t len = 0;

    (void)state;
    assert_non_null(source);
    for (unsigned i = 0; i < ALL; i++) {
        char text[ISA_TEXT];
        uint32_t word = with_pairs(random_word((enum isa_insn)(i / PER_ENTRY), &seed));
        if (isa_decode(word) == ISA_SNAPSHOT)
            word = isa_table[ISA_SNAPSHOT].match;
        isa_disassemble(word, MACHINE_TEXT + 4 * i, &names, text, sizeof text);
        words[i] = word;
        len += (size_t)sprintf(source + len, "%s\n", text);
    }
    struct asm_source one = {"generated", source, len};
    struct asm_options options = {0};
    struct machine_program program;
    struct asm_errors errors;
    if (asm_assemble(&one, 1, &options, &program, &errors) != 0) {
        char text[1024];
        asm_error_format(&errors.list[0], text, sizeof text);
        fail_msg("%s", text);
    }
    assert_int_equal(program.segments[0].bytes, 4 * ALL);
    for (unsigned i = 0; i < ALL; i++) {
        const uint8_t *at = program.segments[0].data + 4 * (size_t)i;
        uint32_t word = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16;
        word |= (uint32_t)at[3] << 24;
        if (word != words[i])
            fail_msg("%s: 0x%08x became 0x%08x", isa_table[i / PER_ENTRY].mnemonic, words[i], word);
    }
    asm_errors_free(&errors);
    machine_program_free(&program);
    free(source);
}

/*
 * One line of objdump as we would write it: other names of the same instruction, numbers as
 * hexadecimal, and the columns between.
 */
static bool same_as_objdump(const char *theirs, const char *ours)
{
    static const char *const other_names[][2] = {{"rorv ", "rotrv "}, {"ror ", "rotr "}};
    char normal[2][160];

    for (int side = 0; side < 2; side++) {
        const char *at = side == 0 ? theirs : ours;
        size_t n = 0;
        for (size_t i = 0; i < 2 && side == 0; i++) {
            if (strncmp(at, other_names[i][0], strlen(other_names[i][0])) == 0) {
                n = (size_t)sprintf(normal[0], "%s", other_names[i][1]);
                at += strlen(other_names[i][0]);
            }
        }
        while (*at != 0 && *at != '\n' && n < 100) {
            bool number = (*at >= '0' && *at <= '9') || (*at == '-' && at[1] >= '0');
            bool inside = n > 0 && strchr(" ,(", normal[side][n - 1]) != NULL;
            if (number && inside) {
                char *end;
                long value = strtol(at, &end, 0);
                n += (size_t)sprintf(normal[side] + n, "%x", (unsigned)value);
                at = end;
            } else if (*at == ' ' && n > 0 && (normal[side][n - 1] == ',' || at[1] == ' ')) {
                at++;
            } else {
                normal[side][n++] = *at++;
            }
        }
        while (n > 0 && normal[side][n - 1] == ' ')
            n--;
        normal[side][n] = 0;
    }
    return strcmp(normal[0], normal[1]) == 0;
}

/* Words that binutils show otherwise on purpose, or that it does not know. */
static bool comparable(uint32_t word)
{
    switch (isa_decode(word)) {
    case ISA_DUMP:
    case ISA_SNAPSHOT:
    case ISA_DIV:  /* objdump writes a $0 that is no operand */
    case ISA_DIVU:
    case ISA_SUB:  /* neg and negu */
    case ISA_SUBU:
        return false;
    case ISA_CLZ: /* two results: no instruction here */
    case ISA_CLO:
    case ISA_EXT: /* fields of no bits, or behind bit 31 */
    case ISA_INS: {
        char text[ISA_TEXT];
        isa_disassemble(word, 0, NULL, text, sizeof text);
        return text[0] != '.';
    }
    default:
        return true;
    }
}

#define OBJDUMP                                                         \
    "mips-linux-gnu-objdump -D -z -b binary -m mips:isa32r2 -EB "       \
    "-M no-aliases,reg-names=numeric,cp0-names=numeric,hwr-names=numeric "

static void binutils_agree(void **state)
{
    enum { WORDS = ISA_COUNT * 60 };
    static uint32_t words[WORDS];
    char path[] = "/tmp/test-isa-XXXXXX", command[256], line[256], ours[ISA_TEXT];
    struct isa_names names = {.numeric = true};
    uint32_t seed = 99;
    unsigned n = 0;

    (void)state;
    if (system("mips-linux-gnu-objdump --version >/dev/null 2>&1") != 0)
        skip();
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < WORDS; i++) {
        words[i] = random_word((enum isa_insn)(i % ISA_COUNT), &seed);
        uint8_t bytes[4] = {(uint8_t)(words[i] >> 24), (uint8_t)(words[i] >> 16),
                            (uint8_t)(words[i] >> 8), (uint8_t)words[i]};
        assert_int_equal(write(fd, bytes, 4), 4);
    }
    close(fd);
    snprintf(command, sizeof command, OBJDUMP "%s", path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    while (fgets(line, sizeof line, pipe) != NULL) {
        unsigned address, word;
        char text[160];
        int used = 0;
        if (sscanf(line, " %x:\t%8x \t%n", &address, &word, &used) < 2 || used == 0)
            continue;
        /* The mnemonic is followed by a tab. */
        snprintf(text, sizeof text, "%s", line + used);
        for (char *tab = text; (tab = strchr(tab, '\t')) != NULL;)
            *tab = ' ';
        assert_true(n < WORDS);
        assert_int_equal(word, words[n]);
        isa_disassemble(word, address, &names, ours, sizeof ours);
        if (comparable(word) && word != 0 && !same_as_objdump(text, ours))
            fail_msg("0x%08x: '%s' there, '%s' here", word, text, ours);
        n++;
    }
    pclose(pipe);
    unlink(path);
    assert_int_equal(n, WORDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_sound),
        cmocka_unit_test(entries_do_not_overlap),
        cmocka_unit_test(decoder_agrees_with_masks),
        cmocka_unit_test(registers_have_names),
        cmocka_unit_test(text_is_readable),
        cmocka_unit_test(disassembly_assembles_to_the_same_word),
        cmocka_unit_test(binutils_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
