/*
 * From a snapshot to a file; see format.h. Mirror of open.c.
 *
 * The sections before DATA have their sizes before anything is written, so page data is
 * written first, at its place, and then everything before it. SHA-256 of the whole is
 * taken from the finished file, which is still in the host's memory.
 */
#include "base/checked.h"
#include "base/error.h"
#include "base/fd.h"
#include "snapshot/arrange.h"
#include "snapshot/digest.h"
#include "snapshot/encode.h"
#include "snapshot/file.h"
#include "snapshot/format.h"
#include "snapshot/pages.h"

#include <mayfly/version.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#define ZSTD_LEVEL 3
#define HASH_BYTES (UINT64_C(256) << 10)

/* A section that is in memory until it is written. */
struct part {
    enum format_kind kind;
    uint8_t *bytes;
    uint64_t len, raw_len;
    bool owned;
};

#define PARTS 5 /* all but DATA, at most */

struct writer {
    const struct mf_snapshot *snapshot, *parent;
    bool compress;
    struct arrangement pages;
    struct format_block *blocks;
    uint64_t nblocks;
    struct part parts[PARTS];
    size_t nparts;
    struct new_file file;
    const char *path;
    struct mf_error *err;
};

static int no_memory(const struct writer *writer)
{
    return error_set(writer->err, MF_E_NO_MEMORY, "%.150s: no memory to write it", writer->path);
}

static int failed_write(const struct writer *writer, int failed)
{
    return error_set_errno(writer->err, MF_E_SYSTEM, failed,
                           "%.150s: cannot be written (what was there before is unchanged)",
                           writer->path);
}

/* ---- the sections before DATA ---- */

static void add_part(struct writer *writer, enum format_kind kind, void *bytes, uint64_t len,
                     bool owned)
{
    writer->parts[writer->nparts++] =
        (struct part){.kind = kind, .bytes = bytes, .len = len, .raw_len = len, .owned = owned};
}

static int add_state(struct writer *writer)
{
    uint8_t *bytes;
    size_t len;
    int rc = state_encode(&writer->snapshot->saved, &bytes, &len, writer->err);
    if (rc == 0)
        add_part(writer, FORMAT_STATE, bytes, len, true);
    return rc;
}

static int add_functions(struct writer *writer)
{
    size_t len;
    char *text = format_functions(writer->snapshot->image, &len);
    if (!text)
        return no_memory(writer);
    add_part(writer, FORMAT_FUNCTIONS, text, len, true);
    return 0;
}

/* The image as one zstd frame, unless that is no shorter, or so short that it looks like a bomb. */
static int compress_image(struct writer *writer, struct part *part)
{
    size_t room = ZSTD_compressBound(part->len);
    uint8_t *bytes = malloc(room + 1);
    if (!bytes)
        return no_memory(writer);
    size_t len = ZSTD_compress(bytes, room, part->bytes, part->len, ZSTD_LEVEL);
    if (ZSTD_isError(len) || len >= part->len || part->len / FORMAT_EXPANSION_MAX >= len) {
        free(bytes);
        return ZSTD_isError(len) ? no_memory(writer) : 0;
    }
    part->bytes = bytes;
    part->len = len;
    part->owned = true;
    return 0;
}

static int add_image(struct writer *writer)
{
    const struct mf_image *image = writer->snapshot->image;
    const struct mf_image *above = writer->parent ? writer->parent->image : NULL;
    if (above && above->len == image->len && memcmp(above->bytes, image->bytes, image->len) == 0)
        return 0;
    add_part(writer, FORMAT_IMAGE, image->bytes, image->len, false);
    return writer->compress ? compress_image(writer, &writer->parts[writer->nparts - 1]) : 0;
}

/* Room for the blocks; they are filled in while DATA is written. */
static int add_blocks(struct writer *writer)
{
    uint64_t per_block = writer->compress ? FORMAT_BLOCK_PAGES : 1;
    writer->nblocks = (writer->pages.nstored + per_block - 1) / per_block;
    writer->blocks = calloc(writer->nblocks + 1, sizeof *writer->blocks);
    if (!writer->blocks)
        return no_memory(writer);
    add_part(writer, FORMAT_BLOCKS, writer->blocks, writer->nblocks * sizeof *writer->blocks,
             true);
    return 0;
}

