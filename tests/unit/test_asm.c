/*
 * The assembler: dialects, directives, macros, pseudo-instructions, errors with their
 * places, limits, and images. Pseudo-instructions are compared with the instructions that
 * they stand for; where binutils for MIPS are installed, whole programs are compared.
 */
#include "machine/asm/asm.h"
#include "machine/image.h"
#include "machine/isa/isa.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int assemble_with(const char *text, const struct asm_options *options,
                         struct machine_program *program, struct asm_errors *errors)
{
    struct asm_source source = {"test.s", text, strlen(text)};

    return asm_assemble(&source, 1, options, program, errors);
}

static struct machine_program assemble(const char *text, const struct asm_options *options)
{
    static const struct asm_options none;
    struct machine_program program;
    struct asm_errors errors;

    if (assemble_with(text, options != NULL ? options : &none, &program, &errors) != 0) {
        char message[1024];
        asm_error_format(&errors.list[0], message, sizeof message);
        fail_msg("%s\nin:\n%s", message, text);
    }
    assert_int_equal(errors.count, 0);
    asm_errors_free(&errors);
    return program;
}

static const struct machine_segment *segment(const struct machine_program *program,
                                             enum machine_segment_kind kind)
{
    for (size_t i = 0; i < program->nsegments; i++) {
        if (program->segments[i].kind == kind)
            return &program->segments[i];
    }
    fail_msg("no segment of kind %d", (int)kind);
    return NULL;
}

static uint32_t symbol(const struct machine_program *program, const char *name)
{
    for (size_t i = 0; i < program->nsymbols; i++) {
        if (strcmp(program->symbols[i].name, name) == 0)
            return program->symbols[i].address;
    }
    fail_msg("no symbol %s", name);
    return 0;
}

/* Both texts become the same text segment. */
static void same_code(const char *pseudo, const char *native, const struct asm_options *options)
{
    struct machine_program a = assemble(pseudo, options), b = assemble(native, options);
    const struct machine_segment *x = segment(&a, SEGMENT_TEXT), *y = segment(&b, SEGMENT_TEXT);

    for (uint32_t i = 0; i + 4 <= x->bytes && i + 4 <= y->bytes; i += 4) {
        if (memcmp(x->data + i, y->data + i, 4) != 0)
            fail_msg("%s: word %u differs", pseudo, i / 4);
    }
    if (x->bytes != y->bytes)
        fail_msg("%s: %u bytes instead of %u", pseudo, x->bytes, y->bytes);
    machine_program_free(&a);
    machine_program_free(&b);
}

static void simple_dialect(void **state)
{
    struct machine_program program = assemble("li $1,6\n"
                                              "add $4,$7,$6\n"
                                              "or $11,$4,100\n"
                                              "mul $3 $4 300   # no commas, and two words\n"
                                              "srl $12,$7,10\n"
                                              "DUMP_PROCESSOR_STATE\n"
                                              "SNAPSHOT  dir/my file.bin  # a path\n"
                                              "snapshot \"dir/my file.bin\"\n",
                                              NULL);

    (void)state;
    assert_true(program.simple);
    assert_int_equal(program.entry, MACHINE_TEXT);
    assert_int_equal(program.nstrings, 1);
    assert_string_equal(program.strings[0], "dir/my file.bin");
    /* One line for each instruction as written: legacy snapshots count them. */
    assert_int_equal(program.nlines, 8);
    assert_int_equal(program.lines[3].address, MACHINE_TEXT + 12);
    assert_int_equal(program.lines[4].address, MACHINE_TEXT + 20);
    assert_int_equal(program.lines[7].line, 8);
    assert_false(program.returns);
    machine_program_free(&program);
    program = assemble("main: li $1, 6", NULL);
    assert_false(program.simple);
    assert_true(program.returns);
    machine_program_free(&program);
    program = assemble("main: jr $ra\n__start: li $1, 6", NULL);
    assert_false(program.returns);
    machine_program_free(&program);
    program = assemble("li $1, 6\njr $ra", NULL);
    assert_false(program.simple);
    machine_program_free(&program);
}

