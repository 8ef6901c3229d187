/*
 * From a file to a snapshot; see format.h. Mirror of write.c. Everything in the file is
 * hostile unless the caller trusts it, and even then its numbers are.
 *
 * The order: the head; the sections before DATA, each with its checksum; the parent; image,
 * state and runs out of their sections, each checked against the others; page data; and last,
 * when the pages are where they will be used from, the page tables in them. A
 * trusted file that is no child is not copied but mapped: its page data is not read at all.
 */
#include "base/checked.h"
#include "base/error.h"
#include "snapshot/check.h"
#include "snapshot/data.h"
#include "snapshot/encode.h"
#include "snapshot/file.h"
#include "snapshot/open.h"
#include "snapshot/pages.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define IMAGE_BYTES_MAX (UINT64_C(1) << 30)
#define KINDS (FORMAT_DATA + 1)

struct reader {
    struct source source;
    const struct opening *opening;
    union {
        struct format_head head;
        uint8_t bytes[FORMAT_HEAD_BYTES];
    } first;
    struct format_section sections[FORMAT_SECTIONS_MAX];
    /* By kind: which section, or NULL, and its bytes, if they were read. */
    const struct format_section *section[KINDS];
    uint8_t *bytes[KINDS];
    struct mf_snapshot *parent;
    struct mf_image *image;
    struct saved_state saved;
    struct mf_error *err;
};

static int damaged(const struct reader *reader, const char *what)
{
    return source_damaged(&reader->source, what, reader->err);
}

static int no_memory(const struct reader *reader)
{
    return error_set(reader->err, MF_E_NO_MEMORY, "%.150s: no memory to open it",
                     reader->source.path);
}

/* ---- the head ---- */

static int check_version(const struct reader *reader)
{
    const struct format_head *head = &reader->first.head;
    if (memcmp(head->magic, FORMAT_MAGIC, FORMAT_MAGIC_BYTES) != 0)
        return error_set(reader->err, MF_E_SNAPSHOT, "%.150s: is no snapshot file",
                         reader->source.path);
    if (head->min_version > FORMAT_VERSION || head->version < FORMAT_MIN_VERSION ||
        head->version < head->min_version)
        return error_set(reader->err, MF_E_SNAPSHOT,
                         "%.120s: has version %u.%u of the format (readable from %u.%u on); this "
                         "library reads %u.%u",
                         reader->source.path, head->version >> 16, head->version & 0xffff,
                         head->min_version >> 16, head->min_version & 0xffff, FORMAT_VERSION >> 16,
                         FORMAT_VERSION & 0xffff);
    if (head->arch != FORMAT_ARCH_X86_64 || head->page_bytes != PAGE_BYTES)
        return error_set(reader->err, MF_E_SNAPSHOT,
                         "%.120s: is of another architecture (%u, pages of %u bytes); this library "
                         "knows x86-64 (%u) only",
                         reader->source.path, head->arch, head->page_bytes, FORMAT_ARCH_X86_64);
    return 0;
}

/* Whether `pages` of guest memory are not more than a file of this size may bring. */
static bool within_expansion(const struct reader *reader, uint64_t pages)
{
    return pages <= UINT32_MAX &&
           pages * PAGE_BYTES / FORMAT_EXPANSION_MAX <= reader->source.size;
}

static int check_head(struct reader *reader)
{
    struct format_head *head = &reader->first.head;
    uint64_t checksum = head->checksum;
    bool child = head->flags & FORMAT_FLAG_CHILD;
    static const uint8_t none[MF_DIGEST_BYTES];
    head->checksum = 0;
    uint64_t right = checksum_of(reader->first.bytes, sizeof reader->first.bytes);
    head->checksum = checksum;
    if (right != checksum)
        return damaged(reader, "the checksum of its head is wrong");
    if (head->file_bytes != reader->source.size)
        return error_set(reader->err, MF_E_SNAPSHOT,
                         "%.120s: damaged snapshot file: it has %llu bytes instead of %llu",
                         reader->source.path, (unsigned long long)reader->source.size,
                         (unsigned long long)head->file_bytes);
    if (head->flags & ~FORMAT_FLAGS)
        return error_set(reader->err, MF_E_SNAPSHOT,
                         "%.120s: needs features (%#x) that this version does not know: update "
                         "Mayfly",
                         reader->source.path, head->flags & ~FORMAT_FLAGS);
    if (head->memory_bytes % PAGE_BYTES != 0 || head->memory_bytes > FORMAT_MEMORY_MAX ||
        head->nsections > FORMAT_SECTIONS_MAX || !within_expansion(reader, head->run_pages) ||
        !within_expansion(reader, head->stored_pages) ||
        child == (memcmp(head->parent, none, sizeof none) == 0) ||
        memchr(head->tool, 0, sizeof head->tool) == NULL ||
        memchr(head->program, 0, sizeof head->program) == NULL)
        return damaged(reader, "its head has numbers that cannot be");
    return 0;
}

