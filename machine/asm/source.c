/*
 * Files to statements. Lines are taken in the order in which they are met: .include, .eqv
 * and macros act at once, everything else becomes a statement for the passes.
 */
#include "machine/asm/inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int64_t asm_add_file(struct assembler *as, const char *name, const char *text, size_t len,
                     char *owned)
{
    struct source_file *file;
    uint32_t nlines = 1, line = 0;

    if (len > ASM_SOURCE_MAX) {
        asm_fail(as, 0, "%s is larger than 64 MiB", name);
        free(owned);
        return -1;
    }
    if (!asm_grow(as, &as->files, as->nfiles, &as->files_room, sizeof(*as->files))) {
        free(owned);
        return -1;
    }
    for (size_t i = 0; i < len; i++)
        nlines += text[i] == '\n';
    file = &as->files[as->nfiles];
    *file = (struct source_file){.text = text, .owned = owned, .len = len, .nlines = nlines};
    file->name = strdup(name);
    file->starts = calloc(nlines, sizeof(*file->starts));
    as->nfiles++;
    if (file->name == NULL || file->starts == NULL) {
        as->nfiles--;
        free(file->name);
        free(file->starts);
        free(owned);
        asm_no_memory(as);
        return -1;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n')
            file->starts[++line] = (uint32_t)i + 1;
    }
    return as->nfiles - 1;
}

void asm_read_source(struct assembler *as, uint32_t index)
{
    /* The array may move while lines of an .include are read. */
    struct source_file file = as->files[index];
    struct origin before = as->origin;

    as->files[index].reading = true;
    for (uint32_t i = 0; i < file.nlines && !as->hopeless; i++) {
        const char *text = file.text + file.starts[i];
        const char *end = memchr(text, '\n', file.len - file.starts[i]);
        size_t len = end != NULL ? (size_t)(end - text) : file.len - file.starts[i];
        /* What some editors put before a text. */
        size_t from = i == 0 && len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
        do {
            as->origin = (struct origin){index, i + 1, before.use};
            from = asm_lex(as, text, len, from);
            if (as->nline > 0)
                asm_take_line(as);
        } while (from < len && !as->hopeless);
    }
    as->files[index].reading = false;
    as->origin = before;
}

/* What has another name each time (a link to its own folder) ends at ASM_INCLUDE_DEPTH. */
static bool is_being_read(const struct assembler *as, const char *name)
{
    for (uint32_t i = 0; i < as->nfiles; i++) {
        if (as->files[i].reading && strcmp(as->files[i].name, name) == 0)
            return true;
    }
    return false;
}

/* .include "path" */
static void include(struct assembler *as, const struct token *tokens, uint32_t n)
{
    char *path, *name = NULL, *text = NULL;
    size_t len = 0;

    if (n != 2 || tokens[1].kind != TOKEN_STRING) {
        asm_fail(as, n > 1 ? tokens[1].column : tokens[0].column, "expected .include \"FILE\"");
        return;
    }
    if (as->include_depth >= ASM_INCLUDE_DEPTH || as->nfiles >= ASM_INCLUDES_MAX) {
        asm_fail(as, tokens[0].column, "too many .include, or a file that includes itself");
        return;
    }
    uint32_t column = tokens[1].column;
    path = asm_alloc(as, tokens[1].len + 1);
    if (path == NULL)
        return;
    memcpy(path, tokens[1].text, tokens[1].len);
    const char *why = "files cannot be read here";
    if (strlen(path) != tokens[1].len)
        why = "the name has a NUL in it";
    else if (as->options->read != NULL)
        why = as->options->read(as->options->context, path, as->files[as->origin.file].name, &name,
                                &text, &len);
    if (why != NULL) {
        asm_fail(as, column, "cannot include this file: %s", why);
        return;
    }
    bool again = is_being_read(as, name);
    int64_t file = again ? -1 : asm_add_file(as, name, text, len, text);
    if (again) {
        asm_fail(as, column, "this file includes itself");
        free(text);
    }
    free(name);
    if (file < 0)
        return;
    as->include_depth++;
    asm_read_source(as, (uint32_t)file);
    as->include_depth--;
}

