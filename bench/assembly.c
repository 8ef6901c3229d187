/*
 * The measures of the assembly machine: `mayfly vm` beside SPIM and beside qemu-mips, which
 * execute the same program. (machine.c describes the host.)
 *
 * Speed is CPU time for a million instructions, of the whole process: user and system, and on
 * kvm that of the guest, which the kernel counts as user time. How many rounds of its loop a
 * program makes is read from its input, and chosen for each side such that a run takes some
 * 150 ms, so that starting hardly counts for the fastest and no run takes long for the slowest.
 * How many instructions a round has is what `mayfly vm --json` counts.
 */
#include "measures.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What one run takes, and what is long enough. */
#define RUN_US     150e3
#define RUN_MIN_US 100e3
#define ROUNDS_MAX 1000000000u
/* For the user time of SPIM alone. */
#define SPIM_RUNS  6
/* `mayfly vm --backend B PROGRAM...` and its end. */
#define MANY_MAX   1000
#define ARGS_MAX   (MANY_MAX + 8)

struct assembly_state {
    char program[4096], command[4096];
    const char *argv[ARGS_MAX];
    posix_spawn_file_actions_t actions; /* its output goes nowhere, its input is `input` */
    int input;                          /* a file in memory: the number of rounds */
    unsigned rounds;
    double start_instructions, round_instructions;
    double user_us, instructions; /* sums of all rounds, for the parts */
    const struct bench *bench;
    const char *guest;
};

static double time_us(const struct timeval *time)
{
    return (double)time->tv_sec * 1e6 + (double)time->tv_usec;
}

static void assembly_close(void *state)
{
    struct assembly_state *assembly = state;

    posix_spawn_file_actions_destroy(&assembly->actions);
    if (assembly->input >= 0)
        close(assembly->input);
    free(assembly);
}

/* Makes the state and the descriptors of the children. */
static int prepare(const struct bench *bench, const char *guest, struct assembly_state **out,
                   struct mf_error *err)
{
    struct assembly_state *assembly = calloc(1, sizeof(*assembly));

    *out = NULL;
    if (assembly == NULL || posix_spawn_file_actions_init(&assembly->actions) != 0) {
        free(assembly);
        return bench_no_memory(err);
    }
    assembly->bench = bench;
    assembly->guest = guest;
    assembly->input = memfd_create("rounds", MFD_CLOEXEC);
    if (assembly->input < 0 ||
        posix_spawn_file_actions_adddup2(&assembly->actions, assembly->input, 0) != 0 ||
        posix_spawn_file_actions_addopen(&assembly->actions, 1, "/dev/null", O_WRONLY, 0) != 0 ||
        posix_spawn_file_actions_addopen(&assembly->actions, 2, "/dev/null", O_WRONLY, 0) != 0) {
        assembly_close(assembly);
        return bench_no_memory(err);
    }
    *out = assembly;
    return MF_OK;
}

/* Finds the program; one that only a cross compiler makes may be missing. */
static int find_program(struct assembly_state *assembly, struct mf_error *err)
{
    const char *guest = assembly->guest;
    int status =
        bench_guest_path(assembly->bench, guest, assembly->program, sizeof(assembly->program), err);

    /* Whether other guests are there tells a missing compiler from a missing folder. */
    if (status == MF_E_SYSTEM && strncmp(guest, "machine_work", strlen("machine_work")) == 0 &&
        access(assembly->bench->guests, X_OK) == 0)
        return bench_unknown(
            err, "%s is not there: mips-linux-gnu-gcc was not, when this was built", guest);
    return status;
}

/* `mayfly vm` of so many machines. */
static int choose_mayfly(struct assembly_state *assembly, unsigned count, struct mf_error *err)
{
    const char **argv = assembly->argv;
    unsigned i;
    int status = find_program(assembly, err);

    *argv++ = assembly->bench->command;
    *argv++ = "vm";
    *argv++ = "--backend";
    *argv++ = mf_backend_name(assembly->bench->backend);
    for (i = 0; i < count; i++)
        *argv++ = assembly->program;
    *argv = NULL;
    return status;
}

