/*
 * Snapshot files: what is written is read again, what is damaged or hostile is refused with an
 * error, and whatever happens while a file is written, there is an old one or a new one.
 *
 * With the name of a folder in $MAYFLY_WRITE_GOLDEN the files of tests/golden are written
 * there (once, when the format gets a new version).
 */
#include "base/fd.h"
#include "base/checked.h"
#include "snapshot/check.h"
#include "snapshot/digest.h"
#include "snapshot/encode.h"
#include "snapshot/file.h"
#include "snapshot/format.h"
#include "snapshot/vanish.h"
#include "tests/unit/snapshot_build.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

static char folder[64];
static struct mf_error err;

static const char *in_folder(const char *name)
{
    static char paths[8][320];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void must(int rc)
{
    if (rc != 0)
        fail_msg("%s (%s)", err.message, mf_error_name(rc));
}

static int make_folder(void **state)
{
    (void)state;
    /* In memory, where there is that: many files are made durable here. */
    snprintf(folder, sizeof folder, "%s/mayfly-test-XXXXXX",
             access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static unsigned remove_files(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    unsigned n = 0;
    while (dir && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0) != 0)
            unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
        n++;
    }
    if (dir)
        closedir(dir);
    return n;
}

static int remove_folder(void **state)
{
    (void)state;
    remove_files(in_folder("store"));
    remove_files(folder);
    return rmdir(folder);
}

/* ---- bytes of files ---- */

struct bytes {
    uint8_t *at;
    size_t len;
};

static struct bytes read_all(const char *path)
{
    struct bytes bytes = {0};
    uint64_t size;
    int fd;
    must(file_open(path, &fd, &size, &err));
    bytes.len = (size_t)size;
    bytes.at = malloc(bytes.len + 1);
    assert_non_null(bytes.at);
    assert_int_equal(fd_read(fd, bytes.at, bytes.len, 0), 0);
    close(fd);
    return bytes;
}

static void write_all(const char *path, const uint8_t *at, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fd_write(fd, at, len, 0), 0);
    close(fd);
}

static struct format_head *head_of(struct bytes bytes)
{
    return (struct format_head *)bytes.at;
}

static struct format_section *section_of(struct bytes bytes, enum format_kind kind)
{
    struct format_section *section =
        (struct format_section *)(bytes.at + sizeof(struct format_head));
    for (uint32_t i = 0; i < head_of(bytes)->nsections; i++)
        if (section[i].kind == kind)
            return &section[i];
    fail_msg("no section %d", (int)kind);
    return NULL;
}

/* Makes all checksums right again, as somebody would who forges a file. */
static void forge(struct bytes bytes)
{
    struct format_head *head = head_of(bytes);
    struct format_section *section = (struct format_section *)(bytes.at + sizeof *head);
    for (uint32_t i = 0; i < head->nsections; i++)
        if (section[i].kind != FORMAT_DATA &&
            range_inside(section[i].offset, section[i].bytes, bytes.len))
            section[i].checksum = checksum_of(bytes.at + section[i].offset, section[i].bytes);
    head->checksum = 0;
    head->checksum = checksum_of(bytes.at, FORMAT_HEAD_BYTES);
}

/* ---- opening ---- */

static struct mf_snapshot *open_as(const char *path, int trusted)
{
    struct mf_snapshot_open_options options = {.size = sizeof options, .trusted = trusted};
    struct mf_snapshot *snapshot;
    must(mf_snapshot_open(path, &options, &snapshot, &err));
    return snapshot;
}

static void expect_refusal(const char *path, int trusted, int code)
{
    struct mf_snapshot_open_options options = {.size = sizeof options, .trusted = trusted};
    struct mf_snapshot *snapshot = NULL;
    int rc = mf_snapshot_open(path, &options, &snapshot, &err);
    if (rc != code)
        fail_msg("%s instead of %s: %s", mf_error_name(rc), mf_error_name(code),
                 rc ? err.message : "");
    assert_null(snapshot);
    assert_true(strlen(err.message) > 10);
}

static void expect_bytes_refused(struct bytes bytes, size_t len)
{
    const char *path = in_folder("damaged");
    write_all(path, bytes.at, len);
    expect_refusal(path, 0, MF_E_SNAPSHOT);
}

static void expect_equal(const struct mf_snapshot *a, const struct mf_snapshot *b)
{
    uint8_t *bytes[2];
    size_t len[2];
    assert_int_equal(mf_snapshot_diff(a, b, NULL, NULL, &err), 0);
    must(state_encode(&a->saved, &bytes[0], &len[0], &err));
    must(state_encode(&b->saved, &bytes[1], &len[1], &err));
    assert_int_equal(len[0], len[1]);
    assert_memory_equal(bytes[0], bytes[1], len[0]);
    free(bytes[0]);
    free(bytes[1]);
    assert_int_equal(a->image->len, b->image->len);
    assert_memory_equal(a->image->bytes, b->image->bytes, a->image->len);
    assert_int_equal(a->taken_unix_ns, b->taken_unix_ns);
    assert_int_equal(a->depth, b->depth);
}

static void write_as(struct mf_snapshot *snapshot, const char *path, int compress,
                     struct mf_snapshot *parent)
{
    struct mf_snapshot_write_options options = {
        .size = sizeof options, .compress = compress, .parent = parent};
    must(mf_snapshot_write(snapshot, path, &options, NULL, &err));
}

/* ---- the state ---- */

static void test_state(void **state)
{
    (void)state;
    struct snap_build b;
    struct saved_state out;
    uint8_t *bytes, *again;
    size_t len, len_again;
    snap_build(&b);
    b.saved.cpu.fpu.components |= VM_OPMASK | VM_ZMM_HIGH | VM_ZMM_MORE;
    memset(b.saved.cpu.fpu.opmask, 1, sizeof b.saved.cpu.fpu.opmask);
    memset(b.saved.cpu.fpu.zmm_high, 2, sizeof b.saved.cpu.fpu.zmm_high);
    memset(b.saved.cpu.fpu.zmm_more, 3, sizeof b.saved.cpu.fpu.zmm_more);
    b.saved.pending = (struct sandbox_pending){MF_STOPPED_CALL, 0, 6};
    must(state_encode(&b.saved, &bytes, &len, &err));
    must(state_decode(bytes, len, &out, &err));
    assert_memory_equal(&out.cpu, &b.saved.cpu, sizeof out.cpu);
    assert_memory_equal(&out.sys, &b.saved.sys, sizeof out.sys);
    assert_int_equal(out.nareas, b.saved.nareas);
    assert_memory_equal(out.mem_free, b.free, 3 * sizeof *b.free);
    assert_int_equal(out.pending.id, 6);
    assert_int_equal(out.exchange.offset, b.saved.exchange.offset);
    must(state_encode(&out, &again, &len_again, &err));
    assert_int_equal(len_again, len);
    assert_memory_equal(again, bytes, len);
    free(again);
    saved_fini(&out);

    /* Cut off anywhere, but for the two records at its end that may be missing. */
    unsigned whole = 0;
    for (size_t cut = 0; cut < len; cut++) {
        int rc = state_decode(bytes, cut, &out, &err);
        whole += rc == 0;
        if (rc == 0)
            saved_fini(&out);
        else
            assert_int_equal(rc, MF_E_SNAPSHOT);
        assert_null(out.areas);
    }
    assert_int_equal(whole, 2);
    free(bytes);
    snap_build_fini(&b);
}

