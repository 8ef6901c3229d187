/*
 * The guest of tests/integration/test_map.c: touches memory at addresses that the
 * host names, by itself and through system calls.
 */
#define _GNU_SOURCE
#include <mayfly/guest.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

MF_IMPORT(host_hook, "u64 hook()");

static volatile unsigned char *at(uint64_t address)
{
    return (volatile unsigned char *)address;
}

static struct mf_value sum(const struct mf_value *arg)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < arg[1].u64; i++)
        total += at(arg[0].u64)[i];
    return mf_u64(total);
}
MF_EXPORT(sum, "u64 sum(u64 address, u64 len)");

static struct mf_value fill(const struct mf_value *arg)
{
    memset((void *)arg[0].u64, (int)arg[2].u32, arg[1].u64);
    return mf_void();
}
MF_EXPORT(fill, "void fill(u64 address, u64 len, u32 byte)");

static struct mf_value peek(const struct mf_value *arg)
{
    return mf_u64(*at(arg[0].u64));
}
MF_EXPORT(peek, "u64 peek(u64 address)");

/* Asks the host for an address, and looks there. */
static struct mf_value peek_hook(const struct mf_value *arg)
{
    (void)arg;
    struct mf_value address = mf_call(host_hook);
    return address.failed ? address : mf_u64(*at(address.u64));
}
MF_EXPORT(peek_hook, "u64 peek_hook()");

/* The number of bytes written to the standard output, or -errno. */
static struct mf_value print(const struct mf_value *arg)
{
    ssize_t n = write(1, (const void *)arg[0].u64, arg[1].u64);
    return mf_i64(n < 0 ? -errno : n);
}
MF_EXPORT(print, "i64 print(u64 address, u64 len)");

/* What the host puts there: 0, or -errno. */
static struct mf_value entropy(const struct mf_value *arg)
{
    return mf_i64(getentropy((void *)arg[0].u64, 16) < 0 ? -errno : 0);
}
MF_EXPORT(entropy, "i64 entropy(u64 address)");

/* Tries to change a page of the host's memory: 0, or -errno. */
static struct mf_value change(const struct mf_value *arg)
{
    void *page = (void *)arg[0].u64;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    long rc = 0;
    switch (arg[1].u32) {
    case 0:
        rc = munmap(page, 4096);
        break;
    case 1:
        rc = mprotect(page, 4096, PROT_READ | PROT_WRITE);
        break;
    case 2:
        rc = madvise(page, 4096, MADV_DONTNEED);
        break;
    case 3:
        rc = mremap(page, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0;
        break;
    case 4:
        rc = mmap(page, 4096, PROT_READ, flags, -1, 0) == MAP_FAILED ? -1 : 0;
        break;
    }
    return mf_i64(rc < 0 ? -errno : 0);
}
MF_EXPORT(change, "i64 change(u64 address, u32 how)");