static int choose_spim(struct assembly_state *assembly, struct mf_error *err)
{
    int status =
        bench_find_command("spim", "spim", assembly->command, sizeof(assembly->command), err);

    assembly->argv[0] = assembly->command;
    assembly->argv[1] = "-file";
    assembly->argv[2] = assembly->program;
    return status == MF_OK ? find_program(assembly, err) : status;
}

static int choose_qemu(struct assembly_state *assembly, struct mf_error *err)
{
    int status = bench_find_command("qemu-mips", "qemu-user", assembly->command,
                                    sizeof(assembly->command), err);

    assembly->argv[0] = assembly->command;
    assembly->argv[1] = assembly->program;
    return status == MF_OK ? find_program(assembly, err) : status;
}

/* ---- speed ---- */

static int put_rounds(const struct assembly_state *assembly, unsigned rounds, struct mf_error *err)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%u\n", rounds);

    /* The children share the offset with this process, and have moved it. */
    if (ftruncate(assembly->input, 0) != 0 ||
        pwrite(assembly->input, text, (size_t)len, 0) != len ||
        lseek(assembly->input, 0, SEEK_SET) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot write the input of a program");
    return MF_OK;
}

/* One run; *cpu_us is what the process used. */
static int run_program(struct assembly_state *assembly, unsigned rounds, double *cpu_us,
                       struct mf_error *err)
{
    struct rusage usage;
    int status = put_rounds(assembly, rounds, err);

    if (status == MF_OK)
        status = bench_spawn_and_wait(assembly->argv, &assembly->actions, &usage, err);
    if (status != MF_OK)
        return status;
    *cpu_us = time_us(&usage.ru_utime) + time_us(&usage.ru_stime);
    assembly->user_us += time_us(&usage.ru_utime);
    assembly->instructions += assembly->start_instructions + rounds * assembly->round_instructions;
    return MF_OK;
}

/* The instructions of a run, as `mayfly vm --json` counts them; its answer is in a file. */
static int read_count(int answer, double *count, struct mf_error *err)
{
    char text[16384];
    ssize_t len = pread(answer, text, sizeof(text) - 1, 0);
    const char *found;

    text[len > 0 ? len : 0] = '\0';
    found = strstr(text, "\"executed\":");
    if (found == NULL || sscanf(found, "\"executed\": %lf", count) != 1 || *count < 1)
        return mf_fail(err, MF_E_SYSTEM, "mayfly vm --json did not tell what it executed");
    return MF_OK;
}

static int count_run(struct assembly_state *counter, int answer, unsigned rounds, double *count,
                     struct mf_error *err)
{
    int status = put_rounds(counter, rounds, err);

    if (status == MF_OK && (ftruncate(answer, 0) != 0 || lseek(answer, 0, SEEK_SET) != 0))
        status = mf_fail(err, MF_E_SYSTEM, "cannot empty a file in memory");
    if (status == MF_OK)
        status = bench_spawn_and_wait(counter->argv, &counter->actions, NULL, err);
    return status == MF_OK ? read_count(answer, count, err) : status;
}

/* Finds out how many instructions the program has, without rounds and for each. */
static int count_instructions(struct assembly_state *assembly, struct mf_error *err)
{
    struct assembly_state *counter;
    double one = 0, three = 0;
    int status = prepare(assembly->bench, assembly->guest, &counter, err), answer;

    if (status != MF_OK)
        return status;
    answer = memfd_create("answer", MFD_CLOEXEC);
    status = choose_mayfly(counter, 1, err);
    counter->argv[5] = "--json";
    if (status == MF_OK &&
        (answer < 0 || posix_spawn_file_actions_adddup2(&counter->actions, answer, 1) != 0))
        status = bench_no_memory(err);
    if (status == MF_OK)
        status = count_run(counter, answer, 1, &one, err);
    if (status == MF_OK)
        status = count_run(counter, answer, 3, &three, err);
    assembly->round_instructions = (three - one) / 2;
    assembly->start_instructions = one - assembly->round_instructions;
    if (answer >= 0)
        close(answer);
    assembly_close(counter);
    return status;
}

