/*
 * The state of a new vCPU. It starts at CPL 3 in long mode, with nothing of a
 * boot in between; the registers are set once, and on the call path never again
 * (general registers travel through kvm_run).
 *
 * Sources: KVM API document 4.12 ff. (KVM_GET_SREGS, KVM_SET_CPUID2, KVM_SET_XCRS);
 * AMD64 APM vol. 2, 3.1 and 11.5 (XCR0).
 */
#include "vm/kvm/kvm.h"

#include "base/checked.h"
#include "base/error.h"
#include "vm/x86.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

/* A KVM that does not take this state is one that guests cannot run on. */
static int host_error(struct mf_error *err, const char *what)
{
    return error_set_errno(err, errno == ENOMEM ? MF_E_NO_MEMORY : MF_E_BACKEND, errno,
                           "KVM refused %s", what);
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, uint8_t dpl)
{
    return (struct kvm_segment){
        .limit = 0xffffffff,
        .selector = selector,
        .type = type,
        .present = 1,
        .dpl = dpl,
        .s = 1,
        .g = 1,
    };
}

void kvm_fill_sregs(const struct kvm_vm *kvm, struct kvm_sregs *sregs)
{
    sregs->cs = segment(X86_SEL_USER_CODE, 11, 3);
    sregs->cs.l = 1;
    sregs->ss = segment(X86_SEL_USER_DATA, 3, 3);
    sregs->ss.db = 1;
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss;
    sregs->tr = (struct kvm_segment){
        .base = X86_TSS_GVA,
        .limit = X86_TSS_LIMIT,
        .selector = X86_SEL_TSS,
        .type = 11,
        .present = 1,
    };
    sregs->ldt = (struct kvm_segment){.type = 2, .unusable = 1};
    sregs->gdt = (struct kvm_dtable){.base = X86_GDT_GVA, .limit = X86_GDT_LIMIT};
    sregs->idt = (struct kvm_dtable){.base = X86_IDT_GVA, .limit = X86_IDT_LIMIT};
    sregs->cr0 = X86_CR0;
    sregs->cr2 = 0;
    sregs->cr3 = LAYOUT_GPA(PML4);
    sregs->cr4 = X86_CR4_BASE | (kvm->cpu->has_avx ? X86_CR4_OSXSAVE : 0);
    sregs->cr8 = 0;
    sregs->efer = X86_EFER;
}

int kvm_set_sregs(struct kvm_vm *kvm, const struct kvm_sregs *sregs, struct mf_error *err)
{
    if (ioctl(kvm->vcpu_fd, KVM_SET_SREGS, sregs) != 0)
        return host_error(err, "the system registers");
    kvm->run->s.regs.sregs = *sregs;
    return 0;
}

static int init_sregs(struct kvm_vm *kvm, struct mf_error *err)
{
    struct kvm_sregs sregs;
    if (ioctl(kvm->vcpu_fd, KVM_GET_SREGS, &sregs) != 0)
        return host_error(err, "to read the system registers");
    kvm_fill_sregs(kvm, &sregs);
    return kvm_set_sregs(kvm, &sregs, err);
}

static int set_msrs(struct kvm_vm *kvm, const struct kvm_msr_entry *entries, size_t n,
                    struct mf_error *err)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entries[4];
    } msrs = {.head = {.nmsrs = (uint32_t)n}};
    memcpy(msrs.entries, entries, n * sizeof *entries);
    int set = ioctl(kvm->vcpu_fd, KVM_SET_MSRS, &msrs);
    if (set < 0)
        return host_error(err, "the model-specific registers");
    if ((size_t)set != n)
        return error_set(err, MF_E_BACKEND, "KVM does not know model-specific register %#x",
                         entries[set].index);
    return 0;
}

static int set_xcr0(struct kvm_vm *kvm, struct mf_error *err)
{
    struct kvm_xcrs xcrs = {.nr_xcrs = 1};
    xcrs.xcrs[0].value = KVM_XCR0;
    if (ioctl(kvm->vcpu_fd, KVM_SET_XCRS, &xcrs) != 0)
        return host_error(err, "the extended control register");
    return 0;
}

int kvm_set_segment_base(struct vm *vm, unsigned index, uint64_t base, struct mf_error *err)
{
    struct kvm_vm *kvm = (struct kvm_vm *)vm;
    struct kvm_msr_entry entry = {
        .index = index == 0 ? X86_MSR_FS_BASE : X86_MSR_GS_BASE,
        .data = base,
    };
    int rc = set_msrs(kvm, &entry, 1, err);
    struct kvm_sregs *sregs = &kvm->run->s.regs.sregs;
    if (rc == 0)
        *(index == 0 ? &sregs->fs.base : &sregs->gs.base) = base;
    return rc;
}

/* The guest can change them, too: it may load a selector. Each exit shows them. */
uint64_t kvm_get_segment_base(struct vm *vm, unsigned index)
{
    const struct kvm_sregs *sregs = &((struct kvm_vm *)vm)->run->s.regs.sregs;
    return index == 0 ? sregs->fs.base : sregs->gs.base;
}

/*
 * How this host treats SYSCALL at CPL 3, and which parts of XCR0 the guest really
 * has (not every host takes away what we did not ask for). Found out by the first VM of
 * the process and the same for all: facts about the host, written once, as one word.
 */
