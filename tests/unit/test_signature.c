/* Signatures: parsing, the canonical form, and messages with their column. */
#include <mayfly/signature.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_form(const char *text, const char *canonical)
{
    struct mf_signature sig, again;
    struct mf_error err;
    char buf[4096];

    if (mf_signature_parse(text, &sig, &err) != 0)
        fail_msg("'%s' refused: %s", text, err.message);
    assert_int_equal(mf_signature_format(&sig, buf, sizeof(buf)), strlen(canonical));
    assert_string_equal(buf, canonical);
    assert_int_equal(mf_signature_parse(buf, &again, &err), 0);
    assert_memory_equal(&sig, &again, sizeof(sig));
    assert_true(mf_signature_equal(&sig, &again));
}

static void assert_refused(const char *text, const char *words)
{
    struct mf_signature sig;
    struct mf_error err;

    assert_int_equal(mf_signature_parse(text, &sig, &err), MF_E_SIGNATURE);
    assert_int_equal(err.code, MF_E_SIGNATURE);
    if (!strstr(err.message, words))
        fail_msg("expected '%s' in '%s'", words, err.message);
    assert_int_equal(mf_signature_parse(text, &sig, NULL), MF_E_SIGNATURE);
}

static void takes_signatures(void **state)
{
    (void)state;
    assert_form("string greet(string name)", "string greet(string name)");
    assert_form("void f()", "void f()");
    assert_form("void f(void)", "void f()");
    assert_form("  void\tf ( void ) ", "void f()");
    assert_form("i32 add(i32,i32)", "i32 add(i32, i32)");
    assert_form("i32 add( i32 a ,i32  b)", "i32 add(i32 a, i32 b)");
    assert_form("bytes all(bool a, i32 b, u32 c, i64 d, u64 e, f32 f, f64 g, string h, bytes i)",
                "bytes all(bool a, i32 b, u32 c, i64 d, u64 e, f32 f, f64 g, string h, bytes i)");
    assert_form("f64 _x9(f64 _)", "f64 _x9(f64 _)");
    assert_form("i32 voided(i32 voids)", "i32 voided(i32 voids)");
    /* Types are no reserved words. */
    assert_form("bytes bytes(bytes bytes)", "bytes bytes(bytes bytes)");
}

static void fills_the_structure(void **state)
{
    struct mf_signature sig;
    (void)state;

    assert_int_equal(mf_signature_parse("u64 f(bytes data, bool)", &sig, NULL), 0);
    assert_string_equal(sig.name, "f");
    assert_int_equal(sig.result, MF_U64);
    assert_int_equal(sig.nparams, 2);
    assert_int_equal(sig.params[0].type, MF_BYTES);
    assert_string_equal(sig.params[0].name, "data");
    assert_int_equal(sig.params[1].type, MF_BOOL);
    assert_string_equal(sig.params[1].name, "");
}

static void refuses_with_the_place(void **state)
{
    (void)state;
    assert_refused(NULL, "no text");
    assert_refused("", "column 1: expected a type (void, bool, i32");
    assert_refused("", "but the text ends there");
    assert_refused("int f()", "column 1: expected a type");
    assert_refused("int f()", "found 'int");
    assert_refused("i32", "column 4: expected the name of the function");
    assert_refused("i32 (i32)", "column 5: expected the name of the function");
    assert_refused("i32 9f()", "column 5: expected the name");
    assert_refused("i32 f", "column 6: expected '('");
    assert_refused("i32 f{", "column 6: expected '(', found '{'");
    assert_refused("i32 f(", "column 7: expected a type");
    assert_refused("i32 f(i32", "column 10: expected ',' or ')'");
    assert_refused("i32 f(i32 a b)", "column 13: expected ',' or ')', found 'b)'");
    assert_refused("i32 f(i32,)", "column 11: expected a type");
    assert_refused("i32 f(,)", "column 7: expected a type");
    assert_refused("i32 f(i32, void)", "column 12: expected a type other than void");
    assert_refused("i32 f(void x)", "column 7: expected a type other than void");
    assert_refused("i32 f(void, i32)", "column 7: expected a type other than void");
    assert_refused("i32 f() x", "column 9: expected the end of the text");
    assert_refused("i32 f(i32 \x1b[2J)", "found '?[2J)'");
    assert_refused("i32 f(string\n)", "column 13");
}

