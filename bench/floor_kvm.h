/*
 * A virtual machine made of nothing but the system calls that KVM cannot do
 * without, with a guest of two instructions. What it costs is what the hardware
 * and the kernel cost: the floor of the figures on kvm.
 */
#ifndef BENCH_FLOOR_KVM_H
#define BENCH_FLOOR_KVM_H

#include <mayfly/error.h>

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

/* What is asked of /dev/kvm once, before any VM. */
struct floor_kvm {
    int fd;
    size_t run_bytes;         /* size of a vCPU's mapped struct kvm_run */
    struct kvm_cpuid2 *cpuid; /* what KVM_SET_CPUID2 gets */
};

/* One VM, its memory, and its only vCPU. */
struct floor_vm {
    int vm_fd;
    int vcpu_fd;
    struct kvm_run *run;
    size_t run_bytes;
    uint8_t *memory; /* guest physical 0 to memory_bytes */
    size_t memory_bytes;
};

/* Where the guest begins. Both guests run at CPL 3. */
enum floor_guest {
    FLOOR_GUEST_EXITS, /* for ever: out %eax, $port */
    FLOOR_GUEST_SPINS, /* out %eax, $port once, then jumps to itself for ever */
};

/*
 * Opens /dev/kvm and asks it what a VM needs to know. Errors: MF_E_BACKEND,
 * MF_E_NO_MEMORY; *kvm needs no floor_kvm_fini then.
 */
int floor_kvm_init(struct floor_kvm *kvm, struct mf_error *err);
void floor_kvm_fini(struct floor_kvm *kvm);

/*
 * Makes a VM with `memory_bytes` (a multiple of 4096, at least 64 KiB) of
 * memory, up to but without its first run. Errors: MF_E_SYSTEM, MF_E_NO_MEMORY;
 * *vm needs no floor_vm_close then.
 */
int floor_vm_open(const struct floor_kvm *kvm, size_t memory_bytes, enum floor_guest guest,
                  struct floor_vm *vm, struct mf_error *err);
void floor_vm_close(struct floor_vm *vm);

/* Enters the guest and comes back with its next `out`. MF_E_SYSTEM for anything else. */
int floor_vm_run(struct floor_vm *vm, struct mf_error *err);

/* Enters the guest, which is expected to be stopped by a signal. */
int floor_vm_run_until_signal(struct floor_vm *vm, struct mf_error *err);

#endif
