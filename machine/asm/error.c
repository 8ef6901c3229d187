/* Messages: where, what was expected, the line. Nothing is printed here. */
#include "machine/asm/inner.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What is behind is not shown. */
#define SHOWN_COLUMNS 200

/*
 * Length of the UTF-8 sequence of a character that can be shown at the beginning of a text; 0:
 * there is none. *c is the character.
 */
static size_t utf8_character(const char *text, size_t len, uint32_t *c)
{
    /* By the length: the first byte has these bits set, and the character is at least this. */
    static const uint8_t marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)text;
    size_t n = 1;

    if (len == 0)
        return 0;
    if (at[0] >= 0x80)
        n = 2;
    while (n > 1 && n <= 4 && (at[0] & (marks[n] >> 1 | 0x80)) != marks[n])
        n++;
    if (n > 4 || n > len)
        return 0;
    *c = n == 1 ? at[0] : at[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        *c = *c << 6 | (at[i] & 0x3f);
    }
    bool good = *c >= least[n] && *c <= 0x10ffff && (*c < 0xd800 || *c > 0xdfff);
    bool control = *c < ' ' || (*c >= 0x7f && *c < 0xa0);
    return good && !control ? n : 0;
}

/* Columns of a terminal that a character takes: marks on letters none, East Asian ones two. */
static int width(uint32_t c)
{
    static const struct {
        uint32_t from, to;
        int columns;
    } ranges[] = {
        {0x300, 0x36f, 0},    {0x200b, 0x200f, 0},  {0xfe00, 0xfe0f, 0},    {0x1100, 0x115f, 2},
        {0x2e80, 0xa4cf, 2},  {0xac00, 0xd7a3, 2},  {0xf900, 0xfaff, 2},    {0xfe30, 0xfe6f, 2},
        {0xff00, 0xff60, 2},  {0xffe0, 0xffe6, 2},  {0x1f300, 0x1faff, 2},  {0x20000, 0x3fffd, 2},
    };

    for (size_t i = 0; i < ASM_LENGTH(ranges); i++) {
        if (c >= ranges[i].from && c <= ranges[i].to)
            return ranges[i].columns;
    }
    return 1;
}

/* Blanks that put a caret below byte `bytes` of a line, counted from 0. */
static int indent(const char *text, size_t bytes)
{
    size_t len = strlen(text), at = 0, n;
    int columns = 0;
    uint32_t c;

    for (; at < bytes && at < len; at += n) {
        n = utf8_character(text + at, len - at, &c);
        columns += n > 0 ? width(c) : 1;
        n += n == 0;
    }
    return columns + (int)(bytes > at ? bytes - at : 0);
}

static char *source_line(const struct source_file *file, uint32_t line)
{
    if (line == 0 || line > file->nlines)
        return NULL;
    const char *start = file->text + file->starts[line - 1];
    size_t left = file->len - file->starts[line - 1];
    const char *end = memchr(start, '\n', left);
    size_t len = end != NULL ? (size_t)(end - start) : left;
    if (len > SHOWN_COLUMNS)
        len = SHOWN_COLUMNS;
    char *text = malloc(len + 1);
    if (text == NULL)
        return NULL;
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t c;
        n = utf8_character(start + i, len - i, &c);
        /* A tab is one column, so that the caret stands below its character. */
        if (n > 0)
            memcpy(text + i, start + i, n);
        else
            text[i] = (unsigned char)start[i] < 0x80 ? ' ' : '?';
        n += n == 0;
    }
    while (len > 0 && text[len - 1] == ' ')
        len--;
    text[len] = 0;
    return text;
}

static struct asm_error *new_error(struct asm_errors *errors)
{
    if (errors->count >= ASM_ERRORS_MAX) {
        errors->more++;
        return NULL;
    }
    if (errors->list == NULL) {
        errors->list = calloc(ASM_ERRORS_MAX, sizeof(*errors->list));
        if (errors->list == NULL) {
            errors->more++;
            return NULL;
        }
    }
    return &errors->list[errors->count++];
}

void asm_fail(struct assembler *as, uint32_t column, const char *format, ...)
{
    struct asm_error *error = as->quiet ? NULL : new_error(as->errors);
    va_list list;

    if (error == NULL)
        return;
    va_start(list, format);
    int n = vsnprintf(error->message, sizeof error->message, format, list);
    va_end(list);
    if (as->nfiles == 0 || as->origin.line == 0)
        return;
    const struct source_file *file = &as->files[as->origin.file];
    const struct use *use = as->origin.use;
    if (use != NULL && n >= 0 && (size_t)n < sizeof error->message)
        snprintf(error->message + n, sizeof error->message - (size_t)n,
                 " (in macro '%s', used in %s:%u)", use->name, as->files[use->file].name,
                 (unsigned)use->line);
    error->file = strdup(file->name);
    error->line = as->origin.line;
    error->column = column;
    error->text = source_line(file, as->origin.line);
}

