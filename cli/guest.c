/*
 * One image in one sandbox, for `run` and `call`: options of the command line
 * become options of the library, and every phase is timed.
 */
#include "guest.h"
#include "interrupt.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

/* The library's own defaults; more is asked for only when they do not do. */
#define DEFAULT_MEMORY  (64 * MIB)
#define DEFAULT_MAILBOX (UINT64_C(64) << 10)

void guest_init(struct guest *guest, const char *command, const struct cli_options *options)
{
    memset(guest, 0, sizeof *guest);
    guest->command = command;
    guest->options = options;
    guest->io.verbose = options->verbose;
    guest->io.output_to_stderr = options->json;
}

int guest_open(struct guest *guest, const char *path)
{
    uint64_t begin = report_now();
    int status = mf_image_open(path, &guest->image, &guest->err);

    guest->times.open = report_now() - begin;
    return status;
}

/*
 * Guest memory when --memory does not say: the default, or what image, stack and
 * mailbox take plus room to work. The mailbox counts six times: two rings and
 * the exchange area lie in guest memory, and the guest may hold copies.
 */
static uint64_t choose_memory(const struct guest *guest, uint64_t stack, uint64_t mailbox)
{
    struct mf_image_info info;
    uint64_t memory;

    mf_image_get_info(guest->image, &info);
    if (__builtin_add_overflow(info.memory_bytes, stack, &memory))
        return DEFAULT_MEMORY;
    if (mailbox > DEFAULT_MAILBOX && (__builtin_mul_overflow(mailbox, 6, &mailbox) ||
                                      __builtin_add_overflow(memory, mailbox, &memory)))
        return DEFAULT_MEMORY;
    if (__builtin_add_overflow(memory, 32 * MIB, &memory) || memory <= DEFAULT_MEMORY)
        return DEFAULT_MEMORY;
    return memory & ~(MIB - 1);
}

int guest_create(struct guest *guest, char **args, uint64_t mailbox_bytes,
                 uint64_t max_output_bytes)
{
    const struct cli_options *given = guest->options;
    struct mf_sandbox_options options = {
        .size = sizeof options,
        .backend = given->backend,
        .memory_bytes = given->memory_bytes,
        .stack_bytes = given->stack_bytes,
        .mailbox_bytes = given->mailbox_bytes != 0 ? given->mailbox_bytes : mailbox_bytes,
        .timeout_ns = given->timeout_ns,
        .cpu_time_ns = given->cpu_time_ns,
        .max_output_bytes =
            given->max_output_bytes != 0 ? given->max_output_bytes : max_output_bytes,
        .args = (const char *const *)args,
        .env = given->env,
    };

    if (options.memory_bytes == 0)
        options.memory_bytes = choose_memory(guest, options.stack_bytes, options.mailbox_bytes);
    guestio_init(&guest->io, &options.io);
    int status = interrupt_init(&guest->err);
    if (status != MF_OK)
        return status;
    uint64_t begin = report_now();
    status = mf_sandbox_create(guest->image, NULL, &options, &guest->sandbox, &guest->err);
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
    return MF_OK;
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

void guest_fini(struct guest *guest)
{
    interrupt_watch(NULL);
    mf_sandbox_destroy(guest->sandbox);
    mf_image_close(guest->image);
    guest->sandbox = NULL;
    guest->image = NULL;
}
