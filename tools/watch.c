/* SPDX-License-Identifier: MIT */
/*
 * watch.c - when the processes of a recording are looked at, and that their ends are not missed.
 *
 * What all looks cost together is a small share of one processor, by this thread's own clock: where there are many
 * threads, they are looked at less often.
 */
#include "watch.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "holds-table.h"
#include "procstat.h"
#include "recdir.h"
#include "watch-process.h"

#define TURN_NS 100000000u
#define STOPPED_TURNS 4      /* without a turn for so long, we were stopped */
#define COST_PARTS 1000      /* looks at threads take one part in this many of a processor's time, at most, */
#define COST_PARTS_TURNS 200 /* and all else one in this many: where there are dozens of processes, turns are rarer */
#define PROCESSES_MAX 512
#define NAMES_MAX 65536u /* of recordings that have been tried: no directory of ours has more */
#define FILES_WANTED 4096
#define SETTLED_NS                                                                                                     \
    1000000000 /* since its last change a directory's time is sure to tell of another: it is a coarse one */

struct watch {
    char *path;
    int stop_fd;
    pid_t child;
    pthread_t thread;
    struct watch_process *process[PROCESSES_MAX];
    struct pollfd poll[PROCESSES_MAX + 1]; /* of each process, and behind them stop_fd */
    size_t n;
    struct holds_table names; /* of files that have been tried, by hash */
    struct timespec mtime;
    uint64_t changed_ns, threads_due_ns, turned_ns, turn_ns;
};

/* --- processes --------------------------------------------------------------------------------------------------- */
static void drop(struct watch *w, size_t i)
{
    watch_process_free(w->process[i]);
    w->process[i] = w->process[--w->n];
}

static void add(struct watch *w, const char *name, uint64_t now_ns)
{
    bool found, later = false;
    uint32_t *tried = holds_table_at(&w->names, holds_hash(1, name, strlen(name)), &found);
    char *path;

    if (!tried || *tried || w->n == PROCESSES_MAX || w->names.n > NAMES_MAX ||
        asprintf(&path, "%s/%s", w->path, name) < 0)
        return;
    struct watch_process *p = watch_process_new(path, now_ns, &later);
    free(path);
    *tried = !later;
    if (!p)
        return;
    /* The same process with another recording has gone on to another program, which its recording tells by itself. */
    for (size_t i = w->n; i > 0; i--)
        if (w->process[i - 1]->pid == p->pid)
            drop(w, i - 1);
    w->process[w->n++] = p;
}

/* Looks for new recordings, if there can be any. */
static void scan(struct watch *w, uint64_t now_ns)
{
    struct stat status;

    if (stat(w->path, &status))
        return;
    if (memcmp(&status.st_mtim, &w->mtime, sizeof w->mtime)) {
        w->mtime = status.st_mtim;
        w->changed_ns = now_ns;
    } else if (now_ns - w->changed_ns > SETTLED_NS) {
        return;
    }
    DIR *stream = opendir(w->path);
    for (const struct dirent *entry; stream && (entry = readdir(stream));)
        if (recdir_is_recording(entry->d_name))
            add(w, entry->d_name, now_ns);
    if (stream)
        closedir(stream);
}

/* --- stops ------------------------------------------------------------------------------------------------------- */
/* Whether the child has been stopped and continued since the last call, or is stopped now.  What the kernel keeps of it
 * for its parent is taken at each turn, so that it is known to be new. */
static bool child_was_stopped(const struct watch *w)
{
    siginfo_t info = {.si_pid = 0};
    char state;

    if (!waitid(P_PID, (id_t)w->child, &info, WCONTINUED | WNOHANG) && info.si_pid)
        return true;
    state = procstat_state(w->child, w->child, NULL);
    return state == 'T';
}

