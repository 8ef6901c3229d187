/*
 * Files. A new one is written without a name (O_TMPFILE) where the file system can do that, so
 * that nothing is left of it when the process is killed on the way; it gets a temporary name
 * only to be renamed at once, because no call replaces a file by one that has no name.
 */
#include "snapshot/file.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

int file_size(int fd, const char *path, uint64_t *size, struct mf_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_set_errno(err, MF_E_SYSTEM, errno, "%.150s: cannot be read", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, MF_E_SNAPSHOT, "%.150s: is no regular file", path);
    *size = (uint64_t)st.st_size;
    return 0;
}

int file_open(const char *path, int *fd, uint64_t *size, struct mf_error *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0)
        return error_set_errno(err, MF_E_SYSTEM, errno, "%.150s: cannot be opened", path);
    int rc = file_size(*fd, path, size, err);
    if (rc != 0) {
        close(*fd);
        *fd = -1;
    }
    return rc;
}

const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void file_folder(const char *path, char *folder, size_t size)
{
    size_t len = (size_t)(file_name(path) - path);
    if (len == 0)
        snprintf(folder, size, ".");
    else
        snprintf(folder, size, "%.*s", (int)(len > 1 ? len - 1 : len), path);
}

static bool make_temp_name(struct new_file *file)
{
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return false;
    snprintf(file->temp, sizeof file->temp, ".mayfly-%016llx.tmp", (unsigned long long)random);
    return true;
}

/* Opens the new file, without a name if that (and naming it later) can be. -1 with errno. */
static int open_new(struct new_file *file)
{
    if (access("/proc/self/fd", X_OK) == 0) {
        file->fd = openat(file->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (file->fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
            return file->fd;
    }
    if (make_temp_name(file))
        file->fd = openat(file->dir, file->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file->fd < 0)
        file->temp[0] = 0;
    return file->fd;
}

int new_file_create(struct new_file *file, const char *path, struct mf_error *err)
{
    char folder[PATH_MAX];
    struct stat st;
    *file = (struct new_file){.fd = -1, .dir = -1};
    const char *name = file_name(path);
    if (!*name || strlen(name) >= sizeof file->name || strlen(path) >= sizeof folder)
        return error_set_errno(err, MF_E_SYSTEM, *name ? ENAMETOOLONG : EISDIR,
                               "%.150s: cannot be written", path);
    memcpy(file->name, name, strlen(name) + 1);
    file_folder(path, folder, sizeof folder);
    file->dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file->dir < 0)
        return error_set_errno(err, MF_E_SYSTEM, errno, "the folder %.150s cannot be opened",
                               folder);
    if (open_new(file) < 0) {
        int rc = error_set_errno(err, MF_E_SYSTEM, errno,
                                 "no file can be written in the folder %.150s", folder);
        new_file_abort(file);
        return rc;
    }
    /* Who may read the old file may read the new one; otherwise only its owner. */
    if (fstatat(file->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
        (void)!fchmod(file->fd, st.st_mode & 0777);
    return 0;
}

/* Gives the file a temporary name if it has none. 0 or an errno. */
static int link_temp(struct new_file *file)
{
    char self[40];
    if (file->temp[0])
        return 0;
    if (!make_temp_name(file))
        return errno;
    snprintf(self, sizeof self, "/proc/self/fd/%d", file->fd);
    if (linkat(AT_FDCWD, self, file->dir, file->temp, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    int failed = errno;
    file->temp[0] = 0;
    return failed;
}

int new_file_commit(struct new_file *file, struct mf_error *err)
{
    int failed = fsync(file->fd) != 0 ? errno : link_temp(file);
    if (failed == 0 && renameat(file->dir, file->temp, file->dir, file->name) != 0)
        failed = errno;
    if (failed == 0)
        file->temp[0] = 0;
    /* Some file systems cannot do that for a folder, and need it not. */
    if (failed == 0 && fsync(file->dir) != 0 && errno != EINVAL)
        failed = errno;
    int rc = failed == 0 ? 0
                         : error_set_errno(err, MF_E_SYSTEM, failed, "%.150s: cannot be written",
                                           file->name);
    new_file_abort(file);
    return rc;
}

void new_file_abort(struct new_file *file)
{
    if (file->temp[0])
        unlinkat(file->dir, file->temp, 0);
    if (file->fd >= 0)
        close(file->fd);
    if (file->dir >= 0)
        close(file->dir);
    *file = (struct new_file){.fd = -1, .dir = -1};
}
