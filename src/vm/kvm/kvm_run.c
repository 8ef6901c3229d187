/*
 * Entering the guest, reading exits, and interrupts.
 *
 * Exactly one system call per entry: KVM_RUN. General registers come and go
 * through the kvm_run page (KVM_CAP_SYNC_REGS).
 *
 * Interrupts must never be lost. interrupt() first sets `stop`, then
 * immediate_exit in the kvm_run page, then looks whether the vCPU's thread is
 * between in_run = true and in_run = false, and signals it if so. The thread sets
 * in_run, then looks at `stop`. In the one total order of these accesses either
 * the thread sees `stop`, or interrupt() sees in_run and its signal either breaks
 * KVM_RUN off or arrives before it, where immediate_exit makes KVM_RUN return at
 * once. immediate_exit is cleared before `stop` is looked at, so a second
 * interrupt in between is seen. `kickers` holds the thread back from leaving (and
 * from ending) while somebody is about to signal it. A thread that blocks the signal
 * would not be woken, so each thread unblocks it before it runs its first guest.
 *
 * A port write is finished by KVM on the next entry only. If the host changes RIP
 * meanwhile, KVM drops the completion, on the fast path; on the emulated path RIP
 * is past the instruction already. Both do what is wanted here.
 */
#include "vm/kvm/kvm.h"

#include "base/cpu.h"
#include "base/error.h"
#include "vm/x86.h"

#include <mayfly/sandbox.h>

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <asm/prctl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(sizeof(struct mf_registers) == sizeof(struct kvm_regs), "same registers");
_Static_assert(offsetof(struct mf_registers, rsp) == offsetof(struct kvm_regs, rsp), "same order");
_Static_assert(offsetof(struct mf_registers, r8) == offsetof(struct kvm_regs, r8), "same order");
_Static_assert(offsetof(struct mf_registers, rip) == offsetof(struct kvm_regs, rip), "same order");

#define VECTOR_GP 13
#define VECTOR_PF 14