/* What a later minor version adds is skipped, unless it says that it must be known. */
static void test_later_state(void **state)
{
    (void)state;
    struct snap_build b;
    struct saved_state out;
    struct state_record record = {.tag = 1000, .bytes = 3};
    uint8_t *bytes, later[4096];
    size_t len;
    snap_build(&b);
    must(state_encode(&b.saved, &bytes, &len, &err));
    assert_true(len + 16 <= sizeof later);
    memcpy(later, &record, sizeof record);
    memcpy(later + 8, "new\0\0\0\0", 8);
    memcpy(later + 16, bytes, len);
    must(state_decode(later, len + 16, &out, &err));
    saved_fini(&out);
    record.flags = STATE_NEEDED;
    memcpy(later, &record, sizeof record);
    assert_int_equal(state_decode(later, len + 16, &out, &err), MF_E_SNAPSHOT);
    /* The same record twice. */
    memcpy(later, bytes, len);
    memcpy(later + len, bytes, 8 + 168);
    assert_int_equal(state_decode(later, len + 8 + 168, &out, &err), MF_E_SNAPSHOT);
    free(bytes);
    snap_build_fini(&b);
}

/* ---- round trips ---- */

static void change_memory(struct snap_build *b)
{
    memset(mem_at(&b->mem, b->heap), 0, PAGE_BYTES);                  /* becomes zero */
    memset(mem_at(&b->mem, b->heap + 2 * PAGE_BYTES), 7, PAGE_BYTES); /* was zero */
    *(uint8_t *)mem_at(&b->mem, b->heap + 3 * PAGE_BYTES) += 1;
    b->saved.monotonic_ns++;
}

static void test_round_trips(void **state)
{
    (void)state;
    struct snap_build b;
    snap_build(&b);
    struct mf_snapshot *first = snap_build_take(&b);
    change_memory(&b);
    struct mf_snapshot *child = snap_build_child(&b, first);
    *(uint8_t *)mem_at(&b.mem, b.heap) = 1;
    struct mf_snapshot *grandchild = snap_build_child(&b, child);
    for (int compress = 0; compress < 2; compress++) {
        write_as(first, in_folder("first"), compress, NULL);
        if (compress == 0) {
            write_as(child, in_folder("child"), 0, first);
            write_as(grandchild, in_folder("grandchild"), 0, child);
        } else {
            /* The digest of the first file that was written is the one that children name. */
            write_as(first, in_folder("first"), 0, NULL);
            write_as(child, in_folder("child"), 0, first);
            write_as(grandchild, in_folder("grandchild"), 1, child);
        }
        for (int trusted = 0; trusted < 2; trusted++) {
            struct mf_snapshot *one = open_as(in_folder("first"), trusted);
            struct mf_snapshot *three = open_as(in_folder("grandchild"), trusted);
            expect_equal(one, first);
            expect_equal(three, grandchild);
            assert_int_equal(three->depth, 2);
            expect_equal(three->parent, child);
            mf_snapshot_close(one);
            mf_snapshot_close(three);
        }
    }
    mf_snapshot_close(grandchild);
    mf_snapshot_close(child);
    mf_snapshot_close(first);
    snap_build_fini(&b);
}

/* A snapshot that came from a file is written like another one, complete or as a difference. */
static void test_written_again(void **state)
{
    (void)state;
    struct snap_build b;
    snap_build(&b);
    struct mf_snapshot *first = snap_build_take(&b);
    change_memory(&b);
    struct mf_snapshot *child = snap_build_child(&b, first);
    write_as(first, in_folder("one"), 0, NULL);
    write_as(child, in_folder("two"), 0, first);
    for (int trusted = 0; trusted < 2; trusted++) {
        struct mf_snapshot *one = open_as(in_folder("one"), 0);
        struct mf_snapshot *two = open_as(in_folder("two"), trusted);
        write_as(two, in_folder("flat"), 1, NULL);
        struct mf_snapshot *flat = open_as(in_folder("flat"), 0);
        assert_int_equal(flat->depth, 0);
        assert_int_equal(mf_snapshot_diff(flat, child, NULL, NULL, &err), 0);
        /* Neither is made from the other, but the difference is as small. */
        write_as(flat, in_folder("again"), 0, one);
        struct mf_snapshot_file_info info = {.size = sizeof info};
        must(mf_snapshot_get_file_info(in_folder("again"), &info, &err));
        assert_true(info.has_parent);
        assert_int_equal(info.pages, 3);
        assert_int_equal(info.stored_pages, 2);
        assert_int_equal(info.image_bytes, 0);
        struct mf_snapshot *again = open_as(in_folder("again"), trusted);
        assert_int_equal(mf_snapshot_diff(again, child, NULL, NULL, &err), 0);
        mf_snapshot_close(again);
        mf_snapshot_close(flat);
        mf_snapshot_close(two);
        mf_snapshot_close(one);
    }
    mf_snapshot_close(child);
    mf_snapshot_close(first);
    snap_build_fini(&b);
}

