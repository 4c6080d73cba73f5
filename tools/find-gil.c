/* SPDX-License-Identifier: MIT */
/*
 * find-gil.c - from /proc/PID/maps to _PyRuntime, to the interpreters, to their GILs.
 *
 * Offsets are those of the releases' own headers (Include/internal/pycore_runtime.h, pycore_interp.h, pycore_ceval.h,
 * Include/cpython/pystate.h), constant within each minor version; _Py_DebugOffsets (3.13+) names the version.  Each
 * finding is checked against what must hold in a live interpreter before it is believed.
 */
#include "find-gil.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "find-module.h"
#include "peer.h"

#define THREADS_MAX 100000 /* a list that bites its tail ends here */
#define INTERPRETERS_MAX 1000
#define START_TRIES 100 /* of 10 ms: an interpreter that is just starting */

/* clang-format off */
static const struct find_layout layouts[] = {
    /*   next    id threads  gil  head  main    gil  tid  native */
    { 8,    0,   16,     8,    0,   32,   72, 1152, 176,    0},
    { 9,    0,   24,     8,    0,   32,   72,  352, 176,    0},
    {10,    0,   24,     8,    0,   32,   72,  352, 176,    0},
    {11,    0,   48,    16,    0,   40,   80,  360, 152,  160},
    {12,    0,    8,    72,  384,   40,   64,    0, 136,  144},
    {13, 7264, 7272,  7344,   16,  632,  656,    0, 152,  160},
    {14, 7272, 7280,  7344,   16,  808,  832,    0, 152,  160},
    {15, 7264, 7272,  7336,   16,  936,  960,    0, 176,  184},
};
/* clang-format on */
#define PTHREAD_TID 720 /* struct pthread.tid of glibc on x86-64, where pthread_self() points to.  nptl/descr.h */
enum { HEAD_WORDS = 64, TSTATE_NEXT = 8, TSTATE_INTERP = 16, DEBUG_VERSION = 8, DEBUG_FREE_THREADED = 16 };

static const struct find_layout *layout_of(uint32_t minor)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (layouts[i].minor == minor)
            return &layouts[i];
    return NULL;
}

/* Whether the list of an interpreter's threads is one: every thread says that it belongs to it. */
static bool threads_fit(int pid, const struct find_layout *l, uint64_t interp)
{
    uint64_t tstate = peer_pointer(pid, interp + l->interp_threads);

    if (!tstate)
        return false;
    for (int i = 0; tstate && i < 8; i++) {
        if (peer_pointer(pid, tstate + TSTATE_INTERP) != interp)
            return false;
        tstate = peer_pointer(pid, tstate + TSTATE_NEXT);
    }
    return true;
}

/* Whether there is a GIL: as many of its fields as have a known range are in it. */
static bool gil_fits(int pid, uint64_t gil)
{
    struct {
        uint64_t interval_us, last_holder;
        int32_t locked, pad;
        uint64_t switch_number;
    } g;

    if (peer_read(pid, gil, &g, sizeof g))
        return false;
    return g.interval_us >= 1 && g.interval_us <= 1000000000 && g.locked >= 0 && g.locked <= 1 &&
           (g.last_holder == 0 || (g.last_holder > 4096 && !(g.last_holder & 7) && !(g.last_holder >> 56))) &&
           g.switch_number < (uint64_t)1 << 56 && (!g.locked || g.last_holder);
}

