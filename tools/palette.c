/* SPDX-License-Identifier: MIT */
/*
 * palette.c - the colours of flame graphs.
 */
#include "palette.h"

#include <string.h>

#include "intern.h"

#define SHADES 6

const char *palette_function(enum model_role role, const char *label)
{
    static const char python[SHADES][8] = {"#f6c98a", "#f3be78", "#f0b36a", "#f8d29c", "#edaa62", "#f5c481"};
    static const char extension[SHADES][8] = {"#8fc1e3", "#7fb6dd", "#9dcbe9", "#76add6", "#aad3ec", "#86bbe0"};
    static const char other[SHADES][8] = {"#c9ccd6", "#c2c6d2", "#d1d4dd", "#bbc0cd", "#d7dae2", "#c5c9d4"};
    size_t shade = intern_hash(0, label, strlen(label)) % SHADES;

    switch (role) {
    case MODEL_ROLE_PYTHON:
        return python[shade];
    case MODEL_ROLE_EXTENSION:
    case MODEL_ROLE_PLUMBING:
        return extension[shade];
    case MODEL_ROLE_SYSTEM:
    case MODEL_ROLE_INTERPRETER:
    case MODEL_ROLE_UNKNOWN:
        return other[shade];
    }
    return other[0];
}

const char *palette_thread(void)
{
    return "#d9d6ee";
}

const char *palette_rest(void)
{
    return "#e6e6ec";
}
