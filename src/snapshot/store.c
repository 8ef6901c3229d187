/*
 * Stores: folders of snapshot files that were checked when they came in, named by their
 * digests; checking files, and what their heads say.
 */
#include "base/checked.h"
#include "base/error.h"
#include "base/fd.h"
#include "snapshot/digest.h"
#include "snapshot/file.h"
#include "snapshot/open.h"
#include "snapshot/source.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES (UINT64_C(256) << 10)

size_t mf_snapshot_store_path(const char *store, const uint8_t digest[MF_DIGEST_BYTES], char *buf,
                              size_t size)
{
    char text[MF_DIGEST_TEXT];
    mf_digest_format(digest, text);
    return (size_t)snprintf(buf, size, "%s/%s" SNAP_SUFFIX, store, text);
}

/* ---- adding ---- */

static int copy_file(int from, uint64_t size, int to, const char *path, struct mf_error *err)
{
    uint8_t *buffer = malloc(COPY_BYTES);
    if (!buffer)
        return error_set(err, MF_E_NO_MEMORY, "no memory to copy a snapshot file");
    int failed = 0;
    for (uint64_t at = 0; failed == 0 && at < size; at += COPY_BYTES) {
        size_t len = (size_t)MIN(COPY_BYTES, size - at);
        failed = fd_read(from, buffer, len, at);
        if (failed == 0)
            failed = fd_write(to, buffer, len, at);
    }
    free(buffer);
    if (failed < 0)
        return error_set(err, MF_E_SNAPSHOT, "%.150s: became shorter while it was copied", path);
    return failed == 0 ? 0 : error_set_errno(err, MF_E_SYSTEM, failed,
                                             "%.150s: cannot be copied to the store", path);
}

struct adding {
    const char *store;
    unsigned depth;
    const uint8_t *wanted; /* the digest that it must have, or NULL */
    uint8_t *digest;       /* gets what it has */
};

static int add(const struct adding *adding, const char *path, struct mf_error *err);

static int add_candidate(void *context, const char *path, struct mf_error *err)
{
    return add(context, path, err);
}

/* Sees to it that the parent of a file is in the store. */
static int add_parent(const struct adding *adding, const char *folder, const char *path,
                      struct mf_error *err)
{
    struct format_section sections[FORMAT_SECTIONS_MAX];
    struct format_head head;
    char there[PATH_MAX];
    uint8_t digest[MF_DIGEST_BYTES];
    int rc = snap_read_head(path, &head, sections, err);
    if (rc != 0 || !(head.flags & FORMAT_FLAG_CHILD))
        return rc;
    if (mf_snapshot_store_path(adding->store, head.parent, there, sizeof there) < sizeof there &&
        access(there, F_OK) == 0)
        return 0;
    const struct opening opening = {.fd = -1, .folders = {folder}, .depth = adding->depth};
    struct adding above = {
        .store = adding->store,
        .depth = adding->depth + 1,
        .wanted = head.parent,
        .digest = digest,
    };
    return snap_each_candidate(&head, &opening, add_candidate, &above, err);
}

/* Checks the copy, whose parents are in the store, and tells its digest. */
static int check_copy(const struct adding *adding, const struct new_file *file, const char *path,
                      struct mf_error *err)
{
    const struct opening opening = {
        .fd = file->fd,
        .folders = {adding->store},
        .max_memory_bytes = FORMAT_MEMORY_MAX,
        .depth = adding->depth,
    };
    struct mf_snapshot *snapshot;
    int rc = snap_open(path, &opening, NULL, &snapshot, err);
    if (rc != 0)
        return rc;
    mf_snapshot_digest(snapshot, adding->digest);
    mf_snapshot_close(snapshot);
    if (adding->wanted && memcmp(adding->wanted, adding->digest, MF_DIGEST_BYTES) != 0)
        return error_set(err, MF_E_PARENT, "%.150s: this parent was changed: it has another digest "
                         "than its name says", path);
    return 0;
}

