/*
 * mayfly run: a static Linux program, or a guest's main, in a micro-VM. Its
 * standard input, output and error and its exit status are those of the command.
 */
#include "cli.h"
#include "guest.h"

/* The guest's exit status, or that of what went wrong. */
static int run_program(struct guest *guest, char **args)
{
    int status = 0;

    if (guest_open(guest, args[0]) != MF_OK)
        return guest_fail(guest);
    /* What it prints goes to the user's own terminal or file: no limit but theirs. */
    if (guest_create(guest, args, 0, UINT64_MAX) != MF_OK)
        return guest_fail(guest);

    uint64_t begin = guest_begin_phase(guest);
    int result = mf_sandbox_run(guest->sandbox, &status, &guest->err);
    guest->times.run = guest_end_phase(guest, begin);
    if (result == MF_E_STATE && guest->snapshot != NULL)
        mf_fail(&guest->err, MF_E_ARGUMENT,
                "%.80s waits for calls; 'mayfly call %.80s FUNCTION [ARG...]' makes one",
                guest->path, guest->path);
    return guest_end_run(guest, result, status);
}

int cmd_run(int argc, char **argv)
{
    struct cli_options options;
    struct guest guest;
    int status = cli_options_parse(argc, argv, &options);

    if (status == CLI_GO_ON && options.noperands == 0)
        status = cli_usage_error("run", options.json, "which program?");
    if (status == CLI_GO_ON) {
        guest_init(&guest, "run", &options);
        status = run_program(&guest, options.operands);
        guest_fini(&guest);
    }
    cli_options_fini(&options);
    return status;
}
