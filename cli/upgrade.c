/* The process that has the guest, and hands it over; see upgrade.h. */
#include "upgrade.h"
#include "cli.h"
#include "guest.h"
#include "interrupt.h"
#include "upgrade_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define TIMEOUT_NS (20 * NS_PER_S)
/* A program that is no mayfly and says nothing is waited for so long. */
#define STALL_NS (5 * NS_PER_S)
/* How long the end of a child whose socket is closed may take. */
#define END_MS 500
/* Above all descriptors that the child gets at fixed numbers. */
#define HIGH_FD 16

struct upgrade {
    struct control_operation *operation;
    struct moving *moving;
    const char *binary;
    char *label;
    pid_t pid; /* 0: none */
    int stream[2], memory[2];
    bool nameless;
    struct mf_migrate_progress summary;
    enum mf_migrate_outcome outcome;
};

char *upgrade_own_binary(void)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);

    if (len <= 0)
        return NULL;
    path[len] = '\0';
    return strdup(path);
}

/* ---- the child ---- */

static int open_pair(int pair[2], struct mf_error *err)
{
    int low[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, low) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a pair of sockets: %s", strerror(errno));
    for (int i = 0; i < 2; i++) {
        pair[i] = fcntl(low[i], F_DUPFD_CLOEXEC, HIGH_FD);
        close(low[i]);
    }
    return pair[0] >= 0 && pair[1] >= 0
               ? MF_OK
               : mf_fail(err, MF_E_SYSTEM, "cannot make a pair of sockets: too many open files");
}

/* The guest's streams lie aside until the child has shown that it is a mayfly. */
static int arrange_descriptors(const struct upgrade *u, posix_spawn_file_actions_t *actions)
{
    const int from[] = {u->stream[1], u->memory[1], STDIN_FILENO, STDOUT_FILENO};
    const int to[] = {UPGRADE_STREAM_FD, UPGRADE_MEMORY_FD, UPGRADE_STDIN_FD, UPGRADE_STDOUT_FD};
    int error = 0;

    for (size_t i = 0; error == 0 && i < sizeof to / sizeof to[0]; i++)
        error = posix_spawn_file_actions_adddup2(actions, from[i], to[i]);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    return error;
}

