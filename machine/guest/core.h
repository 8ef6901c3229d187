/*
 * The computer that runs MIPS32 programs: what its parts know of each other. The core is
 * plain C that calls its surroundings through struct machine_host only, so the same files
 * are built into the guest program (main.c) and into a library for unit tests.
 *
 *   memory.c     pages, segments, the cache of translations that loads and stores look at
 *   translate.c  instructions to the internal form, one block at a time
 *   execute.c    runs blocks (instructions.inc: what each internal instruction does)
 *   native.c     hot blocks as native code (native.h: how); native_x86.c makes the code
 *   cpu.c        run(): slices, events, what leaves the fast loop
 *   cp0.c        coprocessor 0, exceptions, interrupts; tlb.c  the software-managed TLB
 *   fpu.c        the slow half of floating point: NaNs, flags, conversions; fpu_exact.c
 *                arithmetic in integers, for hosts without flags
 *   device.c     console, disk, random numbers, power
 *   syscall.c    system calls; random.c  their random numbers; console.c  output, input
 *   system.c     the other instructions that leave the fast loop; trace.c  the trace
 *   control.c    configure, load, state, breakpoints, statistics; profile.c  how often each
 *                instruction was executed, by its address
 */
#ifndef MACHINE_GUEST_CORE_H
#define MACHINE_GUEST_CORE_H

#include "machine/image.h"
#include "machine/isa/isa.h"
#include "machine/program.h"
#include "machine/protocol.h"
#include "native.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What machine_host.read answers when there is no input now, but may be later. */
#define HOST_NO_INPUT (-1)

#define DISK_SECTOR 512

/* What the computer asks of its surroundings. No member may be NULL. */
struct machine_host {
    void *context;
    void (*write)(void *context, int fd, const void *data, size_t len);
    /* Bytes read (at most `len`), 0 at the end, or HOST_NO_INPUT. */
    long (*read)(void *context, void *data, size_t len);
    uint64_t (*time_ms)(void *context); /* since 1970 */
    void (*entropy)(void *context, uint8_t out[32]);
    bool (*disk_read)(void *context, uint64_t sector, uint8_t data[DISK_SECTOR]);
    bool (*disk_write)(void *context, uint64_t sector, const uint8_t data[DISK_SECTOR]);
    uint64_t (*disk_sectors)(void *context);
};

/* --- memory --- */

#define PAGE_BITS  12
#define PAGE_BYTES (UINT32_C(1) << PAGE_BITS)
#define PAGE_MASK  (PAGE_BYTES - 1)

enum { RIGHT_READ = 1, RIGHT_WRITE = 2, RIGHT_EXECUTE = 4 };

/* A page of the machine's memory. */
struct page {
    uint8_t *data;
    uint8_t rights;
    bool has_code;               /* some bit of `code` is set */
    uint32_t code[PAGE_BYTES / 4 / 32]; /* words that blocks were made of */
};

/* How often the instructions of a page were executed. */
struct profile_page {
    struct profile_page *next;
    uint32_t page;
    uint64_t counts[PAGE_BYTES / 4];
};

/* Pages that are taken from the host some at a time. */
struct page_pool {
    struct page_pool *next;
    uint8_t *start;
    size_t used;
};

/* A range of addresses that has memory, which is taken when a page is first used. */
struct region {
    uint32_t first, last; /* page aligned; `last` is the last byte */
    uint32_t begin, end;  /* as the program has it; `end` is the last byte too */
    uint8_t rights;
};
#define REGIONS_MAX 64

/* One line of the translation cache: where the bytes of a virtual page are. */
struct line {
    uint32_t read_page;  /* virtual page address, or LINE_NONE */
    uint32_t write_page;
    uint8_t *base;       /* host address of virtual address 0 */
};
#define LINES     256
#define LINE_NONE 8 /* a bit that no tag has: page number and at most three low bits */

/* --- code in its internal form --- */

/* Registers beside the 32: where writes to $0 go, HI, LO. */
enum { REG_SINK = 32, REG_HI = 33, REG_LO = 34, REGS = 36 };

