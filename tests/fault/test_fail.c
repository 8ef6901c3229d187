/*
 * The Nth allocation or system call of the library fails, for every N, until the
 * whole scenario runs through: each time the library must give an error (or get
 * along), leak no file descriptor and no memory, and work the next time.
 *
 * The functions are replaced with the linker's --wrap.
 */
#include "../integration/backend.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#define ROUNDS_MAX 400

/* Which function fails, and after how many good calls; < 0: none. */
enum victim { VICTIM_MALLOC, VICTIM_MMAP, VICTIM_OPEN, VICTIM_IOCTL, VICTIM_RANDOM, VICTIMS };

static const char *const victim_names[VICTIMS] = {"malloc", "mmap", "open", "ioctl", "getrandom"};

static struct {
    enum victim victim;
    long countdown;
    bool fired;
} plan = {.countdown = -1};

static bool must_fail(enum victim victim)
{
    if (plan.countdown < 0 || plan.victim != victim || plan.fired)
        return false;
    if (plan.countdown-- > 0)
        return false;
    plan.fired = true;
    return true;
}

#define REAL(name) __real_##name
#define FAKE(name) __wrap_##name

void *REAL(malloc)(size_t size);
void *FAKE(malloc)(size_t size);
void *FAKE(malloc)(size_t size)
{
    if (!must_fail(VICTIM_MALLOC))
        return REAL(malloc)(size);
    errno = ENOMEM;
    return NULL;
}

void *REAL(calloc)(size_t n, size_t size);
void *FAKE(calloc)(size_t n, size_t size);
void *FAKE(calloc)(size_t n, size_t size)
{
    if (!must_fail(VICTIM_MALLOC))
        return REAL(calloc)(n, size);
    errno = ENOMEM;
    return NULL;
}

void *REAL(realloc)(void *old, size_t size);
void *FAKE(realloc)(void *old, size_t size);
void *FAKE(realloc)(void *old, size_t size)
{
    if (!must_fail(VICTIM_MALLOC))
        return REAL(realloc)(old, size);
    errno = ENOMEM;
    return NULL;
}

char *REAL(strdup)(const char *text);
char *FAKE(strdup)(const char *text);
char *FAKE(strdup)(const char *text)
{
    if (!must_fail(VICTIM_MALLOC))
        return REAL(strdup)(text);
    errno = ENOMEM;
    return NULL;
}

