/*
 * Puts a program into fresh guest memory: segments, brk, stack with arguments,
 * environment and auxiliary vector (System V ABI, AMD64 supplement, 3.4.1), the
 * boot page, and for guests of the SDK the mailbox (abi/mailbox.h).
 */
#include "abi/memory_map.h"
#include "abi/version.h"
#include "base/checked.h"
#include "base/error.h"
#include "mem/pagetable.h"
#include "sandbox/sandbox.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define CONTROL_BYTES PAGE_BYTES
#define ENTROPY_BYTES 16
#define CLOCK_TICKS 100
#define PLATFORM "x86_64"

static int get_entropy(void *buf, size_t len, struct mf_error *err)
{
    ssize_t got = getrandom(buf, len, 0);
    if (got != (ssize_t)len)
        return error_set_errno(err, MF_E_SYSTEM, errno, "cannot get random bytes");
    return 0;
}

/* ---- segments ---- */

/* Writes to mapped guest pages with the loader's right to all of them. */
static void write_pages(struct mf_sandbox *sandbox, mf_gva gva, const uint8_t *src, uint64_t len)
{
    while (len > 0) {
        struct pt_page page;
        uint64_t offset = gva & PAGE_MASK_LOW;
        uint64_t piece = MIN(len, PAGE_BYTES - offset);
        if (!pt_lookup(&sandbox->mem, gva, &page))
            return; /* cannot be: the caller mapped the range */
        memcpy((uint8_t *)mem_at(&sandbox->mem, page.gpa) + offset, src, piece);
        gva += piece;
        src += piece;
        len -= piece;
    }
}

static unsigned segment_prot(const struct elf_segment *segment)
{
    return (segment->readable ? PT_READ : 0) | (segment->writable ? PT_READ | PT_WRITE : 0) |
           (segment->executable ? PT_READ | PT_EXEC : 0);
}

/*
 * Segments come sorted, and two on the same page have the same rights: the second
 * then begins on the page after.
 */
static int load_segments(struct mf_sandbox *sandbox, struct mf_error *err)
{
    const struct elf *elf = &sandbox->image->elf;
    mf_gva mapped = 0;
    for (size_t i = 0; i < elf->nsegments; i++) {
        const struct elf_segment *segment = &elf->segments[i];
        mf_gva start = MAX(round_down_u64(segment->address, PAGE_BYTES), mapped);
        /* elf_parse saw to it that this does not wrap. */
        mf_gva end = round_down_u64(segment->address + segment->memory_bytes + PAGE_BYTES - 1,
                                    PAGE_BYTES);
        if (end > start) {
            int rc = addrspace_add(&sandbox->as, start, end - start, segment_prot(segment),
                                   AREA_IMAGE, err);
            if (rc == MF_E_NO_MEMORY)
                return error_set(err, MF_E_ARGUMENT,
                                 "%s takes %llu bytes; that does not fit into %llu MiB of guest "
                                 "memory: raise memory_bytes (option --memory)",
                                 sandbox->image->name, (unsigned long long)(elf->high - elf->low),
                                 (unsigned long long)(sandbox->options.memory_bytes >> 20));
            if (rc != 0)
                return rc;
            mapped = end;
        }
        write_pages(sandbox, segment->address, sandbox->image->bytes + segment->file_offset,
                    segment->file_bytes);
    }
    addrspace_set_brk(&sandbox->as, elf->high + LAYOUT_BRK_GAP);
    return 0;
}

/* ---- stack ---- */

/* The bytes at the top of the stack, built downwards from its end. */
struct stack_image {
    uint8_t *bytes; /* host address of the lowest byte that may be used */
    uint64_t room;  /* bytes that are left */
    mf_gva gva;     /* guest address of `bytes` */
};

/* Takes `len` bytes below what was taken before; 0 when there is no room. */
static mf_gva push_bytes(struct stack_image *stack, const void *src, uint64_t len, uint64_t align)
{
    if (len + align > stack->room)
        return 0;
    stack->room = round_down_u64(stack->room - len, align);
    memcpy(stack->bytes + stack->room, src, len);
    return stack->gva + stack->room;
}

static size_t count_strings(char **list)
{
    size_t n = 0;
    while (list[n])
        n++;
    return n;
}

/* Pushes the last string first, so that they stand in order, and notes where. */
static bool push_strings(struct stack_image *stack, char **list, size_t n, uint64_t *words)
{
    while (n-- > 0) {
        words[n] = push_bytes(stack, list[n], strlen(list[n]) + 1, 1);
        if (words[n] == 0)
            return false;
    }
    return true;
}

