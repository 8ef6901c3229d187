/*
 * The trace: a line on descriptor 2 for each instruction, with what it changed.
 *
 *   0x00400004  8faa0004  lw      $t2, 4($sp)           $t2=7
 */
#include "core.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void trace_before(struct machine *m, struct trace *trace)
{
    struct fault saved = m->fault;

    trace->pc = m->pc;
    if (!memory_fetch(m, m->pc, &trace->word))
        trace->word = 0;
    m->fault = saved;
    memcpy(trace->r, m->r, sizeof(trace->r));
    memcpy(trace->f, m->f, sizeof(trace->f));
}

struct text {
    char bytes[512];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int len = vsnprintf(text->bytes + text->len, sizeof(text->bytes) - text->len, format, args);
    va_end(args);
    if (len > 0)
        text->len += (size_t)len;
    if (text->len > sizeof(text->bytes) - 1)
        text->len = sizeof(text->bytes) - 1;
}

static void add_registers(struct text *text, const struct machine *m, const struct trace *trace)
{
    for (unsigned i = 1; i < 32; i++)
        if (m->r[i] != trace->r[i])
            add(text, "  %s=%d", isa_register_names[i], (int)(int32_t)m->r[i]);
    if (m->r[REG_HI] != trace->r[REG_HI])
        add(text, "  hi=%d", (int)(int32_t)m->r[REG_HI]);
    if (m->r[REG_LO] != trace->r[REG_LO])
        add(text, "  lo=%d", (int)(int32_t)m->r[REG_LO]);
    for (unsigned i = 0; i < 32; i++)
        if (m->f[i] != trace->f[i])
            add(text, "  $f%u=0x%08x", i, (unsigned)m->f[i]);
}

/* Where an instruction with an address in it pointed. */
static void add_address(struct text *text, const struct trace *trace)
{
    enum isa_insn insn = isa_decode(trace->word);
    struct isa_fields f = isa_fields(trace->word);

    if (insn == ISA_UNKNOWN || !(isa_table[insn].flags & (ISA_LOAD | ISA_STORE)))
        return;
    bool indexed = isa_table[insn].form == ISA_FORM_FD_INDEX ||
                   isa_table[insn].form == ISA_FORM_FS_INDEX;
    uint32_t address = trace->r[f.rs] + (indexed ? trace->r[f.rt] : (uint32_t)f.imm);
    add(text, "  [0x%08x]", (unsigned)address);
    if (isa_table[insn].flags & ISA_STORE && !(isa_table[insn].flags & ISA_FPU))
        add(text, "=%d", (int)(int32_t)trace->r[f.rt]);
}

static const char *symbol_at(void *context, uint32_t address, uint32_t *offset)
{
    const struct machine_program *program = context;
    const char *name = NULL;

    for (size_t i = 0; i < program->nsymbols && program->symbols[i].address <= address; i++) {
        name = program->symbols[i].name;
        *offset = address - program->symbols[i].address;
    }
    return name;
}

static const char *string_at(void *context, uint32_t index)
{
    const struct machine_program *program = context;

    return index < program->nstrings ? program->strings[index] : NULL;
}

void trace_after(struct machine *m, const struct trace *trace)
{
    struct isa_names names = {symbol_at, string_at, &m->program, false};
    char insn[ISA_TEXT];
    struct text text = {.len = 0};

    isa_disassemble(trace->word, trace->pc, &names, insn, sizeof(insn));
    add(&text, "0x%08x  %08x  %-36s", (unsigned)trace->pc, (unsigned)trace->word, insn);
    add_address(&text, trace);
    add_registers(&text, m, trace);
    if (m->pc != trace->pc + 4 && !m->in_slot)
        add(&text, "  pc=0x%08x", (unsigned)m->pc);
    add(&text, "\n");
    if (text.bytes[text.len - 1] != '\n')
        text.bytes[text.len - 1] = '\n';
    console_flush(m);
    m->host.write(m->host.context, 2, text.bytes, text.len);
}
