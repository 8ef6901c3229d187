/* `mayfly bench`: one run of the command, and how its results are told. */
#ifndef CLI_BENCH_OUTPUT_H
#define CLI_BENCH_OUTPUT_H

#include "bench/bench.h"
#include "cli.h"

#include <limits.h>

/* All that one run of the command needs. */
struct bench_session {
    struct cli_options options;
    struct bench bench;
    char line[512];         /* the command line, for reports */
    char command[PATH_MAX]; /* path of this program */
    char guests[PATH_MAX + 32];
    const struct bench_figure **chosen;
    struct bench_result *results;
    size_t nchosen, nresults;
    const struct bench_figure *profiled; /* --profile, or NULL */
    const char *second_file;             /* compared with --compare's, or NULL */
    json_t *old_report, *new_report;     /* --compare; NULL until they are read */
    struct mf_error err;                 /* of the last figure that failed */
};

/*
 * Reads the files of --compare and makes sure that the one of --svg can be written.
 * Returns CLI_GO_ON or an exit status.
 */
int bench_output_prepare(struct bench_session *session);

/* Tell what was measured, counted or read; return the exit status. */
int bench_output_report(struct bench_session *session, int status);
int bench_output_profile(struct bench_session *session);
int bench_output_compare(struct bench_session *session);

#endif
