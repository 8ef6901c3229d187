/*
 * THE run loop: enter the guest, look at the exit, answer it, enter again, until
 * the exit is one that the caller waits for. The same loop serves initialisation,
 * calls, nested calls and whole programs, on every backend.
 *
 * Whatever ends the guest here poisons the sandbox.
 */
#include "abi/ports.h"
#include "base/error.h"
#include "base/text.h"
#include "mem/guestmem.h"
#include "sandbox/attend.h"
#include "sandbox/sandbox.h"

#include <signal.h>
#include <string.h>

bool limits_must_stop(const struct mf_sandbox *sandbox)
{
    return (atomic_load(&sandbox->limits.reasons) & (STOP_CALL | STOP_RECALL)) != 0;
}

bool limits_stop_requested(const struct mf_sandbox *sandbox)
{
    return limits_must_stop(sandbox) || pause_wanted(sandbox);
}

void run_prepare(struct mf_sandbox *sandbox, uint32_t mode)
{
    struct mf_registers *regs = sandbox->vm->regs;
    sandbox->boot->mode = mode;
    mem_mark(&sandbox->mem, LAYOUT_GPA(BOOT), sizeof *sandbox->boot);
    regs->rip = sandbox->entry;
    regs->rsp = sandbox->entry_stack;
    sandbox->vm->regs_changed = true;
}

static void count_exit(struct mf_stats *stats, enum vm_exit_kind kind)
{
    switch (kind) {
    case VM_EXIT_IO:
        stats->exits_io++;
        break;
    case VM_EXIT_SYSCALL:
        stats->exits_syscall++;
        break;
    case VM_EXIT_EXCEPTION:
        stats->exits_exception++;
        break;
    case VM_EXIT_INTERRUPT:
        stats->exits_interrupt++;
        break;
    case VM_EXIT_DEAD:
        stats->exits_other++;
        break;
    }
}

static int enter(struct mf_sandbox *sandbox, struct vm_exit *exit, struct mf_error *err)
{
    uint64_t begin = limits_now();
    attend_before_entry(sandbox);
    int rc = sandbox->vm->ops->run(sandbox->vm, exit, err);
    attend_after_exit(sandbox);
    sandbox->stats.guest_time_ns += limits_now() - begin;
    sandbox->stats.entries++;
    if (rc == 0)
        count_exit(&sandbox->stats, exit->kind);
    return rc;
}

/* The reason to stop becomes an error; 0 when the kick came too late to mean anything. */
static int stop_error(struct mf_sandbox *sandbox, unsigned reasons, struct mf_error *err)
{
    if (reasons & STOP_DESTROY)
        return error_set(err, MF_E_STATE, "the sandbox is being destroyed");
    if (reasons & STOP_LOST)
        return error_set(err, MF_E_MOVED,
                         "the source was lost before all pages of the guest were here");
    if (reasons & STOP_RECALL)
        return error_set(err, MF_E_PROTOCOL,
                         "the guest does not come back, though it has nothing to do");
    if (reasons & STOP_DEADLINE)
        return error_set(err, MF_E_DEADLINE, "the guest ran longer than its deadline allows");
    if (reasons & STOP_CPU_TIME)
        return error_set(err, MF_E_CPU_TIME, "the guest used more than %llu ms of CPU time",
                         (unsigned long long)(sandbox->options.cpu_time_ns / 1000000));
    if (reasons & STOP_INTERRUPT)
        return error_set(err, MF_E_INTERRUPTED, "interrupted");
    return 0;
}

/* While no call is in flight an interrupt is meant for the next one. */
static int answer_interrupt(struct mf_sandbox *sandbox, struct run_result *result, bool *done,
                            struct mf_error *err)
{
    bool between = attend_between_calls(sandbox);
    unsigned which = between ? ~(unsigned)STOP_INTERRUPT : ~0u;
    unsigned reasons = limits_take_some(&sandbox->limits, which);
    int rc = stop_error(sandbox, reasons, err);
    if (rc == 0 && between && (reasons & STOP_IDLE)) {
        result->end = RUN_IDLE;
        *done = true;
    }
    return rc;
}

