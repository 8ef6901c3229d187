/*
 * Edge cases of single instructions: rows of a table, each with the machine's state before
 * and behind, as the MIPS32 manual has it ("Architecture for Programmers", volume II). A row
 * runs alone, between other instructions, in a delay slot, and step by step, in both byte
 * orders; and all rows in one program of qemu-mips and qemu-mipsel, which proves the table.
 *
 * The registers of a row: $1, $2, $3 are rs, rt, rd; $4 points to 16 bytes of memory; $f2,
 * $f4, $f6, $f8 are fs, ft, fr, fd. Behind a branch stand two additions, to $5 and $6.
 */
#ifndef TESTS_MACHINE_EDGES_H
#define TESTS_MACHINE_EDGES_H

#include "machine_oracle.h"

#define EDGES_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* What the rows of one test must cover: each instruction is in one group. */
enum edge_group { EDGE_INTEGER, EDGE_FPU, EDGE_SYSTEM };

static inline enum edge_group edge_group(enum isa_insn insn)
{
    uint32_t flags = isa_table[insn].flags;

    if (flags & ISA_FPU)
        return EDGE_FPU;
    return flags & (ISA_PRIVILEGED | ISA_ENDS_BLOCK) || insn == ISA_RDHWR || insn == ISA_SYSCALL
               ? EDGE_SYSTEM
               : EDGE_INTEGER;
}

/* Where the result of a row is. */
enum edge_result { TO_NOTHING, TO_S, TO_T, TO_D, TO_HILO, TO_FCSR, TO_FD, TO_FS, TO_MEMORY };

enum { EDGE_KEEP = 0xff }; /* as `cause`: FCSR stays as it is */

struct edge_case {
    enum isa_insn insn; /* ISA_UNKNOWN: `fields` is the whole word */
    uint32_t fields;    /* its operands */
    uint32_t in[3];     /* $1, $2, $3 */
    uint32_t hi, lo;
    uint64_t f[3]; /* $f2, $f4, $f6; the upper word in the next register */
    uint32_t fcsr;
    const uint32_t *before; /* words that run before it, `nbefore` of them */
    uint8_t nbefore;
    uint8_t to;      /* enum edge_result */
    uint8_t bytes;   /* of TO_FD and TO_FS: 4 or 8 */
    uint8_t cause;   /* FCSR.Cause behind it, without the sixth bit; or EDGE_KEEP */
    uint8_t raises;  /* enum exception; 0: none */
    bool has_address;
    bool branch, taken, likely;
    uint8_t links;   /* the register of the return address, $31 or $3; or 0 */
    bool open;       /* the architecture leaves this open: qemu is not asked */
    uint32_t address; /* of the exception, from $4 on */
    uint64_t out[2]; /* little- and big-endian */
};

/* The state that is compared: of the machine, of the oracle, and as expected. */
enum {
    AT_S, AT_T, AT_D, AT_HI, AT_LO, AT_FCSR, AT_F, AT_RA = AT_F + 8, AT_SLOT, AT_BEHIND,
    AT_SIGNAL, EDGE_WORDS
};

#define EDGE_MEMORY 16
struct edge_state {
    uint8_t memory[EDGE_MEMORY];
    uint32_t words[EDGE_WORDS];
};

#define EDGE_FD UINT64_C(0xdeadbeefcafef00d) /* in $f8 and $f9 before */

static const char *const edge_names[EDGE_WORDS] = {
    "$1",  "$2",  "$3",  "hi",  "lo",  "fcsr", "$f2",  "$f3",       "$f4",          "$f5",
    "$f6", "$f7", "$f8", "$f9", "$ra", "slot", "next", "exception"};

static inline struct edge_state edge_before(const struct edge_case *c)
{
    struct edge_state state = {.words = {c->in[0], c->in[1], c->in[2], c->hi, c->lo, c->fcsr}};

    for (unsigned i = 0; i < EDGE_MEMORY; i++)
        state.memory[i] = (uint8_t)(0x80 + 0x11 * i);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t value = i < 3 ? c->f[i] : EDGE_FD;
        state.words[AT_F + 2 * i] = (uint32_t)value;
        state.words[AT_F + 2 * i + 1] = (uint32_t)(value >> 32);
    }
    return state;
}

