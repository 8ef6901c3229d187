/*
 * Lines to tokens. Commas are tokens, though nobody insists on them, because SPIM and MARS
 * do not; a statement ends with the line, a comment or a semicolon.
 */
#include "machine/asm/inner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct lexer {
    struct assembler *as;
    const char *text;
    size_t len, at;
    bool failed;
};

static void fail(struct lexer *lexer, size_t at, const char *message)
{
    asm_fail(lexer->as, (uint32_t)at + 1, "%s", message);
    lexer->failed = true;
}

static int peek(const struct lexer *lexer, size_t ahead)
{
    size_t at = lexer->at + ahead;

    return at < lexer->len ? (unsigned char)lexer->text[at] : -1;
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_start(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' || c == '$';
}

static bool is_name(int c)
{
    return is_name_start(c) || is_digit(c);
}

static int digit_of(int c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

/* A new token whose text is [from, at). NULL when the line has too many. */
static struct token *new_token(struct lexer *lexer, enum token_kind kind, size_t from)
{
    struct assembler *as = lexer->as;

    if (as->nline >= ASM_LINE_TOKENS) {
        fail(lexer, from, "the line is too long");
        return NULL;
    }
    struct token *token = &as->line[as->nline++];
    *token = (struct token){
        .kind = kind,
        .column = (uint32_t)from + 1,
        .text = lexer->text + from,
        .len = (uint32_t)(lexer->at - from),
    };
    return token;
}

/* The byte behind a backslash that was read; -1 with an error when it is none. */
static int escape(struct lexer *lexer)
{
    static const char letters[] = "ntrabfv0\\\"'e";
    static const char bytes[] = "\n\t\r\a\b\f\v\0\\\"'\x1b";
    int c = peek(lexer, 0), value = 0, n = 0;

    if (c == 'x' || c == 'X') {
        lexer->at++;
        for (; n < 2 && digit_of(peek(lexer, 0)) < 16; n++, lexer->at++)
            value = value * 16 + digit_of(peek(lexer, 0));
        if (n == 0)
            fail(lexer, lexer->at, "expected hexadecimal digits after \\x");
        return n == 0 ? -1 : value;
    }
    if (digit_of(c) < 8) {
        for (; n < 3 && digit_of(peek(lexer, 0)) < 8 && value < 32; n++, lexer->at++)
            value = value * 8 + digit_of(peek(lexer, 0));
        return value;
    }
    const char *found = c > 0 ? memchr(letters, c, sizeof letters - 1) : NULL;
    if (found == NULL) {
        fail(lexer, lexer->at, "unknown escape; expected \\n \\t \\r \\a \\b \\f \\v \\0 \\\\ "
                               "\\\" \\' \\e, \\xHH or \\OOO");
        return -1;
    }
    lexer->at++;
    return (unsigned char)bytes[found - letters];
}

static void lex_string(struct lexer *lexer)
{
    size_t from = lexer->at++;
    /* What is decoded is never longer than what is written. */
    char *bytes = asm_alloc(lexer->as, lexer->len - from);
    size_t n = 0;

    if (bytes == NULL) {
        lexer->failed = true;
        return;
    }
    for (;;) {
        int c = peek(lexer, 0);
        if (c < 0) {
            fail(lexer, from, "the string does not end on this line: expected \"");
            return;
        }
        lexer->at++;
        if (c == '"')
            break;
        if (c == '\\') {
            c = escape(lexer);
            if (c < 0)
                return;
        }
        bytes[n++] = (char)c;
    }
    struct token *token = new_token(lexer, TOKEN_STRING, from);
    if (token != NULL) {
        token->text = bytes;
        token->len = (uint32_t)n;
    }
}

static void lex_character(struct lexer *lexer)
{
    size_t from = lexer->at++;
    int c = peek(lexer, 0);

    if (c < 0 || c == '\'') {
        fail(lexer, from, "expected a character between '...'");
        return;
    }
    lexer->at++;
    if (c == '\\' && (c = escape(lexer)) < 0)
        return;
    if (peek(lexer, 0) != '\'') {
        fail(lexer, from, "expected one character, and ' behind it");
        return;
    }
    lexer->at++;
    struct token *token = new_token(lexer, TOKEN_INTEGER, from);
    if (token != NULL)
        token->value = c;
}

/* Whether a decimal number goes on as a fraction or with an exponent. */
static bool looks_like_float(const struct lexer *lexer)
{
    size_t n = 0;

    while (is_digit(peek(lexer, n)))
        n++;
    if (peek(lexer, n) == '.')
        return true;
    int c = peek(lexer, n), next = peek(lexer, n + 1);
    return n > 0 && (c == 'e' || c == 'E') &&
           (is_digit(next) || ((next == '-' || next == '+') && is_digit(peek(lexer, n + 2))));
}

static void lex_float(struct lexer *lexer)
{
    char text[128];
    size_t from = lexer->at;

    while (is_digit(peek(lexer, 0)) || peek(lexer, 0) == '.')
        lexer->at++;
    if (peek(lexer, 0) == 'e' || peek(lexer, 0) == 'E') {
        lexer->at++;
        if (peek(lexer, 0) == '-' || peek(lexer, 0) == '+')
            lexer->at++;
        while (is_digit(peek(lexer, 0)))
            lexer->at++;
    }
    size_t n = lexer->at - from;
    if (n >= sizeof text) {
        fail(lexer, from, "the number is too long");
        return;
    }
    memcpy(text, lexer->text + from, n);
    text[n] = 0;
    char *end;
    double number = strtod(text, &end);
    if (*end != 0 || is_name(peek(lexer, 0))) {
        fail(lexer, from, "this is no number; expected something like 1.5 or 2.5e-3");
        return;
    }
    if (isinf(number)) {
        fail(lexer, from, "the number does not fit in a double");
        return;
    }
    struct token *token = new_token(lexer, TOKEN_FLOAT, from);
    if (token != NULL)
        token->number = number;
}

/* 1b and 1f: uses of the label 1: as names. Binary and hexadecimal numbers look otherwise. */
static bool lex_numeric_use(struct lexer *lexer)
{
    size_t n = 0;

    while (is_digit(peek(lexer, n)))
        n++;
    if ((peek(lexer, n) != 'b' && peek(lexer, n) != 'f') || is_name(peek(lexer, n + 1)) ||
        n >= ASM_NUMERIC_DIGITS)
        return false;
    size_t from = lexer->at;
    lexer->at += n + 1;
    new_token(lexer, TOKEN_NAME, from);
    lexer->as->has_numeric = true;
    return true;
}

static void lex_integer(struct lexer *lexer)
{
    size_t from = lexer->at;
    unsigned base = 10;
    uint64_t value = 0;
    bool overflow = false;

    if (lex_numeric_use(lexer))
        return;
    if (peek(lexer, 0) == '0') {
        int next = peek(lexer, 1) | 0x20;
        bool octal = next == 'o' || is_digit(peek(lexer, 1));
        base = next == 'x' ? 16 : next == 'b' ? 2 : octal ? 8 : 10;
        if (next == 'x' || next == 'b' || next == 'o')
            lexer->at += 2;
    }
    size_t digits = lexer->at;
    for (; (unsigned)digit_of(peek(lexer, 0)) < base; lexer->at++)
        overflow |= __builtin_mul_overflow(value, (uint64_t)base, &value) ||
                    __builtin_add_overflow(value, (uint64_t)digit_of(peek(lexer, 0)), &value);
    if (lexer->at == digits || is_name(peek(lexer, 0))) {
        fail(lexer, from, base == 8 ? "this is no number; after a leading 0 the digits are octal"
                                    : "this is no number");
        return;
    }
    if (overflow) {
        fail(lexer, from, "the number does not fit in 64 bits");
        return;
    }
    struct token *token = new_token(lexer, TOKEN_INTEGER, from);
    if (token != NULL)
        token->value = (int64_t)value;
}

/* SNAPSHOT takes the rest of the line as a path, with or without quotes. */
static void lex_path(struct lexer *lexer)
{
    while (peek(lexer, 0) == ' ' || peek(lexer, 0) == '\t')
        lexer->at++;
    int c = peek(lexer, 0);
    if (c < 0 || c == '"' || c == '%' || c == '#')
        return;
    size_t from = lexer->at, end = from;
    for (; peek(lexer, 0) >= 0 && peek(lexer, 0) != '#'; lexer->at++) {
        if ((unsigned char)lexer->text[lexer->at] > ' ')
            end = lexer->at + 1;
    }
    struct token *token = new_token(lexer, TOKEN_STRING, from);
    if (token != NULL)
        token->len = (uint32_t)(end - from);
}

static void lex_name(struct lexer *lexer)
{
    size_t from = lexer->at;
    struct assembler *as = lexer->as;

    while (is_name(peek(lexer, 0)))
        lexer->at++;
    struct token *token = new_token(lexer, TOKEN_NAME, from);
    if (token == NULL)
        return;
    if (token->text[0] == '$') {
        int number = isa_register_find(token->text + 1, token->len - 1);
        int fpu = isa_fpu_register_find(token->text + 1, token->len - 1);
        if (number >= 0 || fpu >= 0) {
            token->kind = number >= 0 ? TOKEN_REGISTER : TOKEN_FPU;
            token->value = number >= 0 ? number : fpu;
        }
    } else if (token->len > ASM_NAME_MAX) {
        fail(lexer, from, "the name is too long");
    } else if (token->len == 8 && strncasecmp(token->text, "SNAPSHOT", 8) == 0 &&
               peek(lexer, 0) != ':' &&
               (as->nline == 1 || token_is(&as->line[as->nline - 2], ':'))) {
        lex_path(lexer);
    }
}

static void lex_punct(struct lexer *lexer)
{
    size_t from = lexer->at;
    int c = peek(lexer, 0), value = c;

    if (c == '%' && is_name_start(peek(lexer, 1)) && peek(lexer, 1) != '$') {
        lexer->at++;
        while (is_name(peek(lexer, 0)))
            lexer->at++;
        struct token *name = new_token(lexer, TOKEN_PERCENT, from);
        if (name != NULL) {
            name->text++;
            name->len--;
        }
        return;
    }
    if (c >= 0x80 || c < ' ' || strchr(",():+-*/%&|^~=<>", c) == NULL) {
        fail(lexer, from, "unexpected character");
        return;
    }
    if (c == '<' || c == '>') {
        if (peek(lexer, 1) != c) {
            fail(lexer, from, c == '<' ? "expected <<" : "expected >>");
            return;
        }
        value = c == '<' ? SHIFT_LEFT : SHIFT_RIGHT;
        lexer->at++;
    }
    lexer->at++;
    struct token *token = new_token(lexer, TOKEN_PUNCT, from);
    if (token != NULL)
        token->value = value;
}

size_t asm_lex(struct assembler *as, const char *text, size_t len, size_t from)
{
    struct lexer lexer = {.as = as, .text = text, .len = len, .at = from};

    as->nline = 0;
    while (!lexer.failed && lexer.at < len) {
        int c = peek(&lexer, 0);
        if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v')
            lexer.at++;
        else if (c == '#')
            return len;
        else if (c == ';')
            return lexer.at + 1;
        else if (c == '"')
            lex_string(&lexer);
        else if (c == '\'')
            lex_character(&lexer);
        else if (is_digit(c) ? looks_like_float(&lexer) : c == '.' && is_digit(peek(&lexer, 1)))
            lex_float(&lexer);
        else if (is_digit(c))
            lex_integer(&lexer);
        else if (is_name_start(c))
            lex_name(&lexer);
        else
            lex_punct(&lexer);
    }
    if (lexer.failed)
        as->nline = 0;
    return len;
}

struct token *asm_keep_tokens(struct assembler *as, const struct token *tokens, uint32_t n)
{
    if (n > ASM_TOKENS_MAX - as->ntokens) {
        asm_give_up(as, "the program has too many words");
        return NULL;
    }
    struct token *kept = asm_alloc(as, (n + 1) * sizeof(*kept));
    if (kept == NULL)
        return NULL;
    as->ntokens += n + 1;
    if (n > 0)
        memcpy(kept, tokens, n * sizeof(*kept));
    kept[n].column = n > 0 ? tokens[n - 1].column + tokens[n - 1].len : 1;
    kept[n].text = "";
    return kept;
}

bool token_is_word(const struct token *token, const char *word)
{
    size_t len = strlen(word);

    return token->kind == TOKEN_NAME && token->len == len && memcmp(token->text, word, len) == 0;
}
