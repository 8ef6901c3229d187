/* One connection to `mayfly receive`; see receive_session.h. */
#include "receive_session.h"
#include "console.h"
#include "guestio.h"
#include "moving.h"
#include "names.h"
#include "report.h"
#include "text.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 128
#define LINE_MS        10000
#define CONSOLE_NS     UINT64_C(60000000000)

struct session {
    struct session *next;
    struct receiver *receiver;
    struct transport_connection *connection;
    struct moving moving; /* when it goes on from here */
    struct control_target *target;
    _Atomic(struct mf_sandbox *) sandbox;
    uint64_t memory_bytes;
    char name[NAMES_LEN_MAX + 1];
    struct console_guest console;
    bool has_console;
    struct guestio io;
    struct mf_error err;
};

/* ---- words for the person who started the receiver ---- */

static void say(const struct session *session, const char *what, const char *more)
{
    fprintf(stderr, "mayfly receive: ");
    text_print_line_safe(stderr, session->name[0] != '\0' ? session->name
                                                          : transport_peer(session->connection));
    fprintf(stderr, " %s", what);
    text_print_line_safe(stderr, more);
    fputc('\n', stderr);
}

/* ---- consoles ---- */

/* Drops those that nobody came for. */
static void expire_consoles(struct receiver *receiver, uint64_t now)
{
    for (size_t i = 0; i < RECEIVER_CONSOLES; i++) {
        struct waiting_console *console = &receiver->consoles[i];
        if (console->connection != NULL && now - console->since_ns > CONSOLE_NS) {
            transport_close(console->connection);
            console->connection = NULL;
        }
    }
}

static bool keep_console(struct session *session, const char *token)
{
    struct receiver *receiver = session->receiver;
    struct waiting_console *place = NULL;
    uint64_t now = report_now();

    pthread_mutex_lock(&receiver->lock);
    expire_consoles(receiver, now);
    for (size_t i = 0; i < RECEIVER_CONSOLES && place == NULL; i++)
        if (receiver->consoles[i].connection == NULL)
            place = &receiver->consoles[i];
    if (place != NULL) {
        place->connection = session->connection;
        place->since_ns = now;
        snprintf(place->token, sizeof place->token, "%s", token);
    }
    pthread_mutex_unlock(&receiver->lock);
    return place != NULL;
}

static struct transport_connection *take_console(struct receiver *receiver, const char *token)
{
    struct transport_connection *found = NULL;

    pthread_mutex_lock(&receiver->lock);
    for (size_t i = 0; i < RECEIVER_CONSOLES && found == NULL; i++) {
        struct waiting_console *console = &receiver->consoles[i];
        if (console->connection != NULL && strcmp(console->token, token) == 0) {
            found = console->connection;
            console->connection = NULL;
        }
    }
    pthread_mutex_unlock(&receiver->lock);
    return found;
}

/* True when the connection is somebody else's from now on. */
static bool serve_console(struct session *session, const char *token)
{
    struct mf_channel channel;
    struct mf_error ignored;

    if (strlen(token) != MOVING_TOKEN)
        return false;
    transport_channel(session->connection, &channel);
    /* A few bytes into an empty buffer. */
    if (channel.write(channel.context, MOVING_LINE_OK, strlen(MOVING_LINE_OK), LINE_MS,
                      &ignored) != (long)strlen(MOVING_LINE_OK))
        return false;
    if (!keep_console(session, token))
        return false;
    session->connection = NULL;
    return true;
}

/* ---- programs that came before ---- */

static struct mf_image *find_image(void *context, const uint8_t digest[MF_DIGEST_BYTES])
{
    struct receiver *receiver = ((struct session *)context)->receiver;
    struct mf_image *found = NULL;

    pthread_mutex_lock(&receiver->lock);
    for (size_t i = 0; i < receiver->nimages && found == NULL; i++)
        if (memcmp(receiver->images[i].digest, digest, MF_DIGEST_BYTES) == 0)
            found = mf_image_hold(receiver->images[i].image);
    pthread_mutex_unlock(&receiver->lock);
    return found;
}

