/*
 * Values as text. Arguments are parsed by the types of the signature, so that a
 * wrong one is refused with the parameter's name before any VM exists; results
 * are printed so that scripts can use them.
 */
#include "values.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One word and the parameter that it is for. */
struct word {
    const char *text;
    const struct mf_param *param;
    char where[160]; /* "greet: argument 1 (string name)" */
};

/* The range of an integer type. */
struct int_range {
    enum mf_type type;
    int64_t least;
    uint64_t most;
};

static const struct int_range int_ranges[] = {
    {MF_I32, INT32_MIN, INT32_MAX},
    {MF_U32, 0, UINT32_MAX},
    {MF_I64, INT64_MIN, INT64_MAX},
    {MF_U64, 0, UINT64_MAX},
};

static int wrong_type(const struct word *word, const char *expected, struct mf_error *err)
{
    return mf_fail(err, MF_E_TYPE, "%s: '%.60s' is not %s", word->where, word->text, expected);
}

static int out_of_range(const struct word *word, const struct int_range *range,
                        struct mf_error *err)
{
    return mf_fail(err, MF_E_RANGE, "%s: %.60s is out of range: %s is %" PRId64 " to %" PRIu64,
                   word->where, word->text, mf_type_name(range->type), range->least, range->most);
}

static int parse_bool(const struct word *word, struct mf_value *value, struct mf_error *err)
{
    bool yes = strcmp(word->text, "true") == 0 || strcmp(word->text, "1") == 0;

    if (!yes && strcmp(word->text, "false") != 0 && strcmp(word->text, "0") != 0)
        return wrong_type(word, "a bool: true, false, 1 or 0", err);
    *value = mf_bool(yes);
    return MF_OK;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 99;
}

/* Skips a prefix for the base: 0x, 0o, 0b, or 0 before another digit. */
static int number_base(const char **text)
{
    const char *p = *text;

    if (p[0] != '0' || p[1] == 0)
        return 10;
    *text = p + 2;
    switch (p[1]) {
    case 'x':
    case 'X':
        return 16;
    case 'o':
    case 'O':
        return 8;
    case 'b':
    case 'B':
        return 2;
    default:
        *text = p + 1;
        return 8;
    }
}

/* Reads all of `text` as digits. False when it is something else. */
static bool parse_magnitude(const char *text, uint64_t *magnitude, bool *overflow)
{
    int base = number_base(&text);

    *magnitude = 0;
    *overflow = false;
    if (*text == 0)
        return false;
    for (; *text != 0; text++) {
        int digit = digit_value(*text);
        if (digit >= base)
            return false;
        if (__builtin_mul_overflow(*magnitude, (uint64_t)base, magnitude) ||
            __builtin_add_overflow(*magnitude, (uint64_t)digit, magnitude))
            *overflow = true;
    }
    return true;
}

static int parse_integer(const struct word *word, const struct int_range *range,
                         struct mf_value *value, struct mf_error *err)
{
    bool negative = word->text[0] == '-', overflow;
    uint64_t magnitude;

    if (!parse_magnitude(word->text + (negative || word->text[0] == '+'), &magnitude, &overflow))
        return wrong_type(word, "an integer", err);
    /* The magnitude of the least value: -least, written so that it cannot overflow. */
    uint64_t most = negative ? 0 - (uint64_t)range->least : range->most;
    if (overflow || magnitude > most)
        return out_of_range(word, range, err);
    uint64_t bits = negative ? 0 - magnitude : magnitude;
    switch (range->type) {
    case MF_I32:
        *value = mf_i32((int32_t)bits);
        break;
    case MF_U32:
        *value = mf_u32((uint32_t)bits);
        break;
    case MF_I64:
        *value = mf_i64((int64_t)bits);
        break;
    default:
        *value = mf_u64(bits);
        break;
    }
    return MF_OK;
}

static int parse_float(const struct word *word, struct mf_value *value, struct mf_error *err)
{
    bool single = word->param->type == MF_F32;
    const char *text = word->text;
    char *end;

    /* strtod skips blanks before a number; nobody means those. */
    if (strchr(" \t\n\v\f\r", text[0]) != NULL)
        return wrong_type(word, "a number", err);
    if (single)
        *value = mf_f32(strtof(text, &end));
    else
        *value = mf_f64(strtod(text, &end));
    if (end == text || *end != 0)
        return wrong_type(word, "a number", err);
    double number = single ? (double)value->f32 : value->f64;
    bool said_infinite = strpbrk(text, "iI") != NULL;
    if (isinf(number) && !said_infinite)
        return mf_fail(err, MF_E_RANGE, "%s: %.60s is out of range: %s is at most %.9g",
                       word->where, text, mf_type_name(word->param->type),
                       single ? 3.40282347e+38 : 1.79769313e+308);
    return MF_OK;
}

