/* The host's part of a machine as bytes, and back; see move.h. */
#include "machine/host/move.h"

#include "machine/host/file.h"
#include "machine/host/inside.h"
#include "machine/host/program.h"
#include "machine/image.h"

#include <mayfly/migrate.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PARCEL_VERSION 1
#define NAME_MAX_BYTES 255
#define PATH_MAX_BYTES 4095
/* Sources are for messages: no more of them goes along. */
#define SOURCE_MAX  (UINT64_C(1) << 20)
#define SOURCES_MAX (UINT64_C(8) << 20)
#define NO_SOURCE   UINT32_MAX

enum parcel_flag {
    PARCEL_NAMES = 1,       /* lines carry the name */
    PARCEL_INPUT = 2,       /* it reads input, whose end has not come */
    PARCEL_LEGACY = 4,      /* SNAPSHOT writes the older format */
    PARCEL_WARNED = 8,      /* what that is worth has been said */
    PARCEL_STOP_WAITS = 16, /* `stop` is a SNAPSHOT that is still to be taken */
    PARCEL_DEADLINE = 32,
    PARCEL_FLAGS = 63,
};

struct parcel_head {
    uint32_t version, flags;
    uint64_t executed, turn, max_instructions, left_ns, run_ns, memory_bytes, slice;
    uint32_t devices, name_bytes, path_bytes, line_bytes[2];
    uint32_t program_bytes; /* all of a parcel is shorter than 4 GiB */
    struct machine_stop stop;
};
_Static_assert(sizeof(struct parcel_head) == 88 + sizeof(struct machine_stop), "no gaps");
_Static_assert(sizeof(struct machine_stop) == 264, "no gaps");

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- writing ---- */

/* What of a machine is a file here, and so cannot go along: for a message. NULL: nothing. */
static const char *find_file(const struct vmm_config *config)
{
    return config->disk_path != NULL     ? "its disk"
           : config->stdin_path != NULL  ? "its input (vm_stdin)"
           : config->stdout_path != NULL ? "its output (vm_stdout)"
           : config->trace_path != NULL  ? "its trace (vm_trace)"
                                         : NULL;
}

/* The text of a source; the caller's, or with *len NO_SOURCE none. */
static char *copy_source(const struct vmm_machine *machine, size_t i, uint32_t *len)
{
    const struct vmm_source *source = machine->sources != NULL ? &machine->sources[i] : NULL;
    uint8_t *text = NULL;
    struct mf_error ignored;
    size_t size = 0;

    if (source == NULL) {
        if (hostfile_read(machine->program.files[i], SOURCE_MAX, &text, &size, &ignored) != MF_OK)
            text = NULL;
    } else if (source->text != NULL && (text = malloc(source->len + 1)) != NULL) {
        size = source->len;
        memcpy(text, source->text, size);
    }
    *len = text != NULL ? (uint32_t)size : NO_SOURCE;
    return (char *)text;
}

static void write_sources(const struct vmm_machine *machine, FILE *file)
{
    uint64_t left = SOURCES_MAX;

    for (size_t i = 0; i < machine->program.nfiles; i++) {
        uint32_t len;
        char *text = copy_source(machine, i, &len);
        if (text != NULL && len > left)
            len = NO_SOURCE;
        fwrite(&len, sizeof len, 1, file);
        if (len != NO_SOURCE) {
            fwrite(text, 1, len, file);
            left -= len;
        }
        free(text);
    }
}

/* What does not change while it runs is put together before anybody has to wait for it. */
static int make_fixed(struct vmm_machine *machine, struct mf_error *err)
{
    uint8_t *image;
    char *bytes = NULL;
    size_t image_len, len = 0;
    FILE *file;

    if (machine_image_encode(&machine->program, &image, &image_len) != 0)
        return mf_fail(err, MF_E_NO_MEMORY, "its program is too large to go along");
    file = open_memstream(&bytes, &len);
    if (file != NULL) {
        fwrite(image, 1, image_len, file);
        write_sources(machine, file);
    }
    free(image);
    if (file == NULL || fclose(file) != 0 || bytes == NULL) {
        free(bytes);
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    }
    free(machine->parcel.fixed);
    machine->parcel.fixed = (uint8_t *)bytes;
    machine->parcel.fixed_len = len;
    machine->parcel.program_len = image_len;
    return MF_OK;
}

