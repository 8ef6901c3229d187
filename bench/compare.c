/*
 * Two reports side by side. A report from a file is a stranger's: it is read up to a
 * limit, checked entry by entry, and only printable characters of it are printed.
 */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Names of figures: what a table has room for. */
#define NAME_BYTES_MAX 32
/* More entries than this are no report. */
#define ENTRIES_MAX    1000

static bool name_is_valid(const char *name)
{
    return name[0] != '\0' && strlen(name) <= NAME_BYTES_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

/* A number that is finite and not below 0, or null. */
static bool number_is_valid(const json_t *value)
{
    if (json_is_null(value))
        return true;
    return json_is_number(value) && json_number_value(value) >= 0 &&
           isfinite(json_number_value(value));
}

/* What is wrong with an entry of a report, or NULL. */
static const char *entry_problem(const json_t *entry)
{
    const char *name = json_string_value(json_object_get(entry, "name"));

    if (name == NULL || !name_is_valid(name))
        return "it has no valid \"name\"";
    if (!json_is_string(json_object_get(entry, "backend")))
        return "it has no \"backend\"";
    if (!json_is_string(json_object_get(entry, "unit")))
        return "it has no \"unit\"";
    if (!number_is_valid(json_object_get(entry, "value")))
        return "its \"value\" is neither a number of 0 or more nor null";
    if (!number_is_valid(json_object_get(entry, "ratio")))
        return "its \"ratio\" is neither a number of 0 or more nor null";
    return NULL;
}

static const json_t *find_entry(const json_t *report, const char *name, size_t before)
{
    size_t i;

    for (i = 0; i < json_array_size(report) && i < before; i++) {
        const json_t *entry = json_array_get(report, i);

        if (strcmp(json_string_value(json_object_get(entry, "name")), name) == 0)
            return entry;
    }
    return NULL;
}

static int check_report(const char *path, const json_t *report, struct mf_error *err)
{
    size_t i, count = json_array_size(report);

    if (!json_is_array(report) || count == 0 || count > ENTRIES_MAX)
        return mf_fail(err, MF_E_ARGUMENT,
                       "%s is no report of `mayfly bench --json`: that is an array of figures",
                       path);
    for (i = 0; i < count; i++) {
        const json_t *entry = json_array_get(report, i);
        const char *problem = entry_problem(entry);

        if (problem == NULL &&
            find_entry(report, json_string_value(json_object_get(entry, "name")), i) != NULL)
            problem = "a figure of this name came before";
        if (problem != NULL)
            return mf_fail(err, MF_E_ARGUMENT,
                           "%s is no report of `mayfly bench --json`: entry %zu: %s", path, i + 1,
                           problem);
    }
    return MF_OK;
}

/* The whole file; *len is its length. NULL with *err. */
static char *read_file(const char *path, size_t *len, struct mf_error *err)
{
    FILE *file = fopen(path, "re");
    char *text = malloc(BENCH_REPORT_BYTES_MAX + 1);
    bool bad;

    if (file == NULL || text == NULL) {
        if (file == NULL)
            mf_fail(err, MF_E_SYSTEM, "cannot read %s: %s", path, strerror(errno));
        else
            mf_fail(err, MF_E_NO_MEMORY, "out of memory");
        if (file != NULL)
            fclose(file);
        free(text);
        return NULL;
    }
    errno = 0;
    *len = fread(text, 1, BENCH_REPORT_BYTES_MAX + 1, file);
    bad = ferror(file) != 0;
    if (bad)
        mf_fail(err, MF_E_SYSTEM, "cannot read %s: %s", path, strerror(errno));
    else if (*len > BENCH_REPORT_BYTES_MAX)
        mf_fail(err, MF_E_ARGUMENT, "%s is too large for a report", path);
    fclose(file);
    if (!bad && *len <= BENCH_REPORT_BYTES_MAX)
        return text;
    free(text);
    return NULL;
}

int bench_report_read(const char *path, json_t **report, struct mf_error *err)
{
    json_error_t problem;
    size_t len;
    char *text = read_file(path, &len, err);
    int status;

    if (text == NULL)
        return err != NULL ? err->code : MF_E_SYSTEM;
    *report = json_loadb(text, len, 0, &problem);
    free(text);
    if (*report == NULL)
        return mf_fail(err, MF_E_ARGUMENT, "%s is not JSON: line %d: %s", path, problem.line,
                       problem.text);
    status = check_report(path, *report, err);
    if (status != MF_OK) {
        json_decref(*report);
        *report = NULL;
    }
    return status;
}

/* A member of an entry, or -1 when it is not there or null. */
static double number_of(const json_t *entry, const char *key)
{
    const json_t *value = json_object_get(entry, key);

    return json_is_number(value) ? json_number_value(value) : -1;
}

/* One figure of both. A number that is not there is negative. */
struct pair {
    const char *name, *unit;
    const json_t *old_entry, *new_entry; /* NULL: not in that report */
    double old_value, new_value, value_change;
    double old_ratio, new_ratio, ratio_change;
    bool noisy;
};

static double change(double old_number, double new_number)
{
    return old_number > 0 && new_number > 0 ? new_number / old_number : -1;
}

static void pair_init(struct pair *pair, const json_t *old_entry, const json_t *new_entry)
{
    const json_t *any = new_entry != NULL ? new_entry : old_entry;

    pair->name = json_string_value(json_object_get(any, "name"));
    pair->unit = json_string_value(json_object_get(any, "unit"));
    pair->old_entry = old_entry;
    pair->new_entry = new_entry;
    pair->old_value = number_of(old_entry, "value");
    pair->new_value = number_of(new_entry, "value");
    pair->value_change = change(pair->old_value, pair->new_value);
    pair->old_ratio = number_of(old_entry, "ratio");
    pair->new_ratio = number_of(new_entry, "ratio");
    pair->ratio_change = change(pair->old_ratio, pair->new_ratio);
    pair->noisy = json_is_true(json_object_get(old_entry, "noisy")) ||
                  json_is_true(json_object_get(new_entry, "noisy"));
}

static bool is_chosen(const struct bench_comparison *comparison, const char *name)
{
    size_t i;

    for (i = 0; i < comparison->nnames; i++) {
        if (strcmp(comparison->names[i], name) == 0)
            return true;
    }
    return comparison->nnames == 0;
}

/* Calls `fn` for each chosen figure of either report: in the new one's order, then the rest. */
static void each_pair(const struct bench_comparison *comparison,
                      void (*fn)(void *context, const struct pair *pair), void *context)
{
    const json_t *reports[2] = {comparison->new_report, comparison->old_report};
    struct pair pair;
    size_t i, k;

    for (k = 0; k < 2; k++) {
        for (i = 0; i < json_array_size(reports[k]); i++) {
            const json_t *entry = json_array_get(reports[k], i);
            const char *name = json_string_value(json_object_get(entry, "name"));
            const json_t *other = find_entry(reports[1 - k], name, SIZE_MAX);

            if (!is_chosen(comparison, name) || (k == 1 && other != NULL))
                continue;
            pair_init(&pair, k == 0 ? other : entry, k == 0 ? entry : NULL);
            fn(context, &pair);
        }
    }
}

/* Text of a file: what is not printable ASCII becomes a question mark. */
static void print_text(FILE *out, const char *text)
{
    for (; *text != '\0'; text++)
        fputc(*text >= ' ' && *text <= '~' ? *text : '?', out);
}

/* Warns when the first entries of both reports differ in a member. */
static void warn_of(FILE *warnings, const struct bench_comparison *comparison, const char *key,
                    const char *meaning)
{
    const char *old_text =
        json_string_value(json_object_get(json_array_get(comparison->old_report, 0), key));
    const char *new_text =
        json_string_value(json_object_get(json_array_get(comparison->new_report, 0), key));

    if (old_text == NULL || new_text == NULL || strcmp(old_text, new_text) == 0)
        return;
    fprintf(warnings, "mayfly bench: the two reports are of different %s (", meaning);
    print_text(warnings, old_text);
    fputs("; ", warnings);
    print_text(warnings, new_text);
    fputs(")\n", warnings);
}

static void print_warnings(FILE *warnings, const struct bench_comparison *comparison)
{
    warn_of(warnings, comparison, "machine", "machines: compare the ratios only");
    warn_of(warnings, comparison, "backend", "backends");
}

static const char *cell(char *buf, size_t size, double value)
{
    if (value < 0)
        snprintf(buf, size, "-");
    else
        snprintf(buf, size, "%.*f", value < 10 ? 2 : value < 100 ? 1 : 0, value);
    return buf;
}

static void print_pair(void *context, const struct pair *pair)
{
    char old_value[32], new_value[32], values[32], old_ratio[32], new_ratio[32], ratios[32];
    FILE *out = context;

    fprintf(out, "%-17s ", pair->name);
    fprintf(out, "%9s %9s %8s %9s %9s %8s  ", cell(old_value, sizeof(old_value), pair->old_value),
            cell(new_value, sizeof(new_value), pair->new_value),
            cell(values, sizeof(values), pair->value_change),
            cell(old_ratio, sizeof(old_ratio), pair->old_ratio),
            cell(new_ratio, sizeof(new_ratio), pair->new_ratio),
            cell(ratios, sizeof(ratios), pair->ratio_change));
    print_text(out, pair->unit);
    fprintf(out, "%s%s\n", pair->noisy ? " (noisy)" : "",
            pair->old_entry == NULL   ? " (only in the new report)"
            : pair->new_entry == NULL ? " (only in the old report)"
                                      : "");
}

void bench_print_comparison(FILE *out, FILE *warnings, const struct bench_comparison *comparison)
{
    fprintf(out, "old: %s\nnew: %s\n\n", comparison->old_label, comparison->new_label);
    fprintf(out, "%-17s %28s %28s\n", "", "value", "ratio to the floor");
    fprintf(out, "%-17s %9s %9s %8s %9s %9s %8s  %s\n", "figure", "old", "new", "new/old", "old",
            "new", "new/old", "unit");
    each_pair(comparison, print_pair, out);
    print_warnings(warnings, comparison);
}

static json_t *number_json(double value)
{
    return value < 0 ? json_null() : json_real(value);
}

/* `context` is the array; a failure shows as a shorter one. */
static void add_pair(void *context, const struct pair *pair)
{
    json_t *entry = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "name", pair->name, "unit", pair->unit,
        "old_value", number_json(pair->old_value), "new_value", number_json(pair->new_value),
        "value_change", number_json(pair->value_change), "old_ratio", number_json(pair->old_ratio),
        "new_ratio", number_json(pair->new_ratio), "ratio_change", number_json(pair->ratio_change),
        "noisy", (int)pair->noisy);

    json_array_append_new(context, entry);
}

static void count_pair(void *context, const struct pair *pair)
{
    (void)pair;
    ++*(size_t *)context;
}

int bench_print_comparison_json(FILE *out, FILE *warnings,
                                const struct bench_comparison *comparison, struct mf_error *err)
{
    json_t *array = json_array();
    size_t count = 0;

    each_pair(comparison, count_pair, &count);
    each_pair(comparison, add_pair, array);
    if (array == NULL || json_array_size(array) != count) {
        json_decref(array);
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory for the comparison");
    }
    json_dumpf(array, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    fputc('\n', out);
    json_decref(array);
    print_warnings(warnings, comparison);
    return MF_OK;
}
