/*
 * The source of a migration.
 *
 * What can fail is before the commit, where the guest goes on here; docs/formats/migration.md
 * has the whole conversation, and why at no moment two copies run.
 */
#include "migrate/out.h"

#include "base/checked.h"
#include "base/error.h"
#include "mem/shared.h"
#include "migrate/handover.h"
#include "sandbox/attend.h"
#include "sandbox/image.h"
#include "sandbox/saved.h"
#include "snapshot/digest.h"
#include "snapshot/encode.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define NS_PER_MS UINT64_C(1000000)
#define DOWNTIME_DEFAULT_NS (10 * NS_PER_MS)
#define TIMEOUT_DEFAULT_NS (60000 * NS_PER_MS)
#define STALL_DEFAULT_NS (10000 * NS_PER_MS)
/* How long the guest is waited for before the receiver and the caller hear of it. */
#define PAUSE_SLICE_NS (500 * NS_PER_MS)
/* How often the caller hears of the copy. */
#define PROGRESS_EVERY_NS (20 * NS_PER_MS)

/* ---- the guest ---- */

void out_unpause(struct out *out)
{
    if (!out->options.paused)
        pause_end(out->sandbox, PAUSE_HERE);
    out->paused = false;
}

/* ---- words with the caller ---- */

static void fill_progress(struct out *out, const char *phase)
{
    out->progress.size = sizeof out->progress;
    out->progress.phase = phase;
    out->progress.bytes_sent = out->wire.bytes_sent;
    out->progress.total_ns = limits_now() - out->start_ns;
}

static int tell(struct out *out)
{
    if (!out->options.progress)
        return 0;
    bool stop = out->options.progress(out->options.context, &out->progress) != 0;
    /* After the commit there is no way back. */
    out->poll_failed = out->poll_failed || (stop && !out->committed);
    return out->poll_failed ? -1 : 0;
}

int out_progress(struct out *out, const char *phase)
{
    uint64_t before = out->progress.total_ns;
    bool turned = out->progress.phase != phase;
    fill_progress(out, phase);
    if (!turned && out->progress.total_ns / PROGRESS_EVERY_NS == before / PROGRESS_EVERY_NS)
        return 0;
    return tell(out) == 0 ? 0 : error_set(out->err, MF_E_CANCELLED, "the migration was cancelled");
}

static int note_pause(struct out *out)
{
    out->paused = true;
    out->paused_ns = limits_now();
    return 0;
}

/*
 * Waits for the guest to stand still, which a host function can delay: the receiver hears
 * meanwhile that nobody has gone, and the caller may cancel. Not while a frame is on its way.
 */
int out_pause(struct out *out)
{
    if (out->options.paused)
        return note_pause(out);
    for (;;) {
        error_clear(out->err);
        int rc = pause_begin(out->sandbox, PAUSE_SLICE_NS, out->err);
        if (rc == 0)
            return note_pause(out);
        if (rc != MF_E_DEADLINE || out->polling ||
            limits_now() - out->start_ns >= out->options.timeout_ns)
            return rc;
        fill_progress(out, out->progress.phase);
        if (tell(out) != 0)
            return error_set(out->err, MF_E_CANCELLED, "the migration was cancelled");
        if (out->talks && (rc = wire_send(&out->wire, WIRE_ALIVE, NULL, 0, out->err)) != 0)
            return rc;
    }
}

/* While nothing moves on the channel. */
static int poll_caller(void *context)
{
    struct out *out = context;
    struct mf_error ignored;
    struct mf_error *err = out->err;
    fill_progress(out, out->progress.phase);
    /* A failure to hold the guest back shows at the next frame. */
    out->err = &ignored;
    out->polling = true;
    out_throttle(out);
    out->polling = false;
    out->err = err;
    return tell(out);
}

/* ---- the steps ---- */

