/*
 * mayfly stats, pause, stop, and what `resume` and `snapshot` do with running sandboxes: each is
 * one request to a control socket.
 */
#include "cmd_control.h"
#include "control_client.h"
#include "report.h"
#include "text.h"
#include "units.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How long `stop` waits for the end of what it stopped, and how often it looks. */
#define STOP_NS      UINT64_C(10000000000)
#define STOP_STEP_NS 10000000

/* A sandbox that was asked for, and its last answer. */
struct question {
    const char *command, *name;
    const struct cli_options *options;
    struct control_client_socket client;
    json_t *answer;
    struct mf_error err;
};

static int open_question(struct question *q, const char *command, const char *name,
                         const struct cli_options *options)
{
    *q = (struct question){.command = command, .name = name, .options = options};
    return control_client_open(&q->client, name, &q->err);
}

/* Asks one thing, without members of its own; the last answer is dropped. */
static int ask(struct question *q, const char *command, int timeout_ms)
{
    json_decref(q->answer);
    q->answer = NULL;
    return control_client_call(
        &q->client, json_pack("{s:s, s:s}", "command", command, "target", q->name), timeout_ms,
        NULL, NULL, &q->answer, &q->err);
}

static void close_question(struct question *q)
{
    control_client_close(&q->client);
    json_decref(q->answer);
}

static int fail_question(const struct question *q)
{
    return cli_library_error(q->command, q->options->json, &q->err);
}

/* The end of a command that has nothing to say but that it is done. */
static int say_done(const struct question *q, const char *state)
{
    if (!q->options->json)
        return cli_finish(CLI_OK);
    return report_print_json(json_pack("{s:s, s:s}", "name", q->name, "state", state), CLI_OK);
}

/* The command line of them all: options and one name. */
static int read_name(int argc, char **argv, struct cli_options *options)
{
    int status = cli_options_parse(argc, argv, options);

    if (status != CLI_GO_ON || options->noperands == 1)
        return status;
    return cli_usage_error(argv[0], options->json,
                           options->noperands == 0
                               ? "which sandbox? 'mayfly ps' shows those that are running"
                               : "one sandbox at a time");
}

/* ---- stats ---- */

static void print_fact(const char *label, const char *text)
{
    printf("%-16s ", label);
    text_print_line_safe(stdout, text != NULL ? text : "-");
    putchar('\n');
}

static void print_size(const char *label, const json_t *value, const char *behind)
{
    char text[48] = "-";

    if (json_is_integer(value)) {
        units_format_size((uint64_t)json_integer_value(value), text, sizeof text);
        size_t len = strlen(text);
        snprintf(text + len, sizeof text - len, "%s", behind);
    }
    print_fact(label, text);
}

static void print_stats(const json_t *row, const json_t *stats)
{
    const json_t *uptime = json_object_get(row, "uptime_ns");
    const char *key;
    char text[32] = "-";
    json_t *value;

    print_fact("name", json_string_value(json_object_get(row, "name")));
    print_fact("kind", json_string_value(json_object_get(row, "kind")));
    print_fact("backend", json_string_value(json_object_get(row, "backend")));
    print_fact("state", json_string_value(json_object_get(row, "state")));
    print_size("memory", json_object_get(row, "memory_bytes"), "");
    print_size("dirty", json_object_get(row, "dirty_bytes_per_s"), "/s");
    if (json_is_integer(uptime))
        units_format_duration((uint64_t)json_integer_value(uptime), text, sizeof text);
    print_fact("uptime", text);
    printf("%-16s %" JSON_INTEGER_FORMAT "\n", "pid",
           json_integer_value(json_object_get(row, "pid")));
    json_object_foreach ((json_t *)stats, key, value) {
        printf("%-16s ", key);
        printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
    }
}

/* Counters can be missing for a moment: then what is known is shown, and why that is all. */
static int show_stats(struct question *q)
{
    if (ask(q, "status", CONTROL_QUICK_MS) != MF_OK)
        return fail_question(q);
    json_t *row = json_incref(json_object_get(q->answer, "sandbox"));
    int status = ask(q, "stats", CONTROL_QUICK_MS);
    if (status != MF_OK && status != MF_E_STATE && status != MF_E_DEADLINE) {
        json_decref(row);
        return fail_question(q);
    }
    if (q->options->json) {
        if (status == MF_OK)
            json_object_set(row, "stats", json_object_get(q->answer, "stats"));
        else
            json_object_set_new(row, "stats", json_null());
        if (status != MF_OK)
            json_object_set_new(row, "stats_error", report_error_json(&q->err));
        else
            json_object_set(row, "backend_reason", json_object_get(q->answer, "backend_reason"));
        return report_print_json(row, CLI_OK);
    }
    print_stats(row, status == MF_OK ? json_object_get(q->answer, "stats") : NULL);
    json_decref(row);
    if (status != MF_OK)
        print_fact("counters", q->err.message);
    return cli_finish(CLI_OK);
}

