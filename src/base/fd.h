/* Whole reads and writes at a place of a file. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stddef.h>
#include <stdint.h>

/* Reads exactly `len` bytes. 0, an errno, or -1: the file ends before. */
int fd_read(int fd, void *buf, size_t len, uint64_t offset);

/* Writes all of it. 0 or an errno. */
int fd_write(int fd, const void *buf, size_t len, uint64_t offset);

#endif