/* The signal that Linux makes of an exception. */
static inline uint32_t edge_signal(unsigned raises)
{
    static const uint8_t signals[] = {[EXC_ADEL] = 10, [EXC_ADES] = 10, [EXC_BP] = 5,
                                      [EXC_RI] = 4,    [EXC_CPU] = 4,   [EXC_OV] = 8,
                                      [EXC_TR] = 5,    [EXC_FPE] = 8};
    return raises < sizeof(signals) ? signals[raises] : 0;
}

static inline void edge_put_result(const struct edge_case *c, bool big, struct edge_state *state)
{
    uint64_t out = c->out[big];
    uint32_t *w = state->words;

    switch (c->to) {
    case TO_S:
    case TO_T:
    case TO_D:
        w[AT_S + c->to - TO_S] = (uint32_t)out;
        break;
    case TO_HILO:
        w[AT_HI] = (uint32_t)(out >> 32);
        w[AT_LO] = (uint32_t)out;
        break;
    case TO_FCSR:
        w[AT_FCSR] = (uint32_t)out;
        break;
    case TO_FD:
    case TO_FS: {
        unsigned at = c->to == TO_FD ? AT_F + 6 : AT_F;
        w[at] = (uint32_t)out;
        if (c->bytes == 8)
            w[at + 1] = (uint32_t)(out >> 32);
        break;
    }
    case TO_MEMORY: /* the first eight bytes, the one at $4 as the uppermost */
        for (unsigned i = 0; i < 8; i++)
            state->memory[i] = (uint8_t)(out >> (56 - 8 * i));
        break;
    default:
        break;
    }
}

/* How the row must end when its word is at `pc`. */
static inline struct edge_state edge_expected(const struct edge_case *c, bool big, bool delayed,
                                              uint32_t pc)
{
    struct edge_state state = edge_before(c);
    uint32_t *w = state.words;

    if (c->cause != EDGE_KEEP) {
        w[AT_FCSR] = (w[AT_FCSR] & ~FCSR_CAUSES) | (uint32_t)c->cause << 12;
        if (c->raises == 0)
            w[AT_FCSR] |= (uint32_t)c->cause << 2;
    }
    w[AT_SIGNAL] = edge_signal(c->raises);
    if (c->raises == 0 || c->to == TO_FCSR)
        edge_put_result(c, big, &state);
    if (c->links != 0)
        w[c->links == 3 ? AT_D : AT_RA] = pc + (delayed ? 8 : 4);
    if (c->branch) {
        w[AT_SLOT] = delayed ? !c->likely || c->taken : !c->taken;
        w[AT_BEHIND] = !c->taken;
    }
    return state;
}

/* The words of a row at `pc`; how many. A branch goes to behind them. */
static inline size_t edge_words(const struct edge_case *c, uint32_t pc, uint32_t *out)
{
    uint32_t match = c->insn == ISA_UNKNOWN ? 0 : isa_table[c->insn].match;
    size_t n = c->nbefore;

    if (n > 0)
        memcpy(out, c->before, 4 * n);
    pc += 4 * (uint32_t)n;
    if (c->branch && isa_table[c->insn].form == ISA_FORM_J)
        out[n++] = match | ((pc + 12) >> 2 & UINT32_C(0x3ffffff));
    else
        out[n++] = match | c->fields;
    if (c->branch) {
        out[n++] = UINT32_C(0x24a50001); /* addiu $5, $5, 1 */
        out[n++] = UINT32_C(0x24c60001);
    }
    return n;
}

/* Rows that jump by register begin with the target in $1. */
static inline bool edge_jumps_by_register(const struct edge_case *c)
{
    return c->branch && (isa_table[c->insn].form == ISA_FORM_S ||
                         isa_table[c->insn].form == ISA_FORM_LINK);
}

