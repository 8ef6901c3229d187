/*
 * The options of all commands, parsed in one place: which exist says
 * CLI_OPTION_LIST, which of them a command takes says its table entry. The
 * same list makes the help, so the two cannot differ.
 */
#include "cli.h"
#include "text.h"
#include "units.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* What getopt_long returns for the option with this index. */
#define OPTION_VALUE(index) (256 + (int)(index))

struct option_entry {
    const char *name;
    char letter; /* 0: none */
    const char *argument;
    const char *help;
};

static const struct option_entry entries[] = {
#define OPTION_ENTRY(id, name, letter, argument, help) {name, letter, argument, help},
    CLI_OPTION_LIST(OPTION_ENTRY)
#undef OPTION_ENTRY
};

/* The tables that getopt_long wants, for one command. */
struct getopt_tables {
    struct option longs[LEN(entries) + 1];
    char shorts[2 * LEN(entries) + 3];
};

static void build_tables(const struct cli_command *command, struct getopt_tables *tables)
{
    char *s = tables->shorts;
    size_t n = 0;

    memset(tables, 0, sizeof *tables);
    if (command->stop_at_operand)
        *s++ = '+';
    if (command->keep_order)
        *s++ = '-';
    *s++ = ':';
    for (size_t i = 0; i < LEN(entries); i++) {
        if (!(command->options & UINT64_C(1) << i))
            continue;
        bool takes = entries[i].argument != NULL;
        tables->longs[n].name = entries[i].name;
        tables->longs[n].has_arg = takes ? required_argument : no_argument;
        tables->longs[n].val = OPTION_VALUE(i);
        n++;
        if (entries[i].letter != 0) {
            *s++ = entries[i].letter;
            if (takes)
                *s++ = ':';
        }
    }
}

/* The index of what getopt_long returned, or -1. A letter may mean other options elsewhere. */
static int option_index(const struct cli_command *command, int value)
{
    if (value >= OPTION_VALUE(0))
        return value - OPTION_VALUE(0);
    for (size_t i = 0; i < LEN(entries); i++) {
        if (value != 0 && entries[i].letter == value && (command->options & UINT64_C(1) << i) != 0)
            return (int)i;
    }
    return -1;
}

/* Whether --json is among the options: an error before it shall be JSON as well. */
static bool find_json(const struct cli_command *command, int argc, char **argv,
                      const struct getopt_tables *tables)
{
    int value;

    optind = 0;
    opterr = 0;
    while ((value = getopt_long(argc, argv, tables->shorts, tables->longs, NULL)) != -1) {
        if (option_index(command, value) == CLI_INDEX_JSON)
            return true;
    }
    return false;
}

/* Explains why getopt_long did not like an option. */
static int refuse_option(const struct cli_command *command, bool json, char **argv)
{
    /* getopt_long sets optopt to a letter, to a long option's value, or to 0: no such name. */
    if (optopt >= OPTION_VALUE(0))
        return cli_usage_error(command->name, json, "option --%s takes no value",
                               entries[option_index(command, optopt)].name);
    if (optopt != 0)
        return cli_usage_error(command->name, json, "unknown option -%c", optopt);

    const char *word = argv[optind - 1] + strlen("--");
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
    const char *near = NULL;
    for (size_t i = 0; i < LEN(entries); i++) {
        if (!(command->options & UINT64_C(1) << i) || !text_is_near(name, entries[i].name))
            continue;
        if (near != NULL && strncmp(name, near, strlen(name)) == 0)
            return cli_usage_error(command->name, json, "option --%s may be --%s or --%s", name,
                                   near, entries[i].name);
        near = entries[i].name;
    }
    if (near != NULL)
        return cli_usage_error(command->name, json, "unknown option --%s; did you mean --%s?", name,
                               near);
    return cli_usage_error(command->name, json, "unknown option --%s", name);
}

static int set_backend(struct cli_options *options, const char *command, const char *text)
{
    for (int i = MF_BACKEND_AUTO; mf_backend_name((enum mf_backend)i) != NULL; i++) {
        if (strcmp(text, mf_backend_name((enum mf_backend)i)) == 0) {
            options->backend = (enum mf_backend)i;
            return CLI_GO_ON;
        }
    }
    return cli_usage_error(command, options->json,
                           "--backend: there is no backend '%s'; it is auto, kvm or soft", text);
}

