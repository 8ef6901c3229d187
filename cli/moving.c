/* Moving a sandbox away; see moving.h. */
#include "moving.h"
#include "console.h"
#include "interrupt.h"
#include "report.h"
#include "text.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_MS 10000
/* How often what could not be written is tried again. */
#define RETRY_MS 2000
/* For the name, in steps of 50 ms. */
#define RECLAIM_TRIES 40

/* ---- what both threads know ---- */

void moving_init(struct moving *moving)
{
    pthread_mutex_init(&moving->lock, NULL);
    pthread_cond_init(&moving->changed, NULL);
    moving->child_fd = -1;
}

void moving_fini(struct moving *moving)
{
    transport_close(moving->console);
    free(moving->where);
    free(moving->fallback);
    free(moving->binary);
    if (moving->child_fd >= 0)
        close(moving->child_fd);
    moving->console = NULL;
    moving->where = moving->fallback = moving->binary = NULL;
    moving->child_fd = -1;
    pthread_cond_destroy(&moving->changed);
    pthread_mutex_destroy(&moving->lock);
}

static void set_state(struct moving *moving, enum moving_state state)
{
    pthread_mutex_lock(&moving->lock);
    moving->state = state;
    pthread_cond_broadcast(&moving->changed);
    pthread_mutex_unlock(&moving->lock);
}

/* ---- the operation ---- */

/* One migration, on the thread of its operation. */
struct trip {
    struct control_operation *operation;
    struct moving *moving;
    const json_t *request;
    struct transport_address address;
    struct transport_options options;
    struct transport_connection *connection, *console;
    char token[MOVING_TOKEN + 1];
    char *label;
    uint8_t *state; /* of the console further up */
    uint8_t *joined; /* that and the part's */
    bool follow, paused, nameless, part_begun;
    struct mf_migrate_progress summary;
    enum mf_migrate_outcome outcome;
};

static const char *get_text(const struct trip *trip, const char *key)
{
    return json_string_value(json_object_get(trip->request, key));
}

static bool get_flag(const struct trip *trip, const char *key)
{
    return json_is_true(json_object_get(trip->request, key));
}

static uint64_t get_number(const struct trip *trip, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(trip->request, key));
}

static int read_request(struct trip *trip, struct mf_error *err)
{
    trip->options = (struct transport_options){
        .cert_file = get_text(trip, "cert"),
        .key_file = get_text(trip, "key"),
        .ca_file = get_text(trip, "ca"),
        .psk_file = get_text(trip, "psk"),
        .insecure = get_flag(trip, "insecure"),
    };
    /* Who follows it up to here goes on doing so. */
    trip->follow = get_flag(trip, "follow") || trip->moving->upstream != NULL;
    trip->paused = control_operation_is_paused(trip->operation);
    return transport_address_parse(get_text(trip, "address"), &trip->address, err);
}

static int make_token(char token[MOVING_TOKEN + 1], struct mf_error *err)
{
    uint8_t bytes[MOVING_TOKEN / 2];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return mf_fail(err, MF_E_SYSTEM, "cannot get random bytes");
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(token + 2 * i, 3, "%02x", bytes[i]);
    return MF_OK;
}

/* Connects, and says what for. */
static int connect_for(struct trip *trip, const char *line, struct transport_connection **out,
                       struct mf_error *err)
{
    struct mf_channel channel;
    size_t len = strlen(line);
    int status = transport_connect(&trip->address, &trip->options, CONNECT_MS,
                                   control_operation_cancel_fd(trip->operation), out, err);

    if (status != MF_OK)
        return status;
    transport_channel(*out, &channel);
    while (len > 0) {
        long n = channel.write(channel.context, line, len, CONNECT_MS, err);
        if (n <= 0)
            return n == MF_CHANNEL_TIMEOUT
                       ? mf_fail(err, MF_E_DEADLINE, "the receiver does not answer")
                       : MF_E_CHANNEL;
        line += n;
        len -= (size_t)n;
    }
    return MF_OK;
}

