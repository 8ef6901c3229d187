/* MIPS32 ELF files as programs of the machine. */
#ifndef MACHINE_HOST_ELF_H
#define MACHINE_HOST_ELF_H

#include "machine/program.h"

#include <mayfly/mayfly.h>

/* Whether the bytes begin as an ELF file does. */
bool elf_recognise(const uint8_t *data, size_t len);

/*
 * Makes a program of a static MIPS32 ELF file, of either byte order. All of it that is used
 * is checked; `name` is for messages. On success *program is for machine_program_free.
 * MF_E_IMAGE: not such a file, and why; MF_E_NO_MEMORY.
 */
int elf_load(const uint8_t *data, size_t len, const char *name, struct machine_program *program,
             struct mf_error *err);

#endif
