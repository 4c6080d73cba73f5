/* SPDX-License-Identifier: MIT */
/*
 * holds.c - when which process is looked at, so that it costs next to nothing.
 *
 * Each process has moments of its own (holds-plan.h).  They are so far apart that all looks together cost no more than
 * a small share of one processor, by this thread's own clock; where nothing happens, they are further apart.
 */
#include "holds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "brief.h"
#include "clock.h"
#include "holds-process.h"
#include "holds-room.h"
#include "recdir.h"

#define PROCESSES_MAX 256
#define NAMES_MAX 65536 /* of recordings that have been tried: no directory of ours has more */
#define SAMPLE_US 1000  /* the shim's default, to which these belong: */
#define BUSY_NS 1250000 /* mean distance of looks */
#define COST_PARTS 200  /* one part in this many of a processor's time goes into looks, at most; */
#define EARLY_TIMES 4   /* so much more at first, for short runs have few looks, and it is soon over: */
#define EARLY_NS 10000000000
#define ROOM_TIMES 3 /* and then so much more if nobody waits for a processor */
#define COST_PARTS_LEAST 16
#define COST_LOOKS 64   /* over which costs are averaged: what is new costs more */
#define STILL_TIMES 4   /* where nothing changes for so many of these, */
#define IDLE_TIMES 16   /* looks are so much further apart, */
#define ASLEEP_TIMES 80 /* and after a second so much */
#define ASLEEP_NS 1000000000
#define SCAN_NS 5000000        /* the directory is looked at, at most so often, */
#define SCAN_AGAIN_NS 30000000 /* and so long after it has changed: the clock of its time is a coarse one */

struct holds {
    char *path;
    int directory, stop_fd;
    pthread_t thread;
    bool no_native;
    uint64_t busy_ns, cost_parts, start_ns;
    struct holds_process *process[PROCESSES_MAX];
    size_t n;
    struct holds_table names; /* of files that have been tried, by hash */
    uint64_t scan_ns, changed_ns;
    struct timespec mtime;
    uint64_t random;
    double look_cost_ns; /* lately */
    struct holds_room room;
};

/* --- processes --------------------------------------------------------------------------------------------------- */
static void drop(struct holds *h, size_t i, uint64_t now_ns)
{
    holds_process_free(h->process[i], now_ns);
    h->process[i] = h->process[--h->n];
}

static void add(struct holds *h, const char *name, uint64_t now_ns)
{
    bool found, later = false;
    uint32_t *tried = holds_table_at(&h->names, holds_hash(1, name, strlen(name)), &found);

    if (!tried || *tried || h->n == PROCESSES_MAX || h->names.n > NAMES_MAX)
        return;
    struct holds_process *p = holds_process_new(h->directory, name, h->no_native, &later);
    *tried = !later;
    if (!p)
        return;
    /* The same process with another recording has gone on to another program: what it was is no more. */
    for (size_t i = h->n; i > 0; i--)
        if (h->process[i - 1]->pid == p->pid)
            drop(h, i - 1, now_ns);
    p->changed_ns = now_ns;
    p->mean_ns = h->busy_ns;
    holds_plan_begin(&p->plan, &h->random, now_ns, (double)h->busy_ns);
    h->process[h->n++] = p;
}

/* Looks for new recordings, if there can be any. */
static void scan(struct holds *h, uint64_t now_ns)
{
    struct stat status;

    if (now_ns < h->scan_ns)
        return;
    h->scan_ns = now_ns + SCAN_NS;
    uint64_t spent_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    if (fstat(h->directory, &status))
        return;
    if (memcmp(&status.st_mtim, &h->mtime, sizeof h->mtime)) {
        h->mtime = status.st_mtim;
        h->changed_ns = now_ns;
    } else if (now_ns - h->changed_ns > SCAN_AGAIN_NS) {
        return;
    }
    DIR *stream = opendir(h->path);
    for (const struct dirent *entry; stream && (entry = readdir(stream));)
        if (recdir_is_recording(entry->d_name))
            add(h, entry->d_name, now_ns);
    if (stream)
        closedir(stream);
    spent_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - spent_ns; /* where processes come and go all the time */
    if (spent_ns * h->cost_parts > SCAN_NS)
        h->scan_ns = now_ns + spent_ns * h->cost_parts;
}

/* --- looks ------------------------------------------------------------------------------------------------------- */
/* How much further apart the looks have to be for what all of them cost. */
static double stretch(struct holds *h, uint64_t now_ns)
{
    double load = 0; /* of a processor */
    uint64_t times = 1;

    for (size_t i = 0; i < h->n; i++)
        load += h->look_cost_ns / (double)h->process[i]->mean_ns;
    if (now_ns - h->start_ns < EARLY_NS)
        times = EARLY_TIMES * (holds_room_now(&h->room, now_ns) ? ROOM_TIMES : 1);
    load *= (double)h->cost_parts / (double)times * holds_room_crowd(&h->room, now_ns);
    return load > 1 ? load : 1;
}

