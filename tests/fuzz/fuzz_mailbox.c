/*
 * The input plays the guest. A backend of this file runs no code: between an entry
 * and the next exit it does what the input says, which may be anything that a guest
 * can do to the host: write to every page that it could write to, the mailbox first of
 * all, answer calls rightly or wrongly, make host calls and system calls, fault, die,
 * or be interrupted. Above it is the real library, with host functions that call the
 * guest again.
 *
 * The linker puts __wrap_vm_backend_get in the place of vm_backend_get, and a
 * nanosleep that does not wait in that of nanosleep.
 */
#include "abi/memory_map.h"
#include "abi/ports.h"
#include "base/checked.h"
#include "base/text.h"
#include "mem/guestmem.h"
#include "mem/pagetable.h"
#include "sandbox/codec.h"
#include "sandbox/sandbox.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/elf_build.h"
#include "vm/paging.h"
#include "vm/x86.h"

#include <mayfly/batch.h>
#include <mayfly/map.h>

#include <time.h>

#define MEMORY_BYTES (UINT64_C(1) << 20)
#define MAX_OUTPUT 4096
#define MAX_HOST_CALLS 24
#define MAX_DEPTH 3
#define EXITS_MAX 400
#define SLEEPS_MAX 4
#define BATCH_MAX 6
#define BUFFER_BYTES 100
#define MAPPED_MAX 3
#define MAPPED_BYTES (2 * PAGE_BYTES)

/* What the embedder has to give: data that no small mailbox holds, and memory to map. */
static char large[24000];
static _Alignas(PAGE_BYTES) uint8_t mapped[MAPPED_MAX][MAPPED_BYTES];

/* The one that plays; an input has one sandbox. */
static struct {
    const uint8_t *data;
    size_t size;
    struct mf_sandbox *sandbox;
    unsigned exits, sleeps, host_depth;
    bool stop;
    uint64_t bases[2];
    uint64_t addresses[MAPPED_MAX]; /* of `mapped` in the guest; 0: not there */
    struct mf_registers registers;
    struct vm vm;
} play;

static uint64_t take(size_t count)
{
    uint64_t value = 0;
    if (count > play.size)
        count = play.size;
    memcpy(&value, play.data, count);
    play.data += count;
    play.size -= count;
    return value;
}

static unsigned take_below(unsigned limit)
{
    return (unsigned)(take(1) % limit);
}

/* Up to `limit` bytes of the input, in place. */
static const uint8_t *take_bytes(size_t limit, size_t *len)
{
    size_t wanted = (size_t)take(1);
    const uint8_t *bytes = play.data;
    wanted = MIN(wanted, limit);
    *len = MIN(wanted, play.size);
    play.data += *len;
    play.size -= *len;
    return bytes;
}

static struct mf_value take_value(enum mf_type type)
{
    struct mf_value value = mf_void();
    value.type = type;
    if (type == MF_STRING || type == MF_BYTES) {
        size_t len;
        const uint8_t *bytes = take_bytes(200, &len);
        if (len == 7) { /* as good as any for this */
            bytes = (const uint8_t *)large + bytes[0];
            len = 4 * (size_t)(bytes - (const uint8_t *)large) + 16000;
        } else if (len == 8 && type == MF_BYTES) {
            bytes = mapped[bytes[0] % MAPPED_MAX] + bytes[1];
            len = MAPPED_BYTES - 256;
        }
        return type == MF_STRING ? mf_string_n((const char *)bytes, len) : mf_bytes(bytes, len);
    }
    uint64_t bits = take(8);
    if (type == MF_BOOL)
        value.boolean = bits & 1;
    else if (type != MF_VOID)
        memcpy(&value.u64, &bits, sizeof bits);
    return value;
}

/* ---- What must always hold ---- */

/* Values from a guest: of the types of a signature, and safe to look at. */
static void check_value(const struct mf_value *value, enum mf_type type)
{
    size_t bad;
    const struct arena *arena = &play.sandbox->arena;
    CHECK(value->type == type);
    if (type == MF_STRING || type == MF_BYTES) {
        const uint8_t *data = value->bytes.data;
        size_t len = value->bytes.len + (type == MF_STRING);
        if (data >= arena->base && data < arena->base + arena->size)
            CHECK(range_inside((uint64_t)(data - arena->base), len, arena->used));
        /* In a chunk, in guest memory or in a buffer: the sanitizer says whether it is there. */
        for (size_t i = 0; i < len; i += 64)
            (void)*(const volatile uint8_t *)(data + i);
    }
    if (type == MF_STRING) {
        CHECK(value->string.data[value->string.len] == 0);
        CHECK(text_is_utf8(value->string.data, value->string.len, &bad));
    }
}

