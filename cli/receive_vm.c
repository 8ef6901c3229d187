/* A machine that came in; see receive_vm.h. */
#include "receive_vm.h"
#include "vm_target.h"

#include "machine/host/move.h"

#include <stdlib.h>

struct received_vm {
    struct vmm_common common;
    struct vmm_machine machine;
    struct vmm_gate gate;
    struct vmm_remote remote;
};

int receive_vm_create(struct console_guest *console, bool to_stderr, struct received_vm **out,
                      struct mf_error *err)
{
    struct received_vm *vm = calloc(1, sizeof *vm);

    *out = NULL;
    if (vm == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    int status = vmm_gate_init(&vm->gate, err);
    if (status != MF_OK) {
        free(vm);
        return status;
    }
    pthread_mutex_init(&vm->common.terminal.lock, NULL);
    vm->common.terminal.wake_fd = -1;
    vm->common.terminal.output_to_stderr = to_stderr;
    vm->common.no_final_state = true;
    vm->remote = (struct vmm_remote){
        .context = console,
        .read = console_guest_read,
        .write = console_guest_write,
        .wait = console_guest_wait,
    };
    status = vmm_move_prepare(&vm->machine, &vm->common, &vm->gate,
                              console != NULL ? &vm->remote : NULL, err);
    if (status != MF_OK) {
        receive_vm_destroy(vm);
        return status;
    }
    *out = vm;
    return MF_OK;
}

void receive_vm_accept(struct received_vm *vm, struct mf_host **host, struct mf_io *io)
{
    *host = vm->machine.host;
    vm->machine.host = NULL;
    vmm_io_table(&vm->machine.io, io);
}

int receive_vm_state(struct received_vm *vm, const void *data, size_t len, struct mf_error *err)
{
    return vmm_move_receive(&vm->machine, data, len, err);
}

void receive_vm_arrive(struct received_vm *vm, struct mf_sandbox *sandbox)
{
    vmm_move_arrive(&vm->machine, sandbox);
}

void receive_vm_target(struct received_vm *vm, struct moving *moving,
                       struct control_target_options *target)
{
    vm_target_fill(target, &vm->machine, moving);
}

int receive_vm_run(struct received_vm *vm, int *status)
{
    vmm_machine_run(&vm->machine);
    *status = vm_target_status(&vm->machine);
    return vm->machine.outcome == VMM_MOVED ? MF_E_MOVED : MF_OK;
}

void receive_vm_stop(struct received_vm *vm)
{
    vmm_machine_stop(&vm->machine);
}

void receive_vm_drop(struct received_vm *vm)
{
    vmm_machine_drop(&vm->machine);
}

void receive_vm_destroy(struct received_vm *vm)
{
    if (vm == NULL)
        return;
    vmm_machine_close(&vm->machine);
    vmm_gate_fini(&vm->gate);
    pthread_mutex_destroy(&vm->common.terminal.lock);
    free(vm);
}
