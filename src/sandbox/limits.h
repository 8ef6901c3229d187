/*
 * Deadlines, CPU time and interrupts of sandboxes.
 *
 * A reason to stop is a bit in `reasons`; vm_ops.interrupt only makes the run
 * loop look at it. So a kick that comes too late finds no bit and does no harm.
 */
#ifndef SANDBOX_LIMITS_H
#define SANDBOX_LIMITS_H

#include "vm/vm.h"

#include <mayfly/error.h>

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

enum stop_reason {
    STOP_INTERRUPT = 1,
    STOP_DEADLINE = 2,
    STOP_CPU_TIME = 4,
};

struct limits {
    struct vm *vm;
    atomic_uint reasons; /* enum stop_reason bits */
    /*
     * Times on CLOCK_MONOTONIC and on `cpu_clock`; 0: not armed. Whoever swaps a
     * time for 0 has it: the watchdog to fire it, or the call to end it.
     */
    atomic_uint_fast64_t deadline_ns, cpu_deadline_ns;
    _Atomic clockid_t cpu_clock;
    /* What the calling thread armed and took in this call; its own. */
    unsigned armed, taken;
    /* The watchdog's list. */
    struct limits *next, *prev;
    bool watched;
    uint64_t shortest_ns; /* the shortest limit that may be armed */
};

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t limits_now(void);

/* Prepares for a VM; nothing is armed. */
void limits_init(struct limits *limits, struct vm *vm);

/* Leaves the watchdog's list; afterwards nobody interrupts the VM any more. */
void limits_fini(struct limits *limits);

/*
 * Makes sure that the watchdog looks at these limits at least as often as limits
 * of `shortest_ns` need; 0: it need not look at all. Errors: MF_E_SYSTEM,
 * MF_E_NO_MEMORY (no thread).
 */
int limits_watch(struct limits *limits, uint64_t shortest_ns, struct mf_error *err);

/* At the start of a call: arms limits, in nanoseconds from now; 0: none. */
void limits_arm(struct limits *limits, uint64_t timeout_ns, uint64_t cpu_time_ns);

/* At its end: disarms, and forgets a deadline that fired too late to matter. */
void limits_disarm(struct limits *limits);

/* Asks to stop for `reason`. Any thread; async-signal-safe for STOP_INTERRUPT. */
void limits_stop(struct limits *limits, enum stop_reason reason);

/* Takes the pending reasons (bits), which are then no longer pending. */
unsigned limits_take(struct limits *limits);

#endif