static void push_auxv(const struct mf_sandbox *sandbox, mf_gva random, mf_gva platform,
                      mf_gva name, uint64_t *words, size_t *n)
{
    const struct elf *elf = &sandbox->image->elf;
    const uint64_t auxv[][2] = {
        {AT_PHDR, elf->phdr_address},
        {AT_PHENT, elf->phdr_size},
        {AT_PHNUM, elf->phdr_address ? elf->phdr_count : 0},
        {AT_PAGESZ, PAGE_BYTES},
        {AT_BASE, 0},
        {AT_FLAGS, 0},
        {AT_ENTRY, elf->entry},
        {AT_UID, 0},
        {AT_EUID, 0},
        {AT_GID, 0},
        {AT_EGID, 0},
        {AT_SECURE, 0},
        {AT_CLKTCK, CLOCK_TICKS},
        {AT_HWCAP, 0},
        {AT_PLATFORM, platform},
        {AT_EXECFN, name},
        {AT_RANDOM, random},
        {AT_NULL, 0},
    };
    memcpy(words + *n, auxv, sizeof auxv);
    *n += 2 * ARRAY_LEN(auxv);
}

/* Words of the auxiliary vector, at most, and of argc with the two terminators. */
#define WORDS_FIXED 48

/*
 * From the top: zero bytes, environment strings, argument strings, what the
 * auxiliary vector points to, and the table that the stack pointer points to. The
 * order is that of Linux, and the zeros at the top are too: programs look at what
 * stands behind their strings (static glibc reads past its GLIBC_TUNABLES).
 */
static int build_stack(struct mf_sandbox *sandbox, struct stack_image *stack, mf_gva *sp,
                       struct mf_error *err)
{
    static const uint8_t zeros[16];
    uint8_t random[ENTROPY_BYTES];
    int rc = get_entropy(random, sizeof random, err);
    if (rc != 0)
        return rc;
    size_t nargs = count_strings(sandbox->args), nenv = count_strings(sandbox->env);
    uint64_t *words = calloc(nargs + nenv + WORDS_FIXED, sizeof *words);
    if (!words)
        return error_set(err, MF_E_NO_MEMORY, "cannot build the guest's stack");

    rc = MF_E_ARGUMENT;
    push_bytes(stack, zeros, sizeof zeros, 1);
    uint64_t *args = words + 1, *env = args + nargs + 1;
    words[0] = nargs;
    if (push_strings(stack, sandbox->env, nenv, env) &&
        push_strings(stack, sandbox->args, nargs, args)) {
        mf_gva platform_at = push_bytes(stack, PLATFORM, sizeof PLATFORM, 1);
        mf_gva random_at = push_bytes(stack, random, sizeof random, 16);
        size_t n = 1 + nargs + 1 + nenv + 1;
        push_auxv(sandbox, random_at, platform_at, nargs ? args[0] : platform_at, words, &n);
        /* The stack pointer is 16-aligned at the program's first instruction. */
        *sp = push_bytes(stack, words, n * sizeof *words, 16);
        rc = *sp != 0 && random_at != 0 && platform_at != 0 ? 0 : MF_E_ARGUMENT;
    }
    free(words);
    return rc;
}

static int load_stack(struct mf_sandbox *sandbox, struct mf_error *err)
{
    uint64_t bytes = sandbox->options.stack_bytes;
    sandbox->stack_high = LAYOUT_GVA_STACK_TOP;
    sandbox->stack_low = LAYOUT_GVA_STACK_TOP - bytes;
    int rc = addrspace_record(&sandbox->as, sandbox->stack_low - LAYOUT_STACK_GUARD,
                              LAYOUT_STACK_GUARD, PT_NONE, AREA_GUARD, err);
    if (rc != 0)
        return rc;
    mf_gpa gpa;
    uint64_t pages = bytes / PAGE_BYTES;
    rc = MF_E_NO_MEMORY;
    if (mem_run_alloc(&sandbox->mem, pages, &gpa))
        rc = sandbox->vm->ops->map_at(sandbox->vm, sandbox->stack_low, gpa, pages,
                                      PT_READ | PT_WRITE | PT_USER, err);
    if (rc == MF_E_NO_MEMORY)
        return error_set(err, MF_E_ARGUMENT,
                         "a stack of %llu KiB does not fit into %llu MiB of guest memory beside "
                         "the program: raise memory_bytes (option --memory)",
                         (unsigned long long)(bytes >> 10),
                         (unsigned long long)(sandbox->options.memory_bytes >> 20));
    if (rc == 0)
        rc = addrspace_record(&sandbox->as, sandbox->stack_low, bytes, PT_READ | PT_WRITE,
                              AREA_STACK, err);
    if (rc != 0)
        return rc;
    /* Arguments get the upper half: the program keeps at least half of its stack. */
    struct stack_image stack = {
        .bytes = (uint8_t *)mem_at(&sandbox->mem, gpa) + bytes / 2,
        .room = bytes / 2,
        .gva = sandbox->stack_low + bytes / 2,
    };
    rc = build_stack(sandbox, &stack, &sandbox->entry_stack, err);
    if (rc == MF_E_ARGUMENT)
        return error_set(err, MF_E_ARGUMENT,
                         "arguments and environment take more than half of the stack: raise "
                         "stack_bytes (option --stack)");
    return rc;
}

/* ---- boot page and mailbox ---- */

