/* Images: opening files, the SDK's note and function table, looking up functions. */
#include "sandbox/image.h"

#include "elf_build.h"
#include "mem/layout.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct mf_image *open_right(const struct elf_build *b)
{
    struct mf_image *image = NULL;
    struct mf_error err = {0};

    if (mf_image_from_memory(b->bytes, b->len, "built", &image, &err) != 0)
        fail_msg("refused: %s", err.message);
    assert_non_null(image);
    return image;
}

static void assert_refused(const struct elf_build *b, int code, const char *words)
{
    struct mf_image *image = (struct mf_image *)1;
    struct mf_error err = {0};

    assert_int_equal(mf_image_from_memory(b->bytes, b->len, "built", &image, &err), code);
    assert_int_equal(err.code, code);
    assert_null(image);
    if (!strstr(err.message, words) || strncmp(err.message, "built: ", 7) != 0)
        fail_msg("expected '%s' in '%s'", words, err.message);
    assert_int_equal(mf_image_from_memory(b->bytes, b->len, "built", &image, NULL), code);
}

static void describes_a_plain_program(void **state)
{
    struct elf_build b;
    struct mf_image_info info;
    struct mf_error err;
    (void)state;

    build_program(&b);
    struct mf_image *image = open_right(&b);
    mf_image_get_info(image, &info);
    assert_string_equal(info.name, "built");
    assert_int_equal(info.file_bytes, b.len);
    assert_int_equal(info.load_bytes, 0x6000);
    assert_int_equal(info.memory_bytes, 2 << 20);
    assert_int_equal(info.entry, BUILD_BASE + BUILD_CODE);
    assert_false(info.has_note);
    assert_int_equal(info.abi_version, 0);
    assert_int_equal(info.nsegments, 4);
    assert_int_equal(info.nexports, 0);
    assert_int_equal(info.nimports, 0);
    assert_int_equal(info.nsymbols, 1);
    assert_int_equal(mf_image_segment(image, 3)->address, BUILD_BASE + BUILD_DATA);
    assert_true(mf_image_segment(image, 3)->writable);
    assert_null(mf_image_segment(image, 4));
    assert_null(mf_image_export(image, 0));
    assert_null(mf_image_import(image, 0));
    assert_int_equal(mf_image_find_export(image, "greet", &err), MF_E_NO_FUNCTION);
    assert_non_null(strstr(err.message, "built without the guest SDK"));
    assert_int_equal(image_import_by_record(image, 0), -1);
    mf_image_close(image);
}

static void reads_the_function_table(void **state)
{
    struct elf_build b;
    struct mf_image_info info;
    (void)state;

    build_guest(&b);
    build_record(&b, MF_ABI_RECORD_END, "");
    build_record(&b, MF_ABI_RECORD_EXPORT, "string zebra(string name)");
    uint32_t log = build_record(&b, MF_ABI_RECORD_IMPORT, "void log(string text)");
    b.table_bytes += 32; /* a gap */
    build_record(&b, MF_ABI_RECORD_RESTORE_HOOK, NULL);
    build_record(&b, 77, "a kind of a later version");
    build_record(&b, MF_ABI_RECORD_EXPORT, "i32 add(i32, i32)");
    uint32_t get = build_record(&b, MF_ABI_RECORD_IMPORT, "bytes get(u64)");
    struct mf_image *image = open_right(&b);
    mf_image_get_info(image, &info);
    assert_true(info.has_note);
    assert_int_equal(info.abi_version, MF_ABI_VERSION);
    assert_int_equal(info.nexports, 2);
    assert_int_equal(info.nimports, 2);
    /* In the order of the table. */
    assert_string_equal(mf_image_export(image, 0)->name, "zebra");
    assert_string_equal(mf_image_export(image, 1)->name, "add");
    assert_null(mf_image_export(image, 2));
    assert_string_equal(mf_image_import(image, 0)->name, "log");
    assert_string_equal(mf_image_import(image, 1)->name, "get");
    assert_int_equal(mf_image_find_export(image, "zebra", NULL), 0);
    assert_int_equal(mf_image_find_export(image, "add", NULL), 1);
    assert_int_equal(image_import_by_record(image, log), 0);
    assert_int_equal(image_import_by_record(image, get), 1);
    assert_int_equal(image_import_by_record(image, 0), -1);
    assert_int_equal(image_import_by_record(image, log + 1), -1);
    assert_int_equal(image_import_by_record(image, b.table_bytes), -1);
    assert_int_equal(image_import_by_record(image, UINT32_MAX & ~15u), -1);
    mf_image_close(image);
}

