/* Log lines of every level, and some that a guest should not write. */
#include <mayfly/guest.h>

#include <string.h>

static struct mf_value speak(const struct mf_value *arg)
{
    mf_log(MF_LOG_ERROR, "an error line");
    mf_log(MF_LOG_WARNING, "a warning line");
    mf_log(MF_LOG_INFO, "an info line");
    mf_log(MF_LOG_DEBUG, "a debug line");
    mf_logf(MF_LOG_INFO, "formatted %d %s", 42, arg[0].string.data);
    return mf_void();
}
MF_EXPORT(speak, "void speak(string word)");

static struct mf_value odd(const struct mf_value *arg)
{
    static char text[9000];
    (void)arg;
    memset(text, 'l', sizeof text);
    mf_log_n(MF_LOG_INFO, text, sizeof text);
    mf_log(MF_LOG_INFO, "");
    mf_log(MF_LOG_INFO, "two\nlines and \x1b[31mcolour");
    mf_log_n(MF_LOG_INFO, "\xff\xfe not text", 11);
    mf_log_n((enum mf_log_level)99, "no such level", 13);
    return mf_bool(true);
}
MF_EXPORT(odd, "bool odd()");

static struct mf_value bad_pointer(const struct mf_value *arg)
{
    mf_log_n(MF_LOG_INFO, (const char *)(uintptr_t)arg[0].u64, arg[1].u64);
    return mf_bool(true);
}
MF_EXPORT(bad_pointer, "bool bad_pointer(u64 address, u64 len)");
