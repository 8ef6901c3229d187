/*
 * The main of guests that have none of their own. It is an archive member by
 * itself: the linker takes it only when nothing else defines main.
 */
#include "guest/sdk.h"

int main(void);

/* The write system call, on the error output. */
static void complain(const char *text, size_t len)
{
    int64_t result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(1), "D"(2), "S"(text), "d"(len)
                     : "rcx", "r11", "memory");
}

int main(void)
{
    static const char text[] = "this guest exports functions; use: mayfly call\n";

    mf_serve();
    complain(text, sizeof text - 1);
    return 2;
}