void kvm_interrupt(struct vm *vm)
{
    struct kvm_vm *kvm = (struct kvm_vm *)vm;
    atomic_store(&kvm->stop, true);
    __atomic_store_n(&kvm->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    atomic_fetch_add(&kvm->kickers, 1);
    if (atomic_load(&kvm->in_run) && kvm->signal != MF_SIGNAL_NONE)
        pthread_kill(kvm->runner, kvm->signal);
    atomic_fetch_sub(&kvm->kickers, 1);
}

/* Takes an interrupt that was asked for; clears immediate_exit first, see above. */
static bool take_interrupt(struct kvm_vm *kvm)
{
    __atomic_store_n(&kvm->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    return atomic_exchange(&kvm->stop, false);
}

/* The signal that this thread lets through already: the call path makes no system call for it. */
static _Thread_local int unblocked;

static void unblock_signal(int signo)
{
    sigset_t set;
    if (signo == unblocked || signo == MF_SIGNAL_NONE)
        return;
    sigemptyset(&set);
    sigaddset(&set, signo);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    unblocked = signo;
}

static void enter_run(struct kvm_vm *kvm)
{
    unblock_signal(kvm->signal);
    kvm->runner = pthread_self();
    atomic_store(&kvm->in_run, true);
}

static void leave_run(struct kvm_vm *kvm)
{
    atomic_store(&kvm->in_run, false);
    while (atomic_load(&kvm->kickers) > 0)
        cpu_relax();
}

/* The selectors of this thread. */
struct selectors {
    uint16_t ds, es, fs, gs;
};

static inline struct selectors read_selectors(void)
{
    struct selectors now;
    __asm__ volatile("mov %%ds, %0" : "=r"(now.ds));
    __asm__ volatile("mov %%es, %0" : "=r"(now.es));
    __asm__ volatile("mov %%fs, %0" : "=r"(now.fs));
    __asm__ volatile("mov %%gs, %0" : "=r"(now.gs));
    return now;
}

/*
 * A KVM that runs CPL 3 natively leaves selectors that the guest loaded in the thread, where
 * the next guest would find them. FS and GS go by the system call that sets a base,
 * which also sets the selector to 0: the base of FS must never be wrong here.
 */
static void restore_selectors(const struct selectors *then, const struct selectors *now)
{
    unsigned long base;
    if (now->ds != then->ds)
        __asm__ volatile("mov %0, %%ds" : : "r"((uint32_t)then->ds));
    if (now->es != then->es)
        __asm__ volatile("mov %0, %%es" : : "r"((uint32_t)then->es));
    if (now->fs != then->fs && syscall(SYS_arch_prctl, ARCH_GET_FS, &base) == 0)
        syscall(SYS_arch_prctl, ARCH_SET_FS, base);
    if (now->gs != then->gs && syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0)
        syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}

/* KVM_RUN, with errno. */
static int enter_guest(struct kvm_vm *kvm)
{
    struct selectors then = read_selectors();
    kvm->entered = true;
    int rc = ioctl(kvm->vcpu_fd, KVM_RUN, 0);
    int saved = errno;
    struct selectors now = read_selectors();
    if (memcmp(&then, &now, sizeof then) != 0)
        restore_selectors(&then, &now);
    errno = saved;
    return rc;
}

uint64_t kvm_get_cr2(struct kvm_vm *kvm)
{
    struct kvm_sregs sregs;
    return ioctl(kvm->vcpu_fd, KVM_GET_SREGS, &sregs) == 0 ? sregs.cr2 : 0;
}

static void set_exception(struct vm_exit *exit, uint8_t vector, uint64_t error_code)
{
    exit->kind = VM_EXIT_EXCEPTION;
    exit->vector = vector;
    exit->error_code = error_code;
    exit->address = 0;
}

static void set_dead(struct vm_exit *exit, const char *text, unsigned long long number)
{
    exit->kind = VM_EXIT_DEAD;
    exit->bus = false;
    snprintf(exit->detail, sizeof exit->detail, "%s %#llx", text, number);
}

/*
 * SYSCALL came to its stub. The view for the caller is that of a CPU that has
 * returned: RIP = RCX, RFLAGS = R11. How to get there differs by host.
 */
static void read_syscall(struct kvm_vm *kvm, struct vm_exit *exit)
{
    struct mf_registers *regs = kvm->vm.regs;
    /*
     * Where SYSCALL keeps CPL 3, a guest can write to the port by itself, or jump to
     * the stub; only what a real SYSCALL can look like passes.
     */
    if ((regs->rip & ~PAGE_MASK_LOW) != X86_SYSCALL_GVA || regs->rcx >= LAYOUT_GVA_USER_END) {
        set_exception(exit, VECTOR_GP, 0);
        return;
    }
    exit->kind = VM_EXIT_SYSCALL;
    kvm->in_syscall = !kvm->syscall_keeps_cpl;
    regs->rip = regs->rcx;
    regs->rflags = (regs->r11 & X86_RFLAGS_USER) | X86_RFLAGS;
    kvm->vm.regs_changed = true;
}

/*
 * An exception came to its stub: the frame is at the top of the kernel stack,
 * which no guest code can reach.
 */
static void read_exception(struct kvm_vm *kvm, struct vm_exit *exit)
{
    struct mf_registers *regs = kvm->vm.regs;
    if ((regs->rip & ~PAGE_MASK_LOW) != X86_STUB_GVA) {
        set_exception(exit, VECTOR_GP, 0);
        return;
    }
    uint8_t vector = (uint8_t)((regs->rip - X86_STUB_GVA) / X86_STUB_BYTES);
    const uint8_t *top = mem_at(kvm->vm.mem, LAYOUT_GPA(KERNEL_STACK) + PAGE_BYTES);
    struct x86_exception_frame frame;
    memcpy(&frame, top - sizeof frame, sizeof frame);
    set_exception(exit, vector, 0);
    if (x86_has_error_code(vector))
        memcpy(&exit->error_code, top - sizeof frame - 8, 8);
    if (vector == VECTOR_PF)
        exit->address = kvm_get_cr2(kvm);
    regs->rip = frame.rip;
    regs->rsp = frame.rsp;
    regs->rflags = frame.rflags;
}

static void read_io(struct kvm_vm *kvm, struct vm_exit *exit)
{
    const struct kvm_run *run = kvm->run;
    exit->port = run->io.port;
    if (run->io.direction != KVM_EXIT_IO_OUT)
        set_exception(exit, VECTOR_GP, 0); /* ports are for writing only */
    else if (run->io.port == X86_PORT_SYSCALL)
        read_syscall(kvm, exit);
    else if (run->io.port == X86_PORT_EXCEPTION)
        read_exception(kvm, exit);
    else
        exit->kind = VM_EXIT_IO;
}

static void read_exit(struct kvm_vm *kvm, struct vm_exit *exit)
{
    const struct kvm_run *run = kvm->run;
    kvm->out_pending = true;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        read_io(kvm, exit);
        break;
    case KVM_EXIT_SHUTDOWN:
        set_dead(exit, "triple fault, KVM exit", run->exit_reason);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        set_dead(exit, "the CPU refused to enter the guest, reason",
                 run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        set_dead(exit, "KVM cannot emulate an instruction, suberror", run->internal.suberror);
        break;
    case KVM_EXIT_MMIO:
        kvm_read_mmio(kvm, exit);
        break;
    default:
        set_dead(exit, "unexpected KVM exit", run->exit_reason);
        break;
    }
    if (exit->kind == VM_EXIT_IO || exit->kind == VM_EXIT_SYSCALL)
        kvm->after = KVM_AFTER_OUT;
}

/* Loads changed registers; from inside the syscall stub the way leads over SYSRETQ. */
static void load_registers(struct kvm_vm *kvm)
{
    struct mf_registers *regs = kvm->vm.regs;
    if (kvm->in_syscall) {
        regs->rcx = regs->rip;
        regs->r11 = regs->rflags;
        regs->rip = X86_SYSRET_GVA;
        regs->rflags = 2;
        kvm->in_syscall = false;
        kvm->vm.regs_changed = true;
    }
    if (!kvm->vm.regs_changed)
        return;
    kvm->run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
    kvm->vm.regs_changed = false;
}

int kvm_run_guest(struct vm *vm, struct vm_exit *exit, struct mf_error *err)
{
    struct kvm_vm *kvm = (struct kvm_vm *)vm;
    int rc, saved = 0;

    if (kvm->broken)
        return error_set(err, MF_E_SYSTEM, "%s", kvm->broken);
    enter_run(kvm);
    if (atomic_load_explicit(&kvm->stop, memory_order_seq_cst) && take_interrupt(kvm)) {
        leave_run(kvm);
        exit->kind = VM_EXIT_INTERRUPT;
        return 0;
    }
    if (kvm->fpu_pending && (rc = kvm_load_fpu(kvm, err)) != 0) {
        leave_run(kvm);
        return rc;
    }
    load_registers(kvm);
    kvm->after = KVM_AFTER_OTHER; /* unless it is found to be better */
    for (;;) {
        rc = enter_guest(kvm);
        saved = errno;
        if (rc == 0 || (saved != EINTR && saved != EAGAIN))
            break;
        if (take_interrupt(kvm))
            break;
    }
    leave_run(kvm);
    if (rc == 0) {
        read_exit(kvm, exit);
        return 0;
    }
    if (saved == EINTR || saved == EAGAIN) {
        exit->kind = VM_EXIT_INTERRUPT;
        kvm->after = KVM_AFTER_SIGNAL;
        kvm->out_pending = false;
        kvm_settle_interrupt(kvm);
        return 0;
    }
    if (kvm_lost_memory(kvm, saved, exit))
        return 0;
    return error_set_errno(err, saved == ENOMEM ? MF_E_NO_MEMORY : MF_E_SYSTEM, saved,
                           "KVM cannot run the guest");
}
