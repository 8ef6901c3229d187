/*
 * The program in C of the machine's figures: a sieve and a table that is filled and read. It
 * reads how many rounds to make, and prints a sum, so that its answers can be compared.
 *
 * It runs in three places: in the machine and in SPIM, whose system calls have the same
 * numbers, and under Linux. Linux has no call 14, says so in $a3, and is then known.
 */
enum { READ, WRITE, EXIT, NCALLS };

static const int machine_calls[NCALLS] = {14, 15, 17};
static const int linux_calls[NCALLS] = {4003, 4004, 4001};

/* Static data begins with a value: SPIM's assembler knows no common symbols. */
static unsigned table[4096] = {1};
static unsigned char composite[8192] = {1, 1};

static int call(int number, int first, void *address, int bytes, int *failed)
{
    register int v0 __asm__("$2") = number;
    register int a0 __asm__("$4") = first;
    register void *a1 __asm__("$5") = address;
    register int a2 __asm__("$6") = bytes;
    register int a3 __asm__("$7") = 0;

    __asm__ volatile("syscall"
                     : "+r"(v0), "+r"(a3)
                     : "r"(a0), "r"(a1), "r"(a2)
                     : "$1", "$3", "$8", "$9", "$10", "$11", "$12", "$13", "$14", "$15", "$24",
                       "$25", "hi", "lo", "memory");
    *failed = a3;
    return v0;
}

static unsigned number_of(const char *text, int len)
{
    unsigned number = 0;

    for (int i = 0; i < len && text[i] >= '0' && text[i] <= '9'; i++)
        number = number * 10 + (unsigned)(text[i] - '0');
    return number;
}

/* The decimal digits of `number` and a newline, at the end of `text`; returns where they begin. */
static char *text_of(unsigned number, char text[16])
{
    char *at = text + 15;

    *at = '\n';
    do
        *--at = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    return at;
}

static unsigned count_primes(void)
{
    unsigned count = 0;

    for (unsigned i = 2; i < sizeof(composite); i++)
        composite[i] = 0;
    for (unsigned i = 2; i < sizeof(composite); i++) {
        if (composite[i])
            continue;
        count++;
        for (unsigned k = i * i; k < sizeof(composite); k += i)
            composite[k] = 1;
    }
    return count;
}

static unsigned mix(unsigned seed)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < 1024; i++) {
        seed = seed * 1664525u + 1013904223u;
        table[i] = seed >> 3;
        sum ^= table[seed >> 20] + seed % 10;
    }
    return sum;
}

int main(void)
{
    const int *calls = machine_calls;
    unsigned sum = 0, rounds;
    char text[16], *answer;
    int failed, len;

    len = call(calls[READ], 0, text, sizeof(text), &failed);
    if (failed) {
        calls = linux_calls;
        len = call(calls[READ], 0, text, sizeof(text), &failed);
    }
    for (rounds = number_of(text, len); rounds > 0; rounds--)
        sum = sum * 31 + count_primes() + mix(sum);
    answer = text_of(sum, text);
    call(calls[WRITE], 1, answer, (int)(text + 16 - answer), &failed);
    for (;;)
        call(calls[EXIT], 0, 0, 0, &failed);
}
