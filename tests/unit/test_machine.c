/*
 * The machine, instruction by instruction: results, exceptions, devices, system calls,
 * slices. What needs an oracle is in test_machine_random.c.
 */
#include "machine_run.h"

#define R_TYPE(funct, rs, rt, rd) ((uint32_t)(rs) << 21 | (rt) << 16 | (rd) << 11 | (funct))
#define I_TYPE(op, rs, rt, imm) \
    ((uint32_t)(op) << 26 | (rs) << 21 | (rt) << 16 | ((imm) & 0xffff))
#define LUI(rt, imm)       I_TYPE(15, 0, rt, imm)
#define ORI(rt, rs, imm)   I_TYPE(13, rs, rt, imm)
#define ADDIU(rt, rs, imm) I_TYPE(9, rs, rt, imm)
#define LW(rt, off, rs)    I_TYPE(35, rs, rt, off)
#define SW(rt, off, rs)    I_TYPE(43, rs, rt, off)
#define BNE(rs, rt, off)   I_TYPE(5, rs, rt, off)
#define BEQ(rs, rt, off)   I_TYPE(4, rs, rt, off)
#define MFC0(rt, rd)       (0x40000000u | (rt) << 16 | (rd) << 11)
#define MTC0(rt, rd)       (0x40800000u | (rt) << 16 | (rd) << 11)
#define SYSCALL 0x0000000cu
#define ERET    0x42000018u
#define WAIT    0x42000020u
#define NOP     0u
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void open_words(struct rig *rig, const uint32_t *words, size_t n)
{
    struct rig_setup setup = {.simple = true};

    rig_open(rig, &setup, words, n);
}

/* One instruction with rs = $1, rt = $2, and its result in $3 (or in $2: `in_rt`). */
struct row {
    const char *what;
    uint32_t word, s, t, result;
    bool in_rt;
};

static const struct row rows[] = {
    {"add", R_TYPE(32, 1, 2, 3), 5, 0xfffffffe, 3, false},
    {"addu", R_TYPE(33, 1, 2, 3), 0x7fffffff, 1, 0x80000000, false},
    {"sub", R_TYPE(34, 1, 2, 3), 5, 7, 0xfffffffe, false},
    {"subu", R_TYPE(35, 1, 2, 3), 0x80000000, 1, 0x7fffffff, false},
    {"and", R_TYPE(36, 1, 2, 3), 0xff00ff00, 0x0ff00ff0, 0x0f000f00, false},
    {"or", R_TYPE(37, 1, 2, 3), 0xff00ff00, 0x0ff00ff0, 0xfff0fff0, false},
    {"xor", R_TYPE(38, 1, 2, 3), 0xff00ff00, 0x0ff00ff0, 0xf0f0f0f0, false},
    {"nor", R_TYPE(39, 1, 2, 3), 0xff00ff00, 0x0ff00ff0, 0x000f000f, false},
    {"slt", R_TYPE(42, 1, 2, 3), 0x80000000, 0x7fffffff, 1, false},
    {"sltu", R_TYPE(43, 1, 2, 3), 0x80000000, 0x7fffffff, 0, false},
    {"sllv by 33", R_TYPE(4, 1, 2, 3), 33, 3, 6, false},
    {"srlv", R_TYPE(6, 1, 2, 3), 31, 0x80000000, 1, false},
    {"srav", R_TYPE(7, 1, 2, 3), 31, 0x80000000, 0xffffffff, false},
    {"rotrv", R_TYPE(6, 1, 2, 3) | 1 << 6, 4, 0x1234567f, 0xf1234567, false},
    {"rotrv by 0", R_TYPE(6, 1, 2, 3) | 1 << 6, 32, 0x1234567f, 0x1234567f, false},
    {"movz", R_TYPE(10, 1, 2, 3), 9, 0, 9, false},
    {"movn", R_TYPE(11, 1, 2, 3), 9, 0, 3333, false},
    {"mul", 0x70000002u | R_TYPE(0, 1, 2, 3), 0xffffffff, 7, 0xfffffff9, false},
    {"clz of 0", 0x70000020u | R_TYPE(0, 1, 3, 3), 0, 0, 32, false},
    {"clo of all", 0x70000021u | R_TYPE(0, 1, 3, 3), 0xffffffff, 0, 32, false},
    {"wsbh", 0x7c0000a0u | R_TYPE(0, 0, 2, 3), 0, 0x11223344, 0x22114433, false},
    {"seb", 0x7c000420u | R_TYPE(0, 0, 2, 3), 0, 0x180, 0xffffff80, false},
    {"seh", 0x7c000620u | R_TYPE(0, 0, 2, 3), 0, 0x18000, 0xffff8000, false},
    {"addi", I_TYPE(8, 1, 2, 0xffff), 0, 0, 0xffffffff, true},
    {"slti", I_TYPE(10, 1, 2, 0xffff), 0xfffffffe, 0, 1, true},
    {"sltiu", I_TYPE(11, 1, 2, 0xffff), 0xfffffffe, 0, 1, true},
    {"andi", I_TYPE(12, 1, 2, 0xffff), 0xffff8001, 0, 0x8001, true},
    {"xori", I_TYPE(14, 1, 2, 0xffff), 0xffff8001, 0, 0xffff7ffe, true},
    {"ext", 0x7c000000u | 1 << 21 | 2 << 16 | 7 << 11 | 8 << 6, 0x00abcd00, 0, 0xcd, true},
    {"ins", 0x7c000004u | 1 << 21 | 2 << 16 | 15 << 11 | 8 << 6, 0xfee, 0x11111111, 0x1111ee11,
     true},
};