/* --- turns ------------------------------------------------------------------------------------------------------- */
static void turn(struct watch *w, uint64_t now_ns)
{
    /* Ctrl-Z stops the whole process group, and us with it: nobody has looked meanwhile.  A stop of ours alone is none
     * of the program's. */
    bool we_were = now_ns - w->turned_ns > STOPPED_TURNS * w->turn_ns, child_was = child_was_stopped(w),
         threads = now_ns >= w->threads_due_ns;
    uint64_t spent_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);

    w->turned_ns = now_ns;
    scan(w, now_ns);
    for (size_t i = w->n; i > 0; i--) {
        struct watch_process *p = w->process[i - 1];
        bool with_us = we_were && child_was && getpgid(p->pid) == getpgrp();
        if (!watch_process_look(p, now_ns, with_us, threads))
            drop(w, i - 1);
    }
    spent_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - spent_ns;
    if (threads)
        w->threads_due_ns = now_ns + spent_ns * COST_PARTS;
    else
        w->turn_ns = spent_ns * COST_PARTS_TURNS > TURN_NS ? spent_ns * COST_PARTS_TURNS : TURN_NS;
}

/* Until the next turn, or until something has ended.  True: to stop. */
static bool rest(struct watch *w, uint64_t until_ns)
{
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC), wait_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    struct timespec timeout = {(time_t)(wait_ns / 1000000000), (long)(wait_ns % 1000000000)};

    for (size_t i = 0; i < w->n; i++)
        w->poll[i] = (struct pollfd){.fd = w->process[i]->pidfd, .events = POLLIN};
    w->poll[w->n] = (struct pollfd){.fd = w->stop_fd, .events = POLLIN};
    const size_t n = w->n;
    if (ppoll(w->poll, n + 1, &timeout, NULL) <= 0)
        return false;
    for (size_t i = n; i > 0; i--)
        if (w->poll[i - 1].revents && !watch_process_look(w->process[i - 1], clock_ns(CLOCK_MONOTONIC), false, false))
            drop(w, i - 1);
    return w->poll[n].revents;
}

static void *work(void *context)
{
    struct watch *w = context;
    uint64_t next_ns = clock_ns(CLOCK_MONOTONIC) + TURN_NS;

    prctl(PR_SET_NAME, "gilscope-watch");
    for (;;) {
        bool stop = rest(w, next_ns);
        uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
        if (now_ns < next_ns && !stop)
            continue;
        turn(w, now_ns);
        if (stop)
            return NULL;
        next_ns = now_ns + w->turn_ns;
    }
}

/* --- the thread -------------------------------------------------------------------------------------------------- */
static void release(struct watch *w)
{
    while (w->n)
        drop(w, w->n - 1);
    if (w->stop_fd >= 0)
        close(w->stop_fd);
    holds_table_clear(&w->names);
    free(w->path);
    free(w);
}

static int start_thread(struct watch *w)
{
    sigset_t all, before;

    sigfillset(&all); /* signals are the other thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&w->thread, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

/* Each process takes some descriptors of ours. */
static void want_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= FILES_WANTED)
        return;
    limit.rlim_cur = limit.rlim_max < FILES_WANTED ? limit.rlim_max : FILES_WANTED;
    setrlimit(RLIMIT_NOFILE, &limit);
}

struct watch *watch_start(const char *dir, pid_t child)
{
    struct watch *w = calloc(1, sizeof *w);

    if (!w)
        return NULL;
    want_descriptors();
    w->path = strdup(dir);
    w->child = child;
    w->turned_ns = clock_ns(CLOCK_MONOTONIC);
    w->turn_ns = TURN_NS;
    w->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (w->path && w->stop_fd >= 0 && !start_thread(w))
        return w;
    release(w);
    return NULL;
}

void watch_stop(struct watch *w)
{
    const uint64_t one = 1;

    if (!w)
        return;
    if (write(w->stop_fd, &one, sizeof one) != sizeof one)
        return; /* cannot be; it ends with us */
    pthread_join(w->thread, NULL);
    release(w);
}
