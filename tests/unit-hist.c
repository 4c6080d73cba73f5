/* SPDX-License-Identifier: MIT */
/*
 * unit-hist.c - a histogram's buckets lie side by side, and its percentiles are within 5 % of the true ones.
 */
#include <stdlib.h>

#include "hist.h"
#include "unit-check.h"
#include "unit-maker.h"

static void check_place(uint64_t value)
{
    struct hist_place place = hist_place(value);
    uint64_t low = hist_low(place.octave, place.sub), width = hist_width(place.octave);
    double middle = (double)low + (double)(width - 1) / 2;

    CHECK(low <= value && value < low + width);
    if (value < hist_low(REC_HIST_OCTAVES - 1, 0)) {
        struct hist_place same = hist_place_below(value);
        CHECK_NUMBER(same.octave, place.octave);
        CHECK_NUMBER(same.sub, place.sub);
    }
    CHECK(value < 16 ? middle == (double)value : middle > 0.967 * (double)value && middle < 1.033 * (double)value);
}

static void test_every_value_is_in_its_bucket(void)
{
    for (uint64_t value = 0; value < 100000; value++)
        check_place(value);
    for (uint64_t value = 1; value < (1ull << 46); value += value / 7 + 1) {
        check_place(value);
        check_place(value - 1);
    }
}

static void test_buckets_follow_each_other(void)
{
    uint64_t next = 0;

    for (uint32_t octave = 0; octave < REC_HIST_OCTAVES; octave++) {
        for (uint32_t sub = 0; sub < REC_HIST_SUBS; sub++) {
            CHECK_NUMBER(hist_low(octave, sub), next);
            next += hist_width(octave);
        }
    }
    CHECK_NUMBER(hist_place(UINT64_MAX).octave, REC_HIST_OCTAVES - 1);
    CHECK_NUMBER(hist_place(UINT64_MAX).sub, REC_HIST_SUBS - 1);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void check_near(uint64_t value, uint64_t expected)
{
    CHECK((double)value > 0.95 * (double)expected && (double)value < 1.05 * (double)expected);
}

static void test_percentiles_are_near(void)
{
    enum { N = 20000 };
    static uint64_t values[N];
    static struct maker maker;
    struct rec_thread *thread;
    uint64_t sum = 0;
    struct model model;

    maker_begin(&maker);
    thread = maker_thread(&maker, 1, "t");
    srand(12345);
    for (int i = 0; i < N; i++) { /* spread over many octaves */
        values[i] = (uint64_t)(rand() % 1000 + 1) << rand() % 18;
        sum += values[i];
        maker_hist(&maker, thread, REC_HIST_WAIT, values[i], 1);
    }
    qsort(values, N, sizeof values[0], ascending);
    maker_load(&maker, &model);
    const struct model_dist *wait = &model.processes[0].threads[0].wait;
    CHECK_NUMBER(wait->count, N);
    CHECK_NUMBER(wait->sum_ns, sum);
    CHECK_NUMBER(wait->max_ns, values[N - 1]);
    check_near(wait->p50_ns, values[N / 2]);
    check_near(wait->p90_ns, values[N * 9 / 10]);
    check_near(wait->p99_ns, values[N * 99 / 100]);
    model_free(&model);
    maker_end(&maker);
}

static void test_small_and_empty_ones(void)
{
    static struct maker maker;
    struct rec_thread *thread;
    struct model model;

    maker_begin(&maker);
    thread = maker_thread(&maker, 1, "t");
    maker_hist(&maker, thread, REC_HIST_WAIT, 1000, 1);
    maker_load(&maker, &model);
    const struct model_thread *read = &model.processes[0].threads[0];
    CHECK_NUMBER(read->wait.max_ns, 1000);
    CHECK(read->wait.p50_ns == read->wait.p99_ns && read->wait.p99_ns <= 1000); /* not above the largest value */
    CHECK_NUMBER(read->lock_wait.count, 0);
    CHECK_NUMBER(read->lock_wait.p50_ns, 0);
    CHECK_NUMBER(read->lock_wait.max_ns, 0);
    model_free(&model);
    maker_end(&maker);
}

int main(void)
{
    test_every_value_is_in_its_bucket();
    test_buckets_follow_each_other();
    test_percentiles_are_near();
    test_small_and_empty_ones();
    return check_result();
}