#define HOST_KNOWN (UINT64_C(1) << 63)
#define HOST_KEEPS_CPL (UINT64_C(1) << 62)
#define HOST_XCR0 UINT64_C(0xffffffff)
static _Atomic(uint64_t) known_host;

/*
 * Lets the vCPU execute one SYSCALL at CPL 3. That shows that this KVM really runs
 * such a guest, and how it treats the instruction. It must not be found out from
 * the first SYSCALL of a guest, which could fake it.
 */
static int self_test(struct kvm_vm *kvm, uint64_t *host, struct mf_error *err)
{
    struct vm_exit exit;
    x86_allow_port(kvm->vm.mem, X86_PORT_SYSCALL, true);
    kvm->syscall_keeps_cpl = true;
    memset(kvm->vm.regs, 0, sizeof *kvm->vm.regs);
    kvm->vm.regs->rip = kvm->cpu->has_avx ? X86_SELFTEST_XCR0_GVA : X86_SELFTEST_GVA;
    kvm->vm.regs->rflags = X86_RFLAGS;
    kvm->vm.regs_changed = true;
    int rc = kvm_run_guest(&kvm->vm, &exit, err);
    if (rc != 0)
        return rc;
    if (exit.kind != VM_EXIT_SYSCALL || kvm->vm.regs->rcx != X86_SELFTEST_GVA + 2)
        return error_set(err, MF_E_BACKEND,
                         "/dev/kvm is there but a test program did not run in its VM (%s)",
                         exit.kind == VM_EXIT_DEAD ? exit.detail : "unexpected exit");
    struct kvm_sregs sregs;
    if (ioctl(kvm->vcpu_fd, KVM_GET_SREGS, &sregs) != 0)
        return host_error(err, "to read the system registers");
    *host = HOST_KNOWN | (kvm->vm.regs->rax & HOST_XCR0);
    if (sregs.cs.dpl == 3 && sregs.ss.dpl == 3)
        *host |= HOST_KEEPS_CPL;
    return 0;
}

/* The components that a guest can have, of those that a saved state has room for. */
static uint32_t find_components(const struct kvm_cpu *cpu, uint64_t xcr0)
{
    static const uint32_t known = VM_AVX | VM_OPMASK | VM_ZMM_HIGH | VM_ZMM_MORE;
    uint32_t components = VM_X87 | VM_SSE;
    for (unsigned i = 0; cpu->has_avx && i < KVM_XSAVE_COMPONENTS; i++)
        if (known & (uint32_t)xcr0 & 1u << i && cpu->xsave_offset[i] != 0 &&
            cpu->xsave_offset[i] <= KVM_XSAVE_OFFSET_MAX)
            components |= 1u << i;
    return components;
}

/*
 * Settles how system calls come and go. After a self-test on hardware the vCPU
 * stands in the stub at CPL 0, from where the first real entry returns by SYSRETQ
 * like from any system call.
 */
static int settle_syscalls(struct kvm_vm *kvm, struct mf_error *err)
{
    uint64_t host = atomic_load(&known_host);
    bool tested = !(host & HOST_KNOWN);
    if (tested) {
        int rc = self_test(kvm, &host, err);
        if (rc != 0)
            return rc;
        atomic_store(&known_host, host);
    }
    kvm->components = find_components(kvm->cpu, host & HOST_XCR0);
    kvm->uses_resume = kvm_resume_fits(kvm);
    kvm->syscall_keeps_cpl = (host & HOST_KEEPS_CPL) != 0;
    kvm->in_syscall = tested && !kvm->syscall_keeps_cpl;
    x86_allow_port(kvm->vm.mem, X86_PORT_SYSCALL, kvm->syscall_keeps_cpl);
    memset(kvm->vm.regs, 0, sizeof *kvm->vm.regs);
    kvm->vm.regs->rflags = X86_RFLAGS;
    kvm->vm.regs_changed = true;
    return 0;
}

int kvm_reset_msrs(struct kvm_vm *kvm, struct mf_error *err)
{
    static const struct kvm_msr_entry msrs[] = {
        {.index = X86_MSR_STAR, .data = X86_STAR},
        {.index = X86_MSR_LSTAR, .data = X86_SYSCALL_GVA},
        {.index = X86_MSR_SFMASK, .data = X86_SFMASK},
    };
    int rc = set_msrs(kvm, msrs, ARRAY_LEN(msrs), err);
    if (rc == 0 && kvm->cpu->has_avx)
        rc = set_xcr0(kvm, err);
    return rc;
}

int kvm_state_init(struct kvm_vm *kvm, struct mf_error *err)
{
    int rc = kvm_cpu_get(kvm->kvm_fd, &kvm->cpu, err);
    if (rc == 0 && ioctl(kvm->vcpu_fd, KVM_SET_CPUID2, kvm->cpu->cpuid) != 0)
        rc = host_error(err, "the CPU's features");
    if (rc == 0)
        rc = init_sregs(kvm, err);
    if (rc == 0)
        rc = kvm_reset_msrs(kvm, err);
    if (rc == 0)
        rc = settle_syscalls(kvm, err);
    return rc;
}
