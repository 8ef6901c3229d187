/*
 * Native code at its corners: each program runs in its internal form, and with blocks that
 * are translated at once, soon, and late, in slices of several lengths; what it leaves must
 * be the same to the last register and count.
 */
#include "machine_run.h"

#define PLACES 40000 /* words of a program, at the most */

/* Registers of the programs. */
enum { V0 = 2, A0 = 4, T0 = 8, T1, T2, T3, T4, T5, T6, T7, S0 = 16, S1, S2, RA = 31 };

struct text {
    uint32_t words[PLACES];
    size_t n;
};

struct result {
    enum machine_stop_reason reason;
    struct machine_stop stop;
    struct machine_state state;
    uint64_t stats[sizeof(struct machine_stats) / 8 + ISA_COUNT];
    uint64_t generation;
    uint64_t times[PLACES]; /* each word was executed */
};

static struct text text;

static void put(uint32_t word)
{
    assert_true(text.n < PLACES);
    text.words[text.n++] = word;
}

static void immediate(uint32_t op, uint32_t rs, uint32_t rt, uint32_t imm)
{
    put(op << 26 | rs << 21 | rt << 16 | (imm & 0xffff));
}

static void addiu(uint32_t rt, uint32_t rs, int32_t imm)
{
    immediate(9, rs, rt, (uint32_t)imm);
}

static void addu(uint32_t rd, uint32_t rs, uint32_t rt)
{
    put(rs << 21 | rt << 16 | rd << 11 | 0x21);
}

static void li(uint32_t rt, uint32_t value)
{
    immediate(15, 0, rt, value >> 16);
    immediate(13, rt, rt, value);
}

/* A branch (4: beq, 5: bne) to the word `to`. */
static void branch(uint32_t op, uint32_t rs, uint32_t rt, size_t to)
{
    immediate(op, rs, rt, (uint32_t)(to - text.n - 1));
}

static void leave(void)
{
    li(V0, 10);
    put(0x0000000c); /* syscall */
}

/* How often each word was executed; together that are all instructions. */
static void look_at_profile(struct rig *rig, struct result *result)
{
    uint64_t sum = 0, counted = 0;

    for (size_t i = 0; i < text.n; i++)
        sum += result->times[i] = profile_get(rig->m, TEXT + 4 * (uint32_t)i);
    for (size_t i = 0; i <= ISA_COUNT; i++)
        counted += rig->m->counts[i];
    assert_int_equal(sum, rig->m->executed);
    assert_int_equal(counted, rig->m->executed);
}

static void run(const struct rig_setup *setup, uint64_t threshold, uint64_t slice,
                struct result *result)
{
    struct rig rig;

    memset(result, 0, sizeof(*result));
    rig_open(&rig, setup, text.words, text.n);
    rig.m->native.threshold = threshold;
    do
        result->reason = rig_run(&rig, slice);
    while (result->reason == MACHINE_SLICE);
    result->stop = rig.stop;
    result->stop.executed = rig.m->executed;
    control_state(rig.m, &result->state);
    assert_int_not_equal(control_stats(rig.m, result->stats, sizeof(result->stats)), 0);
    ((struct machine_stats *)result->stats)->blocks = 0;
    result->generation = rig.m->generation;
    look_at_profile(&rig, result);
    if (!rig.m->native.refused && threshold == 0 && slice > 100)
        assert_true(rig.m->native.units > 0);
    rig_close(&rig);
}

/* The result of the internal form, to which all others are the same. */
static struct result same_in_all_ways(const struct rig_setup *setup)
{
    static const uint64_t thresholds[] = {0, 1, 3, 50, NATIVE_NEVER};
    static const uint64_t slices[] = {UINT64_MAX, 1, 2, 7, 1000};
    static struct result first, other;

    run(setup, NATIVE_NEVER, UINT64_MAX, &first);
    for (size_t i = 0; i < sizeof(thresholds) / sizeof(thresholds[0]); i++) {
        for (size_t j = 0; j < sizeof(slices) / sizeof(slices[0]); j++) {
            run(setup, thresholds[i], slices[j], &other);
            assert_int_equal(other.reason, first.reason);
            assert_int_equal(other.stop.pc, first.stop.pc);
            assert_int_equal(other.stop.address, first.stop.address);
            assert_string_equal(other.stop.text, first.stop.text);
            assert_memory_equal(&other.state, &first.state, sizeof(first.state));
            assert_memory_equal(other.stats, first.stats, sizeof(first.stats));
            assert_memory_equal(other.times, first.times, text.n * sizeof(first.times[0]));
        }
    }
    return first;
}

static void begin(void)
{
    text.n = 0;
}

static void test_nested_loops(void **state)
{
    const struct rig_setup setup = {0};

    (void)state;
    begin();
    li(T0, 20);
    size_t outer = text.n;
    li(T1, 30);
    size_t inner = text.n;
    addu(T2, T2, T1);
    addiu(T1, T1, -1);
    branch(5, T1, 0, inner);
    addiu(T0, T0, -1);
    branch(5, T0, 0, outer);
    leave();
    struct result result = same_in_all_ways(&setup);
    assert_int_equal(result.reason, MACHINE_EXIT);
    assert_int_equal(result.state.registers[T2], 20 * 30 * 31 / 2);
}

