/* What comes over a control socket: lines, and requests in them. All of it is hostile. */
#ifndef CLI_CONTROL_REQUEST_H
#define CLI_CONTROL_REQUEST_H

#include "control.h"

/* The longest request, without its newline. */
#define CONTROL_LINE_MAX ((size_t)64 << 10)

/* The longest line that a client takes for an answer. */
#define CONTROL_ANSWER_MAX ((size_t)4 << 20)

/* Bytes that were read and are not looked at yet. Zeroed: none. */
struct control_lines {
    char *data;
    size_t len;     /* bytes there */
    size_t max;     /* the longest line */
    size_t taken;   /* of them in the line that was given out last */
    size_t allocated;
};

void control_lines_init(struct control_lines *lines, size_t max);
void control_lines_fini(struct control_lines *lines);

/*
 * Room for bytes to come: *space of them, at least 1, at the address that is returned; then
 * control_lines_add says how many came. Ends the life of the last line. NULL: a line is
 * too long, or there is no memory.
 */
char *control_lines_room(struct control_lines *lines, size_t *space);
void control_lines_add(struct control_lines *lines, size_t len);

/* The next complete line, without its newline, until the next use of *lines; NULL: none. */
const char *control_lines_next(struct control_lines *lines, size_t *len);

/* A request that was decoded. */
struct control_request {
    const struct control_command *command;
    const char *target; /* a valid name in `json`, or NULL: the command takes none */
    json_t *json;       /* for json_decref */
};

/*
 * Decodes one line by a table of commands. Errors: MF_E_ARGUMENT; *request is empty then. On
 * success no member of request->json is unknown, missing, or of the wrong type.
 */
int control_request_decode(const struct control_command *commands, size_t ncommands,
                           const char *line, size_t len, struct control_request *request,
                           struct mf_error *err);

#endif
