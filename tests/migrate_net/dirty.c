/*
 * A guest that writes to its memory at a given rate, and checks at the end that nothing of it
 * was lost: dirty MIB MIB_PER_S SECONDS.
 *
 * Each turn writes its number and the page's to the next page, so what every page has to hold is
 * known. A guest that stood still goes on at its rate; it does not catch up.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PAGE_WORDS 512
#define PAGES_PER_MIB 256
/* Another one than page % PAGE_WORDS, or the two would be one word. */
#define SECOND_WORD(page) (((page) + PAGE_WORDS / 2) % PAGE_WORDS)
#define SLICES_PER_S 500
#define NS_PER_S UINT64_C(1000000000)

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int check(uint64_t (*pages)[PAGE_WORDS], uint64_t npages, uint64_t turns)
{
    uint64_t page;

    for (page = 0; page < npages; page++) {
        uint64_t last = page + (turns - 1 - page) / npages * npages;
        const uint64_t *words = pages[page];

        if (words[page % PAGE_WORDS] != last || words[SECOND_WORD(page)] != ~last) {
            printf("page %llu has turn %llu, not %llu\n", (unsigned long long)page,
                   (unsigned long long)words[page % PAGE_WORDS], (unsigned long long)last);
            return 1;
        }
    }
    puts("all pages are right");
    return 0;
}

static void write_page(uint64_t (*pages)[PAGE_WORDS], uint64_t npages, uint64_t turn)
{
    uint64_t page = turn % npages;

    pages[page][page % PAGE_WORDS] = turn;
    pages[page][SECOND_WORD(page)] = ~turn;
}

/* Waits for the next slice; gives when that is. One that is late already begins at once. */
static uint64_t wait_for_slice(uint64_t last)
{
    uint64_t next = last + NS_PER_S / SLICES_PER_S;
    const struct timespec until = {(time_t)(next / NS_PER_S), (long)(next % NS_PER_S)};

    if (now_ns() >= next)
        return now_ns();
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    return next;
}

int main(int argc, char **argv)
{
    uint64_t npages, per_slice, turn, i, end, slice;
    uint64_t(*pages)[PAGE_WORDS];

    if (argc != 4)
        return 2;
    npages = strtoull(argv[1], NULL, 10) * PAGES_PER_MIB;
    per_slice = strtoull(argv[2], NULL, 10) * PAGES_PER_MIB / SLICES_PER_S;
    pages = aligned_alloc(4096, npages * sizeof(*pages));
    if (pages == NULL || npages == 0 || per_slice == 0)
        return 2;
    for (turn = 0; turn < npages; turn++)
        write_page(pages, npages, turn);
    puts("filled");
    fflush(stdout);
    slice = now_ns();
    end = slice + strtoull(argv[3], NULL, 10) * NS_PER_S;
    while (now_ns() < end) {
        for (i = 0; i < per_slice; i++, turn++)
            write_page(pages, npages, turn);
        slice = wait_for_slice(slice);
    }
    return check(pages, npages, turn);
}
