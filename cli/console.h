/*
 * The standard streams of a program that has moved, between the process that runs it and the one
 * that it came from (`mayfly migrate --follow`), over a connection of their own.
 *
 * A message is a type, a length and its contents. The guest's side asks for input when the
 * guest reads, so nothing is read ahead of it:
 *
 *   guest to user   'R' u32: bytes of input that are wanted   'O' 'E' data: output, error output
 *                   'X' i32 code, i32 status, text: how it ended, MF_OK or an error
 *   user to guest   'I' data: input; none: its end   'K': stop the guest
 *                   'C' u8: nobody reads what goes to this descriptor any more
 *
 * Who loses the connection at the guest's side goes on without: input has ended, and
 * writing fails with EPIPE, as on a terminal that was closed.
 */
#ifndef CLI_CONSOLE_H
#define CLI_CONSOLE_H

#include "transport.h"

#include <pthread.h>

/* ---- the side of the guest ---- */

#define CONSOLE_MESSAGE_MAX (64u << 10)

/* All but `lock` and what follows is for the thread that runs the guest. */
struct console_guest {
    struct transport_connection *connection;
    struct mf_channel channel;
    pthread_t reader;
    bool has_reader;
    uint8_t output[8 + CONSOLE_MESSAGE_MAX]; /* a message that is on its way */
    size_t output_len, output_done;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool asked, ended, broken, stopped;
    bool closed[3]; /* descriptors that nobody reads */
    uint8_t input[CONSOLE_MESSAGE_MAX]; /* that came, and nobody has read */
    size_t start, len, passed; /* `passed` bytes of it went with the guest */
    struct transport_connection *onward; /* where the guest has gone; or NULL */
    struct mf_channel onward_channel;
    void (*stop)(void *context); /* the user wants it to end */
    void *context;
};

/* Takes over the connection. `stop` is called on a thread of the console. */
int console_guest_open(struct console_guest *console, struct transport_connection *connection,
                       void (*stop)(void *context), void *context, struct mf_error *err);

/*
 * As members of struct mf_io, with the console as their context. They wait a little and say
 * -EINTR, to be asked again, so that a guest whose user neither types nor reads can stand still.
 */
ssize_t console_guest_read(void *context, void *buf, size_t len);
ssize_t console_guest_write(void *context, int fd, const void *buf, size_t len);

/*
 * For a guest that is not kept waiting for its input. True: console_guest_read has an answer at
 * once. `timeout_ms` 0: asks the user for input if there is none; 1 to 1000: waits so long for it.
 */
bool console_guest_wait(void *context, int timeout_ms);

/*
 * What has to go with a guest that stands still and moves on: input that nobody has read, and
 * what was asked for. console_guest_load takes it at the other side before the guest runs there;
 * MF_E_PEER: it cannot be.
 */
#define CONSOLE_STATE_MAX (1 + CONSOLE_MESSAGE_MAX)
size_t console_guest_save(struct console_guest *console, uint8_t state[CONSOLE_STATE_MAX]);
int console_guest_load(struct console_guest *console, const uint8_t *state, size_t len,
                       struct mf_error *err);

/*
 * For a guest that is not kept waiting for its input: asks for some, and waits until it is there
 * or has ended, `timeout_ms` (of at most 1000) at most. True: console_guest_read has an answer.
 */
bool console_guest_wait(void *context, int timeout_ms);

/* Says how it ended; failures do not matter. */
void console_guest_end(struct console_guest *console, int code, int status, const char *text);

/*
 * The guest has moved on: carries everything between the user and `onward` until it ends, or one
 * of both connections does.
 */
void console_relay(struct console_guest *console, struct transport_connection *onward);

/* Wakes who relays or waits for the user; any thread, before console_guest_close begins. */
void console_guest_break(struct console_guest *console);
void console_guest_close(struct console_guest *console);

/* ---- the side of the user ---- */

/*
 * Serves the guest's streams with those of this process until it has ended: its exit status in
 * *status. `cancel_fd` readable: tells the guest to stop, and waits for its end, but no longer for
 * room in standard output. Errors: how the
 * guest ended; MF_E_CHANNEL when the receiver was lost.
 */
int console_user_serve(struct transport_connection *connection, int cancel_fd, int *status,
                       struct mf_error *err);

#endif
