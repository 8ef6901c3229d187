/* The measures of a sandbox's whole life, and of the memory that it takes. */
#include "measures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct life_state {
    struct bench_guest guest;
    size_t function;
};

static void life_close(void *state)
{
    struct life_state *life = state;

    bench_guest_close(&life->guest);
    free(life);
}

static int life_open(const struct bench *bench, void **state, struct mf_error *err)
{
    struct life_state *life = calloc(1, sizeof(*life));
    int status, index;

    if (life == NULL)
        return bench_no_memory(err);
    status = bench_guest_open(bench, NULL, &life->guest, err);
    if (status != MF_OK) {
        free(life);
        return status;
    }
    index = mf_image_find_export(life->guest.image, "echo", err);
    if (index < 0) {
        life_close(life);
        return index;
    }
    life->function = (size_t)index;
    *state = life;
    return MF_OK;
}

/* A sandbox that has answered one call. */
static int create_and_call(struct life_state *life, struct mf_sandbox **out, struct mf_error *err)
{
    struct mf_value argument = mf_string(BENCH_TEXT);
    int status =
        mf_sandbox_create(life->guest.image, life->guest.host, &life->guest.options, out, err);

    if (status != MF_OK)
        return status;
    status = mf_sandbox_call_index(*out, life->function, &argument, 1, NULL, err);
    if (status != MF_OK)
        mf_sandbox_destroy(*out);
    return status;
}

static int create_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct life_state *life = state;
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        struct mf_sandbox *sandbox;
        int status = create_and_call(life, &sandbox, err);

        if (status != MF_OK)
            return status;
        mf_sandbox_destroy(sandbox);
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

const struct bench_measure bench_create = {
    .name = "mf_sandbox_create, a call, mf_sandbox_destroy",
    .open = life_open,
    .round = create_round,
    .close = life_close,
};

/* The resident memory of this process in KiB, or -1. */
static double resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long size, resident;
    int fields;

    if (file == NULL)
        return -1;
    fields = fscanf(file, "%lu %lu", &size, &resident);
    fclose(file);
    return fields == 2 ? (double)resident * (double)sysconf(_SC_PAGESIZE) / 1024 : -1;
}

/* What the child process of a memory measure tells its parent. */
struct memory_report {
    int status;
    double kib; /* per sandbox */
    struct mf_error error;
};

static void measure_memory(struct life_state *life, unsigned count, struct memory_report *report)
{
    struct mf_sandbox **sandboxes = calloc(count, sizeof(*sandboxes));
    double before, after;
    unsigned i;

    if (sandboxes == NULL) {
        report->status = bench_no_memory(&report->error);
        return;
    }
    before = resident_kib();
    for (i = 0; i < count && report->status == MF_OK; i++)
        report->status = create_and_call(life, &sandboxes[i], &report->error);
    after = resident_kib();
    if (report->status == MF_OK && (before < 0 || after < 0))
        report->status = mf_fail(&report->error, MF_E_SYSTEM, "cannot read /proc/self/statm");
    report->kib = (after - before) / count;
}

/*
 * In a child process, so that what earlier measures left behind in the heap is
 * not counted, nor what these sandboxes leave behind. The child ends without
 * destroying them: the kernel does that.
 */
static int memory_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct memory_report report = {.status = MF_OK};
    int ends[2];
    ssize_t got;
    pid_t child;

    if (pipe(ends) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a pipe");
    child = fork();
    if (child == 0) {
        measure_memory(state, operations, &report);
        got = write(ends[1], &report, sizeof(report));
        _exit(got == (ssize_t)sizeof(report) ? 0 : 1);
    }
    close(ends[1]);
    got = child < 0 ? -1 : read(ends[0], &report, sizeof(report));
    close(ends[0]);
    if (child > 0)
        waitpid(child, NULL, 0);
    if (got != (ssize_t)sizeof(report))
        return mf_fail(err, MF_E_SYSTEM, "the process that measures memory failed");
    if (report.status != MF_OK) {
        report.error.message[sizeof(report.error.message) - 1] = '\0';
        if (err != NULL)
            *err = report.error;
        return report.status;
    }
    *value = report.kib;
    return MF_OK;
}

const struct bench_measure bench_memory = {
    .name = "resident memory after mf_sandbox_create and a call",
    .open = life_open,
    .round = memory_round,
    .close = life_close,
};