/* The connection of the console comes first: without it nothing is moved. */
static int connect_console(struct trip *trip, struct mf_error *err)
{
    char line[sizeof MOVING_LINE_CONSOLE + MOVING_TOKEN + 1], answer[sizeof MOVING_LINE_OK];
    struct mf_channel channel;
    size_t have = 0;
    int status = make_token(trip->token, err);

    snprintf(line, sizeof line, "%s%s\n", MOVING_LINE_CONSOLE, trip->token);
    if (status == MF_OK)
        status = connect_for(trip, line, &trip->console, err);
    if (status != MF_OK)
        return status;
    transport_channel(trip->console, &channel);
    while (have < strlen(MOVING_LINE_OK)) {
        long n = channel.read(channel.context, answer + have, strlen(MOVING_LINE_OK) - have,
                              CONNECT_MS, err);
        if (n <= 0)
            return n == -1 ? MF_E_CHANNEL
                           : mf_fail(err, MF_E_PEER, "the receiver takes no console");
        have += (size_t)n;
    }
    if (memcmp(answer, MOVING_LINE_OK, have) != 0)
        return mf_fail(err, MF_E_PEER, "the receiver takes no console");
    return MF_OK;
}

static int make_label(struct trip *trip, struct mf_error *err)
{
    json_t *label = json_pack("{s:s, s:s}", "kind", control_operation_kind(trip->operation), "name",
                              control_operation_name(trip->operation));

    if (label != NULL && trip->token[0] != '\0')
        json_object_set_new(label, "console", json_string(trip->token));
    if (label != NULL && trip->paused)
        json_object_set_new(label, "paused", json_true());
    trip->label = label != NULL ? json_dumps(label, JSON_COMPACT) : NULL;
    json_decref(label);
    return trip->label != NULL ? MF_OK : mf_fail(err, MF_E_NO_MEMORY, "out of memory");
}

static json_t *progress_json(const struct mf_migrate_progress *p)
{
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "phase",
        p->phase != NULL ? p->phase : "connect", "round", (json_int_t)p->round, "throttle_percent",
        (json_int_t)p->throttle, "pages_total", (json_int_t)p->pages_total, "pages_left",
        (json_int_t)p->pages_left, "pages_sent", (json_int_t)p->pages_sent, "pages_zero",
        (json_int_t)p->pages_zero, "pages_known", (json_int_t)p->pages_known, "bytes_sent",
        (json_int_t)p->bytes_sent, "bytes_per_s", (json_int_t)p->bytes_per_s, "dirty_bytes_per_s",
        (json_int_t)p->dirty_bytes_per_s, "expected_downtime_ns",
        (json_int_t)p->expected_downtime_ns, "downtime_ns", (json_int_t)p->downtime_ns, "total_ns",
        (json_int_t)p->total_ns);
}

static int tell_progress(void *context, const struct mf_migrate_progress *progress)
{
    struct trip *trip = context;
    json_t *event = progress_json(progress);

    if (event != NULL)
        json_object_set_new(event, "event", json_string("progress"));
    control_operation_event(trip->operation, event);
    control_operation_set_dirty_rate(trip->operation, progress->dirty_bytes_per_s);
    return control_operation_cancelled(trip->operation);
}

