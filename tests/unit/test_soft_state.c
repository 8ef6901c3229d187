/*
 * What is particular to the soft backend's side of snapshots: interrupts that come
 * between blocks which jump to each other, dirty bits of the shadow tables for every
 * kind of store, and code and mappings that are replaced behind the emulator's back.
 */
#include "base/checked.h"
#include "mem/pagetable.h"
#include "vm/vm.h"
#include "vm/x86.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define USER(prot) ((prot) | PT_USER)
#define CODE UINT64_C(0x400000)
#define DATA UINT64_C(0x600000)
#define DATA_PAGES 16
/* The pages of DATA once more, and places where nothing is mapped. */
#define TWIN UINT64_C(0x200000000000)
#define FAR UINT64_C(0x300000000000)
#define FARTHER UINT64_C(0x310000000000)
#define STACK_TOP (DATA + DATA_PAGES * PAGE_BYTES - 256)
#define MEMORY_BYTES (UINT64_C(4) << 20)
#define BITMAP_WORDS (MEMORY_BYTES / PAGE_BYTES / 64)

/* A piece of guest code between two labels. */
#define PIECE(name, text)                                                          \
    __asm__(".pushsection .rodata\n" #name "_begin:\n" text "\n" #name             \
            "_end:\n.popsection");                                                 \
    extern const uint8_t name##_begin[], name##_end[]
#define LOAD(guest, gva, name) load(guest, gva, name##_begin, name##_end)

struct guest {
    struct mem mem;
    struct vm *vm;
    const struct vm_ops *ops;
};

static void guest_create(struct guest *guest)
{
    struct mf_error err = {0};
    struct vm_config config = {.mem = &guest->mem, .interrupt_signal = -1};
    assert_int_equal(vm_backend_get(MF_BACKEND_SOFT, &guest->ops, &err), 0);
    if (guest->ops->create(&config, &guest->vm, &err) != 0)
        fail_msg("%s", err.message);
}

static void map(struct guest *guest, mf_gva gva, uint64_t npages, unsigned prot)
{
    struct mf_error err = {0};
    if (guest->ops->map(guest->vm, gva, npages, USER(prot), &err) != 0)
        fail_msg("map: %s", err.message);
}

static void guest_open(struct guest *guest)
{
    struct mf_error err = {0};
    struct pt_page page;
    assert_int_equal(mem_init(&guest->mem, MEMORY_BYTES, &err), 0);
    assert_true(x86_build(&guest->mem, 0xb0, 0xb3));
    guest_create(guest);
    map(guest, CODE, 2, PT_READ | PT_EXEC);
    map(guest, DATA, DATA_PAGES, PT_READ | PT_WRITE);
    assert_true(pt_lookup(&guest->mem, DATA, &page));
    assert_int_equal(guest->ops->map_at(guest->vm, TWIN, page.gpa, DATA_PAGES,
                                        USER(PT_READ | PT_WRITE), &err),
                     0);
}

static void guest_close(struct guest *guest)
{
    guest->ops->destroy(guest->vm);
    mem_fini(&guest->mem);
}

static mf_gpa gpa_of(const struct guest *guest, mf_gva gva)
{
    struct pt_page page;
    assert_true(pt_lookup(&guest->mem, gva & ~PAGE_MASK_LOW, &page));
    return page.gpa + (gva & PAGE_MASK_LOW);
}

static void load(struct guest *guest, mf_gva gva, const uint8_t *begin, const uint8_t *end)
{
    memcpy(mem_at(&guest->mem, gpa_of(guest, gva)), begin, (size_t)(end - begin));
}

static void aim(struct guest *guest, mf_gva gva)
{
    struct mf_registers *regs = guest->vm->regs;
    memset(regs, 0, sizeof *regs);
    regs->rsi = DATA;
    regs->rsp = STACK_TOP;
    regs->rip = gva;
    regs->rflags = X86_RFLAGS;
    guest->vm->regs_changed = true;
}

static void run(struct guest *guest, struct vm_exit *exit)
{
    struct mf_error err = {0};
    memset(exit, 0, sizeof *exit);
    assert_int_equal(guest->ops->run(guest->vm, exit, &err), 0);
}

static void run_port(struct guest *guest)
{
    struct vm_exit exit;
    run(guest, &exit);
    if (exit.kind != VM_EXIT_IO)
        fail_msg("exit %d, vector %u, address %#llx: %s", (int)exit.kind, exit.vector,
                 (unsigned long long)exit.address, exit.detail);
}

static void run_fault(struct guest *guest, mf_gva address, uint64_t error_code)
{
    struct vm_exit exit;
    run(guest, &exit);
    assert_int_equal(exit.kind, VM_EXIT_EXCEPTION);
    assert_int_equal(exit.vector, 14);
    assert_int_equal(exit.address, address);
    assert_int_equal(exit.error_code, error_code);
}

static void save(struct guest *guest, struct vm_state *state)
{
    struct mf_error err = {0};
    assert_int_equal(guest->ops->save(guest->vm, state, &err), 0);
}

static void restore(struct guest *guest, const struct vm_state *state)
{
    struct mf_error err = {0};
    if (guest->ops->load(guest->vm, state, &err) != 0)
        fail_msg("load: %s", err.message);
}

/* ---- Interrupts at any moment ---- */

/*
 * Many small blocks in one page, whose way depends on data, with carries from one to
 * the next, x87 and SSE values that live all the time, and string instructions.
 */
