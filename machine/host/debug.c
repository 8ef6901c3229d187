/*
 * A debugger for one machine. Each stop is kept as a snapshot in memory before the machine goes
 * on, so `back` is a restore, however far the machine ran. Breakpoints belong to the user and not
 * to the moment: the machine has them only while it runs, so no snapshot does.
 */
#include "machine/host/debug.h"

#include "machine/host/explain.h"
#include "machine/host/program.h"
#include "machine/host/snapshot.h"
#include "machine/isa/isa.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

#define LINE_BYTES   512
#define BREAKS_MAX   64
#define STOPS_MAX    200
#define LIST_AROUND  5
#define DUMP_DEFAULT 64
#define DUMP_MAX     4096
#define CODE_DEFAULT 8
#define CODE_MAX     512
/* How often a run looks whether a signal came. */
#define PIECE UINT64_C(2000000)

#define STEPS_MAX    UINT64_C(1000000000000)

/* A stop to go back to. */
struct stop {
    struct mf_snapshot *snapshot;
    uint64_t executed;
};

struct debugger {
    struct vmm_machine *machine;
    uint32_t breaks[BREAKS_MAX];
    size_t nbreaks;
    struct stop stops[STOPS_MAX];
    size_t nstops;
    struct machine_state now, before; /* at this stop, at the last one */
    bool quit;
    char last[LINE_BYTES]; /* an empty line repeats it */
};

typedef void (*command_fn)(struct debugger *d, char **words, size_t n);

static void complain(struct debugger *d)
{
    printf("%s\n", d->machine->err.message);
}

/* ---- where it is ---- */

static bool look(struct debugger *d)
{
    struct machine_state state;

    if (vmm_machine_state(d->machine, &state) != MF_OK) {
        complain(d);
        return false;
    }
    d->now = state;
    return true;
}

static void show_here(struct debugger *d)
{
    char text[512];

    if (explain_instruction(d->machine, d->now.pc, text, sizeof text))
        printf("%s\n", text);
    else
        printf("0x%08" PRIx32 "  no memory\n", d->now.pc);
}

/* A number, or a label with an optional +offset. */
static bool parse_address(struct debugger *d, const char *text, uint32_t *address)
{
    char name[256], *end;
    uint32_t offset = 0;
    int reg = text[0] == '$' ? isa_register_find(text + 1, strlen(text + 1)) : -1;

    if (reg >= 0) {
        *address = d->now.registers[reg];
        return true;
    }
    if (isdigit((unsigned char)text[0])) {
        unsigned long long value = strtoull(text, &end, 0);
        *address = (uint32_t)value;
        if (*end == 0 && value <= UINT32_MAX)
            return true;
    }
    const char *plus = strrchr(text, '+');
    snprintf(name, sizeof name, "%.*s", plus != NULL ? (int)(plus - text) : 255, text);
    const struct machine_symbol *symbol = program_find(&d->machine->program, name);
    if (plus != NULL)
        offset = (uint32_t)strtoul(plus + 1, NULL, 0);
    if (symbol == NULL) {
        printf("%s is no label, register or address\n", text);
        return false;
    }
    *address = symbol->address + offset;
    return true;
}

static bool parse_count(const char *text, uint64_t most, uint64_t *count)
{
    char *end;

    errno = 0;
    unsigned long long value = strtoull(text, &end, 0);
    if (!isdigit((unsigned char)*text) || *end != 0 || errno != 0 || value == 0 || value > most) {
        printf("'%s' is not a number from 1 to %" PRIu64 "\n", text, most);
        return false;
    }
    *count = value;
    return true;
}

/* ---- going on and back ---- */

static void forget_stops(struct debugger *d)
{
    for (size_t i = 0; i < d->nstops; i++)
        mf_snapshot_close(d->stops[i].snapshot);
    d->nstops = 0;
}

