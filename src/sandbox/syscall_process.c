/*
 * What a program asks about itself: who and where it is, its limits, entropy, its
 * thread and its signals, and its end. The answers are those of a small machine
 * of its own and tell nothing about the host but the time and the CPU.
 */
#include "abi/memory_map.h"
#include "base/checked.h"
#include "base/error.h"
#include "sandbox/linux_abi.h"
#include "sandbox/syscall_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define PID 1
#define PARENT_PID 0 /* as for the first process of a machine */
#define UMASK 022
#define NS_PER_S 1000000000
#define DESCRIPTORS_MAX 20 /* the least that POSIX allows for _SC_OPEN_MAX */
#define RLIM_INFINITY_LINUX UINT64_MAX
#define ROBUST_LIST_HEAD_BYTES 24
#define SIGSET_BYTES 8
/* Bigger requests are answered in part, which Linux allows above 256 bytes. */
#define RANDOM_BYTES_MAX (1u << 20)

int64_t sys_getpid(struct syscall_call *call)
{
    (void)call;
    return PID;
}

int64_t sys_gettid(struct syscall_call *call)
{
    (void)call;
    return PID;
}

int64_t sys_getppid(struct syscall_call *call)
{
    (void)call;
    return PARENT_PID;
}

int64_t sys_getpgrp(struct syscall_call *call)
{
    (void)call;
    return PID;
}

int64_t sys_getuid(struct syscall_call *call)
{
    (void)call;
    return SYSCALL_UID;
}

int64_t sys_geteuid(struct syscall_call *call)
{
    (void)call;
    return SYSCALL_UID;
}

int64_t sys_getgid(struct syscall_call *call)
{
    (void)call;
    return SYSCALL_UID;
}

int64_t sys_getegid(struct syscall_call *call)
{
    (void)call;
    return SYSCALL_UID;
}

int64_t sys_uname(struct syscall_call *call)
{
    static const struct linux_utsname name = {
        .sysname = "Linux",
        .nodename = "mayfly",
        .release = "6.1.0-mayfly",
        .version = "#1 mayfly",
        .machine = "x86_64",
        .domainname = "(none)",
    };
    return syscall_copy_out(call, call->arg[0], &name, sizeof(name));
}

int64_t sys_sysinfo(struct syscall_call *call)
{
    const struct mem *mem = &call->sandbox->mem;
    struct linux_sysinfo info = {
        .uptime = (int64_t)(syscall_monotonic_ns(call) / NS_PER_S),
        .totalram = mem->bytes,
        .freeram = mem_pages_available(mem) * PAGE_BYTES,
        .procs = 1,
        .mem_unit = 1,
    };
    return syscall_copy_out(call, call->arg[0], &info, sizeof(info));
}

int64_t sys_getcwd(struct syscall_call *call)
{
    static const char root[] = "/";
    if (call->arg[1] < sizeof(root))
        return -ERANGE;
    int64_t result = syscall_copy_out(call, call->arg[0], root, sizeof(root));
    return result < 0 ? result : (int64_t)sizeof(root);
}

int64_t sys_umask(struct syscall_call *call)
{
    (void)call;
    return UMASK;
}

int64_t sys_getcpu(struct syscall_call *call)
{
    static const uint32_t zero;
    for (size_t i = 0; i < 2; i++) {
        if (call->arg[i] != 0 && syscall_copy_out(call, call->arg[i], &zero, sizeof(zero)) < 0)
            return -EFAULT;
    }
    return 0;
}

/* Whether a number names the guest itself, for calls where 0 means the caller. */
static bool is_self(uint64_t pid)
{
    return (uint32_t)pid == 0 || (uint32_t)pid == PID;
}

int64_t sys_sched_getaffinity(struct syscall_call *call)
{
    static const uint64_t first_processor = 1;
    uint32_t len = (uint32_t)call->arg[1];
    if (len == 0 || len % sizeof(first_processor) != 0)
        return -EINVAL;
    if (!is_self(call->arg[0]))
        return -ESRCH;
    int64_t result = syscall_copy_out(call, call->arg[2], &first_processor,
                                      sizeof(first_processor));
    return result < 0 ? result : (int64_t)sizeof(first_processor);
}

