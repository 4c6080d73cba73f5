/* SPDX-License-Identifier: MIT */
/*
 * unit-model.c - the model's figures are those that the recording implies, also for what was open at its end.
 */
#include <stdlib.h>

#include "unit-check.h"
#include "unit-maker.h"

#define AT(ms) (MAKER_START + (ms)*MS)

static struct maker maker;
static struct model model;

/* The recording's only process. */
static const struct model_process *load(void)
{
    maker_load(&maker, &model);
    CHECK_NUMBER(model.n_processes, 1);
    CHECK_NUMBER(model.n_failures, 0);
    return &model.processes[0];
}

static void done(void)
{
    model_free(&model);
    maker_end(&maker);
}

static uint64_t sum(const struct model_states *states)
{
    return states->held_oncpu_ns + states->held_offcpu_ns + states->wait_blocked_ns + states->wait_wakeup_ns +
           states->wait_forced_ns + states->released_oncpu_ns + states->released_offcpu_ns;
}

static void test_closed_sums(void)
{
    struct rec_thread *thread;

    maker_begin(&maker);
    maker_gil(&maker, 0);
    thread = maker_thread(&maker, 1, "t");
    thread->flags = REC_THREAD_MAIN;
    thread->held_ticks = 100 * MS;
    thread->released_ticks = 300 * MS;
    thread->wait_blocked_ticks = 50 * MS;
    thread->wait_wakeup_ticks = 40 * MS;
    thread->wait_forced_ticks = 10 * MS;
    thread->state = REC_STATE_ENDED;
    thread->end_ticks = AT(500);
    thread->cpu_base_held_ticks = 100 * MS;
    thread->cpu_base_released_ticks = 300 * MS;
    thread->cpu_exact_held_ns = 60 * MS;
    thread->cpu_exact_held_ticks = 100 * MS;
    thread->cpu_exact_released_ns = 30 * MS;
    thread->cpu_exact_released_ticks = 300 * MS;
    thread->cpu_end_ns = 90 * MS;
    thread->cpu_last_ns = 90 * MS;
    const struct model_process *process = load();
    const struct model_thread *t = &process->threads[0];
    CHECK_NUMBER(process->wall_ns, 1000 * MS);
    CHECK(t->main);
    CHECK_NUMBER(t->wall_ns, 500 * MS);
    CHECK_NUMBER(sum(&t->states), t->wall_ns);
    CHECK_NUMBER(t->states.held_oncpu_ns, 60 * MS);
    CHECK_NUMBER(t->states.held_offcpu_ns, 40 * MS);
    CHECK_NUMBER(t->states.released_oncpu_ns, 30 * MS);
    CHECK_NUMBER(t->states.released_offcpu_ns, 270 * MS);
    CHECK_NUMBER(t->wait_ns, 90 * MS);
    CHECK_NUMBER(process->n_estimated, 0);
    CHECK_NUMBER(process->n_losses, 0);
    done();
}

static void test_time_in_no_state_is_told(void)
{
    struct rec_thread *thread;

    maker_begin(&maker);
    maker_gil(&maker, 0);
    thread = maker_thread(&maker, 1, "t");
    thread->held_ticks = 100 * MS;
    thread->state = REC_STATE_ENDED;
    thread->end_ticks = AT(500); /* 400 ms are missing */
    const struct model_process *process = load();
    CHECK_NUMBER(process->threads[0].unexplained_ns, 400 * MS);
    CHECK_NUMBER(process->threads[0].wall_ns, 500 * MS);
    CHECK_NUMBER(process->n_losses, 1);
    CHECK_TEXT(process->losses[0].cause, "unexplained_us");
    CHECK_NUMBER(process->losses[0].count, 400000);
    done();
}

/* At the end, thread 1 holds the GIL since 600 ms and thread 2 waits for it since 500 ms; until 550 ms thread 3 held
 * it, then nobody. */
