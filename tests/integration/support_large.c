/* The guest tests/guests/large and its host functions; see support_large.h. */
#include "support_large.h"

#include <mayfly/batch.h>

#include <unistd.h>

bool large_is_filled(const uint8_t *data, uint64_t len, uint32_t seed)
{
    for (uint64_t i = 0; i < len; i++)
        if (data[i] != large_pattern(i, seed))
            return false;
    return true;
}

void large_fill(uint8_t *data, uint64_t len, uint32_t seed)
{
    for (uint64_t i = 0; i < len; i++)
        data[i] = large_pattern(i, seed);
}

uint64_t large_sum(const void *data, uint64_t len)
{
    const uint8_t *bytes = data;
    uint64_t sum = len, word;
    for (; len >= 8; len -= 8, bytes += 8) {
        memcpy(&word, bytes, 8);
        sum += word;
    }
    for (; len > 0; len--)
        sum += *bytes++;
    return sum;
}

static int host_echo(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                     struct mf_value *result, struct mf_error *err)
{
    (void)sandbox;
    (void)context;
    (void)err;
    *result = arg[0];
    return 0;
}

/*
 * Frees what it gave out the time before, as it may: a guest that still looks at that must
 * see what it got, and nothing else of the host.
 */
static int host_make(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                     struct mf_value *result, struct mf_error *err)
{
    struct large *large = context;
    (void)sandbox;
    if (large->made) {
        memset(large->made, 0xee, 1);
        free(large->made);
        large->freed++;
    }
    large->made = malloc(arg[0].u64 + 1);
    if (!large->made)
        return mf_fail(err, MF_E_NO_MEMORY, "no memory");
    large_fill(large->made, arg[0].u64, arg[1].u32);
    *result = mf_bytes(large->made, arg[0].u64);
    return 0;
}

/* Each nested call gets the result of the one before as its argument. */
static int host_back(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                     struct mf_value *result, struct mf_error *err)
{
    struct mf_value how[2] = {arg[1], mf_u32(3)}, data;
    (void)context;
    int rc = mf_sandbox_call(sandbox, "make", how, 2, &data, err);
    for (uint32_t i = 0; rc == 0 && i < arg[0].u32; i++) {
        struct mf_value last = data;
        rc = mf_sandbox_call(sandbox, "echo", &last, 1, &data, err);
    }
    if (rc != 0)
        return rc;
    if (data.bytes.len != arg[1].u64 || !large_is_filled(data.bytes.data, data.bytes.len, 3))
        return mf_fail(err, MF_E_HOST_FUNCTION, "the bytes changed on the way");
    *result = mf_u64(data.bytes.len);
    return 0;
}

static int host_batch(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                      struct mf_value *result, struct mf_error *err)
{
    struct large *large = context;
    struct mf_call call = {.function = large_index(large, "count")};
    (void)arg;
    large->batch_status = mf_sandbox_call_batch(sandbox, &call, 1, err);
    *result = mf_i32(call.status);
    return 0;
}

static int host_sink(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                     struct mf_value *result, struct mf_error *err)
{
    struct large *large = context;
    size_t len = arg[0].bytes.len;
    (void)sandbox;
    (void)result;
    (void)err;
    large->stream_total += len;
    for (size_t i = 0; i < len; i++)
        large->stream_sum += ((const uint8_t *)arg[0].bytes.data)[i];
    if (len > large->longest_piece)
        large->longest_piece = len;
    return 0;
}

static int host_source(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                       struct mf_value *result, struct mf_error *err)
{
    static uint8_t piece[MIB];
    struct large *large = context;
    uint64_t len = arg[0].u64;
    (void)sandbox;
    if (len > sizeof piece)
        return mf_fail(err, MF_E_HOST_FUNCTION, "asked for %llu bytes", (unsigned long long)len);
    if (len > large->stream_left)
        len = large->stream_left;
    memset(piece, 1, len);
    large->stream_left -= len;
    large->stream_total += len;
    if (len > large->longest_piece)
        large->longest_piece = len;
    *result = mf_bytes(piece, len);
    return 0;
}

static int host_many(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                     struct mf_value *result, struct mf_error *err)
{
    uint64_t total = 0;
    (void)sandbox;
    (void)context;
    (void)err;
    for (unsigned i = 0; i < MF_PARAMS_MAX; i++)
        total += large_sum(arg[i].bytes.data, arg[i].bytes.len);
    *result = mf_u64(total);
    return 0;
}

static const struct {
    const char *signature;
    mf_host_fn fn;
} functions[] = {
    {"bytes host_echo(bytes data)", host_echo},
    {"string host_text(string text)", host_echo},
    {"bytes host_make(u64 len, u32 seed)", host_make},
    {"u64 host_back(u32 times, u64 len)", host_back},
    {"i32 host_batch()", host_batch},
    {"void host_sink(bytes piece)", host_sink},
    {"bytes host_source(u64 most)", host_source},
    {"u64 host_many(bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, "
     "bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, "
     "bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes)",
     host_many},
};

static void check(int status, const struct mf_error *err)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s: %s\n", mf_error_name(status), err->message);
    exit(1);
}

void large_open(struct large *large, uint64_t memory, uint64_t mailbox)
{
    static const char *const builds[] = {"musl", "gcc"};
    struct mf_sandbox_options options = {.size = sizeof options,
                                         .backend = test_backend(),
                                         .memory_bytes = memory,
                                         .mailbox_bytes = mailbox,
                                         .timeout_ns = 120000000000};
    struct mf_error *err = &large->err;
    char path[4096];

    memset(large, 0, sizeof *large);
    for (size_t i = 0; i < sizeof builds / sizeof builds[0]; i++) {
        snprintf(path, sizeof path, "%s/large/%s", getenv("GUESTS"), builds[i]);
        if (access(path, R_OK) == 0)
            break;
    }
    check(mf_image_open(path, &large->image, err), err);
    check(mf_host_create(&large->host, err), err);
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        check(mf_host_add(large->host, functions[i].signature, functions[i].fn, large, err), err);
    check(mf_sandbox_create(large->image, large->host, &options, &large->sandbox, err), err);
}

void large_close(struct large *large)
{
    mf_sandbox_destroy(large->sandbox);
    mf_host_destroy(large->host);
    mf_image_close(large->image);
    free(large->made);
    memset(large, 0, sizeof *large);
}

void large_reopen(struct large *large)
{
    struct mf_sandbox_options options = {.size = sizeof options,
                                         .backend = mf_sandbox_backend(large->sandbox),
                                         .timeout_ns = 120000000000};
    mf_sandbox_destroy(large->sandbox);
    large->sandbox = NULL;
    check(mf_sandbox_create(large->image, large->host, &options, &large->sandbox, &large->err),
          &large->err);
}

int large_call(struct large *large, const char *function, const struct mf_value *args, size_t n,
               struct mf_value *result)
{
    *result = mf_void();
    return mf_sandbox_call(large->sandbox, function, args, n, result, &large->err);
}

size_t large_index(const struct large *large, const char *function)
{
    struct mf_error err;
    int index = mf_image_find_export(large->image, function, &err);
    check(index, &err);
    return (size_t)index;
}
