/*
 * What `mayfly doctor` finds out, as a list of facts: each has a section and a
 * key, words for people, a JSON value for programs, and, when something is not
 * as it should be, what to do about it.
 */
#ifndef CLI_FACTS_H
#define CLI_FACTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fact_level {
    FACT_INFO,
    FACT_OK,
    FACT_WARNING, /* works, but slower or less than it could */
    FACT_PROBLEM, /* something does not work */
};

struct fact {
    const char *section, *key; /* static */
    enum fact_level level;
    char text[256];
    char advice[320]; /* "" when nothing is to be done */
    json_t *value;    /* owned by the list until it is printed */
};

#define FACTS_MAX 48

struct facts {
    struct fact list[FACTS_MAX];
    size_t n;
};

/*
 * Adds a fact with its words; `value` is given away, and what follows the
 * format are its arguments. `advice` may be NULL.
 */
void facts_add(struct facts *facts, const char *section, const char *key, enum fact_level level,
               json_t *value, const char *advice, const char *format, ...)
    __attribute__((format(printf, 7, 8)));

/* Frees the values that are left. */
void facts_fini(struct facts *facts);

/* Reads the first line of a file into `buf`, without its newline. */
bool facts_read_line(const char *path, char *buf, size_t size);

/* Kernel, memory, page size, processor. */
void facts_host(struct facts *facts);

/* /dev/kvm; settings of the kernel. `create_ms`: how long a VM took, or below 0. */
void facts_kvm(struct facts *facts, double create_ms);

/* Resource limits of this process. */
void facts_limits(struct facts *facts);

/* Limits of the cgroups of this process, versions 1 and 2. */
void facts_cgroup(struct facts *facts);

/* Whether this process is in a cgroup below the root where leaving one is slow. */
bool facts_in_slow_cgroup(void);

#endif
