/*
 * A guest whose host function calls it back: fold_host.c walks over numbers that
 * only the host has, and the guest says what to do with each.
 */
#include <mayfly/guest.h>

MF_IMPORT(each_number, "void each_number()");

static int64_t total;

/* Called by the host in the middle of each_number, which `sum` called. */
static struct mf_value add(const struct mf_value *arg)
{
    total += arg[0].i64;
    return mf_bool(total < 100); /* false: enough */
}
MF_EXPORT(add, "bool add(i64 number)");

static struct mf_value sum(const struct mf_value *arg)
{
    (void)arg;
    total = 0;
    struct mf_value done = mf_call(each_number);
    return done.failed ? done : mf_i64(total);
}
MF_EXPORT(sum, "i64 sum()");
