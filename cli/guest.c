/*
 * One image or snapshot in one sandbox: options of the command line become options of
 * the library, and every phase is timed.
 */
#include "guest.h"
#include "interrupt.h"
#include "names.h"
#include "snapfile.h"
#include "text.h"
#include "upgrade.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

/* The library's own defaults; more is asked for only when they do not do. */
#define DEFAULT_MEMORY  (64 * MIB)
#define DEFAULT_MAILBOX (UINT64_C(64) << 10)

/* The library's bound for guest memory. */
#define MOST_MEMORY (UINT64_C(64) << 30)

void guest_init(struct guest *guest, const char *command, const struct cli_options *options)
{
    memset(guest, 0, sizeof *guest);
    guest->command = command;
    guest->options = options;
    moving_init(&guest->moving);
    guest->io.verbose = options->verbose;
    guest->io.output_to_stderr = options->json;
}

enum mf_stopped guest_frozen(const struct guest *guest)
{
    struct mf_snapshot_info info = {.size = sizeof info};

    if (guest->snapshot == NULL)
        return MF_STOPPED_NOTHING;
    mf_snapshot_get_info(guest->snapshot, &info);
    return info.stopped;
}

static int open_snapshot(struct guest *guest)
{
    int status = snapfile_open(guest->path, guest->options, &guest->snapshot, &guest->err);

    if (status != MF_OK)
        return status;
    guest->image = mf_snapshot_image(guest->snapshot);
    if (guest_frozen(guest) != MF_STOPPED_NOTHING && !guest->resumes)
        return mf_fail(&guest->err, MF_E_ARGUMENT,
                       "%.80s was %s; 'mayfly resume %.80s' lets it run on", guest->path,
                       snapfile_stopped_text(guest_frozen(guest)), guest->path);
    return MF_OK;
}

int guest_open(struct guest *guest, const char *path)
{
    uint64_t begin = report_now();

    guest->path = path;
    int status = guest->resumes || snapfile_recognise(path)
                     ? open_snapshot(guest)
                     : mf_image_open(path, &guest->image, &guest->err);
    guest->times.open = report_now() - begin;
    return status;
}

/* A snapshot is a guest that was made: nothing can be said any more about how to make it. */
static int check_snapshot_options(struct guest *guest, char **args)
{
    const struct cli_options *given = guest->options;
    const char *what = given->memory_bytes != 0    ? "--memory"
                       : given->stack_bytes != 0   ? "--stack"
                       : given->mailbox_bytes != 0 ? "--mailbox"
                       : given->nenv != 0          ? "--env"
                                                   : NULL;

    if (what != NULL)
        return mf_fail(&guest->err, MF_E_ARGUMENT,
                       "%s: %.120s is a snapshot and has its own already", what, guest->path);
    if (args != NULL && args[1] != NULL)
        return mf_fail(&guest->err, MF_E_ARGUMENT,
                       "'%.60s': %.120s is a snapshot and has its arguments already", args[1],
                       guest->path);
    return MF_OK;
}

/*
 * Guest memory when --memory does not say: the default, or what image, stack and
 * mailbox take plus room to work. The mailbox counts six times: two rings and
 * the exchange area lie in guest memory, and the guest may hold copies. Large input
 * does not lie there, but the guest may copy it, and make a result of its size.
 */
static uint64_t choose_memory(const struct guest *guest, uint64_t stack, uint64_t mailbox,
                              uint64_t input)
{
    struct mf_image_info info;
    uint64_t memory;

    mf_image_get_info(guest->image, &info);
    if (__builtin_add_overflow(info.memory_bytes, stack, &memory))
        return DEFAULT_MEMORY;
    if (mailbox > DEFAULT_MAILBOX && (__builtin_mul_overflow(mailbox, 6, &mailbox) ||
                                      __builtin_add_overflow(memory, mailbox, &memory)))
        return DEFAULT_MEMORY;
    if (__builtin_add_overflow(memory, 32 * MIB + 3 * (input < MOST_MEMORY ? input : 0), &memory) ||
        memory <= DEFAULT_MEMORY)
        return DEFAULT_MEMORY;
    return memory & ~(MIB - 1);
}

/* A sandbox of an image: the command line says what is in it. */
static int create_new(struct guest *guest, char **args, uint64_t input_bytes,
                      struct mf_sandbox_options *options)
{
    const struct cli_options *given = guest->options;

    options->memory_bytes = given->memory_bytes;
    options->stack_bytes = given->stack_bytes;
    options->mailbox_bytes = given->mailbox_bytes;
    options->args = (const char *const *)args;
    options->env = given->env;
    if (options->memory_bytes == 0)
        options->memory_bytes =
            choose_memory(guest, options->stack_bytes, options->mailbox_bytes, input_bytes);
    guest->memory_bytes = options->memory_bytes;
    return mf_sandbox_create(guest->image, NULL, options, &guest->sandbox, &guest->err);
}

/* ---- under a name ---- */

static struct mf_sandbox *named_sandbox(void *context)
{
    return ((const struct guest *)context)->sandbox;
}

static uint64_t named_memory(void *context)
{
    const struct guest *guest = context;
    struct mf_snapshot_info info = {.size = sizeof info};

    if (guest->snapshot == NULL)
        return guest->memory_bytes;
    mf_snapshot_get_info(guest->snapshot, &info);
    return info.memory_bytes;
}

/* Whoever waits for the answer to a call waits here. */
static bool guest_can_move(const struct guest *guest)
{
    return strcmp(guest->command, "run") == 0;
}

