/*
 * Builds a small snapshot by hand, whole and right, without any VM: a sandbox of an SDK
 * program (elf_build.h) in 1 MiB of memory. Its contents are always the same. A test spoils it in
 * one place before it is made, or changes some pages and makes a child.
 */
#ifndef TESTS_SNAPSHOT_BUILD_H
#define TESTS_SNAPSHOT_BUILD_H

#include "abi/memory_map.h"
#include "abi/ports.h"
#include "mem/pagetable.h"
#include "snapshot/pages.h"
#include "snapshot/snapshot.h"
#include "tests/unit/elf_build.h"
#include "vm/x86.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SNAP_BUILD_MEMORY (UINT64_C(1) << 20)
#define SNAP_BUILD_STACK (UINT64_C(16) << 10)
#define SNAP_BUILD_MAILBOX UINT64_C(4096)
#define SNAP_BUILD_HEAP UINT64_C(0x500000)
#define SNAP_BUILD_AREAS 24

struct snap_build {
    struct mf_image *image;
    struct mem mem;
    struct saved_state saved; /* areas and mem_free point into this struct */
    struct area areas[SNAP_BUILD_AREAS];
    uint32_t free[8];
    mf_gpa heap; /* its first page */
};

/* What the build itself needs never fails in a test that can go on. */
static inline void snap_build_must(bool ok)
{
    if (!ok)
        abort();
}

static inline struct mf_image *snap_build_image(void)
{
    static struct elf_build elf;
    struct mf_image *image;
    build_guest(&elf);
    build_record(&elf, MF_ABI_RECORD_EXPORT, "i32 twice(i32 number)");
    build_record(&elf, MF_ABI_RECORD_IMPORT, "u64 clock()");
    build_record(&elf, MF_ABI_RECORD_IMPORT, "void print(string text)");
    build_write_note(&elf, 0x10000, 0x10000, 0);
    int rc = mf_image_from_memory(elf.bytes, elf.len, "/some/where/built", &image, NULL);
    snap_build_must(rc == 0);
    return image;
}

static inline void snap_build_area(struct snap_build *b, mf_gva start, uint64_t bytes,
                                   unsigned prot, enum area_kind kind)
{
    snap_build_must(b->saved.nareas < SNAP_BUILD_AREAS);
    b->areas[b->saved.nareas++] =
        (struct area){start, start + bytes, prot, kind, prot != PT_NONE};
}

/* An area with pages of its own, the first at the address that it returns. */
static inline mf_gpa snap_build_pages(struct snap_build *b, mf_gva start, uint64_t bytes,
                                      unsigned prot, enum area_kind kind)
{
    mf_gpa gpa;
    uint64_t n = bytes / PAGE_BYTES;
    snap_build_must(mem_run_alloc(&b->mem, n, &gpa));
    snap_build_must(pt_map_run(&b->mem, start, gpa, n, prot | PT_USER));
    snap_build_area(b, start, bytes, prot, kind);
    return gpa;
}

static inline struct saved_area snap_build_ring(struct snap_build *b, uint64_t *offset,
                                                uint64_t bytes, unsigned times)
{
    mf_gva gva = MF_ABI_GVA_MAILBOX + *offset;
    struct saved_area area = {.size = (uint32_t)bytes, .offset = *offset};
    snap_build_must(mem_run_alloc(&b->mem, bytes / PAGE_BYTES, &area.gpa));
    for (unsigned i = 0; i < times; i++)
        snap_build_must(pt_map_run(&b->mem, gva + i * bytes, area.gpa, bytes / PAGE_BYTES,
                                   PT_READ | PT_WRITE | PT_USER));
    snap_build_area(b, gva, times * bytes, PT_READ | PT_WRITE, AREA_SYSTEM);
    snap_build_area(b, gva + times * bytes, PAGE_BYTES, PT_NONE, AREA_GUARD);
    *offset += times * bytes + PAGE_BYTES;
    return area;
}

