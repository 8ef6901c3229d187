/*
 * The guest SDK: what a program needs that runs inside a micro-VM, exports
 * functions to the host and calls functions of the host. C11 and C++11; with
 * musl, glibc, or (-nostdlib -ffreestanding) no C library at all.
 *
 *     #include <mayfly/guest.h>
 *
 *     static struct mf_value greet(const struct mf_value *arg)
 *     {
 *         return mf_stringf("Hello, %s!", arg[0].string.data);
 *     }
 *     MF_EXPORT(greet, "string greet(string name)");
 *
 * Link with libmayfly_guest.a. It has a main() for programs without one of their
 * own; a main() of your own does its set-up and then calls mf_serve().
 *
 * A guest has one thread. Nothing here may be called from a signal handler.
 */
#ifndef MAYFLY_GUEST_H
#define MAYFLY_GUEST_H

#include <mayfly/value.h>

#if __STDC_HOSTED__
#include <stdarg.h>
#include <stdio.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/*
 * An exported function. `arg` has the values that its signature names; they and
 * what they point to are valid, in place, until it returns, and are not to be
 * written to. What the result points to must be valid when it returns, and is copied
 * then; for texts built in a local array there are mf_string_copy and mf_bytes_copy.
 * A result that does not fit into the mailbox is not copied: it must stay as it is
 * until the next call (static storage, or see mf_bytes_owned).
 */
typedef struct mf_value (*mf_function)(const struct mf_value *arg);

/*
 * MF_EXPORT(function, "type name(type parameter, ...)") exports a function under
 * the name in its signature, which may differ from the C identifier. The
 * signature is a string literal; the host reads it from the file. At file scope.
 */
