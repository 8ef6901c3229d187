/* What the two halves of the control's server share: control.c and control_server.c. */
#ifndef CLI_CONTROL_INSIDE_H
#define CLI_CONTROL_INSIDE_H

#include "control.h"
#include "control_request.h"
#include "names.h"

#include <pthread.h>
#include <stdatomic.h>

#define CONTROL_CLIENTS_MAX 16

struct control_client {
    int fd; /* -1: nobody */
    struct control_lines lines;
    char *out; /* what is to be written */
    size_t out_len, out_done, out_allocated;
    uint64_t since_ns; /* it connected, or got its last answer */
    bool ending;       /* closed as soon as all is written */
    struct control_operation *operation; /* that it waits for, or NULL */
};

struct control_operation {
    struct control *control;
    struct control_target *target;
    struct mf_sandbox *sandbox;
    const struct control_command *command;
    json_t *request;
    struct control_client *client; /* NULL: it has gone */
    const char *state;
    uint64_t dirty_bytes_per_s; /* UINT64_MAX: not known */
    atomic_bool cancelled;
    int cancel_fd;
    bool holds; /* made the guest stand still itself */
    bool done;  /* its thread is at its end */
    pthread_t thread;
    int status;
    json_t *result;
    struct mf_error err;
};

struct control_target {
    struct control_target *next;
    struct control *control;
    struct control_target_options options;
    char name[NAMES_LEN_MAX + 1];
    uint64_t since_ns;
    bool paused, stopping, leaving;
    bool nameless; /* the name is not this one's at the moment */
    struct control_operation *operation; /* that goes on, or NULL */
};

struct control {
    int dir, listener, wake_fd;
    char path[NAMES_TEMPORARY_MAX];
    pthread_t thread;
    pthread_mutex_t lock; /* all below, and what hangs from it */
    pthread_cond_t changed;
    struct control_target *targets;
    struct control_client clients[CONTROL_CLIENTS_MAX];
    bool closing;
    uint64_t refuse_until_ns; /* no descriptors: no connection is accepted before */
};

/* ---- control.c, with the lock held ---- */

struct control_target *control_find(struct control *control, const char *name);

/* Begins an operation for a client. The request's reference is the operation's on success. */
int control_begin(struct control_client *client, struct control_target *target,
                  const struct control_command *command, json_t *request, struct mf_error *err);

/* Makes it see that it is cancelled. */
void control_operation_cancel(struct control_operation *operation);

/* Takes an operation that is done from its target and its client, and answers. */
void control_finish(struct control_operation *operation);

/* Wakes the server's thread. */
void control_wake(struct control *control);

/* ---- control_server.c ---- */

/* The server's thread, until control->closing. */
void *control_serve(void *context);

/*
 * Queues a line for a client. An event (`optional`) is left out for one who does not
 * read. The object's reference is taken; NULL, no memory, ends the connection.
 */
void control_send(struct control_client *client, json_t *object, bool optional);

/* Queues the answer. `result` (may be NULL) gives it its members, and is taken. */
void control_answer(struct control_client *client, int status, json_t *result,
                    const struct mf_error *err);

#endif
