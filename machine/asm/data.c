/* Directives that hold data: numbers, floating-point numbers, strings. */
#include "machine/asm/inner.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Behind a value, ": n" repeats it. */
static bool repetition(struct assembler *as, const struct token **at, int64_t *n)
{
    *n = 1;
    if (!token_is(*at, ':'))
        return true;
    ++*at;
    return asm_constant(as, at, 0, 1 << 24, n);
}

static void put_repeated(struct assembler *as, uint64_t number, uint32_t bytes, int64_t n)
{
    if (!as->writing || number == 0) {
        asm_put_zeros(as, (uint64_t)n * bytes);
        return;
    }
    for (int64_t i = 0; i < n && !as->hopeless; i++)
        asm_put_number(as, number, bytes);
}

static void integers(struct assembler *as, const struct token *at, uint32_t bytes)
{
    /* Signed or unsigned, as the reader likes. */
    int64_t max = bytes == 8 ? INT64_MAX : (INT64_C(1) << 8 * bytes) - 1;
    int64_t min = bytes == 8 ? INT64_MIN : -(INT64_C(1) << (8 * bytes - 1));

    if (as->auto_align)
        asm_align(as, bytes, true);
    do {
        const struct token *first = at;
        int64_t n;
        struct value value = asm_expression(as, &at);
        if (value.ok && (value.number < min || value.number > max))
            asm_fail(as, first->column,
                     "%" PRId64 " does not fit in %u byte%s: expected %" PRId64 " to %" PRId64,
                     value.number, (unsigned)bytes, bytes == 1 ? "" : "s", min, max);
        if (at == first || !repetition(as, &at, &n))
            return;
        put_repeated(as, (uint64_t)value.number, bytes, n);
        if (token_is(at, ','))
            at++;
    } while (at->kind != TOKEN_END && !as->hopeless);
}

static bool real_number(struct assembler *as, const struct token **at, double *number)
{
    bool minus = token_is(*at, '-');
    char text[TOKEN_TEXT];

    if (minus || token_is(*at, '+'))
        ++*at;
    const struct token *token = (*at);
    if (token->kind == TOKEN_FLOAT)
        *number = token->number;
    else if (token->kind == TOKEN_INTEGER)
        *number = (double)token->value;
    else if (token_is_word(token, "nan") || token_is_word(token, "NaN"))
        *number = NAN;
    else if (token_is_word(token, "inf") || token_is_word(token, "Infinity"))
        *number = INFINITY;
    else {
        asm_fail(as, token->column, "expected a number like 1.5, not %s", asm_show(token, text));
        return false;
    }
    ++*at;
    if (minus)
        *number = -*number;
    return true;
}

static void reals(struct assembler *as, const struct token *at, uint32_t bytes)
{
    if (as->auto_align)
        asm_align(as, bytes, true);
    do {
        const struct token *first = at;
        double number;
        int64_t n;
        uint64_t bits;
        if (!real_number(as, &at, &number) || !repetition(as, &at, &n))
            return;
        if (bytes == 4) {
            /* Narrowing what is too large is undefined in C, and a mistake here. */
            if (isfinite(number) && fabs(number) > 3.4028235677973366e38) {
                asm_fail(as, first->column, "the number does not fit in a .float");
                number = 0;
            }
            float narrow = (float)number;
            uint32_t word;
            memcpy(&word, &narrow, sizeof word);
            bits = word;
        } else {
            memcpy(&bits, &number, sizeof bits);
        }
        put_repeated(as, bits, bytes, n);
        if (token_is(at, ','))
            at++;
    } while (at->kind != TOKEN_END && !as->hopeless);
}

static void strings(struct assembler *as, const struct token *at, bool zero)
{
    do {
        char text[TOKEN_TEXT];
        if (at->kind != TOKEN_STRING) {
            asm_fail(as, at->column, "expected a string in \"...\", not %s", asm_show(at, text));
            return;
        }
        asm_put(as, at->text, at->len);
        if (zero)
            asm_put_zeros(as, 1);
        at++;
        if (token_is(at, ','))
            at++;
    } while (at->kind != TOKEN_END && !as->hopeless);
}

bool asm_data_directive(struct assembler *as, const struct token *tokens)
{
    enum kind { INTEGERS, REALS, STRINGS, STRINGS_WITH_ZERO };
    static const struct {
        const char *name;
        enum kind kind;
        uint32_t bytes;
    } list[] = {
        {".byte", INTEGERS, 1},         {".half", INTEGERS, 2},     {".word", INTEGERS, 4},
        {".short", INTEGERS, 2},        {".hword", INTEGERS, 2},    {".2byte", INTEGERS, 2},
        {".long", INTEGERS, 4},         {".int", INTEGERS, 4},      {".4byte", INTEGERS, 4},
        {".dword", INTEGERS, 8},        {".quad", INTEGERS, 8},     {".8byte", INTEGERS, 8},
        {".float", REALS, 4},           {".double", REALS, 8},      {".ascii", STRINGS, 1},
        {".asciiz", STRINGS_WITH_ZERO, 1}, {".asciz", STRINGS_WITH_ZERO, 1},
        {".string", STRINGS_WITH_ZERO, 1},
    };

    for (size_t i = 0; i < ASM_LENGTH(list); i++) {
        if (!token_is_word(tokens, list[i].name))
            continue;
        if (list[i].kind == INTEGERS)
            integers(as, tokens + 1, list[i].bytes);
        else if (list[i].kind == REALS)
            reals(as, tokens + 1, list[i].bytes);
        else
            strings(as, tokens + 1, list[i].kind == STRINGS_WITH_ZERO);
        return true;
    }
    return false;
}
