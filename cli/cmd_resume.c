/*
 * mayfly resume: lets what a snapshot froze run on, in a sandbox of its own. It ends as it
 * would have ended: a program with its exit status, a call with its result. With the name of a
 * running sandbox that was paused it lets that one go on.
 */
#include "cmd_control.h"
#include "control_client.h"
#include "guest.h"
#include "names.h"
#include "snapfile.h"
#include "values.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Opens the snapshot and sees that there is something to go on with. */
static int open_frozen(struct guest *guest, const char *path)
{
    struct mf_image_info info;

    if (snapfile_is_program(path))
        return mf_fail(&guest->err, MF_E_ARGUMENT,
                       "%.100s is a program and no snapshot; 'mayfly run %.60s' runs it", path,
                       path);
    guest->resumes = true;
    int status = guest_open(guest, path);
    if (status != MF_OK || guest_frozen(guest) != MF_STOPPED_NOTHING)
        return status;
    mf_image_get_info(guest->image, &info);
    if (info.nexports > 0)
        return mf_fail(&guest->err, MF_E_ARGUMENT,
                       "%.80s waits for calls: nothing was stopped in it. 'mayfly call %.80s "
                       "FUNCTION [ARG...]' calls a function", path, path);
    return mf_fail(&guest->err, MF_E_ARGUMENT, "%.80s has not begun: 'mayfly run %.80s' runs it",
                   path, path);
}

static int print_json(const struct guest *guest, enum mf_stopped frozen, int exit_status,
                      const struct mf_value *result)
{
    const struct mf_sandbox *sandbox = guest->sandbox;
    json_t *object = json_pack("{s:s, s:s, s:o, s:o, s:o}", "frozen_in",
                               snapfile_stopped_name(frozen), "backend",
                               mf_backend_name(mf_sandbox_backend(sandbox)), "backend_reason",
                               report_text_json(mf_sandbox_backend_reason(sandbox)), "times",
                               report_times_json(&guest->times, "resume"), "stats",
                               report_stats_json(sandbox));

    if (frozen == MF_STOPPED_RUN)
        json_object_set_new(object, "exit_status", json_integer(exit_status));
    if (frozen == MF_STOPPED_CALL) {
        json_object_set_new(object, "result", values_json(result));
        json_object_set_new(object, "type", json_string(mf_type_name(result->type)));
    }
    return report_print_json(object, exit_status);
}

static int resume(struct guest *guest, const char *path)
{
    struct mf_value result = mf_void();
    int exit_status = CLI_OK;

    if (open_frozen(guest, path) != MF_OK)
        return guest_fail(guest);
    enum mf_stopped frozen = guest_frozen(guest);
    /* As in `run` and `call`. */
    if (guest_create(guest, NULL, 0, frozen == MF_STOPPED_RUN ? UINT64_MAX : 0) != MF_OK)
        return guest_fail(guest);

    uint64_t begin = guest_begin_phase(guest);
    int status = mf_sandbox_resume(guest->sandbox, &result, &exit_status, &guest->err);
    guest->times.run = guest_end_phase(guest, begin);
    guest_report(guest, "resume");
    if (status != MF_OK)
        return guest_fail(guest);
    if (guest->options->json)
        return print_json(guest, frozen, exit_status, &result);
    if (frozen == MF_STOPPED_CALL)
        values_print(&result);
    if (frozen == MF_STOPPED_START)
        fputs("mayfly resume: its start is done; it waits for calls now, which this command makes "
              "none of\n", stderr);
    return cli_finish(exit_status);
}

/* ---- a name ---- */

/*
 * Whether the operand is the name of a running sandbox: it has no slash and there is one.
 * CLI_USAGE when there is a snapshot of that name, too; other files do not count, because
 * nobody can mean them.
 */
static int read_operand(const char *operand, bool json, bool *is_name)
{
    *is_name = names_are_valid(operand, strlen(operand)) && control_client_finds(operand);
    if (!*is_name || !snapfile_recognise(operand))
        return CLI_GO_ON;
    return cli_usage_error("resume", json,
                           "'%s' is a running sandbox, and a snapshot file here: write ./%s for "
                           "the file, or go to another directory for the sandbox",
                           operand, operand);
}

/* Options say how a sandbox is made; the one that is running was made already. */
static int resume_name(const char *name, const struct cli_options *options)
{
    const char *given = options->backend != MF_BACKEND_AUTO ? "--backend"
                        : options->timeout_ns != 0          ? "--timeout"
                        : options->cpu_time_ns != 0         ? "--cpu-time"
                        : options->max_output_bytes != 0    ? "--max-output"
                        : options->store != NULL            ? "--store"
                        : options->name != NULL             ? "--name"
                        : options->time                     ? "--time"
                        : options->verbose                  ? "--verbose"
                                                            : NULL;

    if (given != NULL)
        return cli_usage_error("resume", options->json, "%s: '%s' is a sandbox that is running",
                               given, name);
    return control_resume_name(name, options);
}

static int resume_operand(const char *operand, const struct cli_options *options)
{
    struct guest guest;
    bool is_name;

    int status = read_operand(operand, options->json, &is_name);
    if (status != CLI_GO_ON)
        return status;
    if (is_name)
        return resume_name(operand, options);
    if (names_are_valid(operand, strlen(operand)) && access(operand, F_OK) != 0) {
        mf_fail(&guest.err, MF_E_SYSTEM,
                "there is no file '%.64s' here, and no sandbox called so is running", operand);
        return cli_library_error("resume", options->json, &guest.err);
    }
    guest_init(&guest, "resume", options);
    status = resume(&guest, operand);
    guest_fini(&guest);
    return status;
}

int cmd_resume(int argc, char **argv)
{
    struct cli_options options;
    int status = cli_options_parse(argc, argv, &options);

    if (status == CLI_GO_ON && options.noperands != 1)
        status = cli_usage_error("resume", options.json,
                                 options.noperands == 0
                                     ? "which snapshot, or running sandbox?"
                                     : "one snapshot at a time");
    if (status == CLI_GO_ON)
        status = resume_operand(options.operands[0], &options);
    cli_options_fini(&options);
    return status;
}
