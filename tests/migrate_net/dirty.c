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
#define SLICES_PER_S 500

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int check(uint64_t (*pages)[PAGE_WORDS], uint64_t npages, uint64_t turns)
{
    uint64_t page;

    for (page = 0; page < npages; page++) {
        uint64_t last = page + (turns - 1 - page) / npages * npages;

        if (pages[page][page % PAGE_WORDS] != last || pages[page][PAGE_WORDS - 1 - page % 8] != ~last) {
            printf("page %llu has turn %llu, not %llu\n", (unsigned long long)page,
                   (unsigned long long)pages[page][page % PAGE_WORDS], (unsigned long long)last);
            return 1;
        }
    }
    printf("all pages are right after %s turns\n", turns > npages ? "more" : "few");
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t npages, per_slice, turn = 0, i, end, last;
    uint64_t(*pages)[PAGE_WORDS];

    if (argc != 4)
        return 2;
    npages = strtoull(argv[1], NULL, 10) * PAGES_PER_MIB;
    per_slice = strtoull(argv[2], NULL, 10) * PAGES_PER_MIB / SLICES_PER_S;
    pages = aligned_alloc(4096, npages * sizeof(*pages));
    if (pages == NULL || npages == 0 || per_slice == 0)
        return 2;
    for (; turn < npages; turn++) {
        pages[turn][turn % PAGE_WORDS] = turn;
        pages[turn][PAGE_WORDS - 1 - turn % 8] = ~turn;
    }
    puts("filled");
    fflush(stdout);
    last = now_ns();
    end = last + strtoull(argv[3], NULL, 10) * 1000000000;
    while (now_ns() < end) {
        for (i = 0; i < per_slice; i++, turn++) {
            uint64_t page = turn % npages;

            pages[page][page % PAGE_WORDS] = turn;
            pages[page][PAGE_WORDS - 1 - page % 8] = ~turn;
        }
        last += 1000000000 / SLICES_PER_S;
        if (now_ns() < last)
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME,
                            &(struct timespec){(time_t)(last / 1000000000),
                                               (long)(last % 1000000000)}, NULL);
        else
            last = now_ns();
    }
    return check(pages, npages, turn);
}
