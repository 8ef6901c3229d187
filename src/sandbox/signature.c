/*
 * Signatures: text to struct and back. The text comes from image files (hostile)
 * and from hosts; the parser goes through it once, keeps no more than fits into
 * the fixed-size structure, and says at which column it stopped and what it
 * wanted there.
 *
 *     signature = type name "(" [ "void" | parameter { "," parameter } ] ")"
 *     parameter = type [ name ]
 */
#include <mayfly/signature.h>

#include "abi/mailbox.h"
#include "abi/value.h"
#include "base/checked.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>

_Static_assert(MF_PARAMS_MAX == MF_ABI_PARAMS_MAX, "host and guest agree on parameters");
_Static_assert(MF_VOID == (int)MF_ABI_TYPE_VOID && MF_BOOL == (int)MF_ABI_TYPE_BOOL &&
                   MF_I32 == (int)MF_ABI_TYPE_I32 && MF_U32 == (int)MF_ABI_TYPE_U32 &&
                   MF_I64 == (int)MF_ABI_TYPE_I64 && MF_U64 == (int)MF_ABI_TYPE_U64 &&
                   MF_F32 == (int)MF_ABI_TYPE_F32 && MF_F64 == (int)MF_ABI_TYPE_F64 &&
                   MF_STRING == (int)MF_ABI_TYPE_STRING && MF_BYTES == (int)MF_ABI_TYPE_BYTES,
               "types have the numbers of the ABI");

static const char *const type_names[] = {
#define TYPE_NAME(name, number, text) [number] = text,
    MF_TYPE_LIST(TYPE_NAME)
#undef TYPE_NAME
};

#define TYPE_WORDS "void, bool, i32, u32, i64, u64, f32, f64, string or bytes"

/* A place in the text. */
struct cursor {
    const char *text, *at;
    struct mf_error *err;
};

/* A word of the text: an identifier, or nothing (len 0). */
struct word {
    const char *start;
    size_t len;
};

const char *mf_type_name(enum mf_type type)
{
    return (size_t)type < ARRAY_LEN(type_names) ? type_names[type] : "?";
}

/* Own tests of characters: those of <ctype.h> depend on the locale. */
static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void skip_space(struct cursor *c)
{
    while (*c->at == ' ' || *c->at == '\t')
        c->at++;
}

static struct word take_word(struct cursor *c)
{
    struct word word = {NULL, 0};

    skip_space(c);
    word.start = c->at;
    if (is_letter(*c->at))
        while (is_letter(*c->at) || is_digit(*c->at))
            c->at++;
    word.len = (size_t)(c->at - word.start);
    return word;
}

/* Reports what was expected at `place`, and quotes what stands there instead. */
static int expected(const struct cursor *c, const char *place, const char *what)
{
    char found[24];
    size_t n = 0;

    while (n < sizeof(found) - 1 && place[n] != 0 && place[n] != ' ') {
        found[n] = place[n] > ' ' && place[n] < 0x7f ? place[n] : '?';
        n++;
    }
    found[n] = 0;
    size_t column = (size_t)(place - c->text) + 1;
    if (n == 0)
        return error_set(c->err, MF_E_SIGNATURE, "signature, column %zu: expected %s, but the %s",
                         column, what, *place == 0 ? "text ends there" : "there is a space");
    return error_set(c->err, MF_E_SIGNATURE, "signature, column %zu: expected %s, found '%s'",
                     column, what, found);
}

/* The type that a word names, or -1. */
static int type_of(struct word word)
{
    for (size_t i = 0; i < ARRAY_LEN(type_names); i++)
        if (strlen(type_names[i]) == word.len && memcmp(type_names[i], word.start, word.len) == 0)
            return (int)i;
    return -1;
}

static int take_type(struct cursor *c, enum mf_type *type)
{
    struct word word = take_word(c);
    int found = type_of(word);

    if (found < 0)
        return expected(c, word.start, "a type (" TYPE_WORDS ")");
    *type = (enum mf_type)found;
    return 0;
}

