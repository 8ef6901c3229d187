/*
 * From bytes to struct saved_state; see encode.h. Mirror of encode.c. The bytes are hostile.
 *
 * Two steps: the list of records is gone through once, which finds where each of them is; then
 * each is read. A record that is longer than what is read was written by a later minor version.
 */
#include "snapshot/encode.h"

#include "base/checked.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

/* What is left of a record's contents. Reading past its end gives zeros and is noted. */
struct in {
    const uint8_t *at;
    size_t left;
    bool present, cut;
};

#define TAGS 14 /* the highest tag, and one */

struct records {
    struct in of[TAGS];
};

static const char *const names[TAGS] = {
#define STATE_NAME(name, tag, text) [tag] = #name,
    STATE_RECORDS(STATE_NAME)
#undef STATE_NAME
};

static int malformed(struct mf_error *err, const char *what, unsigned tag)
{
    return error_set(err, MF_E_SNAPSHOT, "damaged state: the record %s %s",
                     tag < TAGS && names[tag] ? names[tag] : "of an unknown kind", what);
}

static int add_record(struct records *records, const struct state_record *record,
                      const uint8_t *contents, struct mf_error *err)
{
    if (record->tag >= TAGS || !names[record->tag]) {
        if (record->flags & STATE_NEEDED)
            return error_set(err, MF_E_SNAPSHOT,
                             "the state has a record of kind %u, which this version does not know: "
                             "update Mayfly",
                             record->tag);
        return 0;
    }
    struct in *in = &records->of[record->tag];
    if (in->present)
        return malformed(err, "is there twice", record->tag);
    *in = (struct in){.at = contents, .left = record->bytes, .present = true};
    return 0;
}

static int find_records(const uint8_t *bytes, size_t len, struct records *records,
                        struct mf_error *err)
{
    for (size_t at = 0; at < len;) {
        struct state_record record;
        uint64_t padded;
        if (len - at < sizeof record)
            return error_set(err, MF_E_SNAPSHOT, "damaged state: it ends within a record");
        memcpy(&record, bytes + at, sizeof record);
        at += sizeof record;
        round_up_u64(record.bytes, 8, &padded);
        if (padded > len - at)
            return malformed(err, "is longer than the state", record.tag);
        for (size_t i = record.bytes; i < padded; i++)
            if (bytes[at + i] != 0)
                return malformed(err, "is not followed by zeros", record.tag);
        int rc = add_record(records, &record, bytes + at, err);
        if (rc != 0)
            return rc;
        at += padded;
    }
    return 0;
}

static void get(struct in *in, void *data, size_t len)
{
    if (len == 0)
        return;
    if (len > in->left) {
        memset(data, 0, len);
        in->cut = true;
        in->left = 0;
        return;
    }
    memcpy(data, in->at, len);
    in->at += len;
    in->left -= len;
}

static uint16_t get_u16(struct in *in)
{
    uint16_t value;
    get(in, &value, sizeof value);
    return value;
}

static uint32_t get_u32(struct in *in)
{
    uint32_t value;
    get(in, &value, sizeof value);
    return value;
}

static uint64_t get_u64(struct in *in)
{
    uint64_t value;
    get(in, &value, sizeof value);
    return value;
}

/* A number that has fewer bits in the host; too large a one is an error of the record. */
static uint32_t get_small(struct in *in)
{
    uint64_t value = get_u64(in);
    if (value > UINT32_MAX)
        in->cut = true;
    return (uint32_t)value;
}

static bool get_bool(struct in *in, uint32_t value)
{
    if (value > 1)
        in->cut = true;
    return value == 1;
}

static void get_cpu(struct records *records, struct vm_state *cpu)
{
    struct in *in = &records->of[STATE_REGISTERS];
    struct mf_registers *r = &cpu->regs;
    uint64_t *const registers[] = {&r->rax, &r->rbx, &r->rcx, &r->rdx, &r->rsi, &r->rdi,
                                   &r->rsp, &r->rbp, &r->r8,  &r->r9,  &r->r10, &r->r11,
                                   &r->r12, &r->r13, &r->r14, &r->r15, &r->rip, &r->rflags};
    for (size_t i = 0; i < ARRAY_LEN(registers); i++)
        *registers[i] = get_u64(in);
    get(in, cpu->segment_base, sizeof cpu->segment_base);
    get(in, cpu->segment, sizeof cpu->segment);

    in = &records->of[STATE_FXSAVE];
    cpu->fpu.components = get_u64(in);
    get(in, cpu->fpu.fxsave, sizeof cpu->fpu.fxsave);
}

/* The parts of the CPU that are there only if they are in use. */
static int get_components(struct records *records, struct vm_fpu *fpu, struct mf_error *err)
{
    const struct {
        uint64_t component;
        enum state_tag tag;
        void *to;
        size_t bytes;
    } parts[] = {
        {VM_AVX, STATE_YMM, fpu->ymm_high, sizeof fpu->ymm_high},
        {VM_OPMASK, STATE_OPMASK, fpu->opmask, sizeof fpu->opmask},
        {VM_ZMM_HIGH, STATE_ZMM, fpu->zmm_high, sizeof fpu->zmm_high},
        {VM_ZMM_MORE, STATE_ZMM_MORE, fpu->zmm_more, sizeof fpu->zmm_more},
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct in *in = &records->of[parts[i].tag];
        if (in->present != ((fpu->components & parts[i].component) != 0))
            return malformed(err, "does not fit the components in use", parts[i].tag);
        if (in->present)
            get(in, parts[i].to, parts[i].bytes);
    }
    return 0;
}

