/*
 * A guest with a state: it adds up what it is given. Each clone of it draws a name of its
 * own, so that two that were restored from one snapshot can be told apart.
 */
#include <mayfly/guest.h>

#include <string.h>

static uint64_t total;
static uint32_t name;

static void draw_name(void)
{
    uint8_t random[32];

    mf_entropy(random);
    memcpy(&name, random, sizeof name);
}
MF_ON_RESTORE(draw_name);

static struct mf_value add(const struct mf_value *arg)
{
    total += arg[0].u64;
    return mf_u64(total);
}
MF_EXPORT(add, "u64 add(u64 number)");

static struct mf_value whoami(const struct mf_value *arg)
{
    (void)arg;
    return mf_stringf("clone %08x", name);
}
MF_EXPORT(whoami, "string whoami()");