/* Keeps this moment, the oldest one going when there are too many. */
static bool remember(struct debugger *d)
{
    struct stop *stop;

    if (d->nstops == STOPS_MAX) {
        mf_snapshot_close(d->stops[0].snapshot);
        memmove(d->stops, d->stops + 1, (STOPS_MAX - 1) * sizeof d->stops[0]);
        d->nstops--;
    }
    stop = &d->stops[d->nstops];
    stop->executed = d->machine->executed;
    if (mf_sandbox_snapshot(atomic_load(&d->machine->sandbox), &stop->snapshot,
                            &d->machine->err) != MF_OK) {
        complain(d);
        return false;
    }
    d->nstops++;
    return true;
}

/* Sets all breakpoints in the machine, or takes them out; `once` is one more, or 0. */
static bool set_breaks(struct debugger *d, uint32_t once, bool on)
{
    int status = once != 0 ? vmm_machine_set_break(d->machine, once, on) : MF_OK;

    for (size_t i = 0; i < d->nbreaks && status == MF_OK; i++)
        status = vmm_machine_set_break(d->machine, d->breaks[i], on);
    if (status != MF_OK)
        complain(d);
    return status == MF_OK;
}

static bool ended(struct debugger *d)
{
    if (d->machine->outcome == VMM_READY)
        return false;
    printf("the machine has ended (%s); 'back' goes to the stop before\n",
           vmm_outcome_name(d->machine->outcome));
    return true;
}

static void show_end(struct debugger *d)
{
    const struct vmm_machine *machine = d->machine;

    if (machine->outcome == VMM_EXITED)
        printf("exited with status %d after %" PRIu64 " instructions\n", machine->exit_code,
               machine->executed);
    else
        printf("ended (%s) after %" PRIu64 " instructions\n", vmm_outcome_name(machine->outcome),
               machine->executed);
}

/* Runs up to so many instructions or to a breakpoint. */
static enum vmm_turn run(struct debugger *d, uint64_t instructions)
{
    struct vmm_machine *machine = d->machine;
    struct pollfd signalled = {.fd = machine->common->terminal.wake_fd, .events = POLLIN};
    uint64_t target;

    if (__builtin_add_overflow(machine->executed, instructions, &target))
        target = UINT64_MAX;
    enum vmm_turn turn = VMM_GOES_ON;
    while (machine->executed < target && turn != VMM_ENDED && turn != VMM_AT_BREAK) {
        uint64_t left = target - machine->executed;
        if (poll(&signalled, 1, 0) > 0)
            atomic_store(&machine->common->stopping, true);
        turn = vmm_machine_turn(machine, left < PIECE ? left : PIECE);
        if (turn == VMM_WAITS)
            vmm_machine_wait(machine, -1);
    }
    fflush(stdout);
    return turn;
}

/* Runs to a breakpoint, to the address `once` (0: none), or so many instructions. */
static void go(struct debugger *d, uint64_t instructions, uint32_t once)
{
    if (ended(d) || !remember(d) || !set_breaks(d, once, true))
        return;
    d->before = d->now;
    fflush(stdout);
    enum vmm_turn turn = run(d, instructions);
    /* What the debugger says stands on lines of its own. */
    if (d->machine->io.line_open && d->machine->io.output == STDOUT_FILENO)
        putchar('\n');
    d->machine->io.line_open = false;
    if (turn == VMM_ENDED) {
        show_end(d);
        if (d->machine->has_state)
            d->now = d->machine->state;
        return;
    }
    if (!set_breaks(d, once, false) || !look(d))
        return;
    if (turn == VMM_AT_BREAK && d->now.pc != once)
        printf("breakpoint\n");
    show_here(d);
}

static void do_step(struct debugger *d, char **words, size_t n)
{
    uint64_t count = 1;

    if (n < 2 || parse_count(words[1], STEPS_MAX, &count))
        go(d, count, 0);
}

static void do_continue(struct debugger *d, char **words, size_t n)
{
    (void)words, (void)n;
    go(d, UINT64_MAX, 0);
}

static bool is_break(const struct debugger *d, uint32_t address)
{
    for (size_t i = 0; i < d->nbreaks; i++) {
        if (d->breaks[i] == address)
            return true;
    }
    return false;
}

