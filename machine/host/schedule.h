/* Running several machines: all at the same time, or one after the other in turns. */
#ifndef MACHINE_HOST_SCHEDULE_H
#define MACHINE_HOST_SCHEDULE_H

#include "machine/host/machine.h"

enum vmm_schedule {
    VMM_PARALLEL,    /* a thread for each machine */
    VMM_ROUND_ROBIN, /* turns of their slices, in the order given: the same on every run */
};

/*
 * Makes and runs the machines to their ends; one that fails stops no other, and
 * one that has an outcome already is left out. A signal that
 * makes common->terminal.wake_fd readable ends all. MF_E_SYSTEM
 * when there are too few threads: the machines without one stay VMM_READY.
 */
int vmm_schedule(struct vmm_machine *machines, size_t n, enum vmm_schedule how,
                 struct mf_error *err);

#endif
