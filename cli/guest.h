/* What the commands that run guests have in common: one image, or snapshot, in one sandbox. */
#ifndef CLI_GUEST_H
#define CLI_GUEST_H

#include "cli.h"
#include "control.h"
#include "guestio.h"
#include "moving.h"
#include "report.h"

struct guest {
    const char *command;
    const struct cli_options *options;
    const char *path; /* of what was opened */
    struct mf_image *image;
    struct mf_snapshot *snapshot; /* what was opened, or NULL; it holds `image` then */
    bool resumes;                 /* set by commands that let a frozen guest run on */
    struct mf_sandbox *sandbox;
    uint64_t memory_bytes;   /* of the guest */
    struct control *control; /* with --name; else NULL */
    struct moving moving;    /* to another host */
    struct guestio io;
    struct report_times times;
    struct mf_error err;
};

/* Prepares *guest for the command. */
void guest_init(struct guest *guest, const char *command, const struct cli_options *options);

/*
 * Opens the image or snapshot at `path`; with guest->resumes it must be a snapshot, else it
 * must not be a frozen one. Returns 0 or MF_E_*, with guest->err filled.
 */
int guest_open(struct guest *guest, const char *path);

/*
 * Makes the sandbox: `args` is argv of main or NULL; `input_bytes` is what its calls will
 * be given; `max_output_bytes` is used where the options say nothing (0: the library's
 * default). A snapshot has all but the limits already: options that say otherwise are
 * refused. From then on signals stop the guest, and others find it under the name of --name.
 * With --verbose says which backend it is.
 * Returns 0 or MF_E_*.
 */
int guest_create(struct guest *guest, char **args, uint64_t input_bytes,
                 uint64_t max_output_bytes);

/* Runs the guest until it waits for calls, unless it does so already. Returns 0 or MF_E_*. */
int guest_start(struct guest *guest);

/* What the snapshot that was opened is in the middle of. */
enum mf_stopped guest_frozen(const struct guest *guest);

/* Begins a phase in which the guest runs; returns the time for guest_end_phase. */
uint64_t guest_begin_phase(struct guest *guest);

/* The duration of that phase, at least 1 ns. */
uint64_t guest_end_phase(struct guest *guest, uint64_t begin);

/*
 * Reports guest->err and returns the exit status: that of the error, or 128 plus
 * the signal that interrupted the guest.
 */
int guest_fail(struct guest *guest);

/* Prints --verbose or --time. `phase` names times.run. */
void guest_report(const struct guest *guest, const char *phase);

/*
 * The end of a program's run, which came back with `result` and the program's `status`: reports it,
 * and when the guest has gone elsewhere does what is left to do here. Returns the exit status.
 */
int guest_end_run(struct guest *guest, int result, int status);

/* What guest_create does with --name, in two steps: opens the control, and is known by its name. */
int guest_open_control(struct guest *guest, struct mf_error *err);
int guest_publish(struct guest *guest);

/* The guest has left: gives its memory and its name back before guest_fini does. */
void guest_drop(struct guest *guest);

/* Ends sandbox, image and snapshot; half-made guests are allowed. */
void guest_fini(struct guest *guest);

#endif
