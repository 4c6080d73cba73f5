/* SPDX-License-Identifier: MIT */
/*
 * model-build.h - what the parts of the model share while they work one file out.  For model*.c only.
 */
#ifndef GILSCOPE_MODEL_BUILD_H
#define GILSCOPE_MODEL_BUILD_H

#include "model.h"
#include "reader.h"

struct build_span {
    uint64_t from, to; /* ticks */
};

struct build {
    const struct reader_file *file;
    const struct reader_file *holds; /* what was seen from outside while threads held the GIL; NULL = nothing */
    struct model_process *process;
    double ns_per_tick;
    uint64_t end_ticks; /* the recording ends here: end of the process, or now */
    struct build_span pauses[REC_TOGGLES / 2 + 1];
    size_t n_pauses;
    bool keeps_pauses;       /* records say how long measuring had been paused before (REC_THREAD_PAUSES) */
    uint64_t paused_ticks;   /* how long measuring was paused up to the end, but for a pause that lasts yet */
    uint64_t wall_ticks;     /* measured time of the process */
    uint64_t stop_ticks;     /* the end, or where a pause began that lasts yet */
    uint64_t n_lost_toggles; /* pauses and resumes that the header does not have any more */
    bool replaced;           /* by exec: the next program's recording is there, too */
    bool running;            /* the process still runs, and still under this recording */
    bool end_seen;           /* that, or its end is known */
    bool calibrated;         /* ns_per_tick is known, not assumed */
    uint64_t unexplained_ns; /* summed over threads that have much of it */
    double cpu_unsure_ns;    /* CPU time that may have been used with the GIL or without it */
    double python_cpu_ns;    /* CPU time of the threads that have records, that of waits too */
};

/* --- model-time.c */
/* Sets the clock's rate, the end and the pauses.  others: all files of the report, to see where one process went on to
 * another program. */
void build_time(struct build *build, struct reader_file *const *others, size_t n_others);
/* Whether measuring ended before the process did: its file was cut short, or the collector was. */
bool build_is_cut(const struct build *build);
/* Whether the thread's seen_... are its own, and lie in its time. */
bool build_seen(const struct build *build, const struct rec_thread *thread);
/* Ticks between two instants without the pauses; 0 if they are in the wrong order. */
uint64_t build_measured(const struct build *build, uint64_t from, uint64_t to);
/* Ticks from an instant, before which measuring had been paused for paused_ticks, to the end. */
uint64_t build_measured_since(const struct build *build, uint64_t from, uint64_t paused_ticks);
/* The same of a thread: from `from`, in the state that it is in. */
uint64_t build_open(const struct build *build, const struct rec_thread *thread, uint64_t from);
/* Ticks as ns, rounded; never above 36 years, so that the parts of one thread's time can be added up. */
uint64_t build_ns(const struct build *build, uint64_t ticks);

/* --- model-gil.c */
/* The GIL with an index, NULL if there is none. */
const struct rec_gil *build_gil(const struct build *build, uint32_t index);
/* True if it is not known who has it since a pause, and may become known, as the process runs. */
bool build_gil_unknown(const struct build *build, const struct rec_gil *gil);
/* Is it known of the thread, not seen since pause n_toggles, that it does not hold a GIL? */
bool build_gil_is_not_held_by(const struct build *build, const struct rec_thread *thread);
/* The thread that has had the GIL since unknown_since_ticks, NULL if that is not known. */
const struct rec_thread *build_gil_unseen_holder(const struct build *build, const struct rec_gil *gil);
/* True if somebody held it at the end. */
bool build_gil_locked(const struct build *build, const struct rec_gil *gil);
/* H(t): ticks for which a GIL was held up to its end or the recording's. */
uint64_t build_gil_held(const struct build *build, const struct rec_gil *gil);
/* W at the end minus W when the present hold began, in ticks: what its holder is to be charged yet; 0 if it is free. */
uint64_t build_gil_open_charge(const struct build *build, const struct rec_gil *gil);
/* Fills process->gils; after the threads. */
void build_gils(struct build *build);

/* --- model-end.c */
/* How the process ended, as far as is known. */
void build_end(struct build *build);
/* Says how exact the figures are, and what is not known; after all others. */
void build_note(struct build *build);

/* --- model-thread.c */
/* A thread's sums with its open interval closed at the end, in ticks. */
struct build_closed {
    uint64_t held, released, blocked, wakeup, forced;
    uint64_t open_held, open_wait; /* of these, from the open interval */
    uint64_t end_ticks;            /* the thread's end, or the recording's */
};
void build_close(const struct build *build, const struct rec_thread *thread, struct build_closed *closed);
/* Fills process->threads. */
void build_threads(struct build *build);

/* --- model-cpu.c */
/* Splits a thread's held and released time (states' sums: held_ns, released_ns) into on and off CPU. */
void build_cpu(struct build *build, const struct rec_thread *rec, const struct build_closed *closed,
               struct model_thread *thread);
/* Sets the CPU time of the process's other threads; after the threads. */
void build_native_cpu(struct build *build);

/* --- model-limit.c: cpu_limit and what it did.  After cpus. */
void build_cpu_limit(struct build *build);

/* --- model-hist.c */
/* The distribution of one thread's histogram. */
void build_dist(const struct build *build, const struct rec_thread *thread, enum rec_hist_kind kind,
                struct model_dist *dist);
/* The same over all threads that used a GIL last. */
void build_gil_dist(const struct build *build, uint32_t gil, enum rec_hist_kind kind, struct model_dist *dist);

/* --- model-pairs.c */
/* Adds to ticks, by thread, what waits that are not in their thread's row yet are to charge holders with: what passed
 * before the GIL's own account of its waiters had them. */
void build_late_charges(const struct build *build, uint64_t *ticks);
/* Fills process->pairs; after the threads. */
void build_pairs(struct build *build);

/* --- model-totals.c */
/* Totals, shares and which threads are minor; after the GILs. */
void build_totals(struct build *build);
/* Which processes are minor; after all have been built. */
void build_minor(struct model *model);

/* --- model-samples.c */
/* Fills process->stacks with functions, frames and stacks, whose weights are ticks as yet; after the threads. */
void build_samples(struct build *build);

/* A call that is without the GIL for more than this part of what it holds lets go of it, where only the ends of holds
 * are known: a hold that ended because others asked for it leaves next to no time without the GIL behind it. */
#define BUILD_LETS_GO_SHARE 0.02

/* --- model-stacks.c */
/* Fills process->stacks; after the totals. */
void build_stacks(struct build *build);
void build_stacks_free(struct model_stacks *stacks);

/* --- model-hot.c */
/* What a stack was doing: its innermost Python frame, and the outermost one of an extension behind it.  Numbers of
 * frames; n_frames = none. */
struct model_doing {
    uint32_t python, extension;
    bool native; /* native frames were taken: if there is no extension, it was the interpreter */
};
struct model_doing build_doing(const struct model_stacks *stacks, const struct model_stack *stack);
/* Fills stacks.hot. */
void build_hot(struct build *build);

/* --- model-modules.c */
/* Fills stacks.modules and stacks.calls. */
void build_modules(struct build *build);

/* --- model-tree.c */
/* Puts parents before their children and sets their depth. */
void build_tree(struct model *model);

#endif
