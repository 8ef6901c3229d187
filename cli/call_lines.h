/* Calls read from standard input, one a line, made in batches: `mayfly call --batch`. */
#ifndef CLI_CALL_LINES_H
#define CLI_CALL_LINES_H

#include "guest.h"

/*
 * Splits a line into words as a shell does: blanks part them, '...' is literal, "..." and
 * a backslash quote; nothing is expanded. The words replace the line and end with
 * NULL in *words, an array of the caller's to free. Returns their number, or -1 with *why.
 */
int call_lines_split(char *line, char ***words, const char **why);

/*
 * Reads lines "FUNCTION ARG..." to the end of standard input and calls the started guest.
 * Prints a line for each call. Returns the exit status: that of the first call that failed, or
 * of what ended the guest.
 */
int call_lines_run(struct guest *guest);

#endif
