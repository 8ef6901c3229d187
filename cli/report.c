/*
 * What the commands tell: errors, faults, times, counters. In one file, so that
 * the words for people, the JSON for programs and the exit status of the same
 * event stay together.
 */
#include "report.h"
#include "text.h"
#include "units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t report_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

int report_status(int code)
{
    switch (code) {
    case MF_OK:
        return CLI_OK;
    case MF_E_GUEST_ERROR:
        return CLI_FAILED;
    case MF_E_ARGUMENT:
    case MF_E_NO_FUNCTION:
    case MF_E_TYPE:
    case MF_E_RANGE:
    case MF_E_UTF8:
    case MF_E_TOO_LARGE:
        return CLI_USAGE;
    case MF_E_DEADLINE:
    case MF_E_CPU_TIME:
        return CLI_DEADLINE;
    case MF_E_OUTPUT_LIMIT:
    case MF_E_HOST_CALL_LIMIT:
        return CLI_LIMIT;
    case MF_E_GUEST_FAULT:
    case MF_E_GUEST_ABORT:
    case MF_E_GUEST_EXIT:
    case MF_E_PROTOCOL:
        return CLI_GUEST_DIED;
    default:
        return CLI_HOST_ERROR;
    }
}

json_t *report_text_json(const char *text)
{
    char *utf8 = text_to_utf8(text, strlen(text));
    json_t *string = utf8 != NULL ? json_string(utf8) : NULL;

    free(utf8);
    return string;
}

int report_print_json(json_t *object, int status)
{
    if (object == NULL) {
        fputs("mayfly: out of memory\n", stderr);
        return CLI_HOST_ERROR;
    }
    json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    putchar('\n');
    json_decref(object);
    return cli_finish(status);
}

/* X(name) for each general register, in the order in which they are shown. */
#define REGISTER_LIST(X)                                                                     \
    X(rax)                                                                                   \
    X(rbx) X(rcx) X(rdx) X(rsi) X(rdi) X(rsp) X(rbp) X(r8) X(r9) X(r10) X(r11) X(r12) X(r13) \
        X(r14) X(r15) X(rip) X(rflags)

static json_t *hex_json(uint64_t value)
{
    char text[20];

    snprintf(text, sizeof text, "0x%" PRIx64, value);
    return json_string(text);
}

static json_t *fault_json(const struct mf_fault *fault)
{
    json_t *registers = json_object();

#define REGISTER_JSON(name) json_object_set_new(registers, #name, hex_json(fault->registers.name));
    REGISTER_LIST(REGISTER_JSON)
#undef REGISTER_JSON
    return json_pack("{s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:I, s:o}", "kind",
                     mf_fault_name(fault->kind), "text", mf_fault_text(fault->kind), "vector",
                     fault->vector, "error_code", hex_json(fault->error_code), "instruction",
                     hex_json(fault->instruction), "address", hex_json(fault->address), "symbol",
                     report_text_json(fault->symbol), "symbol_offset",
                     (json_int_t)fault->symbol_offset, "registers", registers);
}

json_t *report_error_json(const struct mf_error *err)
{
    return json_pack("{s:i, s:s, s:o}", "code", err->code, "name", mf_error_name(err->code),
                     "message", report_text_json(err->message));
}

static json_t *error_json(const struct mf_error *err, const struct mf_fault *fault)
{
    json_t *inner = report_error_json(err);

    if (fault != NULL)
        json_object_set_new(inner, "fault", fault_json(fault));
    return json_pack("{s:o}", "error", inner);
}

/* "mayfly NAME: message", safe to show on a terminal. */
static void print_message(const char *command, const char *message)
{
    fprintf(stderr, command != NULL ? "mayfly %s: " : "mayfly: ", command);
    text_print_line_safe(stderr, message);
    fputc('\n', stderr);
}

