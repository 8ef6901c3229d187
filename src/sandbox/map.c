/*
 * Memory of the host in the guest: what the caller maps (mf_sandbox_map and
 * mf_sandbox_map_file), and large arguments for the time of a call (map_place).
 *
 * A mapping has a range of guest addresses and up to three windows (mem.h) side by
 * side in it. The guest sees whole pages, so of a placed argument only the pages
 * that it fills are the caller's own; the pages at its ends, which hold other
 * bytes of the host too, are copies with zeros around.
 *
 * Files. On kvm the guest gets the file's pages themselves: when one is gone, the
 * kernel ends KVM_RUN with an error (fault.c), and the copies of guestmem.c fail. The
 * emulator touches guest memory with the host's own instructions and would
 * die by SIGBUS, so there the guest gets a copy, unless the file cannot shrink (a
 * sealed memfd); what the guest changed in the copy is found by comparing it with a
 * second one, and written to the file.
 */
#include "sandbox/map.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/fd.h"
#include "mem/pagetable.h"
#include "sandbox/attend.h"
#include "sandbox/sandbox.h"

#include <mayfly/map.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The ends and the middle of an argument. */
#define PARTS_MAX 3

/* Up to here an argument is copied as a whole, which costs less than a window more. */
#define COPY_MAX (UINT64_C(64) << 10)

/* One window of a mapping. */
struct part {
    struct mem_window *window;
    mf_gva gva;
};

/* Private memory of the library: a file's pages, or copies. */
struct region {
    uint8_t *base; /* NULL: none */
    uint64_t bytes;
};

struct mapping {
    struct mapping *next;
    unsigned level; /* of those that map_place made (map.h); 0: the others */
    /* The caller's memory that mf_sandbox_map shows; NULL for the others. */
    const uint8_t *data;
    mf_gva gva;
    uint64_t bytes; /* of guest addresses, whole pages; 0 until they are taken */
    unsigned nparts;
    struct part parts[PARTS_MAX];
    struct region shown;
    /* A file that is to get what the guest changes in `shown`, which is a copy. */
    int fd; /* -1: none */
    uint64_t file_offset, file_bytes;
    struct region pristine; /* the file as it was, or as it was written last */
};

/* ---- regions ---- */

static int region_anonymous(struct region *region, uint64_t bytes, struct mf_error *err)
{
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return error_set_errno(err, MF_E_NO_MEMORY, errno, "cannot allocate %llu bytes to map",
                               (unsigned long long)bytes);
    *region = (struct region){base, bytes};
    return 0;
}

static void region_free(struct region *region)
{
    if (region->base)
        munmap(region->base, region->bytes);
    *region = (struct region){0};
}

/* ---- mappings ---- */

static int mapping_new(struct mf_sandbox *sandbox, struct mapping **out, struct mf_error *err)
{
    if (sandbox->mappings.count == MF_MAPPINGS_MAX)
        return error_set(err, MF_E_STATE,
                         "%d mappings are in use, which is the most; end one with "
                         "mf_sandbox_unmap",
                         MF_MAPPINGS_MAX);
    struct mapping *mapping = calloc(1, sizeof *mapping);
    if (!mapping)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a mapping");
    mapping->fd = -1;
    *out = mapping;
    return 0;
}

static void mapping_free(struct mf_sandbox *sandbox, struct mapping *mapping)
{
    while (mapping->nparts > 0) {
        struct part *part = &mapping->parts[--mapping->nparts];
        sandbox->vm->ops->detach(sandbox->vm, part->gva, part->window);
        mem_window_remove(&sandbox->mem, part->window);
    }
    if (mapping->bytes > 0)
        addrspace_forget_host(&sandbox->as, mapping->gva, mapping->bytes);
    region_free(&mapping->shown);
    region_free(&mapping->pristine);
    if (mapping->fd >= 0)
        close(mapping->fd);
    free(mapping);
}

static void mapping_link(struct mf_sandbox *sandbox, struct mapping *mapping)
{
    mapping->next = sandbox->mappings.first;
    sandbox->mappings.first = mapping;
    sandbox->mappings.count++;
}

