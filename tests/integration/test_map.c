/*
 * Memory and files of the host in the guest, through the public API. The guest is
 * tests/guests/map/guest.c. What differs by backend is a file that gets shorter: on
 * kvm its pages are shared, on soft the guest has a copy.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE ((size_t)4096)
#define NO_ADDRESS UINT64_C(0x123456789000)

struct fixture {
    enum mf_backend backend;
    struct mf_image *image;
    struct mf_host *host;
    struct mf_sandbox *sandbox;
    char path[64];
    int fd; /* an empty file, open for both */
    uint8_t *buffer; /* four pages: 1, 2, 3, 4 */
    /* What the host function does. */
    bool unmaps;
    uint64_t address;
};

static int hook(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                struct mf_value *result, struct mf_error *err)
{
    struct fixture *f = context;
    (void)arg;
    int status = f->unmaps ? mf_sandbox_unmap(sandbox, f->address, err)
                           : mf_sandbox_map(sandbox, f->buffer, PAGE, 0, &f->address, err);
    *result = mf_u64(f->address);
    return status;
}

static ssize_t discard_output(void *context, int fd, const void *data, size_t len)
{
    (void)context;
    (void)fd;
    (void)data;
    return (ssize_t)len;
}

static uint8_t *new_pages(size_t npages)
{
    uint8_t *pages = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(pages != MAP_FAILED);
    for (size_t i = 0; i < npages; i++)
        memset(pages + i * PAGE, (int)i + 1, PAGE);
    return pages;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct mf_error err;
    char path[4096];

    snprintf(path, sizeof path, "%s/map/musl", getenv("GUESTS"));
    f->backend = test_backend();
    int status = mf_image_open(path, &f->image, &err);
    if (status == MF_OK)
        status = mf_host_create(&f->host, &err);
    if (status == MF_OK)
        status = mf_host_add(f->host, "u64 hook()", hook, f, &err);
    struct mf_sandbox_options options = {
        .size = sizeof options, .backend = f->backend, .timeout_ns = 20000000000};
    options.io.write = discard_output;
    if (status == MF_OK)
        status = mf_sandbox_create(f->image, f->host, &options, &f->sandbox, &err);
    if (status != MF_OK)
        fail_msg("%s: %s: %s", path, mf_error_name(status), err.message);
    strcpy(f->path, "/tmp/mayfly-map-XXXXXX");
    f->fd = mkstemp(f->path);
    assert_true(f->fd >= 0);
    f->buffer = new_pages(4);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    mf_sandbox_destroy(f->sandbox);
    mf_host_destroy(f->host);
    mf_image_close(f->image);
    munmap(f->buffer, 4 * PAGE);
    close(f->fd);
    unlink(f->path);
    free(f);
    return 0;
}

/* ---- calls of the guest's functions ---- */

static int try_call(struct fixture *f, const char *function, uint64_t a, uint64_t b, uint32_t c,
                    size_t nargs, struct mf_value *result, struct mf_error *err)
{
    struct mf_value args[3] = {mf_u64(a), mf_u64(b), mf_u32(c)};
    if (strcmp(function, "change") == 0)
        args[1] = mf_u32((uint32_t)b);
    return mf_sandbox_call(f->sandbox, function, args, nargs, result, err);
}

static struct mf_value call(struct fixture *f, const char *function, uint64_t a, uint64_t b,
                            uint32_t c, size_t nargs)
{
    struct mf_value result = mf_void();
    struct mf_error err = {.code = 0};
    int status = try_call(f, function, a, b, c, nargs, &result, &err);
    if (status != MF_OK)
        fail_msg("%s: %s: %s", function, mf_error_name(status), err.message);
    return result;
}

static uint64_t sum(struct fixture *f, uint64_t address, uint64_t len)
{
    return call(f, "sum", address, len, 0, 2).u64;
}

static void fill(struct fixture *f, uint64_t address, uint64_t len, uint32_t byte)
{
    call(f, "fill", address, len, byte, 3);
}