int vmm_move_begin(struct vmm_machine *machine, struct mf_error *err)
{
    const char *file = find_file(&machine->config);

    if (file != NULL)
        return mf_fail(err, MF_E_STATE, "%s is a file of this host, which does not move along",
                       file);
    int status = vmm_gate_begin_move(machine->gate, err);
    if (status != MF_OK)
        return status;
    status = make_fixed(machine, err);
    if (status == MF_OK && machine->parcel.fixed_len > MF_MIGRATE_STATE_MAX - (1u << 20))
        status = mf_fail(err, MF_E_STATE, "its program is too large to go along");
    if (status != MF_OK)
        vmm_gate_end_move(machine->gate, false);
    return status;
}

/*
 * With the sandbox standing still, in a turn or before its call has begun. After it, when the
 * host is about to see what the turn stopped for, the sandbox has one call more.
 */
static bool stands(void *context)
{
    const struct vmm_machine *machine = context;
    struct mf_sandbox *sandbox = atomic_load(&machine->sandbox);
    struct mf_stats stats = {.size = sizeof stats};

    if (!atomic_load(&machine->in_run))
        return false;
    if (mf_sandbox_stopped(sandbox) != MF_STOPPED_NOTHING)
        return true;
    mf_sandbox_get_stats(sandbox, &stats);
    return stats.calls + 1 == machine->calls_before + atomic_load(&machine->calls);
}

static void fill_head(const struct vmm_machine *machine, struct parcel_head *head)
{
    const struct vmm_config *config = &machine->config;
    const struct vmm_common *common = machine->common;
    const struct vmm_io *io = &machine->io;
    uint64_t now = now_ns();

    memset(head, 0, sizeof *head);
    head->version = PARCEL_VERSION;
    head->flags = (io->prefix[STDOUT_FILENO] ? PARCEL_NAMES : 0u) |
                  (machine->gets_input && !io->input_ended ? PARCEL_INPUT : 0u) |
                  (common->legacy_snapshots ? PARCEL_LEGACY : 0u) |
                  (machine->warned_legacy ? PARCEL_WARNED : 0u) |
                  (machine->stop_waits ? PARCEL_STOP_WAITS : 0u) |
                  (machine->deadline_ns != 0 ? PARCEL_DEADLINE : 0u);
    head->executed = machine->executed;
    head->turn = machine->turn;
    head->max_instructions =
        config->max_instructions != 0 ? config->max_instructions : common->max_instructions;
    head->left_ns = machine->deadline_ns > now ? machine->deadline_ns - now : 0;
    head->run_ns = machine->run_ns;
    head->memory_bytes = config->memory_bytes;
    head->slice = config->slice;
    head->devices = config->devices;
    head->name_bytes = (uint32_t)strlen(config->name);
    head->path_bytes = (uint32_t)strlen(config->binary);
    head->line_bytes[0] = (uint32_t)io->lines[STDOUT_FILENO].len;
    head->line_bytes[1] = (uint32_t)io->lines[STDERR_FILENO].len;
    /* Texts behind the first NUL, and what was in the host's memory before, stay here. */
    head->stop = machine->stop;
    memset(head->stop.text, 0, sizeof head->stop.text);
    head->program_bytes = (uint32_t)machine->parcel.program_len;
    memcpy(head->stop.text, machine->stop.text,
           strnlen(machine->stop.text, sizeof head->stop.text - 1));
}

int vmm_move_state(struct vmm_machine *machine, const void **data, size_t *len,
                   struct mf_error *err)
{
    struct vmm_parcel *parcel = &machine->parcel;
    const struct vmm_line *lines = machine->io.lines;
    struct parcel_head head;
    int status = vmm_gate_freeze(machine->gate, stands, machine, err);

    if (status != MF_OK)
        return status;
    fill_head(machine, &head);
    const struct {
        const void *data;
        size_t len;
    } parts[] = {
        {&head, sizeof head},
        {machine->config.name, head.name_bytes},
        {machine->config.binary, head.path_bytes},
        {lines[STDOUT_FILENO].data, head.line_bytes[0]},
        {lines[STDERR_FILENO].data, head.line_bytes[1]},
        {parcel->fixed, parcel->fixed_len},
    };
    *len = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        *len += parts[i].len;
    free(parcel->all);
    parcel->all = malloc(*len);
    if (parcel->all == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    uint8_t *at = parcel->all;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].len > 0)
            memcpy(at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    *data = parcel->all;
    return MF_OK;
}

