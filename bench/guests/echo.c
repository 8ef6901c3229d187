/*
 * The guest of the figures: functions that do next to nothing, so that what is
 * measured is the way there and back.
 */
#include <mayfly/guest.h>

#include <stdlib.h>
#include <string.h>

MF_IMPORT(tick, "u64 tick(u64 n)");
MF_IMPORT(again, "string again(string text)");

static struct mf_value echo(const struct mf_value *arg)
{
    return arg[0];
}
MF_EXPORT(echo, "string echo(string text)");

static struct mf_value echo_bytes(const struct mf_value *arg)
{
    return arg[0];
}
MF_EXPORT(echo_bytes, "bytes echo_bytes(bytes data)");

/* Reads every byte of the argument and writes every byte of a result of its own. */
static struct mf_value copy_bytes(const struct mf_value *arg)
{
    size_t len = arg[0].bytes.len;
    void *copy = malloc(len);

    if (copy == NULL)
        return mf_error("no memory for a copy");
    memcpy(copy, arg[0].bytes.data, len);
    return mf_bytes_owned(copy, len, free);
}
MF_EXPORT(copy_bytes, "bytes copy_bytes(bytes data)");

/* With one host function inside. */
static struct mf_value echo_tick(const struct mf_value *arg)
{
    struct mf_value answer = mf_call(tick, mf_u64(1));

    return answer.failed ? answer : arg[0];
}
MF_EXPORT(echo_tick, "string echo_tick(string text)");

/* The host function `again` calls echo of this guest. */
static struct mf_value relay(const struct mf_value *arg)
{
    return mf_call(again, arg[0]);
}
MF_EXPORT(relay, "string relay(string text)");

/* Says that it runs, then loops for ever; `n` keeps the compiler from knowing that. */
static struct mf_value spin(const struct mf_value *arg)
{
    volatile uint64_t turns = arg[0].u64;
    struct mf_value answer = mf_call(tick, mf_u64(turns));

    if (answer.failed)
        return answer;
    for (;;)
        turns++;
}
MF_EXPORT(spin, "u64 spin(u64 n)");
