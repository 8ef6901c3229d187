/*
 * Inside bench/: measuring memory. memory.c knows how: in a child process, before and after
 * many of something were made; crowd.c knows of what.
 */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include "measures.h"

/* The number in the line "KEY NUMBER" or "KEY: NUMBER" of a file; -1 when it is not there. */
double bench_value_of_key(const char *path, const char *key);

/* What the kernel held at one time; `cgroup` says which of the two counted it. */
struct kernel_memory {
    bool cgroup;
    double kib; /* negative: not known */
};
void bench_kernel_memory_read(struct kernel_memory *memory);

/* KiB more than before, or -1; `note` gets how that was found, or why not. */
double bench_kernel_memory_since(const struct kernel_memory *before, char note[160]);

/* What many are made of. All of it happens in the child, which ends without cleaning up. */
struct memory_crowd {
    /* Prepares; what this takes is not counted. */
    int (*open)(const struct bench *bench, unsigned count, void **state, struct mf_error *err);
    /* Makes the next one: `number` counts from 0. */
    int (*add)(void *state, unsigned number, struct mf_error *err);
    unsigned vms;         /* 1: each has a VM; 0: none has, and the kernel keeps nothing for it */
    bool only_private;    /* not what is shared with others: count what only this process has */
    double unit_bytes;    /* of the figure */
    double content_bytes; /* of each one, of which everybody knows that it must be there */
    /* The value beside it, in the figure's unit, when it is not the kernel's memory. */
    const char *beside, *note;
    double (*count_beside)(void *state);
};

int bench_memory_open(const struct bench *bench, const struct memory_crowd *crowd, void **state,
                      struct mf_error *err);
int bench_memory_round(void *state, unsigned operations, double *value, struct mf_error *err);
void bench_memory_close(void *state);
size_t bench_memory_parts(void *state, struct bench_part parts[BENCH_PARTS_MAX]);

#endif
