/*
 * Programs as files. What a file is, its beginning says: an ELF, an image that the assembler
 * wrote, or else a source.
 */
#include "machine/host/program.h"

#include "machine/asm/asm.h"
#include "machine/host/elf.h"
#include "machine/host/file.h"
#include "machine/image.h"

#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For .include: a static text is wanted on failure, so the reason is coarse. */
static const char *read_include(void *context, const char *path, const char *from, char **name,
                                char **text, size_t *len)
{
    struct mf_error err;
    uint8_t *data;

    (void)context;
    *name = hostfile_beside(from, path);
    if (*name == NULL)
        return "out of memory";
    if (hostfile_read(*name, FILE_BYTES_MAX, &data, len, &err) != MF_OK) {
        free(*name);
        *name = NULL;
        return err.sys_errno == 0 && err.code == MF_E_NO_MEMORY ? "out of memory"
                                                                : "it cannot be read";
    }
    *text = (char *)data;
    return NULL;
}

/* All errors of the assembler as one text. */
static char *report_errors(const struct asm_errors *errors)
{
    char *text = NULL, one[4 * ASM_MESSAGE];
    size_t len = 0;
    FILE *file = open_memstream(&text, &len);

    if (file == NULL)
        return NULL;
    for (size_t i = 0; i < errors->count; i++) {
        asm_error_format(&errors->list[i], one, sizeof one);
        fputs(one, file);
        if (one[0] == 0 || one[strlen(one) - 1] != '\n')
            fputc('\n', file);
    }
    if (errors->more > 0)
        fprintf(file, "and %zu more\n", errors->more);
    fclose(file);
    return text;
}

static int assemble(const char *path, const char *text, size_t len,
                    const struct program_options *options, struct machine_program *program,
                    char **report, struct mf_error *err)
{
    struct asm_source source = {.name = path, .text = text, .len = len};
    struct asm_options how = {
        .big_endian = options->endian == VMM_ENDIAN_BIG,
        .delayed_branches = options->delayed_branches,
        .read = read_include,
    };
    struct asm_errors errors;

    int status = asm_assemble(&source, 1, &how, program, &errors) == 0 ? MF_OK : MF_E_IMAGE;
    if (status != MF_OK) {
        size_t n = errors.count + errors.more;
        *report = report_errors(&errors);
        mf_fail(err, MF_E_IMAGE, "%.150s: %zu error%s", path, n, n == 1 ? "" : "s");
    }
    asm_errors_free(&errors);
    return status;
}

/* Files that have a byte order of their own. */
static int check_endian(const char *path, const struct program_options *options,
                        struct machine_program *program, struct mf_error *err)
{
    bool wanted = options->endian == VMM_ENDIAN_BIG;

    if (options->endian == VMM_ENDIAN_ANY || program->big_endian == wanted)
        return MF_OK;
    mf_fail(err, MF_E_IMAGE, "%.150s is a %s-endian program, and vm_endian says %s", path,
            program->big_endian ? "big" : "little", wanted ? "big" : "little");
    machine_program_free(program);
    return MF_E_IMAGE;
}

int program_load(const char *path, const struct program_options *options,
                 struct machine_program *program, char **report, struct mf_error *err)
{
    uint8_t *data;
    size_t len;
    const char *why = NULL;

    *report = NULL;
    memset(program, 0, sizeof *program);
    int status = hostfile_read(path, FILE_BYTES_MAX, &data, &len, err);
    if (status != MF_OK)
        return status;
    if (elf_recognise(data, len)) {
        status = elf_load(data, len, path, program, err);
    } else if (machine_image_recognise(data, len)) {
        if (machine_image_decode(data, len, program, &why) != 0)
            status = mf_fail(err, MF_E_IMAGE, "%.120s: not a usable image: %.100s", path, why);
    } else {
        status = assemble(path, (const char *)data, len, options, program, report, err);
    }
    free(data);
    return status == MF_OK ? check_endian(path, options, program, err) : status;
}

static void add_number(struct sha256_ctx *sha, uint32_t number)
{
    uint8_t bytes[4] = {(uint8_t)number, (uint8_t)(number >> 8), (uint8_t)(number >> 16),
                        (uint8_t)(number >> 24)};

    sha256_update(sha, sizeof bytes, bytes);
}

void program_digest(const struct machine_program *program, uint8_t digest[PROGRAM_DIGEST])
{
    struct sha256_ctx sha;

    sha256_init(&sha);
    add_number(&sha, program->entry);
    add_number(&sha, (uint32_t)program->big_endian | (uint32_t)program->delayed_branches << 1 |
                         (uint32_t)program->simple << 2);
    add_number(&sha, (uint32_t)program->nsegments);
    for (size_t i = 0; i < program->nsegments; i++) {
        const struct machine_segment *s = &program->segments[i];
        add_number(&sha, s->address);
        add_number(&sha, s->bytes);
        add_number(&sha, s->memory_bytes);
        add_number(&sha, (uint32_t)s->writable | (uint32_t)s->executable << 1);
        sha256_update(&sha, s->bytes, s->data);
    }
    for (size_t i = 0; i < program->nstrings; i++)
        sha256_update(&sha, strlen(program->strings[i]) + 1, (const uint8_t *)program->strings[i]);
    sha256_digest(&sha, PROGRAM_DIGEST, digest);
}

