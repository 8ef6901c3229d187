/* What `run` and `call` have in common: one image in one sandbox. */
#ifndef CLI_GUEST_H
#define CLI_GUEST_H

#include "cli.h"
#include "guestio.h"
#include "report.h"

struct guest {
    const char *command;
    const struct cli_options *options;
    struct mf_image *image;
    struct mf_sandbox *sandbox;
    struct guestio io;
    struct report_times times;
    struct mf_error err;
};

/* Prepares *guest for the command. */
void guest_init(struct guest *guest, const char *command, const struct cli_options *options);

/* Opens the image at `path`. Returns 0 or MF_E_*, with guest->err filled. */
int guest_open(struct guest *guest, const char *path);

/*
 * Makes the sandbox: `args` is argv of main or NULL; `mailbox_bytes` and
 * `max_output_bytes` are used where the options say nothing (0: the library's
 * default). From then on signals stop the guest. With --verbose says which
 * backend it is. Returns 0 or MF_E_*.
 */
int guest_create(struct guest *guest, char **args, uint64_t mailbox_bytes,
                 uint64_t max_output_bytes);

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

/* Ends sandbox and image; half-made guests are allowed. */
void guest_fini(struct guest *guest);

#endif
