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
    atomic_bool stopping; /* no further turn */
    atomic_bool ended;    /* the machine has an outcome */
    int stop_fd;          /* readable once it is stopping */
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

/* Any thread: no turn begins any more. One that goes on is to be interrupted. */
void vmm_gate_stop(struct vmm_gate *gate);

#endif
