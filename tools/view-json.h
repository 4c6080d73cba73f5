/* SPDX-License-Identifier: MIT */
/*
 * view-json.h - what the parts of the JSON report share.  For view-json*.c only.
 */
#ifndef GILSCOPE_VIEW_JSON_H
#define GILSCOPE_VIEW_JSON_H

#include <jansson.h>
#include <stdio.h>

#include "model.h"

/* A value that is there; without memory there is no report, rather than one with holes in it: ends the program. */
json_t *view_json_checked(json_t *value);

/* A member of an object, an element of an array; both take the value over. */
void view_json_put(json_t *object, const char *key, json_t *value);
void view_json_append(json_t *array, json_t *value);

/* A number, as large as JSON readers can be trusted with. */
json_t *view_json_integer(uint64_t value);

/* --- view-json-stacks.c */
/* Adds modules, calls and how the views were sampled to a process's object. */
void view_json_put_stacks(json_t *object, const struct model_stacks *stacks);

/* Prints the elements of a process's list of stacks; only: of this view, NULL = of all. */
void view_json_print_stacks(const struct model_process *process, const enum model_view *only, FILE *out);

#endif