/* The call ends in a fault of this kind, at this address. */
static void call_faults(struct fixture *f, const char *function, uint64_t a, uint64_t b,
                        uint32_t c, size_t nargs, enum mf_fault_kind kind, uint64_t address)
{
    struct mf_error err = {.code = 0};
    int status = try_call(f, function, a, b, c, nargs, NULL, &err);
    const struct mf_fault *fault = mf_sandbox_fault(f->sandbox);
    if (status != MF_E_GUEST_FAULT || !fault)
        fail_msg("%s: %s: %s", function, mf_error_name(status), err.message);
    if (fault->kind != kind)
        fail_msg("%s: expected %s", err.message, mf_fault_name(kind));
    /* Older kernels do not tell the address of a bus error. */
    if (kind != MF_FAULT_BUS || fault->address != 0)
        assert_int_equal(fault->address, address);
}

static void peek_faults(struct fixture *f, uint64_t address, enum mf_fault_kind kind)
{
    call_faults(f, "peek", address, 0, 0, 1, kind, address);
}

/* ---- mappings ---- */

static uint64_t map(struct fixture *f, void *data, size_t len, unsigned flags)
{
    struct mf_error err;
    uint64_t address = 0;
    if (mf_sandbox_map(f->sandbox, data, len, flags, &address, &err) != MF_OK)
        fail_msg("map: %s", err.message);
    assert_int_equal(address % PAGE, 0);
    assert_int_not_equal(address, 0);
    return address;
}

static uint64_t map_file(struct fixture *f, int fd, uint64_t offset, size_t len, unsigned flags)
{
    struct mf_error err;
    uint64_t address = 0;
    if (mf_sandbox_map_file(f->sandbox, fd, offset, len, flags, &address, &err) != MF_OK)
        fail_msg("map_file: %s", err.message);
    return address;
}

static void unmap(struct fixture *f, uint64_t address)
{
    struct mf_error err;
    if (mf_sandbox_unmap(f->sandbox, address, &err) != MF_OK)
        fail_msg("unmap: %s", err.message);
}

static void map_fails(struct fixture *f, void *data, size_t len, unsigned flags, int code,
                      const char *text)
{
    struct mf_error err = {.code = 0};
    uint64_t address = NO_ADDRESS;
    int status = mf_sandbox_map(f->sandbox, data, len, flags, &address, &err);
    if (status != code || strstr(err.message, text) == NULL)
        fail_msg("%s: %s; expected %s: %s", mf_error_name(status), err.message,
                 mf_error_name(code), text);
    assert_int_equal(address, NO_ADDRESS);
}

static void map_file_fails(struct fixture *f, int fd, uint64_t offset, size_t len, unsigned flags,
                           const char *text)
{
    struct mf_error err = {.code = 0};
    uint64_t address = NO_ADDRESS;
    int status = mf_sandbox_map_file(f->sandbox, fd, offset, len, flags, &address, &err);
    if (status != MF_E_ARGUMENT || strstr(err.message, text) == NULL)
        fail_msg("%s: %s; expected MF_E_ARGUMENT: %s", mf_error_name(status), err.message, text);
    assert_int_equal(address, NO_ADDRESS);
}

/* `npages` pages of bytes 1, 2, ... and `rest` bytes of 'r' at the start of a file. */
static void write_file(int fd, size_t npages, size_t rest)
{
    uint8_t page[PAGE];
    for (size_t i = 0; i < npages; i++) {
        memset(page, (int)i + 1, PAGE);
        assert_int_equal(pwrite(fd, page, PAGE, (off_t)(i * PAGE)), PAGE);
    }
    memset(page, 'r', PAGE);
    assert_int_equal(pwrite(fd, page, rest, (off_t)(npages * PAGE)), rest);
}

static uint8_t file_byte(int fd, size_t offset)
{
    uint8_t byte = 0;
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    return byte;
}

