/*
 * What the files of the command share: the table of commands, exit statuses,
 * parsed options, and messages to people or, with --json, to programs. The
 * command uses the library through <mayfly/mayfly.h> alone.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <mayfly/mayfly.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Exit statuses: X(name, number, what it means). `mayfly --help` prints this
 * table; the man pages have it too. A signal n ends the command with 128 + n.
 */
#define CLI_STATUS_LIST(X)                                                                        \
    X(CLI_OK, 0, "success; run: the program's own status, 0 to 255")                              \
    X(CLI_FAILED, 1, "call: the function reported an error; doctor: no usable backend; "          \
                     "snapshot: the files differ, or one is not good")                            \
    X(CLI_USAGE, 2, "wrong command, option, function or argument")                                \
    X(CLI_LIMIT, 123, "a limit of the guest other than time: output, host calls")                 \
    X(CLI_DEADLINE, 124, "--timeout or --cpu-time ran out")                                       \
    X(CLI_HOST_ERROR, 125, "the program cannot be run: bad file, no backend, host out of memory") \
    X(CLI_GUEST_DIED, 134, "the guest faulted, aborted, or ended instead of answering")           \
    X(CLI_SIGNALLED, 128, "plus n: interrupted by signal n")

enum cli_status {
#define CLI_STATUS_ENUM(name, number, text) name = number,
    CLI_STATUS_LIST(CLI_STATUS_ENUM)
#undef CLI_STATUS_ENUM
};

/* One command of the table in main.c. */
struct cli_command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the name; returns the exit status */
    const char *synopsis;              /* what follows "mayfly NAME" */
    const char *summary;               /* one line */
    const char *details;               /* paragraphs for --help; ends in a newline, or "" */
    uint64_t options;                  /* CLI_OPT_* that it takes */
    bool stop_at_operand;              /* options end at the first operand */
    bool keep_order;                   /* which option stands before which operand matters */
};

/* The command called `name`, or NULL. */
const struct cli_command *cli_command_find(const char *name);

