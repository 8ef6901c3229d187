/*
 * IEEE 754 singles and doubles by integer arithmetic, rounded to nearest even, against the
 * FPU. (The -msoft-float of a compiler would not do: its library is built for an FPU.)
 */
#include "crt.h"

#define ROUNDS 120

/* A format: widths of the fraction and of the exponent. */
struct format {
    int fraction, exponent;
};

static const struct format single = {23, 8}, dual = {52, 11};

struct number {
    int negative, exponent; /* of the lowest bit of `digits` */
    uint64_t digits;
};

static int top_bit(uint64_t value)
{
    int n = -1;

    for (; value != 0; value >>= 1)
        n++;
    return n;
}

/* The number of finite bits. */
static struct number unpack(const struct format *f, uint64_t bits)
{
    int biased = (int)(bits >> f->fraction & ((1u << f->exponent) - 1));
    struct number n = {(int)(bits >> (f->fraction + f->exponent) & 1),
                       (biased != 0 ? biased : 1) - ((1 << (f->exponent - 1)) - 1) - f->fraction,
                       bits & (((uint64_t)1 << f->fraction) - 1)};

    if (biased != 0)
        n.digits |= (uint64_t)1 << f->fraction;
    return n;
}

/* Shifts to the right; what falls out stays as the lowest bit. */
static uint64_t shift_sticky(uint64_t value, int by)
{
    if (by <= 0)
        return value;
    if (by > 63)
        return value != 0;
    return value >> by | ((value & (((uint64_t)1 << by) - 1)) != 0);
}

/* Rounds to the format: `digits` has two bits or more below the result's, or is exact. */
static uint64_t pack(const struct format *f, struct number n)
{
    uint64_t sign = (uint64_t)n.negative << (f->fraction + f->exponent);
    int bias = (1 << (f->exponent - 1)) - 1, lowest = 1 - bias - f->fraction;

    if (n.digits == 0)
        return sign;
    int wanted = n.exponent + top_bit(n.digits) - f->fraction;
    if (wanted < lowest)
        wanted = lowest;
    if (n.exponent > wanted - 2) {
        n.digits <<= n.exponent - (wanted - 2);
        n.exponent = wanted - 2;
    }
    n.digits = shift_sticky(n.digits, wanted - 2 - n.exponent);
    uint64_t kept = n.digits >> 2, rest = n.digits & 3;
    kept += rest > 2 || (rest == 2 && (kept & 1) != 0);
    if (kept >> (f->fraction + 1) != 0) {
        kept >>= 1;
        wanted++;
    }
    if (kept >> f->fraction == 0)
        return sign | kept;
    int biased = wanted + f->fraction + bias;
    uint64_t infinite = (((uint64_t)1 << f->exponent) - 1) << f->fraction;
    if (biased >= (1 << f->exponent) - 1)
        return sign | infinite;
    return sign | (uint64_t)biased << f->fraction | (kept & (((uint64_t)1 << f->fraction) - 1));
}

static uint64_t soft_add(const struct format *f, uint64_t left, uint64_t right)
{
    struct number a = unpack(f, left), b = unpack(f, right);
    struct number sum;

    if (a.exponent < b.exponent || (a.exponent == b.exponent && a.digits < b.digits)) {
        struct number kept = a;
        a = b;
        b = kept;
    }
    sum = a;
    a.digits <<= 8;
    b.digits = shift_sticky(b.digits << 8, a.exponent - b.exponent);
    sum.exponent -= 8;
    if (a.negative == b.negative) {
        sum.digits = a.digits + b.digits;
    } else if (a.digits >= b.digits) {
        sum.digits = a.digits - b.digits;
        sum.negative = sum.digits != 0 && a.negative;
    } else {
        sum.digits = b.digits - a.digits;
        sum.negative = b.negative;
    }
    return pack(f, sum);
}

