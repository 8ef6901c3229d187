/*
 * The measures of live migration: a sandbox of this process moves to another one (receiver.c)
 * over a local socket. What it takes is what the source's summary says: downtime from the pause
 * to the receiver's word that the guest runs, total time from the call of mf_migrate_out.
 *
 * Each round makes a sandbox for itself, which is not in the time: what has moved away is gone.
 */
#include "measures.h"

#include <mayfly/migrate.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 4096u
#define TOTAL_MEMORY_BYTES  (UINT64_C(512) << 20)
#define TOTAL_TOUCHED_BYTES (UINT64_C(64) << 20)
#define COPY_BYTES (256u << 10)
/* migrate_upgrade, and its floor with BENCH_MEMORY_BYTES. */
#define UPGRADE_MEMORY_BYTES  (UINT64_C(1) << 30)
#define UPGRADE_TOUCHED_BYTES (UINT64_C(128) << 20)
#define SMALL_TOUCHED_BYTES   (UINT64_C(16) << 20)
/* migrate_again: what is in the snapshot, and what the guest has written since. */
#define AGAIN_PAGES  2048
#define DIFFER_PAGES 32
/* migrate_slowdown: such a channel is busy as long as the guest's loop lasts. */
#define SLOW_BYTES_PER_S (100e6)
#define WORK_TURNS       UINT64_C(50000000)
#define WORK_TURNS_SOFT  UINT64_C(1000000)

struct migrate_state {
    const struct bench *bench;
    struct bench_receiver receiver;
    struct bench_receiver_has has;
    struct bench_guest guest;
    struct mf_snapshot *snapshot; /* the sandboxes are made from it; or NULL */
    uint64_t memory_bytes;
    const char *function; /* called once before it moves */
    struct mf_value argument;
    struct mf_migrate_progress summary; /* of the last round */
};

static void migrate_close(void *arg)
{
    struct migrate_state *state = arg;

    bench_receiver_stop(&state->receiver);
    mf_snapshot_close(state->snapshot);
    bench_guest_close(&state->guest);
    free(state);
}

/* A state whose sandboxes have 64 MiB, and have answered a call of echo. */
static int open_state(const struct bench *bench, struct migrate_state **out, struct mf_error *err)
{
    struct migrate_state *state = calloc(1, sizeof(*state));
    int status;

    if (state == NULL)
        return bench_no_memory(err);
    state->bench = state->has.bench = bench;
    state->memory_bytes = BENCH_MEMORY_BYTES;
    state->function = "echo";
    state->argument = mf_string(BENCH_TEXT);
    status = bench_guest_open(bench, NULL, &state->guest, err);
    if (status != MF_OK) {
        free(state);
        return status;
    }
    *out = state;
    return MF_OK;
}

/* Starts the receiver, the last step of opening. */
static int start_receiver(struct migrate_state *state, void **out, struct mf_error *err)
{
    int status = bench_receiver_start(&state->receiver, &state->has, err);

    if (status != MF_OK) {
        mf_snapshot_close(state->snapshot);
        bench_guest_close(&state->guest);
        free(state);
        return status;
    }
    *out = state;
    return MF_OK;
}

static int make_sandbox(struct migrate_state *state, struct mf_sandbox **out, struct mf_error *err)
{
    int status;

    state->guest.options.memory_bytes = state->snapshot != NULL ? 0 : state->memory_bytes;
    if (state->snapshot != NULL)
        status = mf_sandbox_create_from(state->snapshot, state->guest.host, &state->guest.options,
                                        out, err);
    else
        status = mf_sandbox_create(state->guest.image, state->guest.host, &state->guest.options,
                                   out, err);
    if (status != MF_OK)
        return status;
    status = mf_sandbox_call(*out, state->function, &state->argument, 1, NULL, err);
    if (status != MF_OK)
        mf_sandbox_destroy(*out);
    return status;
}

