/* Inside bench/: the measures that the table of figures is made of, and what they share. */
#ifndef BENCH_MEASURES_H
#define BENCH_MEASURES_H

#include "bench.h"

#include <stdint.h>

/* Guest memory of every sandbox and of every raw VM. */
#define BENCH_MEMORY_BYTES (UINT64_C(64) << 20)

/* The text of the calls: 64 bytes. */
#define BENCH_TEXT "The quick brown fox jumps over the lazy dog, and does it again.."
_Static_assert(sizeof(BENCH_TEXT) == 64 + 1, "echo is measured with 64 bytes");

/* The bytes of call_bytes_64k. */
#define BENCH_BYTES (64u << 10)

/* The product: call.c */
extern const struct bench_measure bench_call_echo;
extern const struct bench_measure bench_call_host;
extern const struct bench_measure bench_call_nested;
extern const struct bench_measure bench_call_bytes;
/* life.c */
extern const struct bench_measure bench_create;
extern const struct bench_measure bench_memory; /* of as many sandboxes as operations */
/* interrupt.c, with the floor beside it, because both need the second thread */
extern const struct bench_measure bench_interrupt;
extern const struct bench_measure bench_floor_interrupt;
/* process.c, the same */
extern const struct bench_measure bench_run_hello;
extern const struct bench_measure bench_floor_hello;
/* floors.c */
extern const struct bench_measure bench_floor_run;
extern const struct bench_measure bench_floor_run_copy;
extern const struct bench_measure bench_floor_create;

/* guest.c. The monotonic clock in microseconds. */
double bench_now_us(void);

/* The path of a file in the folder with the guests; MF_E_SYSTEM with advice when it is missing. */
int bench_guest_path(const struct bench *bench, const char *name, char *path, size_t size,
                     struct mf_error *err);

/* The guest with the exported functions, and the host functions that it needs. */
struct bench_guest {
    struct mf_image *image;
    struct mf_host *host;
    struct mf_sandbox_options options;
};
/* `ticks` is NULL, or an atomic_uint that counts the calls of the host function tick. */
int bench_guest_open(const struct bench *bench, void *ticks, struct bench_guest *guest,
                     struct mf_error *err);
void bench_guest_close(struct bench_guest *guest);

/* Fails with MF_E_NO_MEMORY. */
int bench_no_memory(struct mf_error *err);

#endif
