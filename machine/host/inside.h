/* Calling the guest program of a machine. machine.h has what the rest of the host uses. */
#ifndef MACHINE_HOST_INSIDE_H
#define MACHINE_HOST_INSIDE_H

#include "machine/host/machine.h"

/* Makes the sandbox the machine's, wherever it stands: at its beginning or in a run(). */
void vmm_machine_take(struct vmm_machine *machine, struct mf_sandbox *sandbox);

/* Fills machine->host with the functions that the guest program calls. */
int vmm_machine_make_host(struct vmm_machine *machine);

/* Calls an exported function; `result` may be NULL. Errors are in machine->err. */
int inside_call(struct vmm_machine *machine, const char *function, const struct mf_value *args,
                size_t nargs, struct mf_value *result);

/* The same for a function whose result is `len` bytes, which are copied to `out`. */
int inside_get(struct vmm_machine *machine, const char *function, const struct mf_value *args,
               size_t nargs, void *out, size_t len);

/* run(): fills *stop, whose text ends in a NUL. */
int inside_run(struct vmm_machine *machine, uint64_t instructions, struct machine_stop *stop);

/* Goes on with a run() of so many instructions that was stopped in the middle. */
int inside_resume(struct vmm_machine *machine, uint64_t instructions, struct machine_stop *stop);

#endif
