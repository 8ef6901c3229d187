/* Registers, places, instructions and counts of a machine as text. */
#include "machine/host/explain.h"

#include "machine/host/program.h"
#include "machine/isa/isa.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REGISTERS_PER_LINE 4

bool explain_word(struct vmm_machine *machine, uint32_t address, uint32_t *word)
{
    uint8_t b[4];
    size_t len = sizeof b;

    if (address % 4 != 0 || vmm_machine_peek(machine, address, b, &len) != MF_OK ||
        len != sizeof b)
        return false;
    if (machine->program.big_endian)
        *word = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    else
        *word = (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
    return true;
}

static const char *name_of(void *context, uint32_t address, uint32_t *offset)
{
    const struct machine_symbol *symbol = program_symbol(context, address);

    if (symbol == NULL)
        return NULL;
    *offset = address - symbol->address;
    return symbol->name;
}

static const char *string_of(void *context, uint32_t index)
{
    const struct machine_program *program = context;

    return index < program->nstrings ? program->strings[index] : NULL;
}

static void disassemble(struct vmm_machine *machine, uint32_t word, uint32_t address, char *buf,
                        size_t size)
{
    struct isa_names names = {
        .symbol = name_of, .string = string_of, .context = &machine->program};

    isa_disassemble(word, address, &names, buf, size);
}

/* The source line of an instruction in few columns: blanks are one, and its comment goes. */
static void print_source(const struct vmm_machine *machine, const struct machine_line *line,
                         char *buf, size_t size)
{
    size_t n = 0;
    bool quoted = false;

    if (machine->sources != NULL) {
        const struct vmm_source *source = &machine->sources[line->file];
        program_source_in(source->text, source->len, line->line, buf, size);
    } else {
        program_source(&machine->program, line, buf, size);
    }
    for (const char *c = buf; *c != 0 && (quoted || *c != '#'); c++) {
        quoted ^= *c == '"' || *c == '\'';
        if (*c != ' ' || (n > 0 && (quoted || buf[n - 1] != ' ')))
            buf[n++] = *c;
    }
    while (n > 0 && buf[n - 1] == ' ')
        n--;
    buf[n] = 0;
}

bool explain_instruction(struct vmm_machine *machine, uint32_t address, char *buf, size_t size)
{
    const struct machine_line *line = program_line(&machine->program, address);
    char text[ISA_TEXT + 128], source[160] = "", place[256];
    uint32_t word;

    if (!explain_word(machine, address, &word))
        return false;
    disassemble(machine, word, address, text, sizeof text);
    program_place(&machine->program, address, place, sizeof place);
    if (line != NULL && line->address == address)
        print_source(machine, line, source, sizeof source);
    snprintf(buf, size, "0x%08" PRIx32 "  %08" PRIx32 "  %-28s %s%s%s", address, word, text, place,
             source[0] != 0 ? ": " : "", source);
    return true;
}

static void print_register(FILE *file, const char *name, uint32_t value, bool changed)
{
    fprintf(file, " %5s%c%08" PRIx32, name, changed ? '*' : ' ', value);
}

static void print_registers(FILE *file, const struct machine_state *state,
                            const struct machine_state *before)
{
    for (int i = 0; i < 32; i++) {
        print_register(file, isa_register_names[i], state->registers[i],
                       before != NULL && before->registers[i] != state->registers[i]);
        fputs(i % REGISTERS_PER_LINE == REGISTERS_PER_LINE - 1 ? "\n" : "  ", file);
    }
    print_register(file, "hi", state->hi, before != NULL && before->hi != state->hi);
    fputs("  ", file);
    print_register(file, "lo", state->lo, before != NULL && before->lo != state->lo);
    fputs("  ", file);
    print_register(file, "pc", state->pc, before != NULL && before->pc != state->pc);
}

char *explain_registers(const struct machine_state *state, const struct machine_state *before)
{
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);

    if (file == NULL)
        return NULL;
    print_registers(file, state, before);
    fputc('\n', file);
    fclose(file);
    return text;
}

/* ---- faults ---- */

/* Cause.ExcCode, MIPS32 volume III; 1 to 7 are those of an address. */
enum {
    CODE_TLBL = 2,
    CODE_ADEL = 4,
    CODE_IBE = 6,
    CODE_LAST_ADDRESS = 7,
    CODE_BP = 9,
    CODE_TR = 13,
};

