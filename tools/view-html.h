/* SPDX-License-Identifier: MIT */
/*
 * view-html.h - what the parts of the HTML report share.  For view-html*.c only.
 */
#ifndef GILSCOPE_VIEW_HTML_H
#define GILSCOPE_VIEW_HTML_H

#include <stdio.h>

#include "model.h"

/* A text of the recording in an element of its own direction of writing. */
void view_html_text(FILE *out, const char *text);

/* --- view-html-tables.c: a section each, or nothing where there is nothing to tell. */
void view_html_threads(const struct model_process *process, FILE *out);
void view_html_matrix(const struct model_process *process, FILE *out);
void view_html_modules(const struct model_process *process, FILE *out);
void view_html_calls(const struct model_process *process, FILE *out);
void view_html_measuring(const struct model_process *process, FILE *out);

/* The bar of the seven states of shares. */
void view_html_bar(const struct model_shares *shares, FILE *out);

/* --- view-html-data.c: what report.js draws the flame graphs from, as the text of a script element. */
void view_html_data(const struct model_process *process, size_t max_nodes, FILE *out);

#endif
