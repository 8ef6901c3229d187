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

/* ---- a channel that something happens to ---- */

/* Types of frames that tests look for (docs/formats/migration.md). */
enum { FRAME_PAGES = 6, FRAME_LOADED = 11, FRAME_COMMIT = 12, FRAME_REFUSE = 16 };
#define FRAME_HEAD 16

enum tap_event {
    TAP_NOTHING,
    TAP_CUT,   /* both directions end */
    TAP_STALL, /* nothing comes through any more, either way, and nobody is told */
    TAP_FLIP,  /* a bit is another one */
    TAP_SLOW,  /* every other transfer takes too long, from the beginning */
};

enum { TAP_OUT, TAP_IN, TAP_WAYS }; /* from the source, to it */

#define TAP_FRAMES 4096

/* One direction: the frames that went through it. */
struct tap_way {
    uint64_t bytes; /* that went through */
    uint64_t next;  /* where the next frame begins */
    uint8_t head[FRAME_HEAD];
    struct tap_frame {
        uint16_t type;
        uint32_t bytes; /* with its head */
        uint64_t at;
    } frames[TAP_FRAMES];
    size_t nframes;
};

/* The source's channel, with an event before byte `at` of one of its directions. */
struct tap {
    struct mf_channel inner;
    int fd; /* what is shut down by a cut */
    enum tap_event event;
    int way;
    uint64_t at;
    /*
     * For TAP_OUT, where the number of bytes before is not the same each time: instead of `at`,
     * `within` bytes into frame `occurrence` (from 0) of this type. 0: `at` counts.
     */
    unsigned type, occurrence, within;
    bool happened, waited;
    struct tap_way ways[TAP_WAYS];
    /* If not NULL: all that the source sent, `kept` bytes. */
    uint8_t *record;
    size_t record_size, kept;
};

/* Whether all of a frame of this type went through; `way` is TAP_OUT or TAP_IN. */
bool tap_saw(const struct tap *tap, int way, unsigned type);

/* How one move is made; zeros are defaults. */
struct move {
    struct mf_migrate_options out;
    struct mf_migrate_in_options in;
    struct mf_channel_fds out_fds, in_fds; /* connected here unless `fds_given` */
    bool fds_given;
    struct tap *tap; /* around the source's channel; or NULL */
    enum mf_backend backend; /* of the receiver */
    struct mf_host *(*make_host)(void);
    /* What came of it. */
    int out_rc, in_rc;
    enum mf_migrate_outcome outcome;
    struct mf_migrate_progress summary;
    struct mf_error out_err, in_err;
    struct mf_sandbox *received;
};

/* Moves: the receiver in a thread of its own, the source in this one. Ends when both have. */
void move_sandbox(struct mf_sandbox *sandbox, struct move *move);

/* Begins a call of `function` with `nargs` u64 arguments on a thread of the place. */
void place_call(struct place *place, const char *function, const uint64_t *args, size_t nargs);
/* Begins mf_sandbox_resume likewise. */
void place_resume(struct place *place);
/* Waits for its end. */
void place_join(struct place *place);

#endif