/*
 * Memory that can be handed over has a file of its own, so that pages of a snapshot would have to
 * be copied there: such a guest starts fast instead.
 */
static bool guest_can_be_handed_over(const struct guest *guest)
{
    return guest->options->name != NULL && guest_can_move(guest) && guest->snapshot == NULL;
}

static void stop_named(void *context)
{
    (void)context;
    interrupt_raise(SIGTERM);
}

int guest_open_control(struct guest *guest, struct mf_error *err)
{
    return control_open(&guest->control, err);
}

/* Makes it known before it runs. Nothing of it changes until guest_fini has closed the control. */
int guest_publish(struct guest *guest)
{
    if (guest_can_be_handed_over(guest))
        guest->moving.binary = upgrade_own_binary();
    struct control_target_options target = {
        .name = guest->options->name,
        .kind = guest->command,
        .sandbox = named_sandbox,
        .memory_bytes = named_memory,
        .stop = stop_named,
        .moving = guest_can_move(guest) ? &guest->moving : NULL,
        .context = guest,
    };

    return control_add(guest->control, &target, NULL, &guest->err);
}

int guest_create(struct guest *guest, char **args, uint64_t input_bytes,
                 uint64_t max_output_bytes)
{
    const struct cli_options *given = guest->options;
    struct mf_sandbox_options options = {
        .size = sizeof options,
        .backend = given->backend,
        .timeout_ns = given->timeout_ns,
        .cpu_time_ns = given->cpu_time_ns,
        .max_output_bytes =
            given->max_output_bytes != 0 ? given->max_output_bytes : max_output_bytes,
    };

    int status = guest->snapshot != NULL ? check_snapshot_options(guest, args) : MF_OK;
    if (status == MF_OK && given->name != NULL)
        status = names_check(given->name, &guest->err);
    if (status != MF_OK)
        return status;
    if (guest_can_be_handed_over(guest))
        options.flags = MF_SANDBOX_SHARED_MEMORY;
    guestio_init(&guest->io, &options.io);
    status = interrupt_init(&guest->err);
    if (status != MF_OK)
        return status;
    uint64_t begin = report_now();
    status = guest->snapshot != NULL
                 ? mf_sandbox_create_from(guest->snapshot, NULL, &options, &guest->sandbox,
                                          &guest->err)
                 : create_new(guest, args, input_bytes, &options);
    guest->times.create = report_now() - begin;
    if (status != MF_OK)
        return status;
    interrupt_watch(guest->sandbox);
    if (given->verbose) {
        fprintf(stderr,
                "mayfly: backend %s: ", mf_backend_name(mf_sandbox_backend(guest->sandbox)));
        text_print_line_safe(stderr, mf_sandbox_backend_reason(guest->sandbox));
        fputc('\n', stderr);
    }
    if (given->name == NULL)
        return MF_OK;
    status = guest_open_control(guest, &guest->err);
    return status == MF_OK ? guest_publish(guest) : status;
}

int guest_start(struct guest *guest)
{
    /* Whoever was frozen between calls waits for them; another one is started by its first. */
    if (guest->snapshot != NULL)
        return MF_OK;
    uint64_t begin = guest_begin_phase(guest);
    int status = mf_sandbox_start(guest->sandbox, &guest->err);
    guest->times.init = guest_end_phase(guest, begin);
    return status;
}

uint64_t guest_begin_phase(struct guest *guest)
{
    uint64_t begin = report_now();

    if (guest->options->timeout_ns == 0 ||
        __builtin_add_overflow(begin, guest->options->timeout_ns, &guest->io.deadline_ns))
        guest->io.deadline_ns = 0;
    return begin;
}

uint64_t guest_end_phase(struct guest *guest, uint64_t begin)
{
    uint64_t end = report_now();

    guest->io.deadline_ns = 0;
    return end > begin ? end - begin : 1;
}

int guest_fail(struct guest *guest)
{
    int number = interrupt_signal();

    if (guest->err.code != MF_E_INTERRUPTED || number == 0)
        return report_failure(guest->command, guest->options, guest->sandbox, &guest->err);
    /* Who pressed the key knows why: no message, unless asked for. */
    if (guest->options->json || guest->options->verbose)
        report_failure(guest->command, guest->options, guest->sandbox, &guest->err);
    return cli_finish(CLI_SIGNALLED + number);
}

void guest_report(const struct guest *guest, const char *phase)
{
    if (guest->options->verbose && guest->sandbox != NULL)
        report_verbose(guest->sandbox, &guest->times, phase);
    else if (guest->options->time)
        report_time_line(&guest->times, phase);
}

int guest_end_run(struct guest *guest, int result, int status)
{
    enum moving_state where;

    guest_report(guest, "run");
    if (result != MF_E_MOVED)
        return result == MF_OK ? status : guest_fail(guest);
    where = moving_wait(&guest->moving);
    if (where == MOVING_THERE || where == MOVING_HANDED)
        guest_drop(guest);
    return where == MOVING_HANDED
               ? upgrade_relay(&guest->moving)
               : moving_finish(&guest->moving, guest->command, guest->sandbox,
                               guest->options->json);
}

void guest_drop(struct guest *guest)
{
    control_close(guest->control);
    interrupt_watch(NULL);
    mf_sandbox_destroy(guest->sandbox);
    guest->control = NULL;
    guest->sandbox = NULL;
}

void guest_fini(struct guest *guest)
{
    guest_drop(guest);
    moving_fini(&guest->moving);
    if (guest->snapshot == NULL)
        mf_image_close(guest->image);
    mf_snapshot_close(guest->snapshot);
    guest->image = NULL;
    guest->snapshot = NULL;
}
