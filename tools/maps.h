/* SPDX-License-Identifier: MIT */
/*
 * maps.h - where a process that is measured from outside has code.
 */
#ifndef GILSCOPE_MAPS_H
#define GILSCOPE_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "recwriter.h"

struct maps {
    struct maps_object {
        char *path;
        uint64_t start, end, bias;
    } * object;
    size_t n, room;
    uint64_t read_ns; /* when, CLOCK_MONOTONIC */
    uint64_t again_ns;
};

/* Whether an address lies in a file's code.  Reads /proc/PID/maps again where it is not known, but not all the time. */
bool maps_is_code(struct maps *maps, int pid, uint64_t address);

/* Whether both addresses lie in one object's code, as far as is known. */
bool maps_is_same(const struct maps *maps, uint64_t a, uint64_t b);

/* Puts the files into a picture. */
void maps_write(const struct maps *maps, struct recwriter *writer);

void maps_free(struct maps *maps);

#endif