void *REAL(mmap)(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *FAKE(mmap)(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *FAKE(mmap)(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    if (!must_fail(VICTIM_MMAP))
        return REAL(mmap)(at, len, prot, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

int REAL(open)(const char *path, int flags, ...);
int FAKE(open)(const char *path, int flags, ...);
int FAKE(open)(const char *path, int flags, ...)
{
    if (!must_fail(VICTIM_OPEN))
        return REAL(open)(path, flags);
    errno = EMFILE;
    return -1;
}

int REAL(ioctl)(int fd, unsigned long request, ...);
int FAKE(ioctl)(int fd, unsigned long request, ...);
int FAKE(ioctl)(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    void *argument = va_arg(args, void *);
    va_end(args);
    if (!must_fail(VICTIM_IOCTL))
        return REAL(ioctl)(fd, request, argument);
    errno = ENOMEM;
    return -1;
}

ssize_t REAL(getrandom)(void *buf, size_t len, unsigned flags);
ssize_t FAKE(getrandom)(void *buf, size_t len, unsigned flags);
ssize_t FAKE(getrandom)(void *buf, size_t len, unsigned flags)
{
    if (!must_fail(VICTIM_RANDOM))
        return REAL(getrandom)(buf, len, flags);
    errno = ENOSYS;
    return -1;
}

/* ---- the scenario ---- */

static enum mf_backend backend;
static char guest_path[4096];

static int twice(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                 struct mf_value *result, struct mf_error *err)
{
    (void)sandbox;
    (void)context;
    (void)err;
    *result = mf_i32(arg[0].i32 * 2);
    return 0;
}

/* Maps memory and a file; one is taken back, the other stays to the end. */
static int map_both(struct mf_sandbox *sandbox, struct mf_error *err)
{
    static uint8_t buffer[8192] __attribute__((aligned(4096)));
    uint64_t memory, file;
    int fd = memfd_create("mayfly", MFD_CLOEXEC);
    assert_true(fd >= 0 && ftruncate(fd, 5000) == 0);
    int rc = mf_sandbox_map(sandbox, buffer, sizeof buffer, MF_MAP_WRITE, &memory, err);
    if (rc == 0)
        rc = mf_sandbox_map_file(sandbox, fd, 0, 0, MF_MAP_WRITE, &file, err);
    if (rc == 0)
        rc = mf_sandbox_unmap(sandbox, memory, err);
    close(fd);
    return rc;
}

static int greet(struct mf_sandbox *sandbox, struct mf_error *err)
{
    struct mf_value arg = mf_string("you"), result;
    int rc = mf_sandbox_call(sandbox, "greet", &arg, 1, &result, err);
    if (rc == 0)
        assert_string_equal(result.string.data, "Hello, you!");
    return rc;
}

/* A slot is used, parked and used again. Whatever fails, nothing stays in use. */
static int use_pool(struct mf_snapshot *snapshot, struct mf_host *host, struct mf_error *err)
{
    struct mf_pool_options options = {
        .size = sizeof options,
        .slots = 1,
        .host = host,
        .sandbox = {.size = sizeof options.sandbox, .backend = backend},
    };
    struct mf_pool *pool = NULL;
    struct mf_sandbox *sandbox = NULL;
    struct mf_parked *parked = NULL;
    int rc = mf_pool_create(snapshot, &options, &pool, err);
    if (rc == 0)
        rc = mf_pool_acquire(pool, NULL, 0, 0, &sandbox, err);
    if (rc == 0)
        rc = greet(sandbox, err);
    if (rc == 0 && (rc = mf_pool_park(pool, sandbox, &parked, err)) == 0) {
        rc = mf_pool_unpark(pool, parked, 0, &sandbox, err);
        if (rc != 0) {
            mf_pool_discard(pool, parked);
            sandbox = NULL;
        }
    }
    if (rc == 0)
        rc = greet(sandbox, err);
    if (pool)
        mf_pool_release(pool, sandbox);
    mf_pool_destroy(pool);
    return rc;
}

/* Everything that an embedding program does, in one go. Returns the first error. */
static int scenario(struct mf_error *err)
{
    struct mf_image *image = NULL;
    struct mf_host *host = NULL;
    struct mf_sandbox *sandbox = NULL;
    struct mf_snapshot *snapshot = NULL;
    struct mf_sandbox_options options = {
        .size = sizeof options,
        .backend = backend,
        .timeout_ns = UINT64_C(30000000000),
        .memory_bytes = 4 << 20,
        .stack_bytes = 64 << 10,
    };
    int rc = mf_image_open(guest_path, &image, err);
    if (rc == 0)
        rc = mf_host_create(&host, err);
    if (rc == 0)
        rc = mf_host_add(host, "i32 twice(i32 n)", twice, NULL, err);
    if (rc == 0)
        rc = mf_sandbox_create(image, host, &options, &sandbox, err);
    if (rc == 0)
        rc = mf_sandbox_start(sandbox, err);
    if (rc == 0)
        rc = mf_sandbox_snapshot(sandbox, &snapshot, err);
    if (rc == 0)
        rc = use_pool(snapshot, host, err);
    if (rc == 0)
        rc = map_both(sandbox, err);
    if (rc == 0)
        rc = greet(sandbox, err);
    mf_snapshot_close(snapshot);
    mf_sandbox_destroy(sandbox);
    mf_host_destroy(host);
    mf_image_close(image);
    return rc;
}

static int count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void run_victim(enum victim victim)
{
    struct mf_error err;
    int rounds = 0;
    for (; rounds < ROUNDS_MAX; rounds++) {
        int descriptors = count_descriptors();
        memset(&err, 0, sizeof err);
        plan.victim = victim;
        plan.fired = false;
        plan.countdown = rounds;
        int rc = scenario(&err);
        bool fired = plan.fired;
        plan.countdown = -1;
        if (fired && rc != 0) {
            assert_int_equal(rc, err.code);
            assert_true(err.message[0] != 0);
        }
        if (!fired)
            assert_int_equal(rc, 0);
        if (count_descriptors() != descriptors)
            fail_msg("%s number %d: a descriptor leaked", victim_names[victim], rounds);
        rc = scenario(&err);
        if (rc != 0)
            fail_msg("after %s number %d failed: %s", victim_names[victim], rounds, err.message);
        if (!fired)
            break;
    }
    printf("%s: failed at each of %d places\n", victim_names[victim], rounds);
    assert_true(rounds < ROUNDS_MAX);
}

static void fail_each_malloc(void **state)
{
    (void)state;
    run_victim(VICTIM_MALLOC);
}

static void fail_each_mmap(void **state)
{
    (void)state;
    run_victim(VICTIM_MMAP);
}

static void fail_each_open(void **state)
{
    (void)state;
    run_victim(VICTIM_OPEN);
}

static void fail_each_ioctl(void **state)
{
    (void)state;
    run_victim(VICTIM_IOCTL);
}

static void fail_each_getrandom(void **state)
{
    (void)state;
    run_victim(VICTIM_RANDOM);
}

/*
 * A hundred sandboxes and pools come and go: the heap does not grow. (On soft it may, by the
 * little that Unicorn 2.0.1 itself loses with each uc_close, and by what malloc keeps between
 * its many pieces; less and less with each round.)
 */
static void test_no_leak(void **state)
{
    (void)state;
    struct mf_error err;
    for (int i = 0; i < 20; i++)
        assert_int_equal(scenario(&err), 0);
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 100; i++)
        assert_int_equal(scenario(&err), 0);
    size_t after = mallinfo2().uordblks;
    size_t slack = backend == MF_BACKEND_SOFT ? 100 * 1024 : 4096;
    if (after > before + slack)
        fail_msg("the heap grew from %zu to %zu bytes", before, after);
}

int main(void)
{
    backend = test_backend();
    snprintf(guest_path, sizeof guest_path, "%s/greet", getenv("EXAMPLES"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_each_malloc), cmocka_unit_test(fail_each_mmap),
        cmocka_unit_test(fail_each_open),   cmocka_unit_test(fail_each_ioctl),
        cmocka_unit_test(fail_each_getrandom), cmocka_unit_test(test_no_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
