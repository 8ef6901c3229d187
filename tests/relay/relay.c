/*
 * A backend for tests that never lets a VM grow old. It stands before the real ones: after
 * an exit it saves the CPU, destroys the VM, gives the guest other memory with the same
 * contents, builds a new VM over it, loads the CPU and goes on there. A guest that does not
 * notice has shown that nothing of it was in the VM: no register that is not saved, no
 * translation that is not in the tables, no memory that is not the sandbox's. Crossing, the
 * new VM is of the other backend each time.
 *
 * A program is linked with this file and -Wl,--wrap=vm_backend_get, and runs as ever.
 * $MAYFLY_RELAY = cross makes it cross; $MAYFLY_RELAY_LOG names a file that gets a line for
 * each VM: its exits, how often it was rebuilt, how often the other backend refused.
 *
 * Which exits. All of the first ones, then every so many: a VM costs more than a millisecond. A
 * guest that computes makes none; so a thread interrupts it now and then, of which the
 * caller learns nothing. Exceptions are the last exit of a guest, and stay.
 *
 * Interrupts are never lost: `stop` says that one is wanted, whatever VM was told of it, and a
 * new VM is told when it is set. One that was told twice comes out a second time, and
 * is passed over because `stop` is no longer set. `kickers` holds the exchange back while
 * somebody has a VM in hand.
 */
#include "base/checked.h"
#include "base/cpu.h"
#include "base/error.h"
#include "vm/paging.h"
#include "vm/vm.h"

#include <mayfly/sandbox.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* After so many exits only every EXITS_STEPth leads to another VM. */
#define EXITS_ALL 24
#define EXITS_STEP 1000
/* So many pages are copied for one guest; then its VM stays. */
#define COPIES_MAX 60000
/* How often a guest that runs on is interrupted, and how many times. */
#define KICK_NS 4000000
#define KICKS_MAX 40

/* What code at CPL 3 can set in RFLAGS; backends differ in the others (RF). */
#define RFLAGS_USER UINT64_C(0x240dd5)

struct attached {
    const struct mem_window *window;
    mf_gva gva;
    unsigned prot;
};

struct relay {
    struct vm vm; /* first */
    struct mf_registers registers;
    struct vm_config config;
    const struct vm_ops *ops[2]; /* taken in turn; the same twice unless it crosses */
    unsigned turn;
    _Atomic(struct vm *) inner; /* NULL during an exchange */
    atomic_bool stop;
    atomic_int kickers;
    atomic_bool ended;
    pthread_t thread;
    bool has_thread;
    uint64_t exits, exchanges, refusals, copies;
    uint64_t *dirty; /* pages that earlier VMs saw written; NULL: nobody tracks */
    struct attached attached[MEM_WINDOWS_MAX];
};

int __real_vm_backend_get(enum mf_backend id, const struct vm_ops **out, struct mf_error *err);
int __wrap_vm_backend_get(enum mf_backend id, const struct vm_ops **out, struct mf_error *err);

static struct relay *relay_of(struct vm *vm)
{
    return (struct relay *)vm;
}

static struct vm *inner_of(struct vm *vm)
{
    return atomic_load(&relay_of(vm)->inner);
}

static size_t words_of(const struct vm *vm)
{
    return ((size_t)vm->mem->end + 63) / 64;
}

/* ---- registers, there and back ---- */

static void push_registers(struct relay *relay)
{
    struct vm *inner = inner_of(&relay->vm);
    if (!relay->vm.regs_changed)
        return;
    *inner->regs = relay->registers;
    inner->regs_changed = true;
    relay->vm.regs_changed = false;
}

static void pull_registers(struct relay *relay)
{
    relay->registers = *inner_of(&relay->vm)->regs;
    relay->vm.regs_changed = false;
}

/* ---- interrupts ---- */

static void kick(struct relay *relay)
{
    atomic_fetch_add(&relay->kickers, 1);
    struct vm *inner = atomic_load(&relay->inner);
    if (inner)
        inner->ops->interrupt(inner);
    atomic_fetch_sub(&relay->kickers, 1);
}

