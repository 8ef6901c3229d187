/*
 * mayfly asm: assembles MIPS sources, shows all errors or the listing, and writes the image
 * that `mayfly vm` runs. Nothing is run.
 */
#include "report.h"
#include "text.h"

#include "machine/asm/asm.h"
#include "machine/host/file.h"
#include "machine/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The sources that the command line names, and later what the listing shows of files. */
struct texts {
    size_t n;
    char **data;
    struct asm_source *sources;
};

static void free_texts(struct texts *texts)
{
    for (size_t i = 0; texts->data != NULL && i < texts->n; i++)
        free(texts->data[i]);
    free(texts->data);
    free(texts->sources);
}

static int out_of_memory(const struct cli_options *options)
{
    struct mf_error err = {0};

    mf_fail(&err, MF_E_NO_MEMORY, "out of memory");
    return cli_library_error("asm", options->json, &err);
}

/* Reads `n` files; CLI_GO_ON or the exit status. Files that cannot be read may stay empty. */
static int read_texts(const struct cli_options *options, char *const *names, size_t n,
                      bool may_fail, struct texts *texts)
{
    texts->data = calloc(n + 1, sizeof *texts->data);
    texts->sources = calloc(n + 1, sizeof *texts->sources);
    if (texts->data == NULL || texts->sources == NULL)
        return out_of_memory(options);
    texts->n = n;
    for (size_t i = 0; i < n; i++) {
        struct mf_error err = {0};
        uint8_t *data = NULL;
        size_t len = 0;
        if (hostfile_read(names[i], FILE_BYTES_MAX, &data, &len, &err) != MF_OK && !may_fail)
            return cli_library_error("asm", options->json, &err);
        texts->data[i] = (char *)data;
        texts->sources[i] = (struct asm_source){names[i], (char *)data, data != NULL ? len : 0};
    }
    return CLI_GO_ON;
}

/* For .include. */
static const char *read_include(void *context, const char *path, const char *from, char **name,
                                char **text, size_t *len)
{
    struct mf_error err = {0};
    uint8_t *data;

    (void)context;
    *name = hostfile_beside(from, path);
    if (*name == NULL)
        return "out of memory";
    if (hostfile_read(*name, FILE_BYTES_MAX, &data, len, &err) != MF_OK) {
        free(*name);
        return "it is no file that can be read";
    }
    *text = (char *)data;
    return NULL;
}

static json_t *errors_json(const struct asm_errors *errors, const struct mf_error *err)
{
    json_t *list = json_array();

    for (size_t i = 0; i < errors->count; i++) {
        const struct asm_error *e = &errors->list[i];
        json_array_append_new(
            list, json_pack("{s:o, s:I, s:I, s:o, s:o}", "file",
                            e->file != NULL ? report_text_json(e->file) : json_null(), "line",
                            (json_int_t)e->line, "column", (json_int_t)e->column, "message",
                            report_text_json(e->message), "text",
                            e->text != NULL ? report_text_json(e->text) : json_null()));
    }
    return json_pack("{s:o, s:o}", "error", report_error_json(err), "errors", list);
}

/* All errors of the sources; returns the exit status. */
static int report_errors(const struct asm_errors *errors, const struct cli_options *options)
{
    char text[4 * ASM_MESSAGE];
    struct mf_error err = {0};
    size_t n = errors->count + errors->more;

    mf_fail(&err, MF_E_IMAGE, "%zu error%s", n, n == 1 ? "" : "s");
    if (options->json)
        return report_print_json(errors_json(errors, &err), report_status(err.code));
    for (size_t i = 0; i < errors->count; i++) {
        size_t len = asm_error_format(&errors->list[i], text, sizeof text);
        text_print_safe(stderr, text, len, true);
        fputc('\n', stderr);
    }
    if (errors->more > 0)
        fprintf(stderr, "and %zu more errors\n", errors->more);
    return cli_library_error("asm", false, &err);
}