static void counts_shared_pages_once(void **state)
{
    struct elf_build b;
    struct mf_image_info info;
    (void)state;

    build_program(&b);
    build_phdr(&b, BUILD_RODATA_PH)->p_flags = PF_R | PF_X;
    build_phdr(&b, BUILD_RODATA_PH)->p_vaddr = BUILD_BASE + BUILD_CODE + 0x100;
    struct mf_image *image = open_right(&b);
    mf_image_get_info(image, &info);
    /* Headers 1, code with the constants behind it 2, data 3 pages. */
    assert_int_equal(info.load_bytes, 0x6000);
    mf_image_close(image);
    build_phdr(&b, BUILD_RODATA_PH)->p_memsz = 0x100;
    build_phdr(&b, BUILD_RODATA_PH)->p_filesz = 0x100;
    image = open_right(&b);
    mf_image_get_info(image, &info);
    assert_int_equal(info.load_bytes, 0x5000);
    mf_image_close(image);
}

static void finds_each_of_many_functions(void **state)
{
    struct elf_build b;
    char text[32];
    (void)state;

    build_guest(&b);
    for (int i = 0; i < 60; i++) {
        snprintf(text, sizeof(text), "void f%d()", i * 7 % 60);
        build_record(&b, MF_ABI_RECORD_EXPORT, text);
    }
    struct mf_image *image = open_right(&b);
    for (int i = 0; i < 60; i++) {
        snprintf(text, sizeof(text), "f%d", i);
        int index = mf_image_find_export(image, text, NULL);
        assert_true(index >= 0);
        assert_string_equal(mf_image_export(image, (size_t)index)->name, text);
    }
    assert_int_equal(mf_image_find_export(image, "f60", NULL), MF_E_NO_FUNCTION);
    assert_int_equal(mf_image_find_export(image, "", NULL), MF_E_NO_FUNCTION);
    assert_int_equal(mf_image_find_export(image, "~", NULL), MF_E_NO_FUNCTION);
    mf_image_close(image);
}

static void suggests_near_names(void **state)
{
    struct elf_build b;
    struct mf_error err;
    (void)state;

    build_guest(&b);
    build_record(&b, MF_ABI_RECORD_EXPORT, "string greet(string name)");
    build_record(&b, MF_ABI_RECORD_EXPORT, "string great(string name)");
    build_record(&b, MF_ABI_RECORD_EXPORT, "i32 add(i32, i32)");
    struct mf_image *image = open_right(&b);
    assert_int_equal(mf_image_find_export(image, "greeet", &err), MF_E_NO_FUNCTION);
    assert_string_equal(err.message,
                        "no exported function 'greeet'; did you mean 'great', 'greet'?");
    assert_int_equal(mf_image_find_export(image, "xyz", &err), MF_E_NO_FUNCTION);
    assert_string_equal(err.message, "no exported function 'xyz'; the image exports 'add', "
                                     "'great', 'greet'");
    assert_int_equal(mf_image_find_export(image, "a\x1b[2J\nb", &err), MF_E_NO_FUNCTION);
    assert_non_null(strstr(err.message, "'a?[2J?b'"));
    assert_int_equal(mf_image_find_export(image, NULL, &err), MF_E_ARGUMENT);
    mf_image_close(image);

    build_guest(&b);
    image = open_right(&b);
    assert_int_equal(mf_image_find_export(image, "greet", &err), MF_E_NO_FUNCTION);
    assert_non_null(strstr(err.message, "MF_EXPORT"));
    mf_image_close(image);
}

static void cuts_long_lists_of_names(void **state)
{
    struct elf_build b;
    struct mf_error err;
    char text[MF_NAME_MAX + 16], name[MF_NAME_MAX];
    (void)state;

    build_guest(&b);
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = 0;
    for (int i = 0; i < 12; i++) {
        name[0] = (char)('a' + i);
        snprintf(text, sizeof(text), "void %s()", name);
        build_record(&b, MF_ABI_RECORD_EXPORT, text);
    }
    struct mf_image *image = open_right(&b);
    assert_int_equal(mf_image_find_export(image, "xyz", &err), MF_E_NO_FUNCTION);
    assert_non_null(strstr(err.message, "nnn', ..."));
    assert_true(strlen(err.message) < sizeof(err.message) - 1);
    mf_image_close(image);
}