static uint64_t memory_pages(struct fixture *f)
{
    struct mf_stats stats = {.size = sizeof stats};
    mf_sandbox_get_stats(f->sandbox, &stats);
    return stats.memory_pages;
}

/* ---- tests: buffers ---- */

static void test_read(void **state)
{
    struct fixture *f = *state;
    uint64_t address = map(f, f->buffer, 4 * PAGE, MF_MAP_READ);
    assert_int_equal(sum(f, address, 4 * PAGE), (1 + 2 + 3 + 4) * PAGE);
    /* Nothing was copied: the guest sees what the host writes. */
    f->buffer[5] = 101;
    assert_int_equal(sum(f, address, 4 * PAGE), (1 + 2 + 3 + 4) * PAGE + 100);
    assert_int_equal(call(f, "print", address, 4 * PAGE, 0, 2).i64, 4 * PAGE);
}

static void test_read_of_read_only_memory(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mprotect(f->buffer, 4 * PAGE, PROT_READ), 0);
    uint64_t address = map(f, f->buffer, 4 * PAGE, MF_MAP_READ);
    assert_int_equal(sum(f, address, 4 * PAGE), (1 + 2 + 3 + 4) * PAGE);
    call_faults(f, "fill", address + PAGE, 1, 7, 3, MF_FAULT_WRITE_PROTECTED, address + PAGE);
}

static void test_write_to_read_only(void **state)
{
    struct fixture *f = *state;
    uint64_t address = map(f, f->buffer, 4 * PAGE, MF_MAP_READ);
    /* Not through the host, either. */
    assert_int_equal(call(f, "entropy", address, 0, 0, 1).i64, -EFAULT);
    call_faults(f, "fill", address + PAGE, 1, 7, 3, MF_FAULT_WRITE_PROTECTED, address + PAGE);
    assert_int_equal(f->buffer[PAGE], 2);
}

static void test_write(void **state)
{
    struct fixture *f = *state;
    uint64_t address = map(f, f->buffer, 4 * PAGE, MF_MAP_WRITE);
    fill(f, address + PAGE, 2 * PAGE, 9);
    assert_int_equal(f->buffer[PAGE - 1], 1);
    for (size_t i = PAGE; i < 3 * PAGE; i++)
        assert_int_equal(f->buffer[i], 9);
    assert_int_equal(f->buffer[3 * PAGE], 4);
    memset(f->buffer, 2, PAGE);
    assert_int_equal(sum(f, address, 4 * PAGE), (2 + 9 + 9 + 4) * PAGE);
    assert_int_equal(call(f, "entropy", address, 0, 0, 1).i64, 0);
    assert_int_not_equal(sum(f, address, 16), 2 * 16);
}

static void test_unmap(void **state)
{
    struct fixture *f = *state;
    uint64_t address = map(f, f->buffer, 4 * PAGE, MF_MAP_WRITE);
    fill(f, address, 4 * PAGE, 1);
    unmap(f, address);
    peek_faults(f, address, MF_FAULT_READ);
}

/* There is a page that nobody sees behind each mapping. */
static void test_guard(void **state)
{
    struct fixture *f = *state;
    uint64_t first = map(f, f->buffer, PAGE, MF_MAP_READ);
    uint64_t second = map(f, f->buffer + PAGE, PAGE, MF_MAP_READ);
    assert_true(second >= first + 2 * PAGE || first >= second + 2 * PAGE);
    peek_faults(f, first + PAGE, MF_FAULT_READ);
}

