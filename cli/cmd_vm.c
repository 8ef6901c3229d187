/*
 * mayfly vm: runs machines. machine/host/ has all that machines do; here is what the command
 * line means, where the guest program is found, and what is told at the end.
 */
#include "cli.h"
#include "control.h"
#include "interrupt.h"
#include "moving.h"
#include "names.h"
#include "report.h"
#include "text.h"
#include "vm_target.h"

#include "machine/host/debug.h"
#include "machine/host/explain.h"
#include "machine/host/schedule.h"

#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The guest program, seen from the folder of the command: built, installed. */
static const char *const guest_places[] = {"machine/guest/machine", "../libexec/mayfly/machine"};

/* One machine as the command line names it. */
struct order {
    const char *path;
    bool operand; /* not by -v */
    const char *snapshot, *name;
    bool snapshot_led, name_led; /* they stood before it */
};

/* What a machine with a name has beside it. */
struct named {
    struct vmm_machine *machine; /* NULL: it has none */
    struct vmm_gate gate;
    struct moving moving;
    pthread_t thread; /* when it has moved: serves its streams, or keeps what is left of it */
    bool has_thread;
    int status; /* the exit status of what it does elsewhere */
};

struct vm_session {
    struct cli_options options;
    struct order *orders;
    size_t norders;
    struct vmm_common common;
    struct vmm_machine *machines;
    size_t nmachines; /* of them initialised */
    bool *unread;     /* its configuration could not be read */
    struct named *named;     /* one for each machine */
    struct control *control; /* NULL: none has one */
    bool quit_early;  /* the debugger's user */
};

/* ---- the command line ---- */

/*
 * Gives a snapshot or name to the machine before it on the command line; `field` is NULL when
 * there is none. Where options stand before their machines (`led`), it waits in *pending for
 * the next one.
 */
static int assign(struct vm_session *session, const char *option, const char *text,
                  const char **field, bool led, const char **pending)
{
    if (field != NULL && *field == NULL) {
        *field = text;
        return CLI_GO_ON;
    }
    if (field != NULL && !led)
        return cli_usage_error("vm", session->options.json,
                               "%s %s and %s %s: two for one machine", option, *field, option,
                               text);
    if (*pending != NULL)
        return cli_usage_error("vm", session->options.json,
                               "%s %s and %s %s: two for one machine", option, *pending, option,
                               text);
    *pending = text;
    return CLI_GO_ON;
}

/* Names are looked for: each is one machine's. */
static int check_name(const struct vm_session *session, const char *name)
{
    bool json = session->options.json;
    struct mf_error err;

    if (names_check(name, &err) != MF_OK)
        return cli_library_error("vm", json, &err);
    for (size_t i = 0; i < session->norders; i++) {
        if (session->orders[i].name != NULL && strcmp(session->orders[i].name, name) == 0)
            return cli_usage_error("vm", json, "--name %s: for two machines", name);
    }
    return CLI_GO_ON;
}

static int read_words(struct vm_session *session)
{
    const char *snapshot = NULL, *name = NULL;
    const struct cli_options *options = &session->options;
    int status = CLI_GO_ON;

    for (size_t i = 0; i < options->nwords && status == CLI_GO_ON; i++) {
        const struct cli_word *word = &options->words[i];
        struct order *last = session->norders > 0 ? &session->orders[session->norders - 1] : NULL;
        if (word->option == CLI_INDEX_SNAPSHOT) {
            status = assign(session, "-s", word->text, last != NULL ? &last->snapshot : NULL,
                            last != NULL && last->snapshot_led, &snapshot);
        } else if (word->option == CLI_INDEX_NAME && vmm_config_refuse_name(word->text) != NULL) {
            status = cli_usage_error("vm", options->json, "--name: '%s' %s", word->text,
                                     vmm_config_refuse_name(word->text));
        } else if (word->option == CLI_INDEX_NAME) {
            status = check_name(session, word->text);
            if (status == CLI_GO_ON)
                status = assign(session, "--name", word->text, last != NULL ? &last->name : NULL,
                                last != NULL && last->name_led, &name);
        } else {
            session->orders[session->norders++] = (struct order){
                .path = word->text,
                .operand = word->option < 0,
                .snapshot = snapshot,
                .name = name,
                .snapshot_led = snapshot != NULL,
                .name_led = name != NULL,
            };
            snapshot = name = NULL;
        }
    }
    if (status == CLI_GO_ON && (snapshot != NULL || name != NULL))
        return cli_usage_error("vm", options->json, "%s %s: for which machine?",
                               snapshot != NULL ? "-s" : "--name",
                               snapshot != NULL ? snapshot : name);
    return status;
}

