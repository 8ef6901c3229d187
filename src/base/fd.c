/* Reads and writes that a signal or a short transfer does not end. */
#include "base/fd.h"

#include <errno.h>
#include <unistd.h>

int fd_read(int fd, void *buf, size_t len, uint64_t offset)
{
    uint8_t *at = buf;
    while (len > 0) {
        ssize_t got = pread(fd, at, len, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? errno : -1;
        at += got;
        offset += (uint64_t)got;
        len -= (size_t)got;
    }
    return 0;
}

int fd_write(int fd, const void *buf, size_t len, uint64_t offset)
{
    const uint8_t *at = buf;
    while (len > 0) {
        ssize_t put = pwrite(fd, at, len, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? errno : ENOSPC;
        at += put;
        offset += (uint64_t)put;
        len -= (size_t)put;
    }
    return 0;
}
