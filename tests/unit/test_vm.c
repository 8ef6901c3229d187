/*
 * The conformance test of struct vm_ops: pieces of machine code that run on every
 * backend of this host, with equal exits, registers and fault details demanded from
 * all of them. A backend that does not work here is skipped by name.
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
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define USER(prot) ((prot) | PT_USER)
#define CODE UINT64_C(0x400000)
#define CODE_PAGES 2
#define DATA UINT64_C(0x600000)
#define DATA_PAGES 16
#define READONLY UINT64_C(0x700000)
#define NOACCESS UINT64_C(0x710000)
#define NOWHERE UINT64_C(0x800000)
#define STACK_TOP (DATA + DATA_PAGES * PAGE_BYTES)
#define HIGH UINT64_C(0x7ff000000000)

/* The pieces below name the supervisor's addresses in digits. */
_Static_assert(LAYOUT_GVA_KERNEL == UINT64_C(0x7fff80000000), "as in the pieces");

#define PORT_FIRST 0xb0
#define PORT_LAST 0xb3
#define MEMORY_BYTES (UINT64_C(4) << 20)

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

/* The backends that work here; probed once. */
static bool usable[MF_BACKEND_SOFT + 1];
static char why_not[MF_BACKEND_SOFT + 1][256];

static void guest_open(struct guest *guest, enum mf_backend backend)
{
    struct mf_error err = {0};
    struct vm_config config = {.mem = &guest->mem, .interrupt_signal = SIGUSR1};
    assert_int_equal(vm_backend_get(backend, &guest->ops, &err), 0);
    assert_int_equal(mem_init(&guest->mem, MEMORY_BYTES, &err), 0);
    assert_true(x86_build(&guest->mem, PORT_FIRST, PORT_LAST));
    if (guest->ops->create(&config, &guest->vm, &err) != 0)
        fail_msg("%s: %s", mf_backend_name(backend), err.message);
    const struct {
        mf_gva gva;
        uint64_t npages;
        unsigned prot;
    } ranges[] = {
        {CODE, CODE_PAGES, USER(PT_READ | PT_EXEC)}, {DATA, DATA_PAGES, USER(PT_READ | PT_WRITE)},
        {READONLY, 1, USER(PT_READ)},                {NOACCESS, 1, PT_NONE},
        {HIGH, 2, USER(PT_READ | PT_WRITE)},
    };
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++)
        assert_int_equal(guest->ops->map(guest->vm, ranges[i].gva, ranges[i].npages,
                                         ranges[i].prot, &err),
                         0);
}

static void guest_close(struct guest *guest)
{
    guest->ops->destroy(guest->vm);
    mem_fini(&guest->mem);
}

/* Host address of a guest byte, which must be mapped. */
static uint8_t *at(struct guest *guest, mf_gva gva)
{
    struct pt_page page;
    assert_true(pt_lookup(&guest->mem, gva & ~PAGE_MASK_LOW, &page));
    return (uint8_t *)mem_at(&guest->mem, page.gpa) + (gva & PAGE_MASK_LOW);
}

static void load(struct guest *guest, mf_gva gva, const uint8_t *begin, const uint8_t *end)
{
    for (const uint8_t *byte = begin; byte < end; byte++)
        *at(guest, gva + (uint64_t)(byte - begin)) = *byte;
}

