/*
 * The system call table: a sandbox without a guest, whose registers the test sets
 * as a guest would. Guest memory and page tables are real, the vCPU is not.
 */
#include "sandbox/syscall.h"

#include "abi/memory_map.h"
#include "base/checked.h"
#include "base/error.h"
#include "mem/guestmem.h"
#include "sandbox/limits.h"
#include "sandbox/linux_abi.h"
#include "sandbox/sandbox.h"
#include "sandbox/syscall_list.h"
#include "vm/paging.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEMORY (UINT64_C(4) << 20)
#define BUFFER LAYOUT_GVA_MMAP /* pages that the guest may read and write */
#define BUFFER_BYTES (40 * PAGE_BYTES)
#define READ_ONLY (BUFFER + BUFFER_BYTES) /* one page, and behind it nothing */
#define NOWHERE UINT64_C(0x10000)
#define MS UINT64_C(1000000)
#define NR(name) LINUX_NR_##name

struct fixture {
    struct mf_sandbox sandbox;
    struct vm vm;
    struct mf_registers regs;
    uint64_t base[2];
    struct mf_error err;
    int status;
    /* What the embedder's functions see and say. */
    char out[3][70000];
    size_t out_len[3];
    size_t take;       /* write: at most so many bytes at a time; 0: all */
    ssize_t write_says; /* write: this error */
    const char *input;
    size_t input_len;
    ssize_t read_says;
    unsigned denials;
    long last_denied;
    const char *last_name;
};

static int fake_map(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot,
                    struct mf_error *err)
{
    return paging_map(vm->mem, gva, npages, prot, err);
}

static void fake_protect(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot)
{
    paging_protect(vm->mem, gva, npages, prot, NULL, NULL);
}

static void fake_unmap(struct vm *vm, mf_gva gva, uint64_t npages)
{
    paging_unmap(vm->mem, gva, npages);
}

static void fake_discard(struct vm *vm, mf_gva gva, uint64_t npages)
{
    paging_discard(vm->mem, gva, npages);
}

static int fake_move(struct vm *vm, mf_gva from, mf_gva to, uint64_t npages, struct mf_error *err)
{
    return paging_move(vm->mem, from, to, npages, NULL, NULL, err);
}

static struct fixture *fixture_of_vm(struct vm *vm)
{
    return (struct fixture *)((char *)vm - offsetof(struct fixture, vm));
}

static int fake_set_base(struct vm *vm, unsigned index, uint64_t base, struct mf_error *err)
{
    (void)err;
    fixture_of_vm(vm)->base[index] = base;
    return 0;
}

static uint64_t fake_get_base(struct vm *vm, unsigned index)
{
    return fixture_of_vm(vm)->base[index];
}

static void fake_interrupt(struct vm *vm)
{
    (void)vm;
}

static const struct vm_ops fake_ops = {
    .name = "fake",
    .interrupt = fake_interrupt,
    .map = fake_map,
    .protect = fake_protect,
    .unmap = fake_unmap,
    .discard = fake_discard,
    .move = fake_move,
    .set_segment_base = fake_set_base,
    .get_segment_base = fake_get_base,
};

static ssize_t io_read(void *context, void *buf, size_t len)
{
    struct fixture *f = context;
    if (f->read_says != 0)
        return f->read_says;
    size_t n = MIN(len, f->input_len);
    if (n > 0)
        memcpy(buf, f->input, n);
    f->input += n;
    f->input_len -= n;
    return (ssize_t)n;
}

static ssize_t io_write(void *context, int fd, const void *buf, size_t len)
{
    struct fixture *f = context;
    if (f->write_says != 0)
        return f->write_says;
    if (f->take > 0)
        len = MIN(len, f->take);
    size_t keep = MIN(len, sizeof(f->out[fd]) - f->out_len[fd]);
    memcpy(f->out[fd] + f->out_len[fd], buf, keep);
    f->out_len[fd] += keep;
    return (ssize_t)len;
}

