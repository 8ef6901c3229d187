/*
 * mayfly snapshot: commands over snapshot files, found in one table like those of main.c.
 * `create` is in snapshot_create.c, `inspect` in snapshot_show.c, `diff` in snapshot_diff.c,
 * `export` and `import` in snapshot_oci.c; `take` and `verify` are here.
 */
#include "cmd_control.h"
#include "control_client.h"
#include "names.h"
#include "snapfile.h"
#include "snapshot.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

/* One of them: an entry of the table of options and help, and its function. */
struct snapshot_command {
    struct cli_command command;
    const char *word; /* what follows "mayfly snapshot" */
    int (*run)(const char *name, struct cli_options *options);
};

static const struct snapshot_command commands[] = {
    {
        .word = "create",
        .run = snapshot_create,
        .command =
            {
                .name = "snapshot create",
                .synopsis = "[OPTION...] -o FILE IMAGE | --run PROGRAM [ARG...] --after TIME",
                .summary = "Start a guest, freeze it, and write it to a file.",
                .details =
                    "IMAGE is started until it waits for calls; then each --call is made (its\n"
                    "words are quoted as in a shell, its arguments read as by 'mayfly call'),\n"
                    "and the guest is frozen. With --after the last call is stopped in its\n"
                    "middle; with --run a program is. Arguments of the program that look like\n"
                    "options come after --. IMAGE may be a snapshot.\n"
                    "FILE is replaced when it is a snapshot, in one step; nothing else is.\n",
                .options = CLI_OPT_OUTPUT | CLI_OPT_CALL | CLI_OPT_RUN | CLI_OPT_AFTER |
                           CLI_OPT_PARENT | CLI_OPT_COMPRESS | CLI_OPT_STORE | CLI_OPT_BACKEND |
                           CLI_OPT_MEMORY | CLI_OPT_STACK | CLI_OPT_MAILBOX | CLI_OPT_TIMEOUT |
                           CLI_OPT_CPU_TIME | CLI_OPT_MAX_OUTPUT | CLI_OPT_ENV | CLI_OPT_TIME |
                           CLI_OPT_JSON | CLI_OPT_VERBOSE | CLI_OPT_HELP,
            },
    },
    {
        .word = "take",
        .run = snapshot_take,
        .command =
            {
                .name = "snapshot take",
                .synopsis = "[OPTION...] NAME FILE",
                .summary = "Write the state of a running sandbox to a file; it goes on.",
                .details =
                    "NAME was given by --name; 'mayfly ps' shows what is running. It stands still\n"
                    "while its memory is copied, and not while the file is written.\n"
                    "'mayfly snapshot NAME FILE' is the same when NAME is no command here.\n"
                    "FILE is replaced when it is a snapshot, in one step; nothing else is.\n",
                .options = CLI_OPT_COMPRESS | CLI_OPT_JSON | CLI_OPT_HELP,
            },
    },
    {
        .word = "inspect",
        .run = snapshot_inspect,
        .command =
            {
                .name = "snapshot inspect",
                .synopsis = "[OPTION...] FILE",
                .summary = "Show what a snapshot holds.",
                .details = "",
                .options = CLI_OPT_STORE | CLI_OPT_JSON | CLI_OPT_HELP,
            },
    },
    {
        .word = "verify",
        .run = snapshot_verify,
        .command =
            {
                .name = "snapshot verify",
                .synopsis = "[OPTION...] FILE...",
                .summary = "Check all bytes of snapshots, and of their parents.",
                .details = "A file called by its digest, as in a store, must have that digest.\n"
                           "The exit status is 0 when all files are good, else 1.\n",
                .options = CLI_OPT_STORE | CLI_OPT_JSON | CLI_OPT_HELP,
            },
    },
    {
        .word = "diff",
        .run = snapshot_diff,
        .command =
            {
                .name = "snapshot diff",
                .synopsis = "[OPTION...] FILE FILE",
                .summary = "Show which pages of memory differ between two snapshots.",
                .details = "The exit status is 0 when none does, 1 when some do.\n",
                .options = CLI_OPT_STORE | CLI_OPT_JSON | CLI_OPT_HELP,
            },
    },
    {
        .word = "export",
        .run = snapshot_export,
        .command =
            {
                .name = "snapshot export",
                .synopsis = "[OPTION...] FILE DIR",
                .summary = "Put a snapshot, with its parents, into an OCI image layout.",
                .details = "DIR is made if need be. Tools like skopeo copy it to a registry.\n",
                .options = CLI_OPT_TAG | CLI_OPT_STORE | CLI_OPT_JSON | CLI_OPT_HELP,
            },
    },
    {
        .word = "import",
        .run = snapshot_import,
        .command =
            {
                .name = "snapshot import",
                .synopsis = "[OPTION...] DIR -o FILE | DIR --store DIR",
                .summary = "Take a snapshot out of an OCI image layout.",
                .details = "All of it is checked. Its parents go where it goes, called by their\n"
                           "digests; with --store it is called so too, and its path is printed.\n",
                .options = CLI_OPT_OUTPUT | CLI_OPT_TAG | CLI_OPT_STORE | CLI_OPT_JSON |
                           CLI_OPT_HELP,
            },
    },
};