static bool is_system_page(mf_gpa gpa)
{
    return gpa < LAYOUT_GPA(FREE) && gpa != LAYOUT_GPA(BOOT);
}

/* The pages of an area: mapped as the area says, and nobody else's. */
static void check_area(const struct area *area, uint8_t *owners)
{
    const struct mem *mem = &play.sandbox->mem;
    CHECK(!((area->prot & PT_WRITE) && (area->prot & PT_EXEC)));
    for (mf_gva at = area->start; area->backed && at < area->end; at += PAGE_BYTES) {
        struct pt_page page;
        CHECK(pt_lookup(mem, at, &page));
        CHECK(page.prot == (area->prot == PT_NONE ? PT_NONE : area->prot | PT_USER));
        if (area->kind == AREA_HOST) {
            CHECK(mem_window_find(mem, page.gpa));
            continue;
        }
        CHECK(page.gpa < mem->bytes && !is_system_page(page.gpa));
        uint8_t *owner = &owners[page.gpa >> PAGE_SHIFT];
        CHECK(*owner == 0 || area->kind == AREA_SYSTEM);
        *owner = 1;
    }
}

static void check_address_space(void)
{
    static uint8_t owners[MEMORY_BYTES / PAGE_BYTES];
    const struct addrspace *as = &play.sandbox->as;
    const struct mem *mem = &play.sandbox->mem;
    memset(owners, 0, sizeof owners);
    for (size_t i = 0; i < as->nareas; i++) {
        CHECK(as->areas[i].start < as->areas[i].end);
        CHECK(as->areas[i].end <= MF_ABI_GVA_END);
        CHECK(as->areas[i].start >= (i ? as->areas[i - 1].end : MF_ABI_GVA_MIN));
        check_area(&as->areas[i], owners);
    }
    for (uint32_t i = 0; i < mem->nfree; i++) {
        static const uint8_t zeros[64];
        CHECK(mem->free[i] < mem->next && !owners[mem->free[i]]);
        CHECK(memcmp(mem_at(mem, (mf_gpa)mem->free[i] << PAGE_SHIFT), zeros, sizeof zeros) == 0);
        owners[mem->free[i]] = 1;
    }
    const struct mailbox_area *areas[] = {&play.sandbox->rings.call,
                                          &play.sandbox->rings.result, &play.sandbox->exchange};
    for (size_t i = 0; i < ARRAY_LEN(areas); i++) {
        struct pt_page page;
        CHECK(pt_lookup(mem, MF_ABI_GVA_MAILBOX + areas[i]->offset, &page));
        CHECK(page.gpa == areas[i]->gpa && page.prot == (PT_READ | PT_WRITE | PT_USER));
    }
}

/* An answer of the library to the embedder. */
static void check_result(int rc, const struct mf_error *err)
{
    const struct mf_sandbox *sandbox = play.sandbox;
    size_t bad;
    CHECK(rc <= 0 && err->code == rc);
    CHECK(memchr(err->message, 0, sizeof err->message));
    CHECK(text_is_utf8(err->message, strlen(err->message), &bad));
    CHECK(sandbox->stats.output_bytes <= MAX_OUTPUT);
    CHECK(sandbox->arena.used <= sandbox->arena.size);
    switch (rc) {
    case MF_E_GUEST_FAULT:
    case MF_E_GUEST_EXIT:
    case MF_E_GUEST_ABORT:
    case MF_E_PROTOCOL:
    case MF_E_OUTPUT_LIMIT:
    case MF_E_HOST_CALL_LIMIT:
    case MF_E_SYSTEM:
    case MF_E_POISONED:
        CHECK(mf_sandbox_poisoned(sandbox) != MF_OK);
        break;
    case 0:
        CHECK(mf_sandbox_poisoned(sandbox) == MF_OK);
        break;
    default:
        break;
    }
}

/* ---- The guest ---- */

