/*
 * Blocks that run often, as code of the processor that the machine itself runs on.
 *
 * Theory of operation. Each block begins in its internal form (execute.c), whose first
 * internal instruction asks how often the block was entered. When that is often enough,
 * native.c gathers the block and what follows it, as far as it has run already, into a
 * *unit*, and native_x86.c makes one piece of code of it:
 *
 * - The registers that the unit uses most live in registers of the processor as long as
 *   control stays in the unit. They are loaded where it is entered, and those that the unit
 *   writes are stored where it is left. So they are exact at every instruction, and nothing
 *   has to be undone for a fault.
 * - The budget and the number of taken branches are one register: the budget is its lower
 *   half. Blocks are charged on entry, as in execute.c, and counted: the hottest ones of the
 *   unit in SSE registers, two in each, which are loaded and stored like the others.
 * - Loads and stores look into the translation cache in line, and then into the table of
 *   pages. What those do not answer, and whatever has no code of its own here, is done by
 *   native_op(): the same statements of instructions.inc, on the registers in memory.
 * - What ends a block and is no branch (a system call) leaves the unit, and execute.c goes on
 *   at that internal instruction.
 * - A jump out of the unit goes through block.out, a slot that execute.c fills once the
 *   successor is translated. Code is never changed: memory is writable or executable, never
 *   both, and each change of that costs an exit of the guest. A unit therefore begins on
 *   a page of its own.
 *
 * A block may be in several units: a loop is hot before the loop around it, and is
 * translated again with that. Its newest code is the one that is entered.
 *
 * All blocks die together (blocks_flush), and so do the units. The memory for code being full
 * is one more reason for that. When the host refuses executable memory, blocks go on in
 * their internal form.
 */
#ifndef MACHINE_GUEST_NATIVE_H
#define MACHINE_GUEST_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct machine;
struct block;
struct op;

/* Entries of a block that make it hot; the cost of a unit is that of some 10,000 blocks. */
#ifndef NATIVE_THRESHOLD
#define NATIVE_THRESHOLD UINT64_C(16000)
#endif
#define NATIVE_NEVER     UINT64_MAX

/* Memory for code; its first page holds the way in and out. */
#define NATIVE_BYTES ((size_t)1 << 20)

/* Why native code came back. The first two are for itself. */
enum native_leave {
    NATIVE_ON,     /* the instruction is done: go on */
    NATIVE_HELD,   /* the same, but this block is the last one: the budget becomes 0 */
    NATIVE_FAULT,  /* native.op of native.block raised machine.fault */
    NATIVE_ATTEND, /* somebody wants to be looked at behind native.op */
    NATIVE_AT,     /* go on in the internal form, at native.op */
    NATIVE_LINK_0, /* native.block is done: go to its successor 0 */
    NATIVE_LINK_1,
    NATIVE_ENTER,  /* go to native.block */
    NATIVE_FIND,   /* go to the block at machine.pc */
    NATIVE_BUDGET, /* native.block does not fit into the budget */
};

/* Entries of two blocks, while they are counted in a unit: native_fold() adds them up. */
#define NATIVE_LANES 128
struct lanes {
    _Alignas(16) uint64_t n[2];
};

struct native {
    uint64_t threshold; /* may be changed while there are no blocks */
    uint64_t backoff;   /* how often that is doubled, because code was dropped too often */
    uint64_t flushed_at; /* instructions executed when code was dropped */
    bool refused;       /* there is no executable memory */
    uint8_t *code;      /* NATIVE_BYTES, or NULL */
    size_t used;        /* bytes */
    size_t sealed;      /* this many are executable, the rest is writable */
    uint32_t units;     /* number of the last one */
    struct unit *work;  /* for making units */

    /* What native code uses. */
    const uint8_t *enter, *leave, *enter_block, *link[2]; /* code; see native_x86.c */
    const uint8_t *refill[2]; /* for loads and for stores */
    bool flat;                /* addresses are physical: no TLB translates */
    enum native_leave (*helper)(struct machine *m, struct block *b, const struct op *o,
                                uint64_t state);
    struct lanes lanes[NATIVE_LANES];
    struct block *counted[NATIVE_LANES][2]; /* whose they are; NULL: nobody's */
    size_t nlanes;
    struct lanes one[2]; /* what an entry adds to the lanes of its block */
    uint32_t mxcsr;      /* the host's rounding without flags */
    uint64_t one_taken; /* what a taken branch adds to the budget's register */
    uint64_t state;     /* that register, on the way in and out */
    struct block *block;
    const struct op *op;
};

void native_init(struct machine *m);
void native_fini(struct machine *m);
/* The blocks are gone. */
void native_flush(struct machine *m);
/* Adds the entries that native code counted to those of the blocks. */
void native_fold(struct machine *m);
/*
 * Translates a block that is hot, and others with it. Afterwards its first internal
 * instruction either enters the code, or is the one that it was made with. False: there was no
 * room, and the blocks are to be dropped.
 */
bool native_translate(struct machine *m, struct block *b);
/* Runs a translated block and what follows. */
enum native_leave native_run(struct machine *m, const struct block *b, int64_t *budget);

/* native_op.c: does the internal instruction `o` of `b`, with the registers in memory. */
enum native_leave native_op(struct machine *m, struct block *b, const struct op *o,
                            uint64_t state);

/* native_x86.c, or native_none.c for processors that it does not know. */
/* Makes the way in and out, at the start of native.code. False: this processor is none. */
bool native_emit_base(struct machine *m);
struct unit *native_unit_create(void);

/* Blocks, internal instructions and code of a unit, at the most. */
#define UNIT_BLOCKS 256
#define UNIT_OPS    2048

/* Whether native code of a block would be quicker than its internal form. */
bool native_block_fits(const struct machine *m, const struct block *b);
/* Starts a unit of `b`; adds a block. False: it is in it already, or does not fit. */
void native_unit_start(struct unit *u, struct machine *m);
bool native_unit_add(struct unit *u, struct block *b);
struct block *native_unit_block(const struct unit *u, size_t i); /* NULL: no more */
/* Writes its code at `to`. Returns the bytes, or 0 when they are more than `room`. */
size_t native_unit_emit(struct unit *u, uint8_t *to, size_t room);
/* The code is executable: its blocks may be entered. */
void native_unit_publish(struct unit *u);

#endif
