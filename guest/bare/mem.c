/*
 * The functions that a compiler may call although no source names them, for
 * guests without C library; and strlen, which everybody writes. Compiled so that
 * the compiler does not turn their loops into calls of themselves.
 */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict dst, const void *restrict src, size_t len);
void *memmove(void *dst, const void *src, size_t len);
void *memset(void *dst, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);
size_t strlen(const char *text);

/* Forwards, eight bytes at a time and then the rest. */
static void copy_up(void *dst, const void *src, size_t len)
{
    size_t words = len / 8;
    __asm__ volatile("rep movsq\n\tmov %3, %2\n\trep movsb"
                     : "+D"(dst), "+S"(src), "+c"(words)
                     : "r"(len % 8)
                     : "memory");
}

void *memcpy(void *restrict dst, const void *restrict src, size_t len)
{
    copy_up(dst, src, len);
    return dst;
}

void *memmove(void *dst, const void *src, size_t len)
{
    if ((uintptr_t)dst - (uintptr_t)src >= len) {
        copy_up(dst, src, len);
        return dst;
    }
    /* dst lies inside of the source: from the end, or it would be read too late. */
    char *to = dst;
    const char *from = src;
    while (len > 0) {
        len--;
        to[len] = from[len];
    }
    return dst;
}

void *memset(void *dst, int byte, size_t len)
{
    void *next = dst;
    size_t words = len / 8;
    __asm__ volatile("rep stosq\n\tmov %3, %1\n\trep stosb"
                     : "+D"(next), "+c"(words)
                     : "a"((uint64_t)(uint8_t)byte * UINT64_C(0x0101010101010101)), "r"(len % 8)
                     : "memory");
    return dst;
}

int memcmp(const void *a, const void *b, size_t len)
{
    const uint8_t *x = a, *y = b;
    for (size_t i = 0; i < len; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

size_t strlen(const char *text)
{
    size_t len = 0;
    while (text[len] != 0)
        len++;
    return len;
}
