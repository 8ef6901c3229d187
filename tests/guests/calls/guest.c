/*
 * The guest of tests/integration/test_calls.c: host functions of every type, and
 * nested calls. The command offers no host functions.
 */
#include <mayfly/guest.h>

#include <string.h>

#define RELAY(type)                                                            \
    MF_IMPORT(host_##type, #type " host_" #type "(" #type " value)");          \
    static struct mf_value relay_##type(const struct mf_value *arg)           \
    {                                                                          \
        return mf_call(host_##type, arg[0]);                                   \
    }                                                                          \
    MF_EXPORT(relay_##type, #type " relay_" #type "(" #type " value)")
RELAY(bool);
RELAY(i32);
RELAY(u32);
RELAY(i64);
RELAY(u64);
RELAY(f32);
RELAY(f64);
RELAY(string);
RELAY(bytes);

MF_IMPORT(host_add, "i32 add(i32 a, i32 b)");
MF_IMPORT(host_nothing, "void nothing()");
MF_IMPORT(host_many, "i64 many(i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, "
                     "i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, "
                     "i32, i32, i32, i32)");
MF_IMPORT(host_name, "string name(u32 number)");
MF_IMPORT(host_join, "string join(string a, string b)");
MF_IMPORT(host_fail, "string fail(string message)");
MF_IMPORT(host_back, "u64 back(u32 depth, string text)");

static struct mf_value sum_to(const struct mf_value *arg)
{
    struct mf_value sum = mf_i32(0);
    for (int32_t i = 1; i <= arg[0].i32 && !sum.failed; i++)
        sum = mf_call(host_add, sum, mf_i32(i));
    return sum;
}
MF_EXPORT(sum_to, "i32 sum_to(i32 n)");

static struct mf_value call_nothing(const struct mf_value *arg)
{
    (void)arg;
    struct mf_value v = mf_call(host_nothing);
    return mf_bool(v.type == MF_VOID && !v.failed);
}
MF_EXPORT(call_nothing, "bool call_nothing()");

static struct mf_value call_many(const struct mf_value *arg)
{
    struct mf_value args[MF_PARAMS_MAX + 1];
    for (int32_t i = 0; i < MF_PARAMS_MAX + 1; i++)
        args[i] = mf_i32(i);
    if (arg[0].boolean)
        return mf_host_call(&host_many, args, MF_PARAMS_MAX + 1);
    return mf_host_call(&host_many, args, MF_PARAMS_MAX);
}
MF_EXPORT(call_many, "i64 call_many(bool too_many)");

/* Two results that are alive at the same time, and one made of both. */
static struct mf_value join_names(const struct mf_value *arg)
{
    struct mf_value a = mf_call(host_name, arg[0]);
    struct mf_value b = mf_call(host_name, arg[1]);
    struct mf_value joined = mf_call(host_join, a, b);
    struct mf_value again = mf_call(host_join, joined, mf_call(host_name, arg[0]));
    if (again.failed)
        return again;
    return mf_stringf("%s|%s|%s|%s", a.string.data, b.string.data, joined.string.data,
                      again.string.data);
}
MF_EXPORT(join_names, "string join_names(u32 a, u32 b)");

/* Many results in a loop, with their room given back. */
static struct mf_value name_length(const struct mf_value *arg)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < arg[0].u32; i++) {
        size_t mark = mf_scratch_mark();
        struct mf_value name = mf_call(host_name, mf_u32(i));
        if (name.failed)
            return name;
        total += name.string.len;
        if (arg[1].boolean)
            mf_scratch_release(mark);
    }
    return mf_u64(total);
}
MF_EXPORT(name_length, "u64 name_length(u32 times, bool release)");

/* A failed host call is a value; the guest goes on. */
static struct mf_value survive(const struct mf_value *arg)
{
    struct mf_value v = mf_call(host_fail, arg[0]);
    if (!v.failed)
        return mf_error("the host function did not fail");
    return mf_stringf("survived: %s", v.string.data);
}
MF_EXPORT(survive, "string survive(string message)");

static struct mf_value pass_on(const struct mf_value *arg)
{
    return mf_call(host_fail, arg[0]);
}
MF_EXPORT(pass_on, "string pass_on(string message)");

/*
 * Calls the host, which calls `deeper` with one less, and so on. All arguments and
 * results must be whole when everything has come back.
 */
static struct mf_value deeper(const struct mf_value *arg)
{
    char copy[100];
    uint32_t depth = arg[0].u32;
    size_t len = arg[1].string.len < sizeof copy - 1 ? arg[1].string.len : sizeof copy - 1;

    memcpy(copy, arg[1].string.data, len);
    copy[len] = 0;
    if (depth == 0)
        return mf_u64(len);
    struct mf_value text = mf_stringf("%s.%u", copy, (unsigned)depth);
    if (text.failed)
        return text;
    struct mf_value below = mf_call(host_back, mf_u32(depth - 1), text);
    if (below.failed)
        return below;
    if (strncmp(arg[1].string.data, copy, len) != 0 || text.string.len != strlen(text.string.data))
        return mf_error("a nested call wrote over what was in use");
    return mf_u64(below.u64 + len);
}
MF_EXPORT(deeper, "u64 deeper(u32 depth, string text)");

/* Gives an argument back from its own place: the answer is written over the call. */
static struct mf_value second(const struct mf_value *arg)
{
    return arg[1];
}
MF_EXPORT(second, "string second(string a, string b)");

static struct mf_value too_large(const struct mf_value *arg)
{
    static char text[1 << 20];
    memset(text, 'x', sizeof text);
    if (arg[0].boolean)
        return mf_call(host_join, mf_string_n(text, sizeof text), mf_string(""));
    return mf_string_n(text, sizeof text);
}
MF_EXPORT(too_large, "string too_large(bool as_argument)");

static struct mf_value crash(const struct mf_value *arg)
{
    (void)arg;
    __builtin_trap();
}
MF_EXPORT(crash, "void crash()");

static struct mf_value spin(const struct mf_value *arg)
{
    while (arg != NULL)
        __asm__ volatile("" : "+r"(arg) : : "memory");
    return mf_void();
}
MF_EXPORT(spin, "void spin()");

/*
 * Noise over the mailbox, or over some of it, while host functions are running:
 * the frame of this call, those of the calls around it, the indices.
 */
static struct mf_value ruin(const struct mf_value *arg)
{
    uint64_t state = arg[0].u64 * 0x9e3779b97f4a7c15u + 1, what = arg[0].u64 % 8;
    volatile uint64_t *mailbox = (volatile uint64_t *)0x600000010000;
    const volatile uint64_t *boot = (const volatile uint64_t *)0x600000000000;
    uint64_t exchange = boot[72 / 8] / 8, words = *(const volatile uint32_t *)&boot[88 / 8] / 8;

    for (uint64_t i = 0; i < (what == 0 ? boot[48 / 8] / 8 : 64); i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if (what == 0)
            mailbox[i] = state;
        else if (what < 4)
            mailbox[exchange + state % (words < 512 ? words : 512)] = state >> (state % 64);
        else
            mailbox[exchange + i] ^= state % 8 == 0 ? (uint64_t)1 << (state >> 58) : 0;
    }
    return arg[0].u64 % 2 ? mf_call(host_back, mf_u32(0), mf_string("ruined")) : mf_u64(1);
}
MF_EXPORT(ruin, "u64 ruin(u64 seed)");