static int add_file(const struct adding *adding, const char *path, struct mf_error *err)
{
    char name[PATH_MAX];
    struct new_file file;
    uint64_t size;
    int fd;
    if (snprintf(name, sizeof name, "%s/new" SNAP_SUFFIX, adding->store) >= (int)sizeof name)
        return error_set(err, MF_E_ARGUMENT, "the path of the store is too long");
    int rc = file_open(path, &fd, &size, err);
    if (rc != 0)
        return rc;
    rc = new_file_create(&file, name, err);
    if (rc == 0)
        rc = copy_file(fd, size, file.fd, path, err);
    close(fd);
    if (rc == 0)
        rc = check_copy(adding, &file, path, err);
    if (rc != 0) {
        new_file_abort(&file);
        return rc;
    }
    mf_digest_format(adding->digest, file.name);
    memcpy(file.name + MF_DIGEST_TEXT - 1, SNAP_SUFFIX, sizeof SNAP_SUFFIX);
    return new_file_commit(&file, err);
}

static int add(const struct adding *adding, const char *path, struct mf_error *err)
{
    char folder[PATH_MAX];
    if (strlen(path) >= sizeof folder)
        return error_set(err, MF_E_ARGUMENT, "the path of a snapshot file is too long");
    file_folder(path, folder, sizeof folder);
    int rc = add_parent(adding, folder, path, err);
    return rc == 0 ? add_file(adding, path, err) : rc;
}

int mf_snapshot_store_add(const char *path, const char *store, uint8_t digest[MF_DIGEST_BYTES],
                          struct mf_error *err)
{
    uint8_t sum[MF_DIGEST_BYTES];
    struct mf_error own;
    err = err ? err : &own;
    error_clear(err);
    if (!path || !store)
        return error_set(err, MF_E_ARGUMENT, "adding needs a file and a store (NULL)");
    const struct adding adding = {.store = store, .digest = digest ? digest : sum};
    return add(&adding, path, err);
}

/* ---- listing, checking ---- */

int64_t mf_snapshot_store_list(const char *store,
                               void (*fn)(void *context, const uint8_t digest[MF_DIGEST_BYTES],
                                          uint64_t file_bytes),
                               void *context, struct mf_error *err)
{
    uint8_t digest[MF_DIGEST_BYTES];
    struct dirent *entry;
    struct stat st;
    int64_t count = 0;
    error_clear(err);
    if (!store)
        return error_set(err, MF_E_ARGUMENT, "no store given (NULL)");
    DIR *dir = opendir(store);
    if (!dir)
        return error_set_errno(err, MF_E_SYSTEM, errno, "the store %.150s cannot be read", store);
    while ((entry = readdir(dir)) != NULL) {
        if (!snap_name_digest(entry->d_name, digest) ||
            fstatat(dirfd(dir), entry->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode))
            continue;
        count++;
        if (fn)
            fn(context, digest, (uint64_t)st.st_size);
    }
    closedir(dir);
    return count;
}

int mf_snapshot_verify(const char *path, const struct mf_snapshot_open_options *options,
                       uint8_t digest[MF_DIGEST_BYTES], struct mf_error *err)
{
    struct mf_snapshot_open_options o = {.size = sizeof o};
    uint8_t sum[MF_DIGEST_BYTES], named[MF_DIGEST_BYTES];
    struct mf_snapshot *snapshot;
    if (options)
        memcpy(&o, options, MIN(options->size, sizeof o));
    o.size = sizeof o;
    o.trusted = 0;
    int rc = mf_snapshot_open(path, &o, &snapshot, err);
    if (rc != 0)
        return rc;
    mf_snapshot_digest(snapshot, sum);
    mf_snapshot_close(snapshot);
    if (snap_name_digest(path, named) && memcmp(sum, named, sizeof sum) != 0)
        return error_set(err, MF_E_SNAPSHOT,
                         "%.150s: is right in itself, but another file than its name says", path);
    if (digest)
        memcpy(digest, sum, sizeof sum);
    return 0;
}

/* ---- finding a parent ---- */

struct finding {
    const uint8_t *wanted;
    char *buf;
    size_t size;
};

