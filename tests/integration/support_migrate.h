/*
 * A sandbox that is moved from thread to thread: what the tests of migration share. Each place is a
 * thread that has the sandbox, resumes what it was in the middle of, and keeps what came
 * of it.
 */
#ifndef TESTS_SUPPORT_MIGRATE_H
#define TESTS_SUPPORT_MIGRATE_H

#include <mayfly/mayfly.h>

#include <pthread.h>
#include <stdbool.h>

/* Where a sandbox is, and what its thread does with it. */
struct place {
    struct mf_sandbox *sandbox;
    pthread_t thread;
    /* What the thread's call, run or resume came back with. */
    int rc, status;
    uint64_t result;
    struct mf_error err;
};

/* How one move is made; zeros are defaults. */
struct move {
    struct mf_migrate_options out;
    struct mf_migrate_in_options in;
    struct mf_channel_fds out_fds, in_fds; /* connected here unless `fds_given` */
    bool fds_given;
    enum mf_backend backend; /* of the receiver */
    struct mf_host *(*make_host)(void);
    /* What came of it. */
    int out_rc, in_rc;
    enum mf_migrate_outcome outcome;
    struct mf_migrate_progress summary;
    struct mf_error out_err, in_err;
    struct mf_sandbox *received;
};

/* Moves: the receiver in a thread of its own, the source in the calling one. Ends when both have. */
void move_sandbox(struct mf_sandbox *sandbox, struct move *move);

/* Begins a call of `function` with `nargs` u64 arguments on a thread of the place. */
void place_call(struct place *place, const char *function, const uint64_t *args, size_t nargs);
/* Begins mf_sandbox_resume likewise. */
void place_resume(struct place *place);
/* Waits for its end. */
void place_join(struct place *place);

#endif
