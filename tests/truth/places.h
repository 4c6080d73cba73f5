/* SPDX-License-Identifier: MIT */
/* places.h - functions that keep the GIL or let go of it for a known time, in microseconds. */
#ifndef PLACES_H
#define PLACES_H

#include <stdint.h>

extern int64_t lets_go_ns, keeps_and_lets_go_ns;

void keeps(int64_t us);
void naps_keeping(int64_t us);
void lets_go(int64_t us);
int64_t lets_go_and_waits(int64_t us);
void sleeps(int64_t us);
int64_t sleeps_and_tells(int64_t us);
void keeps_and_lets_go(int64_t us, int64_t released_us);
void in_native_thread(void (*function)(void));
void calls_back(void (*function)(void));
int loads(const char *path, int n);

#endif