#define BLOCK_MAX 60    /* instructions */
#define OP_SLOT   0x80  /* in `index`: the instruction is in a delay slot */

/* One internal instruction. */
struct op {
    const void *go; /* the label in execute.c */
    uint32_t imm;
    uint8_t d, s, t;
    uint8_t index; /* of its instruction in the block; with OP_SLOT */
};

/*
 * A block: instructions that run one after the other, entered at the first one. `budget`
 * is charged for all of them on entry, and what was not executed is given back when a
 * fault ends it early.
 */
struct block {
    uint32_t pc;
    uint16_t n;           /* instructions */
    uint16_t kind;        /* enum block_kind */
    uint64_t count;       /* entries, for the statistics */
    uint64_t skipped;     /* of these, without the last instruction: a likely branch's slot */
    struct block *next[2]; /* successors: fall through or not taken; taken */
    uint32_t target[2];
    struct block *chain;  /* of the hash bucket */
    uint16_t *insns;      /* enum isa_insn of each instruction */
    uint8_t *codes;       /* enum op_code of each of `ops` */
    uint16_t nops;
    uint16_t place;       /* in the unit that is being made; perhaps */
    uint16_t times;       /* translated to native code */
    uint32_t unit;        /* its newest native code: number of the unit */
    const void *first;    /* the label of the first internal instruction */
    const void *native;   /* where it is entered from outside of the unit; NULL: nowhere */
    const void *inner;    /* where it is entered from inside */
    const void *out[2];   /* where native code goes on behind it; NULL: not known yet */
    struct op ops[];
};

/* Blocks of one instruction end a slice; a branch and its slot are then two of them. */
enum block_kind { BLOCK_WHOLE, BLOCK_STEP, BLOCK_STEP_SLOT };

#define BLOCK_BUCKETS 4096
#define BLOCK_CACHE   1024

/* --- coprocessor 0 --- */

enum exception {
    EXC_INT = 0,
    EXC_MOD = 1,
    EXC_TLBL = 2,
    EXC_TLBS = 3,
    EXC_ADEL = 4,
    EXC_ADES = 5,
    EXC_IBE = 6,
    EXC_DBE = 7,
    EXC_SYS = 8,
    EXC_BP = 9,
    EXC_RI = 10,
    EXC_CPU = 11,
    EXC_OV = 12,
    EXC_TR = 13,
    EXC_FPE = 15,
    EXC_NONE = 255,
};

enum cp0_register {
    CP0_INDEX = 0,
    CP0_RANDOM = 1,
    CP0_ENTRYLO0 = 2,
    CP0_ENTRYLO1 = 3,
    CP0_CONTEXT = 4,
    CP0_PAGEMASK = 5,
    CP0_WIRED = 6,
    CP0_HWRENA = 7,
    CP0_BADVADDR = 8,
    CP0_COUNT = 9,
    CP0_ENTRYHI = 10,
    CP0_COMPARE = 11,
    CP0_STATUS = 12,
    CP0_CAUSE = 13,
    CP0_EPC = 14,
    CP0_PRID = 15,
    CP0_CONFIG = 16,
    CP0_LLADDR = 17,
    CP0_ERROREPC = 30,
};

#define STATUS_IE   UINT32_C(0x00000001)
#define STATUS_EXL  UINT32_C(0x00000002)
#define STATUS_ERL  UINT32_C(0x00000004)
#define STATUS_UM   UINT32_C(0x00000010)
#define STATUS_IM   UINT32_C(0x0000ff00)
#define STATUS_BEV  UINT32_C(0x00400000)
#define STATUS_CU0  UINT32_C(0x10000000)
#define STATUS_CU1  UINT32_C(0x20000000)
#define CAUSE_BD    UINT32_C(0x80000000)
#define CAUSE_IP    UINT32_C(0x0000ff00)
#define CAUSE_IV    UINT32_C(0x00800000)
#define CONFIG_MT   UINT32_C(0x00000380)
#define CONFIG_TLB  UINT32_C(0x00000080) /* MT = 1: the TLB translates */