static inline void snap_build_system(struct snap_build *b)
{
    uint64_t offset = 0;
    snap_build_must(pt_map(&b->mem, MF_ABI_GVA_BOOT, LAYOUT_GPA(BOOT), PT_READ | PT_USER));
    snap_build_area(b, MF_ABI_GVA_BOOT, PAGE_BYTES, PT_READ, AREA_SYSTEM);
    snap_build_area(b, MF_ABI_GVA_BOOT + PAGE_BYTES,
                    MF_ABI_GVA_MAILBOX - MF_ABI_GVA_BOOT - PAGE_BYTES, PT_NONE, AREA_GUARD);
    b->saved.control_gpa = snap_build_ring(b, &offset, PAGE_BYTES, 1).gpa;
    b->saved.call_ring = snap_build_ring(b, &offset, SNAP_BUILD_MAILBOX, 2);
    b->saved.result_ring = snap_build_ring(b, &offset, SNAP_BUILD_MAILBOX, 2);
    b->saved.exchange = snap_build_ring(b, &offset, SNAP_BUILD_MAILBOX, 1);
}

static inline void snap_build_free_pages(struct snap_build *b)
{
    mf_gpa gpa[3];
    for (unsigned i = 0; i < 3; i++)
        snap_build_must(mem_page_alloc(&b->mem, &gpa[i]));
    for (unsigned i = 0; i < 3; i++) {
        mem_page_free(&b->mem, gpa[i]);
        b->free[i] = (uint32_t)(gpa[i] >> PAGE_SHIFT);
    }
    b->saved.mem_free = b->free;
    b->saved.mem_nfree = 3;
}

static inline void snap_build_cpu(struct vm_state *cpu)
{
    cpu->regs = (struct mf_registers){.rax = 1, .rsp = LAYOUT_GVA_STACK_TOP - 64,
                                      .rip = BUILD_BASE + BUILD_CODE, .rflags = 0x202};
    cpu->segment_base[0] = SNAP_BUILD_HEAP;
    for (unsigned i = 0; i < 4; i++)
        cpu->segment[i] = i < 2 ? 0 : X86_SEL_USER_DATA;
    cpu->fpu.components = VM_X87 | VM_SSE | VM_AVX;
    cpu->fpu.fxsave[0] = X86_FCW & 0xff;
    cpu->fpu.fxsave[1] = X86_FCW >> 8;
    cpu->fpu.fxsave[24] = X86_MXCSR & 0xff;
    cpu->fpu.fxsave[25] = X86_MXCSR >> 8;
    for (unsigned i = 0; i < sizeof cpu->fpu.ymm_high; i++)
        cpu->fpu.ymm_high[i / 16][i % 16] = (uint8_t)(i * 7);
}

/* Memory, address space and state. For snap_build_fini. */
static inline void snap_build(struct snap_build *b)
{
    memset(b, 0, sizeof *b);
    b->image = snap_build_image();
    snap_build_must(mem_init(&b->mem, SNAP_BUILD_MEMORY, NULL) == 0);
    snap_build_must(x86_build(&b->mem, MF_ABI_PORT_FIRST, MF_ABI_PORT_LAST));
    b->saved.areas = b->areas;
    for (unsigned i = 0; i < b->image->elf.nsegments; i++) {
        const struct elf_segment *s = &b->image->elf.segments[i];
        mf_gpa gpa = snap_build_pages(
            b, s->address, (s->memory_bytes + PAGE_MASK_LOW) & ~PAGE_MASK_LOW,
            PT_READ | (s->writable ? PT_WRITE : 0) | (s->executable ? PT_EXEC : 0), AREA_IMAGE);
        memcpy(mem_at(&b->mem, gpa), b->image->bytes + s->file_offset, s->file_bytes);
    }
    b->heap = snap_build_pages(b, SNAP_BUILD_HEAP, 4 * PAGE_BYTES, PT_READ | PT_WRITE, AREA_HEAP);
    /* Two equal pages, a zero one, and one of its own. */
    memset(mem_at(&b->mem, b->heap), 0x5a, 2 * PAGE_BYTES);
    for (unsigned i = 0; i < PAGE_BYTES; i++)
        *((uint8_t *)mem_at(&b->mem, b->heap + 3 * PAGE_BYTES) + i) = (uint8_t)(i ^ i >> 8);
    snap_build_system(b);
    snap_build_area(b, LAYOUT_GVA_STACK_TOP - SNAP_BUILD_STACK - LAYOUT_STACK_GUARD,
                    LAYOUT_STACK_GUARD, PT_NONE, AREA_GUARD);
    snap_build_pages(b, LAYOUT_GVA_STACK_TOP - SNAP_BUILD_STACK, SNAP_BUILD_STACK,
                     PT_READ | PT_WRITE, AREA_STACK);
    snap_build_free_pages(b);
    snap_build_cpu(&b->saved.cpu);
    struct saved_state *s = &b->saved;
    s->memory_bytes = SNAP_BUILD_MEMORY;
    s->mem_next = b->mem.next;
    s->brk_start = SNAP_BUILD_HEAP;
    s->brk = SNAP_BUILD_HEAP + 4 * PAGE_BYTES;
    s->stack_bytes = SNAP_BUILD_STACK;
    s->mailbox_bytes = SNAP_BUILD_MAILBOX;
    s->started = 1;
    s->entry = b->image->elf.entry;
    s->entry_stack = s->cpu.regs.rsp;
    s->stack_high = LAYOUT_GVA_STACK_TOP;
    s->stack_low = LAYOUT_GVA_STACK_TOP - SNAP_BUILD_STACK;
    s->call_tail = s->result_head = 128;
    s->next_id = 7;
    s->sys.closed[1] = true;
    s->sys.signal_mask = 0x10;
    s->sys.signal_handlers[11][0] = 0x401000;
    s->sys.denied[41] = 3;
    s->monotonic_ns = 1000000;
    s->cpu_ns = 500;
    s->output_bytes = 12;
    s->backend = MF_BACKEND_KVM;
}

