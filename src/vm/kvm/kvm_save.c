/*
 * Saving and loading the state of the vCPU: what a snapshot is made of, and what makes a
 * restored sandbox forget what ran in it.
 *
 * Loading is on the path of every restore, where a system call of the vCPU costs a
 * quarter of a whole call. So it makes none as long as the guest only did what guests do:
 *
 *   general registers go in with the next entry, through the kvm_run page;
 *   x87 to AVX are loaded by the guest CPU itself: the next entry goes to the resume page
 *     (x86.h), whose code loads them from an image there and jumps to where the state
 *     goes on. It runs at CPL 3 and can do nothing that the guest could not do;
 *   selectors and segment bases are shown by every exit (KVM_SYNC_X86_SREGS), and set only
 *     when the guest has changed them;
 *   what CPL 3 cannot change (control, debug and model-specific registers) is set anew
 *     only after a final exit, which may have left anything.
 *
 * load() only notes the x87 to AVX state; kvm_load_fpu puts it in place on the next
 * entry. So memory may be replaced between load() and the next run. An interrupt in the
 * resume page is shown to nobody: the guest is taken back to the beginning of the load,
 * which may well be done twice. So is one in the stub of SYSCALL (kvm_settle_interrupt).
 *
 * XRSTOR is told to load everything that XCR0 has, and so resets what the image does not
 * hold, also where the host cannot take AVX-512 or protection keys from a guest.
 *
 * With TF set the guest would trap inside of the resume page: then KVM_SET_XSAVE is used.
 *
 * Sources: Intel SDM vol. 1, 13.4 (layout of the XSAVE area) and 13.8 (XRSTOR); KVM API
 * document, KVM_RUN (completing exits with immediate_exit), KVM_SET_VCPU_EVENTS.
 */
#include "vm/kvm/kvm.h"

#include "base/checked.h"
#include "base/error.h"
#include "vm/x86.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#define RFLAGS_TF UINT64_C(0x100)

#define XSAVE_BV 512 /* offset of XSTATE_BV; the rest of the 64-byte header is zero */
#define XSAVE_HEADER_END 576
#define FXSAVE_XMM 160 /* offset of XMM0 */
#define FXSAVE_XMM_BYTES 256

#define VECTOR_DB 1
#define VECTOR_BP 3
#define VECTOR_OF 4

#define COMPLETION_TRIES 8

_Static_assert(XSAVE_HEADER_END <= X86_RESUME_IMAGE_BYTES, "the smallest image fits");
_Static_assert(sizeof(struct x86_resume) == sizeof((struct kvm_vm *)0)->resumed, "the same");

/* The components behind the header: number, place and size in struct vm_fpu. */
static const struct component {
    unsigned bit;
    size_t at, bytes;
    const char *name;
} components[] = {
    {2, offsetof(struct vm_fpu, ymm_high), sizeof((struct vm_fpu *)0)->ymm_high, "AVX"},
    {5, offsetof(struct vm_fpu, opmask), sizeof((struct vm_fpu *)0)->opmask, "AVX-512"},
    {6, offsetof(struct vm_fpu, zmm_high), sizeof((struct vm_fpu *)0)->zmm_high, "AVX-512"},
    {7, offsetof(struct vm_fpu, zmm_more), sizeof((struct vm_fpu *)0)->zmm_more, "AVX-512"},
};

static int host_error(struct mf_error *err, const char *what)
{
    return error_set_errno(err, errno == ENOMEM ? MF_E_NO_MEMORY : MF_E_SYSTEM, errno,
                           "KVM refused to %s", what);
}

bool kvm_resume_fits(const struct kvm_vm *kvm)
{
    for (size_t i = 0; i < ARRAY_LEN(components); i++) {
        const struct component *c = &components[i];
        if (kvm->components & 1u << c->bit &&
            kvm->cpu->xsave_offset[c->bit] + c->bytes > X86_RESUME_IMAGE_BYTES)
            return false;
    }
    return true;
}

/*
 * Lets KVM finish the exit that the vCPU came out with (the rest of a port write), without
 * running the guest: immediate_exit ends the entry right behind that. The registers in the
 * kvm_run page are then those behind the instruction.
 */
