/*
 * The guest program: the machine behind the exported functions of machine/protocol.h. The
 * only file of this folder that knows the SDK.
 */
#include "core.h"

#include <mayfly/guest.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

MF_IMPORT(disk_read, "bytes disk_read(u64 sector)");
MF_IMPORT(disk_write, "void disk_write(u64 sector, bytes data)");
MF_IMPORT(disk_sectors, "u64 disk_sectors()");

#define PEEK_MOST (UINT32_C(1) << 20)

static struct machine machine;
static bool ready;

/* All of it, or as much as the host takes. */
static void write_out(void *context, int fd, const void *data, size_t len)
{
    const char *at = data;

    (void)context;
    while (len > 0) {
        ssize_t done = write(fd, at, len);
        if (done <= 0)
            return;
        at += done;
        len -= (size_t)done;
    }
}

/* -EAGAIN says that there is no input now; any other failure is the end of the input. */
static long read_in(void *context, void *data, size_t len)
{
    (void)context;
    ssize_t got = read(0, data, len);
    if (got < 0)
        return errno == EAGAIN ? HOST_NO_INPUT : 0;
    return (long)got;
}

static uint64_t now_ms(void *context)
{
    struct timespec now;

    (void)context;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void fresh_bytes(void *context, uint8_t out[32])
{
    (void)context;
    mf_entropy(out);
}

static bool sector_in(void *context, uint64_t sector, uint8_t data[DISK_SECTOR])
{
    (void)context;
    size_t mark = mf_scratch_mark();
    struct mf_value answer = mf_call(disk_read, mf_u64(sector));
    bool good = !answer.failed && answer.bytes.len == DISK_SECTOR;
    if (good)
        memcpy(data, answer.bytes.data, DISK_SECTOR);
    mf_scratch_release(mark);
    return good;
}

static bool sector_out(void *context, uint64_t sector, const uint8_t data[DISK_SECTOR])
{
    (void)context;
    size_t mark = mf_scratch_mark();
    struct mf_value answer = mf_call(disk_write, mf_u64(sector), mf_bytes(data, DISK_SECTOR));
    mf_scratch_release(mark);
    return !answer.failed;
}

static uint64_t sectors(void *context)
{
    (void)context;
    size_t mark = mf_scratch_mark();
    struct mf_value answer = mf_call(disk_sectors);
    uint64_t count = answer.failed ? 0 : answer.u64;
    mf_scratch_release(mark);
    return count;
}

static const struct machine_host host = {
    .write = write_out,
    .read = read_in,
    .time_ms = now_ms,
    .entropy = fresh_bytes,
    .disk_read = sector_in,
    .disk_write = sector_out,
    .disk_sectors = sectors,
};

static struct mf_value configure(const struct mf_value *arg)
{
    if (!ready)
        machine_init(&machine, &host);
    ready = true;
    if (!control_configure(&machine, arg[0].bytes.data, arg[0].bytes.len))
        return mf_error("the configuration is of another version, or came a second time");
    return mf_void();
}
MF_EXPORT(configure, "void configure(bytes config)");

static struct mf_value load(const struct mf_value *arg)
{
    const char *why = control_load(&machine, arg[0].bytes.data, arg[0].bytes.len);

    return why != NULL ? mf_error(why) : mf_void();
}
MF_EXPORT(load, "void load(bytes program)");

static struct mf_value config(const struct mf_value *arg)
{
    (void)arg;
    return mf_bytes(&machine.given, sizeof(machine.given));
}
MF_EXPORT(config, "bytes config()");

static struct mf_value run(const struct mf_value *arg)
{
    static struct machine_stop stop;

    if (!machine.loaded)
        return mf_error("no program was loaded");
    cpu_run(&machine, arg[0].u64, &stop);
    return mf_bytes(&stop, sizeof(stop));
}
MF_EXPORT(run, "bytes run(u64 instructions)");

static struct mf_value state(const struct mf_value *arg)
{
    static struct machine_state now;

    (void)arg;
    control_state(&machine, &now);
    return mf_bytes(&now, sizeof(now));
}
MF_EXPORT(state, "bytes state()");

static struct mf_value set_state(const struct mf_value *arg)
{
    if (!control_set_state(&machine, arg[0].bytes.data, arg[0].bytes.len))
        return mf_error("this is no state of this machine");
    return mf_void();
}
MF_EXPORT(set_state, "void set_state(bytes state)");

static struct mf_value peek(const struct mf_value *arg)
{
    size_t len = arg[1].u32 > PEEK_MOST ? PEEK_MOST : arg[1].u32;
    uint8_t *data = malloc(len + 1);

    if (data == NULL)
        return mf_error("no memory for so many bytes");
    return mf_bytes_owned(data, memory_read(&machine, arg[0].u32, data, len), free);
}
MF_EXPORT(peek, "bytes peek(u32 address, u32 bytes)");

static struct mf_value poke(const struct mf_value *arg)
{
    size_t len = arg[1].bytes.len;

    if (memory_write(&machine, arg[0].u32, arg[1].bytes.data, len, true) < len)
        return mf_error("there is no memory at this address");
    return mf_void();
}
MF_EXPORT(poke, "void poke(u32 address, bytes data)");

static struct mf_value set_break(const struct mf_value *arg)
{
    if (!control_set_break(&machine, arg[0].u32, arg[1].boolean))
        return mf_error("the machine has no room for another breakpoint");
    return mf_void();
}
MF_EXPORT(set_break, "void set_break(u32 address, bool on)");

static struct mf_value stats(const struct mf_value *arg)
{
    static uint64_t out[sizeof(struct machine_stats) / 8 + ISA_COUNT];

    (void)arg;
    return mf_bytes(out, control_stats(&machine, out, sizeof(out)));
}
MF_EXPORT(stats, "bytes stats()");

static struct mf_value profile(const struct mf_value *arg)
{
    static uint64_t out[MACHINE_PROFILE_WORDS];
    uint32_t words = arg[1].u32;

    if (words > MACHINE_PROFILE_WORDS)
        return mf_error("too many words at once");
    blocks_harvest(&machine);
    for (uint32_t i = 0; i < words; i++)
        out[i] = profile_get(&machine, arg[0].u32 + 4 * i);
    return mf_bytes(out, words * sizeof out[0]);
}
MF_EXPORT(profile, "bytes profile(u32 address, u32 words)");

static struct mf_value trace(const struct mf_value *arg)
{
    machine.tracing = arg[0].boolean;
    return mf_void();
}
MF_EXPORT(trace, "void trace(bool on)");

/* Clones draw random numbers of their own, except from streams that were seeded. */
static void restored(void)
{
    machine.forked = true;
}
MF_ON_RESTORE(restored);
