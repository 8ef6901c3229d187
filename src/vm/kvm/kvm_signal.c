/*
 * The signal that makes KVM_RUN return. A signal's disposition belongs to the
 * whole process, so this is the one thing of the library that is process-wide by
 * nature: a handler that does nothing, for one real-time signal, installed when
 * the first sandbox on KVM asks for it and never taken away (a late signal would
 * otherwise kill the process).
 */
#include "vm/kvm/kvm.h"

#include "base/error.h"

#include <mayfly/sandbox.h>

#include <signal.h>

static void do_nothing(int signo)
{
    (void)signo;
}

static bool is_ours(int signo)
{
    struct sigaction old;
    return sigaction(signo, NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) &&
           old.sa_handler == do_nothing;
}

static int install(int signo, struct mf_error *err)
{
    /* SA_RESTART: a signal that comes late must not disturb the caller's own calls. */
    struct sigaction action = {.sa_handler = do_nothing, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (sigaction(signo, &action, NULL) != 0)
        return error_set(err, MF_E_ARGUMENT, "interrupt_signal %d: no signal that can be caught",
                         signo);
    return 0;
}

static bool is_default(int signo)
{
    struct sigaction old;
    return sigaction(signo, NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) &&
           old.sa_handler == SIG_DFL;
}

/*
 * Two threads that come here at the same time may take two signals; both then
 * work. So no lock is needed.
 */
int kvm_signal_install(int requested, int *signo, struct mf_error *err)
{
    *signo = requested;
    if (requested == MF_SIGNAL_NONE)
        return 0;
    if (requested != MF_SIGNAL_AUTO)
        return is_ours(requested) ? 0 : install(requested, err);
    for (int candidate = SIGRTMAX; candidate >= SIGRTMIN; candidate--) {
        if (!is_ours(candidate) && !is_default(candidate))
            continue;
        *signo = candidate;
        return is_ours(candidate) ? 0 : install(candidate, err);
    }
    return error_set(err, MF_E_SYSTEM,
                     "every real-time signal has a handler: set interrupt_signal to one that "
                     "Mayfly may use, or to MF_SIGNAL_NONE");
}
