/* The calls of `mayfly snapshot create --call 'FUNCTION ARG...'`. */
#ifndef CLI_SNAPSHOT_CALLS_H
#define CLI_SNAPSHOT_CALLS_H

#include "guest.h"

#include <jansson.h>

struct snapshot_call;

struct snapshot_calls {
    struct snapshot_call *call;
    size_t n;
    uint64_t bytes; /* of all their strings and bytes */
};

/*
 * Reads the --call options of an opened guest, as the signatures of the functions say.
 * Returns 0 or MF_E_*, with guest->err filled. *calls is to be given to snapshot_calls_fini
 * in every case.
 */
int snapshot_calls_parse(struct guest *guest, struct snapshot_calls *calls);
void snapshot_calls_fini(struct snapshot_calls *calls);

/*
 * Makes call `i` of a started guest. Its result is appended to `results`, unless that is NULL.
 * Returns 0 or MF_E_*, with guest->err filled.
 */
int snapshot_calls_make(struct guest *guest, const struct snapshot_calls *calls, size_t i,
                        json_t *results);

#endif