static void relay_interrupt(struct vm *vm)
{
    atomic_store(&relay_of(vm)->stop, true);
    kick(relay_of(vm));
}

static void *kick_often(void *context)
{
    struct relay *relay = context;
    const struct timespec pause = {.tv_nsec = KICK_NS};
    for (int i = 0; i < KICKS_MAX && !atomic_load(&relay->ended); i++) {
        nanosleep(&pause, NULL);
        kick(relay);
    }
    return NULL;
}

static void start_thread(struct relay *relay)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    relay->has_thread = pthread_create(&relay->thread, NULL, kick_often, relay) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void publish(struct relay *relay, struct vm *inner)
{
    atomic_store(&relay->inner, inner);
    if (atomic_load(&relay->stop))
        kick(relay);
}

static void destroy_inner(struct relay *relay)
{
    struct vm *inner = atomic_exchange(&relay->inner, NULL);
    while (atomic_load(&relay->kickers) > 0)
        cpu_relax();
    if (inner)
        inner->ops->destroy(inner);
}

/* ---- another VM ---- */

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE_BYTES - 1) == 0;
}

/* Other memory at the same address of the host: a translation of before leads nowhere. */
static int renew_memory(struct relay *relay, struct mf_error *err)
{
    struct mem *mem = relay->vm.mem;
    uint8_t *fresh = mmap(NULL, mem->bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fresh == MAP_FAILED)
        return error_set_errno(err, MF_E_NO_MEMORY, errno, "relay: no memory");
    for (uint64_t at = 0; at < (uint64_t)mem->next * PAGE_BYTES; at += PAGE_BYTES) {
        unsigned char present = 1;
        mincore(mem->base + at, PAGE_BYTES, &present);
        if (!(present & 1) || is_zero(mem->base + at))
            continue;
        memcpy(fresh + at, mem->base + at, PAGE_BYTES);
        relay->copies++;
    }
    if (mremap(fresh, mem->bytes, mem->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, mem->base) !=
        mem->base)
        return error_set_errno(err, MF_E_SYSTEM, errno, "relay: memory cannot be moved");
    madvise(mem->base, mem->bytes, MADV_DONTFORK);
    return 0;
}

/* The tables still map what was attached; a new VM maps it itself. */
static int attach_again(struct relay *relay, struct vm *vm, struct mf_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < MEM_WINDOWS_MAX; i++) {
        const struct attached *a = &relay->attached[i];
        if (!a->window)
            continue;
        paging_unmap_at(relay->vm.mem, a->gva, a->window->bytes >> PAGE_SHIFT);
        rc = vm->ops->attach(vm, a->gva, a->window, a->prot, err);
    }
    return rc;
}

/* Whether the new VM is where the old one was. */
static int compare(const struct vm_state *old, struct vm *vm, bool all, struct mf_error *err)
{
    struct vm_state now, then = *old;
    memset(&now, 0, sizeof now);
    int rc = vm->ops->save(vm, &now, err);
    if (rc != 0)
        return rc;
    now.regs.rflags &= RFLAGS_USER;
    then.regs.rflags &= RFLAGS_USER;
    if (memcmp(&now.regs, &then.regs, sizeof now.regs) != 0 ||
        memcmp(now.segment_base, then.segment_base, sizeof now.segment_base) != 0 ||
        memcmp(now.segment, then.segment, sizeof now.segment) != 0)
        return error_set(err, MF_E_SYSTEM, "relay: registers differ in a new %s VM", vm->ops->name);
    if (all && memcmp(&now.fpu, &then.fpu, sizeof now.fpu) != 0)
        return error_set(err, MF_E_SYSTEM, "relay: x87 to AVX differ in a new %s VM",
                         vm->ops->name);
    return 0;
}

