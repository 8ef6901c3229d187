/* The new process, which the guest is handed to; see upgrade.h. */
#include "cli.h"
#include "interrupt.h"
#include "names.h"
#include "upgrade.h"
#include "upgrade_inside.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct taker {
    struct guest guest;
    struct cli_options options;
    char name[NAMES_LEN_MAX + 1];
    char path[256]; /* of the program, for messages */
};

/* ---- the label ---- */

/* number(member of struct cli_options), flag(member) */
#define CARRIED(number, flag)                                                              \
    number(timeout_ns) number(cpu_time_ns) number(max_output_bytes) flag(verbose) flag(json) \
    flag(color) flag(time)

json_t *upgrade_encode(const struct guest *guest, const char *name)
{
    const struct cli_options *o = guest->options;
    json_t *options = json_object();
    json_t *label = json_pack("{s:s, s:s, s:o, s:I}", "kind", "run", "name", name, "options",
                              options, "deadline_ns", (json_int_t)guest->io.deadline_ns);

#define NUMBER(member) json_object_set_new(options, #member, json_integer((json_int_t)o->member));
#define FLAG(member) json_object_set_new(options, #member, json_boolean(o->member));
    CARRIED(NUMBER, FLAG)
#undef NUMBER
#undef FLAG
    /* A path that is no UTF-8 is left out. */
    if (label != NULL)
        json_object_set_new(label, "path", json_string(guest->path));
    return label;
}

static int read_label(struct taker *taker, const struct mf_migrate_offer *offer,
                      struct mf_error *err)
{
    json_error_t ignored;
    json_t *label = json_loadb(offer->label, offer->label_len, 0, &ignored);
    const json_t *options = json_object_get(label, "options");
    const char *name = json_string_value(json_object_get(label, "name"));
    const char *path = json_string_value(json_object_get(label, "path"));
    struct cli_options *o = &taker->options;
    int status = MF_OK;

    if (name == NULL || !names_are_valid(name, strlen(name)) || !json_is_object(options))
        status = mf_fail(err, MF_E_REFUSED, "the older mayfly does not say what it hands over");
    if (status == MF_OK) {
        snprintf(taker->name, sizeof taker->name, "%s", name);
        snprintf(taker->path, sizeof taker->path, "%s", path != NULL ? path : "guest");
        o->name = taker->name;
#define NUMBER(member) \
    o->member = (uint64_t)json_integer_value(json_object_get(options, #member));
#define FLAG(member) o->member = json_is_true(json_object_get(options, #member));
        CARRIED(NUMBER, FLAG)
#undef NUMBER
#undef FLAG
        taker->guest.io.deadline_ns =
            (uint64_t)json_integer_value(json_object_get(label, "deadline_ns"));
    }
    json_decref(label);
    return status;
}

/* ---- taking over ---- */

/* All that can fail is done here, before the older process lets the guest stand still. */
static int accept_offer(void *context, const struct mf_migrate_offer *offer, struct mf_host **host,
                        struct mf_sandbox_options *options, struct mf_error *err)
{
    struct taker *taker = context;
    struct guest *guest = &taker->guest;
    int status = read_label(taker, offer, err);

    (void)host;
    if (status != MF_OK)
        return status;
    guest->io.verbose = taker->options.verbose;
    guest->io.output_to_stderr = taker->options.json;
    guest->path = taker->path;
    guest->memory_bytes = offer->memory_bytes;
    options->backend = offer->backend;
    options->timeout_ns = taker->options.timeout_ns;
    options->cpu_time_ns = taker->options.cpu_time_ns;
    options->max_output_bytes = taker->options.max_output_bytes != 0
                                    ? taker->options.max_output_bytes
                                    : UINT64_MAX;
    options->flags = MF_SANDBOX_SHARED_MEMORY;
    guestio_init(&guest->io, &options->io);
    status = interrupt_init(err);
    return status == MF_OK ? guest_open_control(guest, err) : status;
}

/* The guest's streams take their places; what the older process gave us is not the guest's. */
static bool take_descriptors(void)
{
    if (dup2(UPGRADE_STDIN_FD, STDIN_FILENO) < 0 || dup2(UPGRADE_STDOUT_FD, STDOUT_FILENO) < 0)
        return false;
    close(UPGRADE_STDIN_FD);
    close(UPGRADE_STDOUT_FD);
    return fcntl(UPGRADE_STREAM_FD, F_SETFD, FD_CLOEXEC) == 0 &&
           fcntl(UPGRADE_MEMORY_FD, F_SETFD, FD_CLOEXEC) == 0;
}

static int run_on(struct guest *guest)
{
    struct mf_value result = mf_void();
    int status = 0, rc;

    interrupt_watch(guest->sandbox);
    if (interrupt_follow(UPGRADE_STREAM_FD, &guest->err) != MF_OK ||
        guest_publish(guest) != MF_OK)
        fprintf(stderr, "mayfly run: %s\n", guest->err.message);
    uint64_t begin = report_now();
    if (mf_sandbox_stopped(guest->sandbox) == MF_STOPPED_NOTHING)
        rc = mf_sandbox_run(guest->sandbox, &status, &guest->err);
    else
        rc = mf_sandbox_resume(guest->sandbox, &result, &status, &guest->err);
    guest->times.run = guest_end_phase(guest, begin);
    return guest_end_run(guest, rc, status);
}

int upgrade_take_over(void)
{
    struct taker taker = {.options = {0}};
    struct mf_migrate_in_options options = {
        .size = sizeof options,
        .accept = accept_offer,
        .context = &taker,
        .handover_socket = UPGRADE_MEMORY_FD,
    };
    struct mf_channel_fds fds = {UPGRADE_STREAM_FD, UPGRADE_STREAM_FD};
    struct mf_channel channel;
    struct mf_error err;
    int status = CLI_HOST_ERROR;

    if (!take_descriptors())
        return cli_usage_error(NULL, false, UPGRADE_TAKE_OVER " is for 'mayfly upgrade' alone");
    guest_init(&taker.guest, "run", &taker.options);
    mf_channel_from_fds(&channel, &fds);
    /* Who asked for it hears from the older process why it failed. */
    if (mf_migrate_in(&channel, &options, &taker.guest.sandbox, &err) == MF_OK) {
        close(UPGRADE_MEMORY_FD);
        status = run_on(&taker.guest);
    }
    guest_fini(&taker.guest);
    return status;
}