static int add_parts(struct writer *writer)
{
    int rc = add_state(writer);
    if (rc == 0)
        rc = add_functions(writer);
    if (rc == 0)
        rc = add_image(writer);
    if (rc == 0)
        add_part(writer, FORMAT_RUNS, writer->pages.runs,
                 writer->pages.nruns * sizeof *writer->pages.runs, false);
    return rc == 0 ? add_blocks(writer) : rc;
}

/* ---- DATA ---- */

/* What DATA is made of on its way into the file. */
struct data_buffer {
    uint8_t raw[FORMAT_BLOCK_PAGES * PAGE_BYTES];
    uint8_t packed[FORMAT_BLOCK_PAGES * PAGE_BYTES];
    ZSTD_CCtx *zstd;
};

static int read_pages(struct writer *writer, uint64_t first, uint64_t n, uint8_t *to)
{
    for (uint64_t i = 0; i < n; i++)
        if (!snap_read(writer->snapshot, writer->pages.stored[first + i], to + i * PAGE_BYTES))
            return error_set(writer->err, MF_E_SNAPSHOT,
                             "the file behind the snapshot has got shorter");
    return 0;
}

/* Adds the block of `n` pages in `buffer`; returns its bytes, to be written. */
static const uint8_t *make_block(struct data_buffer *buffer, uint64_t n,
                                 struct format_block *block)
{
    size_t raw = n * PAGE_BYTES;
    /* With no room for more than is worth it, a block that does not get shorter fails. */
    size_t len = ZSTD_compressCCtx(buffer->zstd, buffer->packed, raw - 1, buffer->raw, raw,
                                   ZSTD_LEVEL);
    const uint8_t *bytes = ZSTD_isError(len) ? buffer->raw : buffer->packed;
    block->bytes = (uint32_t)(ZSTD_isError(len) ? raw : len);
    block->npages = (uint32_t)n;
    block->checksum = checksum_of(bytes, block->bytes);
    return bytes;
}

static int write_blocks(struct writer *writer, struct data_buffer *buffer, uint64_t *offset)
{
    uint64_t nstored = writer->pages.nstored;
    for (uint64_t at = 0; at < nstored; at += FORMAT_BLOCK_PAGES) {
        uint64_t n = MIN((uint64_t)FORMAT_BLOCK_PAGES, nstored - at), len = n * PAGE_BYTES;
        const uint8_t *bytes = buffer->raw;
        int rc = read_pages(writer, at, n, buffer->raw);
        if (rc != 0)
            return rc;
        if (writer->compress) {
            struct format_block *block = &writer->blocks[at / FORMAT_BLOCK_PAGES];
            bytes = make_block(buffer, n, block);
            len = block->bytes;
        } else {
            for (uint64_t i = 0; i < n; i++)
                writer->blocks[at + i] = (struct format_block){
                    .bytes = PAGE_BYTES,
                    .npages = 1,
                    .checksum = checksum_of(buffer->raw + i * PAGE_BYTES, PAGE_BYTES),
                };
        }
        int failed = fd_write(writer->file.fd, bytes, len, *offset);
        if (failed != 0)
            return failed_write(writer, failed);
        *offset += len;
    }
    return 0;
}

/* Writes page data from `offset` on; *end is behind it. */
static int write_data(struct writer *writer, uint64_t offset, uint64_t *end)
{
    struct data_buffer *buffer = malloc(sizeof *buffer);
    *end = offset;
    if (!buffer)
        return no_memory(writer);
    buffer->zstd = writer->compress ? ZSTD_createCCtx() : NULL;
    int rc = writer->compress && !buffer->zstd ? no_memory(writer)
                                               : write_blocks(writer, buffer, end);
    ZSTD_freeCCtx(buffer->zstd);
    free(buffer);
    if (rc != 0)
        return rc;
    /* Zeros that are there for FORMAT_EXPANSION_MAX only. */
    *end = MAX(*end, (writer->pages.run_pages * PAGE_BYTES + FORMAT_EXPANSION_MAX - 1) /
                         FORMAT_EXPANSION_MAX);
    *end = MAX(*end, (writer->pages.nstored * PAGE_BYTES + FORMAT_EXPANSION_MAX - 1) /
                         FORMAT_EXPANSION_MAX);
    return ftruncate(writer->file.fd, (off_t)*end) == 0 ? 0 : failed_write(writer, errno);
}

