/*
 * The state of a vCPU (vm_ops.save, load), the log of written pages and retable: pieces of
 * machine code on every backend of this host that has these functions.
 */
#include "base/checked.h"
#include "mem/pagetable.h"
#include "vm/vm.h"
#include "vm/x86.h"

#include <mayfly/sandbox.h>

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef __x86_64__
#include "vm/kvm/kvm.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>
#endif

#define USER(prot) ((prot) | PT_USER)
#define CODE UINT64_C(0x400000)
#define CODE_PAGES 4
#define DATA UINT64_C(0x600000)
#define DATA_PAGES 200
#define HIGH UINT64_C(0x7ff000000000)
#define STACK_TOP (DATA + DATA_PAGES * PAGE_BYTES)

#define PORT_FIRST 0xb0
#define PORT_LAST 0xb3
/* The last word of a bitmap of its pages is not full. */
#define MEMORY_BYTES ((UINT64_C(4) << 20) + 5 * PAGE_BYTES)
#define WORDS ((MEMORY_BYTES / PAGE_BYTES + 63) / 64)

/* A piece of guest code between two labels. */
#define PIECE(name, text)                                                          \
    __asm__(".pushsection .rodata\n" #name "_begin:\n" text "\n" #name             \
            "_end:\n.popsection");                                                 \
    extern const uint8_t name##_begin[], name##_end[]

struct guest {
    struct mem mem;
    struct vm *vm;
    const struct vm_ops *ops;
};

/* Backends to run on, and ways of the kvm backend that this host would not take by itself. */
enum way { WAY_KVM, WAY_KVM_IOCTL, WAY_KVM_FXRSTOR, WAY_KVM_OLD_LOG, WAY_SOFT, WAYS };
static const char *const way_names[WAYS] = {"kvm", "kvm without the resume page",
                                            "kvm with FXRSTOR", "kvm with the old dirty log",
                                            "soft"};
static bool usable[WAYS];

static enum mf_backend backend_of(enum way way)
{
    return way == WAY_SOFT ? MF_BACKEND_SOFT : MF_BACKEND_KVM;
}

#ifdef __x86_64__
static struct kvm_cpu cpu_without_avx;

static void apply_way(struct vm *vm, enum way way)
{
    struct kvm_vm *kvm = (struct kvm_vm *)vm;
    if (way == WAY_KVM_IOCTL) {
        kvm->uses_resume = false;
    } else if (way == WAY_KVM_FXRSTOR) {
        cpu_without_avx = *kvm->cpu;
        cpu_without_avx.has_avx = false;
        kvm->cpu = &cpu_without_avx;
    }
}

static bool has_avx512(const struct guest *guest, enum way way)
{
    const struct kvm_vm *kvm = (const struct kvm_vm *)guest->vm;
    return way == WAY_KVM && kvm->components & VM_ZMM_MORE;
}
#else
static void apply_way(struct vm *vm, enum way way)
{
    (void)vm;
    (void)way;
}

static bool has_avx512(const struct guest *guest, enum way way)
{
    (void)guest;
    (void)way;
    return false;
}
#endif

static void guest_create(struct guest *guest, enum way way)
{
    struct mf_error err = {0};
    struct vm_config config = {.mem = &guest->mem, .interrupt_signal = SIGUSR1};
    if (guest->ops->create(&config, &guest->vm, &err) != 0)
        fail_msg("%s: %s", way_names[way], err.message);
    apply_way(guest->vm, way);
}

static void guest_open_bytes(struct guest *guest, enum way way, uint64_t bytes)
{
    struct mf_error err = {0};
    assert_int_equal(vm_backend_get(backend_of(way), &guest->ops, &err), 0);
    assert_int_equal(mem_init(&guest->mem, bytes, &err), 0);
    assert_true(x86_build(&guest->mem, PORT_FIRST, PORT_LAST));
    guest_create(guest, way);
    const struct {
        mf_gva gva;
        uint64_t npages;
        unsigned prot;
    } ranges[] = {
        {CODE, CODE_PAGES, USER(PT_READ | PT_EXEC)},
        {DATA, DATA_PAGES, USER(PT_READ | PT_WRITE)},
        {HIGH, 2, USER(PT_READ | PT_WRITE)},
    };
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++)
        assert_int_equal(guest->ops->map(guest->vm, ranges[i].gva, ranges[i].npages,
                                         ranges[i].prot, &err),
                         0);
}

static void guest_open(struct guest *guest, enum way way)
{
    guest_open_bytes(guest, way, MEMORY_BYTES);
}

static void guest_close(struct guest *guest)
{
    guest->ops->destroy(guest->vm);
    mem_fini(&guest->mem);
}

static uint8_t *at(struct guest *guest, mf_gva gva)
{
    struct pt_page page;
    assert_true(pt_lookup(&guest->mem, gva & ~PAGE_MASK_LOW, &page));
    return (uint8_t *)mem_at(&guest->mem, page.gpa) + (gva & PAGE_MASK_LOW);
}

static mf_gpa gpa_of(struct guest *guest, mf_gva gva)
{
    return (mf_gpa)(at(guest, gva) - guest->mem.base);
}

#define PUT(guest, gva, piece) put(guest, gva, piece##_begin, piece##_end)

static void put(struct guest *guest, mf_gva gva, const uint8_t *begin, const uint8_t *end)
{
    for (const uint8_t *byte = begin; byte < end; byte++)
        *at(guest, gva + (uint64_t)(byte - begin)) = *byte;
}

static void aim(struct guest *guest, mf_gva gva)
{
    uint64_t *regs = &guest->vm->regs->rax;
    for (size_t i = 0; i < 16; i++)
        regs[i] = 0x1111111111111111 * (i % 7 + 1);
    guest->vm->regs->rsi = DATA;
    guest->vm->regs->rbx = 0;
    guest->vm->regs->rsp = STACK_TOP - 256;
    guest->vm->regs->rip = gva;
    guest->vm->regs->rflags = X86_RFLAGS;
    guest->vm->regs_changed = true;
}

static void run(struct guest *guest, struct vm_exit *exit)
{
    struct mf_error err = {0};
    memset(exit, 0, sizeof *exit);
    if (guest->ops->run(guest->vm, exit, &err) != 0)
        fail_msg("run: %s", err.message);
}

