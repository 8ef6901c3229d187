/* Ways to give up: abort, assert, raise, mf_abort, also with nothing left of the stack. */
#include <mayfly/guest.h>

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile int zero;

static int give_up(const char *how)
{
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "assert") == 0)
        assert(zero != 0);
    if (strcmp(how, "raise") == 0)
        raise(SIGTERM);
    if (strcmp(how, "mf_abort") == 0)
        mf_abort("gave up with a message");
    if (strcmp(how, "long") == 0) {
        static char text[10000];
        memset(text, 'z', sizeof text - 1);
        mf_abort(text);
    }
    if (strcmp(how, "no_stack") == 0) {
        __asm__ volatile("xor %%esp, %%esp" : : : "memory");
        mf_abort("gave up without a stack");
    }
    if (strcmp(how, "bad_text") == 0)
        __asm__ volatile("outb %%al, $0xb3" : : "D"(0x1234000), "S"(0x7fffffffffffffff));
    return 50;
}

static struct mf_value quit(const struct mf_value *arg)
{
    return mf_i32(give_up(arg[0].string.data));
}
MF_EXPORT(quit, "i32 quit(string how)");

int main(int argc, char **argv)
{
    mf_serve();
    return argc > 1 ? give_up(argv[1]) : 51;
}
