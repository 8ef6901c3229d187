/*
 * The receiver of a migration. Memory and VM are made as soon as the offer is accepted, so
 * that nothing but pages, state and a check lies between the source's pause and the guest's
 * next instruction here.
 */
#include "migrate/in.h"

#include "base/checked.h"
#include "base/error.h"
#include "mem/shared.h"
#include "migrate/handover.h"
#include "sandbox/image.h"
#include "snapshot/check.h"
#include "snapshot/digest.h"
#include "snapshot/encode.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)
#define TIMEOUT_DEFAULT_NS (300000 * NS_PER_MS)
#define STALL_DEFAULT_NS (10000 * NS_PER_MS)
#define IMAGE_MOST (UINT64_C(1) << 30)
#define MEMORY_MOST (UINT64_C(64) << 30)
#define STATE_MOST (UINT64_C(128) << 20)

void in_free(struct in *in)
{
    if (!in)
        return;
    in_post_free(in->post);
    in_pages_fini(in);
    saved_fini(&in->saved);
    mf_snapshot_close(in->parent);
    mf_host_destroy(in->host);
    mf_image_close(in->image);
    wire_fini(&in->wire);
    free(in->name);
    free(in->label);
    free(in);
}

/* ---- the offer ---- */

static int check_offer(struct in *in)
{
    const struct wire_offer *offer = &in->offer;
    uint64_t limit = in->options->memory_limit;
    if (offer->memory_bytes % PAGE_BYTES != 0 || offer->memory_bytes > MEMORY_MOST ||
        offer->image_bytes > IMAGE_MOST)
        return error_set(in->err, MF_E_PEER, "the peer offers a sandbox of sizes that cannot be");
    if (limit != 0 && offer->memory_bytes > limit)
        return error_set(in->err, MF_E_REFUSED,
                         "the guest has %llu MiB of memory; this receiver takes at most %llu MiB",
                         (unsigned long long)(offer->memory_bytes >> 20),
                         (unsigned long long)(limit >> 20));
    return 0;
}

static int receive_offer(struct in *in)
{
    struct wire_frame frame;
    int rc = wire_receive(&in->wire, &frame, in->err);
    if (rc != 0)
        return rc;
    if (frame.type != WIRE_OFFER || frame.bytes < sizeof in->offer)
        return error_set(in->err, MF_E_PEER, "the peer did not offer a sandbox");
    memcpy(&in->offer, frame.data, sizeof in->offer);
    size_t at = sizeof in->offer, left = frame.bytes - at;
    const struct wire_offer *offer = &in->offer;
    if (offer->name_bytes > 255 || offer->name_bytes > left ||
        offer->label_bytes != left - offer->name_bytes || offer->label_bytes > MF_MIGRATE_LABEL_MAX)
        return error_set(in->err, MF_E_PEER, "the peer's offer has wrong lengths");
    in->name = calloc(1, offer->name_bytes + 1);
    in->label = malloc(offer->label_bytes + 1);
    if (!in->name || !in->label)
        return error_set(in->err, MF_E_NO_MEMORY, "cannot allocate the peer's offer");
    memcpy(in->name, frame.data + at, offer->name_bytes);
    memcpy(in->label, frame.data + at + offer->name_bytes, offer->label_bytes);
    return check_offer(in);
}

/* Looks for what is here already, and says what is not. */
static int say_what_is_wanted(struct in *in)
{
    static const uint8_t none[MF_DIGEST_BYTES];
    const struct mf_migrate_in_options *o = in->options;
    struct wire_want want = {0};
    if (o->find_image)
        in->image = o->find_image(o->context, in->offer.image_digest);
    if (o->find_snapshot && memcmp(in->offer.parent_digest, none, sizeof none) != 0)
        in->parent = o->find_snapshot(o->context, in->offer.parent_digest);
    want.image = in->image == NULL;
    want.parent = in->parent != NULL;
    return wire_send(&in->wire, WIRE_WANT, &want, sizeof want, in->err);
}

static int receive_image(struct in *in)
{
    uint8_t digest[MF_DIGEST_BYTES], *bytes = NULL;
    struct digest sum;
    int rc = wire_receive_long(&in->wire, in->offer.image_bytes, &bytes, in->err);
    if (rc != 0)
        return rc;
    digest_init(&sum);
    digest_add(&sum, bytes, in->offer.image_bytes);
    digest_fini(&sum, digest);
    if (memcmp(digest, in->offer.image_digest, sizeof digest) != 0)
        rc = error_set(in->err, MF_E_PEER, "the peer sent another program than it offered");
    else
        rc = mf_image_from_memory(bytes, in->offer.image_bytes, in->name[0] ? in->name : "guest",
                                  &in->image, in->err);
    free(bytes);
    return rc;
}

