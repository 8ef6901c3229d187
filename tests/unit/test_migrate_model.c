/*
 * The conversation of a migration, as a model: docs/formats/migration.md as a table. Every order
 * in which frames can be delivered, each of them lost with all that follows (the channel is cut
 * in either direction or in both, also inside of a frame), and either side killed at every moment,
 * is walked through; and in every state that can be reached it holds that
 *
 *   - never do two copies run, or could begin to;
 *   - there is always a copy that has all of the guest's state and runs, may go on, or
 *     can be snapshotted, unless the process that had it was killed;
 *   - a side that waits is waited for by nobody who waits for it: without a cut and without
 *     a timeout every conversation comes to its end.
 *
 * tests/integration/test_migrate_faults.c compares the table with a real conversation.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "migrate/wire.h"
#include "tests/unit/migrate_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAME(name, type) _Static_assert(WIRE_##name == type, "as in the protocol");
TABLE_FRAMES(SAME)
#undef SAME

/* ---- a state of both ---- */

enum life { GOES_ON, GAVE_UP, KILLED };

/* All bytes, so that a state can be compared. */
struct both {
    uint8_t at[2];   /* the next step */
    uint8_t life[2]; /* enum life */
    uint8_t sent[2]; /* frames that the side has sent, whole */
    uint8_t arrived[2]; /* of those, how many its peer can still take or has taken */
    uint8_t taken[2];   /* by its peer */
    uint8_t cut[2];  /* the direction from this side is over; what was on the way may be lost */
    uint8_t begun;   /* COMMIT was begun, or sent */
};

static const struct table *table;

static const struct step *next_step(const struct both *b, int side)
{
    return b->at[side] < table->n[side] ? &table->steps[side][b->at[side]] : NULL;
}

static bool passed(const struct both *b, int side, enum table_frame frame, bool sends)
{
    for (unsigned i = 0; i < b->at[side]; i++)
        if (table->steps[side][i].frame == frame && table->steps[side][i].sends == sends)
            return true;
    return false;
}

static bool has_ended(const struct both *b, int side)
{
    return b->at[side] == table->n[side];
}

/* Who runs the guest, or may still begin to. The rows of the documentation's table. */
static bool source_may_run(const struct both *b)
{
    return b->life[SOURCE] != KILLED && !b->begun;
}

static bool receiver_may_run(const struct both *b)
{
    return b->life[RECEIVER] != KILLED && passed(b, RECEIVER, TABLE_COMMIT, false);
}

/* Who has all of it, whether it runs, goes on, or is to be snapshotted. */
static bool source_has_all(const struct both *b)
{
    return b->life[SOURCE] != KILLED && !(b->life[SOURCE] == GOES_ON && has_ended(b, SOURCE));
}

static bool receiver_has_all(const struct both *b)
{
    bool whole = table == &post ? passed(b, RECEIVER, TABLE_COMPLETE, true) : true;
    return b->life[RECEIVER] != KILLED && passed(b, RECEIVER, TABLE_COMMIT, false) && whole;
}

/* ---- walking ---- */

#define STATES_MAX (1u << 20)
#define HASH_SIZE (1u << 22)

static struct both *states;
static uint32_t *hash; /* index + 1 */
static unsigned nstates, nended, ncommitted, nunknown;

static void add(const struct both *b)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < sizeof *b; i++)
        h = (h ^ ((const uint8_t *)b)[i]) * UINT64_C(1099511628211);
    uint32_t at = (uint32_t)(h >> 20) % HASH_SIZE;
    for (; hash[at] != 0; at = (at + 1) % HASH_SIZE)
        if (memcmp(&states[hash[at] - 1], b, sizeof *b) == 0)
            return;
    assert_true(nstates < STATES_MAX);
    states[nstates] = *b;
    hash[at] = ++nstates;
}

/* The next frame of the peer's that this side can take; false: none yet, or never. */
static bool can_take(const struct both *b, int side)
{
    return b->taken[!side] < b->arrived[!side];
}

/* The peer says nothing any more, and all that it said has been taken. */
static bool hears_the_end(const struct both *b, int side)
{
    return !can_take(b, side) && (b->cut[!side] || b->life[!side] != GOES_ON);
}

/* Of the frames of a side that were sent, its peer's n-th; the order of steps is that of frames. */
static enum table_frame nth_sent(int side, unsigned n)
{
    for (unsigned i = 0; i < table->n[side]; i++)
        if (table->steps[side][i].sends && n-- == 0)
            return table->steps[side][i].frame;
    return (enum table_frame)0;
}

static void walk_send(const struct both *b, int side, const struct step *step)
{
    struct both next = *b;
    if (step->frame == TABLE_COMMIT)
        next.begun = 1;
    if (b->cut[side] || b->life[!side] != GOES_ON) {
        /* It may notice; or the frame goes nowhere, as the last ones do. */
        struct both noticed = next;
        noticed.life[side] = GAVE_UP;
        add(&noticed);
        next.at[side]++;
        next.sent[side]++;
        add(&next);
        return;
    }
    /* Cut within the frame: part of it went. */
    struct both within = next;
    within.cut[side] = 1;
    within.life[side] = GAVE_UP;
    add(&within);
    next.at[side]++;
    next.sent[side]++;
    next.arrived[side]++;
    add(&next);
}

static void walk_take(const struct both *b, int side, const struct step *step)
{
    struct both next = *b;
    if (can_take(b, side)) {
        /* In order, and what is due: else the table does not fit together. */
        assert_int_equal(nth_sent(!side, b->taken[!side]), step->frame);
        next.taken[!side]++;
        next.at[side]++;
        add(&next);
    }
    if (hears_the_end(b, side)) {
        next = *b;
        next.life[side] = GAVE_UP;
        add(&next);
    }
}