static inline void edge_fail(const struct edge_case *c, size_t row, const char *how, bool big,
                             const char *what)
{
    char text[ISA_TEXT];
    uint32_t words[16];

    edge_words(c, 0, words);
    isa_disassemble(words[c->nbefore], 0, NULL, text, sizeof(text));
    print_error("row %zu, %s (%s, %s-endian): %s\n", row, text, how, big ? "big" : "little", what);
}

/* Whether the state is as expected; says what is not. */
static inline bool edge_compare(const struct edge_case *c, size_t row, const char *how, bool big,
                                const struct edge_state *is, const struct edge_state *expected)
{
    char what[80];
    bool same = true;

    for (unsigned i = 0; i < EDGE_WORDS; i++) {
        if (is->words[i] == expected->words[i])
            continue;
        snprintf(what, sizeof(what), "%s is %08x, not %08x", edge_names[i], is->words[i],
                 expected->words[i]);
        edge_fail(c, row, how, big, what);
        same = false;
    }
    if (memcmp(is->memory, expected->memory, EDGE_MEMORY) != 0) {
        edge_fail(c, row, how, big, "the memory is another");
        same = false;
    }
    return same;
}

/* --- on the machine --- */

/* PLACE_EXACT: in a block, on a host whose floating point has no flags. */
enum edge_place {
    PLACE_ALONE, PLACE_MIDDLE, PLACE_EXACT, PLACE_SLOT, PLACE_STEPS, EDGE_PLACES
};

#define EDGE_NOPS 20

static inline void edge_load(struct machine *m, const struct edge_case *c)
{
    struct edge_state state = edge_before(c);

    memcpy(&m->r[1], &state.words[AT_S], 12);
    m->r[4] = MACHINE_DATA;
    m->r[REG_HI] = c->hi;
    m->r[REG_LO] = c->lo;
    m->fcsr = c->fcsr;
    memcpy(&m->f[2], &state.words[AT_F], 32);
    assert_int_equal(memory_write(m, MACHINE_DATA, state.memory, EDGE_MEMORY, false), EDGE_MEMORY);
}

static inline void edge_store(struct machine *m, unsigned raised, struct edge_state *state)
{
    memcpy(&state->words[AT_S], &m->r[1], 12);
    state->words[AT_HI] = m->r[REG_HI];
    state->words[AT_LO] = m->r[REG_LO];
    state->words[AT_FCSR] = m->fcsr;
    memcpy(&state->words[AT_F], &m->f[2], 32);
    state->words[AT_RA] = m->r[31];
    state->words[AT_SLOT] = m->r[5];
    state->words[AT_BEHIND] = m->r[6];
    state->words[AT_SIGNAL] = edge_signal(raised);
    assert_int_equal(memory_read(m, MACHINE_DATA, state->memory, EDGE_MEMORY), EDGE_MEMORY);
}

/* What an exception leaves in coprocessor 0. */
static inline bool edge_check_exception(struct rig *rig, const struct edge_case *c, uint32_t pc,
                                        bool slot)
{
    const uint32_t *cp0 = rig->m->cp0;

    if (c->raises == 0)
        return rig->stop.reason == MACHINE_EXIT;
    return rig->stop.reason == MACHINE_FAULT && rig->stop.code == c->raises &&
           (cp0[CP0_CAUSE] >> 2 & 31) == c->raises && cp0[CP0_EPC] == (slot ? pc - 4 : pc) &&
           (cp0[CP0_CAUSE] >> 31 != 0) == slot &&
           (!c->has_address || cp0[CP0_BADVADDR] == MACHINE_DATA + c->address);
}