/* Moves it over a connection; with a handover its memory goes over a second one. */
static int migrate_over(struct migrate_state *state, int fd, struct mf_sandbox *sandbox,
                        struct mf_error *err)
{
    struct mf_migrate_options options = {.size = sizeof(options)};
    struct mf_channel_fds fds = {fd, fd};
    struct mf_channel channel;
    int memory_fd = -1, status = MF_OK;

    if (state->has.handover)
        status = bench_receiver_connect(&state->receiver, &memory_fd, err);
    if (status != MF_OK)
        return status;
    options.handover_socket = memory_fd;
    mf_channel_from_fds(&channel, &fds);
    state->summary.size = sizeof(state->summary);
    status = mf_migrate_out(sandbox, &channel, &options, NULL, &state->summary, err);
    if (memory_fd >= 0)
        close(memory_fd);
    return status;
}

/* Moves a new sandbox away. */
static int migrate_once(struct migrate_state *state, struct mf_error *err)
{
    struct mf_sandbox *sandbox;
    int fd, status = make_sandbox(state, &sandbox, err);

    if (status != MF_OK)
        return status;
    status = bench_receiver_connect(&state->receiver, &fd, err);
    if (status == MF_OK) {
        status = migrate_over(state, fd, sandbox, err);
        bench_receiver_finish(fd);
    }
    bench_watch(state->bench, sandbox);
    mf_sandbox_destroy(sandbox);
    return status;
}

/* ---- downtime of an idle sandbox ---- */

static int open_idle(const struct bench *bench, void **out, struct mf_error *err)
{
    struct migrate_state *state;
    int status = open_state(bench, &state, err);

    return status == MF_OK ? start_receiver(state, out, err) : status;
}

static int downtime_round(void *arg, unsigned operations, double *value, struct mf_error *err)
{
    struct migrate_state *state = arg;
    int status = MF_OK;
    unsigned i;

    *value = 0;
    for (i = 0; i < operations && status == MF_OK; i++) {
        status = migrate_once(state, err);
        *value += (double)state->summary.downtime_ns / 1e3 / operations;
    }
    return status;
}

/* ---- downtime of a handover within the host, as for mayfly upgrade ---- */

static int open_handover(const struct bench *bench, uint64_t memory, uint64_t touched, void **out,
                         struct mf_error *err)
{
    struct migrate_state *state;
    int status = open_state(bench, &state, err);

    if (status != MF_OK)
        return status;
    state->memory_bytes = memory;
    state->function = "fill";
    state->argument = mf_u64(touched / PAGE_BYTES);
    state->guest.options.flags |= MF_SANDBOX_SHARED_MEMORY;
    state->has.handover = true;
    return start_receiver(state, out, err);
}

static int open_upgrade(const struct bench *bench, void **out, struct mf_error *err)
{
    return open_handover(bench, UPGRADE_MEMORY_BYTES, UPGRADE_TOUCHED_BYTES, out, err);
}

static int open_upgrade_small(const struct bench *bench, void **out, struct mf_error *err)
{
    return open_handover(bench, BENCH_MEMORY_BYTES, SMALL_TOUCHED_BYTES, out, err);
}

/* ---- total time ---- */

static int open_total(const struct bench *bench, void **out, struct mf_error *err)
{
    struct migrate_state *state;
    int status = open_state(bench, &state, err);

    if (status != MF_OK)
        return status;
    state->memory_bytes = TOTAL_MEMORY_BYTES;
    state->function = "fill";
    state->argument = mf_u64(TOTAL_TOUCHED_BYTES / PAGE_BYTES);
    return start_receiver(state, out, err);
}

static int total_round(void *arg, unsigned operations, double *value, struct mf_error *err)
{
    struct migrate_state *state = arg;
    int status = MF_OK;
    unsigned i;

    *value = 0;
    for (i = 0; i < operations && status == MF_OK; i++) {
        status = migrate_once(state, err);
        *value += (double)state->summary.total_ns / 1e3 / operations;
    }
    return status;
}

/* ---- the floor of that: cp from a file in memory, through the socket, to another ---- */

