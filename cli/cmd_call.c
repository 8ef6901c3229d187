/*
 * mayfly call: calls of exported functions: one, the same one many times, or those
 * that standard input names (call_lines.c). The words of the command line are read as
 * the function's signature says, before any VM is made.
 */
#include "call_lines.h"
#include "cli.h"
#include "guest.h"
#include "values.h"

#include <mayfly/attend.h>
#include <mayfly/batch.h>

#include <stdio.h>
#include <stdlib.h>

/* How many calls share one entry with --repeat and --batch. */
#define BATCH_CALLS 64

/* Each call's duration is kept. */
#define REPEAT_MOST 10000000

/* The call of the command line. */
struct repeated {
    size_t index;
    struct values *values;
    struct mf_value result; /* of the last call */
    uint64_t *ns;           /* of each call, or of each batch divided by its calls */
    size_t count;
};

static json_t *spread_json(const struct repeated *r)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "measured", (json_int_t)r->count, "median_ns",
                     (json_int_t)r->ns[r->count / 2], "quartile_1_ns",
                     (json_int_t)r->ns[r->count / 4], "quartile_3_ns",
                     (json_int_t)r->ns[r->count * 3 / 4]);
}

static int print_json(const struct guest *guest, const struct mf_signature *sig,
                      const struct repeated *r)
{
    const struct mf_sandbox *sandbox = guest->sandbox;
    json_t *object =
        json_pack("{s:s, s:o, s:s, s:s, s:o, s:o, s:o}", "function", sig->name, "result",
                  values_json(&r->result), "type", mf_type_name(sig->result), "backend",
                  mf_backend_name(mf_sandbox_backend(sandbox)), "backend_reason",
                  report_text_json(mf_sandbox_backend_reason(sandbox)), "times",
                  report_times_json(&guest->times, "call"), "stats", report_stats_json(sandbox));

    if (guest->options->repeat > 0)
        json_object_set_new(object, "repeat", spread_json(r));
    return report_print_json(object, CLI_OK);
}

