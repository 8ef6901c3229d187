/*
 * Programs as bytes. The writer and the reader are mirrors of each other; the reader
 * trusts nothing: each count is compared with the bytes that are left before anything is
 * allocated for it.
 */
#include "machine/image.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC_BYTES 8

/* Writing: `at` is NULL while the length is counted. */
struct writer {
    uint8_t *at;
    size_t len;
};

static void put_bytes(struct writer *w, const void *data, size_t len)
{
    if (w->at != NULL && len > 0)
        memcpy(w->at + w->len, data, len);
    w->len += len;
}

static void put_u32(struct writer *w, uint32_t value)
{
    uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                        (uint8_t)(value >> 24)};
    put_bytes(w, bytes, sizeof bytes);
}

static void put_text(struct writer *w, const char *text)
{
    size_t len = strlen(text);

    put_u32(w, (uint32_t)len);
    put_bytes(w, text, len);
}

static void write_program(struct writer *w, const struct machine_program *p)
{
    put_bytes(w, MACHINE_IMAGE_MAGIC, MAGIC_BYTES);
    put_u32(w, MACHINE_IMAGE_VERSION);
    put_u32(w, (p->big_endian ? IMAGE_BIG_ENDIAN : 0u) |
                   (p->delayed_branches ? IMAGE_DELAYED_BRANCHES : 0u) |
                   (p->simple ? IMAGE_SIMPLE : 0u) | (p->returns ? IMAGE_RETURNS : 0u));
    put_u32(w, p->entry);
    put_u32(w, (uint32_t)p->nsegments);
    put_u32(w, (uint32_t)p->nsymbols);
    put_u32(w, (uint32_t)p->nlines);
    put_u32(w, (uint32_t)p->nfiles);
    put_u32(w, (uint32_t)p->nstrings);
    for (size_t i = 0; i < p->nsegments; i++) {
        const struct machine_segment *s = &p->segments[i];
        put_u32(w, s->kind);
        put_u32(w, s->address);
        put_u32(w, s->bytes);
        put_u32(w, s->memory_bytes);
        put_u32(w, (s->writable ? IMAGE_WRITABLE : 0u) | (s->executable ? IMAGE_EXECUTABLE : 0u));
        put_bytes(w, s->data, s->bytes);
    }
    for (size_t i = 0; i < p->nsymbols; i++) {
        put_u32(w, p->symbols[i].address);
        put_u32(w, p->symbols[i].global ? IMAGE_GLOBAL : 0u);
        put_text(w, p->symbols[i].name);
    }
    for (size_t i = 0; i < p->nlines; i++) {
        put_u32(w, p->lines[i].address);
        put_u32(w, p->lines[i].file);
        put_u32(w, p->lines[i].line);
    }
    for (size_t i = 0; i < p->nfiles; i++)
        put_text(w, p->files[i]);
    for (size_t i = 0; i < p->nstrings; i++)
        put_text(w, p->strings[i]);
}

static bool texts_fit(char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(texts[i]) > IMAGE_NAME_MAX)
            return false;
    }
    return n <= IMAGE_RECORDS_MAX;
}

static bool within_limits(const struct machine_program *p)
{
    if (p->nsegments > IMAGE_SEGMENTS_MAX || p->nsymbols > IMAGE_RECORDS_MAX ||
        p->nlines > IMAGE_RECORDS_MAX)
        return false;
    for (size_t i = 0; i < p->nsymbols; i++) {
        if (strlen(p->symbols[i].name) > IMAGE_NAME_MAX)
            return false;
    }
    return texts_fit(p->files, p->nfiles) && texts_fit(p->strings, p->nstrings);
}

int machine_image_encode(const struct machine_program *program, uint8_t **bytes, size_t *len)
{
    struct writer w = {0};

    if (!within_limits(program))
        return -1;
    write_program(&w, program);
    w.at = malloc(w.len);
    if (w.at == NULL)
        return -1;
    w.len = 0;
    write_program(&w, program);
    *bytes = w.at;
    *len = w.len;
    return 0;
}

/* Reading: `why` is set once something is wrong, and every later read gives zeros. */
struct reader {
    const uint8_t *at;
    size_t left;
    const char *why;
};

static bool wrong(struct reader *r, const char *why)
{
    if (r->why == NULL)
        r->why = why;
    return false;
}

static uint32_t get_u32(struct reader *r)
{
    if (r->why != NULL || r->left < 4) {
        wrong(r, "the image is cut off");
        return 0;
    }
    uint32_t value = (uint32_t)r->at[0] | (uint32_t)r->at[1] << 8 | (uint32_t)r->at[2] << 16 |
                     (uint32_t)r->at[3] << 24;
    r->at += 4;
    r->left -= 4;
    return value;
}

/* A copy of `len` bytes with a NUL behind them; NULL and `why` on failure. */
static uint8_t *get_bytes(struct reader *r, size_t len)
{
    if (r->why != NULL || len > r->left) {
        wrong(r, "the image is cut off");
        return NULL;
    }
    uint8_t *copy = malloc(len + 1);
    if (copy == NULL) {
        wrong(r, "no memory");
        return NULL;
    }
    memcpy(copy, r->at, len);
    copy[len] = 0;
    r->at += len;
    r->left -= len;
    return copy;
}

static char *get_text(struct reader *r)
{
    uint32_t len = get_u32(r);

    if (r->why == NULL && len > IMAGE_NAME_MAX) {
        wrong(r, "a name is too long");
        return NULL;
    }
    char *text = (char *)get_bytes(r, len);
    for (uint32_t i = 0; text != NULL && i < len; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            wrong(r, "a name has control characters");
    }
    return text;
}

