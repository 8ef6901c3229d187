/*
 * Edge cases of what leaves the fast loop: coprocessor 0 and the TLB, modes, system calls,
 * hardware registers. Each row is a few words, run alone, behind other instructions, and step by
 * step. No oracle: a program of qemu-mips has no kernel mode.
 */
#include "machine_edges.h"

#define MFC0(rt, rd)     (0x40000000u | (rt) << 16 | (rd) << 11)
#define MTC0(rt, rd)     (0x40800000u | (rt) << 16 | (rd) << 11)
#define RDHWR(rd)        (0x7c03003bu | (rd) << 11)
#define ORI(rt, imm)     (0x34000000u | (rt) << 16 | (imm))
#define CACHE(operation) (0xbc800000u | (operation) << 16)
#define SYSCALL  0x0000000cu
#define ERET     0x42000018u
#define WAIT     0x42000020u
#define TLBR     0x42000001u
#define TLBWI    0x42000002u
#define TLBWR    0x42000006u
#define TLBP     0x42000008u
#define DUMP     0x70000010u
#define SNAPSHOT 0x70000011u
#define LL       0xc0870000u /* ll $7, 0($4) */
#define SC       0xe0830000u /* sc $3, 0($4) */
#define KERNEL   (STATUS_CU0 | STATUS_CU1 | STATUS_IM | STATUS_IE)
#define USER     (STATUS_CU1 | STATUS_UM)
#define WORDS    6
#define ANY      0xffffffffu

struct system_case {
    enum isa_insn insn;
    uint32_t words[WORDS]; /* up to the last that is not 0 */
    uint32_t status;       /* 0: as it starts */
    struct {
        unsigned reg;
        uint32_t value;
    } before[2], behind[2]; /* registers of coprocessor 0; register 0, 0: nothing */
    uint8_t epc, error_epc; /* these hold the address of that word, counted from 1 */
    uint32_t t;             /* $1 */
    uint32_t result;        /* $3, which starts as 0x3333 */
    uint8_t raises, coprocessor;
    uint8_t ends; /* enum machine_stop_reason; 0: MACHINE_EXIT, or MACHINE_FAULT if it raises */
};

/* Writes a register and reads it back. */
#define WRITES(reg, value, back) \
    {ISA_MTC0, {MTC0(1, reg), MFC0(3, reg)}, .t = value, .result = back}
#define READS(reg, select, value) {ISA_MFC0, {MFC0(3, reg) | (select)}, .result = value}
#define KEEPS .result = 0x3333
#define UNUSABLE(NAME, word) {ISA_##NAME, {word}, .status = USER, KEEPS, .raises = EXC_CPU}

