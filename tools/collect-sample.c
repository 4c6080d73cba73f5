/* SPDX-License-Identifier: MIT */
/*
 * collect-sample.c - where BPF is not allowed: looks at the GIL and at each thread now and then, and counts.
 *
 * A look is one process_vm_readv() for the GIL and one read of /proc/PID/task/TID/syscall for each thread, which says
 * "running", or in which call it sleeps and on which futex.  Nothing stops the process.  Between two looks a thread is
 * taken to have been what it is now; processor time comes from schedstat and is exact.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "brief.h"
#include "clock.h"
#include "collect-sample.h"
#include "hist.h"
#include "live.h"
#include "mem.h"
#include "peer.h"

#define RATE_MOST 250u  /* looks a second */
#define COST_LOOKS 8    /* over which costs are averaged */
#define COST_SHARE 50u  /* a look may cost one 50th of the time between two */
#define LATE_NS 500000u /* a look that comes so much later than it should is at a moment that others chose */
#define LATE_MOST 3u    /* so many are left out one after another */
#define FUTEX_CALL 202  /* x86-64 */
#if defined(__aarch64__)
#undef FUTEX_CALL
#define FUTEX_CALL 98
#endif
enum { MUTEX_BYTES = sizeof(pthread_mutex_t), COND_BYTES = sizeof(pthread_cond_t) };
enum {
    AT_MUTEX = GIL_COND + COND_BYTES,
    AT_SWITCH_COND = AT_MUTEX + MUTEX_BYTES,
    AT_SWITCH_MUTEX = AT_SWITCH_COND + COND_BYTES
};

static struct collect_options options;
static struct sample_process processes[COLLECT_PROCESSES];
static int n_processes;
static uint64_t next_ns, gap_ns; /* of looks: the next one, and the mean between two */
static double cost_ns;           /* of looking at all once, on average */
static uint32_t n_late;          /* looks that have been left out, one after another */

static bool usable(char error[COLLECT_ERROR_BYTES])
{
    (void)error; /* whoever could find the GIL can read it */
    return true;
}

