/* SPDX-License-Identifier: MIT */
/*
 * label.h - what processes, threads and functions are called in flame graphs; and the escapes that keep hostile names
 * from being more than names.
 */
#ifndef GILSCOPE_LABEL_H
#define GILSCOPE_LABEL_H

#include <stdio.h>

#include "model.h"

/* "app.py (4242)", "worker-0 (4251)", "tokenize (features.py:88)", "kernel (libfoo.so)".  Control characters, and those
 * that turn the direction of writing around, are spelled out ("\x1b", "\u202e").  To be freed. */
char *label_process(const struct model_process *process);
char *label_thread(const struct model_process *process, uint32_t thread);
char *label_function(const struct model_function *function);

/* What there is to say of how the process ended, behind all else: " · still running"; "" for an ordinary end.  To be
 * freed. */
char *label_state(const struct model_process *process);

/* Any text with these characters spelled out, and those in also, too.  To be freed. */
char *label_plain(const char *text, const char *also);

/* Writes a text into XML, as content or as an attribute's value in double quotes. */
void label_xml(FILE *out, const char *text);

/* Writes a text as a JSON string, quotes and all, that may stand within an HTML script element, too; what label_plain()
 * spells out is spelled out for whoever shows the string, too. */
void label_json(FILE *out, const char *text);

#endif
