/*
 * Large arguments in the guest (map_place), on each backend: the bytes, what is around
 * them, and that nothing is left. The guest's view is read through its page tables;
 * a piece of machine code shows that the CPU has the same one.
 */
#include "base/checked.h"
#include "mem/guestmem.h"
#include "mem/pagetable.h"
#include "sandbox/sandbox.h"
#include "vm/x86.h"

#include <mayfly/map.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define CODE UINT64_C(0x400000)
#define DATA_PAGES 64
#define COPIED UINT64_C(5000) /* an argument that is copied as a whole */

struct fixture {
    struct mf_sandbox sandbox;
    uint8_t *data; /* random bytes, never 0 */
};

static enum mf_backend backend;

/* movzbl (%rdi), %eax; out %al, $0xb0 */
static const uint8_t code[] = {0x0f, 0xb6, 0x07, 0xe6, 0xb0};
/* mov %al, (%rdi); out %al, $0xb0: stands behind it */
static const uint8_t write_code[] = {0x88, 0x07, 0xe6, 0xb0};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct mf_sandbox *s = &f->sandbox;
    const struct vm_ops *ops;
    struct pt_page page;
    struct mf_error err = {0};
    if (vm_backend_get(backend, &ops, &err) != 0 || mem_init(&s->mem, 4 << 20, &err) != 0)
        fail_msg("%s", err.message);
    assert_true(x86_build(&s->mem, 0xb0, 0xb3));
    struct vm_config config = {.mem = &s->mem, .interrupt_signal = -1};
    if (ops->create(&config, &s->vm, &err) != 0 || addrspace_init(&s->as, s->vm, &err) != 0 ||
        addrspace_add(&s->as, CODE, PAGE_BYTES, PT_READ | PT_EXEC, AREA_IMAGE, &err) != 0)
        fail_msg("%s", err.message);
    assert_true(pt_lookup(&s->mem, CODE, &page));
    memcpy(mem_at(&s->mem, page.gpa), code, sizeof code);
    memcpy((uint8_t *)mem_at(&s->mem, page.gpa) + sizeof code, write_code, sizeof write_code);
    s->state = SANDBOX_READY;
    f->data = mmap(NULL, DATA_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f->data != MAP_FAILED);
    for (size_t i = 0; i < DATA_PAGES * PAGE_BYTES; i++)
        f->data[i] = (uint8_t)(i * 31 + i / 4096) | 1;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    map_fini(&f->sandbox);
    addrspace_fini(&f->sandbox.as);
    f->sandbox.vm->ops->destroy(f->sandbox.vm);
    mem_fini(&f->sandbox.mem);
    munmap(f->data, DATA_PAGES * PAGE_BYTES);
    free(f);
    return 0;
}

static mf_gva place_at(struct fixture *f, uint64_t offset, uint64_t len, bool terminated,
                       unsigned level, bool copy)
{
    struct mf_error err;
    mf_gva gva = 0;
    if (map_place(&f->sandbox, f->data + offset, len, terminated, level, copy, &gva, &err) != 0)
        fail_msg("%s", err.message);
    return gva;
}

static mf_gva place(struct fixture *f, uint64_t offset, uint64_t len, bool terminated)
{
    return place_at(f, offset, len, terminated, MAP_LEVEL_CALL, false);
}

static void release(struct fixture *f)
{
    map_release(&f->sandbox, MAP_LEVEL_CALL);
}

/* The byte that the CPU reads at `gva`; -1 for a page fault there. */
static int cpu_read(struct fixture *f, mf_gva gva)
{
    struct vm *vm = f->sandbox.vm;
    struct vm_exit exit;
    struct mf_error err;
    vm->regs->rip = CODE;
    vm->regs->rdi = gva;
    vm->regs->rflags = X86_RFLAGS;
    vm->regs_changed = true;
    if (vm->ops->run(vm, &exit, &err) != 0)
        fail_msg("%s", err.message);
    if (exit.kind == VM_EXIT_IO)
        return (int)vm->regs->rax;
    assert_int_equal(exit.kind, VM_EXIT_EXCEPTION);
    assert_int_equal(exit.address, gva);
    return -1;
}