static int start(const struct collect_options *given, char error[COLLECT_ERROR_BYTES])
{
    (void)error;
    struct rlimit files;

    options = *given;
    n_processes = 0;
    next_ns = gap_ns = n_late = 0;
    cost_ns = 0;
    brief_be();
    if (!getrlimit(RLIMIT_NOFILE, &files)) { /* two for each thread */
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    return 0;
}

/* --- looks ------------------------------------------------------------------------------------------------------- */
/* What a thread is at; the GIL that it waits for goes to *gil. */
static enum sample_doing look_at(const struct sample_process *p, const struct sample_thread *t, uint32_t *gil)
{
    char text[256];
    unsigned long long number, word;

    if (!sample_read(p, t, t->syscall_fd, "syscall", text, sizeof text))
        return errno == ESRCH || errno == ENOENT ? SAMPLE_GONE : t->last;
    if (text[0] == 'r')
        return SAMPLE_RUNS;
    if (sscanf(text, "%llu 0x%llx", &number, &word) < 2 || number != FUTEX_CALL)
        return SAMPLE_SLEEPS;
    for (uint32_t i = 0; i < p->found.n_gils; i++) {
        uint64_t offset = word - p->found.gil[i].address;
        if (offset < GIL_COND || offset >= AT_SWITCH_MUTEX)
            continue;
        *gil = i;
        return offset < AT_SWITCH_COND ? SAMPLE_WANTS : SAMPLE_LETS_GO;
    }
    return SAMPLE_SLEEPS;
}

struct view { /* of a GIL: who has it, who had it last (pthread_self(), 0 = nobody), and how often it has changed hands
               */
    uint64_t holder, last, switches;
};

static void end_wait(struct sample_thread *t)
{
    struct hist_place place = hist_place(t->wait_open_ns);

    if (!t->wait_is_open)
        return;
    t->wait_is_open = false;
    ((uint32_t *)(uintptr_t)t->wait.buckets)[place.octave * REC_HIST_SUBS + place.sub]++;
    t->wait.sum_ns += t->wait_open_ns;
    if (t->wait_open_ns > t->wait.max_ns)
        t->wait.max_ns = t->wait_open_ns;
    t->wait_open_ns = 0;
    t->contended++;
}

static void charge(struct sample_process *p, struct sample_thread *waiter, uint64_t holder, uint64_t ns)
{
    uint32_t index = 0;

    /* The last one: who has ended since the last look may have had the same pthread_self(). */
    for (size_t i = p->n_threads; i-- > 0 && holder && !index;) {
        if (p->threads[i].pthread_id == holder && &p->threads[i] != waiter) {
            index = p->threads[i].index;
            p->threads[i].charged_ns += ns;
        }
    }
    if (!index) /* it is not in the list of threads yet; those that have ended had the same pthread_self(), perhaps */
        return;
    waiter->blocked_ns += ns;
    sample_add_pair(waiter, index, ns);
}

/* A majority vote by time: the GIL that the thread uses most. */
static void vote(struct sample_thread *t, uint32_t gil, uint64_t ns)
{
    if (gil == t->gil) {
        t->gil_votes_ns += ns;
    } else if (t->gil_votes_ns > ns) {
        t->gil_votes_ns -= ns;
    } else {
        t->gil = gil;
        t->gil_votes_ns = ns - t->gil_votes_ns;
    }
}

/* Whether a thread that runs, or could, is still at what it waited for at the last look: it has not come to run since,
 * or not got the GIL.  Whoever takes it becomes the last holder and adds 1 to switch_number, where another had it
 * before. */
static bool goes_on(const struct sample_thread *t, const struct view *views, uint64_t slices)
{
    const struct view *view = &views[t->wants];

    if (t->last != SAMPLE_WANTS)
        return t->last == SAMPLE_LETS_GO && t->slices == slices;
    return t->slices == slices || (view->last != t->pthread_id && view->switches - t->switches <= 1);
}

static void count(struct sample_process *p, struct sample_thread *t, const struct view *views)
{
    uint64_t ns = p->now_ns > t->last_ns ? p->now_ns - t->last_ns : 0;
    uint32_t gil = t->gil;
    enum sample_doing doing = look_at(p, t, &gil);
    bool holds = false, is_unsure = false;

    for (uint32_t i = 0; t->pthread_id && i < p->found.n_gils && !holds; i++)
        if ((holds = views[i].holder == t->pthread_id))
            gil = i;
    if (doing == SAMPLE_GONE) {
        end_wait(t);
        t->ended = true;
        return;
    }
    uint64_t slices = t->slices, cpu = sample_cpu_ns(p, t), ran_ns = cpu - t->cpu_last_ns;
    t->cpu_last_ns = cpu;
    p->cpu_seen_ns += ran_ns;
    t->last_ns = p->now_ns;
    t->looks_ns += (double)ns;
    t->looks_ns2 += (double)ns * (double)ns;
    bool runs = t->runs = doing == SAMPLE_RUNS;
    if (doing == SAMPLE_RUNS && !holds && goes_on(t, views, slices))
        doing = t->last;
    /* It computes without the GIL; or it is on its way to it, or away from it, and has no processor. */
    else if (doing == SAMPLE_RUNS && !holds && (t->last != SAMPLE_RUNS || t->doing == REC_WEIGHT_HELD) &&
             t->last != SAMPLE_SLEEPS)
        is_unsure = true;
    t->unsure_ns += is_unsure ? ns : 0;
    if (doing == SAMPLE_WANTS && t->last != SAMPLE_WANTS)
        t->wants = gil;
    gil = doing == SAMPLE_WANTS && !holds ? t->wants : gil;
    t->switches = views[gil].switches;
    t->last = doing;
    if (holds || (doing == SAMPLE_WANTS && t->held_ns)) /* what runs and then waits ran with the GIL */
        t->held_cpu_ns += ran_ns;
    else
        t->released_cpu_ns += ran_ns;
    t->slept_cpu_ns += doing == SAMPLE_SLEEPS && !holds ? ran_ns : 0;
    t->doing = doing == SAMPLE_WANTS && !holds ? REC_WEIGHT_WAIT
               : doing == SAMPLE_LETS_GO       ? -1
               : holds                         ? REC_WEIGHT_HELD
                                               : REC_WEIGHT_RELEASED;
    t->lived_ns = ns;
    if (holds || doing == SAMPLE_WANTS)
        vote(t, gil, ns);
    if (t->is_new)
        p->new_ns[doing == SAMPLE_WANTS && !holds ? SAMPLE_WAIT
                  : doing == SAMPLE_LETS_GO       ? SAMPLE_FORCED
                  : holds                         ? SAMPLE_HELD
                                                  : SAMPLE_RELEASED] += ns;
    if (doing == SAMPLE_WANTS && !holds) {
        t->wait_ns += ns;
        t->wait_open_ns += ns;
        t->wait_is_open = true;
        if (views[gil].holder)
            charge(p, t, views[gil].holder, ns);
        return;
    }
    end_wait(t);
    if (doing == SAMPLE_LETS_GO) {
        t->forced_ns += ns;
        return;
    }
    if (holds) {
        t->held_ns += ns;
        t->held_run_ns += runs ? ns : 0;
    } else {
        t->released_ns += ns;
        t->released_run_ns += runs && !is_unsure ? ns : 0;
    }
}

/* Takes the stack of a thread, which then stands for `share` such looks. */
static void take_stack(struct sample_process *p, const struct sample_thread *t, double share, uint64_t n_waiters)
{
    const struct find_thread *tstate = threads_find(&p->list, t->pthread_id);
    uint64_t ns[REC_WEIGHTS] = {0};
    uint32_t n[REC_WEIGHTS] = {0};

    if (!tstate || t->doing < 0)
        return;
    ns[t->doing] = (uint64_t)((double)t->lived_ns * share);
    n[t->doing] = 1;
    if (t->doing == REC_WEIGHT_HELD) {
        ns[REC_WEIGHT_CHARGED] = t->lived_ns * n_waiters;
        n[REC_WEIGHT_CHARGED] = n_waiters > 0;
    }
    collect_stacks_add(p->stacks, t->index, collect_stacks_walk(p->stacks, tstate->tstate), 0, ns, n);
}

/* Those of the holders, and of one other thread in turn for all others. */
static void take_stacks(struct sample_process *p)
{
    uint64_t n_waiters = 0, n_others = 0;

    for (size_t i = 0; i < p->n_threads; i++) {
        const struct sample_thread *t = &p->threads[i];
        n_waiters += t->doing == REC_WEIGHT_WAIT;
        n_others += t->pthread_id && t->doing != REC_WEIGHT_HELD;
    }
    for (size_t i = 0; i < p->n_threads; i++)
        if (p->threads[i].doing == REC_WEIGHT_HELD)
            take_stack(p, &p->threads[i], 1, n_waiters);
    for (size_t i = 0; i < p->n_threads; i++) {
        const struct sample_thread *t = &p->threads[p->next_stack++ % p->n_threads];
        if (t->pthread_id && t->doing != REC_WEIGHT_HELD) {
            take_stack(p, t, (double)n_others, 0);
            break;
        }
    }
}

/* What this look says of all threads together that were not there at the begin. */
static void count_new(struct sample_process *p)
{
    double gap = (double)(p->now_ns - p->looked_ns);

    for (int i = 0; i < SAMPLE_STATES; i++) {
        double ns = (double)p->new_ns[i];
        p->new_sum[i] += ns;
        p->new_sum2[i] += ns * ns;
        p->new_ns[i] = 0;
    }
    p->gap_sum2 += gap * gap;
}

static void look(struct sample_process *p)
{
    struct view views[FIND_GIL_MAX] = {{0}};

    p->has_gone = p->has_gone || peer_program_has_changed(p->found.pid, &p->program);
    if (p->has_gone) /* whatever may be at the same addresses now, and whatever its threads do, is another program's */
        return;
    p->looked_ns = p->now_ns;
    p->now_ns = collect_now_ns();
    sample_see_threads(p);
    for (uint32_t i = 0; i < p->found.n_gils; i++) {
        uint64_t g[4]; /* interval, last_holder, locked, switch_number */
        if (peer_read(p->found.pid, p->found.gil[i].address, g, sizeof g))
            continue;
        views[i].last = peer_pointer(p->found.pid, g[1] + p->found.layout.tstate_thread_id);
        views[i].holder = (int32_t)g[2] == 1 ? views[i].last : 0;
        views[i].switches = g[3];
    }
    for (size_t i = 0; i < p->n_threads; i++)
        count(p, &p->threads[i], views);
    count_new(p);
    uint64_t cpu_ns = live_process_cpu_ns(p->found.pid);
    p->cpu_ns = cpu_ns > p->cpu_ns ? cpu_ns : p->cpu_ns; /* 0 once it has ended */
    sample_sort_out_ended(p);
    if (p->stacks && p->n_threads)
        take_stacks(p);
    p->n_looks++;
}

static uint64_t random_part(uint64_t ns)
{
    static uint64_t state = 88172645463325252ull; /* xorshift */

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return ns ? state % ns : 0;
}

/* Sleeps until then; whether it came about as it should. */
static bool sleep_until(uint64_t ns)
{
    struct timespec then = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL);
    return collect_now_ns() < ns + LATE_NS;
}

