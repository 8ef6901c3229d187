/*
 * Migration when the link fails: it is cut, goes silent or damages a bit, at every frame of the
 * conversation and within each, in both directions. Whatever happens, afterwards the guest
 * goes on here, or runs there, or stands here as something that can be snapshotted and goes on
 * from that; two never run, and nothing is left open.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../unit/migrate_table.h"
#include "backend.h"
#include "support_migrate.h"

#include <dirent.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define ALARM_S 110
#define NS_PER_MS UINT64_C(1000000)
#define MEMORY_BYTES (UINT64_C(4) << 20)
/* A stall costs as long as this, for each place where it happens. */
#define STALL_NS (20 * NS_PER_MS)

static enum mf_backend backend;
static struct mf_image *image;
static bool postcopy_works;

/* ---- a sandbox ---- */

static int visit(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                 struct mf_value *result, struct mf_error *err)
{
    (void)sandbox;
    (void)context;
    (void)err;
    *result = mf_u64(arg[0].u64);
    return 0;
}

static struct mf_host *make_host(void)
{
    struct mf_host *host;
    struct mf_error err;
    if (mf_host_create(&host, &err) != 0 ||
        mf_host_add(host, "u64 visit(u64 n)", visit, NULL, &err) != 0)
        fail_msg("%s", err.message);
    return host;
}

static uint64_t call(struct mf_sandbox *sandbox, const char *function, const uint64_t *args,
                     size_t nargs)
{
    struct place place = {.sandbox = sandbox};
    place_call(&place, function, args, nargs);
    place_join(&place);
    if (place.rc != 0)
        fail_msg("%s: %s", function, place.err.message);
    return place.result;
}

/* With memory that says whether all of it is there. */
static struct mf_sandbox *create(void)
{
    struct mf_sandbox_options options = {
        .size = sizeof options, .backend = backend, .memory_bytes = MEMORY_BYTES};
    struct mf_host *host = make_host();
    struct mf_sandbox *sandbox;
    struct mf_error err;
    uint64_t bytes = 256 << 10;
    if (mf_sandbox_create(image, host, &options, &sandbox, &err) != 0)
        fail_msg("%s", err.message);
    mf_host_destroy(host);
    assert_true(call(sandbox, "keep", &bytes, 1));
    return sandbox;
}