/* Reads `fd` to its end. The bytes, NUL-terminated, are the caller's. */
static int read_all(int fd, const struct word *word, char **out, size_t *out_len,
                    struct mf_error *err)
{
    size_t len = 0, size = (size_t)64 << 10;
    char *data = malloc(size);

    while (data != NULL) {
        ssize_t n = read(fd, data + len, size - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            free(data);
            return mf_fail(err, MF_E_SYSTEM, "%s: cannot read %.80s: %s", word->where,
                           word->text + 1, strerror(errno));
        }
        if (n == 0) {
            data[len] = 0;
            *out = data;
            *out_len = len;
            return MF_OK;
        }
        len += (size_t)n;
        if (len > VALUES_BYTES_MAX) {
            free(data);
            return mf_fail(err, MF_E_TOO_LARGE, "%s: %.80s is too large: a call takes up to 1 GiB",
                           word->where, word->text + 1);
        }
        if (len < size - 1)
            continue;
        size *= 2;
        char *larger = realloc(data, size);
        if (larger == NULL)
            free(data);
        data = larger;
    }
    return mf_fail(err, MF_E_NO_MEMORY, "%s: out of memory", word->where);
}

static int read_file(const struct word *word, char **out, size_t *len, struct mf_error *err)
{
    const char *path = word->text + 1;

    if (strcmp(path, "-") == 0)
        return read_all(STDIN_FILENO, word, out, len, err);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mf_fail(err, MF_E_SYSTEM, "%s: cannot open %.80s: %s", word->where, path,
                       strerror(errno));
    int status = read_all(fd, word, out, len, err);
    close(fd);
    return status;
}

/* The bytes of "hex:48 65..." without its prefix. The result is the caller's. */
static int parse_hex(const struct word *word, char **out, size_t *out_len, struct mf_error *err)
{
    const char *digits = word->text + strlen("hex:");
    size_t len = strlen(digits);

    if (len % 2 != 0)
        return mf_fail(err, MF_E_TYPE, "%s: hex: needs two digits for each byte, and here are %zu",
                       word->where, len);
    char *data = malloc(len / 2 + 1);
    if (data == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "%s: out of memory", word->where);
    for (size_t i = 0; i < len; i++) {
        int digit = digit_value(digits[i]);
        if (digit > 15) {
            free(data);
            return mf_fail(err, MF_E_TYPE, "%s: hex: '%c' is not a hexadecimal digit", word->where,
                           digits[i]);
        }
        data[i / 2] = (char)(i % 2 == 0 ? digit << 4 : data[i / 2] | digit);
    }
    data[len / 2] = 0;
    *out = data;
    *out_len = len / 2;
    return MF_OK;
}

/* A string or bytes: text, @FILE, @-, @@text, and for bytes hex:... */
static int parse_data(const struct word *word, void **owned, struct mf_value *value,
                      struct mf_error *err)
{
    bool is_bytes = word->param->type == MF_BYTES;
    const char *text = word->text;
    size_t len = strlen(text);
    int status = MF_OK;

    if (text[0] == '@' && text[1] == '@') {
        text++;
        len--;
    } else if (text[0] == '@' || (is_bytes && strncmp(text, "hex:", 4) == 0)) {
        char *data = NULL;
        status =
            text[0] == '@' ? read_file(word, &data, &len, err) : parse_hex(word, &data, &len, err);
        *owned = data;
        text = data;
    }
    if (status == MF_OK)
        *value = is_bytes ? mf_bytes(text, len) : mf_string_n(text, len);
    return status;
}

static int parse_word(const struct word *word, void **owned, struct mf_value *value,
                      struct mf_error *err)
{
    switch (word->param->type) {
    case MF_BOOL:
        return parse_bool(word, value, err);
    case MF_F32:
    case MF_F64:
        return parse_float(word, value, err);
    case MF_STRING:
    case MF_BYTES:
        return parse_data(word, owned, value, err);
    default:
        break;
    }
    for (size_t i = 0; i < sizeof int_ranges / sizeof int_ranges[0]; i++) {
        if (int_ranges[i].type == word->param->type)
            return parse_integer(word, &int_ranges[i], value, err);
    }
    return mf_fail(err, MF_E_TYPE, "%s: of no known type", word->where);
}

/* Whether @- stands for more than one parameter: the second would find nothing. */
static bool reads_input_twice(const struct mf_signature *sig, char **words)
{
    unsigned found = 0;

    for (size_t i = 0; i < sig->nparams; i++) {
        bool is_data = sig->params[i].type == MF_STRING || sig->params[i].type == MF_BYTES;
        found += is_data && strcmp(words[i], "@-") == 0;
    }
    return found > 1;
}

