/*
 * mayfly migrate: moves a running sandbox to a receiver. The process that runs it does so; this
 * command asks it to, and shows how far it is.
 */
#include "cli.h"
#include "control_client.h"
#include "report.h"
#include "text.h"
#include "units.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct view {
    const struct cli_options *options;
    bool live;    /* a line that is written over and over */
    bool written; /* something stands in it */
    uint64_t shown_ns;
};

/* How often the line changes. */
#define SHOW_NS UINT64_C(100000000)

static uint64_t number(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* ---- progress ---- */

static void show_line(struct view *view, const json_t *event)
{
    char rate[32], dirty[32], sent[32], downtime[32];
    const char *phase = json_string_value(json_object_get(event, "phase"));

    units_format_size(number(event, "bytes_per_s"), rate, sizeof rate);
    units_format_size(number(event, "dirty_bytes_per_s"), dirty, sizeof dirty);
    units_format_size(number(event, "bytes_sent"), sent, sizeof sent);
    units_format_duration(number(event, "expected_downtime_ns"), downtime, sizeof downtime);
    fprintf(stderr,
            "\r%s, round %" PRIu64 ": %" PRIu64 " pages left, %s sent, %s/s; written %s/s; "
            "downtime now %s\033[K",
            phase != NULL ? phase : "?", number(event, "round"), number(event, "pages_left"), sent,
            rate, dirty, downtime);
    fflush(stderr);
    view->written = true;
}

static void show_event(void *context, const json_t *event)
{
    struct view *view = context;
    uint64_t now = report_now();

    if (view->options->json) {
        json_dumpf(event, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
    } else if (view->live && now - view->shown_ns >= SHOW_NS) {
        view->shown_ns = now;
        show_line(view, event);
    }
}

static void end_line(struct view *view)
{
    if (view->written)
        fputs("\r\033[K", stderr);
    view->written = false;
}

/* ---- the end ---- */

static int show_summary(const char *name, const struct cli_options *options, const json_t *answer)
{
    const json_t *summary = json_object_get(answer, "summary");
    char bytes[32], downtime[32], total[32];

    if (options->json) {
        json_t *event = json_pack("{s:s, s:s, s:O}", "event", "moved", "name", name, "summary",
                                  summary);
        int status = event != NULL ? json_dumpf(event, stdout, JSON_COMPACT) : -1;
        putchar('\n');
        json_decref(event);
        return cli_finish(status == 0 ? CLI_OK : CLI_HOST_ERROR);
    }
    units_format_size(number(summary, "bytes_sent"), bytes, sizeof bytes);
    units_format_duration(number(summary, "downtime_ns"), downtime, sizeof downtime);
    units_format_duration(number(summary, "total_ns"), total, sizeof total);
    printf("%s has moved to %s\n", name, options->operands[1]);
    printf("rounds    %" PRIu64 "\n", number(summary, "round"));
    printf("pages     %" PRIu64 " sent, %" PRIu64 " zero, %" PRIu64 " already there\n",
           number(summary, "pages_sent"), number(summary, "pages_zero"),
           number(summary, "pages_known"));
    printf("bytes     %s\n", bytes);
    printf("downtime  %s\n", downtime);
    printf("total     %s\n", total);
    return cli_finish(CLI_OK);
}

/* ---- the request ---- */

/* Files are named to another process, which has a working directory of its own. */
static int set_path(json_t *request, const char *key, const char *file, struct mf_error *err)
{
    char folder[PATH_MAX], path[PATH_MAX];
    int len;

    if (file == NULL)
        return MF_OK;
    if (file[0] == '/')
        len = snprintf(path, sizeof path, "%s", file);
    else if (getcwd(folder, sizeof folder) == NULL)
        return mf_fail(err, MF_E_SYSTEM, "cannot tell the working directory");
    else
        len = snprintf(path, sizeof path, "%s/%s", folder, file);
    if (len < 0 || (size_t)len >= sizeof path)
        return mf_fail(err, MF_E_ARGUMENT, "%.100s is too long a path", file);
    if (json_object_set_new(request, key, json_string(path)) != 0)
        return mf_fail(err, MF_E_ARGUMENT, "%.150s: a path that is no UTF-8", file);
    return MF_OK;
}

static void set_flag(json_t *request, const char *key, bool value)
{
    if (value)
        json_object_set_new(request, key, json_true());
}

static void set_number(json_t *request, const char *key, uint64_t value)
{
    if (value != 0)
        json_object_set_new(request, key, json_integer((json_int_t)value));
}

static int make_request(const char *name, const struct cli_options *options, json_t **out,
                        struct mf_error *err)
{
    json_t *request = json_pack("{s:s, s:s}", "command", "migrate", "target", name);
    char fallback[128];
    int status = MF_OK;

    snprintf(fallback, sizeof fallback, "%.64s.fallback.mfs", name);
    if (json_object_set_new(request, "address", json_string(options->operands[1])) != 0)
        status = mf_fail(err, MF_E_ARGUMENT, "the address is no UTF-8");
    if (status == MF_OK)
        status = set_path(request, "fallback",
                          options->output != NULL ? options->output : fallback, err);
    if (status == MF_OK)
        status = set_path(request, "cert", options->cert, err);
    if (status == MF_OK)
        status = set_path(request, "key", options->key, err);
    if (status == MF_OK)
        status = set_path(request, "ca", options->ca, err);
    if (status == MF_OK)
        status = set_path(request, "psk", options->psk_file, err);
    set_flag(request, "postcopy", options->postcopy);
    set_flag(request, "compress", options->compress);
    set_flag(request, "follow", options->follow);
    set_flag(request, "insecure", options->insecure);
    set_number(request, "downtime_limit_ns", options->downtime_ns);
    set_number(request, "timeout_ns", options->timeout_ns);
    if (status == MF_OK)
        *out = request;
    else
        json_decref(request);
    return status;
}

static int migrate(const char *name, const struct cli_options *options)
{
    struct view view = {.options = options,
                        .live = !options->json && isatty(STDERR_FILENO) == 1};
    struct control_client_socket client;
    json_t *request = NULL, *answer = NULL;
    struct mf_error err;
    int status = control_client_open(&client, name, &err);

    if (status == MF_OK)
        status = make_request(name, options, &request, &err);
    if (status == MF_OK)
        status = control_client_call(&client, request, CONTROL_NO_TIMEOUT, show_event, &view,
                                     &answer, &err);
    end_line(&view);
    status = status == MF_OK ? show_summary(name, options, answer)
                             : cli_library_error("migrate", options->json, &err);
    json_decref(answer);
    control_client_close(&client);
    return status;
}

static int cancel(const char *name, const struct cli_options *options)
{
    struct control_client_socket client;
    struct mf_error err;
    int status = control_client_open(&client, name, &err);

    if (status == MF_OK)
        status = control_client_call(
            &client, json_pack("{s:s, s:s}", "command", "cancel", "target", name),
            CONTROL_QUICK_MS, NULL, NULL, NULL, &err);
    control_client_close(&client);
    return status == MF_OK ? cli_finish(CLI_OK)
                           : cli_library_error("migrate", options->json, &err);
}

int cmd_migrate(int argc, char **argv)
{
    struct cli_options options;
    int status = cli_options_parse(argc, argv, &options);

    if (status == CLI_GO_ON && options.noperands != (options.cancel ? 1 : 2))
        status = cli_usage_error("migrate", options.json,
                                 options.cancel ? "--cancel needs one NAME"
                                                : "it needs NAME and ADDR, like job1 "
                                                  "tls:host-b:7000");
    if (status == CLI_GO_ON)
        status = options.cancel ? cancel(options.operands[0], &options)
                                : migrate(options.operands[0], &options);
    cli_options_fini(&options);
    return status;
}