/* Known values in all registers, RIP at `gva`. */
static void aim(struct guest *guest, mf_gva gva)
{
    uint64_t *regs = &guest->vm->regs->rax;
    for (size_t i = 0; i < 16; i++)
        regs[i] = 0x1111111111111111 * (i % 7 + 1);
    guest->vm->regs->rsi = DATA;
    guest->vm->regs->rdi = READONLY;
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

/* ---- Exits of single pieces ---- */

struct expect {
    enum vm_exit_kind kind;
    unsigned detail; /* vector, or port */
    uint64_t error_code, address;
    mf_gva rip; /* below 4096: from CODE on */
};

struct piece {
    const char *name;
    const uint8_t *begin, *end;
    struct expect expect;
    mf_gva start; /* 0: CODE */
    /*
     * Set for what a KVM that runs CPL 3 code natively beside its own kernel shows of
     * that kernel: its selectors, and #UD for INT n.
     */
    bool shows_host;
};

#define FAULT(vector, error) {VM_EXIT_EXCEPTION, vector, error, 0, 0}
#define PF(error, address) {VM_EXIT_EXCEPTION, 14, error, address, 0}

PIECE(out_imm, "inc %ebx; out %al, $0xb0; inc %ebx; inc %ebx; ud2");
PIECE(out_dx, "mov $0xb3, %dx; inc %ebx; out %al, %dx; inc %ebx; ud2");
PIECE(out_closed, "inc %ebx; out %al, $0xc0; inc %ebx; ud2");
PIECE(out_closed_dx, "mov $0x3f8, %dx; out %al, %dx; inc %ebx; ud2");
PIECE(out_word_closed, "inc %ebx; out %ax, $0x80; inc %ebx; ud2");
PIECE(out_last, "inc %ebx; out %al, $0xb3; inc %ebx; ud2");
PIECE(in_closed, "inc %ebx; in $0x60, %al; inc %ebx; ud2");
PIECE(syscall_, "inc %ebx; syscall; inc %ebx; ud2");
PIECE(syscall_flags, "stc; std; inc %ebx; syscall; inc %ebx; ud2");
PIECE(null_read, "xor %eax, %eax; inc %ebx; mov (%rax), %ecx; inc %ebx; ud2");
PIECE(null_write, "xor %eax, %eax; inc %ebx; mov %ecx, 8(%rax); inc %ebx; ud2");
PIECE(unmapped_read, "mov $0x800010, %eax; mov (%rax), %ecx; ud2");
PIECE(unmapped_write, "mov $0x800010, %eax; movb $1, (%rax); ud2");
PIECE(unmapped_add, "mov $0x800010, %eax; addl $1, (%rax); ud2");
PIECE(unmapped_cmp, "mov $0x800010, %eax; cmpl $1, (%rax); ud2");
PIECE(unmapped_xadd, "mov $0x800010, %eax; lock xadd %rcx, (%rax); ud2");
PIECE(unmapped_sse, "mov $0x800010, %eax; movups %xmm0, (%rax); ud2");
PIECE(unmapped_push, "mov $0x800010, %esp; inc %ebx; push %rax; ud2");
PIECE(unmapped_call, "mov $0x800010, %esp; call 1f; ud2; 1: ud2");
PIECE(high_read, "movabs $0x7ff000002000, %rax; mov (%rax), %rcx; ud2");
PIECE(readonly_write, "inc %ebx; mov %eax, 4(%rdi); inc %ebx; ud2");
PIECE(readonly_add, "inc %ebx; add %eax, 4(%rdi); ud2");
PIECE(readonly_movs, "cld; mov $5, %ecx; rep movsb; ud2");
PIECE(code_write, "inc %ebx; mov %eax, 1f(%rip); 1: ud2");
PIECE(noaccess_read, "mov $0x710020, %eax; mov (%rax), %ecx; ud2");
PIECE(noaccess_write, "mov $0x710020, %eax; mov %ecx, (%rax); ud2");
PIECE(cross_read, "mov $0x700ffe, %eax; mov (%rax), %ecx; ud2");
PIECE(cross_write, "mov $0x60fffe, %eax; mov %rcx, (%rax); ud2");
PIECE(jump_null, "xor %eax, %eax; inc %ebx; jmp *%rax; ud2");
PIECE(jump_unmapped, "mov $0x800010, %eax; jmp *%rax; ud2");
PIECE(jump_data, "inc %ebx; jmp *%rsi; ud2");
PIECE(return_data, "push %rsi; ret; ud2");
PIECE(jump_noaccess, "mov $0x710020, %eax; jmp *%rax");
PIECE(supervisor_read, "movabs $0x7fff80001000, %rax; mov (%rax), %ecx; ud2");
PIECE(supervisor_write, "movabs $0x7fff80001000, %rax; mov %ecx, (%rax); ud2");
PIECE(supervisor_idt, "movabs $0x7fff80002000, %rax; mov (%rax), %ecx; ud2");
PIECE(supervisor_stack, "movabs $0x7fff80005008, %rax; mov %ecx, (%rax); ud2");
PIECE(supervisor_jump, "movabs $0x7fff80003000, %rax; jmp *%rax; ud2");
PIECE(tables_read, "movabs $0x7fff80006000, %rax; mov (%rax), %ecx; ud2");
PIECE(tables_write, "movabs $0xe000006000, %rax; mov %ecx, (%rax); ud2");
PIECE(noncanonical_read, "movabs $0x8000000000000000, %rax; mov (%rax), %ecx; ud2");
PIECE(noncanonical_write, "movabs $0x800000000000, %rax; mov %ecx, (%rax); ud2");
PIECE(divide, "xor %ecx, %ecx; inc %ebx; div %ecx; inc %ebx; ud2");
/*
 * 16 bits, because Ubuntu 24.04 builds its Unicorn 2.0.1 such that the address of a wider
 * division that overflows gets lost: it is then the start of the emulator's block.
 */
PIECE(divide_overflow, "mov $-1, %edx; xor %eax, %eax; mov $1, %ecx; div %cx; ud2");
PIECE(invalid, "inc %ebx; ud2; inc %ebx");
PIECE(breakpoint, "inc %ebx; int3; inc %ebx; ud2");
PIECE(int80, "inc %ebx; int $0x80; inc %ebx; ud2");
PIECE(int_gp, "inc %ebx; int $13; inc %ebx; ud2");
PIECE(int_pf, "inc %ebx; int $14; inc %ebx; ud2");
PIECE(int_de, "inc %ebx; int $0; inc %ebx; ud2");
PIECE(halt, "inc %ebx; hlt; inc %ebx; ud2");
PIECE(cli_, "inc %ebx; cli; inc %ebx; ud2");
PIECE(mov_cr, "inc %ebx; mov %cr3, %rax; inc %ebx; ud2");
PIECE(mov_dr, "inc %ebx; mov %rax, %dr7; inc %ebx; ud2");
PIECE(wrmsr_, "inc %ebx; wrmsr; inc %ebx; ud2");
PIECE(lgdt_, "inc %ebx; lgdt (%rsi); inc %ebx; ud2");
PIECE(invlpg_, "inc %ebx; invlpg (%rsi); inc %ebx; ud2");
PIECE(sysret_, "inc %ebx; sysretq; inc %ebx; ud2");
PIECE(trap_flag, "pushf; orl $0x100, (%rsp); popf; inc %ebx; inc %ebx; ud2");
PIECE(x87_divide, "movw $0x37b, (%rsi); fldcw (%rsi); fld1; fldz; fdivrp; fwait; inc %ebx; ud2");
PIECE(rep_stos, "cld; mov $0x20000, %ecx; mov %rsi, %rdi; mov $7, %al; rep stosb; ud2");
PIECE(selectors, "mov %cs, %eax; mov %ss, %ecx; mov $0x1b, %edx; mov %edx, %ds; mov %ds, %edx; "
                 "out %al, $0xb1; ud2");
/* Without the flags of past exceptions, which the emulator mostly does not keep. */
PIECE(sse_state, "cvtsi2sd %rsi, %xmm1; sqrtsd %xmm1, %xmm1; movq %xmm1, %rax; "
                 "fldpi; fstpl (%rsi); mov (%rsi), %rcx; stmxcsr (%rsi); andl $0xffc0, (%rsi); "
                 "fnstcw 8(%rsi); movzwl 8(%rsi), %r8d; out %al, $0xb2; ud2");
PIECE(fetch_ahead, "movl $42, (%rsi); inc %ebx; .byte 0x48, 0xb8, 1, 2");

#define CASE(piece, expect) {#piece, piece##_begin, piece##_end, expect, 0, false}
#define CASE_HOST(piece, expect) {#piece, piece##_begin, piece##_end, expect, 0, true}

static const struct piece pieces[] = {
    CASE(out_imm, ((struct expect){VM_EXIT_IO, 0xb0, 0, 0, 4})),
    CASE(out_dx, ((struct expect){VM_EXIT_IO, 0xb3, 0, 0, 7})),
    CASE(out_closed, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 2})),
    CASE(out_closed_dx, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 4})),
    CASE(out_word_closed, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 2})),
    CASE(out_last, ((struct expect){VM_EXIT_IO, 0xb3, 0, 0, 4})),
    CASE(in_closed, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 2})),
    CASE(syscall_, ((struct expect){VM_EXIT_SYSCALL, 0, 0, 0, 4})),
    CASE(syscall_flags, ((struct expect){VM_EXIT_SYSCALL, 0, 0, 0, 6})),
    CASE(null_read, ((struct expect){VM_EXIT_EXCEPTION, 14, 4, 0, 4})),
    CASE(null_write, ((struct expect){VM_EXIT_EXCEPTION, 14, 6, 8, 4})),
    CASE(unmapped_read, ((struct expect){VM_EXIT_EXCEPTION, 14, 4, NOWHERE + 16, 5})),
    CASE(unmapped_write, ((struct expect){VM_EXIT_EXCEPTION, 14, 6, NOWHERE + 16, 5})),
    CASE(unmapped_add, ((struct expect){VM_EXIT_EXCEPTION, 14, 6, NOWHERE + 16, 5})),
    CASE(unmapped_cmp, ((struct expect){VM_EXIT_EXCEPTION, 14, 4, NOWHERE + 16, 5})),
    CASE(unmapped_xadd, ((struct expect){VM_EXIT_EXCEPTION, 14, 6, NOWHERE + 16, 5})),
    CASE(unmapped_sse, ((struct expect){VM_EXIT_EXCEPTION, 14, 6, NOWHERE + 16, 5})),
    CASE(unmapped_push, ((struct expect){VM_EXIT_EXCEPTION, 14, 6, NOWHERE + 8, 7})),
    CASE(unmapped_call, ((struct expect){VM_EXIT_EXCEPTION, 14, 6, NOWHERE + 8, 5})),
    CASE(high_read, ((struct expect){VM_EXIT_EXCEPTION, 14, 4, HIGH + 0x2000, 10})),
    CASE(readonly_write, ((struct expect){VM_EXIT_EXCEPTION, 14, 7, READONLY + 4, 2})),
    CASE(readonly_add, ((struct expect){VM_EXIT_EXCEPTION, 14, 7, READONLY + 4, 2})),
    CASE(readonly_movs, ((struct expect){VM_EXIT_EXCEPTION, 14, 7, READONLY, 6})),
    CASE(code_write, ((struct expect){VM_EXIT_EXCEPTION, 14, 7, CODE + 8, 2})),
    CASE(noaccess_read, ((struct expect){VM_EXIT_EXCEPTION, 14, 4, NOACCESS + 32, 5})),
    CASE(noaccess_write, ((struct expect){VM_EXIT_EXCEPTION, 14, 6, NOACCESS + 32, 5})),
    CASE(cross_read, ((struct expect){VM_EXIT_EXCEPTION, 14, 4, READONLY + 4096, 5})),
    CASE(cross_write, ((struct expect){VM_EXIT_EXCEPTION, 14, 6, STACK_TOP, 5})),
    CASE(jump_null, ((struct expect){VM_EXIT_EXCEPTION, 14, 0x14, 0, 0})),
    CASE(jump_unmapped, ((struct expect){VM_EXIT_EXCEPTION, 14, 0x14, NOWHERE + 16, NOWHERE + 16})),
    CASE(jump_data, ((struct expect){VM_EXIT_EXCEPTION, 14, 0x15, DATA, DATA})),
    CASE(return_data, ((struct expect){VM_EXIT_EXCEPTION, 14, 0x15, DATA, DATA})),
    CASE(jump_noaccess,
         ((struct expect){VM_EXIT_EXCEPTION, 14, 0x14, NOACCESS + 32, NOACCESS + 32})),
    CASE(supervisor_read, ((struct expect){VM_EXIT_EXCEPTION, 14, 5, LAYOUT_GVA(DESCRIPTORS), 10})),
    CASE(supervisor_write,
         ((struct expect){VM_EXIT_EXCEPTION, 14, 7, LAYOUT_GVA(DESCRIPTORS), 10})),
    CASE(supervisor_idt, ((struct expect){VM_EXIT_EXCEPTION, 14, 5, LAYOUT_GVA(IDT), 10})),
    CASE(supervisor_stack,
         ((struct expect){VM_EXIT_EXCEPTION, 14, 7, LAYOUT_GVA(KERNEL_STACK) + 8, 10})),
    CASE(supervisor_jump, ((struct expect){VM_EXIT_EXCEPTION, 14, 0x15, LAYOUT_GVA(EXCEPTION_STUBS),
                                           LAYOUT_GVA(EXCEPTION_STUBS)})),
    CASE(tables_read, ((struct expect){VM_EXIT_EXCEPTION, 14, 4, LAYOUT_GVA(PML4), 10})),
    CASE(tables_write, ((struct expect){VM_EXIT_EXCEPTION, 14, 6, 0xe000006000, 10})),
    CASE(noncanonical_read, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 10})),
    CASE(noncanonical_write, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 10})),
    CASE(divide, ((struct expect){VM_EXIT_EXCEPTION, 0, 0, 0, 4})),
    CASE(divide_overflow, ((struct expect){VM_EXIT_EXCEPTION, 0, 0, 0, 12})),
    CASE(invalid, ((struct expect){VM_EXIT_EXCEPTION, 6, 0, 0, 2})),
    CASE(breakpoint, ((struct expect){VM_EXIT_EXCEPTION, 3, 0, 0, 3})),
    CASE_HOST(int80, ((struct expect){VM_EXIT_EXCEPTION, 13, 0x402, 0, 2})),
    CASE_HOST(int_gp, ((struct expect){VM_EXIT_EXCEPTION, 13, 0x6a, 0, 2})),
    CASE_HOST(int_pf, ((struct expect){VM_EXIT_EXCEPTION, 13, 0x72, 0, 2})),
    CASE_HOST(int_de, ((struct expect){VM_EXIT_EXCEPTION, 13, 0x02, 0, 2})),
    CASE(halt, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 2})),
    CASE(cli_, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 2})),
    CASE(mov_cr, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 2})),
    CASE(mov_dr, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 2})),
    CASE(wrmsr_, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 2})),
    CASE(lgdt_, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 2})),
    CASE(invlpg_, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 2})),
    CASE(sysret_, ((struct expect){VM_EXIT_EXCEPTION, 13, 0, 0, 2})),
    CASE(trap_flag, ((struct expect){VM_EXIT_EXCEPTION, 1, 0, 0, 11})),
    CASE(x87_divide, ((struct expect){VM_EXIT_EXCEPTION, 16, 0, 0, 13})),
    CASE(rep_stos, ((struct expect){VM_EXIT_EXCEPTION, 14, 6, STACK_TOP, 11})),
    CASE_HOST(selectors, ((struct expect){VM_EXIT_IO, 0xb1, 0, 0, 15})),
    CASE(sse_state, ((struct expect){VM_EXIT_IO, 0xb2, 0, 0, 40})),
    {"fetch_ahead", fetch_ahead_begin, fetch_ahead_end,
     {VM_EXIT_EXCEPTION, 14, 0x14, CODE + 0x2000, CODE + 0x1ffc}, CODE + 0x1ff4, false},
};