static inline void snap_build_fini(struct snap_build *b)
{
    mem_fini(&b->mem);
    mf_image_close(b->image);
}

/* A copy of the state whose arrays are from malloc, as snapshots have them. */
static inline struct saved_state snap_build_saved(const struct snap_build *b)
{
    struct saved_state saved = b->saved;
    saved.areas = calloc(saved.nareas + 1, sizeof *saved.areas);
    saved.mem_free = calloc(saved.mem_nfree + 1, sizeof *saved.mem_free);
    snap_build_must(saved.areas && saved.mem_free);
    memcpy(saved.areas, b->saved.areas, saved.nareas * sizeof *saved.areas);
    memcpy(saved.mem_free, b->saved.mem_free, saved.mem_nfree * sizeof *saved.mem_free);
    return saved;
}

#define SNAP_BUILD_TAKEN_NS UINT64_C(1700000000000000000)

/* The snapshot without a parent. */
static inline struct mf_snapshot *snap_build_take(struct snap_build *b)
{
    struct saved_state saved = snap_build_saved(b);
    struct mem_root *root;
    struct mf_snapshot *snapshot;
    int fd = memfd_create("test", MFD_CLOEXEC);
    struct mem_run *run = malloc(sizeof *run);
    snap_build_must(fd >= 0 && run != NULL);
    *run = (struct mem_run){.bytes = SNAP_BUILD_MEMORY};
    snap_build_must(pwrite(fd, b->mem.base, SNAP_BUILD_MEMORY, 0) == (ssize_t)SNAP_BUILD_MEMORY);
    snap_build_must(mem_root_create(fd, run, 1, false, &root, NULL) == 0);
    snap_build_must(snap_create(b->image, NULL, root, &saved, NULL, &snapshot, NULL) == 0);
    mem_root_close(root);
    snapshot->taken_unix_ns = SNAP_BUILD_TAKEN_NS;
    return snapshot;
}

/* The child that memory has become since. */
static inline struct mf_snapshot *snap_build_child(struct snap_build *b,
                                                   struct mf_snapshot *parent)
{
    struct saved_state saved = snap_build_saved(b);
    struct snap_pages pages;
    struct mf_snapshot *snapshot;
    uint8_t before[PAGE_BYTES];
    uint32_t npages = SNAP_BUILD_MEMORY / PAGE_BYTES;
    snap_build_must(snap_pages_init(&pages, npages, NULL) == 0);
    for (uint32_t p = 0; p < npages; p++) {
        const uint8_t *now = mem_at(&b->mem, (mf_gpa)p * PAGE_BYTES);
        snap_build_must(snap_read(parent, p, before));
        if (memcmp(before, now, PAGE_BYTES) != 0)
            snap_pages_add(&pages, p, now);
    }
    snap_build_must(snap_create(b->image, parent, NULL, &saved, &pages, &snapshot, NULL) == 0);
    snapshot->taken_unix_ns = SNAP_BUILD_TAKEN_NS + 1;
    return snapshot;
}

#endif