static void mapping_end(struct mf_sandbox *sandbox, struct mapping **link)
{
    struct mapping *mapping = *link;
    *link = mapping->next;
    sandbox->mappings.count--;
    mapping_free(sandbox, mapping);
}

/* Takes guest addresses for `bytes`. */
static int take_addresses(struct mf_sandbox *sandbox, struct mapping *mapping, uint64_t bytes,
                          unsigned prot, struct mf_error *err)
{
    int rc = addrspace_add_host(&sandbox->as, bytes, prot, &mapping->gva, err);
    if (rc == 0)
        mapping->bytes = bytes;
    return rc;
}

/* Shows `bytes` at `host` to the guest, `offset` bytes behind the mapping's start. */
static int show(struct mf_sandbox *sandbox, struct mapping *mapping, uint64_t offset,
                const uint8_t *host, uint64_t bytes, unsigned prot, bool may_vanish,
                struct mf_error *err)
{
    struct part part = {.gva = mapping->gva + offset};
    int rc = mem_window_add(&sandbox->mem, (uint8_t *)(uintptr_t)host, bytes, prot & PT_WRITE,
                            may_vanish, &part.window, err);
    if (rc != 0)
        return rc;
    rc = sandbox->vm->ops->attach(sandbox->vm, part.gva, part.window, prot | PT_USER, err);
    if (rc != 0) {
        mem_window_remove(&sandbox->mem, part.window);
        return rc;
    }
    mapping->parts[mapping->nparts++] = part;
    return 0;
}

/* ---- buffers ---- */

static unsigned prot_of(unsigned flags)
{
    return flags & MF_MAP_WRITE ? PT_READ | PT_WRITE : PT_READ;
}

static int check_flags(unsigned flags, const uint64_t *address, struct mf_error *err)
{
    if (!address)
        return error_set(err, MF_E_ARGUMENT, "a mapping needs a place for its address");
    if (flags & ~(unsigned)MF_MAP_WRITE)
        return error_set(err, MF_E_ARGUMENT, "flags %#x: only MF_MAP_READ and MF_MAP_WRITE exist",
                         flags);
    return 0;
}

static int check_buffer(void *data, size_t len, struct mf_error *err)
{
    uint64_t end;
    if (!data || len == 0)
        return error_set(err, MF_E_ARGUMENT, "there is nothing to map: %zu bytes at %p", len, data);
    if ((uintptr_t)data % PAGE_BYTES != 0 || len % PAGE_BYTES != 0)
        return error_set(err, MF_E_ARGUMENT,
                         "%zu bytes at %p: both must be multiples of 4096, since the guest sees "
                         "whole pages (take memory from mmap or aligned_alloc)",
                         len, data);
    /* No page is touched by this; ENOMEM means that some are not mapped. */
    if (!add_u64((uintptr_t)data, len, &end) ||
        (msync(data, len, MS_ASYNC) != 0 && errno == ENOMEM))
        return error_set(err, MF_E_ARGUMENT,
                         "%zu bytes at %p are not all memory of this process", len, data);
    return 0;
}

static int map_buffer(struct mf_sandbox *sandbox, void *data, size_t len, unsigned flags,
                      uint64_t *address, struct mf_error *err)
{
    struct mapping *mapping;
    int rc = mapping_new(sandbox, &mapping, err);
    if (rc != 0)
        return rc;
    mapping->data = data;
    rc = take_addresses(sandbox, mapping, len, prot_of(flags), err);
    /* It may be a file of the caller, or be unmapped too early: that is no reason to crash. */
    if (rc == 0)
        rc = show(sandbox, mapping, 0, data, len, prot_of(flags), true, err);
    if (rc != 0) {
        mapping_free(sandbox, mapping);
        return rc;
    }
    mapping_link(sandbox, mapping);
    *address = mapping->gva;
    return 0;
}

/* ---- files ---- */

/* A part of a file that is to be mapped. */
struct file_range {
    int fd;
    uint64_t offset, len;
    uint64_t bytes; /* len, rounded up to whole pages */
    bool writes;
};

