/* SPDX-License-Identifier: MIT */
/*
 * recscan.h - finds the records of a recording that is being written.
 */
#ifndef GILSCOPE_RECSCAN_H
#define GILSCOPE_RECSCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "record.h"

struct recscan {
    uint64_t scanned;      /* records have been looked through up to here; at first header.header_bytes */
    uint64_t scanned_once; /* and up to here but for what may not have been finished */
};

/* Calls found(context, at) for the offset of each record of this type that has come since the last call with the same
 * *scan, until it returns false.  Some may be told twice.  Reads with pread(), which comes from the page cache as a
 * mapping would, but is no SIGBUS where somebody cuts the file short. */
void recscan(struct recscan *scan, int fd, enum rec_type type, bool (*found)(void *context, uint64_t at),
             void *context);

#endif
