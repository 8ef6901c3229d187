/*
 * The assembler from outside: read the sources, find the addresses, write the program. See
 * inner.h for how the passes work.
 */
#include "machine/asm/inner.h"

#include <stdlib.h>
#include <string.h>

static void read_sources(struct assembler *as, const struct asm_source *sources, size_t n)
{
    for (size_t i = 0; i < n && !as->hopeless; i++) {
        as->unit = (uint32_t)i;
        int64_t file = asm_add_file(as, sources[i].name, sources[i].text, sources[i].len, NULL);
        if (file < 0)
            return;
        asm_read_source(as, (uint32_t)file);
        if (as->defining != NULL) {
            as->origin = (struct origin){(uint32_t)file, as->files[file].nlines, NULL};
            asm_fail(as, 0, "expected .end_macro before the end of the source");
            as->defining = NULL;
        }
    }
    asm_bind_globals(as);
}

static void set_symbol(struct assembler *as, struct symbol *symbol, int64_t value, bool fixed)
{
    if (symbol->value != value || symbol->pass == 0)
        as->changed = true;
    symbol->value = value;
    symbol->fixed = fixed;
    symbol->pass = as->pass;
}

/* NAME = EXPRESSION, and NAME, EXPRESSION of .set. */
static void assign(struct assembler *as, struct symbol *symbol, const struct token *tokens)
{
    const struct token *at = tokens + 2;
    struct value value = asm_expression(as, &at);

    if (value.ok && asm_expect_end(as, at) && symbol != NULL)
        set_symbol(as, symbol, value.number, value.fixed && !value.low);
}

static void do_statement(struct assembler *as, struct statement *statement)
{
    as->at = statement;
    as->unit = statement->unit;
    as->origin = statement->origin;
    switch (statement->kind) {
    case STATEMENT_LABEL:
        break; /* see bind_labels */
    case STATEMENT_ASSIGN:
        assign(as, statement->symbol, statement->tokens);
        break;
    case STATEMENT_DIRECTIVE:
        asm_directive(as, statement->tokens);
        break;
    case STATEMENT_INSTRUCTION:
        asm_instruction(as, statement->tokens);
        break;
    }
}

/* Gives a label its place, which alignment by the next statement may still move. */
static void bind_label(struct assembler *as, uint32_t i)
{
    struct symbol *symbol = as->statements[i].symbol;

    if (i == 0 || as->statements[i - 1].kind != STATEMENT_LABEL)
        as->label_from = i;
    if (symbol != NULL) {
        symbol->value = asm_location(as);
        symbol->pass = as->pass;
    }
}

/* The labels of a run of label statements have their final place now. */
static void check_labels(struct assembler *as, uint32_t from, uint32_t to, int64_t *before)
{
    for (uint32_t i = from; i < to; i++) {
        const struct symbol *symbol = as->statements[i].symbol;
        if (symbol != NULL && before[i] != symbol->value) {
            before[i] = symbol->value;
            as->changed = true;
        }
    }
}

/* One pass over all statements. `before` has the value of each label in the last pass. */
static void do_pass(struct assembler *as, int64_t *before)
{
    as->pass++;
    as->changed = false;
    as->nchunks = 0;
    as->bytes = 0;
    as->reorder = !as->options->delayed_branches;
    as->label_from = 0;
    for (int kind = 0; kind < 4; kind++)
        as->chunk_of[kind] = -1;
    asm_place_externs(as);
    asm_select(as, SEGMENT_TEXT, NULL);
    for (uint32_t i = 0; i < as->nstatements && !as->hopeless; i++) {
        struct statement *statement = &as->statements[i];
        if (statement->kind == STATEMENT_LABEL) {
            bind_label(as, i);
            continue;
        }
        do_statement(as, statement);
        check_labels(as, as->label_from, i, before);
        as->label_from = i + 1;
    }
    check_labels(as, as->label_from, as->nstatements, before);
}

/* Layout passes until nothing moves, then the one that writes. */
static void do_passes(struct assembler *as)
{
    int64_t *before = calloc((size_t)as->nstatements + 1, sizeof(*before));

    if (before == NULL) {
        asm_no_memory(as);
        return;
    }
    as->quiet = true;
    do {
        do_pass(as, before);
    } while (as->changed && as->pass < ASM_PASSES && !as->hopeless);
    if (as->changed)
        asm_give_up(as, "the addresses do not settle: constants or branches depend on each other");
    as->quiet = false;
    as->writing = true;
    if (!as->hopeless)
        do_pass(as, before);
    free(before);
}