static int take_options(struct out *out, const struct mf_migrate_options *given)
{
    struct mf_migrate_options *o = &out->options;
    if (given && given->size < offsetof(struct mf_migrate_options, timeout_ns))
        return error_set(out->err, MF_E_ARGUMENT,
                         "options.size is %zu; set it to sizeof(struct mf_migrate_options)",
                         given->size);
    if (given)
        memcpy(o, given, MIN(given->size, sizeof *o));
    o->size = sizeof *o;
    if (o->downtime_limit_ns == 0)
        o->downtime_limit_ns = DOWNTIME_DEFAULT_NS;
    if (o->timeout_ns == 0)
        o->timeout_ns = TIMEOUT_DEFAULT_NS;
    if (o->stall_ns == 0)
        o->stall_ns = STALL_DEFAULT_NS;
    out->handover = o->handover_socket > 0;
    if (out->handover && out->sandbox->mem.kind != MEM_SHARED)
        return error_set(out->err, MF_E_STATE,
                         "the sandbox was not made to be handed over (MF_SANDBOX_SHARED_MEMORY)");
    if (out->handover)
        o->postcopy = 0;
    if (o->label_len > MF_MIGRATE_LABEL_MAX)
        return error_set(out->err, MF_E_ARGUMENT, "the label has %zu bytes; at most %u fit",
                         o->label_len, MF_MIGRATE_LABEL_MAX);
    return 0;
}

/* The snapshot file that the sandbox was made from, or is tracked against. */
static struct mf_snapshot *named_parent(const struct mf_sandbox *sandbox)
{
    const struct tracking *tracking = (const struct tracking *)sandbox->base;
    struct mf_snapshot *s = tracking ? tracking->snapshot : NULL;
    while (s && atomic_load(&s->digest_state) != SNAP_DIGEST_KNOWN)
        s = s->parent;
    return s ? mf_snapshot_hold(s) : NULL;
}

static void make_offer(struct out *out, const struct saved_state *saved, struct wire_offer *offer)
{
    const struct mf_image *image = out->sandbox->image;
    struct digest digest;
    *offer = (struct wire_offer){
        .memory_bytes = saved->memory_bytes,
        .stack_bytes = saved->stack_bytes,
        .mailbox_bytes = saved->mailbox_bytes,
        .image_bytes = image->len,
        .cpu_components = saved->cpu.fpu.components,
        .backend = (uint32_t)saved->backend,
        .postcopy = out->options.postcopy != 0,
        .name_bytes = (uint32_t)MIN(strlen(image->name), (size_t)255),
        .label_bytes = (uint32_t)out->options.label_len,
    };
    digest_init(&digest);
    digest_add(&digest, image->bytes, image->len);
    digest_fini(&digest, offer->image_digest);
    if (out->parent)
        memcpy(offer->parent_digest, out->parent->digest, MF_DIGEST_BYTES);
}

static int send_offer(struct out *out, const struct wire_offer *offer)
{
    uint8_t *body = wire_body(&out->wire);
    size_t at = sizeof *offer;
    memcpy(body, offer, sizeof *offer);
    memcpy(body + at, out->sandbox->image->name, offer->name_bytes);
    at += offer->name_bytes;
    if (offer->label_bytes > 0)
        memcpy(body + at, out->options.label, offer->label_bytes);
    return wire_send_body(&out->wire, WIRE_OFFER, 0, at + offer->label_bytes, out->err);
}

/* Stands still for a moment, to see what there is to offer. */
static int look_at_sandbox(struct out *out, struct wire_offer *offer)
{
    struct saved_state saved;
    int rc = out_pause(out);
    if (rc != 0)
        return rc;
    rc = saved_collect(out->sandbox, &saved, out->err);
    if (rc == 0) {
        out->parent = named_parent(out->sandbox);
        make_offer(out, &saved, offer);
        saved_fini(&saved);
    }
    out_unpause(out);
    return rc;
}

static int use_capabilities(struct out *out, uint64_t peer)
{
    out->compress = out->options.compress && (peer & WIRE_ZSTD);
    out->postcopy = out->options.postcopy && (peer & WIRE_POSTCOPY);
    if (out->handover && !(peer & WIRE_HANDOVER))
        return error_set(out->err, MF_E_REFUSED,
                         "the receiver does not take guest memory by its descriptor");
    if (out->options.postcopy && !out->postcopy)
        return error_set(out->err, MF_E_REFUSED,
                         "the receiver cannot take a guest before its pages (userfaultfd is not "
                         "there or not allowed): migrate without post-copy");
    if (!out->compress)
        return 0;
    out->packed_size = ZSTD_compressBound(WIRE_DATA_PAGES * PAGE_BYTES);
    out->packed = malloc(out->packed_size);
    out->zstd = ZSTD_createCCtx();
    if (!out->packed || !out->zstd)
        return error_set(out->err, MF_E_NO_MEMORY, "cannot allocate what compresses pages");
    return 0;
}