/* A function that calls itself: returns inside a unit, and with delay slots. */
static void test_calls(void **state)
{
    const struct rig_setup setup = {.delayed = true};

    (void)state;
    begin();
    li(29, UINT32_C(0x7fffe000));
    li(A0, 10);
    size_t call = text.n;
    put(0); /* jal function */
    put(0);
    leave();
    size_t function = text.n;
    text.words[call] = 3u << 26 | ((TEXT >> 2) + (uint32_t)function);
    addiu(29, 29, -8);
    immediate(43, 29, RA, 0);      /* sw $ra, 0($sp) */
    immediate(7, A0, 0, 7);        /* bgtz $a0 */
    immediate(43, 29, A0, 4);      /* sw $a0, 4($sp), in the slot */
    addiu(S0, S0, 1);
    immediate(35, 29, RA, 0);
    put(RA << 21 | 8);             /* jr $ra */
    addiu(29, 29, 8);
    put(0);
    put(0);
    addiu(A0, A0, -1);
    put(3u << 26 | ((TEXT >> 2) + (uint32_t)function));
    put(0);
    immediate(35, 29, A0, 4);
    addiu(A0, A0, -2);
    put(3u << 26 | ((TEXT >> 2) + (uint32_t)function));
    put(0);
    immediate(35, 29, RA, 0);
    put(RA << 21 | 8);
    addiu(29, 29, 8);
    struct result result = same_in_all_ways(&setup);
    assert_int_equal(result.reason, MACHINE_EXIT);
    assert_int_equal(result.state.registers[S0], 144);
}

/* Likely branches, whose slots are executed only when they are taken. */
static void test_likely_branches(void **state)
{
    const struct rig_setup setup = {.delayed = true};

    (void)state;
    begin();
    li(T0, 100);
    size_t loop = text.n;
    immediate(12, T0, T1, 3); /* andi $t1, $t0, 3 */
    branch(20, T1, 0, text.n + 3); /* beql */
    size_t slot = text.n;
    addiu(T2, T2, 1);
    addiu(T3, T3, 1);
    addiu(T0, T0, -1);
    branch(21, T0, 0, loop); /* bnel */
    addiu(T4, T4, 1);
    leave();
    const struct result result = same_in_all_ways(&setup);
    assert_int_equal(result.reason, MACHINE_EXIT);
    assert_int_equal(result.state.registers[T2], 25);
    assert_int_equal(result.state.registers[T3], 75);
    assert_int_equal(result.state.registers[T4], 99);
    assert_int_equal(result.times[slot], 25);
    assert_int_equal(result.times[slot + 1], 75);
    assert_int_equal(result.times[loop], 100);
}

/* Stores that go up until there is no memory: the fault is in the middle of a hot loop. */
static void test_fault_in_loop(void **state)
{
    const struct rig_setup setup = {0};

    (void)state;
    begin();
    li(T0, UINT32_C(0x7fffff00));
    size_t loop = text.n;
    addiu(T1, T1, 1);
    immediate(43, T0, T1, 0); /* sw */
    addiu(T2, T2, 1);
    addiu(T0, T0, 4);
    branch(4, 0, 0, loop);
    struct result result = same_in_all_ways(&setup);
    assert_int_equal(result.reason, MACHINE_FAULT);
    assert_int_equal(result.stop.address, UINT32_C(0x80000000));
    assert_int_equal(result.stop.pc, TEXT + 4 * (uint32_t)(loop + 1));
    assert_int_equal(result.state.registers[T1], 65);
    assert_int_equal(result.state.registers[T2], 64);
}

static void test_overflow_in_loop(void **state)
{
    const struct rig_setup setup = {.delayed = true};

    (void)state;
    begin();
    li(T0, UINT32_C(0x7fffff80));
    size_t loop = text.n;
    addiu(T1, T1, 1);
    put(2u << 26 | ((TEXT >> 2) + (uint32_t)loop)); /* j loop */
    immediate(8, T0, T0, 1);                        /* addi, in the slot */
    struct result result = same_in_all_ways(&setup);
    assert_int_equal(result.reason, MACHINE_FAULT);
    assert_int_equal(result.state.registers[T0], INT32_MAX);
    assert_int_equal(result.state.registers[T1], 128);
}

