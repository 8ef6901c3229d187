/*
 * Instructions of the table: operands into fields, by the form. And the words that pseudo-
 * instructions emit.
 */
#include "machine/asm/inner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void asm_emit(struct assembler *as, enum isa_insn insn, uint32_t fields)
{
    asm_put_number(as, isa_table[insn].match | fields, 4);
    if (!(isa_table[insn].flags & (ISA_BRANCH | ISA_JUMP)))
        return;
    as->simple = false;
    if (as->delayed && as->reorder)
        asm_put_number(as, 0, 4);
}

void asm_emit_r(struct assembler *as, enum isa_insn insn, unsigned rd, unsigned rs, unsigned rt)
{
    asm_emit(as, insn, rd << 11 | rs << 21 | rt << 16);
}

void asm_emit_i(struct assembler *as, enum isa_insn insn, unsigned rt, unsigned rs, uint32_t imm)
{
    asm_emit(as, insn, rt << 16 | rs << 21 | (imm & 0xffff));
}

void asm_emit_shift(struct assembler *as, enum isa_insn insn, unsigned rd, unsigned rt,
                    unsigned sa)
{
    asm_emit(as, insn, rd << 11 | rt << 16 | (sa & 31) << 6);
}

/* The branch on the opposite condition, with the same operands. */
static enum isa_insn opposite(enum isa_insn insn)
{
    switch (insn) {
    case ISA_BEQ:
        return ISA_BNE;
    case ISA_BNE:
        return ISA_BEQ;
    case ISA_BLEZ:
        return ISA_BGTZ;
    case ISA_BGTZ:
        return ISA_BLEZ;
    case ISA_BLTZ:
        return ISA_BGEZ;
    case ISA_BGEZ:
        return ISA_BLTZ;
    case ISA_BC1F:
        return ISA_BC1T;
    case ISA_BC1T:
        return ISA_BC1F;
    default:
        return ISA_UNKNOWN;
    }
}

/* A target as an address; false with an error. */
static bool target_address(struct assembler *as, const struct operand *op, uint32_t *address)
{
    as->column = op->token->column;
    if (op->kind != OPERAND_VALUE)
        return asm_wrong_operand(as, op, "a label");
    if (!asm_word(as, op->value, address))
        return false;
    if (*address % 4 != 0) {
        asm_fail(as, as->column, "the target 0x%08" PRIx32 " is no multiple of 4", *address);
        return as->quiet;
    }
    return true;
}

static void emit_jump_to(struct assembler *as, enum isa_insn insn, uint32_t target, bool far)
{
    if (!far) {
        asm_emit(as, insn, target >> 2 & 0x3ffffff);
        return;
    }
    asm_load_constant(as, REGISTER_AT, target, false);
    if (insn == ISA_JAL)
        asm_emit_r(as, ISA_JALR, 31, REGISTER_AT, 0);
    else
        asm_emit_r(as, ISA_JR, 0, REGISTER_AT, 0);
}

/* Whether `target` is out of reach of a j at `location`. */
static bool other_region(uint32_t location, uint32_t target)
{
    return ((location + 4) ^ target) >> 28 != 0;
}

void asm_emit_jump(struct assembler *as, enum isa_insn insn, const struct operand *op)
{
    uint32_t target;

    if (!target_address(as, op, &target))
        return;
    if (!as->at->far && other_region(asm_location(as), target)) {
        as->at->far = true;
        as->changed = true;
    }
    emit_jump_to(as, insn, target, as->at->far);
}

/* Around a jump: the opposite branch skips it. */
static void emit_far_branch(struct assembler *as, enum isa_insn around, uint32_t fields,
                            uint32_t target)
{
    /* Words behind the branch: its slot, lui, ori, jr, and the slot that the assembler fills. */
    uint32_t skipped = !as->delayed ? 3 : as->reorder ? 5 : 4;

    asm_put_number(as, isa_table[around].match | fields | skipped, 4);
    if (as->delayed)
        asm_put_number(as, 0, 4);
    as->simple = false;
    emit_jump_to(as, ISA_J, target, true);
}

