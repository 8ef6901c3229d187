/*
 * Backends: what runs the guest's instructions. `kvm` uses the processor's
 * virtualisation through /dev/kvm; `soft` is a CPU emulator (Unicorn), which is
 * loaded on demand as a module of its own.
 */
#ifndef MAYFLY_BACKEND_H
#define MAYFLY_BACKEND_H

#include <mayfly/error.h>

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum mf_backend {
    MF_BACKEND_AUTO = 0, /* kvm when a VM really runs there, else soft */
    MF_BACKEND_KVM = 1,
    MF_BACKEND_SOFT = 2,
};

/* What a backend said when it was tried. */
struct mf_backend_info {
    const char *name;    /* "kvm" or "soft"; static */
    int usable;          /* 1 when a VM ran to its first exit */
    char reason[256];    /* why (not), in one line */
    char advice[256];    /* what to do about it; "" when there is nothing */
    char features[256];  /* space-separated, backend's own words; may be "" */
};

/*
 * Tries a backend (not AUTO) with a VM of its own, which takes some
 * milliseconds. Returns MF_E_ARGUMENT for no backend; otherwise 0, usable or
 * not. Any thread.
 */
MF_API int mf_backend_probe(enum mf_backend backend, struct mf_backend_info *info,
                            struct mf_error *err);

/* "auto", "kvm", "soft"; NULL for no backend. Static. */
MF_API const char *mf_backend_name(enum mf_backend backend);

#ifdef __cplusplus
}
#endif

#endif