/* Fills `bytes` from the host's generator; false when the host has none. */
static bool fill_random(uint8_t *bytes, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t got = getrandom(bytes + done, len - done, 0);
        if (got < 0 && errno != EINTR)
            return false;
        done += got > 0 ? (size_t)got : 0;
    }
    return true;
}

int64_t sys_getrandom(struct syscall_call *call)
{
    uint8_t bytes[SYSCALL_CHUNK];
    uint64_t len = MIN(call->arg[1], RANDOM_BYTES_MAX), done = 0;
    uint32_t flags = (uint32_t)call->arg[2];
    uint32_t both = LINUX_GRND_RANDOM | LINUX_GRND_INSECURE;
    int64_t result = 0;
    if ((flags & ~(LINUX_GRND_NONBLOCK | both)) || (flags & both) == both)
        return -EINVAL;
    while (result == 0 && done < len && (done == 0 || !limits_must_stop(call->sandbox))) {
        size_t piece = MIN(len - done, sizeof(bytes));
        if (!fill_random(bytes, piece)) {
            result = -EIO;
            break;
        }
        result = syscall_copy_out(call, call->arg[0] + done, bytes, piece);
        if (result == 0)
            done += piece;
    }
    /* These may become keys of the guest. */
    explicit_bzero(bytes, MIN(len, sizeof(bytes)));
    return done > 0 ? (int64_t)done : result;
}

/* The limit of a resource: 0 or -EINVAL. */
static int64_t read_limit(const struct syscall_call *call, uint64_t resource,
                          struct linux_rlimit64 *limit)
{
    uint64_t value = RLIM_INFINITY_LINUX;
    switch ((uint32_t)resource) {
    case LINUX_RLIMIT_STACK:
        value = call->sandbox->options.stack_bytes;
        break;
    case LINUX_RLIMIT_CORE:
        value = 0;
        break;
    case LINUX_RLIMIT_NPROC:
        value = 1;
        break;
    case LINUX_RLIMIT_NOFILE:
        value = DESCRIPTORS_MAX;
        break;
    default:
        if ((uint32_t)resource >= LINUX_RLIMITS)
            return -EINVAL;
    }
    *limit = (struct linux_rlimit64){value, value};
    return 0;
}

/* Gets the limit into `old` and sets it from `new`, either of which may be 0. */
static int64_t change_limit(struct syscall_call *call, uint64_t resource, mf_gva new, mf_gva old)
{
    struct linux_rlimit64 limit, wanted;
    int64_t result = read_limit(call, resource, &limit);
    if (result < 0)
        return result;
    if (new != 0) {
        if (syscall_copy_in(call, &wanted, new, sizeof(wanted)) < 0)
            return -EFAULT;
        if (wanted.current > wanted.maximum)
            return -EINVAL;
        /* Limits are the embedder's; setting what is there already is harmless. */
        if (memcmp(&wanted, &limit, sizeof(limit)) != 0)
            return -EPERM;
    }
    return old != 0 ? syscall_copy_out(call, old, &limit, sizeof(limit)) : 0;
}

int64_t sys_getrlimit(struct syscall_call *call)
{
    return call->arg[1] == 0 ? -EFAULT : change_limit(call, call->arg[0], 0, call->arg[1]);
}

int64_t sys_setrlimit(struct syscall_call *call)
{
    return call->arg[1] == 0 ? -EFAULT : change_limit(call, call->arg[0], call->arg[1], 0);
}

int64_t sys_prlimit64(struct syscall_call *call)
{
    if (!is_self(call->arg[0]))
        return -ESRCH;
    return change_limit(call, call->arg[1], call->arg[2], call->arg[3]);
}

static int64_t set_base(struct syscall_call *call, unsigned index, uint64_t base)
{
    struct vm *vm = call->sandbox->vm;
    if (base >= MF_ABI_GVA_END)
        return -EPERM;
    if (vm->ops->set_segment_base(vm, index, base, call->err) != 0)
        call->outcome = SYSCALL_STOP;
    return 0;
}

