/*
 * The command `mayfly`: finds the command that its first argument names in one
 * table, and runs it. Each command is in cmd_NAME.c.
 */
#include "cli.h"
#include "text.h"
#include "upgrade.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define OPTIONS_OF_GUESTS                                                                    \
    (CLI_OPT_BACKEND | CLI_OPT_MEMORY | CLI_OPT_STACK | CLI_OPT_TIMEOUT | CLI_OPT_CPU_TIME | \
     CLI_OPT_MAX_OUTPUT | CLI_OPT_ENV | CLI_OPT_TIME | CLI_OPT_VERBOSE | CLI_OPT_HELP)

static const struct cli_command commands[] = {
    {
        .name = "run",
        .run = cmd_run,
        .synopsis = "[OPTION...] PROGRAM [ARG...]",
        .summary = "Run a static x86-64 Linux program in a micro-VM.",
        .details = "Standard input, output and error and the exit status are the program's. It\n"
                   "sees no files, no network and no environment but what --env gives.\n",
        .options = OPTIONS_OF_GUESTS | CLI_OPT_STORE | CLI_OPT_NAME,
        .stop_at_operand = true,
    },
    {
        .name = "call",
        .run = cmd_call,
        .synopsis = "[OPTION...] IMAGE FUNCTION [ARG...]  or  --batch IMAGE",
        .summary = "Call a function that an image exports, in a micro-VM.",
        .details = "Arguments are read as the signature says (see 'mayfly inspect IMAGE'):\n"
                   "  bool            true, false, 1, 0\n"
                   "  i32 u32 i64 u64 decimal, 0x hexadecimal, 0 or 0o octal, 0b binary\n"
                   "  f32 f64         decimal or 0x hexadecimal, nan, inf\n"
                   "  string          UTF-8 text\n"
                   "  bytes           text, or hex:00ff...\n"
                   "A string or bytes may be @FILE (the bytes of a file) or @- (standard input);\n"
                   "@@ at the beginning stands for one @.\n"
                   "With --batch and no function, each line of standard input is a call:\n"
                   "FUNCTION [ARG...], with quotes as in a shell. Each has a line of output.\n",
        .options = OPTIONS_OF_GUESTS | CLI_OPT_STORE | CLI_OPT_MAILBOX | CLI_OPT_JSON |
                   CLI_OPT_REPEAT | CLI_OPT_BATCH | CLI_OPT_ATTENTIVE | CLI_OPT_NAME,
        .stop_at_operand = true,
    },
    {
        .name = "inspect",
        .run = cmd_inspect,
        .synopsis = "[OPTION...] IMAGE",
        .summary = "Show what an image holds, without running it.",
        .details = "Segments, exported functions with their signatures, host functions that it\n"
                   "needs, memory, ABI version.\n",
        .options = CLI_OPT_STORE | CLI_OPT_JSON | CLI_OPT_HELP,
    },
    {
        .name = "snapshot",
        .run = cmd_snapshot,
        .synopsis = "COMMAND [OPTION...] FILE...",
        .summary = "Freeze guests into files, and look at such files.",
        .details = "The commands are:\n"
                   "  create IMAGE -o FILE               start a guest, make calls, freeze it\n"
                   "  create --run PROGRAM --after TIME -o FILE\n"
                   "                                     freeze a program that is running\n"
                   "  take NAME FILE                     freeze a copy of a running sandbox\n"
                   "  inspect FILE                       show what a snapshot holds\n"
                   "  verify FILE...                     check all bytes of snapshots\n"
                   "  diff FILE FILE                     show which pages differ\n"
                   "  export FILE DIR                    make an OCI image layout of it\n"
                   "  import DIR -o FILE                 and back; or --store DIR\n"
                   "'mayfly snapshot create --help' and so on show which options each one takes;\n"
                   "'mayfly call FILE' and 'mayfly resume FILE' use a snapshot.\n",
        .options = CLI_OPT_OUTPUT | CLI_OPT_CALL | CLI_OPT_RUN | CLI_OPT_AFTER | CLI_OPT_PARENT |
                   CLI_OPT_COMPRESS | CLI_OPT_STORE | CLI_OPT_TAG | OPTIONS_OF_GUESTS |
                   CLI_OPT_MAILBOX | CLI_OPT_JSON,
    },
    {
        .name = "resume",
        .run = cmd_resume,
        .synopsis = "[OPTION...] FILE  or  NAME",
        .summary = "Let what a snapshot froze, or 'mayfly pause' paused, run on.",
        .details = "A program has the standard streams of this command, and its exit status is\n"
                   "that of the command. A call prints its result, as 'mayfly call' does. The\n"
                   "snapshot stays as it is: it can be resumed any number of times, anywhere.\n"
                   "NAME is a running sandbox that was paused. An operand with a slash is a\n"
                   "file; when a sandbox has the name of a snapshot here, ./NAME is the file.\n",
        .options = CLI_OPT_BACKEND | CLI_OPT_TIMEOUT | CLI_OPT_CPU_TIME | CLI_OPT_MAX_OUTPUT |
                   CLI_OPT_STORE | CLI_OPT_NAME | CLI_OPT_TIME | CLI_OPT_JSON | CLI_OPT_VERBOSE |
                   CLI_OPT_HELP,
    },
    {
        .name = "ps",
        .run = cmd_ps,
        .synopsis = "[OPTION...]",
        .summary = "Show the sandboxes that run here under a name.",
        .details = "'mayfly run', 'call', 'resume' and 'vm' give one with --name NAME.\n",
        .options = CLI_OPT_JSON | CLI_OPT_HELP,
    },
    {
        .name = "stats",
        .run = cmd_stats,
        .synopsis = "[OPTION...] NAME",
        .summary = "Show the counters of a running sandbox.",
        .details = "The guest stands still for a moment, so that they belong together.\n",
        .options = CLI_OPT_JSON | CLI_OPT_HELP,
    },
    {
        .name = "pause",
        .run = cmd_pause,
        .synopsis = "[OPTION...] NAME",
        .summary = "Make a running sandbox stand still.",
        .details = "'mayfly resume NAME' lets it go on. Its time limits stand still, too.\n",
        .options = CLI_OPT_JSON | CLI_OPT_HELP,
    },
    {
        .name = "stop",
        .run = cmd_stop,
        .synopsis = "[OPTION...] NAME",
        .summary = "End a running sandbox, and wait for its end.",
        .details = "It ends as with SIGTERM: the exit status of its command is 143.\n",
        .options = CLI_OPT_JSON | CLI_OPT_HELP,
    },
    {
        .name = "receive",
        .run = cmd_receive,
        .synopsis = "[OPTION...] --listen ADDR",
        .summary = "Wait for sandboxes that move here, and run them.",
        .details = "They come by 'mayfly migrate', and are shown by 'mayfly ps'. What they print\n"
                   "goes to this command's output unless they are followed. Ends on SIGINT or\n"
                   "SIGTERM.\n",
        .options = CLI_OPT_LISTEN | CLI_OPT_MAX | CLI_OPT_MEMORY_LIMIT | CLI_OPT_BACKEND |
                   CLI_OPT_CERT | CLI_OPT_KEY | CLI_OPT_CA | CLI_OPT_PSK_FILE | CLI_OPT_INSECURE |
                   CLI_OPT_JSON | CLI_OPT_HELP,
    },
    {
        .name = "migrate",
        .run = cmd_migrate,
        .synopsis = "[OPTION...] NAME ADDR  or  --cancel NAME",
        .summary = "Move a running sandbox to another process or host.",
        .details = "ADDR is what 'mayfly receive --listen' there says: unix:PATH, tcp:HOST:PORT\n"
                   "or tls:HOST:PORT. The guest runs on while it is copied. When anything fails\n"
                   "before the last step it goes on here; when the last step itself breaks, its\n"
                   "state is kept in NAME.fallback.mfs, or what --output says. --timeout is for\n"
                   "all up to the last step (default 60s).\n",
        .options = CLI_OPT_DOWNTIME_LIMIT | CLI_OPT_TIMEOUT | CLI_OPT_POSTCOPY | CLI_OPT_COMPRESS |
                   CLI_OPT_FOLLOW | CLI_OPT_CANCEL | CLI_OPT_OUTPUT | CLI_OPT_CERT | CLI_OPT_KEY |
                   CLI_OPT_CA | CLI_OPT_PSK_FILE | CLI_OPT_INSECURE | CLI_OPT_JSON | CLI_OPT_HELP,
    },
    {
        .name = "upgrade",
        .run = cmd_upgrade,
        .synopsis = "[OPTION...] NAME [BINARY]",
        .summary = "Have a running program go on in a newly started mayfly.",
        .details = "NAME is of 'mayfly run --name'. BINARY is the mayfly to start, by default\n"
                   "the file that runs it now, which may have been replaced. Its memory is not\n"
                   "copied.\n"
                   "When anything fails it goes on where it is. The older process stays, passes\n"
                   "signals on, and ends as the newer one does.\n",
        .options = CLI_OPT_JSON | CLI_OPT_HELP,
    },
    {
        .name = "vm",
        .run = cmd_vm,
        .synopsis = "[OPTION...] PROGRAM  or  -v FILE [-s SNAPSHOT] ...",
        .summary = "Run MIPS32 machines: assembly, ELF, several at once.",
        .details = "PROGRAM is an assembly source, an image of 'mayfly asm', or a static MIPS32\n"
                   "ELF. The file of -v has lines 'key = value': vm_binary (the program),\n"
                   "vm_snapshot, vm_exec_slice_in_instructions, vm_name, vm_memory,\n"
                   "vm_max_instructions, vm_endian, vm_devices, vm_stdin, vm_stdout, vm_trace.\n"
                   "The exit status is the program's; of several machines, that of the first\n"
                   "one that did not end well. Called as 'myvmm' it is this command.\n",
        .options = CLI_OPT_VM | CLI_OPT_SNAPSHOT | CLI_OPT_NAME | CLI_OPT_SCHEDULE |
                   CLI_OPT_SNAPSHOT_FORMAT | CLI_OPT_SNAPSHOT_ANYWHERE | CLI_OPT_TRACE |
                   CLI_OPT_STATS | CLI_OPT_STEP | CLI_OPT_MAX_INSTRUCTIONS |
                   CLI_OPT_DELAYED_BRANCHES | CLI_OPT_TIMEOUT | CLI_OPT_BACKEND | CLI_OPT_JSON |
                   CLI_OPT_HELP,
        .keep_order = true,
    },
    {
        .name = "asm",
        .run = cmd_asm,
        .synopsis = "[OPTION...] SOURCE...",
        .summary = "Assemble MIPS32 sources for 'mayfly vm'.",
        .details = "All errors are shown, with file, line and column. Without errors the image is\n"
                   "written to the file of -o, and --list prints the listing: address, word,\n"
                   "line, source. Several sources become one program.\n",
        .options = CLI_OPT_OUTPUT | CLI_OPT_LIST | CLI_OPT_ENDIAN | CLI_OPT_DELAYED_BRANCHES |
                   CLI_OPT_JSON | CLI_OPT_HELP,
    },
    {
        .name = "doctor",
        .run = cmd_doctor,
        .synopsis = "[OPTION...]",
        .summary = "Show what this host offers, and what to do about each problem.",
        .details = "The exit status is 0 when at least one backend works, else 1.\n",
        .options = CLI_OPT_JSON | CLI_OPT_COLOR | CLI_OPT_HELP,
    },
    {
        .name = "bench",
        .run = cmd_bench,
        .synopsis = "[OPTION...] [NAME...]",
        .summary = "Measure this host: each figure beside its floor.",
        .details =
            "A floor is a raw program that makes only the unavoidable system calls, measured\n"
            "in the same run. NAMEs choose figures; --list names them. With --compare, one NAME\n"
            "may be a second FILE of --json output (a name with a dot or slash); then the two\n"
            "are compared and nothing is measured.\n",
        .options = CLI_OPT_BACKEND | CLI_OPT_ROUNDS | CLI_OPT_LIST | CLI_OPT_GUESTS |
                   CLI_OPT_COMPARE | CLI_OPT_PROFILE | CLI_OPT_SVG | CLI_OPT_MARKDOWN |
                   CLI_OPT_JSON | CLI_OPT_HELP,
    },
};

