/* SPDX-License-Identifier: MIT */
/* slow_end.c - reading a thread's schedstat takes long, as on a machine that is busy: the library does so when the process
 * ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

int open(const char *path, int flags, ...)
{
    int (*real)(const char *, int, ...);
    void *found = dlsym(RTLD_NEXT, "open");
    va_list arguments;

    memcpy(&real, &found, sizeof real);
    if (strstr(path, "/schedstat"))
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    va_start(arguments, flags);
    int mode = va_arg(arguments, int);
    va_end(arguments);
    return real(path, flags, mode);
}
