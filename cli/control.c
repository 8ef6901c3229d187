/*
 * Targets and operations of the control socket; its thread and its clients are in
 * control_server.c.
 *
 * One lock guards all state, and nobody waits for a guest, a client or a disk with it held. So
 * that a sandbox stays while an operation uses it, control_remove waits for the operation's
 * end; the operation's own thread only says that it is done, and the server's thread joins it,
 * answers, and takes it from its target.
 */
#include "control_inside.h"
#include "report.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- targets ---- */

struct control_target *control_find(struct control *control, const char *name)
{
    for (struct control_target *target = control->targets; target != NULL; target = target->next) {
        if (strcmp(target->name, name) == 0 && !target->leaving)
            return target;
    }
    return NULL;
}

static struct mf_sandbox *sandbox_of(const struct control_target *target)
{
    return target->options.sandbox(target->options.context);
}

static const char *state_of(const struct control_target *target)
{
    const char *own = target->options.state != NULL
                          ? target->options.state(target->options.context)
                          : NULL;

    if (own != NULL)
        return own;
    if (target->stopping)
        return "stopping";
    if (target->operation != NULL && target->operation->state != NULL)
        return target->operation->state;
    if (target->paused)
        return "paused";
    return sandbox_of(target) != NULL ? "running" : "starting";
}

json_t *control_describe(const struct control_target *target)
{
    const struct mf_sandbox *sandbox = sandbox_of(target);
    const struct control_operation *operation = target->operation;
    uint64_t memory = target->options.memory_bytes(target->options.context);
    bool has_rate = operation != NULL && operation->dirty_bytes_per_s != UINT64_MAX;

    return json_pack(
        "{s:s, s:s, s:s?, s:s, s:o, s:o, s:I, s:I}", "name", target->name, "kind",
        target->options.kind, "backend",
        sandbox != NULL ? mf_backend_name(mf_sandbox_backend(sandbox)) : NULL, "state",
        state_of(target), "memory_bytes",
        memory != 0 ? json_integer((json_int_t)memory) : json_null(), "dirty_bytes_per_s",
        has_rate ? json_integer((json_int_t)operation->dirty_bytes_per_s) : json_null(),
        "uptime_ns", (json_int_t)(report_now() - target->since_ns), "pid", (json_int_t)getpid());
}

json_t *control_list(struct control *control)
{
    json_t *array = json_array();

    for (const struct control_target *target = control->targets; target != NULL;
         target = target->next) {
        if (!target->leaving)
            json_array_append_new(array, control_describe(target));
    }
    return array;
}

static void release(const struct control_target *target)
{
    if (target->options.release != NULL)
        target->options.release(target->options.context);
    else
        mf_sandbox_unpause(sandbox_of(target));
}

/* With the lock held. */
static void let_go_on(struct control_target *target)
{
    if (!target->paused)
        return;
    target->paused = false;
    release(target);
}

int control_unpause(struct control_target *target, struct mf_error *err)
{
    if (target->operation != NULL)
        return mf_fail(err, MF_E_STATE, "%s: '%s' goes on; wait for its end, or cancel it",
                       target->name, target->operation->command->name);
    if (!target->paused)
        return mf_fail(err, MF_E_STATE, "%s is not paused", target->name);
    let_go_on(target);
    return MF_OK;
}

int control_cancel(struct control_target *target, struct mf_error *err)
{
    if (target->operation == NULL)
        return mf_fail(err, MF_E_STATE, "%s: nothing goes on that could be cancelled",
                       target->name);
    control_operation_cancel(target->operation);
    return MF_OK;
}

void control_stop(struct control_target *target)
{
    target->stopping = true;
    target->options.stop(target->options.context);
    /* An operation may need the guest as it stands: control_finish lets it go on. */
    if (target->operation != NULL)
        control_operation_cancel(target->operation);
    else
        let_go_on(target);
}

void control_stop_all(struct control *control)
{
    pthread_mutex_lock(&control->lock);
    for (struct control_target *target = control->targets; target != NULL; target = target->next)
        control_stop(target);
    pthread_mutex_unlock(&control->lock);
}

int control_add(struct control *control, const struct control_target_options *options,
                struct control_target **out, struct mf_error *err)
{
    struct control_target *target = NULL;
    int status = names_publish(control->dir, control->path, options->name, err);

    if (status != MF_OK)
        return status;
    target = calloc(1, sizeof *target);
    if (target == NULL) {
        names_remove(control->dir, options->name);
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    }
    target->control = control;
    target->options = *options;
    memcpy(target->name, options->name, strlen(options->name) + 1);
    target->options.name = target->name;
    target->paused = options->paused;
    target->since_ns = report_now();
    pthread_mutex_lock(&control->lock);
    struct control_target **last = &control->targets;
    while (*last != NULL)
        last = &(*last)->next;
    *last = target;
    pthread_mutex_unlock(&control->lock);
    if (out != NULL)
        *out = target;
    return MF_OK;
}

