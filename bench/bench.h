/*
 * The instrument behind `mayfly bench`: a table of figures, each a measure of
 * the product beside its floor, taken in the same run in interleaved rounds.
 *
 *   figures.c         the table of figures
 *   call.c thread.c batch.c attend.c large.c life.c interrupt.c process.c
 *   restore.c pool.c open.c crowd.c
 *                     the measures of the product, by kind
 *   assembly.c assembly_memory.c
 *                     the assembly machine, beside SPIM and QEMU
 *   migrate.c receiver.c migrate_qemu.c
 *                     moving to another process, that process, and QEMU that does the same
 *   spawn.c           other programs as children
 *   memory.c          how memory is measured, of what crowd.c makes many of
 *   floor_kvm.c       the raw VM;  floors.c  what the floors do with it
 *   run.c             interleaved rounds, medians
 *   machine.c         the machine that was measured, and what else it did
 *   report.c          the table for people, JSON, Markdown
 *   svg.c             the picture
 *   compare.c         two reports side by side
 *   profile.c         counts per operation, from counters.c and trace.c
 *
 * The command alone (cli/cmd_bench.c) uses this header. Nothing here prints,
 * except the functions that are given a FILE.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <mayfly/mayfly.h>

#include <jansson.h>
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
    /*
     * Called, when not NULL, with a sandbox that a measure made for one operation and is
     * about to destroy (inside of the time, so not while times are taken).
     */
    void (*watch)(void *context, struct mf_sandbox *sandbox);
    void *watch_context;
};

/* What a figure is made of, or a second value of the same measure. */
#define BENCH_PARTS_MAX 8
struct bench_part {
    const char *name; /* static */
    double value;     /* in the figure's unit; negative: not known, and `note` says why */
    char note[160];   /* how it was found */
};

/*
 * What `open` returns, with the reason in *err, for something that this host cannot
 * show: no failure, and no number either.
 */
#define BENCH_UNKNOWN 1

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
    /* The sandbox that all operations use; NULL: each has its own (see `watch`), or none. */
    struct mf_sandbox *(*sandbox)(void *state);
    /*
     * NULL, or fills `parts` after the rounds and returns how many there are. A round
     * more or less is its own business.
     */
    size_t (*parts)(void *state, struct bench_part parts[BENCH_PARTS_MAX]);
};

/* One line of the report. */
struct bench_figure {
    const char *name;
    const char *group; /* of figures that stand next to each other in a report */
    const char *unit;  /* "us", "KiB" or "B"; smaller is better */
    const char *what; /* one line for people */
    const struct bench_measure *product;
    /* NULL: nothing that could be called a floor (see README.md). */
    const struct bench_measure *floor_kvm, *floor_soft;
    double target;       /* ratio to floor_kvm; 0: none */
    unsigned rounds;     /* unless the caller says otherwise */
    unsigned operations; /* in a round */
    unsigned calls;      /* that one operation makes and the value is for one of; 0: one */
};

/* The middle of the rounds, and what 80 % of them lie between. */
struct bench_spread {
    double median, p10, p90;
};

/* What else the machine did. */
struct bench_load {
    double others; /* CPUs that were busy with other processes; negative: not known */
    double steal;  /* part of the time of all CPUs that the hypervisor took away; the same */
};

struct bench_result {
    const struct bench_figure *figure;
    enum mf_backend backend;
    const struct bench_measure *floor_measure; /* NULL: no floor on this backend */
    struct bench_spread value, floor;
    double target; /* 0: none on this backend */
    unsigned rounds;
    struct bench_part parts[BENCH_PARTS_MAX];
    size_t nparts;
    struct bench_load load;
    bool unknown;     /* not measured, since this host cannot show it; no other number holds */
    char reason[256]; /* why */
};

/* The figures, in the order of the report; *count is how many. Static. */
const struct bench_figure *bench_figures(size_t *count);