static void io_denied(void *context, long number, const char *name)
{
    struct fixture *f = context;
    f->denials++;
    f->last_denied = number;
    f->last_name = name;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    struct mf_sandbox *sandbox = &f->sandbox;
    assert_int_equal(mem_init(&sandbox->mem, MEMORY, NULL), 0);
    f->vm = (struct vm){.ops = &fake_ops, .mem = &sandbox->mem, .regs = &f->regs};
    sandbox->vm = &f->vm;
    limits_init(&sandbox->limits, &f->vm);
    sandbox->options.max_output_bytes = UINT64_MAX;
    sandbox->options.stack_bytes = UINT64_C(1) << 20;
    sandbox->options.io = (struct mf_io){f, io_read, io_write, NULL, io_denied, 0};
    sandbox->sys.clock_base_ns = limits_now();
    assert_int_equal(addrspace_init(&sandbox->as, &f->vm, NULL), 0);
    addrspace_set_brk(&sandbox->as, LAYOUT_GVA_PIE);
    assert_int_equal(addrspace_add(&sandbox->as, BUFFER, BUFFER_BYTES, PT_READ | PT_WRITE,
                                   AREA_STACK, NULL),
                     0);
    assert_int_equal(addrspace_add(&sandbox->as, READ_ONLY, PAGE_BYTES, PT_READ, AREA_IMAGE, NULL),
                     0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    addrspace_fini(&f->sandbox.as);
    limits_fini(&f->sandbox.limits);
    mem_fini(&f->sandbox.mem);
    free(f);
    return 0;
}

static enum syscall_outcome answer(struct fixture *f, uint64_t number, const uint64_t arg[6])
{
    f->regs = (struct mf_registers){.rax = number, .rdi = arg[0], .rsi = arg[1], .rdx = arg[2],
                                    .r10 = arg[3], .r8 = arg[4], .r9 = arg[5]};
    f->vm.regs_changed = false;
    error_clear(&f->err);
    enum syscall_outcome outcome = syscall_answer(&f->sandbox, &f->status, &f->err);
    assert_true(f->vm.regs_changed);
    return outcome;
}

/* A call after which the guest goes on: its result. */
#define CALL(f, name, ...) call_result(f, NR(name), (uint64_t[6]){__VA_ARGS__})

static int64_t call_result(struct fixture *f, uint64_t number, const uint64_t arg[6])
{
    assert_int_equal(answer(f, number, arg), SYSCALL_CONTINUE);
    return (int64_t)f->regs.rax;
}

#define OUTCOME(f, name, ...) answer(f, NR(name), (uint64_t[6]){__VA_ARGS__})

static void put(struct fixture *f, mf_gva gva, const void *bytes, size_t len)
{
    assert_true(guestmem_write(&f->sandbox.mem, gva, bytes, len));
}

static void get(struct fixture *f, mf_gva gva, void *bytes, size_t len)
{
    assert_true(guestmem_read(&f->sandbox.mem, bytes, gva, len));
}

static uint64_t get_u64(struct fixture *f, mf_gva gva)
{
    uint64_t value;
    get(f, gva, &value, sizeof(value));
    return value;
}

static void put_pair(struct fixture *f, mf_gva gva, uint64_t first, uint64_t second)
{
    uint64_t pair[2] = {first, second};
    put(f, gva, pair, sizeof(pair));
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(syscall_name(0), "read");
    assert_string_equal(syscall_name(231), "exit_group");
    assert_string_equal(syscall_name(334), "rseq");
    assert_string_equal(syscall_name(425), "io_uring_setup");
    assert_null(syscall_name(-1));
    assert_null(syscall_name(335 + 50));
    assert_null(syscall_name(511));
    assert_null(syscall_name(1L << 40));
}

static void test_denied(void **state)
{
    struct fixture *f = *state;
    struct mf_sandbox *sandbox = &f->sandbox;
    assert_int_equal(CALL(f, socket, 2, 1, 0), -ENOSYS);
    assert_int_equal(CALL(f, socket, 2, 1, 0), -ENOSYS);
    assert_int_equal(f->denials, 1);
    assert_int_equal(f->last_denied, NR(socket));
    assert_string_equal(f->last_name, "socket");
    assert_int_equal(sandbox->sys.denied[NR(socket)], 2);
    /* Numbers beyond the table share one place, negative ones too. */
    uint64_t none[6] = {0};
    assert_int_equal(call_result(f, 100000, none), -ENOSYS);
    assert_int_equal(f->last_denied, 100000);
    assert_null(f->last_name);
    assert_int_equal(call_result(f, UINT64_MAX, none), -ENOSYS);
    assert_int_equal(sandbox->sys.denied[SYSCALL_NUMBERS - 1], 2);
    assert_int_equal(f->denials, 2);
    assert_int_equal(sandbox->stats.syscalls_denied, 4);
    /* Files are denied, also where the call itself is answered. */
    put(f, BUFFER, "/etc/passwd", 12);
    assert_int_equal(CALL(f, open, BUFFER, 0), -EACCES);
    assert_int_equal(CALL(f, openat, UINT64_MAX - 99, BUFFER, 0), -EACCES);
    assert_int_equal(CALL(f, newfstatat, 0, BUFFER, BUFFER + 64, 0), -ENOSYS);
    assert_int_equal(CALL(f, newfstatat, 0, BUFFER, BUFFER + 64, LINUX_AT_EMPTY_PATH), -ENOSYS);
    assert_int_equal(CALL(f, statx, 0, BUFFER, LINUX_AT_EMPTY_PATH, 0, BUFFER + 64), -ENOSYS);
    assert_int_equal(sandbox->stats.syscalls_denied, 9);
    sandbox->options.io.denied = NULL;
    assert_int_equal(CALL(f, execve, BUFFER, 0, 0), -ENOSYS);
    /* rseq is expected to be missing. */
    assert_int_equal(CALL(f, rseq, BUFFER, 32, 0, 0), -ENOSYS);
    assert_int_equal(sandbox->stats.syscalls_denied, 10);
}

static void test_write(void **state)
{
    struct fixture *f = *state;
    put(f, BUFFER + PAGE_BYTES - 3, "across", 6);
    assert_int_equal(CALL(f, write, 1, BUFFER + PAGE_BYTES - 3, 6), 6);
    assert_memory_equal(f->out[1], "across", 6);
    assert_int_equal(f->sandbox.stats.output_bytes, 6);
    assert_int_equal(CALL(f, write, 2, BUFFER, 0), 0);
    assert_int_equal(CALL(f, write, 0, BUFFER, 1), -EBADF);
    assert_int_equal(CALL(f, write, 3, BUFFER, 1), -EBADF);
    assert_int_equal(CALL(f, write, UINT64_MAX, BUFFER, 1), -EBADF);
    assert_int_equal(CALL(f, write, 1, NOWHERE, 1), -EFAULT);
    assert_int_equal(CALL(f, write, 1, UINT64_MAX, 1), -EFAULT);
    assert_int_equal(CALL(f, write, 1, UINT64_C(0xffff800000000000), 1), -EFAULT);
    assert_int_equal(f->out_len[2], 0);
    /* A descriptor is an int: the upper half of RDI has no meaning. */
    assert_int_equal(CALL(f, write, UINT64_C(0x500000002), BUFFER, 1), 1);
    assert_int_equal(f->out_len[2], 1);
    /* A large one goes out in pieces, up to the end of the readable pages. */
    f->out_len[1] = 0;
    put(f, BUFFER + 20 * PAGE_BYTES, "x", 1);
    assert_int_equal(CALL(f, write, 1, BUFFER + 20 * PAGE_BYTES, 60000), 60000);
    assert_int_equal(f->out_len[1], 60000);
    assert_int_equal(f->out[1][0], 'x');
    assert_int_equal(CALL(f, write, 1, READ_ONLY, UINT64_MAX), PAGE_BYTES);
    assert_int_equal(CALL(f, write, 1, READ_ONLY + PAGE_BYTES - 5, 6), 5);
    f->sandbox.options.io.write = NULL;
    assert_int_equal(CALL(f, write, 1, BUFFER, 10), 10);
}

static void test_write_when_the_embedder_fails(void **state)
{
    struct fixture *f = *state;
    f->take = 7;
    assert_int_equal(CALL(f, write, 1, BUFFER, 20000), 20000);
    assert_int_equal(f->out_len[1], 20000);
    assert_int_equal(f->sandbox.stats.output_bytes, 20000);
    f->write_says = -ENOSPC;
    assert_int_equal(CALL(f, write, 1, BUFFER, 10), -ENOSPC);
    f->write_says = -100000;
    assert_int_equal(CALL(f, write, 1, BUFFER, 10), -EIO);
    f->write_says = 11;
    assert_int_equal(CALL(f, write, 1, BUFFER, 10), -EIO);
    /* A reader that went away ends a program that does not care about SIGPIPE. */
    f->write_says = -EPIPE;
    assert_int_equal(OUTCOME(f, write, 1, BUFFER, 10), SYSCALL_ABORT);
    assert_int_equal(f->status, LINUX_SIGPIPE);
    f->sandbox.sys.signal_handlers[LINUX_SIGPIPE][0] = LINUX_SIG_IGN;
    assert_int_equal(CALL(f, write, 1, BUFFER, 10), -EPIPE);
}

static void test_output_limit(void **state)
{
    struct fixture *f = *state;
    f->sandbox.options.max_output_bytes = 100;
    assert_int_equal(CALL(f, write, 1, BUFFER, 60), 60);
    assert_int_equal(CALL(f, write, 2, BUFFER, 40), 40);
    assert_int_equal(CALL(f, write, 1, BUFFER, 0), 0);
    assert_int_equal(OUTCOME(f, write, 1, BUFFER, 1), SYSCALL_STOP);
    assert_int_equal(f->err.code, MF_E_OUTPUT_LIMIT);
    f->sandbox.options.max_output_bytes = 110;
    assert_int_equal(OUTCOME(f, write, 1, BUFFER, 30000), SYSCALL_STOP);
    assert_int_equal(f->err.code, MF_E_OUTPUT_LIMIT);
    assert_int_equal(f->out_len[1], 70);
    assert_int_equal(f->sandbox.stats.output_bytes, 110);
}

static void test_writev(void **state)
{
    struct fixture *f = *state;
    mf_gva iov = BUFFER + 1024;
    put(f, BUFFER, "onetwothree", 11);
    put_pair(f, iov, BUFFER, 3);
    put_pair(f, iov + 16, NOWHERE, 0);
    put_pair(f, iov + 32, BUFFER + 6, 5);
    assert_int_equal(CALL(f, writev, 1, iov, 3), 8);
    assert_memory_equal(f->out[1], "onethree", 8);
    assert_int_equal(CALL(f, writev, 1, iov, 0), 0);
    put_pair(f, iov + 16, NOWHERE, 1);
    assert_int_equal(CALL(f, writev, 1, iov, 3), 3);
    assert_int_equal(CALL(f, writev, 1, iov + 16, 1), -EFAULT);
    assert_int_equal(CALL(f, writev, 1, NOWHERE, 1), -EFAULT);
    assert_int_equal(CALL(f, writev, 1, iov, LINUX_IOV_MAX + 1), -EINVAL);
    assert_int_equal(CALL(f, writev, 1, iov, UINT64_MAX), -EINVAL);
    assert_int_equal(CALL(f, writev, 0, iov, 1), -EBADF);
    put_pair(f, iov + 16, BUFFER, UINT64_MAX - 1);
    assert_int_equal(CALL(f, writev, 1, iov, 2), -EINVAL);
    /* The most pieces that there may be, each of 20 bytes. */
    f->out_len[1] = 0;
    for (unsigned i = 0; i < LINUX_IOV_MAX; i++)
        put_pair(f, iov + 16 * i, BUFFER + 5 * PAGE_BYTES + i, 20);
    assert_int_equal(CALL(f, writev, 1, iov, LINUX_IOV_MAX), 20 * LINUX_IOV_MAX);
    assert_int_equal(f->out_len[1], 20 * LINUX_IOV_MAX);
}

static void test_read(void **state)
{
    struct fixture *f = *state;
    char got[16];
    f->input = "some input";
    f->input_len = 10;
    assert_int_equal(CALL(f, read, 0, BUFFER + PAGE_BYTES - 2, 4), 4);
    get(f, BUFFER + PAGE_BYTES - 2, got, 4);
    assert_memory_equal(got, "some", 4);
    assert_int_equal(f->sandbox.stats.bytes_in, 4);
    assert_int_equal(CALL(f, read, 0, BUFFER, 0), 0);
    assert_int_equal(CALL(f, read, 1, BUFFER, 1), -EBADF);
    assert_int_equal(CALL(f, read, 5, BUFFER, 1), -EBADF);
    assert_int_equal(CALL(f, read, 0, NOWHERE, 1), -EFAULT);
    assert_int_equal(CALL(f, read, 0, READ_ONLY, 1), -EFAULT);
    assert_int_equal(f->input_len, 6); /* a refused read takes nothing */
    /* Into the last writable bytes before a read-only page. */
    assert_int_equal(CALL(f, read, 0, READ_ONLY - 3, 6), 3);
    f->read_says = -EIO;
    assert_int_equal(CALL(f, read, 0, BUFFER, 6), -EIO);
    f->read_says = 7;
    assert_int_equal(CALL(f, read, 0, BUFFER, 6), -EIO);
    f->read_says = 0;
    assert_int_equal(CALL(f, read, 0, BUFFER, UINT64_MAX), 3);
    assert_int_equal(CALL(f, read, 0, BUFFER, 6), 0);
    /* The end is the end. */
    f->input_len = 3;
    assert_int_equal(CALL(f, read, 0, BUFFER, 6), 0);
    f->sandbox.sys.stdin_ended = false;
    f->sandbox.options.io.read = NULL;
    assert_int_equal(CALL(f, read, 0, BUFFER, 6), 0);
}

static void test_readv(void **state)
{
    struct fixture *f = *state;
    char got[8];
    f->input = "abcdefgh";
    f->input_len = 8;
    put_pair(f, BUFFER, BUFFER + 256, 3);
    put_pair(f, BUFFER + 16, BUFFER + 512, 4);
    put_pair(f, BUFFER + 32, READ_ONLY, 4);
    assert_int_equal(CALL(f, readv, 0, BUFFER, 3), 7);
    get(f, BUFFER + 256, got, 3);
    get(f, BUFFER + 512, got + 3, 4);
    assert_memory_equal(got, "abcdefg", 7);
    assert_int_equal(CALL(f, readv, 0, BUFFER + 32, 1), -EFAULT);
    assert_int_equal(CALL(f, readv, 2, BUFFER, 1), -EBADF);
    assert_int_equal(CALL(f, readv, 0, BUFFER, LINUX_IOV_MAX + 1), -EINVAL);
}

static void test_descriptors(void **state)
{
    struct fixture *f = *state;
    struct linux_stat st;
    struct linux_statx stx;
    struct linux_winsize size;
    f->sandbox.options.io.terminals = 1u << 1;
    assert_int_equal(CALL(f, fstat, 0, BUFFER), 0);
    get(f, BUFFER, &st, sizeof(st));
    assert_int_equal(st.mode & 0170000, LINUX_S_IFIFO);
    assert_int_equal(CALL(f, fstat, 1, BUFFER), 0);
    get(f, BUFFER, &st, sizeof(st));
    assert_int_equal(st.mode & 0170000, LINUX_S_IFCHR);
    assert_int_equal(CALL(f, fstat, 3, BUFFER), -EBADF);
    assert_int_equal(CALL(f, fstat, 1, NOWHERE), -EFAULT);
    put(f, BUFFER, "", 1);
    assert_int_equal(CALL(f, newfstatat, 1, BUFFER, BUFFER + 8, LINUX_AT_EMPTY_PATH), 0);
    assert_int_equal(CALL(f, newfstatat, 1, 0, BUFFER + 8, LINUX_AT_EMPTY_PATH), 0);
    assert_int_equal(CALL(f, newfstatat, 1, NOWHERE, BUFFER + 8, LINUX_AT_EMPTY_PATH), -EFAULT);
    assert_int_equal(CALL(f, statx, 1, BUFFER, LINUX_AT_EMPTY_PATH, 0, BUFFER + 8), 0);
    get(f, BUFFER + 8, &stx, sizeof(stx));
    assert_int_equal(stx.mode & 0170000, LINUX_S_IFCHR);
    assert_int_equal(CALL(f, ioctl, 0, LINUX_TCGETS, BUFFER), -ENOTTY);
    assert_int_equal(CALL(f, ioctl, 1, LINUX_TCGETS, BUFFER), 0);
    assert_int_equal(CALL(f, ioctl, 1, LINUX_TIOCGWINSZ, BUFFER), 0);
    get(f, BUFFER, &size, sizeof(size));
    assert_int_equal(size.columns, 80);
    assert_int_equal(CALL(f, ioctl, 1, 0x5402, BUFFER), -ENOTTY);
    assert_int_equal(CALL(f, ioctl, 4, LINUX_TCGETS, BUFFER), -EBADF);
    assert_int_equal(CALL(f, lseek, 0, 0, 1), -ESPIPE);
    assert_int_equal(CALL(f, pread64, 0, BUFFER, 1, 0), -ESPIPE);
    assert_int_equal(CALL(f, pwrite64, 9, BUFFER, 1, 0), -EBADF);
    assert_int_equal(CALL(f, fcntl, 0, LINUX_F_GETFL), 0);
    assert_int_equal(CALL(f, fcntl, 1, LINUX_F_GETFL), 1);
    assert_int_equal(CALL(f, fcntl, 1, LINUX_F_SETFD, 1), 0);
    assert_int_equal(CALL(f, fcntl, 1, LINUX_F_DUPFD_CLOEXEC, 0), -EMFILE);
    assert_int_equal(CALL(f, fcntl, 1, 999), -EINVAL);
    assert_int_equal(CALL(f, dup, 1), -EMFILE);
    assert_int_equal(CALL(f, close, 1), 0);
    assert_int_equal(CALL(f, close, 1), -EBADF);
    assert_int_equal(CALL(f, write, 1, BUFFER, 1), -EBADF);
    assert_int_equal(CALL(f, dup, 1), -EBADF);
    assert_int_equal(CALL(f, fcntl, 1, LINUX_F_GETFL), -EBADF);
    assert_int_equal(f->denials, 0);
}

static void test_poll_and_select(void **state)
{
    struct fixture *f = *state;
    struct linux_pollfd fds[4] = {
        {0, LINUX_POLLIN | LINUX_POLLOUT, 0},
        {1, LINUX_POLLOUT, 0},
        {7, LINUX_POLLIN, 0},
        {-1, LINUX_POLLIN, 9},
    };
    put(f, BUFFER, fds, sizeof(fds));
    assert_int_equal(CALL(f, poll, BUFFER, 4, UINT64_MAX), 3);
    get(f, BUFFER, fds, sizeof(fds));
    assert_int_equal(fds[0].revents, LINUX_POLLIN);
    assert_int_equal(fds[1].revents, LINUX_POLLOUT);
    assert_int_equal(fds[2].revents, LINUX_POLLNVAL);
    assert_int_equal(fds[3].revents, 0);
    assert_int_equal(CALL(f, poll, 0, 0, 1), 0);
    assert_int_equal(CALL(f, poll, NOWHERE, 1, 0), -EFAULT);
    assert_int_equal(CALL(f, poll, BUFFER, UINT32_MAX, 0), -EINVAL);
    assert_int_equal(OUTCOME(f, poll, 0, 0, UINT64_MAX), SYSCALL_STOP);
    assert_int_equal(f->err.code, MF_E_GUEST_ABORT);
    put_pair(f, BUFFER + 64, 0, MS);
    assert_int_equal(CALL(f, ppoll, 0, 0, BUFFER + 64, 0), 0);
    put_pair(f, BUFFER + 64, 0, 1000 * MS);
    assert_int_equal(CALL(f, ppoll, 0, 0, BUFFER + 64, 0), -EINVAL);

    put_pair(f, BUFFER, 7, 0);
    put_pair(f, BUFFER + 16, 6, 0);
    assert_int_equal(CALL(f, select, 3, BUFFER, BUFFER + 16, 0, 0), 3);
    assert_int_equal(get_u64(f, BUFFER), 1);
    assert_int_equal(get_u64(f, BUFFER + 16), 6);
    put_pair(f, BUFFER, 8, 0);
    assert_int_equal(CALL(f, select, 4, BUFFER, 0, 0, 0), -EBADF);
    assert_int_equal(CALL(f, select, 3, BUFFER, NOWHERE, 0, 0), -EFAULT);
    assert_int_equal(CALL(f, select, UINT64_MAX, 0, 0, 0, 0), -EINVAL);
    put_pair(f, BUFFER + 32, 0, 1000);
    assert_int_equal(CALL(f, select, 0, 0, 0, 0, BUFFER + 32), 0);
    assert_int_equal(CALL(f, pselect6, 1024, 0, 0, 0, BUFFER + 32, 0), 0);
    assert_int_equal(OUTCOME(f, select, 0, 0, 0, 0, 0), SYSCALL_STOP);
}

static void test_memory(void **state)
{
    struct fixture *f = *state;
    unsigned anon = LINUX_MAP_PRIVATE | LINUX_MAP_ANONYMOUS;
    int64_t at = CALL(f, mmap, 0, 10000, 3, anon, UINT64_MAX, 0);
    assert_true(at > 0);
    put(f, (mf_gva)at, "kept", 5);
    assert_int_equal(CALL(f, mprotect, (uint64_t)at, 4096, 1), 0);
    assert_false(guestmem_write(&f->sandbox.mem, (mf_gva)at, "x", 1));
    int64_t moved = CALL(f, mremap, (uint64_t)at, 4096, 65536, LINUX_MREMAP_MAYMOVE, 0);
    assert_true(moved > 0 && moved != at);
    char text[5];
    get(f, (mf_gva)moved, text, 5);
    assert_string_equal(text, "kept");
    assert_int_equal(CALL(f, madvise, (uint64_t)moved, 4096, LINUX_MADV_DONTNEED), 0);
    assert_int_equal(get_u64(f, (mf_gva)moved), 0);
    assert_int_equal(CALL(f, munmap, (uint64_t)moved, 65536), 0);
    assert_int_equal(guestmem_reach(&f->sandbox.mem, (mf_gva)moved, 1, false), 0);
    assert_int_equal(CALL(f, mmap, 0, 4096, 3, LINUX_MAP_PRIVATE, 3, 0), -EBADF);
    assert_int_equal(CALL(f, mmap, 0, 4096, 3, LINUX_MAP_PRIVATE, 0, 0), -ENODEV);
    assert_int_equal(CALL(f, mmap, 0, 4096, 3, anon, UINT64_MAX, 1), -EINVAL);
    uint64_t brk = (uint64_t)CALL(f, brk, 0);
    assert_int_equal(CALL(f, brk, brk + 5000), brk + 5000);
    put(f, brk, "heap", 5);
    /* More than there is: refused, and what was there is still there. */
    uint64_t before = mem_pages_used(&f->sandbox.mem);
    assert_int_equal(CALL(f, brk, brk + MEMORY), brk + 5000);
    assert_int_equal(CALL(f, mmap, 0, MEMORY, 3, anon, UINT64_MAX, 0), -ENOMEM);
    /* Tables that were added for a mapping stay. */
    assert_true(mem_pages_used(&f->sandbox.mem) <= before + 4);
    get(f, brk, text, 5);
    assert_string_equal(text, "heap");
}

static void test_clocks(void **state)
{
    struct fixture *f = *state;
    f->sandbox.stats.guest_time_ns = 3 * UINT64_C(1000000000) + 250;
    assert_int_equal(CALL(f, clock_gettime, LINUX_CLOCK_MONOTONIC, BUFFER), 0);
    assert_true(get_u64(f, BUFFER) < 3600); /* it began with the sandbox */
    assert_int_equal(CALL(f, clock_gettime, LINUX_CLOCK_REALTIME, BUFFER), 0);
    assert_true(get_u64(f, BUFFER) > 1700000000);
    assert_true(get_u64(f, BUFFER + 8) < 1000 * MS);
    assert_int_equal(CALL(f, clock_gettime, LINUX_CLOCK_PROCESS_CPUTIME, BUFFER), 0);
    assert_int_equal(get_u64(f, BUFFER), 3);
    assert_int_equal(get_u64(f, BUFFER + 8), 250);
    assert_int_equal(CALL(f, clock_gettime, 99, BUFFER), -EINVAL);
    assert_int_equal(CALL(f, clock_gettime, UINT64_MAX, BUFFER), -EINVAL);
    assert_int_equal(CALL(f, clock_gettime, 0, READ_ONLY), -EFAULT);
    assert_int_equal(CALL(f, clock_getres, 1, 0), 0);
    assert_int_equal(CALL(f, clock_getres, 1, BUFFER), 0);
    assert_int_equal(get_u64(f, BUFFER + 8), 1);
    assert_int_equal(CALL(f, gettimeofday, BUFFER, BUFFER + 16), 0);
    assert_true(get_u64(f, BUFFER + 8) < 1000000);
    assert_int_equal(CALL(f, gettimeofday, 0, 0), 0);
    int64_t now = CALL(f, time, BUFFER);
    assert_int_equal(get_u64(f, BUFFER), now);
    assert_int_equal(CALL(f, time, NOWHERE), -EFAULT);
    assert_true(CALL(f, times, BUFFER) >= 0);
    assert_int_equal(get_u64(f, BUFFER), 300);
    assert_int_equal(CALL(f, getrusage, 0, BUFFER), 0);
    assert_int_equal(get_u64(f, BUFFER), 3);
    assert_int_equal(CALL(f, getrusage, 5, BUFFER), -EINVAL);
}

static void test_sleep(void **state)
{
    struct fixture *f = *state;
    put_pair(f, BUFFER, 0, 3 * MS);
    uint64_t begin = limits_now();
    assert_int_equal(CALL(f, nanosleep, BUFFER, 0), 0);
    assert_true(limits_now() - begin >= 3 * MS);
    begin = limits_now();
    assert_int_equal(CALL(f, clock_nanosleep, LINUX_CLOCK_REALTIME, 0, BUFFER, 0), 0);
    assert_true(limits_now() - begin >= 3 * MS);
    /* A point in time that is past. */
    assert_int_equal(CALL(f, clock_nanosleep, LINUX_CLOCK_MONOTONIC, LINUX_TIMER_ABSTIME, BUFFER),
                     0);
    assert_int_equal(CALL(f, clock_nanosleep, LINUX_CLOCK_MONOTONIC_RAW, 0, BUFFER), -EOPNOTSUPP);
    assert_int_equal(CALL(f, clock_nanosleep, 99, 0, BUFFER), -EINVAL);
    assert_int_equal(CALL(f, nanosleep, NOWHERE, 0), -EFAULT);
    put_pair(f, BUFFER, 0, 1000 * MS);
    assert_int_equal(CALL(f, nanosleep, BUFFER, 0), -EINVAL);
    put_pair(f, BUFFER, UINT64_MAX, 0);
    assert_int_equal(CALL(f, nanosleep, BUFFER, 0), -EINVAL);
    /* The longest sleep ends when the sandbox must stop; the call is made again if it goes on. */
    limits_stop(&f->sandbox.limits, STOP_INTERRUPT);
    put_pair(f, BUFFER, INT64_MAX, 0);
    uint64_t rip = f->sandbox.vm->regs->rip;
    assert_int_equal(CALL(f, nanosleep, BUFFER, 0), NR(nanosleep));
    assert_true(f->sandbox.vm->regs->rip == rip - 2);
    assert_int_equal(CALL(f, poll, 0, 0, 10000), NR(poll));
    assert_true(f->sandbox.vm->regs->rip == rip - 2);
}

static void test_futex(void **state)
{
    struct fixture *f = *state;
    put_pair(f, BUFFER, 42, 0);
    put_pair(f, BUFFER + 16, 0, MS);
    uint32_t private = 128;
    assert_int_equal(CALL(f, futex, BUFFER, LINUX_FUTEX_WAKE | private, 1), 0);
    assert_int_equal(CALL(f, futex, BUFFER, LINUX_FUTEX_WAIT | private, 41, 0), -EAGAIN);
    assert_int_equal(CALL(f, futex, BUFFER, LINUX_FUTEX_WAIT, 42, BUFFER + 16), -ETIMEDOUT);
    assert_int_equal(CALL(f, futex, BUFFER, LINUX_FUTEX_WAIT_BITSET, 42, BUFFER + 16, 0, 1),
                     -ETIMEDOUT);
    assert_int_equal(CALL(f, futex, BUFFER, LINUX_FUTEX_WAIT_BITSET, 42, 0, 0, 0), -EINVAL);
    assert_int_equal(CALL(f, futex, BUFFER + 1, LINUX_FUTEX_WAIT, 42, 0), -EINVAL);
    assert_int_equal(CALL(f, futex, NOWHERE, LINUX_FUTEX_WAIT, 42, 0), -EFAULT);
    assert_int_equal(CALL(f, futex, BUFFER, LINUX_FUTEX_WAIT, 42, NOWHERE), -EFAULT);
    assert_int_equal(CALL(f, futex, BUFFER, LINUX_FUTEX_CMP_REQUEUE, 1, 1, BUFFER, 42), 0);
    assert_int_equal(CALL(f, futex, BUFFER, LINUX_FUTEX_CMP_REQUEUE, 1, 1, BUFFER, 1), -EAGAIN);
    assert_int_equal(CALL(f, futex, BUFFER, 6, 0), -ENOSYS);
    assert_int_equal(OUTCOME(f, futex, BUFFER, LINUX_FUTEX_WAIT, 42, 0), SYSCALL_STOP);
    assert_int_equal(f->err.code, MF_E_GUEST_ABORT);
    assert_non_null(strstr(f->err.message, "futex"));
    assert_int_equal(OUTCOME(f, pause, 0), SYSCALL_STOP);
}

static void test_identity(void **state)
{
    struct fixture *f = *state;
    struct linux_utsname name;
    assert_int_equal(CALL(f, getpid, 0), 1);
    assert_int_equal(CALL(f, gettid, 0), 1);
    assert_int_equal(CALL(f, set_tid_address, BUFFER), 1);
    assert_int_equal(CALL(f, getuid, 0), CALL(f, geteuid, 0));
    assert_int_equal(CALL(f, uname, BUFFER), 0);
    get(f, BUFFER, &name, sizeof(name));
    assert_string_equal(name.sysname, "Linux");
    assert_string_equal(name.machine, "x86_64");
    assert_int_equal(CALL(f, uname, READ_ONLY), -EFAULT);
    assert_int_equal(CALL(f, getcwd, BUFFER, 1), -ERANGE);
    assert_int_equal(CALL(f, getcwd, BUFFER, 2), 2);
    assert_int_equal(CALL(f, sched_getaffinity, 0, 128, BUFFER), 8);
    assert_int_equal(get_u64(f, BUFFER), 1);
    assert_int_equal(CALL(f, sched_getaffinity, 0, 7, BUFFER), -EINVAL);
    assert_int_equal(CALL(f, sched_getaffinity, 2, 8, BUFFER), -ESRCH);
    assert_int_equal(CALL(f, getcpu, BUFFER, 0, 0), 0);
    assert_int_equal(CALL(f, sysinfo, BUFFER), 0);
    assert_int_equal(get_u64(f, BUFFER + 32), MEMORY);
    assert_int_equal(CALL(f, set_robust_list, BUFFER, 24), 0);
    assert_int_equal(CALL(f, set_robust_list, BUFFER, 8), -EINVAL);
}

static void test_getrandom(void **state)
{
    struct fixture *f = *state;
    uint8_t zero[256] = {0}, got[256];
    assert_int_equal(CALL(f, getrandom, BUFFER, 256, 0), 256);
    get(f, BUFFER, got, sizeof(got));
    assert_memory_not_equal(got, zero, sizeof(got));
    assert_int_equal(CALL(f, getrandom, BUFFER, BUFFER_BYTES, LINUX_GRND_NONBLOCK), BUFFER_BYTES);
    assert_int_equal(CALL(f, getrandom, BUFFER, 0, 0), 0);
    assert_int_equal(CALL(f, getrandom, BUFFER, 8, 8), -EINVAL);
    assert_int_equal(CALL(f, getrandom, BUFFER, 8, LINUX_GRND_RANDOM | LINUX_GRND_INSECURE),
                     -EINVAL);
    assert_int_equal(CALL(f, getrandom, READ_ONLY, 8, 0), -EFAULT);
}

static void test_limits(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(CALL(f, prlimit64, 0, LINUX_RLIMIT_STACK, 0, BUFFER), 0);
    assert_int_equal(get_u64(f, BUFFER), UINT64_C(1) << 20);
    assert_int_equal(CALL(f, prlimit64, 0, LINUX_RLIMIT_STACK, BUFFER, 0), 0); /* as it is */
    put_pair(f, BUFFER, 5, 5);
    assert_int_equal(CALL(f, prlimit64, 1, LINUX_RLIMIT_STACK, BUFFER, 0), -EPERM);
    assert_int_equal(CALL(f, setrlimit, LINUX_RLIMIT_STACK, BUFFER), -EPERM);
    put_pair(f, BUFFER, 6, 5);
    assert_int_equal(CALL(f, setrlimit, LINUX_RLIMIT_STACK, BUFFER), -EINVAL);
    assert_int_equal(CALL(f, setrlimit, LINUX_RLIMIT_STACK, NOWHERE), -EFAULT);
    assert_int_equal(CALL(f, getrlimit, 0, BUFFER), 0);
    assert_true(get_u64(f, BUFFER) == UINT64_MAX);
    assert_int_equal(CALL(f, getrlimit, LINUX_RLIMITS, BUFFER), -EINVAL);
    assert_int_equal(CALL(f, prlimit64, 77, 0, 0, BUFFER), -ESRCH);
}

static void test_segment_bases(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(CALL(f, arch_prctl, LINUX_ARCH_SET_FS, BUFFER), 0);
    assert_int_equal(CALL(f, arch_prctl, LINUX_ARCH_SET_GS, MF_ABI_GVA_END - 1), 0);
    assert_int_equal(f->base[0], BUFFER);
    assert_int_equal(CALL(f, arch_prctl, LINUX_ARCH_GET_GS, BUFFER), 0);
    assert_int_equal(get_u64(f, BUFFER), MF_ABI_GVA_END - 1);
    assert_int_equal(CALL(f, arch_prctl, LINUX_ARCH_GET_FS, NOWHERE), -EFAULT);
    assert_int_equal(CALL(f, arch_prctl, LINUX_ARCH_SET_FS, MF_ABI_GVA_END), -EPERM);
    assert_int_equal(CALL(f, arch_prctl, LINUX_ARCH_SET_FS, UINT64_MAX), -EPERM);
    assert_int_equal(CALL(f, arch_prctl, LINUX_ARCH_SET_FS, UINT64_C(1) << 47), -EPERM);
    assert_int_equal(CALL(f, arch_prctl, 0x3001, BUFFER), -EINVAL);
    assert_int_equal(f->base[0], BUFFER);
}

static void test_signals(void **state)
{
    struct fixture *f = *state;
    uint64_t action[4] = {LINUX_SIG_IGN, 0x04000000, 77, 1}, old[4];
    put(f, BUFFER, action, sizeof(action));
    assert_int_equal(CALL(f, rt_sigaction, 10, BUFFER, 0, 8), 0);
    assert_int_equal(CALL(f, rt_sigaction, 10, 0, BUFFER + 64, 8), 0);
    get(f, BUFFER + 64, old, sizeof(old));
    assert_memory_equal(old, action, sizeof(old));
    assert_int_equal(CALL(f, rt_sigaction, 0, BUFFER, 0, 8), -EINVAL);
    assert_int_equal(CALL(f, rt_sigaction, 65, BUFFER, 0, 8), -EINVAL);
    assert_int_equal(CALL(f, rt_sigaction, LINUX_SIGKILL, BUFFER, 0, 8), -EINVAL);
    assert_int_equal(CALL(f, rt_sigaction, 10, BUFFER, 0, 16), -EINVAL);
    assert_int_equal(CALL(f, rt_sigaction, 10, NOWHERE, 0, 8), -EFAULT);
    assert_int_equal(CALL(f, kill, 1, 10), 0); /* ignored */
    assert_int_equal(CALL(f, kill, 1, LINUX_SIGCHLD), 0);
    assert_int_equal(CALL(f, kill, 1, 0), 0);
    assert_int_equal(CALL(f, kill, 2, 6), -ESRCH);
    assert_int_equal(CALL(f, kill, 1, 65), -EINVAL);
    assert_int_equal(CALL(f, tkill, 0, 6), -EINVAL);
    assert_int_equal(CALL(f, tgkill, 1, 5, 6), -ESRCH);
    /* A blocked signal waits until it is not blocked any more. */
    put_pair(f, BUFFER, UINT64_MAX, 0);
    assert_int_equal(CALL(f, rt_sigprocmask, LINUX_SIG_SETMASK, BUFFER, BUFFER + 8, 8), 0);
    assert_int_equal(get_u64(f, BUFFER + 8), 0);
    assert_int_equal(CALL(f, tkill, 1, 6), 0);
    assert_int_equal(CALL(f, rt_sigpending, BUFFER, 8), 0);
    assert_int_equal(get_u64(f, BUFFER), 1 << 5);
    assert_int_equal(OUTCOME(f, tkill, 1, LINUX_SIGKILL), SYSCALL_ABORT);
    put_pair(f, BUFFER, 1 << 5, 0);
    assert_int_equal(CALL(f, rt_sigprocmask, 9, BUFFER, 0, 8), -EINVAL);
    assert_int_equal(OUTCOME(f, rt_sigprocmask, LINUX_SIG_UNBLOCK, BUFFER, 0, 8), SYSCALL_ABORT);
    assert_int_equal(f->status, 6);
    assert_int_equal(OUTCOME(f, tgkill, 1, 1, 6), SYSCALL_ABORT);
    assert_int_equal(f->status, 6);
    put_pair(f, BUFFER, BUFFER + 4096, 0);
    put_pair(f, BUFFER + 16, 8192, 0);
    assert_int_equal(CALL(f, sigaltstack, BUFFER, 0), 0);
    assert_int_equal(CALL(f, sigaltstack, 0, BUFFER + 64), 0);
    assert_int_equal(get_u64(f, BUFFER + 64), BUFFER + 4096);
    assert_int_equal(get_u64(f, BUFFER + 80), 8192);
    put_pair(f, BUFFER + 16, 100, 0);
    assert_int_equal(CALL(f, sigaltstack, BUFFER, 0), -ENOMEM);
    put_pair(f, BUFFER, 0, 64);
    assert_int_equal(CALL(f, sigaltstack, BUFFER, 0), -EINVAL);
}

static void test_exit(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(OUTCOME(f, exit_group, 3), SYSCALL_EXIT);
    assert_int_equal(f->status, 3);
    assert_int_equal(OUTCOME(f, exit, UINT64_MAX), SYSCALL_EXIT);
    assert_int_equal(f->status, 255);
}

static uint64_t random_state = UINT64_C(0x2545f4914f6cdd1d);

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static uint64_t random_argument(void)
{
    switch (next_random() % 5) {
    case 0:
        return next_random() % 8;
    case 1:
        return BUFFER + next_random() % (BUFFER_BYTES + 3 * PAGE_BYTES);
    case 2:
        return round_down_u64(BUFFER + next_random() % (BUFFER_BYTES * 2), PAGE_BYTES);
    case 3:
        return UINT64_C(0) - next_random() % 5000;
    default:
        return next_random() >> next_random() % 64;
    }
}

static void random_call(struct fixture *f, uint64_t number)
{
    uint64_t arg[6], words[8];
    for (size_t i = 0; i < ARRAY_LEN(arg); i++)
        arg[i] = random_argument();
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        words[i] = random_argument();
    /* The guest may have unmapped it. */
    guestmem_write(&f->sandbox.mem, BUFFER + next_random() % BUFFER_BYTES, words, sizeof(words));
    f->input = "random input";
    f->input_len = 12;
    f->out_len[1] = f->out_len[2] = 0;
    f->sandbox.sys.closed[number % 3] = false;
    enum syscall_outcome outcome = answer(f, number, arg);
    assert_true(outcome <= SYSCALL_STOP);
    if (outcome == SYSCALL_STOP)
        assert_int_not_equal(f->err.code, MF_OK);
    if (!syscall_name((long)number))
        assert_int_equal(f->regs.rax, -ENOSYS);
}

/* Any number with any arguments: an answer, and never a wait. */
static void test_random_calls(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        void *fresh;
        setup(&fresh);
        struct fixture *f = fresh;
        /* Sleeps must end at once. */
        limits_stop(&f->sandbox.limits, STOP_INTERRUPT);
        for (unsigned i = 0; i <= 600; i++)
            random_call(f, round % 2 ? i : next_random() % 64);
        assert_true(mem_pages_used(&f->sandbox.mem) <= MEMORY / PAGE_BYTES);
        teardown(&fresh);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test_setup_teardown(test_denied, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_when_the_embedder_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_output_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writev, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_readv, setup, teardown),
        cmocka_unit_test_setup_teardown(test_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_poll_and_select, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clocks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sleep, setup, teardown),
        cmocka_unit_test_setup_teardown(test_futex, setup, teardown),
        cmocka_unit_test_setup_teardown(test_identity, setup, teardown),
        cmocka_unit_test_setup_teardown(test_getrandom, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_segment_bases, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exit, setup, teardown),
        cmocka_unit_test(test_random_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
