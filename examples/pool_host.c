/*
 * A host program that keeps VMs warm: every request gets a guest in the same fresh state,
 * and one guest is parked between two requests, because it shall remember.
 *
 *     pool_host build/examples/tally
 */
#include <mayfly/mayfly.h>

#include <inttypes.h>
#include <stdio.h>

#define WAIT_NS UINT64_C(1000000000)

/* Starts the guest once, gives it what all requests share, and freezes it. */
static int prepare(const char *path, struct mf_snapshot **ready, struct mf_error *err)
{
    struct mf_image *image = NULL;
    struct mf_sandbox *sandbox = NULL;
    struct mf_value shared = mf_u64(100);

    int status = mf_image_open(path, &image, err);
    if (status == MF_OK)
        status = mf_sandbox_create(image, NULL, NULL, &sandbox, err);
    if (status == MF_OK)
        status = mf_sandbox_call(sandbox, "add", &shared, 1, NULL, err);
    if (status == MF_OK)
        status = mf_sandbox_snapshot(sandbox, ready, err);
    mf_sandbox_destroy(sandbox);
    mf_image_close(image);
    return status;
}

static int add(struct mf_sandbox *sandbox, uint64_t number, struct mf_error *err)
{
    struct mf_value argument = mf_u64(number), total;
    int status = mf_sandbox_call(sandbox, "add", &argument, 1, &total, err);

    if (status == MF_OK)
        printf("100 + ... + %" PRIu64 " = %" PRIu64 "\n", number, total.u64);
    return status;
}

/* A guest in the state of the snapshot; what it does is forgotten. */
static int serve(struct mf_pool *pool, uint64_t number, struct mf_error *err)
{
    struct mf_sandbox *sandbox;
    int status = mf_pool_acquire(pool, NULL, 0, WAIT_NS, &sandbox, err);

    if (status != MF_OK)
        return status;
    status = add(sandbox, number, err);
    mf_pool_release(pool, sandbox);
    return status;
}

/* A guest that remembers: between its two calls it has no VM, and costs what it changed. */
static int serve_twice(struct mf_pool *pool, struct mf_error *err)
{
    struct mf_sandbox *sandbox = NULL;
    struct mf_parked *parked = NULL;

    int status = mf_pool_acquire(pool, NULL, 0, WAIT_NS, &sandbox, err);
    if (status == MF_OK)
        status = add(sandbox, 20, err);
    if (status == MF_OK && (status = mf_pool_park(pool, sandbox, &parked, err)) == MF_OK)
        sandbox = NULL;
    if (status == MF_OK)
        status = serve(pool, 4, err);
    if (status == MF_OK && (status = mf_pool_unpark(pool, parked, WAIT_NS, &sandbox, err)) == MF_OK)
        parked = NULL;
    if (status == MF_OK)
        status = add(sandbox, 20, err);
    mf_pool_discard(pool, parked);
    if (sandbox != NULL)
        mf_pool_release(pool, sandbox);
    return status;
}

int main(int argc, char **argv)
{
    struct mf_pool_options options = {.size = sizeof options, .slots = 2, .warm = 1};
    struct mf_pool_stats stats = {.size = sizeof stats};
    struct mf_snapshot *ready = NULL;
    struct mf_pool *pool = NULL;
    struct mf_error err;

    if (argc != 2) {
        fprintf(stderr, "usage: pool_host GUEST\n");
        return 2;
    }
    int status = prepare(argv[1], &ready, &err);
    if (status == MF_OK)
        status = mf_pool_create(ready, &options, &pool, &err);
    for (uint64_t request = 1; status == MF_OK && request <= 3; request++)
        status = serve(pool, request, &err);
    if (status == MF_OK)
        status = serve_twice(pool, &err);
    if (status == MF_OK) {
        mf_pool_get_stats(pool, &stats);
        printf("%" PRIu64 " sandboxes handed out\n", stats.acquired);
    } else {
        fprintf(stderr, "pool_host: %s: %s\n", mf_error_name(err.code), err.message);
    }
    mf_pool_destroy(pool);
    mf_snapshot_close(ready);
    return status != MF_OK;
}
