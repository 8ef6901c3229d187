/* Filling, wrapping and cutting of error messages. */
#include "base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_set(void **state)
{
    (void)state;
    struct mf_error err;
    assert_int_equal(error_set(&err, MF_E_IMAGE, "part %d of %s", 3, "x"), MF_E_IMAGE);
    assert_int_equal(err.code, MF_E_IMAGE);
    assert_int_equal(err.sys_errno, 0);
    assert_string_equal(err.message, "part 3 of x");
    assert_int_equal(error_set(NULL, MF_E_IMAGE, "nobody listens"), MF_E_IMAGE);
}

static void test_errno(void **state)
{
    (void)state;
    struct mf_error err;
    assert_int_equal(error_set_errno(&err, MF_E_SYSTEM, ENOENT, "cannot open %s", "f"),
                     MF_E_SYSTEM);
    assert_int_equal(err.sys_errno, ENOENT);
    assert_string_equal(err.message, "cannot open f: No such file or directory");
}

static void test_wrap(void **state)
{
    (void)state;
    struct mf_error err;
    error_set(&err, MF_E_RANGE, "inner");
    assert_int_equal(error_wrap(&err, MF_E_SYSTEM, "outer %d", 1), MF_E_RANGE);
    assert_string_equal(err.message, "outer 1: inner");
    assert_int_equal(error_wrap(NULL, MF_E_SYSTEM, "outer"), MF_E_SYSTEM);
}

/* A message that does not fit is cut between characters, never inside of one. */
static void test_cut(void **state)
{
    (void)state;
    for (size_t lead = 240; lead < 260; lead++) {
        struct mf_error err;
        char text[400];
        memset(text, 'a', lead);
        text[lead] = 0;
        for (int i = 0; i < 6; i++)
            strcat(text, "\xe2\x82\xac");
        error_set(&err, MF_E_IMAGE, "%s", text);
        size_t len = strlen(err.message);
        assert_true(len < sizeof err.message);
        assert_memory_equal(err.message, text, len);
        if (len > lead)
            assert_int_equal((len - lead) % 3, 0);
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(mf_error_name(MF_OK), "MF_OK");
    assert_string_equal(mf_error_name(MF_E_DEADLINE), "MF_E_DEADLINE");
    assert_string_equal(mf_error_name(12345), "MF_E_?");
#define HAS_TEXT(name, number, text)                \
    assert_string_equal(mf_error_name(number), #name); \
    assert_string_equal(mf_error_text(name), text);
    MF_ERROR_LIST(HAS_TEXT)
#undef HAS_TEXT
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),  cmocka_unit_test(test_errno), cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_cut),  cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
