/* Reading a snapshot file once; see source.h. */
#include "snapshot/source.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/fd.h"
#include "snapshot/file.h"

#include <string.h>
#include <unistd.h>

int source_open(struct source *source, const char *path, int fd, bool trusted,
                struct mf_error *err)
{
    *source = (struct source){.fd = fd, .path = path, .trusted = trusted, .borrowed = fd >= 0};
    digest_init(&source->digest);
    return fd < 0 ? file_open(path, &source->fd, &source->size, err)
                  : file_size(fd, path, &source->size, err);
}

void source_close(struct source *source)
{
    if (source->fd >= 0 && !source->borrowed)
        close(source->fd);
    source->fd = -1;
}

int source_damaged(const struct source *source, const char *what, struct mf_error *err)
{
    return error_set(err, MF_E_SNAPSHOT, "%.120s: damaged snapshot file: %s", source->path, what);
}

static int read_next(struct source *source, void *buf, size_t len, struct mf_error *err)
{
    int failed = fd_read(source->fd, buf, len, source->at);
    if (failed > 0)
        return error_set_errno(err, MF_E_SYSTEM, failed, "%.150s: cannot be read", source->path);
    if (failed < 0)
        return source_damaged(source, "it became shorter while it was read", err);
    if (!source->trusted)
        digest_add(&source->digest, buf, len);
    source->at += len;
    return 0;
}

static int skip(struct source *source, uint64_t offset, struct mf_error *err)
{
    uint8_t buf[4096];
    while (source->at < offset) {
        size_t len = (size_t)MIN((uint64_t)sizeof buf, offset - source->at);
        int rc = read_next(source, buf, len, err);
        if (rc != 0)
            return rc;
        if (buf[0] != 0 || memcmp(buf, buf + 1, len - 1) != 0)
            return source_damaged(source, "bytes between its sections are not zero", err);
    }
    return 0;
}

int source_read(struct source *source, uint64_t offset, void *buf, size_t len,
                struct mf_error *err)
{
    if (source->trusted)
        source->at = offset;
    int rc = skip(source, offset, err);
    return rc == 0 ? read_next(source, buf, len, err) : rc;
}

int source_finish(struct source *source, uint8_t digest[MF_DIGEST_BYTES], struct mf_error *err)
{
    int rc = skip(source, source->size, err);
    digest_fini(&source->digest, digest);
    return rc;
}