static void sleep_ms(unsigned ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static struct mf_image *find_image(void *context, const uint8_t digest[MF_DIGEST_BYTES])
{
    (void)context;
    (void)digest;
    return mf_image_hold(image);
}

/* ---- one failure ---- */

/* How a guest is moved while something happens to the channel. */
struct kind {
    const char *name;
    bool busy; /* it is in a call */
    int compress, postcopy;
};

/* Long enough that most migrations meet it in its middle. */
static uint64_t busy_args[] = {6000};
static uint64_t busy_result;

static struct mf_sandbox *source;
static struct place busy;

static void begin(const struct kind *kind)
{
    if (source)
        return;
    source = create();
    busy = (struct place){.sandbox = source};
    if (!kind->busy)
        return;
    place_call(&busy, "dirty", busy_args, 1);
    sleep_ms(2); /* it has most likely begun */
}

/* It goes on where it stood: in its call, or with the next one. */
static void assert_whole(struct mf_sandbox *sandbox, const struct kind *kind)
{
    struct place place = {.sandbox = sandbox};
    if (mf_sandbox_stopped(sandbox) == MF_STOPPED_CALL) {
        assert_true(kind->busy);
        place_resume(&place);
        place_join(&place);
        if (place.rc != 0)
            fail_msg("%s", place.err.message);
        assert_true(place.result == busy_result);
    } else if (!kind->busy) {
        assert_int_equal(call(sandbox, "check", NULL, 0), 0);
    }
}

static void assert_gone(const struct kind *kind)
{
    struct mf_error err;
    if (kind->busy) {
        place_join(&busy);
        assert_true(busy.rc == MF_E_MOVED || (busy.rc == 0 && busy.result == busy_result));
    }
    int rc = mf_sandbox_call(source, "check", NULL, 0, NULL, &err);
    /* The call that was going on has ended, which is a failure like any other. */
    assert_true(rc == MF_E_MOVED || (kind->busy && rc == MF_E_POISONED));
}

/* The source has what it needs to go on elsewhere, though it never does here. */
static void assert_resumable(const struct kind *kind)
{
    struct mf_snapshot *snapshot;
    struct mf_sandbox *again = NULL;
    struct mf_error err;
    struct mf_sandbox_options options = {.size = sizeof options, .backend = backend};
    struct mf_host *host = make_host();
    if (mf_sandbox_snapshot(source, &snapshot, &err) != 0 ||
        mf_sandbox_create_from(snapshot, host, &options, &again, &err) != 0)
        fail_msg("%s", err.message);
    mf_host_destroy(host);
    mf_snapshot_close(snapshot);
    assert_whole(again, kind);
    mf_sandbox_destroy(again);
}

static void end(void)
{
    mf_sandbox_destroy(source);
    source = NULL;
}

static void assert_idle_here(const struct kind *kind)
{
    if (!kind->busy)
        assert_int_equal(call(source, "check", NULL, 0), 0);
}

/* Of a guest that arrived: all of it, or (a post-copy whose source was lost) an error. */
static void assert_arrived(struct move *move, const struct kind *kind)
{
    struct mf_error err;
    if (mf_migrate_wait(move->received, 0, &err) == 0) {
        assert_whole(move->received, kind);
        return;
    }
    assert_true(kind->postcopy);
    assert_int_equal(err.code, MF_E_MOVED);
    assert_int_equal(move->outcome, MF_MIGRATE_UNKNOWN);
    if (mf_sandbox_stopped(move->received) == MF_STOPPED_CALL)
        assert_int_equal(mf_sandbox_resume(move->received, NULL, NULL, &err), MF_E_MOVED);
    /* Nor does it ever after. */
    assert_int_not_equal(mf_sandbox_call(move->received, "check", NULL, 0, NULL, &err), 0);
}

static void prepare_move(struct move *move, const struct kind *kind, struct tap *tap)
{
    *move = (struct move){.backend = backend, .make_host = make_host, .tap = tap};
    move->in.find_image = find_image;
    move->out.compress = kind->compress;
    move->out.postcopy = kind->postcopy;
    /* With post-copy: at once; without: without rounds that wait for a guest that writes. */
    move->out.downtime_limit_ns = kind->postcopy ? 1 : 1000 * NS_PER_MS;
    move->out.stall_ns = move->in.stall_ns = 5000 * NS_PER_MS;
    /* A flipped length makes the peer wait for bytes that never come. */
    if (tap->event == TAP_STALL || tap->event == TAP_FLIP)
        move->out.stall_ns = move->in.stall_ns = STALL_NS;
}

/* What must hold after every move, whatever became of it. */
static void settle(struct move *move, const struct kind *kind, const struct tap *tap)
{
    bool committed = tap_saw(tap, TAP_OUT, FRAME_COMMIT);
    /* The receiver has it only by a COMMIT that came through. */
    if (move->received)
        assert_true(committed);
    assert_true((move->outcome == MF_MIGRATE_THERE) == (move->out_rc == 0));
    switch (move->outcome) {
    case MF_MIGRATE_HERE:
        assert_null(move->received);
        assert_false(committed);
        assert_true(move->out_rc != 0 && move->out_err.message[0]);
        assert_true(move->in_rc != 0 && move->in_err.message[0]);
        assert_idle_here(kind);
        return;
    case MF_MIGRATE_THERE:
        assert_non_null(move->received);
        assert_gone(kind);
        break;
    case MF_MIGRATE_UNKNOWN:
        assert_gone(kind);
        assert_resumable(kind);
        break;
    }
    if (move->received)
        assert_arrived(move, kind);
    mf_sandbox_destroy(move->received);
    end();
}

/* Where something happens: in a frame of the source's, or at a byte of the receiver's. */
struct place_in {
    int way;
    uint64_t at;
    unsigned type, occurrence, within;
};

static void fail_at(const struct kind *kind, enum tap_event event, const struct place_in *place,
                    unsigned outcomes[3])
{
    static struct tap tap;
    struct move move;
    memset(&tap, 0, sizeof tap);
    tap.event = event;
    tap.way = place->way;
    tap.at = place->way == TAP_IN ? place->at : 0;
    tap.type = place->type;
    tap.occurrence = place->occurrence;
    tap.within = place->within;
    begin(kind);
    prepare_move(&move, kind, &tap);
    move_sandbox(source, &move);
    settle(&move, kind, &tap);
    outcomes[move.outcome]++;
}

/* ---- all of them ---- */

static unsigned count_entries(const char *path)
{
    DIR *folder = opendir(path);
    unsigned n = 0;
    assert_non_null(folder);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

/* Ends the call that no failure has ended: it has noticed nothing of any of them. */
static void finish(const struct kind *kind)
{
    if (!source)
        return;
    if (kind->busy) {
        place_join(&busy);
        assert_int_equal(busy.rc, 0);
        assert_true(busy.result == busy_result);
    }
    end();
}

/*
 * At the first byte of a frame, in its head, before its contents, in them, and at its last byte.
 * Of many frames of one type in a row only the first ones.
 */
static size_t places_of(const struct tap *tap, int way, struct place_in *places, size_t most)
{
    const struct tap_way *w = &tap->ways[way];
    unsigned seen[32] = {0}, in_a_row = 0;
    size_t n = 0;
    for (size_t i = 0; i < w->nframes; i++) {
        const struct tap_frame *frame = &w->frames[i];
        const uint32_t half = FRAME_HEAD + (frame->bytes - FRAME_HEAD) / 2;
        const uint32_t within[] = {0, 7, FRAME_HEAD, half, frame->bytes - 1};
        in_a_row = i > 0 && frame->type == frame[-1].type ? in_a_row + 1 : 0;
        for (size_t k = 0; in_a_row < 2 && k < sizeof within / sizeof within[0]; k++) {
            bool known = k > 0 && within[k] <= within[k - 1];
            if (!known && within[k] < frame->bytes && n < most)
                places[n++] = (struct place_in){.way = way,
                                                .at = frame->at + within[k],
                                                .type = frame->type,
                                                .occurrence = seen[frame->type % 32],
                                                .within = within[k]};
        }
        seen[frame->type % 32]++;
    }
    return n;
}

#define PLACES 512

static void fail_everywhere(const struct kind *kind, enum tap_event event, unsigned step)
{
    static struct tap whole;
    struct move move;
    unsigned outcomes[3] = {0}, fds, threads;
    struct place_in places[PLACES];
    memset(&whole, 0, sizeof whole);
    begin(kind);
    prepare_move(&move, kind, &whole);
    move_sandbox(source, &move);
    if (move.out_rc != 0 || move.in_rc != 0)
        fail_msg("source: %s; receiver: %s", move.out_err.message, move.in_err.message);
    settle(&move, kind, &whole);
    fds = count_entries("/proc/self/fd");
    threads = count_entries("/proc/self/task");
    for (int way = 0; way < TAP_WAYS; way++) {
        size_t n = places_of(&whole, way, places, PLACES);
        assert_true(n > 10);
        for (size_t i = 0; i < n; i += step)
            fail_at(kind, event, &places[i], outcomes);
    }
    finish(kind);
    assert_true(outcomes[MF_MIGRATE_HERE] > 0);
    if (step == 1)
        assert_true(outcomes[MF_MIGRATE_UNKNOWN] > 0);
    assert_int_equal(count_entries("/proc/self/fd"), fds);
    assert_int_equal(count_entries("/proc/self/task"), threads);
}

static const struct kind idle = {.name = "idle"};
static const struct kind called = {.name = "in a call", .busy = true};
static const struct kind compressed = {.name = "compressed", .compress = 1};
static const struct kind late = {.name = "post-copy", .busy = true, .postcopy = 1};

static void test_cut(void **state)
{
    (void)state;
    fail_everywhere(&idle, TAP_CUT, 1);
    fail_everywhere(&called, TAP_CUT, 2);
    fail_everywhere(&compressed, TAP_CUT, 3);
}

static void test_flip(void **state)
{
    (void)state;
    fail_everywhere(&idle, TAP_FLIP, 2);
    fail_everywhere(&called, TAP_FLIP, 5);
    fail_everywhere(&compressed, TAP_FLIP, 3);
}

static void test_stall(void **state)
{
    (void)state;
    fail_everywhere(&idle, TAP_STALL, 7);
    fail_everywhere(&called, TAP_STALL, 13);
}

static void test_postcopy(void **state)
{
    (void)state;
    if (!postcopy_works)
        skip();
    fail_everywhere(&late, TAP_CUT, 1);
    fail_everywhere(&late, TAP_FLIP, 5);
    fail_everywhere(&late, TAP_STALL, 17);
}

/* ---- the order of frames ---- */

/* Without what comes as often as it must, and runs of one type as one. */
static size_t reduce(const unsigned *types, size_t n, unsigned *out)
{
    size_t kept = 0;
    bool runs = false;
    for (size_t i = 0; i < n; i++) {
        runs = runs || types[i] == TABLE_COMMIT || types[i] == TABLE_RUNNING;
        /* The last pages may be here before the round that they are in has ended. */
        bool late_round = runs && (types[i] == TABLE_ROUND || types[i] == TABLE_ROUND_DONE);
        if (types[i] == TABLE_PAGES || types[i] == TABLE_REQUEST || late_round)
            continue;
        if (kept == 0 || out[kept - 1] != types[i])
            out[kept++] = types[i];
    }
    return kept;
}

static void compare_side(const struct tap_way *way, const struct step *steps, size_t nsteps)
{
    unsigned real[TAP_FRAMES], wanted[64], reduced[TAP_FRAMES], n = 0;
    for (size_t i = 0; i < way->nframes; i++)
        real[i] = way->frames[i].type;
    for (size_t i = 0; i < nsteps; i++)
        if (steps[i].sends)
            wanted[n++] = steps[i].frame;
    size_t nreal = reduce(real, way->nframes, reduced);
    size_t nwanted = reduce(wanted, n, wanted);
    assert_int_equal(nreal, nwanted);
    for (size_t i = 0; i < nreal; i++)
        assert_int_equal(reduced[i], wanted[i]);
}

/* What the model (tests/unit/test_migrate_model.c) walks through is what is really said. */
static bool compare_with_table(const struct kind *kind, const struct table *table)
{
    static struct tap tap;
    struct move move;
    memset(&tap, 0, sizeof tap);
    begin(kind);
    prepare_move(&move, kind, &tap);
    move.in.find_image = NULL;
    move_sandbox(source, &move);
    assert_int_equal(move.outcome, MF_MIGRATE_THERE);
    /* A guest whose call has just ended has no pages that could come later. */
    bool as_wanted = tap_saw(&tap, TAP_OUT, TABLE_MISSING) == (kind->postcopy != 0);
    if (as_wanted) {
        compare_side(&tap.ways[TAP_OUT], table->steps[SOURCE], table->n[SOURCE]);
        compare_side(&tap.ways[TAP_IN], table->steps[RECEIVER], table->n[RECEIVER]);
    }
    settle(&move, kind, &tap);
    finish(kind);
    return as_wanted;
}

static void test_order(void **state)
{
    struct mf_sandbox *sandbox = create();
    bool compared = false;
    (void)state;
    busy_args[0] = 40000; /* so that the copy finds it writing */
    busy_result = call(sandbox, "dirty", busy_args, 1);
    mf_sandbox_destroy(sandbox);
    assert_true(compare_with_table(&idle, &plain));
    for (int i = 0; postcopy_works && !compared && i < 50; i++)
        compared = compare_with_table(&late, &post);
    assert_true(compared || !postcopy_works);
}

/* ---- cancelling, and others who want something ---- */

struct meddler {
    unsigned calls, cancel_at;
    void (*meddle)(struct mf_sandbox *sandbox);
};

static int count_progress(void *context, const struct mf_migrate_progress *progress)
{
    struct meddler *meddler = context;
    (void)progress;
    if (meddler->meddle)
        meddler->meddle(source);
    return ++meddler->calls == meddler->cancel_at;
}

/* Until a number of words with the caller is reached that there are not in a migration. */
static void test_cancel(void **state)
{
    const struct kind *kind = &idle;
    bool arrived = false;
    unsigned cancels = 0;
    (void)state;
    for (unsigned n = 1; !arrived && n < 200; n++) {
        static struct tap tap;
        struct meddler meddler = {.cancel_at = n};
        struct move move;
        memset(&tap, 0, sizeof tap);
        tap.event = TAP_SLOW;
        begin(kind);
        prepare_move(&move, kind, &tap);
        move.out.progress = count_progress;
        move.out.context = &meddler;
        move_sandbox(source, &move);
        arrived = move.out_rc == 0;
        assert_true(arrived || move.out_rc == MF_E_CANCELLED);
        assert_true(arrived == (meddler.calls != n || tap_saw(&tap, TAP_OUT, FRAME_COMMIT)));
        settle(&move, kind, &tap);
        cancels += !arrived;
    }
    assert_true(arrived);
    assert_true(cancels > 10);
}

/* Everybody who comes while it is moved is told so, and nothing of it harms. */
static void meddle(struct mf_sandbox *sandbox)
{
    struct move second = {.backend = backend, .make_host = make_host};
    struct mf_snapshot *snapshot;
    struct mf_error err;
    move_sandbox(sandbox, &second);
    assert_int_equal(second.out_rc, MF_E_STATE);
    assert_int_equal(second.outcome, MF_MIGRATE_HERE);
    assert_int_equal(mf_sandbox_snapshot(sandbox, &snapshot, &err), MF_E_STATE);
}

static void test_meddled(void **state)
{
    static struct tap tap;
    struct meddler meddler = {.meddle = meddle};
    struct move move;
    (void)state;
    tap = (struct tap){.event = TAP_SLOW};
    begin(&idle);
    prepare_move(&move, &idle, &tap);
    move.out.progress = count_progress;
    move.out.context = &meddler;
    move_sandbox(source, &move);
    assert_int_equal(move.out_rc, 0);
    assert_true(meddler.calls > 1);
    settle(&move, &idle, &tap);
}

/* A sandbox that its user has paused does not move, and is as before. */
static void test_paused(void **state)
{
    static struct tap tap;
    struct move move;
    struct mf_error err;
    (void)state;
    tap = (struct tap){.event = TAP_NOTHING};
    begin(&idle);
    assert_int_equal(mf_sandbox_pause(source, 0, &err), 0);
    prepare_move(&move, &idle, &tap);
    move_sandbox(source, &move);
    assert_int_equal(move.out_rc, MF_E_STATE);
    mf_sandbox_unpause(source);
    settle(&move, &idle, &tap);
    end();
}

/* What has moved stays away, whoever ends a pause that is none. */
static void test_never_back(void **state)
{
    static struct tap tap;
    struct move move;
    struct mf_error err;
    (void)state;
    tap = (struct tap){.event = TAP_NOTHING};
    begin(&idle);
    prepare_move(&move, &idle, &tap);
    move_sandbox(source, &move);
    assert_int_equal(move.outcome, MF_MIGRATE_THERE);
    assert_int_equal(mf_sandbox_pause(source, 0, &err), MF_E_MOVED);
    mf_sandbox_unpause(source);
    settle(&move, &idle, &tap);
}

/* After a failure it can be snapshotted, and moved. */
static void test_afterwards(void **state)
{
    const struct place_in in_pages = {.way = TAP_OUT, .type = FRAME_PAGES, .within = 100};
    unsigned outcomes[3] = {0};
    static struct tap tap;
    struct move move;
    (void)state;
    begin(&idle);
    assert_int_equal(call(source, "check", NULL, 0), 0);
    assert_resumable(&idle);
    fail_at(&idle, TAP_CUT, &in_pages, outcomes);
    assert_int_equal(outcomes[MF_MIGRATE_HERE], 1);
    assert_resumable(&idle);
    prepare_move(&move, &idle, &tap);
    move_sandbox(source, &move);
    assert_int_equal(move.outcome, MF_MIGRATE_THERE);
    settle(&move, &idle, &tap);
}

/* ---- limits of time, and pausing ---- */

/* However often it stands still, a call's limit is what it was. */
static void test_limit_survives(void **state)
{
    struct place place;
    uint64_t rounds = UINT64_C(1) << 40;
    struct mf_error err;
    (void)state;
    begin(&idle);
    assert_int_equal(mf_sandbox_set_limits(source, 60 * NS_PER_MS, 0, &err), 0);
    place = (struct place){.sandbox = source};
    place_call(&place, "dirty", &rounds, 1);
    sleep_ms(2);
    for (int i = 0; i < 3000; i++)
        if (mf_sandbox_pause(source, 0, &err) == 0)
            mf_sandbox_unpause(source);
    place_join(&place);
    assert_int_equal(place.rc, MF_E_DEADLINE);
    end();
}

/* Threads that pause, snapshot and interrupt while another one calls. */
struct stress {
    struct mf_sandbox *sandbox;
    atomic_bool end;
    atomic_uint pauses, busy, snapshots;
};

static void *pause_often(void *argument)
{
    struct stress *stress = argument;
    struct mf_error err;
    while (!atomic_load(&stress->end)) {
        int rc = mf_sandbox_pause(stress->sandbox, 0, &err);
        if (rc != 0) {
            atomic_fetch_add(rc == MF_E_STATE ? &stress->busy : &stress->pauses, rc == MF_E_STATE);
            sched_yield();
            continue;
        }
        if (atomic_fetch_add(&stress->pauses, 1) % 16 == 0) {
            struct mf_snapshot *snapshot;
            if (mf_sandbox_snapshot(stress->sandbox, &snapshot, &err) == 0) {
                atomic_fetch_add(&stress->snapshots, 1);
                mf_snapshot_close(snapshot);
            }
        }
        mf_sandbox_unpause(stress->sandbox);
    }
    return NULL;
}

static void test_stress(void **state)
{
    struct stress stress = {0};
    pthread_t threads[3];
    uint64_t args[] = {3, 20000, 8}, expected;
    struct timespec begun, now;
    (void)state;
    begin(&idle);
    stress.sandbox = source;
    expected = call(source, "chain", args, 3);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, pause_often, &stress);
    clock_gettime(CLOCK_MONOTONIC, &begun);
    unsigned calls = 0;
    long ms;
    do {
        struct mf_value values[] = {mf_u64(args[0]), mf_u64(args[1]), mf_u64(args[2])}, result;
        struct mf_error err;
        if (mf_sandbox_call(source, "chain", values, 3, &result, &err) != 0)
            fail_msg("%s", err.message);
        assert_true(result.u64 == expected);
        calls++;
        clock_gettime(CLOCK_MONOTONIC, &now);
            ms = (now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000;
    } while (ms < 700);
    atomic_store(&stress.end, true);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_true(calls > 0 && atomic_load(&stress.pauses) > 0);
    assert_true(atomic_load(&stress.snapshots) > 0);
    end();
}

static void look_for_postcopy(void)
{
    static struct tap tap;
    struct move move;
    begin(&late);
    prepare_move(&move, &late, &tap);
    move_sandbox(source, &move);
    postcopy_works = move.out_rc == 0;
    settle(&move, &late, &tap);
    finish(&late);
}

static int set_up(void **state)
{
    struct mf_sandbox *sandbox = create();
    (void)state;
    busy_result = call(sandbox, "dirty", busy_args, 1);
    mf_sandbox_destroy(sandbox);
    look_for_postcopy();
    return 0;
}

int main(void)
{
    char path[4096];
    struct mf_error err;
    backend = test_backend();
    snprintf(path, sizeof path, "%s/migrate/musl", getenv("GUESTS"));
    if (mf_image_open(path, &image, &err) != 0) {
        fprintf(stderr, "%s: %s\n", path, err.message);
        return 1;
    }
    alarm(ALARM_S);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut),        cmocka_unit_test(test_flip),
        cmocka_unit_test(test_stall),      cmocka_unit_test(test_postcopy),
        cmocka_unit_test(test_cancel),     cmocka_unit_test(test_meddled),
        cmocka_unit_test(test_paused),     cmocka_unit_test(test_never_back),
        cmocka_unit_test(test_afterwards), cmocka_unit_test(test_limit_survives),
        cmocka_unit_test(test_stress),      cmocka_unit_test(test_order),
    };
    int failed = cmocka_run_group_tests_name("migrate_faults", tests, set_up, NULL);
    mf_image_close(image);
    return failed;
}