/* A new VM in this state; *out is NULL when it fails. */
static int rebuild(struct relay *relay, const struct vm_ops *ops, const struct vm_state *state,
                   bool same, struct vm **out, struct mf_error *err)
{
    int rc = ops->create(&relay->config, out, err);
    if (rc != 0)
        return rc;
    struct vm *vm = *out;
    ops->retable(vm, NULL, SIZE_MAX);
    rc = attach_again(relay, vm, err);
    if (rc == 0 && relay->dirty)
        rc = ops->dirty_start(vm, err);
    if (rc == 0)
        rc = ops->load(vm, state, err);
    if (rc == 0)
        rc = compare(state, vm, same, err);
    if (rc == 0)
        return 0;
    ops->destroy(vm);
    *out = NULL;
    return rc;
}

/* The one good reason to refuse a state of the other backend. */
static bool is_refusal(int rc, const struct vm_state *state, const struct mf_error *err)
{
    return rc == MF_E_BACKEND && (state->fpu.components & VM_AVX) && strstr(err->message, "AVX");
}

static int exchange(struct relay *relay, bool interrupted, struct mf_error *err)
{
    struct vm_state state;
    struct mf_error own;
    struct vm *old = inner_of(&relay->vm), *next = NULL;
    const struct vm_ops *now = old->ops, *other;
    memset(&state, 0, sizeof state);
    int rc = old->ops->save(old, &state, &own);
    if (rc == MF_E_STATE && interrupted)
        return 0; /* a trap is about to be delivered: the guest has to run on */
    if (rc == 0 && relay->dirty)
        rc = old->ops->dirty_collect(old, relay->dirty, &own);
    destroy_inner(relay);
    if (rc == 0)
        rc = renew_memory(relay, &own);
    if (rc == 0) {
        /* A guest may stand between its question about a feature and its use: no crossing there. */
        relay->turn += !interrupted;
        other = relay->ops[relay->turn % 2];
        rc = rebuild(relay, other, &state, other == now, &next, &own);
        if (other != now && is_refusal(rc, &state, &own)) {
            relay->refusals++;
            relay->turn++;
            rc = rebuild(relay, now, &state, true, &next, &own);
        }
    }
    if (rc != 0)
        return error_set(err, MF_E_SYSTEM, "relay: %.200s", own.message);
    relay->exchanges++;
    publish(relay, next);
    pull_registers(relay);
    return 0;
}

static bool is_due(struct relay *relay, const struct vm_exit *exit)
{
    if (exit->kind == VM_EXIT_EXCEPTION || exit->kind == VM_EXIT_DEAD)
        return false;
    relay->exits++;
    return (relay->exits <= EXITS_ALL || exit->kind == VM_EXIT_INTERRUPT ||
            relay->exits % EXITS_STEP == 0) &&
           relay->copies < COPIES_MAX;
}

static int relay_run(struct vm *vm, struct vm_exit *exit, struct mf_error *err)
{
    struct relay *relay = relay_of(vm);
    for (;;) {
        struct vm *inner = inner_of(vm);
        if (!inner)
            return error_set(err, MF_E_SYSTEM, "relay: the VM is gone");
        push_registers(relay);
        int rc = inner->ops->run(inner, exit, err);
        pull_registers(relay);
        if (rc != 0)
            return rc;
        bool interrupted = exit->kind == VM_EXIT_INTERRUPT;
        bool wanted = interrupted && atomic_exchange(&relay->stop, false);
        if (is_due(relay, exit))
            rc = exchange(relay, interrupted, err);
        if (rc != 0 || !interrupted || wanted)
            return rc;
    }
}

/* ---- the rest of the table: handed on ---- */

static void write_log(const struct relay *relay)
{
    const char *path = getenv("MAYFLY_RELAY_LOG");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    if (fd < 0)
        return;
    dprintf(fd, "%llu %llu %llu\n", (unsigned long long)relay->exits,
            (unsigned long long)relay->exchanges, (unsigned long long)relay->refusals);
    close(fd);
}

