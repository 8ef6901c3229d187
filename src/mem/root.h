/*
 * A root: contents of guest memory in a file (in memory, or on disk), which never
 * change and which any number of sandboxes map privately: each has its own copy of
 * what it writes, and shares the rest. Counted; any thread.
 */
#ifndef MEM_ROOT_H
#define MEM_ROOT_H

#include "mem/mem.h"

#include <stdatomic.h>

/* Adjacent guest pages that stand together in the file; page-aligned, sorted by gpa, apart. */
struct mem_run {
    mf_gpa gpa;
    uint64_t bytes;
    uint64_t offset; /* in the file */
};

struct mem_root {
    atomic_uint references;
    int fd;
    struct mem_run *runs;
    size_t nruns;
    const uint8_t *map; /* the file, read-only, `map_bytes` of it */
    uint64_t map_bytes;
    /*
     * The file can get shorter under our hands: its pages are touched by the CPU of a
     * guest only, never by the host directly.
     */
    bool may_vanish;
};

/*
 * Takes over `fd` and `runs` (malloc'ed), also when it fails. All runs lie within the file,
 * checked by the caller. MF_E_SYSTEM, MF_E_NO_MEMORY.
 */
int mem_root_create(int fd, struct mem_run *runs, size_t nruns, bool may_vanish,
                    struct mem_root **out, struct mf_error *err);

struct mem_root *mem_root_hold(struct mem_root *root);
void mem_root_close(struct mem_root *root); /* NULL is allowed */

/* The run that holds the guest page, or NULL: the page is zero. */
const struct mem_run *mem_root_find(const struct mem_root *root, uint32_t page);

/*
 * Copies one guest page to `dst` (zeros where the root has none). False when the file does
 * not have it any more.
 */
bool mem_root_read(const struct mem_root *root, uint32_t page, uint8_t *dst);

/*
 * Whether pages of guest memory can go away, with a file that is cut short: then the host
 * touches only those that it has made its own, and copies others by the functions below.
 */
static inline bool mem_may_vanish(const struct mem *mem)
{
    return mem->root && mem->root->may_vanish;
}

/* Copies one page of guest memory; false when it has vanished. */
bool mem_page_read(const struct mem *mem, uint32_t page, uint8_t *dst);
bool mem_page_write(struct mem *mem, uint32_t page, const uint8_t *src);

/* Makes whole pages zero, whatever the root has there. */
void mem_root_clear(struct mem *mem, mf_gpa gpa, uint64_t bytes);

/*
 * Replaces all contents of guest memory: zeros, and over them the pages of `root`
 * (NULL: none), which `mem` holds from then on. With `copy` nothing of a root that may vanish is
 * mapped, and nothing at all into memory that is shared: it is copied, and not held. On KVM this
 * drops all translations. On failure the contents are undefined.
 */
int mem_rebase(struct mem *mem, struct mem_root *root, bool copy, struct mf_error *err);

#endif