static void test_unmap_one_of_three(void **state)
{
    struct fixture *f = *state;
    uint64_t a = map(f, f->buffer, PAGE, 0), b = map(f, f->buffer + PAGE, PAGE, 0);
    uint64_t c = map(f, f->buffer + 2 * PAGE, PAGE, 0);
    assert_int_equal(sum(f, b, PAGE), 2 * PAGE);
    unmap(f, b);
    assert_int_equal(sum(f, a, PAGE) + sum(f, c, PAGE), (1 + 3) * PAGE);
    /* The place is used again, with other memory behind it. */
    assert_int_equal(map(f, f->buffer + 3 * PAGE, PAGE, 0), b);
    assert_int_equal(sum(f, b, PAGE), 4 * PAGE);
    unmap(f, a);
    unmap(f, b);
    unmap(f, c);
    peek_faults(f, c, MF_FAULT_READ);
}

static void test_from_host_function(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(call(f, "peek_hook", 0, 0, 0, 0).u64, 1);
    f->unmaps = true;
    uint64_t address = f->address;
    call_faults(f, "peek_hook", 0, 0, 0, 0, MF_FAULT_READ, address);
}

static void test_bad_buffers(void **state)
{
    struct fixture *f = *state;
    struct mf_error err;
    uint8_t *b = f->buffer, *gone = new_pages(1);
    munmap(gone, PAGE);
    map_fails(f, NULL, PAGE, 0, MF_E_ARGUMENT, "nothing to map");
    map_fails(f, b, 0, 0, MF_E_ARGUMENT, "nothing to map");
    map_fails(f, b + 1, PAGE, 0, MF_E_ARGUMENT, "multiples of 4096");
    map_fails(f, b, PAGE - 1, 0, MF_E_ARGUMENT, "multiples of 4096");
    map_fails(f, b, PAGE, 2, MF_E_ARGUMENT, "MF_MAP_WRITE");
    map_fails(f, gone, PAGE, 0, MF_E_ARGUMENT, "not all memory");
    map_fails(f, b, (size_t)1 << 62, 0, MF_E_ARGUMENT, "not all memory");
    map_fails(f, b, (size_t)1 << 63, 0, MF_E_ARGUMENT, "not all memory");
    map_fails(f, b, SIZE_MAX - PAGE + 1, 0, MF_E_ARGUMENT, "not all memory");
    map_fails(f, (void *)(UINTPTR_MAX - PAGE + 1), PAGE, 0, MF_E_ARGUMENT, "not all memory");
    assert_int_equal(mf_sandbox_map(f->sandbox, b, PAGE, 0, NULL, &err), MF_E_ARGUMENT);
    assert_int_equal(mf_sandbox_unmap(f->sandbox, 0, &err), MF_E_ARGUMENT);
    uint64_t address = map(f, b, 2 * PAGE, 0);
    assert_int_equal(mf_sandbox_unmap(f->sandbox, address + PAGE, &err), MF_E_ARGUMENT);
    assert_non_null(strstr(err.message, "nothing is mapped"));
    unmap(f, address);
    assert_int_equal(mf_sandbox_unmap(f->sandbox, address, &err), MF_E_ARGUMENT);
}

/* More than a CPU can address: an error, and nothing is lost. */
static void test_huge(void **state)
{
    struct fixture *f = *state;
    const size_t huge = (size_t)300 << 30;
    void *data = mmap(NULL, huge, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
        skip();
    map_fails(f, data, huge, 0, MF_E_NO_MEMORY, "255 GiB");
    munmap(data, huge);
    assert_int_equal(sum(f, map(f, f->buffer, PAGE, 0), PAGE), PAGE);
}

static void test_most(void **state)
{
    struct fixture *f = *state;
    uint64_t address[MF_MAPPINGS_MAX];
    for (size_t i = 0; i < MF_MAPPINGS_MAX; i++)
        address[i] = map(f, f->buffer, PAGE, 0);
    map_fails(f, f->buffer, PAGE, 0, MF_E_STATE, "mf_sandbox_unmap");
    assert_int_equal(sum(f, address[MF_MAPPINGS_MAX - 1], PAGE), PAGE);
    unmap(f, address[17]);
    assert_int_equal(map(f, f->buffer, PAGE, 0), address[17]);
}

static void test_cycles(void **state)
{
    struct fixture *f = *state;
    uint64_t first = map(f, f->buffer, 4 * PAGE, MF_MAP_WRITE);
    unmap(f, first);
    uint64_t before = memory_pages(f);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(map(f, f->buffer, 4 * PAGE, MF_MAP_WRITE), first);
        unmap(f, first);
    }
    assert_int_equal(memory_pages(f), before);
    map(f, f->buffer, PAGE, 0);
    assert_int_equal(sum(f, first, PAGE), PAGE);
}