/* The guest sees these bytes, read-only, zeros around them, and nothing else. */
static void check_placed(struct fixture *f, mf_gva gva, uint64_t offset, uint64_t len,
                         bool terminated)
{
    struct mem *mem = &f->sandbox.mem;
    mf_gva first = gva & ~PAGE_MASK_LOW;
    uint64_t before = gva - first, bytes = 0;
    assert_true(round_up_u64(before + len + terminated, PAGE_BYTES, &bytes));
    assert_int_equal(before, (uintptr_t)(f->data + offset) % PAGE_BYTES);
    assert_int_equal(guestmem_reach(mem, first, UINT64_MAX, false), bytes);
    assert_int_equal(guestmem_reach(mem, first, UINT64_MAX, true), 0);
    assert_int_equal(guestmem_reach(mem, first - 1, 1, false), 0);
    uint8_t *copy = malloc(bytes);
    assert_true(guestmem_read(mem, copy, first, bytes));
    assert_memory_equal(copy + before, f->data + offset, len);
    for (uint64_t i = 0; i < before; i++)
        assert_int_equal(copy[i], 0);
    for (uint64_t i = before + len; i < bytes; i++)
        assert_int_equal(copy[i], 0);
    free(copy);
}

static void test_place(void **state)
{
    struct fixture *f = *state;
    static const uint64_t lens[] = {
        1,     2,     4095,  4096,  4097,   COPIED, 65535,  65536,  65537,
        69632, 69633, 73727, 73728, 100000, 131072, 135168, 200001,
    };
    static const uint64_t offsets[] = {0, 1, 2047, 4095, 4096};
    for (size_t l = 0; l < ARRAY_LEN(lens); l++) {
        for (size_t o = 0; o < ARRAY_LEN(offsets); o++) {
            for (int terminated = 0; terminated < 2; terminated++) {
                mf_gva gva = place(f, offsets[o], lens[l], terminated);
                check_placed(f, gva, offsets[o], lens[l], terminated);
                release(f);
                assert_int_equal(guestmem_reach(&f->sandbox.mem, gva, 1, false), 0);
                assert_int_equal(f->sandbox.mem.nwindows, 0);
            }
        }
    }
    assert_int_equal(f->sandbox.mappings.count, 0);
    assert_int_equal(f->sandbox.as.nareas, 1);
}

/* Whole pages are the host's own, what is at the ends is not. */
static void test_no_copies(void **state)
{
    struct fixture *f = *state;
    const uint8_t *span;
    mf_gva gva = place(f, 100, 150000, true);
    assert_true(guestmem_span(&f->sandbox.mem, gva + 4096 - 100, 35 * PAGE_BYTES, &span));
    assert_ptr_equal(span, f->data + 4096);
    assert_true(guestmem_span(&f->sandbox.mem, gva, 1, &span));
    assert_ptr_not_equal(span, f->data + 100);
    f->data[5000] = 77;
    assert_int_equal(cpu_read(f, gva + 4900), 77);
}

/* Of a copy the caller's bytes may change and go; of the rest they are the caller's. */
static void test_copies(void **state)
{
    struct fixture *f = *state;
    mf_gva gva = place_at(f, 100, 150000, true, MAP_LEVEL_CALL, true);
    int before = f->data[5000];
    f->data[5000] ^= 2;
    assert_int_equal(cpu_read(f, gva + 4900), before);
    f->data[5000] ^= 2;
    check_placed(f, gva, 100, 150000, true);
}

