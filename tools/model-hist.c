/* SPDX-License-Identifier: MIT */
/*
 * model-hist.c - from histograms to percentiles.
 */
#include "model-build.h"

#include <math.h>

#include "hist.h"

struct sums {
    uint64_t count, sum_ticks, max_ticks;
    uint64_t buckets[REC_HIST_OCTAVES][REC_HIST_SUBS];
    uint64_t in_buckets; /* may differ from count in the file of a process that was killed in between */
};

/* One that has yet to be entered. */
static void add_value(uint64_t ticks, struct sums *sums)
{
    struct hist_place place = hist_place(ticks);

    sums->buckets[place.octave][place.sub]++;
    sums->in_buckets++;
    sums->count++;
    if (ticks > sums->max_ticks)
        sums->max_ticks = ticks;
}

static void add(const struct build *build, const struct rec_thread *thread, enum rec_hist_kind kind, struct sums *sums)
{
    const struct rec_hist *hist = &thread->hist[kind];
    uint64_t in_buckets = 0;

    sums->count += hist->count; /* of holds: those that are in no bucket */
    sums->sum_ticks += kind == REC_HIST_HOLD ? thread->held_ticks : hist->sum_ticks; /* record.h, rec_hist_kind */
    if (hist->max_ticks > sums->max_ticks)
        sums->max_ticks = hist->max_ticks;
    for (uint32_t octave = 0; octave < REC_HIST_OCTAVES; octave++) {
        const struct rec_hist_block *block = reader_hist_block(build->file, thread, kind, octave);
        for (uint32_t sub = 0; block && sub < REC_HIST_SUBS; sub++) {
            uint64_t count = reader_hist_count(build->file, block, sub);
            sums->buckets[octave][sub] += count;
            in_buckets += count;
        }
    }
    sums->in_buckets += in_buckets;
    if (kind == REC_HIST_HOLD)
        sums->count += in_buckets;
    if (kind == REC_HIST_HOLD && thread->late_hold_ticks)
        add_value(thread->late_hold_ticks, sums); /* the last hold has not been entered yet */
    if (kind == REC_HIST_WAIT && thread->late) {
        add_value(thread->late_wait_ticks, sums);
        sums->sum_ticks += thread->late_wait_ticks;
    }
}

/* The value below or at which a part of all values is, in ticks: the middle of its bucket, but not above the largest
 * value that there was. */
static uint64_t percentile(const struct sums *sums, double part)
{
    uint64_t rank = (uint64_t)ceil(part * (double)sums->in_buckets), seen = 0;

    for (uint32_t octave = 0; octave < REC_HIST_OCTAVES; octave++) {
        for (uint32_t sub = 0; sub < REC_HIST_SUBS; sub++) {
            seen += sums->buckets[octave][sub];
            if (sums->buckets[octave][sub] && seen >= rank) {
                uint64_t middle = hist_low(octave, sub) + (hist_width(octave) - 1) / 2;
                uint64_t most = sums->max_ticks < sums->sum_ticks ? sums->max_ticks : sums->sum_ticks;
                return middle < most ? middle : most;
            }
        }
    }
    return 0;
}

static void to_dist(const struct build *build, const struct sums *sums, struct model_dist *dist)
{
    dist->count = sums->count;
    dist->sum_ns = build_ns(build, sums->sum_ticks);
    dist->max_ns = build_ns(build, sums->max_ticks < sums->sum_ticks ? sums->max_ticks : sums->sum_ticks);
    if (sums->in_buckets) {
        dist->p50_ns = build_ns(build, percentile(sums, 0.50));
        dist->p90_ns = build_ns(build, percentile(sums, 0.90));
        dist->p99_ns = build_ns(build, percentile(sums, 0.99));
    }
}

void build_dist(const struct build *build, const struct rec_thread *thread, enum rec_hist_kind kind,
                struct model_dist *dist)
{
    struct sums sums = {.count = 0};

    add(build, thread, kind, &sums);
    to_dist(build, &sums, dist);
}

void build_gil_dist(const struct build *build, uint32_t gil, enum rec_hist_kind kind, struct model_dist *dist)
{
    struct sums sums = {.count = 0};

    for (size_t i = 0; i < build->file->n_threads; i++)
        if (build->file->threads[i].gil == gil)
            add(build, &build->file->threads[i], kind, &sums);
    to_dist(build, &sums, dist);
}
