/*
 * The Linux system calls of a guest: one table, answered by the host. What is
 * not in the table gets -ENOSYS and is counted. Nothing here reaches the host's
 * files, processes or network.
 */
#ifndef SANDBOX_SYSCALL_H
#define SANDBOX_SYSCALL_H

#include <mayfly/sandbox.h>

#include <stdbool.h>
#include <stdint.h>

/* The numbers that are counted one by one; higher ones share the last place. */
#define SYSCALL_NUMBERS 512

/* What the table keeps for one sandbox between calls. */
struct syscall_state {
    uint64_t denied[SYSCALL_NUMBERS];
    bool stdin_ended;
    bool closed[3]; /* the guest closed descriptor 0, 1 or 2 */
    uint64_t signal_handlers[65][4]; /* what rt_sigaction stored: never called */
    uint64_t signal_mask;    /* bit n - 1 for signal n, as on Linux */
    uint64_t signal_pending; /* sent by the guest to itself while blocked */
    uint64_t signal_stack[3]; /* what sigaltstack stored: address, size, flags */
    uint64_t clock_base_ns; /* monotonic clock when the sandbox was made: the guest's zero */
    uint64_t cpu_base_ns;   /* stats.guest_time_ns at the guest's zero of CPU time; may wrap */
};

enum syscall_outcome {
    SYSCALL_CONTINUE,  /* RAX is set */
    SYSCALL_EXIT,      /* the guest exited: *status */
    SYSCALL_ABORT,     /* the guest raised a fatal signal against itself: *status is its number */
    SYSCALL_STOP,      /* the sandbox must stop: *err says why (limits, interrupts) */
};

/*
 * Answers the system call whose number and arguments are in the registers of the
 * sandbox's VM: RAX; RDI, RSI, RDX, R10, R8, R9; result in RAX.
 */
enum syscall_outcome syscall_answer(struct mf_sandbox *sandbox, int *status,
                                    struct mf_error *err);

/* The name of a system call of x86-64 Linux, or NULL for a number without one. Static. */
const char *syscall_name(long number);

#endif
