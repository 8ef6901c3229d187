/* Digests and checksums; see digest.h. The only file that knows which library makes them. */
#include "snapshot/digest.h"

#include <xxhash.h>

void digest_init(struct digest *digest)
{
    sha256_init(&digest->sha);
}

void digest_add(struct digest *digest, const void *data, size_t len)
{
    sha256_update(&digest->sha, len, data);
}

void digest_fini(struct digest *digest, uint8_t out[MF_DIGEST_BYTES])
{
    sha256_digest(&digest->sha, MF_DIGEST_BYTES, out);
}

uint64_t checksum_of(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}

void mf_digest_format(const uint8_t digest[MF_DIGEST_BYTES], char text[MF_DIGEST_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < MF_DIGEST_BYTES; i++) {
        text[2 * i] = digits[digest[i] >> 4];
        text[2 * i + 1] = digits[digest[i] & 15];
    }
    text[2 * MF_DIGEST_BYTES] = 0;
}

/* The value of a digit, or -1. */
static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool mf_digest_parse(const char *text, uint8_t digest[MF_DIGEST_BYTES])
{
    for (size_t i = 0; i < MF_DIGEST_BYTES; i++) {
        int high = digit_value(text[2 * i]);
        int low = high < 0 ? -1 : digit_value(text[2 * i + 1]);
        if (low < 0)
            return false;
        digest[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
