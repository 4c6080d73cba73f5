/* SPDX-License-Identifier: MIT */
/*
 * collect-sample.h - what the parts of the sampler share.
 */
#ifndef GILSCOPE_COLLECT_SAMPLE_H
#define GILSCOPE_COLLECT_SAMPLE_H

#include <pthread.h>

#include "collect-stacks.h"
#include "collect.h"
#include "threads.h"

enum sample_doing { SAMPLE_SLEEPS, SAMPLE_RUNS, SAMPLE_WANTS, SAMPLE_LETS_GO, SAMPLE_GONE };

struct sample_thread {
    uint32_t tid, outer_tid; /* as the process sees it; as we do */
    int syscall_fd, schedstat_fd;
    bool seen;
    uint32_t gil; /* used most, by gil_votes_ns */
    uint64_t gil_votes_ns;
    uint64_t pthread_id; /* 0 = it has no thread state, or it is not known which */
    uint64_t start_ns, end_ns, last_ns;
    uint64_t cpu_last_ns, run_delay_first_ns, run_delay_ns; /* of schedstat */
    uint64_t slices;                                        /* how often it has got a processor, of schedstat */
    /* by looks */
    uint64_t held_ns, held_cpu_ns, released_ns, released_cpu_ns, wait_ns, blocked_ns, forced_ns, charged_ns,
        wait_open_ns, contended;
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

struct sample_process {
    struct find_process found;
    struct threads_list list;
    bool used;
    uint64_t start_ns, now_ns, list_ns;
    uint64_t n_looks;
    struct sample_thread *threads;
    size_t n_threads, capacity;
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

/* Looks which threads there are, and which of them are Python's. */
void sample_see_threads(struct sample_process *p);

/* Puts all that is known of a process into a recording. */
void sample_picture(struct sample_process *p, struct recwriter *writer, uint64_t now_ns);

#endif