static const struct system_case registers[] = {
    READS(CP0_STATUS, 0, KERNEL), READS(CP0_PRID, 0, 0x00018000), READS(CP0_PRID, 1, 0),
    READS(CP0_CONFIG, 0, 0x80000580), READS(CP0_CONFIG, 1, 15u << 25 | 1), READS(CP0_CONFIG, 2, 0),
    READS(CP0_CAUSE, 0, 0), READS(CP0_WIRED, 0, 0), READS(CP0_COUNT, 7, 0),
    {ISA_MFC0, {0, MFC0(0, CP0_PRID), ORI(3, 7)}, .result = 7}, /* to $0 */
    UNUSABLE(MFC0, MFC0(3, CP0_STATUS)), UNUSABLE(MFC0, MFC0(3, CP0_COUNT)),
    {ISA_MFC0, {MFC0(3, CP0_PRID)}, .status = USER | STATUS_CU0, .result = 0x00018000},
    {ISA_MFC0, {MFC0(3, CP0_PRID)}, .status = USER | STATUS_EXL, .result = 0x00018000},
    {ISA_MFC0, {MFC0(3, CP0_PRID)}, .status = USER | STATUS_ERL, .result = 0x00018000},
    WRITES(CP0_STATUS, 0, 0),
    WRITES(CP0_STATUS, ~(STATUS_UM | STATUS_IE), 0x3040ff06),
    WRITES(CP0_CAUSE, ~0x300u, CAUSE_IV), WRITES(CP0_CAUSE, 0x0000fcff, 0),
    WRITES(CP0_EPC, ANY, ANY), WRITES(CP0_ERROREPC, 0x12345677, 0x12345677),
    WRITES(CP0_PRID, ANY, 0x00018000), WRITES(CP0_BADVADDR, ANY, 0),
    WRITES(CP0_INDEX, ANY, 15), WRITES(CP0_WIRED, 0x13, 3),
    WRITES(CP0_ENTRYLO0, ANY, 0x03ffffff), WRITES(CP0_ENTRYLO1, ANY, 0x03ffffff),
    WRITES(CP0_CONTEXT, ANY, 0xff800000), WRITES(CP0_PAGEMASK, ANY, 0x1fffe000),
    WRITES(CP0_ENTRYHI, ANY, 0xffffe0ff), WRITES(CP0_HWRENA, ANY, 15),
    WRITES(CP0_COMPARE, ANY, ANY), WRITES(CP0_COUNT, 0x12345678, 0x12345679),
    WRITES(CP0_COUNT, ANY, 0),
    WRITES(CP0_CONFIG, ~CONFIG_TLB, 0x80000707),
    {ISA_MTC0, {MTC0(1, CP0_CONFIG) | 1, MFC0(3, CP0_CONFIG) | 1}, .result = 15u << 25 | 1},
    /* Writing Compare takes the interrupt back. */
    {ISA_MTC0, {MTC0(0, CP0_COMPARE), MFC0(3, CP0_CAUSE)}, .status = STATUS_CU0,
     .before = {{CP0_CAUSE, IRQ_TIMER}}, .result = 0},
    UNUSABLE(MTC0, MTC0(0, CP0_STATUS)), UNUSABLE(MTC0, MTC0(0, CP0_EPC)),
    {ISA_RDPGPR, {0x41410000u | 3 << 11}, .t = 5, .result = 5},
    {ISA_RDPGPR, {0x41410000u | 0 << 11}, .t = 5, KEEPS},
    UNUSABLE(RDPGPR, 0x41410000u | 3 << 11),
    {ISA_WRPGPR, {0x41c10000u | 3 << 11}, .t = 5, .result = 5},
    {ISA_WRPGPR, {0x41c00000u | 3 << 11}, .t = 5, .result = 0},
    UNUSABLE(WRPGPR, 0x41c10000u | 3 << 11),
    {ISA_DI, {0x41636000u}, .result = KERNEL, .behind = {{CP0_STATUS, KERNEL & ~STATUS_IE}}},
    {ISA_DI, {0x41606000u}, KEEPS, .behind = {{CP0_STATUS, KERNEL & ~STATUS_IE}}},
    {ISA_DI, {0x41636000u}, .status = STATUS_CU0, .result = STATUS_CU0,
     .behind = {{CP0_STATUS, STATUS_CU0}}},
    UNUSABLE(DI, 0x41636000u),
    {ISA_EI, {0x41636020u}, .status = STATUS_CU0, .result = STATUS_CU0,
     .behind = {{CP0_STATUS, STATUS_CU0 | STATUS_IE}}},
    {ISA_EI, {0x41606020u}, .status = STATUS_CU0, KEEPS,
     .behind = {{CP0_STATUS, STATUS_CU0 | STATUS_IE}}},
    {ISA_EI, {0x41636020u}, .result = KERNEL, .behind = {{CP0_STATUS, KERNEL}}},
    UNUSABLE(EI, 0x41636020u),
    {ISA_RDHWR, {RDHWR(0)}, .result = 0}, {ISA_RDHWR, {RDHWR(1)}, .result = 0},
    {ISA_RDHWR, {MTC0(1, CP0_COUNT), RDHWR(2)}, .t = 0x1000, .result = 0x1001},
    {ISA_RDHWR, {RDHWR(3)}, .result = 1},
    {ISA_RDHWR, {RDHWR(4)}, KEEPS, .raises = EXC_RI},
    {ISA_RDHWR, {RDHWR(29)}, KEEPS, .raises = EXC_RI},
    {ISA_RDHWR, {RDHWR(3)}, .status = USER, KEEPS, .raises = EXC_RI},
    {ISA_RDHWR, {RDHWR(3)}, .status = USER, .before = {{CP0_HWRENA, 7}}, KEEPS, .raises = EXC_RI},
    {ISA_RDHWR, {RDHWR(3)}, .status = USER, .before = {{CP0_HWRENA, 8}}, .result = 1},
    {ISA_RDHWR, {RDHWR(3)}, .status = USER | STATUS_CU0, .result = 1},
    {ISA_CACHE, {CACHE(0)}, KEEPS}, {ISA_CACHE, {CACHE(31)}, KEEPS}, UNUSABLE(CACHE, CACHE(21)),
};

