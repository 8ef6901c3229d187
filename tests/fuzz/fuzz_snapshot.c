/*
 * Opening snapshot files. The input is a list of changes to a file that is right: to one
 * that is plain, compressed, or a child. Its first byte says which, and whether all checksums are
 * made right again afterwards (or nobody would ever get behind them), and whether the file
 * is trusted. Each change: three bytes of place, one of length, the new bytes.
 *
 * What opens is read to the end, and its page tables are walked as a restore walks them. Bit 6
 * of the first byte takes the rest of the input as an encoded state instead.
 */
#include "base/fd.h"
#include "base/checked.h"
#include "snapshot/check.h"
#include "snapshot/digest.h"
#include "snapshot/encode.h"
#include "snapshot/file.h"
#include "snapshot/format.h"
#include "snapshot/open.h"
#include "snapshot/vanish.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/snapshot_build.h"

enum { PLAIN, ZSTD, CHILD, FILES };

struct file {
    uint8_t *bytes;
    size_t len;
};

static struct file files[FILES];
static char folder[64];

static void keep(struct file *file, const char *path)
{
    uint64_t size;
    int fd;
    CHECK(file_open(path, &fd, &size, NULL) == 0);
    file->len = (size_t)size;
    file->bytes = malloc(file->len);
    CHECK(file->bytes && fd_read(fd, file->bytes, file->len, 0) == 0);
    close(fd);
}

static void write_to(struct mf_snapshot *snapshot, struct mf_snapshot *parent, int compress,
                     const char *name, struct file *file)
{
    struct mf_snapshot_write_options options = {
        .size = sizeof options, .compress = compress, .parent = parent};
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK(mf_snapshot_write(snapshot, path, &options, NULL, NULL) == 0);
    keep(file, path);
}

static void remove_folder(void)
{
    static const char *const names[] = {"plain", "zstd", "child"};
    char path[128];
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

static void make_files(void)
{
    struct snap_build b;
    snprintf(folder, sizeof folder, "/tmp/mayfly-fuzz-XXXXXX");
    CHECK(mkdtemp(folder));
    atexit(remove_folder);
    snap_build(&b);
    struct mf_snapshot *first = snap_build_take(&b);
    write_to(first, NULL, 0, "plain", &files[PLAIN]);
    write_to(first, NULL, 1, "zstd", &files[ZSTD]);
    memset(mem_at(&b.mem, b.heap), 3, 3 * PAGE_BYTES);
    struct mf_snapshot *child = snap_build_child(&b, first);
    write_to(child, first, 0, "child", &files[CHILD]);
    mf_snapshot_close(child);
    mf_snapshot_close(first);
    snap_build_fini(&b);
}

/* ---- changing a file ---- */

static void change(struct file *file, const uint8_t *data, size_t size)
{
    while (size >= 5) {
        size_t at = (data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) % file->len;
        size_t len = MIN((size_t)data[3] % 32 + 1, MIN(size - 4, file->len - at));
        memcpy(file->bytes + at, data + 4, len);
        data += 4 + len;
        size -= 4 + len;
    }
}

static void forge_blocks(struct file *file, const struct format_section *blocks,
                         const struct format_section *data)
{
    struct format_block *block = (struct format_block *)(void *)(file->bytes + blocks->offset);
    uint64_t at = data->offset;
    for (uint64_t i = 0; i < blocks->bytes / sizeof *block; i++) {
        if (!range_inside(at, block[i].bytes, file->len))
            return;
        block[i].checksum = checksum_of(file->bytes + at, block[i].bytes);
        at += block[i].bytes;
    }
}

/* Makes the checksums right, as far as the sections are where there are bytes. */
static void forge(struct file *file)
{
    struct format_head *head = (struct format_head *)(void *)file->bytes;
    struct format_section *section = (struct format_section *)(void *)(file->bytes + sizeof *head);
    uint32_t n = MIN(head->nsections, (uint32_t)FORMAT_SECTIONS_MAX);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < n; k++)
            if (section[i].kind == FORMAT_BLOCKS && section[k].kind == FORMAT_DATA &&
                section[i].offset % 8 == 0 &&
                range_inside(section[i].offset, section[i].bytes, file->len))
                forge_blocks(file, &section[i], &section[k]);
    for (uint32_t i = 0; i < n; i++)
        if (section[i].kind != FORMAT_DATA &&
            range_inside(section[i].offset, section[i].bytes, file->len))
            section[i].checksum = checksum_of(file->bytes + section[i].offset, section[i].bytes);
    head->checksum = 0;
    head->checksum = checksum_of(file->bytes, FORMAT_HEAD_BYTES);
}