static int write_image(const struct machine_program *program, const struct cli_options *options)
{
    struct mf_error err = {0};
    uint8_t *bytes;
    size_t len, done = 0;

    if (machine_image_encode(program, &bytes, &len) != 0)
        return out_of_memory(options);
    int fd = open(options->output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool good = fd >= 0;
    while (good && done < len) {
        ssize_t n = write(fd, bytes + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        good = n > 0;
        done += n > 0 ? (size_t)n : 0;
    }
    int saved = errno;
    if (fd >= 0 && close(fd) != 0 && good) {
        good = false;
        saved = errno;
    }
    free(bytes);
    if (good)
        return CLI_GO_ON;
    mf_fail(&err, MF_E_SYSTEM, "cannot write %.150s: %s", options->output, strerror(saved));
    return cli_library_error("asm", options->json, &err);
}

/* The place in the source that was shown last: the next line is mostly the next one. */
struct cursor {
    const struct asm_source *source;
    uint32_t number;
    const char *at;
};

/* Line `number` of a text, without its end; *len is 0 when there is none. */
static const char *line_of(struct cursor *cursor, const struct asm_source *source,
                           uint32_t number, size_t *len)
{
    const char *end = source->text != NULL ? source->text + source->len : NULL;

    if (cursor->source != source || cursor->number > number)
        *cursor = (struct cursor){source, 1, source->text};
    *len = 0;
    while (cursor->at != NULL && cursor->at < end) {
        const char *stop = memchr(cursor->at, '\n', (size_t)(end - cursor->at));
        if (cursor->number == number) {
            *len = (size_t)((stop != NULL ? stop : end) - cursor->at);
            if (*len > 0 && cursor->at[*len - 1] == '\r')
                --*len;
            return cursor->at;
        }
        cursor->number++;
        cursor->at = stop != NULL ? stop + 1 : end;
    }
    return "";
}

/* One word of the program, and the instruction's entry when it is the first of one. */
struct row {
    uint32_t address, word;
    const struct machine_line *line;
};

/* Calls `show` for each word of the text, and of the data without a line. */
static void each_row(const struct machine_program *program,
                     void (*show)(void *context, const struct row *row), void *context)
{
    size_t next = 0;

    for (size_t i = 0; i < program->nsegments; i++) {
        const struct machine_segment *s = &program->segments[i];
        for (uint32_t at = 0; at < s->bytes; at += 4) {
            struct row row = {.address = s->address + at};
            for (uint32_t k = 0; k < 4; k++) {
                uint32_t byte = at + k < s->bytes ? s->data[at + k] : 0;
                row.word |= byte << 8 * (program->big_endian ? 3 - k : k);
            }
            while (next < program->nlines && program->lines[next].address < row.address)
                next++;
            if (next < program->nlines && program->lines[next].address == row.address)
                row.line = &program->lines[next];
            show(context, &row);
        }
    }
}

/* What the listing needs to show source lines. */
struct listing {
    const struct machine_program *program;
    const struct texts *texts;
    struct cursor cursor;
    json_t *rows; /* NULL: print */
};

static void print_row(const struct listing *listing, const struct row *row, const char *text,
                      size_t len)
{
    printf("0x%08" PRIx32 "  0x%08" PRIx32, row->address, row->word);
    if (row->line != NULL) {
        printf("  %5" PRIu32 "  ", row->line->line);
        if (listing->program->nfiles > 1) {
            text_print_line_safe(stdout, listing->program->files[row->line->file]);
            fputs(": ", stdout);
        }
        text_print_safe(stdout, text, len, true);
    }
    putchar('\n');
}

static void show_row(void *context, const struct row *row)
{
    struct listing *listing = context;
    const char *text = "";
    size_t len = 0;

    if (row->line != NULL)
        text = line_of(&listing->cursor, &listing->texts->sources[row->line->file],
                       row->line->line, &len);
    if (listing->rows == NULL) {
        print_row(listing, row, text, len);
        return;
    }
    json_t *object = json_pack("{s:I, s:I}", "address", (json_int_t)row->address, "word",
                               (json_int_t)row->word);
    if (row->line != NULL) {
        char *copy = strndup(text, len);
        json_object_set_new(object, "file",
                            report_text_json(listing->program->files[row->line->file]));
        json_object_set_new(object, "line", json_integer(row->line->line));
        json_object_set_new(object, "source", report_text_json(copy != NULL ? copy : ""));
        free(copy);
    }
    json_array_append_new(listing->rows, object);
}

static json_t *program_json(const struct machine_program *program)
{
    json_t *segments = json_array(), *symbols = json_array();

    for (size_t i = 0; i < program->nsegments; i++) {
        const struct machine_segment *s = &program->segments[i];
        json_array_append_new(
            segments, json_pack("{s:I, s:I, s:I, s:b, s:b}", "address", (json_int_t)s->address,
                                "bytes", (json_int_t)s->bytes, "memory_bytes",
                                (json_int_t)s->memory_bytes, "writable", s->writable, "executable",
                                s->executable));
    }
    for (size_t i = 0; i < program->nsymbols; i++) {
        const struct machine_symbol *s = &program->symbols[i];
        json_array_append_new(symbols, json_pack("{s:o, s:I, s:b}", "name",
                                                 report_text_json(s->name), "address",
                                                 (json_int_t)s->address, "global", s->global));
    }
    return json_pack("{s:I, s:I, s:b, s:b, s:b, s:o, s:o}", "entry", (json_int_t)program->entry,
                     "instructions", (json_int_t)program->nlines, "big_endian",
                     program->big_endian, "delayed_branches", program->delayed_branches, "simple",
                     program->simple, "segments", segments, "symbols", symbols);
}

static void print_summary(const struct machine_program *program)
{
    uint64_t text = 0, data = 0;

    for (size_t i = 0; i < program->nsegments; i++) {
        const struct machine_segment *s = &program->segments[i];
        *(s->executable ? &text : &data) += s->memory_bytes;
    }
    printf("%zu instruction%s, %" PRIu64 " bytes of text, %" PRIu64 " bytes of data, "
           "entry 0x%08" PRIx32 "\n",
           program->nlines, program->nlines == 1 ? "" : "s", text, data, program->entry);
}

static int show_program(const struct machine_program *program, const struct cli_options *options)
{
    struct texts texts = {0};
    struct listing listing = {.program = program, .texts = &texts};
    int status = CLI_GO_ON;

    if (options->list)
        status = read_texts(options, program->files, program->nfiles, true, &texts);
    if (status == CLI_GO_ON && options->json) {
        json_t *object = program_json(program);
        if (options->list) {
            listing.rows = json_array();
            each_row(program, show_row, &listing);
            json_object_set_new(object, "listing", listing.rows);
        }
        status = report_print_json(object, CLI_OK);
    } else if (status == CLI_GO_ON) {
        if (options->list)
            each_row(program, show_row, &listing);
        else if (options->output == NULL)
            print_summary(program);
        status = cli_finish(CLI_OK);
    }
    free_texts(&texts);
    return status;
}

static int assemble(const struct cli_options *options, const struct texts *texts)
{
    struct asm_options how = {
        .big_endian = options->big_endian,
        .delayed_branches = options->delayed_branches,
        .read = read_include,
    };
    struct machine_program program;
    struct asm_errors errors;
    int status;

    if (asm_assemble(texts->sources, texts->n, &how, &program, &errors) != 0) {
        status = report_errors(&errors, options);
    } else {
        status = options->output != NULL ? write_image(&program, options) : CLI_GO_ON;
        if (status == CLI_GO_ON)
            status = show_program(&program, options);
    }
    machine_program_free(&program);
    asm_errors_free(&errors);
    return status;
}

int cmd_asm(int argc, char **argv)
{
    struct cli_options options;
    struct texts texts = {0};
    int status = cli_options_parse(argc, argv, &options);

    if (status == CLI_GO_ON && options.noperands == 0)
        status = cli_usage_error("asm", options.json, "which source?");
    if (status == CLI_GO_ON)
        status = read_texts(&options, options.operands, (size_t)options.noperands, false, &texts);
    if (status == CLI_GO_ON)
        status = assemble(&options, &texts);
    free_texts(&texts);
    cli_options_fini(&options);
    return status;
}
