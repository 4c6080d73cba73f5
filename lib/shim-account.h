/* SPDX-License-Identifier: MIT */
/* shim-account.h - the accounts: what becomes of an interval when it ends.  DESIGN "What is measured" has the rules. */
#ifndef GILSCOPE_SHIM_ACCOUNT_H
#define GILSCOPE_SHIM_ACCOUNT_H

#include "hist.h"
#include "shim-clock.h"
#include "shim-file.h"
#include "shim-sample.h"
#include "shim-thread.h"
#include "shim.h"

/* The record that rec_turn.holder_cell says; NULL = not known.  Any thread. */
static inline struct rec_thread *shim_holder_at(uint32_t cell)
{
    if (UNLIKELY(cell == SHIM_SINK_CELL))
        return &shim_sink;
    return cell ? shim_file_at(cell) : NULL;
}

/* Who has the GIL, or had it last; NULL = not known.  Any thread. */
static inline struct rec_thread *shim_gil_holder(const struct shim_gil *g)
{
    return shim_holder_at(__atomic_load_n(&g->turn->holder_cell, __ATOMIC_RELAXED));
}

/* Is it the calling thread?  Any thread that has a record, or shim_sink. */
static inline bool shim_gil_is_mine(const struct shim_gil *g)
{
    return __atomic_load_n(&g->turn->holder_cell, __ATOMIC_RELAXED) == T.rec_cell;
}

/* Time between two readings, in ticks; 0 where the counters of two processors disagree by a hair. */
static inline uint64_t shim_elapsed(uint64_t from, uint64_t to)
{
    return (int64_t)(to - from) > 0 ? to - from : 0;
}

/* A hold of so many ticks is over.  Whoever sees the sum with it sees the state that was stored in front of it, too, on
 * processors that do not keep stores in order as well, and so counts no hold twice (shim_account_peek).  Owner of the
 * record. */
static inline void shim_account_held(struct rec_thread *tr, uint64_t ticks)
{
    __atomic_store_n(&tr->held_ticks, tr->held_ticks + ticks, __ATOMIC_RELEASE);
}

/* Brings W, the integral of the number of waiters, up to t.  Holding gil->mutex. */
static inline void shim_waiters_advance(struct rec_gil *gr, uint64_t t)
{
    if (gr->n_waiters)
        gr->waiters_ticks += gr->n_waiters * shim_elapsed(gr->waiters_at_ticks, t);
    gr->waiters_at_ticks = t;
}

/* Others were blocked that long by holds of this thread.  Any thread. */
static inline void shim_charge(struct rec_thread *holder, uint64_t ticks)
{
    if (holder && ticks)
        __atomic_fetch_add(&holder->charged_late_ticks, ticks, __ATOMIC_RELAXED);
}

/* As shim_charge, by the calling thread for its own waits: small sums are kept back until they are worth writing to
 * another thread's record.  shim_charge_owed pays what is left. */
#define SHIM_OWED_TICKS 8192 /* about 3 us */
void shim_charge_owed(void);
static inline void shim_charge_soon(struct rec_thread *holder, uint64_t ticks)
{
    if (T.owed != holder)
        shim_charge_owed();
    T.owed = holder;
    T.owed_index = __atomic_load_n(&holder->index, __ATOMIC_RELAXED); /* its thread may be over */
    T.owed_ticks += ticks;
    if (T.owed_ticks >= SHIM_OWED_TICKS)
        shim_charge_owed();
}

/* The calling thread's next take or release of the first GIL can go the shortest way until something is due. */
static inline void shim_account_due(void)
{
    uint64_t due = T.check_ticks < T.name_due_ticks ? T.check_ticks : T.name_due_ticks;
    if (T.sample.due_ticks < due)
        due = T.sample.due_ticks;
    T.due_ticks = T.sample.pending || !shim_ticks_are_fast() || SHIM.n_gils > 1 ? 0 : due;
}

/* One more waiter, or one less.  Holding gil->mutex, W up to date. */
static inline void shim_account_waiters(struct shim_gil *g, uint64_t n)
{
    g->turn->n_waiters = g->rec->n_waiters = n;
}

/* A wait has been given up without the GIL.  Its holder may find nobody waiting at its release: what this wait adds to
 * it is charged now.  Holding gil->mutex, W up to date. */
static inline void shim_account_given_up(struct shim_gil *g)
{
    struct rec_thread *holder = shim_gil_holder(g);
    if (g->turn->take_ticks && holder)
        shim_charge(holder, g->rec->waiters_ticks - g->rec->hold_waiters_ticks);
    if (!g->turn->take_ticks || holder)
        g->rec->hold_waiters_ticks = g->rec->waiters_ticks;
}

void shim_account_enter_late_hold(struct rec_thread *tr);

/* Enters the last hold into the histogram if the shortest path, or a pause, has left it to the next take.  Owner of the
 * record. */
static inline void shim_account_late_hold(struct rec_thread *tr)
{
    if (tr->late_hold_ticks)
        shim_account_enter_late_hold(tr);
}

/* H at t, now, without gil->mutex.  False if it could not be read in one piece.  Any thread. */
bool shim_account_peek(const struct shim_gil *g, uint64_t t, uint64_t *sum);

/* The calling thread starts to wait in pthread_cond_timedwait, at t.  Holding gil->mutex. */
void shim_account_arrive(struct shim_gil *g, uint64_t t);

