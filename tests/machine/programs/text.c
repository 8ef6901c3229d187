/* Strings: words counted and sorted, numbers written and read, unaligned copies, brackets. */
#include "crt.h"

static const char poem[] = "the quick brown fox jumps over the lazy dog; the dog sleeps, "
                           "and the fox, quick and brown, is over the hills and far away";

struct word {
    char text[12];
    unsigned count;
};

static struct word words[32];
static unsigned n_words;

static size_t length(const char *text)
{
    size_t n = 0;

    while (text[n] != 0)
        n++;
    return n;
}

static int compare(const char *left, const char *right)
{
    while (*left != 0 && *left == *right)
        left++, right++;
    return (unsigned char)*left - (unsigned char)*right;
}

static void count_word(const char *from, size_t len)
{
    struct word new = {.count = 1};

    memcpy(new.text, from, len);
    for (unsigned i = 0; i < n_words; i++)
        if (compare(words[i].text, new.text) == 0) {
            words[i].count++;
            return;
        }
    words[n_words++] = new;
}

static void count_words(void)
{
    const char *start = poem;

    for (const char *p = poem;; p++) {
        if (*p >= 'a' && *p <= 'z')
            continue;
        if (p > start)
            count_word(start, (size_t)(p - start));
        start = p + 1;
        if (*p == 0)
            return;
    }
}

static void sort_words(void)
{
    for (unsigned i = 1; i < n_words; i++) {
        struct word held = words[i];
        unsigned j = i;
        for (; j > 0 && compare(words[j - 1].text, held.text) > 0; j--)
            words[j] = words[j - 1];
        words[j] = held;
    }
}

static char *write_number(char *to, int32_t value, unsigned base)
{
    uint32_t left = value < 0 ? -(uint32_t)value : (uint32_t)value;
    char digits[34], *d = digits;

    do {
        *d++ = "0123456789abcdefghijklmnopqrstuvwxyz"[left % base];
        left /= base;
    } while (left != 0);
    if (value < 0)
        *to++ = '-';
    while (d > digits)
        *to++ = *--d;
    *to = 0;
    return to;
}

static int32_t read_number(const char *from, unsigned base)
{
    int negative = *from == '-';
    uint32_t value = 0;

    for (from += negative; *from != 0; from++)
        value = value * base + (uint32_t)(*from <= '9' ? *from - '0' : *from - 'a' + 10);
    return (int32_t)(negative ? -value : value);
}

static unsigned numbers(void)
{
    char text[40];
    unsigned wrong = 0;

    for (unsigned base = 2; base <= 36; base++) {
        int32_t value = (int32_t)next_random();
        write_number(text, value, base);
        wrong += read_number(text, base) != value;
        if (base % 7 == 2) {
            put_text(text);
            put_text("\n");
        }
    }
    return wrong;
}

/* The same words at all alignments: compilers use lwl, lwr, swl and swr for them. */
struct packed {
    uint8_t before;
    uint32_t word;
    uint16_t half;
    uint64_t wide;
} __attribute__((packed));

static uint32_t unaligned(void)
{
    static struct packed list[5];
    uint32_t digest = 0;

    for (unsigned i = 0; i < 5; i++)
        list[i] = (struct packed){(uint8_t)i, next_random(), (uint16_t)next_random(),
                                  next_random_wide()};
    for (unsigned i = 0; i < 5; i++) {
        struct packed copy = list[4 - i];
        digest = mix(mix(digest, copy.word), copy.half + copy.before);
        digest = mix(mix(digest, (uint32_t)copy.wide), (uint32_t)(copy.wide >> 32));
    }
    return digest;
}

static int brackets(const char *text)
{
    char open[16];
    int depth = 0;

    for (; *text != 0; text++) {
        switch (*text) {
        case '(': open[depth++] = ')'; break;
        case '[': open[depth++] = ']'; break;
        case '{': open[depth++] = '}'; break;
        case ')': case ']': case '}':
            if (depth == 0 || open[--depth] != *text)
                return 0;
            break;
        default: break;
        }
    }
    return depth == 0;
}

int main(void)
{
    char text[sizeof poem];
    size_t len = length(poem);

    count_words();
    sort_words();
    for (unsigned i = 0; i < n_words; i++) {
        put_text(words[i].text);
        put_text(" ");
        put_unsigned(words[i].count);
        put_text("\n");
    }
    for (size_t i = 0; i <= len; i++)
        text[i] = i < len ? poem[len - 1 - i] : 0;
    put_text(text);
    put_text("\n");
    unsigned wrong = numbers();
    say("unaligned", unaligned());
    put_int(brackets("{[()]()}") + 2 * brackets("(]") + 4 * brackets("(()"));
    put_text("\n");
    return (int)wrong;
}
