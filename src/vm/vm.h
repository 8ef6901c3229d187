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
    uint64_t address;    /* page faults: CR2 */
    char detail[96];     /* DEAD: for people */
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
