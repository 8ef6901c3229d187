/*
 * A guest without a C library, of a few KiB: build it with -nostdlib -ffreestanding
 * and libmayfly_guest_bare.a.
 */
#include <mayfly/guest.h>

static struct mf_value greet(const struct mf_value *arg)
{
    static const char hello[] = "Hello, ";
    size_t first = sizeof hello - 1, len = arg[0].string.len;
    char *text = (char *)mf_scratch(first + len + 2);

    if (text == NULL)
        return mf_error("the name is too long");
    for (size_t i = 0; i < first; i++)
        text[i] = hello[i];
    for (size_t i = 0; i < len; i++)
        text[first + i] = arg[0].string.data[i];
    text[first + len] = '!';
    text[first + len + 1] = 0;
    return mf_string_n(text, first + len + 1);
}
MF_EXPORT(greet, "string greet(string name)");
