/* SPDX-License-Identifier: MIT */
/* shim-name.c - the calling thread's name. */
#define _GNU_SOURCE
#include "shim-name.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cpython.h"
#include "shim-file.h"
#include "shim.h"

/* From 3.14 on, a threading.Thread gives its name to the kernel (Lib/threading.py, _set_os_name). */
#define PYTHON_NAMES_THREADS 0x030e0000u

/* Through the kernel, although it is our own memory: a layout that does not fit costs a name, not the process. */
int shim_name_read_self(const void *address, void *bytes, size_t n)
{
    struct iovec local = {bytes, n}, remote = {(void *)(uintptr_t)address, n};
    return process_vm_readv((pid_t)SHIM.pid, &local, 1, &remote, 1, 0) == (ssize_t)n ? 0 : -1;
}

static int read_self(void *context, uint64_t address, void *bytes, size_t n)
{
    (void)context;
    return shim_name_read_self((const void *)(uintptr_t)address, bytes, n);
}

void shim_name_at_end(struct rec_thread *tr)
{
    char os_name[16] = "";
    if (tr->name_source != REC_NAME_NONE || SHIM.python_hex < PYTHON_NAMES_THREADS)
        return;
    if (prctl(PR_GET_NAME, os_name) != 0 || !os_name[0])
        return;
    memcpy(tr->name, os_name, sizeof os_name);
    tr->name_source = REC_NAME_OS;
}

void shim_name_read(uintptr_t tstate)
{
    struct rec_thread *tr = T.rec;
    char name[sizeof tr->name] = "";
    enum rec_name_source source = REC_NAME_NONE;
    const struct cpython_layout *layout = cpython_layout(SHIM.python_hex);

    if (layout && tstate && !(tr->flags & REC_THREAD_MAIN)) {
        switch (cpython_thread_name(layout, read_self, NULL, tstate, name, sizeof name)) {
        case CPYTHON_NAME_THREAD:
            source = REC_NAME_PYTHON;
            break;
        case CPYTHON_NAME_FUNCTION:
            source = REC_NAME_FUNCTION;
            break;
        case CPYTHON_NAME_NONE:
            break;
        }
    }
    if (tr->flags & REC_THREAD_MAIN) {
        memcpy(name, "MainThread", sizeof "MainThread");
        source = REC_NAME_PYTHON;
    } else if (source == REC_NAME_NONE && tr->name_source <= REC_NAME_OS) {
        char os_name[16] = "";
        if (prctl(PR_GET_NAME, os_name) == 0 && os_name[0]) {
            memcpy(name, os_name, sizeof os_name);
            source = REC_NAME_OS;
        }
    }
    /* A thread's name is better than that of a function: a greenlet's outermost frame is not the thread's. */
    if (source == REC_NAME_NONE || (source != REC_NAME_PYTHON && tr->name_source == REC_NAME_PYTHON))
        return;
    memcpy(tr->name, name, sizeof tr->name);
    tr->name_source = source;
}