struct result {
    struct vm_exit exit;
    struct mf_registers regs;
    uint32_t data;
};

/* A port instruction amid others, before each piece: it must leave nothing in a backend. */
PIECE(warm_up, "inc %ebx; out %al, $0xb0; ud2");

static void run_piece(const struct piece *piece, enum mf_backend backend, struct result *result)
{
    struct guest guest;
    mf_gva start = piece->start ? piece->start : CODE;
    guest_open(&guest, backend);
    load(&guest, CODE + 0x800, warm_up_begin, warm_up_end);
    aim(&guest, CODE + 0x800);
    run(&guest, &result->exit);
    assert_int_equal(result->exit.kind, VM_EXIT_IO);
    load(&guest, start, piece->begin, piece->end);
    aim(&guest, start);
    run(&guest, &result->exit);
    result->regs = *guest.vm->regs;
    memcpy(&result->data, at(&guest, DATA), sizeof result->data);
    guest_close(&guest);
}

static unsigned detail_of(const struct vm_exit *exit)
{
    return exit->kind == VM_EXIT_EXCEPTION ? exit->vector
           : exit->kind == VM_EXIT_IO      ? exit->port
                                           : 0;
}

/* Says what is different; returns how many things are. */
static int check_piece(const struct piece *piece, const char *backend, const struct result *got)
{
    const struct expect *want = &piece->expect;
    const struct vm_exit *exit = &got->exit;
    /* A small RIP is an offset, except where the piece jumps to the null page itself. */
    mf_gva rip = want->rip < PAGE_BYTES && want->error_code != 0x14 ? CODE + want->rip : want->rip;
    bool equal = exit->kind == want->kind && detail_of(exit) == want->detail &&
                 got->regs.rip == rip;
    if (want->kind == VM_EXIT_EXCEPTION)
        equal = equal && exit->error_code == want->error_code && exit->address == want->address;
    if (equal || (piece->shows_host && exit->kind == VM_EXIT_EXCEPTION && exit->vector == 6 &&
                  strcmp(backend, "kvm") == 0))
        return 0;
    print_error("%s on %s: exit %d %#x error %#llx address %#llx rip %#llx %s\n", piece->name,
                backend, (int)exit->kind, detail_of(exit), (unsigned long long)exit->error_code,
                (unsigned long long)exit->address, (unsigned long long)got->regs.rip,
                exit->detail);
    print_error("    instead of: exit %d %#x error %#llx address %#llx rip %#llx\n",
                (int)want->kind, want->detail, (unsigned long long)want->error_code,
                (unsigned long long)want->address, (unsigned long long)rip);
    return 1;
}

