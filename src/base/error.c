/* Error codes to names and texts, and the filling of struct mf_error. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct code_text {
    int code;
    const char *name, *text;
};

static const struct code_text codes[] = {
    {MF_OK, "MF_OK", "no error"},
#define CODE_TEXT(name, number, text) {name, #name, text},
    MF_ERROR_LIST(CODE_TEXT)
#undef CODE_TEXT
};

static const struct code_text *find_code(int code)
{
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i].code == code)
            return &codes[i];
    return NULL;
}

const char *mf_error_name(int code)
{
    const struct code_text *found = find_code(code);
    return found ? found->name : "MF_E_?";
}

const char *mf_error_text(int code)
{
    const struct code_text *found = find_code(code);
    return found ? found->text : "unknown error";
}

void error_clear(struct mf_error *err)
{
    if (!err)
        return;
    err->code = MF_OK;
    err->sys_errno = 0;
    err->message[0] = 0;
}

/*
 * A message that was cut must still be UTF-8: drops the bytes of a last
 * character that is not whole.
 */
static void trim_cut_character(char *text)
{
    size_t len = strlen(text), start = len;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0 || (unsigned char)text[start - 1] < 0xc0)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (len - (start - 1) < need)
        text[start - 1] = 0;
}

static void set_message(struct mf_error *err, int code, int sys_errno, const char *format,
                        va_list args)
{
    err->code = code;
    err->sys_errno = sys_errno;
    vsnprintf(err->message, sizeof err->message, format, args);
    trim_cut_character(err->message);
}

int error_set(struct mf_error *err, int code, const char *format, ...)
{
    if (!err)
        return code;
    va_list args;
    va_start(args, format);
    set_message(err, code, 0, format, args);
    va_end(args);
    return code;
}

int error_set_errno(struct mf_error *err, int code, int sys_errno, const char *format, ...)
{
    if (!err)
        return code;
    va_list args;
    va_start(args, format);
    set_message(err, code, sys_errno, format, args);
    va_end(args);
    char text[96];
    /* The GNU form of strerror_r: returns the text, maybe not in the buffer. */
    const char *reason = strerror_r(sys_errno, text, sizeof text);
    size_t len = strlen(err->message);
    snprintf(err->message + len, sizeof err->message - len, ": %s", reason);
    trim_cut_character(err->message);
    return code;
}

int error_wrap(struct mf_error *err, int code, const char *format, ...)
{
    if (!err)
        return code;
    char inner[sizeof err->message];
    memcpy(inner, err->message, sizeof inner);
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    size_t len = strlen(err->message);
    snprintf(err->message + len, sizeof err->message - len, ": %s", inner);
    trim_cut_character(err->message);
    return err->code ? err->code : code;
}