static void counts_parameters(void **state)
{
    char text[1024] = "void f(";
    struct mf_signature sig;
    (void)state;

    for (int i = 0; i < MF_PARAMS_MAX; i++)
        strcat(text, i ? ",i32" : "i32");
    size_t len = strlen(text);
    strcpy(text + len, ")");
    assert_int_equal(mf_signature_parse(text, &sig, NULL), 0);
    assert_int_equal(sig.nparams, MF_PARAMS_MAX);
    strcpy(text + len, ",i32)");
    assert_refused(text, "too many parameters; a function has at most 32");
}

static void bounds_names(void **state)
{
    char text[256] = "void ", name[200];
    struct mf_signature sig;
    (void)state;

    memset(name, 'n', sizeof(name));
    name[MF_NAME_MAX - 1] = 0;
    snprintf(text, sizeof(text), "void %s()", name);
    assert_int_equal(mf_signature_parse(text, &sig, NULL), 0);
    assert_string_equal(sig.name, name);
    name[MF_NAME_MAX - 1] = 'n';
    name[MF_NAME_MAX] = 0;
    snprintf(text, sizeof(text), "void %s()", name);
    assert_refused(text, "a function name of 128 bytes; at most 127 fit");

    /* Parameter names are cut. */
    name[100] = 0;
    snprintf(text, sizeof(text), "void f(i32 %s)", name);
    assert_int_equal(mf_signature_parse(text, &sig, NULL), 0);
    assert_int_equal(strlen(sig.params[0].name), sizeof(sig.params[0].name) - 1);
}

static void formats_like_snprintf(void **state)
{
    struct mf_signature sig;
    char buf[8];
    (void)state;

    assert_int_equal(mf_signature_parse("i32 f(i32 a)", &sig, NULL), 0);
    memset(buf, 'x', sizeof(buf));
    assert_int_equal(mf_signature_format(&sig, NULL, 0), 12);
    assert_int_equal(mf_signature_format(&sig, buf, 5), 12);
    assert_string_equal(buf, "i32 ");
    assert_int_equal(buf[5], 'x');
    assert_int_equal(mf_signature_format(&sig, buf, 1), 12);
    assert_string_equal(buf, "");
}

static void compares_types_and_not_parameter_names(void **state)
{
    static const struct {
        const char *text;
        bool equal;
    } others[] = {
        {"i32 f(i32 a, string b)", true},  {"i32 f(i32 x, string)", true},
        {"u32 f(i32 a, string b)", false}, {"i32 g(i32 a, string b)", false},
        {"i32 f(i32 a)", false},           {"i32 f(i32 a, bytes b)", false},
        {"i32 f(i32 a, string b, i32)", false},
    };
    struct mf_signature sig, other;
    (void)state;

    assert_int_equal(mf_signature_parse("i32 f(i32 a, string b)", &sig, NULL), 0);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_int_equal(mf_signature_parse(others[i].text, &other, NULL), 0);
        assert_int_equal(mf_signature_equal(&sig, &other), others[i].equal);
    }
}

static void names_types(void **state)
{
    (void)state;
    assert_string_equal(mf_type_name(MF_VOID), "void");
    assert_string_equal(mf_type_name(MF_BYTES), "bytes");
    assert_string_equal(mf_type_name((enum mf_type)10), "?");
    assert_string_equal(mf_type_name((enum mf_type)-1), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_signatures),
        cmocka_unit_test(fills_the_structure),
        cmocka_unit_test(refuses_with_the_place),
        cmocka_unit_test(counts_parameters),
        cmocka_unit_test(bounds_names),
        cmocka_unit_test(formats_like_snprintf),
        cmocka_unit_test(compares_types_and_not_parameter_names),
        cmocka_unit_test(names_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
