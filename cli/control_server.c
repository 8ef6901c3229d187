/*
 * The thread of the control socket: one poll loop over the listener, at most 16 clients and
 * a descriptor by which others wake it. Clients are of the same user (SO_PEERCRED), and
 * still nothing that one does, or leaves out, makes the thread wait, or takes more memory than a
 * line each way: one who sends no request, or does not read what it asked for, is
 * disconnected after IDLE_NS, and makes room for others, who wait to be accepted until then.
 */
#include "control_inside.h"
#include "report.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)

/* How long a connection may go without a request, or with an answer that nobody reads. */
#define IDLE_NS (3000 * NS_PER_MS)

/* How long answers are waited for to be read when the command ends. */
#define LAST_NS (2000 * NS_PER_MS)

/* Without a descriptor for a connection, how long before the next try. */
#define REFUSE_NS (100 * NS_PER_MS)

/* Events are left out for a client with so much to read; answers are not. */
#define QUEUE_EVENTS_MAX ((size_t)64 << 10)

/* The fixed places in the array of poll; clients follow. */
enum { POLL_WAKE, POLL_LISTENER, POLL_CLIENTS };

/* ---- one client ---- */

static void close_client(struct control_client *client)
{
    if (client->operation != NULL) {
        control_operation_cancel(client->operation);
        client->operation->client = NULL;
    }
    close(client->fd);
    control_lines_fini(&client->lines);
    free(client->out);
    *client = (struct control_client){.fd = -1};
}

static bool make_room(struct control_client *client, size_t len)
{
    if (client->out_done > 0) {
        memmove(client->out, client->out + client->out_done, client->out_len - client->out_done);
        client->out_len -= client->out_done;
        client->out_done = 0;
    }
    if (client->out_allocated - client->out_len >= len)
        return true;
    char *out = realloc(client->out, client->out_len + len);
    if (out == NULL)
        return false;
    client->out = out;
    client->out_allocated = client->out_len + len;
    return true;
}

void control_send(struct control_client *client, json_t *object, bool optional)
{
    if (optional && client->out_len - client->out_done > QUEUE_EVENTS_MAX) {
        json_decref(object);
        return;
    }
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    size_t len = text != NULL ? strlen(text) : 0;
    json_decref(object);
    if (text == NULL || !make_room(client, len + 1)) {
        client->ending = true;
    } else {
        memcpy(client->out + client->out_len, text, len);
        client->out[client->out_len + len] = '\n';
        client->out_len += len + 1;
    }
    free(text);
}

void control_answer(struct control_client *client, int status, json_t *result,
                    const struct mf_error *err)
{
    json_t *object;

    if (status == MF_OK) {
        object = json_pack("{s:b}", "ok", 1);
        if (object != NULL && result != NULL)
            json_object_update(object, result);
    } else {
        object = json_pack("{s:b, s:o}", "ok", 0, "error", report_error_json(err));
    }
    json_decref(result);
    client->since_ns = report_now();
    control_send(client, object, false);
}

static void write_out(struct control_client *client)
{
    while (client->out_done < client->out_len) {
        ssize_t n = send(client->fd, client->out + client->out_done,
                         client->out_len - client->out_done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            close_client(client);
        if (n < 0)
            return;
        client->out_done += (size_t)n;
    }
    if (client->ending)
        close_client(client);
}

/* ---- requests ---- */

static void take_request(struct control *control, struct control_client *client, const char *line,
                         size_t len)
{
    struct control_request request;
    struct mf_error err = {0};
    struct control_target *target = NULL;
    json_t *result = NULL;

    int status = control_request_decode(control_commands, control_ncommands, line, len, &request,
                                        &err);
    if (status == MF_OK && request.target != NULL) {
        target = control_find(control, request.target);
        if (target == NULL)
            status = mf_fail(&err, MF_E_NO_FUNCTION, "no sandbox called '%s' is running here",
                             request.target);
    }
    if (status == MF_OK && request.command->run != NULL) {
        status = control_begin(client, target, request.command, request.json, &err);
        if (status == MF_OK)
            return;
    } else if (status == MF_OK) {
        status = request.command->answer(control, target, request.json, &result, &err);
    }
    control_answer(client, status, result, &err);
    json_decref(request.json);
}

/* Requests that have come in whole, until one of them takes time. */
static void take_requests(struct control *control, struct control_client *client)
{
    const char *line;
    size_t len;

    while (client->operation == NULL && !client->ending &&
           client->out_len - client->out_done <= QUEUE_EVENTS_MAX &&
           (line = control_lines_next(&client->lines, &len)) != NULL)
        take_request(control, client, line, len);
}

static void refuse_line(struct control_client *client)
{
    struct mf_error err;

    mf_fail(&err, MF_E_TOO_LARGE, "a request has at most %zu bytes", CONTROL_LINE_MAX);
    control_answer(client, err.code, NULL, &err);
    client->ending = true;
}

/* One read for each round, so that none keeps the others waiting. */
static void read_in(struct control *control, struct control_client *client)
{
    size_t space;
    char *room = control_lines_room(&client->lines, &space);

    if (room == NULL) {
        refuse_line(client);
        return;
    }
    ssize_t n = recv(client->fd, room, space, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        /* Whoever has said all still reads the answers. */
        if (n == 0 && client->out_done < client->out_len)
            client->ending = true;
        else
            close_client(client);
        return;
    }
    control_lines_add(&client->lines, (size_t)n);
    take_requests(control, client);
}

static void serve_client(struct control *control, struct control_client *client, short events)
{
    if ((events & POLLOUT) != 0)
        write_out(client);
    if (client->fd >= 0 && (events & POLLIN) != 0)
        read_in(control, client);
    /* POLLRDHUP is asked for while an operation goes on. */
    else if (client->fd >= 0 && (events & (POLLHUP | POLLERR | POLLNVAL | POLLRDHUP)) != 0)
        close_client(client);
}

/* ---- all clients ---- */

static bool is_own_user(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

static struct control_client *free_place(struct control *control)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (control->clients[i].fd < 0)
            return &control->clients[i];
    }
    return NULL;
}

