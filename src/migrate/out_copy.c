/*
 * The copy while the guest runs: rounds, each of which sends what was written during the
 * one before. After each round the guest stands still for a moment, in which the written
 * pages are collected; when what there is can be sent within the limit of downtime, it
 * does not go on here.
 *
 * A guest that writes as fast as the channel takes is held back in steps: it runs and
 * stands still by turns, while the thread that sends goes on.
 */
#include "base/checked.h"
#include "base/error.h"
#include "migrate/out.h"
#include "sandbox/limits.h"

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
/* Less than this says nothing about how fast the channel is. */
#define SAMPLE_BYTES (UINT64_C(256) << 10)
#define RATE_DEFAULT (UINT64_C(200) << 20)
/* What the end costs beside the pages: state, three turns of words, loading. */
#define END_NS (NS_PER_MS / 2)
/* A round that leaves more than this part of what it sent does not get on: of 10. */
#define PROGRESS_TENTHS 8
/* Before a post-copy the guest is looked at when one part of so many of its pages is sent. */
#define EARLY_PARTS 4
#define THROTTLE_STEP 20
#define THROTTLE_MOST 98
/* A guest that is held back runs and stands still in turns of so long together. */
#define TURN_NS (10 * NS_PER_MS)

static int throttle_to(struct out *out, unsigned percent)
{
    out->progress.throttle = MIN(percent, (unsigned)THROTTLE_MOST);
    out->hold_ns = TURN_NS / 100 * out->progress.throttle;
    out->run_ns = TURN_NS - out->hold_ns;
    out->turn_ns = limits_now();
    return 0;
}

int out_throttle(struct out *out)
{
    uint64_t now = limits_now();
    if (out->progress.throttle == 0 || out->stopped)
        return 0;
    if (!out->paused && now - out->turn_ns >= out->run_ns) {
        out->turn_ns = now;
        return out_pause(out);
    }
    if (out->paused && now - out->turn_ns >= out->hold_ns) {
        out->turn_ns = now;
        out_unpause(out);
    }
    return 0;
}

/* One round: sends, and waits until the receiver has all of it. */
static int send_round(struct out *out)
{
    uint64_t number = ++out->progress.round, done, sent = out->wire.bytes_sent;
    uint64_t begin = limits_now();
    struct wire_frame frame;
    int rc = out_send_pages(out);
    if (rc == 0)
        rc = wire_send(&out->wire, WIRE_ROUND, &number, sizeof number, out->err);
    if (rc == 0)
        rc = wire_expect(&out->wire, WIRE_ROUND_DONE, sizeof done, &frame, out->err);
    if (rc != 0)
        return rc;
    __builtin_memcpy(&done, frame.data, sizeof done);
    if (done != number)
        return error_set(out->err, MF_E_PEER, "the peer confirms round %llu, not %llu",
                         (unsigned long long)done, (unsigned long long)number);
    sent = out->wire.bytes_sent - sent;
    uint64_t took = limits_now() - begin;
    if (sent >= SAMPLE_BYTES && took > 0)
        out->progress.bytes_per_s = (uint64_t)((double)sent * 1e9 / (double)took);
    return 0;
}

static void note_dirty(struct out *out, uint64_t npages, uint64_t since_ns)
{
    struct mf_migrate_progress *p = &out->progress;
    uint64_t rate = p->bytes_per_s ? p->bytes_per_s : RATE_DEFAULT;
    double bytes = (double)npages * PAGE_BYTES;
    p->pages_left = npages;
    p->dirty_bytes_per_s =
        since_ns > 0 ? (uint64_t)((double)out->written * PAGE_BYTES * 1e9 / (double)since_ns) : 0;
    p->expected_downtime_ns = END_NS + (uint64_t)(bytes * 1e9 / (double)rate);
}

/* Stops the guest and looks at what it has written since the last look. */
static int look(struct out *out, uint64_t *npages)
{
    int rc = out->paused ? 0 : out_pause(out);
    uint64_t since = limits_now() - out->harvest_ns;
    if (rc == 0)
        rc = out_harvest(out, npages);
    out->harvest_ns = limits_now();
    if (rc == 0)
        note_dirty(out, *npages, since);
    return rc;
}

/* Whether a round that left `left` pages and sent `sent` was of little use. */
static bool of_little_use(uint64_t left, uint64_t sent)
{
    return left >= sent / 10 * PROGRESS_TENTHS;
}

int out_look_early(struct out *out, bool *in_vain)
{
    const struct mf_migrate_progress *p = &out->progress;
    uint64_t npages;
    if (!out->postcopy || out->looked_early || out->paused || p->round != 1 ||
        p->pages_sent * PAGE_BYTES < SAMPLE_BYTES || p->pages_sent < p->pages_total / EARLY_PARTS)
        return 0;
    out->looked_early = true;
    int rc = look(out, &npages);
    if (out->paused)
        out_unpause(out);
    *in_vain = rc == 0 && of_little_use(out->written, p->pages_sent);
    return rc;
}

int out_copy(struct out *out)
{
    /* A quarter is for what nobody foresees: others on the channel, a thread that has to wait. */
    const uint64_t goal = out->options.downtime_limit_ns - out->options.downtime_limit_ns / 4;
    uint64_t sent = UINT64_MAX, npages = 0;
    int rc = 0;
    out->progress.phase = "copy";
    while (rc == 0) {
        uint64_t before = out->progress.pages_sent;
        rc = send_round(out);
        if (rc == 0)
            rc = look(out, &npages);
        if (rc != 0 || out->progress.expected_downtime_ns <= goal)
            return rc;
        /* Nothing is held back before a post-copy, and no round is sent in vain. */
        if (out->postcopy && of_little_use(npages, out->progress.pages_sent - before))
            return 0;
        if (out->progress.round > 2 && of_little_use(npages, sent))
            throttle_to(out, out->progress.throttle + THROTTLE_STEP);
        sent = npages;
        out_unpause(out);
        rc = out_progress(out, "copy");
    }
    return rc;
}
