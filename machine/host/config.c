/*
 * Configuration files: each key is one line of the table KEYS, with the function that takes
 * its value. The first mistake ends the reading, with its file and line.
 */
#include "machine/host/config.h"

#include "machine/host/file.h"
#include "machine/protocol.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

#define CONFIG_BYTES_MAX (UINT64_C(1) << 20)
#define NAME_MAX_BYTES   64

/* The line that is being read. */
struct reader {
    struct vmm_config *config;
    const char *path;
    unsigned line;
    const char *key;
    struct mf_error *err;
};

static int refuse(const struct reader *r, const char *value, const char *what)
{
    return mf_fail(r->err, MF_E_ARGUMENT, "%.120s:%u: %s: '%.40s' %s", r->path, r->line, r->key,
                   value, what);
}

static int no_memory(const struct reader *r)
{
    return mf_fail(r->err, MF_E_NO_MEMORY, "out of memory");
}

/* A path, as it is for the command: relative to the configuration file. */
static int take_path(const struct reader *r, const char *value, char **field)
{
    *field = hostfile_beside(r->path, value);
    return *field != NULL ? MF_OK : no_memory(r);
}

static int take_binary(const struct reader *r, const char *value)
{
    return take_path(r, value, &r->config->binary);
}

static int take_snapshot(const struct reader *r, const char *value)
{
    r->config->snapshot_may_miss = true;
    return take_path(r, value, &r->config->snapshot);
}

static int take_stdin(const struct reader *r, const char *value)
{
    return take_path(r, value, &r->config->stdin_path);
}

static int take_stdout(const struct reader *r, const char *value)
{
    return take_path(r, value, &r->config->stdout_path);
}

static int take_trace(const struct reader *r, const char *value)
{
    static const char *const on[] = {"yes", "on", "true", "1"};
    static const char *const off[] = {"no", "off", "false", "0"};

    for (size_t i = 0; i < LEN(off); i++) {
        if (strcasecmp(value, off[i]) == 0)
            return MF_OK;
    }
    r->config->trace = true;
    for (size_t i = 0; i < LEN(on); i++) {
        if (strcasecmp(value, on[i]) == 0)
            return MF_OK;
    }
    return take_path(r, value, &r->config->trace_path);
}

/* Names stand before lines of output and in messages, so they are short and plain. */
const char *vmm_config_refuse_name(const char *name)
{
    if (*name == 0 || strlen(name) > NAME_MAX_BYTES)
        return "is no name: 1 to 64 characters";
    for (const char *c = name; *c != 0; c++) {
        if (!isalnum((unsigned char)*c) && strchr("_-.#", *c) == NULL)
            return "is no name: letters, digits, '_', '-', '.' and '#'";
    }
    return NULL;
}

static int take_name(const struct reader *r, const char *value)
{
    const char *why = vmm_config_refuse_name(value);

    if (why != NULL)
        return refuse(r, value, why);
    r->config->name = strdup(value);
    return r->config->name != NULL ? MF_OK : no_memory(r);
}

/* A number with an optional factor of 1024: 64K, 16M, 1G. */
static bool parse_number(const char *text, bool size, uint64_t *number)
{
    char *end;
    unsigned shift = 0;

    if (!isdigit((unsigned char)*text))
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 0);
    if (errno != 0)
        return false;
    if (size && *end != 0) {
        static const char letters[] = "KMG";
        const char *letter = strchr(letters, toupper((unsigned char)*end));
        if (letter != NULL)
            shift = 10 * (unsigned)(letter - letters + 1);
        end += letter != NULL;
        if (letter != NULL && strcasecmp(end, "iB") == 0)
            end += 2;
        else if (strcasecmp(end, "B") == 0)
            end++;
    }
    *number = (uint64_t)value << shift;
    return *end == 0 && *number >> shift == value;
}

static int take_slice(const struct reader *r, const char *value)
{
    if (!parse_number(value, false, &r->config->slice) || r->config->slice == 0)
        return refuse(r, value, "is not a number of instructions above 0");
    return MF_OK;
}

static int take_max_instructions(const struct reader *r, const char *value)
{
    if (!parse_number(value, false, &r->config->max_instructions) ||
        r->config->max_instructions == 0)
        return refuse(r, value, "is not a number of instructions above 0");
    return MF_OK;
}

static int take_memory(const struct reader *r, const char *value)
{
    if (!parse_number(value, true, &r->config->memory_bytes))
        return refuse(r, value, "is not a size, like 16M");
    if (r->config->memory_bytes < VMM_MEMORY_MIN || r->config->memory_bytes > VMM_MEMORY_MAX)
        return refuse(r, value, "is out of range: 64K to 2G");
    return MF_OK;
}

