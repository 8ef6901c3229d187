/* Guests that do not stop by themselves: loops, floods, recursion through the host. */
#include <mayfly/guest.h>

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile unsigned long counter;

static _Noreturn void loop(void)
{
    for (;;)
        counter++;
}

/* A loop that the host sees often. */
static _Noreturn void busy(void)
{
    struct timespec t;
    for (;;)
        clock_gettime(CLOCK_REALTIME, &t);
}

static _Noreturn void sleeper(void)
{
    struct timespec t = {1000, 0};
    for (;;)
        nanosleep(&t, NULL);
}

static int flood(void)
{
    static char text[1000];
    memset(text, 'f', sizeof text);
    for (;;)
        if (write(1, text, sizeof text) < 0)
            return 9;
}

static _Noreturn void flood_log(void)
{
    for (;;)
        mf_log(MF_LOG_INFO, "a line of the flood, again and again and again and again");
}

static int run_named(const char *name)
{
    if (strcmp(name, "loop") == 0)
        loop();
    if (strcmp(name, "busy") == 0)
        busy();
    if (strcmp(name, "sleep") == 0)
        sleeper();
    if (strcmp(name, "flood") == 0)
        return flood();
    if (strcmp(name, "flood_log") == 0)
        flood_log();
    return 77;
}

static struct mf_value endless(const struct mf_value *arg)
{
    return mf_i32(run_named(arg[0].string.data));
}
MF_EXPORT(endless, "i32 endless(string how)");

int main(int argc, char **argv)
{
    /* With an argument for main, the loop is in the guest's initialisation. */
    if (argc > 1)
        return run_named(argv[1]);
    mf_serve();
    return 78;
}