/* Both in one piece; see moving_split_state. */
static int join_states(struct trip *trip, size_t console_len, const void *part, size_t part_len,
                       const void **data, size_t *len, struct mf_error *err)
{
    uint32_t size = (uint32_t)console_len;
    uint8_t *all = malloc(sizeof size + console_len + part_len);

    if (all == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    memcpy(all, &size, sizeof size);
    memcpy(all + sizeof size, trip->state, console_len);
    memcpy(all + sizeof size + console_len, part, part_len);
    free(trip->joined);
    trip->joined = all;
    *data = all;
    *len = sizeof size + console_len + part_len;
    return MF_OK;
}

/*
 * The guest stands still, and the commit comes next: from now on its name may be the receiver's,
 * if that is on this host. Input that was read for it goes with it.
 */
static int give_state(void *context, const void **data, size_t *len, struct mf_error *err)
{
    struct trip *trip = context;
    const void *part = NULL;
    size_t part_len = 0, console_len = 0;
    int status = trip->part_begun
                     ? trip->moving->part->state(trip->moving->part_context, &part, &part_len, err)
                     : MF_OK;

    if (status != MF_OK)
        return status;
    if (!trip->nameless)
        control_operation_drop_name(trip->operation);
    trip->nameless = true;
    if (trip->moving->upstream != NULL)
        console_len = console_guest_save(trip->moving->upstream, trip->state);
    if (trip->part_begun)
        return join_states(trip, console_len, part, part_len, data, len, err);
    *len = console_len;
    *data = trip->state;
    return MF_OK;
}

int moving_split_state(const void *data, size_t len, size_t *console_len, struct mf_error *err)
{
    uint32_t size = 0;

    if (len >= sizeof size)
        memcpy(&size, data, sizeof size);
    if (len < sizeof size || size > len - sizeof size)
        return mf_fail(err, MF_E_PEER, "what came with the sandbox is cut off");
    *console_len = size;
    return MF_OK;
}

static int begin_part(struct trip *trip, struct mf_error *err)
{
    const struct moving *moving = trip->moving;

    if (moving->part == NULL)
        return MF_OK;
    int status = moving->part->begin(moving->part_context, err);
    trip->part_begun = status == MF_OK;
    return status;
}

static int move(struct trip *trip, struct mf_error *err)
{
    struct mf_migrate_options options = {
        .size = sizeof options,
        .downtime_limit_ns = get_number(trip, "downtime_limit_ns"),
        .timeout_ns = get_number(trip, "timeout_ns"),
        .postcopy = get_flag(trip, "postcopy"),
        .compress = get_flag(trip, "compress"),
        .label = trip->label,
        .label_len = strlen(trip->label),
        .state = give_state,
        .progress = tell_progress,
        .context = trip,
        .paused = trip->paused,
    };
    struct mf_channel channel;

    trip->state = malloc(CONSOLE_STATE_MAX);
    if (trip->state == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    transport_channel(trip->connection, &channel);
    trip->summary.size = sizeof trip->summary;
    int status = mf_migrate_out(control_operation_sandbox(trip->operation), &channel, &options,
                                &trip->outcome, &trip->summary, err);
    struct mf_error why = *err;
    /* It hung up, or talks of something else, before a word of ours. */
    if ((status == MF_E_CHANNEL || status == MF_E_PEER) && trip->summary.pages_total == 0)
        mf_fail(err, status,
                "%.150s; is there a 'mayfly receive' at %.80s, with this kind of address?",
                why.message, get_text(trip, "address"));
    return status;
}

/*
 * Nobody knows whether it runs there: what is here is kept, for a person to decide. The thread that
 * ran it does so, when it has come out.
 */
static int keep(struct trip *trip, struct mf_error *err)
{
    struct moving *moving = trip->moving;
    const char *path = get_text(trip, "fallback");
    struct mf_error why = *err;

    moving->fallback = strdup(path);
    set_state(moving, MOVING_UNKNOWN);
    pthread_mutex_lock(&moving->lock);
    while (moving->state == MOVING_UNKNOWN)
        pthread_cond_wait(&moving->changed, &moving->lock);
    bool saved = moving->state == MOVING_SAVED;
    struct mf_error failed = moving->failed;
    pthread_mutex_unlock(&moving->lock);
    if (saved)
        return mf_fail(err, why.code,
                       "%.100s. The receiver may be running it: look there. If it is not, "
                       "'%s %.60s' goes on",
                       why.message, moving->part != NULL ? moving->part->resume : "mayfly resume",
                       path);
    return mf_fail(err, why.code,
                   "%.80s. The receiver may be running it. %.40s could not be written (%.60s); "
                   "process %ld tries on",
                   why.message, path, failed.message, (long)getpid());
}

/*
 * A receiver on this host gives it back in a moment. Somebody else who took it while the guest was
 * about to leave keeps it.
 */
static void reclaim_name(struct trip *trip)
{
    const struct timespec step = {.tv_nsec = 50000000};
    struct mf_error err;

    for (unsigned i = 0; trip->nameless && i < RECLAIM_TRIES; i++) {
        int status = control_operation_claim_name(trip->operation, &err);
        trip->nameless = status != MF_OK;
        if (status == MF_E_BUSY)
            nanosleep(&step, NULL);
        else
            break;
    }
    if (!trip->nameless)
        return;
    fprintf(stderr, "mayfly: %s goes on here without its name: ",
            control_operation_name(trip->operation));
    text_print_line_safe(stderr, err.message);
    fputc('\n', stderr);
}

static int settle(struct trip *trip, int status, struct mf_error *err)
{
    struct moving *moving = trip->moving;
    enum mf_migrate_outcome outcome = status == MF_OK ? MF_MIGRATE_THERE : trip->outcome;

    if (trip->part_begun)
        moving->part->end(moving->part_context, outcome != MF_MIGRATE_HERE);
    switch (outcome) {
    case MF_MIGRATE_THERE:
        pthread_mutex_lock(&moving->lock);
        moving->where = strdup(get_text(trip, "address"));
        moving->console = trip->console;
        trip->console = NULL;
        pthread_mutex_unlock(&moving->lock);
        set_state(moving, MOVING_THERE);
        return MF_OK;
    case MF_MIGRATE_UNKNOWN:
        return keep(trip, err);
    case MF_MIGRATE_HERE:
        reclaim_name(trip);
        break;
    }
    set_state(moving, MOVING_NOT);
    return status;
}

int moving_run(struct control_operation *operation, json_t **result, struct mf_error *err)
{
    struct trip trip = {
        .operation = operation,
        .moving = control_operation_moving(operation),
        .request = control_operation_request(operation),
    };
    if (trip.moving == NULL)
        return mf_fail(err, MF_E_STATE, "%s is of a kind that cannot be moved (%s)",
                       control_operation_name(operation), control_operation_kind(operation));
    int status = read_request(&trip, err);

    set_state(trip.moving, MOVING_GOING);
    if (status == MF_OK)
        status = begin_part(&trip, err);
    if (status == MF_OK && trip.follow)
        status = connect_console(&trip, err);
    if (status == MF_OK)
        status = make_label(&trip, err);
    if (status == MF_OK)
        status = connect_for(&trip, MOVING_LINE_MIGRATE, &trip.connection, err);
    if (status == MF_OK)
        status = move(&trip, err);
    status = settle(&trip, status, err);
    if (status == MF_OK)
        *result = json_pack("{s:o}", "summary", progress_json(&trip.summary));
    transport_close(trip.connection);
    transport_close(trip.console);
    free(trip.label);
    free(trip.state);
    free(trip.joined);
    return status;
}

/* ---- the thread that ran it ---- */

static int write_fallback(const char *path, struct mf_sandbox *sandbox, struct mf_error *err)
{
    struct mf_snapshot_write_options options = {.size = sizeof options};
    struct mf_snapshot *snapshot = NULL;
    int status = mf_sandbox_snapshot(sandbox, &snapshot, err);

    if (status == MF_OK)
        status = mf_snapshot_write(snapshot, path, &options, NULL, err);
    mf_snapshot_close(snapshot);
    return status;
}

/* Tries until what is left of the guest is in its file, or a signal says to give up. */
static int keep_trying(struct moving *moving, const char *command, struct mf_sandbox *sandbox,
                       bool json)
{
    struct mf_error err;

    while (write_fallback(moving->fallback, sandbox, &err) != MF_OK) {
        struct pollfd cancel = {.fd = interrupt_fd(), .events = POLLIN};
        pthread_mutex_lock(&moving->lock);
        moving->failed = err;
        pthread_mutex_unlock(&moving->lock);
        set_state(moving, MOVING_UNSAVED);
        if (poll(&cancel, 1, RETRY_MS) > 0)
            return cli_library_error(command, json, &err);
    }
    set_state(moving, MOVING_SAVED);
    return CLI_OK;
}

static int follow(struct moving *moving, const char *command, bool json)
{
    struct mf_error err;
    int status = CLI_OK;

    if (moving->upstream != NULL) {
        console_relay(moving->upstream, moving->console);
        return CLI_OK;
    }
    if (console_user_serve(moving->console, interrupt_fd(), &status, &err) == MF_OK)
        return cli_finish(status);
    if (interrupt_signal() != 0)
        return 128 + interrupt_signal();
    return cli_library_error(command, json, &err);
}

static void say_kept(const struct moving *moving, const char *command)
{
    fprintf(stderr, "mayfly %s: the migration broke at its last step: the receiver may be running "
                    "the guest. Here its state is in %s\n", command, moving->fallback);
}

enum moving_state moving_wait(struct moving *moving)
{
    pthread_mutex_lock(&moving->lock);
    while (moving->state == MOVING_GOING)
        pthread_cond_wait(&moving->changed, &moving->lock);
    enum moving_state state = moving->state;
    pthread_mutex_unlock(&moving->lock);
    return state;
}

int moving_finish(struct moving *moving, const char *command, struct mf_sandbox *sandbox,
                  bool json)
{
    enum moving_state state = moving_wait(moving);
    int status = CLI_OK;

    if (state == MOVING_THERE && moving->console != NULL)
        return follow(moving, command, json);
    if (moving->upstream != NULL)
        console_guest_end(moving->upstream, MF_E_MOVED, 0,
                          "the guest was lost when it moved on from where it was followed to");
    if (state == MOVING_UNKNOWN)
        status = keep_trying(moving, command, sandbox, json);
    if (state == MOVING_THERE) {
        fprintf(stderr, "mayfly %s: the guest has moved and goes on at ", command);
        text_print_line_safe(stderr, moving->where != NULL ? moving->where : "the receiver");
        fputc('\n', stderr);
    } else if (status == CLI_OK) {
        say_kept(moving, command);
        status = CLI_HOST_ERROR;
    }
    return cli_finish(status);
}
