/* The debugger of `mayfly vm --step`: commands from standard input, answers on standard output. */
#ifndef MACHINE_HOST_DEBUG_H
#define MACHINE_HOST_DEBUG_H

#include "machine/host/machine.h"

/*
 * Makes the machine, and lets the user step through it until `quit`, the end of the input, or a
 * signal. The outcome says how the machine stood then. True: the user ended it before its end.
 */
bool vmm_debug(struct vmm_machine *machine);

#endif
