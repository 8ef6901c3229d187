/*
 * Sandboxes: one guest program in a micro-VM of its own.
 *
 * Threads: a sandbox is used by one thread at a time, which may be another one
 * for each call (an attentive one by any number, see attend.h); mf_sandbox_interrupt
 * may be called from any thread, and from a signal handler, at any time between create
 * and destroy. Different sandboxes share nothing that is not read-only. A forked child
 * cannot use the sandboxes of its parent, not even destroy them; it can create its own.
 */
#ifndef MAYFLY_SANDBOX_H
#define MAYFLY_SANDBOX_H

#include <mayfly/backend.h>
#include <mayfly/error.h>
#include <mayfly/fault.h>
#include <mayfly/host.h>
#include <mayfly/image.h>
#include <mayfly/value.h>

#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mf_sandbox;

/* Severity of a guest's log line. */
enum mf_log_level { MF_LOG_ERROR = 0, MF_LOG_WARNING = 1, MF_LOG_INFO = 2, MF_LOG_DEBUG = 3 };

/*
 * What the guest sees as descriptors 0, 1 and 2, and where its log lines go.
 * The functions run on the thread that runs the guest, during a call; they must
 * not use the sandbox. A NULL function is an empty input, a discarded output.
 */
struct mf_io {
    void *context;
    /*
     * Fills up to `len` bytes for a read of descriptor 0. Returns the number of
     * bytes, 0 at the end, or a negative errno for the guest. -EINTR is none: it is asked
     * again, unless the guest is to stop or to stand still (mf_sandbox_pause), which a
     * wait that lasts should allow by returning it from time to time.
     */
    ssize_t (*read)(void *context, void *buf, size_t len);
    /* Takes `len` bytes that the guest wrote to descriptor 1 or 2. The same returns. */
    ssize_t (*write)(void *context, int fd, const void *buf, size_t len);
    /* Takes one log line of printable UTF-8, without its newline, NUL-terminated. */
    void (*log)(void *context, enum mf_log_level level, const char *text, size_t len);
    /*
     * Told once per kind of denied system call of a sandbox: its number, and its
     * name or NULL.
     */
    void (*denied)(void *context, long number, const char *name);
    /* Bit n set: descriptor n is a terminal for the guest (isatty). */
    unsigned terminals;
};

/* Let the library take an unused real-time signal; see interrupt_signal. */
#define MF_SIGNAL_AUTO 0
/* Never touch signals: no interrupts and no time limits on kvm. */
#define MF_SIGNAL_NONE (-1)

enum mf_sandbox_flag {
    /*
     * Guest memory lies in a file in memory that another process can be given, so that the sandbox
     * can be handed over without a copy (mayfly/migrate.h). In exchange a sandbox that is made from
     * or restored to a snapshot has its pages copied, where others share them.
     */
    MF_SANDBOX_SHARED_MEMORY = 1,
};

/*
 * How a sandbox is made. Zero the structure, set `size = sizeof options`, then
 * what differs from the default; a zero means the default.
 */
