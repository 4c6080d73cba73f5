/* SPDX-License-Identifier: MIT */
/*
 * verdict-facts.h - what the parts of the verdict share: thresholds and what they are compared with.  For verdict*.c.
 */
#ifndef GILSCOPE_VERDICT_FACTS_H
#define GILSCOPE_VERDICT_FACTS_H

#include <stdbool.h>

#include "model.h"

/* The thresholds.  gilscope-report(1) has the same table, under VERDICT. */
struct verdict_limits {
    double startup_ns;         /* of the main thread's CPU time: imports are not what the program does */
    double startup_share;      /* but no more than this part of the process's time */
    double gil_wait_share;     /* gil-bound: of the time in which threads wanted to run, that they waited for the GIL */
    double gil_waiting;        /* gil-bound: threads waiting for the GIL, on average */
    double lock_wait_share;    /* lock-bound: the same for locks, of wanting to run or to have the lock */
    double lock_waiting;       /* lock-bound: threads waiting for a lock that another one has, on average */
    double run_delay_share;    /* cpu-starved: of the time in which threads could have run, without a processor */
    double run_delay_threads;  /* cpu-starved: threads without a processor, on average */
    double runner_up;          /* mixed: the second cause of waiting is this large a part of the first */
    double limit_share;        /* cpu-starved: of its group's limit, in use; or of periods, reached */
    double saturated_share;    /* gil-bound and not mixed, where the second cause is locks: of the time, GIL held, */
    double saturated_waiting;  /* and threads waiting for it, on average */
    double idle_cpus;          /* idle, io-bound: processors in use, at most */
    double idle_rate_per_s;    /* idle: times a second that a thread leaves the GIL for a time that matters, at most */
    double io_cpus;            /* io-bound: processors in use, at most, where threads wait in between */
    double io_share;           /* io-bound: of the working threads' time, asleep, but not for a lock that another has */
    double io_rate_per_s;      /* io-bound: times a second that a thread leaves the GIL for 0.1 ms or longer, at least */
    double parallel_cpus;      /* gil-releasing: processors in use, at least */
    double released_share;     /* gil-releasing: of the CPU time, without the GIL */
    double native_share;       /* gil-releasing and not io-bound: of the CPU time, that of native threads */
    double one_thread_share;   /* single-threaded: of the CPU time, that of one thread */
    double lost_per_contended; /* starvation: wake-ups lost for each wait */
    double starved_intervals;  /* starvation: the longest wait, in switch intervals */
    double long_hold_intervals; /* the GIL is kept although others ask for it: usual hold, in switch intervals */
    double sleeps_share;        /* the GIL is kept while asleep: of the time held, off CPU without waiting for one */
    double forced_share;        /* forced switches cost: of the time in which threads wanted to run */
    double gil_lock_share;      /* a lock is waited for with the GIL held: of the process's time */
};
extern const struct verdict_limits verdict_limits; /* verdict.c */

struct verdict_facts {
    const struct model_process *process;
    /* ns, summed over threads */
    double wall;          /* the process's, not summed */
    double startup;       /* of the main thread's CPU time, taken for imports */
    double demand;        /* wanting to run, start-up left out */
    double work;          /* on CPU, start-up left out; that of native threads, which never take the GIL, too */
    double gil_wait;      /* for the GIL, without what a want of processors adds to it */
    double had_processor; /* not ns: of the time in which the GIL was held, that its holder did not lack a processor */
    double lock_wait;     /* for locks that others had; joins, notifications and want of a processor are left out */
    double run_delay;     /* runnable without processor, when it would have been of use */
    double limit_wait;    /* for the GIL, while its holder was kept from running by the limit of the control group */
    double lacking;       /* the sum of the two */
    double preempted;     /* of run_delay: behind a processor that was taken away, not behind a wake-up */
    double limit_reached; /* not ns: of the periods of that limit, those in which it stopped all threads, 0 = unknown */
    double stopped;       /* not ns: the part of the time in which the process was stopped by a signal or a debugger */
    bool at_limit;        /* the process uses what its control group may use: without the GIL it would not get more */
    double released_work; /* on CPU without the GIL, native threads too */
    double io_wait;       /* of threads that work: asleep, for other reasons than a lock that another one has */
    double io_threads_wall; /* the wall time of these threads */
    /* derived */
    double gil_wait_share, lock_wait_share, run_delay_share, lacking_share, io_share;
    double gil_waiting, lock_waiting, delayed, cpus_used; /* on average */
    double lacking_threads, preempted_threads;            /* likewise */
    double released_share;                                /* of work */
    double native_share;                                  /* of work: that of native threads */
    double top_share;                                     /* of work: the busiest thread's */
    double rate_per_s, matter_per_s;                      /* long intervals without the GIL, and those that matter */
    double lost_threads;                                  /* of all threads: that were not measured */
    unsigned n_workers; /* threads with a tenth of the busiest one's work; the native ones together are one more */
    const struct model_thread *top; /* the busiest, NULL without threads */
    /* patterns */
    const struct model_thread *starved;   /* waits long though the GIL is given up often, or NULL */
    const struct model_thread *keeper;    /* keeps the GIL far beyond the switch interval, or NULL */
    const struct model_thread *sleeper;   /* keeps it while it is off CPU, or NULL */
    const struct model_thread *convoy;    /* short holds, and long waits behind ... */
    const struct model_thread *convoy_by; /* ... one that computes; or NULL; where it is several, only this one is */
};

/* --- verdict-facts.c */
void verdict_gather(const struct model_process *process, struct verdict_facts *facts);

/* Whether the thread has a real part in the work: a tenth of the busiest one's, at least.  Once facts->top is known. */
bool verdict_is_worker(const struct verdict_facts *facts, const struct model_thread *thread);

/* How much others wait for a thread's part in locks: without joins, see verdict-facts.c.  ns */
double verdict_thread_lock_wait(const struct model_process *process, const struct model_thread *thread);

/* The same, without what was a want of a processor once the lock had been let go.  ns */
double verdict_lock_wait_alone(const struct verdict_facts *facts, const struct model_thread *thread);

/* --- verdict-speedup.c: fills speedup_low and speedup_high. */
void verdict_speedup(const struct verdict_facts *facts, struct verdict *verdict);

/* --- verdict-stacks.c: the sentence that names the function that others waited for most, to be freed; NULL if the
 * recording does not tell. */
char *verdict_look_first(const struct model_process *process);

/* --- verdict-text.c: fills the summary, the evidence and the advice; class and speed-up are there. */
void verdict_describe(const struct verdict_facts *facts, struct verdict *verdict);

#endif
