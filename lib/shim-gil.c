/* SPDX-License-Identifier: MIT */
/*
 * shim-gil.c - which objects are a GIL, and the events that are off the shortest path.
 *
 * create_gil (Python/ceval_gil.c, CPython 3.7 to 3.15) makes four calls in a row whose addresses lie at fixed
 * distances: mutex_init(M) mutex_init(SM) cond_init(C) cond_init(SC), M = C + sizeof(cond), SC = M + sizeof(mutex),
 * SM = SC + sizeof(cond).  In front of them, in one struct: interval C-32, last_holder C-24, locked C-16,
 * switch_number C-8; at this moment locked is -1 and interval 5000.  In a forked child, and when the interpreter is
 * initialised again, the same addresses come a second time.
 */
#define _GNU_SOURCE
#include "shim-gil.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shim-account.h"
#include "shim-file.h"
#include "shim-frames.h"
#include "shim-life.h"
#include "shim-name.h"
#include "shim-quick.h"
#include "shim-route.h"
#include "shim-sample.h"
#include "shim-several.h"
#include "shim-thread.h"

union shim_pages shim_pages __attribute__((aligned(4096)));

enum { BEFORE_COND = 40, INTERVAL = 32, LOCKED = 16 };

struct shim_gil *shim_gil_find(const void *address, int which)
{
    uint32_t n = __atomic_load_n(&SHIM.n_gils, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < n; i++) {
        struct shim_gil *g = &SHIM.gils[i];
        if (address == (which == 0 ? g->mutex : which == 1 ? g->cond : g->switch_cond))
            return g;
    }
    return NULL;
}

/* --- steps ------------------------------------------------------------------------------------------------------- */
bool shim_gil_step(struct shim_gil *g, enum shim_event event, uint64_t *t)
{
    uint32_t n_toggles = __atomic_load_n(SHIM.n_toggles, __ATOMIC_ACQUIRE);
    if (n_toggles & 1)
        shim_route_sleep();
    /* Without a generation the storage has failed since g was looked up; a thread that comes now has no record. */
    if (T.busy || UNLIKELY(!SHIM.generation) || ((n_toggles & 1) && shim_pause_is_noted(g, event, n_toggles)))
        return false;
    if (T.generation != SHIM.generation && !(n_toggles & 1))
        shim_thread_attach(shim_ticks(), false);
    T.busy = 1;
    T.step = 0;
    if (T.gil != g)
        T.waits_noted = false; /* for another one, which it has given up */
    if (T.generation == SHIM.generation && T.gil != g) {
        if (T.gil && T.gil_rec) {
            if (UNLIKELY(T.later))
                shim_account_missed(T.gil);
            shim_thread_leave_gil(T.gil_rec);
            shim_several_leave(T.gil);
        }
        T.rec->gil = g->rec->index;
    }
    T.gil = g;
    T.gil_rec = g->rec;
    bool measure = shim_pause_sync(g, event, t);
    T.busy = 0;
    return measure;
}

/* --- waits ------------------------------------------------------------------------------------------------------- */
unsigned long shim_gil_wait_begin(struct shim_gil *g)
{
    uint64_t t = shim_ticks();
    if (shim_gil_in_step(g) || shim_gil_step(g, SHIM_EVENT_WAIT, &t)) {
        if (SHIM_STATE(T.rec) == REC_STATE_RELEASED)
            shim_account_arrive(g, t);
    }
    return shim_gil_switches(g);
}

void shim_gil_wait_woken(struct shim_gil *g, int result, unsigned long switches_before)
{
    struct rec_gil *gr = g->rec;
    uint64_t t;
    if (UNLIKELY(!SHIM.n_toggles)) /* forked meanwhile, in a signal handler */
        return;
    if (UNLIKELY(!shim_gil_in_step(g))) {
        if (!shim_gil_step(g, SHIM_EVENT_WAIT, &t))
            return;
        if (SHIM_STATE(T.rec) == REC_STATE_RELEASED) /* its begin was not seen, in a signal handler */
            shim_account_arrive(g, t);
    }
    if (!shim_gil_taken(g))
        return;
    struct rec_thread *tr = T.rec;
    if (result == ETIMEDOUT) {
        /* take_gil asks the holder to drop the GIL if nobody has taken it since the wait began. */
        if (shim_gil_switches(g) == switches_before) {
            tr->drop_requests++;
            gr->drop_requests++;
            shim_sample_unanswered(g);
        }
        gr->interval_us = *(const unsigned long *)((const char *)g->cond - INTERVAL);
    } else if (result == 0) {
        tr->lost_wakeups++;
        gr->lost_wakeups++;
    }
}