static const struct system_case control[] = {
    {ISA_ERET, {ERET, ORI(3, 1)}, .status = KERNEL | STATUS_EXL, .epc = 3, KEEPS,
     .behind = {{CP0_STATUS, KERNEL}}},
    {ISA_ERET, {ERET, ORI(3, 1)}, .status = KERNEL | STATUS_ERL, .error_epc = 3, KEEPS,
     .behind = {{CP0_STATUS, KERNEL}}},
    {ISA_ERET, {ERET, ORI(3, 1), ORI(3, 2)}, .status = KERNEL | STATUS_ERL | STATUS_EXL,
     .error_epc = 3, .epc = 2, .result = 2, .behind = {{CP0_STATUS, KERNEL | STATUS_EXL}}},
    {ISA_ERET, {ERET, ORI(3, 1), MFC0(3, CP0_PRID)}, .status = USER | STATUS_EXL, .epc = 3, KEEPS,
     .raises = EXC_CPU},
    {ISA_ERET, {LL, ERET, SC}, .status = KERNEL | STATUS_EXL, .epc = 3, .result = 0},
    UNUSABLE(ERET, ERET),
    /* An interrupt that is let through ends it, whether IE is set or not. */
    {ISA_WAIT, {WAIT, ORI(3, 1)}, .status = STATUS_CU0 | STATUS_IM, .before = {{CP0_CAUSE, 0x100}},
     .result = 1},
    {ISA_WAIT, {MTC0(0, CP0_COUNT), MTC0(1, CP0_COMPARE), WAIT, MFC0(3, CP0_COUNT)}, .t = 100,
     .status = STATUS_CU0 | STATUS_IM, .result = 101},
    {ISA_WAIT, {WAIT, ORI(3, 1)}, .status = STATUS_CU0, .before = {{CP0_CAUSE, 0x100}}, KEEPS,
     .ends = MACHINE_FAULT},
    UNUSABLE(WAIT, WAIT), UNUSABLE(WAIT, WAIT | 0x7ffff << 6),
    {ISA_SYSCALL, {SYSCALL}, .status = USER, KEEPS, .raises = EXC_SYS},
    {ISA_SYSCALL, {ORI(2, 99), SYSCALL}, KEEPS, .raises = EXC_SYS},
    {ISA_SYSCALL, {ORI(2, 10), SYSCALL | 0xfffff << 6, ORI(3, 1)}, KEEPS},
    {ISA_DUMP, {DUMP}, KEEPS}, {ISA_DUMP, {DUMP, ORI(3, 1)}, .result = 1},
    {ISA_DUMP, {DUMP}, .status = USER, KEEPS},
    {ISA_SNAPSHOT, {SNAPSHOT}, KEEPS, .ends = MACHINE_SNAPSHOT},
    {ISA_SNAPSHOT, {SNAPSHOT | 1 << 6}, KEEPS, .raises = EXC_RI},
    {ISA_SNAPSHOT, {SNAPSHOT | 0xfffff << 6}, KEEPS, .raises = EXC_RI},
    /* User mode has no kernel addresses: a load, a store, a jump. $4 + $8 is one. */
    {ISA_LW, {0x3c088000u, 0x8d030180u}, .status = USER, KEEPS, .raises = EXC_ADEL,
     .behind = {{CP0_BADVADDR, 0x80000180u}}},
    {ISA_SW, {0x3c089000u, 0xad030000u}, .status = USER, KEEPS, .raises = EXC_ADES,
     .behind = {{CP0_BADVADDR, 0x90000000u}}},
    {ISA_SB, {0x3c08ffffu, 0xa103000cu}, .status = USER, KEEPS, .raises = EXC_ADES,
     .behind = {{CP0_BADVADDR, 0xffff000cu}}},
    {ISA_JR, {0x3c088000u, 0x35080180u, 0x01000008u}, .status = USER, KEEPS, .raises = EXC_ADEL,
     .behind = {{CP0_BADVADDR, 0x80000180u}, {CP0_EPC, 0x80000180u}}},
    /* Coprocessor 2, which there is none of. */
    {ISA_UNKNOWN, {0x48030000u}, KEEPS, .raises = EXC_CPU, .coprocessor = 2},
    {ISA_UNKNOWN, {0xc8830000u}, KEEPS, .raises = EXC_CPU, .coprocessor = 2},
    {ISA_UNKNOWN, {0xf8830000u}, KEEPS, .raises = EXC_CPU, .coprocessor = 2},
    {ISA_UNKNOWN, {0x68830000u}, KEEPS, .raises = EXC_RI}, /* ldl */
};