static mf_gva take_address(void)
{
    const struct mf_sandbox *sandbox = play.sandbox;
    const mf_gva places[] = {
        MF_ABI_GVA_MAILBOX,
        MF_ABI_GVA_MAILBOX + sandbox->rings.call.offset,
        MF_ABI_GVA_MAILBOX + sandbox->rings.result.offset,
        MF_ABI_GVA_MAILBOX + sandbox->exchange.offset,
        MF_ABI_GVA_BOOT,
        BUILD_BASE + BUILD_CODE,
        BUILD_BASE + BUILD_DATA,
        sandbox->stack_low,
        sandbox->stack_high - 2 * PAGE_BYTES,
        LAYOUT_GVA_MMAP,
        LAYOUT_GVA_KERNEL,
        sandbox->as.brk,
        play.addresses[0],
        play.addresses[1],
    };
    unsigned place = take_below(16);
    if (place >= ARRAY_LEN(places))
        return take(8);
    return places[place] + (mf_gva)(int64_t)(int8_t)take(1) * (take(1) % 2 ? PAGE_BYTES : 8);
}

static void write_guest(mf_gva gva, const void *bytes, size_t len)
{
    guestmem_write(&play.sandbox->mem, gva, bytes, len);
}

/* A frame, right or nearly so, at `base` + `offset` of an area. */
static uint32_t write_frame(const struct mailbox_area *area, uint64_t offset,
                            struct mf_abi_frame header, const struct mf_signature *signature,
                            bool result)
{
    uint8_t frame[8192];
    struct mf_value values[MF_ABI_PARAMS_MAX];
    size_t n = result ? signature->result != MF_VOID : signature->nparams;
    struct codec_references references = {.mask = 0};
    for (size_t i = 0; i < n; i++) {
        values[i] = take_value(result ? signature->result : signature->params[i].type);
        if ((values[i].type != MF_STRING && values[i].type != MF_BYTES) || take_below(3) != 0)
            continue;
        references.mask |= UINT32_C(1) << i;
        references.address[i] = take_address();
        values[i].bytes.len = take(1 + take(1) % 3);
    }
    uint64_t size = codec_frame_size(values, n, &references);
    if (size > sizeof frame)
        return 0;
    codec_encode(frame, (uint32_t)size, &header, values, n, &references);
    size_t spoilt;
    const uint8_t *bytes = take_bytes(4, &spoilt);
    memcpy(frame + take(1) % (size - spoilt + 1), bytes, spoilt);
    write_guest(MF_ABI_GVA_MAILBOX + area->offset + offset, frame, size);
    return (uint32_t)size;
}

static const struct mf_signature *signature_of(uint32_t record)
{
    const struct mf_image *image = play.sandbox->image;
    for (size_t i = 0; i < image->nexports; i++)
        if (image->exports[i].record == record)
            return &image->exports[i].signature;
    return &image->exports[0].signature;
}

static void exit_io(struct vm_exit *exit, uint16_t port)
{
    exit->kind = VM_EXIT_IO;
    exit->port = port;
}

/* Answers the call at *head of the call ring with what the input says, at *tail. */
static void answer_call(uint64_t *head, uint64_t *tail)
{
    static const struct mf_signature error = {.name = "error", .result = MF_STRING};
    const struct rings *rings = &play.sandbox->rings;
    struct mf_abi_frame call;
    memcpy(&call, rings->call.base + (*head & (rings->call.size - MF_ABI_FRAME_ALIGN)),
           sizeof call);
    bool fails = take_below(4) == 0;
    struct mf_abi_frame header = {.kind = fails ? MF_ABI_FRAME_ERROR : MF_ABI_FRAME_RESULT,
                                  .id = call.id,
                                  .status = fails ? (int32_t)take(1) - 20 : 0};
    *tail += write_frame(&rings->result, *tail & (rings->result.size - 1), header,
                         fails ? &error : signature_of(call.function), true);
    *head += call.size;
}

/* Answers one call, or all that are posted, or some. */
static void answer_calls(struct vm_exit *exit)
{
    struct mf_abi_control *control = play.sandbox->rings.control;
    uint64_t head = control->call_head, tail = control->result_tail;
    for (unsigned i = 0; i < BATCH_MAX; i++) {
        answer_call(&head, &tail);
        if (head == control->call_tail || take_below(6) == 0)
            break;
    }
    write_guest(MF_ABI_GVA_MAILBOX + offsetof(struct mf_abi_control, result_tail), &tail, 8);
    write_guest(MF_ABI_GVA_MAILBOX + offsetof(struct mf_abi_control, call_head), &head, 8);
    exit_io(exit, MF_ABI_PORT_READY);
}

