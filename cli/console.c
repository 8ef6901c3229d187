/* The streams of a program that has moved; see console.h. */
#include "console.h"
#include "text.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX CONSOLE_MESSAGE_MAX
#define SLICE_MS    100
#define WAIT_BYTES  4096 /* that are asked for when it is not known how many are wanted */
#define FOREVER_MS  (-1)

struct head {
    uint8_t type, zero[3];
    uint32_t len; /* little-endian, as this program runs on no other */
};

struct ending {
    int32_t code, status; /* text follows */
};

/* ---- messages ---- */

static int send_all(const struct mf_channel *channel, const void *data, size_t len,
                    struct mf_error *err)
{
    const uint8_t *at = data;

    while (len > 0) {
        long n = channel->write(channel->context, at, len, -1, err);
        if (n == MF_CHANNEL_TIMEOUT)
            continue;
        if (n <= 0)
            return MF_E_CHANNEL;
        at += n;
        len -= (size_t)n;
    }
    return MF_OK;
}

static int send_message(const struct mf_channel *channel, char type, const void *data, size_t len,
                        struct mf_error *err)
{
    const struct head head = {.type = (uint8_t)type, .len = (uint32_t)len};
    int status = send_all(channel, &head, sizeof head, err);

    return status == MF_OK && len > 0 ? send_all(channel, data, len, err) : status;
}

static int receive_all(const struct mf_channel *channel, void *data, size_t len,
                       struct mf_error *err)
{
    uint8_t *at = data;

    while (len > 0) {
        long n = channel->read(channel->context, at, len, -1, err);
        if (n == MF_CHANNEL_TIMEOUT)
            continue;
        if (n == 0)
            return mf_fail(err, MF_E_CHANNEL, "the other side has closed the connection");
        if (n < 0)
            return MF_E_CHANNEL;
        at += n;
        len -= (size_t)n;
    }
    return MF_OK;
}

static int receive_message(const struct mf_channel *channel, struct head *head,
                           uint8_t data[MESSAGE_MAX], struct mf_error *err)
{
    int status = receive_all(channel, head, sizeof *head, err);

    if (status == MF_OK && head->len > MESSAGE_MAX)
        return mf_fail(err, MF_E_PEER, "a message of the other side is too long");
    return status == MF_OK ? receive_all(channel, data, head->len, err) : status;
}

/* ---- the side of the guest: what the user sends ---- */

/* Input that came; false: more than was asked for, which nobody has room for. */
static bool take_input(struct console_guest *console, const uint8_t *data, size_t len)
{
    if (len == 0) {
        console->ended = true;
    } else if (len > sizeof console->input - console->len) {
        return false;
    } else {
        memmove(console->input, console->input + console->start, console->len);
        console->start = 0;
        memcpy(console->input + console->len, data, len);
        console->len += len;
    }
    console->asked = false;
    return true;
}

/* A message of the user, with the lock held. False: it cannot be. */
static bool take_message(struct console_guest *console, const struct head *head,
                         const uint8_t *data)
{
    struct mf_error ignored;

    if (console->onward != NULL)
        return send_message(&console->onward_channel, (char)head->type, data, head->len,
                            &ignored) == MF_OK;
    switch (head->type) {
    case 'I':
        return take_input(console, data, head->len);
    case 'K':
        console->stopped = true;
        console->stop(console->context);
        return true;
    case 'C':
        if (head->len != 1 || (data[0] != STDOUT_FILENO && data[0] != STDERR_FILENO))
            return false;
        console->closed[data[0]] = true;
        return true;
    default:
        return false;
    }
}

static void *read_user(void *argument)
{
    struct console_guest *console = argument;
    uint8_t *data = malloc(MESSAGE_MAX);
    struct mf_error ignored;
    struct head head;
    bool good = data != NULL;

    while (good) {
        good = receive_message(&console->channel, &head, data, &ignored) == MF_OK;
        pthread_mutex_lock(&console->lock);
        good = good && take_message(console, &head, data);
        if (!good)
            console->broken = console->ended = true;
        /* Whoever relays waits for the guest's words, and is to hear of it, too. */
        if (!good && console->onward != NULL)
            transport_shutdown(console->onward);
        pthread_cond_broadcast(&console->changed);
        pthread_mutex_unlock(&console->lock);
    }
    free(data);
    return NULL;
}