/* Entry 5: virtual 0x5000a000 and the page behind it, ASID 7. */
#define HIGH   0x5000a007u
#define LOW_0  ((0x12345u << 6) | 6)
#define LOW_1  ((0x54321u << 6) | 7)
#define ENTRY                                                                                 \
    .before = {{CP0_INDEX, 5}, {CP0_ENTRYHI, HIGH}}

static const struct system_case tlb[] = {
    {ISA_TLBWI, {TLBWI, MTC0(0, CP0_ENTRYHI), TLBR, MFC0(3, CP0_ENTRYHI)}, ENTRY, .result = HIGH},
    {ISA_TLBWI, {MTC0(1, CP0_ENTRYLO0), TLBWI, MTC0(0, CP0_ENTRYLO0), TLBR, MFC0(3, CP0_ENTRYLO0)},
     ENTRY, .t = LOW_0, .result = LOW_0},
    /* Global is what both are. */
    {ISA_TLBWI, {MTC0(1, CP0_ENTRYLO1), TLBWI, MTC0(0, CP0_ENTRYLO1), TLBR, MFC0(3, CP0_ENTRYLO1)},
     ENTRY, .t = LOW_1, .result = LOW_1 & ~1u},
    UNUSABLE(TLBWI, TLBWI),
    {ISA_TLBR, {MTC0(1, CP0_PAGEMASK), TLBWI, MTC0(0, CP0_PAGEMASK), TLBR, MFC0(3, CP0_PAGEMASK)},
     ENTRY, .t = 0x6000, .result = 0x6000},
    {ISA_TLBR, {MTC0(1, CP0_PAGEMASK), TLBWI, TLBR, MFC0(3, CP0_ENTRYHI)}, ENTRY, .t = 0x6000,
     .result = 0x50008007u},
    {ISA_TLBR, {TLBR, MFC0(3, CP0_ENTRYHI)}, ENTRY, .result = 0},
    UNUSABLE(TLBR, TLBR),
    /* Wired 15 leaves one entry for Random. */
    {ISA_TLBWR, {MTC0(1, CP0_WIRED), TLBWR, TLBP, MFC0(3, CP0_INDEX)}, ENTRY, .t = 15,
     .result = 15},
    {ISA_TLBWR, {MTC0(1, CP0_WIRED), MFC0(3, CP0_RANDOM)}, .t = 15, .result = 15},
    UNUSABLE(TLBWR, TLBWR),
    {ISA_TLBP, {TLBWI, TLBP, MFC0(3, CP0_INDEX)}, ENTRY, .result = 5},
    /* Another address space; another page; and then the register keeps that nothing was found. */
    {ISA_TLBP, {TLBWI, MTC0(1, CP0_ENTRYHI), TLBP, MFC0(3, CP0_INDEX)}, ENTRY, .t = HIGH + 1,
     .result = 0x80000000u},
    {ISA_TLBP, {TLBWI, MTC0(1, CP0_ENTRYHI), TLBP, MFC0(3, CP0_INDEX)}, ENTRY, .t = HIGH + 0x2000,
     .result = 0x80000000u},
    {ISA_TLBP, {TLBWI, MTC0(1, CP0_ENTRYHI), TLBP, MTC0(0, CP0_INDEX), MFC0(3, CP0_INDEX)}, ENTRY,
     .t = HIGH + 1, .result = 0x80000000u},
    UNUSABLE(TLBP, TLBP),
};

static const struct {
    const struct system_case *cases;
    size_t n;
} tables[] = {
    {registers, EDGES_COUNT(registers)},
    {control, EDGES_COUNT(control)},
    {tlb, EDGES_COUNT(tlb)},
};

static void set_up(struct machine *m, const struct system_case *c, uint32_t at)
{
    m->r[1] = c->t;
    m->r[3] = 0x3333;
    m->r[4] = MACHINE_DATA;
    for (size_t i = 0; i < EDGES_COUNT(c->before); i++)
        if (c->before[i].value != 0)
            m->cp0[c->before[i].reg] = c->before[i].value;
    if (c->epc != 0)
        m->cp0[CP0_EPC] = at + 4 * (c->epc - 1u);
    if (c->error_epc != 0)
        m->cp0[CP0_ERROREPC] = at + 4 * (c->error_epc - 1u);
    if (c->status != 0)
        m->cp0[CP0_STATUS] = c->status;
    cp0_mode_changed(m);
}

