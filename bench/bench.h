/*
 * The instrument behind `mayfly bench`: a table of figures, each a measure of
 * the product beside its floor, taken in the same run in interleaved rounds.
 *
 *   figures.c         the table of figures
 *   call.c life.c interrupt.c process.c   the measures of the product, by kind
 *   floor_kvm.c       the raw VM;  floors.c  what the floors do with it
 *   run.c             interleaved rounds, medians
 *   report.c          the table for people, and JSON
 *   machine.c         the machine that was measured
 *
 * The command alone (cli/cmd_bench.c) uses this header. Nothing here prints,
 * except the two functions of the report.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <mayfly/mayfly.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* More rounds than this are refused. */
#define BENCH_ROUNDS_MAX 100000

/* What the caller wants measured, and with what. */
struct bench {
    enum mf_backend backend; /* MF_BACKEND_KVM or MF_BACKEND_SOFT */
    const char *guests;      /* folder with the guests */
    const char *command;     /* path of the mayfly command, for run_hello */
    unsigned rounds;         /* of every figure; 0: each figure's own number */
    /* Called before each round, when not NULL. */
    void (*progress)(void *context, const char *figure, unsigned round, unsigned rounds);
    void *context;
};

/*
 * Something that can be measured again and again: the product or a floor.
 * `open` prepares (not measured) and gives *state, which only `round` and
 * `close` use. `round` does the operation `operations` times and sets *value to
 * the figure for one of them, in the figure's unit. Both fail like functions of
 * the library; when `open` failed, `close` is not called.
 */
struct bench_measure {
    const char *name; /* what is done, for people */
    int (*open)(const struct bench *bench, void **state, struct mf_error *err);
    int (*round)(void *state, unsigned operations, double *value, struct mf_error *err);
    void (*close)(void *state);
};

/* One line of the report. */
struct bench_figure {
    const char *name;
    const char *unit; /* "us" or "KiB"; smaller is better */
    const char *what; /* one line for people */
    const struct bench_measure *product;
    /* NULL: nothing that could be called a floor (see README.md). */
    const struct bench_measure *floor_kvm, *floor_soft;
    double target;       /* ratio to floor_kvm; 0: none */
    unsigned rounds;     /* unless the caller says otherwise */
    unsigned operations; /* in a round */
};

/* The middle of the rounds, and what 80 % of them lie between. */
struct bench_spread {
    double median, p10, p90;
};

struct bench_result {
    const struct bench_figure *figure;
    enum mf_backend backend;
    const struct bench_measure *floor_measure; /* NULL: no floor on this backend */
    struct bench_spread value, floor;
    double target; /* 0: none on this backend */
    unsigned rounds;
};

/* The figures, in the order of the report; *count is how many. Static. */
const struct bench_figure *bench_figures(size_t *count);

/*
 * Measures one figure. Errors: whatever the product or the floor failed with;
 * the message says which of the two.
 */
int bench_run(const struct bench *bench, const struct bench_figure *figure,
              struct bench_result *result, struct mf_error *err);

/* value / floor, or 0 when there is no floor. */
double bench_ratio(const struct bench_result *result);

/*
 * Whether the floor's own rounds differ so much that the ratio says little.
 * Needs some rounds to tell; false when there are fewer.
 */
bool bench_is_noisy(const struct bench_result *result);

/* One line: CPU model, number of CPUs, kernel. */
void bench_machine(char *buf, size_t size);

/*
 * Writes the results as a table for people, or as a JSON array. bench_print_json
 * fails with MF_E_NO_MEMORY; that `out` could not be written is for the caller
 * to find out.
 */
void bench_print_table(FILE *out, const struct bench_result *results, size_t count);
int bench_print_json(FILE *out, const struct bench_result *results, size_t count,
                     struct mf_error *err);

#endif
