/* Frames over a channel; see wire.h. */
#include "migrate/wire.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "sandbox/limits.h"
#include "snapshot/digest.h"

#include <mayfly/version.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a wait lasts before the caller is asked and the clock is looked at. */
#define SLICE_MS 50
#define NS_PER_MS UINT64_C(1000000)
#define ARCH_X86_64 62

static const struct {
    const char *name;
    uint32_t most;
} types[] = {
#define WIRE_ROW(name, type, most, text) [type] = {#name, most},
    WIRE_FRAMES(WIRE_ROW)
#undef WIRE_ROW
};

const char *wire_type_name(unsigned type, char text[16])
{
    if (type < ARRAY_LEN(types) && types[type].name)
        return types[type].name;
    snprintf(text, 16, "frame %u", type);
    return text;
}

int wire_init(struct wire *wire, const struct mf_channel *channel, struct mf_error *err)
{
    memset(wire, 0, sizeof *wire);
    wire->channel = *channel;
    wire->out = malloc(sizeof(struct wire_head) + WIRE_FRAME_MOST);
    wire->in = malloc(WIRE_FRAME_MOST);
    if (wire->out && wire->in)
        return 0;
    wire_fini(wire);
    return error_set(err, MF_E_NO_MEMORY, "cannot allocate the buffers of a migration");
}

void wire_fini(struct wire *wire)
{
    free(wire->out);
    free(wire->in);
    wire->out = wire->in = NULL;
}

/* ---- whole transfers ---- */

/* Before each frame: a channel that never blocks must not outlive the deadline. */
static int check_deadline(const struct wire *wire, uint64_t now, struct mf_error *err)
{
    if (wire->deadline_ns != 0 && now >= wire->deadline_ns)
        return error_set(err, MF_E_DEADLINE, "the migration took longer than it may");
    return 0;
}

/* After a slice in which nothing came or went; `since` is when something last did. */
static int check_waiting(const struct wire *wire, uint64_t since, struct mf_error *err)
{
    uint64_t now = limits_now();
    if (wire->poll && wire->poll(wire->poll_context) != 0)
        return error_set(err, MF_E_CANCELLED, "the migration was cancelled");
    if (check_deadline(wire, now, err) != 0)
        return MF_E_DEADLINE;
    if (now - since >= wire->stall_ns)
        return error_set(err, MF_E_CHANNEL, "the peer has said nothing for %llu ms",
                         (unsigned long long)((now - since) / NS_PER_MS));
    return 0;
}

static int transfer_failed(long result, bool sending, struct mf_error *err)
{
    if (result == 0)
        return error_set(err, MF_E_CHANNEL, "the peer has closed the channel");
    if (err->code == MF_OK || err->message[0] == 0)
        return error_set(err, MF_E_CHANNEL, "the channel broke while %s",
                         sending ? "sending" : "receiving");
    struct mf_error why = *err;
    return error_set(err, MF_E_CHANNEL, "%s", why.message);
}

/*
 * After a part that went through at `now`: a peer that takes or gives a few bytes at a time, so
 * that no wait is ever a whole slice, does not get around the deadline and the caller's wishes.
 */
static int check_moving(const struct wire *wire, uint64_t now, uint64_t *asked,
                        struct mf_error *err)
{
    if (now - *asked < SLICE_MS * NS_PER_MS)
        return 0;
    *asked = now;
    return check_waiting(wire, now, err);
}

