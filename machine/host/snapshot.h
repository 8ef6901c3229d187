/* Snapshots of machines as files: Mayfly's format, and the older one of 132 bytes. */
#ifndef MACHINE_HOST_SNAPSHOT_H
#define MACHINE_HOST_SNAPSHOT_H

#include "machine/host/machine.h"

/* 32 registers and the index of the next instruction, 4 bytes each. */
#define LEGACY_BYTES 132

enum snapshot_format { SNAPSHOT_NONE, SNAPSHOT_MAYFLY, SNAPSHOT_LEGACY };

/*
 * Which format the file has, or SNAPSHOT_NONE with machine->err saying why none:
 * MF_E_SYSTEM, MF_E_SNAPSHOT.
 */
enum snapshot_format snapshot_recognise(struct vmm_machine *machine, const char *path);

/*
 * Where a SNAPSHOT instruction that names `name` writes: below the machine's folder, unless
 * any path is allowed. Refuses to replace what is no snapshot. *path is from malloc.
 * MF_E_ARGUMENT, MF_E_SYSTEM, MF_E_NO_MEMORY, in machine->err.
 */
int snapshot_resolve(struct vmm_machine *machine, const char *name, char **path);

/* Writes the machine as it is to `path`, in the format that was chosen. */
int snapshot_write(struct vmm_machine *machine, const char *path);

/* Loads a file of the older format into a machine that was just made. */
int snapshot_load_legacy(struct vmm_machine *machine, const char *path);

/* Writes and reads the older format. False: it has no such place in the program. */
bool snapshot_encode_legacy(const struct machine_program *program,
                            const struct machine_state *state, uint8_t out[LEGACY_BYTES]);
bool snapshot_decode_legacy(const struct machine_program *program,
                            const uint8_t in[LEGACY_BYTES], struct machine_state *state);

#endif