void control_remove(struct control *control, struct control_target *target)
{
    struct control_target **place = &control->targets;

    pthread_mutex_lock(&control->lock);
    target->leaving = true;
    if (!target->nameless)
        names_remove(control->dir, target->name);
    target->nameless = true;
    if (target->operation != NULL)
        control_operation_cancel(target->operation);
    while (target->operation != NULL)
        pthread_cond_wait(&control->changed, &control->lock);
    let_go_on(target);
    while (*place != target)
        place = &(*place)->next;
    *place = target->next;
    pthread_mutex_unlock(&control->lock);
    free(target);
}

/* ---- operations ---- */

void control_operation_cancel(struct control_operation *operation)
{
    const uint64_t one = 1;

    atomic_store(&operation->cancelled, true);
    ssize_t n = write(operation->cancel_fd, &one, sizeof one);
    (void)n;
}

static void free_operation(struct control_operation *operation)
{
    if (operation->cancel_fd >= 0)
        close(operation->cancel_fd);
    json_decref(operation->request);
    free(operation);
}

static void *run_operation(void *context)
{
    struct control_operation *operation = context;
    struct control *control = operation->control;

    operation->status =
        operation->command->run(operation, &operation->result, &operation->err);
    control_operation_release(operation);
    pthread_mutex_lock(&control->lock);
    operation->done = true;
    pthread_mutex_unlock(&control->lock);
    control_wake(control);
    return NULL;
}

