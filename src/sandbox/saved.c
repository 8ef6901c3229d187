/* Collect state, load state; see saved.h. */
#include "sandbox/saved.h"

#include "base/checked.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static void *copy_array(const void *from, size_t n, size_t size)
{
    /* One more, so that an empty array is no failure. */
    void *copy = malloc((n + 1) * size);
    if (copy && n > 0)
        memcpy(copy, from, n * size);
    return copy;
}

static struct saved_area save_area(const struct mailbox_area *area)
{
    return (struct saved_area){.gpa = area->gpa, .size = area->size, .offset = area->offset};
}

static void collect_memory(const struct mf_sandbox *sandbox, struct saved_state *out)
{
    const struct mem *mem = &sandbox->mem;
    const struct addrspace *as = &sandbox->as;
    out->memory_bytes = mem->bytes;
    out->mem_next = mem->next;
    out->mem_nfree = mem->nfree;
    out->mem_free = copy_array(mem->free, mem->nfree, sizeof *mem->free);
    out->areas = copy_array(as->areas, as->nareas, sizeof *as->areas);
    out->nareas = as->nareas;
    out->brk_start = as->brk_start;
    out->brk = as->brk;
}

static void collect_mailbox(const struct mf_sandbox *sandbox, struct saved_state *out)
{
    const struct rings *rings = &sandbox->rings;
    if (!rings->control)
        return;
    out->control_gpa = rings->control_gpa;
    out->call_ring = save_area(&rings->call);
    out->result_ring = save_area(&rings->result);
    out->exchange = save_area(&sandbox->exchange);
    out->call_tail = rings->call_tail;
    out->result_head = rings->result_head;
}

static int check_collectable(const struct mf_sandbox *sandbox, struct mf_error *err)
{
    if (atomic_load(&sandbox->pause.where) == PAUSE_MOVED)
        return pause_check_here(sandbox, err);
    if (arrival_was_lost(sandbox))
        return error_set(err, MF_E_MOVED,
                         "the source was lost before all pages of the guest were here");
    if (sandbox->state == SANDBOX_RUNNING)
        return error_set(err, MF_E_STATE, "a snapshot cannot be taken during a call");
    if (sandbox->mappings.count > 0)
        return error_set(err, MF_E_STATE,
                         "the sandbox has %u mappings of host memory, which no snapshot can hold: "
                         "mf_sandbox_unmap them first",
                         sandbox->mappings.count);
    if (sandbox->poisoned && !sandbox->stopped)
        return error_set(err, MF_E_POISONED, "poisoned by an earlier failure: %s",
                         sandbox->poison_text);
    if (sandbox->state == SANDBOX_ENDED && !sandbox->stopped)
        return error_set(err, MF_E_STATE, "the guest has exited");
    return 0;
}

int saved_collect(struct mf_sandbox *sandbox, struct saved_state *out, struct mf_error *err)
{
    memset(out, 0, sizeof *out);
    int rc = check_collectable(sandbox, err);
    if (rc != 0)
        return rc;
    rc = sandbox->vm->ops->save(sandbox->vm, &out->cpu, err);
    if (rc != 0)
        return rc;
    collect_memory(sandbox, out);
    collect_mailbox(sandbox, out);
    out->stack_bytes = sandbox->options.stack_bytes;
    out->mailbox_bytes = sandbox->options.mailbox_bytes;
    out->started = sandbox->state != SANDBOX_NEW;
    if (sandbox->stopped)
        out->pending = sandbox->pending;
    out->entry = sandbox->entry;
    out->entry_stack = sandbox->entry_stack;
    out->stack_low = sandbox->stack_low;
    out->stack_high = sandbox->stack_high;
    out->next_id = sandbox->next_id;
    out->sys = sandbox->sys;
    out->monotonic_ns = limits_now() - sandbox->sys.clock_base_ns;
    out->cpu_ns = sandbox->stats.guest_time_ns - sandbox->sys.cpu_base_ns;
    out->output_bytes = sandbox->output_used;
    out->backend = sandbox->vm->ops->id;
    if (out->mem_free && out->areas)
        return 0;
    saved_fini(out);
    return error_set(err, MF_E_NO_MEMORY, "cannot allocate the state of a sandbox");
}