void shim_gil_abandoned(struct shim_gil *g)
{
    struct rec_thread *tr = T.rec;
    uint64_t t = shim_ticks();
    if (UNLIKELY(!shim_gil_in_step(g)) && !shim_gil_step(g, SHIM_EVENT_ABANDON, &t))
        return;
    shim_write_begin(&tr->seq);
    shim_write_begin(&g->turn->seq);
    shim_account_wait_end(g, t);
    shim_account_given_up(g);
    tr->state = REC_STATE_RELEASED;
    tr->state_ticks = t;
    shim_account_row_now(g);
    T.later &= (uint8_t)~SHIM_LATER_WAIT;
    shim_write_end(&g->turn->seq);
    shim_write_end(&tr->seq);
}

void shim_gil_unexplained(struct shim_gil *g)
{
    T.post = 0;
    if (SHIM_STATE(T.rec) == REC_STATE_WAITING)
        shim_gil_abandoned(g);
    else
        shim_file_loss(REC_LOSS_UNEXPLAINED);
}

/* --- forced switches --------------------------------------------------------------------------------------------- */
void shim_gil_forced_begin(struct shim_gil *g)
{
    struct rec_thread *tr = T.rec;
    if (T.busy || !T.generation || T.generation != SHIM.generation || T.gil != g ||
        (SHIM_STATE(tr) != REC_STATE_RELEASED && SHIM_STATE(tr) != REC_STATE_NONE))
        return;
    shim_write_begin(&tr->seq);
    shim_pause_close();
    tr->state = REC_STATE_FORCED;
    shim_write_end(&tr->seq);
}

void shim_gil_forced_end(struct shim_gil *g)
{
    struct rec_thread *tr = T.rec;
    if (T.busy || !T.generation || T.generation != SHIM.generation || T.gil != g || SHIM_STATE(tr) != REC_STATE_FORCED)
        return;
    shim_write_begin(&tr->seq);
    uint64_t before = tr->wait_forced_ticks;
    shim_pause_close();
    /* In a pause it may have taken the GIL again before it is seen next. */
    bool paused = T.n_toggles & 1;
    tr->state = paused ? REC_STATE_NONE : REC_STATE_RELEASED;
    if (tr->wait_forced_ticks - before > tr->forced_max_ticks)
        tr->forced_max_ticks = tr->wait_forced_ticks - before;
    tr->forced_switches += !paused;
    shim_write_end(&tr->seq);
    if (!paused)
        __atomic_fetch_add(&g->rec->forced_switches, 1, __ATOMIC_RELAXED);
}

/* --- recognition ------------------------------------------------------------------------------------------------- */
#define PAGE_OF(address) ((uintptr_t)(address) & ~(uintptr_t)4095)

static bool is_mapped(const void *address)
{
    int saved_errno = errno;
    bool mapped = msync((void *)PAGE_OF(address), 4096, MS_ASYNC) == 0 || errno != ENOMEM;
    errno = saved_errno;
    return mapped;
}

/* Is the memory in front of C there to be read?  It may lie on another page than C. */
static bool readable_before(const char *c)
{
    return PAGE_OF(c - BEFORE_COND) == PAGE_OF(c) || is_mapped(c - BEFORE_COND);
}

/* The main interpreter was initialised again, or a GIL's memory serves another one: nobody holds it, nobody waits. */
static void reset(struct shim_gil *g)
{
    struct rec_gil *gr = g->rec;
    /* Whoever gave up the old one did so before its memory was freed: all that it wrote here is in front of this. */
    (void)__atomic_load_n(&gr->turn.seq, __ATOMIC_ACQUIRE);
    uint64_t t = shim_pause_catch_up(g);
    shim_account_settle(g, t);
    shim_waiters_advance(gr, t);
    shim_account_waiters(g, 0);
    if (gr->n_toggles & 1)
        gr->unseen = 1;
    if (T.generation == SHIM.generation && T.gil == g && SHIM_STATE(T.rec) == REC_STATE_HELD) {
        shim_write_begin(&T.rec->seq);
        shim_pause_close();
        T.rec->state = REC_STATE_RELEASED;
        shim_write_end(&T.rec->seq);
    }
}