void asm_give_up(struct assembler *as, const char *message)
{
    bool quiet = as->quiet;

    as->quiet = false;
    if (!as->hopeless)
        asm_fail(as, 0, "%s", message);
    as->quiet = quiet;
    as->hopeless = true;
}

void asm_no_memory(struct assembler *as)
{
    asm_give_up(as, "no memory left");
}

const char *asm_show(const struct token *token, char *text)
{
    char inside[TOKEN_TEXT - 8 + 1];
    uint32_t len = token->len < TOKEN_TEXT - 8 ? token->len : TOKEN_TEXT - 8;

    if (token->kind == TOKEN_END)
        return "the end of the line";
    if (token->kind == TOKEN_STRING)
        return "a string";
    /* A numeric label without its own number. */
    if (token->kind == TOKEN_NAME && is_numeric(token->text)) {
        const char *colon = memchr(token->text, ':', len);
        len = colon != NULL ? (uint32_t)(colon - token->text) + 1 : len;
    }
    for (uint32_t i = 0; i < len; i++)
        inside[i] = token->text[i] < ' ' || token->text[i] == 0x7f ? '?' : token->text[i];
    inside[len] = 0;
    snprintf(text, TOKEN_TEXT, "'%s%s%s'", token->kind == TOKEN_PERCENT ? "%" : "", inside,
             len < token->len && len == TOKEN_TEXT - 8 ? "..." : "");
    return text;
}

bool asm_near(const char *typed, size_t len, const char *name, size_t name_len)
{
    uint8_t before[33], row[33], last[33] = {0};
    size_t allowed = len > 6 ? 2 : 1;

    if (len > 32 || name_len > 32 || len + allowed < name_len || name_len + allowed < len ||
        len < 2)
        return false;
    /* Edit distance in which a swap of neighbours counts as one. */
    for (size_t j = 0; j <= name_len; j++)
        row[j] = (uint8_t)j;
    for (size_t i = 1; i <= len; i++) {
        memcpy(last, before, sizeof last);
        memcpy(before, row, sizeof before);
        row[0] = (uint8_t)i;
        for (size_t j = 1; j <= name_len; j++) {
            uint8_t best = (uint8_t)(before[j - 1] + (typed[i - 1] != name[j - 1]));
            if (before[j] + 1 < best)
                best = (uint8_t)(before[j] + 1);
            if (row[j - 1] + 1 < best)
                best = (uint8_t)(row[j - 1] + 1);
            if (i > 1 && j > 1 && typed[i - 1] == name[j - 2] && typed[i - 2] == name[j - 1] &&
                last[j - 2] + 1 < best)
                best = (uint8_t)(last[j - 2] + 1);
            row[j] = best;
        }
    }
    return row[name_len] <= allowed;
}

/* The order of the sources: files in the order in which they were met. */
struct ordered {
    struct asm_error error;
    uint32_t file;
    size_t index;
};

static int compare(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;

    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    if (x->error.line != y->error.line)
        return x->error.line < y->error.line ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

void asm_sort_errors(struct assembler *as)
{
    struct asm_errors *errors = as->errors;
    struct ordered *list = calloc(errors->count + 1, sizeof(*list));

    if (list == NULL)
        return;
    for (size_t i = 0; i < errors->count; i++) {
        list[i] = (struct ordered){errors->list[i], as->nfiles, i};
        for (uint32_t f = 0; f < as->nfiles && errors->list[i].file != NULL; f++) {
            if (as->files[f].name != NULL && strcmp(as->files[f].name, errors->list[i].file) == 0) {
                list[i].file = f;
                break;
            }
        }
    }
    qsort(list, errors->count, sizeof(*list), compare);
    for (size_t i = 0; i < errors->count; i++)
        errors->list[i] = list[i].error;
    free(list);
}

void asm_errors_free(struct asm_errors *errors)
{
    for (size_t i = 0; i < errors->count; i++) {
        free(errors->list[i].file);
        free(errors->list[i].text);
    }
    free(errors->list);
    memset(errors, 0, sizeof(*errors));
}

size_t asm_error_format(const struct asm_error *error, char *text, size_t len)
{
    char place[32] = "";
    int n;

    if (error->column != 0)
        snprintf(place, sizeof place, ":%u:%u", (unsigned)error->line, (unsigned)error->column);
    else if (error->line != 0)
        snprintf(place, sizeof place, ":%u", (unsigned)error->line);
    if (error->file == NULL)
        n = snprintf(text, len, "%s", error->message);
    else if (error->text == NULL || error->text[0] == 0)
        n = snprintf(text, len, "%s%s: %s", error->file, place, error->message);
    else if (error->column == 0 || error->column > SHOWN_COLUMNS + 1)
        n = snprintf(text, len, "%s%s: %s\n    %s", error->file, place, error->message,
                     error->text);
    else
        n = snprintf(text, len, "%s%s: %s\n    %s\n    %*s^", error->file, place, error->message,
                     error->text, indent(error->text, error->column - 1), "");
    return n < 0 ? 0 : (size_t)n < len ? (size_t)n : len > 0 ? len - 1 : 0;
}