static int compare(const char *name, const struct result *a, const struct result *b)
{
    static const char *const names[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi",
                                        "rsp", "rbp", "r8",  "r9",  "r10", "r11",
                                        "r12", "r13", "r14", "r15", "rip", "rflags"};
    const uint64_t *x = &a->regs.rax, *y = &b->regs.rax;
    int different = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (x[i] == y[i])
            continue;
        print_error("%s: %s is %#llx on kvm, %#llx on soft\n", name, names[i],
                    (unsigned long long)x[i], (unsigned long long)y[i]);
        different++;
    }
    if (a->data != b->data) {
        print_error("%s: memory differs\n", name);
        different++;
    }
    return different;
}

static void test_pieces(enum mf_backend backend)
{
    int wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        struct result result;
        run_piece(&pieces[i], backend, &result);
        wrong += check_piece(&pieces[i], mf_backend_name(backend), &result);
    }
    assert_int_equal(wrong, 0);
}

static void test_same_results(void **state)
{
    (void)state;
    if (!usable[MF_BACKEND_KVM] || !usable[MF_BACKEND_SOFT]) {
        print_message("skipped: same results (needs kvm and soft)\n");
        skip();
    }
    int wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        struct result kvm, soft;
        run_piece(&pieces[i], MF_BACKEND_KVM, &kvm);
        run_piece(&pieces[i], MF_BACKEND_SOFT, &soft);
        if (!pieces[i].shows_host)
            wrong += compare(pieces[i].name, &kvm, &soft);
    }
    assert_int_equal(wrong, 0);
}

/* ---- Going on after an exit ---- */

PIECE(counter, "1: inc %rbx; out %al, $0xb0; out %al, $0xb1; jmp 1b");
PIECE(syscalls, "xor %ebx, %ebx; 1: inc %rbx; syscall; cmp $100, %rbx; jne 1b; ud2");
PIECE(continue_, "movq %rax, %xmm3; fld1; mov (%rdx), %ecx; fstpl (%rsi); mov (%rsi), %rbx; "
                 "movq %xmm3, %rdi; out %al, $0xb0; ud2");
PIECE(segments, "mov %fs:8, %rax; mov %gs:16, %rcx; out %al, $0xb0; ud2");

static void test_exits_in_a_row(enum mf_backend backend)
{
    struct guest guest;
    struct vm_exit exit;
    guest_open(&guest, backend);
    load(&guest, CODE, counter_begin, counter_end);
    aim(&guest, CODE);
    guest.vm->regs->rbx = 0;
    for (uint64_t i = 1; i <= 1000; i++) {
        run(&guest, &exit);
        assert_int_equal(exit.kind, VM_EXIT_IO);
        assert_int_equal(exit.port, 0xb0);
        assert_int_equal(guest.vm->regs->rbx, i);
        assert_int_equal(guest.vm->regs->rip, CODE + 5);
        run(&guest, &exit);
        assert_int_equal(exit.port, 0xb1);
        assert_int_equal(guest.vm->regs->rbx, i);
    }
    /* Registers that the host writes are taken over, RIP among them. */
    guest.vm->regs->rbx = 41;
    guest.vm->regs->rip = CODE;
    guest.vm->regs_changed = true;
    run(&guest, &exit);
    assert_int_equal(exit.port, 0xb0);
    assert_int_equal(guest.vm->regs->rbx, 42);
    guest_close(&guest);
}

static void test_syscalls_in_a_loop(enum mf_backend backend)
{
    struct guest guest;
    struct vm_exit exit;
    guest_open(&guest, backend);
    load(&guest, CODE, syscalls_begin, syscalls_end);
    aim(&guest, CODE);
    for (uint64_t i = 1; i <= 100; i++) {
        run(&guest, &exit);
        assert_int_equal(exit.kind, VM_EXIT_SYSCALL);
        assert_int_equal(guest.vm->regs->rbx, i);
        assert_int_equal(guest.vm->regs->rip, CODE + 7);
        assert_int_equal(guest.vm->regs->rcx, CODE + 7);
        assert_int_equal(guest.vm->regs->r11 & ~UINT64_C(0x8d5), X86_RFLAGS);
        if (i % 2)
            guest.vm->regs_changed = true;
    }
    run(&guest, &exit);
    assert_int_equal(exit.kind, VM_EXIT_EXCEPTION);
    assert_int_equal(exit.vector, 6);
    guest_close(&guest);
}

/* ---- Flags ---- */

/* Gathers in EBX what the branches see of the flags, and in RDX what PUSHF does. */
#define TELL                                                                       \
    "mov $0, %ebx; jnc 1f; lea 1(%rbx), %ebx; 1: jnp 1f; lea 4(%rbx), %ebx; "      \
    "1: jnz 1f; lea 0x40(%rbx), %ebx; 1: jns 1f; lea 0x80(%rbx), %ebx; "           \
    "1: jno 1f; lea 0x800(%rbx), %ebx; 1: pushf; pop %rdx; out %al, $0xb1; "
#define FLAGS_PIECE(name, text) \
    PIECE(name, text "; out %al, $0xb0; " TELL text "; syscall; " TELL "ud2")