static void look(struct holds *h, size_t i, uint64_t now_ns)
{
    struct holds_process *p = h->process[i];
    uint64_t due_ns = p->plan.due_ns, stands_for_ns = holds_plan_look(&p->plan, &h->random, now_ns);
    enum holds_look found = holds_process_look(p, due_ns, now_ns, stands_for_ns);

    if (found == HOLDS_OVER) {
        drop(h, i, now_ns);
        return;
    }
    if (found == HOLDS_BUSY)
        p->changed_ns = now_ns;
    uint64_t still_ns = now_ns - p->changed_ns;
    p->mean_ns = h->busy_ns * (still_ns > ASLEEP_NS                  ? ASLEEP_TIMES
                               : still_ns > STILL_TIMES * h->busy_ns ? IDLE_TIMES
                                                                     : 1);
    holds_plan_change(&p->plan, now_ns, (double)p->mean_ns * stretch(h, now_ns));
}

/* Looks at those whose time has come; returns when the next one's will. */
static uint64_t look_at_all(struct holds *h)
{
    uint64_t next_ns = UINT64_MAX;

    for (size_t i = h->n; i > 0; i--) {
        uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
        if (h->process[i - 1]->plan.due_ns <= now_ns)
            look(h, i - 1, now_ns);
    }
    for (size_t i = 0; i < h->n; i++)
        if (h->process[i]->plan.due_ns < next_ns)
            next_ns = h->process[i]->plan.due_ns;
    return next_ns;
}

static void *work(void *context)
{
    struct holds *h = context;
    struct pollfd stop = {.fd = h->stop_fd, .events = POLLIN};
    uint64_t spent_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID), idle_ns = SCAN_NS;

    brief_be();
    prctl(PR_SET_NAME, "gilscope-holds");
    for (;;) {
        uint64_t now_ns = clock_ns(CLOCK_MONOTONIC), next_ns;
        size_t n_before = h->n;
        scan(h, now_ns);
        next_ns = look_at_all(h);
        /* All that this thread costs, sleeping included, is the looks'. */
        uint64_t spent_before_ns = spent_ns;
        spent_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        h->look_cost_ns += ((double)(spent_ns - spent_before_ns) - h->look_cost_ns) / COST_LOOKS;
        if (h->n > n_before)
            idle_ns = SCAN_NS;
        else if (!h->n && idle_ns < 4 * SCAN_NS)
            idle_ns += idle_ns / 16;
        now_ns = clock_ns(CLOCK_MONOTONIC);
        if (next_ns > now_ns + (h->n ? ASLEEP_TIMES * h->busy_ns : idle_ns))
            next_ns = now_ns + (h->n ? 4 * SCAN_NS : idle_ns);
        uint64_t wait_ns = next_ns > now_ns ? next_ns - now_ns : 0;
        struct timespec timeout = {(time_t)(wait_ns / 1000000000), (long)(wait_ns % 1000000000)};
        if (ppoll(&stop, 1, &timeout, NULL) > 0)
            return NULL;
    }
}

/* --- the thread -------------------------------------------------------------------------------------------------- */
static void release(struct holds *h)
{
    if (h->directory >= 0)
        close(h->directory);
    if (h->stop_fd >= 0)
        close(h->stop_fd);
    holds_room_end(&h->room);
    holds_table_clear(&h->names);
    free(h->path);
    free(h);
}

static int start_thread(struct holds *h)
{
    sigset_t all, before;

    /* Signals are the other thread's; and a limit on the size of files is no reason to end. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&h->thread, NULL, work, h);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

struct holds *holds_start(const char *dir, uint64_t sample_us, bool no_native)
{
    struct holds *h = calloc(1, sizeof *h);

    if (!h)
        return NULL;
    h->path = strdup(dir);
    h->directory = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    h->stop_fd = eventfd(0, EFD_CLOEXEC);
    h->no_native = no_native;
    h->start_ns = clock_ns(CLOCK_MONOTONIC);
    h->busy_ns = BUSY_NS;
    h->cost_parts = COST_PARTS;
    holds_room_begin(&h->room);
    if (sample_us && sample_us < SAMPLE_US) { /* wanted: the shim takes more of the program's time, too */
        h->busy_ns = BUSY_NS * sample_us / SAMPLE_US;
        h->cost_parts = COST_PARTS * sample_us / SAMPLE_US;
        if (h->cost_parts < COST_PARTS_LEAST)
            h->cost_parts = COST_PARTS_LEAST;
    } else if (sample_us) {
        h->busy_ns = BUSY_NS / SAMPLE_US * sample_us;
    }
    if (getrandom(&h->random, sizeof h->random, GRND_NONBLOCK) != sizeof h->random)
        h->random = clock_ns(CLOCK_MONOTONIC);
    h->random |= 1;
    if (h->path && h->directory >= 0 && h->stop_fd >= 0 && !start_thread(h))
        return h;
    release(h);
    return NULL;
}

void holds_stop(struct holds *h)
{
    const uint64_t one = 1;
    uint64_t now_ns;

    if (!h)
        return;
    if (write(h->stop_fd, &one, sizeof one) != sizeof one)
        return; /* cannot be; it ends with us */
    pthread_join(h->thread, NULL);
    now_ns = clock_ns(CLOCK_MONOTONIC);
    while (h->n)
        drop(h, h->n - 1, now_ns);
    release(h);
}
