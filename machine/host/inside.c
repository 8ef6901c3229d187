/*
 * The exported functions of the guest program, called with checks: what comes back is copied
 * once, and used only when it has the form that machine/protocol.h promises.
 */
#include "machine/host/inside.h"

#include "machine/host/blocks.h"
#include "machine/isa/isa.h"

#include <stdlib.h>
#include <string.h>

static int broken(struct vmm_machine *machine, const char *function)
{
    return mf_fail(&machine->err, MF_E_PROTOCOL, "the machine answered %s() with something else "
                                                 "than the protocol says", function);
}

int inside_call(struct vmm_machine *machine, const char *function, const struct mf_value *args,
                size_t nargs, struct mf_value *result)
{
    struct mf_value ignored;

    atomic_fetch_add(&machine->calls, 1);
    return mf_sandbox_call(atomic_load(&machine->sandbox), function, args, nargs,
                           result != NULL ? result : &ignored, &machine->err);
}

static int copy_bytes(struct vmm_machine *machine, const char *function,
                      const struct mf_value *result, void *out, size_t len)
{
    if (result->type != MF_BYTES || result->bytes.len != len)
        return broken(machine, function);
    memcpy(out, result->bytes.data, len);
    return MF_OK;
}

int inside_get(struct vmm_machine *machine, const char *function, const struct mf_value *args,
               size_t nargs, void *out, size_t len)
{
    struct mf_value result = mf_void();

    int status = inside_call(machine, function, args, nargs, &result);
    return status == MF_OK ? copy_bytes(machine, function, &result, out, len) : status;
}

static int check_stop(struct vmm_machine *machine, uint64_t instructions,
                      struct machine_stop *stop)
{
    stop->text[sizeof stop->text - 1] = 0;
    if (stop->reason > MACHINE_WAIT || stop->executed > instructions)
        return broken(machine, "run");
    return MF_OK;
}

int inside_run(struct vmm_machine *machine, uint64_t instructions, struct machine_stop *stop)
{
    struct mf_value arg = mf_u64(instructions);

    int status = inside_get(machine, "run", &arg, 1, stop, sizeof *stop);
    return status == MF_OK ? check_stop(machine, instructions, stop) : status;
}

int inside_resume(struct vmm_machine *machine, uint64_t instructions, struct machine_stop *stop)
{
    struct mf_value result = mf_void();

    atomic_fetch_add(&machine->calls, 1);
    int status = mf_sandbox_resume(atomic_load(&machine->sandbox), &result, NULL, &machine->err);
    if (status == MF_OK)
        status = copy_bytes(machine, "run", &result, stop, sizeof *stop);
    return status == MF_OK ? check_stop(machine, instructions, stop) : status;
}

int vmm_machine_state(struct vmm_machine *machine, struct machine_state *state)
{
    return inside_get(machine, "state", NULL, 0, state, sizeof *state);
}

int vmm_machine_set_state(struct vmm_machine *machine, const struct machine_state *state)
{
    struct mf_value arg = mf_bytes(state, sizeof *state);

    return inside_call(machine, "set_state", &arg, 1, NULL);
}

int vmm_machine_peek(struct vmm_machine *machine, uint32_t address, void *buf, size_t *len)
{
    struct mf_value args[2] = {mf_u32(address), mf_u32((uint32_t)*len)};
    struct mf_value result = mf_void();

    int status = inside_call(machine, "peek", args, 2, &result);
    if (status != MF_OK)
        return status;
    if (result.type != MF_BYTES || result.bytes.len > *len)
        return broken(machine, "peek");
    *len = result.bytes.len;
    if (*len > 0)
        memcpy(buf, result.bytes.data, *len);
    return MF_OK;
}

int vmm_machine_set_break(struct vmm_machine *machine, uint32_t address, bool on)
{
    struct mf_value args[2] = {mf_u32(address), mf_bool(on)};

    return inside_call(machine, "set_break", args, 2, NULL);
}

int vmm_machine_set_trace(struct vmm_machine *machine, bool on)
{
    struct mf_value arg = mf_bool(on);

    return inside_call(machine, "trace", &arg, 1, NULL);
}

int vmm_machine_get_statistics(struct vmm_machine *machine)
{
    struct vmm_statistics *statistics = &machine->statistics;
    struct mf_value result = mf_void();

    int status = inside_call(machine, "stats", NULL, 0, &result);
    if (status != MF_OK)
        return status;
    if (result.type != MF_BYTES || result.bytes.len < sizeof statistics->stats)
        return broken(machine, "stats");
    size_t rest = result.bytes.len - sizeof statistics->stats;
    memcpy(&statistics->stats, result.bytes.data, sizeof statistics->stats);
    if (statistics->stats.ncounts != ISA_COUNT || rest != ISA_COUNT * sizeof(uint64_t))
        return broken(machine, "stats");
    free(statistics->counts);
    statistics->counts = malloc(rest);
    if (statistics->counts == NULL)
        return mf_fail(&machine->err, MF_E_NO_MEMORY, "out of memory");
    memcpy(statistics->counts, (const char *)result.bytes.data + sizeof statistics->stats, rest);
    return blocks_count(machine);
}

int vmm_machine_check(struct vmm_machine *machine, const char *path)
{
    static const char *const needed[] = {"configure", "config", "load", "run", "state",
                                         "set_state", "peek", "set_break", "stats", "trace"};
    struct mf_sandbox *sandbox = atomic_load(&machine->sandbox);
    struct machine_config inside;
    struct mf_error err;

    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (mf_image_find_export(mf_sandbox_image(sandbox), needed[i], &err) < 0)
            return mf_fail(&machine->err, MF_E_SNAPSHOT,
                           "%.150s is a snapshot of another guest, and of no machine", path);
    }
    int status = inside_get(machine, "config", NULL, 0, &inside, sizeof inside);
    if (status == MF_E_PROTOCOL || (status == MF_OK && inside.version != MACHINE_PROTOCOL_VERSION))
        return mf_fail(&machine->err, MF_E_SNAPSHOT,
                       "%.150s is a snapshot of another version of the machine", path);
    if (status != MF_OK)
        return status;
    if (memcmp(inside.program, machine->digest, sizeof inside.program) != 0)
        return mf_fail(&machine->err, MF_E_SNAPSHOT,
                       "%.110s is a snapshot of another program than %.110s", path,
                       machine->config.binary);
    return MF_OK;
}