static int set_size(struct cli_options *options, const char *command, int index, const char *text,
                    uint64_t *bytes)
{
    const char *why;

    if (index == CLI_INDEX_MAX_OUTPUT && strcmp(text, "none") == 0) {
        *bytes = UINT64_MAX;
        return CLI_GO_ON;
    }
    if (units_parse_size(text, bytes, &why))
        return CLI_GO_ON;
    return cli_usage_error(command, options->json, "--%s: '%s' %s", entries[index].name, text, why);
}

static int set_duration(struct cli_options *options, const char *command, int index,
                        const char *text, uint64_t *ns)
{
    const char *why;

    if (strcmp(text, "none") == 0) {
        *ns = 0;
        return CLI_GO_ON;
    }
    if (units_parse_duration(text, ns, &why))
        return CLI_GO_ON;
    return cli_usage_error(command, options->json, "--%s: '%s' %s", entries[index].name, text, why);
}

static int add_env(struct cli_options *options, const char *command, const char *text)
{
    const char *equals = strchr(text, '=');

    if (equals == NULL || equals == text)
        return cli_usage_error(command, options->json, "--env: '%s' is not of the form NAME=VALUE",
                               text);
    const char **env = realloc(options->env, (options->nenv + 2) * sizeof *env);
    if (env == NULL) {
        struct mf_error err = {0};
        mf_fail(&err, MF_E_NO_MEMORY, "out of memory");
        return cli_library_error(command, options->json, &err);
    }
    options->env = env;
    env[options->nenv++] = text;
    env[options->nenv] = NULL;
    return CLI_GO_ON;
}

static int add_call(struct cli_options *options, const char *command, const char *text)
{
    const char **calls = realloc(options->calls, (options->ncalls + 1) * sizeof *calls);
    if (calls == NULL) {
        struct mf_error err = {0};
        mf_fail(&err, MF_E_NO_MEMORY, "out of memory");
        return cli_library_error(command, options->json, &err);
    }
    options->calls = calls;
    calls[options->ncalls++] = text;
    return CLI_GO_ON;
}

/* Which of two words; `first` is the default. */
static int set_choice(struct cli_options *options, const char *command, int index,
                      const char *text, const char *first, const char *second, bool *is_second)
{
    *is_second = strcmp(text, second) == 0;
    if (*is_second || strcmp(text, first) == 0)
        return CLI_GO_ON;
    return cli_usage_error(command, options->json, "--%s: '%s' is neither %s nor %s",
                           entries[index].name, text, first, second);
}

static int add_word(struct cli_options *options, const char *command, int index, const char *text)
{
    struct cli_word *words = realloc(options->words, (options->nwords + 1) * sizeof *words);
    if (words == NULL) {
        struct mf_error err = {0};
        mf_fail(&err, MF_E_NO_MEMORY, "out of memory");
        return cli_library_error(command, options->json, &err);
    }
    options->words = words;
    words[options->nwords++] = (struct cli_word){.option = index, .text = text};
    return CLI_GO_ON;
}

static int set_count(struct cli_options *options, const char *command, int index,
                     const char *text, uint64_t *count)
{
    char *end;

    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != 0 || errno != 0 || value == 0)
        return cli_usage_error(command, options->json, "--%s: '%s' is not a number above 0",
                               entries[index].name, text);
    *count = value;
    return CLI_GO_ON;
}

static int set_color(struct cli_options *options, const char *command, const char *text)
{
    if (strcmp(text, "always") == 0) {
        options->color = true;
    } else if (strcmp(text, "never") == 0) {
        options->color = false;
    } else if (strcmp(text, "auto") != 0) {
        return cli_usage_error(command, options->json, "--color: '%s' is not auto, always or never",
                               text);
    }
    return CLI_GO_ON;
}

/* Colours by default: on a terminal that can, unless NO_COLOR (no-color.org) is set. */
static bool color_by_default(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(STDOUT_FILENO) == 1 && (no_color == NULL || *no_color == 0) && term != NULL &&
           strcmp(term, "dumb") != 0;
}

