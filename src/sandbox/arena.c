/* The stack of private bytes of a sandbox. */
#include "sandbox/arena.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* More than this is given back to the host instead of being cleared. */
#define WIPE_BY_HAND (1 << 20)

struct arena_chunk {
    struct arena_chunk *older;
    uint64_t len;
    _Alignas(16) uint8_t bytes[];
};

_Static_assert(offsetof(struct arena_chunk, bytes) % 16 == 0, "alignment of chunks");

int arena_init(struct arena *arena, size_t size, struct mf_error *err)
{
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate %zu bytes for calls", size);
    *arena = (struct arena){.base = base, .size = size};
    return 0;
}

void arena_fini(struct arena *arena)
{
    arena_reset(arena);
    if (arena->base)
        munmap(arena->base, arena->size);
    memset(arena, 0, sizeof *arena);
}

void *arena_alloc(struct arena *arena, uint64_t len)
{
    uint64_t start = (arena->used + 15) & ~UINT64_C(15);
    if (start > arena->size || len > arena->size - start)
        return NULL;
    arena->used = start + len;
    if (arena->used > arena->highest)
        arena->highest = arena->used;
    return arena->base + start;
}

void *arena_alloc_chunk(struct arena *arena, uint64_t len)
{
    if (len > SIZE_MAX / 2)
        return NULL;
    struct arena_chunk *chunk = malloc(sizeof *chunk + (size_t)len);
    if (!chunk)
        return NULL;
    chunk->older = arena->chunks;
    chunk->len = len;
    arena->chunks = chunk;
    arena->chunk_bytes += len;
    return chunk->bytes;
}

struct arena_chunk *arena_detach(struct arena *arena, bool keep_fixed)
{
    struct arena_chunk *chunks = arena->chunks;
    arena->chunks = NULL;
    arena->chunk_bytes = 0;
    if (!keep_fixed)
        arena->used = 0;
    return chunks;
}

void arena_discard(struct arena_chunk *chunks)
{
    while (chunks) {
        struct arena_chunk *older = chunks->older;
        free(chunks);
        chunks = older;
    }
}

struct arena_mark arena_mark(const struct arena *arena)
{
    return (struct arena_mark){.used = arena->used, .chunks = arena->chunks};
}

void arena_drop_chunks(struct arena *arena, struct arena_chunk *first, struct arena_chunk *end)
{
    struct arena_chunk **link = &arena->chunks;
    while (*link != first)
        link = &(*link)->older;
    while (*link != end) {
        struct arena_chunk *chunk = *link;
        *link = chunk->older;
        arena->chunk_bytes -= chunk->len;
        free(chunk);
    }
}

void arena_release(struct arena *arena, struct arena_mark mark)
{
    arena->used = mark.used;
    arena_drop_chunks(arena, arena->chunks, mark.chunks);
}

void arena_wipe(struct arena *arena)
{
    arena_reset(arena);
    if (arena->highest == 0)
        return;
    if (arena->highest <= WIPE_BY_HAND || madvise(arena->base, arena->size, MADV_DONTNEED) != 0)
        memset(arena->base, 0, arena->highest);
    arena->highest = 0;
}