/* A mapping takes guest memory for tables only, and there may be none left. */
static void test_guest_memory_full(void **state)
{
    struct fixture *f = *state;
    const size_t len = (size_t)40 << 30;
    void *data = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
        skip();
    /* 64 MiB of guest memory hold tables for 32 GiB. */
    map_fails(f, data, len, 0, MF_E_NO_MEMORY, "used up");
    munmap(data, len);
    assert_int_equal(sum(f, map(f, f->buffer, PAGE, 0), PAGE), PAGE);
}

static void test_guest_cannot_change(void **state)
{
    struct fixture *f = *state;
    uint64_t address = map(f, f->buffer, 4 * PAGE, MF_MAP_READ);
    for (uint32_t how = 0; how < 5; how++) {
        assert_int_equal(call(f, "change", address + PAGE, how, 0, 2).i64, -EPERM);
        assert_int_equal(call(f, "change", address + 4 * PAGE, how, 0, 2).i64, -EPERM);
    }
    assert_int_equal(sum(f, address, 4 * PAGE), (1 + 2 + 3 + 4) * PAGE);
}

/* The host gives back memory that the guest still sees. */
static void test_host_unmaps(void **state)
{
    struct fixture *f = *state;
    if (f->backend != MF_BACKEND_KVM)
        skip(); /* not allowed, and this backend runs in the same address space */
    uint64_t address = map(f, f->buffer, 4 * PAGE, MF_MAP_READ);
    assert_int_equal(sum(f, address, 4 * PAGE), (1 + 2 + 3 + 4) * PAGE);
    munmap(f->buffer + 2 * PAGE, PAGE);
    assert_int_equal(sum(f, address, PAGE), PAGE);
    assert_int_equal(call(f, "print", address + 2 * PAGE, 1, 0, 2).i64, -EFAULT);
    peek_faults(f, address + 2 * PAGE + 5, MF_FAULT_BUS);
    struct mf_error err;
    assert_int_equal(mf_sandbox_map(f->sandbox, f->buffer, PAGE, 0, &address, &err),
                     MF_E_POISONED);
}

/* ---- tests: files ---- */

static void test_file_read(void **state)
{
    struct fixture *f = *state;
    write_file(f->fd, 3, 100);
    int fd = open(f->path, O_RDONLY);
    uint64_t all = map_file(f, fd, 0, 0, MF_MAP_READ);
    uint64_t second = map_file(f, fd, PAGE, PAGE, MF_MAP_READ);
    uint64_t end = map_file(f, fd, 2 * PAGE, PAGE + 100, MF_MAP_READ);
    close(fd);
    /* Zeros behind the end, to the end of the page. */
    assert_int_equal(sum(f, all, 4 * PAGE), (1 + 2 + 3) * PAGE + 100 * 'r');
    assert_int_equal(sum(f, second, PAGE), 2 * PAGE);
    assert_int_equal(sum(f, end, 2 * PAGE), 3 * PAGE + 100 * 'r');
    assert_int_equal(call(f, "print", all, 4 * PAGE, 0, 2).i64, 4 * PAGE);
    call_faults(f, "fill", all, 1, 7, 3, MF_FAULT_WRITE_PROTECTED, all);
    assert_int_equal(file_byte(f->fd, 0), 1);
}

