/* Hash functions of byte strings of all lengths up to 100: FNV-1a, CRC-32, Adler-32, xxHash 32. */
#include "crt.h"

#define LONGEST 100

static uint32_t fnv32(const uint8_t *data, size_t len)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ data[i]) * 16777619u;
    return hash;
}

static uint64_t fnv64(const uint8_t *data, size_t len)
{
    uint64_t hash = 14695981039346656037u;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ data[i]) * 1099511628211u;
    return hash;
}

static uint32_t crc_table[256];

static void make_crc_table(void)
{
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t c = n;
        for (int k = 0; k < 8; k++)
            c = (c & 1) != 0 ? 0xedb88320u ^ c >> 1 : c >> 1;
        crc_table[n] = c;
    }
}

static uint32_t crc32(const uint8_t *data, size_t len)
{
    uint32_t crc = 0xffffffffu;

    for (size_t i = 0; i < len; i++)
        crc = crc_table[(crc ^ data[i]) & 0xff] ^ crc >> 8;
    return ~crc;
}

static uint32_t adler32(const uint8_t *data, size_t len)
{
    uint32_t a = 1, b = 0;

    for (size_t i = 0; i < len; i++) {
        a = (a + data[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

#define PRIME1 2654435761u
#define PRIME2 2246822519u
#define PRIME3 3266489917u
#define PRIME4 668265263u
#define PRIME5 374761393u

static uint32_t rotate(uint32_t word, int by)
{
    return word << by | word >> (32 - by);
}

static uint32_t little(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t xx_round(uint32_t lane, uint32_t word)
{
    return rotate(lane + word * PRIME2, 13) * PRIME1;
}

static uint32_t xxh32(const uint8_t *p, size_t len, uint32_t seed)
{
    uint32_t lane[4] = {seed + PRIME1 + PRIME2, seed + PRIME2, seed, seed - PRIME1};
    uint32_t hash = seed + PRIME5;
    size_t left = len;

    for (; left >= 16; left -= 16)
        for (int i = 0; i < 4; i++, p += 4)
            lane[i] = xx_round(lane[i], little(p));
    if (len >= 16)
        hash = rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) + rotate(lane[3], 18);
    hash += (uint32_t)len;
    for (; left >= 4; left -= 4, p += 4)
        hash = rotate(hash + little(p) * PRIME3, 17) * PRIME4;
    for (; left > 0; left--, p++)
        hash = rotate(hash + *p * PRIME5, 11) * PRIME1;
    hash = (hash ^ hash >> 15) * PRIME2;
    hash = (hash ^ hash >> 13) * PRIME3;
    return hash ^ hash >> 16;
}

int main(void)
{
    static const uint8_t check[] = "123456789";
    static uint8_t data[LONGEST];
    uint32_t digest = 0;

    make_crc_table();
    say("crc32", crc32(check, 9)); /* the check value of CRC-32: 0xcbf43926 */
    say("fnv32", fnv32(check, 9));
    say_wide("fnv64", fnv64(check, 9));
    say("adler32", adler32(check, 9));
    say("xxh32", xxh32(check, 9, 0));
    for (size_t len = 0; len < LONGEST; len++) {
        uint64_t wide = fnv64(data, len);
        digest = mix(mix(digest, crc32(data, len)), fnv32(data, len));
        digest = mix(mix(digest, (uint32_t)(wide >> 32)), (uint32_t)wide);
        digest = mix(mix(digest, adler32(data, len)), xxh32(data, len, digest));
        data[len] = (uint8_t)next_random();
    }
    say("digest", digest);
    return crc32(check, 9) == 0xcbf43926u && xxh32(check, 0, 0) == 0x02cc5d05u ? 0 : 1;
}