static void run_port(struct guest *guest, unsigned port)
{
    struct vm_exit exit;
    run(guest, &exit);
    if (exit.kind == VM_EXIT_EXCEPTION)
        print_error("exception %u at %#llx\n", exit.vector,
                    (unsigned long long)guest->vm->regs->rip);
    assert_int_equal(exit.kind, VM_EXIT_IO);
    assert_int_equal(exit.port, port);
}

static void save(struct guest *guest, struct vm_state *state)
{
    struct mf_error err = {0};
    memset(state, 0xa5, sizeof *state);
    if (guest->ops->save(guest->vm, state, &err) != 0)
        fail_msg("save: %s", err.message);
}

static void load(struct guest *guest, const struct vm_state *state)
{
    struct mf_error err = {0};
    if (guest->ops->load(guest->vm, state, &err) != 0)
        fail_msg("load: %s", err.message);
}

static bool has_word(struct guest *guest, const char *word)
{
    char text[256];
    guest->ops->describe(guest->vm, text, sizeof text);
    for (char *rest, *at_word = strtok_r(text, " ", &rest); at_word;
         at_word = strtok_r(NULL, " ", &rest))
        if (strcmp(at_word, word) == 0)
            return true;
    return false;
}

/* ---- x87, SSE and AVX ---- */

#define EACH16(op)                                                                           \
    op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13)  \
    op(14) op(15)
#define EACH_MORE(op)                                                                        \
    op(16) op(17) op(18) op(19) op(20) op(21) op(22) op(23) op(24) op(25) op(26) op(27)      \
    op(28) op(29) op(30) op(31)
#define EACH8(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7)

/* Each register gets a value of its own: RAX plus its number. */
#define PLANT_SSE(n) "add $0x101, %rax; movq %rax, %xmm" #n "; pshufd $0x44, %xmm" #n \
                     ", %xmm" #n "\n"
#define PLANT_AVX(n) "vinsertf128 $1, %xmm" #n ", %ymm" #n ", %ymm" #n "\n"
#define PLANT_512(n) "add $0x101, %rax; vpbroadcastq %rax, %zmm" #n "\n"
#define PLANT_MASK(n) "add $0x101, %rax; kmovq %rax, %k" #n "\n"
#define DUMP_AVX(n) "vextractf128 $1, %ymm" #n ", (512+16*" #n ")(%rsi)\n"
#define DUMP_512(n) "vmovdqu64 %zmm" #n ", (1024+64*" #n ")(%rsi)\n"
#define DUMP_MASK(n) "kmovq %k" #n ", %rax; mov %rax, (3072+8*" #n ")(%rsi)\n"
#define DUMP_BYTES 3136

/* The jump: Unicorn knows the arithmetic flags at a port write only from earlier blocks. */
PIECE(stop_here, "jmp 1f; 1: out %al, $0xb0\n");
PIECE(dump_sse, "fxsave64 (%rsi)\n");
PIECE(dump_avx, EACH16(DUMP_AVX));
PIECE(dump_512, EACH16(DUMP_512) EACH_MORE(DUMP_512) EACH8(DUMP_MASK));
PIECE(dumped, "out %al, $0xb1; ud2");
/* Also: rounding towards zero, flush to zero, single precision, unmasked zero divide. */
PIECE(plant_sse, "movq $0xfbc0, (%rsi); ldmxcsr (%rsi); movq $0xc7b, (%rsi); fldcw (%rsi)\n"
                 "fldpi; fldl2e; fld1; fldlg2\n" EACH16(PLANT_SSE));
PIECE(plant_avx, EACH16(PLANT_AVX));
PIECE(plant_512, EACH16(PLANT_512) EACH_MORE(PLANT_512) EACH8(PLANT_MASK));

#define CODE_DUMP CODE
#define CODE_PLANT (CODE + 2 * PAGE_BYTES)

/* At CODE_DUMP a stop, then a dump of the registers; at CODE_PLANT secrets, then the same. */
static void put_fpu_code(struct guest *guest, enum way way)
{
    bool avx = has_word(guest, "avx") && way != WAY_KVM_FXRSTOR, more = has_avx512(guest, way);
#define APPEND(piece) (PUT(guest, next, piece), next += (mf_gva)(piece##_end - piece##_begin))
    mf_gva next = CODE_PLANT;
    APPEND(plant_sse);
    if (more)
        APPEND(plant_512);
    else if (avx)
        APPEND(plant_avx);
    for (int i = 0; i < 2; i++) {
        APPEND(stop_here);
        APPEND(dump_sse);
        if (avx)
            APPEND(dump_avx);
        if (more)
            APPEND(dump_512);
        APPEND(dumped);
        next = CODE_DUMP;
    }
#undef APPEND
}

/* Runs on to the dump and takes it. */
static void take_dump(struct guest *guest, uint8_t *dump)
{
    memset(at(guest, DATA), 0, DUMP_BYTES);
    run_port(guest, 0xb1);
    memcpy(dump, at(guest, DATA), DUMP_BYTES);
}

/*
 * The pointers to the last x87 instruction and operand (FOP, FIP, FDP) stay as they are on
 * some processors; it is enough that they are not the old ones.
 */
static void check_dump(const uint8_t *got, const uint8_t *want, const uint8_t *secret)
{
    static const uint8_t zeros[16];
    assert_memory_equal(got, want, 6);
    if (secret && memcmp(secret + 8, zeros, 16) != 0)
        assert_memory_not_equal(got + 8, secret + 8, 16);
    assert_memory_equal(got + 24, want + 24, 464 - 24);
    assert_memory_equal(got + 512, want + 512, DUMP_BYTES - 512);
}

