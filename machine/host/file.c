/* Files as a whole, and parts of their names. */
#include "machine/host/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads to the end of the file, which may have changed since its size was asked. */
static int read_all(int fd, const char *path, uint8_t *data, size_t size, size_t *len,
                    struct mf_error *err)
{
    *len = 0;
    while (*len < size) {
        ssize_t n = read(fd, data + *len, size - *len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mf_fail(err, MF_E_SYSTEM, "cannot read %.150s: %s", path, strerror(errno));
        if (n == 0)
            break;
        *len += (size_t)n;
    }
    data[*len] = 0;
    return MF_OK;
}

static int check_file(int fd, const char *path, uint64_t max, struct stat *st, struct mf_error *err)
{
    if (fstat(fd, st) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot read %.150s: %s", path, strerror(errno));
    if (S_ISDIR(st->st_mode))
        return mf_fail(err, MF_E_ARGUMENT, "%.150s is a folder", path);
    if (!S_ISREG(st->st_mode))
        return mf_fail(err, MF_E_ARGUMENT, "%.150s is no ordinary file", path);
    if ((uint64_t)st->st_size > max)
        return mf_fail(err, MF_E_ARGUMENT, "%.150s is too long: more than %llu bytes", path,
                       (unsigned long long)max);
    return MF_OK;
}

int hostfile_read(const char *path, uint64_t max, uint8_t **data, size_t *len,
                  struct mf_error *err)
{
    struct stat st;

    *data = NULL;
    *len = 0;
    /* Opening a pipe would wait for somebody to write to it. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot read %.150s: %s", path, strerror(errno));
    int status = check_file(fd, path, max, &st, err);
    if (status == MF_OK) {
        *data = malloc((size_t)st.st_size + 1);
        if (*data == NULL)
            status = mf_fail(err, MF_E_NO_MEMORY, "out of memory");
        else
            status = read_all(fd, path, *data, (size_t)st.st_size, len, err);
    }
    close(fd);
    if (status != MF_OK) {
        free(*data);
        *data = NULL;
    }
    return status;
}

char *hostfile_folder(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return strdup(".");
    return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

char *hostfile_beside(const char *beside, const char *path)
{
    const char *slash = strrchr(beside, '/');
    char *joined;

    if (path[0] == '/' || slash == NULL)
        return strdup(path);
    if (asprintf(&joined, "%.*s/%s", (int)(slash - beside), beside, path) < 0)
        return NULL;
    return joined;
}

char *hostfile_stem(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(name, '.');

    return strndup(name, dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name));
}