static void remember_image(struct receiver *receiver, const struct mf_migrate_offer *offer)
{
    bool known = false;

    pthread_mutex_lock(&receiver->lock);
    for (size_t i = 0; i < receiver->nimages && !known; i++)
        known = memcmp(receiver->images[i].digest, offer->image_digest, MF_DIGEST_BYTES) == 0;
    if (!known && receiver->nimages == RECEIVER_IMAGES) {
        mf_image_close(receiver->images[0].image);
        memmove(receiver->images, receiver->images + 1,
                (RECEIVER_IMAGES - 1) * sizeof receiver->images[0]);
        receiver->nimages--;
    }
    if (!known) {
        struct received_image *place = &receiver->images[receiver->nimages++];
        place->image = mf_image_hold(offer->image);
        memcpy(place->digest, offer->image_digest, MF_DIGEST_BYTES);
    }
    pthread_mutex_unlock(&receiver->lock);
}

/* ---- what a sandbox that came in is here ---- */

static struct mf_sandbox *target_sandbox(void *context)
{
    return atomic_load(&((struct session *)context)->sandbox);
}

static uint64_t target_memory(void *context)
{
    return ((const struct session *)context)->memory_bytes;
}

static void stop_session(void *context)
{
    struct session *session = context;
    struct mf_sandbox *sandbox = atomic_load(&session->sandbox);

    if (sandbox != NULL)
        mf_sandbox_interrupt(sandbox);
}

/* The name that it had, or with a number behind it when another one here has that. */
static int give_name(struct session *session)
{
    char wanted[NAMES_LEN_MAX + 1];
    struct control_target_options options = {
        .name = session->name,
        .kind = "run",
        .sandbox = target_sandbox,
        .memory_bytes = target_memory,
        .stop = stop_session,
        .moving = &session->moving,
        .context = session,
    };
    int status;

    snprintf(wanted, sizeof wanted, "%s", session->name);
    for (unsigned n = 2;; n++) {
        status = control_add(session->receiver->control, &options, &session->target,
                             &session->err);
        if (status != MF_E_BUSY || n > 100)
            return status;
        snprintf(session->name, sizeof session->name, "%.*s-%u", NAMES_LEN_MAX - 4, wanted, n);
    }
}

static int read_label(struct session *session, const struct mf_migrate_offer *offer,
                      struct mf_error *err)
{
    json_error_t ignored;
    json_t *label = json_loadb(offer->label, offer->label_len, 0, &ignored);
    const char *kind = json_string_value(json_object_get(label, "kind"));
    const char *name = json_string_value(json_object_get(label, "name"));
    const char *token = json_string_value(json_object_get(label, "console"));
    struct transport_connection *console = NULL;
    int status = MF_OK;

    if (kind == NULL || strcmp(kind, "run") != 0)
        status = mf_fail(err, MF_E_REFUSED, "this receiver runs programs of 'mayfly run' only");
    else if (name == NULL || !names_are_valid(name, strlen(name)))
        status = mf_fail(err, MF_E_REFUSED, "the sandbox has no name that could be one here");
    else
        snprintf(session->name, sizeof session->name, "%s", name);
    if (status == MF_OK && token != NULL) {
        console = take_console(session->receiver, token);
        if (console == NULL)
            status = mf_fail(err, MF_E_REFUSED, "its console is not here");
    }
    if (status == MF_OK && console != NULL) {
        status = console_guest_open(&session->console, console, stop_session, session, err);
        session->has_console = true;
    }
    json_decref(label);
    return status;
}

static int check_room(struct session *session, struct mf_error *err)
{
    struct receiver *receiver = session->receiver;
    int status = MF_OK;

    pthread_mutex_lock(&receiver->lock);
    if (receiver->stopping)
        status = mf_fail(err, MF_E_REFUSED, "the receiver is about to end");
    else if (receiver->running >= receiver->most)
        status = mf_fail(err, MF_E_REFUSED, "the receiver has %u sandboxes, and takes no more",
                         receiver->running);
    pthread_mutex_unlock(&receiver->lock);
    return status;
}

