/* Deadlines and reasons to stop, over a fake VM that only counts its kicks. */
#include "sandbox/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)
#define WAITS 20000

struct fake_vm {
    struct vm vm;
    atomic_uint kicks;
};

static void fake_interrupt(struct vm *vm)
{
    atomic_fetch_add(&((struct fake_vm *)vm)->kicks, 1);
}

static const struct vm_ops fake_ops = {.name = "fake", .interrupt = fake_interrupt};

static void init(struct fake_vm *fake, struct limits *limits, uint64_t shortest)
{
    memset(fake, 0, sizeof *fake);
    fake->vm.ops = &fake_ops;
    limits_init(limits, &fake->vm);
    assert_int_equal(limits_watch(limits, shortest, NULL), 0);
}

static bool wait_for_reasons(struct limits *limits)
{
    for (int i = 0; i < WAITS && atomic_load(&limits->reasons) == 0; i++)
        usleep(1000);
    return atomic_load(&limits->reasons) != 0;
}

static void test_stop(void **state)
{
    (void)state;
    struct fake_vm fake;
    struct limits limits;
    init(&fake, &limits, 0);
    assert_int_equal(limits_take(&limits), 0);
    limits_stop(&limits, STOP_INTERRUPT);
    assert_int_equal(atomic_load(&fake.kicks), 1);
    assert_int_equal(limits_take(&limits), STOP_INTERRUPT);
    assert_int_equal(limits_take(&limits), 0);
    limits_fini(&limits);
}

static void test_deadline_fires(void **state)
{
    (void)state;
    struct fake_vm fake;
    struct limits limits;
    init(&fake, &limits, 5 * MS);
    for (int i = 0; i < 5; i++) {
        limits_arm(&limits, 5 * MS, 0);
        uint64_t begin = limits_now();
        assert_true(wait_for_reasons(&limits));
        assert_true(limits_now() - begin + 1000 >= 4 * MS);
        assert_int_equal(limits_take(&limits), STOP_DEADLINE);
        limits_disarm(&limits);
        assert_int_equal(atomic_load(&limits.deadline_ns), 0);
    }
    assert_int_equal(atomic_load(&fake.kicks), 5);
    limits_fini(&limits);
}

/* A deadline that fires while the call ends leaves no reason behind. */
static void test_disarm(void **state)
{
    (void)state;
    struct fake_vm fake;
    struct limits limits;
    init(&fake, &limits, MS);
    for (unsigned i = 0; i < 400; i++) {
        limits_arm(&limits, MS, 0);
        usleep(600 + i % 900);
        limits_disarm(&limits);
        assert_int_equal(atomic_load(&limits.reasons), 0);
    }
    limits_fini(&limits);
}

static void test_cpu_time(void **state)
{
    (void)state;
    struct fake_vm fake;
    struct limits limits;
    init(&fake, &limits, 20 * MS);
    limits_arm(&limits, 0, 20 * MS);
    /* Sleeping takes no CPU time. */
    usleep(100000);
    assert_int_equal(atomic_load(&limits.reasons), 0);
    while (atomic_load(&limits.reasons) == 0)
        ;
    assert_int_equal(limits_take(&limits), STOP_CPU_TIME);
    limits_disarm(&limits);
    limits_fini(&limits);
}

/* The watchdog sleeps for good when nothing is armed, and wakes for the next call. */
static void test_wakes_up(void **state)
{
    (void)state;
    struct fake_vm fake;
    struct limits limits;
    init(&fake, &limits, 10 * MS);
    usleep(200000);
    limits_arm(&limits, 10 * MS, 0);
    assert_true(wait_for_reasons(&limits));
    limits_disarm(&limits);
    limits_fini(&limits);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop),     cmocka_unit_test(test_deadline_fires),
        cmocka_unit_test(test_disarm),   cmocka_unit_test(test_cpu_time),
        cmocka_unit_test(test_wakes_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