struct copy_state {
    struct bench_receiver receiver;
    int file;
    uint8_t buffer[COPY_BYTES];
};

static void copy_close(void *arg)
{
    struct copy_state *state = arg;

    bench_receiver_stop(&state->receiver);
    close(state->file);
    free(state);
}

static int make_file(struct copy_state *state, struct mf_error *err)
{
    uint64_t i;

    state->file = memfd_create("source", MFD_CLOEXEC);
    memset(state->buffer, 0x5a, sizeof(state->buffer));
    for (i = 0; i < TOTAL_TOUCHED_BYTES; i += sizeof(state->buffer)) {
        if (write(state->file, state->buffer, sizeof(state->buffer)) != sizeof(state->buffer))
            return mf_fail(err, MF_E_SYSTEM, "cannot write a file in memory: %s", strerror(errno));
    }
    return MF_OK;
}

static int copy_open(const struct bench *bench, void **out, struct mf_error *err)
{
    struct copy_state *state = calloc(1, sizeof(*state));
    int status;

    (void)bench;
    if (state == NULL)
        return bench_no_memory(err);
    status = make_file(state, err);
    if (status == MF_OK)
        status = bench_receiver_start(&state->receiver, NULL, err);
    if (status != MF_OK) {
        if (state->file >= 0)
            close(state->file);
        free(state);
        return status;
    }
    *out = state;
    return MF_OK;
}

static int copy_all(struct copy_state *state, int fd)
{
    uint64_t at;
    ssize_t n;
    char done;

    for (at = 0; at < TOTAL_TOUCHED_BYTES; at += (uint64_t)n) {
        n = pread(state->file, state->buffer, sizeof(state->buffer), (off_t)at);
        if (n <= 0 || send(fd, state->buffer, (size_t)n, MSG_NOSIGNAL) != n)
            return -1;
    }
    shutdown(fd, SHUT_WR);
    return read(fd, &done, 1) == 1 ? 0 : -1;
}

static int copy_round(void *arg, unsigned operations, double *value, struct mf_error *err)
{
    struct copy_state *state = arg;
    int status = MF_OK;
    unsigned i;

    *value = 0;
    for (i = 0; i < operations && status == MF_OK; i++) {
        double start;
        int fd;

        status = bench_receiver_connect(&state->receiver, &fd, err);
        if (status != MF_OK)
            return status;
        start = bench_now_us();
        if (copy_all(state, fd) != 0)
            status = mf_fail(err, MF_E_SYSTEM, "cannot copy through a local socket");
        *value += (bench_now_us() - start) / operations;
        bench_receiver_finish(fd);
    }
    return status;
}

/* ---- a second migration to one that has the snapshot ---- */

/* Opens the snapshot as a file: what only this process has cannot be named to others. */
static int make_snapshot(struct migrate_state *state, struct mf_error *err)
{
    char folder[] = "/tmp/mayfly-bench-XXXXXX", path[64];
    struct mf_snapshot *taken;
    struct mf_sandbox *sandbox;
    int status;

    state->function = "fill";
    state->argument = mf_u64(AGAIN_PAGES);
    status = make_sandbox(state, &sandbox, err);
    if (status != MF_OK)
        return status;
    status = mf_sandbox_snapshot(sandbox, &taken, err);
    mf_sandbox_destroy(sandbox);
    if (status != MF_OK)
        return status;
    if (mkdtemp(folder) == NULL) {
        mf_snapshot_close(taken);
        return mf_fail(err, MF_E_SYSTEM, "cannot make a temporary folder: %s", strerror(errno));
    }
    snprintf(path, sizeof(path), "%s/snapshot", folder);
    status = mf_snapshot_write(taken, path, NULL, NULL, err);
    mf_snapshot_close(taken);
    if (status == MF_OK)
        status = mf_snapshot_open(path, NULL, &state->snapshot, err);
    unlink(path);
    rmdir(folder);
    state->function = "touch";
    state->argument = mf_u64(DIFFER_PAGES);
    return status;
}