/* Takes one option; CLI_GO_ON or an exit status. */
static int set_option(const struct cli_command *command, struct cli_options *options, int index,
                      const char *text)
{
    const char *name = command->name;

    switch (index) {
    case CLI_INDEX_BACKEND:
        return set_backend(options, name, text);
    case CLI_INDEX_MEMORY:
        return set_size(options, name, index, text, &options->memory_bytes);
    case CLI_INDEX_STACK:
        return set_size(options, name, index, text, &options->stack_bytes);
    case CLI_INDEX_MAILBOX:
        return set_size(options, name, index, text, &options->mailbox_bytes);
    case CLI_INDEX_TIMEOUT:
        return set_duration(options, name, index, text, &options->timeout_ns);
    case CLI_INDEX_CPU_TIME:
        return set_duration(options, name, index, text, &options->cpu_time_ns);
    case CLI_INDEX_MAX_OUTPUT:
        return set_size(options, name, index, text, &options->max_output_bytes);
    case CLI_INDEX_ENV:
        return add_env(options, name, text);
    case CLI_INDEX_ROUNDS:
        return set_count(options, name, index, text, &options->rounds);
    case CLI_INDEX_REPEAT:
        return set_count(options, name, index, text, &options->repeat);
    case CLI_INDEX_BATCH:
        options->batch = true;
        return CLI_GO_ON;
    case CLI_INDEX_ATTENTIVE:
        options->attentive = true;
        return CLI_GO_ON;
    case CLI_INDEX_OUTPUT:
        options->output = text;
        return CLI_GO_ON;
    case CLI_INDEX_CALL:
        return add_call(options, name, text);
    case CLI_INDEX_RUN:
        options->run = true;
        return CLI_GO_ON;
    case CLI_INDEX_AFTER:
        return set_duration(options, name, index, text, &options->after_ns);
    case CLI_INDEX_LISTEN:
        options->listen = text;
        return CLI_GO_ON;
    case CLI_INDEX_MAX:
        return set_count(options, name, index, text, &options->max);
    case CLI_INDEX_MEMORY_LIMIT:
        return set_size(options, name, index, text, &options->memory_limit);
    case CLI_INDEX_CERT:
        options->cert = text;
        return CLI_GO_ON;
    case CLI_INDEX_KEY:
        options->key = text;
        return CLI_GO_ON;
    case CLI_INDEX_CA:
        options->ca = text;
        return CLI_GO_ON;
    case CLI_INDEX_PSK_FILE:
        options->psk_file = text;
        return CLI_GO_ON;
    case CLI_INDEX_INSECURE:
        options->insecure = true;
        return CLI_GO_ON;
    case CLI_INDEX_DOWNTIME_LIMIT:
        return set_duration(options, name, index, text, &options->downtime_ns);
    case CLI_INDEX_POSTCOPY:
        options->postcopy = true;
        return CLI_GO_ON;
    case CLI_INDEX_FOLLOW:
        options->follow = true;
        return CLI_GO_ON;
    case CLI_INDEX_CANCEL:
        options->cancel = true;
        return CLI_GO_ON;
    case CLI_INDEX_PARENT:
        options->parent = text;
        return CLI_GO_ON;
    case CLI_INDEX_COMPRESS:
        options->compress = true;
        return CLI_GO_ON;
    case CLI_INDEX_STORE:
        options->store = text;
        return CLI_GO_ON;
    case CLI_INDEX_TAG:
        options->tag = text;
        return CLI_GO_ON;
    case CLI_INDEX_NAME:
        if (command->keep_order)
            return add_word(options, name, index, text);
        options->name = text;
        return CLI_GO_ON;
    case CLI_INDEX_VM:
    case CLI_INDEX_SNAPSHOT:
        return add_word(options, name, index, text);
    case CLI_INDEX_SCHEDULE:
        return set_choice(options, name, index, text, "parallel", "round-robin",
                          &options->round_robin);
    case CLI_INDEX_SNAPSHOT_FORMAT:
        return set_choice(options, name, index, text, "mayfly", "legacy", &options->legacy);
    case CLI_INDEX_SNAPSHOT_ANYWHERE:
        options->anywhere = true;
        return CLI_GO_ON;
    case CLI_INDEX_TRACE:
        options->trace = true;
        return CLI_GO_ON;
    case CLI_INDEX_STATS:
        options->stats = true;
        return CLI_GO_ON;
    case CLI_INDEX_STEP:
        options->step = true;
        return CLI_GO_ON;
    case CLI_INDEX_MAX_INSTRUCTIONS:
        return set_count(options, name, index, text, &options->max_instructions);
    case CLI_INDEX_ENDIAN:
        return set_choice(options, name, index, text, "little", "big", &options->big_endian);
    case CLI_INDEX_DELAYED_BRANCHES:
        options->delayed_branches = true;
        return CLI_GO_ON;
    case CLI_INDEX_LIST:
        options->list = true;
        return CLI_GO_ON;
    case CLI_INDEX_GUESTS:
        options->guests = text;
        return CLI_GO_ON;
    case CLI_INDEX_COMPARE:
        options->compare = text;
        return CLI_GO_ON;
    case CLI_INDEX_PROFILE:
        options->profile = text;
        return CLI_GO_ON;
    case CLI_INDEX_SVG:
        options->svg = text;
        return CLI_GO_ON;
    case CLI_INDEX_MARKDOWN:
        options->markdown = true;
        return CLI_GO_ON;
    case CLI_INDEX_TIME:
        options->time = true;
        return CLI_GO_ON;
    case CLI_INDEX_JSON:
        options->json = true;
        return CLI_GO_ON;
    case CLI_INDEX_COLOR:
        return set_color(options, name, text);
    case CLI_INDEX_VERBOSE:
        options->verbose = true;
        return CLI_GO_ON;
    default:
        return cli_command_help(command);
    }
}

