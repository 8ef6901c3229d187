/* Guest memory in a file; see shared.h. */
#include "mem/shared.h"

#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <string.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Without these the file could get shorter, and touching it could end the process. */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)
/* And with one of these it could not be mapped for writing, or not be punched. */
#define SEALS_AGAINST (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)

#define SYSTEM_BYTES LAYOUT_GPA(FREE)

/* Shows the first `bytes` of the file. */
static int show(struct mem *mem, int fd, uint64_t bytes, int prot, int how, struct mf_error *err)
{
    if (mmap(mem->base, bytes, prot, how | MAP_FIXED | MAP_NORESERVE, fd, 0) == MAP_FAILED)
        return error_set_errno(err, errno == ENOMEM ? MF_E_NO_MEMORY : MF_E_SYSTEM, errno,
                               "cannot map %llu bytes of guest memory", (unsigned long long)bytes);
    madvise(mem->base, bytes, MADV_DONTFORK);
    return 0;
}

static int make_file(uint64_t bytes, struct mf_error *err)
{
    int fd = memfd_create("mayfly-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return error_set_errno(err, MF_E_SYSTEM, errno, "cannot make a file for guest memory");
    if (ftruncate(fd, (off_t)bytes) == 0 && fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) == 0)
        return fd;
    int rc = error_set_errno(err, MF_E_SYSTEM, errno, "cannot make a file of %llu bytes for guest "
                             "memory", (unsigned long long)bytes);
    close(fd);
    return rc;
}

int mem_share(struct mem *mem, struct mf_error *err)
{
    int fd = make_file(mem->bytes, err);
    if (fd < 0)
        return fd;
    int rc = show(mem, fd, mem->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, err);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    mem->kind = MEM_SHARED;
    mem->fd = fd;
    return 0;
}

static int check_file(const struct mem *mem, int fd, struct mf_error *err)
{
    struct statfs system;
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    /* Of a file on huge pages no single page could be given back. */
    if (seals < 0 || fstatfs(fd, &system) != 0 || system.f_type != TMPFS_MAGIC)
        return error_set(err, MF_E_ARGUMENT, "the descriptor is not one of guest memory");
    if ((seals & SEALS) != SEALS || (seals & SEALS_AGAINST) != 0)
        return error_set(err, MF_E_ARGUMENT, "guest memory of a descriptor that is sealed wrongly");
    if (fstat(fd, &st) != 0 || (uint64_t)st.st_size != mem->bytes)
        return error_set(err, MF_E_ARGUMENT,
                         "guest memory of a descriptor has %lld bytes, not %llu",
                         (long long)st.st_size, (unsigned long long)mem->bytes);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) != O_RDWR)
        return error_set(err, MF_E_ARGUMENT, "guest memory of a descriptor that is read-only");
    return 0;
}

static void close_file(struct mem *mem)
{
    if (mem->kind != MEM_PRIVATE)
        close(mem->fd);
    mem->kind = MEM_PRIVATE;
    mem->fd = -1;
}

int mem_borrow(struct mem *mem, int fd, struct mf_error *err)
{
    int rc = check_file(mem, fd, err);
    if (rc == 0)
        rc = show(mem, fd, mem->bytes, PROT_READ, MAP_SHARED, err);
    if (rc == 0)
        rc = show(mem, fd, SYSTEM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, err);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    close_file(mem);
    mem->kind = MEM_BORROWED;
    mem->fd = fd;
    return 0;
}

int mem_own(struct mem *mem, struct mf_error *err)
{
    uint8_t page[PAGE_BYTES];
    int failed = 0;
    for (uint64_t at = 0; failed == 0 && at < SYSTEM_BYTES; at += PAGE_BYTES) {
        memcpy(page, mem->base + at, PAGE_BYTES);
        failed = fd_write(mem->fd, page, PAGE_BYTES, at);
    }
    if (failed == 0 && mprotect(mem->base, mem->bytes, PROT_READ | PROT_WRITE) != 0)
        failed = errno;
    if (failed != 0)
        return error_set_errno(err, MF_E_SYSTEM, failed, "cannot take over guest memory");
    int rc = show(mem, mem->fd, SYSTEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, err);
    if (rc == 0)
        mem->kind = MEM_SHARED;
    return rc;
}

void mem_leave(struct mem *mem)
{
    /* What cannot be replaced is not to be touched at all. */
    if (mmap(mem->base, mem->bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        mprotect(mem->base, mem->bytes, PROT_NONE);
    else
        madvise(mem->base, mem->bytes, MADV_DONTFORK);
    close_file(mem);
}

bool mem_shared_clear(struct mem *mem, mf_gpa gpa, uint64_t bytes)
{
    return fallocate(mem->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)gpa,
                     (off_t)bytes) == 0;
}

uint64_t mem_shared_next(const struct mem *mem, uint64_t page)
{
    if (page >= mem->end)
        return mem->end;
    off_t at = lseek(mem->fd, (off_t)(page << PAGE_SHIFT), SEEK_DATA);
    if (at < 0) /* ENXIO: holes to the end. Anything else: nothing is known, so look at it. */
        return errno == ENXIO ? mem->end : page;
    return (uint64_t)at >> PAGE_SHIFT;
}