/* From the greeting to the receiver's VM. */
static int introduce(struct out *out)
{
    struct wire_hello peer;
    struct wire_offer offer;
    struct wire_want want;
    struct wire_frame frame;
    uint64_t capabilities = WIRE_ZSTD | WIRE_POSTCOPY | (out->handover ? WIRE_HANDOVER : 0);
    int rc = look_at_sandbox(out, &offer);
    if (rc == 0)
        rc = wire_hello(&out->wire, capabilities, &peer, out->err);
    if (rc == 0)
        rc = use_capabilities(out, peer.capabilities);
    out->talks = rc == 0;
    if (rc == 0)
        rc = send_offer(out, &offer);
    if (rc == 0)
        rc = wire_expect(&out->wire, WIRE_WANT, sizeof want, &frame, out->err);
    if (rc != 0)
        return rc;
    memcpy(&want, frame.data, sizeof want);
    if (!want.parent) {
        mf_snapshot_close(out->parent);
        out->parent = NULL;
    }
    if (want.image)
        rc = wire_send_long(&out->wire, out->sandbox->image->bytes, offer.image_bytes, out->err);
    return rc == 0 ? wire_expect(&out->wire, WIRE_PREPARED, 0, &frame, out->err) : rc;
}

/* Passes memory, which stays ours until the commit. */
static int pass_memory(struct out *out)
{
    int rc = handover_send(out->options.handover_socket, out->sandbox->mem.fd,
                           out->options.stall_ns, out->err);
    if (rc == 0)
        rc = out_progress(out, "stop");
    return rc == 0 ? out_pause(out) : rc;
}

static int begin_copy(struct out *out)
{
    int rc = out_pause(out);
    if (rc != 0)
        return rc;
    rc = out_track(out);
    out->progress.pages_total = out->progress.pages_left = out->sandbox->mem.next;
    out_unpause(out);
    out->harvest_ns = limits_now();
    return rc;
}

static int send_state(struct out *out, uint64_t missing)
{
    struct wire_state state = {.missing = missing};
    struct saved_state saved;
    uint8_t *bytes = NULL;
    const void *app = NULL;
    size_t state_len = 0, app_len = 0;
    int rc = saved_collect(out->sandbox, &saved, out->err);
    if (rc != 0)
        return rc;
    rc = state_encode(&saved, &bytes, &state_len, out->err);
    saved_fini(&saved);
    if (rc == 0 && out->options.state)
        rc = out->options.state(out->options.context, &app, &app_len, out->err);
    if (rc == 0 && app_len > MF_MIGRATE_STATE_MAX)
        rc = error_set(out->err, MF_E_ARGUMENT, "the application's state has %zu bytes", app_len);
    state.state_bytes = state_len;
    state.app_bytes = app_len;
    state.timeout_left_ns = out->sandbox->pause.timeout_left_ns;
    state.cpu_left_ns = out->sandbox->pause.cpu_left_ns;
    if (rc == 0)
        rc = wire_send(&out->wire, WIRE_STATE, &state, sizeof state, out->err);
    if (rc == 0)
        rc = wire_send_long(&out->wire, bytes, state_len, out->err);
    if (rc == 0)
        rc = wire_send_long(&out->wire, app, app_len, out->err);
    free(bytes);
    return rc;
}

/* The guest stands still, and until COMMIT it may still go on here. */
static int hand_over(struct out *out)
{
    struct wire_frame frame;
    uint64_t missing = 0;
    out->stopped = true;
    int rc = out_progress(out, "stop");
    if (rc == 0 && out->postcopy &&
        out->progress.expected_downtime_ns > out->options.downtime_limit_ns)
        rc = out_post_prepare(out, &missing);
    else if (rc == 0 && !out->handover)
        rc = out_send_pages(out);
    if (rc == 0)
        rc = send_state(out, missing);
    if (rc == 0 && missing > 0)
        rc = out_post_name_missing(out);
    if (rc == 0)
        rc = wire_expect(&out->wire, WIRE_LOADED, 0, &frame, out->err);
    if (rc != 0)
        return rc;
    out->committed = true;
    /* The answer has a deadline of its own: nobody can cancel any more. */
    out->wire.deadline_ns = limits_now() + out->options.stall_ns;
    rc = wire_send(&out->wire, WIRE_COMMIT, NULL, 0, out->err);
    if (rc == 0)
        rc = wire_expect(&out->wire, WIRE_RUNNING, 0, &frame, out->err);
    out->wire.deadline_ns = 0;
    out->progress.downtime_ns = limits_now() - out->paused_ns;
    if (rc == 0 && missing > 0)
        rc = out_post_serve(out);
    return rc;
}

