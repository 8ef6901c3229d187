/*
 * Output is collected and leaves when the buffer is full, before input is asked for, at
 * the end of each run(), and when it has been here for some milliseconds: a run() may be long,
 * and somebody may be looking. Input is asked for in pieces and kept until the program takes
 * it; a line is taken only when all of it is there, so that an instruction that reads can
 * be run again when there was no input.
 */
#include "core.h"

#include <string.h>

/* Instructions, as the guest knows no time: some milliseconds, even in the internal form. */
#define OUT_WAITS UINT64_C(1000000)

uint64_t console_distance(const struct machine *m)
{
    const struct stream *s = &m->stream;
    uint64_t waited = m->executed - s->out_since;

    if (s->out_len == 0)
        return UINT64_MAX;
    return waited < OUT_WAITS ? OUT_WAITS - waited : 0;
}

void console_flush(struct machine *m)
{
    struct stream *s = &m->stream;

    if (s->out_len > 0)
        m->host.write(m->host.context, 1, s->out, s->out_len);
    s->out_len = 0;
}

void console_write(struct machine *m, const void *data, size_t len)
{
    struct stream *s = &m->stream;

    if (len > sizeof(s->out) - s->out_len)
        console_flush(m);
    if (len > sizeof(s->out)) {
        m->host.write(m->host.context, 1, data, len);
        return;
    }
    if (s->out_len == 0)
        s->out_since = m->executed;
    memcpy(s->out + s->out_len, data, len);
    s->out_len += len;
}

/* More input: 1, 0 at the end (or no room), -2 when there is none now. */
static int fill(struct machine *m)
{
    struct stream *s = &m->stream;

    if (s->in_at > 0) {
        memmove(s->in, s->in + s->in_at, s->in_len - s->in_at);
        s->in_len -= s->in_at;
        s->in_at = 0;
    }
    if (s->in_end || s->in_len == sizeof(s->in))
        return 0;
    console_flush(m);
    long got = m->host.read(m->host.context, s->in + s->in_len, sizeof(s->in) - s->in_len);
    if (got < 0)
        return -2;
    s->in_len += (size_t)got;
    s->in_end = got == 0;
    return got != 0;
}

int console_peek(struct machine *m)
{
    struct stream *s = &m->stream;

    if (s->in_at == s->in_len) {
        int more = fill(m);
        if (more <= 0)
            return more < 0 ? -2 : -1;
    }
    return s->in[s->in_at];
}

void console_take(struct machine *m)
{
    m->stream.in_at++;
}

long console_line(struct machine *m, char *out, size_t most)
{
    struct stream *s = &m->stream;

    for (;;) {
        size_t have = s->in_len - s->in_at;
        size_t part = have < most ? have : most;
        const uint8_t *start = s->in + s->in_at;
        const uint8_t *newline = part > 0 ? memchr(start, '\n', part) : NULL;
        if (newline != NULL || part == most) {
            if (newline != NULL)
                part = (size_t)(newline - start) + 1;
            memcpy(out, start, part);
            s->in_at += part;
            return (long)part;
        }
        int more = fill(m);
        if (more < 0)
            return -2;
        if (more == 0) {
            memcpy(out, s->in + s->in_at, part);
            s->in_at += part;
            return (long)part;
        }
    }
}
