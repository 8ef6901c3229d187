/*
 * The measure of opening a snapshot file that was checked when it came into the store: of
 * one with a GiB of pages, and as the floor of one with 8 MiB, which should be the same.
 *
 * The files are made before the rounds, in a folder that is gone when they begin, and by then
 * so is the file's name: whatever ends this process, nothing stays behind.
 */
#include "measures.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SMALL_BYTES (UINT64_C(8) << 20)
#define LARGE_BYTES (UINT64_C(1) << 30)
/* Guest memory beside what is filled; file and snapshot beside the pages in them. */
#define REST_BYTES  (UINT64_C(64) << 20)

#define PAGE_BYTES 4096u

struct open_state {
    int fd;
    char path[64]; /* of the file, in /proc */
};

/* The bytes that fit into a folder, or -1. */
static double room_in(const char *folder)
{
    struct statvfs disk;

    if (statvfs(folder, &disk) != 0 || access(folder, W_OK | X_OK) != 0)
        return -1;
    return (double)disk.f_bavail * (double)disk.f_frsize;
}

/*
 * Where a file of so many bytes can be for a while: $TMPDIR, or in memory, as a disk would
 * take long to write it and has no part in the figure, or /tmp.
 */
static const char *temporary_folder(double need)
{
    const char *folder = getenv("TMPDIR");

    if (folder != NULL && folder[0] == '/')
        return folder;
    return room_in("/dev/shm") >= need ? "/dev/shm" : "/tmp";
}

/* The pages are there three times for a moment: guest or file, snapshot, and buffers. */
static int check_room(double need, struct mf_error *err)
{
    double memory = bench_available_kib() * 1024;
    const char *folder = temporary_folder(need);

    if (room_in(folder) < need)
        return bench_unknown(err, "no room for a file of %.1f GiB in %s; TMPDIR names another",
                             need / (1 << 30), folder);
    if (memory >= 0 && memory < 3 * need)
        return bench_unknown(err, "needs %.1f GiB of free memory, and %.1f are there",
                             3 * need / (1 << 30), memory / (1 << 30));
    return MF_OK;
}

/* A snapshot of a sandbox that has so many bytes of pages, no two of them alike. */
static int make_snapshot(const struct bench *bench, uint64_t bytes, struct mf_snapshot **out,
                         struct mf_error *err)
{
    struct bench_call call;
    int status = bench_call_init(bench, "fill", mf_u64(bytes / PAGE_BYTES), bytes + REST_BYTES, 0,
                                 &call, err);

    if (status != MF_OK)
        return status;
    status = mf_sandbox_snapshot(call.sandbox, out, err);
    bench_call_fini(&call);
    return status;
}

/* Writes the snapshot into `folder`, and keeps the file without its name. */
static int write_file(struct mf_snapshot *snapshot, const char *folder, int *fd,
                      struct mf_error *err)
{
    char path[PATH_MAX];
    int status;

    snprintf(path, sizeof(path), "%s/snapshot", folder);
    status = mf_snapshot_write(snapshot, path, NULL, NULL, err);
    if (status != MF_OK)
        return status;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        status = mf_fail(err, MF_E_SYSTEM, "cannot open %s: %s", path, strerror(errno));
    unlink(path);
    return status;
}

static int make_file(const struct bench *bench, uint64_t bytes, int *fd, struct mf_error *err)
{
    char folder[PATH_MAX - 16];
    struct mf_snapshot *snapshot;
    int len, status;

    len = snprintf(folder, sizeof(folder), "%s/mayfly-bench-XXXXXX",
                   temporary_folder((double)(bytes + REST_BYTES)));
    if (len < 0 || (size_t)len >= sizeof(folder) || mkdtemp(folder) == NULL)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a temporary folder: %s", strerror(errno));
    status = make_snapshot(bench, bytes, &snapshot, err);
    if (status == MF_OK) {
        status = write_file(snapshot, folder, fd, err);
        mf_snapshot_close(snapshot);
    }
    rmdir(folder);
    return status;
}

static int open_file(const struct bench *bench, uint64_t bytes, void **out, struct mf_error *err)
{
    struct open_state *state;
    int status = check_room((double)(bytes + REST_BYTES), err);

    if (status != MF_OK)
        return status;
    state = calloc(1, sizeof(*state));
    if (state == NULL)
        return bench_no_memory(err);
    status = make_file(bench, bytes, &state->fd, err);
    if (status != MF_OK) {
        free(state);
        return status;
    }
    snprintf(state->path, sizeof(state->path), "/proc/self/fd/%d", state->fd);
    *out = state;
    return MF_OK;
}

static int open_small(const struct bench *bench, void **out, struct mf_error *err)
{
    return open_file(bench, SMALL_BYTES, out, err);
}

static int open_large(const struct bench *bench, void **out, struct mf_error *err)
{
    return open_file(bench, LARGE_BYTES, out, err);
}

static void open_close(void *arg)
{
    struct open_state *state = arg;

    close(state->fd);
    free(state);
}

static int open_round(void *arg, unsigned operations, double *value, struct mf_error *err)
{
    struct mf_snapshot_open_options options = {.size = sizeof(options), .trusted = 1};
    struct open_state *state = arg;
    double start = bench_now_us();
    unsigned i;

    for (i = 0; i < operations; i++) {
        struct mf_snapshot *snapshot;
        int status = mf_snapshot_open(state->path, &options, &snapshot, err);

        if (status != MF_OK)
            return status;
        mf_snapshot_close(snapshot);
    }
    *value = (bench_now_us() - start) / operations;
    return MF_OK;
}

const struct bench_measure bench_open_large = {
    .name = "mf_snapshot_open of 1 GiB, trusted; mf_snapshot_close",
    .open = open_large,
    .round = open_round,
    .close = open_close,
};

const struct bench_measure bench_floor_open_small = {
    .name = "the same of 8 MiB",
    .open = open_small,
    .round = open_round,
    .close = open_close,
};