/* A loop that changes an instruction of itself each time around. */
static void test_code_that_changes(void **state)
{
    const struct rig_setup setup = {.writable = true};

    (void)state;
    begin();
    li(T0, 200);
    li(T1, TEXT);
    size_t patch = text.n + 5;
    li(T3, 9u << 26 | T2 << 21 | T2 << 16); /* addiu $t2, $t2, 0 */
    size_t loop = text.n;
    addiu(T3, T3, 1);
    immediate(43, T1, T3, (uint32_t)(4 * (patch + 2)));
    put(0);
    put(0);
    assert_true(patch + 2 >= text.n);
    while (text.n < patch + 2)
        put(0);
    put(0); /* what changes */
    addiu(T0, T0, -1);
    branch(5, T0, 0, loop);
    leave();
    struct result result = same_in_all_ways(&setup);
    assert_int_equal(result.reason, MACHINE_EXIT);
    assert_int_equal(result.state.registers[T2], 200 * 201 / 2);
}

/* A loop whose blocks end and begin at the ends of pages. */
static void test_page_ends(void **state)
{
    const struct rig_setup plain = {0}, delayed = {.delayed = true};

    (void)state;
    for (size_t before = 1020; before < 1026; before++) {
        begin();
        li(T0, 100);
        while (text.n < before)
            put(0);
        size_t loop = text.n;
        addu(T1, T1, T0);
        addiu(T0, T0, -1);
        branch(5, T0, 0, loop);
        addiu(T2, T2, 1);
        leave();
        struct result result = same_in_all_ways(&plain);
        assert_int_equal(result.state.registers[T1], 5050);
        assert_int_equal(result.state.registers[T2], 1);
        result = same_in_all_ways(&delayed);
        assert_int_equal(result.state.registers[T1], 5050);
        assert_int_equal(result.state.registers[T2], 100);
    }
}

/* More code than there is room for: all of it is dropped, and made anew. */
static void test_full(void **state)
{
    const struct rig_setup setup = {0};
    struct result result, never;

    (void)state;
    begin();
    li(T0, 3);
    size_t loop = text.n;
    for (unsigned i = 0; i < 1000; i++) {
        addiu(T1, T1, 1);
        branch(4, 0, 0, text.n + 1);
    }
    addiu(T0, T0, -1);
    branch(5, T0, 0, loop);
    leave();
    run(&setup, NATIVE_NEVER, UINT64_MAX, &never);
    run(&setup, 0, UINT64_MAX, &result);
    assert_int_equal(result.reason, MACHINE_EXIT);
    assert_int_equal(result.state.registers[T1], 3000);
    assert_memory_equal(&result.state, &never.state, sizeof(never.state));
    assert_memory_equal(result.stats, never.stats, sizeof(never.stats));
    struct rig rig;
    rig_open(&rig, &setup, text.words, text.n);
    rig.m->native.threshold = 0;
    rig_run(&rig, UINT64_MAX);
    if (!rig.m->native.refused)
        assert_true(rig.m->generation > 0);
    rig_close(&rig);
}

/* Breakpoints come and go while the loop is hot. */
static void test_breakpoint(void **state)
{
    const struct rig_setup setup = {0};
    struct rig rig;

    (void)state;
    begin();
    li(T0, 1000);
    size_t loop = text.n;
    addiu(T1, T1, 1);
    addiu(T0, T0, -1);
    branch(5, T0, 0, loop);
    leave();
    rig_open(&rig, &setup, text.words, text.n);
    rig.m->native.threshold = 3;
    assert_int_equal(rig_run(&rig, 302), MACHINE_SLICE);
    assert_int_equal(rig.m->r[T1], 100);
    uint32_t address = TEXT + 4 * (uint32_t)(loop + 1);
    assert_true(control_set_break(rig.m, address, true));
    for (unsigned i = 1; i < 10; i++) {
        assert_int_equal(rig_run(&rig, 1000), MACHINE_BREAK);
        assert_int_equal(rig.stop.pc, address);
        assert_int_equal(rig.m->r[T1], 100 + i);
    }
    assert_true(control_set_break(rig.m, address, false));
    assert_int_equal(rig_run(&rig, UINT64_MAX), MACHINE_EXIT);
    assert_int_equal(rig.m->r[T1], 1000);
    rig_close(&rig);
}

/* Without executable memory all goes on. */
static void test_refused(void **state)
{
    const struct rig_setup setup = {0};
    struct rig rig;

    (void)state;
    begin();
    li(T0, 1000);
    size_t loop = text.n;
    addiu(T0, T0, -1);
    branch(5, T0, 0, loop);
    leave();
    rig_open(&rig, &setup, text.words, text.n);
    rig.m->native.threshold = 0;
    rig.m->native.refused = true;
    assert_int_equal(rig_run(&rig, UINT64_MAX), MACHINE_EXIT);
    assert_int_equal(rig.m->native.units, 0);
    assert_int_equal(rig.stop.executed, 2 + 2 * 1000 + 3);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nested_loops),      cmocka_unit_test(test_calls),
        cmocka_unit_test(test_likely_branches),
        cmocka_unit_test(test_fault_in_loop),     cmocka_unit_test(test_overflow_in_loop),
        cmocka_unit_test(test_code_that_changes), cmocka_unit_test(test_page_ends),
        cmocka_unit_test(test_full),              cmocka_unit_test(test_breakpoint),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