#define MF_EXPORT(function, signature) \
    MF_RECORD_(mf_export_of_##function, mf_function, 1, function, signature)

/*
 * MF_IMPORT(identifier, "type name(type parameter, ...)") declares a function of
 * the host, to be called by mf_call(identifier, ...). A host that does not have
 * it, or has it with another signature, refuses to make a sandbox. At file scope,
 * once in a program for each host function (or once per file, which is the same
 * to the host).
 */
#define MF_IMPORT(identifier, signature) MF_RECORD_(identifier, mf_function, 2, 0, signature)

/*
 * MF_ON_RESTORE(function) has a `void function(void)` called when this guest was
 * restored from a snapshot or cloned, before its next exported function begins:
 * to draw new random numbers and ids. At file scope. See mf_generation.
 */
#define MF_ON_RESTORE(function) \
    MF_RECORD_(mf_restore_hook_##function, mf_restore_hook, 3, function, "")

typedef void (*mf_restore_hook)(void);

/*
 * One record of the function table, in the layout of struct mf_abi_function of
 * the ABI. The table is a section; the linker puts the records of all files
 * together. It is writable because a static-pie has addresses in it to relocate.
 */
#define MF_RECORD_TYPE_(pointer_type, signature_)  \
    struct {                                       \
        uint32_t size;                             \
        uint16_t kind;                             \
        uint16_t reserved;                         \
        pointer_type pointer;                      \
        const void *anchor;                        \
        char signature[sizeof(signature_)];        \
    }
#define MF_RECORD_(identifier, pointer_type, kind, pointer, signature)   \
    static MF_RECORD_TYPE_(pointer_type, signature) identifier MF_IN_TABLE_ = { \
        24 + sizeof(signature), kind, 0, pointer, &mf_guest_anchor, signature}

#ifdef __has_attribute
#if __has_attribute(retain)
#define MF_IN_TABLE_ __attribute__((section("mayfly_table"), used, retain, aligned(16)))
#endif
#endif
#ifndef MF_IN_TABLE_
#define MF_IN_TABLE_ __attribute__((section("mayfly_table"), used, aligned(16)))
#endif

/* Every record refers to it, which brings the SDK into the link. */
extern const char mf_guest_anchor;

/*
 * Waits for calls and answers them; does not return when the sandbox was made
 * for calls. Returns 0 at once when the program was started to run
 * (`mayfly run`, or outside of Mayfly). To be called once, at the end of main.
 */
int mf_serve(void);

/*
 * Calls a host function that MF_IMPORT declared: mf_call(add, mf_i32(1), mf_i32(2)).
 * Returns its result, or a value with `failed` set whose `string` is the message
 * (to pass it on to your own caller, return it). An argument with `failed` set is
 * returned as it is, and nothing is called.
 *
 * What a string or bytes result points to lives until the exported function that
 * called returns; a loop of many such calls gives the room back in between with
 * mf_scratch_mark and mf_scratch_release.
 *
 * The host function may call this guest again before it returns.
 */
#ifndef __cplusplus
#define mf_call(...) MF_CALL_(__VA_ARGS__, mf_void())
#define MF_CALL_(identifier, ...)                             \
    mf_host_call(&(identifier), (struct mf_value[]){__VA_ARGS__}, \
                 sizeof((struct mf_value[]){__VA_ARGS__}) / sizeof(struct mf_value) - 1)
#endif

/* The same with an array; `import` is the address of what MF_IMPORT declared. */
struct mf_value mf_host_call(const void *import, const struct mf_value *args, size_t nargs);

/*
 * `len` bytes, 16-aligned, that live until the exported function which asked
 * returns (its result included). Not heap: a stack in the pages shared with the
 * host, bounded by the sandbox's mailbox. NULL when there is no room.
 */
void *mf_scratch(size_t len);

/*
 * Streams: bytes in pieces through host functions, of any total, with no more in memory
 * than what the mailbox holds. They need at least 512 bytes of room there.
 *
 * mf_write sends `len` bytes through a host function "void name(bytes piece)" (or with
 * any result), in order. mf_read fills `buf` from a host function "bytes name(u64 most)",
 * which gives at most that many bytes at a time and none at the end: *got is then less
 * than `len`. Both return a void value, or a failed one with the host function's message;
 * *got is what came before.
 */
struct mf_value mf_stream_write(const void *import, const void *data, size_t len);
struct mf_value mf_stream_read(const void *import, void *buf, size_t len, size_t *got);
#define mf_write(identifier, data, len) mf_stream_write(&(identifier), data, len)
#define mf_read(identifier, buf, len, got) mf_stream_read(&(identifier), buf, len, got)

/* Gives back all scratch, and all host results, that came after the mark. */
size_t mf_scratch_mark(void);
void mf_scratch_release(size_t mark);

/*
 * A string or bytes value with a copy of `len` bytes, in scratch. Without room
 * it is a failed result that says so.
 */
struct mf_value mf_string_copy(const char *text, size_t len);
struct mf_value mf_bytes_copy(const void *data, size_t len);

/*
 * A bytes result of any size that belongs to the SDK from now on: when the host no longer
 * needs it, at the latest before the next call, `release` (free, or NULL) is called with
 * `data`. One that does not fit into the mailbox is not copied: the host reads it where it
 * stands. For the result of a function: only the last one that it makes is kept.
 */
struct mf_value mf_bytes_owned(void *data, size_t len, void (*release)(void *data));

/*
 * A failed result: the host's call fails with `message`, and the guest lives on.
 * The message must outlive the value.
 */
static inline struct mf_value mf_error(const char *message)
{
    struct mf_value v = mf_string(message);
    v.failed = 19; /* MF_E_GUEST_ERROR */
    return v;
}

/* Severity of a log line. */
enum mf_log_level { MF_LOG_ERROR = 0, MF_LOG_WARNING = 1, MF_LOG_INFO = 2, MF_LOG_DEBUG = 3 };

/* Gives the host one line of at most 4096 bytes; longer ones are cut. */
static inline void mf_log_n(enum mf_log_level level, const char *text, size_t len)
{
    __asm__ volatile("outb %%al, $0xb2" : : "D"(text), "S"(len), "d"(level) : "memory");
}

static inline void mf_log(enum mf_log_level level, const char *text)
{
    struct mf_value v = mf_string(text);
    mf_log_n(level, v.string.data, v.string.len);
}

/*
 * Ends the guest with a message of at most 4096 bytes; longer ones are cut. Uses
 * neither heap nor stack.
 */
__attribute__((always_inline, noreturn)) static inline void mf_abort(const char *text)
{
    const char *end = text;
    while (*end != 0)
        end++;
    __asm__ volatile("outb %%al, $0xb3\n\tud2" : : "D"(text), "S"(end - text) : "memory");
    __builtin_unreachable();
}

/*
 * A number that changes whenever this guest was restored from a snapshot or
 * cloned. Two clones that run at the same time have different numbers.
 */
uint64_t mf_generation(void);

/* Fills out[32] with random bytes that are fresh after each restore, without an exit. */
void mf_entropy(uint8_t out[32]);

/* Whether the program runs under Mayfly; otherwise only mf_serve may be used. */
bool mf_in_sandbox(void);

#if __STDC_HOSTED__

/* gcc 11 takes the va_list of the next functions for their format, and warns of its size. */
#ifndef __clang__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#endif

/* printf into scratch. On failure a failed result. */
__attribute__((format(printf, 1, 0))) static inline struct mf_value mf_vstringf(const char *format,
                                                                                va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (len < 0)
        return mf_error("the text cannot be formatted");
    char *text = (char *)mf_scratch((size_t)len + 1);
    if (text == NULL)
        return mf_string_copy("", (size_t)len); /* fails for the same reason, and says so */
    vsnprintf(text, (size_t)len + 1, format, args);
    return mf_string_n(text, (size_t)len);
}

/* A string result, as printf would print it. */
__attribute__((format(printf, 1, 2))) static inline struct mf_value mf_stringf(const char *format,
                                                                               ...)
{
    va_list args;
    va_start(args, format);
    struct mf_value v = mf_vstringf(format, args);
    va_end(args);
    return v;
}

/* A failed result with such a message. */
__attribute__((format(printf, 1, 2))) static inline struct mf_value mf_errorf(const char *format,
                                                                              ...)
{
    va_list args;
    va_start(args, format);
    struct mf_value v = mf_vstringf(format, args);
    va_end(args);
    if (!v.failed)
        v.failed = 19; /* MF_E_GUEST_ERROR */
    return v;
}

/* A log line, as printf would print it. */
__attribute__((format(printf, 2, 3))) static inline void mf_logf(enum mf_log_level level,
                                                                 const char *format, ...)
{
    size_t mark = mf_scratch_mark();
    va_list args;
    va_start(args, format);
    struct mf_value v = mf_vstringf(format, args);
    va_end(args);
    mf_log_n(level, v.string.data, v.string.len);
    mf_scratch_release(mark);
}

#ifndef __clang__
#pragma GCC diagnostic pop
#endif

/*
 * Called by the SDK after each exported function, and before the first: what the
 * guest printed shall be out before the result, and a program that only answers calls never exits,
 * which is when a C library would write its buffers.
 */
__attribute__((weak)) void mf_guest_flush(void);
__attribute__((weak)) void mf_guest_flush(void)
{
    fflush(NULL);
}

#endif

#ifdef __cplusplus
} /* extern "C" */

template <typename Import, typename... Values>
inline mf_value mf_call(const Import &import, const Values &...values)
{
    const mf_value args[] = {values..., mf_void()};
    return mf_host_call(&import, args, sizeof...(values));
}
#endif

#endif