static ssize_t read_nothing(void *context, void *buf, size_t len)
{
    (void)context, (void)buf, (void)len;
    return 0;
}

static int accept_offer(void *context, const struct mf_migrate_offer *offer, struct mf_host **host,
                        struct mf_sandbox_options *options, struct mf_error *err)
{
    struct session *session = context;
    const struct cli_options *given = session->receiver->options;
    int status = check_room(session, err);

    (void)host;
    if (status == MF_OK)
        status = read_label(session, offer, err);
    if (status != MF_OK)
        return status;
    remember_image(session->receiver, offer);
    session->memory_bytes = offer->memory_bytes;
    options->backend = given->backend;
    options->max_output_bytes = UINT64_MAX;
    guestio_init(&session->io, &options->io);
    if (session->has_console) {
        options->io.context = &session->console;
        options->io.read = console_guest_read;
        options->io.write = console_guest_write;
    } else {
        options->io.read = read_nothing;
    }
    return MF_OK;
}

/* ---- its life ---- */

static void count_running(struct receiver *receiver, int change)
{
    pthread_mutex_lock(&receiver->lock);
    receiver->running = (unsigned)((int)receiver->running + change);
    receiver->received += change > 0;
    pthread_mutex_unlock(&receiver->lock);
}

static void end_guest(struct session *session, int rc, int status)
{
    char text[64];

    if (rc == MF_E_MOVED && session->moving.state != MOVING_NOT) {
        moving_finish(&session->moving, "receive", atomic_load(&session->sandbox),
                      session->has_console ? &session->console : NULL, false);
        return;
    }
    if (session->has_console)
        console_guest_end(&session->console, rc == MF_OK ? 0 : rc, status,
                          rc == MF_OK ? "" : session->err.message);
    if (rc != MF_OK) {
        say(session, "was stopped: ", session->err.message);
        return;
    }
    snprintf(text, sizeof text, "%d", status);
    say(session, "has ended with status ", text);
}

static void run_guest(struct session *session)
{
    struct mf_value result = mf_void();
    struct mf_sandbox *sandbox = atomic_load(&session->sandbox);
    int status = 0, rc = MF_OK;

    if (give_name(session) != MF_OK)
        say(session, "has no name here: ", session->err.message);
    say(session, "has come from ", transport_peer(session->connection));
    if (mf_sandbox_stopped(sandbox) == MF_STOPPED_NOTHING)
        rc = mf_sandbox_run(sandbox, &status, &session->err);
    else
        rc = mf_sandbox_resume(sandbox, &result, &status, &session->err);
    end_guest(session, rc, status);
    /* The pages of a guest that ended early may still be on their way. */
    mf_migrate_wait(sandbox, UINT64_MAX / 4, NULL);
    control_remove(session->receiver->control, session->target);
}

static void serve_migration(struct session *session)
{
    const struct cli_options *given = session->receiver->options;
    struct mf_migrate_in_options options = {
        .size = sizeof options,
        .memory_limit = given->memory_limit,
        .accept = accept_offer,
        .find_image = find_image,
        .context = session,
    };
    struct mf_sandbox *sandbox = NULL;
    struct mf_channel channel;

    transport_channel(session->connection, &channel);
    count_running(session->receiver, 1);
    if (mf_migrate_in(&channel, &options, &sandbox, &session->err) == MF_OK) {
        atomic_store(&session->sandbox, sandbox);
        run_guest(session);
        atomic_store(&session->sandbox, NULL);
        mf_sandbox_destroy(sandbox);
    } else {
        say(session, "did not come in: ", session->err.message);
    }
    count_running(session->receiver, -1);
}