#define NCOMMANDS (sizeof commands / sizeof commands[0])

int snapshot_inspect(const char *name, struct cli_options *options)
{
    if (options->noperands != 1)
        return cli_usage_error(name, options->json,
                               options->noperands == 0 ? "which file?" : "one file at a time");
    const char *path = options->operands[0];
    struct mf_error err;
    if (!snapfile_recognise(path) && snapfile_is_program(path)) {
        mf_fail(&err, MF_E_SNAPSHOT, "%.120s is a program and no snapshot; use 'mayfly inspect'",
                path);
        return cli_library_error(name, options->json, &err);
    }
    return snapshot_show(name, path, options);
}

/* ---- take ---- */

int snapshot_take(const char *name, struct cli_options *options)
{
    if (options->noperands != 2)
        return cli_usage_error(name, options->json,
                               options->noperands == 0   ? "which sandbox?"
                               : options->noperands == 1 ? "to which file?"
                                                         : "one sandbox, and one file");
    return control_snapshot_name(name, options->operands[0], options->operands[1], options);
}

/* ---- verify ---- */

static int verify_file(const char *path, const struct cli_options *options,
                       char digest[SNAPFILE_DIGEST_TEXT], struct mf_error *err)
{
    struct mf_snapshot_open_options open_options = {
        .size = sizeof open_options,
        .store = options->store,
    };
    uint8_t bytes[MF_DIGEST_BYTES];

    digest[0] = 0;
    int status = mf_snapshot_verify(path, &open_options, bytes, err);
    if (status == MF_OK)
        snapfile_format_digest(bytes, digest);
    return status;
}

static json_t *verified_json(const char *path, const char *digest, const struct mf_error *err,
                             bool good)
{
    json_t *object = json_pack("{s:o, s:b, s:o}", "file", report_text_json(path), "good", good,
                               "digest", digest[0] != 0 ? json_string(digest) : json_null());

    if (!good && object != NULL)
        json_object_set_new(object, "error", report_error_json(err));
    return object;
}

int snapshot_verify(const char *name, struct cli_options *options)
{
    int status = CLI_OK;

    if (options->noperands == 0)
        return cli_usage_error(name, options->json, "which files?");
    json_t *files = options->json ? json_array() : NULL;
    for (int i = 0; i < options->noperands; i++) {
        const char *path = options->operands[i];
        struct mf_error err = {0};
        char digest[SNAPFILE_DIGEST_TEXT];
        bool good = verify_file(path, options, digest, &err) == MF_OK;
        if (!good)
            status = CLI_FAILED;
        if (options->json) {
            json_array_append_new(files, verified_json(path, digest, &err, good));
        } else if (good) {
            text_print_line_safe(stdout, path);
            printf(": good, %s\n", digest);
        } else {
            cli_finish(CLI_OK);
            cli_library_error(name, false, &err);
        }
    }
    if (!options->json)
        return cli_finish(status);
    return report_print_json(json_pack("{s:o}", "files", files), status);
}

/* ---- the table ---- */

static int unknown(const char *word)
{
    if (word[0] == '-')
        return cli_usage_error("snapshot", false, "unknown option %s", word);
    for (size_t i = 0; i < NCOMMANDS; i++) {
        if (text_is_near(word, commands[i].word))
            return cli_usage_error("snapshot", false, "there is no '%s'; did you mean '%s'?", word,
                                   commands[i].word);
    }
    return cli_usage_error("snapshot", false,
                           "there is no command '%s', and no sandbox called so is running", word);
}

static const struct snapshot_command *find(const char *word)
{
    for (size_t i = 0; i < NCOMMANDS; i++) {
        if (strcmp(word, commands[i].word) == 0)
            return &commands[i];
    }
    return NULL;
}

static int run(const struct snapshot_command *command, int argc, char **argv)
{
    struct cli_options options;
    int status = cli_options_parse_for(&command->command, argc, argv, &options);

    if (status == CLI_GO_ON)
        status = command->run(command->command.name, &options);
    cli_options_fini(&options);
    return status;
}

int cmd_snapshot(int argc, char **argv)
{
    if (argc < 2)
        return cli_usage_error("snapshot", false,
                               "what? create, take, inspect, verify, diff, export or import");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return cli_command_help(cli_command_find("snapshot"));
    const struct snapshot_command *command = find(argv[1]);
    if (command != NULL)
        return run(command, argc - 1, argv + 1);
    /* No command: the name of a running sandbox, in the place of `take NAME`. */
    if (names_are_valid(argv[1], strlen(argv[1])) && control_client_finds(argv[1]))
        return run(find("take"), argc, argv);
    return unknown(argv[1]);
}
