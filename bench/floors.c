/* The floors on kvm: what the raw VM of floor_kvm.c does for each figure. */
#include "floor_kvm.h"
#include "measures.h"

#include <stdlib.h>
#include <string.h>

struct floor_state {
    struct floor_kvm kvm;
    struct floor_vm vm; /* open while vm.memory is set */
    uint8_t *buffer;    /* BENCH_BYTES, for the floor that copies */
};

static void floor_close(void *state)
{
    struct floor_state *floor = state;

    if (floor->vm.memory != NULL)
        floor_vm_close(&floor->vm);
    floor_kvm_fini(&floor->kvm);
    free(floor->buffer);
    free(floor);
}

static int open_kvm(const struct bench *bench, void **state, struct mf_error *err)
{
    struct floor_state *floor = calloc(1, sizeof(*floor));
    int status;

    (void)bench;
    if (floor == NULL)
        return bench_no_memory(err);
    status = floor_kvm_init(&floor->kvm, err);
    if (status != MF_OK) {
        free(floor);
        return status;
    }
    *state = floor;
    return MF_OK;
}

/* Beside the VM a buffer of BENCH_BYTES, written once so that its pages are there. */
static int open_vm(const struct bench *bench, void **state, struct mf_error *err)
{
    struct floor_state *floor;
    int status = open_kvm(bench, state, err);

    if (status != MF_OK)
        return status;
    floor = *state;
    floor->buffer = malloc(BENCH_BYTES);
    if (floor->buffer == NULL) {
        floor_close(floor);
        return bench_no_memory(err);
    }
    memset(floor->buffer, 0x5a, BENCH_BYTES);
    status = floor_vm_open(&floor->kvm, BENCH_MEMORY_BYTES, FLOOR_GUEST_EXITS, &floor->vm, err);
    if (status != MF_OK)
        floor_close(floor);
    return status;
}

static int round_run(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct floor_state *floor = state;
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status = floor_vm_run(&floor->vm, err);

        if (status != MF_OK)
            return status;
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

/* One entry, with the bytes copied into the guest's memory before and out of it after. */
static int round_run_copy(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct floor_state *floor = state;
    uint8_t *shared = floor->vm.memory + (BENCH_MEMORY_BYTES / 2);
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status;

        memcpy(shared, floor->buffer, BENCH_BYTES);
        status = floor_vm_run(&floor->vm, err);
        if (status != MF_OK)
            return status;
        memcpy(floor->buffer, shared, BENCH_BYTES);
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

static int round_create(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct floor_state *floor = state;
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        int status =
            floor_vm_open(&floor->kvm, BENCH_MEMORY_BYTES, FLOOR_GUEST_EXITS, &floor->vm, err);

        if (status != MF_OK)
            return status;
        status = floor_vm_run(&floor->vm, err);
        floor_vm_close(&floor->vm);
        if (status != MF_OK)
            return status;
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

const struct bench_measure bench_floor_run = {
    .name = "KVM_RUN to an out at CPL 3",
    .open = open_vm,
    .round = round_run,
    .close = floor_close,
};

const struct bench_measure bench_floor_run_copy = {
    .name = "KVM_RUN, memcpy of 64 KiB in and out",
    .open = open_vm,
    .round = round_run_copy,
    .close = floor_close,
};

const struct bench_measure bench_floor_create = {
    .name = "VM, slot, vCPU, CPUID, registers, a run, close",
    .open = open_kvm,
    .round = round_create,
    .close = floor_close,
};
