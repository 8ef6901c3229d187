/* From struct saved_state to bytes; see encode.h. Mirror of decode.c. */
#include "snapshot/encode.h"

#include "base/checked.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

/* What is written so far. After a failed allocation nothing more happens. */
struct out {
    uint8_t *bytes;
    size_t len, capacity;
    size_t record; /* where the header of the open record stands */
    bool failed;
};

static void put(struct out *out, const void *data, size_t len)
{
    if (out->failed || len == 0)
        return;
    if (len > out->capacity - out->len) {
        size_t capacity = MAX(2 * out->capacity, out->len + len + 4096);
        uint8_t *bytes = realloc(out->bytes, capacity);
        if (!bytes) {
            out->failed = true;
            return;
        }
        out->bytes = bytes;
        out->capacity = capacity;
    }
    memcpy(out->bytes + out->len, data, len);
    out->len += len;
}

static void put_u16(struct out *out, uint16_t value)
{
    put(out, &value, sizeof value);
}

static void put_u32(struct out *out, uint32_t value)
{
    put(out, &value, sizeof value);
}

static void put_u64(struct out *out, uint64_t value)
{
    put(out, &value, sizeof value);
}

static void begin(struct out *out, enum state_tag tag)
{
    struct state_record record = {.tag = (uint16_t)tag, .flags = STATE_NEEDED};
    out->record = out->len;
    put(out, &record, sizeof record);
}

static void end(struct out *out)
{
    static const uint8_t zeros[8];
    if (out->failed)
        return;
    struct state_record record;
    memcpy(&record, out->bytes + out->record, sizeof record);
    record.bytes = (uint32_t)(out->len - out->record - sizeof record);
    memcpy(out->bytes + out->record, &record, sizeof record);
    put(out, zeros, -out->len & 7);
}

static void put_blob(struct out *out, enum state_tag tag, const void *data, size_t len)
{
    begin(out, tag);
    put(out, data, len);
    end(out);
}

static void put_cpu(struct out *out, const struct vm_state *cpu)
{
    const struct mf_registers *r = &cpu->regs;
    const struct vm_fpu *fpu = &cpu->fpu;
    begin(out, STATE_REGISTERS);
    const uint64_t registers[] = {r->rax, r->rbx, r->rcx, r->rdx, r->rsi, r->rdi,
                                  r->rsp, r->rbp, r->r8,  r->r9,  r->r10, r->r11,
                                  r->r12, r->r13, r->r14, r->r15, r->rip, r->rflags};
    put(out, registers, sizeof registers);
    put(out, cpu->segment_base, sizeof cpu->segment_base);
    put(out, cpu->segment, sizeof cpu->segment);
    end(out);

    begin(out, STATE_FXSAVE);
    put_u64(out, fpu->components);
    put(out, fpu->fxsave, sizeof fpu->fxsave);
    end(out);
    if (fpu->components & VM_AVX)
        put_blob(out, STATE_YMM, fpu->ymm_high, sizeof fpu->ymm_high);
    if (fpu->components & VM_OPMASK)
        put_blob(out, STATE_OPMASK, fpu->opmask, sizeof fpu->opmask);
    if (fpu->components & VM_ZMM_HIGH)
        put_blob(out, STATE_ZMM, fpu->zmm_high, sizeof fpu->zmm_high);
    if (fpu->components & VM_ZMM_MORE)
        put_blob(out, STATE_ZMM_MORE, fpu->zmm_more, sizeof fpu->zmm_more);
}

static void put_memory(struct out *out, const struct saved_state *saved)
{
    begin(out, STATE_MEMORY);
    put_u64(out, saved->memory_bytes);
    put_u32(out, saved->mem_next);
    put_u32(out, saved->mem_nfree);
    put(out, saved->mem_free, saved->mem_nfree * sizeof *saved->mem_free);
    end(out);
}

static void put_areas(struct out *out, const struct saved_state *saved)
{
    begin(out, STATE_AREAS);
    put_u64(out, saved->brk_start);
    put_u64(out, saved->brk);
    put_u32(out, (uint32_t)saved->nareas);
    put_u32(out, 0);
    for (size_t i = 0; i < saved->nareas; i++) {
        const struct area *area = &saved->areas[i];
        put_u64(out, area->start);
        put_u64(out, area->end);
        put_u32(out, area->prot);
        put_u16(out, (uint16_t)area->kind);
        put_u16(out, area->backed);
    }
    end(out);
}