static void test_file_write(void **state)
{
    struct fixture *f = *state;
    struct stat status;
    write_file(f->fd, 3, 100);
    uint64_t address = map_file(f, f->fd, PAGE, 0, MF_MAP_WRITE);
    assert_int_equal(sum(f, address, 3 * PAGE), (2 + 3) * PAGE + 100 * 'r');
    fill(f, address + 10, 5, 'w');
    fill(f, address + 2 * PAGE, PAGE, 'x'); /* beyond the end, too */
    unmap(f, address);
    assert_int_equal(file_byte(f->fd, 0), 1);
    assert_int_equal(file_byte(f->fd, PAGE + 9), 2);
    for (size_t i = 10; i < 15; i++)
        assert_int_equal(file_byte(f->fd, PAGE + i), 'w');
    assert_int_equal(file_byte(f->fd, PAGE + 15), 2);
    assert_int_equal(file_byte(f->fd, 2 * PAGE), 3);
    assert_int_equal(file_byte(f->fd, 3 * PAGE), 'x');
    assert_int_equal(fstat(f->fd, &status), 0);
    assert_int_equal(status.st_size, 3 * PAGE + 100);
}

static void test_file_written_at_the_end(void **state)
{
    struct fixture *f = *state;
    write_file(f->fd, 1, 0);
    fill(f, map_file(f, f->fd, 0, 0, MF_MAP_WRITE), 1, 'w');
    mf_sandbox_destroy(f->sandbox);
    f->sandbox = NULL;
    assert_int_equal(file_byte(f->fd, 0), 'w');
    assert_int_equal(file_byte(f->fd, 1), 1);
}

static void test_file_shrinks(void **state)
{
    struct fixture *f = *state;
    write_file(f->fd, 4, 0);
    uint64_t address = map_file(f, f->fd, 0, 0, MF_MAP_READ);
    assert_int_equal(sum(f, address, 4 * PAGE), (1 + 2 + 3 + 4) * PAGE);
    assert_int_equal(ftruncate(f->fd, PAGE), 0);
    if (f->backend == MF_BACKEND_SOFT) {
        assert_int_equal(sum(f, address, 4 * PAGE), (1 + 2 + 3 + 4) * PAGE);
        return;
    }
    assert_int_equal(sum(f, address, PAGE), PAGE);
    peek_faults(f, address + 2 * PAGE + 5, MF_FAULT_BUS);
}

/* The guest never touched what is gone before. */
static void test_file_shrinks_before(void **state)
{
    struct fixture *f = *state;
    write_file(f->fd, 4, 0);
    uint64_t address = map_file(f, f->fd, 0, 0, MF_MAP_WRITE);
    assert_int_equal(ftruncate(f->fd, PAGE), 0);
    if (f->backend == MF_BACKEND_KVM)
        call_faults(f, "fill", address + 3 * PAGE, 1, 1, 3, MF_FAULT_BUS, address + 3 * PAGE);
    else
        fill(f, address, 1, 1);
}

/* The host itself survives pages that are gone, whoever asks it to touch them. */
static void test_file_gone_in_system_call(void **state)
{
    struct fixture *f = *state;
    write_file(f->fd, 4, 0);
    uint64_t address = map_file(f, f->fd, 0, 0, MF_MAP_WRITE);
    assert_int_equal(ftruncate(f->fd, PAGE), 0);
    bool copy = f->backend == MF_BACKEND_SOFT;
    assert_int_equal(call(f, "print", address, PAGE, 0, 2).i64, PAGE);
    assert_int_equal(call(f, "print", address + 2 * PAGE, 16, 0, 2).i64, copy ? 16 : -EFAULT);
    assert_int_equal(call(f, "entropy", address + 2 * PAGE, 0, 0, 1).i64, copy ? 0 : -EFAULT);
    assert_int_equal(sum(f, address + 8, 8), 8);
}

