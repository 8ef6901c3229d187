/* Page data; see data.h. */
#include "snapshot/data.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/fd.h"
#include "snapshot/file.h"
#include "snapshot/pages.h"
#include "snapshot/system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

/* Runs with fewer pages than this between them become one: holes cost nothing. */
#define GAP_PAGES 16

/* Descriptors and stubs are below this page; they are made anew. */
#define RENEWED_PAGES (LAYOUT_PAGE_SYSCALL_STUB + 1)

/* Takes `n` pages that stand at the places from `place` on. 0 or an errno. */
typedef int (*take_fn)(void *context, uint64_t place, uint64_t n, const uint8_t *pages);

static int no_memory(struct mf_error *err)
{
    return error_set(err, MF_E_NO_MEMORY, "no memory for the pages of a snapshot");
}

/* ---- out of the file ---- */

struct buffers {
    uint8_t raw[FORMAT_BLOCK_PAGES * PAGE_BYTES];
    uint8_t packed[FORMAT_BLOCK_PAGES * PAGE_BYTES];
    ZSTD_DCtx *zstd;
};

/* One block, into buffers->raw. */
static int read_block(const struct data *data, const struct format_block *block, uint64_t offset,
                      struct buffers *buffers, struct mf_error *err)
{
    uint64_t raw = block->npages * PAGE_BYTES;
    bool packed = block->bytes < raw;
    uint8_t *to = packed ? buffers->packed : buffers->raw;
    int rc = source_read(data->source, offset, to, block->bytes, err);
    if (rc != 0)
        return rc;
    if (checksum_of(to, block->bytes) != block->checksum)
        return source_damaged(data->source, "the checksum of page data is wrong", err);
    if (!packed)
        return 0;
    if (ZSTD_getFrameContentSize(to, block->bytes) != raw ||
        ZSTD_findFrameCompressedSize(to, block->bytes) != block->bytes ||
        ZSTD_decompressDCtx(buffers->zstd, buffers->raw, raw, to, block->bytes) != raw)
        return source_damaged(data->source, "page data cannot be decompressed", err);
    return 0;
}

/* Blocks of one page each: many at a time. */
static int read_plain(const struct data *data, const struct format_block *blocks, uint64_t n,
                      uint64_t offset, struct buffers *buffers, struct mf_error *err)
{
    int rc = source_read(data->source, offset, buffers->raw, n * PAGE_BYTES, err);
    for (uint64_t i = 0; rc == 0 && i < n; i++)
        if (checksum_of(buffers->raw + i * PAGE_BYTES, PAGE_BYTES) != blocks[i].checksum)
            rc = source_damaged(data->source, "the checksum of a page is wrong", err);
    return rc;
}

static int read_blocks(const struct data *data, struct buffers *buffers, take_fn take,
                       void *context, struct mf_error *err)
{
    uint64_t offset = data->offset, place = 0;
    for (uint64_t i = 0; i < data->nblocks;) {
        uint64_t blocks = 1, npages = data->blocks[i].npages, bytes = data->blocks[i].bytes;
        int rc;
        if (data->compressed) {
            rc = read_block(data, &data->blocks[i], offset, buffers, err);
        } else {
            blocks = npages = MIN((uint64_t)FORMAT_BLOCK_PAGES, data->nblocks - i);
            bytes = npages * PAGE_BYTES;
            rc = read_plain(data, &data->blocks[i], blocks, offset, buffers, err);
        }
        if (rc != 0)
            return rc;
        int failed = take(context, place, npages, buffers->raw);
        if (failed != 0)
            return error_set_errno(err, failed == ENOSPC ? MF_E_NO_MEMORY : MF_E_SYSTEM, failed,
                                   "cannot write to a file in memory");
        i += blocks;
        place += npages;
        offset += bytes;
    }
    return 0;
}

/* Hands all page data of the file to `take`, checked. */
static int read_data(const struct data *data, take_fn take, void *context, struct mf_error *err)
{
    struct buffers *buffers = malloc(sizeof *buffers);
    if (!buffers)
        return no_memory(err);
    buffers->zstd = data->compressed ? ZSTD_createDCtx() : NULL;
    int rc = data->compressed && !buffers->zstd
                 ? no_memory(err)
                 : read_blocks(data, buffers, take, context, err);
    ZSTD_freeDCtx(buffers->zstd);
    free(buffers);
    return rc;
}

/* ---- a root ---- */

