/*
 * mayfly upgrade: has a running program go on in a newly started mayfly. The process that runs it
 * does so (upgrade.h); this command asks it to.
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

static int make_request(const struct cli_options *options, json_t **out, struct mf_error *err)
{
    char path[PATH_MAX];
    json_t *request = json_pack("{s:s, s:s}", "command", "upgrade", "target", options->operands[0]);
    int status = MF_OK;

    /* It is named to another process, which has a working directory of its own. */
    if (options->noperands > 1 && realpath(options->operands[1], path) == NULL)
        status = mf_fail(err, MF_E_ARGUMENT, "%.200s: there is no such file", options->operands[1]);
    else if (options->noperands > 1 &&
             json_object_set_new(request, "binary", json_string(path)) != 0)
        status = mf_fail(err, MF_E_ARGUMENT, "%.200s: a path that is no UTF-8", path);
    if (status == MF_OK)
        *out = request;
    else
        json_decref(request);
    return status;
}

static int show(const struct cli_options *options, json_t *answer)
{
    const char *name = options->operands[0];
    char downtime[32], total[32];

    if (options->json) {
        json_t *object = json_pack("{s:s}", "name", name);
        json_object_update(object, answer);
        json_object_del(object, "ok");
        return report_print_json(object, CLI_OK);
    }
    units_format_duration((uint64_t)json_integer_value(json_object_get(answer, "downtime_ns")),
                          downtime, sizeof downtime);
    units_format_duration((uint64_t)json_integer_value(json_object_get(answer, "total_ns")), total,
                          sizeof total);
    printf("%s goes on in process %" JSON_INTEGER_FORMAT ", of ", name,
           json_integer_value(json_object_get(answer, "pid")));
    text_print_line_safe(stdout, json_string_value(json_object_get(answer, "binary")));
    printf("\ndowntime  %s\ntotal     %s\n", downtime, total);
    return cli_finish(CLI_OK);
}

static int upgrade(const struct cli_options *options)
{
    struct control_client_socket client;
    json_t *request = NULL, *answer = NULL;
    struct mf_error err;
    int status = control_client_open(&client, options->operands[0], &err);

    if (status == MF_OK)
        status = make_request(options, &request, &err);
    /* The process that has it bounds how long it takes. */
    if (status == MF_OK)
        status = control_client_call(&client, request, CONTROL_NO_TIMEOUT, NULL, NULL, &answer,
                                     &err);
    status = status == MF_OK ? show(options, answer)
                             : cli_library_error("upgrade", options->json, &err);
    json_decref(answer);
    control_client_close(&client);
    return status;
}

int cmd_upgrade(int argc, char **argv)
{
    struct cli_options options;
    int status = cli_options_parse(argc, argv, &options);

    if (status == CLI_GO_ON && (options.noperands < 1 || options.noperands > 2))
        status = cli_usage_error("upgrade", options.json, "it needs NAME, and maybe the BINARY "
                                                          "that is to run it");
    if (status == CLI_GO_ON)
        status = upgrade(&options);
    cli_options_fini(&options);
    return status;
}
