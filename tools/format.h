/* SPDX-License-Identifier: MIT */
/*
 * format.h - numbers with units, as people read them.  UTF-8; every function returns buffer.
 */
#ifndef GILSCOPE_FORMAT_H
#define GILSCOPE_FORMAT_H

#include <stdint.h>

#define FORMAT_BYTES 32

/* A time with three digits: "850 ns", "12.3 µs", "5.02 ms", "12.4 s", "3 min 05 s", "2 h 10 min". */
const char *format_time(char buffer[FORMAT_BYTES], uint64_t ns);

/* A share of 0..1: "24.1 %"; "<0.1 %" for what is not nothing. */
const char *format_share(char buffer[FORMAT_BYTES], double share);
/* The same for XML and HTML, where '<' is spelled. */
const char *format_share_xml(char buffer[FORMAT_BYTES], double share);

/* An amount of processors: "2 processors", "0.3 processors", "1 processor". */
const char *format_cpus(char buffer[FORMAT_BYTES], double cpus);
/* Those that a process may run on, and its control group's limit (0 = none): "2 CPUs", "2 CPUs limited to 0.3". */
const char *format_cpus_of(char buffer[FORMAT_BYTES], uint32_t cpus, double limit);

/* A count with separators: "2,412". */
const char *format_count(char buffer[FORMAT_BYTES], uint64_t count);

#endif
