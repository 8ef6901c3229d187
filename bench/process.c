/* The measures of a whole process: `mayfly run` of a static program, and the program itself. */
#include "measures.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

struct process_state {
    char program[4096];
    const char *argv[6];
    posix_spawn_file_actions_t actions; /* its output goes nowhere */
};

static void process_close(void *state)
{
    struct process_state *process = state;

    posix_spawn_file_actions_destroy(&process->actions);
    free(process);
}

static int open_native(const struct bench *bench, void **state, struct mf_error *err)
{
    struct process_state *process = calloc(1, sizeof(*process));
    int status;

    if (process == NULL)
        return bench_no_memory(err);
    status = bench_guest_path(bench, "hello", process->program, sizeof(process->program), err);
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

static int open_mayfly(const struct bench *bench, void **state, struct mf_error *err)
{
    struct process_state *process;
    int status = open_native(bench, state, err);

    if (status != MF_OK)
        return status;
    process = *state;
    process->argv[0] = bench->command;
    process->argv[1] = "run";
    process->argv[2] = "--backend";
    process->argv[3] = mf_backend_name(bench->backend);
    process->argv[4] = process->program;
    return MF_OK;
}

static int run_once(struct process_state *process, struct mf_error *err)
{
    static char *const environment[] = {NULL};
    int wait_status, number;
    pid_t child;

    number = posix_spawn(&child, process->argv[0], &process->actions, NULL,
                         (char *const *)process->argv, environment);
    if (number != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot start %s: %s", process->argv[0], strerror(number));
    if (waitpid(child, &wait_status, 0) != child || !WIFEXITED(wait_status) ||
        WEXITSTATUS(wait_status) != 0)
        return mf_fail(err, MF_E_SYSTEM, "%s %s failed", process->argv[0],
                       process->argv[1] != NULL ? "run" : "");
    return MF_OK;
}

static int process_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status = run_once(state, err);

        if (status != MF_OK)
            return status;
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

const struct bench_measure bench_run_hello = {
    .name = "posix_spawn and wait of mayfly run hello",
    .open = open_mayfly,
    .round = process_round,
    .close = process_close,
};

const struct bench_measure bench_floor_hello = {
    .name = "posix_spawn and wait of hello",
    .open = open_native,
    .round = process_round,
    .close = process_close,
};
