/* The files of `mayfly snapshot`: one function for each of its commands, and what they share. */
#ifndef CLI_SNAPSHOT_H
#define CLI_SNAPSHOT_H

#include "cli.h"
#include "guest.h"

#include <jansson.h>

/* Each is given its parsed options and returns the exit status. `name` is "snapshot create", ... */
int snapshot_create(const char *name, struct cli_options *options);
int snapshot_take(const char *name, struct cli_options *options);
int snapshot_inspect(const char *name, struct cli_options *options);
int snapshot_verify(const char *name, struct cli_options *options);
int snapshot_diff(const char *name, struct cli_options *options);
int snapshot_export(const char *name, struct cli_options *options);
int snapshot_import(const char *name, struct cli_options *options);

/* Prints what the snapshot file at `path` holds; also for `mayfly inspect`. Returns the status. */
int snapshot_show(const char *name, const char *path, const struct cli_options *options);

/* What is known of a snapshot, as a JSON object without its program. NULL: no memory. */
json_t *snapshot_json(const struct mf_snapshot *snapshot);

#endif
