/* SPDX-License-Identifier: MIT */
/*
 * shim-unwind.c - libunwind, kept from touching what is the program's.
 *
 * libunwind (1.6.2, src/x86_64/Ginit.c; likewise up to 1.8) makes sure that an address can be read by writing a byte
 * from there into a pipe that it opens once and keeps.  To the program these are two descriptors too many, at the
 * lowest numbers there are, such as 0 where that is closed; and a program that closes all descriptors and opens its own
 * would have libunwind read from them and write to them. So it gets no pipe, and reads memory by process_vm_readv.
 */
#define _GNU_SOURCE
#include "shim-unwind.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PER_THREAD 2 /* UNW_CACHE_PER_THREAD, libunwind.h: no lock, no signal mask to be set */

#if defined(__x86_64__)
#define UNWIND_NAME(name) "_Ux86_64_" name
#define UNWIND_LOCAL_NAME(name) "_ULx86_64_" name
#else
#define UNWIND_NAME(name) "_Uaarch64_" name
#define UNWIND_LOCAL_NAME(name) "_ULaarch64_" name
#endif

typedef unsigned long unwind_word; /* unw_word_t */

/* The beginning of unw_accessors_t, libunwind-common.h. */
struct unwind_accessors {
    void *find_proc_info, *put_unwind_info, *get_dyn_info_list_addr;
    int (*access_mem)(void *space, unwind_word address, unwind_word *value, int write, void *argument);
};

static uintptr_t without_pipes; /* the thread that makes libunwind ready, 0 = none */

/* libunwind is bound to this one, as everything else is. */
SHIM_EXPORT int pipe2(int descriptors[2], int flags)
{
    if (UNLIKELY(__atomic_load_n(&without_pipes, __ATOMIC_RELAXED)) && without_pipes == shim_self()) {
        errno = ENFILE;
        return -1;
    }
    return shim_real.pipe2(descriptors, flags);
}

/* Survives any address, and needs no descriptor. */
static int access_mem(void *space, unwind_word address, unwind_word *value, int write, void *argument)
{
    (void)space;
    (void)argument;
    if (write) {
        *(unwind_word *)address = *value;
        return 0;
    }
    struct iovec local = {value, sizeof *value}, remote = {(void *)address, sizeof *value};
    pid_t pid = SHIM.pid ? (pid_t)SHIM.pid : getpid();
    return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)sizeof *value ? 0 : -1;
}

shim_backtrace *shim_unwind_open(void)
{
    static const char name[] = "libunwind.so.8";
    /* Where the program has it, its pipe is the program's, too, and it stays as it is. */
    void *library = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
    bool ours = !library;
    /* RTLD_LOCAL: its names, some of which are those of libgcc, stay out of the program's sight.  RTLD_NOW: no symbol
     * is looked up later, where the loader's lock must not be asked for. */
    if (!library)
        library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return NULL;
    void **space = dlsym(library, UNWIND_LOCAL_NAME("local_addr_space"));
    if (!space || !*space)
        return NULL;
    if (ours) {
        struct unwind_accessors *(*get_accessors)(void *) = NULL;
        *(void **)&get_accessors = dlsym(library, UNWIND_NAME("get_accessors"));
        if (!get_accessors)
            return NULL;
        __atomic_store_n(&without_pipes, shim_self(), __ATOMIC_RELAXED);
        struct unwind_accessors *accessors = get_accessors(*space); /* which makes it ready */
        __atomic_store_n(&without_pipes, 0, __ATOMIC_RELAXED);
        accessors->access_mem = access_mem;
    }
#if defined(__x86_64__)
    int (*set_caching)(void *, int) = NULL;
    *(void **)&set_caching = dlsym(library, UNWIND_LOCAL_NAME("set_caching_policy"));
    if (set_caching)
        set_caching(*space, PER_THREAD);
#endif
    shim_backtrace *backtrace_of = NULL;
    *(void **)&backtrace_of = dlsym(library, "unw_backtrace");
    return backtrace_of;
}