/* What compilers and assemblers say with the code of a trap or break instruction. */
static const char *trap_text(uint32_t word, int32_t code)
{
    uint32_t number = code == CODE_TR ? word >> 6 & 0x3ff : word >> 6 & 0xfffff;

    if (code == CODE_BP && (number & 0x3ff) == 0)
        number >>= 10;
    return number == 7 ? "division by zero: " : number == 6 ? "arithmetic overflow: " : "";
}

/* Whether the instruction at `address` goes to `target` with these registers. */
static bool goes_to(const struct machine_state *state, uint32_t word, uint32_t address,
                    uint32_t target)
{
    enum isa_insn insn = isa_decode(word);

    switch (insn) {
    case ISA_UNKNOWN:
        return false;
    case ISA_JR:
    case ISA_JR_HB:
    case ISA_JALR:
    case ISA_JALR_HB:
        return state->registers[word >> 21 & 31] == target;
    case ISA_J:
    case ISA_JAL:
        return (((address + 4) & 0xf0000000) | (word & 0x3ffffff) << 2) == target;
    default:
        return (isa_table[insn].flags & ISA_BRANCH) != 0 &&
               address + 4 + (uint32_t)(int16_t)word * 4 == target;
    }
}

uint32_t explain_segment_word(const struct machine_program *program,
                              const struct machine_segment *segment, uint32_t at)
{
    uint32_t word = 0;

    for (uint32_t i = 0; i < 4; i++)
        word |= (uint32_t)segment->data[at + i] << 8 * (program->big_endian ? 3 - i : i);
    return word;
}

/* Whether `target` is the first address behind a text. */
static bool is_behind_text(const struct machine_program *program, uint32_t target)
{
    for (size_t i = 0; i < program->nsegments; i++) {
        const struct machine_segment *segment = &program->segments[i];
        if (segment->executable && segment->address + segment->memory_bytes == target)
            return true;
    }
    return false;
}

/*
 * The jump that went to `target`, where there is no text. Nothing was executed since, so its
 * register still says so; it is known when no other instruction would have gone there.
 */
static bool find_jump(const struct vmm_machine *machine, uint32_t target, uint32_t *from)
{
    const struct machine_program *program = &machine->program;
    size_t found = 0;

    for (size_t i = 0; i < program->nsegments; i++) {
        const struct machine_segment *segment = &program->segments[i];
        for (uint32_t at = 0; segment->executable && segment->bytes - at >= 4; at += 4) {
            uint32_t word = explain_segment_word(program, segment, at);
            if (goes_to(&machine->state, word, segment->address + at, target)) {
                *from = segment->address + at;
                found++;
            }
        }
    }
    return found == 1;
}

uint32_t explain_fault(struct vmm_machine *machine, char *what, size_t size)
{
    const struct machine_stop *stop = &machine->stop;
    bool fetch = stop->code == CODE_IBE || ((stop->code == CODE_ADEL || stop->code == CODE_TLBL) &&
                                            stop->address == stop->pc);
    uint32_t from, word;

    if (stop->code == CODE_IBE && is_behind_text(&machine->program, stop->pc)) {
        snprintf(what, size, "the program goes on behind its last instruction");
        return stop->pc - 4;
    }
    if (stop->code > 0 && stop->code <= CODE_LAST_ADDRESS)
        snprintf(what, size, "%s (address 0x%08" PRIx32 ")", stop->text, stop->address);
    else if ((stop->code == CODE_BP || stop->code == CODE_TR) &&
             explain_word(machine, stop->pc, &word))
        snprintf(what, size, "%s%s", trap_text(word, stop->code), stop->text);
    else
        snprintf(what, size, "%s", stop->text);
    return fetch && machine->has_state && find_jump(machine, stop->pc, &from) ? from : stop->pc;
}

/* Many machines that are interrupted at once do not fill the screen with their registers. */
static bool shows_registers(const struct vmm_machine *machine)
{
    bool many = machine->outcome == VMM_INTERRUPTED && machine->common->terminal.names;

    return machine->has_state && !many;
}

