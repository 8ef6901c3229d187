/*
 * The memory that machines take: a `mayfly vm` with many of them beside one with a single one,
 * both while all their programs wait for input. What the process shares with others counts in
 * parts (PSS).
 */
#include "memory.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* At most so many machines, and so long until all of them run. */
#define MACHINES_MAX 1000
#define START_MS     60000
/* Rounds whose kernel memory is kept. */
#define SAMPLES_MAX  64

struct machines_state {
    const struct bench *bench;
    char program[4096];
    const char *argv[MACHINES_MAX + 8];
    double kernel[SAMPLES_MAX]; /* KiB for each, of each round that knew it */
    unsigned nkernel;
    char note[160];
};

/* What one command took, in KiB; the kernel's is negative when it is not known. */
struct machines_memory {
    double pss, kernel;
    char note[160];
};

/* A running command, and the ends of its input and output. */
struct machines_process {
    pid_t child;
    int input, output;
};

static int machines_open(const struct bench *bench, void **state, struct mf_error *err)
{
    struct machines_state *machines = calloc(1, sizeof(*machines));
    int status;

    if (machines == NULL)
        return bench_no_memory(err);
    machines->bench = bench;
    status = bench_guest_path(bench, "machine_wait.conf", machines->program,
                              sizeof(machines->program), err);
    if (status != MF_OK) {
        free(machines);
        return status;
    }
    *state = machines;
    return MF_OK;
}

static void machines_close(void *state)
{
    free(state);
}

/* Starts the command with its input and output in pipes. */
static int spawn_machines(const struct machines_state *machines, struct machines_process *process,
                          struct mf_error *err)
{
    posix_spawn_file_actions_t actions;
    int input[2], output[2], status = MF_OK;

    if (pipe2(input, O_CLOEXEC) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a pipe");
    if (pipe2(output, O_CLOEXEC) != 0 || posix_spawn_file_actions_init(&actions) != 0) {
        close(input[0]);
        close(input[1]);
        return mf_fail(err, MF_E_SYSTEM, "cannot make a pipe");
    }
    if (posix_spawn_file_actions_adddup2(&actions, input[0], 0) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, output[1], 1) != 0)
        status = bench_no_memory(err);
    if (status == MF_OK)
        status = bench_spawn(machines->argv, &actions, &process->child, err);
    posix_spawn_file_actions_destroy(&actions);
    close(input[0]);
    close(output[1]);
    process->input = input[1];
    process->output = output[0];
    if (status != MF_OK) {
        close(process->input);
        close(process->output);
    }
    return status;
}

/* Waits until each machine has printed its line. */
static int await_lines(const struct machines_process *process, unsigned count, struct mf_error *err)
{
    double end = bench_now_us() + START_MS * 1e3;
    struct pollfd poll_fd = {.fd = process->output, .events = POLLIN};
    unsigned lines = 0;
    char bytes[4096];

    while (lines < count) {
        double left_ms = (end - bench_now_us()) / 1e3;
        ssize_t len = -1, i;

        if (left_ms > 0 && poll(&poll_fd, 1, (int)left_ms + 1) > 0)
            len = read(process->output, bytes, sizeof(bytes));
        if (len <= 0)
            return mf_fail(err, MF_E_SYSTEM, "of %u machines, %u ran", count, lines);
        for (i = 0; i < len; i++)
            lines += bytes[i] == '\n';
    }
    return MF_OK;
}

static int measure_machines(struct machines_state *machines, unsigned count,
                            struct machines_memory *memory, struct mf_error *err)
{
    struct machines_process process;
    struct kernel_memory before;
    char path[64];
    unsigned i;
    int status, ended;

    machines->argv[0] = machines->bench->command;
    machines->argv[1] = "vm";
    machines->argv[2] = "--backend";
    machines->argv[3] = mf_backend_name(machines->bench->backend);
    for (i = 0; i < count; i++)
        machines->argv[4 + i] = machines->program;
    machines->argv[4 + count] = NULL;
    bench_kernel_memory_read(&before);
    status = spawn_machines(machines, &process, err);
    if (status != MF_OK)
        return status;
    status = await_lines(&process, count, err);
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)process.child);
    memory->pss = bench_value_of_key(path, "Pss");
    memory->kernel = bench_kernel_memory_since(&before, memory->note);
    if (status != MF_OK)
        kill(process.child, SIGKILL);
    /* The end of their input is the end of the machines. */
    close(process.input);
    ended = bench_wait(machines->argv, process.child, NULL, status == MF_OK ? err : NULL);
    close(process.output);
    if (status == MF_OK && ended == MF_OK && memory->pss < 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot read %s", path);
    return status != MF_OK ? status : ended;
}

static int machines_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct machines_state *machines = state;
    struct machines_memory one, many;
    int status;

    if (operations < 2 || operations > MACHINES_MAX)
        return mf_fail(err, MF_E_ARGUMENT, "from 2 to %d machines", MACHINES_MAX);
    status = measure_machines(machines, 1, &one, err);
    if (status == MF_OK)
        status = measure_machines(machines, operations, &many, err);
    if (status != MF_OK)
        return status;
    *value = (many.pss - one.pss) / (operations - 1);
    /* What one machine takes is little beside what other processes do to the same number. */
    if (many.kernel >= 0 && machines->nkernel < SAMPLES_MAX)
        machines->kernel[machines->nkernel++] = many.kernel / operations;
    snprintf(machines->note, sizeof(machines->note), "%s", many.note);
    return MF_OK;
}

static size_t machines_parts(void *state, struct bench_part parts[BENCH_PARTS_MAX])
{
    struct machines_state *machines = state;

    parts[0].name = "kernel";
    parts[0].value = -1;
    if (machines->nkernel > 0)
        parts[0].value = bench_spread_of(machines->kernel, machines->nkernel).median;
    snprintf(parts[0].note, sizeof(parts[0].note), "%s", machines->note);
    return 1;
}

const struct bench_measure bench_machine_memory = {
    .name = "PSS of mayfly vm, all machines waiting for input",
    .open = machines_open,
    .round = machines_round,
    .close = machines_close,
    .parts = machines_parts,
};
