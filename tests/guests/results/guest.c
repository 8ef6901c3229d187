/* Results: copies in scratch, failures, and what does not fit. */
#include <mayfly/guest.h>

#include <string.h>

static char big[1 << 20];

/* A copy of `len` letters: fits, or fails with a message, but never harms. */
static struct mf_value copied(const struct mf_value *arg)
{
    size_t len = arg[0].u64;
    if (len > sizeof big)
        return mf_error("too much");
    memset(big, 'x', len);
    return mf_string_copy(big, len);
}
MF_EXPORT(copied, "string copied(u64 len)");

/* The same with no copy in between. */
static struct mf_value direct(const struct mf_value *arg)
{
    size_t len = arg[0].u64 < sizeof big ? arg[0].u64 : sizeof big;
    memset(big, 'y', len);
    return mf_string_n(big, len);
}
MF_EXPORT(direct, "string direct(u64 len)");

static struct mf_value fails(const struct mf_value *arg)
{
    return mf_errorf("%s is not for me", arg[0].string.data);
}
MF_EXPORT(fails, "i32 fails(string what)");

static struct mf_value fails_plainly(const struct mf_value *arg)
{
    (void)arg;
    return mf_error("no reason");
}
MF_EXPORT(fails_plainly, "void fails_plainly()");

static struct mf_value formatted(const struct mf_value *arg)
{
    return mf_stringf("%d-%s", arg[0].i32, arg[1].string.data);
}
MF_EXPORT(formatted, "string formatted(i32 a, string b)");

/* Scratch is a stack that a loop can give back. */
static struct mf_value churn(const struct mf_value *arg)
{
    for (uint32_t i = 0; i < arg[0].u32; i++) {
        size_t mark = mf_scratch_mark();
        struct mf_value v = mf_bytes_copy(big, 5000);
        if (v.failed)
            return v;
        mf_scratch_release(mark);
    }
    return mf_bytes_copy("done", 4);
}
MF_EXPORT(churn, "bytes churn(u32 times)");

static struct mf_value fill(const struct mf_value *arg)
{
    uint32_t pieces = 0;
    (void)arg;
    while (mf_scratch(1000) != NULL)
        pieces++;
    return mf_bool(pieces > 3 && mf_bytes_copy(big, sizeof big).failed);
}
MF_EXPORT(fill, "bool fill()");

static struct mf_value wrong_type(const struct mf_value *arg)
{
    (void)arg;
    return mf_f64(1);
}
MF_EXPORT(wrong_type, "i32 wrong_type()");

static struct mf_value bad_utf8(const struct mf_value *arg)
{
    (void)arg;
    return mf_string("\xff\xfe");
}
MF_EXPORT(bad_utf8, "string bad_utf8()");
