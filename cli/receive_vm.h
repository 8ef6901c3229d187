/* A machine of `mayfly vm` that comes to `mayfly receive`, and goes on here. */
#ifndef CLI_RECEIVE_VM_H
#define CLI_RECEIVE_VM_H

#include "console.h"
#include "control.h"
#include "moving.h"

#include <mayfly/mayfly.h>

struct received_vm;

/*
 * Makes room for one. `console` (may be NULL) has its streams, and must outlive it; without, its
 * output is this process's, or with `to_stderr` its error output, with its name before each
 * line. *out is for receive_vm_destroy.
 */
int receive_vm_create(struct console_guest *console, bool to_stderr, struct received_vm **out,
                      struct mf_error *err);

/* What its sandbox needs, for the `accept` of mf_migrate_in_options; once. */
void receive_vm_accept(struct received_vm *vm, struct mf_host **host, struct mf_io *io);

/* The `state` of mf_migrate_in_options. */
int receive_vm_state(struct received_vm *vm, const void *data, size_t len, struct mf_error *err);

/*
 * The sandbox has come: it is destroyed with the machine. To be called before
 * receive_vm_target.
 */
void receive_vm_arrive(struct received_vm *vm, struct mf_sandbox *sandbox);

/* Fills all but the name. */
void receive_vm_target(struct received_vm *vm, struct moving *moving,
                       struct control_target_options *target);

/* Runs it to its end: MF_OK and its exit status, or MF_E_MOVED. */
int receive_vm_run(struct received_vm *vm, int *status);

/* Any thread: ends it as SIGTERM would. */
void receive_vm_stop(struct received_vm *vm);

/* Gives its sandbox back before receive_vm_destroy does. */
void receive_vm_drop(struct received_vm *vm);

/* NULL is allowed. */
void receive_vm_destroy(struct received_vm *vm);

#endif