int cli_options_parse(int argc, char **argv, struct cli_options *options)
{
    return cli_options_parse_for(cli_command_find(argv[0]), argc, argv, options);
}

int cli_options_parse_for(const struct cli_command *command, int argc, char **argv,
                          struct cli_options *options)
{
    struct getopt_tables tables;
    int value;

    memset(options, 0, sizeof *options);
    build_tables(command, &tables);
    options->json = find_json(command, argc, argv, &tables);
    options->color = color_by_default();
    optind = 0;
    while ((value = getopt_long(argc, argv, tables.shorts, tables.longs, NULL)) != -1) {
        if (value == '?')
            return refuse_option(command, options->json, argv);
        if (value == ':')
            return cli_usage_error(command->name, options->json, "option --%s needs a value: %s",
                                   entries[option_index(command, optopt)].name,
                                   entries[option_index(command, optopt)].argument);
        /* With keep_order getopt_long gives operands out as options of the number 1. */
        int status = value == 1
                         ? add_word(options, command->name, -1, optarg)
                         : set_option(command, options, option_index(command, value), optarg);
        if (status != CLI_GO_ON)
            return status;
    }
    options->operands = argv + optind;
    options->noperands = argc - optind;
    return CLI_GO_ON;
}

void cli_options_fini(struct cli_options *options)
{
    free(options->env);
    free(options->calls);
    free(options->words);
    memset(options, 0, sizeof *options);
}

int cli_command_help(const struct cli_command *command)
{
    printf("usage: mayfly %s %s\n\n%s\n", command->name, command->synopsis, command->summary);
    if (command->details[0] != 0)
        printf("\n%s", command->details);
    printf("\nOptions:\n");
    for (size_t i = 0; i < LEN(entries); i++) {
        char left[48];

        if (!(command->options & UINT64_C(1) << i))
            continue;
        snprintf(left, sizeof left, "--%s%s%s", entries[i].name,
                 entries[i].argument != NULL ? " " : "",
                 entries[i].argument != NULL ? entries[i].argument : "");
        if (entries[i].letter != 0)
            printf("  -%c, %-28s %s\n", entries[i].letter, left, entries[i].help);
        else
            printf("      %-28s %s\n", left, entries[i].help);
    }
    return cli_finish(CLI_OK);
}
