/*
 * The fast loop: runs blocks of internal instructions, each of which jumps to the next
 * one's label (threaded dispatch). A block is charged on entry, so the only bookkeeping is
 * one subtraction and one count per block, and a slice is exact to the instruction all the
 * same: a block that does not fit is not entered, and cpu.c goes on in blocks of one.
 *
 * Blocks that are entered often leave this form for native code (native.h), by another label
 * in their first internal instruction.
 *
 * gcc's labels as values are an extension that clang shares.
 */
#include "words.h"

#define LEAVE(why)      \
    do {                \
        result = (why); \
        goto out;       \
    } while (0)
#define ENTER(block)                    \
    do {                                \
        budget -= (block)->n;           \
        if (unlikely(budget < 0)) {     \
            budget += (block)->n;       \
            m->pc = (block)->pc;        \
            LEAVE(LEAVE_BUDGET);        \
        }                               \
        (block)->count++;               \
        b = (block);                    \
        o = b->ops;                     \
        goto *o->go;                    \
    } while (0)
#define GO(i)                          \
    do {                               \
        struct block *to = b->next[i]; \
        if (unlikely(to == NULL)) {    \
            successor = (i);           \
            goto link;                 \
        }                              \
        ENTER(to);                     \
    } while (0)
/* From native code, which finds the way by itself from now on. */
#define FOLLOW(i)                                                     \
    do {                                                              \
        b = m->native.block;                                          \
        if (b->next[i] != NULL)                                       \
            b->out[i] = b->next[i]->native;                           \
        GO(i);                                                        \
    } while (0)
#define TAKE            \
    do {                \
        m->taken++;     \
        GO(1);          \
    } while (0)
#define GO_TO(pc_)                                           \
    do {                                                     \
        uint32_t to_pc = (pc_);                              \
        struct block *to = m->cache[to_pc / 4 % BLOCK_CACHE]; \
        if (unlikely(to == NULL || to->pc != to_pc)) {       \
            m->pc = to_pc;                                   \
            goto find;                                       \
        }                                                    \
        ENTER(to);                                           \
    } while (0)

/* What device.c and others see of the instructions executed, before they run. */
#define NOTE_TIME (m->behind = budget + b->n - 1 - (o->index & ~OP_SLOT))
#define ATTEND                      \
    do {                            \
        if (unlikely(m->attention)) \
            goto attend;            \
    } while (0)

enum leave execute(struct machine *m, struct block *b, int64_t *left)
{
    static const void *const labels[] = {
#define OP(name, ...) &&do_##name,
#include "instructions.inc"
#undef OP
        [LABEL_HOT] = &&hot,
        [LABEL_NATIVE] = &&native,
    };
    uint32_t *const R = m->r;
    int64_t budget;
    const struct op *o;
    enum leave result;
    unsigned successor;

    if (b == NULL) {
        m->labels = labels;
        return LEAVE_NEXT;
    }
    budget = *left;
    ENTER(b);

#define OP(name, ...)     \
    do_##name:            \
    {                     \
        __VA_ARGS__       \
    }                     \
    o++;                  \
    goto *o->go;
#include "instructions.inc"
#undef OP

hot: /* The first one of a block that is not translated yet. */
    if (likely(b->count < m->native.threshold << m->native.backoff))
        goto *b->first;
    if (!native_translate(m, b)) {
        budget += b->n;
        b->count--;
        m->pc = b->pc;
        m->flush_code = m->attention = true;
        LEAVE(LEAVE_NEXT);
    }
    goto *o->go;
native: /* It charges and counts by itself. */
    budget += b->n;
    b->count--;
    switch (native_run(m, b, &budget)) {
    case NATIVE_LINK_0:
        FOLLOW(0);
    case NATIVE_LINK_1:
        FOLLOW(1);
    case NATIVE_ENTER:
        ENTER(m->native.block);
    case NATIVE_FIND:
        goto find;
    case NATIVE_BUDGET:
        m->pc = m->native.block->pc;
        LEAVE(LEAVE_BUDGET);
    case NATIVE_AT:
        b = m->native.block;
        o = m->native.op;
        goto *m->labels[b->codes[o - b->ops]];
    case NATIVE_ATTEND:
        b = m->native.block;
        o = m->native.op;
        goto attend;
    case NATIVE_FAULT:
    default:
        b = m->native.block;
        o = m->native.op;
        goto fault;
    }
link: /* The successor is not known yet. */
    m->pc = b->target[successor];
    if (budget <= 0)
        LEAVE(LEAVE_BUDGET);
    if (m->attention)
        LEAVE(LEAVE_NEXT);
    {
        uint64_t generation = m->generation;
        struct block *to = block_find(m, m->pc, BLOCK_WHOLE);
        if (to == NULL) {
            m->fetch_failed = true;
            LEAVE(LEAVE_FAULT);
        }
        if (generation == m->generation && b->kind == BLOCK_WHOLE &&
            (b->pc ^ to->pc) >> 31 == 0) /* user code has no links into the kernel */
            b->next[successor] = to;
        ENTER(to);
    }
find:
    if (budget <= 0)
        LEAVE(LEAVE_BUDGET);
    if (m->attention)
        LEAVE(LEAVE_NEXT);
    {
        struct block *to = block_find(m, m->pc, BLOCK_WHOLE);
        if (to == NULL) {
            m->fetch_failed = true;
            LEAVE(LEAVE_FAULT);
        }
        ENTER(to);
    }
fault: /* The instruction counts as executed, those behind it do not. */
    m->in_slot = (o->index & OP_SLOT) != 0;
    m->pc = b->pc + 4 * (o->index & ~OP_SLOT);
    budget += b->n - 1 - (o->index & ~OP_SLOT);
    profile_take_back(m, b, (o->index & ~OP_SLOT) + 1u);
    LEAVE(LEAVE_FAULT);
attend: /* The same behind an instruction that somebody else must look at. */
    if (o->index & OP_SLOT) {
        /* The block is at its end: make it the last one. */
        if (b->kind != BLOCK_STEP_SLOT) {
            m->held = budget;
            budget = 0;
        }
        o++;
        goto *o->go;
    }
    m->pc = b->pc + 4 * (o->index + 1u);
    budget += b->n - 1 - o->index;
    profile_take_back(m, b, o->index + 1u);
    LEAVE(LEAVE_NEXT);
out:
    *left = budget + m->held;
    m->held = 0;
    return result;
}