static void checks_versions_and_features(void **state)
{
    struct elf_build b;
    (void)state;

    build_guest(&b);
    build_write_note(&b, MF_ABI_MAKE_VERSION(1, 9), MF_ABI_MAKE_VERSION(1, 0), 0);
    mf_image_close(open_right(&b)); /* other minor versions work together */
    build_write_note(&b, MF_ABI_MAKE_VERSION(1, 9), MF_ABI_MAKE_VERSION(1, 9), 0);
    assert_refused(&b, MF_E_ABI, "built for ABI 1.9 (needs a host of 1.9 or later), this library "
                                 "speaks 1.1");
    assert_refused(&b, MF_E_ABI, "update the library");
    build_write_note(&b, MF_ABI_MAKE_VERSION(2, 0), MF_ABI_MAKE_VERSION(2, 0), 0);
    assert_refused(&b, MF_E_ABI, "ABI 2.0");
    build_write_note(&b, MF_ABI_MAKE_VERSION(0, 3), MF_ABI_MAKE_VERSION(0, 1), 0);
    assert_refused(&b, MF_E_ABI, "build the guest again");
    build_write_note(&b, MF_ABI_VERSION, MF_ABI_MIN_VERSION, MF_ABI_FEATURES);
    mf_image_close(open_right(&b));
    build_write_note(&b, MF_ABI_VERSION, MF_ABI_MIN_VERSION, MF_ABI_FEATURES | UINT64_C(1) << 40);
    assert_refused(&b, MF_E_ABI, "(bits 0x10000000000)");
}

static void refuses_tables_in_wrong_places(void **state)
{
    struct elf_build b;
    struct mf_abi_note note;
    (void)state;

    build_guest(&b);
    build_record(&b, MF_ABI_RECORD_EXPORT, "void f()");
    memcpy(&note, b.bytes + BUILD_NOTE_DESCRIPTION, sizeof(note));

    note.table_end = note.table_start - 5;
    memcpy(b.bytes + BUILD_NOTE_DESCRIPTION, &note, sizeof(note));
    assert_refused(&b, MF_E_IMAGE, "at most 1048576 bytes can be read");
    note.table_end = note.table_start + (1 << 20) - 3; /* one byte too long */
    memcpy(b.bytes + BUILD_NOTE_DESCRIPTION, &note, sizeof(note));
    assert_refused(&b, MF_E_IMAGE, "at most 1048576 bytes can be read");
    note.table_end = note.table_start + (1 << 19);
    memcpy(b.bytes + BUILD_NOTE_DESCRIPTION, &note, sizeof(note));
    assert_refused(&b, MF_E_IMAGE, "is in no segment");
    note.table_start = INT32_MIN;
    note.table_end = INT32_MIN + 16;
    memcpy(b.bytes + BUILD_NOTE_DESCRIPTION, &note, sizeof(note));
    assert_refused(&b, MF_E_IMAGE, "is in no segment");
    note.table_end = INT32_MAX;
    memcpy(b.bytes + BUILD_NOTE_DESCRIPTION, &note, sizeof(note));
    assert_refused(&b, MF_E_IMAGE, "the function table goes from");
    build_phdr(&b, BUILD_NOTE_PH)->p_vaddr = UINT64_MAX - 64;
    assert_refused(&b, MF_E_IMAGE, "the function table goes from");
}

/* Overwrites the size of the record at `at`. */
static void set_size(struct elf_build *b, uint32_t at, uint32_t size)
{
    memcpy(b->bytes + BUILD_TABLE + at, &size, sizeof(size));
}