static bool knows(uint32_t kind)
{
    return kind >= FORMAT_STATE && kind <= FORMAT_DATA;
}

/* Checks the place of a section that begins behind `end`, and moves that behind it. */
static int check_place(const struct reader *reader, const struct format_section *section,
                       uint64_t *end)
{
    uint64_t align = section->kind == FORMAT_DATA ? FORMAT_DATA_ALIGN : FORMAT_ALIGN;
    bool packs = (reader->first.head.flags & FORMAT_FLAG_COMPRESSED) &&
                 (section->kind == FORMAT_IMAGE || section->kind == FORMAT_DATA);
    round_up_u64(*end, align, end);
    if (section->offset != *end ||
        !range_inside(section->offset, section->bytes, reader->source.size))
        return damaged(reader, "a section is not at its place");
    if (section->raw_bytes != section->bytes && !packs && section->kind != FORMAT_DATA)
        return damaged(reader, "the size of a section is wrong");
    *end += section->bytes;
    return 0;
}

static int check_sections(struct reader *reader)
{
    const struct format_head *head = &reader->first.head;
    uint64_t end = FORMAT_HEAD_BYTES;
    memcpy(reader->sections, reader->first.bytes + sizeof *head,
           head->nsections * sizeof *reader->sections);
    for (uint32_t i = 0; i < head->nsections; i++) {
        const struct format_section *section = &reader->sections[i];
        int rc = check_place(reader, section, &end);
        if (rc != 0)
            return rc;
        if (!knows(section->kind)) {
            if (section->flags & FORMAT_SECTION_NEEDED)
                return error_set(reader->err, MF_E_SNAPSHOT,
                                 "%.120s: has a section of kind %u, which this version does not "
                                 "know: update Mayfly",
                                 reader->source.path, section->kind);
            continue;
        }
        if (reader->section[section->kind])
            return damaged(reader, "it has two sections of one kind");
        reader->section[section->kind] = section;
    }
    for (unsigned kind = FORMAT_STATE; kind <= FORMAT_DATA; kind++)
        if (!reader->section[kind] &&
            (kind != FORMAT_IMAGE || !(head->flags & FORMAT_FLAG_CHILD)))
            return damaged(reader, "a section is missing");
    const struct format_section *data = reader->section[FORMAT_DATA];
    if (data != &reader->sections[head->nsections - 1] || end != reader->source.size ||
        data->raw_bytes != head->stored_pages * PAGE_BYTES)
        return damaged(reader, "its page data is not at its end");
    return 0;
}

static int read_head(struct reader *reader)
{
    if (reader->source.size < FORMAT_HEAD_BYTES)
        return error_set(reader->err, MF_E_SNAPSHOT,
                         "%.150s: is no snapshot file, or only the beginning of one",
                         reader->source.path);
    int rc = source_read(&reader->source, 0, reader->first.bytes, FORMAT_HEAD_BYTES, reader->err);
    if (rc == 0)
        rc = check_version(reader);
    if (rc == 0)
        rc = check_head(reader);
    return rc == 0 ? check_sections(reader) : rc;
}

/* ---- the sections before DATA ---- */

static int read_section(struct reader *reader, const struct format_section *section)
{
    uint8_t *bytes = malloc(section->bytes + 1);
    if (!bytes)
        return no_memory(reader);
    int rc = source_read(&reader->source, section->offset, bytes, section->bytes, reader->err);
    if (rc == 0 && checksum_of(bytes, section->bytes) != section->checksum)
        rc = damaged(reader, "the checksum of a section is wrong");
    if (rc != 0 || !knows(section->kind))
        free(bytes);
    else
        reader->bytes[section->kind] = bytes;
    return rc;
}