/* A level ends with those above it, and not with those below. */
static void test_levels(void **state)
{
    struct fixture *f = *state;
    const struct mem *mem = &f->sandbox.mem;
    const unsigned level[] = {MAP_LEVEL_CALL, MAP_LEVEL_EXCHANGE(0), MAP_LEVEL_EXCHANGE(640),
                              MAP_LEVEL_EXCHANGE(64)};
    mf_gva gva[4];
    for (unsigned i = 0; i < 4; i++)
        gva[i] = place_at(f, i, 100000, true, level[i], false);
    map_release(&f->sandbox, MAP_LEVEL_EXCHANGE(64));
    assert_int_equal(guestmem_reach(mem, gva[3], 1, false), 0);
    assert_int_equal(guestmem_reach(mem, gva[2], 1, false), 0);
    check_placed(f, gva[1], 1, 100000, true);
    map_release(&f->sandbox, MAP_LEVEL_EXCHANGE(0));
    assert_int_equal(guestmem_reach(mem, gva[1], 1, false), 0);
    check_placed(f, gva[0], 0, 100000, true);
    release(f);
    assert_int_equal(f->sandbox.mappings.count, 0);
}

static void test_cpu_sees_it(void **state)
{
    struct fixture *f = *state;
    const uint64_t len = 40 * PAGE_BYTES;
    mf_gva gva = place(f, 100, len, true);
    const uint64_t places[] = {0, 1, 3995, 3996, 20000, 39 * PAGE_BYTES, len - 101, len - 1};
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        assert_int_equal(cpu_read(f, gva + places[i]), f->data[100 + places[i]]);
    assert_int_equal(cpu_read(f, gva - 1), 0);
    assert_int_equal(cpu_read(f, gva + len), 0);
    /* The same addresses, after a release, with other bytes. */
    release(f);
    assert_int_equal(place(f, 4196, len, true), gva);
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        assert_int_equal(cpu_read(f, gva + places[i]), f->data[4196 + places[i]]);
    release(f);
    assert_int_equal(cpu_read(f, gva + 20000), -1);
}

/* Placed ones and those of the caller do not disturb each other. */
static void test_beside_mappings(void **state)
{
    struct fixture *f = *state;
    struct mf_sandbox *s = &f->sandbox;
    uint64_t address;
    mf_gva gva;
    assert_int_equal(mf_sandbox_map(s, f->data, 8 * PAGE_BYTES, 0, &address, NULL), 0);
    mf_gva a = place(f, 0, COPIED, false), b = place(f, 9 * PAGE_BYTES, 30 * PAGE_BYTES, false);
    assert_int_equal(s->mappings.count, 3);
    check_placed(f, a, 0, COPIED, false);
    check_placed(f, b, 9 * PAGE_BYTES, 30 * PAGE_BYTES, false);
    assert_int_equal(mf_sandbox_unmap(s, b, NULL), MF_E_ARGUMENT);
    /* Found by where they are in the host; placed ones are not. */
    assert_true(map_find(s, f->data + 5, 8 * PAGE_BYTES - 5, &gva));
    assert_int_equal(gva, address + 5);
    assert_false(map_find(s, f->data + 5, 8 * PAGE_BYTES - 4, &gva));
    assert_false(map_find(s, f->data + 9 * PAGE_BYTES, PAGE_BYTES, &gva));
    assert_false(map_find(s, f->data - 1, 1, &gva));
    assert_false(map_find(s, f->data + 1, UINT64_MAX, &gva));
    release(f);
    assert_int_equal(s->mappings.count, 1);
    assert_int_equal(guestmem_reach(&s->mem, a, 1, false), 0);
    assert_int_equal(guestmem_reach(&s->mem, b, 1, false), 0);
    assert_int_equal(cpu_read(f, address + 9), f->data[9]);
    assert_int_equal(map_address_of(s, s->mappings.first ? s->mem.windows[0].gpa + 7 : 0),
                     address + 7);
    assert_int_equal(map_address_of(s, 0), 0);
    map_fini(s);
    assert_false(map_find(s, f->data, PAGE_BYTES, &gva));
    assert_int_equal(cpu_read(f, address), -1);
}