/* Interrupt lines, as bits of Cause.IP; as in SPIM. */
#define IRQ_RECEIVER    (UINT32_C(1) << 11)
#define IRQ_TRANSMITTER (UINT32_C(1) << 10)
#define IRQ_DISK        (UINT32_C(1) << 12)
#define IRQ_TIMER       (UINT32_C(1) << 15)

#define TLB_ENTRIES 16

struct tlb_entry {
    uint32_t mask, high, low[2];
};

/* --- devices --- */

struct console_device {
    uint32_t receiver_control, transmitter_control;
    uint8_t received;
    uint64_t sent_at; /* instruction count when the transmitter is ready again; 0: ready */
    uint64_t look_at; /* when to look for input again */
};

struct disk_device {
    uint32_t sector, address, status, command;
};

/* --- input and output --- */

struct stream {
    uint8_t out[4096];
    size_t out_len;
    uint64_t out_since; /* instructions executed when the first byte came */
    uint8_t in[4096]; /* read but not taken yet */
    size_t in_at, in_len;
    bool in_end;
};

/* A stream of random numbers: as MARS has them, so seeds give the same programs' output. */
struct random_stream {
    uint32_t id;
    bool used, seeded; /* seeded by the program or the configuration: a clone repeats it */
    uint64_t state;
};
#define RANDOM_STREAMS 16

/* Why execute() came back. */
enum leave {
    LEAVE_BUDGET,  /* the next block does not fit: pc is its address */
    LEAVE_NEXT,    /* pc is set; look for a block there */
    LEAVE_SYSTEM,  /* the instruction at pc is for system.c */
    LEAVE_FAULT,   /* machine.fault says which */
    LEAVE_BREAK,   /* pc is a breakpoint */
};

/* An exception that an instruction raised, until it is taken. */
struct fault {
    enum exception code;
    bool refill;       /* a TLB miss, not an invalid entry */
    bool has_address;
    uint32_t address;  /* for BadVAddr */
    uint32_t coprocessor; /* for CPU */
    const char *why;   /* a few words, or NULL */
};

#define BREAKS_MAX 256

struct machine {
    /* What the fast loop uses. */
    uint32_t r[REGS];
    union {
        uint32_t f[32];
        uint64_t fd[16];
    };
    uint32_t fcsr; /* rounding, enables, flags; conditions are here too */
    uint32_t condition; /* result of a branch that waits behind its delay slot */
    uint32_t jump;      /* target of a jump register that waits likewise */
    bool linked;        /* LL was executed, and nothing undid it */
    bool waiting;       /* in the instruction wait */
    bool flush_code;    /* blocks are stale */
    bool fetch_failed;  /* LEAVE_FAULT is the fetch at pc, of which nothing was executed */
    bool attention;     /* somebody wants to be looked at behind this instruction */
    int64_t held;       /* of the budget, while the last block runs to its end */
    int64_t chunk;      /* the budget of execute() at its start */
    int64_t behind;     /* what of it remains behind the instruction that calls out */
    uint64_t taken;
    struct line lines[LINES];
    struct native native;

    /* The program counter between blocks. */
    uint32_t pc, npc;
    bool in_slot;
    bool big_endian, delayed;
    bool simple;     /* falls off the end of the text without a fault */
    bool user;       /* runs in user mode: follows from Status */
    bool fpu;        /* may be used: Status.CU1 */
    bool fpu_exact;  /* the host has no floating-point flags: fpu_exact.c computes them */
    bool fpu_exact_always; /* as if it had none */
    uint64_t executed;
    struct fault fault;

    /* Blocks. */
    struct block *cache[BLOCK_CACHE]; /* by pc */
    struct block *buckets[BLOCK_BUCKETS];
    struct chunk *chunks; /* memory of the blocks */
    size_t chunk_bytes;
    uint64_t generation;  /* of the blocks: how often they were dropped */
    uint8_t page_filter[512]; /* virtual pages that have blocks: a Bloom filter */
    uint64_t nblocks;
    const void *const *labels; /* of execute.c */
    uint64_t counts[ISA_COUNT + 1]; /* per instruction, without the entries of blocks */
    struct profile_page *profile;   /* per address, likewise; the last one used comes first */

