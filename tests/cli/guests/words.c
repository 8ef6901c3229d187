/*
 * The guest of the tests of `mayfly call`: one function for each thing that the
 * command must show or report.
 */
#include <mayfly/guest.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ECHO(type)                                                   \
    static struct mf_value echo_##type(const struct mf_value *arg)  \
    {                                                                \
        return arg[0];                                               \
    }                                                                \
    MF_EXPORT(echo_##type, #type " echo_" #type "(" #type " value)");

ECHO(bool)
ECHO(i32)
ECHO(u32)
ECHO(i64)
ECHO(u64)
ECHO(f32)
ECHO(f64)
ECHO(string)
ECHO(bytes)

static struct mf_value nothing(const struct mf_value *arg)
{
    (void)arg;
    return mf_void();
}
MF_EXPORT(nothing, "void nothing()");

/* Never changed, but the compiler cannot know. */
static volatile int forever = 1;

/* Strings and bytes of any length come out in few bytes. */
static struct mf_value length(const struct mf_value *arg)
{
    return mf_u64(arg[0].bytes.len);
}
MF_EXPORT(length, "u64 length(bytes data)");

static struct mf_value join(const struct mf_value *arg)
{
    return mf_stringf("%s%s", arg[0].string.data, arg[1].string.data);
}
MF_EXPORT(join, "string join(string, string second)");

static struct mf_value fail(const struct mf_value *arg)
{
    return mf_error(arg[0].string.data);
}
MF_EXPORT(fail, "void fail(string message)");

static struct mf_value leave(const struct mf_value *arg)
{
    exit(arg[0].i32);
}
MF_EXPORT(leave, "void leave(i32 status)");

static struct mf_value give_up(const struct mf_value *arg)
{
    (void)arg;
    mf_abort("I give up\033[31m");
}
MF_EXPORT(give_up, "void give_up()");

static struct mf_value crash(const struct mf_value *arg)
{
    volatile int *nowhere = NULL;

    (void)arg;
    return mf_i32(*nowhere);
}
MF_EXPORT(crash, "i32 crash()");

static struct mf_value spin(const struct mf_value *arg)
{
    (void)arg;
    while (forever)
        ;
    return mf_void();
}
MF_EXPORT(spin, "void spin()");

static struct mf_value print(const struct mf_value *arg)
{
    puts(arg[0].string.data);
    fprintf(stderr, "%s\n", arg[0].string.data);
    return mf_void();
}
MF_EXPORT(print, "void print(string text)");

static struct mf_value flood(const struct mf_value *arg)
{
    static char block[4096];

    (void)arg;
    memset(block, 'x', sizeof block);
    while (forever)
        fwrite(block, 1, sizeof block, stdout);
    return mf_void();
}
MF_EXPORT(flood, "void flood()");

static struct mf_value say(const struct mf_value *arg)
{
    mf_log((enum mf_log_level)arg[0].i32, arg[1].string.data);
    return mf_void();
}
MF_EXPORT(say, "void say(i32 level, string text)");

static struct mf_value variable(const struct mf_value *arg)
{
    const char *value = getenv(arg[0].string.data);

    return mf_string(value != NULL ? value : "(unset)");
}
MF_EXPORT(variable, "string variable(string name)");
