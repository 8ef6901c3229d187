/*
 * Guests of other ABI versions than the host's: the note of a built guest is
 * rewritten, as if an older or newer SDK had made it. Another minor version works,
 * one that asks for more than the host has is refused.
 */
#include "backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FILE_MAX (16u << 20)
#define VERSION(major, minor) ((uint32_t)(major) << 16 | (minor))

/* A note's header is name length, description length and type; then the name. */
static const uint8_t note_head[] = {7, 0, 0, 0, 24, 0, 0, 0, 0x46, 0x4d, 0, 0,
                                    'M', 'a', 'y', 'f', 'l', 'y', 0, 0};

static enum mf_backend backend;
static uint8_t *file;
static size_t file_len, note_at;

static void read_guest(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/greet", getenv("EXAMPLES"));
    FILE *stream = fopen(path, "rb");
    if (!stream || !(file = malloc(FILE_MAX))) {
        perror(path);
        exit(1);
    }
    file_len = fread(file, 1, FILE_MAX, stream);
    fclose(stream);
    const uint8_t *found = memmem(file, file_len, note_head, sizeof note_head);
    if (!found) {
        fprintf(stderr, "%s: no note of the SDK\n", path);
        exit(1);
    }
    note_at = (size_t)(found - file) + sizeof note_head;
}

/* Opens the guest with other versions and needed features in its note. */
static int open_as(uint32_t version, uint32_t min_version, uint64_t features,
                   struct mf_image **image, struct mf_error *err)
{
    memcpy(file + note_at, &version, 4);
    memcpy(file + note_at + 4, &min_version, 4);
    memcpy(file + note_at + 8, &features, 8);
    return mf_image_from_memory(file, file_len, "greet", image, err);
}

static void test_minor_versions_work(void **state)
{
    (void)state;
    const uint32_t host = mf_abi_version();
    const uint32_t versions[] = {host, host + 1, host + 100, VERSION(host >> 16, 0)};
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        struct mf_sandbox_options options = {.size = sizeof options, .backend = backend};
        struct mf_image *image;
        struct mf_sandbox *sandbox;
        struct mf_value arg = mf_string("you"), result;
        struct mf_error err;
        assert_int_equal(open_as(versions[i], VERSION(host >> 16, 0), 0, &image, &err), 0);
        assert_int_equal(mf_sandbox_create(image, NULL, &options, &sandbox, &err), 0);
        assert_int_equal(mf_sandbox_call(sandbox, "greet", &arg, 1, &result, &err), 0);
        assert_string_equal(result.string.data, "Hello, you!");
        mf_sandbox_destroy(sandbox);
        mf_image_close(image);
    }
}

static void test_others_are_refused(void **state)
{
    (void)state;
    const uint32_t host = mf_abi_version(), major = host >> 16;
    struct mf_image *image;
    struct mf_error err;
    assert_int_equal(open_as(host + 1, host + 1, 0, &image, &err), MF_E_ABI);
    assert_int_equal(open_as(VERSION(major + 1, 0), VERSION(major + 1, 0), 0, &image, &err),
                     MF_E_ABI);
    assert_int_equal(open_as(VERSION(0, 9), VERSION(0, 9), 0, &image, &err), MF_E_ABI);
    assert_int_equal(open_as(host, host, UINT64_C(1) << 40, &image, &err), MF_E_ABI);
}

int main(void)
{
    backend = test_backend();
    read_guest();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_minor_versions_work),
        cmocka_unit_test(test_others_are_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(file);
    return failed;
}
