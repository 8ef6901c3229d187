/*
 * A ticket lock whose waiters sleep on a futex, each with a bit of its own, so that
 * the end of a turn wakes (nearly) nobody but the next one.
 *
 * No wake-up is lost: a waiter counts itself in `sleepers` before it looks at `serving`
 * for the last time (in the kernel), and the end of a turn stores `serving` before it
 * looks at `sleepers`; both in sequentially consistent order.
 */
#include "sandbox/turn.h"

#include "base/cpu.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINS 2000

static uint32_t bit_of(unsigned ticket)
{
    return UINT32_C(1) << ticket % 32;
}

static void sleep_while(atomic_uint *word, unsigned seen, uint32_t bit)
{
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, seen, NULL, NULL, bit);
}

unsigned turn_take(struct turn *turn, unsigned spinners)
{
    unsigned ticket = atomic_fetch_add(&turn->next, 1), serving;
    for (int i = 0; (serving = atomic_load(&turn->serving)) != ticket; i++) {
        if (ticket - serving <= spinners && i < SPINS) {
            cpu_relax();
            continue;
        }
        atomic_fetch_add(&turn->sleepers, 1);
        serving = atomic_load(&turn->serving);
        if (serving != ticket)
            sleep_while(&turn->serving, serving, bit_of(ticket));
        atomic_fetch_sub(&turn->sleepers, 1);
    }
    return ticket;
}

void turn_give(struct turn *turn, unsigned ticket)
{
    atomic_store(&turn->serving, ticket + 1);
    if (atomic_load(&turn->sleepers) > 0)
        syscall(SYS_futex, &turn->serving, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL,
                bit_of(ticket + 1));
    atomic_fetch_add(&turn->left, 1);
}

void turn_drain(struct turn *turn, unsigned ticket)
{
    turn_give(turn, ticket);
    while (atomic_load(&turn->left) != atomic_load(&turn->next))
        sched_yield();
}
