/*
 * Where bytes go. Each segment directive with an address starts a chunk, one without goes
 * on in the last chunk of its kind. Passes before the last one count bytes and write none.
 */
#include "machine/asm/inner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_MAX_BYTES (64u << 20)

static void new_chunk(struct assembler *as, enum machine_segment_kind kind, uint32_t address)
{
    if (!asm_grow(as, &as->chunks, as->nchunks, &as->chunks_room, sizeof(*as->chunks)))
        return;
    /* The buffer of an earlier pass is not needed: only the last pass has some. */
    as->chunks[as->nchunks] =
        (struct chunk){.kind = kind, .address = address, .origin = as->origin};
    as->chunk = as->nchunks++;
    as->chunk_of[kind] = as->chunk;
}

void asm_select(struct assembler *as, enum machine_segment_kind kind, const uint32_t *address)
{
    static const uint32_t starts[] = {MACHINE_TEXT, MACHINE_DATA, MACHINE_KTEXT, MACHINE_KDATA};

    as->auto_align = true;
    if (address != NULL)
        new_chunk(as, kind, *address);
    else if (as->chunk_of[kind] < 0)
        new_chunk(as, kind, starts[kind]);
    else
        as->chunk = (uint32_t)as->chunk_of[kind];
}

uint32_t asm_location(const struct assembler *as)
{
    /* While sources are read there is no place yet. */
    if (as->nchunks == 0)
        return 0;
    return as->chunks[as->chunk].address + as->chunks[as->chunk].size;
}

/* Room for `n` bytes in the current chunk; false with an error when there is none. */
static bool make_room(struct assembler *as, struct chunk *chunk, uint64_t n)
{
    uint64_t max = as->options->max_bytes != 0 ? as->options->max_bytes : DEFAULT_MAX_BYTES;

    if (as->bytes + n > max || (uint64_t)chunk->address + chunk->size + n > UINT64_C(1) << 32) {
        char message[100];
        snprintf(message, sizeof message,
                 "the program is larger than %" PRIu64 " bytes, or ends behind the last address",
                 max);
        /* Every later byte would say the same. */
        asm_give_up(as, message);
        return false;
    }
    uint64_t wanted = chunk->size + n;
    if (as->writing && wanted > chunk->room) {
        uint64_t room = chunk->room < 1024 ? 4096 : (uint64_t)chunk->room * 2;
        room = room < wanted ? wanted : room;
        uint8_t *data = room > UINT32_MAX ? NULL : realloc(chunk->data, room);
        if (data == NULL) {
            asm_no_memory(as);
            return false;
        }
        chunk->data = data;
        chunk->room = (uint32_t)room;
    }
    as->bytes += n;
    return true;
}

void asm_put(struct assembler *as, const void *bytes, uint32_t n)
{
    struct chunk *chunk = &as->chunks[as->chunk];

    if (n == 0 || !make_room(as, chunk, n))
        return;
    if (as->writing)
        memcpy(chunk->data + chunk->size, bytes, n);
    chunk->size += n;
}

void asm_put_zeros(struct assembler *as, uint64_t n)
{
    struct chunk *chunk = &as->chunks[as->chunk];

    if (n == 0 || !make_room(as, chunk, n))
        return;
    if (as->writing)
        memset(chunk->data + chunk->size, 0, n);
    chunk->size += (uint32_t)n;
}

void asm_put_number(struct assembler *as, uint64_t number, uint32_t n)
{
    uint8_t bytes[8];

    for (uint32_t i = 0; i < n; i++)
        bytes[as->program->big_endian ? n - 1 - i : i] = (uint8_t)(number >> (8 * i));
    asm_put(as, bytes, n);
}

void asm_align(struct assembler *as, uint32_t bytes, bool labels)
{
    uint32_t location = asm_location(as);
    uint32_t gap = (bytes - location % bytes) % bytes;

    if (gap == 0)
        return;
    asm_put_zeros(as, gap);
    for (uint32_t i = as->label_from; labels && &as->statements[i] != as->at; i++) {
        struct symbol *symbol = as->statements[i].symbol;
        if (as->statements[i].kind == STATEMENT_LABEL && symbol != NULL)
            symbol->value = asm_location(as);
    }
}

static int compare_chunks(const void *a, const void *b)
{
    const struct chunk *x = a, *y = b;

    return x->address < y->address ? -1 : x->address > y->address;
}

static bool chunks_overlap(struct assembler *as)
{
    const struct chunk *before = NULL;

    for (uint32_t i = 0; i < as->nchunks; i++) {
        const struct chunk *chunk = &as->chunks[i];
        if (chunk->size == 0)
            continue;
        if (before != NULL && (uint64_t)before->address + before->size > chunk->address) {
            as->origin = before->origin.line > chunk->origin.line ? before->origin : chunk->origin;
            asm_fail(as, 0, "segments overlap: 0x%08" PRIx32 "-0x%08" PRIx32 " and 0x%08" PRIx32,
                     before->address, before->address + before->size - 1, chunk->address);
            return true;
        }
        before = chunk;
    }
    return false;
}

/* Whether a chunk goes on where another ends, so that they are one segment. */
static bool joins(const struct chunk *before, const struct chunk *chunk)
{
    return before->kind == chunk->kind && before->address + before->size == chunk->address;
}

static bool join(struct assembler *as, struct chunk *into, const struct chunk *chunk)
{
    uint32_t n = as->chunk;

    as->chunk = (uint32_t)(into - as->chunks);
    as->bytes -= chunk->size;
    asm_put(as, chunk->data, chunk->size);
    as->chunk = n;
    return !as->hopeless;
}

/*
 * The chunks of the last pass become the segments of the program: sorted, joined where they
 * touch, without the zeros at their ends.
 */
void asm_finish_segments(struct assembler *as)
{
    struct machine_program *program = as->program;
    struct chunk *last = NULL;
    uint32_t n = 0;

    if (as->nchunks > 0)
        qsort(as->chunks, as->nchunks, sizeof(*as->chunks), compare_chunks);
    if (chunks_overlap(as))
        return;
    for (uint32_t i = 0; i < as->nchunks; i++) {
        struct chunk *chunk = &as->chunks[i];
        if (chunk->size == 0)
            continue;
        if (last != NULL && joins(last, chunk)) {
            if (!join(as, last, chunk))
                return;
            chunk->size = 0;
            continue;
        }
        last = chunk;
        n++;
    }
    program->segments = calloc(n + 1, sizeof(*program->segments));
    if (program->segments == NULL) {
        asm_no_memory(as);
        return;
    }
    for (uint32_t i = 0; i < as->nchunks; i++) {
        struct chunk *chunk = &as->chunks[i];
        if (chunk->size == 0)
            continue;
        bool text = chunk->kind == SEGMENT_TEXT || chunk->kind == SEGMENT_KTEXT;
        uint32_t bytes = chunk->size;
        while (!text && bytes > 0 && chunk->data[bytes - 1] == 0)
            bytes--;
        program->segments[program->nsegments++] = (struct machine_segment){
            .kind = chunk->kind,
            .address = chunk->address,
            .bytes = bytes,
            .data = chunk->data,
            .memory_bytes = chunk->size,
            .writable = !text,
            .executable = text,
        };
        chunk->data = NULL;
    }
}