void asm_emit_branch(struct assembler *as, enum isa_insn insn, uint32_t fields,
                     const struct operand *op)
{
    uint32_t target;

    if (!target_address(as, op, &target))
        return;
    if (as->at->far) {
        emit_far_branch(as, opposite(insn), fields, target);
        return;
    }
    uint32_t distance = target - (asm_location(as) + 4);
    if (distance + 0x20000 >= 0x40000) {
        if (opposite(insn) != ISA_UNKNOWN && as->quiet) {
            as->at->far = true;
            as->changed = true;
        } else {
            asm_fail(as, as->column, "the target of '%s' is too far away: expected at most 128 KiB",
                     isa_table[insn].mnemonic);
        }
    }
    asm_emit(as, insn, fields | (distance >> 2 & 0xffff));
}

/* Whether an FPU operand of an instruction is a double, in a pair of registers. */
static bool is_pair(enum isa_insn insn, char letter)
{
    switch (insn) {
    case ISA_CVT_S_D:
    case ISA_CVT_W_D:
    case ISA_ROUND_W_D:
    case ISA_TRUNC_W_D:
    case ISA_CEIL_W_D:
    case ISA_FLOOR_W_D:
    case ISA_MFHC1:
    case ISA_MTHC1:
        return letter == 'S';
    case ISA_CVT_D_S:
    case ISA_CVT_D_W:
        return letter == 'D';
    default:
        return isa_table[insn].flags & ISA_DOUBLE;
    }
}

/* Index of a string of the program, for SNAPSHOT. */
static uint32_t add_string(struct assembler *as, const struct token *token)
{
    struct machine_program *program = as->program;
    uint32_t n = (uint32_t)program->nstrings;

    if (!as->writing)
        return 0;
    for (uint32_t i = 0; i < token->len; i++) {
        if ((unsigned char)token->text[i] < ' ' || token->text[i] == 0x7f) {
            asm_fail(as, token->column, "the path has control characters");
            return 0;
        }
    }
    if (token->len == 0 || token->len > 1024) {
        asm_fail(as, token->column, "expected a path of 1 to 1024 bytes");
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (strlen(program->strings[i]) == token->len &&
            memcmp(program->strings[i], token->text, token->len) == 0)
            return i;
    }
    if (n >= ASM_STRINGS_MAX) {
        asm_fail(as, token->column, "too many paths");
        return 0;
    }
    if (!asm_grow(as, &program->strings, n, &as->strings_room, sizeof(*program->strings)))
        return 0;
    program->strings[n] = strndup(token->text, token->len);
    if (program->strings[n] == NULL) {
        asm_no_memory(as);
        return 0;
    }
    program->nstrings++;
    return n;
}

/* A number from min to max; false with an error. */
static bool number_operand(struct assembler *as, const struct operand *op, int64_t min, int64_t max,
                           int64_t *number)
{
    if (op->kind != OPERAND_VALUE)
        return asm_wrong_operand(as, op, "a number");
    *number = op->value.number;
    if (*number < min || *number > max) {
        asm_fail(as, op->token->column,
                 "%" PRId64 " is out of range: expected %" PRId64 " to %" PRId64, *number, min,
                 max);
        return as->quiet; /* the word is there in each pass */
    }
    return true;
}

static bool register_operand(struct assembler *as, char letter, enum isa_insn insn,
                             const struct operand *op, uint32_t *number)
{
    if (strchr("DSTR", letter) != NULL) {
        if (op->kind != OPERAND_FPU)
            return asm_wrong_operand(as, op, "a register of the FPU ($f0 to $f31)");
        if (op->reg % 2 != 0 && is_pair(insn, letter))
            return asm_wrong_operand(as, op, "an even register, because a double takes two");
    } else if (letter == '0') {
        if (!(op->kind & (OPERAND_REGISTER | OPERAND_COP0)))
            return asm_wrong_operand(as, op, "a register of coprocessor 0 ($12, $Status)");
    } else if (letter == '1' ? !(op->kind & (OPERAND_REGISTER | OPERAND_FPU))
                             : op->kind != OPERAND_REGISTER) {
        return asm_wrong_operand(as, op, "a register ($0 to $31, $t0 and so on)");
    }
    *number = op->reg;
    return true;
}