static int hash_whole(const char *path, uint8_t digest[MF_DIGEST_BYTES], struct mf_error *err)
{
    struct source source;
    uint8_t *buffer = malloc(COPY_BYTES);
    if (!buffer)
        return error_set(err, MF_E_NO_MEMORY, "no memory to read a snapshot file");
    int rc = source_open(&source, path, -1, false, err);
    while (rc == 0 && source.at < source.size)
        rc = source_read(&source, source.at, buffer,
                         (size_t)MIN(COPY_BYTES, source.size - source.at), err);
    if (rc == 0)
        rc = source_finish(&source, digest, err);
    source_close(&source);
    free(buffer);
    return rc;
}

static int take_candidate(void *context, const char *path, struct mf_error *err)
{
    struct finding *finding = context;
    uint8_t digest[MF_DIGEST_BYTES];
    int rc = snap_name_digest(path, digest) ? 0 : hash_whole(path, digest, err);
    if (rc != 0)
        return rc;
    if (memcmp(digest, finding->wanted, sizeof digest) != 0)
        return error_set(err, MF_E_PARENT, "%.150s: is another file than it seems", path);
    if (snprintf(finding->buf, finding->size, "%s", path) >= (int)finding->size)
        return error_set(err, MF_E_ARGUMENT, "the path of the parent is too long");
    return 0;
}

int mf_snapshot_find_parent(const char *path, const struct mf_snapshot_open_options *options,
                            char *buf, size_t size, struct mf_error *err)
{
    struct format_section sections[FORMAT_SECTIONS_MAX];
    struct format_head head;
    struct mf_error own;
    char folder[PATH_MAX];
    err = err ? err : &own;
    error_clear(err);
    if (!path || !buf || size == 0 || strlen(path) >= sizeof folder)
        return error_set(err, MF_E_ARGUMENT, "no path of a snapshot file, or no place (NULL)");
    buf[0] = 0;
    int rc = snap_read_head(path, &head, sections, err);
    if (rc != 0 || !(head.flags & FORMAT_FLAG_CHILD))
        return rc;
    file_folder(path, folder, sizeof folder);
    const bool has_store = options && options->size >= offsetof(struct mf_snapshot_open_options,
                                                                max_memory_bytes);
    const struct opening opening = {
        .fd = -1, .folders = {folder, has_store ? options->store : NULL}};
    struct finding finding = {.wanted = head.parent, .buf = buf, .size = size};
    return snap_each_candidate(&head, &opening, take_candidate, &finding, err);
}

/* ---- heads ---- */

int mf_snapshot_get_file_info(const char *path, struct mf_snapshot_file_info *info,
                              struct mf_error *err)
{
    struct format_section sections[FORMAT_SECTIONS_MAX];
    struct format_head head;
    error_clear(err);
    if (!path || !info)
        return error_set(err, MF_E_ARGUMENT, "no path of a snapshot file, or no place (NULL)");
    int rc = snap_read_head(path, &head, sections, err);
    if (rc != 0)
        return rc;
    struct mf_snapshot_file_info now = {
        .size = info->size,
        .version = head.version,
        .min_version = head.min_version,
        .file_bytes = head.file_bytes,
        .memory_bytes = head.memory_bytes,
        .pages = head.run_pages,
        .stored_pages = head.stored_pages,
        .taken_unix_ns = head.taken_unix_ns,
        .compressed = (head.flags & FORMAT_FLAG_COMPRESSED) != 0,
        .has_parent = (head.flags & FORMAT_FLAG_CHILD) != 0,
    };
    for (uint32_t i = 0; i < head.nsections; i++)
        if (sections[i].kind == FORMAT_IMAGE)
            now.image_bytes = sections[i].raw_bytes;
    memcpy(now.parent, head.parent, sizeof now.parent);
    format_text(now.tool, head.tool, sizeof now.tool);
    format_text(now.program, head.program, sizeof now.program);
    memcpy(info, &now, MIN(info->size, sizeof now));
    return 0;
}