static void test_fpu(enum way way)
{
    struct guest guest;
    struct vm_state clean, planted, again;
    uint8_t first[DUMP_BYTES], secret[DUMP_BYTES], dump[DUMP_BYTES];
    guest_open(&guest, way);
    put_fpu_code(&guest, way);
    aim(&guest, CODE_DUMP);
    run_port(&guest, 0xb0);
    save(&guest, &clean);
    take_dump(&guest, first);
    struct mf_registers regs = *guest.vm->regs;

    aim(&guest, CODE_PLANT);
    guest.vm->regs->rax = 0x5ec4e7005ec4e700;
    run_port(&guest, 0xb0);
    save(&guest, &planted);
    take_dump(&guest, secret);
    assert_memory_not_equal(first, secret, 2);                   /* FCW */
    assert_memory_not_equal(first + 24, secret + 24, 4);         /* MXCSR */
    assert_memory_not_equal(first + 32, secret + 32, 8);         /* x87 */
    assert_memory_not_equal(first + 160, secret + 160, 256);     /* SSE */

    for (int round = 0; round < 3; round++) {
        load(&guest, &clean);
        save(&guest, &again);
        assert_memory_equal(&again.regs, &clean.regs, sizeof clean.regs);
        take_dump(&guest, dump);
        check_dump(dump, first, secret);
        assert_memory_equal(guest.vm->regs, &regs, sizeof regs);

        load(&guest, &clean);
        load(&guest, &planted);
        take_dump(&guest, dump);
        check_dump(dump, secret, NULL);
    }
    /* What stands where no component is must not matter. */
    again = planted;
    again.fpu.components = 0;
    load(&guest, &again);
    guest.vm->regs->rip = clean.regs.rip;
    guest.vm->regs_changed = true;
    take_dump(&guest, dump);
    check_dump(dump, first, secret);
    guest_close(&guest);
}

/* ---- General registers and flags ---- */

PIECE(flags, "push %rbx; popf; out %al, $0xb0; pushf; pop %rdx; out %al, $0xb1; ud2");
PIECE(steps, "inc %ebx; inc %ebx; inc %ebx; out %al, $0xb2; ud2");
PIECE(count, "1: inc %rbx; out %al, $0xb0; jmp 1b");

#define FLAGS_MANY UINT64_C(0x240cd5) /* all that CPL 3 can set but TF and NT */

static void test_registers(enum way way)
{
    struct guest guest;
    struct vm_state state, got;
    guest_open(&guest, way);
    PUT(&guest, CODE, flags);
    aim(&guest, CODE);
    guest.vm->regs->rbx = FLAGS_MANY | X86_RFLAGS;
    run_port(&guest, 0xb0);
    save(&guest, &state);
    assert_int_equal(state.regs.rflags, FLAGS_MANY | X86_RFLAGS);
    assert_int_equal(state.regs.rip, CODE + 4);
    assert_memory_equal(&state.regs, guest.vm->regs, sizeof state.regs);

    aim(&guest, CODE);
    guest.vm->regs->rbx = X86_RFLAGS;
    run_port(&guest, 0xb0);
    assert_int_equal(guest.vm->regs->rflags, X86_RFLAGS);
    load(&guest, &state);
    assert_memory_equal(&state.regs, guest.vm->regs, sizeof state.regs);
    run_port(&guest, 0xb1);
    assert_int_equal(guest.vm->regs->rdx, FLAGS_MANY | X86_RFLAGS);
    got.regs = *guest.vm->regs;
    got.regs.rdx = state.regs.rdx;
    got.regs.rip = state.regs.rip;
    assert_memory_equal(&got.regs, &state.regs, sizeof state.regs);
    guest_close(&guest);
}

/* TF traps behind the first instruction of the loaded state and not before it. */
static void test_trap_flag(enum way way)
{
    struct guest guest;
    struct vm_state state;
    struct vm_exit exit;
    struct mf_error err = {0};
    guest_open(&guest, way);
    PUT(&guest, CODE, steps);
    aim(&guest, CODE);
    save(&guest, &state);
    for (int round = 0; round < 3; round++) {
        state.regs.rflags = X86_RFLAGS | 0x100;
        load(&guest, &state);
        run(&guest, &exit);
        assert_int_equal(exit.kind, VM_EXIT_EXCEPTION);
        assert_int_equal(exit.vector, 1);
        assert_int_equal(guest.vm->regs->rip, CODE + 2);
        assert_int_equal(guest.vm->regs->rbx, 1);
        struct vm_state dead;
        if (way != WAY_SOFT) /* an emulator can go on after a fault */
            assert_int_equal(guest.ops->save(guest.vm, &dead, &err), MF_E_STATE);
        /* A guest that faulted is as good as new after a load. */
        state.regs.rflags = X86_RFLAGS;
        load(&guest, &state);
        run_port(&guest, 0xb2);
        assert_int_equal(guest.vm->regs->rbx, 3);
    }
    guest_close(&guest);
}

/* Nothing of an exit that is not finished yet gets into a loaded state, wherever that goes on. */
static void test_unfinished_exit(enum way way)
{
    struct guest guest;
    struct vm_state fresh, state;
    guest_open(&guest, way);
    PUT(&guest, CODE, count);
    aim(&guest, CODE);
    save(&guest, &fresh);
    assert_int_equal(fresh.regs.rip, CODE);
    for (int round = 0; round < 20; round++) {
        run_port(&guest, 0xb0);
        run_port(&guest, 0xb0);
        state = fresh;
        /* At the instruction that just left, too. */
        if (round % 2)
            state.regs.rip += 3;
        load(&guest, &state);
        run_port(&guest, 0xb0);
        assert_int_equal(guest.vm->regs->rbx, round % 2 ? 0 : 1);
        assert_int_equal(guest.vm->regs->rip, CODE + 5);
        if (round % 3 == 0)
            save(&guest, &state);
    }
    /* What the host writes to the registers before a save is part of the state. */
    guest.vm->regs->rbx = 77;
    guest.vm->regs_changed = true;
    save(&guest, &state);
    assert_int_equal(state.regs.rbx, 77);
    run_port(&guest, 0xb0);
    assert_int_equal(guest.vm->regs->rbx, 78);
    load(&guest, &state);
    run_port(&guest, 0xb0);
    assert_int_equal(guest.vm->regs->rbx, 78);
    guest_close(&guest);
}

static void test_interrupt_is_kept(enum way way)
{
    struct guest guest;
    struct vm_exit exit;
    struct vm_state state;
    guest_open(&guest, way);
    PUT(&guest, CODE, count);
    aim(&guest, CODE);
    for (int round = 0; round < 20; round++) {
        run_port(&guest, 0xb0);
        guest.ops->interrupt(guest.vm);
        save(&guest, &state);
        if (round % 2)
            load(&guest, &state);
        run(&guest, &exit);
        assert_int_equal(exit.kind, VM_EXIT_INTERRUPT);
        save(&guest, &state);
        assert_int_equal(state.regs.rbx, round + 1);
    }
    guest_close(&guest);
}

/* ---- Segments ---- */

