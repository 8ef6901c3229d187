/* Programs of machines as files: loading one, telling two apart, finding places in one. */
#ifndef MACHINE_HOST_PROGRAM_H
#define MACHINE_HOST_PROGRAM_H

#include "machine/host/config.h"
#include "machine/program.h"

#define PROGRAM_DIGEST 32

struct program_options {
    enum vmm_endian endian; /* of assembly; another file must agree unless it is ANY */
    bool delayed_branches;  /* of assembly */
};

/*
 * Loads an assembly source, an image of `mayfly asm -o`, or a MIPS32 ELF, whichever the file
 * is. On success *program is for machine_program_free. With errors in a source, *report is a
 * text of lines with all of them, from malloc; else NULL. MF_E_IMAGE, MF_E_SYSTEM,
 * MF_E_ARGUMENT, MF_E_NO_MEMORY.
 */
int program_load(const char *path, const struct program_options *options,
                 struct machine_program *program, char **report, struct mf_error *err);

/* SHA-256 of all that matters to the machine: not names of files, labels and lines. */
void program_digest(const struct machine_program *program, uint8_t digest[PROGRAM_DIGEST]);

/* Whether `address` is in the text. */
bool program_executable(const struct machine_program *program, uint32_t address);

/* The source line that the instruction at `address` came from, or NULL. */
const struct machine_line *program_line(const struct machine_program *program, uint32_t address);

/* The last symbol at or before `address` in the same segment, or NULL. */
const struct machine_symbol *program_symbol(const struct machine_program *program,
                                            uint32_t address);

/* The symbol of that name, or NULL. */
const struct machine_symbol *program_find(const struct machine_program *program,
                                          const char *name);

/*
 * The address of the written instruction `index` of the text, as legacy snapshots count them,
 * and back. One behind the last is the end of the text. False: there is none.
 */
bool program_address_of(const struct machine_program *program, uint32_t index,
                        uint32_t *address);
bool program_index_of(const struct machine_program *program, uint32_t address, uint32_t *index);

/* "file.s:12 (main+8)", as much as is known, of `address`; cut to `size`. */
void program_place(const struct machine_program *program, uint32_t address, char *buf,
                   size_t size);

/* The text of a source line without blanks at its end; "" when it cannot be read. */
void program_source(const struct machine_program *program, const struct machine_line *line,
                    char *buf, size_t size);

/* The same of a source that is in memory. */
void program_source_in(const char *text, size_t len, uint32_t line, char *buf, size_t size);

#endif
