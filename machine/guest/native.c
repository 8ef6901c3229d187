/*
 * Which blocks become a unit of native code, and the memory that it is in (native.h has the
 * theory of operation).
 */
#include "native.h"

#include "fpu_host.h"
#include "translate.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* How often a block may be translated, in units that grow. */
#define TIMES_MOST 4
/* A successor belongs to the unit when it ran at least this fraction of the threshold. */
#define WARM 64

/* Code that is dropped sooner than after so many instructions doubles the threshold. */
#define SELDOM       UINT64_C(50000000)
#define BACKOFF_MOST 20

/* A threshold below this is a test's. */
#define SOON 100

void native_init(struct machine *m)
{
    m->native.threshold = NATIVE_THRESHOLD;
    m->native.helper = native_op;
    m->native.one_taken = UINT64_C(1) << 32;
    m->native.one[0].n[0] = m->native.one[1].n[1] = 1;
}

void native_fini(struct machine *m)
{
    struct native *n = &m->native;

    if (n->code != NULL)
        munmap(n->code, NATIVE_BYTES);
    free(n->work);
    n->code = NULL;
    n->work = NULL;
}

void native_flush(struct machine *m)
{
    struct native *n = &m->native;

    n->nlanes = 0;
    if (n->used <= PAGE_BYTES)
        return;
    n->used = PAGE_BYTES;
    /* A program that keeps changing its code is not worth it. */
    if (m->executed - n->flushed_at >= SELDOM)
        n->backoff = 0;
    else if (n->backoff < BACKOFF_MOST)
        n->backoff++;
    n->flushed_at = m->executed;
}

void native_fold(struct machine *m)
{
    struct native *n = &m->native;

    for (size_t i = 0; i < n->nlanes; i++) {
        for (unsigned k = 0; k < 2; k++) {
            if (n->counted[i][k] != NULL)
                n->counted[i][k]->count += n->lanes[i].n[k];
            n->lanes[i].n[k] = 0;
        }
    }
}

/* The next bytes of code become executable. */
static bool seal(struct native *n, size_t used)
{
    used = (used + PAGE_MASK) & ~(size_t)PAGE_MASK;
    if (mprotect(n->code + n->sealed, used - n->sealed, PROT_READ | PROT_EXEC) != 0)
        return false;
    n->used = n->sealed = used;
    return true;
}

/* There is memory for code, and it is writable from `used` on. */
static bool prepare(struct machine *m)
{
    struct native *n = &m->native;

    if (n->code == NULL) {
        n->work = native_unit_create();
        void *code = n->work == NULL ? MAP_FAILED
                                     : mmap(NULL, NATIVE_BYTES, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (code == MAP_FAILED)
            return false;
        n->code = code;
        return native_emit_base(m) && seal(n, PAGE_BYTES);
    }
    if (n->sealed > n->used &&
        mprotect(n->code + n->used, n->sealed - n->used, PROT_READ | PROT_WRITE) != 0)
        return false;
    n->sealed = n->used;
    return true;
}

/* Whether a block is worth translating; tests translate all. */
static bool fits(const struct machine *m, const struct block *b)
{
    return m->native.threshold < SOON || native_block_fits(m, b);
}

/* Whether a block that follows one of the unit belongs to it. */
static bool belongs(const struct machine *m, const struct block *b)
{
    return b != NULL && b->n > 0 && b->times < TIMES_MOST && fits(m, b) &&
           (b->native != NULL || b->count >= m->native.threshold / WARM);
}

static void gather(struct machine *m, struct block *first)
{
    struct unit *u = m->native.work;

    native_unit_start(u, m);
    native_unit_add(u, first);
    for (size_t i = 0; native_unit_block(u, i) != NULL; i++) {
        struct block *b = native_unit_block(u, i);
        for (unsigned k = 0; k < 2; k++)
            if (belongs(m, b->next[k]))
                native_unit_add(u, b->next[k]);
        /* Behind a call is where its return goes. */
        if (b->next[0] == NULL && b->target[0] != 0 && (b->target[0] ^ b->pc) >> 31 == 0) {
            struct block *after = block_look(m, b->target[0]);
            if (belongs(m, after))
                native_unit_add(u, after);
        }
    }
}

/* All jumps between units are made anew: what they go to may have been translated again. */
static void unlink_units(struct machine *m)
{
    for (size_t i = 0; i < BLOCK_BUCKETS; i++)
        for (struct block *b = m->buckets[i]; b != NULL; b = b->chain)
            b->out[0] = b->out[1] = NULL;
}

static bool give_up(struct machine *m)
{
    m->native.refused = true;
    m->native.threshold = NATIVE_NEVER;
    return true;
}

bool native_translate(struct machine *m, struct block *b)
{
    struct native *n = &m->native;

    b->ops[0].go = b->first;
    if (n->refused || !fits(m, b))
        return true;
    if (!prepare(m))
        return give_up(m);
    native_fold(m);
    gather(m, b);
    size_t bytes = native_unit_emit(n->work, n->code + n->used, NATIVE_BYTES - n->used);
    if (bytes == 0) /* a unit alone always fits */
        return n->used > PAGE_BYTES ? false : give_up(m);
    if (!seal(n, n->used + bytes))
        return give_up(m);
    native_unit_publish(n->work);
    unlink_units(m);
    for (size_t i = 0; native_unit_block(n->work, i) != NULL; i++) {
        struct block *in = native_unit_block(n->work, i);
        in->ops[0].go = m->labels[LABEL_NATIVE];
        in->times++;
    }
    return true;
}

enum native_leave native_run(struct machine *m, const struct block *b, int64_t *budget)
{
    struct native *n = &m->native;
    enum native_leave (*enter)(struct machine *, const void *, uint64_t);
    const void *code = n->enter;

    memcpy(&enter, &code, sizeof(enter));
    n->mxcsr = fpu_host_clean();
    n->flat = (m->cp0[CP0_CONFIG] & CONFIG_MT) != CONFIG_TLB;
    enum native_leave why = enter(m, b->native, (uint64_t)*budget);
    *budget = (int32_t)n->state;
    m->taken += n->state >> 32;
    return why;
}