static int take_endian(const struct reader *r, const char *value)
{
    if (strcasecmp(value, "big") == 0)
        r->config->endian = VMM_ENDIAN_BIG;
    else if (strcasecmp(value, "little") == 0)
        r->config->endian = VMM_ENDIAN_LITTLE;
    else
        return refuse(r, value, "is neither 'big' nor 'little'");
    return MF_OK;
}

/* One device of the list; `word` is the caller's to change. */
static int take_device(const struct reader *r, char *word)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } devices[] = {
        {"none", 0},
        {"all", MACHINE_CONSOLE | MACHINE_RANDOM | MACHINE_POWER},
        {"console", MACHINE_CONSOLE},
        {"random", MACHINE_RANDOM},
        {"power", MACHINE_POWER},
    };

    if (strncmp(word, "disk:", 5) == 0 && word[5] != 0) {
        if (r->config->disk_path != NULL)
            return refuse(r, word, "is a second disk; a machine has one");
        r->config->devices |= MACHINE_DISK;
        return take_path(r, word + 5, &r->config->disk_path);
    }
    for (size_t i = 0; i < LEN(devices); i++) {
        if (strcmp(word, devices[i].name) == 0) {
            r->config->devices |= devices[i].bits;
            return MF_OK;
        }
    }
    return refuse(r, word, "is no device: console, disk:FILE, random, power, all, none");
}

static int take_devices(const struct reader *r, const char *value)
{
    char *list = strdup(value), *rest = NULL;
    int status = MF_OK;

    if (list == NULL)
        return no_memory(r);
    r->config->devices = 0;
    for (char *word = strtok_r(list, ", \t", &rest); word != NULL && status == MF_OK;
         word = strtok_r(NULL, ", \t", &rest))
        status = take_device(r, word);
    free(list);
    return status;
}

struct key {
    const char *name;
    int (*take)(const struct reader *r, const char *value);
};

static const struct key keys[] = {
    {"vm_binary", take_binary},
    {"vm_snapshot", take_snapshot},
    {"vm_exec_slice_in_instructions", take_slice},
    {"vm_name", take_name},
    {"vm_memory", take_memory},
    {"vm_max_instructions", take_max_instructions},
    {"vm_endian", take_endian},
    {"vm_devices", take_devices},
    {"vm_stdin", take_stdin},
    {"vm_stdout", take_stdout},
    {"vm_trace", take_trace},
};

/* Cuts blanks from both ends, in place. */
static char *trim(char *text)
{
    char *end = text + strlen(text);

    while (isspace((unsigned char)*text))
        text++;
    while (end > text && isspace((unsigned char)end[-1]))
        end--;
    *end = 0;
    return text;
}

/*
 * The key called `name`, or NULL; *near is one that begins alike, or has all of it inside, for the
 * message.
 */
static const struct key *find_key(const char *name, const char **near)
{
    const size_t prefix = strlen("vm_");
    size_t best = prefix + 1;

    *near = NULL;
    for (size_t i = 0; i < LEN(keys); i++) {
        size_t same = 0;
        while (name[same] != 0 && name[same] == keys[i].name[same])
            same++;
        if (name[same] == 0 && keys[i].name[same] == 0)
            return &keys[i];
        if (same > best) {
            best = same;
            *near = keys[i].name;
        }
    }
    for (size_t i = 0; i < LEN(keys) && *near == NULL; i++) {
        const char *part = strncmp(name, "vm_", prefix) == 0 ? name + prefix : name;
        if (strlen(part) > 2 && strcasestr(keys[i].name, part) != NULL)
            *near = keys[i].name;
    }
    return NULL;
}

/* Cuts a comment: a '#' at the beginning of the line or behind a blank. */
static void cut_comment(char *line)
{
    for (char *c = line; *c != 0; c++) {
        if (*c == '#' && (c == line || isspace((unsigned char)c[-1]))) {
            *c = 0;
            return;
        }
    }
}