    /* Memory. */
    struct page **directory[1024];
    struct region regions[REGIONS_MAX];
    size_t nregions;
    uint64_t page_limit, npages;
    struct page_pool *pools;
    uint32_t heap_start, heap_end;
    uint32_t text_end; /* of the program, for `simple` */

    /* Coprocessor 0. */
    uint32_t cp0[32];
    uint32_t count_offset; /* Count is this plus the instructions executed */
    uint64_t timer_at;     /* instructions executed when Compare is reached; UINT64_MAX: never */
    struct tlb_entry tlb[TLB_ENTRIES];

    uint32_t devices;
    struct console_device console;
    struct disk_device disk;
    struct stream stream;
    struct random_stream random[RANDOM_STREAMS];
    bool forked; /* restored or cloned: streams that no program seeded draw anew */

    uint32_t breaks[BREAKS_MAX];
    size_t nbreaks;
    bool tracing;
    uint64_t exceptions, system_calls;

    struct machine_config given, config; /* as configure() had it; with the defaults */
    struct machine_host host;
    struct machine_program program; /* its segments are in memory, its lines are dropped */
    struct machine_stop *stop; /* of the run() that goes on */
    bool stopping;             /* it ends behind this instruction */
    uint64_t run_left;         /* instructions that it may still execute */
    bool configured, loaded;
};

/* memory.c */
/* Zeroes the memory; gives back all that was taken. */
void memory_init(struct machine *m);
void memory_fini(struct machine *m);
bool memory_add_region(struct machine *m, uint32_t first, uint32_t last, uint8_t rights);
/* The page of a physical address, taken now when it is in a region; NULL: there is none. */
struct page *memory_page(struct machine *m, uint32_t address);
void memory_flush_lines(struct machine *m);
/*
 * Loads and stores that the translation cache does not answer: unaligned, devices, first
 * use, faults. Values are in the host's byte order. False: machine.fault is set.
 */
bool memory_load(struct machine *m, uint32_t address, unsigned bytes, uint64_t *value);
bool memory_store(struct machine *m, uint32_t address, unsigned bytes, uint64_t value);
/* The word at `address` to execute; marks it as code. False: machine.fault is set. */
bool memory_fetch(struct machine *m, uint32_t address, uint32_t *word);
/*
 * Bytes as system calls, peek and poke see them: by virtual address with the program's rights,
 * or any rights when `force`. Returns how many there were before a hole.
 */
size_t memory_read(struct machine *m, uint32_t address, void *out, size_t len);
size_t memory_write(struct machine *m, uint32_t address, const void *data, size_t len,
                    bool force);
/* Bytes that lie in one page, by physical address; a write as the machine itself makes it. */
void memory_read_physical(const struct page *page, uint32_t address, void *out, size_t len);
bool memory_write_physical(struct machine *m, uint32_t address, const void *data, size_t len);
uint32_t memory_sbrk(struct machine *m, int32_t bytes); /* the old end, or 0xffffffff */
/* Sets machine.fault and returns false. */
bool fault_address(struct machine *m, enum exception code, uint32_t address, const char *why);
bool fault_plain(struct machine *m, enum exception code, const char *why);

/* translate.c */
/* The block at `pc`, made when there is none. NULL: machine.fault is set (fetch failed). */
struct block *block_find(struct machine *m, uint32_t pc, enum block_kind kind);
/* The whole block at `pc` when there is one, without any other effect. */
struct block *block_look(struct machine *m, uint32_t pc);
void blocks_flush(struct machine *m);
/* The virtual page has blocks, perhaps. */
bool blocks_on_page(const struct machine *m, uint32_t address);
/* Adds the counts of all blocks to machine.counts and to the profile. */
void blocks_harvest(struct machine *m);

