/* Ways to end: return, exit with handlers, _exit, and exit inside of a call. */
#include <mayfly/guest.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void goodbye(void)
{
    puts("goodbye");
}

static struct mf_value leave(const struct mf_value *arg)
{
    exit(arg[0].i32);
}
MF_EXPORT(leave, "void leave(i32 status)");

int main(int argc, char **argv)
{
    atexit(goodbye);
    mf_serve();
    if (argc < 3)
        return 99;
    int status = atoi(argv[2]);
    if (strcmp(argv[1], "exit") == 0)
        exit(status);
    if (strcmp(argv[1], "_exit") == 0)
        _exit(status);
    return status;
}
