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
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

static _Atomic(struct mf_sandbox *) watched;
static atomic_int received;
static int wake_pipe[2] = {-1, -1};
/* Held by threads, not by handlers, while they are inside of the sandbox. */
static pthread_mutex_t watch_lock = PTHREAD_MUTEX_INITIALIZER;

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
    pthread_mutex_lock(&watch_lock);
    atomic_store(&watched, sandbox);
    pthread_mutex_unlock(&watch_lock);
    sigprocmask(SIG_SETMASK, &before, NULL);
    /* A signal that came while there was nothing to stop. */
    if (sandbox != NULL && atomic_load(&received) != 0)
        mf_sandbox_interrupt(sandbox);
}

static bool is_ours(int number)
{
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (signals[i] == number)
            return true;
    return false;
}

/* On a thread where all signals are blocked. */
static void *follow(void *argument)
{
    struct pollfd p = {.fd = (int)(intptr_t)argument, .events = POLLIN};
    ssize_t n = 1;

    while (n > 0) {
        uint8_t number = SIGTERM;
        if (poll(&p, 1, -1) < 0)
            continue;
        n = read(p.fd, &number, 1);
        if (n < 0 && errno == EAGAIN) {
            n = 1;
            continue;
        }
        pthread_mutex_lock(&watch_lock);
        interrupt_raise(is_ours(number) ? number : SIGTERM);
        pthread_mutex_unlock(&watch_lock);
    }
    return NULL;
}

int interrupt_follow(int fd, struct mf_error *err)
{
    sigset_t all, before;
    pthread_t thread;

    /* Signals are for the thread that runs the guest. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int error = pthread_create(&thread, NULL, follow, (void *)(intptr_t)fd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot start a thread: %s", strerror(error));
    pthread_detach(thread);
    return MF_OK;
}

int interrupt_signal(void)
{
    return atomic_load(&received);
}

int interrupt_fd(void)
{
    return wake_pipe[0];
}
