/*
 * Programs for qemu-mips and qemu-mipsel, the oracle of the machine's tests: words and data
 * in a static ELF. The program writes its data to descriptor 1 at its end. A handler skips
 * instructions that raise a signal, and leaves its number where $4 points to, plus an offset.
 */
#ifndef TESTS_MACHINE_ORACLE_H
#define TESTS_MACHINE_ORACLE_H

#include "machine_run.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ORACLE_HEADER 4096 /* bytes of the file before the text */

struct oracle {
    bool big;
    uint8_t *file, *data; /* `data` in the file; behind oracle_run as the program left it */
    uint32_t at, room;    /* of the text: bytes used, bytes there are */
    uint32_t data_at, data_bytes;
};

static inline bool oracle_present(void)
{
    return system("qemu-mips --version >/dev/null 2>&1 && qemu-mipsel --version >/dev/null 2>&1") ==
           0;
}

static inline uint32_t oracle_pc(const struct oracle *o)
{
    return TEXT + o->at;
}

static inline void oracle_put(struct oracle *o, uint32_t word)
{
    assert_true(o->at + 4 <= o->room);
    rig_put(o->file + ORACLE_HEADER + o->at, o->big, word);
    o->at += 4;
}

static inline void oracle_constant(struct oracle *o, uint32_t reg, uint32_t value)
{
    oracle_put(o, UINT32_C(0x3c000000) | reg << 16 | value >> 16);
    oracle_put(o, UINT32_C(0x34000000) | reg << 21 | reg << 16 | (value & 0xffff));
}

static inline void oracle_call(struct oracle *o, uint32_t number, const uint32_t arguments[4])
{
    for (uint32_t i = 0; i < 4; i++)
        oracle_constant(o, 4 + i, arguments[i]);
    oracle_constant(o, 2, number);
    oracle_put(o, UINT32_C(0x0000000c));
}

/* A handler, which finds $4 and the pc in the ucontext of o32, and its installation. */
static inline void oracle_handler(struct oracle *o, uint32_t signal_offset)
{
    static const uint8_t signals[] = {4, 5, 8, 10, 11};
    const uint32_t low = o->big ? 4 : 0; /* the word of a register's 8 bytes that counts */
    const uint32_t handler = TEXT + 8, action = TEXT + 8 + 4 * 8;

    oracle_put(o, UINT32_C(0x1000000f)); /* branch to the installation */
    oracle_put(o, 0);
    oracle_put(o, UINT32_C(0x8cc80000) | (72 + low)); /* lw $8, $4 of the program */
    oracle_put(o, UINT32_C(0xad040000) | signal_offset);
    oracle_put(o, UINT32_C(0x8cc90000) | (32 + low));
    oracle_put(o, UINT32_C(0x25290004));
    oracle_put(o, UINT32_C(0xacc90000) | (32 + low));
    oracle_put(o, UINT32_C(0x03e00008));
    oracle_put(o, 0);
    oracle_put(o, 0);
    oracle_put(o, UINT32_C(0x40000008)); /* struct sigaction: information, may nest */
    oracle_put(o, handler);
    for (int i = 0; i < 4; i++)
        oracle_put(o, 0);
    for (size_t i = 0; i < sizeof(signals); i++)
        oracle_call(o, 4194, (const uint32_t[4]){signals[i], action, 0, 16});
}

static inline void oracle_open(struct oracle *o, bool big, size_t text_bytes, size_t data_bytes,
                               uint32_t signal_offset)
{
    *o = (struct oracle){.big = big};
    o->room = (uint32_t)(text_bytes + 4096 + 4095) & ~UINT32_C(4095);
    o->data_bytes = (uint32_t)data_bytes;
    o->data_at = TEXT + o->room;
    o->file = calloc(1, ORACLE_HEADER + o->room + data_bytes);
    assert_non_null(o->file);
    o->data = o->file + ORACLE_HEADER + o->room;
    oracle_handler(o, signal_offset);
}

static inline void oracle_close(struct oracle *o)
{
    free(o->file);
}

#define ORACLE_FLAGS_AT 120

/* One segment, everything in it. */
static inline void oracle_header(struct oracle *o)
{
    const uint32_t bytes = o->room + o->data_bytes;
    const uint8_t ident[16] = {0x7f, 'E', 'L', 'F', 1, o->big ? 2 : 1, 1};
    /* type 2 and machine 8 are halves, as are the last words of the header */
    const uint32_t header[] = {o->big ? 0x00020008u : 0x00080002u,
                               1, TEXT, 52, 0, 0x70001000u,
                               o->big ? 0x00340020u : 0x00200034u,
                               o->big ? 0x00020028u : 0x00280002u, 0,
                               /* load */
                               1, ORACLE_HEADER, TEXT, TEXT, bytes, bytes, 7, 4096,
                               /* flags of the ABI, for FR = 0 */
                               0x70000003u, ORACLE_FLAGS_AT, TEXT, TEXT, 24, 24, 4, 8};
    const uint8_t flags[8] = {0, 0, 32, 2, 1, 1, 0, 1}; /* MIPS32 release 2; pairs are doubles */

    memcpy(o->file, ident, sizeof(ident));
    for (size_t i = 0; i < sizeof(header) / sizeof(header[0]); i++)
        rig_put(o->file + 16 + 4 * i, o->big, header[i]);
    memcpy(o->file + ORACLE_FLAGS_AT, flags, sizeof(flags));
}

/* Ends the program and runs it; false: it did not come to its end. */
static inline bool oracle_run(struct oracle *o)
{
    char path[] = "/tmp/mayfly-machine-XXXXXX", command[128];
    size_t bytes = ORACLE_HEADER + o->room + o->data_bytes;

    oracle_call(o, 4004, (const uint32_t[4]){1, o->data_at, o->data_bytes, 0}); /* write */
    oracle_call(o, 4001, (const uint32_t[4]){0, 0, 0, 0});                      /* exit */
    oracle_header(o);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, 0700), 0);
    assert_int_equal(write(fd, o->file, bytes), bytes);
    close(fd);
    snprintf(command, sizeof(command), "timeout 60 %s %s", o->big ? "qemu-mips" : "qemu-mipsel",
             path);
    FILE *pipe = popen(command, "re");
    assert_non_null(pipe);
    size_t got = fread(o->data, 1, o->data_bytes, pipe);
    int status = pclose(pipe);
    unlink(path);
    return status == 0 && got == o->data_bytes;
}

#endif