static void test_open_intervals_are_closed_at_the_end(void)
{
    struct rec_thread *holder, *waiter, *third;
    struct rec_gil *gil;

    maker_begin(&maker);
    gil = maker_gil(&maker, 0);
    gil->holder = 1;
    gil->held_base_ticks = 300 * MS - 4 * MS; /* its holder had it before */
    gil->n_waiters = 1;
    gil->waiters_ticks = 20 * MS; /* up to 600 ms */
    gil->waiters_at_ticks = AT(600);
    gil->hold_waiters_ticks = 20 * MS;
    gil->n_changes = 2;
    gil->ring[0] = (struct rec_change){.holder = 3, .held_base_ticks = 100 * MS};
    gil->ring[1] = (struct rec_change){.holder = 1, .held_base_ticks = 300 * MS};
    gil->wait_blocked_ticks = 5 * MS;
    holder = maker_thread(&maker, 1, "holder");
    holder->state = REC_STATE_HELD;
    holder->state_ticks = AT(600);
    holder->held_ticks = 4 * MS;
    holder->released_ticks = 596 * MS;
    holder->charged_ticks = 3 * MS;
    waiter = maker_thread(&maker, 2, "waiter");
    waiter->state = REC_STATE_WAITING;
    waiter->state_ticks = AT(500);
    waiter->released_ticks = 495 * MS;
    waiter->wait_blocked_ticks = 5 * MS;
    waiter->wait_held_base_ticks = 250 * MS;
    maker_row(&maker, waiter, 3, 5 * MS);
    third = maker_thread(&maker, 3, "third");
    third->state = REC_STATE_RELEASED;
    third->state_ticks = AT(550);
    third->held_ticks = 300 * MS;
    third->released_ticks = 250 * MS;
    third->charged_ticks = 52 * MS;

    const struct model_process *process = load();
    const struct model_thread *h = &process->threads[0], *w = &process->threads[1], *t = &process->threads[2];
    CHECK_NUMBER(h->held_ns, 404 * MS);
    CHECK_NUMBER(h->acquisitions, 1); /* the open one */
    CHECK_NUMBER(h->hold.max_ns, 400 * MS);
    CHECK_NUMBER(h->hold.count, 0);
    /* From 500 to 550 behind third, 50 ms for a wake-up that did not come, from 600 on behind holder. */
    CHECK_NUMBER(w->states.wait_blocked_ns, (5 + 50 + 400) * MS);
    CHECK_NUMBER(w->states.wait_wakeup_ns, 50 * MS);
    CHECK_NUMBER(w->wait.max_ns, 500 * MS);
    CHECK_NUMBER(h->charged_ns, (3 + 400) * MS);
    CHECK_NUMBER(t->charged_ns, 52 * MS);
    CHECK_NUMBER(t->released_ns, (250 + 450) * MS);
    for (size_t i = 0; i < process->n_threads; i++) {
        CHECK_NUMBER(process->threads[i].wall_ns, 1000 * MS);
        CHECK_NUMBER(sum(&process->threads[i].states), 1000 * MS);
        CHECK_NUMBER(process->threads[i].unexplained_ns, 0);
    }
    CHECK_NUMBER(process->n_pairs, 2);
    CHECK_NUMBER(process->pairs[0].waiter, 2);
    CHECK_NUMBER(process->pairs[0].holder, 1);
    CHECK_NUMBER(process->pairs[0].holder_tid, 101);
    CHECK_NUMBER(process->pairs[0].ns, 400 * MS);
    CHECK_NUMBER(process->pairs[1].holder, 3);
    CHECK_NUMBER(process->pairs[1].ns, 55 * MS);
    const struct model_gil *g = &process->gils[0];
    CHECK_NUMBER(g->held_ns, 700 * MS);
    CHECK_NUMBER(g->free_ns, 300 * MS);
    CHECK_NUMBER(g->wait_blocked_ns, 455 * MS);
    CHECK_NUMBER(g->wait_wakeup_ns, 50 * MS);
    CHECK_NUMBER(g->wait_ns, 505 * MS);
    CHECK_NUMBER(g->acquisitions, 1);
    CHECK_NUMBER(process->switch_interval_ns, 5 * MS);
    done();
}

