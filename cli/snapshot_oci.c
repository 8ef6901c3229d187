/*
 * mayfly snapshot export and import: between snapshot files and OCI image layouts (oci.c).
 */
#include "oci.h"
#include "snapfile.h"
#include "snapshot.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int snapshot_export(const char *name, struct cli_options *options)
{
    const char *tag = options->tag != NULL ? options->tag : OCI_TAG_DEFAULT;
    struct mf_error err = {0};

    if (options->noperands != 2)
        return cli_usage_error(name, options->json,
                               options->noperands == 0   ? "which file, and to which directory?"
                               : options->noperands == 1 ? "to which directory?"
                                                         : "one file, and one directory");
    if (oci_export(options->operands[0], options->store, options->operands[1], tag, &err) != MF_OK)
        return cli_library_error(name, options->json, &err);
    if (!options->json)
        return cli_finish(CLI_OK);
    return report_print_json(json_pack("{s:o, s:o, s:o}", "file",
                                       report_text_json(options->operands[0]), "directory",
                                       report_text_json(options->operands[1]), "tag",
                                       report_text_json(tag)),
                             CLI_OK);
}

/* The folder that `path` is in. */
static int folder_of(const char *path, char folder[PATH_MAX], struct mf_error *err)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);

    if (len >= PATH_MAX)
        return mf_fail(err, MF_E_ARGUMENT, "%.60s...: the path is too long", path);
    memcpy(folder, slash != NULL ? path : ".", len != 0 ? len : 1);
    folder[len != 0 ? len : 1] = 0;
    return MF_OK;
}

/* An import that shall end as a file: it comes into a folder of its own beside it first. */
struct arrival {
    const char *output;
    char folder[PATH_MAX]; /* of the output */
    char temp[PATH_MAX];   /* "": none */
    uint8_t digest[MF_DIGEST_BYTES];
    int failed; /* errno */
};

/* A parent goes where the readers of the file look for it. */
static void move_parent(void *context, const uint8_t digest[MF_DIGEST_BYTES], uint64_t bytes)
{
    struct arrival *arrival = context;
    char from[PATH_MAX], to[PATH_MAX];

    (void)bytes;
    if (memcmp(digest, arrival->digest, MF_DIGEST_BYTES) == 0)
        return;
    mf_snapshot_store_path(arrival->temp, digest, from, sizeof from);
    mf_snapshot_store_path(arrival->folder, digest, to, sizeof to);
    if (rename(from, to) != 0 && arrival->failed == 0)
        arrival->failed = errno;
}

static void remove_file(void *context, const uint8_t digest[MF_DIGEST_BYTES], uint64_t bytes)
{
    const struct arrival *arrival = context;
    char path[PATH_MAX];

    (void)bytes;
    mf_snapshot_store_path(arrival->temp, digest, path, sizeof path);
    unlink(path);
}

/* Gives all files their places, the one that was asked for last. An errno or 0. */
static int move_files(struct arrival *arrival)
{
    char from[PATH_MAX];

    mf_snapshot_store_list(arrival->temp, move_parent, arrival, NULL);
    mf_snapshot_store_path(arrival->temp, arrival->digest, from, sizeof from);
    if (arrival->failed == 0 && rename(from, arrival->output) != 0)
        arrival->failed = errno;
    int fd = open(arrival->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        if (fsync(fd) != 0 && arrival->failed == 0)
            arrival->failed = errno;
        close(fd);
    }
    return arrival->failed;
}

static int begin_arrival(struct arrival *arrival, const char *output, struct mf_error *err)
{
    *arrival = (struct arrival){.output = output};
    int status = snapfile_check_output(output, err);
    if (status == MF_OK)
        status = folder_of(output, arrival->folder, err);
    if (status != MF_OK)
        return status;
    /* Room for "/", a digest and its suffix behind it. */
    if (strlen(output) > PATH_MAX - 100)
        return mf_fail(err, MF_E_ARGUMENT, "%.60s...: the path is too long", output);
    snprintf(arrival->temp, sizeof arrival->temp, "%s.XXXXXX", output);
    if (mkdtemp(arrival->temp) != NULL)
        return MF_OK;
    arrival->temp[0] = 0;
    return mf_fail(err, MF_E_SYSTEM, "%.150s: cannot be written: %s", output, strerror(errno));
}

static void end_arrival(struct arrival *arrival)
{
    if (arrival->temp[0] == 0)
        return;
    mf_snapshot_store_list(arrival->temp, remove_file, arrival, NULL);
    rmdir(arrival->temp);
}

static int import_file(const struct cli_options *options, uint8_t digest[MF_DIGEST_BYTES],
                       struct mf_error *err)
{
    struct arrival arrival;
    int status = begin_arrival(&arrival, options->output, err);

    if (status == MF_OK)
        status = oci_import(options->operands[0], options->tag, arrival.temp, arrival.digest, err);
    if (status == MF_OK && move_files(&arrival) != 0)
        status = mf_fail(err, MF_E_SYSTEM, "%.150s: cannot be written: %s", options->output,
                         strerror(arrival.failed));
    memcpy(digest, arrival.digest, MF_DIGEST_BYTES);
    end_arrival(&arrival);
    return status;
}

int snapshot_import(const char *name, struct cli_options *options)
{
    char path[PATH_MAX], text[SNAPFILE_DIGEST_TEXT];
    uint8_t digest[MF_DIGEST_BYTES];
    struct mf_error err = {0};
    int status;

    if (options->noperands != 1)
        return cli_usage_error(name, options->json,
                               options->noperands == 0 ? "which directory?"
                                                       : "one directory at a time");
    if ((options->output == NULL) == (options->store == NULL))
        return cli_usage_error(name, options->json, "where to? -o FILE or --store DIR");
    if (options->output != NULL)
        status = import_file(options, digest, &err);
    else
        status = oci_import(options->operands[0], options->tag, options->store, digest, &err);
    if (status != MF_OK)
        return cli_library_error(name, options->json, &err);
    if (options->output == NULL)
        mf_snapshot_store_path(options->store, digest, path, sizeof path);
    else
        snprintf(path, sizeof path, "%s", options->output);
    snapfile_format_digest(digest, text);
    if (options->json)
        return report_print_json(
            json_pack("{s:o, s:s}", "file", report_text_json(path), "digest", text), CLI_OK);
    if (options->output == NULL) {
        text_print_line_safe(stdout, path);
        putchar('\n');
    }
    return cli_finish(CLI_OK);
}