/* Whether the last holder is a thread of an interpreter; one that has ended since is not, so that it is asked often. */
static bool holder_fits(const struct find_process *p, uint64_t gil)
{
    for (int i = 0; i < 50; i++) {
        uint64_t holder = peer_pointer(p->pid, gil + GIL_LAST_HOLDER);
        uint64_t interp = holder ? peer_pointer(p->pid, holder + TSTATE_INTERP) : 0;
        struct timespec pause = {0, 2000000};
        if (interp && threads_fit(p->pid, &p->layout, interp))
            return true;
        if (!(uint32_t)peer_pointer(p->pid, gil + GIL_LOCKED)) /* free: the last one may have been the last for long */
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

static void add_gil(struct find_process *p, uint64_t address, int64_t interpreter)
{
    for (uint32_t i = 0; i < p->n_gils; i++)
        if (p->gil[i].address == address)
            return;
    if (p->n_gils == FIND_GIL_MAX)
        p->n_gils_left_out++;
    else
        p->gil[p->n_gils++] = (struct find_gil){address, interpreter};
}

/* 1 = found, 0 = not there yet, -1 = this is no interpreter of that layout. */
static int try_layout(struct find_process *p)
{
    const struct find_layout *l = &p->layout;
    uint64_t interp = peer_pointer(p->pid, p->runtime + l->runtime_head);
    bool main_seen = false;

    p->n_gils = p->n_gils_left_out = 0;
    if (!interp)
        return 0;
    for (int i = 0; interp && i < INTERPRETERS_MAX; i++) {
        uint64_t gil = l->interp_gil ? peer_pointer(p->pid, interp + l->interp_gil) : p->runtime + l->runtime_gil;
        int64_t id = (int64_t)peer_pointer(p->pid, interp + l->interp_id);
        if (id < 0 || id > INT32_MAX)
            return -1;
        /* From 3.13 on one that runs nothing just now has no threads: Python/crossinterp.c makes one for each call. */
        bool rests = id > 0 && l->minor >= 13 && !peer_pointer(p->pid, interp + l->interp_threads);
        if (gil && (rests || threads_fit(p->pid, l, interp)) && gil_fits(p->pid, gil) && holder_fits(p, gil)) {
            add_gil(p, gil, id);
            main_seen |= id == 0;
        } else if (id == 0) {
            return -1;
        }
        interp = peer_pointer(p->pid, interp + l->interp_next);
    }
    if (!main_seen)
        return -1;
    /* The main interpreter's first: a list has the newest first. */
    for (uint32_t i = 1; i < p->n_gils; i++) {
        if (p->gil[i].interpreter == 0) {
            struct find_gil first = p->gil[i];
            p->gil[i] = p->gil[0];
            p->gil[0] = first;
        }
    }
    p->interval_us = peer_pointer(p->pid, p->gil[0].address + GIL_INTERVAL);
    p->main_thread = peer_pointer(p->pid, p->runtime + l->runtime_main_thread);
    return 1;
}

static void set_version(struct find_process *p, uint32_t hex)
{
    p->hex = hex;
    snprintf(p->version, sizeof p->version, "%u.%u.%u", hex >> 24, hex >> 16 & 255, hex >> 8 & 255);
}

/* Finds out the version; false if it is not one that can be measured, and error[] says so. */
static bool read_version(struct find_process *p, uint64_t base, char *error)
{
    char cookie[8];
    uint64_t at = peer_symbol(p->pid, base, "Py_Version", NULL); /* 3.11+ */
    uint32_t hex = at ? (uint32_t)peer_pointer(p->pid, at) : find_module_version(p->pid, base, p->module);

    if (!hex) {
        snprintf(error, FIND_GIL_ERROR_BYTES, "the version of CPython in %s cannot be told", p->module);
        return false;
    }
    set_version(p, hex);
    const struct find_layout *l = hex >> 24 == 3 ? layout_of(hex >> 16 & 255) : NULL;
    if (!l) {
        snprintf(error, FIND_GIL_ERROR_BYTES, "it runs CPython %s; gilscope attaches to 3.8 to 3.15", p->version);
        return false;
    }
    p->layout = *l;
    if (l->minor >= 13 && !peer_read(p->pid, p->runtime, cookie, sizeof cookie) && !memcmp(cookie, "xdebugpy", 8) &&
        peer_pointer(p->pid, p->runtime + DEBUG_FREE_THREADED) == 1) {
        snprintf(error, FIND_GIL_ERROR_BYTES,
                 "it runs a free-threaded build of CPython %s: there is no GIL that attach could measure", p->version);
        return false;
    }
    return true;
}

static int find(int pid, int tries, struct find_process *found, char *error)
{
    struct find_module module;
    int result = 0;

    memset(found, 0, sizeof *found);
    found->pid = pid;
    for (int i = 0; i < tries && result == 0; i++) {
        struct timespec pause = {0, 10000000};
        if (i)
            nanosleep(&pause, NULL);
        if (find_module(pid, &module, error)) {
            if (module.is_certain || i > tries / 4)
                return -1;
            continue; /* between exec and the loading of its libraries, perhaps */
        }
        found->runtime = module.runtime;
        snprintf(found->module, sizeof found->module, "%s", module.path);
        if (!read_version(found, module.base, error))
            return -1;
        result = try_layout(found);
        if (result < 0 && i < tries / 4)
            result = 0; /* it changes under our eyes, perhaps */
        snprintf(error, FIND_GIL_ERROR_BYTES, "its interpreter (CPython %s) has not started yet, or has ended",
                 found->version);
    }
    if (result < 0)
        snprintf(error, FIND_GIL_ERROR_BYTES,
                 "its memory does not look like that of CPython %s: a debug or a modified build, perhaps",
                 found->version);
    return result == 1 ? 0 : -1;
}

int find_gil(int pid, struct find_process *found, char error[FIND_GIL_ERROR_BYTES])
{
    return find(pid, START_TRIES, found, error);
}

int find_gil_now(int pid, struct find_process *found, char error[FIND_GIL_ERROR_BYTES])
{
    return find(pid, 1, found, error);
}

bool find_gil_is_there(const struct find_process *p)
{
    return gil_fits(p->pid, p->gil[0].address);
}

uint32_t find_gil_again(struct find_process *p)
{
    struct find_process now = *p; /* where _PyRuntime is, which takes long to find among many libraries, is known */
    uint32_t before = p->n_gils;

    if (p->layout.interp_gil == 0 || try_layout(&now) != 1)
        return 0;
    for (uint32_t i = 0; i < now.n_gils; i++)
        add_gil(p, now.gil[i].address, now.gil[i].interpreter);
    return p->n_gils - before;
}

static uint32_t native_id(const struct find_process *p, uint64_t tstate, uint64_t pthread_id)
{
    const struct find_layout *l = &p->layout;

    return (uint32_t)peer_pointer(p->pid,
                                  l->tstate_native_id ? tstate + l->tstate_native_id : pthread_id + PTHREAD_TID);
}

bool find_gil_is_still(const struct find_process *p, const struct find_thread *thread)
{
    return peer_pointer(p->pid, thread->tstate + p->layout.tstate_thread_id) == thread->pthread_id &&
           native_id(p, thread->tstate, thread->pthread_id) == thread->native_id;
}

/* What is needed of a PyThreadState, by one call: 1,000 of them are read every second.  Returns the next one; 0 where
 * there is none, or this one has been freed. */
static uint64_t read_thread(const struct find_process *p, uint64_t interp, uint64_t tstate, struct find_thread *thread)
{
    const struct find_layout *l = &p->layout;
    const size_t last = l->tstate_native_id > l->tstate_thread_id ? l->tstate_native_id : l->tstate_thread_id;
    uint64_t head[HEAD_WORDS];

    if (last >= sizeof head || peer_read(p->pid, tstate, head, (last / 8 + 1) * 8) != 0 ||
        head[TSTATE_INTERP / 8] != interp)
        return thread->tstate = 0;
    thread->tstate = tstate;
    thread->pthread_id = head[l->tstate_thread_id / 8];
    thread->native_id = l->tstate_native_id ? (uint32_t)head[l->tstate_native_id / 8]
                                            : native_id(p, tstate, thread->pthread_id);
    return head[TSTATE_NEXT / 8];
}

uint32_t find_gil_threads(const struct find_process *p, struct find_thread *threads, uint32_t max)
{
    const struct find_layout *l = &p->layout;
    uint64_t interp = peer_pointer(p->pid, p->runtime + l->runtime_head);
    uint32_t n = 0, steps = 0;

    for (int i = 0; interp && i < INTERPRETERS_MAX; i++) {
        uint64_t tstate = peer_pointer(p->pid, interp + l->interp_threads);
        while (tstate && n < max && steps++ < THREADS_MAX) {
            tstate = read_thread(p, interp, tstate, &threads[n]);
            n += threads[n].tstate != 0;
        }
        interp = peer_pointer(p->pid, interp + l->interp_next);
    }
    return n;
}
