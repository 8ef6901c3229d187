/*
 * The contract between host and guest, byte by byte. Everything here is written
 * out as literal bytes or numbers, on purpose twice: a change of the ABI, also an
 * accidental one, fails here. Who means it changes abi/version.h, ABI.md and this
 * file together.
 */
#include "abi/boot.h"
#include "abi/function.h"
#include "abi/mailbox.h"
#include "abi/memory_map.h"
#include "abi/ports.h"
#include "abi/value.h"
#include "abi/version.h"
#include "sandbox/codec.h"
#include "sandbox/image.h"

#include "elf_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void boot_page(void **state)
{
    static const uint8_t golden[128] = {
        /* 0 magic */ 'M', 'A', 'Y', 'F', 'L', 'Y', '0', '1',
        /* 8 size, version 1.1 */ 128, 0, 0, 0, 1, 0, 1, 0,
        /* 16 min_version 1.0, mode CALL */ 0, 0, 1, 0, 1, 0, 0, 0,
        /* 24 features */ 15, 0, 0, 0, 0, 0, 0, 0,
        /* 32 generation */ 8, 7, 6, 5, 4, 3, 2, 1,
        /* 40 memory_bytes: 64 MiB */ 0, 0, 0, 4, 0, 0, 0, 0,
        /* 48 mailbox_bytes */ 0, 0x10, 5, 0, 0, 0, 0, 0,
        /* 56 call_ring */ 0, 0x10, 0, 0, 0, 0, 0, 0,
        /* 64 result_ring */ 0, 0x10, 2, 0, 0, 0, 0, 0,
        /* 72 exchange */ 0, 0x10, 4, 0, 0, 0, 0, 0,
        /* 80 call_ring_size, result_ring_size */ 0, 0, 1, 0, 0, 0, 1, 0,
        /* 88 exchange_size, reserved0 */ 0, 0, 1, 0, 0, 0, 0, 0,
        /* 96 entropy */ 0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7,
        /* 104 */ 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xef,
        /* 112 */ 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7,
        /* 120 */ 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
    };
    struct mf_abi_boot boot = {
        .magic = MF_ABI_BOOT_MAGIC,
        .size = sizeof(boot),
        .version = MF_ABI_VERSION,
        .min_version = MF_ABI_MIN_VERSION,
        .mode = MF_ABI_MODE_CALL,
        .features = MF_ABI_FEATURES,
        .generation = UINT64_C(0x0102030405060708),
        .memory_bytes = 64 << 20,
        .mailbox_bytes = 0x51000,
        .call_ring = 0x1000,
        .result_ring = 0x21000,
        .exchange = 0x41000,
        .call_ring_size = 0x10000,
        .result_ring_size = 0x10000,
        .exchange_size = 0x10000,
    };
    (void)state;

    for (unsigned i = 0; i < sizeof(boot.entropy); i++)
        boot.entropy[i] = (uint8_t)(0xe0 + i);
    assert_int_equal(sizeof(boot), sizeof(golden));
    assert_memory_equal(&boot, golden, sizeof(golden));
    assert_int_equal(MF_ABI_MODE_RUN, 0);
}

static void control_page(void **state)
{
    (void)state;
    assert_int_equal(offsetof(struct mf_abi_control, call_tail), 0);
    assert_int_equal(offsetof(struct mf_abi_control, call_head), 64);
    assert_int_equal(offsetof(struct mf_abi_control, result_tail), 128);
    assert_int_equal(offsetof(struct mf_abi_control, result_head), 192);
    assert_int_equal(offsetof(struct mf_abi_control, host_flags), 256);
    assert_int_equal(offsetof(struct mf_abi_control, guest_flags), 320);
    assert_int_equal(sizeof(struct mf_abi_control), 384);
    assert_int_equal(MF_ABI_HOST_ATTEND, 1);
    assert_int_equal(MF_ABI_HOST_RETURN, 2);
}

static void addresses_and_ports(void **state)
{
    (void)state;
    assert_int_equal(MF_ABI_PAGE_SIZE, 4096);
    assert_int_equal(MF_ABI_GVA_MIN, 0x10000);
    assert_true(MF_ABI_GVA_BOOT == UINT64_C(0x600000000000));
    assert_true(MF_ABI_GVA_MAILBOX == UINT64_C(0x600000010000));
    assert_true(MF_ABI_GVA_END == UINT64_C(0x7fff00000000));
    assert_int_equal(MF_ABI_PORT_READY, 0xb0);
    assert_int_equal(MF_ABI_PORT_HOSTCALL, 0xb1);
    assert_int_equal(MF_ABI_PORT_LOG, 0xb2);
    assert_int_equal(MF_ABI_PORT_ABORT, 0xb3);
    assert_int_equal(MF_ABI_PORT_FIRST, 0xb0);
    assert_int_equal(MF_ABI_PORT_LAST, 0xb3);
    assert_int_equal(MF_ABI_LOG_ERROR, 0);
    assert_int_equal(MF_ABI_LOG_WARNING, 1);
    assert_int_equal(MF_ABI_LOG_INFO, 2);
    assert_int_equal(MF_ABI_LOG_DEBUG, 3);
}

