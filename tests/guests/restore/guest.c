/* The hook that runs after a restore: not before one. */
#include <mayfly/guest.h>

static uint32_t restores;

static void restored(void)
{
    restores++;
}
MF_ON_RESTORE(restored);

static struct mf_value count(const struct mf_value *arg)
{
    (void)arg;
    return mf_u32(restores);
}
MF_EXPORT(count, "u32 count()");

/* The generation is one number for as long as nothing is restored. */
static struct mf_value steady(const struct mf_value *arg)
{
    uint8_t first[32], second[32];
    uint64_t generation = mf_generation();

    (void)arg;
    mf_entropy(first);
    mf_entropy(second);
    for (int i = 0; i < 32; i++)
        if (first[i] != second[i])
            return mf_bool(false);
    return mf_bool(generation == mf_generation());
}
MF_EXPORT(steady, "bool steady()");