static const struct machine_segment *segment_of(const struct machine_program *program,
                                                uint32_t address)
{
    for (size_t i = 0; i < program->nsegments; i++) {
        const struct machine_segment *s = &program->segments[i];
        if (address >= s->address && address - s->address < s->memory_bytes)
            return s;
    }
    return NULL;
}

bool program_executable(const struct machine_program *program, uint32_t address)
{
    const struct machine_segment *s = segment_of(program, address);

    return s != NULL && s->executable;
}

const struct machine_line *program_line(const struct machine_program *program, uint32_t address)
{
    size_t low = 0, high = program->nlines;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (program->lines[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    const struct machine_line *line = &program->lines[low - 1];
    const struct machine_segment *s = segment_of(program, address);
    return s != NULL && s == segment_of(program, line->address) && line->file < program->nfiles
               ? line
               : NULL;
}

const struct machine_symbol *program_symbol(const struct machine_program *program,
                                            uint32_t address)
{
    size_t low = 0, high = program->nsymbols;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (program->symbols[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    const struct machine_symbol *symbol = &program->symbols[low - 1];
    const struct machine_segment *s = segment_of(program, address);
    return s != NULL && s == segment_of(program, symbol->address) ? symbol : NULL;
}

const struct machine_symbol *program_find(const struct machine_program *program, const char *name)
{
    for (size_t i = 0; i < program->nsymbols; i++) {
        if (strcmp(program->symbols[i].name, name) == 0)
            return &program->symbols[i];
    }
    return NULL;
}

/* The text of a simple program is one segment; others count from their first one. */
static const struct machine_segment *text_of(const struct machine_program *program)
{
    for (size_t i = 0; i < program->nsegments; i++) {
        if (program->segments[i].kind == SEGMENT_TEXT)
            return &program->segments[i];
    }
    return NULL;
}

/* The lines of the text: the first one and how many. */
static const struct machine_line *text_lines(const struct machine_program *program,
                                             const struct machine_segment *text, size_t *n)
{
    const struct machine_line *first = NULL;

    *n = 0;
    for (size_t i = 0; i < program->nlines; i++) {
        const struct machine_line *line = &program->lines[i];
        if (line->address < text->address || line->address - text->address >= text->bytes)
            continue;
        if (first == NULL)
            first = line;
        ++*n;
    }
    return first;
}

bool program_address_of(const struct machine_program *program, uint32_t index, uint32_t *address)
{
    const struct machine_segment *text = text_of(program);
    size_t n;

    if (text == NULL)
        return false;
    const struct machine_line *lines = text_lines(program, text, &n);
    if (lines == NULL)
        n = text->bytes / 4;
    if (index > n)
        return false;
    if (index == n)
        *address = text->address + text->bytes;
    else
        *address = lines != NULL ? lines[index].address : text->address + 4 * index;
    return true;
}

bool program_index_of(const struct machine_program *program, uint32_t address, uint32_t *index)
{
    const struct machine_segment *text = text_of(program);
    size_t n;

    if (text == NULL || address < text->address || address - text->address > text->bytes ||
        (address - text->address) % 4 != 0)
        return false;
    const struct machine_line *lines = text_lines(program, text, &n);
    if (lines == NULL) {
        *index = (address - text->address) / 4;
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        if (lines[i].address == address) {
            *index = (uint32_t)i;
            return true;
        }
    }
    *index = (uint32_t)n;
    return address - text->address == text->bytes;
}

void program_place(const struct machine_program *program, uint32_t address, char *buf, size_t size)
{
    const struct machine_line *line = program_line(program, address);
    const struct machine_symbol *symbol = program_symbol(program, address);
    char where[192] = "";

    if (line != NULL)
        snprintf(where, sizeof where, "%.160s:%u", program->files[line->file], line->line);
    if (symbol == NULL)
        snprintf(buf, size, "%s", where);
    else if (symbol->address == address)
        snprintf(buf, size, "%s%s(%.100s)", where, line != NULL ? " " : "", symbol->name);
    else
        snprintf(buf, size, "%s%s(%.100s+%u)", where, line != NULL ? " " : "", symbol->name,
                 address - symbol->address);
}

void program_source_in(const char *text, size_t len, uint32_t line, char *buf, size_t size)
{
    const char *at = text, *end = text + len;
    size_t n = 0;

    for (uint32_t i = 1; i < line && at != NULL; i++) {
        at = memchr(at, '\n', (size_t)(end - at));
        at = at != NULL ? at + 1 : NULL;
    }
    for (; at != NULL && at < end && n + 1 < size && *at != 0 && *at != '\n' && *at != '\r'; at++) {
        unsigned char c = (unsigned char)*at;
        buf[n++] = c == '\t' ? ' ' : c < ' ' || c == 0x7f ? '?' : (char)c;
    }
    while (n > 0 && buf[n - 1] == ' ')
        n--;
    buf[n] = 0;
}

void program_source(const struct machine_program *program, const struct machine_line *line,
                    char *buf, size_t size)
{
    struct mf_error err;
    uint8_t *data;
    size_t len;

    buf[0] = 0;
    if (hostfile_read(program->files[line->file], FILE_BYTES_MAX, &data, &len, &err) != MF_OK)
        return;
    program_source_in((const char *)data, len, line->line, buf, size);
    free(data);
}