/* ---- using what opens ---- */

static void look_up(void *context, mf_gva gva, const struct pt_page *page)
{
    struct mem *mem = context;
    struct pt_page again;
    CHECK(page->gpa < mem->bytes);
    CHECK(pt_lookup(mem, gva, &again) && again.gpa == page->gpa);
}

/* Memory as a restore makes it; false: it was refused. */
static bool load(struct mem *mem, const struct mf_snapshot *snapshot, bool mapped)
{
    uint8_t contents[PAGE_BYTES];
    CHECK(mem_init(mem, snapshot->saved.memory_bytes, NULL) == 0);
    if (mapped) {
        CHECK(mem_rebase(mem, snapshot->root, false, NULL) == 0);
        return vanish_secure(mem, snapshot, NULL) == 0;
    }
    for (uint64_t page = 0; page < mem->end; page++) {
        CHECK(snap_read(snapshot, (uint32_t)page, contents));
        if (!snap_bytes_are_zero(contents))
            memcpy(mem_at(mem, page << PAGE_SHIFT), contents, PAGE_BYTES);
    }
    return true;
}

static void use(const struct mf_snapshot *snapshot)
{
    struct mem mem;
    bool mapped = snapshot->root->may_vanish && !snapshot->parent;
    CHECK(check_state(&snapshot->saved, snapshot->image, NULL) == 0);
    CHECK(mapped || check_memory(snapshot, NULL, NULL) == 0);
    if (load(&mem, snapshot, mapped))
        pt_each(&mem, look_up, &mem);
    mem_fini(&mem);
}

static void open_file(const struct file *file, bool trusted)
{
    struct mf_error err = {0};
    struct mf_snapshot *snapshot;
    struct opening opening = {
        .trusted = trusted,
        .fd = memfd_create("fuzz", MFD_CLOEXEC),
        .folders = {folder},
        /* More of it would be slow, and is no other case. */
        .max_memory_bytes = UINT64_C(4) << 20,
    };
    CHECK(opening.fd >= 0 && fd_write(opening.fd, file->bytes, file->len, 0) == 0);
    int rc = snap_open("fuzz", &opening, NULL, &snapshot, &err);
    close(opening.fd);
    if (rc == 0) {
        use(snapshot);
        mf_snapshot_close(snapshot);
        return;
    }
    CHECK(!snapshot && err.code == rc && err.message[0]);
    CHECK(rc == MF_E_SNAPSHOT || rc == MF_E_PARENT || rc == MF_E_ARGUMENT || rc == MF_E_ABI);
}

static void decode(const uint8_t *data, size_t size)
{
    struct saved_state saved, again;
    uint8_t *bytes;
    size_t len;
    struct mf_error err;
    int rc = state_decode(data, size, &saved, &err);
    CHECK(rc == 0 || rc == MF_E_SNAPSHOT);
    if (rc != 0)
        return;
    CHECK(state_encode(&saved, &bytes, &len, &err) == 0);
    CHECK(state_decode(bytes, len, &again, &err) == 0);
    CHECK(again.nareas == saved.nareas && again.mem_nfree == saved.mem_nfree);
    free(bytes);
    saved_fini(&again);
    saved_fini(&saved);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!files[0].bytes)
        make_files();
    if (size == 0)
        return 0;
    uint8_t how = data[0];
    if (how & 0x40) {
        decode(data + 1, size - 1);
        return 0;
    }
    const struct file *right = &files[how % FILES];
    struct file file = {.bytes = malloc(right->len), .len = right->len};
    CHECK(file.bytes);
    memcpy(file.bytes, right->bytes, right->len);
    change(&file, data + 1, size - 1);
    if (!(how & 0x20))
        forge(&file);
    open_file(&file, how & 0x10);
    free(file.bytes);
    return 0;
}