static void refuses_damaged_records(void **state)
{
    struct elf_build b;
    (void)state;

    build_guest(&b);
    uint32_t at = build_record(&b, MF_ABI_RECORD_EXPORT, "void f()");
    set_size(&b, at, 23);
    assert_refused(&b, MF_E_IMAGE, "damaged function table: the record at 0 has an impossible");
    set_size(&b, at, 49);
    assert_refused(&b, MF_E_IMAGE, "impossible size");
    set_size(&b, at, UINT32_MAX);
    assert_refused(&b, MF_E_IMAGE, "impossible size");
    set_size(&b, at, 24);
    assert_refused(&b, MF_E_IMAGE, "has no signature");
    set_size(&b, at, 32);
    assert_refused(&b, MF_E_IMAGE, "does not end where it should");
    set_size(&b, at, 40); /* the NUL comes before the end */
    assert_refused(&b, MF_E_IMAGE, "does not end where it should");

    build_guest(&b);
    build_record(&b, MF_ABI_RECORD_EXPORT, "void f()");
    b.table_bytes += 8;
    b.bytes[BUILD_TABLE + b.table_bytes - 1] = 1;
    build_write_note(&b, MF_ABI_VERSION, MF_ABI_MIN_VERSION, 0);
    assert_refused(&b, MF_E_IMAGE, "is cut off by the end of the table");

    char text[MF_ABI_SIGNATURE_MAX + 8];
    memset(text, ' ', sizeof(text));
    memcpy(text, "void f()", 8);
    text[MF_ABI_SIGNATURE_MAX - 1] = 0;
    build_guest(&b);
    build_record(&b, MF_ABI_RECORD_EXPORT, text);
    mf_image_close(open_right(&b));
    text[MF_ABI_SIGNATURE_MAX - 1] = ' ';
    text[MF_ABI_SIGNATURE_MAX] = 0;
    build_guest(&b);
    build_record(&b, MF_ABI_RECORD_EXPORT, text);
    assert_refused(&b, MF_E_IMAGE, "too long");
}

static void refuses_bad_signatures(void **state)
{
    struct elf_build b;
    (void)state;

    build_guest(&b);
    build_record(&b, MF_ABI_RECORD_EXPORT, "void fine()");
    build_record(&b, MF_ABI_RECORD_EXPORT, "int f(int)");
    assert_refused(&b, MF_E_SIGNATURE, "exported function 'int f(int)': signature, column 1");
    build_guest(&b);
    build_record(&b, MF_ABI_RECORD_IMPORT, "i32 f(\x1b)");
    assert_refused(&b, MF_E_SIGNATURE, "host function 'i32 f(?)': signature, column 7");

    char text[400] = "void f(i32";
    for (int i = 0; i < 32; i++)
        strcat(text, ",i32");
    strcat(text, ")");
    build_guest(&b);
    build_record(&b, MF_ABI_RECORD_EXPORT, text);
    assert_refused(&b, MF_E_SIGNATURE, "too many parameters");
}

static void refuses_a_name_exported_twice(void **state)
{
    struct elf_build b;
    (void)state;

    build_guest(&b);
    build_record(&b, MF_ABI_RECORD_EXPORT, "void f()");
    build_record(&b, MF_ABI_RECORD_EXPORT, "void g()");
    build_record(&b, MF_ABI_RECORD_IMPORT, "void f()"); /* a name of its own */
    mf_image_close(open_right(&b));
    build_record(&b, MF_ABI_RECORD_EXPORT, "i32 f(i32)");
    assert_refused(&b, MF_E_IMAGE, "the function 'f' is exported twice");
}

static void joins_equal_imports(void **state)
{
    struct elf_build b;
    struct mf_image_info info;
    (void)state;

    build_guest(&b);
    uint32_t z1 = build_record(&b, MF_ABI_RECORD_IMPORT, "void z(i32 number)");
    uint32_t a1 = build_record(&b, MF_ABI_RECORD_IMPORT, "void a()");
    uint32_t z2 = build_record(&b, MF_ABI_RECORD_IMPORT, "void z(i32)");
    uint32_t m1 = build_record(&b, MF_ABI_RECORD_IMPORT, "void m()");
    uint32_t a2 = build_record(&b, MF_ABI_RECORD_IMPORT, "void a(void)");
    uint32_t z3 = build_record(&b, MF_ABI_RECORD_IMPORT, "void z(i32 other)");
    struct mf_image *image = open_right(&b);
    mf_image_get_info(image, &info);
    assert_int_equal(info.nimports, 3);
    assert_string_equal(mf_image_import(image, 0)->name, "z");
    assert_string_equal(mf_image_import(image, 1)->name, "a");
    assert_string_equal(mf_image_import(image, 2)->name, "m");
    assert_int_equal(image_import_by_record(image, z1), 0);
    assert_int_equal(image_import_by_record(image, z2), 0);
    assert_int_equal(image_import_by_record(image, z3), 0);
    assert_int_equal(image_import_by_record(image, a1), 1);
    assert_int_equal(image_import_by_record(image, a2), 1);
    assert_int_equal(image_import_by_record(image, m1), 2);
    mf_image_close(image);

    /* One that moved forward because of an equal one before it leads its equals, too. */
    build_guest(&b);
    build_record(&b, MF_ABI_RECORD_IMPORT, "void a()");
    build_record(&b, MF_ABI_RECORD_IMPORT, "void a()");
    z1 = build_record(&b, MF_ABI_RECORD_IMPORT, "void z(i32)");
    z2 = build_record(&b, MF_ABI_RECORD_IMPORT, "void z(i32)");
    image = open_right(&b);
    assert_int_equal(image_import_by_record(image, z1), 1);
    assert_int_equal(image_import_by_record(image, z2), 1);
    mf_image_close(image);

    build_record(&b, MF_ABI_RECORD_IMPORT, "void z(u32)");
    assert_refused(&b, MF_E_IMAGE, "the host function 'z' is declared with two different");
}