char *explain_stop(struct vmm_machine *machine, uint32_t pc, const char *what)
{
    const struct machine_line *line = program_line(&machine->program, pc);
    char *text = NULL, place[256], instruction[ISA_TEXT + 128], source[160];
    uint32_t word;
    size_t len;
    FILE *file = open_memstream(&text, &len);

    if (file == NULL)
        return NULL;
    program_place(&machine->program, pc, place, sizeof place);
    fprintf(file, "%s%s%s at 0x%08" PRIx32, place, place[0] != 0 ? ": " : "", what, pc);
    if (program_executable(&machine->program, pc) && explain_word(machine, pc, &word)) {
        disassemble(machine, word, pc, instruction, sizeof instruction);
        fprintf(file, "\n  %08" PRIx32 "  %s", word, instruction);
    } else {
        line = NULL;
    }
    if (line != NULL) {
        print_source(machine, line, source, sizeof source);
        fprintf(file, "%s%s", source[0] != 0 ? "  <-  " : "", source);
    }
    if (shows_registers(machine)) {
        fputc('\n', file);
        print_registers(file, &machine->state, NULL);
    }
    fclose(file);
    return text;
}

const char *explain_mnemonic(unsigned index)
{
    return index < ISA_COUNT ? isa_table[index].mnemonic : NULL;
}

/* For qsort: an instruction and how often. */
struct count {
    uint64_t times;
    unsigned insn;
};

static int by_times(const void *a, const void *b)
{
    const struct count *x = a, *y = b;

    if (x->times != y->times)
        return x->times > y->times ? -1 : 1;
    return x->insn < y->insn ? -1 : x->insn > y->insn;
}

static void print_counts(FILE *file, const struct vmm_statistics *statistics)
{
    struct count counts[ISA_COUNT];

    for (unsigned i = 0; i < ISA_COUNT; i++)
        counts[i] = (struct count){.times = statistics->counts[i], .insn = i};
    qsort(counts, ISA_COUNT, sizeof counts[0], by_times);
    for (unsigned i = 0; i < ISA_COUNT && counts[i].times > 0; i++)
        fprintf(file, "  %12" PRIu64 "  %s\n", counts[i].times,
                isa_table[counts[i].insn].mnemonic);
}

#define BLOCKS_SHOWN 20

static void print_blocks(FILE *file, const struct vmm_machine *machine)
{
    const struct vmm_statistics *s = &machine->statistics;
    char place[256];

    if (s->nblocks > 0)
        fprintf(file, "  basic blocks, by the instructions executed in them:\n");
    for (size_t i = 0; i < s->nblocks && i < BLOCKS_SHOWN; i++) {
        const struct vmm_block *b = &s->blocks[i];
        program_place(&machine->program, b->address, place, sizeof place);
        fprintf(file, "  %12" PRIu64 "  0x%08" PRIx32 "  %3" PRIu32 " instruction%s  %s\n",
                b->times, b->address, b->n, b->n == 1 ? " " : "s", place);
    }
    if (s->nblocks > BLOCKS_SHOWN)
        fprintf(file, "  and %zu more; --json has them all\n", s->nblocks - BLOCKS_SHOWN);
}

char *explain_statistics(const struct vmm_machine *machine)
{
    const struct machine_stats *s = &machine->statistics.stats;
    double seconds = (double)machine->run_ns / 1e9;
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);

    if (file == NULL)
        return NULL;
    fprintf(file, "%s: %" PRIu64 " instructions", machine->config.name, s->executed);
    if (seconds > 0)
        fprintf(file, " in %.6f s, %.3f million per second", seconds,
                (double)machine->executed / seconds / 1e6);
    fprintf(file,
            "\n  branches %" PRIu64 " (taken %" PRIu64 "), loads %" PRIu64 ", stores %" PRIu64
            "\n  exceptions %" PRIu64 ", system calls %" PRIu64 ", basic blocks %" PRIu64
            ", memory touched %" PRIu64 " bytes\n",
            s->branches, s->taken, s->loads, s->stores, s->exceptions, s->system_calls, s->blocks,
            s->memory_bytes);
    if (machine->statistics.counts != NULL)
        print_counts(file, &machine->statistics);
    print_blocks(file, machine);
    fclose(file);
    return text;
}
