/* Files: opening them, and replacing a file by a new one in one step. */
#ifndef SNAPSHOT_FILE_H
#define SNAPSHOT_FILE_H

#include <mayfly/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Opens a regular file for reading, never waiting for another process, and tells its size.
 * MF_E_SYSTEM, MF_E_SNAPSHOT (no regular file).
 */
int file_open(const char *path, int *fd, uint64_t *size, struct mf_error *err);

/* The size of an open file, which must be a regular one. Errors: as before. */
int file_size(int fd, const char *path, uint64_t *size, struct mf_error *err);

/* A file that comes to be: until new_file_commit nobody sees it. */
struct new_file {
    int fd, dir;
    char name[256]; /* what it will be called */
    char temp[48];  /* what it is called now; "": nothing */
};

/* Begins a file that will be at `path`. On failure nothing is left. MF_E_SYSTEM. */
int new_file_create(struct new_file *file, const char *path, struct mf_error *err);

/*
 * Makes it durable and gives it its name, in the place of what had that name. On failure
 * it is gone, and what had its name is still there. Closes it in any case.
 */
int new_file_commit(struct new_file *file, struct mf_error *err);

/* Drops it. */
void new_file_abort(struct new_file *file);

/* The folder that a path is in, "." if it names none; cut to `size`. */
void file_folder(const char *path, char *folder, size_t size);

/* The last component of a path. */
const char *file_name(const char *path);

#endif
