/*
 * The state of the emulated CPU as struct vm_state, in which both backends exchange it.
 *
 * What the emulator does not have is left at zero when saving: where the last x87
 * instruction and its operand were, AVX and AVX-512. When loading, the former is not
 * looked at, and a state with anything else than zero in the latter is refused.
 */
#include "vm/soft/soft.h"

#include "base/checked.h"
#include "base/error.h"
#include "vm/x86.h"

#include <string.h>

#define MXCSR_MASK 0xffff
#define TAGS_EMPTY 0xffff
/* Bits of a selector that say with which rights it is used. */
#define SELECTOR_RPL 3

/* FXSAVE64: Intel SDM vol. 1, table 10-2. */
struct fxsave {
    uint16_t control, status;
    uint8_t tags; /* a bit for each physical register that is in use */
    uint8_t reserved;
    uint16_t opcode;
    uint64_t rip, rdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16], xmm[16][16];
    uint8_t unused[96];
};

_Static_assert(sizeof(struct fxsave) == sizeof((struct vm_fpu *)0)->fxsave, "FXSAVE64");
_Static_assert(sizeof((struct fxsave *)0)->st == sizeof((struct soft_fpu *)0)->st, "x87");
_Static_assert(sizeof((struct fxsave *)0)->xmm == sizeof((struct soft_fpu *)0)->xmm, "SSE");

static const int selectors[] = {UC_X86_REG_FS, UC_X86_REG_GS, UC_X86_REG_DS, UC_X86_REG_ES};

static void save_fpu(struct soft_vm *soft, struct vm_fpu *out)
{
    struct soft_fpu fpu;
    struct fxsave image = {.mxcsr_mask = MXCSR_MASK};
    soft_fpu_read(soft, &fpu);
    image.control = fpu.control;
    image.status = fpu.status;
    image.mxcsr = fpu.mxcsr;
    /* Unicorn's tags have two bits for each register; both are set for an empty one. */
    for (unsigned i = 0; i < 8; i++)
        if ((fpu.tags >> 2 * i & 3) != 3)
            image.tags |= (uint8_t)(1u << i);
    memcpy(image.st, fpu.st, sizeof image.st);
    memcpy(image.xmm, fpu.xmm, sizeof image.xmm);
    memcpy(out->fxsave, &image, sizeof image);
    out->components = VM_X87 | VM_SSE;
}

static void load_fpu(struct soft_vm *soft, const struct vm_fpu *in)
{
    struct soft_fpu fpu;
    struct fxsave image;
    memset(&fpu, 0, sizeof fpu);
    memcpy(&image, in->fxsave, sizeof image);
    fpu.control = X86_FCW;
    fpu.tags = TAGS_EMPTY;
    fpu.mxcsr = X86_MXCSR;
    if (in->components & VM_X87) {
        fpu.control = image.control;
        fpu.status = image.status;
        for (unsigned i = 0; i < 8; i++)
            if (image.tags >> i & 1)
                fpu.tags &= (uint16_t)~(3u << 2 * i);
        memcpy(fpu.st, image.st, sizeof image.st);
    }
    if (in->components & VM_SSE)
        memcpy(fpu.xmm, image.xmm, sizeof image.xmm);
    /* MXCSR belongs to both (SDM vol. 1, 13.5.2). */
    if (in->components & (VM_SSE | VM_AVX))
        fpu.mxcsr = image.mxcsr & MXCSR_MASK;
    soft_fpu_write(soft, &fpu);
}

int soft_save(struct vm *vm, struct vm_state *state, struct mf_error *err)
{
    (void)err;
    struct soft_vm *soft = (struct soft_vm *)vm;
    memset(state, 0, sizeof *state);
    state->regs = soft->registers;
    state->regs.rflags = soft_user_flags(state->regs.rflags);
    if (!vm->regs_changed)
        state->regs.rip = soft->rip;
    for (unsigned i = 0; i < 2; i++)
        state->segment_base[i] = soft_get_segment_base(vm, i);
    for (unsigned i = 0; i < 4; i++)
        state->segment[i] = (uint16_t)soft_read(soft, selectors[i]);
    save_fpu(soft, &state->fpu);
    return 0;
}

/* The component that is in use in the state, but that this CPU lacks; NULL: there is none. */
static const char *missing_component(const struct vm_fpu *fpu)
{
    const struct {
        uint64_t component;
        const void *bytes;
        size_t len;
        const char *name;
    } missing[] = {
        {VM_AVX, fpu->ymm_high, sizeof fpu->ymm_high, "AVX"},
        {VM_OPMASK, fpu->opmask, sizeof fpu->opmask, "AVX-512 opmask"},
        {VM_ZMM_HIGH, fpu->zmm_high, sizeof fpu->zmm_high, "AVX-512 ZMM"},
        {VM_ZMM_MORE, fpu->zmm_more, sizeof fpu->zmm_more, "AVX-512 ZMM16 to ZMM31"},
    };
    for (size_t i = 0; i < ARRAY_LEN(missing); i++) {
        const uint8_t *bytes = missing[i].bytes;
        uint8_t any = 0;
        for (size_t j = 0; j < missing[i].len; j++)
            any |= bytes[j];
        if ((fpu->components & missing[i].component) && any != 0)
            return missing[i].name;
    }
    return NULL;
}

/* Whether code at CPL 3 could have loaded it. */
static bool is_user_selector(uint16_t selector)
{
    uint16_t index = selector | SELECTOR_RPL;
    return index == SELECTOR_RPL || index == X86_SEL_USER_DATA || index == X86_SEL_USER_CODE;
}

static int check_state(const struct vm_state *state, struct mf_error *err)
{
    const char *missing = missing_component(&state->fpu);
    if (missing)
        return error_set(err, MF_E_BACKEND,
                         "the state uses %s registers, which the CPU of the soft backend lacks",
                         missing);
    for (unsigned i = 0; i < 4; i++)
        if (!is_user_selector(state->segment[i]))
            return error_set(err, MF_E_BACKEND,
                             "the state has the segment selector %#x, which the CPU of the soft "
                             "backend lacks",
                             state->segment[i]);
    return 0;
}

/*
 * Begins with the CPU as it was before its first instruction, so nothing needs to be
 * known about what ran since.
 */
int soft_load(struct vm *vm, const struct vm_state *state, struct mf_error *err)
{
    struct soft_vm *soft = (struct soft_vm *)vm;
    int rc = check_state(state, err);
    if (rc < 0)
        return rc;
    /* The descriptors in memory may come from kvm, where SYSCALL can need a port of its own. */
    x86_allow_port(vm->mem, X86_PORT_SYSCALL, false);
    uc_context_restore(soft->uc, soft->initial);
    load_fpu(soft, &state->fpu);
    /* Loading FS and GS sets their bases from the descriptors. */
    for (unsigned i = 0; i < 4; i++)
        if (state->segment[i] != soft_read(soft, selectors[i]))
            soft_write(soft, selectors[i], state->segment[i]);
    for (unsigned i = 0; i < 2; i++)
        soft_set_segment_base(vm, i, state->segment_base[i], NULL);
    soft->registers = state->regs;
    soft->registers.rflags = soft_user_flags(state->regs.rflags);
    vm->regs_changed = true;
    soft_run_forget(soft);
    return 0;
}