/* Chooses the rounds of a run. */
static int calibrate(struct assembly_state *assembly, struct mf_error *err)
{
    double us = 0;
    int status;

    assembly->rounds = 1;
    for (;;) {
        double factor, rounds;

        status = run_program(assembly, assembly->rounds, &us, err);
        if (status != MF_OK || us >= RUN_MIN_US || assembly->rounds == ROUNDS_MAX)
            return status;
        /* A short run says little, so no more than 16 times as many rounds follow it. */
        factor = us > 0 && RUN_US / us < 16 ? RUN_US / us : 16;
        rounds = assembly->rounds * factor + 1;
        assembly->rounds = rounds < ROUNDS_MAX ? (unsigned)rounds : ROUNDS_MAX;
    }
}

/* Opens one side: `choose` says by what the program is executed. */
static int open_speed(const struct bench *bench, const char *guest,
                      int (*choose)(struct assembly_state *assembly, struct mf_error *err),
                      void **state, struct mf_error *err)
{
    struct assembly_state *assembly;
    int status = prepare(bench, guest, &assembly, err);

    if (status != MF_OK)
        return status;
    status = choose(assembly, err);
    if (status == MF_OK)
        status = count_instructions(assembly, err);
    if (status == MF_OK)
        status = calibrate(assembly, err);
    if (status != MF_OK) {
        assembly_close(assembly);
        return status;
    }
    assembly->user_us = assembly->instructions = 0;
    *state = assembly;
    return MF_OK;
}

static int choose_one(struct assembly_state *assembly, struct mf_error *err)
{
    return choose_mayfly(assembly, 1, err);
}

static int open_loop(const struct bench *bench, void **state, struct mf_error *err)
{
    return open_speed(bench, "machine_loop.s", choose_one, state, err);
}

static int open_work(const struct bench *bench, void **state, struct mf_error *err)
{
    return open_speed(bench, "machine_work.s", choose_one, state, err);
}

static int open_elf(const struct bench *bench, void **state, struct mf_error *err)
{
    return open_speed(bench, "machine_work", choose_one, state, err);
}

static int open_spim_loop(const struct bench *bench, void **state, struct mf_error *err)
{
    return open_speed(bench, "machine_loop.s", choose_spim, state, err);
}

static int open_spim_work(const struct bench *bench, void **state, struct mf_error *err)
{
    return open_speed(bench, "machine_work.s", choose_spim, state, err);
}

static int open_qemu(const struct bench *bench, void **state, struct mf_error *err)
{
    return open_speed(bench, "machine_work", choose_qemu, state, err);
}

static int speed_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct assembly_state *assembly = state;
    double sum = 0, instructions, cpu_us;
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status = run_program(assembly, assembly->rounds, &cpu_us, err);

        if (status != MF_OK)
            return status;
        sum += cpu_us;
    }
    instructions = assembly->start_instructions + assembly->rounds * assembly->round_instructions;
    *value = sum / operations / instructions * 1e6;
    return MF_OK;
}

/*
 * What SPIM needs of its own: it makes a system call for each instruction (getitimer), whose
 * price is the host's. Many runs, because the kernel may count user time in ticks.
 */
static void time_spim_user(const struct assembly_state *assembly, struct bench_part *part)
{
    struct assembly_state *spim;
    struct mf_error err = {.code = MF_OK};
    void *state;
    double value;
    int status = open_speed(assembly->bench, assembly->guest, choose_spim, &state, &err);

    part->name = "spim";
    part->value = -1;
    snprintf(part->note, sizeof(part->note), "%.100s", err.message);
    if (status != MF_OK)
        return;
    spim = state;
    status = speed_round(spim, SPIM_RUNS, &value, &err);
    if (status == MF_OK && spim->user_us > 0) {
        part->value = spim->user_us / spim->instructions * 1e6;
        snprintf(part->note, sizeof(part->note),
                 "user time alone of SPIM, without its system call for each instruction");
    } else {
        snprintf(part->note, sizeof(part->note), "the kernel did not count its user time");
    }
    assembly_close(spim);
}