PIECE(mix, "mov $0x12345678, %eax; xor %edx, %edx; mov $300000, %r8d; cvtsi2sd %r8, %xmm7;"
           "fld1; fldpi; pxor %xmm1, %xmm1; cld;"
           "1: shr $1, %eax; jnc 2f; xor $0xa3000000, %eax; 2: rcl $1, %rdx; jnc 3f; inc %rbx;"
           "3: add %rax, %rdx; movd %eax, %xmm0; paddq %xmm0, %xmm1; addsd %xmm7, %xmm2;"
           "fadd %st(1), %st; test $0x3f, %al; jnz 4f; call 5f;"
           "4: dec %r8d; jnz 1b;"
           "movq %xmm1, %r9; movq %xmm2, %r10; fstpl (%rsi); mov (%rsi), %r11; fstpl 8(%rsi);"
           "mov 8(%rsi), %r12; out %al, $0xb0; ud2;"
           "5: mov $100, %ecx; lea 0x1000(%rsi), %rdi; push %rsi; lea 0xfc0(%rsi), %rsi;"
           "rep movsb; pop %rsi; incl 0x1000(%rsi); mov 0x1000(%rsi), %ecx; add %rcx, %rdx; ret");

struct interrupter {
    struct vm *vm;
    atomic_int wanted;
    atomic_bool quit;
};

/* Interrupts once for each request, after a delay that differs each time. */
static void *interrupt_thread(void *context)
{
    struct interrupter *it = context;
    unsigned random = 1;
    for (int done = 0; !atomic_load(&it->quit);) {
        if (atomic_load(&it->wanted) == done)
            continue;
        done++;
        random = random * 1103515245 + 12345;
        for (volatile unsigned spin = (random >> 8) % 100000; spin > 0; spin--)
            ;
        it->vm->ops->interrupt(it->vm);
    }
    return NULL;
}

/* Runs until an interrupt, which is sure to have come when this returns, or a port. */
static enum vm_exit_kind run_interrupted(struct guest *guest, struct interrupter *it)
{
    struct vm_exit exit;
    pthread_t thread;
    it->vm = guest->vm;
    atomic_store(&it->quit, false);
    atomic_store(&it->wanted, 1);
    assert_int_equal(pthread_create(&thread, NULL, interrupt_thread, it), 0);
    run(guest, &exit);
    atomic_store(&it->quit, true);
    pthread_join(thread, NULL);
    return exit.kind;
}

static void mix_result(struct mf_registers *result)
{
    struct guest guest;
    guest_open(&guest);
    LOAD(&guest, CODE, mix);
    aim(&guest, CODE);
    run_port(&guest);
    *result = *guest.vm->regs;
    guest_close(&guest);
}

static void test_interrupts_lose_nothing(void **test)
{
    (void)test;
    struct guest guest;
    struct vm_exit exit;
    struct mf_registers want;
    struct interrupter it = {0};
    pthread_t thread;
    mix_result(&want);
    guest_open(&guest);
    it.vm = guest.vm;
    LOAD(&guest, CODE, mix);
    aim(&guest, CODE);
    assert_int_equal(pthread_create(&thread, NULL, interrupt_thread, &it), 0);
    int interrupts = -1;
    do {
        atomic_fetch_add(&it.wanted, 1);
        run(&guest, &exit);
        interrupts++;
    } while (exit.kind == VM_EXIT_INTERRUPT);
    atomic_store(&it.quit, true);
    pthread_join(thread, NULL);
    assert_int_equal(exit.kind, VM_EXIT_IO);
    assert_true(interrupts > 0);
    assert_memory_equal(guest.vm->regs, &want, sizeof want);
    guest_close(&guest);
}

/*
 * A sum of 128 bits, whose carry crosses from block to block: it is on its way at
 * CARRY_OFFSET. The port before the loop makes the emulator watch an instruction, which
 * changes what it knows of the place of an interrupt.
 */
#define CARRY_OFFSET 26
#define CARRY_ADDEND UINT64_C(0x9e3779b97f4a7c15)
#define CARRY_ROUNDS 20000000

PIECE(carries, "movabs $0x9e3779b97f4a7c15, %r8; xor %eax, %eax; xor %edx, %edx;"
               "mov $20000000, %ecx; out %al, $0xb0;"
               "1: add %r8, %rax; jmp 2f; 2: adc $0, %rdx; dec %rcx; jnz 1b;"
               "out %al, $0xb1; ud2");

static void test_interrupts_keep_flags(void **test)
{
    (void)test;
    struct guest guest;
    struct vm_exit exit;
    struct interrupter it = {0};
    pthread_t thread;
    guest_open(&guest);
    it.vm = guest.vm;
    LOAD(&guest, CODE, carries);
    aim(&guest, CODE);
    run_port(&guest);
    assert_int_equal(guest.vm->regs->rflags, X86_RFLAGS | 0x44); /* of XOR */
    assert_int_equal(pthread_create(&thread, NULL, interrupt_thread, &it), 0);
    int interrupts = 0, on_the_way = 0;
    for (;; interrupts++) {
        atomic_fetch_add(&it.wanted, 1);
        run(&guest, &exit);
        if (exit.kind != VM_EXIT_INTERRUPT)
            break;
        struct mf_registers *regs = guest.vm->regs;
        assert_int_equal(regs->rflags & ~UINT64_C(0x8d5), X86_RFLAGS);
        if (regs->rip == CODE + CARRY_OFFSET) {
            on_the_way++;
            assert_int_equal(regs->rflags & 1, regs->rax < CARRY_ADDEND);
        }
        guest.vm->regs_changed = interrupts % 2 == 0;
    }
    atomic_store(&it.quit, true);
    pthread_join(thread, NULL);
    assert_int_equal(exit.kind, VM_EXIT_IO);
    assert_true(on_the_way > 0);
    unsigned __int128 sum = (unsigned __int128)CARRY_ADDEND * CARRY_ROUNDS;
    assert_true(guest.vm->regs->rax == (uint64_t)sum);
    assert_true(guest.vm->regs->rdx == (uint64_t)(sum >> 64));
    guest_close(&guest);
}

