/*
 * The control socket of a command that runs sandboxes: other processes of the same user ask what
 * runs here, and have it paused, stopped, moved. docs/man/mayfly-ps.1 has what people see of it.
 *
 * A client writes requests, each an object of JSON on one line of at most CONTROL_LINE_MAX bytes:
 *
 *     {"command": "snapshot", "target": "job1", "file": "/home/me/job1.mfs"}
 *
 * and reads lines: for a command that takes long, any number of events, {"event": "taken", ...},
 * then the answer, {"ok": true, ...} or {"ok": false, "error": {code, name, message}}. While a
 * command goes on, nothing further is read from its client; who closes the connection
 * cancels it.
 *
 * One thread serves all clients and never waits for one of them, for a sandbox or for a disk.
 * What takes long is an operation and has a thread of its own, at most one for each sandbox
 * at a time. Threads that run guests touch none of this but in control_add and control_remove.
 *
 * A new command is a line of the table in control_commands.c with its function.
 */
#ifndef CLI_CONTROL_H
#define CLI_CONTROL_H

#include <mayfly/mayfly.h>

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct control;
struct control_target;
struct control_operation;
struct moving;

/* ---- for those who run sandboxes ---- */

struct control_target_options {
    const char *name; /* copied; must be valid (names.h) and not taken */
    const char *kind; /* "run", "call", "vm": a static word */
    /*
     * The sandbox, or NULL while there is none. Any thread; what it answers stays valid until
     * control_remove returns.
     */
    struct mf_sandbox *(*sandbox)(void *context);
    /* Guest memory in bytes, 0: not known. Any thread. */
    uint64_t (*memory_bytes)(void *context);
    /*
     * Ends the sandbox as SIGTERM ends a command. On the thread of the server: must not
     * wait, nor use the control. A guest that is paused is let go on afterwards, to its end.
     */
    void (*stop)(void *context);
    /*
     * Makes the guest stand still, and lets it go on, where mf_sandbox_pause (both NULL) would do
     * so at a place that is of no use to its owner. On the thread of an operation; `release`
     * on the server's, too, and it must not wait.
     */
    int (*hold)(void *context, uint64_t timeout_ns, struct mf_error *err);
    void (*release)(void *context);
    /* A static word for a state of its own, like "ended"; NULL: none. May be NULL. Any thread. */
    const char *(*state)(void *context);
    struct moving *moving; /* moving.h; NULL: it cannot be moved to another host */
    bool paused;           /* it stands still already, for `resume` to let it go on */
    void *context;
};

/*
 * Opens the runtime folder and starts the thread. *out is for control_close. MF_E_SYSTEM,
 * MF_E_ARGUMENT, MF_E_NO_MEMORY.
 */
int control_open(struct control **out, struct mf_error *err);

/*
 * Makes a sandbox known under its name. MF_E_BUSY: another one has it. *out (may be NULL) is
 * for control_remove.
 */
int control_add(struct control *control, const struct control_target_options *options,
                struct control_target **out, struct mf_error *err);

/* What `stop` does, to all targets. */
void control_stop_all(struct control *control);

/*
 * Before a sandbox is destroyed, and not on the thread of an operation: takes its name away,
 * cancels its operation and waits for that one's end, and lets a paused guest go on.
 */
void control_remove(struct control *control, struct control_target *target);

/*
 * Removes all targets and ends the thread, which hands answers that were given to
 * those who read them, for 2 s at most. NULL is allowed.
 */
void control_close(struct control *control);

/* ---- for commands ---- */

enum control_type { CONTROL_STRING, CONTROL_BOOLEAN, CONTROL_NUMBER /* a whole one from 0 */ };

/* A member of a request, beside "command" and "target". */
struct control_key {
    const char *name;
    enum control_type type;
    bool required;
};

#define CONTROL_KEYS_MAX 16

/*
 * A command: either `answer` or `run`. Both return MF_OK and may set *result to an object
 * whose members go into the answer, or an MF_E_* code with *err filled.
 */
struct control_command {
    const char *name;
    const char *help; /* one line */
    bool takes_target;
    struct control_key keys[CONTROL_KEYS_MAX]; /* until one without a name */
    /*
     * On the server's thread and with its lock held: must not wait. `target` is NULL
     * when it takes none.
     */
    int (*answer)(struct control *control, struct control_target *target, const json_t *request,
                  json_t **result, struct mf_error *err);
    /* On a thread of its own, where all signals are blocked. */
    int (*run)(struct control_operation *operation, json_t **result, struct mf_error *err);
    const char *state; /* what `ps` says meanwhile, like "migrating"; NULL: nothing new */
};

extern const struct control_command control_commands[];
extern const size_t control_ncommands;

/* ---- for `answer`: with the lock held ---- */

/* All targets as an array of objects. NULL: no memory. */
json_t *control_list(struct control *control);

/* What `ps` says of one target, as an object. NULL: no memory. */
json_t *control_describe(const struct control_target *target);

/* Lets a paused guest go on. MF_E_STATE: it is not paused, or an operation goes on. */
int control_unpause(struct control_target *target, struct mf_error *err);

/* Cancels the operation that goes on, which ends some time later. MF_E_STATE: none does. */
int control_cancel(struct control_target *target, struct mf_error *err);

/* Cancels what goes on, and ends the sandbox. */
void control_stop(struct control_target *target);

/* ---- for `run`: on the operation's thread ---- */

/* The request, checked: it has the keys that the table says, and no others. */
const json_t *control_operation_request(const struct control_operation *operation);

/* Its target's sandbox (never NULL), name, kind, and the context that control_add got. */
struct mf_sandbox *control_operation_sandbox(const struct control_operation *operation);
const char *control_operation_name(const struct control_operation *operation);
const char *control_operation_kind(const struct control_operation *operation);
void *control_operation_context(const struct control_operation *operation);

/* What control_add got, or NULL. */
struct moving *control_operation_moving(const struct control_operation *operation);

/* Whether a client, `stop`, or the end of the command wants it to end. */
bool control_operation_cancelled(const struct control_operation *operation);

/* A descriptor that is readable from then on, for poll; the operation's. */
int control_operation_cancel_fd(const struct control_operation *operation);

/*
 * Sends an event to the client, whose reference this takes; lost when the client is gone
 * or does not read. NULL (no memory) is ignored.
 */
void control_operation_event(struct control_operation *operation, json_t *event);

/* What `ps` says from now on: a static word, and how fast the guest writes to its memory. */
void control_operation_set_state(struct control_operation *operation, const char *state);
void control_operation_set_dirty_rate(struct control_operation *operation, uint64_t bytes_per_s);

/* Whether a user has paused the guest; it stays so while the operation goes on. */
bool control_operation_is_paused(const struct control_operation *operation);

/*
 * Takes the name away, so that the process which the sandbox moves to can have it, on this
 * host; and asks for it back when the move failed: MF_E_BUSY, somebody else was quicker.
 */
void control_operation_drop_name(struct control_operation *operation);
int control_operation_claim_name(struct control_operation *operation, struct mf_error *err);

/*
 * Makes the guest stand still unless a user has paused it; then control_operation_release,
 * which is made up for at the operation's end. MF_OK or the errors of mf_sandbox_pause.
 */
int control_operation_hold(struct control_operation *operation, uint64_t timeout_ns,
                           struct mf_error *err);
void control_operation_release(struct control_operation *operation);

/* What the operation holds is paused by a user from now on: until `resume` or `stop`. */
void control_operation_keep(struct control_operation *operation);

/* The other way round: a user's pause is the operation's, and ends with it. */
void control_operation_take(struct control_operation *operation);

#endif