static int check_kind(int fd, const struct stat *status, struct mf_error *err)
{
    const char *kind = NULL;
    if (S_ISDIR(status->st_mode))
        kind = "a directory";
    else if (S_ISFIFO(status->st_mode))
        kind = "a pipe";
    else if (S_ISSOCK(status->st_mode))
        kind = "a socket";
    else if (!S_ISREG(status->st_mode))
        kind = "a device";
    if (!kind)
        return 0;
    return error_set(err, MF_E_ARGUMENT,
                     "file descriptor %d is %s; only regular files and memfds can be mapped", fd,
                     kind);
}

static int check_access(const struct file_range *range, struct mf_error *err)
{
    int status = fcntl(range->fd, F_GETFL);
    if (status < 0 || (status & O_PATH) || (status & O_ACCMODE) == O_WRONLY)
        return error_set(err, MF_E_ARGUMENT,
                         "file descriptor %d is not open for reading; open it with O_RDONLY or "
                         "O_RDWR",
                         range->fd);
    if (range->writes && (status & O_ACCMODE) != O_RDWR)
        return error_set(err, MF_E_ARGUMENT,
                         "file descriptor %d is open for reading only; open it with O_RDWR, or "
                         "map it without MF_MAP_WRITE",
                         range->fd);
    if (range->writes && (status & O_APPEND))
        return error_set(err, MF_E_ARGUMENT,
                         "file descriptor %d writes to the end of its file only; open it without "
                         "O_APPEND, or map it without MF_MAP_WRITE",
                         range->fd);
    return 0;
}

/* Fills in what was left open, and checks it against the file's size. */
static int check_extent(struct file_range *range, uint64_t size, struct mf_error *err)
{
    unsigned long long offset = range->offset, len = range->len, all = size;
    if (range->offset % PAGE_BYTES != 0)
        return error_set(err, MF_E_ARGUMENT, "offset %llu: must be a multiple of 4096", offset);
    if (range->offset >= size)
        return error_set(err, MF_E_ARGUMENT, "offset %llu: the file has %llu bytes only", offset,
                         all);
    if (range->len == 0)
        range->len = size - range->offset;
    if (!range_inside(range->offset, range->len, size))
        return error_set(err, MF_E_ARGUMENT,
                         "%llu bytes from offset %llu: the file has %llu bytes only", len, offset,
                         all);
    if (range->len % PAGE_BYTES != 0 && range->offset + range->len != size)
        return error_set(err, MF_E_ARGUMENT,
                         "%llu bytes from offset %llu: must be a multiple of 4096, or reach to the "
                         "end of the file, since the guest sees whole pages",
                         len, offset);
    if (!round_up_u64(range->len, PAGE_BYTES, &range->bytes) || range->bytes > SIZE_MAX / 2)
        return error_set(err, MF_E_ARGUMENT, "%llu bytes are too many to map", len);
    return 0;
}

static int check_file(struct file_range *range, struct mf_error *err)
{
    struct stat status;
    if (fstat(range->fd, &status) != 0)
        return error_set_errno(err, MF_E_ARGUMENT, errno, "file descriptor %d", range->fd);
    int rc = check_kind(range->fd, &status, err);
    if (rc == 0)
        rc = check_access(range, err);
    if (rc == 0)
        rc = check_extent(range, (uint64_t)status.st_size, err);
    return rc;
}

/* Whether no page of the file can ever be gone. */
static bool cannot_shrink(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK);
}

/* The file's own pages. */
static int share_file(struct mapping *mapping, const struct file_range *range, struct mf_error *err)
{
    int prot = range->writes ? PROT_READ | PROT_WRITE : PROT_READ;
    void *base = mmap(NULL, range->bytes, prot, MAP_SHARED, range->fd, (off_t)range->offset);
    if (base == MAP_FAILED)
        return error_set_errno(err, errno == ENOMEM ? MF_E_NO_MEMORY : MF_E_ARGUMENT, errno,
                               "the file of descriptor %d cannot be mapped", range->fd);
    mapping->shown = (struct region){base, range->bytes};
    return 0;
}