/* Ends `from`; a new VM over a copy of its memory goes on. */
static void move_guest(struct guest *from, struct guest *to)
{
    struct vm_state state;
    struct mf_error err = {0};
    save(from, &state);
    assert_int_equal(mem_init(&to->mem, MEMORY_BYTES, &err), 0);
    memcpy(to->mem.base, from->mem.base, MEMORY_BYTES);
    to->mem.next = from->mem.next;
    guest_close(from);
    guest_create(to);
    to->ops->retable(to->vm, NULL, SIZE_MAX);
    restore(to, &state);
}

static void test_moves_lose_nothing(void **test)
{
    (void)test;
    struct guest guests[2], *here = &guests[0];
    struct mf_registers want;
    struct interrupter it = {0};
    enum vm_exit_kind kind = VM_EXIT_INTERRUPT;
    int moves = 0;
    mix_result(&want);
    guest_open(here);
    LOAD(here, CODE, mix);
    aim(here, CODE);
    while (moves < 50 && (kind = run_interrupted(here, &it)) == VM_EXIT_INTERRUPT) {
        struct guest *there = &guests[++moves % 2];
        move_guest(here, there);
        here = there;
    }
    if (kind == VM_EXIT_INTERRUPT)
        run_port(here);
    assert_true(moves > 0);
    assert_memory_equal(here->vm->regs, &want, sizeof want);
    guest_close(here);
}

/* ---- State ---- */

/* What the emulated CPU lacks is refused by name, but not when it is as at the start. */
static void test_missing_components(void **test)
{
    (void)test;
    struct guest guest;
    struct vm_state good;
    guest_open(&guest);
    LOAD(&guest, CODE, carries);
    aim(&guest, CODE);
    run_port(&guest);
    save(&guest, &good);
    const struct {
        uint64_t component;
        size_t offset;
        const char *name;
    } missing[] = {
        {VM_AVX, offsetof(struct vm_fpu, ymm_high[15][15]), "AVX"},
        {VM_OPMASK, offsetof(struct vm_fpu, opmask[0][0]), "opmask"},
        {VM_ZMM_HIGH, offsetof(struct vm_fpu, zmm_high[15][31]), "ZMM"},
        {VM_ZMM_MORE, offsetof(struct vm_fpu, zmm_more[15][63]), "ZMM16"},
    };
    for (size_t i = 0; i < ARRAY_LEN(missing); i++) {
        struct mf_error err = {0};
        struct vm_state state = good;
        state.fpu.components |= missing[i].component;
        restore(&guest, &state);
        ((uint8_t *)&state.fpu)[missing[i].offset] = 1;
        assert_int_equal(guest.ops->load(guest.vm, &state, &err), MF_E_BACKEND);
        assert_non_null(strstr(err.message, missing[i].name));
        /* Bytes of a component that is not in use say nothing. */
        state.fpu.components = good.fpu.components;
        restore(&guest, &state);
        assert_int_equal(guest.vm->regs->rflags, good.regs.rflags);
    }
    guest_close(&guest);
}

#define SECRET UINT64_C(0x5ec2e75ec2e75ec2)

/* Secrets in all registers that a guest has; %rax brings one, %rsi scratch memory. */
PIECE(plant, "mov %rax, (%rsi); movl $0xffbf, 64(%rsi); ldmxcsr 64(%rsi);"
             "movw $0x27f, 64(%rsi); fldcw 64(%rsi);"
             "fldl (%rsi); fldl (%rsi); fldl (%rsi); fldl (%rsi); fldl (%rsi); fld1; fstp %st(3);"
             ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15; movddup (%rsi), %xmm\\n; .endr;"
             "mov $0x1b, %ecx; mov %ecx, %ds; mov %ecx, %es; mov %ecx, %fs; mov %ecx, %gs;"
             ".irp r,rbx,rcx,rdx,rbp,r8,r9,r10,r11,r12,r13,r14,r15,rdi; mov %rax, %\\r; .endr;"
             "movq $0, (%rsi); stc; std; out %al, $0xb0; ud2");
/* Everything to where %rsi points. */
PIECE(dump, "fxsave64 (%rsi); mov %ds, 512(%rsi); mov %es, 514(%rsi); mov %fs, 516(%rsi);"
            "mov %gs, 518(%rsi); mov %rdi, 520(%rsi); mov %rbp, 528(%rsi); mov %r8, 536(%rsi);"
            "mov %r9, 544(%rsi); mov %r10, 552(%rsi); mov %r11, 560(%rsi); mov %r12, 568(%rsi);"
            "mov %r13, 576(%rsi); mov %r14, 584(%rsi); mov %r15, 592(%rsi); mov %rbx, 600(%rsi);"
            "mov %rcx, 608(%rsi); mov %rdx, 616(%rsi); mov %rax, 624(%rsi); pushf; pop 632(%rsi);"
            "out %al, $0xb1; ud2");
