/*
 * The Nth allocation, mapping, open or getrandom fails while a snapshot file is written, opened
 * or comes into a store, for every N: each time there is an error or success, nothing is
 * leaked, and the next time it works. The functions are replaced with the linker's --wrap.
 */
#include "tests/unit/snapshot_build.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <cmocka.h>

#define ROUNDS_MAX 400

static long left = -1; /* good calls before the one that fails; < 0: none fails */

static bool must_fail(void)
{
    return left >= 0 && left-- == 0;
}

#define REAL(name) __real_##name
#define FAKE(name) __wrap_##name

void *REAL(malloc)(size_t size);
void *FAKE(malloc)(size_t size);
void *FAKE(malloc)(size_t size)
{
    errno = ENOMEM;
    return must_fail() ? NULL : REAL(malloc)(size);
}

void *REAL(calloc)(size_t n, size_t size);
void *FAKE(calloc)(size_t n, size_t size);
void *FAKE(calloc)(size_t n, size_t size)
{
    errno = ENOMEM;
    return must_fail() ? NULL : REAL(calloc)(n, size);
}

void *REAL(realloc)(void *old, size_t size);
void *FAKE(realloc)(void *old, size_t size);
void *FAKE(realloc)(void *old, size_t size)
{
    errno = ENOMEM;
    return must_fail() ? NULL : REAL(realloc)(old, size);
}

char *REAL(strdup)(const char *text);
char *FAKE(strdup)(const char *text);
char *FAKE(strdup)(const char *text)
{
    errno = ENOMEM;
    return must_fail() ? NULL : REAL(strdup)(text);
}

void *REAL(mmap)(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *FAKE(mmap)(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *FAKE(mmap)(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    errno = ENOMEM;
    return must_fail() ? MAP_FAILED : REAL(mmap)(at, len, prot, flags, fd, offset);
}

int REAL(open)(const char *path, int flags, ...);
int FAKE(open)(const char *path, int flags, ...);
int FAKE(open)(const char *path, int flags, ...)
{
    errno = EMFILE;
    return must_fail() ? -1 : REAL(open)(path, flags, 0600);
}

int REAL(ioctl)(int fd, unsigned long request, void *argument);
int FAKE(ioctl)(int fd, unsigned long request, void *argument);
int FAKE(ioctl)(int fd, unsigned long request, void *argument)
{
    return REAL(ioctl)(fd, request, argument);
}

ssize_t REAL(getrandom)(void *buf, size_t len, unsigned flags);
ssize_t FAKE(getrandom)(void *buf, size_t len, unsigned flags);
ssize_t FAKE(getrandom)(void *buf, size_t len, unsigned flags)
{
    errno = EAGAIN;
    return must_fail() ? -1 : REAL(getrandom)(buf, len, flags);
}

/* ---- what is done ---- */

static char folder[64], first_path[96], child_path[96], new_path[96], store[96];
static struct mf_snapshot *first, *child;

static int write_plain(struct mf_error *err)
{
    return mf_snapshot_write(first, new_path, NULL, NULL, err);
}

static int write_child(struct mf_error *err)
{
    struct mf_snapshot_write_options options = {
        .size = sizeof options, .compress = 1, .parent = first};
    return mf_snapshot_write(child, new_path, &options, NULL, err);
}

static int open_as(const char *path, int trusted, struct mf_error *err)
{
    struct mf_snapshot_open_options options = {.size = sizeof options, .trusted = trusted};
    struct mf_snapshot *snapshot;
    int rc = mf_snapshot_open(path, &options, &snapshot, err);
    if (rc == 0)
        mf_snapshot_close(snapshot);
    else
        assert_null(snapshot);
    return rc;
}

static int open_child(struct mf_error *err)
{
    return open_as(child_path, 0, err);
}

static int open_trusted(struct mf_error *err)
{
    return open_as(first_path, 1, err);
}

static int add_to_store(struct mf_error *err)
{
    return mf_snapshot_store_add(child_path, store, NULL, err);
}

static unsigned open_files(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* Every round once; how many of them failed. */
static unsigned fail_rounds(int (*fn)(struct mf_error *err))
{
    struct mf_error err;
    unsigned failures = 0;
    for (long n = 0;; n++) {
        unsigned files = open_files();
        assert_true(n < ROUNDS_MAX);
        left = n;
        int rc = fn(&err);
        bool all = left >= 0; /* nothing was left to fail */
        left = -1;
        if (rc != 0 && rc != MF_E_NO_MEMORY && rc != MF_E_SYSTEM && rc != MF_E_PARENT)
            fail_msg("round %ld: %s: %s", n, mf_error_name(rc), err.message);
        failures += rc != 0;
        assert_int_equal(open_files(), files);
        if (all)
            return failures;
        if (fn(&err) != 0)
            fail_msg("round %ld, afterwards: %s", n, err.message);
    }
}

static void fail_each(int (*fn)(struct mf_error *err))
{
    assert_true(fail_rounds(fn) > 5);
    /* The heap counts blocks that it keeps for later as in use: they are there by now. */
    size_t before = mallinfo2().uordblks;
    fail_rounds(fn);
    size_t after = mallinfo2().uordblks;
    if (after > before + 512)
        fail_msg("the heap grew from %zu to %zu bytes", before, after);
}

static void test_write(void **state)
{
    (void)state;
    fail_each(write_plain);
    fail_each(write_child);
}

static void test_open(void **state)
{
    (void)state;
    fail_each(open_child);
    fail_each(open_trusted);
}

static void test_store(void **state)
{
    (void)state;
    fail_each(add_to_store);
}

/* ---- files ---- */

static void remove_files(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.' || strlen(entry->d_name) > 2)
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(path);
}

static int make_files(void **state)
{
    static struct snap_build b;
    struct mf_snapshot_write_options options = {.size = sizeof options};
    *state = &b;
    snprintf(folder, sizeof folder, "/tmp/mayfly-fault-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(first_path, sizeof first_path, "%s/first", folder);
    snprintf(child_path, sizeof child_path, "%s/child", folder);
    snprintf(new_path, sizeof new_path, "%s/new", folder);
    snprintf(store, sizeof store, "%s/store", folder);
    snap_build(&b);
    first = snap_build_take(&b);
    memset(mem_at(&b.mem, b.heap), 1, PAGE_BYTES);
    child = snap_build_child(&b, first);
    if (mf_snapshot_write(first, first_path, &options, NULL, NULL) != 0)
        return -1;
    options.parent = first;
    return mf_snapshot_write(child, child_path, &options, NULL, NULL) || mkdir(store, 0700);
}

static int drop_files(void **state)
{
    mf_snapshot_close(child);
    mf_snapshot_close(first);
    snap_build_fini(*state);
    remove_files(store);
    remove_files(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_store),
    };
    return cmocka_run_group_tests_name("snapshot files, failing", tests, make_files, drop_files);
}
