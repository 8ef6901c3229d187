/*
 * What the files of the guest SDK share. The SDK calls no C library, not even
 * memcpy, so that it links into any program and brings nothing along; it is
 * compiled with -ffreestanding, without AVX and without stack protector.
 *
 * Life of a call in the guest: mf_serve (entry.c) waits in `out READY`; the host
 * puts a CALL frame into the call ring and enters; guest_answer_calls (call.c)
 * decodes it in place (codec.c), runs the function, encodes the answer into the
 * result ring, and mf_serve waits again. A host function is called through
 * hostcall.c, which also answers the calls that come back through it.
 */
#ifndef GUEST_SDK_H
#define GUEST_SDK_H

#include "abi/boot.h"
#include "abi/function.h"
#include "abi/mailbox.h"
#include "abi/memory_map.h"
#include "abi/ports.h"
#include "abi/value.h"
#include "abi/version.h"

#include <mayfly/guest.h>

/* Numbers of the host's MF_E_* codes that the SDK itself reports. */
enum guest_status {
    GUEST_E_NO_FUNCTION = -8,
    GUEST_E_TYPE = -10,
    GUEST_E_TOO_LARGE = -13,
    GUEST_E_ERROR = -19,
};

/* The function table: all records, put together by the linker. */
extern const char guest_table[] __asm__("__start_mayfly_table")
    __attribute__((visibility("hidden")));
extern const char guest_table_end[] __asm__("__stop_mayfly_table")
    __attribute__((visibility("hidden")));

/* What guest.h defines in programs that have a C library; others have none to flush. */
extern void mf_guest_flush(void) __attribute__((weak));

/*
 * How far the exchange area is in use, as a stack: frames of host calls, their
 * results, scratch. 0 outside of calls.
 */
extern size_t guest_exchange_top;

static inline const struct mf_abi_boot *guest_boot(void)
{
    return (const struct mf_abi_boot *)MF_ABI_GVA_BOOT;
}

static inline struct mf_abi_control *guest_control(void)
{
    return (struct mf_abi_control *)MF_ABI_GVA_MAILBOX;
}

/* An area of the mailbox by its offset. */
static inline uint8_t *guest_area(uint64_t offset)
{
    return (uint8_t *)MF_ABI_GVA_MAILBOX + offset;
}

/* Leaves for the host. It may have changed any shared memory afterwards. */
#define GUEST_OUT(port, rdi) \
    __asm__ volatile("outb %%al, %0" : : "N"(port), "D"(rdi) : "memory")

/*
 * Copies forwards, so the areas may overlap when dst is below src. Eight bytes at
 * a time: emulators pay per store, processors do not care.
 */
static inline void guest_copy(void *dst, const void *src, size_t len)
{
    size_t words = len / 8;
    __asm__ volatile("rep movsq\n\tmov %3, %2\n\trep movsb"
                     : "+D"(dst), "+S"(src), "+c"(words)
                     : "r"(len % 8)
                     : "memory");
}

/* Data of at least this many bytes travels by reference where a frame would be too large. */
#define GUEST_REFERENCE_MIN 64

/*
 * The bytes of a frame with these values, a multiple of MF_ABI_FRAME_ALIGN; with
 * `refer`, those of at least GUEST_REFERENCE_MIN bytes stand elsewhere. UINT64_MAX when a
 * value is longer than any frame.
 */
uint64_t guest_frame_size(const struct mf_value *values, size_t n, bool refer);

/*
 * Writes a frame of `size` = guest_frame_size(values, n, refer) bytes. With one value,
 * that value may point into the frame that is written over.
 */
void guest_encode(uint8_t *dst, uint64_t size, struct mf_abi_frame header,
                  const struct mf_value *values, size_t n, bool refer);

/* Whether the host takes values by reference. */
static inline bool guest_may_refer(void)
{
    return (guest_boot()->features & MF_ABI_FEATURE_REFERENCES) != 0;
}

/* Reads the values of a frame into out[MF_ABI_PARAMS_MAX]; they point into the frame. */
size_t guest_decode(const struct mf_abi_frame *frame, struct mf_value *out);

/*
 * Runs the function that a CALL frame names and gives back its result, which may
 * point into scratch: the caller resets guest_exchange_top once it is encoded.
 */
struct mf_value guest_run_call(const struct mf_abi_frame *call);

/*
 * Writes the RESULT or ERROR frame for `value` to dst, which has `room` bytes (at
 * least one frame), by reference when it must. What does not fit becomes an error that
 * says so. Returns the bytes written; *referred tells that the value must stay.
 */
uint64_t guest_encode_answer(uint8_t *dst, uint64_t room, uint64_t id, struct mf_value value,
                             bool *referred);

/* What mf_bytes_owned left to give back. */
struct guest_owned {
    void (*release)(void *data);
    void *data;
};
extern struct guest_owned guest_owned;

/* Gives it back, if there is something. */
void guest_release_owned(void);

/* Answers all calls that stand in the call ring. */
void guest_answer_calls(void);

/*
 * While the host wants attention: waits for a call and returns true. False when
 * the guest shall leave.
 */
bool guest_poll(void);

/* Calls the restore hooks when this guest was restored since the last time. */
void guest_check_restore(void);

/* A failed value with a status of the host's codes; the message is a literal. */
struct mf_value guest_failure(enum guest_status status, const char *message);

#endif
