/* One connection to `mayfly receive`; see receive_session.h. */
#include "receive_session.h"
#include "console.h"
#include "guestio.h"
#include "moving.h"
#include "names.h"
#include "receive_vm.h"
#include "report.h"
#include "text.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_BYTES 128
#define LINE_MS        10000
#define CONSOLE_NS     UINT64_C(60000000000)
#define END_MS         3000

struct session {
    struct session *next;
    struct receiver *receiver;
    struct transport_connection *connection;
    struct moving moving; /* when it goes on from here */
    struct control_target *target;
    _Atomic(struct mf_sandbox *) sandbox;
    _Atomic(struct received_vm *) vm; /* what is around it, when it is a machine */
    uint64_t memory_bytes;
    char name[NAMES_LEN_MAX + 1];
    struct console_guest console;
    bool has_console; /* changed with the receiver's lock held */
    bool counted;     /* it has one of the receiver's places */
    atomic_bool paused;   /* it was when it came, and waits for `resume` */
    atomic_bool stopping; /* it is to end as soon as it is there */
    struct guestio io;
    struct mf_error err;
};

/* ---- words for the person who started the receiver ---- */

static void say_json(const struct session *session, const char *event, const char *more)
{
    char *text = text_to_utf8(more, strlen(more));
    json_t *line = json_pack("{s:s, s:s, s:s?}", "event", event, "name", session->name, "text",
                             text);

    if (line != NULL) {
        char *bytes = json_dumps(line, JSON_COMPACT);
        printf("%s\n", bytes != NULL ? bytes : "{}");
        fflush(stdout);
        free(bytes);
    }
    json_decref(line);
    free(text);
}

static void say(const struct session *session, const char *event, const char *what,
                const char *more)
{
    if (session->receiver->options->json) {
        say_json(session, event, more);
        return;
    }
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

/* Drops those whose users have gone, as after a migration that was refused. */
static void drop_dead_consoles(struct receiver *receiver)
{
    for (size_t i = 0; i < RECEIVER_CONSOLES; i++) {
        struct waiting_console *console = &receiver->consoles[i];
        struct mf_channel channel;
        struct mf_error ignored;
        char byte;
        if (console->connection == NULL)
            continue;
        transport_channel(console->connection, &channel);
        if (channel.read(channel.context, &byte, 1, 0, &ignored) == MF_CHANNEL_TIMEOUT)
            continue;
        transport_close(console->connection);
        console->connection = NULL;
    }
}

/* Says so to its user, who sends the migration then. */
static bool confirm_console(struct transport_connection *connection)
{
    struct mf_channel channel;
    struct mf_error ignored;
    size_t len = strlen(MOVING_LINE_OK);

    transport_channel(connection, &channel);
    /* A few bytes into an empty buffer: there is nothing to wait for. */
    return channel.write(channel.context, MOVING_LINE_OK, len, 0, &ignored) == (long)len;
}

/* The connection is the receiver's from now on, unless there is no room. `token` has its length. */
static void keep_console(struct session *session, const char *token)
{
    struct receiver *receiver = session->receiver;
    struct waiting_console *place = NULL;
    uint64_t now = report_now();

    pthread_mutex_lock(&receiver->lock);
    expire_consoles(receiver, now);
    drop_dead_consoles(receiver);
    for (size_t i = 0; i < RECEIVER_CONSOLES && place == NULL; i++)
        if (receiver->consoles[i].connection == NULL)
            place = &receiver->consoles[i];
    if (place != NULL && !receiver->stopping && confirm_console(session->connection)) {
        place->connection = session->connection;
        session->connection = NULL;
        place->since_ns = now;
        memcpy(place->token, token, MOVING_TOKEN + 1);
    }
    pthread_mutex_unlock(&receiver->lock);
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
    struct received_vm *vm = atomic_load(&session->vm);

    atomic_store(&session->stopping, true);
    if (vm != NULL)
        receive_vm_stop(vm);
    else if (sandbox != NULL)
        mf_sandbox_interrupt(sandbox);
}

static int hold_session(void *context, uint64_t timeout_ns, struct mf_error *err)
{
    return mf_sandbox_pause(target_sandbox(context), timeout_ns, err);
}

/* Of one that is paused, even before it is there. */
static void release_session(void *context)
{
    struct session *session = context;
    struct mf_sandbox *sandbox = target_sandbox(context);

    atomic_store(&session->paused, false);
    if (sandbox != NULL)
        mf_sandbox_unpause(sandbox);
}

static void fill_target(struct session *session, struct control_target_options *options)
{
    struct received_vm *vm = atomic_load(&session->vm);

    *options = (struct control_target_options){
        .kind = "run",
        .sandbox = target_sandbox,
        .memory_bytes = target_memory,
        .stop = stop_session,
        .hold = hold_session,
        .release = release_session,
        .moving = &session->moving,
        .paused = session->paused,
        .context = session,
    };
    if (vm != NULL)
        receive_vm_target(vm, &session->moving, options);
    options->name = session->name;
}

/* The name that it had, or with a number behind it when another one here has that. */
static int give_name(struct session *session)
{
    char wanted[NAMES_LEN_MAX + 1];
    struct control_target_options options;
    int status;

    fill_target(session, &options);
    snprintf(wanted, sizeof wanted, "%s", session->name);
    for (unsigned n = 2;; n++) {
        status = control_add(session->receiver->control, &options, &session->target,
                             &session->err);
        if (status != MF_E_BUSY || n > 100)
            return status;
        snprintf(session->name, sizeof session->name, "%.*s-%u", NAMES_LEN_MAX - 4, wanted, n);
    }
}

static void take_name(struct session *session)
{
    if (give_name(session) == MF_OK)
        return;
    say(session, "nameless", "has no name here: ", session->err.message);
    /* Nobody could say `resume`. */
    atomic_store(&session->paused, false);
}

/* A machine stands still between its turns only: one that is paused has no way to come. */
static int make_room_for_vm(struct session *session, struct mf_error *err)
{
    struct received_vm *vm;

    if (session->paused)
        return mf_fail(err, MF_E_REFUSED, "a machine that is paused cannot come here");
    int status = receive_vm_create(session->has_console ? &session->console : NULL,
                                   session->receiver->options->json, &vm, err);
    atomic_store(&session->vm, vm);
    return status;
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

    bool is_vm = kind != NULL && strcmp(kind, "vm") == 0;

    if (!is_vm && (kind == NULL || strcmp(kind, "run") != 0))
        status = mf_fail(err, MF_E_REFUSED,
                         "this receiver takes what 'mayfly run' and 'mayfly vm' run only");
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
        session->moving.upstream = &session->console;
        pthread_mutex_lock(&session->receiver->lock);
        session->has_console = true;
        pthread_mutex_unlock(&session->receiver->lock);
    }
    session->paused = json_is_true(json_object_get(label, "paused"));
    json_decref(label);
    if (status == MF_OK && is_vm)
        status = make_room_for_vm(session, err);
    return status;
}

