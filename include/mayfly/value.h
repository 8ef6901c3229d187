/*
 * Typed values: the arguments and results of calls, for hosts and for guests.
 * Freestanding; C11 and C++.
 */
#ifndef MAYFLY_VALUE_H
#define MAYFLY_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The most parameters that a function can have. */
#define MF_PARAMS_MAX 32

/*
 * The types of values, with the names that signatures use:
 * X(enumerator, number, name).
 */
#define MF_TYPE_LIST(X)      \
    X(MF_VOID, 0, "void")    \
    X(MF_BOOL, 1, "bool")    \
    X(MF_I32, 2, "i32")      \
    X(MF_U32, 3, "u32")      \
    X(MF_I64, 4, "i64")      \
    X(MF_U64, 5, "u64")      \
    X(MF_F32, 6, "f32")      \
    X(MF_F64, 7, "f64")      \
    X(MF_STRING, 8, "string") \
    X(MF_BYTES, 9, "bytes")

enum mf_type {
#define MF_TYPE_ENUM(name, number, text) name = number,
    MF_TYPE_LIST(MF_TYPE_ENUM)
#undef MF_TYPE_ENUM
};

struct mf_string_data {
    const char *data;
    size_t len;
};

struct mf_bytes_data {
    const void *data;
    size_t len;
};

/*
 * A value. Strings are UTF-8 without NUL inside; `string.data` ends in a NUL
 * that `string.len` does not count. A value never owns what it points to; who
 * does, and for how long, is said where a value is passed.
 */
struct mf_value {
    enum mf_type type;
    /*
     * Guests only: a result with `failed` set is an error whose message is
     * `string`. Hosts leave it 0.
     */
    uint32_t failed;
    union {
        bool boolean;
        int32_t i32;
        uint32_t u32;
        int64_t i64;
        uint64_t u64;
        float f32;
        double f64;
        struct mf_string_data string;
        struct mf_bytes_data bytes;
    };
};

static inline struct mf_value mf_void(void)
{
    struct mf_value v = {MF_VOID, 0, {0}};
    return v;
}

#define MF_VALUE_MAKE(function, ctype, tag, member)  \
    static inline struct mf_value function(ctype x) \
    {                                               \
        struct mf_value v = mf_void();              \
        v.type = tag;                               \
        v.member = x;                               \
        return v;                                   \
    }
MF_VALUE_MAKE(mf_bool, bool, MF_BOOL, boolean)
MF_VALUE_MAKE(mf_i32, int32_t, MF_I32, i32)
MF_VALUE_MAKE(mf_u32, uint32_t, MF_U32, u32)
MF_VALUE_MAKE(mf_i64, int64_t, MF_I64, i64)
MF_VALUE_MAKE(mf_u64, uint64_t, MF_U64, u64)
MF_VALUE_MAKE(mf_f32, float, MF_F32, f32)
MF_VALUE_MAKE(mf_f64, double, MF_F64, f64)
#undef MF_VALUE_MAKE

/* A string of `len` bytes at `data`, which must outlive the value. */
static inline struct mf_value mf_string_n(const char *data, size_t len)
{
    struct mf_value v = mf_void();
    v.type = MF_STRING;
    v.string.data = data;
    v.string.len = len;
    return v;
}

/* The NUL-terminated string at `text`, which must outlive the value. */
static inline struct mf_value mf_string(const char *text)
{
    size_t len = 0;
    while (text[len] != 0)
        len++;
    return mf_string_n(text, len);
}

/* `len` bytes at `data`, which must outlive the value. */
static inline struct mf_value mf_bytes(const void *data, size_t len)
{
    struct mf_value v = mf_void();
    v.type = MF_BYTES;
    v.bytes.data = data;
    v.bytes.len = len;
    return v;
}

#ifdef __cplusplus
}
#endif

#endif
