/*
 * What the parts of the code generator for x86-64 share: the unit that is being made.
 *
 * Registers of the processor: rbx is the machine, r15 the budget and the taken branches,
 * rax, rcx and rdx are free for one internal instruction, rdx also holds the condition of
 * a branch over its delay slot. The other ten hold registers of the machine. xmm0 and xmm1
 * are free, the next ones count. At [rsp + 8] are 8 bytes for MXCSR.
 */
#ifndef MACHINE_GUEST_NATIVE_X86_H
#define MACHINE_GUEST_NATIVE_X86_H

#include "native.h"
#include "translate.h"
#include "x86_emit.h"

#define MACHINE RBX
#define STATE   R15
#define MXCSR_AT 8

/* Blocks that are counted in SSE registers, which begin behind the scratch ones. */
#define PAIRS_MOST 8
#define FIRST_PAIR 2
#define LANE_NONE  255

/* Code that stands behind the blocks: what is done rarely. */
enum stub_kind {
    STUB_BUDGET, /* the block does not fit */
    STUB_OP,     /* native_op(), then back */
    STUB_LOAD,   /* the line is not there: fills it and tries again, or as OP */
    STUB_STORE,
    STUB_FPU,    /* the same for instructions that have FPU registers only */
    STUB_TAKEN,  /* a taken branch leaves the unit */
};

struct stub {
    enum stub_kind kind;
    struct block *block;
    const struct op *op;
    uint8_t *from;       /* the jump that comes here */
    const uint8_t *back;
    const uint8_t *again; /* LOAD, STORE: where the address is made */
    uint8_t align;        /* bits of the address that must be 0 */
};

struct jump {
    uint8_t *from;
    size_t to; /* index of the block */
};

struct unit {
    struct machine *m;
    struct x86 x;
    uint32_t id;
    size_t nblocks, nops, nstubs, njumps;
    struct block *blocks[UNIT_BLOCKS];
    struct block *order[UNIT_BLOCKS]; /* as they stand in the code; NULL behind the last */
    const uint8_t *inner[UNIT_BLOCKS], *outer[UNIT_BLOCKS];
    struct stub stubs[4 * UNIT_OPS + 2 * UNIT_BLOCKS];
    struct jump jumps[2 * UNIT_BLOCKS];
    uint8_t host[REGS];   /* register of the processor, or X86_NONE */
    bool written[REGS];
    size_t npairs;        /* of lanes; the first of them is xmm2 */
    uint8_t lane[UNIT_BLOCKS]; /* where a block is counted, or LANE_NONE */
    bool in_rdx;          /* the condition that a branch waits for */
    const uint8_t *call_op, *call_fpu, *leave, *return_out, *return_miss;
};

/* A field of the machine; a register of the machine, where it is in this unit. */
struct x86_place unit_field(size_t offset);
#define FIELD(name) unit_field(offsetof(struct machine, name))
struct x86_place unit_place(const struct unit *u, unsigned reg);
bool unit_has(const struct unit *u, const struct block *b);
/* A stub that the jump `from` goes to. Whoever asks sets where it comes back to. */
struct stub *unit_stub(struct unit *u, enum stub_kind kind, struct block *b, const struct op *o,
                       uint8_t *from);
/* to = a register of the machine, without regard for flags. */
void unit_load(struct unit *u, enum x86_register to, unsigned reg);
/* Where a result for `reg` is best made; and puts it where it belongs. */
enum x86_register unit_target(const struct unit *u, unsigned reg);
void unit_store(struct unit *u, unsigned reg, enum x86_register from);
/*
 * Looks up the line of a load or store: the address of its bytes is in rax. Otherwise the stub
 * does it, and comes back where whoever asks says.
 */
struct stub *unit_access(struct unit *u, struct block *b, const struct op *o, unsigned bytes,
                         bool store);

/* to = to `op` a register of the machine */
void unit_combine(struct unit *u, enum x86_op op, enum x86_register to, unsigned reg);
/* Set flags: two registers of the machine, one and a constant, bits of FCSR. */
void unit_compare(struct unit *u, unsigned s, unsigned t);
void unit_compare_constant(struct unit *u, unsigned s, uint32_t constant);
void unit_test_flag(struct unit *u, uint32_t mask);
/* d = whether the condition holds; leaves the flags. */
void unit_set(struct unit *u, unsigned d, enum x86_condition condition);
/* One more in a counter; may change rax. */
void unit_count(struct unit *u, const uint64_t *counter);
void unit_count_taken(struct unit *u);
/* To a successor of `b` that is not in the unit. */
void unit_go_outside(struct unit *u, struct block *b, unsigned successor);

/* native_x86_core.c, integer instructions. False: it has no code for this one. */
bool unit_integer(struct unit *u, struct block *b, const struct op *o, enum op_code code);
/* native_x86_branch.c: what ends a block, or waits to; `following` stands behind it. */
bool unit_branch(struct unit *u, struct block *b, const struct op *o, enum op_code code,
                 const struct block *following);
/* native_x86_fpu.c. False: it has no code for this one. */
bool unit_fpu(struct unit *u, struct block *b, const struct op *o, enum op_code code);

#endif