static int get_memory(struct records *records, struct saved_state *out, struct mf_error *err)
{
    struct in *in = &records->of[STATE_MEMORY];
    out->memory_bytes = get_u64(in);
    out->mem_next = get_u32(in);
    out->mem_nfree = get_u32(in);
    if (out->mem_nfree > in->left / sizeof *out->mem_free)
        return malformed(err, "is too short", STATE_MEMORY);
    size_t bytes = out->mem_nfree * sizeof *out->mem_free;
    out->mem_free = malloc(bytes + 1);
    if (!out->mem_free)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate the free pages of a snapshot");
    get(in, out->mem_free, bytes);
    return 0;
}

static int get_areas(struct records *records, struct saved_state *out, struct mf_error *err)
{
    struct in *in = &records->of[STATE_AREAS];
    out->brk_start = get_u64(in);
    out->brk = get_u64(in);
    uint32_t n = get_u32(in);
    get_u32(in);
    if (n > in->left / STATE_AREA_BYTES || n > ADDRSPACE_AREAS_MAX)
        return malformed(err, "has too many areas", STATE_AREAS);
    out->areas = calloc((size_t)n + 1, sizeof *out->areas);
    if (!out->areas)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate the areas of a snapshot");
    out->nareas = n;
    for (uint32_t i = 0; i < n; i++) {
        struct area *area = &out->areas[i];
        area->start = get_u64(in);
        area->end = get_u64(in);
        area->prot = get_u32(in);
        area->kind = (enum area_kind)get_u16(in);
        area->backed = get_bool(in, get_u16(in));
    }
    return 0;
}

static void get_sandbox(struct records *records, struct saved_state *out)
{
    struct in *in = &records->of[STATE_SANDBOX];
    out->stack_bytes = get_u64(in);
    out->mailbox_bytes = get_u64(in);
    out->started = get_u32(in);
    out->backend = (enum mf_backend)get_u32(in);
    out->pending.kind = (enum mf_stopped)get_u32(in);
    out->pending.function = get_u32(in);
    out->pending.id = get_u64(in);
    out->entry = get_u64(in);
    out->entry_stack = get_u64(in);
    out->stack_low = get_u64(in);
    out->stack_high = get_u64(in);
    out->next_id = get_u64(in);
    out->monotonic_ns = get_u64(in);
    out->cpu_ns = get_u64(in);
    out->output_bytes = get_u64(in);
}

static void get_area(struct in *in, struct saved_area *area)
{
    area->gpa = get_u64(in);
    area->offset = get_u64(in);
    area->size = get_small(in);
}

static void get_mailbox(struct records *records, struct saved_state *out)
{
    struct in *in = &records->of[STATE_MAILBOX];
    if (!in->present)
        return;
    out->control_gpa = get_u64(in);
    get_area(in, &out->call_ring);
    get_area(in, &out->result_ring);
    get_area(in, &out->exchange);
    out->call_tail = get_u64(in);
    out->result_head = get_u64(in);
}

static int get_syscalls(struct records *records, struct syscall_state *sys, struct mf_error *err)
{
    struct in *in = &records->of[STATE_SYSCALLS];
    sys->stdin_ended = get_bool(in, get_u32(in));
    uint32_t closed = get_u32(in);
    if (closed > 7)
        in->cut = true;
    for (unsigned i = 0; i < ARRAY_LEN(sys->closed); i++)
        sys->closed[i] = closed >> i & 1;
    sys->signal_mask = get_u64(in);
    sys->signal_pending = get_u64(in);
    get(in, sys->signal_stack, sizeof sys->signal_stack);

    for (in = &records->of[STATE_SIGNALS]; in->left >= STATE_SIGNAL_BYTES;) {
        uint64_t signal = get_u64(in);
        if (signal >= ARRAY_LEN(sys->signal_handlers))
            return malformed(err, "has a signal that does not exist", STATE_SIGNALS);
        get(in, sys->signal_handlers[signal], sizeof sys->signal_handlers[signal]);
    }
    for (in = &records->of[STATE_DENIED]; in->left >= STATE_DENIED_BYTES;) {
        uint64_t number = get_u64(in);
        if (number >= SYSCALL_NUMBERS)
            return malformed(err, "has a system call that is not counted", STATE_DENIED);
        sys->denied[number] = get_u64(in);
    }
    return 0;
}

static int check_records(const struct records *records, struct mf_error *err)
{
    static const enum state_tag always[] = {STATE_REGISTERS, STATE_FXSAVE,  STATE_MEMORY,
                                            STATE_AREAS,     STATE_SANDBOX, STATE_SYSCALLS};
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        if (!records->of[always[i]].present)
            return malformed(err, "is missing", always[i]);
    for (unsigned tag = 0; tag < TAGS; tag++)
        if (records->of[tag].cut)
            return malformed(err, "is too short or has a number that cannot be", tag);
    return 0;
}

int state_decode(const uint8_t *bytes, size_t len, struct saved_state *out, struct mf_error *err)
{
    struct records records = {0};
    memset(out, 0, sizeof *out);
    int rc = find_records(bytes, len, &records, err);
    if (rc != 0)
        return rc;
    get_cpu(&records, &out->cpu);
    get_sandbox(&records, out);
    get_mailbox(&records, out);
    rc = get_components(&records, &out->cpu.fpu, err);
    if (rc == 0)
        rc = get_memory(&records, out, err);
    if (rc == 0)
        rc = get_areas(&records, out, err);
    if (rc == 0)
        rc = get_syscalls(&records, &out->sys, err);
    if (rc == 0)
        rc = check_records(&records, err);
    if (rc != 0)
        saved_fini(out);
    return rc;
}