static int compare_ns(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Up to BATCH_CALLS calls in one batch; the first failure is that of all. */
static int call_batch(struct guest *guest, struct repeated *r, size_t ncalls)
{
    struct mf_call calls[BATCH_CALLS];

    for (size_t i = 0; i < ncalls; i++)
        calls[i] =
            (struct mf_call){.function = r->index, .args = r->values->value, .nargs = r->values->n};
    int status = mf_sandbox_call_batch(guest->sandbox, calls, ncalls, &guest->err);
    for (size_t i = 0; i < ncalls && status == MF_OK; i++) {
        status = calls[i].status;
        guest->err = calls[i].error;
    }
    r->result = calls[ncalls - 1].result;
    return status;
}

/* Makes `times` calls, and keeps how long each took. */
static int call_times(struct guest *guest, struct repeated *r, uint64_t times)
{
    int status = MF_OK;

    for (uint64_t done = 0, now; done < times && status == MF_OK; done += now) {
        uint64_t left = times - done;
        now = !guest->options->batch ? 1 : left < BATCH_CALLS ? left : BATCH_CALLS;
        uint64_t begin = guest_begin_phase(guest);
        if (guest->options->batch)
            status = call_batch(guest, r, now);
        else
            status = mf_sandbox_call_index(guest->sandbox, r->index, r->values->value, r->values->n,
                                           &r->result, &guest->err);
        uint64_t took = guest_end_phase(guest, begin);
        guest->times.run += took;
        r->ns[r->count++] = took / now;
    }
    qsort(r->ns, r->count, sizeof *r->ns, compare_ns);
    return status;
}

/* Starts the guest; on --attentive on a thread of its own. */
static int start(struct guest *guest)
{
    int status = guest_start(guest);

    if (status == MF_OK && guest->options->attentive)
        status = mf_sandbox_attend(guest->sandbox, NULL, &guest->err);
    return status;
}

static void report(const struct guest *guest, const struct repeated *r)
{
    guest_report(guest, "call");
    if (guest->options->repeat == 0 || r->count == 0 ||
        !(guest->options->time || guest->options->verbose))
        return;
    fprintf(stderr, "mayfly: each of %llu calls: median %.2f us, half of them %.2f to %.2f us\n",
            (unsigned long long)guest->options->repeat, (double)r->ns[r->count / 2] / 1e3,
            (double)r->ns[r->count / 4] / 1e3, (double)r->ns[r->count * 3 / 4] / 1e3);
}

/* Makes the sandbox and the calls, and prints the last result. */
static int run_calls(struct guest *guest, const struct mf_signature *sig, struct repeated *r)
{
    uint64_t times = guest->options->repeat > 0 ? guest->options->repeat : 1;

    r->ns = calloc(times, sizeof *r->ns);
    if (r->ns == NULL) {
        mf_fail(&guest->err, MF_E_NO_MEMORY, "no memory for %llu durations",
                (unsigned long long)times);
        return guest_fail(guest);
    }
    if (guest_create(guest, NULL, r->values->bytes, 0) != MF_OK)
        return guest_fail(guest);
    int status = start(guest);
    if (status == MF_OK)
        status = call_times(guest, r, times);
    report(guest, r);
    if (status != MF_OK)
        return guest_fail(guest);
    if (guest->options->json)
        return print_json(guest, sig, r);
    values_print(&r->result);
    return cli_finish(CLI_OK);
}

/* operands: IMAGE FUNCTION [ARG...] */
static int call_function(struct guest *guest, char **operands, size_t noperands,
                         struct values *values)
{
    struct repeated r = {.values = values};

    if (guest_open(guest, operands[0]) != MF_OK)
        return guest_fail(guest);
    int index = mf_image_find_export(guest->image, operands[1], &guest->err);
    if (index < 0)
        return guest_fail(guest);
    const struct mf_signature *sig = mf_image_export(guest->image, (size_t)index);
    if (values_parse(sig, operands + 2, noperands - 2, values, &guest->err) != MF_OK)
        return guest_fail(guest);
    r.index = (size_t)index;
    int status = run_calls(guest, sig, &r);
    free(r.ns);
    return status;
}

/* operands: IMAGE; the calls come from standard input. */
static int call_from_input(struct guest *guest, char **operands)
{
    if (guest_open(guest, operands[0]) != MF_OK || guest_create(guest, NULL, 0, 0) != MF_OK ||
        start(guest) != MF_OK)
        return guest_fail(guest);
    return call_lines_run(guest);
}

/* Which way of calling the options and operands mean; CLI_GO_ON or a usage error. */
static int check_usage(const struct cli_options *options)
{
    if (options->noperands == 0)
        return cli_usage_error(
            "call", options->json,
            options->batch && options->repeat == 0 ? "which image?" : "which image and function?");
    if (options->repeat > REPEAT_MOST)
        return cli_usage_error("call", options->json, "--repeat: at most %d calls", REPEAT_MOST);
    if (options->noperands == 1 && (!options->batch || options->repeat > 0))
        return cli_usage_error("call", options->json, "which function?");
    if (options->noperands > 1 && options->batch && options->repeat == 0)
        return cli_usage_error("call", options->json,
                               "--batch takes its calls from standard input, or with --repeat "
                               "from here");
    return CLI_GO_ON;
}

int cmd_call(int argc, char **argv)
{
    struct cli_options options;
    struct guest guest;
    struct values values = {.n = 0};
    int status = cli_options_parse(argc, argv, &options);

    if (status == CLI_GO_ON)
        status = check_usage(&options);
    if (status == CLI_GO_ON) {
        guest_init(&guest, "call", &options);
        if (options.noperands == 1)
            status = call_from_input(&guest, options.operands);
        else
            status = call_function(&guest, options.operands, (size_t)options.noperands, &values);
        guest_fini(&guest);
    }
    values_fini(&values);
    cli_options_fini(&options);
    return status;
}
