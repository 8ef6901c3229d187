/*
 * The inside of a sandbox, and which file does what:
 *   sandbox.c   create, destroy, accessors, counters
 *   load.c      image, stack, boot page and mailbox into guest memory
 *   run.c       THE run loop: enter, look at the exit, answer, enter again
 *   call.c      calls into the guest: one, nested, a batch
 *   ring.c      the host's side of the rings: frames out, frames in
 *   large.c     values that do not fit into a frame
 *   hostcall.c  calls out of the guest: host functions
 *   syscall.c   the Linux system calls; addrspace.c those of them that map memory
 *   fault.c     exceptions to struct mf_fault
 *   limits.c    deadlines, CPU time, interrupts: the watchdog
 *   arena.c     private bytes for copies of frames and for results
 *   map.c       host memory in the guest
 *   attend.c    attentive sandboxes: calls without an exit; turn.c their callers' order
 *   saved.c     collect state, load state
 *   arrival.c   pages that are still coming after a migration
 *   pause.c     standing still for another thread: who uses the sandbox
 */
#ifndef SANDBOX_SANDBOX_H
#define SANDBOX_SANDBOX_H

#include "abi/boot.h"
#include "abi/mailbox.h"
#include "sandbox/addrspace.h"
#include "sandbox/arena.h"
#include "sandbox/arrival.h"
#include "sandbox/host.h"
#include "sandbox/image.h"
#include "sandbox/limits.h"
#include "sandbox/map.h"
#include "sandbox/pause.h"
#include "sandbox/ring.h"
#include "sandbox/syscall.h"
#include "vm/vm.h"

#include <mayfly/sandbox.h>
#include <mayfly/snapshot.h>

enum sandbox_state {
    SANDBOX_NEW,     /* no guest instruction has run */
    SANDBOX_READY,   /* the guest waits in `out READY` */
    SANDBOX_RUNNING, /* inside start, run or a call */
    SANDBOX_ENDED,   /* exited or poisoned */
};

/* A host function that runs now; nested ones are linked outwards. */
struct host_call {
    struct host_call *outer;
    uint32_t exchange_offset; /* of the guest's frame, where its answer goes */
    size_t result_start, result_end; /* where its last nested call's answer is in the arena */
    struct arena_chunk *chunks;      /* the youngest that is older than those answers */
};

/* What the outermost use is: what mf_sandbox_resume would go on with. */
struct sandbox_pending {
    enum mf_stopped kind;
    uint32_t function; /* CALL: index of the export */
    uint64_t id;       /* CALL: of its frame */
};

/* What src/snapshot keeps for a sandbox; it begins with this. */
struct sandbox_base {
    void (*release)(struct sandbox_base *base);
};

struct attendance;

struct mf_sandbox {
    struct mf_image *image;
    struct mf_host *host;                 /* may be NULL */
    const struct host_function **imports; /* image->nimports bindings */
    struct mf_sandbox_options options;    /* defaults filled in; args and env NULL */
    char **args, **env;                   /* copies, NULL-terminated */

    struct mem mem;
    struct vm *vm;
    struct addrspace as;
    struct mappings mappings; /* map.c */
    char backend_reason[256];

    enum sandbox_state state;
    int poisoned; /* MF_OK or the code */
    char poison_text[200];
    uint64_t entry, entry_stack; /* where the guest begins */
    mf_gva stack_low, stack_high;

    struct mf_abi_boot *boot;       /* host's view of the boot page */
    struct rings rings;
    struct mailbox_area exchange;
    uint64_t next_id;

    struct arena arena;
    struct sandbox_pending pending;
    bool stopped; /* poisoned, but mf_sandbox_resume can go on */
    struct sandbox_base *base; /* the snapshot that it differs from, or NULL */
    struct host_call *innermost;
    uint32_t depth; /* calls in progress, the outermost is 1 */
    uint64_t host_calls_left;
    uint64_t output_used; /* of max_output_bytes */

    struct syscall_state sys;
    struct limits limits;
    struct pause pause;
    struct arrival *arrival; /* of pages that are still to come, or were; NULL: never */
    atomic_bool migrating; /* mf_migrate_out: what tracks pages is the migration's */
    /* What is left of the limits of a use that moved here in its middle, in ns; 0: as options. */
    uint64_t timeout_left_ns, cpu_left_ns;
    struct mf_stats stats;
    struct mf_fault fault;

    struct attendance *attendance; /* attend.c; NULL until it was attentive once */
};

/* ---- sandbox.c ---- */

