/* SPDX-License-Identifier: MIT */
/*
 * text.c - text for a terminal.
 */
#include "text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "mem.h"
#include "utf8.h"

#define GAP 2        /* columns between those of a table */
#define FIRST_MIN 8  /* of a table's first column, which gives way if there is little room */
#define WRAP_MAX 110 /* longer lines are hard to read */
#define INDENT_BYTES 32

/* Signs that the reports use, and their spelling in ASCII; the longest has 3 bytes. */
static const struct {
    const char *utf8, *ascii;
} spellings[] = {
    {"µ", "u"}, {"±", "+-"}, {"·", "-"}, {"×", "x"}, {"–", "-"}, {"…", "..."}, {"→", "->"}, {"└", "`"}, {"─", "-"},
};

static const char *spelling(const char *sequence, size_t length)
{
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++)
        if (strlen(spellings[i].utf8) == length && !memcmp(spellings[i].utf8, sequence, length))
            return spellings[i].ascii;
    return "?";
}

static char *clean(const struct text *text, const char *string, bool keep_newlines)
{
    size_t size = strlen(string);
    char *to, *result = to = mem_zeroed(size * 3 + 1, 1);

    for (const char *c = string; *c;) {
        size_t length = utf8_sequence(c, size - (size_t)(c - string));
        const char *put = "?";
        size_t n_put = 1;
        if (length == 1 && ((*c >= 0x20 && *c != 0x7f) || (*c == '\n' && keep_newlines))) {
            put = c;
        } else if (length > 1 && !utf8_is_deceptive(c, length)) {
            put = text->utf8 ? c : spelling(c, length);
            n_put = text->utf8 ? length : strlen(put);
        }
        memcpy(to, put, n_put);
        to += n_put;
        c += length ? length : 1;
    }
    return result;
}

char *text_clean(const struct text *text, const char *string)
{
    return clean(text, string, false);
}

/* Bytes and columns of the character at c, a cleaned string. */
static size_t character(const struct text *text, const char *c, int *width)
{
    mbstate_t state = {0};
    wchar_t wide;
    size_t n;

    *width = 1;
    if (!text->utf8 || (unsigned char)*c < 0x80)
        return 1;
    n = mbrtowc(&wide, c, strlen(c), &state);
    if (n == 0 || n > 4)
        return 1;
    *width = wcwidth(wide) < 0 ? 1 : wcwidth(wide);
    return n;
}

int text_width(const struct text *text, const char *string)
{
    int width = 0, one;

    for (const char *c = string; *c; width += one)
        c += character(text, c, &one);
    return width;
}

void text_cut(const struct text *text, char *string, int width)
{
    const char *ellipsis = text->utf8 ? "…" : "~";
    int used = 0, one;
    char *c = string;

    if (text_width(text, string) <= width)
        return;
    while (*c) {
        size_t n = character(text, c, &one);
        if (used + one > width - 1)
            break;
        used += one;
        c += n;
    }
    /* What is cut off may be shorter than the ellipsis only if it is one narrow character; then there is room. */
    if (strlen(c) >= strlen(ellipsis))
        strcpy(c, ellipsis);
    else
        strcpy(c, "~");
}

static const char *style_code(const struct text *text, enum text_style style)
{
    static const char *const codes[] = {
        [TEXT_PLAIN] = "",         [TEXT_BOLD] = "\x1b[1m",      [TEXT_DIM] = "\x1b[2m",
        [TEXT_RED] = "\x1b[1;31m", [TEXT_YELLOW] = "\x1b[1;33m", [TEXT_GREEN] = "\x1b[1;32m",
    };
    return text->color ? codes[style] : "";
}

static char *format_args(const char *format, va_list args)
{
    char *string;

    if (vasprintf(&string, format, args) < 0)
        return mem_print("%s", "?");
    return string;
}

void text_print(const struct text *text, enum text_style style, const char *format, ...)
{
    va_list args;
    char *raw, *string;

    va_start(args, format);
    raw = format_args(format, args);
    va_end(args);
    string = clean(text, raw, true);
    fprintf(text->out, "%s%s%s", style_code(text, style), string, style_code(text, style)[0] ? "\x1b[0m" : "");
    free(string);
    free(raw);
}

