/*
 * `mayfly bench`: measures figures, each beside its floor. What a figure and a
 * floor are is in bench/; here is what the user chose and how it is told.
 */
#include "bench/bench.h"
#include "cli.h"
#include "text.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Where the guests are, seen from the folder of the command: built, installed. */
static const char *const guest_places[] = {"bench/guests", "../libexec/mayfly/bench"};

/* All that one run of the command needs. */
struct session {
    struct cli_options options;
    struct bench bench;
    char command[PATH_MAX]; /* path of this program */
    char guests[PATH_MAX + 32];
    const struct bench_figure **chosen;
    struct bench_result *results;
    size_t nchosen, nresults;
    struct mf_error err; /* of the last figure that failed */
};

static int print_list_json(void)
{
    size_t count, i;
    const struct bench_figure *figures = bench_figures(&count);
    json_t *array = json_array();

    for (i = 0; i < count; i++) {
        const struct bench_figure *figure = &figures[i];
        json_t *target = figure->target > 0 ? json_real(figure->target) : json_null();

        json_array_append_new(array,
                              json_pack("{s:s, s:s, s:o, s:s}", "name", figure->name, "unit",
                                        figure->unit, "target", target, "what", figure->what));
    }
    json_dumpf(array, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(array);
    return cli_finish(CLI_OK);
}

static int print_list(void)
{
    size_t count, i;
    const struct bench_figure *figures = bench_figures(&count);

    for (i = 0; i < count; i++) {
        char target[16] = "-";

        if (figures[i].target > 0)
            snprintf(target, sizeof target, "%.2f", figures[i].target);
        printf("%-15s %-4s %5s  %s\n", figures[i].name, figures[i].unit, target, figures[i].what);
    }
    return cli_finish(CLI_OK);
}

static int refuse_name(const struct session *session, const char *name)
{
    size_t count, i;
    const struct bench_figure *figures = bench_figures(&count);

    for (i = 0; i < count; i++) {
        if (text_is_near(name, figures[i].name))
            return cli_usage_error("bench", session->options.json,
                                   "there is no figure '%s'; did you mean '%s'?", name,
                                   figures[i].name);
    }
    return cli_usage_error("bench", session->options.json,
                           "there is no figure '%s'; --list names them", name);
}

static int no_memory(const struct session *session)
{
    struct mf_error err;

    mf_fail(&err, MF_E_NO_MEMORY, "out of memory");
    return cli_library_error("bench", session->options.json, &err);
}

/* Fills `chosen` with the figures that the operands name, or with all. */
static int choose_figures(struct session *session)
{
    const struct cli_options *options = &session->options;
    size_t count, wanted = (size_t)options->noperands, i, k;
    const struct bench_figure *figures = bench_figures(&count);

    session->nchosen = wanted > 0 ? wanted : count;
    session->chosen = calloc(session->nchosen, sizeof *session->chosen);
    session->results = calloc(session->nchosen, sizeof *session->results);
    if (session->chosen == NULL || session->results == NULL)
        return no_memory(session);
    for (i = 0; i < session->nchosen; i++) {
        for (k = 0; k < count && session->chosen[i] == NULL; k++) {
            if (wanted == 0 ? i == k : strcmp(options->operands[i], figures[k].name) == 0)
                session->chosen[i] = &figures[k];
        }
        if (session->chosen[i] == NULL)
            return refuse_name(session, options->operands[i]);
    }
    return CLI_GO_ON;
}

/* Decides for one backend: figures of different ones are not to be mixed. */
static int choose_backend(struct session *session)
{
    enum mf_backend wanted = session->options.backend;
    struct mf_backend_info info;
    struct mf_error err;
    int status;

    session->bench.backend = wanted != MF_BACKEND_AUTO ? wanted : MF_BACKEND_KVM;
    status = mf_backend_probe(session->bench.backend, &info, &err);
    if (status == MF_OK && !info.usable && wanted == MF_BACKEND_AUTO) {
        session->bench.backend = MF_BACKEND_SOFT;
        status = mf_backend_probe(session->bench.backend, &info, &err);
    }
    if (status == MF_OK && !info.usable)
        status =
            mf_fail(&err, MF_E_BACKEND, "the backend %s is not usable: %s", info.name, info.reason);
    return status == MF_OK ? CLI_GO_ON : cli_library_error("bench", session->options.json, &err);
}

/*
 * The folder with the guests that belongs to this command: the first place that
 * is there, or the first of all, so that the message says where one was expected.
 */
static void find_guests(struct session *session, int folder_len)
{
    size_t i;

    for (i = 0; i < LEN(guest_places); i++) {
        snprintf(session->guests, sizeof session->guests, "%.*s/%s", folder_len, session->command,
                 guest_places[i]);
        if (access(session->guests, X_OK) == 0)
            return;
    }
    snprintf(session->guests, sizeof session->guests, "%.*s/%s", folder_len, session->command,
             guest_places[0]);
}

static int find_paths(struct session *session)
{
    ssize_t len = readlink("/proc/self/exe", session->command, sizeof session->command - 1);
    struct mf_error err;

    if (len < 0) {
        mf_fail(&err, MF_E_SYSTEM, "cannot read /proc/self/exe, to find the guests beside it");
        return cli_library_error("bench", session->options.json, &err);
    }
    session->command[len] = '\0';
    find_guests(session, (int)(strrchr(session->command, '/') - session->command));
    session->bench.command = session->command;
    session->bench.guests =
        session->options.guests != NULL ? session->options.guests : session->guests;
    return CLI_GO_ON;
}

static void show_progress(void *context, const char *figure, unsigned round, unsigned rounds)
{
    (void)context;
    fprintf(stderr, "\r\033[K%s: round %u of %u", figure, round, rounds);
    fflush(stderr);
}

/* Measures what was chosen. A figure that fails is told and left out. */
static int measure(struct session *session)
{
    bool terminal = isatty(STDERR_FILENO) == 1;
    int status = CLI_OK;
    size_t i;

    session->bench.progress = terminal ? show_progress : NULL;
    for (i = 0; i < session->nchosen; i++) {
        struct bench_result *result = &session->results[session->nresults];
        int code = bench_run(&session->bench, session->chosen[i], result, &session->err);

        if (terminal)
            fputs("\r\033[K", stderr);
        if (code == MF_OK) {
            session->nresults++;
            continue;
        }
        status = CLI_HOST_ERROR;
        fprintf(stderr, "mayfly bench: %s: ", session->chosen[i]->name);
        text_print_line_safe(stderr, session->err.message);
        fputc('\n', stderr);
    }
    return status;
}

static void warn_of_noise(const struct session *session)
{
    size_t i;

    for (i = 0; i < session->nresults; i++) {
        const struct bench_result *result = &session->results[i];

        if (bench_is_noisy(result))
            fprintf(stderr,
                    "mayfly bench: %s: the floor alone varied from %.1f to %.1f %s: this machine "
                    "is too busy for the ratio to mean much\n",
                    result->figure->name, result->floor.p10, result->floor.p90,
                    result->figure->unit);
    }
}

static int report(struct session *session, int status)
{
    struct mf_error err;

    if (session->options.json && session->nresults == 0)
        return cli_library_error("bench", true, &session->err);
    if (session->options.json) {
        if (bench_print_json(stdout, session->results, session->nresults, &err) != MF_OK)
            return cli_library_error("bench", true, &err);
    } else if (session->nresults > 0) {
        bench_print_table(stdout, session->results, session->nresults);
    }
    warn_of_noise(session);
    return cli_finish(status);
}

static int run_session(struct session *session)
{
    int status = choose_figures(session);

    if (status != CLI_GO_ON)
        return status;
    if (session->options.rounds > BENCH_ROUNDS_MAX)
        return cli_usage_error("bench", session->options.json, "--rounds: at most %d",
                               BENCH_ROUNDS_MAX);
    if (session->options.list)
        return session->options.json ? print_list_json() : print_list();
    session->bench.rounds = (unsigned)session->options.rounds;
    status = choose_backend(session);
    if (status == CLI_GO_ON)
        status = find_paths(session);
    if (status != CLI_GO_ON)
        return status;
    return report(session, measure(session));
}

int cmd_bench(int argc, char **argv)
{
    struct session session;
    int status;

    memset(&session, 0, sizeof session);
    status = cli_options_parse(argc, argv, &session.options);
    if (status == CLI_GO_ON)
        status = run_session(&session);
    free(session.chosen);
    free(session.results);
    cli_options_fini(&session.options);
    return status;
}
