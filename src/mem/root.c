/* Roots of guest memory; see root.h. */
#include "mem/root.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/fd.h"
#include "mem/shared.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

static uint64_t end_of_runs(const struct mem_run *runs, size_t nruns)
{
    uint64_t end = 0;
    for (size_t i = 0; i < nruns; i++)
        end = MAX(end, runs[i].offset + runs[i].bytes);
    return end;
}

int mem_root_create(int fd, struct mem_run *runs, size_t nruns, bool may_vanish,
                    struct mem_root **out, struct mf_error *err)
{
    struct mem_root *root = calloc(1, sizeof *root);
    if (!root) {
        close(fd);
        free(runs);
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate the base of a snapshot");
    }
    *root = (struct mem_root){
        .references = 1,
        .fd = fd,
        .runs = runs,
        .nruns = nruns,
        .map_bytes = end_of_runs(runs, nruns),
        .may_vanish = may_vanish,
    };
    if (root->map_bytes > 0 && !may_vanish) {
        /* Private, because kernels before 6.7 share no file that is sealed against writing. */
        void *map = mmap(NULL, root->map_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            int rc = error_set_errno(err, MF_E_SYSTEM, errno, "cannot map the base of a snapshot");
            mem_root_close(root);
            return rc;
        }
        root->map = map;
    }
    *out = root;
    return 0;
}

struct mem_root *mem_root_hold(struct mem_root *root)
{
    if (root)
        atomic_fetch_add_explicit(&root->references, 1, memory_order_relaxed);
    return root;
}

void mem_root_close(struct mem_root *root)
{
    if (!root || atomic_fetch_sub_explicit(&root->references, 1, memory_order_acq_rel) != 1)
        return;
    if (root->map)
        munmap((void *)root->map, root->map_bytes);
    if (root->fd >= 0)
        close(root->fd);
    free(root->runs);
    free(root);
}

const struct mem_run *mem_root_find(const struct mem_root *root, uint32_t page)
{
    mf_gpa gpa = (mf_gpa)page << PAGE_SHIFT;
    size_t low = 0, high = root->nruns;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (root->runs[middle].gpa + root->runs[middle].bytes > gpa)
            high = middle;
        else
            low = middle + 1;
    }
    if (low == root->nruns || root->runs[low].gpa > gpa)
        return NULL;
    return &root->runs[low];
}

bool mem_root_read(const struct mem_root *root, uint32_t page, uint8_t *dst)
{
    const struct mem_run *run = mem_root_find(root, page);
    if (!run) {
        memset(dst, 0, PAGE_BYTES);
        return true;
    }
    uint64_t offset = run->offset + (((mf_gpa)page << PAGE_SHIFT) - run->gpa);
    if (root->may_vanish)
        return fd_read(root->fd, dst, PAGE_BYTES, offset) == 0;
    memcpy(dst, root->map + offset, PAGE_BYTES);
    return true;
}

bool mem_page_read(const struct mem *mem, uint32_t page, uint8_t *dst)
{
    struct iovec here = {dst, PAGE_BYTES};
    struct iovec there = {mem_at(mem, (mf_gpa)page << PAGE_SHIFT), PAGE_BYTES};
    if (mem_may_vanish(mem)) /* the kernel reports what is gone */
        return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == (ssize_t)PAGE_BYTES;
    memcpy(dst, there.iov_base, PAGE_BYTES);
    return true;
}

bool mem_page_write(struct mem *mem, uint32_t page, const uint8_t *src)
{
    struct iovec here = {(void *)(uintptr_t)src, PAGE_BYTES};
    struct iovec there = {mem_at(mem, (mf_gpa)page << PAGE_SHIFT), PAGE_BYTES};
    if (mem_may_vanish(mem))
        return process_vm_writev(getpid(), &here, 1, &there, 1, 0) == (ssize_t)PAGE_BYTES;
    memcpy(there.iov_base, src, PAGE_BYTES);
    return true;
}

void mem_root_clear(struct mem *mem, mf_gpa gpa, uint64_t bytes)
{
    for (mf_gpa at = gpa; mem->root && at < gpa + bytes; at += PAGE_BYTES) {
        if (!mem_root_find(mem->root, (uint32_t)(at >> PAGE_SHIFT)))
            continue;
        /* A page of a file that is gone cannot be written to, but it can be replaced. */
        if (!mem_may_vanish(mem) ||
            mmap(mem_at(mem, at), PAGE_BYTES, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            memset(mem_at(mem, at), 0, PAGE_BYTES);
    }
}

/* Shows one run in guest memory: as a private mapping of the file, or as a copy. */
static int show_run(struct mem *mem, const struct mem_root *root, const struct mem_run *run,
                    bool copy, struct mf_error *err)
{
    uint8_t *at = mem->base + run->gpa;
    if (copy) {
        if (fd_read(root->fd, at, run->bytes, run->offset) == 0)
            return 0;
        return error_set(err, MF_E_SNAPSHOT,
                         "the snapshot file has got shorter since it was opened");
    }
    void *map = mmap(at, run->bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, root->fd, (off_t)run->offset);
    if (map == MAP_FAILED)
        return error_set_errno(err, errno == ENOMEM ? MF_E_NO_MEMORY : MF_E_SYSTEM, errno,
                               "cannot map the base of a snapshot");
    return 0;
}

/* Makes all of it zeros. */
static int renew(struct mem *mem, struct mf_error *err)
{
    if (mem->kind == MEM_SHARED) {
        mem_discard(mem, 0, mem->bytes);
        return 0;
    }
    if (mmap(mem->base, mem->bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        return error_set_errno(err, MF_E_NO_MEMORY, errno, "cannot renew guest memory");
    return 0;
}

int mem_rebase(struct mem *mem, struct mem_root *root, bool copy, struct mf_error *err)
{
    int rc = renew(mem, err);
    if (rc != 0)
        return rc;
    mem_root_hold(root);
    mem_root_close(mem->root);
    mem->root = root;
    /* Files can be mapped by whole pages of the host only, and shared memory is one already. */
    bool copies = root && ((copy && root->may_vanish) || mem->kind != MEM_PRIVATE ||
                           (uint64_t)sysconf(_SC_PAGESIZE) != PAGE_BYTES);
    for (size_t i = 0; root && i < root->nruns; i++) {
        rc = show_run(mem, root, &root->runs[i], copies, err);
        if (rc != 0)
            return rc;
    }
    madvise(mem->base, mem->bytes, MADV_DONTFORK);
    if (copies) {
        mem->root = NULL;
        mem_root_close(root);
    }
    return 0;
}