static void test_holders_beyond_the_ring_are_not_known(void)
{
    struct rec_thread *waiter;
    struct rec_gil *gil;

    maker_begin(&maker);
    gil = maker_gil(&maker, 0);
    gil->held_base_ticks = 1000 * MS; /* by threads without a record */
    gil->n_changes = REC_RING + 7;
    for (uint64_t i = 7; i < gil->n_changes; i++)
        gil->ring[i % REC_RING] = (struct rec_change){.holder = 1, .held_base_ticks = 800 * MS + i};
    waiter = maker_thread(&maker, 1, "waiter");
    waiter->state = REC_STATE_WAITING;
    waiter->released_ticks = 0;
    waiter->wait_held_base_ticks = 0;
    const struct model_process *process = load();
    CHECK_NUMBER(process->threads[0].states.wait_blocked_ns, 1000 * MS);
    CHECK_NUMBER(process->n_pairs, 2);
    CHECK_NUMBER(process->pairs[0].ns, 800 * MS + 7);
    CHECK_NUMBER(process->pairs[0].holder_tid, 0);
    CHECK_NUMBER(process->pairs[1].ns, 200 * MS - 7);
    done();
}

static void test_pauses_are_left_out(void)
{
    struct rec_thread *thread;
    struct rec_gil *gil;

    maker_begin(&maker);
    gil = maker_gil(&maker, 0);
    gil->holder = 1;
    thread = maker_thread(&maker, 1, "t");
    thread->state = REC_STATE_HELD;
    thread->state_ticks = AT(100);
    thread->released_ticks = 100 * MS;
    maker.header->n_toggles = 3; /* paused from 200 to 500 ms and from 900 on */
    maker.header->toggle_ticks[0] = AT(200);
    maker.header->toggle_ticks[1] = AT(500);
    maker.header->toggle_ticks[2] = AT(900);
    const struct model_process *process = load();
    CHECK_NUMBER(process->wall_ns, 600 * MS);
    CHECK(process->paused);
    CHECK_NUMBER(process->threads[0].held_ns, 500 * MS);
    CHECK_NUMBER(process->threads[0].wall_ns, 600 * MS);
    CHECK_NUMBER(process->gils[0].held_ns, 500 * MS);
    CHECK_NUMBER(process->gils[0].free_ns, 100 * MS);
    CHECK_NUMBER(process->n_losses, 0);
    done();
}

static void test_a_counter_is_calibrated(void)
{
    struct rec_thread *thread;

    maker_begin(&maker);
    maker.header->clock = REC_CLOCK_TSC;
    maker.header->beat_mono_ns = (int64_t)(MAKER_START + 400 * MS); /* 1000 Mticks in 400 ms: 2.5 GHz */
    maker_gil(&maker, 0);
    thread = maker_thread(&maker, 1, "t");
    thread->state = REC_STATE_RELEASED;
    const struct model_process *process = load();
    CHECK_NUMBER(process->wall_ns, 400 * MS);
    CHECK_NUMBER(process->threads[0].released_ns, 400 * MS);
    CHECK_NUMBER(process->n_losses, 0);
    done();
}

static void test_the_end_is_the_last_thing_known(void)
{
    struct rec_thread *thread;

    maker_begin(&maker);
    maker.header->end_ticks = 0;
    maker.header->complete = 0;
    maker.header->beat_ticks = AT(200);
    maker_gil(&maker, 0);
    thread = maker_thread(&maker, 1, "t");
    thread->state = REC_STATE_HELD;
    thread->state_ticks = AT(350);
    const struct model_process *process = load();
    CHECK_NUMBER(process->wall_ns, 350 * MS);
    CHECK(!process->complete && !process->running);
    done();
}

