/* Recursion: Ackermann, the towers of Hanoi, queens on a board, Fibonacci, mutual recursion. */
#include "crt.h"

static uint32_t ackermann(uint32_t m, uint32_t n)
{
    if (m == 0)
        return n + 1;
    return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

static uint32_t fibonacci(uint32_t n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint32_t moves;

static void hanoi(int n, int from, int to, int by)
{
    if (n == 0)
        return;
    hanoi(n - 1, from, by, to);
    moves = mix(moves, (uint32_t)(n << 8 | from << 4 | to));
    hanoi(n - 1, by, to, from);
}

/* How many ways `n` queens stand with those of the bits already there. */
static int queens(int n, uint32_t columns, uint32_t left, uint32_t right)
{
    uint32_t all = (1u << n) - 1;
    int found = 0;

    if (columns == all)
        return 1;
    for (uint32_t open = all & ~(columns | left | right); open != 0; open &= open - 1) {
        uint32_t bit = open & -open;
        found += queens(n, columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return found;
}

static int is_odd(uint32_t n);

static int is_even(uint32_t n)
{
    return n == 0 ? 1 : is_odd(n - 1);
}

static int is_odd(uint32_t n)
{
    return n == 0 ? 0 : is_even(n - 1);
}

static void permute(char *text, int at, uint32_t *digest)
{
    if (text[at] == 0) {
        for (int i = 0; i < at; i++)
            *digest = mix(*digest, (uint32_t)text[i]);
        return;
    }
    for (int i = at; text[i] != 0; i++) {
        char kept = text[at];
        text[at] = text[i];
        text[i] = kept;
        permute(text, at + 1, digest);
        text[i] = text[at];
        text[at] = kept;
    }
}

int main(void)
{
    char text[] = "abcde";
    uint32_t digest = 0;

    put_unsigned(ackermann(2, 30));
    put_text(" ");
    put_unsigned(ackermann(3, 4));
    put_text(" ");
    put_unsigned(fibonacci(17));
    put_text("\n");
    hanoi(10, 1, 3, 2);
    say("hanoi", moves);
    for (int n = 1; n <= 7; n++) {
        put_int(queens(n, 0, 0, 0));
        put_text(n < 7 ? " " : "\n");
    }
    put_int(is_even(1000) * 10 + is_odd(333));
    put_text("\n");
    permute(text, 0, &digest);
    say(text, digest);
    return ackermann(3, 3) == 61 && queens(6, 0, 0, 0) == 4 ? 0 : 1;
}
