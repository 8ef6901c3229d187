/*
 * The commands of the control socket: one table, and the functions of those that any
 * sandbox has. A command that takes long enough for somebody to notice has a `run`.
 */
#include "control.h"
#include "moving.h"
#include "report.h"
#include "snapfile.h"
#include "upgrade.h"

#include <string.h>
#include <sys/stat.h>

/* `stats` shall not keep a user waiting for a guest that cannot stand still at the moment. */
#define STATS_PAUSE_NS UINT64_C(1000000000)

/* ---- at once ---- */

static int answer_list(struct control *control, struct control_target *target,
                       const json_t *request, json_t **result, struct mf_error *err)
{
    (void)target, (void)request;
    *result = json_pack("{s:o}", "sandboxes", control_list(control));
    return *result != NULL ? MF_OK : mf_fail(err, MF_E_NO_MEMORY, "out of memory");
}

static int answer_help(struct control *control, struct control_target *target,
                       const json_t *request, json_t **result, struct mf_error *err)
{
    json_t *commands = json_object();

    (void)control, (void)target, (void)request;
    for (size_t i = 0; i < control_ncommands; i++)
        json_object_set_new(commands, control_commands[i].name,
                            json_string(control_commands[i].help));
    *result = json_pack("{s:o}", "commands", commands);
    return *result != NULL ? MF_OK : mf_fail(err, MF_E_NO_MEMORY, "out of memory");
}

static int answer_status(struct control *control, struct control_target *target,
                         const json_t *request, json_t **result, struct mf_error *err)
{
    (void)control, (void)request;
    *result = json_pack("{s:o}", "sandbox", control_describe(target));
    return *result != NULL ? MF_OK : mf_fail(err, MF_E_NO_MEMORY, "out of memory");
}

static int answer_resume(struct control *control, struct control_target *target,
                         const json_t *request, json_t **result, struct mf_error *err)
{
    (void)control, (void)request, (void)result;
    return control_unpause(target, err);
}

static int answer_stop(struct control *control, struct control_target *target,
                       const json_t *request, json_t **result, struct mf_error *err)
{
    (void)control, (void)request, (void)result, (void)err;
    control_stop(target);
    return MF_OK;
}

static int answer_cancel(struct control *control, struct control_target *target,
                         const json_t *request, json_t **result, struct mf_error *err)
{
    (void)control, (void)request, (void)result;
    return control_cancel(target, err);
}

/* ---- operations ---- */

static int run_pause(struct control_operation *operation, json_t **result, struct mf_error *err)
{
    (void)result;
    if (control_operation_is_paused(operation))
        return mf_fail(err, MF_E_STATE, "%s is paused already", control_operation_name(operation));
    int status = control_operation_hold(operation, 0, err);
    if (status == MF_OK)
        control_operation_keep(operation);
    return status;
}

/* Counters are those of a moment at which the guest stands still. */
static int run_stats(struct control_operation *operation, json_t **result, struct mf_error *err)
{
    struct mf_sandbox *sandbox = control_operation_sandbox(operation);
    int status = control_operation_hold(operation, STATS_PAUSE_NS, err);

    if (status != MF_OK)
        return status;
    json_t *stats = report_stats_json(sandbox);
    control_operation_release(operation);
    *result = json_pack("{s:o, s:o}", "stats", stats, "backend_reason",
                        report_text_json(mf_sandbox_backend_reason(sandbox)));
    return *result != NULL ? MF_OK : mf_fail(err, MF_E_NO_MEMORY, "out of memory");
}

/* Takes the snapshot; *pause_ns is how long the guest stood still for it. */
static int take_snapshot(struct control_operation *operation, struct mf_snapshot **snapshot,
                         uint64_t *pause_ns, struct mf_error *err)
{
    uint64_t begin = report_now();
    int status = control_operation_hold(operation, 0, err);

    if (status == MF_OK)
        status = mf_sandbox_snapshot(control_operation_sandbox(operation), snapshot, err);
    control_operation_release(operation);
    *pause_ns = report_now() - begin;
    return status;
}

static int write_snapshot(struct control_operation *operation, struct mf_snapshot *snapshot,
                          const char *path, uint64_t pause_ns, json_t **result,
                          struct mf_error *err)
{
    struct mf_snapshot_write_options options = {
        .size = sizeof options,
        .compress = json_is_true(
            json_object_get(control_operation_request(operation), "compress")),
    };
    struct mf_snapshot_info info = {.size = sizeof info};
    uint8_t digest[MF_DIGEST_BYTES];
    char text[SNAPFILE_DIGEST_TEXT];
    struct stat st;