/* ---- the head, and all of it ---- */

/* Copies text for people: its end, if it is too long. The field is zero and keeps one NUL. */
static void put_text(char *field, size_t size, const char *text)
{
    size_t len = strlen(text);
    if (len >= size) {
        text += len - (size - 1);
        len = size - 1;
    }
    memcpy(field, text, len);
}

static void fill_head(const struct writer *writer, struct format_head *head)
{
    const struct mf_snapshot *snapshot = writer->snapshot;
    memcpy(head->magic, FORMAT_MAGIC, FORMAT_MAGIC_BYTES);
    head->version = FORMAT_VERSION;
    head->min_version = FORMAT_MIN_VERSION;
    head->arch = FORMAT_ARCH_X86_64;
    head->page_bytes = PAGE_BYTES;
    head->memory_bytes = snapshot->saved.memory_bytes;
    head->run_pages = writer->pages.run_pages;
    head->stored_pages = writer->pages.nstored;
    head->taken_unix_ns = snapshot->taken_unix_ns;
    head->flags = (writer->parent ? FORMAT_FLAG_CHILD : 0) |
                  (writer->compress ? FORMAT_FLAG_COMPRESSED : 0);
    if (writer->parent) {
        memcpy(head->parent, writer->parent->digest, sizeof head->parent);
        head->parent_head = writer->parent->file_head;
    }
    put_text(head->tool, sizeof head->tool, "mayfly " MF_VERSION_STRING);
    put_text(head->program, sizeof head->program, file_name(snapshot->image->name));
}

/* Where each section goes; returns where DATA begins. */
static uint64_t place_parts(struct writer *writer, struct format_section *sections)
{
    uint64_t offset = FORMAT_HEAD_BYTES;
    for (size_t i = 0; i < writer->nparts; i++) {
        const struct part *part = &writer->parts[i];
        round_up_u64(offset, FORMAT_ALIGN, &offset);
        sections[i] = (struct format_section){
            .kind = part->kind,
            .flags = FORMAT_SECTION_NEEDED,
            .offset = offset,
            .bytes = part->len,
            .raw_bytes = part->raw_len,
        };
        offset += part->len;
    }
    round_up_u64(offset, FORMAT_DATA_ALIGN, &offset);
    return offset;
}

static int write_sections(struct writer *writer, uint64_t *file_head)
{
    union {
        struct format_head head;
        uint8_t bytes[FORMAT_HEAD_BYTES];
    } first = {.bytes = {0}};
    struct format_section *sections = (struct format_section *)(first.bytes + sizeof first.head);
    struct format_section *data = &sections[writer->nparts];
    data->offset = place_parts(writer, sections);
    int rc = write_data(writer, data->offset, &first.head.file_bytes);
    if (rc != 0)
        return rc;
    data->kind = FORMAT_DATA;
    data->flags = FORMAT_SECTION_NEEDED;
    data->bytes = first.head.file_bytes - data->offset;
    data->raw_bytes = writer->pages.nstored * PAGE_BYTES;
    for (size_t i = 0; i < writer->nparts; i++) {
        const struct part *part = &writer->parts[i];
        sections[i].checksum = checksum_of(part->bytes, part->len);
        int failed = fd_write(writer->file.fd, part->bytes, part->len, sections[i].offset);
        if (failed != 0)
            return failed_write(writer, failed);
    }
    fill_head(writer, &first.head);
    first.head.nsections = (uint32_t)writer->nparts + 1;
    first.head.checksum = checksum_of(first.bytes, sizeof first.bytes);
    *file_head = first.head.checksum;
    int failed = fd_write(writer->file.fd, first.bytes, sizeof first.bytes, 0);
    return failed == 0 ? 0 : failed_write(writer, failed);
}

static int hash_file(struct writer *writer, uint8_t digest[MF_DIGEST_BYTES])
{
    struct digest sum;
    uint8_t *buffer = malloc(HASH_BYTES);
    if (!buffer)
        return no_memory(writer);
    off_t size = lseek(writer->file.fd, 0, SEEK_END);
    int failed = size < 0 ? errno : 0;
    digest_init(&sum);
    for (uint64_t at = 0; failed == 0 && at < (uint64_t)size; at += HASH_BYTES) {
        size_t len = (size_t)MIN(HASH_BYTES, (uint64_t)size - at);
        failed = fd_read(writer->file.fd, buffer, len, at);
        if (failed == 0)
            digest_add(&sum, buffer, len);
    }
    digest_fini(&sum, digest);
    free(buffer);
    return failed == 0 ? 0 : failed_write(writer, failed > 0 ? failed : EIO);
}