int console_guest_open(struct console_guest *console, struct transport_connection *connection,
                       void (*stop)(void *context), void *context, struct mf_error *err)
{
    pthread_condattr_t clock;

    memset(console, 0, sizeof *console);
    console->connection = connection;
    console->stop = stop;
    console->context = context;
    transport_channel(connection, &console->channel);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&console->lock, NULL);
    pthread_cond_init(&console->changed, &clock);
    pthread_condattr_destroy(&clock);
    if (pthread_create(&console->reader, NULL, read_user, console) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot start a thread for the console");
    console->has_reader = true;
    return MF_OK;
}

/* ---- the side of the guest: what the user gets ---- */

static void set_broken(struct console_guest *console)
{
    pthread_mutex_lock(&console->lock);
    console->broken = console->ended = true;
    pthread_mutex_unlock(&console->lock);
}

/* Sends what is left of the last message: MF_OK, MF_E_DEADLINE (some is still left), or broken. */
static int flush(struct console_guest *console, int timeout_ms)
{
    struct mf_error ignored;

    while (console->output_done < console->output_len) {
        long n = console->channel.write(console->channel.context,
                                        console->output + console->output_done,
                                        console->output_len - console->output_done, timeout_ms,
                                        &ignored);
        if (n == MF_CHANNEL_TIMEOUT)
            return MF_E_DEADLINE;
        if (n <= 0) {
            set_broken(console);
            return MF_E_CHANNEL;
        }
        console->output_done += (size_t)n;
    }
    return MF_OK;
}

/* Makes a message the next to be sent, once the one before it is; errors of flush. */
static int post(struct console_guest *console, char type, const void *data, size_t len,
                int timeout_ms)
{
    const struct head head = {.type = (uint8_t)type, .len = (uint32_t)len};
    int status = flush(console, timeout_ms);

    if (status != MF_OK)
        return status;
    memcpy(console->output, &head, sizeof head);
    memcpy(console->output + sizeof head, data, len);
    console->output_len = sizeof head + len;
    console->output_done = 0;
    /* It is on its way, even when there is no room for all of it yet. */
    status = flush(console, timeout_ms);
    return status == MF_E_DEADLINE ? MF_OK : status;
}

/* Asks for input, once. False: that waits for output which the user does not read. */
static bool ask(struct console_guest *console, size_t len)
{
    uint32_t most = (uint32_t)(len < sizeof console->input ? len : sizeof console->input);

    pthread_mutex_lock(&console->lock);
    bool needed = console->len == 0 && !console->ended && !console->asked;
    /* Before it is sent, because the answer may come at once. */
    console->asked = console->asked || needed;
    pthread_mutex_unlock(&console->lock);
    if (!needed || post(console, 'R', &most, sizeof most, SLICE_MS) != MF_E_DEADLINE)
        return true;
    pthread_mutex_lock(&console->lock);
    console->asked = false;
    pthread_mutex_unlock(&console->lock);
    return false;
}

/* Waits a little for a change; the caller is asked again by the library. */
static void wait_slice(struct console_guest *console, int timeout_ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)timeout_ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&console->changed, &console->lock, &until);
}

ssize_t console_guest_read(void *context, void *buf, size_t len)
{
    struct console_guest *console = context;
    ssize_t got = -EINTR;

    if (len == 0)
        return 0;
    if (!ask(console, len))
        return -EINTR;
    /* What it printed before it reads is seen before it is answered. */
    if (flush(console, SLICE_MS) == MF_E_DEADLINE)
        return -EINTR;
    pthread_mutex_lock(&console->lock);
    if (console->len == 0 && !console->ended)
        wait_slice(console, SLICE_MS);
    if (console->len > 0) {
        size_t n = len < console->len ? len : console->len;
        memcpy(buf, console->input + console->start, n);
        console->start += n;
        console->len -= n;
        got = (ssize_t)n;
    } else if (console->ended) {
        got = 0;
    }
    pthread_mutex_unlock(&console->lock);
    return got;
}

