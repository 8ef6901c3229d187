/*
 * Finding the parent of a snapshot file.
 *
 * By its name, the digest, in the folder of the file and in the store. Then in those folders
 * under any name: the child knows a checksum of its parent's head, so each file there
 * costs one read, and only what looks right is opened in full. In any case what was
 * opened has the digest that the child names; a trusted file has it by its name.
 */
#include "base/error.h"
#include "base/fd.h"
#include "snapshot/digest.h"
#include "snapshot/file.h"
#include "snapshot/open.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* No more files than this are looked at in a folder. */
#define LOOK_MAX 65536

bool snap_name_digest(const char *path, uint8_t digest[MF_DIGEST_BYTES])
{
    const char *name = file_name(path);
    return strlen(name) == MF_DIGEST_TEXT - 1 + strlen(SNAP_SUFFIX) &&
           mf_digest_parse(name, digest) && strcmp(name + MF_DIGEST_TEXT - 1, SNAP_SUFFIX) == 0;
}

static bool join(char path[PATH_MAX], const char *folder, const char *name, const char *suffix)
{
    return snprintf(path, PATH_MAX, "%s/%s%s", folder, name, suffix) < PATH_MAX;
}

/* What the child names, and what was opened. */
struct search {
    const struct format_head *head;
    const struct opening *opening;
    struct mf_snapshot *found;
};

/* Opens what may be the parent. MF_E_PARENT when it is not. */
static int open_candidate(void *context, const char *path, struct mf_error *err)
{
    struct search *search = context;
    uint8_t digest[MF_DIGEST_BYTES];
    struct opening inner = *search->opening;
    bool named = snap_name_digest(path, digest);
    inner.depth++;
    inner.fd = -1;
    /* Only a name is trusted; without it the digest has to be calculated. */
    inner.trusted = inner.trusted && named;
    int rc = snap_open(path, &inner, named ? digest : NULL, &search->found, err);
    if (rc != 0)
        return rc;
    if (mf_snapshot_digest(search->found, digest) &&
        memcmp(digest, search->head->parent, sizeof digest) == 0)
        return 0;
    mf_snapshot_close(search->found);
    search->found = NULL;
    return error_set(err, MF_E_PARENT, "%.150s: this parent was changed: it has another digest "
                     "than its name says", path);
}

/* Whether the head of a file has the checksum that the child knows. */
static bool looks_right(const char *path, uint64_t checksum)
{
    struct format_head head;
    uint64_t size;
    int fd;
    if (file_open(path, &fd, &size, NULL) != 0)
        return false;
    int failed = fd_read(fd, &head, sizeof head, 0);
    close(fd);
    return failed == 0 && memcmp(head.magic, FORMAT_MAGIC, FORMAT_MAGIC_BYTES) == 0 &&
           head.checksum == checksum;
}

/* Looks in a folder for the parent under any name. MF_E_PARENT: not there. */
static int look_around(const char *folder, const struct format_head *head, snap_candidate_fn fn,
                       void *context, struct mf_error *err)
{
    char path[PATH_MAX];
    struct dirent *entry;
    unsigned looked = 0;
    int rc = MF_E_PARENT;
    DIR *dir = opendir(folder);
    while (dir && rc != 0 && looked++ < LOOK_MAX && (entry = readdir(dir)) != NULL) {
        if (entry->d_type != DT_REG && entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN)
            continue;
        if (join(path, folder, entry->d_name, "") && looks_right(path, head->parent_head))
            rc = fn(context, path, err);
    }
    if (dir)
        closedir(dir);
    return rc;
}

static int not_found(const char *digest, const struct opening *opening, struct mf_error *err)
{
    const char *first = opening->folders[0], *second = NULL;
    for (size_t i = 1; i < sizeof opening->folders / sizeof opening->folders[0]; i++)
        if (opening->folders[i])
            second = opening->folders[i];
    return error_set(err, MF_E_PARENT, "the parent %s is missing: looked in %.60s%s%.60s", digest,
                     first ? first : "no folder", second ? " and " : "", second ? second : "");
}

int snap_each_candidate(const struct format_head *head, const struct opening *opening,
                        snap_candidate_fn fn, void *context, struct mf_error *err)
{
    const size_t nfolders = sizeof opening->folders / sizeof opening->folders[0];
    char digest[MF_DIGEST_TEXT], path[PATH_MAX];
    if (opening->depth + 1 >= FORMAT_DEPTH_MAX)
        return error_set(err, MF_E_PARENT, "a chain of more than %d snapshot files",
                         FORMAT_DEPTH_MAX);
    mf_digest_format(head->parent, digest);
    for (size_t i = 0; i < nfolders; i++)
        if (opening->folders[i] && join(path, opening->folders[i], digest, SNAP_SUFFIX) &&
            access(path, F_OK) == 0)
            return fn(context, path, err);
    for (size_t i = 0; i < nfolders; i++)
        if (opening->folders[i] && look_around(opening->folders[i], head, fn, context, err) == 0)
            return 0;
    return not_found(digest, opening, err);
}

int snap_open_parent(const struct format_head *head, const struct opening *opening,
                     struct mf_snapshot **out, struct mf_error *err)
{
    struct search search = {.head = head, .opening = opening};
    int rc = snap_each_candidate(head, opening, open_candidate, &search, err);
    *out = search.found;
    return rc;
}