static void versions(void **state)
{
    const uint32_t v1_0 = 0x10000, v1_1 = 0x10001, v1_2 = 0x10002, v2_0 = 0x20000;
    (void)state;

    assert_int_equal(MF_ABI_VERSION, v1_1);
    assert_int_equal(MF_ABI_MIN_VERSION, v1_0);
    assert_int_equal(MF_ABI_VERSION_REFERENCES, v1_1);
    assert_int_equal(MF_ABI_VERSION_ATTEND, v1_1);
    assert_int_equal(MF_ABI_FEATURE_NESTED, 1);
    assert_int_equal(MF_ABI_FEATURE_RESTORE, 2);
    assert_int_equal(MF_ABI_FEATURE_REFERENCES, 4);
    assert_int_equal(MF_ABI_FEATURE_ATTEND, 8);
    assert_int_equal(MF_ABI_FEATURES, 15);
    /* Each is at least what the other needs. */
    assert_true(mf_abi_compatible(v1_0, v1_0, v1_0, v1_0));
    assert_true(mf_abi_compatible(v1_0, v1_0, v1_2, v1_0));
    assert_true(mf_abi_compatible(v1_2, v1_0, v1_0, v1_0));
    assert_false(mf_abi_compatible(v1_0, v1_0, v1_2, v1_1));
    assert_false(mf_abi_compatible(v2_0, v2_0, v1_2, v1_0));
    assert_false(mf_abi_compatible(v1_2, v1_0, v2_0, v2_0));
    assert_true(mf_abi_compatible(v2_0, v1_1, v1_1, v1_0));
}

/* A CALL frame with one value of every type, as the host writes it. */
static const uint8_t golden_call[192] = {
    /* 0 size, kind CALL, count 9 */ 192, 0, 0, 0, 1, 0, 9, 0,
    /* 8 id */ 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
    /* 16 function, status */ 0x40, 0, 0, 0, 0, 0, 0, 0,
    /* 24 reserved */ 0, 0, 0, 0, 0, 0, 0, 0,
    /* 32 bool true */ 1, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
    /* 48 i32 -2 */ 2, 0, 0, 0, 8, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    /* 64 u32 */ 3, 0, 0, 0, 8, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    /* 80 i64 -3 */ 4, 0, 0, 0, 8, 0, 0, 0, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    /* 96 u64 */ 5, 0, 0, 0, 8, 0, 0, 0, 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01,
    /* 112 f32 -1.5 */ 6, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0xc0, 0xbf, 0, 0, 0, 0,
    /* 128 f64 0.1 */ 7, 0, 0, 0, 8, 0, 0, 0, 0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f,
    /* 144 string of 8 bytes: the terminator takes a word more */
    8, 0, 0, 0, 8, 0, 0, 0, 'M', 'a', 'y', 'f', 'l', 'y', ' ', '!', 0, 0, 0, 0, 0, 0, 0, 0,
    /* 168 bytes, 3 of them */ 9, 0, 0, 0, 3, 0, 0, 0, 0xff, 0, 0x80, 0, 0, 0, 0, 0,
    /* 184 padding, which nobody reads */
};
#define GOLDEN_CALL_USED 184

static void call_frame(void **state)
{
    const struct mf_abi_frame header = {
        .kind = MF_ABI_FRAME_CALL, .id = UINT64_C(0x1122334455667788), .function = 0x40};
    const struct mf_value values[] = {
        mf_bool(true),
        mf_i32(-2),
        mf_u32(0xfffffffe),
        mf_i64(-3),
        mf_u64(UINT64_C(0x0123456789abcdef)),
        mf_f32(-1.5f),
        mf_f64(0.1),
        mf_string("Mayfly !"),
        mf_bytes("\xff\x00\x80", 3),
    };
    uint8_t frame[192] = {0};
    (void)state;

    assert_int_equal(codec_frame_size(values, 9, NULL), sizeof(frame));
    codec_encode(frame, sizeof(frame), &header, values, 9, NULL);
    assert_memory_equal(frame, golden_call, sizeof(golden_call));
}