static int start_child(struct upgrade *u, struct mf_error *err)
{
    char take_over[] = UPGRADE_TAKE_OVER;
    char *argv[] = {(char *)(uintptr_t)u->binary, take_over, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;

    /* This thread has all signals blocked. */
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    int error = arrange_descriptors(u, &actions);
    if (error == 0)
        error = posix_spawnattr_setsigmask(&attributes, &none);
    if (error == 0)
        error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    if (error == 0)
        error = posix_spawn(&u->pid, u->binary, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    /* Its ends are its own: what it closes is closed. */
    close(u->stream[1]);
    close(u->memory[1]);
    u->stream[1] = u->memory[1] = -1;
    if (error == 0)
        return MF_OK;
    u->pid = 0;
    return mf_fail(err, MF_E_ARGUMENT, "cannot start %.200s: %s", u->binary, strerror(error));
}

/* Waits until it has ended, for a while; false when it has not. */
static bool await_end(pid_t pid, int timeout_ms)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (fd < 0)
        return false;
    int n = poll(&p, 1, timeout_ms);
    close(fd);
    return n > 0;
}

/* The guest is here and stays here: the child goes, and *err says what became of it. */
static int end_child(struct upgrade *u, int status, struct mf_error *err)
{
    struct mf_error why = *err;
    int end = 0;

    if (u->pid == 0)
        return status;
    bool ended = status == MF_E_CHANNEL && await_end(u->pid, END_MS);
    if (!ended)
        kill(u->pid, SIGKILL);
    while (waitpid(u->pid, &end, 0) < 0 && errno == EINTR)
        continue;
    u->pid = 0;
    if (ended && WIFEXITED(end))
        return mf_fail(err, MF_E_PEER, "%.150s did not take it over, and ended with status %d",
                       u->binary, WEXITSTATUS(end));
    if (ended)
        return mf_fail(err, MF_E_PEER, "%.150s did not take it over: signal %d ended it", u->binary,
                       WTERMSIG(end));
    return mf_fail(err, status, "%.100s did not take it over: %.140s", u->binary, why.message);
}

/* ---- the hand-over ---- */

static int make_label(struct upgrade *u, struct mf_error *err)
{
    const struct guest *guest = control_operation_context(u->operation);
    json_t *label = upgrade_encode(guest, control_operation_name(u->operation));

    u->label = label != NULL ? json_dumps(label, JSON_COMPACT) : NULL;
    json_decref(label);
    return u->label != NULL ? MF_OK : mf_fail(err, MF_E_NO_MEMORY, "out of memory");
}

/* The guest stands still, and the commit comes next: the child may take the name. */
static int drop_name(void *context, const void **data, size_t *len, struct mf_error *err)
{
    struct upgrade *u = context;

    (void)data, (void)len, (void)err;
    control_operation_drop_name(u->operation);
    u->nameless = true;
    return MF_OK;
}

static int tell_progress(void *context, const struct mf_migrate_progress *progress)
{
    struct upgrade *u = context;

    (void)progress;
    return control_operation_cancelled(u->operation);
}

static int hand_over(struct upgrade *u, struct mf_error *err)
{
    struct mf_migrate_options options = {
        .size = sizeof options,
        .timeout_ns = TIMEOUT_NS,
        .stall_ns = STALL_NS,
        .label = u->label,
        .label_len = strlen(u->label),
        .state = drop_name,
        .progress = tell_progress,
        .context = u,
        .handover_socket = u->memory[0],
    };
    struct mf_channel_fds fds = {u->stream[0], u->stream[0]};
    struct mf_channel channel;

    mf_channel_from_fds(&channel, &fds);
    u->summary.size = sizeof u->summary;
    return mf_migrate_out(control_operation_sandbox(u->operation), &channel, &options, &u->outcome,
                          &u->summary, err);
}

static void set_state(struct moving *moving, enum moving_state state)
{
    pthread_mutex_lock(&moving->lock);
    moving->state = state;
    pthread_cond_broadcast(&moving->changed);
    pthread_mutex_unlock(&moving->lock);
}

static int settle(struct upgrade *u, int status, struct mf_error *err)
{
    struct mf_error ignored;

    if (u->outcome != MF_MIGRATE_HERE) {
        /* Also when it has not answered: then its end is this process's. */
        u->moving->child = u->pid;
        u->moving->child_fd = u->stream[0];
        u->stream[0] = -1;
        set_state(u->moving, MOVING_HANDED);
        return status;
    }
    status = end_child(u, status, err);
    if (u->nameless && control_operation_claim_name(u->operation, &ignored) != MF_OK)
        fprintf(stderr, "mayfly: %s goes on here without its name: %s\n",
                control_operation_name(u->operation), ignored.message);
    set_state(u->moving, MOVING_NOT);
    return status;
}

static int check(const struct upgrade *u, struct mf_error *err)
{
    const char *name = control_operation_name(u->operation);

    if (u->moving == NULL || u->moving->binary == NULL)
        return mf_fail(err, MF_E_STATE,
                       "%s cannot be handed over: only a program that 'mayfly run --name' was "
                       "started with, not from a snapshot", name);
    if (control_operation_is_paused(u->operation))
        return mf_fail(err, MF_E_STATE, "%s is paused: 'mayfly resume %s' first", name, name);
    if (u->binary[0] != '/')
        return mf_fail(err, MF_E_ARGUMENT, "upgrade: 'binary' must be an absolute path");
    return MF_OK;
}

static void close_pair(int pair[2])
{
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            close(pair[i]);
}

int upgrade_run(struct control_operation *operation, json_t **result, struct mf_error *err)
{
    const json_t *request = control_operation_request(operation);
    struct upgrade u = {
        .operation = operation,
        .moving = control_operation_moving(operation),
        .binary = json_string_value(json_object_get(request, "binary")),
        .stream = {-1, -1},
        .memory = {-1, -1},
    };
    if (u.binary == NULL && u.moving != NULL)
        u.binary = u.moving->binary;
    int status = check(&u, err);

    if (status != MF_OK)
        return status;
    set_state(u.moving, MOVING_GOING);
    status = make_label(&u, err);
    if (status == MF_OK)
        status = open_pair(u.stream, err);
    if (status == MF_OK)
        status = open_pair(u.memory, err);
    if (status == MF_OK)
        status = start_child(&u, err);
    if (status == MF_OK)
        status = hand_over(&u, err);
    status = settle(&u, status, err);
    if (status == MF_OK)
        *result = json_pack("{s:s, s:I, s:I, s:I}", "binary", u.binary, "pid",
                            (json_int_t)u.pid, "downtime_ns", (json_int_t)u.summary.downtime_ns,
                            "total_ns", (json_int_t)u.summary.total_ns);
    close_pair(u.stream);
    close_pair(u.memory);
    free(u.label);
    return status;
}

/* ---- what stays ---- */

/* Signals of a terminal reach the child, too; once more makes no difference to it. */
static void pass_signal(int fd)
{
    char drained[64];
    uint8_t number = (uint8_t)interrupt_signal();

    while (read(interrupt_fd(), drained, sizeof drained) > 0)
        continue;
    ssize_t n = send(fd, &number, sizeof number, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n;
}

int upgrade_relay(struct moving *moving)
{
    int pidfd = (int)syscall(SYS_pidfd_open, moving->child, 0);
    struct pollfd fds[] = {{.fd = interrupt_fd(), .events = POLLIN},
                           {.fd = pidfd, .events = POLLIN}};
    int end = 0;

    while (pidfd >= 0 && fds[1].revents == 0) {
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[0].revents != 0)
            pass_signal(moving->child_fd);
    }
    while (waitpid(moving->child, &end, 0) < 0 && errno == EINTR)
        continue;
    if (pidfd >= 0)
        close(pidfd);
    if (WIFEXITED(end))
        return cli_finish(WEXITSTATUS(end));
    fprintf(stderr, "mayfly run: the process that the guest was handed to was ended by signal %d\n",
            WTERMSIG(end));
    return cli_finish(CLI_SIGNALLED + WTERMSIG(end));
}