static int open_again(const struct bench *bench, bool known, void **out, struct mf_error *err)
{
    struct migrate_state *state;
    int status = open_state(bench, &state, err);

    if (status != MF_OK)
        return status;
    status = make_snapshot(state, err);
    if (status != MF_OK) {
        bench_guest_close(&state->guest);
        free(state);
        return status;
    }
    if (known) {
        state->has.image = state->guest.image;
        state->has.snapshot = state->snapshot;
    }
    return start_receiver(state, out, err);
}

static int open_first(const struct bench *bench, void **out, struct mf_error *err)
{
    return open_again(bench, false, out, err);
}

static int open_second(const struct bench *bench, void **out, struct mf_error *err)
{
    return open_again(bench, true, out, err);
}

static int bytes_round(void *arg, unsigned operations, double *value, struct mf_error *err)
{
    struct migrate_state *state = arg;
    int status = MF_OK;
    unsigned i;

    *value = 0;
    for (i = 0; i < operations && status == MF_OK; i++) {
        status = migrate_once(state, err);
        *value += (double)state->summary.bytes_sent / operations;
    }
    return status;
}

/* ---- how much slower the guest is meanwhile ---- */

/* A socket that takes SLOW_BYTES_PER_S, so that the copy lasts as long as the guest's loop. */
struct slow_channel {
    struct mf_channel fast;
    struct migrate_state *state;
    struct mf_sandbox *sandbox;
    double next_us; /* when it takes the next bytes */
    pthread_t guest;
    double work_us;
    int work_status;
    atomic_bool copying, ended;
    struct mf_error err;
};