static int finish_exit(struct kvm_vm *kvm, struct mf_error *err)
{
    int rc = 0, tries = COMPLETION_TRIES;
    __atomic_store_n(&kvm->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    do
        rc = ioctl(kvm->vcpu_fd, KVM_RUN, 0);
    while (rc == 0 && --tries > 0);
    int saved = errno;
    /* An interrupt that came meanwhile stays to be taken by the next run. */
    __atomic_store_n(&kvm->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    if (atomic_load(&kvm->stop))
        __atomic_store_n(&kvm->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    kvm->out_pending = false;
    if (rc < 0 && saved == EINTR)
        return 0;
    errno = rc == 0 ? EIO : saved;
    return host_error(err, "finish the last exit");
}

/* ---- Saving ---- */

/*
 * An interrupt can come when an exception is about to be delivered. A fault happens
 * again when its instruction is executed again; a trap would be lost.
 */
static int check_no_trap(struct kvm_vm *kvm, struct mf_error *err)
{
    struct kvm_vcpu_events events;
    if (kvm->run->s.regs.sregs.cs.dpl != 3 && !kvm->in_syscall)
        return error_set(err, MF_E_STATE, "the guest has just faulted: it cannot be saved");
    if (ioctl(kvm->vcpu_fd, KVM_GET_VCPU_EVENTS, &events) != 0)
        return host_error(err, "read pending events");
    if (!events.exception.injected && !events.exception.pending)
        return 0;
    switch (events.exception.nr) {
    case VECTOR_DB:
    case VECTOR_BP:
    case VECTOR_OF:
        return error_set(err, MF_E_STATE, "the guest is about to trap (exception %u): it cannot "
                         "be saved before that", (unsigned)events.exception.nr);
    default:
        return 0;
    }
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= bytes[i];
    return any == 0;
}

/*
 * A component that is all zeros is in its initial state, and left out: a CPU that lacks it
 * can then take the state. (x87 and SSE, which all have, are another matter.)
 */
static int save_fpu(struct kvm_vm *kvm, struct vm_fpu *fpu, struct mf_error *err)
{
    struct kvm_xsave xsave;
    const uint8_t *image = (const uint8_t *)xsave.region;
    if (ioctl(kvm->vcpu_fd, KVM_GET_XSAVE, &xsave) != 0)
        return host_error(err, "read the x87 to AVX state");
    memset(fpu, 0, sizeof *fpu);
    memcpy(fpu->fxsave, image, sizeof fpu->fxsave);
    memcpy(&fpu->components, image + XSAVE_BV, sizeof fpu->components);
    if (fpu->components & ~(uint64_t)kvm->components)
        return error_set(err, MF_E_BACKEND,
                         "the guest uses extended CPU state (XSTATE_BV %#llx) that cannot be saved",
                         (unsigned long long)fpu->components);
    if (fpu->components & VM_AVX)
        fpu->components |= VM_SSE; /* so that MXCSR stays when AVX is left out */
    for (size_t i = 0; i < ARRAY_LEN(components); i++) {
        const struct component *c = &components[i];
        uint32_t offset = kvm->cpu->xsave_offset[c->bit];
        if (!(fpu->components & 1u << c->bit))
            continue;
        if (is_zero(image + offset, c->bytes))
            fpu->components &= ~(UINT64_C(1) << c->bit);
        else
            memcpy((uint8_t *)fpu + c->at, image + offset, c->bytes);
    }
    return 0;
}

static void save_segments(const struct kvm_vm *kvm, struct vm_state *state)
{
    const struct kvm_sregs *sregs = &kvm->run->s.regs.sregs;
    state->segment_base[0] = sregs->fs.base;
    state->segment_base[1] = sregs->gs.base;
    state->segment[0] = sregs->fs.selector;
    state->segment[1] = sregs->gs.selector;
    state->segment[2] = sregs->ds.selector;
    state->segment[3] = sregs->es.selector;
}

int kvm_save(struct vm *vm, struct vm_state *state, struct mf_error *err)
{
    struct kvm_vm *kvm = (struct kvm_vm *)vm;
    int rc = 0;
    if (kvm->after == KVM_AFTER_OTHER)
        return error_set(err, MF_E_STATE, "the guest has ended: there is nothing to save");
    /*
     * After a load the exit is of no interest any more; after a SYSCALL on hardware the
     * registers are those behind SYSRETQ already.
     */
    if (kvm->out_pending && !kvm->fpu_pending && !kvm->in_syscall) {
        if (vm->regs_changed)
            kvm->run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
        vm->regs_changed = false;
        rc = finish_exit(kvm, err);
    }
    if (rc == 0 && kvm->after == KVM_AFTER_SIGNAL)
        rc = check_no_trap(kvm, err);
    if (rc == 0 && kvm->fpu_pending)
        state->fpu = kvm->fpu;
    else if (rc == 0)
        rc = save_fpu(kvm, &state->fpu, err);
    if (rc != 0)
        return rc;
    state->regs = *vm->regs;
    state->regs.rflags = (state->regs.rflags & X86_RFLAGS_USER) | X86_RFLAGS;
    save_segments(kvm, state);
    return 0;
}

/* ---- Loading ---- */

/* The segment that a selector of the guest's stands for; false when CPL 3 cannot load it. */
static bool user_segment(uint16_t selector, const struct kvm_sregs *user, struct kvm_segment *out)
{
    switch (selector & ~3) {
    case 0:
        *out = (struct kvm_segment){.unusable = 1};
        break;
    case X86_SEL_USER_DATA & ~3:
        *out = user->ss;
        break;
    case X86_SEL_USER_CODE & ~3:
        *out = user->cs;
        break;
    default:
        return false;
    }
    out->selector = selector;
    return true;
}

static bool is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

/* The system registers that `state` wants; the rest is as it is. */
static int make_sregs(const struct kvm_vm *kvm, const struct vm_state *state,
                      struct kvm_sregs *sregs, struct mf_error *err)
{
    *sregs = kvm->run->s.regs.sregs;
    kvm_fill_sregs(kvm, sregs);
    struct kvm_segment *const segments[] = {&sregs->fs, &sregs->gs, &sregs->ds, &sregs->es};
    for (size_t i = 0; i < ARRAY_LEN(segments); i++)
        if (!user_segment(state->segment[i], sregs, segments[i]))
            return error_set(err, MF_E_ARGUMENT, "a CPU state with the segment selector %#x, "
                             "which no guest can load", state->segment[i]);
    sregs->fs.base = state->segment_base[0];
    sregs->gs.base = state->segment_base[1];
    if (!is_canonical(sregs->fs.base) || !is_canonical(sregs->gs.base) ||
        state->regs.rip >= LAYOUT_GVA_USER_END)
        return error_set(err, MF_E_ARGUMENT, "a CPU state with an address that is not canonical");
    return 0;
}

static int check_fpu(const struct kvm_vm *kvm, const struct vm_fpu *fpu, struct mf_error *err)
{
    uint64_t missing = fpu->components & ~(uint64_t)kvm->components;
    for (size_t i = 0; i < ARRAY_LEN(components); i++)
        if (missing & 1u << components[i].bit)
            return error_set(err, MF_E_BACKEND, "the CPU state uses %s, which this CPU lacks",
                             components[i].name);
    if (missing != 0)
        return error_set(err, MF_E_BACKEND,
                         "the CPU state has components that this CPU lacks (XSTATE_BV %#llx)",
                         (unsigned long long)missing);
    uint32_t mxcsr;
    memcpy(&mxcsr, fpu->fxsave + KVM_FXSAVE_MXCSR, sizeof mxcsr);
    if (fpu->components & (VM_SSE | VM_AVX) && mxcsr & ~kvm->cpu->mxcsr_mask)
        return error_set(err, MF_E_BACKEND,
                         "the CPU state has MXCSR bits that this CPU lacks (%#x)",
                         mxcsr & ~kvm->cpu->mxcsr_mask);
    return 0;
}

/* Copies x87 to AVX, components that `from` has not being in their initial state. */
static void copy_fpu(struct vm_fpu *to, const struct vm_fpu *from)
{
    static const uint16_t fcw = X86_FCW;
    static const uint32_t mxcsr = X86_MXCSR;
    memcpy(to->fxsave, from->fxsave, sizeof to->fxsave);
    if (!(from->components & VM_X87)) {
        memset(to->fxsave, 0, KVM_FXSAVE_MXCSR);
        memset(to->fxsave + KVM_FXSAVE_MXCSR + 8, 0, FXSAVE_XMM - KVM_FXSAVE_MXCSR - 8);
        memcpy(to->fxsave, &fcw, sizeof fcw);
    }
    if (!(from->components & VM_SSE))
        memset(to->fxsave + FXSAVE_XMM, 0, FXSAVE_XMM_BYTES);
    if (!(from->components & (VM_SSE | VM_AVX)))
        memcpy(to->fxsave + KVM_FXSAVE_MXCSR, &mxcsr, sizeof mxcsr);
    for (size_t i = 0; i < ARRAY_LEN(components); i++) {
        const struct component *c = &components[i];
        if (from->components & 1u << c->bit)
            memcpy((uint8_t *)to + c->at, (const uint8_t *)from + c->at, c->bytes);
        else if (to->components & 1u << c->bit)
            memset((uint8_t *)to + c->at, 0, c->bytes);
    }
    to->components = from->components;
}

/* No exception, interrupt or shadow of one is left. */
static int clear_events(struct kvm_vm *kvm, struct mf_error *err)
{
    struct kvm_vcpu_events events = {.flags = KVM_VCPUEVENT_VALID_SHADOW};
    if (ioctl(kvm->vcpu_fd, KVM_SET_VCPU_EVENTS, &events) != 0)
        return host_error(err, "clear pending events");
    return 0;
}

/* After a final exit: everything that is not loaded in any case is as in a new vCPU. */
static int reset_cpu(struct kvm_vm *kvm, struct mf_error *err)
{
    struct kvm_debugregs debug = {.dr6 = 0xffff0ff0, .dr7 = 0x400};
    int rc = finish_exit(kvm, err);
    if (rc == 0)
        rc = clear_events(kvm, err);
    if (rc == 0 && ioctl(kvm->vcpu_fd, KVM_SET_DEBUGREGS, &debug) != 0)
        rc = host_error(err, "set the debug registers");
    if (rc == 0)
        rc = kvm_reset_msrs(kvm, err);
    if (rc == 0 && ioctl(kvm->vcpu_fd, KVM_GET_SREGS, &kvm->run->s.regs.sregs) != 0)
        rc = host_error(err, "read the system registers");
    return rc;
}

static bool same_segments(const struct kvm_sregs *a, const struct kvm_sregs *b)
{
    return a->cs.selector == b->cs.selector && a->ss.selector == b->ss.selector &&
           a->ds.selector == b->ds.selector && a->es.selector == b->es.selector &&
           a->fs.selector == b->fs.selector && a->gs.selector == b->gs.selector &&
           a->fs.base == b->fs.base && a->gs.base == b->gs.base;
}

int kvm_load(struct vm *vm, const struct vm_state *state, struct mf_error *err)
{
    struct kvm_vm *kvm = (struct kvm_vm *)vm;
    struct kvm_sregs wanted;
    bool full = kvm->after == KVM_AFTER_OTHER;
    int rc = make_sregs(kvm, state, &wanted, err);
    if (rc == 0)
        rc = check_fpu(kvm, &state->fpu, err);
    if (rc == 0 && full) {
        rc = reset_cpu(kvm, err);
        if (rc == 0)
            rc = make_sregs(kvm, state, &wanted, err);
    } else if (rc == 0 && (kvm->after == KVM_AFTER_SIGNAL || vm->regs->rflags & RFLAGS_TF)) {
        rc = clear_events(kvm, err);
    }
    /* This also leaves the stub that a SYSCALL led to. */
    if (rc == 0 && (full || !same_segments(&wanted, &kvm->run->s.regs.sregs)))
        rc = kvm_set_sregs(kvm, &wanted, err);
    if (rc != 0)
        return rc;
    /* The descriptors in memory may come from a host, or a backend, of the other kind. */
    x86_allow_port(vm->mem, X86_PORT_SYSCALL, kvm->syscall_keeps_cpl);
    *vm->regs = state->regs;
    vm->regs->rflags = (state->regs.rflags & X86_RFLAGS_USER) | X86_RFLAGS;
    vm->regs_changed = true;
    kvm->in_syscall = false;
    kvm->after = KVM_AFTER_OUT;
    copy_fpu(&kvm->fpu, &state->fpu);
    kvm->fpu_pending = true;
    return 0;
}

/* Writes an XSAVE image in the standard format to memory that is all zeros. */
static void write_image(const struct kvm_vm *kvm, uint64_t bv, uint8_t *image)
{
    const struct vm_fpu *fpu = &kvm->fpu;
    memcpy(image, fpu->fxsave, sizeof fpu->fxsave);
    memcpy(image + XSAVE_BV, &bv, sizeof bv);
    for (size_t i = 0; i < ARRAY_LEN(components); i++) {
        const struct component *c = &components[i];
        if (fpu->components & 1u << c->bit)
            memcpy(image + kvm->cpu->xsave_offset[c->bit], (const uint8_t *)fpu + c->at, c->bytes);
    }
}

/* Through KVM. A pending exit is finished first, while the registers are still its own. */
static int set_fpu(struct kvm_vm *kvm, struct mf_error *err)
{
    struct kvm_xsave xsave = {0};
    struct mf_registers regs = *kvm->vm.regs;
    int rc = kvm->out_pending ? finish_exit(kvm, err) : 0;
    *kvm->vm.regs = regs;
    if (rc != 0)
        return rc;
    /* Without SSE the kernel would keep the MXCSR of before. */
    write_image(kvm, kvm->fpu.components | VM_X87 | VM_SSE, (uint8_t *)xsave.region);
    if (ioctl(kvm->vcpu_fd, KVM_SET_XSAVE, &xsave) != 0)
        return host_error(err, "load the x87 to AVX state");
    kvm->fpu_pending = kvm->resume_valid = false;
    return 0;
}

int kvm_load_fpu(struct kvm_vm *kvm, struct mf_error *err)
{
    struct mf_registers *regs = kvm->vm.regs;
    uint8_t *page = mem_at(kvm->vm.mem, LAYOUT_GPA(RESUME));
    /*
     * The guest can read this page, so nothing of an earlier load may stay in it. The
     * page is no part of what a sandbox can change: it is not marked (mem_mark).
     */
    memset(page, 0, PAGE_BYTES);
    if (!kvm->uses_resume || regs->rflags & RFLAGS_TF)
        return set_fpu(kvm, err);
    struct x86_resume resume = {.rax = regs->rax, .rdx = regs->rdx, .rip = regs->rip};
    write_image(kvm, kvm->fpu.components, page + X86_RESUME_IMAGE);
    x86_resume_write(kvm->vm.mem, &resume, kvm->cpu->has_avx);
    memcpy(kvm->resumed, &resume, sizeof resume);
    regs->rax = regs->rdx = UINT64_MAX; /* all components */
    regs->rip = X86_RESUME_GVA;
    kvm->vm.regs_changed = true;
    kvm->fpu_pending = false;
    kvm->resume_valid = true;
    return 0;
}

/* In the resume page: back to the state that is being loaded. */
static void leave_resume(struct kvm_vm *kvm)
{
    struct mf_registers *regs = kvm->vm.regs;
    regs->rax = kvm->resumed[0];
    regs->rdx = kvm->resumed[1];
    regs->rip = kvm->resumed[2];
    kvm->vm.regs_changed = true;
    kvm->fpu_pending = true;
}

/*
 * At CPL 0 in the stub of SYSCALL: before SYSRETQ the view is that of after it; before the
 * port write the instruction has not happened yet (it is two bytes long, and RCX and R11
 * are its to destroy).
 */
static void leave_syscall_stub(struct kvm_vm *kvm)
{
    struct mf_registers *regs = kvm->vm.regs;
    regs->rip = regs->rip == X86_SYSCALL_GVA ? regs->rcx - 2 : regs->rcx;
    regs->rflags = (regs->r11 & X86_RFLAGS_USER) | X86_RFLAGS;
    kvm->vm.regs_changed = true;
    kvm->in_syscall = true;
}

/*
 * The same where SYSCALL keeps CPL 3: a state in the stub could go on nowhere else. A guest
 * can jump there by itself; then RCX is anything, and the guest goes on where it said.
 */
static void leave_user_stub(struct kvm_vm *kvm)
{
    struct mf_registers *regs = kvm->vm.regs;
    if (regs->rip != X86_SYSCALL_GVA || regs->rcx < 2 || regs->rcx >= LAYOUT_GVA_USER_END)
        return;
    leave_syscall_stub(kvm);
    kvm->in_syscall = false;
}

void kvm_settle_interrupt(struct kvm_vm *kvm)
{
    mf_gva page = kvm->vm.regs->rip & ~PAGE_MASK_LOW;
    bool user = kvm->run->s.regs.sregs.cs.dpl == 3;
    if (user && kvm->resume_valid && page == X86_RESUME_GVA)
        leave_resume(kvm);
    else if (!user && page == X86_SYSCALL_GVA)
        leave_syscall_stub(kvm);
    else if (user && kvm->syscall_keeps_cpl)
        leave_user_stub(kvm);
}
