/*
 * What the commands that take or make snapshot files have in common. A snapshot is
 * recognised by its first bytes and never by its name, so that it can stand wherever an
 * image can.
 */
#include "snapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * The beginning of the magic (docs/formats/snapshot.md). No more than this: a file whose
 * magic was damaged further on shall be told of as a damaged snapshot.
 */
static const char magic[4] = "\x89MFS";

/* Opens without waiting for the other end of a pipe. */
static int open_at_once(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

static bool begins_with(int fd, const char begin[4])
{
    char found[4];

    return pread(fd, found, sizeof found, 0) == (ssize_t)sizeof found &&
           memcmp(found, begin, sizeof found) == 0;
}

static bool file_begins_with(const char *path, const char begin[4])
{
    int fd = open_at_once(path);

    if (fd < 0)
        return false;
    bool is = begins_with(fd, begin);
    close(fd);
    return is;
}

bool snapfile_recognise(const char *path)
{
    return file_begins_with(path, magic);
}

bool snapfile_is_program(const char *path)
{
    return file_begins_with(path, "\x7f" "ELF");
}

int snapfile_open(const char *path, const struct cli_options *options, struct mf_snapshot **out,
                  struct mf_error *err)
{
    struct mf_snapshot_open_options open_options = {
        .size = sizeof open_options,
        .store = options->store,
    };

    return mf_snapshot_open(path, &open_options, out, err);
}

void snapfile_format_digest(const uint8_t bytes[MF_DIGEST_BYTES], char text[SNAPFILE_DIGEST_TEXT])
{
    char digits[MF_DIGEST_TEXT];

    mf_digest_format(bytes, digits);
    snprintf(text, SNAPFILE_DIGEST_TEXT, "sha256:%s", digits);
}

void snapfile_digest(const struct mf_snapshot *snapshot, char text[SNAPFILE_DIGEST_TEXT])
{
    uint8_t bytes[MF_DIGEST_BYTES];

    text[0] = 0;
    if (mf_snapshot_digest(snapshot, bytes))
        snapfile_format_digest(bytes, text);
}

const char *snapfile_stopped_name(enum mf_stopped stopped)
{
    switch (stopped) {
    case MF_STOPPED_START:
        return "start";
    case MF_STOPPED_CALL:
        return "call";
    case MF_STOPPED_RUN:
        return "run";
    case MF_STOPPED_NOTHING:
        break;
    }
    return "nothing";
}

const char *snapfile_stopped_text(enum mf_stopped stopped)
{
    switch (stopped) {
    case MF_STOPPED_START:
        return "frozen while it started";
    case MF_STOPPED_CALL:
        return "frozen in the middle of a call";
    case MF_STOPPED_RUN:
        return "frozen in the middle of a program";
    case MF_STOPPED_NOTHING:
        break;
    }
    return "between calls";
}

int snapfile_check_output(const char *path, struct mf_error *err)
{
    struct stat st;

    if (path[0] == 0 || strcmp(path, "-") == 0)
        return mf_fail(err, MF_E_ARGUMENT,
                       "-o '%s': a snapshot goes to a file that has a name", path);
    int fd = open_at_once(path);
    if (fd < 0 && errno == ENOENT)
        return MF_OK;
    if (fd < 0)
        return mf_fail(err, MF_E_SYSTEM, "%.150s: what is there cannot be read: %s", path,
                       strerror(errno));
    bool known = fstat(fd, &st) == 0;
    bool replaceable =
        known && S_ISREG(st.st_mode) && (st.st_size == 0 || begins_with(fd, magic));
    close(fd);
    if (replaceable)
        return MF_OK;
    if (known && S_ISDIR(st.st_mode))
        return mf_fail(err, MF_E_ARGUMENT, "%.150s: is a directory; name a file in it", path);
    return mf_fail(err, MF_E_ARGUMENT,
                   "%.150s: is there and is no snapshot; it is not replaced. Remove it first, or "
                   "choose another name", path);
}