static void test_errors(void **state)
{
    struct fixture *f = *state;
    struct mf_sandbox *s = &f->sandbox;
    struct mf_error err;
    mf_gva gva;
    uint64_t address;
    assert_int_equal(map_place(s, f->data, UINT64_MAX, true, 1, false, &gva, &err),
                     MF_E_ARGUMENT);
    assert_int_equal(map_place(s, f->data, UINT64_C(1) << 63, false, 1, false, &gva, &err),
                     MF_E_NO_MEMORY);
    /* Whole pages and a guard page are more than 64 bits hold. */
    assert_int_equal(map_place(s, f->data, UINT64_MAX - 4095, false, 1, false, &gva, &err),
                     MF_E_NO_MEMORY);
    assert_int_equal(s->as.nareas, 1);
    for (unsigned i = 0; i < MF_MAPPINGS_MAX; i++)
        place(f, i, 20 * PAGE_BYTES, true);
    assert_int_equal(map_place(s, f->data, 1, true, 1, false, &gva, &err), MF_E_STATE);
    release(f);
    assert_int_equal(s->mem.nwindows, 0);
    s->state = SANDBOX_RUNNING;
    assert_int_equal(mf_sandbox_map(s, f->data, 4096, 0, &address, &err), MF_E_STATE);
    assert_int_equal(mf_sandbox_unmap(s, 4096, &err), MF_E_STATE);
}

/*
 * Tables that are wrong, which no call can bring about: the guest is stopped with a text
 * that says what it was. The emulator has no such cases: it maps nothing there.
 */
static void test_wrong_tables(void **state)
{
    struct fixture *f = *state;
    struct mf_sandbox *s = &f->sandbox;
    struct vm *vm = s->vm;
    struct vm_exit exit;
    uint64_t address;
    if (backend != MF_BACKEND_KVM)
        skip();
    /* A write that the tables allow, to a window that is read-only. */
    assert_int_equal(mf_sandbox_map(s, f->data, PAGE_BYTES, 0, &address, NULL), 0);
    uint8_t before = f->data[1];
    assert_true(pt_protect(&s->mem, address, PT_READ | PT_WRITE | PT_USER));
    vm->regs->rip = CODE + sizeof code;
    vm->regs->rax = 0;
    vm->regs->rdi = address + 1;
    vm->regs_changed = true;
    assert_int_equal(vm->ops->run(vm, &exit, NULL), 0);
    assert_int_equal(exit.kind, VM_EXIT_DEAD);
    assert_true(exit.bus);
    assert_int_equal(map_address_of(s, exit.address), address + 1);
    assert_int_equal(f->data[1], before);
}

static void test_no_memory_there(void **state)
{
    struct fixture *f = *state;
    struct vm *vm = f->sandbox.vm;
    struct vm_exit exit;
    if (backend != MF_BACKEND_KVM)
        skip();
    assert_int_equal(vm->ops->map_at(vm, 0x700000, UINT64_C(1) << 37, 1, PT_READ | PT_USER, NULL),
                     0);
    vm->regs->rip = CODE;
    vm->regs->rdi = 0x700000;
    vm->regs_changed = true;
    assert_int_equal(vm->ops->run(vm, &exit, NULL), 0);
    assert_int_equal(exit.kind, VM_EXIT_DEAD);
    assert_false(exit.bus);
    assert_non_null(strstr(exit.detail, "no memory"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_place),           TEST(test_no_copies), TEST(test_cpu_sees_it),
        TEST(test_copies),          TEST(test_levels),
        TEST(test_beside_mappings), TEST(test_errors),
        TEST(test_wrong_tables),    TEST(test_no_memory_there),
    };
    int failures = 0;
    for (backend = MF_BACKEND_KVM; backend <= MF_BACKEND_SOFT; backend++) {
        struct mf_backend_info info;
        if (mf_backend_probe(backend, &info, NULL) != 0 || !info.usable) {
            print_message("skipped: %s\n", mf_backend_name(backend));
            continue;
        }
        failures += cmocka_run_group_tests_name(info.name, tests, NULL, NULL);
    }
    return failures;
}