static void pseudo_instructions(void **state)
{
    static const char *const list[][2] = {
        {"li $t0, 5", "addiu $t0, $0, 5"},
        {"li $t0, 0xffffffff", "addiu $t0, $0, -1"},
        {"li $t0, 40000", "ori $t0, $0, 40000"},
        {"li $t0, 0x10000", "lui $t0, 1"},
        {"li $t0, 0x12345678", "lui $t0, 0x1234; ori $t0, $t0, 0x5678"},
        {"li $t0, -32769", "lui $t0, 0xffff; ori $t0, $t0, 0x7fff"},
        {"move $t0, $t1", "addu $t0, $0, $t1"},
        {"not $t0", "nor $t0, $t0, $0"},
        {"neg $t0, $t1", "sub $t0, $0, $t1"},
        {"negu $t0, $t1", "subu $t0, $0, $t1"},
        {"abs $t0, $t1", "sra $at, $t1, 31; xor $t0, $t1, $at; subu $t0, $t0, $at"},
        {"add $t0, $t1, -5", "addi $t0, $t1, -5"},
        {"add $t0, $t1, 100000", "lui $t0, 1; ori $t0, $t0, 0x86a0; add $t0, $t1, $t0"},
        {"addi $t0, $t0, 100000", "lui $at, 1; ori $at, $at, 0x86a0; add $t0, $t0, $at"},
        {"addu $t0, $t1", "addu $t0, $t0, $t1"},
        {"sub $t0, $t1, 5", "addi $t0, $t1, -5"},
        {"sub $t0, $t1, -32768", "addiu $t0, $0, -32768; sub $t0, $t1, $t0"},
        {"sub $t0, $t1, 0x80000000", "lui $t0, 0x8000; sub $t0, $t1, $t0"},
        {"and $t0, $t0, -5", "addiu $at, $0, -5; and $t0, $t0, $at"},
        {"or $t0, $t1, 0xffff", "ori $t0, $t1, 0xffff"},
        {"slt $t0, $t1, 3", "slti $t0, $t1, 3"},
        {"mul $t0, $t0, 3", "addiu $at, $0, 3; mul $t0, $t0, $at"},
        {"sll $t0, $t1, $t2", "sllv $t0, $t1, $t2"},
        {"rol $t0, $t1, 5", "rotr $t0, $t1, 27"},
        {"rol $t0, $t1, $t2", "subu $at, $0, $t2; rotrv $t0, $t1, $at"},
        {"ror $t0, $t1, $t2", "rotrv $t0, $t1, $t2"},
        {"seq $t0, $t1, $t2", "subu $t0, $t1, $t2; sltiu $t0, $t0, 1"},
        {"sne $t0, $t1, $t2", "subu $t0, $t1, $t2; sltu $t0, $0, $t0"},
        {"sge $t0, $t1, $t2", "slt $t0, $t1, $t2; xori $t0, $t0, 1"},
        {"sgtu $t0, $t1, $t2", "sltu $t0, $t2, $t1"},
        {"sle $t0, $t1, 7", "addiu $at, $0, 7; slt $t0, $at, $t1; xori $t0, $t0, 1"},
        {"div $t0, $t1, $t2", "teq $t2, $0, 7; div $t1, $t2; mflo $t0"},
        {"remu $t0, $t1, 3", "addiu $at, $0, 3; divu $t1, $at; mfhi $t0"},
        {"div $0, $t1, $t2", "div $t1, $t2"},
        {"mulo $t0, $t1, $t2",
         "mult $t1, $t2; mfhi $at; mflo $t0; sra $t0, $t0, 31; tne $at, $t0, 6; mflo $t0"},
        {"mulou $t0, $t1, $t2", "multu $t1, $t2; mfhi $at; mflo $t0; tne $at, $0, 6"},
        {"x: bge $t0, $t1, x", "x: slt $at, $t0, $t1; beq $at, $0, x"},
        {"x: bgt $t0, $t1, x", "x: slt $at, $t1, $t0; bne $at, $0, x"},
        {"x: ble $t0, 5, x", "x: addiu $at, $0, 5; slt $at, $at, $t0; beq $at, $0, x"},
        {"x: blt $t0, 5, x", "x: slti $at, $t0, 5; bne $at, $0, x"},
        {"x: bgeu $t0, 5, x", "x: sltiu $at, $t0, 5; beq $at, $0, x"},
        {"x: blt $t0, 0, x", "x: bltz $t0, x"},
        {"x: bgtu $t0, $0, x", "x: sltu $at, $0, $t0; bne $at, $0, x"},
        {"x: beq $t0, 70000, x", "x: lui $at, 1; ori $at, $at, 4464; beq $t0, $at, x"},
        {"x: bnez $t0, x\nb x\nbal x", "x: bne $t0, $0, x\nbeq $0, $0, x\nbgezal $0, x"},
        {"j $ra\njal $t9", "jr $ra\njalr $ra, $t9"},
        {"lw $t0, 0x12348000", "lui $at, 0x1235; lw $t0, -32768($at)"},
        {"sw $t0, 0x10000($t1)", "lui $at, 1; addu $at, $at, $t1; sw $t0, 0($at)"},
        {"lw $t0, ($t1)", "lw $t0, 0($t1)"},
        {"la $t0, 70000($t1)", "lui $t0, 1; ori $t0, $t0, 4464; addu $t0, $t0, $t1"},
        {"la $t0, 4($t1)", "addiu $t0, $t1, 4"},
        {"ulw $t0, 1($t1)", "lwl $t0, 4($t1); lwr $t0, 1($t1)"},
        {"ulw $t0, 1($t0)", "lwl $at, 4($t0); lwr $at, 1($t0); addu $t0, $0, $at"},
        {"usw $t0, 1($t1)", "swl $t0, 4($t1); swr $t0, 1($t1)"},
        {"ulh $t0, 1($t0)", "lbu $at, 1($t0); lb $t0, 2($t0); sll $t0, $t0, 8; or $t0, $t0, $at"},
        {"ulhu $t0, 1($t1)",
         "lbu $at, 1($t1); lbu $t0, 2($t1); sll $t0, $t0, 8; or $t0, $t0, $at"},
        {"ush $t0, 0($t1)", "sb $t0, 0($t1); srl $at, $t0, 8; sb $at, 1($t1)"},
        {"ld $t0, 8($t1)", "lw $t0, 8($t1); lw $t1, 12($t1)"},
        {"ld $t0, 8($t0)", "lw $t1, 12($t0); lw $t0, 8($t0)"},
        {"sd $t0, 8($sp)", "sw $t0, 8($sp); sw $t1, 12($sp)"},
        {"l.d $f2, 8($sp)\ns.s $f3, 0($sp)", "ldc1 $f2, 8($sp)\nswc1 $f3, 0($sp)"},
        {"li.s $f1, -2.5", "lui $at, 0xc020; mtc1 $at, $f1"},
        {"li.d $f2, 1.0", "mtc1 $0, $f2; lui $at, 0x3ff0; mtc1 $at, $f3"},
        {"mfc1.d $t0, $f2", "mfc1 $t0, $f2; mfc1 $t1, $f3"},
        {"teq $t0, 5", "teqi $t0, 5"},
        {"nop\nehb", "sll $0, $0, 0\nsll $0, $0, 3"},
        {"mfc0 $t0, $Status\nmtc0 $t0, $c0_epc", "mfc0 $t0, $12\nmtc0 $t0, $14"},
        {"ADD $t0, $t1, $t2", "add $t0, $t1, $t2"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        same_code(list[i][0], list[i][1], NULL);
}

static void byte_order(void **state)
{
    static const struct asm_options big = {.big_endian = true};

    (void)state;
    same_code("ulw $t0, 1($t1)", "lwl $t0, 1($t1); lwr $t0, 4($t1)", &big);
    same_code("ush $t0, 0($t1)", "sb $t0, 1($t1); srl $at, $t0, 8; sb $at, 0($t1)", &big);
    struct machine_program program =
        assemble(".data\n.word 0x01020304\n.half 5\n.double 1.0\n.text\nnop", &big);
    static const uint8_t bytes[] = {1, 2, 3, 4, 0, 5, 0, 0, 0x3f, 0xf0};
    const struct machine_segment *data = segment(&program, SEGMENT_DATA);
    assert_int_equal(data->memory_bytes, 16);
    /* Zeros at the end are not stored. */
    assert_int_equal(data->bytes, sizeof bytes);
    assert_memory_equal(data->data, bytes, sizeof bytes);
    machine_program_free(&program);
}

static void data_directives(void **state)
{
    struct machine_program program = assemble("        .data\n"
                                              "a:      .byte 'a', '\\n', -1, 255, '\\''\n"
                                              "h:      .half 1, -2\n"
                                              "w:      .word w, 0x11:3, e - w\n"
                                              "s:      .asciiz \"x\\t\\x41\\101\\0y\"\n"
                                              "d:      .double -0.5\n"
                                              "        .align 0\n"
                                              "        .byte 1\n"
                                              "u:      .word 7\n"
                                              "        .align 3\n"
                                              "        .space 3\n"
                                              "f:      .float 1, 2.5e-1\n"
                                              "e:\n"
                                              "        .data 0x10020000\n"
                                              "far:    .word 9\n"
                                              "        .extern ext 6\n"
                                              "        .text\n"
                                              "__start: lw $t0, ext\n"
                                              "main:   la $t1, far\n",
                                              NULL);

    (void)state;
    assert_int_equal(symbol(&program, "h"), MACHINE_DATA + 6);
    assert_int_equal(symbol(&program, "w"), MACHINE_DATA + 12);
    assert_int_equal(symbol(&program, "d"), MACHINE_DATA + 40);
    assert_int_equal(symbol(&program, "u"), MACHINE_DATA + 49);
    /* .align 0 ends the alignment: .float stays where .space ends. */
    assert_int_equal(symbol(&program, "f"), MACHINE_DATA + 59);
    assert_int_equal(symbol(&program, "far"), 0x10020000);
    assert_int_equal(symbol(&program, "ext"), MACHINE_EXTERN);
    assert_int_equal(program.entry, symbol(&program, "__start"));
    const uint8_t *data = program.segments[2].data;
    assert_int_equal(program.segments[2].address, MACHINE_DATA);
    static const uint8_t head[] = {'a', '\n', 255, 255, '\'', 0, 1, 0, 254, 255, 0, 0,
                                   0x0c, 0, 1, 0x10, 0x11, 0, 0, 0, 0x11, 0, 0, 0,
                                   0x11, 0, 0, 0, 55, 0, 0, 0, 'x', '\t', 'A', 'A', 0, 'y', 0};
    assert_memory_equal(data, head, sizeof head);
    machine_program_free(&program);
}

static void expressions(void **state)
{
    static const struct {
        const char *text;
        uint32_t value;
    } list[] = {
        {"1 + 2 * 3", 7},        {"(1 + 2) * 3", 9},      {"-7 / 2", (uint32_t)-3},
        {"-7 % 3", (uint32_t)-1}, {"1 << 4 | 1", 17},     {"0xff & ~0xf", 0xf0},
        {"6 ^ 3", 5},            {"'a' + 1", 98},         {"0b101 - 010", (uint32_t)-3},
        {"10 - 3 - 2", 5},       {"K * 2", 84},           {"K%5", 2},
        {"10 %K", 10},           {"x + 8 - x", 8},        {"%hi(0x12348000)", 0x1235},
        {"%lo(0x12348000)", 0x8000}, {"2 >> 1", 1},       {"- - 3", 3},
        {"1 | 6 ^ 3 & 2", 5},    {"1 + 1 << 2", 8},       {"7 - 2 * 3 % 4", 5},
        {"~0 & 0xffffffff", 0xffffffff}, {"0x100000000 - 1", 0xffffffff},
    };
    char text[200];

    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        snprintf(text, sizeof text, "K = 42\nnop\n.data\nx: .word %s, 1", list[i].text);
        struct machine_program program = assemble(text, NULL);
        const uint8_t *at = segment(&program, SEGMENT_DATA)->data;
        uint32_t value = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16;
        value |= (uint32_t)at[3] << 24;
        if (value != list[i].value)
            fail_msg("%s is 0x%x, not 0x%x", list[i].text, value, list[i].value);
        machine_program_free(&program);
    }
}

static void macros_and_names(void **state)
{
    (void)state;
    same_code(".eqv LIMIT 20\n.eqv CTR $t2\n.eqv TWICE LIMIT * 2\nli CTR, TWICE + 1",
              "addiu $t2, $0, 41", NULL);
    same_code(".macro count(%r, %n)\nagain: addi %r, %r, %n\nbne %r, $0, again\n.end_macro\n"
              "count($t0, 1)\ncount $t1, -2\ncount $t2 3",
              "a: addi $t0, $t0, 1\nbne $t0, $0, a\nb: addi $t1, $t1, -2\nbne $t1, $0, b\n"
              "c: addi $t2, $t2, 3\nbne $t2, $0, c",
              NULL);
    /* The number of arguments belongs to the name; macros use macros. */
    same_code(".macro one\nnop\n.end_macro\n.macro one(%x)\none\nli $t0, %x\n.end_macro\none(5)",
              "nop\naddiu $t0, $0, 5", NULL);
    same_code(".macro get(%a)\nlw $t0, %a\n.end_macro\nget(4($sp))", "lw $t0, 4($sp)", NULL);
    /* Labels like those of compilers. */
    same_code("$L2: b $L2", "x: b x", NULL);
    same_code(".set N, 3\n.equ M, N + 1\nli $t0, M", "li $t0, 4", NULL);
    /* Options of other assemblers that change nothing here. */
    same_code(".set noat\n.set at\n.set at=$k0\n.set nomacro\n.set macro\n.set push\n.set pop\n"
              ".set mips32r2\n.set arch=mips32\n.set volatile\nnop",
              "nop", NULL);
}

static void numeric_labels(void **state)
{
    struct machine_program program;

    (void)state;
    same_code("1: b 1b\nb 1f\nb 1b\n1: b 1b\n b 2f\n2: 3: b 1b\nb 3b",
              "a: b a\nb c\nb a\nc: b c\nb d\nd: b c\nb d", NULL);
    /* A use in the arguments of a macro belongs to the line that uses the macro. */
    same_code(".macro m(%x)\n1: b %x\nb 1b\n1: nop\n.end_macro\n1: nop\nm(1b)\nb 1b",
              "a: nop\nb: b a\nb b\nc: nop\nb c", NULL);
    same_code(".eqv BACK 1b\n1: nop\nb BACK\n1: b BACK", "a: nop\nb a\nb: b b", NULL);
    /* Numbers that look alike stay numbers. */
    same_code("1: li $t0, 0b1\nli $t1, 0x1f\nli $t2, 0x1b", "li $t0, 1\nli $t1, 31\nli $t2, 27",
              NULL);
    /* They are no names of the program. */
    program = assemble("main: nop\n1: b 1b\n.data\n1: .word 1b, 1f\n1: .word 3", NULL);
    assert_int_equal(program.nsymbols, 1);
    const uint8_t *data = segment(&program, SEGMENT_DATA)->data;
    assert_int_equal(data[0], 0);
    assert_int_equal(data[4], 8);
    assert_false(program.simple);
    machine_program_free(&program);
}

static void reals(void **state)
{
    static const struct {
        const char *text;
        uint32_t single;
        uint64_t twice;
    } list[] = {
        {"1.5", 0x3fc00000, 0x3ff8000000000000},
        {"-2.5e-1", 0xbe800000, 0xbfd0000000000000},
        {"1E+3", 0x447a0000, 0x408f400000000000},
        {".5", 0x3f000000, 0x3fe0000000000000},
        {"2.", 0x40000000, 0x4000000000000000},
        {"3", 0x40400000, 0x4008000000000000},
        {"-0.0", 0x80000000, 0x8000000000000000},
        {"inf", 0x7f800000, 0x7ff0000000000000},
        {"-Infinity", 0xff800000, 0xfff0000000000000},
        {"NaN", 0x7fc00000, 0x7ff8000000000000},
        {"3.4028234663852886e38", 0x7f7fffff, 0x47efffffe0000000},
        {"0.5e-149", 0, 0x20f05df0a267bcc9},
    };
    char text[200];

    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        snprintf(text, sizeof text, "nop\n.data\n.float %s, 1.0\n.double %s, 1.0", list[i].text,
                 list[i].text);
        struct machine_program program = assemble(text, NULL);
        const uint8_t *data = segment(&program, SEGMENT_DATA)->data;
        uint32_t single;
        uint64_t twice;
        memcpy(&single, data, sizeof single);
        memcpy(&twice, data + 8, sizeof twice);
        if (single != list[i].single || twice != list[i].twice)
            fail_msg("%s: %08x %016llx", list[i].text, single, (unsigned long long)twice);
        machine_program_free(&program);
    }
}

