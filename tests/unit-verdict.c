/* SPDX-License-Identifier: MIT */
/*
 * unit-verdict.c - each situation gets its class, from the times that define it.
 */
#include <stdlib.h>
#include <string.h>

#include "unit-check.h"
#include "unit-maker.h"

static struct maker maker;
static struct model model;

/* Times of a thread in ms; they add up to 1000. */
struct shape {
    unsigned held, held_off, blocked, wakeup, released_on, released_off;
    unsigned lock, notify; /* parts of released_off */
    unsigned run_delay, forced;
    unsigned charged;                   /* 0: as much as it waited itself */
    unsigned error_ppm;                 /* of a thread that was sampled */
    unsigned lock_count, long_released; /* counts */
    unsigned long_us;                   /* each of long_released; 0: all of the released time together */
};

static void add_thread(uint32_t index, const struct shape *s)
{
    struct rec_thread *thread = maker_thread(&maker, index, index == 1 ? "MainThread" : "worker");
    uint64_t held = (s->held + s->held_off) * MS, released = (s->released_on + s->released_off) * MS;

    CHECK_NUMBER(s->held + s->held_off + s->blocked + s->wakeup + s->forced + s->released_on + s->released_off, 1000);
    thread->flags = index == 1 ? REC_THREAD_MAIN : 0;
    thread->state = REC_STATE_ENDED;
    thread->end_ticks = MAKER_START + 1000 * MS;
    thread->held_ticks = thread->cpu_base_held_ticks = thread->cpu_exact_held_ticks = held;
    thread->released_ticks = thread->cpu_base_released_ticks = thread->cpu_exact_released_ticks = released;
    thread->wait_blocked_ticks = s->blocked * MS;
    thread->wait_wakeup_ticks = s->wakeup * MS;
    thread->wait_forced_ticks = s->forced * MS;
    thread->error_ppm = s->error_ppm;
    thread->cpu_exact_held_ns = s->held * MS;
    thread->cpu_exact_released_ns = s->released_on * MS;
    thread->cpu_last_ns = thread->cpu_end_ns = (s->held + s->released_on) * MS + 1;
    thread->lock_wait_ticks = (s->lock + s->notify) * MS;
    thread->notify_wait_ticks = s->notify * MS;
    thread->run_delay_ns = s->run_delay * MS;
    thread->charged_ticks = s->charged ? s->charged * MS : thread->wait_blocked_ticks;
    thread->contended = s->blocked + s->wakeup ? 10 : 0;
    if (s->blocked + s->wakeup)
        maker_hist(&maker, thread, REC_HIST_WAIT, (s->blocked + s->wakeup) * MS / 10, 10);
    if (s->lock_count)
        maker_hist(&maker, thread, REC_HIST_LOCK, thread->lock_wait_ticks / s->lock_count, s->lock_count);
    if (s->long_released)
        maker_hist(&maker, thread, REC_HIST_RELEASED, s->long_us ? s->long_us * MS / 1000 : released / s->long_released,
                   s->long_released);
    if (held)
        maker_hist(&maker, thread, REC_HIST_HOLD, 5 * MS, s->held / 5 + 1);
}

static bool native_known = true; /* what threads did that never took the GIL: nothing */
static bool limited;             /* its control group may use a tenth of a processor, and wanted more in each period */

static unsigned stopped_ms; /* of the second */

static const struct verdict *judge(uint32_t cpus, const struct shape *main_thread, const struct shape *worker, int n)
{
    maker_begin(&maker);
    maker.header->cpus = cpus;
    maker.header->cpu_used_ns = native_known;
    maker.header->stopped_ns = stopped_ms * MS;
    if (limited) {
        maker.header->cpu_limit_milli = 100;
        maker.header->cpu_end_periods = maker.header->cpu_end_throttled = 10;
    }
    maker_gil(&maker, 0);
    add_thread(1, main_thread);
    for (int i = 0; i < n; i++)
        add_thread(2 + (uint32_t)i, worker);
    maker_load(&maker, &model);
    return &model.processes[0].verdict;
}

