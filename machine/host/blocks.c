/*
 * Basic blocks are found in the program's text: one begins at a label, at the target of a branch,
 * and behind a branch or its delay slot. The machine says how often each word was executed; where
 * that changes inside of a block (behind the system call that ends the program, at the instruction
 * that faulted), it is divided, so that the sum over all blocks is what was executed.
 */
#include "machine/host/blocks.h"

#include "machine/host/explain.h"
#include "machine/host/inside.h"
#include "machine/isa/isa.h"

#include <stdlib.h>
#include <string.h>

/* One text segment. */
struct text {
    const struct machine_segment *segment;
    uint32_t words;
    bool *begins; /* a block begins at this word */
    uint64_t *times;
};

static void mark(const struct text *text, uint32_t address)
{
    uint32_t offset = address - text->segment->address;

    if (offset % 4 == 0 && offset / 4 < text->words)
        text->begins[offset / 4] = true;
}

static void mark_instruction(const struct machine_program *program, const struct text *text,
                             uint32_t i)
{
    uint32_t address = text->segment->address + 4 * i;
    uint32_t word = explain_segment_word(program, text->segment, 4 * i);
    enum isa_insn insn = isa_decode(word);
    unsigned flags = insn != ISA_UNKNOWN ? isa_table[insn].flags : 0;

    if (!(flags & (ISA_BRANCH | ISA_JUMP)))
        return;
    mark(text, address + (program->delayed_branches ? 8 : 4));
    if (insn == ISA_J || insn == ISA_JAL)
        mark(text, ((address + 4) & 0xf0000000) | (word & 0x3ffffff) << 2);
    else if (flags & ISA_BRANCH)
        mark(text, address + 4 + (uint32_t)(int16_t)word * 4);
}

static void mark_blocks(const struct machine_program *program, const struct text *text)
{
    mark(text, text->segment->address);
    mark(text, program->entry);
    for (size_t i = 0; i < program->nsymbols; i++)
        mark(text, program->symbols[i].address);
    for (uint32_t i = 0; i < text->words; i++)
        mark_instruction(program, text, i);
}

static int get_times(struct vmm_machine *machine, const struct text *text)
{
    int status = MF_OK;

    for (uint32_t at = 0, n; at < text->words && status == MF_OK; at += n) {
        n = text->words - at < MACHINE_PROFILE_WORDS ? text->words - at : MACHINE_PROFILE_WORDS;
        struct mf_value args[2] = {mf_u32(text->segment->address + 4 * at), mf_u32(n)};
        status = inside_get(machine, "profile", args, 2, text->times + at, n * sizeof(uint64_t));
    }
    return status;
}

/* Adds the blocks of a text that were executed; there is room for them. */
static void add_blocks(struct vmm_statistics *statistics, const struct text *text)
{
    for (uint32_t i = 0, n; i < text->words; i += n) {
        n = 1;
        while (i + n < text->words && !text->begins[i + n] &&
               text->times[i + n] == text->times[i])
            n++;
        if (text->times[i] != 0)
            statistics->blocks[statistics->nblocks++] = (struct vmm_block){
                .address = text->segment->address + 4 * i, .n = n, .times = text->times[i]};
    }
}

static int count_text(struct vmm_machine *machine, const struct machine_segment *segment)
{
    struct vmm_statistics *statistics = &machine->statistics;
    struct text text = {.segment = segment, .words = segment->bytes / 4};
    int status = MF_E_NO_MEMORY;

    text.begins = calloc((size_t)text.words + 1, sizeof *text.begins);
    text.times = calloc((size_t)text.words + 1, sizeof *text.times);
    struct vmm_block *blocks = realloc(
        statistics->blocks, (statistics->nblocks + text.words + 1) * sizeof *statistics->blocks);
    if (blocks != NULL)
        statistics->blocks = blocks;
    if (text.begins != NULL && text.times != NULL && blocks != NULL)
        status = get_times(machine, &text);
    else
        mf_fail(&machine->err, MF_E_NO_MEMORY, "out of memory");
    if (status == MF_OK) {
        mark_blocks(&machine->program, &text);
        add_blocks(statistics, &text);
    }
    free(text.begins);
    free(text.times);
    return status;
}

static int by_share(const void *a, const void *b)
{
    const struct vmm_block *x = a, *y = b;
    uint64_t p = x->times * x->n, q = y->times * y->n;

    if (p != q)
        return p > q ? -1 : 1;
    return x->address < y->address ? -1 : x->address > y->address;
}

int blocks_count(struct vmm_machine *machine)
{
    struct vmm_statistics *statistics = &machine->statistics;
    const struct machine_program *program = &machine->program;
    struct mf_error err;
    int status = MF_OK;

    statistics->nblocks = 0;
    if (mf_image_find_export(mf_sandbox_image(atomic_load(&machine->sandbox)), "profile", &err) < 0)
        return MF_OK;
    for (size_t i = 0; i < program->nsegments && status == MF_OK; i++) {
        if (program->segments[i].executable)
            status = count_text(machine, &program->segments[i]);
    }
    if (statistics->nblocks > 0)
        qsort(statistics->blocks, statistics->nblocks, sizeof *statistics->blocks, by_share);
    return status;
}