/* Whether the file itself will be the guest's memory. */
static bool is_mapped(const struct reader *reader)
{
    return reader->opening->trusted && reader->first.head.flags == 0 &&
           reader->section[FORMAT_RUNS]->bytes / sizeof(struct format_run) <= DATA_RUNS_MAPPED;
}

static int read_sections(struct reader *reader)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < reader->first.head.nsections; i++) {
        const struct format_section *section = &reader->sections[i];
        if (section->kind == FORMAT_DATA ||
            (section->kind == FORMAT_BLOCKS && is_mapped(reader)))
            continue;
        rc = read_section(reader, section);
    }
    return rc;
}

static int unpack_image(struct reader *reader, const struct format_section *section)
{
    uint8_t *packed = reader->bytes[FORMAT_IMAGE];
    if (section->raw_bytes > IMAGE_BYTES_MAX ||
        section->raw_bytes / FORMAT_EXPANSION_MAX > section->bytes ||
        ZSTD_getFrameContentSize(packed, section->bytes) != section->raw_bytes ||
        ZSTD_findFrameCompressedSize(packed, section->bytes) != section->bytes)
        return damaged(reader, "its program cannot be decompressed");
    uint8_t *raw = malloc(section->raw_bytes + 1);
    if (!raw)
        return no_memory(reader);
    size_t len = ZSTD_decompress(raw, section->raw_bytes, packed, section->bytes);
    free(packed);
    reader->bytes[FORMAT_IMAGE] = raw;
    return len == section->raw_bytes ? 0 : damaged(reader, "its program cannot be decompressed");
}

static int open_image(struct reader *reader)
{
    const struct format_section *section = reader->section[FORMAT_IMAGE];
    const struct format_head *head = &reader->first.head;
    char name[sizeof head->program];
    struct mf_error why;
    if (!section) {
        reader->image = mf_image_hold(reader->parent->image);
        return 0;
    }
    int rc = section->raw_bytes != section->bytes ? unpack_image(reader, section) : 0;
    if (rc != 0)
        return rc;
    format_text(name, head->program, sizeof name);
    rc = mf_image_from_memory(reader->bytes[FORMAT_IMAGE], section->raw_bytes,
                              name[0] ? name : "snapshot", &reader->image, &why);
    if (rc == MF_E_IMAGE || rc == MF_E_SIGNATURE)
        rc = MF_E_SNAPSHOT;
    return rc == 0 ? 0
                   : error_set(reader->err, rc, "%.80s: the program in it cannot be used: %s",
                               reader->source.path, why.message);
}

static int check_functions(struct reader *reader)
{
    size_t len;
    char *text = format_functions(reader->image, &len);
    if (!text)
        return no_memory(reader);
    bool same = len == reader->section[FORMAT_FUNCTIONS]->bytes &&
                memcmp(text, reader->bytes[FORMAT_FUNCTIONS], len) == 0;
    free(text);
    return same ? 0 : damaged(reader, "its host functions are not those of its program");
}

static int open_parent(struct reader *reader)
{
    const struct format_head *head = &reader->first.head;
    if (!(head->flags & FORMAT_FLAG_CHILD))
        return 0;
    int rc = snap_open_parent(head, reader->opening, &reader->parent, reader->err);
    if (rc != 0)
        return error_wrap(reader->err, rc, "%.60s", file_name(reader->source.path));
    if (reader->parent->saved.memory_bytes != head->memory_bytes)
        return damaged(reader, "its parent has another size of memory");
    return 0;
}

static int open_state(struct reader *reader)
{
    int rc = state_decode(reader->bytes[FORMAT_STATE], reader->section[FORMAT_STATE]->bytes,
                          &reader->saved, reader->err);
    if (rc == 0 && reader->saved.memory_bytes != reader->first.head.memory_bytes)
        return damaged(reader, "its state is of another size of memory");
    return rc == 0 ? check_state(&reader->saved, reader->image, reader->err) : rc;
}

/* ---- runs and blocks ---- */