/* A number and its unit stay on one line. */
static bool is_unit(const char *word)
{
    static const char *const units[] = {"%", "ns", "µs", "us", "ms", "s", "min", "h"};
    size_t length = strcspn(word, " ,.;:)");

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strlen(units[i]) == length && !strncmp(units[i], word, length))
            return true;
    return false;
}

void text_wrap(const struct text *text, const char *first, const char *string)
{
    char *cleaned = text_clean(text, string), *word, *next;
    int indent = text_width(text, first), used = indent;
    int columns = text->columns < WRAP_MAX ? text->columns : WRAP_MAX;
    bool at_start = true;

    fputs(first, text->out);
    for (word = cleaned; *word; word = next) {
        char *end = strchrnul(word, ' ');
        while (*end && is_unit(end + 1))
            end = strchrnul(end + 1, ' ');
        next = end + (*end != 0);
        *end = 0;
        int width = text_width(text, word);
        if (!at_start && used + 1 + width > columns) {
            fprintf(text->out, "\n%*s", indent, "");
            used = indent;
            at_start = true;
        }
        fprintf(text->out, "%s%s", at_start ? "" : " ", word);
        used += width + !at_start;
        at_start = false;
    }
    fputc('\n', text->out);
    free(cleaned);
}

/* --- tables ------------------------------------------------------------------------------------------------------ */
void text_cell(const struct text *text, struct text_table *table, const char *format, ...)
{
    va_list args;
    char *raw;

    va_start(args, format);
    raw = format_args(format, args);
    va_end(args);
    table->cells = mem_grow(table->cells, table->n_cells, &table->capacity, sizeof *table->cells);
    table->cells[table->n_cells++] = text_clean(text, raw);
    free(raw);
}

static bool is_left(const struct text_table *table, size_t column)
{
    return table->titles[column][0] == '<';
}

static const char *title(const struct text_table *table, size_t column)
{
    return table->titles[column] + is_left(table, column);
}

static int column_width(const struct text *text, const struct text_table *table, size_t column)
{
    int widest = text_width(text, title(table, column));

    for (size_t i = column; i < table->n_cells; i += table->n_columns) {
        int width = text_width(text, table->cells[i]);
        if (width > widest)
            widest = width;
    }
    return widest;
}

int text_table_width(const struct text *text, const struct text_table *table)
{
    int width = 0;

    for (size_t i = 0; i < table->n_columns; i++)
        width += column_width(text, table, i) + (i ? GAP : 0);
    return width;
}

static void print_cell(const struct text *text, const char *cell, int width, bool left, bool last)
{
    int fill = width - text_width(text, cell);

    if (left)
        fprintf(text->out, "%s%*s", cell, last || fill < 0 ? 0 : fill, "");
    else
        fprintf(text->out, "%*s%s", fill > 0 ? fill : 0, "", cell);
    if (!last)
        fprintf(text->out, "%*s", GAP, "");
}

/* Takes what is too much off the widest columns of text. */
static void narrow(const struct text_table *table, int *widths, int excess)
{
    for (; excess > 0; excess--) {
        size_t widest = 0;
        for (size_t i = 1; i < table->n_columns; i++)
            if (is_left(table, i) && widths[i] > widths[widest])
                widest = i;
        if (widths[widest] <= FIRST_MIN)
            return;
        widths[widest]--;
    }
}

void text_table_print(const struct text *text, const struct text_table *table)
{
    int *widths = mem_zeroed(table->n_columns, sizeof *widths);
    int excess = text_table_width(text, table) - text->columns;

    for (size_t i = 0; i < table->n_columns; i++)
        widths[i] = column_width(text, table, i);
    narrow(table, widths, excess);
    fputs(style_code(text, TEXT_DIM), text->out);
    for (size_t i = 0; i < table->n_columns; i++)
        print_cell(text, title(table, i), widths[i], is_left(table, i), i + 1 == table->n_columns);
    fprintf(text->out, "%s\n", text->color ? "\x1b[0m" : "");
    for (size_t i = 0; i < table->n_cells; i++) {
        size_t column = i % table->n_columns;
        bool last = column + 1 == table->n_columns;
        if (column == 0 || is_left(table, column))
            text_cut(text, table->cells[i], widths[column]);
        print_cell(text, table->cells[i], widths[column], is_left(table, column), last);
        if (last)
            fputc('\n', text->out);
    }
    free(widths);
}

void text_table_free(struct text_table *table)
{
    for (size_t i = 0; i < table->n_cells; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct text_table){.n_cells = 0};
}