static int ask_application(struct in *in)
{
    const struct mf_migrate_in_options *o = in->options;
    const struct mf_migrate_offer offer = {
        .size = sizeof offer,
        .label = in->label,
        .label_len = in->offer.label_bytes,
        .memory_bytes = in->offer.memory_bytes,
        .backend = (enum mf_backend)in->offer.backend,
        .image = in->image,
        .image_digest = in->offer.image_digest,
    };
    in->sandbox_options.size = sizeof in->sandbox_options;
    if (!o->accept)
        return 0;
    int rc = o->accept(o->context, &offer, &in->host, &in->sandbox_options, in->err);
    if (rc != 0 && in->err->message[0] == 0)
        error_set(in->err, MF_E_REFUSED, "the receiver does not take this sandbox");
    return rc;
}

/* The source's memory, which stays the source's until its COMMIT. */
static int borrow_memory(struct in *in)
{
    int fd;
    int rc = handover_receive(in->options->handover_socket, &fd, in->options->stall_ns, in->err);
    if (rc == 0)
        rc = mem_borrow(&in->sandbox->mem, fd, in->err);
    if (rc == MF_E_ARGUMENT)
        in->err->code = rc = MF_E_PEER;
    return rc;
}

/* Memory and VM, before the source has stopped anything. */
static int make_sandbox(struct in *in)
{
    const struct saved_state sizes = {
        .memory_bytes = in->offer.memory_bytes,
        .stack_bytes = in->offer.stack_bytes,
        .mailbox_bytes = in->offer.mailbox_bytes,
    };
    int rc = in_pages_init(in);
    if (rc == 0)
        rc = sandbox_create_empty(in->image, in->host, &in->sandbox_options, &sizes, &in->sandbox,
                                  in->err);
    if (rc == 0)
        rc = wire_send(&in->wire, WIRE_PREPARED, NULL, 0, in->err);
    return rc == 0 && in->handover ? borrow_memory(in) : rc;
}

static int prepare(struct in *in)
{
    uint64_t capabilities = WIRE_ZSTD | (in_post_possible() ? WIRE_POSTCOPY : 0) |
                            (in->options->handover_socket > 0 ? WIRE_HANDOVER : 0);
    int rc = wire_hello(&in->wire, capabilities, &in->peer, in->err);
    in->handover = rc == 0 && (capabilities & in->peer.capabilities & WIRE_HANDOVER) != 0;
    if (rc == 0)
        rc = receive_offer(in);
    if (rc == 0)
        rc = say_what_is_wanted(in);
    if (rc == 0 && !in->image)
        rc = receive_image(in);
    if (rc == 0)
        rc = ask_application(in);
    return rc == 0 ? make_sandbox(in) : rc;
}

/* ---- the copy ---- */

/* Pages, round by round, until the guest stands still. */
static int receive_pages(struct in *in)
{
    char text[16];
    int rc = 0;
    while (rc == 0) {
        struct wire_frame frame;
        uint64_t round;
        rc = wire_receive(&in->wire, &frame, in->err);
        if (rc != 0)
            return rc;
        switch (frame.type) {
        case WIRE_PAGES:
            if (in->handover)
                return error_set(in->err, MF_E_PEER,
                                 "the peer sent pages of memory that it passed");
            rc = in_pages(in, &frame, in_put_quiet);
            break;
        case WIRE_ROUND:
            if (frame.bytes != sizeof round)
                return error_set(in->err, MF_E_PEER, "the peer sent a round without a number");
            memcpy(&round, frame.data, sizeof round);
            rc = wire_send(&in->wire, WIRE_ROUND_DONE, &round, sizeof round, in->err);
            break;
        case WIRE_STATE:
            if (frame.bytes != sizeof in->state)
                return error_set(in->err, MF_E_PEER, "the peer sent a state of another size");
            memcpy(&in->state, frame.data, sizeof in->state);
            if (in->handover && in->state.missing != 0)
                return error_set(in->err, MF_E_PEER, "pages are missing of memory that was passed");
            return 0;
        default:
            return error_set(in->err, MF_E_PEER, "the peer sent %s in the middle of the copy",
                             wire_type_name(frame.type, text));
        }
    }
    return rc;
}

/* ---- the state ---- */

static int check_sizes(struct in *in)
{
    const struct saved_state *saved = &in->saved;
    const struct wire_offer *offer = &in->offer;
    if (saved->memory_bytes != offer->memory_bytes || saved->stack_bytes != offer->stack_bytes ||
        saved->mailbox_bytes != offer->mailbox_bytes)
        return error_set(in->err, MF_E_PEER, "the peer's state has other sizes than it offered");
    return 0;
}

/* A state that cannot be is the peer's mistake, not a snapshot's. */
static int as_peers(struct in *in, int rc)
{
    struct mf_error why = *in->err;
    return rc == MF_E_SNAPSHOT ? error_set(in->err, MF_E_PEER, "the peer's state: %.220s",
                                           why.message)
                               : rc;
}