int cmd_run(int argc, char **argv);
int cmd_call(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_vm(int argc, char **argv);
int cmd_asm(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_receive(int argc, char **argv);
int cmd_migrate(int argc, char **argv);
int cmd_upgrade(int argc, char **argv);

/*
 * All options of all commands: X(name, short letter or 0, argument or NULL,
 * help). The command's own table entry says which of them it takes.
 */
#define CLI_OPTION_LIST(X)                                                                         \
    X(BACKEND, "backend", 0, "auto|kvm|soft", "what runs the guest (default auto)")                \
    X(MEMORY, "memory", 0, "SIZE", "guest memory (default 64M, more when the program needs it)")   \
    X(STACK, "stack", 0, "SIZE", "of it the stack (default 1M)")                                   \
    X(MAILBOX, "mailbox", 0, "SIZE", "what a call holds without detours (default 64K)")            \
    X(TIMEOUT, "timeout", 0, "TIME", "wall time that the guest may take, like 5s (default none)")  \
    X(CPU_TIME, "cpu-time", 0, "TIME", "CPU time that the guest may take, like 2s (default none)") \
    X(MAX_OUTPUT, "max-output", 0, "SIZE",                                                         \
      "what the guest may write (default run: none, call: 64M)")                                   \
    X(ENV, "env", 'e', "K=V", "set an environment variable of the guest; repeatable")              \
    X(ROUNDS, "rounds", 0, "N", "how often each figure is measured")                               \
    X(LIST, "list", 0, NULL, "bench: name the figures, measure nothing; asm: print the listing")   \
    X(GUESTS, "guests", 0, "DIR", "where the measured guests are (default: beside mayfly)")        \
    X(COMPARE, "compare", 0, "FILE",                                                               \
      "show an earlier --json beside this run, or beside a second FILE")                           \
    X(PROFILE, "profile", 0, "NAME", "count what one operation of a figure does")                  \
    X(SVG, "svg", 0, "FILE", "also draw the figures beside their floors into FILE")                \
    X(MARKDOWN, "markdown", 0, NULL, "print the table as Markdown")                                \
    X(REPEAT, "repeat", 0, "N", "call N times, and print the last result")                         \
    X(BATCH, "batch", 0, NULL, "take calls from standard input, or those of --repeat, in batches") \
    X(ATTENTIVE, "attentive", 0, NULL, "keep the guest on a processor between calls")              \
    X(OUTPUT, "output", 'o', "FILE", "the file to write")                                          \
    X(CALL, "call", 0, "'FUNCTION ARG...'", "call this first; repeatable, in this order")          \
    X(RUN, "run", 0, NULL, "run the program, and freeze it after --after")                         \
    X(AFTER, "after", 0, "TIME", "stop what runs after this time, like 2s, and freeze it")         \
    X(PARENT, "parent", 0, "FILE", "write only what differs from this snapshot")                   \
    X(COMPRESS, "compress", 0, NULL, "compress it (zstd)")                                         \
    X(STORE, "store", 0, "DIR", "where parents of snapshots are looked for, too")                  \
    X(TAG, "tag", 0, "TAG", "the image in the layout (default latest, import: the only one)")      \
    X(VM, "vm", 'v', "FILE", "a machine: its configuration file, or its program; repeatable")      \
    X(SNAPSHOT, "snapshot", 's', "FILE",                                                           \
      "start from it: the machine before this option, else the next one")                          \
    X(NAME, "name", 0, "NAME",                                                                     \
      "for 'mayfly ps' and others; vm: of the machine before this option, else the next")          \
    X(SCHEDULE, "schedule", 0, "HOW",                                                              \
      "parallel (default), or round-robin: in turns of their slices")                              \
    X(SNAPSHOT_FORMAT, "snapshot-format", 0, "FORMAT",                                             \
      "what SNAPSHOT writes: mayfly (default) or legacy")                                          \
    X(SNAPSHOT_ANYWHERE, "snapshot-anywhere", 0, NULL, "let SNAPSHOT name any path")               \
    X(TRACE, "trace", 0, NULL, "print each instruction to standard error")                         \
    X(STATS, "stats", 0, NULL, "print counts and speed to standard error at the end")              \
    X(STEP, "step", 0, NULL, "a debugger on standard input and output")                            \
    X(MAX_INSTRUCTIONS, "max-instructions", 0, "N",                                                \
      "what each machine may execute (default none)")                                              \
    X(ENDIAN, "endian", 0, "ORDER", "byte order of the program: little (default) or big")          \
    X(DELAYED_BRANCHES, "delayed-branches", 0, NULL, "branches of assembly have delay slots")      \
    X(LISTEN, "listen", 0, "ADDR", "where to wait: unix:PATH, tcp:HOST:PORT or tls:HOST:PORT")     \
    X(MAX, "max", 0, "N", "how many sandboxes to run at once (default 4)")                         \
    X(MEMORY_LIMIT, "memory-limit", 0, "SIZE", "refuse guests with more memory (default none)")    \
    X(CERT, "cert", 0, "FILE", "tls: this side's certificate (PEM)")                               \
    X(KEY, "key", 0, "FILE", "tls: its private key (PEM)")                                         \
    X(CA, "ca", 0, "FILE", "tls: the authority that the other side's is to be of (PEM)")           \
    X(PSK_FILE, "psk-file", 0, "FILE", "tls: instead of them a key that both sides have (hex)")    \
    X(INSECURE, "insecure", 0, NULL, "allow tcp: beyond this host, for all to read and change")   \
    X(DOWNTIME_LIMIT, "downtime-limit", 0, "TIME",                                                 \
      "how long the guest may stand still (default 10ms)")                                         \
    X(POSTCOPY, "postcopy", 0, NULL,                                                               \
      "a guest that writes too fast goes on there before its pages")                               \
    X(FOLLOW, "follow", 0, NULL, "this terminal stays the guest's, and its exit status")           \
    X(CANCEL, "cancel", 0, NULL, "cancel the migration of NAME that goes on")                      \
    X(TIME, "time", 0, NULL, "print how long each phase took to standard error")                   \
    X(JSON, "json", 0, NULL, "print JSON to standard output, errors too")                          \
    X(COLOR, "color", 0, "auto|always|never", "colours (default auto: on a terminal)")             \
    X(VERBOSE, "verbose", 'v', NULL,                                                               \
      "say on standard error what happens, with times and counters")                               \
    X(HELP, "help", 'h', NULL, "print this help")

enum cli_option_index {
#define CLI_OPTION_INDEX(id, name, letter, argument, help) CLI_INDEX_##id,
    CLI_OPTION_LIST(CLI_OPTION_INDEX)
#undef CLI_OPTION_INDEX
};

enum cli_option_bit {
#define CLI_OPTION_BIT(id, name, letter, argument, help) \
    CLI_OPT_##id = UINT64_C(1) << CLI_INDEX_##id,
    CLI_OPTION_LIST(CLI_OPTION_BIT)
#undef CLI_OPTION_BIT
};

/* What --vm, --snapshot, --name and operands name, in the order of the command line. */
struct cli_word {
    int option; /* CLI_INDEX_*, or -1: an operand */
    const char *text;
};

/* Options as parsed; a zero is the default. */
struct cli_options {
    enum mf_backend backend;
    uint64_t memory_bytes, stack_bytes, mailbox_bytes;
    uint64_t timeout_ns, cpu_time_ns;
    uint64_t max_output_bytes; /* UINT64_MAX: no limit */
    const char **env;          /* NULL-terminated; freed by cli_options_fini */
    size_t nenv;
    uint64_t rounds, repeat;
    const char *guests;
    const char *compare, *profile, *svg; /* NULL: not given */
    const char *output, *parent, *store, *tag;
    const char *name; /* of commands that do not keep the order */
    const char **calls; /* of --call; freed by cli_options_fini */
    size_t ncalls;
    uint64_t after_ns;
    const char *listen, *cert, *key, *ca, *psk_file; /* NULL: not given */
    uint64_t max, memory_limit, downtime_ns;
    bool insecure, postcopy, follow, cancel;
    uint64_t max_instructions;
    struct cli_word *words; /* of commands that keep the order; freed by cli_options_fini */
    size_t nwords;
    bool run, compress;
    bool list, time, json, color, verbose, markdown, batch, attentive;
    bool round_robin, legacy, anywhere, trace, stats, step, delayed_branches, big_endian;
    char **operands; /* what follows the options; NULL-terminated */
    int noperands;
};

/* cli_options_parse says with this that the command shall go on. */
#define CLI_GO_ON (-1)

/*
 * Parses the options that the command argv[0] takes. Returns CLI_GO_ON, or the
 * exit status when the command ends here (help was printed, or an error).
 * *options is to be given to cli_options_fini in every case.
 */
int cli_options_parse(int argc, char **argv, struct cli_options *options);

/* The same for a command that is in no table of main.c: "snapshot create". */
int cli_options_parse_for(const struct cli_command *command, int argc, char **argv,
                          struct cli_options *options);
void cli_options_fini(struct cli_options *options);

/* Prints the help of a command to standard output; returns the exit status. */
int cli_command_help(const struct cli_command *command);

/*
 * Reports a usage error, "mayfly NAME: message", with where to find help, or as
 * a JSON error object. Returns CLI_USAGE.
 */
int cli_usage_error(const char *command, bool json, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Like it for an error of the library; returns the exit status that belongs to it. */
int cli_library_error(const char *command, bool json, const struct mf_error *err);

/*
 * Flushes standard output and returns `status`, or CLI_HOST_ERROR with a message
 * when something could not be written.
 */
int cli_finish(int status);

#endif