/*
 * Copies a text of the guest (address in RDI, length in RSI), cut to
 * MF_ABI_TEXT_MAX and to what the guest itself can read, and made one line of
 * UTF-8: a guest must not forge further lines, or steer a terminal.
 */
static size_t copy_text(struct mf_sandbox *sandbox, char text[MF_ABI_TEXT_MAX + 1])
{
    const struct mf_registers *regs = sandbox->vm->regs;
    uint64_t len = regs->rsi < MF_ABI_TEXT_MAX ? regs->rsi : MF_ABI_TEXT_MAX;
    len = guestmem_reach(&sandbox->mem, regs->rdi, len, false);
    if (!guestmem_read(&sandbox->mem, text, regs->rdi, len))
        len = 0;
    text_make_utf8(text, len);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            text[i] = ' ';
    text[len] = 0;
    return len;
}

static int answer_log(struct mf_sandbox *sandbox, struct mf_error *err)
{
    char text[MF_ABI_TEXT_MAX + 1];
    size_t allowed, len = copy_text(sandbox, text);
    uint32_t level = (uint32_t)sandbox->vm->regs->rdx;
    /* Each line counts a byte more than its text: empty lines are not free. */
    if (!sandbox_count_output(sandbox, len + 1, &allowed))
        return error_set(err, MF_E_OUTPUT_LIMIT, "the guest wrote more than %llu bytes",
                         (unsigned long long)sandbox->options.max_output_bytes);
    if (level > MF_ABI_LOG_DEBUG)
        level = MF_ABI_LOG_DEBUG;
    if (sandbox->options.io.log)
        sandbox->options.io.log(sandbox->options.io.context, (enum mf_log_level)level, text, len);
    return 0;
}

static int abort_error(struct mf_sandbox *sandbox, struct mf_error *err)
{
    char text[MF_ABI_TEXT_MAX + 1];
    copy_text(sandbox, text);
    return error_set(err, MF_E_GUEST_ABORT, "the guest aborted: %s", text);
}

/* A frame in the exchange area: a host call to answer, or the answer to a nested call. */
static int answer_exchange(struct mf_sandbox *sandbox, struct run_result *result, bool *done,
                           struct mf_error *err)
{
    uint64_t offset = sandbox->vm->regs->rdi;
    if (!sandbox->rings.control)
        return error_set(err, MF_E_PROTOCOL, "the guest made a host call but has no mailbox");
    if (offset >= sandbox->exchange.size || offset % MF_ABI_FRAME_ALIGN)
        return error_set(err, MF_E_PROTOCOL, "the guest named a frame outside of its mailbox");
    uint32_t kind = __atomic_load_n(
        &((const struct mf_abi_frame *)(sandbox->exchange.base + offset))->kind, __ATOMIC_RELAXED);
    if (kind == MF_ABI_FRAME_RESULT || kind == MF_ABI_FRAME_ERROR) {
        if (sandbox->depth < 2)
            return error_set(err, MF_E_PROTOCOL, "the guest answered a call that nobody made");
        result->end = RUN_ANSWER;
        result->exchange_offset = (uint32_t)offset;
        *done = true;
        return 0;
    }
    struct arena_mark mark = arena_mark(&sandbox->arena);
    struct mf_abi_frame *frame;
    int rc = frame_copy(&sandbox->arena, &sandbox->exchange, offset,
                        sandbox->exchange.size - offset, false, &frame, err);
    /* Its bytes may be those that never came. */
    if (rc == 0 && arrival_is_lost(sandbox))
        rc = stop_error(sandbox, limits_take_some(&sandbox->limits, STOP_LOST), err);
    if (rc == 0 && frame->kind != MF_ABI_FRAME_HOST_CALL)
        rc = error_set(err, MF_E_PROTOCOL, "the guest left a frame of kind %u", frame->kind);
    if (rc == 0)
        rc = hostcall_answer(sandbox, frame, (uint32_t)offset, err);
    arena_release(&sandbox->arena, mark);
    return rc;
}

