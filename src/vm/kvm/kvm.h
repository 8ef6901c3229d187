/* The KVM backend: the processor's virtualisation through /dev/kvm. */
#ifndef VM_KVM_KVM_H
#define VM_KVM_KVM_H

#include "vm/vm.h"

#include <pthread.h>

extern const struct vm_ops kvm_ops;

struct kvm_cpu;
struct kvm_run;

/* The inside of a VM of this backend, shared by the files of this folder. */
struct kvm_vm {
    struct vm vm; /* first */
    int kvm_fd, vm_fd, vcpu_fd;
    struct kvm_run *run; /* shared with the kernel */
    size_t run_bytes;
    int signal;     /* stops a running vCPU; MF_SIGNAL_NONE */
    const struct kvm_cpu *cpu;
    /*
     * How this host treats SYSCALL at CPL 3: on hardware the stub runs at CPL 0 and
     * must return by SYSRETQ; on others CPL stays 3 and the host sets RIP.
     */
    bool syscall_keeps_cpl;
    bool in_syscall; /* the vCPU stands in the stub at CPL 0 */
    uint64_t segment_base[2];

    /* Interrupts; see kvm_run.c. */
    atomic_bool stop;
    atomic_bool in_run;
    atomic_int kickers;
    pthread_t runner;
};

/* kvm_cpuid.c: the CPU that guests see; immutable, for the life of the process. */
struct kvm_cpuid2;
struct kvm_cpu {
    struct kvm_cpuid2 *cpuid;
    bool has_avx; /* XCR0 can have KVM_XCR0 */
};

#define KVM_XCR0 7u /* x87, SSE, AVX */

int kvm_cpu_get(int kvm_fd, const struct kvm_cpu **out, struct mf_error *err);

/* kvm_state.c: registers of a new vCPU, and the self-test. */
int kvm_state_init(struct kvm_vm *kvm, struct mf_error *err);
int kvm_set_segment_base(struct vm *vm, unsigned index, uint64_t base, struct mf_error *err);
uint64_t kvm_get_segment_base(struct vm *vm, unsigned index);

/* kvm_run.c */
int kvm_run_guest(struct vm *vm, struct vm_exit *exit, struct mf_error *err);
void kvm_interrupt(struct vm *vm);
/* CR2 of the vCPU: the address of the last page fault. */
uint64_t kvm_get_cr2(struct kvm_vm *kvm);

/* kvm_signal.c: the signal that stops vCPUs, installed once per process. */
int kvm_signal_install(int requested, int *signo, struct mf_error *err);

#endif
