/*
 * Expressions: numbers, names and the operators of C with C's precedence, in 64 bits.
 */
#include "machine/asm/inner.h"

#include <string.h>

static struct value binary(struct assembler *as, const struct token **at, unsigned level,
                           unsigned depth);

static struct value number(int64_t n)
{
    return (struct value){.number = n, .fixed = true, .ok = true};
}

static struct value bad(void)
{
    return (struct value){.fixed = true};
}

static struct value name_value(struct assembler *as, const struct token *token)
{
    struct symbol *symbol;

    if (token_is_word(token, "."))
        return (struct value){.number = asm_location(as), .ok = true};
    symbol = asm_symbol_find(as, token->text, token->len);
    if (symbol == NULL && as->writing) {
        asm_undefined(as, token);
        return (struct value){.ok = false};
    }
    /* Not known yet: something near, so that branches there stay short. */
    if (symbol == NULL || symbol->pass == 0)
        return (struct value){.number = asm_location(as), .ok = true};
    return (struct value){
        .number = symbol->value,
        .fixed = symbol->fixed && symbol->pass == as->pass,
        .ok = true,
    };
}

static struct value expected_value(struct assembler *as, const struct token *token)
{
    char text[TOKEN_TEXT];

    if (token->kind == TOKEN_NAME && token->text[0] == '$')
        asm_fail(as, token->column, "%s is no register", asm_show(token, text));
    else
        asm_fail(as, token->column, "expected a number or a label, not %s", asm_show(token, text));
    return bad();
}

static bool close_parenthesis(struct assembler *as, const struct token **at, struct value inside)
{
    if (!token_is(*at, ')')) {
        if (inside.ok)
            asm_fail(as, (*at)->column, "expected )");
        return false;
    }
    ++*at;
    return true;
}

/* %hi(...) and %lo(...), as linkers define them: %lo is signed, so %hi rounds. */
static struct value half(struct assembler *as, const struct token **at, unsigned depth)
{
    const struct token *token = *at;
    bool hi = token->len == 2 && memcmp(token->text, "hi", 2) == 0;
    bool lo = token->len == 2 && memcmp(token->text, "lo", 2) == 0;

    if ((!hi && !lo) || !token_is(token + 1, '('))
        return expected_value(as, token);
    *at += 2;
    struct value value = binary(as, at, 0, depth + 1);
    if (!close_parenthesis(as, at, value))
        return bad();
    uint32_t word = (uint32_t)value.number;
    value.number = hi ? (word + 0x8000) >> 16 : word & 0xffff;
    value.low = true;
    value.fixed = true; /* 16 bits, whatever they are */
    return value;
}

static struct value unary(struct assembler *as, const struct token **at, unsigned depth)
{
    const struct token *token = *at;
    struct value value;

    if (depth > ASM_NESTING) {
        asm_fail(as, token->column, "the expression is nested too deeply");
        return bad();
    }
    if (token->kind == TOKEN_PERCENT)
        return half(as, at, depth);
    if (token->kind == TOKEN_NAME &&
        (token->text[0] != '$' || asm_symbol_find(as, token->text, token->len) != NULL)) {
        ++*at;
        return name_value(as, token);
    }
    if (token->kind == TOKEN_INTEGER) {
        ++*at;
        return number(token->value);
    }
    if (token->kind != TOKEN_PUNCT || strchr("+-~(", (int)token->value) == NULL)
        return expected_value(as, token);
    ++*at;
    if (token->value == '(') {
        value = binary(as, at, 0, depth + 1);
        return close_parenthesis(as, at, value) ? value : bad();
    }
    value = unary(as, at, depth + 1);
    if (token->value == '-')
        value.number = (int64_t)(0 - (uint64_t)value.number);
    else if (token->value == '~')
        value.number = ~value.number;
    value.low = false;
    return value;
}