/* .eqv NAME tokens */
static void define_eqv(struct assembler *as, const struct token *tokens, uint32_t n)
{
    if (n < 3 || tokens[1].kind != TOKEN_NAME) {
        asm_fail(as, tokens[0].column, "expected .eqv NAME REPLACEMENT");
        return;
    }
    uint32_t from = token_is(&tokens[2], ',') && n > 3 ? 3 : 2;
    struct symbol *symbol = asm_symbol(as, tokens[1].text, tokens[1].len, UNIT_EQV);
    if (symbol != NULL) {
        symbol->eqv = asm_keep_tokens(as, tokens + from, n - from);
        as->has_eqv = true;
    }
}

/*
 * Puts what .eqv says in the place of names. Its own tokens were replaced when it was
 * defined, so this ends. The name that another .eqv defines stays.
 */
static void replace_eqv(struct assembler *as)
{
    bool defining = as->nline > 0 && token_is_word(&as->line[0], ".eqv");
    uint32_t n = 0;

    for (uint32_t i = 0; i < as->nline; i++) {
        const struct token *token = &as->line[i];
        const struct symbol *symbol = NULL;
        if (token->kind == TOKEN_NAME && !(defining && i == 1))
            symbol = asm_symbol(as, token->text, token->len, UNIT_EQV);
        const struct token *from = symbol != NULL && symbol->eqv != NULL ? symbol->eqv : token;
        do {
            if (n >= ASM_LINE_TOKENS) {
                asm_fail(as, token->column, "the line is too long after .eqv");
                as->nline = 0;
                return;
            }
            as->spare[n] = *from++;
            as->spare[n++].column = token->column;
        } while (symbol != NULL && symbol->eqv != NULL && from->kind != TOKEN_END);
    }
    struct token *line = as->line;
    as->line = as->spare;
    as->spare = line;
    as->nline = n;
}

static struct statement *add_statement(struct assembler *as, enum statement_kind kind,
                                       const struct token *tokens, uint32_t n)
{
    const struct token *kept = asm_keep_tokens(as, tokens, n);

    if (kept == NULL || !asm_grow(as, &as->statements, as->nstatements, &as->statements_room,
                                  sizeof(*as->statements)))
        return NULL;
    struct statement *statement = &as->statements[as->nstatements++];
    *statement = (struct statement){
        .kind = kind, .unit = as->unit, .origin = as->origin, .tokens = kept};
    return statement;
}

static void add_definition(struct assembler *as, const struct token *tokens, uint32_t n,
                           bool constant)
{
    struct statement *statement =
        add_statement(as, constant ? STATEMENT_ASSIGN : STATEMENT_LABEL, tokens, n);
    struct symbol *symbol = asm_symbol(as, tokens[0].text, tokens[0].len, as->unit);

    as->simple = false;
    if (statement == NULL || symbol == NULL)
        return;
    /* The statement of an unlucky second definition would move the first one. */
    bool twice = symbol->defined && !(constant && symbol->constant);
    asm_define(as, symbol, &tokens[0], constant);
    if (twice)
        as->nstatements--;
    else
        statement->symbol = symbol;
}

/*
 * Numeric labels stand any number of times: "1b" is the nearest 1: before, "1f" the next one.
 * Each gets a name of its own, "1:3" for the third, which nobody can write; the name of
 * the token, which is the number and perhaps the letter, becomes that of the label.
 */