static void refuses_too_many_functions(void **state)
{
    /* A table of its own at the end of the file, in the data segment. */
    const size_t count = 4097, record = 48, table = count * record;
    struct elf_build b;
    struct mf_image *image;
    struct mf_error err;
    struct mf_abi_note note;
    (void)state;

    build_guest(&b);
    b.header.e_shoff = 0;
    uint8_t *file = calloc(1, BUILD_DATA + table);
    assert_non_null(file);
    build_phdr(&b, BUILD_DATA_PH)->p_filesz = table;
    build_phdr(&b, BUILD_DATA_PH)->p_memsz = table;
    memcpy(&note, b.bytes + BUILD_NOTE_DESCRIPTION, sizeof(note));
    note.table_start = BUILD_DATA - (BUILD_NOTE_DESCRIPTION + 16);
    note.table_end = BUILD_DATA + (int32_t)table - (BUILD_NOTE_DESCRIPTION + 20);
    memcpy(b.bytes + BUILD_NOTE_DESCRIPTION, &note, sizeof(note));
    memcpy(file, b.bytes, BUILD_DATA);
    for (size_t i = 0; i < count; i++) {
        char *text = (char *)file + BUILD_DATA + i * record + 24;
        struct mf_abi_function head = {.kind = MF_ABI_RECORD_EXPORT};
        int len = snprintf(text, record - 24, "void f%zu()", i);
        head.size = 24 + (uint32_t)len + 1;
        memcpy(file + BUILD_DATA + i * record, &head, sizeof(head));
    }
    assert_int_equal(mf_image_from_memory(file, BUILD_DATA + table, "built", &image, &err),
                     MF_E_IMAGE);
    assert_non_null(strstr(err.message, "too many functions: 4097 exported"));

    /* One less is not too many. */
    memset(file + BUILD_DATA + 5 * record, 0, record);
    assert_int_equal(mf_image_from_memory(file, BUILD_DATA + table, "built", &image, &err), 0);
    assert_int_equal(mf_image_find_export(image, "f4096", NULL), 4095);
    mf_image_close(image);
    free(file);
}

static void lives_while_held(void **state)
{
    struct elf_build b;
    (void)state;

    build_program(&b);
    struct mf_image *image = open_right(&b);
    assert_ptr_equal(mf_image_hold(image), image);
    mf_image_close(image);
    assert_non_null(mf_image_segment(image, 0));
    mf_image_close(image);
    mf_image_close(NULL);
}

static void refuses_bad_arguments(void **state)
{
    struct mf_image *image;
    struct mf_error err;
    (void)state;

    assert_int_equal(mf_image_from_memory(NULL, 5, "x", &image, &err), MF_E_ARGUMENT);
    assert_int_equal(mf_image_from_memory("x", 1, NULL, &image, &err), MF_E_ARGUMENT);
    assert_int_equal(mf_image_from_memory(NULL, 0, "x", &image, &err), MF_E_IMAGE);
    assert_non_null(strstr(err.message, "x: the file is empty"));
    assert_int_equal(mf_image_open(NULL, &image, &err), MF_E_ARGUMENT);
    /* The length is refused before the data is looked at. */
    assert_int_equal(mf_image_from_memory("x", ((size_t)1 << 30) + 1, "x", &image, &err),
                     MF_E_IMAGE);
    assert_non_null(strstr(err.message, "at most 1 GiB"));
}

