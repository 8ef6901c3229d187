/*
 * Live migration: a sandbox moves to another process or host while it runs, and goes on
 * in the middle of its instruction stream. The source calls mf_migrate_out, the
 * receiver mf_migrate_in, over a channel that the caller has connected, authenticated
 * and, where it leaves the host, encrypted: what comes in over a channel is checked, but
 * whoever is at its other end decides what the guest's memory holds.
 *
 * At no moment do two copies run. Until the source has said COMMIT it goes on when
 * anything fails; afterwards it never does (docs/formats/migration.md).
 */
#ifndef MAYFLY_MIGRATE_H
#define MAYFLY_MIGRATE_H

#include <mayfly/sandbox.h>
#include <mayfly/snapshot.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- standing still ---- */

/*
 * Makes the guest stand still between two of its instructions, wherever it is, and keeps
 * it so until mf_sandbox_unpause: who is in a call or a run notices nothing but the
 * time, and who begins one waits. Any thread but one that is inside of the sandbox (a
 * host function). A host function that runs is waited for, and so is a guest that was called
 * by one. In between the calling thread may use mf_sandbox_snapshot,
 * mf_sandbox_get_stats and what only looks at the sandbox.
 * `timeout_ns`: how long to wait for the guest to come out; 0: 10 s.
 * Errors: MF_E_STATE (paused already, attentive, or it has ended or moved), MF_E_DEADLINE (it
 * did not come out: nothing has changed).
 */
MF_API int mf_sandbox_pause(struct mf_sandbox *sandbox, uint64_t timeout_ns,
                            struct mf_error *err);

/* Lets it go on. Only after mf_sandbox_pause, on any thread. */
MF_API void mf_sandbox_unpause(struct mf_sandbox *sandbox);

/* ---- channels ---- */

/* What mf_channel.read and .write answer when `timeout_ms` have passed. */
#define MF_CHANNEL_TIMEOUT (-2)

/*
 * Two streams of bytes, one to the peer and one from it. One thread reads and one writes,
 * maybe at the same time.
 */
struct mf_channel {
    size_t size; /* sizeof(struct mf_channel) */
    void *context;
    /*
     * Reads 1 to `len` bytes; waits for the first. Returns how many, 0 when the peer has
     * closed, MF_CHANNEL_TIMEOUT, or -1: broken, with the reason in *err (not NULL).
     */
    long (*read)(void *context, void *data, size_t len, int timeout_ms, struct mf_error *err);
    /* Writes 1 to `len` bytes; otherwise as above. Must not raise SIGPIPE. */
    long (*write)(void *context, const void *data, size_t len, int timeout_ms,
                  struct mf_error *err);
};

/*
 * A channel over a connected stream socket, or a pipe for each direction (the same
 * descriptor twice for a socket). The descriptors stay the caller's; they are made
 * non-blocking. *channel is valid as long as *fds is.
 */
struct mf_channel_fds {
    int read_fd, write_fd;
};
MF_API void mf_channel_from_fds(struct mf_channel *channel, struct mf_channel_fds *fds);

/* ---- the source ---- */

/* What has been done so far, for progress and for the summary. Times in ns. */
struct mf_migrate_progress {
    size_t size;             /* sizeof(struct mf_migrate_progress) */
    const char *phase;       /* "connect", "copy", "stop", "post-copy", "done"; static */
    uint32_t round;          /* of the copy, from 1 */
    uint32_t throttle;       /* percent of time that the guest is held back */
    uint64_t pages_total;    /* in use by the guest */
    uint64_t pages_left;     /* of this round */
    uint64_t pages_sent;     /* as contents; a page that is sent again counts again */
    uint64_t pages_zero;     /* named only: zeros */
    uint64_t pages_known;    /* named only: the receiver has them */
    uint64_t bytes_sent;     /* over the channel */
    uint64_t bytes_per_s;    /* of the last round, as acknowledged */
    uint64_t dirty_bytes_per_s; /* how fast the guest writes to pages */
    uint64_t expected_downtime_ns;
    uint64_t downtime_ns;    /* from the pause to the receiver's word that it runs */
    uint64_t total_ns;
};

struct mf_migrate_options {
    size_t size; /* sizeof(struct mf_migrate_options) */
    uint64_t downtime_limit_ns; /* 0: 10 ms */
    uint64_t timeout_ns;        /* for everything up to the commit; 0: 60 s */
    uint64_t stall_ns;          /* a peer that says nothing for so long is gone; 0: 10 s */
    int postcopy; /* 1: a guest that writes faster than the channel takes goes on at the
                     receiver before all of its pages are there */
    int compress; /* 1: zstd, when the receiver knows it */
    /* Words of the application for the receiver's `accept`: a name, a kind. */
    const void *label;
    size_t label_len; /* at most MF_MIGRATE_LABEL_MAX */
    /*
     * Called when the guest stands still, maybe more than once: the application's part of
     * the state, for instance output that nobody has read. Up to MF_MIGRATE_STATE_MAX bytes, which
     * stay valid until the next call or the end of mf_migrate_out. NULL: none.
     */
    int (*state)(void *context, const void **data, size_t *len, struct mf_error *err);
    /* Often, on the calling thread; anything but 0 cancels. NULL: nobody looks. */
    int (*progress)(void *context, const struct mf_migrate_progress *progress);
    void *context;
    /*
     * Above 0: hands the guest over to another process of this host without a copy. The descriptor
     * of its memory (it must have been made with MF_SANDBOX_SHARED_MEMORY) is passed over this
     * connected unix socket, whose other end is the receiver's `handover_socket`; no pages are
     * sent over the channel, and `postcopy` means nothing. After the commit this side has no
     * memory to look at any more, whatever the outcome.
     */
    int handover_socket;
    /*
     * 1: the caller has paused it (mf_sandbox_pause), and it stands still all the time. It is
     * the caller's to unpause afterwards; once it has moved, that does nothing.
     */
    int paused;
};
#define MF_MIGRATE_LABEL_MAX (64u << 10)
#define MF_MIGRATE_STATE_MAX (64u << 20)