static int64_t get_base(struct syscall_call *call, unsigned index, mf_gva to)
{
    struct vm *vm = call->sandbox->vm;
    uint64_t base = vm->ops->get_segment_base(vm, index);
    return syscall_copy_out(call, to, &base, sizeof(base));
}

int64_t sys_arch_prctl(struct syscall_call *call)
{
    switch ((uint32_t)call->arg[0]) {
    case LINUX_ARCH_SET_FS:
        return set_base(call, 0, call->arg[1]);
    case LINUX_ARCH_SET_GS:
        return set_base(call, 1, call->arg[1]);
    case LINUX_ARCH_GET_FS:
        return get_base(call, 0, call->arg[1]);
    case LINUX_ARCH_GET_GS:
        return get_base(call, 1, call->arg[1]);
    default:
        return -EINVAL;
    }
}

/* What it asks for happens when a thread ends and others go on: never here. */
int64_t sys_set_tid_address(struct syscall_call *call)
{
    (void)call;
    return PID;
}

int64_t sys_set_robust_list(struct syscall_call *call)
{
    return call->arg[1] == ROBUST_LIST_HEAD_BYTES ? 0 : -EINVAL;
}

/* Not counted as denied: a kernel without it is ordinary, and every glibc asks. */
int64_t sys_rseq(struct syscall_call *call)
{
    (void)call;
    return -ENOSYS;
}

static uint64_t signal_bit(int signal)
{
    return UINT64_C(1) << (signal - 1);
}

static bool signal_ignored(const struct syscall_call *call, int signal)
{
    uint64_t handler = call->sandbox->sys.signal_handlers[signal][0];
    if (signal == LINUX_SIGKILL || signal == LINUX_SIGSTOP)
        return false;
    if (handler != 0)
        return handler == LINUX_SIG_IGN;
    return signal == LINUX_SIGCHLD || signal == LINUX_SIGCONT || signal == LINUX_SIGURG ||
           signal == LINUX_SIGWINCH;
}

int64_t syscall_raise(struct syscall_call *call, int signal)
{
    struct syscall_state *sys = &call->sandbox->sys;
    if (signal_ignored(call, signal))
        return 0;
    if (sys->signal_mask & signal_bit(signal)) {
        sys->signal_pending |= signal_bit(signal);
        return 0;
    }
    return syscall_abort(call, signal);
}

int64_t sys_rt_sigaction(struct syscall_call *call)
{
    struct syscall_state *sys = &call->sandbox->sys;
    uint32_t signal = (uint32_t)call->arg[0];
    struct linux_sigaction action = {0};
    if (call->arg[3] != SIGSET_BYTES || signal == 0 || signal > LINUX_SIGNALS)
        return -EINVAL;
    if (call->arg[1] != 0) {
        if (syscall_copy_in(call, &action, call->arg[1], sizeof(action)) < 0)
            return -EFAULT;
        if (signal == LINUX_SIGKILL || signal == LINUX_SIGSTOP)
            return -EINVAL;
    }
    uint64_t *stored = sys->signal_handlers[signal];
    struct linux_sigaction old = {stored[0], stored[1], stored[2], stored[3]};
    if (call->arg[1] != 0) {
        stored[0] = action.handler;
        stored[1] = action.flags;
        stored[2] = action.restorer;
        stored[3] = action.mask;
    }
    return call->arg[2] != 0 ? syscall_copy_out(call, call->arg[2], &old, sizeof(old)) : 0;
}

/* Signals that were held back and are not any more. */
static void raise_pending(struct syscall_call *call)
{
    struct syscall_state *sys = &call->sandbox->sys;
    for (int signal = 1; signal <= LINUX_SIGNALS; signal++) {
        uint64_t bit = signal_bit(signal);
        if (call->outcome == SYSCALL_CONTINUE && (sys->signal_pending & ~sys->signal_mask & bit)) {
            sys->signal_pending &= ~bit;
            syscall_raise(call, signal);
        }
    }
}

