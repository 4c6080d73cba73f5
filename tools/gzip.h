/* SPDX-License-Identifier: MIT */
/*
 * gzip.h - writes compressed bytes to a stream.
 */
#ifndef GILSCOPE_GZIP_H
#define GILSCOPE_GZIP_H

#include <stddef.h>
#include <stdio.h>

struct gzip;

/* Starts a gzip file at the stream's place.  A failure to write shows in the stream.  Ends the program where there is no
 * memory. */
struct gzip *gzip_begin(FILE *out);
void gzip_write(struct gzip *gzip, const void *bytes, size_t n);
void gzip_end(struct gzip *gzip);

#endif