void vmm_move_end(struct vmm_machine *machine, bool gone)
{
    vmm_gate_end_move(machine->gate, gone);
}

/* ---- reading ---- */

/* What is left of a parcel. */
struct reader {
    const uint8_t *at;
    size_t left;
};

/* The next `len` bytes, or NULL: there are fewer. */
static const uint8_t *take(struct reader *reader, size_t len)
{
    const uint8_t *at = reader->at;

    if (len > reader->left)
        return NULL;
    reader->at += len;
    reader->left -= len;
    return at;
}

static int no_parcel(struct mf_error *err, const char *what)
{
    return mf_fail(err, MF_E_PEER, "what came with the machine is not what belongs to one: %s",
                   what);
}

static int check_head(const struct parcel_head *head, struct mf_error *err)
{
    if (head->version != PARCEL_VERSION)
        return mf_fail(err, MF_E_REFUSED, "the machine comes from another version of mayfly vm");
    if ((head->flags & ~(uint32_t)PARCEL_FLAGS) != 0)
        return no_parcel(err, "unknown flags");
    if (head->memory_bytes < VMM_MEMORY_MIN || head->memory_bytes > VMM_MEMORY_MAX)
        return no_parcel(err, "the size of its memory");
    if (head->name_bytes == 0 || head->name_bytes > NAME_MAX_BYTES ||
        head->path_bytes > PATH_MAX_BYTES)
        return no_parcel(err, "the lengths of its names");
    if (head->line_bytes[0] >= VMM_LINE_MAX || head->line_bytes[1] >= VMM_LINE_MAX)
        return no_parcel(err, "the lengths of its lines");
    bool waits = (head->flags & PARCEL_STOP_WAITS) != 0;
    if (head->stop.reason > MACHINE_WAIT || (waits && head->stop.reason != MACHINE_SNAPSHOT) ||
        memchr(head->stop.text, 0, sizeof head->stop.text) == NULL)
        return no_parcel(err, "what it stopped for");
    return MF_OK;
}

static int take_text(struct reader *reader, size_t len, char **text, struct mf_error *err)
{
    const uint8_t *bytes = take(reader, len);

    if (bytes == NULL || memchr(bytes, 0, len) != NULL)
        return no_parcel(err, "its names");
    free(*text);
    *text = strndup((const char *)bytes, len);
    return *text != NULL ? MF_OK : mf_fail(err, MF_E_NO_MEMORY, "out of memory");
}

