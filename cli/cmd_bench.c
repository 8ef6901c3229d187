/*
 * `mayfly bench`: measures figures, each beside its floor. What a figure and a
 * floor are is in bench/; here is what the user chose. How the results are told
 * is in bench_output.c.
 */
#include "bench_output.h"
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
        printf("%-17s %-4s %5s  %s\n", figures[i].name, figures[i].unit, target, figures[i].what);
    }
    return cli_finish(CLI_OK);
}

static int refuse_name(const struct bench_session *session, const char *name)
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

static int no_memory(const struct bench_session *session)
{
    struct mf_error err;

    mf_fail(&err, MF_E_NO_MEMORY, "out of memory");
    return cli_library_error("bench", session->options.json, &err);
}

/* The figure of --profile. */
static int choose_profile(struct bench_session *session)
{
    session->profiled = bench_find_figure(session->options.profile);
    return session->profiled != NULL ? CLI_GO_ON : refuse_name(session, session->options.profile);
}

/* Fills `chosen` with the figures that the operands name, or with all. */
static int choose_figures(struct bench_session *session)
{
    const struct cli_options *options = &session->options;
    size_t count, wanted = (size_t)options->noperands, i;
    const struct bench_figure *figures = bench_figures(&count);

    if (options->profile != NULL)
        return choose_profile(session);
    session->nchosen = wanted > 0 ? wanted : count;
    session->chosen = calloc(session->nchosen, sizeof *session->chosen);
    session->results = calloc(session->nchosen, sizeof *session->results);
    if (session->chosen == NULL || session->results == NULL)
        return no_memory(session);
    for (i = 0; i < session->nchosen; i++) {
        session->chosen[i] = wanted == 0 ? &figures[i] : bench_find_figure(options->operands[i]);
        if (session->chosen[i] == NULL)
            return refuse_name(session, options->operands[i]);
    }
    return CLI_GO_ON;
}

/* Decides for one backend: figures of different ones are not to be mixed. */
static int choose_backend(struct bench_session *session)
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
static void find_guests(struct bench_session *session, int folder_len)
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

static int find_paths(struct bench_session *session)
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
static int measure(struct bench_session *session)
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

/* The first two options that cannot be given together. */
static int check_combination(const struct cli_options *options)
{
    const struct {
        bool given[2];
        const char *text;
    } refused[] = {
        {{options->json, options->markdown}, "--json and --markdown are two forms of one report"},
        {{options->list, options->compare != NULL || options->profile != NULL ||
                             options->svg != NULL || options->markdown},
         "--list measures nothing: it goes with --json alone"},
        {{options->profile != NULL,
          options->compare != NULL || options->svg != NULL || options->markdown},
         "--profile counts and takes no times: it goes with --json, --rounds and --backend"},
        {{options->profile != NULL, options->noperands > 0},
         "--profile takes one figure, and no further ones"},
        {{options->compare != NULL, options->markdown},
         "--compare prints a table of its own: it does not go with --markdown"},
    };
    size_t i;

    for (i = 0; i < LEN(refused); i++) {
        if (refused[i].given[0] && refused[i].given[1])
            return cli_usage_error("bench", options->json, "%s", refused[i].text);
    }
    if (options->rounds > BENCH_ROUNDS_MAX)
        return cli_usage_error("bench", options->json, "--rounds: at most %d", BENCH_ROUNDS_MAX);
    return CLI_GO_ON;
}

/* With --compare, takes the operand that is a second file out of the others. */
static int find_second_file(struct bench_session *session)
{
    struct cli_options *options = &session->options;
    int i, kept = 0;

    for (i = 0; i < options->noperands && options->compare != NULL; i++) {
        char *operand = options->operands[i];

        if (strpbrk(operand, "./") == NULL)
            options->operands[kept++] = operand;
        else if (session->second_file == NULL)
            session->second_file = operand;
        else
            return cli_usage_error("bench", options->json,
                                   "--compare compares two reports, and '%s' is a third", operand);
    }
    if (session->second_file == NULL)
        return CLI_GO_ON;
    options->noperands = kept;
    if (options->svg != NULL || options->rounds != 0 || options->backend != MF_BACKEND_AUTO)
        return cli_usage_error("bench", options->json,
                               "two files are compared without measuring: --svg, --rounds and "
                               "--backend do not go with that");
    return CLI_GO_ON;
}

static int run_session(struct bench_session *session)
{
    int status = check_combination(&session->options);

    if (status == CLI_GO_ON)
        status = find_second_file(session);
    if (status == CLI_GO_ON)
        status = choose_figures(session);
    if (status != CLI_GO_ON)
        return status;
    if (session->options.list)
        return session->options.json ? print_list_json() : print_list();
    session->bench.rounds = (unsigned)session->options.rounds;
    /* Before anything is measured: a report that cannot be written wastes minutes. */
    status = bench_output_prepare(session);
    if (status != CLI_GO_ON || session->second_file != NULL)
        return status != CLI_GO_ON ? status : bench_output_compare(session);
    status = choose_backend(session);
    if (status == CLI_GO_ON)
        status = find_paths(session);
    if (status != CLI_GO_ON)
        return status;
    if (session->profiled != NULL)
        return bench_output_profile(session);
    return bench_output_report(session, measure(session));
}

/* The command as it was given: a report says how it was made. */
static void note_command_line(struct bench_session *session, int argc, char **argv)
{
    size_t len = 0;
    int i;

    for (i = 0; i < argc && len < sizeof session->line; i++)
        len += (size_t)snprintf(session->line + len, sizeof session->line - len, "%s%s",
                                i == 0 ? "mayfly " : " ", argv[i]);
}

int cmd_bench(int argc, char **argv)
{
    struct bench_session session;
    int status;

    memset(&session, 0, sizeof session);
    note_command_line(&session, argc, argv);
    status = cli_options_parse(argc, argv, &session.options);
    if (status == CLI_GO_ON)
        status = run_session(&session);
    free(session.chosen);
    free(session.results);
    json_decref(session.old_report);
    json_decref(session.new_report);
    cli_options_fini(&session.options);
    return status;
}