static void look_at_all(void)
{
    uint64_t begin_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);

    for (int i = 0; i < n_processes; i++)
        if (processes[i].used)
            look(&processes[i]);
    cost_ns += ((double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns) - cost_ns) / COST_LOOKS;
    gap_ns = 1000000000 / (options.sample_hz < RATE_MOST ? options.sample_hz : RATE_MOST);
    if (gap_ns < cost_ns * COST_SHARE)
        gap_ns = (uint64_t)(cost_ns * COST_SHARE);
}

static void work(uint64_t until_ns)
{
    while (!*options.stop && collect_now_ns() < until_ns) {
        if (next_ns >= until_ns) {
            sleep_until(until_ns);
            return;
        }
        if (sleep_until(next_ns) || n_late++ == LATE_MOST) {
            n_late = 0;
            look_at_all();
        }
        next_ns = collect_now_ns() + gap_ns / 2 + random_part(gap_ns); /* not in step with what the process does */
    }
}

/* --- processes --------------------------------------------------------------------------------------------------- */
bool collect_sample_may(int pid, char error[COLLECT_ERROR_BYTES])
{
    int fd = sample_open_task(pid, (uint32_t)pid, "syscall");
    if (fd < 0) {
        snprintf(error, COLLECT_ERROR_BYTES, "its /proc/PID/task/TID/syscall cannot be read: %s%s", strerror(errno),
                 errno == EACCES
                     ? " (for a process of another user that takes CAP_DAC_READ_SEARCH besides CAP_SYS_PTRACE)"
                     : "");
        return false;
    }
    close(fd);
    return true;
}