static bool memory_operand(struct assembler *as, char letter, const struct operand *op,
                           uint32_t *fields)
{
    struct operand value = *op;
    int64_t offset;

    if (letter == 'X') {
        if (op->kind != OPERAND_INDEX)
            return asm_wrong_operand(as, op, "INDEX(BASE), both registers");
        *fields |= (uint32_t)op->index << 16 | (uint32_t)op->reg << 21;
        return true;
    }
    if (!(op->kind & (OPERAND_MEMORY | OPERAND_VALUE)))
        return asm_wrong_operand(as, op, "an address like 4($sp) or a label");
    value.kind = OPERAND_VALUE;
    if (!number_operand(as, &value, -32768, op->value.low ? 65535 : 32767, &offset))
        return false;
    *fields |= (uint32_t)op->reg << 21 | ((uint32_t)offset & 0xffff);
    return true;
}

/* Puts one operand into its field. `fields` has those before it. */
static bool encode_operand(struct assembler *as, char letter, enum isa_insn insn,
                           const struct operand *op, uint32_t *fields)
{
    struct isa_field field = {0, 0};
    uint32_t reg = 0;
    int64_t number = 0;

    isa_operand_field(letter, &field);
    if (strchr("dstURSDT01H", letter) != NULL) {
        if (!register_operand(as, letter, insn, op, &reg))
            return false;
        *fields |= reg << field.shift | (letter == 'U' ? reg << 16 : 0);
        return true;
    }
    if (letter == 'o' || letter == 'X')
        return memory_operand(as, letter, op, fields);
    if (letter == '$') {
        if (op->kind != OPERAND_STRING)
            return asm_wrong_operand(as, op, "a path");
        *fields |= add_string(as, op->token) << field.shift;
        return true;
    }
    if ((letter == 'N' || letter == 'n') && op->kind == OPERAND_FCC) {
        *fields |= (uint32_t)op->reg << field.shift;
        return true;
    }
    int64_t min = letter == 'i' || insn == ISA_LUI ? -32768 : letter == 'z' || letter == 'Z';
    int64_t max = letter == 'i' && !op->value.low ? 32767 : (INT64_C(1) << field.bits) - 1;
    uint32_t position = *fields >> 6 & 31;
    if (min == 1)
        max = 32 - position;
    if (!number_operand(as, op, min, max, &number))
        return false;
    if (letter == 'z')
        number--;
    else if (letter == 'Z')
        number += position - 1;
    *fields |= ((uint32_t)number & ((1u << field.bits) - 1)) << field.shift;
    return true;
}

/* Counts the operands of a form: those that must be there, and all. */
static void count_operands(const char *form, uint32_t *least, uint32_t *most)
{
    bool optional = false;

    *least = *most = 0;
    for (; *form != 0; form++) {
        if (*form == '[' || *form == ']') {
            optional = *form == '[';
        } else if (*form != ',') {
            ++*most;
            *least += !optional;
        }
    }
}

static void wrong_count(struct assembler *as, enum isa_insn insn, const struct operands *ops,
                        uint32_t least, uint32_t most)
{
    if (least == most)
        asm_fail(as, ops->mnemonic->column, "'%s' takes %u operand%s, not %u",
                 isa_table[insn].mnemonic, (unsigned)most, most == 1 ? "" : "s", (unsigned)ops->n);
    else
        asm_fail(as, ops->mnemonic->column, "'%s' takes %u to %u operands, not %u",
                 isa_table[insn].mnemonic, (unsigned)least, (unsigned)most, (unsigned)ops->n);
}