static int read_file(uint8_t *to, const struct file_range *range, struct mf_error *err)
{
    int failed = fd_read(range->fd, to, range->len, range->offset);
    if (failed > 0)
        return error_set_errno(err, MF_E_SYSTEM, failed,
                               "cannot read the file of descriptor %d to copy it", range->fd);
    if (failed < 0)
        return error_set(err, MF_E_SYSTEM,
                         "the file of descriptor %d got shorter while it was copied", range->fd);
    return 0;
}

/* A copy of the file, and what is needed to write it back. */
static int copy_file(struct mapping *mapping, const struct file_range *range, struct mf_error *err)
{
    int rc = region_anonymous(&mapping->shown, range->bytes, err);
    if (rc == 0)
        rc = read_file(mapping->shown.base, range, err);
    if (rc != 0 || !range->writes)
        return rc;
    rc = region_anonymous(&mapping->pristine, range->bytes, err);
    if (rc != 0)
        return rc;
    memcpy(mapping->pristine.base, mapping->shown.base, range->len);
    mapping->file_offset = range->offset;
    mapping->file_bytes = range->len;
    mapping->fd = fcntl(range->fd, F_DUPFD_CLOEXEC, 0);
    if (mapping->fd < 0)
        return error_set_errno(err, MF_E_SYSTEM, errno, "cannot keep file descriptor %d",
                               range->fd);
    return 0;
}

static int map_file(struct mf_sandbox *sandbox, const struct file_range *range, uint64_t *address,
                    struct mf_error *err)
{
    struct mapping *mapping;
    int rc = mapping_new(sandbox, &mapping, err);
    if (rc != 0)
        return rc;
    unsigned prot = range->writes ? PT_READ | PT_WRITE : PT_READ;
    bool stays = cannot_shrink(range->fd);
    bool aligned = range->offset % (uint64_t)sysconf(_SC_PAGESIZE) == 0;
    bool shared = sandbox->vm->ops->id == MF_BACKEND_KVM || (stays && aligned);
    rc = shared ? share_file(mapping, range, err) : copy_file(mapping, range, err);
    if (rc == 0)
        rc = take_addresses(sandbox, mapping, range->bytes, prot, err);
    if (rc == 0)
        rc = show(sandbox, mapping, 0, mapping->shown.base, range->bytes, prot, shared && !stays,
                  err);
    if (rc != 0) {
        mapping_free(sandbox, mapping);
        return rc;
    }
    mapping_link(sandbox, mapping);
    *address = mapping->gva;
    return 0;
}

/* Writes `len` bytes of the copy to their place in the file. */
static int write_bytes(const struct mapping *mapping, uint64_t offset, uint64_t len,
                       struct mf_error *err)
{
    int failed = fd_write(mapping->fd, mapping->shown.base + offset, len,
                          mapping->file_offset + offset);
    if (failed != 0)
        return error_set_errno(err, MF_E_SYSTEM, failed,
                               "cannot write what the guest changed to its mapped file");
    return 0;
}

/* Writes what differs in one page, from the first such byte to the last. */
static int write_page(const struct mapping *mapping, uint64_t offset, struct mf_error *err)
{
    uint64_t len = MIN(PAGE_BYTES, mapping->file_bytes - offset), first = 0, last = len;
    const uint8_t *now = mapping->shown.base + offset;
    uint8_t *then = mapping->pristine.base + offset;
    if (memcmp(now, then, len) == 0)
        return 0;
    while (now[first] == then[first])
        first++;
    while (now[last - 1] == then[last - 1])
        last--;
    int rc = write_bytes(mapping, offset + first, last - first, err);
    if (rc == 0)
        memcpy(then + first, now + first, last - first);
    return rc;
}

static int write_back(const struct mapping *mapping, struct mf_error *err)
{
    int rc = 0;
    if (!mapping->pristine.base)
        return 0;
    for (uint64_t offset = 0; rc == 0 && offset < mapping->file_bytes; offset += PAGE_BYTES)
        rc = write_page(mapping, offset, err);
    return rc;
}

