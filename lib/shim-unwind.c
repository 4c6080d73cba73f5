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
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shim-text.h"

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

/* A library is known by its name, whoever has loaded it (elf/dl-load.c, _dl_map_object): a program that brings along
 * its own liblzma would find the system's in its place, which libunwind needs.  So what lies beside the interpreter, in
 * PREFIX/lib for PREFIX/bin, is loaded first.  (Where the interpreter has a DT_RPATH, the loader looks there itself.)
 */
static void open_beside_interpreter(const char *name)
{
    static char path[SHIM_PATH_BYTES]; /* static: a thread's stack may be small */
    struct shim_text text;
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0 || (size_t)n >= sizeof path - 1) /* a part of a name is another one */
        return;
    path[n] = 0;
    char *end = strrchr(path, '/');
    if (end)
        *end = 0;
    end = strrchr(path, '/');
    if (!end || strcmp(end, "/bin") != 0)
        return;
    text = (struct shim_text){.bytes = path, .used = (size_t)(end - path), .room = sizeof path};
    shim_text_add(&text, "/lib/");
    shim_text_add(&text, name);
    if (!text.cut)
        dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

shim_backtrace *shim_unwind_open(void)
{
    static const char name[] = "libunwind.so.8", needed[] = "liblzma.so.5";
    /* Where the program has it, its pipe is the program's, too, and it stays as it is. */
    void *library = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
    bool ours = !library;
    /* RTLD_LOCAL: its names, some of which are those of libgcc, stay out of the program's sight.  RTLD_NOW: no symbol
     * is looked up later, where the loader's lock must not be asked for. */
    if (!library) {
        open_beside_interpreter(needed);
        open_beside_interpreter(name);
        library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
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