    int status = mf_snapshot_write(snapshot, path, &options, digest, err);
    if (status != MF_OK)
        return status;
    mf_snapshot_get_info(snapshot, &info);
    snapfile_format_digest(digest, text);
    *result = json_pack("{s:s, s:s, s:I, s:I, s:I, s:s}", "file", path, "digest", text,
                        "file_bytes", (json_int_t)(stat(path, &st) == 0 ? st.st_size : 0), "pages",
                        (json_int_t)info.pages, "pause_ns", (json_int_t)pause_ns, "frozen_in",
                        snapfile_stopped_name(info.stopped));
    return *result != NULL ? MF_OK : mf_fail(err, MF_E_NO_MEMORY, "out of memory");
}

static int run_snapshot(struct control_operation *operation, json_t **result, struct mf_error *err)
{
    const json_t *request = control_operation_request(operation);
    const char *path = json_string_value(json_object_get(request, "file"));
    struct mf_snapshot *snapshot = NULL;
    uint64_t pause_ns;

    if (path[0] != '/')
        return mf_fail(err, MF_E_ARGUMENT, "snapshot: 'file' must be an absolute path");
    int status = snapfile_check_output(path, err);
    if (status == MF_OK)
        status = take_snapshot(operation, &snapshot, &pause_ns, err);
    if (status == MF_OK)
        control_operation_event(operation, json_pack("{s:s, s:I}", "event", "taken", "pause_ns",
                                                     (json_int_t)pause_ns));
    /* What is on its way into the file is written to its end. */
    if (status == MF_OK && control_operation_cancelled(operation))
        status = mf_fail(err, MF_E_INTERRUPTED, "cancelled; nothing was written");
    if (status == MF_OK)
        status = write_snapshot(operation, snapshot, path, pause_ns, result, err);
    mf_snapshot_close(snapshot);
    return status;
}

/* ---- the table ---- */

const struct control_command control_commands[] = {
    {.name = "help", .help = "these commands", .answer = answer_help},
    {.name = "list", .help = "all sandboxes of this process", .answer = answer_list},
    {
        .name = "status",
        .help = "what list says of one",
        .takes_target = true,
        .answer = answer_status,
    },
    {.name = "stats", .help = "its counters", .takes_target = true, .run = run_stats},
    {
        .name = "pause",
        .help = "make it stand still",
        .takes_target = true,
        .run = run_pause,
        .state = "pausing",
    },
    {
        .name = "resume",
        .help = "let a paused one go on",
        .takes_target = true,
        .answer = answer_resume,
    },
    {.name = "stop", .help = "end it, as SIGTERM would", .takes_target = true,
     .answer = answer_stop},
    {
        .name = "cancel",
        .help = "cancel the operation that goes on",
        .takes_target = true,
        .answer = answer_cancel,
    },
    {
        .name = "snapshot",
        .help = "write its state to a file; it goes on",
        .takes_target = true,
        .keys = {{"file", CONTROL_STRING, true}, {"compress", CONTROL_BOOLEAN, false}},
        .run = run_snapshot,
        .state = "snapshotting",
    },
    {
        .name = "migrate",
        .help = "move it to a receiver",
        .takes_target = true,
        .keys = {{"address", CONTROL_STRING, true},
                 {"fallback", CONTROL_STRING, true},
                 {"downtime_limit_ns", CONTROL_NUMBER, false},
                 {"timeout_ns", CONTROL_NUMBER, false},
                 {"postcopy", CONTROL_BOOLEAN, false},
                 {"compress", CONTROL_BOOLEAN, false},
                 {"follow", CONTROL_BOOLEAN, false},
                 {"insecure", CONTROL_BOOLEAN, false},
                 {"cert", CONTROL_STRING, false},
                 {"key", CONTROL_STRING, false},
                 {"ca", CONTROL_STRING, false},
                 {"psk", CONTROL_STRING, false}},
        .run = moving_run,
        .state = "migrating",
    },
    {
        .name = "upgrade",
        .help = "hand it to a newly started mayfly on this host",
        .takes_target = true,
        .keys = {{"binary", CONTROL_STRING, false}},
        .run = upgrade_run,
        .state = "upgrading",
    },
};

const size_t control_ncommands = sizeof control_commands / sizeof control_commands[0];