static int write_file(struct writer *writer, uint8_t digest[MF_DIGEST_BYTES], uint64_t *file_head)
{
    int rc = arrange(writer->snapshot, writer->parent, !writer->compress, &writer->pages,
                     writer->err);
    if (rc == 0)
        rc = add_parts(writer);
    if (rc == 0)
        rc = new_file_create(&writer->file, writer->path, writer->err);
    if (rc != 0)
        return rc;
    rc = write_sections(writer, file_head);
    if (rc == 0)
        rc = hash_file(writer, digest);
    if (rc == 0)
        return new_file_commit(&writer->file, writer->err);
    new_file_abort(&writer->file);
    return rc;
}

static void fini(struct writer *writer)
{
    for (size_t i = 0; i < writer->nparts; i++)
        if (writer->parts[i].owned)
            free(writer->parts[i].bytes);
    arrange_fini(&writer->pages);
}

/* The first file that a snapshot came from or went to gives it its identity. */
void snap_set_digest(struct mf_snapshot *snapshot, const uint8_t digest[MF_DIGEST_BYTES],
                     uint64_t file_head)
{
    unsigned none = SNAP_DIGEST_NONE;
    if (!atomic_compare_exchange_strong(&snapshot->digest_state, &none, SNAP_DIGEST_SETTING))
        return;
    memcpy(snapshot->digest, digest, MF_DIGEST_BYTES);
    snapshot->file_head = file_head;
    atomic_store(&snapshot->digest_state, SNAP_DIGEST_KNOWN);
}

bool mf_snapshot_digest(const struct mf_snapshot *snapshot, uint8_t digest[MF_DIGEST_BYTES])
{
    if (atomic_load(&snapshot->digest_state) != SNAP_DIGEST_KNOWN)
        return false;
    memcpy(digest, snapshot->digest, MF_DIGEST_BYTES);
    return true;
}

static int check_parent(const struct mf_snapshot *snapshot, const struct mf_snapshot *parent,
                        struct mf_error *err)
{
    uint8_t digest[MF_DIGEST_BYTES];
    if (!parent)
        return 0;
    if (!mf_snapshot_digest(parent, digest))
        return error_set(err, MF_E_ARGUMENT,
                         "the parent was never written to a file or opened from one, so no file "
                         "can name it: write it first");
    if (parent->saved.memory_bytes != snapshot->saved.memory_bytes)
        return error_set(err, MF_E_ARGUMENT, "the parent has another size of guest memory");
    return 0;
}

int mf_snapshot_write(struct mf_snapshot *snapshot, const char *path,
                      const struct mf_snapshot_write_options *options,
                      uint8_t digest[MF_DIGEST_BYTES], struct mf_error *err)
{
    struct mf_snapshot_write_options o = {.size = sizeof o};
    uint8_t sum[MF_DIGEST_BYTES];
    uint64_t file_head = 0;
    error_clear(err);
    if (!snapshot || !path)
        return error_set(err, MF_E_ARGUMENT, "writing needs a snapshot and a path (NULL)");
    if (options && options->size < sizeof options->size)
        return error_set(err, MF_E_ARGUMENT, "options.size is %zu; set it to "
                         "sizeof(struct mf_snapshot_write_options)", options->size);
    if (options)
        memcpy(&o, options, MIN(options->size, sizeof o));
    int rc = check_parent(snapshot, o.parent, err);
    if (rc != 0)
        return rc;
    struct writer writer = {
        .snapshot = snapshot,
        .parent = o.parent,
        .compress = o.compress != 0,
        .file = {.fd = -1, .dir = -1},
        .path = path,
        .err = err,
    };
    rc = write_file(&writer, sum, &file_head);
    fini(&writer);
    if (rc != 0)
        return rc;
    snap_set_digest(snapshot, sum, file_head);
    if (digest)
        memcpy(digest, sum, sizeof sum);
    return 0;
}