int data_map_root(const struct data *data, struct mem_root **out, struct mf_error *err)
{
    struct mem_run *runs = malloc((data->nruns + 1) * sizeof *runs);
    if (!runs)
        return no_memory(err);
    for (size_t i = 0; i < data->nruns; i++)
        runs[i] = (struct mem_run){
            .gpa = (mf_gpa)data->runs[i].page << PAGE_SHIFT,
            .bytes = (uint64_t)data->runs[i].npages << PAGE_SHIFT,
            .offset = data->offset + (data->runs[i].place << PAGE_SHIFT),
        };
    int fd = fcntl(data->source->fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        free(runs);
        return error_set_errno(err, MF_E_SYSTEM, errno, "%.150s: cannot be mapped",
                               data->source->path);
    }
    return mem_root_create(fd, runs, data->nruns, true, out, err);
}

/* A file in memory whose offsets are guest physical addresses. */
struct copy {
    int fd;
    /* For each place the first guest page that has it, which gets it from the file. */
    uint32_t *home;
};

#define NO_HOME UINT32_MAX

static int find_homes(const struct data *data, uint32_t *home, struct mf_error *err)
{
    memset(home, 0xff, data->nstored * sizeof *home);
    for (size_t i = 0; i < data->nruns; i++) {
        const struct format_run *run = &data->runs[i];
        for (uint32_t k = 0; run->place != FORMAT_ZERO && k < run->npages; k++)
            if (home[run->place + k] == NO_HOME)
                home[run->place + k] = run->page + k;
    }
    for (uint64_t i = 0; i < data->nstored; i++)
        if (home[i] == NO_HOME)
            return source_damaged(data->source, "it has a page that nothing uses", err);
    return 0;
}

/* Writes pages that are not zero; zero ones are holes. */
static int put_page(int fd, uint32_t page, const uint8_t *contents)
{
    return snap_bytes_are_zero(contents)
               ? 0
               : fd_write(fd, contents, PAGE_BYTES, (uint64_t)page << PAGE_SHIFT);
}

static int take_home(void *context, uint64_t place, uint64_t n, const uint8_t *pages)
{
    struct copy *copy = context;
    const uint32_t *home = copy->home + place;
    for (uint64_t i = 0; i < n;) {
        uint64_t adjacent = 1;
        while (i + adjacent < n && home[i + adjacent] == home[i] + adjacent)
            adjacent++;
        int failed = adjacent == 1
                         ? put_page(copy->fd, home[i], pages + i * PAGE_BYTES)
                         : fd_write(copy->fd, pages + i * PAGE_BYTES, adjacent * PAGE_BYTES,
                                      (uint64_t)home[i] << PAGE_SHIFT);
        if (failed != 0)
            return failed;
        i += adjacent;
    }
    return 0;
}

/* Pages whose contents are somewhere else already. 0 or an errno. */
static int copy_equal_pages(const struct data *data, const struct copy *copy)
{
    uint8_t contents[PAGE_BYTES];
    for (size_t i = 0; i < data->nruns; i++) {
        const struct format_run *run = &data->runs[i];
        for (uint32_t k = 0; k < run->npages; k++) {
            uint32_t page = run->page + k, home = copy->home[run->place + k];
            if (page == home)
                continue;
            int failed = fd_read(copy->fd, contents, PAGE_BYTES, (uint64_t)home << PAGE_SHIFT);
            if (failed == 0)
                failed = put_page(copy->fd, page, contents);
            if (failed != 0)
                return failed > 0 ? failed : EIO;
        }
    }
    return 0;
}

static int renew_system(const struct copy *copy, struct mf_error *err)
{
    struct system system;
    uint8_t contents[PAGE_BYTES];
    int rc = system_init(&system, err), failed = 0;
    if (rc != 0)
        return rc;
    for (uint32_t page = 0; failed == 0 && page < RENEWED_PAGES; page++) {
        failed = fd_read(copy->fd, contents, PAGE_BYTES, (uint64_t)page << PAGE_SHIFT);
        if (failed == 0) {
            system_renew(&system, page, contents);
            failed = fd_write(copy->fd, contents, PAGE_BYTES, (uint64_t)page << PAGE_SHIFT);
        }
    }
    system_fini(&system);
    return failed == 0 ? 0
                       : error_set_errno(err, MF_E_SYSTEM, failed > 0 ? failed : EIO,
                                         "cannot write the system pages");
}

/* The runs of the copy: those of the file and the system pages, near ones joined. */
static struct mem_run *copied_runs(const struct data *data, size_t *n)
{
    struct mem_run *runs = malloc((data->nruns + 1) * sizeof *runs);
    if (!runs)
        return NULL;
    runs[0] = (struct mem_run){.gpa = 0, .bytes = RENEWED_PAGES * PAGE_BYTES, .offset = 0};
    *n = 1;
    for (size_t i = 0; i < data->nruns; i++) {
        mf_gpa gpa = (mf_gpa)data->runs[i].page << PAGE_SHIFT;
        uint64_t bytes = (uint64_t)data->runs[i].npages << PAGE_SHIFT;
        struct mem_run *last = &runs[*n - 1];
        if (gpa <= last->gpa + last->bytes + GAP_PAGES * PAGE_BYTES)
            last->bytes = MAX(last->bytes, gpa + bytes - last->gpa);
        else
            runs[(*n)++] = (struct mem_run){.gpa = gpa, .bytes = bytes, .offset = gpa};
    }
    return runs;
}