static int answer_port(struct mf_sandbox *sandbox, uint16_t port, struct run_result *result,
                       bool *done, struct mf_error *err)
{
    switch (port) {
    case MF_ABI_PORT_READY:
        if (sandbox->depth > 1)
            return error_set(err, MF_E_PROTOCOL, "the guest waits for calls inside of a call");
        result->end = RUN_READY;
        *done = true;
        return 0;
    case MF_ABI_PORT_HOSTCALL:
        return answer_exchange(sandbox, result, done, err);
    case MF_ABI_PORT_LOG:
        return answer_log(sandbox, err);
    case MF_ABI_PORT_ABORT:
        return abort_error(sandbox, err);
    default:
        return error_set(err, MF_E_PROTOCOL, "the guest wrote to port %#x", port);
    }
}

static int answer_syscall(struct mf_sandbox *sandbox, struct run_result *result, bool *done,
                          struct mf_error *err)
{
    int status = 0;
    switch (syscall_answer(sandbox, &status, err)) {
    case SYSCALL_CONTINUE:
        sandbox->vm->regs_changed = true;
        return 0;
    case SYSCALL_EXIT:
        result->end = RUN_EXITED;
        result->status = status;
        *done = true;
        return 0;
    case SYSCALL_ABORT:
        return error_set(err, MF_E_GUEST_ABORT, "the guest raised signal %d (SIG%s) against itself",
                         status, sigabbrev_np(status) ? sigabbrev_np(status) : "?");
    case SYSCALL_STOP:
        break;
    }
    return err->code;
}

static int answer_exit(struct mf_sandbox *sandbox, const struct vm_exit *exit,
                       struct run_result *result, bool *done, struct mf_error *err)
{
    if (arrival_is_lost(sandbox))
        return stop_error(sandbox, limits_take_some(&sandbox->limits, STOP_LOST), err);
    switch (exit->kind) {
    case VM_EXIT_IO:
        return answer_port(sandbox, exit->port, result, done, err);
    case VM_EXIT_SYSCALL:
        return answer_syscall(sandbox, result, done, err);
    case VM_EXIT_INTERRUPT:
        return answer_interrupt(sandbox, result, done, err);
    case VM_EXIT_EXCEPTION:
    case VM_EXIT_DEAD:
        break;
    }
    return fault_report(sandbox, exit, err);
}

/*
 * A guest that an interrupt or a limit stopped between two of its instructions can go
 * on, unless a host function waits for it further out.
 */
static void note_stop(struct mf_sandbox *sandbox, int code)
{
    if (code == MF_E_MOVED && sandbox->stopped)
        return; /* pause_here has noted it */
    bool by_limit = code == MF_E_INTERRUPTED || code == MF_E_DEADLINE || code == MF_E_CPU_TIME;
    sandbox->stopped = by_limit && !sandbox->poisoned && sandbox->depth == 1 &&
                       !sandbox->innermost && sandbox->mappings.count == 0 &&
                       sandbox->pending.kind != MF_STOPPED_NOTHING;
}

int run_guest(struct mf_sandbox *sandbox, struct run_result *result, struct mf_error *err)
{
    bool done = false;
    while (!done) {
        struct vm_exit exit;
        int rc = pause_wanted(sandbox) ? pause_here(sandbox, err) : 0;
        if (rc == 0)
            rc = enter(sandbox, &exit, err);
        /* A caller of an attentive sandbox may have found that it cannot go on. */
        if (rc == 0 && sandbox->poisoned)
            rc = error_set(err, sandbox->poisoned, "%s", sandbox->poison_text);
        if (rc == 0)
            rc = answer_exit(sandbox, &exit, result, &done, err);
        if (rc != 0) {
            note_stop(sandbox, rc);
            return sandbox_poison(sandbox, err);
        }
    }
    return 0;
}
