/* SPDX-License-Identifier: MIT */
/* shim-cpu.c - CPU time: when a thread's clock is read, and which state what it shows is for.
 *
 * The clock costs about 0.5 us.  It is read where the thread does not hold the GIL: at releases, and now and then three
 * times in a row, at a release, in front of the take that follows and at the next release, which encloses one released
 * interval and one hold.
 *
 * A reading in front of a take delays it, and more: the kernel brings its accounts up to date for it, may find the
 * thread's time slice used up, and gives the processor to another one there (kernel/sched/fair.c, update_curr).  Nobody
 * is hurt where the GIL is taken anyway.  Else, of a thread whose holds are long, it is looked at first whether it was
 * switched out since it released the GIL: getrusage does not bring the accounts up to date (kernel/sched/cputime.c,
 * task_cputime_adjusted).  If it was not, it has been on its processor all the time.
 */
#define _GNU_SOURCE
#include "shim-cpu.h"

#include <errno.h>
#include <sys/resource.h>

#include "shim-account.h"
#include "shim-clock.h"
#include "shim-sample.h"

#define BURST_READINGS 3
#define BRACKET_EVERY 16
#define BURST_EVERY_US 400
/* A reading cannot be taken at the very instant of a take: a period counts as one state if the other has less than
 * one part in this many of it. */
#define ALMOST_ALL 32
#define SWITCHED_OUT_US 5
#define WORTH_A_READING_US 25
#define SELDOM_US 1000 /* after a period that long, with more than a little of both states, takes are looked at: */
#define LOOKS 8

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    if (clock_gettime(clock, &ts) != 0)
        return 0;
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t shim_cpu_ns(uint32_t tid)
{
    /* The clock of a thread by its id: linux/posix-timers.h, MAKE_THREAD_CPUCLOCK(tid, CPUCLOCK_SCHED). */
    return clock_ns(tid ? (clockid_t)((~(unsigned)tid << 3) | 6u) : CLOCK_THREAD_CPUTIME_ID);
}

uint64_t shim_cpu_process_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* The kernel adds up the process's threads for this, some 20 ns for each (thread_group_cputime() in
 * kernel/sched/cputime.c). */
void shim_cpu_read_process(struct rec_header *h)
{
    uint64_t now = shim_cpu_process_ns();
    uint32_t n_toggles = __atomic_load_n(&h->n_toggles, __ATOMIC_RELAXED);
    if (h->cpu_last_ns && h->cpu_toggles == n_toggles && !(n_toggles & 1) && now > h->cpu_last_ns)
        h->cpu_used_ns += now - h->cpu_last_ns;
    h->cpu_last_ns = now;
    h->cpu_toggles = n_toggles;
}

/* --- periods ------------------------------------------------------------------------------------------------------ */
static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Waiting uses a little CPU time too, entering and leaving the kernel: no state is given more than it lasted. */
static uint64_t cap_ns(uint64_t ns, uint64_t ticks)
{
    return least(ns, ticks * 1010 / shim_clock_ticks_per_us());
}

static uint64_t ns_of(uint64_t ticks)
{
    return ticks * 1000 / shim_clock_ticks_per_us();
}

static void add_exact(struct rec_thread *tr, uint64_t held_ns, uint64_t held, uint64_t released_ns, uint64_t released)
{
    tr->cpu_exact_held_ns += cap_ns(held_ns, held);
    tr->cpu_exact_held_ticks += held;
    tr->cpu_exact_released_ns += cap_ns(released_ns, released);
    tr->cpu_exact_released_ticks += released;
}

/* A period between two readings, of which so many ticks were held and so many released, and its CPU time.  Where
 * nothing else is known and it was off the processor for longer than one of the two lasted, it was so in the other: a
 * time slice that ends, or a sleep, is one piece.  Only what could be either is left to be shared out. */
static void add_period(struct rec_thread *tr, uint64_t used_ns, uint64_t held, uint64_t released)
{
    uint64_t all = held + released, held_ns = ns_of(held), released_ns = ns_of(released);
    uint64_t off_ns = held_ns + released_ns > used_ns ? held_ns + released_ns - used_ns : 0;

    if (T.cpu.known) {
        uint64_t part_ns = least(used_ns, T.cpu.known_ns);
        add_exact(tr, used_ns - part_ns, held, part_ns, released);
    } else if (released <= held / ALMOST_ALL) {
        add_exact(tr, used_ns, held, 0, 0);
    } else if (held <= released / ALMOST_ALL) {
        add_exact(tr, 0, 0, used_ns, released);
    } else if (off_ns <= (held_ns + released_ns) / ALMOST_ALL) {
        uint64_t part_ns = (uint64_t)((double)used_ns * (double)held / (double)all);
        add_exact(tr, part_ns, held, used_ns - part_ns, released);
    } else if (off_ns > released_ns && off_ns <= held_ns) {
        add_exact(tr, used_ns - released_ns, held, released_ns, released);
        tr->cpu_inferred_ns += least(released_ns, used_ns); /* if it was not one piece, that may be of the hold */
    } else if (off_ns > held_ns && off_ns <= released_ns) {
        add_exact(tr, held_ns, held, used_ns - held_ns, released);
        tr->cpu_inferred_ns += least(held_ns, used_ns);
    } else {
        tr->cpu_mixed_ns += cap_ns(used_ns, all);
        tr->cpu_mixed_held_ticks += held;
        tr->cpu_mixed_released_ticks += released;
    }
}

