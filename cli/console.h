/*
 * The standard streams of a program that has moved, between the process that runs it and the one that
 * it came from (`mayfly migrate --follow`), over a connection of their own.
 *
 * A message is a type, a length and its contents. The guest's side asks for input when the
 * guest reads, so nothing is read ahead of it:
 *
 *   guest to user   'R' u32: bytes of input that are wanted   'O' 'E' data: output, error output
 *                   'X' i32 code, i32 status, text: how it ended, MF_OK or an error
 *   user to guest   'I' data: input; none: its end            'K': stop the guest
 */
#ifndef CLI_CONSOLE_H
#define CLI_CONSOLE_H

#include "transport.h"

#include <pthread.h>

/* ---- the side of the guest ---- */

struct console_guest {
    struct transport_connection *connection;
    struct mf_channel channel;
    pthread_t reader;
    pthread_mutex_t lock; /* for what follows, and to send */
    pthread_cond_t changed;
    bool has_reader, asked, ended, broken;
    uint8_t input[64 << 10]; /* that came, and nobody has read */
    size_t start, len;
    struct mf_channel *onward; /* where the guest has gone; or NULL */
    void (*stop)(void *context); /* the user, or the loss of the user, wants it to end */
    void *context;
};

/* Takes over the connection. `stop` is called on a thread of the console. */
int console_guest_open(struct console_guest *console, struct transport_connection *connection,
                       void (*stop)(void *context), void *context, struct mf_error *err);

/* As members of struct mf_io, with the console as their context. */
ssize_t console_guest_read(void *context, void *buf, size_t len);
ssize_t console_guest_write(void *context, int fd, const void *buf, size_t len);

/* Says how it ended; failures do not matter. */
void console_guest_end(struct console_guest *console, int code, int status, const char *text);

/* The guest has moved on: carries everything between the user and `onward` until it ends. */
void console_relay(struct console_guest *console, struct transport_connection *onward);
void console_guest_close(struct console_guest *console);

/* ---- the side of the user ---- */

/*
 * Serves the guest's streams with those of this process until it has ended: its exit status in
 * *status. `cancel_fd` readable: tells the guest to stop, and waits for its end. Errors: how the
 * guest ended; MF_E_CHANNEL when the receiver was lost.
 */
int console_user_serve(struct transport_connection *connection, int cancel_fd, int *status,
                       struct mf_error *err);

#endif