PIECE(read_bases, "out %al, $0xb0; mov %fs:8, %rax; mov %gs:16, %rcx; out %al, $0xb1; ud2");
PIECE(read_selectors, "out %al, $0xb0; xor %eax, %eax; xor %ecx, %ecx; mov %ds, %eax; "
                      "mov %es, %ecx; mov %fs, %r8d; mov %gs, %r9d; out %al, $0xb1; ud2");
PIECE(write_selectors, "mov %eax, %ds; mov %eax, %es; mov %eax, %gs; mov %eax, %fs; "
                       "out %al, $0xb2; ud2");

static void test_segments(enum way way)
{
    /* Null, ours, and those that a KVM without hardware support may let through. */
    static const uint16_t selectors[] = {0, 0x1b, 0x18, 0x23, 3, 0x2b, 0x33, 0x7b};
    struct guest guest;
    struct vm_exit exit;
    struct vm_state bases, plain;
    struct mf_error err = {0};
    uint64_t values[2] = {0x1122334455667788, 0x99aabbccddeeff00};
    guest_open(&guest, way);
    PUT(&guest, CODE, read_bases);
    PUT(&guest, CODE + 0x100, write_selectors);
    PUT(&guest, CODE + 0x200, read_selectors);
    aim(&guest, CODE + 0x200);
    run_port(&guest, 0xb0);
    save(&guest, &plain);
    run_port(&guest, 0xb1);
    struct mf_registers seen = *guest.vm->regs;

    memcpy(at(&guest, HIGH + 8), &values[0], 8);
    memcpy(at(&guest, DATA + 16), &values[1], 8);
    assert_int_equal(guest.ops->set_segment_base(guest.vm, 0, HIGH, &err), 0);
    assert_int_equal(guest.ops->set_segment_base(guest.vm, 1, DATA, &err), 0);
    aim(&guest, CODE);
    run_port(&guest, 0xb0);
    save(&guest, &bases);
    assert_int_equal(bases.segment_base[0], HIGH);
    assert_int_equal(bases.segment_base[1], DATA);

    for (size_t i = 0; i < ARRAY_LEN(selectors); i++) {
        load(&guest, &bases);
        aim(&guest, CODE + 0x100);
        guest.vm->regs->rax = selectors[i];
        run(&guest, &exit); /* a fault is allowed, and must leave nothing, too */
        assert_true(exit.kind == VM_EXIT_IO || exit.kind == VM_EXIT_EXCEPTION);
        load(&guest, &bases);
        assert_int_equal(guest.ops->get_segment_base(guest.vm, 0), HIGH);
        run_port(&guest, 0xb1);
        assert_int_equal(guest.vm->regs->rax, values[0]);
        assert_int_equal(guest.vm->regs->rcx, values[1]);
        load(&guest, &plain);
        assert_int_equal(guest.ops->get_segment_base(guest.vm, 0), 0);
        assert_int_equal(guest.ops->get_segment_base(guest.vm, 1), 0);
        run_port(&guest, 0xb1);
        assert_memory_equal(guest.vm->regs, &seen, sizeof seen);
    }
    guest_close(&guest);
}

/* ---- States that cannot be ---- */

/* Of kvm alone: the emulator takes them, and the guest faults at once. */
static void check_impossible(struct guest *guest, const struct vm_state *good)
{
    struct mf_error err = {0};
    struct vm_state bad = *good;
    bad.regs.rip = UINT64_C(1) << 47;
    assert_int_equal(guest->ops->load(guest->vm, &bad, &err), MF_E_ARGUMENT);
    bad = *good;
    bad.segment_base[1] = UINT64_C(1) << 47;
    assert_int_equal(guest->ops->load(guest->vm, &bad, &err), MF_E_ARGUMENT);
    bad = *good;
    bad.segment[2] = X86_SEL_KERNEL_DATA;
    assert_int_equal(guest->ops->load(guest->vm, &bad, &err), MF_E_ARGUMENT);
    bad = *good;
    bad.fpu.components |= VM_SSE;
    memset(bad.fpu.fxsave + 24, 0xff, 4); /* MXCSR */
    assert_int_equal(guest->ops->load(guest->vm, &bad, &err), MF_E_BACKEND);
    bad = *good;
    bad.fpu.components |= UINT64_C(1) << 60;
    assert_int_equal(guest->ops->load(guest->vm, &bad, &err), MF_E_BACKEND);
}

static void test_refused(enum way way)
{
    struct guest guest;
    struct vm_state good, bad;
    struct mf_error err = {0};
    guest_open(&guest, way);
    PUT(&guest, CODE, count);
    aim(&guest, CODE);
    run_port(&guest, 0xb0);
    save(&guest, &good);
    if (way != WAY_SOFT)
        check_impossible(&guest, &good);
    if (!has_word(&guest, "avx")) {
        bad = good;
        bad.fpu.components |= VM_AVX;
        bad.fpu.ymm_high[3][2] = 1;
        assert_int_equal(guest.ops->load(guest.vm, &bad, &err), MF_E_BACKEND);
        assert_non_null(strstr(err.message, "AVX"));
        bad = good;
        bad.fpu.components |= VM_ZMM_MORE;
        bad.fpu.zmm_more[3][2] = 1;
        assert_int_equal(guest.ops->load(guest.vm, &bad, &err), MF_E_BACKEND);
    }
    /* RFLAGS beyond what CPL 3 can set are dropped: IOPL here. */
    bad = good;
    bad.regs.rflags |= 0x3000;
    load(&guest, &bad);
    assert_int_equal(guest.vm->regs->rflags, good.regs.rflags);
    run_port(&guest, 0xb0);
    assert_int_equal(guest.vm->regs->rbx, good.regs.rbx + 1);
    guest_close(&guest);
}

/* ---- Moving to another VM ---- */

/* Saves, ends the VM, copies its memory, and goes on in a new VM over the copy. */
static void move(struct guest *guest, enum way way)
{
    struct vm_state state;
    struct mf_error err = {0};
    struct mem copy;
    save(guest, &state);
    guest->ops->destroy(guest->vm);
    assert_int_equal(mem_init(&copy, MEMORY_BYTES, &err), 0);
    memcpy(copy.base, guest->mem.base, MEMORY_BYTES);
    copy.next = guest->mem.next;
    mem_fini(&guest->mem);
    guest->mem = copy;
    guest_create(guest, way);
    guest->ops->retable(guest->vm, NULL, SIZE_MAX); /* the tables came without the backend's help */
    load(guest, &state);
}

