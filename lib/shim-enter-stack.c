/* SPDX-License-Identifier: MIT */
/* shim-enter-stack.c - what is pending is entered: the samples of a thread, after the take that follows them. */
#define _GNU_SOURCE
#include "shim-enter-stack.h"

#include <errno.h>
#include <string.h>

#include "shim-account.h"
#include "shim-clock.h"
#include "shim-cpu.h"
#include "shim-file.h"
#include "shim-frames.h"
#include "shim-native.h"
#include "shim-sample.h"
#include "shim-stack.h"
#include "shim-thread.h"

#define SAMPLE_NS 1500 /* what one costs, with its native frames */
#define FRAME_NS 100   /* for each Python frame */
/* Of a longer hold than this that nobody asked to end, it is only known where it ended: its stack says so. */
#define LONG_HOLD_US 10000

void shim_enter_nothing(void)
{
    T.sample.pending = 0;
    T.sample.have_native = false;
    T.sample.callee = T.sample.call_ticks = 0;
    T.sample.longest_hold_ticks = T.sample.span_ticks = 0;
    for (int kind = 0; kind < SHIM_SAMPLE_KINDS; kind++)
        T.sample.weight_ticks[kind] = 0;
}

/* --- CPU time ---------------------------------------------------------------------------------------------------- */
static double between(double low, double x, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* What one state used of the CPU time of a period, as a share of its ticks, by the readings that enclosed that state
 * only; `guess` where there are none. */
static double usual_share(uint64_t ns, uint64_t ticks, double ns_per_tick, double guess)
{
    return ticks ? between(0.01, (double)ns / ((double)ticks * ns_per_tick), 1) : guess;
}

void shim_sample_cpu_read(uint64_t used_ns, uint64_t held_ticks, uint64_t released_ticks)
{
    T.sample.cpu_used_ns = used_ns;
    T.sample.cpu_held_ticks = held_ticks;
    T.sample.cpu_released_ticks = released_ticks;
}

/* The shares of held and released time that the thread has spent on a processor since its CPU clock was read last, and
 * in the period before if this one does not reach as far back as the sampled interval.  By the thread itself. */
static void cpu_shares(double *held_share, double *released_share)
{
    const struct rec_thread *tr = T.rec;
    double ns_per_tick = 1000.0 / (double)shim_clock_ticks_per_us();
    uint64_t now = shim_cpu_ns(0),
             used_ns = now > tr->cpu_last_ns && tr->cpu_last_ns ? now - tr->cpu_last_ns : 0;
    /* At the time of a take, the released interval is over: it is what remains. */
    uint64_t t = SHIM_STATE(tr) == REC_STATE_HELD ? tr->state_ticks : shim_ticks();
    uint64_t held_ticks = tr->held_ticks - tr->cpu_base_held_ticks;
    uint64_t released_ticks = shim_elapsed(tr->cpu_base_released_ticks, shim_account_released(tr, t));
    if (held_ticks + released_ticks < T.sample.span_ticks) {
        used_ns += T.sample.cpu_used_ns;
        held_ticks += T.sample.cpu_held_ticks;
        released_ticks += T.sample.cpu_released_ticks;
    }
    double held = (double)held_ticks * ns_per_tick, released = (double)released_ticks * ns_per_tick;
    double used = between(0, (double)used_ns, held + released);
    double h = held * usual_share(tr->cpu_exact_held_ns, tr->cpu_exact_held_ticks, ns_per_tick, 1);
    double r = released * usual_share(tr->cpu_exact_released_ns, tr->cpu_exact_released_ticks, ns_per_tick, 0.1);
    double for_held = h + r > 0 ? between(used - released, used * h / (h + r), held) : 0;
    *held_share = held > 0 ? between(0, for_held / held, 1) : 0;
    *released_share = released > 0 ? between(0, (used - for_held) / released, 1) : 0;
}

void shim_enter_held_oncpu(void)
{
    double held_share, released_share;
    cpu_shares(&held_share, &released_share);
    T.sample.held_oncpu_ticks = (uint64_t)((double)T.sample.weight_ticks[SHIM_SAMPLE_HELD] * held_share);
}

/* --- stacks ------------------------------------------------------------------------------------------------------ */
static void add(struct rec_stack *s, enum rec_weight weight, uint64_t ticks)
{
    s->weight_ticks[weight] += ticks;
    s->samples[weight]++;
}

/* How many holds of the length of the one that is pending there are for each that is sampled: 1 / (1 - exp(-x)). */
static uint64_t holds_for_each(void)
{
    double x = (double)T.sample.hold_ticks / (double)(T.sample.hold_mean_ticks + 1);
    double n = x > 4 ? 1 : x > 1e-6 ? 1 / x + 0.5 + x / 12 - x * x * x / 720 : 1e6;

    return (uint64_t)(n + 0.5) + (n < 0.5);
}

/* Enters these kinds of what is pending into the record of its stack. */
static void enter(struct rec_stack *s, uint8_t pending)
{
    const uint64_t *ticks = T.sample.weight_ticks;
    if (pending & 1u << SHIM_SAMPLE_WAIT)
        add(s, REC_WEIGHT_WAIT, ticks[SHIM_SAMPLE_WAIT]);
    if (pending & 1u << SHIM_SAMPLE_CHARGED)
        add(s, REC_WEIGHT_CHARGED, ticks[SHIM_SAMPLE_CHARGED]);
    if (pending & 1u << SHIM_SAMPLE_HELD) {
        add(s, REC_WEIGHT_HELD, ticks[SHIM_SAMPLE_HELD]);
        add(s, REC_WEIGHT_HELD_ONCPU, T.sample.held_oncpu_ticks);
    }
    if (pending & 1u << SHIM_SAMPLE_RELEASED) {
        double held_share, released_share;
        cpu_shares(&held_share, &released_share);
        add(s, REC_WEIGHT_RELEASED, ticks[SHIM_SAMPLE_RELEASED]);
        add(s, REC_WEIGHT_RELEASED_ONCPU, (uint64_t)((double)ticks[SHIM_SAMPLE_RELEASED] * released_share));
    }
    if ((pending & (1u << SHIM_SAMPLE_HELD | 1u << SHIM_SAMPLE_CHARGED)) &&
        T.sample.longest_hold_ticks > s->weight_ticks[REC_STACK_LONGEST_HOLD])
        s->weight_ticks[REC_STACK_LONGEST_HOLD] = T.sample.longest_hold_ticks;
    uint64_t call_us = T.sample.call_ticks / shim_clock_ticks_per_us();
    if ((pending & (1u << SHIM_SAMPLE_HELD | 1u << SHIM_SAMPLE_CHARGED)) &&
        call_us > s->samples[REC_STACK_LONGEST_CALL])
        s->samples[REC_STACK_LONGEST_CALL] = call_us < UINT32_MAX ? (uint32_t)call_us : UINT32_MAX;
}

/* The pending samples that `kinds` has, of the stack of these frames, where so many holds have ended. */
static void enter_stack(const uint32_t *python, uint32_t n, uint32_t flags, const struct shim_half *half,
                        uint64_t place, uint8_t kinds, uint64_t n_holds)
{
    struct rec_stack *s = shim_stack_get(python, n, flags, half, place, shim_native_generation());
    if (s)
        enter(s, kinds);
    else
        shim_file_loss(REC_LOSS_STACKS);
    if (s && n_holds)
        s->weight_ticks[REC_STACK_HOLDS] += n_holds;
}

/* A frame that is none. */
static uint32_t note(const char *text)
{
    return shim_stack_frame(shim_stack_string(text, strlen(text)), shim_stack_string("", 0), 0, 0);
}

#define LONG_RELEASED_US 1000

/* What a function of a library has done that ctypes has called without the GIL is that library's: on the way back nothing of
 * it is left on the native stack, but Python's frame is still calling it.  Enters such an interval; false: it is none. */
static bool enter_released_in_ctypes(uintptr_t tstate, const uint32_t *python, uint32_t n, uint32_t flags, uint64_t place)
{
    static struct shim_half changed; /* inside shim_stack_enter; a thread's stack may be small */
    uint64_t called_at;

    if (T.sample.span_ticks < LONG_RELEASED_US * shim_clock_ticks_per_us() || !shim_native_is_open())
        return false;
    uint64_t function = shim_frames_callee_of_ctypes(tstate, &called_at);
    if (!function || called_at != place)
        return false;
    if (T.sample.have_native) {
        changed = *T.sample.half;
        shim_native_add_released(&changed, function);
    } else {
        changed.n = 0;
        changed.flags = 0;
        changed.generation = shim_native_generation();
        shim_native_add_callee(&changed, function);
        flags |= REC_STACK_CALLEE;
    }
    enter_stack(python, n, flags, &changed, place, 1u << SHIM_SAMPLE_RELEASED, 0);
    return true;
}

static void sample(uintptr_t tstate)
{
    uint32_t n, flags = 0;
    uint64_t place;
    uint32_t *python = shim_frames_read(tstate, &n, &flags, &place);
    uint8_t kinds = T.sample.pending;
    uint64_t n_holds = kinds & 1u << SHIM_SAMPLE_HELD ? holds_for_each() : 0;
    /* By count, not by the clock, which sees others' work, too. */
    uint64_t cost = (SAMPLE_NS + (uint64_t)n * FRAME_NS) * shim_clock_ticks_per_us() / 1000;
    T.sample.cost_ticks = (T.sample.cost_ticks * 3 + cost) / 4;
    if (flags & (REC_STACK_NO_PYTHON | REC_STACK_PYTHON_CUT))
        shim_file_loss(REC_LOSS_STACKS_UNREAD);
    if ((kinds & 1u << SHIM_SAMPLE_HELD) && !T.sample.asked &&
        T.sample.longest_hold_ticks > LONG_HOLD_US * shim_clock_ticks_per_us()) {
        uint32_t cell = note("[held until here]");
        if (cell) {
            python[-1] = cell;
            enter_stack(python - 1, n + 1, flags, NULL, 0, 1u << SHIM_SAMPLE_HELD, 0);
            kinds &= (uint8_t) ~(1u << SHIM_SAMPLE_HELD);
        }
    }
    if ((kinds & 1u << SHIM_SAMPLE_RELEASED) && enter_released_in_ctypes(tstate, python, n, flags, place)) {
        kinds &= (uint8_t) ~(1u << SHIM_SAMPLE_RELEASED);
        if (!kinds)
            return;
    }
    if (T.sample.callee > 1 && T.sample.have_native && T.sample.callee_place == place)
        shim_native_add_callee(T.sample.half, T.sample.callee);
    else
        T.sample.call_ticks = 0;
    enter_stack(python, n, flags, T.sample.have_native ? T.sample.half : NULL, place, kinds, n_holds);
}

void shim_enter_last(const char *text)
{
    if (T.sample.pending && shim_stack_enter()) {
        uint32_t cell = note(text);
        enter_stack(&cell, cell != 0, REC_STACK_NO_PYTHON, NULL, 0, T.sample.pending, 0);
        shim_stack_leave();
    }
    shim_enter_nothing();
}

void shim_sample_taken(void)
{
    int saved_errno = errno;
    shim_enter();
    if (shim_stack_enter()) {
        sample(shim_gil_last_tstate(T.gil));
        shim_stack_leave();
    } else {
        shim_file_loss(REC_LOSS_STACKS);
    }
    shim_enter_nothing();
    shim_leave();
    errno = saved_errno;
}