FLAGS_PIECE(flags_add, "movabs $0x7fffffffffffffff, %rax; add $0x101, %rax");
FLAGS_PIECE(flags_sub, "mov $1, %eax; sub $0x102, %eax");
FLAGS_PIECE(flags_cmp, "mov $0x301, %eax; cmp $0x301, %eax");
FLAGS_PIECE(flags_adc, "stc; mov $-1, %eax; adc $0, %eax");
FLAGS_PIECE(flags_sbb, "stc; mov $0, %eax; sbb $0, %eax");
FLAGS_PIECE(flags_neg, "mov $0x80, %al; neg %al");
FLAGS_PIECE(flags_inc, "stc; mov $0x7fffffff, %eax; inc %eax");
FLAGS_PIECE(flags_dec, "clc; mov $0x8000, %eax; dec %ax");
FLAGS_PIECE(flags_shl, "mov $0xc0000001, %eax; shl $1, %eax");
FLAGS_PIECE(flags_shl_by, "mov $3, %ecx; mov $0x20000001, %eax; shl %cl, %eax");
FLAGS_PIECE(flags_imul, "mov $0x10000, %eax; imul %eax, %eax");
FLAGS_PIECE(flags_and, "mov $0xf0f0f0f0, %eax; and $0x80000081, %eax");
FLAGS_PIECE(flags_xor, "xor %eax, %eax");
FLAGS_PIECE(flags_std, "std; mov $0x301, %eax; cmp $0x301, %eax; nopl 0x12345678(%rax,%rax)");
/* With a prefix too many, which a CPU ignores. */
FLAGS_PIECE(flags_prefix, "stc; mov $0, %eax; .byte 0x40; sbb $0, %rax");
FLAGS_PIECE(flags_sse, "pxor %xmm0, %xmm0; add $0x101, %rax; ucomisd %xmm0, %xmm0");

#define FLAGS_AF UINT64_C(0x10)
#define FLAGS_BRANCHES UINT64_C(0x8c5)

struct flags_case {
    const char *name;
    const uint8_t *begin, *end;
    uint64_t flags, undefined;
};

/* At the exit, by branches and by PUSHF behind it. */
static int check_flags(struct guest *guest, const struct flags_case *one, enum vm_exit_kind kind)
{
    struct vm_exit exit;
    struct mf_registers *regs = guest->vm->regs;
    run(guest, &exit);
    uint64_t at_exit = regs->rflags, want = X86_RFLAGS | one->flags;
    bool good = exit.kind == kind && (at_exit & ~one->undefined) == want &&
                (kind != VM_EXIT_SYSCALL || regs->r11 == at_exit);
    run(guest, &exit);
    good = good && exit.kind == VM_EXIT_IO && exit.port == 0xb1 && regs->rdx == at_exit &&
           regs->rbx == (at_exit & FLAGS_BRANCHES);
    if (!good)
        print_error("%s: exit %d with RFLAGS %#llx, not %#llx; then RDX %#llx, RBX %#llx\n",
                    one->name, (int)kind, (unsigned long long)at_exit, (unsigned long long)want,
                    (unsigned long long)regs->rdx, (unsigned long long)regs->rbx);
    return good ? 0 : 1;
}

#define FLAGS_CASE(name, flags, undefined) {#name, name##_begin, name##_end, flags, undefined}

static void test_flags(enum mf_backend backend)
{
    static const struct flags_case cases[] = {
        FLAGS_CASE(flags_add, 0x894, 0),
        FLAGS_CASE(flags_sub, 0x95, 0),
        FLAGS_CASE(flags_cmp, 0x44, 0),
        FLAGS_CASE(flags_adc, 0x55, 0),
        FLAGS_CASE(flags_sbb, 0x95, 0),
        FLAGS_CASE(flags_neg, 0x881, 0),
        FLAGS_CASE(flags_inc, 0x895, 0),
        FLAGS_CASE(flags_dec, 0x814, 0),
        FLAGS_CASE(flags_shl, 0x81, FLAGS_AF),
        FLAGS_CASE(flags_shl_by, 0x01, FLAGS_AF | 0x800),
        FLAGS_CASE(flags_imul, 0x801, FLAGS_AF | 0xc4),
        FLAGS_CASE(flags_and, 0x80, FLAGS_AF),
        FLAGS_CASE(flags_xor, 0x44, FLAGS_AF),
        FLAGS_CASE(flags_std, 0x444, 0),
        FLAGS_CASE(flags_prefix, 0x95, 0),
        FLAGS_CASE(flags_sse, 0x40, 0),
    };
    struct guest guest;
    int wrong = 0;
    guest_open(&guest, backend);
    /* In turns: they have more port instructions than a backend may keep in mind. */
    for (size_t i = 0; i < ARRAY_LEN(cases) * 3; i++) {
        const struct flags_case *one = &cases[i % ARRAY_LEN(cases)];
        mf_gva gva = CODE + i % ARRAY_LEN(cases) * 0x100;
        load(&guest, gva, one->begin, one->end);
        aim(&guest, gva);
        wrong += check_flags(&guest, one, VM_EXIT_IO);
        wrong += check_flags(&guest, one, VM_EXIT_SYSCALL);
    }
    assert_int_equal(wrong, 0);
    guest_close(&guest);
}

/*
 * Many faults of one VM are told apart each time, and lose no state of the FPU. Of
 * the soft backend alone: with KVM, a vCPU that faulted first gets all its state anew.
 */
static void continue_after_faults(enum mf_backend backend)
{
    struct guest guest;
    struct vm_exit exit;
    guest_open(&guest, backend);
    for (int round = 0; round < 5; round++) {
        load(&guest, CODE, halt_begin, halt_end);
        aim(&guest, CODE);
        run(&guest, &exit);
        assert_int_equal(exit.vector, 13);
        load(&guest, CODE + 64, divide_begin, divide_end);
        aim(&guest, CODE + 64);
        run(&guest, &exit);
        assert_int_equal(exit.vector, 0);

        load(&guest, CODE + 128, continue__begin, continue__end);
        aim(&guest, CODE + 128);
        guest.vm->regs->rax = 0x123456789abcdef + (uint64_t)round;
        guest.vm->regs->rdx = NOWHERE;
        run(&guest, &exit);
        assert_int_equal(exit.vector, 14);
        assert_int_equal(exit.address, NOWHERE);
        guest.vm->regs->rdx = READONLY;
        guest.vm->regs_changed = true;
        run(&guest, &exit);
        assert_int_equal(exit.kind, VM_EXIT_IO);
        assert_int_equal(guest.vm->regs->rbx, 0x3ff0000000000000);
        assert_int_equal(guest.vm->regs->rdi, 0x123456789abcdef + round);
    }
    guest_close(&guest);
}

