/* Sandboxes: create, destroy, what can be asked of them. */
#include "sandbox/sandbox.h"

#include "sandbox/attend.h"
#include "sandbox/saved.h"

#include "abi/ports.h"
#include "abi/version.h"
#include "base/checked.h"
#include "base/error.h"
#include "mem/shared.h"
#include "vm/x86.h"

#include <mayfly/version.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MEMORY_DEFAULT (UINT64_C(64) << 20)
#define MEMORY_MIN (UINT64_C(1) << 20)
#define MEMORY_MAX (UINT64_C(64) << 30)
#define STACK_DEFAULT (UINT64_C(1) << 20)
#define STACK_MIN (UINT64_C(16) << 10)
#define MAILBOX_DEFAULT (UINT64_C(64) << 10)
#define MAILBOX_MIN (UINT64_C(4) << 10)
#define MAILBOX_MAX (UINT64_C(1) << 30)
#define OUTPUT_DEFAULT (UINT64_C(64) << 20)
#define DEPTH_DEFAULT 16
#define DEPTH_MAX 1024

/* Frames of a call and of the calls nested in it, and scratch. */
#define ARENA_MAILBOXES 4

const char *mf_version(void)
{
    return MF_VERSION_STRING;
}

uint32_t mf_abi_version(void)
{
    return MF_ABI_VERSION;
}

bool sandbox_count_output(struct mf_sandbox *sandbox, size_t len, size_t *allowed)
{
    uint64_t most = sandbox->options.max_output_bytes;
    /* A snapshot may have used more than this sandbox allows. */
    uint64_t left = most - MIN(most, sandbox->output_used);
    *allowed = len <= left ? len : (size_t)left;
    sandbox->output_used += *allowed;
    sandbox->stats.output_bytes += *allowed;
    return *allowed == len;
}

int sandbox_poison(struct mf_sandbox *sandbox, const struct mf_error *err)
{
    if (sandbox->poisoned == MF_OK) {
        sandbox->poisoned = err->code;
        snprintf(sandbox->poison_text, sizeof sandbox->poison_text, "%.190s", err->message);
    }
    return err->code;
}

int sandbox_check_alive(const struct mf_sandbox *sandbox, struct mf_error *err)
{
    if (sandbox->poisoned != MF_OK)
        return error_set(err, MF_E_POISONED, "poisoned by an earlier failure: %s",
                         sandbox->poison_text);
    if (sandbox->state == SANDBOX_ENDED)
        return error_set(err, MF_E_STATE, "the guest has exited");
    return 0;
}

/* ---- options ---- */

static int check_range(const char *name, uint64_t value, uint64_t low, uint64_t high,
                       struct mf_error *err)
{
    if (value >= low && value <= high)
        return 0;
    return error_set(err, MF_E_ARGUMENT, "%s is %llu; it must be %llu to %llu", name,
                     (unsigned long long)value, (unsigned long long)low, (unsigned long long)high);
}

static void fill_defaults(struct mf_sandbox_options *o)
{
    o->memory_bytes = o->memory_bytes ? o->memory_bytes : MEMORY_DEFAULT;
    o->stack_bytes = o->stack_bytes ? o->stack_bytes : MIN(STACK_DEFAULT, o->memory_bytes / 4);
    o->mailbox_bytes = o->mailbox_bytes ? o->mailbox_bytes : MAILBOX_DEFAULT;
    o->init_timeout_ns = o->init_timeout_ns ? o->init_timeout_ns : o->timeout_ns;
    o->max_output_bytes = o->max_output_bytes ? o->max_output_bytes : OUTPUT_DEFAULT;
    o->max_host_calls = o->max_host_calls ? o->max_host_calls : UINT64_MAX;
    o->max_depth = o->max_depth ? o->max_depth : DEPTH_DEFAULT;
    round_up_u64(o->memory_bytes, PAGE_BYTES, &o->memory_bytes);
    round_up_u64(o->stack_bytes, PAGE_BYTES, &o->stack_bytes);
}

