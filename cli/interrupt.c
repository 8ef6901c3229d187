/*
 * Signals while a guest runs. A signal handler can be told nothing, so its state
 * is global: the only mutable globals of the command.
 *
 * The guest is stopped by mf_sandbox_interrupt, which is never lost. A read or
 * write for the guest that blocks is woken by a pipe, because a signal that
 * comes just before read(2) would not wake it.
 */
#include "interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

static _Atomic(struct mf_sandbox *) watched;
static atomic_int received;
static int wake_pipe[2] = {-1, -1};

void interrupt_raise(int number)
{
    atomic_store(&received, number);
    struct mf_sandbox *sandbox = atomic_load(&watched);
    if (sandbox != NULL)
        mf_sandbox_interrupt(sandbox);
    /* A pipe that is full is readable as well. */
    ssize_t n = write(wake_pipe[1], "", 1);
    (void)n;
}

static void on_signal(int number)
{
    int saved = errno;

    interrupt_raise(number);
    errno = saved;
}

int interrupt_init(struct mf_error *err)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    if (pipe2(wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot create a pipe: %s", strerror(errno));
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct sigaction before;
        sigaction(signals[i], NULL, &before);
        if (before.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
    return MF_OK;
}

void interrupt_watch(struct mf_sandbox *sandbox)
{
    sigset_t set, before;

    /* No handler may be inside mf_sandbox_interrupt when the sandbox goes away. */
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, &before);
    atomic_store(&watched, sandbox);
    sigprocmask(SIG_SETMASK, &before, NULL);
    /* A signal that came while there was nothing to stop. */
    if (sandbox != NULL && atomic_load(&received) != 0)
        mf_sandbox_interrupt(sandbox);
}

int interrupt_signal(void)
{
    return atomic_load(&received);
}

int interrupt_fd(void)
{
    return wake_pipe[0];
}
