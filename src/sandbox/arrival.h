/*
 * A sandbox whose pages are still coming while it runs (a post-copy; src/migrate/in_post.c): what
 * the sandbox knows of who brings them.
 */
#ifndef SANDBOX_ARRIVAL_H
#define SANDBOX_ARRIVAL_H

#include <pthread.h>
#include <stdbool.h>

struct mf_sandbox;

struct arrival {
    /* Ends what brings pages, and frees it and this. Not on one of its own threads. */
    void (*end)(struct arrival *arrival);
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done; /* all are here, or none will come any more */
    bool lost; /* the latter */
};

void arrival_init(struct arrival *arrival);
void arrival_fini(struct arrival *arrival);

/* Nothing comes any more; with `lost` the guest is stopped with MF_E_MOVED first. Any thread. */
void arrival_finish(struct arrival *arrival, struct mf_sandbox *sandbox, bool lost);

/* True when pages of the guest were lost: what it says is not to be believed. Cheap. */
bool arrival_is_lost(const struct mf_sandbox *sandbox);

/* The same for ever, also when the guest has been stopped for it. */
bool arrival_was_lost(const struct mf_sandbox *sandbox);

#endif
