/*
 * The control socket's lines and requests: whatever pieces the bytes come in, the same lines
 * come out, none is longer than the limit, and a request that is accepted has what its
 * command wants and nothing else.
 */
#include "cli/control_request.h"
#include "cli/names.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

/* Short, so that lines that are too long are found. */
#define LINE_MAX_FUZZED 512

static const struct control_command commands[] = {
    {.name = "list"},
    {.name = "pause", .takes_target = true},
    {
        .name = "snapshot",
        .takes_target = true,
        .keys = {{"file", CONTROL_STRING, true},
                 {"compress", CONTROL_BOOLEAN, false},
                 {"rounds", CONTROL_NUMBER, false}},
    },
};

static void check_request(const struct control_request *request)
{
    const json_t *json = request->json;
    size_t members = 1;

    CHECK(strcmp(json_string_value(json_object_get(json, "command")), request->command->name) == 0);
    CHECK((request->target != NULL) == request->command->takes_target);
    if (request->target != NULL) {
        CHECK(names_are_valid(request->target, strlen(request->target)));
        members++;
    }
    if (request->command == &commands[2]) {
        const json_t *compress = json_object_get(json, "compress");
        const json_t *rounds = json_object_get(json, "rounds");
        CHECK(json_is_string(json_object_get(json, "file")));
        CHECK(compress == NULL || json_is_boolean(compress));
        CHECK(rounds == NULL || json_integer_value(rounds) >= 0);
        members += 1 + (compress != NULL) + (rounds != NULL);
    }
    CHECK(json_object_size(json) == members);
}

static void decode(const char *line, size_t len)
{
    struct control_request request;
    struct mf_error err = {0};

    int status = control_request_decode(commands, sizeof commands / sizeof commands[0], line, len,
                                        &request, &err);
    if (status == MF_OK) {
        check_request(&request);
        json_decref(request.json);
    } else {
        CHECK(status == MF_E_ARGUMENT && err.code == status && err.message[0] != 0);
        CHECK(request.json == NULL && request.command == NULL && request.target == NULL);
    }
}

/* Takes the lines of what has come; each must be the next one of `data`. */
static void take(struct control_lines *lines, const uint8_t *data, size_t size, size_t *at)
{
    const char *line;
    size_t len;

    while ((line = control_lines_next(lines, &len)) != NULL) {
        CHECK(len <= LINE_MAX_FUZZED);
        CHECK(*at + len < size && memcmp(line, data + *at, len) == 0 && data[*at + len] == '\n');
        *at += len + 1;
        decode(line, len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_lines lines;
    size_t done = 0, at = 0;

    control_lines_init(&lines, LINE_MAX_FUZZED);
    /* In pieces of different lengths. */
    while (done < size) {
        size_t space, piece = 1 + done % 97;
        char *room = control_lines_room(&lines, &space);
        if (room == NULL) {
            CHECK(done - at > LINE_MAX_FUZZED);
            break;
        }
        CHECK(space > 0);
        piece = piece < space ? piece : space;
        piece = piece < size - done ? piece : size - done;
        memcpy(room, data + done, piece);
        control_lines_add(&lines, piece);
        done += piece;
        take(&lines, data, size, &at);
    }
    control_lines_fini(&lines);
    decode((const char *)data, size);
    return 0;
}