static int take_line(struct reader *r, char *text, unsigned *seen)
{
    cut_comment(text);
    text = trim(text);
    if (*text == 0)
        return MF_OK;
    char *equals = strchr(text, '=');
    if (equals == NULL)
        return mf_fail(r->err, MF_E_ARGUMENT, "%.120s:%u: '%.60s' is not of the form key = value",
                       r->path, r->line, text);
    *equals = 0;
    const char *near;
    char *value = trim(equals + 1);
    r->key = trim(text);
    const struct key *key = find_key(r->key, &near);
    if (*r->key == 0)
        return mf_fail(r->err, MF_E_ARGUMENT, "%.120s:%u: there is no key before the =", r->path,
                       r->line);
    if (key == NULL)
        return mf_fail(r->err, MF_E_ARGUMENT, "%.120s:%u: unknown key '%.40s'%s%s%s", r->path,
                       r->line, r->key, near != NULL ? "; did you mean '" : "",
                       near != NULL ? near : "", near != NULL ? "'?" : "");
    unsigned *line = &seen[key - keys];
    if (*line != 0)
        return mf_fail(r->err, MF_E_ARGUMENT, "%.120s:%u: %s was given already, on line %u",
                       r->path, r->line, key->name, *line);
    *line = r->line;
    if (*value == 0)
        return mf_fail(r->err, MF_E_ARGUMENT, "%.120s:%u: %s has no value", r->path, r->line,
                       key->name);
    return key->take(r, value);
}

static int take_lines(struct reader *r, char *text, size_t len)
{
    unsigned seen[LEN(keys)] = {0};
    int status = MF_OK;
    /* What some editors put before a text. */
    size_t mark = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

    for (char *at = text + mark; at < text + len && status == MF_OK;) {
        char *end = memchr(at, '\n', (size_t)(text + len - at));
        if (end == NULL)
            end = text + len;
        *end = 0;
        r->line++;
        if (strlen(at) != (size_t)(end - at))
            return mf_fail(r->err, MF_E_ARGUMENT, "%.150s:%u: a zero byte: not a text file",
                           r->path, r->line);
        status = take_line(r, at, seen);
        at = end + 1;
    }
    return status;
}

static void set_defaults(struct vmm_config *config)
{
    memset(config, 0, sizeof *config);
    config->slice = VMM_SLICE_DEFAULT;
    config->memory_bytes = VMM_MEMORY_DEFAULT;
    config->devices = MACHINE_CONSOLE | MACHINE_RANDOM | MACHINE_POWER;
}

/* What follows from the path of the file, where it said nothing. */
static int complete(struct vmm_config *config, const char *path, struct mf_error *err)
{
    if (config->name == NULL)
        config->name = hostfile_stem(path);
    if (config->name == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    /* A name that was not chosen comes from a path, which may have anything in it. */
    if (strlen(config->name) > NAME_MAX_BYTES)
        config->name[NAME_MAX_BYTES] = 0;
    for (char *c = config->name; *c != 0; c++) {
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f)
            *c = '_';
    }
    return MF_OK;
}

int vmm_config_read(const char *path, struct vmm_config *config, struct mf_error *err)
{
    struct reader reader = {.config = config, .path = path, .err = err};
    uint8_t *text;
    size_t len;

    set_defaults(config);
    int status = hostfile_read(path, CONFIG_BYTES_MAX, &text, &len, err);
    if (status != MF_OK)
        return status;
    status = take_lines(&reader, (char *)text, len);
    free(text);
    if (status == MF_OK && config->binary == NULL)
        status = mf_fail(err, MF_E_ARGUMENT, "%.150s: vm_binary is missing: which program?", path);
    if (status != MF_OK)
        return status;
    config->file = strdup(path);
    config->folder = hostfile_folder(path);
    if (config->file == NULL || config->folder == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    return complete(config, path, err);
}

int vmm_config_of_program(const char *path, struct vmm_config *config, struct mf_error *err)
{
    set_defaults(config);
    config->binary = strdup(path);
    config->folder = strdup(".");
    if (config->binary == NULL || config->folder == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    return complete(config, path, err);
}

bool vmm_config_is_program(const char *path)
{
    static const char *const suffixes[] = {".s", ".S", ".asm"};
    const char *slash = strrchr(path, '/');
    const char *dot = strrchr(slash != NULL ? slash : path, '.');
    char magic[8] = {0};

    for (size_t i = 0; dot != NULL && i < LEN(suffixes); i++) {
        if (strcmp(dot, suffixes[i]) == 0)
            return true;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, magic, sizeof magic);
    close(fd);
    return n == sizeof magic &&
           (memcmp(magic, "\177ELF", 4) == 0 || memcmp(magic, "MFMIPS\r\n", 8) == 0);
}

void vmm_config_fini(struct vmm_config *config)
{
    free(config->file);
    free(config->name);
    free(config->binary);
    free(config->snapshot);
    free(config->folder);
    free(config->stdin_path);
    free(config->stdout_path);
    free(config->trace_path);
    free(config->disk_path);
    memset(config, 0, sizeof *config);
}