static int run_steps(struct out *out)
{
    int rc = introduce(out);
    if (rc == 0)
        rc = out->handover ? pass_memory(out) : begin_copy(out);
    if (rc == 0 && !out->handover)
        rc = out_copy(out);
    return rc == 0 ? hand_over(out) : rc;
}

/* A peer that gave up has said why, maybe while we were sending. */
static int find_reason(struct out *out, int rc)
{
    struct mf_error why, sent = *out->err;
    struct wire_frame frame;
    if (rc == MF_E_REFUSED || rc == MF_E_PEER)
        return rc;
    if (rc != MF_E_CHANNEL) {
        wire_refuse(&out->wire, &sent);
        return rc;
    }
    error_clear(&why);
    out->wire.stall_ns = NS_PER_MS;
    out->wire.poll = NULL;
    if (wire_receive(&out->wire, &frame, &why) != MF_E_REFUSED)
        return rc;
    *out->err = why;
    return MF_E_REFUSED;
}

static enum mf_migrate_outcome settle(struct out *out, int rc)
{
    enum mf_migrate_outcome outcome = MF_MIGRATE_THERE;
    if (rc != 0)
        outcome = out->committed ? MF_MIGRATE_UNKNOWN : MF_MIGRATE_HERE;
    /* Whether it has answered or not: who has the memory may be writing to it. */
    bool left = out->handover && out->committed;
    if (left)
        mem_leave(&out->sandbox->mem);
    atomic_store(&out->sandbox->migrating, false);
    if (outcome == MF_MIGRATE_HERE && out->paused)
        out_unpause(out);
    else if (outcome == MF_MIGRATE_THERE || left)
        pause_end(out->sandbox, PAUSE_MOVED);
    else if (outcome == MF_MIGRATE_UNKNOWN)
        pause_end(out->sandbox, PAUSE_UNKNOWN);
    return outcome;
}

static int migrate(struct out *out, enum mf_migrate_outcome *outcome)
{
    if (out->options.paused && !atomic_load(&out->sandbox->pause.wanted))
        return error_set(out->err, MF_E_STATE, "the sandbox is not paused");
    if (out->options.paused && pause_check_here(out->sandbox, out->err) != 0)
        return out->err->code;
    if (atomic_exchange(&out->sandbox->migrating, true))
        return error_set(out->err, MF_E_STATE, "the sandbox is being migrated already");
    out->wire.stall_ns = out->options.stall_ns;
    out->wire.deadline_ns = limits_now() + out->options.timeout_ns;
    out->wire.poll = poll_caller;
    out->wire.poll_context = out;
    out->progress.phase = "connect";
    int rc = run_steps(out);
    if (rc != 0 && !out->committed)
        rc = find_reason(out, rc);
    fill_progress(out, rc == 0 ? "done" : out->progress.phase);
    *outcome = settle(out, rc);
    return rc;
}

int mf_migrate_out(struct mf_sandbox *sandbox, const struct mf_channel *channel,
                   const struct mf_migrate_options *options, enum mf_migrate_outcome *outcome,
                   struct mf_migrate_progress *summary, struct mf_error *err)
{
    struct mf_error own;
    enum mf_migrate_outcome where = MF_MIGRATE_HERE;
    err = err ? err : &own;
    error_clear(err);
    if (!sandbox || !channel || !channel->read || !channel->write)
        return error_set(err, MF_E_ARGUMENT, "a migration needs a sandbox and a channel");
    struct out *out = calloc(1, sizeof *out);
    if (!out)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a migration");
    out->sandbox = sandbox;
    out->err = err;
    out->start_ns = limits_now();
    int rc = take_options(out, options);
    if (rc == 0)
        rc = wire_init(&out->wire, channel, err);
    if (rc == 0)
        rc = migrate(out, &where);
    if (outcome)
        *outcome = where;
    if (summary) {
        size_t size = MIN(summary->size, sizeof *summary);
        memcpy(summary, &out->progress, size);
        summary->size = size;
    }
    mf_snapshot_close(out->parent);
    out_pages_fini(out);
    wire_fini(&out->wire);
    free(out);
    return rc;
}
