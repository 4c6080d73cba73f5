/* SPDX-License-Identifier: MIT */
/*
 * model-cpu.c - splits a thread's held and released time into on and off CPU.
 *
 * The collector reads the thread's CPU clock on a budget.  A period between two readings that the thread spent in one
 * state is exact; the CPU time of the other, mixed, ones is shared out here, at the rates that the exact ones show.
 */
#include "model-build.h"

#include "live.h"

/* Exact periods this long, compared with the mixed ones, are taken to be typical of them. */
#define SAMPLED_SHARE 0.1
#define NATIVE_MOST_NS (1ull << 60) /* 36 years: what is more is damage */

struct periods { /* ns: CPU time and the wall time in which it was used */
    double exact_held_cpu, exact_held;
    double exact_released_cpu, exact_released;
    double mixed_cpu, mixed_held, mixed_released;
};

static double ratio(double part, double whole, double otherwise)
{
    if (whole <= 0)
        return otherwise;
    return part < whole ? part / whole : 1;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* How much of their time a thread's holds and its releases spend on a processor, as far as exact periods show.  Holds
 * without any are taken to compute; releases to take what the holds leave. */
static void rates(const struct periods *p, double *held, double *released)
{
    *held = ratio(p->exact_held_cpu, p->exact_held, 1);
    *released = ratio(p->exact_released_cpu, p->exact_released, 0);
}

/* How long the thread was ready to run without a processor: of one that was killed, as far as it was seen. */
static void add_run_delay(const struct build *build, const struct rec_thread *rec, const struct build_closed *closed,
                          struct model_thread *thread)
{
    thread->run_delay_ns = rec->run_delay_ns;
    if (build->running || build->file->header.complete || rec->end_ticks || rec->folded || rec->run_delay_ns)
        return;
    uint64_t known_until = rec->start_ticks;
    if (build_seen(build, rec)) {
        thread->run_delay_ns = rec->seen_run_delay_ns;
        known_until = rec->seen_ticks;
    }
    thread->run_delay_unknown_ns = build_ns(build, build_measured(build, known_until, closed->end_ticks));
}

/* What a thread of a process that was killed has used since the last reading, in which time it held the GIL or was
 * without it for so long: up to the last look at it that is known, and it went on like that. */
static double seen_cpu(const struct build *build, const struct rec_thread *rec, const struct build_closed *closed,
                       const struct model_thread *thread, double span)
{
    double rest = (double)thread->run_delay_unknown_ns - (double)build_ns(build, closed->open_wait);

    if (!build_seen(build, rec) || rec->seen_cpu_ns < rec->cpu_last_ns)
        return -1;
    double used = (double)(rec->seen_cpu_ns - rec->cpu_last_ns);
    rest = rest > 0 ? rest : 0;
    if (rest >= span)
        return -1;
    return used + rest * ratio(used, span - rest, 0);
}

/* CPU time since the last reading, in ns; negative if it is not known. */
static double final_cpu(const struct build *build, const struct rec_thread *rec, const struct build_closed *closed,
                        struct model_thread *thread, double span)
{
    uint64_t oncpu_ns, run_delay_ns;

    /* Nothing to compare with, since measuring was resumed; or what was used meanwhile is in the clock, too. */
    if (!rec->cpu_last_ns || rec->n_toggles != build->file->header.n_toggles)
        return -1;
    if (rec->cpu_end_ns)
        return rec->cpu_end_ns > rec->cpu_last_ns ? (double)(rec->cpu_end_ns - rec->cpu_last_ns) : 0;
    if (!build->running)
        return seen_cpu(build, rec, closed, thread, span);
    if (rec->end_ticks || !live_schedstat(build->file->pid_here, rec->tid, &oncpu_ns, &run_delay_ns))
        return -1;
    thread->run_delay_ns = run_delay_ns;
    return oncpu_ns > rec->cpu_last_ns ? (double)(oncpu_ns - rec->cpu_last_ns) : 0;
}

static uint64_t since(const struct build *build, uint64_t now_ticks, uint64_t base_ticks)
{
    return now_ticks > base_ticks ? build_ns(build, now_ticks - base_ticks) : 0;
}

static void add_final(struct build *build, const struct rec_thread *rec, const struct build_closed *closed,
                      struct model_thread *thread, struct periods *p)
{
    /* The record of ended threads has no last reading: what its periods do not cover is left of them all.  (Recordings
     * without cpu_used_ns keep the figures that their reports had.) */
    bool many = rec->folded && rec->cpu_used_ns;
    uint64_t held_base = many ? rec->cpu_exact_held_ticks + rec->cpu_mixed_held_ticks : rec->cpu_base_held_ticks;
    uint64_t released_base =
        many ? rec->cpu_exact_released_ticks + rec->cpu_mixed_released_ticks : rec->cpu_base_released_ticks;
    double held = (double)since(build, closed->held, held_base);
    double released = (double)since(build, closed->released, released_base);
    double cpu = final_cpu(build, rec, closed, thread, held + released), held_rate, released_rate;

    if (cpu < 0) {
        rates(p, &held_rate, &released_rate);
        cpu = held * held_rate;
        /* Reads of files that were in memory say nothing of the hour for which the thread has slept since, until the
         * program was killed: that is neither work of its, nor to take what native threads used. */
        cpu += least(released * released_rate, p->exact_released_cpu);
    }
    build->python_cpu_ns += cpu + (double)rec->cpu_used_ns;
    if (released <= 0 && held > 0) {
        p->exact_held_cpu += cpu;
        p->exact_held += held;
    } else if (held <= 0 && released > 0) {
        p->exact_released_cpu += cpu;
        p->exact_released += released;
    } else {
        p->mixed_cpu += cpu;
        p->mixed_held += held;
        p->mixed_released += released;
    }
}

/* The part of the mixed periods' CPU time that was used while the GIL was held. */
static double share_out(const struct periods *p)
{
    double held_rate, released_rate, held, released;

    rates(p, &held_rate, &released_rate);
    held = p->mixed_held * held_rate;
    released = p->mixed_released * released_rate;
    if (held + released > 0)
        held = p->mixed_cpu * (held / (held + released));
    else
        held = p->mixed_cpu;
    held = least(held, p->mixed_held);
    released = least(p->mixed_cpu - held, p->mixed_released);
    return least(p->mixed_cpu - released, p->mixed_held);
}

/* CPU time that may have been used with the GIL or without it.  Where there are exact periods of both kinds to go by,
 * what they do not explain; otherwise all that could be either. */
static double unsure(const struct periods *p)
{
    double held_rate, released_rate, expected, most, rest;

    if (p->exact_held >= SAMPLED_SHARE * p->mixed_held && p->exact_released >= SAMPLED_SHARE * p->mixed_released) {
        rates(p, &held_rate, &released_rate);
        expected = p->mixed_held * held_rate + p->mixed_released * released_rate;
        return p->mixed_cpu > expected ? p->mixed_cpu - expected : expected - p->mixed_cpu;
    }
    most = least(p->mixed_cpu, p->mixed_held);
    rest = p->mixed_cpu - p->mixed_released;
    return rest > 0 ? most - least(rest, most) : most;
}

/* A part of a whole, which a double may have rounded up. */
static uint64_t part_of(double part, uint64_t whole)
{
    return part < (double)whole ? (uint64_t)part : whole;
}

void build_cpu(struct build *build, const struct rec_thread *rec, const struct build_closed *closed,
               struct model_thread *thread)
{
    struct periods p = {
        .exact_held_cpu = (double)rec->cpu_exact_held_ns,
        .exact_held = (double)build_ns(build, rec->cpu_exact_held_ticks),
        .exact_released_cpu = (double)rec->cpu_exact_released_ns,
        .exact_released = (double)build_ns(build, rec->cpu_exact_released_ticks),
        .mixed_cpu = (double)rec->cpu_mixed_ns,
        .mixed_held = (double)build_ns(build, rec->cpu_mixed_held_ticks),
        .mixed_released = (double)build_ns(build, rec->cpu_mixed_released_ticks),
    };
    double mixed_held, held, released;

    add_run_delay(build, rec, closed, thread);
    add_final(build, rec, closed, thread, &p);
    mixed_held = share_out(&p);
    held = p.exact_held_cpu + mixed_held;
    released = p.exact_released_cpu + p.mixed_cpu - mixed_held;
    /* What one state has no room for was used in the other; a clock's granularity, or waiting, can cause it. */
    if (held > (double)thread->held_ns) {
        released += held - (double)thread->held_ns;
        held = (double)thread->held_ns;
    }
    released = least(released, (double)thread->released_ns);
    thread->states.held_oncpu_ns = part_of(held, thread->held_ns);
    thread->states.held_offcpu_ns = thread->held_ns - thread->states.held_oncpu_ns;
    thread->states.released_oncpu_ns = part_of(released, thread->released_ns);
    thread->states.released_offcpu_ns = thread->released_ns - thread->states.released_oncpu_ns;
    build->cpu_unsure_ns += unsure(&p) + (double)rec->cpu_inferred_ns;
}

void build_native_cpu(struct build *build)
{
    const struct rec_header *header = &build->file->header;
    struct model_totals *totals = &build->process->totals;
    double used = (double)header->cpu_used_ns;

    if (header->cpu_last_ns && header->cpu_toggles == header->n_toggles && !(header->n_toggles & 1)) {
        uint64_t now_ns = build->running                            ? live_process_cpu_ns(build->file->pid_here)
                          : header->complete || build_is_cut(build) ? 0
                                                                    : header->seen_cpu_ns;
        used += now_ns > header->cpu_last_ns ? (double)(now_ns - header->cpu_last_ns) : 0;
    }
    totals->has_native_cpu = header->cpu_used_ns != 0;
    totals->native_cpu_ns = used > build->python_cpu_ns ? part_of(used - build->python_cpu_ns, NATIVE_MOST_NS) : 0;
}
