/* The KVM backend: the processor's virtualisation through /dev/kvm. */
#ifndef VM_KVM_KVM_H
#define VM_KVM_KVM_H

#include "vm/vm.h"

#include <pthread.h>

extern const struct vm_ops kvm_ops;

struct kvm_cpu;
struct kvm_run;
struct kvm_sregs;

/* How the vCPU came to stand where it stands, as far as loading a state must know. */
enum kvm_after {
    KVM_AFTER_OUT,    /* a port write at CPL 3 or a SYSCALL, or nothing ran yet */
    KVM_AFTER_SIGNAL, /* interrupted: an event may be pending */
    KVM_AFTER_OTHER,  /* a final exit: anything may be */
};

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
    bool entered;    /* KVM may know something of the guest's memory and tables */

    /* Loading and saving the CPU's state; see kvm_save.c. */
    enum kvm_after after;
    bool out_pending; /* KVM may finish the port write of the last exit on the next entry */
    uint32_t components; /* enum vm_component bits that a guest can have here */
    bool uses_resume;    /* x87 to AVX are loaded by the resume page */
    bool fpu_pending;    /* `fpu` is to be loaded on the next entry */
    bool resume_valid;   /* the resume page leads to `resumed` with `fpu` */
    uint64_t resumed[3]; /* RAX, RDX, RIP */
    struct vm_fpu fpu;

    /* The dirty log; see kvm_dirty.c. */
    bool dirty_on;
    bool dirty_manual;      /* the kernel's log is cleared by KVM_CLEAR_DIRTY_LOG alone */
    uint64_t *dirty_sticky; /* dirty pages that the kernel's log no longer has; NULL: off */
    uint64_t *dirty_log;    /* room for the kernel's */
    const char *broken; /* why the guest must not run on; NULL while it may */

    /* Interrupts; see kvm_run.c. */
    atomic_bool stop;
    atomic_bool in_run;
    atomic_int kickers;
    pthread_t runner;
};

#define KVM_XSAVE_COMPONENTS 8 /* those below 8; the others are not for guests */
/* The largest component that is known has 1 KiB, and then ends inside of struct kvm_xsave. */
#define KVM_XSAVE_OFFSET_MAX 3072u

/* kvm_cpuid.c: the CPU that guests see; immutable, for the life of the process. */
struct kvm_cpuid2;
struct kvm_cpu {
    struct kvm_cpuid2 *cpuid;
    bool has_avx; /* XCR0 can have KVM_XCR0 */
    uint32_t xsave_offset[KVM_XSAVE_COMPONENTS]; /* of a component in the standard format */
    uint32_t mxcsr_mask;
};

#define KVM_XCR0 7u /* x87, SSE, AVX */
#define KVM_FXSAVE_MXCSR 24 /* offset of MXCSR in an FXSAVE image; its mask follows */

int kvm_cpu_get(int kvm_fd, const struct kvm_cpu **out, struct mf_error *err);

/* kvm_state.c: registers of a new vCPU, and the self-test. */
int kvm_state_init(struct kvm_vm *kvm, struct mf_error *err);
/*
 * The system registers of a guest at CPL 3, over what *sregs holds of others. FS, GS, DS
 * and ES come with the user data segment and base 0.
 */
void kvm_fill_sregs(const struct kvm_vm *kvm, struct kvm_sregs *sregs);
/* Loads them, and notes them as those that the vCPU has. */
int kvm_set_sregs(struct kvm_vm *kvm, const struct kvm_sregs *sregs, struct mf_error *err);
/* The model-specific registers and XCR0, as in a new vCPU. */
int kvm_reset_msrs(struct kvm_vm *kvm, struct mf_error *err);
int kvm_set_segment_base(struct vm *vm, unsigned index, uint64_t base, struct mf_error *err);
uint64_t kvm_get_segment_base(struct vm *vm, unsigned index);

/* kvm_run.c */
int kvm_run_guest(struct vm *vm, struct vm_exit *exit, struct mf_error *err);
void kvm_interrupt(struct vm *vm);
/* CR2 of the vCPU: the address of the last page fault. */
uint64_t kvm_get_cr2(struct kvm_vm *kvm);

/* kvm_window.c */
int kvm_attach(struct vm *vm, mf_gva gva, const struct mem_window *window, unsigned prot,
               struct mf_error *err);
void kvm_detach(struct vm *vm, mf_gva gva, const struct mem_window *window);
/*
 * KVM_RUN ended with the error `number`. True, with *exit filled, when the guest touched
 * a page of a window that the host has lost.
 */
bool kvm_lost_memory(struct kvm_vm *kvm, int number, struct vm_exit *exit);
/* An exit for an access where no memory slot is, or a write to one that is read-only. */
void kvm_read_mmio(struct kvm_vm *kvm, struct vm_exit *exit);

/* kvm_save.c */
/* Whether all that a guest can have fits into the resume page's image. */
bool kvm_resume_fits(const struct kvm_vm *kvm);
int kvm_save(struct vm *vm, struct vm_state *state, struct mf_error *err);
int kvm_load(struct vm *vm, const struct vm_state *state, struct mf_error *err);
/* Before an entry, when fpu_pending is set: loads `fpu`, or aims the vCPU at the resume page. */
int kvm_load_fpu(struct kvm_vm *kvm, struct mf_error *err);
/*
 * After an interrupt: when it came in the resume page or in the stub of SYSCALL, makes the
 * registers those of code of the guest's own again.
 */
void kvm_settle_interrupt(struct kvm_vm *kvm);

/* kvm_dirty.c */
int kvm_dirty_start(struct vm *vm, struct mf_error *err);
int kvm_dirty_collect(struct vm *vm, uint64_t *bitmap, struct mf_error *err);
int kvm_dirty_clean(struct vm *vm, const uint64_t *bitmap, struct mf_error *err);
void kvm_retable(struct vm *vm, const mf_gpa *stale, size_t n);
void kvm_dirty_fini(struct kvm_vm *kvm);
/* Makes the CPU forget all translations and all that it knows of the tables. Contents stay. */
void kvm_zap_all(struct kvm_vm *kvm);

/* kvm.c */
/* Makes `bytes` of guest memory, or none, memory slot 0; -1 with errno. */
int kvm_set_memory_slot(struct kvm_vm *kvm, uint64_t bytes);
/* Makes the CPU forget every translation to a range of guest physical memory. Contents stay. */
void kvm_zap(void *context, mf_gpa gpa, uint64_t bytes);

/* kvm_signal.c: the signal that stops vCPUs, installed once per process. */
int kvm_signal_install(int requested, int *signo, struct mf_error *err);

#endif