static void test_segment_bases(enum mf_backend backend)
{
    struct guest guest;
    struct vm_exit exit;
    struct mf_error err = {0};
    uint64_t values[2] = {0x1122334455667788, 0x99aabbccddeeff00};
    guest_open(&guest, backend);
    assert_int_equal(guest.ops->get_segment_base(guest.vm, 0), 0);
    load(&guest, CODE, segments_begin, segments_end);
    memcpy(at(&guest, HIGH + 8), &values[0], 8);
    memcpy(at(&guest, DATA + 16), &values[1], 8);
    assert_int_equal(guest.ops->set_segment_base(guest.vm, 0, HIGH, &err), 0);
    assert_int_equal(guest.ops->set_segment_base(guest.vm, 1, DATA, &err), 0);
    aim(&guest, CODE);
    run(&guest, &exit);
    assert_int_equal(exit.kind, VM_EXIT_IO);
    assert_int_equal(guest.vm->regs->rax, values[0]);
    assert_int_equal(guest.vm->regs->rcx, values[1]);
    assert_int_equal(guest.ops->get_segment_base(guest.vm, 0), HIGH);
    assert_int_equal(guest.ops->get_segment_base(guest.vm, 1), DATA);
    guest_close(&guest);
}

/* ---- Mapping changes ---- */

PIECE(touch, "1: mov (%rsi), %rax; out %al, $0xb0; mov %rdx, (%rsi); out %al, $0xb1; jmp 1b");
PIECE(leaf, "inc %rbx; ret");
PIECE(calls, "1: call *%rsi; out %al, $0xb0; jmp 1b");

static void run_port(struct guest *guest, unsigned port)
{
    struct vm_exit exit;
    run(guest, &exit);
    assert_int_equal(exit.kind, VM_EXIT_IO);
    assert_int_equal(exit.port, port);
}

/*
 * A fault ends a guest, so a sequence of changes is run as often as it has faults to
 * show: in the nth round it goes on to the nth, and demands it.
 */
struct round {
    int fault; /* the one to demand, from 0 */
    int seen;
};

/* True when the sequence ends here: a page fault at DATA with this error code came. */
static bool fault_here(struct round *round, struct guest *guest, uint64_t error_code)
{
    struct vm_exit exit;
    if (round->seen++ < round->fault)
        return false;
    run(guest, &exit);
    assert_int_equal(exit.kind, VM_EXIT_EXCEPTION);
    assert_int_equal(exit.vector, 14);
    assert_int_equal(exit.address, DATA);
    assert_int_equal(exit.error_code, error_code);
    return true;
}

static void run_rounds(enum mf_backend backend, void (*sequence)(struct guest *, struct round *))
{
    struct round round = {0};
    do {
        struct guest guest;
        round.seen = 0;
        guest_open(&guest, backend);
        sequence(&guest, &round);
        guest_close(&guest);
    } while (round.fault++ < round.seen);
}

static void change_mappings(struct guest *guest, struct round *round)
{
    struct mf_error err = {0};
    const unsigned writable = USER(PT_READ | PT_WRITE);
    load(guest, CODE, touch_begin, touch_end);
    aim(guest, CODE);
    guest->vm->regs->rdx = 7;
    run_port(guest, 0xb0);
    assert_int_equal(guest->vm->regs->rax, 0);
    run_port(guest, 0xb1);
    run_port(guest, 0xb0);
    assert_int_equal(guest->vm->regs->rax, 7);

    guest->ops->protect(guest->vm, DATA, 1, USER(PT_READ));
    if (fault_here(round, guest, 7))
        return;
    guest->ops->protect(guest->vm, DATA, 1, PT_NONE);
    if (fault_here(round, guest, 6))
        return;
    guest->ops->protect(guest->vm, DATA, 1, writable);
    run_port(guest, 0xb1);
    guest->ops->discard(guest->vm, DATA, 1);
    run_port(guest, 0xb0);
    assert_int_equal(guest->vm->regs->rax, 0);

    uint64_t used = mem_pages_used(&guest->mem);
    guest->ops->unmap(guest->vm, DATA, 1);
    assert_int_equal(mem_pages_used(&guest->mem), used - 1);
    if (fault_here(round, guest, 6))
        return;
    assert_int_equal(guest->ops->map(guest->vm, DATA, 1, writable, &err), 0);
    run_port(guest, 0xb1);
    run_port(guest, 0xb0);
    assert_int_equal(guest->vm->regs->rax, 7);

    /* What was at HIGH is now at DATA, and nothing is at HIGH. */
    memset(at(guest, HIGH), 0x5a, 8);
    guest->ops->unmap(guest->vm, DATA, 2);
    if (fault_here(round, guest, 6))
        return;
    assert_int_equal(guest->ops->move(guest->vm, HIGH, DATA, 2, &err), 0);
    struct pt_page page;
    assert_false(pt_lookup(&guest->mem, HIGH, &page));
    assert_int_equal(*at(guest, DATA), 0x5a);
    run_port(guest, 0xb1);
    run_port(guest, 0xb0);
    assert_int_equal(guest->vm->regs->rax, 7);
}

static void test_mapping_changes(enum mf_backend backend)
{
    run_rounds(backend, change_mappings);
}

/* The host cannot take locked pages away, but translations to them must go all the same. */
static void change_locked_mappings(struct guest *guest, struct round *round)
{
    if (mlock(guest->mem.base, guest->mem.bytes) == 0)
        change_mappings(guest, round);
    else
        print_message("not tested: this much memory cannot be locked here\n");
}

static void test_locked_memory(enum mf_backend backend)
{
    run_rounds(backend, change_locked_mappings);
}

/* Code pages: gone rights and changed contents must be noticed at once. */
static void change_code(struct guest *guest, struct round *round)
{
    load(guest, CODE, calls_begin, calls_end);
    load(guest, DATA, leaf_begin, leaf_end);
    aim(guest, CODE);
    guest->vm->regs->rbx = 0;
    if (fault_here(round, guest, 0x15))
        return;
    guest->ops->protect(guest->vm, DATA, 1, USER(PT_READ | PT_EXEC));
    run_port(guest, 0xb0);
    run_port(guest, 0xb0);
    assert_int_equal(guest->vm->regs->rbx, 2);

    guest->ops->protect(guest->vm, DATA, 1, USER(PT_READ | PT_WRITE));
    if (fault_here(round, guest, 0x15))
        return;
    static const uint8_t add_two[] = {0x48, 0x83, 0xc3, 0x02, 0xc3};
    load(guest, DATA, add_two, add_two + sizeof add_two);
    guest->ops->protect(guest->vm, DATA, 1, USER(PT_READ | PT_EXEC));
    run_port(guest, 0xb0);
    run_port(guest, 0xb0);
    assert_int_equal(guest->vm->regs->rbx, 6);

    /* Zeros are `add %al, (%rax)`, here a write to DATA, which may not be written to. */
    guest->ops->discard(guest->vm, DATA, 1);
    guest->vm->regs->rax = DATA;
    guest->vm->regs_changed = true;
    if (fault_here(round, guest, 7))
        return;
    guest->ops->unmap(guest->vm, DATA, 1);
    fault_here(round, guest, 0x14);
}

