/* Sizes and durations as people write them. */
#ifndef CLI_UNITS_H
#define CLI_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Parses a size in bytes: a decimal number above 0 and optionally K, M, G or T
 * (powers of 1024; also KiB, kB and so on, B for bytes). On failure returns
 * false with *why, a phrase like "is not a size".
 */
bool units_parse_size(const char *text, uint64_t *bytes, const char **why);

/*
 * Parses a duration above 0: a decimal number, which may have a fraction, and
 * one of ns, us, ms, s, m, h. On failure returns false with *why.
 */
bool units_parse_duration(const char *text, uint64_t *ns, const char **why);

/* Writes a size for people, like "64 MiB" or "1.5 KiB". */
void units_format_size(uint64_t bytes, char *buf, size_t size);

/* Writes a duration for people, like "12.3 us" or "4.0 s". */
void units_format_duration(uint64_t ns, char *buf, size_t size);

#endif
