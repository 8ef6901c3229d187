/*
 * mayfly snapshot create: runs a guest up to some point, takes a snapshot there, and writes
 * it. The point is "after these calls", or "after this time", in the middle of whatever runs
 * then: a time limit stops it between two instructions, and nothing of it is lost.
 */
#include "interrupt.h"
#include "snapfile.h"
#include "snapshot.h"
#include "snapshot_calls.h"
#include "text.h"
#include "units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct creation {
    struct guest guest;
    struct cli_options *options;
    struct snapshot_calls calls;
    json_t *results; /* of the calls, with --json */
    struct mf_snapshot *parent, *snapshot;
    bool missed; /* what should have been frozen ended before */
};

static int check_usage(const char *name, const struct cli_options *options)
{
    bool json = options->json;

    if (options->noperands == 0)
        return cli_usage_error(name, json, options->run ? "which program?" : "which image?");
    if (!options->run && options->noperands > 1)
        return cli_usage_error(name, json, "'%s': one image at a time; with --run it would be an "
                                           "argument of the program", options->operands[1]);
    if (options->output == NULL)
        return cli_usage_error(name, json, "where to? -o FILE is missing");
    if (options->run && options->after_ns == 0)
        return cli_usage_error(name, json, "when? --run needs --after TIME, like --after 2s");
    if (options->run && options->ncalls > 0)
        return cli_usage_error(name, json, "--run and --call: a guest runs its main or takes "
                                           "calls");
    if (options->run && options->timeout_ns != 0)
        return cli_usage_error(name, json, "--run takes --after TIME, and no --timeout");
    if (options->after_ns != 0 && !options->run && options->ncalls == 0)
        return cli_usage_error(name, json, "--after needs --run, or a --call to stop");
    return CLI_GO_ON;
}

static bool same_file(const char *a, const char *b)
{
    struct stat in_a, in_b;

    return stat(a, &in_a) == 0 && stat(b, &in_b) == 0 && in_a.st_dev == in_b.st_dev &&
           in_a.st_ino == in_b.st_ino;
}

/* The parent of --parent; the guest itself when it was made from that. */
static int open_parent(struct creation *c)
{
    const struct cli_options *options = c->options;
    struct guest *guest = &c->guest;

    if (options->parent == NULL)
        return MF_OK;
    if (same_file(options->parent, options->output))
        return mf_fail(&guest->err, MF_E_ARGUMENT,
                       "-o and --parent are the same file, %.150s: a snapshot cannot be the "
                       "difference to what it replaces", options->output);
    if (guest->snapshot != NULL && same_file(options->parent, guest->path)) {
        c->parent = mf_snapshot_hold(guest->snapshot);
        return MF_OK;
    }
    if (!snapfile_recognise(options->parent)) {
        struct stat st;
        if (stat(options->parent, &st) == 0)
            return mf_fail(&guest->err, MF_E_ARGUMENT, "--parent: %.150s is no snapshot file",
                           options->parent);
    }
    return snapfile_open(options->parent, options, &c->parent, &guest->err);
}

/* Whether --after stopped it; else what came instead is in guest->err. */
static int was_stopped(struct creation *c, int status, const char *what)
{
    struct guest *guest = &c->guest;

    if (status == MF_E_DEADLINE && mf_sandbox_stopped(guest->sandbox) != MF_STOPPED_NOTHING)
        return MF_OK;
    if (status != MF_OK)
        return status;
    char after[32], took[32];
    units_format_duration(c->options->after_ns, after, sizeof after);
    units_format_duration(guest->times.run, took, sizeof took);
    c->missed = true;
    return mf_fail(&guest->err, MF_E_STATE,
                   "%s after %s, before --after %s: there is nothing to freeze, and nothing was "
                   "written", what, took, after);
}

/* Runs the program, or lets a frozen one run on, for the time of --after. */
static int run_program(struct creation *c)
{
    struct guest *guest = &c->guest;
    char what[64];
    int exit_status = 0;

    uint64_t begin = guest_begin_phase(guest);
    enum mf_stopped frozen = guest_frozen(guest);
    int status = frozen != MF_STOPPED_NOTHING
                     ? mf_sandbox_resume(guest->sandbox, NULL, &exit_status, &guest->err)
                     : mf_sandbox_run(guest->sandbox, &exit_status, &guest->err);
    guest->times.run = guest_end_phase(guest, begin);
    if (frozen == MF_STOPPED_CALL || frozen == MF_STOPPED_START)
        snprintf(what, sizeof what, "what was frozen ended");
    else
        snprintf(what, sizeof what, "the program ended with status %d", exit_status);
    return was_stopped(c, status, what);
}

static int make_calls(struct creation *c)
{
    struct guest *guest = &c->guest;
    bool stops = c->options->after_ns != 0;
    int status = guest_start(guest);

    for (size_t i = 0; i < c->calls.n && status == MF_OK; i++) {
        bool last = i + 1 == c->calls.n;
        if (stops && last) {
            c->options->timeout_ns = c->options->after_ns;
            status = mf_sandbox_set_limits(guest->sandbox, c->options->after_ns,
                                           c->options->cpu_time_ns, &guest->err);
            guest->times.run = 0;
        }
        if (status == MF_OK)
            status = snapshot_calls_make(guest, &c->calls, i, c->results);
        if (stops && last)
            status = was_stopped(c, status, "the call answered");
    }
    return status;
}