/* Where the guest is afterwards. */
enum mf_migrate_outcome {
    MF_MIGRATE_HERE = 0,  /* the migration failed or was cancelled: it goes on here */
    MF_MIGRATE_THERE = 1, /* it runs at the receiver, which has said so, and has all of it */
    /*
     * The receiver was told to run it and has not answered, or has lost it. Here it
     * stands still, and can be snapshotted until it is destroyed; not if it was handed
     * over by its memory's descriptor, which is the receiver's then.
     */
    MF_MIGRATE_UNKNOWN = 2,
};

/*
 * Moves a sandbox away. Any thread but one that is inside of the sandbox; it may be in a
 * call or a run, stopped, or idle. Returns 0 with *outcome THERE, or an error with HERE
 * or UNKNOWN. A call or a run that was going on here ends with MF_E_MOVED unless the
 * outcome is HERE; then nothing has happened to it. `summary` (may be NULL; set its size)
 * gets the last progress.
 * Errors: MF_E_STATE (a migration goes on, attentive, mappings of host memory, ended),
 * MF_E_CHANNEL (broken, closed, or stalled), MF_E_PEER (what it said cannot be), MF_E_REFUSED (with
 * the receiver's words), MF_E_CANCELLED, MF_E_DEADLINE, MF_E_NO_MEMORY, MF_E_SYSTEM.
 */
MF_API int mf_migrate_out(struct mf_sandbox *sandbox, const struct mf_channel *channel,
                          const struct mf_migrate_options *options,
                          enum mf_migrate_outcome *outcome, struct mf_migrate_progress *summary,
                          struct mf_error *err);

/* ---- the receiver ---- */

/* What the source offers. */
struct mf_migrate_offer {
    size_t size;
    const void *label;
    size_t label_len;
    uint64_t memory_bytes;
    enum mf_backend backend;    /* where it runs */
    struct mf_image *image;     /* the program, for mf_image_hold: its imports and name */
    const uint8_t *image_digest; /* SHA-256 of the program */
};

struct mf_migrate_in_options {
    size_t size; /* sizeof(struct mf_migrate_in_options) */
    uint64_t timeout_ns; /* up to the commit; 0: 300 s */
    uint64_t stall_ns;   /* 0: 10 s */
    uint64_t memory_limit; /* offers of more guest memory are refused; 0: no limit */
    /*
     * Decides on an offer: sets *host (consumed as by mf_sandbox_create; may stay NULL) and
     * *options (memory, stack and mailbox sizes are the source's), and returns 0; or fills *err,
     * whose words the source gets, and returns its code. NULL: takes all, without host functions.
     */
    int (*accept)(void *context, const struct mf_migrate_offer *offer, struct mf_host **host,
                  struct mf_sandbox_options *options, struct mf_error *err);
    /* The program with this SHA-256, held for the caller, or NULL: the source sends it. */
    struct mf_image *(*find_image)(void *context, const uint8_t digest[MF_DIGEST_BYTES]);
    /* The snapshot file with this SHA-256, held for the caller, or NULL. */
    struct mf_snapshot *(*find_snapshot)(void *context, const uint8_t digest[MF_DIGEST_BYTES]);
    /* The source's state(), before the commit: anything but 0 refuses, with *err. NULL: ignored. */
    int (*state)(void *context, const void *data, size_t len, struct mf_error *err);
    void *context;
    /*
     * Above 0: the other end of the source's `handover_socket`, over which guest memory comes when
     * the source wants to hand it over. Only from a process that is trusted as this one: it
     * could go on writing to memory that was checked. The sandbox can be handed over again.
     */
    int handover_socket;
};

/*
 * Takes a sandbox in. Returns when the source has committed: *out is this side's from
 * then on, and stands where the source's stood: mf_sandbox_stopped says what
 * mf_sandbox_resume goes on with. The source is told that it runs as soon as this returns.
 * Pages that are still missing after a post-copy come while it runs, over the channel, whose
 * context must live until mf_migrate_wait says that all are here, or mf_sandbox_destroy has
 * returned; if the source is lost before, the guest is stopped with MF_E_MOVED.
 * Errors: those of mf_migrate_out, MF_E_BACKEND (a CPU feature is missing; named), those of
 * mf_sandbox_create. *out is NULL then, and nothing is left.
 */
MF_API int mf_migrate_in(const struct mf_channel *channel,
                         const struct mf_migrate_in_options *options, struct mf_sandbox **out,
                         struct mf_error *err);

/*
 * Waits until all pages of a sandbox that came by a post-copy are here: its channel is used
 * until then. At once for others. Any thread; not while the sandbox is destroyed.
 * Errors: MF_E_DEADLINE (after `timeout_ns`), MF_E_MOVED (the source was lost).
 */
MF_API int mf_migrate_wait(struct mf_sandbox *sandbox, uint64_t timeout_ns, struct mf_error *err);

#ifdef __cplusplus
}
#endif

#endif
