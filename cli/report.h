/* What the commands tell: errors, faults, times, counters, in words and as JSON. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "cli.h"

#include <jansson.h>

/* How long the phases took, in ns. */
struct report_times {
    uint64_t open, create, init, run;
};

/* CLOCK_MONOTONIC in ns. */
uint64_t report_now(void);

/* The exit status that belongs to MF_OK or an MF_E_* code. */
int report_status(int code);

/*
 * Reports the failure of a sandbox (with its fault, if it has one; `sandbox` may
 * be NULL) and returns its exit status. With options->json as a JSON object on
 * standard output, else on standard error.
 */
int report_failure(const char *command, const struct cli_options *options,
                   const struct mf_sandbox *sandbox, const struct mf_error *err);

/*
 * Prints what --verbose promises about a sandbox that has run: backend and
 * reason, times, counters, denied system calls. `phase` names times->run.
 */
void report_verbose(const struct mf_sandbox *sandbox, const struct report_times *times,
                    const char *phase);

/* Prints the line of --time. */
void report_time_line(const struct report_times *times, const char *phase);

/* The same as JSON objects. `phase` is the key of times->run, like "call". */
json_t *report_times_json(const struct report_times *times, const char *phase);
json_t *report_stats_json(const struct mf_sandbox *sandbox);

/* What the member "error" of JSON output says. */
json_t *report_error_json(const struct mf_error *err);

/* A JSON string of text that may be no UTF-8 (names in files, messages). */
json_t *report_text_json(const char *text);

/* Prints `object`, gives it back, and returns `status` after flushing. NULL: no memory. */
int report_print_json(json_t *object, int status);

#endif