/* The mark stands below its character, however many bytes and columns those before have. */
static void marks_line_up(void **state)
{
    static const struct {
        const char *text, *shown;
    } list[] = {
        {"\t\tfoo", "      foo\n      ^"},
        {".ascii \"\xc3\xa9\xc3\xa8\" x", "    .ascii \"\xc3\xa9\xc3\xa8\" x\n                ^"},
        {".ascii \"\xe4\xb8\xad\" x", "    .ascii \"\xe4\xb8\xad\" x\n                ^"},
        {".ascii \"e\xcc\x81\" x", "    .ascii \"e\xcc\x81\" x\n               ^"},
        {".ascii \"\xff\xc2\x90\x1b\" x", "    .ascii \"??? \" x\n                  ^"},
        {".ascii \"\xed\xa0\x80\" x", "    .ascii \"???\" x\n                 ^"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        static const struct asm_options options;
        struct machine_program program;
        struct asm_errors errors;
        char text[600];
        assert_int_equal(assemble_with(list[i].text, &options, &program, &errors), -1);
        asm_error_format(&errors.list[0], text, sizeof text);
        const char *shown = strchr(text, '\n');
        assert_non_null(shown);
        assert_string_equal(shown + 1, list[i].shown);
        asm_errors_free(&errors);
    }
}

/* A mark that editors put first is no part of the text. */
static void byte_order_mark(void **state)
{
    (void)state;
    same_code("\xef\xbb\xbfnop\r\nnop\r\n", "nop\nnop", NULL);
}

static void scopes_of_sources(void **state)
{
    static const char first[] = ".globl main\nmain: jal work\nx: b x\n";
    static const char second[] = ".globl work\nwork: b x\nx: jr $ra\n";
    struct asm_source sources[] = {{"one.s", first, strlen(first)},
                                   {"two.s", second, strlen(second)}};
    struct asm_options options = {0};
    struct machine_program program;
    struct asm_errors errors;

    (void)state;
    assert_int_equal(asm_assemble(sources, 2, &options, &program, &errors), 0);
    assert_int_equal(program.entry, symbol(&program, "main"));
    assert_int_equal(symbol(&program, "work"), MACHINE_TEXT + 8);
    assert_int_equal(program.nfiles, 2);
    assert_string_equal(program.files[program.lines[2].file], "two.s");
    asm_errors_free(&errors);
    machine_program_free(&program);
    /* Without .globl the other source does not see it. */
    sources[1] = (struct asm_source){"two.s", "work: nop", 9};
    assert_int_equal(asm_assemble(sources, 2, &options, &program, &errors), -1);
    assert_non_null(strstr(errors.list[0].message, "'work' is not defined"));
    asm_errors_free(&errors);
}

static void delay_slots(void **state)
{
    static const struct asm_options delayed = {.delayed_branches = true};
    struct machine_program program;

    (void)state;
    same_code("x: bge $t0, $t1, x\njr $ra", "x: slt $at, $t0, $t1\nbeq $at, $0, x\njr $ra",
              &delayed);
    /* The source fills the slots, as SPIM's option has it, unless it asks for the assembler. */
    program = assemble("x: b x\njr $ra", &delayed);
    assert_true(program.delayed_branches);
    assert_int_equal(segment(&program, SEGMENT_TEXT)->bytes, 8);
    machine_program_free(&program);
    program = assemble(".set reorder\nx: b x\njr $ra", &delayed);
    assert_true(program.delayed_branches);
    assert_int_equal(segment(&program, SEGMENT_TEXT)->bytes, 16);
    machine_program_free(&program);
    program = assemble(".set noreorder\nx: b x\nnop\n.set reorder\njr $ra", NULL);
    assert_true(program.delayed_branches);
    assert_int_equal(segment(&program, SEGMENT_TEXT)->bytes, 16);
    machine_program_free(&program);
}

static void targets_out_of_reach(void **state)
{
    static const struct asm_options delayed = {.delayed_branches = true};
    static const char jump[] = "lui $at, 0x8000; ori $at, $at, 0x180;";
    char native[200];

    (void)state;
    snprintf(native, sizeof native, "%s jalr $ra, $at\n%s jr $at", jump, jump);
    same_code("jal handler\nj handler\n.ktext\nhandler: eret", native, NULL);
    same_code("x: beq $t0, $t1, y\nnop\n.space 0x20000\ny: nop",
              "bne $t0, $t1, 0x400010; lui $at, 0x42; ori $at, $at, 0x14; jr $at; nop\n"
              ".space 0x20000\nnop",
              NULL);
    struct machine_program program =
        assemble("x: beq $t0, $t1, y\nnop\n.space 0x20000\ny: nop", &delayed);
    assert_int_equal(symbol(&program, "y"), MACHINE_TEXT + 0x20000 + 24);
    machine_program_free(&program);
    program = assemble(".set reorder\nx: beq $t0, $t1, y\nnop\n.space 0x20000\ny: nop", &delayed);
    assert_int_equal(symbol(&program, "y"), MACHINE_TEXT + 0x20000 + 28);
    machine_program_free(&program);
}

static void errors_have_places(void **state)
{
    static const struct {
        const char *text;
        uint32_t line, column;
        const char *message;
    } list[] = {
        {"ad $t0, $t1, $t2", 1, 1, "unknown instruction 'ad'; did you mean 'add'?"},
        {"nop\n  foo", 2, 3, "unknown instruction 'foo'"},
        {"lw $t0, labl\nlabel: nop", 1, 9, "'labl' is not defined; did you mean 'label'?"},
        {"move $tt0, $t1", 1, 6, "unknown register '$tt0'; did you mean '$t0'?"},
        {"x: nop\nx: nop", 2, 1, "'x' is defined twice; the first time in test.s:1"},
        {".bytte 3", 1, 1, "unknown directive '.bytte'; did you mean '.byte'?"},
        {".data\nnop", 2, 1, "expected .text"},
        {".data\n.byte 256", 2, 7, "256 does not fit in 1 byte: expected -128 to 255"},
        {".data\n.asciiz \"abc", 2, 9, "the string does not end"},
        {".data\n.asciiz \"a\\qc\"", 2, 12, "unknown escape"},
        {"sll $t0, $t1, 32", 1, 15, "expected a shift by 0 to 31"},
        {"add.d $f1, $f2, $f4", 1, 7, "even register"},
        {"add.s $t0, $f2, $f4", 1, 7, "expected a register of the FPU"},
        {"addu $t0, $f1, $t1", 1, 11, "expected a register"},
        {"li $t0, 0x123456789", 1, 9, "does not fit in 32 bits"},
        {"lui $t0, 70000", 1, 10, "70000 is out of range: expected -32768 to 65535"},
        {"tgei $t0, 40000", 1, 11, "40000 is out of range: expected -32768 to 32767"},
        {"beq $t0, $t1", 1, 1, "'beq' takes 3 operands, not 2"},
        {"j 3", 1, 3, "no multiple of 4"},
        {"nop nop", 1, 5, "'nop' is not defined"},
        {".macro m(%x)\nli %x, q\n.end_macro\nm($t0)", 2, 8, "in macro 'm', used in test.s:4"},
        {".macro m(%x)\n.end_macro\nm(1,2)", 3, 1, "takes 1 argument, not 2"},
        {".macro m\nnop", 2, 0, "expected .end_macro"},
        {".macro m\nm\n.end_macro\nm", 2, 0, "a macro that uses itself"},
        {".include \"x\"", 1, 10, "cannot include"},
        {"b 1f", 1, 3, "there is no label '1:' behind this line"},
        {"1: nop\nb 1f", 2, 3, "there is no label '1:' behind this line"},
        {"b 2b\n2: nop", 1, 3, "there is no label '2:' before this line"},
        {"1: add $t0, 1b, 3", 1, 13, "expected a register ($0 to $31, $t0 and so on), not '1:'"},
        {"1: .globl 1b", 1, 11, "expected a name"},
        {"nop\n.globl", 2, 7, "expected a name"},
        {"0x1: nop", 1, 1, "expected an instruction, a directive or a label"},
        {"li $t0, 0x7fffffffffffffff + 1", 1, 28, "does not fit in 64 bits"},
        {"li $t0, 0x7fffffffffffffff * 3", 1, 28, "does not fit in 64 bits"},
        {"li $t0, -0x7fffffffffffffff - 2", 1, 29, "does not fit in 64 bits"},
        {"li $t0, (1 << 63) / -1", 1, 19, "does not fit in 64 bits"},
        {".data\n.double 1e309", 2, 9, "does not fit in a double"},
        {".data\n.float 1e39", 2, 8, "does not fit in a .float"},
        {".data\n.float fast", 2, 8, "expected a number like 1.5, not 'fast'"},
        {".extern x 70000", 1, 11, "70000 is out of range: expected 0 to 65536"},
        {".data\n.space -1", 2, 8, "-1 is out of range"},
        {".eqv X", 1, 1, "expected .eqv NAME REPLACEMENT"},
        {".set frobnicate", 1, 6, "expected noreorder"},
        {".macro a\n.macro b\n.end_macro", 2, 1, "expected .end_macro before another .macro"},
        {".end_macro", 1, 1, ".end_macro without .macro"},
        {"nop\n@", 2, 1, "unexpected character"},
        {"li $t0, (5", 1, 11, "expected )"},
        {"li $t0, 5 / 0", 1, 11, "division by zero"},
        {"li $t0, 09", 1, 9, "octal"},
        {"li $t0, 5,", 1, 11, "expected an operand after the comma"},
        {"ext $t0, $t1, 30, 5", 1, 19, "5 is out of range: expected 1 to 2"},
        {"add $1, $1, 100000", 1, 5, "need $at"},
        {".text 2", 1, 7, "multiple of 4"},
        {".byte 1\nnop", 2, 1, "expected .align 2"},
        {".data\n.space 100000000", 2, 0, "larger than"},
        {".data 0x10010000\n.word 1\n.data 0x10010000\n.word 2\n.text\nnop", 3, 0, "overlap"},
        {".data\n.word 1", 0, 0, "no instructions"},
        {"", 0, 0, "no instructions"},
        {".align 99\nnop", 1, 8, "99 is out of range"},
        {"SNAPSHOT", 1, 1, "takes 1 operand"},
        {"x = y + 1\ny = x + 1\nli $t0, x", 0, 0, "do not settle"},
        {"bltzall $t0, x\n.space 0x20000\nx: nop", 1, 14, "too far away"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        static const struct asm_options options;
        struct machine_program program;
        struct asm_errors errors;
        if (assemble_with(list[i].text, &options, &program, &errors) == 0)
            fail_msg("accepted: %s", list[i].text);
        const struct asm_error *e = &errors.list[0];
        bool place = list[i].line == 0 || (e->line == list[i].line &&
                                           (list[i].column == 0 || e->column == list[i].column));
        if (!place || strstr(e->message, list[i].message) == NULL)
            fail_msg("%s\n%u:%u: %s", list[i].text, e->line, e->column, e->message);
        asm_errors_free(&errors);
    }
}

/* The same bad line, `n` times. */
static char *repeated(const char *line, unsigned n)
{
    char *text = calloc(n, strlen(line) + 1);

    assert_non_null(text);
    for (size_t i = 0, at = 0; i < n; i++)
        at += (size_t)sprintf(text + at, "%s", line);
    return text;
}

static void all_errors_are_reported(void **state)
{
    static const struct asm_options options;
    struct machine_program program;
    struct asm_errors errors;
    char text[600];

    (void)state;
    assert_int_equal(assemble_with("\tli $t0, (5\n.data\nx: .byte 300\nx: .word q\n", &options,
                                   &program, &errors),
                     -1);
    assert_int_equal(errors.count, 4);
    for (size_t i = 1; i < errors.count; i++)
        assert_true(errors.list[i].line >= errors.list[i - 1].line);
    asm_error_format(&errors.list[0], text, sizeof text);
    assert_string_equal(text, "test.s:1:12: expected )\n     li $t0, (5\n               ^");
    assert_int_equal(asm_error_format(&errors.list[0], text, 10), 9);
    asm_errors_free(&errors);

    char *many = repeated("foo $t0\n", 130);
    assert_int_equal(assemble_with(many, &options, &program, &errors), -1);
    assert_int_equal(errors.count, ASM_ERRORS_MAX);
    assert_int_equal(errors.more, 30);
    asm_errors_free(&errors);
    free(many);
}

static void limits_hold(void **state)
{
    static const struct asm_options options;
    static const char doubling[] = ".eqv A nop nop\n.eqv B A A\n.eqv C B B\n.eqv D C C\n"
                                   ".eqv E D D\n.eqv F E E\n.eqv G F F\n.eqv H G G\n"
                                   ".eqv I H H\n.eqv J I I\n.eqv K J J\n.eqv L K K\n"
                                   ".eqv M L L\nM";
    struct machine_program program;
    struct asm_errors errors;

    (void)state;
    assert_int_equal(assemble_with(doubling, &options, &program, &errors), -1);
    assert_non_null(strstr(errors.list[0].message, "too long"));
    asm_errors_free(&errors);
    /* Parentheses that would use up the stack. */
    char *deep = malloc(100100);
    assert_non_null(deep);
    memset(deep, '(', 100000);
    memcpy(deep, "li $t0,", 7);
    strcpy(deep + 4000, "1");
    assert_int_equal(assemble_with(deep, &options, &program, &errors), -1);
    assert_non_null(strstr(errors.list[0].message, "nested too deeply"));
    asm_errors_free(&errors);
    free(deep);
    /* Two uses of two uses of ... */
    char text[4000];
    size_t len = (size_t)sprintf(text, ".macro m0\nnop\n.end_macro\n");
    for (int i = 1; i < 40; i++)
        len += (size_t)sprintf(text + len, ".macro m%d\nm%d\nm%d\n.end_macro\n", i, i - 1, i - 1);
    sprintf(text + len, "m39\n");
    assert_int_equal(assemble_with(text, &options, &program, &errors), -1);
    assert_non_null(strstr(errors.list[0].message, "too many uses of macros"));
    asm_errors_free(&errors);
}

static void images(void **state)
{
    struct machine_program program = assemble(".globl main\nmain: li $t0, 1\nSNAPSHOT a.bin\n"
                                              ".data\nx: .word 1, 2, 0\n.kdata\n.byte 9",
                                              NULL);
    struct machine_program again;
    uint8_t *bytes;
    size_t len;
    const char *why = NULL;

    (void)state;
    assert_int_equal(machine_image_encode(&program, &bytes, &len), 0);
    assert_true(machine_image_recognise(bytes, len));
    assert_int_equal(machine_image_decode(bytes, len, &again, &why), 0);
    assert_int_equal(again.entry, program.entry);
    assert_true(again.returns);
    assert_int_equal(again.nsegments, program.nsegments);
    for (size_t i = 0; i < program.nsegments; i++) {
        assert_int_equal(again.segments[i].address, program.segments[i].address);
        assert_int_equal(again.segments[i].memory_bytes, program.segments[i].memory_bytes);
        assert_memory_equal(again.segments[i].data, program.segments[i].data,
                            program.segments[i].bytes);
    }
    assert_string_equal(again.strings[0], "a.bin");
    assert_string_equal(again.symbols[0].name, program.symbols[0].name);
    machine_program_free(&again);
    /* Cut anywhere, or with something behind it, it is refused. */
    for (size_t n = 0; n < len; n++) {
        uint8_t *cut = malloc(n + 1);
        assert_non_null(cut);
        memcpy(cut, bytes, n);
        assert_int_equal(machine_image_decode(cut, n, &again, &why), -1);
        assert_non_null(why);
        free(cut);
    }
    bytes[8]++;
    assert_int_equal(machine_image_decode(bytes, len, &again, &why), -1);
    assert_string_equal(why, "the image is of another version");
    free(bytes);
    machine_program_free(&program);
}

/* One program that both assemblers understand in the same way: no multi-word forms. */
static const char both_assemblers[] =
    "        .set noreorder\n"
    "        .set noat\n"
    "main:   addiu $29, $29, -32\n"
    "        sw $31, 28($29)\n"
    "loop:   lw $8, %lo(0x12345678)($9)\n"
    "        lui $9, %hi(0x1234f678)\n"
    "        beqz $8, done\n"
    "        nop\n"
    "        bnez $8, loop\n"
    "        b loop\n"
    "1:      beqz $8, 1f\n"
    "        b 1b\n"
    "1:      bnez $8, 1b\n"
    "        b 2f\n"
    "2:      nop\n"
    "        not $4, $5\n"
    "        bal done\n"
    "        negu $6, $7\n"
    "        add $4, $5, -3\n"
    "        and $4, $5, 255\n"
    "        or $4, $5, 0xffff\n"
    "        xor $4, $5, 1\n"
    "        slt $4, $5, 9\n"
    "        sltu $4, $5, 9\n"
    "        sll $4, $5, $6\n"
    "        li $4, 77\n"
    "        li $4, 0x12345678\n"
    "        li $4, 0xff00\n"
    "        l.s $f2, 4($29)\n"
    "        s.d $f2, 8($29)\n"
    "        c.lt.s $fcc2, $f1, $f3\n"
    "        bc1t $fcc2, done\n"
    "        movf $4, $5, $fcc1\n"
    "        madd.d $f2, $f4, $f6, $f8\n"
    "        ext $4, $5, 3, 9\n"
    "        ins $4, $5, 3, 9\n"
    "        break 7\n"
    "        teq $4, $0, 7\n"
    "        teq $4, 7\n"
    "        syscall\n"
    "        mtc0 $4, $12\n"
    "        rdhwr $3, $29\n"
    "        pref 1, 4($5)\n"
    "done:   lw $31, 28($29)\n"
    "        jr $31\n"
    "        addiu $29, $29, 32\n"
    "        .word 1, -2, 'a', 3 * (4 + 5) << 1\n"
    "        .half 1, 2\n"
    "        .byte 1, 2, 3\n"
    "        .align 2\n"
    "        .float 1.5\n"
    "        .double -2.25e10\n"
    "        .asciiz \"a\\tb\\n\"\n";

static void binutils_agree(void **state)
{
    static const struct asm_options big = {.big_endian = true};
    char folder[] = "/tmp/test-asm-XXXXXX", path[64], command[400];
    uint8_t bytes[4096];

    (void)state;
    if (system("mips-linux-gnu-as --version >/dev/null 2>&1") != 0)
        skip();
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x.s", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(both_assemblers, file);
    fclose(file);
    snprintf(command, sizeof command,
             "cd %s && mips-linux-gnu-as -EB -mips32r2 -mfp32 x.s -o x.o && "
             "mips-linux-gnu-objcopy -O binary -j .text x.o x.bin",
             folder);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/x.bin", folder);
    file = fopen(path, "rb");
    assert_non_null(file);
    size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);

    struct machine_program program = assemble(both_assemblers, &big);
    const struct machine_segment *text = segment(&program, SEGMENT_TEXT);
    assert_true(len >= text->bytes);
    for (uint32_t i = 0; i < text->bytes; i += 4) {
        uint32_t n = text->bytes - i < 4 ? text->bytes - i : 4;
        if (memcmp(text->data + i, bytes + i, n) != 0)
            fail_msg("word %u: %02x%02x%02x%02x there", i / 4, bytes[i], bytes[i + 1],
                     bytes[i + 2], bytes[i + 3]);
    }
    machine_program_free(&program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(simple_dialect),
        cmocka_unit_test(pseudo_instructions),
        cmocka_unit_test(byte_order),
        cmocka_unit_test(data_directives),
        cmocka_unit_test(expressions),
        cmocka_unit_test(macros_and_names),
        cmocka_unit_test(numeric_labels),
        cmocka_unit_test(reals),
        cmocka_unit_test(marks_line_up),
        cmocka_unit_test(byte_order_mark),
        cmocka_unit_test(scopes_of_sources),
        cmocka_unit_test(delay_slots),
        cmocka_unit_test(targets_out_of_reach),
        cmocka_unit_test(errors_have_places),
        cmocka_unit_test(all_errors_are_reported),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(images),
        cmocka_unit_test(binutils_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