/* The calling thread's wait ends at t: with the GIL taken, or abandoned.  Leaves in T what shim_account_row and the
 * histogram need.  Holding gil->mutex. */
void shim_account_wait_end(struct shim_gil *g, uint64_t t);

/* The calling thread has taken the GIL at t, after a wait.  Holding gil->mutex. */
void shim_account_take_after_wait(struct shim_gil *g, uint64_t t);

/* Enters into the ring that tr has had the GIL since t, when H was `sum`.  Holding gil->mutex. */
void shim_account_change(struct shim_gil *g, const struct rec_thread *tr, uint64_t t, uint64_t sum);

/* The GIL has another holder since t, the calling thread.  Holding gil->mutex. */
void shim_account_holder(struct shim_gil *g, uint64_t t);

/* A hold begins at t for which others wait already.  Holding gil->mutex. */
void shim_account_hold_begins(struct shim_gil *g, uint64_t t);

/* The calling thread has just given up, at t, a hold for which others waited, or may have: charges it.  Holding
 * gil->mutex. */
void shim_account_hold_ends(struct shim_gil *g, uint64_t t);

/* The calling thread has just given up a hold, from `from` to t, that it had already when measuring was resumed: its
 * held_ticks have it, the GIL's accounts do not.  Holding gil->mutex. */
void shim_account_unknown_hold(struct shim_gil *g, uint64_t from, uint64_t t);

/* Makes H independent of the holder's record, at t.  Holding gil->mutex. */
void shim_account_settle(struct shim_gil *g, uint64_t t);

/* Enters the thread's last wait into its row of the matrix.  By the thread itself, at any time after it. */
void shim_account_row(struct shim_gil *g);

/* As shim_account_row, of a wait that has just ended otherwise than by a take: who has the GIL may not be known yet.
 * Holding gil->mutex. */
void shim_account_row_now(struct shim_gil *g);

#define SHIM_ROW_PARTS 6 /* of a row, at most: 84 holders a waiter */

/* Adds to a row's entry for a holder (thread index); returns false where the row is full, and what it had for another
 * holder, or this, has been added to its "other" instead.  Owner of the row, or whoever has the only use of it. */
bool shim_account_row_add(struct rec_thread *tr, uint32_t holder, uint64_t ticks);

/* The count of a bucket has wrapped around, so many times.  Owner of the record. */
void shim_account_wrapped(const struct rec_thread *tr, struct rec_hist_block *block, uint32_t sub, uint32_t times);

/* As the last, of the bucket of a hold of the calling thread, ticks. */
void shim_account_hold_wrapped(uint64_t ticks);

/* The bucket of a hold below T.hold_below of the calling thread, whose record tr is; NULL: it has
 * none yet. */
static inline uint32_t *shim_account_hold_count(const struct rec_thread *tr, uint64_t ticks)
{
    struct hist_place place = hist_place_below(ticks);
    uint32_t cell = tr->hist[REC_HIST_HOLD].block[place.octave];
    return LIKELY(cell) ? &((struct rec_hist_block *)shim_file_at(cell))->count[place.sub] : NULL;
}

/* Adds a value in ticks.  Owner of the record, not holding gil->mutex (the first value of an octave allots). */
void shim_account_hist(struct rec_thread *tr, enum rec_hist_kind kind, uint64_t ticks);

/* The unlock that followed the last release of g was not noticed, for a pause had begun or was about to end, when there
 * is nothing to compare addresses with: enters what was to be entered then, before the next wait takes its place.  By
 * the thread itself, which may hold gil->mutex. */
void shim_account_missed(struct shim_gil *g);

/* Enters what T.later says into histograms and row.  By the thread itself, within its record's sequence counter. */
void shim_account_enter(struct shim_gil *g);

/* gil->locked, 16 bytes before gil->cond (3.8 to 3.15).  Holding gil->mutex. */
static inline bool shim_gil_taken(const struct shim_gil *g)
{
    return *(const int *)((const char *)g->cond - 16) != 0;
}

/* gil->switch_number, 8 bytes before gil->cond (3.8 to 3.15).  Holding gil->mutex. */
static inline unsigned long shim_gil_switches(const struct shim_gil *g)
{
    return *(const unsigned long *)((const char *)g->cond - 8);
}

/* gil->last_holder, 24 bytes before gil->cond (3.8 to 3.15): the thread state of who holds the GIL, or held it last. By
 * the holder, or holding gil->mutex. */
static inline uintptr_t shim_gil_last_tstate(const struct shim_gil *g)
{
    return *(const uintptr_t *)((const char *)g->cond - 24);
}

/* A released interval has ended; long ones go into a histogram after the next release. */
static inline void shim_note_released(uint64_t from, uint64_t to)
{
    uint64_t ticks = shim_elapsed(from, to);
    shim_sample_end(SHIM_SAMPLE_RELEASED, from, to);
    if (UNLIKELY(ticks >= REC_LONG_RELEASED_TICKS)) {
        T.released_ticks = ticks;
        T.later |= SHIM_LATER_RELEASED;
    }
}

/* Released time up to t, of a thread that is in this state or has just left it, ticks.  Owner of the record. */
uint64_t shim_account_released(const struct rec_thread *tr, uint64_t t);

#endif
