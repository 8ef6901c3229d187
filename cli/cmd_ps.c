/*
 * mayfly ps: what runs here under a name. Each name in the runtime folder is asked for itself, and
 * one whose process was killed disappears while it is looked at.
 */
#include "control_client.h"
#include "names.h"
#include "report.h"
#include "text.h"
#include "units.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long one name may take: a process that stands still shall not make `ps` do so. */
#define ANSWER_MS 2000

/* The row of a name whose process exists and says nothing: it was stopped (SIGSTOP). */
static json_t *silent_row(const char *name)
{
    return json_pack("{s:s, s:s, s:n, s:s, s:n, s:n, s:n, s:n}", "name", name, "kind", "?",
                     "backend", "state", "silent", "memory_bytes", "dirty_bytes_per_s",
                     "uptime_ns", "pid");
}

/* The row of one name; NULL when it has gone meanwhile. */
static json_t *ask(int dir, const char *name)
{
    struct control_client_socket client;
    struct mf_error err;
    json_t *answer = NULL, *row = NULL;

    int status = control_client_open_in(&client, dir, name, &err);
    if (status == MF_OK)
        status = control_client_call(
            &client, json_pack("{s:s, s:s}", "command", "status", "target", name),
            ANSWER_MS, NULL, NULL, &answer, &err);
    control_client_close(&client);
    if (status == MF_OK)
        row = json_incref(json_object_get(answer, "sandbox"));
    else if (status == MF_E_DEADLINE)
        row = silent_row(name);
    json_decref(answer);
    return json_is_object(row) ? row : NULL;
}

static int collect(json_t *rows, struct mf_error *err)
{
    char **names = NULL;
    int dir;

    int status = names_open(false, &dir, err);
    if (status != MF_OK || dir < 0)
        return status;
    int n = names_list(dir, &names, err);
    for (int i = 0; i < n; i++) {
        json_t *row = ask(dir, names[i]);
        if (row != NULL)
            json_array_append_new(rows, row);
    }
    names_free(names, n);
    close(dir);
    return n < 0 ? n : MF_OK;
}

/* One cell, padded; what comes from a socket is made safe to show. */
static void print_cell(const char *text, int width)
{
    int len = (int)strlen(text);

    text_print_line_safe(stdout, text);
    printf("%*s", len < width ? width - len + 2 : 2, "");
}

static void print_text(const json_t *row, const char *key, int width)
{
    const char *text = json_string_value(json_object_get(row, key));

    print_cell(text != NULL ? text : "-", width);
}

static void print_number(const json_t *row, const char *key, const char *unit, int width)
{
    const json_t *value = json_object_get(row, key);
    char text[48] = "-";

    if (json_is_integer(value) && strcmp(unit, "ns") == 0)
        units_format_duration((uint64_t)json_integer_value(value), text, sizeof text);
    else if (json_is_integer(value))
        units_format_size((uint64_t)json_integer_value(value), text, sizeof text);
    size_t len = strlen(text);
    if (len > 1 && strcmp(unit, "B/s") == 0)
        snprintf(text + len, sizeof text - len, "/s");
    print_cell(text, width);
}

static void print_table(const json_t *rows)
{
    int widest = (int)strlen("NAME");
    size_t i;
    json_t *row;

    json_array_foreach (rows, i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        int len = name != NULL ? (int)strlen(name) : 0;
        widest = len > widest ? len : widest;
    }
    printf("%-*s  KIND    BACKEND  STATE         MEMORY      DIRTY         UPTIME    PID\n", widest,
           "NAME");
    json_array_foreach (rows, i, row) {
        print_text(row, "name", widest);
        print_text(row, "kind", 6);
        print_text(row, "backend", 7);
        print_text(row, "state", 12);
        print_number(row, "memory_bytes", "B", 10);
        print_number(row, "dirty_bytes_per_s", "B/s", 12);
        print_number(row, "uptime_ns", "ns", 8);
        const json_t *pid = json_object_get(row, "pid");
        if (json_is_integer(pid))
            printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(pid));
        else
            puts("-");
    }
}

static int show(const struct cli_options *options)
{
    struct mf_error err;
    json_t *rows = json_array();

    if (rows == NULL) {
        mf_fail(&err, MF_E_NO_MEMORY, "out of memory");
        return cli_library_error("ps", options->json, &err);
    }
    if (collect(rows, &err) != MF_OK) {
        json_decref(rows);
        return cli_library_error("ps", options->json, &err);
    }
    if (options->json)
        return report_print_json(json_pack("{s:o}", "sandboxes", rows), CLI_OK);
    if (json_array_size(rows) > 0)
        print_table(rows);
    json_decref(rows);
    return cli_finish(CLI_OK);
}

int cmd_ps(int argc, char **argv)
{
    struct cli_options options;
    int status = cli_options_parse(argc, argv, &options);

    if (status == CLI_GO_ON && options.noperands > 0)
        status = cli_usage_error("ps", options.json, "'%s': ps takes no operands",
                                 options.operands[0]);
    if (status == CLI_GO_ON)
        status = show(&options);
    cli_options_fini(&options);
    return status;
}