static void test_sealed_memfd(void **state)
{
    struct fixture *f = *state;
    int fd = memfd_create("mayfly", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    assert_true(fd >= 0);
    write_file(fd, 3, 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    uint64_t address = map_file(f, fd, 0, 0, MF_MAP_WRITE);
    assert_int_equal(sum(f, address, 3 * PAGE), (1 + 2 + 3) * PAGE);
    /* Shared on both backends: at once, both ways. */
    assert_int_equal(pwrite(fd, "\x7", 1, 0), 1);
    assert_int_equal(sum(f, address, PAGE), PAGE + 6);
    fill(f, address + PAGE, PAGE, 9);
    assert_int_equal(file_byte(fd, PAGE), 9);
    close(fd);
}

static void test_bad_files(void **state)
{
    struct fixture *f = *state;
    int pipes[2], dir = open("/tmp", O_RDONLY | O_DIRECTORY), zero = open("/dev/zero", O_RDWR);
    int only_read = open(f->path, O_RDONLY), only_write = open(f->path, O_WRONLY);
    int append = open(f->path, O_RDWR | O_APPEND), path = open(f->path, O_PATH);
    assert_int_equal(pipe(pipes), 0);
    map_file_fails(f, f->fd, 0, 0, 0, "0 bytes only");
    write_file(f->fd, 2, 100);
    map_file_fails(f, -1, 0, 0, 0, "Bad file descriptor");
    map_file_fails(f, dir, 0, 0, 0, "a directory");
    map_file_fails(f, pipes[0], 0, 0, 0, "a pipe");
    map_file_fails(f, zero, 0, 0, 0, "a device");
    map_file_fails(f, only_write, 0, 0, 0, "not open for reading");
    map_file_fails(f, path, 0, 0, 0, "not open for reading");
    map_file_fails(f, only_read, 0, 0, MF_MAP_WRITE, "open it with O_RDWR");
    map_file_fails(f, append, 0, 0, MF_MAP_WRITE, "O_APPEND");
    map_file_fails(f, f->fd, 0, 0, 4, "MF_MAP_WRITE");
    map_file_fails(f, f->fd, 1, 0, 0, "multiple of 4096");
    map_file_fails(f, f->fd, 3 * PAGE, 0, 0, "8292 bytes only");
    map_file_fails(f, f->fd, 0, 100, 0, "reach to the end");
    map_file_fails(f, f->fd, PAGE, PAGE + 101, 0, "8292 bytes only");
    map_file_fails(f, f->fd, 0, SIZE_MAX, 0, "8292 bytes only");
    map_file_fails(f, f->fd, PAGE, SIZE_MAX - PAGE + 1, 0, "8292 bytes only");
    map_file_fails(f, f->fd, PAGE, (size_t)1 << 63, 0, "8292 bytes only");
    map_file_fails(f, f->fd, UINT64_MAX - PAGE + 1, 0, 0, "8292 bytes only");
    map_file_fails(f, f->fd, (uint64_t)1 << 63, PAGE, 0, "8292 bytes only");
    const int fds[] = {pipes[0], pipes[1], dir, zero, only_read, only_write, append, path};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        close(fds[i]);
    assert_int_equal(sum(f, map_file(f, f->fd, 0, 0, 0), 3 * PAGE), (1 + 2) * PAGE + 100 * 'r');
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_read),
        TEST(test_read_of_read_only_memory),
        TEST(test_write_to_read_only),
        TEST(test_write),
        TEST(test_unmap),
        TEST(test_guard),
        TEST(test_unmap_one_of_three),
        TEST(test_from_host_function),
        TEST(test_bad_buffers),
        TEST(test_huge),
        TEST(test_most),
        TEST(test_cycles),
        TEST(test_guest_memory_full),
        TEST(test_guest_cannot_change),
        TEST(test_host_unmaps),
        TEST(test_file_read),
        TEST(test_file_write),
        TEST(test_file_written_at_the_end),
        TEST(test_file_shrinks),
        TEST(test_file_shrinks_before),
        TEST(test_file_gone_in_system_call),
        TEST(test_sealed_memfd),
        TEST(test_bad_files),
    };
    test_backend();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