/* The verdict on a main thread and n workers; says the whole of it if it is the wrong one. */
static void check_class(const char *expected, uint32_t cpus, const struct shape *main_thread,
                        const struct shape *worker, int n)
{
    const struct verdict *verdict = judge(cpus, main_thread, worker, n);

    CHECK_TEXT(verdict_name(verdict->class), expected);
    CHECK(verdict->confidence >= 0.3 && verdict->confidence <= 1);
    CHECK(verdict->n_evidence >= 2 && verdict->n_advice >= 1);
    CHECK(verdict->speedup_low >= 1 && verdict->speedup_low <= verdict->speedup_high && verdict->speedup_high <= cpus);
    model_free(&model);
    maker_end(&maker);
}

static const struct shape joining = {.held = 50, .released_off = 950, .lock = 900, .lock_count = 4};
static const struct shape nothing = {.released_off = 1000, .notify = 1000, .lock_count = 1};

static void test_classes(void)
{
    const struct shape python = {.held = 240, .blocked = 750, .wakeup = 10};
    check_class("gil-bound", 4, &joining, &python, 4);
    const struct shape handing_over = {.held = 300, .blocked = 200, .wakeup = 300, .released_off = 200};
    check_class("gil-bound", 4, &joining, &handing_over, 3);
    const struct shape native = {.held = 10, .released_on = 980, .released_off = 10};
    check_class("gil-releasing", 4, &joining, &native, 3);
    const struct shape asking = {.held = 10, .blocked = 1, .released_off = 989, .long_released = 100};
    check_class("io-bound", 4, &joining, &asking, 8);
    const struct shape locked = {.held = 10, .released_off = 990, .lock = 900, .lock_count = 50};
    check_class("lock-bound", 4, &joining, &locked, 4);
    const struct shape starved = {.released_on = 250, .released_off = 750, .run_delay = 740};
    check_class("cpu-starved", 2, &joining, &starved, 8);
    const struct shape preempted = {.held = 250, .held_off = 750, .run_delay = 745};
    check_class("cpu-starved", 2, &preempted, &nothing, 0);
    const struct shape busy = {.held = 1000};
    check_class("single-threaded", 4, &busy, &nothing, 16);
    const struct shape one_native = {.held = 20, .released_on = 980};
    check_class("single-threaded", 4, &one_native, &nothing, 2);
    check_class("idle", 4, &joining, &nothing, 8);
    const struct shape phases = {.held = 80, .blocked = 250, .released_off = 670, .lock = 250, .lock_count = 50};
    check_class("mixed", 4, &joining, &phases, 4);
    const struct shape queued = {.held = 240, .blocked = 330, .released_off = 430, .lock = 400, .lock_count = 50};
    check_class("gil-bound", 4, &joining, &queued, 4);
}

/* A thread that is busy all the time is no contention, whatever else there is. */
static void test_utilisation_is_no_contention(void)
{
    const struct shape busy = {.held = 1000},
                       rare = {.held = 1, .blocked = 20, .released_off = 979, .long_released = 4};

    check_class("single-threaded", 4, &busy, &rare, 3);
}

/* The hundred files that a start-up reads, 0.3 ms each, are nothing that a program waits for; as many waits of 9 ms
 * are, and so are short ones that fill its time. */
static void test_startup_is_no_io(void)
{
    const struct shape reads = {.held = 20, .released_off = 980, .long_released = 100, .long_us = 300},
                       waits = {.held = 20, .released_off = 980, .long_released = 100},
                       writes = {.held = 20, .released_off = 980, .long_released = 1000, .long_us = 300};

    check_class("idle", 4, &reads, &nothing, 1);
    check_class("io-bound", 4, &waits, &nothing, 1);
    check_class("io-bound", 4, &writes, &nothing, 1);
}

/* 5,000 wake-ups of 40 us each are no want of processors. */
static void test_waking_up_takes_its_time(void)
{
    const struct shape syncing = {
        .held = 20, .released_on = 80, .released_off = 900, .run_delay = 200, .long_released = 5000};

    check_class("io-bound", 2, &joining, &syncing, 4);
}

/* Who has got a lock and waits for a processor does not wait for the lock any more. */
static void test_a_lock_that_is_free_is_not_waited_for(void)
{
    const struct shape logging = {.held = 140,
                                  .blocked = 10,
                                  .wakeup = 10,
                                  .released_on = 40,
                                  .released_off = 800,
                                  .lock = 560,
                                  .lock_count = 2400,
                                  .long_released = 2400,
                                  .run_delay = 700};

    check_class("cpu-starved", 2, &joining, &logging, 6);
}

