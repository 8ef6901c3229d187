/*
 * A lock that serves in the order of arrival, for the callers of an attentive
 * sandbox. Without anybody waiting it makes no system call.
 */
#ifndef SANDBOX_TURN_H
#define SANDBOX_TURN_H

#include <stdatomic.h>
#include <stdint.h>

/* Zeroed: free. */
struct turn {
    _Alignas(64) atomic_uint next; /* the next ticket to give out */
    atomic_uint serving;           /* whose turn it is; a futex */
    atomic_uint sleepers;
    atomic_uint left; /* threads that are done with this structure */
};

/*
 * Waits for its turn; returns the ticket. At most `spinners` threads behind the one whose
 * turn it is wait without sleeping.
 */
unsigned turn_take(struct turn *turn, unsigned spinners);

/* Ends the turn of `ticket`, and wakes the next. */
void turn_give(struct turn *turn, unsigned ticket);

/* Waits until all other threads are done with it. Called by the one that has its turn. */
void turn_drain(struct turn *turn, unsigned ticket);

#endif
