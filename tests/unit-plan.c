/* SPDX-License-Identifier: MIT */
/*
 * unit-plan.c - what looks stand for adds up to the times that a process spends, whatever it does when it is looked at.
 */
#include <math.h>
#include <stdbool.h>

#include "holds-plan.h"
#include "holds-sum.h"
#include "unit-check.h"

#define US 1000u
#define MS 1000000u
#define LOOKS 400000
#define MEAN_NS (1.25 * MS)

enum { F, G, ASLEEP, PLACES };

static const uint64_t LENGTH_NS[PLACES] = {300 * US, 700 * US, 500 * US};

struct process { /* f, g and a sleep, in turn */
    int place;
    uint64_t begin_ns;
    double spent_ns[PLACES], seen_ns[PLACES];
};

static void go_on(struct process *p)
{
    p->spent_ns[p->place] += (double)LENGTH_NS[p->place];
    p->begin_ns += LENGTH_NS[p->place];
    p->place = (p->place + 1) % PLACES;
}

/* It is cut short at now_ns. */
static void wake(struct process *p, uint64_t now_ns)
{
    p->spent_ns[p->place] += (double)(now_ns - p->begin_ns);
    p->begin_ns = now_ns;
    p->place = (p->place + 1) % PLACES;
}

static void run_to(struct process *p, uint64_t now_ns)
{
    while (p->begin_ns + LENGTH_NS[p->place] <= now_ns)
        go_on(p);
}

/* Five deviations of chance, where `n` looks are times that are exponentially distributed, at most `times` the usual.
 */
static void check_shares(const struct process *p, double times)
{
    double spent = p->spent_ns[F] + p->spent_ns[G] + p->spent_ns[ASLEEP],
           seen = p->seen_ns[F] + p->seen_ns[G] + p->seen_ns[ASLEEP];

    CHECK(fabs(seen / spent - 1) < 5 * sqrt(times / LOOKS));
    for (int i = 0; i < PLACES; i++)
        CHECK(fabs(p->seen_ns[i] / seen - p->spent_ns[i] / spent) < 5 * sqrt(0.25 * times / LOOKS));
}

/* A look, so late; when it was. */
static uint64_t look_at(struct process *p, struct holds_plan *plan, uint64_t *random, uint64_t late_ns)
{
    uint64_t now_ns = plan->due_ns + late_ns;

    run_to(p, now_ns);
    p->seen_ns[p->place] += (double)holds_plan_look(plan, random, now_ns);
    return now_ns;
}

static void test_each_moment_is_as_likely(void)
{
    struct process p = {.place = F};
    struct holds_plan plan;
    uint64_t random = 20261126;

    holds_plan_begin(&plan, &random, 0, MEAN_NS);
    for (int i = 0; i < LOOKS; i++)
        look_at(&p, &plan, &random, 0);
    check_shares(&p, 1);
}

/* Timers that end at about the same time are handled together: looks wake a process that would have slept on. */
static void test_looks_that_wake_the_process(void)
{
    struct process p = {.place = F};
    struct holds_plan plan;
    uint64_t random = 7;

    holds_plan_begin(&plan, &random, 0, MEAN_NS);
    for (int i = 0; i < LOOKS; i++) {
        uint64_t now_ns = look_at(&p, &plan, &random, 0);
        if (p.place == ASLEEP)
            wake(&p, now_ns);
    }
    check_shares(&p, 1);
}

/* Looks are rare while the process sleeps, and become frequent when it is found at work. */
static void test_means_that_follow_what_was_seen(void)
{
    struct process p = {.place = F};
    struct holds_plan plan;
    uint64_t random = 99;

    holds_plan_begin(&plan, &random, 0, MEAN_NS);
    for (int i = 0; i < LOOKS; i++) {
        uint64_t now_ns = look_at(&p, &plan, &random, 0);
        holds_plan_change(&plan, now_ns, p.place == ASLEEP ? 4 * MEAN_NS : p.place == F ? MEAN_NS / 2 : MEAN_NS);
    }
    check_shares(&p, 4);
}

/* Whoever comes 3 ms late each time, by the clock of others, finds what there is then, for all that has come due. */
static void test_none_is_lost_to_lateness(void)
{
    struct process p = {.place = F};
    struct holds_plan plan;
    uint64_t random = 5, last_ns = 0;

    holds_plan_begin(&plan, &random, 0, MEAN_NS);
    for (int i = 0; i < LOOKS; i++) {
        uint64_t now_ns = look_at(&p, &plan, &random, 3 * MS);
        CHECK(now_ns > last_ns && plan.due_ns > now_ns);
        last_ns = now_ns;
    }
    check_shares(&p, 1 + 3 * MS / MEAN_NS);
}

static void test_of_a_stop_nothing_is_left(void)
{
    struct holds_plan plan;
    uint64_t random = 1, now_ns;

    holds_plan_begin(&plan, &random, 1000, MEAN_NS);
    now_ns = plan.due_ns + 3600000000000;
    CHECK_NUMBER(holds_plan_look(&plan, &random, now_ns), MEAN_NS);
    CHECK(plan.due_ns > now_ns && plan.due_ns < now_ns + 50 * MS);
}

/* Holds of f and g in turn, 100 us apart; another thread wants the GIL 16 us after the begin of each.  A look comes 75
 * us after it was due, and the processor that it takes is the other thread's in three of five: that one waits only when
 * the look is over.  What each is charged with is told right all the same. */
static void test_looks_that_keep_threads_from_waiting(void)
{
    const double length_us[] = {600, 1400}, gap_us = 100, comes_us = 16, lag_us = 75;
    struct holds_sum sum = {.begun = false};
    struct holds_plan plan;
    uint64_t random = 1, stands_for_ns;
    double seen_ns[2] = {0, 0}, begin_us = gap_us, charged_us[2] = {0, 0};
    int place = F;

    holds_plan_begin(&plan, &random, 0, 4 * MS);
    for (int i = 0; i < LOOKS; i++) {
        double due_us = (double)plan.due_ns / US, look_us = due_us + lag_us;
        stands_for_ns = holds_plan_look(&plan, &random, plan.due_ns);
        for (; begin_us + length_us[place] < look_us; place = !place) {
            charged_us[place] += length_us[place] - comes_us;
            begin_us += length_us[place] + gap_us;
        }
        double waits_us = begin_us + comes_us;
        bool kept = due_us < waits_us && waits_us < look_us && i % 5 < 3;
        if (kept)
            charged_us[place] -= look_us - waits_us;
        if (look_us < waits_us || kept)
            continue;
        uint64_t ns = holds_sum_charged(&sum, stands_for_ns, look_us - waits_us < 2 * lag_us);
        seen_ns[place] += (double)ns;
        holds_sum_given(&sum, ns, (charged_us[F] + charged_us[G] + look_us - waits_us) * US);
    }
    CHECK(fabs(seen_ns[F] / (seen_ns[F] + seen_ns[G]) - charged_us[F] / (charged_us[F] + charged_us[G])) < 0.004);
    CHECK(fabs((seen_ns[F] + seen_ns[G]) / US / (charged_us[F] + charged_us[G]) - 1) < 0.004);
}

int main(void)
{
    test_each_moment_is_as_likely();
    test_looks_that_wake_the_process();
    test_means_that_follow_what_was_seen();
    test_none_is_lost_to_lateness();
    test_of_a_stop_nothing_is_left();
    test_looks_that_keep_threads_from_waiting();
    return check_result();
}
