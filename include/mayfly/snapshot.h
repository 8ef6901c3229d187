/*
 * Snapshots: the state of a sandbox, to go back to, to make sandboxes from, and to
 * keep in a file.
 *
 * A snapshot never changes and belongs to nobody: it is counted, and any number of
 * threads and sandboxes use it at once. It holds guest memory (what differs from a
 * parent snapshot), the CPU, and what the host keeps for the guest. It does not hold
 * host functions, callbacks, limits of time, or mappings of host memory.
 */
#ifndef MAYFLY_SNAPSHOT_H
#define MAYFLY_SNAPSHOT_H

#include <mayfly/sandbox.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mf_snapshot;

/* ---- taking and using ---- */

/*
 * Takes a snapshot: of a guest that has not begun, that waits for calls, or that was
 * stopped in the middle of a call or a run by an interrupt or a time limit (see
 * mf_sandbox_resume). The sandbox stays as it is. The first one of a sandbox costs a
 * copy of the pages it uses; the next ones what changed since the last snapshot or
 * restore. *out is the caller's, for mf_snapshot_close.
 * Errors: MF_E_STATE (during a call, ended, mappings of host memory exist),
 * MF_E_POISONED (by a fault or what else leaves nothing to go on with),
 * MF_E_NO_MEMORY, MF_E_SYSTEM.
 */
MF_API int mf_sandbox_snapshot(struct mf_sandbox *sandbox, struct mf_snapshot **out,
                               struct mf_error *err);

/* One more hold on it, for mf_snapshot_close. Any thread. Returns `snapshot`. */
MF_API struct mf_snapshot *mf_snapshot_hold(struct mf_snapshot *snapshot);

/* Gives a hold back. Any thread. NULL is allowed. */
MF_API void mf_snapshot_close(struct mf_snapshot *snapshot);

/*
 * Puts a sandbox into the state of `snapshot`, which was taken of it or of another
 * sandbox of the same image and memory size. Afterwards nothing is left of what ran
 * before, and a poisoned sandbox is as good as new; mappings of host memory are gone.
 * The guest gets a new generation value and fresh entropy. Limits and callbacks of
 * the sandbox stay. Costs what was touched since the last restore or snapshot.
 * Errors: MF_E_STATE (during a call), MF_E_ARGUMENT (image or sizes differ),
 * MF_E_BACKEND (a CPU feature is missing; named), MF_E_NO_MEMORY, MF_E_SYSTEM: after
 * the last two the sandbox is poisoned until a restore works.
 */
MF_API int mf_sandbox_restore(struct mf_sandbox *sandbox, struct mf_snapshot *snapshot,
                              struct mf_error *err);

/*
 * Makes a sandbox in the state of `snapshot`. `host` and `options` as for
 * mf_sandbox_create, but memory_bytes, stack_bytes, mailbox_bytes, args and env are
 * those of the snapshot: 0 or NULL. Pages that nobody writes are shared with all other
 * sandboxes made from it. Errors: those of mf_sandbox_create and mf_sandbox_restore.
 */
MF_API int mf_sandbox_create_from(struct mf_snapshot *snapshot, struct mf_host *host,
                                  const struct mf_sandbox_options *options,
                                  struct mf_sandbox **out, struct mf_error *err);

/*
 * Goes on with what an interrupt, a deadline or a CPU time limit stopped: in the sandbox
 * that was stopped, or in one made from, or restored to, a snapshot of that moment.
 * Limits begin anew.
 * Returns like the call (mf_sandbox_call: *result) or the run (mf_sandbox_run: *status)
 * that was stopped; both may be NULL. MF_E_STATE when nothing was stopped, or it was
 * stopped where it cannot go on: inside a call of a host function, or in a batch.
 */
MF_API int mf_sandbox_resume(struct mf_sandbox *sandbox, struct mf_value *result, int *status,
                             struct mf_error *err);

/* What mf_sandbox_resume would go on with. */
enum mf_stopped {
    MF_STOPPED_NOTHING = 0, /* nothing: the guest waits for calls, or has not begun */
    MF_STOPPED_START = 1,   /* its start */
    MF_STOPPED_CALL = 2,    /* a call */
    MF_STOPPED_RUN = 3,     /* a run of main */
};
MF_API enum mf_stopped mf_sandbox_stopped(const struct mf_sandbox *sandbox);

/* ---- what is known of one ---- */