/* Room for `n` records that take at least `least` bytes each in the image. */
static void *get_room(struct reader *r, uint32_t n, uint32_t max, size_t least, size_t size)
{
    if (r->why != NULL || n == 0)
        return NULL;
    if (n > max || n > r->left / least) {
        wrong(r, "a count is larger than the image");
        return NULL;
    }
    void *room = calloc(n, size);
    if (room == NULL)
        wrong(r, "no memory");
    return room;
}

static void read_segments(struct reader *r, struct machine_program *p, uint32_t n)
{
    uint64_t free_from = 0;

    p->segments = get_room(r, n, IMAGE_SEGMENTS_MAX, 20, sizeof(*p->segments));
    for (uint32_t i = 0; r->why == NULL && i < n; i++) {
        struct machine_segment *s = &p->segments[i];
        uint32_t kind = get_u32(r);
        s->address = get_u32(r);
        s->bytes = get_u32(r);
        s->memory_bytes = get_u32(r);
        uint32_t rights = get_u32(r);
        s->data = get_bytes(r, s->bytes);
        p->nsegments = i + 1;
        s->kind = (enum machine_segment_kind)kind;
        s->writable = rights & IMAGE_WRITABLE;
        s->executable = rights & IMAGE_EXECUTABLE;
        if (kind > SEGMENT_KDATA || rights > (IMAGE_WRITABLE | IMAGE_EXECUTABLE))
            wrong(r, "a segment is of an unknown kind");
        if (s->bytes > s->memory_bytes)
            wrong(r, "a segment has more bytes than memory");
        if (s->address < free_from)
            wrong(r, "segments overlap or are not sorted");
        free_from = (uint64_t)s->address + s->memory_bytes;
        if (free_from > UINT64_C(1) << 32)
            wrong(r, "a segment ends behind the address space");
    }
}

static void read_symbols(struct reader *r, struct machine_program *p, uint32_t n)
{
    p->symbols = get_room(r, n, IMAGE_RECORDS_MAX, 12, sizeof(*p->symbols));
    for (uint32_t i = 0; r->why == NULL && i < n; i++) {
        struct machine_symbol *s = &p->symbols[i];
        s->address = get_u32(r);
        uint32_t flags = get_u32(r);
        s->global = flags & IMAGE_GLOBAL;
        s->name = get_text(r);
        p->nsymbols = i + 1;
        if (flags > IMAGE_GLOBAL)
            wrong(r, "a symbol has unknown flags");
        if (i > 0 && s->address < p->symbols[i - 1].address)
            wrong(r, "symbols are not sorted");
    }
}

static void read_lines(struct reader *r, struct machine_program *p, uint32_t n, uint32_t nfiles)
{
    p->lines = get_room(r, n, IMAGE_RECORDS_MAX, 12, sizeof(*p->lines));
    for (uint32_t i = 0; r->why == NULL && i < n; i++) {
        struct machine_line *l = &p->lines[i];
        l->address = get_u32(r);
        l->file = get_u32(r);
        l->line = get_u32(r);
        p->nlines = i + 1;
        if (l->file >= nfiles || l->line == 0)
            wrong(r, "a line is of no file");
        if (i > 0 && l->address < p->lines[i - 1].address)
            wrong(r, "lines are not sorted");
    }
}

static char **read_texts(struct reader *r, uint32_t n, size_t *read)
{
    char **texts = get_room(r, n, IMAGE_RECORDS_MAX, 4, sizeof(*texts));

    for (uint32_t i = 0; r->why == NULL && i < n; i++) {
        texts[i] = get_text(r);
        *read = i + 1;
    }
    return texts;
}

static void read_program(struct reader *r, struct machine_program *p)
{
    if (get_u32(r) != MACHINE_IMAGE_VERSION)
        wrong(r, "the image is of another version");
    uint32_t flags = get_u32(r);
    p->entry = get_u32(r);
    uint32_t nsegments = get_u32(r), nsymbols = get_u32(r), nlines = get_u32(r);
    uint32_t nfiles = get_u32(r), nstrings = get_u32(r);
    if (flags > (IMAGE_BIG_ENDIAN | IMAGE_DELAYED_BRANCHES | IMAGE_SIMPLE | IMAGE_RETURNS))
        wrong(r, "the image has unknown flags");
    p->big_endian = flags & IMAGE_BIG_ENDIAN;
    p->delayed_branches = flags & IMAGE_DELAYED_BRANCHES;
    p->simple = flags & IMAGE_SIMPLE;
    p->returns = flags & IMAGE_RETURNS;
    read_segments(r, p, nsegments);
    read_symbols(r, p, nsymbols);
    read_lines(r, p, nlines, nfiles);
    p->files = read_texts(r, nfiles, &p->nfiles);
    p->strings = read_texts(r, nstrings, &p->nstrings);
    if (r->left != 0)
        wrong(r, "there are bytes behind the image");
}

bool machine_image_recognise(const void *bytes, size_t len)
{
    return len >= MAGIC_BYTES && memcmp(bytes, MACHINE_IMAGE_MAGIC, MAGIC_BYTES) == 0;
}

int machine_image_decode(const void *bytes, size_t len, struct machine_program *program,
                         const char **why)
{
    struct reader r = {.at = bytes, .left = len};

    memset(program, 0, sizeof(*program));
    if (!machine_image_recognise(bytes, len)) {
        wrong(&r, "this is no image of a program");
    } else {
        r.at += MAGIC_BYTES;
        r.left -= MAGIC_BYTES;
        read_program(&r, program);
    }
    if (r.why == NULL)
        return 0;
    if (why != NULL)
        *why = r.why;
    machine_program_free(program);
    return -1;
}
