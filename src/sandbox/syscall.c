/*
 * The table of system calls: from the number in RAX to the answer. Called by the
 * run loop (run.c) at every VM_EXIT_SYSCALL. Calls that are not answered, and
 * arguments of answered ones that would reach outside of the sandbox, are denied:
 * -ENOSYS (opening a file: -EACCES), counted by number, and reported to the embedder
 * once per number.
 */
#include "sandbox/syscall.h"

#include "base/checked.h"
#include "base/error.h"
#include "mem/guestmem.h"
#include "sandbox/syscall_impl.h"

#include <errno.h>

static const char *const names[] = {
#define SYSCALL_NAME(number, name) [number] = #name,
    SYSCALL_LIST(SYSCALL_NAME)
#undef SYSCALL_NAME
};

static const syscall_handler handlers[] = {
#define SYSCALL_HANDLER(name, text) [LINUX_NR_##name] = sys_##name,
    SYSCALL_ANSWERED(SYSCALL_HANDLER)
#undef SYSCALL_HANDLER
};

_Static_assert(ARRAY_LEN(names) <= SYSCALL_NUMBERS, "every named call has a counter of its own");

const char *syscall_name(long number)
{
    return number >= 0 && (size_t)number < ARRAY_LEN(names) ? names[number] : NULL;
}

int64_t syscall_deny(struct syscall_call *call)
{
    struct mf_sandbox *sandbox = call->sandbox;
    const struct mf_io *io = &sandbox->options.io;
    size_t place = MIN((uint64_t)call->number, SYSCALL_NUMBERS - 1);
    sandbox->stats.syscalls_denied++;
    if (sandbox->sys.denied[place]++ == 0 && io->denied)
        io->denied(io->context, call->number, syscall_name(call->number));
    /*
     * Any program knows that a file may not be opened; none that there is no open. (glibc
     * takes it for an attack when it looks at /proc/self/maps on the way to the message
     * of a failed assert.)
     */
    bool opens = call->number == LINUX_NR_open || call->number == LINUX_NR_openat;
    return opens ? -EACCES : -ENOSYS;
}

int64_t syscall_abort(struct syscall_call *call, int signal)
{
    call->outcome = SYSCALL_ABORT;
    call->status = signal;
    return 0;
}

int64_t syscall_stop_waiting(struct syscall_call *call)
{
    call->outcome = SYSCALL_STOP;
    error_set(call->err, MF_E_GUEST_ABORT,
              "the guest waits for ever in %s, where nothing can wake it: it is its only thread",
              syscall_name(call->number));
    return -EINTR;
}

int64_t syscall_copy_in(const struct syscall_call *call, void *dst, mf_gva from, size_t len)
{
    return guestmem_read(&call->sandbox->mem, dst, from, len) ? 0 : -EFAULT;
}

int64_t syscall_copy_out(struct syscall_call *call, mf_gva to, const void *src, size_t len)
{
    return guestmem_write(&call->sandbox->mem, to, src, len) ? 0 : -EFAULT;
}

/* The length of the instruction. */
#define SYSCALL_BYTES 2

enum syscall_outcome syscall_answer(struct mf_sandbox *sandbox, int *status,
                                    struct mf_error *err)
{
    struct vm *vm = sandbox->vm;
    struct mf_registers *regs = vm->regs;
    struct syscall_call call = {
        .sandbox = sandbox,
        .number = (long)regs->rax,
        .arg = {regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9},
        .outcome = SYSCALL_CONTINUE,
        .err = err,
    };
    syscall_handler handler = NULL;
    if (regs->rax < ARRAY_LEN(handlers))
        handler = handlers[regs->rax];
    int64_t result = handler ? handler(&call) : syscall_deny(&call);
    /* A wait that a stop cut short is made again if the guest ever goes on. */
    if (result == -EINTR && call.outcome == SYSCALL_CONTINUE && limits_stop_requested(sandbox))
        regs->rip -= SYSCALL_BYTES;
    else
        regs->rax = (uint64_t)result;
    vm->regs_changed = true;
    *status = call.status;
    return call.outcome;
}