/* RBX counts, RAX mixes, XMM0 and ST0 sum up; ends when the word at RSI is set. */
#define COMPUTE_SETUP                                                                  \
    "mov $1, %ecx; cvtsi2sd %ecx, %xmm1; xorpd %xmm0, %xmm0; xor %ebx, %ebx; "         \
    "xor %eax, %eax; fld1; fldz; movabs $6364136223846793005, %rdx\n"
#define COMPUTE_STEP                                                                   \
    "inc %rbx; imul %rdx, %rax; add %rbx, %rax; addsd %xmm1, %xmm0; fadd %st(1), %st\n"
#define COMPUTE_END "cvttsd2si %xmm0, %rcx; fistpll 8(%rsi); out %al, $0xb3; ud2\n"

PIECE(compute, COMPUTE_SETUP "1: " COMPUTE_STEP "cmpl $0, (%rsi); je 1b; " COMPUTE_END);
PIECE(exits, COMPUTE_SETUP "1: " COMPUTE_STEP "out %al, $0xb0\n" COMPUTE_STEP
             "mov %rcx, %r12; syscall; mov %r12, %rcx\n" COMPUTE_STEP
             "out %al, $0xb1; cmp $90, %rbx; jb 1b; " COMPUTE_END);

static void check_computed(struct guest *guest)
{
    uint64_t mixed = 0, sum;
    for (uint64_t i = 1; i <= guest->vm->regs->rbx; i++)
        mixed = mixed * UINT64_C(6364136223846793005) + i;
    memcpy(&sum, at(guest, DATA + 8), sizeof sum);
    assert_int_equal(guest->vm->regs->rax, mixed);
    assert_int_equal(guest->vm->regs->rcx, guest->vm->regs->rbx);
    assert_int_equal(sum, guest->vm->regs->rbx);
}

static void test_move_at_exits(enum way way)
{
    struct guest guest;
    struct vm_exit exit;
    int moves = 0, syscalls = 0;
    guest_open(&guest, way);
    PUT(&guest, CODE, exits);
    aim(&guest, CODE);
    move(&guest, way);
    for (;;) {
        run(&guest, &exit);
        if (exit.kind == VM_EXIT_IO && exit.port == 0xb3)
            break;
        assert_true(exit.kind == VM_EXIT_IO || exit.kind == VM_EXIT_SYSCALL);
        syscalls += exit.kind == VM_EXIT_SYSCALL;
        move(&guest, way);
        moves++;
    }
    assert_int_equal(moves, 90);
    assert_int_equal(syscalls, 30);
    assert_int_equal(guest.vm->regs->rbx, 90);
    check_computed(&guest);
    guest_close(&guest);
}

struct interrupter {
    struct guest *guest;
    atomic_int wanted; /* interrupts asked for so far */
    atomic_bool quit;
};

/* Interrupts once for each request, after a delay that differs each time. */
static void *interrupt_thread(void *context)
{
    struct interrupter *it = context;
    int done = 0;
    while (!atomic_load(&it->quit)) {
        if (atomic_load(&it->wanted) == done)
            continue;
        done++;
        for (volatile int spin = done * 977 % 40000; spin > 0; spin--)
            ;
        it->guest->ops->interrupt(it->guest->vm);
    }
    return NULL;
}

static void run_interrupted(struct interrupter *it)
{
    struct vm_exit exit;
    atomic_fetch_add(&it->wanted, 1);
    run(it->guest, &exit);
    assert_int_equal(exit.kind, VM_EXIT_INTERRUPT);
    assert_in_range(it->guest->vm->regs->rip, CODE, CODE + PAGE_BYTES);
}

static void test_move_interrupted(enum way way)
{
    struct guest guest;
    pthread_t thread;
    struct interrupter it = {.guest = &guest};
    const uint32_t one = 1;
    guest_open(&guest, way);
    PUT(&guest, CODE, compute);
    aim(&guest, CODE);
    assert_int_equal(pthread_create(&thread, NULL, interrupt_thread, &it), 0);
    for (int round = 0; round < 60; round++) {
        run_interrupted(&it);
        move(&guest, way);
    }
    atomic_store(&it.quit, true);
    pthread_join(thread, NULL);
    memcpy(at(&guest, DATA), &one, sizeof one);
    run_port(&guest, 0xb3);
    assert_true(guest.vm->regs->rbx > 0);
    check_computed(&guest);
    guest_close(&guest);
}

/* A state from the middle, loaded many times into one VM that ran on, gives the same each time. */
static void test_load_interrupted(enum way way)
{
    struct guest guest;
    pthread_t thread;
    struct vm_state state;
    struct interrupter it = {.guest = &guest};
    const uint32_t one = 1, zero = 0;
    guest_open(&guest, way);
    PUT(&guest, CODE, compute);
    aim(&guest, CODE);
    assert_int_equal(pthread_create(&thread, NULL, interrupt_thread, &it), 0);
    run_interrupted(&it);
    save(&guest, &state);
    for (int round = 0; round < 100; round++) {
        load(&guest, &state);
        run_interrupted(&it);
        if (round % 10 == 0)
            save(&guest, &state);
    }
    atomic_store(&it.quit, true);
    pthread_join(thread, NULL);
    uint64_t counted[2];
    for (int round = 0; round < 2; round++) {
        load(&guest, &state);
        memcpy(at(&guest, DATA), &one, sizeof one);
        run_port(&guest, 0xb3);
        memcpy(at(&guest, DATA), &zero, sizeof zero);
        counted[round] = guest.vm->regs->rbx;
        check_computed(&guest);
    }
    assert_int_equal(counted[0], counted[1]);
    guest_close(&guest);
}

/* ---- Written pages ---- */

/* Writes to pages RBX, RBX + RDX, ... below RCX, counted from RSI; reads all pages between. */
PIECE(write_pages, "1: mov %rbx, %rax; shl $12, %rax; incb 5(%rsi,%rax); mov 4096(%rsi,%rax), %r8; "
                   "add %rdx, %rbx; cmp %rcx, %rbx; jb 1b; out %al, $0xb0; ud2");

static void bit_set(uint64_t *bitmap, uint64_t page)
{
    bitmap[page / 64] |= UINT64_C(1) << (page % 64);
}