int map_write_back(struct mf_sandbox *sandbox, struct mf_error *err)
{
    int rc = 0;
    for (struct mapping *m = sandbox->mappings.first; rc == 0 && m; m = m->next)
        rc = write_back(m, err);
    return rc;
}

/* ---- large arguments ---- */

/* All of it as a copy. */
static int place_copy(struct mf_sandbox *sandbox, struct mapping *mapping, const uint8_t *data,
                      uint64_t len, uint64_t offset, struct mf_error *err)
{
    int rc = region_anonymous(&mapping->shown, mapping->bytes, err);
    if (rc != 0)
        return rc;
    memcpy(mapping->shown.base + offset, data, len);
    return show(sandbox, mapping, 0, mapping->shown.base, mapping->bytes, PT_READ, false, err);
}

/* The pages that it fills as they are, with copies at its ends. */
static int place_pages(struct mf_sandbox *sandbox, struct mapping *mapping, const uint8_t *data,
                       uint64_t len, uint64_t offset, struct mf_error *err)
{
    uint64_t head = offset > 0 ? PAGE_BYTES - offset : 0, head_bytes = offset > 0 ? PAGE_BYTES : 0;
    uint64_t middle = round_down_u64(len - head, PAGE_BYTES), tail = len - head - middle;
    int rc = region_anonymous(&mapping->shown, 2 * PAGE_BYTES, err);
    if (rc != 0)
        return rc;
    uint8_t *edges = mapping->shown.base;
    memcpy(edges + offset, data, head);
    memcpy(edges + PAGE_BYTES, data + head + middle, tail);
    if (head_bytes > 0)
        rc = show(sandbox, mapping, 0, edges, head_bytes, PT_READ, false, err);
    if (rc == 0)
        rc = show(sandbox, mapping, head_bytes, data + head, middle, PT_READ, false, err);
    if (rc == 0 && mapping->bytes > head_bytes + middle)
        rc = show(sandbox, mapping, head_bytes + middle, edges + PAGE_BYTES, PAGE_BYTES, PT_READ,
                  false, err);
    return rc;
}

int map_place(struct mf_sandbox *sandbox, const void *data, uint64_t len, bool terminated,
              unsigned level, bool copy, mf_gva *gva, struct mf_error *err)
{
    struct mapping *mapping;
    uint64_t offset = (uintptr_t)data % PAGE_BYTES, bytes;
    if (!add_u64(len, offset + terminated, &bytes) || !round_up_u64(bytes, PAGE_BYTES, &bytes))
        return error_set(err, MF_E_ARGUMENT, "%llu bytes are too many for an argument",
                         (unsigned long long)len);
    int rc = mapping_new(sandbox, &mapping, err);
    if (rc != 0)
        return rc;
    mapping->level = level;
    rc = take_addresses(sandbox, mapping, bytes, PT_READ, err);
    if (rc == 0 && (copy || bytes <= COPY_MAX))
        rc = place_copy(sandbox, mapping, data, len, offset, err);
    else if (rc == 0)
        rc = place_pages(sandbox, mapping, data, len, offset, err);
    if (rc != 0) {
        mapping_free(sandbox, mapping);
        return rc;
    }
    mapping_link(sandbox, mapping);
    *gva = mapping->gva + offset;
    return 0;
}

void map_release(struct mf_sandbox *sandbox, unsigned level)
{
    struct mapping **link = &sandbox->mappings.first;
    while (*link) {
        if ((*link)->level >= level)
            mapping_end(sandbox, link);
        else
            link = &(*link)->next;
    }
}

bool map_find(const struct mf_sandbox *sandbox, const void *data, uint64_t len, mf_gva *gva)
{
    uintptr_t at = (uintptr_t)data;
    for (const struct mapping *m = sandbox->mappings.first; m; m = m->next) {
        if (!m->data || at < (uintptr_t)m->data ||
            !range_inside(at - (uintptr_t)m->data, len, m->bytes))
            continue;
        *gva = m->gva + (at - (uintptr_t)m->data);
        return true;
    }
    return false;
}

