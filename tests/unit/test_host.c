/* Sets of host functions: adding, finding, closing, holding; mf_fail. */
#include "sandbox/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int answer(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                  struct mf_value *result, struct mf_error *err)
{
    (void)sandbox, (void)context, (void)arg, (void)err;
    *result = mf_i32(42);
    return 0;
}

static struct mf_host *make(void)
{
    struct mf_host *host = NULL;
    struct mf_error err;

    assert_int_equal(mf_host_create(&host, &err), 0);
    assert_non_null(host);
    return host;
}

static void finds_what_was_added(void **state)
{
    struct mf_host *host = make();
    struct mf_error err;
    char text[64];
    int places[40];
    (void)state;

    for (int i = 0; i < 40; i++) {
        snprintf(text, sizeof(text), "i32 function_%d(string s)", i);
        assert_int_equal(mf_host_add(host, text, answer, &places[i], &err), 0);
    }
    assert_int_equal(host->nfunctions, 40);
    for (int i = 0; i < 40; i++) {
        snprintf(text, sizeof(text), "function_%d", i);
        const struct host_function *found = host_find(host, text);
        assert_non_null(found);
        assert_string_equal(found->signature.name, text);
        assert_ptr_equal(found->fn, answer);
        assert_ptr_equal(found->context, &places[i]);
        assert_int_equal(found->signature.params[0].type, MF_STRING);
    }
    assert_null(host_find(host, "function_40"));
    assert_null(host_find(host, ""));
    assert_null(host_find(NULL, "function_1"));
    mf_host_destroy(host);
}

static void refuses_bad_additions(void **state)
{
    struct mf_host *host = make();
    struct mf_error err;
    (void)state;

    assert_int_equal(mf_host_add(NULL, "void f()", answer, NULL, &err), MF_E_ARGUMENT);
    assert_int_equal(mf_host_add(host, "void f()", NULL, NULL, &err), MF_E_ARGUMENT);
    assert_int_equal(mf_host_add(host, "void f(", answer, NULL, &err), MF_E_SIGNATURE);
    assert_non_null(strstr(err.message, "column 8"));
    assert_int_equal(mf_host_add(host, NULL, answer, NULL, &err), MF_E_SIGNATURE);
    assert_int_equal(mf_host_add(host, "void f()", answer, NULL, &err), 0);
    assert_int_equal(mf_host_add(host, "i32 f(i32)", answer, NULL, &err), MF_E_STATE);
    assert_non_null(strstr(err.message, "'f' was added already"));
    assert_int_equal(host->nfunctions, 1);
    mf_host_destroy(host);
}

static void is_closed_by_its_first_use(void **state)
{
    struct mf_host *host = make();
    struct mf_error err;
    (void)state;

    assert_int_equal(mf_host_add(host, "void f()", answer, NULL, &err), 0);
    assert_ptr_equal(host_hold(host), host);
    assert_int_equal(mf_host_add(host, "void g()", answer, NULL, &err), MF_E_STATE);
    assert_non_null(strstr(err.message, "before the first sandbox"));
    /* The maker gives it back first; who holds it still has all of it. */
    mf_host_destroy(host);
    assert_non_null(host_find(host, "f"));
    mf_host_destroy(host);
    mf_host_destroy(NULL);
    assert_null(host_hold(NULL));
}

static void fails_with_a_message(void **state)
{
    struct mf_error err;
    char longer[400];
    (void)state;

    assert_int_equal(mf_fail(&err, -77, "no %s at %d%%", "disk", 5), -77);
    assert_int_equal(err.code, -77);
    assert_int_equal(err.sys_errno, 0);
    assert_string_equal(err.message, "no disk at 5%");
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = 0;
    assert_int_equal(mf_fail(&err, MF_E_HOST_FUNCTION, "%s", longer), MF_E_HOST_FUNCTION);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    assert_int_equal(mf_fail(NULL, -5, "nowhere"), -5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_added),
        cmocka_unit_test(refuses_bad_additions),
        cmocka_unit_test(is_closed_by_its_first_use),
        cmocka_unit_test(fails_with_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
