/*
 * Macros as MARS has them:  .macro name(%a, %b) ... .end_macro,  used as  name(1, $t0)  or
 * name 1, $t0. Their number of parameters is part of the name. Labels inside belong to one
 * use, whose number is put behind their names.
 */
#include "machine/asm/inner.h"

#include <stdio.h>
#include <string.h>

#define EXPANSIONS_MAX 100000

struct macro_line {
    struct origin origin;
    const struct token *tokens;
    uint32_t n;
    struct macro_line *next;
};

struct macro {
    const struct token *name;
    uint32_t number; /* of the macro: the scope of its labels */
    uint32_t nparameters;
    struct token parameters[ASM_MACRO_PARAMETERS];
    struct macro_line *first, **last;
    struct origin origin;
    struct macro *next; /* of the same name */
};

static bool same_text(const struct token *a, const struct token *b)
{
    return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

void asm_macro_begin(struct assembler *as)
{
    uint32_t at = 0, n = as->nline;
    struct macro *macro = asm_alloc(as, sizeof(*macro));
    struct symbol *symbol;

    if (macro == NULL)
        return;
    while (at < n && !token_is_word(&as->line[at], ".macro"))
        at++;
    /* Lines up to .end_macro belong to it even when it is wrong. */
    as->defining = macro;
    macro->last = &macro->first;
    macro->origin = as->origin;
    macro->number = as->nmacros++;
    if (++at >= n || as->line[at].kind != TOKEN_NAME) {
        asm_fail(as, as->line[at - 1].column, "expected .macro NAME or .macro NAME(%%A, %%B)");
        return;
    }
    macro->name = asm_keep_tokens(as, &as->line[at], 1);
    symbol = asm_symbol(as, as->line[at].text, as->line[at].len, UNIT_MACRO);
    for (at++; at < n; at++) {
        const struct token *token = &as->line[at];
        if (token_is(token, '(') || token_is(token, ')') || token_is(token, ','))
            continue;
        if (token->kind != TOKEN_PERCENT || macro->nparameters == ASM_MACRO_PARAMETERS) {
            asm_fail(as, token->column, "expected at most %d parameters like %%name",
                     ASM_MACRO_PARAMETERS);
            return;
        }
        macro->parameters[macro->nparameters++] = *token;
    }
    if (symbol == NULL || macro->name == NULL)
        return;
    for (const struct macro *other = symbol->macro; other != NULL; other = other->next) {
        if (other->nparameters == macro->nparameters) {
            asm_fail(as, macro->name->column, "macro '%.*s' is defined twice; first in line %u",
                     (int)symbol->len, symbol->name, (unsigned)other->origin.line);
            return;
        }
    }
    macro->next = symbol->macro;
    symbol->macro = macro;
}

bool asm_macro_line(struct assembler *as)
{
    struct macro *macro = as->defining;
    const struct token *tokens = as->line;

    if (token_is_word(tokens, ".end_macro") || token_is_word(tokens, ".endm")) {
        as->defining = NULL;
        return true;
    }
    if (token_is_word(tokens, ".macro")) {
        asm_fail(as, tokens->column, "expected .end_macro before another .macro");
        return true;
    }
    struct macro_line *line = asm_alloc(as, sizeof(*line));
    if (line == NULL)
        return true;
    for (uint32_t i = 0; asm_is_label(&tokens[i], &tokens[as->nline]); i += 2) {
        struct symbol *label = asm_symbol(as, tokens[i].text, tokens[i].len,
                                          UNIT_MACRO_LABELS + macro->number % 0x7fffff00u);
        if (label != NULL)
            label->global = true; /* it is one: see rename_label */
    }
    line->tokens = asm_keep_tokens(as, tokens, as->nline);
    line->n = as->nline;
    line->origin = as->origin;
    if (line->tokens == NULL)
        return true;
    *macro->last = line;
    macro->last = &line->next;
    return true;
}

/* The arguments of a use: runs of tokens. */
struct arguments {
    uint32_t n;
    struct {
        const struct token *tokens;
        uint32_t n;
    } list[ASM_MACRO_PARAMETERS];
};

/* Whether the tokens are ( ... ) as a whole. */
static bool in_parentheses(const struct token *tokens, uint32_t n)
{
    uint32_t depth = 0;

    if (n < 2 || !token_is(&tokens[0], '(') || !token_is(&tokens[n - 1], ')'))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        depth += token_is(&tokens[i], '(');
        depth -= token_is(&tokens[i], ')') && depth > 0;
        if (depth == 0 && i + 1 < n)
            return false;
    }
    return true;
}

/*
 * Whether an argument ends before token `i`: at a comma, or, in a list without commas,
 * before each token that does not go on with a sign or a parenthesis.
 */
static bool ends_before(const struct token *tokens, uint32_t i, bool commas, uint32_t depth)
{
    if (depth > 0)
        return false;
    if (commas)
        return token_is(&tokens[i], ',');
    return !token_is(&tokens[i], '(') && !token_is(&tokens[i], ')') &&
           !token_is(&tokens[i - 1], '-');
}

