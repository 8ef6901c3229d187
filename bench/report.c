/* Writes the results: a table for people, JSON for programs. */
#include "bench.h"

#include <jansson.h>
#include <string.h>

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

static void print_floors(FILE *out, const struct bench_result *results, size_t count)
{
    size_t i;

    fputs("\nfloors:\n", out);
    for (i = 0; i < count; i++) {
        const struct bench_measure *floor = results[i].floor_measure;

        fprintf(out, "  %-15s %s\n", results[i].figure->name, floor != NULL ? floor->name : "none");
    }
}

void bench_print_table(FILE *out, const struct bench_result *results, size_t count)
{
    char machine[512], value[32], p10[32], p90[32], floor[32], ratio[32], target[32];
    size_t i;

    bench_machine(machine, sizeof(machine));
    fprintf(out, "%s\n\n", machine);
    fprintf(out, "%-15s %-7s %-4s %8s %8s %8s %8s %6s %6s  %s\n", "figure", "backend", "unit",
            "value", "p10", "p90", "floor", "ratio", "target", "verdict");
    for (i = 0; i < count; i++) {
        const struct bench_result *result = &results[i];

        fprintf(out, "%-15s %-7s %-4s %8s %8s %8s %8s %6s %6s  %s%s\n", result->figure->name,
                mf_backend_name(result->backend), result->figure->unit,
                cell(value, sizeof(value), result->value.median),
                cell(p10, sizeof(p10), result->value.p10),
                cell(p90, sizeof(p90), result->value.p90),
                cell(floor, sizeof(floor), result->floor.median),
                cell(ratio, sizeof(ratio), bench_ratio(result)),
                cell(target, sizeof(target), result->target), verdict(result),
                bench_is_noisy(result) ? " (noisy)" : "");
    }
    print_floors(out, results, count);
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

/* NULL when memory is out. */
static json_t *result_to_json(const struct bench_result *result, const char *machine)
{
    const struct bench_measure *floor = result->floor_measure;
    double ratio = bench_ratio(result);
    json_t *object = json_object();
    int failed = 0;

    failed |= set_text(object, "name", result->figure->name);
    failed |= set_text(object, "backend", mf_backend_name(result->backend));
    failed |= set_text(object, "unit", result->figure->unit);
    failed |= set_number(object, "value", true, result->value.median);
    failed |= set_text(object, "floor_name", floor != NULL ? floor->name : NULL);
    failed |= set_number(object, "floor", floor != NULL, result->floor.median);
    failed |= set_number(object, "ratio", ratio > 0, ratio);
    failed |= set_number(object, "target", result->target > 0, result->target);
    failed |= json_object_set_new(object, "rounds", json_integer(result->rounds));
    failed |= set_number(object, "value_p10", true, result->value.p10);
    failed |= set_number(object, "value_p90", true, result->value.p90);
    failed |= set_number(object, "floor_p10", floor != NULL, result->floor.p10);
    failed |= set_number(object, "floor_p90", floor != NULL, result->floor.p90);
    failed |= json_object_set_new(object, "noisy", json_boolean(bench_is_noisy(result)));
    failed |= json_object_set_new(object, "operations", json_integer(result->figure->operations));
    failed |= set_text(object, "machine", machine);
    failed |= set_text(object, "version", mf_version());
    if (failed != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

int bench_print_json(FILE *out, const struct bench_result *results, size_t count,
                     struct mf_error *err)
{
    json_t *array = json_array();
    char machine[512];
    size_t i;
    int status = MF_OK;

    bench_machine(machine, sizeof(machine));
    for (i = 0; i < count; i++) {
        /* An append of NULL fails, which covers an object that could not be made. */
        if (json_array_append_new(array, result_to_json(&results[i], machine)) != 0)
            status = mf_fail(err, MF_E_NO_MEMORY, "out of memory for the report");
    }
    if (status == MF_OK) {
        json_dumpf(array, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        fputc('\n', out);
    }
    json_decref(array);
    return status;
}