static void test_code_changes(enum mf_backend backend)
{
    run_rounds(backend, change_code);
}

PIECE(fill, "cld; mov $0x4000, %ecx; mov %rsi, %rdi; rep stosb; out %al, $0xb0; ud2");

/* Many small changes all over a range end in what the last of them said. */
static void test_many_pieces(enum mf_backend backend)
{
    struct guest guest;
    struct mf_error err = {0};
    const mf_gva base = UINT64_C(0x200000000000);
    const uint64_t npages = 64;
    guest_open(&guest, backend);
    load(&guest, CODE, touch_begin, touch_end);
    assert_int_equal(guest.ops->map(guest.vm, base, npages, USER(PT_READ | PT_WRITE), &err), 0);
    for (uint64_t i = 0; i < npages; i += 2)
        guest.ops->unmap(guest.vm, base + i * PAGE_BYTES, 1);
    for (uint64_t i = npages; i > 0; i -= 2)
        assert_int_equal(guest.ops->map(guest.vm, base + (i - 2) * PAGE_BYTES, 1,
                                        USER(i % 4 ? PT_READ : PT_READ | PT_EXEC), &err),
                         0);
    for (uint64_t i = 0; i < npages; i++) {
        aim(&guest, CODE);
        guest.vm->regs->rsi = base + i * PAGE_BYTES;
        run_port(&guest, 0xb0);
        if (i % 2)
            run_port(&guest, 0xb1);
    }
    guest.ops->protect(guest.vm, base, npages, USER(PT_READ | PT_WRITE));
    load(&guest, CODE + PAGE_BYTES, fill_begin, fill_end);
    for (uint64_t i = 0; i + 4 <= npages; i += 4) {
        aim(&guest, CODE + PAGE_BYTES);
        guest.vm->regs->rsi = base + i * PAGE_BYTES;
        run_port(&guest, 0xb0);
        assert_int_equal(*at(&guest, base + i * PAGE_BYTES + 0x3fff), 0x11);
    }
    uint64_t used = mem_pages_used(&guest.mem);
    guest.ops->unmap(guest.vm, base, npages);
    assert_int_equal(mem_pages_used(&guest.mem), used - npages);
    guest_close(&guest);
}

static void test_out_of_memory(enum mf_backend backend)
{
    struct guest guest;
    struct mf_error err = {0};
    guest_open(&guest, backend);
    uint64_t pages = mem_pages_available(&guest.mem);
    const mf_gva base = UINT64_C(0x200000000000);
    unsigned prot = USER(PT_READ | PT_WRITE);
    assert_int_equal(guest.ops->map(guest.vm, base, pages + 1, prot, &err), MF_E_NO_MEMORY);
    assert_true(err.message[0] != '\0');
    /* The pages themselves would fit, but not the tables too. */
    assert_int_equal(guest.ops->map(guest.vm, base, pages, prot, NULL), MF_E_NO_MEMORY);
    struct pt_page page;
    assert_false(pt_lookup(&guest.mem, base, &page));
    assert_int_equal(guest.ops->map(guest.vm, base, pages / 2, prot, &err), 0);
    guest_close(&guest);
}

/* ---- Interrupts ---- */

PIECE(forever, "1: jmp 1b");
PIECE(long_block, "1: .rept 400; inc %rbx; .endr; jmp 1b");
PIECE(rep_forever, "1: cld; mov $0x8000, %ecx; mov %rsi, %rdi; rep stosb; jmp 1b");
PIECE(port_loop, "1: out %al, $0xb0; jmp 1b");

static void test_interrupt_before_run(enum mf_backend backend)
{
    struct guest guest;
    struct vm_exit exit;
    guest_open(&guest, backend);
    load(&guest, CODE, counter_begin, counter_end);
    aim(&guest, CODE);
    guest.vm->regs->rbx = 0;
    for (int round = 0; round < 100; round++) {
        guest.ops->interrupt(guest.vm);
        guest.ops->interrupt(guest.vm);
        run(&guest, &exit);
        assert_int_equal(exit.kind, VM_EXIT_INTERRUPT);
        assert_int_equal(guest.vm->regs->rbx, round);
        run_port(&guest, 0xb0);
        run_port(&guest, 0xb1);
        assert_int_equal(guest.vm->regs->rbx, round + 1);
    }
    guest_close(&guest);
}

struct interrupter {
    struct guest *guest;
    atomic_int wanted; /* interrupts asked for so far */
    atomic_bool quit;
};

static void sleep_ns(long ns)
{
    struct timespec time = {.tv_nsec = ns};
    nanosleep(&time, NULL);
}

/* Interrupts once for each request, after a delay that differs each time. */
static void *interrupt_thread(void *context)
{
    struct interrupter *it = context;
    int done = 0;
    while (!atomic_load(&it->quit)) {
        if (atomic_load(&it->wanted) == done)
            continue;
        done++;
        for (volatile int spin = done * 97 % 3000; spin > 0; spin--)
            ;
        it->guest->ops->interrupt(it->guest->vm);
    }
    return NULL;
}

/* Each interrupt ends a run, whenever it comes; and none comes twice. */
static void interrupt_rounds(enum mf_backend backend, const uint8_t *begin, const uint8_t *end,
                             int rounds)
{
    struct guest guest;
    struct vm_exit exit;
    pthread_t thread;
    struct interrupter it = {.guest = &guest};
    guest_open(&guest, backend);
    load(&guest, CODE, begin, end);
    aim(&guest, CODE);
    assert_int_equal(pthread_create(&thread, NULL, interrupt_thread, &it), 0);
    for (int i = 0; i < rounds; i++) {
        atomic_fetch_add(&it.wanted, 1);
        for (;;) {
            run(&guest, &exit);
            if (exit.kind == VM_EXIT_INTERRUPT)
                break;
            assert_int_equal(exit.kind, VM_EXIT_IO);
        }
        assert_in_range(guest.vm->regs->rip, CODE, CODE + PAGE_BYTES);
    }
    atomic_store(&it.quit, true);
    pthread_join(thread, NULL);
    guest_close(&guest);
}

static void test_interrupt_while_running(enum mf_backend backend)
{
    interrupt_rounds(backend, forever_begin, forever_end, 400);
    interrupt_rounds(backend, long_block_begin, long_block_end, 200);
    interrupt_rounds(backend, rep_forever_begin, rep_forever_end, 100);
    interrupt_rounds(backend, port_loop_begin, port_loop_end, 400);
}

/* From a signal handler on the thread that runs the guest. */
static struct guest *signal_guest;

static void on_signal(int signo)
{
    (void)signo;
    signal_guest->ops->interrupt(signal_guest->vm);
}