static void print_registers(const struct mf_registers *registers)
{
    int n = 0;

#define REGISTER_LINE(name) \
    fprintf(stderr, "%s%-6s %016" PRIx64, n++ % 4 == 0 ? "\n  " : "  ", #name, registers->name);
    fputs("mayfly: registers:", stderr);
    REGISTER_LIST(REGISTER_LINE)
#undef REGISTER_LINE
    fputc('\n', stderr);
}

static void print_fault(const char *command, const struct mf_fault *fault, bool verbose)
{
    char line[512], text[600];

    mf_fault_format(fault, line, sizeof line);
    snprintf(text, sizeof text, "guest fault: %s", line);
    print_message(command, text);
    if (verbose)
        print_registers(&fault->registers);
}

int report_failure(const char *command, const struct cli_options *options,
                   const struct mf_sandbox *sandbox, const struct mf_error *err)
{
    const struct mf_fault *fault = NULL;

    if (sandbox != NULL && err->code == MF_E_GUEST_FAULT)
        fault = mf_sandbox_fault(sandbox);
    if (options->json)
        return report_print_json(error_json(err, fault), report_status(err->code));
    if (fault != NULL)
        print_fault(command, fault, options->verbose);
    else
        print_message(command, err->message[0] != 0 ? err->message : mf_error_text(err->code));
    return report_status(err->code);
}

int cli_library_error(const char *command, bool json, const struct mf_error *err)
{
    struct cli_options options = {.json = json};

    return report_failure(command, &options, NULL, err);
}

int cli_usage_error(const char *command, bool json, const char *format, ...)
{
    struct mf_error err = {.code = MF_E_ARGUMENT};
    va_list args;

    va_start(args, format);
    vsnprintf(err.message, sizeof err.message, format, args);
    va_end(args);
    int status = cli_library_error(command, json, &err);
    if (!json)
        fprintf(stderr, "Try 'mayfly%s%s --help'.\n", command != NULL ? " " : "",
                command != NULL ? command : "");
    return status;
}

int cli_finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "mayfly: cannot write to standard output: %s\n", strerror(errno));
    return status == CLI_OK ? CLI_HOST_ERROR : status;
}

void report_time_line(const struct report_times *times, const char *phase)
{
    fprintf(stderr, "mayfly: time: open %.1f us, create %.1f us, ", (double)times->open / 1e3,
            (double)times->create / 1e3);
    if (times->init != 0)
        fprintf(stderr, "init %.1f us, ", (double)times->init / 1e3);
    fprintf(stderr, "%s %.1f us\n", phase, (double)times->run / 1e3);
}

static void print_denied(void *context, long number, const char *name, uint64_t count)
{
    int *n = context;

    fputs((*n)++ == 0 ? "mayfly: denied system calls: " : ", ", stderr);
    if (name != NULL)
        fprintf(stderr, "%s (%" PRIu64 " times)", name, count);
    else
        fprintf(stderr, "number %ld (%" PRIu64 " times)", number, count);
}

static void print_counters(const struct mf_stats *s)
{
    char busy[32], output[32];

    units_format_duration(s->guest_time_ns, busy, sizeof busy);
    units_format_size(s->output_bytes, output, sizeof output);
    fprintf(stderr,
            "mayfly: counters: %" PRIu64 " calls, %" PRIu64 " host calls, %" PRIu64
            " entries; exits: %" PRIu64 " port, %" PRIu64 " system call, %" PRIu64
            " exception, %" PRIu64 " interrupt, %" PRIu64 " other\n",
            s->calls, s->host_calls, s->entries, s->exits_io, s->exits_syscall, s->exits_exception,
            s->exits_interrupt, s->exits_other);
    fprintf(stderr,
            "mayfly: counters: guest ran %s, in %" PRIu64 " bytes, out %" PRIu64
            " bytes, printed %s, memory %" PRIu64 " pages of which %" PRIu64 " touched\n",
            busy, s->bytes_in, s->bytes_out, output, s->memory_pages, s->pages_touched);
}

void report_verbose(const struct mf_sandbox *sandbox, const struct report_times *times,
                    const char *phase)
{
    struct mf_stats stats = {.size = sizeof stats};
    int ndenied = 0;

    report_time_line(times, phase);
    mf_sandbox_get_stats(sandbox, &stats);
    print_counters(&stats);
    mf_sandbox_denied(sandbox, print_denied, &ndenied);
    if (ndenied > 0)
        fputc('\n', stderr);
}

json_t *report_times_json(const struct report_times *times, const char *phase)
{
    char key[32];

    snprintf(key, sizeof key, "%s_ns", phase);
    return json_pack("{s:I, s:I, s:I, s:I}", "open_ns", (json_int_t)times->open, "create_ns",
                     (json_int_t)times->create, "init_ns", (json_int_t)times->init, key,
                     (json_int_t)times->run);
}

json_t *report_stats_json(const struct mf_sandbox *sandbox)
{
    struct mf_stats stats = {.size = sizeof stats};
    json_t *object = json_object();

    mf_sandbox_get_stats(sandbox, &stats);
#define STAT_JSON(member) \
    json_object_set_new(object, #member, json_integer((json_int_t)stats.member));
    STAT_JSON(calls)
    STAT_JSON(host_calls)
    STAT_JSON(entries)
    STAT_JSON(exits_io)
    STAT_JSON(exits_syscall)
    STAT_JSON(exits_exception)
    STAT_JSON(exits_interrupt)
    STAT_JSON(exits_other)
    STAT_JSON(syscalls_denied)
    STAT_JSON(bytes_in)
    STAT_JSON(bytes_out)
    STAT_JSON(output_bytes)
    STAT_JSON(guest_time_ns)
    STAT_JSON(memory_pages)
    STAT_JSON(pages_touched)
#undef STAT_JSON
    return object;
}
