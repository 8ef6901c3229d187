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

static json_t *result_to_json(const struct bench_result *result, const char *machine)
{
    const struct bench_measure *floor = result->floor_measure;
    bool has_floor = floor != NULL;

    return json_pack("{s:s, s:s, s:s, s:f, s:s?, s:o, s:o, s:o, s:i, s:f, s:f, s:o, s:o, s:b, "
                     "s:i, s:s, s:s}",
                     "name", result->figure->name,
                     "backend", mf_backend_name(result->backend),
                     "unit", result->figure->unit,
                     "value", result->value.median,
                     "floor_name", has_floor ? floor->name : NULL,
                     "floor", number(has_floor, result->floor.median),
                     "ratio", number(bench_ratio(result) > 0, bench_ratio(result)),
                     "target", number(result->target > 0, result->target),
                     "rounds", (int)result->rounds,
                     "value_p10", result->value.p10,
                     "value_p90", result->value.p90,
                     "floor_p10", number(has_floor, result->floor.p10),
                     "floor_p90", number(has_floor, result->floor.p90),
                     "noisy", (int)bench_is_noisy(result),
                     "operations", (int)result->figure->operations,
                     "machine", machine,
                     "version", mf_version());
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
