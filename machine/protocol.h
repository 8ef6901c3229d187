/*
 * What the host and the machine's guest program say to each other: exported functions,
 * and the fixed-width structures in their bytes values. Little-endian. Both sides
 * compile this header. The guest trusts the host; the host trusts nothing.
 *
 *   void  configure(bytes machine_config)       once, first
 *   bytes config()                              what configure() was given, as it was
 *   void  load(bytes program)                   the encoded program (image.h)
 *   bytes run(u64 instructions)                 struct machine_stop; 0 instructions: none
 *   bytes state()                               struct machine_state
 *   void  set_state(bytes machine_state)        legacy snapshots, the debugger
 *   bytes peek(u32 address, u32 bytes)          memory as the program sees it; shorter at a hole
 *   void  poke(u32 address, bytes data)
 *   void  set_break(u32 address, bool on)       run() stops before that instruction
 *   bytes stats()                               struct machine_stats and counts per instruction
 *   bytes profile(u32 address, u32 words)       a u64 each: how often it was executed
 *   void  trace(bool on)                        each instruction is a line on descriptor 2
 *
 * Output of the program goes to descriptor 1, input comes from 0, by the system calls that
 * the sandbox answers. A read never blocks: -EAGAIN when there is no input now, and run()
 * then stops with MACHINE_WAIT if nothing else can go on; the host waits for input, and calls
 * run() again. The block device is two host functions:
 *
 *   bytes disk_read(u64 sector)  void disk_write(u64 sector, bytes data)  u64 disk_sectors()
 *
 * A machine's snapshot is the sandbox's, taken between two calls of run().
 */
#ifndef MACHINE_PROTOCOL_H
#define MACHINE_PROTOCOL_H

#include <stdint.h>

#define MACHINE_PROTOCOL_VERSION 1
#define MACHINE_PROFILE_WORDS    4096 /* at most, in one call of profile() */

enum machine_device {
    MACHINE_CONSOLE = 1, /* SPIM's memory-mapped console */
    MACHINE_DISK = 2,
    MACHINE_RANDOM = 4,
    MACHINE_POWER = 8,
};

struct machine_config {
    uint32_t version; /* MACHINE_PROTOCOL_VERSION */
    uint32_t devices; /* enum machine_device bits */
    uint64_t memory_bytes; /* for data, heap and stack of the program; default 16 MiB */
    uint32_t big_endian;
    uint32_t delayed_branches;
    uint64_t random_seed; /* system calls 40 to 44 and the random device; 0: from the host */
    uint8_t program[32];  /* SHA-256 of the program, by which the host knows a snapshot again */
};

enum machine_stop_reason {
    MACHINE_SLICE = 0,    /* all instructions of run() were executed */
    MACHINE_EXIT = 1,     /* the program ended: `code` */
    MACHINE_SNAPSHOT = 2, /* SNAPSHOT: `text` is the path; run() goes on behind it */
    MACHINE_BREAK = 3,    /* before a breakpoint */
    MACHINE_FAULT = 4,    /* an exception that nothing handles: `text` says which */
    MACHINE_POWER_OFF = 5,
    MACHINE_WAIT = 6,     /* waits for an interrupt that cannot come before input does */
};

struct machine_stop {
    uint32_t reason; /* enum machine_stop_reason */
    int32_t code;    /* exit status, or exception code (Cause.ExcCode) */
    uint64_t executed; /* instructions in this run() */
    uint32_t pc;
    uint32_t address; /* FAULT: BadVAddr */
    char text[240];  /* NUL-terminated UTF-8 */
};

struct machine_state {
    uint32_t registers[32];
    uint32_t hi, lo, pc, next_pc; /* next_pc: behind a branch in its delay slot, else pc + 4 */
    uint32_t cp0[32];
    uint32_t fpu[32];
    uint32_t fcsr;
    uint32_t in_delay_slot;
    uint64_t executed; /* instructions since the start */
};

struct machine_stats {
    uint64_t executed, branches, taken, loads, stores, exceptions, system_calls;
    uint64_t blocks;       /* basic blocks decoded */
    uint64_t memory_bytes; /* pages touched, in bytes */
    uint32_t ncounts;      /* uint64_t counts follow, one for each entry of the ISA table */
    uint32_t reserved;
};

#endif