static uint64_t soft_multiply(const struct format *f, uint64_t left, uint64_t right)
{
    struct number a = unpack(f, left), b = unpack(f, right);
    uint64_t low = (a.digits & 0xffffffff) * (b.digits & 0xffffffff);
    uint64_t cross1 = (a.digits >> 32) * (b.digits & 0xffffffff);
    uint64_t cross2 = (a.digits & 0xffffffff) * (b.digits >> 32);
    uint64_t middle = (low >> 32) + (cross1 & 0xffffffff) + (cross2 & 0xffffffff);
    uint64_t high = (a.digits >> 32) * (b.digits >> 32) + (cross1 >> 32) + (cross2 >> 32) +
                    (middle >> 32);

    low = middle << 32 | (low & 0xffffffff);
    int down = top_bit(high) + 1;
    struct number product = {a.negative ^ b.negative, a.exponent + b.exponent + down, low};
    if (down > 0)
        product.digits = high << (64 - down) | low >> down | (low << (64 - down) != 0);
    return pack(f, product);
}

/* Digit by digit: slow and plain. The divisor is not zero. */
static uint64_t soft_divide(const struct format *f, uint64_t left, uint64_t right)
{
    struct number a = unpack(f, left), b = unpack(f, right);
    struct number quotient = {a.negative ^ b.negative, a.exponent - b.exponent + 1, 0};
    int places = f->fraction + 4;

    if (a.digits == 0)
        return pack(f, quotient);
    int up = top_bit(b.digits) - top_bit(a.digits);
    a.digits <<= up > 0 ? up : 0;
    b.digits <<= up < 0 ? -up : 0;
    quotient.exponent -= up;
    for (int i = 0; i < places; i++) {
        quotient.digits <<= 1;
        if (a.digits >= b.digits) {
            a.digits -= b.digits;
            quotient.digits |= 1;
        }
        a.digits <<= 1;
        quotient.exponent--;
    }
    quotient.digits |= a.digits != 0;
    return pack(f, quotient);
}

union any {
    float single;
    uint32_t bits;
    double dual;
    uint64_t wide;
};

static uint32_t digest;
static int wrong;

static void check(uint64_t soft, uint64_t hard)
{
    wrong += soft != hard;
    digest = mix(mix(digest, (uint32_t)(soft >> 32)), (uint32_t)soft);
}

static void singles(uint32_t left, uint32_t right)
{
    union any a = {.bits = left}, b = {.bits = right}, hard;

    hard.single = a.single + b.single;
    check(soft_add(&single, left, right), hard.bits);
    hard.single = a.single * b.single;
    check(soft_multiply(&single, left, right), hard.bits);
    if (right << 1 != 0) {
        hard.single = a.single / b.single;
        check(soft_divide(&single, left, right), hard.bits);
    }
}

static void doubles(uint64_t left, uint64_t right)
{
    union any a = {.wide = left}, b = {.wide = right}, hard;

    hard.dual = a.dual + b.dual;
    check(soft_add(&dual, left, right), hard.wide);
    hard.dual = a.dual * b.dual;
    check(soft_multiply(&dual, left, right), hard.wide);
    if (right << 1 != 0) {
        hard.dual = a.dual / b.dual;
        check(soft_divide(&dual, left, right), hard.wide);
    }
}

/* Finite bits: near each other, anywhere, and at the ends of the range. */
static uint64_t some(const struct format *f, int round)
{
    uint64_t all = ((uint64_t)1 << f->exponent) - 1, bias = all >> 1;
    uint64_t bits = next_random_wide(), exponent = next_random() & all;

    if (round % 3 == 0)
        exponent = bias - 4 + exponent % 9;
    else if (round % 8 == 1)
        exponent %= 3;
    else if (round % 8 == 2)
        exponent = all - 1 - exponent % 3;
    if (exponent == all)
        exponent--;
    bits &= ((uint64_t)1 << f->fraction) - 1;
    if (round % 7 == 3)
        bits &= ((uint64_t)7 << (f->fraction - 3)) | 1;
    return (uint64_t)(next_random() & 1) << (f->fraction + f->exponent) |
           exponent << f->fraction | bits;
}

int main(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t left = some(&single, i), right = some(&single, i + i % 5);
        singles((uint32_t)left, (uint32_t)right);
        left = some(&dual, i);
        right = some(&dual, i + i % 5);
        doubles(left, right);
    }
    say("digest", digest);
    say("wrong", (uint32_t)wrong);
    return wrong != 0;
}
