/* SPDX-License-Identifier: MIT */
/* shim-say.h - the one line that the shim may write to standard error. */
#ifndef GILSCOPE_SHIM_SAY_H
#define GILSCOPE_SHIM_SAY_H

#pragma GCC visibility push(hidden)

enum shim_saying { /* each is said once, by a process or one of those that were forked from it */
                   SHIM_SAY_INERT = 1,
                   SHIM_SAY_OPTION = 2,
};

/* Remembers what standard error is.  In the constructor, or where a GIL is created before. */
void shim_say_start(void);

/* From here on forked children know what has been said.  Where a GIL is created; any number of times. */
void shim_say_share(void);

/* "gilscope: WHAT process PID: REASON 'OBJECT': DETAIL" in one write; the last two may be NULL.  Nothing, where standard
 * error was closed at the start or has become something that may not be meant for people.  errno is preserved;
 * async-signal-safe. */
void shim_say(enum shim_saying saying, const char *what, const char *reason, const char *object, const char *detail);

/* What an errno means, for those in which making a file ends: strerror may allocate and translate. */
const char *shim_say_error(int error);

#pragma GCC visibility pop

#endif
