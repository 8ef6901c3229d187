/* What both processes of an upgrade know: upgrade.c and upgrade_receive.c. */
#ifndef CLI_UPGRADE_INSIDE_H
#define CLI_UPGRADE_INSIDE_H

#include "guest.h"

/* Descriptors of the new process: the stream, memory's socket, the guest's standard streams. */
enum {
    UPGRADE_STREAM_FD = 3,
    UPGRADE_MEMORY_FD = 4,
    UPGRADE_STDIN_FD = 5,
    UPGRADE_STDOUT_FD = 6,
};

/* The offer's label: what the new process is to know beside the state. NULL: no memory. */
json_t *upgrade_encode(const struct guest *guest, const char *name);

#endif
