/*
 * One connection to `mayfly receive`: its first line says what it is for. A migration becomes a
 * sandbox that runs to its end on the thread of its connection; a console waits for the migration
 * that names its token.
 */
#ifndef CLI_RECEIVE_SESSION_H
#define CLI_RECEIVE_SESSION_H

#include "cli.h"
#include "control.h"
#include "moving.h"
#include "transport.h"

#include <pthread.h>

#define RECEIVER_CONSOLES 16

/* Connections at once; more are closed. Whoever says nothing has one for 10 s. */
#define RECEIVER_SESSIONS 512

/* A console that waits. */
struct waiting_console {
    struct transport_connection *connection; /* NULL: none */
    char token[MOVING_TOKEN + 1];
    uint64_t since_ns;
};

/* A program that came in, kept so that it is not sent again. */
struct received_image {
    struct mf_image *image;
    uint8_t digest[MF_DIGEST_BYTES];
};
#define RECEIVER_IMAGES 32

struct receiver {
    const struct cli_options *options;
    struct control *control;
    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t changed;
    unsigned sessions;    /* connections that are served */
    unsigned running;     /* of them sandboxes */
    unsigned most;        /* sandboxes at once */
    bool stopping;
    struct waiting_console consoles[RECEIVER_CONSOLES];
    struct session *first; /* all that run */
    struct received_image images[RECEIVER_IMAGES];
    size_t nimages;
};

int receiver_init(struct receiver *receiver, const struct cli_options *options,
                  struct mf_error *err);

/* Serves a connection, which it takes over, on a thread of its own. */
void receiver_serve(struct receiver *receiver, struct transport_connection *connection);

/* Stops all sandboxes and waits for the end of all sessions. */
void receiver_fini(struct receiver *receiver);

#endif
