/* SPDX-License-Identifier: MIT */
/*
 * view-json.c - the report as JSON, schema gilscope.report/1: for scripts, and other tools.
 */
#include "config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "msg.h"
#include "view-json.h"
#include "view.h"

#define SCHEMA "gilscope.report/1"

json_t *view_json_checked(json_t *value)
{
    if (!value) {
        msg_error("out of memory");
        exit(CMD_FAILED);
    }
    return value;
}

void view_json_put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, view_json_checked(value)))
        view_json_checked(NULL);
}

void view_json_append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, view_json_checked(value)))
        view_json_checked(NULL);
}

json_t *view_json_integer(uint64_t value)
{
    return json_integer(value < INT64_MAX ? (json_int_t)value : INT64_MAX);
}

#define checked view_json_checked
#define put view_json_put
#define append view_json_append
#define integer view_json_integer

static json_t *strings(char *const *texts, size_t n)
{
    json_t *array = checked(json_array());

    for (size_t i = 0; i < n; i++)
        append(array, json_string(texts[i]));
    return array;
}

static json_t *dist(const struct model_dist *d)
{
    json_t *object = checked(json_object());

    put(object, "count", integer(d->count));
    put(object, "sum_ns", integer(d->sum_ns));
    put(object, "p50_ns", integer(d->p50_ns));
    put(object, "p90_ns", integer(d->p90_ns));
    put(object, "p99_ns", integer(d->p99_ns));
    put(object, "max_ns", integer(d->max_ns));
    return object;
}

static json_t *verdict(const struct verdict *v)
{
    json_t *object = checked(json_object()), *speedup = checked(json_object());

    put(object, "class", json_string(verdict_name(v->class)));
    put(object, "confidence", json_real(v->confidence));
    put(object, "summary", json_string(v->summary));
    put(object, "evidence", strings(v->evidence, v->n_evidence));
    put(object, "advice", strings(v->advice, v->n_advice));
    put(speedup, "low", json_real(v->speedup_low));
    put(speedup, "high", json_real(v->speedup_high));
    put(object, "speedup_without_gil", speedup);
    return object;
}

static json_t *gil(const struct model_gil *g)
{
    json_t *object = checked(json_object());

    put(object, "interpreter", integer(g->index));
    put(object, "held_ns", integer(g->held_ns));
    put(object, "held_offcpu_ns", integer(g->held_offcpu_ns));
    put(object, "free_ns", integer(g->free_ns));
    put(object, "wait_ns", integer(g->wait_ns));
    put(object, "wait_wakeup_ns", integer(g->wait_wakeup_ns));
    put(object, "wait_forced_ns", integer(g->wait_forced_ns));
    put(object, "acquisitions", integer(g->acquisitions));
    put(object, "contended", integer(g->contended));
    put(object, "drop_requests", integer(g->drop_requests));
    put(object, "forced_switches", integer(g->forced_switches));
    put(object, "lost_wakeups", integer(g->lost_wakeups));
    return object;
}

static json_t *thread(const struct model_thread *t)
{
    json_t *object = checked(json_object());

    put(object, "tid", integer(t->tid));
    put(object, "name", json_string(t->name));
    put(object, "main", json_boolean(t->main));
    put(object, "wall_ns", integer(t->wall_ns));
    put(object, "held_oncpu_ns", integer(t->states.held_oncpu_ns));
    put(object, "held_offcpu_ns", integer(t->states.held_offcpu_ns));
    put(object, "wait_blocked_ns", integer(t->states.wait_blocked_ns));
    put(object, "wait_wakeup_ns", integer(t->states.wait_wakeup_ns));
    put(object, "wait_forced_ns", integer(t->states.wait_forced_ns));
    put(object, "released_oncpu_ns", integer(t->states.released_oncpu_ns));
    put(object, "released_offcpu_ns", integer(t->states.released_offcpu_ns));
    put(object, "lock_wait_ns", integer(t->lock_wait_ns));
    put(object, "charged_ns", integer(t->charged_ns));
    if (t->error_ns)
        put(object, "error_ns", integer(t->error_ns));
    put(object, "acquisitions", integer(t->acquisitions));
    put(object, "contended", integer(t->contended));
    put(object, "lost_wakeups", integer(t->lost_wakeups));
    put(object, "wait", dist(&t->wait));
    put(object, "hold", dist(&t->hold));
    put(object, "lock_wait", dist(&t->lock_wait));
    return object;
}