/* The interpreter has freed the GIL's memory: its registration ends. */
static void gone(struct shim_gil *g)
{
    reset(g);
    g->rec->end_ticks = shim_ticks();
    if (T.generation == SHIM.generation && T.gil == g) { /* the next GIL may get its place */
        shim_thread_leave_gil(g->rec);
        T.gil = NULL;
        T.gil_rec = NULL;
        T.step = 0;
    }
    g->mutex = g->cond = g->switch_cond = NULL;
    if (g == &SHIM.gils[0]) {
        SHIM.mutex = SHIM.cond = SHIM.switch_cond = NULL;
        SHIM.quick_mutex = SHIM.quick_switch_mutex = NULL;
    }
}

/* gil->locked is 0 or 1 from create_gil to destroy_gil.  A GIL's memory may also have been unmapped with its libpython,
 * and something else mapped there; then that Python's frames cannot be read any more either. */
static bool in_use(const struct shim_gil *g)
{
    const char *c = g->cond;
    int locked, saved_errno = errno;
    unsigned long interval = 0;
    bool readable = shim_name_read_self(c - LOCKED, &locked, sizeof locked) == 0 &&
                    shim_name_read_self(c - INTERVAL, &interval, sizeof interval) == 0;
    bool unknown = !readable && errno != EFAULT;
    errno = saved_errno;
    if (unknown || (readable && interval && (locked == 0 || locked == 1)))
        return true;
    if (g->rec->index == 0 && (!readable || !interval || locked != -1)) /* the main interpreter's is in _PyRuntime */
        shim_frames_stop();
    return false;
}

static void add_gil(const char *c, const void *m, const void *sc)
{
    uint32_t slot = SHIM.n_gils;
    for (uint32_t i = 0; i < SHIM.n_gils; i++) {
        if (SHIM.gils[i].cond && !in_use(&SHIM.gils[i]))
            gone(&SHIM.gils[i]);
        if (!SHIM.gils[i].cond)
            slot = i;
    }
    struct rec_gil *gr = slot < SHIM_GILS ? shim_file_record(sizeof *gr) : NULL;
    if (!gr) {
        shim_file_loss(REC_LOSS_GILS);
        return;
    }
    static uint32_t n_made;
    gr->index = SHIM.n_gils == 0 ? (n_made = 0) : ++n_made;
    gr->address = (uint64_t)(uintptr_t)c;
    gr->has_turn = gr->has_recent = 1;
    struct shim_period p = shim_pause_period();
    gr->n_toggles = gr->known_toggles = p.n;
    gr->unseen = p.n & 1;
    gr->start_ticks = gr->waiters_at_ticks = gr->unseen ? p.begin : shim_ticks();
    gr->paused_ticks = gr->start_paused_ticks = p.paused;
    gr->interval_us = *(const unsigned long *)(c - INTERVAL);
    shim_file_publish(gr, REC_GIL);
    struct shim_gil *g = &SHIM.gils[slot];
    *g = (struct shim_gil){.rec = gr, .turn = &gr->turn};
    g->mutex = m;
    g->switch_cond = sc;
    g->cond = c;
    if (SHIM.dormant) {
        /* shim_route_wake will show it */
    } else if (slot == 0) {
        SHIM.mutex = m;
        SHIM.cond = c;
        SHIM.switch_cond = sc;
    } else {
        SHIM.filter |= shim_gil_bit(m) | shim_gil_bit(c) | shim_gil_bit(sc);
    }
    if (slot == 0)
        shim_quick_learn(c, sc, m, (const char *)sc + sizeof(pthread_cond_t));
    shim_route_set();
    if (slot == SHIM.n_gils)
        __atomic_store_n(&SHIM.n_gils, slot + 1, __ATOMIC_RELEASE);
    if (slot > 0)
        shim_several_begin(&SHIM.gils[0]);
}