/* A folder of its own for each test that needs files. */
static int make_folder(void **state)
{
    char *path = strdup("/tmp/mayfly-test-image-XXXXXX");

    *state = path;
    return path && mkdtemp(path) ? 0 : -1;
}

static int remove_folder(void **state)
{
    int rc = rmdir(*state);

    free(*state);
    return rc;
}

static void opens_files(void **state)
{
    struct elf_build b;
    struct mf_image *image;
    struct mf_image_info info;
    struct mf_error err;
    char path[64];

    build_guest(&b);
    build_record(&b, MF_ABI_RECORD_EXPORT, "void f()");
    snprintf(path, sizeof(path), "%s/guest", (char *)*state);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(b.bytes, 1, b.len, file), b.len);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(mf_image_open(path, &image, &err), 0);
    /* The file may change or go: the image is a copy. */
    assert_int_equal(unlink(path), 0);
    mf_image_get_info(image, &info);
    assert_string_equal(info.name, path);
    assert_int_equal(info.file_bytes, b.len);
    assert_int_equal(mf_image_find_export(image, "f", NULL), 0);
    mf_image_close(image);
}

static void assert_unopenable(const char *path, int code, int sys_errno, const char *words)
{
    struct mf_image *image;
    struct mf_error err;

    assert_int_equal(mf_image_open(path, &image, &err), code);
    assert_null(image);
    assert_int_equal(err.sys_errno, sys_errno);
    if (!strstr(err.message, words))
        fail_msg("expected '%s' in '%s'", words, err.message);
}

static void refuses_what_is_no_file(void **state)
{
    char path[64];
    const char *folder = *state;

    assert_unopenable(folder, MF_E_IMAGE, 0, "is a directory; give the path of a program file");
    assert_unopenable("/dev/null", MF_E_IMAGE, 0, "is a device");
    snprintf(path, sizeof(path), "%s/pipe", folder);
    assert_unopenable(path, MF_E_SYSTEM, ENOENT, "cannot be opened: No such file");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_unopenable(path, MF_E_IMAGE, 0, "is a pipe"); /* and does not wait for a writer */
    assert_int_equal(unlink(path), 0);

    snprintf(path, sizeof(path), "%s/large", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), (off_t)(1 << 30) + 1), 0);
    assert_unopenable(path, MF_E_IMAGE, 0, "at most 1 GiB");
    assert_int_equal(ftruncate(fileno(file), 0), 0);
    assert_unopenable(path, MF_E_IMAGE, 0, "large: the file is empty");
    fclose(file);
    assert_int_equal(unlink(path), 0);
}

static void shows_the_end_of_long_names(void **state)
{
    char path[600];
    struct mf_image *image;
    struct mf_error err;
    (void)state;

    memset(path, 'p', sizeof(path));
    strcpy(path + 500, "/\x1b\xff-the-end");
    assert_int_equal(mf_image_open(path, &image, &err), MF_E_SYSTEM);
    assert_non_null(strstr(err.message, "pp/?\?-the-end: cannot be opened: "));

    /* A name is not cut inside of a character: 63 bytes are shown, and these take 2. */
    for (size_t i = 0; i < 400; i += 2)
        memcpy(path + i, "\xc3\xbc", 2);
    path[400] = 0;
    assert_int_equal(mf_image_open(path, &image, &err), MF_E_SYSTEM);
    assert_int_equal(strcspn(err.message, ":"), 62);
    assert_memory_equal(err.message, "\xc3\xbc", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_a_plain_program),
        cmocka_unit_test(reads_the_function_table),
        cmocka_unit_test(counts_shared_pages_once),
        cmocka_unit_test(finds_each_of_many_functions),
        cmocka_unit_test(suggests_near_names),
        cmocka_unit_test(cuts_long_lists_of_names),
        cmocka_unit_test(checks_versions_and_features),
        cmocka_unit_test(refuses_tables_in_wrong_places),
        cmocka_unit_test(refuses_damaged_records),
        cmocka_unit_test(refuses_bad_signatures),
        cmocka_unit_test(refuses_a_name_exported_twice),
        cmocka_unit_test(joins_equal_imports),
        cmocka_unit_test(refuses_too_many_functions),
        cmocka_unit_test(lives_while_held),
        cmocka_unit_test(refuses_bad_arguments),
        cmocka_unit_test_setup_teardown(opens_files, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(refuses_what_is_no_file, make_folder, remove_folder),
        cmocka_unit_test(shows_the_end_of_long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
