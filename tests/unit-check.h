/* SPDX-License-Identifier: MIT */
/*
 * unit-check.h - what the unit tests state: a condition, or two numbers that are equal; all failures of a run are told.
 */
#ifndef GILSCOPE_UNIT_CHECK_H
#define GILSCOPE_UNIT_CHECK_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int check_failures;
static int check_count;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        check_count++;                                                                                                 \
        if (!(condition)) {                                                                                            \
            check_failures++;                                                                                          \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                                  \
        }                                                                                                              \
    } while (0)

#define CHECK_NUMBER(value, expected)                                                                                  \
    do {                                                                                                               \
        long long check_value = (long long)(value), check_expected = (long long)(expected);                            \
        check_count++;                                                                                                 \
        if (check_value != check_expected) {                                                                           \
            check_failures++;                                                                                          \
            fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #value, check_value, check_expected); \
        }                                                                                                              \
    } while (0)

#define CHECK_TEXT(value, expected)                                                                                    \
    do {                                                                                                               \
        const char *check_value = (value), *check_expected = (expected);                                               \
        check_count++;                                                                                                 \
        if (strcmp(check_value, check_expected)) {                                                                     \
            check_failures++;                                                                                          \
            fprintf(stderr, "%s:%d: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, #value, check_value,              \
                    check_expected);                                                                                   \
        }                                                                                                              \
    } while (0)

/* The exit status of the test: a test that has checked nothing is a broken one. */
static inline int check_result(void)
{
    if (!check_count)
        return 99;
    return check_failures ? 1 : 0;
}

#endif