#define DUMP_BYTES 640

static void take_dump(struct guest *guest, uint8_t dump[DUMP_BYTES])
{
    LOAD(guest, CODE + PAGE_BYTES, dump);
    guest->vm->regs->rip = CODE + PAGE_BYTES;
    guest->vm->regs->rsi = DATA;
    guest->vm->regs->rsp = STACK_TOP;
    guest->vm->regs_changed = true;
    run_port(guest);
    memcpy(dump, mem_at(&guest->mem, gpa_of(guest, DATA)), DUMP_BYTES);
}

/* Whether any eight bytes of the secret are there, at any place. */
static bool has_secret(const void *bytes, size_t size)
{
    uint64_t secret = SECRET;
    return memmem(bytes, size, &secret, sizeof secret) != NULL;
}

static void plant_secrets(struct guest *guest)
{
    struct mf_error err = {0};
    LOAD(guest, CODE, plant);
    aim(guest, CODE);
    guest->vm->regs->rax = SECRET;
    run_port(guest);
    assert_int_equal(guest->ops->set_segment_base(guest->vm, 0, FAR, &err), 0);
    assert_int_equal(guest->ops->set_segment_base(guest->vm, 1, FARTHER, &err), 0);
}

static void test_load_leaves_nothing(void **test)
{
    (void)test;
    struct guest guest;
    struct vm_state fresh, planted, again;
    uint8_t before[DUMP_BYTES], between[DUMP_BYTES], after[DUMP_BYTES];
    guest_open(&guest);
    save(&guest, &fresh);
    take_dump(&guest, before);

    plant_secrets(&guest);
    save(&guest, &planted);
    assert_true(has_secret(&planted, sizeof planted));
    assert_int_equal(planted.segment[0], X86_SEL_USER_DATA);
    assert_int_equal(planted.segment_base[0], FAR);
    assert_int_equal(planted.segment_base[1], FARTHER);
    take_dump(&guest, between);
    assert_true(has_secret(between, sizeof between));

    restore(&guest, &fresh);
    assert_false(has_secret(guest.vm->regs, sizeof *guest.vm->regs));
    save(&guest, &again);
    assert_memory_equal(&again, &fresh, sizeof fresh);
    take_dump(&guest, after);
    assert_memory_equal(after, before, sizeof before);

    /* And what was saved comes back whole. */
    restore(&guest, &planted);
    save(&guest, &again);
    assert_memory_equal(&again, &planted, sizeof planted);
    take_dump(&guest, after);
    assert_memory_equal(after, between, sizeof between);
    guest_close(&guest);
}

PIECE(fault, "mov %rax, (%rax); ud2");

/* A VM that ended with a fault is as good as new. */
static void test_load_after_fault(void **test)
{
    (void)test;
    struct guest guest;
    struct vm_state fresh, again;
    uint8_t before[DUMP_BYTES], after[DUMP_BYTES];
    guest_open(&guest);
    save(&guest, &fresh);
    take_dump(&guest, before);
    LOAD(&guest, CODE + 512, fault);
    for (int round = 0; round < 3; round++) {
        plant_secrets(&guest);
        guest.vm->regs->rax = FAR;
        guest.vm->regs->rip = CODE + 512;
        guest.vm->regs_changed = true;
        run_fault(&guest, FAR, 6);
        restore(&guest, &fresh);
        save(&guest, &again);
        assert_memory_equal(&again, &fresh, sizeof fresh);
        take_dump(&guest, after);
        assert_memory_equal(after, before, sizeof before);
    }
    guest_close(&guest);
}

static void test_refusals(void **test)
{
    (void)test;
    struct guest guest;
    struct vm_state state;
    struct mf_error err = {0};
    guest_open(&guest);
    plant_secrets(&guest);
    save(&guest, &state);
    state.fpu.components |= 4;
    assert_int_equal(guest.ops->load(guest.vm, &state, &err), 0);
    state.fpu.ymm_high[15][15] = 1;
    assert_int_equal(guest.ops->load(guest.vm, &state, &err), MF_E_BACKEND);
    assert_non_null(strstr(err.message, "AVX"));
    state.fpu.components &= ~UINT64_C(4);
    assert_int_equal(guest.ops->load(guest.vm, &state, NULL), 0);
    for (unsigned i = 0; i < 4; i++) {
        uint16_t old = state.segment[i];
        static const uint16_t bad[] = {0x08, 0x10, 0x28, 0x30, 0x1f, 0xfffb};
        for (size_t j = 0; j < ARRAY_LEN(bad); j++) {
            state.segment[i] = bad[j];
            assert_int_equal(guest.ops->load(guest.vm, &state, &err), MF_E_BACKEND);
        }
        state.segment[i] = old;
    }
    /* Without components, what the image holds does not count. */
    struct guest fresh;
    struct vm_state got, want;
    guest_open(&fresh);
    save(&fresh, &want);
    state.fpu.components = 0;
    restore(&guest, &state);
    save(&guest, &got);
    assert_memory_equal(&got.fpu, &want.fpu, sizeof got.fpu);
    guest_close(&fresh);
    guest_close(&guest);
}

