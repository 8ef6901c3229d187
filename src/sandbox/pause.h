/*
 * Standing still: who uses a sandbox, and how another thread makes its guest stop
 * between two instructions and looks at it, without a word from whoever runs it.
 * See pause.c for how they keep out of each other's way.
 */
#ifndef SANDBOX_PAUSE_H
#define SANDBOX_PAUSE_H

#include <mayfly/error.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mf_sandbox;

enum pause_use {
    PAUSE_IDLE,   /* nobody is inside */
    PAUSE_IN_USE, /* a call, a run or a start goes on */
    PAUSE_HELD,   /* nobody is, and whoever wants to waits until pause_end */
};

/* Where a sandbox is, for who would use it. */
enum pause_whereabouts {
    PAUSE_HERE,
    PAUSE_MOVED,   /* it runs elsewhere */
    PAUSE_UNKNOWN, /* it may run elsewhere: here it may be looked at, and never goes on */
};

struct pause {
    atomic_uint use;     /* enum pause_use */
    atomic_bool wanted;  /* from pause_begin to pause_end */
    atomic_uint where;   /* enum pause_whereabouts; written while it stands still */
    pthread_mutex_t lock; /* for what follows, and to wait with `changed` */
    pthread_cond_t changed;
    bool still; /* the thread that runs the guest waits in pause_here */
    /* What is left of the limits of the use that stands still, in ns; 0: none. */
    uint64_t timeout_left_ns, cpu_left_ns;
};

void pause_init(struct pause *pause);
void pause_fini(struct pause *pause);

/*
 * Around each outermost use. pause_enter waits while another thread holds the sandbox;
 * MF_E_MOVED when it has moved. One atomic exchange each when nobody wants anything.
 */
int pause_enter(struct mf_sandbox *sandbox, struct mf_error *err);
void pause_leave(struct mf_sandbox *sandbox);

/* Whether somebody waits for this guest to stand still, and it could now. Cheap. */
bool pause_wanted(const struct mf_sandbox *sandbox);

/*
 * On the thread that runs the guest, before it enters it, when pause_wanted: waits until it may
 * go on. Limits of time stand still as well. MF_E_MOVED: it must not go on here.
 */
int pause_here(struct mf_sandbox *sandbox, struct mf_error *err);

/*
 * Makes the guest stand still, and keeps new uses out, until pause_end; the
 * calling thread may then do with the sandbox what its owner may between two calls.
 * Errors as for mf_sandbox_pause, after `timeout_ns`.
 */
int pause_begin(struct mf_sandbox *sandbox, uint64_t timeout_ns, struct mf_error *err);
void pause_end(struct mf_sandbox *sandbox, enum pause_whereabouts where);

/* MF_E_MOVED with the reason when it is not PAUSE_HERE; else 0. */
int pause_check_here(const struct mf_sandbox *sandbox, struct mf_error *err);

#endif