/* t: now or just now; the thread has released the GIL and not asked for it. */
void shim_cpu_read(struct rec_thread *tr, uint64_t t)
{
    uint64_t now = shim_cpu_ns(0), held_sum = tr->held_ticks, released_sum = shim_account_released(tr, t);
    uint64_t held = held_sum - tr->cpu_base_held_ticks,
             released = shim_elapsed(tr->cpu_base_released_ticks, released_sum);
    uint64_t used = now > tr->cpu_last_ns ? now - tr->cpu_last_ns : 0;
    shim_sample_cpu_read(used, held, released);
    shim_write_begin(&tr->seq);
    if (tr->cpu_last_ns) { /* else just resumed: nothing to compare with */
        add_period(tr, used, held, released);
        tr->cpu_used_ns += used;
    }
    tr->cpu_base_held_ticks = held_sum;
    tr->cpu_base_released_ticks = released_sum;
    tr->cpu_last_ns = now ? now : 1;
    shim_write_end(&tr->seq);
    T.cpu.known = false;
}

void shim_cpu_forget(void)
{
    T.rec->cpu_last_ns = 0;
    T.check_ticks = 0;
    T.cpu_burst = 0;
    T.look_switches = 0;
    T.cpu.known = false;
}

/* --- when it is read ---------------------------------------------------------------------------------------------- */
/* Has the thread been without the GIL ever since the last reading, and for long? */
static bool long_released(uint64_t t)
{
    const struct rec_thread *tr = T.rec;
    return tr->index && tr->cpu_last_ns && tr->held_ticks == tr->cpu_base_held_ticks &&
           shim_elapsed(tr->state_ticks, t) >= WORTH_A_READING_US * shim_clock_ticks_per_us();
}

/* Does the thread give the GIL up seldom, and does enough with it and without it that both matter?  By what it did from
 * the last reading at a release to this one, at t, or has done a few readings before. */
static bool seldom(uint64_t t, uint64_t used_ns)
{
    const struct rec_thread *tr = T.rec;
    uint64_t released_sum = shim_account_released(tr, t);
    uint64_t held = tr->held_ticks - T.cpu.held_ticks, released = shim_elapsed(T.cpu.released_ticks, released_sum);
    T.cpu.held_ticks = tr->held_ticks;
    T.cpu.released_ticks = released_sum;
    if (held + released >= SELDOM_US * shim_clock_ticks_per_us() && held > released / ALMOST_ALL &&
        ns_of(released) > used_ns / ALMOST_ALL)
        T.cpu.looks = LOOKS;
    else if (T.cpu.looks)
        T.cpu.looks--;
    return T.cpu.looks;
}

void shim_cpu_at_release(uint64_t t)
{
    struct rec_thread *tr = T.rec;
    struct rusage r;
    T.look_switches = 0;
    if (tr->index) {
        shim_cpu_read(tr, t);
        uint64_t used_ns = tr->cpu_last_ns - T.cpu.last_ns;
        T.cpu.last_ns = tr->cpu_last_ns;
        T.cpu.read_ticks = shim_ticks();
        if (seldom(t, used_ns) && getrusage(RUSAGE_THREAD, &r) == 0) {
            T.cpu.switches = r.ru_nvcsw + r.ru_nivcsw;
            T.look_switches = 1;
            T.cpu_burst = 0;
        }
    }
    if (T.cpu_burst == 0) {
        T.cpu_burst = !T.look_switches && T.cpu_bursts++ % BRACKET_EVERY == 0 ? BURST_READINGS : 1;
        T.cpu_due_ticks = t + BURST_EVERY_US * shim_clock_ticks_per_us();
    }
    T.cpu_burst--;
    T.check_ticks = T.cpu_burst ? 0 : T.cpu_due_ticks;
}

/* So long has the thread used the processor in the released interval since the last reading, or since a reading in
 * front of a take: the period that ends at the next release is to be read. */
static void know(uint64_t ns)
{
    T.cpu.known_ns = ns;
    T.cpu.known = true;
    T.check_ticks = T.due_ticks = 0;
}

/* Reads the clock in front of a take, before which it was t.  Where the thread was switched out for it, it has waited
 * if somebody had the GIL meanwhile.  Else it goes on without it, off the processor. */
static void read_before_take(uint64_t t)
{
    struct rec_thread *tr = T.rec;
    uint64_t sum;
    T.want_seen = shim_account_peek(T.gil, t, &T.want_held);
    shim_cpu_read(tr, t);
    if (shim_elapsed(t, shim_ticks()) <= SWITCHED_OUT_US * shim_clock_ticks_per_us())
        return;
    if (T.want_seen && shim_account_peek(T.gil, shim_ticks(), &sum) && sum == T.want_held) {
        know(0);
    } else {
        T.want = tr->want_ticks = t;
        T.post = SHIM_POST_WANT;
    }
}

uint64_t shim_cpu_before_take(void)
{
    struct rusage r;
    int saved_errno = errno;
    uint64_t t = shim_ticks();
    bool due = T.cpu_burst && T.rec->index;
    if (T.cpu_burst)
        T.cpu_burst--;
    shim_enter();
    if (T.look_switches && long_released(t) && getrusage(RUSAGE_THREAD, &r) == 0) {
        due = r.ru_nvcsw + r.ru_nivcsw != T.cpu.switches;
        if (!due)
            know(ns_of(shim_elapsed(T.cpu.read_ticks, t)));
    }
    T.look_switches = 0;
    if (due)
        read_before_take(t);
    shim_leave();
    errno = saved_errno;
    return due ? t : 0;
}

void shim_cpu_before_wait(uint64_t t)
{
    bool due = (T.cpu_burst && T.rec->index) || long_released(t);
    int saved_errno = errno;
    if (T.cpu_burst)
        T.cpu_burst--;
    T.look_switches = 0;
    if (!due)
        return;
    shim_enter();
    T.want_seen = shim_account_peek(T.gil, t, &T.want_held);
    shim_cpu_read(T.rec, t);
    shim_leave();
    errno = saved_errno;
}
