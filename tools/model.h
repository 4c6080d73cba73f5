/* SPDX-License-Identifier: MIT */
/*
 * model.h - what a recording means: every number that a view prints.
 *
 * Built once from the files (model_load), read by the views and the verdict, never changed after.  Times are in ns of
 * measured time (pauses left out), shares are 0..1.  Strings are valid UTF-8, but may have control characters.
 */
#ifndef GILSCOPE_MODEL_H
#define GILSCOPE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model-stacks.h"
#include "verdict.h"

struct model_dist { /* of a histogram; 0 where it is empty */
    uint64_t count, sum_ns, p50_ns, p90_ns, p99_ns, max_ns;
};

/* Of holds that were sampled only the number and the sum are known: samples see neither where one begins nor where it
 * ends. */
static inline bool model_dist_has_quantiles(const struct model_dist *dist)
{
    return dist->max_ns || !dist->count;
}

/* The states in which a thread lives.  Their sum is its wall time. */
struct model_states {
    uint64_t held_oncpu_ns, held_offcpu_ns, wait_blocked_ns, wait_wakeup_ns, wait_forced_ns, released_oncpu_ns,
        released_offcpu_ns;
};

struct model_shares { /* of the thread's wall time, as above */
    double held_oncpu, held_offcpu, wait_blocked, wait_wakeup, wait_forced, released_oncpu, released_offcpu;
    double held, wait; /* on and off CPU; of all three kinds */
    double lock_wait;
    double error; /* as error_ns */
};

struct model_thread {
    uint32_t index, tid;
    char *name;        /* never empty */
    bool main, folded; /* folded: stands for n_folded threads that have ended */
    bool minor;        /* too little happened in it, or too many have more, for a line of its own */
    uint64_t n_folded;
    uint32_t gil;      /* index of the GIL that it used last */
    uint64_t start_ns; /* since the process's start */
    uint64_t wall_ns;
    uint64_t unexplained_ns; /* between start and end, but in none of the states: should be 0 */
    struct model_states states;
    struct model_shares shares;
    uint64_t held_ns, released_ns; /* on and off CPU */
    uint64_t wait_ns;              /* blocked and wake-up */
    uint64_t demand_ns;            /* held, waiting or computing without the GIL: what it wants to run */
    uint64_t lock_wait_ns, notify_wait_ns, gil_lock_wait_ns; /* as in record.h, open waits included */
    uint64_t charged_ns;
    uint64_t
        error_ns; /* sampled: held, wait, forced and released time are off by at most so much, in 95 of 100 cases */
    uint64_t run_delay_ns;
    uint64_t run_delay_unknown_ns; /* for so long it is not known; at most that much is missing from it */
    bool open_lock; /* it was in a lock wait at the end */
    uint64_t acquisitions, contended, drop_requests, forced_switches, lost_wakeups, forced_max_ns;
    struct model_dist wait, hold, lock_wait, long_released;
};

struct model_gil {
    uint32_t index;
    uint64_t wall_ns, held_ns, held_offcpu_ns, free_ns, wait_ns, wait_blocked_ns, wait_wakeup_ns, wait_forced_ns;
    uint64_t acquisitions, contended, drop_requests, forced_switches, lost_wakeups, switches;
    double held_share, free_share, forced_share; /* of wall_ns; of switches */
    struct model_dist wait, hold;                /* over its threads */
};

struct model_pair {
    uint32_t waiter, holder; /* thread index; holder 0: no thread that is known */
    uint32_t waiter_tid, holder_tid;
    uint64_t ns;
    double share; /* of all blocked waiting in the process */
};

struct model_loss {
    const char *cause;
    uint64_t count;
};

struct model_totals { /* over the threads of a process */
    struct model_states states;
    struct model_shares shares; /* of wall_ns */
    uint64_t wall_ns, held_ns, wait_ns, wanted_ns /* the GIL: both */, oncpu_ns, demand_ns, lock_wait_ns,
        notify_wait_ns, gil_lock_wait_ns, run_delay_ns, charged_ns, long_released;
    uint64_t acquisitions, contended, forced_switches, lost_wakeups;
    bool has_native_cpu;    /* the next is known */
    uint64_t native_cpu_ns; /* CPU time of threads that never took the GIL, such as those of OpenMP */
    double oncpu_cpus;      /* processors in use, on average, by these too */
    double wait_share;      /* of the time in which threads wanted to run */
    double waiting;         /* threads waiting for the GIL, on average */
};

struct model_process {
    char *path; /* of the file */
    uint32_t pid, ppid;
    const char *source;                    /* "preload", "bpf", "sample" */
    char *host, *python, *command, *start; /* command: in one line; start: RFC 3339 */
    char **argv;
    size_t argc;
    char *inert; /* why nothing was measured, or not all; NULL if all is well */
    char *note;  /* how exact the figures are, in one sentence; NULL where there is nothing to say */
    bool free_threaded, complete, running, paused;
    bool replaced; /* it went on as another program, by exec; the recording has that one, too, if it is a CPython */
    bool cut;      /* measuring ended before the process did: its file was cut short, or the collector did not finish */
    bool end_seen; /* its end is known, or it runs */
    int end_signal, end_status; /* how it ended, where that is known of one that is not complete; 0 and -1 where not */
    uint32_t cpus;      /* that it could run on */
    double cpu_limit;   /* of processors, by its control groups; 0 = none, or not known */
    double usable_cpus; /* the smaller of the two */
    double beside_cpus; /* processors that the other processes of the recording used meanwhile, on average */
    uint64_t stopped_ns; /* by signals or a debugger, to 0.1 s or so; 0: not, or not known */
    uint64_t n_limit_periods, n_limit_reached; /* periods of that limit, and those in which it stopped all; 0: not known */
    uint64_t wall_ns, switch_interval_ns;
    uint64_t n_threads_ever;
    struct model_gil *gils;
    size_t n_gils;
    struct model_thread *threads;
    size_t n_threads;
    struct model_thread rest; /* sums over the minor threads, n_folded of them; without distributions */
    struct model_pair *pairs; /* the longest first */
    size_t n_pairs;
    bool waiting_matters;      /* there was enough of it to look at the pairs */
    struct model_loss *losses; /* those that are not 0 */
    size_t n_losses;
    const char *estimated[24]; /* names of fields of the JSON report */
    size_t n_estimated;
    struct model_totals totals;
    struct model_stacks stacks;
    struct verdict verdict;
    int depth;  /* in the tree of processes; parents come before their children */
    bool minor; /* next to nothing happened in it, or too many have more to tell */
    /* for the tree */
    uint64_t proc_start_jiffies;
    int64_t start_realtime_ns;
};

struct model_failure { /* a file that could not be read */
    char *error;
};

struct model {
    struct model_process *processes;
    size_t n_processes;
    struct model_failure *failures;
    size_t n_failures;
    size_t n_minor; /* processes */
};

/* Reads what names stand for (files and directories) and works out the model.  Files that cannot be read are in
 * failures.  The caller ends it with model_free(). */
void model_load(struct model *model, char *const *names, size_t n_names);
void model_free(struct model *model);

/* The thread with an index; NULL for 0 and for one that has no record. */
const struct model_thread *model_find_thread(const struct model_process *process, uint32_t index);

#endif
