/* SPDX-License-Identifier: MIT */
/*
 * collect-sample.h - what the parts of the sampler share.
 */
#ifndef GILSCOPE_COLLECT_SAMPLE_H
#define GILSCOPE_COLLECT_SAMPLE_H

#include <pthread.h>

#include "collect-stacks.h"
#include "collect.h"
#include "peer.h"
#include "threads.h"

enum sample_doing { SAMPLE_NOT_SEEN, SAMPLE_SLEEPS, SAMPLE_RUNS, SAMPLE_WANTS, SAMPLE_LETS_GO, SAMPLE_GONE };
enum sample_state { SAMPLE_HELD, SAMPLE_RELEASED, SAMPLE_WAIT, SAMPLE_FORCED, SAMPLE_STATES };

struct sample_thread {
    uint32_t index;          /* 1, 2, ...: in the recording */
    uint32_t tid, outer_tid; /* as the process sees it; as we do */
    int syscall_fd, schedstat_fd;
    bool is_new;  /* it was not there at the begin */
    uint32_t gil; /* used most, by gil_votes_ns */
    uint64_t gil_votes_ns;
    uint64_t pthread_id; /* 0 = it has no thread state, or it is not known which */
    uint64_t start_ns, last_ns,
        met_ns; /* of one that is new, the look before the first that found it; met_ns is that */
    bool runs;  /* at the last look, or it is ready to */
    bool ended; /* last_ns: the last look that found it */
    uint64_t cpu_last_ns, run_delay_first_ns, run_delay_ns; /* of schedstat */
    uint64_t slices;                                        /* how often it has got a processor, of schedstat */
    /* by looks */
    uint64_t held_ns, held_cpu_ns, released_ns, released_cpu_ns, wait_ns, blocked_ns, forced_ns, charged_ns,
        wait_open_ns, contended;
    uint64_t held_run_ns,
        released_run_ns; /* part of held_ns and released_ns: it had a processor, or was ready to run */
    uint64_t slept_cpu_ns; /* part of released_cpu_ns: used before a look that found it asleep */
    bool wait_is_open;
    double looks_ns, looks_ns2; /* what its looks stand for: the sum, and the sum of squares */
    uint64_t unsure_ns;         /* part of released_ns: perhaps it wanted the GIL */
    int last;                   /* enum sample_doing of the last look, */
    uint32_t wants;             /* the GIL that it waited for then, */
    uint64_t switches;          /* and how often that had changed hands */
    int doing;                  /* enum rec_weight of the last look, -1 = none of them */
    uint64_t lived_ns;          /* since its stack was taken last: what the next one stands for */
    struct recwriter_hist wait;
    struct recwriter_pair *pairs;
    size_t n_pairs, pairs_room;
    char name[64];
    enum rec_name_source name_source;
};

/* Ended threads that have no record of their own, of those that used one GIL most. */
struct sample_ended {
    struct sample_thread sum;
    uint64_t n, wall_ns;
};

struct sample_process {
    struct find_process found;
    struct threads_list list;
    struct peer_program program;
    bool used, has_gone; /* has_gone: it has become another program since the last look */
    uint64_t start_ns, now_ns, looked_ns, list_ns; /* looked_ns: the look before this one */
    uint64_t n_looks;
    uint32_t n_indices;
    struct sample_thread *threads; /* that live, as /proc lists them */
    size_t n_threads, capacity, cursor;
    struct sample_thread *ended; /* that have a record of their own */
    size_t n_ended, ended_capacity;
    struct sample_ended *folded[FIND_GIL_MAX];
    uint64_t n_folded, ended_native_ns; /* the CPU time of those that had nothing to do with a GIL */
    uint64_t ended_unknown_ns; /* the same of short lives: Python's, too, give up their thread state before they end */
    uint64_t cpu_first_ns, cpu_ns; /* of the whole process, at the begin and at the last look */
    uint64_t cpu_seen_ns;          /* of all that threads were seen to use since */
    /* How long new threads together were in each state: at this look, the sum over all looks, and that of squares. */
    uint64_t new_ns[SAMPLE_STATES];
    double new_sum[SAMPLE_STATES], new_sum2[SAMPLE_STATES], gap_sum2;
    struct collect_stacks *stacks; /* NULL = none are taken */
    size_t next_stack;
};

/* Opens /proc/PID/task/TID/FILE; -1 with errno. */
int sample_open_task(int pid, uint32_t tid, const char *file);

/* Reads a small file of a thread's from its beginning; false if the thread is gone.  There are too many to have all of
 * them open (fd < 0) where there are too many threads. */
bool sample_read(const struct sample_process *p, const struct sample_thread *t, int fd, const char *file, char *text,
                 size_t size);

/* A thread's time on processors, ns; that on run queues, and how often it has come to run, go to the thread. */
uint64_t sample_cpu_ns(const struct sample_process *p, struct sample_thread *t);

/* Closes its files: it has ended. */
void sample_close_thread(struct sample_thread *t);

/* The same, and gives back its memory. */
void sample_free_thread(struct sample_thread *t);

/* Looks which threads there are, and which of them are Python's.  Who has ended is not told by this. */
void sample_see_threads(struct sample_process *p);

/* Adds to what a thread has waited for the one with this index. */
void sample_add_pair(struct sample_thread *waiter, uint32_t holder, uint64_t ns);

/* Whether it has to do with a GIL. */
bool sample_is_python(const struct sample_thread *t);

/* Whether it has ended and was looked at so seldom that its processor time cannot be told by what it was at next. */
bool sample_is_short(const struct sample_thread *t);

/* Takes the threads that have ended out of the list of those that live; those that are too many are added up. */
void sample_sort_out_ended(struct sample_process *p);
void sample_free_ended(struct sample_process *p);

/* Adds up such sums, which keep their memory. */
void sample_add_folded(struct sample_ended *to, const struct sample_ended *from);

/* Puts all that is known of a process into a recording. */
void sample_picture(struct sample_process *p, struct recwriter *writer, uint64_t now_ns);

#endif
