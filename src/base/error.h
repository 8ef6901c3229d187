/*
 * Filling and wrapping struct mf_error inside the library. An error is filled
 * where it happens and wrapped on the way up; it is never logged.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <mayfly/error.h>

/* Marks *err (may be NULL) as no error. */
void error_clear(struct mf_error *err);

/* Fills *err (may be NULL) and returns `code`. The message is cut to fit. */
int error_set(struct mf_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * The same with errno `sys_errno`, whose text is appended after ": ".
 * Returns `code`.
 */
int error_set_errno(struct mf_error *err, int code, int sys_errno, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "outer: " before the message of *err (may be NULL). Returns err's code, or `code`. */
int error_wrap(struct mf_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
