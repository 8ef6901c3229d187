/*
 * Making a machine and giving it turns. A turn is one call of the guest program's run();
 * what that says when it stops is handled here: the end, a snapshot, waiting, a fault.
 */
#include "machine/host/machine.h"

#include "machine/host/explain.h"
#include "machine/host/inside.h"
#include "machine/host/move.h"
#include "machine/host/program.h"
#include "machine/host/snapshot.h"
#include "machine/image.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What the guest program needs beside the machine's memory: decoded code, its own stack. */
#define GUEST_OVERHEAD (UINT64_C(64) << 20)

#define SECTOR_BYTES 512

/*
 * A machine runs in pieces of about this long, so that it is stopped between two instructions
 * and can say where it was: by a signal, and more exactly by its deadline. The sandbox's own
 * limit comes later and is for a guest program that does not answer.
 */
#define PIECE_NS       UINT64_C(100000000)
#define TIMED_PIECE_NS UINT64_C(10000000)
#define GRACE_NS       UINT64_C(5000000000)
#define CHUNK_DEFAULT  UINT64_C(100000)
#define CHUNK_LEAST    UINT64_C(1000)
/* What no machine exceeds in PIECE_NS, unless it waits and does nothing. */
#define CHUNK_MOST     (UINT64_C(1) << 28)

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the disk ---- */

/* Whether a sector is on the disk, with its place in the file. */
static bool find_sector(const struct vmm_machine *machine, uint64_t sector, off_t *offset)
{
    struct stat st;

    if (machine->disk < 0 || fstat(machine->disk, &st) != 0 ||
        sector >= (uint64_t)st.st_size / SECTOR_BYTES)
        return false;
    *offset = (off_t)(sector * SECTOR_BYTES);
    return true;
}

