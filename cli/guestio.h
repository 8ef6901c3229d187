/* The guest's standard input, output and error, as those of the command. */
#ifndef CLI_GUESTIO_H
#define CLI_GUESTIO_H

#include <mayfly/mayfly.h>

/* Must stay where it is while the sandbox lives. Zero it, then set what differs. */
struct guestio {
    bool verbose;          /* show every log line and denied system calls */
    bool output_to_stderr; /* standard output is taken by JSON */
    uint64_t deadline_ns;  /* CLOCK_MONOTONIC time at which waiting ends; 0: none */
    bool regular[3];       /* filled by guestio_init: writes never block */
};

/* Fills *table with the functions that use *io. */
void guestio_init(struct guestio *io, struct mf_io *table);

#endif