static bool says(char *const *lines, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (strstr(lines[i], text))
            return true;
    return false;
}

/* Two threads that lack processors although there are two for them do not compete with each other; three may. */
static void test_neighbours_are_told_from_own_threads(void)
{
    const struct shape computing = {.held = 10, .released_on = 560, .released_off = 430, .run_delay = 420},
                       less = {.held = 10, .released_on = 400, .released_off = 590, .run_delay = 580};
    const struct verdict *verdict = judge(2, &nothing, &computing, 2);

    CHECK_TEXT(verdict_name(verdict->class), "cpu-starved");
    CHECK(!says(verdict->advice, verdict->n_advice, "more threads that compute than"));
    CHECK(says(verdict->advice, verdict->n_advice, "Other processes"));
    CHECK(!says(verdict->evidence, verdict->n_evidence, "its own threads compete"));
    model_free(&model);
    maker_end(&maker);
    verdict = judge(2, &nothing, &less, 3);
    CHECK_TEXT(verdict_name(verdict->class), "cpu-starved");
    CHECK(says(verdict->advice, verdict->n_advice, "more threads that compute than"));
    CHECK(says(verdict->advice, verdict->n_advice, "If other processes"));
    CHECK(says(verdict->evidence, verdict->n_evidence, "its own threads compete"));
    model_free(&model);
    maker_end(&maker);
}

/* Where a thread that has a processor holds the GIL nearly all the time, more processors would make others wait for it.
 */
static void test_more_processors_do_not_replace_the_gil(void)
{
    const struct shape serial = {.held = 230, .blocked = 10, .released_off = 760, .run_delay = 740},
                       free = {.held = 30, .released_on = 200, .blocked = 10, .released_off = 760, .run_delay = 740};
    const struct verdict *verdict = judge(2, &nothing, &serial, 4);

    CHECK_TEXT(verdict_name(verdict->class), "cpu-starved");
    CHECK(says(verdict->advice, verdict->n_advice, "More processors alone make it 1.1 times as fast at best: 92 %"));
    model_free(&model);
    maker_end(&maker);
    verdict = judge(2, &nothing, &free, 4);
    CHECK_TEXT(verdict_name(verdict->class), "cpu-starved");
    CHECK(!says(verdict->advice, verdict->n_advice, "More processors alone"));
    model_free(&model);
    maker_end(&maker);
}

/* A sentence does not say that nobody waits, and the next one how long they did. */
static void test_waits_are_not_called_none(void)
{
    const struct shape busy = {.held = 960, .blocked = 40}, rare = {.held = 10, .blocked = 150, .released_off = 840},
                       none = {.held = 10, .released_off = 990};
    const struct verdict *verdict = judge(2, &busy, &rare, 1);

    CHECK_TEXT(verdict_name(verdict->class), "single-threaded");
    CHECK(strstr(verdict->summary, "and 0.2 threads were waiting for the GIL at any moment."));
    model_free(&model);
    maker_end(&maker);
    verdict = judge(2, &busy, &none, 1);
    CHECK(strstr(verdict->summary, "and next to nobody waits for the GIL."));
    model_free(&model);
    maker_end(&maker);
}

/* What the other processes of the recording use is not somebody else's. */
static void test_processes_of_the_recording_are_told(void)
{
    const struct shape computing = {.held = 510, .held_off = 490, .run_delay = 480};
    struct verdict *verdict;

    judge(2, &computing, &nothing, 0);
    verdict = &model.processes[0].verdict;
    CHECK(says(verdict->advice, verdict->n_advice, "Other processes"));
    verdict_free(verdict);
    *verdict = (struct verdict){.summary = NULL};
    model.processes[0].beside_cpus = 1.4;
    verdict_judge(&model.processes[0]);
    CHECK_TEXT(verdict_name(verdict->class), "cpu-starved");
    CHECK(says(verdict->evidence, verdict->n_evidence, "and 1.4 by others of this recording."));
    CHECK(says(verdict->advice, verdict->n_advice, "processes of this recording compete"));
    CHECK(!says(verdict->advice, verdict->n_advice, "ther processes, or a CPU limit"));
    model_free(&model);
    maker_end(&maker);
}