/* Over a call: to the instruction behind it, which is behind the delay slot if there is one. */
static void do_next(struct debugger *d, char **words, size_t n)
{
    uint32_t word, after = d->now.pc + (d->machine->program.delayed_branches ? 8 : 4);

    (void)words, (void)n;
    bool call = explain_word(d->machine, d->now.pc, &word);
    if (call) {
        enum isa_insn insn = isa_decode(word);
        call = insn != ISA_UNKNOWN && (isa_table[insn].flags & ISA_LINK) != 0;
    }
    if (!call)
        go(d, 1, 0);
    else
        go(d, UINT64_MAX, is_break(d, after) ? 0 : after);
}

static void do_back(struct debugger *d, char **words, size_t n)
{
    struct vmm_machine *machine = d->machine;

    (void)words, (void)n;
    if (d->nstops == 0) {
        printf("there is no stop before this one\n");
        return;
    }
    struct stop *stop = &d->stops[d->nstops - 1];
    if (mf_sandbox_restore(atomic_load(&machine->sandbox), stop->snapshot, &machine->err) !=
        MF_OK) {
        complain(d);
        return;
    }
    machine->executed = stop->executed;
    machine->outcome = VMM_READY;
    machine->waited = machine->has_state = false;
    mf_snapshot_close(stop->snapshot);
    d->nstops--;
    d->before = d->now;
    if (look(d))
        show_here(d);
}

/* ---- breakpoints ---- */

static void list_breaks(struct debugger *d)
{
    char place[256];

    if (d->nbreaks == 0)
        printf("no breakpoints\n");
    for (size_t i = 0; i < d->nbreaks; i++) {
        program_place(&d->machine->program, d->breaks[i], place, sizeof place);
        printf("0x%08" PRIx32 "  %s\n", d->breaks[i], place);
    }
}

static void do_break(struct debugger *d, char **words, size_t n)
{
    uint32_t address;

    if (n < 2) {
        list_breaks(d);
        return;
    }
    if (!parse_address(d, words[1], &address) || is_break(d, address))
        return;
    if (address % 4 != 0 || d->nbreaks == BREAKS_MAX) {
        printf("%s\n", address % 4 != 0 ? "instructions begin at multiples of 4"
                                        : "there are too many breakpoints");
        return;
    }
    d->breaks[d->nbreaks++] = address;
    list_breaks(d);
}

static void do_delete(struct debugger *d, char **words, size_t n)
{
    uint32_t address = 0;
    bool found = false;

    if (n >= 2 && !parse_address(d, words[1], &address))
        return;
    for (size_t i = d->nbreaks; i-- > 0;) {
        if (n >= 2 && d->breaks[i] != address)
            continue;
        found = true;
        d->breaks[i] = d->breaks[--d->nbreaks];
    }
    if (!found)
        printf("there is no such breakpoint\n");
}

/* ---- looking ---- */

static void do_registers(struct debugger *d, char **words, size_t n)
{
    char *text = explain_registers(&d->now, &d->before);

    (void)words, (void)n;
    if (text != NULL)
        fputs(text, stdout);
    free(text);
}

static void dump_line(uint32_t address, const uint8_t *data, size_t len)
{
    printf("0x%08" PRIx32 " ", address);
    for (size_t i = 0; i < 16; i++)
        i < len ? printf(" %02x", data[i]) : printf("   ");
    printf("  ");
    for (size_t i = 0; i < len; i++)
        putchar(data[i] >= ' ' && data[i] < 0x7f ? data[i] : '.');
    putchar('\n');
}

static void do_memory(struct debugger *d, char **words, size_t n)
{
    uint8_t data[DUMP_MAX];
    uint64_t bytes = DUMP_DEFAULT;
    uint32_t address;

    if (n < 2) {
        printf("which address? memory ADDRESS|LABEL|REGISTER [BYTES]\n");
        return;
    }
    if (!parse_address(d, words[1], &address) ||
        (n > 2 && !parse_count(words[2], DUMP_MAX, &bytes)))
        return;
    size_t len = (size_t)bytes;
    if (vmm_machine_peek(d->machine, address, data, &len) != MF_OK) {
        complain(d);
        return;
    }
    for (size_t i = 0; i < len; i += 16)
        dump_line(address + (uint32_t)i, data + i, len - i < 16 ? len - i : 16);
    if (len < bytes)
        printf("0x%08" PRIx32 "  no memory\n", address + (uint32_t)len);
}

