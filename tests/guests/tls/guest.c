/* Thread-local variables, initialised and zeroed, aligned, and kept between calls. */
#include <mayfly/guest.h>

#include <errno.h>
#include <stdint.h>

static __thread int counter = 40;
static __thread char zeroed[5000];
static __thread struct {
    char bytes[64];
} aligned __attribute__((aligned(64)));

static struct mf_value check(const struct mf_value *arg)
{
    (void)arg;
    for (unsigned i = 0; i < sizeof zeroed; i++)
        if (zeroed[i] != 0)
            return mf_error("not zero");
    if ((uintptr_t)&aligned % 64 != 0)
        return mf_error("not aligned");
    errno = 7;
    counter += 2;
    return errno == 7 ? mf_i32(counter) : mf_error("errno was lost");
}
MF_EXPORT(check, "i32 check()");