static void call_frame_back(void **state)
{
    struct mf_value out[MF_PARAMS_MAX];
    _Alignas(8) uint8_t frame[192];
    size_t n;
    (void)state;

    memcpy(frame, golden_call, sizeof(frame));
    assert_int_equal(codec_decode(frame, sizeof(frame), out, &n, NULL, NULL), 0);
    assert_int_equal(n, 9);
    assert_true(out[0].type == MF_BOOL && out[0].boolean);
    assert_true(out[1].type == MF_I32 && out[1].i32 == -2);
    assert_true(out[2].type == MF_U32 && out[2].u32 == 0xfffffffe);
    assert_true(out[3].type == MF_I64 && out[3].i64 == -3);
    assert_true(out[4].type == MF_U64 && out[4].u64 == UINT64_C(0x0123456789abcdef));
    assert_true(out[5].type == MF_F32 && out[5].f32 == -1.5f);
    assert_true(out[6].type == MF_F64 && out[6].f64 == 0.1);
    assert_int_equal(out[7].type, MF_STRING);
    assert_int_equal(out[7].string.len, 8);
    assert_string_equal(out[7].string.data, "Mayfly !");
    assert_int_equal(out[8].type, MF_BYTES);
    assert_int_equal(out[8].bytes.len, 3);
    assert_ptr_equal(out[8].bytes.data, frame + 176);
    /* Nothing behind the last value matters. */
    memset(frame + GOLDEN_CALL_USED, 0xff, sizeof(frame) - GOLDEN_CALL_USED);
    assert_int_equal(codec_decode(frame, sizeof(frame), out, &n, NULL, NULL), 0);
}

static void answer_frames(void **state)
{
    static const uint8_t golden_error[64] = {
        /* 0 size, kind ERROR, count 1 */ 64, 0, 0, 0, 3, 0, 1, 0,
        /* 8 id */ 5, 0, 0, 0, 0, 0, 0, 0,
        /* 16 function, status -19 */ 0, 0, 0, 0, 0xed, 0xff, 0xff, 0xff,
        /* 24 reserved */ 0, 0, 0, 0, 0, 0, 0, 0,
        /* 32 string "no" */ 8, 0, 0, 0, 2, 0, 0, 0, 'n', 'o', 0, 0, 0, 0, 0, 0,
    };
    static const uint8_t golden_void[64] = {64, 0, 0, 0, 2, 0, 0, 0, 6};
    struct mf_abi_frame header = {.kind = MF_ABI_FRAME_ERROR, .id = 5, .status = -19};
    const struct mf_value message = mf_string("no");
    uint8_t frame[64] = {0};
    (void)state;

    codec_encode(frame, sizeof(frame), &header, &message, 1, NULL);
    assert_memory_equal(frame, golden_error, sizeof(frame));
    memset(frame, 0, sizeof(frame));
    header = (struct mf_abi_frame){.kind = MF_ABI_FRAME_RESULT, .id = 6};
    codec_encode(frame, sizeof(frame), &header, NULL, 0, NULL);
    assert_memory_equal(frame, golden_void, sizeof(frame));
    assert_int_equal(MF_ABI_FRAME_HOST_CALL, 4);
    assert_int_equal(MF_ABI_FRAME_ALIGN, 64);
    assert_int_equal(MF_ABI_PARAMS_MAX, 32);
}

/* A CALL frame with a string by reference, a number, and bytes by reference. */
static const uint8_t golden_references[128] = {
    /* 0 size, kind CALL, count 3 */ 128, 0, 0, 0, 1, 0, 3, 0,
    /* 8 id, function, status, reserved */ 9, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0,
    /* 24 */ 0, 0, 0, 0, 0, 0, 0, 0,
    /* 32 string by reference: address, bytes without the terminator */
    8, 1, 0, 0, 16, 0, 0, 0, 0x10, 0x32, 0x54, 0x76, 0x00, 0x20, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0,
    /* 56 u32 */ 3, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
    /* 72 bytes by reference */
    9, 1, 0, 0, 16, 0, 0, 0, 0, 0x10, 0, 0, 0x00, 0x20, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0,
    /* 96 padding */
};