/*
 * Counts output; false when `len` bytes would pass the limit. *allowed is how
 * many of them still fit; those are counted.
 */
bool sandbox_count_output(struct mf_sandbox *sandbox, size_t len, size_t *allowed);

/* Poisons the sandbox with the code and message of *err (not NULL). Returns the code. */
int sandbox_poison(struct mf_sandbox *sandbox, const struct mf_error *err);

/* MF_E_POISONED or MF_E_STATE with the reason when the guest cannot go on; else 0. */
int sandbox_check_alive(const struct mf_sandbox *sandbox, struct mf_error *err);

struct saved_state;

/*
 * Makes a sandbox whose guest memory `fill` provides (page tables and all), and loads the
 * state. For src/snapshot.
 */
typedef int (*sandbox_fill_fn)(void *context, struct mf_sandbox *sandbox, enum mf_backend backend,
                               struct mf_error *err);
int sandbox_create_saved(struct mf_image *image, struct mf_host *host,
                         const struct mf_sandbox_options *options, const struct saved_state *saved,
                         sandbox_fill_fn fill, void *context, struct mf_sandbox **out,
                         struct mf_error *err);

/*
 * Makes a sandbox whose guest memory and state come later, for src/migrate: `sizes` has
 * memory_bytes, stack_bytes and mailbox_bytes, nothing else. Memory reads as zeros, and
 * the sandbox can do nothing until sandbox_load_received, by which memory must hold all pages,
 * page tables included. `*_left_ns` is what is left of the limits of the call or run that
 * was stopped; 0: none.
 */
int sandbox_create_empty(struct mf_image *image, struct mf_host *host,
                         const struct mf_sandbox_options *options,
                         const struct saved_state *sizes, struct mf_sandbox **out,
                         struct mf_error *err);
int sandbox_load_received(struct mf_sandbox *sandbox, const struct saved_state *saved,
                          uint64_t timeout_left_ns, uint64_t cpu_left_ns, struct mf_error *err);

/* ---- load.c ---- */

/* Puts the program, its stack and the pages of the contract into guest memory. */
int load_program(struct mf_sandbox *sandbox, struct mf_error *err);

/* ---- run.c ---- */

/* What the run loop came back with. */
enum run_end {
    RUN_READY,   /* the guest waits for calls */
    RUN_ANSWER,  /* a nested call is answered: frame at `exchange_offset` */
    RUN_EXITED,  /* exit: `status` */
    RUN_IDLE,    /* an attentive guest was stopped while it waited; it can go on */
};

struct run_result {
    enum run_end end;
    int status;
    uint32_t exchange_offset;
};

/*
 * Runs the guest until it is ready, answers the nested call, or exits. Errors
 * poison the sandbox: all but the caller's own mistakes end it.
 */
int run_guest(struct mf_sandbox *sandbox, struct run_result *result, struct mf_error *err);

/* Sets the guest's first instruction and stack, and its mode (enum mf_abi_mode). */
void run_prepare(struct mf_sandbox *sandbox, uint32_t mode);

/* True when the sandbox was told to stop: for system calls that could go on by themselves. */
bool limits_must_stop(const struct mf_sandbox *sandbox);

/* The same, or when it is to stand still for a while: for waits in system calls. */
bool limits_stop_requested(const struct mf_sandbox *sandbox);

/* ---- call.c ---- */

/*
 * Decodes an answer (RESULT or ERROR; a private copy in `arena`) with the id `id` to a
 * call of `signature`. With `view` large bytes may stay in guest memory.
 * MF_E_GUEST_ERROR or MF_E_TOO_LARGE for ERROR frames; MF_E_PROTOCOL.
 */
int frame_answer(struct mf_sandbox *sandbox, struct arena *arena, const struct mf_abi_frame *frame,
                 uint64_t id, const struct mf_signature *signature, bool view,
                 struct mf_value *result, struct mf_error *err);

/* ---- hostcall.c ---- */

/*
 * Answers the HOST_CALL frame (a private copy) that stands at `offset` of the
 * exchange area. Errors end the guest (protocol, limits).
 */
int hostcall_answer(struct mf_sandbox *sandbox, const struct mf_abi_frame *frame, uint32_t offset,
                    struct mf_error *err);

/* ---- fault.c ---- */

/* Fills sandbox->fault from an exception or a dead CPU; *err says it in a line. */
int fault_report(struct mf_sandbox *sandbox, const struct vm_exit *exit, struct mf_error *err);

#endif