struct mf_snapshot_info {
    size_t size;             /* sizeof(struct mf_snapshot_info) */
    uint64_t memory_bytes;   /* guest memory */
    uint64_t pages;          /* pages of 4 KiB that are not zero */
    uint64_t own_pages;      /* of them, or turned to zero, since the parent */
    uint64_t host_bytes;     /* memory of the host that this one adds to its parent */
    uint32_t depth;          /* parents */
    enum mf_backend backend; /* where it was taken */
    enum mf_stopped stopped;
    uint64_t cpu_components; /* state in use: 1 x87, 2 SSE, 4 AVX */
    uint64_t taken_unix_ns;  /* when */
};

/* Fills *info as far as its `size` goes. Any thread. */
MF_API void mf_snapshot_get_info(const struct mf_snapshot *snapshot, struct mf_snapshot_info *info);

/* The program in it; lives as long as the snapshot. */
MF_API struct mf_image *mf_snapshot_image(const struct mf_snapshot *snapshot);

/* The snapshot that it holds only the difference to, or NULL; lives as long as it. */
MF_API struct mf_snapshot *mf_snapshot_parent(const struct mf_snapshot *snapshot);

/*
 * Calls `fn` for each page that differs between two snapshots of the same memory size: its
 * guest physical number and the contents in each (zeros where there is none).
 * Returns the number of pages, or MF_E_ARGUMENT.
 */
MF_API int64_t mf_snapshot_diff(const struct mf_snapshot *a, const struct mf_snapshot *b,
                                void (*fn)(void *context, uint64_t page, const void *in_a,
                                           const void *in_b),
                                void *context, struct mf_error *err);

/*
 * Calls `fn` for each page that the guest sees, in rising order of addresses: its guest virtual
 * address, its guest physical number, and what is there: "image", "heap", "mmap", "stack",
 * "mailbox" or "system". Returns the number of pages, or MF_E_SNAPSHOT (its file has changed).
 */
MF_API int64_t mf_snapshot_each_page(const struct mf_snapshot *snapshot,
                                     void (*fn)(void *context, uint64_t address, uint64_t page,
                                                const char *area),
                                     void *context, struct mf_error *err);

/* ---- files ---- */

/* SHA-256 of a snapshot file, all of it: its identity. */
#define MF_DIGEST_BYTES 32

struct mf_snapshot_write_options {
    size_t size;  /* sizeof(struct mf_snapshot_write_options) */
    int compress; /* 1: zstd; opening it costs time and memory, as it cannot be mapped */
    /*
     * Write only the difference to this snapshot, an ancestor of the one written (or one that was
     * opened from a file), which the reader must have: its digest is named. NULL: complete.
     */
    struct mf_snapshot *parent;
};

/*
 * Writes a snapshot to a file: into a temporary one beside it, fsync, and rename,
 * so that at any moment there is the old file, or the new one, complete. A new file can
 * be read by its owner only; one that takes the place of another has its rights. `digest`
 * (may be NULL) gets its SHA-256. Errors: MF_E_SYSTEM (the old file is as it was),
 * MF_E_NO_MEMORY, MF_E_ARGUMENT (parent without a digest: it was never written or opened).
 */
MF_API int mf_snapshot_write(struct mf_snapshot *snapshot, const char *path,
                             const struct mf_snapshot_write_options *options,
                             uint8_t digest[MF_DIGEST_BYTES], struct mf_error *err);

struct mf_snapshot_open_options {
    size_t size; /* sizeof(struct mf_snapshot_open_options) */
    /*
     * The file lies in a store of the caller's, and its digest was checked when it came in:
     * page data is not checked again but mapped. Whoever can write to the file can then
     * put anything into the guest's memory; nothing more. It has a digest
     * (mf_snapshot_digest) if its name is one. Default 0: check all, of a private copy.
     */
    int trusted;
    /* Where a parent may be, beside the folder of the file itself: a folder, or NULL. */
    const char *store;
    uint64_t max_memory_bytes; /* refuse more guest memory than this; default 64 GiB */
};

/*
 * Opens a snapshot file. Header, index and state are checked always; page data, and the page
 * tables in it, unless `trusted`. Parents are found by digest in the same folder or in the
 * store: as the file that is called by the digest in hexadecimal and ".mfs", or under any name.
 * *out is the caller's. Errors: MF_E_SNAPSHOT (damaged, another version, not a snapshot;
 * what and where), MF_E_PARENT (missing or changed parent), MF_E_SYSTEM,
 * MF_E_NO_MEMORY, MF_E_ARGUMENT (more memory than allowed), MF_E_ABI (its program speaks
 * another ABI version).
 */