static void relay_destroy(struct vm *vm)
{
    struct relay *relay = relay_of(vm);
    if (!relay)
        return;
    atomic_store(&relay->ended, true);
    if (relay->has_thread)
        pthread_join(relay->thread, NULL);
    destroy_inner(relay);
    write_log(relay);
    free(relay->dirty);
    free(relay);
}

static int relay_create(const struct vm_ops *table, const struct vm_config *config,
                        struct vm **out, struct mf_error *err)
{
    static const enum mf_backend other[] = {[MF_BACKEND_KVM] = MF_BACKEND_SOFT,
                                            [MF_BACKEND_SOFT] = MF_BACKEND_KVM};
    const char *how = getenv("MAYFLY_RELAY");
    bool cross = how && strcmp(how, "cross") == 0;
    struct relay *relay = calloc(1, sizeof *relay);
    if (!relay)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a VM");
    relay->vm = (struct vm){.ops = table, .mem = config->mem, .regs = &relay->registers};
    relay->config = *config;
    int rc = __real_vm_backend_get(table->id, &relay->ops[0], err);
    if (rc == 0)
        rc = __real_vm_backend_get(cross ? other[table->id] : table->id, &relay->ops[1], err);
    struct vm *inner = NULL;
    if (rc == 0)
        rc = relay->ops[0]->create(config, &inner, err);
    if (rc != 0) {
        free(relay);
        return rc;
    }
    publish(relay, inner);
    pull_registers(relay);
    /* Without a signal nobody could stop a guest on kvm: a probe. */
    if (config->interrupt_signal != MF_SIGNAL_NONE)
        start_thread(relay);
    *out = &relay->vm;
    return 0;
}

static int relay_map(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot,
                     struct mf_error *err)
{
    struct vm *inner = inner_of(vm);
    return inner->ops->map(inner, gva, npages, prot, err);
}

static int relay_map_at(struct vm *vm, mf_gva gva, mf_gpa gpa, uint64_t npages, unsigned prot,
                        struct mf_error *err)
{
    struct vm *inner = inner_of(vm);
    return inner->ops->map_at(inner, gva, gpa, npages, prot, err);
}

static void relay_protect(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot)
{
    struct vm *inner = inner_of(vm);
    inner->ops->protect(inner, gva, npages, prot);
}

static void relay_unmap(struct vm *vm, mf_gva gva, uint64_t npages)
{
    struct vm *inner = inner_of(vm);
    inner->ops->unmap(inner, gva, npages);
}

static void relay_discard(struct vm *vm, mf_gva gva, uint64_t npages)
{
    struct vm *inner = inner_of(vm);
    inner->ops->discard(inner, gva, npages);
}

static int relay_move(struct vm *vm, mf_gva from, mf_gva to, uint64_t npages,
                      struct mf_error *err)
{
    struct vm *inner = inner_of(vm);
    return inner->ops->move(inner, from, to, npages, err);
}

static int relay_attach(struct vm *vm, mf_gva gva, const struct mem_window *window, unsigned prot,
                        struct mf_error *err)
{
    struct vm *inner = inner_of(vm);
    int rc = inner->ops->attach(inner, gva, window, prot, err);
    if (rc == 0)
        relay_of(vm)->attached[window->slot - 1] =
            (struct attached){.window = window, .gva = gva, .prot = prot};
    return rc;
}

static void relay_detach(struct vm *vm, mf_gva gva, const struct mem_window *window)
{
    struct vm *inner = inner_of(vm);
    inner->ops->detach(inner, gva, window);
    relay_of(vm)->attached[window->slot - 1].window = NULL;
}

static int relay_save(struct vm *vm, struct vm_state *state, struct mf_error *err)
{
    struct vm *inner = inner_of(vm);
    push_registers(relay_of(vm));
    int rc = inner->ops->save(inner, state, err);
    pull_registers(relay_of(vm));
    return rc;
}

static int relay_load(struct vm *vm, const struct vm_state *state, struct mf_error *err)
{
    struct vm *inner = inner_of(vm);
    int rc = inner->ops->load(inner, state, err);
    pull_registers(relay_of(vm));
    return rc;
}

