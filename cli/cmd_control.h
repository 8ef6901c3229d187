/* Commands on a running sandbox that other commands stand for, too. */
#ifndef CLI_CMD_CONTROL_H
#define CLI_CMD_CONTROL_H

#include "cli.h"

/* mayfly resume NAME: lets a paused sandbox go on. Returns the exit status. */
int control_resume_name(const char *name, const struct cli_options *options);

/*
 * mayfly snapshot take NAME FILE: the state of a running sandbox. `command` is what messages
 * begin with.
 */
int control_snapshot_name(const char *command, const char *name, const char *file,
                          const struct cli_options *options);

#endif
