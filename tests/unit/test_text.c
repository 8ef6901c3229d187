/* UTF-8 checks, against a second implementation as well, and near names. */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_good(const char *text, size_t len)
{
    size_t bad = 99;
    if (!text_is_utf8(text, len, &bad))
        fail_msg("refused at %zu of %zu bytes", bad, len);
}

static void assert_bad(const char *text, size_t len, size_t place)
{
    size_t bad = 99;
    assert_false(text_is_utf8(text, len, &bad));
    assert_int_equal(bad, place);
}

static void takes_utf8(void **state)
{
    (void)state;
    assert_good("", 0);
    assert_good("plain", 5);
    assert_good("more than eight bytes of it", 27);
    assert_good("gr\xc3\xbc\xc3\x9f", 6);
    assert_good("\xe2\x82\xac", 3);         /* U+20AC */
    assert_good("\xf0\x9f\x98\x80", 4);     /* U+1F600 */
    assert_good("\x7f\xc2\x80", 3);         /* U+007F, U+0080 */
    assert_good("\xdf\xbf\xe0\xa0\x80", 5); /* U+07FF, U+0800 */
    assert_good("\xed\x9f\xbf\xee\x80\x80", 6); /* around the surrogates */
    assert_good("\xef\xbf\xbf\xf0\x90\x80\x80", 7);
    assert_good("\xf4\x8f\xbf\xbf", 4); /* U+10FFFF */
}

static void refuses_what_is_not_utf8(void **state)
{
    (void)state;
    assert_bad("\0", 1, 0);
    assert_bad("12345678\0", 9, 8);
    assert_bad("1234567\0 and more text", 22, 7);
    assert_bad("\x80", 1, 0);
    assert_bad("abc\xff", 4, 3);
    assert_bad("\xc0\x80", 2, 0); /* overlong NUL */
    assert_bad("\xc1\xbf", 2, 0);
    assert_bad("\xe0\x9f\xbf", 3, 1); /* overlong */
    assert_bad("\xf0\x8f\xbf\xbf", 4, 1);
    assert_bad("\xed\xa0\x80", 3, 1);     /* surrogate U+D800 */
    assert_bad("\xed\xbf\xbf", 3, 1);     /* surrogate U+DFFF */
    assert_bad("\xf4\x90\x80\x80", 4, 1); /* U+110000 */
    assert_bad("\xf5\x80\x80\x80", 4, 0);
    assert_bad("\xc3(", 2, 1);
    assert_bad("\xe2\x82(", 3, 2);
    /* A sequence that the end cuts is reported where it begins. */
    assert_bad("ok\xc3", 3, 2);
    assert_bad("ok\xe2\x82", 4, 2);
    assert_bad("\xf0\x9f\x98", 3, 0);
}

/* Decodes by the table of RFC 3629, one code point at a time. */
static int reference_is_utf8(const unsigned char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t c = s[i];
        static const uint32_t least[] = {1, 0x80, 0x800, 0x10000};
        unsigned more = 9;

        if (c < 0x80)
            more = 0;
        else if (c >> 5 == 6)
            more = 1;
        else if (c >> 4 == 14)
            more = 2;
        else if (c >> 3 == 30)
            more = 3;
        if (more == 9 || i + more >= len)
            return 0;
        if (more)
            c &= 0x3fu >> more;
        for (unsigned k = 1; k <= more; k++) {
            if ((s[i + k] & 0xc0) != 0x80)
                return 0;
            c = c << 6 | (s[i + k] & 0x3f);
        }
        if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
            return 0;
        i += more + 1;
    }
    return 1;
}

/* Every sequence of three bytes, behind an offset that moves the fast path. */
static void agrees_with_a_second_decoder(void **state)
{
    unsigned char text[12] = "abcdefghi";
    size_t bad;
    (void)state;

    for (uint32_t i = 0; i < 1u << 24; i++) {
        size_t at = i % 9;
        unsigned char *place = text + at;

        memcpy(text, "abcdefghijkl", sizeof(text));
        place[0] = (unsigned char)(i >> 16);
        place[1] = (unsigned char)(i >> 8);
        place[2] = (unsigned char)i;
        /* Only what can matter, to keep the test short: skip most of plain ASCII. */
        if (place[0] >= 1 && place[0] < 0x7f && place[1] >= 1 && place[1] < 0x7f)
            continue;
        if (text_is_utf8((char *)text, sizeof(text), &bad) !=
            reference_is_utf8(text, sizeof(text)))
            fail_msg("differs for %06x at %zu", i, at);
    }
}

static void makes_utf8_of_anything(void **state)
{
    static const struct {
        const char *bytes, *text;
    } cases[] = {
        {"plain", "plain"},
        {"\xc3\xa4", "\xc3\xa4"},
        {"\xff", "?"},
        {"\xe2(a", "?(a"},                             /* cut off by what follows */
        {"\xe2\x82(", "?\?("},
        {"a\xe2\x82", "a??"},                          /* by the end */
        {"\xe2\xe2\x82\xac", "?\xe2\x82\xac"},       /* by another that is whole */
        {"\xc3\xa4\xed\xa0\x80!", "\xc3\xa4?\?\?!"}, /* a surrogate */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[32];
        strcpy(text, cases[i].bytes);
        text_make_utf8(text, strlen(text));
        assert_string_equal(text, cases[i].text);
    }
    for (uint32_t i = 0; i < 1u << 24; i += 7) {
        char text[4] = {(char)(i >> 16), (char)(i >> 8), (char)i, (char)(i >> 4)};
        size_t bad;
        text_make_utf8(text, sizeof(text));
        assert_true(text_is_utf8(text, sizeof(text), &bad));
    }
}

static void knows_near_names(void **state)
{
    (void)state;
    assert_true(text_near("greet", "greet"));
    assert_true(text_near("greeet", "greet"));
    assert_true(text_near("gret", "greet"));
    assert_true(text_near("grete", "greet")); /* two letters swapped */
    assert_true(text_near("greetings", "greet"));
    assert_true(text_near("g", "greet"));
    assert_true(text_near("ad", "add"));
    assert_true(text_near("sbu", "sub"));
    assert_true(text_near("compute_sun", "compute_sum"));
    assert_true(text_near("comptue_smu", "compute_sum"));
    assert_false(text_near("add", "sub"));
    assert_false(text_near("abc", "xbz"));
    assert_false(text_near("greet", "hello"));
    assert_false(text_near("", "greet"));
    assert_false(text_near("greet", ""));
}

static void long_names_are_never_near(void **state)
{
    char a[80], b[80];
    (void)state;

    memset(a, 'a', sizeof(a));
    a[63] = 0;
    memcpy(b, a, sizeof(b));
    assert_true(text_near(a, b));
    b[62] = 'b';
    assert_true(text_near(a, b));
    a[63] = 'a';
    a[64] = 0;
    assert_false(text_near(a, a));
    assert_false(text_near(a, b));
    assert_false(text_near(b, a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_utf8),
        cmocka_unit_test(refuses_what_is_not_utf8),
        cmocka_unit_test(agrees_with_a_second_decoder),
        cmocka_unit_test(makes_utf8_of_anything),
        cmocka_unit_test(knows_near_names),
        cmocka_unit_test(long_names_are_never_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
