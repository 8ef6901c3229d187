/* The streams of a program that has moved; see console.h. */
#include "console.h"
#include "text.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX (64u << 10)
#define SLICE_MS    100

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

/* ---- the side of the guest ---- */

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

static void *read_user(void *argument)
{
    struct console_guest *console = argument;
    uint8_t *data = malloc(MESSAGE_MAX);
    struct mf_error err;
    struct head head;
    bool good = data != NULL;

    while (good) {
        good = receive_message(&console->channel, &head, data, &err) == MF_OK;
        pthread_mutex_lock(&console->lock);
        if (good && console->onward != NULL)
            good = send_message(console->onward, (char)head.type, data, head.len, &err) == MF_OK;
        else if (good && head.type == 'I')
            good = take_input(console, data, head.len);
        else if (good && head.type == 'K')
            console->stop(console->context);
        else
            good = false;
        if (!good)
            console->broken = console->ended = true;
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

/* Waits a little for a change; the caller is asked again by the library. */
static void wait_slice(struct console_guest *console)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += SLICE_MS * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&console->changed, &console->lock, &until);
}

ssize_t console_guest_read(void *context, void *buf, size_t len)
{
    struct console_guest *console = context;
    struct mf_error ignored;
    ssize_t got = -EINTR;

    pthread_mutex_lock(&console->lock);
    if (console->len == 0 && !console->ended && !console->asked) {
        uint32_t most = (uint32_t)(len < sizeof console->input ? len : sizeof console->input);
        console->asked = true;
        if (send_message(&console->channel, 'R', &most, sizeof most, &ignored) != MF_OK)
            console->broken = console->ended = true;
    }
    if (console->len == 0 && !console->ended)
        wait_slice(console);
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

ssize_t console_guest_write(void *context, int fd, const void *buf, size_t len)
{
    struct console_guest *console = context;
    struct mf_error ignored;
    size_t part = len < MESSAGE_MAX ? len : MESSAGE_MAX;
    ssize_t done = (ssize_t)part;

    pthread_mutex_lock(&console->lock);
    if (console->broken ||
        send_message(&console->channel, fd == 2 ? 'E' : 'O', buf, part, &ignored) != MF_OK) {
        console->broken = console->ended = true;
        done = -EPIPE;
    }
    pthread_mutex_unlock(&console->lock);
    return done;
}

void console_guest_end(struct console_guest *console, int code, int status, const char *text)
{
    struct mf_error ignored;
    struct ending ending = {.code = code, .status = status};
    uint8_t data[sizeof ending + sizeof ignored.message];
    size_t len = strnlen(text, sizeof ignored.message);

    memcpy(data, &ending, sizeof ending);
    memcpy(data + sizeof ending, text, len);
    pthread_mutex_lock(&console->lock);
    if (!console->broken)
        send_message(&console->channel, 'X', data, sizeof ending + len, &ignored);
    pthread_mutex_unlock(&console->lock);
}

void console_relay(struct console_guest *console, struct transport_connection *onward)
{
    uint8_t *data = malloc(MESSAGE_MAX);
    struct mf_channel channel;
    struct mf_error err;
    struct head head = {0};
    bool good = data != NULL;

    transport_channel(onward, &channel);
    pthread_mutex_lock(&console->lock);
    /* Input that was asked for here, and that nobody has read. */
    if (good && console->len > 0)
        good = send_message(&channel, 'I', console->input + console->start, console->len, &err) ==
               MF_OK;
    console->onward = &channel;
    pthread_mutex_unlock(&console->lock);
    while (good && head.type != 'X') {
        good = receive_message(&channel, &head, data, &err) == MF_OK;
        pthread_mutex_lock(&console->lock);
        if (good)
            good = send_message(&console->channel, (char)head.type, data, head.len, &err) == MF_OK;
        pthread_mutex_unlock(&console->lock);
    }
    pthread_mutex_lock(&console->lock);
    console->onward = NULL;
    pthread_mutex_unlock(&console->lock);
    if (!good)
        console_guest_end(console, MF_E_CHANNEL, 0, "the connection to the guest broke further on");
    free(data);
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

static void write_output(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
            struct pollfd ready = {.fd = fd, .events = POLLOUT};
            poll(&ready, 1, -1);
            continue;
        }
        if (n <= 0)
            return;
        data += n;
        len -= (size_t)n;
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
            write_output(head.type == 'O' ? STDOUT_FILENO : STDERR_FILENO, data, head.len);
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
