/*
 * Images: reads a program file once into private memory, checks all of it that is
 * ever used, and keeps what the rest needs ready: segments, exported functions
 * (also sorted by name) and needed host functions (also by record). After
 * mf_image_open returns, nothing in an image changes except its reference count.
 *
 * The function table (abi/function.h) is as hostile as the rest of the file. It
 * is gone through twice: once to count, once to fill arrays of that size.
 */
#include "sandbox/image.h"

#include "abi/function.h"
#include "abi/memory_map.h"
#include "abi/version.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "mem/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (UINT64_C(1) << 30)

/*
 * The most functions of each kind. A parsed signature is many times as large as
 * its text: this bounds the host memory that a file can make an image take.
 */
#define FUNCTIONS_MAX 4096

/* The default sizes that memory_bytes of an image counts with (mayfly/sandbox.h). */
#define DEFAULT_STACK_BYTES (UINT64_C(1) << 20)
#define DEFAULT_MAILBOX_BYTES (UINT64_C(64) << 10)

/* The function table in the image's bytes. */
struct table {
    const uint8_t *bytes;
    uint64_t size;
    struct mf_error *err;
};

/* One record of it: an export or an import. */
struct record {
    uint64_t at;
    uint32_t size;
    bool export;
    const char *signature; /* NUL-terminated */
};

/*
 * A name for messages: its end when it is long, and no bytes that would spoil a
 * terminal or are no UTF-8.
 */
struct shown {
    char text[64];
};

static struct shown show(const char *name)
{
    struct shown shown;
    size_t len = strlen(name), room = sizeof(shown.text) - 1, bad;
    const char *start = len > room ? name + (len - room) : name;

    while (len > room && ((unsigned char)*start & 0xc0) == 0x80)
        start++;
    snprintf(shown.text, sizeof(shown.text), "%s", start);
    bool utf8 = text_is_utf8(shown.text, strlen(shown.text), &bad);
    for (char *c = shown.text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f || (!utf8 && (unsigned char)*c >= 0x80))
            *c = '?';
    return shown;
}

/* ---- the function table ---- */

