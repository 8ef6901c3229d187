/*
 * Machines run on threads of their own, one each or one for all; the calling thread waits for
 * their ends or a signal. So a machine that is busy never keeps the command from noticing
 * a signal, and a machine is made and run by the same thread. One alone is run by the calling
 * thread, when it can ask for signals itself (vmm_common.signalled): that saves a start.
 */
#include "machine/host/schedule.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* How long one round of waiting is when every machine waits for input. */
#define ROUND_MS 20

/* How long machines have, once a signal came, to stop between two instructions. */
#define GRACE_ROUNDS 100

struct crew {
    struct vmm_machine *machines;
    size_t n;
    int done_fd; /* an eventfd: one for each worker that came to its end */
};

struct worker {
    struct crew *crew;
    struct vmm_machine *machine; /* NULL: all of them, in turns */
    pthread_t thread;
};

static void run_one(struct vmm_machine *machine)
{
    if (machine->outcome != VMM_READY || vmm_machine_open(machine) != MF_OK)
        return;
    vmm_machine_run(machine);
}

/* A whole slice, which may be more than one piece: their lengths depend on the host's speed. */
static enum vmm_turn run_slice(struct vmm_machine *machine, uint64_t slice)
{
    uint64_t start = machine->executed;
    enum vmm_turn turn;

    do
        turn = vmm_machine_turn(machine, slice - (machine->executed - start));
    while (turn == VMM_GOES_ON && machine->executed - start < slice);
    return turn;
}

static size_t count_ready(const struct crew *crew)
{
    size_t n = 0;

    for (size_t i = 0; i < crew->n; i++)
        n += crew->machines[i].outcome == VMM_READY;
    return n;
}

/*
 * One turn for each machine. Returns how many are left; *waiting: one of those that wait for
 * input. *busy: one goes on.
 */
static size_t run_round(const struct crew *crew, struct vmm_machine **waiting, bool *busy)
{
    size_t left = 0;
    bool alone = count_ready(crew) == 1;

    *waiting = NULL;
    *busy = false;
    for (size_t i = 0; i < crew->n; i++) {
        struct vmm_machine *machine = &crew->machines[i];
        if (machine->outcome != VMM_READY)
            continue;
        /* The last one has nobody to leave the turn to. */
        enum vmm_turn turn = run_slice(machine, alone ? UINT64_MAX : machine->config.slice);
        left += turn != VMM_ENDED;
        *busy |= turn == VMM_GOES_ON;
        if (turn == VMM_WAITS)
            *waiting = machine;
        if (turn == VMM_ENDED)
            vmm_machine_retire(machine);
    }
    return left;
}

static void run_in_turns(const struct crew *crew)
{
    struct vmm_machine *waiting;
    bool busy;

    for (size_t i = 0; i < crew->n; i++) {
        if (crew->machines[i].outcome == VMM_READY)
            vmm_machine_open(&crew->machines[i]);
    }
    while (run_round(crew, &waiting, &busy) > 0) {
        if (waiting != NULL && !busy)
            vmm_machine_wait(waiting, ROUND_MS);
        else if (!busy)
            poll(NULL, 0, ROUND_MS); /* all that are left are held */
    }
}

static void *work(void *context)
{
    const struct worker *worker = context;
    uint64_t one = 1;

    if (worker->machine != NULL) {
        run_one(worker->machine);
        vmm_machine_retire(worker->machine);
    } else {
        run_in_turns(worker->crew);
    }
    ssize_t n = write(worker->crew->done_fd, &one, sizeof one);
    (void)n;
    return NULL;
}

/*
 * Waits until `n` workers came to their ends; tells the machines when a signal comes. They stop
 * before their next piece, and say where; what takes much longer than a piece is broken off.
 */
static void watch(const struct crew *crew, size_t n)
{
    struct vmm_common *common = crew->machines[0].common;
    struct pollfd fds[2] = {
        {.fd = crew->done_fd, .events = POLLIN},
        {.fd = common->terminal.wake_fd, .events = POLLIN},
    };
    bool told = false;
    int rounds = 0;
    uint64_t done;

    for (size_t ended = 0; ended < n;) {
        /* A machine that is being made has no sandbox yet: it is told again and again. */
        int ready = poll(fds, 2, told ? ROUND_MS : -1);
        if (ready < 0 && errno != EINTR)
            break;
        if (ready > 0 && fds[0].revents != 0 && read(crew->done_fd, &done, sizeof done) > 0)
            ended += done;
        if (!told && ready > 0 && fds[1].revents != 0) {
            told = true;
            fds[1].fd = -1;
            atomic_store(&common->stopping, true);
        }
        rounds += told;
        for (size_t i = 0; rounds > GRACE_ROUNDS && i < crew->n; i++)
            vmm_machine_interrupt(&crew->machines[i]);
    }
}

int vmm_schedule(struct vmm_machine *machines, size_t n, enum vmm_schedule how,
                 struct mf_error *err)
{
    if (n == 1 && how == VMM_PARALLEL && machines->common->signalled != NULL) {
        run_one(machines);
        return MF_OK;
    }
    struct crew crew = {.machines = machines, .n = n};
    size_t nworkers = how == VMM_PARALLEL ? n : 1, started = 0;
    struct worker *workers = calloc(nworkers, sizeof *workers);
    int error = 0;

    if (workers == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    crew.done_fd = eventfd(0, EFD_CLOEXEC);
    if (crew.done_fd < 0)
        error = errno;
    while (error == 0 && started < nworkers) {
        struct worker *worker = &workers[started];
        worker->crew = &crew;
        worker->machine = how == VMM_PARALLEL ? &machines[started] : NULL;
        error = pthread_create(&worker->thread, NULL, work, worker);
        started += error == 0;
    }
    if (started > 0)
        watch(&crew, started);
    for (size_t i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    if (crew.done_fd >= 0)
        close(crew.done_fd);
    free(workers);
    if (error != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a thread: %s", strerror(error));
    return MF_OK;
}
