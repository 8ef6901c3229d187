/*
 * One internal instruction for native code that has none of its own for it, or whose quick
 * way did not do: the statements of instructions.inc, on the registers in memory. Only those
 * that run on into the next one come here.
 */
#include "words.h"

#define ATTEND                \
    do {                      \
        if (m->attention)     \
            goto attend;      \
    } while (0)
#define NOTE_TIME (m->behind = budget + b->n - 1 - (o->index & ~OP_SLOT))
#define LEAVE(why)          \
    do {                    \
        (void)(why);        \
        return NATIVE_AT;   \
    } while (0)
#define GO(i)     return NATIVE_AT
#define TAKE      GO(1)
#define GO_TO(pc) return NATIVE_AT

enum native_leave native_op(struct machine *m, struct block *b, const struct op *o, uint64_t state)
{
    uint32_t *const R = m->r;
    int64_t budget = (int32_t)state;

    m->native.block = b;
    m->native.op = o;
    enum op_code code = (enum op_code)b->codes[o - b->ops];
    if (code >= OP_ADD_S)
        fpu_host_take(); /* the flags that the quick way left behind */
    switch (code) {
#define OP(name, ...) \
    case OP_##name: { \
        __VA_ARGS__   \
    } break;
#include "instructions.inc"
#undef OP
    default:
        break;
    }
    return NATIVE_ON;
fault:
    return NATIVE_FAULT;
attend:
    if (!(o->index & OP_SLOT))
        return NATIVE_ATTEND;
    /* As in execute.c: the block is at its end, and becomes the last one. */
    m->held = budget;
    return NATIVE_HELD;
}