static void test_results(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct rig rig;
        const struct row *row = &rows[i];
        open_words(&rig, &row->word, 1);
        rig.m->r[1] = row->s;
        rig.m->r[2] = row->t;
        rig.m->r[3] = 3333;
        assert_int_equal(rig_run(&rig, 10), MACHINE_EXIT);
        assert_int_equal(rig.stop.executed, 1);
        if (rig.m->r[row->in_rt ? 2 : 3] != row->result)
            fail_msg("%s gives %08x", row->what, rig.m->r[row->in_rt ? 2 : 3]);
        assert_int_equal(rig.m->r[0], 0);
        rig_close(&rig);
    }
}

/* Instructions that raise an exception without a handler: a fault that says which. */
static const struct {
    const char *what;
    uint32_t word, s, t;
    enum exception code;
    uint32_t address;
} faults[] = {
    {"add", R_TYPE(32, 1, 2, 3), 0x7fffffff, 1, EXC_OV, 0},
    {"sub", R_TYPE(34, 1, 2, 3), 0x80000000, 1, EXC_OV, 0},
    {"addi", I_TYPE(8, 1, 2, 0xffff), 0x80000000, 0, EXC_OV, 0},
    {"lw unaligned", LW(2, 2, 1), MACHINE_DATA, 0, EXC_ADEL, MACHINE_DATA + 2},
    {"sh unaligned", I_TYPE(41, 1, 2, 1), MACHINE_DATA, 0, EXC_ADES, MACHINE_DATA + 1},
    {"lw nowhere", LW(2, 0, 1), 0x20000000, 0, EXC_DBE, 0x20000000},
    {"sw to text", SW(2, 0, 1), TEXT, 0, EXC_ADES, TEXT},
    {"jr outside", R_TYPE(8, 1, 0, 0), MACHINE_DATA, 0, EXC_IBE, MACHINE_DATA},
    {"jr unaligned", R_TYPE(8, 1, 0, 0), TEXT + 2, 0, EXC_ADEL, TEXT + 2},
    {"break", 0x0000000d, 0, 0, EXC_BP, 0},
    {"teq", R_TYPE(52, 1, 2, 0), 4, 4, EXC_TR, 0},
    {"tltu", R_TYPE(51, 1, 2, 0), 4, 0xffffffff, EXC_TR, 0},
    {"tnei", 0x040e0000u | 1 << 21 | 5, 4, 0, EXC_TR, 0},
    {"reserved", 0xfc000000u, 0, 0, EXC_RI, 0},
    {"syscall 99", SYSCALL, 0, 99, EXC_SYS, 0},
};

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(faults); i++) {
        struct rig rig;
        open_words(&rig, &faults[i].word, 1);
        rig.m->r[1] = faults[i].s;
        rig.m->r[2] = faults[i].t;
        if (rig_run(&rig, 10) != MACHINE_FAULT || rig.stop.code != (int32_t)faults[i].code ||
            rig.stop.address != faults[i].address)
            fail_msg("%s: reason %u, code %d, address %08x", faults[i].what, rig.stop.reason,
                     rig.stop.code, rig.stop.address);
        assert_true(strlen(rig.stop.text) > 0);
        rig_close(&rig);
    }
}