static void load_area(const struct mf_sandbox *sandbox, const struct saved_area *from,
                      struct mailbox_area *to)
{
    to->gpa = from->gpa;
    to->base = mem_at(&sandbox->mem, from->gpa);
    to->size = from->size;
    to->offset = from->offset;
}

static void load_mailbox(struct mf_sandbox *sandbox, const struct saved_state *saved)
{
    struct rings *rings = &sandbox->rings;
    rings->mem = &sandbox->mem;
    if (saved->control_gpa == 0)
        return;
    rings->control_gpa = saved->control_gpa;
    rings->control = mem_at(&sandbox->mem, saved->control_gpa);
    load_area(sandbox, &saved->call_ring, &rings->call);
    load_area(sandbox, &saved->result_ring, &rings->result);
    load_area(sandbox, &saved->exchange, &sandbox->exchange);
    rings->call_tail = saved->call_tail;
    rings->result_head = saved->result_head;
}

static int load_memory(struct mf_sandbox *sandbox, const struct saved_state *saved,
                       struct mf_error *err)
{
    struct mem *mem = &sandbox->mem;
    mem->next = saved->mem_next;
    mem->nfree = saved->mem_nfree;
    memcpy(mem->free, saved->mem_free, saved->mem_nfree * sizeof *mem->free);
    mem->tables_changed = false;
    return addrspace_set(&sandbox->as, saved->areas, saved->nareas, saved->brk_start, saved->brk,
                         err);
}

/* A guest that was stopped is not to be called, but to be resumed. */
static void load_stopped(struct mf_sandbox *sandbox, const struct saved_state *saved)
{
    struct mf_error why;
    sandbox->pending = saved->pending;
    sandbox->stopped = saved->pending.kind != MF_STOPPED_NOTHING;
    sandbox->poisoned = MF_OK;
    sandbox->poison_text[0] = 0;
    sandbox->state = saved->started ? SANDBOX_READY : SANDBOX_NEW;
    if (!sandbox->stopped)
        return;
    error_set(&why, MF_E_INTERRUPTED, "it was stopped on the way; mf_sandbox_resume goes on");
    sandbox_poison(sandbox, &why);
    sandbox->state = SANDBOX_ENDED;
}

int saved_load(struct mf_sandbox *sandbox, const struct saved_state *saved, struct mf_error *err)
{
    int rc = load_memory(sandbox, saved, err);
    if (rc == 0)
        rc = sandbox->vm->ops->load(sandbox->vm, &saved->cpu, err);
    if (rc != 0)
        return rc;
    load_mailbox(sandbox, saved);
    load_stopped(sandbox, saved);
    sandbox->entry = saved->entry;
    sandbox->entry_stack = saved->entry_stack;
    sandbox->stack_low = saved->stack_low;
    sandbox->stack_high = saved->stack_high;
    sandbox->next_id = saved->next_id;
    sandbox->sys = saved->sys;
    sandbox->sys.clock_base_ns = limits_now() - saved->monotonic_ns;
    sandbox->sys.cpu_base_ns = sandbox->stats.guest_time_ns - saved->cpu_ns;
    sandbox->output_used = saved->output_bytes;
    sandbox->fault.kind = MF_FAULT_NONE;
    arena_wipe(&sandbox->arena);
    sandbox->timeout_left_ns = sandbox->cpu_left_ns = 0;
    /* Whatever was here before and has moved: this is another one. */
    atomic_store(&sandbox->pause.where, PAUSE_HERE);
    return 0;
}

void saved_fini(struct saved_state *saved)
{
    free(saved->mem_free);
    free(saved->areas);
    saved->mem_free = NULL;
    saved->areas = NULL;
}
