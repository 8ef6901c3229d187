/*
 * What a backend is: a virtual CPU that runs the guest's instructions at CPL 3
 * over given guest memory, and comes back with an exit. Backends know exits;
 * they know nothing of calls, system calls or the mailbox.
 *
 * Above this table there is one run loop (sandbox/run.c) for all backends. The
 * x86-64 system pages (descriptors, stubs) that both of today's backends need
 * are built by vm/x86.c.
 */
#ifndef VM_VM_H
#define VM_VM_H

#include "mem/mem.h"

#include <mayfly/backend.h>
#include <mayfly/fault.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Why the vCPU came back: exit(NAME, meaning). At every exit vm->regs holds the
 * guest's registers as they are after the instruction that left (faults: at the
 * instruction), and struct vm_exit the rest.
 */
#define VM_EXITS(exit)                                                         \
    exit(IO, "the guest wrote to one of its ports: `port`")                    \
    exit(SYSCALL, "the guest executed SYSCALL; RCX and R11 are as on hardware") \
    exit(EXCEPTION, "an exception at CPL 3: `vector`, `error_code`, `address`; the last exit") \
    exit(INTERRUPT, "vm_ops.interrupt stopped it; running again goes on")      \
    exit(DEAD, "the CPU cannot go on: `detail` says why")

enum vm_exit_kind {
#define VM_EXIT_ENUM(name, text) VM_EXIT_##name,
    VM_EXITS(VM_EXIT_ENUM)
#undef VM_EXIT_ENUM
};

struct vm_exit {
    enum vm_exit_kind kind;
    uint16_t port;
    uint8_t vector;
    uint64_t error_code; /* page faults: bits as in the x86 manuals (P, W, U, I) */
    uint64_t address;    /* page faults: CR2; `bus`: guest physical, 0 when unknown */
    char detail[96];     /* DEAD: for people */
    bool bus;            /* DEAD: the guest touched a page of a window that the host has lost */
};

/*
 * What x87, SSE and AVX hold, in the formats of the manuals. AVX-512 is never offered to
 * a guest, but some hosts cannot keep a guest from it.
 */
struct vm_fpu {
    uint8_t fxsave[512];      /* FXSAVE64 image (Intel SDM vol. 1, 10.5.1) */
    uint8_t ymm_high[16][16]; /* upper halves of YMM0 to YMM15 */
    uint8_t opmask[8][8];     /* K0 to K7 */
    uint8_t zmm_high[16][32]; /* upper halves of ZMM0 to ZMM15 */
    uint8_t zmm_more[16][64]; /* ZMM16 to ZMM31 */
    uint64_t components; /* XSTATE_BV: enum vm_component; others are in their initial state */
};

/* MXCSR belongs to SSE and AVX: when the state has neither, it is in its initial state, too. */
enum vm_component {
    VM_X87 = 1,
    VM_SSE = 2,
    VM_AVX = 4,
    VM_OPMASK = 0x20,
    VM_ZMM_HIGH = 0x40,
    VM_ZMM_MORE = 0x80,
};

/*
 * A CPU between two instructions of the guest: all that code at CPL 3 can change
 * or see, apart from memory. The same on all backends.
 */
struct vm_state {
    struct mf_registers regs;
    uint64_t segment_base[2]; /* FS, GS; the selectors of FS and GS are segment[0..1] */
    uint16_t segment[4];      /* FS, GS, DS, ES: a guest may load any that the GDT allows */
    struct vm_fpu fpu;
};

/* What a backend needs to make a VM. */
struct vm_config {
    struct mem *mem;     /* system pages are built already; outlives the VM */
    int interrupt_signal; /* signal that interrupt() may use, or MF_SIGNAL_NONE (-1) */
};

struct vm;

/*
 * The table of a backend. Unless said otherwise a function is called by the
 * thread that uses the sandbox, one at a time; errors are MF_E_* with *err (may
 * be NULL) filled.
 */
struct vm_ops {
    const char *name;
    enum mf_backend id;

    /*
     * Creates a VM over config->mem. The first one of a process runs an instruction
     * at CPL 3, to show that this backend really runs (for kvm a `syscall`, which
     * also tells how the host treats that instruction). The registers of the new
     * vCPU are zero, RFLAGS 0x202, x87 and SSE in their initial state. Errors:
     * MF_E_BACKEND when the host does not offer this backend or it does not run,
     * with what to do in the message; MF_E_SYSTEM, MF_E_NO_MEMORY.
     */
    int (*create)(const struct vm_config *config, struct vm **out, struct mf_error *err);

    /* Ends it. NULL is allowed. */
    void (*destroy)(struct vm *vm);

    /*
     * Mapping changes; ranges are whole pages and were checked by the caller.
     * When they return, no stale translation is left on the vCPU.
     *
     * map: maps `npages` fresh pages, taken from vm->mem, at `gva`, where nothing
     * is mapped. MF_E_NO_MEMORY when guest memory has not enough; then nothing
     * is mapped.
     */
    int (*map)(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot, struct mf_error *err);
    /* map_at: the same for given guest physical pages, `npages` from `gpa` on. */
    int (*map_at)(struct vm *vm, mf_gva gva, mf_gpa gpa, uint64_t npages, unsigned prot,
                  struct mf_error *err);
    /* protect: changes the rights of the mapped pages in the range; holes are skipped. */
    void (*protect)(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot);
    /* unmap: removes the mapped pages in the range and gives them, zeroed, back to vm->mem. */
    void (*unmap)(struct vm *vm, mf_gva gva, uint64_t npages);
    /* discard: the mapped pages in the range read as zeros again; they stay mapped. */
    void (*discard)(struct vm *vm, mf_gva gva, uint64_t npages);
    /* move: remaps the pages at `from` to `to`: both `npages`, not overlapping, `to` unmapped. */
    int (*move)(struct vm *vm, mf_gva from, mf_gva to, uint64_t npages, struct mf_error *err);