static void do_disassemble(struct debugger *d, char **words, size_t n)
{
    uint64_t count = CODE_DEFAULT;
    uint32_t address = d->now.pc;
    char text[512];

    if ((n > 1 && !parse_address(d, words[1], &address)) ||
        (n > 2 && !parse_count(words[2], CODE_MAX, &count)))
        return;
    for (uint64_t i = 0; i < count; i++, address += 4) {
        if (!explain_instruction(d->machine, address, text, sizeof text)) {
            printf("0x%08" PRIx32 "  no memory\n", address);
            return;
        }
        printf("%s %s\n", address == d->now.pc ? "=>" : "  ", text);
    }
}

static void do_list(struct debugger *d, char **words, size_t n)
{
    const struct machine_program *program = &d->machine->program;
    const struct machine_line *here;
    uint32_t address = d->now.pc;
    char text[256];

    if (n > 1 && !parse_address(d, words[1], &address))
        return;
    here = program_line(program, address);
    if (here == NULL) {
        do_disassemble(d, words, n);
        return;
    }
    uint32_t first = here->line > LIST_AROUND ? here->line - LIST_AROUND : 1;
    for (uint32_t i = first; i <= here->line + LIST_AROUND; i++) {
        struct machine_line line = {.file = here->file, .line = i};
        program_source(program, &line, text, sizeof text);
        if (text[0] != 0 || i == here->line)
            printf("%s %4" PRIu32 "  %s\n", i == here->line ? "=>" : "  ", i, text);
    }
}

/* ---- snapshots in files ---- */

static void do_snapshot(struct debugger *d, char **words, size_t n)
{
    char *path;

    if (n < 2) {
        printf("which file? snapshot FILE\n");
        return;
    }
    int status = snapshot_resolve(d->machine, words[1], &path);
    if (status == MF_OK)
        status = snapshot_write(d->machine, path);
    if (status != MF_OK)
        complain(d);
    else
        printf("saved to %s\n", path);
    free(path);
}

/* Loads a file into the machine; on failure it may be in between. */
static int load_snapshot(struct debugger *d, const char *path)
{
    struct mf_snapshot_open_options options = {.size = sizeof options};
    struct vmm_machine *machine = d->machine;
    struct mf_snapshot *snapshot;

    enum snapshot_format format = snapshot_recognise(machine, path);
    if (format == SNAPSHOT_NONE)
        return machine->err.code;
    if (format == SNAPSHOT_LEGACY)
        return snapshot_load_legacy(machine, path);
    int status = mf_snapshot_open(path, &options, &snapshot, &machine->err);
    if (status != MF_OK)
        return status;
    status = mf_sandbox_restore(atomic_load(&machine->sandbox), snapshot, &machine->err);
    mf_snapshot_close(snapshot);
    return status == MF_OK ? vmm_machine_check(machine, path) : status;
}

static void do_restore(struct debugger *d, char **words, size_t n)
{
    struct vmm_machine *machine = d->machine;
    struct machine_state before = d->now;
    char *path;

    if (n < 2) {
        printf("which file? restore FILE\n");
        return;
    }
    if (asprintf(&path, words[1][0] == '/' ? "%.0s%s" : "%s/%s", machine->config.folder,
                 words[1]) < 0)
        return;
    if (!remember(d)) {
        free(path);
        return;
    }
    if (load_snapshot(d, path) != MF_OK) {
        /* Back to where it was, with the reason on the screen. */
        complain(d);
        do_back(d, words, n);
        free(path);
        return;
    }
    free(path);
    machine->outcome = VMM_READY;
    machine->waited = machine->has_state = false;
    if (look(d)) {
        d->before = before;
        machine->executed = d->now.executed;
        show_here(d);
    }
}

static void do_quit(struct debugger *d, char **words, size_t n)
{
    (void)words, (void)n;
    d->quit = true;
}

static void do_help(struct debugger *d, char **words, size_t n);