static int load_boot(struct mf_sandbox *sandbox, struct mf_error *err)
{
    struct mf_abi_boot *boot = mem_at(&sandbox->mem, LAYOUT_GPA(BOOT));
    sandbox->boot = boot;
    *boot = (struct mf_abi_boot){
        .magic = MF_ABI_BOOT_MAGIC,
        .size = sizeof *boot,
        .version = MF_ABI_VERSION,
        .min_version = MF_ABI_MIN_VERSION,
        .mode = MF_ABI_MODE_RUN,
        .features = MF_ABI_FEATURES,
        .generation = 1,
        .memory_bytes = sandbox->options.memory_bytes,
    };
    int rc = get_entropy(boot->entropy, sizeof boot->entropy, err);
    if (rc == 0)
        rc = sandbox->vm->ops->map_at(sandbox->vm, MF_ABI_GVA_BOOT, LAYOUT_GPA(BOOT), 1,
                                      PT_READ | PT_USER, err);
    if (rc == 0)
        rc = addrspace_record(&sandbox->as, MF_ABI_GVA_BOOT, PAGE_BYTES, PT_READ, AREA_SYSTEM, err);
    if (rc == 0)
        rc = addrspace_record(&sandbox->as, MF_ABI_GVA_BOOT + PAGE_BYTES,
                              MF_ABI_GVA_MAILBOX - MF_ABI_GVA_BOOT - PAGE_BYTES, PT_NONE,
                              AREA_GUARD, err);
    return rc;
}

/* Takes adjacent guest physical pages for an area and maps them, `times` in a row. */
static int load_area(struct mf_sandbox *sandbox, struct mailbox_area *area, uint64_t bytes,
                     unsigned times, uint64_t *offset, struct mf_error *err)
{
    struct mem *mem = &sandbox->mem;
    mf_gva gva = MF_ABI_GVA_MAILBOX + *offset;
    uint64_t pages = bytes / PAGE_BYTES;
    if (!mem_run_alloc(mem, pages, &area->gpa))
        return error_set(err, MF_E_ARGUMENT,
                         "a mailbox of %llu KiB does not fit into %llu MiB of guest memory: raise "
                         "memory_bytes (option --memory)",
                         (unsigned long long)(sandbox->options.mailbox_bytes >> 10),
                         (unsigned long long)(sandbox->options.memory_bytes >> 20));
    area->base = mem_at(mem, area->gpa);
    area->size = (uint32_t)bytes;
    area->offset = *offset;
    for (unsigned i = 0; i < times; i++) {
        int rc = sandbox->vm->ops->map_at(sandbox->vm, gva + i * bytes, area->gpa, pages,
                                          PT_READ | PT_WRITE | PT_USER, err);
        if (rc != 0)
            return rc;
    }
    int rc = addrspace_record(&sandbox->as, gva, times * bytes, PT_READ | PT_WRITE, AREA_SYSTEM,
                              err);
    /* A page that is never mapped follows each area. */
    if (rc == 0)
        rc = addrspace_record(&sandbox->as, gva + times * bytes, PAGE_BYTES, PT_NONE, AREA_GUARD,
                              err);
    *offset += times * bytes + PAGE_BYTES;
    return rc;
}

static int load_mailbox(struct mf_sandbox *sandbox, struct mf_error *err)
{
    struct mailbox_area control;
    uint64_t offset = 0, bytes = sandbox->options.mailbox_bytes;
    int rc = load_area(sandbox, &control, CONTROL_BYTES, 1, &offset, err);
    if (rc == 0)
        rc = load_area(sandbox, &sandbox->rings.call, bytes, 2, &offset, err);
    if (rc == 0)
        rc = load_area(sandbox, &sandbox->rings.result, bytes, 2, &offset, err);
    if (rc == 0)
        rc = load_area(sandbox, &sandbox->exchange, bytes, 1, &offset, err);
    if (rc != 0)
        return rc;
    struct mf_abi_boot *boot = sandbox->boot;
    boot->mailbox_bytes = offset;
    boot->call_ring = sandbox->rings.call.offset;
    boot->call_ring_size = sandbox->rings.call.size;
    boot->result_ring = sandbox->rings.result.offset;
    boot->result_ring_size = sandbox->rings.result.size;
    boot->exchange = sandbox->exchange.offset;
    boot->exchange_size = sandbox->exchange.size;
    sandbox->rings.mem = &sandbox->mem;
    sandbox->rings.control = (struct mf_abi_control *)control.base;
    sandbox->rings.control_gpa = control.gpa;
    return 0;
}

int load_program(struct mf_sandbox *sandbox, struct mf_error *err)
{
    int rc = load_segments(sandbox, err);
    if (rc == 0)
        rc = load_stack(sandbox, err);
    if (rc == 0)
        rc = load_boot(sandbox, err);
    if (rc == 0 && sandbox->image->abi_version != 0)
        rc = load_mailbox(sandbox, err);
    if (rc == 0)
        sandbox->entry = sandbox->image->elf.entry;
    return rc;
}