static void test_cpu_time_is_shared_out(void)
{
    struct rec_thread *thread;

    maker_begin(&maker);
    maker_gil(&maker, 0);
    thread = maker_thread(&maker, 1, "t");
    thread->state = REC_STATE_RELEASED;
    thread->state_ticks = AT(900);
    thread->held_ticks = 400 * MS;
    thread->released_ticks = 500 * MS;
    thread->cpu_base_held_ticks = 400 * MS;
    thread->cpu_base_released_ticks = 500 * MS;
    /* Exact periods: holds compute all the time, releases half of it. */
    thread->cpu_exact_held_ns = thread->cpu_exact_held_ticks = 100 * MS;
    thread->cpu_exact_released_ns = 50 * MS;
    thread->cpu_exact_released_ticks = 100 * MS;
    /* The others: 300 ms held, 400 released; 300 + 200 would be expected, there were 450. */
    thread->cpu_mixed_held_ticks = 300 * MS;
    thread->cpu_mixed_released_ticks = 400 * MS;
    thread->cpu_mixed_ns = 450 * MS;
    thread->cpu_last_ns = 600 * MS;
    thread->cpu_end_ns = 650 * MS; /* the last 100 ms, released: exact */
    const struct model_process *process = load();
    const struct model_states *states = &process->threads[0].states;
    CHECK_NUMBER(states->held_oncpu_ns, (100 + 270) * MS);
    CHECK_NUMBER(states->held_offcpu_ns, 30 * MS);
    CHECK_NUMBER(states->released_oncpu_ns, (50 + 180 + 50) * MS);
    CHECK_NUMBER(sum(states), 1000 * MS);
    CHECK_NUMBER(process->n_estimated, 4); /* 50 of 650 ms are not explained by the exact ones */
    done();
}

/* It has read files that were in memory, and sleeps until it is killed. */
static void test_who_is_killed_in_its_sleep_did_no_work_there(void)
{
    maker_begin(&maker);
    maker_gil(&maker, 0);
    struct rec_thread *thread = maker_thread(&maker, 1, "MainThread");
    thread->state = REC_STATE_RELEASED;
    thread->state_ticks = MAKER_START + 60 * MS;
    thread->held_ticks = thread->cpu_base_held_ticks = thread->cpu_exact_held_ticks = 50 * MS;
    thread->cpu_exact_held_ns = 50 * MS;
    thread->released_ticks = thread->cpu_base_released_ticks = thread->cpu_exact_released_ticks = 10 * MS;
    thread->cpu_exact_released_ns = 6 * MS;
    maker.header->complete = 0;
    const struct model_thread *t = &load()->threads[0];
    CHECK_NUMBER(t->wall_ns, 1000 * MS);
    CHECK_NUMBER(t->states.held_oncpu_ns, 50 * MS);
    CHECK_NUMBER(t->states.released_oncpu_ns, 12 * MS); /* as much again, at most */
    CHECK_NUMBER(t->states.released_offcpu_ns, 938 * MS);
    done();
}

static void test_cpu_time_without_samples(void)
{
    struct rec_thread *thread;

    maker_begin(&maker);
    maker_gil(&maker, 0);
    thread = maker_thread(&maker, 1, "t");
    thread->state = REC_STATE_ENDED;
    thread->end_ticks = AT(1000);
    thread->held_ticks = 300 * MS;
    thread->released_ticks = 700 * MS;
    thread->cpu_last_ns = 1;
    thread->cpu_end_ns = 500 * MS; /* more than the holds have room for: the rest was without the GIL */
    const struct model_states *states = &load()->threads[0].states;
    CHECK_NUMBER(states->held_oncpu_ns, 300 * MS);
    CHECK(states->released_oncpu_ns > 199 * MS && states->released_oncpu_ns <= 200 * MS);
    CHECK_NUMBER(sum(states), 1000 * MS);
    done();
}

