/* Which backend a test program runs on: $MAYFLY_TEST_BACKEND, kvm or soft. */
#ifndef TESTS_BACKEND_H
#define TESTS_BACKEND_H

#include <mayfly/mayfly.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The backend, if it is usable here; otherwise ends the program with 77, "skipped". */
static inline enum mf_backend test_backend(void)
{
    const char *name = getenv("MAYFLY_TEST_BACKEND");
    enum mf_backend backend =
        name && strcmp(name, "soft") == 0 ? MF_BACKEND_SOFT : MF_BACKEND_KVM;
    struct mf_backend_info info;
    mf_backend_probe(backend, &info, NULL);
    if (!info.usable) {
        printf("skipped: backend %s: %s\n", info.name, info.reason);
        exit(77);
    }
    return backend;
}

#endif