static int take_line(struct reader *reader, size_t len, struct vmm_line *line, struct mf_error *err)
{
    const uint8_t *bytes = take(reader, len);

    if (bytes == NULL)
        return no_parcel(err, "its lines");
    if (len == 0)
        return MF_OK;
    if (line->data == NULL)
        line->data = malloc(VMM_LINE_MAX);
    if (line->data == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    memcpy(line->data, bytes, len);
    line->len = len;
    return MF_OK;
}

static int take_source(struct reader *reader, struct vmm_source *source, struct mf_error *err)
{
    const uint8_t *bytes = take(reader, sizeof(uint32_t));
    uint32_t len;

    if (bytes == NULL)
        return no_parcel(err, "its sources");
    memcpy(&len, bytes, sizeof len);
    if (len == NO_SOURCE)
        return MF_OK;
    bytes = take(reader, len);
    if (bytes == NULL)
        return no_parcel(err, "its sources");
    source->text = malloc((size_t)len + 1);
    if (source->text == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    memcpy(source->text, bytes, len);
    source->len = len;
    return MF_OK;
}

static int take_program(struct vmm_machine *machine, struct reader *reader, size_t len,
                        struct mf_error *err)
{
    const uint8_t *bytes = take(reader, len);
    const char *why = "it is cut off";
    int status = MF_OK;

    if (bytes == NULL || machine_image_decode(bytes, len, &machine->program, &why) != 0)
        return mf_fail(err, MF_E_PEER, "the machine's program is none: %s", why);
    program_digest(&machine->program, machine->digest);
    machine->sources = calloc(machine->program.nfiles + 1, sizeof machine->sources[0]);
    if (machine->sources == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < machine->program.nfiles && status == MF_OK; i++)
        status = take_source(reader, &machine->sources[i], err);
    if (status == MF_OK && reader->left > 0)
        status = no_parcel(err, "more than that");
    return status;
}

static void use_head(struct vmm_machine *machine, const struct parcel_head *head)
{
    struct vmm_config *config = &machine->config;
    struct vmm_io *io = &machine->io;
    bool names = io->remote == NULL || (head->flags & PARCEL_NAMES) != 0;

    machine->executed = head->executed;
    machine->turn = head->turn;
    machine->run_ns = head->run_ns;
    machine->stop = head->stop;
    machine->stop_waits = (head->flags & PARCEL_STOP_WAITS) != 0;
    machine->warned_legacy = (head->flags & PARCEL_WARNED) != 0;
    machine->gets_input = (head->flags & PARCEL_INPUT) != 0;
    machine->common->legacy_snapshots = (head->flags & PARCEL_LEGACY) != 0;
    if ((head->flags & PARCEL_DEADLINE) != 0 &&
        __builtin_add_overflow(now_ns(), head->left_ns, &machine->deadline_ns))
        machine->deadline_ns = 0;
    config->max_instructions = head->max_instructions;
    config->memory_bytes = head->memory_bytes;
    config->slice = head->slice;
    config->devices = head->devices;
    io->terminal->names = names;
    io->prefix[STDOUT_FILENO] = io->prefix[STDERR_FILENO] = names;
    io->input_ended = !machine->gets_input;
}

int vmm_move_prepare(struct vmm_machine *machine, struct vmm_common *common,
                     struct vmm_gate *gate, const struct vmm_remote *remote,
                     struct mf_error *err)
{
    struct vmm_config config = {
        .name = strdup("machine"), .binary = strdup(""), .folder = strdup(".")};

    vmm_machine_init(machine, common, &config, false);
    if (machine->config.name == NULL || machine->config.binary == NULL ||
        machine->config.folder == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    machine->gate = gate;
    vmm_io_receive(&machine->io, &common->terminal, machine->config.name, remote);
    machine->io.stop_fd = gate->stop_fd;
    int status = vmm_machine_make_host(machine);
    if (status != MF_OK && err != NULL)
        *err = machine->err;
    return status;
}

int vmm_move_receive(struct vmm_machine *machine, const void *data, size_t len,
                     struct mf_error *err)
{
    struct reader reader = {.at = data, .left = len};
    const uint8_t *bytes = take(&reader, sizeof(struct parcel_head));
    struct vmm_config *config = &machine->config;
    struct vmm_line *lines = machine->io.lines;
    struct parcel_head head;

    if (bytes == NULL)
        return no_parcel(err, "it is too short");
    memcpy(&head, bytes, sizeof head);
    int status = check_head(&head, err);
    if (status == MF_OK)
        status = take_text(&reader, head.name_bytes, &config->name, err);
    if (status == MF_OK && vmm_config_refuse_name(config->name) != NULL)
        status = no_parcel(err, "its name");
    if (status == MF_OK)
        status = take_text(&reader, head.path_bytes, &config->binary, err);
    if (status == MF_OK)
        status = take_line(&reader, head.line_bytes[0], &lines[STDOUT_FILENO], err);
    if (status == MF_OK)
        status = take_line(&reader, head.line_bytes[1], &lines[STDERR_FILENO], err);
    if (status == MF_OK)
        status = take_program(machine, &reader, head.program_bytes, err);
    machine->io.name = config->name != NULL ? config->name : "";
    if (status == MF_OK)
        use_head(machine, &head);
    return status;
}

void vmm_move_arrive(struct vmm_machine *machine, struct mf_sandbox *sandbox)
{
    vmm_machine_take(machine, sandbox);
}

void vmm_move_fini(struct vmm_machine *machine)
{
    for (size_t i = 0; machine->sources != NULL && i < machine->program.nfiles; i++)
        free(machine->sources[i].text);
    free(machine->sources);
    free(machine->parcel.fixed);
    free(machine->parcel.all);
    machine->sources = NULL;
    memset(&machine->parcel, 0, sizeof machine->parcel);
}