static void test_lock_waits(void)
{
    struct rec_thread *thread;

    maker_begin(&maker);
    maker_gil(&maker, 0);
    thread = maker_thread(&maker, 1, "t");
    thread->state = REC_STATE_RELEASED;
    thread->lock_wait_ticks = 100 * MS;
    thread->notify_wait_ticks = 30 * MS;
    maker_hist(&maker, thread, REC_HIST_LOCK, 50 * MS, 2);
    thread->lock_open_ticks = AT(800);
    thread->lock_open_notify = 1;
    const struct model_thread *t = &load()->threads[0];
    CHECK_NUMBER(t->lock_wait_ns, 300 * MS);
    CHECK_NUMBER(t->notify_wait_ns, 230 * MS);
    CHECK(t->open_lock);
    CHECK_NUMBER(t->lock_wait.max_ns, 200 * MS);
    CHECK_NUMBER(t->lock_wait.sum_ns, 300 * MS);
    CHECK_NUMBER(t->lock_wait.count, 2);
    done();
}

static void test_names_and_texts(void)
{
    static const char command[] = "/usr/bin/python3\0-B\0-X\0dev\0/srv/app.py\0--flag\0\xff";

    maker_begin(&maker);
    maker_gil(&maker, 0);
    maker_thread(&maker, 1, "")->flags = REC_THREAD_MAIN;
    maker_thread(&maker, 2, "");
    maker_thread(&maker, 3, "a\xffz");
    maker_thread(&maker, 4, "")->flags = REC_THREAD_FOLDED;
    maker_text(&maker, REC_TEXT_COMMAND, command, sizeof command);
    const struct model_process *process = load();
    CHECK_TEXT(process->threads[0].name, "MainThread");
    CHECK_TEXT(process->threads[1].name, "thread-2");
    CHECK_TEXT(process->threads[2].name, "a\xef\xbf\xbdz");
    CHECK_TEXT(process->threads[3].name, "(ended threads)");
    CHECK_NUMBER(process->argc, 7);
    CHECK_TEXT(process->argv[6], "\xef\xbf\xbd");
    CHECK_TEXT(process->command, "app.py --flag \xef\xbf\xbd");
    CHECK_TEXT(process->start, "2023-11-14T22:13:20.123Z");
    CHECK_TEXT(process->source, "preload");
    done();
}

static void test_losses(void)
{
    maker_begin(&maker);
    maker_gil(&maker, 0);
    maker.header->losses[REC_LOSS_PAIRS] = 3;
    maker.header->losses[REC_LOSS_MAX - 1] = 2; /* of a newer version */
    maker.header->used_bytes += 64;             /* of which the file has nothing */
    maker_write(&maker, "one.gil", maker.header->used_bytes - 64);
    char *names[] = {maker.directory};
    model_load(&model, names, 1);
    const struct model_process *process = &model.processes[0];
    CHECK_NUMBER(process->n_losses, 3);
    CHECK_TEXT(process->losses[0].cause, "pairs");
    CHECK_NUMBER(process->losses[0].count, 3);
    CHECK_TEXT(process->losses[1].cause, "unknown");
    CHECK_TEXT(process->losses[2].cause, "truncated");
    CHECK_NUMBER(process->n_estimated, 1);
    CHECK_TEXT(process->estimated[0], "blocking");
    done();
}

int main(void)
{
    test_closed_sums();
    test_time_in_no_state_is_told();
    test_open_intervals_are_closed_at_the_end();
    test_holders_beyond_the_ring_are_not_known();
    test_pauses_are_left_out();
    test_a_counter_is_calibrated();
    test_the_end_is_the_last_thing_known();
    test_cpu_time_is_shared_out();
    test_who_is_killed_in_its_sleep_did_no_work_there();
    test_cpu_time_without_samples();
    test_lock_waits();
    test_names_and_texts();
    test_losses();
    return check_result();
}