static int compare_symbols(const void *a, const void *b)
{
    const struct machine_symbol *x = a, *y = b;

    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void finish_symbols(struct assembler *as)
{
    struct machine_program *program = as->program;

    program->symbols = calloc((size_t)as->nsymbols + 1, sizeof(*program->symbols));
    if (program->symbols == NULL) {
        asm_no_memory(as);
        return;
    }
    for (const struct symbol *s = as->first; s != NULL; s = s->next) {
        if (!s->defined || s->constant || s->alias != NULL || is_numeric(s->name))
            continue;
        struct machine_symbol *symbol = &program->symbols[program->nsymbols];
        symbol->name = strndup(s->name, s->len);
        if (symbol->name == NULL) {
            asm_no_memory(as);
            return;
        }
        symbol->address = (uint32_t)s->value;
        symbol->global = s->global;
        program->nsymbols++;
    }
    qsort(program->symbols, program->nsymbols, sizeof(*program->symbols), compare_symbols);
}

static int compare_lines(const void *a, const void *b)
{
    const struct machine_line *x = a, *y = b;

    return x->address < y->address ? -1 : x->address > y->address;
}

static void finish_files(struct assembler *as)
{
    struct machine_program *program = as->program;

    if (program->nlines > 0)
        qsort(program->lines, program->nlines, sizeof(*program->lines), compare_lines);
    program->files = calloc((size_t)as->nfiles + 1, sizeof(char *));
    if (program->files == NULL) {
        asm_no_memory(as);
        return;
    }
    for (uint32_t i = 0; i < as->nfiles; i++) {
        program->files[i] = as->files[i].name;
        as->files[i].name = NULL;
        program->nfiles++;
    }
}

/* A symbol of some source, a global one first. */
static const struct machine_symbol *program_symbol(const struct machine_program *program,
                                                   const char *name)
{
    const struct machine_symbol *found = NULL;

    for (size_t i = 0; i < program->nsymbols; i++) {
        const struct machine_symbol *s = &program->symbols[i];
        if (strcmp(s->name, name) == 0 && (found == NULL || (s->global && !found->global)))
            found = s;
    }
    return found;
}

static void find_entry(struct assembler *as)
{
    struct machine_program *program = as->program;
    const struct machine_symbol *start = program_symbol(program, "__start");

    if (start == NULL) {
        start = program_symbol(program, "main");
        program->returns = start != NULL && !program->simple;
    }
    if (start != NULL) {
        program->entry = start->address;
        return;
    }
    for (size_t i = 0; i < program->nsegments; i++) {
        if (program->segments[i].kind == SEGMENT_TEXT) {
            program->entry = program->segments[i].address;
            return;
        }
    }
    as->origin = (struct origin){0, 0, NULL};
    asm_fail(as, 0, "the program has no instructions in .text");
}

static void free_assembler(struct assembler *as)
{
    for (uint32_t i = 0; i < as->nfiles; i++) {
        free(as->files[i].name);
        free(as->files[i].owned);
        free(as->files[i].starts);
    }
    for (uint32_t i = 0; i < as->nchunks; i++)
        free(as->chunks[i].data);
    free(as->files);
    free(as->chunks);
    free(as->statements);
    free(as->table);
    free(as->line);
    free(as->spare);
    asm_arena_free(as);
}

static void assemble(struct assembler *as, const struct asm_source *sources, size_t n)
{
    struct machine_program *program = as->program;

    as->line = calloc(ASM_LINE_TOKENS + 1, sizeof(*as->line));
    as->spare = calloc(ASM_LINE_TOKENS + 1, sizeof(*as->spare));
    if (as->line == NULL || as->spare == NULL) {
        asm_no_memory(as);
        return;
    }
    read_sources(as, sources, n);
    if (!as->hopeless)
        do_passes(as);
    if (as->hopeless || as->errors->count > 0)
        return;
    program->delayed_branches = as->delayed;
    program->simple = as->simple;
    asm_finish_segments(as);
    if (as->errors->count == 0)
        finish_symbols(as);
    if (as->errors->count == 0)
        find_entry(as);
    if (as->errors->count == 0)
        finish_files(as);
}

int asm_assemble(const struct asm_source *sources, size_t n, const struct asm_options *options,
                 struct machine_program *program, struct asm_errors *errors)
{
    struct assembler as = {
        .options = options,
        .errors = errors,
        .program = program,
        .delayed = options->delayed_branches,
        .simple = true,
    };

    memset(errors, 0, sizeof(*errors));
    memset(program, 0, sizeof(*program));
    program->big_endian = options->big_endian;
    assemble(&as, sources, n);
    asm_sort_errors(&as);
    bool failed = errors->count > 0 || errors->more > 0;
    free_assembler(&as);
    if (failed)
        machine_program_free(program);
    return failed ? -1 : 0;
}
