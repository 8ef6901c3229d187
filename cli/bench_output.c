/*
 * How `mayfly bench` tells its results: a table, Markdown, JSON, a picture, beside an
 * earlier report; and the warning of a machine too noisy to say anything.
 */
#include "bench_output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Names of noisy figures in the warning; further ones are counted. */
#define NOISY_NAMES_MAX 4

static int fail(const struct bench_session *session, const struct mf_error *err)
{
    return cli_library_error("bench", session->options.json, err);
}

/* A file of the user's that is something else is wrong usage, as a wrong name is. */
static int read_report(const struct bench_session *session, const char *path, json_t **report)
{
    struct mf_error err;
    int status = bench_report_read(path, report, &err);

    if (status == MF_OK)
        return CLI_GO_ON;
    if (status == MF_E_ARGUMENT)
        return cli_usage_error("bench", session->options.json, "--compare: %s", err.message);
    return fail(session, &err);
}

/* Makes a file beside `path` that is to become it; `name` gets its name. -1 with *err. */
static int create_beside(const char *path, char *name, size_t size, struct mf_error *err)
{
    struct stat info;
    int fd, len = snprintf(name, size, "%s.XXXXXX", path);

    if (len < 0 || (size_t)len >= size) {
        mf_fail(err, MF_E_ARGUMENT, "--svg: the path is too long");
        return -1;
    }
    /* A rename would replace a device or a pipe instead of writing to it. */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        mf_fail(err, MF_E_ARGUMENT, "--svg: %s is no regular file", path);
        return -1;
    }
    fd = mkstemp(name);
    if (fd < 0)
        mf_fail(err, MF_E_SYSTEM, "--svg: cannot write %s: %s", path, strerror(errno));
    return fd;
}

static int check_svg(const struct bench_session *session)
{
    struct mf_error err = {.code = MF_OK};
    char name[PATH_MAX];
    int fd = create_beside(session->options.svg, name, sizeof name, &err);

    if (fd < 0)
        return fail(session, &err);
    close(fd);
    unlink(name);
    return CLI_GO_ON;
}

int bench_output_prepare(struct bench_session *session)
{
    int status = CLI_GO_ON;

    if (session->options.compare != NULL)
        status = read_report(session, session->options.compare, &session->old_report);
    if (status == CLI_GO_ON && session->second_file != NULL)
        status = read_report(session, session->second_file, &session->new_report);
    if (status == CLI_GO_ON && session->options.svg != NULL)
        status = check_svg(session);
    return status;
}

/* Writes the picture beside its place and moves it there, so that no half of one is seen. */
static int write_svg(const struct bench_session *session, struct mf_error *err)
{
    const char *path = session->options.svg;
    char name[PATH_MAX];
    int fd = create_beside(path, name, sizeof name, err);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    mode_t mask = umask(0);
    bool good;

    umask(mask);
    if (file == NULL) {
        if (fd < 0)
            return err->code;
        close(fd);
        unlink(name);
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    }
    bench_print_svg(file, session->results, session->nresults, session->line);
    /* mkstemp makes files that nobody else may read. */
    good = fchmod(fd, 0666 & ~mask) == 0 && fflush(file) == 0 && ferror(file) == 0;
    good = fclose(file) == 0 && good;
    if (good && rename(name, path) == 0)
        return MF_OK;
    mf_fail(err, MF_E_SYSTEM, "--svg: cannot write %s: %s", path, strerror(errno));
    unlink(name);
    return MF_E_SYSTEM;
}

/* One line for all figures that say little, with the first one's reason. */
static void warn_of_noise(const struct bench_session *session)
{
    char why[BENCH_WHY_BYTES], first[BENCH_WHY_BYTES], governor[32];
    size_t noisy = 0, i;

    for (i = 0; i < session->nresults; i++) {
        const char *name = session->results[i].figure->name;

        if (!bench_is_noisy(&session->results[i], why))
            continue;
        if (noisy == 0) {
            memcpy(first, why, sizeof first);
            fprintf(stderr, "mayfly bench: too noisy to say much: %s", name);
        } else if (noisy < NOISY_NAMES_MAX) {
            fprintf(stderr, ", %s", name);
        }
        noisy++;
    }
    if (noisy == 0)
        return;
    if (noisy > NOISY_NAMES_MAX)
        fprintf(stderr, " and %zu more", noisy - NOISY_NAMES_MAX);
    fprintf(stderr, " (%s)", first);
    if (bench_slow_governor(governor, sizeof governor) != NULL)
        fprintf(stderr, "; the CPU frequency governor is \"%s\" instead of \"performance\"",
                governor);
    fputs("; try again on a quiet machine, or with more --rounds\n", stderr);
}

int bench_output_compare(struct bench_session *session)
{
    struct bench_comparison comparison = {
        .old_report = session->old_report,
        .new_report = session->new_report,
        .old_label = session->options.compare,
        .new_label = session->second_file != NULL ? session->second_file : "this run",
        .names = (const char *const *)session->options.operands,
        .nnames = (size_t)session->options.noperands,
    };
    struct mf_error err;

    if (!session->options.json)
        bench_print_comparison(stdout, stderr, &comparison);
    else if (bench_print_comparison_json(stdout, stderr, &comparison, &err) != MF_OK)
        return fail(session, &err);
    return cli_finish(CLI_OK);
}

/* The table in the form that was asked for. */
static int print_results(struct bench_session *session, struct mf_error *err)
{
    if (session->options.json)
        return bench_print_json(stdout, session->results, session->nresults, err);
    if (session->options.markdown)
        bench_print_markdown(stdout, session->results, session->nresults, session->line);
    else
        bench_print_table(stdout, session->results, session->nresults);
    return MF_OK;
}

int bench_output_report(struct bench_session *session, int status)
{
    struct mf_error err;
    int code;

    if (session->nresults == 0)
        return session->options.json ? fail(session, &session->err) : cli_finish(status);
    if (session->options.compare != NULL) {
        session->new_report = bench_results_json(session->results, session->nresults);
        code = session->new_report != NULL ? MF_OK : mf_fail(&err, MF_E_NO_MEMORY, "out of memory");
        if (code == MF_OK && bench_output_compare(session) != CLI_OK)
            return CLI_HOST_ERROR;
    } else {
        code = print_results(session, &err);
    }
    if (code == MF_OK && session->options.svg != NULL)
        code = write_svg(session, &err);
    if (code != MF_OK)
        return fail(session, &err);
    warn_of_noise(session);
    return cli_finish(status);
}

int bench_output_profile(struct bench_session *session)
{
    struct bench_profile *profile = malloc(sizeof *profile);
    struct mf_error err;
    int code;

    if (profile == NULL)
        code = mf_fail(&err, MF_E_NO_MEMORY, "out of memory");
    else
        code = bench_profile_run(&session->bench, session->profiled, profile, &err);
    if (code == MF_OK && session->options.json)
        code = bench_print_profile_json(stdout, profile, &err);
    else if (code == MF_OK)
        bench_print_profile(stdout, profile);
    free(profile);
    if (code == MF_E_ARGUMENT)
        return cli_usage_error("bench", session->options.json, "--profile: %s", err.message);
    return code == MF_OK ? cli_finish(CLI_OK) : fail(session, &err);
}