/* Answers a nested call, which stands where the innermost host call was. */
static void answer_nested(struct vm_exit *exit)
{
    struct mf_abi_frame call;
    const struct mailbox_area *exchange = &play.sandbox->exchange;
    uint64_t offset = play.sandbox->innermost ? play.sandbox->innermost->exchange_offset
                                              : take(1) * MF_ABI_FRAME_ALIGN;
    if (offset + sizeof call > exchange->size)
        offset = 0;
    memcpy(&call, exchange->base + offset, sizeof call);
    struct mf_abi_frame header = {.kind = MF_ABI_FRAME_RESULT, .id = call.id};
    write_frame(exchange, offset, header, signature_of(call.function), true);
    play.registers.rdi = offset;
    exit_io(exit, MF_ABI_PORT_HOSTCALL);
}

static void call_host(struct vm_exit *exit)
{
    const struct mf_image *image = play.sandbox->image;
    const struct image_function *function = &image->imports[take_below((unsigned)image->nimports)];
    uint64_t offset = take(1) % 64 * MF_ABI_FRAME_ALIGN;
    struct mf_abi_frame header = {.kind = MF_ABI_FRAME_HOST_CALL, .id = take(1),
                                  .function = function->record};
    write_frame(&play.sandbox->exchange, offset, header, &function->signature, false);
    play.registers.rdi = offset;
    exit_io(exit, MF_ABI_PORT_HOSTCALL);
}

static void call_system(struct vm_exit *exit)
{
    /* Those that change or look at memory come more often than others. */
    static const uint16_t usual[] = {9, 10, 11, 12, 25, 28, 0, 1, 19, 20, 7, 23, 318, 202, 13, 158};
    uint64_t *args[] = {&play.registers.rdi, &play.registers.rsi, &play.registers.rdx,
                        &play.registers.r10, &play.registers.r8,  &play.registers.r9};
    unsigned which = take_below(24);
    play.registers.rax = which < ARRAY_LEN(usual) ? usual[which] : take(which == 23 ? 8 : 2) % 500;
    for (size_t i = 0; i < ARRAY_LEN(args); i++) {
        unsigned how = take_below(4);
        if (how == 0)
            *args[i] = take_address();
        else if (how == 1)
            *args[i] = take(1) * PAGE_BYTES;
        else
            *args[i] = take(how == 2 ? 1 : 8);
    }
    exit->kind = VM_EXIT_SYSCALL;
}

static void fault(struct vm_exit *exit)
{
    exit->kind = VM_EXIT_EXCEPTION;
    exit->vector = (uint8_t)take(1);
    exit->error_code = take(1);
    exit->address = take_address();
    play.registers.rip = take_address();
}

static void write_bytes(void)
{
    size_t len;
    mf_gva gva = take_address();
    const uint8_t *bytes = take_bytes(128, &len);
    write_guest(gva, bytes, len);
}

static int fake_run(struct vm *vm, struct vm_exit *exit, struct mf_error *err)
{
    memset(exit, 0, sizeof *exit);
    vm->regs_changed = false;
    while (take_below(3) == 0 && play.size > 0)
        write_bytes();
    if (play.stop) {
        play.stop = false;
        exit->kind = VM_EXIT_INTERRUPT;
        return 0;
    }
    unsigned what = play.size == 0 || ++play.exits > EXITS_MAX ? 100 : take_below(16);
    if (what < 4) {
        answer_calls(exit);
    } else if (what < 6) {
        answer_nested(exit);
    } else if (what < 8) {
        call_host(exit);
    } else if (what < 11) {
        call_system(exit);
    } else if (what == 11) {
        play.registers.rdi = take_address();
        play.registers.rsi = take(2);
        play.registers.rdx = take(1);
        exit_io(exit, MF_ABI_PORT_LOG);
    } else if (what == 12) {
        play.registers.rdi = take_address();
        exit_io(exit, (uint16_t)(MF_ABI_PORT_FIRST + take(1) % 8));
    } else if (what == 13) {
        fault(exit);
    } else if (what == 14) {
        exit->kind = VM_EXIT_INTERRUPT; /* a kick that came too late */
        if (take_below(8) == 0)
            mf_sandbox_interrupt(play.sandbox);
    } else {
        exit->kind = VM_EXIT_DEAD;
        if (what == 15 && take_below(2))
            return mf_fail(err, MF_E_SYSTEM, "the host failed");
    }
    return 0;
}

