/* Matrices, series and roots in double and single precision, with the FPU. */
#include "crt.h"

#define N 9

static double a[N][N], b[N][N], product[N][N];

static uint32_t digest_of(double value)
{
    union { double value; uint64_t bits; } u = {.value = value};

    return mix((uint32_t)(u.bits >> 32), (uint32_t)u.bits);
}

static void multiply(void)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < N; k++)
                sum += a[i][k] * b[k][j];
            product[i][j] = sum;
        }
}

/* By elimination with pivots; destroys the matrix. */
static double determinant(double m[N][N])
{
    double det = 1;

    for (int k = 0; k < N; k++) {
        int best = k;
        for (int i = k + 1; i < N; i++)
            if (__builtin_fabs(m[i][k]) > __builtin_fabs(m[best][k]))
                best = i;
        for (int j = 0; best != k && j < N; j++) {
            double kept = m[k][j];
            m[k][j] = m[best][j];
            m[best][j] = kept;
        }
        det *= best != k ? -m[k][k] : m[k][k];
        for (int i = k + 1; i < N; i++) {
            double factor = m[i][k] / m[k][k];
            for (int j = k; j < N; j++)
                m[i][j] -= factor * m[k][j];
        }
    }
    return det;
}

static double sine(double x)
{
    double term = x, sum = x;

    for (int n = 1; n < 12; n++) {
        term *= -x * x / (2 * n * (2 * n + 1));
        sum += term;
    }
    return sum;
}

static double root(double x)
{
    double guess = x > 1 ? x : 1;

    for (int i = 0; i < 40; i++)
        guess = (guess + x / guess) / 2;
    return guess;
}

static void show(const char *name, double value)
{
    put_text(name);
    put_text(" ");
    put_double(value);
    put_text("\n");
}

static uint32_t conversions(void)
{
    uint32_t digest = 0;

    for (int i = 0; i < 100; i++) {
        int32_t number = (int32_t)next_random() >> (i % 31);
        float single = (float)number;
        double wide = (double)number / 7 + (double)single;
        digest = mix(digest, (uint32_t)(int32_t)(wide / 3));
        digest = mix(digest, digest_of((double)(float)wide));
        digest = mix(digest, (uint32_t)((wide < single) + 2 * (wide <= 0)));
    }
    return digest;
}

int main(void)
{
    uint32_t digest = 0;
    float harmonic = 0;

    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (double)(int32_t)next_random() / 65536;
            b[i][j] = (double)(int32_t)next_random() / 1e9;
        }
    multiply();
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            digest = mix(digest, digest_of(product[i][j]));
    show("corner", product[N - 1][0]);
    say("product", digest);
    show("determinant", determinant(a));
    show("sine", sine(1.25));
    show("root", root(2));
    for (int i = 1; i <= 300; i++)
        harmonic += 1.0f / (float)i;
    show("harmonic", harmonic);
    show("tiny", 4.9406564584124654e-324 * (double)(N - 4));
    show("infinite", 1e308 * product[0][0] * product[0][0]);
    say("conversions", conversions());
    return 0;
}
