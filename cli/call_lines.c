/*
 * `mayfly call --batch IMAGE`: calls from standard input. Lines are gathered until there
 * are LINES_AT_ONCE or no more; these calls are one batch. Each has one line of output,
 * empty for those that failed, so that line n of the output belongs to call n.
 */
#include "call_lines.h"
#include "interrupt.h"
#include "text.h"
#include "values.h"

#include <mayfly/batch.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What shares one entry into the guest; more gains little. */
#define LINES_AT_ONCE 64

/* One call, and the line that it came from. */
struct line {
    unsigned long number;
    struct values values;
    char *text;   /* what the words point into */
    char **words; /* function and arguments; NULL when they could not be read */
    struct mf_error err;
};

struct lines {
    struct guest *guest;
    struct line line[LINES_AT_ONCE];
    struct mf_call call[LINES_AT_ONCE];
    size_t n;
    unsigned long number; /* lines read */
    int status;           /* of the first failure */
};

/* Takes one word at *from and writes it to *to; what stands there is not longer than it was. */
static const char *take_word(char **from, char **to)
{
    char quote = 0;
    for (; **from != 0; (*from)++) {
        char c = **from;
        if (quote == 0 && (c == ' ' || c == '\t'))
            break;
        if (c == quote) {
            quote = 0;
            continue;
        }
        if (quote == 0 && (c == '\'' || c == '"')) {
            quote = c;
            continue;
        }
        if (c == '\\' && quote != '\'') {
            if (*++*from == 0)
                return "ends in a backslash";
            /* Within double quotes it stands for itself, except before these. */
            if (quote == '"' && **from != '"' && **from != '\\')
                *(*to)++ = '\\';
        }
        *(*to)++ = **from;
    }
    return quote == 0 ? NULL : "has a quote that is not closed";
}

int call_lines_split(char *line, char ***words, const char **why)
{
    /* Each word but the last is followed by a blank. */
    char **list = calloc(strlen(line) / 2 + 2, sizeof *list), *to = line;
    int n = 0;
    if (list == NULL) {
        *why = "is too long: out of memory";
        return -1;
    }
    for (char *from = line;;) {
        while (*from == ' ' || *from == '\t')
            from++;
        if (*from == 0)
            break;
        list[n++] = to;
        if ((*why = take_word(&from, &to)) != NULL) {
            free(list);
            return -1;
        }
        /* The end of this word may be where the next one begins to be read. */
        bool last = *from == 0;
        *to++ = 0;
        if (last)
            break;
        from++;
    }
    *words = list;
    return n;
}

/* Standard input is the lines. */
static int refuse_input(const struct line *line, struct mf_error *err)
{
    for (char **word = line->words + 1; *word != NULL; word++)
        if (strcmp(*word, "@-") == 0)
            return mf_fail(err, MF_E_TYPE,
                           "%.60s: @- cannot be an argument here: standard input "
                           "has the calls",
                           line->words[0]);
    return MF_OK;
}

/* Finds the function and reads its arguments; on failure the line's error says why. */
static void parse(struct lines *lines, struct line *line, struct mf_call *call)
{
    const char *why;
    int n = call_lines_split(line->text, &line->words, &why);
    if (n < 0) {
        line->words = NULL;
        mf_fail(&line->err, MF_E_ARGUMENT, "the line %s", why);
        return;
    }
    int index = mf_image_find_export(lines->guest->image, line->words[0], &line->err);
    if (index < 0 || refuse_input(line, &line->err) != MF_OK)
        return;
    const struct mf_signature *sig = mf_image_export(lines->guest->image, (size_t)index);
    if (values_parse(sig, line->words + 1, (size_t)n - 1, &line->values, &line->err) != MF_OK)
        return;
    line->err.code = MF_OK;
    call->function = (size_t)index;
    call->args = line->values.value;
    call->nargs = line->values.n;
}

static void free_lines(struct lines *lines)
{
    for (size_t i = 0; i < lines->n; i++) {
        values_fini(&lines->line[i].values);
        free(lines->line[i].words);
        free(lines->line[i].text);
    }
    memset(lines->line, 0, sizeof lines->line);
    memset(lines->call, 0, sizeof lines->call);
    lines->n = 0;
}

static bool is_blank(const char *text)
{
    text += strspn(text, " \t");
    return *text == 0 || *text == '#';
}