static int no_memory(const struct vm_session *session)
{
    struct mf_error err;

    mf_fail(&err, MF_E_NO_MEMORY, "out of memory");
    return cli_library_error("vm", session->options.json, &err);
}

static int read_command_line(struct vm_session *session)
{
    const struct cli_options *options = &session->options;
    size_t most = options->nwords + (size_t)options->noperands + 1;

    session->orders = calloc(most, sizeof session->orders[0]);
    session->machines = calloc(most, sizeof session->machines[0]);
    session->unread = calloc(most, sizeof session->unread[0]);
    session->named = calloc(most, sizeof session->named[0]);
    if (session->orders == NULL || session->machines == NULL || session->unread == NULL ||
        session->named == NULL)
        return no_memory(session);
    int status = read_words(session);
    if (status != CLI_GO_ON)
        return status;
    /* What stands behind "--". */
    for (int i = 0; i < options->noperands; i++)
        session->orders[session->norders++] =
            (struct order){.path = options->operands[i], .operand = true};
    if (session->norders == 0)
        return cli_usage_error("vm", options->json, "which machine? a program, or -v FILE");
    if (options->step && session->norders > 1)
        return cli_usage_error("vm", options->json, "--step takes one machine");
    if (options->step && options->json)
        return cli_usage_error("vm", options->json, "--step and --json: one or the other");
    return CLI_GO_ON;
}

/* ---- machines ---- */

static int open_guest(struct vm_session *session)
{
    char command[PATH_MAX], path[2 * PATH_MAX];
    struct mf_error err;

    ssize_t len = readlink("/proc/self/exe", command, sizeof command - 1);
    if (len < 0) {
        mf_fail(&err, MF_E_SYSTEM, "cannot read /proc/self/exe, to find the machine beside it");
        return cli_library_error("vm", session->options.json, &err);
    }
    command[len] = 0;
    int folder = (int)(strrchr(command, '/') - command);
    for (size_t i = 0; i < LEN(guest_places); i++) {
        snprintf(path, sizeof path, "%.*s/%s", folder, command, guest_places[i]);
        if (access(path, R_OK) == 0)
            break;
    }
    if (mf_image_open(path, &session->common.guest, &err) != MF_OK)
        return cli_library_error("vm", session->options.json, &err);
    return CLI_GO_ON;
}

/* Names stand before lines, so no two machines have the same: "vm1", "vm1#2". */
static void make_unique(const struct vm_session *session, struct vmm_config *config)
{
    size_t same = 1;
    char *name;

    for (size_t i = 0; i < session->nmachines; i++) {
        const char *other = session->machines[i].config.name;
        size_t len = strlen(config->name);
        same += other != NULL && strncmp(other, config->name, len) == 0 &&
                (other[len] == 0 || other[len] == '#');
    }
    if (same > 1 && asprintf(&name, "%s#%zu", config->name, same) >= 0) {
        free(config->name);
        config->name = name;
    }
}

/* The configuration of a machine, with what the command line says beside it. */
static int read_config(const struct vm_session *session, const struct order *order,
                       struct vmm_config *config, struct mf_error *err)
{
    size_t len = strlen(order->path);
    bool names_config = len > 5 && strcmp(order->path + len - 5, ".conf") == 0;
    bool program = vmm_config_is_program(order->path) || (order->operand && !names_config);

    int status = program ? vmm_config_of_program(order->path, config, err)
                         : vmm_config_read(order->path, config, err);
    if (status != MF_OK)
        return status;
    if (order->snapshot != NULL) {
        free(config->snapshot);
        config->snapshot = strdup(order->snapshot);
        config->snapshot_may_miss = false;
    }
    if (order->name != NULL) {
        free(config->name);
        config->name = strdup(order->name);
    }
    if (config->name == NULL || (order->snapshot != NULL && config->snapshot == NULL))
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    make_unique(session, config);
    return MF_OK;
}

static void say_unread(const struct vm_session *session, const struct mf_error *err)
{
    if (session->options.json)
        return;
    fputs("mayfly vm: ", stderr);
    text_print_line_safe(stderr, err->message);
    fputc('\n', stderr);
}

/* Makes all machines, without starting any. One that cannot be read stops no other. */
static void make_machines(struct vm_session *session)
{
    bool input_taken = false;

    for (size_t i = 0; i < session->norders; i++) {
        struct vmm_machine *machine = &session->machines[i];
        struct vmm_config config;
        struct mf_error err;

        int status = read_config(session, &session->orders[i], &config, &err);
        if (status != MF_OK) {
            say_unread(session, &err);
            free(config.name);
            config.name = strdup(session->orders[i].path);
        }
        /* One reader is enough for the command's input: the first that has no other. */
        bool gets_input = status == MF_OK && config.stdin_path == NULL && !input_taken;
        input_taken |= gets_input;
        vmm_machine_init(machine, &session->common, &config, gets_input);
        session->nmachines++;
        session->unread[i] = status != MF_OK;
        if (status != MF_OK) {
            machine->outcome = VMM_FAILED;
            machine->err = err;
        }
    }
}