/* main may return, as if start-up code had called it; no other jump out of the text ends well. */
static void test_return(void **state)
{
    const uint32_t jr_ra = R_TYPE(8, 31, 0, 0), jr_zero = R_TYPE(8, 0, 0, 0);
    const struct {
        uint32_t jump;
        bool returns, delayed;
        enum machine_stop_reason reason;
    } cases[] = {
        {jr_ra, true, false, MACHINE_EXIT},    {jr_ra, true, true, MACHINE_EXIT},
        {jr_ra, false, false, MACHINE_FAULT},  {jr_zero, true, false, MACHINE_FAULT},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const uint32_t text[] = {ORI(2, 0, 5), cases[i].jump, ORI(3, 0, 6)};
        const struct rig_setup setup = {.returns = cases[i].returns, .delayed = cases[i].delayed};
        for (uint64_t slice = 1; slice <= 100; slice *= 10) {
            struct rig rig;
            enum machine_stop_reason reason;
            rig_open(&rig, &setup, text, COUNT(text));
            assert_int_equal(rig.m->r[31], setup.returns ? MACHINE_RETURN : 0);
            while ((reason = rig_run(&rig, slice)) == MACHINE_SLICE)
                ;
            assert_int_equal(reason, cases[i].reason);
            assert_int_equal(rig.m->executed, setup.delayed ? 3 : 2);
            if (reason == MACHINE_EXIT)
                assert_int_equal(rig.stop.code, 0);
            rig_close(&rig);
        }
    }
}

/* Output leaves while a run() goes on, though nothing fills the buffer. */
static void test_output_leaves(void **state)
{
    const uint32_t text[] = {ORI(2, 0, 11),   ORI(4, 0, 'x'), SYSCALL,        LUI(8, 16),
                             ADDIU(8, 8, -1), BNE(8, 0, -2),  ORI(4, 0, 'y'), SYSCALL,
                             ORI(2, 0, 10),   SYSCALL};
    struct rig_setup setup = {0};
    struct rig rig;

    (void)state;
    rig_open(&rig, &setup, text, COUNT(text));
    assert_int_equal(rig_run(&rig, UINT64_MAX), MACHINE_EXIT);
    assert_string_equal(rig.out, "xy");
    assert_int_equal(rig.writes, 2);
    rig_close(&rig);
}

/* A handler that skips what faulted, once with and once without delay slots. */
static void test_handler(void **state)
{
    const uint32_t handler[] = {MFC0(26, 13), MFC0(27, 14), ADDIU(27, 27, 8), MTC0(27, 14), ERET};
    const uint32_t text[] = {BEQ(0, 0, 2), LW(2, 1, 0), ORI(4, 0, 1), ORI(5, 0, 2)};
    struct rig_setup setup = {
        .delayed = true, .simple = true, .ktext = handler, .nktext = COUNT(handler)};
    struct rig rig;

    (void)state;
    rig_open(&rig, &setup, text, COUNT(text));
    assert_int_equal(rig_run(&rig, 100), MACHINE_EXIT);
    assert_int_equal(rig.m->r[26], CAUSE_BD | EXC_ADEL << 2);
    assert_int_equal(rig.m->cp0[CP0_EPC], TEXT + 8);
    assert_int_equal(rig.m->cp0[CP0_BADVADDR], 1);
    assert_int_equal(rig.m->r[4], 1);
    assert_int_equal(rig.m->r[5], 2);
    rig_close(&rig);
}

/* The timer fires at the same instruction however run() is cut. */
static void test_timer(void **state)
{
    const uint32_t handler[] = {MFC0(26, 9), ADDIU(16, 16, 1), ADDIU(27, 26, 50), MTC0(27, 11),
                                ERET};
    const uint32_t text[] = {ORI(8, 0, 40),   MTC0(8, 11),     ADDIU(9, 9, 1),
                             ADDIU(10, 9, 3), ORI(11, 0, 500), BNE(9, 11, -4)};
    struct rig_setup setup = {.simple = true, .ktext = handler, .nktext = COUNT(handler)};
    uint32_t handled = 0, count = 0;
    uint64_t executed = 0, random = 99;

    (void)state;
    for (int pass = 0; pass < 4; pass++) {
        struct rig rig;
        rig_open(&rig, &setup, text, COUNT(text));
        while (rig_run(&rig, pass == 0 ? 1000000 : 1 + rig_random(&random) % 20) == MACHINE_SLICE)
            ;
        assert_int_equal(rig.stop.reason, MACHINE_EXIT);
        if (pass == 0) {
            handled = rig.m->r[16];
            count = rig.m->r[26];
            executed = rig.m->executed;
            assert_true(handled > 10);
        }
        assert_int_equal(rig.m->r[16], handled);
        assert_int_equal(rig.m->r[26], count);
        assert_int_equal(rig.m->executed, executed);
        rig_close(&rig);
    }
}

