/*
 * Private bytes for copies of frames, for results and for scratch, as a stack:
 * whoever takes bytes gives them back by a mark. The fixed part costs nothing on the
 * call path; what does not belong there (large values) stands in chunks of its own.
 */
#ifndef SANDBOX_ARENA_H
#define SANDBOX_ARENA_H

#include <mayfly/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena_chunk;

struct arena {
    uint8_t *base;
    size_t size, used;
    size_t highest; /* of `used` since arena_wipe */
    struct arena_chunk *chunks; /* the youngest first */
    uint64_t chunk_bytes;       /* in all chunks */
};

struct arena_mark {
    size_t used;
    struct arena_chunk *chunks;
};

/* The host provides the `size` bytes when they are touched. MF_E_NO_MEMORY. */
int arena_init(struct arena *arena, size_t size, struct mf_error *err);

/* Frees all of it; a zeroed struct is allowed. */
void arena_fini(struct arena *arena);

/* `len` bytes of the fixed part, 16-aligned, or NULL. */
void *arena_alloc(struct arena *arena, uint64_t len);

/* `len` bytes in a chunk of their own, 16-aligned, or NULL. */
void *arena_alloc_chunk(struct arena *arena, uint64_t len);

/* All that was taken after the mark is given back by arena_release. */
struct arena_mark arena_mark(const struct arena *arena);
void arena_release(struct arena *arena, struct arena_mark mark);

/* Frees the chunks from `first` on up to `end`, which is older and stays; younger ones stay too. */
void arena_drop_chunks(struct arena *arena, struct arena_chunk *first, struct arena_chunk *end);

/* Gives everything back, and leaves nothing of what was there: for somebody else's use. */
void arena_wipe(struct arena *arena);

/*
 * Begins anew while what the next call's arguments point to stays: all chunks are taken out,
 * for arena_discard when that call is over; with `keep_fixed` the fixed part stays too.
 */
struct arena_chunk *arena_detach(struct arena *arena, bool keep_fixed);
void arena_discard(struct arena_chunk *chunks);

/* Whether `data` lies in the fixed part. */
static inline bool arena_holds(const struct arena *arena, const void *data)
{
    const uint8_t *at = data;
    return at >= arena->base && at < arena->base + arena->size;
}

/* Gives everything back. On the call path: nothing to do when there are no chunks. */
static inline void arena_reset(struct arena *arena)
{
    struct arena_mark empty = {0, NULL};
    arena->used = 0;
    if (arena->chunks)
        arena_release(arena, empty);
}

#endif