static int relay_dirty_start(struct vm *vm, struct mf_error *err)
{
    struct relay *relay = relay_of(vm);
    struct vm *inner = inner_of(vm);
    if (!relay->dirty)
        relay->dirty = malloc(words_of(vm) * sizeof *relay->dirty);
    if (!relay->dirty)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a bit for each guest page");
    memset(relay->dirty, 0, words_of(vm) * sizeof *relay->dirty);
    return inner->ops->dirty_start(inner, err);
}

static int relay_dirty_collect(struct vm *vm, uint64_t *bitmap, struct mf_error *err)
{
    struct vm *inner = inner_of(vm);
    for (size_t i = 0; i < words_of(vm); i++)
        bitmap[i] |= relay_of(vm)->dirty[i];
    return inner->ops->dirty_collect(inner, bitmap, err);
}

static int relay_dirty_clean(struct vm *vm, const uint64_t *bitmap, struct mf_error *err)
{
    struct vm *inner = inner_of(vm);
    for (size_t i = 0; i < words_of(vm); i++)
        relay_of(vm)->dirty[i] &= ~bitmap[i];
    return inner->ops->dirty_clean(inner, bitmap, err);
}

static void relay_retable(struct vm *vm, const mf_gpa *stale, size_t n)
{
    struct vm *inner = inner_of(vm);
    inner->ops->retable(inner, stale, n);
}

static int relay_set_segment_base(struct vm *vm, unsigned index, uint64_t base,
                                  struct mf_error *err)
{
    struct vm *inner = inner_of(vm);
    return inner->ops->set_segment_base(inner, index, base, err);
}

static uint64_t relay_get_segment_base(struct vm *vm, unsigned index)
{
    struct vm *inner = inner_of(vm);
    return inner->ops->get_segment_base(inner, index);
}

static void relay_describe(struct vm *vm, char *buf, size_t size)
{
    struct vm *inner = inner_of(vm);
    inner->ops->describe(inner, buf, size);
}

static int create_kvm(const struct vm_config *config, struct vm **out, struct mf_error *err);
static int create_soft(const struct vm_config *config, struct vm **out, struct mf_error *err);

#define RELAY_OPS(backend_name, backend_id, create_function)                                    \
    {                                                                                          \
        .name = backend_name, .id = backend_id, .create = create_function,                      \
        .destroy = relay_destroy, .map = relay_map, .map_at = relay_map_at,                     \
        .protect = relay_protect, .unmap = relay_unmap, .discard = relay_discard,               \
        .move = relay_move, .run = relay_run, .interrupt = relay_interrupt,                     \
        .attach = relay_attach, .detach = relay_detach, .save = relay_save,                     \
        .load = relay_load, .dirty_start = relay_dirty_start,                                   \
        .dirty_collect = relay_dirty_collect, .dirty_clean = relay_dirty_clean,                 \
        .retable = relay_retable, .set_segment_base = relay_set_segment_base,                   \
        .get_segment_base = relay_get_segment_base, .describe = relay_describe,                 \
    }

static const struct vm_ops kvm_relay = RELAY_OPS("kvm", MF_BACKEND_KVM, create_kvm);
static const struct vm_ops soft_relay = RELAY_OPS("soft", MF_BACKEND_SOFT, create_soft);

static int create_kvm(const struct vm_config *config, struct vm **out, struct mf_error *err)
{
    return relay_create(&kvm_relay, config, out, err);
}

static int create_soft(const struct vm_config *config, struct vm **out, struct mf_error *err)
{
    return relay_create(&soft_relay, config, out, err);
}

int __wrap_vm_backend_get(enum mf_backend id, const struct vm_ops **out, struct mf_error *err)
{
    int rc = __real_vm_backend_get(id, out, err);
    if (rc == 0)
        *out = id == MF_BACKEND_SOFT ? &soft_relay : &kvm_relay;
    return rc;
}
