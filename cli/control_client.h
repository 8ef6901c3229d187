/*
 * The other end of control sockets: what `mayfly ps`, `pause` and so on use. What comes from a
 * server is of the same user, and is checked nevertheless.
 */
#ifndef CLI_CONTROL_CLIENT_H
#define CLI_CONTROL_CLIENT_H

#include "control_request.h"

/* How long a server may take to answer what takes no time: one that is stopped never does. */
#define CONTROL_QUICK_MS 5000

/* Without a bound, for operations. */
#define CONTROL_NO_TIMEOUT (-1)

struct control_client_socket {
    int fd; /* -1: none */
    struct control_lines lines;
};

/*
 * Connects to the sandbox of that name. MF_E_ARGUMENT: `name` is none; MF_E_NO_FUNCTION: nobody
 * is called so, with names that are near; MF_E_SYSTEM. To be closed in every case.
 */
int control_client_open(struct control_client_socket *client, const char *name,
                        struct mf_error *err);

/* The same, in a folder that names_open opened. */
int control_client_open_in(struct control_client_socket *client, int dir, const char *name,
                           struct mf_error *err);

void control_client_close(struct control_client_socket *client);

/*
 * Sends a request, whose reference it takes, and waits for the answer; `event` (may be NULL) gets
 * what comes before it. `timeout_ms` bounds the time between two lines. *answer (may be NULL)
 * is for json_decref. Errors: what the server answered; MF_E_DEADLINE; MF_E_SYSTEM: the connection
 * broke, for instance because the sandbox ended; MF_E_PROTOCOL: not an answer of ours.
 */
int control_client_call(struct control_client_socket *client, json_t *request, int timeout_ms,
                        void (*event)(void *context, const json_t *event), void *context,
                        json_t **answer, struct mf_error *err);

/* Whether a sandbox of that name is running; false too when that cannot be said. */
bool control_client_finds(const char *name);

#endif
