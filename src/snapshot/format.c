/* Texts of a snapshot file; see format.h. */
#include "snapshot/format.h"

#include <stdlib.h>

/* Writes the signatures to `text` (NULL: nowhere); returns how many bytes they take. */
static size_t put_functions(const struct mf_image *image, char *text, size_t size)
{
    const struct mf_signature *signature;
    size_t len = 0;
    for (size_t i = 0; (signature = mf_image_import(image, i)) != NULL; i++)
        len += mf_signature_format(signature, text ? text + len : NULL, text ? size - len : 0) + 1;
    return len;
}

char *format_functions(const struct mf_image *image, size_t *len)
{
    *len = put_functions(image, NULL, 0);
    char *text = malloc(*len + 1);
    if (text)
        put_functions(image, text, *len + 1);
    return text;
}

void format_text(char *to, const char *from, size_t size)
{
    size_t i = 0;
    for (; i < size - 1 && from[i]; i++)
        to[i] = from[i] >= 0x20 && from[i] < 0x7f ? from[i] : '?';
    to[i] = 0;
}
