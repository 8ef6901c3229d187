/* A guest that asks its host: embed.c has the host function that it needs. */
#include <mayfly/guest.h>

MF_IMPORT(title, "string title(string name)");

static struct mf_value greet(const struct mf_value *arg)
{
    struct mf_value t = mf_call(title, arg[0]);
    if (t.failed)
        return t; /* the host's message becomes the message of this call's failure */
    return mf_stringf("Good evening, %s %s.", t.string.data, arg[0].string.data);
}
MF_EXPORT(greet, "string greet(string name)");