/* Waiting for queues and events is waiting for work; so is joining. */
static void test_awaited_work_is_no_lock(void)
{
    const struct shape consumer = {
        .held = 20, .released_off = 980, .notify = 950, .lock_count = 50, .long_released = 50};

    check_class("io-bound", 4, &joining, &consumer, 4);
    check_class("idle", 4, &joining, &nothing, 1);
}

static void test_speedups(void)
{
    const struct shape python = {.held = 240, .blocked = 750, .wakeup = 10};
    const struct verdict *verdict = judge(2, &nothing, &python, 4);

    CHECK(verdict->speedup_high > 1.9 && verdict->speedup_high <= 2);
    CHECK(verdict->speedup_low > 1.7);
    model_free(&model);
    maker_end(&maker);
    verdict = judge(8, &nothing, &python, 4);
    CHECK(verdict->speedup_high > 3.5 && verdict->speedup_high <= 4.2); /* four threads of 240 ms each */
    CHECK(verdict->speedup_low > 2.5);
    model_free(&model);
    maker_end(&maker);
    const struct shape locked = {.held = 250, .released_off = 750, .lock = 750, .lock_count = 50};
    verdict = judge(8, &nothing, &locked, 4);
    CHECK(verdict->speedup_high == 1); /* the lock would be as long as the GIL */
    model_free(&model);
    maker_end(&maker);
}

/* A limit stopped the thread on its way to its end, and nobody could ask how long it had no processor. */
static void test_delay_that_is_not_known(void)
{
    const struct shape computing = {.held = 95, .held_off = 900, .released_off = 5};

    limited = true;
    check_class("cpu-starved", 2, &nothing, &computing, 1);
    limited = false;
}

/* A thread that sleeps all along, whatever for, is not what the others' work takes as long as. */
static void test_sleepers_limit_no_speedup(void)
{
    const struct shape asleep = {.held = 2, .blocked = 1, .released_off = 997},
                       python = {.held = 240, .blocked = 750, .wakeup = 10},
                       importing = {.held = 110, .blocked = 60, .released_off = 830},
                       asking = {.held = 240, .blocked = 400, .released_off = 360};
    const struct verdict *verdict = judge(2, &asleep, &python, 4);

    CHECK(verdict->speedup_high > 1.9 && verdict->speedup_high <= 2);
    CHECK(verdict->speedup_low < 1.1); /* unless it fetches one thing after the other */
    model_free(&model);
    maker_end(&maker);
    verdict = judge(2, &importing, &python, 4); /* imports, then sleeps until the others are ready */
    CHECK(verdict->speedup_high > 1.8 && verdict->speedup_high <= 2);
    model_free(&model);
    maker_end(&maker);
    verdict = judge(8, &asleep, &asking, 4); /* who works has to sleep for as long without a GIL */
    CHECK(verdict->speedup_high > 1.6 && verdict->speedup_high < 1.7);
    model_free(&model);
    maker_end(&maker);
    native_known = false; /* it may sleep until they are done */
    verdict = judge(2, &asleep, &python, 4);
    CHECK(verdict->speedup_high < 1.1);
    native_known = true;
    model_free(&model);
    maker_end(&maker);
}

/* Two threads that hand the work to each other are never seen to run at the same time. */
static void test_turns_are_not_parallel(void)
{
    const struct shape turns = {.held = 20, .released_on = 380, .released_off = 600, .notify = 590, .lock_count = 500},
                       both = {.held = 20, .released_on = 900, .released_off = 80};

    const struct verdict *verdict = judge(2, &nothing, &turns, 2);
    CHECK_TEXT(verdict_name(verdict->class), "gil-releasing");
    CHECK(!strstr(verdict->summary, "in parallel") && strstr(verdict->summary, "0.8 of 2 processors"));
    model_free(&model);
    maker_end(&maker);
    verdict = judge(2, &nothing, &both, 2);
    CHECK_TEXT(verdict_name(verdict->class), "gil-releasing");
    CHECK(strstr(verdict->summary, "in parallel"));
    model_free(&model);
    maker_end(&maker);
}