/* Reads up to LINES_AT_ONCE calls. 1, 0 when there is no more, or MF_E_*. */
static int read_lines(struct lines *lines, struct mf_error *err)
{
    while (lines->n < LINES_AT_ONCE) {
        struct line *line = &lines->line[lines->n];
        size_t size = 0;
        errno = 0;
        ssize_t len = getline(&line->text, &size, stdin);
        if (len < 0 && ferror(stdin))
            return mf_fail(err, MF_E_SYSTEM, "cannot read standard input: %s", strerror(errno));
        if (len < 0) {
            free(line->text);
            line->text = NULL;
            return 0;
        }
        if (line->text[len - 1] == '\n')
            line->text[--len] = 0;
        line->number = ++lines->number;
        bool blank = is_blank(line->text);
        if (blank) {
            free(line->text);
            line->text = NULL;
            continue;
        }
        if (strlen(line->text) != (size_t)len)
            mf_fail(&line->err, MF_E_ARGUMENT, "the line has a NUL in it");
        else
            parse(lines, line, &lines->call[lines->n]);
        lines->n++;
    }
    return 1;
}

/* A result on one line. */
static void print_result(const struct mf_value *result)
{
    if (result->type == MF_STRING) {
        text_print_safe(stdout, result->string.data, result->string.len, false);
        putchar('\n');
    } else if (result->type == MF_BYTES) {
        const uint8_t *data = result->bytes.data;
        fputs("hex:", stdout);
        for (size_t i = 0; i < result->bytes.len; i++)
            printf("%02x", data[i]);
        putchar('\n');
    } else if (result->type == MF_VOID) {
        putchar('\n');
    } else {
        values_print(result);
    }
}

static void print_line_json(const struct line *line, const char *function,
                            const struct mf_value *result, const struct mf_error *err)
{
    json_t *object =
        err->code == MF_OK
            ? json_pack("{s:I, s:s, s:o, s:s}", "line", (json_int_t)line->number, "function",
                        function, "result", values_json(result), "type", mf_type_name(result->type))
            : json_pack("{s:I, s:{s:i, s:s, s:o}}", "line", (json_int_t)line->number, "error",
                        "code", err->code, "name", mf_error_name(err->code), "message",
                        report_text_json(err->message));
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void print_line(struct lines *lines, size_t i, const struct mf_error *err)
{
    const struct line *line = &lines->line[i];
    const struct mf_value *result = &lines->call[i].result;

    if (err->code != MF_OK && lines->status == CLI_OK)
        lines->status = report_status(err->code);
    if (lines->guest->options->json) {
        print_line_json(line, line->words != NULL ? line->words[0] : "", result, err);
    } else if (err->code == MF_OK) {
        print_result(result);
    } else {
        putchar('\n');
        fflush(stdout);
        fprintf(stderr, "mayfly call: line %lu: ", line->number);
        text_print_line_safe(stderr, err->message);
        fputc('\n', stderr);
    }
}

/* Makes the calls that could be read. On failure guest->err says which line it was. */
static int make_calls(struct lines *lines)
{
    struct guest *guest = lines->guest;
    struct mf_call calls[LINES_AT_ONCE];
    size_t where[LINES_AT_ONCE], n = 0;

    for (size_t i = 0; i < lines->n; i++) {
        if (lines->line[i].err.code != MF_OK)
            continue;
        where[n] = i;
        calls[n++] = lines->call[i];
    }
    uint64_t begin = guest_begin_phase(guest);
    int status = mf_sandbox_call_batch(guest->sandbox, calls, n, &guest->err);
    guest->times.run += guest_end_phase(guest, begin);
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        struct line *line = &lines->line[where[i]];
        lines->call[where[i]] = calls[i];
        line->err = calls[i].error;
        if (status != MF_OK && !found && calls[i].status == status) {
            mf_fail(&guest->err, status, "line %lu: %.200s", line->number, calls[i].error.message);
            found = true;
        }
    }
    return status;
}

/* Makes one batch and tells what came of it. MF_OK, or what ended the guest. */
static int run_batch(struct lines *lines)
{
    int status = make_calls(lines);
    for (size_t i = 0; i < lines->n; i++) {
        const struct mf_error *err = &lines->line[i].err;
        /* The end of the guest is told once, by the command, with all that is known of it. */
        if (status != MF_OK && (err->code == status || err->code == MF_E_POISONED))
            break;
        print_line(lines, i, err);
    }
    free_lines(lines);
    return status;
}

int call_lines_run(struct guest *guest)
{
    struct lines *lines = calloc(1, sizeof *lines);
    int more = 1;
    if (lines == NULL) {
        mf_fail(&guest->err, MF_E_NO_MEMORY, "out of memory");
        return guest_fail(guest);
    }
    lines->guest = guest;
    int status = MF_OK;
    while (status == MF_OK && more == 1) {
        more = read_lines(lines, &guest->err);
        status = more < 0 ? more : run_batch(lines);
        fflush(stdout);
    }
    free_lines(lines);
    int failed = lines->status;
    free(lines);
    guest_report(guest, "call");
    return status == MF_OK ? cli_finish(failed) : guest_fail(guest);
}