    /*
     * Runs the guest to its next exit. When vm->regs_changed is set, vm->regs is
     * loaded first (and the flag cleared). An interrupt that came since the last
     * VM_EXIT_INTERRUPT ends it at once, before any guest instruction. Returns 0
     * with *exit filled, or MF_E_SYSTEM when the host failed.
     */
    int (*run)(struct vm *vm, struct vm_exit *exit, struct mf_error *err);

    /*
     * Makes the run that is going on, or else the next one, end with
     * VM_EXIT_INTERRUPT. Any thread, async-signal-safe, at any time between
     * create and destroy.
     */
    void (*interrupt)(struct vm *vm);

    /*
     * attach: makes the memory of a window (mem.h; it is in vm->mem already) part
     * of guest physical memory and maps it at `gva`, where nothing is mapped. On
     * failure nothing has changed. MF_E_NO_MEMORY: no page for tables; MF_E_SYSTEM.
     * detach: takes both back; no translation to it is left.
     */
    int (*attach)(struct vm *vm, mf_gva gva, const struct mem_window *window, unsigned prot,
                  struct mf_error *err);
    void (*detach)(struct vm *vm, mf_gva gva, const struct mem_window *window);

    /*
     * The CPU's state, between runs. save: after any exit but EXCEPTION and DEAD (which are
     * final). load: whatever ran before, nothing of it is left in the CPU: registers, x87
     * to AVX, segments, debug registers, MSRs that CPL 3 can see, pending events;
     * the fast case, in which only general and x87 to AVX registers differ from the
     * state that was loaded last, makes no system call but perhaps one. Errors: MF_E_SYSTEM;
     * save: MF_E_STATE after a final exit, or when a trap is about to be delivered (run it
     * on); load: MF_E_BACKEND when this CPU lacks a component that the state has (AVX),
     * naming it; MF_E_ARGUMENT when no guest can be in this state (a backend may also take
     * it and let the guest fault). A failed load leaves a CPU that only another load makes
     * fit to run. A state does not hold the resume page's contents (x86.h), and load needs
     * the page in guest memory only when the guest next runs.
     */
    int (*save)(struct vm *vm, struct vm_state *state, struct mf_error *err);
    int (*load)(struct vm *vm, const struct vm_state *state, struct mf_error *err);

    /*
     * Which pages the guest wrote. A page is *clean* after dirty_clean named it and
     * until the guest writes to it; others are dirty: they are reported by each
     * dirty_collect until they are cleaned, and cost the guest nothing. Writes of the
     * host are not seen (mem.h: mem_mark). Bitmaps have a bit for each page of
     * vm->mem->bytes, bit n % 64 of word n / 64.
     *
     * A clean page that the guest only reads may count as written when the CPU had no
     * translation of it (it was never touched, or retable or a mapping change dropped it).
     *
     * dirty_start: begins tracking; all pages are clean. Before it the other two are
     * not called. dirty_collect: sets the bits of dirty pages (and leaves the others
     * as they are). dirty_clean: makes the pages whose bits are set clean; it is called
     * after bytes of such a page were put back, so that translated code of it goes too.
     */
    int (*dirty_start)(struct vm *vm, struct mf_error *err);
    int (*dirty_collect)(struct vm *vm, uint64_t *bitmap, struct mf_error *err);
    int (*dirty_clean)(struct vm *vm, const uint64_t *bitmap, struct mf_error *err);

    /*
     * The contents of guest memory were replaced behind the CPU's back, page tables
     * included. `stale` are the `n` data pages that old tables mapped in a way that the new
     * ones do not; afterwards no translation to them is left that the new tables
     * do not give. With n == SIZE_MAX (and stale NULL) everything is stale. That is also
     * what to pass when an entry of a table that leads to another table was removed or leads
     * elsewhere now: a CPU may keep those, too.
     */
    void (*retable)(struct vm *vm, const mf_gpa *stale, size_t n);

    /* Sets the base of FS (index 0) or GS (index 1) for the guest; canonical, checked. */
    int (*set_segment_base)(struct vm *vm, unsigned index, uint64_t base, struct mf_error *err);
    uint64_t (*get_segment_base)(struct vm *vm, unsigned index);

    /* Space-separated words about the CPU that the guest sees, for diagnostics. */
    void (*describe)(struct vm *vm, char *buf, size_t size);
};

/* The part of a VM that every backend has; its own struct begins with it. */
struct vm {
    const struct vm_ops *ops;
    struct mem *mem;
    struct mf_registers *regs; /* valid after an exit; set regs_changed after writing */
    bool regs_changed;
};

/* The backend with this id, loaded if need be (soft is a module), or an error that says why not. */
int vm_backend_get(enum mf_backend id, const struct vm_ops **out, struct mf_error *err);

/* The symbol that a backend module exports: a const struct vm_ops. */
#define VM_MODULE_SYMBOL "mf_backend_ops"

#endif