/* Four calls at the right distances: a GIL, if the memory in front says so.  caller: in create_gil's module. */
static void register_gil(const char *c, const void *m, const void *sc, const void *caller)
{
    struct shim_gil *g = SHIM.generation ? shim_gil_find(c, 1) : NULL;
    if (g) {
        reset(g);
        return;
    }
    if (!readable_before(c))
        return;
    bool forked = shim_life_is_forked_gil(c);
    if (!forked && (*(const int *)(c - LOCKED) != -1 || *(const unsigned long *)(c - INTERVAL) != 5000)) {
        shim_life_layout_unknown(caller);
        return;
    }
    T.busy = 1;
    bool first = SHIM.generation == 0;
    uint64_t since;
    if (!first || shim_life_activate(c, caller, &since)) {
        add_gil(c, m, sc);
        if (first && SHIM.n_gils)
            shim_thread_attach(since, true);
    }
    T.busy = 0;
}

/* Does the address belong to a GIL, and to something else than its own objects? */
static bool overlaps(const struct shim_gil *g, const char *a)
{
    const char *c = g->cond, *end = c + 2 * (sizeof(pthread_cond_t) + sizeof(pthread_mutex_t));
    if (!c || a < c - BEFORE_COND || a >= end)
        return false;
    /* Else it is perhaps the first of four. */
    return a != c && a != c + sizeof(pthread_cond_t) && a != c + sizeof(pthread_cond_t) + sizeof(pthread_mutex_t) &&
           a != end - sizeof(pthread_mutex_t);
}

/* caller: in create_gil's module.  Not holding gil->mutex. */
static void created(const char *c, const void *m, const void *sc, const void *caller)
{
    if (!shim_several_enter(SHIM_SEVERAL_TRIES)) {
        shim_file_loss(REC_LOSS_GILS);
        return;
    }
    int cancel = shim_cancel_later();
    register_gil(c, m, sc, caller);
    shim_cancel_again(cancel);
    shim_several_exit();
}

/* Any other use of a GIL's memory says so, too. */
static void reused(const void *address)
{
    for (uint32_t i = 0; i < SHIM.n_gils; i++) {
        struct shim_gil *g = &SHIM.gils[i];
        if (!overlaps(g, address) || !shim_several_enter(SHIM_SEVERAL_TRIES))
            continue;
        if (overlaps(g, address))
            gone(g);
        shim_several_exit();
    }
}

static void note_init(const void *address, bool is_cond, const void *caller)
{
    if (T.busy)
        return;
    uint32_t n = T.n_inits++;
    T.inits[n & 3].address = address;
    T.inits[n & 3].is_cond = is_cond;
    if (SHIM.n_gils)
        reused(address);
    if (!is_cond || n < 3 || !T.inits[(n - 1) & 3].is_cond || T.inits[(n - 2) & 3].is_cond ||
        T.inits[(n - 3) & 3].is_cond)
        return;
    const char *m = T.inits[(n - 3) & 3].address, *sm = T.inits[(n - 2) & 3].address;
    const char *c = T.inits[(n - 1) & 3].address, *sc = address;
    if (m == c + sizeof(pthread_cond_t) && sc == m + sizeof(pthread_mutex_t) && sm == sc + sizeof(pthread_cond_t))
        created(c, m, sc, caller);
}

SHIM_EXPORT int pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr)
{
    int result = shim_real.mutex_init(m, attr);
    note_init(m, false, __builtin_return_address(0));
    return result;
}

SHIM_EXPORT int pthread_cond_init(pthread_cond_t *c, const pthread_condattr_t *attr)
{
    int result = shim_real.cond_init(c, attr);
    note_init(c, true, __builtin_return_address(0));
    return result;
}

SHIM_EXPORT int pthread_mutex_destroy(pthread_mutex_t *m)
{
    if (SHIM.n_gils)
        reused(m);
    return shim_real.mutex_destroy(m);
}

SHIM_EXPORT int pthread_cond_destroy(pthread_cond_t *c)
{
    if (SHIM.n_gils)
        reused(c);
    return shim_real.cond_destroy(c);
}