int64_t sys_rt_sigprocmask(struct syscall_call *call)
{
    struct syscall_state *sys = &call->sandbox->sys;
    uint64_t old = sys->signal_mask, set;
    if (call->arg[3] != SIGSET_BYTES)
        return -EINVAL;
    if (call->arg[1] != 0) {
        if (syscall_copy_in(call, &set, call->arg[1], sizeof(set)) < 0)
            return -EFAULT;
        set &= ~(signal_bit(LINUX_SIGKILL) | signal_bit(LINUX_SIGSTOP));
        switch ((uint32_t)call->arg[0]) {
        case LINUX_SIG_BLOCK:
            sys->signal_mask |= set;
            break;
        case LINUX_SIG_UNBLOCK:
            sys->signal_mask &= ~set;
            break;
        case LINUX_SIG_SETMASK:
            sys->signal_mask = set;
            break;
        default:
            return -EINVAL;
        }
        raise_pending(call);
    }
    return call->arg[2] != 0 ? syscall_copy_out(call, call->arg[2], &old, sizeof(old)) : 0;
}

int64_t sys_rt_sigpending(struct syscall_call *call)
{
    uint64_t pending = call->sandbox->sys.signal_pending;
    if (call->arg[1] > sizeof(pending))
        return -EINVAL;
    return syscall_copy_out(call, call->arg[0], &pending, call->arg[1]);
}

int64_t sys_sigaltstack(struct syscall_call *call)
{
    uint64_t *stored = call->sandbox->sys.signal_stack;
    struct linux_sigaltstack new;
    struct linux_sigaltstack old = {
        .sp = stored[0],
        .size = stored[1],
        .flags = stored[1] == 0 ? LINUX_SS_DISABLE : (uint32_t)stored[2],
    };
    if (call->arg[0] != 0) {
        if (syscall_copy_in(call, &new, call->arg[0], sizeof(new)) < 0)
            return -EFAULT;
        uint32_t mode = new.flags & ~LINUX_SS_AUTODISARM;
        if (mode != 0 && mode != LINUX_SS_ONSTACK && mode != LINUX_SS_DISABLE)
            return -EINVAL;
        if (mode == LINUX_SS_DISABLE)
            new = (struct linux_sigaltstack){0};
        else if (new.size < LINUX_MINSIGSTKSZ)
            return -ENOMEM;
        stored[0] = new.sp;
        stored[1] = new.size;
        stored[2] = new.flags & LINUX_SS_AUTODISARM;
    }
    return call->arg[1] != 0 ? syscall_copy_out(call, call->arg[1], &old, sizeof(old)) : 0;
}

/* A signal by number, from the guest to itself; 0 only asks whether it could be sent. */
static int64_t send_signal(struct syscall_call *call, uint64_t number)
{
    uint32_t signal = (uint32_t)number;
    if (signal > LINUX_SIGNALS)
        return -EINVAL;
    return signal == 0 ? 0 : syscall_raise(call, (int)signal);
}

int64_t sys_kill(struct syscall_call *call)
{
    return is_self(call->arg[0]) ? send_signal(call, call->arg[1]) : -ESRCH;
}

int64_t sys_tkill(struct syscall_call *call)
{
    if ((int32_t)call->arg[0] <= 0)
        return -EINVAL;
    return is_self(call->arg[0]) ? send_signal(call, call->arg[1]) : -ESRCH;
}

int64_t sys_tgkill(struct syscall_call *call)
{
    if ((int32_t)call->arg[0] <= 0 || (int32_t)call->arg[1] <= 0)
        return -EINVAL;
    if (!is_self(call->arg[0]) || !is_self(call->arg[1]))
        return -ESRCH;
    return send_signal(call, call->arg[2]);
}

int64_t sys_exit(struct syscall_call *call)
{
    call->outcome = SYSCALL_EXIT;
    call->status = (int)(call->arg[0] & 0xff);
    return 0;
}

int64_t sys_exit_group(struct syscall_call *call)
{
    return sys_exit(call);
}
