/* Basic blocks of a program, and how often each was executed. */
#ifndef MACHINE_HOST_BLOCKS_H
#define MACHINE_HOST_BLOCKS_H

#include "machine/host/machine.h"

/*
 * Fills machine->statistics.blocks. A snapshot of before there were such counts has none, which
 * is no error. MF_OK or MF_E_* with machine->err filled.
 */
int blocks_count(struct vmm_machine *machine);

#endif