MF_API int mf_snapshot_open(const char *path, const struct mf_snapshot_open_options *options,
                            struct mf_snapshot **out, struct mf_error *err);

/* The digest of the file that it came from or was first written to; false: none. */
MF_API bool mf_snapshot_digest(const struct mf_snapshot *snapshot, uint8_t digest[MF_DIGEST_BYTES]);

/*
 * Checks everything in a snapshot file and in its parents, like opening it without
 * `trusted` (which is not looked at); if its name is a digest, it must be the right one. `digest`
 * (may be NULL) gets the SHA-256. Errors: those of mf_snapshot_open.
 */
MF_API int mf_snapshot_verify(const char *path, const struct mf_snapshot_open_options *options,
                              uint8_t digest[MF_DIGEST_BYTES], struct mf_error *err);

/* What a snapshot file says of itself in its head. */
struct mf_snapshot_file_info {
    size_t size;               /* sizeof(struct mf_snapshot_file_info) */
    uint32_t version;          /* of the format: major << 16 | minor */
    uint32_t min_version;      /* the oldest reader that can open it */
    uint64_t file_bytes;
    uint64_t memory_bytes;     /* guest memory */
    uint64_t pages;            /* guest pages of 4 KiB that it has, or says to be zero */
    uint64_t stored_pages;     /* of them in the file: equal ones are there once */
    uint64_t image_bytes;      /* of the program; 0: it has that of its parent */
    uint64_t taken_unix_ns;
    int compressed, has_parent;
    uint8_t parent[MF_DIGEST_BYTES]; /* if has_parent */
    char tool[48], program[64];      /* who wrote it; the program's name. Printable ASCII */
};

/*
 * Reads the head of a snapshot file, without its parents. Fills *info as far as its `size`
 * goes. Only the head is checked. Errors: those of mf_snapshot_open but MF_E_PARENT.
 */
MF_API int mf_snapshot_get_file_info(const char *path, struct mf_snapshot_file_info *info,
                                     struct mf_error *err);

/*
 * Finds the file that has the parent of a snapshot file, as opening it would: its path, which is
 * MF_E_ARGUMENT if it does not fit into `size`, in `buf`; "" if the file has no parent. That the
 * parent has the right digest is checked, or in its name; nothing else of it.
 * Errors: those of mf_snapshot_open.
 */
MF_API int mf_snapshot_find_parent(const char *path,
                                   const struct mf_snapshot_open_options *options, char *buf,
                                   size_t size, struct mf_error *err);

/* ---- stores ---- */

/*
 * A store is a folder of snapshot files that were checked when they came in, each named by
 * its digest. Whoever can write there is trusted by those who open its files with `trusted`.
 *
 * Copies a snapshot file into the folder `store`, checks the copy in full, and gives it its
 * name; parents that are not there yet and that are found beside it come first. `digest` (may be
 * NULL) gets its digest. Errors: those of mf_snapshot_open; then nothing was added
 * but, perhaps, parents.
 */
MF_API int mf_snapshot_store_add(const char *path, const char *store,
                                 uint8_t digest[MF_DIGEST_BYTES], struct mf_error *err);

/* Calls `fn` for each file of a store. Returns how many there are, or MF_E_SYSTEM. */
MF_API int64_t mf_snapshot_store_list(const char *store,
                                      void (*fn)(void *context,
                                                 const uint8_t digest[MF_DIGEST_BYTES],
                                                 uint64_t file_bytes),
                                      void *context, struct mf_error *err);

/*
 * The path of a file of a store. Cut and NUL-terminated like snprintf; returns the full
 * length.
 */
MF_API size_t mf_snapshot_store_path(const char *store, const uint8_t digest[MF_DIGEST_BYTES],
                                     char *buf, size_t size);

/* A digest as 64 lower-case hexadecimal digits and a NUL. */
#define MF_DIGEST_TEXT (2 * MF_DIGEST_BYTES + 1)
MF_API void mf_digest_format(const uint8_t digest[MF_DIGEST_BYTES], char text[MF_DIGEST_TEXT]);

/* Reads such digits at the start of `text`; what follows is not looked at. False: others. */
MF_API bool mf_digest_parse(const char *text, uint8_t digest[MF_DIGEST_BYTES]);

#ifdef __cplusplus
}
#endif

#endif
