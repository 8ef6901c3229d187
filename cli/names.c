/*
 * Names and control sockets in the runtime folder.
 *
 * Sockets are bound and connected through /proc/self/fd/DIR, so that no path is too long for a
 * socket address, and nobody can put another folder in the place of the one that was checked.
 * A socket listens before it gets its name: a name that refuses connections is therefore
 * stale, at any moment. Whoever removes a stale name, or gives one, holds a lock on the
 * folder meanwhile; else two who notice the same stale name could remove a new one.
 */
#include "names.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SUFFIX ".sock"
/* The beginning of temporary names, which no name has. */
#define TEMPORARY ".new-"
/* An entry of the folder: a name, its suffix, a NUL. */
#define ENTRY_MAX (NAMES_LEN_MAX + sizeof SUFFIX)

/* How long the folder's lock is waited for: whoever holds it does so for microseconds. */
#define LOCK_TRIES 500
#define STEP_NS 10000000

/* How long a place among those who wait to be accepted is waited for. */
#define CONNECT_TRIES 200

/* Connections that wait to be accepted. */
#define BACKLOG 16

bool names_are_valid(const char *text, size_t len)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._-";

    if (len == 0 || len > NAMES_LEN_MAX || text[0] == '.' || text[0] == '-')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == 0 || strchr(letters, text[i]) == NULL)
            return false;
    }
    return true;
}

int names_check(const char *name, struct mf_error *err)
{
    if (names_are_valid(name, strlen(name)))
        return MF_OK;
    return mf_fail(err, MF_E_ARGUMENT,
                   "'%.80s' is no name: a name has 1 to %d of A-Z a-z 0-9 . _ - and begins with "
                   "neither '.' nor '-'",
                   name, NAMES_LEN_MAX);
}

/* ---- the folder ---- */

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid();
}

/* Where the folder is. MF_E_ARGUMENT when the path is too long. */
static int find_folder(char *path, size_t size, struct mf_error *err)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    unsigned uid = (unsigned)geteuid();
    char of_user[64];
    int len;

    snprintf(of_user, sizeof of_user, "/run/user/%u", uid);
    if (runtime != NULL && runtime[0] != '/' && runtime[0] != 0)
        return mf_fail(err, MF_E_ARGUMENT, "XDG_RUNTIME_DIR is '%.100s', which is no absolute path",
                       runtime);
    if (runtime != NULL && runtime[0] != 0)
        len = snprintf(path, size, "%s/mayfly", runtime);
    else if (is_folder(of_user))
        len = snprintf(path, size, "%s/mayfly", of_user);
    else
        len = snprintf(path, size, "/tmp/mayfly-%u", uid);
    if (len < 0 || (size_t)len >= size)
        return mf_fail(err, MF_E_ARGUMENT, "XDG_RUNTIME_DIR is too long a path");
    return MF_OK;
}

static int check_folder(int dir, const char *path, struct mf_error *err)
{
    struct stat st;

    if (fstat(dir, &st) != 0)
        return mf_fail(err, MF_E_SYSTEM, "%.150s: %s", path, strerror(errno));
    if (st.st_uid != geteuid())
        return mf_fail(err, MF_E_SYSTEM,
                       "%.150s belongs to the user %u and not to you: control sockets are not safe "
                       "there; set XDG_RUNTIME_DIR to a directory of your own",
                       path, (unsigned)st.st_uid);
    if ((st.st_mode & 077) != 0)
        return mf_fail(err, MF_E_SYSTEM,
                       "others may use %.120s (mode %04o): control sockets are not safe there; "
                       "'chmod 700' it, or set XDG_RUNTIME_DIR",
                       path, (unsigned)st.st_mode & 07777);
    return MF_OK;
}

int names_open(bool create, int *dir, struct mf_error *err)
{
    char path[4096];
    int status = find_folder(path, sizeof path, err);

    *dir = -1;
    if (status != MF_OK)
        return status;
    if (create && mkdir(path, 0700) != 0 && errno != EEXIST)
        return mf_fail(err, MF_E_SYSTEM, "cannot make %.150s for control sockets: %s", path,
                       strerror(errno));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && !create)
        return MF_OK;
    if (fd < 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot open %.150s, the directory of control sockets: %s",
                       path, errno == ELOOP ? "it is a symbolic link" : strerror(errno));
    status = check_folder(fd, path, err);
    if (status == MF_OK)
        *dir = fd;
    else
        close(fd);
    return status;
}

static int lock_folder(int dir, struct mf_error *err)
{
    const struct timespec step = {.tv_nsec = STEP_NS};

    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(dir, LOCK_EX | LOCK_NB) == 0)
            return MF_OK;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return mf_fail(err, MF_E_SYSTEM, "cannot lock the directory of control sockets: %s",
                           strerror(errno));
        nanosleep(&step, NULL);
    }
    return mf_fail(err, MF_E_SYSTEM, "somebody keeps the directory of control sockets locked");
}

static void unlock_folder(int dir)
{
    flock(dir, LOCK_UN);
}

/* ---- sockets ---- */

static void set_address(struct sockaddr_un *address, int dir, const char *entry)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", dir, entry);
}

static void entry_of(const char *name, char entry[ENTRY_MAX])
{
    snprintf(entry, ENTRY_MAX, "%.*s%s", NAMES_LEN_MAX, name, SUFFIX);
}