static int send_all(struct wire *wire, const uint8_t *data, size_t len, struct mf_error *err)
{
    const struct mf_channel *channel = &wire->channel;
    uint64_t since = limits_now(), asked = since;
    if (check_deadline(wire, since, err) != 0)
        return MF_E_DEADLINE;
    while (len > 0) {
        long n = channel->write(channel->context, data, len, SLICE_MS, err);
        if (n == MF_CHANNEL_TIMEOUT) {
            int rc = check_waiting(wire, since, err);
            if (rc != 0)
                return rc;
            continue;
        }
        if (n <= 0 || (size_t)n > len)
            return transfer_failed(n, true, err);
        data += n;
        len -= (size_t)n;
        wire->bytes_sent += (uint64_t)n;
        since = limits_now();
        int rc = len > 0 ? check_moving(wire, since, &asked, err) : 0;
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int receive_all(struct wire *wire, uint8_t *data, size_t len, struct mf_error *err)
{
    const struct mf_channel *channel = &wire->channel;
    uint64_t since = limits_now(), asked = since;
    if (check_deadline(wire, since, err) != 0)
        return MF_E_DEADLINE;
    while (len > 0) {
        long n = channel->read(channel->context, data, len, SLICE_MS, err);
        if (n == MF_CHANNEL_TIMEOUT) {
            int rc = check_waiting(wire, since, err);
            if (rc != 0)
                return rc;
            continue;
        }
        if (n <= 0 || (size_t)n > len)
            return transfer_failed(n, false, err);
        data += n;
        len -= (size_t)n;
        wire->bytes_received += (uint64_t)n;
        since = limits_now();
        int rc = len > 0 ? check_moving(wire, since, &asked, err) : 0;
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- frames out ---- */

static uint64_t frame_checksum(struct wire_head head, const uint8_t *body)
{
    uint64_t parts[2];
    head.checksum = 0;
    parts[0] = checksum_of(&head, sizeof head);
    parts[1] = checksum_of(body, head.bytes);
    return checksum_of(parts, sizeof parts);
}

uint8_t *wire_body(struct wire *wire)
{
    return wire->out + sizeof(struct wire_head);
}

int wire_send_body(struct wire *wire, enum wire_type type, uint16_t flags, size_t bytes,
                   struct mf_error *err)
{
    struct wire_head head = {.type = (uint16_t)type, .flags = flags, .bytes = (uint32_t)bytes};
    head.checksum = frame_checksum(head, wire_body(wire));
    memcpy(wire->out, &head, sizeof head);
    return send_all(wire, wire->out, sizeof head + bytes, err);
}

int wire_send(struct wire *wire, enum wire_type type, const void *data, size_t bytes,
              struct mf_error *err)
{
    if (bytes > 0)
        memcpy(wire_body(wire), data, bytes);
    return wire_send_body(wire, type, 0, bytes, err);
}

int wire_send_long(struct wire *wire, const void *data, uint64_t bytes, struct mf_error *err)
{
    const uint8_t *at = data;
    int rc = 0;
    while (rc == 0 && bytes > 0) {
        size_t part = (size_t)MIN(bytes, (uint64_t)types[WIRE_BYTES].most);
        rc = wire_send(wire, WIRE_BYTES, at, part, err);
        at += part;
        bytes -= part;
    }
    return rc;
}

void wire_refuse(struct wire *wire, const struct mf_error *why)
{
    struct mf_error ignored;
    struct wire_refuse refuse = {.code = why->code};
    size_t len = strnlen(why->message, sizeof why->message);
    error_clear(&ignored);
    refuse.text_bytes = (uint32_t)len;
    memcpy(wire_body(wire), &refuse, sizeof refuse);
    memcpy(wire_body(wire) + sizeof refuse, why->message, len);
    /* Whatever was to be waited for is over; this must not wait for long. */
    wire->poll = NULL;
    wire->deadline_ns = 0;
    wire->stall_ns = MIN(wire->stall_ns, 1000 * NS_PER_MS);
    wire_send_body(wire, WIRE_REFUSE, 0, sizeof refuse + len, &ignored);
}

/* ---- frames in ---- */

static int refused(const struct wire_frame *frame, struct mf_error *err)
{
    struct wire_refuse refuse;
    char text[sizeof err->message];
    if (frame->bytes < sizeof refuse)
        return error_set(err, MF_E_REFUSED, "the peer gave up without a word");
    memcpy(&refuse, frame->data, sizeof refuse);
    size_t len = MIN((size_t)refuse.text_bytes, frame->bytes - sizeof refuse);
    len = MIN(len, sizeof text - 1);
    memcpy(text, frame->data + sizeof refuse, len);
    text_make_utf8(text, len);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            text[i] = ' ';
    text[len] = 0;
    return error_set(err, MF_E_REFUSED, "the peer gave up: %.220s", text);
}

static int receive_one(struct wire *wire, struct wire_frame *frame, struct mf_error *err)
{
    int rc = receive_all(wire, (uint8_t *)&wire->head + wire->head_have,
                         sizeof wire->head - wire->head_have, err);
    if (rc != 0)
        return rc;
    struct wire_head head = wire->head;
    wire->head_have = 0;
    if (head.type >= ARRAY_LEN(types) || !types[head.type].name)
        return error_set(err, MF_E_PEER, "the peer sent a frame of the unknown type %u",
                         head.type);
    if (head.bytes > types[head.type].most)
        return error_set(err, MF_E_PEER, "the peer sent %u bytes in a %s frame, which has %u",
                         head.bytes, types[head.type].name, types[head.type].most);
    rc = receive_all(wire, wire->in, head.bytes, err);
    if (rc == 0 && head.checksum != frame_checksum(head, wire->in))
        rc = error_set(err, MF_E_PEER, "a %s frame came in damaged", types[head.type].name);
    *frame = (struct wire_frame){
        .type = (enum wire_type)head.type,
        .flags = head.flags,
        .bytes = head.bytes,
        .data = wire->in,
    };
    return rc;
}

int wire_receive(struct wire *wire, struct wire_frame *frame, struct mf_error *err)
{
    int rc;
    do {
        rc = receive_one(wire, frame, err);
        if (rc == 0 && frame->type == WIRE_ALIVE && wire->poll &&
            wire->poll(wire->poll_context) != 0)
            rc = error_set(err, MF_E_CANCELLED, "the migration was cancelled");
    } while (rc == 0 && frame->type == WIRE_ALIVE);
    if (rc == 0 && frame->type == WIRE_REFUSE)
        rc = refused(frame, err);
    return rc;
}

int wire_try(struct wire *wire, struct wire_frame *frame, bool *got, struct mf_error *err)
{
    const struct mf_channel *channel = &wire->channel;
    *got = false;
    long n = channel->read(channel->context, (uint8_t *)&wire->head + wire->head_have,
                           sizeof wire->head - wire->head_have, 0, err);
    if (n == MF_CHANNEL_TIMEOUT)
        return 0;
    if (n <= 0 || (size_t)n > sizeof wire->head - wire->head_have)
        return transfer_failed(n, false, err);
    wire->bytes_received += (uint64_t)n;
    wire->head_have += (size_t)n;
    *got = true;
    return wire_receive(wire, frame, err);
}

int wire_expect(struct wire *wire, enum wire_type type, size_t bytes, struct wire_frame *frame,
                struct mf_error *err)
{
    char text[16];
    int rc = wire_receive(wire, frame, err);
    if (rc != 0)
        return rc;
    if (frame->type != type)
        return error_set(err, MF_E_PEER, "the peer sent %s where %s is due",
                         wire_type_name(frame->type, text), types[type].name);
    if (frame->bytes != bytes)
        return error_set(err, MF_E_PEER, "the peer sent a %s frame of %u bytes, not %zu",
                         types[type].name, frame->bytes, bytes);
    return 0;
}

int wire_receive_long(struct wire *wire, uint64_t bytes, uint8_t **out, struct mf_error *err)
{
    uint64_t have = 0, capacity = 0;
    uint8_t *data = NULL;
    struct wire_frame frame;
    int rc = 0;
    while (rc == 0 && have < bytes) {
        rc = wire_receive(wire, &frame, err);
        if (rc == 0 && (frame.type != WIRE_BYTES || frame.bytes == 0 || frame.bytes > bytes - have))
            rc = error_set(err, MF_E_PEER, "the peer sent other bytes than it announced");
        if (rc == 0 && have + frame.bytes > capacity) {
            capacity = MIN(bytes, MAX(2 * capacity, have + frame.bytes));
            uint8_t *more = realloc(data, capacity);
            if (!more)
                rc = error_set(err, MF_E_NO_MEMORY, "cannot allocate %llu bytes",
                               (unsigned long long)capacity);
            else
                data = more;
        }
        if (rc == 0) {
            memcpy(data + have, frame.data, frame.bytes);
            have += frame.bytes;
        }
    }
    if (rc != 0) {
        free(data);
        data = NULL;
    }
    *out = data;
    return rc;
}

/* ---- the beginning ---- */

static int check_hello(const struct wire_hello *peer, struct mf_error *err)
{
    if (memcmp(peer->magic, WIRE_MAGIC, WIRE_MAGIC_BYTES) != 0)
        return error_set(err, MF_E_PEER, "the peer does not speak Mayfly's migration protocol");
    if (peer->min_version > WIRE_VERSION || peer->version < WIRE_MIN_VERSION)
        return error_set(err, MF_E_PEER,
                         "the peer speaks version %u.%u of the protocol (at least %u.%u), this "
                         "is %u.%u: use releases that are closer to each other",
                         peer->version >> 16, peer->version & 0xffff, peer->min_version >> 16,
                         peer->min_version & 0xffff, WIRE_VERSION >> 16, WIRE_VERSION & 0xffff);
    if (peer->arch != ARCH_X86_64 || peer->page_bytes != PAGE_BYTES)
        return error_set(err, MF_E_PEER, "the peer has other guests: machine %u, pages of %u bytes",
                         peer->arch, peer->page_bytes);
    return 0;
}

int wire_hello(struct wire *wire, uint64_t capabilities, struct wire_hello *peer,
               struct mf_error *err)
{
    struct wire_hello own = {
        .magic = WIRE_MAGIC,
        .version = WIRE_VERSION,
        .min_version = WIRE_MIN_VERSION,
        .capabilities = capabilities,
        .arch = ARCH_X86_64,
        .page_bytes = PAGE_BYTES,
    };
    struct wire_frame frame;
    snprintf(own.tool, sizeof own.tool, "mayfly %s", MF_VERSION_STRING);
    int rc = wire_send(wire, WIRE_HELLO, &own, sizeof own, err);
    if (rc == 0)
        rc = wire_receive(wire, &frame, err);
    if (rc == MF_E_PEER)
        return error_set(err, MF_E_PEER, "the peer does not speak Mayfly's migration protocol");
    if (rc != 0)
        return rc;
    /* A later version may say more. */
    if (frame.type != WIRE_HELLO || frame.bytes < sizeof *peer)
        return error_set(err, MF_E_PEER, "the peer did not begin with a greeting");
    memcpy(peer, frame.data, sizeof *peer);
    return check_hello(peer, err);
}