static int prepare(struct vm_session *session)
{
    struct vmm_common *common = &session->common;
    const struct cli_options *options = &session->options;
    struct mf_error err;

    common->backend = options->backend;
    common->timeout_ns = options->timeout_ns;
    common->max_instructions = options->max_instructions;
    common->trace = options->trace;
    common->legacy_snapshots = options->legacy;
    common->snapshots_anywhere = options->anywhere;
    common->delayed_branches = options->delayed_branches;
    common->statistics = options->stats;
    common->no_final_state = !options->json && !options->stats && !options->step;
    common->terminal.names = session->norders > 1;
    common->terminal.output_to_stderr = options->json;
    common->terminal.input_by_line = options->step;
    if (interrupt_init(&err) != MF_OK)
        return cli_library_error("vm", options->json, &err);
    common->terminal.wake_fd = interrupt_fd();
    if (session->norders == 1 && !options->step)
        common->signalled = interrupt_signal;
    return open_guest(session);
}

/* ---- under names ---- */

static void *finish_move(void *argument)
{
    struct named *named = argument;
    struct mf_sandbox *sandbox = atomic_load(&named->machine->sandbox);

    named->status = moving_finish(&named->moving, "vm", sandbox, false);
    return NULL;
}

/* Others of this command go on, perhaps on the same thread. */
static void see_off(struct vmm_machine *machine)
{
    struct named *named = machine->moved_context;

    named->has_thread = pthread_create(&named->thread, NULL, finish_move, named) == 0;
    if (!named->has_thread)
        finish_move(named);
}

static int give_name(struct vm_session *session, size_t i, struct mf_error *err)
{
    struct vmm_machine *machine = &session->machines[i];
    struct named *named = &session->named[i];
    struct control_target_options target;

    int status = vmm_gate_init(&named->gate, err);
    if (status != MF_OK)
        return status;
    moving_init(&named->moving);
    named->machine = machine;
    machine->gate = &named->gate;
    machine->gate->shared = session->options.round_robin;
    machine->moved_context = named;
    /* A debugger stays with what it looks at. */
    vm_target_fill(&target, machine, session->options.step ? NULL : &named->moving);
    target.name = session->orders[i].name;
    if (session->control == NULL)
        status = control_open(&session->control, err);
    return status == MF_OK ? control_add(session->control, &target, NULL, err) : status;
}

/* Makes the machines with a --name known, all of them at one socket. */
static int give_names(struct vm_session *session)
{
    struct mf_error err;

    for (size_t i = 0; i < session->nmachines; i++) {
        if (session->orders[i].name != NULL && !session->unread[i] &&
            give_name(session, i, &err) != MF_OK)
            return cli_library_error("vm", session->options.json, &err);
    }
    return CLI_GO_ON;
}

/* Runs those that could be read, all others having failed already. */
static int run_machines(struct vm_session *session)
{
    enum vmm_schedule how = session->options.round_robin ? VMM_ROUND_ROBIN : VMM_PARALLEL;
    struct mf_error err;

    if (session->options.step) {
        if (!session->unread[0])
            session->quit_early = vmm_debug(&session->machines[0]);
        return CLI_GO_ON;
    }
    int status = vmm_schedule(session->machines, session->nmachines, how, &err);
    for (size_t i = 0; i < session->nmachines; i++) {
        if (session->named[i].has_thread)
            pthread_join(session->named[i].thread, NULL);
    }
    return status == MF_OK ? CLI_GO_ON : cli_library_error("vm", session->options.json, &err);
}

/* ---- the end ---- */

static int status_of(const struct vm_session *session, size_t i)
{
    const struct vmm_machine *machine = &session->machines[i];

    return machine->outcome == VMM_MOVED ? session->named[i].status : vm_target_status(machine);
}

static int exit_status(const struct vm_session *session)
{
    int status = CLI_OK;

    if (interrupt_signal() != 0)
        return CLI_SIGNALLED + interrupt_signal();
    if (session->quit_early)
        return CLI_OK;
    for (size_t i = 0; i < session->nmachines && status == CLI_OK; i++)
        status = status_of(session, i);
    return status;
}

