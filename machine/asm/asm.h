/*
 * The assembler: MIPS sources to a struct machine_program. It takes what SPIM and MARS
 * take, and the simple dialect, which needs neither labels nor directives. Any bytes are
 * safe input: an error is reported, with its place, and nothing else happens.
 */
#ifndef MACHINE_ASM_ASM_H
#define MACHINE_ASM_ASM_H

#include "machine/program.h"

/* A source. `name` is for messages, and where paths of .include start from. */
struct asm_source {
    const char *name;
    const char *text;
    size_t len;
};

/*
 * Reads the file that an .include names, seen from the file `from`. Gives out its name for
 * messages and its text, both from malloc: the assembler frees them. Returns NULL, or why it
 * cannot be read (a static string).
 */
typedef const char *asm_read_file(void *context, const char *path, const char *from, char **name,
                                  char **text, size_t *len);

struct asm_options {
    bool big_endian;
    /*
     * The machine has delay slots; the assembler fills those that the source does not fill
     * (.set noreorder). A source with .set noreorder has them in any case.
     */
    bool delayed_branches;
    asm_read_file *read; /* NULL: .include is an error */
    void *context;
    uint32_t max_bytes; /* of all segments together; 0: 64 MiB */
};

#define ASM_ERRORS_MAX 100
#define ASM_MESSAGE 256

struct asm_error {
    char *file; /* NULL: about the whole program */
    uint32_t line, column; /* from 1; 0: none */
    char message[ASM_MESSAGE];
    char *text; /* the source line, without control characters; or NULL */
};

/* All errors of a run in the order of the sources, up to ASM_ERRORS_MAX. */
struct asm_errors {
    struct asm_error *list;
    size_t count;
    size_t more; /* that were not kept */
};

/*
 * Assembles `n` sources into one program. Labels belong to their source unless .globl
 * says otherwise. Returns 0 and a program (free it with machine_program_free), or -1 with
 * at least one error in `errors`. `errors` is written in both cases, and is to be given to
 * asm_errors_free.
 */
int asm_assemble(const struct asm_source *sources, size_t n, const struct asm_options *options,
                 struct machine_program *program, struct asm_errors *errors);

void asm_errors_free(struct asm_errors *errors);

/*
 * Writes an error as text, NUL-terminated and cut to `len`: "file:line:column: message",
 * and below it the line with a caret. Returns the length without the NUL.
 */
size_t asm_error_format(const struct asm_error *error, char *text, size_t len);

#endif