static void test_console_device(void **state)
{
    /* Echoes with polling until the receiver has nothing more: 20 looks. */
    const uint32_t text[] = {LUI(8, 0xffff), ORI(9, 0, 20),
                             LW(10, 0, 8),   I_TYPE(12, 10, 10, 1),
                             BNE(10, 0, 3),  ADDIU(9, 9, -1),
                             BNE(9, 0, -5),  BEQ(0, 0, 2),
                             LW(11, 4, 8),   SW(11, 12, 8),
                             NOP,            NOP};
    struct rig rig;

    (void)state;
    open_words(&rig, text, COUNT(text));
    rig.in = "x";
    assert_int_equal(rig_run(&rig, 1000), MACHINE_EXIT);
    assert_string_equal(rig.out, "x");
    rig_close(&rig);
}

static void test_disk_and_power(void **state)
{
    const uint32_t text[] = {LUI(8, 0xffff), LUI(9, 0x1001),   ORI(10, 0, 2), SW(10, 0x10, 8),
                             SW(9, 0x14, 8), ORI(11, 0, 1),    SW(11, 0x18, 8), LW(12, 0x1c, 8),
                             LW(13, 0, 9),   LW(14, 0x20, 8),  ORI(15, 0, 7), SW(15, 0x40, 8)};
    struct rig rig;

    (void)state;
    open_words(&rig, text, COUNT(text));
    memset(rig.disk[2], 0x5a, DISK_SECTOR);
    assert_int_equal(rig_run(&rig, 1000), MACHINE_POWER_OFF);
    assert_int_equal(rig.stop.code, 7);
    assert_int_equal(rig.m->r[12], 5);
    assert_int_equal(rig.m->r[13], 0x5a5a5a5a);
    assert_int_equal(rig.m->r[14], 4);
    rig_close(&rig);
}

static void test_wait_for_input(void **state)
{
    const uint32_t text[] = {ORI(2, 0, 5), SYSCALL, ADDIU(4, 2, 1), ORI(2, 0, 1), SYSCALL,
                             ORI(2, 0, 10), SYSCALL};
    struct rig rig;

    (void)state;
    open_words(&rig, text, COUNT(text));
    rig.in = "4";
    rig.in_waits = true;
    assert_int_equal(rig_run(&rig, 1000), MACHINE_WAIT);
    assert_int_equal(rig.stop.executed, 1);
    assert_int_equal(rig.stop.pc, TEXT + 4);
    rig.in = "1\n";
    assert_int_equal(rig_run(&rig, 1000), MACHINE_EXIT);
    assert_string_equal(rig.out, "42");
    assert_int_equal(rig.m->executed, COUNT(text));
    rig_close(&rig);
}

static void test_dump_and_snapshot(void **state)
{
    const uint32_t text[] = {ADDIU(5, 0, -3), 0x70000010u, 0x70000011u, ORI(6, 0, 6)};
    struct rig_setup setup = {.simple = true, .snapshot = "here.bin"};
    struct rig rig;

    (void)state;
    rig_open(&rig, &setup, text, COUNT(text));
    assert_int_equal(rig_run(&rig, 100), MACHINE_SNAPSHOT);
    assert_string_equal(rig.stop.text, "here.bin");
    assert_int_equal(rig.stop.pc, TEXT + 12);
    assert_non_null(strstr(rig.out, "$r0=0\n$r1=0\n"));
    assert_non_null(strstr(rig.out, "$r5=-3\n"));
    assert_int_equal(rig_run(&rig, 100), MACHINE_EXIT);
    assert_int_equal(rig.m->r[6], 6);
    rig_close(&rig);
}

