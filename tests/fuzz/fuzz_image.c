/*
 * Note and function table of an image: the input goes into an otherwise right
 * program, as its table, and, when its first byte is odd, as the note's
 * description before that.
 */
#include "abi/function.h"
#include "sandbox/image.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/elf_build.h"

#define TABLE_ROOM (BUILD_DATA - BUILD_TABLE)

static void check_functions(const struct mf_image *image)
{
    struct mf_image_info info;
    struct mf_error err;

    mf_image_get_info(image, &info);
    for (size_t i = 0; i < info.nexports; i++) {
        const struct mf_signature *sig = mf_image_export(image, i);
        /* Also says that no name is there twice. */
        CHECK(mf_image_find_export(image, sig->name, &err) == (int)i);
        CHECK(sig->nparams <= MF_PARAMS_MAX);
    }
    for (size_t i = 0; i < info.nimports; i++) {
        CHECK(image_import_by_record(image, image->imports[i].record) == (int)i);
        for (size_t k = 0; k < i; k++)
            CHECK(strcmp(mf_image_import(image, i)->name, mf_image_import(image, k)->name) != 0);
    }
    for (uint32_t record = 0; record < TABLE_ROOM + 64; record++)
        CHECK(image_import_by_record(image, record) < (int)info.nimports);
    CHECK(mf_image_find_export(image, "no such function", &err) == MF_E_NO_FUNCTION);
    CHECK(strnlen(err.message, sizeof(err.message)) < sizeof(err.message));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct elf_build b;
    struct mf_image *image = NULL;
    struct mf_error err = {0};

    if (size == 0)
        return 0;
    bool own_note = data[0] & 1;
    data++, size--;
    build_guest(&b);
    if (own_note) {
        size_t len = size < sizeof(struct mf_abi_note) ? size : sizeof(struct mf_abi_note);
        memcpy(b.bytes + BUILD_NOTE_DESCRIPTION, data, len);
        data += len, size -= len;
    }
    if (size > TABLE_ROOM)
        size = TABLE_ROOM;
    memcpy(b.bytes + BUILD_TABLE, data, size);
    if (!own_note) {
        b.table_bytes = (uint32_t)size;
        build_write_note(&b, MF_ABI_VERSION, MF_ABI_MIN_VERSION, 0);
    }

    int rc = mf_image_from_memory(b.bytes, b.len, "fuzz", &image, &err);
    if (rc != 0) {
        CHECK(rc == MF_E_IMAGE || rc == MF_E_ABI || rc == MF_E_SIGNATURE);
        CHECK(err.code == rc && !image);
        return 0;
    }
    check_functions(image);
    mf_image_close(image);
    return 0;
}
