/*
 * A machine in a test: programs from words, output and input in memory.
 */
#ifndef TESTS_MACHINE_RUN_H
#define TESTS_MACHINE_RUN_H

#include "machine/guest/core.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT MACHINE_TEXT

struct rig {
    struct machine *m;
    struct machine_stop stop;
    char out[65536];
    size_t out_len, writes;
    const char *in; /* what is left of the input; NULL: at its end */
    bool in_waits;  /* behind the input comes more, later */
    uint8_t disk[4][DISK_SECTOR];
};

static inline void rig_write(void *context, int fd, const void *data, size_t len)
{
    struct rig *rig = context;

    rig->writes++;
    if (fd == 1 && len <= sizeof(rig->out) - 1 - rig->out_len) {
        memcpy(rig->out + rig->out_len, data, len);
        rig->out_len += len;
    }
}

static inline long rig_read(void *context, void *data, size_t len)
{
    struct rig *rig = context;
    size_t have = rig->in == NULL ? 0 : strlen(rig->in);

    if (have == 0)
        return rig->in_waits ? HOST_NO_INPUT : 0;
    if (len > have)
        len = have;
    memcpy(data, rig->in, len);
    rig->in += len;
    return (long)len;
}

static inline uint64_t rig_time(void *context)
{
    (void)context;
    return UINT64_C(0x123456789);
}

static inline void rig_entropy(void *context, uint8_t out[32])
{
    static uint8_t next;

    (void)context;
    memset(out, ++next, 32);
}

static inline bool rig_disk_read(void *context, uint64_t sector, uint8_t data[DISK_SECTOR])
{
    struct rig *rig = context;
    memcpy(data, rig->disk[sector], DISK_SECTOR);
    return true;
}

static inline bool rig_disk_write(void *context, uint64_t sector, const uint8_t data[DISK_SECTOR])
{
    struct rig *rig = context;
    memcpy(rig->disk[sector], data, DISK_SECTOR);
    return true;
}

static inline uint64_t rig_disk_sectors(void *context)
{
    (void)context;
    return 4;
}

/* What a machine is made of; zero is little-endian without delay slots. */
struct rig_setup {
    bool big, delayed, simple, writable, returns;
    const char *snapshot;                /* the one string of the program */
    const uint32_t *ktext;               /* words at 0x80000180 */
    size_t nktext;
    uint32_t zeros;                      /* bytes behind the text */
};

static inline void rig_put(uint8_t *to, bool big, uint32_t word)
{
    for (unsigned i = 0; i < 4; i++)
        to[i] = (uint8_t)(word >> 8 * (big ? 3 - i : i));
}

static inline uint8_t *rig_bytes(bool big, const uint32_t *words, size_t n)
{
    uint8_t *bytes = malloc(n * 4 + 1);

    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++)
        rig_put(bytes + 4 * i, big, words[i]);
    return bytes;
}

/* Entries that make a block hot: NATIVE_THRESHOLD, or what the test is told. */
static inline uint64_t rig_threshold(void)
{
    const char *entries = getenv("MACHINE_TEST_THRESHOLD");

    return entries != NULL ? strtoull(entries, NULL, 10) : NATIVE_THRESHOLD;
}

/* A machine with the `len` bytes of text at TEXT. */
static inline void rig_open_bytes(struct rig *rig, const struct rig_setup *setup, uint8_t *text,
                                  size_t len)
{
    struct machine_host host = {rig,           rig_write,      rig_read,        rig_time,
                                rig_entropy,   rig_disk_read,  rig_disk_write,  rig_disk_sectors};
    struct machine_config config = {.version = MACHINE_PROTOCOL_VERSION,
                                    .devices = MACHINE_CONSOLE | MACHINE_DISK | MACHINE_RANDOM |
                                               MACHINE_POWER,
                                    .big_endian = setup->big,
                                    .delayed_branches = setup->delayed};
    uint8_t *ktext = rig_bytes(setup->big, setup->ktext, setup->nktext);
    struct machine_segment segments[2] = {
        {SEGMENT_TEXT, TEXT, (uint32_t)len, text, (uint32_t)len + setup->zeros, setup->writable,
         true},
        {SEGMENT_KTEXT, MACHINE_KTEXT, (uint32_t)setup->nktext * 4, ktext,
         (uint32_t)setup->nktext * 4, false, true},
    };
    char *strings[1] = {(char *)(uintptr_t)setup->snapshot};
    struct machine_program program = {.segments = segments,
                                      .nsegments = setup->nktext > 0 ? 2 : 1,
                                      .entry = TEXT,
                                      .strings = strings,
                                      .nstrings = setup->snapshot != NULL,
                                      .big_endian = setup->big,
                                      .delayed_branches = setup->delayed,
                                      .simple = setup->simple,
                                      .returns = setup->returns};
    uint8_t *image = NULL;
    size_t image_len = 0;

    memset(rig, 0, sizeof(*rig));
    rig->m = calloc(1, sizeof(*rig->m));
    assert_non_null(rig->m);
    machine_init(rig->m, &host);
    rig->m->native.threshold = rig_threshold();
    assert_true(control_configure(rig->m, &config, sizeof(config)));
    assert_int_equal(machine_image_encode(&program, &image, &image_len), 0);
    assert_null(control_load(rig->m, image, image_len));
    free(image);
    free(ktext);
}

static inline void rig_open(struct rig *rig, const struct rig_setup *setup, const uint32_t *words,
                            size_t n)
{
    uint8_t *text = rig_bytes(setup->big, words, n);

    rig_open_bytes(rig, setup, text, n * 4);
    free(text);
}

static inline enum machine_stop_reason rig_run(struct rig *rig, uint64_t instructions)
{
    cpu_run(rig->m, instructions, &rig->stop);
    return (enum machine_stop_reason)rig->stop.reason;
}

static inline void rig_close(struct rig *rig)
{
    machine_fini(rig->m);
    free(rig->m);
}

/* xorshift: tests repeat. */
static inline uint32_t rig_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 16);
}

#endif