/* The figure with this name, or NULL. */
const struct bench_figure *bench_find_figure(const char *name);

/*
 * Measures one figure. Errors: whatever the product or the floor failed with;
 * the message says which of the two.
 */
int bench_run(const struct bench *bench, const struct bench_figure *figure,
              struct bench_result *result, struct mf_error *err);

/* value / floor, or 0 when there is no floor. */
double bench_ratio(const struct bench_result *result);

/*
 * Whether the ratio says little: the floor's own rounds differ too much, or other
 * processes or the hypervisor had the CPUs. Needs some rounds or time to tell; false
 * when there was less. With `why` not NULL, *why is a phrase for people.
 */
#define BENCH_WHY_BYTES 96
bool bench_is_noisy(const struct bench_result *result, char why[BENCH_WHY_BYTES]);

/* One line: CPU model, number of CPUs, kernel. */
void bench_machine(char *buf, size_t size);

/* The setting that keeps the CPUs from running at full speed, like "powersave", or NULL. */
const char *bench_slow_governor(char *buf, size_t size);

/*
 * Write the results: a table for people, the same as Markdown (`command` is the line
 * that made it), a JSON array. bench_print_json fails with MF_E_NO_MEMORY; that `out`
 * could not be written is for the caller to find out.
 */
void bench_print_table(FILE *out, const struct bench_result *results, size_t count);
void bench_print_markdown(FILE *out, const struct bench_result *results, size_t count,
                          const char *command);
int bench_print_json(FILE *out, const struct bench_result *results, size_t count,
                     struct mf_error *err);
/* The same array; NULL without memory. */
json_t *bench_results_json(const struct bench_result *results, size_t count);

/* A picture as SVG: a bar for each figure that has a floor, beside the floor. */
void bench_print_svg(FILE *out, const struct bench_result *results, size_t count,
                     const char *command);

/*
 * Comparing. A report is what bench_print_json writes, from a file or from results.
 * bench_report_read fails with MF_E_ARGUMENT for a file that is something else, and
 * MF_E_SYSTEM for one that cannot be read.
 */
#define BENCH_REPORT_BYTES_MAX (4u << 20)
int bench_report_read(const char *path, json_t **report, struct mf_error *err);

/*
 * Prints both side by side, with what differs between their machines, backends and
 * versions as warnings to `warnings`. `names` (`nnames` of them) choose figures; 0: all
 * of both. The labels say where the two came from.
 */
struct bench_comparison {
    const json_t *old_report, *new_report;
    const char *old_label, *new_label;
    const char *const *names;
    size_t nnames;
};
void bench_print_comparison(FILE *out, FILE *warnings, const struct bench_comparison *comparison);
int bench_print_comparison_json(FILE *out, FILE *warnings,
                                const struct bench_comparison *comparison, struct mf_error *err);

/* One line of a profile. */
struct bench_count {
    char name[48];
    double value;   /* per operation; negative: not known */
    bool detail;    /* a part of the count before */
    char note[160]; /* what counted it; why it is not known */
};

#define BENCH_COUNTS_MAX 128
struct bench_profile {
    const struct bench_figure *figure;
    enum mf_backend backend;
    unsigned operations; /* that were counted, of each kind of counter */
    struct bench_count counts[BENCH_COUNTS_MAX];
    size_t ncounts;
};

/*
 * Counts what the product side of a figure does. What this host does not let one count
 * is in the profile with the reason. Errors: as bench_run; MF_E_ARGUMENT for a figure
 * that is no operation; MF_E_BACKEND for one that this host cannot show.
 */
int bench_profile_run(const struct bench *bench, const struct bench_figure *figure,
                      struct bench_profile *profile, struct mf_error *err);
void bench_print_profile(FILE *out, const struct bench_profile *profile);
int bench_print_profile_json(FILE *out, const struct bench_profile *profile, struct mf_error *err);

#endif
