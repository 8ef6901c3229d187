/*
 * Moving a sandbox that runs in this process away: the `migrate` command of the control socket, and
 * what the thread that ran the sandbox does afterwards.
 */
#ifndef CLI_MOVING_H
#define CLI_MOVING_H

#include "control.h"
#include "transport.h"

#include <pthread.h>

enum moving_state {
    MOVING_NOT,   /* no migration, or one that failed: the guest is here */
    MOVING_GOING, /* one goes on */
    MOVING_THERE, /* it runs at the receiver */
    MOVING_UNKNOWN, /* nobody knows; the thread that ran it is to keep it in `fallback` */
    MOVING_SAVED,   /* it has */
    MOVING_UNSAVED, /* it could not yet, and goes on trying */
};

/* Of a sandbox that can be moved; zero it, then moving_init. */
struct moving {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum moving_state state;
    char *where;    /* address of the receiver */
    char *fallback; /* file */
    struct mf_error failed; /* UNSAVED: why */
    struct transport_connection *console; /* with --follow; else NULL */
};

void moving_init(struct moving *moving);
void moving_fini(struct moving *moving);

/* The `run` of the control command. */
int moving_run(struct control_operation *operation, json_t **result, struct mf_error *err);

struct console_guest;

/*
 * After the sandbox's run has come back with MF_E_MOVED: says on standard error where it is, serves
 * its streams when it is followed, or keeps what is left of it. With `upstream` (may be NULL)
 * the streams are those of a user further up. Returns the exit status.
 */
int moving_finish(struct moving *moving, const char *command, struct mf_sandbox *sandbox,
                  struct console_guest *upstream, bool json);

/* The first line of each connection to a receiver, with its newline. */
#define MOVING_LINE_MIGRATE "mayfly-migrate 1\n"
#define MOVING_LINE_CONSOLE "mayfly-console 1 " /* and a token of MOVING_TOKEN digits */
#define MOVING_LINE_OK      "ok\n"
#define MOVING_TOKEN        32

#endif
