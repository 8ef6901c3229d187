/*
 * SIGINT, SIGTERM and SIGHUP while a guest runs: the guest is stopped, what it
 * wrote stays written, and the command ends with 128 plus the signal's number.
 */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <mayfly/mayfly.h>

/*
 * Installs the handlers. Signals that were ignored stay ignored (nohup); after
 * the first signal the next one kills at once. Returns 0 or an MF_E_* code.
 */
int interrupt_init(struct mf_error *err);

/* The sandbox to stop from now on, or NULL before it is destroyed. */
void interrupt_watch(struct mf_sandbox *sandbox);

/*
 * As if that signal had come. Any thread, but the watched sandbox must not be going away
 * meanwhile. Unlike a signal it may come again and again.
 */
void interrupt_raise(int number);

/*
 * From now on the other end of a connected socket raises signals here: each byte is the number of
 * one, and its end is SIGTERM. The socket must stay as long as the process. MF_E_SYSTEM.
 */
int interrupt_follow(int fd, struct mf_error *err);

/* The signal that came, or 0. */
int interrupt_signal(void);

/* A descriptor that is readable once a signal came, for poll. */
int interrupt_fd(void);

#endif