/* ---- Dirty pages ---- */

#define PAGE(n) "((" #n ")*4096)(%rsi)"
#define DONE "; out %al, $0xb0; ud2"
#define STORE(name, text) PIECE(store_##name, text DONE)

STORE(none, "mov " PAGE(3) ", %rax; cmpl $1, " PAGE(4));
STORE(mov, "movb $1, " PAGE(2));
STORE(twice, "movb $1, " PAGE(2) "; movb $2, 8+" PAGE(2) "; movb $1, " PAGE(9));
STORE(after_read, "mov " PAGE(5) ", %eax; mov %eax, " PAGE(5));
STORE(add, "addl $1, " PAGE(3));
STORE(lock, "lock xadd %rcx, " PAGE(4));
STORE(xchg, "xchg %rcx, " PAGE(6));
STORE(bts, "lock btsl $3, " PAGE(6));
STORE(cmpxchg, "xor %eax, %eax; mov %eax, %ebx; lock cmpxchg %rcx, 64+" PAGE(7));
STORE(cross, "mov %rcx, -3+" PAGE(8));
STORE(sse, "movups %xmm0, 16+" PAGE(10));
STORE(sse_cross, "movups %xmm0, -8+" PAGE(10));
STORE(sse_stream, "movntdq %xmm0, 16+" PAGE(11));
STORE(x87, "fld1; fstpl 8+" PAGE(12));
STORE(fxsave, "fxsave64 " PAGE(13));
STORE(push, "lea 16+" PAGE(3) ", %rsp; push %rcx");
STORE(call, "lea 16+" PAGE(4) ", %rsp; call 1f; 1:");
STORE(enter, "lea 8+" PAGE(6) ", %rsp; enter $32, $0");
STORE(stos, "cld; lea 0x1ff0+" PAGE(0) ", %rdi; mov $0x1020, %ecx; rep stosb");
STORE(movs, "cld; lea " PAGE(5) ", %rdi; mov $0x400, %ecx; rep movsq");
STORE(twin, "movabs $0x200000000000, %rax; movb $1, 0x7000(%rax)");
STORE(twin_read, "movabs $0x200000000000, %rax; mov 0x7000(%rax), %ecx; movb $1, " PAGE(7));

#define STORES(store)                                                                         \
    store(none, 0) store(mov, 1 << 2) store(twice, 1 << 2 | 1 << 9) store(after_read, 1 << 5) \
    store(add, 1 << 3) store(lock, 1 << 4) store(xchg, 1 << 6) store(bts, 1 << 6)             \
    store(cmpxchg, 1 << 7) store(cross, 1 << 7 | 1 << 8) store(sse, 1 << 10)                  \
    store(sse_cross, 1 << 9 | 1 << 10) store(sse_stream, 1 << 11) store(x87, 1 << 12)         \
    store(fxsave, 1 << 13) store(push, 1 << 3) store(call, 1 << 4) store(enter, 1 << 6) \
    store(stos, 1 << 1 | 1 << 2 | 1 << 3) store(movs, 1 << 5 | 1 << 6) store(twin, 1 << 7)    \
    store(twin_read, 1 << 7)

/* Reads a byte of each page of DATA and its twin, so that translations are there. */
PIECE(read_all, "movabs $0x200000000000, %rdi; xor %ecx, %ecx;"
                "1: mov (%rsi,%rcx), %al; mov (%rdi,%rcx), %al; add $4096, %ecx;"
                "cmp $0x10000, %ecx; jne 1b" DONE);
PIECE(write_all, "movabs $0x200000000000, %rdi; xor %ecx, %ecx;"
                 "1: incb (%rsi,%rcx); incb (%rdi,%rcx); add $4096, %ecx;"
                 "cmp $0x10000, %ecx; jne 1b" DONE);

/* Pages of DATA whose bits are set, with none besides. */
static unsigned dirty_data(struct guest *guest)
{
    uint64_t bitmap[BITMAP_WORDS] = {0};
    struct mf_error err = {0};
    unsigned found = 0;
    assert_int_equal(guest->ops->dirty_collect(guest->vm, bitmap, &err), 0);
    for (unsigned i = 0; i < DATA_PAGES; i++) {
        uint64_t page = gpa_of(guest, DATA + i * PAGE_BYTES) >> PAGE_SHIFT;
        if (bitmap[page / 64] >> page % 64 & 1)
            found |= 1u << i;
        bitmap[page / 64] &= ~(UINT64_C(1) << page % 64);
    }
    for (unsigned i = 0; i < BITMAP_WORDS; i++)
        assert_int_equal(bitmap[i], 0);
    return found;
}

static void clean_all(struct guest *guest)
{
    uint64_t bitmap[BITMAP_WORDS];
    struct mf_error err = {0};
    memset(bitmap, 0xff, sizeof bitmap);
    assert_int_equal(guest->ops->dirty_clean(guest->vm, bitmap, &err), 0);
}

static void clean_page(struct guest *guest, mf_gva gva)
{
    uint64_t bitmap[BITMAP_WORDS] = {0}, page = gpa_of(guest, gva) >> PAGE_SHIFT;
    struct mf_error err = {0};
    bitmap[page / 64] |= UINT64_C(1) << page % 64;
    assert_int_equal(guest->ops->dirty_clean(guest->vm, bitmap, &err), 0);
}