static int fake_create(const struct vm_config *config, struct vm **out, struct mf_error *err);

static void fake_destroy(struct vm *vm)
{
    (void)vm;
}

static int fake_map(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot,
                    struct mf_error *err)
{
    return paging_map(vm->mem, gva, npages, prot, err);
}

static int fake_map_at(struct vm *vm, mf_gva gva, mf_gpa gpa, uint64_t npages, unsigned prot,
                       struct mf_error *err)
{
    return paging_map_at(vm->mem, gva, gpa, npages, prot, err);
}

static void fake_protect(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot)
{
    paging_protect(vm->mem, gva, npages, prot, NULL, NULL);
}

static void fake_unmap(struct vm *vm, mf_gva gva, uint64_t npages)
{
    paging_unmap(vm->mem, gva, npages);
}

static void fake_discard(struct vm *vm, mf_gva gva, uint64_t npages)
{
    paging_discard(vm->mem, gva, npages);
}

static int fake_move(struct vm *vm, mf_gva from, mf_gva to, uint64_t npages, struct mf_error *err)
{
    struct pt_page page;
    for (uint64_t i = 0; i < npages; i++)
        CHECK(!pt_lookup(vm->mem, to + i * PAGE_BYTES, &page));
    return paging_move(vm->mem, from, to, npages, NULL, NULL, err);
}

static int fake_attach(struct vm *vm, mf_gva gva, const struct mem_window *window, unsigned prot,
                       struct mf_error *err)
{
    return paging_map_at(vm->mem, gva, window->gpa, window->bytes >> PAGE_SHIFT, prot, err);
}

static void fake_detach(struct vm *vm, mf_gva gva, const struct mem_window *window)
{
    paging_unmap_at(vm->mem, gva, window->bytes >> PAGE_SHIFT);
}

static void fake_interrupt(struct vm *vm)
{
    (void)vm;
    play.stop = true;
}

static int fake_set_base(struct vm *vm, unsigned index, uint64_t base, struct mf_error *err)
{
    (void)vm;
    (void)err;
    CHECK(index < 2 && base < MF_ABI_GVA_END);
    play.bases[index] = base;
    return 0;
}

static uint64_t fake_get_base(struct vm *vm, unsigned index)
{
    (void)vm;
    return play.bases[index];
}

static const struct vm_ops fake_ops = {
    .name = "fake",
    .id = MF_BACKEND_SOFT,
    .create = fake_create,
    .destroy = fake_destroy,
    .map = fake_map,
    .map_at = fake_map_at,
    .protect = fake_protect,
    .unmap = fake_unmap,
    .discard = fake_discard,
    .move = fake_move,
    .run = fake_run,
    .interrupt = fake_interrupt,
    .attach = fake_attach,
    .detach = fake_detach,
    .set_segment_base = fake_set_base,
    .get_segment_base = fake_get_base,
};

static int fake_create(const struct vm_config *config, struct vm **out, struct mf_error *err)
{
    (void)err;
    play.vm = (struct vm){.ops = &fake_ops, .mem = config->mem, .regs = &play.registers};
    *out = &play.vm;
    return 0;
}

int __wrap_vm_backend_get(enum mf_backend id, const struct vm_ops **out, struct mf_error *err);
int __wrap_vm_backend_get(enum mf_backend id, const struct vm_ops **out, struct mf_error *err)
{
    (void)id;
    (void)err;
    *out = &fake_ops;
    return 0;
}

/* A guest that wants to sleep long is stopped before it does. */
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)time;
    (void)left;
    if (++play.sleeps > SLEEPS_MAX)
        mf_sandbox_interrupt(play.sandbox);
    return 0;
}

/* ---- The embedder ---- */