mf_gva map_address_of(const struct mf_sandbox *sandbox, mf_gpa gpa)
{
    for (const struct mapping *m = sandbox->mappings.first; m; m = m->next) {
        for (unsigned i = 0; i < m->nparts; i++) {
            const struct mem_window *window = m->parts[i].window;
            if (gpa >= window->gpa && gpa - window->gpa < window->bytes)
                return m->parts[i].gva + (gpa - window->gpa);
        }
    }
    return 0;
}

void map_fini(struct mf_sandbox *sandbox)
{
    while (sandbox->mappings.first) {
        write_back(sandbox->mappings.first, NULL);
        mapping_end(sandbox, &sandbox->mappings.first);
    }
}

/* ---- the public functions ---- */

/* Only between calls and in host functions does nobody run the vCPU. */
static int check_still(const struct mf_sandbox *sandbox, struct mf_error *err)
{
    if (sandbox->state == SANDBOX_RUNNING && !sandbox->innermost)
        return error_set(err, MF_E_STATE, "mappings cannot change while the guest runs");
    return 0;
}

/* What is asked for, on its way to the thread that has the sandbox (attend.c). */
struct map_request {
    void *data;
    size_t len;
    unsigned flags;
    struct file_range range;
    uint64_t *address;
};

static int do_map(struct mf_sandbox *sandbox, void *argument, struct mf_error *err)
{
    const struct map_request *r = argument;
    int rc = check_still(sandbox, err);
    if (rc == 0)
        rc = sandbox_check_alive(sandbox, err);
    return rc == 0 ? map_buffer(sandbox, r->data, r->len, r->flags, r->address, err) : rc;
}

static int do_map_file(struct mf_sandbox *sandbox, void *argument, struct mf_error *err)
{
    struct map_request *r = argument;
    int rc = check_still(sandbox, err);
    if (rc == 0)
        rc = sandbox_check_alive(sandbox, err);
    return rc == 0 ? map_file(sandbox, &r->range, r->address, err) : rc;
}

int mf_sandbox_map(struct mf_sandbox *sandbox, void *data, size_t len, unsigned flags,
                   uint64_t *address, struct mf_error *err)
{
    struct map_request request = {.data = data, .len = len, .flags = flags, .address = address};
    error_clear(err);
    int rc = check_flags(flags, address, err);
    if (rc == 0)
        rc = check_buffer(data, len, err);
    return rc == 0 ? attend_do(sandbox, do_map, &request, err) : rc;
}

int mf_sandbox_map_file(struct mf_sandbox *sandbox, int fd, uint64_t offset, size_t len,
                        unsigned flags, uint64_t *address, struct mf_error *err)
{
    struct map_request request = {
        .range = {.fd = fd, .offset = offset, .len = len, .writes = (flags & MF_MAP_WRITE) != 0},
        .address = address,
    };
    error_clear(err);
    int rc = check_flags(flags, address, err);
    if (rc == 0)
        rc = check_file(&request.range, err);
    return rc == 0 ? attend_do(sandbox, do_map_file, &request, err) : rc;
}

static int do_unmap(struct mf_sandbox *sandbox, void *argument, struct mf_error *err)
{
    const struct map_request *r = argument;
    int rc = check_still(sandbox, err);
    if (rc != 0)
        return rc;
    for (struct mapping **link = &sandbox->mappings.first; *link; link = &(*link)->next) {
        if ((*link)->level > 0 || (*link)->gva != *r->address)
            continue;
        rc = write_back(*link, err);
        mapping_end(sandbox, link);
        return rc;
    }
    return error_set(err, MF_E_ARGUMENT, "nothing is mapped at %#llx",
                     (unsigned long long)*r->address);
}

int mf_sandbox_unmap(struct mf_sandbox *sandbox, uint64_t address, struct mf_error *err)
{
    struct map_request request = {.address = &address};
    error_clear(err);
    return attend_do(sandbox, do_unmap, &request, err);
}