#define NCOMMANDS (sizeof commands / sizeof commands[0])

const struct cli_command *cli_command_find(const char *name)
{
    for (size_t i = 0; i < NCOMMANDS; i++) {
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    }
    return NULL;
}

static void print_usage(FILE *file)
{
    fputs("usage: mayfly COMMAND [ARGUMENT...]\n\n", file);
    for (size_t i = 0; i < NCOMMANDS; i++)
        fprintf(file, "  mayfly %-8s %-36s %s\n", commands[i].name, commands[i].synopsis,
                commands[i].summary);
    fputs("  mayfly help     [COMMAND]\n\n"
          "Options:\n"
          "  -h, --help     print this help\n"
          "      --version  print the versions of command, library and ABI\n",
          file);
}

static int print_help(void)
{
    printf(
        "mayfly runs functions and programs inside micro-VMs that hold no operating system.\n\n");
    print_usage(stdout);
    printf("\nExit statuses:\n");
#define STATUS_LINE(name, number, text) printf("  %3d  %s\n", number, text);
    CLI_STATUS_LIST(STATUS_LINE)
#undef STATUS_LINE
    printf("\nEnvironment:\n"
           "  MAYFLY_MODULE_PATH  directory of the backends that are loaded on demand\n"
           "  NO_COLOR            when set and not empty: no colours\n"
           "  XDG_RUNTIME_DIR     its directory mayfly has the sockets of running sandboxes\n");
    return cli_finish(CLI_OK);
}

