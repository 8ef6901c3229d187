/* Arithmetic of 64 bits, much of which is calls of libgcc on a machine of 32. */
#include "crt.h"

#define ROUNDS 150

/* Operands of all sizes, and the edges. */
static uint64_t operand(int round)
{
    static const uint64_t edges[] = {0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
                                     0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff};
    uint64_t value = next_random_wide();

    return round % 5 == 0 ? edges[next_random() % 10] : value >> next_random() % 64;
}

static uint32_t mix_wide(uint32_t digest, uint64_t value)
{
    return mix(mix(digest, (uint32_t)(value >> 32)), (uint32_t)value);
}

static uint32_t unsigned_ones(uint32_t digest, uint64_t a, uint64_t b)
{
    digest = mix_wide(mix_wide(digest, a + b), a - b);
    digest = mix_wide(digest, a * b);
    if (b != 0)
        digest = mix_wide(mix_wide(digest, a / b), a % b);
    digest = mix_wide(mix_wide(digest, a << b % 64), a >> b % 64);
    return mix(digest, (uint32_t)((a < b) + 2 * (a == b)));
}

static uint32_t signed_ones(uint32_t digest, int64_t a, int64_t b)
{
    int64_t result;

    if (b != 0 && !(b == -1 && a == INT64_MIN))
        digest = mix_wide(mix_wide(digest, (uint64_t)(a / b)), (uint64_t)(a % b));
    digest = mix_wide(digest, (uint64_t)(a >> (b & 63)));
    digest = mix(digest, __builtin_mul_overflow(a, b, &result));
    digest = mix_wide(digest, (uint64_t)result);
    digest = mix(digest, __builtin_add_overflow(a, b, &result));
    digest = mix(digest, __builtin_sub_overflow(a, b, &result));
    return mix(digest, (uint32_t)((a < b) + 2 * (a < 0)));
}

static uint32_t bits(uint32_t digest, uint64_t a)
{
    digest = mix(digest, (uint32_t)__builtin_popcountll(a));
    digest = mix_wide(digest, __builtin_bswap64(a));
    if (a != 0)
        digest = mix(mix(digest, (uint32_t)__builtin_clzll(a)), (uint32_t)__builtin_ctzll(a));
    return mix(digest, (uint32_t)__builtin_parityll(a));
}

static uint32_t narrow(uint32_t digest, uint32_t a, uint32_t b)
{
    int32_t result;

    digest = mix_wide(digest, (uint64_t)a * b);
    digest = mix_wide(digest, (uint64_t)((int64_t)(int32_t)a * (int32_t)b));
    digest = mix(digest, a << (b & 31) | a >> (-b & 31));
    digest = mix(digest, (uint32_t)__builtin_add_overflow((int32_t)a, (int32_t)b, &result));
    if (b != 0)
        digest = mix(mix(digest, a / b), a % b);
    digest = mix(digest, (uint32_t)((int32_t)a / 10) + a / 7 + (uint32_t)((int16_t)a % 9));
    return mix(digest, (uint32_t)(int8_t)b + (uint32_t)(int16_t)(a >> 3));
}

static uint32_t as_doubles(uint32_t digest, uint64_t a)
{
    double x = (double)a, y = (double)(int64_t)a;
    union { float value; uint32_t bits; } single = {.value = (float)a};

    digest = mix(digest, single.bits);
    digest = mix_wide(digest, (uint64_t)(x / 4));
    return mix_wide(digest, (uint64_t)(int64_t)(y / 3));
}

int main(void)
{
    uint32_t sums[5] = {0};

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t a = operand(i), b = operand(i + 2);
        sums[0] = unsigned_ones(sums[0], a, b);
        sums[1] = signed_ones(sums[1], (int64_t)a, (int64_t)b);
        sums[2] = bits(sums[2], a ^ b);
        sums[3] = narrow(sums[3], (uint32_t)a, (uint32_t)b);
        sums[4] = as_doubles(sums[4], a);
    }
    say("unsigned", sums[0]);
    say("signed", sums[1]);
    say("bits", sums[2]);
    say("narrow", sums[3]);
    say("doubles", sums[4]);
    return 0;
}