static void accept_client(struct control *control)
{
    struct control_client *client = free_place(control);
    int fd = client != NULL
                 ? accept4(control->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)
                 : -1;

    if (fd < 0) {
        if (client != NULL && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            control->refuse_until_ns = report_now() + REFUSE_NS;
        return;
    }
    if (!is_own_user(fd)) {
        close(fd);
        return;
    }
    *client = (struct control_client){.fd = fd, .since_ns = report_now()};
    control_lines_init(&client->lines, CONTROL_LINE_MAX);
}

static short events_of(const struct control_client *client)
{
    short events = client->out_done < client->out_len ? POLLOUT : 0;

    if (client->operation != NULL)
        return events | POLLRDHUP;
    /* Nobody who does not read is asked for more. */
    return client->ending || events != 0 ? events : POLLIN;
}

/* Disconnects who has been idle for too long; returns when the next one will have been. */
static uint64_t drop_idle(struct control *control, uint64_t now)
{
    uint64_t next = UINT64_MAX;

    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct control_client *client = &control->clients[i];
        if (client->fd < 0 || client->operation != NULL)
            continue;
        uint64_t end = client->since_ns + IDLE_NS;
        if (now >= end)
            close_client(client);
        else if (end < next)
            next = end;
    }
    return next;
}

/* Fills the array of poll; returns how long poll may wait, in ms. */
static int prepare_poll(struct control *control, struct pollfd *fds)
{
    uint64_t now = report_now(), next = drop_idle(control, now);
    bool accepts = free_place(control) != NULL;

    if (control->refuse_until_ns > now) {
        accepts = false;
        next = control->refuse_until_ns < next ? control->refuse_until_ns : next;
    }
    fds[POLL_WAKE] = (struct pollfd){.fd = control->wake_fd, .events = POLLIN};
    fds[POLL_LISTENER] =
        (struct pollfd){.fd = accepts ? control->listener : -1, .events = POLLIN};
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        fds[POLL_CLIENTS + i] = (struct pollfd){.fd = control->clients[i].fd,
                                                .events = events_of(&control->clients[i])};
    return next == UINT64_MAX ? -1 : (int)((next - now) / NS_PER_MS) + 1;
}

static void finish_operations(struct control *control)
{
    for (struct control_target *target = control->targets; target != NULL; target = target->next) {
        if (target->operation != NULL && target->operation->done)
            control_finish(target->operation);
    }
    /* What its client has sent meanwhile. */
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (control->clients[i].fd >= 0)
            take_requests(control, &control->clients[i]);
    }
}

static void serve_round(struct control *control, const struct pollfd *fds)
{
    uint64_t count;

    if (fds[POLL_WAKE].revents != 0) {
        ssize_t n = read(control->wake_fd, &count, sizeof count);
        (void)n;
    }
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct control_client *client = &control->clients[i];
        if (client->fd >= 0 && client->fd == fds[POLL_CLIENTS + i].fd &&
            fds[POLL_CLIENTS + i].revents != 0)
            serve_client(control, client, fds[POLL_CLIENTS + i].revents);
    }
    if (fds[POLL_LISTENER].revents != 0)
        accept_client(control);
    finish_operations(control);
}

/* Answers that were given are read, or LAST_NS have passed. */
static void write_last(struct control *control)
{
    uint64_t end = report_now() + LAST_NS;
    struct pollfd fds[CONTROL_CLIENTS_MAX];

    for (uint64_t now = report_now(); now < end; now = report_now()) {
        bool left = false;
        for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
            struct control_client *client = &control->clients[i];
            if (client->fd >= 0)
                write_out(client);
            bool waits = client->fd >= 0 && client->out_done < client->out_len;
            fds[i] = (struct pollfd){.fd = waits ? client->fd : -1, .events = POLLOUT};
            left |= waits;
        }
        if (!left)
            break;
        poll(fds, CONTROL_CLIENTS_MAX, (int)((end - now) / NS_PER_MS) + 1);
    }
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (control->clients[i].fd >= 0)
            close_client(&control->clients[i]);
    }
}

void *control_serve(void *context)
{
    struct control *control = context;
    struct pollfd fds[POLL_CLIENTS + CONTROL_CLIENTS_MAX];

    pthread_mutex_lock(&control->lock);
    while (!control->closing) {
        int timeout_ms = prepare_poll(control, fds);
        pthread_mutex_unlock(&control->lock);
        int n = poll(fds, POLL_CLIENTS + CONTROL_CLIENTS_MAX, timeout_ms);
        pthread_mutex_lock(&control->lock);
        if (n > 0)
            serve_round(control, fds);
    }
    /* All targets are gone, and with them all operations. */
    write_last(control);
    pthread_mutex_unlock(&control->lock);
    return NULL;
}
