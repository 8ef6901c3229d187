/*
 * Passing the descriptor of guest memory over a unix socket beside the channel, for a hand-over
 * in which no pages are sent (struct mf_migrate_options.handover_socket).
 */
#ifndef MIGRATE_HANDOVER_H
#define MIGRATE_HANDOVER_H

#include <mayfly/error.h>

#include <stdint.h>

/* Sends a copy of `fd` within `timeout_ns`. MF_E_CHANNEL, MF_E_DEADLINE. */
int handover_send(int socket, int fd, uint64_t timeout_ns, struct mf_error *err);

/*
 * Receives one descriptor, the caller's. MF_E_CHANNEL, MF_E_DEADLINE; MF_E_PEER: what came is
 * something else.
 */
int handover_receive(int socket, int *fd, uint64_t timeout_ns, struct mf_error *err);

#endif