/* profile.c */
/* `times` more executions of the instruction at `address`; UINT64_MAX: one less. */
void profile_add(struct machine *m, uint32_t address, uint64_t times);
uint64_t profile_get(struct machine *m, uint32_t address);
/* Instructions of an entered block from its `first` one on were not executed after all. */
void profile_take_back(struct machine *m, const struct block *b, unsigned first);
void profile_fini(struct machine *m);

/* execute.c */
/* Runs from block `b` while *budget lasts. With b NULL only fills machine.labels. */
enum leave execute(struct machine *m, struct block *b, int64_t *budget);

/* cpu.c */
void cpu_run(struct machine *m, uint64_t instructions, struct machine_stop *stop);
/* Ends run() after this instruction. */
void cpu_stop(struct machine *m, enum machine_stop_reason reason, int32_t code);

/* cp0.c */
void cp0_reset(struct machine *m);
uint32_t cp0_read(struct machine *m, unsigned reg, unsigned select);
void cp0_write(struct machine *m, unsigned reg, unsigned select, uint32_t value);
/* Goes to the handler, or stops the machine when there is none. */
void cp0_raise(struct machine *m);
void cp0_eret(struct machine *m);
void cp0_set_interrupt(struct machine *m, uint32_t irq, bool on);
bool cp0_interrupt_pending(const struct machine *m);
/* Instructions until the timer fires; UINT64_MAX when it is not armed. */
uint64_t cp0_timer_distance(const struct machine *m);
void cp0_timer_check(struct machine *m);
/* Instructions executed, as an instruction sees it that is being executed. */
static inline uint64_t machine_now(const struct machine *m)
{
    return m->executed + (uint64_t)(m->chunk - m->behind);
}
/* Recomputes what follows from Status. */
void cp0_mode_changed(struct machine *m);
const char *exception_name(enum exception code);

/* tlb.c */
/* False: machine.fault is set. */
bool tlb_translate(struct machine *m, uint32_t address, bool store, bool fetch,
                   uint32_t *physical, bool *writable);
void tlb_read(struct machine *m);
void tlb_write(struct machine *m, unsigned index);
void tlb_probe(struct machine *m);
unsigned tlb_random(struct machine *m);

/* fpu.c */
/* FCSR bits. */
#define FCSR_ROUND   UINT32_C(0x00000003)
#define FCSR_FLAGS   UINT32_C(0x0000007c)
#define FCSR_ENABLES UINT32_C(0x00000f80)
#define FCSR_CAUSES  UINT32_C(0x0003f000)
#define FCSR_WRITE   UINT32_C(0xfe83ffff) /* without FS: denormals are never flushed */
/* Sets the host's rounding, and machine.fpu_exact; around execute(). */
void fpu_enter(struct machine *m);
void fpu_leave(void);
uint32_t fpu_read_control(struct machine *m, unsigned reg);
bool fpu_write_control(struct machine *m, unsigned reg, uint32_t value);
/*
 * Notes the flags of the operation just done (and clears them in the host). False: an
 * enabled exception is raised, and the result must not be written.
 */
bool fpu_flags(struct machine *m);
/* The same for flags that are known; bits as in fpu_host.h. */
bool fpu_set_flags(struct machine *m, unsigned flags);
enum fpu_rounding { FPU_NEAREST, FPU_ZERO, FPU_UP, FPU_DOWN, FPU_CURRENT };
enum fpu_muladd { FPU_MINUS = 1, FPU_NEGATE = 2 };
/* The result of an operation on `a` and `b` that the host says is a NaN. */
bool fpu_fix_single(struct machine *m, uint32_t a, uint32_t b, uint32_t *result);
bool fpu_fix_double(struct machine *m, uint64_t a, uint64_t b, uint64_t *result);
/* Conversions, comparisons and so on, with flags; false as above. */
bool fpu_word_single(struct machine *m, uint32_t bits, unsigned mode, uint32_t *word);
bool fpu_word_double(struct machine *m, uint64_t bits, unsigned mode, uint32_t *word);
bool fpu_narrow(struct machine *m, uint64_t bits, uint32_t *result);
bool fpu_widen(struct machine *m, uint32_t bits, uint64_t *result);
bool fpu_muladd_single(struct machine *m, unsigned kind, uint32_t a, uint32_t b, uint32_t c,
                       uint32_t *result);