static void test_digest(void **state)
{
    (void)state;
    struct snap_build b;
    uint8_t written[MF_DIGEST_BYTES], known[MF_DIGEST_BYTES], again[MF_DIGEST_BYTES];
    char text[MF_DIGEST_TEXT], name[128];
    snap_build(&b);
    struct mf_snapshot *snapshot = snap_build_take(&b);
    assert_false(mf_snapshot_digest(snapshot, known));
    must(mf_snapshot_write(snapshot, in_folder("file"), NULL, written, &err));
    assert_true(mf_snapshot_digest(snapshot, known));
    assert_memory_equal(known, written, sizeof known);
    struct bytes bytes = read_all(in_folder("file"));
    struct digest digest;
    digest_init(&digest);
    digest_add(&digest, bytes.at, bytes.len);
    digest_fini(&digest, known);
    assert_memory_equal(known, written, sizeof known);
    /* Same snapshot, same bytes. */
    must(mf_snapshot_write(snapshot, in_folder("file2"), NULL, again, &err));
    assert_memory_equal(again, written, sizeof again);
    struct mf_snapshot *opened = open_as(in_folder("file"), 0);
    assert_true(mf_snapshot_digest(opened, known));
    assert_memory_equal(known, written, sizeof known);
    mf_snapshot_close(opened);
    /* A trusted file has the digest that its name says, and else none. */
    opened = open_as(in_folder("file"), 1);
    assert_false(mf_snapshot_digest(opened, known));
    mf_snapshot_close(opened);
    mf_digest_format(written, text);
    snprintf(name, sizeof name, "%s.mfs", text);
    assert_int_equal(rename(in_folder("file"), in_folder(name)), 0);
    opened = open_as(in_folder(name), 1);
    assert_true(mf_snapshot_digest(opened, known));
    assert_memory_equal(known, written, sizeof known);
    mf_snapshot_close(opened);
    mf_snapshot_close(snapshot);
    free(bytes.at);
    snap_build_fini(&b);
}

/* Equal pages are there once, zero pages not at all; unless few runs are worth more. */
static void test_size(void **state)
{
    (void)state;
    struct snap_build b;
    struct mf_snapshot_file_info info = {.size = sizeof info};
    snap_build(&b);
    struct mf_snapshot *snapshot = snap_build_take(&b);
    write_as(snapshot, in_folder("packed"), 1, NULL);
    must(mf_snapshot_get_file_info(in_folder("packed"), &info, &err));
    assert_true(info.compressed && !info.has_parent);
    assert_int_equal(info.memory_bytes, SNAP_BUILD_MEMORY);
    assert_true(info.stored_pages < info.pages);
    assert_true(info.file_bytes < 16384);
    assert_int_equal(info.image_bytes, b.image->len);
    assert_string_equal(info.program, "built");
    assert_int_equal(info.version, 0x10000);
    mf_snapshot_close(snapshot);
    snap_build_fini(&b);
}

/* ---- damage ---- */

static void write_small(struct snap_build *b)
{
    snap_build(b);
    struct mf_snapshot *snapshot = snap_build_take(b);
    write_as(snapshot, in_folder("small"), 1, NULL);
    write_as(snapshot, in_folder("plain"), 0, NULL);
    mf_snapshot_close(snapshot);
}

static void test_truncated(void **state)
{
    (void)state;
    struct snap_build b;
    write_small(&b);
    struct bytes bytes = read_all(in_folder("small"));
    const char *path = in_folder("damaged");
    for (size_t len = 0; len < bytes.len; len += len < 5000 ? 17 : 1) {
        write_all(path, bytes.at, len);
        expect_refusal(path, 0, MF_E_SNAPSHOT);
        expect_refusal(path, 1, MF_E_SNAPSHOT);
    }
    free(bytes.at);
    snap_build_fini(&b);
}

static void flip_all(const char *name, size_t from, size_t step)
{
    struct bytes bytes = read_all(in_folder(name));
    const char *path = in_folder("damaged");
    write_all(path, bytes.at, bytes.len);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = from; i < bytes.len; i += step) {
        uint8_t flipped = bytes.at[i] ^ (uint8_t)(1u << i % 8);
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)i), 1);
        struct mf_snapshot *snapshot = NULL;
        int rc = mf_snapshot_open(path, NULL, &snapshot, &err);
        if (rc != MF_E_SNAPSHOT)
            fail_msg("byte %zu of %s: %s", i, name, mf_error_name(rc));
        /* With trust some of it is not looked at; nothing bad may come of it. */
        struct mf_snapshot_open_options trusted = {.size = sizeof trusted, .trusted = 1};
        if (i % 7 == 0 && mf_snapshot_open(path, &trusted, &snapshot, &err) == 0)
            mf_snapshot_close(snapshot);
        assert_int_equal(pwrite(fd, &bytes.at[i], 1, (off_t)i), 1);
    }
    close(fd);
    struct mf_snapshot *mended = open_as(path, 0), *right = open_as(in_folder(name), 0);
    expect_equal(mended, right);
    mf_snapshot_close(mended);
    mf_snapshot_close(right);
    free(bytes.at);
}

static void test_flipped(void **state)
{
    (void)state;
    struct snap_build b;
    write_small(&b);
    flip_all("small", 0, 1);
    flip_all("plain", 0, 61);
    snap_build_fini(&b);
}