static bool all_zero(const uint8_t *bytes, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static int bad_record(const struct table *table, uint64_t at, const char *what)
{
    return error_set(table->err, MF_E_IMAGE, "damaged function table: the record at %#" PRIx64
                     " %s; build the guest again with the SDK of this version", at, what);
}

/* Checks the signature behind a record's header. */
static int take_signature(const struct table *table, struct record *record)
{
    uint64_t len = record->size - sizeof(struct mf_abi_function);
    const uint8_t *text = table->bytes + record->at + sizeof(struct mf_abi_function);

    if (len == 0 || len > MF_ABI_SIGNATURE_MAX)
        return bad_record(table, record->at, "has no signature or one that is too long");
    if (memchr(text, 0, len) != text + len - 1)
        return bad_record(table, record->at, "has a signature that does not end where it should");
    record->signature = (const char *)text;
    return 1;
}

/*
 * Moves to the first export or import at or after *at. Returns 1 with *record and
 * *at behind it, 0 at the end of the table, or an error.
 */
static int next_record(const struct table *table, uint64_t *at, struct record *record)
{
    while (*at < table->size) {
        uint64_t here = *at, left = table->size - here;
        struct mf_abi_function header;

        if (left < sizeof(header)) {
            *at = table->size;
            return all_zero(table->bytes + here, left)
                       ? 0
                       : bad_record(table, here, "is cut off by the end of the table");
        }
        memcpy(&header, table->bytes + here, sizeof(header));
        if (all_zero(table->bytes + here, MF_ABI_RECORD_ALIGN)) {
            /* A gap that a linker left between the tables of two object files. */
            *at = here + MF_ABI_RECORD_ALIGN;
            continue;
        }
        if (header.size < sizeof(header) || header.size > left)
            return bad_record(table, here, "has an impossible size");
        /* At most the table's size + 15: no overflow. */
        *at = (here + header.size + MF_ABI_RECORD_ALIGN - 1) & ~(uint64_t)(MF_ABI_RECORD_ALIGN - 1);
        /* Other kinds mean nothing to the host; later minor versions may add some. */
        if (header.kind != MF_ABI_RECORD_EXPORT && header.kind != MF_ABI_RECORD_IMPORT)
            continue;
        record->at = here;
        record->size = header.size;
        record->export = header.kind == MF_ABI_RECORD_EXPORT;
        return take_signature(table, record);
    }
    return 0;
}

/* Counts the records and allocates the arrays for them. */
static int allocate_functions(struct mf_image *image, const struct table *table)
{
    size_t nexports = 0, nimports = 0;
    struct record record;
    uint64_t at = 0;
    int more;

    while ((more = next_record(table, &at, &record)) > 0)
        *(record.export ? &nexports : &nimports) += 1;
    if (more < 0)
        return more;
    if (nexports > FUNCTIONS_MAX || nimports > FUNCTIONS_MAX)
        return error_set(table->err, MF_E_IMAGE, "too many functions: %zu exported and %zu needed "
                         "of the host; at most %d of each are possible",
                         nexports, nimports, FUNCTIONS_MAX);
    image->nimport_of = table->size / MF_ABI_RECORD_ALIGN + 1;
    image->exports = calloc(nexports + 1, sizeof(*image->exports));
    image->exports_by_name = calloc(nexports + 1, sizeof(*image->exports_by_name));
    image->imports = calloc(nimports + 1, sizeof(*image->imports));
    image->import_of = calloc(image->nimport_of, sizeof(*image->import_of));
    if (!image->exports || !image->exports_by_name || !image->imports || !image->import_of)
        return error_set(table->err, MF_E_NO_MEMORY, "no memory for %zu functions",
                         nexports + nimports);
    return 0;
}

static int fill_functions(struct mf_image *image, const struct table *table)
{
    struct record record;
    uint64_t at = 0;

    while (next_record(table, &at, &record) > 0) {
        struct image_function *function =
            record.export ? &image->exports[image->nexports] : &image->imports[image->nimports];
        int rc = mf_signature_parse(record.signature, &function->signature, table->err);

        if (rc) {
            char shown[64];
            snprintf(shown, sizeof(shown), "%s", record.signature);
            for (char *c = shown; *c; c++)
                if (*c < 0x20 || *c > 0x7e)
                    *c = '?';
            return error_wrap(table->err, rc, "%s '%s'",
                              record.export ? "exported function" : "host function", shown);
        }
        function->record = (uint32_t)record.at;
        *(record.export ? &image->nexports : &image->nimports) += 1;
    }
    return 0;
}

/* By name, then by place in the table. */
static int compare_functions(const void *left, const void *right)
{
    const struct image_function *a = *(const struct image_function *const *)left;
    const struct image_function *b = *(const struct image_function *const *)right;
    int order = strcmp(a->signature.name, b->signature.name);

    if (order)
        return order;
    return a->record < b->record ? -1 : a->record > b->record;
}

static int index_exports(struct mf_image *image, struct mf_error *err)
{
    const struct image_function **sorted = image->exports_by_name;

    for (size_t i = 0; i < image->nexports; i++)
        sorted[i] = &image->exports[i];
    qsort(sorted, image->nexports, sizeof(sorted[0]), compare_functions);
    for (size_t i = 1; i < image->nexports; i++)
        if (strcmp(sorted[i]->signature.name, sorted[i - 1]->signature.name) == 0)
            return error_set(err, MF_E_IMAGE, "the function '%s' is exported twice; rename or "
                             "remove one of the two", sorted[i]->signature.name);
    return 0;
}

/*
 * Several source files of a guest may each name the same host function: equal
 * imports become one, to which all of their records lead. `sorted` and `first`
 * have nimports places; first[i] becomes the import that stands for import i.
 */
static int find_equal_imports(const struct mf_image *image, const struct image_function **sorted,
                              size_t *first, struct mf_error *err)
{
    for (size_t i = 0; i < image->nimports; i++)
        sorted[i] = &image->imports[i];
    qsort(sorted, image->nimports, sizeof(sorted[0]), compare_functions);
    for (size_t i = 0, leader = 0; i < image->nimports; i++) {
        const struct mf_signature *sig = &sorted[i]->signature;

        if (strcmp(sorted[leader]->signature.name, sig->name) != 0)
            leader = i;
        if (!mf_signature_equal(&sorted[leader]->signature, sig))
            return error_set(err, MF_E_IMAGE, "the host function '%s' is declared with two "
                             "different signatures in the guest; make them equal", sig->name);
        first[sorted[i] - image->imports] = (size_t)(sorted[leader] - image->imports);
    }
    return 0;
}

/* Fills import_of, and drops those imports for which another one stands. */
static int index_imports(struct mf_image *image, struct mf_error *err)
{
    const struct image_function **sorted = calloc(image->nimports + 1, sizeof(*sorted));
    size_t *first = calloc(image->nimports + 1, sizeof(*first));
    size_t kept = 0;
    int rc = !sorted || !first
                 ? error_set(err, MF_E_NO_MEMORY, "no memory for %zu functions", image->nimports)
                 : find_equal_imports(image, sorted, first, err);

    for (size_t i = 0; !rc && i < image->nimports; i++) {
        uint16_t *place = &image->import_of[image->imports[i].record / MF_ABI_RECORD_ALIGN];

        if (first[i] < i) {
            /* Its leader came before it and stands at its new place already. */
            *place = (uint16_t)(first[first[i]] + 1);
            continue;
        }
        first[i] = kept; /* from here on: where this import went */
        image->imports[kept++] = image->imports[i];
        *place = (uint16_t)kept;
    }
    if (!rc)
        image->nimports = kept;
    free(first);
    free(sorted);
    return rc;
}

/* ---- the note ---- */

#define VERSION_FORMAT "%u.%u"
#define VERSION_ARGS(version) (unsigned)((version) >> 16), (unsigned)((version) & 0xffff)

static int check_abi(const struct mf_image *image, struct mf_error *err)
{
    uint64_t unknown = image->abi_features & ~MF_ABI_FEATURES;

    if (!mf_abi_compatible(MF_ABI_VERSION, MF_ABI_MIN_VERSION, image->abi_version,
                           image->abi_min_version))
        return error_set(err, MF_E_ABI, "the guest was built for ABI " VERSION_FORMAT " (needs a "
                         "host of " VERSION_FORMAT " or later), this library speaks "
                         VERSION_FORMAT " (down to " VERSION_FORMAT "); %s",
                         VERSION_ARGS(image->abi_version), VERSION_ARGS(image->abi_min_version),
                         VERSION_ARGS(MF_ABI_VERSION), VERSION_ARGS(MF_ABI_MIN_VERSION),
                         image->abi_version > MF_ABI_VERSION
                             ? "update the library, or build the guest with its SDK"
                             : "build the guest again with the SDK of this library");
    if (unknown)
        return error_set(err, MF_E_ABI, "the guest needs features that this library does not "
                         "have (bits %#" PRIx64 "); update the library, or build the guest with "
                         "its SDK", unknown);
    return 0;
}

/* Finds the function table that the note points to. */
static int find_table(const struct mf_image *image, const struct mf_abi_note *note,
                      struct table *table)
{
    uint64_t base = image->elf.note_address;
    /* Wraps for hostile distances, which elf_at then does not find. */
    uint64_t start = base + offsetof(struct mf_abi_note, table_start) +
                     (uint64_t)(int64_t)note->table_start;
    uint64_t end = base + offsetof(struct mf_abi_note, table_end) +
                   (uint64_t)(int64_t)note->table_end;

    if (end < start || end - start > MF_ABI_TABLE_MAX)
        return error_set(table->err, MF_E_IMAGE, "the function table goes from %#" PRIx64
                         " to %#" PRIx64 "; at most %u bytes can be read; build the guest again "
                         "with the SDK of this version", start, end, MF_ABI_TABLE_MAX);
    table->size = end - start;
    table->bytes = elf_at(&image->elf, image->bytes, image->len, start, table->size);
    if (!table->bytes && table->size > 0)
        return error_set(table->err, MF_E_IMAGE, "the function table at %#" PRIx64 " (%" PRIu64
                         " bytes) is in no segment of the file; build the guest again with the "
                         "SDK of this version", start, table->size);
    return 0;
}

/* Reads what the guest SDK left in the file, if it did. */
static int read_sdk(struct mf_image *image, struct mf_error *err)
{
    struct table table = {.err = err};
    struct mf_abi_note note;
    int rc;

    if (!image->elf.has_note)
        return 0;
    /* elf_parse checked that the note is inside the file and large enough. */
    memcpy(&note, image->bytes + image->elf.note_offset, sizeof(note));
    image->abi_version = note.version;
    image->abi_min_version = note.min_version;
    image->abi_features = note.features;
    if ((rc = check_abi(image, err)) || (rc = find_table(image, &note, &table)) ||
        (rc = allocate_functions(image, &table)) || (rc = fill_functions(image, &table)) ||
        (rc = index_exports(image, err)))
        return rc;
    return index_imports(image, err);
}

/* ---- opening and closing ---- */

static int copy_segments(struct mf_image *image, struct mf_error *err)
{
    const struct elf *elf = &image->elf;

    image->segments = calloc(elf->nsegments, sizeof(*image->segments));
    if (!image->segments)
        return error_set(err, MF_E_NO_MEMORY, "no memory for %zu segments", elf->nsegments);
    for (size_t i = 0; i < elf->nsegments; i++)
        image->segments[i] = (struct mf_segment){
            .address = elf->segments[i].address,
            .memory_bytes = elf->segments[i].memory_bytes,
            .file_offset = elf->segments[i].file_offset,
            .file_bytes = elf->segments[i].file_bytes,
            .readable = elf->segments[i].readable,
            .writable = elf->segments[i].writable,
            .executable = elf->segments[i].executable,
        };
    return 0;
}

/* Makes an image of `bytes` (from malloc), which it takes over also when it fails. */
static int build(uint8_t *bytes, size_t len, const char *name, struct mf_image **out,
                 struct mf_error *err)
{
    struct mf_image *image = calloc(1, sizeof(*image));
    int rc;

    if (!image) {
        free(bytes);
        return error_set(err, MF_E_NO_MEMORY, "no memory for an image");
    }
    atomic_init(&image->references, 1);
    image->bytes = bytes;
    image->len = len;
    image->name = strdup(name);
    if (!image->name)
        rc = error_set(err, MF_E_NO_MEMORY, "no memory for the name of an image");
    else if (!(rc = elf_parse(bytes, len, LAYOUT_GVA_PIE, &image->elf, err)) &&
             !(rc = copy_segments(image, err)))
        rc = read_sdk(image, err);
    if (rc) {
        rc = error_wrap(err, rc, "%s", show(name).text);
        mf_image_close(image);
        return rc;
    }
    *out = image;
    return 0;
}

/* Refuses everything but a regular file of a sensible size. */
static int check_file(const struct stat *st, const char *name, struct mf_error *err)
{
    const char *kind = S_ISDIR(st->st_mode)    ? "a directory"
                       : S_ISFIFO(st->st_mode) ? "a pipe"
                       : S_ISSOCK(st->st_mode) ? "a socket"
                       : S_ISREG(st->st_mode)  ? NULL
                                               : "a device";

    if (kind)
        return error_set(err, MF_E_IMAGE, "%s: is %s; give the path of a program file", name,
                         kind);
    if ((uint64_t)st->st_size > FILE_BYTES_MAX)
        return error_set(err, MF_E_IMAGE, "%s: has %" PRIu64 " bytes; a program file has at most "
                         "1 GiB (strip removes symbols that are not needed)", name,
                         (uint64_t)st->st_size);
    return 0;
}

/* Reads `len` bytes of `fd` into fresh memory. */
static int read_bytes(int fd, size_t len, const char *name, uint8_t **out, struct mf_error *err)
{
    uint8_t *bytes = malloc(len + 1); /* so that an empty file gives memory, too */
    size_t done = 0;
    int rc;

    if (!bytes)
        return error_set(err, MF_E_NO_MEMORY, "%s: no memory for its %zu bytes", name, len);
    while (done < len) {
        ssize_t n = read(fd, bytes + done, len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rc = n < 0 ? error_set_errno(err, MF_E_SYSTEM, errno, "%s: cannot be read", name)
                       : error_set(err, MF_E_IMAGE, "%s: became shorter while it was read; try "
                                   "again when nobody writes to it", name);
            free(bytes);
            return rc;
        }
        done += (size_t)n;
    }
    *out = bytes;
    return 0;
}

int mf_image_open(const char *path, struct mf_image **out, struct mf_error *err)
{
    uint8_t *bytes = NULL;
    struct stat st;
    int fd, rc;

    *out = NULL;
    if (!path)
        return error_set(err, MF_E_ARGUMENT, "no path of an image (NULL)");
    struct shown name = show(path);
    /* Not to wait for a writer of a pipe, nor to take over a terminal. */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set_errno(err, MF_E_SYSTEM, errno, "%s: cannot be opened", name.text);
    if (fstat(fd, &st) != 0)
        rc = error_set_errno(err, MF_E_SYSTEM, errno, "%s: cannot be read", name.text);
    else if (!(rc = check_file(&st, name.text, err)))
        rc = read_bytes(fd, (size_t)st.st_size, name.text, &bytes, err);
    close(fd);
    return rc ? rc : build(bytes, (size_t)st.st_size, path, out, err);
}

int mf_image_from_memory(const void *data, size_t len, const char *name, struct mf_image **out,
                         struct mf_error *err)
{
    uint8_t *bytes;

    *out = NULL;
    if ((!data && len > 0) || !name)
        return error_set(err, MF_E_ARGUMENT, "an image needs data and a name (NULL)");
    if (len > FILE_BYTES_MAX)
        return error_set(err, MF_E_IMAGE, "%s: has %zu bytes; a program has at most 1 GiB",
                         show(name).text, len);
    bytes = malloc(len + 1);
    if (!bytes)
        return error_set(err, MF_E_NO_MEMORY, "%s: no memory for its %zu bytes", show(name).text,
                         len);
    if (len > 0)
        memcpy(bytes, data, len);
    return build(bytes, len, name, out, err);
}

struct mf_image *mf_image_hold(struct mf_image *image)
{
    atomic_fetch_add_explicit(&image->references, 1, memory_order_relaxed);
    return image;
}

void mf_image_close(struct mf_image *image)
{
    if (!image || atomic_fetch_sub_explicit(&image->references, 1, memory_order_acq_rel) != 1)
        return;
    free(image->import_of);
    free(image->imports);
    free(image->exports_by_name);
    free(image->exports);
    free(image->segments);
    free(image->bytes);
    free(image->name);
    free(image);
}

/* ---- looking at it ---- */

/* Guest memory that the segments take, in whole pages; a page that two share counts once. */
static uint64_t load_bytes(const struct elf *elf)
{
    uint64_t sum = 0, counted = 0;

    for (size_t i = 0; i < elf->nsegments; i++) {
        const struct elf_segment *s = &elf->segments[i];
        uint64_t start = MAX(round_down_u64(s->address, PAGE_BYTES), counted);
        uint64_t end = round_down_u64(s->address + s->memory_bytes + PAGE_MASK_LOW, PAGE_BYTES);

        if (end > start) {
            sum += end - start;
            counted = end;
        }
    }
    return sum;
}

/* Pages of page tables for `bytes` somewhere: leaves, and one table of each upper level. */
static uint64_t table_pages(uint64_t bytes)
{
    return bytes / (PAGE_BYTES * 512) + 2 + bytes / (PAGE_BYTES * 512 * 512) + 2 + 2;
}

/*
 * The least memory in which the program can start: what is loaded, default stack
 * and mailbox (control page, two rings, exchange area), the fixed pages, page
 * tables for each of those areas. Rounded up to a whole MiB, which leaves a
 * program some pages for its heap.
 */
static uint64_t memory_bytes(const struct elf *elf)
{
    uint64_t loaded = load_bytes(elf);
    uint64_t mailbox = PAGE_BYTES + 3 * DEFAULT_MAILBOX_BYTES;
    uint64_t pages = LAYOUT_PAGE_FREE + table_pages(DEFAULT_STACK_BYTES) + table_pages(mailbox) +
                     table_pages(PAGE_BYTES) + elf->nsegments * table_pages(0) +
                     table_pages(loaded);
    uint64_t sum = loaded + DEFAULT_STACK_BYTES + mailbox + pages * PAGE_BYTES;

    /* All addresses are below 2^47, and so are all sums of sizes: no overflow. */
    return (sum + (UINT64_C(1) << 20) - 1) & ~((UINT64_C(1) << 20) - 1);
}

void mf_image_get_info(const struct mf_image *image, struct mf_image_info *info)
{
    *info = (struct mf_image_info){
        .name = image->name,
        .file_bytes = image->len,
        .load_bytes = load_bytes(&image->elf),
        .memory_bytes = memory_bytes(&image->elf),
        .entry = image->elf.entry,
        .position_independent = image->elf.position_independent,
        .has_note = image->elf.has_note,
        .abi_version = image->abi_version,
        .abi_min_version = image->abi_min_version,
        .abi_features = image->abi_features,
        .nsegments = image->elf.nsegments,
        .nexports = image->nexports,
        .nimports = image->nimports,
        .nsymbols = image->elf.nsymbols,
    };
}

const struct mf_segment *mf_image_segment(const struct mf_image *image, size_t index)
{
    return index < image->elf.nsegments ? &image->segments[index] : NULL;
}

const struct mf_signature *mf_image_export(const struct mf_image *image, size_t index)
{
    return index < image->nexports ? &image->exports[index].signature : NULL;
}

const struct mf_signature *mf_image_import(const struct mf_image *image, size_t index)
{
    return index < image->nimports ? &image->imports[index].signature : NULL;
}

int image_import_by_record(const struct mf_image *image, uint32_t record)
{
    uint32_t place = record / MF_ABI_RECORD_ALIGN;

    if (record % MF_ABI_RECORD_ALIGN != 0 || place >= image->nimport_of)
        return -1;
    return (int)image->import_of[place] - 1;
}

/* Appends up to `most` names to the message: near ones only, or any. Returns how many. */
static size_t append_names(const struct mf_image *image, const char *name, bool near, size_t most,
                           const char *lead, struct mf_error *err)
{
    size_t len = strlen(err->message), count = 0, skipped = 0;

    for (size_t i = 0; i < image->nexports; i++) {
        const char *other = image->exports_by_name[i]->signature.name;

        if (near && !text_near(name, other))
            continue;
        /* A name is shown whole or not at all, and what follows it still fits. */
        if (count == most || len + strlen(lead) + strlen(other) + 24 >= sizeof(err->message)) {
            skipped++;
            continue;
        }
        len += (size_t)snprintf(err->message + len, sizeof(err->message) - len, "%s'%s'",
                                count == 0 ? lead : ", ", other);
        count++;
    }
    if (count > 0)
        snprintf(err->message + len, sizeof(err->message) - len, skipped ? ", ...%s" : "%s",
                 near ? "?" : "");
    return count;
}

/* Cold path of mf_image_find_export: says what there is instead. */
static int not_found(const struct mf_image *image, const char *name, struct mf_error *err)
{
    int rc = error_set(err, MF_E_NO_FUNCTION, "no exported function '%s'", show(name).text);

    if (!err)
        return rc;
    if (image->nexports == 0) {
        size_t len = strlen(err->message);
        snprintf(err->message + len, sizeof(err->message) - len,
                 image->elf.has_note
                     ? ": the image exports none; mark functions with MF_EXPORT"
                     : ": the image exports none, as it was built without the guest SDK");
        return rc;
    }
    if (append_names(image, name, true, 3, "; did you mean ", err) == 0)
        append_names(image, name, false, 8, "; the image exports ", err);
    return rc;
}

int mf_image_find_export(const struct mf_image *image, const char *name, struct mf_error *err)
{
    size_t low = 0, high = image->nexports;

    if (!name)
        return error_set(err, MF_E_ARGUMENT, "no name of a function (NULL)");
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct image_function *function = image->exports_by_name[middle];
        int order = strcmp(name, function->signature.name);

        if (order == 0)
            return (int)(function - image->exports);
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return not_found(image, name, err);
}