/* Runs a row in one of the places; false, and said why, when it is not as expected. */
static inline bool edge_run(const struct edge_case *c, size_t row, enum edge_place place, bool big)
{
    static const char *const names[] = {"alone", "in a block", "without flags", "in a delay slot",
                                        "in steps"};
    static struct rig rig;
    uint32_t words[2 * EDGE_NOPS + 16] = {0};
    size_t at = place == PLACE_ALONE ? 0 : EDGE_NOPS;
    uint32_t pc = TEXT + 4 * (uint32_t)(at + c->nbefore);
    size_t n = at + edge_words(c, TEXT + 4 * (uint32_t)at, words + at);
    struct rig_setup setup = {.big = big, .simple = true, .delayed = place >= PLACE_SLOT};

    bool slot = place == PLACE_SLOT && !c->branch && c->nbefore == 0;
    if (slot) /* beq $0, $0 to behind its slot */
        words[at - 1] = UINT32_C(0x10000001);
    rig_open(&rig, &setup, words, place == PLACE_ALONE ? n : n + EDGE_NOPS);
    edge_load(rig.m, c);
    if (place == PLACE_EXACT)
        rig.m->fpu_exact = rig.m->fpu_exact_always = true;
    if (edge_jumps_by_register(c))
        rig.m->r[1] = pc + 12;
    while (rig_run(&rig, place == PLACE_STEPS ? 1 : 1000) == MACHINE_SLICE)
        ;
    struct edge_state is = {{0}, {0}}, expected = edge_expected(c, big, setup.delayed, pc);
    if (edge_jumps_by_register(c))
        expected.words[AT_S] = pc + 12;
    edge_store(rig.m, rig.stop.reason == MACHINE_FAULT ? (unsigned)rig.stop.code : 0, &is);
    bool same = edge_compare(c, row, names[place], big, &is, &expected);
    if (!edge_check_exception(&rig, c, pc, slot)) {
        edge_fail(c, row, names[place], big, rig.stop.text);
        same = false;
    }
    rig_close(&rig);
    return same;
}

/* --- on qemu --- */

static inline void edge_code(struct oracle *to, const struct edge_case *c, uint32_t record)
{
    static const uint32_t start[] = {
        0x0000f825, /* or $31, $0, $0; $5 and $6 likewise */
        0x00002825, 0x00003025,
        0x8c82001c, /* lw $2, hi; mthi; lw $2, lo; mtlo */
        0x00400011, 0x8c820020, 0x00400013,
        0x44c0f800, /* ctc1 $0, $31; lw $2, fcsr; ctc1 $2, $31 */
        0x8c820024, 0x44c2f800,
        0x8c810010, 0x8c820014, 0x8c830018};
    static const uint32_t end[] = {
        0xac810010, 0xac820014, 0xac830018, 0xac9f0048, 0xac85004c, 0xac860050,
        0x00003810, 0xac87001c, 0x00003812, 0xac870020, /* mfhi $7, mflo $7 */
        0x4447f800, 0xac870024};                        /* cfc1 $7, $31 */
    uint32_t words[16];

    oracle_constant(to, 4, record);
    for (uint32_t i = 0; i < 8; i++)
        oracle_put(to, 0xc4820028 + (i << 16) + 4 * i); /* lwc1 */
    for (size_t i = 0; i < EDGES_COUNT(start); i++)
        oracle_put(to, start[i]);
    if (edge_jumps_by_register(c))
        oracle_constant(to, 1, oracle_pc(to) + 8 + 4 * c->nbefore + 12);
    size_t n = edge_words(c, oracle_pc(to), words);
    for (size_t i = 0; i < n; i++)
        oracle_put(to, words[i]);
    for (size_t i = 0; i < EDGES_COUNT(end); i++)
        oracle_put(to, end[i]);
    for (uint32_t i = 0; i < 8; i++)
        oracle_put(to, 0xe4820028 + (i << 16) + 4 * i); /* swc1 */
}

#define EDGE_RECORD 128 /* bytes of a row: its memory, then its words */

static inline void edge_record(const struct edge_case *c, bool big, uint8_t *record)
{
    struct edge_state state = edge_before(c);

    memcpy(record, state.memory, EDGE_MEMORY);
    for (unsigned i = 0; i < EDGE_WORDS; i++)
        rig_put(record + EDGE_MEMORY + 4 * i, big, state.words[i]);
}