bool fpu_muladd_double(struct machine *m, unsigned kind, uint64_t a, uint64_t b, uint64_t c,
                       uint64_t *result);
bool fpu_compare_single(struct machine *m, uint32_t a, uint32_t b, unsigned condition,
                        unsigned flag);
bool fpu_compare_double(struct machine *m, uint64_t a, uint64_t b, unsigned condition,
                        unsigned flag);
/* fpu_exact.c */
/* Whether it has an instruction: arithmetic on two formats that are the same, and cvt.s.w. */
bool fpu_exact_has(enum isa_insn insn);
/* Executes it on registers fd, fs, ft; false: an enabled exception is raised. */
bool fpu_exact(struct machine *m, enum isa_insn insn, unsigned d, unsigned s, unsigned t);
/* Results with their flags; `bits` is no NaN. */
uint32_t fpu_exact_narrow(struct machine *m, uint64_t bits, unsigned *flags);
uint64_t fpu_exact_muladd(struct machine *m, bool wide, unsigned kind, uint64_t a, uint64_t b,
                          uint64_t c, unsigned *flags);

/* device.c */
void device_reset(struct machine *m);
bool device_load(struct machine *m, uint32_t address, unsigned bytes, uint64_t *value);
bool device_store(struct machine *m, uint32_t address, unsigned bytes, uint64_t value);
/* Instructions until a device wants to be looked at; UINT64_MAX: none does. */
uint64_t device_distance(const struct machine *m);
void device_check(struct machine *m);

/* console.c */
void console_write(struct machine *m, const void *data, size_t len);
void console_flush(struct machine *m);
/* Instructions until collected output must leave; UINT64_MAX: there is none. */
uint64_t console_distance(const struct machine *m);
/* The next byte of input: 0 to 255, -1 at the end, -2 when there is none now. */
int console_peek(struct machine *m);
void console_take(struct machine *m);
/*
 * Takes up to `most` bytes, up to and with the first newline: how many, or -2 when the line is
 * not there yet; 0 at the end.
 */
long console_line(struct machine *m, char *out, size_t most);

enum outcome {
    OUTCOME_NEXT,  /* go on behind the instruction */
    OUTCOME_JUMP,  /* pc is set */
    OUTCOME_FAULT, /* machine.fault is set */
    OUTCOME_AGAIN, /* was not executed: there is no input now */
};
/* syscall.c */
enum outcome syscall_run(struct machine *m);
/* random.c; the device has a stream of its own */
#define RANDOM_DEVICE UINT32_C(0xffffffff)
uint32_t random_bits(struct machine *m, uint32_t id, unsigned bits);
uint32_t random_below(struct machine *m, uint32_t id, uint32_t bound);
void random_seed(struct machine *m, uint32_t id, uint32_t seed);
/* system.c: the instruction at pc, which left the fast loop. */
enum outcome system_run(struct machine *m, enum isa_insn insn);
/* trace.c: one instruction, from before it ran. */
struct trace {
    uint32_t pc, word;
    uint32_t r[REGS], f[32];
};
void trace_before(struct machine *m, struct trace *trace);
void trace_after(struct machine *m, const struct trace *trace);

/* control.c: what the exported functions do. */
bool control_configure(struct machine *m, const void *data, size_t len);
/* The encoded program; NULL, or what is wrong with it. */
const char *control_load(struct machine *m, const void *data, size_t len);
void control_state(struct machine *m, struct machine_state *state);
bool control_set_state(struct machine *m, const void *data, size_t len);
bool control_set_break(struct machine *m, uint32_t address, bool on);
/* struct machine_stats and its counts; returns the bytes used of `out`. */
size_t control_stats(struct machine *m, void *out, size_t size);
/* *m is zeroed; most of it stays untouched until a program needs it. */
void machine_init(struct machine *m, const struct machine_host *host);
void machine_fini(struct machine *m);

#endif