/* Lets the guest write every `step`th page of DATA, and notes which pages that are. */
static void write_pages(struct guest *guest, uint64_t first, uint64_t step, uint64_t *bitmap)
{
    aim(guest, CODE);
    guest->vm->regs->rbx = first;
    guest->vm->regs->rdx = step;
    guest->vm->regs->rcx = DATA_PAGES - 1;
    run_port(guest, 0xb0);
    for (uint64_t i = first; i < DATA_PAGES - 1; i += step)
        bit_set(bitmap, gpa_of(guest, DATA + i * PAGE_BYTES) >> PAGE_SHIFT);
}

static void check_dirty(struct guest *guest, const uint64_t *want)
{
    struct mf_error err = {0};
    uint64_t got[WORDS] = {0};
    assert_int_equal(guest->ops->dirty_collect(guest->vm, got, &err), 0);
    for (size_t i = 0; i < WORDS; i++)
        if (got[i] != want[i])
            fail_msg("word %zu: %#llx, not %#llx", i, (unsigned long long)got[i],
                     (unsigned long long)want[i]);
}

static void start_log(struct guest *guest, enum way way)
{
    struct mf_error err = {0};
    assert_int_equal(guest->ops->dirty_start(guest->vm, &err), 0);
#ifdef __x86_64__
    if (way == WAY_KVM_OLD_LOG) {
        struct kvm_vm *kvm = (struct kvm_vm *)guest->vm;
        struct kvm_enable_cap cap = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2};
        assert_int_equal(ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &cap), 0);
        kvm->dirty_manual = false;
    }
#else
    (void)way;
#endif
}

static void test_dirty(enum way way)
{
    struct guest guest;
    struct mf_error err = {0};
    uint64_t a[WORDS] = {0}, b[WORDS] = {0}, none[WORDS] = {0}, both[WORDS], some[WORDS] = {0};
    guest_open(&guest, way);
    PUT(&guest, CODE, write_pages);
    write_pages(&guest, 0, 1, both); /* before the start: not seen */
    start_log(&guest, way);
    check_dirty(&guest, none);
    write_pages(&guest, 0, 3, a);
    check_dirty(&guest, a);
    check_dirty(&guest, a);
    assert_int_equal(guest.ops->dirty_clean(guest.vm, a, &err), 0);
    check_dirty(&guest, none);
    write_pages(&guest, 1, 7, b);
    check_dirty(&guest, b);

    /* What is not cleaned stays reported; bits that are set in the bitmap already stay. */
    write_pages(&guest, 0, 3, a);
    for (size_t i = 0; i < WORDS; i++)
        both[i] = a[i] | b[i];
    check_dirty(&guest, both);
    memcpy(some, b, sizeof some);
    for (size_t i = 0; i < WORDS; i++)
        some[i] &= ~a[i];
    assert_int_equal(guest.ops->dirty_clean(guest.vm, some, &err), 0);
    check_dirty(&guest, a);
    uint64_t full[WORDS];
    memset(full, 0xff, sizeof full);
    assert_int_equal(guest.ops->dirty_collect(guest.vm, full, &err), 0);
    for (size_t i = 0; i < WORDS; i++)
        assert_int_equal(full[i], UINT64_MAX);

    /* Cleaning without looking first, and cleaning everything. */
    write_pages(&guest, 1, 7, b);
    memset(full, 0xff, sizeof full);
    assert_int_equal(guest.ops->dirty_clean(guest.vm, full, &err), 0);
    check_dirty(&guest, none);

    /* Nothing is lost when all translations go, or when rights change. */
    write_pages(&guest, 0, 3, a);
    guest.ops->retable(guest.vm, NULL, SIZE_MAX);
    check_dirty(&guest, a);
    guest.ops->protect(guest.vm, DATA, 8, USER(PT_READ));
    guest.ops->protect(guest.vm, DATA, 8, USER(PT_READ | PT_WRITE));
    check_dirty(&guest, a);
    assert_int_equal(guest.ops->dirty_clean(guest.vm, a, &err), 0);
    check_dirty(&guest, none);
    /* A page that is read where no translation was may count as written, once. */
    write_pages(&guest, 1, 7, b);
    memset(both, 0, sizeof both);
    assert_int_equal(guest.ops->dirty_collect(guest.vm, both, &err), 0);
    for (size_t i = 0; i < WORDS; i++)
        assert_int_equal(both[i] & b[i], b[i]);
    assert_int_equal(guest.ops->dirty_clean(guest.vm, both, &err), 0);
    check_dirty(&guest, none);
    write_pages(&guest, 1, 7, b);
    check_dirty(&guest, b);
    start_log(&guest, way);
    check_dirty(&guest, none);
    guest_close(&guest);
}

PIECE(read_word, "1: mov (%rsi), %rax; out %al, $0xb0; jmp 1b");
PIECE(write_word, "mov %rax, (%rsi); out %al, $0xb0; ud2");

/* Pages at both ends of a large memory, with one in between that is not to be cleaned. */
static void test_dirty_far(enum way way)
{
    const uint64_t bytes = (UINT64_C(320) << 20) + PAGE_BYTES;
    const mf_gva far = UINT64_C(0x200000000000);
    const mf_gpa gpas[] = {UINT64_C(8) << 20, UINT64_C(160) << 20, bytes - PAGE_BYTES};
    enum { FAR_WORDS = (320 * 256 + 1 + 63) / 64 };
    struct guest guest;
    struct mf_error err = {0};
    guest_open_bytes(&guest, way, bytes);
    PUT(&guest, CODE, write_word);
    for (size_t i = 0; i < ARRAY_LEN(gpas); i++)
        assert_int_equal(guest.ops->map_at(guest.vm, far + i * PAGE_BYTES, gpas[i], 1,
                                           USER(PT_READ | PT_WRITE), &err),
                         0);
    start_log(&guest, way);
    for (int round = 0; round < 3; round++) {
        uint64_t got[FAR_WORDS] = {0}, want[FAR_WORDS] = {0};
        for (size_t i = 0; i < ARRAY_LEN(gpas); i++) {
            aim(&guest, CODE);
            guest.vm->regs->rsi = far + i * PAGE_BYTES;
            run_port(&guest, 0xb0);
            bit_set(want, gpas[i] >> PAGE_SHIFT);
        }
        assert_int_equal(guest.ops->dirty_collect(guest.vm, got, &err), 0);
        assert_memory_equal(got, want, sizeof got);
        want[gpas[1] / PAGE_BYTES / 64] = 0;
        assert_int_equal(guest.ops->dirty_clean(guest.vm, want, &err), 0);
        memset(got, 0, sizeof got);
        memset(want, 0, sizeof want);
        bit_set(want, gpas[1] >> PAGE_SHIFT);
        assert_int_equal(guest.ops->dirty_collect(guest.vm, got, &err), 0);
        assert_memory_equal(got, want, sizeof got);
    }
    guest_close(&guest);
}