static int disk_read(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                     struct mf_value *result, struct mf_error *err)
{
    const struct vmm_machine *machine = context;
    void *data = mf_sandbox_scratch(sandbox, SECTOR_BYTES);
    off_t offset;

    if (data == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    if (!find_sector(machine, arg[0].u64, &offset))
        return mf_fail(err, MF_E_RANGE, "the disk has no such sector");
    if (pread(machine->disk, data, SECTOR_BYTES, offset) != SECTOR_BYTES)
        return mf_fail(err, MF_E_SYSTEM, "cannot read the disk");
    *result = mf_bytes(data, SECTOR_BYTES);
    return 0;
}

static int disk_write(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                      struct mf_value *result, struct mf_error *err)
{
    const struct vmm_machine *machine = context;
    off_t offset;

    (void)sandbox, (void)result;
    if (arg[1].bytes.len != SECTOR_BYTES || !find_sector(machine, arg[0].u64, &offset))
        return mf_fail(err, MF_E_RANGE, "the disk has no such sector");
    if (machine->disk_read_only)
        return mf_fail(err, MF_E_HOST_FUNCTION, "the disk is read-only");
    if (pwrite(machine->disk, arg[1].bytes.data, SECTOR_BYTES, offset) != SECTOR_BYTES)
        return mf_fail(err, MF_E_SYSTEM, "cannot write the disk");
    return 0;
}

static int disk_sectors(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                        struct mf_value *result, struct mf_error *err)
{
    const struct vmm_machine *machine = context;
    struct stat st;

    (void)sandbox, (void)arg, (void)err;
    bool there = machine->disk >= 0 && fstat(machine->disk, &st) == 0;
    *result = mf_u64(there ? (uint64_t)st.st_size / SECTOR_BYTES : 0);
    return 0;
}

static int open_disk(struct vmm_machine *machine)
{
    const char *path = machine->config.disk_path;
    struct stat st;

    if (path == NULL)
        return MF_OK;
    machine->disk = open(path, O_RDWR | O_CLOEXEC);
    if (machine->disk < 0 && (errno == EACCES || errno == EROFS)) {
        machine->disk = open(path, O_RDONLY | O_CLOEXEC);
        machine->disk_read_only = true;
    }
    if (machine->disk < 0)
        return mf_fail(&machine->err, MF_E_SYSTEM, "cannot open the disk %.150s: %s", path,
                       strerror(errno));
    if (fstat(machine->disk, &st) != 0 || !S_ISREG(st.st_mode))
        return mf_fail(&machine->err, MF_E_ARGUMENT, "the disk %.150s is no ordinary file", path);
    return MF_OK;
}

int vmm_machine_make_host(struct vmm_machine *machine)
{
    struct mf_error *err = &machine->err;

    int status = mf_host_create(&machine->host, err);
    if (status == MF_OK)
        status = mf_host_add(machine->host, "bytes disk_read(u64 sector)", disk_read, machine, err);
    if (status == MF_OK)
        status = mf_host_add(machine->host, "void disk_write(u64 sector, bytes data)", disk_write,
                             machine, err);
    if (status == MF_OK)
        status = mf_host_add(machine->host, "u64 disk_sectors()", disk_sectors, machine, err);
    return status;
}

/* ---- making one ---- */

static void set_options(struct vmm_machine *machine, struct mf_sandbox_options *options)
{
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
    options->backend = machine->common->backend;
    options->max_output_bytes = UINT64_MAX;
    if (machine->common->timeout_ns != 0 && machine->common->timeout_ns < UINT64_MAX - GRACE_NS)
        options->timeout_ns = machine->common->timeout_ns + GRACE_NS;
    vmm_io_table(&machine->io, &options->io);
}

static int send_program(struct vmm_machine *machine)
{
    struct mf_value arg;
    uint8_t *image;
    size_t len;

    if (machine_image_encode(&machine->program, &image, &len) != 0)
        return mf_fail(&machine->err, MF_E_NO_MEMORY, "%.150s is too large for a machine",
                       machine->config.binary);
    arg = mf_bytes(image, len);
    int status = inside_call(machine, "load", &arg, 1, NULL);
    free(image);
    return status;
}

void vmm_machine_take(struct vmm_machine *machine, struct mf_sandbox *sandbox)
{
    struct mf_stats stats = {.size = sizeof stats};

    mf_sandbox_get_stats(sandbox, &stats);
    machine->calls_before = stats.calls;
    atomic_store(&machine->calls, 0);
    machine->resumes = mf_sandbox_stopped(sandbox) == MF_STOPPED_CALL;
    atomic_store(&machine->sandbox, sandbox);
}

static int start_cold(struct vmm_machine *machine)
{
    struct machine_config config = {
        .version = MACHINE_PROTOCOL_VERSION,
        .devices = machine->config.devices,
        .memory_bytes = machine->config.memory_bytes,
        .big_endian = machine->program.big_endian,
        .delayed_branches = machine->program.delayed_branches,
    };
    struct mf_value arg = mf_bytes(&config, sizeof config);
    struct mf_sandbox_options options;
    struct mf_sandbox *sandbox;

    memcpy(config.program, machine->digest, sizeof config.program);
    set_options(machine, &options);
    options.memory_bytes = (machine->config.memory_bytes + GUEST_OVERHEAD) & ~UINT64_C(4095);
    int status = mf_sandbox_create(machine->common->guest, machine->host, &options, &sandbox,
                                   &machine->err);
    if (status != MF_OK)
        return status;
    vmm_machine_take(machine, sandbox);
    status = mf_sandbox_start(sandbox, &machine->err);
    if (status == MF_OK)
        status = inside_call(machine, "configure", &arg, 1, NULL);
    return status == MF_OK ? send_program(machine) : status;
}

static int start_warm(struct vmm_machine *machine, const char *path)
{
    struct mf_snapshot_open_options open_options = {.size = sizeof open_options};
    struct mf_sandbox_options options;
    struct mf_sandbox *sandbox;
    struct mf_error err;

    int status = mf_snapshot_open(path, &open_options, &machine->start, &machine->err);
    if (status != MF_OK)
        return status;
    /* Asked before: what another guest needs of the host would be the wrong message. */
    if (mf_image_find_export(mf_snapshot_image(machine->start), "set_state", &err) < 0)
        return mf_fail(&machine->err, MF_E_SNAPSHOT,
                       "%.150s is a snapshot of another guest, and of no machine", path);
    set_options(machine, &options);
    status = mf_sandbox_create_from(machine->start, machine->host, &options, &sandbox,
                                    &machine->err);
    if (status != MF_OK)
        return status;
    vmm_machine_take(machine, sandbox);
    /* One that a migration left in the middle of a turn answers no other call before its end. */
    machine->unchecked = machine->resumes;
    machine->turn = UINT64_MAX;
    return machine->resumes ? MF_OK : vmm_machine_check(machine, path);
}

/* Cold, or from the snapshot that the configuration or the command line names. */
static int start(struct vmm_machine *machine)
{
    const char *path = machine->config.snapshot;

    if (path != NULL && machine->config.snapshot_may_miss && access(path, F_OK) != 0) {
        vmm_io_say(&machine->io, "vm_snapshot %s is not there yet: a cold start", path);
        path = NULL;
    }
    if (path == NULL)
        return start_cold(machine);
    enum snapshot_format format = snapshot_recognise(machine, path);
    if (format == SNAPSHOT_NONE)
        return machine->err.code;
    if (format == SNAPSHOT_MAYFLY)
        return start_warm(machine, path);
    int status = start_cold(machine);
    return status == MF_OK ? snapshot_load_legacy(machine, path) : status;
}

static int load_program(struct vmm_machine *machine)
{
    struct program_options options = {
        .endian = machine->config.endian,
        .delayed_branches = machine->common->delayed_branches,
    };
    char *report;

    int status = program_load(machine->config.binary, &options, &machine->program, &report,
                              &machine->err);
    if (report != NULL)
        vmm_io_print(&machine->io, report);
    free(report);
    if (status == MF_OK)
        program_digest(&machine->program, machine->digest);
    return status;
}

void vmm_machine_init(struct vmm_machine *machine, struct vmm_common *common,
                      struct vmm_config *config, bool gets_input)
{
    memset(machine, 0, sizeof *machine);
    machine->common = common;
    machine->config = *config;
    memset(config, 0, sizeof *config);
    machine->gets_input = gets_input;
    machine->disk = -1;
    machine->chunk = CHUNK_DEFAULT;
    atomic_init(&machine->sandbox, NULL);
    pthread_mutex_init(&machine->leaving, NULL);
    machine->io.terminal = &common->terminal;
    machine->io.name = machine->config.name;
    machine->io.input = machine->io.output = machine->io.trace = machine->io.stop_fd = -1;
}

/* Nothing runs in it any more. */
static void note_end(struct vmm_machine *machine)
{
    if (machine->gate != NULL)
        atomic_store(&machine->gate->ended, true);
}

static int open_machine(struct vmm_machine *machine)
{
    int status = vmm_io_open(&machine->io, &machine->common->terminal, &machine->config,
                             machine->gets_input, &machine->err);

    if (machine->gate != NULL)
        machine->io.stop_fd = machine->gate->stop_fd;
    if (status == MF_OK)
        status = load_program(machine);
    if (status == MF_OK)
        status = open_disk(machine);
    if (status == MF_OK)
        status = vmm_machine_make_host(machine);
    if (status == MF_OK)
        status = start(machine);
    bool trace = machine->common->trace || machine->config.trace;
    return status == MF_OK && trace && !machine->resumes ? vmm_machine_set_trace(machine, true)
                                                         : status;
}

int vmm_machine_open(struct vmm_machine *machine)
{
    /* Whoever would move it waits for the end of this as for that of a turn. */
    if (machine->gate != NULL)
        vmm_gate_enter(machine->gate);
    int status = open_machine(machine);
    if (machine->gate != NULL)
        vmm_gate_leave(machine->gate);
    if (status != MF_OK) {
        machine->outcome =
            status == MF_E_INTERRUPTED ? VMM_INTERRUPTED : VMM_FAILED;
        if (machine->outcome == VMM_FAILED)
            vmm_io_say(&machine->io, "%s", machine->err.message);
        note_end(machine);
        return status;
    }
    if (machine->common->timeout_ns != 0 &&
        __builtin_add_overflow(now_ns(), machine->common->timeout_ns, &machine->deadline_ns))
        machine->deadline_ns = 0;
    return MF_OK;
}

/* ---- turns ---- */

void vmm_machine_report(struct vmm_machine *machine, uint32_t pc, const char *what)
{
    char *text = explain_stop(machine, pc, what);

    if (text != NULL)
        vmm_io_say(&machine->io, "%s", text);
    free(text);
}

/* Ends the machine. What it was in the middle of is kept for the reports. */
static enum vmm_turn end(struct vmm_machine *machine, enum vmm_outcome outcome)
{
    struct mf_error before = machine->err;
    bool well = outcome == VMM_EXITED || outcome == VMM_POWERED_OFF;

    machine->outcome = outcome;
    note_end(machine);
    machine->has_state = outcome != VMM_FAILED && atomic_load(&machine->sandbox) != NULL &&
                         !(well && machine->common->no_final_state) &&
                         vmm_machine_state(machine, &machine->state) == MF_OK;
    if (machine->common->statistics && machine->has_state)
        vmm_machine_get_statistics(machine);
    machine->err = before;
    vmm_io_flush(&machine->io);
    /* The program may not care, but its user does. */
    if (machine->io.write_error != 0) {
        mf_fail(&machine->err, MF_E_SYSTEM, "cannot write its output: %s",
                strerror(machine->io.write_error));
        vmm_io_say(&machine->io, "%s", machine->err.message);
    }
    return VMM_ENDED;
}

/* The same with a message that says where it was. */
static enum vmm_turn end_badly(struct vmm_machine *machine, enum vmm_outcome outcome, uint32_t pc,
                               const char *what)
{
    end(machine, outcome);
    vmm_machine_report(machine, pc, what);
    return VMM_ENDED;
}

/* It goes on elsewhere, with the beginnings of lines that it has written here. */
static enum vmm_turn depart(struct vmm_machine *machine)
{
    for (int stream = 0; stream < 3; stream++)
        machine->io.lines[stream].len = 0;
    machine->outcome = VMM_MOVED;
    machine->err.code = MF_OK;
    note_end(machine);
    if (machine->common->moved != NULL)
        machine->common->moved(machine);
    return VMM_ENDED;
}

static enum vmm_turn fail(struct vmm_machine *machine)
{
    if (machine->err.code == MF_E_MOVED && machine->gate != NULL &&
        (vmm_gate_is_moving(machine->gate) || vmm_gate_has_moved(machine->gate)))
        return depart(machine);
    if (machine->err.code == MF_E_INTERRUPTED) {
        end(machine, VMM_INTERRUPTED);
        vmm_io_say(&machine->io, "interrupted in the middle of an instruction");
        return VMM_ENDED;
    }
    end(machine, machine->err.code == MF_E_DEADLINE ? VMM_DEADLINE : VMM_FAILED);
    vmm_io_say(&machine->io, "%s", machine->err.message);
    return VMM_ENDED;
}

/* A SNAPSHOT instruction: `text` is the path that the program names. */
static enum vmm_turn save(struct vmm_machine *machine)
{
    char *path;

    /* During a migration there is none: it is taken afterwards, wherever that is. */
    machine->stop_waits = machine->gate != NULL && vmm_gate_is_moving(machine->gate);
    if (machine->stop_waits)
        return VMM_HELD;
    vmm_io_flush(&machine->io);
    int status = snapshot_resolve(machine, machine->stop.text, &path);
    if (status == MF_OK)
        status = snapshot_write(machine, path);
    free(path);
    if (status == MF_OK)
        return VMM_GOES_ON;
    /* The instruction is done; the one before the next is the one to show. */
    return end_badly(machine, VMM_REFUSED, machine->stop.pc - 4, machine->err.message);
}

/* Nothing can go on before there is input. */
static enum vmm_turn wait_for_input(struct vmm_machine *machine)
{
    bool same = machine->waited && machine->stop.executed == 0 &&
                machine->waited_reads == machine->io.reads;

    /* There was input or its end, and the machine did not even look. */
    if (same && vmm_io_wait(&machine->io, 0))
        return end_badly(machine, VMM_STUCK, machine->stop.pc,
                         "waits for an interrupt that can never come");
    /* What is remote is asked for here, and nowhere out of a turn. */
    if (machine->io.remote != NULL)
        vmm_io_wait(&machine->io, 0);
    machine->waited = true;
    machine->waited_reads = machine->io.reads;
    vmm_io_flush(&machine->io);
    return VMM_WAITS;
}

static enum vmm_turn end_faulted(struct vmm_machine *machine)
{
    end(machine, VMM_FAULTED);
    uint32_t pc = explain_fault(machine, machine->fault, sizeof machine->fault);
    vmm_machine_report(machine, pc, machine->fault);
    return VMM_ENDED;
}

static enum vmm_turn handle_stop(struct vmm_machine *machine)
{
    switch ((enum machine_stop_reason)machine->stop.reason) {
    case MACHINE_SLICE:
        return VMM_GOES_ON;
    case MACHINE_EXIT:
        machine->exit_code = machine->stop.code;
        return end(machine, VMM_EXITED);
    case MACHINE_POWER_OFF:
        machine->exit_code = machine->stop.code;
        return end(machine, VMM_POWERED_OFF);
    case MACHINE_SNAPSHOT:
        return save(machine);
    case MACHINE_BREAK:
        return VMM_AT_BREAK;
    case MACHINE_FAULT:
        return end_faulted(machine);
    case MACHINE_WAIT:
        return wait_for_input(machine);
    }
    return VMM_ENDED;
}

/* Ends it when somebody wants that. */
static bool is_stopped(struct vmm_machine *machine)
{
    const struct vmm_common *common = machine->common;
    bool stopped = machine->gate != NULL && atomic_load(&machine->gate->stopping);

    if (!stopped && !atomic_load(&common->stopping) &&
        (common->signalled == NULL || !common->signalled()))
        return false;
    end(machine, VMM_INTERRUPTED);
    vmm_machine_report(machine, machine->has_state ? machine->state.pc : machine->stop.pc,
                       "interrupted");
    return true;
}

/* The instructions of this turn, and the limits that end it before it begins. */
static bool limit_turn(struct vmm_machine *machine, uint64_t *instructions)
{
    uint64_t max = machine->config.max_instructions != 0 ? machine->config.max_instructions
                                                         : machine->common->max_instructions;

    if (max != 0 && machine->executed >= max) {
        end_badly(machine, VMM_LIMIT, machine->stop.pc, "its limit of instructions is reached");
        return false;
    }
    if (machine->deadline_ns != 0 && now_ns() >= machine->deadline_ns) {
        end_badly(machine, VMM_DEADLINE, machine->stop.pc, "its time is over");
        return false;
    }
    if (max != 0 && max - machine->executed < *instructions)
        *instructions = max - machine->executed;
    if (machine->chunk < *instructions)
        *instructions = machine->chunk;
    return true;
}

/* Makes the pieces as long as they shall be; by and by, because one may have been a short one. */
static void learn_speed(struct vmm_machine *machine, uint64_t instructions, uint64_t ns)
{
    uint64_t wanted = machine->deadline_ns != 0 ? TIMED_PIECE_NS : PIECE_NS;

    if (machine->stop.executed < instructions || instructions < machine->chunk)
        return;
    if (ns < wanted / 2 && machine->chunk < CHUNK_MOST)
        machine->chunk *= 2;
    while (ns > wanted * 2 && machine->chunk > CHUNK_LEAST) {
        machine->chunk /= 2;
        ns /= 2;
    }
}

/* Its run(), or the rest of the one that it was stopped in. */
static int run_inside(struct vmm_machine *machine, uint64_t instructions)
{
    bool resumes = machine->resumes;

    machine->resumes = false;
    machine->turn = instructions;
    atomic_store(&machine->in_run, true);
    int status = resumes ? inside_resume(machine, instructions, &machine->stop)
                         : inside_run(machine, instructions, &machine->stop);
    if (status == MF_OK)
        machine->executed += machine->stop.executed;
    atomic_store(&machine->in_run, false);
    if (status == MF_OK && machine->unchecked)
        status = vmm_machine_check(machine, machine->config.snapshot);
    machine->unchecked = false;
    return status;
}

static enum vmm_turn take_turn(struct vmm_machine *machine, uint64_t instructions)
{
    if (machine->gate != NULL && vmm_gate_has_moved(machine->gate))
        return depart(machine);
    /* One in the middle of a turn comes to its end first: no limit holds before. */
    if (machine->resumes)
        instructions = machine->turn;
    else if (is_stopped(machine))
        return VMM_ENDED;
    else if (machine->stop_waits)
        return save(machine);
    else if (!limit_turn(machine, &instructions))
        return VMM_ENDED;
    uint64_t begin = now_ns();
    int status = run_inside(machine, instructions);
    uint64_t ns = now_ns() - begin;
    machine->run_ns += ns;
    if (status != MF_OK)
        return fail(machine);
    if (machine->stop.executed > 0)
        machine->waited = false;
    learn_speed(machine, instructions, ns);
    return handle_stop(machine);
}

enum vmm_turn vmm_machine_turn(struct vmm_machine *machine, uint64_t instructions)
{
    if (machine->gate == NULL)
        return take_turn(machine, instructions);
    if (!vmm_gate_enter(machine->gate))
        return VMM_HELD;
    enum vmm_turn turn = take_turn(machine, instructions);
    vmm_gate_leave(machine->gate);
    if (turn == VMM_HELD && !machine->gate->shared)
        vmm_gate_await_move(machine->gate);
    return turn;
}

void vmm_machine_run(struct vmm_machine *machine)
{
    for (;;) {
        enum vmm_turn turn = vmm_machine_turn(machine, UINT64_MAX);
        if (turn == VMM_ENDED)
            return;
        if (turn == VMM_WAITS)
            vmm_machine_wait(machine, -1);
    }
}

void vmm_machine_wait(struct vmm_machine *machine, int timeout_ms)
{
    if (machine->deadline_ns != 0) {
        uint64_t now = now_ns();
        uint64_t left = machine->deadline_ns > now ? (machine->deadline_ns - now) / 1000000 + 1 : 0;
        if (timeout_ms < 0 || left < (uint64_t)timeout_ms)
            timeout_ms = left > INT_MAX ? INT_MAX : (int)left;
    }
    vmm_io_wait(&machine->io, timeout_ms);
}

void vmm_machine_interrupt(struct vmm_machine *machine)
{
    pthread_mutex_lock(&machine->leaving);
    struct mf_sandbox *sandbox = atomic_load(&machine->sandbox);
    if (sandbox != NULL)
        mf_sandbox_interrupt(sandbox);
    pthread_mutex_unlock(&machine->leaving);
}

void vmm_machine_stop(struct vmm_machine *machine)
{
    vmm_gate_stop(machine->gate);
    vmm_machine_interrupt(machine);
}

const char *vmm_outcome_name(enum vmm_outcome outcome)
{
    static const char *const names[] = {
        [VMM_READY] = "ready",       [VMM_EXITED] = "exited",   [VMM_POWERED_OFF] = "powered-off",
        [VMM_FAULTED] = "faulted",   [VMM_REFUSED] = "refused", [VMM_LIMIT] = "limit",
        [VMM_DEADLINE] = "deadline", [VMM_STUCK] = "stuck",     [VMM_INTERRUPTED] = "interrupted",
        [VMM_MOVED] = "moved",
        [VMM_FAILED] = "failed",
    };

    return names[outcome];
}

void vmm_machine_drop(struct vmm_machine *machine)
{
    pthread_mutex_lock(&machine->leaving);
    struct mf_sandbox *sandbox = atomic_exchange(&machine->sandbox, NULL);
    pthread_mutex_unlock(&machine->leaving);
    mf_sandbox_destroy(sandbox);
}

void vmm_machine_retire(struct vmm_machine *machine)
{
    /* Others may be looking at the one behind a gate. */
    if (machine->gate == NULL)
        vmm_machine_drop(machine);
}

void vmm_machine_close(struct vmm_machine *machine)
{
    vmm_machine_drop(machine);
    pthread_mutex_destroy(&machine->leaving);
    mf_snapshot_close(machine->start);
    mf_host_destroy(machine->host);
    if (machine->disk >= 0)
        close(machine->disk);
    vmm_move_fini(machine);
    machine_program_free(&machine->program);
    free(machine->statistics.counts);
    free(machine->statistics.blocks);
    vmm_io_close(&machine->io);
    vmm_config_fini(&machine->config);
}