static void run_at(struct guest *guest, mf_gva gva)
{
    aim(guest, gva);
    run_port(guest);
}

static void test_dirty_is_what_was_written(void **test)
{
    (void)test;
    static const struct {
        const char *name;
        const uint8_t *begin, *end;
        unsigned pages;
    } stores[] = {
#define STORE_ENTRY(name, pages) {#name, store_##name##_begin, store_##name##_end, pages},
        STORES(STORE_ENTRY)};
    struct guest guest;
    struct mf_error err = {0};
    guest_open(&guest);
    LOAD(&guest, CODE, read_all);
    LOAD(&guest, CODE + 256, write_all);
    assert_int_equal(guest.ops->dirty_start(guest.vm, &err), 0);
    /* Cold, with translations from reads, and with translations from writes. */
    for (int warm = 0; warm < 3; warm++) {
        for (size_t i = 0; i < ARRAY_LEN(stores); i++) {
            load(&guest, CODE + PAGE_BYTES, stores[i].begin, stores[i].end);
            if (warm == 2)
                run_at(&guest, CODE + 256);
            clean_all(&guest);
            assert_int_equal(dirty_data(&guest), 0);
            if (warm > 0)
                run_at(&guest, CODE);
            run_at(&guest, CODE + PAGE_BYTES);
            unsigned got = dirty_data(&guest);
            if (got != stores[i].pages)
                fail_msg("%s: pages %#x instead of %#x (%d)", stores[i].name, got,
                         stores[i].pages, warm);
        }
    }
    guest_close(&guest);
}

static void test_clean_is_by_page(void **test)
{
    (void)test;
    struct guest guest;
    struct mf_error err = {0};
    guest_open(&guest);
    LOAD(&guest, CODE, write_all);
    LOAD(&guest, CODE + PAGE_BYTES, store_twice);
    run_at(&guest, CODE);
    assert_int_equal(guest.ops->dirty_start(guest.vm, &err), 0);
    assert_int_equal(dirty_data(&guest), 0);
    run_at(&guest, CODE);
    assert_int_equal(dirty_data(&guest), 0xffff);
    clean_page(&guest, DATA + 2 * PAGE_BYTES);
    clean_page(&guest, DATA + 7 * PAGE_BYTES);
    assert_int_equal(dirty_data(&guest), 0xffff & ~(1 << 2 | 1 << 7));
    run_at(&guest, CODE + PAGE_BYTES);
    assert_int_equal(dirty_data(&guest), 0xffff & ~(1 << 7));
    clean_all(&guest);
    run_at(&guest, CODE + PAGE_BYTES);
    assert_int_equal(dirty_data(&guest), 1 << 2 | 1 << 9);
    assert_int_equal(guest.ops->dirty_start(guest.vm, &err), 0);
    assert_int_equal(dirty_data(&guest), 0);
    guest_close(&guest);
}

static bool is_dirty(struct guest *guest, mf_gpa gpa)
{
    uint64_t bitmap[BITMAP_WORDS] = {0}, page = gpa >> PAGE_SHIFT;
    struct mf_error err = {0};
    assert_int_equal(guest->ops->dirty_collect(guest->vm, bitmap, &err), 0);
    return bitmap[page / 64] >> page % 64 & 1;
}

/* What was written stays dirty whatever becomes of its mapping. */
static void test_dirty_outlives_mappings(void **test)
{
    (void)test;
    enum { READ_ONLY, HIDDEN, MOVED, UNMAPPED, WAYS };
    for (int way = 0; way < WAYS; way++) {
        struct guest guest;
        struct mf_error err = {0};
        guest_open(&guest);
        LOAD(&guest, CODE, store_mov);
        map(&guest, FAR, 4, PT_READ | PT_WRITE);
        mf_gpa gpa = gpa_of(&guest, FAR + 2 * PAGE_BYTES);
        assert_int_equal(guest.ops->dirty_start(guest.vm, &err), 0);
        aim(&guest, CODE);
        guest.vm->regs->rsi = FAR;
        run_port(&guest);
        if (way == READ_ONLY)
            guest.ops->protect(guest.vm, FAR, 4, USER(PT_READ));
        else if (way == HIDDEN)
            guest.ops->protect(guest.vm, FAR, 4, PT_NONE);
        else if (way == MOVED)
            assert_int_equal(guest.ops->move(guest.vm, FAR, FARTHER, 4, &err), 0);
        else
            guest.ops->unmap(guest.vm, FAR, 4);
        assert_true(is_dirty(&guest, gpa));
        assert_false(is_dirty(&guest, gpa + PAGE_BYTES));
        clean_all(&guest);
        assert_false(is_dirty(&guest, gpa));
        guest_close(&guest);
    }
}

