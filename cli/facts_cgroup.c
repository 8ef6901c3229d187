/*
 * Limits of the cgroups of this process. Source: cgroups(7), and the kernel's
 * "Control Group v2" guide. A limit of any level above holds as well, so each
 * is the least of all levels that can be seen.
 */
#include "facts.h"
#include "units.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A cgroup of this process: where its hierarchy is mounted, and its folder there. */
struct cgroup {
    int version; /* 1, 2; 0: none found */
    char mount[PATH_MAX];
    char folder[PATH_MAX]; /* begins with mount */
};

/* Whether the comma-separated `list` has `word`. */
static bool list_has(const char *list, const char *word)
{
    size_t len = strlen(word);

    while (*list != 0) {
        size_t n = strcspn(list, ",");
        if (n == len && strncmp(list, word, n) == 0)
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

/*
 * The path of this process in the hierarchy of a version 1 controller, or in
 * version 2 when `controller` is NULL. /proc/self/cgroup: "ID:CONTROLLERS:PATH".
 */
static bool find_path(const char *controller, char *path, size_t size)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char *line = NULL;
    size_t room = 0;
    bool found = false;

    if (file == NULL)
        return false;
    while (!found && getline(&line, &room, file) > 0) {
        char *names = strchr(line, ':');
        char *where = names != NULL ? strchr(names + 1, ':') : NULL;
        if (where == NULL)
            continue;
        *where++ = 0;
        where[strcspn(where, "\n")] = 0;
        found = controller == NULL ? names[1] == 0 : list_has(names + 1, controller);
        if (found)
            snprintf(path, size, "%s", where);
    }
    free(line);
    fclose(file);
    return found;
}

/* One line of /proc/self/mountinfo, cut into the words that matter here. */
struct mount_words {
    char *root, *point, *type, *options;
};

/* "ID PARENT DEVICE ROOT POINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS"; changes `line`. */
static bool split_mount(char *line, struct mount_words *words)
{
    char *save = NULL, *tail = strstr(line, " - ");
    char *field[5] = {NULL};

    if (tail == NULL)
        return false;
    *tail = 0;
    tail += strlen(" - ");
    for (int i = 0; i < 5; i++)
        field[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
    words->root = field[3];
    words->point = field[4];
    words->type = strtok_r(tail, " \n", &save);
    strtok_r(NULL, " \n", &save);
    words->options = strtok_r(NULL, " \n", &save);
    return words->point != NULL && words->options != NULL;
}

/* Finds where the hierarchy is mounted; cgroup->version says of which kind. */
static bool find_mount(struct cgroup *cgroup, const char *controller, char *root, size_t size)
{
    const char *type = controller == NULL ? "cgroup2" : "cgroup";
    FILE *file = fopen("/proc/self/mountinfo", "re");
    struct mount_words words;
    char *line = NULL;
    size_t room = 0;
    bool found = false;

    if (file == NULL)
        return false;
    while (!found && getline(&line, &room, file) > 0) {
        if (!split_mount(line, &words) || strcmp(words.type, type) != 0)
            continue;
        found = controller == NULL || list_has(words.options, controller);
        if (found) {
            snprintf(cgroup->mount, sizeof cgroup->mount, "%s", words.point);
            snprintf(root, size, "%s", words.root);
        }
    }
    free(line);
    fclose(file);
    return found;
}

/* The cgroup of this process in one hierarchy. */
static bool find_in(struct cgroup *cgroup, const char *controller)
{
    char path[PATH_MAX], root[PATH_MAX];

    if (!find_path(controller, path, sizeof path) ||
        !find_mount(cgroup, controller, root, sizeof root))
        return false;
    /* In a container the mount may show only what lies below `root`. */
    size_t skip =
        strcmp(root, "/") != 0 && strncmp(path, root, strlen(root)) == 0 ? strlen(root) : 0;
    if (snprintf(cgroup->folder, sizeof cgroup->folder, "%s%s", cgroup->mount, path + skip) >=
            (int)sizeof cgroup->folder ||
        access(cgroup->folder, R_OK) != 0)
        snprintf(cgroup->folder, sizeof cgroup->folder, "%s", cgroup->mount);
    cgroup->version = controller == NULL ? 2 : 1;
    return true;
}

/* A controller is in version 1 or in version 2, never in both. */
static void find_cgroup(struct cgroup *cgroup, const char *controller)
{
    memset(cgroup, 0, sizeof *cgroup);
    if (!find_in(cgroup, controller))
        find_in(cgroup, NULL);
}

/* Goes one level up; false at the mount point. */
static bool go_up(struct cgroup *cgroup)
{
    char *slash = strrchr(cgroup->folder, '/');

    if (slash == NULL || strlen(cgroup->folder) <= strlen(cgroup->mount))
        return false;
    *slash = 0;
    return strlen(cgroup->folder) >= strlen(cgroup->mount);
}

static bool read_in(const struct cgroup *cgroup, const char *name, char *buf, size_t size)
{
    char path[PATH_MAX + 64];

    snprintf(path, sizeof path, "%s/%s", cgroup->folder, name);
    return facts_read_line(path, buf, size);
}

/* The least limit in the file of that name on all levels; UINT64_MAX when there is none. */
static uint64_t least_limit(struct cgroup cgroup, const char *v1_name, const char *v2_name)
{
    uint64_t least = UINT64_MAX;
    char text[64];

    if (cgroup.version == 0)
        return least;
    do {
        if (!read_in(&cgroup, cgroup.version == 1 ? v1_name : v2_name, text, sizeof text) ||
            text[0] < '0' || text[0] > '9')
            continue;
        uint64_t limit = strtoull(text, NULL, 10);
        /* Version 1 writes "no limit" as the largest multiple of the page size. */
        if (limit < INT64_MAX - UINT64_C(65536) && limit < least)
            least = limit;
    } while (go_up(&cgroup));
    return least;
}

/* CPUs that may be used, or a number below 0 for no limit. */
static double least_cpus(struct cgroup cgroup)
{
    double least = -1;

    if (cgroup.version == 0)
        return least;
    do {
        char text[64], period_text[64];
        double quota = -1, period = 0;
        if (cgroup.version == 2) {
            /* "QUOTA PERIOD" in us, or "max PERIOD", which no number begins. */
            char *end = text;
            if (read_in(&cgroup, "cpu.max", text, sizeof text))
                quota = strtod(text, &end);
            period = end != text ? strtod(end, NULL) : 0;
        } else if (read_in(&cgroup, "cpu.cfs_quota_us", text, sizeof text) &&
                   read_in(&cgroup, "cpu.cfs_period_us", period_text, sizeof period_text)) {
            quota = strtod(text, NULL);
            period = strtod(period_text, NULL);
        }
        if (quota > 0 && period > 0 && (least < 0 || quota / period < least))
            least = quota / period;
    } while (go_up(&cgroup));
    return least;
}

static void add_memory(struct facts *facts)
{
    struct cgroup cgroup;
    char text[32];

    find_cgroup(&cgroup, "memory");
    uint64_t bytes = least_limit(cgroup, "memory.limit_in_bytes", "memory.max");
    if (bytes == UINT64_MAX) {
        facts_add(facts, "cgroup", "memory_max", FACT_OK, json_null(), NULL, "no limit");
        return;
    }
    units_format_size(bytes, text, sizeof text);
    bool small = bytes < UINT64_C(256) << 20;
    facts_add(facts, "cgroup", "memory_max", small ? FACT_WARNING : FACT_OK,
              json_integer((json_int_t)bytes),
              small ? "raise the memory limit of the container or service: a guest has 64 MiB "
                      "by default, and memory that is short ends the whole group"
                    : NULL,
              "%s", text);
}

static void add_pids(struct facts *facts)
{
    struct cgroup cgroup;

    find_cgroup(&cgroup, "pids");
    uint64_t most = least_limit(cgroup, "pids.max", "pids.max");
    if (most == UINT64_MAX) {
        facts_add(facts, "cgroup", "pids_max", FACT_OK, json_null(), NULL, "no limit");
        return;
    }
    bool small = most < 64;
    facts_add(facts, "cgroup", "pids_max", small ? FACT_WARNING : FACT_OK,
              json_integer((json_int_t)most),
              small ? "raise the limit of processes and threads: time limits need threads" : NULL,
              "%" PRIu64 " processes and threads", most);
}

static void add_cpu(struct facts *facts)
{
    struct cgroup cgroup;

    find_cgroup(&cgroup, "cpu");
    double cpus = least_cpus(cgroup);
    if (cpus < 0) {
        facts_add(facts, "cgroup", "cpu_max", FACT_OK, json_null(), NULL, "no limit");
        return;
    }
    bool small = cpus < 1;
    facts_add(facts, "cgroup", "cpu_max", small ? FACT_WARNING : FACT_OK, json_real(cpus),
              small ? "give the container or service at least one CPU: below it, guests pause "
                      "for tens of milliseconds when the quota is used up"
                    : NULL,
              "%.2f CPUs", cpus);
}

void facts_cgroup(struct facts *facts)
{
    add_memory(facts);
    add_pids(facts);
    add_cpu(facts);
}

bool facts_in_slow_cgroup(void)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char *line = NULL;
    size_t room = 0;
    bool below_root = false, favoured = false;

    while (file != NULL && !below_root && getline(&line, &room, file) > 0) {
        const char *path = strrchr(line, ':');
        below_root = path != NULL && strcmp(path, ":/\n") != 0;
    }
    if (file != NULL)
        fclose(file);
    file = fopen("/proc/self/mountinfo", "re");
    while (file != NULL && !favoured && getline(&line, &room, file) > 0)
        favoured = strstr(line, " - cgroup") != NULL && strstr(line, "favordynmods") != NULL;
    if (file != NULL)
        fclose(file);
    free(line);
    return below_root && !favoured;
}
