/*
 * Handing the running program to a newly started mayfly on this host: the `upgrade` command of the
 * control socket, what the process that had it does afterwards, and what the new one does.
 *
 * The new process is a child of the one that had the guest. It takes the guest over as a
 * receiver of a migration does (docs/formats/migration.md), memory by its descriptor; until the
 * commit the old process goes on with it when anything fails, and the child is killed. Afterwards
 * the old one has nothing of the guest left, but stays as long as the child: whoever started it
 * waits for it and sends its signals to it. It passes signals on and ends as the child ends. When
 * it is killed itself, the child sees that and ends the guest as SIGTERM does.
 */
#ifndef CLI_UPGRADE_H
#define CLI_UPGRADE_H

#include "moving.h"

/* The file that this process was started from, from malloc; NULL when that cannot be told. */
char *upgrade_own_binary(void);

/* The `run` of the control command. */
int upgrade_run(struct control_operation *operation, json_t **result, struct mf_error *err);

/* With MOVING_HANDED, when nothing of the guest is here any more. Returns the exit status. */
int upgrade_relay(struct moving *moving);

/*
 * The new process, `mayfly --take-over`: takes the guest over from its parent and runs it to its
 * end. Returns the exit status. Not for people.
 */
#define UPGRADE_TAKE_OVER "--take-over"
int upgrade_take_over(void);

#endif