static json_t *pair(const struct model_pair *p)
{
    json_t *object = checked(json_object());

    put(object, "waiter_tid", integer(p->waiter_tid));
    put(object, "holder_tid", integer(p->holder_tid));
    put(object, "ns", integer(p->ns));
    return object;
}

static void put_lists(json_t *object, const struct model_process *p)
{
    json_t *losses = checked(json_object()), *estimated = checked(json_array()), *gils = checked(json_array()),
           *threads = checked(json_array()), *blocking = checked(json_array());

    for (size_t i = 0; i < p->n_losses; i++)
        put(losses, p->losses[i].cause, integer(p->losses[i].count));
    for (size_t i = 0; i < p->n_estimated; i++)
        append(estimated, json_string(p->estimated[i]));
    if (p->stacks.n_stacks) { /* these are samples always */
        append(estimated, json_string("modules"));
        append(estimated, json_string("stacks"));
    }
    for (size_t i = 0; i < p->n_gils; i++)
        append(gils, gil(&p->gils[i]));
    for (size_t i = 0; i < p->n_threads; i++)
        append(threads, thread(&p->threads[i]));
    for (size_t i = 0; i < p->n_pairs; i++)
        append(blocking, pair(&p->pairs[i]));
    put(object, "losses", losses);
    put(object, "estimated", estimated);
    if (p->note)
        put(object, "note", json_string(p->note));
    put(object, "verdict", verdict(&p->verdict));
    put(object, "gils", gils);
    put(object, "threads", threads);
    put(object, "blocking", blocking);
    view_json_put_stacks(object, &p->stacks);
    put(object, "stacks", json_array()); /* the last one, and empty: see print_process */
}

static json_t *process(const struct model_process *p)
{
    json_t *object = checked(json_object());

    put(object, "pid", integer(p->pid));
    put(object, "ppid", integer(p->ppid));
    put(object, "host", json_string(p->host));
    put(object, "command", strings(p->argv, p->argc));
    put(object, "python", json_string(p->python));
    put(object, "free_threaded", json_boolean(p->free_threaded));
    put(object, "source", json_string(p->source));
    put(object, "start", json_string(p->start));
    put(object, "wall_ns", integer(p->wall_ns));
    put(object, "complete", json_boolean(p->complete));
    if (p->end_signal)
        put(object, "end_signal", integer((uint64_t)p->end_signal));
    if (p->end_status >= 0)
        put(object, "end_status", integer((uint64_t)p->end_status));
    if (!p->end_seen)
        put(object, "end_seen", json_boolean(false));
    put(object, "cpus", integer(p->cpus));
    if (p->cpu_limit > 0)
        put(object, "cpu_limit", json_real(p->cpu_limit));
    if (p->n_limit_periods) {
        put(object, "cpu_limit_periods", integer(p->n_limit_periods));
        put(object, "cpu_limit_reached", integer(p->n_limit_reached));
    }
    if (p->stopped_ns)
        put(object, "stopped_ns", integer(p->stopped_ns));
    put(object, "switch_interval_ns", integer(p->switch_interval_ns));
    if (p->totals.has_native_cpu)
        put(object, "native_cpu_ns", integer(p->totals.native_cpu_ns));
    put_lists(object, p);
    return object;
}

/* The document up to its list of stacks, which is the last thing in it, then this one by one. */
static void print_process(const struct model_process *p, const struct view_options *options, FILE *out)
{
    json_t *object = process(p);
    char *text = json_dumps(object, JSON_ENSURE_ASCII | JSON_INDENT(2) | JSON_REAL_PRECISION(6));

    if (!text)
        checked(NULL);
    *strrchr(text, '[') = 0;
    fprintf(out, "%s[", text);
    view_json_print_stacks(p, options->view_given ? &options->view : NULL, out);
    fputs("]}", out);
    free(text);
    json_decref(object);
}

static void render(const struct model *model, const struct view_options *options, FILE *out)
{
    /* A failure to write shows in the stream. */
    fprintf(out, "{\"schema\": \"%s\", \"version\": \"%s\", \"processes\": [", SCHEMA, PACKAGE_VERSION);
    for (size_t i = 0; i < model->n_processes; i++) {
        fputs(i ? ",\n" : "\n", out);
        print_process(&model->processes[i], options, out);
    }
    fputs("]}\n", out);
}

const struct view view_json = {"json", 0, render};
