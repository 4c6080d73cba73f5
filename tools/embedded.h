/* SPDX-License-Identifier: MIT */
/*
 * embedded.h - text files that reports take along: made into strings by scripts/embed.sh when gilscope is built.
 */
#ifndef GILSCOPE_EMBEDDED_H
#define GILSCOPE_EMBEDDED_H

extern const char embedded_html_css[];  /* tools/html/report.css */
extern const char embedded_html_page[]; /* tools/html/report.html: the document around the two others */
extern const char embedded_html_js[];   /* tools/html/report.js */
extern const char embedded_svg_css[]; /* tools/svg/flame.css */
extern const char embedded_svg_js[];  /* tools/svg/flame.js */

#endif
