/*
 * Text that did not come from us: near names, showing bytes of guests and files
 * without handing their control characters to a terminal, base64.
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Whether `typed` is near enough to `name` to be a slip of the fingers. */
bool text_is_near(const char *typed, const char *name);

/*
 * Length of the valid UTF-8 sequence at `data` (RFC 3629; `len` above 0 bytes
 * are there), or 0 when there is none.
 */
size_t text_utf8_sequence(const char *data, size_t len);

/*
 * Prints `len` bytes; control characters and bytes that are not UTF-8 come out
 * as \xNN. With `lines`, newlines and tabs stay as they are.
 */
void text_print_safe(FILE *file, const char *data, size_t len, bool lines);

/* The same for a NUL-terminated line. */
void text_print_line_safe(FILE *file, const char *text);

/* A copy of `len` bytes where what is not UTF-8 became U+FFFD; NULL without memory. */
char *text_to_utf8(const char *data, size_t len);

/* Base64 (RFC 4648, padded), NUL-terminated; NULL without memory. */
char *text_base64(const void *data, size_t len);

#endif