/* How strongly an operator binds, from 0 (|) to 5 (*); -1: it is none. */
static int strength(const struct token *token)
{
    if (token->kind == TOKEN_PERCENT)
        return 5;
    if (token->kind != TOKEN_PUNCT)
        return -1;
    switch (token->value) {
    case '|':
        return 0;
    case '^':
        return 1;
    case '&':
        return 2;
    case SHIFT_LEFT:
    case SHIFT_RIGHT:
        return 3;
    case '+':
    case '-':
        return 4;
    case '*':
    case '/':
    case '%':
        return 5;
    default:
        return -1;
    }
}

/* In 64 bits; what does not fit there is a mistake, but what is shifted out is meant to go. */
static int64_t apply(struct assembler *as, const struct token *operator, int64_t a, int64_t b,
                     bool *ok)
{
    int64_t what = operator->kind == TOKEN_PERCENT ? '%' : operator->value;
    int64_t result;
    bool overflow = false;

    if ((what == '/' || what == '%') && b == 0) {
        asm_fail(as, operator->column, "division by zero");
        *ok = false;
        return 0;
    }
    if ((what == SHIFT_LEFT || what == SHIFT_RIGHT) && (b < 0 || b > 63)) {
        asm_fail(as, operator->column, "expected a shift by 0 to 63");
        *ok = false;
        return 0;
    }
    switch (what) {
    case '|':
        result = a | b;
        break;
    case '^':
        result = a ^ b;
        break;
    case '&':
        result = a & b;
        break;
    case SHIFT_LEFT:
        result = (int64_t)((uint64_t)a << b);
        break;
    case SHIFT_RIGHT:
        result = (int64_t)((uint64_t)a >> b);
        break;
    case '+':
        overflow = __builtin_add_overflow(a, b, &result);
        break;
    case '-':
        overflow = __builtin_sub_overflow(a, b, &result);
        break;
    case '*':
        overflow = __builtin_mul_overflow(a, b, &result);
        break;
    case '/':
        overflow = a == INT64_MIN && b == -1;
        result = overflow ? 0 : a / b;
        break;
    default:
        result = b == -1 ? 0 : a % b;
        break;
    }
    if (overflow) {
        asm_fail(as, operator->column, "the result does not fit in 64 bits");
        *ok = false;
    }
    return result;
}

static struct value binary(struct assembler *as, const struct token **at, unsigned level,
                           unsigned depth)
{
    struct value left = unary(as, at, depth);

    for (;;) {
        const struct token *operator = *at;
        int binds = strength(operator);
        struct value right;
        if (!left.ok && as->writing)
            return left;
        if (binds < (int)level)
            return left;
        /* %name behind a value is modulo and a name. */
        if (operator->kind == TOKEN_PERCENT) {
            struct token name = *operator;
            name.kind = TOKEN_NAME;
            ++*at;
            right = name_value(as, &name);
        } else {
            ++*at;
            right = binary(as, at, (unsigned)binds + 1, depth + 1);
        }
        bool ok = left.ok && right.ok;
        if (ok)
            left.number = apply(as, operator, left.number, right.number, &ok);
        left.ok = ok;
        left.fixed = left.fixed && right.fixed;
        left.low = false;
    }
}

struct value asm_expression(struct assembler *as, const struct token **at)
{
    return binary(as, at, 0, 0);
}

bool asm_constant(struct assembler *as, const struct token **at, int64_t min, int64_t max,
                  int64_t *result)
{
    const struct token *first = *at;
    struct value value = asm_expression(as, at);

    if (!value.ok)
        return false;
    if (!value.fixed || value.low) {
        asm_fail(as, first->column, "expected a number, or a constant defined before");
        return false;
    }
    if (value.number < min || value.number > max) {
        asm_fail(as, first->column, "%lld is out of range: expected %lld to %lld",
                 (long long)value.number, (long long)min, (long long)max);
        return false;
    }
    *result = value.number;
    return true;
}

bool asm_word(struct assembler *as, struct value value, uint32_t *word)
{
    if (!value.ok)
        return false;
    if (value.number < -INT64_C(0x80000000) || value.number > INT64_C(0xffffffff)) {
        asm_fail(as, as->column, "%lld does not fit in 32 bits", (long long)value.number);
        /* Lengths must not depend on values of early passes. */
        if (!as->quiet)
            return false;
    }
    *word = (uint32_t)value.number;
    return true;
}
