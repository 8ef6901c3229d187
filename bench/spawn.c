/* Other programs as children: found, started, waited for, what they used. */
#include "measures.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int bench_find_command(const char *name, const char *package, char *path, size_t size,
                       struct mf_error *err)
{
    const char *folder = getenv("PATH");

    while (folder != NULL && *folder != '\0') {
        size_t len = strcspn(folder, ":");
        int put = snprintf(path, size, "%.*s/%s", (int)len, folder, name);

        if (len > 0 && put > 0 && (size_t)put < size && access(path, X_OK) == 0)
            return MF_OK;
        folder += len + (folder[len] == ':');
    }
    return bench_unknown(err, "%s is not installed (Debian and Ubuntu: %s)", name, package);
}

int bench_spawn(const char *const *argv, const posix_spawn_file_actions_t *actions, pid_t *child,
                struct mf_error *err)
{
    static char *const environment[] = {NULL};
    int number = posix_spawn(child, argv[0], actions, NULL, (char *const *)argv, environment);

    if (number != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot start %s: %s", argv[0], strerror(number));
    return MF_OK;
}

int bench_wait(const char *const *argv, pid_t child, struct rusage *usage, struct mf_error *err)
{
    int wait_status;
    pid_t ended;

    do
        ended = wait4(child, &wait_status, 0, usage);
    while (ended < 0 && errno == EINTR);
    if (ended != child || !WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0)
        return mf_fail(err, MF_E_SYSTEM, "%s%s%s failed", argv[0], argv[1] != NULL ? " " : "",
                       argv[1] != NULL ? argv[1] : "");
    return MF_OK;
}

int bench_spawn_and_wait(const char *const *argv, const posix_spawn_file_actions_t *actions,
                         struct rusage *usage, struct mf_error *err)
{
    pid_t child;
    int status = bench_spawn(argv, actions, &child, err);

    return status == MF_OK ? bench_wait(argv, child, usage, err) : status;
}
