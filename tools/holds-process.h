/* SPDX-License-Identifier: MIT */
/*
 * holds-process.h - one process whose GIL's holder is looked at from outside.  One thread only may use this.
 */
#ifndef GILSCOPE_HOLDS_PROCESS_H
#define GILSCOPE_HOLDS_PROCESS_H

#include "cpython-frames.h"
#include "holds-file.h"
#include "holds-memory.h"
#include "holds-plan.h"
#include "holds-sum.h"
#include "holds-table.h"
#include "maps.h"
#include "recscan.h"

#define HOLDS_GILS 8 /* of one process that are looked at */
#define HOLDS_PYTHON_FRAMES 2000

struct holds_call { /* that the holder was found in */
    uint64_t function, frame, code, hold_ticks, n_changes;
    int64_t at;
    uint64_t since_ns; /* the first look that found it there, in this hold */
};

struct holds_gil { /* as seen last */
    uint64_t at;   /* offset of its record in the process's recording */
    uint64_t cond; /* address of gil->cond in the process */
    uint32_t holder;
    uint64_t n_changes, n_waiters, state_ticks;
    uint64_t waiters_at_ticks; /* they have been the same since then, or since the hold began */
    uint64_t held_ticks;    /* how long it had been held up to the begin of the present hold */
    uint64_t charged_ticks; /* what the holder has been charged with up to then */
    struct holds_sum held_sum;
    struct holds_call call;
    uint32_t state; /* the holder's, REC_STATE_* */
};

struct holds_process {
    char *name; /* of its recording in the directory */
    int directory, fd, pid, pidfd;
    struct rec_header header;
    const struct cpython_layout *layout;
    struct recscan scan;
    struct holds_gil gil[HOLDS_GILS];
    uint32_t n_gils;
    uint64_t code_type; /* of code objects, once seen */
    struct holds_table places;
    struct maps maps;
    size_t maps_written;
    struct holds_file *file; /* NULL = nothing has been seen yet */
    bool no_file;            /* it cannot be made */
    bool no_native;
    struct holds_table charged; /* by thread: 1 + index of charged_sum[] */
    struct holds_sum *charged_sum;
    size_t n_charged, charged_room;
    double ns_per_tick; /* of the recording's clock, as far as is known; 0 = not yet */
    struct holds_memory memory;
    /* for the loop */
    struct holds_plan plan;
    uint64_t mean_ns, changed_ns, checked_ns;
};

/* Opens the recording `name` in the directory open as `directory`; NULL if there is nothing to be seen: not a live
 * CPython with a GIL whose layout is known, on this machine, or no memory.  *later: it may be worth another try.
 * no_native: Python frames only. */
struct holds_process *holds_process_new(int directory, const char *name, bool no_native, bool *later);
void holds_process_free(struct holds_process *p, uint64_t now_ns);

enum holds_look {
    HOLDS_IDLE, /* nothing has changed since the last look, and nobody holds a GIL */
    HOLDS_BUSY,
    HOLDS_OVER, /* it has ended, or may not be read */
};

/* Looks at the holders of its GILs, as was due at due_ns; what they do stands for stands_for_ns. */
enum holds_look holds_process_look(struct holds_process *p, uint64_t due_ns, uint64_t now_ns, uint64_t stands_for_ns);

/* Whether it has ended. */
bool holds_process_ended(const struct holds_process *p);

#endif
