/* Every type of value, there and back; built with and without a C library. */
#include <mayfly/guest.h>

#define ECHO(type)                                                    \
    static struct mf_value echo_##type(const struct mf_value *arg)   \
    {                                                                 \
        return arg[0];                                                \
    }                                                                 \
    MF_EXPORT(echo_##type, #type " echo_" #type "(" #type " value)")
ECHO(bool);
ECHO(i32);
ECHO(u32);
ECHO(i64);
ECHO(u64);
ECHO(f32);
ECHO(f64);
ECHO(string);
ECHO(bytes);

static struct mf_value nothing(const struct mf_value *arg)
{
    (void)arg;
    return mf_void();
}
MF_EXPORT(nothing, "void nothing()");
/* The name that the host sees is the one in the signature. */
MF_RECORD_(other_name, mf_function, 1, nothing, "void another_name(void)");

static struct mf_value bits32(const struct mf_value *arg)
{
    uint32_t bits;
    __builtin_memcpy(&bits, &arg[0].f32, sizeof bits);
    return mf_u32(bits);
}
MF_EXPORT(bits32, "u32 bits32(f32 number)");

static struct mf_value bits64(const struct mf_value *arg)
{
    uint64_t bits;
    __builtin_memcpy(&bits, &arg[0].f64, sizeof bits);
    return mf_u64(bits);
}
MF_EXPORT(bits64, "u64 bits64(f64 number)");

static struct mf_value from_bits64(const struct mf_value *arg)
{
    double number;
    __builtin_memcpy(&number, &arg[0].u64, sizeof number);
    return mf_f64(number);
}
MF_EXPORT(from_bits64, "f64 from_bits64(u64 bits)");

static struct mf_value length(const struct mf_value *arg)
{
    return mf_u64(arg[0].string.len);
}
MF_EXPORT(length, "u64 length(string text)");

/* Whether the terminator that strings promise is there. */
static struct mf_value terminated(const struct mf_value *arg)
{
    return mf_bool(arg[0].string.data[arg[0].string.len] == 0);
}
MF_EXPORT(terminated, "bool terminated(string text)");

static struct mf_value sum_bytes(const struct mf_value *arg)
{
    const uint8_t *data = arg[0].bytes.data;
    uint64_t sum = 0;
    for (size_t i = 0; i < arg[0].bytes.len; i++)
        sum += data[i];
    return mf_u64(sum);
}
MF_EXPORT(sum_bytes, "u64 sum_bytes(bytes data)");

static struct mf_value weigh32(const struct mf_value *arg)
{
    int64_t sum = 0;
    for (int i = 0; i < 32; i++)
        sum += arg[i].i32 * (int64_t)(i + 1);
    return mf_i64(sum);
}
MF_EXPORT(weigh32, "i64 weigh32(i32 a0, i32 a1, i32 a2, i32 a3, i32 a4, i32 a5, i32 a6, i32 a7, "
                   "i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, "
                   "i32, i32, i32, i32, i32, i32, i32, i32, i32 last)");

/* All types at once, each checked on its own. */
static struct mf_value mixed(const struct mf_value *arg)
{
    bool good = arg[0].boolean && arg[1].i32 == -2 && arg[2].u32 == 3 && arg[3].i64 == -4 &&
                arg[4].u64 == 5 && arg[5].f32 == 1.5f && arg[6].f64 == -2.5 &&
                arg[7].string.len == 3 && arg[7].string.data[2] == 'c' &&
                arg[8].bytes.len == 2 && ((const uint8_t *)arg[8].bytes.data)[1] == 0xff;
    return mf_bool(good);
}
MF_EXPORT(mixed, "bool mixed(bool, i32, u32, i64, u64, f32, f64, string, bytes)");

static struct mf_value concat(const struct mf_value *arg)
{
    size_t a = arg[0].string.len, b = arg[1].string.len;
    char *text = mf_scratch(a + b + 1);
    if (text == NULL)
        return mf_error("too long");
    __builtin_memcpy(text, arg[0].string.data, a);
    __builtin_memcpy(text + a, arg[1].string.data, b);
    text[a + b] = 0;
    return mf_string_n(text, a + b);
}
MF_EXPORT(concat, "string concat(string a, string b)");
