/*
 * The source's side of a post-copy: the guest goes on at the receiver before its pages are there.
 *
 * What stands here does not change any more, so pages can be read at leisure. They are
 * sent in rising order, a few at a time, and no more of them are on the way than a guest that
 * asks for one can wait for. A page that was asked for goes first, with its neighbours.
 */
#include "base/checked.h"
#include "base/error.h"
#include "mem/pagetable.h"
#include "migrate/out.h"

#include <string.h>

/* Frames that the receiver has not confirmed. */
#define ON_THE_WAY 4
#define FRAME_PAGES 16
#define NEIGHBOURS 8

/* ---- before the commit ---- */

struct needed {
    struct out *out;
    int rc;
};

static void need(struct needed *needed, mf_gpa gpa)
{
    if (needed->rc == 0)
        needed->rc = out_add_page(needed->out, (uint32_t)(gpa >> PAGE_SHIFT));
}

static void need_table(void *context, mf_gva gva, int level, mf_gpa table)
{
    (void)gva;
    (void)level;
    need(context, table);
}

/* What the host itself reads at the receiver, and where the guest is going to look first. */
static int send_needed(struct out *out)
{
    const struct mf_sandbox *sandbox = out->sandbox;
    struct needed needed = {.out = out};
    const mf_gva first[] = {sandbox->vm->regs->rip, sandbox->vm->regs->rsp};
    for (uint64_t page = 0; page < LAYOUT_PAGE_FREE; page++)
        need(&needed, page << PAGE_SHIFT);
    pt_each_table(&sandbox->mem, need_table, &needed);
    /* Free pages, which the receiver's host hands out as they are. */
    for (uint32_t i = 0; i < sandbox->mem.nfree; i++)
        need(&needed, (mf_gpa)sandbox->mem.free[i] << PAGE_SHIFT);
    for (uint64_t page = sandbox->mem.next; page < sandbox->mem.end; page++)
        if (out->dirty[page / 64] != 0)
            need(&needed, page << PAGE_SHIFT);
    if (sandbox->rings.control)
        need(&needed, sandbox->rings.control_gpa);
    for (size_t i = 0; i < ARRAY_LEN(first); i++) {
        struct pt_page page;
        if (pt_lookup(&sandbox->mem, round_down_u64(first[i], PAGE_BYTES), &page) &&
            page.gpa < sandbox->mem.bytes)
            need(&needed, page.gpa);
    }
    return needed.rc == 0 ? out_flush(out) : needed.rc;
}

int out_post_prepare(struct out *out, uint64_t *missing)
{
    int rc = send_needed(out);
    *missing = 0;
    for (size_t i = 0; i < out->words; i++)
        *missing += (unsigned)__builtin_popcountll(out->dirty[i]);
    return rc;
}

int out_post_name_missing(struct out *out)
{
    int rc = 0;
    for (size_t first = 0; rc == 0 && first < out->words; first += WIRE_MISSING_WORDS) {
        const struct wire_missing head = {.first_word = first};
        size_t n = MIN(out->words - first, (size_t)WIRE_MISSING_WORDS);
        memcpy(wire_body(&out->wire), &head, sizeof head);
        memcpy(wire_body(&out->wire) + sizeof head, out->dirty + first, n * sizeof *out->dirty);
        rc = wire_send_body(&out->wire, WIRE_MISSING, 0, sizeof head + n * sizeof *out->dirty,
                            out->err);
    }
    return rc;
}

/* ---- after it ---- */

struct serving {
    struct out *out;
    uint64_t sent, confirmed; /* rounds */
    size_t cursor;            /* word of out->dirty where the next pages are looked for */
    bool complete;
};

static int end_round(struct serving *serving)
{
    uint64_t number = ++serving->sent;
    int rc = out_flush(serving->out);
    return rc == 0 ? wire_send(&serving->out->wire, WIRE_ROUND, &number, sizeof number,
                               serving->out->err)
                   : rc;
}

static int send_asked(struct serving *serving, const struct wire_frame *frame)
{
    uint64_t page;
    if (frame->bytes != sizeof page)
        return error_set(serving->out->err, MF_E_PEER, "the peer asked for no page");
    memcpy(&page, frame->data, sizeof page);
    if (page >= serving->out->words * 64)
        return error_set(serving->out->err, MF_E_PEER, "the peer asked for a page that is not");
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < NEIGHBOURS && page + i < serving->out->words * 64; i++)
        rc = out_add_page(serving->out, (uint32_t)(page + i));
    serving->cursor = (size_t)page / 64;
    return rc == 0 ? out_flush(serving->out) : rc;
}

static int take_word(struct serving *serving, const struct wire_frame *frame)
{
    char text[16];
    switch (frame->type) {
    case WIRE_REQUEST:
        return send_asked(serving, frame);
    case WIRE_ROUND_DONE:
        serving->confirmed++;
        return serving->confirmed <= serving->sent
                   ? 0
                   : error_set(serving->out->err, MF_E_PEER, "the peer confirms what nobody sent");
    case WIRE_COMPLETE:
        serving->complete = true;
        return 0;
    default:
        return error_set(serving->out->err, MF_E_PEER, "the peer sent %s during a post-copy",
                         wire_type_name(frame->type, text));
    }
}

/* Some pages from the cursor on; *any says whether there were some. */
static int send_some(struct serving *serving, bool *any)
{
    struct out *out = serving->out;
    unsigned n = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i <= out->words && n < FRAME_PAGES; i++) {
        if (serving->cursor >= out->words)
            serving->cursor = 0;
        while (rc == 0 && out->dirty[serving->cursor] != 0 && n < FRAME_PAGES) {
            unsigned bit = (unsigned)__builtin_ctzll(out->dirty[serving->cursor]);
            rc = out_add_page(out, (uint32_t)(serving->cursor * 64 + bit));
            n++;
        }
        if (out->dirty[serving->cursor] == 0)
            serving->cursor++;
    }
    *any = n > 0;
    return rc == 0 && n > 0 ? end_round(serving) : rc;
}

int out_post_serve(struct out *out)
{
    struct serving serving = {.out = out};
    bool more = true;
    int rc = 0;
    out->progress.phase = "post-copy";
    while (rc == 0 && !serving.complete) {
        struct wire_frame frame;
        bool got = false;
        if (more && serving.sent - serving.confirmed < ON_THE_WAY) {
            rc = send_some(&serving, &more);
            if (rc == 0)
                rc = wire_try(&out->wire, &frame, &got, out->err);
        } else {
            rc = wire_receive(&out->wire, &frame, out->err);
            got = true;
        }
        if (rc == 0 && got)
            rc = take_word(&serving, &frame);
    }
    return rc;
}
