/* SHA-256 for the identity of files, and the fast checksum of their parts. */
#ifndef SNAPSHOT_DIGEST_H
#define SNAPSHOT_DIGEST_H

#include <mayfly/snapshot.h>

#include <nettle/sha2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* SHA-256 of what is added between init and fini. */
struct digest {
    struct sha256_ctx sha;
};

void digest_init(struct digest *digest);
void digest_add(struct digest *digest, const void *data, size_t len);
void digest_fini(struct digest *digest, uint8_t out[MF_DIGEST_BYTES]);

/* XXH3, 64 bits: finds damage, not forgery. */
uint64_t checksum_of(const void *data, size_t len);

#endif