bool console_guest_wait(void *context, int timeout_ms)
{
    struct console_guest *console = context;

    if (timeout_ms == 0)
        ask(console, WAIT_BYTES);
    pthread_mutex_lock(&console->lock);
    if (console->len == 0 && !console->ended && timeout_ms > 0)
        wait_slice(console, timeout_ms);
    bool ready = console->len > 0 || console->ended;
    pthread_mutex_unlock(&console->lock);
    return ready;
}

ssize_t console_guest_write(void *context, int fd, const void *buf, size_t len)
{
    struct console_guest *console = context;
    size_t part = len < MESSAGE_MAX ? len : MESSAGE_MAX;

    pthread_mutex_lock(&console->lock);
    bool closed = console->broken || console->closed[fd == STDERR_FILENO ? fd : STDOUT_FILENO];
    pthread_mutex_unlock(&console->lock);
    if (closed)
        return -EPIPE;
    switch (post(console, fd == STDERR_FILENO ? 'E' : 'O', buf, part, SLICE_MS)) {
    case MF_OK:
        return (ssize_t)part;
    case MF_E_DEADLINE:
        return -EINTR;
    default:
        return -EPIPE;
    }
}

void console_guest_end(struct console_guest *console, int code, int status, const char *text)
{
    struct mf_error ignored;
    struct ending ending = {.code = code, .status = status};
    uint8_t data[sizeof ending + sizeof ignored.message];
    size_t len = strnlen(text, sizeof ignored.message);

    memcpy(data, &ending, sizeof ending);
    memcpy(data + sizeof ending, text, len);
    post(console, 'X', data, sizeof ending + len, FOREVER_MS);
}

/* ---- the side of the guest: moving on ---- */

enum { SAVED_ASKED = 1, SAVED_ENDED = 2, SAVED_NO_OUTPUT = 4, SAVED_NO_ERRORS = 8, SAVED_ALL = 15 };

size_t console_guest_save(struct console_guest *console, uint8_t state[CONSOLE_STATE_MAX])
{
    pthread_mutex_lock(&console->lock);
    size_t len = console->len;
    state[0] = (uint8_t)((console->asked ? SAVED_ASKED : 0) | (console->ended ? SAVED_ENDED : 0) |
                         (console->closed[STDOUT_FILENO] ? SAVED_NO_OUTPUT : 0) |
                         (console->closed[STDERR_FILENO] ? SAVED_NO_ERRORS : 0));
    memcpy(state + 1, console->input + console->start, len);
    console->passed = len;
    pthread_mutex_unlock(&console->lock);
    return 1 + len;
}

int console_guest_load(struct console_guest *console, const uint8_t *state, size_t len,
                       struct mf_error *err)
{
    if (len < 1 || len > CONSOLE_STATE_MAX || (state[0] & ~SAVED_ALL) != 0)
        return mf_fail(err, MF_E_PEER, "the state of the guest's console cannot be");
    pthread_mutex_lock(&console->lock);
    memcpy(console->input, state + 1, len - 1);
    console->start = 0;
    console->len = len - 1;
    console->asked = (state[0] & SAVED_ASKED) != 0;
    console->ended = console->ended || (state[0] & SAVED_ENDED) != 0;
    console->closed[STDOUT_FILENO] = (state[0] & SAVED_NO_OUTPUT) != 0;
    console->closed[STDERR_FILENO] = (state[0] & SAVED_NO_ERRORS) != 0;
    pthread_mutex_unlock(&console->lock);
    return MF_OK;
}

