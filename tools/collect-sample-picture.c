/* SPDX-License-Identifier: MIT */
/*
 * collect-sample-picture.c - from the sampler's counts to a picture for the recording.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chance.h"
#include "collect-sample.h"
#include "mem.h"

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

/* How far its shares may be off, 95 %: n looks that stand for different times count as fewer.  To what chance makes comes
 * what might have been a part of another state. */
static uint32_t error_ppm(const struct sample_thread *t, const struct recwriter_thread *out, uint64_t wall_ns)
{
    const uint64_t states[] = {out->held_ns, out->wait_blocked_ns + out->wait_wakeup_ns, out->wait_forced_ns,
                               out->released_ns};
    double n = t->looks_ns2 > 0 ? t->looks_ns * t->looks_ns / t->looks_ns2 : 0, largest = 0;

    for (size_t i = 0; i < sizeof states / sizeof *states && wall_ns; i++) {
        double error = chance_error((double)states[i] / (double)wall_ns * n, n);
        if (error > largest)
            largest = error;
    }
    largest += wall_ns ? (double)t->unsure_ns / (double)wall_ns : 0;
    return largest > 0 && largest < 1 ? (uint32_t)(largest * 1e6 + 1) : 1000000;
}

/* The looks' times, stretched to what has passed since the thread was first seen. */
static void fill(const struct sample_process *p, struct sample_thread *t, uint64_t now_ns, struct recwriter_thread *out)
{
    uint64_t end = t->end_ns ? t->end_ns : now_ns, wall = end > t->start_ns ? end - t->start_ns : 0;
    uint64_t sum = t->held_ns + t->released_ns + t->wait_ns + t->forced_ns;

    memset(out, 0, sizeof *out);
    out->index = (uint32_t)(t - p->threads) + 1;
    out->tid = t->tid;
    out->main = t->outer_tid == (uint32_t)p->found.pid;
    out->ended = t->end_ns != 0;
    out->pthread_id = t->pthread_id;
    out->name = t->name[0] ? t->name : NULL;
    out->name_source = t->name_source;
    out->gil = t->gil;
    out->start_ns = t->start_ns;
    out->end_ns = t->start_ns + wall;
    out->wait_blocked_ns = t->blocked_ns;
    out->wait_wakeup_ns = t->wait_ns - t->blocked_ns;
    out->wait_forced_ns = t->forced_ns;
    out->held_ns = t->held_ns;
    out->released_ns = wall > sum ? t->released_ns + (wall - sum) : t->released_ns;
    out->held_oncpu_ns = least(t->held_cpu_ns, out->held_ns);
    out->released_oncpu_ns = least(t->released_cpu_ns, out->released_ns);
    out->charged_ns = t->charged_ns;
    out->run_delay_ns = t->run_delay_ns - t->run_delay_first_ns;
    out->contended = t->contended;
    out->hist[REC_HIST_WAIT] = t->wait;
    out->hist[REC_HIST_WAIT].sum_ns = t->wait_ns; /* with the open one */
    if (t->wait_open_ns > t->wait.max_ns)
        out->hist[REC_HIST_WAIT].max_ns = t->wait_open_ns;
    out->hist[REC_HIST_WAIT].n_buckets = REC_HIST_OCTAVES * REC_HIST_SUBS;
    out->hist[REC_HIST_HOLD].uncounted = t->contended; /* there were at least so many */
    out->error_ppm = error_ppm(t, out, wall);
    out->pairs = t->pairs;
    out->n_pairs = t->n_pairs;
}

void sample_picture(struct sample_process *p, struct recwriter *writer, uint64_t now_ns)
{
    struct recwriter_gil gils[FIND_GIL_MAX] = {{0}};

    struct recwriter_thread *outs = mem_zeroed(p->n_threads, sizeof *outs);
    for (size_t i = 0; i < p->n_threads; i++) {
        struct sample_thread *t = &p->threads[i];
        name_thread(p, t);
        if (t->pthread_id || t->wait_ns || t->forced_ns)
            fill(p, t, now_ns, &outs[i]);
        else
            recwriter_native_cpu(writer, t->held_cpu_ns + t->released_cpu_ns);
    }
    recwriter_fit(outs, p->n_threads, p->found.n_gils, now_ns - p->start_ns);
    for (size_t i = 0; i < p->n_threads; i++) {
        const struct recwriter_thread *out = &outs[i];
        struct recwriter_gil *gil = &gils[out->gil];
        if (!out->index)
            continue;
        recwriter_thread(writer, out);
        gil->held_ns += out->held_ns;
        gil->wait_blocked_ns += out->wait_blocked_ns;
        gil->wait_wakeup_ns += out->wait_wakeup_ns;
        gil->wait_forced_ns += out->wait_forced_ns;
        gil->contended += out->contended;
        gil->switches += out->contended;
    }
    free(outs);
    for (uint32_t i = 0; i < p->found.n_gils; i++) {
        gils[i].index = i;
        gils[i].address = p->found.gil[i].address + GIL_COND;
        gils[i].interval_us = p->found.interval_us;
        gils[i].start_ns = p->start_ns;
        recwriter_gil(writer, &gils[i]);
    }
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