static inline struct edge_state edge_state_of(const uint8_t *record, bool big)
{
    struct edge_state state;

    memcpy(state.memory, record, EDGE_MEMORY);
    for (unsigned i = 0; i < EDGE_WORDS; i++) {
        const uint8_t *at = record + EDGE_MEMORY + 4 * i;
        state.words[i] = big ? (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]
                             : (uint32_t)at[3] << 24 | at[2] << 16 | at[1] << 8 | at[0];
    }
    return state;
}

/* All rows in one program; how many are not as expected. */
static inline unsigned edges_ask_oracle(const struct edge_case *cases, size_t n, bool big)
{
    static uint32_t at[4096]; /* where the word of a row is */
    struct oracle oracle;
    unsigned wrong = 0;

    assert_true(n <= EDGES_COUNT(at));
    oracle_open(&oracle, big, n * 512, n * EDGE_RECORD, EDGE_MEMORY + 4 * AT_SIGNAL);
    for (size_t i = 0; i < n; i++) {
        edge_record(&cases[i], big, oracle.data + i * EDGE_RECORD);
        if (cases[i].open)
            continue;
        edge_code(&oracle, &cases[i], oracle.data_at + (uint32_t)i * EDGE_RECORD);
        /* Behind the row are its two words of a branch, and twenty that store. */
        at[i] = oracle_pc(&oracle) - 4 * (20 + (cases[i].branch ? 3 : 1));
    }
    assert_true(oracle_run(&oracle));
    for (size_t i = 0; i < n; i++) {
        if (cases[i].open)
            continue;
        struct edge_state is = edge_state_of(oracle.data + i * EDGE_RECORD, big);
        struct edge_state expected = edge_expected(&cases[i], big, true, at[i]);
        if (edge_jumps_by_register(&cases[i]))
            expected.words[AT_S] = at[i] + 12;
        wrong += !edge_compare(&cases[i], i, "qemu", big, &is, &expected);
    }
    oracle_close(&oracle);
    return wrong;
}

/* --- a test of tables --- */

struct edge_table {
    const struct edge_case *cases;
    size_t n;
};

static inline void edges_run_machine(const struct edge_table *tables, size_t n)
{
    unsigned wrong = 0;

    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < tables[t].n; i++)
            for (unsigned place = 0; place < 2 * EDGE_PLACES; place++)
                wrong += !edge_run(&tables[t].cases[i], i, (enum edge_place)(place / 2),
                                   place % 2 != 0);
    assert_int_equal(wrong, 0);
}

static inline void edges_run_oracle(const struct edge_table *tables, size_t n)
{
    unsigned wrong = 0;

    if (!oracle_present()) {
        print_message("qemu-mips and qemu-mipsel are not installed: the table is not checked\n");
        skip();
    }
    for (size_t t = 0; t < n; t++)
        for (int big = 0; big < 2; big++)
            wrong += edges_ask_oracle(tables[t].cases, tables[t].n, big != 0);
    assert_int_equal(wrong, 0);
}

#define EDGES_LEAST 3

/* Fails for an instruction of the group that has too few rows, `rows` of each. */
static inline void edges_check_rows(const unsigned rows[ISA_COUNT + 1], enum edge_group group)
{
    unsigned missing = 0;

    for (unsigned i = 0; i < ISA_COUNT; i++) {
        if (edge_group((enum isa_insn)i) != group || rows[i] >= EDGES_LEAST)
            continue;
        print_error("%s has %u edge cases, not %u\n", isa_table[i].mnemonic, rows[i], EDGES_LEAST);
        missing++;
    }
    assert_int_equal(missing, 0);
}

static inline void edges_check_complete(const struct edge_table *tables, size_t n,
                                        enum edge_group group)
{
    unsigned rows[ISA_COUNT + 1] = {0};

    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < tables[t].n; i++)
            rows[tables[t].cases[i].insn]++;
    edges_check_rows(rows, group);
}

#endif
