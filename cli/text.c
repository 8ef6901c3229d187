/*
 * Text that did not come from us. The library has functions like the first two
 * inside, but the command uses nothing of it but the public headers.
 */
#include "text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_NEAR 31

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Edits (insert, delete, replace, swap of neighbours) between two short names. */
static size_t edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t d[NAME_MAX_NEAR + 1][NAME_MAX_NEAR + 1];

    for (size_t i = 0; i <= na; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= nb; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        for (size_t j = 1; j <= nb; j++) {
            size_t replace = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            d[i][j] = smallest(d[i - 1][j] + 1, d[i][j - 1] + 1, replace);
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && d[i - 2][j - 2] + 1 < d[i][j])
                d[i][j] = d[i - 2][j - 2] + 1;
        }
    }
    return d[na][nb];
}

bool text_is_near(const char *typed, const char *name)
{
    size_t na = strlen(typed), nb = strlen(name);

    if (na == 0 || na > NAME_MAX_NEAR || nb > NAME_MAX_NEAR)
        return false;
    if (na >= 2 && strncmp(typed, name, na) == 0)
        return true;
    size_t longer = na > nb ? na : nb;
    size_t allowed = longer < 4 ? 1 : longer / 3;
    return edit_distance(typed, na, name, nb) <= allowed;
}

size_t text_utf8_sequence(const char *data, size_t len)
{
    const uint8_t *p = (const uint8_t *)data;
    /* The second byte's range excludes overlong forms, surrogates, and above U+10FFFF. */
    uint8_t low = 0x80, high = 0xbf;
    size_t n;

    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        n = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        n = 3;
        if (p[0] == 0xe0)
            low = 0xa0;
        if (p[0] == 0xed)
            high = 0x9f;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        n = 4;
        if (p[0] == 0xf0)
            low = 0x90;
        if (p[0] == 0xf4)
            high = 0x8f;
    } else {
        return 0;
    }
    if (n > len || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

/* C0, DEL, and C1 (U+0080 to U+009F, which terminals obey as well). */
static bool is_control(const char *data, size_t n)
{
    uint8_t first = (uint8_t)data[0];

    if (n == 1)
        return first < 0x20 || first == 0x7f;
    return n == 2 && first == 0xc2 && (uint8_t)data[1] < 0xa0;
}

void text_print_safe(FILE *file, const char *data, size_t len, bool lines)
{
    for (size_t at = 0; at < len;) {
        size_t n = text_utf8_sequence(data + at, len - at);
        bool plain = n > 0 && (!is_control(data + at, n) ||
                               (lines && (data[at] == '\n' || data[at] == '\t')));
        if (plain) {
            fwrite(data + at, 1, n, file);
        } else {
            if (n == 0)
                n = 1;
            for (size_t i = 0; i < n; i++)
                fprintf(file, "\\x%02x", (unsigned)(uint8_t)data[at + i]);
        }
        at += n;
    }
}

void text_print_line_safe(FILE *file, const char *text)
{
    text_print_safe(file, text, strlen(text), false);
}

char *text_to_utf8(const char *data, size_t len)
{
    static const char replacement[] = "\xef\xbf\xbd";
    size_t used = 0;

    if (len > (SIZE_MAX - 1) / 3)
        return NULL;
    char *out = malloc(len * 3 + 1);
    if (out == NULL)
        return NULL;
    for (size_t at = 0; at < len;) {
        size_t n = text_utf8_sequence(data + at, len - at);
        if (n > 0) {
            memcpy(out + used, data + at, n);
            used += n;
            at += n;
        } else {
            memcpy(out + used, replacement, 3);
            used += 3;
            at++;
        }
    }
    out[used] = 0;
    return out;
}

char *text_base64(const void *data, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *in = data;

    if (len > SIZE_MAX / 2)
        return NULL;
    char *out = malloc((len + 2) / 3 * 4 + 1);
    if (out == NULL)
        return NULL;
    char *p = out;
    for (size_t at = 0; at < len; at += 3) {
        size_t n = len - at < 3 ? len - at : 3;
        uint32_t bits = (uint32_t)in[at] << 16;
        if (n > 1)
            bits |= (uint32_t)in[at + 1] << 8;
        if (n > 2)
            bits |= in[at + 2];
        *p++ = digits[bits >> 18];
        *p++ = digits[bits >> 12 & 63];
        *p++ = n > 1 ? digits[bits >> 6 & 63] : '=';
        *p++ = n > 2 ? digits[bits & 63] : '=';
    }
    *p = 0;
    return out;
}
