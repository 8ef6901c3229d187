/* setjmp and longjmp, out of deep frames, with registers restored. */
#include <mayfly/guest.h>

#include <setjmp.h>

static jmp_buf home;
static volatile int bottom;

__attribute__((noinline)) static int dive(int n)
{
    if (n <= bottom)
        longjmp(home, 7);
    return n > -1000 ? dive(n - 1) + 1 : n;
}

static struct mf_value jump(const struct mf_value *arg)
{
    volatile int jumps = 0;
    for (volatile uint32_t i = 0; i < arg[0].u32; i++) {
        int value = setjmp(home);
        if (value == 0)
            dive((int)i);
        else if (value == 7)
            jumps++;
    }
    return mf_i32(jumps);
}
MF_EXPORT(jump, "i32 jump(u32 times)");