static int print_version(void)
{
    uint32_t abi = mf_abi_version();

    printf("mayfly %s (library %s, ABI %u.%u)\n", MF_VERSION_STRING, mf_version(),
           (unsigned)(abi >> 16), (unsigned)(abi & 0xffff));
    return cli_finish(CLI_OK);
}

static int unknown_command(const char *name)
{
    if (name[0] == '-')
        return cli_usage_error(NULL, false, "unknown option %s", name);
    for (size_t i = 0; i < NCOMMANDS; i++) {
        if (text_is_near(name, commands[i].name))
            return cli_usage_error(NULL, false, "unknown command '%s'; did you mean '%s'?", name,
                                   commands[i].name);
    }
    return cli_usage_error(NULL, false, "unknown command '%s'", name);
}

static int help(int argc, char **argv)
{
    if (argc < 2)
        return print_help();
    if (argc > 2)
        return cli_usage_error(NULL, false, "help takes one command at most");
    const struct cli_command *command = cli_command_find(argv[1]);
    return command != NULL ? cli_command_help(command) : unknown_command(argv[1]);
}

/*
 * Opens descriptors 0 to 2 where the caller left them closed: otherwise the first
 * file or VM that is opened would become the guest's standard input or output.
 * The wrong direction makes reads and writes fail as on a closed descriptor.
 */
static bool keep_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            return false;
    }
    return true;
}

/* Whether the command was called by the name of a program that its command `vm` stands for. */
static bool is_myvmm(const char *path)
{
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;

    return path != NULL && strcmp(slash != NULL ? slash + 1 : path, "myvmm") == 0;
}

int main(int argc, char **argv)
{
    static char vm[] = "vm";

    if (!keep_standard_descriptors())
        return CLI_HOST_ERROR;
    if (is_myvmm(argv[0]) && !(argc == 2 && strcmp(argv[1], "--version") == 0)) {
        argv[0] = vm;
        return cmd_vm(argc, argv);
    }
    if (argc < 2) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return print_help();
    if (strcmp(name, "--version") == 0)
        return print_version();
    if (strcmp(name, UPGRADE_TAKE_OVER) == 0 && argc == 2)
        return upgrade_take_over();
    if (strcmp(name, "help") == 0)
        return help(argc - 1, argv + 1);
    const struct cli_command *command = cli_command_find(name);
    return command != NULL ? command->run(argc - 1, argv + 1) : unknown_command(name);
}
