/*
 * A gate before each turn of a machine that others may pause, snapshot or stop while it runs.
 * Between two turns the guest program is inside of no call, so that a snapshot taken there is
 * one that a machine can start from. Such a machine takes its turns in short pieces.
 */
#ifndef MACHINE_HOST_GATE_H
#define MACHINE_HOST_GATE_H

#include <mayfly/mayfly.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct vmm_gate {
    pthread_mutex_t lock; /* `held` and `inside` */
    pthread_cond_t changed;
    bool held, inside;
    bool shared; /* its thread has other machines, too; set before the first turn */
    bool moving; /* from vmm_gate_begin_move to vmm_gate_end_move */
    bool moved;  /* the machine goes on elsewhere: no further turn */
    atomic_bool stopping; /* no further turn */
    atomic_bool ended;    /* the machine has an outcome */
    int stop_fd;          /* readable once it is stopping, or has moved */
};

/* MF_E_SYSTEM. To be given to vmm_gate_fini only after success. */
int vmm_gate_init(struct vmm_gate *gate, struct mf_error *err);
void vmm_gate_fini(struct vmm_gate *gate);

/*
 * Around a turn: waits while the gate is held. False, without waiting, when it is held and
 * the thread is shared: no turn now.
 */
bool vmm_gate_enter(struct vmm_gate *gate);
void vmm_gate_leave(struct vmm_gate *gate);

/*
 * Any thread but the machine's: waits for the end of the turn, and keeps the next one from
 * beginning until vmm_gate_release. `timeout_ns` 0: 10 s. MF_E_DEADLINE: nothing has changed.
 */
int vmm_gate_hold(struct vmm_gate *gate, uint64_t timeout_ns, struct mf_error *err);
void vmm_gate_release(struct vmm_gate *gate);

/*
 * A migration, on a thread that is not the machine's. It begins between two turns, so that
 * all later ones know of it. MF_E_STATE: it is held, has ended or has moved.
 */
int vmm_gate_begin_move(struct vmm_gate *gate, struct mf_error *err);

/*
 * While the sandbox stands still: keeps the next turn from beginning, and waits until none goes
 * on, or the one that does is where `stands` (asked with the lock held) says that it can be
 * moved. MF_E_STATE: the machine has ended. MF_E_DEADLINE: it is in between. Both let it go on.
 */
int vmm_gate_freeze(struct vmm_gate *gate, bool (*stands)(void *context), void *context,
                    struct mf_error *err);

/* Ends it. With `gone` no turn begins any more, and who waits for input wakes up. */
void vmm_gate_end_move(struct vmm_gate *gate, bool gone);

/* Any thread: a migration goes on; the machine has moved. */
bool vmm_gate_is_moving(struct vmm_gate *gate);
bool vmm_gate_has_moved(struct vmm_gate *gate);

/* Waits a moment, or until no migration goes on. */
void vmm_gate_await_move(struct vmm_gate *gate);

/* Any thread: no turn begins any more. One that goes on is to be interrupted. */
void vmm_gate_stop(struct vmm_gate *gate);

#endif
