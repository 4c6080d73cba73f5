/* SPDX-License-Identifier: MIT */
/*
 * shim-libc.h - what only glibc has.  Programs with another C library inherit LD_PRELOAD from a Python, and musl ends
 * a program that preloads what it cannot link (ldso/dynlink.c, do_relocs): references to these are weak.
 */
#ifndef GILSCOPE_SHIM_LIBC_H
#define GILSCOPE_SHIM_LIBC_H

#include <dlfcn.h>
#include <stdbool.h>

extern void *dlvsym(void *restrict scope, const char *restrict name, const char *restrict version)
    __attribute__((weak));
extern int dladdr1(const void *address, Dl_info *info, void **extra, int flags) __attribute__((weak));
extern const char *gnu_get_libc_version(void) __attribute__((weak)); /* gnu/libc-version.h */
extern char __libc_single_threaded __attribute__((weak));            /* sys/single_threaded.h, 2.32 */
extern int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *object)
    __attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));

/* Whether the program's C library is glibc, for which the shim is built.  May be called by anybody, at any time. */
static inline bool shim_libc_is_glibc(void)
{
    return dladdr1 && __register_atfork;
}

/* pthread_atfork() without its strong reference: glibc links it statically into each library (nptl/pthread_atfork.c,
 * which does no more than this).  Without glibc nothing happens, nor is anything measured.  From where the first GIL is
 * created. */
static inline void shim_libc_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    if (__register_atfork)
        __register_atfork(prepare, parent, child, &__dso_handle);
}

#endif