static void put_sandbox(struct out *out, const struct saved_state *saved)
{
    begin(out, STATE_SANDBOX);
    put_u64(out, saved->stack_bytes);
    put_u64(out, saved->mailbox_bytes);
    put_u32(out, saved->started);
    put_u32(out, (uint32_t)saved->backend);
    put_u32(out, (uint32_t)saved->pending.kind);
    put_u32(out, saved->pending.function);
    put_u64(out, saved->pending.id);
    put_u64(out, saved->entry);
    put_u64(out, saved->entry_stack);
    put_u64(out, saved->stack_low);
    put_u64(out, saved->stack_high);
    put_u64(out, saved->next_id);
    put_u64(out, saved->monotonic_ns);
    put_u64(out, saved->cpu_ns);
    put_u64(out, saved->output_bytes);
    end(out);
}

static void put_area(struct out *out, const struct saved_area *area)
{
    put_u64(out, area->gpa);
    put_u64(out, area->offset);
    put_u64(out, area->size);
}

static void put_mailbox(struct out *out, const struct saved_state *saved)
{
    if (saved->control_gpa == 0)
        return;
    begin(out, STATE_MAILBOX);
    put_u64(out, saved->control_gpa);
    put_area(out, &saved->call_ring);
    put_area(out, &saved->result_ring);
    put_area(out, &saved->exchange);
    put_u64(out, saved->call_tail);
    put_u64(out, saved->result_head);
    end(out);
}

static bool is_set(const uint64_t action[4])
{
    return (action[0] | action[1] | action[2] | action[3]) != 0;
}

static void put_signals(struct out *out, const struct syscall_state *sys)
{
    bool any = false;
    for (size_t i = 0; i < ARRAY_LEN(sys->signal_handlers); i++)
        any = any || is_set(sys->signal_handlers[i]);
    if (!any)
        return;
    begin(out, STATE_SIGNALS);
    for (size_t i = 0; i < ARRAY_LEN(sys->signal_handlers); i++) {
        if (!is_set(sys->signal_handlers[i]))
            continue;
        put_u64(out, i);
        put(out, sys->signal_handlers[i], sizeof sys->signal_handlers[i]);
    }
    end(out);
}

static void put_denied(struct out *out, const struct syscall_state *sys)
{
    bool any = false;
    for (size_t i = 0; i < SYSCALL_NUMBERS; i++)
        any = any || sys->denied[i] != 0;
    if (!any)
        return;
    begin(out, STATE_DENIED);
    for (size_t i = 0; i < SYSCALL_NUMBERS; i++) {
        if (sys->denied[i] == 0)
            continue;
        put_u64(out, i);
        put_u64(out, sys->denied[i]);
    }
    end(out);
}

static void put_syscalls(struct out *out, const struct syscall_state *sys)
{
    begin(out, STATE_SYSCALLS);
    put_u32(out, sys->stdin_ended);
    put_u32(out, (uint32_t)sys->closed[0] | (uint32_t)sys->closed[1] << 1 |
                     (uint32_t)sys->closed[2] << 2);
    put_u64(out, sys->signal_mask);
    put_u64(out, sys->signal_pending);
    put(out, sys->signal_stack, sizeof sys->signal_stack);
    end(out);
    put_signals(out, sys);
    put_denied(out, sys);
}

int state_encode(const struct saved_state *saved, uint8_t **bytes, size_t *len,
                 struct mf_error *err)
{
    struct out out = {0};
    put_cpu(&out, &saved->cpu);
    put_memory(&out, saved);
    put_areas(&out, saved);
    put_sandbox(&out, saved);
    put_mailbox(&out, saved);
    put_syscalls(&out, &saved->sys);
    if (out.failed) {
        free(out.bytes);
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate the state of a snapshot");
    }
    *bytes = out.bytes;
    *len = out.len;
    return 0;
}