int values_parse(const struct mf_signature *sig, char **words, size_t n, struct values *values,
                 struct mf_error *err)
{
    memset(values, 0, sizeof *values);
    if (n != sig->nparams) {
        char text[160];
        mf_signature_format(sig, text, sizeof text);
        return mf_fail(err, MF_E_TYPE, "%s takes %u argument%s, and here are %zu", text,
                       (unsigned)sig->nparams, sig->nparams == 1 ? "" : "s", n);
    }
    if (reads_input_twice(sig, words))
        return mf_fail(err, MF_E_TYPE, "%s: only one argument can be @-", sig->name);
    for (size_t i = 0; i < n; i++) {
        struct word word = {.text = words[i], .param = &sig->params[i]};
        snprintf(word.where, sizeof word.where, "%.60s: argument %zu (%s%s%s)", sig->name, i + 1,
                 mf_type_name(word.param->type), word.param->name[0] != 0 ? " " : "",
                 word.param->name);
        int status = parse_word(&word, &values->owned[i], &values->value[i], err);
        if (status != MF_OK)
            return status;
        values->n = i + 1;
        if (values->value[i].type == MF_STRING)
            values->bytes += values->value[i].string.len;
        else if (values->value[i].type == MF_BYTES)
            values->bytes += values->value[i].bytes.len;
    }
    if (values->bytes > VALUES_BYTES_MAX)
        return mf_fail(err, MF_E_TOO_LARGE,
                       "%s: the arguments are too large: a call takes up to "
                       "1 GiB",
                       sig->name);
    return MF_OK;
}

void values_fini(struct values *values)
{
    for (size_t i = 0; i < MF_PARAMS_MAX; i++)
        free(values->owned[i]);
    memset(values, 0, sizeof *values);
}

/* The shortest decimal form that reads back as the same number. */
static void print_float(double number, bool single)
{
    char text[64];

    if (isnan(number)) {
        puts("nan"); /* without a sign, which no backend promises */
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (single ? strtof(text, NULL) == (float)number : strtod(text, NULL) == number)
            break;
    }
    puts(text);
}

static void print_string(const char *data, size_t len)
{
    if (isatty(STDOUT_FILENO) == 1)
        text_print_safe(stdout, data, len, true);
    else
        fwrite(data, 1, len, stdout);
    putchar('\n');
}

static void print_bytes(const uint8_t *data, size_t len)
{
    if (isatty(STDOUT_FILENO) != 1) {
        fwrite(data, 1, len, stdout);
        return;
    }
    fputs("hex:", stdout);
    for (size_t i = 0; i < len; i++)
        printf("%02x", data[i]);
    putchar('\n');
}

void values_print(const struct mf_value *value)
{
    switch (value->type) {
    case MF_VOID:
        break;
    case MF_BOOL:
        puts(value->boolean ? "true" : "false");
        break;
    case MF_I32:
        printf("%" PRId32 "\n", value->i32);
        break;
    case MF_U32:
        printf("%" PRIu32 "\n", value->u32);
        break;
    case MF_I64:
        printf("%" PRId64 "\n", value->i64);
        break;
    case MF_U64:
        printf("%" PRIu64 "\n", value->u64);
        break;
    case MF_F32:
        print_float((double)value->f32, true);
        break;
    case MF_F64:
        print_float(value->f64, false);
        break;
    case MF_STRING:
        print_string(value->string.data, value->string.len);
        break;
    case MF_BYTES:
        print_bytes(value->bytes.data, value->bytes.len);
        break;
    }
}

static json_t *float_json(double number)
{
    if (isnan(number))
        return json_string("nan");
    if (isinf(number))
        return json_string(number < 0 ? "-inf" : "inf");
    return json_real(number);
}

static json_t *u64_json(uint64_t number)
{
    char text[24];

    if (number <= INT64_MAX)
        return json_integer((json_int_t)number);
    snprintf(text, sizeof text, "%" PRIu64, number);
    return json_string(text);
}

static json_t *bytes_json(const void *data, size_t len)
{
    char *text = text_base64(data, len);
    json_t *string = text != NULL ? json_string(text) : NULL;

    free(text);
    return string;
}

json_t *values_json(const struct mf_value *value)
{
    switch (value->type) {
    case MF_BOOL:
        return json_boolean(value->boolean);
    case MF_I32:
        return json_integer(value->i32);
    case MF_U32:
        return json_integer(value->u32);
    case MF_I64:
        return json_integer(value->i64);
    case MF_U64:
        return u64_json(value->u64);
    case MF_F32:
        return float_json((double)value->f32);
    case MF_F64:
        return float_json(value->f64);
    case MF_STRING:
        return json_stringn(value->string.data, value->string.len);
    case MF_BYTES:
        return bytes_json(value->bytes.data, value->bytes.len);
    case MF_VOID:
        break;
    }
    return json_null();
}