/* ---- Replaced tables ---- */

#define FAR_A UINT64_C(0x10000000)
#define FAR_B UINT64_C(0x10200000) /* in the next table */

static uint64_t read_word(struct guest *guest, mf_gva gva)
{
    aim(guest, CODE);
    guest->vm->regs->rsi = gva;
    run_port(guest, 0xb0);
    return guest->vm->regs->rax;
}

static void swap_pages(struct guest *guest, mf_gva x, mf_gva y)
{
    struct pt_page page_x, page_y;
    assert_true(pt_unmap(&guest->mem, x, &page_x));
    assert_true(pt_unmap(&guest->mem, y, &page_y));
    assert_true(pt_map(&guest->mem, x, page_y.gpa, page_y.prot));
    assert_true(pt_map(&guest->mem, y, page_x.gpa, page_x.prot));
}

static void test_retable_pages(enum way way)
{
    struct guest guest;
    struct vm_exit exit;
    guest_open(&guest, way);
    PUT(&guest, CODE, read_word);
    PUT(&guest, CODE + 0x100, write_word);
    const mf_gva x = DATA, y = DATA + 5 * PAGE_BYTES;
    *at(&guest, x) = 1;
    *at(&guest, y) = 2;
    for (int round = 0; round < 4; round++) {
        assert_int_equal(read_word(&guest, x), 1 + round % 2);
        assert_int_equal(read_word(&guest, y), 2 - round % 2);
        swap_pages(&guest, x, y);
        mf_gpa stale[] = {gpa_of(&guest, x), gpa_of(&guest, y)};
        guest.ops->retable(guest.vm, stale, 2);
    }
    /* A right that went away, among adjacent pages. */
    mf_gpa stale[3];
    for (size_t i = 0; i < ARRAY_LEN(stale); i++) {
        aim(&guest, CODE + 0x100);
        guest.vm->regs->rsi = x + i * PAGE_BYTES;
        run_port(&guest, 0xb0);
        stale[i] = gpa_of(&guest, x + i * PAGE_BYTES);
        assert_true(pt_protect(&guest.mem, x + i * PAGE_BYTES, USER(PT_READ)));
    }
    guest.ops->retable(guest.vm, stale, ARRAY_LEN(stale));
    aim(&guest, CODE + 0x100);
    guest.vm->regs->rsi = x + 2 * PAGE_BYTES;
    run(&guest, &exit);
    assert_int_equal(exit.kind, VM_EXIT_EXCEPTION);
    assert_int_equal(exit.error_code, 7);
    guest_close(&guest);
}

/* The entry that leads to the last table of `gva`. */
static uint64_t *table_entry(struct guest *guest, mf_gva gva)
{
    uint64_t *table = mem_at(&guest->mem, LAYOUT_GPA(PML4));
    for (int level = 3; level > 1; level--)
        table = mem_at(&guest->mem, table[(gva >> (12 + 9 * level)) & 511] & ~UINT64_C(0xfff));
    return &table[(gva >> 21) & 511];
}

/* Tables trade places: what the CPU kept of them must not show up at their new place. */
static void test_retable_tables(enum way way)
{
    struct guest guest;
    struct mf_error err = {0};
    const unsigned prot = USER(PT_READ | PT_WRITE);
    guest_open(&guest, way);
    PUT(&guest, CODE, read_word);
    assert_int_equal(guest.ops->map(guest.vm, FAR_A, 2, prot, &err), 0);
    assert_int_equal(guest.ops->map(guest.vm, FAR_B, 2, prot, &err), 0);
    *at(&guest, FAR_A) = 1;
    *at(&guest, FAR_B) = 2;
    for (int round = 0; round < 4; round++) {
        assert_int_equal(read_word(&guest, FAR_A), 1 + round % 2);
        assert_int_equal(read_word(&guest, FAR_B), 2 - round % 2);
        uint64_t *a = table_entry(&guest, FAR_A), *b = table_entry(&guest, FAR_B), entry = *a;
        *a = *b;
        *b = entry;
        guest.ops->retable(guest.vm, NULL, SIZE_MAX);
    }
    guest_close(&guest);
}

/* ---- The resume page of the kvm backend ---- */

#ifdef __x86_64__
PIECE(find_secret, "mov %rdi, %rsi; mov $512, %ecx; 1: cmp %rax, (%rsi); je 2f; add $8, %rsi; "
                   "dec %ecx; jnz 1b; out %al, $0xb0; 2: out %al, $0xb1; ud2");

