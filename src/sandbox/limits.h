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

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

enum stop_reason {
    STOP_INTERRUPT = 1,
    STOP_DEADLINE = 2,
    STOP_CPU_TIME = 4,
    STOP_IDLE = 8,     /* an attentive guest does not leave though it was asked to */
    STOP_RECALL = 16,  /* the same, and somebody has waited for it long enough */
    STOP_DESTROY = 32, /* the sandbox is being destroyed */
    STOP_LOST = 128,   /* pages of the guest will never come; see arrival.h */
    STOP_PAUSE = 64,   /* look at pause.wanted; ends nothing by itself */
};

/* The reasons that end a guest which is busy with a call. */
#define STOP_CALL (STOP_INTERRUPT | STOP_DEADLINE | STOP_CPU_TIME | STOP_DESTROY | STOP_LOST)

/*
 * The quiet times of an attentive guest, which the watchdog counts without a word from the
 * call path but `turns`: when no call came for `idle_ns` it asks the guest to
 * leave, and if that does not help, stops it with STOP_IDLE.
 */
struct limits_idle {
    uint64_t idle_ns;          /* 0: nothing to watch */
    void (*ask)(void *context); /* asks the guest to leave; on the watchdog's thread */
    void *context;
    atomic_uint turns;   /* counts begins and ends of calls: odd while one is made */
    atomic_bool polling; /* the guest was entered to take calls */
    atomic_bool asking;  /* the watchdog is about to ask: who ends the polling waits for that */
    /* The watchdog's own. */
    unsigned seen;
    bool asked;
    uint64_t since_ns; /* when it saw that, or asked; 0: not yet */
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
    bool clock_given; /* `cpu_clock` is that of another thread, which runs the guest */
    /* What the call armed and took; only one thread at a time has to do with it. */
    unsigned armed, taken;
    struct limits_idle idle;
    /* The watchdog's list. */
    struct limits *next, *prev;
    bool watched;
    uint64_t shortest_ns; /* the shortest limit that may be armed, or 0 */
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

/*
 * Watches the quiet times of an attentive guest from now on, by idle_ns (0: no longer)
 * and `ask` with `context`, of limits->idle. Errors as for limits_watch.
 */
int limits_watch_idle(struct limits *limits, uint64_t idle_ns, void (*ask)(void *context),
                      void *context, struct mf_error *err);

/* The guest is entered to take calls, or came out again. */
void limits_set_polling(struct limits *limits, bool polling);

/* CPU time is that of `thread`, which runs the guest for others; NULL: of the caller again. */
void limits_set_thread(struct limits *limits, const pthread_t *thread);

/* At the start of a call: arms limits, in nanoseconds from now; 0: none. */
void limits_arm(struct limits *limits, uint64_t timeout_ns, uint64_t cpu_time_ns);

/* At its end: disarms, and forgets a deadline that fired too late to matter. */
void limits_disarm(struct limits *limits);

/*
 * At a place where the guest stands still for a while: disarms, and says what was left of
 * the limits, in nanoseconds and at least 1; 0: none was armed.
 */
void limits_suspend(struct limits *limits, uint64_t *timeout_left_ns, uint64_t *cpu_left_ns);

/* Asks to stop for `reason`. Any thread; async-signal-safe for STOP_INTERRUPT. */
void limits_stop(struct limits *limits, enum stop_reason reason);

/* Takes the pending reasons (bits), which are then no longer pending. */
unsigned limits_take(struct limits *limits);

/* The same for some of them. */
unsigned limits_take_some(struct limits *limits, unsigned which);

#endif