int cmd_stats(int argc, char **argv)
{
    struct cli_options options;
    struct question q;
    int status = read_name(argc, argv, &options);

    if (status == CLI_GO_ON) {
        status = open_question(&q, "stats", options.operands[0], &options) == MF_OK
                     ? show_stats(&q)
                     : fail_question(&q);
        close_question(&q);
    }
    cli_options_fini(&options);
    return status;
}

/* ---- pause, resume ---- */

static int ask_once(const char *command, const char *name, const struct cli_options *options,
                    const char *state)
{
    struct question q;
    int status = open_question(&q, command, name, options);

    /* The library bounds how long the guest is waited for. */
    if (status == MF_OK)
        status = ask(&q, command, CONTROL_NO_TIMEOUT);
    status = status == MF_OK ? say_done(&q, state) : fail_question(&q);
    close_question(&q);
    return status;
}

int cmd_pause(int argc, char **argv)
{
    struct cli_options options;
    int status = read_name(argc, argv, &options);

    if (status == CLI_GO_ON)
        status = ask_once("pause", options.operands[0], &options, "paused");
    cli_options_fini(&options);
    return status;
}

int control_resume_name(const char *name, const struct cli_options *options)
{
    return ask_once("resume", name, options, "running");
}

/* ---- stop ---- */

/* Waits until it has ended, which a broken connection says, too. */
static int await_end(struct question *q)
{
    const struct timespec step = {.tv_nsec = STOP_STEP_NS};
    uint64_t end = report_now() + STOP_NS;

    while (ask(q, "status", CONTROL_QUICK_MS) == MF_OK) {
        const json_t *row = json_object_get(q->answer, "sandbox");
        const char *state = json_string_value(json_object_get(row, "state"));
        if (state != NULL && strcmp(state, "ended") == 0)
            return MF_OK;
        if (report_now() >= end)
            return mf_fail(&q->err, MF_E_DEADLINE, "%s was told to stop, and has not ended yet",
                           q->name);
        nanosleep(&step, NULL);
    }
    return q->err.code == MF_E_NO_FUNCTION || q->err.code == MF_E_SYSTEM ? MF_OK : q->err.code;
}

int cmd_stop(int argc, char **argv)
{
    struct cli_options options;
    struct question q;
    int status = read_name(argc, argv, &options);

    if (status == CLI_GO_ON) {
        status = open_question(&q, "stop", options.operands[0], &options);
        if (status == MF_OK)
            status = ask(&q, "stop", CONTROL_QUICK_MS);
        if (status == MF_OK)
            status = await_end(&q);
        status = status == MF_OK ? say_done(&q, "ended") : fail_question(&q);
        close_question(&q);
    }
    cli_options_fini(&options);
    return status;
}

/* ---- snapshot ---- */

/* The server has a working directory of its own. */
static int absolute_path(const char *file, char *path, size_t size, struct mf_error *err)
{
    char folder[PATH_MAX];
    int len;

    if (file[0] == '/')
        len = snprintf(path, size, "%s", file);
    else if (getcwd(folder, sizeof folder) == NULL)
        return mf_fail(err, MF_E_SYSTEM, "cannot tell the working directory");
    else
        len = snprintf(path, size, "%s/%s", folder, file);
    if (len < 0 || (size_t)len >= size)
        return mf_fail(err, MF_E_ARGUMENT, "%.100s is too long a path", file);
    return MF_OK;
}

static int show_snapshot(struct question *q)
{
    const json_t *answer = q->answer;
    json_t *object = json_object();

    if (!q->options->json) {
        json_decref(object);
        return cli_finish(CLI_OK);
    }
    json_object_set_new(object, "name", json_string(q->name));
    json_object_update(object, (json_t *)answer);
    json_object_del(object, "ok");
    return report_print_json(object, CLI_OK);
}

int control_snapshot_name(const char *command, const char *name, const char *file,
                          const struct cli_options *options)
{
    struct question q;
    char path[PATH_MAX];
    int status = open_question(&q, command, name, options);

    if (status == MF_OK)
        status = absolute_path(file, path, sizeof path, &q.err);
    if (status == MF_OK) {
        json_t *request = json_pack("{s:s, s:s, s:o, s:b}", "command", "snapshot", "target", name,
                                    "file", json_string(path), "compress", (int)options->compress);
        status = request != NULL
                     ? control_client_call(&q.client, request, CONTROL_NO_TIMEOUT, NULL, NULL,
                                           &q.answer, &q.err)
                     : mf_fail(&q.err, MF_E_ARGUMENT, "%.150s: a path that is no UTF-8", file);
    }
    status = status == MF_OK ? show_snapshot(&q) : fail_question(&q);
    close_question(&q);
    return status;
}