struct mf_sandbox_options {
    size_t size;               /* sizeof(struct mf_sandbox_options) */
    enum mf_backend backend;   /* default MF_BACKEND_AUTO */
    int interrupt_signal;      /* see below */
    uint64_t memory_bytes;     /* guest memory, all of it; default 64 MiB; 1 MiB to 64 GiB */
    uint64_t stack_bytes;      /* of it the stack; default 1 MiB or a quarter of memory, the
                                  less of both; 16 KiB to memory */
    uint64_t mailbox_bytes;    /* largest frame of a call; default 64 KiB; a power of two from
                                  4 KiB to 1 GiB */
    uint64_t timeout_ns;       /* wall time of one call or run, host functions included;
                                  default none */
    uint64_t init_timeout_ns;  /* wall time until the guest is ready; default timeout_ns */
    uint64_t cpu_time_ns;      /* CPU time of the calling thread during one call; default none */
    uint64_t max_output_bytes; /* written to descriptors 1 and 2 and logged, over the
                                  sandbox's life; default 64 MiB; UINT64_MAX: no limit */
    uint64_t max_host_calls;   /* over one call; default none */
    uint32_t max_depth;        /* nested calls; default 16 */
    uint32_t flags;            /* enum mf_sandbox_flag; default none */
    const char *const *args;   /* argv of main, NULL-terminated; default {image name} */
    const char *const *env;    /* "K=V", NULL-terminated; default none */
    struct mf_io io;
};
/*
 * interrupt_signal: a guest that runs on kvm is stopped by a signal to its
 * thread. With MF_SIGNAL_AUTO, creating the first such sandbox installs a
 * handler that does nothing for one real-time signal whose disposition is the
 * default one (the highest such). With a signal number, that signal is used in
 * the same way. A thread that runs a guest for the first time takes the signal out
 * of its signal mask; it must not block it again. With MF_SIGNAL_NONE no disposition
 * or mask is changed; such a sandbox refuses time limits, and an interrupt is noticed
 * at the next exit only. The soft backend uses no signal.
 *
 * The environment gets
 * GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load
 * unless `env` has a GLIBC_TUNABLES of its own: so the C library of a static glibc
 * program computes the same on every backend and host, and a snapshot of it, which holds
 * its choice of functions, can move from one to the other.
 */

/*
 * Makes a sandbox: memory, VM, the loaded image, bound host functions. No guest
 * instruction runs yet. `host` may be NULL when the image needs no host
 * functions; `options` may be NULL. Image and host set are kept alive by the
 * sandbox. On success *out is the caller's, for mf_sandbox_destroy.
 * Errors: MF_E_ARGUMENT (an option out of range, or image too large for the
 * memory), MF_E_NO_HOST_FUNCTION and MF_E_SIGNATURE (what the image needs of
 * the host), MF_E_ABI, MF_E_BACKEND, MF_E_NO_MEMORY, MF_E_SYSTEM.
 */
MF_API int mf_sandbox_create(struct mf_image *image, struct mf_host *host,
                             const struct mf_sandbox_options *options,
                             struct mf_sandbox **out, struct mf_error *err);

/* Ends the sandbox and frees all of it; no thread may be using it. NULL is allowed. */
MF_API void mf_sandbox_destroy(struct mf_sandbox *sandbox);

/*
 * Runs the guest until it waits for calls. The first call does this when it was
 * not done. Errors: those of mf_sandbox_call; MF_E_STATE when the image has no
 * exported functions, or the guest ran already.
 */
MF_API int mf_sandbox_start(struct mf_sandbox *sandbox, struct mf_error *err);

/*
 * Calls the exported function `name` with `nargs` values. What arguments point
 * to is copied before the function returns. *result (may be NULL) is a value of
 * the signature's result type; what it points to lives in the sandbox until its
 * next call (inside a host function: until that function's next call or return).
 *
 * May be called from a host function of the same sandbox (a nested call).
 *
 * Errors: any MF_E_*. After an error that poisons (see error.h) the sandbox only
 * gives out its fault and counters, and can be destroyed.
 */
MF_API int mf_sandbox_call(struct mf_sandbox *sandbox, const char *name,
                           const struct mf_value *args, size_t nargs,
                           struct mf_value *result, struct mf_error *err);

/* The same by the function's index (mf_image_find_export), without the look-up. */
MF_API int mf_sandbox_call_index(struct mf_sandbox *sandbox, size_t index,
                                 const struct mf_value *args, size_t nargs,
                                 struct mf_value *result, struct mf_error *err);

/*
 * Runs the program's main to its exit. *status gets what it passed to exit, 0 to
 * 255. Errors as for mf_sandbox_call; MF_E_STATE when the guest ran already.
 */
MF_API int mf_sandbox_run(struct mf_sandbox *sandbox, int *status, struct mf_error *err);