/* Brings the guest to where it shall be frozen. */
static int run_guest(struct creation *c)
{
    struct guest *guest = &c->guest;
    char **args = c->options->run ? c->options->operands : NULL;

    if (c->options->run)
        c->options->timeout_ns = c->options->after_ns;
    int status = guest_create(guest, args, c->calls.bytes, c->options->run ? UINT64_MAX : 0);
    if (status != MF_OK)
        return status;
    status = c->options->run ? run_program(c) : make_calls(c);
    if (status == MF_OK && interrupt_signal() != 0)
        status = mf_fail(&guest->err, MF_E_INTERRUPTED, "interrupted");
    return status;
}

/* Writing so much takes a while, and a person who waits shall know for what. */
#define PROGRESS_PAGES ((UINT64_C(128) << 20) / 4096)

/* Shows, or takes away, what the command is at; on a terminal only. */
static void show_progress(const struct creation *c, bool begins)
{
    struct mf_snapshot_info info = {.size = sizeof info};
    char size[32];

    mf_snapshot_get_info(c->snapshot, &info);
    if (info.pages < PROGRESS_PAGES || c->options->json || isatty(STDERR_FILENO) != 1)
        return;
    units_format_size(info.pages * 4096, size, sizeof size);
    if (begins)
        fprintf(stderr, "mayfly: writing up to %s ...", size);
    else
        fprintf(stderr, "\r%60s\r", "");
    fflush(stderr);
}

static int write_file(struct creation *c)
{
    struct mf_snapshot_write_options options = {
        .size = sizeof options,
        .compress = c->options->compress,
        .parent = c->parent,
    };
    struct mf_error *err = &c->guest.err;

    int status = mf_sandbox_snapshot(c->guest.sandbox, &c->snapshot, err);
    if (status != MF_OK)
        return status;
    show_progress(c, true);
    status = mf_snapshot_write(c->snapshot, c->options->output, &options, NULL, err);
    show_progress(c, false);
    return status;
}

/* Without --run the guest shall wait for calls; not all programs do. */
static int check_exports(struct creation *c)
{
    struct mf_image_info info;

    mf_image_get_info(c->guest.image, &info);
    if (c->options->run || info.nexports > 0)
        return MF_OK;
    return mf_fail(&c->guest.err, MF_E_ARGUMENT,
                   "%.150s exports no functions; with --run and --after it is frozen while it runs",
                   c->guest.path);
}

static int create_file(struct creation *c)
{
    struct guest *guest = &c->guest;

    int status = snapfile_check_output(c->options->output, &guest->err);
    /* A frozen program can run on for a while and be frozen again. */
    guest->resumes = c->options->run && snapfile_recognise(c->options->operands[0]);
    if (status == MF_OK)
        status = guest_open(guest, c->options->operands[0]);
    if (status == MF_OK)
        status = check_exports(c);
    if (status == MF_OK)
        status = open_parent(c);
    if (status == MF_OK)
        status = snapshot_calls_parse(guest, &c->calls);
    if (status == MF_OK)
        status = run_guest(c);
    if (status == MF_OK)
        status = write_file(c);
    return status;
}

static uint64_t file_bytes(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static int report(struct creation *c)
{
    const char *path = c->options->output;

    guest_report(&c->guest, c->options->run ? "run" : "calls");
    if (c->options->verbose) {
        char digest[SNAPFILE_DIGEST_TEXT], size[32];
        units_format_size(file_bytes(path), size, sizeof size);
        snapfile_digest(c->snapshot, digest);
        fputs("mayfly: wrote ", stderr);
        text_print_line_safe(stderr, path);
        fprintf(stderr, ", %s, %s\n", size, digest);
    }
    if (!c->options->json)
        return cli_finish(CLI_OK);
    json_t *object = snapshot_json(c->snapshot);
    json_object_set_new(object, "file", report_text_json(path));
    json_object_set_new(object, "file_bytes", json_integer((json_int_t)file_bytes(path)));
    json_object_set(object, "calls", c->results);
    return report_print_json(object, CLI_OK);
}

int snapshot_create(const char *name, struct cli_options *options)
{
    int status = check_usage(name, options);
    if (status != CLI_GO_ON)
        return status;
    struct creation c = {.options = options, .results = options->json ? json_array() : NULL};
    guest_init(&c.guest, name, options);
    if (create_file(&c) == MF_OK)
        status = report(&c);
    else
        status = guest_fail(&c.guest);
    /* Nothing went wrong in the guest: it was only quicker than --after. */
    if (c.missed)
        status = CLI_FAILED;
    snapshot_calls_fini(&c.calls);
    mf_snapshot_close(c.snapshot);
    mf_snapshot_close(c.parent);
    guest_fini(&c.guest);
    json_decref(c.results);
    return status;
}
