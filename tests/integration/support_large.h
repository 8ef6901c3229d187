/*
 * A sandbox of the guest tests/guests/large with the host functions that it needs:
 * what test_large.c and test_batch.c share.
 */
#ifndef TESTS_SUPPORT_LARGE_H
#define TESTS_SUPPORT_LARGE_H

#include "backend.h"

#define MIB ((size_t)1 << 20)

struct large {
    struct mf_image *image;
    struct mf_host *host;
    struct mf_sandbox *sandbox;
    struct mf_error err;      /* of the last call */
    uint8_t *made;            /* what host_make gave out last */
    uint64_t stream_left;     /* what host_source still has, */
    uint64_t stream_total;    /* and what both directions have moved */
    uint64_t stream_sum;      /* of the bytes of host_sink */
    size_t longest_piece;     /* of a stream */
    unsigned freed;           /* times that host_make freed what it had given out */
    int batch_status;         /* of the batch that host_batch tried */
};

/* What byte `i` of data with this seed is; the guest has the same function. */
static inline uint8_t large_pattern(uint64_t i, uint32_t seed)
{
    return (uint8_t)(i * 7 + (i >> 12) + seed);
}

bool large_is_filled(const uint8_t *data, uint64_t len, uint32_t seed);
void large_fill(uint8_t *data, uint64_t len, uint32_t seed);

/* The sum that the guest's function `sum` computes. */
uint64_t large_sum(const void *data, uint64_t len);

/*
 * Makes a sandbox; `memory` and `mailbox` may be 0 for the default. Ends the program with 77
 * when the backend is missing; the guest's builds are musl or, without it, gcc.
 */
void large_open(struct large *large, uint64_t memory, uint64_t mailbox);
void large_close(struct large *large);

/* Another sandbox in the place of one that is spoilt. */
void large_reopen(struct large *large);

/* Calls; the status, with *result set. */
int large_call(struct large *large, const char *function, const struct mf_value *args, size_t n,
               struct mf_value *result);

/* The index of a function. */
size_t large_index(const struct large *large, const char *function);

#endif
