/*
 * Measures a figure: rounds of the product and of its floor take turns, so that
 * whatever else the machine does in the meantime disturbs both alike, and which
 * of the two goes first changes from round to round. Of the rounds only the
 * median and the range of the middle 80 % are kept.
 */
#include "measures.h"

#include <stdlib.h>
#include <string.h>

/* With fewer rounds the spread says nothing. */
#define NOISE_ROUNDS_MIN 10
/* The range of the middle 80 % of a floor, as a part of its median, on a quiet machine. */
#define NOISE_SPREAD_MAX 0.5
/* Of the CPUs of this process: what others may take, and what the hypervisor may. */
#define NOISE_OTHERS_MAX 0.15
#define NOISE_STEAL_MAX  0.02

struct side {
    const struct bench_measure *measure; /* NULL: no floor */
    const char *name;
    void *state;
    double *samples;
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct bench_spread bench_spread_of(double *samples, unsigned count)
{
    struct bench_spread spread;

    qsort(samples, count, sizeof(*samples), compare_doubles);
    spread.median = (samples[(count - 1) / 2] + samples[count / 2]) / 2;
    spread.p10 = samples[(count - 1) / 10];
    spread.p90 = samples[count - 1 - (count - 1) / 10];
    return spread;
}

/* Puts which side failed in front of the message. */
static int fail_side(const struct side *side, int status, struct mf_error *err)
{
    struct mf_error inner;

    if (status == BENCH_UNKNOWN)
        return status;
    inner = *err;
    mf_fail(err, status, "%s: %s", side->name, inner.message);
    err->sys_errno = inner.sys_errno;
    return status;
}

static int open_side(const struct bench *bench, struct side *side, unsigned rounds,
                     struct mf_error *err)
{
    int status;

    if (side->measure == NULL)
        return MF_OK;
    side->samples = calloc(rounds, sizeof(*side->samples));
    if (side->samples == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory for %u rounds", rounds);
    status = side->measure->open(bench, &side->state, err);
    if (status != MF_OK) {
        free(side->samples);
        side->measure = NULL;
        return fail_side(side, status, err);
    }
    return MF_OK;
}

static void close_side(struct side *side)
{
    if (side->measure == NULL)
        return;
    side->measure->close(side->state);
    free(side->samples);
}

static int run_round(struct side *side, unsigned operations, double *value, struct mf_error *err)
{
    int status = side->measure->round(side->state, operations, value, err);

    return status == MF_OK ? MF_OK : fail_side(side, status, err);
}

static int run_rounds(const struct bench *bench, const struct bench_figure *figure,
                      struct side sides[2], unsigned rounds, struct mf_error *err)
{
    double warm_up;
    unsigned i, k;
    int status = MF_OK;

    /* The first round pays for cold caches and unlearnt branches; it does not count. */
    for (k = 0; k < 2 && rounds > 1 && status == MF_OK; k++) {
        if (sides[k].measure != NULL)
            status = run_round(&sides[k], figure->operations, &warm_up, err);
    }
    for (i = 0; i < rounds && status == MF_OK; i++) {
        if (bench->progress != NULL)
            bench->progress(bench->context, figure->name, i + 1, rounds);
        for (k = 0; k < 2 && status == MF_OK; k++) {
            struct side *side = &sides[(i + k) % 2];

            if (side->measure != NULL)
                status = run_round(side, figure->operations, &side->samples[i], err);
        }
    }
    return status;
}

/* What bench_run does once both sides are open. */
static int measure(const struct bench *bench, const struct bench_figure *figure,
                   struct side sides[2], struct bench_result *result, struct mf_error *err)
{
    struct bench_ticks ticks;
    int status;

    bench_ticks_read(&ticks);
    status = run_rounds(bench, figure, sides, result->rounds, err);
    if (status != MF_OK)
        return status;
    bench_load_since(&ticks, &result->load);
    result->value = bench_spread_of(sides[1].samples, result->rounds);
    if (result->floor_measure != NULL)
        result->floor = bench_spread_of(sides[0].samples, result->rounds);
    if (figure->product->parts != NULL)
        result->nparts = figure->product->parts(sides[1].state, result->parts);
    return MF_OK;
}

/* A host that cannot show something has not failed. */
static int finish(struct bench_result *result, int status, struct mf_error *err)
{
    if (status != BENCH_UNKNOWN)
        return status;
    result->unknown = true;
    snprintf(result->reason, sizeof(result->reason), "%s", err->message);
    return MF_OK;
}

int bench_run(const struct bench *bench, const struct bench_figure *figure,
              struct bench_result *result, struct mf_error *err)
{
    bool kvm = bench->backend == MF_BACKEND_KVM;
    const struct bench_measure *floor = kvm ? figure->floor_kvm : figure->floor_soft;
    struct side sides[2] = {{.measure = floor, .name = "floor"},
                            {.measure = figure->product, .name = "product"}};
    struct mf_error inner;
    int status;

    memset(result, 0, sizeof(*result));
    result->figure = figure;
    result->backend = bench->backend;
    result->floor_measure = floor;
    result->target = kvm ? figure->target : 0;
    result->rounds = bench->rounds != 0 ? bench->rounds : figure->rounds;

    status = open_side(bench, &sides[0], result->rounds, &inner);
    if (status == MF_OK) {
        status = open_side(bench, &sides[1], result->rounds, &inner);
        if (status == MF_OK)
            status = measure(bench, figure, sides, result, &inner);
        close_side(&sides[1]);
        close_side(&sides[0]);
    }
    status = finish(result, status, &inner);
    if (status != MF_OK && err != NULL)
        *err = inner;
    return status;
}

double bench_ratio(const struct bench_result *result)
{
    if (result->floor_measure == NULL || result->unknown || result->floor.median <= 0)
        return 0;
    return result->value.median / result->floor.median;
}

bool bench_is_noisy(const struct bench_result *result, char why[BENCH_WHY_BYTES])
{
    const struct bench_spread *floor = &result->floor;
    double cpus = bench_cpus();
    char unused[BENCH_WHY_BYTES];

    if (why == NULL)
        why = unused;
    why[0] = '\0';
    /* Memory does not depend on what the CPUs do. */
    if (result->unknown || strcmp(result->figure->unit, "us") != 0)
        return false;
    if (result->floor_measure != NULL && result->rounds >= NOISE_ROUNDS_MIN &&
        floor->p90 - floor->p10 > NOISE_SPREAD_MAX * floor->median)
        snprintf(why, BENCH_WHY_BYTES, "the floor alone varied from %.2f to %.2f us", floor->p10,
                 floor->p90);
    else if (result->load.steal > NOISE_STEAL_MAX)
        snprintf(why, BENCH_WHY_BYTES, "the hypervisor took %.0f %% of the CPUs",
                 result->load.steal * 100);
    else if (result->load.others > NOISE_OTHERS_MAX * cpus)
        snprintf(why, BENCH_WHY_BYTES, "other processes used %.1f CPUs", result->load.others);
    return why[0] != '\0';
}
