/*
 * A machine that moves to another process while it runs. Its sandbox moves by mf_migrate_out and
 * mf_migrate_in, which know nothing of what is around it here: configuration, program,
 * limits, the beginnings of lines that are not complete. That is its parcel, the `state` of
 * the two. A machine moves between two turns or in the middle of one, whose instructions the
 * parcel names; never while what a turn stopped for is being handled.
 *
 * A parcel is a struct parcel_head (move.c), then name, path of the program, the two
 * beginnings of lines, the encoded program (machine/image.h), and for each of its files
 * a length, UINT32_MAX for none, and the text: messages quote it where the file is not.
 * Numbers are little-endian.
 */
#ifndef MACHINE_HOST_MOVE_H
#define MACHINE_HOST_MOVE_H

#include "machine/host/machine.h"

/* ---- the source: on the thread of the migration; the machine has a gate ---- */

/*
 * Before mf_migrate_out. MF_E_STATE: it cannot move, and why, for instance a disk. On success
 * vmm_move_end is to follow.
 */
int vmm_move_begin(struct vmm_machine *machine, struct mf_error *err);

/* The `state` of mf_migrate_options: the parcel, which stays the machine's. */
int vmm_move_state(struct vmm_machine *machine, const void **data, size_t *len,
                   struct mf_error *err);

/* `gone`: it goes on elsewhere, or may; its next turn ends it here, with VMM_MOVED. */
void vmm_move_end(struct vmm_machine *machine, bool gone);

/* ---- the receiver ---- */

/*
 * Makes a machine without program and sandbox, in *machine and *common, whose terminal says
 * whether lines carry names. `remote`: its streams; NULL: the output of this process. The
 * functions that its sandbox needs are in machine->host, its streams in machine->io. To be
 * given to vmm_machine_close in every case. MF_E_NO_MEMORY.
 */
int vmm_move_prepare(struct vmm_machine *machine, struct vmm_common *common,
                     struct vmm_gate *gate, const struct vmm_remote *remote,
                     struct mf_error *err);

/*
 * The `state` of mf_migrate_in_options: reads a parcel that nobody vouches for. MF_E_PEER: it
 * is none. MF_E_REFUSED: of another version. MF_E_NO_MEMORY.
 */
int vmm_move_receive(struct vmm_machine *machine, const void *data, size_t len,
                     struct mf_error *err);

/* After the commit: the sandbox is the machine's, which is ready for vmm_machine_run. */
void vmm_move_arrive(struct vmm_machine *machine, struct mf_sandbox *sandbox);

/* Frees what the functions above keep. */
void vmm_move_fini(struct vmm_machine *machine);

#endif