/* Whether a row ended as it must. */
static bool as_expected(struct rig *rig, const struct system_case *c)
{
    uint32_t cause = rig->m->cp0[CP0_CAUSE];
    unsigned ends = c->ends != 0 ? c->ends : c->raises != 0 ? MACHINE_FAULT : MACHINE_EXIT;
    bool same = rig->stop.reason == ends && rig->m->r[3] == c->result;

    if (c->raises != 0)
        same = same && rig->stop.code == c->raises && (cause >> 2 & 31) == c->raises &&
               (cause >> 28 & 3) == c->coprocessor;
    for (size_t i = 0; i < EDGES_COUNT(c->behind); i++)
        if (c->behind[i].value != 0)
            same = same && rig->m->cp0[c->behind[i].reg] == c->behind[i].value;
    return same;
}

static bool run(const struct system_case *c, size_t row, size_t nops, uint64_t slice)
{
    static struct rig rig;
    struct rig_setup setup = {.simple = true, .snapshot = "here"};
    uint32_t words[EDGE_NOPS + WORDS] = {0};
    size_t n = WORDS;

    while (c->words[n - 1] == 0)
        n--;
    memcpy(words + nops, c->words, 4 * n);
    if (c->epc > n || c->error_epc > n) /* behind the last word */
        n++;
    rig_open(&rig, &setup, words, nops + n);
    set_up(rig.m, c, TEXT + 4 * (uint32_t)nops);
    while (rig_run(&rig, slice) == MACHINE_SLICE)
        ;
    bool same = as_expected(&rig, c);
    if (!same)
        print_error("%s, row %zu, %zu nops, slices of %u: $3 %08x, Cause %08x, Status %08x,"
                    " reason %u: %s\n", isa_table[c->insn].mnemonic, row, nops, (unsigned)slice,
                    rig.m->r[3], rig.m->cp0[CP0_CAUSE], rig.m->cp0[CP0_STATUS], rig.stop.reason,
                    rig.stop.text);
    rig_close(&rig);
    return same;
}

static void test_machine(void **state)
{
    unsigned wrong = 0;

    (void)state;
    for (size_t t = 0; t < EDGES_COUNT(tables); t++) {
        for (size_t i = 0; i < tables[t].n; i++) {
            wrong += !run(&tables[t].cases[i], i, 0, 1000);
            wrong += !run(&tables[t].cases[i], i, EDGE_NOPS, 1000);
            wrong += !run(&tables[t].cases[i], i, EDGE_NOPS, 1);
        }
    }
    assert_int_equal(wrong, 0);
}

static void test_complete(void **state)
{
    unsigned rows[ISA_COUNT + 1] = {0};

    (void)state;
    for (size_t t = 0; t < EDGES_COUNT(tables); t++)
        for (size_t i = 0; i < tables[t].n; i++)
            rows[tables[t].cases[i].insn]++;
    edges_check_rows(rows, EDGE_SYSTEM);
}

/* All that the table calls privileged, and nothing else, is refused in user mode. */
static void test_privileged(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ISA_COUNT; i++) {
        static struct rig rig;
        struct rig_setup setup = {.simple = true, .snapshot = "here"};
        uint32_t word = isa_table[i].match;
        bool refused = (isa_table[i].flags & ISA_PRIVILEGED) != 0;
        rig_open(&rig, &setup, &word, 1);
        cp0_write(rig.m, CP0_STATUS, 0, USER);
        rig_run(&rig, 1);
        if (refused != (rig.stop.reason == MACHINE_FAULT && rig.stop.code == EXC_CPU))
            fail_msg("%s: reason %u, code %d", isa_table[i].mnemonic, rig.stop.reason,
                     rig.stop.code);
        rig_close(&rig);
    }
}

/* An exception between ll and sc: sc fails, even when the handler comes back without eret. */
static void test_exception_breaks_link(void **state)
{
    const uint32_t handler[] = {MFC0(26, CP0_EPC), 0x275a0004u, 0x03400008u /* jr */};
    const uint32_t text[] = {LL, 0x00000034u /* teq $0, $0 */, SC};
    struct rig_setup setup = {.simple = true, .ktext = handler, .nktext = EDGES_COUNT(handler)};
    struct rig rig;

    (void)state;
    rig_open(&rig, &setup, text, EDGES_COUNT(text));
    rig.m->r[3] = 0x3333;
    rig.m->r[4] = MACHINE_DATA;
    assert_int_equal(rig_run(&rig, 100), MACHINE_EXIT);
    assert_int_equal(rig.m->r[3], 0);
    assert_int_equal(rig.m->exceptions, 1);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_complete),
        cmocka_unit_test(test_machine),
        cmocka_unit_test(test_privileged),
        cmocka_unit_test(test_exception_breaks_link),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
