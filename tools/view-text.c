/* SPDX-License-Identifier: MIT */
/*
 * view-text.c - the report for people: the conclusion first, then numbers that can be checked against each other.
 */
#include "view-text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "label.h"
#include "mem.h"
#include "view.h"

#define GILS_SHOWN 8

static enum text_style class_style(enum verdict_class class)
{
    switch (class) {
    case VERDICT_GIL_BOUND:
        return TEXT_RED;
    case VERDICT_LOCK_BOUND:
    case VERDICT_CPU_STARVED:
    case VERDICT_MIXED:
        return TEXT_YELLOW;
    case VERDICT_GIL_RELEASING:
    case VERDICT_IO_BOUND:
    case VERDICT_SINGLE_THREADED:
        return TEXT_GREEN;
    case VERDICT_IDLE:
        return TEXT_BOLD;
    }
    return TEXT_BOLD;
}

/* What kind of interpreter, for how long, on what, how it was measured. */
static void print_head(const struct text *text, const struct model_process *process)
{
    char time[FORMAT_BYTES], threads[FORMAT_BYTES], cpus[FORMAT_BYTES], *head,
        *state = label_state(process), *command = text_clean(text, process->command);

    text_cut(text, command, text->columns);
    text_print(text, TEXT_BOLD, "%s", command);
    head = mem_print("pid %u · CPython %s%s · %s · %s thread%s on %s · %s, %s%s", process->pid, process->python,
                     process->free_threaded ? " free-threaded" : "", format_time(time, process->wall_ns),
                     format_count(threads, process->n_threads_ever), process->n_threads_ever == 1 ? "" : "s",
                     format_cpus_of(cpus, process->cpus, process->cpu_limit), process->source,
                     process->n_estimated ? "partly estimated" : "exact", state);
    if (text_width(text, command) + 2 + text_width(text, head) <= text->columns) {
        text_wrap(text, "  ", head);
    } else {
        fputc('\n', text->out);
        text_wrap(text, "", head);
    }
    fputc('\n', text->out);
    free(head);
    free(state);
    free(command);
}

static void print_verdict(const struct text *text, const struct verdict *verdict)
{
    char name[FORMAT_BYTES];
    size_t i;

    for (i = 0; verdict_name(verdict->class)[i]; i++)
        name[i] = (char)toupper((unsigned char)verdict_name(verdict->class)[i]);
    name[i] = 0;
    text_print(text, class_style(verdict->class), "%s", name);
    text_print(text, TEXT_PLAIN, "  (confidence %.2f)\n", verdict->confidence);
    text_wrap(text, "  ", verdict->summary);
    for (i = 0; i < verdict->n_evidence; i++)
        text_wrap(text, "  ", verdict->evidence[i]);
    for (i = 0; i < verdict->n_advice; i++)
        text_wrap(text, text->utf8 ? "  → " : "  -> ", verdict->advice[i]);
    fputc('\n', text->out);
}

/* Threads keep their holds by themselves, not by GIL: of one whose threads have used others, too, the lengths are not
 * known. */
static bool knows_holds(const struct model_process *process, const struct model_gil *gil)
{
    return process->n_gils == 1 || (gil->hold.count && gil->hold.max_ns <= gil->held_ns);
}

static void print_gil(const struct text *text, const struct model_process *process, const struct model_gil *gil)
{
    char held[FORMAT_BYTES], unused[FORMAT_BYTES], switches[FORMAT_BYTES], forced[FORMAT_BYTES], p50[FORMAT_BYTES],
        p99[FORMAT_BYTES], max[FORMAT_BYTES], title[FORMAT_BYTES] = "GIL   ", *line;

    if (process->n_gils > 1)
        snprintf(title, sizeof title, "GIL %u   ", gil->index);
    line = mem_print("held %s, free %s · %s switch%s", format_share(held, gil->held_share),
                     format_share(unused, gil->free_share), format_count(switches, gil->switches),
                     gil->switches == 1 ? "" : "es");
    if (model_dist_has_quantiles(&gil->hold)) { /* nor do samples see why a switch came about */
        char *more = mem_print("%s, %s forced", line, format_count(forced, gil->forced_switches));
        free(line);
        line = more;
    }
    if (model_dist_has_quantiles(&gil->hold) && knows_holds(process, gil)) {
        char *more = mem_print("%s · hold p50 %s, p99 %s, max %s", line, format_time(p50, gil->hold.p50_ns),
                               format_time(p99, gil->hold.p99_ns), format_time(max, gil->hold.max_ns));
        free(line);
        line = more;
    }
    text_wrap(text, title, line);
    free(line);
}

static void print_gils(const struct text *text, const struct model_process *process)
{
    char count[FORMAT_BYTES];

    for (size_t i = 0; i < process->n_gils && i < GILS_SHOWN; i++)
        print_gil(text, process, &process->gils[i]);
    if (process->n_gils > GILS_SHOWN)
        text_print(text, TEXT_PLAIN, "and the GILs of further interpreters, %s in all\n",
                   format_count(count, process->n_gils));
    fputc('\n', text->out);
}

static void print_losses(const struct text *text, const struct model_process *process)
{
    char *line = mem_print("%s", ""), count[FORMAT_BYTES];

    if (!process->n_losses) {
        text_print(text, TEXT_PLAIN, "NOTHING WAS LOST.\n");
        free(line);
        return;
    }
    for (size_t i = 0; i < process->n_losses; i++) {
        char *longer = mem_print("%s%s%s %s", line, i ? ", " : "", process->losses[i].cause,
                                 format_count(count, process->losses[i].count));
        free(line);
        line = longer;
    }
    text_wrap(text, "LOST  ", line);
    free(line);
}

static void print_process(const struct text *text, const struct model_process *process)
{
    print_head(text, process);
    print_verdict(text, &process->verdict);
    if (process->inert && process->n_gils)
        text_wrap(text, "NOTE  ", process->inert);
    if (process->note)
        text_wrap(text, "NOTE  ", process->note);
    if (process->n_gils)
        print_gils(text, process);
    if (process->n_threads) {
        view_text_threads(text, process);
        fputc('\n', text->out);
    }
    if (process->waiting_matters)
        view_text_pairs(text, process);
    view_text_stacks(text, process);
    print_losses(text, process);
}

static void print_rule(const struct text *text)
{
    for (int i = 0; i < text->columns && i < 80; i++)
        fputs(text->utf8 ? "─" : "-", text->out);
    fputs("\n\n", text->out);
}

static void render(const struct model *model, const struct view_options *options, FILE *out)
{
    struct text text = {.out = out, .columns = options->columns, .color = options->color, .utf8 = options->utf8};
    char count[FORMAT_BYTES];
    bool first = true;

    if (model->n_processes > 1)
        view_text_tree(&text, model);
    for (size_t i = 0; i < model->n_processes; i++) {
        if (model->processes[i].minor)
            continue;
        if (model->n_processes > 1 || !first)
            print_rule(&text);
        print_process(&text, &model->processes[i]);
        fputc('\n', out);
        first = false;
    }
    if (model->n_minor)
        text_print(&text, TEXT_PLAIN, "In %s more process%s too little happened for a section; -f json has all.\n",
                   format_count(count, model->n_minor), model->n_minor == 1 ? "" : "es");
    if (options->recording)
        text_print(&text, TEXT_DIM, "Next: gilscope report -f html -o report.html %s\n", options->recording);
}

const struct view view_text = {"text", VIEW_NEEDS_TERMINAL, render};
