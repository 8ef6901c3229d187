/* The inside of struct mf_host. */
#ifndef SANDBOX_HOST_H
#define SANDBOX_HOST_H

#include <mayfly/host.h>

#include <stdatomic.h>

struct host_function {
    struct mf_signature signature;
    mf_host_fn fn;
    void *context;
};

struct mf_host {
    atomic_uint references;
    atomic_bool in_use; /* a sandbox was created with it: no more additions */
    struct host_function *functions;
    size_t nfunctions, capacity;
};

/* Takes one more hold and closes the set for additions; given back with mf_host_destroy. */
struct mf_host *host_hold(struct mf_host *host);

/* The function of that name, or NULL. */
const struct host_function *host_find(const struct mf_host *host, const char *name);

#endif
