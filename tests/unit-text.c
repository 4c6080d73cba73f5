/* SPDX-License-Identifier: MIT */
/*
 * unit-text.c - numbers read well, and no text of a recording can harm a terminal or a JSON document.
 */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

#include "format.h"
#include "text.h"
#include "unit-check.h"
#include "utf8.h"

static void check_time(uint64_t ns, const char *expected)
{
    char buffer[FORMAT_BYTES];

    CHECK_TEXT(format_time(buffer, ns), expected);
}

static void test_times(void)
{
    check_time(0, "0 s");
    check_time(999, "999 ns");
    check_time(1000, "1.00 µs");
    check_time(9994, "9.99 µs");
    check_time(9996, "10.0 µs");
    check_time(99960, "100 µs");
    check_time(999499, "999 µs");
    check_time(999500, "1.00 ms");
    check_time(5020000, "5.02 ms");
    check_time(999499999, "999 ms");
    check_time(999500000, "1.00 s");
    check_time(12400000000, "12.4 s");
    check_time(119000000000, "119 s");
    check_time(185000000000, "3 min 05 s");
    check_time(7800000000000, "2 h 10 min");
    check_time(INT64_MAX, "2562047 h 47 min");
}

static void test_shares_and_counts(void)
{
    char buffer[FORMAT_BYTES];

    CHECK_TEXT(format_share(buffer, 0), "0.0 %");
    CHECK_TEXT(format_share(buffer, 0.0001), "<0.1 %");
    CHECK_TEXT(format_share(buffer, 0.2406), "24.1 %");
    CHECK_TEXT(format_share(buffer, 1), "100.0 %");
    CHECK_TEXT(format_count(buffer, 0), "0");
    CHECK_TEXT(format_count(buffer, 999), "999");
    CHECK_TEXT(format_count(buffer, 2412), "2,412");
    CHECK_TEXT(format_count(buffer, 1000000), "1,000,000");
    CHECK_TEXT(format_count(buffer, UINT64_MAX), "18,446,744,073,709,551,615");
}

static void check_utf8(const char *text, const char *expected)
{
    char *clean = utf8_clean(text, strlen(text));

    CHECK_TEXT(clean, expected);
    free(clean);
}

static void test_invalid_utf8_is_replaced(void)
{
    check_utf8("worker-0", "worker-0");
    check_utf8("größe 漢 😀", "größe 漢 😀");
    check_utf8("a\x80z", "a\xef\xbf\xbdz");
    check_utf8("cut \xe6\xbc", "cut \xef\xbf\xbd\xef\xbf\xbd");
    check_utf8("\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd");                                 /* overlong */
    check_utf8("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");                 /* a surrogate */
    check_utf8("\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* beyond U+10FFFF */
    char *cut = utf8_clean("abcdef", 3);
    CHECK_TEXT(cut, "abc");
    free(cut);
}

static void check_clean(const struct text *text, const char *string, const char *expected)
{
    char *clean = text_clean(text, string);

    CHECK_TEXT(clean, expected);
    free(clean);
}

static void test_terminals_are_safe(bool has_utf8)
{
    struct text utf8 = {.out = stdout, .columns = 80, .utf8 = true}, ascii = {.out = stdout, .columns = 80};

    check_clean(&ascii, "\x1b[31mred\x07\n\r\tend", "?[31mred????end");
    check_clean(&ascii, "5 µs · 3× – …", "5 us - 3x - ...");
    check_clean(&ascii, "größe", "gr??e");
    if (!has_utf8)
        return;
    check_clean(&utf8, "\x1b]0;title\x07", "?]0;title?");
    check_clean(&utf8,
                "\xc2\x9b"
                "1m",
                "?1m"); /* C1: a one-character escape sequence */
    check_clean(&utf8,
                "a\xe2\x80\xae"
                "b\xe2\x81\xa6"
                "c",
                "a?b?c"); /* turn the direction around */
    check_clean(&utf8, "größe 漢", "größe 漢");
    CHECK_NUMBER(text_width(&utf8, "漢字"), 4);
    CHECK_NUMBER(text_width(&utf8, "größe"), 5);
    char cut[] = "漢字漢字";
    text_cut(&utf8, cut, 6);
    CHECK_TEXT(cut, "漢字…");
    CHECK(text_width(&utf8, cut) <= 6);
}

/* What a function of text.h prints; the caller frees it. */
static char *printed(int columns, const char *string)
{
    char *result;
    size_t size;
    struct text text = {.out = open_memstream(&result, &size), .columns = columns};

    text_wrap(&text, "  ", string);
    fclose(text.out);
    return result;
}

static void test_wrapping(void)
{
    char *text = printed(20, "one two three four 80 % of it");

    CHECK_TEXT(text, "  one two three four\n  80 % of it\n");
    free(text);
    text = printed(20, "one two three fo 80 % of it"); /* a number and its unit stay together */
    CHECK_TEXT(text, "  one two three fo\n  80 % of it\n");
    free(text);
    text = printed(10, "a-word-that-is-longer-than-the-line");
    CHECK_TEXT(text, "  a-word-that-is-longer-than-the-line\n");
    free(text);
}

static void test_tables(void)
{
    static const char *const titles[] = {"<NAME", "n"};
    struct text_table table = {.titles = titles, .n_columns = 2};
    char *result;
    size_t size;
    struct text text = {.out = open_memstream(&result, &size), .columns = 14};

    text_cell(&text, &table, "a-long-name-that-is-cut");
    text_cell(&text, &table, "%d", 12345);
    text_cell(&text, &table, "b");
    text_cell(&text, &table, "%d", 1);
    text_table_print(&text, &table);
    text_table_free(&table);
    fclose(text.out);
    CHECK_TEXT(result, "NAME          n\na-long-~  12345\nb             1\n");
    free(result);
}

int main(void)
{
    bool has_utf8 = setlocale(LC_CTYPE, "C.UTF-8") != NULL;

    test_times();
    test_shares_and_counts();
    test_invalid_utf8_is_replaced();
    test_terminals_are_safe(has_utf8);
    test_wrapping();
    test_tables();
    return check_result();
}
