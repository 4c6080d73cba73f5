/* SPDX-License-Identifier: MIT */
/* shim-sample.c - which intervals have their stack recorded, and what each sample stands for. */
#define _GNU_SOURCE
#include "shim-sample.h"

#include <errno.h>
#include <sys/mman.h>

#include "shim-account.h"
#include "shim-clock.h"
#include "shim-enter-stack.h"
#include "shim-file.h"
#include "shim-frames.h"
#include "shim-native.h"
#include "shim-stack.h"
#include "shim-thread.h"

/* At most one part in this many of a thread's time goes into samples: where stacks are deep, points lie further apart.
 */
#define COST_PARTS 256
#define DEFAULT_US 1000
#define COST_PARTS_LEAST 16 /* where shorter distances than the default are asked for */
#define UNANSWERED_US 1000  /* longer than any code of the interpreter takes between two looks for a request */
#define MAKE_UP_PARTS 32    /* of what the weights lack, so much is made up for with each sample */
#define NATIVE_EVERY_US 500 /* in front of takes that will wait, at most */

static uint64_t mean_ticks; /* 0 = off */
static uint64_t cost_parts = COST_PARTS;
static bool native; /* native frames are taken, too */

/* --- halves ------------------------------------------------------------------------------------------------------ */
#define HALVES 16 /* made at a time */
static struct shim_half *free_halves;
static uint32_t halves_busy;