static void test_a_process_without_a_gil(void)
{
    static const char why[] = "The interpreter is not known.";

    maker_begin(&maker);
    maker_text(&maker, REC_TEXT_INERT, why, sizeof why - 1);
    maker_load(&maker, &model);
    const struct verdict *verdict = &model.processes[0].verdict;
    CHECK_TEXT(verdict_name(verdict->class), "idle");
    CHECK(verdict->confidence == 0 && strstr(verdict->summary, why));
    model_free(&model);
    maker_end(&maker);
}

/* Of two threads that have the GIL by turns, the main one. */
struct pattern {
    unsigned held, held_off, run_delay;   /* ms; the rest of 1000 it waits */
    unsigned interval_us, hold_us, waits; /* the switch interval, how long it holds, how often it waits */
    unsigned stopped;                     /* ms, the process */
    unsigned seen;                        /* ms after which a killed one was looked at last; 0 = never */
};

/* Of a thread that was killed with its process, nobody has asked for anything: only what was seen before is known. */
static void kill_it(struct rec_thread *thread, unsigned seen)
{
    thread->state = REC_STATE_RELEASED;
    thread->state_ticks = thread->end_ticks;
    thread->end_ticks = thread->cpu_end_ns = 0;
    if (seen) {
        thread->seen_index = thread->index;
        thread->seen_ticks = MAKER_START + seen * MS;
        thread->seen_cpu_ns = thread->cpu_last_ns;
        thread->seen_run_delay_ns = 1 * MS;
    }
}

/* Whether the verdict on a process that was killed, or ended, says this of it. */
static bool pattern_says(const struct pattern *p, const char *what)
{
    struct rec_thread *threads[2];
    bool said;

    maker_begin(&maker);
    maker.header->cpus = 2;
    maker.header->complete = p->run_delay != 0;
    maker.header->stopped_ns = p->stopped * MS;
    maker_gil(&maker, 0)->interval_us = p->interval_us;
    for (uint32_t i = 0; i < 2; i++) {
        const unsigned held = i ? 1000 - p->held - p->held_off : p->held + p->held_off;
        struct rec_thread *thread = threads[i] = maker_thread(&maker, i + 1, i ? "worker" : "MainThread");
        thread->flags = i ? 0 : REC_THREAD_MAIN;
        thread->state = REC_STATE_ENDED;
        thread->end_ticks = MAKER_START + 1000 * MS;
        thread->held_ticks = thread->cpu_base_held_ticks = thread->cpu_exact_held_ticks = held * MS;
        thread->cpu_exact_held_ns = (i ? held : p->held) * MS;
        thread->cpu_last_ns = thread->cpu_end_ns = thread->cpu_exact_held_ns + 1;
        thread->wait_blocked_ticks = (1000 - held) * MS;
        thread->charged_ticks = held * MS;
        thread->run_delay_ns = p->run_delay * MS;
        thread->contended = p->waits;
        if (!p->run_delay)
            kill_it(thread, p->seen);
        maker_hist(&maker, thread, REC_HIST_WAIT, (1000 - held) * MS / p->waits, p->waits);
        maker_hist(&maker, thread, REC_HIST_HOLD, (i ? 5000 : p->hold_us) * 1000ull,
                   held * 1000 / (i ? 5000 : p->hold_us));
    }
    maker_row(&maker, threads[0], 2, threads[0]->wait_blocked_ticks);
    maker_load(&maker, &model);
    const struct verdict *verdict = &model.processes[0].verdict;
    said = says(verdict->advice, verdict->n_advice, what) || says(verdict->evidence, verdict->n_evidence, what);
    model_free(&model);
    maker_end(&maker);
    return said;
}

/* Of a process that was killed, it is only known as far as it was seen how long its threads were without a processor. */
static void test_who_was_killed_is_not_told_to_sleep(void)
{
    const struct pattern killed = {.held = 260, .held_off = 250, .interval_us = 5000, .hold_us = 5000, .waits = 100},
                         asleep = {.held = 260,
                                   .held_off = 250,
                                   .interval_us = 5000,
                                   .hold_us = 5000,
                                   .waits = 100,
                                   .run_delay = 1};
    struct pattern seen = killed;

    CHECK(!pattern_says(&killed, "while it sleeps"));
    seen.seen = 950;
    CHECK(pattern_says(&seen, "while it sleeps"));
    seen.seen = 700; /* all that it slept may have been since */
    CHECK(!pattern_says(&seen, "while it sleeps"));
    CHECK(pattern_says(&asleep, "while it sleeps"));
}