static void sleep_until(double us)
{
    const uint64_t ns = (uint64_t)(us * 1e3);
    const struct timespec until = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static long slow_read(void *context, void *data, size_t len, int timeout_ms, struct mf_error *err)
{
    struct slow_channel *slow = context;

    return slow->fast.read(slow->fast.context, data, len, timeout_ms, err);
}

static long slow_write(void *context, const void *data, size_t len, int timeout_ms,
                       struct mf_error *err)
{
    struct slow_channel *slow = context;
    double now = bench_now_us();
    long n;

    if (slow->next_us > now)
        sleep_until(slow->next_us);
    else
        slow->next_us = now;
    n = slow->fast.write(slow->fast.context, data, len, timeout_ms, err);
    if (n > 0)
        slow->next_us += (double)n * 1e6 / SLOW_BYTES_PER_S;
    return n;
}

static uint64_t work_turns(const struct migrate_state *state)
{
    return state->bench->backend == MF_BACKEND_KVM ? WORK_TURNS : WORK_TURNS_SOFT;
}

static int call_work(struct migrate_state *state, struct mf_sandbox *sandbox, double *us,
                     struct mf_error *err)
{
    const struct mf_value turns = mf_u64(work_turns(state));
    double start = bench_now_us();
    int status = mf_sandbox_call(sandbox, "work", &turns, 1, NULL, err);

    *us = bench_now_us() - start;
    return status;
}

/* The guest's loop, when the copy has begun. */
static void *work_meanwhile(void *arg)
{
    struct slow_channel *slow = arg;

    while (!atomic_load(&slow->copying))
        sleep_until(bench_now_us() + 200);
    slow->work_status = call_work(slow->state, slow->sandbox, &slow->work_us, &slow->err);
    atomic_store(&slow->ended, true);
    return NULL;
}

/* Starts the loop, and calls the migration off when it has ended. */
static int watch_copy(void *context, const struct mf_migrate_progress *progress)
{
    struct slow_channel *slow = context;

    if (strcmp(progress->phase, "copy") == 0 && progress->pages_sent > 0)
        atomic_store(&slow->copying, true);
    return atomic_load(&slow->ended);
}

static int migrate_slowly(struct slow_channel *slow, struct mf_error *err)
{
    const struct mf_migrate_options options = {
        .size = sizeof(options),
        .downtime_limit_ns = 1,
        .progress = watch_copy,
        .context = slow,
    };
    const struct mf_channel channel = {sizeof(channel), slow, slow_read, slow_write};
    enum mf_migrate_outcome outcome;
    int status;

    if (pthread_create(&slow->guest, NULL, work_meanwhile, slow) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot start a thread");
    status = mf_migrate_out(slow->sandbox, &channel, &options, &outcome, NULL, err);
    atomic_store(&slow->copying, true);
    pthread_join(slow->guest, NULL);
    if (status == MF_E_CANCELLED && slow->work_status == MF_OK)
        return MF_OK;
    if (slow->work_status != MF_OK && err != NULL)
        *err = slow->err;
    return status != MF_OK ? status : mf_fail(err, MF_E_STATE, "the copy ended before the loop");
}

static int slowdown_round(void *arg, unsigned operations, double *value, struct mf_error *err)
{
    struct migrate_state *state = arg;
    int status = MF_OK;
    unsigned i;

    *value = 0;
    for (i = 0; i < operations && status == MF_OK; i++) {
        struct slow_channel slow = {.state = state};
        struct mf_channel_fds fds;

        status = make_sandbox(state, &slow.sandbox, err);
        if (status != MF_OK)
            return status;
        status = bench_receiver_connect(&state->receiver, &fds.read_fd, err);
        fds.write_fd = fds.read_fd;
        if (status == MF_OK) {
            mf_channel_from_fds(&slow.fast, &fds);
            status = migrate_slowly(&slow, err);
            bench_receiver_finish(fds.read_fd);
        }
        mf_sandbox_destroy(slow.sandbox);
        *value += slow.work_us / operations;
    }
    return status;
}

static int undisturbed_round(void *arg, unsigned operations, double *value, struct mf_error *err)
{
    struct migrate_state *state = arg;
    int status = MF_OK;
    unsigned i;

    *value = 0;
    for (i = 0; i < operations && status == MF_OK; i++) {
        struct mf_sandbox *sandbox;
        double us = 0;

        status = make_sandbox(state, &sandbox, err);
        if (status != MF_OK)
            return status;
        status = call_work(state, sandbox, &us, err);
        mf_sandbox_destroy(sandbox);
        *value += us / operations;
    }
    return status;
}

const struct bench_measure bench_migrate_downtime = {
    .name = "mf_migrate_out of an idle sandbox, pause to RUNNING",
    .open = open_idle,
    .round = downtime_round,
    .close = migrate_close,
};

const struct bench_measure bench_migrate_upgrade = {
    .name = "handover of 1 GiB with 128 MiB in use, pause to RUNNING",
    .open = open_upgrade,
    .round = downtime_round,
    .close = migrate_close,
};

const struct bench_measure bench_floor_upgrade_small = {
    .name = "handover of 64 MiB with 16 MiB in use",
    .open = open_upgrade_small,
    .round = downtime_round,
    .close = migrate_close,
};

const struct bench_measure bench_migrate_total = {
    .name = "mf_migrate_out of 512 MiB with 64 MiB in use",
    .open = open_total,
    .round = total_round,
    .close = migrate_close,
};

const struct bench_measure bench_floor_socket_copy = {
    .name = "64 MiB from file to file through the same socket",
    .open = copy_open,
    .round = copy_round,
    .close = copy_close,
};

const struct bench_measure bench_migrate_again = {
    .name = "bytes to a receiver that has the snapshot",
    .open = open_second,
    .round = bytes_round,
    .close = migrate_close,
};

const struct bench_measure bench_floor_migrate_first = {
    .name = "bytes to one that has nothing",
    .open = open_first,
    .round = bytes_round,
    .close = migrate_close,
};

const struct bench_measure bench_migrate_slowdown = {
    .name = "a loop in the guest during the copy",
    .open = open_total,
    .round = slowdown_round,
    .close = migrate_close,
};

const struct bench_measure bench_floor_undisturbed = {
    .name = "the same loop undisturbed",
    .open = open_total,
    .round = undisturbed_round,
    .close = migrate_close,
};
