/* SPDX-License-Identifier: MIT */
/*
 * collect-sample-picture.c - from the sampler's counts to a picture for the recording.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chance.h"
#include "collect-sample.h"
#include "mem.h"

#define TICK_NS 10000000u /* schedstat may be so far behind for a thread that runs (CONFIG_HZ of 100, the least) */

static void name_thread(struct sample_process *p, struct sample_thread *t)
{
    const struct find_thread *tstate = threads_find(&p->list, t->pthread_id);
    char name[sizeof t->name] = "";

    /* Once the thread has ended, another one may have its memory, and so its pthread_self(). */
    if (!tstate || tstate->native_id != t->tid || t->name_source == REC_NAME_PYTHON)
        return;
    enum rec_name_source source = threads_name(&p->found, tstate, name, sizeof name);
    if (source == REC_NAME_NONE)
        return;
    t->name_source = source;
    memcpy(t->name, name, sizeof name);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint32_t ppm(double error)
{
    return error > 0 && error < 1 ? (uint32_t)(error * 1e6 + 1) : 1000000;
}

/* How far its shares may be off, 95 %: n looks that stand for different times count as fewer.  To what chance makes
 * comes what might have been a part of another state, and that it began and ended some time between two looks. */
static uint32_t error_ppm(const struct sample_process *p, const struct sample_thread *t,
                          const struct recwriter_thread *out, uint64_t wall_ns)
{
    const uint64_t states[] = {out->held_ns, out->wait_blocked_ns + out->wait_wakeup_ns, out->wait_forced_ns,
                               out->released_ns};
    double n = t->looks_ns2 > 0 ? t->looks_ns * t->looks_ns / t->looks_ns2 : 0, largest = 0;

    for (size_t i = 0; i < sizeof states / sizeof *states && wall_ns; i++) {
        double error = chance_error((double)states[i] / (double)wall_ns * n, n);
        if (error > largest)
            largest = error;
    }
    double edges_ns = (t->is_new + t->ended) * sqrt(p->gap_sum2 / (double)(p->n_looks ? p->n_looks : 1)) / 2;
    largest += wall_ns ? ((double)t->unsure_ns + edges_ns) / (double)wall_ns : 0;
    return ppm(largest);
}

/* The same for all threads together that came later, ns.  A look adds the number of them in a state, times what it
 * stands for, which vary; two looks more at which it would have been one, as in chance.c. */
static double error_of_new_ns(const struct sample_process *p)
{
    double n = (double)(p->n_looks ? p->n_looks : 1), largest = 0;

    for (int i = 0; i < SAMPLE_STATES; i++) {
        double square = p->new_sum2[i] - p->new_sum[i] * p->new_sum[i] / n + 2 * p->gap_sum2 / n;
        if (square > largest)
            largest = square;
    }
    return 1.96 * sqrt(largest);
}

/* Of what it used before looks that found it asleep, the part with the GIL.  A server's thread that works for a
 * millisecond and sleeps for two has used processors before most of these: as it did when looks found it to run. */
static uint64_t slept_held_cpu_ns(const struct sample_thread *t)
{
    double held = (double)t->held_run_ns, all = held + (double)t->released_run_ns;

    return all > 0 ? (uint64_t)((double)t->slept_cpu_ns * (held / all)) : 0;
}

/* What a thread's counts and those of many have in common. */
static void fill_sums(const struct sample_thread *t, uint64_t wall_ns, struct recwriter_thread *out)
{
    uint64_t sum = t->held_ns + t->released_ns + t->wait_ns + t->forced_ns;

    memset(out, 0, sizeof *out);
    out->index = t->index;
    out->ended = t->ended;
    out->gil = t->gil;
    out->wait_blocked_ns = t->blocked_ns;
    out->wait_wakeup_ns = t->wait_ns - t->blocked_ns;
    out->wait_forced_ns = t->forced_ns;
    out->held_ns = t->held_ns;
    out->released_ns = wall_ns > sum ? t->released_ns + (wall_ns - sum) : t->released_ns;
    /* All of it is exact, what of it was held is not: what one has no room for is the other's. */
    uint64_t cpu_ns = t->held_cpu_ns + t->released_cpu_ns;
    out->held_oncpu_ns = least(t->held_cpu_ns + slept_held_cpu_ns(t), out->held_ns);
    out->released_oncpu_ns = least(cpu_ns - out->held_oncpu_ns, out->released_ns);
    out->held_oncpu_ns = least(cpu_ns - out->released_oncpu_ns, out->held_ns);
    out->charged_ns = t->charged_ns;
    out->run_delay_ns = t->run_delay_ns - t->run_delay_first_ns;
    out->contended = t->contended;
    out->hist[REC_HIST_WAIT] = t->wait;
    out->hist[REC_HIST_WAIT].sum_ns = t->wait_ns; /* with the open one */
    if (t->wait_open_ns > t->wait.max_ns)
        out->hist[REC_HIST_WAIT].max_ns = t->wait_open_ns;
    out->hist[REC_HIST_WAIT].n_buckets = REC_HIST_OCTAVES * REC_HIST_SUBS;
    out->hist[REC_HIST_HOLD].uncounted = t->contended; /* there were at least so many */
    out->pairs = t->pairs;
    out->n_pairs = t->n_pairs;
}

/* The looks' times, stretched to what has passed since the thread was first seen. */
static void fill(const struct sample_process *p, const struct sample_thread *t, uint64_t now_ns,
                 struct recwriter_thread *out)
{
    uint64_t end = t->ended ? t->last_ns : now_ns, wall = end > t->start_ns ? end - t->start_ns : 0;

    fill_sums(t, wall, out);
    out->tid = t->tid;
    out->main = t->outer_tid == (uint32_t)p->found.pid;
    out->pthread_id = t->pthread_id;
    out->name = t->name[0] ? t->name : NULL;
    out->name_source = t->name_source;
    out->start_ns = t->start_ns;
    out->end_ns = t->start_ns + wall;
    out->error_ppm = error_ppm(p, t, out, wall);
}

static void fill_folded(const struct sample_process *p, const struct sample_ended *e, struct recwriter_thread *out)
{
    double wall_ns = (double)e->wall_ns;

    fill_sums(&e->sum, e->wall_ns, out);
    out->name = "(ended threads)";
    out->name_source = REC_NAME_OS;
    out->start_ns = p->start_ns;
    out->end_ns = e->sum.last_ns;
    out->n_folded = e->n;
    out->folded_wall_ns = e->wall_ns;
    out->error_ppm = ppm(e->wall_ns ? (error_of_new_ns(p) + (double)e->sum.unsure_ns) / wall_ns : 1);
}

/* --- what short lives use of the processors ---------------------------------------------------------------------- */
struct rows { /* of the picture: what is written, and what it was made of; n_gils more of them are folded ones */
    struct recwriter_thread *out;
    const struct sample_thread **of;
    size_t n;
    uint64_t unknown_ns; /* CPU time of short lives of which it is not known what they were */
};

/* What the process has used, and no thread was seen to: after the last look at it, or it was never looked at. */
static uint64_t unseen_cpu_ns(const struct sample_process *p)
{
    uint64_t used_ns = p->cpu_ns - p->cpu_first_ns, behind_ns = 0;

    for (size_t i = 0; i < p->n_threads; i++)
        behind_ns = p->threads[i].runs ? TICK_NS : behind_ns;
    return p->cpu_first_ns && used_ns > p->cpu_seen_ns + behind_ns ? used_ns - p->cpu_seen_ns : 0;
}

/* Gives a share of what is there to each, as much as there is room for.  Returns what is left. */
static uint64_t give(uint64_t ns, uint64_t room_ns, uint64_t all_ns, uint64_t *to)
{
    uint64_t part = all_ns > ns ? (uint64_t)((double)room_ns * ((double)ns / (double)all_ns)) : room_ns;

    *to += part;
    return part;
}

static bool is_short(const struct recwriter_thread *out, const struct sample_thread *t)
{
    return out->index && (out->index == RECWRITER_ENDED || sample_is_short(t));
}

/* What all short lives together have used, with what was used behind the last look at each or by those that were never
 * looked at, is divided among them as they were seen to run.  What is left, no more than chance allows for, they used
 * without the GIL; else it is of threads without one. */
static void share_cpu(const struct sample_process *p, struct rows *rows, struct recwriter *writer)
{
    uint64_t unseen = unseen_cpu_ns(p) + rows->unknown_ns, ns = unseen, given = 0, all = 0, off = 0;

    for (size_t i = 0; i < rows->n; i++) {
        struct recwriter_thread *out = &rows->out[i];
        const struct sample_thread *t = rows->of[i];
        if (!is_short(out, t))
            continue;
        ns += t->held_cpu_ns + t->released_cpu_ns;
        out->held_oncpu_ns = out->released_oncpu_ns = 0;
        all += t->held_run_ns + t->released_run_ns;
    }
    for (size_t i = 0; i < rows->n; i++) {
        struct recwriter_thread *out = &rows->out[i];
        const struct sample_thread *t = rows->of[i];
        if (!is_short(out, t))
            continue;
        given += give(ns, t->held_run_ns, all, &out->held_oncpu_ns);
        given += give(ns, t->released_run_ns, all, &out->released_oncpu_ns);
        off += out->released_ns - out->released_oncpu_ns;
    }
    uint64_t left = ns > given ? ns - given : 0;
    if ((double)left > error_of_new_ns(p)) {
        recwriter_native_cpu(writer, least(left, unseen));
        left -= least(left, unseen);
    }
    for (size_t i = 0; i < rows->n && off && left; i++) {
        struct recwriter_thread *out = &rows->out[i];
        if (is_short(out, rows->of[i]))
            give(left, out->released_ns - out->released_oncpu_ns, off, &out->released_oncpu_ns);
    }
}

/* --- the picture ------------------------------------------------------------------------------------------------- */
/* All folded ones are one record, which is under the first GIL. */
static void write_folded(struct sample_process *p, const struct recwriter_thread *by_gil, struct recwriter_gil *gils,
                         struct recwriter *writer)
{
    struct sample_ended all = {.sum = {.index = RECWRITER_ENDED, .syscall_fd = -1, .schedstat_fd = -1, .ended = true}};
    struct recwriter_thread out;

    all.sum.wait.buckets = mem_zeroed(REC_HIST_OCTAVES * REC_HIST_SUBS, sizeof(uint32_t));
    for (uint32_t i = 0; i < FIND_GIL_MAX; i++)
        if (p->folded[i])
            sample_add_folded(&all, p->folded[i]);
    fill_folded(p, &all, &out);
    recwriter_join_ended(&out, by_gil, gils, FIND_GIL_MAX);
    if (out.n_folded)
        recwriter_thread(writer, &out);
    sample_free_thread(&all.sum);
}

static void add_row(const struct sample_process *p, struct rows *rows, struct sample_thread *t, uint64_t now_ns,
                    struct recwriter *writer)
{
    if (sample_is_python(t)) {
        rows->of[rows->n] = t;
        fill(p, t, now_ns, &rows->out[rows->n++]);
    } else if (sample_is_short(t)) {
        rows->unknown_ns += t->held_cpu_ns + t->released_cpu_ns;
    } else {
        recwriter_native_cpu(writer, t->held_cpu_ns + t->released_cpu_ns);
    }
}

void sample_picture(struct sample_process *p, struct recwriter *writer, uint64_t now_ns)
{
    struct recwriter_gil gils[FIND_GIL_MAX] = {{0}};
    size_t most = p->n_threads + p->n_ended + FIND_GIL_MAX;
    struct rows rows = {mem_zeroed(most, sizeof *rows.out), mem_zeroed(most, sizeof(struct sample_thread *)), 0,
                        p->ended_unknown_ns};

    for (size_t i = 0; i < p->n_threads; i++) {
        name_thread(p, &p->threads[i]);
        add_row(p, &rows, &p->threads[i], now_ns, writer);
    }
    for (size_t i = 0; i < p->n_ended; i++)
        add_row(p, &rows, &p->ended[i], now_ns, writer);
    size_t n_own = rows.n;
    for (uint32_t i = 0; i < FIND_GIL_MAX; i++, rows.n++) {
        if (p->folded[i]) {
            rows.of[rows.n] = &p->folded[i]->sum;
            fill_folded(p, p->folded[i], &rows.out[rows.n]);
        }
    }
    recwriter_native_cpu(writer, p->ended_native_ns);
    share_cpu(p, &rows, writer);
    recwriter_fit(rows.out, rows.n, p->found.n_gils, now_ns - p->start_ns);
    for (size_t i = 0; i < n_own; i++) {
        recwriter_thread(writer, &rows.out[i]);
        recwriter_add_to_gil(&gils[rows.out[i].gil], &rows.out[i]);
    }
    write_folded(p, &rows.out[n_own], gils, writer);
    free(rows.out);
    free(rows.of);
    for (uint32_t i = 0; i < p->found.n_gils; i++) {
        gils[i].index = i;
        gils[i].address = p->found.gil[i].address + GIL_COND;
        gils[i].interval_us = p->found.interval_us;
        gils[i].start_ns = p->start_ns;
        recwriter_gil(writer, &gils[i]);
    }
    recwriter_loss(writer, REC_LOSS_THREADS_FOLDED, p->n_folded);
    if (p->stacks)
        collect_stacks_write(p->stacks, writer);
    char note[256];
    snprintf(
        note, sizeof note,
        "sampled %llu times: in 95 of 100 cases, how long a thread held the GIL, waited for it and was without it is "
        "off by at most what its row says",
        (unsigned long long)p->n_looks);
    recwriter_note(writer, note);
}
