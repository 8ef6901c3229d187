/* Writes the results: a table for people, the same in Markdown, JSON for programs. */
#include "bench.h"

#include <jansson.h>
#include <string.h>

/* Up to this ratio two digits say little. */
#define FRACTION_MAX 0.1

static const char *verdict(const struct bench_result *result)
{
    if (result->target <= 0 || bench_ratio(result) <= 0)
        return "-";
    return bench_ratio(result) <= result->target ? "met" : "missed";
}

/* A number of the table, or "-" when there is none. Three digits, or all before the point. */
static const char *cell(char *buf, size_t size, double value)
{
    if (value <= 0)
        snprintf(buf, size, "-");
    else
        snprintf(buf, size, "%.*f", value < 10 ? 2 : value < 100 ? 1 : 0, value);
    return buf;
}

/* Beside a small ratio what it means: "1/24 of the floor". Else nothing. */
static const char *fraction(char *buf, size_t size, const struct bench_result *result)
{
    double ratio = bench_ratio(result);

    if (ratio <= 0 || ratio > FRACTION_MAX)
        buf[0] = '\0';
    else
        snprintf(buf, size, " (1/%.0f of the floor)", 1 / ratio);
    return buf;
}

/* Whether results[index] is of another group than the one before it. */
static bool begins_group(const struct bench_result *results, size_t index)
{
    return index == 0 ||
           strcmp(results[index].figure->group, results[index - 1].figure->group) != 0;
}

/* Whether figures of more than one group are there, so that each group needs its name. */
static bool has_groups(const struct bench_result *results, size_t count)
{
    size_t i;

    for (i = 1; i < count; i++) {
        if (begins_group(results, i))
            return true;
    }
    return false;
}

static void print_floors(FILE *out, const struct bench_result *results, size_t count)
{
    size_t i;

    fputs("\nfloors:\n", out);
    for (i = 0; i < count; i++) {
        const struct bench_measure *floor = results[i].floor_measure;

        fprintf(out, "  %-17s %s\n", results[i].figure->name, floor != NULL ? floor->name : "none");
    }
}

/* What figures are made of, or have beside them. */
static void print_parts(FILE *out, const struct bench_result *results, size_t count)
{
    bool first = true;
    char value[32];
    size_t i, k;

    for (i = 0; i < count; i++) {
        for (k = 0; k < results[i].nparts; k++) {
            const struct bench_part *part = &results[i].parts[k];

            if (first)
                fputs("\nparts:\n", out);
            first = false;
            fprintf(out, "  %-17s %-8s %8s %-4s %s\n", k == 0 ? results[i].figure->name : "",
                    part->name, cell(value, sizeof(value), part->value), results[i].figure->unit,
                    part->note);
        }
    }
}

static void print_row(FILE *out, const struct bench_result *result)
{
    char value[32], p10[32], p90[32], floor[32], ratio[32], target[32], part[40];

    fprintf(out, "%-17s %-7s %-4s %8s %8s %8s %8s %6s %6s  %s%s%s\n", result->figure->name,
            mf_backend_name(result->backend), result->figure->unit,
            cell(value, sizeof(value), result->value.median),
            cell(p10, sizeof(p10), result->value.p10), cell(p90, sizeof(p90), result->value.p90),
            cell(floor, sizeof(floor), result->floor.median),
            cell(ratio, sizeof(ratio), bench_ratio(result)),
            cell(target, sizeof(target), result->target),
            result->unknown ? result->reason : verdict(result),
            fraction(part, sizeof(part), result),
            bench_is_noisy(result, NULL) ? " (noisy)" : "");
}

void bench_print_table(FILE *out, const struct bench_result *results, size_t count)
{
    bool groups = has_groups(results, count);
    char machine[512];
    size_t i;

    bench_machine(machine, sizeof(machine));
    fprintf(out, "%s\n\n", machine);
    fprintf(out, "%-17s %-7s %-4s %8s %8s %8s %8s %6s %6s  %s\n", "figure", "backend", "unit",
            "value", "p10", "p90", "floor", "ratio", "target", "verdict");
    for (i = 0; i < count; i++) {
        if (groups && begins_group(results, i))
            fprintf(out, "\n%s\n", results[i].figure->group);
        print_row(out, &results[i]);
    }
    print_floors(out, results, count);
    print_parts(out, results, count);
}

/* Text inside of a cell: a bar would end it. */
static void print_markdown_text(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            fputc('\\', out);
        fputc(*text, out);
    }
}

static void print_markdown_parts(FILE *out, const struct bench_result *result)
{
    const char *before = " (";
    char value[32];
    size_t i;

    for (i = 0; i < result->nparts; i++) {
        if (result->parts[i].value < 0)
            continue;
        fprintf(out, "%s%s %s", before, result->parts[i].name,
                cell(value, sizeof(value), result->parts[i].value));
        before = ", ";
    }
    /* The first one opened the bracket. */
    if (before[0] == ',')
        fputc(')', out);
}

