/* What others may ask of a machine; see vm_target.h. */
#include "vm_target.h"
#include "cli.h"
#include "interrupt.h"
#include "report.h"

#include "machine/host/move.h"

#include <signal.h>

static struct mf_sandbox *get_sandbox(void *context)
{
    return atomic_load(&((struct vmm_machine *)context)->sandbox);
}

static uint64_t get_memory(void *context)
{
    return ((const struct vmm_machine *)context)->config.memory_bytes;
}

static void stop(void *context)
{
    vmm_machine_stop(context);
}

/* A snapshot of a machine is one that machines can start from: between two turns. */
static int hold(void *context, uint64_t timeout_ns, struct mf_error *err)
{
    return vmm_gate_hold(((struct vmm_machine *)context)->gate, timeout_ns, err);
}

static void release(void *context)
{
    vmm_gate_release(((struct vmm_machine *)context)->gate);
}

static const char *get_state(void *context)
{
    const struct vmm_machine *machine = context;

    return atomic_load(&machine->gate->ended) ? "ended" : NULL;
}

/* ---- moving ---- */

static int begin_move(void *context, struct mf_error *err)
{
    return vmm_move_begin(context, err);
}

static int collect_state(void *context, const void **data, size_t *len, struct mf_error *err)
{
    return vmm_move_state(context, data, len, err);
}

static void end_move(void *context, bool gone)
{
    vmm_move_end(context, gone);
}

static const struct moving_part part = {
    .begin = begin_move,
    .state = collect_state,
    .end = end_move,
    .resume = "mayfly vm PROGRAM -s",
};

void vm_target_fill(struct control_target_options *target, struct vmm_machine *machine,
                    struct moving *moving)
{
    *target = (struct control_target_options){
        .kind = "vm",
        .sandbox = get_sandbox,
        .memory_bytes = get_memory,
        .stop = stop,
        .hold = hold,
        .release = release,
        .state = get_state,
        .moving = moving,
        .context = machine,
    };
    if (moving != NULL) {
        moving->part = &part;
        moving->part_context = machine;
    }
}

int vm_target_status(const struct vmm_machine *machine)
{
    switch (machine->outcome) {
    case VMM_EXITED:
    case VMM_POWERED_OFF:
        return machine->io.write_error != 0 ? CLI_HOST_ERROR : machine->exit_code & 0xff;
    case VMM_FAULTED:
    case VMM_REFUSED:
    case VMM_STUCK:
        return CLI_GUEST_DIED;
    case VMM_LIMIT:
        return CLI_LIMIT;
    case VMM_DEADLINE:
        return CLI_DEADLINE;
    case VMM_INTERRUPTED:
        /* By a signal; otherwise by `mayfly stop`, which stands for one. */
        return CLI_SIGNALLED + (interrupt_signal() != 0 ? interrupt_signal() : SIGTERM);
    default:
        return machine->err.code == MF_OK         ? CLI_HOST_ERROR
               : machine->err.code == MF_E_ARGUMENT ? CLI_HOST_ERROR
                                                    : report_status(machine->err.code);
    }
}