static int fill_copy(const struct data *data, struct copy *copy, uint64_t bytes,
                     struct mf_error *err)
{
    int rc = find_homes(data, copy->home, err);
    if (rc == 0 && ftruncate(copy->fd, (off_t)bytes) != 0)
        rc = error_set_errno(err, MF_E_SYSTEM, errno, "cannot make a file in memory");
    if (rc == 0)
        rc = read_data(data, take_home, copy, err);
    if (rc != 0)
        return rc;
    int failed = copy_equal_pages(data, copy);
    if (failed != 0)
        return error_set_errno(err, failed == ENOSPC ? MF_E_NO_MEMORY : MF_E_SYSTEM, failed,
                               "cannot write to a file in memory");
    rc = renew_system(copy, err);
    if (rc == 0 &&
        fcntl(copy->fd, F_ADD_SEALS,
              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
        rc = error_set_errno(err, MF_E_SYSTEM, errno, "cannot seal a file in memory");
    return rc;
}

int data_copy_root(const struct data *data, struct mem_root **out, struct mf_error *err)
{
    size_t nruns = 0;
    struct mem_run *runs = copied_runs(data, &nruns);
    struct copy copy = {
        .fd = memfd_create("mayfly-snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING),
        .home = malloc((data->nstored + 1) * sizeof *copy.home),
    };
    int rc;
    if (copy.fd < 0)
        rc = error_set_errno(err, MF_E_SYSTEM, errno, "cannot create a file in memory");
    else if (!runs || !copy.home)
        rc = no_memory(err);
    else
        rc = fill_copy(data, &copy, runs[nruns - 1].gpa + runs[nruns - 1].bytes, err);
    free(copy.home);
    if (rc == 0)
        return mem_root_create(copy.fd, runs, nruns, false, out, err);
    if (copy.fd >= 0)
        close(copy.fd);
    free(runs);
    return rc;
}

/* ---- the pages of a child ---- */

static int take_place(void *context, uint64_t place, uint64_t n, const uint8_t *pages)
{
    memcpy((uint8_t *)context + place * PAGE_BYTES, pages, n * PAGE_BYTES);
    return 0;
}

/* Descriptors and stubs get places of their own, behind those of the file. */
static int renew_pages(struct snap_pages *pages, uint8_t *memory, struct mf_error *err)
{
    struct system system;
    int rc = system_init(&system, err);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < pages->count && pages->number[i] < RENEWED_PAGES; i++) {
        uint8_t *to = memory + pages->data_pages * PAGE_BYTES;
        memcpy(to, snap_pages_at(pages, pages->place[i]), PAGE_BYTES);
        system_renew(&system, pages->number[i], to);
        pages->place[i] = snap_bytes_are_zero(to) ? SNAP_ZERO : (uint32_t)pages->data_pages++;
    }
    system_fini(&system);
    return 0;
}

static void list_pages(const struct data *data, struct snap_pages *pages)
{
    for (size_t i = 0; i < data->nruns; i++) {
        const struct format_run *run = &data->runs[i];
        for (uint32_t k = 0; k < run->npages; k++) {
            pages->number[pages->count] = run->page + k;
            pages->place[pages->count++] =
                run->place == FORMAT_ZERO ? SNAP_ZERO : (uint32_t)run->place + k;
        }
    }
}

int data_copy_pages(const struct data *data, struct snap_pages *out, struct mf_error *err)
{
    uint64_t most = 0, bytes = (data->nstored + RENEWED_PAGES) * PAGE_BYTES;
    for (size_t i = 0; i < data->nruns; i++)
        most += data->runs[i].npages;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return no_memory(err);
    *out = (struct snap_pages){
        .number = malloc((most + 1) * sizeof *out->number),
        .place = malloc((most + 1) * sizeof *out->place),
        .data = memory,
        .data_pages = data->nstored,
        .mapped = bytes,
    };
    int rc = 0;
    if (!out->number || !out->place)
        rc = no_memory(err);
    if (rc == 0)
        rc = read_data(data, take_place, memory, err);
    if (rc == 0) {
        list_pages(data, out);
        rc = renew_pages(out, memory, err);
    }
    if (rc != 0)
        snap_pages_fini(out);
    return rc;
}
