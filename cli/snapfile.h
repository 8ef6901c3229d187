/* Snapshot files as operands: recognising and opening them, and their names. */
#ifndef CLI_SNAPFILE_H
#define CLI_SNAPFILE_H

#include "cli.h"

/* "sha256:", 64 digits, NUL. */
#define SNAPFILE_DIGEST_TEXT 72

/* Whether the file begins as snapshot files do. A file that cannot be read does not. */
bool snapfile_recognise(const char *path);

/* Whether it begins as an ELF file does. */
bool snapfile_is_program(const char *path);

/* Opens a snapshot as the options say (--store); all of it is checked. */
int snapfile_open(const char *path, const struct cli_options *options, struct mf_snapshot **out,
                  struct mf_error *err);

/* Writes a digest with its prefix. */
void snapfile_format_digest(const uint8_t bytes[MF_DIGEST_BYTES], char text[SNAPFILE_DIGEST_TEXT]);

/* Writes the digest of the snapshot's file; "" when there is none. */
void snapfile_digest(const struct mf_snapshot *snapshot, char text[SNAPFILE_DIGEST_TEXT]);

/* What a snapshot is in the middle of, as one word for JSON and as words for people. */
const char *snapfile_stopped_name(enum mf_stopped stopped);
const char *snapfile_stopped_text(enum mf_stopped stopped);

/*
 * Whether a snapshot may be written to `path`: nothing is there, or another snapshot, which
 * it replaces as a compiler replaces its output. Anything else there stays: who named it with
 * -o made a slip. MF_E_ARGUMENT, MF_E_SYSTEM.
 */
int snapfile_check_output(const char *path, struct mf_error *err);

#endif
