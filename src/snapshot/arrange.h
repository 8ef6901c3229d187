/* Which pages a snapshot file holds, in which order, and which guest pages have which of them. */
#ifndef SNAPSHOT_ARRANGE_H
#define SNAPSHOT_ARRANGE_H

#include "snapshot/format.h"
#include "snapshot/snapshot.h"

struct arrangement {
    struct format_run *runs;
    size_t nruns;
    uint64_t run_pages; /* pages in all runs */
    uint32_t *stored;   /* for each place of DATA the guest page whose contents stand there */
    uint64_t nstored;
};

/*
 * All of a snapshot, or, with `parent`, what differs from it. `mapped`: the file is going to be
 * mapped; some pages more are stored then, if that makes fewer runs. For arrange_fini.
 * MF_E_NO_MEMORY, MF_E_SNAPSHOT (a file behind one of the snapshots has got shorter).
 */
int arrange(const struct mf_snapshot *snapshot, const struct mf_snapshot *parent, bool mapped,
            struct arrangement *out, struct mf_error *err);
void arrange_fini(struct arrangement *arrangement);

#endif
