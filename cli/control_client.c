/* Asking a control socket: one request, events, one answer. */
#include "control_client.h"
#include "names.h"
#include "report.h"
#include "text.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- finding one ---- */

/* "; did you mean 'job1'?" behind the message that nobody is called so. */
static void add_near_name(int dir, const char *name, struct mf_error *err)
{
    struct mf_error ignored;
    char **names = NULL;
    int n = names_list(dir, &names, &ignored);

    for (int i = 0; i < n; i++) {
        if (strcmp(names[i], name) == 0 || !text_is_near(name, names[i]))
            continue;
        mf_fail(err, MF_E_NO_FUNCTION, "no sandbox called '%s' is running; did you mean '%s'?",
                name, names[i]);
        break;
    }
    names_free(names, n);
}

int control_client_open_in(struct control_client_socket *client, int dir, const char *name,
                           struct mf_error *err)
{
    control_lines_init(&client->lines, CONTROL_ANSWER_MAX);
    client->fd = names_connect(dir, name, err);
    return client->fd >= 0 ? MF_OK : client->fd;
}

int control_client_open(struct control_client_socket *client, const char *name,
                        struct mf_error *err)
{
    int dir;
    int status = names_check(name, err);

    control_lines_init(&client->lines, CONTROL_ANSWER_MAX);
    client->fd = -1;
    if (status == MF_OK)
        status = names_open(false, &dir, err);
    if (status != MF_OK)
        return status;
    if (dir < 0)
        return mf_fail(err, MF_E_NO_FUNCTION, "no sandbox called '%s' is running", name);
    status = control_client_open_in(client, dir, name, err);
    if (status == MF_E_NO_FUNCTION)
        add_near_name(dir, name, err);
    close(dir);
    return status;
}

void control_client_close(struct control_client_socket *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    control_lines_fini(&client->lines);
}

bool control_client_finds(const char *name)
{
    struct control_client_socket client;
    struct mf_error err;

    bool found = control_client_open(&client, name, &err) == MF_OK;
    control_client_close(&client);
    return found;
}

/* ---- asking it ---- */

static int broken(struct mf_error *err, const char *why)
{
    return mf_fail(err, MF_E_SYSTEM, "the connection to the sandbox broke: %s", why);
}

/* MF_E_DEADLINE when `fd` is not ready in time. */
static int wait_ready(int fd, short events, int timeout_ms, struct mf_error *err)
{
    struct pollfd pollfd = {.fd = fd, .events = events};
    uint64_t end = report_now() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * 1000000;

    for (;;) {
        int n = poll(&pollfd, 1, timeout_ms);
        if (n > 0)
            return MF_OK;
        if (n < 0 && errno != EINTR)
            return broken(err, strerror(errno));
        uint64_t now = report_now();
        if (timeout_ms >= 0 && now >= end)
            return mf_fail(err, MF_E_DEADLINE, "it does not answer (its process may be stopped)");
        if (timeout_ms >= 0)
            timeout_ms = (int)((end - now) / 1000000) + 1;
    }
}

static int send_request(struct control_client_socket *client, const json_t *request,
                        struct mf_error *err)
{
    char *text = json_dumps(request, JSON_COMPACT);
    size_t len = text != NULL ? strlen(text) : 0, done = 0;
    int status = MF_OK;

    if (text == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    text[len++] = '\n'; /* in the place of the NUL */
    while (status == MF_OK && done < len) {
        ssize_t n = send(client->fd, text + done, len - done, MSG_NOSIGNAL);
        if (n >= 0)
            done += (size_t)n;
        else if (errno == EAGAIN)
            status = wait_ready(client->fd, POLLOUT, CONTROL_QUICK_MS, err);
        else if (errno != EINTR)
            status = broken(err, strerror(errno));
    }
    free(text);
    return status;
}

static int receive_line(struct control_client_socket *client, int timeout_ms, json_t **line,
                        struct mf_error *err)
{
    const char *text;
    size_t len, space;

    while ((text = control_lines_next(&client->lines, &len)) == NULL) {
        char *room = control_lines_room(&client->lines, &space);
        if (room == NULL)
            return mf_fail(err, MF_E_PROTOCOL, "what the sandbox answers is too long");
        int status = wait_ready(client->fd, POLLIN, timeout_ms, err);
        if (status != MF_OK)
            return status;
        ssize_t n = recv(client->fd, room, space, 0);
        if (n == 0)
            return broken(err, "it has ended");
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return broken(err, strerror(errno));
        if (n > 0)
            control_lines_add(&client->lines, (size_t)n);
    }
    *line = json_loadb(text, len, 0, NULL);
    if (json_is_object(*line))
        return MF_OK;
    json_decref(*line);
    return mf_fail(err, MF_E_PROTOCOL, "what the sandbox answers is no object of JSON");
}

/* What the server says went wrong. */
static int error_of(const json_t *answer, struct mf_error *err)
{
    const json_t *error = json_object_get(answer, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    json_int_t code = json_integer_value(json_object_get(error, "code"));

    if (message == NULL || code >= 0 || code < -1000)
        return mf_fail(err, MF_E_PROTOCOL, "the sandbox answers with an error that says nothing");
    return mf_fail(err, (int)code, "%s", message);
}

int control_client_call(struct control_client_socket *client, json_t *request, int timeout_ms,
                        void (*event)(void *context, const json_t *event), void *context,
                        json_t **answer, struct mf_error *err)
{
    json_t *line = NULL;
    int status = request != NULL ? send_request(client, request, err)
                                 : mf_fail(err, MF_E_NO_MEMORY, "out of memory");

    json_decref(request);
    while (status == MF_OK) {
        status = receive_line(client, timeout_ms, &line, err);
        if (status != MF_OK || json_object_get(line, "ok") != NULL)
            break;
        if (event != NULL)
            event(context, line);
        json_decref(line);
    }
    if (status != MF_OK)
        return status;
    if (!json_is_true(json_object_get(line, "ok"))) {
        status = error_of(line, err);
    } else if (answer != NULL) {
        *answer = line;
        return MF_OK;
    }
    json_decref(line);
    return status;
}