/* What the world does: kills a side, cuts a direction, loses what is on the way, ends its time. */
static void walk_world(const struct both *b)
{
    for (int side = 0; side < 2; side++) {
        struct both next = *b;
        if (b->life[side] != KILLED) {
            next.life[side] = KILLED;
            add(&next);
        }
        if (b->life[side] == GOES_ON && !has_ended(b, side)) {
            next = *b;
            next.life[side] = GAVE_UP; /* a stall, a deadline, a cancel, an error of its own */
            add(&next);
        }
        if (!b->cut[side]) {
            next = *b;
            next.cut[side] = 1;
            add(&next);
        }
        if (b->cut[side] && b->arrived[side] > b->taken[side]) {
            next = *b;
            next.arrived[side]--;
            add(&next);
        }
    }
}

/* One of the two has something to do that waits for nobody. */
static bool can_move(const struct both *b)
{
    for (int side = 0; side < 2; side++) {
        const struct step *step = next_step(b, side);
        if (b->life[side] == GOES_ON && step &&
            (step->sends || can_take(b, side) || hears_the_end(b, side)))
            return true;
    }
    return false;
}

static void check(const struct both *b)
{
    bool undisturbed = !b->cut[SOURCE] && !b->cut[RECEIVER] && b->life[SOURCE] == GOES_ON &&
                       b->life[RECEIVER] == GOES_ON;
    if (undisturbed)
        assert_true(can_move(b) || (has_ended(b, SOURCE) && has_ended(b, RECEIVER)));
    bool nobody_killed = b->life[SOURCE] != KILLED && b->life[RECEIVER] != KILLED;
    assert_false(source_may_run(b) && receiver_may_run(b));
    /* A source that waits to the end loses nothing, whatever becomes of the receiver. */
    if (b->life[SOURCE] != KILLED && !has_ended(b, SOURCE))
        assert_true(source_has_all(b));
    if (nobody_killed)
        assert_true(source_has_all(b) || receiver_has_all(b));
    /* The source forgets only what the receiver has. */
    if (!source_has_all(b) && b->life[SOURCE] == GOES_ON && b->life[RECEIVER] != KILLED)
        assert_true(receiver_has_all(b));
    nended += has_ended(b, SOURCE) && has_ended(b, RECEIVER);
    ncommitted += b->begun;
    nunknown += b->begun && b->life[SOURCE] == GAVE_UP;
}

static void walk_all(const struct table *which)
{
    const struct both begin = {{0}, {0}, {0}, {0}, {0}, {0}, 0};
    table = which;
    nstates = nended = ncommitted = nunknown = 0;
    states = malloc(STATES_MAX * sizeof *states);
    hash = calloc(HASH_SIZE, sizeof *hash);
    assert_true(states && hash);
    add(&begin);
    for (unsigned i = 0; i < nstates; i++) {
        const struct both b = states[i];
        check(&b);
        for (int side = 0; side < 2; side++) {
            const struct step *step = next_step(&b, side);
            if (b.life[side] != GOES_ON || !step)
                continue;
            if (step->sends)
                walk_send(&b, side, step);
            else
                walk_take(&b, side, step);
        }
        walk_world(&b);
    }
    assert_true(nended > 0 && ncommitted > nended && nunknown > 0);
    free(states);
    free(hash);
}

static void test_plain(void **state)
{
    (void)state;
    walk_all(&plain);
}

static void test_post(void **state)
{
    (void)state;
    walk_all(&post);
}

/* ---- nobody waits for ever ---- */

/* Without the world's doing: while not both have ended, one of them can go on. */
static void run_alone(const struct table *which, unsigned first)
{
    struct both b = {{0}, {0}, {0}, {0}, {0}, {0}, 0};
    table = which;
    for (unsigned turn = 0; !has_ended(&b, SOURCE) || !has_ended(&b, RECEIVER); turn++) {
        bool moved = false;
        for (int k = 0; k < 2 && !moved; k++) {
            int side = (int)((turn * (first | 1u) + (unsigned)k + first) % 2);
            const struct step *step = next_step(&b, side);
            if (!step || (!step->sends && !can_take(&b, side)))
                continue;
            if (step->sends) {
                b.sent[side]++;
                b.arrived[side]++;
            } else {
                assert_int_equal(nth_sent(!side, b.taken[!side]), step->frame);
                b.taken[!side]++;
            }
            b.at[side]++;
            moved = true;
        }
        assert_true(moved);
    }
    for (int side = 0; side < 2; side++)
        assert_int_equal(b.taken[side], b.sent[side]);
}

static void test_no_deadlock(void **state)
{
    (void)state;
    for (unsigned first = 0; first < 4; first++) {
        run_alone(&plain, first);
        run_alone(&post, first);
    }
}

/* ---- the model can find what it looks for ---- */

/* A source that goes on when COMMIT was sent and nothing came back is found out. */
static void test_finds_two(void **state)
{
    struct both b = {{0}, {0}, {0}, {0}, {0}, {0}, 0};
    (void)state;
    table = &plain;
    b.at[SOURCE] = (uint8_t)(table->n[SOURCE] - 1);
    b.at[RECEIVER] = (uint8_t)(table->n[RECEIVER] - 1);
    b.begun = 1;
    assert_true(receiver_may_run(&b) && !source_may_run(&b));
    b.begun = 0;
    assert_true(receiver_may_run(&b) && source_may_run(&b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_post),
        cmocka_unit_test(test_no_deadlock),
        cmocka_unit_test(test_finds_two),
    };
    return cmocka_run_group_tests_name("migrate_model", tests, NULL, NULL);
}
