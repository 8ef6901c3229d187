/*
 * Lines and requests of the control socket. Memory grows with what came in, up to one line; a
 * request has the members that the table of commands names, and no others, so that a slip
 * in a key is an error and not a default.
 */
#include "control_request.h"
#include "names.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 1024

void control_lines_init(struct control_lines *lines, size_t max)
{
    *lines = (struct control_lines){.max = max};
}

void control_lines_fini(struct control_lines *lines)
{
    free(lines->data);
    *lines = (struct control_lines){.max = lines->max};
}

static void drop_taken(struct control_lines *lines)
{
    if (lines->taken == 0)
        return;
    memmove(lines->data, lines->data + lines->taken, lines->len - lines->taken);
    lines->len -= lines->taken;
    lines->taken = 0;
}

char *control_lines_room(struct control_lines *lines, size_t *space)
{
    drop_taken(lines);
    if (lines->len > lines->max)
        return NULL;
    if (lines->allocated - lines->len < ROOM_MIN && lines->allocated < lines->max + 1) {
        size_t wanted = 2 * lines->allocated + ROOM_MIN;
        size_t size = wanted < lines->max + 1 ? wanted : lines->max + 1;
        char *data = realloc(lines->data, size);
        if (data == NULL)
            return NULL;
        lines->data = data;
        lines->allocated = size;
    }
    *space = lines->allocated - lines->len;
    return lines->data + lines->len;
}

void control_lines_add(struct control_lines *lines, size_t len)
{
    lines->len += len;
}

const char *control_lines_next(struct control_lines *lines, size_t *len)
{
    drop_taken(lines);
    const char *end = lines->len > 0 ? memchr(lines->data, '\n', lines->len) : NULL;
    if (end == NULL)
        return NULL;
    *len = (size_t)(end - lines->data);
    lines->taken = *len + 1;
    return lines->data;
}

/* ---- requests ---- */

static const struct control_key *find_key(const struct control_command *command, const char *name)
{
    for (size_t i = 0; i < CONTROL_KEYS_MAX && command->keys[i].name != NULL; i++) {
        if (strcmp(command->keys[i].name, name) == 0)
            return &command->keys[i];
    }
    return NULL;
}

static bool has_type(const json_t *value, enum control_type type)
{
    switch (type) {
    case CONTROL_STRING:
        return json_is_string(value);
    case CONTROL_BOOLEAN:
        return json_is_boolean(value);
    case CONTROL_NUMBER:
        return json_is_integer(value) && json_integer_value(value) >= 0;
    }
    return false;
}

static const char *type_text(enum control_type type)
{
    static const char *const texts[] = {"a string", "true or false", "a whole number from 0"};

    return texts[type];
}

static int check_target(const struct control_command *command, json_t *json,
                        struct control_request *request, struct mf_error *err)
{
    const json_t *target = json_object_get(json, "target");

    if (!command->takes_target)
        return target == NULL ? MF_OK
                              : mf_fail(err, MF_E_ARGUMENT, "%s takes no target", command->name);
    if (!json_is_string(target))
        return mf_fail(err, MF_E_ARGUMENT, "%s needs a target: the name of a sandbox",
                       command->name);
    request->target = json_string_value(target);
    return names_check(request->target, err);
}

static int check_members(const struct control_command *command, json_t *json, struct mf_error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach (json, name, value) {
        const struct control_key *key = find_key(command, name);
        if (strcmp(name, "command") == 0 || strcmp(name, "target") == 0)
            continue;
        if (key == NULL)
            return mf_fail(err, MF_E_ARGUMENT, "%s takes no member '%.60s'", command->name, name);
        if (!has_type(value, key->type))
            return mf_fail(err, MF_E_ARGUMENT, "%s: '%s' must be %s", command->name, key->name,
                           type_text(key->type));
    }
    for (size_t i = 0; i < CONTROL_KEYS_MAX && command->keys[i].name != NULL; i++) {
        if (command->keys[i].required && json_object_get(json, command->keys[i].name) == NULL)
            return mf_fail(err, MF_E_ARGUMENT, "%s needs a member '%s'", command->name,
                           command->keys[i].name);
    }
    return MF_OK;
}

static int find_command(const struct control_command *commands, size_t ncommands, json_t *json,
                        struct control_request *request, struct mf_error *err)
{
    const char *name = json_string_value(json_object_get(json, "command"));

    if (name == NULL)
        return mf_fail(err, MF_E_ARGUMENT, "a request is an object with a string 'command'");
    for (size_t i = 0; i < ncommands; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            request->command = &commands[i];
            return MF_OK;
        }
    }
    return mf_fail(err, MF_E_ARGUMENT, "there is no command '%.60s'", name);
}

int control_request_decode(const struct control_command *commands, size_t ncommands,
                           const char *line, size_t len, struct control_request *request,
                           struct mf_error *err)
{
    json_error_t why;

    *request = (struct control_request){0};
    json_t *json = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
    if (json == NULL)
        return mf_fail(err, MF_E_ARGUMENT, "the request is no JSON: %.150s", why.text);
    int status = find_command(commands, ncommands, json, request, err);
    if (status == MF_OK)
        status = check_target(request->command, json, request, err);
    if (status == MF_OK)
        status = check_members(request->command, json, err);
    if (status == MF_OK) {
        request->json = json;
        return MF_OK;
    }
    json_decref(json);
    *request = (struct control_request){0};
    return status;
}