static int take_function_name(struct cursor *c, struct mf_signature *out)
{
    struct word word = take_word(c);

    if (word.len == 0)
        return expected(c, word.start, "the name of the function");
    if (word.len >= sizeof(out->name))
        return error_set(c->err, MF_E_SIGNATURE,
                         "signature, column %zu: a function name of %zu bytes; at most %zu fit",
                         (size_t)(word.start - c->text) + 1, word.len, sizeof(out->name) - 1);
    memcpy(out->name, word.start, word.len);
    return 0;
}

static int take_parameter(struct cursor *c, struct mf_signature *out)
{
    struct mf_param *param;
    struct word word;
    int rc;

    skip_space(c);
    const char *start = c->at;
    if (out->nparams == MF_PARAMS_MAX)
        return error_set(c->err, MF_E_SIGNATURE,
                         "signature, column %zu: too many parameters; a function has at most %d",
                         (size_t)(start - c->text) + 1, MF_PARAMS_MAX);
    param = &out->params[out->nparams];
    rc = take_type(c, &param->type);
    if (rc)
        return rc;
    if (param->type == MF_VOID)
        return expected(c, start, "a type other than void for a parameter");
    word = take_word(c);
    memcpy(param->name, word.start, MIN(word.len, sizeof(param->name) - 1));
    out->nparams++;
    return 0;
}

/* What stands between the parentheses. */
static int take_parameters(struct cursor *c, struct mf_signature *out)
{
    skip_space(c);
    if (*c->at == ')')
        return 0;

    struct cursor ahead = *c;
    struct word word = take_word(&ahead);
    skip_space(&ahead);
    if (type_of(word) == MF_VOID && *ahead.at == ')') {
        *c = ahead;
        return 0;
    }
    for (;;) {
        int rc = take_parameter(c, out);
        if (rc)
            return rc;
        skip_space(c);
        if (*c->at != ',')
            return 0;
        c->at++;
    }
}

int mf_signature_parse(const char *text, struct mf_signature *out, struct mf_error *err)
{
    struct cursor c = {text, text, err};
    int rc;

    memset(out, 0, sizeof(*out));
    if (!text)
        return error_set(err, MF_E_SIGNATURE, "signature: no text; write \"type name(type, ...)\"");
    if ((rc = take_type(&c, &out->result)) || (rc = take_function_name(&c, out)))
        return rc;
    skip_space(&c);
    if (*c.at != '(')
        return expected(&c, c.at, "'('");
    c.at++;
    if ((rc = take_parameters(&c, out)))
        return rc;
    if (*c.at != ')')
        return expected(&c, c.at, out->nparams ? "',' or ')'" : "')'");
    c.at++;
    skip_space(&c);
    if (*c.at != 0)
        return expected(&c, c.at, "the end of the text");
    return 0;
}

/* Appends like snprintf, counting what does not fit. */
static void append(char *buf, size_t size, size_t *len, const char *text)
{
    for (; *text; text++, (*len)++)
        if (*len + 1 < size)
            buf[*len] = *text;
}

size_t mf_signature_format(const struct mf_signature *sig, char *buf, size_t size)
{
    size_t len = 0;

    append(buf, size, &len, mf_type_name(sig->result));
    append(buf, size, &len, " ");
    append(buf, size, &len, sig->name);
    append(buf, size, &len, "(");
    for (uint32_t i = 0; i < sig->nparams; i++) {
        append(buf, size, &len, i ? ", " : "");
        append(buf, size, &len, mf_type_name(sig->params[i].type));
        append(buf, size, &len, sig->params[i].name[0] ? " " : "");
        append(buf, size, &len, sig->params[i].name);
    }
    append(buf, size, &len, ")");
    if (size > 0)
        buf[MIN(len, size - 1)] = 0;
    return len;
}

bool mf_signature_equal(const struct mf_signature *a, const struct mf_signature *b)
{
    if (strcmp(a->name, b->name) != 0 || a->result != b->result || a->nparams != b->nparams)
        return false;
    for (uint32_t i = 0; i < a->nparams; i++)
        if (a->params[i].type != b->params[i].type)
            return false;
    return true;
}