static void test_other_versions(void **state)
{
    (void)state;
    struct snap_build b;
    write_small(&b);
    struct bytes bytes = read_all(in_folder("small"));
    struct format_head *head = head_of(bytes), right = *head;
    const struct {
        uint32_t version, min_version, arch, page_bytes, flags;
        const char *says;
    } cases[] = {
        {0x20000, 0x20000, 62, 4096, 2, "version 2.0"},
        {0x20000, 0x10001, 62, 4096, 2, "1.1"},
        {0, 0, 62, 4096, 2, "version"},
        {0x10000, 0x10000, 183, 4096, 2, "architecture"},
        {0x10000, 0x10000, 62, 16384, 2, "architecture"},
        {0x10000, 0x10000, 62, 4096, 0x12, "features"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        head->version = cases[i].version;
        head->min_version = cases[i].min_version;
        head->arch = cases[i].arch;
        head->page_bytes = cases[i].page_bytes;
        head->flags = cases[i].flags;
        forge(bytes);
        expect_bytes_refused(bytes, bytes.len);
        assert_non_null(strstr(err.message, cases[i].says));
        *head = right;
    }
    /* A later minor version that older readers can read. */
    head->version = 0x10007;
    forge(bytes);
    write_all(in_folder("later"), bytes.at, bytes.len);
    mf_snapshot_close(open_as(in_folder("later"), 0));
    *head = right;
    head->magic[0] ^= 0x80;
    forge(bytes);
    expect_bytes_refused(bytes, bytes.len);
    assert_non_null(strstr(err.message, "no snapshot file"));
    free(bytes.at);
    snap_build_fini(&b);
}

/* Numbers that cannot be, with right checksums. */
static void test_forged_numbers(void **state)
{
    (void)state;
    struct snap_build b;
    write_small(&b);
    struct bytes bytes = read_all(in_folder("plain"));
    uint8_t *right = malloc(bytes.len);
    assert_non_null(right);
    memcpy(right, bytes.at, bytes.len);
    struct format_head *head = head_of(bytes);
    struct format_section *runs = section_of(bytes, FORMAT_RUNS);
    struct format_section *state_section = section_of(bytes, FORMAT_STATE);
    struct format_run *run = (struct format_run *)(bytes.at + runs->offset);
    uint64_t huge = UINT64_MAX / 2;
    struct {
        void *at;
        size_t bytes;
        uint64_t value;
    } const cases[] = {
        {&head->memory_bytes, 8, huge & ~UINT64_C(4095)},
        {&head->memory_bytes, 8, SNAP_BUILD_MEMORY * 2},
        {&head->file_bytes, 8, bytes.len + 1},
        {&head->nsections, 4, 33},
        {&head->nsections, 4, 0},
        {&head->run_pages, 8, head->run_pages + 1},
        {&head->stored_pages, 8, UINT64_C(1) << 32},
        {&head->stored_pages, 8, head->stored_pages - 1},
        {&head->flags, 4, FORMAT_FLAG_CHILD},
        {&runs->bytes, 8, huge},
        {&runs->offset, 8, runs->offset + 8},
        {&runs->kind, 4, FORMAT_STATE},
        {&runs->kind, 4, 99},
        {&state_section->raw_bytes, 8, 1},
        {&run->page, 4, UINT32_MAX},
        {&run->npages, 4, UINT32_MAX},
        {&run->npages, 4, 0},
        {&run->place, 8, huge},
        {&run->place, 8, FORMAT_ZERO},
        {&run[1].page, 4, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        memcpy(cases[i].at, &cases[i].value, cases[i].bytes);
        forge(bytes);
        expect_bytes_refused(bytes, bytes.len);
        expect_refusal(in_folder("damaged"), 1, MF_E_SNAPSHOT);
        memcpy(bytes.at, right, bytes.len);
    }
    free(right);
    free(bytes.at);
    snap_build_fini(&b);
}

/* ---- states that cannot be ---- */

typedef void (*spoil_fn)(struct snap_build *b);

static struct area *area_of(struct snap_build *b, enum area_kind kind)
{
    for (size_t i = 0; i < b->saved.nareas; i++)
        if (b->areas[i].kind == kind)
            return &b->areas[i];
    return NULL;
}

/* Spoils a lookup: the entry of `gva` becomes `entry`. */
static void set_entry(struct snap_build *b, mf_gva gva, int level, uint64_t entry)
{
    uint64_t *table = mem_at(&b->mem, LAYOUT_GPA(PML4));
    for (int at = PT_LEVELS - 1; at > level; at--)
        table = mem_at(&b->mem, table[gva >> (12 + 9 * at) & 511] & UINT64_C(0xffffffffff000));
    table[gva >> (12 + 9 * level) & 511] = entry;
}

#define TABLE_BITS UINT64_C(0x27)
#define PAGE_BITS UINT64_C(0x8000000000000267) /* owned, present, writable, user, A, D, NX */

static void spoil_table_outside(struct snap_build *b)
{
    set_entry(b, SNAP_BUILD_HEAP, 1, (UINT64_C(1) << 40) | TABLE_BITS);
}
static void spoil_table_loop(struct snap_build *b)
{
    set_entry(b, 0, 3, LAYOUT_GPA(PML4) | TABLE_BITS);
}
static void spoil_table_shared(struct snap_build *b)
{
    uint64_t *pml4 = mem_at(&b->mem, LAYOUT_GPA(PML4));
    pml4[1] = pml4[0];
}
static void spoil_table_large_page(struct snap_build *b)
{
    set_entry(b, SNAP_BUILD_HEAP, 1, 0xe7);
}
static void spoil_upper_half(struct snap_build *b)
{
    uint64_t *pml4 = mem_at(&b->mem, LAYOUT_GPA(PML4));
    pml4[300] = pml4[0];
    pml4[0] = 0;
}
static void spoil_page_is_table(struct snap_build *b)
{
    set_entry(b, SNAP_BUILD_HEAP, 0, LAYOUT_GPA(PML4) | PAGE_BITS);
}
static void spoil_page_is_stub(struct snap_build *b)
{
    set_entry(b, SNAP_BUILD_HEAP, 0, LAYOUT_GPA(EXCEPTION_STUBS) | PAGE_BITS);
}
static void spoil_page_outside(struct snap_build *b)
{
    set_entry(b, SNAP_BUILD_HEAP, 0, SNAP_BUILD_MEMORY | PAGE_BITS);
}
static void spoil_page_twice(struct snap_build *b)
{
    set_entry(b, SNAP_BUILD_HEAP, 0, (b->heap + PAGE_BYTES) | PAGE_BITS);
}
static void spoil_page_free(struct snap_build *b)
{
    set_entry(b, SNAP_BUILD_HEAP, 0, ((mf_gpa)b->free[0] << PAGE_SHIFT) | PAGE_BITS);
}
static void spoil_page_mailbox(struct snap_build *b)
{
    set_entry(b, SNAP_BUILD_HEAP, 0, b->saved.control_gpa | PAGE_BITS);
}
static void spoil_page_rights(struct snap_build *b)
{
    set_entry(b, SNAP_BUILD_HEAP, 0, b->heap | (PAGE_BITS & ~(UINT64_C(1) << 63)));
}
static void spoil_page_missing(struct snap_build *b)
{
    set_entry(b, SNAP_BUILD_HEAP, 0, 0);
}
static void spoil_page_extra(struct snap_build *b)
{
    set_entry(b, SNAP_BUILD_HEAP + 4 * PAGE_BYTES, 0, b->heap | PAGE_BITS);
}
static void spoil_mailbox_mapping(struct snap_build *b)
{
    set_entry(b, MF_ABI_GVA_MAILBOX, 0, b->saved.exchange.gpa | PAGE_BITS);
}
static void spoil_system_mapping(struct snap_build *b)
{
    set_entry(b, LAYOUT_GVA(IDT), 0, LAYOUT_GPA(IDT) | PAGE_BITS);
}
static void spoil_system_missing(struct snap_build *b)
{
    set_entry(b, LAYOUT_GVA(KERNEL_STACK), 0, 0);
}
static void spoil_free_page(struct snap_build *b)
{
    *(uint8_t *)mem_at(&b->mem, (mf_gpa)b->free[1] << PAGE_SHIFT) = 1;
}
static void spoil_unused_page(struct snap_build *b)
{
    *(uint8_t *)mem_at(&b->mem, SNAP_BUILD_MEMORY - 1) = 1;
}
static void spoil_free_twice(struct snap_build *b)
{
    b->free[0] = b->free[1];
}
static void spoil_free_system(struct snap_build *b)
{
    b->free[0] = LAYOUT_PAGE_PML4;
}
static void spoil_next(struct snap_build *b)
{
    b->saved.mem_next = (uint32_t)(SNAP_BUILD_MEMORY / PAGE_BYTES) + 1;
}
static void spoil_area_order(struct snap_build *b)
{
    struct area first = b->areas[0];
    b->areas[0] = b->areas[1];
    b->areas[1] = first;
}
static void spoil_area_end(struct snap_build *b)
{
    area_of(b, AREA_STACK)->end = UINT64_C(1) << 47;
}
static void spoil_area_rights(struct snap_build *b)
{
    area_of(b, AREA_HEAP)->prot = PT_READ | PT_WRITE | PT_EXEC;
}
static void spoil_area_kind(struct snap_build *b)
{
    area_of(b, AREA_HEAP)->kind = (enum area_kind)77;
}
static void spoil_area_host(struct snap_build *b)
{
    area_of(b, AREA_HEAP)->kind = AREA_HOST;
}
static void spoil_area_system(struct snap_build *b)
{
    area_of(b, AREA_HEAP)->kind = AREA_SYSTEM;
}
static void spoil_boot_missing(struct snap_build *b)
{
    area_of(b, AREA_SYSTEM)->kind = AREA_MMAP;
}
static void spoil_ring_outside(struct snap_build *b)
{
    b->saved.call_ring.gpa = UINT64_C(1) << 40;
}
static void spoil_ring_overlap(struct snap_build *b)
{
    b->saved.call_ring.gpa = b->saved.result_ring.gpa;
}
static void spoil_ring_size(struct snap_build *b)
{
    b->saved.exchange.size = 1u << 30;
}
static void spoil_ring_index(struct snap_build *b)
{
    b->saved.call_tail = 3;
}
static void spoil_no_mailbox(struct snap_build *b)
{
    b->saved.control_gpa = 0;
}
static void spoil_function(struct snap_build *b)
{
    b->saved.pending = (struct sandbox_pending){MF_STOPPED_CALL, 1, 1};
}
static void spoil_pending(struct snap_build *b)
{
    b->saved.pending.kind = (enum mf_stopped)9;
}
static void spoil_started(struct snap_build *b)
{
    b->saved.started = 0;
    b->saved.pending.kind = MF_STOPPED_RUN;
}
static void spoil_stack(struct snap_build *b)
{
    b->saved.stack_low -= PAGE_BYTES;
}
static void spoil_brk(struct snap_build *b)
{
    b->saved.brk = 1;
}
static void spoil_clock(struct snap_build *b)
{
    b->saved.monotonic_ns = UINT64_MAX;
}
static void spoil_components(struct snap_build *b)
{
    b->saved.cpu.fpu.components |= 1u << 9;
}
static void spoil_backend(struct snap_build *b)
{
    b->saved.backend = MF_BACKEND_AUTO;
}

static const struct {
    const char *name;
    spoil_fn fn;
} spoils[] = {
#define SPOIL(name) {#name, spoil_##name}
    SPOIL(table_outside),   SPOIL(table_loop),     SPOIL(table_shared),  SPOIL(table_large_page),
    SPOIL(upper_half),      SPOIL(page_is_table),  SPOIL(page_is_stub),  SPOIL(page_outside),
    SPOIL(page_twice),      SPOIL(page_free),      SPOIL(page_mailbox),  SPOIL(page_rights),
    SPOIL(page_missing),    SPOIL(page_extra),     SPOIL(mailbox_mapping), SPOIL(system_mapping),
    SPOIL(system_missing),  SPOIL(free_page),      SPOIL(unused_page),   SPOIL(free_twice),
    SPOIL(free_system),     SPOIL(next),           SPOIL(area_order),    SPOIL(area_end),
    SPOIL(area_rights),     SPOIL(area_kind),      SPOIL(area_host),     SPOIL(area_system),
    SPOIL(boot_missing),    SPOIL(ring_outside),   SPOIL(ring_overlap),  SPOIL(ring_size),
    SPOIL(ring_index),      SPOIL(no_mailbox),     SPOIL(function),      SPOIL(pending),
    SPOIL(started),         SPOIL(stack),          SPOIL(brk),           SPOIL(clock),
    SPOIL(components),      SPOIL(backend),
#undef SPOIL
};

/* Each in a file that is right in every other way; as a file of its own, and as a child. */
static void test_hostile_states(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(spoils); i++) {
        struct snap_build b;
        snap_build(&b);
        struct mf_snapshot *good = snap_build_take(&b);
        must(check_state(&good->saved, b.image, &err));
        must(check_memory(good, NULL, &err));
        write_as(good, in_folder("good"), 0, NULL);
        spoils[i].fn(&b);
        struct mf_snapshot *bad = snap_build_take(&b), *child = snap_build_child(&b, good);
        write_as(bad, in_folder("bad"), (int)i % 2, NULL);
        write_as(child, in_folder("child"), (int)i % 2, good);
        for (unsigned k = 0; k < 2; k++) {
            struct mf_snapshot *snapshot;
            int rc = mf_snapshot_open(in_folder(k ? "child" : "bad"), NULL, &snapshot, &err);
            if (rc != MF_E_SNAPSHOT)
                fail_msg("%s (%s): %s", spoils[i].name, k ? "child" : "complete",
                         mf_error_name(rc));
        }
        mf_snapshot_close(child);
        mf_snapshot_close(bad);
        mf_snapshot_close(good);
        snap_build_fini(&b);
    }
}

/* Descriptors and stubs are this library's, whatever the file says. */
static void test_system_pages(void **state)
{
    (void)state;
    struct snap_build b;
    uint8_t contents[PAGE_BYTES];
    snap_build(&b);
    struct mf_snapshot *good = snap_build_take(&b);
    write_as(good, in_folder("good"), 0, NULL);
    memset(mem_at(&b.mem, LAYOUT_GPA(IDT)), 0xcc, PAGE_BYTES);
    memset(mem_at(&b.mem, LAYOUT_GPA(DESCRIPTORS)), 0, PAGE_BYTES);
    struct mf_snapshot *bad = snap_build_take(&b), *child = snap_build_child(&b, good);
    write_as(bad, in_folder("bad"), 0, NULL);
    write_as(child, in_folder("child"), 1, good);
    const char *names[] = {"bad", "child"};
    for (unsigned i = 0; i < 2; i++) {
        struct mf_snapshot *opened = open_as(in_folder(names[i]), 0);
        for (uint32_t page = 1; page < LAYOUT_PAGE_KERNEL_STACK; page++) {
            uint8_t wanted[PAGE_BYTES];
            assert_true(snap_read(good, page, wanted));
            assert_true(snap_read(opened, page, contents));
            if (page == LAYOUT_PAGE_DESCRIPTORS) /* that port is the backend's */
                contents[X86_TSS_OFFSET + X86_TSS_BITMAP + X86_PORT_SYSCALL / 8] |=
                    1u << X86_PORT_SYSCALL % 8;
            assert_memory_equal(contents, wanted, PAGE_BYTES);
        }
        mf_snapshot_close(opened);
    }
    mf_snapshot_close(child);
    mf_snapshot_close(bad);
    mf_snapshot_close(good);
    snap_build_fini(&b);
}

/* ---- parents ---- */

static void test_parents(void **state)
{
    (void)state;
    struct snap_build b;
    char text[MF_DIGEST_TEXT], named[128];
    uint8_t digest[MF_DIGEST_BYTES];
    snap_build(&b);
    struct mf_snapshot *first = snap_build_take(&b);
    change_memory(&b);
    struct mf_snapshot *child = snap_build_child(&b, first);
    struct mf_snapshot_write_options options = {.size = sizeof options, .parent = first};
    assert_int_equal(mf_snapshot_write(child, in_folder("child"), &options, NULL, &err),
                     MF_E_ARGUMENT);
    must(mf_snapshot_write(first, in_folder("anything"), NULL, digest, &err));
    must(mf_snapshot_write(child, in_folder("child"), &options, NULL, &err));
    mf_digest_format(digest, text);
    snprintf(named, sizeof named, "%s.mfs", text);
    mf_snapshot_close(open_as(in_folder("child"), 0));
    mf_snapshot_close(open_as(in_folder("child"), 1));

    /* In the store, by its digest. */
    assert_int_equal(mkdir(in_folder("store"), 0700), 0);
    char store[128];
    snprintf(store, sizeof store, "%s", in_folder("store"));
    must(mf_snapshot_store_add(in_folder("anything"), store, NULL, &err));
    assert_int_equal(unlink(in_folder("anything")), 0);
    expect_refusal(in_folder("child"), 0, MF_E_PARENT);
    assert_non_null(strstr(err.message, text));
    assert_non_null(strstr(err.message, folder));
    struct mf_snapshot_open_options with_store = {.size = sizeof with_store, .store = store};
    struct mf_snapshot *opened;
    must(mf_snapshot_open(in_folder("child"), &with_store, &opened, &err));
    expect_equal(opened, child);
    mf_snapshot_close(opened);

    /* Something else under its name. */
    write_as(child, in_folder(named), 0, NULL);
    expect_refusal(in_folder("child"), 0, MF_E_PARENT);
    assert_non_null(strstr(err.message, "changed"));
    mf_snapshot_close(child);
    mf_snapshot_close(first);
    snap_build_fini(&b);
}

static void test_long_chain(void **state)
{
    (void)state;
    struct snap_build b;
    snap_build(&b);
    struct mf_snapshot *all[FORMAT_DEPTH_MAX + 1];
    all[0] = snap_build_take(&b);
    write_as(all[0], in_folder("0"), 0, NULL);
    for (unsigned i = 1; i <= FORMAT_DEPTH_MAX; i++) {
        char name[16];
        *(uint32_t *)mem_at(&b.mem, b.heap) = i;
        all[i] = snap_build_child(&b, all[i - 1]);
        snprintf(name, sizeof name, "%u", i);
        write_as(all[i], in_folder(name), 1, all[i - 1]);
    }
    char last[16];
    snprintf(last, sizeof last, "%d", FORMAT_DEPTH_MAX - 1);
    struct mf_snapshot *opened = open_as(in_folder(last), 0);
    expect_equal(opened, all[FORMAT_DEPTH_MAX - 1]);
    mf_snapshot_close(opened);
    snprintf(last, sizeof last, "%d", FORMAT_DEPTH_MAX);
    expect_refusal(in_folder(last), 0, MF_E_PARENT);
    for (unsigned i = 0; i <= FORMAT_DEPTH_MAX; i++)
        mf_snapshot_close(all[i]);
    snap_build_fini(&b);
}

/* ---- what can happen to files ---- */

static void test_shrinks(void **state)
{
    (void)state;
    struct snap_build b;
    uint8_t contents[PAGE_BYTES];
    write_small(&b);
    struct mf_snapshot *mapped = open_as(in_folder("plain"), 1);
    struct mf_snapshot *copied = open_as(in_folder("plain"), 0);
    struct mf_snapshot *right = snap_build_take(&b);
    assert_true(mapped->root->may_vanish && !copied->root->may_vanish);
    assert_int_equal(truncate(in_folder("plain"), FORMAT_HEAD_BYTES), 0);
    assert_false(snap_read(mapped, (uint32_t)(b.heap >> PAGE_SHIFT), contents));
    assert_int_equal(mf_snapshot_diff(mapped, right, NULL, NULL, &err), MF_E_SNAPSHOT);
    assert_int_equal(mf_snapshot_write(mapped, in_folder("again"), NULL, NULL, &err),
                     MF_E_SNAPSHOT);
    /* The file that was checked is not the one that is used: its copy is. */
    expect_equal(copied, right);
    mf_snapshot_close(mapped);
    mf_snapshot_close(copied);
    mf_snapshot_close(right);
    snap_build_fini(&b);
}

/* Where the entry of the first page of the heap stands in a file. */
static uint64_t entry_offset(struct snap_build *b, const struct mem_root *root)
{
    mf_gpa table = LAYOUT_GPA(PML4);
    for (int level = PT_LEVELS - 1; level > 0; level--)
        table = ((uint64_t *)mem_at(&b->mem, table))[SNAP_BUILD_HEAP >> (12 + 9 * level) & 511] &
                UINT64_C(0xffffffffff000);
    const struct mem_run *run = mem_root_find(root, (uint32_t)(table >> PAGE_SHIFT));
    assert_non_null(run);
    return run->offset + (table - run->gpa) + (SNAP_BUILD_HEAP >> 12 & 511) * 8;
}

/*
 * A trusted file is mapped, and somebody who may write to it changes it later: the page tables
 * in it are checked when they are loaded, and the host does not walk others.
 */
static void test_changes_while_mapped(void **state)
{
    (void)state;
    static const uint64_t entries[] = {
        PAGE_BITS | UINT64_C(1) << 40,           /* far outside */
        PAGE_BITS | LAYOUT_GPA(PML4),            /* a table */
        PAGE_BITS | LAYOUT_GPA(EXCEPTION_STUBS), /* a stub */
        0,
    };
    struct snap_build b;
    struct mem mem;
    write_small(&b);
    struct mf_snapshot *mapped = open_as(in_folder("plain"), 1);
    uint64_t offset = entry_offset(&b, mapped->root);
    must(mem_init(&mem, SNAP_BUILD_MEMORY, &err));
    must(mem_rebase(&mem, mapped->root, false, &err));
    must(vanish_secure(&mem, mapped, &err));
    int fd = open(in_folder("plain"), O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        struct pt_page page;
        assert_int_equal(fd_write(fd, &entries[i], 8, offset), 0);
        /* What was loaded before does not change. */
        assert_true(pt_lookup(&mem, SNAP_BUILD_HEAP, &page));
        assert_int_equal(page.gpa, b.heap);
        struct mem other;
        must(mem_init(&other, SNAP_BUILD_MEMORY, &err));
        must(mem_rebase(&other, mapped->root, i % 2, &err));
        assert_int_equal(vanish_secure(&other, mapped, &err), MF_E_SNAPSHOT);
        mem_fini(&other);
    }
    assert_int_equal(ftruncate(fd, FORMAT_HEAD_BYTES), 0);
    must(mem_rebase(&mem, mapped->root, false, &err));
    assert_int_equal(vanish_secure(&mem, mapped, &err), MF_E_SNAPSHOT);
    close(fd);
    mem_fini(&mem);
    mf_snapshot_close(mapped);
    snap_build_fini(&b);
}

static void test_full_disk(void **state)
{
    (void)state;
    struct snap_build b;
    struct rlimit old, small;
    write_small(&b);
    struct mf_snapshot *snapshot = snap_build_take(&b);
    struct bytes before = read_all(in_folder("small"));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    for (rlim_t limit = 0; limit < 90000; limit += 9973) {
        small = old;
        small.rlim_cur = limit;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        int rc = mf_snapshot_write(snapshot, in_folder("small"), NULL, NULL, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(rc, MF_E_SYSTEM);
        assert_int_equal(err.sys_errno, EFBIG);
        struct bytes after = read_all(in_folder("small"));
        assert_int_equal(after.len, before.len);
        assert_memory_equal(after.at, before.at, before.len);
        free(after.at);
    }
    signal(SIGXFSZ, handler);
    /* Nothing else was left in the folder. */
    assert_int_equal(remove_files(folder), 2);
    free(before.at);
    mf_snapshot_close(snapshot);
    snap_build_fini(&b);
}

static void test_folders(void **state)
{
    (void)state;
    struct snap_build b;
    write_small(&b);
    struct mf_snapshot *snapshot = snap_build_take(&b);
    const char *bad[] = {"missing/file", "small/file", "store"};
    assert_int_equal(mkdir(in_folder("store"), 0700), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(mf_snapshot_write(snapshot, in_folder(bad[i]), NULL, NULL, &err),
                         MF_E_SYSTEM);
        struct mf_snapshot *none;
        assert_int_not_equal(mf_snapshot_open(in_folder(bad[i]), NULL, &none, &err), 0);
        assert_null(none);
    }
    /* A folder that may not be read, by somebody who is bound by that. */
    assert_int_equal(chmod(in_folder("store"), 0), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 && seteuid(65534) != 0)
            _exit(3);
        int rc = mf_snapshot_write(snapshot, in_folder("store/file"), NULL, NULL, &err);
        struct mf_snapshot *none;
        int rc2 = mf_snapshot_open(in_folder("store/file"), NULL, &none, &err);
        int64_t rc3 = mf_snapshot_store_list(in_folder("store"), NULL, NULL, &err);
        _exit(rc == MF_E_SYSTEM && rc2 == MF_E_SYSTEM && rc3 == MF_E_SYSTEM ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    chmod(in_folder("store"), 0700);
    /* Who could read the old file can read the new one; a fresh one is private. */
    struct stat st;
    write_as(snapshot, in_folder("fresh"), 0, NULL);
    assert_int_equal(stat(in_folder("fresh"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(chmod(in_folder("fresh"), 0644), 0);
    write_as(snapshot, in_folder("fresh"), 0, NULL);
    assert_int_equal(stat(in_folder("fresh"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    mf_snapshot_close(snapshot);
    snap_build_fini(&b);
}

/* Writes for ever: a file is there before, and the other one after it. */
static void write_for_ever(struct mf_snapshot *one, struct mf_snapshot *other)
{
    for (unsigned i = 0;; i++)
        if (mf_snapshot_write(i % 2 ? one : other, in_folder("file"), NULL, NULL, &err) != 0)
            _exit(1);
}

static void test_killed_writers(void **state)
{
    (void)state;
    enum { ROUNDS = 50, WRITERS = 2 };
    struct snap_build b;
    snap_build(&b);
    struct mf_snapshot *one = snap_build_take(&b);
    change_memory(&b);
    struct mf_snapshot *other = snap_build_take(&b);
    write_as(one, in_folder("file"), 0, NULL);
    unsigned seed = (unsigned)time(NULL), seen[2] = {0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        pid_t pids[WRITERS];
        for (unsigned i = 0; i < WRITERS; i++) {
            pids[i] = fork();
            if (pids[i] == 0)
                write_for_ever(one, other);
            assert_true(pids[i] > 0);
        }
        usleep((useconds_t)(rand_r(&seed) % 20000));
        for (unsigned i = 0; i < WRITERS; i++) {
            int status;
            assert_int_equal(kill(pids[i], SIGKILL), 0);
            assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
            assert_true(WIFSIGNALED(status));
        }
        struct mf_snapshot *opened = open_as(in_folder("file"), 0);
        bool first = mf_snapshot_diff(opened, one, NULL, NULL, &err) == 0;
        assert_true(first || mf_snapshot_diff(opened, other, NULL, NULL, &err) == 0);
        seen[first]++;
        mf_snapshot_close(opened);
    }
    assert_true(seen[0] + seen[1] == ROUNDS);
    mf_snapshot_close(one);
    mf_snapshot_close(other);
    snap_build_fini(&b);
}

static void test_too_much_memory(void **state)
{
    (void)state;
    struct snap_build b;
    write_small(&b);
    struct mf_snapshot_open_options options = {.size = sizeof options,
                                               .max_memory_bytes = SNAP_BUILD_MEMORY - 4096};
    struct mf_snapshot *snapshot;
    assert_int_equal(mf_snapshot_open(in_folder("small"), &options, &snapshot, &err),
                     MF_E_ARGUMENT);
    options.max_memory_bytes += 4096;
    must(mf_snapshot_open(in_folder("small"), &options, &snapshot, &err));
    mf_snapshot_close(snapshot);
    snap_build_fini(&b);
}

/* ---- stores ---- */

static void count_file(void *context, const uint8_t digest[MF_DIGEST_BYTES], uint64_t bytes)
{
    (void)digest;
    *(uint64_t *)context += bytes;
}

static void test_store(void **state)
{
    (void)state;
    struct snap_build b;
    uint8_t digest[MF_DIGEST_BYTES], again[MF_DIGEST_BYTES];
    char store[128], path[256];
    uint64_t bytes = 0;
    snap_build(&b);
    struct mf_snapshot *first = snap_build_take(&b);
    change_memory(&b);
    struct mf_snapshot *child = snap_build_child(&b, first);
    write_as(first, in_folder("first"), 0, NULL);
    write_as(child, in_folder("child"), 0, first);
    assert_int_equal(mkdir(in_folder("store"), 0700), 0);
    snprintf(store, sizeof store, "%s", in_folder("store"));

    /* A child brings its parent. */
    must(mf_snapshot_store_add(in_folder("child"), store, digest, &err));
    assert_int_equal(mf_snapshot_store_list(store, count_file, &bytes, &err), 2);
    assert_true(bytes > 3 * PAGE_BYTES);
    must(mf_snapshot_store_add(in_folder("child"), store, again, &err));
    assert_memory_equal(digest, again, sizeof digest);
    assert_int_equal(mf_snapshot_store_list(store, NULL, NULL, &err), 2);
    assert_true(mf_snapshot_store_path(store, digest, path, sizeof path) < sizeof path);
    struct mf_snapshot *opened = open_as(path, 1);
    expect_equal(opened, child);
    mf_snapshot_close(opened);
    must(mf_snapshot_verify(path, NULL, again, &err));
    assert_memory_equal(digest, again, sizeof digest);

    /* Damage in it is found, and so is a wrong name. */
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "!", 1, 4500), 1);
    close(fd);
    assert_int_equal(mf_snapshot_verify(path, NULL, NULL, &err), MF_E_SNAPSHOT);
    write_as(first, path, 0, NULL);
    assert_int_equal(mf_snapshot_verify(path, NULL, NULL, &err), MF_E_SNAPSHOT);
    assert_non_null(strstr(err.message, "name"));
    /* What is damaged does not come in. */
    struct bytes file = read_all(in_folder("first"));
    file.at[file.len - 1] ^= 1;
    write_all(in_folder("damaged"), file.at, file.len);
    assert_int_equal(mf_snapshot_store_add(in_folder("damaged"), store, NULL, &err),
                     MF_E_SNAPSHOT);
    assert_int_equal(remove_files(store), 2);
    /* Nor what has no parent. */
    assert_int_equal(unlink(in_folder("first")), 0);
    assert_int_equal(mf_snapshot_store_add(in_folder("child"), store, NULL, &err), MF_E_PARENT);
    assert_int_equal(remove_files(store), 0);
    free(file.at);
    mf_snapshot_close(child);
    mf_snapshot_close(first);
    snap_build_fini(&b);
}

/* ---- golden files ---- */

static void write_golden(const char *to)
{
    struct snap_build b;
    char path[512];
    snap_build(&b);
    struct mf_snapshot *first = snap_build_take(&b);
    snprintf(path, sizeof path, "%s/snapshot-1.0-plain.mfs", to);
    write_as(first, path, 0, NULL);
    change_memory(&b);
    struct mf_snapshot *child = snap_build_child(&b, first);
    snprintf(path, sizeof path, "%s/snapshot-1.0-child.mfs", to);
    write_as(child, path, 0, first);
    snprintf(path, sizeof path, "%s/snapshot-1.0-zstd.mfs", to);
    write_as(child, path, 1, NULL);
    mf_snapshot_close(child);
    mf_snapshot_close(first);
    snap_build_fini(&b);
}

/* Bytes that were written once and must be understood for ever. */
static void test_golden(void **state)
{
    (void)state;
    const char *source = getenv("MAYFLY_SOURCE_DIR");
    const char *names[] = {"plain", "child", "zstd"};
    if (!source)
        skip();
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        char path[512];
        uint8_t contents[PAGE_BYTES], *state_bytes;
        size_t len;
        snprintf(path, sizeof path, "%s/tests/golden/snapshot-1.0-%s.mfs", source, names[i]);
        struct mf_snapshot *opened = open_as(path, 0);
        struct bytes bytes = read_all(path);
        const struct format_section *section = section_of(bytes, FORMAT_STATE);
        must(state_encode(&opened->saved, &state_bytes, &len, &err));
        assert_int_equal(len, section->bytes);
        assert_memory_equal(state_bytes, bytes.at + section->offset, len);
        assert_int_equal(opened->saved.next_id, 7);
        assert_int_equal(opened->saved.monotonic_ns, 1000000 + (i > 0));
        assert_int_equal(opened->taken_unix_ns, SNAP_BUILD_TAKEN_NS + (i > 0));
        assert_int_equal(mf_image_find_export(opened->image, "twice", &err), 0);
        assert_int_equal(opened->saved.areas[4].start, SNAP_BUILD_HEAP);
        struct snap_build b;
        snap_build(&b);
        if (i > 0)
            change_memory(&b);
        for (uint32_t page = 0; page < 4; page++) {
            uint32_t at = (uint32_t)(b.heap >> PAGE_SHIFT) + page;
            assert_true(snap_read(opened, at, contents));
            assert_memory_equal(contents, mem_at(&b.mem, (mf_gpa)at * PAGE_BYTES), PAGE_BYTES);
        }
        snap_build_fini(&b);
        free(state_bytes);
        free(bytes.at);
        mf_snapshot_close(opened);
    }
}

int main(void)
{
    const char *golden = getenv("MAYFLY_WRITE_GOLDEN");
    if (golden) {
        write_golden(golden);
        return 0;
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(test_state),          TEST(test_later_state),    TEST(test_round_trips),
        TEST(test_written_again),  TEST(test_digest),         TEST(test_size),
        TEST(test_truncated),      TEST(test_flipped),        TEST(test_other_versions),
        TEST(test_forged_numbers), TEST(test_hostile_states), TEST(test_system_pages),
        TEST(test_parents),        TEST(test_long_chain),     TEST(test_shrinks),
        TEST(test_full_disk),      TEST(test_folders),        TEST(test_killed_writers),
        TEST(test_too_much_memory), TEST(test_store),         TEST(test_golden),
        TEST(test_changes_while_mapped),
    };
#undef TEST
    return cmocka_run_group_tests_name("snapshot files", tests, NULL, NULL);
}
