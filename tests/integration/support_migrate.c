/* A sandbox that is moved from thread to thread; see support_migrate.h. */
#include "support_migrate.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- a channel that something happens to ---- */

bool tap_saw(const struct tap *tap, int way, unsigned type)
{
    const struct tap_way *w = &tap->ways[way];
    for (size_t i = 0; i < w->nframes; i++)
        if (w->frames[i].type == type && w->frames[i].at + w->frames[i].bytes <= w->bytes)
            return true;
    return false;
}

/* Follows the frames, whatever the parts are in which they go through. */
static void note_bytes(struct tap_way *way, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++, way->bytes++) {
        if (way->bytes < way->next)
            continue;
        size_t at = (size_t)(way->bytes - way->next);
        way->head[at] = data[i];
        if (at + 1 < FRAME_HEAD)
            continue;
        struct tap_frame frame = {.at = way->next};
        uint32_t body;
        memcpy(&frame.type, way->head, sizeof frame.type);
        memcpy(&body, way->head + 4, sizeof body);
        frame.bytes = FRAME_HEAD + body;
        way->next += frame.bytes;
        if (way->nframes < TAP_FRAMES)
            way->frames[way->nframes++] = frame;
    }
}

static long wait_in_vain(int timeout_ms)
{
    poll(NULL, 0, timeout_ms);
    return MF_CHANNEL_TIMEOUT;
}

/* How much of `len` bytes may go through before the event; 0 when it is due. */
static size_t before_event(const struct tap *tap, int way, size_t len)
{
    uint64_t have = tap->ways[way].bytes;
    bool none = tap->event == TAP_NOTHING || tap->event == TAP_SLOW || tap->happened;
    if (none || way != tap->way || have > tap->at)
        return len;
    return len < tap->at - have ? len : (size_t)(tap->at - have);
}

static void happen(struct tap *tap)
{
    tap->happened = true;
    if (tap->event == TAP_CUT)
        shutdown(tap->fd, SHUT_RDWR);
}

/* When a frame begins that the event is to be in: this is where. The source writes whole frames. */
static void look_for_frame(struct tap *tap, const uint8_t *data, size_t len)
{
    const struct tap_way *way = &tap->ways[TAP_OUT];
    uint16_t type;
    if (tap->type == 0 || tap->way != TAP_OUT)
        return;
    if (tap->at == 0)
        tap->at = UINT64_MAX;
    if (way->bytes != way->next || len < FRAME_HEAD || tap->at != UINT64_MAX)
        return;
    memcpy(&type, data, sizeof type);
    if (type == tap->type && tap->occurrence-- == 0)
        tap->at = way->bytes + tap->within;
}

static bool must_wait(struct tap *tap)
{
    tap->waited = tap->event == TAP_SLOW && !tap->waited;
    return tap->waited;
}

static long tap_write(void *context, const void *data, size_t len, int timeout_ms,
                      struct mf_error *err)
{
    struct tap *tap = context;
    look_for_frame(tap, data, len);
    size_t part = before_event(tap, TAP_OUT, len);
    bool flip = part == 0 && tap->event == TAP_FLIP;
    uint8_t flipped = 0;
    if (must_wait(tap))
        return MF_CHANNEL_TIMEOUT;
    if (part == 0)
        happen(tap);
    if (tap->happened && tap->event == TAP_STALL)
        return wait_in_vain(timeout_ms);
    if (part == 0) {
        flipped = *(const uint8_t *)data ^ 1u << tap->at % 8;
        part = 1;
    }
    const void *sent = flip ? &flipped : data;
    long n = tap->inner.write(tap->inner.context, sent, part, timeout_ms, err);
    if (n > 0 && tap->record && tap->kept + (size_t)n <= tap->record_size) {
        memcpy(tap->record + tap->kept, data, (size_t)n);
        tap->kept += (size_t)n;
    }
    /* What the source said: a flipped type is not one. */
    if (n > 0)
        note_bytes(&tap->ways[TAP_OUT], data, (size_t)n);
    return n;
}