/* The memory of a window is the host's, and has no bits. */
static void test_windows_are_never_dirty(void **test)
{
    (void)test;
    struct guest guest;
    struct mf_error err = {0};
    struct mem_window *window;
    const uint64_t bytes = 4 * PAGE_BYTES;
    uint8_t *host = aligned_alloc(PAGE_BYTES, bytes);
    assert_non_null(host);
    memset(host, 0, bytes);
    guest_open(&guest);
    LOAD(&guest, CODE, store_mov);
    assert_int_equal(mem_window_add(&guest.mem, host, bytes, true, false, &window, &err), 0);
    assert_int_equal(guest.ops->attach(guest.vm, FAR, window, USER(PT_READ | PT_WRITE), &err), 0);
    assert_int_equal(guest.ops->dirty_start(guest.vm, &err), 0);
    for (int round = 0; round < 3; round++) {
        host[2 * PAGE_BYTES] = 0;
        aim(&guest, CODE);
        guest.vm->regs->rsi = FAR;
        run_port(&guest);
        assert_int_equal(host[2 * PAGE_BYTES], 1);
        assert_int_equal(dirty_data(&guest), 0);
        clean_all(&guest);
        if (round == 1)
            guest.ops->retable(guest.vm, NULL, 0);
    }
    guest.ops->detach(guest.vm, FAR, window);
    mem_window_remove(&guest.mem, window);
    guest_close(&guest);
    free(host);
}

/* ---- Memory that was replaced ---- */

struct copy {
    uint8_t *bytes;
    uint32_t next;
};

static void copy_take(const struct guest *guest, struct copy *copy)
{
    copy->bytes = malloc(MEMORY_BYTES);
    assert_non_null(copy->bytes);
    memcpy(copy->bytes, guest->mem.base, MEMORY_BYTES);
    copy->next = guest->mem.next;
}

static void copy_put(struct guest *guest, const struct copy *copy)
{
    memcpy(guest->mem.base, copy->bytes, MEMORY_BYTES);
    guest->mem.next = copy->next;
    guest->mem.nfree = 0;
}

PIECE(leaf_one, "mov $1, %eax; ret");
PIECE(leaf_two, "mov $2, %eax; ret");
PIECE(call_rdi, "call *%rdi" DONE);
PIECE(store_rdi, "mov (%rdi), %rax; movb $1, (%rdi)" DONE);

static uint64_t call_code(struct guest *guest, mf_gva gva)
{
    aim(guest, CODE);
    guest->vm->regs->rdi = gva;
    run_port(guest);
    return guest->vm->regs->rax;
}

/*
 * A page of code is rewritten and put back, with the same mappings before and after:
 * once as a dirty page, and once with all of memory.
 */
static void put_code_back(bool all)
{
    struct guest guest;
    struct copy copy;
    struct mf_error err = {0};
    guest_open(&guest);
    LOAD(&guest, CODE, call_rdi);
    LOAD(&guest, CODE + 64, store_rdi);
    LOAD(&guest, DATA + PAGE_BYTES, leaf_one);
    guest.ops->protect(guest.vm, DATA + PAGE_BYTES, 1, USER(PT_READ | PT_EXEC));
    copy_take(&guest, &copy);
    assert_int_equal(guest.ops->dirty_start(guest.vm, &err), 0);
    for (int round = 0; round < 5; round++) {
        assert_int_equal(call_code(&guest, DATA + PAGE_BYTES), 1);
        guest.ops->protect(guest.vm, DATA + PAGE_BYTES, 1, USER(PT_READ | PT_WRITE));
        aim(&guest, CODE + 64);
        guest.vm->regs->rdi = DATA + PAGE_BYTES + 64;
        run_port(&guest);
        LOAD(&guest, DATA + PAGE_BYTES, leaf_two);
        guest.ops->protect(guest.vm, DATA + PAGE_BYTES, 1, USER(PT_READ | PT_EXEC));
        assert_int_equal(call_code(&guest, DATA + PAGE_BYTES), 2);
        copy_put(&guest, &copy);
        if (all)
            guest.ops->retable(guest.vm, NULL, SIZE_MAX);
        else
            clean_page(&guest, DATA + PAGE_BYTES);
    }
    free(copy.bytes);
    guest_close(&guest);
}

static void test_code_is_put_back(void **test)
{
    (void)test;
    put_code_back(false);
    put_code_back(true);
}

/* Each way in which mappings can differ from the ones that come back. */
static void change_everything(struct guest *guest)
{
    struct mf_error err = {0};
    guest->ops->unmap(guest->vm, DATA + PAGE_BYTES, 1);
    guest->ops->protect(guest->vm, DATA + 2 * PAGE_BYTES, 1, USER(PT_READ));
    guest->ops->protect(guest->vm, DATA + 3 * PAGE_BYTES, 1, PT_NONE);
    assert_int_equal(guest->ops->move(guest->vm, DATA + 5 * PAGE_BYTES, FARTHER, 1, &err), 0);
    map(guest, DATA + 5 * PAGE_BYTES, 1, PT_READ | PT_EXEC);
    LOAD(guest, DATA + 5 * PAGE_BYTES, leaf_two);
    map(guest, FAR, 40, PT_READ | PT_WRITE);
    assert_int_equal(call_code(guest, DATA + 5 * PAGE_BYTES), 2);
}

static void store_at(struct guest *guest, mf_gva gva)
{
    aim(guest, CODE + 64);
    guest->vm->regs->rdi = gva;
}

static void check_put_back(struct guest *guest, const struct vm_state *state)
{
    for (unsigned i = 0; i < DATA_PAGES; i++) {
        store_at(guest, DATA + i * PAGE_BYTES);
        run_port(guest);
        assert_int_equal(guest->vm->regs->rax, i);
        assert_int_equal(*(uint8_t *)mem_at(&guest->mem, gpa_of(guest, DATA + i * PAGE_BYTES)), 1);
    }
    store_at(guest, FAR);
    run_fault(guest, FAR, 4);
    restore(guest, state);
    store_at(guest, FARTHER);
    run_fault(guest, FARTHER, 4);
    restore(guest, state);
}

