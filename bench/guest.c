/* What the measures share: the guest with its host functions, the clock, messages. */
#include "measures.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double bench_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

int bench_no_memory(struct mf_error *err)
{
    return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
}

int bench_unknown(struct mf_error *err, const char *format, ...)
{
    va_list args;

    if (err == NULL)
        return BENCH_UNKNOWN;
    memset(err, 0, sizeof(*err));
    va_start(args, format);
    vsnprintf(err->message, sizeof(err->message), format, args);
    va_end(args);
    return BENCH_UNKNOWN;
}

void bench_watch(const struct bench *bench, struct mf_sandbox *sandbox)
{
    if (bench->watch != NULL)
        bench->watch(bench->watch_context, sandbox);
}

int bench_guest_path(const struct bench *bench, const char *name, char *path, size_t size,
                     struct mf_error *err)
{
    int len = snprintf(path, size, "%s/%s", bench->guests, name);

    if (len < 0 || (size_t)len >= size)
        return mf_fail(err, MF_E_ARGUMENT, "the path of the guests is too long");
    if (access(path, R_OK) != 0)
        return mf_fail(err, MF_E_SYSTEM,
                       "cannot read the guest %s; build it (cmake --build build --target "
                       "bench_guests), or name its folder with --guests",
                       path);
    return MF_OK;
}

/* Host function: counts that it was called, which also tells that the guest runs. */
static int host_tick(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                     struct mf_value *result, struct mf_error *err)
{
    atomic_uint *ticks = context;

    (void)sandbox;
    (void)err;
    if (ticks != NULL)
        atomic_fetch_add(ticks, 1);
    *result = mf_u64(arg[0].u64 + 1);
    return 0;
}

/* Host function: calls the guest that called it, and hands on the answer. */
static int host_again(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                      struct mf_value *result, struct mf_error *err)
{
    struct mf_value answer;
    char *text;
    int status;

    (void)context;
    status = mf_sandbox_call(sandbox, "echo", arg, 1, &answer, err);
    if (status != MF_OK)
        return status;
    /* The answer of a nested call ends with this function; the result must outlive it. */
    text = mf_sandbox_scratch(sandbox, answer.string.len + 1);
    if (text == NULL)
        return bench_no_memory(err);
    memcpy(text, answer.string.data, answer.string.len + 1);
    *result = mf_string_n(text, answer.string.len);
    return 0;
}

int bench_host_create(void *ticks, struct mf_host **out, struct mf_error *err)
{
    int status = mf_host_create(out, err);

    if (status != MF_OK)
        return status;
    status = mf_host_add(*out, "u64 tick(u64 n)", host_tick, ticks, err);
    if (status == MF_OK)
        status = mf_host_add(*out, "string again(string text)", host_again, NULL, err);
    if (status != MF_OK) {
        mf_host_destroy(*out);
        *out = NULL;
    }
    return status;
}

int bench_guest_open(const struct bench *bench, void *ticks, struct bench_guest *guest,
                     struct mf_error *err)
{
    char path[4096];
    int status = bench_guest_path(bench, "echo", path, sizeof(path), err);

    memset(guest, 0, sizeof(*guest));
    guest->options.size = sizeof(guest->options);
    guest->options.backend = bench->backend;
    guest->options.memory_bytes = BENCH_MEMORY_BYTES;
    if (status == MF_OK)
        status = mf_image_open(path, &guest->image, err);
    if (status == MF_OK)
        status = bench_host_create(ticks, &guest->host, err);
    if (status != MF_OK)
        bench_guest_close(guest);
    return status;
}

void bench_guest_close(struct bench_guest *guest)
{
    mf_host_destroy(guest->host);
    mf_image_close(guest->image);
    guest->host = NULL;
    guest->image = NULL;
}

/* A snapshot of a sandbox that has answered a call, as pools are made of. */
static int snapshot_warm(const struct bench_guest *guest, struct mf_snapshot **out,
                         struct mf_error *err)
{
    struct mf_value argument = mf_string(BENCH_TEXT);
    struct mf_sandbox *sandbox;
    int status = mf_sandbox_create(guest->image, guest->host, &guest->options, &sandbox, err);

    if (status != MF_OK)
        return status;
    status = mf_sandbox_call(sandbox, "echo", &argument, 1, NULL, err);
    if (status == MF_OK)
        status = mf_sandbox_snapshot(sandbox, out, err);
    mf_sandbox_destroy(sandbox);
    return status;
}

int bench_snapshot_open(const struct bench *bench, struct bench_guest *guest,
                        struct mf_snapshot **out, struct mf_error *err)
{
    int status = bench_guest_open(bench, NULL, guest, err);

    *out = NULL;
    if (status != MF_OK)
        return status;
    status = snapshot_warm(guest, out, err);
    if (status != MF_OK)
        bench_guest_close(guest);
    /* It is in the snapshot. */
    guest->options.memory_bytes = 0;
    return status;
}
