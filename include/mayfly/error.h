/*
 * Errors. Every function of the library that can fail returns 0 or a negative
 * MF_E_* code and fills the optional struct mf_error, which needs no memory of
 * its own and no release.
 */
#ifndef MAYFLY_ERROR_H
#define MAYFLY_ERROR_H

#include <mayfly/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * All error codes: X(name, number, text). A call that fails with one of the
 * codes marked "poisons" leaves the sandbox poisoned: its guest was stopped in
 * the middle of something, and it takes no further calls. MF_E_SYSTEM and
 * MF_E_NO_MEMORY poison it when they come while the guest runs. MF_E_RANGE and
 * MF_E_HOST_FUNCTION are for callers and host functions; the library itself gives
 * neither.
 */
#define MF_ERROR_LIST(X)                                                       \
    X(MF_E_ARGUMENT, -1, "invalid argument")                                   \
    X(MF_E_NO_MEMORY, -2, "out of host memory")                                \
    X(MF_E_SYSTEM, -3, "a system call of the host failed")                     \
    X(MF_E_BACKEND, -4, "no usable backend")                                   \
    X(MF_E_IMAGE, -5, "not a usable program image")                            \
    X(MF_E_ABI, -6, "image and host speak different ABI versions")             \
    X(MF_E_SIGNATURE, -7, "malformed or mismatching signature")                \
    X(MF_E_NO_FUNCTION, -8, "the image exports no such function")              \
    X(MF_E_NO_HOST_FUNCTION, -9, "a host function that the image needs is missing") \
    X(MF_E_TYPE, -10, "wrong number or type of arguments")                     \
    X(MF_E_RANGE, -11, "number out of range")                                  \
    X(MF_E_UTF8, -12, "a string is not valid UTF-8")                           \
    X(MF_E_TOO_LARGE, -13, "values do not fit into the mailbox")               \
    X(MF_E_STATE, -14, "not possible in this state")                           \
    X(MF_E_POISONED, -15, "the sandbox is poisoned by an earlier failure")     \
    X(MF_E_GUEST_FAULT, -16, "the guest faulted")                /* poisons */ \
    X(MF_E_GUEST_EXIT, -17, "the guest exited")                  /* poisons */ \
    X(MF_E_GUEST_ABORT, -18, "the guest aborted")                /* poisons */ \
    X(MF_E_GUEST_ERROR, -19, "the function reported an error")                 \
    X(MF_E_PROTOCOL, -20, "the guest broke the call protocol")   /* poisons */ \
    X(MF_E_DEADLINE, -21, "deadline exceeded")                   /* poisons */ \
    X(MF_E_CPU_TIME, -22, "CPU time limit exceeded")             /* poisons */ \
    X(MF_E_INTERRUPTED, -23, "interrupted")       /* poisons when it had run */ \
    X(MF_E_OUTPUT_LIMIT, -24, "output limit exceeded")           /* poisons */ \
    X(MF_E_HOST_CALL_LIMIT, -25, "limit of host calls exceeded") /* poisons */ \
    X(MF_E_DEPTH, -26, "calls are nested too deeply")                          \
    X(MF_E_HOST_FUNCTION, -27, "a host function failed")                       \
    X(MF_E_SNAPSHOT, -28, "not a usable snapshot file")                        \
    X(MF_E_PARENT, -29, "the parent of a snapshot is missing or changed")      \
    X(MF_E_BUSY, -30, "all slots or all memory of the pool are in use")        \
    X(MF_E_MOVED, -31, "the sandbox has moved to another host")  /* poisons */ \
    X(MF_E_CHANNEL, -32, "the channel to the peer is broken")                  \
    X(MF_E_PEER, -33, "the peer broke the migration protocol")                 \
    X(MF_E_REFUSED, -34, "the peer refused")                                   \
    X(MF_E_CANCELLED, -35, "cancelled")

enum mf_error_code {
    MF_OK = 0,
#define MF_ERROR_ENUM(name, number, text) name = number,
    MF_ERROR_LIST(MF_ERROR_ENUM)
#undef MF_ERROR_ENUM
};

struct mf_error {
    int code;          /* MF_OK or MF_E_*, the same as was returned */
    int sys_errno;     /* errno of the system call behind it, or 0 */
    char message[256]; /* what is wrong and what to do; NUL-terminated UTF-8 */
};

/* The name of a code, like "MF_E_IMAGE"; "MF_E_?" for an unknown one. Static. */
MF_API const char *mf_error_name(int code);

/* The general text of a code; the message of an mf_error says more. Static. */
MF_API const char *mf_error_text(int code);

#ifdef __cplusplus
}
#endif

#endif