/* A descriptor, or -1 with errno; EAGAIN: somebody listens, and has no place at the moment. */
static int try_connect(int dir, const char *entry)
{
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -1;
    set_address(&address, dir, entry);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* With the lock held: removes the entry if nobody listens there any more. */
static void remove_stale(int dir, const char *entry)
{
    int fd = try_connect(dir, entry);

    if (fd >= 0)
        close(fd);
    else if (errno == ECONNREFUSED)
        unlinkat(dir, entry, 0);
}

/* Temporary names of those who were killed between two steps. */
static void remove_temporaries(int dir)
{
    struct dirent *entry;
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = copy >= 0 ? fdopendir(copy) : NULL;

    if (folder == NULL) {
        if (copy >= 0)
            close(copy);
        return;
    }
    while ((entry = readdir(folder)) != NULL) {
        if (strncmp(entry->d_name, TEMPORARY, strlen(TEMPORARY)) == 0)
            remove_stale(dir, entry->d_name);
    }
    closedir(folder);
}

/* With the lock held, which keeps others from taking the new socket for a stale one. */
static int bind_and_listen(int dir, int fd, const char *path)
{
    struct sockaddr_un address;

    remove_temporaries(dir);
    set_address(&address, dir, path);
    unlinkat(dir, path, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
        return -1;
    if (fchmodat(dir, path, 0600, 0) == 0 && listen(fd, BACKLOG) == 0)
        return 0;
    int error = errno;
    unlinkat(dir, path, 0);
    errno = error;
    return -1;
}

int names_listen(int dir, char path[NAMES_TEMPORARY_MAX], struct mf_error *err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a socket: %s", strerror(errno));
    snprintf(path, NAMES_TEMPORARY_MAX, "%s%ld-%d", TEMPORARY, (long)getpid(), fd);
    int status = lock_folder(dir, err);
    if (status == MF_OK) {
        if (bind_and_listen(dir, fd, path) != 0)
            status = mf_fail(err, MF_E_SYSTEM, "cannot make a control socket: %s", strerror(errno));
        unlock_folder(dir);
    }
    if (status == MF_OK)
        return fd;
    close(fd);
    return status;
}

void names_hide(int dir, const char *path)
{
    unlinkat(dir, path, 0);
}

int names_publish(int dir, const char *path, const char *name, struct mf_error *err)
{
    char entry[ENTRY_MAX];
    int status = names_check(name, err);

    if (status == MF_OK)
        status = lock_folder(dir, err);
    if (status != MF_OK)
        return status;
    entry_of(name, entry);
    remove_stale(dir, entry);
    if (linkat(dir, path, dir, entry, 0) != 0)
        status = errno == EEXIST
                     ? mf_fail(err, MF_E_BUSY,
                               "a sandbox called '%s' is running already ('mayfly ps' shows it)",
                               name)
                     : mf_fail(err, MF_E_SYSTEM, "cannot give the control socket its name: %s",
                               strerror(errno));
    unlock_folder(dir);
    return status;
}

void names_remove(int dir, const char *name)
{
    char entry[ENTRY_MAX];

    /* Nobody else can have the name while its socket listens. */
    entry_of(name, entry);
    unlinkat(dir, entry, 0);
}

int names_connect(int dir, const char *name, struct mf_error *err)
{
    const struct timespec step = {.tv_nsec = STEP_NS};
    char entry[ENTRY_MAX];
    int status = names_check(name, err);

    if (status != MF_OK)
        return status;
    entry_of(name, entry);
    int fd = try_connect(dir, entry);
    for (int i = 0; fd < 0 && errno == EAGAIN && i < CONNECT_TRIES; i++) {
        nanosleep(&step, NULL);
        fd = try_connect(dir, entry);
    }
    if (fd >= 0)
        return fd;
    int error = errno;
    if (error == ECONNREFUSED && lock_folder(dir, err) == MF_OK) {
        remove_stale(dir, entry);
        remove_temporaries(dir);
        unlock_folder(dir);
    }
    if (error == ENOENT || error == ECONNREFUSED)
        return mf_fail(err, MF_E_NO_FUNCTION, "no sandbox called '%s' is running", name);
    return mf_fail(err, MF_E_SYSTEM, "cannot reach '%s': %s", name,
                   error == EAGAIN ? "it has no place for another connection" : strerror(error));
}

/* ---- all of them ---- */

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The length of the name in an entry of the folder, or 0: it is something else. */
static size_t name_in(const char *entry)
{
    size_t len = strlen(entry), suffix = strlen(SUFFIX);

    if (len <= suffix || strcmp(entry + len - suffix, SUFFIX) != 0)
        return 0;
    return names_are_valid(entry, len - suffix) ? len - suffix : 0;
}

static int append(char ***names, int *n, const char *text, size_t len)
{
    char *name = strndup(text, len);
    char **more = name != NULL ? realloc(*names, ((size_t)*n + 1) * sizeof *more) : NULL;

    if (more == NULL) {
        free(name);
        return MF_E_NO_MEMORY;
    }
    *names = more;
    more[(*n)++] = name;
    return MF_OK;
}

int names_list(int dir, char ***names, struct mf_error *err)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0, status = MF_OK;
    DIR *folder = copy >= 0 ? fdopendir(copy) : NULL;
    struct dirent *entry;

    *names = NULL;
    if (folder == NULL) {
        mf_fail(err, MF_E_SYSTEM, "cannot read the directory of control sockets: %s",
                strerror(errno));
        if (copy >= 0)
            close(copy);
        return MF_E_SYSTEM;
    }
    while (status == MF_OK && (entry = readdir(folder)) != NULL) {
        size_t len = name_in(entry->d_name);
        if (len > 0)
            status = append(names, &n, entry->d_name, len);
    }
    closedir(folder);
    if (status != MF_OK) {
        names_free(*names, n);
        *names = NULL;
        return mf_fail(err, status, "out of memory");
    }
    if (n > 0)
        qsort(*names, (size_t)n, sizeof **names, compare);
    return n;
}

void names_free(char **names, int n)
{
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
}