static bool split(struct assembler *as, const struct token *tokens, uint32_t n,
                  struct arguments *arguments)
{
    uint32_t depth = 0, from = 0;
    bool commas = false;

    if (in_parentheses(tokens, n)) {
        tokens++;
        n -= 2;
    }
    for (uint32_t i = 0; i < n; i++)
        commas |= token_is(&tokens[i], ',');
    for (uint32_t i = 1; i <= n; i++) {
        depth += token_is(&tokens[i - 1], '(');
        depth -= token_is(&tokens[i - 1], ')') && depth > 0;
        if (i < n && !ends_before(tokens, i, commas, depth))
            continue;
        if (arguments->n == ASM_MACRO_PARAMETERS) {
            asm_fail(as, tokens[i - 1].column, "too many arguments");
            return false;
        }
        arguments->list[arguments->n].tokens = &tokens[from];
        arguments->list[arguments->n++].n = i - from;
        from = commas ? i + 1 : i;
    }
    return true;
}

/* A label of the macro gets a name of this use. */
static void rename_label(struct assembler *as, const struct macro *macro, struct token *token)
{
    const struct symbol *label = asm_symbol(as, token->text, token->len,
                                            UNIT_MACRO_LABELS + macro->number % 0x7fffff00u);

    if (label == NULL || !label->global)
        return;
    size_t room = token->len + 16;
    char *name = asm_alloc(as, room);
    if (name == NULL)
        return;
    token->len = (uint32_t)snprintf(name, room, "%.*s_M%u", (int)token->len, token->text,
                                    (unsigned)as->expansions);
    token->text = name;
}

/* Makes as->line of a line of the macro. */
static bool fill_line(struct assembler *as, const struct macro *macro,
                      const struct macro_line *line, const struct arguments *arguments)
{
    as->nline = 0;
    for (uint32_t i = 0; i < line->n; i++) {
        const struct token *from = &line->tokens[i];
        uint32_t n = 1, column = from->column;
        for (uint32_t p = 0; p < macro->nparameters && from->kind == TOKEN_PERCENT; p++) {
            if (same_text(from, &macro->parameters[p])) {
                from = arguments->list[p].tokens;
                n = arguments->list[p].n;
                break;
            }
        }
        if (n > ASM_LINE_TOKENS - as->nline) {
            asm_fail(as, column, "the line is too long with the arguments of the macro");
            return false;
        }
        for (uint32_t k = 0; k < n; k++) {
            struct token *to = &as->line[as->nline++];
            *to = from[k];
            to->column = column;
            if (to->kind == TOKEN_NAME && from == &line->tokens[i])
                rename_label(as, macro, to);
        }
    }
    return as->nline > 0;
}

static void expand(struct assembler *as, const struct macro *macro,
                   const struct arguments *arguments)
{
    struct origin before = as->origin;
    struct use *use = asm_alloc(as, sizeof(*use));
    char *name = asm_alloc(as, macro->name->len + 1);

    if (use == NULL || name == NULL)
        return;
    if (as->macro_depth >= ASM_MACRO_DEPTH || as->expansions >= EXPANSIONS_MAX) {
        asm_give_up(as, "too many uses of macros, or a macro that uses itself");
        return;
    }
    memcpy(name, macro->name->text, macro->name->len);
    /* What is said is the line that the author of the source wrote: the outermost use. */
    *use = before.use != NULL ? *before.use : (struct use){name, before.file, before.line};
    use->name = name;
    as->expansions++;
    as->macro_depth++;
    for (const struct macro_line *line = macro->first; line != NULL && !as->hopeless;
         line = line->next) {
        as->origin = (struct origin){line->origin.file, line->origin.line, use};
        if (fill_line(as, macro, line, arguments))
            asm_take_line(as);
    }
    as->macro_depth--;
    as->origin = before;
}

bool asm_macro_use(struct assembler *as, uint32_t first)
{
    const struct token *name = &as->line[first];
    const struct symbol *symbol =
        as->nmacros == 0 ? NULL : asm_symbol(as, name->text, name->len, UNIT_MACRO);
    struct arguments arguments = {0};
    const struct macro *macro;

    if (symbol == NULL || symbol->macro == NULL)
        return false;
    /* The line is needed for the lines of the macro. */
    uint32_t n = as->nline - first;
    const struct token *tokens = asm_keep_tokens(as, name, n);
    if (tokens == NULL || !split(as, tokens + 1, n - 1, &arguments))
        return true;
    for (macro = symbol->macro; macro != NULL; macro = macro->next) {
        if (macro->nparameters == arguments.n) {
            expand(as, macro, &arguments);
            return true;
        }
    }
    if (isa_find(name->text, name->len) != ISA_UNKNOWN)
        return false;
    asm_fail(as, tokens->column, "macro '%.*s' takes %u argument%s, not %u", (int)symbol->len,
             symbol->name, (unsigned)symbol->macro->nparameters,
             symbol->macro->nparameters == 1 ? "" : "s", (unsigned)arguments.n);
    return true;
}