/*
 * Stops the guest: the call that is running returns MF_E_INTERRUPTED and poisons
 * the sandbox; when none is running, the next one returns MF_E_INTERRUPTED at
 * once, runs nothing and does not poison. Never lost: also while the guest
 * initialises and before its first instruction. A host function that is running
 * is not stopped, but the guest does not run after it. Any thread;
 * async-signal-safe.
 */
MF_API void mf_sandbox_interrupt(struct mf_sandbox *sandbox);

/* Changes the time limits for the calls that follow; 0: none. Not during a call. */
MF_API int mf_sandbox_set_limits(struct mf_sandbox *sandbox, uint64_t timeout_ns,
                                 uint64_t cpu_time_ns, struct mf_error *err);

/*
 * `len` bytes that live until the host function which asked returns its result
 * (outside of one: until the next call). For results of host functions. NULL
 * when they do not fit into what the sandbox has for that (four times its mailbox,
 * shared with the arguments and results of calls in progress).
 */
MF_API void *mf_sandbox_scratch(struct mf_sandbox *sandbox, size_t len);

/*
 * Ends the life of the results of the last call or batch (of an attentive sandbox: of this
 * thread's) and of scratch now instead of at the next call, and gives back what copies
 * of large ones took. Views of guest memory need it too: afterwards they must not be
 * used. Does nothing inside of a host function.
 */
MF_API void mf_sandbox_release(struct mf_sandbox *sandbox);

/* The fault behind MF_E_GUEST_FAULT, or NULL. Lives as long as the sandbox. */
MF_API const struct mf_fault *mf_sandbox_fault(const struct mf_sandbox *sandbox);

/* MF_OK, or the code that poisoned the sandbox. */
MF_API int mf_sandbox_poisoned(const struct mf_sandbox *sandbox);

/* The image that the sandbox runs. Lives as long as the sandbox. */
MF_API struct mf_image *mf_sandbox_image(const struct mf_sandbox *sandbox);

/* The backend that runs it, and the reason for the choice. Live as long as the sandbox. */
MF_API enum mf_backend mf_sandbox_backend(const struct mf_sandbox *sandbox);
MF_API const char *mf_sandbox_backend_reason(const struct mf_sandbox *sandbox);

/*
 * Counters over the life of a sandbox. Zero the structure and set `size`.
 */
struct mf_stats {
    size_t size;              /* sizeof(struct mf_stats) */
    uint64_t calls;           /* answered, nested ones included */
    uint64_t host_calls;
    uint64_t entries;         /* entries into the guest */
    uint64_t exits_io;        /* exits by kind: port writes, */
    uint64_t exits_syscall;   /* system calls, */
    uint64_t exits_exception, /* exceptions, */
        exits_interrupt;      /* and interruptions */
    uint64_t exits_other;
    uint64_t syscalls_denied;
    uint64_t bytes_in;      /* arguments, host results, input */
    uint64_t bytes_out;     /* results, host call arguments */
    uint64_t output_bytes;  /* written to descriptors 1 and 2, and logged */
    uint64_t guest_time_ns; /* time between entries and exits; more than the guest's CPU time if
                               the host took the CPU away meanwhile */
    uint64_t memory_pages;  /* 4 KiB pages of guest memory in use by the guest now */
    uint64_t pages_touched; /* pages of guest memory that the host holds in memory now */
};

/* Fills *stats as far as its `size` goes. By the thread that uses the sandbox. */
MF_API void mf_sandbox_get_stats(const struct mf_sandbox *sandbox, struct mf_stats *stats);

/* Calls `fn` for each denied system call: number, name or NULL, how often. */
MF_API void mf_sandbox_denied(const struct mf_sandbox *sandbox,
                              void (*fn)(void *context, long number, const char *name,
                                         uint64_t count),
                              void *context);

#ifdef __cplusplus
}
#endif

#endif