static const struct command {
    const char *name;
    const char *arguments;
    const char *what;
    command_fn run;
} commands[] = {
    {"step", "[N]", "execute one instruction, or N", do_step},
    {"next", "", "the same, but a called function as a whole", do_next},
    {"continue", "", "go on to a breakpoint or the end", do_continue},
    {"back", "", "go back to the previous stop", do_back},
    {"break", "[LABEL|ADDRESS]", "stop there; without one: list them", do_break},
    {"delete", "[LABEL|ADDRESS]", "do not stop there any more; without one: nowhere", do_delete},
    {"registers", "", "show the registers; * marks what changed", do_registers},
    {"memory", "LABEL|ADDRESS|$REG [BYTES]", "show memory", do_memory},
    {"disassemble", "[LABEL|ADDRESS [N]]", "show instructions", do_disassemble},
    {"list", "[LABEL|ADDRESS]", "show the source", do_list},
    {"snapshot", "FILE", "save the machine", do_snapshot},
    {"restore", "FILE", "go on from a saved machine", do_restore},
    {"help", "", "show this", do_help},
    {"quit", "", "end the machine and the debugger", do_quit},
};

static void do_help(struct debugger *d, char **words, size_t n)
{
    (void)d, (void)words, (void)n;
    for (size_t i = 0; i < LEN(commands); i++)
        printf("%-12s %-27s %s\n", commands[i].name, commands[i].arguments, commands[i].what);
    printf("Beginnings of names do (s, n, c, b, r, m, q); an empty line repeats the last "
           "command.\n");
}

/* ---- the loop ---- */

/* The command that begins so; the first one of the table when several do. */
static const struct command *find(const char *word)
{
    for (size_t i = 0; i < LEN(commands); i++) {
        if (strncmp(word, commands[i].name, strlen(word)) == 0)
            return &commands[i];
    }
    return NULL;
}

static void execute(struct debugger *d, char *line)
{
    char *words[4], *rest = NULL;
    size_t n = 0;

    for (char *word = strtok_r(line, " \t\r", &rest); word != NULL && n < LEN(words);
         word = strtok_r(NULL, " \t\r", &rest))
        words[n++] = word;
    if (n == 0)
        return;
    const struct command *command = find(words[0]);
    if (strcmp(words[0], "b") == 0)
        command = find("break");
    if (command == NULL)
        printf("there is no command '%s'; 'help' shows which there are\n", words[0]);
    else
        command->run(d, words, n);
}

/*
 * Reads a line byte by byte: what follows is for the program, which reads the same input.
 * False at the end, or after a signal.
 */
static bool read_line(struct debugger *d, char line[LINE_BYTES])
{
    struct pollfd fds[2] = {
        {.fd = STDIN_FILENO, .events = POLLIN},
        {.fd = d->machine->common->terminal.wake_fd, .events = POLLIN},
    };
    size_t len = 0;
    char c = 0;

    while (c != '\n') {
        if (poll(fds, 2, -1) < 0 && errno == EINTR)
            continue;
        if (fds[1].revents != 0)
            return false;
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 && len == 0)
            return false;
        if (n <= 0)
            break;
        if (c != '\n' && c != 0 && len < LINE_BYTES - 1)
            line[len++] = c;
    }
    line[len] = 0;
    return true;
}

static void loop(struct debugger *d)
{
    bool terminal = isatty(STDIN_FILENO) == 1;
    char line[LINE_BYTES];

    while (!d->quit && d->machine->outcome != VMM_INTERRUPTED) {
        if (terminal)
            printf("(vm) ");
        fflush(stdout);
        if (!read_line(d, line)) {
            if (terminal)
                putchar('\n');
            return;
        }
        if (line[0] == 0)
            snprintf(line, sizeof line, "%s", d->last);
        else
            snprintf(d->last, sizeof d->last, "%s", line);
        execute(d, line);
    }
}

bool vmm_debug(struct vmm_machine *machine)
{
    struct debugger *d = calloc(1, sizeof *d);
    bool early = false;

    if (d == NULL || vmm_machine_open(machine) != MF_OK) {
        free(d);
        return false;
    }
    d->machine = machine;
    if (look(d)) {
        d->before = d->now;
        show_here(d);
        loop(d);
        early = machine->outcome == VMM_READY;
    }
    forget_stops(d);
    free(d);
    return early;
}