/* A place for the calling thread's native frames; NULL = not now.  Not holding gil->mutex. */
static struct shim_half *get_half(void)
{
    if (T.sample.half || __atomic_exchange_n(&halves_busy, 1, __ATOMIC_ACQUIRE))
        return T.sample.half;
    if (!free_halves) {
        struct shim_half *made =
            mmap(NULL, HALVES * sizeof *made, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (int i = 0; made != MAP_FAILED && i < HALVES; i++) {
            made[i].next_free = free_halves;
            free_halves = &made[i];
        }
    }
    T.sample.half = free_halves;
    if (free_halves)
        free_halves = free_halves->next_free;
    __atomic_store_n(&halves_busy, 0, __ATOMIC_RELEASE);
    return T.sample.half;
}

static void put_half(void)
{
    struct shim_half *half = T.sample.half;
    T.sample.half = NULL;
    if (!half || __atomic_exchange_n(&halves_busy, 1, __ATOMIC_ACQUIRE))
        return; /* another thread is at it: this one is lost */
    half->next_free = free_halves;
    free_halves = half;
    __atomic_store_n(&halves_busy, 0, __ATOMIC_RELEASE);
}

/* libunwind makes and keeps 256 KiB for each thread that it has unwound (x86_64/Gtrace.c), until the thread ends: only
 * so many have their native frames taken at a time, and where threads are short-lived, only one now and then.  The
 * others borrow those of threads that ran the same code. */
#define UNWOUND_THREADS 32
#define YOUNG_US 50000
static uint32_t n_unwound;
static uint64_t next_young_ticks; /* then it is another young one's turn */

static bool may_unwind(uint64_t t)
{
    if (T.sample.unwound)
        return true;
    uint64_t young = YOUNG_US * shim_clock_ticks_per_us(), next = __atomic_load_n(&next_young_ticks, __ATOMIC_RELAXED);
    if (shim_elapsed(T.rec->start_ticks, t) < young &&
        (t < next ||
         !__atomic_compare_exchange_n(&next_young_ticks, &next, t + young, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)))
        return false;
    if (__atomic_load_n(&n_unwound, __ATOMIC_RELAXED) >= UNWOUND_THREADS)
        return false;
    if (__atomic_fetch_add(&n_unwound, 1, __ATOMIC_RELAXED) >= UNWOUND_THREADS) {
        __atomic_fetch_sub(&n_unwound, 1, __ATOMIC_RELAXED);
        return false;
    }
    T.sample.unwound = true;
    return true;
}

static void take_native(uint64_t t)
{
    struct shim_half *half = native && may_unwind(t) ? get_half() : NULL;
    if (!half)
        return;
    T.sample.native_due_ticks = t + NATIVE_EVERY_US * shim_clock_ticks_per_us();
    shim_native_take(half);
    T.sample.have_native = half->n > 0;
}

/* --- random points ----------------------------------------------------------------------------------------------- */
static uint64_t next_random(void)
{
    uint64_t x = T.sample.random; /* xorshift64*, never 0 */
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    T.sample.random = x;
    return x * 0x2545f4914f6cdd1du;
}

/* -ln(u) for u = bits / 2^53 in (0, 1], within 1e-6: the exponent, and a series for what is left of the mantissa. */
static double minus_log(uint64_t bits)
{
    const double ln2 = 0.69314718055994531;
    int shift = __builtin_clzll(bits | 1) - 11;          /* leading zeros of a number of 53 bits */
    double mantissa = (double)(bits << shift) * 0x1p-53; /* in [0.5, 1) */
    if (mantissa < 0.70710678118654752) {
        mantissa *= 2;
        shift++;
    }
    double z = (mantissa - 1) / (mantissa + 1), z2 = z * z; /* ln(m) = 2 artanh(z), |z| < 0.1716 */
    double log = 2 * z * (1 + z2 * (1.0 / 3 + z2 * (1.0 / 5 + z2 * (1.0 / 7 + z2 / 9))));
    return shift * ln2 - log;
}

static uint64_t draw(uint64_t mean)
{
    return (uint64_t)((double)mean * minus_log((next_random() >> 11) | 1)) + 1;
}

/* The distance of the points from now on. */
static uint64_t mean_now(void)
{
    uint64_t mean = mean_ticks > T.sample.cost_ticks * cost_parts ? mean_ticks : T.sample.cost_ticks * cost_parts;
    /* Each of many waiters adds its samples to the one GIL's work. */
    if (T.gil && T.gil->rec)
        mean += mean * __atomic_load_n(&T.gil->rec->n_waiters, __ATOMIC_RELAXED) / 4;
    return mean;
}

/* --- intervals --------------------------------------------------------------------------------------------------- */
/* What the weights of a kind should add up to at t. */
static uint64_t exact(enum shim_sample_kind kind, uint64_t t)
{
    const struct rec_thread *tr = T.rec;

    switch (kind) {
    case SHIM_SAMPLE_WAIT:
        return tr->wait_blocked_ticks + tr->wait_wakeup_ticks;
    case SHIM_SAMPLE_HELD:
        return tr->held_ticks;
    case SHIM_SAMPLE_CHARGED:
        return tr->charged_ticks + __atomic_load_n(&tr->charged_late_ticks, __ATOMIC_RELAXED);
    default:
        return shim_account_released(tr, t);
    }
}

/* An interval of this kind that ended at t is sampled.  What chance has given too much or too little up to the sample
 * before is made up for bit by bit: it is settled before this one is drawn, so that all places share in it alike. */
static void give(enum shim_sample_kind kind, uint64_t ticks, uint64_t mean, uint64_t t)
{
    int64_t limit = (int64_t)mean / 2, more = T.sample.lacking_ticks[kind] / MAKE_UP_PARTS;

    ticks += (uint64_t)(more < -limit ? -limit : more > limit ? limit : more);
    T.sample.weight_ticks[kind] += ticks;
    T.sample.given_ticks[kind] += ticks;
    T.sample.lacking_ticks[kind] = (int64_t)(exact(kind, t) - T.sample.given_ticks[kind]);
    T.sample.pending |= (uint8_t)(1u << kind);
}

void shim_sample_hit(enum shim_sample_kind kind, uint64_t from, uint64_t to)
{
    if (T.sample.due_ticks < from) /* what came before was not looked at: a pause, a forced switch */
        T.sample.due_ticks = from + draw(T.sample.mean_ticks);
    if (to < T.sample.due_ticks)
        return;
    give(kind, T.sample.mean_ticks + (to - T.sample.due_ticks), T.sample.mean_ticks, to);
    if (kind == SHIM_SAMPLE_HELD) {
        T.sample.hold_ticks = to - from;
        T.sample.hold_mean_ticks = T.sample.mean_ticks;
    }
    if (to - from > T.sample.span_ticks)
        T.sample.span_ticks = to - from;
    T.sample.mean_ticks = mean_now();
    T.sample.due_ticks = to + draw(T.sample.mean_ticks);
}

void shim_sample_charge_hit(uint64_t ticks)
{
    uint64_t beyond = ticks - T.sample.charge_left_ticks;
    if (!mean_ticks)
        return;
    give(SHIM_SAMPLE_CHARGED, T.sample.charge_mean_ticks + beyond, T.sample.charge_mean_ticks, 0);
    T.sample.charge_mean_ticks = mean_now();
    T.sample.charge_left_ticks = draw(T.sample.charge_mean_ticks);
}

/* --- threads ----------------------------------------------------------------------------------------------------- */
void shim_sample_start(uint64_t mean_us, bool with_native, const void *runtime)
{
    native = mean_us && with_native && shim_native_open();
    shim_native_reset();
    mean_ticks = mean_us * shim_clock_ticks_per_us();
    cost_parts = mean_us < DEFAULT_US ? COST_PARTS * mean_us / DEFAULT_US : COST_PARTS;
    if (cost_parts < COST_PARTS_LEAST)
        cost_parts = COST_PARTS_LEAST;
    shim_stack_reset();
    shim_frames_start(SHIM.python_hex, runtime);
}

void shim_sample_forget(void)
{
    mean_ticks = 0;
    free_halves = NULL;
    halves_busy = 0;
    n_unwound = 0;
    shim_stack_reset();
}

void shim_sample_attach(uint64_t since)
{
    T.sample.due_ticks = T.sample.charge_left_ticks = T.sample.native_due_ticks = UINT64_MAX;
    if (!mean_ticks || !T.rec->index)
        return;
    T.sample.random = (since ^ (uint64_t)T.rec->index << 40) * 0x9e3779b97f4a7c15u | 1;
    next_random();
    T.sample.mean_ticks = T.sample.charge_mean_ticks = mean_ticks;
    for (int kind = 0; kind < SHIM_SAMPLE_KINDS; kind++)
        T.sample.given_ticks[kind] = 0, T.sample.lacking_ticks[kind] = 0;
    T.sample.due_ticks = since + draw(mean_ticks);
    if (native)
        T.sample.native_due_ticks = since;
    T.sample.charge_left_ticks = draw(mean_ticks);
}

void shim_sample_detach(void)
{
    if (mean_ticks)
        shim_enter_last("[until the end of the thread]");
    put_half();
    if (T.sample.unwound)
        __atomic_fetch_sub(&n_unwound, 1, __ATOMIC_RELAXED);
    T.sample.unwound = false;
}

void shim_sample_close(uint64_t t)
{
    if (!mean_ticks || T.generation != SHIM.generation || !T.rec || !T.rec->index)
        return;
    if (SHIM_STATE(T.rec) == REC_STATE_HELD)
        shim_sample_end(SHIM_SAMPLE_HELD, T.rec->state_ticks, t);
    shim_enter_last("[until the end of the program]");
}

/* --- samples ----------------------------------------------------------------------------------------------------- */
void shim_sample_released(uint64_t hold_ticks)
{
    int saved_errno = errno;
    shim_enter();
    if (hold_ticks > T.sample.longest_hold_ticks)
        T.sample.longest_hold_ticks = hold_ticks;
    if (T.sample.pending & 1u << SHIM_SAMPLE_HELD)
        shim_enter_held_oncpu();
    take_native(T.rec->state_ticks);
    shim_leave();
    errno = saved_errno;
}

void shim_sample_unanswered(struct shim_gil *g)
{
    uint64_t t = shim_ticks();
    if (!g->asked_ticks || g->asked_ticks < g->turn->take_ticks) {
        g->asked_ticks = t;
        g->callee = g->callee_place = 0;
        return;
    }
    if (!native || T.busy || g->callee || shim_elapsed(g->asked_ticks, t) < UNANSWERED_US * shim_clock_ticks_per_us())
        return;
    int saved_errno = errno;
    shim_enter();
    uint64_t function = shim_frames_callee(shim_gil_last_tstate(g), &g->callee_place);
    g->callee = function > 1 ? function : 1;
    shim_leave();
    errno = saved_errno;
}

void shim_sample_native(uint64_t t)
{
    if (!native || T.sample.have_native) /* else what was taken at the interval's begin serves */
        return;
    int saved_errno = errno;
    shim_enter();
    take_native(t);
    shim_leave();
    errno = saved_errno;
}
