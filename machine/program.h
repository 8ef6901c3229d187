/*
 * A program for the machine, as the assembler or the ELF loader leaves it and the machine
 * takes it: segments, symbols, lines. In memory; machine/image.h has the bytes that travel
 * into the guest. Freestanding, like all headers of this folder.
 */
#ifndef MACHINE_PROGRAM_H
#define MACHINE_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where SPIM and MARS programs expect things. */
#define MACHINE_TEXT UINT32_C(0x00400000)
#define MACHINE_RETURN UINT32_C(0x003ffffc) /* $ra at the start: a jump there ends the program */
#define MACHINE_DATA UINT32_C(0x10010000)
#define MACHINE_EXTERN UINT32_C(0x10000000) /* .extern; $gp is 0x10008000 */
#define MACHINE_GP UINT32_C(0x10008000)
#define MACHINE_HEAP UINT32_C(0x10040000)   /* sbrk; at least behind .data */
#define MACHINE_STACK UINT32_C(0x7fffeffc)  /* $sp at the start */
#define MACHINE_KTEXT UINT32_C(0x80000180)
#define MACHINE_KDATA UINT32_C(0x90000000)
#define MACHINE_MMIO UINT32_C(0xffff0000)
#define MACHINE_EXCEPTION UINT32_C(0x80000180)

enum machine_segment_kind { SEGMENT_TEXT, SEGMENT_DATA, SEGMENT_KTEXT, SEGMENT_KDATA };

/* Bytes are in the byte order of the program. */
struct machine_segment {
    enum machine_segment_kind kind;
    uint32_t address, bytes;
    uint8_t *data;
    uint32_t memory_bytes; /* with zeros behind `bytes` */
    bool writable, executable;
};

struct machine_symbol {
    char *name;
    uint32_t address;
    bool global;
};

/*
 * The source line of an instruction: sorted by address, for messages, listing, debugger.
 * One entry for each instruction as it is written, at the first word that it became; it
 * holds for all words up to the next entry. In a simple program entry i is thus written
 * instruction i, which is how legacy snapshots count.
 */
struct machine_line {
    uint32_t address;
    uint32_t file; /* index in `files` */
    uint32_t line; /* from 1 */
};

struct machine_program {
    struct machine_segment *segments;
    size_t nsegments;
    struct machine_symbol *symbols; /* sorted by address */
    size_t nsymbols;
    struct machine_line *lines;
    size_t nlines;
    char **files;
    size_t nfiles;
    char **strings; /* paths of SNAPSHOT: the instruction holds the index */
    size_t nstrings;
    uint32_t entry; /* __start, else main, else the first instruction of .text */
    bool big_endian;
    bool delayed_branches; /* the code has delay slots (compiled code: always) */
    bool simple;           /* only the simple dialect: falls off the end of .text without a fault */
    bool returns;          /* main is called, as by SPIM's start-up code: $ra is MACHINE_RETURN */
};

/* Frees what the program holds, and zeroes it; not `program` itself, which may be NULL. */
void machine_program_free(struct machine_program *program);

#endif