static size_t speed_parts(void *state, struct bench_part parts[BENCH_PARTS_MAX])
{
    time_spim_user(state, &parts[0]);
    return 1;
}

/* ---- start, many ---- */

static int open_started(const struct bench *bench, bool spim, void **state, struct mf_error *err)
{
    struct assembly_state *assembly;
    int status = prepare(bench, "machine_add.s", &assembly, err);

    if (status != MF_OK)
        return status;
    status = spim ? choose_spim(assembly, err) : choose_mayfly(assembly, 1, err);
    if (status != MF_OK) {
        assembly_close(assembly);
        return status;
    }
    *state = assembly;
    return MF_OK;
}

static int open_start(const struct bench *bench, void **state, struct mf_error *err)
{
    return open_started(bench, false, state, err);
}

static int open_spim_start(const struct bench *bench, void **state, struct mf_error *err)
{
    return open_started(bench, true, state, err);
}

static int start_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    const struct assembly_state *assembly = state;
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status = bench_spawn_and_wait(assembly->argv, &assembly->actions, NULL, err);

        if (status != MF_OK)
            return status;
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

/* One machine in one command, whatever the operations are: what many in one are held against. */
static int alone_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    (void)operations;
    return start_round(state, 1, value, err);
}

/* All operations are machines of one command. */
static int many_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct assembly_state *assembly = state;
    double start;
    int status;

    if (operations > MANY_MAX)
        return mf_fail(err, MF_E_ARGUMENT, "at most %d machines", MANY_MAX);
    status = choose_mayfly(assembly, operations, err);
    start = bench_now_us();
    if (status == MF_OK)
        status = bench_spawn_and_wait(assembly->argv, &assembly->actions, NULL, err);
    *value = (bench_now_us() - start) / operations;
    return status;
}

#define SPEED_MEASURE(id, text, open_fn, parts_fn) \
    const struct bench_measure id = {              \
        .name = text,                              \
        .open = open_fn,                           \
        .round = speed_round,                      \
        .close = assembly_close,                   \
        .parts = parts_fn,                         \
    }

SPEED_MEASURE(bench_machine_loop, "CPU time of mayfly vm machine_loop.s", open_loop, speed_parts);
SPEED_MEASURE(bench_machine_work, "CPU time of mayfly vm machine_work.s", open_work, NULL);
SPEED_MEASURE(bench_machine_elf, "CPU time of mayfly vm machine_work", open_elf, NULL);
SPEED_MEASURE(bench_floor_spim_loop, "CPU time of spim -file machine_loop.s", open_spim_loop, NULL);
SPEED_MEASURE(bench_floor_spim_work, "CPU time of spim -file machine_work.s", open_spim_work, NULL);
SPEED_MEASURE(bench_floor_qemu, "CPU time of qemu-mips machine_work", open_qemu, NULL);

const struct bench_measure bench_machine_start = {
    .name = "posix_spawn and wait of mayfly vm machine_add.s",
    .open = open_start,
    .round = start_round,
    .close = assembly_close,
};

const struct bench_measure bench_floor_spim_start = {
    .name = "posix_spawn and wait of spim -file machine_add.s",
    .open = open_spim_start,
    .round = start_round,
    .close = assembly_close,
};

const struct bench_measure bench_machine_many = {
    .name = "posix_spawn and wait of mayfly vm of so many machine_add.s",
    .open = open_start,
    .round = many_round,
    .close = assembly_close,
};

const struct bench_measure bench_floor_machine_alone = {
    .name = "posix_spawn and wait of mayfly vm machine_add.s",
    .open = open_start,
    .round = alone_round,
    .close = assembly_close,
};
