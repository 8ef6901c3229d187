/* Text helpers: UTF-8 and near names. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Whether `len` bytes are UTF-8 (RFC 3629: no surrogates, no overlong forms, at
 * most U+10FFFF) without NUL. On failure *bad is the offset of the first wrong byte.
 */
bool text_is_utf8(const char *data, size_t len, size_t *bad);

/* Puts '?' in the place of every byte that keeps `len` bytes from being such UTF-8. */
void text_make_utf8(char *data, size_t len);

/*
 * Whether `a` and `b` are near enough to suggest one for the other: a
 * Damerau-Levenshtein distance of at most 1 for short names, at most a third of
 * the longer one otherwise, or one is a prefix of the other. Names over 63 bytes
 * are never near.
 */
bool text_near(const char *a, const char *b);

#endif