static void *signal_thread(void *context)
{
    struct interrupter *it = context;
    pid_t tid = atomic_load(&it->wanted);
    while (!atomic_load(&it->quit)) {
        syscall(SYS_tgkill, getpid(), tid, SIGUSR2);
        sleep_ns(200000);
    }
    return NULL;
}

static void test_interrupt_from_handler(enum mf_backend backend)
{
    struct guest guest;
    struct vm_exit exit;
    pthread_t thread;
    struct sigaction action = {.sa_handler = on_signal}, old;
    struct interrupter it = {.guest = &guest};
    guest_open(&guest, backend);
    load(&guest, CODE, forever_begin, forever_end);
    aim(&guest, CODE);
    signal_guest = &guest;
    sigaction(SIGUSR2, &action, &old);
    atomic_store(&it.wanted, (int)syscall(SYS_gettid));
    assert_int_equal(pthread_create(&thread, NULL, signal_thread, &it), 0);
    for (int i = 0; i < 200; i++) {
        run(&guest, &exit);
        assert_int_equal(exit.kind, VM_EXIT_INTERRUPT);
    }
    atomic_store(&it.quit, true);
    pthread_join(thread, NULL);
    sigaction(SIGUSR2, &old, NULL);
    guest_close(&guest);
}

/* An interrupted guest goes on exactly where it was. */
PIECE(sum, "xor %eax, %eax; mov $3000000, %ecx; 1: add %rcx, %rax; dec %ecx; jnz 1b; "
           "out %al, $0xb0; ud2");

static void test_interrupt_loses_nothing(enum mf_backend backend)
{
    struct guest guest;
    struct vm_exit exit;
    pthread_t thread;
    struct interrupter it = {.guest = &guest};
    guest_open(&guest, backend);
    load(&guest, CODE, sum_begin, sum_end);
    assert_int_equal(pthread_create(&thread, NULL, interrupt_thread, &it), 0);
    for (int i = 0; i < 5; i++) {
        aim(&guest, CODE);
        do {
            atomic_fetch_add(&it.wanted, 1);
            run(&guest, &exit);
        } while (exit.kind == VM_EXIT_INTERRUPT);
        assert_int_equal(exit.kind, VM_EXIT_IO);
        assert_int_equal(guest.vm->regs->rax, UINT64_C(3000000) * 3000001 / 2);
    }
    atomic_store(&it.quit, true);
    pthread_join(thread, NULL);
    guest_close(&guest);
}

/* ---- Both backends ---- */

static void test_describe(enum mf_backend backend)
{
    struct guest guest;
    char text[256] = "";
    guest_open(&guest, backend);
    guest.ops->describe(guest.vm, text, sizeof text);
    assert_true(text[0] != '\0' && strlen(text) < sizeof text - 1);
    assert_int_equal(guest.ops->id, backend);
    assert_string_equal(guest.ops->name, mf_backend_name(backend));
    guest_close(&guest);
}

static void test_two_at_once(enum mf_backend backend)
{
    struct guest a, b;
    guest_open(&a, backend);
    guest_open(&b, backend);
    load(&a, CODE, counter_begin, counter_end);
    load(&b, CODE, counter_begin, counter_end);
    aim(&a, CODE);
    aim(&b, CODE);
    a.vm->regs->rbx = 100;
    b.vm->regs->rbx = 200;
    for (uint64_t i = 1; i < 10; i++) {
        run_port(&a, 0xb0);
        run_port(&b, 0xb0);
        assert_int_equal(a.vm->regs->rbx, 100 + i);
        assert_int_equal(b.vm->regs->rbx, 200 + i);
        run_port(&a, 0xb1);
        run_port(&b, 0xb1);
    }
    guest_close(&a);
    guest_close(&b);
}

static void need(enum mf_backend backend)
{
    if (usable[backend])
        return;
    print_message("skipped: %s: %s\n", mf_backend_name(backend), why_not[backend]);
    skip();
}

#define ON_EACH(name)                    \
    static void name##_on_kvm(void **s)  \
    {                                    \
        (void)s;                         \
        need(MF_BACKEND_KVM);            \
        name(MF_BACKEND_KVM);            \
    }                                    \
    static void name##_on_soft(void **s) \
    {                                    \
        (void)s;                         \
        need(MF_BACKEND_SOFT);           \
        name(MF_BACKEND_SOFT);           \
    }

#define TESTS(test)                    \
    test(test_pieces)                  \
    test(test_exits_in_a_row)          \
    test(test_syscalls_in_a_loop)      \
    test(test_flags)                   \
    test(test_segment_bases)           \
    test(test_mapping_changes)         \
    test(test_locked_memory)           \
    test(test_code_changes)            \
    test(test_many_pieces)             \
    test(test_out_of_memory)           \
    test(test_interrupt_before_run)    \
    test(test_interrupt_while_running) \
    test(test_interrupt_from_handler)  \
    test(test_interrupt_loses_nothing) \
    test(test_describe)                \
    test(test_two_at_once)

TESTS(ON_EACH)

static void test_continue_on_soft(void **state)
{
    (void)state;
    need(MF_BACKEND_SOFT);
    continue_after_faults(MF_BACKEND_SOFT);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(mf_backend_name(MF_BACKEND_AUTO), "auto");
    assert_string_equal(mf_backend_name(MF_BACKEND_KVM), "kvm");
    assert_string_equal(mf_backend_name(MF_BACKEND_SOFT), "soft");
    assert_null(mf_backend_name((enum mf_backend)3));
    assert_null(mf_backend_name((enum mf_backend)-1));
    struct mf_backend_info info;
    const struct vm_ops *ops;
    assert_int_equal(mf_backend_probe(MF_BACKEND_AUTO, &info, NULL), MF_E_ARGUMENT);
    assert_int_equal(mf_backend_probe(MF_BACKEND_KVM, NULL, NULL), MF_E_ARGUMENT);
    assert_int_equal(vm_backend_get(MF_BACKEND_AUTO, &ops, NULL), MF_E_ARGUMENT);
}

static void probe_all(void)
{
    for (enum mf_backend i = MF_BACKEND_KVM; i <= MF_BACKEND_SOFT; i++) {
        struct mf_backend_info info;
        struct mf_error err;
        if (mf_backend_probe(i, &info, &err) != 0)
            continue;
        usable[i] = info.usable;
        snprintf(why_not[i], sizeof why_not[i], "%s", info.reason);
        print_message("%s: %s: %s%s%s\n", info.name, info.usable ? "usable" : "not usable",
                      info.reason, info.usable ? "; " : "", info.features);
    }
}

int main(void)
{
    alarm(100); /* a lost interrupt must not hang the suite */
    probe_all();
    const struct CMUnitTest tests[] = {
#define ENTRIES(name) cmocka_unit_test(name##_on_kvm), cmocka_unit_test(name##_on_soft),
        TESTS(ENTRIES)
        cmocka_unit_test(test_continue_on_soft),
        cmocka_unit_test(test_same_results),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("vm", tests, NULL, NULL);
}
