/* The inside of struct mf_image: read-only once opened, shared by sandboxes. */
#ifndef SANDBOX_IMAGE_H
#define SANDBOX_IMAGE_H

#include "mem/elf.h"

#include <mayfly/image.h>

#include <stdatomic.h>

/* One record of the image's function table. */
struct image_function {
    struct mf_signature signature;
    uint32_t record; /* byte offset in the table: what frames carry as `function` */
};

struct mf_image {
    atomic_uint references;
    char *name;
    uint8_t *bytes; /* private copy of the file */
    size_t len;
    struct elf elf;
    struct mf_segment *segments; /* elf.nsegments of them, for the public API */
    uint32_t abi_version, abi_min_version;
    uint64_t abi_features;
    struct image_function *exports;
    size_t nexports;
    /* The same, sorted by name: found on the call path without allocation. */
    const struct image_function **exports_by_name;
    struct image_function *imports;
    size_t nimports;
    /* import_of[record / MF_ABI_RECORD_ALIGN] is the index of that import + 1, or 0. */
    uint16_t *import_of;
    size_t nimport_of;
};

/* The index of the import whose record has this offset, or -1. Constant time. */
int image_import_by_record(const struct mf_image *image, uint32_t record);

#endif
