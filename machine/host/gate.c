/* The gate before the turns of a machine: one lock, taken twice for each turn. */
#include "machine/host/gate.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define TIMEOUT_DEFAULT_NS (10 * NS_PER_S)

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

void vmm_gate_stop(struct vmm_gate *gate)
{
    const uint64_t one = 1;

    atomic_store(&gate->stopping, true);
    ssize_t n = write(gate->stop_fd, &one, sizeof one);
    (void)n;
}
