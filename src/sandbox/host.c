/*
 * Sets of host functions. A set is built by one thread and closed by the first
 * sandbox that uses it; from then on nothing in it changes, so that sandboxes
 * on any threads read it without a lock. Names are looked up once per sandbox,
 * when its imports are bound, never on the call path.
 */
#include "sandbox/host.h"

#include "base/checked.h"
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int mf_host_create(struct mf_host **out, struct mf_error *err)
{
    struct mf_host *host = calloc(1, sizeof(*host));

    *out = host;
    if (!host)
        return error_set(err, MF_E_NO_MEMORY, "no memory for a set of host functions");
    atomic_init(&host->references, 1);
    atomic_init(&host->in_use, false);
    return 0;
}

void mf_host_destroy(struct mf_host *host)
{
    if (!host || atomic_fetch_sub_explicit(&host->references, 1, memory_order_acq_rel) != 1)
        return;
    free(host->functions);
    free(host);
}

struct mf_host *host_hold(struct mf_host *host)
{
    if (!host)
        return NULL;
    atomic_store(&host->in_use, true);
    atomic_fetch_add_explicit(&host->references, 1, memory_order_relaxed);
    return host;
}

const struct host_function *host_find(const struct mf_host *host, const char *name)
{
    if (!host)
        return NULL;
    for (size_t i = 0; i < host->nfunctions; i++)
        if (strcmp(host->functions[i].signature.name, name) == 0)
            return &host->functions[i];
    return NULL;
}

/* Makes room for one more function. */
static int grow(struct mf_host *host, struct mf_error *err)
{
    if (host->nfunctions < host->capacity)
        return 0;
    size_t capacity = MAX(host->capacity * 2, (size_t)8);
    struct host_function *functions =
        reallocarray(host->functions, capacity, sizeof(*functions));
    if (!functions)
        return error_set(err, MF_E_NO_MEMORY, "no memory for %zu host functions", capacity);
    host->functions = functions;
    host->capacity = capacity;
    return 0;
}

int mf_host_add(struct mf_host *host, const char *signature, mf_host_fn fn, void *context,
                struct mf_error *err)
{
    struct mf_signature sig;
    int rc;

    if (!host || !fn)
        return error_set(err, MF_E_ARGUMENT, "a host function needs a set and a function (NULL)");
    if (atomic_load(&host->in_use))
        return error_set(err, MF_E_STATE, "a sandbox uses this set of host functions already; "
                                          "add all functions before the first sandbox");
    rc = mf_signature_parse(signature, &sig, err);
    if (rc)
        return rc;
    if (host_find(host, sig.name))
        return error_set(err, MF_E_STATE, "a host function '%s' was added already", sig.name);
    rc = grow(host, err);
    if (rc)
        return rc;
    host->functions[host->nfunctions++] =
        (struct host_function){.signature = sig, .fn = fn, .context = context};
    return 0;
}

int mf_fail(struct mf_error *err, int code, const char *format, ...)
{
    char text[sizeof(err->message)];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return error_set(err, code, "%s", text);
}