int control_begin(struct control_client *client, struct control_target *target,
                  const struct control_command *command, json_t *request, struct mf_error *err)
{
    struct mf_sandbox *sandbox = sandbox_of(target);

    if (target->operation != NULL)
        return mf_fail(err, MF_E_STATE, "%s: '%s' goes on; wait for its end, or cancel it",
                       target->name, target->operation->command->name);
    if (sandbox == NULL)
        return mf_fail(err, MF_E_STATE, "%s has not started yet, or has ended", target->name);
    struct control_operation *operation = calloc(1, sizeof *operation);
    if (operation == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    *operation = (struct control_operation){
        .control = target->control,
        .target = target,
        .sandbox = sandbox,
        .command = command,
        .request = request,
        .client = client,
        .state = command->state,
        .dirty_bytes_per_s = UINT64_MAX,
        .cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
    };
    atomic_init(&operation->cancelled, false);
    /* The thread that serves has all signals blocked, and so has the one that it makes. */
    int error = operation->cancel_fd < 0
                    ? errno
                    : pthread_create(&operation->thread, NULL, run_operation, operation);
    if (error != 0) {
        operation->request = NULL;
        free_operation(operation);
        return mf_fail(err, MF_E_SYSTEM, "cannot begin '%s': %s", command->name, strerror(error));
    }
    target->operation = operation;
    client->operation = operation;
    return MF_OK;
}

void control_finish(struct control_operation *operation)
{
    struct control_target *target = operation->target;

    pthread_join(operation->thread, NULL);
    target->operation = NULL;
    if (target->stopping)
        let_go_on(target);
    if (operation->client != NULL) {
        operation->client->operation = NULL;
        control_answer(operation->client, operation->status, operation->result, &operation->err);
    } else {
        json_decref(operation->result);
    }
    free_operation(operation);
    pthread_cond_broadcast(&target->control->changed);
}

const json_t *control_operation_request(const struct control_operation *operation)
{
    return operation->request;
}

struct mf_sandbox *control_operation_sandbox(const struct control_operation *operation)
{
    return operation->sandbox;
}

const char *control_operation_name(const struct control_operation *operation)
{
    return operation->target->name;
}

const char *control_operation_kind(const struct control_operation *operation)
{
    return operation->target->options.kind;
}

void *control_operation_context(const struct control_operation *operation)
{
    return operation->target->options.context;
}

struct moving *control_operation_moving(const struct control_operation *operation)
{
    return operation->target->options.moving;
}

bool control_operation_cancelled(const struct control_operation *operation)
{
    return atomic_load(&operation->cancelled);
}

int control_operation_cancel_fd(const struct control_operation *operation)
{
    return operation->cancel_fd;
}

void control_operation_event(struct control_operation *operation, json_t *event)
{
    struct control *control = operation->control;

    if (event == NULL)
        return;
    pthread_mutex_lock(&control->lock);
    if (operation->client != NULL)
        control_send(operation->client, event, true);
    else
        json_decref(event);
    pthread_mutex_unlock(&control->lock);
    control_wake(control);
}

void control_operation_set_state(struct control_operation *operation, const char *state)
{
    pthread_mutex_lock(&operation->control->lock);
    operation->state = state;
    pthread_mutex_unlock(&operation->control->lock);
}

void control_operation_set_dirty_rate(struct control_operation *operation, uint64_t bytes_per_s)
{
    pthread_mutex_lock(&operation->control->lock);
    operation->dirty_bytes_per_s = bytes_per_s;
    pthread_mutex_unlock(&operation->control->lock);
}

void control_operation_drop_name(struct control_operation *operation)
{
    struct control_target *target = operation->target;

    pthread_mutex_lock(&operation->control->lock);
    if (!target->nameless)
        names_remove(operation->control->dir, target->name);
    target->nameless = true;
    pthread_mutex_unlock(&operation->control->lock);
}

/* Publishing can wait for others, so it is done without the lock. */
int control_operation_claim_name(struct control_operation *operation, struct mf_error *err)
{
    struct control *control = operation->control;
    struct control_target *target = operation->target;
    int status = names_publish(control->dir, control->path, target->name, err);

    if (status != MF_OK)
        return status;
    pthread_mutex_lock(&control->lock);
    target->nameless = false;
    if (target->leaving) {
        names_remove(control->dir, target->name);
        target->nameless = true;
    }
    pthread_mutex_unlock(&control->lock);
    return MF_OK;
}

bool control_operation_is_paused(const struct control_operation *operation)
{
    pthread_mutex_lock(&operation->control->lock);
    bool paused = operation->target->paused;
    pthread_mutex_unlock(&operation->control->lock);
    return paused;
}

int control_operation_hold(struct control_operation *operation, uint64_t timeout_ns,
                           struct mf_error *err)
{
    if (operation->holds || control_operation_is_paused(operation))
        return MF_OK;
    const struct control_target_options *options = &operation->target->options;
    int status = options->hold != NULL ? options->hold(options->context, timeout_ns, err)
                                       : mf_sandbox_pause(operation->sandbox, timeout_ns, err);
    operation->holds = status == MF_OK;
    return status;
}

void control_operation_release(struct control_operation *operation)
{
    if (!operation->holds)
        return;
    operation->holds = false;
    release(operation->target);
}

/* Who holds it is said in one place, so that it is let go on once. */
static void hand_over(struct control_operation *operation, bool to_user)
{
    struct control_target *target = operation->target;

    pthread_mutex_lock(&operation->control->lock);
    bool held = target->paused || operation->holds;
    target->paused = held && to_user;
    operation->holds = held && !to_user;
    pthread_mutex_unlock(&operation->control->lock);
}

void control_operation_keep(struct control_operation *operation)
{
    hand_over(operation, true);
}

void control_operation_take(struct control_operation *operation)
{
    hand_over(operation, false);
}

/* ---- the server ---- */

void control_wake(struct control *control)
{
    const uint64_t one = 1;

    ssize_t n = write(control->wake_fd, &one, sizeof one);
    (void)n;
}

static void free_control(struct control *control)
{
    if (control->listener >= 0) {
        names_hide(control->dir, control->path);
        close(control->listener);
    }
    if (control->dir >= 0)
        close(control->dir);
    if (control->wake_fd >= 0)
        close(control->wake_fd);
    pthread_mutex_destroy(&control->lock);
    pthread_cond_destroy(&control->changed);
    free(control);
}

/* Signals are for the thread that runs the guest, or for the command's main one. */
static int start_thread(struct control *control)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int error = pthread_create(&control->thread, NULL, control_serve, control);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int control_open(struct control **out, struct mf_error *err)
{
    struct control *control = calloc(1, sizeof *control);
    int error = 0;

    *out = NULL;
    if (control == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    control->dir = control->listener = -1;
    pthread_mutex_init(&control->lock, NULL);
    pthread_cond_init(&control->changed, NULL);
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        control->clients[i].fd = -1;
    control->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (control->wake_fd < 0)
        error = errno;
    int status = error == 0 ? names_open(true, &control->dir, err) : MF_OK;
    if (status == MF_OK && error == 0) {
        control->listener = names_listen(control->dir, control->path, err);
        status = control->listener < 0 ? control->listener : MF_OK;
    }
    if (status == MF_OK && error == 0)
        error = start_thread(control);
    if (error != 0)
        status = mf_fail(err, MF_E_SYSTEM, "cannot start the control: %s", strerror(error));
    if (status != MF_OK) {
        free_control(control);
        return status;
    }
    *out = control;
    return MF_OK;
}

void control_close(struct control *control)
{
    if (control == NULL)
        return;
    while (control->targets != NULL)
        control_remove(control, control->targets);
    pthread_mutex_lock(&control->lock);
    control->closing = true;
    pthread_mutex_unlock(&control->lock);
    control_wake(control);
    pthread_join(control->thread, NULL);
    free_control(control);
}
