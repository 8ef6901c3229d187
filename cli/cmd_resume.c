/*
 * mayfly resume: lets what a snapshot froze run on, in a sandbox of its own. It ends as it
 * would have ended: a program with its exit status, a call with its result.
 */
#include "guest.h"
#include "snapfile.h"
#include "values.h"

#include <stdio.h>

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

int cmd_resume(int argc, char **argv)
{
    struct cli_options options;
    struct guest guest;
    int status = cli_options_parse(argc, argv, &options);

    if (status == CLI_GO_ON && options.noperands != 1)
        status = cli_usage_error("resume", options.json,
                                 options.noperands == 0 ? "which snapshot?"
                                                        : "one snapshot at a time");
    if (status == CLI_GO_ON) {
        guest_init(&guest, "resume", &options);
        status = resume(&guest, options.operands[0]);
        guest_fini(&guest);
    }
    cli_options_fini(&options);
    return status;
}