void asm_native(struct assembler *as, enum isa_insn insn, const struct operands *ops)
{
    const char *form = isa_form_texts[isa_table[insn].form];
    const struct operand *target = NULL;
    uint32_t least, most, fields = 0, n = 0;

    count_operands(form, &least, &most);
    if (ops->n < least || ops->n > most) {
        wrong_count(as, insn, ops, least, most);
        return;
    }
    /* What is more than the least goes to the brackets from the left. */
    uint32_t extra = ops->n - least;
    if (insn == ISA_JALR || insn == ISA_JALR_HB)
        fields = extra == 0 ? 31u << 11 : 0;
    for (const char *at = form; *at != 0; at++) {
        if (*at == '[' && extra-- == 0) {
            extra = 0;
            at = strchr(at, ']');
        } else if (*at == 'b' || *at == 'j') {
            target = &ops->list[n++];
        } else if (*at != '[' && *at != ']' && *at != ',') {
            if (!encode_operand(as, *at, insn, &ops->list[n++], &fields))
                return;
        }
    }
    if (target != NULL && isa_table[insn].form == ISA_FORM_J)
        asm_emit_jump(as, insn, target);
    else if (target != NULL)
        asm_emit_branch(as, insn, fields, target);
    else
        asm_emit(as, insn, fields);
}

static bool suggest_from(const struct token *name, const struct pseudo *list, size_t n,
                         const char **found)
{
    for (size_t i = 0; i < n; i++) {
        if (asm_near(name->text, name->len, list[i].name, strlen(list[i].name))) {
            *found = list[i].name;
            return true;
        }
    }
    return false;
}

static void unknown_instruction(struct assembler *as, const struct token *name)
{
    const char *near = NULL;

    for (unsigned i = 0; i < ISA_COUNT && near == NULL && as->errors->count < ASM_ERRORS_MAX; i++) {
        const char *known = isa_table[i].mnemonic;
        if (asm_near(name->text, name->len, known, strlen(known)))
            near = known;
    }
    if (near != NULL || suggest_from(name, asm_pseudo_integer, asm_npseudo_integer, &near) ||
        suggest_from(name, asm_pseudo_branch, asm_npseudo_branch, &near) ||
        suggest_from(name, asm_pseudo_memory, asm_npseudo_memory, &near))
        asm_fail(as, name->column, "unknown instruction '%.*s'; did you mean '%s'?",
                 (int)name->len, name->text, near);
    else
        asm_fail(as, name->column, "unknown instruction '%.*s'", (int)name->len, name->text);
}

static void add_line(struct assembler *as)
{
    struct machine_program *program = as->program;

    if (!as->writing || !asm_grow(as, &program->lines, (uint32_t)program->nlines, &as->lines_room,
                                  sizeof(*program->lines)))
        return;
    program->lines[program->nlines++] = (struct machine_line){
        .address = asm_location(as), .file = as->origin.file, .line = as->origin.line};
}

void asm_instruction(struct assembler *as, const struct token *tokens)
{
    enum machine_segment_kind kind = as->chunks[as->chunk].kind;
    struct operands ops;

    if (kind == SEGMENT_DATA || kind == SEGMENT_KDATA) {
        asm_fail(as, tokens->column, "an instruction outside of .text: expected .text before it");
        return;
    }
    if (asm_location(as) % 4 != 0) {
        asm_fail(as, tokens->column,
                 "an instruction at 0x%08" PRIx32 ", no multiple of 4: expected .align 2 before it",
                 asm_location(as));
        return;
    }
    add_line(as);
    if (!asm_parse_operands(as, tokens, &ops) || asm_pseudo(as, &ops))
        return;
    enum isa_insn insn = isa_find(tokens->text, tokens->len);
    if (insn == ISA_UNKNOWN)
        unknown_instruction(as, tokens);
    else
        asm_native(as, insn, &ops);
}