/* What the user said after the guest had left, with the lock held; then all goes there at once. */
static bool begin_relay(struct console_guest *console, struct transport_connection *onward)
{
    const struct mf_channel *channel = &console->onward_channel;
    size_t late = console->len > console->passed ? console->len - console->passed : 0;
    struct mf_error ignored;
    bool good = !console->broken;

    transport_channel(onward, &console->onward_channel);
    for (uint8_t fd = STDOUT_FILENO; good && fd <= STDERR_FILENO; fd++)
        if (console->closed[fd])
            good = send_message(channel, 'C', &fd, 1, &ignored) == MF_OK;
    if (good && late > 0)
        good = send_message(channel, 'I', console->input + console->start + console->passed, late,
                            &ignored) == MF_OK;
    if (good && console->ended)
        good = send_message(channel, 'I', NULL, 0, &ignored) == MF_OK;
    if (good && console->stopped)
        good = send_message(channel, 'K', NULL, 0, &ignored) == MF_OK;
    console->onward = onward;
    return good;
}

void console_relay(struct console_guest *console, struct transport_connection *onward)
{
    uint8_t *data = malloc(MESSAGE_MAX);
    struct mf_error ignored;
    struct head head = {0};

    pthread_mutex_lock(&console->lock);
    bool good = data != NULL && begin_relay(console, onward);
    pthread_mutex_unlock(&console->lock);
    while (good && head.type != 'X')
        good = receive_message(&console->onward_channel, &head, data, &ignored) == MF_OK &&
               post(console, (char)head.type, data, head.len, FOREVER_MS) == MF_OK;
    pthread_mutex_lock(&console->lock);
    console->onward = NULL;
    pthread_mutex_unlock(&console->lock);
    if (!good)
        console_guest_end(console, MF_E_CHANNEL, 0, "the connection to the guest broke further on");
    free(data);
}

void console_guest_break(struct console_guest *console)
{
    pthread_mutex_lock(&console->lock);
    console->broken = console->ended = true;
    if (console->onward != NULL)
        transport_shutdown(console->onward);
    pthread_mutex_unlock(&console->lock);
    transport_shutdown(console->connection);
}

void console_guest_close(struct console_guest *console)
{
    if (console->connection == NULL)
        return;
    /* What was said last is read by the other side before it closes; then nothing comes. */
    if (console->has_reader) {
        transport_shutdown(console->connection);
        pthread_join(console->reader, NULL);
    }
    transport_close(console->connection);
    pthread_cond_destroy(&console->changed);
    pthread_mutex_destroy(&console->lock);
    console->connection = NULL;
}

/* ---- the side of the user ---- */

struct user {
    struct mf_channel channel;
    pthread_mutex_t lock; /* for what follows, and to send */
    pthread_cond_t changed;
    pthread_t input, stopper;
    uint32_t wanted; /* bytes of input */
    bool done;
    int cancel_fd, wake[2];
};

/* Waits for input as long as it is wanted; 0: there is none any more. */
static size_t read_input(struct user *user, uint8_t *data, size_t len)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = user->wake[0], .events = POLLIN},
                               {.fd = STDIN_FILENO, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return 0;
        if (fds[0].revents != 0)
            return 0;
        if (fds[1].revents == 0)
            continue;
        ssize_t n = read(STDIN_FILENO, data, len);
        if (n >= 0 || (errno != EINTR && errno != EAGAIN))
            return n > 0 ? (size_t)n : 0;
    }
}

static void *send_input(void *argument)
{
    static const size_t most = MESSAGE_MAX;
    struct user *user = argument;
    uint8_t *data = malloc(most);
    struct mf_error ignored;

    pthread_mutex_lock(&user->lock);
    while (data != NULL && !user->done) {
        if (user->wanted == 0) {
            pthread_cond_wait(&user->changed, &user->lock);
            continue;
        }
        size_t len = user->wanted < most ? user->wanted : most;
        pthread_mutex_unlock(&user->lock);
        len = read_input(user, data, len);
        pthread_mutex_lock(&user->lock);
        user->wanted = 0;
        if (!user->done)
            send_message(&user->channel, 'I', data, len, &ignored);
    }
    pthread_mutex_unlock(&user->lock);
    free(data);
    return NULL;
}

