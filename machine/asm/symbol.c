/*
 * Names: labels and constants. A name belongs to its source; .globl makes it known to the
 * others under the unit UNIT_GLOBAL, whose entry points to the symbol (`alias`).
 */
#include "machine/asm/inner.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static uint32_t hash(const char *name, size_t len, uint32_t unit)
{
    uint32_t h = 2166136261u ^ unit * 2654435761u;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)name[i]) * 16777619u;
    return h ^ h >> 15;
}

/* The place of a name in the table: its symbol, or NULL. The table has free places. */
static struct symbol **place(struct symbol **table, uint32_t room, const char *name, size_t len,
                             uint32_t unit)
{
    uint32_t i = hash(name, len, unit) & (room - 1);

    while (table[i] != NULL && (table[i]->unit != unit || table[i]->len != len ||
                                memcmp(table[i]->name, name, len) != 0))
        i = (i + 1) & (room - 1);
    return &table[i];
}

static bool grow_table(struct assembler *as)
{
    uint32_t room = as->table_room == 0 ? 256 : as->table_room * 2;
    struct symbol **table = calloc(room, sizeof(struct symbol *));

    if (table == NULL) {
        asm_no_memory(as);
        return false;
    }
    for (uint32_t i = 0; i < as->table_room; i++) {
        struct symbol *s = as->table[i];
        if (s != NULL)
            *place(table, room, s->name, s->len, s->unit) = s;
    }
    free(as->table);
    as->table = table;
    as->table_room = room;
    return true;
}

struct symbol *asm_symbol(struct assembler *as, const char *name, size_t len, uint32_t unit)
{
    if (as->nsymbols >= as->table_room / 2 && !grow_table(as))
        return NULL;
    struct symbol **found = place(as->table, as->table_room, name, len, unit);
    if (*found != NULL)
        return *found;
    struct symbol *symbol = asm_alloc(as, sizeof(*symbol));
    if (symbol == NULL)
        return NULL;
    symbol->name = name;
    symbol->len = (uint32_t)len;
    symbol->unit = unit;
    if (as->last == NULL)
        as->last = &as->first;
    *as->last = symbol;
    as->last = &symbol->next;
    as->nsymbols++;
    *found = symbol;
    return symbol;
}

static struct symbol *find(const struct assembler *as, const char *name, size_t len, uint32_t unit)
{
    return as->table_room == 0 ? NULL : *place(as->table, as->table_room, name, len, unit);
}

struct symbol *asm_symbol_find(struct assembler *as, const char *name, size_t len)
{
    struct symbol *symbol = find(as, name, len, as->unit);

    if (symbol != NULL && symbol->defined)
        return symbol;
    symbol = find(as, name, len, UNIT_GLOBAL);
    if (symbol != NULL && symbol->alias != NULL)
        return symbol->alias;
    return symbol != NULL && symbol->defined ? symbol : NULL;
}

void asm_define(struct assembler *as, struct symbol *symbol, const struct token *token,
                bool constant)
{
    if (symbol->defined && (!constant || !symbol->constant)) {
        asm_fail(as, token->column, "'%.*s' is defined twice; the first time in %s:%u",
                 (int)symbol->len, symbol->name, as->files[symbol->origin.file].name,
                 (unsigned)symbol->origin.line);
        return;
    }
    if (!symbol->defined)
        symbol->origin = as->origin;
    symbol->defined = true;
    symbol->constant = constant;
}

/* "1:3" that is not there: the third is behind the last one, "1:0" before the first one. */
static void undefined_number(struct assembler *as, const struct token *token)
{
    int digits = (int)((const char *)memchr(token->text, ':', token->len) - token->text);
    bool before = token->text[digits + 1] == '0';

    asm_fail(as, token->column, "there is no label '%.*s:' %s this line", digits, token->text,
             before ? "before" : "behind");
}

void asm_undefined(struct assembler *as, const struct token *token)
{
    const struct symbol *near = NULL;
    /* Looking for near names costs time, which messages that nobody sees are not worth. */
    bool seen = as->errors->count < ASM_ERRORS_MAX;

    if (is_numeric(token->text)) {
        undefined_number(as, token);
        return;
    }
    for (const struct symbol *s = as->first; seen && s != NULL && near == NULL; s = s->next) {
        if (s->defined && !is_numeric(s->name) &&
            (s->unit == as->unit || s->unit == UNIT_GLOBAL || s->global) &&
            asm_near(token->text, token->len, s->name, s->len))
            near = s;
    }
    if (near != NULL)
        asm_fail(as, token->column, "'%.*s' is not defined; did you mean '%.*s'?", (int)token->len,
                 token->text, (int)near->len, near->name);
    else
        asm_fail(as, token->column, "'%.*s' is not defined", (int)token->len, token->text);
}

void asm_bind_globals(struct assembler *as)
{
    for (struct symbol *s = as->first; s != NULL; s = s->next) {
        if (!s->global || !s->defined || s->unit == UNIT_GLOBAL)
            continue;
        struct symbol *global = asm_symbol(as, s->name, s->len, UNIT_GLOBAL);
        if (global == NULL)
            return;
        as->origin = s->origin;
        if (global->alias != NULL)
            asm_fail(as, 0, "'%.*s' is .globl in two sources; the other one is %s:%u", (int)s->len,
                     s->name, as->files[global->alias->origin.file].name,
                     (unsigned)global->alias->origin.line);
        else
            global->alias = s;
    }
}

/*
 * Room for what .extern and .comm announce and nobody defines, from the start of the
 * area of externs on. Their values are constants of the passes, but no fixed ones.
 */
void asm_place_externs(struct assembler *as)
{
    uint64_t at = MACHINE_EXTERN;

    for (struct symbol *s = as->first; s != NULL; s = s->next) {
        if (s->extern_bytes == 0 || s->alias != NULL)
            continue;
        uint64_t align = s->extern_align;
        at = (at + align - 1) / align * align;
        as->origin = s->origin;
        if (at + s->extern_bytes > MACHINE_DATA) {
            asm_fail(as, 0, ".extern '%.*s' does not fit: there are 64 KiB for all of them",
                     (int)s->len, s->name);
            return;
        }
        s->value = (int64_t)at;
        s->defined = true;
        s->global = true;
        s->pass = 1;
        at += s->extern_bytes;
    }
    if (at > MACHINE_EXTERN) {
        uint32_t start = MACHINE_EXTERN;
        asm_select(as, SEGMENT_DATA, &start);
        asm_put_zeros(as, at - MACHINE_EXTERN);
        as->chunk_of[SEGMENT_DATA] = -1;
    }
}