/* A place among those that the receiver runs, until give_place. */
static int take_place(struct session *session, struct mf_error *err)
{
    struct receiver *receiver = session->receiver;
    int status = MF_OK;

    pthread_mutex_lock(&receiver->lock);
    if (receiver->stopping)
        status = mf_fail(err, MF_E_REFUSED, "the receiver is about to end");
    else if (receiver->running >= receiver->most)
        status = mf_fail(err, MF_E_REFUSED,
                         "the receiver takes no more: it runs as many as its --max allows, %u",
                         receiver->most);
    session->counted = status == MF_OK;
    receiver->running += session->counted;
    pthread_mutex_unlock(&receiver->lock);
    return status;
}

static void give_place(struct session *session)
{
    pthread_mutex_lock(&session->receiver->lock);
    session->receiver->running -= session->counted;
    session->counted = false;
    pthread_mutex_unlock(&session->receiver->lock);
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
    int status = take_place(session, err);

    if (status == MF_OK)
        status = read_label(session, offer, err);
    if (status != MF_OK)
        return status;
    remember_image(session->receiver, offer);
    session->memory_bytes = offer->memory_bytes;
    options->backend = given->backend;
    options->max_output_bytes = UINT64_MAX;
    struct received_vm *vm = atomic_load(&session->vm);
    if (vm != NULL) {
        receive_vm_accept(vm, host, &options->io);
        return MF_OK;
    }
    /* What is printed there is for programs. */
    session->io.output_to_stderr = given->json;
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

/*
 * The source's give_state; before the commit. A program gets its name now, so that whoever has
 * moved it finds it here at once.
 */
static int take_state(void *context, const void *data, size_t len, struct mf_error *err)
{
    struct session *session = context;
    struct received_vm *vm = atomic_load(&session->vm);
    const uint8_t *bytes = data;
    size_t console_len = len;
    int status = MF_OK;

    if (vm != NULL)
        status = moving_split_state(data, len, &console_len, err);
    if (vm != NULL && status == MF_OK)
        bytes += sizeof(uint32_t);
    if (status == MF_OK && console_len > 0 && session->has_console)
        status = console_guest_load(&session->console, bytes, console_len, err);
    if (status == MF_OK && vm != NULL)
        status = receive_vm_state(vm, bytes + console_len, len - sizeof(uint32_t) - console_len,
                                  err);
    if (status == MF_OK && vm == NULL)
        take_name(session);
    return status;
}

/* ---- its life ---- */

/* It is not here any more, or will not be in a moment. */
static void drop_sandbox(struct session *session)
{
    struct mf_sandbox *sandbox = atomic_load(&session->sandbox);

    if (session->target != NULL)
        control_remove(session->receiver->control, session->target);
    session->target = NULL;
    /* receiver_fini looks at it with the lock held. */
    pthread_mutex_lock(&session->receiver->lock);
    atomic_store(&session->sandbox, NULL);
    pthread_mutex_unlock(&session->receiver->lock);
    if (atomic_load(&session->vm) != NULL)
        receive_vm_drop(atomic_load(&session->vm));
    else
        mf_sandbox_destroy(sandbox);
    give_place(session);
}

/* It goes on elsewhere, or what is left of it has to be kept. */
static void end_moved(struct session *session)
{
    if (moving_wait(&session->moving) == MOVING_THERE) {
        say(session, "moved", "has moved on to ", session->moving.where);
        drop_sandbox(session);
    }
    moving_finish(&session->moving, "receive", atomic_load(&session->sandbox), false);
}

static void end_guest(struct session *session, int rc, int status)
{
    char text[64];

    if (rc == MF_E_MOVED && moving_wait(&session->moving) != MOVING_NOT) {
        end_moved(session);
        return;
    }
    if (session->has_console && rc == MF_E_INTERRUPTED)
        console_guest_end(&session->console, rc, status, "interrupted at the receiver");
    else if (session->has_console)
        console_guest_end(&session->console, rc == MF_OK ? 0 : rc, status,
                          rc == MF_OK ? "" : session->err.message);
    if (rc != MF_OK) {
        say(session, "stopped", "was stopped: ", session->err.message);
        return;
    }
    snprintf(text, sizeof text, "%d", status);
    say(session, "ended", "has ended with status ", text);
}

static bool is_stopping(struct receiver *receiver)
{
    pthread_mutex_lock(&receiver->lock);
    bool stopping = receiver->stopping;
    pthread_mutex_unlock(&receiver->lock);
    return stopping;
}

static int run_to_end(struct session *session, int *status)
{
    struct received_vm *vm = atomic_load(&session->vm);
    struct mf_sandbox *sandbox = atomic_load(&session->sandbox);
    struct mf_value result = mf_void();

    if (vm != NULL)
        return receive_vm_run(vm, status);
    if (mf_sandbox_stopped(sandbox) == MF_STOPPED_NOTHING)
        return mf_sandbox_run(sandbox, status, &session->err);
    return mf_sandbox_resume(sandbox, &result, status, &session->err);
}

static void run_guest(struct session *session)
{
    struct mf_sandbox *sandbox = atomic_load(&session->sandbox);
    int status = 0;

    if (atomic_load(&session->vm) != NULL)
        take_name(session);
    say(session, "came", "has come from ", transport_peer(session->connection));
    if (is_stopping(session->receiver))
        control_stop_all(session->receiver->control);
    int rc = run_to_end(session, &status);
    /* The pages of a guest that ended early may still be on their way. */
    mf_migrate_wait(sandbox, UINT64_MAX / 4, NULL);
    end_guest(session, rc, status);
}

/* From now on others reach it; what they said before is made up for. */
static void arrive(struct session *session, struct mf_sandbox *sandbox)
{
    bool paused = atomic_load(&session->paused) &&
                  mf_sandbox_pause(sandbox, 0, &session->err) == MF_OK;

    atomic_store(&session->sandbox, sandbox);
    if (paused && !atomic_load(&session->paused))
        mf_sandbox_unpause(sandbox);
    if (atomic_load(&session->stopping) || is_stopping(session->receiver))
        mf_sandbox_interrupt(sandbox);
}

static void serve_migration(struct session *session)
{
    const struct cli_options *given = session->receiver->options;
    struct mf_migrate_in_options options = {
        .size = sizeof options,
        .memory_limit = given->memory_limit,
        .accept = accept_offer,
        .find_image = find_image,
        .state = take_state,
        .context = session,
    };
    struct mf_sandbox *sandbox = NULL;
    struct mf_channel channel;

    transport_channel(session->connection, &channel);
    if (mf_migrate_in(&channel, &options, &sandbox, &session->err) == MF_OK) {
        if (atomic_load(&session->vm) != NULL)
            receive_vm_arrive(atomic_load(&session->vm), sandbox);
        arrive(session, sandbox);
        run_guest(session);
    } else {
        say(session, "refused", "did not come in: ", session->err.message);
    }
    drop_sandbox(session);
}

/* The first line, without its newline. */
static bool read_line(struct session *session, char line[LINE_MAX_BYTES])
{
    struct mf_channel channel;
    size_t len = 0;

    uint64_t now = report_now(), end = now + LINE_MS * UINT64_C(1000000);

    transport_channel(session->connection, &channel);
    for (; len < LINE_MAX_BYTES - 1 && now < end; now = report_now()) {
        if (channel.read(channel.context, line + len, 1, (int)((end - now) / 1000000) + 1,
                         &session->err) != 1)
            return false;
        if (line[len] == '\n') {
            line[len] = '\0';
            return true;
        }
        len++;
    }
    return false;
}

#define STRANGER "is no 'mayfly migrate': it said nothing that is known here"

static void serve(struct session *session)
{
    static const char migrate[] = MOVING_LINE_MIGRATE;
    char line[LINE_MAX_BYTES];

    if (!read_line(session, line)) {
        say(session, "refused", STRANGER, "");
        return;
    }
    if (strncmp(line, migrate, sizeof migrate - 2) == 0 && strlen(line) == sizeof migrate - 2)
        serve_migration(session);
    else if (strncmp(line, MOVING_LINE_CONSOLE, strlen(MOVING_LINE_CONSOLE)) == 0 &&
             strlen(line) == strlen(MOVING_LINE_CONSOLE) + MOVING_TOKEN)
        keep_console(session, line + strlen(MOVING_LINE_CONSOLE));
    else
        say(session, "refused", STRANGER, "");
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
    receive_vm_destroy(atomic_load(&session->vm));
    transport_close(session->connection);
    moving_fini(&session->moving);
    free(session);
    return NULL;
}

static bool has_too_many(struct receiver *receiver)
{
    pthread_mutex_lock(&receiver->lock);
    bool many = receiver->sessions >= RECEIVER_SESSIONS;
    pthread_mutex_unlock(&receiver->lock);
    return many;
}

void receiver_serve(struct receiver *receiver, struct transport_connection *connection)
{
    struct session *session = has_too_many(receiver) ? NULL : calloc(1, sizeof *session);
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
        say(session, "refused", "cannot be served: no thread", "");
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
    pthread_condattr_t clock;

    memset(receiver, 0, sizeof *receiver);
    receiver->options = options;
    receiver->most = options->max;
    pthread_mutex_init(&receiver->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&receiver->changed, &clock);
    pthread_condattr_destroy(&clock);
    return control_open(&receiver->control, err);
}

/*
 * With the lock held: ends what waits for its peer. Guests that run have been stopped, and their
 * users have END_MS to hear it; `late`: those are over.
 */
static void break_sessions(struct receiver *receiver, bool late)
{
    for (struct session *s = receiver->first; s != NULL; s = s->next) {
        bool runs = atomic_load(&s->sandbox) != NULL;
        if (!runs && s->connection != NULL)
            transport_shutdown(s->connection);
        if (s->has_console && (late || !runs))
            console_guest_break(&s->console);
    }
}

static void wait_for_sessions(struct receiver *receiver, uint64_t ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    while (receiver->sessions > 0 &&
           pthread_cond_timedwait(&receiver->changed, &receiver->lock, &until) == 0)
        ;
}

void receiver_fini(struct receiver *receiver)
{
    pthread_mutex_lock(&receiver->lock);
    receiver->stopping = true;
    for (struct session *s = receiver->first; s != NULL; s = s->next)
        stop_session(s);
    break_sessions(receiver, false);
    pthread_mutex_unlock(&receiver->lock);
    control_stop_all(receiver->control);
    pthread_mutex_lock(&receiver->lock);
    while (receiver->sessions > 0) {
        wait_for_sessions(receiver, END_MS);
        break_sessions(receiver, true);
    }
    pthread_mutex_unlock(&receiver->lock);
    control_close(receiver->control);
    for (size_t i = 0; i < RECEIVER_CONSOLES; i++)
        transport_close(receiver->consoles[i].connection);
    for (size_t i = 0; i < receiver->nimages; i++)
        mf_image_close(receiver->images[i].image);
    pthread_cond_destroy(&receiver->changed);
    pthread_mutex_destroy(&receiver->lock);
}
