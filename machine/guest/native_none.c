/* For processors without a translator: blocks stay in their internal form. */
#include "native.h"

struct unit *native_unit_create(void)
{
    return NULL;
}

bool native_emit_base(struct machine *m)
{
    (void)m;
    return false;
}

bool native_block_fits(const struct machine *m, const struct block *b)
{
    (void)m;
    (void)b;
    return false;
}

void native_unit_start(struct unit *u, struct machine *m)
{
    (void)u;
    (void)m;
}

bool native_unit_add(struct unit *u, struct block *b)
{
    (void)u;
    (void)b;
    return false;
}

struct block *native_unit_block(const struct unit *u, size_t i)
{
    (void)u;
    (void)i;
    return NULL;
}

size_t native_unit_emit(struct unit *u, uint8_t *to, size_t room)
{
    (void)u;
    (void)to;
    (void)room;
    return 0;
}

void native_unit_publish(struct unit *u)
{
    (void)u;
}
