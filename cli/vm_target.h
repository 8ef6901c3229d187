/* A machine under a name: what `mayfly vm` and `mayfly receive` tell the control socket of one. */
#ifndef CLI_VM_TARGET_H
#define CLI_VM_TARGET_H

#include "control.h"
#include "moving.h"

#include "machine/host/machine.h"

/*
 * Fills all but the name. The machine has a gate. `moving` (NULL: it cannot be moved) gets to know
 * what moves along.
 */
void vm_target_fill(struct control_target_options *target, struct vmm_machine *machine,
                    struct moving *moving);

/* The exit status that a machine's end stands for. */
int vm_target_status(const struct vmm_machine *machine);

#endif
