/*
 * The floor of migrate_downtime: QEMU's software CPU with as much memory, moved between two
 * processes over a local socket by qemu_migrate.py, which moves it once for each line it reads.
 */
#include "measures.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct qemu_state {
    const char *argv[4];
    char python[4096], script[4096], qemu[4096];
    pid_t child;
    int ask;
    FILE *answers;
};

static void qemu_close(void *arg)
{
    struct qemu_state *state = arg;

    /* The end of its input ends it. */
    close(state->ask);
    bench_wait(state->argv, state->child, NULL, NULL);
    fclose(state->answers);
    free(state);
}

/* `to` is its input, `from` its output. */
static int spawn(struct qemu_state *state, const int to[2], const int from[2],
                 struct mf_error *err)
{
    posix_spawn_file_actions_t actions;
    int status;

    if (posix_spawn_file_actions_init(&actions) != 0)
        return bench_no_memory(err);
    if (posix_spawn_file_actions_adddup2(&actions, to[0], 0) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, from[1], 1) != 0 ||
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0) != 0)
        status = bench_no_memory(err);
    else
        status = bench_spawn(state->argv, &actions, &state->child, err);
    posix_spawn_file_actions_destroy(&actions);
    return status;
}

static int start(struct qemu_state *state, struct mf_error *err)
{
    int to[2], from[2], status;

    if (pipe2(to, O_CLOEXEC) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    if (pipe2(from, O_CLOEXEC) != 0) {
        close(to[0]);
        close(to[1]);
        return mf_fail(err, MF_E_SYSTEM, "cannot make a pipe: %s", strerror(errno));
    }
    status = spawn(state, to, from, err);
    close(to[0]);
    close(from[1]);
    state->ask = to[1];
    state->answers = status == MF_OK ? fdopen(from[0], "r") : NULL;
    if (state->answers != NULL)
        return MF_OK;
    close(to[1]);
    close(from[0]);
    if (status != MF_OK)
        return status;
    bench_wait(state->argv, state->child, NULL, NULL);
    return bench_no_memory(err);
}

static int qemu_open(const struct bench *bench, void **out, struct mf_error *err)
{
    struct qemu_state *state = calloc(1, sizeof(*state));
    int status = state == NULL ? bench_no_memory(err) : MF_OK;

    if (status == MF_OK)
        status = bench_find_command("qemu-system-x86_64", "qemu-system-x86", state->qemu,
                                    sizeof(state->qemu), err);
    if (status == MF_OK)
        status = bench_find_command("python3", "python3", state->python, sizeof(state->python),
                                    err);
    if (status == MF_OK)
        status = bench_guest_path(bench, "qemu_migrate.py", state->script, sizeof(state->script),
                                  err);
    if (status == MF_OK) {
        state->argv[0] = state->python;
        state->argv[1] = state->script;
        state->argv[2] = state->qemu;
        status = start(state, err);
    }
    if (status != MF_OK) {
        free(state);
        return status;
    }
    *out = state;
    return MF_OK;
}

static int qemu_round(void *arg, unsigned operations, double *value, struct mf_error *err)
{
    struct qemu_state *state = arg;
    unsigned i;

    *value = 0;
    for (i = 0; i < operations; i++) {
        char line[80];
        double us;

        if (write(state->ask, "\n", 1) != 1 ||
            fgets(line, sizeof(line), state->answers) == NULL ||
            sscanf(line, "%lf", &us) != 1)
            return mf_fail(err, MF_E_SYSTEM, "QEMU did not migrate; qemu_migrate.py tells why");
        *value += us / operations;
    }
    return MF_OK;
}

const struct bench_measure bench_floor_qemu_downtime = {
    .name = "QEMU's software CPU, the same; events STOP to RESUME",
    .open = qemu_open,
    .round = qemu_round,
    .close = qemu_close,
};