static int receive_state(struct in *in)
{
    uint8_t *bytes = NULL;
    if (in->state.state_bytes > STATE_MOST || in->state.app_bytes > MF_MIGRATE_STATE_MAX)
        return error_set(in->err, MF_E_PEER, "the peer's state is larger than can be");
    int rc = wire_receive_long(&in->wire, in->state.state_bytes, &bytes, in->err);
    if (rc == 0)
        rc = as_peers(in, state_decode(bytes, in->state.state_bytes, &in->saved, in->err));
    free(bytes);
    if (rc == 0)
        rc = check_sizes(in);
    return rc == 0 ? as_peers(in, check_state(&in->saved, in->image, in->err)) : rc;
}

static int receive_app_state(struct in *in)
{
    const struct mf_migrate_in_options *o = in->options;
    uint8_t *bytes = NULL;
    int rc = wire_receive_long(&in->wire, in->state.app_bytes, &bytes, in->err);
    if (rc == 0 && o->state)
        rc = o->state(o->context, bytes, in->state.app_bytes, in->err);
    free(bytes);
    return rc;
}

/* In memory that came as a whole, descriptors and stubs are replaced by this library's, too. */
static void renew_system(struct in *in)
{
    for (uint32_t page = 0; page < LAYOUT_PAGE_FREE; page++)
        system_renew(&in->system, page,
                     mem_at(&in->sandbox->mem, (mf_gpa)page << PAGE_SHIFT));
}

static int load(struct in *in)
{
    int rc = receive_state(in);
    if (rc == 0)
        rc = receive_app_state(in);
    if (rc == 0 && in->state.missing > 0)
        rc = in_post_prepare(in);
    if (rc == 0)
        rc = as_peers(in, check_received(&in->saved, &in->sandbox->mem, in->err));
    if (rc == 0 && in->handover)
        renew_system(in);
    if (rc == 0)
        rc = sandbox_load_received(in->sandbox, &in->saved, in->state.timeout_left_ns,
                                   in->state.cpu_left_ns, in->err);
    if (rc == 0 && in->post)
        rc = in_post_register(in);
    return rc == 0 ? wire_send(&in->wire, WIRE_LOADED, NULL, 0, in->err) : rc;
}

/* It is the source's until COMMIT is here, and ours from then on whatever happens. */
static int take_over(struct in *in)
{
    struct mf_error ignored;
    struct wire_frame frame;
    int rc = wire_expect(&in->wire, WIRE_COMMIT, 0, &frame, in->err);
    if (rc != 0)
        return rc;
    if (in->post)
        return in_post_start(in);
    if (in->handover)
        rc = mem_own(&in->sandbox->mem, in->err);
    if (rc != 0)
        return rc;
    error_clear(&ignored);
    wire_send(&in->wire, WIRE_RUNNING, NULL, 0, &ignored);
    return 0;
}

/* ---- all of it ---- */

static int run_steps(struct in *in)
{
    int rc = prepare(in);
    if (rc == 0)
        rc = receive_pages(in);
    if (rc == 0)
        rc = load(in);
    return rc == 0 ? take_over(in) : rc;
}

static int take_options(const struct mf_migrate_in_options *given,
                        struct mf_migrate_in_options *o, struct mf_error *err)
{
    memset(o, 0, sizeof *o);
    if (given && given->size < offsetof(struct mf_migrate_in_options, memory_limit))
        return error_set(err, MF_E_ARGUMENT,
                         "options.size is %zu; set it to sizeof(struct mf_migrate_in_options)",
                         given->size);
    if (given)
        memcpy(o, given, MIN(given->size, sizeof *o));
    o->size = sizeof *o;
    if (o->timeout_ns == 0)
        o->timeout_ns = TIMEOUT_DEFAULT_NS;
    if (o->stall_ns == 0)
        o->stall_ns = STALL_DEFAULT_NS;
    return 0;
}

static int receive(struct in *in, struct mf_sandbox **out)
{
    in->wire.stall_ns = in->options->stall_ns;
    in->wire.deadline_ns = limits_now() + in->options->timeout_ns;
    int rc = run_steps(in);
    if (rc == 0) {
        *out = in->sandbox;
        return 0;
    }
    if (rc != MF_E_REFUSED || in->sandbox == NULL)
        wire_refuse(&in->wire, in->err);
    mf_sandbox_destroy(in->sandbox);
    return rc;
}

int mf_migrate_in(const struct mf_channel *channel, const struct mf_migrate_in_options *options,
                  struct mf_sandbox **out, struct mf_error *err)
{
    struct mf_migrate_in_options filled;
    struct mf_error own;
    err = err ? err : &own;
    error_clear(err);
    if (!channel || !channel->read || !channel->write || !out)
        return error_set(err, MF_E_ARGUMENT, "a migration needs a channel and a place for the "
                                             "sandbox");
    *out = NULL;
    int rc = take_options(options, &filled, err);
    if (rc != 0)
        return rc;
    struct in *in = calloc(1, sizeof *in);
    if (!in)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a migration");
    in->options = &filled;
    in->err = err;
    rc = wire_init(&in->wire, channel, err);
    if (rc == 0)
        rc = receive(in, out);
    if (rc != 0 || !in->post)
        in_free(in); /* otherwise it is the sandbox's */
    return rc;
}