/* A store to an instruction that has run already changes what runs next. */
static void test_changed_code(void **state)
{
    const uint32_t text[] = {LUI(8, 0x40),   ORI(10, 0, 2),      ORI(4, 0, 1), LW(9, 0x20, 8),
                             SW(9, 0x8, 8),  ADDIU(10, 10, -1),  BNE(10, 0, -5), BEQ(0, 0, 1),
                             ORI(4, 0, 77)};
    struct rig_setup setup = {.simple = true, .writable = true};
    struct rig rig;

    (void)state;
    rig_open(&rig, &setup, text, COUNT(text));
    assert_int_equal(rig_run(&rig, 100), MACHINE_EXIT);
    assert_int_equal(rig.m->r[4], 77);
    assert_int_equal(rig.m->executed, 2 + 2 * 5 + 1);
    rig_close(&rig);
}

static void test_breakpoint(void **state)
{
    const uint32_t text[] = {ORI(8, 0, 3), ADDIU(8, 8, -1), NOP, BNE(8, 0, -3), NOP};
    struct rig rig;

    (void)state;
    open_words(&rig, text, COUNT(text));
    assert_true(control_set_break(rig.m, TEXT + 8, true));
    for (uint32_t left = 2; left < 3; left--) {
        assert_int_equal(rig_run(&rig, 100), MACHINE_BREAK);
        assert_int_equal(rig.stop.pc, TEXT + 8);
        assert_int_equal(rig.m->r[8], left);
    }
    assert_true(control_set_break(rig.m, TEXT + 8, false));
    assert_int_equal(rig_run(&rig, 100), MACHINE_EXIT);
    rig_close(&rig);
}

/* Counts are per instruction and exact, faults included. */
static void test_statistics(void **state)
{
    const uint32_t text[] = {ORI(8, 0, 10), ADDIU(8, 8, -1), BNE(8, 0, -2), LW(9, 1, 0), NOP, NOP};
    static uint64_t out[sizeof(struct machine_stats) / 8 + ISA_COUNT];
    struct machine_stats *stats = (struct machine_stats *)out;
    const uint64_t *counts = out + sizeof(*stats) / 8;
    uint64_t sum = 0;
    struct rig rig;

    (void)state;
    open_words(&rig, text, COUNT(text));
    assert_int_equal(rig_run(&rig, 1000), MACHINE_FAULT);
    assert_int_equal(control_stats(rig.m, out, sizeof(out)), sizeof(out));
    for (size_t i = 0; i < ISA_COUNT; i++)
        sum += counts[i];
    assert_int_equal(stats->executed, 22);
    assert_int_equal(sum, 22);
    assert_int_equal(counts[ISA_ADDIU], 10);
    assert_int_equal(stats->branches, 10);
    assert_int_equal(stats->taken, 9);
    rig_close(&rig);
}

/* The TLB maps a page elsewhere, once Config.MT asks for it. */
static void test_tlb(void **state)
{
    const uint32_t text[] = {MTC0(4, 10), MTC0(5, 2), MTC0(6, 3), MTC0(0, 0), 0x42000002u,
                             MFC0(7, 16), 0x7c070004u | 9 << 11 | 7 << 6, ORI(7, 7, 0x80),
                             MTC0(7, 16), LW(9, 0, 8), SW(9, 0, 8)};
    struct rig_setup setup = {.simple = true};
    uint8_t value[4] = {0x11, 0x22, 0x33, 0x44};
    struct rig rig;

    (void)state;
    rig_open(&rig, &setup, text, COUNT(text));
    assert_int_equal(memory_write(rig.m, MACHINE_DATA, value, 4, false), 4);
    rig.m->r[4] = 0x00400000; /* text stays where it is, the page behind it is the data */
    rig.m->r[5] = (TEXT >> 12) << 6 | 3;
    rig.m->r[6] = (MACHINE_DATA >> 12) << 6 | 3;
    rig.m->r[8] = 0x00401000;
    assert_int_equal(rig_run(&rig, 1000), MACHINE_FAULT);
    assert_int_equal(rig.m->r[9], 0x44332211);
    assert_int_equal(rig.stop.code, EXC_MOD);
    assert_int_equal(rig.stop.address, 0x00401000);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results),          cmocka_unit_test(test_faults),
        cmocka_unit_test(test_return),           cmocka_unit_test(test_output_leaves),
        cmocka_unit_test(test_handler),          cmocka_unit_test(test_timer),
        cmocka_unit_test(test_console_device),   cmocka_unit_test(test_disk_and_power),
        cmocka_unit_test(test_wait_for_input),   cmocka_unit_test(test_dump_and_snapshot),
        cmocka_unit_test(test_changed_code),     cmocka_unit_test(test_breakpoint),
        cmocka_unit_test(test_statistics),       cmocka_unit_test(test_tlb),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