/* What a process holds while it is stopped, such as by cpulimit(1) ten times a second, is no fault of a thread's. */
static void test_who_is_stopped_does_not_keep_the_gil(void)
{
    struct pattern p = {.held = 110, .held_off = 400, .interval_us = 5000, .hold_us = 30000, .waits = 10, .run_delay = 1};

    CHECK(pattern_says(&p, "while it sleeps"));
    p.stopped = 400;
    CHECK(!pattern_says(&p, "while it sleeps") && !pattern_says(&p, "kept the GIL"));
    CHECK(pattern_says(&p, "The process was stopped"));
}

static void test_who_keeps_the_gil(void)
{
    const struct pattern native = {.held = 510, .interval_us = 5000, .hold_us = 50000, .waits = 10, .run_delay = 1},
                         often = {.held = 510, .interval_us = 10, .hold_us = 4000, .waits = 100, .run_delay = 1},
                         starved = {.held = 260,
                                    .held_off = 250,
                                    .interval_us = 5000,
                                    .hold_us = 25000,
                                    .waits = 20,
                                    .run_delay = 250};

    CHECK(pattern_says(&native, "calls that keep the GIL for long"));
    CHECK(!pattern_says(&often, "calls that keep the GIL for long")); /* a waiter has to have a processor, to ask */
    CHECK(!pattern_says(&starved, "kept the GIL for"));               /* and the holder, to give it up */
}

/* Many short holds, of its imports, make no convoy of a thread that computes as the other does. */
static void test_who_computes_is_no_convoy(void)
{
    const struct pattern computes = {.held = 510, .interval_us = 5000, .hold_us = 10, .waits = 40, .run_delay = 1},
                         tick = {.held = 30, .interval_us = 5000, .hold_us = 10, .waits = 190, .run_delay = 1};

    CHECK(!pattern_says(&computes, "Convoy"));
    CHECK(pattern_says(&tick, "Convoy"));
}

/* What sampling may have taken for it by chance, or a signal that stopped the whole process, is no thread that sleeps
 * with the GIL in its hands; and it does not know how many forced switches there were. */
static void test_what_is_not_known_is_not_told(void)
{
    const struct shape waits = {.blocked = 600, .released_off = 400, .charged = 1};
    struct shape holds = {
        .held_off = 500, .held = 100, .released_off = 250, .forced = 150, .charged = 600, .run_delay = 1};

    for (int i = 0; i < 3; i++) {
        holds.error_ppm = i == 1 ? 500000 : 0;
        stopped_ms = i == 2 ? 500 : 0;
        const struct verdict *verdict = judge(2, &waits, &holds, 1);
        CHECK_NUMBER(says(verdict->evidence, verdict->n_evidence, "while it was off the processor"), i == 0);
        CHECK_NUMBER(says(verdict->evidence, verdict->n_evidence, "was stopped, by a signal"), i == 2);
        CHECK(says(verdict->evidence, verdict->n_evidence, "delayed their holders by another 150 ms."));
        model_free(&model);
    }
    stopped_ms = 0;
}

int main(void)
{
    test_classes();
    test_utilisation_is_no_contention();
    test_waking_up_takes_its_time();
    test_startup_is_no_io();
    test_a_lock_that_is_free_is_not_waited_for();
    test_neighbours_are_told_from_own_threads();
    test_more_processors_do_not_replace_the_gil();
    test_waits_are_not_called_none();
    test_processes_of_the_recording_are_told();
    test_awaited_work_is_no_lock();
    test_speedups();
    test_sleepers_limit_no_speedup();
    test_what_is_not_known_is_not_told();
    test_delay_that_is_not_known();
    test_who_was_killed_is_not_told_to_sleep();
    test_who_is_stopped_does_not_keep_the_gil();
    test_who_keeps_the_gil();
    test_who_computes_is_no_convoy();
    test_turns_are_not_parallel();
    test_a_process_without_a_gil();
    return check_result();
}
