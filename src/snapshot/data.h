/* Page data of a snapshot file: from the file into memory. The numbers are checked already. */
#ifndef SNAPSHOT_DATA_H
#define SNAPSHOT_DATA_H

#include "snapshot/format.h"
#include "snapshot/snapshot.h"
#include "snapshot/source.h"

struct data {
    struct source *source;
    bool compressed;
    uint64_t offset;  /* of the section in the file */
    uint64_t nstored; /* pages in it */
    const struct format_run *runs;
    size_t nruns;
    const struct format_block *blocks;
    size_t nblocks;
};

/* With more runs than this a file is copied and not mapped. */
#define DATA_RUNS_MAPPED 1024

/* A root that maps the file itself. */
int data_map_root(const struct data *data, struct mem_root **out, struct mf_error *err);

/*
 * A root in memory, with what the file says now: each block is checked, and each page
 * lies where the guest has it. Descriptors and stubs are this library's. MF_E_SNAPSHOT,
 * MF_E_SYSTEM, MF_E_NO_MEMORY.
 */
int data_copy_root(const struct data *data, struct mem_root **out, struct mf_error *err);

/* The same for the pages of a child. */
int data_copy_pages(const struct data *data, struct snap_pages *out, struct mf_error *err);

#endif