static int check_runs(const struct reader *reader)
{
    const struct format_head *head = &reader->first.head;
    const struct format_run *runs = (const struct format_run *)reader->bytes[FORMAT_RUNS];
    uint64_t bytes = reader->section[FORMAT_RUNS]->bytes, npages = head->memory_bytes / PAGE_BYTES;
    uint64_t next = 0, sum = 0;
    if (bytes % sizeof *runs != 0)
        return damaged(reader, "the size of a section is wrong");
    for (uint64_t i = 0; i < bytes / sizeof *runs; i++) {
        if (runs[i].page < next || runs[i].npages == 0 ||
            !range_inside(runs[i].page, runs[i].npages, npages))
            return damaged(reader, "its pages are not in order");
        if (runs[i].place == FORMAT_ZERO ? !(head->flags & FORMAT_FLAG_CHILD)
                                         : !range_inside(runs[i].place, runs[i].npages,
                                                         head->stored_pages))
            return damaged(reader, "the contents of a page are not in it");
        next = (uint64_t)runs[i].page + runs[i].npages;
        sum += runs[i].npages;
    }
    return sum == head->run_pages ? 0 : damaged(reader, "it has another number of pages");
}

static int check_blocks(const struct reader *reader)
{
    const struct format_head *head = &reader->first.head;
    const struct format_block *blocks = (const struct format_block *)reader->bytes[FORMAT_BLOCKS];
    uint64_t n = reader->section[FORMAT_BLOCKS]->bytes / sizeof *blocks, bytes = 0, pages = 0;
    uint64_t most = head->flags & FORMAT_FLAG_COMPRESSED ? FORMAT_BLOCK_PAGES : 1;
    if (reader->section[FORMAT_BLOCKS]->bytes % sizeof *blocks != 0)
        return damaged(reader, "the size of a section is wrong");
    for (uint64_t i = 0; i < n; i++) {
        uint64_t raw = blocks[i].npages * PAGE_BYTES;
        if (blocks[i].npages == 0 || blocks[i].npages > most || blocks[i].bytes == 0 ||
            blocks[i].bytes > raw || (most == 1 && blocks[i].bytes != raw))
            return damaged(reader, "a block of page data has an impossible size");
        bytes += blocks[i].bytes;
        pages += blocks[i].npages;
    }
    if (pages != head->stored_pages || bytes > reader->section[FORMAT_DATA]->bytes)
        return damaged(reader, "its blocks are not its page data");
    return 0;
}

/* ---- page data, and the snapshot ---- */

/* Makes the snapshot out of its pages; takes over what the state points to. */
static int create(struct reader *reader, const struct data *data, struct mf_snapshot **out)
{
    struct snap_pages pages;
    struct mem_root *root = NULL;
    int rc;
    if (reader->parent)
        rc = data_copy_pages(data, &pages, reader->err);
    else if (is_mapped(reader))
        rc = data_map_root(data, &root, reader->err);
    else
        rc = data_copy_root(data, &root, reader->err);
    if (rc != 0)
        return rc;
    rc = snap_create(reader->image, reader->parent, root, &reader->saved,
                     reader->parent ? &pages : NULL, out, reader->err);
    mem_root_close(root);
    reader->saved.mem_free = NULL;
    reader->saved.areas = NULL;
    if (rc == 0)
        (*out)->taken_unix_ns = reader->first.head.taken_unix_ns;
    return rc;
}

/* Every page that the runs name lies in the file, if nothing else is checked of them. */
static int check_mapped(const struct reader *reader)
{
    const struct format_section *data = reader->section[FORMAT_DATA];
    return data->raw_bytes <= data->bytes ? 0 : damaged(reader, "its page data is cut off");
}

static int open_pages(struct reader *reader, struct mf_snapshot **out)
{
    bool mapped = is_mapped(reader);
    int rc = check_runs(reader);
    if (rc == 0)
        rc = mapped ? check_mapped(reader) : check_blocks(reader);
    if (rc != 0)
        return rc;
    const struct data data = {
        .source = &reader->source,
        .compressed = reader->first.head.flags & FORMAT_FLAG_COMPRESSED,
        .offset = reader->section[FORMAT_DATA]->offset,
        .nstored = reader->first.head.stored_pages,
        .runs = (const struct format_run *)reader->bytes[FORMAT_RUNS],
        .nruns = reader->section[FORMAT_RUNS]->bytes / sizeof(struct format_run),
        .blocks = (const struct format_block *)reader->bytes[FORMAT_BLOCKS],
        .nblocks = mapped ? 0
                          : reader->section[FORMAT_BLOCKS]->bytes / sizeof(struct format_block),
    };
    rc = create(reader, &data, out);
    /* Those of a file that is mapped are checked when they are loaded (restore.c). */
    if (rc == 0 && !mapped)
        rc = check_memory(*out, NULL, reader->err);
    if (rc == MF_E_SNAPSHOT)
        rc = error_wrap(reader->err, rc, "%.80s", reader->source.path);
    return rc;
}