static void test_resume_page(enum way way)
{
    struct guest guest;
    struct vm_state fresh, planted, got;
    guest_open(&guest, way);
    put_fpu_code(&guest, way);
    PUT(&guest, CODE + PAGE_BYTES, find_secret);
    aim(&guest, CODE + PAGE_BYTES);
    guest.vm->regs->rdi = X86_RESUME_GVA;
    save(&guest, &fresh);
    aim(&guest, CODE_PLANT);
    guest.vm->regs->rax = 0x5ec4e7005ec4e700;
    run_port(&guest, 0xb0);
    save(&guest, &planted);
    uint64_t secret;
    memcpy(&secret, planted.fpu.fxsave + 160, sizeof secret); /* XMM0 */
    assert_int_equal(secret >> 32, 0x5ec4e700);
    load(&guest, &planted);
    run_port(&guest, 0xb1);

    /* An interrupt in the middle of the page shows the state that is being loaded. */
    struct kvm_vm *kvm = (struct kvm_vm *)guest.vm;
    guest.vm->regs->rip = X86_RESUME_GVA + 10;
    kvm_settle_interrupt(kvm);
    assert_int_equal(guest.vm->regs->rip, planted.regs.rip);
    assert_int_equal(guest.vm->regs->rax, planted.regs.rax);
    assert_int_equal(guest.vm->regs->rdx, planted.regs.rdx);
    save(&guest, &got);
    assert_memory_equal(&got.fpu, &planted.fpu, sizeof got.fpu);

    /* What an earlier load left there is gone after the next one. */
    fresh.regs.rax = secret;
    fresh.regs.rflags |= 0x100; /* this one does not use the page */
    load(&guest, &fresh);
    struct vm_exit exit;
    run(&guest, &exit);
    assert_int_equal(exit.kind, VM_EXIT_EXCEPTION);
    const uint8_t *page = mem_at(&guest.mem, LAYOUT_GPA(RESUME));
    for (size_t i = 0; i + 8 <= PAGE_BYTES; i++)
        assert_memory_not_equal(page + i, &secret, 8);
    fresh.regs.rflags = X86_RFLAGS;
    fresh.regs.rdx = secret; /* RAX and RDX pass through the page: this shows that it is read */
    load(&guest, &fresh);
    run_port(&guest, 0xb1);
    fresh.regs.rdx = fresh.regs.rax = 1;
    load(&guest, &fresh);
    guest.vm->regs->rax = guest.vm->regs->rdx = 0x1234;
    guest.vm->regs_changed = true;
    run_port(&guest, 0xb1);
    for (size_t i = 0; i + 8 <= PAGE_BYTES; i++)
        assert_memory_not_equal(page + i, &secret, 8);
    guest_close(&guest);
}
/*
 * An interrupt in the stub of SYSCALL, where hardware is at CPL 0. Played here by writing
 * to the view of the registers, since not every KVM goes through CPL 0.
 */
static void test_syscall_stub(enum way way)
{
    static const mf_gva places[] = {X86_SYSCALL_GVA, X86_SYSRET_GVA};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        struct guest guest;
        struct vm_state state;
        struct mf_error err = {0};
        guest_open(&guest, way);
        struct kvm_vm *kvm = (struct kvm_vm *)guest.vm;
        PUT(&guest, CODE, count);
        aim(&guest, CODE);
        run_port(&guest, 0xb0);
        guest.vm->regs->rip = places[i];
        guest.vm->regs->rcx = CODE + 2;
        guest.vm->regs->r11 = X86_RFLAGS | 1;
        guest.vm->regs->rflags = 2;
        kvm->run->s.regs.sregs.cs.dpl = 0;
        kvm->run->s.regs.sregs.cs.selector = X86_SEL_KERNEL_CODE;
        kvm->after = KVM_AFTER_SIGNAL;
        kvm->out_pending = false;
        kvm_settle_interrupt(kvm);
        save(&guest, &state);
        assert_int_equal(state.regs.rip, i == 0 ? CODE : CODE + 2);
        assert_int_equal(state.regs.rflags, X86_RFLAGS | 1);
        state.regs.rip = CODE;
        load(&guest, &state);
        run_port(&guest, 0xb0);
        assert_int_equal(guest.vm->regs->rbx, 2);

        /* In the stub of an exception there is no way back. */
        guest.vm->regs->rip = X86_STUB_GVA;
        kvm->run->s.regs.sregs.cs.dpl = 0;
        kvm->after = KVM_AFTER_SIGNAL;
        kvm->out_pending = false;
        kvm_settle_interrupt(kvm);
        assert_int_equal(guest.ops->save(guest.vm, &state, &err), MF_E_STATE);
        guest_close(&guest);
    }
}
#endif

/* ---- All ways ---- */

static void need(enum way way)
{
    if (usable[way])
        return;
    print_message("skipped: %s\n", way_names[way]);
    skip();
}

#define ON(name, way)                         \
    static void name##_on_##way(void **state) \
    {                                         \
        (void)state;                          \
        need(way);                            \
        name(way);                            \
    }

#define TESTS(test)             \
    test(test_fpu)              \
    test(test_registers)        \
    test(test_trap_flag)        \
    test(test_unfinished_exit)  \
    test(test_interrupt_is_kept) \
    test(test_segments)         \
    test(test_refused)          \
    test(test_move_at_exits)    \
    test(test_move_interrupted) \
    test(test_load_interrupted) \
    test(test_dirty)            \
    test(test_dirty_far)        \
    test(test_retable_pages)    \
    test(test_retable_tables)

#define ON_EACH(name) ON(name, WAY_KVM) ON(name, WAY_SOFT)
TESTS(ON_EACH)
ON(test_fpu, WAY_KVM_IOCTL)
ON(test_fpu, WAY_KVM_FXRSTOR)
ON(test_unfinished_exit, WAY_KVM_IOCTL)
ON(test_move_interrupted, WAY_KVM_IOCTL)
ON(test_load_interrupted, WAY_KVM_FXRSTOR)
ON(test_dirty, WAY_KVM_OLD_LOG)
#ifdef __x86_64__
ON(test_resume_page, WAY_KVM)
ON(test_syscall_stub, WAY_KVM)
#endif

static void probe_all(void)
{
    for (enum way way = 0; way < WAYS; way++) {
        struct mf_backend_info info;
        const struct vm_ops *ops;
        usable[way] = mf_backend_probe(backend_of(way), &info, NULL) == 0 && info.usable &&
                      vm_backend_get(backend_of(way), &ops, NULL) == 0 && ops->save;
    }
}

int main(void)
{
    alarm(100); /* a lost interrupt must not hang the suite */
    probe_all();
    const struct CMUnitTest tests[] = {
#define ENTRY(name, way) cmocka_unit_test(name##_on_##way),
#define ENTRIES(name) ENTRY(name, WAY_KVM) ENTRY(name, WAY_SOFT)
        TESTS(ENTRIES)
        ENTRY(test_fpu, WAY_KVM_IOCTL)
        ENTRY(test_fpu, WAY_KVM_FXRSTOR)
        ENTRY(test_unfinished_exit, WAY_KVM_IOCTL)
        ENTRY(test_move_interrupted, WAY_KVM_IOCTL)
        ENTRY(test_load_interrupted, WAY_KVM_FXRSTOR)
        ENTRY(test_dirty, WAY_KVM_OLD_LOG)
#ifdef __x86_64__
        ENTRY(test_resume_page, WAY_KVM)
        ENTRY(test_syscall_stub, WAY_KVM)
#endif
    };
    return cmocka_run_group_tests_name("vm state", tests, NULL, NULL);
}