static json_t *registers_json(const struct machine_state *state)
{
    json_t *array = json_array();

    for (int i = 0; i < 32; i++)
        json_array_append_new(array, json_integer((int32_t)state->registers[i]));
    return array;
}

static json_t *statistics_json(const struct vmm_machine *machine)
{
    const struct vmm_statistics *statistics = &machine->statistics;
    const struct machine_stats *s = &statistics->stats;
    double seconds = (double)machine->run_ns / 1e9;
    json_t *counts = json_object();

    for (unsigned i = 0; statistics->counts != NULL && i < s->ncounts; i++) {
        const char *name = explain_mnemonic(i);
        if (name != NULL && statistics->counts[i] != 0)
            json_object_set_new(counts, name, json_integer((json_int_t)statistics->counts[i]));
    }
    json_t *blocks = json_array();
    for (size_t i = 0; i < statistics->nblocks; i++) {
        const struct vmm_block *b = &statistics->blocks[i];
        json_array_append_new(blocks, json_pack("{s:I, s:I, s:I}", "address",
                                                (json_int_t)b->address, "instructions",
                                                (json_int_t)b->n, "times", (json_int_t)b->times));
    }
    return json_pack("{s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}",
                     "instructions_per_second",
                     seconds > 0 ? (double)machine->executed / seconds : 0.0, "branches",
                     (json_int_t)s->branches, "taken", (json_int_t)s->taken, "loads",
                     (json_int_t)s->loads, "stores", (json_int_t)s->stores, "exceptions",
                     (json_int_t)s->exceptions, "system_calls", (json_int_t)s->system_calls,
                     "blocks", (json_int_t)s->blocks, "memory_bytes", (json_int_t)s->memory_bytes,
                     "instructions", counts, "basic_blocks", blocks);
}

static json_t *machine_json(const struct vm_session *session, size_t i)
{
    const struct vmm_machine *machine = &session->machines[i];
    json_t *object = json_pack("{s:o, s:s, s:i, s:I, s:I}", "name",
                               report_text_json(machine->config.name), "outcome",
                               vmm_outcome_name(machine->outcome), "exit_status",
                               status_of(session, i), "executed", (json_int_t)machine->executed,
                               "run_ns", (json_int_t)machine->run_ns);

    if (machine->has_state) {
        json_object_set_new(object, "pc", json_integer(machine->state.pc));
        json_object_set_new(object, "registers", registers_json(&machine->state));
    }
    if (machine->statistics.counts != NULL)
        json_object_set_new(object, "stats", statistics_json(machine));
    if (machine->outcome == VMM_FAULTED)
        json_object_set_new(object, "fault", report_text_json(machine->fault));
    if (machine->err.code != MF_OK)
        json_object_set_new(object, "error", report_error_json(&machine->err));
    return object;
}

static int report(const struct vm_session *session)
{
    int status = exit_status(session);

    for (size_t i = 0; i < session->nmachines && session->options.stats && !session->options.json;
         i++) {
        const struct vmm_machine *machine = &session->machines[i];
        char *text = machine->statistics.counts != NULL ? explain_statistics(machine) : NULL;
        if (text != NULL)
            fputs(text, stderr);
        free(text);
    }
    if (!session->options.json)
        return cli_finish(status);
    json_t *machines = json_array();
    for (size_t i = 0; i < session->nmachines; i++)
        json_array_append_new(machines, machine_json(session, i));
    return report_print_json(json_pack("{s:o, s:i}", "machines", machines, "exit_status", status),
                             status);
}

static void end_session(struct vm_session *session)
{
    control_close(session->control);
    for (size_t i = 0; i < session->nmachines; i++) {
        vmm_machine_close(&session->machines[i]);
        if (session->named[i].machine == NULL)
            continue;
        moving_fini(&session->named[i].moving);
        vmm_gate_fini(&session->named[i].gate);
    }
    mf_image_close(session->common.guest);
    free(session->machines);
    free(session->orders);
    free(session->unread);
    free(session->named);
    cli_options_fini(&session->options);
}

int cmd_vm(int argc, char **argv)
{
    struct vm_session session = {.common.terminal.lock = PTHREAD_MUTEX_INITIALIZER};
    int status = cli_options_parse(argc, argv, &session.options);

    if (status == CLI_GO_ON)
        status = read_command_line(&session);
    if (status == CLI_GO_ON)
        status = prepare(&session);
    if (status == CLI_GO_ON) {
        make_machines(&session);
        session.common.moved = see_off;
        status = give_names(&session);
    }
    if (status == CLI_GO_ON)
        status = run_machines(&session);
    if (status == CLI_GO_ON)
        status = report(&session);
    end_session(&session);
    return status;
}
