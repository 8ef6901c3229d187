/* Time that passes, sleeps that last, and calendars that are not wildly wrong. */
#include <mayfly/guest.h>

#include <stdio.h>
#include <sys/time.h>
#include <time.h>

static int64_t now(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) != 0)
        return -1;
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int check(const char *name, int good)
{
    printf("%s: %s\n", name, good ? "good" : "BAD");
    return !good;
}

int main(void)
{
    struct timespec pause = {0, 20000000}, resolution;
    struct timeval day;
    int bad = 0;

    int64_t begin = now(CLOCK_MONOTONIC), last = begin;
    int steady = 1;
    for (int i = 0; i < 200; i++) {
        int64_t t = now(CLOCK_MONOTONIC);
        steady &= t >= last;
        last = t;
    }
    bad |= check("monotonic", steady && begin >= 0);
    begin = now(CLOCK_MONOTONIC);
    nanosleep(&pause, NULL);
    bad |= check("nanosleep", now(CLOCK_MONOTONIC) - begin >= 20000000);
    /* After the start of 2024, before that of 2100. */
    bad |= check("realtime", time(NULL) > 1704067200 && time(NULL) < 4102444800);
    gettimeofday(&day, NULL);
    bad |= check("gettimeofday", day.tv_sec >= time(NULL) - 2 && day.tv_sec <= time(NULL) + 2);
    int64_t cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    for (volatile int i = 0; i < 20000000; i++)
        ;
    bad |= check("cpu time", cpu >= 0 && now(CLOCK_PROCESS_CPUTIME_ID) > cpu);
    bad |= check("resolution", clock_getres(CLOCK_MONOTONIC, &resolution) == 0);
    bad |= check("no such clock", clock_gettime(99, &resolution) == -1);
    return bad;
}
