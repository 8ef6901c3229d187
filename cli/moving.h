/*
 * Moving a sandbox that runs in this process away: the `migrate` command of the control socket, and
 * what the thread that ran the sandbox does afterwards.
 */
#ifndef CLI_MOVING_H
#define CLI_MOVING_H

#include "control.h"
#include "transport.h"

#include <pthread.h>
#include <sys/types.h>

enum moving_state {
    MOVING_NOT,   /* no migration, or one that failed: the guest is here */
    MOVING_GOING, /* one goes on */
    MOVING_THERE, /* it runs at the receiver */
    MOVING_UNKNOWN, /* nobody knows; the thread that ran it is to keep it in `fallback` */
    MOVING_SAVED,   /* it has */
    MOVING_UNSAVED, /* it could not yet, and goes on trying */
    MOVING_HANDED,  /* a newer process of this host has it: `child` */
};

/*
 * For a sandbox that is more than itself: what is around it moves along. On the thread of
 * the operation.
 */
struct moving_part {
    /* Before anything else. An error: it cannot be moved, and why. After success, `end`. */
    int (*begin)(void *context, struct mf_error *err);
    /* As in mf_migrate_options. */
    int (*state)(void *context, const void **data, size_t *len, struct mf_error *err);
    /* `gone`: it goes on elsewhere, or may. */
    void (*end)(void *context, bool gone);
    /* What people start the file of a fallback with. */
    const char *resume;
};

/* Of a sandbox that can be moved; zero it, then moving_init. */
struct moving {
    const struct moving_part *part; /* or NULL; set by its owner before others know of it */
    void *part_context;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum moving_state state;
    char *where;    /* address of the receiver */
    char *fallback; /* file */
    struct mf_error failed; /* UNSAVED: why */
    struct transport_connection *console; /* with --follow; else NULL */
    /* Its streams are those of a user further up; NULL: of this process. Set by its owner. */
    struct console_guest *upstream;
    /* Of upgrade.h: what to start by default; NULL: it cannot be handed over. */
    char *binary;
    pid_t child;
    int child_fd; /* a socket to it; -1: none */
};

struct console_guest;

void moving_init(struct moving *moving);
void moving_fini(struct moving *moving);

/* The `run` of the control command. */
int moving_run(struct control_operation *operation, json_t **result, struct mf_error *err);

/*
 * After the sandbox's run has come back with MF_E_MOVED: waits until it is known where it is.
 * With MOVING_THERE nothing of the sandbox is needed here any more; MOVING_NOT: it was no
 * migration from here.
 */
enum moving_state moving_wait(struct moving *moving);

/*
 * Then: says on standard error where it is, serves its streams when it is followed, or keeps what
 * is left of it. `sandbox` may be NULL with MOVING_THERE. Returns the exit status.
 */
int moving_finish(struct moving *moving, const char *command, struct mf_sandbox *sandbox,
                  bool json);

/*
 * The `state` of a migration: without a part it is that of the console (console_guest_save), with
 * one the length of that, a u32, and both. *console_len is checked. MF_E_PEER.
 */
int moving_split_state(const void *data, size_t len, size_t *console_len, struct mf_error *err);

/* The first line of each connection to a receiver, with its newline. */
#define MOVING_LINE_MIGRATE "mayfly-migrate 1\n"
#define MOVING_LINE_CONSOLE "mayfly-console 1 " /* and a token of MOVING_TOKEN digits */
#define MOVING_LINE_OK      "ok\n"
#define MOVING_TOKEN        32

#endif
