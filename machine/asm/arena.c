/* Memory of the assembler: an arena that is freed at once, and arrays that grow. */
#include "machine/asm/inner.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 65536

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    max_align_t data[];
};

void *asm_alloc(struct assembler *as, size_t size)
{
    struct arena_block *block = as->arena;

    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (block == NULL || block->size - block->used < size) {
        size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        block = calloc(1, sizeof(*block) + room);
        if (block == NULL) {
            asm_no_memory(as);
            return NULL;
        }
        block->size = room;
        block->next = as->arena;
        as->arena = block;
    }
    void *at = (char *)block->data + block->used;
    block->used += size;
    return at;
}

void asm_arena_free(struct assembler *as)
{
    while (as->arena != NULL) {
        struct arena_block *next = as->arena->next;
        free(as->arena);
        as->arena = next;
    }
}

bool asm_grow(struct assembler *as, void *array, uint32_t count, uint32_t *room, size_t size)
{
    void *old, *grown;

    if (count < *room)
        return true;
    uint32_t wanted = *room < 16 ? 16 : *room * 2;
    /* The caller's variable is a pointer to something else than void. */
    memcpy(&old, array, sizeof old);
    grown = wanted > *room ? realloc(old, wanted * size) : NULL;
    if (grown == NULL) {
        asm_no_memory(as);
        return false;
    }
    memset((char *)grown + *room * size, 0, (wanted - *room) * size);
    memcpy(array, &grown, sizeof grown);
    *room = wanted;
    return true;
}
