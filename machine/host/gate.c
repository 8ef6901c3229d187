/* The gate before the turns of a machine: one lock, taken twice for each turn. */
#include "machine/host/gate.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define TIMEOUT_DEFAULT_NS (10 * NS_PER_S)
/* How long a machine whose sandbox stands still has to come to the end of its turn. */
#define FREEZE_NS NS_PER_S
#define ROUND_NS  UINT64_C(2000000)
#define AWAIT_NS  UINT64_C(20000000)

int vmm_gate_init(struct vmm_gate *gate, struct mf_error *err)
{
    pthread_condattr_t clock;

    memset(gate, 0, sizeof *gate);
    gate->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (gate->stop_fd < 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make an eventfd: %s", strerror(errno));
    atomic_init(&gate->stopping, false);
    atomic_init(&gate->ended, false);
    pthread_mutex_init(&gate->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&gate->changed, &clock);
    pthread_condattr_destroy(&clock);
    return MF_OK;
}

void vmm_gate_fini(struct vmm_gate *gate)
{
    close(gate->stop_fd);
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->lock);
}

bool vmm_gate_enter(struct vmm_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    while (gate->held && !gate->shared)
        pthread_cond_wait(&gate->changed, &gate->lock);
    bool open = !gate->held;
    gate->inside = open;
    pthread_mutex_unlock(&gate->lock);
    return open;
}

void vmm_gate_leave(struct vmm_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->inside = false;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

/* The time in `ns` from now, as pthread_cond_timedwait wants it. */
static struct timespec time_in(uint64_t ns)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(ns / NS_PER_S);
    at.tv_nsec += (long)(ns % NS_PER_S);
    if (at.tv_nsec >= (long)NS_PER_S) {
        at.tv_nsec -= (long)NS_PER_S;
        at.tv_sec++;
    }
    return at;
}

int vmm_gate_hold(struct vmm_gate *gate, uint64_t timeout_ns, struct mf_error *err)
{
    struct timespec end = time_in(timeout_ns != 0 ? timeout_ns : TIMEOUT_DEFAULT_NS);
    int error = 0;

    pthread_mutex_lock(&gate->lock);
    gate->held = true;
    while (gate->inside && error == 0)
        error = pthread_cond_timedwait(&gate->changed, &gate->lock, &end);
    bool still = !gate->inside;
    if (!still) {
        gate->held = false;
        pthread_cond_broadcast(&gate->changed);
    }
    pthread_mutex_unlock(&gate->lock);
    return still ? MF_OK
                 : mf_fail(err, MF_E_DEADLINE,
                           "the machine does not come to the end of its turn: what it writes is "
                           "not read, perhaps");
}

void vmm_gate_release(struct vmm_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->held = false;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

static void wake(struct vmm_gate *gate)
{
    const uint64_t one = 1;

    ssize_t n = write(gate->stop_fd, &one, sizeof one);
    (void)n;
}

void vmm_gate_stop(struct vmm_gate *gate)
{
    atomic_store(&gate->stopping, true);
    wake(gate);
}

/* ---- migrations ---- */

static int check_movable(struct vmm_gate *gate, struct mf_error *err)
{
    if (atomic_load(&gate->ended) || gate->moved)
        return mf_fail(err, MF_E_STATE, "the machine has ended");
    if (gate->held)
        return mf_fail(err, MF_E_STATE, "the machine is paused: let it go on first");
    return MF_OK;
}

int vmm_gate_begin_move(struct vmm_gate *gate, struct mf_error *err)
{
    pthread_mutex_lock(&gate->lock);
    int status = check_movable(gate, err);
    pthread_mutex_unlock(&gate->lock);
    if (status == MF_OK)
        status = vmm_gate_hold(gate, 0, err);
    if (status != MF_OK)
        return status;
    pthread_mutex_lock(&gate->lock);
    gate->held = false;
    status = check_movable(gate, err);
    gate->moving = status == MF_OK;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
    return status;
}

/* With the lock held. Asked again and again: not all that `stands` looks at is under it. */
static int wait_to_stand(struct vmm_gate *gate, bool (*stands)(void *context), void *context,
                         struct mf_error *err)
{
    for (uint64_t left = FREEZE_NS; !atomic_load(&gate->ended); left -= ROUND_NS) {
        struct timespec end = time_in(ROUND_NS);
        if (!gate->inside || stands(context))
            return MF_OK;
        if (left <= ROUND_NS)
            return mf_fail(err, MF_E_DEADLINE, "the machine does not come to the end of its turn");
        pthread_cond_timedwait(&gate->changed, &gate->lock, &end);
    }
    return mf_fail(err, MF_E_STATE, "the machine has ended");
}

int vmm_gate_freeze(struct vmm_gate *gate, bool (*stands)(void *context), void *context,
                    struct mf_error *err)
{
    pthread_mutex_lock(&gate->lock);
    gate->held = true;
    int status = wait_to_stand(gate, stands, context, err);
    gate->held = status == MF_OK;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
    return status;
}

void vmm_gate_end_move(struct vmm_gate *gate, bool gone)
{
    pthread_mutex_lock(&gate->lock);
    gate->held = gate->moving = false;
    gate->moved = gone;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
    if (gone)
        wake(gate);
}

bool vmm_gate_is_moving(struct vmm_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    bool moving = gate->moving;
    pthread_mutex_unlock(&gate->lock);
    return moving;
}

bool vmm_gate_has_moved(struct vmm_gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    bool moved = gate->moved;
    pthread_mutex_unlock(&gate->lock);
    return moved;
}

void vmm_gate_await_move(struct vmm_gate *gate)
{
    struct timespec end = time_in(AWAIT_NS);
    int error = 0;

    pthread_mutex_lock(&gate->lock);
    while (gate->moving && error == 0)
        error = pthread_cond_timedwait(&gate->changed, &gate->lock, &end);
    pthread_mutex_unlock(&gate->lock);
}