static void reference_frame(void **state)
{
    static const char nothing[1];
    const struct mf_abi_frame header = {.kind = MF_ABI_FRAME_CALL, .id = 9, .function = 0x20};
    const struct mf_value values[] = {
        mf_string_n(nothing, UINT64_C(0x200000000)),
        mf_u32(7),
        mf_bytes(nothing, UINT64_C(0x100000001)),
    };
    struct codec_references references = {
        .mask = 5, .address = {UINT64_C(0x200076543210), 0, UINT64_C(0x200000001000)}};
    struct codec_references back;
    struct mf_value out[MF_PARAMS_MAX];
    uint8_t frame[128] = {0};
    size_t n;
    (void)state;

    assert_int_equal(MF_ABI_VALUE_REFERENCE, 0x100);
    assert_int_equal(codec_frame_size(values, 3, &references), sizeof(frame));
    codec_encode(frame, sizeof(frame), &header, values, 3, &references);
    assert_memory_equal(frame, golden_references, sizeof(frame));

    assert_int_equal(codec_decode(frame, sizeof(frame), out, &n, &back, NULL), 0);
    assert_int_equal(n, 3);
    assert_int_equal(back.mask, 5);
    assert_true(back.address[0] == references.address[0]);
    assert_true(back.address[2] == references.address[2]);
    assert_true(out[0].type == MF_STRING && out[0].string.len == UINT64_C(0x200000000));
    assert_true(out[1].type == MF_U32 && out[1].u32 == 7);
    assert_true(out[2].type == MF_BYTES && out[2].bytes.len == UINT64_C(0x100000001));
    assert_null(out[0].string.data);
    assert_null(out[2].bytes.data);
    /* To those who know none it is no value at all. */
    assert_int_equal(codec_decode(frame, sizeof(frame), out, &n, NULL, NULL), MF_E_PROTOCOL);
}

/* A note with its header: name "Mayfly", 24 bytes; the table begins 64 bytes after it began. */
static const uint8_t golden_note[44] = {
    7, 0, 0, 0, 24, 0, 0, 0, 0x46, 0x4d, 0, 0, 'M', 'a', 'y', 'f', 'l', 'y', 0, 0,
    /* version 1.0, min_version 1.0 */ 0, 0, 1, 0, 0, 0, 1, 0,
    /* features */ 1, 0, 0, 0, 0, 0, 0, 0,
    /* 36 table_start: 28 from here; 40 table_end: 104 from here */ 28, 0, 0, 0, 104, 0, 0, 0,
};

/* An export of "i32 f()", and an import of "void g(string)". */
static const uint8_t golden_table[80] = {
    /* 0 size 32, kind EXPORT */ 32, 0, 0, 0, 1, 0, 0, 0,
    /* 8 pointer, anchor */ 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9,
    /* 24 signature */ 'i', '3', '2', ' ', 'f', '(', ')', 0,
    /* 32 size 39, kind IMPORT */ 39, 0, 0, 0, 2, 0, 0, 0,
    /* 40 pointer, anchor */ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    /* 56 signature */ 'v', 'o', 'i', 'd', ' ', 'g', '(', 's', 't', 'r', 'i', 'n', 'g', ')', 0,
};

static void note_and_table(void **state)
{
    struct elf_build b;
    struct mf_image *image;
    struct mf_image_info info;
    struct mf_error err;
    (void)state;

    build_program(&b);
    b.header.e_phnum = BUILD_PHS;
    build_set_phdr(&b, BUILD_NOTE_PH, PT_NOTE, PF_R, BUILD_NOTE, 44, 44);
    memcpy(b.bytes + BUILD_NOTE, golden_note, sizeof(golden_note));
    /* 36 + 28 = 64, and 40 + 104 = 64 + 80. */
    memcpy(b.bytes + BUILD_NOTE + 64, golden_table, sizeof(golden_table));
    if (mf_image_from_memory(b.bytes, b.len, "golden", &image, &err) != 0)
        fail_msg("%s", err.message);
    mf_image_get_info(image, &info);
    assert_int_equal(info.abi_version, 0x10000);
    assert_int_equal(info.abi_features, 1);
    assert_int_equal(info.nexports, 1);
    assert_int_equal(info.nimports, 1);
    assert_string_equal(mf_image_export(image, 0)->name, "f");
    assert_int_equal(mf_image_export(image, 0)->result, MF_I32);
    assert_string_equal(mf_image_import(image, 0)->name, "g");
    assert_int_equal(mf_image_import(image, 0)->params[0].type, MF_STRING);
    assert_int_equal(image_import_by_record(image, 32), 0);
    mf_image_close(image);

    assert_int_equal(MF_ABI_RECORD_END, 0);
    assert_int_equal(MF_ABI_RECORD_RESTORE_HOOK, 3);
    assert_int_equal(MF_ABI_RECORD_ALIGN, 16);
    assert_int_equal(MF_ABI_TABLE_MAX, 1 << 20);
    assert_int_equal(MF_ABI_SIGNATURE_MAX, 2048);
    assert_string_equal(MF_ABI_TABLE_SECTION, "mayfly_table");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boot_page),
        cmocka_unit_test(control_page),
        cmocka_unit_test(addresses_and_ports),
        cmocka_unit_test(versions),
        cmocka_unit_test(call_frame),
        cmocka_unit_test(call_frame_back),
        cmocka_unit_test(answer_frames),
        cmocka_unit_test(reference_frame),
        cmocka_unit_test(note_and_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
