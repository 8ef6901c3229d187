/* Stands in for floor_kvm.c on processors for which there is no raw VM here. */
#include "floor_kvm.h"

#include <mayfly/host.h>

static int fail_none(struct mf_error *err)
{
    return mf_fail(err, MF_E_BACKEND, "there is no raw VM for this processor");
}

int floor_kvm_init(struct floor_kvm *kvm, struct mf_error *err)
{
    (void)kvm;
    return fail_none(err);
}

void floor_kvm_fini(struct floor_kvm *kvm)
{
    (void)kvm;
}

int floor_vm_open(const struct floor_kvm *kvm, size_t memory_bytes, enum floor_guest guest,
                  struct floor_vm *vm, struct mf_error *err)
{
    (void)kvm;
    (void)memory_bytes;
    (void)guest;
    (void)vm;
    return fail_none(err);
}

void floor_vm_close(struct floor_vm *vm)
{
    (void)vm;
}

int floor_vm_run(struct floor_vm *vm, struct mf_error *err)
{
    (void)vm;
    return fail_none(err);
}

int floor_vm_run_until_signal(struct floor_vm *vm, struct mf_error *err)
{
    (void)vm;
    return fail_none(err);
}