/* The first line, without its newline. */
static bool read_line(struct session *session, char line[LINE_MAX_BYTES])
{
    struct mf_channel channel;
    size_t len = 0;

    transport_channel(session->connection, &channel);
    while (len < LINE_MAX_BYTES - 1) {
        if (channel.read(channel.context, line + len, 1, LINE_MS, &session->err) != 1)
            return false;
        if (line[len] == '\n') {
            line[len] = '\0';
            return true;
        }
        len++;
    }
    return false;
}

static void serve(struct session *session)
{
    static const char migrate[] = MOVING_LINE_MIGRATE;
    char line[LINE_MAX_BYTES];

    if (!read_line(session, line)) {
        say(session, "said nothing that is known here", "");
        return;
    }
    if (strncmp(line, migrate, sizeof migrate - 2) == 0 && strlen(line) == sizeof migrate - 2)
        serve_migration(session);
    else if (strncmp(line, MOVING_LINE_CONSOLE, strlen(MOVING_LINE_CONSOLE)) == 0)
        serve_console(session, line + strlen(MOVING_LINE_CONSOLE));
    else
        say(session, "said nothing that is known here", "");
}

/* ---- sessions ---- */

static void link_session(struct session *session)
{
    struct receiver *receiver = session->receiver;

    pthread_mutex_lock(&receiver->lock);
    session->next = receiver->first;
    receiver->first = session;
    receiver->sessions++;
    pthread_mutex_unlock(&receiver->lock);
}

static void unlink_session(struct session *session)
{
    struct receiver *receiver = session->receiver;
    struct session **at = &receiver->first;

    pthread_mutex_lock(&receiver->lock);
    while (*at != session)
        at = &(*at)->next;
    *at = session->next;
    receiver->sessions--;
    pthread_cond_broadcast(&receiver->changed);
    pthread_mutex_unlock(&receiver->lock);
}

static void *run_session(void *argument)
{
    struct session *session = argument;

    serve(session);
    unlink_session(session);
    console_guest_close(&session->console);
    transport_close(session->connection);
    moving_fini(&session->moving);
    free(session);
    return NULL;
}

void receiver_serve(struct receiver *receiver, struct transport_connection *connection)
{
    struct session *session = calloc(1, sizeof *session);
    pthread_attr_t attr;
    pthread_t thread;

    if (session == NULL) {
        transport_close(connection);
        return;
    }
    session->receiver = receiver;
    session->connection = connection;
    moving_init(&session->moving);
    link_session(session);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, run_session, session) != 0) {
        say(session, "cannot be served: no thread", "");
        unlink_session(session);
        transport_close(connection);
        moving_fini(&session->moving);
        free(session);
    }
    pthread_attr_destroy(&attr);
}

int receiver_init(struct receiver *receiver, const struct cli_options *options,
                  struct mf_error *err)
{
    memset(receiver, 0, sizeof *receiver);
    receiver->options = options;
    receiver->most = options->max;
    pthread_mutex_init(&receiver->lock, NULL);
    pthread_cond_init(&receiver->changed, NULL);
    return control_open(&receiver->control, err);
}

void receiver_fini(struct receiver *receiver)
{
    pthread_mutex_lock(&receiver->lock);
    receiver->stopping = true;
    for (struct session *s = receiver->first; s != NULL; s = s->next) {
        stop_session(s);
        if (atomic_load(&s->sandbox) == NULL)
            transport_shutdown(s->connection);
    }
    while (receiver->sessions > 0)
        pthread_cond_wait(&receiver->changed, &receiver->lock);
    pthread_mutex_unlock(&receiver->lock);
    control_close(receiver->control);
    for (size_t i = 0; i < RECEIVER_CONSOLES; i++)
        transport_close(receiver->consoles[i].connection);
    for (size_t i = 0; i < receiver->nimages; i++)
        mf_image_close(receiver->images[i].image);
    pthread_cond_destroy(&receiver->changed);
    pthread_mutex_destroy(&receiver->lock);
}
