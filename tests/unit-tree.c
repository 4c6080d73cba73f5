/* SPDX-License-Identifier: MIT */
/*
 * unit-tree.c - several files of one run: parents before children, programs after each other, what cannot be read.
 */
#include <stdlib.h>
#include <unistd.h>

#include "cmd.h"
#include "report.h"
#include "unit-check.h"
#include "unit-maker.h"

static struct maker maker;
static struct model model;

/* Writes the file of a process that began so many ms after the first one. */
static void add(const char *file, uint32_t pid, uint32_t ppid, uint64_t proc_start, uint64_t after_ms)
{
    maker.header->pid = pid;
    maker.header->ppid = ppid;
    maker.header->proc_start_jiffies = proc_start;
    maker.header->start_realtime_ns = 1700000000000000000 + (int64_t)(after_ms * MS);
    maker.header->start_ticks = MAKER_START + after_ms * MS;
    maker.header->start_mono_ns = (int64_t)maker.header->start_ticks;
    maker_write(&maker, file, maker.header->used_bytes);
}

static void load(void)
{
    char *names[] = {maker.directory};

    model_load(&model, names, 1);
}

static void check_process(size_t i, uint32_t pid, int depth)
{
    CHECK(i < model.n_processes);
    if (i >= model.n_processes)
        return;
    CHECK_NUMBER(model.processes[i].pid, pid);
    CHECK_NUMBER(model.processes[i].depth, depth);
}

static void test_parents_come_first(void)
{
    maker_begin(&maker);
    maker_gil(&maker, 0);
    add("a.gil", 30, 20, 3, 300); /* a grandchild */
    add("b.gil", 21, 10, 4, 400); /* the second child */
    add("c.gil", 10, 1, 1, 0);
    add("d.gil", 20, 10, 2, 200); /* the first child */
    add("e.gil", 99, 50, 5, 50);  /* of somebody else */
    load();
    CHECK_NUMBER(model.n_processes, 5);
    check_process(0, 10, 0);
    check_process(1, 20, 1);
    check_process(2, 30, 2);
    check_process(3, 21, 1);
    check_process(4, 99, 0);
    model_free(&model);
    maker_end(&maker);
}

static void test_a_pid_that_was_used_twice(void)
{
    maker_begin(&maker);
    maker_gil(&maker, 0);
    add("a.gil", 20, 1, 1, 0);
    add("b.gil", 20, 1, 9, 500);
    add("c.gil", 30, 20, 10, 600); /* of the second one */
    load();
    check_process(0, 20, 0);
    check_process(1, 20, 0);
    CHECK_NUMBER(model.processes[1].proc_start_jiffies, 9);
    check_process(2, 30, 1);
    model_free(&model);
    maker_end(&maker);
}

/* A program that went on to another one by exec was seen by nobody when it ended: that was when the other began. */
static void test_exec_ends_a_program(void)
{
    struct rec_thread *thread;

    maker_begin(&maker);
    maker_gil(&maker, 0);
    thread = maker_thread(&maker, 1, "t");
    thread->state = REC_STATE_RELEASED;
    maker.header->end_ticks = 0;
    maker.header->complete = 0;
    maker.header->beat_ticks = MAKER_START + 100 * MS;
    add("a.gil", 20, 1, 7, 0);
    maker.header->end_ticks = MAKER_START + 900 * MS;
    thread->start_ticks = thread->state_ticks = MAKER_START + 400 * MS;
    add("b.gil", 20, 1, 7, 400);
    load();
    CHECK_NUMBER(model.n_processes, 2);
    CHECK_NUMBER(model.processes[0].wall_ns, 400 * MS);
    CHECK_NUMBER(model.processes[0].threads[0].released_ns, 400 * MS);
    CHECK_NUMBER(model.processes[1].wall_ns, 500 * MS);
    check_process(1, 20, 1);
    model_free(&model);
    maker_end(&maker);
}

/* Reports with stdout and stderr thrown away; the status. */
static int report_status(const char *format, char *name)
{
    struct report_options options = {.format = format};
    FILE *out = fopen("/dev/null", "w");
    int saved = dup(STDERR_FILENO), status;

    CHECK(freopen("/dev/null", "w", stderr) != NULL);
    status = report_write(&options, &name, 1, out);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    fclose(out);
    return status;
}

static void test_statuses(void)
{
    char missing[] = "/no/such/place.gilscope";

    maker_begin(&maker);
    CHECK_NUMBER(report_status("text", maker.directory), REPORT_NOTHING);
    CHECK_NUMBER(report_status("json", maker.directory), REPORT_NOTHING);
    CHECK_NUMBER(report_status("text", missing), CMD_FAILED);
    maker_gil(&maker, 0);
    maker_write(&maker, "good.gil", maker.header->used_bytes);
    CHECK_NUMBER(report_status("text", maker.directory), CMD_OK);
    maker_write(&maker, "notes.txt", 100); /* what is no recording by its name is none */
    CHECK_NUMBER(report_status("text", maker.directory), CMD_OK);
    maker_write(&maker, "bad.gil", 100);
    CHECK_NUMBER(report_status("text", maker.directory), REPORT_PARTIAL);
    CHECK_NUMBER(report_status("json", maker.directory), REPORT_PARTIAL);
    maker_end(&maker);
}

static void test_a_full_disk_is_a_failure(void)
{
    struct report_options options = {.format = "json", .output = "/dev/full"};
    char *name = maker.directory;

    maker_begin(&maker);
    maker_gil(&maker, 0);
    maker_write(&maker, "good.gil", maker.header->used_bytes);
    CHECK(!access(options.output, W_OK));
    CHECK_NUMBER(report_write(&options, &name, 1, stdout), CMD_FAILED);
    maker_end(&maker);
}

int main(void)
{
    test_parents_come_first();
    test_a_pid_that_was_used_twice();
    test_exec_ends_a_program();
    test_statuses();
    test_a_full_disk_is_a_failure();
    return check_result();
}
