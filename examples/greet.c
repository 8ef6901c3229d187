/* A guest: one function that the host may call. */
#include <mayfly/guest.h>

static struct mf_value greet(const struct mf_value *arg)
{
    return mf_stringf("Hello, %s!", arg[0].string.data);
}
MF_EXPORT(greet, "string greet(string name)");
