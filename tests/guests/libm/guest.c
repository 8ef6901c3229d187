/* Floating point: results of the C library and of the processor, to the last bit. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t hash = 14695981039346656037u;

static void add(double number)
{
    unsigned char bytes[8];
    memcpy(bytes, &number, 8);
    for (int i = 0; i < 8; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
}

/*
 * The C library's, through a pointer: a compiler may put the x87 instruction FPREM there,
 * which Unicorn 2.0.1 computes with too few bits.
 */
static double (*volatile remainder_of)(double, double) = fmod;

int main(void)
{
    for (int i = 1; i <= 3000; i++) {
        double x = i * 0.0137, y = x - 20.0;
        add(sin(x));
        add(cos(y));
        add(tan(x));
        add(exp(y));
        add(log(x));
        add(pow(x, y / 7));
        add(sqrt(x));
        add(atan2(y, x));
        add(remainder_of(x * 100, 7.3));
        add(floor(y) + ceil(x) + rint(x));
        add((double)(float)(x / 3) + (double)sinf((float)y));
        add((double)((long double)x / 3.0L + sinl((long double)y)));
    }
    printf("%016llx\n", (unsigned long long)hash);
    /* Conversions go through a C library's own arithmetic, x87 in places. */
    printf("%.17g %.3Lf %a %g %g\n", strtod("0.1", NULL), 2.0L / 3, 1.0 / 3, 1e308 * 10,
           strtod("4.9e-324", NULL));
    return 0;
}