static void test_retable(void **test)
{
    (void)test;
    struct guest guest;
    struct copy copy;
    struct vm_state state;
    struct mf_error err = {0};
    guest_open(&guest);
    LOAD(&guest, CODE, call_rdi);
    LOAD(&guest, CODE + 64, store_rdi);
    for (unsigned i = 0; i < DATA_PAGES; i++)
        *(uint8_t *)mem_at(&guest.mem, gpa_of(&guest, DATA + i * PAGE_BYTES)) = (uint8_t)i;
    copy_take(&guest, &copy);
    save(&guest, &state);
    for (int round = 0; round < 4; round++) {
        if (round == 2)
            assert_int_equal(guest.ops->dirty_start(guest.vm, &err), 0);
        change_everything(&guest);
        copy_put(&guest, &copy);
        guest.ops->retable(guest.vm, NULL, round % 2 ? SIZE_MAX : 0);
        restore(&guest, &state);
        if (round >= 2)
            clean_all(&guest);
        check_put_back(&guest, &state);
        if (round >= 2)
            assert_int_equal(dirty_data(&guest), 0xffff);
        copy_put(&guest, &copy);
    }
    /* A table of what is gone has become a data page, and a table again with other entries. */
    map(&guest, FAR, 1, PT_READ | PT_WRITE);
    store_at(&guest, FAR);
    run_port(&guest);
    copy_put(&guest, &copy);
    guest.ops->retable(guest.vm, NULL, 0);
    map(&guest, FAR + PAGE_BYTES, 1, PT_READ | PT_WRITE);
    store_at(&guest, FAR);
    run_fault(&guest, FAR, 4);
    free(copy.bytes);
    guest_close(&guest);
}

/* A right that was given since goes, also when nothing else differs. */
static void test_rights_come_back(void **test)
{
    (void)test;
    struct guest guest;
    struct copy copy;
    guest_open(&guest);
    LOAD(&guest, CODE + 64, store_rdi);
    guest.ops->protect(guest.vm, DATA + PAGE_BYTES, 1, USER(PT_READ));
    copy_take(&guest, &copy);
    guest.ops->protect(guest.vm, DATA + PAGE_BYTES, 1, USER(PT_READ | PT_WRITE));
    store_at(&guest, DATA + PAGE_BYTES);
    run_port(&guest);
    copy_put(&guest, &copy);
    guest.ops->retable(guest.vm, NULL, 0);
    store_at(&guest, DATA + PAGE_BYTES);
    run_fault(&guest, DATA + PAGE_BYTES, 7);
    free(copy.bytes);
    guest_close(&guest);
}

/*
 * Tables that lead out of memory or in circles end the guest, where its own pages or
 * tables are concerned, and do nothing else; and good tables make it run again.
 */
static void test_bad_tables(void **test)
{
    (void)test;
    static const uint64_t bad[] = {MEMORY_BYTES, UINT64_C(1) << 36, LAYOUT_GPA(PML4)};
    for (int level = 0; level < 4; level++) {
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
            struct guest guest;
            struct vm_exit exit;
            guest_open(&guest);
            LOAD(&guest, CODE, store_mov);
            mf_gpa table = LAYOUT_GPA(PML4);
            uint64_t *entry = NULL;
            for (int at = 3; at >= level; at--) {
                unsigned index = TWIN >> (PAGE_SHIFT + 9 * at) & 511;
                entry = (uint64_t *)mem_at(&guest.mem, table) + index;
                table = *entry & UINT64_C(0xffffffffff000);
            }
            uint64_t good = *entry;
            *entry = (good & UINT64_C(0x8000000000000fff)) | bad[i];
            guest.ops->retable(guest.vm, NULL, SIZE_MAX);
            aim(&guest, CODE);
            run(&guest, &exit);
            bool own = bad[i] == LAYOUT_GPA(PML4);
            assert_int_equal(exit.kind, (level == 0) == own ? VM_EXIT_IO : VM_EXIT_DEAD);
            *entry = good;
            guest.ops->retable(guest.vm, NULL, 0);
            run_at(&guest, CODE);
            guest_close(&guest);
        }
    }
}

int main(void)
{
    alarm(100); /* a lost interrupt must not hang the suite */
    const struct vm_ops *ops;
    struct mf_error err = {0};
    if (vm_backend_get(MF_BACKEND_SOFT, &ops, &err) != 0) {
        print_message("skipped: soft: %s\n", err.message);
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interrupts_lose_nothing),
        cmocka_unit_test(test_interrupts_keep_flags),
        cmocka_unit_test(test_missing_components),
        cmocka_unit_test(test_moves_lose_nothing),
        cmocka_unit_test(test_load_leaves_nothing),
        cmocka_unit_test(test_load_after_fault),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_dirty_is_what_was_written),
        cmocka_unit_test(test_clean_is_by_page),
        cmocka_unit_test(test_dirty_outlives_mappings),
        cmocka_unit_test(test_windows_are_never_dirty),
        cmocka_unit_test(test_code_is_put_back),
        cmocka_unit_test(test_retable),
        cmocka_unit_test(test_rights_come_back),
        cmocka_unit_test(test_bad_tables),
    };
    return cmocka_run_group_tests_name("soft state", tests, NULL, NULL);
}