static long tap_read(void *context, void *data, size_t len, int timeout_ms, struct mf_error *err)
{
    struct tap *tap = context;
    size_t part = before_event(tap, TAP_IN, len);
    bool flip = part == 0 && tap->event == TAP_FLIP;
    if (must_wait(tap))
        return MF_CHANNEL_TIMEOUT;
    if (part == 0)
        happen(tap);
    if (tap->happened && tap->event == TAP_STALL)
        return wait_in_vain(timeout_ms);
    long n = tap->inner.read(tap->inner.context, data, part ? part : 1, timeout_ms, err);
    if (n > 0 && flip)
        *(uint8_t *)data ^= 1u << tap->at % 8;
    if (n > 0)
        note_bytes(&tap->ways[TAP_IN], data, (size_t)n);
    return n;
}

static void tap_channel(struct tap *tap, struct mf_channel *channel, int fd)
{
    tap->inner = *channel;
    tap->fd = fd;
    channel->context = tap;
    channel->read = tap_read;
    channel->write = tap_write;
}

/* ---- moving ---- */

static int accept_all(void *context, const struct mf_migrate_offer *offer, struct mf_host **host,
                      struct mf_sandbox_options *options, struct mf_error *err)
{
    struct move *move = context;
    (void)offer;
    (void)err;
    options->backend = move->backend;
    if (move->make_host)
        *host = move->make_host();
    return 0;
}

static void *receive(void *argument)
{
    struct move *move = argument;
    struct mf_channel channel;
    mf_channel_from_fds(&channel, &move->in_fds);
    move->in_rc = mf_migrate_in(&channel, &move->in, &move->received, &move->in_err);
    return NULL;
}

void move_sandbox(struct mf_sandbox *sandbox, struct move *move)
{
    struct mf_channel channel;
    pthread_t thread;
    int pair[2] = {-1, -1};
    if (!move->fds_given) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
            return;
        move->out_fds = (struct mf_channel_fds){pair[0], pair[0]};
        move->in_fds = (struct mf_channel_fds){pair[1], pair[1]};
    }
    move->out.size = sizeof move->out;
    move->in.size = sizeof move->in;
    if (!move->in.accept) {
        move->in.accept = accept_all;
        move->in.context = move;
    }
    move->summary.size = sizeof move->summary;
    move->received = NULL;
    pthread_create(&thread, NULL, receive, move);
    mf_channel_from_fds(&channel, &move->out_fds);
    if (move->tap)
        tap_channel(move->tap, &channel, move->out_fds.write_fd);
    move->out_rc = mf_migrate_out(sandbox, &channel, &move->out, &move->outcome, &move->summary,
                                  &move->out_err);
    if (!move->fds_given)
        shutdown(pair[0], SHUT_WR);
    pthread_join(thread, NULL);
    if (move->received)
        mf_migrate_wait(move->received, UINT64_C(30000000000), NULL);
    if (!move->fds_given) {
        close(pair[0]);
        close(pair[1]);
    }
}

/* ---- places ---- */

struct call {
    struct place *place;
    const char *function;
    uint64_t args[4];
    size_t nargs;
};

static void *run_call(void *argument)
{
    struct call call = *(struct call *)argument;
    struct place *place = call.place;
    struct mf_value args[4], result = {0};
    for (size_t i = 0; i < call.nargs; i++)
        args[i] = mf_u64(call.args[i]);
    place->rc = mf_sandbox_call(place->sandbox, call.function, args, call.nargs, &result,
                                &place->err);
    place->result = result.u64;
    free(argument);
    return NULL;
}

void place_call(struct place *place, const char *function, const uint64_t *args, size_t nargs)
{
    struct call *call = malloc(sizeof *call);
    *call = (struct call){.place = place, .function = function, .nargs = nargs};
    for (size_t i = 0; i < nargs; i++)
        call->args[i] = args[i];
    pthread_create(&place->thread, NULL, run_call, call);
}

static void *run_resume(void *argument)
{
    struct place *place = argument;
    struct mf_value result = {0};
    place->rc = mf_sandbox_resume(place->sandbox, &result, &place->status, &place->err);
    place->result = result.u64;
    return NULL;
}

void place_resume(struct place *place)
{
    pthread_create(&place->thread, NULL, run_resume, place);
}

void place_join(struct place *place)
{
    pthread_join(place->thread, NULL);
}