static int open_all(struct reader *reader, struct mf_snapshot **out)
{
    int rc = read_head(reader);
    const struct format_head *head = &reader->first.head;
    if (rc == 0 && head->memory_bytes > reader->opening->max_memory_bytes)
        return error_set(reader->err, MF_E_ARGUMENT,
                         "%.120s: has %llu MiB of guest memory, and at most %llu MiB are allowed",
                         reader->source.path, (unsigned long long)(head->memory_bytes >> 20),
                         (unsigned long long)(reader->opening->max_memory_bytes >> 20));
    if (rc == 0)
        rc = read_sections(reader);
    if (rc == 0)
        rc = open_parent(reader);
    if (rc == 0)
        rc = open_image(reader);
    if (rc == 0)
        rc = check_functions(reader);
    if (rc == 0)
        rc = open_state(reader);
    return rc == 0 ? open_pages(reader, out) : rc;
}

static void fini(struct reader *reader)
{
    for (unsigned kind = 0; kind < KINDS; kind++)
        free(reader->bytes[kind]);
    saved_fini(&reader->saved);
    mf_image_close(reader->image);
    mf_snapshot_close(reader->parent);
    source_close(&reader->source);
    free(reader);
}

int snap_open(const char *path, const struct opening *opening, const uint8_t *known,
              struct mf_snapshot **out, struct mf_error *err)
{
    uint8_t digest[MF_DIGEST_BYTES];
    *out = NULL;
    struct reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return error_set(err, MF_E_NO_MEMORY, "no memory to open a snapshot file");
    reader->opening = opening;
    reader->err = err;
    int rc = source_open(&reader->source, path, opening->fd, opening->trusted, err);
    if (rc == 0)
        rc = open_all(reader, out);
    if (rc == 0 && !opening->trusted) {
        rc = source_finish(&reader->source, digest, err);
        known = digest;
    }
    if (rc == 0 && known)
        snap_set_digest(*out, known, reader->first.head.checksum);
    if (rc != 0) {
        mf_snapshot_close(*out);
        *out = NULL;
    }
    fini(reader);
    return rc;
}

int snap_read_head(const char *path, struct format_head *head,
                   struct format_section sections[FORMAT_SECTIONS_MAX], struct mf_error *err)
{
    struct reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return error_set(err, MF_E_NO_MEMORY, "no memory to open a snapshot file");
    reader->err = err;
    int rc = source_open(&reader->source, path, -1, true, err);
    if (rc == 0)
        rc = read_head(reader);
    if (rc == 0) {
        *head = reader->first.head;
        memcpy(sections, reader->sections, sizeof reader->sections);
    }
    fini(reader);
    return rc;
}

int mf_snapshot_open(const char *path, const struct mf_snapshot_open_options *options,
                     struct mf_snapshot **out, struct mf_error *err)
{
    struct mf_snapshot_open_options o = {.size = sizeof o};
    struct mf_error own;
    char folder[PATH_MAX];
    uint8_t digest[MF_DIGEST_BYTES];
    err = err ? err : &own;
    error_clear(err);
    if (!path || !out)
        return error_set(err, MF_E_ARGUMENT, "opening needs a path and a place for the result");
    *out = NULL;
    if (options && options->size < sizeof options->size)
        return error_set(err, MF_E_ARGUMENT, "options.size is %zu; set it to "
                         "sizeof(struct mf_snapshot_open_options)", options->size);
    if (options)
        memcpy(&o, options, MIN(options->size, sizeof o));
    if (strlen(path) >= sizeof folder)
        return error_set(err, MF_E_ARGUMENT, "the path of a snapshot file is too long");
    file_folder(path, folder, sizeof folder);
    const struct opening opening = {
        .trusted = o.trusted != 0,
        .fd = -1,
        .folders = {folder, o.store},
        .max_memory_bytes = o.max_memory_bytes ? o.max_memory_bytes : FORMAT_MEMORY_MAX,
    };
    bool named = opening.trusted && snap_name_digest(path, digest);
    return snap_open(path, &opening, named ? digest : NULL, out, err);
}