/* What a saved state decides. */
static int set_saved_options(struct mf_sandbox_options *o, const struct saved_state *saved,
                             struct mf_error *err)
{
    if ((o->memory_bytes && o->memory_bytes != saved->memory_bytes) ||
        (o->stack_bytes && o->stack_bytes != saved->stack_bytes) ||
        (o->mailbox_bytes && o->mailbox_bytes != saved->mailbox_bytes) || o->args || o->env)
        return error_set(err, MF_E_ARGUMENT,
                         "memory_bytes, stack_bytes, mailbox_bytes, args and env are those of the "
                         "snapshot: leave them 0");
    o->memory_bytes = saved->memory_bytes;
    o->stack_bytes = saved->stack_bytes;
    o->mailbox_bytes = saved->mailbox_bytes;
    return 0;
}

/* Takes over the caller's options, of whatever size its version of the structure had. */
static int set_options(struct mf_sandbox *sandbox, const struct mf_sandbox_options *given,
                       const struct saved_state *saved, struct mf_error *err)
{
    struct mf_sandbox_options *o = &sandbox->options;
    if (given && given->size < offsetof(struct mf_sandbox_options, memory_bytes))
        return error_set(err, MF_E_ARGUMENT,
                         "options.size is %zu; set it to sizeof(struct mf_sandbox_options)",
                         given->size);
    if (given)
        memcpy(o, given, MIN(given->size, sizeof *o));
    o->size = sizeof *o;
    if (saved && set_saved_options(o, saved, err) != 0)
        return err->code;
    if (o->memory_bytes > MEMORY_MAX || o->stack_bytes > MEMORY_MAX)
        return error_set(err, MF_E_ARGUMENT, "memory_bytes and stack_bytes are at most 64 GiB");
    fill_defaults(o);
    int rc = check_range("memory_bytes", o->memory_bytes, MEMORY_MIN, MEMORY_MAX, err);
    if (rc == 0)
        rc = check_range("stack_bytes", o->stack_bytes, STACK_MIN, o->memory_bytes, err);
    if (rc == 0)
        rc = check_range("mailbox_bytes", o->mailbox_bytes, MAILBOX_MIN, MAILBOX_MAX, err);
    if (rc == 0)
        rc = check_range("max_depth", o->max_depth, 1, DEPTH_MAX, err);
    if (rc == 0 && !is_power_of_two(o->mailbox_bytes))
        rc = error_set(err, MF_E_ARGUMENT, "mailbox_bytes is %llu; it must be a power of two",
                       (unsigned long long)o->mailbox_bytes);
    if (rc == 0 && (o->flags & ~(uint32_t)MF_SANDBOX_SHARED_MEMORY) != 0)
        rc = error_set(err, MF_E_ARGUMENT, "flags is %#x; no such flags are known", o->flags);
    if (rc == 0 && !mf_backend_name(o->backend))
        rc = error_set(err, MF_E_ARGUMENT, "%d is no backend", (int)o->backend);
    return rc;
}

/* Copies a NULL-terminated list of strings, with room for one more. */
static char **copy_strings(const char *const *list, size_t *n)
{
    *n = 0;
    while (list && list[*n])
        (*n)++;
    char **copy = calloc(*n + 2, sizeof *copy);
    for (size_t i = 0; copy && i < *n; i++) {
        copy[i] = strdup(list[i]);
        if (!copy[i])
            return copy; /* shorter than *n: the caller sees it */
    }
    return copy;
}