static void call_guest(void)
{
    struct mf_sandbox *sandbox = play.sandbox;
    struct mf_value args[MF_ABI_PARAMS_MAX], result = mf_void();
    struct mf_error err = {0};
    size_t index = take_below((unsigned)sandbox->image->nexports);
    const struct mf_signature *signature = mf_image_export(sandbox->image, index);
    for (size_t i = 0; i < signature->nparams; i++)
        args[i] = take_value(signature->params[i].type);
    int rc = mf_sandbox_call_index(sandbox, index, args, signature->nparams, &result, &err);
    check_result(rc, &err);
    if (rc == 0)
        check_value(&result, signature->result);
}

/* What came of one call of a batch. */
static void check_call(const struct mf_call *call, const struct mf_signature *signature)
{
    CHECK(call->status <= 0 && call->error.code == call->status);
    CHECK(call->status == 0 || call->result.type == MF_VOID);
    if (call->status != 0)
        return;
    check_value(&call->result, signature->result);
    if (call->buffer && (signature->result == MF_STRING || signature->result == MF_BYTES))
        CHECK(call->result.bytes.data == call->buffer &&
              call->result.bytes.len <= call->buffer_bytes);
}

static void call_batch(void)
{
    struct mf_sandbox *sandbox = play.sandbox;
    struct mf_value args[BATCH_MAX][MF_ABI_PARAMS_MAX];
    struct mf_call calls[BATCH_MAX] = {{0}};
    uint8_t *buffers[BATCH_MAX] = {NULL};
    struct mf_error err = {0};
    size_t n = 1 + take_below(BATCH_MAX);
    for (size_t c = 0; c < n; c++) {
        size_t index = take_below((unsigned)sandbox->image->nexports + 1);
        calls[c] = (struct mf_call){.function = index, .args = args[c]};
        if (index == sandbox->image->nexports)
            continue;
        const struct mf_signature *signature = mf_image_export(sandbox->image, index);
        calls[c].nargs = signature->nparams;
        for (size_t i = 0; i < signature->nparams; i++)
            args[c][i] = take_value(signature->params[i].type);
        if (take_below(3) == 0) {
            calls[c].buffer_bytes = take(1) % BUFFER_BYTES + 1;
            calls[c].buffer = buffers[c] = malloc(calls[c].buffer_bytes);
        }
    }
    int rc = mf_sandbox_call_batch(sandbox, calls, n, &err);
    check_result(rc, &err);
    for (size_t c = 0; c < n; c++)
        check_call(&calls[c], calls[c].function < sandbox->image->nexports
                                  ? mf_image_export(sandbox->image, calls[c].function)
                                  : NULL);
    for (size_t c = 0; c < n; c++)
        free(buffers[c]);
}

/* Maps one of the buffers, or ends that. */
static void change_mapping(void)
{
    unsigned which = take_below(MAPPED_MAX);
    struct mf_error err = {0};
    uint64_t *address = &play.addresses[which];
    if (*address) {
        /* Also of a sandbox that is poisoned. */
        CHECK(mf_sandbox_unmap(play.sandbox, *address, &err) == 0);
        *address = 0;
    } else if (mf_sandbox_map(play.sandbox, mapped[which], MAPPED_BYTES, take_below(2), address,
                              &err) != 0) {
        *address = 0;
        check_result(err.code, &err);
    }
}

/* What an embedder may do in a host function and between calls, wise or not. */
static void do_something(void)
{
    struct mf_sandbox *sandbox = play.sandbox;
    struct mf_error err = {0};
    int status;
    switch (take_below(12)) {
    case 0:
        mf_sandbox_interrupt(sandbox);
        break;
    case 1: {
        size_t len = take(2);
        uint8_t *scratch = mf_sandbox_scratch(sandbox, len);
        if (scratch)
            memset(scratch, 0x5a, len);
        break;
    }
    case 2:
        check_result(mf_sandbox_run(sandbox, &status, &err), &err);
        break;
    case 3:
        check_result(mf_sandbox_start(sandbox, &err), &err);
        break;
    case 4:
        change_mapping();
        break;
    case 5:
    case 6:
    case 7:
        call_batch();
        break;
    default:
        call_guest();
        break;
    }
}