static void number_label(struct assembler *as, struct token *token, bool definition)
{
    uint32_t digits = definition ? token->len : token->len - 1;
    struct symbol *counter = asm_symbol(as, token->text, digits, as->unit);
    char *name = asm_alloc(as, digits + 16);

    if (counter == NULL || name == NULL)
        return;
    bool forward = !definition && token->text[digits] == 'f';
    counter->times += definition;
    int n = snprintf(name, digits + 16, "%.*s:%u", (int)digits, token->text,
                     (unsigned)(counter->times + forward));
    token->kind = TOKEN_NAME;
    token->text = name;
    token->len = (uint32_t)n;
}

/*
 * The uses on a line belong to where it stands, those in the arguments of a macro too. What
 * .eqv and .macro define is for later lines.
 */
static void number_uses(struct assembler *as, uint32_t from)
{
    if (from < as->nline &&
        (token_is_word(&as->line[from], ".eqv") || token_is_word(&as->line[from], ".macro")))
        return;
    for (uint32_t i = from; i < as->nline; i++) {
        struct token *token = &as->line[i];
        /* Arguments of a macro have had their turn. */
        if (token->kind == TOKEN_NAME && is_numeric(token->text) &&
            memchr(token->text, ':', token->len) == NULL)
            number_label(as, token, false);
    }
}

bool asm_is_label(const struct token *tokens, const struct token *end)
{
    if (end - tokens < 2 || !token_is(&tokens[1], ':'))
        return false;
    if (tokens[0].kind == TOKEN_NAME)
        return true;
    for (uint32_t i = 0; i < tokens[0].len; i++) {
        if (!is_numeric(tokens[0].text + i))
            return false;
    }
    return tokens[0].kind == TOKEN_INTEGER && tokens[0].len < ASM_NUMERIC_DIGITS;
}

static void take_directive(struct assembler *as, const struct token *tokens, uint32_t n)
{
    as->simple = false;
    if (token_is_word(tokens, ".include"))
        include(as, tokens, n);
    else if (token_is_word(tokens, ".eqv"))
        define_eqv(as, tokens, n);
    else if (token_is_word(tokens, ".macro"))
        asm_macro_begin(as);
    else if (token_is_word(tokens, ".end_macro") || token_is_word(tokens, ".endm"))
        asm_fail(as, tokens->column, "%.*s without .macro", (int)tokens->len, tokens->text);
    else if (!asm_declare(as, tokens, n))
        add_statement(as, STATEMENT_DIRECTIVE, tokens, n);
}

/* .set name, value and .equ name, value are name = value. */
static bool is_set_value(const struct token *tokens, uint32_t n)
{
    return n >= 4 && tokens[1].kind == TOKEN_NAME && token_is(&tokens[2], ',') &&
           (token_is_word(tokens, ".set") || token_is_word(tokens, ".equ"));
}

void asm_take_line(struct assembler *as)
{
    uint32_t at = 0;

    if (as->defining != NULL && asm_macro_line(as))
        return;
    if (as->has_eqv)
        replace_eqv(as);
    while (asm_is_label(&as->line[at], &as->line[as->nline])) {
        if (as->line[at].kind == TOKEN_INTEGER)
            number_label(as, &as->line[at], true);
        add_definition(as, &as->line[at], 1, false);
        at += 2;
    }
    if (as->has_numeric)
        number_uses(as, at);
    const struct token *first = &as->line[at];
    uint32_t n = as->nline - at;
    if (n == 0)
        return;
    if (first->kind != TOKEN_NAME) {
        char text[TOKEN_TEXT];
        asm_fail(as, first->column, "expected an instruction, a directive or a label, not %s",
                 asm_show(first, text));
    } else if (n >= 2 && token_is(first + 1, '=')) {
        add_definition(as, first, n, true);
    } else if (is_set_value(first, n)) {
        add_definition(as, first + 1, n - 1, true);
    } else if (first->text[0] == '.') {
        take_directive(as, first, n);
    } else if (!asm_macro_use(as, at)) {
        add_statement(as, STATEMENT_INSTRUCTION, first, n);
    }
}
