/*
 * mayfly call: one call of one exported function. The words of the command line
 * are read as the function's signature says, before any VM is made.
 */
#include "cli.h"
#include "guest.h"
#include "values.h"

#include <stdio.h>

/* Limits of the library's mailbox_bytes, and its default. */
#define MAILBOX_DEFAULT (UINT64_C(64) << 10)
#define MAILBOX_MOST    (UINT64_C(1) << 30)

/* A mailbox that holds these arguments, and a result of their size. */
static uint64_t choose_mailbox(const struct values *values)
{
    /* Strings and bytes, plus at most 24 bytes of header and padding for each value. */
    uint64_t needed = values->bytes + UINT64_C(24) * (MF_PARAMS_MAX + 1) + 64;
    uint64_t mailbox = MAILBOX_DEFAULT;

    while (mailbox < needed && mailbox < MAILBOX_MOST)
        mailbox *= 2;
    return mailbox;
}

static int print_json(const struct guest *guest, const struct mf_signature *sig,
                      const struct mf_value *result)
{
    const struct mf_sandbox *sandbox = guest->sandbox;
    json_t *object = json_pack(
        "{s:s, s:o, s:s, s:s, s:o, s:o, s:o}", "function", sig->name, "result", values_json(result),
        "type", mf_type_name(sig->result), "backend", mf_backend_name(mf_sandbox_backend(sandbox)),
        "backend_reason", report_text_json(mf_sandbox_backend_reason(sandbox)), "times",
        report_times_json(&guest->times, "call"), "stats", report_stats_json(sandbox));

    return report_print_json(object, CLI_OK);
}

/* Starts the guest and calls the function; each is a phase of its own. */
static int start_and_call(struct guest *guest, size_t index, const struct values *values,
                          struct mf_value *result)
{
    uint64_t begin = guest_begin_phase(guest);
    int status = mf_sandbox_start(guest->sandbox, &guest->err);

    guest->times.init = guest_end_phase(guest, begin);
    if (status != MF_OK)
        return status;
    begin = guest_begin_phase(guest);
    status =
        mf_sandbox_call_index(guest->sandbox, index, values->value, values->n, result, &guest->err);
    guest->times.run = guest_end_phase(guest, begin);
    return status;
}

/* operands: IMAGE FUNCTION [ARG...] */
static int call_function(struct guest *guest, char **operands, size_t noperands,
                         struct values *values)
{
    struct mf_value result = mf_void();

    if (guest_open(guest, operands[0]) != MF_OK)
        return guest_fail(guest);
    int index = mf_image_find_export(guest->image, operands[1], &guest->err);
    if (index < 0)
        return guest_fail(guest);
    const struct mf_signature *sig = mf_image_export(guest->image, (size_t)index);
    if (values_parse(sig, operands + 2, noperands - 2, values, &guest->err) != MF_OK)
        return guest_fail(guest);
    if (guest_create(guest, NULL, choose_mailbox(values), 0) != MF_OK)
        return guest_fail(guest);

    int status = start_and_call(guest, (size_t)index, values, &result);
    guest_report(guest, "call");
    if (status != MF_OK)
        return guest_fail(guest);
    if (guest->options->json)
        return print_json(guest, sig, &result);
    values_print(&result);
    return cli_finish(CLI_OK);
}

int cmd_call(int argc, char **argv)
{
    struct cli_options options;
    struct guest guest;
    struct values values = {.n = 0};
    int status = cli_options_parse(argc, argv, &options);

    if (status == CLI_GO_ON && options.noperands < 2)
        status = cli_usage_error("call", options.json, "which %s?",
                                 options.noperands == 0 ? "image and function" : "function");
    if (status == CLI_GO_ON) {
        guest_init(&guest, "call", &options);
        status = call_function(&guest, options.operands, (size_t)options.noperands, &values);
        guest_fini(&guest);
    }
    values_fini(&values);
    cli_options_fini(&options);
    return status;
}