static int host_function(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                         struct mf_value *result, struct mf_error *err)
{
    const struct mf_signature *signature = context;
    CHECK(sandbox == play.sandbox && mf_sandbox_poisoned(sandbox) == MF_OK);
    CHECK(play.host_depth <= MAX_DEPTH);
    for (size_t i = 0; i < signature->nparams; i++)
        check_value(&arg[i], signature->params[i].type);
    play.host_depth++;
    while (take_below(3) == 0 && play.size > 0)
        do_something();
    play.host_depth--;
    /* The arguments are still there. */
    for (size_t i = 0; i < signature->nparams; i++)
        check_value(&arg[i], signature->params[i].type);
    unsigned how = take_below(8);
    if (how == 0)
        return mf_fail(err, MF_E_HOST_FUNCTION, "it failed");
    *result = take_value(how == 1 ? MF_I32 : signature->result);
    return 0;
}

static ssize_t fake_read(void *context, void *buf, size_t len)
{
    (void)context;
    size_t got;
    const uint8_t *bytes = take_bytes(len, &got);
    memcpy(buf, bytes, got);
    return take_below(8) == 0 ? -(ssize_t)take(2) : (ssize_t)got;
}

static ssize_t fake_write(void *context, int fd, const void *buf, size_t len)
{
    (void)context;
    (void)buf;
    CHECK((fd == 1 || fd == 2) && len > 0 && len <= MAX_OUTPUT);
    return take_below(4) == 0 ? (ssize_t)(int16_t)take(2) : (ssize_t)len;
}

static void fake_log(void *context, enum mf_log_level level, const char *text, size_t len)
{
    size_t bad;
    (void)context;
    CHECK(level <= MF_LOG_DEBUG && strlen(text) == len && text_is_utf8(text, len, &bad));
}

/* ---- One play ---- */

static const char *const exports[] = {
    "void nothing()",
    "i32 inc(i32 n)",
    "string greet(string name)",
    "bytes blob(bytes b, u32 n)",
    "f64 mix(bool a, u32 b, i64 c, u64 d, f32 e, f64 f, string g, bytes h)",
};
static const char *const imports[] = {
    "void ping()",
    "i64 add(i64 a, i64 b)",
    "string echo(string s, bytes b)",
    "bytes make(u32 n)",
};

static struct mf_image *build_image(void)
{
    static struct elf_build b;
    struct mf_image *image;
    build_guest(&b);
    for (size_t i = 0; i < ARRAY_LEN(exports); i++)
        build_record(&b, MF_ABI_RECORD_EXPORT, exports[i]);
    for (size_t i = 0; i < ARRAY_LEN(imports); i++)
        build_record(&b, MF_ABI_RECORD_IMPORT, imports[i]);
    CHECK(mf_image_from_memory(b.bytes, b.len, "fuzz", &image, NULL) == 0);
    return image;
}

static struct mf_host *build_host(void)
{
    static struct mf_signature signatures[ARRAY_LEN(imports)];
    struct mf_host *host;
    CHECK(mf_host_create(&host, NULL) == 0);
    for (size_t i = 0; i < ARRAY_LEN(imports); i++) {
        CHECK(mf_signature_parse(imports[i], &signatures[i], NULL) == 0);
        CHECK(mf_host_add(host, imports[i], host_function, &signatures[i], NULL) == 0);
    }
    return host;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mf_image *image = build_image();
    struct mf_host *host = build_host();
    struct mf_error err = {0};
    memset(&play, 0, sizeof play);
    memset(large, 'm', sizeof large);
    play.data = data;
    play.size = size;
    struct mf_sandbox_options options = {
        .size = sizeof options,
        .backend = MF_BACKEND_SOFT,
        .memory_bytes = MEMORY_BYTES,
        .stack_bytes = 16 << 10,
        .mailbox_bytes = UINT64_C(4096) << take_below(3),
        .max_output_bytes = MAX_OUTPUT,
        .max_host_calls = MAX_HOST_CALLS,
        .max_depth = MAX_DEPTH,
        .io = {.read = fake_read, .write = fake_write, .log = fake_log},
    };
    CHECK(mf_sandbox_create(image, host, &options, &play.sandbox, &err) == 0);
    while (play.size > 0) {
        do_something();
        CHECK(play.sandbox->depth == 0 && !play.sandbox->innermost);
        CHECK(play.sandbox->state != SANDBOX_RUNNING);
        check_address_space();
    }
    mf_sandbox_destroy(play.sandbox);
    mf_host_destroy(host);
    mf_image_close(image);
    return 0;
}
