/* SPDX-License-Identifier: MIT */
/*
 * text.h - text for a terminal: made harmless, measured, wrapped, put into tables.
 */
#ifndef GILSCOPE_TEXT_H
#define GILSCOPE_TEXT_H

#include <stdbool.h>
#include <stdio.h>

struct text {
    FILE *out;
    int columns;
    bool color, utf8;
};

enum text_style { TEXT_PLAIN, TEXT_BOLD, TEXT_DIM, TEXT_RED, TEXT_YELLOW, TEXT_GREEN };

/* A copy of UTF-8 text in which control characters, and those that turn the direction of writing around, are '?'.
 * Without utf8 the few signs that reports use are spelled in ASCII, and all other characters are '?'.  To be freed. */
char *text_clean(const struct text *text, const char *string);

/* Columns that a cleaned string takes. */
int text_width(const struct text *text, const char *string);

/* Cuts a cleaned string in place to a width; the last column is then an ellipsis. */
void text_cut(const struct text *text, char *string, int width);

/* printf of UTF-8 text, cleaned ('\n' stays) and in a style. */
void text_print(const struct text *text, enum text_style style, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Prints a paragraph, broken at spaces so that it fits: a first line after first (a cleaned string), the next ones
 * indented as far. */
void text_wrap(const struct text *text, const char *first, const char *string);

/* A table whose columns are as wide as their widest cell. */
struct text_table {
    const char *const *titles; /* n_columns of them; one that begins with '<' is for a column that is left-justified */
    size_t n_columns;
    char **cells; /* cleaned, owned; row after row */
    size_t n_cells, capacity;
};

/* Adds the next cell, row after row: a formatted text. */
void text_cell(const struct text *text, struct text_table *table, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Columns that the table takes. */
int text_table_width(const struct text *text, const struct text_table *table);

/* Prints the table; if it is too wide, its first column is cut as far as need be, down to a few characters. */
void text_table_print(const struct text *text, const struct text_table *table);

/* Frees the cells. */
void text_table_free(struct text_table *table);

#endif
