/*
 * The software backend: an x86-64 CPU emulated by Unicorn 2 (tested with 2.0.1).
 *
 * Theory of operation. Unicorn's CPU walks page tables and honours U and W in them,
 * but three things differ from a real CPU and shape everything here:
 *
 *  - A translation is checked and then not used: data and code are always taken
 *    from the physical address that equals the virtual one. So the guest's virtual
 *    memory is laid out in Unicorn's physical space, in regions that point at the
 *    pages of struct mem (soft_map.c).
 *  - EFER.NXE cannot be set, so an entry with the NX bit is malformed. The CPU
 *    therefore walks a shadow of the tables, in which every table lies at the
 *    offset of its original and NX is left out. What may be executed is decided by
 *    the regions.
 *  - Exceptions do not go through the IDT but to a hook (soft_run.c), and the I/O
 *    permission bitmap is not looked at.
 *
 * What a guest can notice, since the emulator does not do it: SSE instructions that
 * want an aligned operand take an unaligned one too (no #GP), unmasked SSE exceptions
 * do not trap (no #XM), x87 ones do so at FWAIT and only for some instructions (#MF),
 * the flags of past exceptions in MXCSR and the x87 status word are mostly not set,
 * a bad selector gives #GP with error code 0, and there is no AVX.
 */
#ifndef VM_SOFT_SOFT_H
#define VM_SOFT_SOFT_H

#include "vm/vm.h"

#include <unicorn/unicorn.h>

/*
 * Shadow tables must lie below 1 TiB, the physical address space of the CPU model;
 * since it equals the virtual one, the guest cannot map anything at these addresses,
 * from here on for as many bytes as it has memory.
 */
#define SOFT_GVA_SHADOW UINT64_C(0xe000000000)
/* The last page under the table of the system pages; the real one has no entry for it. */
#define SOFT_GVA_CODE (LAYOUT_GVA_KERNEL + 511 * PAGE_BYTES)

/* A run of guest pages as Unicorn sees it. */
struct soft_region {
    mf_gva gva;
    mf_gpa gpa;
    uint64_t bytes;
    bool exec;
};

/* In CR2 while no page fault came: nothing that a page fault could leave there. */
#define SOFT_CR2_NONE (UINT64_C(1) << 63)

/* What the hooks saw in the run that is going on. */
enum soft_event { SOFT_NOTHING, SOFT_IO, SOFT_SYSCALL, SOFT_VECTOR };

/* More places than this are forgotten, the oldest first; they are found again when they run. */
#define SOFT_PORT_PLACES 32

/* Where port instructions are, in the middle of blocks; see soft_port.c. */
struct soft_ports {
    bool found; /* the block that was translated last has one that is in no place yet: */
    mf_gva block, first, last;
    struct soft_port_place {
        mf_gva first, last;
        uc_hook hook; /* 0: none */
    } places[SOFT_PORT_PLACES];
    unsigned next; /* the place that is used, or used again, next */
};

struct soft_vm {
    struct vm vm; /* first */
    uc_engine *uc;
    uc_context *supervisor; /* the vCPU at CPL 0, before anything ran */
    uc_context *initial;    /* the same before its first guest instruction */
    uc_context *current;    /* room for what it is now */
    struct mf_registers registers;
    uint64_t rip; /* where the guest goes on; regs->rip is the caller's copy */

    uint8_t *shadow; /* shadow tables, mem->bytes long, touched like the tables */
    uint64_t *seen;  /* for soft_tables_walk, a bit for each page */
    uint64_t *dirty; /* pages, see soft_shadow.c; NULL while nobody tracks */
    struct soft_code_page *code;
    void *hole; /* a page that stands in for unmapped memory during a fault */
    struct soft_ports ports;
    struct soft_region *regions; /* sorted by gva, never adjacent and mergeable */
    size_t nregions;
    struct soft_region *wanted; /* room for as many again */
    bool stale;         /* the CPU may hold translations of pages that changed */
    const char *broken; /* why the VM cannot go on; NULL while it can */

    /* Interrupts; see soft_run.c. */
    atomic_bool stop;
    bool supervising; /* the CPU is at CPL 0, where interrupts wait */

    /* The current run, written by hooks on the thread of the run. */
    enum soft_event event;
    uint32_t vector;
    struct {
        bool seen; /* on_block stopped it, at the beginning of this block: */
        mf_gva gva;
    } halt;
    struct {
        bool pending, in;
        uint32_t port, bytes;
        uint64_t rax, rsi, rdi, rcx;
    } io;
    struct {
        bool seen;
        enum { SOFT_READ, SOFT_WRITE, SOFT_FETCH } type;
        mf_gva gva;
        bool mapped_hole;
        mf_gva hole;
    } access;
};

/* The page at SOFT_GVA_CODE, readable and executable for the guest. */
struct soft_code_page {
    uint8_t enter[8];  /* jmp *target: every run begins here */
    uint64_t target;
    uint8_t start[8];  /* sets a debug register and leaves CPL 0 by iretq */
    uint8_t flush[8];  /* writes CR3 */
    uint64_t frame[5];
};

/* Bits of the entries of page tables (AMD64 APM vol. 2, 5.4). */
#define SOFT_ENTRY_PRESENT UINT64_C(1)
#define SOFT_ENTRY_WRITE UINT64_C(2)
#define SOFT_ENTRY_USER UINT64_C(4)
#define SOFT_ENTRY_ACCESSED UINT64_C(0x20)
#define SOFT_ENTRY_DIRTY UINT64_C(0x40)
#define SOFT_ENTRY_ADDRESS UINT64_C(0x000ffffffffff000)
#define SOFT_ENTRY_NO_EXEC (UINT64_C(1) << 63)
#define SOFT_TABLE_ENTRIES 512

