/*
 * The measures of a whole process: `mayfly run` of a static program, and the program
 * itself. Where the time of `mayfly run` goes is found by asking it (--time), and by a
 * `mayfly --version`, which is a process that makes no VM.
 */
#include "measures.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How often the phases are asked for. */
#define PHASE_ROUNDS 11

struct process_state {
    char program[4096];
    const char *command; /* mayfly, or NULL: natively */
    const char *argv[7];
    posix_spawn_file_actions_t actions; /* its output goes nowhere */
};

static void process_close(void *state)
{
    struct process_state *process = state;

    posix_spawn_file_actions_destroy(&process->actions);
    free(process);
}

static int open_program(const struct bench *bench, const char *name, void **state,
                        struct mf_error *err)
{
    struct process_state *process = calloc(1, sizeof(*process));
    int status;

    if (process == NULL)
        return bench_no_memory(err);
    status = bench_guest_path(bench, name, process->program, sizeof(process->program), err);
    if (status != MF_OK || posix_spawn_file_actions_init(&process->actions) != 0) {
        free(process);
        return status != MF_OK ? status : bench_no_memory(err);
    }
    process->argv[0] = process->program;
    if (posix_spawn_file_actions_addopen(&process->actions, 1, "/dev/null", O_WRONLY, 0) != 0) {
        process_close(process);
        return bench_no_memory(err);
    }
    *state = process;
    return MF_OK;
}

static int open_native(const struct bench *bench, void **state, struct mf_error *err)
{
    return open_program(bench, "hello", state, err);
}

static int open_noop(const struct bench *bench, void **state, struct mf_error *err)
{
    return open_program(bench, "noop", state, err);
}

static int open_mayfly(const struct bench *bench, void **state, struct mf_error *err)
{
    struct process_state *process;
    int status = open_native(bench, state, err);

    if (status != MF_OK)
        return status;
    process = *state;
    process->command = bench->command;
    process->argv[0] = bench->command;
    process->argv[1] = "run";
    process->argv[2] = "--backend";
    process->argv[3] = mf_backend_name(bench->backend);
    process->argv[4] = process->program;
    return MF_OK;
}

static int process_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct process_state *process = state;
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status = bench_spawn_and_wait(process->argv, &process->actions, NULL, err);

        if (status != MF_OK)
            return status;
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

/* The phases, in the order of PHASES. */
enum { PHASE_PROCESS, PHASE_OPEN, PHASE_CREATE, PHASE_RUN, PHASE_END, NPHASES };

static const struct {
    const char *name, *note;
} phases[NPHASES] = {
    [PHASE_PROCESS] = {"process", "spawn, exec, dynamic linking, exit: that of mayfly --version"},
    [PHASE_OPEN] = {"open", "the image: read and checked"},
    [PHASE_CREATE] = {"create", "VM, vCPU, memory, loaded image"},
    [PHASE_RUN] = {"run", "the program, from its first instruction to its exit"},
    [PHASE_END] = {"end", "the rest: above all the end of the VM"},
};

/* The time behind `key` in the line of --time, in microseconds; -1 when it is not there. */
static double time_of_phase(const char *line, const char *key)
{
    static const struct {
        const char *unit;
        double us;
    } units[] = {{"ns", 1e-3}, {"us", 1}, {"ms", 1e3}, {"s", 1e6}};
    const char *found = strstr(line, key);
    char unit[3];
    double time;
    size_t i;

    if (found == NULL || sscanf(found + strlen(key), " %lf %2[a-z]", &time, unit) != 2)
        return -1;
    for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(unit, units[i].unit) == 0)
            return time * units[i].us;
    }
    return -1;
}

/* Runs the program with --time; `line` gets what that printed. */
static int run_with_time(const struct process_state *process, char *line, size_t size)
{
    const char *argv[7] = {process->command, "run", "--time"};
    posix_spawn_file_actions_t actions;
    int ends[2], status = -1;
    ssize_t len;

    memcpy(argv + 3, process->argv + 2, 3 * sizeof(argv[0]));
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    if (posix_spawn_file_actions_init(&actions) == 0) {
        if (posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0) == 0 &&
            posix_spawn_file_actions_adddup2(&actions, ends[1], 2) == 0)
            status = bench_spawn_and_wait(argv, &actions, NULL, NULL);
        posix_spawn_file_actions_destroy(&actions);
    }
    close(ends[1]);
    /* One line: it fits into the pipe, so it was written before the process ended. */
    len = status == MF_OK ? read(ends[0], line, size - 1) : -1;
    close(ends[0]);
    if (len < 0)
        return -1;
    line[len] = '\0';
    return 0;
}

static int time_phases(const struct process_state *process, double times[NPHASES])
{
    const char *version[] = {process->command, "--version", NULL};
    char line[512];
    double start = bench_now_us(), total;

    if (bench_spawn_and_wait(version, &process->actions, NULL, NULL) != MF_OK)
        return -1;
    times[PHASE_PROCESS] = bench_now_us() - start;
    start = bench_now_us();
    if (run_with_time(process, line, sizeof(line)) != 0)
        return -1;
    total = bench_now_us() - start;
    times[PHASE_OPEN] = time_of_phase(line, "open");
    times[PHASE_CREATE] = time_of_phase(line, "create");
    times[PHASE_RUN] = time_of_phase(line, "run ");
    if (times[PHASE_OPEN] < 0 || times[PHASE_CREATE] < 0 || times[PHASE_RUN] < 0)
        return -1;
    times[PHASE_END] =
        total - times[PHASE_PROCESS] - times[PHASE_OPEN] - times[PHASE_CREATE] - times[PHASE_RUN];
    return 0;
}

static size_t process_parts(void *state, struct bench_part parts[BENCH_PARTS_MAX])
{
    const struct process_state *process = state;
    double samples[NPHASES][PHASE_ROUNDS], times[NPHASES];
    unsigned count = 0, i;
    size_t k;

    for (i = 0; i < PHASE_ROUNDS; i++) {
        if (time_phases(process, times) != 0)
            continue;
        for (k = 0; k < NPHASES; k++)
            samples[k][count] = times[k];
        count++;
    }
    for (k = 0; k < NPHASES; k++) {
        double median = count > 0 ? bench_spread_of(samples[k], count).median : -1;

        parts[k].name = phases[k].name;
        /* What is left after the other phases may come out below nothing in a noisy run. */
        parts[k].value = median < 0 && count > 0 ? 0 : median;
        snprintf(parts[k].note, sizeof(parts[k].note), "%s",
                 count > 0 ? phases[k].note : "mayfly run --time did not tell");
    }
    return NPHASES;
}

const struct bench_measure bench_run_hello = {
    .name = "posix_spawn and wait of mayfly run hello",
    .open = open_mayfly,
    .round = process_round,
    .close = process_close,
    .parts = process_parts,
};

const struct bench_measure bench_floor_hello = {
    .name = "posix_spawn and wait of hello",
    .open = open_native,
    .round = process_round,
    .close = process_close,
};

const struct bench_measure bench_floor_noop = {
    .name = "posix_spawn and wait of a static no-op",
    .open = open_noop,
    .round = process_round,
    .close = process_close,
};
