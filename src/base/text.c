/*
 * UTF-8 checks, which every string of a call passes through, and the name
 * distance behind "did you mean". Used by the codec and by whatever looks up a
 * name that a person typed.
 */
#include "base/text.h"

#include "base/checked.h"

#include <stdint.h>
#include <string.h>

#define NAME_MAX_NEAR 63

/* Whether all eight bytes are ASCII other than NUL. */
static bool plain_ascii(const char *data)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t tops = UINT64_C(0x8080808080808080);
    uint64_t word;

    memcpy(&word, data, sizeof(word));
    /* A top bit that a subtraction of one sets came from a zero byte. */
    return ((word | (word - ones)) & tops) == 0;
}

/*
 * Length of the sequence that `lead` begins, or 0, and the range of its second
 * byte: RFC 3629 rules out overlong forms, surrogates and code points beyond
 * U+10FFFF by that byte alone.
 */
static unsigned sequence_of(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if (lead >= 0xe0 && lead <= 0xef) {
        if (lead == 0xe0)
            *low = 0xa0;
        if (lead == 0xed)
            *high = 0x9f;
        return 3;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        if (lead == 0xf0)
            *low = 0x90;
        if (lead == 0xf4)
            *high = 0x8f;
        return 4;
    }
    return 0;
}

bool text_is_utf8(const char *data, size_t len, size_t *bad)
{
    size_t i = 0;

    while (i < len) {
        unsigned char low, high, lead = (unsigned char)data[i];

        if (len - i >= 8 && plain_ascii(data + i)) {
            i += 8;
            continue;
        }
        if (lead != 0 && lead < 0x80) {
            i++;
            continue;
        }
        unsigned need = sequence_of(lead, &low, &high);
        *bad = i;
        if (need == 0)
            return false;
        for (unsigned k = 1; k < need; k++) {
            /* An end inside a sequence is reported at the sequence's lead byte. */
            if (len - i <= k)
                return false;
            unsigned char byte = (unsigned char)data[i + k];
            if (byte < low || byte > high) {
                *bad = i + k;
                return false;
            }
            low = 0x80;
            high = 0xbf;
        }
        i += need;
    }
    return true;
}

/*
 * Damerau-Levenshtein distance (insertion, deletion, replacement, swap of two
 * neighbours), row by row; only three rows are kept.
 */
static size_t distance(const char *a, size_t alen, const char *b, size_t blen)
{
    size_t rows[3][NAME_MAX_NEAR + 1];

    for (size_t j = 0; j <= blen; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= alen; i++) {
        size_t *row = rows[i % 3], *before = rows[(i + 2) % 3], *twice = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= blen; j++) {
            size_t best = before[j - 1] + (a[i - 1] != b[j - 1]);
            best = MIN(best, before[j] + 1);
            best = MIN(best, row[j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, twice[j - 2] + 1);
            row[j] = best;
        }
    }
    return rows[alen % 3][blen];
}

bool text_near(const char *a, const char *b)
{
    size_t alen = strnlen(a, NAME_MAX_NEAR + 1), blen = strnlen(b, NAME_MAX_NEAR + 1);

    if (alen > NAME_MAX_NEAR || blen > NAME_MAX_NEAR || alen == 0 || blen == 0)
        return false;
    if (strncmp(a, b, MIN(alen, blen)) == 0)
        return true;
    return distance(a, alen, b, blen) <= MAX(MAX(alen, blen) / 3, (size_t)1);
}

void text_make_utf8(char *data, size_t len)
{
    size_t done = 0, bad, lead;
    while (!text_is_utf8(data + done, len - done, &bad)) {
        /* A wrong byte inside of a sequence: the one that began it is wrong already. */
        if (!text_is_utf8(data + done, bad, &lead))
            bad = lead;
        done += bad;
        data[done++] = '?';
    }
}