/* soft_shadow.c: the shadow tables and their dirty bits. */
bool soft_shadow_init(struct soft_vm *soft); /* false: no memory */
/*
 * Copies the entries on the way to `gva` into the shadow. Returns where the last one
 * is, or NULL when a table is missing.
 */
void *soft_shadow_page(struct soft_vm *soft, mf_gva gva);
/* Makes the entry of the code page, which the real tables do not have; false as above. */
bool soft_shadow_code(struct soft_vm *soft);
/* Makes the whole shadow anew, of tables that soft_tables_walk found in order. */
void soft_shadow_rebuild(struct soft_vm *soft);
/*
 * Told of a table: its place, the first address that it is about, and whether its
 * entries are the last ones. They come in the order of these addresses.
 */
typedef void (*soft_table_fn)(void *context, mf_gpa table, mf_gva gva, bool last);
/* Goes through the real tables; false, at once, when one of them comes a second time. */
bool soft_tables_walk(const struct soft_vm *soft, soft_table_fn fn, void *context);
int soft_dirty_start(struct vm *vm, struct mf_error *err);
int soft_dirty_collect(struct vm *vm, uint64_t *bitmap, struct mf_error *err);
int soft_dirty_clean(struct vm *vm, const uint64_t *bitmap, struct mf_error *err);

/* soft_map.c */
int soft_map_init(struct soft_vm *soft, struct mf_error *err);
void soft_map_fini(struct soft_vm *soft);
int soft_map(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot, struct mf_error *err);
int soft_map_at(struct vm *vm, mf_gva gva, mf_gpa gpa, uint64_t npages, unsigned prot,
                struct mf_error *err);
void soft_protect(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot);
void soft_unmap(struct vm *vm, mf_gva gva, uint64_t npages);
void soft_discard(struct vm *vm, mf_gva gva, uint64_t npages);
int soft_attach(struct vm *vm, mf_gva gva, const struct mem_window *window, unsigned prot,
                struct mf_error *err);
void soft_detach(struct vm *vm, mf_gva gva, const struct mem_window *window);
int soft_move(struct vm *vm, mf_gva from, mf_gva to, uint64_t npages, struct mf_error *err);
void soft_retable(struct vm *vm, const mf_gpa *stale, size_t n);
/* Drops what was translated from the pages whose bits are set (all: NULL). */
void soft_forget_pages(struct soft_vm *soft, const uint64_t *bitmap);

/* soft_run.c */
int soft_run_init(struct soft_vm *soft, struct mf_error *err);
int soft_run(struct vm *vm, struct vm_exit *exit, struct mf_error *err);
void soft_interrupt(struct vm *vm);
/* Forgets what the hooks saw last. An interrupt that was asked for still comes. */
void soft_run_forget(struct soft_vm *soft);

/* soft_port.c: makes the flags right where the guest uses a port. */
int soft_port_init(struct soft_vm *soft, struct mf_error *err);
/* To be called after a run that left with soft->ports.found, before the next one. */
void soft_port_settle(struct soft_vm *soft);

/* What CPL 3 can have set in RFLAGS, and what is always set. */
uint64_t soft_user_flags(uint64_t rflags);

/* The registers of x87 and SSE that Unicorn can hand over. */
#define SOFT_ST_COUNT 8
#define SOFT_XMM_COUNT 16

struct soft_fpu {
    uint8_t st[SOFT_ST_COUNT][16], xmm[SOFT_XMM_COUNT][16];
    uint16_t control, status, tags;
    uint32_t mxcsr;
};

/* soft_state.c: the CPU's registers through Unicorn's interface. */
int soft_state_init(struct soft_vm *soft, struct mf_error *err);
void soft_state_fini(struct soft_vm *soft);
void soft_read_registers(struct soft_vm *soft);
void soft_write_registers(struct soft_vm *soft);
uint64_t soft_read(struct soft_vm *soft, int reg);
void soft_write(struct soft_vm *soft, int reg, uint64_t value);
/* Makes the CPU drop all cached translations. */
void soft_flush(struct soft_vm *soft);
/* Forgets a fault that was raised, with all that the guest sees left as it is. */
void soft_forget_fault(struct soft_vm *soft);
int soft_set_segment_base(struct vm *vm, unsigned index, uint64_t base, struct mf_error *err);
uint64_t soft_get_segment_base(struct vm *vm, unsigned index);
void soft_fpu_read(struct soft_vm *soft, struct soft_fpu *fpu);
void soft_fpu_write(struct soft_vm *soft, const struct soft_fpu *fpu);

/* soft_save.c */
int soft_save(struct vm *vm, struct vm_state *state, struct mf_error *err);
int soft_load(struct vm *vm, const struct vm_state *state, struct mf_error *err);

/* soft_decode.c: what the emulator does not tell about an instruction. */
struct soft_insn {
    uint8_t bytes[15];
    unsigned len; /* bytes that could be read */
};

/* Reads the code bytes at `gva`, as many as the guest may execute. */
void soft_insn_read(const struct mem *mem, mf_gva gva, struct soft_insn *insn);
/* Whether it reads its memory operand and then writes to the same place. */
bool soft_insn_modifies(const struct soft_insn *insn);
/* Whether it is SYSRET. */
bool soft_insn_is_sysret(const struct soft_insn *insn);
/* Whether it is IN, OUT, INS or OUTS. */
bool soft_insn_is_port(const struct soft_insn *insn);
/* How many bytes it has, 0 when that is not known (AVX and the like). */
unsigned soft_insn_length(const struct soft_insn *insn);

#endif