static int add(const struct find_process *found, char error[COLLECT_ERROR_BYTES])
{
    int handle = 0;

    while (handle < n_processes && processes[handle].used)
        handle++;
    if (handle == COLLECT_PROCESSES) {
        snprintf(error, COLLECT_ERROR_BYTES, "too many processes at once");
        return -1;
    }
    if (!collect_sample_may(found->pid, error))
        return -1;
    struct sample_process *p = &processes[handle];
    memset(p, 0, sizeof *p);
    p->found = *found;
    p->used = true;
    peer_program(found->pid, &p->program);
    p->start_ns = p->now_ns = p->looked_ns = collect_now_ns();
    p->cpu_first_ns = p->cpu_ns = live_process_cpu_ns(p->found.pid);
    sample_see_threads(p);
    p->stacks = options.no_stacks ? NULL : collect_stacks_new(found);
    if (handle == n_processes)
        n_processes++;
    return handle;
}

static void picture(int handle, struct recwriter *writer, uint64_t now_ns, bool last)
{
    (void)last;
    const struct sample_process *p = &processes[handle];

    sample_picture(&processes[handle], writer, p->has_gone ? p->now_ns : now_ns);
}

static bool has_gone(int handle)
{
    return processes[handle].has_gone;
}

static void forget(int handle)
{
    struct sample_process *p = &processes[handle];

    for (size_t i = 0; i < p->n_threads; i++)
        sample_free_thread(&p->threads[i]);
    free(p->threads);
    sample_free_ended(p);
    threads_free(&p->list);
    collect_stacks_free(p->stacks);
    memset(p, 0, sizeof *p);
}

static void stop(void)
{
    for (int i = 0; i < n_processes; i++)
        if (processes[i].used)
            forget(i);
    n_processes = 0;
}

const struct collector collect_sample = {
    .name = "sample",
    .source = REC_SOURCE_SAMPLE,
    .usable = usable,
    .start = start,
    .add = add,
    .work = work,
    .picture = picture,
    .has_gone = has_gone,
    .forget = forget,
    .stop = stop,
};