static void *send_stop(void *argument)
{
    struct user *user = argument;
    struct mf_error ignored;
    struct pollfd fds[] = {{.fd = user->wake[0], .events = POLLIN},
                           {.fd = user->cancel_fd, .events = POLLIN}};

    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    if (fds[0].revents == 0) {
        pthread_mutex_lock(&user->lock);
        send_message(&user->channel, 'K', NULL, 0, &ignored);
        pthread_mutex_unlock(&user->lock);
    }
    return NULL;
}

/* Waits for room, but not after a signal. */
static bool wait_for_room(const struct user *user, int fd)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLOUT},
                           {.fd = user->cancel_fd, .events = POLLIN}};

    while (poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    return fds[0].revents != 0;
}

/* The guest's output; what cannot be written is lost, and the guest is told. */
static void write_output(struct user *user, int fd, const uint8_t *data, size_t len)
{
    const uint8_t closed = (uint8_t)fd;
    struct mf_error ignored;

    while (len > 0 && wait_for_room(user, fd)) {
        /* poll promises room for PIPE_BUF bytes; more could block. */
        ssize_t n = write(fd, data, len < PIPE_BUF ? len : PIPE_BUF);
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            pthread_mutex_lock(&user->lock);
            send_message(&user->channel, 'C', &closed, 1, &ignored);
            pthread_mutex_unlock(&user->lock);
            return;
        }
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static int read_ending(const struct head *head, const uint8_t *data, int *status,
                       struct mf_error *err)
{
    struct ending ending;
    char *text;

    if (head->len < sizeof ending)
        return mf_fail(err, MF_E_PEER, "the receiver does not say how the guest ended");
    memcpy(&ending, data, sizeof ending);
    *status = ending.status & 0xff;
    if (ending.code >= 0)
        return MF_OK;
    text = text_to_utf8((const char *)data + sizeof ending, head->len - sizeof ending);
    mf_fail(err, ending.code, "%s", text != NULL ? text : "");
    free(text);
    return ending.code;
}

static int serve(struct user *user, int *status, struct mf_error *err)
{
    uint8_t *data = malloc(MESSAGE_MAX);
    struct head head;
    int rc = data != NULL ? MF_OK : mf_fail(err, MF_E_NO_MEMORY, "out of memory");

    while (rc == MF_OK) {
        rc = receive_message(&user->channel, &head, data, err);
        if (rc != MF_OK)
            break;
        if (head.type == 'X') {
            rc = read_ending(&head, data, status, err);
            break;
        }
        if (head.type == 'O' || head.type == 'E') {
            write_output(user, head.type == 'O' ? STDOUT_FILENO : STDERR_FILENO, data, head.len);
        } else if (head.type == 'R' && head.len == sizeof user->wanted) {
            pthread_mutex_lock(&user->lock);
            memcpy(&user->wanted, data, sizeof user->wanted);
            pthread_cond_broadcast(&user->changed);
            pthread_mutex_unlock(&user->lock);
        } else {
            rc = mf_fail(err, MF_E_PEER, "the receiver sent what this console does not know");
        }
    }
    free(data);
    return rc;
}

int console_user_serve(struct transport_connection *connection, int cancel_fd, int *status,
                       struct mf_error *err)
{
    struct user user = {.cancel_fd = cancel_fd};

    if (pipe(user.wake) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a pipe");
    transport_channel(connection, &user.channel);
    pthread_mutex_init(&user.lock, NULL);
    pthread_cond_init(&user.changed, NULL);
    bool has_input = pthread_create(&user.input, NULL, send_input, &user) == 0;
    bool has_stopper = pthread_create(&user.stopper, NULL, send_stop, &user) == 0;
    int rc = has_input && has_stopper
                 ? serve(&user, status, err)
                 : mf_fail(err, MF_E_SYSTEM, "cannot start the threads of the console");
    pthread_mutex_lock(&user.lock);
    user.done = true;
    pthread_cond_broadcast(&user.changed);
    pthread_mutex_unlock(&user.lock);
    close(user.wake[1]);
    if (has_input)
        pthread_join(user.input, NULL);
    if (has_stopper)
        pthread_join(user.stopper, NULL);
    close(user.wake[0]);
    pthread_cond_destroy(&user.changed);
    pthread_mutex_destroy(&user.lock);
    return rc;
}
