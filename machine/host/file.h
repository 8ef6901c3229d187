/* Reading whole files, and the names of files: what the parts of this folder share. */
#ifndef MACHINE_HOST_FILE_H
#define MACHINE_HOST_FILE_H

#include <mayfly/mayfly.h>

/* No program, configuration or source is longer. */
#define FILE_BYTES_MAX (UINT64_C(64) << 20)

/*
 * Reads a regular file of at most `max` bytes. *data is from malloc, has a NUL behind its
 * last byte, and is the caller's. MF_E_SYSTEM, MF_E_ARGUMENT (not a file, too long),
 * MF_E_NO_MEMORY.
 */
int hostfile_read(const char *path, uint64_t max, uint8_t **data, size_t *len,
                  struct mf_error *err);

/*
 * `path` as seen from the folder of the file `beside`; absolute paths stay as they are. From
 * malloc; NULL without memory.
 */
char *hostfile_beside(const char *beside, const char *path);

/* The folder that a path is in ("." for a plain name), from malloc; NULL without memory. */
char *hostfile_folder(const char *path);

/* The last part of a path without its suffix, from malloc; NULL without memory. */
char *hostfile_stem(const char *path);

#endif