static void print_markdown_row(FILE *out, const struct bench_result *result)
{
    char value[32], floor[32], ratio[32], target[32], part[40];
    const char *unit = result->figure->unit;

    fprintf(out, "| `%s` | ", result->figure->name);
    print_markdown_text(out, result->figure->what);
    if (result->unknown) {
        fputs(" | not measured: ", out);
        print_markdown_text(out, result->reason);
    } else {
        fprintf(out, " | %s %s", cell(value, sizeof(value), result->value.median), unit);
    }
    print_markdown_parts(out, result);
    fprintf(out, " | %s%s%s | %s%s | %s |\n", cell(floor, sizeof(floor), result->floor.median),
            result->floor_measure != NULL && !result->unknown ? " " : "",
            result->floor_measure != NULL && !result->unknown ? unit : "",
            cell(ratio, sizeof(ratio), bench_ratio(result)), fraction(part, sizeof(part), result),
            cell(target, sizeof(target), result->target));
}

void bench_print_markdown(FILE *out, const struct bench_result *results, size_t count,
                          const char *command)
{
    bool groups = has_groups(results, count);
    char machine[512];
    size_t i;

    bench_machine(machine, sizeof(machine));
    fprintf(out, "`%s`, mayfly %s, backend %s, on ", command, mf_version(),
            count > 0 ? mf_backend_name(results[0].backend) : "-");
    print_markdown_text(out, machine);
    fputs(":\n", out);
    for (i = 0; i < count; i++) {
        if (begins_group(results, i))
            fprintf(out,
                    "\n| %s | what | value | floor | ratio | target |\n|---|---|---|---|---|---|\n",
                    groups ? results[i].figure->group : "figure");
        print_markdown_row(out, &results[i]);
    }
}

/* A number that JSON has as null when it has no meaning here. */
static json_t *number(bool present, double value)
{
    return present ? json_real(value) : json_null();
}

/* Both return -1 when memory is out. */
static int set_number(json_t *object, const char *key, bool present, double value)
{
    return json_object_set_new(object, key, number(present, value));
}

static int set_text(json_t *object, const char *key, const char *text)
{
    return json_object_set_new(object, key, text != NULL ? json_string(text) : json_null());
}

/* An object of name: {value, note}; NULL when memory is out. */
static json_t *parts_to_json(const struct bench_result *result)
{
    json_t *object = json_object();
    size_t i;
    int failed = 0;

    for (i = 0; i < result->nparts; i++) {
        const struct bench_part *part = &result->parts[i];
        json_t *entry = json_object();

        failed |= set_number(entry, "value", part->value >= 0, part->value);
        failed |= set_text(entry, "note", part->note);
        failed |= json_object_set_new(object, part->name, entry);
    }
    if (failed == 0)
        return object;
    json_decref(object);
    return NULL;
}

static int set_spread(json_t *object, const struct bench_result *result)
{
    bool floor = result->floor_measure != NULL && !result->unknown, value = !result->unknown;
    int failed = 0;

    failed |= set_number(object, "value", value, result->value.median);
    failed |= set_number(object, "value_p10", value, result->value.p10);
    failed |= set_number(object, "value_p90", value, result->value.p90);
    /* The floor's name goes with its numbers: all of them are there, or none. */
    failed |= set_text(object, "floor_name", floor ? result->floor_measure->name : NULL);
    failed |= set_number(object, "floor", floor, result->floor.median);
    failed |= set_number(object, "floor_p10", floor, result->floor.p10);
    failed |= set_number(object, "floor_p90", floor, result->floor.p90);
    return failed;
}

/* NULL when memory is out. */
static json_t *result_to_json(const struct bench_result *result, const char *machine)
{
    double ratio = bench_ratio(result);
    json_t *object = json_object();
    char why[BENCH_WHY_BYTES];
    bool noisy = bench_is_noisy(result, why);
    int failed = 0;

    failed |= set_text(object, "name", result->figure->name);
    failed |= set_text(object, "group", result->figure->group);
    failed |= set_text(object, "backend", mf_backend_name(result->backend));
    failed |= set_text(object, "unit", result->figure->unit);
    failed |= set_spread(object, result);
    failed |= set_number(object, "ratio", ratio > 0, ratio);
    failed |= set_number(object, "target", result->target > 0, result->target);
    failed |= json_object_set_new(object, "rounds", json_integer(result->rounds));
    failed |= json_object_set_new(object, "operations", json_integer(result->figure->operations));
    failed |= json_object_set_new(object, "parts", parts_to_json(result));
    failed |= set_text(object, "unknown", result->unknown ? result->reason : NULL);
    failed |= json_object_set_new(object, "noisy", json_boolean(noisy));
    failed |= set_text(object, "noise", noisy ? why : NULL);
    failed |= set_number(object, "others_cpus", !result->unknown && result->load.others >= 0,
                         result->load.others);
    failed |= set_number(object, "steal", !result->unknown && result->load.steal >= 0,
                         result->load.steal);
    failed |= set_text(object, "machine", machine);
    failed |= set_text(object, "version", mf_version());
    if (failed != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *bench_results_json(const struct bench_result *results, size_t count)
{
    json_t *array = json_array();
    char machine[512];
    size_t i;

    bench_machine(machine, sizeof(machine));
    for (i = 0; i < count; i++) {
        /* An append of NULL fails, which covers an object that could not be made. */
        if (json_array_append_new(array, result_to_json(&results[i], machine)) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

int bench_print_json(FILE *out, const struct bench_result *results, size_t count,
                     struct mf_error *err)
{
    json_t *array = bench_results_json(results, count);

    if (array == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory for the report");
    json_dumpf(array, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    fputc('\n', out);
    json_decref(array);
    return MF_OK;
}