static void free_strings(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

static bool has_variable(char **env, const char *prefix)
{
    for (size_t i = 0; env[i]; i++)
        if (strncmp(env[i], prefix, strlen(prefix)) == 0)
            return true;
    return false;
}

/* See sandbox.h: the same results on every backend and host. */
#define TUNABLES "GLIBC_TUNABLES="
#define TUNABLES_DEFAULT                                                                        \
    TUNABLES "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load"

static int copy_args(struct mf_sandbox *sandbox, struct mf_error *err)
{
    const char *const fallback[] = {sandbox->image->name, NULL};
    const char *const *args = sandbox->options.args ? sandbox->options.args : fallback;
    size_t nargs, nenv;
    sandbox->args = copy_strings(args, &nargs);
    sandbox->env = copy_strings(sandbox->options.env, &nenv);
    sandbox->options.args = sandbox->options.env = NULL;
    bool ok = sandbox->args && sandbox->env && (nargs == 0 || sandbox->args[nargs - 1]) &&
              (nenv == 0 || sandbox->env[nenv - 1]);
    if (ok && !has_variable(sandbox->env, TUNABLES))
        ok = (sandbox->env[nenv] = strdup(TUNABLES_DEFAULT)) != NULL;
    if (!ok)
        return error_set(err, MF_E_NO_MEMORY, "cannot copy the guest's arguments");
    return 0;
}

/* ---- host functions ---- */

static int bind_imports(struct mf_sandbox *sandbox, struct mf_host *host, struct mf_error *err)
{
    const struct mf_image *image = sandbox->image;
    if (host)
        sandbox->host = host_hold(host);
    sandbox->imports = calloc(image->nimports + 1, sizeof(*sandbox->imports));
    if (!sandbox->imports)
        return error_set(err, MF_E_NO_MEMORY, "cannot bind the image's host functions");
    for (size_t i = 0; i < image->nimports; i++) {
        const struct mf_signature *need = &image->imports[i].signature;
        const struct host_function *have = host ? host_find(host, need->name) : NULL;
        char needed[160], offered[160];
        mf_signature_format(need, needed, sizeof needed);
        if (!have)
            return error_set(err, MF_E_NO_HOST_FUNCTION,
                             "%s needs the host function \"%.140s\", which the host does not offer",
                             image->name, needed);
        if (!mf_signature_equal(need, &have->signature)) {
            mf_signature_format(&have->signature, offered, sizeof offered);
            return error_set(err, MF_E_SIGNATURE,
                             "%s was built for the host function \"%.80s\"; the host offers "
                             "\"%.80s\"",
                             image->name, needed, offered);
        }
        sandbox->imports[i] = have;
    }
    return 0;
}

/* ---- the VM ---- */

/* Where the contents of guest memory come from; without `saved`, from the image. */
struct source {
    const struct saved_state *saved;
    sandbox_fill_fn fill;
    void *context;
    bool later; /* memory and state come after the VM is made: `saved` has sizes only */
};

static int fill_memory(struct mf_sandbox *sandbox, enum mf_backend backend,
                       const struct source *source, struct mf_error *err)
{
    int rc = mem_init(&sandbox->mem, sandbox->options.memory_bytes, err);
    if (rc == 0 && (sandbox->options.flags & MF_SANDBOX_SHARED_MEMORY))
        rc = mem_share(&sandbox->mem, err);
    if (rc == 0 && source->fill)
        return source->fill(source->context, sandbox, backend, err);
    if (rc == 0 && !x86_build(&sandbox->mem, MF_ABI_PORT_FIRST, MF_ABI_PORT_LAST))
        rc = error_set(err, MF_E_NO_MEMORY, "guest memory is too small for the system pages");
    return rc;
}

static int create_on(struct mf_sandbox *sandbox, enum mf_backend backend,
                     const struct source *source, struct mf_error *err)
{
    const struct vm_ops *ops;
    int rc = vm_backend_get(backend, &ops, err);
    if (rc == 0)
        rc = fill_memory(sandbox, backend, source, err);
    if (rc != 0)
        return rc;
    struct vm_config config = {
        .mem = &sandbox->mem,
        .interrupt_signal = sandbox->options.interrupt_signal,
    };
    return ops->create(&config, &sandbox->vm, err);
}

/*
 * With AUTO, KVM is taken when a VM really ran there. Only a host that does not
 * offer it leads to soft: running into a limit (open files, memory) does not.
 */
static int create_vm(struct mf_sandbox *sandbox, const struct source *source, struct mf_error *err)
{
    enum mf_backend wanted = sandbox->options.backend;
    if (wanted != MF_BACKEND_AUTO) {
        snprintf(sandbox->backend_reason, sizeof sandbox->backend_reason, "it was asked for");
        return create_on(sandbox, wanted, source, err);
    }
    int rc = create_on(sandbox, MF_BACKEND_KVM, source, err);
    if (rc == 0) {
        snprintf(sandbox->backend_reason, sizeof sandbox->backend_reason,
                 "a test program ran in a VM of /dev/kvm");
        return 0;
    }
    if (rc != MF_E_BACKEND)
        return rc;
    snprintf(sandbox->backend_reason, sizeof sandbox->backend_reason, "kvm is not usable: %.230s",
             err->message);
    mem_fini(&sandbox->mem);
    struct mf_error soft;
    rc = create_on(sandbox, MF_BACKEND_SOFT, source, &soft);
    if (rc == 0) {
        error_clear(err);
        return 0;
    }
    struct mf_error kvm = *err;
    return error_set(err, rc, "no usable backend. kvm: %.110s; soft: %.110s", kvm.message,
                     soft.message);
}

static int watch_limits(struct mf_sandbox *sandbox, struct mf_error *err)
{
    const struct mf_sandbox_options *o = &sandbox->options;
    uint64_t times[] = {o->timeout_ns, o->init_timeout_ns, o->cpu_time_ns};
    uint64_t shortest = 0;
    for (size_t i = 0; i < ARRAY_LEN(times); i++)
        if (times[i] != 0 && (shortest == 0 || times[i] < shortest))
            shortest = times[i];
    if (shortest != 0 && o->interrupt_signal == MF_SIGNAL_NONE &&
        sandbox->vm->ops->id == MF_BACKEND_KVM)
        return error_set(err, MF_E_ARGUMENT,
                         "a time limit on kvm needs an interrupt signal (MF_SIGNAL_AUTO or a "
                         "number)");
    return limits_watch(&sandbox->limits, shortest, err);
}

/* The memory is there, page tables included: the CPU looks at it, and the rest is loaded. */
static int load_saved(struct mf_sandbox *sandbox, const struct saved_state *saved,
                      struct mf_error *err)
{
    sandbox->boot = mem_at(&sandbox->mem, LAYOUT_GPA(BOOT));
    sandbox->vm->ops->retable(sandbox->vm, NULL, SIZE_MAX);
    return saved_load(sandbox, saved, err);
}

static int load_source(struct mf_sandbox *sandbox, const struct source *source,
                       struct mf_error *err)
{
    if (!source->later)
        return source->saved ? load_saved(sandbox, source->saved, err)
                             : load_program(sandbox, err);
    /* The page tables that the VM was made with are not those that come. */
    mem_discard(&sandbox->mem, 0, sandbox->mem.bytes);
    sandbox->state = SANDBOX_ENDED;
    return 0;
}

static int make_arena(struct mf_sandbox *sandbox, struct mf_error *err)
{
    if (!sandbox->rings.control)
        return 0;
    return arena_init(&sandbox->arena, sandbox->options.mailbox_bytes * ARENA_MAILBOXES, err);
}

static int build(struct mf_sandbox *sandbox, struct mf_host *host,
                 const struct mf_sandbox_options *options, const struct source *source,
                 struct mf_error *err)
{
    int rc = set_options(sandbox, options, source->saved, err);
    if (rc == 0 && !source->saved)
        rc = copy_args(sandbox, err);
    if (rc == 0)
        rc = bind_imports(sandbox, host, err);
    if (rc == 0)
        rc = create_vm(sandbox, source, err);
    if (rc != 0)
        return rc;
    limits_init(&sandbox->limits, sandbox->vm);
    rc = addrspace_init(&sandbox->as, sandbox->vm, err);
    if (rc == 0)
        rc = load_source(sandbox, source, err);
    if (rc == 0)
        rc = make_arena(sandbox, err);
    if (rc == 0)
        rc = watch_limits(sandbox, err);
    return rc;
}

static int create(struct mf_image *image, struct mf_host *host,
                  const struct mf_sandbox_options *options, const struct source *source,
                  struct mf_sandbox **out, struct mf_error *err)
{
    *out = NULL;
    struct mf_sandbox *sandbox = calloc(1, sizeof *sandbox);
    if (!sandbox)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a sandbox");
    pause_init(&sandbox->pause);
    sandbox->image = mf_image_hold(image);
    sandbox->sys.clock_base_ns = limits_now();
    int rc = build(sandbox, host, options, source, err);
    if (rc != 0) {
        mf_sandbox_destroy(sandbox);
        return rc;
    }
    *out = sandbox;
    return 0;
}

int mf_sandbox_create(struct mf_image *image, struct mf_host *host,
                      const struct mf_sandbox_options *options, struct mf_sandbox **out,
                      struct mf_error *err)
{
    const struct source from_image = {.saved = NULL};
    struct mf_error own;
    err = err ? err : &own;
    error_clear(err);
    if (!image || !out)
        return error_set(err, MF_E_ARGUMENT, "a sandbox needs an image and a place for the result");
    return create(image, host, options, &from_image, out, err);
}

int sandbox_create_saved(struct mf_image *image, struct mf_host *host,
                         const struct mf_sandbox_options *options, const struct saved_state *saved,
                         sandbox_fill_fn fill, void *context, struct mf_sandbox **out,
                         struct mf_error *err)
{
    const struct source from_state = {.saved = saved, .fill = fill, .context = context};
    return create(image, host, options, &from_state, out, err);
}

int sandbox_create_empty(struct mf_image *image, struct mf_host *host,
                         const struct mf_sandbox_options *options,
                         const struct saved_state *sizes, struct mf_sandbox **out,
                         struct mf_error *err)
{
    const struct source comes_later = {.saved = sizes, .later = true};
    return create(image, host, options, &comes_later, out, err);
}

int sandbox_load_received(struct mf_sandbox *sandbox, const struct saved_state *saved,
                          uint64_t timeout_left_ns, uint64_t cpu_left_ns, struct mf_error *err)
{
    uint64_t shortest = sandbox->limits.shortest_ns;
    int rc = load_saved(sandbox, saved, err);
    if (rc == 0)
        rc = make_arena(sandbox, err);
    sandbox->timeout_left_ns = timeout_left_ns;
    sandbox->cpu_left_ns = cpu_left_ns;
    if (timeout_left_ns != 0)
        shortest = shortest ? MIN(shortest, timeout_left_ns) : timeout_left_ns;
    if (cpu_left_ns != 0)
        shortest = shortest ? MIN(shortest, cpu_left_ns) : cpu_left_ns;
    return rc == 0 ? limits_watch(&sandbox->limits, shortest, err) : rc;
}

void mf_sandbox_destroy(struct mf_sandbox *sandbox)
{
    if (!sandbox)
        return;
    attend_fini(sandbox);
    if (sandbox->arrival)
        sandbox->arrival->end(sandbox->arrival);
    limits_fini(&sandbox->limits);
    if (sandbox->vm)
        map_fini(sandbox);
    if (sandbox->base)
        sandbox->base->release(sandbox->base);
    addrspace_fini(&sandbox->as);
    if (sandbox->vm)
        sandbox->vm->ops->destroy(sandbox->vm);
    mem_fini(&sandbox->mem);
    arena_fini(&sandbox->arena);
    free_strings(sandbox->args);
    free_strings(sandbox->env);
    free(sandbox->imports);
    mf_host_destroy(sandbox->host);
    mf_image_close(sandbox->image);
    pause_fini(&sandbox->pause);
    free(sandbox);
}

/* ---- what can be asked ---- */

void mf_sandbox_interrupt(struct mf_sandbox *sandbox)
{
    limits_stop(&sandbox->limits, STOP_INTERRUPT);
}

struct time_limits {
    uint64_t timeout_ns, cpu_time_ns;
};

static int change_limits(struct mf_sandbox *sandbox, void *argument, struct mf_error *err)
{
    const struct time_limits *limits = argument;
    if (sandbox->state == SANDBOX_RUNNING)
        return error_set(err, MF_E_STATE, "the limits cannot change during a call");
    struct mf_sandbox_options old = sandbox->options;
    sandbox->options.timeout_ns = limits->timeout_ns;
    sandbox->options.init_timeout_ns = sandbox->state == SANDBOX_NEW ? limits->timeout_ns : 0;
    sandbox->options.cpu_time_ns = limits->cpu_time_ns;
    int rc = watch_limits(sandbox, err);
    if (rc != 0)
        sandbox->options = old;
    return rc;
}

int mf_sandbox_set_limits(struct mf_sandbox *sandbox, uint64_t timeout_ns, uint64_t cpu_time_ns,
                          struct mf_error *err)
{
    struct time_limits limits = {timeout_ns, cpu_time_ns};
    return attend_do(sandbox, change_limits, &limits, err);
}

void *mf_sandbox_scratch(struct mf_sandbox *sandbox, size_t len)
{
    struct arena *arena = attend_of(sandbox) ? attend_arena() : &sandbox->arena;
    return arena ? arena_alloc(arena, len) : NULL;
}

void mf_sandbox_release(struct mf_sandbox *sandbox)
{
    if (attend_of(sandbox)) {
        struct arena *arena = attend_arena();
        if (arena)
            arena_reset(arena);
    } else if (sandbox->state != SANDBOX_RUNNING) {
        arena_reset(&sandbox->arena);
    }
}

const struct mf_fault *mf_sandbox_fault(const struct mf_sandbox *sandbox)
{
    struct attendance *held = attend_hold(sandbox);
    const struct mf_fault *fault = sandbox->fault.kind == MF_FAULT_NONE ? NULL : &sandbox->fault;
    attend_release(held);
    return fault;
}

int mf_sandbox_poisoned(const struct mf_sandbox *sandbox)
{
    struct attendance *held = attend_hold(sandbox);
    int code = sandbox->poisoned;
    attend_release(held);
    return code;
}

struct mf_image *mf_sandbox_image(const struct mf_sandbox *sandbox)
{
    return sandbox->image;
}

enum mf_backend mf_sandbox_backend(const struct mf_sandbox *sandbox)
{
    return sandbox->vm->ops->id;
}

const char *mf_sandbox_backend_reason(const struct mf_sandbox *sandbox)
{
    return sandbox->backend_reason;
}

void mf_sandbox_get_stats(const struct mf_sandbox *sandbox, struct mf_stats *stats)
{
    struct attendance *held = attend_hold(sandbox);
    struct mf_stats now = sandbox->stats;
    now.size = stats->size;
    now.memory_pages = mem_pages_used(&sandbox->mem);
    now.pages_touched = mem_pages_resident(&sandbox->mem);
    attend_release(held);
    memcpy(stats, &now, MIN(stats->size, sizeof now));
}

void mf_sandbox_denied(const struct mf_sandbox *sandbox,
                       void (*fn)(void *context, long number, const char *name, uint64_t count),
                       void *context)
{
    for (long number = 0; number < SYSCALL_NUMBERS; number++) {
        struct attendance *held = attend_hold(sandbox);
        uint64_t count = sandbox->sys.denied[number];
        attend_release(held);
        if (count != 0)
            fn(context, number, syscall_name(number), count);
    }
}
